"""Two methods, against cases worked by hand and their confusion matrices. Takes about 5 s."""

import numpy as np
import pytest

from galaxymorph.diagnostics import disagreement
from galaxymorph.evaluation.entries import Entries
from tests.evaluation.made import NAMES, entry, g, judged, predicted


def test_disagreements_by_hand():
    ours = [[0.9, 0.1, 0], [0.6, 0.4, 0], [0.2, 0.1, 0.7], [0.1, 0.9, 0]]
    theirs = [[0.2, 0.8, 0], [0.1, 0.9, 0], [0.5, 0.1, 0.4], [0.2, 0.8, 0]]
    label = ["round", "edge-on", "edge-on", "edge-on"]
    tables = (
        predicted(g(range(4)), label, ours),
        predicted(g(range(4))[::-1], label[::-1], theirs[::-1]),
    )
    # by hand, a run knows no seed
    entries = Entries(entry(name, None, each) for name, each in zip("ab", tables, strict=True))
    found = disagreement.disagreements(entries, "a", "b")
    assert list(found.id) == ["g0", "g1", "g2"]
    assert list(found.class_a) == ["round", "round", "spiral"] and list(found.class_b) == [
        "edge-on",
        "edge-on",
        "round",
    ]
    assert list(found.probability_a) == pytest.approx([0.9, 0.6, 0.7]) and list(
        found.probability_b
    ) == [0.8, 0.9, 0.5]
    assert list(found.right) == ["a", "b", "neither"]
    again = predicted(g(range(4)), label, [[0, 1, 0]] * 4)
    both = Entries([*entries, *(entry(name, 1, again) for name in "ab")])
    assert disagreement.disagreements(both, "a", "b").empty  # of g0 both take the second on average


def test_methods_that_cannot_be_held_against_each_other_are_refused():
    a, b = judged("a", g(range(4)), [1] * 4), judged("b", g(range(4)), [1] * 4)
    with pytest.raises(ValueError, match="'a' and 'c': expected two different methods from a, b"):
        disagreement.confusion_difference(Entries([a, b]), "a", "c")
    other = judged("b", g(range(4)), [1] * 4, seed=1)
    with pytest.raises(ValueError, match="a and b have no common seed"):
        disagreement.disagreements(Entries([a, other]), "a", "b")


def matrix(entry):
    """The confusion matrix, each row by its number."""
    part = entry.predictions.labelled()
    found = np.zeros((len(NAMES), len(NAMES)))
    np.add.at(found, (part.true, part.predicted), 1)
    return found / np.maximum(found.sum(1, keepdims=True), 1)


def test_the_difference_of_confusion_matrices_by_hand():
    """One seed, 40 round and 40 edge-on galaxies: a takes 12 round ones for edge-on that b has
    right, b none; of the edge-on ones each has two wrong that the other has right. McNemar's exact
    p of 12 to 0 is 2 / 2^12."""
    index, label = np.arange(80), ["round"] * 40 + ["edge-on"] * 40
    wrong_a, wrong_b = (index < 12) | (index == 50) | (index == 51), (index == 60) | (index == 61)
    yes = np.r_[np.ones(40, bool), np.zeros(40, bool)]
    entries = []
    for name, wrong in (("a", wrong_a), ("b", wrong_b)):
        p = np.stack([yes != wrong, yes == wrong, 0 * index], 1)
        entries.append(entry(name, 0, predicted(g(range(80)), label, p)))
    entries = Entries(entries)
    found = disagreement.confusion_difference(entries, "a", "b").set_index(["label", "taken_for"])
    assert found.loc[("round", "edge-on"), ["a", "b", "difference"]].to_list() == pytest.approx(
        [0.3, 0, 0.3]
    )
    assert (
        found.difference["round", "round"] == pytest.approx(-0.3)
        and found.difference["edge-on", "edge-on"] == 0
    )
    for pair in (("round", "edge-on"), ("round", "round")):
        assert (
            found.p[pair] == pytest.approx(2 / 2**12)
            and found.resolved[pair]
            and found.n[pair] == 40
        )
    assert found.p_holm["round", "edge-on"] == pytest.approx(9 * 2 / 2**12)
    assert found.resolved.sum() == 2 and found.loc[("spiral", "round"), ["n", "p"]].to_list() == [
        0,
        1,
    ]
    assert np.isnan(found.difference["spiral", "spiral"])
    rows = [matrix(each) for each in entries]
    names = list(NAMES[:2])
    assert found.difference.unstack().loc[names, names].to_numpy() == pytest.approx(
        (rows[0] - rows[1])[:2, :2]
    )
    said = disagreement.confusion_sentences(found.reset_index(), "a", "b")
    assert len(said) == 2 and any(
        s.startswith("a classifies round as edge-on more often than b: 0.300 against 0.000")
        for s in said
    )
    assert any(
        s.startswith(
            "b classifies round correctly more often than a: 1.000 against 0.700 (difference +0.300"
        )
        for s in said
    )


def test_the_difference_over_seeds_is_a_mean_and_is_that_of_all_pairs():
    rng = np.random.default_rng(1)
    entries = []
    for s in range(3):
        ids = g(rng.permutation(300)[:100])
        label = np.array(NAMES)[[int(i[1:]) % 3 for i in ids]]
        for name in "ab":
            entries.append(entry(name, s, predicted(ids, label, rng.dirichlet([1, 1, 1], 100))))
    entries = Entries(entries)
    found = disagreement.confusion_difference(entries, "a", "b").set_index(["label", "taken_for"])
    groups = entries.methods()
    mean = {name: np.mean([matrix(each) for each in groups[name]], axis=0) for name in "ab"}
    names = list(NAMES)
    assert found.difference.unstack().loc[names, names].to_numpy() == pytest.approx(
        mean["a"] - mean["b"]
    )
    assert (
        (found.low < found.difference).all()
        and (found.difference < found.high).all()
        and set(found.seeds) == {3}
    )
    assert not found.resolved.any()
    assert disagreement.confusion_sentences(found.reset_index(), "a", "b")[0].startswith(
        "a and b are statistically tied in every cell"
    )
