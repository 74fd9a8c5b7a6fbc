"""A small CNN for galaxies, and Xception: networks that torchvision lacks."""

import itertools
from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from galaxymorph.pixels import Images

Features = Float[Tensor, "galaxy feature"]
Mean = Float[Tensor, ""]  # over a batch
Cells = Float[Tensor, "galaxy _ _ _"]  # channels of a map

# px. In smaller images the last stage may receive a single cell; the bfloat16 gradient of its
# stride-2 convolution then reads uninitialised memory and may be NaN (oneDNN on CPU, torch 2.15).
SMALLEST = 32


def convolution(before: int, after: int, size: int, **options: Any) -> list[nn.Module]:
    """Make a convolution and its BatchNorm; a bias would be cancelled by BatchNorm."""
    return [nn.Conv2d(before, after, size, bias=False, **options), nn.BatchNorm2d(after)]


class SmallCNN(nn.Module):
    """Blocks of two 3 x 3 convolutions and 2 x 2 max pooling, then global average pooling.

    A small version of Simonyan & Zisserman 2015 (arXiv 1409.1556) with BatchNorm, for a few hundred
    labelled galaxies of any image size. The last of the blocks' `channels` is `num_features`."""

    def __init__(self, *, channels: Sequence[int] = (16, 32, 64, 128)):
        super().__init__()
        self.options = {"channels": list(channels)}
        self.num_features = channels[-1]
        self.blocks = nn.Sequential()
        for before, after in itertools.pairwise((3, *channels)):
            first = [*convolution(before, after, 3, padding=1), nn.ReLU()]
            second = [*convolution(after, after, 3, padding=1), nn.ReLU()]
            self.blocks.append(nn.Sequential(*first, *second, nn.MaxPool2d(2)))

    def forward(self, images: Images) -> Features:
        return self.blocks(images).mean((2, 3))


class Xception(nn.Module):
    """Xception (Chollet 2017, arXiv 1610.02357, figure 5) without its head: 20.8 M parameters."""

    num_features = 2048

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *convolution(3, 32, 3, stride=2), nn.ReLU(), *convolution(32, 64, 3), nn.ReLU()
        )
        self.entry = nn.Sequential(
            _Block(64, 128, 128, relu_first=False), _Block(128, 256, 256), _Block(256, 728, 728)
        )
        self.middle = nn.Sequential(*[_Block(728, 728, 728, 728, stride=1) for _ in range(8)])
        self.exit = nn.Sequential(
            _Block(728, 728, 1024),
            *_separable(1024, 1536),
            nn.ReLU(),
            *_separable(1536, self.num_features),
            nn.ReLU(),
        )

    def forward(self, images: Images) -> Features:
        return self.exit(self.middle(self.entry(self.stem(images)))).mean((2, 3))


def _separable(before: int, after: int) -> list[nn.Module]:
    """A 3 x 3 depthwise convolution, then a 1 x 1 pointwise one, with no activation between."""
    each = nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False)
    return [each, *convolution(before, after, 1)]


class _Block(nn.Module):
    """Separable convolutions with a shortcut; with stride 2, the image is halved."""

    def __init__(self, *channels: int, stride: int = 2, relu_first: bool = True):
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            layers += [nn.ReLU(), *_separable(before, after)]
        layers += [nn.MaxPool2d(3, stride=2, padding=1)] if stride > 1 else []
        self.layers = nn.Sequential(*(layers if relu_first else layers[1:]))
        shortcut = convolution(channels[0], channels[-1], 1, stride=stride) if stride > 1 else []
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, cells: Cells) -> Cells:
        return self.layers(cells) + self.shortcut(cells)
