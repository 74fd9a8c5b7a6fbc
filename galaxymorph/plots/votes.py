"""Figures of predicted vote fractions: errors, calibration, decision trees of galaxies."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from numpy import ndarray
from torch import Tensor

from galaxymorph import galaxy_zoo_tree
from galaxymorph.plots import comparison as plots
from galaxymorph.plots import style
from galaxymorph.plots.galaxies import to_pixels

Tables = pd.DataFrame | Mapping[str, pd.DataFrame]  # of one method, or of several by name
IMPORTANT = (
    *(("smooth", "smooth"), ("smooth", "features"), ("edge_on", "yes"), ("bar", "yes")),
    *(("spiral", "yes"), ("roundness", "round"), ("roundness", "cigar"), ("odd", "yes")),
)
COLUMNS = (  # of `tree`, of about equal height
    ("image", "smooth", "roundness", "odd"),
    ("edge_on", "bulge_shape", "bulge", "bar", "spiral"),
    ("winding", "arms", "odd_feature"),
)
SHOWN = (-50, 150)  # per cent of the gap; values outside are shown as arrows
YARDSTICKS = {  # name, per cent of the gap, colour, alignment of the name
    "floor": ("best achievable", 100, style.INK, "left"),
    "baseline": ("mean vote", 0, style.ORANGE, "right"),
}
UNKNOWN = "the number of volunteers is unknown"
SLICES = galaxy_zoo_tree.SLICES


@style.styled
def progress(tables: Tables, *, convention: str = "cumulative") -> Figure:
    """Draw the gap closed between mean vote (0) and best achievable RMSE (100), per question.

    `tables`: of `vote_metrics.evaluate`."""
    chosen = f"metric == 'rmse' and scope != 'answer' and convention == {convention!r}"
    methods = {name: t.query(chosen).set_index("name") for name, t in _methods(tables).items()}
    if all(t["way"].isna().all() for t in methods.values()):
        return style.empty(f"the best achievable RMSE is unknown: {UNKNOWN}")
    names, n = next(iter(methods.values())).index, len(methods)
    figure, ax = style.panel(height=max(0.36, 0.19 * n + 0.1) * len(names) + 1.5)
    for i, t in enumerate(methods.values()):
        places = np.arange(len(names)) + (i - (n - 1) / 2) * 0.7 / n
        way = t["way"].to_numpy(float)
        far = (way < SHOWN[0]) | (way > SHOWN[1])
        look = style.look(i, ls="")
        style.estimates(ax, places[~far], t[~far], "way", **look)
        for place, value in zip(places[far], way[far], strict=True):
            x, side = (0.01, "left") if value < 0 else (0.99, "right")
            text = f"← {value:.0f} %" if value < 0 else f"{value:.0f} % →"
            style.at_row(ax, x, place, text, color=look["color"], ha=side)
    for name, place, colour, _ in reversed(YARDSTICKS.values()):
        ax.axvline(place, color=colour, **style.DASHED)
        look = {"color": colour, "ha": "center", "va": "bottom", "fontsize": 10}
        ax.text(place, -0.75, name.replace(" ", "\n"), **look)
    gone = np.concatenate([np.ravel(style.ends(t, "way")) for t in methods.values()])
    low, high = np.nanmin(gone, initial=-8), np.nanmax(gone, initial=108)
    ax.set_xlim(*np.clip((low, high), *SHOWN))
    label = "gap closed between mean vote (0) and best achievable (100)\n"
    label += f"% of the RMSE, {convention}"
    style.row_axis(ax, [name.replace("_", " ") for name in names], label)
    ax.invert_yaxis()
    ax.axhline(0.5, color=style.FAINT, lw=0.8, ls="-")
    _legend(figure, methods, f"95 % interval, n = {_n(methods):,} galaxies")
    return figure


@style.styled
def comparison(table: pd.DataFrame) -> Figure:
    """Draw the RMSE of each method, the lowest on top, between mean vote and best achievable.

    Bands show their ranges over methods. `table`: of `vote_comparison.compare`."""
    figure, rows = plots.comparison(table, metrics=["rmse"]), table.loc[table.seeds > 0]
    for column, (name, _, colour, side) in YARDSTICKS.items():
        ax, mean = figure.axes[0], rows[column].mean()
        if not np.isnan(mean):
            place: Any = {"ha": side, "va": "center", "fontsize": 10}
            ax.axvspan(rows[column].min(), rows[column].max(), color=colour, alpha=0.2, lw=0)
            ax.axvline(mean, color=colour, **style.DASHED)
            ax.text(mean, -0.6, f" {name} {mean:.3f} ", color=colour, **place)
    return figure


@style.styled
def predicted_against_votes(
    votes: pd.DataFrame, *, answers: Sequence[tuple[str, str]] = IMPORTANT, split: str = "test"
) -> Figure:
    """Draw predicted against voted cumulative fractions as 2D histograms, a panel per answer.

    `votes`: table in the format of votes.csv; `answers`: pairs (question, answer)."""
    rows = votes.loc[(votes["split"] == split) & votes[galaxy_zoo_tree.COLUMNS[0]].notna()]
    if rows.empty:
        return style.empty(f"no galaxies with votes in the {split} split")
    figure, axes = style.panels(len(answers), 4, height=1.62, more=0.7)
    most = max(len(rows) / 10, 2.0)
    look: Any = {"cmap": style.SEQUENTIAL.with_extremes(bad="white"), "norm": LogNorm(0.7, most)}
    for ax, (question, answer) in zip(axes.flat, answers, strict=False):
        column = galaxy_zoo_tree.column(question, answer)
        name = galaxy_zoo_tree.COLUMNS[column]
        x, y = (rows[each].to_numpy(float) for each in (name, f"p_{name}"))
        low = np.floor(10 * min(y.min(), 0)) / 10
        high = np.ceil(10 * max(x.max(), y.max(), 0.1)) / 10
        ax.hist2d(x, y, 25, range=((low, high), (low, high)), cmin=1, **look)
        ax.axline((0, 0), slope=1, color=style.INK, lw=1, ls="--")
        ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        ax.xaxis.set_major_locator(MaxNLocator(2))
        ax.yaxis.set_major_locator(MaxNLocator(2))
        ax.set_title(galaxy_zoo_tree.LABELS[column], fontsize=10)
    figure.supxlabel(f"fraction of volunteers (n = {len(rows):,} galaxies)", fontsize=11)
    figure.supylabel("predicted fraction", fontsize=11)
    ticks = [n for n in (1, 10, 100, 1000) if n <= most]
    place: Any = {"ax": axes, "aspect": 30, "pad": 0.01, "extend": "max", "ticks": ticks}
    bar = figure.colorbar(ScalarMappable(**look), format="%d", label="galaxies per bin", **place)
    bar.minorticks_off()
    return figure


@style.styled
def calibration(tables: Tables) -> Figure:
    """Draw voted against predicted fractions of those who answered, overall and per question.

    `tables`: of `vote_calibration.calibration`."""
    first = next(iter(_methods(tables).values()))
    n = first.loc[first["question"] == "overall", "n"].sum()
    label = f"predicted fraction (n = {n:,} answers)"
    return _per_question(tables, "predicted", "observed", label, "fraction of volunteers")


@style.styled
def coverage(tables: Tables) -> Figure:
    """Draw the coverage of central predicted intervals against their level, per question.

    Below the dashed line a model is overconfident. `tables`: of `vote_calibration.coverage`."""
    if not _n(tables):
        return style.empty(f"no vote counts: {UNKNOWN}")
    label = f"level of the predicted interval (n = {_n(tables):,} galaxies)"
    return _per_question(tables, "level", "coverage", label, "fraction of counts inside")


@style.styled
def tree(
    votes: pd.Series, *, image: UInt8[ndarray | Tensor, "3 size size"] | None = None
) -> Figure:
    """Draw the decision tree of a galaxy: for each question, fractions of those who answered.

    Bars: volunteers, with 68 % Wilson intervals; points: predictions, with the standard deviation
    of the Dirichlet distribution if predicted. Questions that less than 5 % of the volunteers
    answered are pale. `votes`: a row of a votes table."""
    figure = style.Picture(figsize=(style.WIDTH, 7.6), layout=ConstrainedLayoutEngine(w_pad=0.08))
    columns = figure.add_gridspec(1, len(COLUMNS))
    for column, names in enumerate(COLUMNS):
        sizes = [len(galaxy_zoo_tree.COLUMNS[SLICES[n]]) if n in SLICES else 5 for n in names]
        cells = columns[column].subgridspec(len(names), 1, height_ratios=sizes)
        for ax, name in zip(cells.subplots(squeeze=False).flat, names, strict=True):
            if name in SLICES:
                _question(ax, votes, name)
                continue
            ax.set_axis_off()
            ax.set_title(str(votes["id"]), fontsize=10)
            if image is not None:
                ax.imshow(to_pixels(image[None])[0])
    looks = {
        "volunteers": {"fc": style.SKY, "ec": style.SKY},
        "sampling error": {"color": style.INK, "lw": 1.2},
        "predicted": {"color": style.ORANGE, "marker": "D", "ms": 5, "lw": 1.2},
    }
    of = "fractions of those who answered, and their number"
    style.legend(figure, looks, title=of, alignment="right")
    return figure


@style.styled
def violations(tables: Tables) -> Figure:
    """Draw tables of `vote_metrics.violations`: percentage of galaxies, and largest violation."""
    methods = _methods(tables)
    if not any(t["count"].any() for t in methods.values()):
        return style.empty("no predicted fractions violate the decision tree")
    rules, n = next(iter(methods.values())).rule, len(methods)
    figure, ax = style.panel(height=(0.24 * n + 0.2) * len(rules) + 1.3)
    for i, (name, t) in enumerate(methods.items()):
        places = np.arange(len(rules)) + (i - (n - 1) / 2) * 0.8 / n
        bars = ax.barh(places, 100 * t.share, 0.7 / n, color=style.COLOURS[i % 8])
        texts = [
            f"{name and f'{name}: '}{100 * row['share']:.3g} %"
            + (f", by up to {row['largest']:.2g}" if row["count"] else "")
            for row in t.to_dict("records")
        ]
        ax.bar_label(bars, texts, padding=4, fontsize=10)
    ax.set_yticks(range(len(rules)), [rule.replace(" to ", "\nto ") for rule in rules])
    ax.invert_yaxis()
    room = 100 * style.LETTER * (30 + max(map(len, methods))) / 3.5  # for the text next to a bar
    ax.set(xlim=(0, 100 + room), xticks=[0, 25, 50, 75, 100])
    ax.set_xlabel(f"% of the galaxies (n = {_n(tables):,})")
    ax.tick_params(axis="y", length=0)
    return figure


def _methods(tables: Tables) -> dict[str, pd.DataFrame]:
    return {"": tables} if isinstance(tables, pd.DataFrame) else dict(tables)


def _n(tables: Tables) -> int:
    """Return the number of galaxies, from the first row (overall)."""
    return int(next(iter(_methods(tables).values()))["n"].to_numpy()[0])


def _legend(figure: Figure, methods: Mapping[str, pd.DataFrame], of: str | None = None) -> None:
    """Draw a legend of the methods."""
    named = enumerate(name for name in methods if name)
    looks = {name: style.look(i, ls="-", ms=6, lw=2) for i, name in named}
    style.legend(figure, looks, title=of, alignment="right")


def _per_question(tables: Tables, x: str, y: str, xlabel: str, ylabel: str) -> Figure:
    """Draw column y with its interval against column x, overall and for each question."""
    methods, names = _methods(tables), ["overall", *SLICES]
    figure, axes = style.panels(len(names), 4, height=2.2, sharex=True, sharey=True)
    limits, ticks = (-0.03, 1.03), [0, 0.5, 1]
    for ax, name in zip(axes.flat, names, strict=True):
        ax.plot([0, 1], [0, 1], color=style.FAINT, lw=1, ls="--")
        for i, t in enumerate(methods.values()):
            rows = t.loc[t["question"] == name]
            error = rows[y] - rows["low"], rows["high"] - rows[y]
            ax.errorbar(rows[x], rows[y], error, **style.look(i, ls="-", lw=1.2, ms=4))
        ax.set(xlim=limits, ylim=limits, aspect="equal", xticks=ticks, yticks=ticks)
        weight = "bold" if name == "overall" else "normal"
        ax.set_title(name.replace("_", " "), fontsize=10, fontweight=weight)
    figure.supxlabel(xlabel, fontsize=11)
    figure.supylabel(ylabel, fontsize=11)
    if "" not in methods:
        _legend(figure, methods)
    return figure


def _question(ax: Axes, votes: pd.Series, question: str) -> None:
    """Draw the panel of a question for `tree`."""
    answers = [answer for _, answer in galaxy_zoo_tree.ANSWERS[SLICES[question]]]
    columns = list(galaxy_zoo_tree.COLUMNS[SLICES[question]])
    places, people = np.arange(len(answers)), votes["volunteers"]
    true = np.asarray(votes[columns], float)
    predicted = np.asarray(votes[[f"p_{name}" for name in columns]], float).clip(0)
    answered = true.sum()  # NaN without votes
    alpha = 0.35 if answered < 0.05 else 1.0
    if answered > 0:
        v, n = true / answered, people * answered
        ax.barh(places, v, 0.8, color=style.SKY, alpha=alpha)
        centre, half = (n * v + 0.5) / (n + 1), np.sqrt(n * v * (1 - v) + 0.25) / (n + 1)
        line: Any = {"color": style.INK, "lw": 1.2, "ls": "-", "alpha": alpha}
        ax.hlines(places - 0.2, centre - half, centre + half, **line)
    if predicted.any():
        p, error = predicted / predicted.sum(), None
        if f"s_{question}" in votes.index:
            half = np.sqrt(p * (1 - p) / (votes[f"s_{question}"] + 1))
            error = np.minimum(half, [p, 1 - p])  # a fraction is between 0 and 1
        point: Any = {"color": style.ORANGE, "fmt": "D", "ms": 5, "lw": 1.2, "alpha": alpha}
        ax.errorbar(p, places + 0.2, xerr=error, **point)
    known = not np.isnan(people)
    share = f"{people * answered:.0f} of {people:.0f}" if known else f"{100 * answered:.0f} %"
    text = question.replace("_", " ") + f": {share}" * (not np.isnan(answered))
    ax.set_title(text, fontsize=10, loc="left", color=style.INK if alpha == 1 else style.FAINT)
    ax.set_yticks(places, answers)
    ax.set(xlim=(-0.04, 1.04), ylim=(len(answers) - 0.4, -0.6), xticks=[0, 0.5, 1])
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("fraction")
    ax.label_outer()
