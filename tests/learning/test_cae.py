"""The autoencoder against NumPy, analytic galaxies of a known angle, and the mean image."""

import math

import numpy as np
import pytest
import torch

from galaxymorph.learning import augment, train
from galaxymorph.learning.cae import CAE, ConvEncoder, orientation, turned
from galaxymorph.learning.encoders import encoder

SMALL = dict(channels=(8, 8, 8, 8), image_size=32)


def galaxies(angles, *, size=32, flattening=0.4):
    """Analytic galaxies in [0, 1]: ellipses with the given angles, and a longer tail of light in
    that direction."""
    x = (torch.arange(size) + 0.5) / size - 0.5
    images = []
    for angle in angles:
        along = x * math.cos(angle) + x[:, None] * math.sin(angle)
        across = -x * math.sin(angle) + x[:, None] * math.cos(angle)
        length = torch.where(along > 0, 0.16, 0.10)
        light = torch.exp(-0.5 * ((along / length) ** 2 + (across / (0.13 * flattening)) ** 2))
        images.append(torch.stack([0.8 * light, 0.6 * light, 0.4 * light]) + 0.05)
    return torch.stack(images)


def small(seed=0, latent=16, **options):
    torch.manual_seed(seed)
    return CAE(encoder("conv", latent=latent, **SMALL), **SMALL, **options)


def apart(first, second):
    """Smallest angle between directions."""
    return (
        torch.remainder(torch.as_tensor(first) - torch.as_tensor(second) + math.pi, 2 * math.pi)
        - math.pi
    )


@pytest.mark.parametrize("size", [32, 48, 64, 128])
def test_any_size_that_is_a_multiple_of_16(size):
    model = CAE(
        encoder("conv", channels=(4, 6, 8, 10), latent=7, image_size=size),
        channels=(4, 4, 8, 8),
        image_size=size,
    )
    images = torch.rand(2, 3, size, size)
    assert model.encoder(images).shape == (2, 7)
    rebuilt = model.reconstruct(images)
    assert rebuilt.shape == images.shape
    assert rebuilt.min() >= 0 and rebuilt.max() <= 1


@pytest.mark.parametrize("size", [16, 40, 44])
def test_other_sizes_are_refused(size):
    with pytest.raises(ValueError, match=f"image_size={size}: .* multiple of 16, at least 32"):
        ConvEncoder(image_size=size)
    with pytest.raises(ValueError, match=f"image_size={size}"):
        CAE(ConvEncoder(image_size=64), image_size=size)
    with pytest.raises(ValueError, match="48 px for an encoder of 64 px"):
        ConvEncoder()(torch.rand(1, 3, 48, 48))


def test_four_stages_are_expected():
    with pytest.raises(ValueError, match="channels=\\[8, 8\\]: .*4 stages"):
        ConvEncoder(channels=(8, 8))


def test_the_published_setting_has_its_layers_and_no_other():
    published = ConvEncoder(channels=(32, 32, 16, 8), aligned=False)
    kernels = [tuple(p.shape[:2]) for p in published.parameters() if p.ndim == 4]
    assert kernels == [(32, 3), (32, 32), (16, 32), (8, 16)]
    assert not any(
        p.ndim == 2 for p in published.parameters()
    )  # the last map is the latent vector: 8 x 4 x 4
    assert published(torch.rand(2, 3, 64, 64)).shape == (2, 128)
    assert published.stages(torch.rand(2, 3, 64, 64)).shape == (2, 8, 4, 4)


def test_any_encoder_can_be_trained_as_one():
    model = CAE(encoder("resnet18"), channels=(4, 4, 4, 4), image_size=32)
    assert model.reconstruct(torch.rand(2, 3, 32, 32)).shape == (2, 3, 32, 32)


@pytest.mark.parametrize("aligned", [True, False])
def test_the_loss_is_the_mean_squared_error_of_the_reconstruction_whatever_the_targets(aligned):
    model, images = small(aligned=aligned).eval(), galaxies([0.3, 1.0, 4.0])
    with torch.no_grad():
        difference = model.reconstruct(images).numpy() - images.numpy()
    for targets in (torch.arange(3), torch.zeros(3)):
        assert model.loss(images, targets).item() == pytest.approx(
            float(np.mean(difference**2)), rel=1e-5
        )
        assert model.loss(images, targets).item() == pytest.approx(
            float(np.mean(difference**2)), rel=1e-5
        )
    pixels = (255 * images).round().to(torch.uint8)
    with torch.no_grad():
        difference = model.reconstruct(pixels.float() / 255).numpy() - pixels.numpy() / 255
    assert model.oddity(pixels, batch_size=2).numpy() == pytest.approx(
        np.mean(difference**2, axis=(1, 2, 3)), rel=1e-4
    )


def test_orientation_is_the_angle_that_a_galaxy_was_made_with():
    angles = torch.linspace(-3, 3, 25)
    assert apart(orientation(galaxies(angles, size=64)), angles).abs().max() < 0.01
    faint = 0.3 * galaxies(angles, size=64) + 0.2  # another contrast and zero point
    assert apart(orientation(faint), angles).abs().max() < 0.01


def test_orientation_turns_with_the_image_and_hardly_sees_a_star_at_the_edge():
    images = galaxies([0.4, 2.0])
    angle = orientation(images)
    assert (
        apart(orientation(torch.rot90(images, 1, (2, 3))), angle - math.pi / 2).abs().max() < 1e-4
    )  # y points down
    assert apart(orientation(images.flip(2)), -angle).abs().max() < 1e-4
    beside = images.clone()
    beside[:, :, :2, 15:17] = (
        1.0  # as bright as the galaxy; without the window the axis would point to it
    )
    off = (
        0.5 * (2 * apart(orientation(beside), angle)).sin().asin()
    )  # of the axis; its end may be the other
    assert off.abs().max() < math.radians(10)
    assert orientation(torch.full((1, 3, 32, 32), 0.5)).isfinite().all()


def test_turned_by_a_right_angle_is_rot90_and_by_its_orientation_is_horizontal():
    images = torch.rand(2, 3, 32, 32)
    right = torch.full((2,), math.pi / 2)
    torch.testing.assert_close(
        turned(images, right), torch.rot90(images, 1, (2, 3)), atol=1e-4, rtol=0
    )
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(
            turned(images, right), torch.rot90(images, 1, (2, 3)), atol=1e-4, rtol=0
        )
    tilted = galaxies([0.7, 3.9], size=64)
    horizontal = turned(tilted, orientation(tilted))
    inside = (
        slice(None),
        slice(None),
        slice(12, -12),
        slice(12, -12),
    )  # the corners come from beyond the frame
    torch.testing.assert_close(
        horizontal[inside], galaxies([0.0, 0.0], size=64)[inside], atol=0.05, rtol=0
    )
    torch.testing.assert_close(
        turned(horizontal, -orientation(tilted))[inside], tilted[inside], atol=0.05, rtol=0
    )


def test_features_say_nothing_about_the_angle_if_aligned_and_much_if_not():
    images = galaxies([0.2, 1.1, 2.5, 5.0])
    scatter = {}
    for aligned in (True, False):
        torch.manual_seed(0)
        network = ConvEncoder(aligned=aligned, **SMALL)
        network(torch.rand(16, 3, 32, 32))  # BatchNorm has seen something
        features = network.eval()(images)
        scatter[aligned] = (features.std(0).norm() / features.norm(dim=1).mean()).item()
    assert scatter[True] < 0.2 * scatter[False]


def learned_by_heart(model, images, *, steps):
    optimiser = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(steps):
        optimiser.zero_grad()
        model.loss(images, torch.arange(len(images))).backward()
        optimiser.step()
    return model.eval()


@pytest.mark.long
def test_a_decoder_draws_galaxies_where_they_were():
    """Latent vectors of galaxies that differ in their angle alone are the same: only by turning can
    each be drawn right."""
    images = galaxies(torch.linspace(0, 6, 10))
    model = learned_by_heart(small(latent=2), images, steps=100)
    of_the_mean = np.mean((images.numpy() - images.numpy().mean(0)) ** 2)
    assert model.loss(images, torch.arange(10)).item() < 0.1 * of_the_mean


@pytest.mark.long
def test_a_few_galaxies_are_learned_by_heart_and_another_is_odd():
    images = torch.cat(
        [
            galaxies([angle], flattening=f)
            for angle, f in ((0.3, 0.3), (1.5, 0.6), (4.0, 1.2), (2.2, 0.8))
        ]
    )
    model = learned_by_heart(small(aligned=False, latent=8), images, steps=150)
    known = images.numpy()
    assert model.loss(images, torch.arange(4)).item() < 0.1 * np.mean((known - known.mean(0)) ** 2)
    bars = torch.full((1, 3, 32, 32), 20, dtype=torch.uint8)
    bars[:, :, ::8] = 250
    assert (
        model.oddity(bars).item()
        > 10 * model.oddity((255 * images).round().to(torch.uint8)).max().item()
    )


@pytest.mark.parametrize("aligned", [True, False])
def test_an_interpolation_begins_and_ends_with_the_reconstructions_and_lies_between(aligned):
    model, images = small(aligned=aligned).eval(), galaxies([6.0, 0.5], flattening=0.3)
    between = model.interpolate(images[0], images[1], steps=5)
    assert between.shape == (5, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(between[[0, -1]], model.reconstruct(images), atol=1e-4, rtol=0)
        middle = model.encoder(images).mean(0, keepdim=True)
        angle = (
            torch.tensor([(6.0 - 2 * math.pi + 0.5) / 2]) if aligned else None
        )  # through 0, the shorter way
        torch.testing.assert_close(between[2:3], model.decode(middle, angle), atol=0.01, rtol=0)


def test_evaluation_changes_nothing_and_no_galaxy_depends_on_its_batch():
    model = small()
    images = torch.rand(6, 3, 32, 32)
    model.loss(images, torch.arange(6)).backward()  # BatchNorm has seen something
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    together = model.reconstruct(images)
    alone = torch.cat([model.reconstruct(image[None]) for image in images])
    model.loss(images, torch.arange(6))
    model.oddity((255 * images).to(torch.uint8))
    model.interpolate(images[0], images[1])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_training_with_views_is_validated_by_the_plain_reconstruction():
    drawn = torch.rand(40, 2, generator=torch.Generator().manual_seed(0)).tolist()
    images = torch.cat([galaxies([7 * angle], flattening=0.3 + f) for angle, f in drawn])
    images = (255 * images).round().to(torch.uint8)
    learned, others = (images[:32], torch.arange(32)), (images[32:], torch.arange(8))
    model, training = (
        small(),
        dict(epochs=6, batch_size=8, learning_rate=0.01, precision="fp32", monitor=None),
    )
    rows = list(train.fit(model, learned, others, views=augment.Views(noise=0.2), **training))
    assert rows[-1]["val_loss"] < 0.5 * rows[0]["val_loss"]
    assert rows[-1]["val_loss"] == pytest.approx(model.oddity(others[0]).mean().item(), rel=1e-4)
