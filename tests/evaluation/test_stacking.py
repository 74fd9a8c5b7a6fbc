"""Stacks of simulated members against what is known of them. About 5 s."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax, softmax

from galaxymorph.evaluation import stacking
from galaxymorph.evaluation.predictions import Predictions, predictions_in
from tests.evaluation.made import NAMES, changed, entry

SPLITS = ("train", "val", "test")


def whole(p, true):
    """Predictions of galaxies that are dealt to the three splits in turn."""
    n = len(true)
    ids = np.array([f"g{i}" for i in range(n)], object)
    return Predictions(ids, np.array(SPLITS, object)[np.arange(n) % 3], true, p, NAMES)


def classes(n, *, seed):
    return np.random.default_rng(seed).integers(0, 3, n)


def member(method, skill, true, *, seed, **more):
    """A member of some skill: 0 guesses."""
    logits = np.random.default_rng(seed).normal(size=(len(true), 3)) + skill * np.eye(3)[true]
    return entry(method, 0, whole(softmax(logits, axis=1), true), **more)


def accuracy(predictions, split="test"):
    return predictions.labelled(split).right.mean()


def with_table(one, change):
    return replace(one, predictions=changed(one.predictions, change))


def test_the_mean_is_that_of_the_members():
    true = classes(60, seed=1)
    a, b = member("a", 1, true, seed=2), member("b", 2, true, seed=3)
    found = stacking.mean([a, b])
    np.testing.assert_allclose(found.p, (a.predictions.p + b.predictions.p) / 2)
    assert found.table().iloc[:, :3].equals(a.predictions.table().iloc[:, :3])


def test_a_perfect_and_a_guessing_member_give_the_perfect_one():
    true = classes(300, seed=4)
    perfect, guess = member("perfect", 50, true, seed=5), member("guess", 0, true, seed=6)
    for order in ([perfect, guess], [guess, perfect]):
        found, fit = stacking.logistic(order)
        assert accuracy(found) == accuracy(found, "val") == 1
        assert fit.weights["perfect"] > 3 * fit.weights["guess"]
        assert found.labelled().confidence.min() > 0.99
    assert accuracy(stacking.mean([perfect, guess])) > accuracy(guess.predictions)


def test_weights_and_offsets_of_simulated_members_are_recovered():
    rng = np.random.default_rng(7)
    logs = log_softmax(rng.normal(size=(3, 9_000, 3)), axis=2)
    weights, offsets = np.array([1.2, 0.5, 0]), np.array([0.6, 0, -0.6])
    p = softmax(np.tensordot(weights, logs, 1) + offsets, axis=1)
    true = (p.cumsum(1) < rng.random((9_000, 1))).sum(1)
    given = [entry(n, 0, whole(np.exp(x), true)) for n, x in zip("abc", logs, strict=True)]
    found, fit = stacking.logistic(given)
    np.testing.assert_allclose([*fit.weights.values()], weights, atol=0.1)
    np.testing.assert_allclose([*fit.offsets.values()], offsets, atol=0.1)
    assert fit.n_val == 3_000 and list(fit.offsets) == list(NAMES)
    np.testing.assert_allclose(found.labelled().p, p[2::3], atol=0.06)


def test_a_member_given_twice_changes_nothing():
    true = classes(240, seed=8)
    a, b = member("a", 1, true, seed=9), member("b", 2, true, seed=10)
    np.testing.assert_allclose(stacking.mean([a, a]).p, a.predictions.p)
    twin, _ = stacking.logistic([a, replace(a, method="twin")])
    alone, fit = stacking.logistic([a])
    np.testing.assert_allclose(twin.p, alone.p, atol=1e-4)
    _, one = stacking.logistic([a, b])
    _, two = stacking.logistic([a, replace(a, method="twin"), b, replace(b, method="other")])
    assert two.weights["a"] + two.weights["twin"] == pytest.approx(one.weights["a"], abs=0.02)
    assert fit.weights["a"] > 0


def test_test_labels_are_never_read():
    true = classes(240, seed=11)
    given = [member("a", 1, true, seed=12), member("b", 2, true, seed=13)]

    def swapped(frame):
        tested = frame.split == "test"
        return frame.assign(label=frame.label.mask(tested, "round"))

    for make in (stacking.mean, lambda them: stacking.logistic(them)[0]):
        once, again = make(given), make([with_table(one, swapped) for one in given])
        np.testing.assert_array_equal(once.p, again.p)
        assert (once.labels != again.labels).any()


def test_validation_galaxies_are_predicted_out_of_fold():
    """Members that know nothing: a stack must not seem to know more on validation galaxies."""
    true = classes(90, seed=14)
    given = [member(f"m{i}", 0, true, seed=20 + i) for i in range(6)]
    found, _ = stacking.logistic(given)
    part = found.labelled("val")
    log_loss = -np.log(part.p[np.arange(len(part.true)), part.true]).mean()
    assert log_loss > 0.98 * np.log(3)


def test_a_label_does_not_enter_its_own_prediction(monkeypatch):
    monkeypatch.setattr(stacking, "_folds", lambda ids, true: np.arange(len(ids)) % 5)
    monkeypatch.setattr(stacking, "STRENGTHS", [0.1])  # else all labels choose it
    true = classes(90, seed=31)
    given = [member("a", 1, true, seed=32), member("b", 1, true, seed=33)]
    labels = true.copy()
    labels[1] = (labels[1] + 1) % 3  # the first validation galaxy, in the first fold
    others = [replace(g, predictions=replace(g.predictions, labels=labels)) for g in given]
    once, again = (stacking.logistic(them)[0].p for them in (given, others))
    np.testing.assert_array_equal(once[1], again[1])
    assert (once[4] != again[4]).any()  # of another fold


def test_the_order_of_the_rows_does_not_matter():
    true = classes(150, seed=15)
    a, b = member("a", 1, true, seed=16), member("b", 2, true, seed=17)
    turned = with_table(b, lambda frame: frame.iloc[::-1].reset_index(drop=True))
    once, again = stacking.logistic([a, b])[0], stacking.logistic([a, turned])[0]
    np.testing.assert_allclose(once.p, again.p)
    p = pd.DataFrame(stacking.logistic([turned, a])[0].p, stacking.mean([turned, a]).ids)
    np.testing.assert_allclose(p.loc[once.ids], once.p, atol=1e-5)


def test_galaxies_that_a_member_lacks_are_left_out_unless_they_are_tested():
    true = classes(150, seed=18)
    a, b = member("a", 1, true, seed=19), member("b", 2, true, seed=20)
    lacking = with_table(b, lambda frame: frame[~frame.id.isin(["g0", "g1", "g4"])])
    found, fit = stacking.logistic([a, lacking])
    assert len(found.ids) == 147 and fit.n_val == 48 and not {"g0", "g1", "g4"} & {*found.ids}
    untested = with_table(b, lambda frame: frame[frame.id != "g2"])
    for them in ([a, untested], [untested, a]):
        with pytest.raises(ValueError, match="a: 1 test galaxies are missing .*: g2; predict"):
            stacking.mean(them)


@pytest.mark.parametrize(
    "change, why",
    [
        (lambda f: f.rename(columns={"p_round": "p_spiral", "p_spiral": "p_round"}), "classes are"),
        (lambda f: f.assign(split=f.split.mask(f.id == "g1", "train")), "split of 1 .*: g1"),
        (lambda f: f.assign(label=f.label.mask(f.id == "g3", "")), "labels of 1 .*: g3"),
    ],
)
def test_members_that_do_not_fit_together_are_refused(change, why):
    true = classes(60, seed=21)
    a, b = member("a", 1, true, seed=22), member("b", 2, true, seed=23)
    with pytest.raises(ValueError, match=f"b: {why}"):
        stacking.logistic([a, with_table(b, change)])


def test_too_few_validation_galaxies_are_refused():
    true = classes(60, seed=24)
    given = [member("a", 1, true, seed=25), member("b", 2, true, seed=26)]
    few = [with_table(one, lambda f: f[(f.split != "val") | f.id.isin(["g1"])]) for one in given]
    with pytest.raises(ValueError, match="1 labelled galaxies in split 'val' .* at least 10"):
        stacking.logistic(few)
    assert accuracy(stacking.mean(few)) > 0.5


def test_members_are_methods_of_one_seed_and_budget():
    true = classes(30, seed=27)
    a, b = (member(name, 1, true, seed=ord(name)) for name in "ab")
    others = [
        replace(a, seed=1),
        replace(a, n_labels=50),
        replace(a, method="c", protocol="control"),
        replace(a, method="d", protocol="stack of 2"),
        replace(a, method="e", predictions=None),
    ]
    assert stacking.members([a, *others, b], seed=0, n_labels=None) == [a, b]
    assert stacking.protocol([a, b]) == "stack of 2"
    seen = [replace(a, protocol=f"{how}, transductive") for how in ("frozen", "fine-tuned")]
    assert stacking.protocol([*seen, b]) == "stack of 3, transductive"
    with pytest.raises(ValueError, match="seed 0, 50 labels: .* found a; train"):
        stacking.members([a, *others, b], seed=0, n_labels=50)


def test_costs_are_summed_and_unknown_if_one_is():
    spent = {"parameters": 3, "training_seconds": 10.0, "images_per_second": 100.0}
    spent |= {"peak_memory_mib": 5.0, "peak_memory_of": "process"}
    more = {"parameters": 4, "training_seconds": 1.0, "images_per_second": 300.0, "flops": 7}
    more |= {"peak_memory_mib": 9.0, "peak_memory_of": "process"}
    found = stacking.costs([entry("a", costs=spent), entry("b", costs=more)])
    assert found == {
        "parameters": 7,
        "training_seconds": 11.0,
        "images_per_second": pytest.approx(75),
        "peak_memory_mib": 9.0,
        "peak_memory_of": "process",
    }
    assert stacking.costs([entry("a", costs=spent), entry("b")]) == {}


def test_a_table_of_six_decimals_is_stacked_alike():
    true = classes(120, seed=28)
    given = [member("a", 1, true, seed=29), member("b", 2, true, seed=30)]
    read = [replace(e, predictions=predictions_in(e.predictions.table().round(6))) for e in given]
    p, again = (stacking.logistic(them)[0].p for them in (given, read))
    np.testing.assert_allclose(p, again, atol=1e-4)
