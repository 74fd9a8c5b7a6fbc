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
GALAXY10 = (
    "disturbed",
    "merging",
    "round smooth",
    "in-between round smooth",
    "cigar-shaped smooth",
    "barred spiral",
    "unbarred tight spiral",
    "unbarred loose spiral",
    "edge-on without bulge",
    "edge-on with bulge",
)


def galaxy10(root: Path) -> sources.Found:
    """Galaxy10's layout: an HDF5 file with `images`, uint8 (galaxy, height, width, 3), and `ans`,
    the class from 0 to 9.

    Ids are the file's name and the row.

    Raises:
        FileNotFoundError, ValueError: no or several files, no such arrays, wrong shapes, classes
        out of range.
    """
    file = _one_file(root)
    with _open(file) as opened:
        arrays = {key: array for key, array in opened.items() if isinstance(array, h5py.Dataset)}
        if not {"images", "ans"} <= arrays.keys():
            raise ValueError(
                f"{file}: expected the arrays `images` and `ans`, found {listing(arrays) or 'none'}"
            )
        images, answers = arrays["images"], arrays["ans"]
        if (
            images.ndim != 4
            or images.shape[3] != 3
            or images.dtype != np.uint8
            or answers.shape != images.shape[:1]
        ):
            raise ValueError(
                f"{file}: `images` is {images.dtype} {images.shape} and `ans` {answers.shape}; expected uint8 (galaxy, height, "
                "width, 3) and (galaxy,)"
            )
        labels = np.asarray(answers).astype(int)
    if wrong := np.flatnonzero((labels < 0) | (labels >= len(GALAXY10))).tolist():
        raise ValueError(
            f"{file}: `ans` must lie between 0 and 9, but does not in row {listing(wrong)}"
        )
    found = _from_rows(file, Rows(file, "images"), len(labels), read_image)
    return replace(found, labels=labels.tolist(), classes=GALAXY10)


def table(
    root: Path, *, labels: Path | None, class_names: Sequence[str] | None, on_bad: sources.OnBad
) -> sources.Found:
    """The layout of the published CAE and MoCo code: an astropy table in HDF5, columns `r`, `g`,
    `b` of images in [-0.5, 0.5].

    Labels come from `labels`, or else from the CSV file of the same name beside the table, if there
    is one. Ids are those of a column `id` or `GalaxyID`, or else the file's name and the row.

    Raises:
        FileNotFoundError, ValueError: no or several files or tables, no such columns, images of
            several sizes, repeated ids; and all that `sources.label` finds.
    """
    file = _one_file(root)
    with _open(file) as opened:
        tables = [
            array
            for array in opened.values()
            if isinstance(array, h5py.Dataset) and array.dtype.names
        ]
        if len(tables) != 1:
            raise ValueError(
                f"{file}: expected one table, as astropy writes it, found {len(tables)} in {list(opened)}"
            )
        kind = tables[0].dtype
        columns = list(kind.names or ())
        if missing := [band for band in "rgb" if band not in columns]:
            raise ValueError(
                f"{file}: the table has no column {listing(missing)}. It has: {listing(columns)}"
            )
        shapes = {kind[band].shape for band in "rgb"}
        if len(shapes) != 1 or len(kind["r"].shape) != 2:
            raise ValueError(
                f"{file}: the columns r, g and b must hold images of one size, not {listing(shapes)}"
            )
        rows = Rows(file, str(tables[0].name))
        named = [name for name in columns if name in ("id", "GalaxyID")]
        ids = (
            [id.decode() if isinstance(id, bytes) else str(id) for id in tables[0][named[0]]]
            if named
            else None
        )
        found = _from_rows(file, rows, len(tables[0]), read_table, ids)
    beside = file.with_suffix(".csv")
    return sources.label(
        found, labels or (beside if beside.exists() else None), class_names, on_bad
    )


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
        with h5py.File(file) as opened:
            chunks = self._array(opened).chunks
        self.block = chunks[0] if chunks else 64
        self.blocks: dict[int, ndarray] = {}
        self.lock = threading.Lock()

    def _array(self, opened: h5py.File) -> h5py.Dataset:
        array = opened[self.key]
        assert isinstance(array, h5py.Dataset)
        return array

    def __getitem__(self, row: int) -> Any:
        number, offset = divmod(row, self.block)
        with self.lock:
            if number not in self.blocks:
                if len(self.blocks) == 4:
                    del self.blocks[next(iter(self.blocks))]  # the oldest
                with h5py.File(self.file) as opened:
                    self.blocks[number] = self._array(opened)[
                        number * self.block : (number + 1) * self.block
                    ]
            return self.blocks[number][offset]


def read_image(rows: Rows, row: int) -> sources.RGB:
    """A row of an array of images: uint8 (galaxy, height, width, 3)."""
    return np.array(rows[row]), ""


def read_table(rows: Rows, row: int) -> sources.RGB:
    """A row of a table with columns r, g, b: images in [-0.5, 0.5], black to white.

    Raises:
        ValueError: values out of range, or NaN.
    """
    record = rows[row]
    image = np.stack([record[band] for band in "rgb"], axis=-1).astype(float) + 0.5
    if not (image.min() >= -0.01 and image.max() <= 1.01):  # so that NaN fails, too
        raise ValueError(
            f"values from {image.min() - 0.5:.3g} to {image.max() - 0.5:.3g}, expected -0.5 to 0.5"
        )
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
    return sources.Found(
        ids=ids,
        names=names,
        read=[partial(read, rows, row) for row in range(count)],
        labels=[-1] * count,
        stamps=[sources.stamp(file)],
    )
