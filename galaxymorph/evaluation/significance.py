"""Significance of differences between methods with the same labels and test galaxies.

Methods agree on most galaxies; only those that one of the two gets right tell them apart. All
comparisons are therefore paired by galaxy and seed, both for the accuracy and for the RMSE of vote
fractions. For several seeds the variance is that of `intervals`. For a single seed, accuracies are
compared by McNemar's exact test (McNemar 1947), with a bootstrap interval. p-values are corrected
for the number of pairs with the same labels (Holm 1979); methods are tied if not resolved then.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int
from numpy import ndarray
from scipy.stats import binom, binomtest

from galaxymorph.evaluation import intervals
from galaxymorph.evaluation.entries import Entries, Entry
from galaxymorph.evaluation.intervals import LEAST, LEVEL, Names, Strata, Values, holm, unseen
from galaxymorph.evaluation.predictions import Votes


class Scores(NamedTuple):
    """One value per test galaxy of an entry; the bootstrap draws within `strata`."""

    ids: Names
    values: Values
    strata: Strata


@dataclass(frozen=True)
class Statistic:
    """Statistic for comparisons: a fraction (larger is better), or an RMSE (smaller is better)."""

    name: str
    scores: Callable[[Entry], Scores | None]  # None if the entry is missing
    share: bool  # a mean of 0 and 1; else the root of a mean of squared errors

    def of_mean(self, mean: Any) -> Any:
        return mean if self.share else np.sqrt(mean)

    def linear(self, values: Values) -> Values:
        """Linearise: values whose mean has the same sampling variance as the statistic."""
        return values if self.share else 0.5 / math.sqrt(values.mean() or 1) * values


def _right(entry: Entry) -> Scores | None:
    if entry.predictions is None:
        return None
    part = entry.predictions.labelled("test")
    return Scores(part.ids, part.right.astype(float), part.true)


def squared_errors(votes: Votes) -> Scores:
    """Return the squared error of each test galaxy, averaged over the answers."""
    part = votes.labelled("test")
    errors = ((part.predicted - part.true) ** 2).mean(1)
    return Scores(part.ids, errors, np.zeros(len(errors), int))


ACCURACY = Statistic("accuracy", _right, share=True)
RMSE = Statistic("rmse", lambda entry: entry.votes and squared_errors(entry.votes), share=False)
# half a pseudo-galaxy for each of the four outcomes of two methods
HALF_EACH = ((-1.0, 0.5), (0.0, 1.0), (1.0, 0.5))


def pairs(
    entries: Entries,
    *,
    statistic: Statistic = ACCURACY,
    baseline: str = "majority",
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare every pair of methods with the same number of labels, without the `baseline`.

    One row per pair with at least one common seed. Columns: a, b, n_labels (integer, <NA> for all),
    those of `difference`, and

    * p_holm: p, corrected for the number of pairs with the same labels (Holm 1979).
    * resolved: p_holm < 0.05 with at least `LEAST` test galaxies; otherwise the methods are
      statistically tied.
    * resolvable: smallest difference that would be resolved regardless of the other pairs, i.e.
      with p = 0.05 / number of pairs, for the observed number of disagreements.
    """
    found = []
    for n_labels in dict.fromkeys(entry.n_labels for entry in entries):
        own = [e for e in entries if e.n_labels == n_labels and e.method != baseline]
        seeds: dict[Any, dict[str, Entry]] = {}
        for entry in own:
            seeds.setdefault(entry.seed, {})[entry.method] = entry
        tested = [_tested(group, statistic, n_bootstrap, seed) for group in seeds.values()]
        rows, errors = [], []
        for a, b in combinations(dict.fromkeys(entry.method for entry in own), 2):
            both = [each for each in tested if {a, b} <= set(each.values)]
            if both:
                row, least = _compared(both, a, b, statistic)
                rows.append({"a": a, "b": b, "n_labels": n_labels} | row)
                errors.append(least)
        corrected = holm(np.array([row["p"] for row in rows], float))
        for row, least, p in zip(rows, errors, corrected, strict=True):
            more = {"p_holm": float(p), "resolved": p < LEVEL and row["n_test"] >= LEAST}
            found.append(row | more | {"resolvable": least(LEVEL / len(rows))})
    kinds: dict[str, Any] = {"a": "str", "b": "str"}
    kinds |= dict.fromkeys(["n_labels", "seeds", "n_test"], "Int64")
    numbers = [f"{statistic.name}_a", f"{statistic.name}_b", "difference", "low", "high", "p"]
    kinds |= dict.fromkeys(numbers, float) | {"test": "str", "p_holm": float, "p_better": float}
    kinds |= {"resolved": bool, "resolvable": float}
    return pd.DataFrame(found, columns=list(kinds)).astype(kinds)


def difference(
    both: Iterable[tuple[Entry, Entry]],
    *,
    statistic: Statistic = ACCURACY,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare two methods, given pairs of entries with the same seed.

    Returns:
        <statistic>_a, <statistic>_b: means over seeds.
        difference: the first minus the second.
        seeds, n_test: number of seeds, and of test galaxies (minimum over seeds).
        low, high: 95 % interval of the difference: Student's t, or for one seed the percentiles of
            a paired bootstrap of the test galaxies, stratified by true class.
        p, test: two-sided p-value and its test: Student's t, or for one seed McNemar's exact test
            (accuracy) or a normal distribution.
        p_better: probability that the first is better with a new seed and new galaxies: fraction of
            bootstrap draws, ties counting half, mean over seeds (cf. Bouthillier et al. 2021)."""
    pairs = [dict(zip("ab", pair, strict=True)) for pair in both]
    tested = [_tested(pair, statistic, n_bootstrap, seed) for pair in pairs]
    return _compared(tested, "a", "b", statistic)[0]


def cliques(table: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return the maximal groups of mutually tied methods, from `pairs` of one budget.

    A method that differs from all others forms its own group. Uses insertion and absorption (Piepho
    2004): starting from a single group, each resolved pair splits the groups that contain both.
    Methods that were never compared count as tied."""
    budgets = table.n_labels.nunique(dropna=False)
    if budgets > 1:
        raise ValueError(f"pairs of {budgets} budgets; select one")
    methods = list(dict.fromkeys([*table.a, *table.b]))
    groups = {frozenset(methods)} if methods else set()
    for row in table.loc[table.resolved].to_dict("records"):
        apart = {row["a"], row["b"]}
        split = ([g - {m} for m in apart] if apart <= g else [g] for g in groups)
        groups = {part for parts in split for part in parts}
        groups = {group for group in groups if not any(group < other for other in groups)}
    listed = [tuple(method for method in methods if method in group) for group in groups]
    return sorted(listed, key=lambda group: [methods.index(method) for method in group])


# ---- the parts


class _Tested(NamedTuple):
    """Results of all methods (columns) for one seed."""

    values: pd.DataFrame  # scores by galaxy (index id)
    draws: pd.DataFrame  # statistic by bootstrap draw, paired between methods
    strata: Strata


def _tested(
    entries: Mapping[str, Entry], statistic: Statistic, n_bootstrap: int, seed: int
) -> _Tested:
    """Score entries with the same seed, and hence the same test galaxies (see `Entries`)."""
    found = {name: statistic.scores(entry) for name, entry in entries.items()}
    scores = {name: each for name, each in found.items() if each is not None}
    if not scores:
        return _Tested(pd.DataFrame(), pd.DataFrame(), np.zeros(0, int))
    columns = {name: pd.Series(each.values, each.ids) for name, each in scores.items()}
    values, first = pd.DataFrame(columns).sort_index(), next(iter(scores.values()))
    strata = pd.Series(first.strata, first.ids).sort_index().to_numpy()
    options = {"n_bootstrap": n_bootstrap, "seed": seed, "strata": strata}
    means = intervals.bootstrap_means(values.to_numpy(), **options)
    drawn = pd.DataFrame(statistic.of_mean(means), columns=values.columns)
    return _Tested(values, drawn, strata)


def _compared(
    tested: Sequence[_Tested], a: str, b: str, statistic: Statistic
) -> tuple[dict[str, Any], Callable[[float], float]]:
    """Return `difference`, and a function that gives the smallest difference with a given p."""
    both = [each.values[[a, b]].to_numpy().T for each in tested]
    of_a, of_b = np.array([[statistic.of_mean(x.mean()) for x in pair] for pair in both]).T
    influences = (statistic.linear(x) - statistic.linear(y) for x, y in both)
    added = HALF_EACH if statistic.share else ()
    variances = [intervals.variance_of_mean(x, added) for x in influences]
    common = intervals.share_in_common([each.values.index.to_numpy() for each in tested])
    mean = intervals.over_seeds((of_a - of_b).tolist(), variances, common)
    gains = [_gains(each, a, b, statistic) for each in tested]
    (low, high), p, test, least = mean.interval(), mean.p, "t over seeds", mean.margin
    if len(tested) == 1:
        test = "normal, one seed"
        if len(gains[0]):
            low, high = intervals.percentiles(gains[0])
        if statistic.share:
            won, lost = (int((sign * (both[0][0] - both[0][1]) > 0).sum()) for sign in (1, -1))
            p, test = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0, "McNemar"
            least = _exact(won + lost, len(both[0][0]))
    ahead = gains if statistic.share else [-gain for gain in gains]
    known = [d for d in ahead if len(d) and not np.isnan(d).any()]
    better = np.mean([(d > 0).mean() + (d == 0).mean() / 2 for d in known] or [math.nan])
    found: dict[str, Any] = {"seeds": len(tested), "n_test": min(len(x) for x, _ in both)}
    found |= {f"{statistic.name}_a": float(of_a.mean()), f"{statistic.name}_b": float(of_b.mean())}
    found |= {"difference": mean.value, "low": float(low), "high": float(high), "p": p}
    most = 1.0 if statistic.share else math.inf
    return found | {"test": test, "p_better": float(better)}, lambda level: min(least(level), most)


def _gains(tested: _Tested, a: str, b: str, statistic: Statistic) -> Values:
    """Return the difference of two methods in each bootstrap draw (`unseen`).

    NaN for an RMSE of fewer than `FEWEST` galaxies."""
    gains, n = (tested.draws[a] - tested.draws[b]).to_numpy(), len(tested.values)
    if statistic.share:
        apart = (tested.values[a] - tested.values[b]).to_numpy()
        return gains + unseen(apart, tested.strata, least=-1.0, n_bootstrap=len(gains), seed=0)
    return gains if n >= intervals.FEWEST else np.full(len(gains), math.nan)


def _exact(disagreed: int, n: int) -> Callable[[float], float]:
    """Return the smallest difference resolved by McNemar's test, as a function of its level."""

    def least(level: float) -> float:
        apart = max(disagreed, math.ceil(1 - math.log2(level)))  # with fewer, p > level always
        lost: Int[ndarray, " _"] = np.arange(apart // 2 + 1)
        most = lost[2 * binom.cdf(lost, apart, 0.5) <= level].max()
        return float(apart - 2 * most) / n

    return least
