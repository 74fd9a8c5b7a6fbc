"""Apply a model to any number of images, with only a few batches in memory."""

import contextlib
import warnings
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor
from tqdm import tqdm

from galaxymorph.apply.images import Cutouts
from galaxymorph.data import cutouts, looks
from galaxymorph.data.found import Found, take
from galaxymorph.learning import device
from galaxymorph.pixels import Images, orientations

BATCH = 64  # galaxies
Values = Float[ndarray, "galaxy output"]
Say = Callable[[str], object]
Outputs = Callable[[Images], Float[Tensor, "galaxy output"]]


class Remark(NamedTuple):
    name: str  # of an image
    message: str
    left_out: bool  # whether the galaxy is skipped


Batch = tuple[list[str], Values, list[Remark]]  # ids and outputs of the galaxies that could be read


@torch.inference_mode()
def compute(outputs: Outputs, images: Cutouts, average_orientations: bool = False) -> Values:
    """Apply `outputs` to a batch, optionally averaged over the 8 orientations of each galaxy.

    A processor computes in 32 bits, also where bfloat16 would be faster, so that tables made on
    different machines are the same."""
    where = device.device()
    pixels = device.to_float(torch.from_numpy(images), where)
    views = orientations(pixels) if average_orientations else [pixels]
    with device.autocast("fp32" if where.type == "cpu" else "auto", where):
        return torch.stack([outputs(view).float() for view in views]).mean(0).cpu().numpy()


def stream(
    outputs: Outputs,
    found: Found,
    *,
    batch_size: int = BATCH,
    done: int = 0,
    average_orientations: bool = False,
) -> Generator[Batch]:
    """Read all cutouts and `compute` their outputs, batch by batch in the order of `found`.

    Starts with batch `done`; prints nothing. A blank image is left out, like an unreadable one;
    other faults of a picture (`data.looks`) are remarked. Raises `ValueError` if most of the first
    batch show no galaxy. As many batches as torch has threads are processed at
    a time, each by one thread: none waits for another, so reading costs only its own time."""

    def work(batch: Found) -> Batch:
        results = cutouts.run(batch.read)
        seen = looks.named(np.stack([row for _, _, row in results]))
        first = batch.ids[0] == found.ids[0]
        if first and (problem := looks.unusable(seen, batch.names)):
            raise ValueError(problem)
        remarks = [Remark("all images", note, False) for note in found.notes if first]
        images = dict[str, Any]()
        rows = zip(batch.ids, batch.names, results, seen["finding"], strict=True)
        for id, name, (image, message, _), finding in rows:
            if image is not None:
                images[id] = image
                message = "; ".join(filter(None, [looks.remark(finding), message]))
            if message:
                remarks.append(Remark(name, message, image is None))
        if not images:
            return [], np.empty((0, 1), np.float32), remarks
        values = compute(outputs, np.stack([*images.values()]), average_orientations)
        return [*images], values, remarks

    n, threads = len(found.ids), torch.get_num_threads()
    starts = range(done * batch_size, n, batch_size)
    batches = (take(found, range(row, min(row + batch_size, n))) for row in starts)
    torch.set_num_threads(1)
    try:
        with (
            contextlib.closing(cutouts.in_order(work, batches, workers=threads)) as results,
            warnings.catch_warnings(),  # process-wide: threads cannot change it
        ):
            warnings.simplefilter("ignore")
            yield from results
    finally:
        torch.set_num_threads(threads)


def progress(batches: Generator[Batch], total: int, before: int = 0) -> Generator[Batch]:
    """Show a progress bar of `total` galaxies on stderr, `before` of them already done."""
    with contextlib.closing(batches), tqdm(total=total, initial=before, unit=" galaxies") as bar:
        for ids, values, remarks in batches:
            yield ids, values, remarks
            bar.update(len(ids) + sum(remark.left_out for remark in remarks))
