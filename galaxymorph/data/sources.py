"""What lies on disk: galaxies with their labels and votes, and the way to the pixels of each.

A reader looks at names and tables only, and complains about them before a single image is decoded.
"""

from __future__ import annotations

import difflib
import io
import os
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image, UnidentifiedImageError

from galaxymorph.text import listing

IMAGES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")

OnBad = Literal["raise", "skip"]
RGB = tuple[
    UInt8[ndarray, "height width 3"], str
]  # a picture, and what had to be mended in it, or ""
File = tuple[Image.Image, str]  # the same of an image file, not decoded yet


@dataclass
class Found:
    """The galaxies of one source."""

    ids: list[str]
    names: list[str]  # where each lies, for messages
    read: list[Callable[[], RGB | File]]  # gives each one's picture
    labels: list[int]  # index into `classes`, -1 where unlabelled
    stamps: list[
        tuple[str, int, int]
    ]  # name, bytes and time of change of every file that pixels come from
    classes: tuple[str, ...] = ()
    votes: Float[ndarray, "galaxy 37"] | None = None
    volunteers: Float[ndarray, " galaxy"] | None = None  # how many people voted, NaN where unknown
    notes: list[str] = field(default_factory=list)  # what was left out


def take(found: Found, rows: Sequence[int]) -> Found:
    """Some of the galaxies."""
    return replace(
        found,
        ids=[found.ids[row] for row in rows],
        names=[found.names[row] for row in rows],
        read=[found.read[row] for row in rows],
        labels=[found.labels[row] for row in rows],
        votes=None if found.votes is None else found.votes[list(rows)],
        volunteers=None if found.volunteers is None else found.volunteers[list(rows)],
    )


def join(found: Found, extra: Found, name: str) -> Found:
    """The galaxies of `found`, and those of `extra`, called `name`, whose ids it does not have, as
    unlabelled ones."""
    known = set(found.ids)
    new = take(extra, [row for row, id in enumerate(extra.ids) if id not in known])
    votes, volunteers = found.votes, found.volunteers
    if votes is not None:
        votes = np.vstack([votes, np.full((len(new.ids), 37), np.nan, votes.dtype)])
    if volunteers is not None:
        volunteers = np.concatenate([volunteers, np.full(len(new.ids), np.nan)])
    note = (
        f"joined: {len(new.ids):,} unlabelled galaxies of {name}; left out: {len(extra.ids) - len(new.ids):,} of its galaxies, "
        "which were there already"
    )
    return Found(
        ids=found.ids + new.ids,
        names=found.names + new.names,
        read=found.read + new.read,
        labels=found.labels + [-1] * len(new.ids),
        stamps=found.stamps + extra.stamps,
        classes=found.classes,
        votes=votes,
        volunteers=volunteers,
        notes=[*found.notes, *extra.notes, note],
    )


# --- images in folders and zips -------------------------------------------------------------------


def folder(root: Path, *, class_names: Sequence[str] | None) -> Found:
    """One subfolder per class, with images of any size; the id is the file's name without its
    ending.

    Raises:
        FileNotFoundError, ValueError: no such folder, no or empty class folders, one id in two
        places.
    """
    classes = sorted(
        path.name
        for path in existing(root).iterdir()
        if path.is_dir() and not path.name.startswith(".")
    )
    if not classes:
        raise ValueError(
            f"{root} has no subfolders: the source 'folder' wants one per class, {root.name}/<class>/<id>.jpg"
        )
    found = images(root)
    homes = [name.partition(os.sep)[0] for name in found.names]
    if empty := [name for name in classes if name not in homes]:
        raise ValueError(
            f"{root}: no images ({', '.join(IMAGES)}) in class {listing(empty)}: fill the folder or remove it"
        )
    if stray := [
        name for name, home in zip(found.names, homes, strict=True) if home not in classes
    ]:
        raise ValueError(
            f"{root}: images outside of the class folders: {listing(stray)}. Move them into a class, or away"
        )
    found.labels = [classes.index(home) for home in homes]
    found.classes = _renamed(tuple(classes), class_names)
    return found


def images(root: Path) -> Found:
    """Unlabelled images anywhere below a folder, or in a zip; the id is the file's name without its
    ending."""
    if existing(root).suffix.lower() == ".zip":
        found = _zipped(root)
    else:
        files = sorted(files_below(root, IMAGES), key=lambda file: file.name)
        names = [file.path[len(str(root)) + 1 :] for file in files]
        found = Found(
            ids=[_stem(file.name) for file in files],
            names=names,
            read=[partial(read_image, file.path) for file in files],
            labels=[-1] * len(files),
            stamps=[(name, *_size_and_time(file)) for name, file in zip(names, files, strict=True)],
        )
    if not found.ids:
        raise ValueError(
            f"{root}: no images found, that is no file that ends in {', '.join(IMAGES)}"
        )
    check_unique(found.ids, found.names, root)
    return found


def files_below(path: Path | str, endings: tuple[str, ...]) -> Iterator[os.DirEntry[str]]:
    """Files below a folder, not hidden ones; `os.scandir` because it is ten times as fast as
    pathlib for 60,000 files."""
    for item in os.scandir(path):
        if item.name.startswith("."):
            continue
        if item.is_dir():
            yield from files_below(item.path, endings)
        elif item.name.lower().endswith(endings):
            yield item


def _zipped(file: Path) -> Found:
    archive = _open_zip(file)
    # macOS puts hidden files and a folder of its own into every zip.
    members = [
        name
        for name in archive.namelist()
        if name.lower().endswith(IMAGES) and "__MACOSX" not in name
    ]
    files = sorted((name.rpartition("/")[2], name) for name in members)
    files = [(name, member) for name, member in files if not name.startswith(".")]
    return Found(
        ids=[_stem(name) for name, _ in files],
        names=[f"{file.name}/{member}" for _, member in files],
        read=[partial(read_zipped, archive, member) for _, member in files],
        labels=[-1] * len(files),
        stamps=[stamp(file)],
    )


def _stem(name: str) -> str:
    return name.rpartition(".")[0]  # ten times as fast as pathlib, which counts for 60,000 galaxies


def _open_zip(file: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{file} is no complete zip ({error}): download it again") from error


def read_image(file: str) -> File:
    """A JPEG, PNG or TIFF; how finely to decode it is up to `cutouts.cutout`."""
    try:
        return _opened(Path(file).read_bytes()), ""
    except FileNotFoundError as error:
        target = (
            f"a link to {Path(file).readlink()}, which does not exist"
            if Path(file).is_symlink()
            else "no longer there"
        )
        raise ValueError(target) from error


def read_zipped(archive: zipfile.ZipFile, member: str) -> File:
    """A JPEG, PNG or TIFF inside a zip."""
    return _opened(archive.read(member)), ""


def _opened(content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content))
    except UnidentifiedImageError as error:
        raise ValueError(
            "neither JPEG nor PNG nor TIFF, or broken at its very beginning"
        ) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any of Pillow's modes as RGB: grey becomes three equal channels, 16 bits become
    8, transparency is dropped.

    Raises:
        ValueError: the pixels are 32-bit or floating-point numbers, which do not say what is black
        and what white.
    """
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16"):
        image = Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))  # 65535 / 255
    if image.mode in ("F", "I"):
        raise ValueError(
            "pixels are 32-bit or floating-point numbers without a fixed white: convert to 16 bits, or to FITS"
        )
    if image.mode == "P":
        image = image.convert(
            "RGBA"
        )  # a palette may hold transparency in a form that RGB cannot take directly
    return image.convert("RGB")


# --- Galaxy Zoo -----------------------------------------------------------------------------------


def _unmatched(found: Found, table: pd.DataFrame, file: Path, on_bad: OnBad) -> list[str]:
    """What is to be said about images without a row in the table, and about rows without an image;
    an error unless `skip`."""
    rows, galaxies = set(table.index), set(found.ids)
    alone = {
        f"images without a row in {file.name}": [id for id in found.ids if id not in rows],
        f"rows of {file.name} without an image": [id for id in table.index if id not in galaxies],
    }
    problems = [f"{len(ids):,} {what}: {listing(ids)}" for what, ids in alone.items() if ids]
    if problems and (on_bad == "raise" or not rows & galaxies):
        raise ValueError(
            f"{'; '.join(problems)}. Complete the data, or go on without these by on_bad: skip"
        )
    return problems


# --- tables of labels -----------------------------------------------------------------------------


def _read_csv(file: Path, kinds: type[str] | dict[Hashable, type[str]]) -> pd.DataFrame:
    """A CSV file, or the one CSV file in a zip; `kinds`: all columns, or which, are to be taken as
    they are written."""
    content: Path | io.BytesIO = existing(file)
    if file.suffix == ".zip":
        with _open_zip(file) as archive:
            members = [m for m in archive.namelist() if m.endswith(".csv") and "__MACOSX" not in m]
            if len(members) != 1:
                raise ValueError(
                    f"{file}: expected one CSV file inside, found {listing(members) or 'none'}"
                )
            content = io.BytesIO(archive.read(members[0]))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error", pd.errors.ParserWarning
            )  # rows with more fields than the header
            # Only what is empty is missing: NA, None and null may be names of classes.
            missing: dict[str, Any] = {"keep_default_na": False, "na_values": [""]}
            return pd.read_csv(
                content, dtype=kinds, skipinitialspace=True, index_col=False, **missing
            )
    except (
        pd.errors.ParserError,
        pd.errors.ParserWarning,
        pd.errors.EmptyDataError,
        UnicodeDecodeError,
    ) as error:
        raise ValueError(f"{file} is no CSV file: {error}") from error


def _check_columns(table: pd.DataFrame, wanted: Sequence[str], file: Path) -> None:
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        near = difflib.get_close_matches(
            missing[0], [name for name in table.columns if name not in wanted], n=1
        )
        hint = f"; is {near[0]!r} a misspelt {missing[0]!r}?" if near else ""
        raise ValueError(
            f"{file}: no column {listing(missing)}{hint} It has: {listing(table.columns)}"
        )


def _indexed(table: pd.DataFrame, column: str, file: Path) -> pd.DataFrame:
    table = table.set_index(column)
    twice = table.index[table.index.duplicated()].unique()
    if len(twice) or table.index.hasnans:
        what = f"twice: {column} {listing(twice)}" if len(twice) else f"rows without {column}"
        raise ValueError(f"{file}: {what}. Keep one row for each galaxy")
    return table


def listed(file: Path) -> dict[str, Path]:
    """The files that a CSV file lists in its column `file` or `path`, relative to its own folder,
    by id: of the column `id` or `GalaxyID`, or else the file's name without its ending.

    Raises:
        FileNotFoundError, ValueError: no such file or column, no rows, a row without a file, an id
        twice.
    """
    table = _read_csv(file, str)
    paths = "path" if "path" in table.columns else "file"
    _check_columns(table, [paths], file)
    if not len(table) or table[paths].hasnans:
        raise ValueError(
            f"{file}: {'no rows' if not len(table) else f'rows without {paths}'}. Give a file in each row"
        )
    files = [file.parent / Path(name).expanduser() for name in table[paths]]
    given = next((name for name in ("id", "GalaxyID") if name in table.columns), None)
    table["id"] = [without_ending(each.name) for each in files] if given is None else table[given]
    return dict(zip(_indexed(table, "id", file).index, files, strict=True))


def without_ending(name: str) -> str:
    """The id of the galaxy in a file of this name: `a.b` for `a.b.jpg` and for `a.b.fits.gz`."""
    return re.sub(r"\.(fits?(\.\w+)?|\w+)$", "", name, flags=re.IGNORECASE)


def label(
    found: Found, file: Path | None, class_names: Sequence[str] | None, on_bad: OnBad
) -> Found:
    """Add labels from a CSV file: `id,label` (no label: unlabelled), or one column in the order of
    the galaxies.

    Classes are the different labels, sorted. With `on_bad`: skip, images without a row are taken as
    unlabelled."""
    if file is None:
        return found
    table = _read_csv(file, str)
    if len(table.columns) == 1:
        if len(table) != len(found.ids):
            raise ValueError(
                f"{file}: {len(table):,} rows for {len(found.ids):,} galaxies. A file of one column must have one row (after "
                "its header) for each galaxy, in the same order; else give two columns, id,label"
            )
        table = pd.DataFrame({"id": found.ids, "label": table.iloc[:, 0].to_numpy()})
    ids = "GalaxyID" if "GalaxyID" in table.columns else "id"
    _check_columns(table, [ids, "label"], file)
    table = _indexed(table, ids, file)
    problems = _unmatched(found, table, file, on_bad)
    labels = table["label"].reindex(found.ids)
    classes = sorted(
        labels.dropna().unique(),
        key=lambda label: (int(label), "") if label.isdecimal() else (0, label),
    )
    codes = {name: code for code, name in enumerate(classes)}
    return replace(
        found,
        labels=[codes.get(label, -1) for label in labels],
        classes=_renamed(tuple(classes), class_names),
        notes=[
            *found.notes,
            *(f"left out or taken as unlabelled: {problem}" for problem in problems),
        ],
    )


def _renamed(classes: tuple[str, ...], names: Sequence[str] | None) -> tuple[str, ...]:
    """`names` in place of the classes found, in the same order."""
    if names is None:
        return classes
    if len(names) != len(classes) or len(set(names)) != len(names):
        raise ValueError(
            f"class_names has {listing(names)}, but must have {len(classes)} different names, for {listing(classes)}"
        )
    return tuple(names)


# --- checks ---------------------------------------------------------------------------------------


def existing(path: Path) -> Path:
    """The path itself. Raises `FileNotFoundError` that says which part of it is missing."""
    if not path.exists():
        parent = next(p for p in path.parents if p.exists())
        raise FileNotFoundError(f"{path} does not exist; the last part of it that does is {parent}")
    return path


def stamp(file: Path) -> tuple[str, int, int]:
    return file.name, *_size_and_time(file)


def _size_and_time(file: Path | os.DirEntry[str]) -> tuple[int, int]:
    """Bytes and time of change; zeros for a link to nothing, so that it is found as a broken image
    when it is read."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def check_unique(ids: Sequence[str], names: Sequence[str], root: Path | str) -> None:
    """Raises `ValueError` that names the places where an id stands twice."""
    twice = {id for id, count in Counter(ids).items() if count > 1}
    if twice:
        where = listing(name for id, name in zip(ids, names, strict=True) if id in twice)
        raise ValueError(
            f"{root}: {len(twice)} ids stand for more than one galaxy: {where}. Remove or rename all but one"
        )
