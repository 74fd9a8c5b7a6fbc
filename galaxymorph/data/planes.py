"""Read the bands of a galaxy from FITS files: which planes they are, and what is missing."""

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray

from galaxymorph.data.pictures import check_size, regular
from galaxymorph.text import listing

# What astropy warns of is mended here, or refused in our own words.
warnings.filterwarnings("ignore", message="nan_treatment='interpolate'")
warnings.filterwarnings("ignore", module="astropy.io.fits")

LETTERS = "ugrizy"  # bands that file names and headers are searched for
BLUEST_FIRST = ("u", "g", "vis", "r", "i", "z", "y", "j", "h", "k", "ks")  # bands of known order

MARKS = (-99, -999, -9999, -99.99, -999.99, -1e30, 1e30, 1e20)  # usual marks of missing pixels
SOME = 4  # pixels of the same value

Names = str | Sequence[str] | None
Bands = Float[ndarray, "band height width"]
Plane = Shaped[ndarray, "height width"]


def names_of(bands: Names) -> list[str] | None:
    """Return the names of bands: letters, one name, or a list."""
    if isinstance(bands, str):
        return list(bands) if set(bands) <= set(LETTERS) else [bands]
    return None if bands is None else [str(band) for band in bands]


def ordered(names: Sequence[str]) -> list[str]:
    """Sort bands, bluest first; bands of unknown order are taken as red, green, blue."""
    if {name.lower() for name in names} <= set(BLUEST_FIRST):
        return sorted(names, key=lambda name: BLUEST_FIRST.index(name.lower()))
    return [*names][::-1]


# names that may be bands, not errors, weights and masks
BAND = re.compile(r"^(?!.*(sci|err|dq|var|wht|weight|mask)).", re.IGNORECASE)


def light_of(
    files: Sequence[str], bands: Names, hdu: int | None, band_weights: Sequence[float]
) -> tuple[Bands, list[str]]:
    """Read, order, align, fill and weight the bands, bluest first; return also what was changed."""
    wanted = names_of(bands)
    if len(files) == 1:
        planes, remarks = _chosen(*_planes(files[0], hdu), wanted)
    else:
        parts = [_planes(file, hdu, single=True) for file in files]
        planes = [part[0][0] for part in parts]
        remarks = [each for part in parts for each in part[2]]
    shapes = [plane.shape for plane in planes]
    height, width = (min(shape[axis] for shape in shapes) for axis in (0, 1))
    if any(shape[0] - height > 1 or shape[1] - width > 1 for shape in shapes):
        raise ValueError(f"expected bands of one size, found {' and '.join(map(str, shapes))}")
    if len(set(shapes)) > 1:
        remarks = [*remarks, f"bands differ by a pixel: cut to {width} x {height} px"]
    tops = [((h - height) // 2, (w - width) // 2) for h, w in shapes]
    cut = [p[y : y + height, x : x + width] for p, (y, x) in zip(planes, tops, strict=True)]
    remarks = [*remarks, *dict.fromkeys(odd for each in cut for odd in undeclared(each))]
    light = np.stack(cut).astype(float)
    if not np.isfinite(light).any():
        raise ValueError("all pixels are missing")
    light *= np.reshape(band_weights if len(light) == 3 else [1.0], (-1, 1, 1))
    light, filled = fill(light)
    if filled:
        remarks = [f"{filled:.2g} % of the pixels were missing and filled in", *remarks]
    empty = [str(k + 1) for k, band in enumerate(light) if not band.any()]
    if 0 < len(empty) < len(light):
        remarks = [*remarks, f"band {listing(empty)}, counted from the bluest, is 0 everywhere"]
    return light, remarks


def undeclared(plane: Plane) -> Iterator[str]:
    """Remark on a lowest or highest value that may stand for missing or clipped pixels.

    Either it is a usual mark (`MARKS`) or in some pixels, and further from all others than three
    times their distance from the median, or 2 % to 50 % of the pixels have it, five times as many
    as the next value. Counts, stars and noise look like neither; 0 is left to `_hole`."""
    values = plane[np.isfinite(plane)]
    for low in (True, False):
        value = (values.min() if low else values.max()) if values.size else 0
        same = values == value
        count, rest = np.count_nonzero(same), values[~same]
        if not value or not rest.size or (count < SOME and value not in MARKS):
            continue
        near = float(rest.min() if low else rest.max())
        reach, share = abs(near - float(np.median(rest))), count / values.size
        apart = abs(float(value) - near) > 3 * reach > 0
        if apart:
            yield f"pixels of {value:g}, far from all others: if they are missing, set them to NaN"
        elif 0.02 <= share <= 0.5 and count >= 5 * np.count_nonzero(rest == near):
            which = "lowest" if low else "highest"
            yield f"many pixels of {value:g}, the {which} value: clipped, or missing (set to NaN)?"


def fill(bands: Bands) -> tuple[Bands, float]:
    """Fill in missing pixels; return the bands and the percentage that was filled.

    A pixel is missing if it is not finite, or part of a hole (`_hole`) where another band has
    light. It becomes the mean of the other bands, which keeps the shape in grey; if all bands are
    missing, the mean of its neighbourhood, or else the median, i.e. the sky."""
    missing = ~np.isfinite(bands)
    light = (~missing & (bands != 0)).any(0)
    missing |= np.stack([_hole(band) for band in bands]) & light
    if not missing.any():
        return bands, 0.0
    count = (~missing).sum(0)
    mean = np.where(missing, 0, bands).sum(0) / np.maximum(count, 1)
    filled = np.where(missing & (count > 0), mean, bands)
    if (count == 0).any():
        filled[:, count == 0] = np.nan
        from astropy.convolution import Gaussian2DKernel, interpolate_replace_nans  # slow

        kernel = Gaussian2DKernel(2)
        smooth = [interpolate_replace_nans(band, kernel, boundary="extend") for band in filled]
        local, sky = np.stack(smooth), np.nanmedian(filled, axis=(1, 2), keepdims=True)
        filled = np.where(np.isfinite(local), local, np.nan_to_num(sky))
    return filled, 100 * float(missing.mean())


def _hole(band: Float[ndarray, "height width"]) -> Bool[ndarray, "height width"]:
    """Return a mask of areas without data, which surveys set to exactly 0.

    These are connected and as large as a row, in a band with noise, of which a tenth is negative.
    Counts and simulations without noise have true zeros; those of a compressed image are scattered;
    and a band that is 0 everywhere shows no light."""
    zero, hole = band == 0, np.zeros(band.shape, bool)
    if not min(band.shape) <= np.count_nonzero(zero) < band.size:
        return hole
    if np.count_nonzero(band < 0) > np.count_nonzero(~zero) / 10:
        from scipy import ndimage  # slow to import

        areas = np.asarray(ndimage.label(zero)[0])  # pyright: ignore[reportIndexIssue]
        large = np.bincount(areas.ravel()) >= min(band.shape)
        hole = large[areas] & zero
    return hole


def _planes(
    file: str, hdu: int | None, single: bool = False
) -> tuple[list[ndarray], list[str], list[str]]:
    """Return the planes of a file's image, their names in the header or "", and remarks.

    Without `hdu` this is the first image; `single`: nothing else is looked at. Otherwise further
    images of the same size (up to a pixel) are planes, too, if the first one has a single plane."""
    from astropy.io import fits  # slow to import

    regular(file)
    try:
        content: Any  # uint would ignore BLANK
        with fits.open(file, memmap=False, uint=False) as content:
            images = [each for each in content if each.is_image and len(each.shape) > 1]
            first = content[hdu] if hdu is not None else images[0]
            check_size(*first.shape)
            data = np.squeeze(_pixels(first), tuple(range(len(first.shape) - 3)))
            rest, remarks = [each for each in images if each is not first], list[str]()
            if data.ndim == 3 and len(data) > data.shape[2]:
                data = np.moveaxis(data, 2, 0)
            if data.ndim == 2 or len(data) == 1:
                planes, like = [data.reshape(data.shape[-2:])], [first]
                if hdu is None and not single:
                    near = [
                        e for e in rest if len(e.shape) == 2 and _near(e.shape, planes[0].shape)
                    ]
                    planes, like = planes + [_pixels(e) for e in near], like + near
                names = _extension_names([each.header for each in like])
                rest = [each for each in rest if all(each is not other for other in like)]
            elif data.ndim == 3:
                planes, names = [*data], _plane_names(first.header, len(data))
            else:
                raise ValueError(f"expected bands of height x width, found {first.shape}")
            if rest and hdu is None:
                remarks = [_unread(each.name for each in rest)]
    except (OSError, TypeError, IndexError, EOFError, KeyError, AttributeError) as error:
        raise ValueError(f"incomplete or broken FITS file, or no image in it: {error}") from error
    return planes, names, remarks


def _pixels(hdu: Any) -> ndarray:
    try:
        data = np.asarray(hdu.data)
    except ValueError as error:  # of NumPy, if pixels are lacking
        raise OSError(str(error)) from error
    blank = hdu.header.get("BLANK")  # astropy ignores it unless pixels are integers
    return (
        data if blank is None or data.dtype.kind != "f" else np.where(data == blank, np.nan, data)
    )


def _unread(names: Iterable[str]) -> str:
    return f"not read: further images ({listing(name or 'unnamed' for name in names)})"


def _near(one: Sequence[int], other: Sequence[int]) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= 1


def _extension_names(headers: Sequence[Any]) -> list[str]:
    """Return the names of extensions by a key that distinguishes them, else of the last one."""
    lists = [[str(h.get(key, "")) for h in headers] for key in ("FILTER", "BAND", "EXTNAME")]
    return next((each for each in lists if all(each) and len(set(each)) == len(each)), lists[-1])


def _plane_names(header: Any, count: int) -> list[str]:
    """Return the names of a cube's planes: BANDS = 'griz' or 'g,r,i,z', or BAND0, FILTER1, ..."""
    listed = re.split(r"[\s,;]+", str(header.get("BANDS") or header.get("FILTERS") or "").strip())
    listed = [*listed[0]] if len(listed) == 1 else listed
    numbered = [
        [f"{key}{n + at}" for n in range(count)] for key in ("BAND", "FILTER") for at in (0, 1)
    ]
    lists = [listed, *([str(header.get(key, "")) for key in keys] for keys in numbered)]
    return next((each for each in lists if len(each) == count and all(each)), [""] * count)


def _chosen(
    planes: list[ndarray], names: list[str], remarks: list[str], wanted: list[str] | None
) -> tuple[list[ndarray], list[str]]:
    """Choose the wanted planes by name, bluest first, or take all if there are as many.

    Planes are taken in their order only if the header names no band: it may contradict."""
    words = [re.split(r"[^a-z0-9]+", name.lower()) for name in names]  # HSC-G, NIR_Y, g DECam
    places = {b: [k for k, has in enumerate(words) if b.lower() in has] for b in wanted or LETTERS}
    found = {name: at[0] for name, at in places.items() if len(at) == 1}
    unnamed = not found and not any({*LETTERS}.intersection(each) for each in words)
    if wanted and len(found) == len(wanted):
        order = [found[name] for name in ordered(wanted)]
    elif wanted and len(wanted) == len(planes) and unnamed:
        order = [wanted.index(name) for name in ordered(wanted)]
    elif wanted is None and len(planes) == 3 and len(set(found.values())) == 3 == len(found):
        order = [found[name] for name in ordered([*found])]
    elif wanted is None and len(planes) == 3 and not any(names):
        order = [0, 1, 2]
    elif wanted and len(wanted) == 1 and unnamed:
        order, remarks = [0], [*remarks, _unread(names[1:])]
    else:
        which = listing(name or "unnamed" for name in names)
        height, width = planes[0].shape
        n = f"{len(planes)} planes" if len(planes) > 1 else "1 plane"
        has = f"{n} of {width} x {height} px ({which})"
        if wanted:
            lacking = [name for name in wanted if name not in found]
            todo = f"bands {listing(lacking)} must be named in the header, each once"
        elif len(planes) == 1:
            todo = f"to show one band in grey, give its name: bands: [{names[0] or 'r'}]"
        else:
            some = ", ".join(names[:3]) if all(map(BAND.search, names[:3])) else "i, r, g"
            todo = f"choose three that the header names, such as bands: [{some}], or give hdu"
        raise ValueError(f"{has}; expected three bands of one size: {todo}")
    return [planes[k] for k in order], remarks
