"""Figures of class-activation maps: on the galaxies, and how well they explain the answer."""

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

# distinguishable for the colour-blind, and on black and on white; the galaxy stays visible
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
BETTER = {name: "less" if name in ("deletion", "randomised") else "more" for name in SCORES}
REPLACED = {"deletion": "replaced by sky", "insertion": "that are sharp"}
CLOSE = 0.06  # a score that differs by less shall not look as if it differed much


@style.styled
def overlay(
    images: Images,
    heat: Mapping[str, Heat],
    titles: Sequence[str] | None = None,
    captions: Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """Draw a row per galaxy: itself, and then in grey with the heat of each map over it.

    `heat`: maps (`gradcam.maps`) by method, or by whatever differs, such as the answer; `titles`: a
    line above each galaxy's row; `captions`: by the names of `heat`, what stands above a galaxy's
    map in place of that name, such as its vote fraction (`targets.caption`). Raises `ValueError`
    where there is not one of each for each galaxy."""
    pixels, captions = to_pixels(images), captions or {}
    n = len(pixels)
    for name, texts in {"titles": titles, **heat, **captions}.items():
        if texts is not None and len(texts) != n:
            raise ValueError(f"{name}: {len(texts)} for {n} galaxies; expected one for each")
    if not n or not heat:
        return style.empty("no galaxies" if not n else "no maps")
    above = [captions.get(name, [NAMES.get(name, name)] * n) for name in heat]
    strips = [[image, *[image.mean(-1)] * len(heat)] for image in pixels]
    room: Any = {"lines": titles is not None, "right": 0.75}
    rows = zip([""] * n, *above, strict=True)
    texts = [[text.replace(", ", ",\n") for text in row] for row in rows]
    figure, axes = sheet(strips, texts, cmap="gray", vmin=0, **room)
    lines = 1 + max(ax.get_title().count("\n") for ax in axes.flat)
    for row, strip in enumerate(axes):
        for ax, maps in zip(strip[1:], heat.values(), strict=True):
            ax.imshow(np.asarray(maps[row]), cmap=HEAT, vmin=0, vmax=1)
        if titles is not None:
            place: Any = {"xytext": (0, 4 + 13.7 * lines), "textcoords": "offset points"}
            place |= {"xycoords": "axes fraction", "fontsize": 10, "weight": "bold"}
            strip[0].annotate(titles[row], (0, 1), **place)
    bar = style.colour_bar(axes[0, -1].images[-1], "heat", [0, 0.5, 1])
    bar.set_facecolor("black")  # as the sky
    for number, inside in zip(bar.get_yticklabels(), ("bottom", "center", "top"), strict=True):
        number.set_verticalalignment(inside)
    return figure


@style.styled
def curves(table: pd.DataFrame) -> Figure:
    """Draw deletion and insertion: the score against the share of pixels, mean over galaxies, a
    line per method with the band of its 95 % interval, and dotted ones for controls. `table`: the
    curves of `map_scores.compare`."""
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
        ax.set_title(f"{name}: {BETTER[name]} area is better", loc="left", fontsize=11)
        ax.set(xlabel=f"% of the pixels {which}, hottest first", xlim=(0, 100))
        ax.grid(axis="y")
    axes[0][0].set_ylabel(f"score (mean of {table.n.max():,} galaxies, 95 %)")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


@style.styled
def scores(table: pd.DataFrame) -> Figure:
    """Draw a panel for each score, with each method as a point with its 95 % interval, and the
    centred control as a dashed line. `table`: the scores of `map_scores.compare`."""
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
    """A colour and a dash of its own for each method; controls in ink and grey."""
    methods = [method for method in table.method.unique() if method not in CONTROLS]
    dashes = [dash for dash in style.DASHES if dash != ":"]
    looks = enumerate(methods)
    return {m: {"color": style.COLOURS[i % 6], "ls": dashes[i % 6]} for i, m in looks} | CONTROLS
