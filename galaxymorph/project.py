"""Where the project is, how its folders are named, and how a file is replaced in one go."""

import json
import os
import re
from pathlib import Path
from typing import Any

NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]*")  # of a run or a step
JOB = re.compile(rf"{NAME.pattern}(/[^/\\]+)?")  # of a step, or one combination of a repeated one


def root() -> Path:
    """The project's folder: the nearest one from here upwards with `params.yaml` and `notebooks/`,
    else the checkout that this package is imported from, else the current folder."""
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[1]):
        if (folder / "params.yaml").is_file() and (folder / "notebooks").is_dir():
            return folder
    return here


def model_file(run: str, step: str) -> Path:
    """`models/<run>/<step>.safetensors`."""
    return root() / "models" / run / f"{step}.safetensors"


def write(path: Path, text: str) -> None:
    """Write a text file so that at any time either the old or the new one is there, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def read_json(path: Path) -> Any:
    """Return what a JSON file holds; an empty dict where there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file as `write` does. Arrays become lists; what JSON has no form for, text."""
    write(path, json.dumps(value, indent=2, default=plain) + "\n")


def plain(value: Any) -> Any:
    """Return NumPy and torch scalars and arrays as Python's, anything else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
