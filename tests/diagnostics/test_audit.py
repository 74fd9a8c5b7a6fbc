"""Each check of the audit: a fault is planted, and named; without it, the check passes."""

import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from galaxymorph.data.galaxies import Galaxies
from galaxymorph.data.load import load
from galaxymorph.diagnostics import audit, findings
from galaxymorph.diagnostics.duplicates import duplicates
from galaxymorph.evaluation.predictions import predictions_of
from galaxymorph.learning import classifier, encoders, model_files
from galaxymorph.project import model_file, root
from galaxymorph.run.results import read

REAL = os.environ.get("GALAXYMORPH_DATA")


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


@pytest.mark.long
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


QUICK = ("same", "shifted", "all")  # the last is all kinds at once


@pytest.mark.parametrize(
    "copy",
    [pytest.param(k, marks=[] if k in QUICK else pytest.mark.slow) for k in COPIES],
)
@pytest.mark.long
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


def test_blank_frames_are_no_duplicates_but_named(sample):
    rows = [3, 40, 155, 200]
    for row, value in zip(rows, (0, 0, 0, 255), strict=True):
        sample.images[row] = value
    sample.images[20] = COPIES["compressed"](sample.images[155])  # a JPEG of nothing
    found = audit.galaxies(sample)
    assert result(found, "duplicates").severity == "passed"
    blank = result(found, "blank frames")
    assert blank.severity == "warning"
    assert blank.ids == tuple(f"galaxy{row}" for row in (3, 20, 40, 155, 200))
    assert "5 of 240 images are blank" in blank.message
    findings.check(found)  # does not stop the run


def test_what_cannot_be_seen_in_small_images_is_said(sample):
    small = sample.images[..., ::4, ::4].contiguous()
    found = result(audit.galaxies(replace(sample, images=small)), "duplicates")
    assert (found.severity, "16 px are too few" in found.message) == ("passed", True)


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
    assert "its encoder uses" in result(audit.model(other, sample), "normalisation").message


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
    passed = "Leak audit: all 12 checks passed (3 data sets, models and prediction files)."
    assert findings.sentences(found) == [passed]
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
    assert said[0].startswith("Leak audit: 10 of 12 checks passed (3 data sets") and len(said) == 3
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


@pytest.mark.real
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


@pytest.mark.real
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
