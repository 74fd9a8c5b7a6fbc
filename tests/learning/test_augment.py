"""Random views: geometry against a known answer, a different draw for each galaxy, each option
switchable."""

import numpy as np
import pytest
import torch
from astropy.modeling.models import Gaussian2D

from galaxymorph.learning.augment import Views
from galaxymorph.pixels import gaussian_blur, orientations

OFF = dict(
    rotation=False,
    flip=False,
    zoom=0.0,
    shift=0.0,
    brightness=0.0,
    colour=0.0,
    reddening=0.0,
    blur=0.0,
    noise=0.0,
)


def blob(n: int = 1, x: float = 40.0, y: float = 31.5, size: int = 64) -> torch.Tensor:
    """The same image n times: one Gaussian spot of 3 px at (x, y)."""
    yy, xx = np.mgrid[:size, :size]
    spot = Gaussian2D(0.8, x, y, 3.0, 3.0)(xx, yy)
    return torch.tensor(spot, dtype=torch.float32).expand(n, 3, size, size).clone()


def centroid(images: torch.Tensor) -> torch.Tensor:
    """(galaxy, 2): x and y of the centre of light, from the middle of the frame."""
    light = images.sum(1)
    at = torch.arange(images.shape[-1]) - (images.shape[-1] - 1) / 2
    total = light.sum((1, 2))
    return torch.stack(
        [(light * at).sum((1, 2)) / total, (light * at[:, None]).sum((1, 2)) / total], 1
    )


def test_with_everything_off_the_image_is_unchanged():
    images = blob(2)
    assert torch.equal(Views(**OFF)(images), images)


def test_a_rotation_keeps_the_distance_from_the_centre_and_differs_for_each_galaxy():
    torch.manual_seed(0)
    places = centroid(Views(**{**OFF, "rotation": True})(blob(50)))
    torch.testing.assert_close(places.norm(dim=1), torch.full((50,), 8.5), rtol=0.01, atol=0.1)
    angles = torch.atan2(places[:, 1], places[:, 0])
    assert angles.std() > 1.2  # uniform over the circle: 1.81
    assert len(angles.unique()) == 50


def test_quarter_turns_and_flips_are_the_eight_orientations_without_loss():
    torch.manual_seed(0)
    image = torch.rand(1, 3, 32, 32)
    view = Views(**OFF | {"rotation": True, "flip": True}, quarter_turns=True)
    viewed = view(image.expand(100, -1, -1, -1))
    distances = torch.stack(
        [(viewed - each).flatten(1).abs().amax(1) for each in orientations(image)]
    )
    assert distances.min(0).values.max() < 1e-4
    assert torch.bincount(distances.argmin(0), minlength=8).min() > 3


def test_a_flip_mirrors_about_half_of_the_galaxies():
    torch.manual_seed(0)
    places = centroid(Views(**{**OFF, "flip": True})(blob(200)))
    assert set(places[:, 0].round(decimals=1).tolist()) == {8.5, -8.5}
    assert 70 < (places[:, 0] < 0).sum() < 130
    assert places[:, 1].abs().max() < 1e-3


def test_a_zoom_scales_distances_within_its_range():
    torch.manual_seed(0)
    factor = centroid(Views(**{**OFF, "zoom": 0.25})(blob(300)))[:, 0] / 8.5
    assert 1 / 1.25 - 0.01 < factor.min() < 0.85
    assert 1.2 < factor.max() < 1.26


def test_a_shift_moves_by_at_most_its_fraction_of_the_side():
    torch.manual_seed(0)
    moved = centroid(Views(**{**OFF, "shift": 0.1})(blob(300))) - torch.tensor([8.5, 0.0])
    assert moved.abs().max() < 6.5
    assert moved.abs().max() > 5.5


def test_brightness_is_one_factor_and_colour_one_for_each_band():
    torch.manual_seed(0)
    images = blob(100)
    brighter = Views(**{**OFF, "brightness": 0.2})(images) / images.clamp_min(1e-9)
    ratio = brighter[:, :, 31, 40]  # (galaxy, band)
    torch.testing.assert_close(ratio[:, 0], ratio[:, 2])
    assert 0.79 < ratio.min() < 0.9 and 1.1 < ratio.max() < 1.21
    tinted = (Views(**{**OFF, "colour": 0.1})(images) / images.clamp_min(1e-9))[:, :, 31, 40]
    assert (tinted[:, 0] - tinted[:, 2]).abs().mean() > 0.03


def test_blur_gives_the_width_of_two_gaussians_convolved():
    spots = blob(3, x=31.5)
    sigma = torch.tensor([0.0, 2.0, 4.0])
    blurred = gaussian_blur(spots, sigma)
    yy, xx = np.mgrid[:64, :64]
    for image, s in zip(blurred, sigma.tolist(), strict=True):
        wide = np.hypot(3.0, s)
        expected = Gaussian2D(0.8 * 9 / wide**2, 31.5, 31.5, wide, wide)(xx, yy)
        np.testing.assert_allclose(image[0].numpy(), expected, atol=0.01)


def test_noise_differs_for_every_galaxy_and_stays_in_range():
    torch.manual_seed(0)
    grey = torch.full((50, 3, 32, 32), 0.5)
    noisy = Views(**{**OFF, "noise": 0.1})(grey)
    sigmas = noisy.flatten(1).std(1)
    assert sigmas.max() < 0.105 and sigmas.max() > 0.08 and sigmas.min() < 0.03
    assert Views(noise=3.0)(grey).min() == 0 and Views(noise=3.0)(grey).max() == 1


def test_a_generator_makes_the_draw_repeatable():
    views = Views(blur=1.0)
    first = views(blob(4), generator=torch.Generator().manual_seed(5))
    assert torch.equal(first, views(blob(4), generator=torch.Generator().manual_seed(5)))
    assert not torch.equal(first, views(blob(4), generator=torch.Generator().manual_seed(6)))
    assert not torch.equal(first[0], first[1])


def test_a_negative_amplitude_is_refused():
    with pytest.raises(ValueError, match="zoom=-0.1"):
        Views(zoom=-0.1)


def test_reddening_follows_the_extinction_law_and_differs_for_each_galaxy():
    torch.manual_seed(0)
    images = torch.full((40, 3, 32, 32), 0.3)
    magnitudes = -2.5 * torch.log10(
        Views(**{**OFF, "reddening": 0.2})(images)[:, :, 5, 5] / 0.3
    )  # (galaxy, band)
    excess = (magnitudes[:, 2] - magnitudes[:, 1]) / (3.303 - 2.285)  # E(B - V) from g - r
    torch.testing.assert_close(
        magnitudes, excess[:, None] * torch.tensor([1.698, 2.285, 3.303]), atol=1e-4, rtol=1e-3
    )
    assert excess.abs().max() <= 0.2001 and excess.min() < -0.1 and excess.max() > 0.1
    assert len(excess.round(decimals=5).unique()) > 35
