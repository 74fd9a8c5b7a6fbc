"""Galaxies in HDF5 files: arrays as Galaxy10 has them, and tables as the published CAE and MoCo
code reads them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy import ndarray

from galaxymorph.data import sources
from galaxymorph.text import listing

ENDINGS = (".h5", ".hdf5")

# The ten classes as the makers of Galaxy10 DECaLS name them (https://github.com/henrysky/Galaxy10).
_GALAXY10 = """disturbed, merging, round smooth, in-between round smooth, cigar-shaped smooth,
barred spiral, unbarred tight spiral, unbarred loose spiral, edge-on without bulge,
edge-on with bulge"""
GALAXY10 = tuple(" ".join(name.split()) for name in _GALAXY10.split(","))


def galaxy10(root: Path) -> sources.Found:
    """Find galaxies in Galaxy10's layout: an HDF5 file with `images`, uint8 (galaxy, height, width,
    3), and `ans`, the class from 0 to 9. Ids are the file's name and the row.

    Raises:
        FileNotFoundError, ValueError: no or several files, no such arrays, wrong shapes or classes.
    """
    file = _one_file(root)
    with _open(file) as opened:
        arrays = {key: array for key, array in opened.items() if isinstance(array, h5py.Dataset)}
        if not {"images", "ans"} <= arrays.keys():
            found = listing(arrays) or "none"
            raise ValueError(f"{file}: expected the arrays `images` and `ans`, found {found}")
        images, answers = arrays["images"], arrays["ans"]
        is_rgb = images.ndim == 4 and images.shape[3] == 3 and images.dtype == np.uint8
        if not is_rgb or answers.shape != images.shape[:1]:
            found = f"`images` is {images.dtype} {images.shape} and `ans` {answers.shape}"
            raise ValueError(
                f"{file}: {found}; expected uint8 (galaxy, height, width, 3), (galaxy,)"
            )
        labels = np.asarray(answers).astype(int)
    if wrong := np.flatnonzero((labels < 0) | (labels >= len(GALAXY10))).tolist():
        rows = listing(wrong)
        raise ValueError(f"{file}: `ans` must lie between 0 and 9, but does not in row {rows}")
    found = _from_rows(file, Rows(file, "images"), len(labels), read_image)
    return replace(found, labels=labels.tolist(), classes=GALAXY10)


def table(
    root: Path, *, labels: Path | None = None, class_names: Sequence[str] | None = None
) -> sources.Found:
    """Find galaxies in the layout of the published CAE and MoCo code: an astropy table in HDF5,
    columns `r`, `g`, `b` of images in [-0.5, 0.5]. Ids are those of a column `id` or `GalaxyID`, or
    else the file's name and the row.

    Args:
        labels: CSV file, see `sources.label`; default: that of the same name beside the table.
        class_names: names for the classes, in the order of the sorted labels.

    Raises:
        FileNotFoundError, ValueError: no or several files or tables, no such columns, images of
            several sizes, duplicate ids; and all that `sources.label` finds.
    """
    file = _one_file(root)
    with _open(file) as opened:
        datasets = [array for array in opened.values() if isinstance(array, h5py.Dataset)]
        tables = [array for array in datasets if array.dtype.names]
        if len(tables) != 1:
            found = f"{len(tables)} in {list(opened)}"
            raise ValueError(f"{file}: expected one table, as astropy writes it, found {found}")
        (array,) = tables
        kind = array.dtype
        columns = list(kind.names or ())
        sources.check_columns(columns, "rgb", file)
        shapes = {kind[band].shape for band in "rgb"}
        if len(shapes) != 1 or len(kind["r"].shape) != 2:
            sizes = listing(shapes)
            raise ValueError(f"{file}: columns r, g, b must hold images of one size, not {sizes}")
        ids = None
        if named := [name for name in columns if name in ("id", "GalaxyID")]:
            ids = [id.decode() if isinstance(id, bytes) else str(id) for id in array[named[0]]]
        found = _from_rows(file, Rows(file, str(array.name)), len(array), read_table, ids)
    if labels is None and file.with_suffix(".csv").exists():
        labels = file.with_suffix(".csv")
    return sources.label(found, labels, class_names)


def _one_file(root: Path) -> Path:
    """The HDF5 file itself, or the only one in a folder."""
    if sources.existing(root).is_file():
        return root
    files = sorted(path for path in root.iterdir() if path.suffix.lower() in ENDINGS)
    if len(files) != 1:
        names = listing(file.name for file in files) or "none"
        raise ValueError(f"{root}: expected one {' or '.join(ENDINGS)} file, found {names}")
    return files[0]


def _open(file: Path) -> h5py.File:
    try:
        return h5py.File(file)
    except OSError as error:
        raise ValueError(f"{file} is no complete HDF5 file ({error}): download it again") from error


class Rows:
    """Rows of an HDF5 array, read in blocks of whole chunks.

    A chunk of a compressed file holds parts of many rows, so reading a row at a time would unpack
    each chunk again and again. The last few blocks are kept; threads wait for each other, as they
    do inside HDF5 anyway."""

    def __init__(self, file: Path, key: str) -> None:
        self.file, self.key = file, key
        self.blocks: dict[int, ndarray] = {}
        self.lock = threading.Lock()
        self.block = 64
        with h5py.File(file) as opened:
            if chunks := opened[key].chunks:  # pyright: ignore[reportAttributeAccessIssue]
                self.block = chunks[0]

    def __getitem__(self, row: int) -> Any:
        number, offset = divmod(row, self.block)
        with self.lock:
            if number not in self.blocks:
                if len(self.blocks) == 4:
                    del self.blocks[next(iter(self.blocks))]  # the oldest
                start = number * self.block
                with h5py.File(self.file) as opened:
                    array: Any = opened[self.key]
                    self.blocks[number] = array[start : start + self.block]
            return self.blocks[number][offset]


def read_image(rows: Rows, row: int) -> sources.RGB:
    """Read a row of an array of images: uint8 (galaxy, height, width, 3)."""
    return np.array(rows[row]), ""


def read_table(rows: Rows, row: int) -> sources.RGB:
    """Read a row of a table with columns r, g, b: images in [-0.5, 0.5], black to white.

    Raises:
        ValueError: values out of range, or NaN.
    """
    record = rows[row]
    image = np.stack([record[band] for band in "rgb"], axis=-1).astype(float) + 0.5
    low, high = image.min(), image.max()
    if not (low >= -0.01 and high <= 1.01):  # so that NaN fails, too
        raise ValueError(f"values from {low - 0.5:.3g} to {high - 0.5:.3g}, expected -0.5 to 0.5")
    return np.round(image.clip(0, 1) * 255).astype(np.uint8), ""


def _from_rows(
    file: Path,
    rows: Rows,
    count: int,
    read: Callable[[Rows, int], sources.RGB],
    ids: list[str] | None = None,
) -> sources.Found:
    names = [f"{file.name} row {row}" for row in range(count)]
    ids = ids or [f"{file.stem}-{row:06d}" for row in range(count)]
    sources.check_unique(ids, names, file)
    reads = [partial(read, rows, row) for row in range(count)]
    return sources.Found(ids, names, [*reads], [-1] * count, [sources.stamp(file)])
