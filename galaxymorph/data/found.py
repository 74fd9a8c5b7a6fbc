"""What a source finds on disk: galaxies with functions that read their pixels."""

import contextlib
import gc
import hashlib
import os
import re
import unicodedata
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from galaxymorph.data.pictures import RGB, File
from galaxymorph.text import listing, unknown

# name, size in bytes, modification time and a hash of a sample of the bytes of a file
Stamp = tuple[str, int, int, str]
Split = Literal["train", "val", "test", "unlabelled"]
SPLITS: tuple[str, ...] = get_args(Split)
SPELLINGS = {name: name for name in SPLITS}
SPELLINGS |= {"training": "train", "valid": "val", "validation": "val", "dev": "val"}
SPELLINGS |= {"testing": "test", "unlabeled": "unlabelled"}
ENDING = re.compile(r"\.(fits?(\.\w+)?|\w+)$", re.IGNORECASE)
SMALL, PIECE = 2**16, 2**12  # bytes: files that are hashed whole, and the pieces of larger ones


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
    split: dict[str, str] = field(default_factory=dict)  # where the data come with a split
    notes: list[str] = field(default_factory=list)  # what was left out
    problems: list[str] = field(default_factory=list)  # errors, unless they may be skipped
    colour: dict[str, Any] = field(default_factory=dict)  # options of the colour picture
    propose: Callable[[dict[str, Any]], dict[str, Any]] | None = None  # chooses them from the data


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


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Suspend Python's search for circular garbage, which takes a third of the time of making many
    small objects that hold no circles."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def split_named(text: str) -> str | None:
    """Return the split that a name means, such as `Test_set`; None if it is not one."""
    plain = re.sub(r"[\W_\d]+", "", text.lower())
    return SPELLINGS.get(re.sub(r"(set|data|images?|split|part|galaxies)+$", "", plain))


def split_of(given: Mapping[str, str], where: str) -> dict[str, str]:
    """Return the split of each galaxy for any usual spelling of its name.
    Raises `ValueError` that names a galaxy if a split is unknown or missing."""
    split = {id: split_named(name) for id, name in given.items()}
    for id, name in given.items():
        if split[id] is None:
            wrong = unknown("split", name, SPLITS)
            raise ValueError(f"{where}: {wrong} (galaxy {id}). Correct it, or rename the column")
    return {id: name for id, name in split.items() if name is not None}


def files_below(
    path: Path | str, endings: tuple[str, ...], above: tuple[str, ...] = ()
) -> Iterator[os.DirEntry[str]]:
    """Yield files below a folder, except hidden ones; `os.scandir` is faster than pathlib.

    Links to a folder `above` or to themselves are left out, with a warning."""
    above = (*above, os.path.realpath(path))
    with os.scandir(path) as items:
        for item in items:
            if item.name.startswith(".") or item.name == "__MACOSX":
                continue
            if item.is_symlink() and os.path.realpath(item.path) in (*above, item.path):
                warnings.warn(f"{item.path}: left out, a link in a circle", stacklevel=2)
            elif item.is_dir():
                yield from files_below(item.path, endings, above)
            elif item.name.lower().endswith(endings):
                yield item


def without_ending(name: str) -> str:
    """Return the id for a file name: `a.b` for `a.b.jpg` and for `a.b.fits.gz`.

    Folders are left out, also those that an old Windows program put before a backslash in a name;
    accents are composed (NFC), as systems spell the same name in two ways."""
    name = name.replace("\\", "/").rpartition("/")[2]
    return unicodedata.normalize("NFC", ENDING.sub("", name))


def stamp(file: Path | os.DirEntry[str]) -> Stamp:
    """Return the name, size, time and hash of a file; zeros if it cannot be read, as for a
    dangling link: that is an error when it is decoded.

    The hash is of all bytes up to 64 kB. Of a larger file it is of 4 kB at the beginning, in the
    middle and at the end, and at one more place per MB (at most 1,024); of a zip, also of the
    checksums of all members. What it cannot see is a change elsewhere that leaves size and time
    as they were."""
    try:
        stat = file.stat()
        return file.name, stat.st_size, stat.st_mtime_ns, _sample(file, stat.st_size)
    except OSError:
        return file.name, 0, 0, ""


def _sample(file: Path | os.DirEntry[str], size: int) -> str:
    number = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for its writer
    try:
        if size <= SMALL:
            return f"{zlib.crc32(os.read(number, size)):08x}"
        last = min(2 + size // 2**20, 1025)
        starts = ((size - PIECE) * place // last for place in range(last + 1))
        digest = hashlib.sha1(b"".join([os.pread(number, PIECE, start) for start in starts]))
    finally:
        os.close(number)
    if file.name.lower().endswith(".zip"):
        with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(file) as archive:
            digest.update(repr([member.CRC for member in archive.infolist()]).encode())
    return digest.hexdigest()


def check_unique(ids: Sequence[str], names: Sequence[str], root: Path | str) -> None:
    """Raise `ValueError` that lists the locations of duplicate ids."""
    if twice := {id for id, count in Counter(ids).items() if count > 1}:
        where = listing(name for id, name in zip(ids, names, strict=True) if id in twice)
        several = f"duplicate id {listing(map(repr, sorted(twice)), 3)} ({where})"
        todo = "remove all but one, or rename them, for example with the folder's name in front"
        raise ValueError(f"{root}: {several}. An id is a file name without its folder: {todo}")
