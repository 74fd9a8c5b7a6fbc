"""Encoders are the complete published networks."""

import copy
import importlib.util
import sys

import pytest
import safetensors.torch
import torch
import torchvision.models
from torch import nn
from torchvision.transforms.functional import normalize

from galaxymorph.learning import encoders, model_files
from galaxymorph.learning.architectures import _Block
from galaxymorph.learning.cae import CAE
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.encoders import PUBLISHED, encoder, smallest


@pytest.mark.parametrize(
    ("name", "num_features", "parameters"),
    # as torchvision counts them, less the 1,000-class layer (of VGG16 three layers; Inception's
    # without the auxiliary head);
    # Xception as Keras counts its own without the last layer; of the small one by hand, 9 a b + 2 b
    # for each convolution
    [
        ("resnet18", 512, 11_689_512 - 513_000),
        ("resnet50", 2048, 25_557_032 - 2_049_000),
        ("vgg16", 512, 138_357_544 - 25_089 * 4096 - 4097 * 4096 - 4097 * 1000),
        ("inception_v3", 2048, 23_834_568 - 2_049_000),
        ("xception", 2048, 20_806_952),
        (
            "cnn",
            128,
            9 * (3 * 16 + 16 * (16 + 32) + 32 * (32 + 64) + 64 * (64 + 128) + 128 * 128)
            + 4 * (16 + 32 + 64 + 128),
        ),
    ],
)
@pytest.mark.long
def test_the_network_is_the_complete_one(name, num_features, parameters):
    network = encoder(name)
    assert network.num_features == num_features
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, num_features)


def test_an_untrained_residual_branch_adds_nothing():
    block = encoder("resnet50", zero_init_residual=True).body.layer1[1].eval()
    cells = torch.rand(2, 256, 8, 8)
    assert torch.equal(block(cells), cells)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'resnet18'"):
        encoder("resnet-18")


def test_images_too_small_for_the_last_stage_are_refused():
    with pytest.raises(ValueError, match="at least 32 px"):
        encoder("resnet18")(torch.rand(2, 3, 16, 16))


def test_an_encoder_comes_back_from_the_model_file_of_any_learner(tmp_path):
    trained = Classifier(encoder("resnet18", zero_init_residual=True), classes=3).eval()
    model_files.write(
        tmp_path / "m.safetensors", trained, encoder=trained.encoder.options, seen=["a", "b"]
    )
    name = str(tmp_path / "m.safetensors")
    back = encoder(name).eval()
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(back(images), trained.encoder(images))
    assert back.seen == {"a", "b"} and encoder("resnet18").seen == frozenset()
    assert back.options == {"name": "resnet18", "zero_init_residual": True}
    untrained = encoder(**back.options)
    assert not torch.equal(untrained.body.conv1.weight, back.body.conv1.weight)


def test_the_encoder_of_the_autoencoder_comes_back_with_its_sizes(tmp_path):
    new = encoder("conv", channels=[8, 8, 8, 4], latent=16, image_size=32).eval()
    model_files.write(
        tmp_path / "c.safetensors",
        CAE(new, image_size=32, channels=[8, 8, 8, 4]),
        encoder=new.options,
        seen=[],
    )
    back = encoder(str(tmp_path / "c.safetensors"), image_size=32).eval()
    images = torch.rand(2, 3, 32, 32)
    assert new(images).shape == (2, 16) and torch.equal(back(images), new(images))


def test_a_file_without_an_encoder_or_of_another_kind_is_refused_by_name(tmp_path):
    model_files.write(tmp_path / "w.safetensors", torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"w.safetensors: not a valid encoder"):
        encoder(str(tmp_path / "w.safetensors"))
    with pytest.raises(
        FileNotFoundError, match=r"models/none/moco.safetensors.*run that step first"
    ):
        encoder("models/none/moco.safetensors")
    trained = Classifier(encoder("resnet18"), classes=2)
    model_files.write(tmp_path / "m.safetensors", trained, encoder=trained.encoder.options)
    with pytest.raises(ValueError, match="does not say which galaxies"):
        encoder(str(tmp_path / "m.safetensors"))
    model_files.write(
        tmp_path / "m.safetensors", trained, encoder=trained.encoder.options, seen=["a"]
    )
    with pytest.raises(ValueError, match="not {'latent': 7}"):
        encoder(str(tmp_path / "m.safetensors"), latent=7)
    with pytest.raises(ValueError, match="resnet18 has no option latent"):
        encoder("resnet18", latent=7)


def test_a_pretrained_encoder_is_a_model_file_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params.yaml").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"unknown encoder 'pretrained/zoo'.*zoo.safetensors does"):
        encoder("pretrained/zoo")
    network = encoder("cnn").eval()
    file = tmp_path / "models" / "pretrained" / "zoo.safetensors"
    whole = torch.nn.ModuleDict({"encoder": network})
    model_files.write(file, whole, encoder=network.options, seen=["a"])
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(encoder("pretrained/zoo").eval()(images), network(images))
    with pytest.raises(ValueError, match="did you mean 'pretrained/zoo'"):
        encoder("pretrained/zoos")


def test_a_result_is_called_by_what_the_encoder_has_seen(tmp_path):
    def trained(**header):
        network = encoder("conv", channels=[4, 4, 4, 4], latent=4, image_size=32)
        model_files.write(
            tmp_path / "e.safetensors",
            torch.nn.ModuleDict({"encoder": network}),
            encoder=network.options,
            **header,
        )
        return encoder(str(tmp_path / "e.safetensors"))

    assert encoder("resnet18").protocol("fine-tuned", ["t"]) == "from scratch"
    assert encoder("resnet18").protocol("frozen", ["t"]) == "frozen, random encoder"
    assert trained(seen=["a", "b"]).protocol("frozen", ["t", "u"]) == "frozen"
    assert trained(seen=["a", "t"]).protocol("fine-tuned", ["t", "u"]) == "fine-tuned, transductive"
    new = encoder("cnn")
    assert new.protocol("fine-tuned", ["t"], ["a"]) == "from scratch, semi-supervised"
    transductive = "from scratch, semi-supervised, transductive"
    assert new.protocol("fine-tuned", ["t"], ["a", "t"]) == transductive
    seen = trained(seen=["a", "t"])
    assert seen.protocol("fine-tuned", ["t"], ["a"]) == "fine-tuned, semi-supervised, transductive"
    told = trained(seen=["a", "t"], seen_labels=["t"])
    assert told.protocol("fine-tuned", ["u"]) == "fine-tuned"
    with pytest.raises(ValueError, match="labels of 1 of 2 test galaxies, the first 't'"):
        told.protocol("fine-tuned", ["t", "u"])


@pytest.mark.parametrize(
    ("name", "number", "first"),
    [
        ("cnn", 4, "body.blocks.0.0.weight"),
        ("conv", 5, "body.stages.0.0.weight"),
        ("resnet50", 5, "body.conv1.weight"),
        ("vgg16", 5, "body.features.0.weight"),
        ("inception_v3", 4, "body.Conv2d_1a_3x3.conv.weight"),
        ("xception", 4, "body.stem.0.weight"),
        ("timm/efficientnet_b0", 9, "body.conv_stem.weight"),
        ("timm/convnext_atto", 6, "body.stem.0.weight"),
    ],
)
@pytest.mark.long
def test_stages_hold_every_weight_once_from_the_first_layer_to_the_last(name, number, first):
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    network = encoder(name, image_size=32)
    names = {id(value): key for key, value in network.named_parameters()}
    staged = [
        [names[id(p)] for module in stage for p in module.parameters()]
        for stage in network.stages()
    ]
    assert len(staged) == number and staged[0][0] == first
    assert sorted(key for stage in staged for key in stage) == sorted(names.values())


# ---- what each network is shown


def test_the_smallest_size_is_what_the_weights_state():
    for name in PUBLISHED:
        stated = torchvision.models.get_model_weights(name).DEFAULT.meta["min_size"]
        assert smallest(name) == max(32, *stated)
    assert (
        smallest("inception_v3") == 75
        and smallest("xception") == 71
        and smallest("resnet18") == smallest("cnn") == 32
    )


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.long
def test_with_published_weights_images_are_prepared_as_these_state(name, monkeypatch):
    galaxies = encoder(name)
    state = galaxies.body.state_dict() | {
        "fc.weight": torch.zeros(1000, 2),
        "classifier.6.bias": torch.zeros(1000),
    }
    asked = []
    monkeypatch.setattr(encoders, "fetch", lambda url: asked.append(url) or state)
    network = encoder(name, weights="imagenet")
    stated = torchvision.models.get_model_weights(name).DEFAULT
    assert asked == [stated.url]
    assert all(torch.equal(value, state[key]) for key, value in network.body.state_dict().items())
    images = torch.rand(2, 3, 96, 96)
    transform = stated.transforms()
    wanted = normalize(images, transform.mean, transform.std)
    if name == "inception_v3":  # torchvision's network itself changes what it is given
        torchvisions = torchvision.models.inception_v3(
            weights=None, transform_input=True, init_weights=False
        )
        wanted = torchvisions._transform_input(wanted)
    torch.testing.assert_close(network.prepare(images), wanted, atol=1e-5, rtol=1e-5)
    assert network.options == {"name": name, **network.normalisation}  # as a model file builds it
    assert galaxies.normalisation == {"mean": 0.1, "std": 0.15} and galaxies.options == {
        "name": name
    }
    assert network.protocol(network.adaptation, ["t"]) == "fine-tuned"
    assert galaxies.protocol(galaxies.adaptation, ["t"]) == "from scratch"


@pytest.mark.long
def test_images_are_brought_to_the_size_that_a_network_takes():
    for name, given, wanted in (
        ("xception", None, 71),
        ("vgg16", 32, 32),
        ("resnet18", None, 64),
        ("cnn", 48, 48),
    ):
        grey = encoder(name, size=given).prepare(torch.full((1, 3, 64, 64), 0.4))
        torch.testing.assert_close(grey, torch.full((1, 3, wanted, wanted), 2.0))
    with pytest.raises(ValueError, match="size=64: inception_v3 takes images of 75 px or more"):
        encoder("inception_v3", size=64)


# ---- weights of others


@pytest.mark.long
def test_files_of_weights_are_taken_whole_or_refused_by_name(tmp_path):
    torch.manual_seed(3)
    published = torchvision.models.resnet18(weights=None)
    torch.save(published.state_dict(), tmp_path / "r.pth")
    safetensors.torch.save_file(published.state_dict(), tmp_path / "r.safetensors")
    published.fc = nn.Identity()
    images = torch.rand(2, 3, 64, 64)
    for file in ("r.pth", "r.safetensors"):
        network = encoder("resnet18", weights=str(tmp_path / file)).eval()
        assert torch.equal(network(images), published.eval()(network.prepare(images)))
        assert network.normalisation["mean"] == [0.485, 0.456, 0.406]
        assert network.protocol(network.adaptation, ["t"]) == "fine-tuned, galaxies unknown"
    old = {
        key: value for key, value in published.state_dict().items() if "num_batches" not in key
    }  # as first published
    torch.save(old, tmp_path / "old.pth")
    assert torch.equal(
        encoder("resnet18", weights=str(tmp_path / "old.pth")).eval()(images), network(images)
    )
    with pytest.raises(
        ValueError, match=r"r.pth: not valid weights of vgg16: Missing key.*features"
    ):
        encoder("vgg16", weights=str(tmp_path / "r.pth"))
    grey = published.state_dict() | {"conv1.weight": torch.zeros(64, 1, 7, 7)}
    torch.save(grey, tmp_path / "grey.pth")
    with pytest.raises(
        ValueError, match=r"grey.pth.*conv1.weight.*\[64, 1, 7, 7\].*\[64, 3, 7, 7\]"
    ):
        encoder("resnet18", weights=str(tmp_path / "grey.pth"))
    (tmp_path / "torn.pth").write_bytes((tmp_path / "r.pth").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"torn.pth: not a valid model file"):
        encoder("resnet18", weights=str(tmp_path / "torn.pth"))
    with pytest.raises(FileNotFoundError, match=r"none.pth"):
        encoder("resnet18", weights=str(tmp_path / "none.pth"))


def test_a_model_file_as_weights_is_the_model_file(tmp_path):
    trained = Classifier(encoder("cnn", channels=[4, 8]), classes=3).eval()
    path = tmp_path / "m.safetensors"
    model_files.write(path, trained, encoder=trained.encoder.options, seen=["a"])
    back = encoder("cnn", weights=str(path), freeze=1).eval()
    images = torch.rand(2, 3, 32, 32)
    assert (
        torch.equal(back(images), trained.encoder(images))
        and back.seen == {"a"}
        and back.adaptation == "partly frozen"
    )
    with pytest.raises(ValueError, match="not {'name': 'resnet18'}"):
        encoder("resnet18", weights=str(path))
    with pytest.raises(ValueError, match="is already trained; leave out weights"):
        encoder(str(path), weights="imagenet")


def test_an_option_about_first_weights_does_not_matter_to_trained_ones(tmp_path):
    trained = Classifier(encoder("resnet18"), classes=2)
    model_files.write(
        tmp_path / "m.safetensors", trained, encoder=trained.encoder.options, seen=["a"]
    )
    assert encoder(
        "resnet18", weights=str(tmp_path / "m.safetensors"), zero_init_residual=True
    ).seen == {"a"}


def test_what_has_no_imagenet_weights_says_so():
    with pytest.raises(ValueError, match="encoder cnn has no ImageNet weights; resnet18"):
        encoder("cnn", weights="imagenet")


def test_without_timm_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"pip install 'galaxymorph\[models\]'"):
        encoder("timm/efficientnet_b0")


@pytest.mark.skipif(
    importlib.util.find_spec("timm") is None, reason="the extra `models` (timm) is not installed"
)
def test_networks_of_timm_are_encoders_like_others():
    for name, num_features in (("timm/efficientnet_b0", 1280), ("timm/convnext_nano", 640)):
        network = encoder(name).eval()
        assert network.num_features == num_features and network(torch.rand(1, 3, 64, 64)).shape == (
            1,
            num_features,
        )
        assert (
            network.options == {"name": name}
            and encoder(**network.options).num_features == num_features
        )
    with pytest.raises(ValueError, match="did you mean timm/efficientnet_b0"):
        encoder("timm/eficientnet_b0")


# ---- frozen stages


@pytest.mark.parametrize(("how", "frozen"), [("none", 0), (2, 2), ("all", 5)])
def test_what_is_frozen_stays_as_it_is_while_the_rest_learns(how, frozen):
    torch.manual_seed(0)
    model = Classifier(encoder("resnet18", freeze=how), classes=2)
    before = copy.deepcopy(model.state_dict())
    model.train()
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.loss(torch.rand(8, 3, 32, 32), torch.arange(8) % 2).backward()
    optimiser.step()
    for number, stage in enumerate(model.stages()):
        changed = [
            not torch.equal(value, before[f"{name}.{key}"])
            for name, module in model.named_modules()
            if module in stage
            for key, value in module.state_dict().items()
        ]
        assert not any(changed) if number < frozen else all(changed)  # BatchNorm's statistics, too
    assert model.encoder.adaptation == {0: "fine-tuned", 2: "partly frozen", 5: "frozen"}[frozen]


def test_a_frozen_copy_is_frozen_and_a_wrong_number_of_stages_is_refused():
    network = copy.deepcopy(encoder("cnn", freeze="all")).train()
    assert not any(module.training for block in network.body.blocks for module in block.modules())
    assert network.protocol(network.adaptation, []) == "frozen, random encoder"
    for how in (5, -1, True):
        with pytest.raises(ValueError, match="none, all, or how many of the 4 stages of cnn"):
            encoder("cnn").freeze(how)


# ---- networks of our own


def test_a_block_of_xception_is_what_figure_5_draws():
    """ReLU, separable convolution, ReLU, separable convolution, maximum; beside it a 1 x 1
    convolution with stride 2."""
    torch.manual_seed(1)
    block = _Block(4, 6, 6).eval()
    cells = torch.randn(2, 4, 9, 9)
    weight = {name: value for name, value in block.named_parameters() if value.ndim == 4}
    first, each, second, all_ = (weight[f"layers.{k}.weight"] for k in (1, 2, 5, 6))

    def separable(x, depthwise, pointwise):
        x = torch.nn.functional.conv2d(x.relu(), depthwise, padding=1, groups=x.shape[1])
        return (
            torch.nn.functional.conv2d(x, pointwise) / (1 + 1e-5) ** 0.5
        )  # BatchNorm that has seen nothing

    deep = torch.nn.functional.max_pool2d(
        separable(separable(cells, first, each), second, all_), 3, 2, 1
    )
    short = (
        torch.nn.functional.conv2d(cells, weight["shortcut.0.weight"], stride=2) / (1 + 1e-5) ** 0.5
    )
    torch.testing.assert_close(block(cells), deep + short, rtol=1e-4, atol=1e-4)


def test_a_module_to_import_later_is_imported_by_a_call(monkeypatch):
    later = encoders._Later("colorsys")
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    function = later.rgb_to_hsv
    assert "colorsys" not in sys.modules
    assert function(1.0, 0.0, 0.0) == (0.0, 1.0, 1.0)
