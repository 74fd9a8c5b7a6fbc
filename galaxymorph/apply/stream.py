"""Outputs of a network for any number of galaxies, a batch at a time in constant memory."""

import contextlib
import warnings
from collections.abc import Callable, Generator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from galaxymorph.apply.images import Cutouts
from galaxymorph.data import cutouts, sources
from galaxymorph.data.sources import Found
from galaxymorph.learning import device
from galaxymorph.pixels import Images, orientations

BATCH = 64  # galaxies
Values = Float[ndarray, "galaxy output"]
Outputs = Callable[[Images], Float[Tensor, "galaxy output"]]


class Remark(NamedTuple):
    name: str  # of an image
    message: str
    left_out: bool  # whether the galaxy is left out for that


class Batch(NamedTuple):
    """Ids and outputs of the galaxies of a batch that could be read."""

    ids: list[str]
    values: Values
    remarks: list[Remark]


Batches = Generator[Batch, None, None]


@torch.inference_mode()
def compute(outputs: Outputs, images: Cutouts, *, average_orientations: bool = False) -> Values:
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
    size: int,
    crop: int | None,
    batch_size: int = BATCH,
    done: int = 0,
    average_orientations: bool = False,
) -> Batches:
    """Read and `compute` all galaxies' cutouts, batch by batch in the order of `found`, from the
    batch number `done` on.

    As many batches as torch has threads are in work at a time, each by a single thread: no thread
    ever waits for another, so that reading costs no more than its own time."""

    def work(batch: Found) -> Batch:
        jobs = [partial(cutouts.read, read, size=size, crop=crop) for read in batch.read]
        ids, images, remarks = list[str](), list[ndarray](), list[Remark]()
        cut = zip(batch.ids, batch.names, cutouts.run(jobs), strict=True)
        for id, name, (image, message) in cut:
            if message:
                remarks.append(Remark(name, message, image is None))
            if image is not None:
                ids.append(id)
                images.append(image)
        if not ids:
            return Batch([], np.empty((0, 1), np.float32), remarks)
        values = compute(outputs, np.stack(images), average_orientations=average_orientations)
        return Batch(ids, values, remarks)

    n, threads = len(found.ids), torch.get_num_threads()
    starts = range(done * batch_size, n, batch_size)
    batches = (sources.take(found, range(row, min(row + batch_size, n))) for row in starts)
    torch.set_num_threads(1)
    try:
        with (
            contextlib.closing(cutouts.in_order(work, batches, workers=threads)) as results,
            warnings.catch_warnings(),  # of the whole process: no thread could change that
        ):
            warnings.simplefilter("ignore")
            yield from results
    finally:
        torch.set_num_threads(threads)
