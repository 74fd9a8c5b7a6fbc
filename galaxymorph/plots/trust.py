"""Figures of how far results can be trusted, in the look of `plots`: calibration, and which methods
can be told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from galaxymorph.plots.style import (
    BLUE,
    COLOURS,
    DASHES,
    FAINT,
    GREEN,
    INK,
    LETTER,
    ORANGE,
    SEQUENTIAL,
    STYLE,
    WIDTH,
    colour_bar,
    empty,
    frameless,
    in_lines,
    names_below,
    panel,
    panels,
)

BESIDE = 30  # letters of a line of the legend beside the axes
TALLEST = 0.2  # of the bars of galaxies, in the height of a panel
# how galaxies are turned, and whether predictions are averaged over orientations: name, colour,
# marker
TURNED: Any = {
    ("orientations", False): ("8 orientations", BLUE, "o"),
    ("angles", False): ("16 angles", ORANGE, "s"),
    ("angles", True): ("angles, averaged over 8 orientations", GREEN, "^"),
}
CONSISTENT = {
    "agreement": "agreement\nof the class",
    "gain": "accuracy gained\nby averaging",
    "cosine": "cosine\nof features",
}


@rc_context(STYLE)
def reliability(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Accuracy against confidence, a panel for each method: a point with its 95 % interval for each
    bin, and below it how many galaxies the bin has. On the diagonal a classifier is calibrated;
    below it, it is too sure.

    `tables`: of `calibration.reliability`, by method.
    """
    if not tables:
        return empty("no method has a result yet")
    columns = min(3, len(tables))
    rows = -(-len(tables) // columns)
    letters = int(WIDTH / columns / LETTER / 1.25)
    names = [in_lines(name, letters=letters) for name in tables]
    lines = max(name.count("\n") for name in names)
    figure, axes = panels(
        rows, columns, height=(2.6 + 0.2 * lines) * rows + 0.7, sharex=True, sharey=True
    )
    start = min(float(table.low.min()) for table in tables.values())
    start = float(np.floor(10 * min(start, 0.9)) / 10)
    for ax, name, table in zip(axes.flat, names, tables.values(), strict=False):
        wide = np.maximum(table.high - table.low, 0.004)
        look: dict[str, Any] = {
            "color": "#dddddd",
            "ec": FAINT,
            "lw": 0.5,
            "align": "edge",
            "zorder": 1,
        }
        ax.bar(table.low, TALLEST * table.n / table.n.max(), width=wide, **look)
        ax.plot([start, 1], [start, 1], color=FAINT, ls=":", lw=1.2)
        ax.vlines(
            table.confidence, table.accuracy_low, table.accuracy_high, color=BLUE, lw=1.5, ls="-"
        )
        ax.plot(table.confidence, table.accuracy, "o", color=BLUE, ms=5)
        each = " to ".join(f"{n:,}" for n in sorted({table.n.min(), table.n.max()}))
        ax.set_title(f"{name}\nn = {table.n.sum():,} ({each} each)", fontsize=10)
        ax.set(xlim=(start - 0.01, 1.01), ylim=(0, 1.02))
        ax.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5]))
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5]))
    for ax in axes.flat[len(tables) :]:
        ax.set_axis_off()
    for ax in axes.flat[max(len(tables) - columns, 0) : len(tables)]:
        ax.tick_params(labelbottom=True)
    figure.supxlabel("confidence", fontsize=11)
    figure.supylabel("accuracy", fontsize=11)
    handles: list[Any] = [
        Line2D(
            [],
            [],
            color=BLUE,
            marker="o",
            ms=5,
            lw=1.5,
            ls="-",
            label="accuracy with 95 % interval",
        ),
        Line2D([], [], color=FAINT, ls=":", lw=1.2, label="calibrated"),
        Patch(fc="#dddddd", ec=FAINT, lw=0.5, label="galaxies in the bin"),
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=3)
    return figure


@rc_context(STYLE)
def risk_coverage(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Share of wrong galaxies among the most confident ones against how many these are, a line for
    each method; the least area below the curve on top of the legend. `curves`: of
    `calibration.risk_coverage`, by method."""
    if not curves:
        return empty("no method has a result yet")
    areas = {name: float(curve.risk.mean()) for name, curve in curves.items()}
    names = {
        name: in_lines(f"{name} ({areas[name]:.3f})", letters=BESIDE)
        for name in sorted(areas, key=lambda n: areas[n])
    }
    lines = sum(1 + name.count("\n") for name in names.values())
    figure, axes = panels(1, 1, height=max(4.2, 1.2 + 0.205 * lines))
    ax = axes[0, 0]
    for i, (name, label) in enumerate(names.items()):
        curve = curves[name]
        look: dict[str, Any] = {
            "color": COLOURS[i % 8],
            "ls": DASHES[(i + i // 8) % 8],
            "lw": 1.8,
            "label": label,
        }
        ax.plot(curve.coverage, curve.risk, **look)
    ax.set(
        xlim=(0, 1),
        xlabel="share of the galaxies, the most confident first",
        ylabel="share of these that is wrong",
    )
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.grid(axis="y")
    figure.legend(
        loc="outside right upper", title="method (area below the curve)", alignment="left"
    )
    return figure


@rc_context(STYLE)
def told_apart(table: pd.DataFrame, groups: Sequence[Sequence[str]]) -> Figure:
    """Methods by accuracy with its 95 % interval, the best on top, and beside them a bar for each
    group of methods of which no two can be told apart, with a point at each of its members (in the
    manner of Demsar 2006).

    `table`: of `comparison.compare`, rows of one number of labels; `groups`: of
    `significance.cliques`. Groups of one have no bar; methods without a result are left out."""
    rows = table.loc[
        (table.seeds > 0) & table.method.isin([m for group in groups for m in group])
    ].sort_values(by="accuracy")
    if rows.empty:
        return empty("no two methods have a result yet")
    place = {str(method): i for i, method in enumerate(rows.method)}
    bars = sorted(sorted(place[m] for m in group if m in place) for group in groups)
    bars = [bar for bar in bars if len(bar) > 1][::-1]  # that of the best first
    widths = [3.0, min(max(len(bars), 3) / 4, 2.0)]
    figure, axes = panels(1, 2, height=0.42 * len(rows) + 1.5, sharey=True, width_ratios=widths)
    left, right = axes[0]
    left.hlines(range(len(rows)), rows.accuracy_low, rows.accuracy_high, color=BLUE, lw=2, ls="-")
    left.plot(rows.accuracy, range(len(rows)), "o", color=BLUE, ms=6)
    left.set_yticks(range(len(rows)), [in_lines(method) for method in place])
    left.set(ylim=(-0.6, len(rows) - 0.4), xlabel="test accuracy")
    left.xaxis.set_major_locator(MaxNLocator(4))
    left.margins(x=0.1)
    left.grid()
    left.tick_params(axis="y", length=0)
    for i, bar in enumerate(bars):
        right.plot([i, i], [bar[0], bar[-1]], color=INK, lw=1.5, ls="-")
        right.plot([i] * len(bar), bar, "o", color=INK, ms=6, ls="")
    right.set(xlim=(-0.7, max(len(bars), 3) - 0.3), xticks=[])
    frameless(right)
    right.tick_params(axis="y", labelleft=False)
    right.grid(axis="y")
    look: dict[str, Any] = {"marker": "o", "ms": 6, "ls": "-"}
    handles = [
        Line2D([], [], color=BLUE, lw=2, label="mean with its 95 % interval", **look),
        Line2D(
            [],
            [],
            color=INK,
            lw=1.5,
            label="cannot be told apart" if bars else "all are told apart",
            **look,
        ),
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return figure


@rc_context(STYLE)
def probabilities(pairs: pd.DataFrame) -> Figure:
    """The probability, in per cent, that the method of a row is ahead of that of a column, the most
    accurate first; ties, which cannot be told apart after Holm's correction, are framed in orange
    and marked "=".

    `pairs`: of `significance.pairs`, of one number of labels.
    """
    if pairs.empty:
        return empty("no two methods have a result yet")
    scores: dict[str, list[float]] = {}
    for row in pairs.to_dict("records"):
        scores.setdefault(row["a"], []).append(row["accuracy_a"])
        scores.setdefault(row["b"], []).append(row["accuracy_b"])
    methods = sorted(scores, key=lambda method: -float(np.mean(scores[method])))
    place = {method: i for i, method in enumerate(methods)}
    n, names = len(methods), [in_lines(method) for method in methods]
    percent, ties = np.full((n, n), np.nan), np.zeros((n, n), bool)
    for row in pairs.to_dict("records"):
        i, j = place[row["a"]], place[row["b"]]
        percent[i, j], percent[j, i] = 100 * row["p_better"], 100 - 100 * row["p_better"]
        ties[i, j] = ties[j, i] = not row["resolved"]
    left = LETTER * max(len(line) for name in names for line in name.split("\n"))
    pitch = min((WIDTH - left - 1.6) / n, 0.9)
    figure, ax = panel(
        None, width=left + 1.6 + pitch * n, height=max(0.36, min(pitch, 0.55)) * n + 1.6
    )
    image = ax.imshow(
        np.ma.masked_invalid(percent), cmap=SEQUENTIAL, vmin=0, vmax=100, aspect="auto"
    )
    for i, j in np.ndindex(n, n):
        if np.isfinite(percent[i, j]):
            text = f"{percent[i, j]:.0f}{'=' if ties[i, j] else ''}"
            ax.text(
                j,
                i,
                text,
                ha="center",
                va="center",
                fontsize=10,
                color="white" if percent[i, j] > 50 else INK,
            )
            if ties[i, j]:
                ax.add_patch(
                    Rectangle((j - 0.45, i - 0.43), 0.9, 0.86, fc="none", ec=ORANGE, lw=1.5)
                )
    if n > 4 or max(map(len, methods)) * LETTER > pitch:
        names_below(ax, [str(k + 1) for k in range(n)], pitch=pitch)
        names = [f"{name}  {k + 1}" for k, name in enumerate(names)]
    else:
        names_below(ax, methods, pitch=pitch)
    ax.set_yticks(range(n), names)
    frameless(ax)
    colour_bar(ax, image, label="% ahead", ticks=[0, 50, 100])
    handle = Patch(fc="none", ec=ORANGE, lw=1.5, label="= cannot be told apart")
    figure.legend(handles=[handle], loc="outside upper right")
    return figure


@rc_context(STYLE)
def consistency(table: pd.DataFrame) -> Figure:
    """What stays when galaxies are turned, by method, the most accurate on top and those without
    classes at the bottom: how often the class does, and how similar features are; between them the
    accuracy that the mean over all turns has above that of one. Points with their 95 % intervals,
    one for each way to turn galaxies.

    `table`: of `consistency.over_seeds`.
    """
    if table.empty:
        return empty("no method has a result yet")
    accuracy = table.loc[(table.metric == "accuracy") & (table.turns == "orientations")].set_index(
        "method"
    )["value"]
    methods = sorted(dict.fromkeys(table.method), key=lambda method: -accuracy.get(method, -1.0))[
        ::-1
    ]
    shown = [metric for metric in CONSISTENT if metric in set(table.metric)]
    figure, axes = panels(1, len(shown), height=0.62 * len(methods) + 1.7, sharey=True)
    ways = list(zip((0.24, 0, -0.24), TURNED, strict=True))
    for ax, metric in zip(axes[0], shown, strict=True):
        for shift, (turns, averaged) in (
            ways[:2] if metric == "gain" else ways
        ):  # what averaging gains once more is not shown
            _, colour, marker = TURNED[turns, averaged]
            rows = table.loc[
                (table.metric == metric) & (table.turns == turns) & (table.averaged == averaged)
            ]
            place = np.array([methods.index(method) for method in rows.method]) + shift
            ax.hlines(place, rows.low, rows.high, color=colour, lw=1.5, ls="-")
            ax.plot(rows["value"], place, marker, color=colour, ms=5.5, ls="")
        if metric == "gain":
            ax.axvline(0, color=FAINT, ls=":", lw=1.2)
        look: dict[str, Any] = {
            "transform": ax.get_yaxis_transform(),
            "ha": "center",
            "va": "center",
            "color": FAINT,
        }
        for method in set(methods) - set(table.loc[table.metric == metric, "method"]):
            ax.text(
                0.5,
                methods.index(method),
                "no classes",
                bbox={"fc": "white", "ec": "none", "pad": 1},
                size=10,
                **look,
            )
        ax.set(ylim=(-0.6, len(methods) - 0.4), xlabel=CONSISTENT[metric])
        ax.xaxis.set_major_locator(MaxNLocator(3))
        ax.margins(x=0.1)
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
    axes[0][0].set_yticks(range(len(methods)), [in_lines(method, letters=26) for method in methods])
    n, seeds = (
        " to ".join(f"{k:,}" for k in dict.fromkeys([column.min(), column.max()]))
        for column in (table.n, table.seeds)
    )
    said = f"mean with its 95 % interval (n = {n} galaxies, {seeds} seed{'s' * (seeds != '1')})"
    handles = [
        Line2D([], [], color=c, marker=m, ms=5.5, lw=1.5, ls="-", label=name)
        for name, c, m in TURNED.values()
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=3, title=said, alignment="left")
    return figure
