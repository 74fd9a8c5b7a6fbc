"""Encoders are the complete published networks."""

import pytest
import torch

from galaxymorph import weights
from galaxymorph.cae import CAE
from galaxymorph.classifier import Classifier
from galaxymorph.encoders import encoder


@pytest.mark.parametrize(
    ("name", "num_features", "parameters"),
    # He et al. 2016 as torchvision counts them, 11,689,512 and 25,557,032, less the 1,000-class layer
    [("resnet18", 512, 11_689_512 - 513_000), ("resnet50", 2048, 25_557_032 - 2_049_000)],
)
def test_the_network_is_the_complete_one(name, num_features, parameters):
    network = encoder(name)
    assert network.num_features == num_features
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, num_features)


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
    weights.save(tmp_path / "m.safetensors", trained, encoder=trained.encoder.options, seen=["a", "b"])
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
    weights.save(tmp_path / "c.safetensors", CAE(new, image_size=32, channels=[8, 8, 8, 4]), encoder=new.options, seen=[])
    back = encoder(str(tmp_path / "c.safetensors"), image_size=32).eval()
    images = torch.rand(2, 3, 32, 32)
    assert new(images).shape == (2, 16) and torch.equal(back(images), new(images))


def test_a_file_without_an_encoder_or_of_another_kind_is_refused_by_name(tmp_path):
    weights.save(tmp_path / "w.safetensors", torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"w.safetensors: a model file without an encoder"):
        encoder(str(tmp_path / "w.safetensors"))
    with pytest.raises(FileNotFoundError, match=r"models/none/moco.safetensors.*has to be run first"):
        encoder("models/none/moco.safetensors")
    trained = Classifier(encoder("resnet18"), classes=2)
    weights.save(tmp_path / "m.safetensors", trained, encoder=trained.encoder.options)
    with pytest.raises(ValueError, match="does not say which galaxies"):
        encoder(str(tmp_path / "m.safetensors"))
    weights.save(tmp_path / "m.safetensors", trained, encoder=trained.encoder.options, seen=["a"])
    with pytest.raises(ValueError, match="not {'latent': 7}"):
        encoder(str(tmp_path / "m.safetensors"), latent=7)
    with pytest.raises(ValueError, match="resnet18 has no option latent"):
        encoder("resnet18", latent=7)


def test_a_result_is_called_by_what_the_encoder_has_seen(tmp_path):
    def trained(**header):
        network = encoder("conv", channels=[4, 4, 4, 4], latent=4, image_size=32)
        weights.save(tmp_path / "e.safetensors", torch.nn.ModuleDict({"encoder": network}), encoder=network.options, **header)
        return encoder(str(tmp_path / "e.safetensors"))

    assert encoder("resnet18").protocol("fine-tuned", ["t"]) == "from scratch"
    assert encoder("resnet18").protocol("frozen", ["t"]) == "frozen, random encoder"
    assert trained(seen=["a", "b"]).protocol("frozen", ["t", "u"]) == "frozen"
    assert trained(seen=["a", "t"]).protocol("fine-tuned", ["t", "u"]) == "fine-tuned, transductive"
    told = trained(seen=["a", "t"], seen_labels=["t"])
    assert told.protocol("fine-tuned", ["u"]) == "fine-tuned"
    with pytest.raises(ValueError, match="labels of 1 of 2 test galaxies, the first 't'"):
        told.protocol("fine-tuned", ["t", "u"])


def test_stages_hold_every_weight_once_from_the_first_layer_to_the_last():
    for network, first, number in (
        (encoder("resnet50"), "body.conv1.weight", 5),
        (encoder("conv", channels=[4, 8, 8, 4], latent=6, image_size=32), "body.stages.0.0.weight", 5),
    ):
        names = {id(value): name for name, value in network.named_parameters()}
        staged = [[names[id(p)] for module in stage for p in module.parameters()] for stage in network.stages()]
        assert len(staged) == number and staged[0][0] == first
        assert sorted(name for stage in staged for name in stage) == sorted(names.values())
