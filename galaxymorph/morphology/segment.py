"""Sky subtraction, noise estimate and segmentation of galaxy images."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from scipy import ndimage
from torch import Tensor

from galaxymorph.pixels import Planes, blurred

Images = UInt8[Tensor, "galaxy 3 size size"]
Masks = Bool[Tensor, "galaxy size size"]
Values = Float[Tensor, " galaxy"]

BORDER = 3  # width in pixels of the frame's border, taken as sky


def light(images: Images) -> Planes:
    """Return the mean of the bands (0 to 1) minus the sky, the median of the border."""
    grey = images.float().mean(1) / 255  # (galaxy, size, size)
    return grey - border(grey).median(1).values[:, None, None]


def noise(grey: Planes) -> Values:
    """Estimate the sky's noise from border pixels below 0 (free of stars); at least 1/255."""
    below = border(grey).clamp_max(0)
    return (below.square().sum(1) / (below < 0).sum(1).clamp_min(1)).sqrt().clamp_min(1 / 255)


def segment(grey: Planes) -> tuple[Masks, Masks]:
    """Return masks of the galaxy and of all other sources in `light`.

    A source is a connected set of pixels brighter than 1.5 times the noise after smoothing with a
    Gaussian of 1 px. The galaxy is the source that contains the brightest pixel of the frame's
    central fifth, including blended neighbours; its mask is empty if that pixel is too faint."""
    size = grey.shape[-1]
    smooth = blurred(grey, torch.ones(1))
    sources = connected(smooth > 1.5 * noise(grey)[:, None, None])
    middle = slice(round(0.4 * size), round(0.6 * size))
    brightest = smooth[:, middle, middle].flatten(1).argmax(1, keepdim=True)
    mine = sources[:, middle, middle].flatten(1).gather(1, brightest)[..., None]  # (galaxy, 1, 1)
    return (sources == mine) & (mine > 0), (sources != mine) & (sources > 0)


def border(planes: Shaped[Tensor, "*plane size size"]) -> Shaped[Tensor, "*plane pixel"]:
    """Return the pixels in the border of each plane."""
    outside = torch.ones(planes.shape[-2:], dtype=torch.bool)
    outside[BORDER:-BORDER, BORDER:-BORDER] = False
    return planes[..., outside]


def connected(above: Masks) -> Int[Tensor, "galaxy size size"]:
    """Label connected regions (4-connectivity) from 1, with 0 elsewhere."""
    touching = np.zeros((3, 3, 3), int)
    touching[1] = ndimage.generate_binary_structure(2, 1)  # within a plane, not between planes
    labels: Any = ndimage.label(above.numpy(), touching)
    return torch.from_numpy(labels[0])
