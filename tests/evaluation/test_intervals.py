"""Statistics against cases worked by hand, scipy, and simulated runs. Takes about 5 s."""

import math

import numpy as np
import pytest
from scipy import stats

from galaxymorph.evaluation import intervals


def test_with_random_splits_the_variance_is_that_of_nadeau_and_bengio():
    """300 runs of 5 seeds: each tests 250 of 1,000 galaxies, which differ in how hard they are for
    the two. The truth is the spread of the mean difference between runs; the corrected variance is
    theirs; the plain one is far too small."""
    rng = np.random.default_rng(0)
    means, ours, plain, corrected = [], [], [], []
    for _ in range(300):
        gain = rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.75, 0.15], size=1000)
        ids = [rng.permutation(1000)[:250] for _ in range(5)]
        gains = [float(gain[each].mean()) for each in ids]
        variances = [intervals.variance_of_mean(gain[each]) for each in ids]
        found = intervals.over_seeds(gains, variances, intervals.share_in_common(ids))
        means.append(found.value)
        ours.append(found.error**2)
        plain.append(np.var(gains, ddof=1) / 5)
        corrected.append(np.var(gains, ddof=1) * (1 / 5 + 250 / 750))
    assert np.mean(ours) == pytest.approx(np.mean(corrected), rel=0.15)
    assert np.var(means) == pytest.approx(np.mean(ours), rel=0.25)
    assert np.mean(plain) < 0.5 * np.var(means)


def test_seeds_with_nothing_in_common_have_the_t_interval():
    values = [0.7, 0.8, 0.9]
    found = intervals.over_seeds(values, [1e-6] * 3, 0.0)
    expected = stats.ttest_1samp(values, 0)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval(most=0.85)[1] == 0.85


def test_one_seed_has_the_variance_of_its_galaxies():
    right = np.arange(50) < 40.0
    found = intervals.over_seeds([0.8], [intervals.variance_of_mean(right.astype(float))], 1.0)
    assert found.error == pytest.approx(math.sqrt(0.8 * 0.2 / 50))
    assert found.margin() == pytest.approx(stats.norm.ppf(0.975) * found.error)


def test_what_does_not_vary_proves_nothing():
    """Such as the RMSE of one galaxy, or the same value for every seed: the error is unknown."""
    for value in (0.1, 0.0):
        found = intervals.over_seeds([value] * 3, [0.0] * 3, 1.0)
        assert found.p == 1 and all(map(math.isnan, (found.margin(), *found.interval(0.0, 1.0))))


def test_galaxies_that_are_all_right_have_a_variance_when_half_a_galaxy_is_added():
    ones = np.ones(10)
    assert intervals.variance_of_mean(ones) == 0
    p = 11 / 12
    added = intervals.variance_of_mean(ones, intervals.HALVES)
    assert added == pytest.approx(p * (1 - p) / 12)


def test_the_share_of_common_galaxies():
    a, b, c = np.array(["a", "b"]), np.array(["b", "c"]), np.array(["d"])
    assert intervals.share_in_common([a]) == 1
    assert intervals.share_in_common([a, b]) == 0.5
    assert intervals.share_in_common([a, b, c]) == pytest.approx(1 / 6)


def test_the_share_right_of_one_seed_has_wilson_s_interval():
    right, ids = [np.array([1.0, 1.0, 0.0])], [np.array(["a", "b", "c"])]
    assert intervals.share_right(right, ids) == (2 / 3, *intervals.wilson(2, 3))
    expected = stats.binomtest(2, 3).proportion_ci(method="wilson")
    assert intervals.wilson(2, 3) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert all(math.isnan(end) for end in intervals.wilson(0, 0))


def test_holm_by_hand():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    assert list(intervals.holm(p)) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert list(intervals.holm(np.array([0.5, 0.6]))) == [1, 1]
    assert list(intervals.holm(np.array([]))) == []


def test_draws_keep_the_strata():
    strata = np.array([0, 1, 0, 2, 1, 0])
    drawn = np.concatenate(list(intervals.draws(6, n_bootstrap=40, seed=0, strata=strata)))
    assert drawn.shape == (40, 6)
    for k, count in enumerate((3, 2, 1)):
        assert (drawn[:, strata == k].sum(1) == count).all()
    assert (drawn[:, 3] == 1).all() and drawn[:, 0].std() > 0


def test_draws_are_the_same_in_blocks(monkeypatch):
    whole = np.concatenate(list(intervals.draws(50, n_bootstrap=30, seed=1)))
    monkeypatch.setattr(intervals, "BLOCK", 200)
    blocks = list(intervals.draws(50, n_bootstrap=30, seed=1))
    assert len(blocks) == 8 and (np.concatenate(blocks) == whole).all()


def test_means_of_the_bootstrap_vary_as_they_should():
    values = np.random.default_rng(0).normal(size=(200, 2))
    drawn = intervals.bootstrap_means(values, n_bootstrap=2000, seed=0)
    assert drawn.std(0) == pytest.approx(values.std(0) / math.sqrt(200), rel=0.06)
    assert intervals.bootstrap_means(values, n_bootstrap=0, seed=0).shape == (0, 2)


def test_percentiles_ignore_draws_without_a_value():
    drawn = np.array([[0.0, math.nan, math.nan], [1.0, 3.0, math.nan], [1.0, 1.0, math.nan]])
    low, high = intervals.percentiles(drawn)
    assert (low[:2], high[:2]) == (pytest.approx([0.05, 1.05]), pytest.approx([1, 2.95]))
    assert math.isnan(low[2]) and np.isnan(intervals.percentiles(np.empty((0, 3)))).all()


def test_an_interval_without_width_is_unknown():
    drawn = np.array([[1.0, 0.0], [1.0, 1.0]])
    low, high = intervals.percentiles(drawn)
    assert np.isnan([low[0], high[0]]).all() and low[1] < high[1]


def test_what_never_occurred_follows_the_rule_of_three():
    """Hanley & Lippman-Hand (1983): no event among n, so at most 3 / n with 95 % confidence."""
    for n in (30, 100, 1000):
        options = {"least": 0.0, "n_bootstrap": 20_000, "seed": 0}
        drawn = 1 + intervals.unseen(np.ones(n), np.zeros(n, int), **options)
        assert np.percentile(drawn, [2.5, 97.5]) == pytest.approx([1 - 3 / n, 1])
    mixed = intervals.unseen(np.array([0.0, 1.0]), np.array([0, 0]), **options)
    assert not mixed.any()
    both = intervals.unseen(np.zeros(10), np.zeros(10, int), **options | {"least": -1.0})
    assert both.mean() == pytest.approx(0, abs=0.005) and both.min() < 0 < both.max()


def test_a_loss_of_few_galaxies_has_no_interval():
    n, values = intervals.FEWEST - 1, np.linspace(0.1, 0.9, intervals.FEWEST)
    for size in (1, n, n + 1):

        def mean(weights, size=size):
            return (weights @ values[:size] / size)[:, None]

        found = intervals.estimated(mean, size, n_bootstrap=50, seed=0)
        assert np.isnan([found["low"], found["high"]]).all() == (size <= n)


def test_ends_of_draws_are_as_wide_as_student_s_interval():
    """Of the mean of 8 normal values, whose draws are normal with variance (n - 1) / n s^2 / n."""
    rng, n = np.random.default_rng(0), 8
    values = rng.normal(size=n)
    drawn = rng.normal(values.mean(), values.std() / math.sqrt(n), 400_000)
    expected = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    assert intervals.percentiles(drawn, intervals.tail(n)) == pytest.approx(expected, abs=0.02)
    assert intervals.tail(10**6) == pytest.approx(0.025, abs=1e-5) and intervals.tail(1) == 0


def folds_of(gain, seeds, rng, *, training=0.0):
    """Galaxies' gains by fold, five disjoint folds a draw, and their rows. Each training moves the
    gain of a fold as a whole."""
    for seed in range(seeds):
        if seed % 5 == 0:
            order = rng.permutation(len(gain))
        rows = order[seed % 5 :: 5]
        yield gain[rows] + rng.normal(0, training), rows


@pytest.mark.parametrize("seeds", [5, 10])
def test_folds_have_the_variance_of_the_mean_over_all_galaxies(seeds):
    """However often the folds are drawn anew, as if one seed had tested all galaxies."""
    gain = np.random.default_rng(seeds).choice([-1.0, 0.0, 1.0], p=[0.05, 0.8, 0.15], size=1000)
    draws = ([*folds_of(gain, seeds, np.random.default_rng(seed))] for seed in range(9))
    drawn = min(draws, key=lambda each: np.var([values.mean() for values, _ in each]))
    values, rows = zip(*drawn, strict=True)
    gains = [float(each.mean()) for each in values]
    common = intervals.share_in_common(rows)
    assert common == pytest.approx(0 if seeds == 5 else 25 * 0.2 / 45)
    variances = [intervals.variance_of_mean(each) for each in values]
    found = intervals.over_seeds(gains, variances, common)
    assert np.var(gains, ddof=1) < np.mean(variances)  # nothing but the galaxies varies here
    assert found.value == pytest.approx(gain.mean())
    assert found.error**2 == pytest.approx(gain.var() / 1000, rel=0.01)
    if seeds == 5:
        assert found.margin() == pytest.approx(1.96 * gain.std() / math.sqrt(1000), rel=0.01)


@pytest.mark.long
@pytest.mark.parametrize("training", [0.0, 0.01, 0.03, 0.1])
@pytest.mark.parametrize("seeds", [5, 10])
def test_intervals_of_folds_cover_the_truth_however_much_training_varies(seeds, training):
    """1,000 runs with 500 galaxies: a fold's standard error is 0.044 by its galaxies."""
    rng, covered, p = np.random.default_rng(seeds), 0, [0.05, 0.8, 0.15]
    for _ in range(1000):
        gain = rng.choice([-1.0, 0.0, 1.0], p=p, size=500)
        values, rows = zip(*folds_of(gain, seeds, rng, training=training), strict=True)
        variances = [intervals.variance_of_mean(each) for each in values]
        gains = [float(each.mean()) for each in values]
        found = intervals.over_seeds(gains, variances, intervals.share_in_common(rows))
        low, high = found.interval()
        covered += low <= 0.1 <= high
    assert 930 <= covered <= 985


def test_few_folds_or_shared_galaxies_keep_the_degrees_of_freedom_of_their_seeds():
    """Four values that happen to agree do not show that trainings do."""
    for n, common, freedom in ((4, 0.0, 3), (5, 0.0, math.inf), (5, 0.1, 4 * (0.28 / 0.18) ** 2)):
        values, v = np.linspace(0.80, 0.81, n).tolist(), 0.001
        found = intervals.over_seeds(values, [v] * n, common)
        own = (1 - common) * v / n
        assert found.error**2 == pytest.approx(own + common * v)
        assert found.freedom == pytest.approx(freedom)
    spread = intervals.over_seeds([0.7, 0.75, 0.8, 0.85, 0.9], [0.001] * 5, 0.0)
    assert spread.freedom == 4 and spread.error**2 == pytest.approx(0.00625 / 5)
