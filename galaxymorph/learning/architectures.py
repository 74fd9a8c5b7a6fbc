"""Networks that torchvision does not have, from normalised images to features: a small CNN for
galaxies, Xception, and the encoder of the autoencoder, which turns galaxies first."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from galaxymorph.pixels import Each, Images, resampled

Features = Float[Tensor, "galaxy feature"]
Mean = Float[Tensor, ""]  # over a batch
Cells = Float[Tensor, "galaxy _ _ _"]  # channels of a map

# px. Where a last stage gets single cells, the bfloat16 gradient of its stride-2 convolution reads
# memory that was never written, so it may be NaN (oneDNN on CPU, torch 2.15).
SMALLEST = 32
STRIDE = 16  # px of the image for each cell of the autoencoder's last stage
WINDOW = 0.2  # of the image's side: sigma of the Gaussian in which an orientation is measured


def _convolution(before: int, after: int, size: int, **options: Any) -> list[nn.Module]:
    """Without a bias, which BatchNorm would take away again."""
    return [nn.Conv2d(before, after, size, bias=False, **options), nn.BatchNorm2d(after)]


class SmallCNN(nn.Module):
    """Blocks of two 3 x 3 convolutions and a maximum over 2 x 2 cells, then the mean over cells.

    The plan of Simonyan & Zisserman 2015 (arXiv 1409.1556) for a few hundred labelled galaxies,
    with BatchNorm (Ioffe & Szegedy 2015); takes any image size. The last of the blocks' `channels`
    is `num_features`."""

    def __init__(self, *, channels: Sequence[int] = (16, 32, 64, 128)):
        super().__init__()
        self.options = {"channels": list(channels)}
        self.num_features = channels[-1]
        self.blocks = nn.Sequential()
        for before, after in itertools.pairwise((3, *channels)):
            first = [*_convolution(before, after, 3, padding=1), nn.ReLU()]
            second = [*_convolution(after, after, 3, padding=1), nn.ReLU()]
            self.blocks.append(nn.Sequential(*first, *second, nn.MaxPool2d(2)))

    def forward(self, images: Images) -> Features:
        return self.blocks(images).mean((2, 3))


class Xception(nn.Module):
    """Chollet 2017 (arXiv 1610.02357), figure 5, up to the global mean: 20.8 M parameters."""

    num_features = 2048

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *_convolution(3, 32, 3, stride=2), nn.ReLU(), *_convolution(32, 64, 3), nn.ReLU()
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
    """Each channel by itself over 3 x 3 cells, then all channels of a cell; nothing in between."""
    each = nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False)
    return [each, *_convolution(before, after, 1)]


class _Block(nn.Module):
    """Separable convolutions beside a shortcut, which is a 1 x 1 convolution where the block halves
    the image (stride 2)."""

    def __init__(self, *channels: int, stride: int = 2, relu_first: bool = True):
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            layers += [nn.ReLU(), *_separable(before, after)]
        layers += [nn.MaxPool2d(3, stride=2, padding=1)] if stride > 1 else []
        self.layers = nn.Sequential(*(layers if relu_first else layers[1:]))
        shortcut = _convolution(channels[0], channels[-1], 1, stride=stride) if stride > 1 else []
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, cells: Cells) -> Cells:
        return self.layers(cells) + self.shortcut(cells)


class ConvEncoder(nn.Module):
    """Four convolutions with `channels` that halve the image each, then a vector of `latent`
    numbers.

    `image_size` is in px. With `aligned`, each galaxy is turned first, its major axis horizontal
    (`orientation`), so that the vector says next to nothing about the angle. The last stage's map,
    flattened, is the vector itself where it has `latent` numbers, as in the published encoder
    (`channels=(32, 32, 16, 8), aligned=False`: 8 x 4 x 4 = 128 at 64 px); otherwise a linear layer
    leads to it. Raises `ValueError` as `check_stages` does."""

    def __init__(
        self,
        *,
        channels: Sequence[int] = (32, 64, 128, 256),
        latent: int = 128,
        image_size: int = 64,
        aligned: bool = True,
    ):
        super().__init__()
        check_stages(channels, image_size)
        self.num_features, self.image_size, self.aligned = latent, image_size, aligned
        self.options: dict[str, Any] = {"channels": list(channels), "latent": latent}
        self.options |= {"aligned": aligned, "image_size": image_size}
        self.stages = nn.Sequential()
        for before, after in itertools.pairwise((3, *channels)):
            layers = _convolution(before, after, 3, stride=2, padding=1)
            self.stages.append(nn.Sequential(*layers, nn.ReLU()))
        flat = channels[-1] * (image_size // STRIDE) ** 2
        self.to_latent = nn.Identity() if flat == latent else nn.Linear(flat, latent)

    def forward(self, images: Images) -> Features:
        """Latent vectors of normalised images (`encoders.Encoder.prepare`)."""
        if images.shape[-1] != self.image_size:
            found = f"images of {images.shape[-1]} px for an encoder of {self.image_size} px"
            raise ValueError(f"{found}; set image_size")
        if self.aligned:
            images = turned(images, orientation(images))
        return self.to_latent(self.stages(images).flatten(1))


def check_stages(channels: Sequence[int], image_size: int) -> None:
    """Raise `ValueError` unless there are four stages and the image can be halved by each."""
    if image_size % STRIDE or image_size < SMALLEST:
        needs = f"needs a multiple of {STRIDE}, at least {SMALLEST} px"
        raise ValueError(f"image_size={image_size}: the autoencoder {needs}")
    if len(channels) != 4:
        raise ValueError(f"channels={list(channels)}: expected one number for each of 4 stages")


@torch.no_grad()
def orientation(images: Images) -> Each:
    """Measure the direction (radians) of each galaxy's major axis, from the image's +x axis towards
    +y (down); of its two ends, the one with the longer tail of light.

    The axis is that of the second moments of the light, 0.5 atan2(2 M_xy, M_xx - M_yy) (Stobie
    1980, SPIE 264, 208), its end where the third moment is positive. Light is what the mean of the
    bands has above the image's median, the sky, within a Gaussian window of sigma = `WINDOW` sides
    about the centre, against neighbours; moments are about its centroid. Contrast and zero point of
    the image do not matter. Of a galaxy without an axis it is any angle."""
    images = images.float()
    light = images.mean(1)  # (galaxy, size, size)
    light = (light - light.flatten(1).median(1).values[:, None, None]).clamp_min(0)
    size = light.shape[-1]
    x = (torch.arange(size, device=images.device) + 0.5) / size - 0.5  # in sides, from the centre
    window = torch.exp(-0.5 * (x / WINDOW).square())
    light = light * window * window[:, None]
    total = light.sum((1, 2)).clamp_min(torch.finfo().tiny)  # an image of a single grey has none

    def moment(of: Tensor) -> Tensor:
        return (light * of).sum((1, 2)) / total

    dx = x - moment(x)[:, None, None]  # (galaxy, 1, size)
    dy = x[:, None] - moment(x[:, None])[:, None, None]  # (galaxy, size, 1)
    angle = 0.5 * torch.atan2(2 * moment(dx * dy), moment(dx**2) - moment(dy**2))
    along = dx * angle.cos()[:, None, None] + dy * angle.sin()[:, None, None]
    return torch.where(moment(along**3) < 0, angle + math.pi, angle)


def turned(images: Images, angle: Each) -> Images:
    """Turn each image about its centre by its own `angle`, so that what was in that direction
    (`orientation`) comes to lie along +x."""
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return resampled(images.float(), cos, -sin, zero, sin, cos, zero)
