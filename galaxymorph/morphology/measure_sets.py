"""Sets of numbers measured on galaxies, by name, each measured once: light (`classical`), HOG and
statmorph's."""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import json
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Shaped, UInt8
from joblib import Parallel, delayed
from numpy import ndarray
from torch import Tensor
from torch.nn import functional

from galaxymorph import project
from galaxymorph.cache import entry as cache_entry
from galaxymorph.morphology import measures

SETS = ("light", "hog", "statmorph")
PACKAGES = {"hog": "scikit-image", "statmorph": "statmorph"}  # of the extra `classical`
STATMORPH = (
    "concentration",
    "asymmetry",
    "smoothness",
    "gini",
    "m20",
    "multimode",
    "intensity",
    "deviation",
    "rms_asymmetry2",
    "outer_asymmetry",
    "shape_asymmetry",
    "ellipticity_asymmetry",
    "rpetro_circ",
    "rpetro_ellip",
    "rhalf_ellip",
    "rmax_circ",
    "r20",
    "r50",
    "r80",
    "sn_per_pixel",
    "sersic_n",
    "sersic_rhalf",
    "sersic_ellip",
)  # of what it measures: all that does not depend on how the galaxy is turned
FLAGS = {1: "suspect", 2: "bad", 4: "failed"}  # statmorph's own, documented at its `flag`


class Measured(NamedTuple):
    """A row per galaxy and a column per measure; the seconds that measuring took, now or when it
    was cached; and how many galaxies were flagged or could not be measured, by set and flag."""

    table: pd.DataFrame
    seconds: float
    counts: dict[str, int]

    @property
    def groups(self) -> dict[str, list[int]]:
        """Columns that mean something only together (those of HOG), and each of the others, by
        name."""
        found: dict[str, list[int]] = {}
        for place, name in enumerate(self.table.columns):
            found.setdefault("hog" if name.startswith("hog_") else name, []).append(place)
        return found


def measure(
    images: UInt8[Tensor, "galaxy 3 size size"],
    *,
    features: Sequence[str] = ("light",),
    cache: Path | str | None = None,
) -> Measured:
    """The sets of measures in `features`, side by side: float, a row per galaxy in the order of
    `images`.

    Measured once for the same pixels and the same code: `cache` is the folder of what is kept, by
    default `data/cache/morphometry` in the project. What could not be measured is NaN.

    - `light`: `classical.features`.
    - `hog`: histograms of oriented gradients (Dalal & Triggs 2005) of the light at 64 px, 9
      directions in cells of 8 px, 1,764 numbers. They depend on how a galaxy is turned.
    - `statmorph`: what statmorph (Rodriguez-Gomez et al. 2019) measures, `STATMORPH`, with its
      flags: `statmorph_flag` is 0 good, 1 suspect, 2 bad, 4 failed, `statmorph_flag_sersic` 1 where
      its Sersic model does not fit. About a second for each galaxy.

    Raises `ValueError` for another set, none, or one twice, `ModuleNotFoundError` where the package
    that it takes is missing."""
    unknown = [name for name in features if name not in SETS]
    if unknown or not features or len(set(features)) < len(features):
        raise ValueError(
            f"features are {list(features)}; expected one or more of {', '.join(SETS)}, none twice"
        )
    folder = Path(cache) if cache is not None else project.root() / "data" / "cache" / "morphometry"
    pixels = hashlib.sha256(images.contiguous().numpy().data).hexdigest()
    parts = [_kept(name, images, pixels, folder) for name in features]
    counts = {key: number for part in parts for key, number in part.counts.items()}
    return Measured(
        pd.concat([part.table for part in parts], axis=1),
        sum(part.seconds for part in parts),
        counts,
    )


def _kept(
    name: str, images: UInt8[Tensor, "galaxy 3 size size"], pixels: str, folder: Path
) -> Measured:
    package = PACKAGES.get(name)
    version = None if package is None else _version(package, name)

    def write(entry: Path) -> None:
        start = time.perf_counter()
        table = {"light": measures.features, "hog": hog, "statmorph": statmorph}[name](images)
        seconds = time.perf_counter() - start
        np.save(entry / "values.npy", table.to_numpy(np.float32))
        (entry / "table.json").write_text(
            json.dumps({"columns": list(table.columns), "seconds": seconds})
        )

    sources = inspect.getsource(measures) + inspect.getsource(sys.modules[__name__])
    code = hashlib.sha256(sources.encode()).hexdigest()
    inputs = {
        "features": name,
        "pixels": pixels,
        "shape": list(images.shape),
        "version": version,
        "code": code,
    }
    entry = cache_entry(folder, inputs, write)
    known = json.loads((entry / "table.json").read_text())
    table = pd.DataFrame(np.load(entry / "values.npy"), columns=known["columns"])
    if name == "statmorph":
        counts = {
            f"statmorph {word}": int((table.statmorph_flag == flag).sum())
            for flag, word in FLAGS.items()
        }
        counts["statmorph bad Sersic fit"] = int((table.statmorph_flag_sersic > 0).sum())
    else:
        counts = {f"{name} failed": int(table.isna().all(axis=1).sum())}
    return Measured(table, known["seconds"], counts)


def _version(package: str, name: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise ModuleNotFoundError(
            f"the features {name} need the package {package}: pip install 'galaxymorph[classical]' "
            "(from a checkout: pip install -e '.[classical]')"
        ) from None


def hog(images: UInt8[Tensor, "galaxy 3 size size"]) -> pd.DataFrame:
    """Histograms of oriented gradients; see `measure`."""
    from skimage.feature import hog as histograms

    grey = measures.light(images)[:, None]
    grey = functional.interpolate(grey, size=(64, 64), mode="bilinear", antialias=True)[
        :, 0
    ].numpy()
    values = np.stack(
        [
            histograms(each, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2))
            for each in grey
        ]
    )
    return pd.DataFrame(values, columns=[f"hog_{k:04d}" for k in range(values.shape[1])])


def statmorph(images: UInt8[Tensor, "galaxy 3 size size"]) -> pd.DataFrame:
    """What statmorph measures on `classical.light`, within `classical.segment`; see `measure`. As
    many processes as torch has threads."""
    grey = measures.light(images)
    galaxy, others = measures.segment(grey)
    given = zip(
        grey.double().numpy(),
        (galaxy + 2 * others).numpy(),
        measures.noise(grey).double().numpy(),
        strict=True,
    )
    rows = Parallel(n_jobs=torch.get_num_threads())(delayed(_one)(*each) for each in given)
    names = [f"statmorph_{name}" for name in (*STATMORPH, "flag", "flag_sersic")]
    return pd.DataFrame(np.array(rows, dtype=np.float32).reshape(-1, len(names)), columns=names)


def _one(
    grey: Float[ndarray, "size size"], segments: Shaped[ndarray, "size size"], noise: float
) -> list[float]:
    """The measures of one galaxy and both flags; without a galaxy in the middle, or where statmorph
    gives up, NaN with flags of 4."""
    from statmorph import SourceMorphology

    failed = [np.nan] * len(STATMORPH) + [4.0, 4.0]
    if not (segments == 1).any():
        return failed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say is in the flags
        try:
            found = SourceMorphology(
                grey,
                segments,
                1,
                weightmap=np.full(grey.shape, noise),
                cutout_extent=10.0,
                skybox_size=len(grey) // 4,
            )
        except (
            AssertionError,
            ValueError,
            IndexError,
            ZeroDivisionError,
            np.linalg.LinAlgError,
        ):  # as it does on odd frames
            return failed
    if found.flag == 4:  # all measures are -99
        return failed
    values = [float(getattr(found, name)) for name in STATMORPH]
    values = [np.nan if value == -99 or not np.isfinite(value) else value for value in values]
    return [*values, float(found.flag), float(found.flag_sersic)]
