"""Figures of a hyper-parameter search: how it went on, and which parameters matter.

In the look and by the rules of `plots`: they compute nothing (but what is to be displayed) and
write nothing."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from galaxymorph.plots.style import BLUE, FAINT, INK, ORANGE, STYLE, WIDTH, empty, panel


@rc_context(STYLE)
def history(trials: pd.DataFrame, *, measure: str) -> Figure:
    """The value of each trial and the best so far; pruned trials at the value that they were pruned
    at.

    `trials`: the table of `tune`: columns trial, state (complete, pruned or failed), value, best.
    The first trial has the step's own values. A failed trial has no value and stands on the axis.
    """
    figure, ax = panel(None, width=WIDTH, height=3.8)
    ax.step(
        trials.trial, trials.best, where="post", color=BLUE, ls="-", lw=1.5, label="best so far"
    )
    looks = (("complete", "finished", "o", BLUE, BLUE), ("pruned", "pruned", "v", ORANGE, "none"))
    for state, name, marker, colour, fill in looks:
        some = trials[(trials.state == state) & (trials.trial > 1)]
        if len(some):
            ax.plot(
                some.trial,
                some.value,
                marker,
                color=colour,
                mfc=fill,
                ms=7,
                label=f"{name} ({len(some)})",
            )
    ax.plot(
        trials.trial[:1], trials.value[:1], "*", ms=13, color=INK, label="own values of the step"
    )
    failed = trials[trials.state == "failed"]
    if len(failed):
        at_the_axis = ax.get_xaxis_transform()
        label = f"failed ({len(failed)})"
        ax.plot(
            failed.trial,
            [0.0] * len(failed),
            "x",
            color=FAINT,
            ms=8,
            mew=2,
            label=label,
            transform=at_the_axis,
            clip_on=False,
        )
    ax.set(xlabel="trial", ylabel=measure)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(axis="y")
    figure.legend(loc="outside upper center", ncols=5)
    return figure


@rc_context(STYLE)
def importance(shares: Mapping[str, float], *, n: int) -> Figure:
    """How much of the differences between trials each parameter accounts for, the largest on top.

    `shares`: parameter to share, which sum to 1; empty where that cannot be told. `n`: finished
    trials that they are from."""
    if not shares:
        return empty(f"{n} finished trials do not tell which parameters matter")
    names = sorted(shares, key=lambda name: shares[name])
    figure, ax = panel(None, width=WIDTH, height=0.42 * len(names) + 1.1)
    ax.barh(names, [shares[name] for name in names], height=0.6, color=BLUE)
    for place, name in enumerate(names):
        ax.text(shares[name], place, f" {shares[name]:.2f}", va="center")
    ax.set_xlabel(f"share of the variance between trials (fANOVA, n = {n} finished trials)")
    ax.set_xlim(0, 1.08 * max(shares.values()))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    return figure
