"""Random views of galaxies, drawn independently for each galaxy on the device of the images.

Rotation and mirroring do not change a galaxy's type; zoom, shift, blur, noise, brightness and
colour mimic differences in distance, centring, seeing, depth and calibration."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from galaxymorph.pixels import Images, gaussian_blur, resampled

EXTINCTION = (1.698, 2.285, 3.303)  # A / E(B - V) in SDSS i, r, g for R_V = 3.1


@dataclass(kw_only=True, eq=False)
class Views:
    """Random transformations: `views(images)` draws them for each image.

    All options are amplitudes; 0 or False switches one off:

    * `rotation`: by a random angle, with `quarter_turns` by a multiple of 90 degrees; `flip`:
      mirror each galaxy with probability 1/2;
    * `zoom`: factor from 1 / (1 + zoom) to 1 + zoom; `shift`: at most this fraction of the side;
    * `brightness`: factor 1 +- brightness for all bands; `colour`: the same for each band;
    * `reddening`: largest E(B - V) in magnitudes of Galactic dust that is added or removed; red,
      green and blue are treated as SDSS i, r, g (Schlafly & Finkbeiner 2011, ApJ 737, 103, table
      6); exact only for images with a linear stretch;
    * `blur`: largest sigma of a Gaussian PSF in pixels; `noise`: largest standard deviation of
      added sky noise.

    Random numbers come from `generator`, by default torch's own for the device (seeded by `fit`).
    Raises `ValueError` for a negative amplitude."""

    rotation: bool = True
    flip: bool = True
    quarter_turns: bool = False
    zoom: float = 0.15
    shift: float = 0.04
    brightness: float = 0.15
    colour: float = 0.05
    reddening: float = 0.0
    blur: float = 0.0
    noise: float = 0.02

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0:
                raise ValueError(f"{name}={value}: expected an amplitude of 0 (off) or more")

    def __call__(self, images: Images, *, generator: torch.Generator | None = None) -> Images:
        n, device = len(images), images.device

        def uniform(*shape: int) -> Tensor:
            return torch.rand(n, *shape, device=device, generator=generator)

        if self.rotation or self.flip or self.zoom or self.shift:
            images = self._geometry(images, uniform)
        if self.blur:
            images = gaussian_blur(images, self.blur * uniform())
        if self.brightness:
            images = images * (1 + self.brightness * (2 * uniform(1, 1, 1) - 1))
        if self.colour:
            images = images * (1 + self.colour * (2 * uniform(3, 1, 1) - 1))
        if self.reddening:
            excess = self.reddening * (2 * uniform(1, 1, 1) - 1)  # E(B - V)
            extinction = torch.tensor(EXTINCTION, device=device).view(3, 1, 1)
            images = images * 10 ** (-0.4 * excess * extinction)
        if self.noise:
            how = {"device": device, "dtype": images.dtype, "generator": generator}
            grain = torch.randn(images.shape, **how)
            images = images + self.noise * uniform(1, 1, 1) * grain
        return images.clamp(0, 1)

    def _geometry(self, images: Images, uniform: Callable[..., Tensor]) -> Images:
        """Rotate, flip, zoom and shift with a single resampling."""
        still = torch.zeros(len(images), device=images.device)
        angle = 2 * math.pi * uniform() if self.rotation else still
        if self.quarter_turns:
            angle = (angle / (math.pi / 2)).floor() * (math.pi / 2)
        scale = (1 + self.zoom) ** (1 - 2 * uniform())  # of the sampling grid: 1 / zoom factor
        mirror = torch.where(uniform() < 0.5, -1.0, 1.0) if self.flip else torch.ones_like(angle)
        cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
        dx, dy = (2 * self.shift * (2 * uniform(2) - 1)).unbind(1)  # in units of half the side
        return resampled(images, cos * mirror, -sin, dx, sin * mirror, cos, dy)
