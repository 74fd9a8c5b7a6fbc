"""Suspected labels, against cases worked by hand and faults that were planted. Takes about 5 s."""

import math

import numpy as np
import pytest

from galaxymorph.diagnostics import label_noise
from galaxymorph.evaluation.entries import Entries
from tests.evaluation.made import NAMES, entry, g, joined, predicted

# Thresholds: round (0.9 + 0.7 + 0.2 + 0.5) / 4 = 0.575, edge-on (0.8 + 0.6 + 0.4) / 3 = 0.6, spiral
# 0.5.
LABELS = ["round", "round", "round", "round", "edge-on", "edge-on", "edge-on", "spiral"]
P = [
    [0.90, 0.05, 0.05],  # confirmed
    [0.70, 0.20, 0.10],  # confirmed
    [0.20, 0.70, 0.10],  # edge-on
    [0.50, 0.40, 0.10],  # reaches no threshold
    [0.10, 0.80, 0.10],  # confirmed
    [0.20, 0.60, 0.20],  # confirmed: just at the threshold
    [0.05, 0.40, 0.55],  # spiral
    [0.30, 0.20, 0.50],  # confirmed
]


def test_confident_learning_by_hand():
    """Northcutt et al. 2021, eq. 1 and 3: the counts of round are 2 confirmed and 1 edge-on of 4
    galaxies."""
    one = Entries([entry("cnn", 0, predicted(g(range(8)), LABELS, P))])
    found = label_noise.suspects(one)
    assert found.to_dict("list") == {
        "id": ["g2", "g6"],
        "label": ["round", "edge-on"],
        "suspected": ["edge-on", "spiral"],
        "methods": [1, 1],
        "of": [1, 1],
        "probability": pytest.approx([0.7, 0.55]),
    }
    errors = label_noise.label_errors(one).set_index(["label", "suspected"])
    assert errors.found[errors.found > 0].to_dict() == {
        ("round", "edge-on"): 1,
        ("edge-on", "spiral"): 1,
    }
    assert errors.errors["round", "edge-on"] == pytest.approx(4 * 1 / 3)
    assert errors.errors["edge-on", "spiral"] == pytest.approx(3 * 1 / 3)
    assert errors.expected.to_numpy() == pytest.approx(
        errors.found.to_numpy()
    )  # one method agrees with itself
    assert errors.n["round"].to_list() == [4, 4] and len(errors) == 6
    said = label_noise.suspect_sentences(found, errors.reset_index())
    assert (
        said[0]
        == "Of 8 held-out galaxies, 2 have a label that the method doubts (confident learning)."
    )
    assert "A suspected label is not necessarily wrong" in said[1]
    assert said[2].startswith(
        "Most frequently, 1 galaxies labelled round are suspected to be edge-on (a single"
    )


def test_consensus_by_hand():
    """Three methods; two agree on g2, one more doubts g1, the third has not predicted g7."""
    other = [row.copy() for row in P]
    other[1] = [0.1, 0.1, 0.8]  # round, which it takes to be spiral
    third = [row.copy() for row in P]
    third[2] = [0.8, 0.1, 0.1]  # confirms it
    third[6] = [0.05, 0.9, 0.05]
    tables = [
        predicted(g(range(8)), LABELS, P),
        predicted(g(range(8)), LABELS, other),
        predicted(g(range(7)), LABELS[:7], third[:7]),
    ]
    # with a seed each, as entries of one seed have to have the same test galaxies
    entries = Entries(entry(name, seed, tables[seed]) for seed, name in enumerate("abc"))
    found = label_noise.suspects(entries).set_index("id")
    assert found.loc["g2", ["suspected", "methods", "of"]].to_list() == ["edge-on", 2, 3]
    assert found.probability["g2"] == pytest.approx(0.7)
    assert found.loc["g1", ["suspected", "methods", "of"]].to_list() == ["spiral", 1, 3]
    assert list(found.index)[:2] == ["g2", "g6"]  # of the same share, the larger probability first
    errors = label_noise.label_errors(entries).set_index(["label", "suspected"])
    assert errors.found["round", "edge-on"] == 1 and errors.found["round", "spiral"] == 0
    # of the four round galaxies two methods take a quarter each to be edge-on, the third none; one
    # a quarter to be spiral
    assert (
        errors.expected["round", "edge-on"] == pytest.approx(4 / 16)
        and errors.expected["round", "spiral"] == 0
    )


def test_training_galaxies_are_never_asked_and_seeds_are_averaged():
    train = predicted(["t"], ["round"], [[0, 1, 0]], split="train")
    val = predicted(g(range(4)), LABELS[:4], P[:4], split="val")
    test = predicted(g(range(4, 8)), LABELS[4:], P[4:])
    again = predicted(g(range(8)), LABELS, [[1, 0, 0]] * 4 + P[4:])
    entries = Entries([entry("cnn", 0, joined(train, val, test)), entry("cnn", 1, again)])
    found = label_noise.suspects(entries)
    assert list(found.id) == ["g6"]  # g2 is (0.6, 0.35, 0.05) on average
    assert label_noise.label_errors(entries).drop_duplicates("label").n.sum() == 8
    assert label_noise.label_errors(Entries(entries[:1]), splits=("test",)).drop_duplicates(
        "label"
    ).n.to_list() == [0, 3, 1]
    with pytest.raises(ValueError, match="no method has labelled galaxies in val"):
        label_noise.suspects(Entries(entries[1:]), splits=("val",))
    with pytest.raises(ValueError, match="labels of 1 galaxies differ between tables: g0"):
        other = entry("other", 0, predicted(["g0"], ["spiral"], [[1, 0, 0]]))
        label_noise.suspects(Entries([entries[1], other]))


def planted(seed=0, n=900, wrong=0.05):
    """Galaxies that three methods recognise with little noise, of which some have another label;
    which these are."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 3, n)
    label, faulty = true.copy(), rng.random(n) < wrong
    label[faulty] = (true[faulty] + rng.integers(1, 3, faulty.sum())) % 3
    entries = []
    for name in ("a", "b", "c"):
        score = 3.0 * np.eye(3)[true] + rng.normal(size=(n, 3)) * 0.6
        p = np.exp(score) / np.exp(score).sum(1, keepdims=True)
        entries.append(entry(name, 0, predicted(g(range(n)), np.array(NAMES)[label], p)))
    return Entries(entries), set(np.array(g(range(n)))[faulty])


def test_planted_label_errors_are_found():
    entries, faulty = planted()
    found = label_noise.suspects(entries)
    for least, recall in ((3, 0.45), (2, 0.75)):
        consensus = set(found.id[found.methods >= least])
        assert (
            len(consensus & faulty) / len(faulty) > recall
            and len(consensus & faulty) / len(consensus) > 0.95
        )
    errors = label_noise.label_errors(entries)
    assert errors.errors.sum() == pytest.approx(len(faulty), rel=0.15)
    assert errors.expected.sum() < 3 < 30 < errors.found.sum()
    clean, _ = planted(wrong=0.0)
    assert label_noise.label_errors(clean).found.sum() == 0


def test_methods_that_err_at_random_agree_as_often_as_is_expected():
    """Of 4,000 galaxies each of three methods takes a fifth for one of the two other classes: two
    or three of them agree on one of these with a probability of 2 (3 0.1^2 0.9 + 0.1^3) = 0.056."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 4000)
    entries = []
    for name in "abc":
        taken = (label + np.where(rng.random(4000) < 0.8, 0, rng.integers(1, 3, 4000))) % 3
        p = 0.05 + 0.85 * np.eye(3)[taken]
        entries.append(entry(name, 0, predicted(g(range(4000)), np.array(NAMES)[label], p)))
    entries = Entries(entries)
    errors = label_noise.label_errors(entries)
    assert errors.expected.sum() == pytest.approx(4000 * 0.056, rel=0.07)
    assert errors.found.sum() == pytest.approx(errors.expected.sum(), abs=3 * math.sqrt(224))
    said = label_noise.suspect_sentences(label_noise.suspects(entries), errors)
    assert f"would agree on {errors.expected.sum():.1f} by chance." in said[1]


def test_where_nothing_is_doubted_it_says_so():
    one = Entries([entry("a", 0, predicted(g(range(3)), NAMES, np.eye(3)))])
    found = label_noise.suspects(one)
    assert found.empty
    assert list(found) == ["id", "label", "suspected", "methods", "of", "probability"]
    assert (
        "No method doubts the label of any"
        in label_noise.suspect_sentences(found, label_noise.label_errors(one))[0]
    )
