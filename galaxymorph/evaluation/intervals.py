"""The statistics of every table: one variance of a mean over seeds, one bootstrap, one correction.

**Mean over seeds.** Each seed draws another split, other first weights and another order, but the
test galaxies of two seeds are in general neither the same nor different ones. The variance of the
mean of S seeds is taken as

    max(s^2, (1 - r) v) / S + r v

s^2: variance between seeds; v: variance of one seed's number that comes from its choice of test
galaxies (mean over seeds); r: share of test galaxies that two seeds have in common (mean over their
pairs), as measured. What common galaxies add to all seeds alike cannot be seen between seeds, so
r v is added: without it (the plain t-interval) five seeds with the same test galaxies count as five
times the galaxies. Where splits are drawn at random, r = n_test / (n_test + n_train), and this is
in expectation the corrected variance (1 / S + n_test / n_train) s^2 of Nadeau & Bengio (2003), a
heuristic that it follows; but r is still right where few training galaxies have labels, and where
the test galaxies are always the same. r v is rather too much, as a galaxy that one seed gets right
another may not. The galaxies that training sets have in common are not accounted for, which no
estimate can do without bias (Bengio & Grandvalet 2004). Student's t has the degrees of freedom of
Satterthwaite (1946): S - 1 for the first term, no limit for the second.

**Bootstrap.** Galaxies are drawn with replacement (Efron 1979), within strata where there are some;
intervals are percentiles. It covers the choice of the galaxies alone, not of the training run.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped
from numpy import ndarray
from scipy.stats import binomtest
from scipy.stats import t as student

LEVEL = 0.05  # of the tests; intervals are of 1 - LEVEL
BLOCK = 2**22  # weights of galaxies in memory at once while bootstrapping
HALVES = ((0.0, 1.0), (1.0, 1.0))  # two more galaxies, one right: no share has a variance of 0

Values = Float[ndarray, " galaxy"]
Names = Shaped[ndarray, " galaxy"]
Strata = Int[ndarray, " galaxy"]
OfSeeds = Sequence[Shaped[ndarray, " _"]]  # seeds need not have as many galaxies


class Mean(NamedTuple):
    """A mean over seeds with its standard error."""

    value: float
    error: float
    freedom: float  # degrees of freedom of Student's t; infinite (a normal) for one seed

    def margin(self, level: float = LEVEL) -> float:
        """Half the width of the interval; also the smallest difference from 0 with p < level."""
        return float(student.ppf(1 - level / 2, self.freedom)) * self.error

    def interval(self, least: float = -math.inf, most: float = math.inf) -> tuple[float, float]:
        """The 95 % interval, cut off where the statistic ends."""
        margin = self.margin()
        return max(self.value - margin, least), min(self.value + margin, most)

    @property
    def p(self) -> float:
        """Two-sided, of the value being 0."""
        if not self.error:
            return 1.0 if not self.value else 0.0
        return float(2 * student.sf(abs(self.value) / self.error, self.freedom))


def over_seeds(values: Sequence[float], variances: Sequence[float], common: float) -> Mean:
    """Return the mean over seeds with the variance above.

    Args:
        values: one number per seed.
        variances: of each, by the choice of its test galaxies (`variance_of_mean`, or that of
            bootstrap draws).
        common: share of test galaxies that two seeds have in common (`share_in_common`).
    """
    n, v = len(values), float(np.mean(variances))
    between = float(np.var(values, ddof=1)) if n > 1 else 0.0
    own = max(between, (1 - common) * v) / n
    variance = own + common * v
    freedom = (n - 1) * (variance / own) ** 2 if own > 0 and n > 1 else math.inf
    return Mean(float(np.mean(values)), math.sqrt(variance), freedom)


def variance_of_mean(values: Values, added: Sequence[tuple[float, float]] = ()) -> float:
    """Return the variance of a mean over galaxies by their choice.

    `added`: (value, weight) of galaxies to add (Agresti & Min 2005), so that numbers that are all
    the same, as of a method that gets every galaxy right, have a variance, too."""
    weight, more = np.array([w for _, w in added]), np.array([x for x, _ in added])
    size = len(values) + weight.sum()
    total, squares = (float((values**k).sum() + (weight * more**k).sum()) for k in (1, 2))
    return max(squares / size - (total / size) ** 2, 0.0) / size


def share_in_common(ids: OfSeeds) -> float:
    """Return the share of galaxies that two seeds have in common, mean over pairs; 1 for one."""
    sets = [set(each) for each in ids]
    pairs = combinations(sets, 2)
    shares = [len(a & b) / math.sqrt(len(a) * len(b)) for a, b in pairs]
    return float(np.mean(shares)) if shares else 1.0


def share_right(right: OfSeeds, ids: OfSeeds) -> tuple[float, float, float]:
    """Return the mean over seeds of the share of galaxies that are right, and its 95 % interval:
    that of Wilson for one seed, else Student's t. One array of 0 and 1, and of ids, per seed."""
    shares = [share(each) for each in right]
    if len(right) == 1:
        return shares[0]
    variances = [variance_of_mean(each, HALVES) for each in right]
    mean = over_seeds([value for value, _, _ in shares], variances, share_in_common(ids))
    return mean.value, *mean.interval(0.0, 1.0)


def share(right: Shaped[ndarray, " _"]) -> tuple[float, float, float]:
    """Return the share of ones among zeros and ones, and its interval (`wilson`); NaN of none."""
    count, n = int(right.sum()), len(right)
    return count / n if n else math.nan, *wilson(count, n)


def wilson(right: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a fraction, `right` of `n` (Wilson 1927); NaN of none."""
    if not n:
        return math.nan, math.nan
    interval = binomtest(right, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def holm(p: Float[ndarray, " test"]) -> Float[ndarray, " test"]:
    """Correct the p-values of several tests, so that the chance of any false alarm is no larger
    than the level (Holm 1979): the smallest of m times m, the next times m - 1, ..., none smaller
    than the one before, none above 1."""
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return corrected


def corrected(table: pd.DataFrame) -> pd.DataFrame:
    """Add p_holm (`holm` of the column p) and resolved (whether it is below 0.05) to a table."""
    p_holm = holm(table["p"].to_numpy(float))
    return table.assign(p_holm=p_holm, resolved=p_holm < LEVEL)


# ---- the bootstrap


def draws(
    n: int, *, n_bootstrap: int, seed: int, strata: Strata | None = None
) -> Iterator[Float[ndarray, "draw galaxy"]]:
    """Yield how often each of n galaxies counts in each draw, block by block.

    A galaxy's place is taken by a random one of its stratum, so that every draw holds as many of
    each as there are."""
    rng = np.random.default_rng(seed)
    order = np.arange(n) if strata is None else np.argsort(strata, kind="stable")
    group = np.zeros(n, int) if strata is None else strata[order]
    count = np.bincount(group, minlength=1)
    first, size = (np.cumsum(count) - count)[group], count[group]
    step = max(1, BLOCK // max(n, 1))
    for start in range(0, n_bootstrap, step):
        rows = min(step, n_bootstrap - start)
        drawn = first + (rng.random((rows, n)) * size).astype(np.int64)
        drawn += np.arange(rows)[:, None] * n
        weights = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(float)
        restored = np.empty_like(weights)
        restored[:, order] = weights
        yield restored


def percentiles(drawn: Float[ndarray, "draw ..."]) -> Float[ndarray, "2 ..."]:
    """Return the 2.5 and 97.5 percentiles over the draws, NaN where there is none; a draw that is
    NaN does not count."""
    if not len(drawn):
        return np.full((2, *drawn.shape[1:]), np.nan)
    if not np.isnan(drawn).any():
        return np.percentile(drawn, [2.5, 97.5], axis=0)
    empty = np.isnan(drawn).all(0)
    ends = np.nanpercentile(np.where(empty, 0.0, drawn), [2.5, 97.5], axis=0)
    return np.where(empty, np.nan, ends)


def estimated(scores: Callable[[Any], Any], n: int, **options: Any) -> dict[str, ndarray]:
    """Return the scores of n galaxies as they are (value), and low, high (`percentiles`) and
    variance of those of each draw, NaN without draws.

    Args:
        scores: a function of `(draw, galaxy)` weights that returns `(draw, ...)` numbers.
        options: of `draws`.
    """
    value = scores(np.ones((1, n)))
    drawn = np.concatenate([value[:0], *map(scores, draws(n, **options))])
    low, high = percentiles(drawn)
    variance = drawn.var(axis=0) if len(drawn) else low
    return {"value": value[0], "low": low, "high": high, "variance": variance}


def bootstrap_means(
    values: Float[ndarray, "galaxy measure"], **options: Any
) -> Float[ndarray, "draw measure"]:
    """Return the mean of each measure over the galaxies of each draw; options are of `draws`."""
    blocks = draws(len(values), **options)
    means = [weights @ values / len(values) for weights in blocks]
    return np.concatenate([np.empty((0, values.shape[1])), *means])
