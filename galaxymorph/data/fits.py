"""Find FITS images, group them by galaxy, and combine their bands into a colour picture."""

import math
import os
import re
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool
from numpy import ndarray

from galaxymorph import project
from galaxymorph.data.found import Found, files_below, stamp, without_ending
from galaxymorph.data.labels import Names as ClassNames
from galaxymorph.data.labels import label
from galaxymorph.data.pictures import RGB, instead, left_out
from galaxymorph.data.planes import LETTERS, Bands, Names, light_of, names_of, ordered
from galaxymorph.text import listing

ENDINGS = (".fits", ".fit", ".fits.gz", ".fits.bz2", ".fits.fz")
STRETCH, SOFTENING, WEIGHTS = 0.5, 8.0, (2.5, 1.5, 1.0)  # defaults of stretch, Q, band_weights
COLOUR = {"bands": None, "hdu": None, "stretch": None, "Q": SOFTENING}
COLOUR |= {"band_weights": list(WEIGHTS), "sky": "auto"}
SAMPLE = 16  # galaxies from which the stretch and the treatment of the sky are chosen

Entry = os.DirEntry[str]
Sky = Literal["auto", "none", "border"]


def find(
    root: Path,
    *,
    labels: Path | None = None,
    class_names: ClassNames = None,
    id_column: str | None = None,
    label_column: str | None = None,
    bands: str | Sequence[str] | None = None,
    hdu: int | None = None,
    stretch: float | None = None,
    Q: float = SOFTENING,
    band_weights: Sequence[float] = WEIGHTS,
    sky: Sky = "auto",
) -> Found:
    """Find FITS images anywhere below a folder, plain or compressed.

    A galaxy is one file with all bands, `<id>.fits`, or one file per band, `<id>_<band>.fits`, with
    band u, g, r, i, z or y (or capitals) or one of `bands`. Headers of single bands are not asked:
    they are often wrong.

    Args:
        labels, id_column, label_column: see `labels.label` (default: all unlabelled).
        class_names: see `labels.classified`.
        bands: the three bands to use, or one, shown in grey: letters ("gri") or a list of names.
            Of planes that the header does not name, their order (default: bluest first).
        stretch, sky: see `read`; None and `auto` are chosen from the data by `propose`.
        hdu, Q, band_weights: see `read`."""
    names = names_of(bands)
    if names is not None and (len(names) not in (1, 3) or len(set(names)) != len(names)):
        wanted = "three different bands, such as gri or [F444W, F277W, F150W], or one, such as r"
        raise ValueError(f"bands must be {wanted}, not {bands!r}")
    if len(band_weights) != 3:
        raise ValueError(f"band_weights must be three numbers, bluest first, not {band_weights}")
    below = sorted(files_below(project.existing(root), ("",)), key=lambda file: file.name)
    files = [file for file in below if file.name.lower().endswith(ENDINGS)]
    notes = left_out((f.name for f in below if labels is None or f.name != labels.name), ENDINGS)
    if not files:
        expected = f"expected {', '.join(ENDINGS)}"
        raise ValueError(f"{root}: no FITS files found; {expected}{instead(notes)}")
    bands = bands if bands is None or isinstance(bands, str) else list(bands)
    colour = {"bands": bands, "hdu": hdu, "stretch": stretch, "Q": Q}
    colour |= {"band_weights": list(band_weights), "sky": sky}
    groups = _galaxies(files, names)
    if names and len(names) == 1:
        notes.append(f"one band ({names[0]}): grey, in three equal channels")
    found = cubes({id: [Path(f.path) for f in each] for id, each in groups.items()}, **colour)
    places = [", ".join(file.name for file in each) for each in groups.values()]
    found = replace(found, names=places, notes=notes)
    return label(found, labels, class_names, id_column=id_column, label_column=label_column)


def cubes(galaxies: Mapping[str, Sequence[Path]], **colour: Any) -> Found:
    """Return unlabelled galaxies of FITS images, with the files of each, and options of `read`."""
    colour = COLOUR | colour
    paths = [[str(file) for file in files] for files in galaxies.values()]
    pictures = [partial(read, each, **colour) for each in paths]
    return Found(
        ids=list(galaxies),
        names=[", ".join(each) for each in paths],
        read=[*pictures],
        stamps=[stamp(file) for files in galaxies.values() for file in files],
        colour=colour,
        propose=partial(propose, pictures),
    )


def _galaxies(files: Sequence[Entry], names: Sequence[str] | None) -> dict[str, list[Entry]]:
    """Group files by id: one with all bands, or one per band from blue to red."""
    groups: dict[str, dict[str, Entry]] = defaultdict(dict)  # "" is the band of a cube
    known = sorted({*LETTERS, *(names or ())}, key=len, reverse=True)
    pattern = re.compile(f"(.+)[_-]({'|'.join(map(re.escape, known))})", flags=re.IGNORECASE)
    for file in files:
        stem = without_ending(file.name)
        single = pattern.fullmatch(stem)
        id, band = (single[1], single[2].lower()) if single else (stem, "")
        group = groups[id]
        if band in group or (group and "" in (band, *group)):
            others = listing(other.path for other in group.values())
            raise ValueError(f"duplicate id {id!r} ({others}, {file.path}); remove or rename one")
        group[band] = file
    chosen, wrong = {}, []
    for id, group in groups.items():
        wanted = [""] if "" in group else [name.lower() for name in ordered(names or [*group])]
        if "" in group or (len(wanted) in (3, len(names or ())) and set(wanted) <= set(group)):
            chosen[id] = [group[band] for band in wanted]
        else:
            wrong.append(f"{id} ({', '.join(group)})")
    if wrong:
        raise ValueError(
            "expected a cube <id>.fits, or files <id>_<band>.fits in three bands; these have other "
            f"bands: {listing(wrong)}. Add files, or choose three bands, such as bands: gri, or "
            "one, such as bands: r"
        )
    return chosen


def read(
    files: Sequence[str],
    *,
    bands: Names = None,
    hdu: int | None = None,
    stretch: float | None = STRETCH,
    Q: float = SOFTENING,
    band_weights: Sequence[float] = WEIGHTS,
    sky: Sky = "none",
) -> RGB:
    """Combine three bands into a colour picture with the stretch of Lupton et al. (2004).

    Args:
        files: one file with all bands, or one for each, from blue to red.
        bands: see `find`.
        hdu: extension with the image (default: the first that has one).
        stretch, Q: see `astropy.visualization.make_lupton_rgb`; stretch in weighted pixel units.
        band_weights: factors for three bands, bluest first.
        sky: `border` subtracts the median of each band's outermost pixels, `none` nothing.

    Raises `ValueError` for a broken file, or unless there are the bands that are wanted."""
    light, remarks = light_of(files, bands, hdu, band_weights)
    if sky == "border":
        light = light - np.median(light[:, _border(light)], axis=1)[:, None, None]
    blue, green, red = light[[0, 0, 0] if len(light) == 1 else [0, 1, 2], ::-1]  # first row: lowest
    stretched = {"stretch": STRETCH if stretch is None else stretch, "Q": Q}
    from astropy.visualization import make_lupton_rgb  # slow to import

    with np.errstate(divide="ignore", invalid="ignore"):  # where all bands are 0, it returns 0
        rgb = make_lupton_rgb(red, green, blue, minimum=0, **stretched)  # pyright: ignore[reportArgumentType]
    return rgb, "; ".join(remarks)


def _border(light: Bands) -> Bool[ndarray, "height width"]:
    """Return a mask of the outermost pixels, a sixteenth of the sides wide."""
    wide, mask = max(1, min(light.shape[1:]) // 16), np.ones(light.shape[1:], bool)
    mask[wide:-wide, wide:-wide] = False
    return mask


def propose(read: Sequence[Any], colour: dict[str, Any]) -> dict[str, Any]:
    """Choose `stretch` and `sky` from the light of some galaxies; options in `colour` are kept.

    `high` is the 99.5th percentile of the weighted light, `level` the median of its outermost
    pixels; medians over `SAMPLE` galaxies. The sky is subtracted (`border`) if it is more than 5
    times its noise and 5 % of the percentile. The stretch is 0.3 times the percentile above the
    sky, see `_near_usual`. Returns these four."""
    own, measured = {key: colour[key] for key in ("bands", "hdu", "band_weights")}, []
    for each in read[:: -(-len(read) // SAMPLE)]:
        try:
            with warnings.catch_warnings(action="ignore"):
                light = light_of(each.args[0], **own)[0].mean(0, keepdims=True)
        except (OSError, ValueError):
            continue  # it is reported when all are read
        around = light[:, _border(light)]
        level, high = np.median(around), np.percentile(light, 99.5)
        noise = 1.5 * np.median(np.abs(around - level))
        if high > level:
            measured.append((level, high, abs(level) > max(5 * noise, 0.05 * (high - level))))
    level, high, bright = np.median(np.array(measured or [(0, 0, 0)], float), axis=0).tolist()
    sky = ("border" if bright > 0.5 else "none") if colour["sky"] == "auto" else colour["sky"]
    best = _near_usual(0.3 * (high - (level if sky == "border" else min(level, 0.0))))
    return {"stretch": colour["stretch"] or best, "sky": sky, "level": level, "high": high}


def _near_usual(best: float) -> float:
    """Return `STRETCH`, usual for nanomaggies, if `best` is within five times of it.

    From there to 25 times it moves towards `best`, on a logarithmic scale, and then is `best`: so
    data that hardly differ never get pictures that do. In three digits."""
    if not best > 0:
        return STRETCH
    away = math.log(best / STRETCH, 5)
    moved = math.copysign(min(max(2 * abs(away) - 2, 0.0), abs(away)), away)
    return float(f"{STRETCH * 5**moved:.2e}")


def is_settled(colour: dict[str, Any]) -> bool:
    """Return whether neither stretch nor sky are to be chosen from the data."""
    return colour["stretch"] is not None and colour["sky"] != "auto"


def settled(found: Found, chosen: dict[str, Any]) -> Found:
    """Set the options that `propose` has chosen, and say so in the notes."""
    options = {key: chosen[key] for key in ("stretch", "sky")}
    said = f"stretch: {chosen['stretch']:g}, sky: {chosen['sky']}, as {_seen(chosen)}"
    return replace(
        found,
        read=[partial(each, **options) for each in found.read],
        colour=found.colour | options,
        notes=[*found.notes, said],
    )


def _seen(chosen: dict[str, Any]) -> str:
    level, high = (f"{chosen[key]:.2g}" for key in ("level", "high"))
    return f"the data's 99.5th percentile is {high}, their sky {level} (in weighted units)"


def advice(found: Found, seen: pd.DataFrame) -> str:
    """Return what stretch the data suggest, for pictures that do not show their galaxies."""
    assert found.propose
    best = found.propose(found.colour | {"stretch": None, "sky": "auto"})
    black, white = (f"{seen[share].mean():.0%}" for share in ("share_0", "share_255"))
    now = found.colour["stretch"]
    used = f"stretch: {now:g} leaves {black} of the pixels black, {white} at 255"
    return f"{used}; {_seen(best)}: try stretch: {best['stretch']:g}, sky: {best['sky']}"
