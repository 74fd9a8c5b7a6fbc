"""The step folder, written and read back. Takes about 3 s."""

import json
import types
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from galaxymorph import galaxy_zoo_tree
from galaxymorph.evaluation.predictions import read_predictions, read_votes
from galaxymorph.project import root, write
from galaxymorph.run import results
from galaxymorph.run.folder import Step, progress
from galaxymorph.text import duration

CLASSES = ("round", "edge-on")


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params.yaml").write_text("run: toy\n")
    monkeypatch.chdir(tmp_path / "notebooks")
    return tmp_path


def predictions(**changes):
    table = {
        "ids": np.array(["7", "007"]),
        "split": np.array(["test", "unlabelled"]),
        "labels": torch.tensor([1, -1]),
        "probabilities": torch.tensor([[0.25, 0.75], [1.0, 0.0]]),
        "classes": CLASSES,
    }
    return table | changes


def test_root_is_found_from_a_folder_below(project):
    assert root() == project
    assert Step("toy", "resnet18").path == project / "results" / "toy" / "resnet18"
    assert (
        Step("toy", "a/seed=0").model_file
        == project / "models" / "toy" / "a" / "seed=0.safetensors"
    )


@pytest.mark.parametrize(
    ("run", "step"),
    [("../x", "a"), ("x", "../a"), ("x", "a/.."), ("", "a"), ("x", "a/b/c"), ("x", "/a")],
)
def test_names_cannot_leave_the_folder(project, run, step):
    with pytest.raises(ValueError, match="names consist of letters"):
        Step(run, step)


def test_rows_are_on_disk_as_they_come(project):
    step = Step("toy", "a")

    def rows():
        yield {"epoch": 1, "epochs": 3, "train_loss": 0.5, "val_accuracy": 0.0}
        assert (step.path / "history.csv").read_text().splitlines()[1:] == ["1,3,0.5,0"]
        yield {"epoch": 2, "epochs": 3, "train_loss": 1 / 3, "val_accuracy": 0.75}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        step.record(rows())
    assert (step.path / "history.csv").read_text().splitlines()[-1] == "2,3,0.333333,0.75"
    table = step.record([{"epoch": 1, "train_loss": 0.1}])  # a second time starts anew
    assert table.shape == (1, 2)
    assert len((step.path / "history.csv").read_text().splitlines()) == 2
    with pytest.raises(ValueError, match="a row has"):
        step.record([{"epoch": 1}, {"epoch": 2, "more": 0}])


def test_progress_line():
    row = {"epoch": "2", "epochs": "10", "train_loss": "0.5", "val_loss": "", "val_accuracy": "0"}
    assert (
        progress(row, seconds=30)
        == "epoch 2/10, val accuracy 0.000, train loss 0.500, 2 min 00 s left"
    )
    assert progress({"epoch": 10, "epochs": 10}, seconds=30) == "epoch 10/10"
    assert [duration(s) for s in (0.6, 65, 3720)] == ["1 s", "1 min 05 s", "1 h 02 min"]


def test_predictions_come_back_as_they_were(project):
    step = Step("toy", "a")
    step.predictions(**predictions())
    assert (step.path / "predictions.csv").read_text() == (
        "id,split,label,p_round,p_edge-on\n7,test,edge-on,0.250000,0.750000\n007,unlabelled,,1.000000,0.000000\n"
    )
    table = read_predictions(step.path / "predictions.csv")
    assert table.ids.tolist() == ["7", "007"]
    assert table.labels.tolist() == [1, -1] and table.classes == ("round", "edge-on")
    assert table.p[:, 1].tolist() == [0.75, 0.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": ["7", "7"]}, r"duplicate id, 2 of 2 rows: line 2 \(id 7\)"),
        ({"ids": ["7"]}, "lengths differ"),
        ({"labels": torch.tensor([2, 0])}, "labels range from 0 to 2"),
        (
            {"probabilities": torch.tensor([[0.5, 0.5], [float("nan"), 0.0]])},
            r"sum to 1, 1 of 2 rows: line 3 \(id 007\) nan",
        ),
        (
            {"probabilities": torch.tensor([[0.5, 3.5], [1.0, 0.0]])},
            r"sum to 1, 1 of 2 rows: line 2 \(id 7\) 4.0",
        ),
        ({"classes": ("round",)}, "2 probabilities per galaxy, but 1 classes"),
    ],
)
def test_wrong_predictions_are_refused(project, change, message):
    step = Step("toy", "a")
    with pytest.raises(ValueError, match=message):
        step.predictions(**predictions(**change))
    assert not (step.path / "predictions.csv").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label,p_a\n", "missing column 'split'"),
        ("id,split,label,a,p_b\n", "unknown column 'a'; expected id, split, label, p_<class>"),
        ("id,split,label,p_a,p_b\n1,test,a,x,0\n", "column 'p_a' is not numeric"),
        (
            "id,split,label,p_a,p_b\n1,test,a,1,0\n2,test,c,0,1\n",
            r"not a class, 1 of 2 rows: line 3",
        ),
        ("id,split,label,p_a,p_b\n1,test,a,1,0\n1,test,a,0,1\n", "duplicate id, 2 of 2 rows"),
    ],
)
def test_wrong_tables_are_named(tmp_path, text, message):
    path = tmp_path / "predictions.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_predictions(path)
    assert str(path) in str(error.value)


def test_metrics_refuse_what_is_not_finite(project):
    step = Step("toy", "a")
    step.metrics(
        {"accuracy": np.float32(0.5), "per_class": {"round": torch.tensor(0.25)}, "n": np.int64(3)}
    )
    assert json.loads((step.path / "metrics.json").read_text()) == {
        "accuracy": 0.5,
        "per_class": {"round": 0.25},
        "n": 3,
    }
    with pytest.raises(ValueError, match=r"per_class\.round of a is nan"):
        step.metrics({"per_class": {"round": float("nan")}})


def test_tables_and_sentences_are_written_alike(project):
    step = Step("toy", "a")
    table = pd.DataFrame({"id": ["007"], "n": [3], "share": [1 / 3], "flops": [2.0e9], "p": [None]})
    step.table("pairs", table)
    assert (step.path / "pairs.csv").read_bytes() == (
        b"id,n,share,flops,p\n007,3,0.33333333,2e+09,\n"
    )
    step.summary(sentence for sentence in ("One thing.", "Another — better."))
    assert (step.path / "summary.md").read_text(encoding="utf-8") == (
        "One thing.\n\nAnother — better.\n"
    )


def test_the_end_of_a_notebook_says_which_galaxies_and_which_machine(project):
    sample = types.SimpleNamespace(fingerprint="1a2b", notes=["2 galaxies left out"])
    step = Step("toy", "a")
    step.finish(sample, {"n_test": 3}, device="cpu")
    metrics, environment = (
        json.loads((step.path / f"{name}.json").read_text()) for name in ("metrics", "environment")
    )
    assert metrics == {"n_test": 3, "fingerprint": "1a2b", "notes": ["2 galaxies left out"]}
    assert environment["device"] == "cpu" and "torch" in environment
    step.finish(None, {"methods": 2})  # of tables alone
    assert json.loads((step.path / "metrics.json").read_text()) == {"methods": 2}


def test_writing_takes_the_done_mark_away(project):
    step = Step("toy", "a")
    step.path.mkdir(parents=True)
    (step.path / "done.json").write_text("{}")
    assert step.model_file
    assert (step.path / "done.json").exists()
    step.metrics({"accuracy": 1.0})
    assert not (step.path / "done.json").exists()


def test_a_row_is_written_below_its_step(project):
    step = Step("toy", "a/seed=0")
    step.path.mkdir(parents=True)
    (step.path / "done.json").write_text("{}")
    row = step.row("random_dnn")
    assert row.path == step.path / "random_dnn"
    assert row.model_file == project / "models" / "toy" / "a" / "seed=0" / "random_dnn.safetensors"
    assert (step.path / "done.json").exists()
    assert step.rows() == []
    row.predictions(**predictions())
    assert not (step.path / "done.json").exists()
    assert (step.path / "random_dnn" / "predictions.csv").is_file()
    row.record([{"epoch": 1, "train_loss": 0.1}])
    with pytest.raises(ValueError, match=r"metric x of a/seed=0/random_dnn is nan"):
        row.metrics({"x": float("nan")})
    (step.path / ".ipynb_checkpoints").mkdir()
    assert [each.path for each in step.rows()] == [row.path]
    assert Step("toy", "a").rows() == []  # seed=0 is a combination


@pytest.mark.parametrize("name", ["", "..", "a/b", "seed=0", "/a", ".a", "a b"])
def test_rows_cannot_leave_the_folder(project, name):
    with pytest.raises(ValueError, match="only a step has rows; names consist of letters"):
        Step("toy", "a").row(name)


def test_a_row_has_no_rows(project):
    with pytest.raises(ValueError, match="row 'b' of frozen/dnn: only a step has rows"):
        Step("toy", "frozen").row("dnn").row("b")


def test_environment_and_figure(project):
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    step = Step("toy", "a")
    step.environment(precision="fp32")
    step.figure(pyplot.figure(), "curves")
    written = json.loads((step.path / "environment.json").read_text())
    assert (
        written["torch"] == torch.__version__.split("+")[0] or written["torch"] == torch.__version__
    )
    assert written["precision"] == "fp32"
    assert written["cores"] >= 1
    assert (step.path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    step.figure(pyplot.figure(), "confusion a galaxies.root=data/b.png")
    assert (step.path / "confusion-a-galaxies.root=data-b.png").is_file()
    assert not pyplot.get_fignums()


def test_read_a_run_by_hand(project):
    with pytest.raises(FileNotFoundError, match="run 'by_hand' has no steps yet"):
        results.read("by_hand")
    for name in ("a", "b/seed=0,rate=0.1"):
        step = Step("by_hand", name)
        step.predictions(**predictions())
        step.environment()
    plain, repeated = results.read("by_hand")
    assert (plain.name, plain.combination, plain.done) == ("a", {}, True)
    assert (repeated.step, repeated.combination) == ("b", {"seed": 0, "rate": 0.1})
    assert repeated.predictions is not None
    assert repeated.predictions.ids.tolist() == ["7", "007"]
    assert repeated.history is None
    assert [result.name for result in results.read("by_hand", ["b"])] == ["b/seed=0,rate=0.1"]
    with pytest.raises(FileNotFoundError, match=r"no step c in run 'by_hand'; it has a, b"):
        results.read("by_hand", ["a", "c"])


def test_rows_of_a_run_by_hand_are_no_jobs(project):
    plain, repeated = Step("by_hand", "plain"), Step("by_hand", "repeated/seed=3,zoom=0.1")
    for step, names in ((plain, ("dnn", "linear")), (repeated, ("knn",))):
        step.environment()
        for name in names:
            step.row(name).predictions(**predictions())
            step.row(name).metrics({"n_train": 5})
    Step("by_hand", "bare").row("dnn").predictions(**predictions())  # all that there is of its job
    Step("by_hand", "both").predictions(**predictions())
    Step("by_hand", "both").row("dnn").predictions(**predictions())
    read = [(result.name, result.combination, result.rows) for result in results.read("by_hand")]
    assert read == [
        ("bare", {}, ["dnn"]),
        ("both", {}, ["", "dnn"]),
        ("plain", {}, ["dnn", "linear"]),
        ("repeated/seed=3,zoom=0.1", {"seed": 3, "zoom": 0.1}, ["knn"]),
    ]
    assert [(entry.method, entry.seed) for entry in results.trained("by_hand")] == [
        ("bare dnn", None),
        ("both", None),
        ("both dnn", None),
        ("plain dnn", None),
        ("plain linear", None),
        ("repeated knn zoom=0.1", 3),
    ]


def planned(**parameters):
    return {
        "combination": parameters,
        "parameters": {"seed": 9} | parameters,
        "outputs": ["predictions.csv"],
    }


def test_read_a_planned_run_shows_what_is_missing(project):
    folder = project / "results" / "toy"
    step = Step("toy", "a/seed=0")
    step.predictions(**predictions())
    step.metrics({"accuracy": 0.5})
    jobs = {"a/seed=0": planned(seed=0), "a/seed=1": planned(seed=1)}
    write(folder / "plan.json", json.dumps({"jobs": jobs}))
    assert [result.done for result in results.read("toy")] == [
        False,
        False,
    ]  # files, but no mark: cut short
    write(step.path / "done.json", json.dumps({"seconds": 2.5}))
    finished, missing = results.read("toy")
    assert (finished.done, finished.seconds, finished.metrics) == (True, 2.5, {"accuracy": 0.5})
    assert (missing.done, missing.combination, missing.predictions) == (False, {"seed": 1}, None)
    assert [result.name for result in results.read("toy", ["a/seed=1"])] == ["a/seed=1"]


def test_a_plan_of_version_0_1_is_read(project):
    folder = project / "results" / "toy"
    write(folder / "plan.json", json.dumps({"pieces": {"a/seed=0": planned(seed=0)}}))
    (missing,) = results.read("toy")
    assert (missing.name, missing.done, missing.combination) == ("a/seed=0", False, {"seed": 0})


def test_results_have_the_parameters_that_they_were_made_with(project):
    folder = project / "results" / "toy"
    write(
        folder / "plan.json",
        json.dumps({"jobs": {"a": planned(n_labels=50), "b": planned(n_labels=50)}}),
    )
    for name in ("a", "b"):
        step = Step("toy", name)
        step.predictions(**predictions())
        write(step.path / "params.yaml", "n_labels: 100\nseed: 9\n")
    write(folder / "a" / "done.json", json.dumps({"seconds": 2.5}))
    done, due = results.read("toy")
    assert (done.done, done.parameters) == (True, {"n_labels": 100, "seed": 9})
    assert (due.done, due.parameters["n_labels"]) == (False, 50)


def test_a_fraction_of_the_labels_is_counted(project):
    """Of both seeds at 10 % one is done, of 20 % none; a method with a fraction of its own; a
    protocol."""
    jobs = {}
    for fraction in (0.1, 0.2):
        for seed in (0, 1):
            combination = {"seed": seed, "galaxies.label_fraction": fraction}
            parameters = {"seed": seed, "galaxies": {"label_fraction": fraction}, "n_labels": None}
            jobs[f"a/seed={seed},galaxies.label_fraction={fraction}"] = {
                "combination": combination,
                "parameters": parameters,
                "outputs": ["predictions.csv"],
            }
    jobs["b"] = planned() | {"parameters": {"seed": 0, "galaxies": {"label_fraction": 0.5}}}
    write(project / "results" / "toy" / "plan.json", json.dumps({"jobs": jobs}))
    for name, n_train in (("a/seed=0,galaxies.label_fraction=0.1", 37), ("b", 185)):
        step = Step("toy", name)
        step.predictions(**predictions())
        step.metrics({"n_train": n_train} | ({"protocol": "linear probe"} if name == "b" else {}))
        write(step.path / "done.json", json.dumps({"seconds": 2.5}))
    found = [
        (entry.method, entry.seed, entry.n_labels, entry.protocol)
        for entry in results.trained("toy")
    ]
    assert found == [
        ("a", 0, 37, None),
        ("a", 1, 37, None),
        ("a galaxies.label_fraction=0.2", 0, None, None),
        ("a galaxies.label_fraction=0.2", 1, None, None),
        ("b", 0, 185, "linear probe"),
    ]


def test_each_row_of_a_job_is_compared(project):
    """Two rows of a step, one seed done: what a row says itself, what its job says for all, what
    nobody says."""
    outputs = [
        "metrics.json",
        "history.csv",
        "dnn/predictions.csv",
        "dnn/model.safetensors",
        "random_dnn/predictions.csv",
    ]
    jobs = {}
    for seed in (0, 1):
        jobs[f"frozen/seed={seed},zoom=0.1"] = {
            "combination": {"seed": seed, "zoom": 0.1},
            "parameters": {"seed": seed, "galaxies": {"label_fraction": 0.1}},
            "outputs": outputs,
        }
    write(project / "results" / "toy" / "plan.json", json.dumps({"jobs": jobs}))
    step = Step("toy", "frozen/seed=0,zoom=0.1")
    step.metrics({"protocol": "frozen", "n_train": 37})
    step.record([{"epoch": 1, "train_loss": 0.5}])
    for name, probability in (("dnn", 0.25), ("random_dnn", 0.5)):
        values = torch.tensor([[probability, 1 - probability], [1.0, 0.0]])
        step.row(name).predictions(**predictions(probabilities=values))
    step.row("dnn").record([{"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": 0.4}])
    step.row("dnn").metrics({"seconds": 1.5})
    step.row("random_dnn").metrics({"protocol": "frozen, random", "n_train": 36})
    assert {entry.predictions is None for entry in results.trained("toy")} == {
        True
    }  # no mark: cut short
    write(step.path / "done.json", json.dumps({"seconds": 9.0}))
    found = results.trained("toy")
    assert [(entry.method, entry.seed, entry.n_labels, entry.protocol) for entry in found] == [
        ("frozen dnn zoom=0.1", 0, 37, "frozen"),
        ("frozen random_dnn zoom=0.1", 0, 36, "frozen, random"),
        ("frozen dnn zoom=0.1", 1, 37, None),
        ("frozen random_dnn zoom=0.1", 1, 36, None),
    ]
    assert [entry.predictions is None for entry in found] == [False, False, True, True]
    assert [entry.predictions.p[0, 0] for entry in found[:2]] == [0.25, 0.5]
    assert [entry.history is not None and len(entry.history) for entry in found] == [
        2,
        False,
        False,
        False,
    ]
    assert [entry.seconds for entry in found] == [1.5, None, None, None]  # 9 s are for all of it


def test_costs_are_handed_on(project):
    """Those of a row are its own, not its job's."""
    step = Step("by_hand", "frozen/seed=0")
    step.predictions(**predictions())
    step.metrics({"costs": {"parameters": 12, "flops": 34}})
    step.row("dnn").predictions(**predictions())
    step.row("dnn").metrics({"costs": {"parameters": 56}})
    plain = Step("by_hand", "plain")
    plain.predictions(**predictions())
    assert [entry.costs for entry in results.trained("by_hand")] == [
        {"parameters": 12, "flops": 34},
        {"parameters": 56},
        {},
    ]


def test_what_was_left_out_says_why(project):
    """Also where an earlier run of the same job has left its predictions; and until it is run
    again."""
    outputs = ["dnn/predictions.csv", "linear/predictions.csv"]
    jobs = {"a/seed=0": planned(seed=0), "b": planned() | {"outputs": outputs}}
    write(project / "results" / "toy" / "plan.json", json.dumps({"jobs": jobs}))
    step = Step("toy", "a/seed=0")
    step.predictions(**predictions())
    for name in jobs:
        folder = project / "results" / "toy" / name
        write(folder / "done.json", json.dumps({"seconds": 2.5}))
        write(folder / "not_run.json", json.dumps({"why": "weights not available offline"}))
    assert [(result.done, result.not_run) for result in results.read("toy")] == [
        (False, "weights not available offline")
    ] * 2
    found = results.trained("toy")
    assert [(entry.method, entry.predictions) for entry in found] == [
        ("a", None),
        ("b dnn", None),
        ("b linear", None),
    ]
    assert {entry.not_run for entry in found} == {"weights not available offline"}
    Step("toy", "b").row("dnn").predictions(**predictions())
    step.predictions(**predictions())
    write(step.path / "done.json", json.dumps({"seconds": 2.5}))
    assert [(result.done, result.not_run) for result in results.read("toy")] == [
        (True, None),
        (False, None),
    ]


def test_what_is_compared(project):
    jobs = {
        "data": {"combination": {}, "parameters": {}, "outputs": ["metrics.json"]},
        "a/n_labels=50,rate=0.1": planned(n_labels=50, rate=0.1),
        "b": planned(),
        "compare": {"combination": {}, "parameters": {}, "outputs": ["table.csv"]},
    }
    step = Step("toy", "b")
    step.predictions(**predictions())
    step.record([{"epoch": 1, "epochs": 1, "train_loss": 0.5}])
    write(step.path / "done.json", json.dumps({"seconds": 2.5}))
    write(project / "results" / "toy" / "plan.json", json.dumps({"jobs": jobs}))
    missing, there = results.trained("toy")
    assert (missing.method, missing.seed, missing.n_labels, missing.predictions) == (
        "a rate=0.1",
        9,
        50,
        None,
    )
    assert (there.method, there.seed, there.n_labels, there.seconds) == (
        "b",
        9,
        None,
        2.5,
    )
    assert len(there.predictions.ids) == 2
    assert len(there.history) == 1
    Step("by_hand", "data").metrics({})
    Step("by_hand", "b").predictions(**predictions())
    assert [entry.method for entry in results.trained("by_hand")] == ["b"]


def votes(**change) -> dict[str, Any]:
    share = np.linspace(0, 1, 74).reshape(2, 37)
    spread = np.broadcast_to([[3.5], [7.0]], (2, 11))
    given = {
        "ids": ["7", "007"],
        "split": ["train", "test"],
        "votes": torch.from_numpy(share[::-1].copy()),
        "volunteers": torch.tensor([40.0, torch.nan]),
        # plain outputs may be below 0
        "predicted": torch.from_numpy(np.hstack([share - 0.1, spread])),
        "outputs": (*galaxy_zoo_tree.COLUMNS, *(f"s_{name}" for name in galaxy_zoo_tree.SLICES)),
    }
    return given | change


def test_vote_fractions_come_back_as_they_were(project):
    step = Step("toy", "a")
    step.votes(**votes())
    columns = (step.path / "votes.csv").read_text().splitlines()[0].split(",")
    assert columns[:4] == ["id", "split", "volunteers", "Class1.1"] and columns[-1] == "s_arms"
    table = read_votes(step.path / "votes.csv")
    assert table.ids.tolist() == ["7", "007"] and table.split.tolist() == ["train", "test"]
    assert table.volunteers[0] == 40 and np.isnan(table.volunteers[1])
    np.testing.assert_allclose(table.predicted, votes()["predicted"][:, :37], atol=1e-6)
    np.testing.assert_allclose(table.true, votes()["votes"], atol=1e-6)
    np.testing.assert_allclose(table.concentration[:, 0], [3.5, 7.0])
    step.metrics({"n_train": 1})
    found = results.read("toy")[0].votes
    assert found is not None and found.table().equals(table.table())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": ["7", "7"]}, r"duplicate id, 2 of 2 rows: line 2 \(id 7\)"),
        ({"ids": ["7"]}, "lengths differ"),
        (
            {"votes": torch.full((2, 37), 1.5)},
            r"'Class1.1' is not between 0 and 1, 2 of 2 rows: line 2 \(id 7",
        ),
        ({"predicted": torch.full((2, 48), torch.nan)}, r"'p_Class1.1' is not finite, 2 of 2 rows"),
        ({"outputs": ("a", "b")}, "outputs are a, b; expected Class1.1"),
    ],
)
def test_wrong_vote_fractions_are_refused(project, change, message):
    step = Step("toy", "a")
    with pytest.raises(ValueError, match=message):
        step.votes(**votes(**change))
    assert not (step.path / "votes.csv").exists()


def test_wrong_tables_of_vote_fractions_are_named(project):
    step = Step("toy", "a")
    step.votes(**votes())
    path = step.path / "votes.csv"
    table = pd.read_csv(path, dtype={"id": str})
    texts = table.assign(**{"p_Class3.2": ["x", "0.1"]})
    for change, message in (
        (table.drop(columns="p_Class3.2"), r"votes.csv: missing column 'p_Class3.2'"),
        (texts, r"votes.csv: column 'p_Class3.2' is not numeric"),
        (table.assign(id="7"), r"votes.csv: duplicate id, 2 of 2 rows: line 2 \(id 7\)"),
    ):
        change.to_csv(path, index=False)
        with pytest.raises(ValueError, match=message):
            read_votes(path)


def test_titles_are_those_of_the_step_and_of_its_rows(project):
    """{} in the title of a row is the title of its step; settings follow, names stay."""
    outputs = ["predictions.csv", "dnn/predictions.csv"]
    jobs = {
        f"cae/seed=0,zoom={zoom}": planned()
        | {"combination": {"seed": 0, "zoom": zoom}, "outputs": outputs, "title": "autoencoder"}
        for zoom in (0.1, 0.2)
    }
    write(project / "results" / "toy" / "plan.json", json.dumps({"jobs": jobs | {"b": planned()}}))
    step = Step("toy", "cae/seed=0,zoom=0.1")
    step.row("dnn").metrics({"title": "network on {}"})
    write(step.path / "done.json", json.dumps({"seconds": 1.0}))
    assert results.titles("toy") == {"cae": "autoencoder"}
    titles = results.trained("toy").titles()
    assert titles["cae zoom=0.1"] == "autoencoder zoom=0.1"
    assert titles["cae dnn zoom=0.1"] == "network on autoencoder zoom=0.1"
    assert titles["cae dnn zoom=0.2"] == "cae dnn zoom=0.2"  # not there yet, so without a title


def test_the_first_job_of_a_step_is_that_of_the_plan(project):
    assert Step("toy", "cnn").first  # no plan
    jobs = ("data", "cnn/seed=1", "cnn/seed=2", "cnn_small")
    plan = {name: {"combination": {}, "parameters": {}, "outputs": []} for name in jobs}
    write(project / "results" / "toy" / "plan.json", json.dumps({"jobs": plan}))
    first = [name for name in (*jobs, "by_hand") if Step("toy", name).first]
    assert first == ["data", "cnn/seed=1", "cnn_small", "by_hand"]
