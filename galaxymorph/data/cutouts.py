"""Decode every galaxy once into one memory-mapped uint8 array, an entry of the cache."""

import itertools
import json
import math
import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image
from tqdm import tqdm

from galaxymorph.data import sources

LEAST = 1.5  # pixels of a JPEG, decoded at a fraction of its size, for each pixel of the cutout
CHUNK = 16  # galaxies per task: its overhead stays hidden, and the progress bar smooth

Picture = UInt8[ndarray, "height width 3"] | Image.Image  # pixels, or a file not decoded yet
Job = Callable[[], tuple[Any, str]]  # gives one galaxy, uint8 (3, size, size), and a remark or ""
Remark = tuple[int, str, bool]  # position of a galaxy, message, whether it failed


def cutout(picture: Picture, *, size: int, crop: int | None) -> UInt8[ndarray, "3 {size} {size}"]:
    """Resample the central `crop` pixels of an image (default: its largest central square) to
    `size` pixels.

    Lanczos resampling weighs all source pixels around a new one, so shrinking does not alias.
    Plain averages to three times the size first (`reducing_gap`) take half of the time and change
    real galaxies by 0.2 of 255 levels, at most by 3. A JPEG is decoded at 1/2, 1/4 or 1/8 of its
    size where `LEAST` of its pixels are then left for each new one (`Image.draft`), in half of the
    time: real galaxies of 424 px, shrunk to 32 to 128 px, change by 0.2 to 0.4 levels in the mean,
    2 values in 1,000 by more than 2, none by more than 12.

    Raises `ValueError` where `crop` is larger than the image."""
    if isinstance(picture, ndarray):
        picture = Image.fromarray(picture)
    width, height = picture.size
    side = min(width, height) if crop is None else crop
    if side > min(width, height):
        has = f"the image has only {width} x {height} px"
        raise ValueError(f"crop of {side} px, but {has}: choose a smaller crop (or --crop)")
    wanted = LEAST * size / side
    drafted = picture.draft(None, (math.ceil(wanted * width), math.ceil(wanted * height)))
    scale = drafted[1][2] / width if drafted else 1.0
    left, top = scale * ((width - side) // 2), scale * ((height - side) // 2)
    x, y, wide = math.floor(left), math.floor(top), scale * side
    edges = (x, y, math.ceil(left + wide), math.ceil(top + wide))  # nothing beyond leaks in
    square = sources.to_rgb(picture).crop(edges)
    if side != size:
        box = (left - x, top - y, left - x + wide, top - y + wide)
        square = square.resize((size, size), Image.Resampling.LANCZOS, box, reducing_gap=3.0)
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))


def read(
    original: Callable[[], tuple[Picture, str]], *, size: int, crop: int | None
) -> tuple[UInt8[ndarray, "3 {size} {size}"], str]:
    """Cut out of the picture that `original()` gives, and pass on the remark that comes with it."""
    picture, remark = original()
    return cutout(picture, size=size, crop=crop), remark


def decode(jobs: Sequence[Job], folder: Path, *, size: int) -> None:
    """Run all jobs in parallel and write `images.npy`, uint8 (galaxy, 3, size, size), and
    `remarks.json` into `folder`. A job that fails takes no row, but a `Remark`."""
    remarks: list[Remark] = []
    # Which warnings are shown is a setting of the whole process: not to be changed in a thread.
    with warnings.catch_warnings(), (folder / "images.npy").open("wb") as file:
        warnings.simplefilter("ignore")
        _header(file, len(jobs), size)
        chunks = (jobs[start : start + CHUNK] for start in range(0, len(jobs), CHUNK))
        results = itertools.chain.from_iterable(in_order(run, chunks, workers=os.cpu_count() or 1))
        bar: dict[str, Any] = {"unit": " galaxies", "mininterval": 1, "delay": 1, "leave": False}
        shown = tqdm(results, "decoding", len(jobs), **bar)
        for position, (image, message) in enumerate(shown):
            if image is not None:
                file.write(np.ascontiguousarray(image).data)
            if message:
                remarks.append((position, message, image is None))
        _header(file, len(jobs) - sum(failed for _, _, failed in remarks), size)
    (folder / "remarks.json").write_text(json.dumps(remarks))


def in_order(
    function: Callable[[Any], Any], items: Iterable[Any], *, workers: int
) -> Generator[Any]:
    """Call `function` on every item by as many threads as there are `workers`; yield the results in
    the order of the items.

    Threads suffice, because Pillow and torch work without Python's lock. Only a few items are
    handed out ahead of the one that is waited for: memory stays bounded."""
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[Any]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # also where the caller is stopped: then nothing new is begun
        pool.shutdown(cancel_futures=True)


def _header(file: IO[bytes], rows: int, size: int) -> None:
    """Write the header of a `.npy` file; NumPy pads it, so that another number of rows fits."""
    file.seek(0)
    description = {"descr": "|u1", "fortran_order": False, "shape": (rows, 3, size, size)}
    np.lib.format.write_array_header_1_0(file, description)


def run(jobs: Sequence[Job]) -> list[tuple[ndarray | None, str]]:
    """Return the result of every job, or None and its error's message."""
    results: list[tuple[ndarray | None, str]] = []
    for job in jobs:
        try:
            results.append(job())
        except Exception as error:  # a broken file makes a decoder raise just anything
            results.append((None, str(error) or type(error).__name__))
    return results


def opened(folder: Path) -> tuple[UInt8[np.memmap, "galaxy 3 size size"], list[Remark]]:
    """Map the images of an entry (writing changes memory, never the file), and return what the jobs
    failed at or had to remark when it was made."""
    remarks = json.loads((folder / "remarks.json").read_text())
    return np.load(folder / "images.npy", mmap_mode="c"), [(*each,) for each in remarks]
