"""Where the project is, how its folders are named, and how a file is replaced in one go."""

from __future__ import annotations

import os
import re
from pathlib import Path

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # of a run or a step
PIECE = re.compile(rf"{NAME.pattern}(/[^/\\]+)?")  # a step, or one combination of a repeated step


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
