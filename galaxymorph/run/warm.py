"""Start processes for jobs, forked from one that has imported everything, which saves seconds.

Python's fork server imports the package and what it needs, once. It forks for each job before
any thread pool or CUDA context exists. So a job is as isolated as in a new process: it has its own
memory, threads, environment and random numbers, and is killed alone. Where forking is unsafe
(macOS), or once a module of the package has changed, jobs start in new processes."""

import os
import pkgutil
import sys
from collections.abc import Mapping
from multiprocessing import forkserver
from pathlib import Path

import galaxymorph
from galaxymorph.run.locks import ignoring_signals

SAFE = sys.platform != "darwin"  # its frameworks start threads when imported
NOT_OF_JOBS = {"__main__", "cli", "run.runner", "run.search", "run.trial", "run.warm"}
# what jobs import only when they need it
OTHERS = ["ipykernel.kernelapp", "matplotlib.backends.backend_agg"]
OTHERS += ["torch._dynamo", "torchvision.models", "astropy.table", "astropy.visualization"]

_server: dict[str, object] = {}  # the code and the number of threads of the fork server


def modules() -> list[str]:
    """Return the modules that jobs import."""
    found = (each.name for each in pkgutil.walk_packages(galaxymorph.__path__, "galaxymorph."))
    return OTHERS + [name for name in found if name.partition(".")[2] not in NOT_OF_JOBS]


def prepare(environment: Mapping[str, str]) -> None:
    """Start the fork server unless it runs already, or forking is unsafe here."""
    if not SAFE or _server:
        return
    _server.update(_state(environment))
    before = dict(os.environ)
    os.environ.update(environment)  # libraries read the number of threads when imported
    try:
        with ignoring_signals():  # inherited: Ctrl-C only reaches the runner
            forkserver.set_forkserver_preload(modules())
            forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


def ready(environment: Mapping[str, str]) -> bool:
    """Return whether the fork server has the present code, and as many threads as a job needs."""
    return _server == _state(environment)


def _state(environment: Mapping[str, str]) -> dict[str, object]:
    files = {str(file): file.stat() for file in Path(galaxymorph.__file__).parent.rglob("*.py")}
    code = {file: (stat.st_size, stat.st_mtime_ns) for file, stat in files.items()}
    return {"code": code, "threads": environment.get("OMP_NUM_THREADS")}
