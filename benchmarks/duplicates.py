"""Measure the speed, recall and precision of the search for duplicates in 60,000 mock galaxies.

    python benchmarks/duplicates.py --galaxies 60000 --simulated 3000 --planted 600

Simulating all of them would take most of an hour on two cores. Instead, each galaxy is a blend of
two simulated ones, rotated, mirrored and weighted at random. Many blends share part of their light
and are harder to distinguish than independent galaxies. Planted copies are rotated, compressed
(JPEG 70 to 90), shifted (1 to 2 px), or all of these. Other pairs are false positives, except for
blends with a galaxy in common, which are counted separately.
"""

import argparse
import io
import resource
import time

import numpy as np
import torch
from PIL import Image

from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.diagnostics.duplicates import duplicates

KINDS = {
    "turned": (0, 0),
    "compressed": (0, 1),
    "shifted": (1, 0),
    "turned, shifted, compressed": (1, 1),
}


def turned(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return the image in a random one of its 8 orientations."""
    image = np.rot90(image, generator.integers(4), (1, 2))
    return image[:, :, ::-1] if generator.integers(2) else image


def blended(
    simulated: np.ndarray, n: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Blend `n` pairs of galaxies; return uint8 (n, 3, size, size) and the rows blended, (n, 2)."""
    images = np.empty((n, *simulated.shape[1:]), np.uint8)
    parents = np.array([generator.choice(len(simulated), 2, replace=False) for _ in range(n)])
    for row in range(n):
        a, b = (turned(simulated[each], generator).astype(np.float32) for each in parents[row])
        weight = np.float32(generator.uniform(0.4, 0.6))
        images[row] = weight * a + (1 - weight) * b
    return images, parents


def copied(
    image: np.ndarray, shift: int, compress: int, generator: np.random.Generator
) -> np.ndarray:
    """Copy an image in a random orientation, shifted and compressed as requested."""
    image, size = turned(image, generator), image.shape[-1]
    if shift:
        y, x = 2 + generator.choice([-2, -1, 1, 2], 2)
        image = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode="edge")[:, y : y + size, x : x + size]
    if compress:
        file = io.BytesIO()
        quality = int(generator.integers(70, 91))
        Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(
            file, "JPEG", quality=quality
        )
        image = np.asarray(Image.open(file)).transpose(2, 0, 1)
    return image


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--galaxies", type=int, default=60_000)
    parser.add_argument("--simulated", type=int, default=3000, help="mock galaxies to blend")
    parser.add_argument(
        "--planted", type=int, default=600, help="copies that replace the last galaxies"
    )
    parser.add_argument("--size", type=int, default=64, help="image size in pixels")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = np.random.default_rng(options.seed)
    simulated = mock_survey(
        options.simulated, image_size=options.size, seed=options.seed
    ).images.numpy()
    images, parents = blended(simulated, options.galaxies, generator)
    own = options.galaxies - options.planted
    originals = generator.choice(own, options.planted, replace=False)
    kinds = [list(KINDS)[i % len(KINDS)] for i in range(options.planted)]
    for i, (row, kind) in enumerate(zip(originals, kinds, strict=True)):
        images[own + i], parents[own + i] = (
            copied(images[row], *KINDS[kind], generator),
            parents[row],
        )

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    clock, cpu = time.perf_counter(), time.process_time()
    found = duplicates(torch.from_numpy(images))
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    pairs = set(zip(found["first"].tolist(), found["second"].tolist(), strict=True))
    planted = {
        (int(row), own + i): kind
        for i, (row, kind) in enumerate(zip(originals, kinds, strict=True))
    }
    sample = f"{options.galaxies:,} galaxies of {options.size} px, seed {options.seed}"
    print(f"{sample}, {torch.get_num_threads()} threads")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{clock:.1f} s, {cpu:.1f} s of CPU time")
    print(f"peak memory: {after:.2f} GiB ({before:.2f} GiB before the search)")
    for kind in KINDS:
        these = {pair for pair, each in planted.items() if each == kind}
        print(f"recall, {kind}: {len(these & pairs) / max(1, len(these)):.3f} (n = {len(these)})")
    others = pairs - set(planted)
    kin = {pair for pair in others if set(parents[pair[0]]) & set(parents[pair[1]])}
    precision = len(pairs & set(planted)) / max(1, len(pairs - kin))
    print(f"precision: {precision:.4f} ({len(others - kin)} false positives)")
    print(f"{len(kin)} pairs of blends with a galaxy in common")


if __name__ == "__main__":
    main()
