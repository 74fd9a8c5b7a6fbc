"""Named sets of morphological measures, computed once and cached."""

import hashlib
import importlib.metadata
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Shaped
from joblib import Parallel, delayed
from numpy import ndarray
from torch.nn import functional

from galaxymorph import project
from galaxymorph.cache import code, entry
from galaxymorph.morphology import measures
from galaxymorph.morphology.segment import Images, light, noise, segment

PACKAGES = {"light": None, "hog": "scikit-image", "statmorph": "statmorph"}  # required packages
# measures of statmorph that do not depend on the galaxy's orientation
_STATMORPH = """concentration asymmetry smoothness gini m20 multimode intensity deviation
rms_asymmetry2 outer_asymmetry shape_asymmetry ellipticity_asymmetry rpetro_circ rpetro_ellip
rhalf_ellip rmax_circ r20 r50 r80 sn_per_pixel sersic_n sersic_rhalf sersic_ellip"""
STATMORPH = tuple(_STATMORPH.split())
FLAGS = {1: "suspect", 2: "bad", 4: "failed"}  # see statmorph's documentation of `flag`


class Measured(NamedTuple):
    table: pd.DataFrame  # a row per galaxy, a column per measure
    seconds: float  # computing time, now or when it was cached
    counts: dict[str, int]  # number of flagged or unmeasured galaxies, by set and flag

    @property
    def groups(self) -> dict[str, list[int]]:
        """Return column numbers by measure; those of HOG form a single group."""
        found: dict[str, list[int]] = {}
        for place, name in enumerate(self.table.columns):
            found.setdefault("hog" if name.startswith("hog_") else name, []).append(place)
        return found


def measure(
    images: Images, *, features: Sequence[str] = ("light",), cache: Path | str | None = None
) -> Measured:
    """Measure one or more sets of `features`; the table has a row per galaxy, NaN for failures.

    - `light`: `measures.features`.
    - `hog`: histograms of oriented gradients (Dalal & Triggs 2005) of the light at 64 px, 9
      directions in cells of 8 px, 1,764 numbers. They depend on the galaxy's orientation.
    - `statmorph`: `STATMORPH` (Rodriguez-Gomez et al. 2019) and two flags: `statmorph_flag` (see
      `FLAGS`), and `statmorph_flag_sersic`, 1 for a bad Sersic fit. Takes about a second per
      galaxy.

    Args:
        cache: folder with results for the same pixels and code; by default
            `data/cache/morphometry` in the project.

    Raises:
        ValueError, ModuleNotFoundError: unknown, duplicate or no sets; a missing package.
    """
    if not features or set(features) - set(PACKAGES) or len(set(features)) < len(features):
        known = ", ".join(PACKAGES)
        raise ValueError(f"features={list(features)}: expected one or more of {known}, each once")
    folder = Path(cache or project.root() / "data" / "cache" / "morphometry")
    pixels = hashlib.sha256(images.contiguous().numpy().data).hexdigest()
    parts = [_kept(name, images, pixels, folder) for name in features]
    table = pd.concat([part.table for part in parts], axis=1)
    counts = {key: number for part in parts for key, number in part.counts.items()}
    return Measured(table, sum(part.seconds for part in parts), counts)


def _kept(name: str, images: Images, pixels: str, folder: Path) -> Measured:
    """Return one set of measures, from the cache if possible."""

    def write(home: Path) -> None:
        start = time.perf_counter()
        table = {"light": measures.features, "hog": hog, "statmorph": statmorph}[name](images)
        values, seconds = table.to_numpy(np.float32), time.perf_counter() - start
        np.savez(home / "table.npz", values=values, columns=list(table), seconds=seconds)

    inputs = [name, pixels, list(images.shape), _version(name), code(sys.modules[__name__])]
    home = entry(folder, inputs, write)
    with np.load(home / "table.npz") as known:
        table = pd.DataFrame(known["values"], columns=known["columns"].tolist())
        seconds = float(known["seconds"])
    if name == "statmorph":
        flagged = {word: table.statmorph_flag == flag for flag, word in FLAGS.items()}
        flagged["bad Sersic fit"] = table.statmorph_flag_sersic > 0
    else:
        flagged = {"failed": table.isna().all(axis=1)}
    counts = {f"{name} {word}": int(which.sum()) for word, which in flagged.items()}
    return Measured(table, seconds, counts)


def _version(name: str) -> str | None:
    """Return the version of the package that a set of measures needs."""
    package = PACKAGES[name]
    try:
        return package and importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        how = "pip install 'galaxymorph[classical]' (in a checkout: pip install -e '.[classical]')"
        raise ModuleNotFoundError(f"the features {name} need {package}: {how}") from None


def hog(images: Images) -> pd.DataFrame:
    """Compute histograms of oriented gradients; see `measure`."""
    from skimage.feature import hog as histogram

    grey = light(images)[:, None]
    grey = functional.interpolate(grey, size=(64, 64), mode="bilinear", antialias=True)
    cells = {"orientations": 9, "pixels_per_cell": (8, 8), "cells_per_block": (2, 2)}
    values = np.stack([histogram(each, **cells) for each in grey[:, 0].numpy()])
    return pd.DataFrame(values, columns=[f"hog_{k:04d}" for k in range(values.shape[1])])


def statmorph(images: Images) -> pd.DataFrame:
    """Run statmorph on `light` and the masks of `segment`, in parallel; see `measure`."""
    grey = light(images)
    galaxy, others = segment(grey)
    planes = grey.double().numpy(), (galaxy + 2 * others).numpy(), noise(grey).double().numpy()
    jobs = (delayed(_one)(*each) for each in zip(*planes, strict=True))
    rows = Parallel(n_jobs=torch.get_num_threads())(jobs)
    names = [f"statmorph_{name}" for name in (*STATMORPH, "flag", "flag_sersic")]
    return pd.DataFrame(np.array(rows, dtype=np.float32).reshape(-1, len(names)), columns=names)


def _one(
    grey: Float[ndarray, "size size"], segments: Shaped[ndarray, "size size"], noise: float
) -> list[float]:
    """Measure one galaxy, with both flags; NaN and flag 4 without a galaxy or if it fails."""
    from statmorph import SourceMorphology

    failed = [np.nan] * len(STATMORPH) + [4.0, 4.0]
    if not (segments == 1).any():
        return failed
    options = {"weightmap": np.full(grey.shape, noise), "skybox_size": len(grey) // 4}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the flags record them
        try:
            found = SourceMorphology(grey, segments, 1, cutout_extent=10.0, **options)
        except (AssertionError, ValueError, IndexError, ZeroDivisionError):  # unusual frames
            return failed
    if found.flag == 4:  # all measures are -99
        return failed
    values = np.array([getattr(found, name) for name in STATMORPH], float)
    values[(values == -99) | ~np.isfinite(values)] = np.nan
    return [*values.tolist(), float(found.flag), float(found.flag_sersic)]
