"""What lies on disk: galaxies with their labels and votes, and the way to the pixels of each.

A reader looks at names and tables only, and complains about them before a single image is decoded.
"""

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

from galaxymorph.text import listing

IMAGES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")

RGB = tuple[UInt8[ndarray, "height width 3"], str]  # a picture, and what was mended in it, or ""
File = tuple[Image.Image, str]  # the same of an image file, not decoded yet
Stamp = tuple[str, int, int]  # name, bytes and time of change of a file


@dataclass
class Found:
    """The galaxies of one source, with what is known of some of them, by id."""

    ids: list[str]
    names: list[str]  # where each lies, for messages
    read: list[Callable[[], RGB | File]]  # gives each one's picture
    stamps: list[Stamp]  # of every file that pixels come from
    classes: tuple[str, ...] = ()
    labels: dict[str, int] = field(default_factory=dict)  # index into `classes`, or -1
    votes: pd.DataFrame | None = None  # (galaxy, 37)
    volunteers: pd.Series | None = None  # how many people voted
    notes: list[str] = field(default_factory=list)  # what was left out
    problems: list[str] = field(default_factory=list)  # an error, unless they may be skipped
    colour: dict[str, Any] = field(default_factory=dict)  # options by which pixels are made


def take(found: Found, rows: Sequence[int]) -> Found:
    """Take some of the galaxies."""
    parts = {key: [getattr(found, key)[row] for row in rows] for key in ("ids", "names", "read")}
    return replace(found, **parts)


def join(found: Found, extra: Found, name: str) -> Found:
    """Add the galaxies of `extra`, called `name`, whose ids are new, as unlabelled ones."""
    ids = set(found.ids)
    new = take(extra, [row for row, id in enumerate(extra.ids) if id not in ids])
    lists = ("ids", "names", "read", "stamps")
    joined = {key: getattr(found, key) + getattr(new, key) for key in lists}
    note = f"joined: {len(new.ids):,} unlabelled galaxies of {name}; left out: "
    note += f"{len(extra.ids) - len(new.ids):,} of its galaxies, which were there already"
    return replace(found, **joined, notes=[*found.notes, *extra.notes, note])


def folder(root: Path, *, class_names: Sequence[str] | None = None) -> Found:
    """Find images of any size in one subfolder per class; `class_names`: names for the classes, in
    the order of the sorted subfolders. Raises `ValueError` for no or empty class folders, images
    outside of them and duplicate ids."""
    paths = sorted(path for path in existing(root).iterdir() if path.is_dir())
    classes = [path.name for path in paths if not path.name.startswith(".")]
    if not classes:
        raise ValueError(f"{root} has no subfolders: one per class, {root.name}/<class>/<id>.jpg")
    found = images(root)
    homes = [name.partition(os.sep)[0] for name in found.names]
    if empty := [name for name in classes if name not in homes]:
        raise ValueError(f"{root}: no images in class {listing(empty)}: fill or remove the folder")
    if set(homes) - set(classes):
        stray = [n for n, home in zip(found.names, homes, strict=True) if home not in classes]
        raise ValueError(f"{root}: images outside of the class folders: {listing(stray)}")
    labels = {id: classes.index(home) for id, home in zip(found.ids, homes, strict=True)}
    return replace(found, labels=labels, classes=_renamed(classes, class_names))


def images(root: Path) -> Found:
    """Find unlabelled images below a folder or in a zip; the id is the name without ending."""
    if existing(root).suffix.lower() == ".zip":
        archive = opened(zipfile.ZipFile, root)
        # macOS puts hidden files and a folder of its own into every zip.
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
        raise ValueError(f"{root}: no images found, no file that ends in {', '.join(IMAGES)}")
    ids = [name.rpartition(".")[0] for name, _ in files]  # ten times as fast as pathlib
    check_unique(ids, names, root)
    return Found(ids, names, [*read], stamps)


def files_below(path: Path | str, endings: tuple[str, ...]) -> Iterator[os.DirEntry[str]]:
    """Files below a folder, not hidden ones, by `os.scandir`: ten times as fast as pathlib."""
    for item in os.scandir(path):
        if item.name.startswith("."):
            continue
        if item.is_dir():
            yield from files_below(item.path, endings)
        elif item.name.lower().endswith(endings):
            yield item


def opened(kind: Callable[[Path], Any], file: Path) -> Any:
    """Open a file as this kind of archive. Raises `ValueError` where it is none."""
    try:
        return kind(file)
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} is incomplete or broken ({error}): download it again") from error


def read_image(file: str, archive: zipfile.ZipFile | None = None) -> File:
    """Open a JPEG, PNG or TIFF, in a zip if one is given; how finely to decode it is up to
    `cutouts.cutout`."""
    path = Path(file)
    try:
        content = archive.read(file) if archive else path.read_bytes()
        return Image.open(io.BytesIO(content)), ""
    except FileNotFoundError as error:
        link = path.readlink() if path.is_symlink() else None
        gone = f"a link to {link}, which does not exist" if link else "no longer there"
        raise ValueError(gone) from error
    except UnidentifiedImageError as error:
        raise ValueError("neither JPEG nor PNG nor TIFF, or broken at its beginning") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Turn an image of any of Pillow's modes into RGB: grey becomes three equal channels, 16 bits
    become 8, transparency is dropped. Raises `ValueError` for 32-bit or floating-point pixels,
    which do not say what is black and white."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16"):
        image = Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))  # 65535 / 255
    if image.mode in ("F", "I"):
        raise ValueError("32-bit or floating-point pixels have no fixed white: convert to 16 bits")
    if image.mode == "P":  # its transparency may have a form that RGB cannot take directly
        image = image.convert("RGBA")
    return image.convert("RGB")


def read_table(file: Path, kinds: Any = str) -> pd.DataFrame:
    """Read a CSV file, or the one in a zip; `kinds`: of which columns, or of all."""
    content: Path | io.BytesIO = existing(file)
    if file.suffix == ".zip":
        with opened(zipfile.ZipFile, file) as archive:
            names = [n for n in archive.namelist() if n.endswith(".csv") and "__MACOSX" not in n]
            if len(names) != 1:
                found = listing(names) or "none"
                raise ValueError(f"{file}: expected one CSV file inside, found {found}")
            content = io.BytesIO(archive.read(names[0]))
    # Only what is empty is missing: NA, None and null may be names of classes.
    options: dict[str, Any] = {"keep_default_na": False, "na_values": [""], "index_col": False}
    try:
        with warnings.catch_warnings():  # of rows with more fields than the header
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(content, dtype=kinds, skipinitialspace=True, **options)
    except (ValueError, pd.errors.ParserWarning) as error:  # ParserError and the like, or Unicode
        raise ValueError(f"{file} is no CSV file: {error}") from error


def check_columns(columns: Iterable[str], wanted: Iterable[str], file: Path) -> None:
    """Raise `ValueError` that names missing columns, and what may be a misspelt one."""
    columns, wanted = list(columns), list(wanted)
    if missing := [name for name in wanted if name not in columns]:
        near = difflib.get_close_matches(missing[0], set(columns) - set(wanted), n=1)
        hint = f"; is {near[0]!r} a misspelt {missing[0]!r}?" if near else "."
        raise ValueError(f"{file}: no column {listing(missing)}{hint} It has: {listing(columns)}")


def indexed(
    table: pd.DataFrame, names: Sequence[str], columns: Sequence[str], file: Path
) -> pd.DataFrame:
    """Check that a table has these columns, and make its ids the index: the first column of
    `names` that it has. Raises `ValueError` also where an id is empty or stands twice."""
    ids = next((name for name in names if name in table.columns), names[-1])
    check_columns(table.columns, [ids, *columns], file)
    table = table.set_index(ids)
    twice = table.index[table.index.duplicated()].unique()
    if len(twice) or table.index.hasnans:
        what = f"twice: {ids} {listing(twice)}" if len(twice) else f"rows without {ids}"
        raise ValueError(f"{file}: {what}. Keep one row for each galaxy")
    return table


def matched(found: Found, table: pd.DataFrame, file: Path, what_then: str) -> Found:
    """Note images without row and rows without image, and what then becomes of them, as problems.
    Raises `ValueError` where no image has a row."""
    rows, galaxies = set(table.index), set(found.ids)
    alone = {
        f"images without a row in {file.name}": [id for id in found.ids if id not in rows],
        f"rows of {file.name} without an image": [id for id in table.index if id not in galaxies],
    }
    problems = [f"{len(ids):,} {what}: {listing(ids)}" for what, ids in alone.items() if ids]
    if problems and not rows & galaxies:
        raise ValueError(f"{'; '.join(problems)}. No id is in both: give the table of these images")
    notes = [*found.notes, *(f"{what_then}: {each}" for each in problems)]
    return replace(found, notes=notes, problems=problems)


def label(found: Found, file: Path | None, class_names: Sequence[str] | None) -> Found:
    """Add labels from a CSV file: `id,label` (no label: unlabelled), or one column in the order of
    the galaxies.

    Classes are the different labels, sorted. Images without a row are unlabelled, and a problem."""
    if file is None:
        return found
    table = read_table(file)
    if len(table.columns) == 1:
        if len(table) != len(found.ids):
            what = f"{len(table):,} rows for {len(found.ids):,} galaxies"
            raise ValueError(f"{file}: {what}; give one for each, in order, or columns id,label")
        table = pd.DataFrame({"id": found.ids, "label": table.iloc[:, 0].to_numpy()})
    table = indexed(table, ("GalaxyID", "id"), ["label"], file)
    found = matched(found, table, file, "left out or taken as unlabelled")
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
    """`names` in place of the classes found, in the same order."""
    names = classes if names is None else names
    if not len(names) == len(set(names)) == len(classes):
        wanted = f"{len(classes)} different names, for {listing(classes)}"
        raise ValueError(f"class_names has {listing(names)}, but must have {wanted}")
    return tuple(names)


def listed(file: Path) -> dict[str, Path]:
    """Return the files that a CSV file lists in its column `file` or `path`, relative to its own
    folder, by id: of the column `id` or `GalaxyID`, or else the file's name without its ending.
    Raises `ValueError` for no such column, no rows, rows without a file and duplicate ids."""
    table = read_table(file)
    paths = "path" if "path" in table.columns else "file"
    check_columns(table.columns, [paths], file)
    if not len(table) or table[paths].hasnans:
        what = f"rows without {paths}" if len(table) else "no rows"
        raise ValueError(f"{file}: {what}. Give a file in each row")
    files = [file.parent / Path(name).expanduser() for name in table[paths]]
    if not {"id", "GalaxyID"} & set(table.columns):
        table["id"] = [without_ending(each.name) for each in files]
    return dict(zip(indexed(table, ("id", "GalaxyID"), [], file).index, files, strict=True))


def without_ending(name: str) -> str:
    """The id of the galaxy in a file of this name: `a.b` for `a.b.jpg` and for `a.b.fits.gz`."""
    return re.sub(r"\.(fits?(\.\w+)?|\w+)$", "", name, flags=re.IGNORECASE)


def existing(path: Path) -> Path:
    """Return the path itself. Raises `FileNotFoundError` that says which part of it is missing."""
    if not path.exists():
        parent = next(p for p in path.parents if p.exists())
        raise FileNotFoundError(f"{path} does not exist; the last part of it that does is {parent}")
    return path


def stamp(file: Path | os.DirEntry[str]) -> Stamp:
    """Name, bytes and time of change; zeros for a link to nothing, a broken image when read."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        return file.name, 0, 0
    return file.name, stat.st_size, stat.st_mtime_ns


def check_unique(ids: Sequence[str], names: Sequence[str], root: Path | str) -> None:
    """Raise `ValueError` that names the places where an id stands twice."""
    if twice := {id for id, count in Counter(ids).items() if count > 1}:
        where = listing(name for id, name in zip(ids, names, strict=True) if id in twice)
        several = f"{len(twice)} ids stand for more than one galaxy: {where}"
        raise ValueError(f"{root}: {several}. Remove or rename all but one")
