"""Look at decoded pixels: is there a galaxy on a dark sky in each picture?"""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float32, Shaped, UInt8
from numpy import ndarray

from galaxymorph.text import listing

# What is measured of each picture, in levels from 0 to 255 and in shares of its pixels.
COLUMNS = ("share_0", "share_255", "peak", "spread", "second", "sky", "centre", "coloured")
CHUNK = 64  # pictures measured at a time
ENOUGH = 32  # pixels along a side: of larger pictures only every second, third, ... is measured

# Limits, in levels, and the outermost of 8,176 real galaxies (SDSS and DECaLS, of 32 to 128 px) and
# 1,500 mock ones. None of them gets a remark, and none if cropped to a quarter of its frame.
CONSTANT = 2  # blank: no larger spread; galaxies: 55 or more
EMPTY = 8  # one colour: no larger spread in two channels; galaxies: 49 or more
NEARLY_BLACK = 24  # a lower peak; galaxies: 66 or more
SATURATED = 0.35  # a larger share at 255; galaxies: 0.28 or less (beside a bright star)
BRIGHT_SKY = 128  # a brighter sky; galaxies: 105 or less, tightly cropped 128
NEGATIVE = 16  # a centre darker than the sky by more; galaxies: brighter, all of them

FINDINGS = {  # what is seen, and what may help
    "blank": (
        f"their pixels differ by at most {CONSTANT} of 255",
        "Remove frames without a galaxy; if they have one, scale the pixels (FITS: stretch, sky)",
    ),
    "nearly black": (
        f"99.5 % of their pixels are below {NEARLY_BLACK} of 255",
        "Scale the pixels to all of 8 or 16 bits (FITS: a smaller stretch)",
    ),
    "saturated": (
        f"more than {SATURATED:.0%} of their pixels are at 255",
        "Scale the pixels (FITS: subtract the sky, a larger stretch)",
    ),
    "negative": ("the centre is darker than the sky", "Invert the images"),
    "bright sky": (
        f"the sky is above {BRIGHT_SKY} of 255",
        "Subtract the sky, or scale the pixels so that it is dark (FITS: sky)",
    ),
    "one colour": ("two of three channels are empty", "Give three bands, or one in grey"),
}
UNUSABLE = ("blank", "nearly black", "saturated")


def look(images: UInt8[ndarray, "galaxy 3 size size"]) -> pd.DataFrame:
    """Measure pictures, perhaps memory-mapped, and name what is wrong with each.

    Returns a row for each: `COLUMNS`, and `finding`, one of `FINDINGS` or ""."""
    parts = [measure(images[at : at + CHUNK]) for at in range(0, len(images), CHUNK)]
    return named(np.concatenate([np.empty((0, len(COLUMNS)), np.float32), *parts]))


def measure(images: UInt8[ndarray, "galaxy 3 size size"]) -> Float32[ndarray, "galaxy column"]:
    """Measure a few pictures; return `COLUMNS`."""
    step = max(1, images.shape[3] // ENOUGH)
    images = np.ascontiguousarray(images[..., ::step, ::step])
    n, _, size, _ = images.shape
    flat = images.reshape(n, 3, -1)
    top, low = flat.max(1), flat.min(1)
    faint, bright = _quantiles(flat, 0.005, 0.995)
    _, second, spread = np.sort(bright - faint, axis=1).T
    border, middle = max(1, size // 16), slice(size * 3 // 8, max(size * 5 // 8, size * 3 // 8 + 1))
    frame = np.ones((size, size), bool)
    frame[border:-border, border:-border] = False
    (sky,) = _quantiles(flat[:, :, frame.ravel()], 0.5)
    (centre,) = _quantiles(images[:, :, middle, middle].reshape(n, 3, -1), 0.5)
    masks = top == 0, top == 255, top != low
    share_0, share_255, coloured = (np.count_nonzero(mask, axis=1) / size**2 for mask in masks)
    columns = (
        share_0,
        share_255,
        bright.max(1),
        spread,
        second,
        sky.mean(1),
        centre.mean(1),
        coloured,
    )
    return np.stack(columns, axis=1).astype(np.float32)


def _quantiles(pixels: UInt8[ndarray, "galaxy 3 pixel"], *shares: float) -> list[ndarray]:
    """Return quantiles of each channel. A stable sort of bytes is five times as fast as others."""
    ordered, last = np.sort(pixels, axis=2, kind="stable"), pixels.shape[2] - 1
    return [ordered[..., round(share * last)].astype(int) for share in shares]


def findings(measured: Float32[ndarray, "galaxy column"]) -> Shaped[ndarray, " galaxy"]:
    """Name what is wrong with each picture, the first that applies."""
    of = dict(zip(COLUMNS, measured.T, strict=True))
    tests = [
        of["spread"] <= CONSTANT,
        of["peak"] < NEARLY_BLACK,
        of["share_255"] > SATURATED,
        of["centre"] < of["sky"] - NEGATIVE,
        of["sky"] > BRIGHT_SKY,
        of["second"] <= EMPTY,
    ]
    return np.select(tests, [*FINDINGS], default="")


def named(measured: Float32[ndarray, "galaxy column"]) -> pd.DataFrame:
    """Return the table of `look` for what was measured."""
    return pd.DataFrame(measured, columns=list(COLUMNS)).assign(finding=findings(measured))


def sentences(
    table: pd.DataFrame, names: Sequence[str], of: Collection[str] = tuple(FINDINGS)
) -> list[str]:
    """Say what is wrong with the pictures of a table by `look`, with their names and a remedy."""
    said, total = [], f"{len(table):,} images"
    for finding in of:
        if rows := np.flatnonzero(table["finding"] == finding).tolist():
            which = listing(names[row] for row in rows)
            seen, remedy = FINDINGS[finding]
            said.append(f"{finding}: {len(rows):,} of {total} ({seen}): {which}. {remedy}")
    grey = np.count_nonzero((table["coloured"] == 0) & (table["finding"] == ""))
    if grey and "one colour" in of:
        said.append(f"grey: {grey:,} of {total} (one band, in three equal channels)")
    return said


def remark(finding: str) -> str:
    """Return the remark on one picture, or "" for none."""
    seen, remedy = FINDINGS.get(finding, ("", ""))
    return f"{finding}: {seen}. {remedy}" if finding else ""


def unusable(table: pd.DataFrame, names: Sequence[str]) -> str:
    """Say that most pictures of a set show no galaxy, and what may help; else return ""."""
    count = np.count_nonzero(table["finding"].isin(UNUSABLE))
    if 2 * count <= len(table):
        return ""
    said = ". ".join(sentences(table, names, UNUSABLE))
    return f"{count:,} of {len(table):,} images show no galaxy. {said}"
