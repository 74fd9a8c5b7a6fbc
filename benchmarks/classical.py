"""Compare the speed of measuring galaxies with that of classifying them by a ResNet18.

The two are timed in alternation, so that a busy machine slows both:

    python benchmarks/classical.py --galaxies 1000 --size 64 --turns 5
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch

from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.learning import classifier, encoders, train
from galaxymorph.morphology import measures


def rates(work: Callable[[], object], n: int) -> tuple[float, float]:
    """Return galaxies per second of wall-clock time, and per second of CPU time."""
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return n / (time.perf_counter() - clock), n / (time.process_time() - cpu)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--galaxies", type=int, default=1000)
    parser.add_argument("--size", type=int, default=64, help="image size in pixels")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    n = options.galaxies
    images = mock_survey(n, image_size=options.size).images
    model = classifier.Classifier(encoders.encoder("resnet18"), classes=4)
    works = [
        partial(measures.features, images),
        partial(train.predict, model, images, average_orientations=False),
    ]
    for work in works:
        work()  # warm-up
    turns = [[rates(work, n) for work in works] for _ in range(options.turns)]
    (by_clock, by_cpu), (network, network_cpu) = (
        [statistics.median(column) for column in zip(*turn, strict=True)]
        for turn in zip(*turns, strict=True)
    )
    ratio = statistics.median(measured[1] / predicted[1] for measured, predicted in turns)
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    print(f"{versions}, {torch.get_num_threads()} threads, median of {options.turns} turns")
    print(f"{len(measures.MEASURES)} measures at {options.size} px: {by_clock:.0f} galaxies/s,")
    print(f"{by_cpu:.0f} per second of CPU time; ResNet18: {network:.0f} galaxies/s,")
    print(f"{network_cpu:.0f} per second of CPU time; measuring is {ratio:.2f} times as fast")


if __name__ == "__main__":
    main()
