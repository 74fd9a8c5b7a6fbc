"""Figures of galaxies and of data sets: contact sheets, class balance, distributions, votes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Real, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy import ndarray
from torch import Tensor

from galaxymorph.plots import style

CELL = 1.6  # maximum size of a galaxy, inches
Images = UInt8[ndarray | Tensor, "galaxy 3 size size"]
Labels = Int[ndarray | Tensor, " galaxy"]
Values = Real[ndarray | Tensor, " galaxy"] | Sequence[float | int]
Names = Sequence[str] | ndarray


def sheet(
    strips: Sequence[Any],
    texts: Sequence[Sequence[str]] = (),
    names: Sequence[str] = (),
    *,
    columns: int = 0,
    lines: int = 0,
    right: float = 0.0,
    **look: Any,
) -> tuple[Figure, Any]:
    """Draw rows of images in square frames, in one panel whose unit is an inch; return its images.

    `texts`: titles of the images, line-wrapped; `names`: labels of the rows; `columns`: default is
    the length of the longest row; `lines`: lines of space above each row; `right`: inches on the
    right; `look`: options of `imshow`, for images without colour. The images have the shape (strip,
    column), with None where a strip ends."""
    columns = columns or max(map(len, strips))
    left = style.inches([*names, "(n = 10,000)"]) + 0.2 if names else 0.0
    gap, cell = 0.08, min((style.WIDTH - left - right) / columns, CELL)
    texts = [style.in_lines(row, letters=int(cell / style.LETTER)) for row in texts]
    above = 0.19 * (lines + max((style.lines([text]) for row in texts for text in row), default=0))
    width, height = left + cell * columns + right, len(strips) * (cell + above)
    figure = style.Picture(figsize=(width, height))
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    ax.set_axis_off()
    shown = np.full((len(strips), columns), None)
    for row, strip in enumerate(strips):
        top = row * (cell + above) + above + gap / 2
        for column, pixels in enumerate(strip):
            x = left + column * cell + gap / 2
            place: Any = (x, x + cell - gap, top + cell - gap, top)
            shown[row, column] = ax.imshow(pixels, extent=place, aspect="auto", **look)
            if texts:
                title(shown[row, column], texts[row][column])
        if row < len(names):
            beside: Any = {"ha": "right", "va": "center", "fontsize": 10}
            ax.text(left - 0.07, top + (cell - gap) / 2, names[row], **beside)
    return figure, shown


def title(image: AxesImage, text: str, **look: Any) -> None:
    """Write a text above an image of a sheet."""
    left, right, _, top = image.get_extent()
    look = {"ha": "center", "va": "bottom", "fontsize": 10} | look
    image.axes.text((left + right) / 2, top - 0.04, text, **look)


def to_pixels(images: Any) -> UInt8[ndarray, "galaxy size size 3"]:
    """Return images as `(galaxy, size, size, 3)` for matplotlib.

    Raises `ValueError` unless they are uint8 `(galaxy, 3, size, size)`."""
    pixels = np.asarray(images.cpu() if isinstance(images, Tensor) else images)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
        given = f"{pixels.dtype} {pixels.shape}"
        raise ValueError(f"images are {given}; expected uint8 (galaxy, 3, size, size)")
    return pixels.transpose(0, 2, 3, 1)


@style.styled
def examples(
    images: Images, titles: Sequence[str], *, columns: int = 6, none: str = "no galaxies"
) -> Figure:
    """Draw a contact sheet of galaxies with titles; `none` is the note if there are none."""
    pixels = to_pixels(images)
    if len(pixels) != len(titles):
        raise ValueError(f"{len(pixels)} images and {len(titles)} titles; expected one per galaxy")
    if not len(pixels):
        return style.empty(none)
    starts = range(0, len(pixels), columns)
    texts = [titles[i : i + columns] for i in starts]
    return sheet([pixels[i : i + columns] for i in starts], texts)[0]


@style.styled
def class_examples(
    images: Images, labels: Labels, classes: Sequence[str], *, each: int = 7
) -> Figure:
    """Draw the first `each` galaxies of each class, one row per class, without unlabelled (-1)."""
    pixels, labels = to_pixels(images), np.asarray(labels)
    if not len(classes):
        return style.empty("no galaxy has a class")
    strips = [pixels[labels == k] for k in range(len(classes))]
    names = [
        f"{name}\n(n = {len(x):,})" for name, x in zip(style.short(classes), strips, strict=True)
    ]
    return sheet([strip[:each] for strip in strips], names=names, columns=each)[0]


def misclassified(images: Images, true: Names, taken_for: Names, probability: Values) -> Figure:
    """Draw galaxies with true class, predicted class (`taken_for`), and its probability."""
    rows = zip(true, taken_for, probability, strict=True)
    titles = [f"true: {t}\npredicted: {name}\n({100 * p:.0f} %)" for t, name, p in rows]
    return examples(images, titles, columns=5, none="no galaxy is misclassified")


@style.styled
def class_balance(counts: pd.DataFrame, *, ax: Axes | None = None) -> Figure:
    """Draw the number of galaxies per class (index) and split (columns); imbalance in the title."""
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
    most, least = (f"{style.short([name])[0]} has {total[name]:,} galaxies" for name in ends)
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
    """Draw histograms with medians of quantities such as brightness (columns) per class (rows).

    `quantities`: by name with unit. Unlabelled galaxies (-1) and non-finite values are omitted."""
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
        text = f"{style.short(classes)[k]}\n(n = {(labels == k).sum():,})"
        ax.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=10)
    median = "median (each histogram is scaled to its own peak)"
    style.legend(figure, {median: {"color": style.INK, "lw": 2}})
    return figure


@style.styled
def vote_correlation(
    votes: Float[ndarray | Tensor, "galaxy answer"], labels: Sequence[str]
) -> Figure:
    """Draw Pearson's correlation between the vote fractions of all answers (lower triangle).

    Grey if one is constant. `labels`: "question: answer"; thin lines separate questions."""
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
