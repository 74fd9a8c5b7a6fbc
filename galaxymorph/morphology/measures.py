"""Non-parametric morphology: measures of galaxies that need no training.

Concentration, asymmetry and smoothness follow Conselice (2003, ApJS 147, 1), the Gini coefficient
and M20 Lotz et al. (2004, AJ 128, 163), all within the apertures of statmorph (Rodriguez-Gomez et
al. 2019, MNRAS 483, 4140). They are measured on display images, whose stretch enhances faint light:
galaxies are ranked alike, but the values differ from those of images that are linear in flux. All
measures are invariant under rotation and reflection.

Two deliberate differences from statmorph: asymmetry and smoothness of the sky are measured in all
four corners, not in the first empty box, and the smoothing box may have any width."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.nn import functional

from galaxymorph.morphology import apertures
from galaxymorph.morphology.apertures import ANGLES, STEPS, Ellipses, reached, turned, value_at
from galaxymorph.morphology.segment import Images, Masks, Values, border, connected, light, segment
from galaxymorph.pixels import Planes, blurred, boxed, sampled

RINGS = torch.logspace(math.log10(0.5), math.log10(2.2), 12)  # in half-light radii: arms and bars
CHUNK = 64  # galaxies measured together, few enough to fit in the processor's cache

# "Rotated" means by 180 degrees about the centre; Lotz+04 is Lotz et al. (2004).
MEASURES = {
    "concentration": "5 log10(r80 / r20) (Lotz+04 eq. 9)",
    "core_concentration": "5 log10(half_light_radius / r20)",
    "asymmetry": "sum of |light - rotated| over sum of |light|, minus the sky's (Lotz+04 eq. 10)",
    "smoothness": "fraction of light removed by a box of 1/4 Petrosian radius (Lotz+04 eq. 11)",
    "gini": "0 if all pixels are equally bright, 1 if one has all the light (Lotz+04 eq. 6)",
    "m20": "log10 of the brightest fifth's second moment over that of all light (Lotz+04 eq. 8)",
    "axis_ratio": "minor over major axis, from second moments of min(light, rotated)",
    "core_axis_ratio": "the same, weighted by a Gaussian with sigma = half-light radius",
    "r20": "radius of the circle with 20 % of the light within 1.5 Petrosian radii, px",
    "half_light_radius": "radius of the circle with 50 % of it, px",
    "r80": "radius of the circle with 80 % of it, px",
    "petrosian_radius": "where the brightness is 0.2 of its mean within (Petrosian 1976), px",
    "peak": "surface brightness at 1/64 of the frame's width from the centre (white = 1)",
    "half_light_brightness": "mean surface brightness within the half-light radius (white = 1)",
    "border_brightness": "mean light of the border over that at the half-light radius",
    "red_blue": "2.5 log10 of the first band's light over the third's in the Petrosian ellipse",
    "red_green": "2.5 log10 of the first band's light over the second's in the Petrosian ellipse",
    "red_blue_gradient": "red_blue inside minus outside the half-light ellipse, within Petrosian's",
    "lopsidedness": "amplitude of m = 1 along ellipses over the mean light (Rix & Zaritsky 1995)",
    "fourier_2": "the same for m = 2: bars, two arms",
    "fourier_3": "the same for m = 3",
    "fourier_4": "the same for m = 4: boxy shapes, edge-on discs",
    "texture": "the same for m = 5 to 8 together: clumps, many arms, neighbours",
    "spiral": "amplitude of the strongest 2-armed log spiral (Considere & Athanassoula 1988)",
    "winding": "0 if spirals of both senses are equally strong, 1 if all have the same sense",
}

Corners = Shaped[Tensor, "galaxy 4 quarter quarter"]


def brightness(images: Images) -> Values:
    """Return the frame's mean surface brightness above its sky, in display units (white = 1)."""
    return light(images).mean((1, 2))


def half_light_radius(images: Images) -> Values:
    """Return the radius in pixels that holds half the light of the frame's inscribed circle.

    NaN without light above the sky. A stretch that enhances faint outskirts makes it larger."""
    size = images.shape[-1]
    at = torch.arange(size, device=images.device) - (size - 1) / 2
    ring = torch.hypot(at, at[:, None]).round().long().flatten()  # of each pixel, by integer radius
    rings = torch.zeros(len(images), int(ring.max()) + 1, device=images.device)
    rings.index_add_(1, ring, light(images).flatten(1))
    # (galaxy, radius): light within radius - 1/2, from 0
    within = functional.pad(rings[:, : size // 2].cumsum(1), (1, 0))
    half = within[:, -1] / 2
    return torch.where(half > 0, (reached(within, half) - 0.5).clamp_min(0), torch.nan)


def features(images: Images) -> pd.DataFrame:
    """Measure all `MEASURES`; the table has a row per galaxy.

    If a galaxy is larger than its frame (see `border_brightness`), some of its light is subtracted
    as sky, and the Petrosian radius may reach the frame's corners. All measures are NaN if no
    galaxy is in the frame's middle (`segment`). Raises `ValueError` for images below 16 pixels."""
    if (size := images.shape[-1]) < 16:
        raise ValueError(f"images of {size} px are too small; load them with image_size=16 or more")
    # Tensors of a chunk are too small for several threads, so chunks run in parallel.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            parts = list(pool.map(_measured, images.split(CHUNK)))
    finally:
        torch.set_num_threads(threads)
    return pd.concat(parts, ignore_index=True)


def apparent(images: Images) -> pd.DataFrame:
    """Measure the apparent size, brightness and signal-to-noise of each galaxy; see `features`.

    * half_light_radius: as in `MEASURES`, px
    * brightness: light within 1.5 Petrosian radii above the sky, without neighbours, in white px
    * signal_to_noise: half of that, over the noise of a sky pixel in the frame's corners times the
      square root of the area in px within the half-light radius

    In display units, which depend on stretch, compression and resampling: only ranks are useful.
    For 500 mock galaxies, the rank correlation of signal_to_noise with its true value per camera
    pixel is 0.64 at 64 px, but -0.33 at 32 px; that of brightness is 0.83 and 0.81. NaN if no
    galaxy is in the frame's middle; signal_to_noise also if no corner has sky."""
    table = features(images)[["half_light_radius", "half_light_brightness"]]
    area = math.pi * table["half_light_radius"] ** 2
    half = table.pop("half_light_brightness") * area
    noises = torch.cat([_pixel_noise(light(part)) for part in images.split(CHUNK)]).numpy()
    return table.assign(brightness=2 * half, signal_to_noise=half / (noises * area**0.5))


def _pixel_noise(grey: Planes) -> Values:
    """Estimate the noise per sky pixel from corners with gradients removed; NaN without sky.

    Immerkaer (1996, CVIU 64, 300); at least the rounding error of three bands."""
    mask = torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]])  # its squares sum to 36
    galaxy, others = segment(grey)
    empty = _corners(~(galaxy | others)[:, 1:-1, 1:-1])
    mean = _mean(_corners(functional.conv2d(grey[:, None], mask[None, None])[:, 0].abs_()), empty)
    noises = (math.sqrt(math.pi / 2) / 6 * mean).clamp_min(1 / 255 / math.sqrt(3 * 12))
    return torch.where(empty.flatten(1).any(1), noises, torch.nan)


def _measured(images: Images) -> pd.DataFrame:
    size = images.shape[-1]
    grey = light(images)
    galaxy, others = segment(grey)
    clean = grey.masked_fill(others, 0)
    own = (clean * galaxy).clamp_min_(0)
    x, y = _centre(own)
    half_turn = turned(clean, x, y)
    both = torch.minimum(own, half_turn).clamp_min_(0)  # suppresses blended neighbours
    circles = Ellipses(x, y, torch.ones_like(x), torch.zeros_like(x))
    radius, profile = circles.radius(size), apertures.profile(clean, circles)
    step = size / 2**0.5 / (STEPS - 1)  # between radii, px
    growth, petrosian = apertures.growth(profile, circles.ratio, step=step)
    total = value_at(growth, 1.5 * petrosian / step)
    r20, r50, r80 = (reached(growth, part * total) * step for part in (0.2, 0.5, 0.8))
    core = torch.exp((-0.5 * (radius / r50[:, None, None]).square_()).clamp_min_(-20))
    sky = ~(galaxy | others)
    asymmetry, smoothness = _asymmetry_smoothness(clean, half_turn, radius, petrosian, sky)

    # Apertures follow all the light, as in statmorph; the galaxy's shape excludes neighbours.
    aperture, ellipses = Ellipses.of(own, x, y), Ellipses.of(both, x, y)
    along = apertures.profile(clean, aperture)
    grown, major = apertures.growth(along, aperture.ratio, step=step)
    half = reached(grown, value_at(grown, 1.5 * major / step) / 2) * step
    away = aperture.radius(size)
    gini, m20 = _gini_m20(_body(clean, away, major, x, y))
    measured = {
        "concentration": 5 * torch.log10(r80 / r20),
        "core_concentration": 5 * torch.log10(r50 / r20),
        "asymmetry": asymmetry,
        "smoothness": smoothness,
        "gini": gini,
        "m20": m20,
        "axis_ratio": ellipses.ratio,
        "core_axis_ratio": Ellipses.of(both.mul_(core), x, y).ratio,
        "r20": r20,
        "half_light_radius": r50,
        "r80": r80,
        "petrosian_radius": petrosian,
        "peak": value_at(profile, torch.full_like(x, size / 64 / step)),
        "half_light_brightness": total / 2 / (math.pi * r50**2),
        "border_brightness": border(grey).mean(1) / value_at(profile, r50 / step),
    }
    measured |= _colours(images, others, away, half, major)
    measured |= _waves(blurred(clean, torch.ones(1)), ellipses, half)
    seen = galaxy.any(2).any(1)
    known = {name: torch.where(seen, measured[name], torch.nan).numpy() for name in MEASURES}
    return pd.DataFrame(known)


def _centre(own: Planes) -> tuple[Values, Values]:
    """Find the point in the central fifth about which the light is most symmetric (least squares).

    The overlap of the light with itself rotated about c is its self-convolution at 2 c, so one
    Fourier transform tries all centres to the nearest pixel. Gauss-Newton steps in the central half
    of the frame refine the result."""
    size = own.shape[-1]
    pooled = functional.avg_pool2d(own[:, None], 2)[:, 0]
    n = pooled.shape[-1]
    twice = (2 * n, 2 * n)
    match = torch.fft.irfft2(torch.fft.rfft2(pooled, twice).square(), twice)  # at (2 y, 2 x)
    low, high = round(0.8 * n), round(1.2 * n)
    top = match[:, low:high, low:high].flatten(1).argmax(1)
    # index k is a centre at k / 2 pooled pixels of 2 px
    x, y = top % (high - low) + low + 0.5, top // (high - low) + low + 0.5

    middle = slice(size // 4, size - size // 4)
    window = slice(middle.start - 1, middle.stop + 1)  # one more pixel, for the gradient
    for _ in range(2):
        half_turn = turned(own, x, y, window)
        odd = own[:, middle, middle] - half_turn[:, 1:-1, 1:-1]
        # Twice the gradient, as the rotated image moves by twice the shift of c.
        across = half_turn[:, 1:-1, 2:] - half_turn[:, 1:-1, :-2]
        down = half_turn[:, 2:, 1:-1] - half_turn[:, :-2, 1:-1]
        xx, yy, xy = _sum(across, across) + 1e-9, _sum(down, down) + 1e-9, _sum(across, down)
        along_x, along_y = _sum(across, odd), _sum(down, odd)
        scale = (xx * yy - xy.square()).clamp_min(1e-12)
        x = x - ((yy * along_x - xy * along_y) / scale).clamp(-1, 1)
        y = y - ((xx * along_y - xy * along_x) / scale).clamp(-1, 1)
    return x, y


def _asymmetry_smoothness(
    clean: Planes, half_turn: Planes, radius: Planes, petrosian: Values, sky: Masks
) -> tuple[Values, Values]:
    """Measure both within 1.5 Petrosian radii (smoothness from 0.25) and subtract those of an equal
    area of sky in the frame's corners."""
    inner, outer = (part * petrosian[:, None, None] for part in (0.25, 1.5))
    aperture = (outer - radius).add_(0.5).clamp_(0, 1)  # pixels on its edge count in part
    odd = (clean - half_turn).abs_()
    corners, empty = _corners(clean), _corners(sky)
    twice = empty & empty.flip(2, 3)
    area = aperture.sum((1, 2))
    asymmetry = _sum(odd, aperture) - area * _mean((corners - corners.flip(2, 3)).abs_(), twice)
    fine = (clean - boxed(clean, petrosian / 4)).clamp_min_(0)
    annulus = aperture * (radius - inner).add_(0.5).clamp_(0, 1)
    smoothness = _sum(fine, annulus) - annulus.sum((1, 2)) * _mean(_corners(fine), empty)
    return asymmetry / _sum(clean.abs(), aperture), smoothness / _sum(clean, annulus)


def _corners(planes: Shaped[Tensor, "galaxy size size"]) -> Corners:
    """Return the four corners of each plane, a quarter of it wide."""
    quarter = planes.shape[-1] // 4
    ends = slice(0, quarter), slice(-quarter, None)
    return torch.stack([planes[:, rows, columns] for rows in ends for columns in ends], 1)


def _mean(corners: Corners, where: Corners) -> Values:
    """Average over the pixels in `where`; 0 without any."""
    return (corners * where).sum((1, 2, 3)) / where.sum((1, 2, 3)).clamp_min(1)


def _sum(plane: Tensor, weight: Tensor) -> Values:
    """Return the weighted sum of each plane."""
    return torch.linalg.vecdot(plane.flatten(1), weight.flatten(1).to(plane.dtype))


def _body(clean: Planes, away: Planes, major: Values, x: Values, y: Values) -> Planes:
    """Return the light of the pixels used for Gini and M20, and 0 elsewhere.

    After smoothing by 0.2 Petrosian radii they are connected to the centre, and at least as bright
    as the mean at the Petrosian radius (Lotz+04, section 3.1)."""
    smooth = blurred(clean, 0.2 * major)
    rim = (away - major[:, None, None]).abs_() < 0.5
    sources = connected(smooth >= (_sum(smooth, rim) / rim.sum((1, 2)))[:, None, None])
    centre = (y.round() * clean.shape[-1] + x.round()).long()[:, None]
    mine = sources.flatten(1).gather(1, centre)[..., None]
    return clean.masked_fill((sources != mine) | (mine == 0), 0).clamp_min_(0)


def _gini_m20(body: Planes) -> tuple[Values, Values]:
    """Measure Gini and M20 of the non-zero pixels."""
    values = torch.from_numpy(np.sort(body.flatten(1).numpy(), 1))  # much faster than torch's
    pixels = values.shape[1]
    n, total = (values > 0).sum(1), values.sum(1)
    ranks = values @ torch.arange(1.0, pixels + 1)  # zeros contribute nothing
    gini = (2 * ranks - (2 * pixels - n + 1) * total) / ((n - 1) * total)
    fainter = (values.cumsum(1) < 0.8 * total[:, None]).sum(1, keepdim=True)
    bright = body * (body >= values.gather(1, fainter.clamp_max(pixels - 1))[..., None])
    at = torch.arange(float(body.shape[-1]))
    x, y = (((body.sum(axis) @ at) / total)[:, None] for axis in (1, 2))

    def moment(plane: Planes) -> Values:
        return (plane.sum(1) * (at - x) ** 2 + plane.sum(2) * (at - y) ** 2).sum(1).clamp_min(1e-6)

    return gini, torch.log10(moment(bright) / moment(body))


def _colours(
    images: Images, others: Masks, away: Planes, half: Values, major: Values
) -> dict[str, Values]:
    """Measure colours within the Petrosian ellipse, and inside minus outside the half-light one."""
    inner, whole = (((away <= axis[:, None, None]) & ~others).float() for axis in (half, major))
    parts = torch.stack((inner, whole - inner, whole), 1).flatten(2)  # (galaxy, part, pixel)
    sky = border(images).float().median(2).values[..., None] * parts.sum(2)[:, None]
    fluxes = (images.flatten(2).float() @ parts.mT - sky) / 255  # (galaxy, band, part)
    fluxes = 2.5 * fluxes.clamp_min(1e-3).log10()
    red_blue = fluxes[:, 0] - fluxes[:, 2]
    return {
        "red_blue": red_blue[:, 2],
        "red_green": fluxes[:, 0, 2] - fluxes[:, 1, 2],
        "red_blue_gradient": red_blue[:, 0] - red_blue[:, 1],
    }


def _waves(smooth: Planes, ellipses: Ellipses, half: Values) -> dict[str, Values]:
    """Measure Fourier amplitudes along deprojected rings, and of two-armed logarithmic spirals."""
    around = sampled(smooth, ellipses.places(half[:, None] * RINGS))  # (galaxy, ring, angle)
    waves = torch.fft.rfft(around, dim=2)[..., :9] / ANGLES
    waves = waves / waves[..., :1].real.clamp_min(0.02)  # limits rings of pure noise
    size = waves.abs().mean(1)
    pitch = torch.arange(4.0, 13)  # m / tan(pitch angle): 27 to 9 degrees
    turns = torch.exp(-1j * pitch[:, None] * RINGS.log())
    both = torch.stack((turns, turns.conj()))[:, None]  # (sense, 1, pitch, ring)
    left, right = (waves[:, None, :, 2] * both).mean(3).abs().amax(2)
    return {
        "lopsidedness": size[:, 1],
        **{f"fourier_{m}": size[:, m] for m in (2, 3, 4)},
        "texture": waves[..., 5:].abs().square().sum(2).mean(1).sqrt(),
        "spiral": torch.maximum(left, right),
        "winding": (left - right).abs() / (left + right).clamp_min(1e-9),
    }
