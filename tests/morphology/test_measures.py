"""Hand-measured morphology against closed forms, and against statmorph."""

import math

import numpy as np
import pytest
import torch
from astropy.modeling.models import Gaussian2D
from scipy.special import gammainc, gammaincinv
from scipy.stats import expon, pareto

from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.morphology import measures
from galaxymorph.morphology.segment import light, segment

SIZE = 96


def pixels(
    plane: np.ndarray | torch.Tensor, bands: tuple[float, ...] = (1.0, 1.0, 1.0)
) -> torch.Tensor:
    """A plane of light from 0 to 200 as an image on a sky of 20."""
    plane = torch.as_tensor(plane, dtype=torch.float32)
    return torch.stack(
        [(20 + band * plane).round().clamp(0, 255).to(torch.uint8) for band in bands]
    )[None]


def gaussian(sigma: float, sky: float = 20.0, size: int = 64) -> torch.Tensor:
    at = np.arange(size) - (size - 1) / 2
    image = sky + Gaussian2D(200, 0, 0, sigma, sigma)(*np.meshgrid(at, at))
    return torch.tensor(image).round().to(torch.uint8).expand(1, 3, size, size)


def plane(
    profile,
    *,
    ratio: float = 1.0,
    angle: float = 0.0,
    x: float = 0.0,
    y: float = 0.0,
    size: int = SIZE,
) -> np.ndarray:
    """Light that depends on the elliptical radius in pixels, averaged over 5 x 5 points in each
    pixel."""
    fine = (np.arange(5 * size) + 0.5) / 5 - size / 2
    dx, dy = np.meshgrid(fine - x, fine - y)
    cos, sin = math.cos(angle), math.sin(angle)
    light = profile(np.hypot(dx * cos + dy * sin, (dy * cos - dx * sin) / ratio))
    return light.reshape(size, 5, size, 5).mean((1, 3))


def measured(image: torch.Tensor) -> dict[str, float]:
    return measures.features(image).iloc[0].to_dict()


def exponential(scale: float):
    return lambda radius: 200 * np.exp(-radius / scale)


def disc(radius: float):
    return lambda away: 200.0 * (away < radius)


# ---- of the frame


@pytest.mark.parametrize("sigma", [4.0, 6.0, 9.0])
def test_half_of_a_gaussians_light_is_within_its_half_width(sigma):
    radius = measures.half_light_radius(gaussian(sigma)).item()
    assert radius == pytest.approx(sigma * math.sqrt(2 * math.log(2)), rel=0.05)


def test_brightness_is_the_light_above_the_sky_per_pixel():
    expected = 200 / 255 * 2 * math.pi * 5**2 / 64**2
    for sky in (0.0, 40.0):
        assert measures.brightness(gaussian(5.0, sky)).item() == pytest.approx(expected, rel=0.03)


def test_a_frame_of_sky_has_no_radius():
    assert (
        measures.half_light_radius(torch.full((1, 3, 32, 32), 9, dtype=torch.uint8)).isnan().all()
    )


# ---- radii and concentration


def exponential_radius(fraction: float, *, within: float) -> float:
    """In scale lengths, the radius of a part of an exponential disc's light, 1 - (1 + r) exp(-r),
    within another."""
    return float(gammaincinv(2, fraction * gammainc(2, within)))


def test_radii_of_an_exponential_disc():
    scale = 5.0
    found = measured(pixels(plane(exponential(scale))))
    # exp(-r) is 0.2 of the mean within, 2 (1 - (1 + r) exp(-r)) / r², at 3.6296 scale lengths
    assert found["petrosian_radius"] == pytest.approx(3.6296 * scale, rel=0.02)
    for name, part in (("r20", 0.2), ("half_light_radius", 0.5), ("r80", 0.8)):
        assert found[name] == pytest.approx(
            exponential_radius(part, within=1.5 * 3.6296) * scale, rel=0.02
        ), name
    expected = 5 * math.log10(
        exponential_radius(0.8, within=5.444) / exponential_radius(0.2, within=5.444)
    )
    assert found["concentration"] == pytest.approx(expected, abs=0.06)


def test_concentration_of_a_uniform_disc_is_that_of_its_areas():
    found = measured(pixels(plane(disc(20))))
    assert found["concentration"] == pytest.approx(
        5 * math.log10(2), abs=0.04
    )  # r80 / r20 = sqrt(0.8 / 0.2)
    assert found["core_concentration"] == pytest.approx(2.5 * math.log10(2.5), abs=0.04)
    assert found["half_light_radius"] == pytest.approx(20 / math.sqrt(2), rel=0.02)


def test_concentration_grows_with_the_sersic_index():
    def sersic(index: float):
        b = 2 * index - 1 / 3
        return lambda radius: np.minimum(200, 60 * np.exp(-b * ((radius / 9) ** (1 / index) - 1)))

    found = [measured(pixels(plane(sersic(index))))["concentration"] for index in (0.5, 1.0, 2.0)]
    assert found == sorted(found) and found[-1] - found[0] > 0.5


# ---- shape


@pytest.mark.parametrize("ratio", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("angle", [0.0, 0.7, 2.0])
def test_the_axis_ratio_of_an_ellipse(ratio, angle):
    found = measured(pixels(plane(disc(24), ratio=ratio, angle=angle)))
    assert found["axis_ratio"] == pytest.approx(ratio, abs=0.02)


def test_a_star_that_touches_does_not_make_a_round_galaxy_long():
    galaxy = plane(exponential(5))
    star = plane(lambda radius: 150 * np.exp(-0.5 * (radius / 2) ** 2), x=16)
    found = measured(pixels(np.minimum(galaxy + star, 220)))
    assert found["axis_ratio"] > 0.93
    assert found["asymmetry"] > measured(pixels(galaxy))["asymmetry"] + 0.05


def test_light_that_is_alike_on_both_sides_has_no_asymmetry_wherever_its_centre_is():
    for x, y in ((0.0, 0.0), (0.5, 0.0), (2.3, -1.6)):
        found = measured(pixels(plane(exponential(6), ratio=0.6, angle=0.4, x=x, y=y)))
        assert abs(found["asymmetry"]) < 0.03
        assert found["lopsidedness"] < 0.02


def test_asymmetry_of_two_unequal_halves():
    # A disc of 200, one half of which is dimmed to 100: the difference is 100 everywhere, the mean
    # 150.
    half = plane(disc(24))
    half[:, SIZE // 2 :] /= 2
    assert measured(pixels(half))["asymmetry"] == pytest.approx(100 / 150, abs=0.12)


def test_smoothness_tells_a_clumpy_disc_from_a_smooth_one():
    smooth = plane(exponential(7))
    at = np.arange(SIZE)
    clumps = 1 + 0.8 * np.sin(at * 1.6)[:, None] * np.sin(at * 1.6)
    assert (
        measured(pixels(smooth))["smoothness"]
        < 0.02
        < 0.1
        < measured(pixels(smooth * clumps))["smoothness"]
    )


# ---- Gini and M20


def sorted_disc(values: np.ndarray) -> torch.Tensor:
    """A body whose pixels have these values, all the others 0."""
    body = torch.zeros(1, 64, 64)
    body.view(-1)[: len(values)] = torch.tensor(values, dtype=torch.float32)
    return body


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.full(2000, 0.3), 0.0),
        (np.eye(1, 1000).ravel() + 1e-9, 1.0),
        (expon.ppf((np.arange(3000) + 0.5) / 3000), 0.5),
        (pareto.ppf((np.arange(3000) + 0.5) / 3000, 3), 1 / 5),  # 1 / (2 alpha - 1)
        (np.arange(1, 2001) / 2000, 1 / 3),
    ],
    ids=["equal", "one has all", "exponential", "Pareto", "uniform"],
)
def test_gini_of_known_distributions(values, expected):
    gini, _ = measures._gini_m20(sorted_disc(values))
    assert gini.item() == pytest.approx(expected, abs=0.01)


def test_m20_by_its_definition():
    rng = np.random.default_rng(0)
    body = torch.tensor(rng.exponential(size=(3, 40, 40)), dtype=torch.float32)
    _, found = measures._gini_m20(body)
    for image, value in zip(body.double().numpy(), found, strict=True):
        rows, columns = np.indices(image.shape)
        x, y = (image * columns).sum() / image.sum(), (image * rows).sum() / image.sum()
        moments = image * ((columns - x) ** 2 + (rows - y) ** 2)
        order = np.argsort(image, axis=None)[::-1]
        until = (
            np.searchsorted(np.cumsum(image.flat[order]), 0.2 * image.sum()) + 1
        )  # the one that reaches 20 % included
        assert value.item() == pytest.approx(
            math.log10(moments.flat[order[:until]].sum() / moments.sum()), abs=0.01
        )


def test_m20_is_high_where_the_brightest_light_is_far_out():
    galaxy = plane(exponential(7))
    knots = sum(
        plane(lambda radius: 120 * np.exp(-0.5 * (radius / 2) ** 2), x=x, y=y)
        for x, y in ((12, 5), (-12, -5))
    )
    bright = measured(pixels(np.minimum(galaxy * 0.4 + knots, 220)))
    assert bright["m20"] > measured(pixels(galaxy))["m20"] + 0.5


# ---- colours


def test_colours_are_the_ratios_of_the_bands():
    found = measured(pixels(plane(exponential(6)), bands=(1.0, 0.8, 0.5)))
    assert found["red_blue"] == pytest.approx(2.5 * math.log10(2), abs=0.02)
    assert found["red_green"] == pytest.approx(2.5 * math.log10(1.25), abs=0.02)
    assert found["red_blue_gradient"] == pytest.approx(0, abs=0.03)


def test_a_red_core_in_a_blue_disc_has_a_gradient():
    image = pixels(plane(exponential(7)))
    image[:, 2] = pixels(
        plane(lambda radius: exponential(7)(radius) * np.where(radius < 8, 0.5, 1.0))
    )[:, 2]
    assert measured(image)["red_blue_gradient"] > 0.3


# ---- arms and bars


def spiral(arms: int, pitch: float, sense: int = 1) -> np.ndarray:
    at = np.arange(SIZE) - (SIZE - 1) / 2
    x, y = np.meshgrid(at, at)
    radius, angle = np.hypot(x, y) + 0.1, np.arctan2(y, x)
    phase = arms * (angle + sense * np.log(radius) / math.tan(math.radians(pitch)))
    return 150 * np.exp(-radius / 9) * (1 + 0.6 * np.cos(phase))


def test_two_arms_have_m_2_and_one_sense_of_winding():
    smooth, two, three = (
        measured(pixels(light)) for light in (plane(exponential(9)), spiral(2, 18), spiral(3, 18))
    )
    assert two["fourier_2"] > 0.2 > 5 * smooth["fourier_2"]
    assert two["spiral"] > 0.15 and two["winding"] > 0.6 and smooth["spiral"] < 0.03
    assert three["fourier_3"] > 0.15 > 1.5 * three["fourier_2"]


def test_a_bar_has_m_2_without_winding():
    at = np.arange(SIZE) - (SIZE - 1) / 2
    x, y = np.meshgrid(at, at)
    bar = 100 * np.exp(-(((x / 12) ** 2 + (y / 4) ** 2) ** 2))
    found = measured(pixels(plane(exponential(10)) * 0.6 + bar))
    assert found["fourier_2"] > 0.08 and found["winding"] < 0.2


# ---- of any galaxy


@pytest.fixture(scope="module")
def mock() -> torch.Tensor:
    return mock_survey(96, seed=5).images


def test_no_measure_depends_on_how_a_galaxy_is_turned_or_mirrored(mock):
    upright = measures.features(mock)
    for other in (mock.rot90(1, (2, 3)), mock.flip(3)):
        turned = measures.features(other.contiguous())
        for name in upright:
            spread = (upright[name].quantile(0.9) - upright[name].quantile(0.1)) or 1.0
            changed = (turned[name] - upright[name]).abs() / spread
            assert changed.median() < 1e-3, name
            assert changed.quantile(0.9) < 0.05, name


def test_measures_are_finite_and_do_not_depend_on_who_else_is_measured(mock):
    assert list(measures.features(mock).columns) == list(measures.MEASURES)
    together = measures.features(mock)
    assert np.isfinite(together.to_numpy()).all()
    alone = measures.features(mock[70:71])
    np.testing.assert_allclose(
        alone.to_numpy(), together.iloc[70:71].to_numpy(), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("size", [16, 33, 128])
def test_images_of_any_size_are_measured(size):
    assert np.isfinite(measures.features(mock_survey(4, image_size=size).images).to_numpy()).all()


def test_a_frame_without_a_galaxy_is_nan_and_spoils_no_other(mock):
    sky = torch.full((1, 3, 64, 64), 9, dtype=torch.uint8)
    found = measures.features(torch.cat([sky, mock[:1]]))
    assert found.iloc[0].isna().all() and found.iloc[1].notna().all()
    corner = pixels(
        plane(lambda radius: 200 * np.exp(-0.5 * (radius / 2) ** 2), x=30, y=30)
    )  # a star, no galaxy
    assert measures.features(corner).isna().all(axis=None)


def test_images_too_small_are_refused():
    with pytest.raises(ValueError, match="8 px are .* image_size=16"):
        measures.features(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def test_the_galaxy_is_parted_from_a_neighbour_that_does_not_touch():
    shown = plane(exponential(3)) + plane(
        lambda radius: 150 * np.exp(-0.5 * (radius / 2) ** 2), x=32
    )
    galaxy, others = segment(light(pixels(shown)))
    assert galaxy[0, 48, 48] and not others[0, 48, 48]
    assert others[0, 48, 80] and not galaxy[0, 48, 80]
    assert not (galaxy & others).any()


# ---- how a galaxy appears


def noisy(sigma: float, *, level: float = 100.0, size: int = SIZE) -> torch.Tensor:
    """A uniform disc of 20 px on a sky of 40, with white noise of its own in each band."""
    image = (
        40
        + level / 200 * torch.tensor(plane(disc(20), size=size))
        + sigma * torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    )
    return image.round().clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("sigma", [3.0, 6.0, 12.0])
def test_signal_to_noise_of_a_uniform_disc(sigma):
    """Half of the light is within 20 / sqrt(2) px; the noise of the mean of three bands is that of
    one over sqrt(3)."""
    found = measures.apparent(noisy(sigma)).iloc[0]
    radius = 20 / math.sqrt(2)
    assert found.half_light_radius == pytest.approx(radius, rel=0.03)
    assert found.brightness == pytest.approx(100 / 255 * math.pi * 20**2, rel=0.03)
    assert found.signal_to_noise == pytest.approx(
        100 * math.sqrt(math.pi) * radius / (sigma / math.sqrt(3)), rel=0.06
    )


def test_signal_to_noise_grows_with_the_light_and_needs_sky():
    bright, faint = (measures.apparent(noisy(6.0, level=level)).iloc[0] for level in (120.0, 60.0))
    assert bright.signal_to_noise / faint.signal_to_noise == pytest.approx(2, rel=0.05)
    still = measures.apparent(noisy(0.0)).iloc[0]  # whole numbers alone: 1 / sqrt(12) in each band
    assert still.signal_to_noise == pytest.approx(
        100 * math.sqrt(math.pi) * still.half_light_radius * 6, rel=0.03
    )
    sky = measures.apparent(torch.full((1, 3, 64, 64), 9, dtype=torch.uint8))
    assert sky.isna().all(axis=None)


def test_signal_to_noise_knows_no_slope_of_the_sky():
    slope = torch.linspace(0, 40, SIZE).round().to(torch.uint8)
    plain, sloped = (
        measures.apparent(image).signal_to_noise[0] for image in (noisy(6.0), noisy(6.0) + slope)
    )
    assert sloped == pytest.approx(plain, rel=0.15)
