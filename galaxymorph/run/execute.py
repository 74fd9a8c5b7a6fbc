"""Execute one notebook by papermill, in a process of its own.

Executors start `main` with the folder `.job` (see `executors`); the exit status is 0 or 1. When the
pipe from the runner closes, as it does when the runner ends, for any reason, so does the kernel.

The kernel is this interpreter, whatever the notebook's metadata or the machine's kernel specs say.
In a forked process it is forked, too, before there are any threads. It communicates over Unix
sockets in a folder whose path must be short: TCP ports are drawn before they are bound, so
notebooks that start together would draw the same."""

import itertools
import json
import os
import re
import shutil
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import EntryPoint
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy


@contextmanager
def without(module: str) -> Iterator[None]:
    """Make every import of a module fail within a block, without lasting effects."""
    hidden = module not in sys.modules
    if hidden:
        sys.modules[module] = None  # pyright: ignore[reportArgumentType]
    try:
        yield
    finally:
        if hidden:
            sys.modules.pop(module)


# jsonschema, which all of these import, would compile a grammar of web addresses that notebooks
# never need: 1.5 s per job.
with without("rfc3987_syntax"):
    import nbformat
    import papermill
    from ipykernel import kernelapp
    from jupyter_client.connect import KernelConnectionInfo
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from jupyter_client.provisioning.factory import KernelProvisionerFactory
    from jupyter_client.provisioning.local_provisioner import LocalProvisioner
    from nbclient.exceptions import DeadKernelError
    from nbformat import NotebookNode
    from papermill.engines import NBClientEngine, papermill_engines

from galaxymorph import project  # noqa: E402

SAVED = 1.0  # seconds between two versions of an unfinished notebook
PROVISIONER = EntryPoint("forked", f"{__name__}:Provisioner", "jupyter_client.kernel_provisioners")
PYTHON = {"display_name": "Python 3", "language": "python"}


class Kernel(AsyncKernelManager):
    """This interpreter as a kernel, with its own folder of sockets."""

    sockets = Path()
    forked: "Forked | None" = None
    running: "Kernel | None" = None

    def __init__(self, **options: Any):
        own = {"transport": "ipc", "connection_file": str(self.sockets / "k.json")}
        super().__init__(**options | own)
        Kernel.running = self

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        metadata = {"kernel_provisioner": {"provisioner_name": "forked"}} if self.forked else {}
        return KernelSpec(argv=argv, metadata=metadata, **PYTHON)


class Forked:
    """A process, forked early, that waits to become the kernel; used like a `Popen`."""

    stdin = stdout = stderr = None

    def __init__(self) -> None:
        runner, (read, self.write) = os.getpid(), os.pipe()
        self.status: int | None = None
        self.pid = os.fork()
        if self.pid:
            os.close(read)
            return
        os.close(self.write)
        os.setsid()
        if arguments := os.read(read, 10_000).decode():
            os.environ["JPY_PARENT_PID"] = str(runner)  # the kernel ends when it does
            sys.argv = ["ipykernel_launcher", *json.loads(arguments)]
            kernelapp.launch_new_instance()
        sys.exit()

    def launch(self, arguments: list[str]) -> None:
        os.write(self.write, json.dumps(arguments).encode())
        os.close(self.write)

    def poll(self) -> int | None:
        return self.wait(os.WNOHANG)

    def wait(self, how: int = 0) -> int | None:
        if self.status is None:
            pid, status = os.waitpid(self.pid, how)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Provisioner(LocalProvisioner):
    """Launches the forked kernel."""

    async def launch_kernel(self, cmd: list[str], **options: Any) -> KernelConnectionInfo:
        assert Kernel.forked
        self.process = Kernel.forked  # pyright: ignore[reportAttributeAccessIssue]
        self.pid = self.pgid = Kernel.forked.pid
        Kernel.forked.launch(cmd[3:])
        return self.connection_info


class Engine(NBClientEngine):
    """Papermill's engine, which saves the notebook before and after each cell, but less often.

    A version with figures takes tens of milliseconds; all of them took longer than many a job."""

    @classmethod
    def execute_managed_notebook(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, nb_man: Any, kernel_name: str, **options: Any
    ) -> None:
        save, saved = nb_man.save, time.monotonic()

        def seldom(**given: Any) -> None:
            nonlocal saved
            if time.monotonic() - saved >= SAVED:
                save(**given)
                saved = time.monotonic()

        nb_man.save = seldom
        try:
            super().execute_managed_notebook(nb_man, kernel_name, **options)
        finally:
            nb_man.save = save  # for the last version, which is always written


papermill_engines.register("seldom", Engine)


def watch(stop: Connection) -> None:
    """Wait until the runner closes the pipe, or ends; then kill kernel and process."""
    with suppress(EOFError, OSError):
        stop.recv()
    kernel = Kernel.forked or (Kernel.running and Kernel.running.provisioner)
    pid = getattr(kernel, "pid", None)
    if pid:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # and its children: it leads a process group
    shutil.rmtree(Kernel.sockets, ignore_errors=True)  # the runner may be gone
    os._exit(1)


def is_code(cell: NotebookNode) -> bool:
    """Return whether this is a code cell of the notebook itself, not papermill's parameters."""
    return cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", [])


def execute(notebook: NotebookNode, output: Path, parameters: dict[str, Any], said: Path) -> None:
    """Run a notebook from top to bottom, saving it with its outputs at its end and before.

    Unless a cell ended less than `SAVED` seconds after another one, they are saved at its end."""
    notebook.metadata.kernelspec = {"name": "python3", **PYTHON}
    cells = sum(is_code(cell) for cell in notebook.cells)
    started = itertools.count(1)

    def report(cell: NotebookNode, cell_index: int) -> None:
        if is_code(cell):
            project.write_json(said / "progress.json", f"cell {next(started)}/{cells}", flush=False)

    papermill.execute_notebook(
        notebook,
        str(output).replace("{", "{{").replace("}", "}}"),  # papermill substitutes parameters
        parameters,
        engine_name="seldom",
        kernel_name="python3",
        language="python",
        kernel_manager_class=Kernel,
        progress_bar=False,
        start_timeout=300,  # a busy machine may be slow to start a kernel
        iopub_timeout=60,  # and to deliver outputs
        on_cell_start=report,
    )


def _is_message(trace: list[str]) -> bool:
    """Return whether this package raised an error for its user, rather than failed."""
    files = [line for line in trace if line.startswith("File ")]
    arrows = [line for line in trace if line.startswith("-")]
    ours = bool(files and arrows) and str(Path(project.__file__).parent) in files[-1]
    return ours and bool(re.search(r"-> \d+ +raise (ValueError|FileNotFoundError)\(", arrows[-1]))


def failure(path: Path, error: Exception) -> dict[str, str]:
    """Return `why` an execution failed, and the exception's name (`kind`) and message (`said`).

    The former is a few lines; the latter exist if a cell raised. Code cells count from 1."""
    try:
        cells = nbformat.read(path, as_version=4).cells if path.is_file() else []
    except ValueError:  # cut by a full disk
        return {"why": f"{type(error).__name__}: {error}; {path.name} could not be written whole"}
    for number, cell in enumerate(filter(is_code, cells), start=1):
        for output in cell.outputs:
            if output.output_type == "error":
                trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output.traceback)).splitlines()
                if _is_message(trace):
                    why = f"in code cell {number}: {output.evalue}"
                    return {"kind": output.ename, "said": output.evalue, "why": why}
                source = textwrap.indent(cell.source.strip(), "    ")
                why = f"in code cell {number}:\n\n{source}\n\n" + "\n".join(trace[-12:]).strip()
                return {"kind": output.ename, "said": output.evalue, "why": why}
    died = "; out of memory?" if isinstance(error, DeadKernelError) else ""
    return {"why": f"{type(error).__name__}: {error}{died}"}


def main(
    said: Path, sockets: Path, stop: Connection, environment: dict[str, str], fork: bool
) -> None:
    """Execute the job in the folder `said`; exit with status 1 if it fails."""
    os.setsid()  # Ctrl-C only reaches the runner
    job = project.read_json(said / "job.json")
    os.chdir(job["folder"])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    with (said / "log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment | job["environment"])
    Kernel.sockets = sockets
    if fork:
        numpy.random.seed()  # noqa: NPY002, jobs of one fork server would share its state
        Kernel.forked = Forked()
        KernelProvisionerFactory.instance().provisioners["forked"] = PROVISIONER
    threading.Thread(target=watch, args=[stop], daemon=True).start()
    output = Path(job["output"])
    try:
        notebook = nbformat.read(job["notebook"], as_version=4)
        execute(notebook, output, job["parameters"], said)
    except Exception as error:  # of any kind: the runner must be able to show it
        project.write_json(said / "failure.json", failure(output, error))
        sys.exit(1)
