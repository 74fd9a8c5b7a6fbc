"""Scores of class-activation maps against closed forms, loops, scipy, and a blob that decides the
class."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional

from galaxymorph.diagnostics import gradcam, map_scores
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.encoders import encoder
from tests.diagnostics.conftest import planted
from tests.diagnostics.test_gradcam import Toy, first, images


def test_scores_tell_a_good_map_from_the_controls(knows_blobs):
    given, labels, _ = planted(24, seed=2)
    given = given[labels == 1]
    table, _ = map_scores.compare(
        knows_blobs,
        given,
        lambda logits: logits[:, 1] - logits[:, 0],
        methods=("gradcam", "centred", "random"),
        score=lambda logits: logits.softmax(1)[:, 1],
    )
    assert list(table.columns) == [
        "method",
        "score",
        "value",
        "low",
        "high",
        "n",
        "gain",
        "gain_low",
        "gain_high",
    ]
    assert list(table.score) == list(map_scores.BETTER) * 3 and (table.n == len(given)).all()
    known = table[table.low.notna()]  # not where the maps of a control never vary
    assert ((known.low <= known.value) & (known.value <= known.high)).all()
    assert set(table[table.low.isna()].method) <= {"centred", "random"}
    value = table.set_index(["method", "score"])
    assert value.value["gradcam", "deletion"] < min(
        value.value["centred", "deletion"], value.value["random", "deletion"]
    )
    assert value.value["gradcam", "insertion"] > max(
        value.value["centred", "insertion"], value.value["random", "insertion"]
    )
    assert value.value["gradcam", "randomised"] < 0.7
    blind = [value.value[method, "randomised"] for method in ("centred", "random")]
    assert [*blind, value.value["centred", "rotation"]] == pytest.approx([1, 1, 1])
    assert abs(value.value["random", "rotation"]) < 0.2
    difference = value.value["centred"] - value.value["gradcam"]
    assert value.gain["gradcam", "deletion"] == pytest.approx(difference["deletion"], abs=1e-6)
    assert value.gain["gradcam", "insertion"] == pytest.approx(-difference["insertion"], abs=1e-6)
    deletion, insertion = map_scores.sentences(table)  # controls are not judged
    assert deletion.startswith("gradcam, deletion: beats the centred Gaussian, area 0.")
    of = {method: f"{value.value[method, 'insertion']:.3f}" for method in ("gradcam", "centred")}
    against = f"{of['gradcam']} against {of['centred']}"
    assert against in insertion and f"{len(given)} galaxies" in insertion

    _, curves = map_scores.compare(knows_blobs, given, first, methods=("gradcam", "centred"))
    assert list(curves.columns) == ["method", "curve", "fraction", "value", "low", "high", "n"]
    line = curves[(curves.method == "gradcam") & (curves.curve == "deletion")]
    heat = gradcam.maps(knows_blobs, given, first)
    np.testing.assert_allclose(
        line.value, map_scores.curve(knows_blobs, given, first, heat, "deletion").mean(0), rtol=1e-5
    )
    assert list(line.fraction) == [k / 16 for k in range(17)]


def test_sentences_follow_the_interval():
    table, _ = map_scores.compare(Toy(), images(1), first, methods=("gradcam", "centred"))
    assert (
        table.low.isna().all() and table.gain_low.isna().all() and table.value.notna().all()
    )  # one galaxy: no interval
    assert [said.split(": ")[1] for said in map_scores.sentences(table)] == [
        "not assessed, which needs the centred control and at least two galaxies."
    ] * 2
    alone, _ = map_scores.compare(Toy(), images(3), first, methods=("gradcam",))
    assert alone.gain.isna().all() and alone.low.notna().any()
    table = table.assign(value=0.5, gain=0.1, gain_low=-0.1, gain_high=0.3)
    assert (
        "deletion: is statistically tied with the centred Gaussian, area 0.500 against 0.600"
        in map_scores.sentences(table)[0]
    )
    assert (
        "insertion: is statistically tied with the centred Gaussian, area 0.500 against 0.400"
        in map_scores.sentences(table)[1]
    )
    assert "is worse than" in map_scores.sentences(table.assign(gain_high=-0.01))[0]
    assert "beats" in map_scores.sentences(table.assign(gain_low=0.01))[0]


class Brightness(nn.Module):
    def forward(self, images):
        return images.mean((1, 2, 3))[:, None]


def test_deletion_and_insertion_of_what_is_linear():
    given = images(3)
    given[..., [0, -1], :] = given[..., :, [0, -1]] = 0.0  # the sky
    heat = given.mean(1)
    brightest = heat.flatten(1).sort(dim=1, descending=True).values.double().numpy()
    whole = np.array([[each[256 * k // 16 :].sum() / 256 for k in range(17)] for each in brightest])
    found = map_scores.curve(Brightness(), given, first, heat, "deletion")
    np.testing.assert_allclose(found, whole, atol=1e-6)
    np.testing.assert_allclose(
        map_scores.area(found), np.trapezoid(whole, dx=1 / 16, axis=1), atol=1e-6
    )
    assert map_scores.area(torch.tensor([[1.0, 0.5, 0.0]])).item() == pytest.approx(0.5)
    assert (
        map_scores.curve(Brightness(), given, first, heat, "deletion", batch_size=2) == found
    ).all()

    found = map_scores.curve(Brightness(), given, first, heat, "insertion")
    np.testing.assert_allclose(found[:, -1], given.mean((1, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(
        found[:, 0], given.mean((1, 2, 3)), atol=1e-2
    )  # a blur moves light, but keeps it
    edges = functional.pad(torch.ones(1, 3, 4, 4), [6] * 4)
    sharp = nn.Sequential(nn.Flatten(), nn.Linear(768, 1, bias=False))
    sharp[1].weight.data = edges.flatten()[None]
    rises = map_scores.curve(sharp, edges, first, edges[:, 0], "insertion")[0]
    assert rises[0] < 48 and rises[1:].tolist() == pytest.approx(
        [48] * 16
    )  # all of it is among the first 16 pixels


def test_equally_hot_pixels_go_in_random_order():
    given = torch.ones(1, 3, 16, 16)
    given[..., [0, -1], :] = given[..., :, [0, -1]] = 0.0
    halves = nn.Sequential(nn.Flatten(), nn.Linear(768, 2, bias=False))
    top = torch.zeros(3, 16, 16)
    top[:, :8] = 1 / (3 * 7 * 14)
    halves[1].weight.data = torch.stack([top, top.flip(1)]).flatten(1)
    nothing = torch.zeros(1, 16, 16)
    for half in (0, 1):
        curve = map_scores.curve(
            halves, given, lambda outputs, half=half: outputs[:, half], nothing, "deletion"
        )
        assert curve[0, 8].item() == pytest.approx(
            0.5, abs=0.12
        )  # in rows, one half would be gone and the other there


def test_a_randomised_copy_has_other_weights_and_the_model_its_own():
    torch.manual_seed(0)
    model = Classifier(
        encoder("conv", channels=(4, 4, 4, 4), latent=8, image_size=32, aligned=False), classes=3
    )
    model.train()
    model(images(8, 32))  # so that the statistics of BatchNorm are not those of an untrained one
    before, drawn = copy.deepcopy(model.state_dict()), torch.get_rng_state()

    def same(other):
        return {
            name for name, value in other.state_dict().items() if torch.equal(value, before[name])
        }

    assert same(map_scores.randomised(model, stages=0)) == set(before)
    head = {"head.1.weight", "head.1.bias"}
    assert same(map_scores.randomised(model, stages=1)) == set(before) - head
    latent = {"encoder.body.to_latent.weight", "encoder.body.to_latent.bias"}
    assert same(map_scores.randomised(model, stages=2)) == set(before) - head - latent
    reset = {
        name
        for name in same(map_scores.randomised(model))
        if "running" not in name and "tracked" not in name
    }
    assert all(".1." in name for name in reset)  # BatchNorm begins with 1 and 0
    assert torch.equal(
        map_scores.randomised(model, seed=1).head[1].weight,
        map_scores.randomised(model, seed=1).head[1].weight,
    )
    assert same(model) == set(before) and torch.equal(torch.get_rng_state(), drawn)

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

    with pytest.raises(ValueError, match="Own has weights, but no reset_parameters"):
        map_scores.randomised(nn.Sequential(Own()))


def test_the_randomisation_check_goes_stage_by_stage(knows_blobs):
    given, *_ = planted(12, seed=3)
    table = map_scores.randomisation(knows_blobs, given, first, method="hirescam")
    assert (
        list(table.columns) == ["stages", "galaxy", "rank_correlation", "ssim"]
        and len(table) == 4 * 12
    )
    means = table.groupby("stages")[["rank_correlation", "ssim"]].mean()
    np.testing.assert_allclose(means.loc[0], 1)
    assert (means.loc[3] < 0.8).all()
    blind = map_scores.randomisation(knows_blobs, given, first, method="centred")
    np.testing.assert_allclose(blind[["rank_correlation", "ssim"]], 1)


def test_rank_correlation_is_spearmans():
    a, b = images(1, 12)[0], images(1, 12, seed=1)[0].clamp_min(0.4)  # with ties
    expected = [
        spearmanr(one.flatten(), other.flatten()).statistic for one, other in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(map_scores.rank_correlation(a, b), expected)
    assert (map_scores.rank_correlation(a, torch.zeros_like(a)) == 0).all()
    np.testing.assert_allclose(map_scores.rank_correlation(a, a**3), 1)
    np.testing.assert_allclose(map_scores.rank_correlation(a, -a), -1)


def test_ssim_is_that_of_wang():
    a, b = images(1, 13)[0], images(1, 13, seed=1)[0]
    np.testing.assert_allclose(map_scores.ssim(a, a), 1)
    flat = map_scores.ssim(torch.full((1, 9, 9), 0.2), torch.full((1, 9, 9), 0.6))
    assert flat.item() == pytest.approx((2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4))
    x = np.arange(-6, 7)
    window = np.exp(-(x**2 + x[:, None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    one, other = a[0].double().numpy(), b[0].double().numpy()
    maps = []
    padded = [np.pad(each, 6, mode="symmetric") for each in (one, other)]
    for i, j in np.ndindex(13, 13):
        p, q = (each[i : i + 13, j : j + 13] for each in padded)
        mp, mq = (window * p).sum(), (window * q).sum()
        vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
        cov = (window * (p - mp) * (q - mq)).sum()
        maps.append(
            (2 * mp * mq + 1e-4) * (2 * cov + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4))
        )
    assert map_scores.ssim(a, b)[0].item() == pytest.approx(np.mean(maps), abs=1e-5)


def test_the_mask_is_the_central_galaxy_above_the_sky():
    size, sigma = 64, 6.0
    x = torch.arange(size) - (size - 1) / 2
    r2 = x**2 + x[:, None] ** 2
    neighbour = 0.9 * torch.exp(-((x - 22) ** 2 + (x[:, None] + 20) ** 2) / (2 * 1.5**2))
    plain = 0.1 + 0.5 * torch.exp(-r2 / (2 * sigma**2)) + neighbour
    (mask,) = map_scores.galaxy_mask(plain.expand(1, 3, -1, -1))
    assert (
        mask == (0.5 * torch.exp(-r2 / (2 * sigma**2)) > map_scores.FAINTEST)
    ).all()  # of no noise: 2 % above the sky
    noise = 0.03 * torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    masks = map_scores.galaxy_mask(plain + noise)  # 3 sigma of the mean of three bands
    radius = (masks.sum((1, 2)) / math.pi).sqrt()
    expected = sigma * math.sqrt(2 * math.log(0.5 / (3 * 0.03 / math.sqrt(3))))
    np.testing.assert_allclose(radius, expected, rtol=0.06)
    assert not masks[:, 5:18, 48:].any()  # the neighbour
    assert not map_scores.galaxy_mask(torch.zeros(1, 3, 16, 16)).any()


def test_the_share_of_heat_on_a_gaussian_galaxy():
    size, sigma, width = 128, 8.0, 12.0
    x = torch.arange(size) - (size - 1) / 2
    r2 = x**2 + x[:, None] ** 2
    galaxy = (0.05 + 0.6 * torch.exp(-r2 / (2 * sigma**2))).expand(1, 3, -1, -1)
    heat = torch.exp(-r2 / (2 * width**2))[None]
    edge2 = (
        2 * sigma**2 * math.log(0.6 / map_scores.FAINTEST)
    )  # where the galaxy is as bright as the threshold
    expected = 1 - math.exp(-edge2 / (2 * width**2))
    assert map_scores.heat_on_galaxy(galaxy, heat).item() == pytest.approx(expected, abs=5e-3)
    even = map_scores.heat_on_galaxy(galaxy, torch.ones_like(heat)).item()
    assert even == pytest.approx(math.pi * edge2 / size**2, rel=0.02)
    assert map_scores.heat_on_galaxy(galaxy, torch.zeros_like(heat)).item() == 0
    beside = torch.exp(-((x - 50) ** 2 + (x[:, None] - 50) ** 2) / (2 * 4**2))[None]
    assert map_scores.heat_on_galaxy(galaxy, beside).item() < 1e-3


def test_maps_that_turn_with_the_galaxy_agree():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)
    )
    for method in gradcam.BY_LAYER:
        np.testing.assert_allclose(
            map_scores.rotation_agreement(model, images(), first, method=method), 1, atol=1e-5
        )


def test_maps_that_stay_where_they_are_disagree():
    model = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Flatten(), nn.Linear(256, 1))
    for weight in model.parameters():
        weight.data.zero_()
    model[0].bias.data.fill_(1.0)
    model[2].weight.data[0, :128] = 1.0  # the upper half, whatever is there
    agreement = map_scores.rotation_agreement(model, images(), first, method="hirescam")
    # turned back by 90, 180, 270 degrees it is 0, -1, 0 like itself; mirrored 1; mirrored and
    # turned 0, -1, 0
    np.testing.assert_allclose(agreement, -1 / 7, atol=1e-6)
