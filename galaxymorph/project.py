"""Locate the project, name its folders, and write files atomically."""

import contextlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # a run or a step
# a step, or one combination of a repeated step
JOB = re.compile(rf"{NAME.pattern}(/[^/\\\s.][^/\\\x00-\x1f]*)?")
LETTERS = "letters, digits, '.', '_' and '-' (at most 100, the first a letter or digit, no '..')"
RESERVED = {"reference", "report", "tune", "unfinished", "plan.json", "index.html", "readme.md"}
RESERVED |= {"con", "nul", "prn", "aux"}  # by Windows


def misnamed(name: object) -> str:
    """Return why this cannot be the name of a run or a step; empty if it can."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return f"expected a name of {LETTERS}, found {name!r}"
    return f"the name {name!r} is reserved; choose another" if name.lower() in RESERVED else ""


def run_folder(run: str) -> Path:
    """Return `results/<run>`. Raises `ValueError` if this is not the name of a run."""
    if why := misnamed(run):
        raise ValueError(f"not a valid name of a run: {why}")
    return root() / "results" / run


def root() -> Path:
    """Return the project's folder: the nearest one upwards with `params.yaml` and `notebooks/`,
    else the checkout that this package is imported from, else the current folder."""
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[1]):
        if (folder / "params.yaml").is_file() and (folder / "notebooks").is_dir():
            return folder
    return here


def model_file(run: str, step: str) -> Path:
    """Return `models/<run>/<step>.safetensors`."""
    return root() / "models" / run / f"{step}.safetensors"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there replaces `path` as a whole.

    Readers see the old or the new version, never a part, even after a power failure: the file and
    its folder are flushed to the disk. After an error the old version stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        _flush(partial)
        partial.replace(path)
        _flush(path.parent)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk is reported without it
        raise
    finally:
        partial.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def write(path: Path, content: str | bytes) -> None:
    """Write a file as a whole (`replacing`), text in UTF-8."""
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def set_aside(path: Path, why: str) -> None:
    """Rename a damaged file or folder to `<name>.damaged`, and warn."""
    aside = path.with_name(f"{path.name}.damaged")
    shutil.rmtree(aside, ignore_errors=True)
    path.replace(aside)
    warnings.warn(f"{path}: {why}; renamed to {aside.name}", stacklevel=2)


def read_json(path: Path) -> Any:
    """Return the contents of a JSON file, or an empty dict if it does not exist."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, with arrays as lists and other unknown types as text."""
    write(path, json.dumps(value, indent=2, default=plain) + "\n")


def plain(value: Any) -> Any:
    """Convert NumPy and torch scalars and arrays to Python values, anything else to text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def existing_model(path: Path | str) -> Path:
    """Return the path of a model file. Raises `FileNotFoundError` that says how to make it."""
    if not Path(path).is_file():
        todo = "if a step trains it, run that step first"
        raise FileNotFoundError(f"{path}: no such model file; {todo}")
    return Path(path)


def existing(path: Path) -> Path:
    """Return the path. Raises `FileNotFoundError` that names the closest existing parent."""
    if not path.exists():
        parent = next(p for p in path.parents if p.exists())
        raise FileNotFoundError(f"{path} does not exist; its closest existing parent is {parent}")
    return path
