"""Read galaxies from HDF5: Galaxy10's arrays, or tables for the published CAE and MoCo code."""

import functools
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from galaxymorph import project
from galaxymorph.data.found import Found, check_unique, stamp
from galaxymorph.data.labels import label
from galaxymorph.data.pictures import RGB
from galaxymorph.data.tables import check_columns, opened
from galaxymorph.text import listing

ENDINGS = (".h5", ".hdf5")

# The ten classes, named as in Galaxy10 DECaLS (https://github.com/henrysky/Galaxy10).
_SMOOTH = ("round smooth", "in-between round smooth", "cigar-shaped smooth")
_SPIRALS = ("barred spiral", "unbarred tight spiral", "unbarred loose spiral")
_EDGE_ON = ("edge-on without bulge", "edge-on with bulge")
GALAXY10 = ("disturbed", "merging", *_SMOOTH, *_SPIRALS, *_EDGE_ON)


def galaxy10(root: Path) -> Found:
    """Find galaxies in Galaxy10's layout.

    The HDF5 file has `images`, uint8 (galaxy, height, width, 3), and `ans`, the class from 0 to 9;
    ids combine file name and row. Raises `ValueError` for no, several or malformed files."""
    file = _one_file(root)
    with opened(h5py.File, file) as content:
        arrays = {key: array for key, array in content.items() if isinstance(array, h5py.Dataset)}
        if not {"images", "ans"} <= arrays.keys():
            found = listing(arrays) or "none"
            raise ValueError(f"{file}: expected the arrays `images` and `ans`, found {found}")
        images, answers = arrays["images"], arrays["ans"]
        is_rgb = images.ndim == 4 and images.shape[3] == 3 and images.dtype == np.uint8
        if not is_rgb or answers.shape != images.shape[:1]:
            found = f"`images` is {images.dtype} {images.shape} and `ans` {answers.shape}"
            wanted = "uint8 (galaxy, height, width, 3), (galaxy,)"
            raise ValueError(f"{file}: {found}; expected {wanted}")
        labels = np.asarray(answers).astype(int)
    if wrong := np.flatnonzero((labels < 0) | (labels >= len(GALAXY10))).tolist():
        rows = listing(wrong)
        raise ValueError(f"{file}: `ans` must lie between 0 and 9, but does not in row {rows}")
    found = _from_rows(file, "images", len(labels))
    return replace(
        found, labels=dict(zip(found.ids, labels.tolist(), strict=True)), classes=GALAXY10
    )


def table(
    root: Path, *, labels: Path | None = None, class_names: Sequence[str] | None = None
) -> Found:
    """Find galaxies in the layout of the published CAE and MoCo code.

    The astropy table in HDF5 has columns `r`, `g`, `b` with images in [-0.5, 0.5]. Ids come from a
    column `id` or `GalaxyID`, or else combine file name and row.

    Args:
        labels: CSV file, see `labels.label` (default: same name as the table, if it exists).
        class_names: names for the classes, in the order of the sorted labels.

    Raises:
        ValueError: not exactly one file or table, missing columns, images of different sizes,
            duplicate ids, or labels that `labels.label` rejects."""
    file = _one_file(root)
    with opened(h5py.File, file) as content:
        datasets = [array for array in content.values() if isinstance(array, h5py.Dataset)]
        tables = [array for array in datasets if array.dtype.names]
        if len(tables) != 1:
            found = f"{len(tables)} in {list(content)}"
            raise ValueError(f"{file}: expected one table, as astropy writes it, found {found}")
        array, kind = tables[0], tables[0].dtype
        check_columns(kind.names or (), "rgb", file)
        shapes = {kind[band].shape for band in "rgb"}
        if len(shapes) != 1 or len(kind["r"].shape) != 2:
            sizes = listing(shapes)
            raise ValueError(f"{file}: columns r, g, b must hold images of one size, not {sizes}")
        named = next((name for name in kind.names or () if name in ("id", "GalaxyID")), None)
        known = array[named] if named else []
        ids = [id.decode() if isinstance(id, bytes) else str(id) for id in known]
        found = _from_rows(file, str(array.name), len(array), ids)
    default = file.with_suffix(".csv")
    return label(found, labels or (default if default.exists() else None), class_names)


def _one_file(root: Path) -> Path:
    """Return `root` if it is a file, or else the only HDF5 file in it."""
    if project.existing(root).is_file():
        return root
    files = sorted(path for path in root.iterdir() if path.suffix.lower() in ENDINGS)
    if len(files) != 1:
        names = listing(file.name for file in files) or "none"
        raise ValueError(f"{root}: expected one {' or '.join(ENDINGS)} file, found {names}")
    return files[0]


class Rows:
    """Rows of an HDF5 array, read in blocks of whole chunks; the last few blocks are cached.

    Otherwise compressed chunks would be unpacked for every row. Threads take turns, as in HDF5."""

    def __init__(self, array: Any) -> None:
        self.size = size = array.chunks[0] if array.chunks else 64
        self.block = functools.lru_cache(4)(lambda n: array[n * size : (n + 1) * size])
        self.lock = threading.Lock()

    def __getitem__(self, row: int) -> Any:
        with self.lock:
            return self.block(row // self.size)[row % self.size]


def read(rows: Rows, row: int) -> RGB:
    """Read one image as uint8 (height, width, 3), from an array of images or a table.

    A table has columns r, g, b in [-0.5, 0.5], black to white; other values raise `ValueError`."""
    record = rows[row]
    if not record.dtype.names:
        return np.array(record), ""
    image = np.stack([record[band] for band in "rgb"], axis=-1).astype(float) + 0.5
    low, high = image.min(), image.max()
    if not (low >= -0.01 and high <= 1.01):  # also true for NaN
        raise ValueError(f"values from {low - 0.5:.3g} to {high - 0.5:.3g}, expected -0.5 to 0.5")
    return np.round(image.clip(0, 1) * 255).astype(np.uint8), ""


def _from_rows(file: Path, key: str, count: int, ids: Sequence[str] = ()) -> Found:
    """Return the unlabelled galaxies of an array; default `ids` combine file name and row."""
    names = [f"{file.name} row {row}" for row in range(count)]
    ids = list(ids) or [f"{file.stem}-{row:06d}" for row in range(count)]
    check_unique(ids, names, file)
    rows = Rows(h5py.File(file)[key])
    reads = [partial(read, rows, row) for row in range(count)]
    return Found(ids, names, [*reads], [stamp(file)])
