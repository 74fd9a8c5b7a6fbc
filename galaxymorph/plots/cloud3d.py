"""An interactive 3D scatter plot of features as a single HTML page, with a picture per galaxy.

The page (`assets/cloud3d.html`, `.css`, `.js`) is self-contained, which its content security policy
enforces: it works from a file, in an e-mail, or embedded in a report. It uses no plotting library,
which would add megabytes to each page."""

import base64
import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image

from galaxymorph.plots.galaxies import Images, Labels, Names, to_pixels
from galaxymorph.plots.pages import render
from galaxymorph.plots.style import COLOURS

# the markers of `style.MARKERS` as SVG paths with a radius of about 1
SHAPES = (
    "M1,0A1,1 0 1 1 -1,0A1,1 0 1 1 1,0Z",
    "M-.85,-.85H.85V.85H-.85Z",
    "M0,-1.1L1.05,.8H-1.05Z",
    "M0,-1.2L1.1,0L0,1.2L-1.1,0Z",
    "M0,1.1L1.05,-.8H-1.05Z",
    "M-.4,-1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z",
    "M-1.1,-.7L-.7,-1.1L0,-.4L.7,-1.1L1.1,-.7L.4,0L1.1,.7L.7,1.1L0,.4L-.7,1.1L-1.1,.7L-.4,0Z",
    "M0,-1.3L.35,-.45L1.25,-.4L.55,.15L.8,1.05L0,.55L-.8,1.05L-.55,.15L-1.25,-.4L-.35,-.45Z",
)


def page(
    points: pd.DataFrame,
    labels: Labels,
    classes: Sequence[str],
    *,
    images: Images,
    ids: Names,
    title: str,
    most: int = 2000,
    tile: int = 48,
    seed: int = 0,
) -> str:
    """Return the HTML of the page.

    Args:
        points: one row per galaxy; three columns, named like the axes (`features.project`).
        labels: class of each galaxy; those without a class (-1) are small and grey.
        most: largest number of galaxies; a larger sample is drawn at random from `seed`.
        tile: width of the pictures in pixels; 48 pixels take about 1 kB.

    Raises `ValueError` if the lengths of points, labels, images and ids differ."""
    n = len(points)
    if not n == len(labels) == len(images) == len(ids) or points.shape[1] != 3:
        given = f"{n} points, {len(labels)} labels, {len(images)} images, {len(ids)} ids"
        given = f"{given} in {points.shape[1]} dimensions"
        raise ValueError(f"{given}: expected equal numbers, in 3 dimensions")
    labels, chosen = np.asarray(labels), np.arange(n)
    if n > most:
        chosen = np.sort(np.random.default_rng(seed).choice(n, most, replace=False))
    labels, shown = labels[chosen], to_pixels(images)[chosen]
    columns = max(1, int(np.ceil(np.sqrt(len(chosen)))))
    kinds = dict(enumerate(classes)) | ({-1: "no class"} if (labels < 0).any() else {})
    places = _in_ball(points.to_numpy(float))[chosen]
    data = {
        "axes": [str(name).replace(" of the variance", "") for name in points.columns],  # short
        "points": np.round(places, 3).tolist(),
        "kinds": [list(kinds).index(k) for k in labels.tolist()],
        "ids": np.asarray(ids)[chosen].astype(str).tolist(),
        "looks": [_look(k) | {"name": x, "n": int((labels == k).sum())} for k, x in kinds.items()],
        "columns": columns,
        "tile": tile,
    }
    number = f"{len(chosen):,} {f'of {n:,} ' * (len(chosen) < n)}galaxies"
    sprite = base64.b64encode(_sprite(shown, columns=columns, tile=tile)).decode()
    return render("cloud3d.html", title=title, number=number, data=data, sprite=sprite)


def _look(k: int) -> dict[str, str | float]:
    """Return the look of a class, or of galaxies without a class (-1)."""
    if k < 0:
        return {"colour": "faint", "shape": SHAPES[0], "size": 0.7}
    return {"colour": COLOURS[k % 8].replace("#000000", "ink"), "shape": SHAPES[k % 8], "size": 1.0}


def _in_ball(points: Float[ndarray, "galaxy 3"]) -> Float[ndarray, "galaxy 3"]:
    """Centre and scale points isotropically, so that 98 % are within a radius of 1."""
    if not len(points):
        return points
    points = points - np.median(points, axis=0)
    radius = np.percentile(np.linalg.norm(points, axis=1), 98)
    return points / radius if radius > 0 else points


def _sprite(pixels: UInt8[ndarray, "galaxy size size 3"], *, columns: int, tile: int) -> bytes:
    """Return all pictures in a single JPEG, in rows of `columns`."""
    sheet = Image.new("RGB", (columns * tile, max(1, -(-len(pixels) // columns)) * tile))
    for i, image in enumerate(pixels):
        small = Image.fromarray(image).resize((tile, tile), Image.Resampling.LANCZOS)
        sheet.paste(small, (i % columns * tile, i // columns * tile))
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=72)
    return file.getvalue()
