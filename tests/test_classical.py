"""Hand-measured morphology against closed forms."""

import math

import numpy as np
import pytest
import torch
from astropy.modeling.models import Gaussian2D

from galaxymorph import classical


def gaussian(sigma: float, sky: float = 20.0, size: int = 64) -> torch.Tensor:
    at = np.arange(size) - (size - 1) / 2
    image = sky + Gaussian2D(200, 0, 0, sigma, sigma)(*np.meshgrid(at, at))
    return torch.tensor(image).round().to(torch.uint8).expand(1, 3, size, size)


@pytest.mark.parametrize("sigma", [4.0, 6.0, 9.0])
def test_half_of_a_gaussians_light_is_within_its_half_width(sigma):
    radius = classical.half_light_radius(gaussian(sigma)).item()
    assert radius == pytest.approx(sigma * math.sqrt(2 * math.log(2)), rel=0.05)


def test_brightness_is_the_light_above_the_sky_per_pixel():
    expected = 200 / 255 * 2 * math.pi * 5**2 / 64**2
    for sky in (0.0, 40.0):
        assert classical.brightness(gaussian(5.0, sky)).item() == pytest.approx(expected, rel=0.03)


def test_a_frame_of_sky_has_no_radius():
    assert classical.half_light_radius(torch.full((1, 3, 32, 32), 9, dtype=torch.uint8)).isnan().all()
