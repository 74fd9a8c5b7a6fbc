"""Calibration of tables whose answer is known, by hand or because they were drawn from it. Takes
about 10 s."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from galaxymorph.evaluation import calibration
from galaxymorph.evaluation.entries import Entries
from tests.evaluation.made import NAMES, changed, drawn, entry, joined, sample, table, two


def test_reliability_by_hand():
    found = calibration.reliability(
        two([0.95, 0.6, 0.6, 0.9, 0.6, 0.8], [1, 0, 1, 1, 0, 1]), bins=2
    )
    assert list(found.n) == [3, 3]  # the three of 0.6 are equals
    assert list(found.confidence) == pytest.approx([0.6, (0.8 + 0.9 + 0.95) / 3])
    assert list(found.accuracy) == pytest.approx([1 / 3, 1])
    assert list(found.low) + list(found.high) == [0.6, 0.8, 0.6, 0.95]
    z, n, k = stats.norm.ppf(0.975), 3, 1
    middle, half = (
        (k + z**2 / 2) / (n + z**2),
        z / (n + z**2) * math.sqrt(k * (n - k) / n + z**2 / 4),
    )
    assert (found.accuracy_low[0], found.accuracy_high[0]) == pytest.approx(
        (middle - half, middle + half)
    )
    assert (found.accuracy_high[1], found.accuracy_low[1]) == pytest.approx((1, 3 / (3 + z**2)))


def test_equals_are_never_parted():
    found = calibration.reliability(two([0.7] * 30 + [0.9] * 4, [1] * 34))
    assert list(found.n) == [30, 4]
    shuffled = changed(drawn(101, seed=0), lambda t: t.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(
        calibration.reliability(shuffled), calibration.reliability(drawn(101, seed=0))
    )
    assert set(calibration.reliability(drawn(1000, seed=0)).n) == {100}


def test_calibration_error_by_hand():
    found = calibration.calibration_error(
        two([0.6] * 4 + [0.9] * 4, [0, 0, 0, 1, 1, 1, 1, 1]), bins=2, n_bootstrap=0
    )
    assert found["error"] == pytest.approx((abs(0.25 - 0.6) + abs(1 - 0.9)) / 2)
    assert found["n"] == 8 and math.isnan(found["low"])


def test_the_calibration_error_of_calibrated_galaxies_is_that_by_chance():
    """The mean over 200 tables; of ten bins of 20 galaxies each about sqrt(2 / pi) standard
    errors."""
    tables = [drawn(200, seed=seed) for seed in range(200)]
    mean = np.mean([calibration.calibration_error(t, n_bootstrap=0)["error"] for t in tables])
    found = calibration.calibration_error(tables[0], n_bootstrap=300)
    assert found["by_chance"] == pytest.approx(mean, rel=0.08)
    p = tables[0].p[:, 0].clip(0.5)
    assert mean == pytest.approx(
        math.sqrt(2 / math.pi) * math.sqrt((p * (1 - p)).mean() / 20), rel=0.1
    )


@pytest.mark.long
def test_intervals_of_the_calibration_error_cover_a_known_one():
    """All are given 0.9 and 0.75 of them are right: the error is 0.15."""
    rng, covered = np.random.default_rng(0), 0
    for _ in range(100):
        found = calibration.calibration_error(
            two([0.9] * 200, rng.random(200) < 0.75), n_bootstrap=200
        )
        covered += found["low"] <= 0.15 <= found["high"]
    assert covered >= 89
    calibrated = [
        calibration.calibration_error(drawn(300, seed=seed), n_bootstrap=100)["low"]
        for seed in range(40)
    ]
    assert np.mean(np.array(calibrated) < 0.03) >= 0.9  # half of what is found by chance alone


@pytest.mark.parametrize("hot", [0.5, 1.0, 2.5])
def test_temperature_finds_back_what_was_done(hot):
    val, test = drawn(20_000, seed=1, split="val", hot=hot), drawn(5000, seed=2, hot=hot)
    both = joined(val, test)
    found = calibration.temperature(both)
    assert found == pytest.approx(hot, rel=0.05)
    after = calibration.tempered(both, found)
    assert after.p[-5000:] == pytest.approx(drawn(5000, seed=2).p, abs=0.02)
    assert calibration.temperature(after) == pytest.approx(1, abs=0.001)
    row = calibration.compare(Entries([entry("cnn", 0, both)])).iloc[0]
    assert row.log_loss_tempered <= row.log_loss + 1e-3
    assert row.error_tempered < 0.03 and (row.error > 0.05) == (hot != 1)


def test_a_temperature_only_comes_from_validation_galaxies():
    val, test = sample(200, seed=3, split="val"), sample(200, seed=4)
    test = changed(test, lambda t: t.assign(id=t.id + "t"))
    other = joined(val, changed(test, lambda t: t.assign(label=NAMES[0])))
    assert calibration.temperature(joined(val, test)) == calibration.temperature(other)
    with pytest.raises(ValueError, match="no labelled galaxy in split 'val'"):
        calibration.temperature(test)
    sure = calibration.temperature(two([0.9] * 20, [1] * 20, split="val"))
    unsure = calibration.temperature(two([0.9] * 20, [0] * 20, split="val"))
    assert sure < 0.1 and unsure > 19  # no temperature is low, or high, enough
    zero = calibration.tempered(table([("round", [1, 0, 0])]), 2.0)
    assert list(zero.p[0]) == pytest.approx([1, 0, 0], abs=1e-7)
    one_class = table([("round", [1.0])] * 3, split="val", names=("round",))
    assert np.isfinite(calibration.temperature(one_class))


def test_risk_and_coverage_by_hand():
    found = calibration.risk_coverage(two([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0]))
    assert list(found.coverage) == [0.25, 0.5, 0.75, 1]
    assert list(found.risk) == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert list(found.confidence) == pytest.approx([0.9, 0.8, 0.7, 0.6])
    ties = calibration.risk_coverage(two([0.8] * 4, [0, 0, 0, 1]))
    assert list(ties.risk) == pytest.approx([0.75] * 4)  # whatever their order
    assert set(calibration.risk_coverage(two([0.8, 0.9], [1, 1])).risk) == {0}
    assert set(calibration.risk_coverage(two([0.8, 0.9], [0, 0])).risk) == {1}


def test_what_can_be_left_to_a_classifier_by_hand():
    """The upper half of 1,200 validation galaxies is right, the lower half wrong."""
    right, confidence = np.arange(1200) >= 600, np.linspace(0.5, 1, 1200)
    test = two([0.4, 0.8, 0.9, 0.95], [0, 0, 1, 1])
    both = joined(two(confidence, right, split="val"), test)
    found = calibration.automatic(both)
    assert (
        found["threshold"] == confidence[600]
    )  # 50 %: 600 galaxies; a bound at 0.05 / 6 takes 477
    assert (found["share"], found["n"], found["test_accuracy"]) == (0.75, 3, pytest.approx(2 / 3))
    interval = stats.binomtest(2, 3).proportion_ci(method="wilson")
    ends = found["test_accuracy_low"], found["test_accuracy_high"]
    assert ends == pytest.approx((interval.low, interval.high))
    flipped = joined(two(confidence, right, split="val"), two([0.4, 0.8, 0.9, 0.95], [0] * 4))
    assert (
        calibration.automatic(flipped)["threshold"] == found["threshold"]
    )  # test galaxies choose nothing


def test_too_few_validation_galaxies_leave_nothing_to_a_classifier():
    test = two([0.9], [1])

    def of(n, right=1):
        return calibration.automatic(joined(two([0.9] * n, [right] * n, split="val"), test))

    assert 0.99**299 < 0.05 < 0.99**298
    assert of(299)["share"] == 1 and of(299)["note"] == ""
    few = of(298)
    assert (few["share"], few["n"], few["needed"]) == (0, 0, 299) and math.isnan(few["threshold"])
    assert few["note"] == "at least 299 validation galaxies are needed, but there are 298"
    assert of(500, right=0)["note"] == "no sample of validation galaxies is accurate enough"
    with pytest.raises(ValueError, match="no labelled galaxy in split 'val'"):
        calibration.automatic(test)
    with pytest.raises(ValueError, match=r"accuracy=1\.0"):
        calibration.automatic(test, accuracy=1.0)


@pytest.mark.long
def test_the_promised_accuracy_is_kept():
    """150 sets of 800 validation galaxies: the true accuracy of those above the threshold is below
    0.85 in no more than 5 %."""
    broken = some = 0
    for seed in range(150):
        both = joined(drawn(800, seed=seed, split="val"), drawn(1, seed=0))
        threshold = calibration.automatic(both, accuracy=0.85)["threshold"]
        some += not math.isnan(threshold)
        broken += (
            threshold + 0.99
        ) / 2 < 0.85  # the confidence is uniform, and the probability of being right
    assert some > 100 and broken <= 0.05 * 150


def test_methods_are_compared_over_their_seeds():
    tests = [drawn(200, seed=9 + i) for i in range(2)]
    seeds = [joined(drawn(400, seed=i, split="val"), test) for i, test in enumerate(tests)]
    entries = [entry("cnn", i, each, n_labels=50) for i, each in enumerate(seeds)]
    entries += [entry("cnn", 2, None, n_labels=50), entry("theirs", 0, tests[0])]
    found = calibration.compare(Entries([*entries, entry("late")]))
    assert list(found.method) == ["cnn", "theirs", "late"] and list(found.seeds) == [2, 1, 0]
    each = [calibration.risk_coverage(t).risk.mean() for t in seeds]
    assert found.area[0] == pytest.approx(np.mean(each))
    expected = np.mean([calibration.temperature(t) for t in seeds])
    assert found.temperature[0] == pytest.approx(expected)
    assert math.isnan(found.temperature[1]) and found.error[1] > 0 and math.isnan(found.area[2])
