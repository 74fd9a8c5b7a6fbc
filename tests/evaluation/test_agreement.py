"""Kappa against published values, scikit-learn, and its known standard error."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from galaxymorph.evaluation import agreement
from galaxymorph.evaluation.annotations import Annotations, Row

# Fleiss (1971), table 1 of the worked example on Wikipedia: 10 subjects, 14 raters, 5 categories
WORKED = """0 0 0 0 14
0 2 6 4 2
0 0 3 5 6
0 3 9 2 0
2 2 8 1 1
7 7 0 0 0
3 2 6 3 0
2 5 3 2 2
6 5 2 1 0
0 2 2 3 7"""


def raters(n, classes, right, seed):
    """Two people who each copy the truth with this probability, else guess."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=n)
    guess = [rng.integers(classes, size=n) for _ in range(2)]
    return [np.where(rng.random(n) < right, truth, each) for each in guess]


def annotations(*columns):
    """A person for each column, with a class or None for each galaxy."""
    rows = [
        Row(str(id), answer, f"person {name}", 1.0, None, 0)
        for name, column in enumerate(columns)
        for id, answer in enumerate(column)
        if answer is not None
    ]
    return Annotations(rows, False, tuple(sorted({row.answer for row in rows})))


@pytest.mark.parametrize("seed", range(5))
def test_cohen_is_that_of_scikit_learn(seed):
    one, other = raters(60, 4, 0.7, seed)
    found = agreement.cohen(one, other)
    assert found["kappa"] == pytest.approx(cohen_kappa_score(one, other), abs=1e-12)
    assert found["agreement"] == pytest.approx((one == other).mean())
    assert found["low"] < found["kappa"] < found["high"] and found["galaxies"] == 60


def test_fleiss_is_that_of_the_published_example():
    counts = np.array([[int(n) for n in line.split()] for line in WORKED.splitlines()])
    found = agreement.fleiss(counts)
    assert found["kappa"] == pytest.approx(0.210, abs=5e-4)
    assert found["agreement"] == pytest.approx(0.378, abs=5e-4)


def test_galaxies_with_more_annotators_count_once():
    """By hand: agreement 1 of (a a), 1/3 of (a b b); classes a 3 and b 2 of 5."""
    found = agreement.fleiss(np.array([[2, 0], [1, 2]]))
    chance = 0.6**2 + 0.4**2
    assert found["agreement"] == pytest.approx(2 / 3)
    assert found["kappa"] == pytest.approx((2 / 3 - chance) / (1 - chance))


def test_intervals_are_those_of_the_known_standard_error():
    """sqrt(o (1 - o)) / ((1 - e) sqrt(n)), Cohen (1960), holds for equal shares of the classes."""
    one, other = raters(800, 4, 0.8, 0)
    found = agreement.cohen(one, other)
    o = found["agreement"]
    error = np.sqrt(o * (1 - o) / 800) / 0.75
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_nothing_but_one_class_has_no_kappa():
    found = agreement.cohen(np.zeros(20, int), np.zeros(20, int))
    assert found["agreement"] == 1 and np.isnan(found["kappa"])
    table = agreement.table(annotations("aaaa", "aaaa"))
    assert "undefined" in agreement.sentence(table.iloc[0].to_dict())


def test_a_row_for_each_pair_and_one_for_all():
    table = agreement.table(annotations("aabb", "abbb", [None, "b", "b", "a"]))
    assert table.annotators.tolist() == [
        "person 0, person 1",
        "person 0, person 2",
        "person 1, person 2",
        "all 3",
    ]
    assert table.galaxies.tolist() == [4, 3, 3, 4]
    assert table.statistic.tolist() == ["Cohen"] * 3 + ["Fleiss"]
    assert table.agreement[0] == 0.75


def test_golden_galaxies_and_those_without_an_opinion_are_left_out():
    given = annotations(["a", "b", "cannot tell", "a"], ["a", "b", "a", "b"])
    assert agreement.table(given).galaxies.tolist() == [3]
    assert agreement.table(given, without={"3"}).agreement.tolist() == [1.0]
