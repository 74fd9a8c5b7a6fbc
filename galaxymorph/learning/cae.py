"""A convolutional autoencoder: galaxies through a narrow latent vector and back, so that the vector
has to describe them.

Hinton & Salakhutdinov 2006 (Science 313, 504); Masci et al. 2011 (ICANN) for convolutions. What
differs from the published autoencoder of galaxies (four convolutions with 32-32-16-8 channels, 128
numbers): BatchNorm, wider layers, and galaxies are turned before they are encoded, so that the
major axis of each lies horizontally. Which way a galaxy points on the sky means nothing, but takes
more of a plain latent vector than the difference between a spiral and an elliptical."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

SMALLEST, STRIDE = 32, 16  # px
# of the image's side: sigma of the Gaussian within which a galaxy's orientation is measured
WINDOW = 0.2


class ConvEncoder(nn.Module):
    """Four convolutions that halve the image each, then the latent vector; `num_features` is its
    size.

    Arguments: the `channels` of the four stages; `latent`, the size of the vector; `image_size` in
    pixels, a multiple of 16; `aligned`: each galaxy is turned first, its major axis horizontal
    (`orientation`), by which the latent vector says next to nothing about the angle. The last
    stage's map, flattened, is the latent vector itself where it has `latent` numbers, as in the
    published encoder (`channels=(32, 32, 16, 8), aligned=False`: 8 x 4 x 4 = 128 at 64 px);
    otherwise a linear layer leads to it.

    Raises `ValueError` for an image size that is no multiple of 16 or below 32 px.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (32, 64, 128, 256),
        latent: int = 128,
        image_size: int = 64,
        aligned: bool = True,
    ):
        super().__init__()
        _check(channels, image_size)
        self.num_features, self.image_size, self.aligned = latent, image_size, aligned
        self.options = {
            "channels": list(channels),
            "latent": latent,
            "aligned": aligned,
            "image_size": image_size,
        }
        stages = [
            nn.Sequential(
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            )
            for before, after in itertools.pairwise((3, *channels))
        ]
        flat = channels[-1] * (image_size // STRIDE) ** 2
        self.stages = nn.Sequential(*stages)
        self.to_latent = nn.Identity() if flat == latent else nn.Linear(flat, latent)

    def forward(
        self, images: Float[Tensor, "galaxy 3 size size"]
    ) -> Float[Tensor, "galaxy latent"]:
        """Latent vectors of normalised images (`encoders.Encoder.prepare`)."""
        if images.shape[-1] != self.image_size:
            raise ValueError(
                f"images of {images.shape[-1]} px for an encoder of {self.image_size} px; set image_size"
            )
        if self.aligned:
            images = turned(images, orientation(images))
        return self.to_latent(self.stages(images).flatten(1))


class CAE(nn.Module):
    """Any encoder with a convolutional decoder behind it; a learner for `train.fit`, whose targets
    are ignored.

    Arguments: the `encoder`, from images in [0, 1] to `num_features` numbers, the latent vector;
    `image_size` in pixels, a multiple of 16; the `channels` of the decoder's four stages, written
    like the encoder's, from the image inwards; `aligned`: the decoder draws galaxies with a
    horizontal major axis, which are then turned to where they were. (With an encoder that is not
    `aligned` itself, the encoder has to learn which features do not turn with the galaxy.)

    Raises `ValueError` for an image size that is no multiple of 16 or below 32 px.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        image_size: int = 64,
        channels: Sequence[int] = (32, 64, 128, 256),
        aligned: bool = True,
    ):
        super().__init__()
        _check(channels, image_size)
        self.encoder, self.aligned = encoder, aligned
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

    def decode(
        self, latent: Float[Tensor, "galaxy latent"], angle: Float[Tensor, " galaxy"] | None = None
    ) -> Float[Tensor, "galaxy 3 size size"]:
        """Images in [0, 1] of latent vectors, turned to an `angle` (`orientation`) if one is
        given."""
        images = self.decoder(latent).float().sigmoid()
        return images if angle is None else turned(images, -angle)

    def reconstruct(
        self, images: Float[Tensor, "galaxy 3 size size"]
    ) -> Float[Tensor, "galaxy 3 size size"]:
        """Images in [0, 1] through the latent vector and back."""
        return self.decode(self.encode(images), orientation(images) if self.aligned else None)

    def loss(
        self, images: Float[Tensor, "galaxy 3 size size"], targets: Tensor
    ) -> Float[Tensor, ""]:
        """Mean squared error of the reconstruction, over pixels and galaxies."""
        return functional.mse_loss(self.reconstruct(images), images)

    def measures(
        self, images: Float[Tensor, "galaxy 3 size size"], targets: Tensor
    ) -> dict[str, Float[Tensor, ""]]:
        """The loss of a batch."""
        return {"loss": self.loss(images, targets)}

    @torch.no_grad()
    def oddity(
        self, images: UInt8[Tensor, "galaxy 3 size size"], *, batch_size: int = 256
    ) -> Float[Tensor, " galaxy"]:
        """Mean squared error of each galaxy's reconstruction, in batches and eval mode, on the CPU:
        large for odd galaxies."""
        self.eval()
        where = next(self.parameters()).device
        errors = []
        for batch in images.split(batch_size):
            batch = batch.to(where).float() / 255
            errors.append((self.reconstruct(batch) - batch).square().mean((1, 2, 3)).cpu())
        return torch.cat(errors)

    @torch.no_grad()
    def interpolate(
        self,
        first: Float[Tensor, "3 size size"],
        second: Float[Tensor, "3 size size"],
        *,
        steps: int = 8,
    ) -> Float[Tensor, "steps 3 size size"]:
        """Images along the straight line between two galaxies' latent vectors, in eval mode; the
        ends are their reconstructions. The angle goes the shorter way."""
        self.eval()
        both = torch.stack([first, second])
        along = torch.linspace(0, 1, steps, device=both.device)
        start, end = self.encode(both)
        latent = start + along[:, None] * (end - start)
        if not self.aligned:
            return self.decode(latent)
        here, there = orientation(both)
        way = torch.remainder(there - here + math.pi, 2 * math.pi) - math.pi
        return self.decode(latent, here + along * way)


@torch.no_grad()
def orientation(images: Float[Tensor, "galaxy 3 size size"]) -> Float[Tensor, " galaxy"]:
    """The direction of each galaxy's major axis in radians, from the image's +x axis towards +y
    (down); of its two ends, the one with the longer tail of light.

    The axis is that of the second moments of the light, 0.5 atan2(2 M_xy, M_xx - M_yy) (Stobie
    1980, SPIE 264, 208), its end where the third moment is positive. Light is what the mean of the
    bands has above the image's median, the sky, within a Gaussian window of sigma = `WINDOW` sides
    about the centre, against neighbours; moments are about its centroid. The result does not change
    with the contrast and the zero point of an image. Of a galaxy without an axis it is any angle.
    """
    images = images.float()
    light = images.mean(1)  # (galaxy, size, size)
    light = (light - light.flatten(1).median(1).values[:, None, None]).clamp_min(0)
    size = light.shape[-1]
    x = (
        torch.arange(size, device=images.device) + 0.5
    ) / size - 0.5  # in sides of the image, from its centre
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


def turned(
    images: Float[Tensor, "galaxy 3 size size"], angle: Float[Tensor, " galaxy"]
) -> Float[Tensor, "galaxy 3 size size"]:
    """Each image turned about its centre by its own `angle`, so that what was in that direction
    (`orientation`) comes to lie along +x. Bilinear; beyond the frame the image is mirrored, so the
    sky goes on."""
    with torch.autocast(
        images.device.type, enabled=False
    ):  # bfloat16 would round where pixels come from
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        theta = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(
            -1, 2, 3
        )  # (galaxy, 2, 3)
        grid = functional.affine_grid(
            theta, list(images.shape), align_corners=False
        )  # (galaxy, size, size, 2)
        return functional.grid_sample(
            images.float(), grid, padding_mode="reflection", align_corners=False
        )


def _check(channels: Sequence[int], image_size: int) -> None:
    if image_size % STRIDE or image_size < SMALLEST:
        raise ValueError(
            f"image_size={image_size}: the autoencoder needs a multiple of {STRIDE}, at least {SMALLEST} px"
        )
    if len(channels) != 4:
        raise ValueError(f"channels={list(channels)}: expected one number for each of 4 stages")


def _doubled(before: int, after: int) -> nn.ConvTranspose2d:
    """A kernel that is a multiple of its stride reaches every pixel equally often: no chequerboard
    (Odena et al. 2016)."""
    return nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)
