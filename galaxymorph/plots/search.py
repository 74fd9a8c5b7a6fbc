"""Figures of a hyper-parameter search: its history and the importance of parameters.

Unlike optuna.visualization, they show pruned and failed trials and the step's own values."""

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
    """Draw the value of each trial (for pruned trials, the last one) and the best so far.

    `trials`: columns trial, state (complete, pruned or failed), value, best. The first trial has
    the step's own values. Failed trials have no value and are drawn on the axis."""
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
    ax.plot(trials.trial[:1], trials.value[:1], label="the step's own values", **own)
    style.epoch_axis(ax, "trial")
    ax.set_ylabel(measure)
    figure.legend(loc="outside upper center", ncols=5)
    return figure


@style.styled
def importance(shares: Mapping[str, float], *, n: int) -> Figure:
    """Draw the share of the variance between trials that is due to each parameter.

    `shares`: by parameter, with sum 1; empty if unknown. `n`: finished trials they are based on."""
    if not shares:
        return style.empty(f"importance of parameters is unknown after {n} finished trials")
    ranked = pd.Series(shares).sort_values()
    figure, ax = style.panel(height=0.42 * len(ranked) + 1.1)
    bars = ax.barh(ranked.index, ranked, height=0.6, color=style.BLUE)
    ax.bar_label(bars, fmt=" %.2f")
    ax.set_xlabel(f"share of the variance between trials (fANOVA, n = {n} finished trials)")
    ax.set_xlim(0, 1.08 * ranked.max())
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    return figure
