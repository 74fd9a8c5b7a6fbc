"""Measure how long it takes to open a data set of JPEG files that is in the cache.

The limit is reading the cached pixels once, which is what checking them takes at the least. The
rest is to find the files, to see that none has changed, and to split the galaxies:

    python benchmarks/opening.py --galaxies 60000 --turns 5
"""

import argparse
import statistics
import tempfile
import time
from itertools import cycle
from pathlib import Path

from galaxymorph.data.load import load
from galaxymorph.data.mock.survey import export_survey

BLOCK = 2**20  # bytes


def linked(folder: Path, galaxies: int, pixels: int) -> Path:
    """Make class folders of so many JPEG files, which are links to a few mock galaxies."""
    export_survey(folder, n_galaxies=1, n_test=64, image_size=pixels)
    drawn = cycle(sorted((folder / "images_test_rev1").iterdir()))
    for number in range(galaxies):
        file = folder / "galaxies" / f"class_{number % 4}" / f"{number:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.hardlink_to(next(drawn))
    return folder / "galaxies"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--galaxies", type=int, default=60_000)
    parser.add_argument("--size", type=int, default=64, help="image size in pixels")
    parser.add_argument("--pixels", type=int, default=424, help="size of the JPEG files")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root, cache = linked(Path(name), options.galaxies, options.pixels), Path(name, "cache")
        how = {"root": str(root), "image_size": options.size, "cache": cache}
        load("folder", **how)  # decodes
        (images,) = cache.rglob("images.npy")
        # by the clock, and on the processor
        times: list[tuple[float, float, float]] = []
        for _ in range(options.turns):
            start = time.perf_counter()
            with images.open("rb", buffering=0) as file:
                while file.read(BLOCK):
                    pass
            middle, used = time.perf_counter(), time.process_time()
            load("folder", **how)
            end, processor = time.perf_counter(), time.process_time() - used
            times.append((middle - start, end - middle, processor))
    limit, opened, processor = (statistics.median(each) for each in zip(*times, strict=True))
    print(
        f"{options.galaxies:,} galaxies at {options.size} px: {opened:.2f} s by the clock, "
        f"{processor:.2f} s on the processor; reading the pixels once takes {limit:.2f} s "
        f"(medians of {options.turns} turns)"
    )


if __name__ == "__main__":
    main()
