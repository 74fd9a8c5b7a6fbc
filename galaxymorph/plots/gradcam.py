"""Figures of class-activation maps: overlays on galaxies, and scores of the explanations."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy import ndarray
from torch import Tensor

from galaxymorph.plots import style
from galaxymorph.plots.galaxies import Images, sheet, to_pixels

Heat = Float[ndarray | Tensor, "galaxy size size"]

# colour-blind safe, visible on black and white, and transparent enough to see the galaxy
_ramp = matplotlib.colormaps["plasma"](np.linspace(0, 1, 256))
_ramp[:, 3] = 0.65 * np.linspace(0, 1, 256) ** 0.7
HEAT = ListedColormap(_ramp, "heat")

NAMES = {"gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++", "hirescam": "HiResCAM"}
NAMES |= {"layercam": "LayerCAM", "centred": "Gaussian"}
CONTROLS: Any = {
    "centred": {"color": style.INK, "ls": ":"},
    "random": {"color": style.FAINT, "ls": (0, (1, 4))},
}
SCORES = ("deletion", "insertion", "randomised", "on galaxy", "rotation")
BETTER = {name: "lower" if name in ("deletion", "randomised") else "higher" for name in SCORES}
REPLACED = {"deletion": "replaced by sky", "insertion": "restored"}
CLOSE = 0.06  # half the smallest range of a score axis, so that small differences look small


@style.styled
def overlay(
    images: Images,
    heat: Mapping[str, Heat],
    titles: Sequence[str] | None = None,
    captions: Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """Draw a row per galaxy: its image, followed by each map over the image in grey.

    `heat`: maps (`gradcam.maps`) by name, such as the method or the answer; `titles`: one line per
    galaxy, above its row; `captions`: by name of the map, texts per galaxy to replace that name,
    such as vote fractions (`targets.caption`). Raises `ValueError` if lengths differ."""
    pixels, captions = to_pixels(images), captions or {}
    n = len(pixels)
    for name, texts in {"titles": titles, **heat, **captions}.items():
        if texts is not None and len(texts) != n:
            raise ValueError(f"{name}: {len(texts)} for {n} galaxies; expected one per galaxy")
    if not n or not heat:
        return style.empty("no galaxies" if not n else "no maps")
    above = [captions.get(name, [NAMES.get(name, name)] * n) for name in heat]
    strips = [[image, *[image.mean(-1)] * len(heat)] for image in pixels]
    room: Any = {"lines": titles is not None, "right": 0.75}
    rows = zip([""] * n, *above, strict=True)
    texts = [[text.replace(", ", ",\n") for text in row] for row in rows]
    figure, drawn = sheet(strips, texts, cmap="gray", vmin=0, **room)
    ax = drawn[0, 0].axes
    lines = 1 + max(text.get_text().count("\n") for text in ax.texts)
    for row, strip in enumerate(drawn):
        for below, maps in zip(strip[1:], heat.values(), strict=True):
            look: Any = {"extent": below.get_extent(), "aspect": "auto", "cmap": HEAT}
            ax.imshow(np.asarray(maps[row]), vmin=0, vmax=1, **look)
        if titles is not None:
            left, *_, top = strip[0].get_extent()
            ax.text(left, top - (4 + 13.7 * lines) / 72, titles[row], fontsize=10, weight="bold")
    bar = style.colour_bar(ax.images[drawn.size + len(heat) - 1], "heat", [0, 0.5, 1])
    bar.set_facecolor("black")  # as the sky
    for number, inside in zip(bar.get_yticklabels(), ("bottom", "center", "top"), strict=True):
        number.set_verticalalignment(inside)
    return figure


@style.styled
def curves(table: pd.DataFrame) -> Figure:
    """Draw deletion and insertion curves: the mean score against the fraction of pixels.

    Bands are 95 % intervals; controls are dotted. `table`: the curves of `map_scores.compare`."""
    if table.empty:
        return style.empty("no curves")
    figure, axes = style.panels(2, height=4.0, sharey=True)
    looks = _looks(table)
    for ax, (name, which) in zip(axes.flat, REPLACED.items(), strict=True):
        for method, rows in table[table.curve == name].groupby("method", sort=False):
            look, label = looks[str(method)], NAMES.get(str(method), str(method))
            percent = 100 * rows.fraction
            ax.plot(percent, rows.value, lw=2, label=label, **look)
            if method not in CONTROLS:
                ax.fill_between(percent, rows.low, rows.high, color=look["color"], alpha=0.1, lw=0)
        ax.set_title(f"{name} (area: {BETTER[name]} is better)", loc="left", fontsize=11)
        ax.set(xlabel=f"% of pixels {which}, hottest first", xlim=(0, 100))
        ax.grid(axis="y")
    axes[0][0].set_ylabel(f"score (mean of {table.n.max():,} galaxies, 95 %)")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


@style.styled
def scores(table: pd.DataFrame) -> Figure:
    """Draw scores with 95 % intervals by method, with the centred control as a dashed line.

    `table`: the scores of `map_scores.compare`."""
    if table.empty:
        return style.empty("no scores")
    there = [name for name in BETTER if name in set(table.score)]
    methods = list(table.method.unique())[::-1]
    looks = _looks(table)
    names = [NAMES.get(str(method), str(method)) for method in methods]
    figure, axes = style.panels(len(there), height=0.36 * len(methods) + 1.5, sharey=True)
    for ax, name in zip(axes.flat, there, strict=True):
        rows = table[table.score == name].set_index("method").loc[methods]
        for place, method in enumerate(methods):
            point = {"color": looks[method]["color"], "marker": "os"[method in CONTROLS]}
            style.estimates(ax, place, rows.loc[[method]], **point)
        if "centred" in methods:
            ax.axvline(rows.value["centred"], color=style.FAINT, zorder=0, **style.DASHED)
        ax.update_datalim([(rows.value.mean() + end, 0) for end in (-CLOSE, CLOSE)])
        style.row_axis(ax, names, f"{name}\n{BETTER[name]} is better", ticks=2, margin=0.12)
        ax.xaxis.label.set_fontsize(10)
    return figure


def _looks(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return a distinct colour and dash for each method; controls are black and grey."""
    methods = [method for method in table.method.unique() if method not in CONTROLS]
    dashes = [dash for dash in style.DASHES if dash != ":"]
    looks = enumerate(methods)
    return {m: {"color": style.COLOURS[i % 6], "ls": dashes[i % 6]} for i, m in looks} | CONTROLS
