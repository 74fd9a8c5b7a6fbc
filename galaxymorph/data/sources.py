"""Find galaxies on disk, with their labels and votes, and functions that read their pixels.

Only names and tables are read at first, so their errors are reported before images are decoded."""

import difflib
import io
import os
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image, UnidentifiedImageError

from galaxymorph.project import existing
from galaxymorph.text import listing

IMAGES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")

RGB = tuple[UInt8[ndarray, "height width 3"], str]  # pixels, and what was repaired, or ""
File = tuple[Image.Image, str]  # the same for an image file not yet decoded
Stamp = tuple[str, int, int]  # name, size in bytes and modification time of a file


@dataclass
class Found:
    """Galaxies found in one source; labels, votes and volunteers may be known only for some."""

    ids: list[str]
    names: list[str]  # location of each, for messages
    read: list[Callable[[], RGB | File]]  # return each picture
    stamps: list[Stamp]  # of all files with pixels
    classes: tuple[str, ...] = ()
    labels: dict[str, int] = field(default_factory=dict)  # index into `classes`, or -1
    votes: pd.DataFrame | None = None  # (galaxy, 37)
    volunteers: pd.Series | None = None  # number of voters
    notes: list[str] = field(default_factory=list)  # what was left out
    problems: list[str] = field(default_factory=list)  # errors, unless they may be skipped
    colour: dict[str, Any] = field(default_factory=dict)  # options of the colour picture


def take(found: Found, rows: Sequence[int]) -> Found:
    """Select galaxies by row."""
    parts = {key: [getattr(found, key)[row] for row in rows] for key in ("ids", "names", "read")}
    return replace(found, **parts)


def join(found: Found, extra: Found, name: str) -> Found:
    """Add galaxies with new ids from `extra` (called `name` in the notes) as unlabelled ones."""
    ids = set(found.ids)
    new = take(extra, [row for row, id in enumerate(extra.ids) if id not in ids])
    lists = ("ids", "names", "read", "stamps")
    joined = {key: getattr(found, key) + getattr(new, key) for key in lists}
    note = f"joined: {len(new.ids):,} unlabelled galaxies of {name}; left out: "
    note += f"{len(extra.ids) - len(new.ids):,} of its galaxies, already present"
    return replace(found, **joined, notes=[*found.notes, *extra.notes, note])


def folder(root: Path, *, class_names: Sequence[str] | None = None) -> Found:
    """Find images of any size in one subfolder per class.

    `class_names` renames the sorted subfolders. Raises `ValueError` for missing or empty class
    folders, images outside them and duplicate ids."""
    paths = sorted(path for path in existing(root).iterdir() if path.is_dir())
    classes = [path.name for path in paths if not path.name.startswith(".")]
    if not classes:
        raise ValueError(f"{root} has no class folders; expected {root.name}/<class>/<id>.jpg")
    found = images(root)
    homes = [name.partition(os.sep)[0] for name in found.names]
    if empty := [name for name in classes if name not in homes]:
        raise ValueError(f"{root}: no images in class {listing(empty)}: fill or remove the folder")
    if set(homes) - set(classes):
        stray = [n for n, home in zip(found.names, homes, strict=True) if home not in classes]
        raise ValueError(f"{root}: images outside the class folders: {listing(stray)}")
    labels = {id: classes.index(home) for id, home in zip(found.ids, homes, strict=True)}
    return replace(found, labels=labels, classes=_renamed(classes, class_names))


def images(root: Path) -> Found:
    """Find unlabelled images below a folder or in a zip; ids are file names without extension."""
    if existing(root).suffix.lower() == ".zip":
        archive = opened(zipfile.ZipFile, root)
        # macOS adds hidden files and a folder __MACOSX to zips.
        members = [member for member in archive.namelist() if "__MACOSX" not in member]
        files = sorted((member.rpartition("/")[2], member) for member in members)
        files = [each for each in files if each[0].lower().endswith(IMAGES) and each[0][0] != "."]
        names = [f"{root.name}/{member}" for _, member in files]
        read = [partial(read_image, member, archive) for _, member in files]
        stamps = [stamp(root)]
    else:
        below = sorted(files_below(root, IMAGES), key=lambda file: file.name)
        files = [(file.name, file.path) for file in below]
        names = [path[len(str(root)) + 1 :] for _, path in files]
        read = [partial(read_image, path) for _, path in files]
        stamps = [(name, *stamp(file)[1:]) for name, file in zip(names, below, strict=True)]
    if not files:
        raise ValueError(f"{root}: no images found; expected {', '.join(IMAGES)}")
    ids = [name.rpartition(".")[0] for name, _ in files]  # ten times as fast as pathlib
    check_unique(ids, names, root)
    return Found(ids, names, [*read], stamps)


def files_below(path: Path | str, endings: tuple[str, ...]) -> Iterator[os.DirEntry[str]]:
    """Yield files below a folder, except hidden ones; `os.scandir` is faster than pathlib."""
    for item in os.scandir(path):
        if item.name.startswith("."):
            continue
        if item.is_dir():
            yield from files_below(item.path, endings)
        elif item.name.lower().endswith(endings):
            yield item


def opened(kind: Callable[[Path], Any], file: Path) -> Any:
    """Open a file as this kind of archive. Raises `ValueError` if it is not valid."""
    try:
        return kind(file)
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} is incomplete or broken ({error}): download it again") from error


def read_image(file: str, archive: zipfile.ZipFile | None = None) -> File:
    """Open a JPEG, PNG or TIFF file, optionally inside a zip; `cutouts.cutout` decodes it."""
    path = Path(file)
    try:
        content = archive.read(file) if archive else path.read_bytes()
        return Image.open(io.BytesIO(content)), ""
    except FileNotFoundError as error:
        link = path.readlink() if path.is_symlink() else None
        gone = f"a link to {link}, which does not exist" if link else "no longer there"
        raise ValueError(gone) from error
    except UnidentifiedImageError as error:
        raise ValueError("not a valid JPEG, PNG or TIFF file") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any Pillow mode to RGB.

    Grey is copied to three channels, 16 bits become 8, transparency is dropped. Raises `ValueError`
    for 32-bit or floating-point pixels, which do not define black and white."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16"):
        image = Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))  # 65535 / 255
    if image.mode in ("F", "I"):
        raise ValueError("32-bit or floating-point pixels do not define white: convert to 16 bits")
    if image.mode == "P":  # some kinds of transparency cannot be converted directly
        image = image.convert("RGBA")
    return image.convert("RGB")


def read_table(file: Path, kinds: Any = str) -> pd.DataFrame:
    """Read a CSV file, or the one in a zip; `kinds`: type of all columns, or types by column."""
    content: Path | io.BytesIO = existing(file)
    if file.suffix == ".zip":
        with opened(zipfile.ZipFile, file) as archive:
            names = [n for n in archive.namelist() if n.endswith(".csv") and "__MACOSX" not in n]
            if len(names) != 1:
                found = listing(names) or "none"
                raise ValueError(f"{file}: expected one CSV file inside, found {found}")
            content = io.BytesIO(archive.read(names[0]))
    # Only empty fields are missing values: NA, None and null may be class names.
    options: dict[str, Any] = {"keep_default_na": False, "na_values": [""], "index_col": False}
    try:
        with warnings.catch_warnings():  # for rows with more fields than the header
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(content, dtype=kinds, skipinitialspace=True, **options)
    except (ValueError, pd.errors.ParserWarning) as error:  # also ParserError, Unicode
        raise ValueError(f"{file} is not a valid CSV file: {error}") from error


def check_columns(columns: Iterable[str], wanted: Iterable[str], file: Path) -> None:
    """Raise `ValueError` for missing columns, naming a possible misspelling."""
    columns, wanted = list(columns), list(wanted)
    if missing := [name for name in wanted if name not in columns]:
        near = difflib.get_close_matches(missing[0], set(columns) - set(wanted), n=1)
        hint = f"; is {near[0]!r} a misspelt {missing[0]!r}?" if near else "."
        raise ValueError(f"{file}: no column {listing(missing)}{hint} It has: {listing(columns)}")


def indexed(
    table: pd.DataFrame, names: Sequence[str], columns: Sequence[str], file: Path
) -> pd.DataFrame:
    """Check the columns and ids of a table; index it by the first column in `names` that it has.
    Raises `ValueError` for missing columns, and empty or duplicate ids."""
    ids = next((name for name in names if name in table.columns), names[-1])
    check_columns(table.columns, [ids, *columns], file)
    table = table.set_index(ids)
    twice = table.index[table.index.duplicated()].unique()
    if len(twice) or table.index.hasnans:
        what = f"duplicate {ids} {listing(twice)}" if len(twice) else f"rows without {ids}"
        raise ValueError(f"{file}: {what}. Keep one row per galaxy")
    return table


def matched(found: Found, table: pd.DataFrame, file: Path, what_then: str) -> Found:
    """Record images without a row and rows without an image as problems.
    The notes say `what_then` happens to them. Raises `ValueError` if no image has a row."""
    rows, galaxies = set(table.index), set(found.ids)
    unmatched = {
        f"images without a row in {file.name}": [id for id in found.ids if id not in rows],
        f"rows of {file.name} without an image": [id for id in table.index if id not in galaxies],
    }
    problems = [f"{len(ids):,} {what}: {listing(ids)}" for what, ids in unmatched.items() if ids]
    if problems and not rows & galaxies:
        raise ValueError(f"{'; '.join(problems)}. No ids match: give the table of these images")
    notes = [*found.notes, *(f"{what_then}: {each}" for each in problems)]
    return replace(found, notes=notes, problems=problems)


def label(found: Found, file: Path | None, class_names: Sequence[str] | None) -> Found:
    """Add labels from a CSV file: `id,label`, or one column in the order of the galaxies.

    Classes are the distinct labels, sorted. Rows without a label are unlabelled; so are images
    without a row, which count as a problem."""
    if file is None:
        return found
    table = read_table(file)
    if len(table.columns) == 1:
        if len(table) != len(found.ids):
            what = f"{len(table):,} rows for {len(found.ids):,} galaxies"
            raise ValueError(f"{file}: {what}; give one each, in order, or columns id,label")
        table = pd.DataFrame({"id": found.ids, "label": table.iloc[:, 0].to_numpy()})
    table = indexed(table, ("GalaxyID", "id"), ["label"], file)
    found = matched(found, table, file, "left out or treated as unlabelled")
    labels = table["label"].reindex(found.ids).dropna()
    classes = sorted(
        labels.unique(), key=lambda name: (int(name), "") if name.isdecimal() else (0, name)
    )
    return replace(
        found,
        labels={id: classes.index(name) for id, name in labels.items()},
        classes=_renamed(classes, class_names),
    )


def _renamed(classes: Sequence[str], names: Sequence[str] | None) -> tuple[str, ...]:
    """Return `names` in place of the classes found, in the same order."""
    names = classes if names is None else names
    if not len(names) == len(set(names)) == len(classes):
        wanted = f"{len(classes)} different names, for {listing(classes)}"
        raise ValueError(f"class_names has {listing(names)}, but must have {wanted}")
    return tuple(names)


def listed(file: Path) -> dict[str, Path]:
    """Return the files that a CSV file lists in a column `file` or `path`, by id.

    Paths are relative to its folder. Ids come from a column `id` or `GalaxyID`, or else from the
    file names. Raises `ValueError` for missing columns, rows or file names, and duplicate ids."""
    table = read_table(file)
    paths = "path" if "path" in table.columns else "file"
    check_columns(table.columns, [paths], file)
    if not len(table) or table[paths].hasnans:
        what = f"rows without {paths}" if len(table) else "no rows"
        raise ValueError(f"{file}: {what}. Name a file in each row")
    files = [file.parent / Path(name).expanduser() for name in table[paths]]
    if not {"id", "GalaxyID"} & set(table.columns):
        table["id"] = [without_ending(each.name) for each in files]
    return dict(zip(indexed(table, ("id", "GalaxyID"), [], file).index, files, strict=True))


def without_ending(name: str) -> str:
    """Return the id for a file name: `a.b` for `a.b.jpg` and for `a.b.fits.gz`."""
    return re.sub(r"\.(fits?(\.\w+)?|\w+)$", "", name, flags=re.IGNORECASE)


def stamp(file: Path | os.DirEntry[str]) -> Stamp:
    """Return name, size and modification time; zeros for a dangling link, an error when read."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        return file.name, 0, 0
    return file.name, stat.st_size, stat.st_mtime_ns


def check_unique(ids: Sequence[str], names: Sequence[str], root: Path | str) -> None:
    """Raise `ValueError` that lists the locations of duplicate ids."""
    if twice := {id for id, count in Counter(ids).items() if count > 1}:
        where = listing(name for id, name in zip(ids, names, strict=True) if id in twice)
        several = f"duplicate id {listing(map(repr, sorted(twice)), 3)} ({where})"
        raise ValueError(f"{root}: {several}. Remove or rename all but one")
