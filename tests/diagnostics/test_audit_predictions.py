"""Each check of predictions: a fault is planted, and named; without it, the check passes."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from galaxymorph.diagnostics.audit_predictions import batch_independent, predictions
from galaxymorph.evaluation.predictions import predictions_in
from tests.diagnostics.conftest import CLASSES
from tests.diagnostics.test_audit import result


@pytest.fixture
def table(sample):
    """Predictions of the labelled galaxies, right in about four of five."""
    n, generator = 180, np.random.default_rng(0)
    true = sample.labels[:n].numpy()
    guess = np.where(generator.random(n) < 0.8, true, generator.integers(0, 3, n))
    p = np.eye(3)[guess] * 0.7 + 0.1
    head = {"id": sample.ids[:n], "split": sample.split[:n], "label": np.array(CLASSES)[true]}
    return pd.DataFrame(head | {f"p_{name}": p[:, i] for i, name in enumerate(CLASSES)})


def audited(table, sample):
    return predictions(predictions_in(table), sample)


def test_predictions_without_fault_pass(table, sample):
    for given in (table, table.sample(frac=1, random_state=1)):
        found = audited(given, sample)
        assert [each.check for each in found] == ["rows", "labels", "splits", "order"]
        assert {each.severity for each in found} == {"passed"}


def test_ids_that_begin_again_in_each_batch(table, sample):
    table["id"] = [f"galaxy{row % 32}" for row in range(len(table))]
    with pytest.raises(ValueError, match="duplicate id.*galaxy0"):
        audited(table, sample)


def test_galaxies_that_are_missing_or_unknown(table, sample):
    table.loc[7, "id"] = "NGC 1"
    found = result(audited(table[table.id != "galaxy3"], sample), "rows")
    assert set(found.ids) == {"NGC 1", "galaxy3", "galaxy7"}
    assert found.severity == "leak"


@pytest.mark.parametrize(("rows", "said"), [(1, "+1 rows"), (-3, "-3 rows")])
def test_a_shifted_column(table, sample, rows, said):
    order = np.random.default_rng(1).permutation(
        len(table)
    )  # the classes are in turn, so a shift by 3 would show nothing
    table = table.iloc[order].reset_index(drop=True)
    table["label"] = np.roll(table.label.to_numpy(), rows)
    found = result(audited(table, sample), "labels")
    assert (found.severity, said in found.message) == ("leak", True)


def test_labels_that_are_shuffled_exchanged_or_wrong(table, sample):
    label = table.label.to_numpy(object)
    for what, faulty in {
        "shuffled": np.random.default_rng(2).permutation(label),
        "spiral is called round": np.array(["spiral", "edge_on", "round"])[
            sample.labels[:180].numpy()
        ],
        "these labels are wrong: galaxy0": np.where(np.arange(180) == 0, "spiral", label),
    }.items():
        found = result(audited(table.assign(label=faulty), sample), "labels")
        assert (found.severity, what in found.message) == ("leak", True)


def test_another_split_than_that_of_the_data_set(table, sample):
    table.loc[150, "split"] = "train"
    found = result(audited(table, sample), "splits")
    assert (found.severity, found.ids) == ("leak", ("galaxy150",))


def test_probabilities_in_another_order_than_labels(table, sample):
    columns = [f"p_{name}" for name in CLASSES]
    order = np.random.default_rng(1).permutation(120)
    table = pd.concat([table.iloc[order], table[120:]], ignore_index=True)
    values = table[columns].to_numpy()
    shifted = table.assign(**dict(zip(columns, np.roll(values, 2, 0).T, strict=True)))
    found = result(audited(shifted, sample), "order")
    assert (found.severity, "-2 rows" in found.message) == ("leak", True)
    shuffled = table.assign(
        **dict(zip(columns, np.random.default_rng(3).permutation(values).T, strict=True))
    )
    found = audited(shuffled, sample)
    assert result(found, "order").severity == "warning"
    assert result(found, "labels").severity == "passed"


def test_tables_of_other_classes_are_refused(table, sample):
    with pytest.raises(
        ValueError,
        match="predictions of round, edge_on, disc; the data set has round, edge_on, spiral",
    ):
        audited(table.rename(columns={"p_spiral": "p_disc"}).assign(label="round"), sample)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, 4),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(1800, 3),
    )


def forward(network, images):
    return network(images / 255)


def one_by_one(network, images):
    return torch.cat([network(image[None] / 255) for image in images])


def test_a_network_in_eval_mode_gives_the_same_in_any_batch(network, images):
    for predict in (forward, one_by_one):
        (found,) = batch_independent(
            functools.partial(predict, network.eval()), images[:8], network=network
        )
        assert (found.severity, "2 layers in eval mode" in found.message) == ("passed", True)


def test_a_network_in_training_mode_is_found_by_what_it_predicts(network, images):
    network[4].p = 0.0
    (found,) = batch_independent(functools.partial(forward, network.train()), images[:8])
    assert (found.severity, "alone they differ" in found.message) == ("leak", True)


def test_chance_in_predictions_is_found(network, images):
    network.eval()[4].train()
    (found,) = batch_independent(functools.partial(forward, network), images[:8])
    assert (found.severity, "predicted again they differ" in found.message) == ("leak", True)


def test_features_extracted_in_training_mode_with_batches_of_one_are_found(network, images):
    """The published fault: what comes out is the same each time, so only the network shows it."""
    network[4].p = 0.0
    (found,) = batch_independent(
        functools.partial(one_by_one, network.train()), images[:8], network=network
    )
    assert found.severity == "leak"
    assert "2 layers were in training mode: 1 (BatchNorm2d), 4 (Dropout)" in found.message
    assert "predicting changed 1.running_mean" in found.message
