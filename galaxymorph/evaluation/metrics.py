"""From one predictions table to numbers: metrics with intervals. scikit-learn does the computing.

A predictions table has the columns `id`, `split`, `label` (a class's name; empty or NaN for
unlabelled) and `p_<class>` for each class; what is taken for the answer is the class of the largest
probability (the first of equals). Each metric:

* accuracy: the fraction of galaxies whose class is right. balanced_accuracy: the mean over classes
  of recall (Brodersen et al. 2010), hence the same number as macro_recall, under the name that the
  literature uses.
* precision of a class: right / taken for it, 0 where nothing was taken for it; recall: right /
  truly of it; f1: their harmonic mean; macro_*: the unweighted mean over classes.
* auc of a class: area under the receiver operating characteristic of the class against the rest,
  which is the probability that a galaxy of the class has a larger p_<class> than one of the rest,
  ties counting half (Hanley & McNeil 1982); overall: the mean.
* log_loss: mean of -ln p of the true class, in nats, p no smaller than float64's epsilon (2.2e-16).
* brier: mean over galaxies of the sum over classes of (p - [is the class])^2, from 0 to 2 (Brier
  1950).

A class without a galaxy in the part under test has no recall, f1 or AUC: its rows are NaN, means go
over the other classes, and the row's `note` says so."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import sklearn.metrics as sk
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from sklearn.dummy import DummyClassifier

from galaxymorph.evaluation.predictions import checked, classes, selected

OVERALL = (
    "accuracy",
    "balanced_accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "auc",
    "log_loss",
    "brier",
)
PER_CLASS = ("precision", "recall", "f1", "auc")
BLOCK = 2**22  # weights of galaxies in memory at once while bootstrapping


def evaluate(
    predictions: pd.DataFrame, *, split: str = "test", n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """All metrics of the labelled galaxies of a split, each with its interval.

    Returns a tidy table with the columns metric, `class` (empty for overall metrics), value, low,
    high, n (galaxies; of a class: its own) and note (why a value is NaN or follows a convention,
    else empty).

    low and high: the central 95 % of a bootstrap of the galaxies, stratified by true class
    (`n_bootstrap` draws; Efron 1979), NaN without draws. A percentile interval: it covers the
    choice of the galaxies alone, not of the training run, and collapses to a point where every
    galaxy is right; see `significance.pairs` for what such a test set can tell.

    Raises `ValueError`, naming the rows, for an id that is there twice, a label that is no class,
    or probabilities that are none or miss a sum of 1 by more than 0.001; and where the split has no
    labelled galaxy."""
    names = classes(predictions)
    true, p = checked(predictions, split)
    point, draws = _point(true, p), _bootstrap(true, p, n_bootstrap=n_bootstrap, seed=seed)
    rows = []
    for metric, k, n, note in _notes(true, p, names, split):
        low, high = (
            np.percentile(draws[metric, k], [2.5, 97.5]) if n_bootstrap else (np.nan, np.nan)
        )
        row = {"metric": metric, "class": "" if k < 0 else names[k], "value": point[metric, k]}
        rows.append(row | {"low": float(low), "high": float(high), "n": n, "note": note})
    return pd.DataFrame(rows)


def confusion(predictions: pd.DataFrame, *, split: str = "test") -> Int[ndarray, "true taken_for"]:
    """How many labelled galaxies of a class (row) were taken for which (column); the order is that
    of `classes`."""
    true, p = checked(predictions, split)
    return sk.confusion_matrix(true, p.argmax(1), labels=range(p.shape[1]))


def roc(predictions: pd.DataFrame, *, split: str = "test") -> pd.DataFrame:
    """The points of the receiver operating characteristic of each class against the rest.

    Columns: `class`, false_positive_rate, true_positive_rate, threshold (on p_<class>), auc and n
    (galaxies of the class), the last two the same in all rows of a class. A class without a galaxy
    in the split, or without any other, has no rows."""
    names = classes(predictions)
    true, p = checked(predictions, split)
    curves = []
    for k in np.flatnonzero(_two_sided(true, len(names))):
        false_positive, true_positive, threshold = sk.roc_curve(true == k, p[:, k])
        curve = {
            "class": names[k],
            "false_positive_rate": false_positive,
            "true_positive_rate": true_positive,
        }
        auc = float(sk.auc(false_positive, true_positive))
        curves.append(
            pd.DataFrame(curve | {"threshold": threshold, "auc": auc, "n": int((true == k).sum())})
        )
    columns = ["class", "false_positive_rate", "true_positive_rate", "threshold", "auc", "n"]
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=columns)


def mistakes(predictions: pd.DataFrame, *, split: str = "test") -> pd.DataFrame:
    """The misclassified galaxies of a split, the most confident first: columns id, label,
    taken_for, probability (of `taken_for`). The index is that of `predictions`."""
    names = np.array(classes(predictions))
    true, p = checked(predictions, split)
    rows = predictions.loc[selected(predictions, split)]
    table = pd.DataFrame(
        {
            "id": rows["id"],
            "label": names[true],
            "taken_for": names[p.argmax(1)],
            "probability": p.max(1),
        },
        index=rows.index,
    )
    return table.loc[table.label != table.taken_for].sort_values(
        by="probability", ascending=False, kind="stable"
    )


def majority(predictions: pd.DataFrame) -> pd.DataFrame:
    """The same table as a classifier without eyes would fill it: every galaxy gets the frequencies
    of the classes among the labelled training galaxies, and so is taken for the largest class
    (scikit-learn's `DummyClassifier(strategy="prior")`)."""
    names = classes(predictions)
    train, _ = checked(predictions, "train")
    prior = DummyClassifier(strategy="prior").fit(np.zeros((len(train), 1)), train)
    frequency = np.zeros(len(names))
    frequency[prior.classes_] = prior.class_prior_
    return predictions.assign(**{f"p_{name}": frequency[k] for k, name in enumerate(names)})


# ---- the parts


def _present(true: Int[ndarray, " galaxy"], n_classes: int) -> Bool[ndarray, " class"]:
    return np.bincount(true, minlength=n_classes) > 0


def _two_sided(true: Int[ndarray, " galaxy"], n_classes: int) -> Bool[ndarray, " class"]:
    """Which classes have galaxies both in them and outside, as an ROC needs."""
    count = np.bincount(true, minlength=n_classes)
    return (count > 0) & (count < len(true))


def _notes(
    true: Int[ndarray, " galaxy"],
    p: Float[ndarray, "galaxy class"],
    names: tuple[str, ...],
    split: str,
) -> Iterator[tuple[str, int, int, str]]:
    """The rows of a table of metrics: metric, index of the class (-1: overall), galaxies, note."""
    present, two_sided = _present(true, len(names)), _two_sided(true, len(names))
    taken, count = (
        np.bincount(p.argmax(1), minlength=len(names)),
        np.bincount(true, minlength=len(names)),
    )
    for metric in OVERALL:
        over = two_sided if metric == "auc" else present
        mean = metric in ("balanced_accuracy", "auc") or metric.startswith("macro")
        note = (
            f"mean over the {over.sum()} of {len(names)} classes in the {split} part"
            if mean and not over.all()
            else ""
        )
        if not over.any():
            note = f"the {split} part has one class only"
        yield metric, -1, len(true), note
    for metric in PER_CLASS:
        for k in range(len(names)):
            note = "" if present[k] else f"no galaxy of this class in the {split} part"
            if present[k] and metric == "auc" and not two_sided[k]:
                note = f"the {split} part has one class only"
            if present[k] and metric == "precision" and not taken[k]:
                note = "no galaxy was taken for this class: precision counts as 0"
            yield metric, k, int(count[k]), note


def _point(
    true: Int[ndarray, " galaxy"], p: Float[ndarray, "galaxy class"]
) -> dict[tuple[str, int], float]:
    """Every metric from scikit-learn, by (metric, index of the class); index -1: overall."""
    n_classes, taken = p.shape[1], p.argmax(1)
    present, two_sided = _present(true, n_classes), _two_sided(true, n_classes)
    scores = np.full((4, n_classes), np.nan)  # in the order of PER_CLASS
    there = np.flatnonzero(present)
    scores[:3, there] = sk.precision_recall_fscore_support(
        true, taken, labels=there, zero_division=0
    )[:3]  # pyright: ignore
    for k in np.flatnonzero(two_sided):
        scores[3, k] = sk.roc_auc_score(true == k, p[:, k])
    precision, recall, f1 = scores[:3, there].mean(1)
    auc = scores[3, two_sided].mean() if two_sided.any() else np.nan
    if n_classes > 1:
        log_loss = sk.log_loss(true, p, labels=range(n_classes))
        brier = sk.brier_score_loss(true, p, labels=range(n_classes), scale_by_half=False)  # pyright: ignore
    else:  # scikit-learn wants two classes
        log_loss = brier = 0.0
    overall = (sk.accuracy_score(true, taken), recall, precision, recall, f1, auc, log_loss, brier)
    values = {(metric, -1): float(value) for metric, value in zip(OVERALL, overall, strict=True)}
    return values | {
        (m, k): float(scores[i, k]) for i, m in enumerate(PER_CLASS) for k in range(n_classes)
    }


def _bootstrap(
    true: Int[ndarray, " galaxy"], p: Float[ndarray, "galaxy class"], *, n_bootstrap: int, seed: int
) -> dict[tuple[str, int], Float[ndarray, " draw"]]:
    """Every metric of every draw, keyed as in `_point`. In each draw a galaxy's place is taken by a
    random one of its class."""
    rng = np.random.default_rng(seed)
    order = np.argsort(true, kind="stable")
    true, p = true[order], p[order]
    count = np.bincount(true, minlength=p.shape[1])
    first, size = (np.cumsum(count) - count)[true], count[true]  # of the galaxy's class
    blocks = []
    for start in range(0, max(n_bootstrap, 1), max(1, BLOCK // len(true))):
        n = min(n_bootstrap - start, max(1, BLOCK // len(true)))
        drawn = first + (rng.random((n, len(true))) * size).astype(np.int64)  # (draw, galaxy)
        drawn += np.arange(n)[:, None] * len(true)
        weights = (
            np.bincount(drawn.ravel(), minlength=n * len(true)).reshape(n, len(true)).astype(float)
        )
        blocks.append(_weighted(weights, true, p))
    return {key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]}


def _weighted(
    weights: Float[ndarray, "draw galaxy"],
    true: Int[ndarray, " galaxy"],
    p: Float[ndarray, "galaxy class"],
) -> dict[tuple[str, int], Float[ndarray, " draw"]]:
    """Every metric for many weightings of the same galaxies at once, keyed as in `_point`.

    The weights of each class sum to its number of galaxies in every draw.
    """
    n, n_classes = p.shape
    one_hot = np.eye(n_classes)[true]
    cell = np.eye(n_classes**2)[true * n_classes + p.argmax(1)]
    matrix = (weights @ cell).reshape(len(weights), n_classes, n_classes)
    present, two_sided = _present(true, n_classes), _two_sided(true, n_classes)
    right, truly, taken = (
        np.diagonal(matrix, axis1=1, axis2=2),
        matrix.sum(2),
        matrix.sum(1),
    )  # (draw, class)
    scores = np.full((4, len(weights), n_classes), np.nan)  # in the order of PER_CLASS
    scores[0][:, present] = (right / np.maximum(taken, 1))[:, present]
    scores[1][:, present] = (right / np.maximum(truly, 1))[:, present]
    scores[2][:, present] = (2 * right / np.maximum(truly + taken, 1))[:, present]
    for k in np.flatnonzero(two_sided):
        scores[3][:, k] = _weighted_auc(weights, true == k, p[:, k])
    precision, recall, f1 = scores[:3][:, :, present].mean(2)
    auc = scores[3][:, two_sided].mean(1) if two_sided.any() else np.full(len(weights), np.nan)
    likely = np.clip(p[np.arange(n), true], np.finfo(float).eps, 1 - np.finfo(float).eps)
    brier = ((p - one_hot) ** 2).sum(1)
    overall = (
        right.sum(1) / n,
        recall,
        precision,
        recall,
        f1,
        auc,
        weights @ -np.log(likely) / n,
        weights @ brier / n,
    )
    values = {(metric, -1): value for metric, value in zip(OVERALL, overall, strict=True)}
    return values | {
        (m, k): scores[i][:, k] for i, m in enumerate(PER_CLASS) for k in range(n_classes)
    }


def _weighted_auc(
    weights: Float[ndarray, "draw galaxy"],
    positive: Bool[ndarray, " galaxy"],
    score: Float[ndarray, " galaxy"],
) -> Float[ndarray, " draw"]:
    """The weighted fraction of pairs of a positive and a negative that are in order, ties counting
    half."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])  # of each group of equal scores
    up = np.add.reduceat(np.where(positive[order], weights[:, order], 0), starts, axis=1)
    down = np.add.reduceat(np.where(positive[order], 0, weights[:, order]), starts, axis=1)
    below = np.cumsum(down, axis=1) - down / 2
    return (up * below).sum(1) / (positive.sum() * (~positive).sum())
