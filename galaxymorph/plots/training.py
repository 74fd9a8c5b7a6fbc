"""Figures of training and evaluation: learning curves, confusion matrix, ROC curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy import ndarray

from galaxymorph.plots import style

MEASURES = {  # of learning curves
    "loss": "loss",
    "accuracy": "accuracy (fraction correct)",
    "mse": "mean squared error",
}
PARTS: Any = {
    "train": ("training", {"color": style.ORANGE, "ls": "--"}),
    "val": ("validation", {"color": style.BLUE, "ls": "-"}),
}
USED: Any = (  # of pseudo-labels; classes have colours
    {"color": style.FAINT, "ls": "--"},
    {"color": style.INK, "ls": "-"},
    {"color": style.INK, "ls": ":"},
)
BEST: Any = {"color": style.INK, "marker": "*", "ms": 11, "ls": ""}


@style.styled
def learning_curves(histories: pd.DataFrame | Sequence[pd.DataFrame]) -> Figure:
    """Draw training and validation loss, accuracy and error by epoch; several seeds as thin lines.

    `histories`: columns epoch, train_ and val_ of any of `MEASURES`, and optionally best (whether
    validation improved on all previous epochs; the last such epoch is marked)."""
    histories = [histories] if isinstance(histories, pd.DataFrame) else list(histories)
    known = {name for history in histories for name in history.columns}
    measures = [m for m in MEASURES if known & {f"train_{m}", f"val_{m}"}]
    if not measures:
        return style.empty("no training history")
    figure, axes = style.panels(len(measures), height=3.4)
    runs, looks = f" ({len(histories)} runs)" * (len(histories) > 1), dict[str, Any]()
    for ax, measure in zip(axes.flat, measures, strict=True):
        for history in histories:
            for part, (label, look) in PARTS.items():
                if (name := f"{part}_{measure}") in history:
                    ax.plot(history.epoch, history[name], lw=1 if runs else 2, **look)
                    looks[label + runs] = look | {"lw": 2}
            if "best" in history and f"val_{measure}" in history:
                last = history[history.best].tail(1)
                ax.plot(last.epoch, last[f"val_{measure}"], zorder=3, **BEST)
                looks["best epoch on validation"] = BEST
        style.epoch_axis(ax)
        ax.set_ylabel(MEASURES[measure])
    style.legend(figure, looks, loc="outside upper center")
    return figure


@style.styled
def pseudo_labels(history: pd.DataFrame, labels: Mapping[str, float]) -> Figure:
    """Draw the use of pseudo-labels by epoch, and the threshold and share of each class.

    Args:
        history: columns epoch, train_used, val_used, val_used_right and, for each class,
            threshold_<class> and share_<class> (`semi_supervised.SemiSupervised`).
        labels: share of each class among the labels, by name; dotted."""
    right = history.val_used_right / history.val_used.where(history.val_used > 0)
    used = {"used, training": history.train_used, "used, validation": history.val_used}
    used |= {"right, of those used": right}
    looks: Any = dict(zip(used, USED, strict=True))
    looks |= {name: style.look(i, marker="") for i, name in enumerate(labels)}
    figure, axes = style.panels(3, height=2.9, more=0.26 * -(-len(looks) // 3))
    panels = {"fraction of pseudo-labels": used}
    for what, title in (("threshold", "threshold"), ("share", "share of those used")):
        panels[title] = {name: history[f"{what}_{name}"] for name in labels}
    for ax, (title, curves) in zip(axes.flat, panels.items(), strict=True):
        for name, values in curves.items():
            ax.plot(history.epoch, values, lw=2, **looks[name])
        ax.set_title(title, loc="left", fontsize=11)
        ax.set(xlim=(0, 1.04 * history.epoch.max() + 0.2), ylim=(-0.03, 1.03))
        style.epoch_axis(ax)
    for name, share in labels.items():
        axes.flat[2].axhline(share, color=looks[name]["color"], ls=":", lw=1)
    named = dict(zip(style.short(looks), looks.values(), strict=True))
    style.legend(figure, named, loc="outside upper center")
    return figure


@style.styled
def roc(points: pd.DataFrame, *, ax: Axes | None = None) -> Figure:
    """Draw the receiver operating characteristic of each class against the rest, with its AUC.

    `points`: of `metrics.roc`."""
    figure, ax = style.panel(ax, height=4.2)
    ax.plot([0, 1], [0, 1], color=style.FAINT, ls=":", lw=1)
    place: Any = {"xytext": (4, -4), "textcoords": "offset points", "va": "top"}
    ax.annotate("guessing", (0.62, 0.62), color=style.FAINT, fontsize=10, **place)
    for i, (name, curve) in enumerate(points.groupby("class", sort=False)):
        label = f"{style.short([name])[0]}: AUC {curve.auc.iloc[0]:.3f} (n = {curve.n.iloc[0]})"
        look = style.look(i, marker="", lw=2, label=label, clip_on=False)
        ax.plot(curve.false_positive_rate, curve.true_positive_rate, **look)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", anchor="W")
    ax.set(xlabel="false positive rate", ylabel="true positive rate (recall)")
    if len(points):
        beside: Any = {"loc": "center left", "bbox_to_anchor": (1.02, 0.5), "alignment": "left"}
        ax.legend(title="class against the rest", **beside)
    return figure


@style.styled
def confusion(
    matrix: Int[ndarray, "true predicted"], classes: Sequence[str], *, ax: Axes | None = None
) -> Figure:
    """Draw a confusion matrix: numbers of galaxies, and percentages of the true class (colour)."""
    total = matrix.sum(1, keepdims=True)
    undefined = np.full(matrix.shape, np.nan)
    percent = np.divide(100 * matrix, total, out=undefined, where=total > 0)
    shares = np.where(np.isnan(percent), "–", np.char.mod("%.0f %%", percent))
    texts = np.char.add(np.char.mod("%d\n", matrix), shares)
    counts = dict(zip(classes, total[:, 0], strict=True))
    figure, _, image = style.class_map(percent, texts, counts, ax, vmin=0, vmax=100, size=9)
    style.colour_bar(image, "% of the true class", [0, 50, 100])
    return figure
