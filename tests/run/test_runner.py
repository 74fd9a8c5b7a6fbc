"""Toy notebooks through the real runner: kernels, processes, signals."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from galaxymorph.project import Locked
from galaxymorph.run import done as done_module
from galaxymorph.run import execute as execute_module
from galaxymorph.run import executors, results, runner, warm
from galaxymorph.run.done import _files, _sources, fingerprints
from galaxymorph.run.done import changed as done_changed
from galaxymorph.run.executors import Local
from galaxymorph.run.folder import Step
from galaxymorph.run.plan import make_plan as read_plan
from galaxymorph.run.screen import Screen

TRAIN = """\
run = "by_hand"
step = "a"
seed = 0
pause = 0.0
trouble = ""
source = ""
"""
STEPS = """\
import sys, time
from pathlib import Path
from galaxymorph.run.folder import Step
there = Step(run, step)
there.metrics({"accuracy": 0.5 + seed / 10, "python": sys.executable, "cwd": str(Path.cwd())})
"""
TROUBLE = """\
if trouble == "raise":
    raise RuntimeError("the telescope is closed")
if trouble == "offline":
    from galaxymorph.learning.model_files import Unavailable
    raise Unavailable("weights not available offline: https://example.org/w-0.pth (no network)")
if trouble == "die":
    import os
    os._exit(9)
if trouble == "meet":  # ends only while another job is there, too
    (there.path / "here").touch()
    deadline = time.monotonic() + 120
    while len(list(Path("results").glob("**/here"))) < 2:
        assert time.monotonic() < deadline, "there is nobody else"
        time.sleep(0.05)
if trouble == "wait":
    import os, subprocess
    child = subprocess.Popen(["sleep", "300"])
    (there.path / "pids").write_text(f"{os.getpid()} {os.getppid()} {child.pid}")
    time.sleep(300)
time.sleep(pause)
"""
END = """\
if trouble != "forget":
    (there.path / "plot.png").write_bytes(b"")
if trouble == "nan":
    (there.path / "metrics.json").write_text('{"accuracy": NaN}')
there.model_file.write_text("weights")
"""
FROZEN = """\
from pathlib import Path
from galaxymorph.run.folder import Step
there = Step(run, step)
assert Path(source).read_text() == "weights"
for row in ("dnn", "random_dnn"):
    there.row(row).file("predictions.csv").write_text("")
there.metrics({"findings": ["A network helps.", "Chance does, too."]})
"""
COMPARE = 'run = "by_hand"\nstep = "compare"\nsteps = None\n'
TABLE = """\
from galaxymorph.run import results
from galaxymorph.run.folder import Step
found = results.read(run, steps)
Step(run, step).metrics({job.name: job.metrics.get("accuracy") for job in found})
"""


def write_notebook(path, *sources, outputs=(), **more):
    """The first source is the parameters cell. The kernel in the metadata does not exist."""
    cells = [
        {
            "cell_type": "code",
            "id": f"cell{number}",
            "source": source,
            "metadata": {} if number else {"tags": ["parameters"]},
            "outputs": [],
            "execution_count": None,
        }
        for number, source in enumerate(sources)
    ]
    kernel = {"name": "julia-1.9", "display_name": "Julia", "language": "julia"}
    metadata = {
        "kernelspec": kernel,
        "language_info": {"name": "julia"},
        "galaxymorph": {"outputs": list(outputs)} | more,
    }
    path.write_text(
        json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells})
    )


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    write_notebook(
        folder / "02_train.ipynb",
        TRAIN,
        STEPS,
        TROUBLE,
        END,
        outputs=["metrics.json", "plot.png", "model.safetensors"],
    )
    write_notebook(folder / "10_compare.ipynb", COMPARE, TABLE, outputs=["metrics.json"])
    write_notebook(
        folder / "05_frozen.ipynb",
        TRAIN,
        FROZEN,
        outputs=["metrics.json", "dnn/predictions.csv", "random_dnn/predictions.csv"],
    )
    (tmp_path / "params.yaml").write_text("")  # what makes it a project
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_plan(project, **steps):
    blocks = {name: {"notebook": "02_train"} | block for name, block in steps.items()}
    (project / "params.yaml").write_text(yaml.safe_dump({"run": "toy", **blocks}, sort_keys=False))
    return read_plan(project / "params.yaml")


COMPARED = {"notebook": "10_compare"}


def execute(plan, *, jobs=1, **options):
    """The outcome, and what was said."""
    out = io.StringIO()
    return runner.run(plan, out=out, executor=Local(jobs), **options), out.getvalue()


def alive(pid):
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.long
def test_a_run_from_nothing_to_nothing_left_to_do(project):
    """Kernels side by side (each waits for another), the current interpreter in the project's
    folder, skipping, and what makes a job due again."""
    frozen = {
        "notebook": "05_frozen",
        "source": {"step": "a", "seed": 2},
    }  # has to wait, although there is room
    plan = make_plan(
        project, a={"over": {"seed": [0, 1, 2]}, "trouble": "meet"}, frozen=frozen, compare=COMPARED
    )
    folder = project / "results" / "toy"
    for name in ("knn/metrics.json", "dnn/kept.txt", "dnn/history.csv"):
        (folder / "frozen" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "frozen" / name).write_text("of an earlier execution")
    outcome, said = execute(plan, jobs=2)
    assert sorted(outcome.done) == ["a/seed=0", "a/seed=1", "a/seed=2", "compare", "frozen"], said
    left = sorted(
        path.relative_to(folder / "frozen").as_posix() for path in (folder / "frozen").glob("*/*")
    )
    assert left == ["dnn/kept.txt", "dnn/predictions.csv", "random_dnn/predictions.csv"]
    assert not (folder / "frozen" / "knn").exists()
    assert re.search(r"✓ frozen: .+\n  A network helps\.\n  Chance does, too\.\n", said)
    first = json.loads((folder / "a/seed=0" / "metrics.json").read_text())
    assert first["python"] == sys.executable
    assert first["cwd"] == str(project)
    compared = json.loads((folder / "compare" / "metrics.json").read_text())
    assert compared == {"a/seed=0": 0.5, "a/seed=1": 0.6, "a/seed=2": 0.7, "frozen": None}
    assert yaml.safe_load((folder / "a/seed=1" / "params.yaml").read_text())["seed"] == 1
    executed = json.loads((folder / "a/seed=1" / "notebook.ipynb").read_text())
    assert executed["metadata"]["kernelspec"]["name"] == "python3"
    assert any("seed = 1" in "".join(cell["source"]) for cell in executed["cells"])
    assert (project / "models" / "toy" / "a" / "seed=1.safetensors").is_file()

    outcome, said = execute(plan)
    assert outcome.unchanged == [job.name for job in plan.jobs]
    assert not outcome.done

    (folder / "a/seed=0" / "plot.png").unlink()
    changed = read_plan(
        project / "params.yaml",
        overrides=["a.over.seed=[0, 1]", "frozen.source.seed=1", "a.pause=0.01"],
    )
    assert done_changed(plan, plan.jobs[0]) == "plot.png is missing"
    assert done_changed(plan, plan.jobs[1]) == ""
    assert done_changed(changed, changed.jobs[1]) == "parameters changed"

    done = folder / "a/seed=1" / "done.json"
    done.write_text(done.read_text() + "\n")
    assert done_changed(plan, plan.jobs[3]) == ""  # reads another seed's model
    assert done_changed(plan, plan.jobs[4]) == "upstream changed"
    done = folder / "a/seed=2" / "done.json"
    done.write_text(done.read_text() + "\n")
    assert done_changed(plan, plan.jobs[3]) == "upstream changed"
    (project / "models" / "toy" / "a" / "seed=2.safetensors").write_text("other weights")
    assert done_changed(plan, plan.jobs[3]) == "files and upstream changed"
    (folder / "frozen" / "dnn" / "predictions.csv").unlink()
    assert done_changed(plan, plan.jobs[3]) == "dnn/predictions.csv is missing"
    Step("toy", "frozen").row("dnn").metrics({})
    assert done_changed(plan, plan.jobs[3]) == "new"


@pytest.mark.long
def test_failures_stay_with_themselves(project):
    plan = make_plan(
        project,
        closed={"trouble": "raise"},
        forgetful={"trouble": "forget"},
        nan={"trouble": "nan"},
        dying={"trouble": "die"},
        good={},
        compare=COMPARED,
        reader=COMPARED | {"steps": ["closed"]},
        tuned={"source": {"step": "closed"}},
        offline={"trouble": "offline"},
        after={"source": {"step": "offline"}},
        table=COMPARED | {"steps": ["good", "offline"]},
    )
    folder = project / "results" / "toy"
    (folder / "closed").mkdir(parents=True)
    (folder / "closed" / "metrics.json").write_text('{"accuracy": 1.0}')  # of an earlier execution
    (folder / "closed" / "done.json").write_text('{"seconds": 1.0, "fingerprints": {}}')
    (folder / "forgetful").mkdir(parents=True)
    (folder / "forgetful" / "plot.png").write_bytes(b"old")
    outcome, said = execute(plan, jobs=3)
    assert sorted(outcome.failed) == ["closed", "dying", "forgetful", "nan", "reader", "tuned"], (
        said
    )
    assert sorted(outcome.done) == ["compare", "good", "table"]  # which lists what was left out
    assert outcome.left_out == [
        "offline",
        "after",
    ]  # no failures, but nothing that passes for a result either
    assert "offline: not run: weights not available offline: https://example.org/w-0.pth" in said
    assert "after: not run, needs offline" in said
    assert [(job.done, job.not_run) for job in results.read("toy", ["offline", "after"])] == [
        (False, "weights not available offline"),
        (False, "needs offline"),
    ]
    assert "in code cell 3" in said
    assert 'raise RuntimeError("the telescope is closed")' in said
    assert "RuntimeError: the telescope is closed" in said
    assert "\x1b" not in said
    assert "did not write its output plot.png" in said
    assert "metrics.json: accuracy is nan" in said
    assert "Kernel died" in said
    assert "reader: not executed, needs closed" in said
    assert "tuned: not executed, needs closed" in said
    for name in set(outcome.failed) - {"closed"}:
        assert not (folder / name / "done.json").exists()
    # the earlier results are kept, but neither compared nor used
    assert json.loads((folder / "closed" / "metrics.json").read_text()) == {"accuracy": 1.0}
    (kept,) = results.read("toy", ["closed"], with_outdated=True)
    assert kept.metrics == {"accuracy": 1.0}
    assert kept.outdated == "a newer execution is not finished"
    partial = json.loads((folder / "unfinished" / "closed" / "notebook.ipynb").read_text())
    assert any(
        output.get("ename") == "RuntimeError"
        for cell in partial["cells"]
        for output in cell.get("outputs", [])
    )
    compared = json.loads((folder / "compare" / "metrics.json").read_text())
    assert compared == {"closed": None, "forgetful": None, "nan": None, "dying": None, "good": 0.5}


@pytest.mark.long
def test_ctrl_c_leaves_no_done_mark_and_no_process(project):
    make_plan(project, good={}, waiting={"trouble": "wait"}, late={})
    process = subprocess.Popen(
        [sys.executable, "-m", "galaxymorph", "run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    folder = project / "results" / "toy"
    pids = folder / "unfinished" / "waiting" / "pids"
    deadline = time.monotonic() + 180
    while (
        not (pids.is_file() and pids.read_text())
        and time.monotonic() < deadline
        and process.poll() is None
    ):
        time.sleep(0.1)
    assert pids.is_file(), process.communicate(timeout=5)
    with pytest.raises(Locked, match="another process is executing this run"):
        execute(read_plan(project / "params.yaml"))
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert b"Traceback" not in said
    assert (folder / "good" / "done.json").is_file()
    assert not (folder / "waiting").exists()
    assert not (folder / "late").exists()
    assert (folder / "unfinished" / "waiting" / "notebook.partial.ipynb").is_file()
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in pids.read_text().split()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in pids.read_text().split() if alive(pid)]


# ---- fingerprints, without executing anything


def test_only_code_counts(project, monkeypatch):
    package = project / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "leaf.py").write_text('"""Leaf."""\n\n\ndef f(x):\n    """Old."""\n    return x\n')
    (package / "train.py").write_text("from package import leaf\n")
    (package / "other.py").write_text("")
    monkeypatch.setattr(done_module, "PACKAGE", package)
    use = "from package.train import fit\nimport package\n"
    before = _sources([use])
    assert set(before) == {"__init__", "leaf", "train"}
    (package / "leaf.py").write_text(
        '"""Leaf, but better said."""\ndef f(x):\n    # a comment\n    return (x)\n'
    )
    os.utime(package / "leaf.py", ns=(1, 1))
    (package / "other.py").write_text("x = 1\n")
    assert _sources([use]) == before
    (package / "leaf.py").write_text("def f(x):\n    return x + 1\n")
    os.utime(package / "leaf.py", ns=(2, 2))
    assert {name for name, value in _sources([use]).items() if value != before[name]} == {"leaf"}


def test_code_of_the_notebook_counts_and_its_prose_does_not(project):
    path = project / "notebooks" / "02_train.ipynb"
    plan = make_plan(project, a={})
    before = fingerprints(plan, plan.jobs[0])

    def after(*sources):
        write_notebook(path, *sources)
        plan = read_plan(project / "params.yaml")
        return {
            kind
            for kind, value in fingerprints(plan, plan.jobs[0]).items()
            if value != before[kind]
        }

    assert after(TRAIN, STEPS + "# a comment\n", TROUBLE, END) == set()
    assert after(TRAIN, STEPS + "x = 1\n", TROUBLE, END) == {"code"}


def test_files_that_a_parameter_names_count(project):
    galaxies = project / "data" / "galaxies"
    galaxies.mkdir(parents=True)
    (galaxies / "1.png").write_bytes(b"1")
    (project / "data" / "cache").mkdir()
    weights = project / "weights.safetensors"
    weights.write_bytes(b"1")

    def look(value):
        return _files({"run": "data", "galaxies": {"root": value, "cache": "data"}})

    assert look("simulated") == look("") == look(".") == look("..") == {}
    assert list(look("data/galaxies")) == ["data/galaxies"]
    (galaxies / "moved.png").symlink_to("nowhere.png")
    before = look("data"), look("weights.safetensors"), look(str(galaxies))
    (project / "data" / "cache" / "decoded.npy").write_bytes(b"1")
    assert look("data") == before[0]  # our own cache
    (galaxies / "2.png").write_bytes(b"2")
    weights.write_bytes(b"2")
    assert look("data") != before[0]
    assert look("weights.safetensors") != before[1]
    assert look(str(galaxies)) != before[2]


def test_cores_and_gpus_are_shared_out(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert "OMP_NUM_THREADS" not in executors.environments(1)[0]
    shared = executors.environments(3)
    cores = len(os.sched_getaffinity(0))
    assert [env["CUDA_VISIBLE_DEVICES"] for env in shared] == ["2", "5", "2"]
    assert {env["OMP_NUM_THREADS"] for env in shared} == {str(max(1, cores // 3))}
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert executors.environments(2)[0]["OMP_NUM_THREADS"] == "7"


ALONE = """
import hashlib, os, random, sys
import numpy, torch
torch.manual_seed(seed)
network = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 1))
optimizer = torch.optim.Adam(network.parameters())
x = torch.randn(512, 64)
for _ in range(20):
    loss = (network(x) - x.sum(1, keepdim=True)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
weights = hashlib.sha256(network[0].weight.detach().numpy().tobytes()).hexdigest()
names = "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MPLBACKEND", "PYTHONUNBUFFERED"
same = [weights, torch.get_num_threads(), [os.environ.get(name) for name in names], os.getcwd()]
same += ["" in sys.path, __name__, "matplotlib" in sys.modules]
own = [os.getpid(), os.getpgid(0), random.random(), numpy.random.rand()]
"""
SAY = """
import json
from galaxymorph.run.folder import Step
Step(run, step).metrics({"same": json.dumps(same[:-1]), "own": json.dumps(own), "warm": same[-1]})
"""


@pytest.mark.skipif(not warm.SAFE, reason="forking is unsafe on this system")
@pytest.mark.long
def test_forked_jobs_compute_what_new_processes_do_and_share_nothing(project, monkeypatch):
    parameters = 'run = "toy"\nstep = "a"\nseed: int = 0'
    notebook = project / "notebooks" / "03_alone.ipynb"
    write_notebook(notebook, parameters, ALONE, SAY, outputs=["metrics.json"])
    plan = make_plan(project, a={"notebook": "03_alone"}, b={"notebook": "03_alone"})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")

    def made(fork):
        executor = Local(2, fork=fork)
        assert runner.run(plan, out=io.StringIO(), force=True, executor=executor).failed == []
        folder = project / "results" / "toy"
        found = [json.loads((folder / job / "metrics.json").read_text()) for job in "ab"]
        assert [each["warm"] for each in found] == [fork, fork]
        return [json.loads(each["same"]) for each in found], [
            json.loads(each["own"]) for each in found
        ]

    forked, own = made(fork=True)
    assert forked[0] == forked[1]
    assert all(a != b for a, b in zip(*own, strict=True))
    assert [pid == group for pid, group, *_ in own] == [True, True]
    assert made(fork=False)[0] == forked


def test_a_job_is_forked_only_with_the_present_code_and_its_number_of_threads(
    tmp_path, monkeypatch
):
    (tmp_path / "__init__.py").write_text("")
    monkeypatch.setattr(warm.galaxymorph, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(warm, "_server", warm._state({"OMP_NUM_THREADS": "1"}))
    assert warm.ready({"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "0"})
    assert not warm.ready({"OMP_NUM_THREADS": "2"})
    (tmp_path / "train.py").write_text("")
    assert not warm.ready({"OMP_NUM_THREADS": "1"})


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_has_one_line_per_running_job(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    out = Terminal()
    screen = Screen(out)
    screen.live({"a": ("epoch 1/2", 5.0), "b" * 40: ("cell 1/2", 5.0)})
    screen.live({"a": ("epoch 2/2", 65.0)})
    screen.say("done")
    first, second = f"  a  epoch 1/2  (5 s)\n  {'b' * 27}\n", "  a  epoch 2/2  (1 min 05 s)\n"
    assert out.getvalue() == f"{first}\x1b[2F\x1b[J{second}\x1b[1F\x1b[Jdone\n"


def test_a_log_file_has_a_line_now_and_then():
    out = io.StringIO()
    screen = Screen(out, every=30.0)
    for seconds in (1.0, 29.0, 31.0, 45.0, 62.0):
        screen.live({"a": ("epoch 1/2", seconds)})
    assert out.getvalue() == "a: epoch 1/2\n" * 2


def test_the_whole_run_has_a_line_on_a_terminal_and_a_minute_in_a_log(monkeypatch):
    terminal, log = Terminal(), io.StringIO()
    Screen(terminal).live({"a": ("epoch 1/2", 5.0)}, "0 of 2 jobs")
    assert terminal.getvalue() == "  a  epoch 1/2  (5 s)\n  0 of 2 jobs\n"
    clock = iter([0.0, 59.0, 61.0, 119.0, 122.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    screen = Screen(log)
    for number in range(4):
        screen.live({}, f"{number} of 4 jobs")
    assert log.getvalue() == "1 of 4 jobs\n3 of 4 jobs\n"


class Nothing(executors.Handle):
    """A job that an executor of another kind has submitted, and that says what a test writes."""

    def poll(self):
        return 9

    def stop(self):
        pass


@pytest.fixture
def handle(project):
    (job,) = make_plan(project, a={"seed": 3}).jobs
    return Nothing(job, Step("toy", "a").path, {"OF": "the job"})


def test_what_goes_in_and_comes_out_is_in_the_folder_of_the_job(handle):
    task = json.loads((handle.folder / ".job" / "job.json").read_text())
    assert task["environment"] == {"OF": "the job"} and task["parameters"]["seed"] == 3
    assert Path(task["notebook"]).is_file() and task["output"] == str(handle.partial)
    assert yaml.safe_load((handle.folder / "params.yaml").read_text())["step"] == "a"


def test_progress_is_the_epoch_while_training_and_else_the_cell(handle):
    assert handle.progress() == "starting"
    (handle.said / "progress.json").write_text('"cell 3/9"')
    assert handle.progress() == "cell 3/9"
    rows = Step("toy", "a").row("dnn")
    rows.record({"epoch": n, "epochs": 2, "val_loss": 1 / 2**n} for n in (1, 2))
    assert handle.progress() == "epoch 2/2, val loss 0.250"
    rows.record([{"epoch": 1, "epochs": 3, "val_loss": 0.5}])
    assert handle.progress() == "epoch 1/3, val loss 0.500, 0 s left"


def test_why_a_job_has_failed(handle):
    (handle.said / "log").write_text("killed")
    assert handle.failure() == "the process ended with status 9\nkilled"
    why = {"kind": "Unavailable", "said": "no network", "why": "in code cell 2: no network"}
    (handle.said / "failure.json").write_text(json.dumps(why))
    assert (handle.failure(), handle.unavailable()) == (why["why"], "no network")


@pytest.mark.long
def test_the_grammar_of_web_addresses_is_not_compiled_and_may_be_imported_later():
    code = "import sys; from galaxymorph.run import execute; print('rfc3987_syntax' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
    with execute_module.without("wave"), pytest.raises(ImportError):
        import wave
    import wave  # noqa: F401


@pytest.mark.parametrize("line", ["raise ValueError(why)", "int(text)"])
def test_of_an_error_of_ours_only_the_message_is_printed(tmp_path, line):
    """A bug has its cell and traceback, too."""
    source = Path(execute_module.__file__)
    trace = [
        "-" * 75,
        f"File {source}:70, in find(root)",
        f"---> 70     {line}",
        "ValueError: flat",
    ]
    error = {"output_type": "error", "ename": "ValueError", "evalue": "flat", "traceback": trace}
    code = {"cell_type": "code", "source": "load()", "metadata": {}, "execution_count": 1}
    notebook = {"nbformat": 4, "nbformat_minor": 4, "metadata": {}}
    path = tmp_path / "notebook.ipynb"
    path.write_text(json.dumps(notebook | {"cells": [code | {"outputs": [error]}]}))
    why = execute_module.failure(path, ValueError("flat"))["why"]
    assert (why == "in code cell 1: flat") == line.startswith("raise")
    assert "int(text)" not in line or ("load()" in why and "int(text)" in why)


def test_an_unfinished_notebook_is_saved_once_a_second(monkeypatch):
    from galaxymorph.run import execute

    now, saved = [0.0], list[float]()

    class Manager:
        def save(self):
            saved.append(now[0])

    def cells(cls, manager, kernel_name, **options):
        for now[0] in (0.2, 0.9, 1.0, 1.1, 1.9, 2.5):
            manager.save()
        raise RuntimeError("a cell failed")

    monkeypatch.setattr(execute.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(execute.NBClientEngine, "execute_managed_notebook", classmethod(cells))
    manager = Manager()
    with pytest.raises(RuntimeError, match="a cell failed"):
        execute.Engine.execute_managed_notebook(manager, "python3")
    assert saved == [1.0, 2.5]
    manager.save()  # as papermill does at the end
    assert saved == [1.0, 2.5, 2.5]
