"""A convolutional autoencoder: galaxies through a narrow latent vector and back, so that the vector has to describe them.

Hinton & Salakhutdinov 2006 (Science 313, 504); Masci et al. 2011 (ICANN) for convolutions.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

SMALLEST, STRIDE = 32, 16  # px


class ConvEncoder(nn.Module):
    """Four convolutions that halve the image each, then the latent vector; `num_features` is its size.

    Arguments: the `channels` of the four stages; `latent`, the size of the vector; `image_size` in pixels, a multiple of 16.
    The last stage's map, flattened, is the latent vector itself where it has `latent` numbers, as in the published CAE
    (`channels=(32, 32, 16, 8)`: 8 x 4 x 4 = 128 at 64 px); otherwise a linear layer leads to it.

    Raises `ValueError` for an image size that is no multiple of 16 or below 32 px.
    """

    def __init__(self, *, channels: Sequence[int] = (32, 64, 128, 256), latent: int = 128, image_size: int = 64):
        super().__init__()
        _check(channels, image_size)
        self.num_features, self.image_size = latent, image_size
        stages = [_halved(before, after) for before, after in itertools.pairwise((3, *channels))]
        flat = channels[-1] * (image_size // STRIDE) ** 2
        self.stages = nn.Sequential(*stages, nn.Flatten())
        self.to_latent = nn.Identity() if flat == latent else nn.Linear(flat, latent)

    def forward(self, images: Float[Tensor, "galaxy 3 size size"]) -> Float[Tensor, "galaxy latent"]:
        """Latent vectors of normalised images (`encoders.normalise`)."""
        if images.shape[-1] != self.image_size:
            raise ValueError(f"images of {images.shape[-1]} px for an encoder of {self.image_size} px; set image_size")
        return self.to_latent(self.stages(images))


class CAE(nn.Module):
    """Any encoder with a convolutional decoder behind it; a learner for `train.fit`, whose targets are ignored.

    Arguments: the `encoder`, from images in [0, 1] to `num_features` numbers, the latent vector; `image_size` in pixels, a
    multiple of 16; the `channels` of the decoder's four stages, written like the encoder's, from the image inwards.

    Raises `ValueError` for an image size that is no multiple of 16 or below 32 px.
    """

    def __init__(self, encoder: nn.Module, *, image_size: int = 64, channels: Sequence[int] = (32, 64, 128, 256)):
        super().__init__()
        _check(channels, image_size)
        self.encoder = encoder
        latent, side = int(encoder.num_features), image_size // STRIDE  # pyright: ignore[reportArgumentType]
        inwards = channels[-1] * side**2
        output = _doubled(channels[0], 3)
        nn.init.constant_(output.bias, -2.2)  # pyright: ignore[reportArgumentType] # a sigmoid of 0.1, as bright as a galaxy
        stages = [
            nn.Sequential(_doubled(before, after), nn.BatchNorm2d(after), nn.ReLU())
            for before, after in itertools.pairwise(channels[::-1])
        ]
        self.decoder = nn.Sequential(
            nn.Identity() if inwards == latent else nn.Linear(latent, inwards),
            nn.Unflatten(1, (channels[-1], side, side)),
            *stages,
            output,
        )

    def encode(self, images: Float[Tensor, "galaxy 3 size size"]) -> Float[Tensor, "galaxy latent"]:
        """Latent vectors of images in [0, 1]."""
        return self.encoder(images)

    def decode(self, latent: Float[Tensor, "galaxy latent"]) -> Float[Tensor, "galaxy 3 size size"]:
        """Images in [0, 1] of latent vectors."""
        return self.decoder(latent).float().sigmoid()

    def reconstruct(self, images: Float[Tensor, "galaxy 3 size size"]) -> Float[Tensor, "galaxy 3 size size"]:
        """Images in [0, 1] through the latent vector and back."""
        return self.decode(self.encode(images))

    def loss(self, images: Float[Tensor, "galaxy 3 size size"], targets: Tensor) -> Float[Tensor, ""]:
        """Mean squared error of the reconstruction, over pixels and galaxies."""
        return functional.mse_loss(self.reconstruct(images), images)

    def measures(self, images: Float[Tensor, "galaxy 3 size size"], targets: Tensor) -> dict[str, Float[Tensor, ""]]:
        """The loss of a batch."""
        return {"loss": self.loss(images, targets)}

    @torch.no_grad()
    def oddity(self, images: UInt8[Tensor, "galaxy 3 size size"], *, batch_size: int = 256) -> Float[Tensor, " galaxy"]:
        """Mean squared error of each galaxy's reconstruction, in batches and eval mode, on the CPU: large for odd galaxies."""
        self.eval()
        where = next(self.parameters()).device
        errors = []
        for batch in images.split(batch_size):
            batch = batch.to(where).float() / 255
            errors.append((self.reconstruct(batch) - batch).square().mean((1, 2, 3)).cpu())
        return torch.cat(errors)

    @torch.no_grad()
    def interpolate(
        self, first: Float[Tensor, "3 size size"], second: Float[Tensor, "3 size size"], *, steps: int = 8
    ) -> Float[Tensor, "steps 3 size size"]:
        """Images along the straight line between two galaxies' latent vectors; the ends are their reconstructions."""
        self.eval()
        start, end = self.encode(torch.stack([first, second]))
        along = torch.linspace(0, 1, steps, device=start.device)[:, None]
        return self.decode(start + along * (end - start))


def _check(channels: Sequence[int], image_size: int) -> None:
    if image_size % STRIDE or image_size < SMALLEST:
        raise ValueError(f"image_size={image_size}: the autoencoder needs a multiple of {STRIDE}, at least {SMALLEST} px")
    if len(channels) != 4:
        raise ValueError(f"channels={list(channels)}: expected one number for each of 4 stages")


def _halved(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU())


def _doubled(before: int, after: int) -> nn.ConvTranspose2d:
    """A kernel that is a multiple of its stride reaches every pixel equally often: no chequerboard (Odena et al. 2016)."""
    return nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)
