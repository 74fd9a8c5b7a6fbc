"""Metrics against hand-made tables, scikit-learn on resampled galaxies, and scipy. About 10 s."""

import math

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk

from galaxymorph.evaluation import intervals, metrics
from galaxymorph.evaluation.metrics import confusion, evaluate, majority, mistakes, roc
from galaxymorph.evaluation.predictions import Part
from tests.evaluation.made import HAND, NAMES, changed, joined, predicted, sample, table


def values(evaluated):
    return {(row["metric"], row["class"]): row["value"] for row in evaluated.to_dict("records")}


def only(predictions, *labels):
    """Their galaxies of some classes."""
    return changed(predictions, lambda frame: frame[frame.label.isin(labels)])


def test_a_table_by_hand():
    found = values(evaluate(HAND, n_bootstrap=0))
    expected = {
        ("accuracy", ""): 4 / 6,
        ("balanced_accuracy", ""): (1 / 2 + 1 + 2 / 3) / 3,
        ("macro_precision", ""): (1 / 2 + 1 / 2 + 1) / 3,
        ("macro_recall", ""): (1 / 2 + 1 + 2 / 3) / 3,
        ("macro_f1", ""): (1 / 2 + 2 / 3 + 4 / 5) / 3,
        ("log_loss", ""): -np.mean(np.log([0.8, 0.3, 0.8, 0.8, 0.6, 0.4])),
        ("brier", ""): np.mean([0.06, 0.86, 0.06, 0.06, 0.24, 0.62]),
        ("precision", "round"): 1 / 2,
        ("precision", "edge-on"): 1 / 2,
        ("precision", "spiral"): 1,
        ("recall", "round"): 1 / 2,
        ("recall", "edge-on"): 1,
        ("recall", "spiral"): 2 / 3,
        ("f1", "round"): 1 / 2,
        ("f1", "edge-on"): 2 / 3,
        ("f1", "spiral"): 4 / 5,
        # of 2 x 4 pairs, 0.3 of a round galaxy lies below 0.5 of a spiral
        ("auc", "round"): 7 / 8,
        ("auc", "edge-on"): 1,
        ("auc", "spiral"): 1,
        ("auc", ""): (7 / 8 + 1 + 1) / 3,
    }
    assert found == pytest.approx(expected)
    assert confusion(HAND).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]
    assert HAND.classes == NAMES


def of_scikit_learn(true, p):
    """Every metric of galaxies of all classes, in the order of `OVERALL` and `PER_CLASS`."""
    k = range(p.shape[1])
    there = [i for i in k if (true == i).any()]
    named = p.argmax(1)
    each = np.full((4, p.shape[1]), np.nan)
    each[:3, there] = sk.precision_recall_fscore_support(
        true, named, labels=there, zero_division=0
    )[:3]
    each[3, there] = [sk.roc_auc_score(true == i, p[:, i]) for i in there]
    brier = sk.brier_score_loss(true, p, labels=k, scale_by_half=False)
    right, recall = sk.accuracy_score(true, named), sk.balanced_accuracy_score(true, named)
    precision, macro, f1, auc = np.nanmean(each, axis=1)
    assert macro == pytest.approx(recall)
    overall = [right, recall, precision, recall, f1, auc, sk.log_loss(true, p, labels=k), brier]
    return [*overall, *each.ravel()]


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("absent", [None, "edge-on"])
def test_metrics_are_those_of_scikit_learn(absent):
    given = only(sample(300, digits=12, seed=3), *(name for name in NAMES if name != absent))
    part = given.labelled()
    found = evaluate(given, n_bootstrap=0).value
    assert list(found) == pytest.approx(of_scikit_learn(part.true, part.p), rel=1e-12, nan_ok=True)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("absent", [None, "edge-on"])
def test_a_draw_of_the_bootstrap_is_the_same_as_scikit_learn_on_the_drawn_galaxies(absent):
    rng = np.random.default_rng(1)
    true = rng.choice([k for k, name in enumerate(NAMES) if name != absent], 120)
    p = np.round(rng.dirichlet([1, 1, 1], 120) + 0.2 * np.eye(3)[true], 1) + 0.1  # many ties
    p /= p.sum(1, keepdims=True)
    members = [np.flatnonzero(true == k) for k in range(3)]
    draws = [
        np.concatenate([rng.choice(m, len(m)) if len(m) else m for m in members]) for _ in range(20)
    ]
    weights = np.array([np.bincount(draw, minlength=len(true)) for draw in draws], float)
    fast = metrics._scores(weights, Part(np.arange(len(true)), true, p))
    for found, draw in zip(fast, draws, strict=True):
        assert found == pytest.approx(of_scikit_learn(true[draw], p[draw]), nan_ok=True)


def test_the_interval_has_the_width_that_theory_gives():
    t = sample(400)
    matrix = confusion(t)
    n, recall = matrix.sum(1), matrix.diagonal() / matrix.sum(1)
    error = (
        math.sqrt((n * recall * (1 - recall)).sum()) / n.sum()
    )  # of the accuracy of a stratified sample
    row = evaluate(t, n_bootstrap=4000).iloc[0]
    assert row.metric == "accuracy"
    assert (row.high - row.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.08)
    assert row.low < row.value < row.high


def test_the_interval_holds_what_it_promises():
    covered = 0
    truth = values(evaluate(sample(60_000, seed=99), n_bootstrap=0))["auc", ""]
    for seed in range(60):
        row = (
            evaluate(sample(150, seed=seed), n_bootstrap=300)
            .set_index(["metric", "class"])
            .loc[("auc", "")]
        )
        covered += row.low <= truth <= row.high
    assert 50 <= covered <= 60  # 57 expected


def test_draws_keep_the_classes_and_are_fair_to_every_galaxy():
    true = np.random.default_rng(0).integers(0, 3, 40)
    blocks = intervals.draws(40, n_bootstrap=4000, seed=0, strata=true)
    weights = np.concatenate(list(blocks))
    for k in range(3):
        assert (weights[:, true == k].sum(1) == (true == k).sum()).all()
    assert weights.mean(0) == pytest.approx(1, abs=0.08)  # five standard errors
    assert weights.var(0) == pytest.approx(
        1 - 1 / np.bincount(true)[true], abs=0.15
    )  # with replacement


def test_draws_depend_on_the_seed_alone_and_not_on_the_memory(monkeypatch):
    t = sample(100)
    once = evaluate(t, n_bootstrap=50)
    monkeypatch.setattr(intervals, "BLOCK", 700)  # blocks of 7 draws
    pd.testing.assert_frame_equal(once, evaluate(t, n_bootstrap=50))
    assert not once.low.equals(evaluate(t, n_bootstrap=50, seed=1).low)


def test_without_draws_there_is_no_interval():
    assert evaluate(HAND, n_bootstrap=0)[["low", "high"]].isna().all(axis=None)


def test_a_class_that_the_test_part_lacks_is_nan_with_its_reason():
    found = evaluate(only(HAND, "round", "spiral"), n_bootstrap=20).set_index(["metric", "class"])
    for metric in metrics.PER_CLASS:
        row = found.loc[(metric, "edge-on")]
        assert math.isnan(row.value) and math.isnan(row.low) and row.n == 0
        assert row.note == "no galaxy of this class in the test split"
    assert found.loc[("macro_recall", ""), "value"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found.loc[("macro_f1", ""), "note"] == "mean over the 2 of 3 classes in the test split"
    assert found.loc[("accuracy", ""), "note"] == ""
    assert found.loc[(slice(None), ""), "value"].notna().all()


def test_a_test_part_of_one_class_has_no_auc():
    found = evaluate(only(HAND, "spiral"), n_bootstrap=20).set_index(["metric", "class"])
    for name in ("", "spiral"):
        assert math.isnan(found.loc[("auc", name), "value"])
        assert found.loc[("auc", name), "note"] == "the test split has only one class"
    assert found.loc[("accuracy", ""), "value"] == pytest.approx(2 / 3)
    assert roc(only(HAND, "spiral")).empty


def test_a_table_of_a_single_class():
    found = values(evaluate(table([("round", [1.0])] * 3, names=("round",)), n_bootstrap=5))
    assert found["accuracy", ""] == 1
    assert found["log_loss", ""] == found["brier", ""] == 0
    assert math.isnan(found["auc", ""])


def test_a_class_that_is_never_named_has_precision_0_with_a_note():
    t = table(
        [("round", [0.6, 0.3, 0.1]), ("edge-on", [0.6, 0.3, 0.1]), ("spiral", [0.2, 0.2, 0.6])]
    )
    row = evaluate(t, n_bootstrap=5).set_index(["metric", "class"]).loc[("precision", "edge-on")]
    assert row.value == 0
    assert row.note.startswith("this class was never predicted")


@pytest.mark.parametrize("empty", ["", None, math.nan])
def test_galaxies_without_label_do_not_count(empty):
    both = joined(HAND, predicted("abcd", [empty] * 4, [[1, 0, 0]] * 4))
    pd.testing.assert_frame_equal(evaluate(both, n_bootstrap=9), evaluate(HAND, n_bootstrap=9))


def test_other_splits_do_not_count():
    other = changed(sample(50, split="val"), lambda frame: frame.assign(id="v" + frame.id))
    both = joined(HAND, other)
    assert values(evaluate(both, n_bootstrap=0)) == values(evaluate(HAND, n_bootstrap=0))
    assert evaluate(both, split="val", n_bootstrap=0).n[0] == 50


def test_roc_has_the_points_and_areas_of_scikit_learn():
    part = (given := sample(80)).labelled()
    points = roc(given)
    for name, curve in points.groupby("class"):
        of_class = part.true == NAMES.index(name), part.p[:, NAMES.index(name)]
        false_positive, true_positive, _ = sk.roc_curve(*of_class)
        np.testing.assert_allclose(curve.false_positive_rate, false_positive)
        np.testing.assert_allclose(curve.true_positive_rate, true_positive)
        assert curve.auc.unique() == pytest.approx([sk.roc_auc_score(*of_class)])
    assert list(points["class"].unique()) == list(NAMES)


def test_mistakes_come_with_the_most_confident_first():
    found = mistakes(HAND)
    assert found.round(9).to_dict("list") == {
        "id": ["g1", "g5"],
        "label": ["round", "spiral"],
        "taken_for": ["edge-on", "round"],
        "probability": [0.6, 0.5],
    }
    assert list(found.index) == [1, 5]
    assert mistakes(changed(HAND, lambda frame: frame[:1])).empty


def test_majority_knows_the_training_labels_alone():
    label = ["spiral"] * 3 + ["round"]
    blind = majority(joined(predicted("abcd", label, [[0, 1, 0]] * 4, split="train"), HAND))
    found = values(evaluate(blind, n_bootstrap=0))
    assert found["accuracy", ""] == pytest.approx(3 / 6)  # all spirals
    assert found["auc", ""] == pytest.approx(0.5)
    assert (blind.p[:, 2] == 0.75).all() and (blind.p[:, 1] == 0).all()
    with pytest.raises(ValueError, match="split 'train'"):
        majority(HAND)


OFTEN = 0.85  # 95 %, less the error of 100 tries, and what percentiles of 100 draws lack


QUICK = {(1, 1.0), (5, 0.9), (20, 0.99), (100, 0.9)}


@pytest.mark.parametrize(
    ("n", "p"),
    [
        pytest.param(n, p, marks=[] if (n, p) in QUICK else pytest.mark.slow)
        for n in (1, 5, 20, 100)
        for p in (0.9, 0.99, 1.0)
    ],
)
@pytest.mark.long
def test_intervals_of_few_galaxies_cover_the_truth(n, p):
    """Two equal classes, right with probability p, whatever the confidence: accuracy, balanced
    accuracy, recall and F1 are then p; and the AUC, of confidences 1 and 0, is too."""
    rng, covered = np.random.default_rng(n), []
    for _ in range(100):
        true = rng.permutation(np.arange(n) % 2)
        taken = np.where(rng.random(n) < p, true, 1 - true)
        shown = predicted(
            [str(i) for i in range(n)],
            np.array(["a", "b"])[true],
            np.eye(2)[taken],
            names=("a", "b"),
        )
        table = metrics.evaluate(shown, n_bootstrap=100, seed=0)
        table = table[~table.metric.isin(metrics.LOSSES) & table.value.notna()]
        assert (table.low < table.high).all()
        inside = (table.low <= p + 1e-9) & (table.high >= p - 1e-9)
        covered.append(inside.set_axis(table.metric + table["class"], axis=0))
    shares = pd.concat(covered).groupby(level=0).mean()
    own = shares if n > 1 else shares[["accuracy", "balanced_accuracy"]]  # F1 of one is 0 or 1
    assert (own >= OFTEN).all(), own


def test_one_galaxy_proves_nothing():
    table = metrics.evaluate(predicted(["a"], ["round"], [0.9, 0.1, 0.0])).set_index("metric")
    row = table.loc["accuracy"]
    assert (row.value, row.low, row.high) == (1, 0, 1)
    assert table.loc["log_loss", ["low", "high"]].isna().all()


def test_a_class_that_is_all_right_is_uncertain_by_its_own_number():
    """The recall of 5 galaxies that are all right, and of 500 of another class."""
    ids, label = [str(i) for i in range(505)], ["a"] * 500 + ["b"] * 5
    p = np.eye(2)[[0] * 500 + [1] * 5]
    p[:25] = [0.4, 0.6]  # 5 % wrong
    table = metrics.evaluate(predicted(ids, label, p, names=("a", "b")))
    recall = table[table.metric == "recall"].set_index("class")
    assert recall.low["b"] < 0.65 < 0.92 < recall.low["a"]
    assert table.set_index("metric").low["balanced_accuracy"] < 0.8
