"""Read galaxies from HDF5: Galaxy10's arrays, or tables for the published CAE and MoCo code."""

import functools
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pandas as pd

from galaxymorph import project
from galaxymorph.data.found import Found, check_unique, stamp
from galaxymorph.data.labels import Names, label
from galaxymorph.data.pictures import RGB, check_size
from galaxymorph.data.tables import check_columns, opened
from galaxymorph.text import clean, listing

ENDINGS = (".h5", ".hdf5")
DARKEST = -0.25  # above the darkest pixel of images whose black is at -0.5

# The ten classes of each survey, in the order of https://github.com/henrysky/Galaxy10 and of
# https://astronn.readthedocs.io (galaxy10sdss), and the side of the images as published (px).
_SMOOTH = ("round smooth", "in-between round smooth", "cigar-shaped smooth")
_SPIRALS = ("barred spiral", "unbarred tight spiral", "unbarred loose spiral")
_EDGE_ON = ("edge-on without bulge", "edge-on with bulge")
_DISCS = ("face-on disc without spiral", "round smooth", "in-between round smooth")
_DISCS += ("cigar-shaped smooth", "edge-on with rounded bulge", "edge-on with boxy bulge")
_DISCS += ("edge-on without bulge", "tight spiral", "medium spiral", "loose spiral")
Survey = Literal["decals", "sdss"]
GALAXY10 = {"decals": ("disturbed", "merging", *_SMOOTH, *_SPIRALS, *_EDGE_ON), "sdss": _DISCS}
TITLES: dict[Survey, str] = {"decals": "DECaLS", "sdss": "SDSS"}
SIDES: dict[int, Survey] = {256: "decals", 69: "sdss"}


def galaxy10(root: Path, *, survey: Survey | None = None) -> Found:
    """Find galaxies in Galaxy10's layout.

    The HDF5 file has `images`, uint8 (galaxy, height, width, 3), and `ans`, the class from 0 to 9;
    ids combine file name and row. The classes are those of `survey` (default: by the size of the
    images, 256 px for DECaLS and 69 px for SDSS). Raises `ValueError` for no, several or malformed
    files, and for images of another size unless `survey` is given."""
    file = _one_file(root)
    with opened(h5py.File, file) as content:
        arrays = {key: array for key, array in content.items() if isinstance(array, h5py.Dataset)}
        if not {"images", "ans"} <= arrays.keys():
            found = listing(arrays) or "none"
            raise ValueError(f"{file}: expected the arrays `images` and `ans`, found {found}")
        images, answers = arrays["images"], arrays["ans"]
        is_rgb = images.ndim == 4 and images.shape[3] == 3 and images.dtype == np.uint8
        if not is_rgb or answers.shape not in (images.shape[:1], (images.shape[0], 10)):
            found = f"`images` is {images.dtype} {images.shape} and `ans` {answers.shape}"
            wanted = "uint8 (galaxy, height, width, 3), (galaxy,)"
            raise ValueError(f"{file}: {found}; expected {wanted}")
        check_size(*images.shape[1:3])
        side, labels = images.shape[1], _answers(answers, file)
    usual = SIDES.get(side)
    survey = survey or usual
    if survey is None:
        what = f"images of {side} px are neither those of Galaxy10 DECaLS (256) nor SDSS (69)"
        raise ValueError(f"{file}: {what}; say whose classes `ans` means, survey: decals or sdss")
    found = _from_rows(file, "images", len(labels))
    note = f"classes named as in Galaxy10 {TITLES[survey]} (images of {side} px"
    note += f", the size of Galaxy10 {TITLES[usual]})" if usual not in (None, survey) else ")"
    return replace(
        found,
        labels=dict(zip(found.ids, labels, strict=True)),
        classes=GALAXY10[survey],
        notes=[note],
    )


def _answers(array: Any, file: Path) -> list[int]:
    """Return classes from 0 to 9, given as numbers, as text, or as ten columns with a single 1."""
    values = np.asarray(array)
    if values.dtype.kind in "SOU":
        texts = [each.decode() if isinstance(each, bytes) else str(each) for each in values.flat]
        numbers = pd.Series(pd.to_numeric(pd.Series(texts), errors="coerce"))
        values = numbers.to_numpy(float).reshape(values.shape)
    if values.ndim == 2:
        one_hot = np.isin(values, (0, 1)).all(1) & (values.sum(1) == 1)
        values = np.where(one_hot, values.argmax(1), np.nan)
    if wrong := np.flatnonzero(~np.isin(values, range(10))).tolist():
        what = "`ans` must be a whole number between 0 and 9, but is not"
        raise ValueError(f"{file}: {what} in row {listing(wrong)}")
    return values.astype(int).tolist()


def table(
    root: Path,
    *,
    labels: Path | None = None,
    class_names: Names = None,
    id_column: str | None = None,
    label_column: str | None = None,
) -> Found:
    """Find galaxies in the layout of the published CAE and MoCo code.

    The astropy table in HDF5 has columns `r`, `g`, `b` with images in [-0.5, 0.5], or all in
    [0, 1], which is noted. Ids come from a column `id` or `GalaxyID`, or else combine file name and
    row.

    Args:
        labels, id_column, label_column: see `labels.label` (default: the CSV file with the name of
            the table, if it exists). A single column of labels is in the order of the rows.
        class_names: see `labels.classified`.

    Raises:
        ValueError: not exactly one file or table, missing columns, images of different sizes,
            duplicate ids, or labels that `labels.label` rejects."""
    found = _table(root)
    default = _one_file(root).with_suffix(".csv")
    file = labels or (default if default.exists() else None)
    names = {"id_column": id_column, "label_column": label_column}
    return label(found, file, class_names, **names, in_order=True)


def unlabelled(root: Path, name: str) -> Found:
    """Find the galaxies of `galaxy10` or `table` (`name`) without their labels."""
    if name == "galaxy10":
        return replace(galaxy10(root, survey="decals"), labels={}, notes=[])
    return _table(root)


def _table(root: Path) -> Found:
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
        check_size(*kind["r"].shape)
        named = next((name for name in kind.names or () if name in ("id", "GalaxyID")), None)
        known = array[named] if named else []
        ids = [clean(id.decode() if isinstance(id, bytes) else str(id)) for id in known]
        black, notes = _black(array, file)
        found = _from_rows(file, str(array.name), len(array), ids, black)
    return replace(found, notes=notes)


def _black(array: Any, file: Path) -> tuple[float, list[str]]:
    """Return the value of black, and a note if it is 0, by the darkest of up to 64 galaxies.

    Sky is nearly black, so a table in [-0.5, 0.5] has pixels near -0.5. Raises `ValueError` if the
    darkest pixel fits neither range."""
    n = len(array)
    rows = [array[row] for row in np.unique(np.linspace(0, n - 1, min(n, 64)).astype(int))]
    values = np.array([[row[band] for band in "rgb"] for row in rows], float)
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (-0.5, 0.5)
    if low <= DARKEST:
        return -0.5, []
    reach = f"columns r, g, b reach from {low:.3g} to {high:.3g} in {len(rows)} galaxies"
    if low < -0.01 or high > 1.01:
        raise ValueError(f"{file}: {reach}; expected -0.5 (black) to 0.5 (white), or 0 to 1")
    return 0.0, [f"{reach}: 0 is taken as black and 1 as white, instead of -0.5 and 0.5"]


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


def read(rows: Rows, row: int, black: float = -0.5) -> RGB:
    """Read one image as uint8 (height, width, 3), from an array of images or a table.

    A table has columns r, g, b from `black` to `black` + 1, white; other values raise
    `ValueError`."""
    record = rows[row]
    if not record.dtype.names:
        return np.array(record), ""
    image = np.stack([record[band] for band in "rgb"], axis=-1).astype(float) - black
    low, high = image.min(), image.max()
    if not (low >= -0.01 and high <= 1.01):  # also true for NaN
        found = f"values from {low + black:.3g} to {high + black:.3g}"
        raise ValueError(f"{found}, expected {black:g} to {black + 1:g}")
    return np.round(image.clip(0, 1) * 255).astype(np.uint8), ""


def _from_rows(
    file: Path, key: str, count: int, ids: Sequence[str] = (), black: float = -0.5
) -> Found:
    """Return the unlabelled galaxies of an array; default `ids` combine file name and row."""
    names = [f"{file.name} row {row}" for row in range(count)]
    ids = list(ids) or [f"{file.stem}-{row:06d}" for row in range(count)]
    check_unique(ids, names, file)
    rows = Rows(h5py.File(file)[key])
    reads = [partial(read, rows, row, black) for row in range(count)]
    return Found(ids, names, [*reads], [stamp(file)])
