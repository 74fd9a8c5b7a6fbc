"""Pairs of methods against cases worked by hand, scipy, and simulated runs whose difference is
known. Takes about 10 s."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from galaxymorph.evaluation import significance
from galaxymorph.evaluation.entries import Entries
from tests.evaluation.made import NAMES, entry, g, predicted, rights, scored

# of 100 galaxies 12 are right by a alone, 3 by b alone, 65 by both
A = np.array([True] * 12 + [False] * 3 + [True] * 65 + [False] * 20)
B = np.array([False] * 12 + [True] * 3 + [True] * 65 + [False] * 20)


def pairs(*entries, **more):
    return significance.pairs(Entries(entries), **more)


def test_one_seed_is_mcnemar_s_test():
    row = pairs(scored("a", A), scored("b", B), entry("c"), scored("majority", B)).iloc[0]
    p = 2 * sum(math.comb(15, k) for k in range(4)) / 2**15
    assert (row.a, row.b, row.seeds, row.n_test, row.test) == ("a", "b", 1, 100, "McNemar")
    assert (row.accuracy_a, row.accuracy_b, row.difference) == pytest.approx((0.77, 0.68, 0.09))
    assert (row.p, row.p_holm) == pytest.approx((p, p)) == (0.03515625, 0.03515625)
    assert row.resolved
    assert row.resolvable == 0.09  # of 15, 12 to 3 is the least (11 to 4: p = 0.12)
    assert row.p_better > 0.97
    swapped = pairs(scored("b", B), scored("a", A)).iloc[0]
    assert (swapped.difference, swapped.p) == (-row.difference, row.p)
    assert swapped.p_better == pytest.approx(1 - row.p_better, abs=0.01)


def test_the_bootstrap_keeps_the_classes():
    """All galaxies of one class are right by a alone, none of the other: all that varies is what
    the 20 of each may not have shown (three of them, by the rule of three)."""
    ours, theirs = np.arange(40) % 2 == 0, np.zeros(40, bool)
    row = pairs(scored("a", ours), scored("b", theirs)).iloc[0]
    assert (row.difference, row.p_better) == (0.5, 1)
    assert row.low == pytest.approx(0.5 - 2 * 3.5 / 40, abs=0.051)
    assert row.high == pytest.approx(0.5 + 2.5 / 40, abs=0.026)
    row = pairs(scored("a", A), scored("b", B), n_bootstrap=20_000).iloc[0]
    gain, label = A.astype(int) - B, np.arange(100) % 2
    error = math.sqrt(sum(gain[label == k].var() * 50 for k in (0, 1))) / 100
    assert row.high - row.low == pytest.approx(2 * 1.96 * error, abs=0.011)  # a galaxy is 0.01


@pytest.mark.parametrize(("same", "common"), [(False, 0.0), (True, 1.0)])
def test_seeds_with_the_same_galaxies_count_for_less(same, common):
    rights = [np.roll(A, 0), A, np.r_[A[:99], True], np.r_[False, A[1:]]]
    found = significance.difference(
        [scored(*own, seed=i, common=same) for own in (("a", right), ("b", B))]
        for i, right in enumerate(rights)
    )
    gains = np.array([9, 9, 10, 8]) / 100
    counts = [(12.5, 3.5), (12.5, 3.5), (13.5, 3.5), (11.5, 3.5)]
    v = np.mean([((w + k) / 102 - ((w - k) / 102) ** 2) / 102 for w, k in counts])
    own, shared = max(gains.var(ddof=1), (1 - common) * v) / 4, common * v
    freedom = 3 * ((own + shared) / own) ** 2
    low, high = stats.t.interval(0.95, freedom, loc=0.09, scale=math.sqrt(own + shared))
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    assert found["p"] == pytest.approx(2 * stats.t.sf(0.09 / math.sqrt(own + shared), freedom))
    assert found["test"] == "t over seeds" and found["seeds"] == 4


@pytest.mark.long
def test_intervals_cover_a_known_difference():
    """Galaxies anew in each of 300 test sets of 200; a is better by 0.05."""
    rng, covered, alarms = np.random.default_rng(1), 0, 0

    def right(name, label, which):
        taken = np.where(which, label, (label + 1) % 3)
        return entry(name, 0, predicted(g(range(200)), np.array(NAMES)[label], np.eye(3)[taken]))

    for _ in range(300):
        label = rng.integers(0, 3, 200)
        kind = rng.choice(3, p=[0.15, 0.10, 0.75], size=200)
        one, other = right("a", label, kind == 0), right("b", label, kind == 1)
        same = right("c", label, rng.permutation(kind == 0))
        found = significance.difference([(one, other)], n_bootstrap=500)
        covered += found["low"] <= 0.05 <= found["high"]
        alarms += significance.difference([(one, same)], n_bootstrap=1)["p"] < 0.05
    assert 0.91 < covered / 300 < 0.98
    assert alarms / 300 < 0.07


def test_holm_is_applied_within_a_budget():
    three = {"a": A, "b": B, "c": A}
    entries = [scored(step, right, n_labels=50) for step, right in three.items()]
    entries += [scored(step, right) for step, right in list(three.items())[:2]]
    table = pairs(*entries)
    assert list(zip(table.a, table.b, table.n_labels.fillna(-1), strict=True)) == [
        ("a", "b", 50),
        ("a", "c", 50),
        ("b", "c", 50),
        ("a", "b", -1),
    ]
    p = 0.03515625
    assert list(table.p_holm) == pytest.approx([3 * p, 1, 3 * p, p])
    assert list(table.resolved) == [False, False, False, True]
    assert (
        table.resolvable[0] == 0.11 and table.resolvable[1] == 0.07
    )  # 13 to 2 (p = 0.0074); 7 to 0 (p = 0.0156)
    assert list(pairs(entry("a"), scored("b", A)).columns) == list(table.columns)


def test_groups_that_cannot_be_told_apart():
    def table(resolved, methods="abcd"):
        rows = [(a, b, a + b in resolved) for i, a in enumerate(methods) for b in methods[i + 1 :]]
        return pd.DataFrame(rows, columns=["a", "b", "resolved"]).assign(n_labels=50)

    assert significance.cliques(table([])) == [tuple("abcd")]
    assert significance.cliques(table(["ad"])) == [tuple("abc"), tuple("bcd")]
    assert significance.cliques(table(["ab", "ac", "ad"])) == [("a",), tuple("bcd")]
    assert significance.cliques(table(["ab", "cd", "ad"])) == [("a", "c"), ("b", "c"), ("b", "d")]
    assert significance.cliques(table([])[:0]) == []
    with pytest.raises(ValueError, match="pairs of 2 budgets"):
        significance.cliques(pd.concat([table([]), table([]).assign(n_labels=100)]))


@pytest.mark.parametrize(("a", "b"), [([1], [0]), ([1], [1]), ([1] * 5, [0] * 5)])
def test_few_galaxies_tell_nothing_apart(a, b):
    """One galaxy that a alone gets right is no proof; nor are five (McNemar: p = 0.06)."""
    row = pairs(scored("a", np.array(a) > 0), scored("b", np.array(b) > 0)).iloc[0]
    assert row.low < row.difference or row.difference < row.high
    assert row.low <= 0 <= row.high and not row.resolved
    assert row.p_better < 0.99 and (len(a) > 1 or row.p_better == pytest.approx(0.5, abs=0.03))


def test_methods_that_agree_on_every_galaxy_may_still_differ():
    for n in (1, 12, 100):
        row = pairs(scored("a", rights(n, n)), scored("b", rights(n, n))).iloc[0]
        assert (row.difference, row.p) == (0, 1) and row.low < 0 < row.high
        assert row.high >= min(2.5 / n, 0.9) and row.p_better == pytest.approx(0.5, abs=0.03)


def test_there_is_no_difference_between_fewer_galaxies_than_a_verdict_takes():
    """All right against all wrong: McNemar's p is 0.001 for 11 galaxies."""
    for n, resolved in ((significance.LEAST - 1, False), (significance.LEAST, True)):
        row = pairs(scored("a", rights(n, n)), scored("b", rights(n, 0))).iloc[0]
        assert row.p < 0.002 and row.resolved == resolved
    half = rights(significance.LEAST, significance.LEAST // 2)  # a difference of 0.5
    assert pairs(scored("a", half), scored("b", rights(12, 0))).iloc[0].p < 0.05
    assert pairs(scored("a", half[1:]), scored("b", rights(11, 0))).iloc[0].p > 0.05


def test_the_smallest_resolved_difference_of_folds_is_that_of_all_galaxies():
    """Five folds of 100 galaxies each, in which a alone is right about 12 or 13, b alone about 2 or
    3: as for one test set of 500, but for the half galaxies that are added in each fold."""
    entries = []
    for seed, (won, lost) in enumerate([(12, 3), (13, 3), (12, 2), (11, 3), (12, 4)]):
        both = [True] * 60
        rest = [False] * (40 - won - lost)
        for name, own in (
            ("a", [True] * won + [False] * lost),
            ("b", [False] * won + [True] * lost),
        ):
            entries.append(scored(name, np.array(own + both + rest), seed=seed))
    row = pairs(*entries).iloc[0]
    assert row.difference == pytest.approx(45 / 500) and row.resolved
    error = math.sqrt((75 / 500 - 0.09**2) / 500)
    assert row.resolvable == pytest.approx(1.96 * error, rel=0.03)
    assert row.high - row.low == pytest.approx(2 * 1.96 * error, rel=0.03)
