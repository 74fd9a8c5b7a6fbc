"""Where jobs are executed: `Executor.submit(job, folder)` returns a handle that can be polled.

Input and output are files in the job's folder, so an executor could also start
`galaxymorph.run.execute` on another machine with access to it:

    params.yaml               the job's parameters
    notebook.partial.ipynb    the notebook with its outputs so far
    .job/job.json             what to execute: notebook, parameters, environment variables, ...
    .job/progress.json  log   its progress: the current cell, or the epoch of a training
    .job/failure.json         why it failed
"""

import os
import shutil
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from multiprocessing import connection, get_context
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from galaxymorph import project
from galaxymorph.project import free
from galaxymorph.run import marks, warm
from galaxymorph.run.environment import cores
from galaxymorph.run.folder import SAID
from galaxymorph.run.plan import Job

SCARCE = 2**26  # bytes on a disk that are soon used up
Variables = Mapping[str, str]  # of the environment
NONE: Variables = MappingProxyType({})


class Handle(ABC):
    """A submitted job; `folder` is where it writes."""

    def __init__(self, job: Job, folder: Path, environment: Variables):
        self.job, self.folder, self.started = job, folder, time.monotonic()
        self.partial, self.said = folder / "notebook.partial.ipynb", folder / SAID
        shutil.rmtree(self.said, ignore_errors=True)  # left by a killed execution
        self.partial.unlink(missing_ok=True)
        parameters = yaml.safe_dump(job.parameters, sort_keys=False, allow_unicode=True)
        project.write(folder / "params.yaml", parameters)
        task = {"notebook": str(job.notebook.path), "output": str(self.partial)}
        task |= {"parameters": job.parameters, "environment": dict(environment)}
        task |= {"folder": str(project.root())}
        project.write_json(self.said / "job.json", task)

    @abstractmethod
    def poll(self) -> int | None:
        """Return the exit status, or None while the job is running."""

    @abstractmethod
    def stop(self) -> None:
        """Stop notebook, kernel and process at once; delete `.job`, keep the partial notebook."""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def progress(self) -> str:
        """Return the latest epoch while a training cell is running, otherwise the cell."""
        try:
            return str(project.read_json(self.said / "progress.json") or "starting")
        except (OSError, ValueError):  # deleted or damaged meanwhile
            return "running"

    def unavailable(self) -> str:
        """Return what was unavailable, if an `Unavailable` exception ended the notebook."""
        return self._failure["said"] if self._failure.get("kind") == "Unavailable" else ""

    def failure(self) -> str:
        """Return why the job failed, in a few lines."""
        if self._failure:
            return self._failure["why"] + scarce()
        file = self.said / "log"
        log = file.read_text(errors="replace").strip().splitlines() if file.is_file() else []
        why = "\n".join([f"the process ended with status {self.poll()}", *log[-12:]])
        return why + scarce()

    @property
    def _failure(self) -> dict[str, str]:
        return marks.read(self.said / "failure.json")


class Executor(ABC):
    """Where jobs are executed, up to `jobs` at a time."""

    jobs: int = 1

    @property
    @abstractmethod
    def free(self) -> bool:
        """Whether another job can be submitted."""

    @abstractmethod
    def submit(self, job: Job, folder: Path, environment: Variables = NONE) -> Handle:
        """Start a job in its folder, with additional environment variables."""

    def wait(self, seconds: float) -> None:
        """Wait for some seconds, or less if a job ends."""
        time.sleep(seconds)


class Local(Executor):
    """Processes on this machine, up to `jobs` at a time, that share its cores and GPUs.

    They are forked (see `warm`) where that is safe, unless `fork` is False."""

    def __init__(self, jobs: int = 1, *, fork: bool = True):
        self.jobs, self.environments = jobs, environments(jobs)
        self.slots: list[Handle | None] = [None] * jobs
        self.fork = fork
        if fork:
            warm.prepare(self.environments[0])

    def _free(self) -> list[int]:
        return [i for i, job in enumerate(self.slots) if job is None or job.poll() is not None]

    @property
    def free(self) -> bool:
        return bool(self._free())

    def submit(self, job: Job, folder: Path, environment: Variables = NONE) -> Handle:
        slot = self._free()[0]
        machine = self.environments[slot]
        fork = self.fork and warm.ready(machine)
        self.slots[slot] = handle = Process(job, folder, environment, machine=machine, fork=fork)
        return handle

    def wait(self, seconds: float) -> None:
        jobs = (job for job in self.slots if isinstance(job, Process) and job.poll() is None)
        connection.wait([job.process.sentinel for job in jobs], seconds)


class Process(Handle):
    """A job in its own process on this machine, whose environment is `machine`."""

    def __init__(
        self, job: Job, folder: Path, environment: Variables, *, machine: Variables, fork: bool
    ):
        super().__init__(job, folder, environment)
        # sockets have at most 104 characters with their names
        place = tempfile.gettempdir() if len(tempfile.gettempdir()) < 60 else "/tmp"
        self.sockets = tempfile.mkdtemp(prefix="gm-", dir=place)
        start = get_context("forkserver") if fork else get_context("spawn")
        stop, self.held = start.Pipe(duplex=False)  # closing it stops the job
        arguments = (self.said, Path(self.sockets), stop, dict(machine), fork)
        self.process = start.Process(target=execute, args=arguments)
        self.process.start()
        stop.close()

    def poll(self) -> int | None:
        return self.process.exitcode

    def stop(self) -> None:
        self.held.close()
        self.process.join(timeout=10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        for folder in (self.sockets, self.said):
            shutil.rmtree(folder, ignore_errors=True)


def scarce() -> str:
    """Name the folders whose disk is nearly full, which errors in notebooks seldom do."""
    root = project.root()
    places = [root / "results", root / "models", root / "data", Path(tempfile.gettempdir())]
    full = {place: free(place) for place in places if free(place) < SCARCE}
    lines = [f"{place} is on a disk with {left / 1e6:,.0f} MB free" for place, left in full.items()]
    return "".join(f"\n{line}; make room and repeat the command" for line in lines)


def execute(*arguments: Any) -> None:
    """Execute a job in this process, which was started for it."""
    from galaxymorph.run.execute import main  # slow to import, and unused by the runner

    main(*arguments)


def environments(jobs: int) -> list[dict[str, str]]:
    """Divide cores and GPUs among concurrent jobs; return the environment of each."""
    common = os.environ | {"PYTHONUNBUFFERED": "1"}
    if jobs == 1:
        return [common]
    common = {"OMP_NUM_THREADS": str(max(1, (cores() or 1) // jobs))} | common
    gpus = [{"CUDA_VISIBLE_DEVICES": name} for name in _gpus()]
    gpus = gpus if len(gpus) > 1 else [{}]
    return [common | gpus[slot % len(gpus)] for slot in range(jobs)]


def _gpus() -> list[str]:
    """Usable GPUs, as named in CUDA_VISIBLE_DEVICES."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    command = ["nvidia-smi", "-L"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(index) for index, line in enumerate(listed.splitlines()) if line.startswith("GPU ")]
