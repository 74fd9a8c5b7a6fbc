"""Hand-measured morphology: what a galaxy looks like in numbers that need no training."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def light(images: UInt8[Tensor, "galaxy 3 size size"]) -> Float[Tensor, "galaxy size size"]:
    """Sky-subtracted light: the mean of the bands (0 to 1) less the median of the outermost 3 pixels, which is sky."""
    grey = images.float().mean(1) / 255  # (galaxy, size, size)
    border = torch.ones(grey.shape[1:], dtype=torch.bool, device=grey.device)
    border[3:-3, 3:-3] = False
    return grey - grey[:, border].median(1).values[:, None, None]


def brightness(images: UInt8[Tensor, "galaxy 3 size size"]) -> Float[Tensor, " galaxy"]:
    """Mean surface brightness of the frame above its sky, as a fraction of full white (display units: the stretch is in it)."""
    return light(images).mean((1, 2))


def half_light_radius(images: UInt8[Tensor, "galaxy 3 size size"]) -> Float[Tensor, " galaxy"]:
    """Radius in pixels of the circle around the frame's centre that holds half of the light within the frame's circle.

    In display units: a stretch that lifts the faint outskirts makes it larger than the radius in flux. NaN where there is no
    light above the sky.
    """
    size = images.shape[-1]
    at = torch.arange(size, device=images.device) - (size - 1) / 2
    ring = torch.hypot(at, at[:, None]).round().long().flatten()  # (size * size,): pixels by whole radius
    last = size // 2
    rings = torch.zeros(len(images), int(ring.max()) + 1, device=images.device)
    rings.index_add_(1, ring, light(images).flatten(1))
    growth = rings[:, :last].cumsum(1)  # (galaxy, radius): light within radius + 1/2
    half = growth[:, -1:] / 2
    after = (growth >= half).float().argmax(1, keepdim=True)  # first ring that reaches the half
    before = torch.where(after > 0, growth.gather(1, (after - 1).clamp_min(0)), torch.zeros_like(half))
    step = (half - before) / (growth.gather(1, after) - before)
    radius = (after + step - 0.5).clamp_min(0)[:, 0]
    return torch.where(half[:, 0] > 0, radius, torch.nan)
