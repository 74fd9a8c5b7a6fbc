"""galaxymorph.run.executors"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import yaml

from galaxymorph import project
from galaxymorph.evaluation.predictions import NOT_RUN
from galaxymorph.run.done import _shown, fingerprints, outputs
from galaxymorph.run.folder import Step
from galaxymorph.run.folder import progress as folder_progress
from galaxymorph.run.plan import Piece, Plan
from galaxymorph.text import leaves

WRITTEN = (
    "history.csv",
    "predictions.csv",
    "metrics.json",
    "environment.json",
)  # by steps, and into the folders of rows


class Execution:
    """A piece's notebook in a process of its own, written to `partial` as it goes on, its
    parameters beside it.

    `tmp` is a short path: names of Unix sockets have 104 letters at most.
    """

    def __init__(self, piece: Piece, partial: Path, env: Mapping[str, str]):
        self.started = time.monotonic()
        project.write(
            partial.with_name("params.yaml"),
            yaml.safe_dump(piece.parameters, sort_keys=False, allow_unicode=True),
        )
        self.tmp = Path(tempfile.mkdtemp(prefix="gm-", dir="/tmp"))
        task = {
            "notebook": str(piece.notebook.path),
            "output": str(partial),
            "parameters": piece.parameters,
        }
        project.write(self.tmp / "job.json", json.dumps(task))
        with (self.tmp / "log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "galaxymorph.run.execute", str(self.tmp / "job.json")],
                cwd=project.root(),
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
        """What the notebook could not get (`weights.Unavailable`), if it was that which ended
        it."""
        path = self.tmp / "failure.json"
        why = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return why["said"] if why.get("kind") == "Unavailable" else ""

    def failure(self) -> str:
        path = self.tmp / "failure.json"
        if not path.is_file():
            log = (self.tmp / "log").read_text(errors="replace").strip().splitlines()
            return "\n".join(
                [f"the process ended with status {self.process.returncode}", *log[-12:]]
            )
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
        self.step = Step(plan.run, piece.name)
        self.partial = self.step.path / "notebook.partial.ipynb"
        self.left_out = ""  # why, where that is no failure
        self.clear()
        self.fingerprints = fingerprints(plan, piece)  # of what goes in, should it change meanwhile
        super().__init__(piece, self.partial, env)

    def clear(self) -> None:
        """Takes away what an earlier execution has left: old files cannot pass for new."""
        old = [
            *outputs(self.plan, self.piece),
            self.step.mark,
            self.partial,
            self.step.path / "notebook.html",
        ]
        old += [self.step.path / NOT_RUN]
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
        with contextlib.suppress(
            OSError, ValueError, TypeError, KeyError, IndexError
        ):  # a row may just be being written
            histories = [place.path / "history.csv" for place in (self.step, *self.step.rows())]
            history = max(filter(Path.is_file, histories), key=lambda path: path.stat().st_mtime)
            if history.stat().st_mtime > cells.stat().st_mtime:
                rows = list(csv.DictReader(history.read_text(encoding="utf-8").splitlines()))
                return folder_progress(rows[-1], seconds=sum(float(row["seconds"]) for row in rows))
        with contextlib.suppress(OSError, ValueError):
            cell = json.loads(cells.read_text(encoding="utf-8"))
            return f"cell {cell['cell']}/{cell['cells']}"
        return "starting"

    def finish(self) -> str:
        """After the process has ended: marks the piece as done or left out, or says in a few lines
        why it has failed."""
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
            project.write(self.step.path / "done.json", json.dumps(mark, indent=2) + "\n")
        return why

    def unfulfilled(self) -> str:
        for path in outputs(self.plan, self.piece):
            if not path.is_file():
                shown = _shown(path, self.step)
                return f"the notebook ran, but has not written {shown}, which it declares among its outputs"
        for path in [place.path / "metrics.json" for place in (self.step, *self.step.rows())]:
            for key, value in leaves(
                json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            ):
                if isinstance(value, float) and not math.isfinite(value):
                    return f"{_shown(path, self.step)}: {key} is {value}"
        return ""

    def findings(self) -> list[str]:
        """What the piece has found out, in sentences: the list `findings` in its metrics.json."""
        path = self.step.path / "metrics.json"
        metrics = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return [str(sentence) for sentence in metrics.get("findings", [])]


def _leave_out(step: Step, why: str) -> None:
    """For readers of the run: a step that could not be executed, which is no fault of its own. The
    next run tries again."""
    project.write(step.path / NOT_RUN, json.dumps({"why": why}) + "\n")


def _environments(jobs: int) -> list[dict[str, str]]:
    """The environment of each of the pieces that run side by side: cores and GPUs are shared
    out."""
    common = os.environ | {"PYTHONUNBUFFERED": "1"}
    if jobs == 1:
        return [common]
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
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
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(index) for index, line in enumerate(listed.splitlines()) if line.startswith("GPU ")]
