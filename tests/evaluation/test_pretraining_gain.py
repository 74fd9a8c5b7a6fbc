"""Pre-trained encoders against random ones, on tables whose answer is known. Takes about 3 s."""

import math

import numpy as np
import pytest
from scipy import stats

from galaxymorph.evaluation import pretraining_gain
from galaxymorph.evaluation.entries import Entries
from tests.evaluation.made import changed, entry, rights, scored


def pair(ours, theirs, *, seed=0, n_labels=None, row="dnn"):
    return [
        scored(f"moco {row}", ours, seed=seed, n_labels=n_labels),
        scored(f"moco random_{row}", theirs, seed=seed, n_labels=n_labels),
    ]


def differences(entries, **more):
    return pretraining_gain.differences(Entries(entries), **more)


def sentences(entries, **more):
    return pretraining_gain.sentences(differences(entries, **more))


def test_seeds_are_paired():
    """The t-interval is that of scipy's paired test; unpaired, seeds that are easy or hard for both
    would drown it."""
    ours, theirs = [180, 120, 80, 150], [165, 95, 62, 128]  # their seeds have no galaxy in common
    entries = [
        p
        for seed in range(4)
        for p in pair(rights(200, ours[seed]), rights(200, theirs[seed]), seed=seed)
    ]
    row = differences(entries[::-1]).iloc[0]  # whichever order the seeds come in
    test = stats.ttest_rel(np.array(ours) / 200, np.array(theirs) / 200)
    interval = test.confidence_interval(0.95)
    assert (row.accuracy, row.control, row.difference) == pytest.approx(
        (530 / 800, 450 / 800, 80 / 800)
    )
    assert (row.low, row.high) == pytest.approx((interval.low, interval.high))
    assert (row.interval, row.seeds, row.missing, row.n_test) == ("t over seeds", 4, 0, 200)
    assert stats.ttest_ind(ours, theirs).pvalue > 0.4 > 0.05 > test.pvalue
    assert sentences(entries) == [
        "moco dnn, all labels: pre-training helped, compared with an untrained encoder, "
        "0.662 against 0.562 "
        f"(difference +0.100, 95 % interval {interval.low:+.3f} to {interval.high:+.3f}, 4 seeds, "
        "200 test galaxies each)."
    ]


def test_one_seed_is_resampled_in_pairs():
    """Of 200 galaxies 30 are right by the method alone, 10 by its control alone. Resampled galaxy
    by galaxy here; the standard error of the mean of the differences in closed form."""
    ours = [True] * 130 + [False] * 70
    theirs = [False] * 30 + [True] * 110 + [False] * 60
    row = differences(pair(ours, theirs)).iloc[0]
    assert (row.accuracy, row.control, row.interval, row.seeds) == (
        0.65,
        0.55,
        "bootstrap over galaxies",
        1,
    )
    gain = np.array(ours, dtype=float) - np.array(theirs, dtype=float)
    draws = gain[np.random.default_rng(1).integers(0, 200, (20_000, 200))].mean(1)
    assert [row.low, row.high] == pytest.approx(
        np.percentile(draws, [2.5, 97.5]), abs=0.0051
    )  # one galaxy is 0.005
    assert row.high - row.low == pytest.approx(2 * 1.96 * gain.std() / math.sqrt(200), rel=0.08)
    again = differences(pair(ours, theirs)).iloc[0]
    assert (again.low, again.high) == (row.low, row.high)
    same = differences(pair(ours[::-1], theirs[::-1])).iloc[0]
    assert (same.low, same.high) == (
        row.low,
        row.high,
    )  # counts decide, not the order of the galaxies


def test_galaxies_are_paired_by_id_and_not_by_row():
    ours, theirs = pair(rights(40, 20), rights(40, 20))
    shuffled = changed(theirs.predictions, lambda t: t.sample(frac=1, random_state=0))
    row = differences([ours, entry(theirs.method, 0, shuffled)]).iloc[0]
    assert row.difference == 0  # right about the very same galaxies
    assert -0.2 < row.low < 0 < row.high < 0.2  # which 40 galaxies cannot prove of others


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        (
            rights(100, 80),
            rights(100, 60),
            "pre-training helped, compared with an untrained encoder, 0.800 against 0.600 ",
        ),
        (
            rights(100, 60),
            rights(100, 80),
            "pre-training gave no improvement over an untrained encoder, 0.600 against 0.800",
        ),
        (
            rights(100, 70),
            rights(100, 70),
            "pre-training gave no improvement over an untrained encoder, 0.700 against 0.700",
        ),
        (
            rights(100, 71),
            rights(100, 70),
            "pre-training made no significant difference, compared with an untrained encoder, "
            "0.710 against 0.700",
        ),
        (
            rights(100, 70)[::-1],
            rights(100, 71),
            "pre-training gave no improvement over an untrained encoder, 0.700 against 0.710",
        ),
    ],
)
def test_verdicts(ours, theirs, verdict):
    (said,) = sentences(pair(ours, theirs, n_labels=1000))
    assert said.startswith(f"moco dnn, 1,000 labels: {verdict}")
    assert said.endswith(", one seed, 100 test galaxies).")


def test_seeds_that_differ_by_the_same_are_no_proof():
    """Else two seeds with equal gains would have an interval of no width."""
    row = differences([p for seed in range(2) for p in pair(*BOTH, seed=seed)]).iloc[0]
    won, lost, n = 100.5, 50.5, 402  # with half a galaxy in each of the four cells
    error = math.sqrt(((won + lost) / n - ((won - lost) / n) ** 2) / n / 2)
    assert (row.difference, row.seeds, row.interval) == (0.125, 2, "t over seeds")
    assert row.high - 0.125 == pytest.approx(stats.t.ppf(0.975, 1) * error)


BOTH = [True] * 250 + [False] * 150, [False] * 100 + [True] * 200 + [False] * 100


def test_each_method_and_budget_has_its_own_control():
    """Settings are part of the method; a method without a control, and a control itself, are not
    judged."""
    entries = [
        *pair(rights(9, 9), rights(9, 0), n_labels=50),
        *pair(rights(9, 0), rights(9, 9), n_labels=100),
        *pair(rights(9, 9), rights(9, 0), row="linear"),
        *(
            scored(f"moco {row} zoom=0.1", rights(9, right))
            for row, right in (("dnn", 6), ("random_dnn", 3))
        ),
        scored("moco knn", rights(9, 9)),
        scored("moco dnn zoom=0.2", rights(9, 9)),
        scored("cae random_dnn", rights(9, 9)),
        scored("resnet18", rights(9, 9)),
        scored("resnet18 zoom=0.1", rights(9, 9)),
    ]
    table = differences(entries)
    assert list(
        zip(
            table.method,
            table.n_labels.astype(object).where(table.n_labels.notna(), None),
            strict=True,
        )
    ) == [
        ("moco dnn", 50),
        ("moco dnn", 100),
        ("moco linear", None),
        ("moco dnn zoom=0.1", None),
    ]
    assert table.difference.tolist() == pytest.approx([1, -1, 1, 1 / 3])
    assert sentences(entries[-5:]) == []
    assert list(differences([]).columns) == list(table.columns)


def test_only_seeds_with_both_count():
    full = pair(rights(20, 15), rights(20, 10), seed=0) + pair(
        rights(20, 16), rights(20, 10), seed=1
    )
    half = [
        scored("moco dnn", rights(20, 0), seed=2),
        entry("moco random_dnn", 2),
        scored("moco dnn", rights(20, 0), seed=3),
    ]
    row = differences(full + half).iloc[0]
    assert (row.seeds, row.missing, row.accuracy) == (2, 2, 31 / 40)
    (said,) = sentences(full + half)
    assert said.endswith(", 2 seeds, 20 test galaxies each; 2 of 4 seeds missing).")
    (said,) = sentences(half)
    unknown = "no seed has results for both the method and an untrained encoder yet."
    assert said == f"moco dnn, all labels: {unknown}"


def test_a_control_can_be_named():
    entries = [
        scored("tuned", rights(100, 80), n_labels=50),
        scored("plain", rights(100, 60), n_labels=50),
    ]
    assert sentences(entries) == []
    (said,) = sentences(entries, against={"tuned": "plain"})
    assert said.startswith(
        "tuned, 50 labels: pre-training helped, compared with plain, 0.800 against 0.600"
    )
    (said,) = sentences(entries, against={"plain": "tuned"})
    assert said.startswith(
        "plain, 50 labels: pre-training gave no improvement over tuned, 0.600 against 0.800"
    )
