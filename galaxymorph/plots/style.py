"""Tables and arrays to matplotlib figures. Computes nothing (but bins and shares for display) and
writes nothing.

Every function returns a `Figure` that pyplot knows nothing of: a notebook shows it once, as the
value of a cell, and nothing has to be closed; `figure.savefig(path)` writes it. Those with a single
panel draw into `ax` where one is given.

One look for all (`STYLE`): 8 inches wide, so that text of 10 points and more stays legible at a
README's 800 pixels; the colours of Okabe & Ito (2008), told apart by the colour-blind, and never
colour alone: lines differ in dashes, points in markers."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from cycler import cycler
from jaxtyping import Float, Int, Real, UInt8
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy import ndarray
from torch import Tensor

WIDTH = 8.0  # of a figure, inches
CELL = 1.6  # of a galaxy, inches at most
# a letter of 10 points, inches on average and rather more: for what has to be laid out before it is
# drawn
LETTER = 0.075
INK, FAINT = "#222222", "#767676"
BLUE, ORANGE, GREEN, PINK, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"
COLOURS = (BLUE, "#E69F00", GREEN, PINK, SKY, ORANGE, "#000000", FAINT)
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 3)), (0, (3, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SEQUENTIAL = LinearSegmentedColormap.from_list(
    "white to blue", ["#ffffff", "#9ccbea", "#3f94cb", "#00609a", "#00304d"]
)
SEQUENTIAL = SEQUENTIAL.with_extremes(bad="#e8e8e8")
DIVERGING = LinearSegmentedColormap.from_list(
    "blue to orange", [BLUE, "#9ccbea", "#ffffff", "#f3b48d", ORANGE]
)
DIVERGING = DIVERGING.with_extremes(bad="#e8e8e8")
STYLE: Any = {
    "figure.dpi": 100,
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLOURS, linestyle=DASHES),
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "image.cmap": "cividis",
}

MEASURES = {
    "loss": "loss",
    "accuracy": "accuracy (fraction right)",
    "mse": "mean squared error",
}  # of learning curves

Images = UInt8[ndarray | Tensor, "galaxy 3 size size"]


class Picture(Figure):
    """A figure that a notebook shows as it is, sharp on any screen, whichever backend matplotlib
    has."""

    def _repr_png_(self) -> tuple[bytes, dict[str, float]]:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=150)
        return file.getvalue(), {"width": self.get_figwidth() * 100}


# ---- training and evaluation


@rc_context(STYLE)
def learning_curves(histories: pd.DataFrame | Sequence[pd.DataFrame]) -> Figure:
    """Loss, accuracy and error of training and validation against the epoch; several seeds as thin
    lines.

    `histories`: tables with the columns epoch, train_loss and, where they are known, val_loss,
    train_accuracy, val_accuracy, train_mse, val_mse, and best: whether validation was better in
    this epoch than in all before. The last such epoch is marked."""
    histories = [histories] if isinstance(histories, pd.DataFrame) else list(histories)
    runs = f" ({len(histories)} runs)" * (len(histories) > 1)
    measures = [
        m
        for m in MEASURES
        if any(f"{part}_{m}" in h for h in histories for part in ("train", "val"))
    ]
    if not measures:
        return empty("no training history")
    figure, axes = panels(1, len(measures), height=3.4)
    for ax, measure in zip(axes[0], measures, strict=True):
        for history in histories:
            for part, colour, dash in (("train", ORANGE, "--"), ("val", BLUE, "-")):
                if f"{part}_{measure}" in history:
                    line = history[f"{part}_{measure}"]
                    ax.plot(
                        history.epoch,
                        line,
                        color=colour,
                        ls=dash,
                        lw=2 if len(histories) == 1 else 1,
                    )
            _mark_best(ax, history, measure)
        ax.set(xlabel="epoch", ylabel=MEASURES[measure])
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(axis="y")
    looks: list[tuple[str, dict[str, Any]]] = [
        ("training" + runs, {"color": ORANGE, "ls": "--", "lw": 2}),
        ("validation" + runs, {"color": BLUE, "ls": "-", "lw": 2}),
        ("best epoch on validation", {"color": INK, "marker": "*", "ms": 11, "ls": ""}),
    ]
    validated = [h for h in histories if any(f"val_{measure}" in h for measure in measures)]
    looks = looks[: 1 + bool(validated) + any("best" in h for h in validated)]
    handles = [Line2D([], [], label=label, **look) for label, look in looks]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def _mark_best(ax: Axes, history: pd.DataFrame, measure: str) -> None:
    if "best" in history and f"val_{measure}" in history:
        last = history[history.best].tail(1)
        ax.plot(last.epoch, last[f"val_{measure}"], "*", color=INK, ms=11, zorder=3)


@rc_context(STYLE)
def roc(points: pd.DataFrame, *, ax: Axes | None = None) -> Figure:
    """Receiver operating characteristic of each class against the rest, with the area under it in
    the legend.

    `points`: the table of `metrics.roc`: columns class, false_positive_rate, true_positive_rate,
    auc, n."""
    figure, ax = panel(ax, width=WIDTH, height=4.2)
    ax.plot([0, 1], [0, 1], color=FAINT, ls=":", lw=1)
    ax.annotate(
        "guessing",
        (0.62, 0.62),
        (4, -4),
        textcoords="offset points",
        color=FAINT,
        va="top",
        fontsize=10,
    )
    for i, (name, curve) in enumerate(points.groupby("class", sort=False)):
        label = f"{name}: AUC {curve.auc.iloc[0]:.3f} (n = {curve.n.iloc[0]})"
        style: dict[str, Any] = {
            "color": COLOURS[i % 8],
            "ls": DASHES[(i + i // 8) % 8],
            "lw": 2,
            "label": label,
        }
        ax.plot(curve.false_positive_rate, curve.true_positive_rate, clip_on=False, **style)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", anchor="W")
    ax.set(xlabel="false positive rate", ylabel="true positive rate (recall)")
    if len(points):
        ax.legend(
            loc="center left",
            bbox_to_anchor=(1.02, 0.5),
            title="class against the rest",
            alignment="left",
        )
    return figure


@rc_context(STYLE)
def confusion(
    matrix: Int[ndarray, "true taken_for"], classes: Sequence[str], *, ax: Axes | None = None
) -> Figure:
    """Number of galaxies and, below it, per cent of the true class (row); the colour shows the per
    cent."""
    total = matrix.sum(1, keepdims=True)
    percent = np.ma.masked_invalid(
        np.divide(100 * matrix, total, out=np.full(matrix.shape, np.nan), where=total > 0)
    )
    names = [f"{name} (n = {n})" for name, n in zip(classes, total[:, 0], strict=True)]
    left = LETTER * max(map(len, names)) + 0.5
    cell = min(max(0.85, 1.6 / len(classes)), (WIDTH - left - 1) / len(classes))
    figure, ax = panel(ax, width=left + cell * len(classes) + 1, height=cell * len(classes) + 0.5)
    image = ax.imshow(percent, cmap=SEQUENTIAL, vmin=0, vmax=100)
    for row, column in np.ndindex(*matrix.shape):
        share = percent[row, column]
        text = f"{matrix[row, column]}\n" + ("–" if share is np.ma.masked else f"{share:.0f} %")
        colour = FAINT if matrix[row, column] == 0 else "white" if share > 50 else INK
        ax.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            fontsize=10 if cell > 0.5 else 9,
            color=colour,
        )
    if names_below(ax, classes, pitch=cell):
        figure.set_figheight(figure.get_figheight() + 0.6 * LETTER * max(map(len, classes)))
    ax.set_yticks(range(len(classes)), names)
    ax.set(xlabel="taken for", ylabel="true class")
    frameless(ax)
    colour_bar(ax, image, label="% of the true class", ticks=[0, 50, 100])
    return figure


# ---- galaxies


@rc_context(STYLE)
def examples(images: Images, titles: Sequence[str], *, columns: int = 6) -> Figure:
    """A contact sheet of galaxies, each with a title (of one or more lines) above it. `images`:
    `(galaxy, 3, size, size)`."""
    pixels = to_pixels(images)
    if len(pixels) != len(titles):
        raise ValueError(f"{len(pixels)} images and {len(titles)} titles: give each galaxy its own")
    if not len(pixels):
        return empty("no galaxies")
    columns = min(columns, len(pixels))
    fits = int(min(WIDTH / columns, CELL) / LETTER)
    titles = [
        "\n".join(line for given in title.split("\n") for line in textwrap.wrap(given, fits))
        for title in titles
    ]
    lines = max(title.count("\n") + 1 for title in titles)
    figure, axes = sheet(-(-len(pixels) // columns), columns, lines=lines)
    for ax, image, title in zip(axes.flat, pixels, titles, strict=False):
        ax.imshow(image)
        ax.set_title(title, fontsize=10, pad=3)
    return figure


@rc_context(STYLE)
def class_examples(
    images: Images,
    labels: Int[ndarray | Tensor, " galaxy"],
    classes: Sequence[str],
    *,
    each: int = 7,
) -> Figure:
    """A contact sheet with a row per class: its first `each` galaxies, in the order given. -1 is
    unlabelled and not shown."""
    pixels, labels = to_pixels(images), np.asarray(labels)
    if not len(classes):
        return empty("no galaxy has a class")
    figure, axes = sheet(
        len(classes),
        each,
        left=LETTER * max(len(name) for name in (*classes, "(n = 10,000)")) + 0.2,
    )
    for k, (row, name) in enumerate(zip(axes, classes, strict=True)):
        for ax, image in zip(row, pixels[labels == k], strict=False):
            ax.imshow(image)
        row[0].text(
            -0.1,
            0.5,
            f"{name}\n(n = {(labels == k).sum():,})",
            ha="right",
            va="center",
            transform=row[0].transAxes,
            fontsize=10,
        )
    return figure


@rc_context(STYLE)
def misclassified(
    images: Images,
    true: Sequence[str],
    taken_for: Sequence[str],
    probability: Sequence[float] | Real[ndarray, " galaxy"],
    *,
    columns: int = 5,
) -> Figure:
    """A contact sheet of galaxies with their true class and, below, what they were taken for with
    which probability."""
    if not len(images):
        return empty("no galaxy is misclassified")
    rows = zip(true, taken_for, probability, strict=True)
    return examples(
        images,
        [f"{t}, taken for\n{other} ({100 * p:.0f} %)" for t, other, p in rows],
        columns=columns,
    )


# ---- the data set


@rc_context(STYLE)
def class_balance(counts: pd.DataFrame, *, ax: Axes | None = None) -> Figure:
    """Galaxies per class (index of `counts`) and split (columns) as bars with their numbers; the
    title states the imbalance."""
    if counts.empty:
        return empty("no galaxy has a class", ax)
    figure, ax = panel(ax, width=WIDTH, height=3.8)
    n_splits, hatches = len(counts.columns), ("", "///", "...", "xx")
    for i, split in enumerate(counts.columns):
        place = np.arange(len(counts)) + (i - (n_splits - 1) / 2) * 0.8 / n_splits
        look: dict[str, Any] = {
            "color": COLOURS[i % 8],
            "hatch": hatches[i % 4],
            "edgecolor": "white",
            "lw": 0,
        }
        bars = ax.bar(
            place,
            counts[split],
            0.76 / n_splits,
            label=f"{split} ({counts[split].sum():,})",
            **look,
        )
        ax.bar_label(
            bars,
            [f"{n:,}" for n in counts[split]],
            padding=2,
            fontsize=10 if len(counts) * n_splits <= 20 else 8,
        )
    total = counts.sum(axis=1)
    most, least = (
        f"{name} has {total[name]:,} galaxies" for name in (total.idxmax(), total.idxmin())
    )
    ratio = f" {total.max() / total.min():.1f}" if total.min() else ""
    ax.set_title(f"imbalance{ratio}: {most}, {least}", loc="left", fontsize=11, pad=28)
    names_below(ax, [str(name) for name in counts.index], pitch=(WIDTH - 0.7) / len(counts))
    ax.tick_params(axis="x", length=0)
    ax.set_ylabel("galaxies")
    ax.legend(ncols=n_splits, loc="lower left", bbox_to_anchor=(-0.01, 1.0), borderpad=0)
    return figure


@rc_context(STYLE)
def distributions(
    quantities: Mapping[str, Real[ndarray | Tensor, " galaxy"]],
    labels: Int[ndarray | Tensor, " galaxy"],
    classes: Sequence[str],
) -> Figure:
    """How quantities of the galaxies, such as brightness and size, are distributed in each class.

    `quantities`: values by name with unit, a column of panels each. Each class has a row: a
    histogram (share of the class per bin) with its median. Galaxies with label -1 and values that
    are not finite are left out."""
    if not len(classes) or not len(quantities):
        return empty("no galaxy has a class" if len(quantities) else "nothing was measured")
    labels = np.asarray(labels)
    figure, axes = panels(
        len(classes), len(quantities), height=0.65 * len(classes) + 0.8, sharex="col"
    )
    for column, (name, given) in enumerate(quantities.items()):
        values = np.asarray(given, dtype=float)
        known = np.isfinite(values) & (labels >= 0)
        bins = np.histogram_bin_edges(
            values[known], int(np.clip(known.sum() / len(classes) / 5, 10, 40))
        )
        for k, ax in enumerate(axes[:, column]):
            shown = values[known & (labels == k)]
            if len(shown):
                ax.hist(shown, bins, weights=np.full(len(shown), 1 / len(shown)), color=SKY)
                ax.axvline(float(np.median(shown)), color=INK, lw=2, ls="-")
            ax.set_yticks([])
            ax.tick_params(axis="x", length=3 if k == len(classes) - 1 else 0)
            ax.spines["left"].set_visible(False)
            if column == 0:
                text = f"{classes[k]}\n(n = {(labels == k).sum():,})"
                ax.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=10)
        axes[-1, column].set_xlabel(name)
    handle = Line2D(
        [], [], color=INK, lw=2, label="median (each histogram is scaled to its own peak)"
    )
    figure.legend(handles=[handle], loc="outside upper right")
    return figure


@rc_context(STYLE)
def vote_correlation(
    votes: Float[ndarray | Tensor, "galaxy answer"], labels: Sequence[str]
) -> Figure:
    """Pearson correlation between the vote fractions of all answers over galaxies, lower triangle;
    grey where one is constant.

    `labels`: names of the answers as "question: answer"; thin lines part the questions.
    """
    correlation = pd.DataFrame(np.asarray(votes, dtype=float)).corr().to_numpy()
    n = len(labels)
    shown = np.ma.masked_where(np.triu(np.ones((n, n), bool), 1), correlation)
    figure, ax = panel(None, width=WIDTH, height=WIDTH * 0.97)
    ax.imshow(
        np.where(np.tri(n), 0, np.nan),
        cmap=LinearSegmentedColormap.from_list("grey", ["#cccccc", "#cccccc"]),
    )
    image = ax.imshow(np.ma.masked_invalid(shown), cmap="RdBu_r", vmin=-1, vmax=1)
    size = max(5.0, min(10.0, 300 / n))
    ax.set_xticks(range(n), labels, rotation=90, fontsize=size)
    ax.set_yticks(range(n), labels, fontsize=size)
    questions = [label.split(":")[0] for label in labels]
    for i in range(1, n):
        if questions[i] != questions[i - 1]:
            ax.plot(
                [-0.5, i - 0.5, i - 0.5], [i - 0.5, i - 0.5, n - 0.5], color="white", lw=1.5, ls="-"
            )
    frameless(ax)
    place = ax.inset_axes((0.58, 0.9, 0.36, 0.025))
    bar = figure.colorbar(image, cax=place, orientation="horizontal", ticks=[-1, -0.5, 0, 0.5, 1])
    bar.set_label(f"correlation of votes (n = {len(votes):,} galaxies)", fontsize=10)
    return figure


# ---- the parts, also of the other figures


def panels(rows: int, columns: int, *, height: float, **share: Any) -> tuple[Figure, Any]:
    """A grid of panels as wide as a figure may be."""
    figure = Picture(figsize=(WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=0.1))
    return figure, figure.subplots(rows, columns, squeeze=False, **share)


def panel(ax: Axes | None, *, width: float, height: float) -> tuple[Figure, Axes]:
    """The given panel with its figure, or a new one."""
    if ax is None:
        figure = Picture(figsize=(width, height), layout="constrained")
        return figure, figure.add_subplot()
    figure = ax.get_figure(root=True)
    assert figure is not None
    return figure, ax


def sheet(
    rows: int, columns: int, *, lines: int = 0, left: float = 0.0, right: float = 0.0
) -> tuple[Figure, Any]:
    """A grid of square frames without axes; room for `lines` of text above each, and for inches on
    the `left` and `right`."""
    gap, text = 0.08, 0.19 * lines
    cell = min((WIDTH - left - right) / columns, CELL)
    width = left + cell * columns + right
    figure = Picture(figsize=(width, rows * (cell + text)))
    axes = figure.subplots(rows, columns, squeeze=False)
    inside = cell - gap
    height = figure.get_figheight()
    figure.subplots_adjust(
        left=(left + gap / 2) / width,
        right=1 - (right + gap / 2) / width,
        bottom=gap / 2 / height,
        top=1 - (text + gap / 2) / height,
        wspace=gap / inside,
        hspace=(gap + text) / inside,
    )
    for ax in axes.flat:
        ax.set_axis_off()
    return figure, axes


def empty(text: str, ax: Axes | None = None) -> Figure:
    """A figure, or a given panel, that says why there is nothing to see."""
    figure, ax = panel(ax, width=WIDTH, height=0.6)
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes)
    return figure


def row_names(rows: pd.DataFrame) -> list[str]:
    """Method, label budget where there are several, and seeds, of rows of a comparison."""
    budgets = ["all labels" if pd.isna(n) else f"{n:,} labels" for n in rows.n_labels]
    budgets = [f", {budget}" if len(set(budgets)) > 1 else "" for budget in budgets]
    seeds = [f"{n} seed{'s' * (n != 1)}" for n in rows.seeds]
    return [
        f"{in_lines(m + budget)} ({n})"
        for m, budget, n in zip(rows.method, budgets, seeds, strict=True)
    ]


def in_lines(name: str, *, letters: int = 34) -> str:
    """A long name in lines of some letters at most, broken after spaces and what else parts the
    names of methods."""
    lines = [""]
    for part in re.split("(?<=[ _,])", name):
        if lines[-1] and len(lines[-1] + part.rstrip()) > letters:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def names_below(ax: Axes, names: Sequence[str], *, pitch: float) -> bool:
    """Tick labels at 0, 1, ... on the x axis; whether they had to be slanted as they do not fit
    into `pitch` inches each."""
    slanted = LETTER * max(map(len, names)) > pitch
    ax.set_xticks(range(len(names)), names, rotation=40 if slanted else 0, rotation_mode="xtick")
    return slanted


def colour_bar(
    ax: Axes,
    image: AxesImage,
    *,
    label: str,
    ticks: Sequence[float | int] | None,
    names: Sequence[str] | None = None,
) -> None:
    """A colour bar as high as the axes; `names` of its ticks where their values are not what should
    be read."""
    width = ax.bbox.width / ax.figure.dpi  # of the axes, inches
    place = ax.inset_axes((1 + 0.07 / width, 0.0, 0.15 / width, 1.0))
    bar = ax.figure.colorbar(image, cax=place, ticks=ticks)
    bar.set_label(label)
    if names is not None:
        place.set_yticklabels(list(names))
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]


def frameless(ax: Axes) -> None:
    """Nothing around the axes but names."""
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def to_pixels(images: Any) -> UInt8[ndarray, "galaxy size size 3"]:
    """Images of a data set as matplotlib wants them."""
    pixels = np.asarray(images.cpu() if isinstance(images, Tensor) else images)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
        raise ValueError(
            f"images are {pixels.dtype} {pixels.shape}; expected uint8 (galaxy, 3, size, size)"
        )
    return pixels.transpose(0, 2, 3, 1)
