"""Class-activation maps and their scores against closed forms, loops, scipy, and a blob that
decides the class."""

import copy
import gc
import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional

from galaxymorph import galaxy_zoo_tree
from galaxymorph.diagnostics import gradcam, map_scores
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.encoders import encoder
from galaxymorph.learning.votes import VoteRegressor


class Toy(nn.Module):
    """A convolution, then a mean or all cells, then a linear layer."""

    def __init__(self, *, size=None, relu=None, stride=1, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.convolution = nn.Conv2d(3, 5, 3, padding=1, stride=stride)
        self.last = nn.Identity() if relu is None else relu
        self.pool = nn.AdaptiveAvgPool2d(1) if size is None else nn.Identity()
        self.head = nn.Linear(5 if size is None else 5 * (size // stride) ** 2, 4)

    def forward(self, images):
        return self.head(self.pool(self.last(self.convolution(images))).flatten(1))


def images(n=4, size=16, seed=0):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def first(outputs):
    return outputs[:, 0]


def relative(heat):
    return heat / heat.amax((1, 2), keepdim=True).clamp_min(1e-30)


# ---- maps


@pytest.mark.parametrize("method", ["gradcam", "hirescam"])
def test_on_conv_mean_linear_it_is_the_weighted_sum_of_the_channels(method):
    model, given = Toy(relu=nn.ReLU()), images()
    with torch.no_grad():
        channels = model.convolution(given).relu()
    for k, weights in enumerate(model.head.weight.detach()):
        expected = relative((weights[:, None, None] * channels).sum(1).relu())
        found = gradcam.maps(model, given, lambda logits, k=k: logits[:, k], method=method)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def by_loops(method, a, g):
    """Maps of a single galaxy, `(channel, height, width)`, from the formulas of the papers."""
    heat = np.zeros(a.shape[1:])
    for channel, gradient in zip(a, g, strict=True):
        weight = 0.0
        for i, j in np.ndindex(gradient.shape):
            d = gradient[i, j]
            if method == "gradcam":
                weight += d / gradient.size
            elif method == "gradcam++" and d:
                weight += d**2 / (2 * d**2 + channel.sum() * d**3) * max(d, 0)
        for i, j in np.ndindex(gradient.shape):
            own = {"hirescam": gradient[i, j], "layercam": max(gradient[i, j], 0)}.get(
                method, weight
            )
            heat[i, j] += own * channel[i, j]
    return heat.clip(0)


@pytest.mark.parametrize("method", gradcam.BY_LAYER)
def test_each_method_is_the_formula_of_its_paper(method):
    model, given = (
        Toy(size=16, stride=2),
        images(),
    )  # linear in its channels: the gradient is the weight of each cell
    g = model.head.weight[0].detach().view(5, 8, 8).double().numpy()
    g[:, 0] = model.head.weight.data.view(4, 5, 8, 8)[0, :, 0] = 0  # where the gradient is zero
    channels = model.convolution(given).detach().double().numpy()
    coarse = np.stack([by_loops(method, each, g) for each in channels])
    places = (
        np.arange(16) + 0.5
    ) / 2 - 0.5  # bilinear: along one axis, then along the other; flat beyond the last centre
    rows = np.apply_along_axis(lambda line: np.interp(places, np.arange(8), line), 1, coarse)
    fine = np.apply_along_axis(lambda line: np.interp(places, np.arange(8), line), 2, rows)
    found = gradcam.maps(model, given, first, method=method, layer="convolution")
    np.testing.assert_allclose(found, fine / fine.max((1, 2), keepdims=True), atol=2e-5)
    assert (found.amax((1, 2)) == 1).all() and found.min() >= 0


def test_a_layer_that_the_next_one_overwrites_is_seen_as_it_was():
    given = images()
    overwritten, kept = (Toy(relu=nn.ReLU(inplace=inplace)) for inplace in (True, False))
    for method in gradcam.BY_LAYER:
        one, other = (
            gradcam.maps(m, given, first, method=method, layer="convolution")
            for m in (overwritten, kept)
        )
        torch.testing.assert_close(one, other)
    with torch.no_grad():
        channels = kept.convolution(given)
    weights = kept.head.weight[0].detach()[:, None, None] * (channels > 0)
    expected = relative((weights.mean((2, 3), keepdim=True) * channels).sum(1).relu())
    torch.testing.assert_close(
        gradcam.maps(overwritten, given, first, layer="convolution"), expected, atol=1e-6, rtol=1e-4
    )


def test_a_map_without_heat_stays_zero():
    model = Toy(relu=nn.ReLU())
    model.head.weight.data.fill_(-1.0)
    for method in ("gradcam", "gradcam++", "hirescam", "layercam"):
        assert (gradcam.maps(model, images(), first, method=method) == 0).all()


@pytest.mark.parametrize("name", ["resnet18", "conv"])
def test_classes_answers_and_directions_of_any_encoder(name):
    torch.manual_seed(0)
    options = (
        {}
        if name == "resnet18"
        else {"aligned": False, "channels": (4, 4, 4, 4), "image_size": 64, "latent": 16}
    )
    body = encoder(name, **options)
    given = (255 * images(2, 64)).byte()
    classes, votes = Classifier(body, classes=3), VoteRegressor(body)
    column, direction = galaxy_zoo_tree.column("bar", "yes"), torch.randn(body.num_features)
    last, default = ("layer4", "layer2") if name == "resnet18" else ("stages", "stages.2")
    asked = [
        (classes, "encoder.", lambda logits: logits[:, 2]),
        (votes, "encoder.", lambda outputs: votes.answer(outputs, column)),
        (body, "", lambda features: features @ direction),
    ]
    for model, prefix, target in asked:
        assert list(gradcam.layers(model, given))[-1] == f"{prefix}body.{last}"
        found = gradcam.maps(model, given, target, method="layercam")
        assert (
            found.shape == (2, 64, 64)
            and found.isfinite().all()
            and found.amax((1, 2)).tolist() == [1, 1]
        )
        fine = f"{prefix}body.{default}"  # 8 x 8 cells
        named = gradcam.maps(
            model, given.float() / 255, target, method="layercam", layer=fine, batch_size=1
        )
        torch.testing.assert_close(found, named, atol=1e-4, rtol=1e-3)
    assert gradcam.layers(votes, given)[f"encoder.body.{default}"][1:] == (8, 8)
    answer = gradcam.maps(votes, given, asked[1][2], layer=f"encoder.body.{last}")
    other = gradcam.maps(
        votes,
        given,
        lambda outputs: votes.answer(outputs, column + 1),
        layer=f"encoder.body.{last}",
    )
    assert not torch.allclose(answer, other)


def test_what_cannot_be_mapped_is_refused():
    model, given = Toy(), images()
    with pytest.raises(
        ValueError, match="layer 'convolutio' gives no maps .* the nearest that do: convolution"
    ):
        gradcam.maps(model, given, first, layer="convolutio")
    with pytest.raises(ValueError, match="layer 'head' gives no maps .*convolution"):
        gradcam.maps(model, given, first, layer="head")
    with pytest.raises(
        ValueError, match="method='cam': one of gradcam, gradcam\\+\\+, .*centred, random"
    ):
        gradcam.maps(model, given, first, method="cam")
    with pytest.raises(
        ValueError, match="the target gives \\(4, 4\\) for 4 galaxies; expected one score for each"
    ):
        gradcam.maps(model, given, lambda logits: logits)
    for constant in (
        lambda logits: torch.zeros(len(logits)),
        lambda logits: torch.zeros(len(logits), requires_grad=True),
    ):
        with pytest.raises(ValueError, match="the target's score does not depend on layer 'last'"):
            gradcam.maps(model, given, constant)
    with pytest.raises(ValueError, match="no layer gives maps"):
        gradcam.maps(nn.Sequential(nn.Flatten(), nn.Linear(768, 2)), given, first)


def test_an_encoder_that_turns_galaxies_is_refused_but_for_occlusion():
    torch.manual_seed(0)
    model = Classifier(encoder("conv", channels=(4, 4, 4, 4), latent=16, image_size=32), classes=3)
    with pytest.raises(
        ValueError,
        match="turns each galaxy .*aligned=True.* method='occlusion', or .*aligned=False",
    ):
        gradcam.maps(model, images(2, 32), first)
    assert gradcam.maps(model, images(2, 32), first, method="occlusion").max() == 1


def test_occlusion_is_how_much_the_score_falls():
    size, side = 20, 4  # a fifth
    weights = torch.randn(3, size, size, generator=torch.Generator().manual_seed(1))
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, 1))
    model[1].weight.data = weights.flatten()[None]
    given = images(2, size)
    expected = np.zeros((2, size, size))
    for galaxy, image in enumerate(given.numpy()):
        border = np.concatenate(
            [image[:, 0], image[:, -1], image[:, 1:-1, 0], image[:, 1:-1, -1]], axis=1
        )
        excess = weights.numpy() * (
            image - np.sort(border, axis=1)[:, (border.shape[1] - 1) // 2, None, None]
        )
        falls = [[[] for _ in range(size)] for _ in range(size)]
        for top in range(0, size - side + 1, 2):
            for left in range(0, size - side + 1, 2):
                for i in range(top, top + side):
                    for j in range(left, left + side):
                        falls[i][j].append(excess[:, top : top + side, left : left + side].sum())
        expected[galaxy] = [[max(np.mean(cell), 0) for cell in row] for row in falls]
    found = gradcam.maps(model, given, first, method="occlusion")
    np.testing.assert_allclose(found, expected / expected.max((1, 2), keepdims=True), atol=1e-4)


def test_controls_know_nothing_of_the_model():
    given = images(3, 32)
    centred = gradcam.maps(Toy(), given, first, method="centred")
    assert (centred == gradcam.maps(Toy(seed=1), given, first, method="centred")).all()
    x = np.arange(32) - 15.5
    gaussian = np.exp(-(x**2 + x[:, None] ** 2) / (2 * (0.2 * 32) ** 2))
    np.testing.assert_allclose(centred, np.stack([gaussian / gaussian.max()] * 3), rtol=1e-5)
    random = gradcam.maps(Toy(), given, first, method="random")
    assert random.amax((1, 2)).tolist() == [1, 1, 1] and not torch.allclose(random[0], random[1])
    assert (random == gradcam.maps(Toy(seed=1), given, first, method="random")).all()
    assert not torch.allclose(random, gradcam.maps(Toy(), given, first, method="random", seed=1))


# ---- the model is as it was


def state(model):
    return (
        [module.training for module in model.modules()],
        [weight.requires_grad for weight in model.parameters()],
        [weight.grad for weight in model.parameters()],
        sum(len(module._forward_hooks) + len(module._backward_hooks) for module in model.modules()),
    )


def test_the_model_is_left_as_it_was_also_after_an_error():
    model, given = Toy(relu=nn.ReLU(inplace=True)), images()
    model.train()
    model.last.eval()
    model.convolution.bias.requires_grad_(False)
    before, weights = state(model), copy.deepcopy(model.state_dict())

    def broken(outputs):
        raise KeyboardInterrupt

    for method in gradcam.METHODS:
        gradcam.maps(model, given, first, method=method)
        with pytest.raises(KeyboardInterrupt):
            gradcam.maps(model, given, broken, method=method)
        assert state(model) == before
    with pytest.raises(ValueError, match="no maps"):
        gradcam.maps(model, given, first, layer="nowhere")
    map_scores.compare(model, given, first, methods=("gradcam", "centred"))
    assert state(model) == before and before[3] == 0
    assert all((weights[name] == value).all() for name, value in model.state_dict().items())


def test_frozen_training_autocast_and_no_grad_make_no_difference():
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(inplace=True), nn.Dropout(0.5)
    )
    model = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)).eval()
    given = images()
    expected = gradcam.maps(model, given, first)
    assert (gradcam.maps(model.train(), given, first) == expected).all()
    body.requires_grad_(False)
    assert (gradcam.maps(model, given, first) == expected).all()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert (gradcam.maps(model.requires_grad_(False), given, first) == expected).all()


def test_nothing_piles_up():
    model, given = Toy(size=16, relu=nn.ReLU(inplace=True)), images(2)

    def left():
        gc.collect()
        return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects()), state(model)[
            3
        ]

    def use(times):
        for call in range(times):
            gradcam.maps(model, given, first, method=gradcam.BY_LAYER[call % 4])
            with pytest.raises(ZeroDivisionError):
                gradcam.maps(model, given, lambda outputs: outputs[:, 0] / (1 // 0))

    use(4)
    before = left()
    use(100)
    assert left() == before


# ---- a blob decides the class


def planted(n, *, seed=0, size=32):
    """Galaxies in the middle, with a red (0) or a blue (1) blob beside each, and where that is."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.arange(size) - (size - 1) / 2
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    centre = 10 * torch.stack([angle.cos(), angle.sin()], 1)  # (galaxy, xy)
    r2 = (x - centre[:, :1])[:, None, :] ** 2 + (x - centre[:, 1:])[:, :, None] ** 2
    galaxy = 0.6 * torch.exp(-(x**2 + x[:, None] ** 2) / (2 * 3**2))
    labels = torch.randint(2, (n,), generator=generator)
    colour = torch.tensor([[0.8, 0.1, 0.0], [0.0, 0.1, 0.8]])[labels]
    light = galaxy + colour[..., None, None] * torch.exp(-r2 / (2 * 1.5**2))[:, None]
    noise = 0.01 * torch.randn(n, 3, size, size, generator=generator)
    return (light + 0.1 + noise).clamp(0, 1), labels, r2 < 3**2


@pytest.fixture(scope="module")
def knows_blobs():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 5, padding=2, stride=2), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    given, labels, _ = planted(256)
    for step in range(120):
        batch = slice(64 * (step % 4), 64 * (step % 4 + 1))
        loss = functional.cross_entropy(model(given[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    return model


@pytest.mark.parametrize("method", gradcam.METHODS)
def test_heat_is_where_the_blob_is_and_not_inverted(knows_blobs, method):
    given, labels, blob = planted(40, seed=1)
    for k in (0, 1):
        heat = gradcam.maps(
            knows_blobs, given[labels == k], lambda logits, k=k: logits[:, k], method=method
        )
        where = blob[labels == k]
        assert (heat * where).sum() / where.sum() > 2 * (heat * ~where).sum() / (~where).sum()
        if method not in (
            "gradcam++",
            "layercam",
        ):  # which leave out what speaks against: there, the galaxy's own light
            hottest = heat.flatten(1).argmax(1, keepdim=True)
            assert where.flatten(1).gather(1, hottest).float().mean() > 0.9


def test_scores_tell_a_good_map_from_the_controls(knows_blobs):
    given, labels, _ = planted(24, seed=2)
    given = given[labels == 1]
    table = map_scores.compare(
        knows_blobs,
        given,
        lambda logits: logits[:, 1] - logits[:, 0],
        methods=("gradcam", "centred", "random"),
        score=lambda logits: logits.softmax(1)[:, 1],
    ).scores
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
    assert ((table.low <= table.value) & (table.value <= table.high)).all()
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

    curves = map_scores.compare(knows_blobs, given, first, methods=("gradcam", "centred")).curves
    assert list(curves.columns) == ["method", "curve", "fraction", "value", "low", "high", "n"]
    line = curves[(curves.method == "gradcam") & (curves.curve == "deletion")]
    heat = gradcam.maps(knows_blobs, given, first)
    np.testing.assert_allclose(
        line.value, map_scores.curve(knows_blobs, given, first, heat, "deletion").mean(0), rtol=1e-5
    )
    assert list(line.fraction) == [k / 16 for k in range(17)]


def test_sentences_follow_the_interval():
    table = map_scores.compare(Toy(), images(1), first, methods=("gradcam", "centred")).scores
    assert (
        table.low.isna().all() and table.gain_low.isna().all() and table.value.notna().all()
    )  # one galaxy: no interval
    assert [said.split(": ")[1] for said in map_scores.sentences(table)] == [
        "nothing can be said without the centred control and two galaxies or more."
    ] * 2
    alone = map_scores.compare(Toy(), images(3), first, methods=("gradcam",)).scores
    assert alone.gain.isna().all() and alone.low.notna().all()
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


# ---- scores


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
