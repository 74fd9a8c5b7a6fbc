"""Figures of where methods fail, in the look of `plots`. Tables are those of `failures`."""

from __future__ import annotations

import math
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from galaxymorph.plots.style import (
    BLUE,
    COLOURS,
    DASHES,
    DIVERGING,
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
    frameless,
    in_lines,
    names_below,
    panel,
    panels,
)

NAMES = {  # of properties that have units
    "half_light_radius": "half-light radius (px)",
    "brightness": "brightness (pixels of white)",
    "vote_agreement": "vote agreement (share of volunteers)",
}
BESIDE = 34  # letters of a line of the legend
SPREAD = 0.7  # of the methods side by side, in the width of a bin


@rc_context(STYLE)
def by_property(table: pd.DataFrame) -> Figure:
    """Accuracy (left) and confidence less accuracy (right) in bins of each property (rows), a line
    with 95 % intervals for each method. Above 0 on the right a method is too sure. The bins of a
    property stand side by side, whatever their width; below each, the values that it holds."""
    if table.empty:
        return empty("no galaxy has a property that was measured")
    properties, methods = list(dict.fromkeys(table.property)), list(dict.fromkeys(table.method))
    names = [in_lines(str(method), letters=BESIDE) for method in methods]
    columns = (
        1
        if len(methods) == 1
        else 2
        if max(len(line) for name in names for line in name.split("\n")) > 20
        else 3
    )
    lines = -(-sum(1 + name.count("\n") for name in names) // columns)
    figure, axes = panels(
        len(properties), 2, height=2.45 * len(properties) + 0.25 * (lines + 1) + 0.4, sharey="col"
    )
    for row, name in zip(axes, properties, strict=True):
        here = table.loc[table.property == name]
        edges = here.drop_duplicates(subset="bin").sort_values(by="bin")
        for ax, measure in zip(row, ("accuracy", "gap"), strict=True):
            for i, method in enumerate(methods):
                own = here.loc[here.method == method]
                place = own.bin + SPREAD * (i - (len(methods) - 1) / 2) / len(methods)
                look: dict[str, Any] = {"color": COLOURS[i % 8], "zorder": 2 + 1 / (i + 1)}
                ax.vlines(
                    place,
                    own[f"{measure}_low"],
                    own[f"{measure}_high"],
                    lw=1,
                    ls="-",
                    alpha=0.6,
                    **look,
                )
                dashes, marker = DASHES[(i + i // 8) % 8], MARKERS[(i + i // 8) % 8]
                ax.plot(
                    place,
                    own[measure],
                    ls=dashes,
                    marker=marker,
                    ms=5,
                    lw=1.3,
                    label=names[i],
                    **look,
                )
            texts = [
                f"{_number(low)}–\n{_number(high)}"
                for low, high in zip(edges.low, edges.high, strict=True)
            ]
            step = math.ceil(
                1.3 * LETTER * max(len(text) for text in texts) / 2 / (WIDTH / 2.7 / len(texts))
            )
            ax.set_xticks(edges.bin[::step], texts[::step])
            ax.set_xlim(-0.5, edges.bin.max() + 0.5)
            ax.set_xlabel(NAMES.get(str(name), str(name).replace("_", " ")))
            ax.set_ylabel("accuracy" if measure == "accuracy" else "confidence\nless accuracy")
            ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
            ax.tick_params(axis="y", labelleft=True)
            ax.grid(axis="y")
        row[1].axhline(0, color=INK, lw=1, ls=":", zorder=1)
    handles, _ = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=columns,
        title="mean over seeds with 95 % interval",
        alignment="left",
    )
    return figure


@rc_context(STYLE)
def suspects(images: Images, table: pd.DataFrame, *, columns: int = 5) -> Figure:
    """A contact sheet of galaxies whose label is suspected: id, label, the class that is suspected,
    how many of the methods do, and the probability that these give it. `images`: `(galaxy, 3, size,
    size)`, in the order of the rows of `table`."""
    if table.empty:
        return empty("no label is suspected")
    titles = [
        f"{fill(row['id'], 16)}\nlabel: {row['label']}\n{row['suspected']}? {100 * row['probability']:.0f} %\n"
        f"by {row['methods']} of {row['of']} method{'s' * (row['of'] > 1)}"
        for row in table.to_dict("records")
    ]
    return examples(images, titles, columns=columns)


@rc_context(STYLE)
def disagreements(
    images: Images, table: pd.DataFrame, a: str, b: str, *, columns: int = 5
) -> Figure:
    """A contact sheet of galaxies that two methods name differently: id, label, and the class that
    each of them gives, with its probability. `images`: `(galaxy, 3, size, size)`, in the order of
    the rows of `table`."""
    if table.empty:
        return empty(f"{a} and {b} name every galaxy alike")
    names = [in_lines(f"{name}:", letters=20) for name in (a, b)]
    titles = [
        f"{fill(row['id'], 16)}\nlabel: {row['label']}\n{names[0]}\n{row['class_a']} {100 * row['probability_a']:.0f} %\n"
        f"{names[1]}\n{row['class_b']} {100 * row['probability_b']:.0f} %"
        for row in table.to_dict("records")
    ]
    return examples(images, titles, columns=columns)


@rc_context(STYLE)
def confusion_difference(table: pd.DataFrame, a: str, b: str) -> Figure:
    """The confusion matrix of a less that of b as a heat map, in percentage points of the true
    class (row); cells that are told apart are framed and marked "*". Orange: a does it more often;
    on the diagonal that is better, elsewhere worse."""
    classes = list(dict.fromkeys(table.label))
    grid = table.set_index(["label", "taken_for"])
    values = 100 * grid["difference"].unstack().loc[classes, classes].to_numpy(float)
    told = grid["resolved"].unstack().loc[classes, classes].to_numpy(bool)
    n = table.drop_duplicates("label").set_index("label")["n"]
    names = [f"{name} (n = {n[name]:,})" for name in classes]
    most = math.ceil(max(np.nanmax(abs(values), initial=0), 1))
    left = LETTER * max(map(len, names)) + 0.5
    cell = min(max(0.85, 1.6 / len(classes)), (WIDTH - left - 1.2) / len(classes))
    titles = [
        in_lines(f"{sign}: more often by {name}", letters=60)
        for sign, name in (("above 0", a), ("below 0", b))
    ]
    lines = sum(1 + title.count("\n") for title in titles)
    width = max(
        left + cell * len(classes) + 1.2,
        min(WIDTH, LETTER * max(len(line) for t in titles for line in t.split("\n")) + 0.6),
    )
    figure, ax = panel(None, width=width, height=cell * len(classes) + 0.8 + 0.22 * (lines + 1))
    image = ax.imshow(np.ma.masked_invalid(values), cmap=DIVERGING, vmin=-most, vmax=most)
    for row, column in np.ndindex(*values.shape):
        value, sure = values[row, column], bool(told[row, column])
        text = (
            "–"
            if np.isnan(value)
            else (f"{value:+.0f}".replace("-", "−") if round(value) else "0") + "*" * sure
        )
        colour = (
            "white" if abs(value) > 0.75 * most else FAINT if not value or np.isnan(value) else INK
        )
        ax.text(column, row, text, ha="center", va="center", fontsize=10, color=colour)
        if sure:
            ax.add_patch(
                Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fc="none", ec=INK, lw=1.8)
            )
    if names_below(ax, classes, pitch=cell):
        figure.set_figheight(figure.get_figheight() + 0.6 * LETTER * max(map(len, classes)))
    ax.set_yticks(range(len(classes)), names)
    ax.set(xlabel="taken for", ylabel="true class")
    frameless(ax)
    colour_bar(ax, image, label="percentage points", ticks=[-most, 0, most])
    handles = [
        Patch(fc=ORANGE, label=titles[0]),
        Patch(fc=BLUE, label=titles[1]),
        Patch(
            fc="none",
            ec=INK,
            lw=1.8,
            label="* told apart" if told.any() else "none can be told apart",
        ),
    ]
    figure.legend(handles=handles, loc="outside upper left")
    return figure


def _number(value: float) -> str:
    """Three digits, none of them after the point of large numbers."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
