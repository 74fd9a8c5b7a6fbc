"""Figures of a hyper-parameter search: how it went on, and which parameters matter.

In the look and by the rules of `style`. Those of optuna.visualization show neither pruned nor
failed trials, nor which one has the step's own values."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from galaxymorph.plots import style

LOOKS: dict[str, tuple[str, dict[str, Any]]] = {
    "complete": ("finished", {"marker": "o", "color": style.BLUE, "ms": 7}),
    "pruned": ("pruned", {"marker": "v", "color": style.ORANGE, "mfc": "none", "ms": 7}),
    "failed": ("failed", {"marker": "x", "color": style.FAINT, "ms": 8, "mew": 2}),
}


@style.styled
def history(trials: pd.DataFrame, *, measure: str) -> Figure:
    """Draw the value of each trial and the best so far; pruned trials at the value that they were
    pruned at.

    `trials`: the table of a search: columns trial, state (complete, pruned or failed), value, best.
    The first trial has the step's own values. A failed trial has no value and stands on the axis.
    """
    figure, ax = style.panel(height=3.8)
    line: Any = {"where": "post", "color": style.BLUE, "ls": "-", "lw": 1.5}
    ax.step(trials.trial, trials.best, label="best so far", **line)
    for state, (name, look) in LOOKS.items():
        some = trials[(trials.state == state) & (trials.trial > 1)]
        if state == "failed":
            some = some.assign(value=0.0)
            look = look | {"transform": ax.get_xaxis_transform(), "clip_on": False}
        if len(some):
            ax.plot(some.trial, some.value, ls="", label=f"{name} ({len(some)})", **look)
    own: Any = {"marker": "*", "ls": "", "ms": 13, "color": style.INK}
    ax.plot(trials.trial[:1], trials.value[:1], label="own values of the step", **own)
    style.epoch_axis(ax, "trial")
    ax.set_ylabel(measure)
    figure.legend(loc="outside upper center", ncols=5)
    return figure


@style.styled
def importance(shares: Mapping[str, float], *, n: int) -> Figure:
    """Draw how much of the differences between trials each parameter accounts for, the largest on
    top.

    `shares`: parameter to share, which sum to 1; empty where that is unknown. `n`: finished trials
    that they are from."""
    if not shares:
        return style.empty(f"{n} finished trials do not tell which parameters matter")
    ranked = pd.Series(shares).sort_values()
    figure, ax = style.panel(height=0.42 * len(ranked) + 1.1)
    bars = ax.barh(ranked.index, ranked, height=0.6, color=style.BLUE)
    ax.bar_label(bars, fmt=" %.2f")
    ax.set_xlabel(f"share of the variance between trials (fANOVA, n = {n} finished trials)")
    ax.set_xlim(0, 1.08 * ranked.max())
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    return figure
