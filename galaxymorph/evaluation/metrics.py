"""Classification metrics with bootstrap intervals.

The predicted class is the one with the largest probability (the first in case of ties). Metrics:

* accuracy: fraction of correctly classified galaxies. balanced_accuracy: mean recall over classes
  (Brodersen et al. 2010); identical to macro_recall, but the usual name in the literature.
* precision: correct / predicted as the class (0 if it is never predicted); recall: correct / all
  galaxies of the class; f1: harmonic mean of the two; macro_*: unweighted means over classes.
* auc: area under the receiver operating characteristic, one class against the rest, which is the
  probability that a galaxy of the class has a larger p_<class> than one of the rest, ties counting
  half (Hanley & McNeil 1982); overall: mean over classes.
* log_loss: mean of -ln p(true class) in nats, with p clipped at float64's epsilon (2.2e-16).
* brier: mean over galaxies of sum_k (p_k - [k is the true class])^2, from 0 to 2 (Brier 1950).

Recall, f1 and AUC are NaN for a class without galaxies in the split; means are then taken over the
other classes, and the `note` says so. All values agree with scikit-learn, which cannot evaluate a
thousand bootstrap draws at once.
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
LOSSES = ("log_loss", "brier")

Weights = Float[ndarray, "draw galaxy"]
OfClasses = Bool[ndarray, " class"]


def evaluate(
    predictions: Predictions, *, split: str = "test", n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Compute all metrics, with intervals, for the labelled galaxies of a split.

    Columns: metric, `class` (empty for overall metrics), value, low, high, variance, n (galaxies,
    or galaxies of the class) and note (why a value is NaN or set by convention, else empty).

    low and high: central 95 % of the bootstrap draws, stratified by true class; NaN if unknown or
    `n_bootstrap=0`. Draws of a class whose galaxies are all right, or all wrong, include one of the
    other kind, except for log_loss and brier (see `intervals`). variance: sampling variance of the
    value, for `intervals.over_seeds`; closed form for the accuracy, else from the draws.

    Raises `ValueError` if the split has no labelled galaxies."""
    part = predictions.labelled(split)
    drawn = _with_unseen(part)
    table = pd.DataFrame(_rows(part, predictions.classes, split))
    options: Any = {"n_bootstrap": n_bootstrap, "seed": seed, "strata": drawn.true}
    options |= {"bounded": ~table["metric"].isin(LOSSES).to_numpy()}
    options |= {"pseudo": len(drawn.true) - len(part.true)}
    mean = (table["class"] == "") & ~table["metric"].isin(("accuracy", *LOSSES))  # over classes
    sizes = table["n"] / np.where(mean, len(np.unique(part.true)), 1)
    options |= {"sizes": sizes.to_numpy(float)}
    numbers = estimated(lambda weights: _scores(weights, drawn), len(part.true), **options)
    table = table.assign(**numbers)
    in_closed_form = variance_of_mean(part.right.astype(float), HALVES)
    table.loc[table["metric"] == "accuracy", "variance"] = in_closed_form
    return table.reindex(columns=["metric", "class", *numbers, "n", "note"])


def overall(predictions: Predictions, **options: Any) -> pd.DataFrame:
    """Return the overall metrics of `evaluate`, indexed by metric."""
    table = evaluate(predictions, **options)
    return table[table["class"] == ""].set_index("metric")


def confusion(predictions: Predictions, *, split: str = "test") -> Int[ndarray, "true predicted"]:
    """Return the confusion matrix: numbers of galaxies by true (row) and predicted class."""
    part = predictions.labelled(split)
    return sk.confusion_matrix(part.true, part.predicted, labels=range(part.p.shape[1]))


def accuracy(predictions: Predictions | None, split: str = "test") -> float:
    """Return the accuracy for the labelled galaxies of a split; NaN without any."""
    if predictions is None or not predictions.has(split):
        return float("nan")
    return float(predictions.labelled(split).right.mean())


def roc(predictions: Predictions, *, split: str = "test") -> pd.DataFrame:
    """Return the receiver operating characteristic of each class against the rest.

    Columns: `class`, false_positive_rate, true_positive_rate, threshold (on p_<class>), auc and n
    (galaxies of the class; both constant within a class). Classes with no or all galaxies of the
    split have no rows."""
    part, names, curves = predictions.labelled(split), predictions.classes, []
    for k in np.flatnonzero(_classes(part)[1]):
        false, true, threshold = sk.roc_curve(part.true == k, part.p[:, k])
        curve = {"class": names[k], "false_positive_rate": false, "true_positive_rate": true}
        more = {"threshold": threshold, "auc": float(sk.auc(false, true))}
        curves.append(pd.DataFrame(curve | more | {"n": int((part.true == k).sum())}))
    columns = ["class", "false_positive_rate", "true_positive_rate", "threshold", "auc", "n"]
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=columns)


def mistakes(predictions: Predictions, *, split: str = "test") -> pd.DataFrame:
    """List the misclassified galaxies of a split, the most confident ones first.

    Columns: id, label, taken_for (predicted class) and its probability; index: prediction row."""
    part, names = predictions.labelled(split), np.array(predictions.classes)
    named = {"id": part.ids, "label": names[part.true], "taken_for": names[part.predicted]}
    table = pd.DataFrame(named | {"probability": part.confidence}, predictions.rows(split))
    table = table.loc[~part.right]
    return table.sort_values(by="probability", ascending=False, kind="stable")


def majority(predictions: Predictions) -> Predictions:
    """Predict the class frequencies of the labelled training galaxies for every galaxy.

    This is a majority-class baseline that never looks at the images."""
    train = predictions.labelled("train").true
    frequency = np.bincount(train, minlength=len(predictions.classes)) / len(train)
    return replace(predictions, p=np.tile(frequency, (len(predictions.ids), 1)))


# ---- the parts


def _classes(part: Part) -> tuple[OfClasses, OfClasses]:
    """Return which classes have galaxies, and which also have others to be compared with (ROC)."""
    count = np.bincount(part.true, minlength=part.p.shape[1])
    return count > 0, (count > 0) & (count < len(part.true))


def _rows(part: Part, names: tuple[str, ...], split: str) -> Iterator[dict[str, Any]]:
    """Yield metric, class, n and note for each row of `evaluate`."""
    (present, two_sided), n_classes = _classes(part), len(names)
    named, count = (np.bincount(each, minlength=n_classes) for each in (part.predicted, part.true))
    one = f"the {split} split has only one class"
    for metric in OVERALL:
        over = two_sided if metric == "auc" else present
        mean = metric in ("balanced_accuracy", "auc") or metric.startswith("macro")
        some = f"mean over the {over.sum()} of {n_classes} classes in the {split} split"
        note = one if not over.any() else some if mean and not over.all() else ""
        yield {"metric": metric, "class": "", "n": len(part.true), "note": note}
    for metric in PER_CLASS:
        for k, name in enumerate(names):
            note = "" if present[k] else f"no galaxy of this class in the {split} split"
            if present[k] and metric == "auc" and not two_sided[k]:
                note = one
            if present[k] and metric == "precision" and not named[k]:
                note = "this class was never predicted: precision is set to 0"
            yield {"metric": metric, "class": name, "n": int(count[k]), "note": note}


def _with_unseen(part: Part) -> Part:
    """Add a galaxy to each class without a right or without a wrong one, certain and of that kind.

    A wrong one is certain of the class for which its class is most easily taken. Ids are empty."""
    n_classes = part.p.shape[1]
    for k in np.unique(part.true) if n_classes > 1 else ():
        own = part.true == k
        if len(set(part.right[own])) == 1:
            others = np.where(np.arange(n_classes) == k, -1.0, part.p[own].mean(0))
            taken = others.argmax() if part.right[own][0] else k
            added = np.array([""], object), np.array([k]), np.eye(n_classes)[[taken]]
            part = Part(*map(np.concatenate, zip(part, added, strict=True)))
    return part


def _scores(weights: Weights, part: Part) -> Float[ndarray, "draw metric"]:
    """Compute all metrics, in the order of `_rows`, for many weightings of the galaxies at once.

    In every draw the weights of a class sum to its number of galaxies."""
    true, p, n_classes, real = part.true, part.p, part.p.shape[1], part.ids != ""
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
    likely = np.maximum(p[np.arange(len(p)), true], np.finfo(float).eps)
    missed = ((p - np.eye(n_classes)[true]) ** 2).sum(1)
    n = np.maximum(weights[:, real].sum(1), 1)
    log_loss, brier = (weights @ (each * real) / n for each in (-np.log(likely), missed))
    overall = (right.sum(1) / weights.sum(1), recall, precision, recall, f1, auc, log_loss, brier)
    return np.column_stack([*overall, *scores])


def _auc(
    weights: Weights, positive: Bool[ndarray, " galaxy"], score: Numbers
) -> Float[ndarray, " draw"]:
    """Return the weighted fraction of correctly ordered (positive, negative) pairs; ties: 1/2."""
    negative = np.flatnonzero(~positive)
    negative = negative[np.argsort(score[negative], kind="stable")]
    up, down = weights[:, positive], weights[:, negative]
    below = np.zeros((len(weights), len(negative) + 1))  # weight of the k lowest negatives
    np.cumsum(down, axis=1, out=below[:, 1:])
    lower, not_higher = (
        below[:, np.searchsorted(score[negative], score[positive], side=side)]
        for side in ("left", "right")
    )
    return (up * (lower + not_higher)).sum(1) / (2 * up.sum(1) * down.sum(1))
