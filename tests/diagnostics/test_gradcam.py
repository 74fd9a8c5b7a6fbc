"""Class-activation maps against closed forms, loops, and a blob that decides the class."""

import copy
import gc

import numpy as np
import pytest
import torch
from torch import nn

from galaxymorph import galaxy_zoo_tree
from galaxymorph.diagnostics import gradcam, map_scores
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.encoders import encoder
from galaxymorph.learning.votes import VoteRegressor
from tests.diagnostics.conftest import planted


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
@pytest.mark.long
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
        ValueError, match="unknown method 'cam'.* Known: gradcam, gradcam\\+\\+, .*centred, random"
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
        match="rotates each galaxy .*aligned=True.* method='occlusion', or .*aligned=False",
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


@pytest.mark.long
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
    use(20)
    assert left() == before


# ---- a blob decides the class


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
