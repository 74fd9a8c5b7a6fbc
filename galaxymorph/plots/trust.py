"""Figures on the reliability of results: calibration, ties, consistency under rotation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from galaxymorph.plots import style

TALLEST = 0.2  # height of the tallest histogram bar, as a fraction of the panel
TURNED: Any = {  # (kind of rotation, predictions averaged over orientations)
    ("orientations", False): {"color": style.BLUE, "marker": "o", "ms": 5.5, "lw": 1.5},
    ("angles", False): {"color": style.ORANGE, "marker": "s", "ms": 5.5, "lw": 1.5},
    ("angles", True): {"color": style.GREEN, "marker": "^", "ms": 5.5, "lw": 1.5},
}
NO_PAIR = "no results for any two methods yet"
CONSISTENT = {
    "agreement": "agreement of\npredicted class",
    "gain": "accuracy gain\nfrom averaging",
    "cosine": "cosine similarity\nof features",
}


@style.styled
def reliability(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw reliability diagrams: accuracy against confidence in bins, a panel for each method.

    Bars show the number of galaxies per bin. On the diagonal a classifier is calibrated, below it
    overconfident. `tables`: of `calibration.reliability`, by method."""
    if not tables:
        return style.empty(style.NO_RESULT)
    n, columns = len(tables), min(3, len(tables))
    names = style.in_lines(tables, letters=int(style.WIDTH / columns / style.LETTER / 1.25))
    height = 2.6 + 0.2 * max(name.count("\n") for name in names)
    figure, axes = style.panels(n, columns, height=height, more=0.7, sharex=True, sharey=True)
    start = min(float(table.low.min()) for table in tables.values())
    start = float(np.floor(10 * min(start, 0.9)) / 10)
    bar: Any = {"fc": style.PALE, "ec": style.FAINT, "lw": 0.5}
    point: Any = {"color": style.BLUE, "marker": "o", "ms": 5}
    diagonal: Any = {"color": style.FAINT, "ls": ":", "lw": 1.2}
    for ax, name, table in zip(axes.flat, names, tables.values(), strict=False):
        wide, heights = np.maximum(table.high - table.low, 0.004), table.n / table.n.max()
        ax.bar(table.low, TALLEST * heights, width=wide, align="edge", zorder=1, **bar)
        ax.plot([start, 1], [start, 1], **diagonal)
        ends = table.accuracy_low, table.accuracy_high
        ax.vlines(table.confidence, *ends, color=style.BLUE, lw=1.5, ls="-")
        ax.plot(table.confidence, table.accuracy, ls="", **point)
        ax.set_title(f"{name}\nn = {table.n.sum():,} ({style.span(table.n)} each)", fontsize=10)
        ax.set(xlim=(start - 0.01, 1.01), ylim=(0, 1.02))
        for axis, ticks in ((ax.xaxis, 3), (ax.yaxis, 4)):
            axis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 5]))
    figure.supxlabel("confidence", fontsize=11)
    figure.supylabel("accuracy", fontsize=11)
    looks = {"calibrated": diagonal, "galaxies in the bin": bar}
    style.legend(figure, {"accuracy with 95 % interval": point | {"lw": 1.5}} | looks)
    return figure


@style.styled
def risk_coverage(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the error rate of the most confident galaxies against their fraction, by method.

    The legend is sorted by the area under the curve. `curves`: of `calibration.risk_coverage`."""
    if not curves:
        return style.empty(style.NO_RESULT)
    areas = {name: float(curve.risk.mean()) for name, curve in curves.items()}
    names = sorted(areas, key=lambda name: areas[name])
    legend = [f"{name} ({areas[name]:.3f})" for name in names]
    figure, ax, legend = style.panel_beside(legend)
    for i, (name, label) in enumerate(zip(names, legend, strict=True)):
        look = style.look(i, marker="", lw=1.8, label=label)
        ax.plot(curves[name].coverage, curves[name].risk, **look)
    ax.set(xlabel="fraction of galaxies, most confident first", xlim=(0, 1))
    ax.set(ylabel="fraction of these misclassified", ylim=(0, None))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    ax.grid(axis="y")
    of = "method (area under curve)"
    figure.legend(loc="outside right upper", title=of, alignment="left")
    return figure


@style.styled
def ties(table: pd.DataFrame, groups: Sequence[Sequence[str]]) -> Figure:
    """Draw methods by accuracy, and bars that join groups of statistically tied methods.

    Similar to Demsar (2006): points mark the members of a group. `table`: of `comparison.compare`,
    rows of one budget; `groups`: of `significance.cliques`."""
    grouped = {method for group in groups for method in group}
    rows = table.loc[(table.seeds > 0) & table.method.isin(grouped)].sort_values(by="accuracy")
    if rows.empty:
        return style.empty(NO_PAIR)
    place = {str(method): i for i, method in enumerate(rows.method)}
    bars = sorted(sorted(place[m] for m in group if m in place) for group in groups)
    bars = [bar for bar in bars if len(bar) > 1][::-1]  # the best group first
    wide = max(len(bars), 3)
    shape: Any = {"height": 0.42 * len(rows) + 1.5, "width_ratios": [3.0, min(wide / 4, 2.0)]}
    figure, axes = style.panels(2, sharey=True, **shape)
    left, right = axes.flat
    style.estimates(left, range(len(rows)), rows, "accuracy")
    style.row_axis(left, style.in_lines(place), "test accuracy", ticks=4, margin=0.1)
    left.grid()
    tie = style.POINT | {"color": style.INK, "lw": 1.5, "ls": "-"}
    for i, bar in enumerate(bars):
        right.plot([i] * len(bar), bar, **tie)
    right.set(xlim=(-0.7, wide - 0.3), xticks=[])
    style.frameless(right)
    right.tick_params(axis="y", labelleft=False)
    right.grid(axis="y")
    joined = "statistically tied" if bars else "no methods are tied"
    style.legend(figure, {"mean with its 95 % interval": style.POINT, joined: tie})
    return figure


@style.styled
def probabilities(pairs: pd.DataFrame) -> Figure:
    """Draw the probability, in per cent, that the method of a row beats that of a column.

    Methods are sorted by accuracy. Ties (after Holm's correction) have orange frames and "=".
    `pairs`: of `significance.pairs`, for one number of labels."""
    if pairs.empty:
        return style.empty(NO_PAIR)
    turned = {"a": "b", "b": "a", "accuracy_a": "accuracy_b", "accuracy_b": "accuracy_a"}
    pairs = pd.concat([pairs, pairs.rename(columns=turned).assign(p_better=1 - pairs.p_better)])
    ranks = pairs.groupby("a", sort=False).accuracy_a.mean()
    methods = [str(name) for name in ranks.sort_values(ascending=False, kind="stable").index]
    cells = pairs.pivot(index="a", columns="b").reindex(methods)
    percent = 100 * np.asarray(cells["p_better"][methods], float)
    tied = np.asarray(cells["resolved"][methods], float) == 0  # missing on the diagonal
    texts = np.char.add(np.char.mod("%.0f", percent), np.where(tied, "=", ""))
    texts = np.where(np.isnan(percent), "", texts)
    n, names = len(methods), style.in_lines(methods)
    left = style.inches(names) + 1.6
    pitch = min((style.WIDTH - left) / n, 0.9)
    height = max(0.36, min(pitch, 0.55)) * n + 1.6
    figure, ax = style.panel(width=left + pitch * n, height=height)
    below = methods
    if n > 4 or max(map(len, methods)) * style.LETTER > pitch:
        below = [str(k + 1) for k in range(n)]
        names = [f"{name}  {number}" for name, number in zip(names, below, strict=True)]
    image = style.heat_map(ax, percent, texts, names, vmin=0, vmax=100)
    style.colour_bar(image, "% ahead", [0, 50, 100])
    style.names_below(ax, below, pitch=pitch)
    framed: Any = {"fc": "none", "ec": style.ORANGE, "lw": 1.5}
    for i, j in np.argwhere(tied):
        ax.add_patch(Rectangle((j - 0.45, i - 0.43), 0.9, 0.86, **framed))
    style.legend(figure, {"= statistically tied": framed})
    return figure


@style.styled
def consistency(table: pd.DataFrame) -> Figure:
    """Draw how consistent methods are when galaxies are rotated, with 95 % intervals.

    Panels: agreement of predicted classes, accuracy gain from averaging over rotations, similarity
    of features. The most accurate method is on top. `table`: of `rotation.over_seeds`."""
    if table.empty:
        return style.empty(style.NO_RESULT)
    known = table.loc[(table.metric == "accuracy") & (table.turns == "orientations")]
    accuracy = known.set_index("method")["value"]
    methods = sorted(table.method.unique(), key=lambda name: -accuracy.get(name, -1.0))[::-1]
    shown = [metric for metric in CONSISTENT if metric in set(table.metric)]
    figure, axes = style.panels(len(shown), height=0.62 * len(methods) + 1.7, sharey=True)
    for ax, metric in zip(axes.flat, shown, strict=True):
        own = table.loc[table.metric == metric]
        if metric == "gain":  # omit the gain from averaging twice
            own = own.loc[~own.averaged.astype(bool)]
            ax.axvline(0, color=style.FAINT, ls=":", lw=1.2)
        for i, ((turns, averaged), look) in enumerate(TURNED.items()):
            rows = own.loc[(own.turns == turns) & (own.averaged == averaged)]
            if len(rows):
                style.estimates(ax, rows.method.map(methods.index) + 0.24 * (1 - i), rows, **look)
        for method in set(methods) - set(own.method):
            style.absent(ax, methods.index(method), "no classes")
        names = style.in_lines(methods, letters=26)
        style.row_axis(ax, names, CONSISTENT[metric], ticks=3, margin=0.1)
    seeds = f"{style.span(table.seeds)} seed{'s' * (style.span(table.seeds) != '1')}"
    of = f"mean with its 95 % interval (n = {style.span(table.n)} galaxies, {seeds})"
    names = ("8 orientations", "16 angles", "angles, averaged over 8 orientations")
    looks = zip(names, TURNED.values(), strict=True)
    style.legend(figure, dict[str, Any](looks), title=of, alignment="left")
    return figure
