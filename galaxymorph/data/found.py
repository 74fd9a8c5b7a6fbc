"""What a source finds on disk: galaxies with functions that read their pixels."""

import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from galaxymorph.data.pictures import RGB, File
from galaxymorph.text import listing

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


def files_below(
    path: Path | str, endings: tuple[str, ...], above: tuple[str, ...] = ()
) -> Iterator[os.DirEntry[str]]:
    """Yield files below a folder, except hidden ones; `os.scandir` is faster than pathlib.

    Links to a folder `above` or to themselves are left out, with a warning."""
    above = (*above, os.path.realpath(path))
    for item in os.scandir(path):
        if item.name.startswith("."):
            continue
        if item.is_symlink() and os.path.realpath(item.path) in (*above, item.path):
            warnings.warn(f"{item.path}: left out, a link in a circle", stacklevel=2)
        elif item.is_dir():
            yield from files_below(item.path, endings, above)
        elif item.name.lower().endswith(endings):
            yield item


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
