"""Faults of machine and attacker around a run: what was finished is kept, and nothing is mixed.

Jobs are executed by an executor of these tests, within the process: no kernels are started."""

import contextlib
import errno
import io
import json
import os
import warnings
from pathlib import Path

import pytest
import yaml

from galaxymorph import cli
from galaxymorph.run import done, executors, marks, report, results, runner
from galaxymorph.run.plan import make_plan
from galaxymorph.run.screen import Screen
from tests.run.test_runner import write_notebook

PARAMETERS = 'run = "by_hand"\nstep = "a"\nscale = 1\nsource = ""\n'
OUTPUTS = ("metrics.json", "predictions.csv", "model.safetensors", "dnn/predictions.csv")
NOTEBOOK = json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []})
TABLE = "id,split,label,p_a,p_b\n1,test,a,0.{0}0,0.{1}0\n2,test,b,0.10,0.90\n"


class Ended(executors.Handle):
    """A job that has ended, well or as a test wants it."""

    status = 0

    def poll(self):
        return self.status

    def stop(self):
        pass


class Here(executors.Executor):
    """Writes what a notebook would; `fault(job, folder)` then plants a fault, returning 0 or 1."""

    def __init__(self, fault=None):
        self.fault, self.executed = fault, []

    free = True

    def submit(self, job, folder, environment=executors.NONE):
        handle = Ended(job, folder, environment)
        self.executed.append(job.name)
        handle.partial.write_text(NOTEBOOK)
        scale = job.parameters["scale"]
        contents = {
            "metrics.json": json.dumps({"accuracy": scale / 10}),
            "environment.json": json.dumps({"git_commit": "0" * 40}),
            "predictions.csv": TABLE.format(scale, 10 - scale),
            "dnn/predictions.csv": TABLE.format(scale, 10 - scale),
            "model.safetensors": f"weights {scale}",
        }
        for name, text in contents.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        handle.status = self.fault(job, folder) if self.fault else 0
        return handle


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    write_notebook(folder / "02_a.ipynb", PARAMETERS, "x = 1\n", outputs=OUTPUTS)
    (tmp_path / "params.yaml").write_text(
        "run: toy\na: {notebook: 02_a}\nb: {notebook: 02_a, scale: 3, source: {step: a}}\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan(*overrides):
    return make_plan(Path("params.yaml"), overrides=overrides)


def execute(*overrides, fault=None, **options):
    """Run all jobs; return the outcome, the names of the jobs that were executed, and the words."""
    executor, out = Here(fault), io.StringIO()
    outcome = runner.run(plan(*overrides), executor=executor, out=out, **options)
    return outcome, executor.executed, out.getvalue()


def contents(name="a"):
    """Everything that the done-mark of a job vouches for, and the mark."""
    folder = Path("results/toy")
    found = {path.name: path for path in (folder / name).rglob("*") if path.is_file()}
    found["model"] = Path(f"models/toy/{name}.safetensors")
    return {key: path.read_bytes() for key, path in found.items()}


# ---- a finished result is never destroyed before its successor exists


def stop(job, folder):
    raise KeyboardInterrupt


def fail(job, folder):
    return 1


def forget(job, folder):
    (folder / "predictions.csv").unlink()
    return 0


@pytest.mark.parametrize("fault", [stop, fail, forget])
def test_what_interrupts_an_execution_leaves_the_earlier_results(project, fault):
    execute()
    before = contents()
    with contextlib.suppress(KeyboardInterrupt):
        execute("a.scale=2", fault=fault)
    assert contents() == before
    # readable, but not mixed with newer results by anything that compares
    old = {each.name: each for each in results.read("toy", with_outdated=True)}
    assert old["a"].metrics == {"accuracy": 0.1} and old["a"].parameters["scale"] == 1
    assert old["a"].outdated == "a newer execution is not finished"
    assert old["b"].outdated == "upstream changed since"
    new = results.read("toy")
    assert [each.done for each in new] == [False, False]
    assert new[0].not_run == "outdated (a newer execution is not finished)"
    page = report.write("toy").read_text()
    assert "Of an earlier state of the run (a newer execution is not finished)" in page
    # the same command makes the new results, and leaves nothing else
    assert execute("a.scale=2")[1] == ["a", "b"]
    assert contents()["metrics.json"] == b'{"accuracy": 0.2}'
    assert contents()["model"] == b"weights 2"
    assert not Path("results/toy/unfinished").exists()
    assert [each.outdated for each in results.read("toy", with_outdated=True)] == ["", ""]


def test_the_old_parameters_find_the_old_results(project):
    execute()
    before = contents()
    execute("a.scale=2", fault=fail)
    outcome, executed, _ = execute()
    assert executed == [] and outcome.unchanged == ["a", "b"]
    assert contents() == before
    assert [each.done for each in results.read("toy")] == [True, True]


def test_what_needs_outdated_results_is_not_executed(project):
    execute()
    before = contents("b")
    outcome, executed, said = execute("a.scale=2", "b.scale=4", fault=fail)
    assert executed == ["a"] and outcome.failed == ["a", "b"]
    assert "b: not executed, needs a (a newer execution is not finished)" in said
    assert contents("b") == before


@pytest.mark.parametrize("moves", range(9))
def test_an_exchange_that_is_interrupted_anywhere_is_ended_by_the_next_call(
    project, monkeypatch, moves
):
    execute()
    old, move, count = contents(), done._move, iter(range(100))

    def some(source, target):
        if next(count) == moves:
            raise KeyboardInterrupt
        move(source, target)

    monkeypatch.setattr(done, "_move", some)
    with contextlib.suppress(KeyboardInterrupt):
        execute("a.scale=2")
    monkeypatch.setattr(done, "_move", move)
    (between,) = results.read("toy", ["a"], with_outdated=True)
    if between.done:  # then all is old, or all is new
        found = contents()
        assert found == old or (found["model"], found["predictions.csv"]) == (
            b"weights 2",
            TABLE.format(2, 8).encode(),
        )
    _, executed, _ = execute("a.scale=2")
    assert "a" not in executed  # it was whole
    found = contents()
    assert found["model"] == b"weights 2" and found["metrics.json"] == b'{"accuracy": 0.2}'
    assert not Path("results/toy/unfinished").exists()
    assert execute("a.scale=2")[0].unchanged == ["a", "b"]


def test_a_training_resumes_from_its_checkpoint_and_from_nothing_else(project):
    def killed(job, folder):
        (folder / "model.checkpoint").write_text("epoch 3")
        (folder / "old.png").write_text("of an epoch before")
        raise KeyboardInterrupt

    def look(job, folder):
        seen.extend(sorted(path.name for path in folder.glob("*") if path.suffix != ".json"))
        return 0

    seen = []
    with contextlib.suppress(KeyboardInterrupt):
        execute(fault=killed)
    execute(fault=look, only=["a"])
    assert "model.checkpoint" in seen and "old.png" not in seen
    assert not list(Path().rglob("*.checkpoint"))


def test_a_model_may_be_on_another_disk(project, monkeypatch):
    replace = Path.replace

    def other_disk(path, target):
        if Path(path).suffix == ".safetensors":
            raise OSError(errno.EXDEV, "Invalid cross-device link", str(path))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", other_disk)
    execute()
    assert contents()["model"] == b"weights 1"
    assert not Path("results/toy/unfinished").exists()


# ---- damaged bookkeeping

DAMAGE = {
    "empty": lambda old: b"",
    "cut": lambda old: old[: len(old) // 2],
    "a list": lambda old: b"[]",
    "text": lambda old: b"hello",
    "bytes": lambda old: b"\x00\xff\xfe" * 7,
    "NaN": lambda old: b'{"seconds": NaN, "accuracy": NaN, "jobs": NaN}',
    "types": lambda old: b'{"fingerprints": 3, "jobs": [1], "test": [], "why": {}, "cells": 5}',
    "deep": lambda old: b"[" * 100_000,
}
FILES = (
    "results/toy/plan.json",
    *(f"results/toy/a/{name}" for name in ("done.json", "metrics.json", "environment.json")),
    *(f"results/toy/a/{name}" for name in ("params.yaml", "notebook.ipynb", "predictions.csv")),
    "results/toy/a/dnn/predictions.csv",
    "models/toy/a.safetensors",
)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_noticed_and_made_again(project, file, damage):
    execute()
    path = Path(file)
    before = path.read_bytes()
    path.write_bytes(DAMAGE[damage](before))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert cli.main(["report", "--run", "toy"]) == 0
        assert cli.main(["run", "--list"]) == 0
        noticed = " ".join(str(each.message) for each in said)
        _, executed, _ = execute()
    if path.name == "plan.json":
        assert "not a valid plan.json" in noticed and executed == []
    else:
        assert executed in (["a", "b"], ["a"])  # b reads the model of a: made again, maybe the same
    if path.name != "done.json":  # which has the time
        assert path.read_bytes() == before
    assert execute()[0].unchanged == ["a", "b"]


def test_an_edited_result_is_named(project, capsys):
    execute()
    with Path("results/toy/a/predictions.csv").open("a") as file:
        file.write("3,test,a,0.5,0.5\n")
    assert cli.main(["run", "--list"]) == 0
    why = "results/toy/a/predictions.csv has changed since it was written"
    assert f"to be executed ({why})" in capsys.readouterr().out
    (found, *_) = results.read("toy")
    assert not found.done and found.not_run == f"damaged ({why})"


def test_a_mark_of_an_earlier_version_is_read(project):
    execute()
    for name in ("a", "b"):
        path = Path(f"results/toy/{name}/done.json")
        old = json.loads(path.read_text())
        del old["files"]
        path.write_text(json.dumps(old))
    found = results.read("toy", with_outdated=True)
    assert [each.done for each in found] == [True, True]
    assert execute()[1] == ["b"]  # whose upstream mark has changed


def test_with_few_large_files_a_sample_counts(project, monkeypatch):
    monkeypatch.setattr(marks, "LARGE", 1000)
    path = project / "large"
    path.write_bytes(bytes(5_000_000))
    size, digest = marks.vouch(project)["large"]
    with path.open("r+b") as file:
        file.seek(4_999_999)
        file.write(b"1")
    assert not marks.matches(path, (size, digest))


# ---- a plan brought from elsewhere

NASTY = (
    "../x",
    "/tmp/x",
    "a/../../x",
    "..",
    "a/..",
    "a/.",
    "",
    " ",
    "a\0b",
    "a\n",
    "tune",
    "a" * 300,
)
NASTY += (
    "reference",
    "plan.json",
    "README.md",
    "index.html",
    "unfinished",
    "con",
    "a..b",
    "~",
    "-x",
)
NASTY += ("a\\b", "é", "a b", "results/x", "$(ls)", "{run}", "report", ".hidden", "a//b")


@pytest.mark.parametrize("name", sorted(set(NASTY) - {"results/x"}))  # which is a job of this run
def test_a_plan_from_elsewhere_leads_nowhere_else(project, name):
    from galaxymorph.run import foreign

    victim = project / "results" / "x" / "precious.csv"
    victim.parent.mkdir(parents=True)
    victim.write_text("a")
    planned = {name: {"combination": {}, "parameters": {}, "outputs": None}}
    (project / "results" / "mine").mkdir()
    (project / "results" / "mine" / "plan.json").write_text(json.dumps({"jobs": planned}))
    with pytest.warns(UserWarning, match="not a valid plan.json: job"):
        assert marks.planned(project / "results" / "mine") == {}
    with contextlib.suppress(ValueError, OSError):
        foreign.write("mine", [])
    assert victim.read_text() == "a"


def test_a_link_in_a_run_leads_nowhere_else(project, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (project / "results" / "mine").mkdir(parents=True)
    (project / "results" / "mine" / "a").symlink_to(outside)
    job = {"combination": {}, "parameters": {}, "outputs": None}
    (project / "results" / "mine" / "plan.json").write_text(json.dumps({"jobs": {"a": job}}))
    with pytest.warns(UserWarning, match="job 'a'"):
        assert marks.planned(project / "results" / "mine") == {}


@pytest.mark.parametrize("command", ["report", "run", "run --list", "tune a", "compare x.csv"])
def test_every_command_refuses_names_of_runs(project, capsys, command):
    for name in NASTY:
        there = sorted(project.rglob("*"))
        assert cli.main([*command.split(), f"--run={name}"]) == 2
        assert "--run: " in capsys.readouterr().err
        assert sorted(project.rglob("*")) == there


@pytest.mark.parametrize("name", NASTY)
def test_steps_have_the_same_names(project, name):
    from galaxymorph.run.params import ParamsError

    text = yaml.safe_dump({"run": "toy", name: {"notebook": "02_a"}})
    Path("params.yaml").write_text(text)
    with pytest.raises(ParamsError, match=r"expected a name|reserved|not valid YAML"):
        plan()


def test_steps_differ_by_more_than_capitals(project):
    from galaxymorph.run.params import ParamsError

    Path("params.yaml").write_text("run: x\nCnn: {notebook: 02_a}\ncnn: {notebook: 02_a}\n")
    with pytest.raises(ParamsError, match="cnn: differs from Cnn only by capitals"):
        plan()


# ---- limits of the machine

ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "quota",
    errno.EROFS: "read-only",
    errno.EACCES: "permission denied",
    errno.EMFILE: "ulimit -n",
    errno.EIO: "the disk reports an error",
}


@pytest.mark.parametrize("number", ERRORS)
@pytest.mark.parametrize("place", ["done.json", "plan.json"])
def test_a_limit_of_the_machine_is_said_and_nothing_is_lost(
    project, monkeypatch, capsys, number, place
):
    execute()
    before = contents()
    write = Path.write_bytes

    def full(path, content):
        if place in path.name:
            raise OSError(number, os.strerror(number))  # as from a write: without a name
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(cli, "_execute", lambda plan, **options: execute("a.scale=2") and 0)
    assert cli.main(["run"]) == 2
    said = capsys.readouterr().err
    assert ERRORS[number] in said and place in said and "Nothing is lost" in said
    assert contents() == before
    monkeypatch.undo()
    os.chdir(project)
    assert execute("a.scale=2")[1][:1] in ([], ["a"])
    assert contents()["metrics.json"] == b'{"accuracy": 0.2}'


def test_a_full_disk_is_named_where_a_notebook_fails(project, monkeypatch):
    monkeypatch.setattr(executors, "free", lambda path: 3_000_000)
    said = execute(fault=fail)[2]
    assert f"{project / 'results'} is on a disk with 3 MB free" in said


# ---- terminals


def test_a_terminal_that_knows_only_ascii(project):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    screen = Screen(out)
    screen.say("✓ done – é")
    assert out.buffer.getvalue() == b"+ done - ?\n"


def test_a_reader_that_is_gone_does_not_stop_a_run(project):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as out:
        outcome = runner.run(plan(), executor=Here(), out=out)
    assert outcome.done == ["a", "b"]


# ---- a choice of steps


def test_steps_that_were_not_chosen_are_not_missing(project):
    execute(only=["a"])
    assert [each.name for each in results.read("toy")] == ["a"]
    execute()
    assert [each.name for each in results.read("toy")] == ["a", "b"]


def test_a_name_used_again_with_other_parameters_is_said(project):
    execute()
    _, _, said = execute("a.scale=2", "b.scale=4", only=["a"])
    assert "results of other parameters stay until the new ones are whole: a\n" in said
    assert "results of other parameters are left out: b; --only chose other steps" in said
