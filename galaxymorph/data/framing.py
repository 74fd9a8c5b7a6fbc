"""Choose the side of a cutout by the size of the galaxy in its centre (`crop: auto`)."""

from typing import Literal

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

# Sides of the cutout in radii. Of stretched pixels the radius is larger than of light: on 700
# frames of Galaxy Zoo, 8.5 Petrosian R90 wide, it is 4.2 of these in the median, 211 px of 424.
RADII = 3.2
PIXELS = 128  # along a side: a larger picture is averaged to between this and twice as many
LEAST = 1 / 8  # of the frame: no smaller cutout
SMALLEST = 12  # averaged pixels of a galaxy
FAINTEST, SIGMAS = 3, 3  # above the sky, in levels and in standard deviations


Crop = int | Literal["auto"] | None  # px; the galaxy's own size; the largest square


def side(picture: UInt8[ndarray, "height width 3"]) -> int | None:
    """Return the side in px of the central square that frames the galaxy in the centre, or None.

    It is `RADII` times the radius that holds 90 % of the galaxy's light above the sky, at most the
    largest square. A galaxy looks the same turned by 180 degrees, and what is around it does not:
    of each pixel and its opposite only the fainter counts, which removes neighbours. None if no
    connected light reaches the centre."""
    from scipy import ndimage  # slow to import

    whole = min(picture.shape[:2])
    top, left = ((edge - whole) // 2 for edge in picture.shape[:2])
    step = max(1, whole // PIXELS)
    n = whole // step
    square = picture[top : top + n * step, left : left + n * step].mean(2, dtype=np.float32)
    grey = square.reshape(n, step, n, step).mean((1, 3))
    grey = np.minimum(grey, grey[::-1, ::-1])
    smooth = ndimage.gaussian_filter(grey, 1)
    ring, width = np.ones((n, n), bool), max(1, n // 16)
    ring[width:-width, width:-width] = False
    sky = np.median(smooth[ring])
    noise = 1.4826 * np.median(np.abs(smooth[ring] - sky))
    bright = smooth > sky + max(FAINTEST, SIGMAS * noise)
    labels: ndarray = ndimage.label(bright)[0]  # pyright: ignore
    radius = np.hypot(*np.indices((n, n)) - (n - 1) / 2)
    inner = np.where(radius <= max(1, n / 16), smooth, -1)
    galaxy = labels == labels.flat[inner.argmax()]
    if not labels.flat[inner.argmax()] or np.count_nonzero(galaxy) < SMALLEST:
        return None
    order = np.argsort(radius[galaxy])
    light = np.cumsum((grey[galaxy] - sky).clip(0)[order])
    r90 = step * radius[galaxy][order][np.searchsorted(light, 0.9 * light[-1])]
    return int(np.clip(round(RADII * r90), np.ceil(LEAST * whole), whole))
