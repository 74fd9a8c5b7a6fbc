"""What weakens a comparison is said in words, on predictions where it is known."""

import numpy as np
import pytest

from galaxymorph.diagnostics.cautions import sentences
from galaxymorph.evaluation.entries import Entries
from tests.evaluation.made import entry, predicted, sample

NAMES = ("round", "edge-on", "spiral")


def made(labels, p):
    return predicted([f"g{i}" for i in range(len(labels))], labels, p)


def test_sound_methods_need_no_caution():
    assert sentences(Entries([entry("a", 0, sample(60)), entry("b", 0, sample(60, skill=2))])) == []


def test_a_test_set_without_a_class_or_with_one_alone():
    p = np.eye(3)[[0, 1, 1, 0]]
    said = sentences(Entries([entry("a", 7, made(["round", "edge-on", "round", "round"], p))]))
    assert said == ["The test galaxies of seed 7 lack class spiral: nothing is known about it."]
    said = sentences(Entries([entry("a", 7, made(["round"] * 4, p))]))
    assert len(said) == 1 and "are of one class, round:" in said[0]


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_a_method_that_knows_one_class(seeds):
    tables = {seed: sample(40, seed=seed) for seed in seeds}
    always = {
        s: made([NAMES[k] for k in t.labels], np.full((40, 3), [0.5, 0.3, 0.2]))
        for s, t in tables.items()
    }
    every = [entry("cnn", s, t) for s, t in tables.items()]
    every += [
        entry(name, s, t, title="dull" if name != "majority" else None)
        for name in ("lazy", "majority")
        for s, t in always.items()
    ]
    said = sentences(Entries(every))
    one = "With all labels, dull gives every test galaxy the class round: it distinguishes nothing."
    assert said[0] == one and len(said) == 2  # and the baseline has the same probabilities
    if len(seeds) > 1:  # one class for one seed only
        every[2] = entry("lazy", 0, sample(40, skill=0.1))
        assert sentences(Entries(every)) == []


def test_one_method_under_two_names():
    one, other = sample(40), sample(40, seed=1, skill=3)
    order = np.random.default_rng(0).permutation(40)
    again = made([NAMES[k] for k in one.labels], one.p)
    assert list(again.ids) == list(one.ids)
    shuffled = predicted(one.ids[order], np.array(NAMES)[one.labels[order]], one.p[order])
    true = np.array(NAMES)[one.labels]
    third = predicted(one.ids, true, other.p)
    said = sentences(Entries([entry("a", 0, one), entry("b", 0, shuffled), entry("c", 0, third)]))
    assert said == [
        "With all labels, a and b have equal probabilities for every test galaxy: the same method "
        "under 2 names?"
    ]
