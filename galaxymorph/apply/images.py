"""Find the galaxies for a model file, and cut their images as in its training."""

import difflib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from tqdm import tqdm

from galaxymorph import project
from galaxymorph.data import cutouts, fits, parquet, sources
from galaxymorph.data.found import Found, check_unique, files_below, stamp, take, without_ending
from galaxymorph.data.pictures import IMAGES, LEFT_OUT, instead, left_out, read_image
from galaxymorph.text import listing

READABLE = IMAGES + fits.ENDINGS + parquet.ENDINGS
Cutouts = UInt8[ndarray, "galaxy 3 size size"]


def find(paths: Sequence[Path], header: Mapping[str, Any], crop: int | None = None) -> Found:
    """Find the galaxies in all paths, sorted by id (as numbers if all are).

    Paths are folders of images or FITS images, zips, Parquet files, CSV lists of files
    (`sources.listed`), single images or FITS cubes. Rows of Parquet files stay in their order, in
    which they can be read. Images are cut like those of the model with this header, or with another
    `crop` (px). Raises `FileNotFoundError` or `ValueError`, naming the path, if there is nothing to
    read or an id is duplicated. Pictures stay whole if the header's `image_size` is None."""
    colour = dict(header.get("cutout", {}))  # how FITS bands become an image
    usual = colour.pop("crop", None)
    if colour.get("stretch") is not None:  # before version 0.3 the sky was never subtracted
        colour.setdefault("sky", "none")
    cut = {"size": header["image_size"], "crop": crop or usual}
    parts = _settled([part for path in paths for part in _found(project.existing(path), colour)])
    joined: dict[str, Any] = {}
    for key in ("ids", "names", "read", "stamps", "notes"):
        joined[key] = [each for part in parts for each in getattr(part, key)]
    joined["notes"] = list(dict.fromkeys(joined["notes"]))
    if cut["size"] is not None:
        joined["read"] = [partial(cutouts.read, each, **cut) for each in joined["read"]]
    ids = joined["ids"]
    check_unique(ids, joined["names"], listing(paths))
    if any(name.endswith(parquet.ENDINGS) for name, *_ in joined["stamps"]):
        return Found(**joined)
    numbers = all(id.isdecimal() for id in ids)
    order = sorted(range(len(ids)), key=lambda row: (int(ids[row]) if numbers else 0, ids[row]))
    return take(Found(**joined), order)


def check_readable(path: Path) -> None:
    """Raise `ValueError` unless a path has an ending that is read, or holds such a file."""
    if path.is_dir() and not any(files_below(path, READABLE)):
        there = left_out((file.name for file in files_below(path, ("",))), READABLE)
        wanted = f"expected files ending in {', '.join(READABLE)}"
        raise ValueError(f"{path}: no images found; {wanted}{instead(there)}")
    if not path.is_dir() and not path.name.lower().endswith((*READABLE, ".zip", ".csv")):
        wanted = "a folder, a zip, a Parquet file, a CSV list of files, an image or a FITS cube"
        raise ValueError(f"{path}: expected {wanted}")


def _found(path: Path, colour: dict[str, Any]) -> list[Found]:
    check_readable(path)
    if path.is_dir():
        files = [*files_below(path, ("",))]
        kinds = {IMAGES: sources.images, fits.ENDINGS: partial(fits.find, **colour)}
        kinds[parquet.ENDINGS] = parquet.find
        present = [end for end in kinds if any(f.name.lower().endswith(end) for f in files)]
        parts = [kinds[end](path) for end in present]
        for part in parts:
            part.names = [f"{path}/{name}" for name in part.names]
            part.notes = [note for note in part.notes if not note.startswith(LEFT_OUT)]
        parts[0].notes += left_out((file.name for file in files), READABLE)
        return parts
    if path.suffix.lower() == ".zip":
        return [sources.images(path)]
    if path.suffix.lower() in parquet.ENDINGS:
        return [parquet.find(path)]
    if path.suffix.lower() == ".csv":
        listed = sources.listed(path)
    else:
        listed = {without_ending(path.name): path}
    cubes = {id: file for id, file in listed.items() if file.name.lower().endswith(fits.ENDINGS)}
    others = {id: file for id, file in listed.items() if id not in cubes}
    names = [str(file) for file in others.values()]
    read = [partial(read_image, name) for name in names]
    images = Found([*others], names, [*read], [stamp(file) for file in others.values()])
    return [images, fits.cubes({id: [file] for id, file in cubes.items()}, **colour)]


def _settled(parts: list[Found]) -> list[Found]:
    """Choose the colour options that no model has, the same for all FITS images."""
    waiting = [part for part in parts if part.ids and part.propose]
    if not waiting or fits.is_settled(waiting[0].colour):
        return parts
    chosen = fits.propose([each for part in waiting for each in part.read], waiting[0].colour)
    return [fits.settled(part, chosen) if part.propose else part for part in parts]


def read(found: Found, ids: Sequence[str]) -> Cutouts:
    """Read cutouts of galaxies by id; raise `ValueError` for an unknown or unreadable one."""
    places, images = {id: row for row, id in enumerate(found.ids)}, []
    for id in tqdm(ids, unit=" pictures", disable=len(ids) < 500):
        id = id if id in places else without_ending(id)
        if id not in places:
            near = listing(difflib.get_close_matches(id, found.ids, cutoff=0.0))
            known = f"{len(found.ids):,}; the nearest ids are {near}"
            raise ValueError(f"no galaxy {id!r} among {known}")
        try:
            images.append(found.read[places[id]]()[0])
        except (ValueError, OSError) as error:
            raise ValueError(f"galaxy {id!r} cannot be read: {error}") from error
    return np.stack(images)


def check_positive(**options: int | Literal["auto"] | None) -> None:
    """Raise `ValueError` for an option below 1."""
    for name, value in options.items():
        if isinstance(value, int) and value < 1:
            raise ValueError(f"{name}={value}: expected at least 1")
