"""Figures of comparisons of methods. `table` is of `evaluation.comparison.compare` unless stated
otherwise."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from galaxymorph.plots import style

METRICS = ("accuracy", "macro_f1")
BASELINE = "majority"  # the method that others are held against
LOW = ("log_loss", "brier")  # metrics of which the smaller is the better
NAMES = {
    "macro_f1": "macro F1",
    "auc": "AUC",
    "log_loss": "log loss (nats)\nless is better",
    "brier": "Brier score\nless is better",
}
PARTS: Any = {
    "training": {"color": style.ORANGE, "marker": "^", "ms": 6, "ls": ""},
    "validation": {"color": style.GREEN, "marker": "s", "ms": 6, "ls": ""},
}


@style.styled
def comparison(table: pd.DataFrame, *, metrics: Sequence[str] = METRICS) -> Figure:
    """Draw each metric of each method as a point with its 95 % interval, the best on top, and the
    baseline as a dashed line.

    Rows without a result say "missing" or "not run"; the rows of the baseline are no points but
    the line (the best of them)."""
    base, rows = table.loc[table.method == BASELINE], _ranked(table, metrics[0])
    if not rows.seeds.sum():
        return style.empty(style.NO_RESULT)
    figure, axes = style.panels(len(metrics), height=0.42 * len(rows) + 1.5, sharey=True)
    for ax, metric in zip(axes.flat, metrics, strict=True):
        style.estimates(ax, range(len(rows)), rows, metric)
        name = NAMES.get(metric, style.title(metric))
        style.method_axis(ax, rows, metric, name, ticks=4, margin=0.1)
        if len(base):
            _baseline(ax, best(base, metric))
    style.legend(figure, {style.interval(rows): style.POINT})
    return figure


@style.styled
def train_val_test(table: pd.DataFrame) -> Figure:
    """Draw the accuracy of training, validation and test galaxies of each method, the latter with
    its 95 % interval, the best on top. A large gap means overfitting."""
    rows = _ranked(table, "accuracy")
    if not rows.seeds.sum():
        return style.empty(style.NO_RESULT)
    figure, ax = style.panel(height=0.42 * len(rows) + 1.5)
    places = np.arange(len(rows))
    accuracies = rows[["train_accuracy", "val_accuracy", "accuracy"]].astype(float)
    ax.hlines(places, accuracies.min(axis=1), accuracies.max(axis=1), color="#cccccc", lw=1, ls="-")
    style.estimates(ax, places, rows, "accuracy", zorder=3)
    for column, look in zip(accuracies, PARTS.values(), strict=False):
        ax.plot(accuracies[column], places, **look)
    style.method_axis(ax, rows, "accuracy", "accuracy")
    style.legend(figure, PARTS | {f"test: {style.interval(rows)}": style.POINT})
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
    texts = np.where(np.isnan(values), "–", np.char.mod("%.2f", values))
    figure, ax = style.panel(ax, height=0.42 * len(table) + 1.5)
    names, classes = style.in_lines(map(str, table.index)), [str(name) for name in table.columns]
    style.colour_bar(style.heat_map(ax, values, texts, names, vmin=low, vmax=1), metric)
    style.names_below(ax, classes, pitch=(style.WIDTH - style.inches(names) - 1) / len(classes))
    return figure


@style.styled
def mistakes(table: pd.DataFrame, seeds: pd.DataFrame) -> Figure:
    """Draw what mistakes report, as rings, and what is honest, as points, joined by arrows; the one
    that is worth the most on top. Below each arrow the same of every seed, small. `table`, `seeds`:
    of `published_mistakes.table` and `by_seed`."""
    rows = table.iloc[::-1].to_dict("records")
    figure, ax = style.panel(height=0.72 * len(rows) + 1.4)
    several = table.seeds.max() > 1
    ring: Any = {"marker": "o", "ls": "", "mfc": "none", "ms": 11, "mew": 1.8}
    point: Any = {"marker": "o", "ls": "", "ms": 7, "mew": 0}
    looks = {"honest": point | {"color": style.BLUE}, "reported": ring | {"color": style.ORANGE}}
    for place, row in enumerate(rows):
        each = seeds[seeds.mistake == row["mistake"]]
        for name, look in looks.items():
            ax.plot(row[name], place, **look)
            if several:
                small = {"ms": 0.45 * look["ms"], "mew": 0.55 * look["mew"]}
                ax.plot(each[name], [place - 0.3] * len(each), **look | small)
        text = f"{row['difference']:+.3f}" + f"\n{row['measure']}" * (row["measure"] != "accuracy")
        style.at_row(ax, 1.02, place, text, fontsize=10)
    label = "accuracy" + " (or what stands on the right)" * any(table.measure != "accuracy")
    names = [style.in_lines([row["mistake"], row["published_in"]]) for row in rows]
    style.row_axis(ax, [f"{a}\n({b})" for a, b in names], label, ticks=5, margin=0.06)
    low, high = ax.get_xlim()
    arrow = {"arrowstyle": "-|>", "color": style.INK, "lw": 1.2, "shrinkA": 4, "shrinkB": 6.5}
    for place, row in enumerate(rows):
        if abs(row["difference"]) > 0.05 * (high - low):  # less would be under the ring
            tip, tail = (row["reported"], place), (row["honest"], place)
            ax.annotate("", xy=tip, xytext=tail, arrowprops=arrow)
    style.at_row(ax, 1.02, len(rows) - 0.4, "difference", va="bottom", fontsize=10)
    of = f"mean over {table.seeds.max()} seeds; small: each of them" if several else "one seed"
    text = {f"{of} (n = {style.span(table.n)} test galaxies)": {"ls": ""}}
    style.legend(figure, looks | text)
    return figure


def best(rows: pd.DataFrame, metric: str) -> float:
    """Return the best value of a metric in any of the rows."""
    return float((np.min if metric in LOW else np.max)(rows[metric].to_numpy(float)))


def _ranked(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """All rows but the baseline's, from below: those without a result, the worst, the best."""
    rows = table.loc[table.method != BASELINE]
    return rows.sort_values(by=metric, na_position="first", ascending=metric not in LOW)


def _baseline(ax: Axes, value: float) -> None:
    """A dashed line; where it would be far from the methods, and squeeze their intervals, an arrow
    that points to it."""
    low, high = ax.get_xlim()
    text, place = f"{BASELINE} {value:.3f}", value
    left = value < (low + high) / 2
    if low - 0.5 * (high - low) < value < high + 0.5 * (high - low):
        ax.axvline(value, color=style.ORANGE, **style.DASHED)
        text = f" {text} "
    else:
        ax.set_xlim(low, high)
        place, text = (low, f"← {text}") if left else (high, f"{text} →")
    align = "left" if left else "right"
    ax.text(place, -0.6, text, color=style.ORANGE, ha=align, va="center", fontsize=10)
