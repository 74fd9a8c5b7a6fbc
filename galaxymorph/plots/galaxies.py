"""Figures of galaxies and of data sets: contact sheets, class balance, distributions, votes."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Real, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy import ndarray
from torch import Tensor

from galaxymorph.plots import style

CELL = 1.6  # of a galaxy, inches at most
Images = UInt8[ndarray | Tensor, "galaxy 3 size size"]
Labels = Int[ndarray | Tensor, " galaxy"]
Values = Real[ndarray | Tensor, " galaxy"] | Sequence[float | int]
Names = Sequence[str] | ndarray


def sheet(
    rows: int, columns: int, *, lines: int = 0, left: float = 0.0, right: float = 0.0
) -> tuple[Figure, Any]:
    """Make a grid of square frames without axes; room for `lines` of text above each, and for
    inches on the `left` and `right`."""
    gap, text = 0.08, 0.19 * lines
    cell = min((style.WIDTH - left - right) / columns, CELL)
    width, height = left + cell * columns + right, rows * (cell + text)
    figure = style.Picture(figsize=(width, height))
    axes = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=(left + gap / 2) / width,
        right=1 - (right + gap / 2) / width,
        bottom=gap / 2 / height,
        top=1 - (text + gap / 2) / height,
        wspace=gap / (cell - gap),
        hspace=(gap + text) / (cell - gap),
    )
    for ax in axes.flat:
        ax.set_axis_off()
    return figure, axes


def show(axes: Iterable[Axes], pixels: Iterable[Any], **look: Any) -> None:
    """Draw an image into each frame, as long as there are any."""
    for ax, image in zip(axes, pixels, strict=False):
        ax.imshow(image, **look)


def row_title(ax: Axes, text: str) -> None:
    """Write on the left of a row's first frame."""
    ax.text(-0.1, 0.5, text, ha="right", va="center", transform=ax.transAxes, fontsize=10)


def to_pixels(images: Any) -> UInt8[ndarray, "galaxy size size 3"]:
    """Return images of a data set as matplotlib wants them. Raises `ValueError` for anything else
    than uint8 `(galaxy, 3, size, size)`."""
    pixels = np.asarray(images.cpu() if isinstance(images, Tensor) else images)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
        given = f"{pixels.dtype} {pixels.shape}"
        raise ValueError(f"images are {given}; expected uint8 (galaxy, 3, size, size)")
    return pixels.transpose(0, 2, 3, 1)


@style.styled
def examples(images: Images, titles: Sequence[str], *, columns: int = 6) -> Figure:
    """Draw a contact sheet of galaxies, each with a title (of one or more lines) above it."""
    pixels = to_pixels(images)
    if len(pixels) != len(titles):
        raise ValueError(f"{len(pixels)} images and {len(titles)} titles: give each galaxy its own")
    if not len(pixels):
        return style.empty("no galaxies")
    columns = min(columns, len(pixels))
    fits = int(min(style.WIDTH / columns, CELL) / style.LETTER)
    split = [[textwrap.fill(line, fits) for line in title.split("\n")] for title in titles]
    titles = ["\n".join(filter(None, lines)) for lines in split]
    lines = max(title.count("\n") + 1 for title in titles)
    figure, axes = sheet(-(-len(pixels) // columns), columns, lines=lines)
    show(axes.flat, pixels)
    for ax, title in zip(axes.flat, titles, strict=False):
        ax.set_title(title, fontsize=10, pad=3)
    return figure


@style.styled
def class_examples(
    images: Images, labels: Labels, classes: Sequence[str], *, each: int = 7
) -> Figure:
    """Draw a contact sheet with a row per class: its first `each` galaxies, in the order given. -1
    is unlabelled and not shown."""
    pixels, labels = to_pixels(images), np.asarray(labels)
    if not len(classes):
        return style.empty("no galaxy has a class")
    figure, axes = sheet(len(classes), each, left=style.inches([*classes, "(n = 10,000)"]) + 0.2)
    for k, (row, name) in enumerate(zip(axes, classes, strict=True)):
        show(row, pixels[labels == k])
        row_title(row[0], f"{name}\n(n = {(labels == k).sum():,})")
    return figure


@style.styled
def misclassified(
    images: Images, true: Names, taken_for: Names, probability: Values, *, columns: int = 5
) -> Figure:
    """Draw a contact sheet of galaxies with their true class and, below, what they were taken for
    with which probability."""
    if not len(images):
        return style.empty("no galaxy is misclassified")
    rows = zip(true, taken_for, probability, strict=True)
    titles = [f"{t}, taken for\n{other} ({100 * p:.0f} %)" for t, other, p in rows]
    return examples(images, titles, columns=columns)


@style.styled
def class_balance(counts: pd.DataFrame, *, ax: Axes | None = None) -> Figure:
    """Draw galaxies per class (index of `counts`) and split (columns) as bars with their numbers;
    the title states the imbalance."""
    if counts.empty:
        return style.empty("no galaxy has a class", ax)
    figure, ax = style.panel(ax, height=3.8)
    n, size = len(counts.columns), 10 if counts.size <= 20 else 8
    for i, split in enumerate(counts.columns):
        place = np.arange(len(counts)) + (i - (n - 1) / 2) * 0.8 / n
        look: Any = {"color": style.look(i)["color"], "hatch": ("", "///", "...", "xx")[i % 4]}
        look |= {"edgecolor": "white", "lw": 0, "label": f"{split} ({counts[split].sum():,})"}
        bars = ax.bar(place, counts[split], 0.76 / n, **look)
        ax.bar_label(bars, [f"{n:,}" for n in counts[split]], padding=2, fontsize=size)
    total = counts.sum(axis=1)
    ends = (total.idxmax(), total.idxmin())
    most, least = (f"{name} has {total[name]:,} galaxies" for name in ends)
    ratio = f" {total.max() / total.min():.1f}" if total.min() else ""
    ax.set_title(f"imbalance{ratio}: {most}, {least}", loc="left", fontsize=11, pad=28)
    names = [str(name) for name in counts.index]
    style.names_below(ax, names, pitch=(style.WIDTH - 0.7) / len(counts))
    ax.tick_params(axis="x", length=0)
    ax.set_ylabel("galaxies")
    ax.legend(ncols=n, loc="lower left", bbox_to_anchor=(-0.01, 1.0), borderpad=0)
    return figure


@style.styled
def distributions(
    quantities: Mapping[str, Values], labels: Labels, classes: Sequence[str]
) -> Figure:
    """Draw how quantities of the galaxies (columns; by name with unit), such as brightness and
    size, are distributed in each class (rows): a histogram with its median. Galaxies with label -1
    and values that are not finite are left out."""
    if not len(classes) or not len(quantities):
        return style.empty("no galaxy has a class" if len(quantities) else "nothing was measured")
    labels, n = np.asarray(labels), len(classes)
    columns = len(quantities)
    figure, axes = style.panels(n * columns, columns, height=0.65, more=0.8, sharex="col")
    for column, (name, given) in zip(axes.T, quantities.items(), strict=True):
        values = np.asarray(given, dtype=float)
        known = np.isfinite(values) & (labels >= 0)
        bins = np.histogram_bin_edges(values[known], int(np.clip(known.sum() / n / 5, 10, 40)))
        for k, ax in enumerate(column):
            shown = values[known & (labels == k)]
            if len(shown):
                ax.hist(shown, bins, weights=np.full(len(shown), 1 / len(shown)), color=style.SKY)
                ax.axvline(float(np.median(shown)), color=style.INK, lw=2, ls="-")
            ax.set_yticks([])
            ax.tick_params(axis="x", length=3 if k == n - 1 else 0)
            ax.spines["left"].set_visible(False)
        column[-1].set_xlabel(name)
    for k, ax in enumerate(axes[:, 0]):
        text = f"{classes[k]}\n(n = {(labels == k).sum():,})"
        ax.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=10)
    handle = style.key("median (each histogram is scaled to its own peak)", color=style.INK, lw=2)
    style.legend(figure, [handle])
    return figure


@style.styled
def vote_correlation(
    votes: Float[ndarray | Tensor, "galaxy answer"], labels: Sequence[str]
) -> Figure:
    """Draw Pearson's correlation between the vote fractions of all answers over galaxies, lower
    triangle; grey where one is constant.

    `labels`: names of the answers as "question: answer"; thin lines part the questions."""
    correlation = pd.DataFrame(np.asarray(votes, dtype=float)).corr().to_numpy()
    n = len(labels)
    figure, ax = style.panel(height=style.WIDTH * 0.97)
    ax.imshow(np.where(np.tri(n), 0, np.nan), cmap=ListedColormap(["#cccccc"]))
    shown = np.ma.masked_invalid(np.where(np.tri(n), correlation, np.nan))
    image = ax.imshow(shown, cmap="RdBu_r", vmin=-1, vmax=1)
    size = max(5.0, min(10.0, 300 / n))
    ax.set_xticks(range(n), labels, rotation=90, fontsize=size)
    ax.set_yticks(range(n), labels, fontsize=size)
    questions = [label.split(":")[0] for label in labels]
    for i in range(1, n):
        if questions[i] != questions[i - 1]:
            x, y = [-0.5, i - 0.5, i - 0.5], [i - 0.5, i - 0.5, n - 0.5]
            ax.plot(x, y, color="white", lw=1.5, ls="-")
    style.frameless(ax)
    place = ax.inset_axes((0.58, 0.9, 0.36, 0.025))
    bar = figure.colorbar(image, cax=place, orientation="horizontal", ticks=[-1, -0.5, 0, 0.5, 1])
    bar.set_label(f"correlation of votes (n = {len(votes):,} galaxies)", fontsize=10)
    return figure
