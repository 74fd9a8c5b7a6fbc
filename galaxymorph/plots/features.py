"""Figures of what was learned without labels: health over the epochs, features, neighbours,
reconstructions; and of measures.

In the look and by the rules of `plots`: they compute nothing (but what is to be displayed) and
write nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Real, UInt8
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy import ndarray
from torch import Tensor

from galaxymorph.plots.style import (
    BLUE,
    COLOURS,
    FAINT,
    INK,
    LETTER,
    MARKERS,
    ORANGE,
    STYLE,
    WIDTH,
    Images,
    colour_bar,
    empty,
    examples,
    panel,
    panels,
    sheet,
    to_pixels,
)

Shown = (
    UInt8[ndarray | Tensor, "galaxy 3 size size"] | Float[ndarray | Tensor, "galaxy 3 size size"]
)  # floats: 0 to 1
Labels = Int[ndarray | Tensor, " galaxy"]

HEALTH = {
    "contrastive_accuracy": "contrastive accuracy\nmore is better",
    "health_knn_accuracy": "kNN accuracy\nmore is better",
    "health_alignment": "alignment\nless is better",
    "health_uniformity": "uniformity\nless is better",
    "health_spread": "spread\n0: complete collapse",
    "health_effective_rank": "effective rank\n1: dimensional collapse",
}


@rc_context(STYLE)
def health(history: pd.DataFrame) -> Figure:
    """How a representation fares while it is learned: a panel for each measure there is, against
    the epoch.

    `history`: a table with the column epoch and any of train_ and val_contrastive_accuracy and of
    health_<measure> (`features.watch`), which are empty in epochs that were not measured."""
    parts = {
        "train_": (ORANGE, "--", "training"),
        "val_": (BLUE, "-", "validation"),
        "": (BLUE, "-", ""),
    }
    measured = set(history.dropna(axis="columns", how="all").columns)
    there = {name: [part for part in parts if part + name in measured] for name in HEALTH}
    there = {name: found for name, found in there.items() if found}
    if not there:
        return empty("the health of the features was not measured")
    columns = min(3, len(there))
    rows = -(-len(there) // columns)
    figure, axes = panels(rows, columns, height=2.6 * rows, sharex=True)
    for ax, (name, found) in zip(axes.flat, there.items(), strict=False):
        for part in found:
            colour, dash, label = parts[part]
            known = history[history[part + name].notna()]
            ax.plot(
                known.epoch,
                known[part + name],
                color=colour,
                ls=dash,
                lw=2,
                marker="o" if not part else "",
                ms=5,
                label=label,
            )
        if len(found) > 1:
            ax.legend()
        ax.set_title(HEALTH[name].split("\n")[0], loc="left", fontsize=11)
        ax.set_ylabel(HEALTH[name].split("\n")[1], fontsize=10, color=FAINT)
        ax.margins(y=0.12)
        ax.set_xlim(0, 1.04 * history.epoch.max() + 0.2)
        if name in ("health_spread", "health_effective_rank"):
            ax.set_ylim(bottom=0)
        ax.grid(axis="y")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in axes.flat[len(there) :]:
        ax.set_axis_off()
    for column in range(columns):
        last = axes.flat[range(column, len(there), columns)[-1]]
        last.set_xlabel("epoch")
        last.tick_params(labelbottom=True)
    return figure


@rc_context(STYLE)
def projection(
    points: pd.DataFrame,
    labels: Labels,
    classes: Sequence[str],
    *,
    ax: Axes | None = None,
    legend: bool = True,
) -> Figure:
    """Galaxies in two dimensions (`features.project`, whose columns are named as axes), each class
    in a colour and a marker of its own; those without a class (-1) in grey behind."""
    figure, ax = panel(ax, width=WIDTH, height=5.0)
    labels = np.asarray(labels)
    x, y = points.to_numpy(float)[:, :2].T
    size = float(np.clip(6000 / max(len(x), 1), 8, 40))
    for k, name in [(-1, "no class"), *enumerate(classes)]:
        of = labels == k
        if not of.any():
            continue
        look: dict[str, Any] = (
            {"c": "#c4c4c4", "marker": "o"}
            if k < 0
            else {"c": COLOURS[k % 8], "marker": MARKERS[k % 8]}
        )
        ax.scatter(
            x[of],
            y[of],
            s=size,
            lw=0,
            alpha=0.7,
            zorder=2 + k,
            label=f"{name} (n = {of.sum():,})",
            **look,
        )
    ax.set(xlabel=points.columns[0], ylabel=points.columns[1], xticks=[], yticks=[])
    if legend and len(x):
        shown = ax.legend(
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            handletextpad=0.3,
            markerscale=float(np.sqrt(50 / size)),
        )
        for handle in shown.legend_handles:
            handle.set_alpha(1)  # pyright: ignore[reportOptionalMemberAccess]
    return figure


@rc_context(STYLE)
def neighbours(
    images: Images,
    rows: Int[ndarray | Tensor, " query"] | Sequence[int],
    indices: Int[ndarray | Tensor, "query k"],
    labels: Labels,
    classes: Sequence[str],
) -> Figure:
    """A strip per galaxy in `rows`, framed at its left, and then its nearest neighbours (`indices`,
    of `features.neighbours`).

    Each with its class; the frame and the name of a neighbour of another class are orange and
    dashed, and those of one without a class (–) are grey."""
    labels, shown = (
        np.asarray(labels),
        np.column_stack([np.asarray(rows), np.asarray(indices)]),
    )  # (query, 1 + k)
    if not len(shown):
        return empty("no galaxies")
    figure, axes = sheet(*shown.shape, lines=1)
    fits = int(figure.get_figwidth() / shown.shape[1] / LETTER) - 1
    for strip, near in zip(axes, shown, strict=True):
        own = int(labels[near[0]])
        for column, (ax, image, row) in enumerate(
            zip(strip, to_pixels(images[near.tolist()]), near, strict=True)
        ):
            ax.imshow(image)
            label = int(labels[row])
            name = classes[label] if label >= 0 else "–"
            name = name if len(name) <= fits else name[: fits - 1] + "…"
            known = min(own, label) >= 0
            other = known and label != own
            colour = INK if column == 0 else ORANGE if other else BLUE if known else FAINT
            ax.set_title(name, fontsize=10, pad=4, color=colour)
            _frame(ax, colour, lw=4 if column == 0 else 2, ls=(0, (2, 1)) if other else "-")
    return figure


@rc_context(STYLE)
def reconstructions(originals: Shown, reconstructed: Shown) -> Figure:
    """Three rows: galaxies, their reconstructions, and the residuals (original less reconstruction,
    mean over the colours), in per cent of full brightness: blue where the reconstruction is too
    bright, red where it is too dark."""
    if not len(originals):
        return empty("no galaxies")
    originals, reconstructed = _floats(originals), _floats(reconstructed)
    residual = 100 * (originals - reconstructed).mean(1)
    most = max(
        float(np.percentile(np.abs(residual), 99.5)), 1.0
    )  # a star more or less does not pale all else
    figure, axes = sheet(3, len(originals), left=LETTER * 15 + 0.2, right=0.7)
    for row, given in zip(axes, (_bytes(originals), _bytes(reconstructed)), strict=False):
        for ax, image in zip(row, to_pixels(given), strict=True):
            ax.imshow(image)
    differences = [
        ax.imshow(each, cmap="RdBu_r", vmin=-most, vmax=most)
        for ax, each in zip(axes[2], residual, strict=True)
    ]
    for ax, name in zip(
        axes[:, 0], ("original", "reconstruction", "residual\n(% of full\nbrightness)"), strict=True
    ):
        ax.text(-0.1, 0.5, name, ha="right", va="center", transform=ax.transAxes, fontsize=10)
    tick = float(f"{0.7 * most:.1g}")
    colour_bar(axes[2, -1], differences[-1], label="", ticks=[-tick, 0, tick])
    return figure


@rc_context(STYLE)
def interpolation(
    images: UInt8[ndarray | Tensor, "pair step 3 size size"]
    | Float[ndarray | Tensor, "pair step 3 size size"],
) -> Figure:
    """A strip per pair of galaxies: what is drawn on the way from one to the other; framed, their
    own reconstructions."""
    if not len(images):
        return empty("no galaxies")
    figure, axes = sheet(len(images), images.shape[1])
    for row, strip in zip(axes, images, strict=True):
        for ax, image in zip(row, to_pixels(_bytes(_floats(strip))), strict=True):
            ax.imshow(image)
        for ax in row[[0, -1]]:
            _frame(ax, INK, lw=4)
    return figure


@rc_context(STYLE)
def oddest(
    images: Images,
    scores: Real[ndarray | Tensor, " galaxy"],
    ids: Sequence[str] | ndarray,
    *,
    count: int = 15,
    columns: int = 5,
) -> Figure:
    """A contact sheet of the `count` galaxies with the largest scores, such as the error of their
    reconstruction."""
    values = np.asarray(scores, dtype=float)
    order = np.argsort(-values, kind="stable")[:count]
    titles = [f"{ids[i]}\nerror {values[i]:.2g}" for i in order]
    return examples(images[order.tolist()], titles, columns=columns)


# ---- the parts


@rc_context(STYLE)
def importances(table: pd.DataFrame, *, most: int = 15) -> Figure:
    """The most important measures as points, the most important on top, each with the spread of its
    shuffles; 0 is of no use.

    `table`: of `baselines.importances`: columns group, loss, low, high.
    """
    if table.empty:
        return empty("no measure was shuffled")
    shown = table.head(most)[::-1]
    figure, ax = panel(None, width=WIDTH, height=0.3 * len(shown) + 1.0)
    places = np.arange(len(shown))
    ax.axvline(0, color=FAINT, ls=":", lw=1)
    ax.hlines(places, shown.low, shown.high, color=BLUE, lw=2, ls="-")
    ax.plot(shown.loss, places, "o", color=BLUE, ms=6)
    ax.set_yticks(places, [name.replace("_", " ") for name in shown.group])
    ax.set_ylim(-0.7, len(shown) - 0.3)
    rest = f"; the other {len(table) - len(shown)} lose less" if len(table) > len(shown) else ""
    ax.set_xlabel(
        f"validation accuracy lost where it is shuffled\n(line: 16 to 84 % of the shuffles{rest})"
    )
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    return figure


def _frame(ax: Axes, colour: str, **look: Any) -> None:
    ax.add_patch(
        Rectangle(
            (0, 0), 1, 1, transform=ax.transAxes, fill=False, ec=colour, clip_on=False, **look
        )
    )


def _floats(images: Any) -> Float[ndarray, "galaxy 3 size size"]:
    """In [0, 1]."""
    pixels = np.asarray(images.cpu() if isinstance(images, Tensor) else images)
    return pixels / np.float32(255) if pixels.dtype == np.uint8 else pixels.astype(np.float32)


def _bytes(images: Float[ndarray, "galaxy 3 size size"]) -> UInt8[ndarray, "galaxy 3 size size"]:
    return np.round(255 * images.clip(0, 1)).astype(np.uint8)
