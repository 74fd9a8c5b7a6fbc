"""Consistency of perturbed predictions and features whose answer is known, by construction or by
hand."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from galaxymorph.diagnostics import perturbed
from galaxymorph.evaluation.intervals import wilson


def named(values):
    """Outputs (perturbation, galaxy, ...) by perturbation."""
    values = torch.as_tensor(values)
    return dict(zip(["reference", *"123456789"], values, strict=False))


def table_of(p, labels=None):
    outputs = named(p)
    n, n_classes = outputs["reference"].shape
    ids = np.array([*"xyz"] if n == 3 else [f"g{i}" for i in range(n)])
    labels = np.array(labels if labels is not None else [""] * n)
    return perturbed.table(outputs, ids=ids, labels=labels, classes="abcdef"[:n_classes])


def measured(p, labels=None, **options):
    """Metrics by name of probabilities (perturbation, galaxy, class)."""
    return perturbed.of_predictions(table_of(p, labels), **options).set_index("metric")


def of_features(values, **options):
    return perturbed.of_features(named(values), **options)


def test_outputs_are_those_of_each_perturbation():
    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).view(2, 3, 4, 4)
    found = perturbed.outputs(
        lambda given: given.mean((1, 2, 3))[:, None],
        images,
        {"reference": lambda given: given, "brighter": lambda given: given + 1},
    )
    assert list(found) == ["reference", "brighter"]
    torch.testing.assert_close(found["brighter"], found["reference"] + 1)


HAND = [  # (perturbation, galaxy, class)
    [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.2, 0.6]],
    [[0.6, 0.2, 0.2], [0.5, 0.4, 0.1], [0.2, 0.2, 0.6]],
    [[0.4, 0.5, 0.1], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6]],
]


def test_a_table_by_hand():
    found = measured(HAND, ["b", "a", ""])
    assert found.value["agreement"] == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert found.value["same"] == pytest.approx(1 / 3)
    assert found.value["spread"] == pytest.approx(
        (np.std([0.8, 0.6, 0.4]) + np.std([0.6, 0.4, 0.3]) + 0) / 3
    )
    assert found.value["accuracy"] == 0
    assert found.value["accuracy_turned"] == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert found.value["accuracy_averaged"] == found.value["gain"] == pytest.approx(1 / 2)
    assert found.n.to_dict() == dict.fromkeys(["agreement", "same", "spread"], 3) | dict.fromkeys(
        found.index[3:], 2
    )
    assert (found.low["same"], found.high["same"]) == wilson(1, 3)
    assert (found.low["accuracy"], found.high["accuracy"]) == wilson(0, 2)
    assert list(measured(HAND).index) == ["agreement", "same", "spread"]  # no labels
    without = perturbed.of_predictions(table_of(HAND).drop(columns="label"))
    pd.testing.assert_frame_equal(without.set_index("metric"), measured(HAND))


def test_the_order_of_rows_and_columns_of_others_mean_nothing():
    table = table_of(torch.tensor(HAND, dtype=torch.float64), ["b", "a", ""])
    assert table.columns.to_list() == ["id", "perturbation", "label", "p_a", "p_b", "p_c"]
    assert table.loc[4].to_list() == ["y", "1", "a", 0.5, 0.4, 0.1]
    expected = perturbed.of_predictions(table)
    shuffled = table.sample(frac=1, random_state=0)[
        ["p_c", "p_a", "perturbation", "label", "id", "p_b"]
    ].assign(method="theirs")
    pd.testing.assert_frame_equal(perturbed.of_predictions(shuffled), expected)


def test_a_table_with_numbers_for_names_survives_a_file(tmp_path):
    classes, ids = ("0", "1", "2"), np.array(["7", "08", "9"])
    table = perturbed.table(named(HAND), ids=ids, labels=np.array(["1", "0", ""]), classes=classes)
    table.to_csv(tmp_path / "turned.csv", index=False)
    found = perturbed.of_predictions(pd.read_csv(tmp_path / "turned.csv"))
    pd.testing.assert_frame_equal(found, perturbed.of_predictions(table))


def test_intervals_are_as_wide_as_the_standard_error_says():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1], (5, 400))
    found = measured(p, rng.choice(["a", "b"], 400), n_bootstrap=4000)
    taken = p.argmax(2)
    each = (taken[1:] == taken[0]).mean(0)
    error = 1.96 * each.std() / 20
    assert found.low["agreement"] == pytest.approx(each.mean() - error, abs=0.004)
    assert found.high["agreement"] == pytest.approx(each.mean() + error, abs=0.004)
    none = measured(p, n_bootstrap=0)
    assert none.value["agreement"] == found.value["agreement"] and math.isnan(none.low["agreement"])


def test_features_by_hand():
    """Two galaxies at -3 and 3 on an axis, plus a constant that all share; the second moves by 4
    across in the other turn."""
    features = torch.tensor([[[7.0, 0.0], [13.0, -1.0]], [[7.0, 0.0], [13.0, 3.0]]])
    found = of_features(features).set_index("metric")
    mean = np.array([10.0, 0.5])
    first, second = np.array([13.0, -1.0]) - mean, np.array([13.0, 3.0]) - mean
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert found.value["cosine"] == pytest.approx((1 + cosine) / 2)
    total = ((features.numpy() - mean) ** 2).sum()
    assert found.value["between_turns"] == pytest.approx(2 * 2**2 / total)
    assert list(found.n) == [2, 2]


def test_features_are_compared_with_the_analysis_of_variance():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(4, 30, 1)) + 2 * rng.normal(size=(1, 30, 1))
    found = of_features(torch.from_numpy(values)).set_index("metric")
    statistic = stats.f_oneway(*values[:, :, 0].T).statistic
    share = 1 / (
        1 + statistic * 29 / (30 * 3)
    )  # within over total, from F = (between / 29) / (within / 90)
    assert found.value["between_turns"] == pytest.approx(share)
    assert found.low["between_turns"] < share < found.high["between_turns"]


def test_a_constant_direction_is_no_consistency():
    values = torch.randn(8, 200, 16, generator=torch.Generator().manual_seed(0))
    for offset in (0.0, 100.0):  # features of nothing but chance
        found = of_features(values + offset, n_bootstrap=0).set_index("metric").value
        assert found["cosine"] == pytest.approx(0, abs=0.03)
        assert found["between_turns"] == pytest.approx(1 - 1 / 8, abs=0.01)
    found = of_features(torch.ones(3, 4, 5))
    assert found["value"].isna().all() and found["low"].isna().all()


# ---- what is wrong with a table


def broken(**changes):
    table = table_of(HAND, ["b", "a", ""])
    for column, (row, value) in changes.items():
        table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    "table, message",
    [
        (broken().drop(columns=["id", "perturbation"]), "column 'id', 'perturbation' is missing"),
        (
            broken().drop(columns=["p_a", "p_b", "p_c"]),
            "under 'reference': missing column 'p_<class>'",
        ),
        (broken()[:3], "expected at least two, including 'reference', found reference"),
        (broken()[3:], "at least two, including 'reference', found 1, 2"),
        (broken()[:0], "including 'reference', found none"),
        (broken().drop(index=4), "do not occur under both 'reference' and '1' with one label: y"),
        (broken(id=(4, "x")), r"under '1': duplicate id, .* line \d \(id x\)"),
        (broken(p_a=(4, 0.9)), r"under '1': .* sum to 1, 1 of \d+ rows: line 3 \(id y\) 1.4"),
        (broken(p_a=(4, np.nan)), r"line 3 \(id y\) nan"),
        (broken(label=(3, "d")), r"under '1': label is not a class, .*\(id x\) 'd'; .* a, b, c"),
        (broken(label=(3, "c")), "do not occur under both 'reference' and '1' with one label: x"),
        (broken(label=(8, "c")), "do not occur under both 'reference' and '2' with one label: z"),
    ],
)
def test_faulty_tables_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        perturbed.of_predictions(table)


def test_faulty_features_are_refused():
    with pytest.raises(
        ValueError, match="expected at least two, including 'reference', found reference"
    ):
        of_features(torch.zeros(1, 4, 2))
    with pytest.raises(ValueError, match="features: expected at least two galaxies, found 1"):
        of_features(torch.zeros(4, 1, 2))
    values = torch.zeros(3, 4, 2)
    values[2, 1, 0] = math.nan
    with pytest.raises(ValueError, match="features of galaxy 1 .from 0. under '2' are not finite"):
        of_features(values)
