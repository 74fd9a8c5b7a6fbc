"""Whether probabilities mean what they say, and how many galaxies could be left to a classifier.

A galaxy's confidence is its largest probability. A classifier is calibrated if it is right about
80 % of the galaxies to which it gives a confidence of 0.8 (Guo et al. 2017). Everything that is
chosen, a temperature or a threshold, is chosen on the validation galaxies. Each function raises
`ValueError` for a split without labelled galaxies.
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

HOTTEST = 20.0  # a temperature is between 1 / HOTTEST and HOTTEST
LEVELS = 10  # shares of the validation galaxies that are tried: all, 90 %, ...
DOUBT = 0.05  # that the accuracy of what is left to a classifier is smaller than asked for
EPS = np.finfo(float).eps
SCORES = ["log_loss", "error", "by_chance", "temperature", "log_loss_tempered", "error_tempered"]
SCORES += ["area", "automatic", "automatic_accuracy", "automatic_seeds"]


def reliability(predictions: Predictions, *, bins: int = 10) -> pd.DataFrame:
    """Tabulate accuracy against confidence, in bins of about as many galaxies each: columns low and
    high (extreme confidences), confidence (mean), accuracy, accuracy_low, accuracy_high (95 %
    interval of Wilson 1927) and n. There are fewer bins where galaxies have the same confidence."""
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
    """Return the expected calibration error (Naeini et al. 2015): mean over galaxies of |accuracy -
    mean confidence| of their bin, for the bins of `reliability`. Keys: error, low, high, by_chance,
    n.

    The error is never negative, and so is too large on average, the more the fewer galaxies a bin
    has. by_chance: its mean if every galaxy were right with the probability that its confidence
    says; an error of about that size is indistinguishable from perfect calibration. low and high:
    the 95 % interval of a bootstrap of the galaxies, reflected, 2 error - draw (Davison & Hinkley
    1997, eq. 5.6), which takes the same bias of the draws off, and cut off at 0; where the error is
    mostly bias, it may lie below the error itself."""
    part = predictions.labelled()
    which, n = equal_bins(part.confidence, bins), len(part.ids)
    inside = which[:, None] == np.arange(which.max() + 1)

    def error(right: Any) -> float:
        return float(abs(np.bincount(which, weights=right - part.confidence)).sum() / n)

    found, rng = error(part.right), np.random.default_rng(seed)
    excess = np.where(inside, (part.right - part.confidence)[:, None], 0.0)
    drawn = abs(bootstrap_means(excess, n_bootstrap=n_bootstrap, seed=seed)).sum(1)
    low, high = np.maximum(2 * found - percentiles(drawn)[::-1], 0.0)
    chance = [error(rng.random(n) < part.confidence) for _ in range(n_bootstrap)] or [math.nan]
    found = {"error": found, "low": float(low), "high": float(high)}
    return found | {"by_chance": float(np.mean(chance)), "n": float(n)}


def temperature(predictions: Predictions) -> float:
    """Return the T of temperature scaling (Guo et al. 2017): p^(1 / T), normalised, has the
    smallest log loss on the validation galaxies. Above 1 the classifier was overconfident.

    Between 1 / 20 and 20: where all galaxies are right, no T is small enough.
    """
    part, end = predictions.labelled("val"), math.log(HOTTEST)

    def loss(log_temperature: float) -> float:
        scaled = _scaled(part.p, math.exp(log_temperature))
        return float(-np.mean(scaled[np.arange(len(scaled)), part.true]))

    return math.exp(minimize_scalar(loss, bounds=(-end, end), method="bounded").x)


def tempered(predictions: Predictions, temperature: float) -> Predictions:
    """Return the predictions with p^(1 / temperature), normalised, in the order that they had."""
    return dataclasses.replace(predictions, p=np.exp(_scaled(predictions.p, temperature)))


def risk_coverage(predictions: Predictions) -> pd.DataFrame:
    """Tabulate the share of wrong galaxies among the 1, 2, ... all most confident ones: columns
    coverage, risk, confidence (the smallest among them).

    Among galaxies of the same confidence any order is as good as another: risk is the mean over all
    of them. The mean of `risk` is the area under the curve (Geifman & El-Yaniv 2019)."""
    part = predictions.labelled()
    order = np.argsort(-part.confidence, kind="stable")
    confidence, wrong = part.confidence[order], pd.Series(1.0 - part.right[order])
    taken = np.arange(1, len(order) + 1)
    risk = wrong.groupby(confidence).transform("mean").to_numpy().cumsum() / taken
    return pd.DataFrame({"coverage": taken / len(taken), "risk": risk, "confidence": confidence})


def automatic(predictions: Predictions, *, accuracy: float = 0.99) -> dict[str, Any]:
    """Estimate how many galaxies could be classified without a person looking, at some accuracy.

    Keys: threshold (on the confidence), share (of the test galaxies that reach it), n (their
    number), test_accuracy of these with its 95 % interval (Wilson 1927; for the threshold as it
    is), needed (validation galaxies without which no threshold can be found) and note (why there is
    none, else empty). Without a threshold share and n are 0, the rest NaN.

    The threshold is chosen on validation galaxies: the most confident 100 %, 90 %, ... 10 % of them
    are tried, as far as there are enough of them, and the largest share taken of which the accuracy
    is at least `accuracy` with a certainty of 0.95: the lower bound of Clopper & Pearson (1934),
    one-sided, corrected for the number of shares that are tried (Bonferroni). At 0.99 even a
    single share takes 299 galaxies that are all right."""
    if not 0 < accuracy < 1:
        raise ValueError(f"accuracy={accuracy}: between 0 and 1")
    part = predictions.labelled("val")
    ranked, n = np.sort(part.confidence)[::-1], len(part.ids)
    ends = [math.ceil(n * k / LEVELS) - 1 for k in range(1, LEVELS + 1)]
    thresholds = sorted({float(ranked[end]) for end in ends})  # most galaxies reach the first
    above = [part.right[part.confidence >= threshold] for threshold in thresholds]
    # how many have to be there, all of them right, where k shares are tried
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
    few = f"{needed} validation galaxies are needed at least, there are {n}"
    note = "no share of validation galaxies is accurate enough" if tried else few
    found = _accuracy(np.empty(0), "test_accuracy") | {"threshold": math.nan, "share": 0.0}
    return found | {"needed": needed, "note": note}


def compare(entries: Entries, *, accuracy: float = 0.99) -> pd.DataFrame:
    """Tabulate what is above for each method and budget: means over seeds, on the test galaxies.

    Columns: method, n_labels (integer, <NA> for all), seeds, log_loss, error and by_chance (of
    `calibration_error`); temperature, log_loss_tempered and error_tempered (after temperature
    scaling on the validation galaxies); area (under the curve of risk against coverage); automatic
    (share of the test galaxies at `accuracy`), automatic_accuracy (of these galaxies, over the
    seeds that have some) and automatic_seeds (how many have a threshold). NaN where a seed has no
    validation galaxies."""
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
    """Return the bin of each value, from 0, of about as many values each; equals in the same."""
    edges = np.quantile(values, np.arange(1, bins) / bins, method="inverted_cdf")
    return np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)[1]


# ---- the parts


def _accuracy(right: ndarray, name: str = "accuracy") -> dict[str, Any]:
    """Return the share of galaxies that are right, its 95 % interval, and n; NaN of none."""
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
    """Return log p^(1 / temperature), normalised."""
    scaled = np.log(np.clip(p, EPS, 1)) / temperature
    return scaled - np.logaddexp.reduce(scaled, axis=1)[:, None]
