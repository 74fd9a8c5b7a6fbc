"""Download cut-outs of galaxies from sky surveys, by their coordinates: politely and resumably."""

import datetime
import email.utils
import http.client
import io
import re
import time
import urllib.error
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from astropy.io import fits
from PIL import Image
from tqdm import tqdm

from galaxymorph import project
from galaxymorph.data.download import connect
from galaxymorph.data.positions import positions
from galaxymorph.text import listing, unknown

T = TypeVar("T")


class Survey(NamedTuple):
    """A survey and the addresses of its cut-outs, in which {names} are filled in."""

    layer: str
    pixscale: float  # of its own pixels, in arcseconds
    sides: tuple[int, int]  # smallest and largest, in pixels
    jpg: str
    fits: str | None = None  # bands `BANDS`, or one file for each if there is `names`
    names: str | None = None  # lists the files of an area, which the other addresses need
    bands: str = "grz"  # of FITS


_LEGACY = "https://www.legacysurvey.org/viewer"
_AREA = "ra={ra}&dec={dec}&layer={layer}&pixscale={pixscale}&size={size}"
_SDSS = "https://skyserver.sdss.org/dr18/SkyServerWS/ImgCutout/getjpeg"
_PS1 = "https://ps1images.stsci.edu/cgi-bin"
_CUT = "fitscut.cgi?ra={ra}&dec={dec}&size={native}"
# All real addresses. The servers silently change sizes outside the `sides`.
SURVEYS: dict[str, Survey] = {
    "legacy": Survey(
        layer="ls-dr10",
        pixscale=0.262,
        sides=(8, 3000),
        jpg=f"{_LEGACY}/jpeg-cutout?{_AREA}",
        fits=f"{_LEGACY}/fits-cutout?{_AREA}&bands=grz",
    ),
    "sdss": Survey(
        layer="dr18",
        pixscale=0.396,
        sides=(64, 2048),
        jpg=_SDSS + "?ra={ra}&dec={dec}&scale={pixscale}&width={size}&height={size}",
    ),
    "ps1": Survey(
        layer="stack",
        pixscale=0.25,
        sides=(8, 3000),
        jpg=f"{_PS1}/{_CUT}&output_size={{size}}&format=jpg&red={{i}}&green={{r}}&blue={{g}}",
        fits=f"{_PS1}/{_CUT}&format=fits&red={{file}}",
        names=f"{_PS1}/ps1filenames.py?ra={{ra}}&dec={{dec}}&filters=gri",
        bands="gri",
    ),
}
INTERVAL = 0.5  # seconds between requests
TRIES = 5  # for one answer, waiting 1, 2, 4, ... seconds or as long as the server asks
LONGEST = 600  # seconds to wait, at most
ALIKE = 5  # stop when so many galaxies in a row fail for the same reason
LARGEST = 1 << 28  # bytes of one answer
EVERY = 20  # galaxies after which the tables are written
FLAT = 4  # of 255: a JPEG without a larger difference is blank
BUSY = (429, 500, 502, 503, 504)  # answers of HTTP after which trying again may help
COLUMNS = ["id", "file", "ra", "dec", "survey", "layer", "pixel_scale", "size", "date"]


class Fault(ValueError):
    """An answer that is not an image of the galaxy; `again` if another try may help."""

    def __init__(self, why: str, *, again: bool = False) -> None:
        super().__init__(why)
        self.again = again


def cutouts(
    table: Path,
    folder: Path,
    *,
    survey: str,
    size: int,
    pixscale: float | None = None,
    kind: str = "jpg",
) -> tuple[str, int]:
    """Download a cut-out for each galaxy of a table; return a summary and the number of failures.

    Writes `<id>.jpg` or `<id>.fits`, `cutouts.csv` (where each comes from) and `failures.csv`. Good
    cut-outs that `cutouts.csv` lists are not downloaded again, so the same command resumes. FITS
    has three bands, grz (legacy) or gri (ps1). The stretch of PS1's JPEG depends on the galaxy.

    Args:
        table: of any format of `read_table`, with ra and dec in degrees (or hh:mm:ss and
            dd:mm:ss) and, optionally, ids (default: named after the coordinates).
        survey: legacy, sdss or ps1.
        size: side in pixels.
        pixscale: arcseconds per pixel (default: the survey's own).
        kind: jpg or fits.

    Raises:
        ValueError: options or coordinates out of range, or a folder with other cut-outs.
        ConnectionError: the server cannot be reached or gives the same useless answer each time.
    """
    if survey not in SURVEYS:
        raise ValueError(unknown("survey", survey, SURVEYS))
    source = SURVEYS[survey]
    scale = _check(survey, source, size, pixscale, kind)
    galaxies, notes = positions(table)
    settings = {"survey": survey, "layer": source.layer, "pixel_scale": scale, "size": size}
    kept = _kept(folder, settings, kind)
    server, failures, last = Server(), {}, []
    rows = list(galaxies.itertuples(index=False))
    shown = tqdm(rows, "cut-outs", unit=" galaxies", mininterval=1)
    try:
        for count, (id, ra, dec) in enumerate(shown):
            path = folder / f"{id}.{kind}"
            if _is_kept(kept.get(id), path, ra, dec, kind, size):
                continue
            kept.pop(id, None)
            values = {"ra": f"{ra:.7f}", "dec": f"{dec:.7f}", "pixscale": scale, "size": size}
            values |= {"layer": source.layer, "native": round(size * scale / source.pixscale)}
            try:
                content = _download(server, source, kind, values)
            except Fault as fault:
                failures[id] = {"id": id, "ra": ra, "dec": dec, "why": str(fault)}
                last = [*last, str(fault)][-ALIKE:]
                shown.set_postfix_str(f"{len(failures):,} failed")
                if len(last) == ALIKE and len(set(last)) == 1 and "blank" not in last[0]:
                    what = f"{ALIKE} galaxies in a row failed: {last[0]}"
                    remedy = "The cut-outs so far are kept; run the same command to resume"
                    raise ConnectionError(f"stopped, as {what}. {remedy}") from fault
                continue
            last = []
            project.write(path, content)
            today = datetime.datetime.now(datetime.UTC).date().isoformat()
            kept[id] = {"id": id, "file": path.name, "ra": ra, "dec": dec, **settings}
            kept[id]["date"] = today
            if count % EVERY == 0:
                _write(folder, kept, failures)
    finally:
        shown.close()
        _write(folder, kept, failures)
    have = sum(id in kept for id in galaxies["id"])
    lines = [*notes, f"{have:,} of {len(rows):,} cut-outs are in {folder} (cutouts.csv lists them)"]
    if failures:
        whys = pd.Series([each["why"] for each in failures.values()]).value_counts()
        reasons = listing(f"{count:,} {why}" for why, count in whys.items())
        lines.append(f"{len(failures):,} failed: {reasons}; see {folder / 'failures.csv'}")
    return "\n".join(lines), len(failures)


def _check(name: str, survey: Survey, size: int, pixscale: float | None, kind: str) -> float:
    """Return the pixel scale. Raises `ValueError` for what the survey does not offer."""
    least, most = survey.sides
    if not least <= size <= most:
        raise ValueError(f"size {size}: {name} offers {least} to {most} px")
    if kind not in ("jpg", "fits") or (kind == "fits" and survey.fits is None):
        offered = "jpg and fits" if survey.fits else "jpg only"
        raise ValueError(f"format {kind!r}: {name} offers {offered}")
    scale = survey.pixscale if pixscale is None else pixscale
    if not 0.01 <= scale <= 60:
        raise ValueError(f"pixscale {scale}: expected 0.01 to 60 arcseconds per pixel")
    if kind == "fits" and survey.names and scale != survey.pixscale:
        raise ValueError(f"pixscale {scale}: {name} offers FITS at {survey.pixscale} only")
    return scale


# ---- what is there


def _kept(folder: Path, settings: Mapping[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """Return the rows of `cutouts.csv` by id. Raises `ValueError` if they have other settings."""
    file = folder / "cutouts.csv"
    if not file.exists():
        return {}
    kinds: Any = {"id": str, "file": str, "layer": str, "ra": float, "dec": float}
    try:
        table = pd.read_csv(file, dtype=kinds, keep_default_na=False)
    except ValueError as error:  # also broken, empty or not in UTF-8
        project.set_aside(file, f"not a list of cut-outs ({error})")
        return {}
    if list(table.columns) != COLUMNS:
        raise ValueError(f"{file} is not a list of cut-outs; choose another folder")
    same = (table[list(settings)] == pd.Series(settings)).all(axis=1)
    same &= table["file"].str.endswith(f".{kind}")
    if not same.all():
        row = table[~same].iloc[0]
        there = f"{row['survey']} {row['layer']}, {row['size']} px of {row['pixel_scale']}"
        raise ValueError(f"{folder} has other cut-outs ({there}, {row['file']}): choose another")
    return {row["id"]: row for row in table.to_dict("records")}  # pyright: ignore


def _is_kept(
    row: Mapping[str, Any] | None, path: Path, ra: float, dec: float, kind: str, size: int
) -> bool:
    """Return whether a good cut-out of these coordinates is there."""
    if row is None or not path.is_file():
        return False
    if not (abs(row["ra"] - ra) < 1e-7 and abs(row["dec"] - dec) < 1e-7):
        return False
    try:
        _checked(path.read_bytes(), kind=kind, size=size)
    except Fault:
        return False
    return True


def _write(
    folder: Path, kept: Mapping[str, Mapping[str, Any]], failures: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write `cutouts.csv`, and `failures.csv` if there are any."""
    tables = {"cutouts": (COLUMNS, kept), "failures": (["id", "ra", "dec", "why"], failures)}
    for name, (columns, rows) in tables.items():
        if not rows and name == "failures":
            (folder / "failures.csv").unlink(missing_ok=True)
            continue
        text = pd.DataFrame(list(rows.values()), columns=columns).to_csv(index=False)
        project.write(folder / f"{name}.csv", text)


# ---- answers


class Server:
    """Asks for one address at a time, not faster than `INTERVAL`, and again if it is busy."""

    def __init__(self) -> None:
        self.next = 0.0

    def fetch(self, url: str, read: Callable[[bytes], T]) -> T:
        """Return what `read` makes of the answer; it raises `Fault` if the answer is useless."""
        why = ""
        for attempt in range(TRIES):
            time.sleep(max(0.0, self.next - time.monotonic()))
            self.next = time.monotonic() + INTERVAL
            wait = float(2**attempt)
            try:
                with connect(url) as response:
                    content = response.read(LARGEST)
                    if response.length:  # bytes that did not come
                        raise http.client.IncompleteRead(content, response.length)
                    return read(content)
            except Fault as fault:
                if not fault.again:
                    raise
                why = str(fault)
            except urllib.error.HTTPError as error:
                why = f"HTTP {error.code} ({error.reason})"
                if error.code not in BUSY:
                    raise Fault(why) from error
                wait = max(wait, _retry_after(error.headers.get("Retry-After", "")))
            except (OSError, http.client.HTTPException) as error:
                why = (
                    f"no answer ({getattr(error, 'reason', None) or error or type(error).__name__})"
                )
            if wait > LONGEST:
                raise ConnectionError(
                    f"{why}: the server asks to wait for {wait:,.0f} s; run later"
                )
            if attempt < TRIES - 1:
                self.next = max(self.next, time.monotonic() + wait)
        raise Fault(f"{why}, {TRIES} times")


def _retry_after(text: str) -> float:
    """Return the seconds that a server asks to wait, given as such or as a date; 0 if unknown."""
    if text.strip().isdigit():
        return float(text)
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    except (TypeError, ValueError):
        return 0.0


def _download(server: Server, survey: Survey, kind: str, values: dict[str, Any]) -> bytes:
    """Return the encoded cut-out of one galaxy. Raises `Fault`."""
    address, check = survey.jpg, partial(_checked, kind=kind, size=values["size"])
    if survey.names is not None:
        listed = partial(_files, bands=survey.bands)
        values = values | server.fetch(survey.names.format(**values), listed)
    if kind == "jpg" or survey.fits is None:
        return server.fetch(address.format(**values), check)
    if survey.names is None:
        return server.fetch(survey.fits.format(**values), check)
    files = [values[band] for band in survey.bands]
    return _cube([server.fetch(survey.fits.format(**values, file=f), check) for f in files], survey)


def _files(content: bytes, *, bands: str) -> dict[str, str]:
    """Return the file of each band from the table of PS1's ps1filenames.py."""
    lines = [line.split() for line in content.decode("utf-8", "replace").splitlines()]
    head = lines[0] if lines else []
    if not {"filter", "filename"} <= set(head):
        raise Fault(_not_image(content) or "no list of files", again=True)
    band, name = head.index("filter"), head.index("filename")
    files = {line[band]: line[name] for line in lines[1:] if len(line) == len(head)}
    if lacking := [each for each in bands if each not in files]:
        raise Fault(f"blank: no image in band {listing(lacking)} (outside the footprint?)")
    return files


def _checked(content: bytes, *, kind: str, size: int) -> bytes:
    """Return the content of an image file. Raises `Fault` unless it is whole, and not blank."""
    if why := _not_image(content):
        raise Fault(why, again=True)
    try:
        if kind == "jpg":
            with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
                _check_size(image.height, image.width, size)
                planes = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        else:
            with warnings.catch_warnings(), fits.open(io.BytesIO(content)) as opened:
                warnings.simplefilter("ignore")
                data = next(hdu.data for hdu in opened if hdu.data is not None)  # pyright: ignore
                planes = np.asarray(data, float)
                height, width = planes.shape[-2:]
                _check_size(height, width, size)
                planes = planes.reshape(-1, size, size)
    except Fault:
        raise
    except Exception as error:  # decoders raise all kinds of errors on broken files
        raise Fault(f"a truncated or broken {kind} file ({error})", again=True) from error
    for plane in planes:
        known = plane[np.isfinite(plane)]
        if not known.size or np.ptp(known) <= (FLAT if kind == "jpg" else 0):
            raise Fault("blank (outside the footprint?)")
    return content


def _check_size(height: int, width: int, size: int) -> None:
    if (height, width) != (size, size):
        what = f"{width} x {height} px instead of {size} x {size}"
        raise Fault(f"{what}: the server changed the size")


def _not_image(content: bytes) -> str:
    """Return what is wrong with an answer that holds no data at all, or else ""."""
    if not content:
        return "an empty answer (0 bytes)"
    start = content[:2000].lstrip().lower()
    if not start.startswith((b"<", b"{")) and b"<html" not in start:
        return ""
    title = re.search(rb"<title>([^<]{1,60})", content[:2000], flags=re.IGNORECASE)
    text = " ".join(title[1].decode("utf-8", "replace").split()) if title else ""
    return "a text (HTML) instead of an image" + (f": {text!r}" if text else "")


def _cube(planes: Sequence[bytes], survey: Survey) -> bytes:
    """Join FITS images of one band each into a cube whose header names the bands."""
    data, header = [], None
    for plane in planes:
        with fits.open(io.BytesIO(plane)) as opened:
            hdu = next(hdu for hdu in opened if hdu.data is not None)  # pyright: ignore
            data.append(np.asarray(hdu.data, np.float32))  # pyright: ignore
            header = header or hdu.header  # pyright: ignore
    cube = fits.PrimaryHDU(np.stack(data), header)
    cube.header["BANDS"] = survey.bands
    stream = io.BytesIO()
    cube.writeto(stream)
    return stream.getvalue()
