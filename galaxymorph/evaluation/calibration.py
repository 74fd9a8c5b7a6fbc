"""Calibration of class probabilities, and the fraction of galaxies to classify automatically.

The confidence is the largest probability of a galaxy. A calibrated classifier is right for 80 % of
the galaxies with a confidence of 0.8 (Guo et al. 2017). Temperatures and thresholds are chosen on
validation galaxies only. All functions raise `ValueError` if a split has no labelled galaxies.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int
from numpy import ndarray
from scipy.optimize import minimize_scalar
from scipy.stats import beta

from galaxymorph.evaluation import metrics
from galaxymorph.evaluation.entries import Entries
from galaxymorph.evaluation.intervals import bootstrap_means, percentiles, share
from galaxymorph.evaluation.predictions import Numbers, Predictions, Probabilities

HOTTEST = 20.0  # temperatures range from 1 / HOTTEST to HOTTEST
LEVELS = 10  # fractions of the validation galaxies to try: 100 %, 90 %, ...
DOUBT = 0.05  # probability that the true accuracy is below the requested one
EPS = np.finfo(float).eps
SCORES = ["log_loss", "error", "by_chance", "temperature", "log_loss_tempered", "error_tempered"]
SCORES += ["area", "automatic", "automatic_accuracy", "automatic_seeds"]


def reliability(predictions: Predictions, *, bins: int = 10) -> pd.DataFrame:
    """Tabulate accuracy against confidence in bins with about equal numbers of galaxies.

    Columns: low, high (range of confidence), confidence (mean), accuracy, accuracy_low,
    accuracy_high (95 % Wilson interval) and n. Equal confidences share a bin, so there may be fewer
    than `bins`."""
    part, rows = predictions.labelled(), []
    which = equal_bins(part.confidence, bins)
    for k in range(which.max() + 1):
        inside = part.confidence[which == k]
        row = {"low": inside.min(), "high": inside.max(), "confidence": inside.mean()}
        rows.append(row | _accuracy(part.right[which == k]))
    return pd.DataFrame(rows)


def calibration_error(
    predictions: Predictions, *, bins: int = 10, n_bootstrap: int = 1000, seed: int = 0
) -> dict[str, float]:
    """Return the expected calibration error (Naeini et al. 2015).

    This is |accuracy - mean confidence| of the bins of `reliability`, averaged over galaxies. It is
    never negative and therefore biased high, especially for small bins.

    Returns:
        error: the calibration error.
        low, high: 95 % basic bootstrap interval, 2 error - draw (Davison & Hinkley 1997, eq. 5.6),
            which removes the bias, clipped at 0; it may lie below an error that is mostly bias.
        by_chance: mean error of a perfectly calibrated classifier with the same confidences; an
            error of about this size is indistinguishable from perfect calibration.
        n: number of galaxies."""
    part = predictions.labelled()
    confidence, n = part.confidence, len(part.ids)
    which = equal_bins(confidence, bins)
    inside = which[:, None] == np.arange(which.max() + 1)

    def error(right: Any) -> float:
        return float(abs(np.bincount(which, weights=right - confidence)).sum() / n)

    found, rng = error(part.right), np.random.default_rng(seed)
    excess = np.where(inside, (part.right - confidence)[:, None], 0.0)
    drawn = abs(bootstrap_means(excess, n_bootstrap=n_bootstrap, seed=seed)).sum(1)
    low, high = np.maximum(2 * found - percentiles(drawn)[::-1], 0.0)
    chance = [error(rng.random(n) < confidence) for _ in range(n_bootstrap)] or [math.nan]
    found = {"error": found, "low": float(low), "high": float(high)}
    return found | {"by_chance": float(np.mean(chance)), "n": float(n)}


def temperature(predictions: Predictions) -> float:
    """Fit the T of temperature scaling (Guo et al. 2017) to the validation galaxies.

    T minimises the log loss of the normalised p^(1 / T). T > 1 indicates overconfidence. T is
    limited to 1/20 to 20, as the optimum is 0 if all galaxies are right."""
    part, end = predictions.labelled("val"), math.log(HOTTEST)

    def loss(log_temperature: float) -> float:
        scaled = _scaled(part.p, math.exp(log_temperature))
        return float(-np.mean(scaled[np.arange(len(scaled)), part.true]))

    return math.exp(minimize_scalar(loss, bounds=(-end, end), method="bounded").x)


def tempered(predictions: Predictions, temperature: float) -> Predictions:
    """Return the predictions with the normalised probabilities p^(1 / temperature)."""
    return dataclasses.replace(predictions, p=np.exp(_scaled(predictions.p, temperature)))


def risk_coverage(predictions: Predictions) -> pd.DataFrame:
    """Tabulate the fraction of errors among the 1, 2, ... n most confident galaxies.

    Columns: coverage, risk, confidence (the smallest included). Galaxies of equal confidence count
    with their mean error. The mean of `risk` is the area under the risk-coverage curve (Geifman &
    El-Yaniv 2019)."""
    part = predictions.labelled()
    order = np.argsort(-part.confidence, kind="stable")
    confidence, wrong = part.confidence[order], pd.Series(1.0 - part.right[order])
    taken = np.arange(1, len(order) + 1)
    risk = wrong.groupby(confidence).transform("mean").to_numpy().cumsum() / taken
    return pd.DataFrame({"coverage": taken / len(taken), "risk": risk, "confidence": confidence})


def automatic(predictions: Predictions, *, accuracy: float = 0.99) -> dict[str, Any]:
    """Estimate the fraction of galaxies that can be classified automatically at some accuracy.

    The threshold on the confidence is chosen on validation galaxies. Of the most confident 100 %,
    90 %, ... 10 %, the largest sample is accepted whose accuracy is at least `accuracy` with 95 %
    confidence: one-sided lower bound of Clopper & Pearson (1934), with Bonferroni's correction for
    the number of samples tried. An accuracy of 0.99 takes at least 299 galaxies, all of them right.

    Returns:
        threshold: on the confidence; NaN if none was found.
        share, n: fraction and number of test galaxies above the threshold; 0 without one.
        test_accuracy: of these, with its 95 % Wilson interval at this threshold (_low, _high).
        needed: the smallest number of validation galaxies with which a threshold can be found.
        note: why there is no threshold, else empty."""
    if not 0 < accuracy < 1:
        raise ValueError(f"accuracy={accuracy}: expected a number between 0 and 1")
    part = predictions.labelled("val")
    ranked, n = np.sort(part.confidence)[::-1], len(part.ids)
    ends = [math.ceil(n * k / LEVELS) - 1 for k in range(1, LEVELS + 1)]
    thresholds = sorted({float(ranked[end]) for end in ends})  # the first includes most galaxies
    above = [part.right[part.confidence >= threshold] for threshold in thresholds]
    # minimum sample size, if all are right, when k samples are tried
    enough = [math.log(DOUBT / k) / math.log(accuracy) for k in range(1, len(above) + 1)]
    tried = max((k for k, own in enumerate(above, 1) if len(own) >= enough[k - 1]), default=0)
    needed = math.ceil(enough[0])
    for threshold, own in list(zip(thresholds, above, strict=True))[:tried]:
        right = int(own.sum())
        bound = beta.ppf(DOUBT / tried, right, len(own) - right + 1) if right else 0.0
        if bound >= accuracy:
            tested = predictions.labelled("test")
            found = _accuracy(tested.right[tested.confidence >= threshold], "test_accuracy")
            found |= {"threshold": threshold, "share": found["n"] / len(tested.ids)}
            return found | {"needed": needed, "note": ""}
    few = f"at least {needed} validation galaxies are needed, but there are {n}"
    note = "no sample of validation galaxies is accurate enough" if tried else few
    found = _accuracy(np.empty(0), "test_accuracy") | {"threshold": math.nan, "share": 0.0}
    return found | {"needed": needed, "note": note}


def compare(entries: Entries, *, accuracy: float = 0.99) -> pd.DataFrame:
    """Tabulate the calibration of each method and budget: test galaxies, mean over seeds.

    Columns: method, n_labels (integer, <NA> for all), seeds, log_loss, error and by_chance (see
    `calibration_error`), temperature, log_loss_tempered and error_tempered (after temperature
    scaling on validation galaxies), area (under the risk-coverage curve), automatic (share of test
    galaxies classified by `automatic`), automatic_accuracy (mean over seeds with any) and
    automatic_seeds (number with a threshold). NaN if a seed has no validation galaxies."""
    rows = []
    for (method, n_labels), group in entries.groups().items():
        there = [entry.predictions for entry in group if entry.predictions]
        found = pd.DataFrame([_row(each, accuracy) for each in there], columns=SCORES)
        row = {"method": method, "n_labels": n_labels, "seeds": len(there)}
        row |= found.mean(skipna=False).to_dict()
        row["automatic_accuracy"] = found["automatic_accuracy"].mean()
        row["automatic_seeds"] = found["automatic_seeds"].sum(min_count=len(there) or 1)
        rows.append(row)
    columns = ["method", "n_labels", "seeds", *SCORES]
    return pd.DataFrame(rows, columns=columns).astype({"n_labels": "Int64"})


def equal_bins(values: Numbers, bins: int) -> Int[ndarray, " galaxy"]:
    """Assign values to bins (from 0) of about equal size; equal values share a bin."""
    edges = np.quantile(values, np.arange(1, bins) / bins, method="inverted_cdf")
    return np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)[1]


# ---- the parts


def _accuracy(right: ndarray, name: str = "accuracy") -> dict[str, Any]:
    """Return the accuracy, its 95 % interval, and n; NaN without galaxies."""
    names = (name, f"{name}_low", f"{name}_high")
    return dict(zip(names, share(right), strict=True)) | {"n": len(right)}


def _row(predictions: Predictions, accuracy: float) -> dict[str, float]:
    before = calibration_error(predictions, n_bootstrap=200)
    log_loss = metrics.overall(predictions, n_bootstrap=0)["value"]["log_loss"]
    row = {"log_loss": log_loss, "error": before["error"]}
    row |= {"by_chance": before["by_chance"], "area": risk_coverage(predictions).risk.mean()}
    if predictions.has("val"):
        row["temperature"] = temperature(predictions)
        after = tempered(predictions, row["temperature"])
        row["log_loss_tempered"] = metrics.overall(after, n_bootstrap=0)["value"]["log_loss"]
        row["error_tempered"] = calibration_error(after, n_bootstrap=0)["error"]
        alone = automatic(predictions, accuracy=accuracy)
        row |= {"automatic": alone["share"], "automatic_accuracy": alone["test_accuracy"]}
        row["automatic_seeds"] = float(not math.isnan(alone["threshold"]))
    return row


def _scaled(p: Probabilities, temperature: float) -> Probabilities:
    """Return the logarithm of the normalised p^(1 / temperature)."""
    scaled = np.log(np.clip(p, EPS, 1)) / temperature
    return scaled - np.logaddexp.reduce(scaled, axis=1)[:, None]
