"""Galaxies for a model file: where their images lie, their cutouts as in training, and what a
network makes of any number of them, a batch of images in memory at a time."""

import contextlib
import difflib
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor
from tqdm import tqdm

from galaxymorph.data import cutouts, fits, sources
from galaxymorph.data.sources import Found
from galaxymorph.learning import device
from galaxymorph.pixels import Images, orientations
from galaxymorph.text import listing

BATCH = 64  # galaxies
Cutouts = UInt8[ndarray, "galaxy 3 size size"]
Values = Float[ndarray, "galaxy output"]
Outputs = Callable[[Images], Float[Tensor, "galaxy output"]]
Say = Callable[[str], object]


class Remark(NamedTuple):
    name: str  # of an image
    message: str
    left_out: bool  # whether the galaxy is left out for that


Batch = tuple[list[str], Values, list[Remark]]  # ids and outputs of the galaxies that could be read


def find(paths: Sequence[Path], header: Mapping[str, Any], crop: int | None = None) -> Found:
    """Find the galaxies of all paths, sorted by id, as numbers where all are: folders of images or
    FITS images, zips, CSV lists of files (`sources.listed`), single images, FITS cubes. Their
    pictures are cut as those of the model with this header, or with another `crop` (px).

    Raises `FileNotFoundError` or `ValueError`, naming the path, where there is nothing to read, or
    an id occurs twice."""
    colour = dict(header.get("cutout", {}))  # how FITS bands become a picture
    usual = colour.pop("crop", None)
    cut = {"size": header["image_size"], "crop": crop or usual}
    parts = [part for path in paths for part in _found(sources.existing(path), colour)]
    joined: dict[str, Any] = {}
    for key in ("ids", "names", "read", "labels", "stamps"):
        joined[key] = [each for part in parts for each in getattr(part, key)]
    joined["read"] = [partial(cutouts.read, each, **cut) for each in joined["read"]]
    ids = joined["ids"]
    sources.check_unique(ids, joined["names"], listing(paths))
    numbers = all(id.isdecimal() for id in ids)
    order = sorted(range(len(ids)), key=lambda row: (int(ids[row]) if numbers else 0, ids[row]))
    return sources.take(Found(**joined), order)


def _found(path: Path, colour: dict[str, Any]) -> list[Found]:
    readable = sources.IMAGES + fits.ENDINGS
    if path.is_dir():
        readers = {sources.IMAGES: sources.images, fits.ENDINGS: partial(fits.find, **colour)}
        parts = [read(path) for end, read in readers.items() if [*sources.files_below(path, end)]]
        if not parts:
            raise ValueError(f"{path}: no images found, no file that ends in {', '.join(readable)}")
        for part in parts:
            part.names = [f"{path}/{name}" for name in part.names]
        return parts
    if path.suffix.lower() == ".zip":
        return [sources.images(path)]
    if path.suffix.lower() == ".csv":
        listed = sources.listed(path)
    elif path.name.lower().endswith(readable):
        listed = {sources.without_ending(path.name): path}
    else:
        wanted = "a folder, a zip, a CSV list of files, an image or a FITS cube"
        raise ValueError(f"{path}: expected {wanted}")

    def reader(name: str) -> Callable[[], sources.RGB | sources.File]:
        is_fits = name.lower().endswith(fits.ENDINGS)
        return fits.reader([name], **colour) if is_fits else partial(sources.read_image, name)

    names = [str(file) for file in listed.values()]
    stamps = [sources.stamp(file) for file in listed.values()]
    return [Found(list(listed), names, [reader(name) for name in names], [-1] * len(names), stamps)]


def read(found: Found, ids: Sequence[str]) -> Cutouts:
    """Read cutouts of galaxies by id. Raises `ValueError` for an unknown id, with the nearest, or
    an image that cannot be read."""
    places, images = {id: row for row, id in enumerate(found.ids)}, []
    for id in ids:
        if id not in places:
            near = listing(difflib.get_close_matches(id, found.ids, cutoff=0.0))
            known = f"{len(found.ids):,}; the nearest ids are {near}"
            raise ValueError(f"no galaxy {id!r} among {known}")
        try:
            images.append(found.read[places[id]]()[0])
        except (ValueError, OSError) as error:
            raise ValueError(f"the galaxy {id!r} cannot be read: {error}") from error
    return np.stack(images)


@torch.inference_mode()
def compute(outputs: Outputs, images: Cutouts, average_orientations: bool = False) -> Values:
    """Apply `outputs` to a batch; with `average_orientations`, the mean over the 8 rotations and
    mirror images of each galaxy."""
    where = device.device()
    pixels = device.to_float(torch.from_numpy(images), where)
    views = orientations(pixels) if average_orientations else [pixels]
    with device.autocast("auto", where):
        return torch.stack([outputs(view).float() for view in views]).mean(0).cpu().numpy()


def stream(
    outputs: Outputs,
    found: Found,
    *,
    batch_size: int = BATCH,
    done: int = 0,
    average_orientations: bool = False,
) -> Generator[Batch]:
    """Read and `compute` all galaxies' cutouts, batch by batch in the order of `found`, from the
    batch number `done` on, with a progress bar on stderr.

    As many batches as torch has threads are in work at a time, each by a single thread: no thread
    ever waits for another, so that reading costs no more than its own time."""

    def work(batch: Found) -> Batch:
        results = list(zip(batch.ids, batch.names, cutouts.run(batch.read), strict=True))
        remarks = [Remark(name, why, image is None) for _, name, (image, why) in results if why]
        images = {id: image for id, _, (image, _) in results if image is not None}
        if not images:
            return [], np.empty((0, 1), np.float32), remarks
        values = compute(outputs, np.stack([*images.values()]), average_orientations)
        return [*images], values, remarks

    n, threads = len(found.ids), torch.get_num_threads()
    starts = range(done * batch_size, n, batch_size)
    batches = (sources.take(found, range(row, min(row + batch_size, n))) for row in starts)
    torch.set_num_threads(1)
    try:
        with (
            tqdm(total=n, initial=min(starts.start, n), unit=" galaxies", mininterval=1) as bar,
            contextlib.closing(cutouts.in_order(work, batches, workers=threads)) as results,
            warnings.catch_warnings(),  # of the whole process: no thread could change that
        ):
            warnings.simplefilter("ignore")
            for batch in results:
                yield batch
                bar.update(min(batch_size, n - bar.n))
    finally:
        torch.set_num_threads(threads)


def check_positive(**options: int | None) -> None:
    """Raise `ValueError` for a number below 1."""
    for name, value in options.items():
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}: at least 1")
