"""The command line from outside. It starts Python and three kernels."""

import inspect
import json
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

import galaxymorph
from galaxymorph import cli, early
from galaxymorph import project as project_module
from galaxymorph.evaluation import comparison
from galaxymorph.evaluation.entries import Entries, Entry
from galaxymorph.evaluation.predictions import predictions_in
from galaxymorph.project import write
from galaxymorph.run.folder import Step

PARAMETERS = 'run = "by_hand"\nstep = "a"\nscale = 1.0\noptions = dict(n=3)\nfail = False\n'
WORK = """\
from galaxymorph.run.folder import Step
there = Step(run, step)
there.metrics({"accuracy": scale / options["n"] / (not fail)})
there.file("table.csv").write_text(f"step,accuracy\\n{step},{scale / options['n']}\\n")
"""


def cell(source, *tags):
    return {
        "cell_type": "code",
        "source": source,
        "metadata": {"tags": list(tags)},
        "outputs": [],
        "execution_count": None,
    }


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    cells = [cell(PARAMETERS, "parameters"), cell(WORK)]
    metadata = {"galaxymorph": {"outputs": ["metrics.json", "table.csv"]}}
    notebook = {"nbformat": 4, "nbformat_minor": 4, "metadata": metadata, "cells": cells}
    (tmp_path / "notebooks" / "02_a.ipynb").write_text(json.dumps(notebook))
    (tmp_path / "params.yaml").write_text("run: toy\na: {notebook: 02_a, options: {m: 1}}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.long
def test_run_changes_what_is_said_and_tells_where_it_ends(project, capsys):
    assert cli.main(["run", "--run", "mine", "-s", "a.scale=1.5"]) == 0
    said = capsys.readouterr().out
    assert "a: started (new)" in said
    assert "✓ a: " in said
    assert "   a      0.5" in said
    assert str(project / "results" / "mine" / "index.html") in said
    assert (project / "results" / "mine" / "index.html").is_file()
    step = Step("mine", "a")
    written = yaml.safe_load((step.path / "params.yaml").read_text())
    assert written == {
        "run": "mine",
        "step": "a",
        "scale": 1.5,
        "options": {"n": 3, "m": 1},
        "fail": False,
    }

    assert cli.main(["run", "--run", "mine", "-s", "a.scale=1.5"]) == 0
    assert "= a: unchanged" in capsys.readouterr().out
    assert cli.main(["run", "--run", "mine", "--list"]) == 0
    assert (
        "a: 02_a.ipynb, to be executed (parameters changed)\n  scale: 1.0\n"
        in capsys.readouterr().out
    )

    assert cli.main(["run", "--run", "mine", "-s", "a.fail=true"]) == 1
    captured = capsys.readouterr()
    assert "ZeroDivisionError" in captured.out
    assert captured.err == "failed: a\n"
    assert cli.main(["report", "--run", "mine"]) == 0
    assert capsys.readouterr().out.endswith("index.html\n")


def test_list_says_what_a_job_needs(project, capsys):
    path = project / "notebooks" / "02_a.ipynb"
    notebook = json.loads(path.read_text())
    notebook["metadata"]["galaxymorph"]["outputs"].append("model.safetensors")
    path.write_text(json.dumps(notebook))
    steps = "a: {notebook: 02_a}\nb: {notebook: 02_a, options: {start: {step: a}}}\n"
    (project / "params.yaml").write_text(f"run: toy\n{steps}")
    assert cli.main(["run", "--list"]) == 0
    said = capsys.readouterr().out
    assert "a: 02_a.ipynb, to be executed (new)\n" in said
    assert "b: 02_a.ipynb, to be executed (new), needs a\n" in said
    assert "options.start: 'models/toy/a.safetensors'" in said
    assert cli.main(["run", "--list", "--only", "b"]) == 0
    assert "a: 02_a" not in capsys.readouterr().out


def test_report_shows_table_and_sentences(project, capsys):
    step = Step("toy", "a")
    step.metrics({"accuracy": 0.5})
    write(step.path / "table.csv", "step,accuracy\na,0.5\n")
    write(step.path / "summary.md", "Smaller differences than 0.05 say nothing.\n")
    assert cli.main(["report"]) == 0
    index = project / "results" / "toy" / "index.html"
    assert capsys.readouterr().out == (
        f"\nstep accuracy\n   a      0.5\n\nSmaller differences than 0.05 say nothing.\n\n{index}\n"
    )


def test_a_fault_of_the_program_is_no_mistake_of_the_user(project, monkeypatch):
    monkeypatch.setattr("galaxymorph.run.runner.run", lambda *_, **__: [].index(0))
    with pytest.raises(ValueError, match="is not in list"):
        cli.main(["run"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["run", "-s", "a.scal=2"],
            "-s a.scal=2: a.scal: 02_a.ipynb has no such parameter (did you mean scale?)",
        ),
        (["run", "--only", "aa"], "--only: unknown step 'aa' (did you mean a?)"),
        (["run", "--jobs", "0"], "--jobs 0: at least 1"),
        (["run", "--params", "other.yaml"], "other.yaml: cannot be read (No such file"),
        (["report"], "run 'toy' has no steps yet"),
    ],
)
def test_mistakes_end_with_2_and_nothing_is_executed(project, capsys, arguments, message):
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not (project / "results").exists()


def test_the_kinds_of_maps_are_known_without_torch():
    from galaxymorph.diagnostics import gradcam

    assert (*gradcam.METHODS, *gradcam.CONTROLS) == early.MAPS


def test_the_options_of_galaxies_are_known_without_torch():
    from galaxymorph.data import load, ways

    of_sources = {
        name for each in ways.FILES.values() for name in inspect.signature(each).parameters
    }
    assert (
        inspect.signature(load.load).parameters.keys() - of_sources == {*early.COMMON} - of_sources
    )
    assert {*load.SOURCES} == {*ways.FILES, "simulated"}


@pytest.mark.parametrize(
    ("galaxies", "found"),
    [
        ({"name": "folder", "root": "flat"}, [("root", "no class folders")]),
        ({"name": "folder", "root": "flat", "labels": "some.csv"}, [("labels", "without a row")]),
        ({"name": "folder", "root": "flat", "labels": "some.csv", "on_bad": "skip"}, []),
        ({"name": "folder", "root": "flat", "label": "some.csv"}, []),  # left to the check of
        ({"name": "folder", "root": "flat", "label_column": 3}, []),  # names and types
        ({"name": "simulated"}, []),
        ("simulated", []),
        ({"name": "folder"}, []),
        (None, []),
    ],
)
def test_galaxies_are_looked_at_before_jobs(project, galaxies, found):
    (project / "flat").mkdir()
    for name in "abc":
        (project / "flat" / f"{name}.png").touch()
    (project / "some.csv").write_text("id,label\na,x\nb,y\n")
    said = [*early.unreadable(galaxies)]
    assert [option for option, _ in said] == [option for option, _ in found]
    assert all(part in why for (_, why), (_, part) in zip(said, found, strict=True))


def test_remarks_on_all_images_are_no_images(capsys):
    remarks = [("all images", "stretch: 200", False), ("a.fits", "nearly black", False)]
    assert cli._left_out([*remarks, ("b.fits", "broken", True)]) == 3
    said = capsys.readouterr().err
    assert said.startswith("remark on all images: stretch: 200\nimages with remarks: 1\n  a.fits: ")
    assert said.endswith("images left out: 1\n  b.fits: broken\n")


def test_module_and_script_are_one_thing(project):
    script = Path(sys.executable).with_name("galaxymorph")
    for start in ([sys.executable, "-m", "galaxymorph"], [script]):
        done = subprocess.run([*start, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == f"galaxymorph {galaxymorph.__version__}\n"


def test_help_says_what_there_is(capsys):
    for arguments, words in (
        (["--help"], ("run", "report", "compare", "data", "predict", "similar")),
        (["compare", "--help"], ("FILE", "--labels", "--run", "--stack", "NAME=FILE")),
        (["run", "--help"], ("--params", "-s", "--only", "--run", "--force", "--jobs", "--list")),
        (["data", "--help"], ("galaxy10", "galaxy_mnist", "galaxy_zoo", "export")),
        (
            ["predict", "--help"],
            (
                "--model",
                "--images",
                "--out",
                "--average-orientations",
                "--batch-size",
                "--crop",
                "--force",
            ),
        ),
        (["tune", "--help"], ("STEP", "--trials", "--metric", "--seed", "--restart", "--params")),
        (["gradcam", "--help"], ("--question", "--answer", "--method", "--layer", "mock-0-")),
        (
            ["similar", "--help"],
            ("--model", "--images", "--galaxy", "--n", "--out", "--average-orientations", "--crop"),
        ),
    ):
        with pytest.raises(SystemExit) as end:
            cli.main(arguments)
        assert end.value.code == 0
        said = capsys.readouterr().out
        assert all(word in said for word in words)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder outside a project that has the comparison's notebook, to which the package
    belongs."""
    notebooks, folder = tmp_path / "project" / "notebooks", tmp_path / "elsewhere"
    notebooks.mkdir(parents=True)
    folder.mkdir()
    (notebooks.parent / "params.yaml").touch()
    shutil.copy(Path(__file__).parents[1] / "notebooks" / "12_compare.ipynb", notebooks)
    monkeypatch.setattr(
        project_module, "__file__", str(notebooks.parent / "galaxymorph" / "project.py")
    )
    monkeypatch.chdir(folder)
    return folder


def predicted(skill, seed, n=48):
    """A table of predictions of three classes: train, val and test galaxies in turn."""
    rng, names = (
        np.random.default_rng([seed, int(10 * skill)]),
        np.array(["edge_on", "smooth", "spiral"]),
    )
    label = np.random.default_rng(9).integers(0, 3, n)
    p = rng.dirichlet(np.ones(3) + 0.01, n) + skill * np.eye(3)[label]
    head = {
        "id": [f"{row:03d}" for row in range(n)],
        "split": np.resize(["train", "val", "test"], n),
        "label": names[label],
    }
    return pd.DataFrame(
        head
        | dict(zip([f"p_{name}" for name in names], (p / p.sum(1, keepdims=True)).T, strict=True))
    )


@pytest.mark.long
def test_compare_makes_the_table_of_files_from_anywhere(elsewhere, capsys):
    tables = {
        (name, seed): predicted(skill, seed)
        for name, skill in (("deep", 0.5), ("shallow dnn", 0.2))
        for seed in (0, 1)
    }
    for (name, seed), table in tables.items():
        method, _, row = name.partition(" ")
        path = elsewhere / "theirs" / method / f"seed={seed}" / row / "predictions.csv"
        path.parent.mkdir(parents=True)
        taken = table.iloc[:, 3:].idxmax(axis=1).str.removeprefix("p_")
        table.drop(columns=["split", "label"]).assign(label=taken).to_csv(
            path, index=False
        )  # as predict writes
    table = tables["deep", 0]
    table[["id", "label", "split"]].to_csv("truth.csv", index=False)
    files = sorted(str(path.relative_to(elsewhere)) for path in elsewhere.rglob("predictions.csv"))
    assert cli.main(["compare", *files, "--labels", "truth.csv", "--run", "both"]) == 0
    captured = capsys.readouterr()
    place = elsewhere.parent / "project" / "results" / "both"
    assert (
        "deep, seed 0: 16 test galaxies, theirs/deep/seed=0/predictions.csv\n  label equals"
        in captured.out
    )
    assert captured.out.endswith(f"{place / 'index.html'}\n") and captured.err == ""
    assert (place / "index.html").is_file()
    entries = Entries(
        Entry(name, seed, predictions=predictions_in(table))
        for (name, seed), table in tables.items()
    )
    expected, found = comparison.compare(entries), pd.read_csv(place / "compare" / "table.csv")
    assert found.method.tolist() == ["deep", "shallow dnn", "majority"]
    same = [name for name in expected.columns if not expected[name].isna().all()]
    pd.testing.assert_frame_equal(
        found.loc[:1, same],
        expected[same],
        check_dtype=False,
        rtol=1e-7,  # 8 digits
    )
    assert {"accuracy", "log_loss", "n_train", "val_accuracy"} <= set(same)
    assert cli.main(["report", "--run", "both"]) == 0
    assert "shallow dnn" in capsys.readouterr().out


def test_compare_refuses_before_anything_is_written(elsewhere, capsys):
    predicted(0.5, 0).to_csv("good.csv", index=False)
    predicted(0.5, 1).iloc[:-1].assign(p_spiral=3.0).to_csv("bad.csv", index=False)
    assert cli.main(["compare", "good.csv", "bad.csv"]) == 2
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert lines[0].startswith(
        "bad.csv: p_<class> are not probabilities that sum to 1, 47 of 47 rows: line 2 (id 000) ["
    )
    assert lines[1].startswith("bad.csv: seed 0 lacks 1 of the 16 test galaxies of good.csv: 047; ")
    assert (len(lines), captured.out) == (2, "")
    assert not (elsewhere.parent / "project" / "results").exists()
    Step("mine", "cnn").metrics({"accuracy": 0.5})
    assert cli.main(["compare", "good.csv", "--run", "mine"]) == 2
    captured = capsys.readouterr()
    assert "results/mine: this run was not made from files" in captured.err
    assert captured.out == ""


def test_data_says_what_can_be_had_and_exports(project, capsys):
    assert cli.main(["data"]) == 0
    assert "Galaxy10 DECaLS" in capsys.readouterr().out
    assert cli.main(["data", "galaxy11"]) == 1
    assert "unknown data set 'galaxy11'" in capsys.readouterr().err
    arguments = [
        "data",
        "export",
        "--folder",
        "mock",
        "--n-galaxies",
        "3",
        "--n-test",
        "1",
        "--image-size",
        "32",
    ]
    assert cli.main(arguments) == 0
    assert len(list((project / "mock" / "images_training_rev1").glob("*.jpg"))) == 3
    assert len(list((project / "mock" / "images_test_rev1").glob("*.jpg"))) == 1
    capsys.readouterr()
    assert cli.main(arguments) == 1
    assert "already" in capsys.readouterr().err


@pytest.fixture
def galaxies(tmp_path, monkeypatch):
    """A folder that is no project, with five images, one of them broken, and a model file."""
    from galaxymorph.learning import classifier, encoders, model_files

    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    for number in range(4):
        picture = Image.new("RGB", (40, 40))
        picture.paste((60 * number, 90, 200), (10, 10, 30, 30))
        picture.save(Path("images", f"{number}.png"))
    Path("images", "7.jpg").write_text("no image")
    network = classifier.Classifier(
        encoders.encoder("conv", channels=[4, 4, 4, 4], latent=3, image_size=32), classes=2
    )
    model_files.write(
        "m.safetensors", network, encoder=network.encoder.options, image_size=32, classes=["a", "b"]
    )
    return ["--model", "m.safetensors", "--images", "images"]


def test_predict_writes_a_table_and_names_what_it_left_out(galaxies, capsys):
    assert (
        cli.main(
            [
                "predict",
                *galaxies,
                "--out",
                "new/p.csv",
                "--batch-size",
                "2",
                "--average-orientations",
            ]
        )
        == 3
    )
    captured = capsys.readouterr()
    assert "5 galaxies in" in captured.out and "images/s: new/p.csv" in captured.out
    assert captured.err.endswith(
        "images left out: 1\n"
        "  images/7.jpg: not a valid image: expected JPEG, PNG, TIFF, WEBP, BMP, GIF\n"
    )
    lines = Path("new/p.csv").read_text().splitlines()
    assert lines[0] == "id,p_a,p_b,label" and [line[0] for line in lines[1:]] == list("0123")
    Path("images", "7.jpg").unlink()
    assert cli.main(["predict", *galaxies]) == 0
    assert len(Path("predictions.csv").read_text().splitlines()) == 5


def test_predict_refuses_with_a_message(galaxies, capsys):
    Path("p.csv").write_text("of somebody else")
    for arguments, words in (
        (["predict", *galaxies, "--out", "p.csv"], "p.csv exists"),
        (["predict", *galaxies, "--crop", "0"], "crop=0"),
        (["predict", *galaxies, "nowhere"], "nowhere does not exist"),
        (
            ["predict", "--images", "images", "--model", "images/7.jpg"],
            "images/7.jpg: not a valid model file",
        ),
        (["similar", *galaxies, "--galaxy", "9"], "no galaxy '9' among 5"),
    ):
        assert cli.main(arguments) == 2
        captured = capsys.readouterr()
        assert words in captured.err and not captured.out
    assert cli.main(["gradcam", *galaxies, "--galaxy", "9"]) == 2
    assert capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        cli.main(["predict", "--model", "m.safetensors"])
    assert end.value.code == 2


def test_similar_writes_a_table_and_a_picture(galaxies, capsys):
    assert cli.main(["similar", *galaxies, "--galaxy", "2", "--n", "3", "--out", "near"]) == 3
    captured = capsys.readouterr()
    assert "images/7.jpg" in captured.err and "near/similar_2.csv" in captured.out
    assert sorted(path.name for path in Path("near").iterdir()) == [
        "similar_2.csv",
        "similar_2.png",
    ]
    assert len(Path("near/similar_2.csv").read_text().splitlines()) == 4


@pytest.mark.long
def test_sigterm_stops_like_ctrl_c(project):
    """What a scheduler sends, here to what ignores Ctrl-C, as a shell's background job does. The
    notebook would sleep on."""
    work = textwrap.dedent(
        """\
        import os, time
        from pathlib import Path
        Path("new").write_text(f"{os.getpid()} {os.getppid()}")
        Path("new").rename("pids")
        time.sleep(300)
        """
    )
    cells = [cell(PARAMETERS, "parameters"), cell(work)]
    notebook = {"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells}
    (project / "notebooks" / "02_a.ipynb").write_text(json.dumps(notebook))
    command = [
        "sh",
        "-c",
        "trap '' INT; exec \"$@\"",
        "sh",
        sys.executable,
        "-m",
        "galaxymorph",
        "run",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        deadline = time.monotonic() + 180
        while not Path("pids").is_file() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        process.terminate()
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert said.endswith("stopped\n")
    assert "Traceback" not in said
    assert not (project / "results" / "toy" / "a" / "done.json").exists()
    deadline = time.monotonic() + 10
    while any(map(alive, Path("pids").read_text().split())) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, Path("pids").read_text().split()))


def alive(pid):
    status = Path(f"/proc/{pid}/status")
    return status.is_file() and "zombie" not in status.read_text()


def test_a_wrong_path_or_question_is_refused_before_torch_is_imported():
    refused = {
        "predict --model no.safetensors --images .": "no.safetensors: no such model file",
        "predict --model params.yaml --images none": "none does not exist",
        "similar --model params.yaml --images none --galaxy a": "none does not exist",
        "predict --model params.yaml --images galaxymorph": "galaxymorph: no images found",
        "gradcam --model params.yaml --galaxy a": "params.yaml: not a valid model file",
        "run --only cn": "--only: unknown step 'cn' (did you mean cnn?)",
        "run -s moco.training.epocs=3": "moco.training.epocs: train.fit has no such option (did",
        "run -s cnn.views.zoom=big": 'cnn.views.zoom: expected a number, found "big"',
        "run -s galaxies.n_galaxy=3": "load has no such option (did you mean n_galaxies?)",
        "run -s galaxies.sky=dark": "galaxies.sky: expected auto or none or border",
        "run -s cnn.galaxies.root=nowhere": "cnn.galaxies.root: ",
        "tune cnn -s cnn.training.learning_rate=fast": "learning_rate: expected a number",
        "report --run ../x": "--run: expected a name of letters",
        "report -s run=none-yet": "run 'none-yet' has no steps yet",
    }
    code = "import sys; sys.modules['torch'] = None; from galaxymorph.cli import main\n"
    code += f"for each in {list(refused)}: print(main(each.split()), '#', file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    said = done.stderr.split("2 #\n")
    assert len(said) == len(refused) + 1
    for text, message in zip(said, refused.values(), strict=False):
        assert message in text


def test_without_a_model_predict_uses_the_one_in_the_package(tmp_path, monkeypatch, capsys):
    from galaxymorph.data.mock import others
    from galaxymorph.data.mock.survey import mock_survey

    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    drawn = mock_survey(6, seed=3).images.permute(0, 2, 3, 1).numpy()
    for number, picture in enumerate([*drawn, *others.draw("texture", 2).transpose(0, 2, 3, 1)]):
        Image.fromarray(picture).save(Path("images", f"{number}.png"))
    assert cli.main(["predict", "--images", "images"]) == 0
    lines = [line.split(",") for line in Path("predictions.csv").read_text().splitlines()]
    assert lines[0][:6] == ["id", "p_round", "p_in-between", "p_edge-on", "p_spiral", "label"]
    assert lines[0][6:9] == ["set", "unlike_training", "Class1.1"] and len(lines[0]) == 8 + 37
    for id, *chances, label, listed, distance in (line[:8] for line in lines[1:]):
        best = lines[0][1 + max(range(4), key=lambda k: float(chances[k]))].removeprefix("p_")
        silent = float(distance) > 1
        assert silent == (int(id) >= 6)
        assert label == ("" if silent else best) and silent == (listed == "")
        assert silent or label in listed.split("|")
    assert cli.main(["similar", "--images", "images", "--galaxy", "3", "--n", "2"]) == 0
    wanted = ["--images", "images", "--galaxy", "3"]
    assert cli.main(["gradcam", *wanted, "--answer", "spiral"]) == 0
    assert cli.main(["gradcam", *wanted, "--question", "bar", "--out", "bar.png"]) == 0
    assert Path("gradcam.png").is_file() and Path("bar.png").is_file()
    assert "bar: yes, heat on the galaxy" in capsys.readouterr().out


def test_a_model_can_be_built_again_at_any_size(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for wrong in (["--encoder", "resnet19"], ["--epochs", "0"], ["--n-galaxies", "3"]):
        assert cli.main(["build-model", *wrong]) == 2
    assert "simulating" not in capsys.readouterr().out
    toy = ["--n-galaxies", "320", "--epochs", "1", "--out", "m.safetensors"]
    assert cli.main(["build-model", *toy]) == 0
    assert "epoch 1 of 1" in capsys.readouterr().out and not Path("m.checkpoint").exists()
    first = Path("m.safetensors").read_bytes()
    assert cli.main(["build-model", *toy]) == 0
    assert Path("m.safetensors").read_bytes() == first
