"""Elliptical apertures around galaxies, and light profiles along them."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from galaxymorph.morphology.segment import Values
from galaxymorph.pixels import Planes, sampled

Curves = Float[Tensor, "galaxy radius"]

STEPS = 64  # radii of a profile, from 0 to half the frame's diagonal
ANGLES = 48  # points on each circle or ellipse


class Ellipses(NamedTuple):
    """Concentric ellipses, one family for each galaxy."""

    x: Values  # centre in pixels, from the centre of the corner pixel
    y: Values
    ratio: Values  # minor over major axis
    angle: Values  # of the major axis, from x towards y, in radians

    @classmethod
    def of(cls, light: Planes, x: Values, y: Values) -> "Ellipses":
        """Fit the second moments of the light about (x, y); ratio at least 0.15 (seeing)."""
        at = torch.arange(light.shape[-1])
        dx, dy = at - x[:, None], at - y[:, None]
        total = light.sum((1, 2))
        xx = (light.sum(1) * dx**2).sum(1) / total
        yy = (light.sum(2) * dy**2).sum(1) / total
        xy = ((light @ dx[..., None])[..., 0] * dy).sum(1) / total
        mean, offset = (xx + yy) / 2, torch.hypot((xx - yy) / 2, xy)
        ratio = ((mean - offset) / (mean + offset)).clamp_min(0.15**2).sqrt()
        return cls(x, y, ratio, torch.atan2(2 * xy, xx - yy) / 2)

    def places(self, radii: Curves) -> Float[Tensor, "galaxy radius angle 2"]:
        """Return `ANGLES` points (x, y), even in eccentric anomaly, per semi-major axis."""
        around = torch.arange(ANGLES) * (2 * math.pi / ANGLES)
        along, across = around.cos(), self.ratio[:, None] * around.sin()
        cos, sin = self.angle.cos()[:, None], self.angle.sin()[:, None]
        unit = torch.stack((along * cos - across * sin, along * sin + across * cos), -1)
        centre = torch.stack((self.x, self.y), 1)[:, None, None]
        return centre + radii[..., None, None] * unit[:, None]

    def radius(self, size: int) -> Planes:
        """Return the semi-major axis of the ellipse through each pixel."""
        at = torch.arange(size)
        dx, dy = at - self.x[:, None], at - self.y[:, None]
        cos, sin, flat = self.angle.cos()[:, None], self.angle.sin()[:, None], self.ratio[:, None]
        along = (dx * cos)[:, None, :] + (dy * sin)[:, :, None]
        across = (dx * (-sin / flat))[:, None, :] + (dy * (cos / flat))[:, :, None]
        return (along.square_() + across.square_()).sqrt_()


def turned(
    plane: Planes, x: Values, y: Values, part: slice = slice(None)
) -> Float[Tensor, "galaxy side side"]:
    """Rotate by 180 degrees about (x, y); return only the rows and columns in `part`."""
    at = torch.arange(plane.shape[-1])[part]
    columns, rows = (2 * x)[:, None] - at, (2 * y)[:, None] - at
    grid = torch.broadcast_tensors(columns[:, None, :], rows[:, :, None])
    return sampled(plane, torch.stack(grid, -1))


def profile(plane: Planes, ellipses: Ellipses) -> Curves:
    """Return the mean brightness on each of `STEPS` ellipses, over the part within the frame."""
    size = plane.shape[-1]
    places = ellipses.places(torch.linspace(0, size / 2**0.5, STEPS).expand(len(plane), -1))
    inside = (places >= 0) & (places <= size - 1)
    inside = inside[..., 0] & inside[..., 1]
    return (sampled(plane, places) * inside).sum(2) / inside.sum(2).clamp_min(1)


def growth(
    profile: Curves, ratio: Values, *, step: float, eta: float = 0.2
) -> tuple[Curves, Values]:
    """Return a profile's never-decreasing curve of growth, and its Petrosian radius.

    There, the surface brightness first falls to `eta` of its mean within (Petrosian 1976); if it
    never does, the last radius is returned. Semi-major axes grow by `step`."""
    area = math.pi * ratio[:, None] * (step * torch.arange(STEPS)) ** 2
    rings = (profile[:, 1:] + profile[:, :-1]) / 2 * area.diff(dim=1)
    within = functional.pad(rings.cumsum(1), (1, 0))
    excess = profile - eta * within / area  # 0 / 0 at the centre, which is excluded
    below = excess < 0
    below[:, :2] = False
    after = torch.where(below.any(1), below.float().argmax(1), STEPS - 1)[:, None]
    high, low = excess.gather(1, after - 1), excess.gather(1, after)
    petrosian = after - 1 + torch.where(low < 0, high / (high - low), 1.0).clamp(0, 1)
    return within.cummax(1).values, petrosian[:, 0] * step


def value_at(curve: Curves, place: Values) -> Values:
    """Interpolate each curve at a fractional index; beyond the end, return the last value."""
    place = place.nan_to_num(0).clamp(0, curve.shape[1] - 1.001)[:, None]
    before = place.long()
    return torch.lerp(curve.gather(1, before), curve.gather(1, before + 1), place - before)[:, 0]


def reached(curve: Curves, level: Values) -> Values:
    """Return the fractional index at which each increasing curve reaches its level."""
    after = (curve >= level[:, None]).float().argmax(1, keepdim=True).clamp_min(1)
    low, high = curve.gather(1, after - 1), curve.gather(1, after)
    return (after - 1 + (level[:, None] - low) / (high - low).clamp_min(1e-9))[:, 0]
