"""Transform, interpolate and blur batches of images."""

import math

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor
from torch.nn import functional

Pixels = UInt8[Tensor, "galaxy 3 size size"]
Images = Float[Tensor, "galaxy 3 height width"]  # in [0, 1]
Each = Float[Tensor, " galaxy"]  # one number per galaxy
Squares = Shaped[Tensor, "*batch size size"]


def orientations(images: Squares) -> list[Squares]:
    """Return the 8 rotations and reflections of the dihedral group D4, without resampling."""
    turned = [torch.rot90(images, k, (-2, -1)) for k in range(4)]
    return turned + [image.flip(-1) for image in turned]


def resampled(images: Images, *matrix: Each) -> Images:
    """Resample each image bilinearly with its own affine map.

    `matrix` has 6 entries (2 x 3, row by row) and maps positions in the new image to positions in
    the old one, in half sides from the centre. Images are mirrored at their edges."""
    with torch.autocast(images.device.type, enabled=False):  # bfloat16 would round coordinates
        theta = torch.stack(matrix, dim=1).view(-1, 2, 3)  # (galaxy, 2, 3)
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        grid = grid.to(images.dtype)  # (galaxy, height, width, 2)
        return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def gaussian_blur(images: Images, sigma: Each) -> Images:
    """Convolve each image with a Gaussian PSF of its own `sigma` (pixels; 0 has no effect)."""
    n, bands, height, width = images.shape
    reach = max(1, math.ceil(3 * float(sigma.max())))
    x = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (x / sigma[:, None].clamp_min(1e-3)) ** 2)  # (galaxy, 2 reach + 1)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(bands, 0)  # for each band
    flat = functional.pad(images.reshape(1, n * bands, height, width), (reach,) * 4, mode="reflect")
    flat = functional.conv2d(flat, kernel[:, None, :, None], groups=n * bands)
    flat = functional.conv2d(flat, kernel[:, None, None, :], groups=n * bands)
    return flat.view(n, bands, height, width)


# --- planes, each (size, size) --------------------------------------------------------------------

Planes = Float[Tensor, "galaxy size size"]


def sampled(
    planes: Planes, places: Float[Tensor, "galaxy row column 2"]
) -> Float[Tensor, "galaxy row column"]:
    """Interpolate bilinearly at (x, y) in pixels; 0 outside the frame."""
    grid = places * (2 / (planes.shape[-1] - 1)) - 1
    return functional.grid_sample(planes[:, None], grid, align_corners=True)[:, 0]


def blurred(planes: Planes, sigma: Float[Tensor, " _"]) -> Planes:
    """Smooth with a Gaussian of one sigma for all planes or one each; 0 outside the frame."""
    at = torch.arange(1 - planes.shape[-1], planes.shape[-1])
    exponent = -0.5 * (at / sigma[:, None].clamp_min(0.2)) ** 2
    kernel = torch.where(exponent > -8, exponent.exp(), 0.0)  # cut at 4 sigma: denormals are slow
    matrix = _convolution(kernel / kernel.sum(1, keepdim=True))
    return matrix @ planes @ matrix


def boxed(planes: Planes, width: Each) -> Planes:
    """Average over the part in the frame of a box of `width` pixels around each pixel."""
    at = torch.arange(1 - planes.shape[-1], planes.shape[-1])
    kernel = (width[:, None] / 2 + 0.5 - at.abs()).clamp(0, 1)  # partial weight at the ends
    matrix = _convolution(kernel)
    matrix /= matrix.sum(2, keepdim=True)
    return matrix @ planes @ matrix.mT


def _convolution(kernel: Float[Tensor, "galaxy offset"]) -> Planes:
    """Return matrices that convolve along rows; offsets run from 1 - size to size - 1."""
    size = (kernel.shape[1] + 1) // 2
    return kernel.flip(1).unfold(1, size, 1).flip(1).contiguous()
