"""Mock galaxies in splits; a network whose reason is known: a blob beside the galaxy decides the
class."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from galaxymorph.data.galaxies import Galaxies
from galaxymorph.data.mock.survey import mock_survey

CLASSES = ("round", "edge_on", "spiral")


@pytest.fixture(scope="module")
def images():
    return mock_survey(240, image_size=64, seed=5).images


@pytest.fixture
def sample(images):
    """240 mock galaxies: three classes in turn, 120 in train, 30 each in val and test, 60
    unlabelled."""
    split = np.repeat(["train", "val", "test", "unlabelled"], [120, 30, 30, 60])
    labels = torch.arange(240) % 3
    labels[180:] = -1
    ids = np.array([f"galaxy{row}" for row in range(240)])
    return Galaxies(
        ids=ids, images=images.clone(), labels=labels, classes=CLASSES, votes=None, split=split
    )


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


@pytest.fixture(scope="session")
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
