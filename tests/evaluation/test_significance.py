"""Pairs of methods against cases worked by hand, scipy, and simulated runs whose difference is
known. Takes about 10 s."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from galaxymorph.evaluation import significance
from galaxymorph.evaluation.intervals import holm
from tests.evaluation.test_pretraining_gain import missing, piece

# of 100 galaxies 12 are right by a alone, 3 by b alone, 65 by both
A = np.array([True] * 12 + [False] * 3 + [True] * 65 + [False] * 20)
B = np.array([False] * 12 + [True] * 3 + [True] * 65 + [False] * 20)


def named_alike(pieces):
    """The same, but tested on the same galaxies with every seed."""
    return [
        p
        | {
            "predictions": p["predictions"].assign(
                id=[f"g{i}" for i in range(len(p["predictions"]))]
            )
        }
        for p in pieces
    ]


def test_one_seed_is_mcnemar_s_test():
    row = significance.pairs(
        [piece("a", A), piece("b", B), missing("c"), piece("majority", B)]
    ).iloc[0]
    p = 2 * sum(math.comb(15, k) for k in range(4)) / 2**15
    assert (row.a, row.b, row.seeds, row.n_test, row.test) == ("a", "b", 1, 100, "McNemar")
    assert (row.accuracy_a, row.accuracy_b, row.difference) == pytest.approx((0.77, 0.68, 0.09))
    assert (row.p, row.p_holm) == pytest.approx((p, p)) == (0.03515625, 0.03515625)
    assert row.resolved
    assert row.resolvable == 0.09  # of 15, 12 to 3 is the least (11 to 4: p = 0.12)
    assert row.p_better > 0.97
    swapped = significance.pairs([piece("b", B), piece("a", A)]).iloc[0]
    assert (swapped.difference, swapped.p) == (-row.difference, row.p)
    assert swapped.p_better == pytest.approx(1 - row.p_better, abs=0.01)


def test_the_bootstrap_keeps_the_classes():
    """All galaxies of one class are right by a alone, none of the other: nothing is left to
    chance."""
    ours, theirs = np.arange(40) % 2 == 0, np.zeros(40, bool)
    row = significance.pairs([piece("a", ours), piece("b", theirs)]).iloc[0]
    assert (row.low, row.difference, row.high, row.p_better) == (0.5, 0.5, 0.5, 1)
    row = significance.pairs([piece("a", A), piece("b", B)], n_bootstrap=20_000).iloc[0]
    gain, label = A.astype(int) - B, np.arange(100) % 2
    error = math.sqrt(sum(gain[label == k].var() * 50 for k in (0, 1))) / 100
    assert row.high - row.low == pytest.approx(2 * 1.96 * error, abs=0.011)  # a galaxy is 0.01


@pytest.mark.parametrize(("same", "common"), [(False, 0.0), (True, 1.0)])
def test_seeds_with_the_same_galaxies_count_for_less(same, common):
    rights = [np.roll(A, 0), A, np.r_[A[:99], True], np.r_[False, A[1:]]]
    both = [
        named_alike(group) if same else group
        for group in (
            [piece("a", right, seed=i) for i, right in enumerate(rights)],
            [piece("b", B, seed=i) for i in range(4)],
        )
    ]
    found = significance.difference(*both)
    gains = np.array([9, 9, 10, 8]) / 100
    counts = [(12.5, 3.5), (12.5, 3.5), (13.5, 3.5), (11.5, 3.5)]
    v = np.mean([((w + k) / 102 - ((w - k) / 102) ** 2) / 102 for w, k in counts])
    own, shared = max(gains.var(ddof=1), (1 - common) * v) / 4, common * v
    freedom = 3 * ((own + shared) / own) ** 2
    low, high = stats.t.interval(0.95, freedom, loc=0.09, scale=math.sqrt(own + shared))
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    assert found["p"] == pytest.approx(2 * stats.t.sf(0.09 / math.sqrt(own + shared), freedom))
    assert found["test"] == "t over seeds" and found["seeds"] == 4


def test_with_random_splits_the_variance_is_that_of_nadeau_and_bengio():
    """300 runs of 5 seeds: each tests 250 of 1,000 galaxies, which differ in how hard they are for
    the two. The truth is the spread of the mean difference between runs; the corrected variance is
    theirs; the plain one is far too small."""
    rng = np.random.default_rng(0)
    means, ours, plain, corrected = [], [], [], []
    for _ in range(300):
        gain = rng.choice([-1, 0, 1], p=[0.1, 0.75, 0.15], size=1000)
        both = []
        for _ in range(5):
            ids = rng.permutation(1000)[:250]
            both.append(
                pd.DataFrame(
                    {"label": "x", "a": (gain[ids] > 0) * 1, "b": (gain[ids] < 0) * 1}, index=ids
                )
            )
        gains = [(each.a - each.b).mean() for each in both]
        mean, error, _ = significance._spread(both)
        means.append(mean)
        ours.append(error**2)
        plain.append(np.var(gains, ddof=1) / 5)
        corrected.append(np.var(gains, ddof=1) * (1 / 5 + 250 / 750))
    assert np.mean(ours) == pytest.approx(np.mean(corrected), rel=0.15)
    assert np.var(means) == pytest.approx(np.mean(ours), rel=0.25)
    assert np.mean(plain) < 0.5 * np.var(means)


def test_intervals_cover_a_known_difference():
    """Galaxies anew in each of 300 test sets of 200; a is better by 0.05."""
    rng, covered, alarms = np.random.default_rng(1), 0, 0
    for _ in range(300):
        label = rng.integers(0, 3, 200)
        kind = rng.choice(3, p=[0.15, 0.10, 0.75], size=200)
        both = pd.DataFrame({"label": label, "a": (kind == 0) * 1, "b": (kind == 1) * 1})
        found = significance._difference([both], n_bootstrap=500, seed=0)
        covered += found["low"] <= 0.05 <= found["high"]
        none = pd.DataFrame(
            {"label": label, "a": (kind == 0) * 1, "b": rng.permutation((kind == 0) * 1)}
        )
        alarms += significance._difference([none], n_bootstrap=1, seed=0)["p"] < 0.05
    assert 0.91 < covered / 300 < 0.98
    assert alarms / 300 < 0.07


def test_holm_by_hand():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    assert list(holm(p)) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert list(holm(np.array([0.5, 0.6]))) == [1, 1]
    assert list(holm(np.array([]))) == []


def test_holm_is_applied_within_a_budget():
    three = {"a": A, "b": B, "c": A}
    pieces = [piece(step, right, n_labels=50) for step, right in three.items()]
    pieces += [piece(step, right) for step, right in list(three.items())[:2]]
    table = significance.pairs(pieces)
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
    assert list(significance.pairs([missing("a"), piece("b", A)]).columns) == list(table.columns)


def test_groups_that_cannot_be_told_apart():
    def table(resolved, methods="abcd"):
        rows = [(a, b, a + b in resolved) for i, a in enumerate(methods) for b in methods[i + 1 :]]
        return pd.DataFrame(rows, columns=["a", "b", "resolved"]).assign(n_labels=50)

    assert significance.cliques(table([])) == [tuple("abcd")]
    assert significance.cliques(table(["ad"])) == [tuple("abc"), tuple("bcd")]
    assert significance.cliques(table(["ab", "ac", "ad"])) == [("a",), tuple("bcd")]
    assert significance.cliques(table(["ab", "cd", "ad"])) == [("a", "c"), ("b", "c"), ("b", "d")]
    assert significance.cliques(table([])[:0]) == []
    with pytest.raises(ValueError, match="pairs with 2 numbers of labels"):
        significance.cliques(pd.concat([table([]), table([]).assign(n_labels=100)]))


def test_faults_are_named():
    with pytest.raises(ValueError, match="a: seed 0 is there twice with all labels"):
        significance.pairs([piece("a", A), piece("a", A)])
    with pytest.raises(
        ValueError, match=r"a, seed 0: tested on 100 galaxies, of which 99 are among the 99 of b"
    ):
        significance.pairs([piece("a", A), piece("b", B[:99])])
    faulty = piece("a", A)
    with pytest.raises(ValueError, match="a, all labels, seed 0: p_<class> are no probabilities"):
        significance.pairs([faulty | {"predictions": faulty["predictions"].assign(p_round=2.0)}])
