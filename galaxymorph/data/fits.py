"""FITS images: which files make a galaxy, and from three bands to a colour picture."""

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

from galaxymorph.data import sources
from galaxymorph.data.sources import RGB, Found
from galaxymorph.text import listing

ENDINGS = (".fits", ".fit", ".fits.gz", ".fits.bz2", ".fits.fz")
WAVELENGTHS = "ugrizy"  # the bands' letters, bluest first

STRETCH, SOFTENING, WEIGHTS = 0.5, 8.0, (2.5, 1.5, 1.0)  # defaults of stretch, Q, band_weights

Entry = os.DirEntry[str]
Bands = Float[ndarray, "3 height width"]


def find(
    root: Path,
    *,
    labels: Path | None = None,
    class_names: Sequence[str] | None = None,
    bands: str | None = None,
    hdu: int | None = None,
    stretch: float = STRETCH,
    Q: float = SOFTENING,
    band_weights: Sequence[float] = WEIGHTS,
) -> Found:
    """Find FITS images anywhere below a folder, plain or compressed: cubes of three bands
    `<id>.fits`, or one file per band `<id>_<band>.fits` with a band of u, g, r, i, z, y (or in
    capitals). The band in the header is ignored: it is often wrong.

    Args:
        labels: a CSV file, see `sources.label`; default: all unlabelled.
        class_names: names for the classes, in the order of the sorted labels.
        bands: the planes of a cube (default: bluest first), or the single files to use, as "gri".
        hdu, stretch, Q, band_weights: see `read`.
    """
    if bands is not None and (len(bands) != 3 or len(set(bands) & set(WAVELENGTHS)) != 3):
        raise ValueError(f"bands must be three different ones of {WAVELENGTHS}, not {bands!r}")
    if len(band_weights) != 3:
        raise ValueError(f"band_weights must be three numbers, bluest first, not {band_weights}")
    files = sorted(sources.files_below(sources.existing(root), ENDINGS), key=lambda file: file.name)
    if not files:
        raise ValueError(f"{root}: no FITS files found, none that ends in {', '.join(ENDINGS)}")
    colour = {"bands": bands, "hdu": hdu, "stretch": stretch, "Q": Q}
    colour["band_weights"] = list(band_weights)
    groups = _galaxies(files, bands)
    found = Found(
        ids=list(groups),
        names=[", ".join(file.name for file in group) for group in groups.values()],
        read=[partial(read, [file.path for file in each], **colour) for each in groups.values()],
        stamps=[sources.stamp(file) for file in files],
        colour=colour,
    )
    return sources.label(found, labels, class_names)


def _galaxies(files: Sequence[Entry], bands: str | None) -> dict[str, list[Entry]]:
    """For every id its cube, or its three files from blue to red."""
    groups: dict[str, dict[str, Entry]] = defaultdict(dict)  # "" is the band of a cube
    for file in files:
        stem = sources.without_ending(file.name)
        single = re.fullmatch(f"(.+)[_-]([{WAVELENGTHS}])", stem, flags=re.IGNORECASE)
        id, band = (single[1], single[2].lower()) if single else (stem, "")
        group = groups[id]
        if band in group or (group and "" in (band, *group)):
            others = listing(other.path for other in group.values())
            raise ValueError(f"{file.path} is a second image of {id!r}, beside {others}")
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
            "expected a cube <id>.fits, or files <id>_<band>.fits of three bands; these have other "
            f"bands: {listing(wrong)}. Add files, or say which to use, such as bands: gri"
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
    """Make a colour picture of three bands, by Lupton et al. (2004)'s arcsinh stretch.

    Args:
        files: one cube (3, height, width), or three images (height, width).
        bands: the planes of a cube; default: bluest first, as are the images.
        hdu: the extension with the image; default: the first that has one.
        stretch, Q: in units of the weighted pixels, see `astropy.visualization.make_lupton_rgb`.
        band_weights: what the bands are multiplied with, bluest first.

    Raises `ValueError` for a broken file, other than three bands, and bands of several sizes."""
    planes = [plane for file in files for plane in _planes(file, hdu)]
    if len(planes) != 3 or len({plane.shape for plane in planes}) != 1:
        shapes = " and ".join(str(plane.shape) for plane in planes)
        raise ValueError(f"expected three bands of one size (a cube, or 3 files), found {shapes}")
    letters = bands if bands and len(files) == 1 else "gri"
    order = [letters.index(band) for band in sorted(letters, key=WAVELENGTHS.index)]
    light = np.stack(planes)[order] * np.reshape(band_weights, (3, 1, 1))
    if not np.isfinite(light).any():
        raise ValueError("no pixel has a value")
    light, filled = fill(light)
    blue, green, red = light[:, ::-1]  # the first row of a FITS image is its lowest
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

    Missing is what is not finite, and an exact 0 where another band has light, as surveys write it
    where they have no data. A band takes the mean of the others there, which keeps the shape in
    grey; without any, the mean of the neighbourhood, or else the median, which is the sky."""
    missing = ~np.isfinite(bands)
    missing |= (bands == 0) & (~missing & (bands != 0)).any(0)
    if not missing.any():
        return bands, 0.0
    count = (~missing).sum(0)
    mean = np.where(missing, 0, bands).sum(0) / np.maximum(count, 1)
    filled = np.where(missing & (count > 0), mean, bands)
    if (count == 0).any():
        filled[:, count == 0] = np.nan
        # Takes half a second to import, for a few files.
        from astropy.convolution import Gaussian2DKernel, interpolate_replace_nans

        kernel = Gaussian2DKernel(2)
        smooth = [interpolate_replace_nans(band, kernel, boundary="extend") for band in filled]
        local, sky = np.stack(smooth), np.nanmedian(filled, axis=(1, 2), keepdims=True)
        filled = np.where(np.isfinite(local), local, np.nan_to_num(sky))
    return filled, 100 * float(missing.mean())
