"""How many labels are equivalent, against curves whose crossing is known. Takes about 5 s."""

import math

import numpy as np
import pandas as pd
import pytest

from galaxymorph.evaluation import equivalent_labels
from galaxymorph.evaluation.entries import Entries
from tests.evaluation.made import entry, rights, scored


def curve(method, right, *, seeds=1, n=200, lacking=()):
    """Entries of a method that has so many of `n` right with each number of labels."""
    return [
        entry(method, seed, None, n_labels=labels)
        if (labels, seed) in lacking
        else scored(method, rights(n, k), seed=seed, n_labels=labels)
        for labels, k in right.items()
        for seed in range(seeds)
    ]


def found(entries, a, b):
    table = equivalent_labels.equivalent(Entries(entries), n_bootstrap=50)
    return table.loc[(table.a == a) & (table.b == b)].set_index("n_labels")


def test_labels_are_read_off_between_two_numbers_of_them_in_the_logarithm():
    """b has 100, 140, 180 right with 50, 200, 800 labels; a as many with a quarter, and 120 half
    way between b's first two."""
    ours, theirs = {50: 140, 100: 120, 200: 180}, {50: 100, 200: 140, 800: 180}
    rows = found(curve("a", ours) + curve("b", theirs), "a", "b")
    assert rows.labels.tolist() == pytest.approx([200, 100, 800])
    assert rows.ratio.tolist() == pytest.approx([4, 1, 4])
    assert rows.accuracy.tolist() == pytest.approx([0.7, 0.6, 0.9])
    assert rows.low.isna().all()  # one seed


def test_nothing_is_extrapolated():
    rows = found(curve("a", {50: 90, 100: 190}) + curve("b", {50: 100, 100: 150}), "a", "b")
    assert rows.labels.tolist() == [0, math.inf]
    back = found(curve("a", {50: 90, 100: 190}) + curve("b", {50: 100, 100: 150}), "b", "a")
    assert 50 < back.labels[50] < back.labels[100] < 100
    entries = (
        curve("a", {50: 90, 100: 190})
        + curve("b", {50: 100, 100: 150})
        + curve("c", {50: 100, 100: 150})
    )
    table = equivalent_labels.equivalent(Entries(entries))
    assert equivalent_labels.sentences(table, method="a") == [
        "Labels needed to match a with 50 labels (accuracy 0.450), with 95 % intervals: b, c ≤ 50.",
        "Labels needed to match a with 100 labels (accuracy 0.950), with 95 % intervals: "
        "b, c > 100.",
    ]


def test_a_curve_that_dips_is_made_to_rise():
    rows = found(
        curve("a", {50: 130, 100: 130}) + curve("b", {50: 100, 100: 140, 200: 120, 400: 160}),
        "a",
        "b",
    )
    assert rows.labels[50] == pytest.approx(100)  # 140 and 120 count as 130 each


def test_all_labels_stand_where_their_number_is():
    """With all labels a table says itself how many there are: one training galaxy, here."""
    entries = curve("a", {100: 150}) + curve("b", {None: 100, 100: 150})
    assert found(entries, "a", "b").labels[100] == pytest.approx(100)
    cells = equivalent_labels.accuracies(Entries(entries[1:]))
    assert cells.n_train.tolist() == [1, 100] and cells.n_labels.isna().tolist() == [True, False]


def test_seeds_are_drawn_for_both_and_their_spread_is_the_interval():
    one = curve("a", {100: 150}, seeds=4) + curve("b", {50: 100, 200: 200}, seeds=4)
    assert found(one, "a", "b").iloc[0][
        ["labels", "low", "high", "seeds"]
    ].tolist() == pytest.approx([100, 100, 100, 4])
    apart = [
        *curve("b", {50: 100, 200: 200}, seeds=2),
        *(
            p
            for s in (0, 1)
            for p in [scored("a", rights(200, 110 + 80 * s), seed=s, n_labels=100)]
        ),
    ]
    row = found(apart, "a", "b").iloc[0]
    ends = [50 * 4 ** ((k - 100) / 100) for k in (110, 150, 190)]
    assert [row.low, row.labels, row.high] == pytest.approx(ends)


def test_an_interval_does_not_depend_on_what_else_is_compared():
    varied = [
        scored("a", rights(200, k), seed=s, n_labels=100)
        for s, k in enumerate((105, 130, 155, 170, 180))
    ]
    two = varied + curve("b", {50: 100, 200: 190}, seeds=5)
    more = curve("c", {50: 90, 200: 150}, seeds=5) + two[::-1]
    pd.testing.assert_frame_equal(found(two, "a", "b"), found(more, "a", "b"))
    assert found(two, "a", "b").low.item() < found(two, "a", "b").labels.item()


def test_only_seeds_that_both_have_whole_count_and_what_is_missing_is_counted():
    entries = curve("a", {50: 100, 100: 150}, seeds=3, lacking={(100, 2)}) + curve(
        "b", {50: 100, 100: 150}, seeds=3
    )
    assert found(entries, "a", "b").seeds.tolist() == [2, 2]
    table = equivalent_labels.grid(Entries([*entries, entry("c")]))
    assert table.loc["a"].tolist() == ["3", "2 of 3", ""] and table.loc["c"].tolist() == [
        "",
        "",
        "0 of 1",
    ]
    assert list(table.columns) == ["50", "100", "all"]


def test_one_number_of_labels_and_the_baseline_have_no_equivalent():
    entries = (
        curve("a", {50: 100, 100: 150})
        + curve("b", {50: 120})
        + curve("majority", {50: 60, 100: 60})
    )
    table = equivalent_labels.equivalent(Entries(entries))
    assert set(zip(table.a, table.b, strict=True)) == {("b", "a")}
    assert equivalent_labels.equivalent(Entries()).empty and isinstance(table, pd.DataFrame)
    assert np.isfinite(table.labels).all()
