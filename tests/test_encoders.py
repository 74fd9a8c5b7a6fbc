"""Encoders are the complete published networks."""

import pytest
import torch

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
    block = encoder("resnet50").body.layer1[1].eval()
    cells = torch.rand(2, 256, 8, 8)
    assert torch.equal(block(cells), cells)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'resnet18'"):
        encoder("resnet-18")


def test_images_too_small_for_the_last_stage_are_refused():
    with pytest.raises(ValueError, match="at least 32 px"):
        encoder("resnet18")(torch.rand(2, 3, 16, 16))
