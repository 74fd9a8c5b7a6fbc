"""Executes one notebook through papermill, in a process of its own: `python -m
galaxymorph.run.execute JOB.json`, for the runner.

The kernel is this interpreter, whatever the notebook's metadata or the machine's kernel specs say,
and talks over Unix sockets in the job's folder: TCP ports are drawn before they are bound, and
notebooks that start together draw the same.

The job: `notebook`, `output` (written after every cell), `parameters`. Left in its folder:
`progress.json`, and after a failure `failure.json` with the cell and the error. Ends with status 0
or 1. When the runner ends, however it ends, so does the kernel."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

# ruff: noqa: E402
# Of each piece of work this saves 1.5 s: jsonschema would compile a grammar of web addresses, which
# notebooks have no use for.
sys.modules.setdefault("rfc3987_syntax", None)  # pyright: ignore[reportArgumentType]

import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbformat import NotebookNode

from galaxymorph import project


class Kernel(AsyncKernelManager):
    """This interpreter as a kernel, with its sockets in the job's folder."""

    folder = Path()
    running: Kernel | None = None

    def __init__(self, **options: Any):
        super().__init__(
            **options | {"transport": "ipc", "connection_file": str(self.folder / "k.json")}
        )
        Kernel.running = self

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            display_name="Python 3",
            language="python",
        )


def watch() -> None:
    """Waits for the end of stdin, a pipe that the runner holds open, and then ends kernel and
    process at once."""
    os.read(sys.stdin.fileno(), 1)  # unbuffered: a lock on the buffer would outlive the thread
    pid = getattr(Kernel.running and Kernel.running.provisioner, "pid", None)
    if pid:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # with all that it has started: it leads a process group
    shutil.rmtree(Kernel.folder, ignore_errors=True)  # the runner may not be there to do it
    os._exit(1)


def is_code(cell: NotebookNode) -> bool:
    """Whether it is a code cell of the notebook itself: papermill puts in one with the
    parameters."""
    return cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", [])


def execute(notebook: NotebookNode, output: Path, parameters: dict[str, Any]) -> None:
    """Runs a notebook from top to bottom and writes it, with its outputs so far, after every
    cell."""
    notebook.metadata.kernelspec = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    cells = sum(is_code(cell) for cell in notebook.cells)
    started = itertools.count(1)

    def report(cell: NotebookNode, cell_index: int) -> None:
        if is_code(cell):
            project.write(
                Kernel.folder / "progress.json", json.dumps({"cell": next(started), "cells": cells})
            )

    papermill.execute_notebook(
        notebook,
        str(output).replace("{", "{{").replace("}", "}}"),  # papermill fills in parameters there
        parameters,
        kernel_name="python3",
        language="python",
        kernel_manager_class=Kernel,
        progress_bar=False,
        start_timeout=300,  # a busy machine may be slow to start a kernel
        iopub_timeout=60,  # and to deliver outputs
        on_cell_start=report,
    )


def failure(path: Path, error: Exception) -> dict[str, Any]:
    """Why an execution failed, and where: `cell` (counting code cells from 1) and its `source`,
    where a cell raised, with the name of the exception (`kind`) and what it `said`."""
    cells = nbformat.read(path, as_version=4).cells if path.is_file() else []
    for number, cell in enumerate(filter(is_code, cells), start=1):
        for output in cell.outputs:
            if output.output_type == "error":
                trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output.traceback)).splitlines()
                said = {"kind": output.ename, "said": output.evalue}
                return {
                    "cell": number,
                    "source": cell.source,
                    "error": "\n".join(trace[-12:]),
                } | said
    return {"error": f"{type(error).__name__}: {error}"}


def main(job: Path) -> int:
    Kernel.folder = job.parent
    threading.Thread(target=watch, daemon=True).start()
    task = json.loads(job.read_text(encoding="utf-8"))
    output = Path(task["output"])
    try:
        execute(nbformat.read(task["notebook"], as_version=4), output, task["parameters"])
    except Exception as error:  # whatever it is, the runner has to be able to show it
        project.write(Kernel.folder / "failure.json", json.dumps(failure(output, error)))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
