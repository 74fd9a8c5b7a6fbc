"""Find FITS images, group them by galaxy, and combine three bands into a colour picture."""

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.visualization import make_lupton_rgb
from jaxtyping import Float
from numpy import ndarray

from galaxymorph import project
from galaxymorph.data.found import Found, files_below, stamp, without_ending
from galaxymorph.data.labels import Names, label
from galaxymorph.data.pictures import RGB
from galaxymorph.text import listing

ENDINGS = (".fits", ".fit", ".fits.gz", ".fits.bz2", ".fits.fz")
WAVELENGTHS = "ugrizy"  # band letters, bluest first

STRETCH, SOFTENING, WEIGHTS = 0.5, 8.0, (2.5, 1.5, 1.0)  # defaults of stretch, Q, band_weights

Entry = os.DirEntry[str]
Bands = Float[ndarray, "3 height width"]


def find(
    root: Path,
    *,
    labels: Path | None = None,
    class_names: Names = None,
    id_column: str | None = None,
    label_column: str | None = None,
    bands: str | None = None,
    hdu: int | None = None,
    stretch: float = STRETCH,
    Q: float = SOFTENING,
    band_weights: Sequence[float] = WEIGHTS,
) -> Found:
    """Find FITS images anywhere below a folder, plain or compressed.

    A galaxy is a cube of three bands, `<id>.fits`, or one file per band, `<id>_<band>.fits`, with
    band u, g, r, i, z or y (or capitals). The header is not asked: its band is often wrong.

    Args:
        labels, id_column, label_column: see `labels.label` (default: all unlabelled).
        class_names: see `labels.classified`.
        bands: order of a cube's planes (default: bluest first), or the files to use, e.g. "gri".
        hdu, stretch, Q, band_weights: see `read`."""
    if bands is not None and (len(bands) != 3 or len(set(bands) & set(WAVELENGTHS)) != 3):
        raise ValueError(f"bands must be three different letters of {WAVELENGTHS}, not {bands!r}")
    if len(band_weights) != 3:
        raise ValueError(f"band_weights must be three numbers, bluest first, not {band_weights}")
    files = sorted(files_below(project.existing(root), ENDINGS), key=lambda file: file.name)
    if not files:
        raise ValueError(f"{root}: no FITS files found; expected {', '.join(ENDINGS)}")
    colour = {"bands": bands, "hdu": hdu, "stretch": stretch, "Q": Q}
    colour["band_weights"] = list(band_weights)
    groups = _galaxies(files, bands)
    found = Found(
        ids=list(groups),
        names=[", ".join(file.name for file in group) for group in groups.values()],
        read=[partial(read, [file.path for file in each], **colour) for each in groups.values()],
        stamps=[stamp(file) for file in files],
        colour=colour,
    )
    return label(found, labels, class_names, id_column=id_column, label_column=label_column)


def _galaxies(files: Sequence[Entry], bands: str | None) -> dict[str, list[Entry]]:
    """Group files by id: a cube, or three files from blue to red."""
    groups: dict[str, dict[str, Entry]] = defaultdict(dict)  # "" is the band of a cube
    for file in files:
        stem = without_ending(file.name)
        single = re.fullmatch(f"(.+)[_-]([{WAVELENGTHS}])", stem, flags=re.IGNORECASE)
        id, band = (single[1], single[2].lower()) if single else (stem, "")
        group = groups[id]
        if band in group or (group and "" in (band, *group)):
            others = listing(other.path for other in group.values())
            raise ValueError(f"duplicate id {id!r} ({others}, {file.path}); remove or rename one")
        group[band] = file
    chosen, wrong = {}, []
    for id, group in groups.items():
        wanted = [""] if "" in group else sorted(bands or group, key=WAVELENGTHS.index)
        if "" in group or (len(wanted) == 3 and set(wanted) <= set(group)):
            chosen[id] = [group[band] for band in wanted]
        else:
            wrong.append(f"{id} ({', '.join(group)})")
    if wrong:
        raise ValueError(
            "expected a cube <id>.fits, or files <id>_<band>.fits in three bands; these have other "
            f"bands: {listing(wrong)}. Add files, or choose three bands, such as bands: gri"
        )
    return chosen


def read(
    files: Sequence[str],
    *,
    bands: str | None = None,
    hdu: int | None = None,
    stretch: float = STRETCH,
    Q: float = SOFTENING,
    band_weights: Sequence[float] = WEIGHTS,
) -> RGB:
    """Combine three bands into a colour picture with the stretch of Lupton et al. (2004).

    Args:
        files: one cube (3, height, width), or three images (height, width).
        bands: order of the planes in a cube (default: bluest first); images are bluest first.
        hdu: extension with the image (default: the first that has one).
        stretch, Q: see `astropy.visualization.make_lupton_rgb`; stretch in weighted pixel units.
        band_weights: factors for the bands, bluest first.

    Raises `ValueError` for a broken file, or unless there are three bands of the same size."""
    planes = [plane for file in files for plane in _planes(file, hdu)]
    if len(planes) != 3 or len({plane.shape for plane in planes}) != 1:
        shapes = " and ".join(str(plane.shape) for plane in planes)
        raise ValueError(f"expected three bands of one size (a cube, or 3 files), found {shapes}")
    letters = bands if bands and len(files) == 1 else "gri"
    order = [letters.index(band) for band in sorted(letters, key=WAVELENGTHS.index)]
    light = np.stack(planes)[order] * np.reshape(band_weights, (3, 1, 1))
    if not np.isfinite(light).any():
        raise ValueError("all pixels are missing")
    light, filled = fill(light)
    blue, green, red = light[:, ::-1]  # the first row of a FITS image is at the bottom
    rgb = make_lupton_rgb(red, green, blue, minimum=0, stretch=stretch, Q=Q)  # pyright: ignore[reportArgumentType]
    return rgb, f"{filled:.2g} % of the pixels were missing and filled in" if filled else ""


def _planes(file: str, hdu: int | None) -> list[ndarray]:
    try:
        data = np.asarray(fits.getdata(file, ext=hdu), dtype=float)
    except (OSError, TypeError, IndexError, EOFError) as error:
        raise ValueError(f"incomplete or broken FITS file, or no image in it: {error}") from error
    return [data] if data.ndim == 2 else list(data)


def fill(bands: Bands) -> tuple[Bands, float]:
    """Fill in missing pixels; return the bands and the percentage that was filled.

    A pixel is missing if it is not finite, or exactly 0 where another band has light, as surveys
    mark areas without data. It becomes the mean of the other bands, which keeps the shape in grey;
    if all bands are missing, the mean of its neighbourhood, or else the median, i.e. the sky."""
    missing = ~np.isfinite(bands)
    missing |= (bands == 0) & (~missing & (bands != 0)).any(0)
    if not missing.any():
        return bands, 0.0
    count = (~missing).sum(0)
    mean = np.where(missing, 0, bands).sum(0) / np.maximum(count, 1)
    filled = np.where(missing & (count > 0), mean, bands)
    if (count == 0).any():
        filled[:, count == 0] = np.nan
        # Slow to import (0.5 s) and rarely needed.
        from astropy.convolution import Gaussian2DKernel, interpolate_replace_nans

        kernel = Gaussian2DKernel(2)
        smooth = [interpolate_replace_nans(band, kernel, boundary="extend") for band in filled]
        local, sky = np.stack(smooth), np.nanmedian(filled, axis=(1, 2), keepdims=True)
        filled = np.where(np.isfinite(local), local, np.nan_to_num(sky))
    return filled, 100 * float(missing.mean())
