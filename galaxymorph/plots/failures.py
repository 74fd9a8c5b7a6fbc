"""Figures on failures: accuracy by property, suspected labels, disagreements, confusion."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from galaxymorph.plots import style
from galaxymorph.plots.galaxies import Images, examples

NAMES = {  # axis labels with units
    "half_light_radius": "half-light radius (px)",
    "brightness": "brightness (in white pixels)",
    "vote_agreement": "vote agreement (fraction)",
}
SPREAD = 0.7  # of the methods next to each other, as a fraction of the bin width
MEASURED = {"accuracy": "accuracy", "gap": "confidence\nminus accuracy"}


@style.styled
def by_property(table: pd.DataFrame) -> Figure:
    """Draw accuracy (left) and confidence minus accuracy (right) in bins of each property (rows).

    Positive values on the right mean overconfidence. Bins are equally spaced, whatever their width,
    and labelled with their range. `table`: of `by_property.by_property`."""
    if table.empty:
        return style.empty("no measured galaxy properties")
    properties, methods = list(dict.fromkeys(table.property)), list(dict.fromkeys(table.method))
    names, n = style.in_lines(map(str, methods), letters=34), len(methods)
    columns = 1 if n == 1 else 2 if style.inches(names) > 20 * style.LETTER else 3
    more = 0.25 * (-(-style.lines(names) // columns) + 1) + 0.4
    figure, axes = style.panels(2 * len(properties), 2, height=2.45, more=more, sharey="col")
    for row, name in zip(axes, properties, strict=True):
        here = table.loc[table.property == name]
        edges = here.drop_duplicates(subset="bin").sort_values(by="bin")
        bounds = zip(edges.low, edges.high, strict=True)
        texts = [f"{_number(low)}–\n{_number(high)}" for low, high in bounds]
        widest = 0.65 * style.LETTER * max(map(len, texts))
        step = math.ceil(widest / (style.WIDTH / 2.7 / len(texts)))
        for ax, (measure, label) in zip(row, MEASURED.items(), strict=True):
            for i, method in enumerate(methods):
                own = here.loc[here.method == method]
                place = own.bin + SPREAD * (i - (n - 1) / 2) / n
                low, value, high = style.ends(own, measure)
                line = style.look(i, ms=5, lw=1.3, zorder=2 + 1 / (i + 1))
                look: Any = {key: line[key] for key in ("color", "zorder")}
                ax.vlines(place, low, high, lw=1, ls="-", alpha=0.6, **look)
                ax.plot(place, value, **line)
            ax.set_xticks(edges.bin[::step], texts[::step])
            ax.set(xlim=(-0.5, edges.bin.max() + 0.5), ylabel=label)
            ax.set_xlabel(NAMES.get(name, name.replace("_", " ")))
            ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
            ax.tick_params(axis="y", labelleft=True)
            ax.grid(axis="y")
        row[1].axhline(0, color=style.INK, lw=1, ls=":", zorder=1)
    place: Any = {"loc": "outside upper left", "ncols": columns, "alignment": "left"}
    looks = {name: style.look(i, ms=5, lw=1.3) for i, name in enumerate(names)}
    style.legend(figure, looks, title="mean over seeds with 95 % interval", **place)
    return figure


def suspects(images: Images, table: pd.DataFrame) -> Figure:
    """Draw galaxies with suspected labels: label, suspected class, its probability, and methods.

    `images`: in the order of the rows of `table`, which is of `label_noise.suspects`."""
    titles = [
        f"{_head(row)}\n{row['suspected']}? {100 * row['probability']:.0f} %\n"
        f"by {row['methods']} of {row['of']} method{'s' * (row['of'] > 1)}"
        for row in table.to_dict("records")
    ]
    return examples(images, titles, columns=5, none="no label is suspected")


def disagreements(images: Images, table: pd.DataFrame, a: str, b: str) -> Figure:
    """Draw galaxies that two methods classify differently, with both classes and probabilities.

    `images`: in the order of the rows of `table`, which is of `disagreement.disagreements`."""
    first, second = style.in_lines([f"{a}:", f"{b}:"], letters=20)
    titles = [
        f"{_head(row)}\n{first}\n{row['class_a']} {100 * row['probability_a']:.0f} %\n"
        f"{second}\n{row['class_b']} {100 * row['probability_b']:.0f} %"
        for row in table.to_dict("records")
    ]
    return examples(images, titles, columns=5, none=f"{a} and {b} agree on every galaxy")


@style.styled
def confusion_difference(table: pd.DataFrame, a: str, b: str) -> Figure:
    """Draw the confusion matrix of a minus that of b, in percentage points of the true class (row).

    Significant differences are framed and marked "*". Orange: more often by a, which is better on
    the diagonal and worse elsewhere. `table`: of `disagreement.confusion_difference`."""
    classes = list(dict.fromkeys(table.label))
    cells = table.pivot(index="label", columns="taken_for").loc[classes]
    values = 100 * cells["difference"][classes].to_numpy(float)
    resolved = cells["resolved"][classes].to_numpy(bool)
    texts = np.char.replace(np.char.mod("%+.0f", values), "-", "−")
    texts = np.select([np.isnan(values), np.round(values) == 0], ["–", "0"], texts)
    texts = np.char.add(texts, np.where(resolved, "*", ""))
    most = math.ceil(max(np.nanmax(abs(values), initial=0), 1))
    titles = [f"above 0: more often by {a}", f"below 0: more often by {b}"]
    more, less = titles = style.in_lines(titles, letters=60)
    counts = table.drop_duplicates("label").set_index("label")["n"].to_dict()
    look: Any = {"cmap": style.DIVERGING, "vmin": -most, "vmax": most}
    figure, ax, image = style.class_map(values, texts, counts, **look)
    width = max(figure.get_figwidth(), min(style.WIDTH, style.inches(titles) + 0.6))
    above = 0.3 + 0.22 * (style.lines(titles) + 1)
    figure.set_size_inches(width, figure.get_figheight() + above)
    style.colour_bar(image, "percentage points", [-most, 0, most])
    framed: Any = {"fc": "none", "ec": style.INK, "lw": 1.8}
    for row, column in np.argwhere(resolved):
        ax.add_patch(Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, **framed))
    label = "* significant difference" if resolved.any() else "no significant difference"
    looks = {more: {"fc": style.ORANGE}, less: {"fc": style.BLUE}, label: framed}
    style.legend(figure, looks, loc="outside upper left", ncols=1)
    return figure


def _head(row: dict[Any, Any]) -> str:
    """Return the id of a galaxy, line-wrapped, and its label."""
    return f"{style.in_lines([row['id']], letters=16)[0]}\nlabel: {row['label']}"


def _number(value: float) -> str:
    """Format a number with three digits, or as an integer from 100."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
