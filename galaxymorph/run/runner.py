"""Executes the pieces of work of a plan: those whose inputs have changed, side by side if wanted, each in a process of its own.

A piece is done when its `done.json` holds the fingerprints of its inputs and its declared outputs exist. Inputs are

* parameters, as resolved (`params.yaml` in its folder);
* code: the notebook's code cells and the modules of this package that they import, directly or not; comments, docstrings and
  layout do not count, nor does the notebook's prose;
* files: contents of files, and names, sizes and times of everything in folders, that a parameter names;
* upstream: the done-marks of the pieces that it reads.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import fcntl
import functools
import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import TextIOBase
from pathlib import Path
from typing import Any, TextIO

import yaml

from galaxymorph.run import folder as runs
from galaxymorph.run.notebooks import MODEL
from galaxymorph.run.params import Piece, Plan

PACKAGE = Path(__file__).parents[1]
WRITTEN = ("history.csv", "predictions.csv", "metrics.json", "environment.json")  # by steps, and into the folders of rows
LARGE = 64 * 2**20  # bytes; larger files are told apart by size and time


class RunError(RuntimeError):
    """A run that cannot start."""


# ---- fingerprints


def fingerprints(plan: Plan, piece: Piece) -> dict[str, str]:
    """Hashes of everything that a piece's results depend on, by kind, so that a change can be named."""
    inputs = {
        "parameters": piece.parameters,
        "code": [[_normal(source) for source in piece.notebook.code], _sources(piece.notebook.code)],
        "files": _files(piece.parameters),
        "upstream": {name: _hash_file(folder(plan, name) / "done.json") for name in piece.reads},
    }
    return {kind: _hash(json.dumps(value, sort_keys=True, default=str).encode()) for kind, value in inputs.items()}


def folder(plan: Plan, name: str) -> Path:
    return runs.Step(plan.run, name).path


def outputs(plan: Plan, piece: Piece) -> list[Path]:
    """The files that a piece has to leave: those that its notebook declares, and what the runner writes itself."""
    step = runs.Step(plan.run, piece.name)
    declared = []
    for output in piece.notebook.outputs:
        row, _, name = output.rpartition("/")
        place = step.row(row) if row else step
        declared.append(place.model_file if name == MODEL else place.path / name)
    return [*declared, step.path / "notebook.ipynb", step.path / "params.yaml"]


def _shown(path: Path, step: runs.Step) -> str:
    """A file of a piece as the piece's folder has it, a model as the project has it."""
    return path.relative_to(step.path if path.is_relative_to(step.path) else runs.root()).as_posix()


def changed(plan: Plan, piece: Piece) -> str:
    """Why a piece has to be executed: empty where it is done."""
    mark = folder(plan, piece.name) / "done.json"
    if not mark.is_file():
        return "new"
    missing = [path for path in outputs(plan, piece) if not path.is_file()]
    if missing:
        return f"{_shown(missing[0], runs.Step(plan.run, piece.name))} is gone"
    before = json.loads(mark.read_text(encoding="utf-8"))["fingerprints"]
    kinds = [kind for kind, value in fingerprints(plan, piece).items() if before.get(kind) != value]
    return f"{' and '.join(kinds)} changed" if kinds else ""


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _hash_file(path: Path) -> str | None:
    return _hash(path.read_bytes()) if path.is_file() else None


def _normal(source: str) -> str:
    """Python without comments, docstrings and layout; what is no Python, as it is."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return source
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and len(body) > 1:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                del body[0]
    return ast.unparse(tree)


def _sources(code: Sequence[str]) -> dict[str, str]:
    """Hashes of the package's modules that code imports, directly or through each other."""
    found: dict[str, str] = {}
    waiting = [module for source in code for module in _modules(source)]
    while waiting:
        name = waiting.pop()
        place = PACKAGE.joinpath(*name.split("."))
        path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if name not in found and path.is_file():
            found[name], imported = _module(path, path.stat().st_mtime_ns)
            waiting += imported
    return found


@functools.cache
def _module(path: Path, mtime: int) -> tuple[str, tuple[str, ...]]:
    source = path.read_text(encoding="utf-8")
    return _hash(_normal(source).encode()), tuple(_modules(source))


def _modules(source: str) -> Iterator[str]:
    """Names that may be modules of the package: the caller looks which are."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return  # importing it will say so
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = f"{PACKAGE.name}.{node.module or ''}".rstrip(".") if node.level else node.module or ""
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            top, *parts = name.split(".")
            if top == PACKAGE.name:
                yield from (".".join(parts[:depth]) or "__init__" for depth in range(len(parts) + 1))  # and those around it


def _files(parameters: dict[str, Any]) -> dict[str, Any]:
    """What stands at each path that a parameter names, relative to the project's folder."""
    named = {}
    for key, value in runs.leaves({k: v for k, v in parameters.items() if k not in ("run", "step", "steps")}):
        if isinstance(value, str) and value and len(value) < 1000 and "\0" not in value and key.split(".")[-1] != "cache":
            path = (runs.root() / Path(value).expanduser()).resolve()
            if path.is_file():
                named[value] = _file(path, path.stat().st_size, path.stat().st_mtime_ns)
            elif path.is_dir() and not runs.root().resolve().is_relative_to(path):  # not the whole project
                named[value] = _listing(path)
    return named


@functools.cache
def _file(path: Path, size: int, mtime: int) -> str:
    return _hash(path.read_bytes()) if size <= LARGE else f"{size} {mtime}"


def _listing(path: Path) -> str:
    cache = runs.root() / "data" / "cache"  # our own: decoded galaxies
    lines = []
    for where, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if Path(where, name) != cache)
        for name in sorted(names):
            file = Path(where, name)
            stat = file.stat() if file.exists() else file.lstat()  # a link that leads nowhere
            lines.append(f"{os.path.relpath(where, path)}/{name} {stat.st_size} {stat.st_mtime_ns}")
    return _hash("\n".join(lines).encode())


# ---- one piece in execution


class Execution:
    """A piece's notebook in a process of its own, written to `partial` as it goes on, its parameters beside it.

    `tmp` is a short path: names of Unix sockets have 104 letters at most.
    """

    def __init__(self, piece: Piece, partial: Path, env: Mapping[str, str]):
        self.started = time.monotonic()
        runs.write(partial.with_name("params.yaml"), yaml.safe_dump(piece.parameters, sort_keys=False, allow_unicode=True))
        self.tmp = Path(tempfile.mkdtemp(prefix="gm-", dir="/tmp"))
        task = {"notebook": str(piece.notebook.path), "output": str(partial), "parameters": piece.parameters}
        runs.write(self.tmp / "job.json", json.dumps(task))
        with (self.tmp / "log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "galaxymorph.run.execute", str(self.tmp / "job.json")],
                cwd=runs.root(),
                env=env,
                stdin=subprocess.PIPE,  # its end is the sign to stop
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the runner alone
            )

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def stop(self) -> None:
        """Ends notebook, kernel and process at once; the partial notebook stays as it is."""
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.tmp, ignore_errors=True)

    def unavailable(self) -> str:
        """What the notebook could not get (`weights.Unavailable`), if it was that which ended it."""
        path = self.tmp / "failure.json"
        why = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return why["said"] if why.get("kind") == "Unavailable" else ""

    def failure(self) -> str:
        path = self.tmp / "failure.json"
        if not path.is_file():
            log = (self.tmp / "log").read_text(errors="replace").strip().splitlines()
            return "\n".join([f"the process ended with status {self.process.returncode}", *log[-12:]])
        why = json.loads(path.read_text(encoding="utf-8"))
        if "cell" not in why:
            died = "; out of memory?" if "DeadKernel" in why["error"] else ""
            return f"{why['error']}{died}"
        source = "\n".join(f"    {line}" for line in why["source"].strip().splitlines())
        return f"in code cell {why['cell']}:\n\n{source}\n\n{why['error'].strip()}"


class Job(Execution):
    """A piece of work in execution in its folder of the run."""

    def __init__(self, plan: Plan, piece: Piece, slot: int, env: Mapping[str, str]):
        self.plan, self.piece, self.slot = plan, piece, slot
        self.step = runs.Step(plan.run, piece.name)
        self.partial = self.step.path / "notebook.partial.ipynb"
        self.left_out = ""  # why, where that is no failure
        self.clear()
        self.fingerprints = fingerprints(plan, piece)  # of what goes in, should it change meanwhile
        super().__init__(piece, self.partial, env)

    def clear(self) -> None:
        """Takes away what an earlier execution has left: old files cannot pass for new."""
        old = [*outputs(self.plan, self.piece), self.step.mark, self.partial, self.step.path / "notebook.html"]
        old += [self.step.path / runs.NOT_RUN]
        rows = [row.path for row in self.step.rows()]
        for folder in (self.step.path, *rows):
            old += [folder / name for name in WRITTEN] + list(folder.glob("*.png"))
        for path in old:
            path.unlink(missing_ok=True)
        for folder in rows:
            with contextlib.suppress(OSError):  # what else there is in it is nobody's
                folder.rmdir()

    def progress(self) -> str:
        """The latest epoch while the training cell is running, else the cell."""
        cells = self.tmp / "progress.json"
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, IndexError):  # a row may just be being written
            histories = [place.path / "history.csv" for place in (self.step, *self.step.rows())]
            history = max(filter(Path.is_file, histories), key=lambda path: path.stat().st_mtime)
            if history.stat().st_mtime > cells.stat().st_mtime:
                rows = list(csv.DictReader(history.read_text(encoding="utf-8").splitlines()))
                return runs.progress(rows[-1], seconds=sum(float(row["seconds"]) for row in rows))
        with contextlib.suppress(OSError, ValueError):
            cell = json.loads(cells.read_text(encoding="utf-8"))
            return f"cell {cell['cell']}/{cell['cells']}"
        return "starting"

    def finish(self) -> str:
        """After the process has ended: marks the piece as done or left out, or says in a few lines why it has failed."""
        if self.partial.is_file():
            self.partial.replace(self.step.path / "notebook.ipynb")
        self.left_out = self.unavailable()
        why = self.failure() if self.process.returncode else self.unfulfilled()
        seconds = round(self.seconds, 1)
        self.stop()
        if self.left_out:
            _leave_out(self.step, self.left_out.split(": ")[0])
            return ""
        if not why:
            mark = {
                "step": self.piece.step,
                "combination": self.piece.combination,
                "fingerprints": self.fingerprints,
                "outputs": list(self.piece.notebook.outputs),
                "seconds": seconds,
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            runs.write(self.step.path / "done.json", json.dumps(mark, indent=2) + "\n")
        return why

    def unfulfilled(self) -> str:
        for path in outputs(self.plan, self.piece):
            if not path.is_file():
                shown = _shown(path, self.step)
                return f"the notebook ran, but has not written {shown}, which it declares among its outputs"
        for path in [place.path / "metrics.json" for place in (self.step, *self.step.rows())]:
            for key, value in runs.leaves(json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}):
                if isinstance(value, float) and not math.isfinite(value):
                    return f"{_shown(path, self.step)}: {key} is {value}"
        return ""

    def findings(self) -> list[str]:
        """What the piece has found out, in sentences: the list `findings` in its metrics.json."""
        path = self.step.path / "metrics.json"
        metrics = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return [str(sentence) for sentence in metrics.get("findings", [])]


# ---- all pieces


@dataclass
class Outcome:
    """What has become of the pieces of a run, by name."""

    done: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class Screen:
    """Permanent lines, and below them, on a terminal, one line per running piece that is rewritten.

    Elsewhere (a log file), a line for each piece every `every` seconds.
    """

    def __init__(self, out: TextIO | TextIOBase, *, every: float = 30.0):
        self.out, self.every, self.tty, self.shown = out, every, out.isatty(), 0
        self.last: dict[str, float] = {}

    def say(self, text: str) -> None:
        self.out.write(f"{self._up()}{text}\n")
        self.out.flush()
        self.shown = 0

    def live(self, running: Mapping[str, tuple[str, float]]) -> None:
        """Shows how far pieces are: name -> (progress, seconds since the start)."""
        if self.tty:
            width = shutil.get_terminal_size().columns - 1
            lines = [f"  {name}  {progress}  ({runs.duration(seconds)})" for name, (progress, seconds) in running.items()]
            self.out.write("".join([self._up(), *(f"{line[:width]}\n" for line in lines)]))  # at once, or it flickers
            self.out.flush()
            self.shown = len(lines)
            return
        for name, (progress, seconds) in running.items():
            if seconds - self.last.get(name, 0.0) > self.every:
                self.last[name] = seconds
                self.say(f"{name}: {progress}")

    def _up(self) -> str:
        return f"\x1b[{self.shown}F\x1b[J" if self.shown else ""


def run(
    plan: Plan,
    *,
    only: Sequence[str] = (),
    force: bool = False,
    jobs: int = 1,
    out: TextIO | TextIOBase,
    every: float = 30.0,
) -> Outcome:
    """Executes what has to be executed of a plan, `jobs` pieces at a time; `only` are names of steps or pieces, to which gates
    are added that stand before them.

    A failed piece does not stop the others, except those that need it. Raises `RunError` where the same run is executed by
    another process already, and `KeyboardInterrupt` after everything that runs has been stopped.
    """
    chosen = [piece for piece in plan.pieces if not only or {piece.name, piece.step} & set(only)]
    needed = {name for piece in chosen for name in piece.needs}
    chosen = [piece for piece in plan.pieces if piece in chosen or (piece.notebook.gate and piece.name in needed)]
    place = runs.root() / "results" / plan.run
    outcome, screen, active = Outcome(), Screen(out, every=every), list[Job]()
    waiting = list(chosen)
    environments = _environments(jobs)
    with locked(place):
        _write_plan(plan, place)
        screen.say(f"run {plan.run}: {len(chosen)} piece{'s' * (len(chosen) != 1)} of work in {place}")
        try:
            while waiting or active:
                for job in [job for job in active if job.process.poll() is not None]:
                    active.remove(job)
                    _settle(job, outcome, screen)
                for piece in list(waiting):
                    pending = {other.name for other in waiting} | {job.piece.name for job in active}
                    if pending & {*piece.reads, *piece.needs}:
                        continue
                    free = sorted(set(range(jobs)) - {job.slot for job in active})
                    if not free:
                        break
                    waiting.remove(piece)
                    if _is_due(plan, piece, force=force, outcome=outcome, screen=screen):
                        active.append(Job(plan, piece, free[0], environments[free[0]]))
                screen.live({job.piece.name: (job.progress(), job.seconds) for job in active})
                time.sleep(0.2)
        finally:
            with deaf():  # a second Ctrl-C or SIGTERM would leave something behind
                for job in active:
                    job.stop()
    return outcome


def _write_plan(plan: Plan, place: Path) -> None:
    """For readers of the run: what there should be, so that what is missing can be seen. Files that were brought (`bring`) and
    that no notebook declares stay in it."""
    path = place / "plan.json"
    there = json.loads(path.read_text(encoding="utf-8"))["pieces"] if path.is_file() else {}
    pieces = {name: piece for name, piece in there.items() if piece["outputs"] is None} | {
        piece.name: {
            "combination": piece.combination,
            "parameters": piece.parameters,
            "outputs": list(piece.notebook.outputs),
        }
        for piece in plan.pieces
    }
    runs.write(path, json.dumps({"pieces": pieces}, indent=2, default=str) + "\n")


def _is_due(plan: Plan, piece: Piece, *, force: bool, outcome: Outcome, screen: Screen) -> bool:
    """Whether a piece has to be executed now; where not, says why."""
    absent = [name for name in piece.needs if not (folder(plan, name) / "done.json").is_file()]
    gone = [name for name in absent if (folder(plan, name) / runs.NOT_RUN).is_file()]
    absent = [name for name in absent if name not in gone or name not in (piece.parameters.get("steps") or ())]  # it lists them
    if absent and not set(absent) - set(gone):
        outcome.left_out.append(piece.name)
        _leave_out(runs.Step(plan.run, piece.name), f"it needs {', '.join(absent)}")
        screen.say(f"– {piece.name}: not run, it needs {', '.join(absent)}")
        return False
    if absent:
        outcome.failed.append(piece.name)
        screen.say(f"✗ {piece.name}: not executed, it needs {', '.join(absent)}")
        return False
    why = "forced" if force else changed(plan, piece)
    if not why:
        outcome.unchanged.append(piece.name)
        screen.say(f"= {piece.name}: unchanged")
        return False
    if not screen.tty:
        screen.say(f"{piece.name}: started ({why})")
    return True


def _leave_out(step: runs.Step, why: str) -> None:
    """For readers of the run: a step that could not be executed, which is no fault of its own. The next run tries again."""
    runs.write(step.path / runs.NOT_RUN, json.dumps({"why": why}) + "\n")


def _settle(job: Job, outcome: Outcome, screen: Screen) -> None:
    why = job.finish()
    name, took = job.piece.name, runs.duration(job.seconds)
    if job.left_out:
        outcome.left_out.append(name)
        screen.say(f"– {name}: not run: {job.left_out}")
        return
    if not why:
        outcome.done.append(name)
        screen.say("\n  ".join([f"✓ {name}: {took}", *job.findings()]))
        return
    outcome.failed.append(name)
    notebook = job.step.path / "notebook.ipynb"
    kept = f"\nThe notebook as far as it came: {notebook}" if notebook.is_file() else ""
    screen.say(f"✗ {name}: failed after {took} {why}{kept}\n")


def _environments(jobs: int) -> list[dict[str, str]]:
    """The environment of each of the pieces that run side by side: cores and GPUs are shared out."""
    common = os.environ | {"PYTHONUNBUFFERED": "1"}
    if jobs == 1:
        return [common]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    common = {"OMP_NUM_THREADS": str(max(1, cores // jobs))} | common
    gpus = _gpus()
    if len(gpus) < 2:
        return [common] * jobs
    return [common | {"CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)]} for slot in range(jobs)]


def _gpus() -> list[str]:
    """The GPUs that may be used, as CUDA_VISIBLE_DEVICES names them."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(index) for index, line in enumerate(listed.splitlines()) if line.startswith("GPU ")]


@contextlib.contextmanager
def locked(place: Path) -> Iterator[None]:
    """Two runners in one folder would take each other's files away. The lock ends with the process, however that ends."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{place}: another process is executing this run; --run NAME makes a second one") from None
        yield


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
