"""From predictions to numbers: metrics with intervals.

A galaxy is named after the class of the largest probability (the first of equals). Each metric:

* accuracy: the fraction of galaxies whose class is right. balanced_accuracy: the mean over classes
  of recall (Brodersen et al. 2010), hence the same number as macro_recall, under the name that the
  literature uses.
* precision of a class: right / named, 0 where it was never named; recall: right / truly of it; f1:
  their harmonic mean; macro_*: the unweighted mean over classes.
* auc of a class: area under the receiver operating characteristic of the class against the rest,
  the probability that a galaxy of the class has a larger p_<class> than one of the rest, ties
  counting half (Hanley & McNeil 1982); overall: the mean.
* log_loss: mean of -ln p of the true class, in nats, p no smaller than float64's epsilon (2.2e-16).
* brier: mean over galaxies of the sum over classes of (p - [is the class])^2, from 0 to 2 (Brier
  1950).

A class without a galaxy in the part under test has no recall, f1 or AUC: its rows are NaN, means go
over the other classes, and the row's `note` says so. The numbers are those of scikit-learn, which
cannot compute them for a thousand draws of the bootstrap at once.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import sklearn.metrics as sk
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from galaxymorph.evaluation.intervals import HALVES, estimated, variance_of_mean
from galaxymorph.evaluation.predictions import Numbers, Part, Predictions

OVERALL = ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1", "auc")
OVERALL += ("log_loss", "brier")
PER_CLASS = ("precision", "recall", "f1", "auc")

Weights = Float[ndarray, "draw galaxy"]
OfClasses = Bool[ndarray, " class"]


def evaluate(
    predictions: Predictions, *, split: str = "test", n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Return all metrics of the labelled galaxies of a split, each with its interval.

    The tidy table has the columns metric, `class` (empty for overall metrics), value, low, high,
    variance, n (galaxies; of a class: its own) and note (why a value is NaN or follows a
    convention, else empty).

    low and high: the central 95 % of a bootstrap of the galaxies, stratified by true class, NaN
    without draws (`n_bootstrap=0`). They collapse to a point where every galaxy is right; see
    `significance.pairs` for what such a test set can tell. variance: that of the value by the
    choice of the galaxies, as `intervals.over_seeds` takes it; of the accuracy in closed form, of
    others that of the draws.

    Raises `ValueError` where the split has no labelled galaxies."""
    part = predictions.labelled(split)
    options = {"n_bootstrap": n_bootstrap, "seed": seed, "strata": part.true}
    numbers = estimated(lambda weights: _scores(weights, part), len(part.true), **options)
    table = pd.DataFrame(_rows(part, predictions.classes, split)).assign(**numbers)
    in_closed_form = variance_of_mean(part.right.astype(float), HALVES)
    table.loc[table["metric"] == "accuracy", "variance"] = in_closed_form
    return table.reindex(columns=["metric", "class", *numbers, "n", "note"])


def overall(predictions: Predictions, **options: Any) -> pd.DataFrame:
    """Return the metrics over all classes of `evaluate`, one row each, by metric."""
    table = evaluate(predictions, **options)
    return table[table["class"] == ""].set_index("metric")


def confusion(predictions: Predictions, *, split: str = "test") -> Int[ndarray, "true predicted"]:
    """Count how many labelled galaxies of a class (row) were given which class (column)."""
    part = predictions.labelled(split)
    return sk.confusion_matrix(part.true, part.predicted, labels=range(part.p.shape[1]))


def accuracy(predictions: Predictions | None, split: str = "test") -> float:
    """Return the share of labelled galaxies of a split whose class is right; NaN without any."""
    if predictions is None or not predictions.has(split):
        return float("nan")
    return float(predictions.labelled(split).right.mean())


def roc(predictions: Predictions, *, split: str = "test") -> pd.DataFrame:
    """Return the points of the receiver operating characteristic of each class against the rest.

    Columns: `class`, false_positive_rate, true_positive_rate, threshold (on p_<class>), auc and n
    (galaxies of the class), the last two the same in all rows of a class. A class without a galaxy
    in the split, or without any other, has no rows."""
    part, names, curves = predictions.labelled(split), predictions.classes, []
    for k in np.flatnonzero(_classes(part)[1]):
        false, true, threshold = sk.roc_curve(part.true == k, part.p[:, k])
        curve = {"class": names[k], "false_positive_rate": false, "true_positive_rate": true}
        more = {"threshold": threshold, "auc": float(sk.auc(false, true))}
        curves.append(pd.DataFrame(curve | more | {"n": int((part.true == k).sum())}))
    columns = ["class", "false_positive_rate", "true_positive_rate", "threshold", "auc", "n"]
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=columns)


def mistakes(predictions: Predictions, *, split: str = "test") -> pd.DataFrame:
    """Return the misclassified galaxies of a split, the most confident first: columns id, label,
    taken_for and probability (of `taken_for`); the index is the row among all predictions."""
    part, names = predictions.labelled(split), np.array(predictions.classes)
    named = {"id": part.ids, "label": names[part.true], "taken_for": names[part.predicted]}
    table = pd.DataFrame(named | {"probability": part.confidence}, predictions.rows(split))
    table = table.loc[~part.right]
    return table.sort_values(by="probability", ascending=False, kind="stable")


def majority(predictions: Predictions) -> Predictions:
    """Return what a baseline that never looks at the images would predict: every galaxy gets the
    frequencies of the classes among the labelled training galaxies, and so the largest class."""
    train = predictions.labelled("train").true
    frequency = np.bincount(train, minlength=len(predictions.classes)) / len(train)
    return replace(predictions, p=np.tile(frequency, (len(predictions.ids), 1)))


# ---- the parts


def _classes(part: Part) -> tuple[OfClasses, OfClasses]:
    """Which classes have galaxies in them, and which also outside, as an ROC needs."""
    count = np.bincount(part.true, minlength=part.p.shape[1])
    return count > 0, (count > 0) & (count < len(part.true))


def _rows(part: Part, names: tuple[str, ...], split: str) -> Iterator[dict[str, Any]]:
    """What a table of metrics says beside the numbers."""
    (present, two_sided), n_classes = _classes(part), len(names)
    named, count = (np.bincount(each, minlength=n_classes) for each in (part.predicted, part.true))
    one = f"the {split} part has one class only"
    for metric in OVERALL:
        over = two_sided if metric == "auc" else present
        mean = metric in ("balanced_accuracy", "auc") or metric.startswith("macro")
        some = f"mean over the {over.sum()} of {n_classes} classes in the {split} part"
        note = one if not over.any() else some if mean and not over.all() else ""
        yield {"metric": metric, "class": "", "n": len(part.true), "note": note}
    for metric in PER_CLASS:
        for k, name in enumerate(names):
            note = "" if present[k] else f"no galaxy of this class in the {split} part"
            if present[k] and metric == "auc" and not two_sided[k]:
                note = one
            if present[k] and metric == "precision" and not named[k]:
                note = "no galaxy was taken for this class: precision counts as 0"
            yield {"metric": metric, "class": name, "n": int(count[k]), "note": note}


def _scores(weights: Weights, part: Part) -> Float[ndarray, "draw metric"]:
    """Every metric, in the order of `_rows`, for many weightings of the same galaxies at once. The
    weights of each class sum to its number of galaxies in every draw."""
    true, p = part.true, part.p
    n, n_classes = p.shape
    cell = np.eye(n_classes**2)[true * n_classes + part.predicted]
    matrix = (weights @ cell).reshape(len(weights), n_classes, n_classes)
    present, two_sided = _classes(part)
    right = np.diagonal(matrix, axis1=1, axis2=2)
    truly, named = matrix.sum(2), matrix.sum(1)  # (draw, class)
    scores = np.full((4, len(weights), n_classes), np.nan)  # in the order of PER_CLASS
    ratios = ((right, named), (right, truly), (2 * right, truly + named))
    for score, (above, below) in zip(scores[:3], ratios, strict=True):
        score[:, present] = (above / np.maximum(below, 1))[:, present]
    for k in np.flatnonzero(two_sided):
        scores[3][:, k] = _auc(weights, true == k, p[:, k])
    precision, recall, f1 = scores[:3][:, :, present].mean(2)
    auc = scores[3][:, two_sided].mean(1) if two_sided.any() else np.full(len(weights), np.nan)
    likely = np.maximum(p[np.arange(n), true], np.finfo(float).eps)
    missed = ((p - np.eye(n_classes)[true]) ** 2).sum(1)
    log_loss, brier = (weights @ each / n for each in (-np.log(likely), missed))
    overall = (right.sum(1) / n, recall, precision, recall, f1, auc, log_loss, brier)
    return np.column_stack([*overall, *scores])


def _auc(
    weights: Weights, positive: Bool[ndarray, " galaxy"], score: Numbers
) -> Float[ndarray, " draw"]:
    """The weighted fraction of pairs of a positive and a negative in order, ties counting half."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])  # of each group of equal scores
    up, down = (
        np.add.reduceat(np.where(which[order], weights[:, order], 0), starts, axis=1)
        for which in (positive, ~positive)
    )
    below = np.cumsum(down, axis=1) - down / 2
    return (up * below).sum(1) / (positive.sum() * (~positive).sum())
