"""A convolutional autoencoder: galaxies through a narrow latent vector, which has to describe them.

Hinton & Salakhutdinov 2006 (Science 313, 504); Masci et al. 2011 (ICANN) for convolutions. What
differs from the published autoencoder of galaxies (four convolutions with 32-32-16-8 channels, 128
numbers): BatchNorm, wider layers, and each galaxy is turned first, its major axis horizontal. Which
way a galaxy points on the sky means nothing, but takes more of a plain latent vector than the
difference between a spiral and an elliptical."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from galaxymorph.learning.architectures import SMALLEST, Features, Mean, convolution
from galaxymorph.pixels import Each, Images, Pixels, resampled

Image = Float[Tensor, "3 size size"]

STRIDE = 16  # px of the image for each cell of the encoder's last stage
WINDOW = 0.2  # of the image's side: sigma of the Gaussian in which an orientation is measured


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
            layers = convolution(before, after, 3, stride=2, padding=1)
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


class CAE(nn.Module):
    """Any `encoder` with a convolutional decoder; a learner for `train.fit` that ignores targets.

    `image_size` is in px; `channels` are those of the decoder's four stages, from the image inwards
    like the encoder's. With `aligned`, the decoder draws galaxies with a horizontal major axis,
    which are then turned to where they were; an encoder that is not aligned itself has to learn
    which features do not turn with the galaxy. Raises `ValueError` as `check_stages` does."""

    def __init__(
        self,
        encoder: nn.Module,
        *,
        image_size: int = 64,
        channels: Sequence[int] = (32, 64, 128, 256),
        aligned: bool = True,
    ):
        super().__init__()
        check_stages(channels, image_size)
        self.encoder, self.aligned = encoder, aligned
        latent, side = int(encoder.num_features), image_size // STRIDE  # pyright: ignore[reportArgumentType]
        inwards = channels[-1] * side**2
        output = _doubled(channels[0], 3)
        nn.init.constant_(output.bias, -2.2)  # pyright: ignore[reportArgumentType] # sigmoid: 0.1
        stages = list[nn.Module]()
        for before, after in itertools.pairwise(channels[::-1]):
            layers = _doubled(before, after), nn.BatchNorm2d(after), nn.ReLU()
            stages.append(nn.Sequential(*layers))
        first = nn.Identity() if inwards == latent else nn.Linear(latent, inwards)
        unflatten = nn.Unflatten(1, (channels[-1], side, side))
        self.decoder = nn.Sequential(first, unflatten, *stages, output)

    def decode(self, latent: Features, angle: Each | None = None) -> Images:
        """Draw images in [0, 1] of latent vectors, turned to an `angle` if one is given."""
        images = self.decoder(latent).float().sigmoid()
        return images if angle is None else turned(images, -angle)

    def reconstruct(self, images: Images) -> Images:
        """Encode and decode images in [0, 1]."""
        return self.decode(self.encoder(images), orientation(images) if self.aligned else None)

    def loss(self, images: Images, targets: object) -> Mean:
        """Compute the mean squared error of the reconstruction."""
        return functional.mse_loss(self.reconstruct(images), images)

    @torch.no_grad()
    def oddity(self, images: Pixels, *, batch_size: int = 256) -> Each:
        """Compute the mean squared error of each galaxy's reconstruction, in eval mode, on the CPU:
        large for odd galaxies."""
        self.eval()
        where, errors = next(self.parameters()).device, []
        for batch in images.split(batch_size):
            batch = batch.to(where).float() / 255
            errors.append((self.reconstruct(batch) - batch).square().mean((1, 2, 3)).cpu())
        return torch.cat(errors)

    @torch.no_grad()
    def interpolate(
        self, first: Image, second: Image, *, steps: int = 8
    ) -> Float[Tensor, "steps 3 size size"]:
        """Draw images along the straight line between two galaxies' latent vectors, in eval mode,
        from one's reconstruction to the other's. The angle goes the shorter way."""
        both = torch.stack([first, second])
        self.eval()
        along = torch.linspace(0, 1, steps, device=both.device)
        start, end = self.encoder(both)
        latent = start + along[:, None] * (end - start)
        if not self.aligned:
            return self.decode(latent)
        here, there = orientation(both)
        way = torch.remainder(there - here + math.pi, 2 * math.pi) - math.pi
        return self.decode(latent, here + along * way)


def _doubled(before: int, after: int) -> nn.ConvTranspose2d:
    """A kernel that is a multiple of its stride reaches every pixel equally often: no chequerboard
    (Odena et al. 2016)."""
    return nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)
