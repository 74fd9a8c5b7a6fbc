"""galaxymorph.apply.stream"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor
from tqdm import tqdm

from galaxymorph.data import cutouts, sources
from galaxymorph.data.sources import Found
from galaxymorph.learning import device
from galaxymorph.pixels import orientations

BATCH = 64  # galaxies
Remark = tuple[
    str, str, bool
]  # which image; what is to be said about it; whether it is left out for that
Outputs = Callable[
    [Float[Tensor, "galaxy 3 size size"]], Float[Tensor, "galaxy output"]
]  # of images in [0, 1]
Batch = tuple[
    list[str], Float[ndarray, "galaxy output"], list[Remark]
]  # ids and outputs of the galaxies that could be read


@torch.inference_mode()
def compute(
    outputs: Outputs,
    images: UInt8[ndarray, "galaxy 3 size size"],
    *,
    average_orientations: bool = False,
) -> Float[ndarray, "galaxy output"]:
    """What the function `outputs` gives of a batch; with `average_orientations`, the mean over the
    8 rotations and mirror images of each galaxy."""
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
) -> Iterator[Batch]:
    """`compute` of all galaxies' cutouts, batch by batch in the order of `found`, from the batch
    number `done` on.

    As many batches as torch has threads are in work at a time, each read and computed by a single
    thread: no thread ever waits for another, so that reading costs no more than its own time."""

    def work(batch: Found) -> Batch:
        read = cutouts.run(
            [partial(cutouts.read, each, size=size, crop=crop) for each in batch.read]
        )
        remarks = [
            (name, said, image is None)
            for name, (image, said) in zip(batch.names, read, strict=True)
            if said
        ]
        good = [
            (id, image) for id, (image, _) in zip(batch.ids, read, strict=True) if image is not None
        ]
        if not good:
            return [], np.empty((0, 1), np.float32), remarks
        ids, images = zip(*good, strict=True)
        return (
            list(ids),
            compute(outputs, np.stack(images), average_orientations=average_orientations),
            remarks,
        )

    n, threads = len(found.ids), torch.get_num_threads()
    batches = (
        sources.take(found, range(row, min(row + batch_size, n)))
        for row in range(done * batch_size, n, batch_size)
    )
    torch.set_num_threads(1)
    try:
        with (
            contextlib.closing(cutouts.in_order(work, batches, workers=threads)) as results,
            tqdm(
                total=n, initial=min(done * batch_size, n), unit=" galaxies", mininterval=1
            ) as bar,
            # a setting of the whole process, so nothing that a thread could change
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            for ids, values, remarks in results:
                yield ids, values, remarks
                bar.update(len(ids) + sum(left_out for _, _, left_out in remarks))
    finally:
        torch.set_num_threads(threads)
