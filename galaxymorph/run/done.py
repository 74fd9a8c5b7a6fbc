"""Whether a job is done: its `done.json` matches its inputs, and its declared outputs exist.

The inputs, stored as fingerprints, are

* parameters, as resolved (`params.yaml` in its folder);
* code: the notebook's code cells and the modules of this package that they import, directly or not,
  but no comments, docstrings, layout or prose;
* files that a parameter names: their contents; for folders, names, sizes and times of all files;
* upstream: the done-marks of the jobs that it reads; an outdated one counts as absent.

A job is executed in `results/<run>/unfinished/<job>/`, while its earlier results stay. They are
exchanged when the new ones are whole (`install`); an interrupted or failed execution leaves the old
ones, which then count as outdated (`marks`): comparisons leave them out, jobs that need them are
not executed, and the report says so."""

import ast
import contextlib
import errno
import functools
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from galaxymorph import project
from galaxymorph.evaluation.predictions import NOT_RUN
from galaxymorph.run import marks
from galaxymorph.run.folder import Step
from galaxymorph.run.marks import MODEL
from galaxymorph.run.plan import Job, Plan
from galaxymorph.text import leaves

PACKAGE = Path(__file__).parents[1]
# written by steps, also into the folders of rows
WRITTEN = ("history.csv", "predictions.csv", "metrics.json", "environment.json")


def changed(plan: Plan, job: Job) -> str:
    """Return why a job must be executed; empty if it is done."""
    step = Step(plan.run, job.name)
    before = marks.read(step.mark)
    if not before:
        return "new"
    missing = [path for path in outputs(step, job) if not path.is_file()]
    if missing:
        return f"{_shown(missing[0], step)} is missing"
    if why := marks.altered(project.run_folder(plan.run), job.name, before):
        return why
    then = before.get("fingerprints", {})
    kinds = [kind for kind, value in fingerprints(plan, job).items() if then.get(kind) != value]
    return f"{' and '.join(kinds)} changed" if kinds else ""


def mark(step: Step, job: Job, fingerprints: Mapping[str, str], *, seconds: float) -> None:
    """Write `done.json` into the folder of an execution, with the hashes of all its files.

    `fingerprints` are those at the start of the execution."""
    content = {
        "step": job.step,
        "combination": job.combination,
        "fingerprints": fingerprints,
        "outputs": list(job.notebook.outputs),
        "files": marks.vouch(step.path),
        "seconds": round(seconds, 1),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    project.write_json(step.mark, content)


def is_whole(step: Step) -> bool:
    """Return whether an execution has ended and only its installation was interrupted."""
    new, folder = step.unfinished, project.run_folder(step.run)
    files = marks.read(new.mark).get("files", {})
    places = {name: (new.path / name, marks.place(folder, step.step, name)) for name in files}
    return bool(files) and all(
        any(marks.matches(path, files[name]) for path in both) for name, both in places.items()
    )


def install(step: Step, job: Job) -> None:
    """Exchange a job's earlier results for those of a whole execution, in its `unfinished` folder.

    The old mark goes first and the new one comes last, so that a job never counts as done while its
    files are of two executions. Whatever interrupts this, the next call ends it: the new mark lists
    the files that are still to be moved, or have been."""
    new, folder = step.unfinished, project.run_folder(step.run)
    files = {name: marks.place(folder, job.name, name) for name in marks.read(new.mark)["files"]}
    step.mark.unlink(missing_ok=True)
    _clear(step, job, kept=set(files.values()))
    for name, path in files.items():
        if (new.path / name).is_file():
            _move(new.path / name, path)
    _move(new.mark, step.mark)
    discard(step)


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:  # `models` may be on another disk
            raise
        with project.replacing(target) as partial:
            shutil.copyfile(source, partial)
        source.unlink()


def discard(step: Step) -> None:
    """Remove what an unfinished or installed execution has left."""
    folder = project.run_folder(step.run)
    shutil.rmtree(step.unfinished.path, ignore_errors=True)
    for empty in step.unfinished.path.parents:
        if empty == folder or not empty.is_relative_to(folder):
            break
        with contextlib.suppress(OSError):  # other jobs are in it
            empty.rmdir()


def prepare(step: Step) -> None:
    """Clear the folder of an execution, except for the state from which a training resumes."""
    for path in sorted(step.unfinished.path.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):
                path.rmdir()
        elif path.suffix != ".checkpoint":
            path.unlink(missing_ok=True)
    step.unfinished.path.mkdir(parents=True, exist_ok=True)


# ---- outputs


def outputs(step: Step, job: Job) -> list[Path]:
    """Return the files that a job must write: its declared outputs, and those of the runner."""
    declared = []
    for output in job.notebook.outputs:
        row, _, name = output.rpartition("/")
        place = step.row(row) if row else step
        declared.append(place.model_file if name == MODEL else place.path / name)
    return [*declared, step.path / "notebook.ipynb", step.path / "params.yaml"]


def _clear(step: Step, job: Job, *, kept: set[Path]) -> None:
    """Remove the files of an earlier execution, except `kept`, which the new one replaces."""
    old = [*outputs(step, job), step.path / NOT_RUN, step.path / "notebook.html"]
    folders = [step.path, *(row.path for row in step.rows())]
    for folder in folders:
        old += [*(folder / name for name in WRITTEN), *folder.glob("*.png")]
    for path in set(old) - kept:
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
        try:
            values = project.read_json(path)
        except ValueError as error:
            return f"{_shown(path, step)}: not valid JSON: {error}"
        for key, value in leaves(values):
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
    code, folder = job.notebook.code, project.run_folder(plan.run)
    inputs = {
        "parameters": job.parameters,
        "code": [[_parsed(source)[0] for source in code], _sources(code)],
        "files": _files(job.parameters),
        "upstream": marks.upstream(folder, plan.described, job.reads),
    }
    return {kind: marks.printed(each) for kind, each in inputs.items()}


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
                found[name] = marks.hashed(source.encode())
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
    return marks.hashed(path.read_bytes()) if size <= marks.LARGE else f"{size} {mtime}"


def _listing(path: Path) -> str:
    cache = project.root() / "data" / "cache"  # our decoded galaxies
    lines = []
    for where, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if Path(where, name) != cache)
        for name in sorted(names):
            file = Path(where, name)
            stat = file.stat() if file.exists() else file.lstat()  # a broken link
            lines.append(f"{os.path.relpath(where, path)}/{name} {stat.st_size} {stat.st_mtime_ns}")
    return marks.hashed("\n".join(lines).encode())
