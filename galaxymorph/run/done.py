"""Whether a job is done: its `done.json` matches its inputs, and its declared outputs exist.

The inputs, stored as fingerprints, are

* parameters, as resolved (`params.yaml` in its folder);
* code: the notebook's code cells and the modules of this package that they import, directly or not,
  but no comments, docstrings, layout or prose;
* files that a parameter names: their contents; for folders, names, sizes and times of all files;
* upstream: the done-marks of the jobs that it reads."""

import ast
import contextlib
import functools
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from galaxymorph import project
from galaxymorph.evaluation.predictions import NOT_RUN
from galaxymorph.run.folder import Step
from galaxymorph.run.notebooks import MODEL
from galaxymorph.run.plan import Job, Plan
from galaxymorph.text import leaves

PACKAGE = Path(__file__).parents[1]
LARGE = 64 * 2**20  # bytes; larger files are distinguished by size and time
# written by steps, also into the folders of rows
WRITTEN = ("history.csv", "predictions.csv", "metrics.json", "environment.json")


def changed(plan: Plan, job: Job) -> str:
    """Return why a job must be executed; empty if it is done."""
    step = Step(plan.run, job.name)
    if not step.mark.is_file():
        return "new"
    missing = [path for path in outputs(step, job) if not path.is_file()]
    if missing:
        return f"{_shown(missing[0], step)} is missing"
    before = project.read_json(step.mark)["fingerprints"]
    kinds = [kind for kind, value in fingerprints(plan, job).items() if before.get(kind) != value]
    return f"{' and '.join(kinds)} changed" if kinds else ""


def mark(step: Step, job: Job, fingerprints: Mapping[str, str], *, seconds: float) -> None:
    """Write `done.json`; `fingerprints` are those at the start of the execution."""
    content = {
        "step": job.step,
        "combination": job.combination,
        "fingerprints": fingerprints,
        "outputs": list(job.notebook.outputs),
        "seconds": round(seconds, 1),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    project.write_json(step.mark, content)


# ---- outputs


def outputs(step: Step, job: Job) -> list[Path]:
    """Return the files that a job must write: its declared outputs, and those of the runner."""
    declared = []
    for output in job.notebook.outputs:
        row, _, name = output.rpartition("/")
        place = step.row(row) if row else step
        declared.append(place.model_file if name == MODEL else place.path / name)
    return [*declared, step.path / "notebook.ipynb", step.path / "params.yaml"]


def clear(step: Step, job: Job) -> None:
    """Remove the files of an earlier execution: they must not be mistaken for new ones."""
    old = [*outputs(step, job), step.mark, step.path / NOT_RUN, step.path / "notebook.html"]
    folders = [step.path, *(row.path for row in step.rows())]
    for folder in folders:
        old += [*(folder / name for name in WRITTEN), *folder.glob("*.png")]
    for path in old:
        path.unlink(missing_ok=True)
    for folder in folders[1:]:
        with contextlib.suppress(OSError):  # keep folders with other files
            folder.rmdir()


def unfulfilled(step: Step, job: Job) -> str:
    """Return what is wrong with the files of a job whose notebook has finished."""
    for path in outputs(step, job):
        if not path.is_file():
            name = _shown(path, step)
            return f"the notebook ran, but did not write its output {name}"
    for path in [place.path / "metrics.json" for place in (step, *step.rows())]:
        for key, value in leaves(project.read_json(path)):
            if isinstance(value, float) and not math.isfinite(value):
                return f"{_shown(path, step)}: {key} is {value}"
    return ""


def _shown(path: Path, step: Step) -> str:
    """Return a file's path relative to the job's folder, or a model's to the project's root."""
    base = step.path if path.is_relative_to(step.path) else project.root()
    return path.relative_to(base).as_posix()


# ---- fingerprints


def fingerprints(plan: Plan, job: Job) -> dict[str, str]:
    """Return hashes of all that a job's results depend on, by kind, to name what has changed."""
    code, marks = job.notebook.code, {name: Step(plan.run, name).mark for name in job.reads}
    upstream = {name: mark.is_file() and _hash(mark.read_bytes()) for name, mark in marks.items()}
    inputs = {
        "parameters": job.parameters,
        "code": [[_parsed(source)[0] for source in code], _sources(code)],
        "files": _files(job.parameters),
        "upstream": upstream,
    }
    texts = {kind: json.dumps(each, sort_keys=True, default=str) for kind, each in inputs.items()}
    return {kind: _hash(text.encode()) for kind, text in texts.items()}


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


@functools.cache
def _parsed(source: str) -> tuple[str, tuple[str, ...]]:
    """Python without comments, docstrings and layout, and the dotted names that it imports.

    Invalid Python is returned unchanged: executing it will show the error."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return source, ()
    imported: list[str] = []
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                imported += [alias.name for alias in node.names]
            case ast.ImportFrom():
                base = ".".join(filter(None, (PACKAGE.name if node.level else "", node.module)))
                imported += [base, *(f"{base}.{alias.name}" for alias in node.names)]
            case ast.Module() | ast.ClassDef() | ast.FunctionDef():
                if ast.get_docstring(node, clean=False) is not None and len(node.body) > 1:
                    del node.body[0]
    return ast.unparse(tree), tuple(imported)


def _sources(code: Sequence[str]) -> dict[str, str]:
    """Hash the package's modules that code imports, also indirectly, and their packages."""
    found: dict[str, str] = {}
    waiting = [name for source in code for name in _parsed(source)[1]]
    while waiting:
        top, *parts = waiting.pop().split(".")
        if top != PACKAGE.name:
            continue
        for n in range(len(parts) + 1):
            name, place = ".".join(parts[:n]) or "__init__", PACKAGE.joinpath(*parts[:n])
            path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
            if name not in found and path.is_file():
                source, imported = _parsed(path.read_text(encoding="utf-8"))
                found[name] = _hash(source.encode())
                waiting += imported
    return found


def _files(parameters: dict[str, Any]) -> dict[str, Any]:
    """Fingerprint of the file or folder at each path that a parameter names."""
    named = {}
    root = project.root()
    given = {key: each for key, each in parameters.items() if key not in ("run", "step", "steps")}
    for key, value in leaves(given):
        text = isinstance(value, str) and 0 < len(value) < 1000 and "\0" not in value
        if not text or key.split(".")[-1] == "cache":
            continue
        path = (root / Path(value).expanduser()).resolve()
        if path.is_file():
            named[value] = _file(path, path.stat().st_size, path.stat().st_mtime_ns)
        elif path.is_dir() and not root.resolve().is_relative_to(path):  # not the whole project
            named[value] = _listing(path)
    return named


@functools.cache
def _file(path: Path, size: int, mtime: int) -> str:
    return _hash(path.read_bytes()) if size <= LARGE else f"{size} {mtime}"


def _listing(path: Path) -> str:
    cache = project.root() / "data" / "cache"  # our decoded galaxies
    lines = []
    for where, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if Path(where, name) != cache)
        for name in sorted(names):
            file = Path(where, name)
            stat = file.stat() if file.exists() else file.lstat()  # a broken link
            lines.append(f"{os.path.relpath(where, path)}/{name} {stat.st_size} {stat.st_mtime_ns}")
    return _hash("\n".join(lines).encode())
