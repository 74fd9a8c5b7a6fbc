"""Health, projections and neighbours of features against closed forms and brute force. About 5
s."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

from galaxymorph.diagnostics import features


def gaussian(n=300, d=32, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


# ---- health


def test_alignment_is_zero_for_the_same_and_four_for_the_opposite():
    given = gaussian()
    assert features.alignment(given, given) == 0
    assert features.alignment(given, 5 * given) == pytest.approx(0)  # length does not count
    assert features.alignment(given, -given) == pytest.approx(4)
    at_right_angles = np.roll(given[:, :2], 1, axis=1) * [1, -1]
    assert features.alignment(given[:, :2], at_right_angles) == pytest.approx(2)


def test_uniformity_of_known_configurations():
    opposite = np.array([[1.0, 0], [-3, 0]])  # one pair at distance 2
    assert features.uniformity(opposite) == pytest.approx(-8)
    axes = np.eye(7)  # all pairs at distance sqrt(2)
    assert features.uniformity(axes) == pytest.approx(-4)
    assert features.uniformity(np.ones((5, 3))) == pytest.approx(0)
    square = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])  # four sides and two diagonals
    assert features.uniformity(square) == pytest.approx(
        math.log((4 * math.exp(-4) + 2 * math.exp(-8)) / 6)
    )
    with pytest.raises(ValueError, match="needs 2 or more"):
        features.uniformity(np.ones((1, 3)))


def test_uniformity_of_more_galaxies_than_are_taken_at_once_is_that_of_all_pairs():
    given = gaussian(1100, 3)
    unit = given / np.linalg.norm(given, axis=1, keepdims=True)
    expected = np.log(np.exp(-2 * pdist(unit) ** 2).mean())
    assert features.uniformity(torch.from_numpy(given).float()) == pytest.approx(expected, rel=1e-5)


def test_spread_is_one_in_all_directions_and_zero_at_a_point():
    assert features.spread(gaussian(4000, 64)) == pytest.approx(1, abs=0.01)
    assert features.spread(np.full((10, 64), 0.3)) == pytest.approx(0, abs=1e-9)
    assert features.spread(np.array([[1.0, 0], [-1, 0]])) == pytest.approx(
        math.sqrt(2) / 2
    )  # deviations 1 and 0


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_effective_rank_of_equal_singular_values_is_their_number(rank):
    rng = np.random.default_rng(0)
    left = np.linalg.qr(np.hstack([np.ones((40, 1)), rng.normal(size=(40, rank))]))[0][
        :, 1:
    ]  # orthogonal to a constant
    right = np.linalg.qr(rng.normal(size=(16, rank)))[0]
    offset = rng.normal(size=16)
    assert features.effective_rank(left @ right.T + offset) == pytest.approx(rank)


def test_effective_rank_is_exp_of_the_entropy_and_zero_where_nothing_varies():
    two = np.zeros((4, 5))
    two[:, 0], two[:, 1] = [3, -3, 0, 0], [0, 0, 1, -1]  # singular values 3 and 1, times sqrt(2)
    assert features.effective_rank(two) == pytest.approx(
        math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    )
    assert features.effective_rank(torch.full((30, 8), 0.1)) == 0


def test_neighbours_vote_by_direction_and_unlabelled_ones_do_not():
    train = np.array([[1, 0.1], [1, -0.1], [0.1, 1], [-0.1, 1], [1, 0.0]])
    labels = torch.tensor([0, 0, 1, 1, -1])
    val = np.array([[9, 0.0], [0, 9], [9, 1], [1, 9]])
    assert features.knn_accuracy(train, labels, val, np.array([0, 1, 1, -1]), k=1) == pytest.approx(
        2 / 3
    )
    train_labels = np.array([0, 0, 1, 1, 1])
    assert features.knn_accuracy(train, train_labels, val[:1], np.array([1]), k=1) == 1
    assert (
        features.knn_accuracy(train, train_labels, val[:1], np.array([1]), k=3) == 0
    )  # two of three are of class 0
    assert (
        features.knn_accuracy(train, train_labels, val[:1], np.array([1]), k=99) == 1
    )  # all there are
    with pytest.raises(ValueError, match="0 labelled training and 4 labelled validation galaxies"):
        features.knn_accuracy(train, -np.ones(5, int), val, np.zeros(4, int))


def test_health_has_all_of_it_and_the_knn_where_there_are_labels():
    first, second = gaussian(seed=0), gaussian(seed=1)
    labels = np.arange(300) % 2
    without = features.health(first, second)
    assert list(without) == ["alignment", "uniformity", "spread", "effective_rank"]
    assert without["alignment"] == features.alignment(first, second) and without[
        "spread"
    ] == features.spread(first)
    measured = features.health(first, second, train=second, train_labels=labels, val_labels=labels)
    assert measured == without | {
        "knn_accuracy": features.knn_accuracy(second, labels, first, labels)
    }
    with pytest.raises(ValueError, match="give train_labels and val_labels"):
        features.health(first, second, train=second)


def test_features_that_are_not_finite_are_refused():
    given = gaussian(5)
    given[3, 1] = np.nan
    for measure in (
        features.uniformity,
        features.spread,
        features.effective_rank,
        features.project,
    ):
        with pytest.raises(ValueError, match="Input features contains NaN"):
            measure(given)
    with pytest.raises(ValueError, match="0 sample"):
        features.spread(np.zeros((0, 4)))


def test_collapse_is_named_and_health_is_not():
    noise = 1e-3 * gaussian(100, 64)
    line = np.outer(gaussian(100, 1)[:, 0], np.ones(64))
    plane = gaussian(100, 2, seed=2) @ gaussian(2, 64, seed=3)
    for given in (np.ones((100, 64)), 1 + noise, np.zeros((100, 64))):
        assert features.collapse(features.health(given, given)).startswith("complete collapse")
    for given in (line, line + 1e-5 * noise, plane):
        assert features.collapse(features.health(given, given)).startswith("dimensional collapse")
    for given in (
        gaussian(100, 64),
        gaussian(20, 64),
        gaussian(500, 8),
        np.maximum(gaussian(100, 64), 0),
    ):
        assert features.collapse(features.health(given, given)) == ""
    near_a_point = 3 + gaussian(
        100, 64
    )  # as of an encoder that has learned nothing yet: spread 0.3
    assert features.collapse(features.health(near_a_point, near_a_point)) == ""


HEALTHY = {"alignment": 0.2, "spread": 0.9, "effective_rank": 20.0}


def watched(watch, epochs, first=1):
    return {epoch: watch(epoch, epochs) for epoch in range(first, epochs + 1)}


def test_watch_measures_the_first_every_fifth_and_the_last_epoch():
    asked = itertools.count()
    rows = watched(features.watch(lambda: HEALTHY | {"asked": float(next(asked))}), 12)
    names = [f"health_{name}" for name in (*HEALTHY, "asked")]
    assert all(list(row) == names for row in rows.values())
    assert {
        epoch: row["health_asked"] for epoch, row in rows.items() if set(row.values()) != {None}
    } == {1: 0, 5: 1, 10: 2, 12: 3}
    assert rows[12] == dict(zip(names, (*HEALTHY.values(), 3.0), strict=True))
    every = watched(features.watch(lambda: HEALTHY, every=1), 3)
    assert [row["health_spread"] for row in every.values()] == [0.9] * 3
    with pytest.raises(ValueError, match="every=0"):
        features.watch(lambda: HEALTHY, every=0)


def test_a_training_that_goes_on_is_watched_as_one_that_never_stopped():
    whole = watched(features.watch(lambda: HEALTHY), 12)
    for first in (3, 7, 12):
        assert watched(features.watch(lambda: HEALTHY), 12, first) == {
            e: row for e, row in whole.items() if e >= first
        }


def test_watch_leaves_the_random_numbers_of_training_alone():
    def measure():
        torch.rand(5)
        return HEALTHY

    watch = features.watch(measure, every=1)
    torch.manual_seed(0)
    expected = [torch.rand(()).item() for _ in range(3)]
    torch.manual_seed(0)
    drawn = []
    for epoch in (1, 2, 3):
        drawn.append(torch.rand(()).item())
        watch(epoch, 3)
    assert drawn == expected


def test_watch_warns_once_of_a_collapse():
    spreads = iter([0.5, 0.001, 0.0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        watched(features.watch(lambda: HEALTHY | {"spread": next(spreads)}, every=1), 3)
    (warning,) = caught
    assert warning.category is features.Collapse
    assert str(warning.message).startswith(
        "in epoch 2, complete collapse: all galaxies have nearly the same features"
    )


# ---- to look at


def test_principal_components_are_those_of_the_singular_values():
    given = gaussian(60, 5) * [1, 2, 30, 4, 5] @ gaussian(5, 5, seed=1)
    scaled = (given - given.mean(0)) / given.std(0)
    left, singular, _ = np.linalg.svd(scaled, full_matrices=False)
    points = features.project(torch.from_numpy(given).float(), "pca", dimensions=3)
    np.testing.assert_allclose(np.abs(points), np.abs(left * singular)[:, :3], atol=1e-4)
    share = 100 * singular**2 / (singular**2).sum()
    assert list(points.columns) == [
        f"component {i + 1} ({share[i]:.0f} % of the variance)" for i in range(3)
    ]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_tsne_keeps_groups_together_and_repeats_itself(dimensions):
    group = np.arange(40) % 2
    given = gaussian(40, 60) + 10 * group[:, None]
    table = features.project(given, "tsne", dimensions=dimensions)
    assert list(table.columns) == ["t-SNE 1", "t-SNE 2", "t-SNE 3"][:dimensions]
    assert dimensions == 3 or features.project(given, "tsne").equals(table)
    points = table.to_numpy()
    nearest = np.linalg.norm(points[:, None] - points, axis=2) + 1e9 * np.eye(40)
    assert (group[nearest.argmin(1)] == group).all()


def test_projections_of_few_or_collapsed_galaxies():
    assert features.project(gaussian(4, 3), "pca", dimensions=3).shape == (4, 3)
    assert features.project(gaussian(4, 8), "tsne").shape == (4, 2)
    for method in ("pca", "tsne"):
        assert (features.project(np.ones((9, 4)), method).to_numpy() == 0).all()
        with pytest.raises(
            ValueError,
            match="3 galaxies with 8 features: 3 dimensions need 4 galaxies and 3 features",
        ):
            features.project(gaussian(3, 8), method, dimensions=3)


def test_neighbours_are_those_of_brute_force():
    given = gaussian(50, 4)
    given[7] = 2 * given[3]  # the same direction: nearest, and not taken for the galaxy itself
    given[20] = given[3]
    rows = [3, 7, 11, 49]
    found = features.neighbours(given, rows, k=5)
    for row, near in zip(rows, found, strict=True):
        cosine = [
            given[row] @ other / np.linalg.norm(given[row]) / np.linalg.norm(other)
            for other in given
        ]
        others = sorted((i for i in range(50) if i != row), key=lambda i: -round(cosine[i], 12))
        assert list(near) == others[:5]
    assert set(found[0][:2]) == {7, 20}
    for k in (0, 50):
        with pytest.raises(ValueError, match="from 1 to 49"):
            features.neighbours(given, rows, k=k)
