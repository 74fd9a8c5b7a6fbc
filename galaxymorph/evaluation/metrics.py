"""From predictions to numbers: metrics with intervals. scikit-learn does the computing.

What is named is the class of the largest probability (the first of equals). Each metric:

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
over the other classes, and the row's `note` says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import sklearn.metrics as sk
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from sklearn.dummy import DummyClassifier

from galaxymorph.evaluation.intervals import HALVES, draws, percentiles, variance_of_mean
from galaxymorph.evaluation.predictions import Part, Predictions

OVERALL = ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1", "auc")
OVERALL += ("log_loss", "brier")
PER_CLASS = ("precision", "recall", "f1", "auc")

Weights = Float[ndarray, "draw galaxy"]
Classes = Int[ndarray, " galaxy"]
Scores = dict[tuple[str, int], Float[ndarray, " draw"]]  # by metric and class; -1: overall


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
    part, names = predictions.labelled(split), predictions.classes
    point = _point(part)
    blocks = draws(len(part.true), n_bootstrap=n_bootstrap, seed=seed, strata=part.true)
    drawn = [_weighted(weights, part) for weights in blocks]
    rows = []
    for metric, k, n, note in _notes(part, names, split):
        each = np.concatenate([block[metric, k] for block in drawn]) if drawn else np.empty(0)
        low, high = percentiles(each)
        variance = float(each.var()) if len(each) else np.nan
        if metric == "accuracy":
            variance = variance_of_mean(part.right.astype(float), HALVES)
        row = {"metric": metric, "class": "" if k < 0 else names[k], "value": point[metric, k]}
        row |= {"low": float(low), "high": float(high), "variance": variance}
        rows.append(row | {"n": n, "note": note})
    return pd.DataFrame(rows)


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
    for k in np.flatnonzero(_two_sided(part)):
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
    frequencies of the classes among the labelled training galaxies, and so the largest class
    (scikit-learn's `DummyClassifier(strategy="prior")`)."""
    train = predictions.labelled("train").true
    prior = DummyClassifier(strategy="prior").fit(np.zeros((len(train), 1)), train)
    frequency = np.zeros(len(predictions.classes))
    frequency[prior.classes_] = prior.class_prior_
    p = np.tile(frequency, (len(predictions.ids), 1))
    them = predictions
    return Predictions(them.ids, them.split, them.labels, p, them.classes)


# ---- the parts


def _present(part: Part) -> Bool[ndarray, " class"]:
    return np.bincount(part.true, minlength=part.p.shape[1]) > 0


def _two_sided(part: Part) -> Bool[ndarray, " class"]:
    """Which classes have galaxies both in them and outside, as an ROC needs."""
    count = np.bincount(part.true, minlength=part.p.shape[1])
    return (count > 0) & (count < len(part.true))


def _notes(part: Part, names: tuple[str, ...], split: str) -> Iterator[tuple[str, int, int, str]]:
    """The rows of a table of metrics: metric, index of the class (-1: overall), galaxies, note."""
    present, two_sided, n_classes = _present(part), _two_sided(part), len(names)
    named, count = (np.bincount(each, minlength=n_classes) for each in (part.predicted, part.true))
    one = f"the {split} part has one class only"
    for metric in OVERALL:
        over = two_sided if metric == "auc" else present
        mean = metric in ("balanced_accuracy", "auc") or metric.startswith("macro")
        some = f"mean over the {over.sum()} of {n_classes} classes in the {split} part"
        note = one if not over.any() else some if mean and not over.all() else ""
        yield metric, -1, len(part.true), note
    for metric in PER_CLASS:
        for k in range(n_classes):
            note = "" if present[k] else f"no galaxy of this class in the {split} part"
            if present[k] and metric == "auc" and not two_sided[k]:
                note = one
            if present[k] and metric == "precision" and not named[k]:
                note = "no galaxy was taken for this class: precision counts as 0"
            yield metric, k, int(count[k]), note


def _point(part: Part) -> dict[tuple[str, int], float]:
    """Every metric from scikit-learn."""
    true, p, n_classes = part.true, part.p, part.p.shape[1]
    there, two_sided = np.flatnonzero(_present(part)), _two_sided(part)
    scores = np.full((4, n_classes), np.nan)  # in the order of PER_CLASS
    found = sk.precision_recall_fscore_support(true, part.predicted, labels=there, zero_division=0)  # pyright: ignore
    scores[:3, there] = found[:3]
    for k in np.flatnonzero(two_sided):
        scores[3, k] = sk.roc_auc_score(true == k, p[:, k])
    precision, recall, f1 = scores[:3, there].mean(1)
    auc = scores[3, two_sided].mean() if two_sided.any() else np.nan
    log_loss = brier = 0.0  # of one class; scikit-learn wants two
    if n_classes > 1:
        log_loss = sk.log_loss(true, p, labels=range(n_classes))
        brier = sk.brier_score_loss(true, p, labels=range(n_classes), scale_by_half=False)  # pyright: ignore
    right = sk.accuracy_score(true, part.predicted)
    overall = (right, recall, precision, recall, f1, auc, log_loss, brier)
    values = {(metric, -1): float(v) for metric, v in zip(OVERALL, overall, strict=True)}
    each = {(m, k): float(scores[i, k]) for i, m in enumerate(PER_CLASS) for k in range(n_classes)}
    return values | each


def _weighted(weights: Weights, part: Part) -> Scores:
    """Every metric for many weightings of the same galaxies at once. The weights of each class sum
    to its number of galaxies in every draw."""
    true, p = part.true, part.p
    n, n_classes = p.shape
    cell = np.eye(n_classes**2)[true * n_classes + part.predicted]
    matrix = (weights @ cell).reshape(len(weights), n_classes, n_classes)
    present, two_sided = _present(part), _two_sided(part)
    right = np.diagonal(matrix, axis1=1, axis2=2)
    truly, named = matrix.sum(2), matrix.sum(1)  # (draw, class)
    scores = np.full((4, len(weights), n_classes), np.nan)  # in the order of PER_CLASS
    for i, (above, below) in enumerate(
        ((right, named), (right, truly), (2 * right, truly + named))
    ):
        scores[i][:, present] = (above / np.maximum(below, 1))[:, present]
    for k in np.flatnonzero(two_sided):
        scores[3][:, k] = _weighted_auc(weights, true == k, p[:, k])
    precision, recall, f1 = scores[:3][:, :, present].mean(2)
    auc = scores[3][:, two_sided].mean(1) if two_sided.any() else np.full(len(weights), np.nan)
    likely = np.clip(p[np.arange(n), true], np.finfo(float).eps, 1 - np.finfo(float).eps)
    log_loss, brier = (
        weights @ x / n for x in (-np.log(likely), ((p - np.eye(n_classes)[true]) ** 2).sum(1))
    )
    overall = (right.sum(1) / n, recall, precision, recall, f1, auc, log_loss, brier)
    values = {(metric, -1): value for metric, value in zip(OVERALL, overall, strict=True)}
    return values | {
        (m, k): scores[i][:, k] for i, m in enumerate(PER_CLASS) for k in range(n_classes)
    }


def _weighted_auc(
    weights: Weights, positive: Bool[ndarray, " galaxy"], score: Float[ndarray, " galaxy"]
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
