"""Statistics behind all tables: variance of a mean over seeds, bootstrap, multiple testing.

**Mean over seeds.** Each seed changes the split, the initial weights and the order of the data, but
the test sets of two seeds usually overlap. The variance of the mean of S seeds is estimated as

    max(s^2, (1 - r) v) / S + r v

s^2: variance between seeds; v: variance of a single seed's value due to the sampling of its test
galaxies (mean over seeds); r: measured fraction of test galaxies that two seeds share (mean over
pairs). The contribution of shared galaxies is the same for all seeds and does not appear in s^2, so
r v is added. Without it (plain t-interval), five seeds with the same test galaxies would count as
five times as many galaxies. For random splits r = n_test / (n_test + n_train), and the expectation
is the corrected variance (1 / S + n_test / n_train) s^2 of Nadeau & Bengio (2003), the heuristic
that this follows; but a measured r also holds for few labels and for a fixed test set. r v is
conservative, as two seeds may classify the same galaxy differently. Overlap of the training sets is
neglected; no unbiased estimate of it exists (Bengio & Grandvalet 2004). The degrees of freedom of
Student's t follow Satterthwaite (1946): S - 1 for the first term, infinite for the second.

For disjoint folds r = 0, and the variance is max(s^2, v) / S, where v / S is that of the mean over
all galaxies. Where v is the larger, it is known from these galaxies and not from S values, so the
degrees of freedom are infinite, if there are at least `FOLDS`: with fewer, s^2 often misses how
much training varies.

**Bootstrap.** Galaxies are drawn with replacement (Efron 1979), within strata if there are any;
intervals are percentiles. They cover the sampling of galaxies only, not of training runs.

What never occurred among n galaxies never occurs in their draws. So draws of a stratum whose
galaxies are all right or all wrong include a galaxy of the unseen kind (`unseen`): the interval of
n right ones ends near 1 - 3 / n, the rule of three (Hanley & Lippman-Hand 1983). Intervals that
still have no width, or are of losses of fewer than `FEWEST` galaxies, are unknown (NaN).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped
from numpy import ndarray
from scipy.stats import norm
from scipy.stats import t as student

LEVEL = 0.05  # significance level; intervals have level 1 - LEVEL
Z = float(norm.ppf(1 - LEVEL / 2))
FEWEST = 6  # galaxies; the range of fewer values contains their median in less than 95 % of cases
LEAST = 12  # test galaxies for a verdict; half of fewer are too few to be significant (McNemar)
FOLDS = 5  # disjoint test sets from which intervals cover, however much training varies
BLOCK = 2**17  # bootstrap weights at once: as many as a processor's cache holds
HALVES = ((0.0, 1.0), (1.0, 1.0))  # add one right and one wrong galaxy: variance is never 0

Values = Float[ndarray, " galaxy"]
Names = Shaped[ndarray, " galaxy"]
Strata = Int[ndarray, " galaxy"]
OfSeeds = Sequence[Shaped[ndarray, " _"]]  # lengths may differ


class Mean(NamedTuple):
    """A mean over seeds with its standard error."""

    value: float
    error: float
    freedom: float  # degrees of freedom of Student's t; infinite (normal) for one seed

    def margin(self, level: float = LEVEL) -> float:
        """Half the width of the interval, the smallest |value| with p < level; NaN if unknown."""
        return float(student.ppf(1 - level / 2, self.freedom)) * (self.error or math.nan)

    def interval(self, least: float = -math.inf, most: float = math.inf) -> tuple[float, float]:
        """The 95 % interval, clipped to the range of the statistic."""
        margin = self.margin()
        return max(self.value - margin, least), min(self.value + margin, most)

    @property
    def p(self) -> float:
        """Two-sided p-value for a true value of 0; 1 if nothing varies."""
        if not self.error:
            return 1.0
        return float(2 * student.sf(abs(self.value) / self.error, self.freedom))


def over_seeds(values: Sequence[float], variances: Sequence[float], common: float) -> Mean:
    """Return the mean over seeds, with the variance defined in the module's docstring.

    Args:
        values: one per seed.
        variances: of each value, due to the sampling of its test galaxies (`variance_of_mean`, or
            from bootstrap draws).
        common: fraction of test galaxies that two seeds share (`share_in_common`)."""
    n, v = len(values), float(np.mean(variances))
    between = float(np.var(values, ddof=1)) if len(set(values)) > 1 else 0.0
    own = max(between, (1 - common) * v) / n
    variance = own + common * v
    freedom = (n - 1) * (variance / own) ** 2 if own > 0 and n > 1 else math.inf
    if common == 0 and n >= FOLDS and 0 < between <= v:
        freedom = math.inf
    return Mean(float(np.mean(values)), math.sqrt(variance), freedom)


def variance_of_mean(values: Values, added: Sequence[tuple[float, float]] = ()) -> float:
    """Return the sampling variance of a mean over galaxies.

    `added` are (value, weight) pairs of pseudo-galaxies (Agresti & Min 2005), so that the variance
    is not 0 if all values are equal, such as for a method that is always right."""
    weight, more = np.array([w for _, w in added]), np.array([x for x, _ in added])
    size = len(values) + weight.sum()
    total, squares = (float((values**k).sum() + (weight * more**k).sum()) for k in (1, 2))
    return max(squares / size - (total / size) ** 2, 0.0) / size


def share_in_common(ids: OfSeeds) -> float:
    """Return the mean fraction of galaxies that two seeds share; 1 for a single seed."""
    sets = [set(each) for each in ids]
    pairs = combinations(sets, 2)
    shares = [len(a & b) / math.sqrt(len(a) * len(b)) for a, b in pairs]
    return float(np.mean(shares)) if shares else 1.0


def share_right(right: OfSeeds, ids: OfSeeds) -> tuple[float, float, float]:
    """Return the mean accuracy over seeds and its 95 % interval (low, high).

    Wilson's interval for one seed, else Student's t. Takes outcomes (0 or 1) and ids by seed."""
    shares = [share(each) for each in right]
    if len(right) == 1:
        return shares[0]
    variances = [variance_of_mean(each, HALVES) for each in right]
    mean = over_seeds([value for value, _, _ in shares], variances, share_in_common(ids))
    return mean.value, *mean.interval(0.0, 1.0)


def share(right: Shaped[ndarray, " _"]) -> tuple[float, float, float]:
    """Return the fraction of ones in an array of 0 and 1, and its Wilson interval; NaN if empty."""
    count, n = int(right.sum()), len(right)
    return count / n if n else math.nan, *wilson(count, n)


def wilson(right: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of the fraction right / n (Wilson 1927); NaN if n is 0."""
    if not n:
        return math.nan, math.nan
    middle, half = right + Z**2 / 2, Z * math.sqrt(right * (n - right) / n + Z**2 / 4)
    low = (middle - half) / (n + Z**2) if right else 0.0  # without rounding errors
    return low, (middle + half) / (n + Z**2) if right < n else 1.0


def holm(p: Float[ndarray, " test"]) -> Float[ndarray, " test"]:
    """Correct p-values for multiple testing; controls the family-wise error rate (Holm 1979).

    Multiplies the smallest of m values by m, the next by m - 1, ...; monotonic, at most 1."""
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return corrected


def corrected(table: pd.DataFrame) -> pd.DataFrame:
    """Add p_holm (`holm` of the column p) and resolved (p_holm < 0.05) to a table."""
    p_holm = holm(table["p"].to_numpy(float))
    return table.assign(p_holm=p_holm, resolved=p_holm < LEVEL)


# ---- the bootstrap


def draws(
    n: int, *, n_bootstrap: int, seed: int, strata: Strata | None = None
) -> Iterator[Float[ndarray, "draw galaxy"]]:
    """Yield the number of times that each of n galaxies is drawn, in blocks of draws.

    Galaxies are drawn within strata, so every draw preserves the size of each stratum."""
    rng = np.random.default_rng(seed)
    order = np.arange(n) if strata is None else np.argsort(strata, kind="stable")
    group = np.zeros(n, int) if strata is None else strata[order]
    count = np.bincount(group, minlength=1)
    first, size = (np.cumsum(count) - count)[group], count[group]
    step = max(1, BLOCK // max(n, 1))
    for start in range(0, n_bootstrap, step):
        rows = min(step, n_bootstrap - start)
        drawn = order[first + (rng.random((rows, n)) * size).astype(np.int64)]
        drawn += np.arange(rows)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(float)


def tail(n: int | float) -> float:
    """Return the share of draws on each side of a 95 % interval of a mean over n galaxies.

    It is less than 2.5 %, so that the interval is as wide as Student's: draws are too narrow by
    sqrt((n - 1) / n), and normal (expanded percentiles, Hesterberg 2015, Am. Stat. 69, 371)."""
    wide = math.sqrt(n / (n - 1)) * student.ppf(LEVEL / 2, n - 1) if n > 1 else -math.inf
    return float(norm.cdf(wide))


def percentiles(
    drawn: Float[ndarray, "draw ..."], outside: float = LEVEL / 2
) -> Float[ndarray, "2 ..."]:
    """Return the ends of an interval of draws, without a share of them on each side.

    NaN is ignored; the ends are NaN if they coincide."""
    if not len(drawn):
        return np.full((2, *drawn.shape[1:]), np.nan)
    known = np.where(np.isnan(drawn).all(0), 0.0, drawn)
    found: Any = np.nanpercentile if np.isnan(known).any() else np.percentile  # 50 times as fast
    ends = found(known, [100 * outside, 100 - 100 * outside], axis=0)
    return np.where(ends[0] == ends[1], np.nan, ends)


def unseen(
    values: Values, strata: Strata, *, least: float, n_bootstrap: int, seed: int
) -> Float[ndarray, " draw"]:
    """Return what unseen outcomes, `least` or 1, add to the mean of each bootstrap draw.

    Draws of a stratum whose values are all equal include one galaxy of each other outcome."""
    rng, added = np.random.default_rng((seed, 1)), np.zeros(n_bootstrap)
    for k in np.unique(strata):
        own = values[strata == k]
        others = np.array([x for x in (least, 1.0) if x != own[0]])
        if (own == own[0]).all():
            chances = [1 / (len(own) + len(others))] * len(others)
            counts = rng.multinomial(len(own), [*chances, 1 - sum(chances)], n_bootstrap)
            added += counts[:, :-1] @ (others - own[0])
    return added / len(values)


def estimated(
    scores: Callable[[Any], Any],
    n: int,
    *,
    pseudo: int = 0,
    bounded: Any = False,
    sizes: Any = None,
    **options: Any,
) -> dict[str, ndarray]:
    """Return the scores of n galaxies (value) with their bootstrap low, high and variance.

    Args:
        scores: function of weights `(draw, galaxy)` that returns an array `(draw, ...)`.
        pseudo: number of galaxies after these that take part in the draws only.
        bounded: which scores have bounds, and so an interval also with few galaxies.
        sizes: number of galaxies behind each score, for `tail` (default: percentiles).
        options: passed to `draws`; without draws, low, high and variance are NaN."""
    value = scores(np.r_[np.ones(n), np.zeros(pseudo)][None])
    drawn = np.concatenate([value[:0], *map(scores, draws(n + pseudo, **options))])
    ends = percentiles(drawn)
    for size in [] if sizes is None else np.unique(sizes):
        ends[:, sizes == size] = percentiles(drawn[:, sizes == size], tail(float(size)))
    low, high = np.where(bounded | (n >= FEWEST), ends, np.nan)
    variance = drawn.var(axis=0) if len(drawn) else low
    return {"value": value[0], "low": low, "high": high, "variance": variance}


def bootstrap_means(
    values: Float[ndarray, "galaxy measure"], **options: Any
) -> Float[ndarray, "draw measure"]:
    """Return the mean of each measure in each bootstrap draw; `options` are those of `draws`."""
    blocks = draws(len(values), **options)
    means = [weights @ values / len(values) for weights in blocks]
    return np.concatenate([np.empty((0, values.shape[1])), *means])
