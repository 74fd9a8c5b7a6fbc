"""Check and write the files that a command makes."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from galaxymorph import project
from galaxymorph.apply.stream import Values
from galaxymorph.text import listing


def check(written: Sequence[Path], inputs: Iterable[Path | str]) -> None:
    """Check that files can be written, before anything is computed for them.

    Args:
        written: all files that the command writes.
        inputs: files that it reads, which it must never replace. One entry may name several files,
            separated by ", "; names that are not files, such as members of a zip, are ignored.

    Raises `FileExistsError` if one of them is an input, `project.NotWritten` if one is a folder, or
    in a folder that cannot be written to."""
    for path in written:
        project.check_writable(path)
    there = {_identity(path): path for path in written if path.exists()}
    if there:
        for name in (name for each in inputs for name in str(each).split(", ")):
            if path := there.get(_identity(name)):
                raise FileExistsError(f"{path} is an input, {name}: choose another name for --out")


def _identity(path: Path | str) -> tuple[int, int] | None:
    try:
        stat = os.stat(path)  # noqa: PTH116 - follows links; many files
    except (OSError, ValueError):
        return None
    return stat.st_dev, stat.st_ino


def check_finite(values: Values, ids: Sequence[str], model: Path) -> None:
    """Raise `ValueError` that names galaxies for which a model computes NaN or infinity."""
    bad = [id for id, row in zip(ids, values, strict=True) if not np.isfinite(row).all()]
    if bad:
        why = "the weights are damaged, or too large for this precision; train it again"
        raise ValueError(f"{model}: outputs that are not finite for {listing(bad)}: {why}")


def check_figure(path: Path) -> None:
    """Raise `ValueError` unless the ending of `path` is that of a format for figures."""
    from matplotlib.figure import Figure  # slow to import

    formats = Figure().canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in formats:
        known = ", ".join(f".{name}" for name in formats)
        raise ValueError(f"{path}: expected an ending of a figure: {known}")


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure as a whole, in the format of its ending."""
    with project.replacing(path) as partial:
        figure.savefig(partial, format=path.suffix[1:].lower(), dpi=150)
