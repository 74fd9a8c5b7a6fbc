"""Which methods differ: every pair with the same labels, on the same test galaxies.

Two methods that are tested on the same galaxies are right or wrong together about most of them;
what separates them are those about which one alone is right. So each difference is taken galaxy by
galaxy and seed by seed, for accuracy and for the error of vote fractions alike. With more seeds
than one its variance is that of `intervals`. With one seed, accuracies have McNemar's exact test
(McNemar 1947) and an interval from the bootstrap. p-values are corrected for the number of pairs
with the same labels (Holm 1979); what is not resolved then is a tie.
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

from galaxymorph.evaluation.entries import Entries, Entry
from galaxymorph.evaluation.intervals import (
    LEVEL,
    Names,
    Strata,
    Values,
    bootstrap_means,
    holm,
    over_seeds,
    percentiles,
    share_in_common,
    variance_of_mean,
)
from galaxymorph.evaluation.predictions import Votes


class Scores(NamedTuple):
    """A number for each test galaxy of an entry; `strata` are what a bootstrap draws within."""

    ids: Names
    values: Values
    strata: Strata


@dataclass(frozen=True)
class Statistic:
    """What methods are compared by: a share, the mean of zeros and ones, of which more is better;
    or else the root of a mean of squared errors, of which less is."""

    name: str
    scores: Callable[[Entry], Scores | None]  # of each galaxy; None where the entry is missing
    share: bool

    def of_mean(self, mean: Any) -> Any:
        return mean if self.share else np.sqrt(mean)

    def linear(self, values: Values) -> Values:
        """Numbers whose mean varies with the choice of the galaxies as the statistic does."""
        return values if self.share else 0.5 / math.sqrt(values.mean() or 1) * values


def _right(entry: Entry) -> Scores | None:
    if entry.predictions is None:
        return None
    part = entry.predictions.labelled("test")
    return Scores(part.ids, part.right.astype(float), part.true)


def squared_errors(votes: Votes) -> Scores:
    """Return the squared error of each test galaxy, mean over its answers."""
    part = votes.labelled("test")
    errors = ((part.predicted - part.true) ** 2).mean(1)
    return Scores(part.ids, errors, np.zeros(len(errors), int))


ACCURACY = Statistic("accuracy", _right, share=True)
RMSE = Statistic("rmse", lambda entry: entry.votes and squared_errors(entry.votes), share=False)
# half a galaxy for each of the four ways in which two methods can be right
HALF_EACH = ((-1.0, 0.5), (0.0, 1.0), (1.0, 0.5))


def pairs(
    entries: Entries,
    *,
    statistic: Statistic = ACCURACY,
    baseline: str = "majority",
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare every pair of methods with the same number of labels: one row each, in their order.

    The method `baseline` is left out. A pair counts the seeds where both are there, and has no row
    without one. Columns: a, b, n_labels (integer, <NA> for all), and those of `difference`; and

    * p_holm: p, corrected for the number of pairs with the same labels (Holm 1979).
    * resolved: p_holm < 0.05. Else it is a tie.
    * resolvable: the smallest difference that would be resolved, whatever the other pairs do, with
      as many galaxies about which the two disagree: where p is 0.05 / the number of pairs.
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
            more = {"p_holm": float(p), "resolved": bool(p < LEVEL)}
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
    """Compare two methods, given their entries seed by seed: the first less the second.

    * <statistic>_a, <statistic>_b: means over seeds; difference; seeds; n_test (galaxies per seed;
      the fewest)
    * low, high: its 95 % interval. With one seed the percentiles of a bootstrap of the test
      galaxies, both methods on the same draw, stratified by true class; with more Student's t.
    * p, two-sided: of accuracies with one seed McNemar's, exact; else that of the t (of one seed:
      normal); and test: which of these.
    * p_better: the probability that the first is better with some seed and other galaxies: the
      share of bootstrap draws where it is, one that is equal counting half, mean over seeds. (Over
      seeds as Bouthillier et al. 2021.)
    """
    pairs = [dict(zip("ab", pair, strict=True)) for pair in both]
    tested = [_tested(pair, statistic, n_bootstrap, seed) for pair in pairs]
    return _compared(tested, "a", "b", statistic)[0]


def cliques(table: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return the largest groups of methods of which no two differ, from `pairs` of one budget.

    A method that differs from all others is a group of its own. Found by insertion and absorption
    (Piepho 2004): from one group of all, each pair that is resolved splits the groups that hold
    both. Two that were never compared stay together."""
    budgets = table.n_labels.nunique(dropna=False)
    if budgets > 1:
        raise ValueError(f"pairs of {budgets} budgets: give those of one")
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
    """The methods of one seed (columns) on its test galaxies."""

    values: pd.DataFrame  # of each galaxy (index id)
    draws: pd.DataFrame  # the statistic in each draw, the same draws for all


def _tested(
    entries: Mapping[str, Entry], statistic: Statistic, n_bootstrap: int, seed: int
) -> _Tested:
    """The scores of entries with one seed, which have the same test galaxies (`Entries`)."""
    found = {name: statistic.scores(entry) for name, entry in entries.items()}
    scores = {name: each for name, each in found.items() if each is not None}
    if not scores:
        return _Tested(pd.DataFrame(), pd.DataFrame())
    columns = {name: pd.Series(each.values, each.ids) for name, each in scores.items()}
    values, first = pd.DataFrame(columns).sort_index(), next(iter(scores.values()))
    strata = pd.Series(first.strata, first.ids).sort_index().to_numpy()
    options = {"n_bootstrap": n_bootstrap, "seed": seed, "strata": strata}
    means = bootstrap_means(values.to_numpy(), **options)
    return _Tested(values, pd.DataFrame(statistic.of_mean(means), columns=values.columns))


def _compared(
    tested: Sequence[_Tested], a: str, b: str, statistic: Statistic
) -> tuple[dict[str, Any], Callable[[float], float]]:
    """What `difference` says, and the smallest difference that has a given p."""
    both = [each.values[[a, b]].to_numpy().T for each in tested]
    of_a, of_b = np.array([[statistic.of_mean(x.mean()) for x in pair] for pair in both]).T
    influences = (statistic.linear(x) - statistic.linear(y) for x, y in both)
    variances = [variance_of_mean(x, HALF_EACH if statistic.share else ()) for x in influences]
    common = share_in_common([each.values.index.to_numpy() for each in tested])
    mean = over_seeds((of_a - of_b).tolist(), variances, common)
    gains = [(each.draws[a] - each.draws[b]).to_numpy() for each in tested]
    (low, high), p, test, least = mean.interval(), mean.p, "t over seeds", mean.margin
    if len(tested) == 1:
        test = "normal, one seed"
        if len(gains[0]):
            low, high = percentiles(gains[0])
        if statistic.share:
            won, lost = (int((sign * (both[0][0] - both[0][1]) > 0).sum()) for sign in (1, -1))
            p, test = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0, "McNemar"
            least = _exact(won + lost, len(both[0][0]))
    ahead = gains if statistic.share else [-gain for gain in gains]
    better = np.mean([(d > 0).mean() + (d == 0).mean() / 2 for d in ahead if len(d)] or [np.nan])
    found: dict[str, Any] = {"seeds": len(tested), "n_test": min(len(x) for x, _ in both)}
    found |= {f"{statistic.name}_a": float(of_a.mean()), f"{statistic.name}_b": float(of_b.mean())}
    found |= {"difference": mean.value, "low": float(low), "high": float(high), "p": p}
    most = 1.0 if statistic.share else math.inf
    return found | {"test": test, "p_better": float(better)}, lambda level: min(least(level), most)


def _exact(disagreed: int, n: int) -> Callable[[float], float]:
    """The smallest difference that McNemar's test resolves, with as many disagreements."""

    def least(level: float) -> float:
        apart = max(disagreed, math.ceil(1 - math.log2(level)))  # with fewer no p is small enough
        lost: Int[ndarray, " _"] = np.arange(apart // 2 + 1)
        most = lost[2 * binom.cdf(lost, apart, 0.5) <= level].max()
        return float(apart - 2 * most) / n

    return least
