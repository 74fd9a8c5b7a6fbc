"""The answer in words, on tables whose verdict is known. Takes about 5 s."""

import math

import pandas as pd
import pytest

from galaxymorph.evaluation import comparison, phrases, significance, verdict
from galaxymorph.evaluation.entries import BETWEEN, Entries
from galaxymorph.evaluation.intervals import LEAST
from tests.evaluation.made import entry, joined, rights, scored, table


def method(name, right, *, val, seconds=math.nan, protocol="from scratch", n_labels=None):
    """A method with so many of 200 test galaxies right, and so many of ten validation galaxies."""
    tested = scored(name, rights(200, right)).predictions
    rows = [("round", [0.9, 0.1])] * val + [("round", [0.1, 0.9])] * (10 - val)
    both = joined(tested, table(rows, split="val", names=tested.classes))
    costs = {"training_seconds": seconds} if seconds == seconds else {}
    return entry(name, 0, both, n_labels=n_labels, protocol=protocol, costs=costs)


def judged(entries):
    table = comparison.compare(Entries(entries), n_bootstrap=50)
    pairs = significance.pairs(Entries(entries), n_bootstrap=200)
    return table, verdict.verdicts(table, pairs)


ENTRIES = [
    method("flatters", 181, val=7, seconds=100.0),
    method("chosen", 180, val=9, seconds=50.0, protocol="fine-tuned"),
    method("cheap", 176, val=6, seconds=2.0, protocol="classical"),
    method("behind", 120, val=8),
    method("chosen random_dnn", 182, val=10, protocol="frozen, random encoder"),
    method("pixels", 182, val=10, protocol="control"),
]


def test_the_method_is_chosen_on_validation_galaxies_and_controls_are_none():
    _, found = judged(ENTRIES)
    row = found.iloc[0]
    assert (row.method, row.chosen_on, row.accuracy, row.seeds, row.n_test) == (
        "chosen",
        "validation",
        0.9,
        1,
        200,
    )
    assert (row.rival, row.ties, row.behind, row.better) == (
        "flatters",
        "flatters / cheap",
        "behind",
        "",
    )
    assert (row.cheapest, row.cheapest_accuracy, row.cheapest_seconds) == ("cheap", 0.88, 2)
    assert row.p_better < 0.5 and row.n_pairs == 15 and row.pretrained
    assert 0 < row.resolvable_low <= row.resolvable_high


def test_without_validation_galaxies_the_accuracy_is_called_optimistic():
    entries = [scored(name, rights(100, k)) for name, k in (("a", 80), ("b", 90))]
    table, found = judged(entries)
    assert (found.method[0], found.chosen_on[0]) == ("b", "test")
    said = verdict.sentences(found, table)
    assert said[0].startswith(
        "With all labels, the best choice is b: test accuracy 0.900 (95 % interval"
    )
    assert "(95 % interval" in said[0] and "one seed, 100 test galaxies)." in said[0]
    assert said[0].endswith("the test galaxies themselves, so this accuracy is optimistic.")
    assert math.isnan(found.cheapest_seconds[0])


def test_one_that_is_better_by_a_resolved_difference_is_named():
    """Chosen on ten validation galaxies, which can mislead."""
    table, found = judged([method("chosen", 120, val=9), method("better", 190, val=8)])
    assert (found.method[0], found.better[0], found.ties[0]) == ("chosen", "better", "")
    assert "With all labels, chosen is significantly worse than better." in verdict.sentences(
        found, table
    )


def test_sentences_say_ties_costs_certainty_and_what_can_be_resolved():
    table, found = judged(ENTRIES)
    said = verdict.sentences(found, table)
    assert "after 50 s of training (pre-training not included)." in said[0]
    assert said[1] == "With all labels, chosen is statistically tied with flatters and cheap."
    assert said[2] == "With all labels, chosen is significantly better than behind."
    assert (
        said[3]
        == "With all labels, the fastest of the tied methods is cheap (0.880, 2 s of training)."
    )
    p = f"{100 * found.p_better[0]:.0f} %"
    assert said[4].startswith(
        "With all labels, in a repetition with a new seed and new galaxies, the probability that "
    )
    assert said[4].endswith(f" chosen beats flatters is {p}.")
    assert said[5].startswith(
        "With all labels, this test set can detect accuracy differences above "
    )
    assert said[5].endswith(", after Holm's correction for 15 pairs.") and len(said) == 6


def test_budgets_come_in_order_and_what_is_missing_and_the_baseline_are_said():
    entries = [
        method("cnn", 150, val=7),
        method("cnn", 120, val=7, n_labels=100),
        method("cnn", 100, val=7, n_labels=25),
    ]
    entries += [
        entry("moco", 0, None, n_labels=50),
        scored("majority", rights(200, 60), n_labels=25),
        entry("cnn", 1),
    ]
    table, found = judged(entries)
    assert found.n_labels.fillna(-1).tolist() == [25, 100, -1]
    said = verdict.sentences(found, table)
    assert said[1:3] == [
        "With 50 labels: no result yet.",
        "With 50 labels, moco lacks results for 1 of 1 seeds.",
    ]
    assert said[-2:] == [
        "With all labels, cnn lacks results for 1 of 2 seeds.",
        "With 25 labels, always predicting the most common class would reach 0.300.",
    ]
    shown = verdict.readable(found)
    assert (
        shown.labels.tolist() == ["25", "100", "all"]
        and shown["best choice"].tolist() == ["cnn"] * 3
    )
    assert shown["statistically tied"].tolist() == ["–"] * 3
    assert verdict.sentences(found[:0], table[:0]) == [] and verdict.readable(found[:0]).empty


def test_a_file_gives_the_same_answer(tmp_path):
    table, found = judged(ENTRIES)
    for name, each in (("table", table), ("answer", found)):
        each.to_csv(tmp_path / f"{name}.csv", index=False)
    again, back = (
        pd.read_csv(tmp_path / f"{name}.csv", dtype={"n_labels": "Int64"})
        for name in ("table", "answer")
    )
    assert verdict.sentences(back, again) == verdict.sentences(found, table)
    assert verdict.readable(back).equals(verdict.readable(found))


@pytest.mark.parametrize(
    ("names", "text"),
    [("a", "a"), ("a / b", "a and b"), (" / ".join("abcdefgh"), "a, b, c, d, e, f and 2 more")],
)
def test_few_of_many_are_named(names, text):
    assert phrases.listed(names.split(BETWEEN)) == text


def test_there_is_no_verdict_from_few_galaxies():
    """11 test galaxies are too few, 12 are enough; one galaxy is never "the best"."""
    for n in (1, LEAST - 1):
        table, found = judged([scored("a", rights(n, n)), scored("b", rights(n, 0))])
        assert found.empty and verdict.in_short(found) == ""
        are = "galaxy is" if n == 1 else "galaxies are"
        said = f"With all labels, {n} test {are} too few for a verdict (at least {LEAST})."
        assert verdict.sentences(found, table) == verdict.refusals(table) == [said]
    table, found = judged([scored("a", rights(12, 12)), scored("b", rights(12, 0))])
    assert found.method.tolist() == ["a"] and verdict.refusals(table) == []


def test_only_budgets_with_enough_galaxies_have_a_verdict():
    few = [scored("a", rights(5, 4), n_labels=25), scored("b", rights(5, 5), n_labels=25)]
    many = [scored("a", rights(50, 40), seed=1), scored("b", rights(50, 45), seed=1)]
    table, found = judged([*few, *many])
    assert found.n_labels.isna().tolist() == [True]
    said = verdict.sentences(found, table)
    assert said[0].startswith("With 25 labels, 5 test galaxies are too few for a verdict")
    assert said[1].startswith("With all labels, the best choice is b")
