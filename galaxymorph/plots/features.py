"""Figures of features: quality during training, neighbours, reconstructions, importances."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Num, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy import ndarray
from torch import Tensor

from galaxymorph.plots import style
from galaxymorph.plots.galaxies import (
    Images,
    Labels,
    Names,
    Values,
    examples,
    sheet,
    title,
    to_pixels,
)
from galaxymorph.plots.style import BLUE, FAINT, INK, ORANGE

Shown = Images | Float[ndarray | Tensor, "galaxy 3 size size"]  # floats: 0 to 1
Strips = Num[ndarray | Tensor, "pair step 3 size size"]
Queries = Int[ndarray | Tensor, " query"] | Sequence[int]
Nearest = Int[ndarray | Tensor, "query k"]

HEALTH = {
    "contrastive_accuracy": ("contrastive accuracy", "higher is better"),
    "health_knn_accuracy": ("kNN accuracy", "higher is better"),
    "health_alignment": ("alignment", "lower is better"),
    "health_uniformity": ("uniformity", "lower is better"),
    "health_spread": ("spread", "0: complete collapse"),
    "health_effective_rank": ("effective rank", "1: dimensional collapse"),
}
TRAINING: Any = {"color": ORANGE, "ls": "--"}
VALIDATION: Any = {"color": BLUE, "ls": "-"}
PARTS: dict[str, Any] = {
    "train_": TRAINING,
    "val_": VALIDATION,
    "": {"color": BLUE, "ls": "-", "marker": "o", "ms": 5},
}
ROWS = ("original", "reconstruction", "residual\n(% of full\nbrightness)")


@style.styled
def health(history: pd.DataFrame) -> Figure:
    """Draw measures of a representation against the epoch during pre-training.

    `history`: columns epoch and any of train_ and val_contrastive_accuracy and health_<measure>
    (`features.watch`), NaN in epochs without a measurement."""
    history = history.dropna(axis="columns", how="all")
    there = [name for name in HEALTH if any(part + name in history for part in PARTS)]
    if not there:
        return style.empty("no measurements of feature quality")
    figure, axes = style.panels(len(there), 3, height=2.6, sharex=True)
    for ax, name in zip(axes.flat, there, strict=False):
        for part, look in PARTS.items():
            if part + name in history:
                known = history.dropna(subset=part + name)
                ax.plot(known.epoch, known[part + name], lw=2, **look)
        measure, sense = HEALTH[name]
        ax.set_title(measure, loc="left", fontsize=11)
        ax.set_ylabel(sense, fontsize=10, color=FAINT)
        ax.set(ymargin=0.12, xlim=(0, 1.04 * history.epoch.max() + 0.2))
        if "collapse" in sense:
            ax.set_ylim(bottom=0)
        style.epoch_axis(ax, "")
    if any(len(ax.lines) > 1 for ax in axes.flat):
        style.legend(figure, {"training": TRAINING, "validation": VALIDATION})
    for ax in axes.flat[: len(there)][-axes.shape[1] :]:  # the last of each column
        ax.set_xlabel("epoch")
    return figure


@style.styled
def projection(
    points: pd.DataFrame, labels: Labels, classes: Sequence[str], *, ax: Axes | None = None
) -> Figure:
    """Draw a 2D projection of features (`features.project`) with a colour and marker per class.

    Galaxies without a class (-1) are grey and in the background."""
    figure, ax = style.panel(ax, height=5.0)
    labels = np.asarray(labels)
    x, y = points.to_numpy(float)[:, :2].T
    size = float(np.clip(6000 / max(len(x), 1), 8, 40))
    for k, name in [(-1, "no class"), *enumerate(classes)]:
        of = labels == k
        if not of.any():
            continue
        look: Any = {"c": "#c4c4c4", "marker": "o", "s": size, "lw": 0, "alpha": 0.7}
        if k >= 0:
            look |= {"c": style.COLOURS[k % 8], "marker": style.MARKERS[k % 8]}
        name = style.short([name])[0]
        ax.scatter(x[of], y[of], zorder=2 + k, label=f"{name} (n = {of.sum():,})", **look)
    ax.set(xlabel=points.columns[0], ylabel=points.columns[1], xticks=[], yticks=[])
    if len(x):
        scale = float(np.sqrt(50 / size))
        place: Any = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "handletextpad": 0.3}
        for handle in ax.legend(markerscale=scale, **place).legend_handles:
            handle.set_alpha(1)  # pyright: ignore[reportOptionalMemberAccess]
    return figure


@style.styled
def neighbours(
    images: Images, rows: Queries, indices: Nearest, labels: Labels, classes: Sequence[str]
) -> Figure:
    """Draw each galaxy in `rows`, followed by its nearest neighbours, with their classes.

    `indices`: of `features.neighbours`. Frames are dashed and orange for neighbours of a different
    class, and grey for those without a class (–)."""
    labels = np.asarray(labels)
    shown = np.column_stack([np.asarray(rows), np.asarray(indices)])  # (query, 1 + k)
    if not len(shown):
        return style.empty("no galaxies")
    figure, drawn = sheet([to_pixels(images[near.tolist()]) for near in shown], lines=1)
    fits = int(figure.get_figwidth() / shown.shape[1] / style.LETTER) - 1
    for strip, near in zip(drawn, shown, strict=True):
        own = int(labels[near[0]])
        for column, (image, label) in enumerate(zip(strip, labels[near].tolist(), strict=True)):
            name = style.short([classes[label]], fits)[0] if label >= 0 else "–"
            known = min(own, label) >= 0
            other = known and label != own
            colour = INK if column == 0 else ORANGE if other else BLUE if known else FAINT
            title(image, name, color=colour)
            _frame(image, colour, lw=4 if column == 0 else 2, ls=(0, (2, 1)) if other else "-")
    return figure


@style.styled
def reconstructions(originals: Shown, reconstructed: Shown) -> Figure:
    """Draw galaxies, their reconstructions and the residuals (original minus reconstruction).

    Residuals are means over colours in per cent of full brightness; blue: reconstruction too
    bright, red: too faint."""
    if not len(originals):
        return style.empty("no galaxies")
    residual = 100 * (_floats(originals) - _floats(reconstructed)).mean(1)
    # robust against residuals of single stars
    most = max(float(np.percentile(np.abs(residual), 99.5)), 1.0)
    strips = [_pixels(originals), _pixels(reconstructed), residual]
    look: Any = {"cmap": "RdBu_r", "vmin": -most, "vmax": most}
    figure, drawn = sheet(strips, names=ROWS, right=0.7, **look)
    tick = float(f"{0.7 * most:.1g}")
    style.colour_bar(drawn[2, -1], "", [-tick, 0, tick])
    return figure


@style.styled
def interpolation(images: Strips) -> Figure:
    """Draw interpolations between pairs of galaxies; their own reconstructions are framed."""
    if not len(images):
        return style.empty("no galaxies")
    figure, drawn = sheet([_pixels(strip) for strip in images])
    for image in drawn[:, [0, -1]].flat:
        _frame(image, INK, lw=4)
    return figure


def oddest(
    images: Images, scores: Values, ids: Names, *, count: int = 15, columns: int = 5
) -> Figure:
    """Draw the `count` galaxies with the largest scores, such as reconstruction errors."""
    values = np.asarray(scores, dtype=float)
    order = np.argsort(-values, kind="stable")[:count]
    titles = [f"{ids[i]}\nerror {values[i]:.2g}" for i in order]
    return examples(images[order.tolist()], titles, columns=columns)


@style.styled
def importances(table: pd.DataFrame, *, most: int = 15) -> Figure:
    """Draw permutation importances, largest on top, with their spread; 0 means no importance.

    `table`: of `classifiers.importances`, with the columns group, loss, low, high."""
    if table.empty:
        return style.empty("no importances were measured")
    shown = table.head(most)[::-1]
    figure, ax = style.panel(height=0.3 * len(shown) + 1.0)
    ax.axvline(0, color=FAINT, ls=":", lw=1)
    style.estimates(ax, np.arange(len(shown)), shown, "loss")
    rest = f"; the other {len(table) - len(shown)} lose less" if len(table) > len(shown) else ""
    spread = f"(line: 16 to 84 % of the shuffles{rest})"
    label = f"drop in validation accuracy when the feature is shuffled\n{spread}"
    style.row_axis(ax, [name.replace("_", " ") for name in shown.group], label)
    return figure


def _frame(image: AxesImage, colour: str, **look: Any) -> None:
    left, right, bottom, top = image.get_extent()
    look |= {"fill": False, "ec": colour, "clip_on": False}
    image.axes.add_patch(Rectangle((left, top), right - left, bottom - top, **look))


def _floats(images: Any) -> Float[ndarray, "galaxy 3 size size"]:
    """Return images as floats in [0, 1]."""
    pixels = np.asarray(images.cpu() if isinstance(images, Tensor) else images)
    return pixels / np.float32(255) if pixels.dtype == np.uint8 else pixels.astype(np.float32)


def _pixels(images: Any) -> UInt8[ndarray, "galaxy size size 3"]:
    """Return images as uint8, clipped to the range from black to white."""
    return to_pixels(np.round(255 * _floats(images).clip(0, 1)).astype(np.uint8))
