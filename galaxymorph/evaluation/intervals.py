"""galaxymorph.evaluation.intervals"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import binomtest
from scipy.stats import t as student


def wilson(right: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a fraction, `right` of `n` (Wilson 1927)."""
    interval = binomtest(right, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


LEVEL = 0.05  # of the tests; intervals are of 1 - LEVEL


def holm(p: Float[ndarray, " test"]) -> Float[ndarray, " test"]:
    """p-values of several tests, corrected so that the chance of any false alarm is no larger than
    the level (Holm 1979): the smallest of m times m, the next times m - 1, ..., none smaller than
    the one before, none above 1."""
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return corrected


def of_mean(seeds: Sequence[pd.Series]) -> tuple[float, float, float]:
    """The mean over seeds of the share of galaxies that are right, and its 95 % interval, as
    `by_property` says. A series for each seed: 1 or 0 by id."""
    means = np.array([each.mean() for each in seeds])
    if len(seeds) == 1:
        return float(means[0]), *wilson(int(seeds[0].sum()), len(seeds[0]))
    sizes = np.array([len(each) for each in seeds])
    p = (means * sizes + 1) / (sizes + 2)
    v = float((p * (1 - p) / (sizes + 2)).mean())
    pairs = combinations(seeds, 2)
    common = float(
        np.mean([len(i.index.intersection(j.index)) / math.sqrt(len(i) * len(j)) for i, j in pairs])
    )
    own = max(float(means.var(ddof=1)), (1 - common) * v) / len(seeds)
    variance = own + common * v
    freedom = (len(seeds) - 1) * (variance / own) ** 2 if own > 0 else math.inf
    mean, margin = (
        float(means.mean()),
        float(student.ppf(1 - LEVEL / 2, freedom)) * math.sqrt(variance),
    )
    return mean, max(mean - margin, 0.0), min(mean + margin, 1.0)
