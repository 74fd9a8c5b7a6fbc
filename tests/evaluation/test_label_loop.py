"""The simulated loop on points whose classes are known. Some seconds."""

import numpy as np
import pytest

from galaxymorph.evaluation import comparison, equivalent_labels, label_loop, pretraining_gain
from galaxymorph.evaluation.label_loop import Forecast, Round, learn

CLASSES = ("a", "b")


def clouds(n, *, apart=2.0, seed=0, rare=0.5, width=4):
    """Two Gaussian clouds: the best classifier knows only the first coordinate."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < rare).astype(int)
    points = rng.normal(size=(n, width))
    points[:, 0] += apart * (2 * labels - 1)
    return points, labels


def ids(n, start="g"):
    return np.array([f"{start}{k}" for k in range(n)], object)


def rounds_of(rule, *, seed=0, answered=None, **options):
    points, labels = clouds(260, apart=1.0, seed=seed)
    options = {"n": 10, "most": 60} | options
    given = labels[:200] if answered is None else answered
    how = {"rule": rule, "classes": CLASSES, "seed": seed}
    tested = {seed: (ids(60, "t"), labels[200:])}
    of = (ids(200), points[:200], given, points[200:])
    return list(label_loop.simulate(*of, **how, **options)), tested


def test_learning_finds_the_clouds_and_predicts_its_own_galaxies_out_of_fold():
    points, labels = clouds(300)
    learned = learn(points, labels, n_classes=2)
    other, true = clouds(2000, seed=1)
    best = 0.977  # the normal distribution at 2 standard deviations
    assert (learned.predict(other).argmax(1) == true).mean() == pytest.approx(best, abs=0.015)
    assert (learned.held_out.argmax(1) == labels).mean() == pytest.approx(best, abs=0.03)


def test_held_out_predictions_of_noise_are_not_better_than_chance():
    """Forty features of forty galaxies fit any labels; only out of fold is that seen."""
    rng = np.random.default_rng(2)
    right = []
    for _ in range(10):
        points, labels = rng.normal(size=(40, 40)), rng.permutation(np.arange(40) % 2)
        learned = learn(points, labels, n_classes=2)
        right.append((learned.held_out.argmax(1) == labels).mean())
    assert np.mean(right) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_labels_and_a_missing_class_give_probabilities(n):
    points, _ = clouds(10)
    learned = learn(points[:n], np.zeros(n, int), n_classes=3)
    assert learned.predict(points).tolist() == [[1, 0, 0]] * 10
    two = learn(points[:6], np.array([0, 2, 0, 2, 0, 2]), n_classes=3).predict(points)
    np.testing.assert_allclose(two.sum(1), 1)
    assert (two[:, 1] == 0).all()


def test_an_ensemble_agrees_where_the_classes_are_clear_and_is_the_same_again():
    points, labels = clouds(100)
    learned = learn(points, labels, n_classes=2)
    clear, between = np.array([[6.0, 0, 0, 0]]), np.array([[0.0, 1, 1, 1]])
    members = list(learned.ensemble(n=8, seed=3))
    spread = [np.std([each(x)[0, 1] for each in members]) for x in (clear, between)]
    assert spread[0] < spread[1] / 3
    again = [each(between)[0, 1] for each in learned.ensemble(n=8, seed=3)]
    assert again == [each(between)[0, 1] for each in members]


def test_a_galaxy_of_weight_zero_is_left_out():
    points, labels = clouds(60, apart=1.0)
    learned = learn(points, labels, n_classes=2)
    weights = np.r_[np.ones(40), np.zeros(20)]
    how = {"n_classes": 2, "strength": learned.strength}
    expected = label_loop.fit(points[:40], labels[:40], **how)(points)
    np.testing.assert_allclose(learned.again(weights)(points), expected, atol=1e-6)


# ---- annotators


def test_answers_follow_the_fractions():
    fractions = np.tile([0.7, 0.0, 0.3], (20_000, 1))
    found = np.bincount(label_loop.answers(fractions, seed=0), minlength=3) / 20_000
    np.testing.assert_allclose(found, [0.7, 0, 0.3], atol=0.015)
    sure = np.eye(3)[[2, 0, 1]]
    assert label_loop.answers(sure, seed=1).tolist() == [2, 0, 1]


def test_opinions_are_the_votes_and_without_them_the_confusion():
    votes = np.array([[0.6, 0.4], [np.nan, np.nan], [np.nan, np.nan]])
    confusion = [[0.9, 0.1], [0.2, 0.8]]
    found = label_loop.opinions(np.array([-1, 0, 1]), votes, confusion, CLASSES)
    np.testing.assert_allclose(found, [[0.6, 0.4], *confusion])
    for wrong in (None, [[1, 0]], [[0.5, 0.4], [0, 1]]):
        with pytest.raises(ValueError, match="2 galaxies have no votes; expected 2 rows of 2"):
            label_loop.opinions(np.array([-1, 0, 1]), votes, wrong, CLASSES)
    with pytest.raises(ValueError, match="1 galaxies in the pool have neither votes nor a class"):
        label_loop.opinions(np.array([-1, -1, 1]), votes, confusion, CLASSES)


# ---- the loop


def test_rounds_count_every_label_and_begin_alike():
    random, _ = rounds_of("random")
    assert [each.n_labels for each in random] == [10, 20, 30, 40, 50, 60]
    margin, _ = rounds_of("margin")
    np.testing.assert_array_equal(margin[0].predicted, random[0].predicted)
    assert (margin[-1].predicted != random[-1].predicted).any()
    again, _ = rounds_of("margin")
    for one, other in zip(margin, again, strict=True):
        np.testing.assert_array_equal(one.predicted, other.predicted)


def test_the_loop_ends_with_the_pool():
    rounds, _ = rounds_of("random", n=90, most=1000)
    assert [each.n_labels for each in rounds] == [90, 180, 200]


def test_the_annotator_is_believed():
    """With all answers exchanged, the loop learns the classes exchanged."""
    _, labels = clouds(260, apart=1.0)
    rounds, tested = rounds_of("margin", answered=1 - labels[:200])
    assert (rounds[-1].predicted.argmax(1) == tested[0][1]).mean() < 0.3


def test_the_margin_needs_fewer_labels_where_most_galaxies_are_far_from_the_border():
    """Random wins nothing by galaxies that anyone can tell apart: 9 of 10 lie far away."""
    entries, rounds, tested = [], [], {}
    for seed in range(4):
        rng = np.random.default_rng(seed)
        place = np.where(rng.random(900) < 0.9, 8.0, rng.uniform(0, 2, 900))
        labels = rng.integers(0, 2, 900)
        points = rng.normal(size=(900, 12))
        points[:, 0] = place * (2 * labels - 1)
        near = np.flatnonzero(place[600:] < 8) + 600  # test where it matters
        tested[seed] = (ids(len(near), "t"), labels[near])
        for rule in ("random", "margin"):
            of = (ids(600), points[:600], labels[:600], points[near])
            how = {"rule": rule, "classes": CLASSES, "n": 10, "most": 100, "seed": seed}
            rounds += label_loop.simulate(*of, **how)
    entries = label_loop.entries(rounds, tested, CLASSES)
    table = comparison.compare(entries, n_bootstrap=0).set_index(["method", "n_labels"])
    assert table.accuracy["margin", 100] > table.accuracy["random", 100] + 0.02
    equivalent = equivalent_labels.equivalent(entries, n_bootstrap=50)
    gains = pretraining_gain.differences(entries, against={"margin": "random"})
    forecasts = label_loop.forecasts(rounds, tested)
    text = label_loop.sentences(equivalent, gains, forecasts, most=100)
    assert text[0].startswith("Labels needed to match random with 100 labels")
    assert "margin needs at most half as many labels" in text[1]


# ---- the forecast


def test_forecasts_are_compared_with_what_was_measured():
    right, wrong = np.array([[1.0, 0]]), np.array([[0, 1.0]])
    before, after = np.repeat([right, wrong], [6, 4], 0)[:, 0], np.repeat([right, wrong], [8, 2], 0)

    def made(n_labels, predicted, low, high):
        ahead = Forecast((low + high) / 2, low, high)
        return Round("margin", 0, n_labels, predicted, ahead, 0.0)

    tested = {0: (ids(10), np.zeros(10, int))}
    later = made(75, after[:, 0], 0, 0)
    for low, high, held in ((0.1, 0.3, True), (0.0, 0.15, False), (-0.2, 0.0, False)):
        table = label_loop.forecasts([made(25, before, low, high), later], tested)
        assert table.measured.tolist() == pytest.approx([0.2]) and len(table) == 1
        assert table.noise.item() == pytest.approx(np.sqrt(0.2 * 0.8 / 10))
        assert table.held.item() is held
    assert label_loop.forecasts([later], tested).empty


def test_a_forecast_shrinks_with_the_labels_and_promises_nothing_when_all_is_known():
    points, labels = clouds(3000, apart=0.8, width=20, seed=5)
    few, many = (
        label_loop.forecast(learn(points[:n], labels[:n], n_classes=2), points[1000:])
        for n in (60, 600)
    )
    assert few.gain > 2 * many.gain > 0
    assert few.high - few.low > 2 * (many.high - many.low)
    easy, known = clouds(3000, apart=9.0)
    ahead = label_loop.forecast(learn(easy[:100], known[:100], n_classes=2), easy)
    assert ahead.low == ahead.high == ahead.gain == 0
    assert str(few).startswith("50 more labels: +")


def test_forecasts_hold_for_gaussian_clouds():
    """The gain of 50 more random labels, measured on 4,000 galaxies, lies within the interval in at
    least 80 % of 60 cases, and the forecast is of the right size."""
    held, predicted, measured = [], [], []
    for seed in range(20):
        points, labels = clouds(5000, apart=0.9, width=30, seed=seed)
        test, true = points[1000:], labels[1000:]
        for n in (50, 100, 200):
            now, then = (learn(points[:k], labels[:k], n_classes=2) for k in (n, n + 50))
            accuracy = [(each.predict(test).argmax(1) == true).mean() for each in (now, then)]
            ahead = label_loop.forecast(now, test[:1000], seed=seed)
            predicted.append(ahead.gain)
            measured.append(accuracy[1] - accuracy[0])
            held.append(ahead.low <= measured[-1] <= ahead.high)
    assert np.mean(held) >= 0.8
    assert 0.4 < np.mean(predicted) / np.mean(measured) < 2.5
