"""Read the coordinates of galaxies from a table, and name galaxies after them."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.coordinates import Angle

from galaxymorph.data.tables import read_table
from galaxymorph.text import listing

# Usual names of columns, in lower case without blanks and punctuation; the first that is there.
RA = ("ra", "radeg", "raj2000", "raicrs", "alphaj2000", "rightascension")
DEC = ("dec", "decdeg", "decl", "dedeg", "decj2000", "dej2000", "decicrs", "deicrs")
DEC += ("deltaj2000", "declination")
IDS = ("id", "idstr", "galaxyid", "objid", "objectid", "dr7objid", "dr8objid", "assetid", "iauname")
IDS += ("name", "designation", "targetid", "sourceid")
NAME = re.compile(r"\w[\w .+()-]{0,199}(?<! )")
SHORTENED = re.compile(r"\d(\.\d+)?[eE]\+?\d+")


def positions(file: Path) -> tuple[pd.DataFrame, list[str]]:
    """Read ids and coordinates (degrees) of galaxies from a table; return also notes.

    Raises `ValueError` that names columns or rows: none or empty coordinates, values out of range,
    duplicate ids, and ids that are not usable as file names."""
    table = read_table(file)
    plain = {re.sub(r"\W|_", "", str(name)).lower(): name for name in table.columns[::-1]}
    chosen = [next((plain[name] for name in names if name in plain), None) for names in (RA, DEC)]
    if None in chosen:
        raise ValueError(f"{file}: expected columns ra and dec, found {listing(table.columns)}")
    if not len(table):
        raise ValueError(f"{file}: no rows")
    texts = [table[name].fillna("").astype(str).str.strip() for name in chosen]
    numbers = (
        pd.concat(texts, axis=1).apply(pd.to_numeric, errors="coerce").to_numpy(float, copy=True)
    )
    notes = [] if chosen == ["ra", "dec"] else [f"coordinates from columns {listing(chosen)}"]
    hours = np.logical_and(*(text.str.contains(r"\d[:hd\s]\s*\d").to_numpy() for text in texts))
    if hours.any():
        numbers[hours] = _angles([text[hours].tolist() for text in texts], file)
        notes.append(f"{hours.sum():,} coordinates read as hh:mm:ss and dd:mm:ss")
    elif (numbers[:, 0] <= 24).all() and len(table) > 20:
        notes.append("all ra are below 24: taken as degrees, not hours")
    ra, dec = numbers.T
    wrong = ~((ra >= 0) & (ra <= 360) & (dec >= -90) & (dec <= 90))  # also true for NaN
    if wrong.any():
        pairs = zip(table.index, *texts, strict=True)
        shown = [f"{row} ({a}, {d})" for (row, a, d), odd in zip(pairs, wrong, strict=True) if odd]
        what = "ra must lie between 0 and 360 degrees, dec between -90 and 90"
        raise ValueError(f"{file}: {what}, but not in rows {listing(shown)}")
    column = next((plain[name] for name in IDS if name in plain), None)
    if column is None:
        ids = [iau_name(*pair) for pair in numbers.tolist()]
    else:
        ids = table[column].fillna("").astype(str).str.strip().tolist()
    if bad := [id for id in ids if SHORTENED.fullmatch(id) or not NAME.fullmatch(id)]:
        what = f"column {column!r} has ids that cannot be file names or have lost digits"
        raise ValueError(
            f"{file}: {what}: {listing(map(repr, bad))}. Rename or export them as text"
        )
    found = pd.DataFrame({"id": ids, "ra": ra, "dec": dec}, index=table.index)
    if len(twice := found.index[found["id"].str.lower().duplicated(keep=False)]):
        first = found.loc[twice[0], "id"]
        raise ValueError(f"{file}: duplicate id {first!r} (rows {listing(twice)})")
    return found, notes


def _angles(texts: Sequence[Sequence[str]], file: Path) -> np.ndarray:
    """Convert hh:mm:ss and dd:mm:ss to degrees, (galaxy, 2)."""
    try:
        ra, dec = (Angle(t, unit) for t, unit in zip(texts, ("hourangle", "deg"), strict=True))
    except ValueError as error:
        raise ValueError(f"{file}: not valid coordinates: {error}") from error
    return np.stack([ra.deg, dec.deg], axis=1)


def iau_name(ra: float, dec: float) -> str:
    """Name a galaxy after its coordinates (degrees), which are truncated: J123456.78+012345.6."""
    seconds, arcseconds = int(ra * 24000 + 1e-4) % 8640000, int(abs(dec) * 36000 + 1e-4)
    hours = f"{seconds // 360000:02d}{seconds // 6000 % 60:02d}{seconds % 6000 / 100:05.2f}"
    degrees = f"{arcseconds // 36000:02d}{arcseconds // 600 % 60:02d}{arcseconds % 600 / 10:04.1f}"
    return f"J{hours}{'-' if dec < 0 else '+'}{degrees}"
