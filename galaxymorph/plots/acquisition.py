"""Figures of what rules of choosing galaxies to label are worth."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from galaxymorph.plots import style


@style.styled
def learning_curves(table: pd.DataFrame, *, yardstick: str = "random") -> Figure:
    """Draw accuracy against labels with 95 % intervals, a panel per rule, each with the yardstick.

    The dotted line is the accuracy that the yardstick has with the most labels. `table`: of
    `evaluation.comparison.compare`."""
    rules = [name for name in dict.fromkeys(table.method) if name != yardstick]
    own = table[table.method == yardstick]
    if own.empty or not rules:
        return style.empty("no rule to compare with random")
    columns = min(3, len(rules))
    rows = -(-len(rules) // columns)
    how: Any = {"sharex": True, "sharey": True}
    figure, axes = style.panels(len(rules), columns, height=2.4, more=0.5, **how)
    looks: Any = {
        yardstick: {"color": style.FAINT, "ls": "--", "lw": 1.5},
        "rule": {"color": style.BLUE, "ls": "-", "lw": 1.5, "marker": "o", "ms": 3},
    }
    for place, (ax, rule) in enumerate(zip(axes.flat, rules, strict=False)):
        ax.axhline(own.accuracy.iloc[-1], color=style.INK, ls=":", lw=1)
        for name, look in ((yardstick, looks[yardstick]), (rule, looks["rule"])):
            part = table[table.method == name]
            low, value, high = style.ends(part, "accuracy")
            x = part.n_labels.to_numpy(float)
            ax.fill_between(x, low, high, color=look["color"], alpha=0.18, lw=0)
            ax.plot(x, value, **look)
        ax.set(xscale="log", title=rule)
        ticks = [n for n in (25, 50, 100, 200, 400) if x.min() <= n <= x.max()]
        ax.set_xticks(ticks, [str(n) for n in ticks])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.grid(axis="y")
        if place % columns == 0:
            ax.set_ylabel("test accuracy")
        if place >= len(rules) - columns or place // columns == rows - 1:
            ax.set_xlabel("labels")
    few = table.loc[table.n_labels > table.n_labels.min(), "accuracy_low"]
    if len(few) and np.isfinite(few.min()):
        axes.flat[0].set_ylim(bottom=max(0.0, float(few.min()) - 0.02))
    style.legend(figure, looks | {"random with the most labels": {"color": style.INK, "ls": ":"}})
    return figure
