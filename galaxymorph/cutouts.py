"""Decode every galaxy once into one memory-mapped uint8 array, and open that at once ever after.

An entry of the cache is a folder named by a hash of all that went into it. It is written under another name and renamed when
it is complete, so that a decode which is killed leaves nothing that could be taken for an entry.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image
from tqdm import tqdm

CHUNK = 16  # galaxies per task: long enough to hide the overhead of a task, short enough for a smooth progress bar


def entry(folder: Path, inputs: object, write: Callable[[Path], None]) -> Path:
    """The folder of one cache entry, made by `write(folder)` unless it exists.

    Args:
        folder: where the entries of one kind lie.
        inputs: all that the entry depends on, as what JSON can say; it becomes the hash that names the entry.
        write: writes the entry's files into the folder it is given.
    """
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    final = folder / digest
    if final.is_dir():
        return final
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    part = folder / f"{final.name}.{os.getpid()}.part"
    shutil.rmtree(part, ignore_errors=True)  # a killed process may have had the same number
    part.mkdir()
    try:
        write(part)
        try:
            part.replace(final)
        except OSError:  # another process was faster: its entry has the same inputs, hence the same content
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return final


def _sweep(folder: Path) -> None:
    """Remove what killed decodes left behind a day ago or earlier; younger ones may still be at work."""
    for part in folder.glob("*.part"):
        with contextlib.suppress(FileNotFoundError):  # another process has just completed it
            if part.stat().st_mtime < time.time() - 86400:
                shutil.rmtree(part, ignore_errors=True)


def cutout(rgb: UInt8[ndarray, "height width 3"], *, size: int, crop: int | None) -> UInt8[ndarray, "3 {size} {size}"]:
    """The central `crop` pixels of an image (default: its largest central square), resampled to `size` pixels.

    Lanczos resampling weighs all source pixels around a new one, so shrinking does not alias. Shrinking to three times the size
    by plain averages first (`reducing_gap`) is twice as fast and changes real galaxies by 0.2 of 255 levels, at most by 2.

    Raises:
        ValueError: `crop` is larger than the image.
    """
    height, width, _ = rgb.shape
    side = min(height, width) if crop is None else crop
    if side > min(height, width):
        raise ValueError(f"crop of {side} px, but the image has only {width} x {height} px: choose a smaller crop")
    left, top = (width - side) // 2, (height - side) // 2
    square = rgb[top : top + side, left : left + side]
    if side != size:
        picture = Image.fromarray(square).resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)
        square = np.asarray(picture)
    return np.ascontiguousarray(square.transpose(2, 0, 1))


def read(
    original: Callable[[], tuple[UInt8[ndarray, "height width 3"], str]], *, size: int, crop: int | None
) -> tuple[UInt8[ndarray, "3 {size} {size}"], str]:
    """The cutout of an image that `original()` reads, and the remark that comes with it."""
    rgb, remark = original()
    return cutout(rgb, size=size, crop=crop), remark


Job = Callable[[], tuple[ndarray, str]]  # gives one galaxy, uint8 (3, size, size), and a remark on it or ""


def decode(jobs: Sequence[Job], folder: Path, *, size: int) -> None:
    """Run all jobs in parallel and write `images.npy`, uint8 (galaxy, 3, size, size), and `remarks.json` into `folder`.

    A job that fails takes no row; `remarks.json` has `[position, message, failed]` of these and of galaxies with a remark.
    """
    remarks: list[tuple[int, str, bool]] = []
    # Which warnings are shown is a setting of the whole process, so it must not be changed inside a thread.
    with warnings.catch_warnings(), (folder / "images.npy").open("wb") as file:
        warnings.simplefilter("ignore")
        _header(file, len(jobs), size)
        results = tqdm(_in_order(jobs), "decoding", len(jobs), unit=" galaxies", mininterval=1, delay=1, leave=False)
        for position, (image, message) in enumerate(results):
            if image is not None:
                file.write(np.ascontiguousarray(image).data)
            if message:
                remarks.append((position, message, image is None))
        _header(file, len(jobs) - sum(failed for _, _, failed in remarks), size)
    (folder / "remarks.json").write_text(json.dumps(remarks))


def _in_order(jobs: Sequence[Job]) -> Iterator[tuple[ndarray | None, str]]:
    """The result of every job, or its error's message, in the order of the jobs.

    Threads suffice, because Pillow decodes and resizes without holding Python's lock. Only a few tasks are handed out ahead
    of the one that is waited for: memory stays bounded, however many galaxies there are.
    """
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[list[tuple[ndarray | None, str]]]] = deque()
        for start in range(0, len(jobs), CHUNK):
            waiting.append(pool.submit(_run, jobs[start : start + CHUNK]))
            if len(waiting) > 2 * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _header(file: IO[bytes], rows: int, size: int) -> None:
    """Write the header of a `.npy` file; NumPy pads it, so that another number of rows fits into the same place."""
    file.seek(0)
    description = {"descr": "|u1", "fortran_order": False, "shape": (rows, 3, size, size)}
    np.lib.format.write_array_header_1_0(file, description)


def _run(jobs: Sequence[Job]) -> list[tuple[ndarray | None, str]]:
    results: list[tuple[ndarray | None, str]] = []
    for job in jobs:
        try:
            results.append(job())
        except Exception as error:  # a broken file makes a decoder raise just anything; the message goes to the user
            results.append((None, str(error) or type(error).__name__))
    return results


def open_images(folder: Path) -> UInt8[np.memmap, "galaxy 3 size size"]:
    """The images of an entry, memory-mapped: pages are read when they are used. Writing changes memory, never the file."""
    return np.load(folder / "images.npy", mmap_mode="c")


def open_remarks(folder: Path) -> list[tuple[int, str, bool]]:
    """`(position, message, failed)` of the jobs that failed or had something to remark when the entry was made."""
    return [(position, message, failed) for position, message, failed in json.loads((folder / "remarks.json").read_text())]
