"""Locate the project, name its folders, and write files atomically."""

import json
import os
import re
from pathlib import Path
from typing import Any

NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]*")  # a run or a step
JOB = re.compile(rf"{NAME.pattern}(/[^/\\]+)?")  # a step, or one combination of a repeated step


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


def write(path: Path, text: str) -> None:
    """Write a text file atomically: readers see the old or the new version, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


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
