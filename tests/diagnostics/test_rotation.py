"""Turned galaxies against scipy and numpy, means over seeds, and words. Takes about 3 s."""

import functools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage, stats
from torch import nn

from galaxymorph.diagnostics import perturbed, rotation
from galaxymorph.diagnostics.rotation import ANGLES, SETTINGS
from galaxymorph.evaluation.intervals import wilson
from galaxymorph.learning import classifier, encoders, train


class Pooled(nn.Module):
    """Sees brightness alone, which does not turn."""

    def predict(self, images):
        light = images.double().mean((1, 2, 3))
        return torch.stack([light, 1 - light], 1).float()

    def forward(self, images):
        return torch.stack(
            [image.double().mean((1, 2, 3)) for image in (images, images**2)], 1
        ).float()


class Corner(nn.Module):
    """Sees one pixel: the upper left one."""

    def predict(self, images):
        light = images[:, 0, 0, 0].float()
        return torch.stack([light, 1 - light], 1)


class Pixels(nn.Module):
    """Weighs every pixel, each by a weight of its own: an answer that depends on everything."""

    def __init__(self, size):
        super().__init__()
        self.weights = nn.Parameter(
            torch.randn(3 * size * size, 3, generator=torch.Generator().manual_seed(0)) / size
        )

    def predict(self, images):
        return (images.flatten(1) @ self.weights).softmax(1)


def noise(n=5, size=32):
    return torch.randint(
        0, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )


def smooth(n=3, size=33):
    """Blobs, each somewhere near the centre."""
    x = torch.arange(size) - (size - 1) / 2
    at = torch.randn(n, 2, 1, 1, generator=torch.Generator().manual_seed(2)) * 3
    light = 220 * torch.exp(-((x - at[:, 0]) ** 2 / 60 + (x[:, None] - at[:, 1]) ** 2 / 15))
    return light[:, None].expand(-1, 3, -1, -1).round().byte()


def disc(size, margin):
    x = torch.arange(size) - (size - 1) / 2
    return torch.hypot(x, x[:, None]) < size / 2 - margin


def predict(learner):
    return functools.partial(train.predict, learner, precision="fp32")


def stacked(outputs):
    """Outputs (turn, galaxy, output)."""
    return torch.stack(list(outputs.values()))


def measured(outputs, labels):
    """Metrics by name of turned predictions."""
    n = len(outputs["reference"])
    ids, classes = np.array([f"g{i}" for i in range(n)]), ["a", "b"]
    table = perturbed.table(outputs, ids=ids, labels=np.array(labels), classes=classes)
    return perturbed.of_predictions(table).set_index("metric")


# ---- turned galaxies


def test_turns_by_right_angles_are_those_of_the_orientations():
    for images in (noise(), noise(size=33)):
        first = rotation.rotated(images, 0.0)
        for k in range(4):
            assert torch.equal(rotation.rotated(images, 90.0 * k), torch.rot90(first, k, (-2, -1)))
    for images in (smooth(size=32), smooth()):  # what is smooth survives the resampling
        inside = disc(images.shape[-1], 1.5)
        for k in range(4):
            expected = torch.rot90(images, k, (-2, -1)).int()
            assert (rotation.rotated(images, 90 * k).int() - expected)[..., inside].abs().max() < 15
            assert (rotation.rotated(images, 90 * k + 90).int() - expected)[
                ..., inside
            ].abs().max() > 60


@pytest.mark.parametrize("angle", [22.5, 45, 112.5, 202.5])
def test_other_angles_are_those_of_scipy(angle):
    images = smooth()
    shifted = ndimage.shift(
        images.float().numpy(), (0, 0, -rotation.OFF_GRID, -rotation.OFF_GRID), order=1
    )
    expected = ndimage.rotate(shifted, angle, axes=(3, 2), reshape=False, order=3)
    found = rotation.rotated(images, angle).numpy()
    assert abs(found - expected)[..., disc(33, 2)].max() < 8  # of 220, as scipy's smooths once more


def test_every_angle_shows_the_same_scene_equally_smooth():
    images = noise(n=20, size=48)
    inside = disc(48, 2)
    spread = {angle: rotation.rotated(images, angle).float() for angle in ANGLES}
    original = images.float().std()
    for view in spread.values():
        assert view[..., inside].std() / original == pytest.approx(2 / 3, rel=0.02)
        assert view[..., ~inside].std() / original == pytest.approx(
            2 / 3, rel=0.05
        )  # nothing is black there, or constant
    grey = torch.full((1, 3, 32, 32), 77, dtype=torch.uint8)
    assert all(torch.equal(rotation.rotated(grey, angle), grey) for angle in ANGLES)


def test_corners_are_the_mirrored_disc():
    images = torch.zeros(1, 3, 33, 33, dtype=torch.uint8)
    images[..., 16 - 8 : 16 - 4, 16 - 8 : 16 - 4] = (
        255  # towards the upper left, its centre at a radius of 9.2
    )
    corner = rotation.rotated(images, 0.0)[0, 0].float()
    corner[disc(33, 0.5)] = 0
    row, column = (corner.sum(k) @ torch.arange(33.0) / corner.sum() for k in (1, 0))
    edge = 16 - rotation.OFF_GRID
    assert corner.sum() > 255
    assert float(row) == pytest.approx(float(column), abs=0.1)
    reached = math.hypot(
        16 - row, 16 - column
    )  # the corner's own radius is 22.6; only what is further in than 9.6 is mirrored
    assert edge < reached < math.hypot(16, 16)
    assert 2 * edge - reached == pytest.approx(9.6, abs=1)


def test_batches_change_nothing():
    images = noise(n=260, size=8)
    alone = [rotation.rotated(image[None], 22.5) for image in images]
    assert torch.equal(torch.cat(alone), rotation.rotated(images, 22.5))


def test_orientations_are_those_of_numpy():
    images, learner = noise(), Pixels(32)
    found = stacked(rotation.turned(predict(learner), images, turns="orientations"))
    for k in range(8):
        view = np.rot90(images.numpy(), k % 4, axes=(-2, -1))
        view = view if k < 4 else view[..., ::-1]
        expected = train.predict(learner, torch.from_numpy(view.copy()), precision="fp32")
        torch.testing.assert_close(found[k], expected, atol=1e-5, rtol=0)
    assert not torch.allclose(found[0], found[1], atol=0.01)


def test_angles_are_predicted_one_after_the_other():
    images, learner = noise(), Pixels(32)
    found = stacked(rotation.turned(predict(learner), images, turns="angles"))
    assert found.shape == (16, 5, 3)
    for turn in (0, 3, 15):
        expected = train.predict(learner, rotation.rotated(images, 22.5 * turn), precision="fp32")
        torch.testing.assert_close(found[turn], expected)


def test_averaged_over_orientations_a_prediction_is_constant_in_them_and_repeats_every_90_degrees():
    images, learner = noise(), Pixels(32)
    averaged = functools.partial(
        rotation.turned, predict(learner), images, average_orientations=True
    )
    found = stacked(averaged(turns="orientations"))
    torch.testing.assert_close(found, found[:1].expand(8, -1, -1), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        found[0], train.predict(learner, images, average_orientations=True, precision="fp32")
    )
    found = stacked(averaged(turns="angles"))
    assert found.shape == (4, 5, 3) and not torch.allclose(found[0], found[1], atol=1e-3)
    again = train.predict(
        learner, rotation.rotated(images, 112.5), average_orientations=True, precision="fp32"
    )
    torch.testing.assert_close(again, found[1], atol=1e-6, rtol=0)


def test_other_turns_are_refused():
    with pytest.raises(ValueError, match="unknown turns 'flips'. Known: orientations, angles"):
        rotation.turned(predict(Pooled()), noise(), turns="flips")


def test_turns_have_names():
    assert list(rotation.perturbations("orientations")) == [
        *("reference", "90 degrees", "180 degrees", "270 degrees"),
        *("0 degrees mirrored", "90 degrees mirrored"),
        *("180 degrees mirrored", "270 degrees mirrored"),
    ]
    assert list(rotation.perturbations("angles", averaged=True)) == [
        *("reference", "22.5 degrees", "45 degrees", "67.5 degrees")
    ]
    assert len(rotation.perturbations("angles")) == 16


def test_what_does_not_see_the_orientation_is_consistent():
    images = (
        (noise(n=12).float() * torch.linspace(0.2, 1.8, 12)[:, None, None, None])
        .clamp(0, 255)
        .byte()
    )
    found = measured(
        rotation.turned(predict(Pooled()), images, turns="orientations"), ["a", "b"] * 6
    )
    assert found.value["agreement"] == found.value["same"] == 1
    assert found.value["spread"] == pytest.approx(0, abs=1e-7)
    assert (
        found.value["accuracy"]
        == found.value["accuracy_turned"]
        == found.value["accuracy_averaged"]
    )
    assert found.value["gain"] == 0
    assert found.low["agreement"] == found.low["same"] == wilson(12, 12)[0]
    embed = functools.partial(train.embed, Pooled(), precision="fp32")
    found = (
        perturbed.of_features(rotation.turned(embed, images, turns="orientations"))
        .set_index("metric")
        .value
    )
    assert found["cosine"] == pytest.approx(1) and found["between_turns"] == pytest.approx(
        0, abs=1e-9
    )


def test_what_sees_one_corner_is_as_consistent_as_the_corners():
    images = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
    images[:, :, 0, 0] = torch.tensor([255, 204, 0])[:, None]  # class a, a, b in turn 0
    images[1, :, 0, -1] = 204  # of the 8 orientations, each corner comes to the upper left twice
    found = measured(
        rotation.turned(predict(Corner()), images, turns="orientations"), ["a", "a", "b"]
    )
    assert found.value["agreement"] == pytest.approx((1 / 7 + 3 / 7 + 1) / 3)
    assert found.value["same"] == pytest.approx(1 / 3)
    assert found.value["spread"] == pytest.approx((math.sqrt(3) / 4 + 0.8 / 2) / 3, abs=1e-6)
    assert found.value["accuracy"] == 1
    assert found.value["accuracy_turned"] == pytest.approx((2 / 8 + 4 / 8 + 1) / 3)
    assert found.value["accuracy_averaged"] == pytest.approx(1 / 3)  # means are 0.25, 0.4 and 0
    assert found.value["gain"] == pytest.approx(-2 / 3)


# ---- over seeds, and in words


def by_seed():
    rows = []
    for method, values in {
        "cnn": [0.9, 0.94, 0.98],
        "best": [0.8],
        "sure": [1.0, 0.9, 0.99],
    }.items():
        for seed, value in enumerate(values):
            for turns, averaged in SETTINGS:
                row = {
                    "method": method,
                    "seed": seed,
                    "turns": turns,
                    "averaged": averaged,
                    "n": 160 + seed,
                }
                rows.append(
                    row
                    | {
                        "metric": "agreement",
                        "value": value,
                        "low": value - 0.1,
                        "high": value + 0.05,
                    }
                )
                rows.append(
                    row
                    | {
                        "metric": "gain",
                        "value": value - 1,
                        "low": value - 1.1,
                        "high": value - 0.9,
                    }
                )
    return pd.DataFrame(rows)


def test_seeds_are_averaged_with_their_t_interval():
    found = rotation.over_seeds(by_seed())
    assert len(found) == 3 * 3 * 2
    pd.testing.assert_frame_equal(
        rotation.over_seeds(by_seed().set_index("seed", drop=False)), found
    )
    row = found[(found.method == "cnn") & (found.metric == "agreement") & found.averaged].iloc[0]
    expected = stats.t.interval(0.95, 2, loc=0.94, scale=stats.sem([0.9, 0.94, 0.98]))
    assert (row.value, row.n, row.seeds, row.interval) == (
        pytest.approx(0.94),
        160,
        3,
        "t over seeds",
    )
    assert row.low == pytest.approx(expected[0]) and row.high == 1  # cut off: it would be 1.04
    gain = found[(found.method == "cnn") & (found.metric == "gain") & found.averaged].iloc[0]
    assert gain.low == pytest.approx(expected[0] - 1) and gain.high == pytest.approx(
        expected[1] - 1
    )
    one = found[(found.method == "best") & (found.metric == "agreement")].iloc[0]
    assert (one.low, one.high, one.seeds, one.interval) == (
        pytest.approx(0.7),
        pytest.approx(0.85),
        1,
        "over galaxies",
    )
    with pytest.raises(
        ValueError, match="cnn, orientations, averaged False, agreement: duplicate seed 1"
    ):
        rotation.over_seeds(
            pd.concat([by_seed(), by_seed().query("seed == 1 and method == 'cnn'")])
        )


def test_the_sentence_is_about_the_best_on_validation_galaxies():
    table = rotation.over_seeds(by_seed())
    (said,) = rotation.sentences(table, {"cnn": 0.7, "best": 0.9, "sure": 0.8})
    assert said.startswith(
        "best, the best on validation galaxies (0.900), gives a turned galaxy the same class in "
        "0.800 [0.700,"
    )
    assert "-0.200 [-0.300, -0.100] (one seed, 160 test galaxies)." in said
    assert "(3 seeds, 160 test galaxies each)" in rotation.sentences(table, {"cnn": 0.7})[0]
    assert rotation.sentences(table, {}) == []


def test_methods_are_called_after_their_steps():
    models = [
        "models/mock/resnet18/seed=0.safetensors",
        "models/mock/cnn/n_labels=50,seed=0.safetensors",
    ]
    models += [
        "models/mock/moco.safetensors",
        "/data/models/real/cae/seed=3.safetensors",
        "elsewhere/a.b.safetensors",
    ]
    names = ["resnet18", "cnn n_labels=50", "moco", "cae", "a.b"]
    assert rotation.methods(models) == dict(zip(names, models, strict=True))
    with pytest.raises(
        ValueError, match="seed=0.safetensors and .*seed=1.safetensors both belong to resnet18"
    ):
        rotation.methods([models[0], models[0].replace("seed=0", "seed=1")])
    with pytest.raises(ValueError, match="models: none given"):
        rotation.methods([])


def test_features_and_predictions_of_one_pass_are_those_of_two():
    torch.manual_seed(0)
    learner = classifier.Classifier(encoders.encoder(name="cnn", image_size=32), classes=3).eval()
    shown, passes = noise(), []
    note = learner.encoder.register_forward_hook(lambda *given: passes.append(len(given[1][0])))
    with note:
        found = rotation.features_and_predictions(learner)(shown)
    assert passes == [len(shown)]
    n = learner.encoder.num_features
    assert torch.equal(found[:, :n], train.embed(learner.encoder, shown))
    assert torch.equal(found[:, n:], train.predict(learner, shown))
    alone = nn.ModuleDict({"encoder": learner.encoder})  # trained without labels
    assert torch.equal(rotation.features_and_predictions(alone)(shown), found[:, :n])
