"""Hand-measured morphology: what a galaxy looks like in numbers that need no training.

Concentration, asymmetry and smoothness are those of Conselice (2003, ApJS 147, 1), the Gini
coefficient and M20 those of Lotz et al. (2004, AJ 128, 163), both within the apertures of statmorph
(Rodriguez-Gomez et al. 2019, MNRAS 483, 4140). The light in them is that of display images, whose
stretch lifts what is faint: galaxies are ranked alike, but the values are not those of images that
are linear in flux. No measure depends on how a galaxy is turned or mirrored.

Two differ from statmorph on purpose. The sky's share of asymmetry and smoothness is that of all
four corners, not of the first empty box; and smoothness is by a box of any width, centred on its
pixel, where statmorph's is of whole pixels."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

BORDER = 3  # outermost pixels, which are sky
STEPS = 64  # radii of a profile, from 0 to half of the frame's diagonal
ANGLES = 48  # places on each circle or ellipse
RINGS = torch.logspace(
    math.log10(0.5), math.log10(2.2), 12
)  # where arms and bars are looked for, in half-light radii
CHUNK = 64  # galaxies that are measured together: few enough to stay in the processor's cache

# The measures, with what they are. "Turned" is turned by 180 degrees about the centre.
MEASURES = {
    "concentration": "5 log10(r80 / r20) (Lotz et al. 2004, eq. 9)",
    "core_concentration": "5 log10(half_light_radius / r20)",
    "asymmetry": "sum of |light - turned light| over the sum of |light|, less the sky's (Lotz et al. 2004, eq. 10)",
    "smoothness": "what a box of a quarter of the Petrosian radius smooths away of the light (Lotz et al. 2004, eq. 11)",
    "gini": "0 where all pixels are equally bright, 1 where one has all the light (Lotz et al. 2004, eq. 6)",
    "m20": "log10 of the second moment of the brightest fifth of the light over that of all (Lotz et al. 2004, eq. 8)",
    "axis_ratio": "minor over major axis, by second moments of the light that is there both as it is and turned",
    "core_axis_ratio": "the same, weighted by a Gaussian whose sigma is the half-light radius",
    "r20": "radius of the circle with 20 % of the light within 1.5 Petrosian radii, px",
    "half_light_radius": "radius of the circle with 50 % of it, px",
    "r80": "radius of the circle with 80 % of it, px",
    "petrosian_radius": "where the surface brightness is 0.2 of its mean within (Petrosian 1976), px",
    "peak": "surface brightness at 1/64 of the frame's width from the centre, as a fraction of white",
    "half_light_brightness": "mean surface brightness within the half-light radius, as a fraction of white",
    "border_brightness": "mean light of the frame's border over that at the half-light radius: of a galaxy beyond its frame",
    "red_blue": "2.5 log10 of the first band's light over the third's, within the Petrosian ellipse",
    "red_green": "2.5 log10 of the first band's light over the second's, within the Petrosian ellipse",
    "red_blue_gradient": "red_blue within the half-light ellipse, less red_blue between it and the Petrosian ellipse",
    "lopsidedness": "amplitude m = 1 around ellipses over their mean light, averaged over radii (Rix & Zaritsky 1995)",
    "fourier_2": "the same for m = 2: bars, two arms",
    "fourier_3": "the same for m = 3",
    "fourier_4": "the same for m = 4: boxes, discs seen from the side",
    "texture": "the same for m = 5 to 8 together: clumps, many arms, neighbours",
    "spiral": "amplitude of the strongest two-armed logarithmic spiral (Considere & Athanassoula 1988)",
    "winding": "from 0, spirals of both senses are equally strong, to 1, there is one sense only",
}


class Ellipses(NamedTuple):
    """Concentric ellipses, one family for each galaxy: the centre in pixels from that of the corner
    pixel, minor over major axis, and the direction of the major axis from x to y in radians."""

    x: Float[Tensor, " galaxy"]
    y: Float[Tensor, " galaxy"]
    ratio: Float[Tensor, " galaxy"]
    angle: Float[Tensor, " galaxy"]

    @classmethod
    def of(
        cls,
        light: Float[Tensor, "galaxy size size"],
        x: Float[Tensor, " galaxy"],
        y: Float[Tensor, " galaxy"],
    ) -> Ellipses:
        """Those around (x, y) with the second moments of the light; no thinner than 0.15, which
        seeing leaves of a disc."""
        at = torch.arange(light.shape[-1])
        dx, dy = at - x[:, None], at - y[:, None]
        total = light.sum((1, 2))
        xx = (light.sum(1) * dx**2).sum(1) / total
        yy = (light.sum(2) * dy**2).sum(1) / total
        xy = ((light @ dx[..., None])[..., 0] * dy).sum(1) / total
        mean, apart = (xx + yy) / 2, torch.hypot((xx - yy) / 2, xy)
        ratio = ((mean - apart) / (mean + apart)).clamp_min(0.15**2).sqrt()
        return cls(x, y, ratio, torch.atan2(2 * xy, xx - yy) / 2)

    def places(
        self, radii: Float[Tensor, "galaxy radius"]
    ) -> Float[Tensor, "galaxy radius angle 2"]:
        """Places (x, y) on the ellipses with these major axes, `ANGLES` on each, evenly spaced if
        it were a circle."""
        around = torch.arange(ANGLES) * (2 * math.pi / ANGLES)
        along, across = around.cos(), self.ratio[:, None] * around.sin()
        cos, sin = self.angle.cos()[:, None], self.angle.sin()[:, None]
        unit = torch.stack(
            (along * cos - across * sin, along * sin + across * cos), -1
        )  # (galaxy, angle, 2)
        return (
            torch.stack((self.x, self.y), 1)[:, None, None] + radii[..., None, None] * unit[:, None]
        )

    def radius(self, size: int) -> Float[Tensor, "galaxy size size"]:
        """The major axis of the ellipse through each pixel."""
        at = torch.arange(size)
        dx, dy = at - self.x[:, None], at - self.y[:, None]
        cos, sin, flat = self.angle.cos()[:, None], self.angle.sin()[:, None], self.ratio[:, None]
        along = (dx * cos)[:, None, :] + (dy * sin)[:, :, None]
        across = (dx * (-sin / flat))[:, None, :] + (dy * (cos / flat))[:, :, None]
        return (along.square_() + across.square_()).sqrt_()


# ---- of the whole frame


def light(images: UInt8[Tensor, "galaxy 3 size size"]) -> Float[Tensor, "galaxy size size"]:
    """Sky-subtracted light: the mean of the bands (0 to 1) less the median of the outermost 3
    pixels, which is sky."""
    grey = images.float().mean(1) / 255  # (galaxy, size, size)
    return grey - _border(grey).median(1).values[:, None, None]


def brightness(images: UInt8[Tensor, "galaxy 3 size size"]) -> Float[Tensor, " galaxy"]:
    """Mean surface brightness of the frame above its sky, as a fraction of full white (display
    units: the stretch is in it)."""
    return light(images).mean((1, 2))


def half_light_radius(images: UInt8[Tensor, "galaxy 3 size size"]) -> Float[Tensor, " galaxy"]:
    """Radius in pixels of the circle around the frame's centre that holds half of the light within
    the frame's circle.

    In display units: a stretch that lifts the faint outskirts makes it larger than the radius in
    flux. NaN where there is no light above the sky."""
    size = images.shape[-1]
    at = torch.arange(size, device=images.device) - (size - 1) / 2
    ring = (
        torch.hypot(at, at[:, None]).round().long().flatten()
    )  # (size * size,): pixels by whole radius
    last = size // 2
    rings = torch.zeros(len(images), int(ring.max()) + 1, device=images.device)
    rings.index_add_(1, ring, light(images).flatten(1))
    growth = rings[:, :last].cumsum(1)  # (galaxy, radius): light within radius + 1/2
    half = growth[:, -1:] / 2
    after = (growth >= half).float().argmax(1, keepdim=True)  # first ring that reaches the half
    before = torch.where(
        after > 0, growth.gather(1, (after - 1).clamp_min(0)), torch.zeros_like(half)
    )
    step = (half - before) / (growth.gather(1, after) - before)
    radius = (after + step - 0.5).clamp_min(0)[:, 0]
    return torch.where(half[:, 0] > 0, radius, torch.nan)


# ---- of the galaxy


def features(images: UInt8[Tensor, "galaxy 3 size size"]) -> pd.DataFrame:
    """A row for each galaxy, a column for each of `MEASURES`, which say what they are.

    A galaxy that is larger than its frame has sky subtracted that is its own light, and its
    Petrosian radius may be that of the frame's corners; `border_brightness` tells. All measures are
    NaN where there is no galaxy in the frame's middle (`segment`), and none is otherwise. Raises
    `ValueError` for images of less than 16 pixels."""
    if images.shape[-1] < 16:
        raise ValueError(
            f"images of {images.shape[-1]} px are too small to be measured: load them with image_size=16 or more"
        )
    # The tensors of a chunk are too small to be shared among threads: chunks are measured side by
    # side.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            parts = list(pool.map(_measured, images.split(CHUNK)))
    finally:
        torch.set_num_threads(threads)
    return pd.DataFrame(
        {name: torch.cat([part[name] for part in parts]).numpy() for name in MEASURES}
    )


def apparent(images: UInt8[Tensor, "galaxy 3 size size"]) -> pd.DataFrame:
    """How large, bright and clear each galaxy appears, whatever its morphology: a row for each,
    with the columns

    * half_light_radius: as in `MEASURES`, px
    * brightness: the light within 1.5 Petrosian radii above the sky, neighbours left out, in pixels
      of full white
    * signal_to_noise: the half of it within the half-light radius, over the sky's noise there: that
      of a pixel in the frame's corners (Immerkaer 1996, CVIU 64, 300: the mean of |light| through a
      mask that knows no planes, here without sources), no less than whole numbers leave of three
      bands, times the square root of the circle's area in px

    In display units: stretch and compression change light and noise, and pixels that were enlarged
    share their noise, so that galaxies are ranked, and a signal to noise of 10 is not that of a
    catalogue. It is a rough measure: of 500 mock galaxies of 64 px it has a rank correlation of
    0.64 with the true signal to noise of a camera's pixel, drawn at 32 px one of -0.33; brightness
    has 0.83 and 0.81. NaN where there is no galaxy in the frame's middle; signal_to_noise also
    where no corner has sky. Raises the `ValueError` of `features`."""
    table = features(images)[["half_light_radius", "half_light_brightness"]]
    area = math.pi * table["half_light_radius"] ** 2
    half = table["half_light_brightness"] * area
    noises = torch.cat([_pixel_noise(light(part)) for part in images.split(CHUNK)]).numpy()
    found = {"half_light_radius": table["half_light_radius"], "brightness": 2 * half}
    return pd.DataFrame(found | {"signal_to_noise": half / (noises * area**0.5)})


def _pixel_noise(grey: Float[Tensor, "galaxy size size"]) -> Float[Tensor, " galaxy"]:
    """Standard deviation of a pixel of sky, as `apparent` says; NaN where no corner has any."""
    mask = torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]])  # its squares sum to 36
    galaxy, others = segment(grey)
    empty = _corners(~(galaxy | others)[:, 1:-1, 1:-1])
    mean = _mean(_corners(functional.conv2d(grey[:, None], mask[None, None])[:, 0].abs_()), empty)
    noises = (math.sqrt(math.pi / 2) / 6 * mean).clamp_min(1 / 255 / math.sqrt(3 * 12))
    return torch.where(empty.flatten(1).any(1), noises, torch.nan)


def noise(grey: Float[Tensor, "galaxy size size"]) -> Float[Tensor, " galaxy"]:
    """Standard deviation of the sky in `light`: of the border's pixels below 0, which no star
    brightens; at least 1/255."""
    below = _border(grey).clamp_max(0)
    return (below.square().sum(1) / (below < 0).sum(1).clamp_min(1)).sqrt().clamp_min(1 / 255)


def segment(
    grey: Float[Tensor, "galaxy size size"],
) -> tuple[Bool[Tensor, "galaxy size size"], Bool[Tensor, "galaxy size size"]]:
    """Which pixels of `light` are the galaxy's, and which are those of other sources.

    A source is what hangs together of the pixels that lie 1.5 times the noise above the sky after
    smoothing by a Gaussian of 1 px. The galaxy is the source with the brightest pixel of the
    frame's central fifth; there is none where all of that is fainter. A neighbour that touches the
    galaxy counts as part of it."""
    size = grey.shape[-1]
    smooth = _blurred(grey, torch.ones(1))
    sources = _sources(smooth > 1.5 * noise(grey)[:, None, None])
    middle = slice(round(0.4 * size), round(0.6 * size))
    brightest = smooth[:, middle, middle].flatten(1).argmax(1, keepdim=True)
    mine = sources[:, middle, middle].flatten(1).gather(1, brightest)[..., None]  # (galaxy, 1, 1)
    return (sources == mine) & (mine > 0), (sources != mine) & (sources > 0)


def _measured(images: UInt8[Tensor, "galaxy 3 size size"]) -> dict[str, Float[Tensor, " galaxy"]]:
    size = images.shape[-1]
    grey = light(images)
    galaxy, others = segment(grey)
    clean = grey.masked_fill(others, 0)
    own = (clean * galaxy).clamp_min_(0)
    x, y = _centre(own)
    turned = _turned(clean, x, y, slice(None))
    both = torch.minimum(own, turned).clamp_min_(0)  # without neighbours that touch it
    circles = Ellipses(x, y, torch.ones_like(x), torch.zeros_like(x))
    radius = circles.radius(size)
    profile = _profile(clean, circles)
    step = size / 2**0.5 / (STEPS - 1)  # of the radii, px
    growth, petrosian = _growth(profile, circles.ratio, step=step)
    total = _at(growth, 1.5 * petrosian / step)
    r20, r50, r80 = (_reached(growth, part * total) * step for part in (0.2, 0.5, 0.8))
    core = torch.exp((-0.5 * (radius / r50[:, None, None]).square_()).clamp_min_(-20))
    asymmetry, smoothness = _asymmetry_smoothness(
        clean, turned, radius, petrosian, sky=~(galaxy | others)
    )

    # Apertures follow all the light, as statmorph's do; the galaxy's own shape is without
    # neighbours.
    aperture, ellipses = Ellipses.of(own, x, y), Ellipses.of(both, x, y)
    grown, major = _growth(_profile(clean, aperture), aperture.ratio, step=step)
    half = _reached(grown, _at(grown, 1.5 * major / step) / 2) * step
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
        "peak": _at(profile, torch.full_like(x, size / 64 / step)),
        "half_light_brightness": total / 2 / (math.pi * r50**2),
        "border_brightness": _border(grey).mean(1) / _at(profile, r50 / step),
    }
    measured |= _colours(images, others, away, half, major) | _waves(
        _blurred(clean, torch.ones(1)), ellipses, half
    )
    seen = galaxy.any(2).any(1)
    return {name: torch.where(seen, values, torch.nan) for name, values in measured.items()}


def _centre(
    own: Float[Tensor, "galaxy size size"],
) -> tuple[Float[Tensor, " galaxy"], Float[Tensor, " galaxy"]]:
    """The point within the frame's central fifth about which the light is most alike its turned
    self (least squares).

    The light turned about c matches the light itself by its convolution with itself at 2 c: one
    Fourier transform tries all centres, to a pixel. A Gauss-Newton step in the central half of the
    frame finds the place between them."""
    size = own.shape[-1]
    pooled = functional.avg_pool2d(own[:, None], 2)[:, 0]
    n = pooled.shape[-1]
    match = torch.fft.irfft2(
        torch.fft.rfft2(pooled, (2 * n, 2 * n)).square(), (2 * n, 2 * n)
    )  # (galaxy, 2 y, 2 x)
    low, high = round(0.8 * n), round(1.2 * n)
    top = match[:, low:high, low:high].flatten(1).argmax(1)
    x, y = (
        top % (high - low) + low + 0.5,
        top // (high - low) + low + 0.5,
    )  # k / 2 twofold pixels from the corner's

    middle = slice(size // 4, size - size // 4)
    window = slice(middle.start - 1, middle.stop + 1)  # one more around it, for the gradient
    for _ in range(2):
        turned = _turned(own, x, y, window)
        odd = own[:, middle, middle] - turned[:, 1:-1, 1:-1]
        across = (
            turned[:, 1:-1, 2:] - turned[:, 1:-1, :-2]
        )  # twice the gradient; as is the change of 2 c by that of c
        down = turned[:, 2:, 1:-1] - turned[:, :-2, 1:-1]
        xx, yy, xy = _sum(across, across) + 1e-9, _sum(down, down) + 1e-9, _sum(across, down)
        along_x, along_y = _sum(across, odd), _sum(down, odd)
        scale = (xx * yy - xy.square()).clamp_min(1e-12)
        x = x - ((yy * along_x - xy * along_y) / scale).clamp(-1, 1)
        y = y - ((xx * along_y - xy * along_x) / scale).clamp(-1, 1)
    return x, y


def _turned(
    plane: Float[Tensor, "galaxy size size"],
    x: Float[Tensor, " galaxy"],
    y: Float[Tensor, " galaxy"],
    part: slice,
) -> Float[Tensor, "galaxy side side"]:
    """Turned by 180 degrees about (x, y); the rows and columns in `part` of it."""
    at = torch.arange(plane.shape[-1])[part]
    columns, rows = (2 * x)[:, None] - at, (2 * y)[:, None] - at
    return _sampled(
        plane, torch.stack(torch.broadcast_tensors(columns[:, None, :], rows[:, :, None]), -1)
    )


def _profile(
    plane: Float[Tensor, "galaxy size size"], ellipses: Ellipses
) -> Float[Tensor, "galaxy radius"]:
    """Mean surface brightness on ellipses of `STEPS` major axes, of as much of each as is in the
    frame."""
    size = plane.shape[-1]
    places = ellipses.places(torch.linspace(0, size / 2**0.5, STEPS).expand(len(plane), -1))
    inside = (places >= 0) & (places <= size - 1)
    inside = inside[..., 0] & inside[..., 1]
    return (_sampled(plane, places) * inside).sum(2) / inside.sum(2).clamp_min(1)


def _growth(
    profile: Float[Tensor, "galaxy radius"],
    ratio: Float[Tensor, " galaxy"],
    *,
    step: float,
    eta: float = 0.2,
) -> tuple[Float[Tensor, "galaxy radius"], Float[Tensor, " galaxy"]]:
    """The light within each ellipse of a profile whose axes grow by `step`, and the Petrosian
    radius.

    The latter is where the surface brightness first falls to `eta` of its mean within (Petrosian
    1976), or the last one of the profile. The light within is never less than further in, whatever
    the noise."""
    area = math.pi * ratio[:, None] * (step * torch.arange(STEPS)) ** 2
    growth = functional.pad(
        ((profile[:, 1:] + profile[:, :-1]) / 2 * area.diff(dim=1)).cumsum(1), (1, 0)
    )
    excess = profile - eta * growth / area  # 0 / 0 at the centre, which is left out
    below = excess < 0
    below[:, :2] = False
    after = torch.where(below.any(1), below.float().argmax(1), STEPS - 1)[:, None]
    high, low = excess.gather(1, after - 1), excess.gather(1, after)
    petrosian = after - 1 + torch.where(low < 0, high / (high - low), 1.0).clamp(0, 1)
    return growth.cummax(1).values, petrosian[:, 0] * step


def _at(
    curve: Float[Tensor, "galaxy radius"], place: Float[Tensor, " galaxy"]
) -> Float[Tensor, " galaxy"]:
    """The value of each curve between its points, counted from 0; that of the last one beyond."""
    place = place.nan_to_num(0).clamp(0, curve.shape[1] - 1.001)[:, None]
    before = place.long()
    return torch.lerp(curve.gather(1, before), curve.gather(1, before + 1), place - before)[:, 0]


def _reached(
    curve: Float[Tensor, "galaxy radius"], level: Float[Tensor, " galaxy"]
) -> Float[Tensor, " galaxy"]:
    """Where each growing curve reaches its level, in points from 0."""
    after = (curve >= level[:, None]).float().argmax(1, keepdim=True).clamp_min(1)
    low, high = curve.gather(1, after - 1), curve.gather(1, after)
    return (after - 1 + (level[:, None] - low) / (high - low).clamp_min(1e-9))[:, 0]


def _asymmetry_smoothness(
    clean: Float[Tensor, "galaxy size size"],
    turned: Float[Tensor, "galaxy size size"],
    radius: Float[Tensor, "galaxy size size"],
    petrosian: Float[Tensor, " galaxy"],
    *,
    sky: Bool[Tensor, "galaxy size size"],
) -> tuple[Float[Tensor, " galaxy"], Float[Tensor, " galaxy"]]:
    """Within 1.5 Petrosian radii, for smoothness from a quarter of one. What an equal area of sky
    has of each is taken off; it is measured in the frame's corners, a quarter of the frame wide."""
    petrosian = petrosian[:, None, None]
    aperture = (1.5 * petrosian - radius).add_(0.5).clamp_(0, 1)  # pixels on its edge count in part
    odd = (clean - turned).abs_()
    corners, empty = _corners(clean), _corners(sky)
    twice = empty & empty.flip(2, 3)
    area = aperture.sum((1, 2))
    asymmetry = _sum(odd, aperture) - area * _mean((corners - corners.flip(2, 3)).abs_(), twice)
    fine = (clean - _boxed(clean, petrosian[:, 0, 0] / 4)).clamp_min_(0)
    annulus = aperture * (radius - petrosian / 4).add_(0.5).clamp_(0, 1)
    smoothness = _sum(fine, annulus) - annulus.sum((1, 2)) * _mean(_corners(fine), empty)
    return asymmetry / _sum(clean.abs(), aperture), smoothness / _sum(clean, annulus)


def _corners(
    planes: Shaped[Tensor, "galaxy size size"],
) -> Shaped[Tensor, "galaxy 4 quarter quarter"]:
    """The four corners of each plane, a quarter of it wide."""
    quarter = planes.shape[-1] // 4
    ends = slice(0, quarter), slice(-quarter, None)
    return torch.stack([planes[:, rows, columns] for rows in ends for columns in ends], 1)


def _mean(
    planes: Float[Tensor, "galaxy 4 quarter quarter"],
    where: Bool[Tensor, "galaxy 4 quarter quarter"],
) -> Float[Tensor, " galaxy"]:
    """Over the pixels in `where`; 0 where there is none."""
    return (planes * where).sum((1, 2, 3)) / where.sum((1, 2, 3)).clamp_min(1)


def _body(
    clean: Float[Tensor, "galaxy size size"],
    away: Float[Tensor, "galaxy size size"],
    major: Float[Tensor, " galaxy"],
    x: Float[Tensor, " galaxy"],
    y: Float[Tensor, " galaxy"],
) -> Float[Tensor, "galaxy size size"]:
    """The light of the pixels that count for Gini and M20, 0 elsewhere: smoothed over a fifth of
    the Petrosian radius, they are at least as bright as the mean at that radius, and hang together
    with the centre (Lotz et al. 2004, section 3.1)."""
    smooth = _blurred(clean, 0.2 * major)
    rim = (away - major[:, None, None]).abs_() < 0.5
    sources = _sources(smooth >= (_sum(smooth, rim) / rim.sum((1, 2)))[:, None, None])
    centre = (y.round() * clean.shape[-1] + x.round()).long()[:, None]
    mine = sources.flatten(1).gather(1, centre)[..., None]
    return clean.masked_fill((sources != mine) | (mine == 0), 0).clamp_min_(0)


def _gini_m20(
    body: Float[Tensor, "galaxy size size"],
) -> tuple[Float[Tensor, " galaxy"], Float[Tensor, " galaxy"]]:
    """Of the pixels that are not 0."""
    values = torch.from_numpy(np.sort(body.flatten(1).numpy(), 1))  # much faster than torch's
    pixels = values.shape[1]
    n, total = (values > 0).sum(1), values.sum(1)
    ranks = values @ torch.arange(1.0, pixels + 1)  # the zeros before them take none
    gini = (2 * ranks - (2 * pixels - n + 1) * total) / ((n - 1) * total)
    fainter = (values.cumsum(1) < 0.8 * total[:, None]).sum(1, keepdim=True)
    bright = body * (body >= values.gather(1, fainter.clamp_max(pixels - 1))[..., None])
    at = torch.arange(float(body.shape[-1]))
    x, y = (((body.sum(axis) @ at) / total)[:, None] for axis in (1, 2))
    whole, part = (
        (plane.sum(1) * (at - x) ** 2 + plane.sum(2) * (at - y) ** 2).sum(1).clamp_min(1e-6)
        for plane in (body, bright)
    )
    return gini, torch.log10(part / whole)


def _colours(
    images: UInt8[Tensor, "galaxy 3 size size"],
    others: Bool[Tensor, "galaxy size size"],
    away: Float[Tensor, "galaxy size size"],
    half: Float[Tensor, " galaxy"],
    major: Float[Tensor, " galaxy"],
) -> dict[str, Float[Tensor, " galaxy"]]:
    """From the light of each band within the half-light ellipse, and between it and the Petrosian
    ellipse."""
    inner, whole = (((away <= axis[:, None, None]) & ~others).float() for axis in (half, major))
    parts = torch.stack((inner, whole - inner, whole), 1).flatten(2)  # (galaxy, part, pixel)
    sky = _border(images).float().median(2).values[..., None] * parts.sum(2)[:, None]
    fluxes = (images.flatten(2).float() @ parts.mT - sky) / 255  # (galaxy, band, part)
    fluxes = 2.5 * fluxes.clamp_min(1e-3).log10()
    red_blue = fluxes[:, 0] - fluxes[:, 2]
    return {
        "red_blue": red_blue[:, 2],
        "red_green": fluxes[:, 0, 2] - fluxes[:, 1, 2],
        "red_blue_gradient": red_blue[:, 0] - red_blue[:, 1],
    }


def _waves(
    smooth: Float[Tensor, "galaxy size size"], ellipses: Ellipses, half: Float[Tensor, " galaxy"]
) -> dict[str, Float[Tensor, " galaxy"]]:
    """Amplitudes around the rings, as if face-on, and of two-armed spirals, whose phase turns with
    the radius's logarithm."""
    around = _sampled(smooth, ellipses.places(half[:, None] * RINGS))  # (galaxy, ring, angle)
    waves = torch.fft.rfft(around, dim=2)[..., :9] / ANGLES
    waves = waves / waves[..., :1].real.clamp_min(
        0.02
    )  # (galaxy, ring, m), without rings of mere noise
    size = waves.abs().mean(1)
    pitch = torch.arange(4.0, 13)  # m / tan(pitch angle): 27 to 9 degrees
    turns = torch.exp(-1j * pitch[:, None] * RINGS.log())
    left, right = (
        (waves[:, None, :, 2] * turn).mean(2).abs().amax(1) for turn in (turns, turns.conj())
    )
    return {
        "lopsidedness": size[:, 1],
        "fourier_2": size[:, 2],
        "fourier_3": size[:, 3],
        "fourier_4": size[:, 4],
        "texture": waves[..., 5:].abs().square().sum(2).mean(1).sqrt(),
        "spiral": torch.maximum(left, right),
        "winding": (left - right).abs() / (left + right).clamp_min(1e-9),
    }


# ---- of planes


def _border(planes: Shaped[Tensor, "*plane size size"]) -> Shaped[Tensor, "*plane pixel"]:
    """The outermost pixels of each plane."""
    outside = torch.ones(planes.shape[-2:], dtype=torch.bool)
    outside[BORDER:-BORDER, BORDER:-BORDER] = False
    return planes[..., outside]


def _sum(
    plane: Float[Tensor, "galaxy row column"], weight: Shaped[Tensor, "galaxy row column"]
) -> Float[Tensor, " galaxy"]:
    return torch.linalg.vecdot(plane.flatten(1), weight.flatten(1).to(plane.dtype))


def _sources(above: Bool[Tensor, "galaxy size size"]) -> Int[Tensor, "galaxy size size"]:
    """Numbers of the pixels that touch each other by sides, from 1; 0 elsewhere."""
    touching = np.zeros((3, 3, 3), int)
    touching[1] = ndimage.generate_binary_structure(
        2, 1
    )  # within a galaxy's plane, not between planes
    labels: Any = ndimage.label(above.numpy(), touching)
    return torch.from_numpy(labels[0])


def _sampled(
    planes: Float[Tensor, "galaxy size size"], places: Float[Tensor, "galaxy row column 2"]
) -> Float[Tensor, "galaxy row column"]:
    """Bilinear interpolation at (x, y) in pixels; 0 outside."""
    grid = places * (2 / (planes.shape[-1] - 1)) - 1
    return functional.grid_sample(planes[:, None], grid, align_corners=True)[:, 0]


def _blurred(
    planes: Float[Tensor, "galaxy size size"], sigma: Float[Tensor, " _"]
) -> Float[Tensor, "galaxy size size"]:
    """Smoothed by a Gaussian, of one sigma for all or one for each; dark beyond the frame."""
    at = torch.arange(1 - planes.shape[-1], planes.shape[-1])
    exponent = -0.5 * (at / sigma[:, None].clamp_min(0.2)) ** 2
    kernel = torch.where(
        exponent > -8, exponent.exp(), 0.0
    )  # to 4 sigma: far less is slow to compute with
    matrix = _convolution(kernel / kernel.sum(1, keepdim=True))
    return matrix @ planes @ matrix


def _boxed(
    planes: Float[Tensor, "galaxy size size"], width: Float[Tensor, " galaxy"]
) -> Float[Tensor, "galaxy size size"]:
    """The mean of the box of `width` pixels around each pixel, of as much of it as is in the
    frame."""
    at = torch.arange(1 - planes.shape[-1], planes.shape[-1])
    matrix = _convolution(
        (width[:, None] / 2 + 0.5 - at.abs()).clamp(0, 1)
    )  # pixels at its ends count in part
    matrix /= matrix.sum(2, keepdim=True)
    return matrix @ planes @ matrix.mT


def _convolution(kernel: Float[Tensor, "galaxy offset"]) -> Float[Tensor, "galaxy size size"]:
    """The matrices by which planes are convolved along their rows; offsets from 1 - size to size -
    1."""
    size = (kernel.shape[1] + 1) // 2
    return kernel.flip(1).unfold(1, size, 1).flip(1).contiguous()
