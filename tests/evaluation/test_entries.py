"""Entries: what may stand in one comparison, and how they are grouped. Takes 3 s."""

import numpy as np
import pandas as pd
import pytest

from galaxymorph.evaluation.entries import Entries, Entry, is_control, mean_probabilities, titled
from galaxymorph.evaluation.predictions import votes_in
from tests.evaluation.made import HAND, changed, entry, g, joined, judged, predicted, table
from tests.evaluation.test_predictions import votes


def of(method, seed=0, n_labels=None, **more):
    return entry(method, seed, HAND, n_labels=n_labels, **more)


def test_a_seed_counts_once():
    with pytest.raises(
        ValueError, match="duplicate entry: cnn, 50 labels, seed 1; define a separate step"
    ):
        Entries([of("cnn", 1, 50), of("cnn", 1), of("cnn", 2, 50), entry("cnn", 1, n_labels=50)])


def test_methods_with_a_seed_are_tested_on_the_same_galaxies():
    fewer = entry("b", 0, changed(HAND, lambda t: t.iloc[1:]), n_labels=50)
    message = "b, 50 labels, seed 0: tested on 5 galaxies, of which 5 are among the 6 of a; rerun"
    with pytest.raises(ValueError, match=message):
        Entries([of("a"), fewer])
    assert len(Entries([of("a", 1), fewer])) == 2
    a, b = (votes_in(votes().assign(id=ids)) for ids in (g(range(3)), g(range(1, 4))))
    with pytest.raises(ValueError, match="tested on 3 galaxies, of which 2 are among the 3 of a"):
        Entries([Entry("a", 0, votes=a), Entry("b", 0, votes=b)])
    assert len(Entries([of("a"), Entry("b", 0, votes=b)])) == 2


def test_an_entry_without_test_galaxies_is_named():
    train = changed(HAND, lambda t: t.assign(split="train"))
    with pytest.raises(ValueError, match="cnn, all labels, seed 3: no labelled galaxy in split"):
        Entries([entry("cnn", 3, train)])


def test_groups_and_budgets_keep_their_order():
    entries = Entries([of("b", 0, 400), of("a", 0), of("b", 1, 400), of("b", 0, 50), entry("c")])
    assert [(key, len(group)) for key, group in entries.groups().items()] == [
        (("b", 400), 2),
        (("a", None), 1),
        (("b", 50), 1),
        (("c", None), 1),
    ]
    assert entries.budgets() == [50, 400, None]
    assert [e.method for e in entries.most_labels()] == ["a", "c"]
    assert entries[2].seed == 1 and len(entries.where(lambda e: e.n_labels == 50)) == 1
    assert not Entries() and not Entries().most_labels()


def test_how_many_labels_an_entry_learned_from():
    train = predicted(["t", "u"], ["round", ""], [[1, 0, 0]] * 2, split="train")
    assert entry("cnn", 0, joined(HAND, train)).n_train == 1
    assert of("cnn", n_labels=50).n_train == 50 and entry("cnn").n_train is None


def test_methods_are_of_one_budget_and_of_the_same_classes():
    entries = Entries([of("a"), of("a", 1), entry("a", 2), entry("b")])
    assert {name: len(group) for name, group in entries.methods().items()} == {"a": 2}
    with pytest.raises(ValueError, match="no entry has predictions; train a method first"):
        Entries([entry("b")]).methods()
    with pytest.raises(ValueError, match="several budgets: 50 labels, all labels; select one"):
        Entries([of("a", 0, 50), of("a")]).methods()
    other = entry("b", 1, table([("round", [1, 0])], names=("round", "edge-on")))
    message = "b, all labels, seed 1: classes are round, edge-on; a has round, edge-on, spiral"
    with pytest.raises(ValueError, match=message):
        Entries([of("a"), other]).methods()


def test_the_most_labels_without_controls_are_looked_at():
    tried = [of(f"cnn {n}", n_labels=n) for n in (50, 400, None)]
    controls = [of("c", protocol="frozen, random encoder"), of("d", protocol="control")]
    assert [e.is_control for e in (*tried[:1], *controls)] == [False, True, True]
    chosen = Entries([*tried, *controls, entry("moco")]).trained_methods()
    assert [e.method for e in chosen] == ["cnn None"]
    assert [e.method for e in Entries(tried[:2]).trained_methods()] == ["cnn 400"]
    with pytest.raises(ValueError, match=r"none of the 3 entries .* train a method first"):
        Entries([*controls, entry("moco")]).trained_methods()
    assert not is_control({"protocol": float("nan")}) and not is_control({})


def test_pairs_are_of_the_seeds_that_both_have():
    entries = Entries([of("a", 0), of("a", 1), of("b", 1), of("b", 2), entry("b", 0), of("c", 7)])
    ((a, b),) = entries.pairs("a", "b")
    assert (str(a), str(b)) == ("a, all labels, seed 1", "b, all labels, seed 1")
    with pytest.raises(
        ValueError, match="methods 'a' and 'd': expected two different methods from a, b, c"
    ):
        entries.pairs("a", "d")
    with pytest.raises(ValueError, match="methods 'a' and 'a'"):
        entries.pairs("a", "a")
    with pytest.raises(ValueError, match="a and c have no common seed"):
        entries.pairs("a", "c")


def test_probabilities_are_means_over_seeds():
    sure, unsure = ([1, 1, 1, 0], 0.9), ([1, 0, 1, 1], 0.6)
    entries = Entries(
        judged("a", g(range(4)), right, confidence=confidence, seed=seed)
        for seed, (right, confidence) in enumerate((sure, unsure))
    )
    found, names = mean_probabilities(entries, ("val", "test"))
    assert names == ("round", "edge-on")
    assert found["a"]["round"].tolist() == pytest.approx([0.75, 0.35, 0.75, 0.65])
    assert found["a"].index.tolist()[0] == ("g0", "round")
    with pytest.raises(ValueError, match="no method has labelled galaxies in val"):
        mean_probabilities(entries, ("val",))
    other = entry("b", 3, predicted(["g0"], ["edge-on"], [[1, 0]], names=names))
    with pytest.raises(ValueError, match="labels of 1 galaxies differ between tables: g0; compare"):
        mean_probabilities(Entries([*entries, other]), ("test",))


def test_titles_stand_in_for_names_and_a_shared_one_is_told_by_the_name():
    entries = Entries([entry("cnn", title="small CNN"), entry("a", title="net"), entry("knn")])
    assert entries.titles() == {"cnn": "small CNN", "a": "net", "knn": "knn"}
    both = Entries([*entries, entry("b", title="net")])
    assert both.titles()["a"] == "net (a)" and both.titles()["b"] == "net (b)"
    table = pd.DataFrame({"method": ["cnn", "knn"], "ties": ["knn / a", np.nan], "a": [0.5, 0.1]})
    shown = titled(table, entries.titles())
    assert shown.method.tolist() == ["small CNN", "knn"] and shown.a.tolist() == [0.5, 0.1]
    assert shown.ties[0] == "knn / net" and pd.isna(shown.ties[1])
