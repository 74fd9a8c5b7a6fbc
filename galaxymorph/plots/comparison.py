"""Figures of comparisons of methods, in the look of `plots`. `table` is one of `comparison.compare`
everywhere."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    EngFormatter,
    FixedFormatter,
    FixedLocator,
    MaxNLocator,
    NullLocator,
    StrMethodFormatter,
)
from matplotlib.transforms import ScaledTranslation
from numpy import ndarray

from galaxymorph.plots.style import (
    BLUE,
    COLOURS,
    DASHES,
    DIVERGING,
    FAINT,
    GREEN,
    INK,
    LETTER,
    MARKERS,
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
    row_names,
)

LOW = ("log_loss", "brier")  # metrics of which the smaller is the better
NAMES = {
    "macro_f1": "macro F1",
    "auc": "AUC",
    "log_loss": "log loss (nats)\nless is better",
    "brier": "Brier score\nless is better",
}
COSTS = {
    "parameters": "parameters",
    "flops": "floating-point operations to predict a galaxy",
    "training_seconds": "seconds of training",
    "peak_memory_mib": "memory at its peak (MiB)",
}
COUNTS = ("parameters", "flops")  # those that are no measurements
PARTS = (("training", "train_accuracy", "^", ORANGE), ("validation", "val_accuracy", "s", GREEN))
WHITE = {"fc": "white", "ec": "none", "pad": 1}  # behind text
BESIDE = 30  # letters of a line of the legend beside the axes
AXES = 4.3  # inches that these leave, about


@rc_context(STYLE)
def comparison(
    table: pd.DataFrame,
    *,
    metrics: Sequence[str] = ("accuracy", "macro_f1"),
    baseline: str = "majority",
) -> Figure:
    """Each metric of each method as a point with its 95 % interval, the best on top, and the
    baseline as a dashed line.

    Rows without a result say "missing" or "not run"; the rows of the method `baseline` are no
    points but the line (the best of them)."""
    base = table[table.method == baseline]
    rows = _ranked(table, metrics[0], baseline)
    if not rows.seeds.sum():
        return empty("no method has a result yet")
    figure, axes = panels(1, len(metrics), height=0.42 * len(rows) + 1.5, sharey=True)
    for ax, metric in zip(axes[0], metrics, strict=True):
        low, value, high = (rows[f"{metric}{end}"].to_numpy(float) for end in ("_low", "", "_high"))
        ax.hlines(range(len(rows)), low, high, color=BLUE, lw=2, ls="-")
        ax.plot(value, range(len(rows)), "o", color=BLUE, ms=6)
        _rows(ax, rows)
        ax.margins(x=0.1)
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.set_xlabel(NAMES.get(metric, metric.replace("_", " ")))
        if len(base):
            _baseline(ax, float((np.min if metric in LOW else np.max)(base[metric])), baseline)
    axes[0][0].set_yticks(range(len(rows)), row_names(rows))
    look: dict[str, Any] = {"color": BLUE, "marker": "o", "ms": 6, "lw": 2}
    figure.legend(
        handles=[Line2D([], [], label=_interval(rows), **look)], loc="outside upper right"
    )
    return figure


@rc_context(STYLE)
def train_val_test(table: pd.DataFrame, *, baseline: str = "majority") -> Figure:
    """Accuracy of training, validation and test galaxies of each method beside each other, the
    latter with its 95 % interval, the best on top. Far apart, a method has learned its training
    galaxies by heart."""
    rows = _ranked(table, "accuracy", baseline)
    if not rows.seeds.sum():
        return empty("no method has a result yet")
    figure, axes = panels(1, 1, height=0.42 * len(rows) + 1.5)
    ax, places = axes[0, 0], np.arange(len(rows))
    accuracies = rows[["train_accuracy", "val_accuracy", "accuracy"]].astype(float)
    low, value, high = (rows[f"accuracy{end}"].to_numpy(float) for end in ("_low", "", "_high"))
    ax.hlines(places, accuracies.min(axis=1), accuracies.max(axis=1), color="#cccccc", lw=1, ls="-")
    ax.hlines(places, low, high, color=BLUE, lw=2, ls="-")
    handles = []
    for name, column, marker, colour in PARTS:
        handles += ax.plot(
            accuracies[column], places, color=colour, marker=marker, ms=6, ls="", label=name
        )
    ax.plot(value, places, "o", color=BLUE, ms=6)
    handles += [
        Line2D([], [], color=BLUE, marker="o", ms=6, lw=2, ls="-", label=f"test: {_interval(rows)}")
    ]
    _rows(ax, rows)
    ax.set_yticks(places, row_names(rows))
    ax.set_xlabel("accuracy")
    figure.legend(handles=handles, loc="outside upper right", ncols=3)
    return figure


@rc_context(STYLE)
def per_class(table: pd.DataFrame, *, metric: str = "F1", ax: Axes | None = None) -> Figure:
    """A metric from 0 to 1 as a heat map, methods by classes, index and columns of `table`
    (`comparison.per_class`); grey where undefined."""
    if table.empty:
        return empty("no method has a result yet", ax)
    values = np.ma.masked_invalid(table.to_numpy(float))
    low = (
        0.0 if values.mask.all() else float(np.floor(10 * values.min()) / 10)
    )  # differences between good methods stay visible
    figure, ax = panel(ax, width=WIDTH, height=0.42 * len(table) + 1.5)
    image = ax.imshow(values, cmap=SEQUENTIAL, vmin=low, vmax=1, aspect="auto")
    for row, column in np.ndindex(*values.shape):
        value = values[row, column]
        text, dark = (
            ("–", False) if value is np.ma.masked else (f"{value:.2f}", value > (low + 1) / 2)
        )
        ax.text(
            column, row, text, ha="center", va="center", fontsize=10, color="white" if dark else INK
        )
    names = [in_lines(str(name)) for name in table.index]
    left = LETTER * max(len(line) for name in names for line in name.split("\n"))
    names_below(
        ax, [str(name) for name in table.columns], pitch=(WIDTH - left - 1) / len(table.columns)
    )
    ax.set_yticks(range(len(table)), names)
    frameless(ax)
    colour_bar(ax, image, label=metric, ticks=None)
    return figure


@rc_context(STYLE)
def pareto(
    table: pd.DataFrame,
    front: Bool[ndarray, " row"],
    *,
    cost: str = "training_seconds",
    baseline: str = "majority",
) -> Figure:
    """Accuracy with its 95 % interval against a cost, one of `COSTS`, on a logarithmic axis.
    `front`: which rows no other beats (`comparison.front`); they are filled, and a line runs along
    them. Rows whose cost is not known are named as such."""
    rows = table.assign(front=front).loc[(table.method != baseline) & (table.seeds > 0)]
    rows = rows.assign(name=_names(rows)).sort_values(by="accuracy", ascending=False)
    known = rows[cost] > 0
    unknown, rows = [str(name) for name in rows.loc[~known, "name"]], rows.loc[known]
    if rows.empty:
        return empty(f"no method says its {COSTS[cost]}")
    price, best = rows[cost].to_numpy(float), rows.loc[rows.front].sort_values(by=cost)
    figure, ax = _beside([*rows["name"], *unknown])
    ax.set(xscale="log", xlim=_beyond(price), xlabel=COSTS[cost])
    _heights(ax, rows, "accuracy", table.loc[table.method == baseline])
    front_x, front_y = (
        np.append(best[cost], ax.get_xlim()[1]),
        np.append(best.accuracy, best.accuracy.max()),
    )
    handles = ax.plot(
        front_x,
        front_y,
        drawstyle="steps-post",
        color=INK,
        lw=1.2,
        ls="--",
        zorder=1,
        label="Pareto front",
    )
    for i, (row, shift) in enumerate(zip(rows.to_dict("records"), _shifts(price), strict=True)):
        where = ax.transData + ScaledTranslation(shift, 0, figure.dpi_scale_trans)
        colour, face = COLOURS[i % 8], COLOURS[i % 8] if row["front"] else "white"
        ax.plot(
            [row[cost]] * 2,
            [row["accuracy_low"], row["accuracy_high"]],
            color=colour,
            ls="-",
            transform=where,
        )
        look: Any = {
            "color": colour,
            "marker": _marker(i),
            "ms": 8,
            "mew": 1.2,
            "mfc": face,
            "ls": "",
            "transform": where,
        }
        handles += ax.plot(row[cost], row["accuracy"], label=row["name"], **look)
    ax.xaxis.set_major_locator(FixedLocator(_ticks(*ax.get_xlim())))
    ax.xaxis.set_major_formatter(
        EngFormatter(sep=" ") if cost in COUNTS else StrMethodFormatter("{x:,g}")
    )
    ax.xaxis.set_minor_locator(NullLocator())
    ax.grid()
    handles += [Line2D([], [], ls="", label=f"cost not known:\n{name}") for name in unknown]
    figure.legend(handles=handles, loc="outside right upper")
    return figure


@rc_context(STYLE)
def label_efficiency(
    table: pd.DataFrame,
    *,
    metric: str = "accuracy",
    baseline: str = "majority",
    controls: Collection[str] = (),
) -> Figure:
    """A metric against the number of labels: a line with the band of its 95 % interval for each
    method, the best with the most labels on top of the legend; `controls` are thin, grey, without a
    band, and end it. "all" labels stand where their number is; what is missing is a gap."""
    rows = table.loc[(table.method != baseline) & (table.seeds > 0)]
    if rows.empty:
        return empty("no method has a result yet")
    rows = rows.assign(labels=rows["n_labels"].astype(float).fillna(np.inf))
    labels = np.unique(rows["labels"].to_numpy(float))
    every = (
        float(np.median(rows.loc[np.isinf(rows["labels"]), "n_train"].to_numpy(float)))
        if np.isinf(labels[-1])
        else np.nan
    )
    x = np.where(np.isinf(labels), every, labels)
    methods = {
        str(name): each.set_index("labels").reindex(labels)
        for name, each in rows.groupby("method", sort=False)
    }
    names = sorted(
        methods,
        key=lambda name: methods[name][metric].fillna(-1).tolist()[::-1],
        reverse=metric not in LOW,
    )
    names.sort(key=lambda name: name in controls)
    alpha = min(0.12, 0.8 / max(1, sum(name not in controls for name in names)))
    for end in ("_low", "_high"):
        rows[f"{metric}{end}"] = rows[f"{metric}{end}"].where(
            ~rows.method.isin(list(controls)), rows[metric]
        )
    figure, ax = _beside([in_lines(name, letters=BESIDE) for name in names])
    ax.set(xscale="log", xlim=_beyond(x), xlabel="labelled galaxies to learn from")
    _heights(ax, rows, metric, table.loc[table.method == baseline])
    for i, name in enumerate(names):
        low, value, high = (
            methods[name][f"{metric}{end}"].to_numpy(float) for end in ("_low", "", "_high")
        )
        line: dict[str, Any] = {"color": COLOURS[i % 8], "ms": 6}
        if name in controls:
            line = {"color": FAINT, "ms": 4, "lw": 0.8, "zorder": 1.5}
        else:
            ax.fill_between(x, low, high, color=line["color"], alpha=alpha, lw=0)
        alone = (
            np.isfinite(value)
            & ~np.isfinite(np.r_[np.nan, value[:-1]])
            & ~np.isfinite(np.r_[value[1:], np.nan])
        )
        ax.vlines(
            x[alone], low[alone], high[alone], color=line["color"], lw=1.2, ls="-"
        )  # a band has to be between two
        ax.plot(
            x,
            value,
            **line,
            marker=_marker(i),
            ls=DASHES[(i + i // 8) % 8],
            label=in_lines(name, letters=BESIDE),
        )
    shown = x[np.isfinite(labels)]
    shown = shown[_apart(shown, x, 0.5)]
    ax.xaxis.set_major_locator(FixedLocator(list(shown)))
    ax.xaxis.set_major_formatter(FixedFormatter([f"{n:,.0f}" for n in shown]))
    ax.xaxis.set_minor_locator(FixedLocator(list(x[np.isinf(labels)])))
    ax.xaxis.set_minor_formatter(FixedFormatter([f"all ({every:,.0f})"]))
    ax.tick_params(axis="x", which="minor", length=rcParams["xtick.major.size"])
    if len(shown):
        ax.tick_params(
            axis="x", which="minor", pad=20
        )  # below the others, of which the last may be near
    ax.grid(axis="y")
    figure.legend(loc="outside right upper", title="mean with 95 % interval", alignment="left")
    return figure


@rc_context(STYLE)
def equivalent_labels(table: pd.DataFrame, method: str) -> Figure:
    """How many labels other methods need (rows) to be as accurate as one with some number of labels
    (columns): the number, and as colour its ratio to those of the one, on a scale of doublings.
    `table`: of `efficiency.equivalent`."""
    rows = table.loc[table.a == method]
    if rows.empty:
        return empty(f"no method has several numbers of labels beside {method}")
    rows = rows.assign(number=rows.n_labels.astype(float).fillna(np.inf))
    budgets, others = sorted(rows.number.unique()), list(dict.fromkeys(rows.b))
    ratios, texts = np.full((len(others), len(budgets)), np.nan), {}
    for row in rows.to_dict("records"):
        place = others.index(row["b"]), budgets.index(row["number"])
        few, many = f"≤ {row['fewest']:,.0f}", f"> {row['most']:,.0f}"
        texts[place] = (
            many
            if np.isinf(row["labels"])
            else few
            if row["labels"] == 0
            else f"{row['labels']:,.0f}"
        )
        ratios[place] = np.clip(row["ratio"], 1 / 16, 16)
    names = [in_lines(name, letters=BESIDE) for name in others]
    figure, ax = panel(None, width=WIDTH, height=0.42 * len(others) + 1.9)
    image = ax.imshow(
        np.ma.masked_invalid(np.log2(ratios)), cmap=DIVERGING, vmin=-4, vmax=4, aspect="auto"
    )
    for (i, j), text in texts.items():
        dark = np.log2(ratios[i, j]) < -3  # blue; ink is legible on all of the orange
        ax.text(j, i, text, ha="center", va="center", fontsize=10, color="white" if dark else INK)
    scores = [rows.accuracy[rows.number == n].iloc[0] for n in budgets]
    below = [
        f"{'all' if np.isinf(n) else f'{n:,.0f}'}\n({score:.3f})"
        for n, score in zip(budgets, scores, strict=True)
    ]
    ax.set_xticks(range(len(budgets)), below)
    ax.set_xlabel(f"labels of {method} (its accuracy)")
    ax.set_yticks(range(len(others)), names)
    frameless(ax)
    doublings = {-4: "1/16", -2: "1/4", 0: "1", 2: "4", 4: "16"}
    colour_bar(
        ax,
        image,
        label="labels needed for each",
        ticks=list(doublings),
        names=list(doublings.values()),
    )
    return figure


@rc_context(STYLE)
def gains(differences: pd.DataFrame, control: str) -> Figure:
    """By how much methods are better than their control with the same labels, with 95 % intervals:
    a panel for each number of labels, a row for each method; filled where the two can be told
    apart. `differences`: of `controls.differences`."""
    rows = differences[differences.seeds > 0]
    if rows.empty:
        return empty(f"no method has a result beside {control} yet")
    methods = list(dict.fromkeys(rows.method))[::-1]
    budgets = sorted(rows.n_labels.unique(), key=lambda n: np.inf if pd.isna(n) else n)
    figure, axes = panels(
        1, len(budgets), height=0.42 * len(methods) + 1.5, sharey=True, sharex=True
    )
    for ax, n_labels in zip(axes[0], budgets, strict=True):
        here = rows[
            rows.n_labels.isna() if pd.isna(n_labels) else rows.n_labels == n_labels
        ].set_index("method")
        ax.axvline(0, color=ORANGE, ls="--", lw=1.5)
        for place, method in enumerate(methods):
            if method in here.index:
                low, value, high = here.loc[method, ["low", "difference", "high"]].astype(float)
                ax.hlines(place, low, high, color=BLUE, lw=2, ls="-")
                ax.plot(
                    value,
                    place,
                    "o",
                    color=BLUE,
                    ms=6,
                    mfc=BLUE if low > 0 or high < 0 else "white",
                )
            else:
                ax.text(0, place, "missing", color=FAINT, ha="center", va="center", bbox=WHITE)
        ax.set_title("all labels" if pd.isna(n_labels) else f"{n_labels:,} labels")
        ax.set_ylim(-0.6, len(methods) - 0.4)
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.set_xlabel(f"accuracy less that\nof {control}")
    axes[0][0].set_yticks(
        range(len(methods)), [in_lines(method, letters=BESIDE) for method in methods]
    )
    look: dict[str, Any] = {"color": BLUE, "marker": "o", "ms": 6, "lw": 2}
    told = [
        Line2D([], [], label="told apart", **look),
        Line2D([], [], label="not told apart", mfc="white", **look),
    ]
    figure.legend(handles=told, loc="outside upper right", ncols=2)
    return figure


@rc_context(STYLE)
def mistakes(table: pd.DataFrame, seeds: pd.DataFrame) -> Figure:
    """What mistakes report, as rings, and what is honest, as points, joined by arrows; the one that
    is worth the most on top. Below each arrow the same of every seed, small. `table` and `seeds`:
    of `forensics.table` and `forensics.by_seed`."""
    rows = table.iloc[::-1]
    figure, axes = panels(1, 1, height=0.72 * len(rows) + 1.4)
    ax, several = axes[0, 0], table.seeds.max() > 1
    right: dict[str, Any] = {"color": BLUE, "marker": "o", "ls": "", "mew": 0}
    wrong: dict[str, Any] = {"color": ORANGE, "marker": "o", "ls": "", "mfc": "none"}
    for place, row in enumerate(rows.to_dict("records")):
        ax.plot(row["honest"], place, ms=7, **right)
        ax.plot(row["reported"], place, ms=11, mew=1.8, **wrong)
        if several:
            each = seeds[seeds.mistake == row["mistake"]]
            ax.plot(each.honest, [place - 0.3] * len(each), ms=3, **right)
            ax.plot(each.reported, [place - 0.3] * len(each), ms=5, mew=1, **wrong)
        text = f"{row['difference']:+.3f}" + f"\n{row['measure']}" * (row["measure"] != "accuracy")
        ax.text(1.02, place, text, transform=ax.get_yaxis_transform(), va="center", fontsize=10)
    ax.margins(x=0.06)
    low, high = ax.get_xlim()
    for place, row in enumerate(rows.to_dict("records")):
        if abs(row["difference"]) > 0.05 * (high - low):  # less would be under the ring
            ends = {"xy": (row["reported"], place), "xytext": (row["honest"], place)}
            ax.annotate(
                "",
                **ends,
                arrowprops={
                    "arrowstyle": "-|>",
                    "color": INK,
                    "lw": 1.2,
                    "shrinkA": 4,
                    "shrinkB": 6.5,
                },
            )
    names = [
        f"{in_lines(row['mistake'])}\n({in_lines(row['published_in'])})"
        for row in rows.to_dict("records")
    ]
    ax.set_yticks(range(len(rows)), names)
    others = (rows.measure != "accuracy").any()
    ax.set(
        ylim=(-0.6, len(rows) - 0.4),
        xlabel="accuracy" + " (or what stands on the right)" * bool(others),
    )
    ax.text(
        1.02,
        len(rows) - 0.4,
        "difference",
        transform=ax.get_yaxis_transform(),
        va="bottom",
        fontsize=10,
    )
    ax.grid(axis="x")
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    n = " to ".join(f"{n:,}" for n in sorted({table.n.min(), table.n.max()}))
    of = f"mean over {table.seeds.max()} seeds; small: each of them" if several else "one seed"
    handles = [
        Line2D([], [], ms=7, label="honest", **right),
        Line2D([], [], ms=11, mew=1.8, label="reported", **wrong),
    ]
    handles += [Line2D([], [], ls="", label=f"{of} (n = {n} test galaxies)")]
    figure.legend(handles=handles, loc="outside upper right", ncols=3)
    return figure


# ---- rows


def _ranked(table: pd.DataFrame, metric: str, baseline: str) -> pd.DataFrame:
    """All rows but the baseline's, from below: those without a result, the worst, the best."""
    rows = table.loc[table.method != baseline]
    return rows.sort_values(by=metric, na_position="first", ascending=metric not in LOW)


def _rows(ax: Axes, rows: pd.DataFrame) -> None:
    """An axis of rows; those without a result say so."""
    for place, row in enumerate(rows.to_dict("records")):
        if not row["seeds"]:
            text = "not run" if isinstance(row.get("not_run"), str) else "missing"  # a file has NaN
            ax.text(
                0.02,
                place,
                text,
                transform=ax.get_yaxis_transform(),
                color=FAINT,
                va="center",
                bbox=WHITE,
            )
    ax.set_ylim(-0.9, len(rows) - 0.4)
    ax.grid(axis="x")
    ax.tick_params(axis="y", length=0)


def _interval(rows: pd.DataFrame) -> str:
    """What a point with its line is."""
    n = " to ".join(f"{n:,}" for n in sorted({rows.n_test.min(), rows.n_test.max()}))
    return f"{'mean over seeds' if rows.seeds.max() > 1 else 'one seed'} with its 95 % interval (n = {n} test galaxies)"


def _baseline(ax: Axes, value: float, name: str) -> None:
    """A dashed line; where it would be far from the methods, and squeeze their intervals, an arrow
    that points to it."""
    low, high = ax.get_xlim()
    if low - 0.5 * (high - low) < value < high + 0.5 * (high - low):
        ax.axvline(value, color=ORANGE, ls="--", lw=1.5)
        place, align, text = (
            value,
            "left" if value < (low + high) / 2 else "right",
            f" {name} {value:.3f} ",
        )
    else:
        ax.set_xlim(low, high)
        place, align, text = (
            (low, "left", f"← {name} {value:.3f}")
            if value < low
            else (high, "right", f"{name} {value:.3f} →")
        )
    ax.text(place, -0.6, text, color=ORANGE, ha=align, va="center", fontsize=10)


# ---- points, with their names beside the axes


def _names(rows: pd.DataFrame) -> list[str]:
    """Method and, where there are several, label budget."""
    budgets = ["all labels" if pd.isna(n) else f"{n:,} labels" for n in rows.n_labels]
    several = len(set(budgets)) > 1
    pairs = zip(rows.method, budgets, strict=True)
    return [
        in_lines(f"{method}, {budget}" if several else method, letters=BESIDE)
        for method, budget in pairs
    ]


def _beside(names: Sequence[str]) -> tuple[Figure, Axes]:
    """A panel that is high enough for a legend of these names on its right."""
    lines = sum(1 + name.count("\n") for name in names)
    figure, axes = panels(1, 1, height=max(4.2, 1.0 + 0.205 * lines))
    return figure, axes[0, 0]


def _marker(i: int) -> str:
    return MARKERS[(i + i // 8) % 8]  # with the colour, different for 64


def _beyond(values: Float[ndarray, " _"]) -> tuple[float, float]:
    """The limits of a logarithmic axis on which there is room on both sides."""
    low, high = np.log10([values.min(), values.max()])
    margin = max(0.06 * (high - low), 0.1)
    return 10 ** float(low - margin), 10 ** float(high + margin)


def _heights(ax: Axes, rows: pd.DataFrame, metric: str, base: pd.DataFrame) -> None:
    """The y axis of a metric: room for all intervals, and below them for the best of the baseline:
    a line, or an arrow where it is far away."""
    name = NAMES.get(metric, metric.replace("_", " ")).split("\n")[0]
    ax.set_ylabel(f"test {name}, 95 % interval")
    low, high = (
        np.nanmin(rows[f"{metric}_low"].to_numpy(float)),
        np.nanmax(rows[f"{metric}_high"].to_numpy(float)),
    )
    room = max(0.05 * (high - low), 0.005)
    ax.set_ylim(low - 3 * room, high + room)
    if len(base):
        best = float((np.min if metric in LOW else np.max)(base[metric].to_numpy(float)))
        arrow = "" if low - room < best < high + room else "↓ " if best < low else "↑ "
        if not arrow:
            ax.axhline(best, color=ORANGE, ls="--", lw=1.5)
        text = f"{arrow}{base.method.iloc[0]} {best:.3f}"
        ax.text(
            0.02,
            low - 1.6 * room,
            text,
            color=ORANGE,
            transform=ax.get_yaxis_transform(),
            va="center",
            fontsize=10,
        )


def _inches(
    values: Float[ndarray, " value"], among: Float[ndarray, " _"]
) -> Float[ndarray, " value"]:
    """About where values are on the logarithmic axis of `_beyond` of all that it shows."""
    low, high = np.log10(_beyond(among))
    return AXES * (np.log10(values) - low) / (high - low)


def _apart(
    values: Float[ndarray, " value"], among: Float[ndarray, " _"], distance: float
) -> Bool[ndarray, " value"]:
    """Which of rising values can have a tick label, some inches from the next one, the largest in
    any case."""
    places, last = _inches(values, among), np.inf
    shown = np.zeros(len(values), bool)
    for i in reversed(range(len(values))):
        if places[i] <= last - distance:
            shown[i], last = True, places[i]
    return shown


def _shifts(values: Float[ndarray, " value"]) -> Float[ndarray, " value"]:
    """By how many inches points are moved aside that would hide each other: methods that cost the
    same."""
    order, places = np.argsort(values, kind="stable"), _inches(values, values)
    group = np.cumsum(np.r_[0, np.diff(places[order]) > 0.06])
    shifts = np.zeros(len(values))
    for each in range(group.max() + 1):
        members = order[group == each]
        shifts[members] = 0.11 * (np.arange(len(members)) - (len(members) - 1) / 2)
    return shifts


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between the limits of a logarithmic axis, no more than fit."""
    decades = np.log10(high / low)
    steps = (1, 2, 5) if decades < 2 else (1, 3) if decades < 4 else (1,)
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    return [
        step * 10.0**power
        for power in powers
        for step in steps
        if low <= step * 10.0**power <= high
    ]
