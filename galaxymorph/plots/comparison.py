"""Figures of comparisons of methods. `table` is one of `evaluation.comparison.compare` everywhere
but where something else is said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from galaxymorph.plots import style

LOW = ("log_loss", "brier")  # metrics of which the smaller is the better
NAMES = {
    "macro_f1": "macro F1",
    "auc": "AUC",
    "log_loss": "log loss (nats)\nless is better",
    "brier": "Brier score\nless is better",
}
PARTS = (
    ("training", "train_accuracy", "^", style.ORANGE),
    ("validation", "val_accuracy", "s", style.GREEN),
)


@style.styled
def comparison(
    table: pd.DataFrame,
    *,
    metrics: Sequence[str] = ("accuracy", "macro_f1"),
    baseline: str = "majority",
) -> Figure:
    """Draw each metric of each method as a point with its 95 % interval, the best on top, and the
    baseline as a dashed line.

    Rows without a result say "missing" or "not run"; the rows of the method `baseline` are no
    points but the line (the best of them)."""
    base, rows = table.loc[table.method == baseline], _ranked(table, metrics[0], baseline)
    if not rows.seeds.sum():
        return style.empty(style.NO_RESULT)
    figure, axes = style.panels(1, len(metrics), height=0.42 * len(rows) + 1.5, sharey=True)
    for ax, metric in zip(axes[0], metrics, strict=True):
        style.estimates(ax, range(len(rows)), *style.ends(rows, metric))
        style.method_axis(ax, rows, metric)
        ax.margins(x=0.1)
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.set_xlabel(NAMES.get(metric, style.title(metric)))
        if len(base):
            _baseline(ax, best(base, metric), baseline)
    handle = style.key(style.interval(rows), **style.POINT)
    figure.legend(handles=[handle], loc="outside upper right")
    return figure


@style.styled
def train_val_test(table: pd.DataFrame, *, baseline: str = "majority") -> Figure:
    """Draw the accuracy of training, validation and test galaxies of each method, the latter with
    its 95 % interval, the best on top. A large gap means overfitting."""
    rows = _ranked(table, "accuracy", baseline)
    if not rows.seeds.sum():
        return style.empty(style.NO_RESULT)
    figure, ax = style.panel(height=0.42 * len(rows) + 1.5)
    places = np.arange(len(rows))
    accuracies = rows[["train_accuracy", "val_accuracy", "accuracy"]].astype(float)
    ax.hlines(places, accuracies.min(axis=1), accuracies.max(axis=1), color="#cccccc", lw=1, ls="-")
    style.estimates(ax, places, *style.ends(rows, "accuracy"), zorder=3)
    handles = []
    for name, column, marker, colour in PARTS:
        look: Any = {"color": colour, "marker": marker, "ms": 6, "ls": "", "label": name}
        handles += ax.plot(accuracies[column], places, **look)
    handles += [style.key(f"test: {style.interval(rows)}", **style.POINT)]
    style.method_axis(ax, rows, "accuracy")
    ax.set_xlabel("accuracy")
    figure.legend(handles=handles, loc="outside upper right", ncols=3)
    return figure


@style.styled
def per_class(table: pd.DataFrame, *, metric: str = "F1", ax: Axes | None = None) -> Figure:
    """Draw a metric from 0 to 1 as a heat map, methods by classes, index and columns of `table`
    (`comparison.per_class`); grey where undefined."""
    if table.empty:
        return style.empty(style.NO_RESULT, ax)
    values = table.to_numpy(float)
    low = float(np.floor(10 * np.nanmin(values, initial=1)) / 10)  # good methods still differ
    low = 0.0 if np.isnan(values).all() else low

    def cell(row: int, column: int) -> tuple[str, str]:
        value, dark = values[row, column], values[row, column] > (low + 1) / 2
        return "–" if np.isnan(value) else f"{value:.2f}", "white" if dark else style.INK

    figure, ax = style.panel(ax, height=0.42 * len(table) + 1.5)
    names, classes = style.in_lines(map(str, table.index)), [str(name) for name in table.columns]
    look: Any = {"cmap": style.SEQUENTIAL, "limits": (low, 1), "label": metric, "ticks": None}
    style.heat_map(ax, values, cell, names, **look)
    pitch = (style.WIDTH - style.inches(names) - 1) / len(classes)
    style.names_below(ax, classes, pitch=pitch)
    return figure


@style.styled
def mistakes(table: pd.DataFrame, seeds: pd.DataFrame) -> Figure:
    """Draw what mistakes report, as rings, and what is honest, as points, joined by arrows; the one
    that is worth the most on top. Below each arrow the same of every seed, small.

    `table` and `seeds`: of `published_mistakes.table` and `published_mistakes.by_seed`."""
    rows = table.iloc[::-1].to_dict("records")
    figure, ax = style.panel(height=0.72 * len(rows) + 1.4)
    several = table.seeds.max() > 1
    right: Any = {"color": style.BLUE, "marker": "o", "ls": "", "mew": 0}
    wrong: Any = {"color": style.ORANGE, "marker": "o", "ls": "", "mfc": "none"}
    for place, row in enumerate(rows):
        ax.plot(row["honest"], place, ms=7, **right)
        ax.plot(row["reported"], place, ms=11, mew=1.8, **wrong)
        if several:
            each = seeds[seeds.mistake == row["mistake"]]
            ax.plot(each.honest, [place - 0.3] * len(each), ms=3, **right)
            ax.plot(each.reported, [place - 0.3] * len(each), ms=5, mew=1, **wrong)
        text = f"{row['difference']:+.3f}" + f"\n{row['measure']}" * (row["measure"] != "accuracy")
        style.at_row(ax, 1.02, place, text, fontsize=10)
    ax.margins(x=0.06)
    low, high = ax.get_xlim()
    arrow = {"arrowstyle": "-|>", "color": style.INK, "lw": 1.2, "shrinkA": 4, "shrinkB": 6.5}
    for place, row in enumerate(rows):
        if abs(row["difference"]) > 0.05 * (high - low):  # less would be under the ring
            tip, tail = (row["reported"], place), (row["honest"], place)
            ax.annotate("", xy=tip, xytext=tail, arrowprops=arrow)
    pairs = [style.in_lines([row["mistake"], row["published_in"]]) for row in rows]
    style.row_axis(ax, [f"{name}\n({published})" for name, published in pairs])
    others = bool((table.measure != "accuracy").any())
    ax.set_xlabel("accuracy" + " (or what stands on the right)" * others)
    style.at_row(ax, 1.02, len(rows) - 0.4, "difference", va="bottom", fontsize=10)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    of = f"mean over {table.seeds.max()} seeds; small: each of them" if several else "one seed"
    handles = [style.key("honest", ms=7, **right), style.key("reported", ms=11, mew=1.8, **wrong)]
    handles += [style.key(f"{of} (n = {style.span(table.n)} test galaxies)", ls="")]
    figure.legend(handles=handles, loc="outside upper right", ncols=3)
    return figure


# ---- rows


def best(rows: pd.DataFrame, metric: str) -> float:
    """Return the best value of a metric in any of the rows."""
    return float((np.min if metric in LOW else np.max)(rows[metric].to_numpy(float)))


def _ranked(table: pd.DataFrame, metric: str, baseline: str) -> pd.DataFrame:
    """All rows but the baseline's, from below: those without a result, the worst, the best."""
    rows = table.loc[table.method != baseline]
    return rows.sort_values(by=metric, na_position="first", ascending=metric not in LOW)


def _baseline(ax: Axes, value: float, name: str) -> None:
    """A dashed line; where it would be far from the methods, and squeeze their intervals, an arrow
    that points to it."""
    low, high = ax.get_xlim()
    text, place = f"{name} {value:.3f}", value
    left = value < (low + high) / 2
    if low - 0.5 * (high - low) < value < high + 0.5 * (high - low):
        ax.axvline(value, color=style.ORANGE, **style.DASHED)
        text = f" {text} "
    else:
        ax.set_xlim(low, high)
        place, text = (low, f"← {text}") if left else (high, f"{text} →")
    align = "left" if left else "right"
    ax.text(place, -0.6, text, color=style.ORANGE, ha=align, va="center", fontsize=10)
