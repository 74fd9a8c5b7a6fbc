"""Whether probabilities mean what they say, and how many galaxies could be left to a classifier.
From one predictions table.

A galaxy's confidence is its largest probability. Calibrated is a classifier that is right about 80
% of the galaxies to which it gives a confidence of 0.8 (Guo et al. 2017). Everything that is
chosen, a temperature or a threshold, is chosen on the validation galaxies. Each function raises the
`ValueError` of `metrics` for a faulty table or a split without labelled galaxies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.optimize import minimize_scalar
from scipy.stats import beta

from galaxymorph.evaluation.entries import budget, named
from galaxymorph.evaluation.intervals import wilson
from galaxymorph.evaluation.predictions import checked, classes, selected

HOTTEST = 20.0  # a temperature is between 1 / HOTTEST and HOTTEST
LEVELS = 10  # shares of the validation galaxies that are tried: all, 90 %, ...


def reliability(predictions: pd.DataFrame, *, split: str = "test", bins: int = 10) -> pd.DataFrame:
    """Observed accuracy against confidence, in bins of about as many galaxies each: columns low and
    high (the smallest and the largest confidence), confidence (mean), accuracy, accuracy_low,
    accuracy_high (95 % interval of Wilson 1927) and n.

    Galaxies of the same confidence are in the same bin, so that there may be fewer bins.
    """
    confidence, right = _judged(predictions, split)
    rows = []
    which = _bins(confidence, bins)
    for k in np.unique(which):
        inside, correct = confidence[which == k], right[which == k]
        interval = wilson(int(correct.sum()), len(correct))
        row = {
            "low": inside.min(),
            "high": inside.max(),
            "confidence": inside.mean(),
            "accuracy": correct.mean(),
        }
        rows.append(
            row | {"accuracy_low": interval[0], "accuracy_high": interval[1], "n": len(correct)}
        )
    return pd.DataFrame(rows)


def calibration_error(
    predictions: pd.DataFrame,
    *,
    split: str = "test",
    bins: int = 10,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """The expected calibration error (Naeini et al. 2015): mean over galaxies of |accuracy - mean
    confidence| of their bin, for the bins of `reliability`. Keys: error, low, high, by_chance, n.

    The error is never negative, and so is too large on average, the more the fewer galaxies a bin
    has. by_chance: its mean if every galaxy were right with the probability that its confidence
    says; an error of about that size is none. low and high: the 95 % interval of a bootstrap of the
    galaxies, turned round, 2 error - draw (Davison & Hinkley 1997, eq. 5.6), which takes the same
    bias of the draws off, and cut off at 0; where the error is mostly bias, it may lie below the
    error itself."""
    confidence, right = _judged(predictions, split)
    which, rng = _bins(confidence, bins), np.random.default_rng(seed)
    excess, n = right - confidence, len(right)
    error = _error(which, excess)
    found = {
        "error": error,
        "low": math.nan,
        "high": math.nan,
        "by_chance": math.nan,
        "n": float(n),
    }
    if n_bootstrap:
        drawn = [
            _error(which[some], excess[some])
            for some in (rng.integers(0, n, n) for _ in range(n_bootstrap))
        ]
        low, high = 2 * error - np.percentile(drawn, [97.5, 2.5])
        chance = [
            _error(which, (rng.random(n) < confidence) - confidence) for _ in range(n_bootstrap)
        ]
        found |= {
            "low": max(float(low), 0.0),
            "high": max(float(high), 0.0),
            "by_chance": float(np.mean(chance)),
        }
    return found


def temperature(predictions: pd.DataFrame, *, split: str = "val") -> float:
    """The T of temperature scaling (Guo et al. 2017): p^(1 / T), normalised, has the smallest log
    loss on the split. Above 1 the classifier was too sure.

    Between 1 / 20 and 20: where all galaxies are right, no T is small enough.
    """
    true, p = checked(predictions, split)
    log_p = np.log(np.clip(p, np.finfo(float).eps, 1))

    def loss(log_temperature: float) -> float:
        scaled = log_p / math.exp(log_temperature)
        return float(
            np.mean(np.logaddexp.reduce(scaled, axis=1) - scaled[np.arange(len(true)), true])
        )

    return math.exp(
        minimize_scalar(loss, bounds=(-math.log(HOTTEST), math.log(HOTTEST)), method="bounded").x
    )


def tempered(predictions: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """The same table with p^(1 / temperature), normalised. The order of a galaxy's classes
    stays."""
    columns = [f"p_{name}" for name in classes(predictions)]
    scaled = (
        np.log(np.clip(predictions[columns].to_numpy(float), np.finfo(float).eps, 1)) / temperature
    )
    p = np.exp(scaled - np.logaddexp.reduce(scaled, axis=1)[:, None])
    return predictions.assign(**{column: p[:, k] for k, column in enumerate(columns)})


def risk_coverage(predictions: pd.DataFrame, *, split: str = "test") -> pd.DataFrame:
    """Share of wrong galaxies among the most confident ones, for 1, 2, ... all of them: columns
    coverage, risk, confidence (the smallest among them).

    Among galaxies of the same confidence any order is as good as another: risk is the mean over all
    of them. The mean of `risk` is the area under the curve (Geifman & El-Yaniv 2019)."""
    confidence, right = _judged(predictions, split)
    order = np.argsort(-confidence, kind="stable")
    wrong = (
        pd.Series(~right[order])
        .astype(float)
        .groupby(confidence[order])
        .transform("mean")
        .to_numpy()
    )
    taken = np.arange(1, len(right) + 1)
    return pd.DataFrame(
        {
            "coverage": taken / len(right),
            "risk": wrong.cumsum() / taken,
            "confidence": confidence[order],
        }
    )


def automatic(
    predictions: pd.DataFrame, *, accuracy: float = 0.99, certainty: float = 0.95
) -> dict[str, Any]:
    """How many galaxies could be classified without a person looking, at some accuracy.

    Keys: threshold (on the confidence), share (of the test galaxies that reach it), n (their
    number), test_accuracy of these, low, high (its 95 % interval of Wilson 1927; for the threshold
    as it is), needed (validation galaxies without which no threshold can be found) and note (why
    there is none, else empty). Without a threshold share and n are 0, the rest NaN.

    The threshold is chosen on validation galaxies: the most confident 100 %, 90 %, ... 10 % of them
    are tried, as far as there are enough to tell, and the largest share taken of which the accuracy
    is at least `accuracy` with a `certainty`: the lower bound of Clopper & Pearson (1934),
    one-sided, corrected for the number of shares that are tried (Bonferroni). At 0.99 with 0.95
    even a single share takes 299 galaxies that are all right."""
    if not (0 < accuracy < 1 and 0 < certainty < 1):
        raise ValueError(f"accuracy={accuracy}, certainty={certainty}: both between 0 and 1")
    confidence, right = _judged(predictions, "val")
    ranked = np.sort(confidence)[::-1]
    shares = [ranked[math.ceil(len(ranked) * level / LEVELS) - 1] for level in range(LEVELS, 0, -1)]
    thresholds = sorted(set(map(float, shares)))  # the least first, which the most galaxies reach
    enough = [
        math.log((1 - certainty) / k) / math.log(accuracy) for k in range(1, len(thresholds) + 1)
    ]
    tried = max(
        (k + 1 for k, t in enumerate(thresholds) if (confidence >= t).sum() >= enough[k]), default=0
    )
    found: dict[str, Any] = {
        "threshold": math.nan,
        "share": 0.0,
        "n": 0,
        "test_accuracy": math.nan,
        "low": math.nan,
    }
    found |= {"high": math.nan, "needed": math.ceil(enough[0]), "note": ""}
    for threshold in thresholds[:tried]:
        above = right[confidence >= threshold]
        n, correct = len(above), int(above.sum())
        bound = (
            float(beta.ppf((1 - certainty) / tried, correct, n - correct + 1)) if correct else 0.0
        )
        if bound >= accuracy:
            tested, correct = _judged(predictions, "test")
            above = correct[tested >= threshold]
            found |= {"threshold": threshold, "share": len(above) / len(correct), "n": len(above)}
            if len(above):
                low, high = wilson(int(above.sum()), len(above))
                found |= {"test_accuracy": float(above.mean()), "low": low, "high": high}
            return found
    few = f"{math.ceil(enough[0])} validation galaxies are needed at least, there are {len(right)}"
    found["note"] = "no share of the validation galaxies is accurate enough" if tried else few
    return found


def compare(
    pieces: Sequence[Mapping[str, Any]], *, accuracy: float = 0.99, bins: int = 10
) -> pd.DataFrame:
    """One row per method and label budget: means over the seeds that are there of what is above, on
    the test galaxies.

    `pieces` as `comparison.compare` takes them. Columns: method, n_labels (integer, <NA> for all),
    seeds, log_loss, error and by_chance (of `calibration_error`); temperature, log_loss_tempered
    and error_tempered (after temperature scaling on the validation galaxies); area (under the curve
    of risk against coverage); automatic (share of the test galaxies at `accuracy`),
    automatic_accuracy (of these galaxies, over the seeds that have some) and automatic_seeds (how
    many have a threshold). NaN where a seed has no validation galaxies."""
    rows: dict[tuple[str, int | None], list[dict[str, float]]] = {}
    for piece in pieces:
        found = rows.setdefault((str(piece["step"]), budget(piece)), [])
        if piece["predictions"] is not None:
            with named(piece):
                found.append(_row(piece["predictions"], accuracy=accuracy, bins=bins))
    table = []
    for (method, n_labels), found in rows.items():
        row = {"method": method, "n_labels": n_labels, "seeds": len(found)}
        means = {
            name: float(np.mean([each[name] for each in found]))
            for name in (found[0] if found else ())
        }
        if found:
            there = [
                each["automatic_accuracy"]
                for each in found
                if not math.isnan(each["automatic_accuracy"])
            ]
            means["automatic_accuracy"] = float(np.mean(there)) if there else math.nan
            means["automatic_seeds"] = sum(each["automatic_seeds"] for each in found)
        table.append(row | means)
    columns = [
        "method",
        "n_labels",
        "seeds",
        "log_loss",
        "error",
        "by_chance",
        "temperature",
        "log_loss_tempered",
    ]
    columns += ["error_tempered", "area", "automatic", "automatic_accuracy", "automatic_seeds"]
    return pd.DataFrame(table, columns=columns).astype({"n_labels": "Int64"})


# ---- the parts


def _row(predictions: pd.DataFrame, *, accuracy: float, bins: int) -> dict[str, float]:
    before = calibration_error(predictions, bins=bins, n_bootstrap=200)
    row = {
        "log_loss": _log_loss(predictions),
        "error": before["error"],
        "by_chance": before["by_chance"],
    }
    names = (
        "temperature",
        "log_loss_tempered",
        "error_tempered",
        "automatic",
        "automatic_accuracy",
        "automatic_seeds",
    )
    row |= dict.fromkeys(names, math.nan) | {"area": float(risk_coverage(predictions).risk.mean())}
    if selected(predictions, "val").any():
        factor = temperature(predictions)
        after, alone = tempered(predictions, factor), automatic(predictions, accuracy=accuracy)
        row |= {"temperature": factor, "log_loss_tempered": _log_loss(after)}
        row |= {
            "error_tempered": calibration_error(after, bins=bins, n_bootstrap=0)["error"],
            "automatic": alone["share"],
        }
        row |= {
            "automatic_accuracy": alone["test_accuracy"],
            "automatic_seeds": float(not math.isnan(alone["threshold"])),
        }
    return row


def _log_loss(predictions: pd.DataFrame) -> float:
    true, p = checked(predictions, "test")
    return float(-np.log(np.clip(p[np.arange(len(true)), true], np.finfo(float).eps, 1)).mean())


def _judged(
    predictions: pd.DataFrame, split: str
) -> tuple[Float[ndarray, " galaxy"], Bool[ndarray, " galaxy"]]:
    """Confidence of the labelled galaxies of a split, and whether their class is right."""
    true, p = checked(predictions, split)
    return p.max(1), p.argmax(1) == true


def _bins(confidence: Float[ndarray, " galaxy"], bins: int) -> Int[ndarray, " galaxy"]:
    """The bin of each galaxy, of about as many galaxies each; equals in the same."""
    edges = np.unique(np.quantile(confidence, np.arange(1, bins) / bins, method="inverted_cdf"))
    return np.searchsorted(edges, confidence, side="left")


def _error(which: Int[ndarray, " galaxy"], excess: Float[ndarray, " galaxy"]) -> float:
    """The calibration error from the bins of galaxies and by how much they are right in excess of
    their confidence."""
    return float(abs(np.bincount(which, weights=excess)).sum() / len(which))
