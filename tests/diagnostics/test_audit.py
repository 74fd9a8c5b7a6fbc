"""Each check of the audit: a fault is planted, and named; without it, the check passes."""

import functools
import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from galaxymorph.data.galaxies import Galaxies
from galaxymorph.data.load import load
from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.diagnostics import audit, findings
from galaxymorph.diagnostics.duplicates import duplicates
from galaxymorph.evaluation.predictions import predictions_of
from galaxymorph.learning import classifier, encoders, model_files
from galaxymorph.project import model_file, root
from galaxymorph.run.results import read

REAL = os.environ.get("GALAXYMORPH_DATA")
needs_data = pytest.mark.skipif(
    not REAL, reason="GALAXYMORPH_DATA is not set: no real galaxies to test against"
)
CLASSES = ("round", "edge_on", "spiral")


@pytest.fixture(scope="module")
def images():
    return mock_survey(240, image_size=64, seed=5).images


@pytest.fixture
def sample(images):
    """240 mock galaxies: three classes in turn, 120 in train, 30 each in val and test, 60
    unlabelled."""
    split = np.repeat(["train", "val", "test", "unlabelled"], [120, 30, 30, 60])
    labels = torch.arange(240) % 3
    labels[180:] = -1
    ids = np.array([f"galaxy{row}" for row in range(240)])
    return Galaxies(
        ids=ids, images=images.clone(), labels=labels, classes=CLASSES, votes=None, split=split
    )


@pytest.fixture
def table(sample):
    """Predictions of the labelled galaxies, right in about four of five."""
    n, generator = 180, np.random.default_rng(0)
    true = sample.labels[:n].numpy()
    guess = np.where(generator.random(n) < 0.8, true, generator.integers(0, 3, n))
    p = np.eye(3)[guess] * 0.7 + 0.1
    head = {"id": sample.ids[:n], "split": sample.split[:n], "label": np.array(CLASSES)[true]}
    return pd.DataFrame(head | {f"p_{name}": p[:, i] for i, name in enumerate(CLASSES)})


def result(findings, check):
    (found,) = [each for each in findings if each.check == check]
    return found


def jpeg(image, quality):
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image.numpy().transpose(1, 2, 0))).save(
        file, "JPEG", quality=quality
    )
    return torch.from_numpy(np.asarray(Image.open(file)).transpose(2, 0, 1).copy())


def moved(image, y, x):
    """Shifted, with what is beyond the edge filled in by it."""
    size = image.shape[-1]
    return image[:, (torch.arange(size) + y).clamp(0, size - 1)][
        :, :, (torch.arange(size) + x).clamp(0, size - 1)
    ]


# --- galaxies


def test_galaxies_without_fault_pass_every_check(sample):
    found = audit.galaxies(sample)
    assert [each.check for each in found] == ["ids", "duplicates", "class balance", "class sizes"]
    assert {each.severity for each in found} == {"passed"}
    assert [each.n for each in found] == [240, 240, 180, 180]
    findings.check(found)


@pytest.mark.parametrize("other", [5, 200])  # in train, unlabelled
@pytest.mark.parametrize("spelled", ["{}", "folder/{}.jpg", "00{}.fits.bz2"])
def test_an_id_in_test_and_elsewhere_is_a_leak(sample, other, spelled):
    ids = sample.ids.astype(object)
    ids[160], ids[other] = "587722", spelled.format("587722")
    found = audit.shared_ids(replace(sample, ids=ids.astype(str)))
    assert found.severity == "leak"
    assert set(found.ids) == {"587722", spelled.format("587722")}
    assert "(test)" in found.message


def test_an_id_in_train_and_among_the_unlabelled_is_a_warning(sample):
    sample.ids[200] = sample.ids[3]
    assert audit.shared_ids(sample).severity == "warning"


COPIES = {
    "same": lambda image: image,
    "rotated": lambda image: torch.rot90(image, 1, (1, 2)),
    "mirrored": lambda image: image.flip(2),
    "rotated and mirrored": lambda image: torch.rot90(image, 3, (1, 2)).flip(1),
    "compressed": lambda image: jpeg(image, 75),
    "shifted": lambda image: moved(image, 2, -1),
    "all": lambda image: jpeg(moved(torch.rot90(image, 1, (1, 2)).flip(2), 1, 2), 80),
}


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_of_a_test_galaxy_in_another_split_is_a_leak(sample, copy):
    sample.images[7] = COPIES[copy](sample.images[155])
    sample.images[230] = COPIES[copy](sample.images[170])
    sample.images[20] = COPIES[copy](sample.images[30])  # within train: no leak
    found = result(audit.galaxies(sample), "duplicates")
    assert found.severity == "leak"
    assert set(found.ids) == {"galaxy7", "galaxy155", "galaxy230", "galaxy170"}
    assert "1 more within a split" in found.message


def test_a_copy_within_a_split_is_a_warning(sample):
    sample.images[20] = COPIES["all"](sample.images[30])
    found = result(audit.galaxies(sample), "duplicates")
    assert (found.severity, set(found.ids)) == ("warning", {"galaxy20", "galaxy30"})


def test_the_kinds_of_duplicates_and_how_alike_they_are(images):
    images = images.clone()
    images[1], images[3] = COPIES["rotated"](images[0]), COPIES["compressed"](images[2])
    found = duplicates(images).set_index(["first", "second"])
    assert list(found.index) == [(0, 1), (2, 3)]
    assert list(found.kind) == ["exact", "near"]
    assert tuple(found.loc[(0, 1), ["correlation", "difference"]]) == (1, 0)
    assert 0.8 < found.correlation[2, 3] < 1
    assert 0 < found.difference[2, 3] < 0.12


def test_many_identical_images_are_one_group(images):
    """More of them than there are neighbours looked at, one turned, and one compressed."""
    images = images[:40].clone()
    images[10:30] = images[5]
    images[30], images[31] = images[5].flip(1), jpeg(images[5], 80)
    found = duplicates(images)
    assert set(found["first"]) == {5}
    assert sorted(found["second"]) == list(range(10, 32))


@pytest.mark.parametrize("size", [32, 96])
def test_duplicates_at_other_sizes(size):
    images = mock_survey(60, image_size=size, seed=6).images
    images[1] = COPIES["all"](images[0])
    assert duplicates(images)[["first", "second"]].to_numpy().tolist() == [[0, 1]]


def test_too_few_or_empty_images_have_no_duplicates_or_are_one():
    assert len(duplicates(torch.zeros(0, 3, 64, 64, dtype=torch.uint8))) == 0
    assert len(duplicates(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))) == 0
    assert len(duplicates(torch.zeros(3, 3, 64, 64, dtype=torch.uint8))) == 2


def test_splits_with_other_classes_than_the_rest(sample):
    sample.labels[150:180] = torch.tensor(
        [0] * 20 + [1] * 5 + [2] * 5
    )  # test: 20 of 30 round, elsewhere a third
    found = result(audit.galaxies(sample), "class balance")
    assert found.severity == "warning"
    assert "test (p = " in found.message
    assert "round 20, edge_on 5, spiral 5" in found.message


def test_a_class_missing_from_a_split_and_a_small_one(sample):
    sample.labels[150:180] = torch.arange(30) % 2
    sample.labels[120:150] = torch.tensor([0] * 14 + [1] * 14 + [2] * 2)
    found = result(audit.galaxies(sample), "class sizes")
    assert found.severity == "warning"
    assert "0 of spiral in test" in found.message
    assert "2 of spiral in val" in found.message


# --- model files


def header(**more):
    normalisation = {"mean": encoders.MEAN, "std": encoders.STD}
    return {
        "encoder": {"name": "cnn"},
        "normalisation": normalisation,
        "seen": [],
        "seen_labels": [],
        **more,
    }


def normalised(mean, std, **more):
    said = {"mean": [float(each) for each in mean], "std": [float(each) for each in std]}
    return header(normalisation=said, encoder={"name": "cnn", **said}, **more)


def test_a_model_without_fault_passes(sample):
    seen = sample.ids[:120].tolist()
    found = audit.model(header(seen=seen, seen_labels=seen), sample)
    assert {each.check: each.severity for each in found} == dict.fromkeys(
        ["normalisation", "galaxies seen", "labels seen"], "passed"
    )
    imagenet = normalised([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert result(audit.model(imagenet, sample), "normalisation").severity == "passed"


def test_labels_of_test_galaxies_seen_are_a_leak_images_a_warning(sample):
    tests = sample.ids[150:155].tolist()
    found = result(audit.model(header(seen=tests, seen_labels=tests), sample), "labels seen")
    assert (found.severity, list(found.ids)) == ("leak", tests)
    found = audit.model(header(seen=tests), sample)
    assert (result(found, "galaxies seen").severity, result(found, "labels seen").severity) == (
        "warning",
        "passed",
    )
    of_validation = sample.ids[120:123].tolist()
    found = audit.model(header(seen=of_validation, seen_labels=of_validation), sample)
    assert (result(found, "galaxies seen").severity, result(found, "labels seen").severity) == (
        "passed",
        "warning",
    )
    old = {key: value for key, value in header().items() if not key.startswith("seen")}
    assert result(audit.model(old, sample), "labels seen").severity == "warning"


def test_normalisation_measured_on_more_than_training_galaxies_is_a_leak(sample):
    pixels = sample.images.double().div(255).transpose(0, 1).flatten(2)  # (3, galaxy, pixel)
    for rows, severity in (
        (slice(0, 240), "leak"),
        (slice(0, 150), "leak"),
        (slice(0, 120), "passed"),
    ):
        part = pixels[:, rows].flatten(1)
        found = result(audit.model(normalised(part.mean(1), part.std(1)), sample), "normalisation")
        assert found.severity == severity
    said = normalised([0.2] * 3, [0.2] * 3, normalisation_ids=sample.ids[100:123].tolist())
    found = result(audit.model(said, sample), "normalisation")
    assert (found.severity, found.ids) == ("leak", ("galaxy120", "galaxy121", "galaxy122"))
    said["normalisation_ids"] = sample.ids[:100].tolist()
    assert result(audit.model(said, sample), "normalisation").severity == "passed"


def test_normalisation_that_is_unknown_or_not_what_the_encoder_does_is_a_warning(sample):
    found = result(audit.model(normalised([0.2] * 3, [0.2] * 3), sample), "normalisation")
    assert (found.severity, "normalisation_ids" in found.message) == ("warning", True)
    other = header(normalisation={"mean": 0.5, "std": 0.5})
    assert "its encoder takes" in result(audit.model(other, sample), "normalisation").message


# --- predictions


def test_predictions_without_fault_pass(table, sample):
    for given in (table, table.sample(frac=1, random_state=1)):
        found = audit.predictions(given, sample)
        assert [each.check for each in found] == ["rows", "labels", "splits", "order"]
        assert {each.severity for each in found} == {"passed"}


def test_ids_that_begin_again_in_each_batch(table, sample):
    table["id"] = [f"galaxy{row % 32}" for row in range(len(table))]
    found = result(audit.predictions(table, sample), "rows")
    assert found.severity == "leak"
    assert "begin again every 32 rows" in found.message


def test_galaxies_that_are_missing_twice_or_unknown(table, sample):
    table.loc[3, "id"], table.loc[7, "id"] = "galaxy4", "NGC 1"
    found = result(audit.predictions(table, sample), "rows")
    assert set(found.ids) == {"galaxy4", "NGC 1", "galaxy3", "galaxy7"}
    assert (found.severity, "begin again" in found.message) == ("leak", False)


@pytest.mark.parametrize(("rows", "said"), [(1, "+1 rows"), (-3, "-3 rows")])
def test_a_shifted_column(table, sample, rows, said):
    order = np.random.default_rng(1).permutation(
        len(table)
    )  # the classes are in turn, so a shift by 3 would show nothing
    table = table.iloc[order].reset_index(drop=True)
    table["label"] = np.roll(table.label.to_numpy(), rows)
    found = result(audit.predictions(table, sample), "labels")
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
        found = result(audit.predictions(table.assign(label=faulty), sample), "labels")
        assert (found.severity, what in found.message) == ("leak", True)


def test_another_split_than_that_of_the_data_set(table, sample):
    table.loc[150, "split"] = "train"
    found = result(audit.predictions(table, sample), "splits")
    assert (found.severity, found.ids) == ("leak", ("galaxy150",))


def test_probabilities_in_another_order_than_labels(table, sample):
    columns = [f"p_{name}" for name in CLASSES]
    order = np.random.default_rng(1).permutation(120)
    table = pd.concat([table.iloc[order], table[120:]], ignore_index=True)
    values = table[columns].to_numpy()
    shifted = table.assign(**dict(zip(columns, np.roll(values, 2, 0).T, strict=True)))
    found = result(audit.predictions(shifted, sample), "order")
    assert (found.severity, "-2 rows" in found.message) == ("leak", True)
    shuffled = table.assign(
        **dict(zip(columns, np.random.default_rng(3).permutation(values).T, strict=True))
    )
    found = audit.predictions(shuffled, sample)
    assert result(found, "order").severity == "warning"
    assert result(found, "labels").severity == "passed"


def test_tables_of_other_classes_are_refused(table, sample):
    with pytest.raises(ValueError, match="no column p_spiral"):
        audit.predictions(table.drop(columns="p_spiral"), sample)


# --- networks


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
        (found,) = audit.batch_independent(
            functools.partial(predict, network.eval()), images[:8], network=network
        )
        assert (found.severity, "2 layers in eval mode" in found.message) == ("passed", True)


def test_a_network_in_training_mode_is_found_by_what_it_predicts(network, images):
    network[4].p = 0.0
    (found,) = audit.batch_independent(functools.partial(forward, network.train()), images[:8])
    assert (found.severity, "alone they differ" in found.message) == ("leak", True)


def test_chance_in_predictions_is_found(network, images):
    network.eval()[4].train()
    (found,) = audit.batch_independent(functools.partial(forward, network), images[:8])
    assert (found.severity, "predicted again they differ" in found.message) == ("leak", True)


def test_features_extracted_in_training_mode_with_batches_of_one_are_found(network, images):
    """The published fault: what comes out is the same each time, so only the network shows it."""
    network[4].p = 0.0
    (found,) = audit.batch_independent(
        functools.partial(one_by_one, network.train()), images[:8], network=network
    )
    assert found.severity == "leak"
    assert "2 layers were in training mode: 1 (BatchNorm2d), 4 (Dropout)" in found.message
    assert "predicting changed 1.running_mean" in found.message


# --- what becomes of findings

FINDINGS = [
    findings.Finding(
        "ids", "leak", "the same id in different splits: a (train) = a (test)", ("a", "a"), 10
    ),
    findings.Finding("class balance", "warning", "skewed", n=10),
    findings.Finding("rows", "passed", "every galaxy is there", n=7),
]


def test_a_leak_stops_unless_it_is_allowed():
    with pytest.raises(
        findings.Leak,
        match=r"a \(train\) = a \(test\)\. What to do: leave them out.*\n.*allow: \['ids'\]",
    ):
        findings.check(FINDINGS)
    findings.check(FINDINGS, allow=["ids"])
    findings.check(FINDINGS[1:])
    with pytest.raises(findings.Leak):
        findings.check(FINDINGS, allow=["duplicates"])
    with pytest.raises(ValueError, match="unknown check 'duplicate' .did you mean duplicates"):
        findings.check([], allow=["duplicate"])


def test_the_summary_has_every_check_that_was_made():
    table = findings.summary(FINDINGS)
    assert table.check.tolist() == ["ids", "class balance", "rows"]
    assert table.result.tolist() == ["leak", "warning", "passed"]
    assert table.n.tolist() == [10, 10, 7]
    assert table.galaxies.tolist() == [2, 0, 0]


# --- real galaxies


# ---- all that a run has made


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A run by hand on the mock survey: a network that was trained with one seed, and a table of
    another one."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    survey = {"name": "simulated", "n_galaxies": 120, "image_size": 32}
    drawn = {seed: load(**survey, seed=seed) for seed in (0, 1)}
    for seed, name in ((0, "cnn/seed=0"), (1, "forest/seed=1")):
        labelled = drawn[seed].take(drawn[seed].labels.numpy() >= 0)
        chance = (
            np.eye(4)[np.random.default_rng(0).permutation(labelled.labels.numpy())] * 0.6 + 0.1
        )
        right = np.eye(4)[labelled.labels.numpy()] * 0.6 + 0.1
        p = np.where(np.arange(len(right))[:, None] % 5, right, chance)
        made = predictions_of(
            ids=labelled.ids,
            split=labelled.split,
            labels=labelled.labels,
            probabilities=p,
            classes=labelled.classes,
        )
        folder = tmp_path / "results/ours" / name
        folder.mkdir(parents=True)
        made.table().to_csv(folder / "predictions.csv", index=False)
        (folder / "metrics.json").write_text('{"n_test": 1}')
    torch.manual_seed(0)
    network = encoders.encoder("cnn", channels=[8])
    model = classifier.Classifier(network, classes=4)
    train_ids = sorted(drawn[0].part("train").ids.tolist())
    more = {
        "classes": drawn[0].classes,
        "image_size": 32,
        "seen": train_ids,
        "seen_labels": train_ids,
    }
    file = model_file("ours", "cnn/seed=0")
    model_files.write(
        file, model, encoder=network.options, normalisation=network.normalisation, **more
    )
    return survey, drawn


def trained(survey, steps=None):
    results = [(each, model_file("ours", each.name)) for each in read("ours", steps)]
    return audit.trained(results, galaxies=survey)


def test_all_that_a_run_has_made_is_held_against_its_own_split(finished):
    survey, _ = finished
    found = trained(survey)
    assert set(found) == {"cnn/seed=0", "cnn/seed=0, model", "forest/seed=1"}
    assert [each.check for each in found["forest/seed=1"]] == ["rows", "labels", "splits", "order"]
    assert [each.check for each in found["cnn/seed=0, model"]] == [
        "normalisation",
        "galaxies seen",
        "labels seen",
        "batches",
    ]
    assert {each.severity for several in found.values() for each in several} == {"passed"}
    table = findings.overview(found)
    assert table.set_index("check").of.to_dict() == {
        **dict.fromkeys(["normalisation", "labels seen", "galaxies seen", "batches"], 1),
        **dict.fromkeys(["rows", "labels", "splits", "order"], 2),
    }
    assert findings.sentences(found) == ["Audit of 3 things: 12 of 12 checks passed."]
    assert trained(survey, ["forest"]).keys() == {"forest/seed=1"}
    assert audit.trained([], galaxies=survey) == {}


def test_a_table_of_another_split_and_a_model_that_knew_the_test_are_named(finished):
    survey, drawn = finished
    one, other = (
        root() / f"results/ours/{name}/predictions.csv" for name in ("forest/seed=1", "cnn/seed=0")
    )
    one.write_bytes(other.read_bytes())  # as of seed 0
    file = model_file("ours", "cnn/seed=0")
    state, header = model_files.load(file)
    model = classifier.Classifier(encoders.encoder(**header["encoder"]), classes=4)
    model.load_state_dict(state)
    told = sorted([*header["seen"], *drawn[0].part("test").ids[:2].tolist()])
    model_files.write(file, model, **header | {"seen": told, "seen_labels": told})
    found = trained(survey)
    table = findings.overview(found).set_index("check")
    assert table.result.to_dict()["splits"] == table.result.to_dict()["labels seen"] == "leak"
    assert (table.leaks["splits"], table.of["splits"]) == (1, 2)
    assert (
        table.what["splits"].startswith("forest/seed=1: ") and "2 of" in table.what["labels seen"]
    )
    said = findings.sentences(found)
    assert said[0] == "Audit of 3 things: 10 of 12 checks passed." and len(said) == 3
    assert any(sentence.startswith("splits (leak, 1 of 2): forest/seed=1: ") for sentence in said)
    with pytest.raises(findings.Leak, match="labels seen"):
        findings.check([each for several in found.values() for each in several], allow=["splits"])


def cut_out(paths, crop=None):
    found = []
    for path in paths:
        image = Image.open(path).convert("RGB")
        left = (image.width - crop) // 2 if crop else 0
        box = (left, left, image.width - left, image.height - left)
        pixels = np.asarray(image.resize((64, 64), Image.Resampling.LANCZOS, box))
        found.append(torch.from_numpy(pixels.transpose(2, 0, 1).copy()))
    return torch.stack(found)


@needs_data
def test_galaxies_that_two_real_sets_share_are_found_by_id():
    root = Path(str(REAL))
    labelled, unlabelled = (
        sorted(root.glob("four_class/*/*.jpg")),
        sorted(root.glob("galaxy_zoo_128/*.jpg")),
    )
    ids = np.array([path.stem for path in [*labelled, *unlabelled]])
    split = np.repeat(["test", "unlabelled"], [len(labelled), len(unlabelled)])
    labels = torch.tensor([int(path.parent.name) for path in labelled] + [-1] * len(unlabelled))
    blank = torch.zeros(len(ids), 3, 2, 2, dtype=torch.uint8)
    sample = Galaxies(
        ids=ids, images=blank, labels=labels, classes=tuple("0123"), votes=None, split=split
    )
    found = audit.shared_ids(sample)
    assert (found.severity, len(found.ids), len(set(found.ids))) == ("leak", 2 * 177, 177)


@needs_data
def test_galaxies_that_two_real_sets_share_are_found_by_look_at_another_scale():
    """The same galaxies cut from 424 px and from 128 px files, among others."""
    root = Path(str(REAL))
    cut = sorted(root.glob("galaxy_zoo_2/images_test_rev1/*.jpg"))[:100]
    other = [
        path
        for path in sorted(root.glob("galaxy_zoo_128/*.jpg"))
        if path.stem not in {each.stem for each in cut}
    ][:300]
    images = torch.cat(
        [
            cut_out(cut, crop=212),
            cut_out([root / "galaxy_zoo_128" / path.name for path in cut]),
            cut_out(other),
        ]
    )
    found = duplicates(images)
    pairs = set(zip(found["first"].tolist(), found["second"].tolist(), strict=True))
    planted = {(row, row + 100) for row in range(100)}
    assert len(pairs & planted) >= 97
    names = [path.stem for path in [*cut, *cut, *other]]
    assert [(names[a], names[b]) for a, b in pairs - planted] == []
