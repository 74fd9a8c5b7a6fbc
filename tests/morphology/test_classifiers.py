"""Classifiers without deep learning: what they learn from, and what their settings are chosen
on."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from galaxymorph.morphology import classifiers

TOY = {
    "forest": {"leaves": (3, 1), "trees": 10},
    "svm": {"strengths": (1.0, 10.0), "widths": (0.3, 1.0)},
    "logistic": {"strengths": (0.1, 1.0)},
    "pca_forest": {"components": (2, 4), "trees": 10},
}


def clouds(n: int, seed: int, features: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that differ in the first two features."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    values = rng.normal(size=(n, features))
    values[:, 0] += 4 * (labels == 1)
    values[:, 1] += 4 * (labels == 2)
    return values, labels


@pytest.mark.parametrize("name", TOY)
def test_each_learns_and_tells_probabilities(name):
    train, val, test = clouds(90, 0), clouds(45, 1), clouds(300, 2)
    model = getattr(classifiers, name)(train, val, **TOY[name])
    assert model.score(*test) > 0.9
    told = model.predict_proba(test[0])
    assert told.shape == (300, 3)
    np.testing.assert_allclose(told.sum(1), 1)
    assert (told.argmax(1) == test[1]).mean() > 0.9


@pytest.mark.parametrize("name", TOY)
def test_validation_galaxies_choose_but_teach_nothing(name):
    """With a single setting there is nothing to choose: other validation labels, even wrong ones,
    change no prediction."""
    single = {
        key: value[:1] if isinstance(value, tuple) else value for key, value in TOY[name].items()
    }
    train, val, test = clouds(60, 0), clouds(30, 1), clouds(60, 2)[0]
    right = getattr(classifiers, name)(train, val, **single).predict_proba(test)
    wrong = getattr(classifiers, name)(train, (val[0], (val[1] + 1) % 3), **single).predict_proba(
        test
    )
    np.testing.assert_array_equal(right, wrong)


@pytest.mark.parametrize("best", [1, 100])
def test_the_setting_that_is_best_on_validation_galaxies_is_kept(best):
    """The validation galaxies are those, of many between the classes, that one setting gets right
    and the other wrong."""
    train, between = clouds(30, 0), np.random.default_rng(3).normal(1, 2, size=(500, 6))
    found = {
        leaf: classifiers.forest(train, train, leaves=(leaf,), trees=10).predict(between)
        for leaf in (1, 100)
    }
    differ = found[1] != found[100]
    assert differ.any()
    kept = classifiers.forest(
        train, (between[differ], found[best][differ]), leaves=(100, 1), trees=10
    )
    assert kept[-1].min_samples_leaf == best


def test_of_equals_the_first_is_kept():
    train, val = clouds(90, 0), clouds(30, 1)
    train[0][:, :2] *= 10
    val[0][:, :2] *= 10  # easy: all settings get all of them right
    assert classifiers.forest(train, val, leaves=(5, 3, 1), trees=20)[-1].min_samples_leaf == 5


def test_missing_measures_are_filled_in_from_training_galaxies_and_marked():
    train, val = clouds(90, 0), clouds(45, 1)
    train[0][::5, 3] = np.nan
    val[0][:, 4] = np.nan  # was never missing in training
    model = classifiers.logistic(train, val, strengths=(1.0,))
    filled = model[0].transform(val[0])
    assert (
        filled.shape == (45, 7) and np.isfinite(filled).all()
    )  # and one column: whether the fourth was missing
    assert (filled[:, 4] == np.median(train[0][:, 4])).all()
    nothing = (np.full_like(train[0], np.nan), train[1])  # nothing at all could be measured
    assert np.isfinite(
        classifiers.forest(nothing, nothing, leaves=(1,), trees=2).predict_proba(nothing[0])
    ).all()


def test_an_svm_of_a_single_galaxy_of_a_class_says_so():
    values, labels = clouds(30, 0)
    some = np.flatnonzero(labels != 2)[:10].tolist() + [2]
    with pytest.raises(ValueError, match="two training galaxies of each class"):
        classifiers.svm((values[some], labels[some]), clouds(30, 1))


def test_no_more_components_than_galaxies():
    train = clouds(8, 0, features=50)
    assert (
        classifiers.pca_forest(train, clouds(9, 1, features=50), components=(20, 40), trees=3)[
            0
        ].n_components_
        == 8
    )


def test_the_same_seed_gives_the_same_trees():
    train, val, test = clouds(90, 0), clouds(45, 1), clouds(30, 2)[0]
    first, same, other = (
        classifiers.forest(train, val, trees=10, seed=seed).predict_proba(test)
        for seed in (0, 0, 1)
    )
    assert (first == same).all() and (first != other).any()


def test_importances_are_what_shuffling_costs():
    train, val = clouds(120, 0), clouds(300, 1)
    model = RandomForestClassifier(50, random_state=0).fit(*train)
    groups = {f"x{k}": [k] for k in range(6)} | {"both": [0, 1]}
    before = val[0].copy()
    table = classifiers.importances(model, val, groups, repeats=5)
    losses = table.set_index("group").loss
    assert (val[0] == before).all()
    assert list(table.group[:1]) == ["both"] and set(table.group[1:3]) == {"x0", "x1"}
    assert losses["both"] == pytest.approx(
        model.score(*val) - 1 / 3, abs=0.1
    )  # what is left is guessing
    assert abs(losses[["x2", "x3", "x4", "x5"]]).max() < 0.05
    assert (table.low <= table.loss).all() and (table.loss <= table.high).all()
