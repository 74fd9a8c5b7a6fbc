"""Figures of a hyper-parameter search: how it went on, and which parameters matter.

In the look and by the rules of `style`. Those of optuna.visualization show neither pruned nor
failed trials, nor which one has the step's own values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from galaxymorph.plots.style import BLUE, FAINT, INK, ORANGE, STYLE, WIDTH, empty, panel

LOOKS: dict[str, tuple[str, dict[str, Any]]] = {
    "complete": ("finished", {"marker": "o", "color": BLUE, "ms": 7}),
    "pruned": ("pruned", {"marker": "v", "color": ORANGE, "mfc": "none", "ms": 7}),
    "failed": ("failed", {"marker": "x", "color": FAINT, "ms": 8, "mew": 2, "clip_on": False}),
}


@rc_context(STYLE)
def history(trials: pd.DataFrame, *, measure: str) -> Figure:
    """Draw the value of each trial and the best so far; pruned trials at the value that they were
    pruned at.

    `trials`: the table of a search: columns trial, state (complete, pruned or failed), value, best.
    The first trial has the step's own values. A failed trial has no value and stands on the axis.
    """
    figure, ax = panel(None, width=WIDTH, height=3.8)
    line = {"where": "post", "color": BLUE, "ls": "-", "lw": 1.5}
    ax.step(trials.trial, trials.best, **line, label="best so far")
    for state, (name, look) in LOOKS.items():
        some = trials[(trials.state == state) & (trials.trial > 1)]
        if state == "failed":
            some, look = some.assign(value=0.0), look | {"transform": ax.get_xaxis_transform()}
        if len(some):
            ax.plot(some.trial, some.value, ls="", label=f"{name} ({len(some)})", **look)
    own = {"marker": "*", "ls": "", "ms": 13, "color": INK}
    ax.plot(trials.trial[:1], trials.value[:1], **own, label="own values of the step")
    ax.set(xlabel="trial", ylabel=measure)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(axis="y")
    figure.legend(loc="outside upper center", ncols=5)
    return figure


@rc_context(STYLE)
def importance(shares: Mapping[str, float], *, n: int) -> Figure:
    """Draw how much of the differences between trials each parameter accounts for, the largest on
    top.

    `shares`: parameter to share, which sum to 1; empty where that is unknown. `n`: finished trials
    that they are from."""
    if not shares:
        return empty(f"{n} finished trials do not tell which parameters matter")
    ranked = pd.Series(shares).sort_values()
    figure, ax = panel(None, width=WIDTH, height=0.42 * len(ranked) + 1.1)
    bars = ax.barh(ranked.index, ranked, height=0.6, color=BLUE)
    ax.bar_label(bars, fmt=" %.2f")
    ax.set_xlabel(f"share of the variance between trials (fANOVA, n = {n} finished trials)")
    ax.set_xlim(0, 1.08 * ranked.max())
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    return figure
