"""What is done to a batch of images, whatever for: the eight orientations, blur."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional


def orientations(
    images: Shaped[Tensor, "*batch size size"],
) -> list[Shaped[Tensor, "*batch size size"]]:
    """The 8 rotations by 90 degrees and mirror images (the dihedral group D4); they need no
    resampling."""
    turned = [torch.rot90(images, k, (-2, -1)) for k in range(4)]
    return turned + [image.flip(-1) for image in turned]


def gaussian_blur(
    images: Float[Tensor, "galaxy 3 height width"], sigma: Float[Tensor, " galaxy"]
) -> Float[Tensor, "galaxy 3 height width"]:
    """Each image convolved with a Gaussian PSF of its own `sigma` (pixels; 0 leaves it as it
    is)."""
    n, bands, height, width = images.shape
    reach = max(1, math.ceil(3 * float(sigma.max())))
    x = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (x / sigma[:, None].clamp_min(1e-3)) ** 2)  # (galaxy, 2 reach + 1)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(
        bands, 0
    )  # (galaxy * 3, 2 reach + 1)
    flat = functional.pad(images.reshape(1, n * bands, height, width), (reach,) * 4, mode="reflect")
    flat = functional.conv2d(flat, kernel[:, None, :, None], groups=n * bands)
    flat = functional.conv2d(flat, kernel[:, None, None, :], groups=n * bands)
    return flat.view(n, bands, height, width)
