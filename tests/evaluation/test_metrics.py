"""Metrics against hand-made tables, scikit-learn on resampled galaxies, and scipy. About 10 s."""

import math

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk

from galaxymorph.evaluation import intervals, metrics
from galaxymorph.evaluation.predictions import Part, Predictions, predictions_in, read_predictions

NAMES = ("round", "edge-on", "spiral")


def table(rows, *, split="test", names=NAMES):
    """A predictions table from (label, probabilities) pairs."""
    labels, p = [label for label, _ in rows], np.array([p for _, p in rows], float)
    ids = [f"g{i}" for i in range(len(rows))]
    return pd.DataFrame(
        {"id": ids, "split": split, "label": labels}
        | {f"p_{n}": p[:, k] for k, n in enumerate(names)}
    )


def sample(n, *, names=NAMES, skill=1.5, seed=0, split="test", digits=6):
    """A random table: the larger the skill, the better the classifier."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, len(names), n)
    logits = rng.normal(size=(n, len(names)))
    logits[np.arange(n), true] += skill
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return table(
        [(names[t], row) for t, row in zip(true, np.round(p, digits), strict=True)],
        split=split,
        names=names,
    )


def checked(table):
    return table if isinstance(table, Predictions) else predictions_in(table)


def evaluate(table, **options):
    return metrics.evaluate(checked(table), **options)


def confusion(table):
    return metrics.confusion(checked(table))


def roc(table):
    return metrics.roc(checked(table))


def mistakes(table):
    return metrics.mistakes(checked(table))


def majority(table):
    return metrics.majority(checked(table))


def values(evaluated):
    return {(row["metric"], row["class"]): row["value"] for row in evaluated.to_dict("records")}


# round: 2 galaxies, 1 right; edge-on: 1, right; spiral: 3, 2 right and one taken for round
HAND = table(
    [
        ("round", [0.8, 0.1, 0.1]),
        ("round", [0.3, 0.6, 0.1]),
        ("edge-on", [0.1, 0.8, 0.1]),
        ("spiral", [0.1, 0.1, 0.8]),
        ("spiral", [0.2, 0.2, 0.6]),
        ("spiral", [0.5, 0.1, 0.4]),
    ]
)


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
    assert checked(HAND).classes == NAMES


def test_overall_metrics_are_those_of_scikit_learn():
    t = sample(300, digits=12)
    p = t[[f"p_{n}" for n in NAMES]].to_numpy()
    true = np.array([NAMES.index(label) for label in t.label])
    taken = p.argmax(1)
    found = values(evaluate(t, n_bootstrap=0))
    assert found["accuracy", ""] == pytest.approx(sk.accuracy_score(true, taken))
    assert found["balanced_accuracy", ""] == pytest.approx(sk.balanced_accuracy_score(true, taken))
    assert found["macro_f1", ""] == pytest.approx(sk.f1_score(true, taken, average="macro"))
    assert found["auc", ""] == pytest.approx(
        sk.roc_auc_score(true, p, multi_class="ovr", average="macro")
    )
    assert found["log_loss", ""] == pytest.approx(sk.log_loss(true, p))
    assert found["brier", ""] == pytest.approx(((p - np.eye(3)[true]) ** 2).sum(1).mean())


@pytest.mark.parametrize("absent", [None, "edge-on"])
def test_a_draw_of_the_bootstrap_is_the_same_as_scikit_learn_on_the_drawn_galaxies(absent):
    t = sample(120, digits=1)  # coarse probabilities: many ties
    t = t[t.label != absent]
    p = t[[f"p_{n}" for n in NAMES]].to_numpy(copy=True)
    p[p.sum(1) == 0] = 1
    p /= p.sum(1, keepdims=True)
    true = np.array([NAMES.index(label) for label in t.label])
    rng = np.random.default_rng(1)
    members = [np.flatnonzero(true == k) for k in range(3)]
    draws = [
        np.concatenate([rng.choice(m, len(m)) if len(m) else m for m in members]) for _ in range(20)
    ]
    weights = np.array([np.bincount(draw, minlength=len(true)) for draw in draws], float)
    ids = np.arange(len(true))
    fast = metrics._weighted(weights, Part(ids, true, p))
    for i, draw in enumerate(draws):
        slow = metrics._point(Part(ids, true[draw], p[draw]))
        assert {key: value[i] for key, value in fast.items()} == pytest.approx(slow, nan_ok=True)


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
    (weights,) = intervals.draws(40, n_bootstrap=4000, seed=0, strata=true)
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
    found = evaluate(HAND[HAND.label != "edge-on"], n_bootstrap=20).set_index(["metric", "class"])
    for metric in metrics.PER_CLASS:
        row = found.loc[(metric, "edge-on")]
        assert math.isnan(row.value) and math.isnan(row.low) and row.n == 0
        assert row.note == "no galaxy of this class in the test part"
    assert found.loc[("macro_recall", ""), "value"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found.loc[("macro_f1", ""), "note"] == "mean over the 2 of 3 classes in the test part"
    assert found.loc[("accuracy", ""), "note"] == ""
    assert found.loc[(slice(None), ""), "value"].notna().all()


def test_a_test_part_of_one_class_has_no_auc():
    found = evaluate(HAND[HAND.label == "spiral"], n_bootstrap=20).set_index(["metric", "class"])
    for name in ("", "spiral"):
        assert math.isnan(found.loc[("auc", name), "value"])
        assert found.loc[("auc", name), "note"] == "the test part has one class only"
    assert found.loc[("accuracy", ""), "value"] == pytest.approx(2 / 3)
    assert roc(HAND[HAND.label == "spiral"]).empty


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
    assert row.note.startswith("no galaxy was taken for this class")


@pytest.mark.parametrize("empty", ["", None, float("nan")])
def test_galaxies_without_label_do_not_count(empty):
    more = table([(empty, [1, 0, 0])] * 4)
    more["id"] = ["a", "b", "c", "d"]
    both = pd.concat([HAND, more], ignore_index=True)
    pd.testing.assert_frame_equal(evaluate(both, n_bootstrap=9), evaluate(HAND, n_bootstrap=9))


def test_other_splits_do_not_count():
    other = sample(50, split="val").assign(id=[f"v{i}" for i in range(50)])
    both = pd.concat([HAND, other])
    assert values(evaluate(both, n_bootstrap=0)) == values(evaluate(HAND, n_bootstrap=0))
    assert evaluate(both, split="val", n_bootstrap=0).n[0] == 50


def test_classes_whose_names_are_numbers_survive_a_file(tmp_path):
    t = table(
        [("0", [0.9, 0.1]), ("1", [0.2, 0.8]), ("1", [0.7, 0.3]), ("", [0.5, 0.5])],
        names=("0", "1"),
    )
    t.to_csv(tmp_path / "predictions.csv", index=False)
    read = pd.read_csv(tmp_path / "predictions.csv")
    assert read.label.dtype == float  # the trap: 0.0, 1.0, 1.0, NaN
    for found in (checked(read), read_predictions(tmp_path / "predictions.csv")):
        assert values(evaluate(found, n_bootstrap=0))["accuracy", ""] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.assign(id="a"),
            r"duplicate id 'a' \(rows 2, 3, 4, 5, 6 and 1 more\); keep one row",
        ),
        (
            lambda t: t.assign(label=["bar", *t.label[1:]]),
            r"not a class in rows 2 \(bar\); classes: round, edge-on, spiral",
        ),
        (
            lambda t: t.assign(p_round=t.p_round + 0.01),
            r"sum to 1 in 6 rows: 2 \(id g0, sum 1.01\).* and 1 more",
        ),
        (
            lambda t: t.assign(p_round=[math.nan, *t.p_round[1:]]),
            r"sum to 1 in 1 rows: 2 \(id g0, sum nan\)",
        ),
        (lambda t: t.assign(p_round=t.p_round - 1, p_spiral=t.p_spiral + 1), "not probabilities"),
        (
            lambda t: t.assign(split="train"),
            r"no labelled galaxy in split 'test'; there are train \(6 rows\)",
        ),
        (lambda t: t.drop(columns="split"), "column 'split' is missing"),
        (lambda t: t[["id", "split", "label"]], "column 'p_<class>' is missing"),
    ],
)
def test_a_faulty_table_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        evaluate(change(HAND))


def test_probabilities_that_a_file_rounded_are_good_enough():
    t = sample(100, digits=12)
    rounded = t.round(4)
    assert (rounded.filter(like="p_").sum(axis=1) != 1).any()
    assert values(evaluate(rounded, n_bootstrap=0)) == pytest.approx(
        values(evaluate(t, n_bootstrap=0)), abs=1e-3
    )


def test_roc_has_the_points_and_areas_of_scikit_learn():
    t = sample(80)
    points = roc(t)
    for name, curve in points.groupby("class"):
        false_positive, true_positive, _ = sk.roc_curve(t.label == name, t[f"p_{name}"])
        np.testing.assert_allclose(curve.false_positive_rate, false_positive)
        np.testing.assert_allclose(curve.true_positive_rate, true_positive)
        assert curve.auc.unique() == pytest.approx(
            [sk.roc_auc_score(t.label == name, t[f"p_{name}"])]
        )
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
    assert mistakes(HAND[HAND.id == "g0"]).empty


def test_majority_knows_the_training_labels_alone():
    train = table([("spiral", [1, 0, 0])] * 3 + [("round", [0, 1, 0])], split="train")
    train["id"] = ["a", "b", "c", "d"]
    blind = majority(pd.concat([train, HAND], ignore_index=True))
    found = values(evaluate(blind, n_bootstrap=0))
    assert found["accuracy", ""] == pytest.approx(3 / 6)  # all spirals
    assert found["auc", ""] == pytest.approx(0.5)
    assert (blind.p[:, 2] == 0.75).all() and (blind.p[:, 1] == 0).all()
    with pytest.raises(ValueError, match="split 'train'"):
        majority(HAND)
