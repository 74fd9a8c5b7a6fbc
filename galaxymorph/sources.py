"""What lies on disk: galaxies with their names, labels, votes, and the way to the pixels of each.

A reader looks at names and tables only, and complains about them before a single image is decoded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image

IMAGES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")


@dataclass
class Found:
    """Galaxies of one source, ordered by id."""

    ids: list[str]
    names: list[str]  # where each lies, for messages
    pixels: list[Callable[[], ndarray]]  # reads each: uint8 (height, width, 3)
    labels: list[int]  # index into `classes`, -1 where unlabelled
    classes: tuple[str, ...] = ()
    votes: Float[ndarray, "galaxy 37"] | None = None
    stamps: list[tuple[str, int, int]] = field(default_factory=list)  # name, bytes, time of change of every file
    notes: list[str] = field(default_factory=list)  # what was left out or changed


def listing(items: Iterable[object], most: int = 10) -> str:
    """The first items, separated by commas, and how many more there are."""
    items = [str(item) for item in items]
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


# --- images in files ---------------------------------------------------------------------------------------------------


def folder(root: Path, *, class_names: Sequence[str] | None) -> Found:
    """One subfolder per class, with images of any size; the id is the file's name without its ending.

    Raises:
        FileNotFoundError, ValueError: no such folder, no or empty class folders, one id in two places.
    """
    folders = sorted(path for path in existing(root).iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise ValueError(f"{root} has no subfolders: the source 'folder' wants one per class, {root.name}/<class>/<id>.jpg")
    files = [_images(path) for path in folders]
    if empty := [path.name for path, inside in zip(folders, files, strict=True) if not inside]:
        raise ValueError(
            f"{root}: no images in class {listing(empty)}. Expected files that end in {listing(IMAGES)}; "
            "fill the folder or remove it"
        )
    labels = {file: label for label, inside in enumerate(files) for file in inside}
    found = _from_files(sorted(labels, key=lambda file: file.stem), root)
    found.labels = [labels[root / name] for name in found.names]
    found.classes = renamed(tuple(path.name for path in folders), class_names)
    return found


def images(root: Path) -> Found:
    """Unlabelled images anywhere below a folder."""
    files = [file for file in existing(root).rglob("*") if file.suffix.lower() in IMAGES and file.is_file()]
    if not files:
        raise ValueError(f"{root}: no images found. Expected files that end in {listing(IMAGES)}")
    return _from_files(sorted(files, key=lambda file: file.stem), root)


def _from_files(files: Sequence[Path], root: Path) -> Found:
    names = [str(file.relative_to(root)) for file in files]
    ids = [file.stem for file in files]
    no_duplicates(ids, names, root)
    stats = [file.stat() for file in files]
    return Found(
        ids=ids,
        names=names,
        pixels=[partial(read_image, file) for file in files],
        labels=[-1] * len(files),
        stamps=[(name, stat.st_size, stat.st_mtime_ns) for name, stat in zip(names, stats, strict=True)],
    )


def existing(path: Path) -> Path:
    """The path itself. Raises `FileNotFoundError` that says which part of it is missing."""
    if not path.exists():
        parent = next(p for p in path.parents if p.exists())
        raise FileNotFoundError(f"{path} does not exist (the last part that does is {parent}): check `root`")
    return path


def no_duplicates(ids: Sequence[str], names: Sequence[str], root: Path) -> None:
    """Raises `ValueError` that names the places where an id stands twice."""
    twice = {id for id, count in Counter(ids).items() if count > 1}
    if twice:
        where = listing(name for id, name in zip(ids, names, strict=True) if id in twice)
        raise ValueError(f"{root}: {len(twice)} ids stand for more than one galaxy: {where}. Remove or rename all but one")


def renamed(classes: tuple[str, ...], names: Sequence[str] | None) -> tuple[str, ...]:
    """`names` in place of the classes found, in the same order."""
    if names is None:
        return classes
    if len(names) != len(classes) or len(set(names)) != len(names):
        raise ValueError(
            f"class_names has {listing(names)}, but must have {len(classes)} different names, for {listing(classes)}"
        )
    return tuple(names)


def _images(path: Path) -> list[Path]:
    return [file for file in path.iterdir() if file.suffix.lower() in IMAGES and not file.name.startswith(".")]


def read_image(file: Path) -> UInt8[ndarray, "height width 3"]:
    """Decode JPEG, PNG or TIFF. Grey becomes three equal channels, 16 bits are scaled to 8, transparency is dropped."""
    with Image.open(file) as image:
        return to_rgb(image)


def to_rgb(image: Image.Image) -> UInt8[ndarray, "height width 3"]:
    """An image of any of Pillow's modes as 8-bit RGB.

    Raises:
        ValueError: a floating-point or 32-bit image, which says nothing about what is black and what white.
    """
    if image.mode.startswith("I;16"):
        grey = np.round(np.asarray(image) / 257).astype(np.uint8)  # 65535 / 255
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("F", "I"):
        raise ValueError(
            "pixels are floating-point or 32-bit numbers without a fixed white: convert to 16 or 8 bits, or to FITS"
        )
    if image.mode == "P":
        image = image.convert("RGBA")  # a palette may hold transparency in a form that RGB cannot take directly
    return np.asarray(image.convert("RGB"))
