"""Measure the speed of prediction from image files, as a fraction of its limits, and its memory.

The limits are reading the same files into cutouts, and predicting cutouts already in memory, by the
faster of two ways to share the CPU. All are timed in alternation, so that a busy machine slows all:

    python benchmarks/prediction.py --images path/to/images_test_rev1 --turns 7
    python benchmarks/prediction.py --images path/to/images_test_rev1 --memory 60000

Without --images, mock galaxies of 424 px are written as JPEG files first.
"""

import argparse
import itertools
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from throughput import machine

from galaxymorph.apply import stream as source
from galaxymorph.apply.images import find
from galaxymorph.data import cutouts
from galaxymorph.data.found import take
from galaxymorph.data.mock import survey
from galaxymorph.learning import classifier, encoders, model_files, saved, train


def rate(work: Callable[[], object], n: int) -> float:
    start = time.perf_counter()
    work()
    return n / (time.perf_counter() - start)


def compare(model: Path, images: Path, options: argparse.Namespace) -> None:
    """Print the rates of reading, of the model and of both, timed in alternation."""
    learner, header = saved.load(model)
    assert isinstance(learner, classifier.Classifier)
    found = find([images], header, options.crop)
    found = take(found, [row % len(found.ids) for row in range(options.galaxies)])
    n, size, threads = options.galaxies, header["image_size"], torch.get_num_threads()
    batches = [found.read[start : start + source.BATCH] for start in range(0, n, source.BATCH)]
    resident = np.stack([image for image, _, _ in cutouts.run(found.read) if image is not None])
    stacks = np.array_split(resident, len(batches))

    def read() -> None:
        list(cutouts.in_order(cutouts.run, batches, workers=threads))

    def model_with_all_threads() -> None:
        train.predict(learner, torch.from_numpy(resident), batch_size=source.BATCH)

    def model_with_a_batch_per_thread() -> None:
        torch.set_num_threads(1)
        list(cutouts.in_order(partial(source.compute, learner.predict), stacks, workers=threads))
        torch.set_num_threads(threads)

    def both() -> None:
        list(source.stream(learner.predict, found))

    works = (read, model_with_all_threads, model_with_a_batch_per_thread, both)
    for work in works:
        work()  # warm-up
    turns = [[rate(work, n) for work in works] for _ in range(options.turns)]
    kept = sorted(both / min(read, max(shared, apart)) for read, shared, apart, both in turns)
    medians = [statistics.median(column) for column in zip(*turns, strict=True)]
    print(
        f"{options.encoder} at {size} px from JPEG files, crop {options.crop}: reading alone "
        f"{medians[0]:.0f} images/s, model alone {medians[1]:.0f} (all threads on a batch) or "
        f"{medians[2]:.0f} (a batch per thread), both {medians[3]:.0f}, "
        f"{statistics.median(kept):.0%} of the slower limit (median of {len(kept)} turns, "
        f"{kept[0]:.0%} to {kept[-1]:.0%})"
    )


def memory(model: Path, images: Path, n: int, folder: Path) -> None:
    """Print the time and peak memory of `galaxymorph predict` on `n` links to files in `images`."""
    files = sorted(path for path in images.iterdir() if path.suffix == ".jpg")
    many = folder / "many"
    many.mkdir()
    for number, file in zip(range(n), itertools.cycle(files)):
        (many / f"{number}.jpg").symlink_to(file)
    command = [sys.executable, "-m", "galaxymorph", "predict", "--model", str(model)]
    command += ["--images", str(many), "--out", str(folder / "predictions.csv")]
    subprocess.run(command, check=True)
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # kB
    print(f"{n:,} files: {largest / 2**20:.2f} GiB of peak memory")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, help="folder of JPEG files")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--size", type=int, default=64, help="image size in pixels")
    parser.add_argument("--crop", type=int)
    parser.add_argument("--galaxies", type=int, default=256, help="per turn")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument(
        "--memory", type=int, metavar="N", help="only predict N files and print the memory used"
    )
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        images = options.images
        if images is None:
            survey.export_survey(Path(folder), n_galaxies=1, n_test=64)
            images = Path(folder, "images_test_rev1")
        torch.manual_seed(0)
        network = classifier.Classifier(encoders.encoder(options.encoder), classes=4)
        model = Path(folder, "model.safetensors")
        model_files.write(
            model,
            network,
            encoder=network.encoder.options,
            classes=list("abcd"),
            image_size=options.size,
        )
        if options.memory:
            memory(model, images.resolve(), options.memory, Path(folder))
        else:
            compare(model, images, options)


if __name__ == "__main__":
    main()
