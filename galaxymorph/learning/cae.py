"""A convolutional autoencoder: galaxies through a narrow latent vector, which has to describe them.

Hinton & Salakhutdinov 2006 (Science 313, 504); Masci et al. 2011 (ICANN) for convolutions. What
differs from the published autoencoder of galaxies (four convolutions with 32-32-16-8 channels, 128
numbers): BatchNorm, wider layers, and each galaxy is turned first, its major axis horizontal. Which
way a galaxy points on the sky means nothing, but takes more of a plain latent vector than the
difference between a spiral and an elliptical."""

import itertools
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from galaxymorph.learning.architectures import (
    STRIDE,
    Features,
    Mean,
    check_stages,
    orientation,
    turned,
)
from galaxymorph.pixels import Each, Images, Pixels

Image = Float[Tensor, "3 size size"]


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
