"""Searches over a closed form with a known optimum: a toy notebook in a thread, twice in real
kernels. Takes about a minute."""

import io
import json
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from galaxymorph import cli
from galaxymorph.plots import search as search_plots
from galaxymorph.project import Locked
from galaxymorph.run import done, executors, notebooks, runner
from galaxymorph.run import search as search_module
from galaxymorph.run.folder import TRIAL
from galaxymorph.run.params import ParamsError, Range
from galaxymorph.run.plan import make_plan as read_plan
from galaxymorph.run.search import _draw, tune
from tests.run.test_runner import write_notebook

PARAMETERS = """\
run = "by_hand"
step = "a"
seed = 0
galaxies = dict(name="simulated", image_size=64)
encoder = dict(name="cnn")
training = dict(epochs=10, learning_rate=1.0e-4)
trouble = ""
"""
# What is handed on is checked by train.fit's signature, which is not executed. Accuracy is largest,
# 1 - 2**-epochs, at a
# learning rate of 10**-2.5 and batches of 32, and rises in all trials alike: a worse one is worse
# in every epoch.
FIT = """\
import math, os, time
from pathlib import Path
from galaxymorph.run.folder import Step
if False:
    from galaxymorph.learning import train
    train.fit(None, None, None, **training)


def note(text):
    with Path("log").open("a") as file:
        file.write(f"{text}\\n")


def fit(epochs, learning_rate, batch_size=64, **others):
    note(f"begins {learning_rate!r} {batch_size} {seed}")
    top = 1 - (math.log10(learning_rate) + 2.5) ** 2 / 4 - abs(math.log2(batch_size / 32)) / 20
    if trouble == "diverge" and learning_rate != 1e-4:
        raise FloatingPointError("the loss is not finite")
    if Path("wait").exists() and "closed" in Path("log").read_text():
        note(f"pid {os.getpid()}")
        time.sleep(300)
    try:
        for epoch in range(1, epochs + 1):
            note(f"epoch {epoch}")
            accuracy = top * (1 - 0.5**epoch)
            row = {"epoch": epoch, "epochs": epochs, "val_accuracy": accuracy}
            yield row | {"val_loss": 1 - accuracy, "best": True}
    finally:
        note("closed")
"""
RECORD = """\
folder = Step(run, step)
folder.model_file.write_text("weights")
if trouble == "raise":
    raise RuntimeError("the telescope is closed")
history = folder.record(fit(**training))
"""
TWICE = """\
folder = Step(run, step)
for row, worse in (("dnn", 1), ("random_dnn", 2)):
    history = folder.row(row).record(fit(training["epochs"], training["learning_rate"] / worse))
"""
PREDICT = """\
note("test galaxies")
folder.file("predictions.csv").write_text("")
"""
TABLE = 'run = "by_hand"\nstep = "forest"\ntraining = dict(epochs=1)\n'
SEARCH = {
    "training.learning_rate": {"low": 1.0e-4, "high": 1.0e-1, "log": True},
    "training.batch_size": [16, 32, 64],
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    outputs = ["predictions.csv", "model.safetensors"]
    write_notebook(folder / "02_train.ipynb", PARAMETERS, FIT, RECORD, PREDICT, outputs=outputs)
    write_notebook(folder / "05_frozen.ipynb", PARAMETERS, FIT, TWICE, PREDICT)
    write_notebook(folder / "05_forest.ipynb", TABLE, "x = 1")
    (tmp_path / "params.yaml").write_text("")  # what makes it a project
    monkeypatch.chdir(tmp_path)
    return tmp_path


DRAW = _draw  # imports what takes seconds


class InThread(executors.Handle):
    """The notebook's cells in a thread, which is faster than a kernel."""

    def __init__(self, job, folder, environment):
        super().__init__(job, folder, environment)
        self.returncode, self.why = None, ""
        self.partial.write_text("{}")
        os.environ.update(environment)
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        names = {}
        try:
            for number, source in enumerate(self.job.notebook.code):
                exec(source, names)
                names |= {} if number else self.job.parameters
            self.returncode = 0
        except BaseException as error:  # as a kernel does, TrialOver included
            self.why, self.returncode = f"{type(error).__name__}: {error}", 1

    def poll(self):
        return self.returncode

    def failure(self):
        return self.why

    def stop(self):
        self.thread.join()
        os.environ.pop(TRIAL, None)
        shutil.rmtree(self.said)


class Threads(executors.Executor):
    free = True

    def submit(self, job, folder, environment=executors.NONE):
        return InThread(job, folder, environment)


@pytest.fixture
def fast(project, monkeypatch):
    monkeypatch.setattr(search_module, "Local", Threads)
    monkeypatch.setattr(search_module, "_draw", lambda *_: None)
    return project


def make_plan(project, overrides=(), **steps):
    blocks = {
        name: {"notebook": "02_train", "search": SEARCH} | block
        for name, block in (steps or {"a": {}}).items()
    }
    (project / "params.yaml").write_text(yaml.safe_dump({"run": "toy", **blocks}, sort_keys=False))
    return read_plan(project / "params.yaml", overrides=overrides)


def search(plan, *steps, **options):
    """The steps that failed, and what was said."""
    out = io.StringIO()
    return tune(plan, steps or ["a"], **options, out=out), out.getvalue()


def table(project, step="a"):
    return pd.read_csv(
        project / "results" / "toy" / "tune" / step / "trials.csv",
        keep_default_na=False,
        na_values=[""],
    )


def noted(project):
    return (project / "log").read_text().splitlines() if (project / "log").exists() else []


def accuracy(learning_rate, batch_size, epochs):
    top = 1 - (np.log10(learning_rate) + 2.5) ** 2 / 4 - abs(np.log2(batch_size / 32)) / 20
    return top * (1 - 0.5**epochs)


# ---- the search


def test_the_best_is_near_the_optimum_and_never_worse_than_the_own_values(fast):
    failed, said = search(make_plan(fast), n_trials=20)
    trials = table(fast)
    assert failed == [] and len(trials) == 20
    own = trials.iloc[0]
    assert (own["training.learning_rate"], own["training.batch_size"], own.state) == (
        1e-4,
        64,
        "complete",
    )
    known = accuracy(trials["training.learning_rate"], trials["training.batch_size"], trials.epoch)
    np.testing.assert_allclose(trials.value, known, rtol=1e-9)
    finished = trials[trials.state == "complete"]
    assert finished.value.max() == trials.best.iloc[-1] > own.value
    best = finished.loc[finished.value.idxmax()]
    assert abs(math.log10(best["training.learning_rate"]) + 2.5) < 0.25
    assert finished.value.max() > 0.95
    assert f"a trial {best.trial}/20: val accuracy {best.value:.4f}, best {best.value:.4f}" in said
    assert f"Best (trial {best.trial}): val accuracy {best.value:.4f}" in said
    check_pruning(trials, noted(fast))


def check_pruning(trials, lines):
    """As all trials rise alike, one is pruned where its top is below the median of those that came
    to their end before."""
    top = accuracy(trials["training.learning_rate"], trials["training.batch_size"], np.inf)
    ended = trials.state == "complete"
    assert ended[:5].all() and (~ended).sum() > 2
    for i in range(5, len(trials)):
        worse = top[i] < np.median(top[:i][ended[:i]])
        assert (trials.state[i], trials.epoch[i]) == (("pruned", 3) if worse else ("complete", 10))
    assert lines.count("closed") == len(trials)
    assert (
        sum(line.startswith("epoch") for line in lines) == trials.epoch.sum()
    )  # none after a generator was closed
    assert lines.count("epoch 4") == ended.sum()


def test_a_short_training_is_compared_at_the_same_share_of_it(fast):
    """Five trials of 40 epochs, then one of 4, whose first epochs are far below the fifth of the
    others."""
    plan = make_plan(fast, a={"training": {"epochs": 40}, "search": {"training.epochs": [40, 4]}})
    search(plan, n_trials=11)
    trials = table(fast)
    long, short = trials[trials["training.epochs"] == 40], trials[trials["training.epochs"] == 4]
    assert (long.state == "complete").all()
    late = short[short.trial > 5 + (short.trial <= 5).sum()]
    assert len(late) and set(late.epoch) <= {2, 4}  # the first epoch, at a quarter, decides nothing


def test_nothing_but_the_trials_folder_is_touched(fast, monkeypatch):
    """The cell after the training never runs, and what `run` has made stays."""
    monkeypatch.setattr(search_module, "_draw", DRAW)
    before = [
        fast / "models/toy/a.safetensors",
        fast / "results/toy/a/predictions.csv",
        fast / "results/toy/a/history.csv",
    ]
    for path in before:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("of the run")
    search(make_plan(fast), n_trials=8)
    assert "test galaxies" not in noted(fast)
    files = {
        path.relative_to(fast).as_posix() for path in fast.glob("results/**/*") if path.is_file()
    }
    files |= {
        path.relative_to(fast).as_posix() for path in fast.glob("models/**/*") if path.is_file()
    }
    assert [path.read_text() for path in before] == ["of the run"] * 3
    folder = "results/toy/tune/a"
    own = {
        f"{folder}/trial-{n:04d}/{name}"
        for n in range(1, 9)
        for name in ("history.csv", "params.yaml")
    }
    own |= {
        f"{folder}/{name}"
        for name in (
            "study.db",
            "trials.csv",
            "best.yaml",
            "history.png",
            "importance.png",
        )
    }
    assert files == own | {path.relative_to(fast).as_posix() for path in before}
    history = pd.read_csv(fast / folder / "trial-0001" / "history.csv")
    assert len(history) == 10 and history.val_accuracy.iloc[-1] == pytest.approx(
        table(fast).value[0], rel=1e-5
    )


def test_of_several_trainings_the_first_counts(fast):
    plan = make_plan(
        fast,
        a={
            "notebook": "05_frozen",
            "search": {"training.learning_rate": SEARCH["training.learning_rate"]},
        },
    )
    search(plan, n_trials=2)
    trials = table(fast)
    np.testing.assert_allclose(
        trials.value, accuracy(trials["training.learning_rate"], 64, 10), rtol=1e-9
    )
    assert sum(line.startswith("begins") for line in noted(fast)) == 2
    assert (fast / "results/toy/tune/a/trial-0001/dnn/history.csv").is_file()
    assert not (fast / "results/toy/tune/a/trial-0001/random_dnn").exists()


def test_one_seed_and_the_first_of_what_is_repeated(fast):
    steps = {
        "a": {"over": {"seed": [3, 4], "encoder.name": ["cnn", "resnet18"]}},
        "late": {"encoder": {"step": "a", "seed": 4, "encoder.name": "cnn"}},
    }
    plan = make_plan(fast, **steps)
    _, said = search(plan, n_trials=1)
    assert "val_accuracy, seed 3" in said
    executed = yaml.safe_load((fast / "results/toy/tune/a/trial-0001/params.yaml").read_text())
    assert (executed["seed"], executed["encoder"], executed["step"]) == (
        3,
        {"name": "cnn"},
        "a/seed=3,encoder.name=cnn",
    )
    assert "search" not in executed
    failed, said = search(plan, n_trials=2, seed=7)
    assert failed == ["a"] and "parameters.seed: 3 before, 7 now" in said
    assert search(plan, n_trials=1, seed=7, restart=True)[0] == []
    assert noted(fast)[-12].endswith("64 7")
    assert (
        search(make_plan(fast, a={}), n_trials=1, seed=5, restart=True)[0] == []
    )  # not repeated: its own seed changes
    assert noted(fast)[-12].endswith("64 5")


def test_the_least_error_is_the_best(fast):
    search(make_plan(fast), n_trials=4, metric="val_loss")
    trials = table(fast)
    np.testing.assert_allclose(
        trials.value,
        1 - accuracy(trials["training.learning_rate"], trials["training.batch_size"], trials.epoch),
        rtol=1e-9,
    )
    assert trials.best.iloc[-1] == trials.value[trials.state == "complete"].min()


def test_errors_are_the_measures_that_training_minimises():
    from galaxymorph.learning import state

    least = [f"val_{name}".endswith(search_module.ERRORS) for name in state.ERRORS]
    assert all(least) and not "val_accuracy".endswith(search_module.ERRORS)


def test_a_measure_that_is_not_there_is_named(fast):
    failed, said = search(make_plan(fast), n_trials=2, metric="val_mse")
    assert (
        failed == ["a"]
        and "its epochs have no val_mse; choose one of val_accuracy, val_loss with --metric NAME"
        in said
    )
    assert (
        search(make_plan(fast), n_trials=2)[0] == []
    )  # no trial was done: nothing to be compared with


def test_steps_get_the_same_number_of_trials_and_one_file(fast):
    plan = make_plan(fast, a={}, b={"encoder": "resnet18"}, c={})
    _, said = search(plan, "a", "b", n_trials=4)
    assert len(table(fast, "a")) == len(table(fast, "b")) == 4
    assert "all steps, 4 trials each" in said
    both = read_plan(fast / "results/toy/tune/best.yaml")
    assert (
        (fast / "results/toy/tune/best.yaml")
        .read_text()
        .startswith("# Best values of 2 searches of 4 trials each, by")
    )
    for step in ("a", "b"):
        finished = table(fast, step).query("state == 'complete'")
        winner = finished.loc[finished.value.idxmax()]
        found = next(job for job in both.jobs if job.step == step)
        assert (
            found.parameters["training"]["learning_rate"]
            == winner["training.learning_rate"]
            != 1e-4
        )
    assert both.jobs[2].parameters == plan.jobs[2].parameters


def test_choices_may_be_lists_and_nothing(fast):
    choices = {
        "encoder.channels": [[8, 16], [32], None],
        "training.average": {"low": 0, "high": 0.9},
    }
    steps = {
        "a": {
            "encoder": {"name": "cnn", "channels": [32]},
            "training": {"average": 0},
            "search": choices,
        }
    }
    search(make_plan(fast, **steps), n_trials=5)
    trials = table(fast)
    executed = [
        yaml.safe_load((fast / f"results/toy/tune/a/trial-{n:04d}/params.yaml").read_text())
        for n in range(1, 6)
    ]
    assert executed[0]["encoder"]["channels"] == [32] and executed[0]["training"]["average"] == 0
    found = [each["encoder"]["channels"] for each in executed]
    assert (
        all(each in choices["encoder.channels"] for each in found)
        and len({str(each) for each in found}) > 1
    )
    assert list(trials["encoder.channels"].fillna("null")) == [json.dumps(each) for each in found]
    assert any(
        0 < each["training"]["average"] < 0.9 for each in executed
    )  # no whole numbers: the option is a number


# ---- interruptions and failures


def test_an_interrupted_search_goes_on_as_if_it_never_was(fast, monkeypatch):
    search(make_plan(fast), n_trials=10)
    expected = table(fast).drop(columns="seconds")
    (fast / "log").unlink()

    class Interrupted(InThread):
        def poll(self):
            if (fast / "log").exists() and (fast / "log").read_text().count("begins") == 6:
                raise KeyboardInterrupt
            return super().poll()

    with monkeypatch.context() as patched:
        patched.setattr(Threads, "submit", lambda self, *given: Interrupted(*given))
        with pytest.raises(KeyboardInterrupt):
            search(make_plan(fast), n_trials=10, restart=True)
    assert len(table(fast)) == 5  # what was done is there
    failed, said = search(make_plan(fast), n_trials=10)
    assert failed == [] and "10 trials, 5 of them done" in said
    pd.testing.assert_frame_equal(table(fast).drop(columns="seconds"), expected)
    begun = [line for line in noted(fast) if line.startswith("begins")]
    assert len(begun) == 11 and begun[5] == begun[6]  # the same values again
    assert "✓" not in search(make_plan(fast), n_trials=10)[1]  # nothing left to do


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "table"])
def test_a_damaged_study_is_named_and_restarted(fast, damage):
    search(make_plan(fast), n_trials=2)
    study = fast / "results" / "toy" / "tune" / "a" / "study.db"
    before = study.read_bytes()
    study.write_bytes({"empty": b"", "cut": before[:5000], "text": b"x" * 5000}.get(damage, before))
    if damage == "table":
        with sqlite3.connect(study) as connection:
            connection.execute("DROP TABLE trials")
        connection.close()
    failed, said = search(make_plan(fast), n_trials=3)
    assert failed == ["a"] and "study.db" in said and "--restart" in said
    assert search(make_plan(fast), n_trials=1, restart=True)[0] == []


def test_where_the_own_values_fail_there_is_nothing_to_search(fast):
    failed, said = search(make_plan(fast, a={"trouble": "raise"}), n_trials=5)
    assert failed == ["a"]
    assert "the first trial, with the step's own values, failed RuntimeError: the tele" in said
    assert (fast / "results/toy/tune/a/trial-0001/notebook.ipynb").is_file()
    assert search(make_plan(fast), n_trials=1)[0] == []  # mended
    assert list(table(fast)["training.learning_rate"]) == [1e-4]


def test_trials_that_fail_are_counted_and_said(fast):
    failed, said = search(make_plan(fast, a={"trouble": "diverge"}), n_trials=10)
    trials = table(fast)
    assert failed == ["a"] and "3 consecutive trials failed" in said
    assert list(trials.state) == ["complete", "failed", "failed", "failed"]
    assert set(trials.error[1:]) == {"FloatingPointError: the loss is not finite"}
    assert trials.value[1:].isna().all() and (trials.best == trials.value[0]).all()
    assert "trial 2/10: failed after" in said
    assert "as no trial was better" in (fast / "results/toy/tune/a/best.yaml").read_text()


def test_another_search_does_not_mix_with_the_trials_before(fast):
    search(make_plan(fast), n_trials=1)
    failed, said = search(
        make_plan(fast, overrides=["a.search.training.batch_size=[16, 64]"]), n_trials=2
    )
    assert failed == ["a"] and "has 1 trial of a different search" in said
    assert (
        "search.training.batch_size.1: 32 before, 64 now" in said
        and "--restart discards them" in said
    )
    failed, said = search(make_plan(fast, overrides=["a.training.epochs=3"]), n_trials=2)
    assert failed == ["a"] and "parameters.training.epochs: 10 before, 3 now" in said
    assert len(table(fast)) == 1
    failed, said = search(
        make_plan(fast, overrides=["a.training.epochs=3"]), n_trials=2, restart=True
    )
    assert failed == [] and list(table(fast).epoch) == [3, 3]


@contextmanager
def process(*arguments):
    options = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "start_new_session": True,
        "text": True,
    }
    started = subprocess.Popen([sys.executable, "-m", "galaxymorph", *arguments], **options)
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


@pytest.mark.long
def test_a_killed_search_goes_on_and_its_best_file_runs(project):
    """In real kernels: killed in the second trial, which leaves no process; the winner's file is
    then executed by `run`."""
    plan = make_plan(project)
    (project / "wait").touch()
    deadline = time.monotonic() + 120
    with process("tune", "a", "--trials", "3") as killed:
        while not any(line.startswith("pid") for line in noted(project)):
            assert time.monotonic() < deadline and killed.poll() is None, killed.communicate()[0]
            time.sleep(0.05)
        with pytest.raises(Locked, match="another process"):
            search(plan)
        killed.send_signal(signal.SIGKILL)
    pid = next(line for line in noted(project) if line.startswith("pid")).split()[1]
    while (
        Path(f"/proc/{pid}/status").exists()
        and "zombie" not in Path(f"/proc/{pid}/status").read_text()
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (project / "wait").unlink()
    with process("tune", "a", "--trials", "3") as again:
        said, _ = again.communicate(timeout=120)
        assert again.returncode == 0, said
    assert "3 trials, 1 of them done" in said and "trial 1/3" not in said
    begun = [line for line in noted(project) if line.startswith("begins")]
    assert len(begun) == 4 and begun[1] == begun[2]
    assert "test galaxies" not in noted(project)
    assert not list(project.glob("results/**/*.ipynb")) and not list(
        project.glob("**/*.safetensors")
    )
    trials = table(project)
    winner = trials.loc[trials.value.idxmax()]
    best = read_plan(project / "results/toy/tune/a/best.yaml")
    outcome = runner.run(best, out=io.StringIO())
    assert outcome.done == ["a"]
    assert noted(project)[-1] == "test galaxies"
    executed = [line for line in noted(project) if line.startswith("begins")][-1]
    assert (
        executed
        == f"begins {float(winner['training.learning_rate'])!r} {winner['training.batch_size']} 0"
    )
    assert done.changed(plan, plan.jobs[0]) == "parameters changed"


@pytest.mark.long
def test_ctrl_c_stops_at_once(project):
    make_plan(project)
    (project / "wait").touch()
    (project / "log").write_text("closed\n")  # so that the first trial waits
    deadline = time.monotonic() + 120
    with process("tune", "a") as stopped:
        while not any(line.startswith("pid") for line in noted(project)):
            assert time.monotonic() < deadline and stopped.poll() is None, stopped.communicate()[0]
            time.sleep(0.05)
        stopped.send_signal(signal.SIGTERM)
        said, _ = stopped.communicate(timeout=120)
    assert stopped.returncode == 130 and said.endswith("stopped\n") and "Traceback" not in said
    pid = next(line for line in noted(project) if line.startswith("pid")).split()[1]
    while (
        Path(f"/proc/{pid}/status").exists()
        and "zombie" not in Path(f"/proc/{pid}/status").read_text()
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)


# ---- what is refused, and in which words


def test_a_run_takes_no_notice_of_what_may_be_searched(project):
    plan, without = make_plan(project), make_plan(project, a={"search": {}})
    assert plan.jobs[0].parameters == without.jobs[0].parameters
    assert done.fingerprints(plan, plan.jobs[0]) == done.fingerprints(without, without.jobs[0])
    found = plan.jobs[0].search
    assert found["training.learning_rate"] == Range(1e-4, 0.1, log=True, whole=False)
    assert found["training.batch_size"] == [16, 32, 64]


def test_whole_numbers_are_those_of_whole_parameters(project):
    ranges = {
        "training.epochs": {"low": 5, "high": 15},
        "training.average": {"low": 0, "high": 0.5},
    }
    ranges |= {
        "encoder.width": {"low": 16, "high": 64, "log": True},
        "galaxies.image_size": {"low": 32, "high": 64},
    }
    found = make_plan(project, a={"search": ranges}).jobs[0].search
    assert {key: each.whole for key, each in found.items()} == {
        "training.epochs": True,
        "training.average": False,  # `average: float`
        "encoder.width": True,  # nothing says what it is, so as it is written
        "galaxies.image_size": True,
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "training.learning_rat=[0.1, 0.2]",
            "train.fit has no such option (did you mean learning_rate?)",
        ),
        ("trainin.epochs=[1, 2]", "02_train.ipynb has no such parameter (did you mean training?)"),
        ("training.epochs={low: 1.5, high: 4}", "expected a whole number, found 1.5"),
        ("training.epochs=[1, two]", 'expected a whole number, found "two"'),
        (
            "training.optimizer=[adamw, adam]",
            'expected adamw or sgd, found "adam" (did you mean adamw?)',
        ),
        (
            "training.learning_rate={low: 1e-4, high: 0.1}",
            'expected a number, found "1e-4", which YAML reads as text; write 1.0e-4',
        ),
        (
            "encoder.width={low: 1e2, high: 300}",
            "expected numbers as low and high, found '1e2' and 300",
        ),
        (
            "training.learning_rate={low: 0.1, high: 0.1}",
            "low must be less than high, found 0.1 and 0.1",
        ),
        (
            "training.learning_rate={low: 0, high: 0.1, log: true}",
            "expected a number above 0, found 0",
        ),
        (
            "training.learning_rate={low: 0.1, high: 0.2, log: 1}",
            "expected true or false as log, found 1",
        ),
        (
            "training.learning_rate={low: 0.1}",
            "expected a list of two values or more, or {low: NUMBER, high: NUMBER}, found",
        ),
        (
            "training.learning_rate={low: 0.1, high: 1, lgo: true}",
            "expected a list of two values or more, or {low",
        ),
        ("training.learning_rate=0.1", "expected a list of two values or more"),
        ("training.batch_size=[16]", "expected a list of two values or more"),
        ("training.batch_size=[16, 16]", "duplicate value"),
        ("seed=[0, 1]", "changes the galaxies, and trials can only be compared on the same ones"),
        ("galaxies.n_galaxies=[100, 200]", "changes the galaxies"),
        ("step=[a, b]", "is set by the runner"),
        (
            "training=[{epochs: 3}, {epochs: 4}]",
            "is also given by a.search.training.learning_rate; remove one of the two",
        ),
    ],
)
def test_wrong_searches_are_refused_before_anything_runs(project, override, message):
    plan = make_plan(project)
    with pytest.raises(ParamsError) as error:
        read_plan(project / "params.yaml", overrides=[f"{plan.jobs[0].step}.search.{override}"])
    key = override.partition("=")[0]
    assert any(
        f"-s a.search.{override}: a.search.{key}: {message}" in each
        for each in error.value.problems
    ), error.value


def test_what_is_repeated_cannot_be_searched(project):
    with pytest.raises(
        ParamsError,
        match=r"a.search.training.batch_size: is also given by a.over.training.batch_size",
    ):
        make_plan(project, a={"over": {"training.batch_size": [16, 32]}})
    with pytest.raises(
        ParamsError, match=r"a.search: expected parameters with ranges or lists of values, found 3"
    ):
        make_plan(project, overrides=["a.search=3"])


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            {"search": {}},
            "a.search: missing; it defines what to try, such as search: {training.learning_r",
        ),
        ({"notebook": "05_forest"}, "tune a: 05_forest.ipynb does not record epochs"),
        (
            {"training": {"batch_size": 8}},
            "a.search.training.batch_size: the first trial needs the step's own value, 8, "
            "which is outside",
        ),
        (
            {"training": {"learning_rate": 1.0}},
            "a.search.training.learning_rate: the first trial needs the step's own value, "
            "1.0, which is outside",
        ),
        (
            {"search": {"encoder.width": [1, 2]}},
            "a.search.encoder.width: the first trial needs the step's own value, which is missing",
        ),
    ],
)
def test_steps_that_cannot_be_searched(project, block, message):
    block = {"search": {"training.epochs": [1, 2]}} | block if block.get("notebook") else block
    with pytest.raises(ParamsError) as error:
        search(make_plan(project, a=block))
    (found,) = error.value.problems
    assert found.startswith(message)
    assert not (project / "results").exists()


def test_what_was_asked_for_is_checked(project):
    plan = make_plan(project, first={}, a={"encoder": {"step": "first"}})
    with pytest.raises(ParamsError) as error:
        search(plan, "fist", n_trials=0, metric="test_accuracy")
    assert error.value.problems == [
        "--trials 0: expected at least 1",
        "--metric test_accuracy: expected a measure of validation galaxies, such as val_accuracy "
        "or val_loss",
        "tune: unknown step 'fist'; did you mean 'first'? Known: first, a",
    ]
    with pytest.raises(
        ParamsError, match="tune a: needs first; make it by galaxymorph run --only first"
    ):
        search(plan)


def test_the_command_says_what_is_wrong(project, capsys, monkeypatch):
    make_plan(project)
    assert cli.main(["tune", "b"]) == 2
    assert "tune: unknown step 'b'" in capsys.readouterr().err
    monkeypatch.setattr(search_module, "Local", Threads)
    assert cli.main(["tune", "a", "--trials", "1", "-s", "a.trouble=raise"]) == 1
    assert capsys.readouterr().err == "failed: a\n"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.main(["tune", "a"]) == 2
    assert "needs optuna, the extra `search`: pip install -e '.[search]'" in capsys.readouterr().err


def test_every_notebook_says_whether_it_trains():
    folder = Path(__file__).parents[2] / "notebooks"
    found = {path.stem for path in folder.glob("*.ipynb") if notebooks.read(path).trains}
    assert {"03_supervised", "04_cae", "05_moco", "08_frozen", "09_vote_fractions"} <= found
    assert not {"02_data", "06_classical", "10_gradcam", "12_compare", "14_compare_votes"} & found


# ---- figures


def test_figures_show_what_they_are_given():
    trials = pd.DataFrame(
        {
            "trial": [1, 2, 3, 4],
            "state": ["complete", "pruned", "complete", "failed"],
            "value": [0.7, 0.4, 0.8, math.nan],
            "best": [0.7, 0.7, 0.8, 0.8],
        }
    )
    figure = search_plots.history(trials, measure="validation accuracy")
    lines = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}
    assert lines == {
        "best so far": [[1, 0.7], [2, 0.7], [3, 0.8], [4, 0.8]],
        "finished (1)": [[3, 0.8]],
        "pruned (1)": [[2, 0.4]],
        "the step's own values": [[1, 0.7]],
        "failed (1)": [[4, 0.0]],
    }
    figure = search_plots.importance({"head.dropout": 0.25, "training.learning_rate": 0.75}, n=9)
    bars = [bar.get_width() for bar in figure.axes[0].patches]
    assert bars == [0.25, 0.75]  # the largest on top
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [
        "head.dropout",
        "training.learning_rate",
    ]
    assert (
        "unknown after 9 finished trials"
        in search_plots.importance({}, n=9).axes[0].texts[0].get_text()
    )
