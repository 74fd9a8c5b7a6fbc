"""The bookkeeping of a run, read with care: what a done-mark vouches for, and what is out of date.

A damaged file of ours is set aside with a warning and counts as absent, so that the next run makes
it again. Results are of an earlier state of the run if the parameters have changed since, if a job
that they read has been executed again or is itself out of date, or if a newer execution was
interrupted or failed. They stay readable; comparisons leave them out and say so."""

import functools
import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from galaxymorph import project
from galaxymorph.run.typecheck import accepts, describe

UNFINISHED = "unfinished"  # folder in that of a run, where jobs are executed
MODEL = "model.safetensors"  # stands for models/<run>/<step>.safetensors
LARGE = 64 * 2**20  # bytes; of larger files a sample is hashed
# files that may change without harm
FREE = ("done.json", "notebook.ipynb", "notebook.html")

Job = Mapping[str, Any]  # as in plan.json
SHAPES: dict[str, dict[str, Any]] = {  # types of values that we read; others may be anything
    "done.json": {
        "fingerprints": dict[str, Any],
        "files": dict[str, tuple[int, str]],
        "seconds": float | None,
        "finished": str | None,
    },
    "plan.json": {"jobs": dict[str, dict[str, Any]], "pieces": dict[str, dict[str, Any]]},
    "not_run.json": {"why": str},
    "failure.json": {"why": str, "kind": str, "said": str},
    "environment.json": {"git_commit": str | None},
    "metrics.json": {
        "test": dict[str, Any],
        "costs": dict[str, Any],
        "findings": list[str],
        "notes": list[str],
        "title": str | None,
        "protocol": str | None,
    },
}
PLANNED: dict[str, Any] = {  # of a job in plan.json
    "combination": dict[str, Any],
    "parameters": dict[str, Any],
    "outputs": list[str] | None,
    "title": str | None,
    "reads": list[str],
    "chosen": bool,
}


# ---- files


def read(path: Path) -> dict[str, Any]:
    """Return the contents of a JSON file of a run; empty if it is absent or damaged."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
        if why := _wrong(found, SHAPES.get(path.name, {})):
            raise ValueError(why)
    except (ValueError, RecursionError) as error:
        _set_aside(path, f"not a valid {path.name}: {error or 'nested too deeply'}")
        return {}
    return found


def planned(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the jobs in the `plan.json` of a run's folder, by name; empty if there is none."""
    path = folder / "plan.json"
    plan = read(path)
    jobs = plan.get("jobs") or plan.get("pieces", {})  # "pieces": before version 0.2
    base = Path(os.path.realpath(folder))
    for name, job in jobs.items():
        why = _wrong(job, PLANNED) or ("" if "combination" in job else "lacks its combination")
        if not project.JOB.fullmatch(name) or project.misnamed(name.split("/")[0]):
            why = why or "not the name of a job"
        elif not Path(os.path.realpath(folder / name)).is_relative_to(base):
            why = why or "a link that leads out of the run"
        if why:
            why = f"not a valid plan.json: job {name!r}: {why}"
            _set_aside(path, why)
            return {}
    common = {"parameters": {}, "outputs": None}
    return {name: common | job for name, job in jobs.items()}


def _wrong(found: Any, shape: Mapping[str, Any]) -> str:
    """Return what is wrong with the contents of a file, if anything."""
    if not isinstance(found, dict):
        return f"expected a mapping, found {json.dumps(found)[:40]}"
    for key, hint in shape.items():
        if key in found and not accepts(found[key], hint):
            return f"{key}: expected {describe(hint)}, found {json.dumps(found[key])[:40]}"
    return ""


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")


def _set_aside(path: Path, why: str) -> None:
    try:
        project.set_aside(path, why)
    except OSError:  # a folder that we may only read
        warnings.warn(f"{path}: {why}; it is ignored", stacklevel=3)


# ---- what a mark vouches for


def hashed(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def printed(inputs: Any) -> str:
    """Return the hash of JSON-serialisable inputs."""
    return hashed(json.dumps(inputs, sort_keys=True, default=str).encode())


def vouch(folder: Path) -> dict[str, tuple[int, str]]:
    """Return size and hash of each file in the folder of an execution, by relative name."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        ours = ".checkpoint" in path.name or any(part.startswith(".") for part in name.parts)
        if path.is_file() and not ours:  # neither a training's state nor a temporary file
            found[name.as_posix()] = (path.stat().st_size, _content(path))
    return found


def place(folder: Path, job: str, name: str) -> Path:
    """Return where a file that a mark vouches for belongs: `folder` is that of the run."""
    file = Path(name)
    if file.name == MODEL:
        return project.model_file(folder.name, (Path(job) / file.parent).as_posix())
    return folder / job / file


def altered(folder: Path, job: str, mark: Mapping[str, Any]) -> str:
    """Return which file has changed since its job was done, and how; empty if none has.

    Of deleted files only those are missed that the notebook declares: see `done.changed`."""
    for name, content in mark.get("files", {}).items():
        path = place(folder, job, name)
        if Path(name).name not in FREE and path.is_file() and not matches(path, content):
            shown = path.relative_to(project.root()) if _inside(path) else path
            return f"{shown} has changed since it was written"
    return _cut(folder / job / "notebook.ipynb")


def matches(path: Path, content: Sequence[Any]) -> bool:
    """Return whether a file has a size and a hash, as `vouch` gives them."""
    size, digest = content
    return path.is_file() and path.stat().st_size == size and _content(path) == digest


def _inside(path: Path) -> bool:
    return path.is_relative_to(project.root())


def _content(path: Path) -> str:
    stat = path.stat()
    return _hash_of(path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@functools.lru_cache(4096)
def _hash_of(path: Path, size: int, mtime: int, ctime: int) -> str:
    """Hash a file once in each process; of a large one 64 blocks, evenly spaced."""
    if size <= LARGE:
        return hashed(path.read_bytes())
    with path.open("rb") as file:
        blocks = []
        for n in range(64):
            file.seek(n * (size - 2**16) // 63)
            blocks.append(file.read(2**16))
    return hashed(b"".join(blocks))


def _cut(notebook: Path) -> str:
    """Return that an executed notebook is damaged; readers may change it, but not break it."""
    if not notebook.is_file():
        return ""
    stat = notebook.stat()
    return (
        "" if _is_notebook(notebook, stat.st_size, stat.st_mtime_ns) else f"{notebook} is damaged"
    )


@functools.lru_cache(4096)
def _is_notebook(path: Path, size: int, mtime: int) -> bool:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return isinstance(found["cells"], list)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


# ---- what is out of date


def upstream(folder: Path, jobs: Mapping[str, Job], reads: Sequence[str]) -> dict[str, Any]:
    """Return the hash of the done-mark of each job in `reads`; False if it is not up to date."""
    states = outdated(folder, jobs, reads)
    marks = {name: folder / name / "done.json" for name in reads}
    return {name: not states[name] and _mark(mark) for name, mark in marks.items()}


def outdated(folder: Path, jobs: Mapping[str, Job], names: Sequence[str]) -> dict[str, str]:
    """Return why the results of jobs are not those of the plan, by name; empty if they are.

    Args:
        folder: of the run.
        jobs: the plan's, in order: a job reads earlier ones only.
        names: those that are asked for."""
    wanted, waiting = set(names), list(names)
    while waiting:
        new = set(jobs.get(waiting.pop(), {}).get("reads", ())) - wanted
        wanted |= new
        waiting += new
    states = dict.fromkeys(names, "")
    for name in (name for name in jobs if name in wanted):
        states[name] = _state(folder, name, jobs[name], states)
    return states


def _state(folder: Path, name: str, job: Job, states: Mapping[str, str]) -> str:
    mark = read(folder / name / "done.json")
    if not mark:
        return ""
    if why := altered(folder, name, mark):
        return why
    if (folder / UNFINISHED / name).is_dir():
        return "a newer execution is not finished"
    prints = mark.get("fingerprints", {})
    now = {"parameters": printed(job["parameters"])}
    if "reads" in job:
        marks = {each: folder / each / "done.json" for each in job["reads"]}
        now["upstream"] = printed({k: not states.get(k) and _mark(m) for k, m in marks.items()})
    kinds = [kind for kind, value in now.items() if prints.get(kind, value) != value]
    return f"{' and '.join(kinds)} changed since" if kinds else ""


def _mark(path: Path) -> str | bool:
    return path.is_file() and hashed(path.read_bytes())
