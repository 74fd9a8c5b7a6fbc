"""Which methods can be told apart: every pair with the same labels, on the same test galaxies, from
their predictions alone.

Two methods that are tested on the same galaxies are right or wrong together about most of them;
what tells them apart are those about which one alone is right. With one seed that is McNemar's
test, exact (McNemar 1947). With more, the seeds are paired, and their test galaxies are in general
neither the same nor different ones: a split that is drawn anew has some galaxies in common with the
last. The variance of the mean difference D of S seeds is taken as

    var D = max(s^2, (1 - r) v) / S + r v

s^2: variance of the difference between seeds; v: variance of one seed's difference that comes of
its test galaxies (mean over seeds), with half a galaxy added to each of the four cells so that it
is never 0 (Agresti & Min 2005); r: share of test galaxies that two seeds have in common (mean over
their pairs), as measured. What common galaxies add to all seeds alike cannot be seen between seeds,
so that r v has to be added: without it (the plain paired t-test) five seeds with the same test
galaxies count as five times the galaxies. Where splits are drawn at random, r = n_test / (n_test +
n_train), and this is in expectation the corrected variance (1 / S + n_test / n_train) s^2 of Nadeau
& Bengio (2003), whose heuristic it follows; but r is still right where few of the training galaxies
have labels, and where the test galaxies are always the same. r v is rather too much, as a galaxy
that one seed has right another may not. The galaxies that training sets have in common are not
accounted for, which no estimate can do without bias (Bengio & Grandvalet 2004). Student's t has the
degrees of freedom of Satterthwaite (1946): S - 1 of the first term, those of the second without
limit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.stats import binom, binomtest
from scipy.stats import t as student

from galaxymorph.evaluation import metrics
from galaxymorph.evaluation.entries import budget, labels, named
from galaxymorph.evaluation.intervals import LEVEL, holm
from galaxymorph.evaluation.predictions import selected

KINDS = ["a", "b", "test"]
NUMBERS = [
    "accuracy_a",
    "accuracy_b",
    "difference",
    "low",
    "high",
    "p",
    "p_holm",
    "p_better",
    "resolvable",
]


def pairs(
    pieces: Sequence[Mapping[str, Any]],
    *,
    baseline: str = "majority",
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Every pair of methods with the same number of labels: one row each, in the order of `pieces`.

    `pieces` as `comparison.compare` takes them; the method `baseline` is none. A pair counts the
    seeds where both are there, and has no row without one. Columns: a, b, n_labels (integer, <NA>
    for all), seeds, n_test (galaxies per seed; the fewest), accuracy_a, accuracy_b (means over
    these seeds), and, as of `difference`, difference (of a less b), low, high, p, test, p_better;
    and

    * p_holm: p, corrected for the number of pairs with the same labels (Holm 1979), as `holm` does.
    * resolved: p_holm < 0.05. Else it is a tie.
    * resolvable: the smallest difference that would be resolved, whatever the other pairs do, with
      as many galaxies about which the two disagree: where p is 0.05 / the number of pairs.

    Raises `ValueError` that names method and seed, for a faulty table, two pieces of a method with
    the same seed and labels, and two methods that were tested on other galaxies."""
    budgets: dict[int | None, dict[str, dict[Any, pd.DataFrame | None]]] = {}
    for piece in pieces:
        if piece["step"] != baseline:
            seeds = budgets.setdefault(budget(piece), {}).setdefault(str(piece["step"]), {})
            if piece.get("seed") in seeds:
                raise ValueError(
                    f"{piece['step']}: seed {piece.get('seed')} is there twice with {labels(budget(piece))}"
                )
            seeds[piece.get("seed")] = None if piece["predictions"] is None else _right(piece)
    found = []
    for n_labels, methods in budgets.items():
        rows, those = [], []
        for a, b in combinations(methods, 2):
            tested = [(methods[a][key], methods[b].get(key)) for key in methods[a]]
            both = [
                _joined(one, other)
                for one, other in tested
                if one is not None and other is not None
            ]
            if both:
                rows.append(
                    {"a": a, "b": b, "n_labels": n_labels}
                    | _difference(both, n_bootstrap=n_bootstrap, seed=seed)
                )
                those.append(both)
        corrected = holm(np.array([row["p"] for row in rows], float))
        for row, both, p in zip(rows, those, corrected, strict=True):
            least = _resolvable(both, level=LEVEL / len(rows))
            found.append(
                row | {"p_holm": float(p), "resolved": bool(p < LEVEL), "resolvable": least}
            )
    columns = [
        "a",
        "b",
        "n_labels",
        "seeds",
        "n_test",
        *NUMBERS[:6],
        "test",
        *NUMBERS[6:8],
        "resolved",
        "resolvable",
    ]
    kinds = (
        dict.fromkeys(KINDS, "str")
        | dict.fromkeys(["n_labels", "n_test", "seeds"], "Int64")
        | dict.fromkeys(NUMBERS, float)
    )
    return pd.DataFrame(found, columns=columns).astype(kinds | {"resolved": bool})


def difference(
    ours: Sequence[Mapping[str, Any]],
    theirs: Sequence[Mapping[str, Any]],
    *,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Test accuracy of one method less that of another. `ours` and `theirs`: their pieces, in the
    same order of seeds.

    * accuracy_a, accuracy_b: means over seeds; difference; seeds; n_test (galaxies per seed; the
      fewest)
    * low, high: its 95 % interval. With one seed the percentiles of a bootstrap of the test
      galaxies, both methods on the same draw, stratified by true class; with more Student's t and
      the variance above.
    * p, two-sided: with one seed McNemar's, exact; with more that of the t; and test: which of the
      two.
    * p_better: the probability that ours is ahead with some seed and other galaxies: the share of
      bootstrap draws where it is, one that is equal counting half, mean over seeds. (Over seeds as
      Bouthillier et al. 2021.)

    Raises `ValueError`, naming the method and seed, for a faulty table and other galaxies.
    """
    both = [_joined(_right(one), _right(other)) for one, other in zip(ours, theirs, strict=True)]
    return _difference(both, n_bootstrap=n_bootstrap, seed=seed)


def cliques(table: pd.DataFrame) -> list[tuple[str, ...]]:
    """The largest groups of methods of which no two can be told apart, for a table of `pairs` of
    one number of labels.

    A method that is told apart from all others is a group of its own. Found by insertion and
    absorption (Piepho 2004): from one group of all, each pair that is resolved splits the groups
    that hold both. Two that were never compared stay together."""
    if table.n_labels.nunique(dropna=False) > 1:
        raise ValueError(
            f"pairs with {table.n_labels.nunique(dropna=False)} numbers of labels: give those of one"
        )
    methods = list(dict.fromkeys([*table.a, *table.b]))
    groups = {frozenset(methods)} if methods else set()
    for row in table.loc[table.resolved].to_dict("records"):
        apart = {row["a"], row["b"]}
        groups = {
            part
            for group in groups
            for part in ([group - {m} for m in apart] if apart <= group else [group])
        }
        groups = {group for group in groups if not any(group < other for other in groups)}
    listed = [tuple(method for method in methods if method in group) for group in groups]
    return sorted(listed, key=lambda group: [methods.index(method) for method in group])


# ---- a pair


def _right(piece: Mapping[str, Any]) -> pd.DataFrame:
    """The labelled test galaxies of a piece: index id, columns label and right (1 or 0); `attrs`
    say whose."""
    table = piece["predictions"]
    with named(piece):
        wrong = metrics.mistakes(table).id
    tested = table.loc[selected(table, "test"), ["id", "label"]]
    found = tested.assign(right=(~tested["id"].isin(wrong)).astype(int)).set_index("id")
    found.attrs = {"step": str(piece["step"]), "seed": piece.get("seed")}
    return found


def _joined(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Whether each of two methods, a and b, is right about each test galaxy, with its label."""
    if set(one.index) != set(other.index):
        raise ValueError(
            f"{one.attrs['step']}, seed {one.attrs['seed']}: tested on {len(one):,} galaxies, of which "
            f"{len(set(one.index) & set(other.index)):,} are among the {len(other):,} of {other.attrs['step']}; "
            "execute both again with the same galaxies"
        )
    return pd.DataFrame(
        {"label": one["label"], "a": one["right"], "b": other.loc[one.index, "right"]}
    )


def _difference(both: Sequence[pd.DataFrame], *, n_bootstrap: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    draws = [_draws(each, n_bootstrap, rng) for each in both]
    accuracy_a, accuracy_b = (
        float(np.mean([each[which].mean() for each in both])) for which in "ab"
    )
    found = {
        "seeds": len(both),
        "n_test": min(len(each) for each in both),
        "accuracy_a": accuracy_a,
        "accuracy_b": accuracy_b,
    }
    if len(both) == 1:
        won, lost = _counts(both[0])
        mean = (won - lost) / len(both[0])
        low, high = np.percentile(draws[0], [2.5, 97.5])
        p, test = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0, "McNemar"
    else:
        mean, error, freedom = _spread(both)
        margin = float(student.ppf(1 - LEVEL / 2, freedom)) * error
        low, high, p, test = (
            mean - margin,
            mean + margin,
            float(2 * student.sf(abs(mean) / error, freedom)),
            "t over seeds",
        )
    better = float(np.mean([(each > 0).mean() + (each == 0).mean() / 2 for each in draws]))
    return found | {
        "difference": mean,
        "low": float(low),
        "high": float(high),
        "p": p,
        "test": test,
        "p_better": better,
    }


def _counts(each: pd.DataFrame) -> tuple[int, int]:
    """Of how many galaxies a alone is right, and b alone."""
    a, b = each["a"].to_numpy(), each["b"].to_numpy()
    return int((a > b).sum()), int((a < b).sum())


def _spread(both: Sequence[pd.DataFrame]) -> tuple[float, float, float]:
    """The mean difference over seeds, its standard error and the degrees of freedom, as above."""
    gains = np.array([(each["a"] - each["b"]).mean() for each in both])
    n = len(both)
    by_galaxies = []
    for each in both:
        (won, lost), size = _counts(each), len(each) + 2
        by_galaxies.append((won + lost + 1 - (won - lost) ** 2 / size) / size**2)
    v = float(np.mean(by_galaxies))
    common = float(
        np.mean(
            [
                len(i.index.intersection(j.index)) / math.sqrt(len(i) * len(j))
                for i, j in combinations(both, 2)
            ]
        )
    )
    own = max(float(gains.var(ddof=1)), (1 - common) * v) / n
    variance = own + common * v
    freedom = (n - 1) * (variance / own) ** 2 if own > 0 else math.inf
    return float(gains.mean()), math.sqrt(variance), freedom


def _resolvable(both: Sequence[pd.DataFrame], *, level: float) -> float:
    """The smallest difference of which p is no larger than a level, all else equal."""
    if len(both) > 1:
        _, error, freedom = _spread(both)
        return min(float(student.ppf(1 - level / 2, freedom)) * error, 1.0)
    apart = max(
        sum(_counts(both[0])), math.ceil(1 - math.log2(level))
    )  # with fewer no p is small enough
    lost: Int[ndarray, " _"] = np.arange(apart // 2 + 1)
    most = lost[2 * binom.cdf(lost, apart, 0.5) <= level].max()
    return min(float(apart - 2 * most) / len(both[0]), 1.0)


def _draws(
    each: pd.DataFrame, n_bootstrap: int, rng: np.random.Generator
) -> Float[ndarray, " draw"]:
    """The difference in each draw of the galaxies, from every class as many as there are. It
    depends only on how often a draw holds each of the three kinds of galaxy: right by a alone,
    right by b alone, the others; these counts are multinomial."""
    total = np.zeros(n_bootstrap)
    for _, members in each.groupby("label", sort=True):
        (won, lost), n = _counts(members), len(members)
        counts = rng.multinomial(n, [won / n, lost / n, (n - won - lost) / n], n_bootstrap)
        total += counts[:, 0] - counts[:, 1]
    return total / len(each)
