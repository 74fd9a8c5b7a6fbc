"""Execute one notebook by papermill: `python -m galaxymorph.run.execute FOLDER SOCKETS`.

Executors start it with the folder `.job` (see `executors`); the exit status is 0 or 1. When stdin
ends, as it does whenever the runner ends, for any reason, so does the kernel.

The kernel is this interpreter, whatever the notebook's metadata or the machine's kernel specs say.
It communicates over Unix sockets in the folder SOCKETS, whose path must be short: TCP ports are
drawn before they are bound, so notebooks that start together would draw the same."""

import itertools
import os
import re
import shutil
import signal
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


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
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient.exceptions import DeadKernelError
    from nbformat import NotebookNode

from galaxymorph import project  # noqa: E402

PYTHON = {"display_name": "Python 3", "language": "python"}


class Kernel(AsyncKernelManager):
    """This interpreter as a kernel, with its own folder of sockets."""

    sockets = Path()
    running: "Kernel | None" = None

    def __init__(self, **options: Any):
        own = {"transport": "ipc", "connection_file": str(self.sockets / "k.json")}
        super().__init__(**options | own)
        Kernel.running = self

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, **PYTHON)


def watch() -> None:
    """Wait until stdin, a pipe held open by the runner, is closed; then kill kernel and process."""
    os.read(sys.stdin.fileno(), 1)  # unbuffered: a lock on the buffer would outlive the thread
    pid = getattr(Kernel.running and Kernel.running.provisioner, "pid", None)
    if pid:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # and its children: it leads a process group
    shutil.rmtree(Kernel.sockets, ignore_errors=True)  # the runner may be gone
    os._exit(1)


def is_code(cell: NotebookNode) -> bool:
    """Return whether this is a code cell of the notebook itself, not papermill's parameters."""
    return cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", [])


def execute(notebook: NotebookNode, output: Path, parameters: dict[str, Any], said: Path) -> None:
    """Run a notebook from top to bottom, saving it with its outputs after every cell."""
    notebook.metadata.kernelspec = {"name": "python3", **PYTHON}
    cells = sum(is_code(cell) for cell in notebook.cells)
    started = itertools.count(1)

    def report(cell: NotebookNode, cell_index: int) -> None:
        if is_code(cell):
            project.write_json(said / "progress.json", f"cell {next(started)}/{cells}")

    papermill.execute_notebook(
        notebook,
        str(output).replace("{", "{{").replace("}", "}}"),  # papermill substitutes parameters
        parameters,
        kernel_name="python3",
        language="python",
        kernel_manager_class=Kernel,
        progress_bar=False,
        start_timeout=300,  # a busy machine may be slow to start a kernel
        iopub_timeout=60,  # and to deliver outputs
        on_cell_start=report,
    )


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
                source = textwrap.indent(cell.source.strip(), "    ")
                why = f"in code cell {number}:\n\n{source}\n\n" + "\n".join(trace[-12:]).strip()
                return {"kind": output.ename, "said": output.evalue, "why": why}
    died = "; out of memory?" if isinstance(error, DeadKernelError) else ""
    return {"why": f"{type(error).__name__}: {error}{died}"}


def main(said: Path, sockets: Path) -> int:
    Kernel.sockets = sockets
    threading.Thread(target=watch, daemon=True).start()
    job = project.read_json(said / "job.json")
    os.environ.update(job["environment"])
    output = Path(job["output"])
    try:
        notebook = nbformat.read(job["notebook"], as_version=4)
        execute(notebook, output, job["parameters"], said)
    except Exception as error:  # of any kind: the runner must be able to show it
        project.write_json(said / "failure.json", failure(output, error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
