"""Figures that compare methods. `table` is of `evaluation.comparison.compare` by default."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator, StrMethodFormatter
from matplotlib.transforms import ScaledTranslation
from numpy import ndarray

from galaxymorph.plots import style

BASELINE = "majority"  # reference method
LOW = ("log_loss", "brier", "rmse")  # metrics for which lower is better
NAMES = {
    "macro_f1": "macro F1",
    "auc": "AUC",
    "log_loss": "log loss (nats)\nlower is better",
    "brier": "Brier score\nlower is better",
    "rmse": "RMSE over the 37 answers\nlower is better",
}
PARTS: Any = {
    "training": {"color": style.ORANGE, "marker": "^", "ms": 6, "ls": ""},
    "validation": {"color": style.GREEN, "marker": "s", "ms": 6, "ls": ""},
}
COSTS = {
    "parameters": "parameters",
    "flops": "floating-point operations per galaxy",
    "training_seconds": "training time (s)",
    "peak_memory_mib": "peak memory (MiB)",
}
COUNTS = ("parameters", "flops")  # exact numbers, not measurements
AXES = 4.3  # approximate width of axes next to a legend, inches
DOUBLINGS = {-4: "1/16", -2: "1/4", 0: "1", 2: "4", 4: "16"}

Values = Float[ndarray, " value"]
Front = Bool[ndarray, " row"]

MOST = 7  # lines that stand out: as many colours are not grey


@style.styled
def comparison(table: pd.DataFrame, *, metrics: Sequence[str] = ("accuracy", "macro_f1")) -> Figure:
    """Draw metrics with 95 % intervals by method, the best on top.

    A dashed line marks the baseline. Rows without results are marked "missing" or "not run"."""
    base, rows = table.loc[table.method == BASELINE], _ranked(table, metrics[0])
    if not rows.seeds.sum():
        return style.empty(style.NO_RESULT)
    figure, axes = style.panels(len(metrics), height=0.42 * len(rows) + 1.5, sharey=True)
    for ax, metric in zip(axes.flat, metrics, strict=True):
        style.estimates(ax, range(len(rows)), rows, metric)
        name = NAMES.get(metric, metric.replace("_", " "))
        style.method_axis(ax, rows, metric, name, ticks=4, margin=0.1)
        if len(base):
            _baseline(ax, best(base, metric))
    style.legend(figure, {style.interval(rows): style.POINT})
    return figure


@style.styled
def train_val_test(table: pd.DataFrame) -> Figure:
    """Draw training, validation and test accuracy by method. A large gap means overfitting."""
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
    """Draw a table of `comparison.per_class`, with a metric from 0 to 1, as a heat map."""
    if table.empty:
        return style.empty(style.NO_RESULT, ax)
    values = table.to_numpy(float)
    low = float(np.floor(10 * np.nanmin(values, initial=0.9)) / 10)  # resolves good methods
    texts = np.where(np.isnan(values), "–", np.char.mod("%.2f", values))
    figure, ax = style.panel(ax, height=0.42 * len(table) + 1.5)
    names, classes = style.in_lines(map(str, table.index)), [str(name) for name in table.columns]
    style.colour_bar(style.heat_map(ax, values, texts, names, vmin=low, vmax=1), metric)
    style.names_below(ax, classes, pitch=(style.WIDTH - style.inches(names) - 1) / len(classes))
    return figure


@style.styled
def mistakes(table: pd.DataFrame, seeds: pd.DataFrame) -> Figure:
    """Draw arrows from the honest result (point) to the one reported with a mistake (ring).

    The mistake with the largest effect is on top; small symbols below are single seeds. `table`,
    `seeds`: of `mistakes.table` and `by_seed`."""
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
    label = "accuracy" + " (or the metric on the right)" * any(table.measure != "accuracy")
    names = [style.in_lines([row["mistake"], row["published_in"]]) for row in rows]
    style.row_axis(ax, [f"{a}\n({b})" for a, b in names], label, ticks=5, margin=0.06)
    low, high = ax.get_xlim()
    arrow = {"arrowstyle": "-|>", "color": style.INK, "lw": 1.2, "shrinkA": 4, "shrinkB": 6.5}
    for place, row in enumerate(rows):
        if abs(row["difference"]) > 0.05 * (high - low):  # shorter arrows are hidden by the ring
            tip, tail = (row["reported"], place), (row["honest"], place)
            ax.annotate("", xy=tip, xytext=tail, arrowprops=arrow)
    style.at_row(ax, 1.02, len(rows) - 0.4, "difference", va="bottom", fontsize=10)
    of = f"mean over {table.seeds.max()} seeds; small: single seeds" if several else "one seed"
    text = {f"{of} (n = {style.span(table.n)} test galaxies)": {"ls": ""}}
    style.legend(figure, looks | text)
    return figure


@style.styled
def pareto(table: pd.DataFrame, front: Front, *, cost: str = "training_seconds") -> Figure:
    """Draw accuracy with its 95 % interval against a cost in `COSTS`, on a logarithmic axis.

    `front`: rows on the Pareto front (`comparison.front`), with filled symbols and a line."""
    rows = table.assign(front=front).loc[(table.method != BASELINE) & (table.seeds > 0)]
    rows = rows.assign(name=style.with_labels(rows))
    rows = rows.sort_values(by="accuracy", ascending=False)
    known = rows[cost] > 0
    unknown, rows = [str(name) for name in rows.loc[~known, "name"]], rows.loc[known]
    if rows.empty:
        return style.empty(f"{COSTS[cost]}: unknown for all methods")
    price, ahead = rows[cost].to_numpy(float), rows.loc[rows.front].sort_values(by=cost)
    figure, ax, names = style.panel_beside([*rows["name"], *unknown])
    ax.set(xscale="log", xlim=_beyond(price), xlabel=COSTS[cost])
    _heights(ax, rows, "accuracy", table)
    x = np.append(ahead[cost], ax.get_xlim()[1])
    y = np.append(ahead.accuracy, ahead.accuracy.max())
    line: Any = {"drawstyle": "steps-post", "color": style.INK, "lw": 1.2, "ls": "--", "zorder": 1}
    ax.plot(x, y, label="Pareto front", **line)
    for i, (row, shift) in enumerate(zip(rows.to_dict("records"), _shifts(price), strict=True)):
        aside = ax.transData + ScaledTranslation(shift, 0, figure.dpi_scale_trans)
        point = style.look(i, ls="", ms=8, mew=1.2, transform=aside)
        point["mfc"] = point["color"] if row["front"] else "white"
        bar = [row["accuracy_low"], row["accuracy_high"]]
        ax.plot([row[cost]] * 2, bar, color=point["color"], ls="-", transform=aside)
        ax.plot(row[cost], row["accuracy"], label=names[i], **point)
    for name in names[len(rows) :]:
        ax.plot([], [], ls="", label=f"cost unknown:\n{name}")
    low, high = ax.get_xlim()
    decades = np.log10(high / low)
    steps = (1, 2, 5) if decades < 2 else (1, 3) if decades < 4 else (1,)  # as many as fit
    ax.xaxis.set_major_locator(LogLocator(subs=steps))
    plain = StrMethodFormatter("{x:,g}")
    ax.xaxis.set_major_formatter(EngFormatter(sep=" ") if cost in COUNTS else plain)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.grid()
    figure.legend(loc="outside right upper")
    return figure


@style.styled
def label_efficiency(
    table: pd.DataFrame, *, metric: str = "accuracy", controls: Collection[str] = ()
) -> Figure:
    """Draw a metric against the number of labels, with bands for 95 % intervals.

    The legend is sorted by the result with the most labels. `controls`, and methods beyond the
    best `MOST`, come last, as thin grey lines without bands."""
    rows = table.loc[(table.method != BASELINE) & (table.seeds > 0)]
    if rows.empty:
        return style.empty(style.NO_RESULT)
    rows = rows.assign(budget=rows["n_labels"].astype(float).fillna(np.inf))
    budgets = np.unique(rows["budget"].to_numpy(float))
    every = rows.loc[np.isinf(rows["budget"]), "n_train"].astype(float).median()  # or NaN
    x = np.where(np.isinf(budgets), every, budgets)
    if not (x > 0).all():
        return style.empty("the number of labelled training galaxies is unknown")
    groups = rows.set_index("budget").groupby("method", sort=False)
    methods = {str(name): each.reindex(budgets) for name, each in groups}

    def rank(name: str) -> tuple[bool, list[float]]:
        values = methods[name][metric].fillna(-1).to_numpy(float)[::-1]
        return name in controls, list(values if metric in LOW else -values)

    names = sorted(methods, key=rank)
    faint = {*controls, *names[MOST:]}
    alpha = min(0.12, 0.8 / max(1, len(names) - len(faint)))
    ends = [f"{metric}_low", f"{metric}_high"]
    rows.loc[rows.method.isin(list(faint)), ends] = np.nan  # do not extend the y axis
    figure, ax, legend = style.panel_beside(names)
    ax.set(xscale="log", xlim=_beyond(x), xlabel="labelled training galaxies")
    _heights(ax, rows, metric, table)
    for i, name in enumerate(names):
        low, value, high = style.ends(methods[name], metric)
        line = style.look(i, ms=6, label=legend[i])
        if name in faint:
            line |= {"color": style.FAINT, "ms": 4, "lw": 0.8, "zorder": 1.5}
        else:
            ax.fill_between(x, low, high, color=line["color"], alpha=alpha, lw=0)
        there = np.isfinite(value)
        alone = there & ~np.r_[False, there[:-1]] & ~np.r_[there[1:], False]  # without a band
        ax.vlines(x[alone], low[alone], high[alone], color=line["color"], lw=1.2, ls="-")
        ax.plot(x, value, **line)
    few, last = x[np.isfinite(budgets)], x[np.isinf(budgets)]
    few = _apart(few, x)
    ax.set_xticks(few, [f"{n:,.0f}" for n in few])
    ax.set_xticks(last, [f"all ({n:,.0f})" for n in last], minor=True)
    # below the other tick labels, as the last may be near
    pad = 20 if len(few) else rcParams["xtick.minor.pad"]
    ax.tick_params(axis="x", which="minor", length=rcParams["xtick.major.size"], pad=pad)
    ax.grid(axis="y")
    figure.legend(loc="outside right upper", title="mean with 95 % interval", alignment="left")
    return figure


@style.styled
def equivalent_labels(table: pd.DataFrame, method: str) -> Figure:
    """Draw how many labels other methods (rows) need to match `method` by its labels (columns).

    Colour shows the ratio on a logarithmic scale. `table`: of `equivalent_labels.equivalent`."""
    rows = table.loc[table.a == method]
    if rows.empty:
        return style.empty(f"no method but {method} has several numbers of labels")
    rows = rows.assign(budget=rows.n_labels.astype(float).fillna(np.inf))
    rows["doublings"] = np.log2(rows.ratio.astype(float).clip(1 / 16, 16))
    needed, fewest, most = (rows[x].map("{:,.0f}".format) for x in ("labels", "fewest", "most"))
    needed = needed.mask(rows.labels == 0, "≤ " + fewest)
    rows["text"] = needed.mask(np.isinf(rows.labels), "> " + most)
    cells = rows.pivot(index="b", columns="budget").loc[list(dict.fromkeys(rows.b))]
    names = style.in_lines(map(str, cells.index), letters=30)
    figure, ax = style.panel(height=0.42 * len(names) + 1.9)
    doublings, texts = cells["doublings"].to_numpy(float), cells["text"].fillna("").to_numpy(str)
    look: Any = {"cmap": style.DIVERGING, "vmin": -4, "vmax": 4}
    image = style.heat_map(ax, doublings, texts, names, **look)
    style.colour_bar(image, "ratio of labels needed", DOUBLINGS)
    scores = rows.drop_duplicates("budget").set_index("budget").accuracy.sort_index().items()
    below = [f"{'all' if n == np.inf else f'{n:,.0f}'}\n({score:.3f})" for n, score in scores]
    ax.set_xticks(range(len(below)), below)
    ax.set_xlabel(f"labels of {method} (accuracy)")
    return figure


@style.styled
def gains(differences: pd.DataFrame, control: str) -> Figure:
    """Draw the gain of methods (rows) over their control, with a panel per number of labels.

    Error bars are 95 % intervals; symbols are filled if they exclude 0. `differences`: of
    `pretraining_gain.differences`."""
    rows = differences[differences.seeds > 0]
    if rows.empty:
        return style.empty(f"no method can be compared with {control} yet")
    methods = list(dict.fromkeys(rows.method))[::-1]
    budgets = rows.groupby("n_labels", dropna=False)
    height = 0.42 * len(methods) + 1.5
    figure, axes = style.panels(len(budgets), height=height, sharey=True, sharex=True)
    for ax, (budget, here) in zip(axes.flat, budgets, strict=True):
        ax.axvline(0, color=style.ORANGE, **style.DASHED)
        places, apart = here.method.map(methods.index), (here.low > 0) | (here.high < 0)
        style.estimates(ax, places[apart], here[apart], "difference")
        style.estimates(ax, places[~apart], here[~apart], "difference", mfc="white")
        for method in set(methods) - set(here.method):
            style.absent(ax, methods.index(method), "missing")
        names, label = style.in_lines(methods, letters=30), f"accuracy minus that\nof {control}"
        style.row_axis(ax, names, label, ticks=4)
        ax.set_title(style.labels(budget))
    tied = style.POINT | {"mfc": "white"}
    style.legend(figure, {"significant": style.POINT, "statistically tied": tied})
    return figure


def best(rows: pd.DataFrame, metric: str) -> float:
    """Return the best value of a metric among the rows."""
    return float((np.min if metric in LOW else np.max)(rows[metric].to_numpy(float)))


def _ranked(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Sort rows from bottom to top: without results, worst, ..., best; without the baseline."""
    rows = table.loc[table.method != BASELINE]
    return rows.sort_values(by=metric, na_position="first", ascending=metric not in LOW)


def _baseline(ax: Axes, value: float) -> None:
    """Draw the baseline as a dashed line, or as an arrow if it is far from the methods."""
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


def _beyond(values: Values) -> tuple[float, float]:
    """Return limits of a logarithmic axis with margins on both sides."""
    low, high = np.log10([values.min(), values.max()])
    margin = max(0.06 * (high - low), 0.1)
    return 10 ** float(low - margin), 10 ** float(high + margin)


def _heights(ax: Axes, rows: pd.DataFrame, metric: str, table: pd.DataFrame) -> None:
    """Set up the y axis of a metric, and show the baseline as a line, or an arrow if far away."""
    name = NAMES.get(metric, metric.replace("_", " ")).split("\n")[0]
    ax.set_ylabel(f"test {name}, 95 % interval")
    ends = style.ends(rows, metric)
    low, high = np.nanmin(ends), np.nanmax(ends)
    room = max(0.05 * (high - low), 0.005)
    ax.set_ylim(low - 3 * room, high + room)
    base = table.loc[table.method == BASELINE]
    if len(base):
        value = best(base, metric)
        arrow = "" if low - room < value < high + room else "↓ " if value < low else "↑ "
        if not arrow:
            ax.axhline(value, color=style.ORANGE, **style.DASHED)
        text = f"{arrow}{BASELINE} {value:.3f}"
        style.at_row(ax, 0.02, low - 1.6 * room, text, color=style.ORANGE, fontsize=10)


def _inches(values: Values, among: Float[ndarray, " _"]) -> Values:
    """Return approximate positions on the logarithmic axis of `_beyond(among)`, in inches."""
    low, high = np.log10(_beyond(among))
    return AXES * (np.log10(values) - low) / (high - low)


def _apart(values: Values, among: Float[ndarray, " _"]) -> list[float]:
    """Select ascending values with room for a tick label before the next; always the last."""
    shown, last = [], np.inf
    for value, place in zip(values[::-1], _inches(values, among)[::-1], strict=True):
        if place <= last - 0.5:
            shown, last = [float(value), *shown], place
    return shown


def _shifts(values: Values) -> Values:
    """Return shifts in inches that separate points with nearly equal costs."""
    places = pd.Series(_inches(values, values)).sort_values(kind="stable")
    groups = places.groupby((places.diff() > 0.06).cumsum())
    sizes: Any = groups.transform("size")
    shifts = groups.cumcount() - (sizes - 1) / 2
    return 0.11 * shifts.sort_index().to_numpy(float)
