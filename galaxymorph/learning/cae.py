"""A convolutional autoencoder, which compresses a galaxy to a short latent vector.

Hinton & Salakhutdinov 2006 (Science 313, 504); Masci et al. 2011 (ICANN) for convolutions. Unlike
the published autoencoder of galaxies (32-32-16-8 channels, 128 latent numbers), it has BatchNorm
and wider layers, and first rotates each galaxy until its major axis is horizontal: the position
angle would otherwise take up more of the latent vector than the type of the galaxy."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from galaxymorph.learning.architectures import SMALLEST, Features, Mean, convolution
from galaxymorph.learning.protocols import EncoderLike
from galaxymorph.pixels import Each, Images, Pixels, resampled

Image = Float[Tensor, "3 size size"]

STRIDE = 16  # px of the image per cell of the encoder's last feature map
WINDOW = 0.2  # sigma of the Gaussian window of `orientation`, as a fraction of the image's side


class ConvEncoder(nn.Module):
    """Four convolutions that each halve the image, then a vector of `latent` numbers.

    `image_size` is in px. With `aligned`, each galaxy is first rotated until its major axis is
    horizontal (`orientation`). The vector is the flattened last feature map if that has `latent`
    numbers, as in the published encoder (`channels=(32, 32, 16, 8), aligned=False`: 8 x 4 x 4 = 128
    at 64 px); otherwise a linear layer follows. Raises `ValueError` as `check_stages` does."""

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
        """Compute latent vectors of normalised images (`encoders.Encoder.prepare`)."""
        if images.shape[-1] != self.image_size:
            found = f"images of {images.shape[-1]} px for an encoder of {self.image_size} px"
            raise ValueError(f"{found}; set image_size")
        if self.aligned:
            images = turned(images, orientation(images))
        return self.to_latent(self.stages(images).flatten(1))


def check_stages(channels: Sequence[int], image_size: int) -> None:
    """Raise `ValueError` unless there are four stages and the image can be halved four times."""
    if image_size % STRIDE or image_size < SMALLEST:
        wanted = f"a multiple of {STRIDE}, at least {SMALLEST} px"
        raise ValueError(f"image_size={image_size}: the autoencoder needs {wanted}")
    if len(channels) != 4:
        raise ValueError(f"channels={list(channels)}: expected one number for each of 4 stages")


@torch.no_grad()
def orientation(images: Images) -> Each:
    """Measure the direction of each galaxy's major axis, in radians from +x towards +y (down).

    The axis follows from second moments about the centroid, 0.5 atan2(2 M_xy, M_xx - M_yy) (Stobie
    1980, SPIE 264, 208); of its two directions we take the one with positive third moment (the
    longer tail of light). The light is the mean of the bands above the image's median (the sky),
    weighted with a Gaussian of sigma = `WINDOW` sides about the centre to suppress neighbours. The
    angle does not depend on contrast or zero point; for a round galaxy it is arbitrary."""
    images = images.float()
    light = images.mean(1)  # (galaxy, size, size)
    light = (light - light.flatten(1).median(1).values[:, None, None]).clamp_min(0)
    size = light.shape[-1]
    x = (torch.arange(size, device=images.device) + 0.5) / size - 0.5  # in sides, from the centre
    window = torch.exp(-0.5 * (x / WINDOW).square())
    light = light * window * window[:, None]
    total = light.sum((1, 2)).clamp_min(torch.finfo().tiny)  # a uniform image has no light

    def moment(of: Tensor) -> Tensor:
        return (light * of).sum((1, 2)) / total

    dx = x - moment(x)[:, None, None]  # (galaxy, 1, size)
    dy = x[:, None] - moment(x[:, None])[:, None, None]  # (galaxy, size, 1)
    angle = 0.5 * torch.atan2(2 * moment(dx * dy), moment(dx**2) - moment(dy**2))
    along = dx * angle.cos()[:, None, None] + dy * angle.sin()[:, None, None]
    return torch.where(moment(along**3) < 0, angle + math.pi, angle)


def turned(images: Images, angle: Each) -> Images:
    """Rotate each image about its centre so that the direction `angle` ends up along +x."""
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return resampled(images.float(), cos, -sin, zero, sin, cos, zero)


class CAE(nn.Module):
    """Any `encoder` with a convolutional decoder; a learner for `train.fit` that ignores targets.

    `image_size` is in px; `channels` are those of the decoder's four stages, listed from the image
    inwards like the encoder's. With `aligned`, the decoder draws galaxies with a horizontal major
    axis, which are then rotated back; an encoder that is not aligned itself must learn features
    that do not depend on rotation. Raises `ValueError` as `check_stages` does."""

    def __init__(
        self,
        encoder: EncoderLike,
        *,
        image_size: int = 64,
        channels: Sequence[int] = (32, 64, 128, 256),
        aligned: bool = True,
    ):
        super().__init__()
        check_stages(channels, image_size)
        self.encoder, self.aligned = encoder, aligned
        latent, side = encoder.num_features, image_size // STRIDE
        inwards = channels[-1] * side**2
        output = _doubled(channels[0], 3)
        nn.init.constant_(output.get_parameter("bias"), -2.2)  # sigmoid: 0.1, a faint image
        stages = list[nn.Module]()
        for before, after in itertools.pairwise(channels[::-1]):
            layers = _doubled(before, after), nn.BatchNorm2d(after), nn.ReLU()
            stages.append(nn.Sequential(*layers))
        first = nn.Identity() if inwards == latent else nn.Linear(latent, inwards)
        unflatten = nn.Unflatten(1, (channels[-1], side, side))
        self.decoder = nn.Sequential(first, unflatten, *stages, output)

    def decode(self, latent: Features, angle: Each | None = None) -> Images:
        """Decode latent vectors to images in [0, 1], rotated to `angle` if given."""
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
        """Return the mean squared error of each reconstruction: large for unusual galaxies."""
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
        """Decode `steps` points on the straight line between two galaxies' latent vectors."""
        both = torch.stack([first, second])
        self.eval()
        along = torch.linspace(0, 1, steps, device=both.device)
        start, end = self.encoder(both)
        latent = start + along[:, None] * (end - start)
        if not self.aligned:
            return self.decode(latent)
        first_angle, last_angle = orientation(both)
        # along the shorter arc
        change = torch.remainder(last_angle - first_angle + math.pi, 2 * math.pi) - math.pi
        return self.decode(latent, first_angle + along * change)


def _doubled(before: int, after: int) -> nn.ConvTranspose2d:
    """Double the image's side; kernel 4 with stride 2 avoids chequerboards (Odena et al. 2016)."""
    return nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)
