"""Every notebook executed by the runner, with params.yaml at toy size. (By hand:
`test_by_hand.py`.)"""

import io
import json
import shutil
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from galaxymorph import cli, galaxy_zoo_tree
from galaxymorph.data.load import load
from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.evaluation.predictions import read_predictions, read_votes
from galaxymorph.learning import model_files, saved, train
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.encoders import encoder
from galaxymorph.morphology import classifiers
from galaxymorph.morphology.measures import features

PROJECT = Path(__file__).parents[1]
TOY = {
    "galaxies.n_galaxies": 240,
    "galaxies.image_size": 32,
    "galaxies.test": 0.2,
    "galaxies.val": 0.2,
    "audit.seeds": [0, 1],
    "audit_results.seeds": [0],
    "classical.over": {"n_labels": [None, 60], "seed": [0]},
    "cnn.over": {"n_labels": [None, 60], "seed": [0]},
    "cnn.training.epochs": 1,
    "mock_cnn.over": {"n_labels": [None, 60], "seed": [0]},
    "mock_cnn.training": {"epochs": 1},
    "resnet18.over.seed": [0, 1],
    "resnet18.training.epochs": 2,
    "resnet50.over.seed": [0],
    "resnet50.training.epochs": 1,
    "cae.over.seed": [0],
    "cae.training.epochs": 1,
    "moco.over.seed": [0, 1],
    "moco.training.epochs": 1,
    "moco.contrast.queue": 64,
    "cae_features.over.seed": [0],
    "moco_features.over.seed": [1],
    "cae_frozen.over.seed": [0],
    "cae_frozen.training.epochs": 2,
    "moco_frozen.over.seed": [1],
    "moco_frozen.training.epochs": 2,
    "moco_finetuned.over.seed": [0],
    "moco_finetuned.training.epochs": 1,
    "votes_plain.training.epochs": 1,
    "votes_tree.training.epochs": 1,
    "stack.over": {"n_labels": [None], "seed": [0]},
    "gradcam.n_scored": 2,
    "gradcam.methods": ["gradcam", "layercam"],
}


def classes(path: Path | str) -> pd.DataFrame:
    return read_predictions(path).table()


def votes(path: Path | str) -> pd.DataFrame:
    return read_votes(path).table()


def galaxymorph(folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit status of a command, and what it said. Its jobs share one fork server."""
    said = io.StringIO()
    with chdir(folder), redirect_stdout(said), redirect_stderr(said):
        return cli.main(arguments), said.getvalue()


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project of its own with the suite run in it at toy size."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(
        PROJECT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".*")
    )
    shutil.copy(PROJECT / "params.yaml", folder)
    overrides = [
        word for key, value in TOY.items() for word in ("-s", f"{key}={json.dumps(value)}")
    ]
    status, said = galaxymorph(folder, "run", "--jobs", "2", *overrides)
    assert status == 0, said
    (folder / "printed.txt").write_text(said)
    return folder


@pytest.fixture
def inside(project, monkeypatch) -> Path:
    monkeypatch.chdir(project)
    return project


def test_a_run_ends_with_the_table_and_the_report(project):
    printed = (project / "printed.txt").read_text()
    methods = (
        "ResNet18",
        "ResNet50",
        "ResNet18 from MoCo, fine-tuned",
        "small network on MoCo features",
        "linear probe on untrained autoencoder features",
        "majority",
    )
    assert all(word in printed for word in (*methods, "index.html"))
    text = " ".join(printed.split())
    assert "small network on MoCo features, all labels: pre-training" in text  # helped, or did not
    assert "gap closed (%)" in printed  # of vote fractions
    assert "contradict the decision tree" in text
    page = (project / "results/mock/index.html").read_text()
    assert all(word in page for word in (*methods, "data:image/webp;base64"))


def test_the_answer_is_that_of_the_tables_and_opens_the_report(inside):
    verdicts = pd.read_csv("results/mock/compare/answer.csv")
    table = pd.read_csv("results/mock/compare/table.csv")
    everything = table[table.n_labels.isna() & ~table.protocol.str.contains("control|random")]
    assert verdicts.n_labels.tolist()[:1] == [60] and verdicts.n_labels.isna().tolist()[-1]
    assert everything.set_index("method").val_accuracy.idxmax() == verdicts.method.iloc[-1]
    page = Path("results/mock/index.html").read_text()
    order = [
        page.index(f"<h2>{title}</h2>")
        for title in ("Recommendation", "label efficiency", "comparison", "where methods fail")
    ]
    named = table.set_index("method").title.to_dict()
    assert order == sorted(order) and named[verdicts.method.iloc[-1]] in page[order[0] : order[1]]


def test_label_efficiency_is_of_nested_draws_and_the_same_test_galaxies(inside):
    equivalent = pd.read_csv("results/mock/label_efficiency/equivalent.csv")
    assert set(equivalent.a) == {
        "cnn",
        "mock_cnn",
        *(f"classical {name}" for name in ("forest", "svm", "logistic", "pca_forest")),
    }
    few, every = (
        classes(f"results/mock/cnn/n_labels={n},seed=0/predictions.csv") for n in (60, "null")
    )
    learned = [set(table.id[table.split == "train"]) for table in (few, every)]
    assert len(learned[0]) == 60 and learned[0] < learned[1]
    assert set(few.id[few.split == "test"]) == set(every.id[every.split == "test"])
    tested = few[few.split == "test"]
    seeds = pd.read_csv("results/mock/label_efficiency/seeds.csv").set_index(
        ["method", "n_labels", "seed"]
    )
    right = tested.label == tested.filter(regex="^p_").idxmax(axis=1).str.removeprefix("p_")
    assert seeds.accuracy.loc["cnn", 60, 0] == pytest.approx(right.mean())


def test_the_audit_looks_at_all_that_was_made(inside):
    found = pd.read_csv("results/mock/audit_results/findings.csv")
    made = {name.partition(",")[0] for name in found.of}
    assert {
        "cnn/n_labels=60",
        "resnet18/seed=1",
        "cae_frozen/seed=0/dnn",
        "votes_tree",
        "moco/seed=0",
    } <= made
    assert set(found.result) <= {"passed", "warning"} and "batches" in set(found.check)
    assert pd.read_csv("results/mock/audit/audit.csv").of.tolist() == [
        2,
        2,
        2,
        2,
    ]  # splits of two seeds


def test_consistency_is_that_of_its_turned_predictions(inside):
    folder = inside / "results/mock/consistency"
    table = pd.read_csv(folder / "consistency.csv")
    assert set(table.method) == {"cnn", "cae"}
    turned = pd.read_csv(folder / "turned.csv", dtype={"id": str})
    assert set(turned.id) == set(
        load("simulated", n_galaxies=240, image_size=32, seed=0).part("test").ids
    )


def test_failures_are_those_of_the_predictions(inside):
    folder = inside / "results/mock/failures"
    known = json.loads((folder / "metrics.json").read_text())
    assert len(known["compared"]) == 2 and known["findings"]
    table, properties = (
        pd.read_csv(folder / f"{name}.csv", dtype={"id": str})
        for name in ("failures", "properties")
    )
    assert set(table.property) == set(properties.columns) - {"id"}
    assert not any("random_" in method or "pca" in method for method in table.method)
    suspects = pd.read_csv(folder / "suspects.csv")
    assert (suspects.label != suspects.suspected).all() and (suspects.methods <= suspects.of).all()


def test_a_leak_stops_a_run_and_names_the_galaxies(tmp_path):
    """The same mock galaxy in two splits, under two names."""
    survey = mock_survey(90, image_size=32, seed=3)
    for k, image in enumerate(survey.images.numpy().transpose(0, 2, 3, 1)):
        path = tmp_path / "galaxies" / "ab"[k % 2] / f"g{k:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    sample = load("folder", root=tmp_path / "galaxies", image_size=32, cache=tmp_path / "cache")
    one, other = (str(sample.part(split).ids[0]) for split in ("test", "train"))
    copy = next((tmp_path / "galaxies").glob(f"*/{one}.png"))
    next((tmp_path / "galaxies").glob(f"*/{other}.png")).write_bytes(copy.read_bytes())
    shutil.copytree(
        PROJECT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*")
    )
    params = {
        "run": "leaky",
        "galaxies": {"name": "folder", "root": "galaxies", "image_size": 32},
        "audit": {"notebook": "01_audit"},
        "classical": {
            "notebook": "06_classical",
            "forest": {"trees": 5, "leaves": [1]},
            "pca_forest": {"trees": 5},
        },
    }
    (tmp_path / "params.yaml").write_text(json.dumps(params))
    status, said = galaxymorph(tmp_path, "run")
    assert status == 1
    assert one in said and other in said and "classical: not executed, needs audit" in said
    page = (tmp_path / "results/leaky/index.html").read_text()
    assert "duplicates (leak" in page and one in page and other in page
    status, said = galaxymorph(tmp_path, "run", "-s", "audit.allow=[duplicates]")
    assert status == 0, said


def test_every_method_is_tested_on_the_same_galaxies_and_ids_keep_their_labels(inside):
    sample = load("simulated", n_galaxies=240, image_size=32, seed=0)
    truth = dict(
        zip(
            sample.ids.tolist(),
            [sample.classes[k] if k >= 0 else "" for k in sample.labels],
            strict=True,
        )
    )
    tested = []
    for step in ("resnet18/seed=0", "resnet50/seed=0"):
        table = classes(inside / "results/mock" / step / "predictions.csv")
        assert [truth[galaxy] for galaxy in table.id] == list(table.label)
        assert table.split.to_list() == [
            sample.split[sample.ids == galaxy].item() for galaxy in table.id
        ]
        tested.append(set(table.id[table.split == "test"]))
    assert tested[0] == tested[1] == set(sample.part("test").ids)
    other = classes(inside / "results/mock/resnet18/seed=1/predictions.csv")
    assert set(other.id[other.split == "test"]) != tested[0]  # another seed draws another split


def test_pretraining_has_seen_no_test_galaxy_and_no_label(inside):
    for step, seed in (("cae", 0), ("moco", 0), ("moco", 1)):
        sample = load("simulated", n_galaxies=240, image_size=32, seed=seed)
        _, header = model_files.load(f"models/mock/{step}/seed={seed}.safetensors")
        test, val = (set(sample.part(split).ids) for split in ("test", "val"))
        assert set(header["seen"]) == set(sample.ids) - test - val
        assert header["seen_labels"] == []
    # fine-tuning adds the labels that it was told, and the test galaxies of another seed are then
    # refused
    tuned = encoder("models/mock/moco_finetuned/seed=0.safetensors")
    train_ids = set(load("simulated", n_galaxies=240, image_size=32, seed=0).part("train").ids)
    assert tuned.seen_labels == train_ids and tuned.seen > train_ids
    with pytest.raises(ValueError, match="labels of .* test galaxies"):
        tuned.protocol("frozen", test)


def test_features_are_those_of_a_model_file_whoever_trained_it(inside):
    for name in ("cae_features/seed=0", "moco_features/seed=1"):
        folder = Path("results/mock", name)
        known = json.loads((folder / "metrics.json").read_text())
        assert set(known["validation"]) == {"linear probe", "linear probe, random encoder"}
        assert known["findings"][0].startswith(f"{name}: the encoder ")
        for file in ("features_pca.png", "features_tsne.png", "features3d.html", "neighbours.png"):
            assert (folder / file).is_file()
    page = Path("results/mock/index.html").read_text()
    assert "cae_features/seed=0: the encoder" in page
    assert 'href="cae_features/seed%3D0/features3d.html"' in page


def test_protocols_say_how_an_encoder_came_about(inside):
    table = pd.read_csv(inside / "results/mock/compare/table.csv").set_index("method").protocol
    assert table["resnet18"] == "from scratch" and table["moco_finetuned"] == "fine-tuned"
    assert table["votes_tree"] == "from scratch"
    assert (
        table["moco_frozen knn"] == "frozen"
        and table["cae_frozen random_dnn"] == "frozen, random encoder"
    )


def test_a_transductive_pretraining_is_called_so_in_every_table(project, tmp_path):
    shutil.copytree(
        project / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*")
    )
    params = {
        "run": "all",
        "galaxies": {"name": "simulated", "n_galaxies": 240, "image_size": 32},
        "cae": {
            "notebook": "04_cae",
            "learn_from": ["train", "test"],
            "training": {"epochs": 1, "batch_size": 64},
        },
        "further": {
            "notebook": "04_cae",
            "encoder": {"step": "cae"},
            "training": {"epochs": 1, "batch_size": 64},
        },
        "frozen": {
            "notebook": "08_frozen",
            "encoder": {"step": "further"},
            "training": {"epochs": 1},
        },
        "compare": {"notebook": "12_compare"},
    }
    (tmp_path / "params.yaml").write_text(json.dumps(params))  # JSON is YAML
    status, said = galaxymorph(tmp_path, "run")
    assert status == 0, said
    table = pd.read_csv(tmp_path / "results/all/compare/table.csv").set_index("method").protocol
    assert table["frozen dnn"] == table["frozen knn"] == "frozen, transductive"
    assert table["frozen random_dnn"] == "frozen, random encoder"
    assert (
        "frozen, transductive" in said
        and "transductive" in (tmp_path / "results/all/index.html").read_text()
    )


def test_semi_supervised_training_uses_no_label_and_no_test_galaxy_it_was_not_given(tmp_path):
    shutil.copytree(
        PROJECT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*")
    )
    block = {"notebook": "20_semi_supervised", "n_labels": 40, "encoder": {"name": "cnn"}}
    block["training"] = {"epochs": 1, "batch_size": 16}
    params = {
        "run": "semi",
        "galaxies": {"name": "simulated", "n_galaxies": 240, "image_size": 32},
        "few": block,
        "further": block | {"encoder": {"step": "few"}},
        "all": block | {"learn_from": ["unlabelled", "test"]},
        "compare": {"notebook": "12_compare"},
    }
    (tmp_path / "params.yaml").write_text(json.dumps(params))
    status, said = galaxymorph(tmp_path, "run")
    assert status == 0, said
    table = pd.read_csv(tmp_path / "results/semi/compare/table.csv").set_index("method").protocol
    assert table["few"] == "from scratch, semi-supervised"
    assert table["further"] == "fine-tuned, semi-supervised"
    assert table["all"] == "from scratch, semi-supervised, transductive"
    sample = load("simulated", n_galaxies=240, image_size=32, seed=0, n_labels=40)
    held, trained = (set(sample.part(*parts).ids) for parts in (("test", "val"), ("train",)))
    for step in ("few", "further"):
        model, header = saved.load(tmp_path / f"models/semi/{step}.safetensors")
        assert set(header["seen"]) == set(sample.ids) - held and len(trained) == 40
        assert set(header["seen_labels"]) == trained
        predicted = classes(tmp_path / f"results/semi/{step}/predictions.csv").set_index("id")
        few = sample.part("test").take(np.arange(5))
        torch.testing.assert_close(
            train.predict(model, few.images, average_orientations=True).double(),
            torch.tensor(predicted.loc[few.ids].filter(like="p_").to_numpy(float)),
            atol=0.02,  # bfloat16, in another batch
            rtol=0,
        )
    known = json.loads((tmp_path / "results/semi/few/metrics.json").read_text())
    assert known["costs"]["parameters"] == sum(p.numel() for p in model.parameters())
    assert 0 <= known["pseudo_labels_right"] <= known["pseudo_labels_used"] <= 1
    history = pd.read_csv(tmp_path / "results/semi/few/history.csv")
    shares = history.filter(like="share_").iloc[-1].sum()
    assert shares == pytest.approx(1) or history.train_used.iloc[-1] == 0


def test_the_labelling_loop_is_tested_on_other_galaxies_than_it_may_choose(tmp_path):
    shutil.copytree(
        PROJECT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*")
    )
    rules = ["random", "margin", "typical-margin"]
    block = {"notebook": "21_active_learning", "seeds": [0, 1], "rules": rules}
    params = {
        "run": "loop",
        "galaxies": {"name": "simulated", "n_galaxies": 240, "image_size": 32},
        "loop": block | {"loop": {"n": 25, "most": 100}},
    }
    (tmp_path / "params.yaml").write_text(json.dumps(params))
    status, said = galaxymorph(tmp_path, "run")
    assert status == 0, said
    folder = tmp_path / "results/loop/loop"
    table = pd.read_csv(folder / "table.csv").set_index(["method", "n_labels"])
    assert list(table.index) == [(rule, n) for rule in rules for n in (25, 50, 75, 100)]
    assert table.accuracy["margin", 25] == table.accuracy["random", 25]  # the same galaxies
    known = json.loads((folder / "metrics.json").read_text())
    sample = load("simulated", n_galaxies=240, image_size=32, seed=0)
    assert known["n_pool"] + known["n_test"] == 240
    assert known["n_test"] == len(sample.part("test")) and "same simulator" in known["protocol"]
    gains = pd.read_csv(folder / "gains.csv").set_index(["method", "n_labels"]).difference
    measured = table.accuracy["margin", 100] - table.accuracy["random", 100]
    assert gains["margin", 100] == pytest.approx(measured)
    forecasts = pd.read_csv(folder / "forecasts.csv")
    first = forecasts[(forecasts.rule == "random") & (forecasts.n_labels == 25)]
    measured = table.accuracy["random", 75] - table.accuracy["random", 25]
    assert first.measured.mean() == pytest.approx(measured)
    seen = pd.read_csv(folder / "annotator.csv").set_index("class")
    np.testing.assert_allclose(seen.sum(axis=1), 1)
    assert (np.diag(seen) > 0.5).all() and (np.diag(seen) < 1).all()  # a volunteer, no oracle
    summary = (folder / "summary.md").read_text()
    assert "Labels needed to match random with 100 labels" in summary


def test_starting_points_are_compared_and_what_is_not_to_be_had_is_listed_as_not_run(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # no network
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    shutil.copytree(
        PROJECT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*")
    )
    network = {
        "notebook": "03_supervised",
        "training": {"epochs": 1},
        "prediction": {"average_orientations": False},
    }
    params = {
        "run": "starts",
        "galaxies": {"name": "simulated", "n_galaxies": 240, "image_size": 32},
        "other": network
        | {"encoder": {"name": "cnn", "channels": [8, 16]}, "galaxies": {"survey_seed": 1}},
        "scratch": network | {"encoder": {"name": "cnn", "channels": [8, 16]}},
        "tuned": network | {"encoder": {"step": "other", "freeze": 1}},
        "frozen": network | {"encoder": {"step": "other", "freeze": "all"}},
        "imagenet": network | {"encoder": {"name": "resnet18", "weights": "imagenet"}},
        "transfer": {
            "notebook": "13_transfer",
            "steps": ["scratch", "tuned", "frozen", "imagenet"],
            "scratch": "scratch",
        },
    }
    (tmp_path / "params.yaml").write_text(json.dumps(params))
    status, said = galaxymorph(tmp_path, "run", "--jobs", "2")
    assert status == 0, said
    folder = tmp_path / "results/starts/transfer"
    table = pd.read_csv(folder / "table.csv").set_index("method")
    assert table.protocol.dropna().to_dict() == {
        "scratch": "from scratch",
        "tuned": "partly frozen",
        "frozen": "frozen",
    }
    assert (
        table.seeds["imagenet"] == 0
        and table.not_run["imagenet"] == "weights not available offline"
    )
    gains = pd.read_csv(folder / "gains.csv").set_index("method")
    for name in ("tuned", "frozen"):
        assert gains.difference[name] == pytest.approx(
            table.accuracy[name] - table.accuracy["scratch"]
        )
    page = (tmp_path / "results/starts/index.html").read_text()
    for text in (said, (folder / "summary.md").read_text(), page):
        assert "weights not available offline" in text
    state, _ = model_files.load(tmp_path / "models/starts/frozen.safetensors")
    before, _ = model_files.load(tmp_path / "models/starts/other.safetensors")
    assert all(torch.equal(state[key], before[key]) for key in before if key.startswith("encoder."))
    assert not torch.equal(state["head.1.weight"], before["head.1.weight"])


def test_classical_morphology_makes_its_rows_and_chooses_on_validation_galaxies(tmp_path):
    shutil.copytree(
        PROJECT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*")
    )
    few = {"forest": {"trees": 20, "leaves": [1]}, "pca_forest": {"trees": 20}}
    params = {
        "run": "old",
        "galaxies": {"name": "simulated", "n_galaxies": 240, "image_size": 32},
        "classical": {"notebook": "06_classical", "n_labels": 40} | few,
        "compare": {"notebook": "12_compare"},
    }
    (tmp_path / "params.yaml").write_text(json.dumps(params))
    status, said = galaxymorph(tmp_path, "run")
    assert status == 0, said
    table = pd.read_csv(tmp_path / "results/old/compare/table.csv").set_index("method")
    assert set(table.index) == {
        "majority",
        *(f"classical {name}" for name in ("forest", "svm", "logistic", "pca_forest")),
    }
    assert (
        table.protocol["classical svm"] == "classical"
        and table.protocol["classical pca_forest"] == "control"
    )
    assert table.accuracy["classical forest"] > table.accuracy["majority"]
    folder = tmp_path / "results/old/classical"
    measures, losses = pd.read_csv(folder / "measures.csv"), pd.read_csv(folder / "importances.csv")
    assert set(losses.group) == set(measures.columns) - {"id"}
    known = json.loads((folder / "metrics.json").read_text())
    assert known["n_train"] == 40 and known["flagged"] == {"light failed": 0}

    def right(name: str, split: str) -> float:
        p = classes(folder / name / "predictions.csv").query("split == @split")
        return (p.filter(like="p_").idxmax(axis=1).str.removeprefix("p_") == p.label).mean()

    best = known["best_on_validation"]
    assert right(best, "val") == max(right(name, "val") for name in ("forest", "svm", "logistic"))
    # The same comes out where there are no test galaxies at all to choose on.
    sample = load("simulated", n_galaxies=240, image_size=32, seed=0, n_labels=40)
    predicted = classes(folder / "logistic/predictions.csv").set_index("id")
    fitted = [(split, sample.part(split)) for split in ("train", "val")]
    parts = {
        split: (features(part.images).to_numpy(), part.labels.numpy()) for split, part in fitted
    }
    model = classifiers.logistic(parts["train"], parts["val"])
    test = sample.part("test")
    told = model.predict_proba(features(test.images).to_numpy())
    np.testing.assert_allclose(
        told, predicted.loc[test.ids].filter(like="p_").to_numpy(float), atol=1e-3
    )


def test_a_model_file_alone_gives_the_predictions_back(inside):
    state, header = model_files.load("models/mock/resnet18/seed=1.safetensors")
    model = Classifier(encoder(**header["encoder"]), classes=len(header["classes"]))
    model.load_state_dict(state)
    sample = load("simulated", n_galaxies=240, image_size=header["image_size"], seed=1)
    table = classes("results/mock/resnet18/seed=1/predictions.csv").set_index("id")
    few = sample.part("test").take(np.arange(5))
    torch.testing.assert_close(
        train.predict(model, few.images, average_orientations=False).double(),
        torch.tensor(table.loc[few.ids, [f"p_{name}" for name in header["classes"]]].to_numpy()),
        atol=0.02,  # bfloat16, in another batch
        rtol=0,
    )


def test_vote_fractions_stay_with_their_galaxies(inside):
    sample = load("simulated", n_galaxies=240, image_size=32, seed=0, target="votes")
    place = {galaxy: row for row, galaxy in enumerate(sample.ids.tolist())}
    for step in ("votes_plain", "votes_tree"):
        table = votes(f"results/mock/{step}/votes.csv")
        rows = [place[galaxy] for galaxy in table.id]
        assert table.split.to_list() == sample.split[rows].tolist() and len(table) == 240
        np.testing.assert_allclose(
            table[list(galaxy_zoo_tree.COLUMNS)], sample.votes[rows], atol=1e-6
        )
        assert table.volunteers.to_list() == sample.volunteers[rows].tolist()
        model, _ = saved.load(Path(f"models/mock/{step}.safetensors"))
        one = train.predict(model, sample.images[rows[7]][None])  # another batch
        predicted = table.loc[7, [f"p_{name}" for name in galaxy_zoo_tree.COLUMNS]].to_numpy(float)
        np.testing.assert_allclose(one[0, :37], predicted, atol=0.02)  # bfloat16
    compared = pd.read_csv("results/mock/compare_votes/table.csv").set_index("method")
    plain, tree = (
        votes(f"results/mock/{step}/votes.csv").query("split == 'test'")
        for step in ("votes_plain", "votes_tree")
    )
    for name, table in (("votes_plain", plain), ("votes_tree", tree)):
        error = (
            table[[f"p_{name}" for name in galaxy_zoo_tree.COLUMNS]].to_numpy()
            - table[list(galaxy_zoo_tree.COLUMNS)].to_numpy()
        )
        assert compared.rmse[name] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-4)
    assert compared.violations["votes_tree"] == 0 < compared.violations["votes_plain"]


def test_classes_and_votes_are_tested_on_the_same_galaxies(inside):
    by_class = classes("results/mock/resnet18/seed=0/predictions.csv")
    by_votes = classes("results/mock/votes_tree/predictions.csv")
    assert set(by_votes.id[by_votes.split == "test"]) == set(by_class.id[by_class.split == "test"])
    trained = votes("results/mock/votes_tree/votes.csv").query("split == 'train'")
    assert not set(trained.id) & set(by_class.id[by_class.split == "test"])


def test_the_kept_weights_are_those_of_the_best_validation_epoch(inside):
    folder = inside / "results/mock/resnet18/seed=0"
    history = pd.read_csv(folder / "history.csv")
    assert len(history) == 2
    assert (
        json.loads((folder / "metrics.json").read_text())["best_epoch"]
        == history.epoch[history.val_loss.idxmin()]
    )


def test_the_comparison_reads_nothing_but_predictions(inside):
    table = pd.read_csv(inside / "results/mock/compare/table.csv").set_index("method")
    for step, seeds in (("resnet18", (0, 1)), ("resnet50", (0,))):
        right = []
        for seed in seeds:
            p = pd.read_csv(inside / f"results/mock/{step}/seed={seed}/predictions.csv").query(
                "split == 'test'"
            )
            taken_for = p.filter(like="p_").idxmax(axis=1).str.removeprefix("p_")
            right.append((taken_for == p.label).mean())
        assert table.accuracy[step] == pytest.approx(np.mean(right))
        assert table.seeds[step] == len(seeds)


def test_stacks_are_methods_of_their_own(inside):
    folder = inside / "results/mock/stack/n_labels=null,seed=0"
    known = json.loads((folder / "metrics.json").read_text())
    assert len(known["members"]) == 6 and not [n for n in known["members"] if "pca" in n]
    table = pd.read_csv(inside / "results/mock/compare/table.csv").set_index("method")
    for name in ("mean", "logistic"):
        found = classes(folder / name / "predictions.csv").query("split == 'test'")
        taken_for = found.filter(like="p_").idxmax(axis=1).str.removeprefix("p_")
        row = table.loc[f"stack {name}"]
        assert row.accuracy == pytest.approx((taken_for == found.label).mean())
        assert (row.protocol, row.title) == ("stack of 6", f"stack, {name}")
    compared = pd.read_csv(inside / "results/mock/compare_votes/table.csv").set_index("method")
    assert compared.protocol["stack_votes"] == "stack of 2"
