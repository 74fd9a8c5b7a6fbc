"""Turn light on the sky into 8-bit colour pictures like Galaxy Zoo's cutouts from SDSS.

Images are surface brightness in nanomaggies per square arcsecond, with bands in the order g, r, i.
Everything is batched, and each galaxy may have its own pixel scale, seeing and zoom: blurring and
resampling are two small matrix products per image, which at 64 px is faster than a Fourier
transform and needs no padding."""

import functools
import io
import math

import torch
from jaxtyping import Float
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional

Values = Float[Tensor, " galaxy"]
Images = Float[Tensor, "galaxy 3 size size"]
Planes = Float[Tensor, "galaxy size size"]
Shape = Float[Tensor, "*shape"]

PIXEL = 0.396  # arcsec, pixel scale of the SDSS camera
# Median seeing (full width at half maximum, arcsec), sky noise (nanomaggies per camera pixel) and
# photo-electrons per nanomaggy of the bands g, r, i in a 54 s exposure (Stoughton et al. 2002; Gunn
# et al. 1998; data model of SDSS `frame` files).
SEEING = (1.44, 1.32, 1.26)
SKY_NOISE = (0.014, 0.028, 0.039)
ELECTRONS = (900.0, 950.0, 700.0)
# Colour: weights that make a white object equally bright in all bands, then Lupton's asinh.
WEIGHTS = (2.4, 1.5, 1.22)
STRETCH, Q = 0.62, 8.0  # nanomaggies per camera pixel


def gaussian(deviation: Shape) -> Shape:
    """Return Gaussian weights of deviations in units of sigma; they sum to 1 along the last axis.
    Floored at 1e-13 of the peak: denormals make matrix products several times slower."""
    return (-0.5 * deviation**2).clamp_min_(-30).softmax(-1)


def blur_matrix(size: int, sigma: Values, shift: Values) -> Planes:
    """Return matrices that blur by a Gaussian of `sigma` pixels and shift by `shift` pixels.

    Apply them as `matrix @ image @ matrix.mT`. Rows sum to 1, so edges are not darkened."""
    pixel = torch.arange(size, dtype=sigma.dtype)
    distance = pixel[:, None] - pixel - shift[:, None, None]  # (galaxy, size, size)
    return gaussian(distance / sigma[:, None, None])


def enlarge_matrix(size: int, zoom: Values) -> Planes:
    """Return matrices that enlarge the central 1/`zoom` of `size` pixels to `size`, linearly."""
    centre = (size - 1) / 2
    pixel = torch.arange(size, dtype=zoom.dtype)
    source = centre + (pixel - centre) / zoom[:, None]  # (galaxy, size), in pixels of the original
    return (1 - (source[:, :, None] - pixel).abs()).clamp_min(0)


def vary(n: int, *, generator: Generator) -> dict[str, Values]:
    """Draw observing conditions of `n` galaxies from a wider range than that of SDSS.

    `seeing` multiplies the median, `noise` the photon and sky noise; `framing` is the width of the
    frame in R90. The picture is brighter by `gain` in all bands, by `red` and `blue` in these, and
    saved as JPEG of a `quality` that all `n` have in common."""
    low = torch.tensor([0.6, 0.4, 2.2, 0.5, 0.8, 0.8])
    high = torch.tensor([1.5, 1.8, 8.5, 2.0, 1.25, 1.25])
    drawn = low * (high / low) ** torch.rand(n, 6, generator=generator)  # uniform in the logarithm
    names = ("seeing", "noise", "framing", "gain", "red", "blue")
    quality = torch.randint(60, 96, (1,), generator=generator).float().expand(n)
    return dict(zip(names, drawn.unbind(1), strict=True)) | {"quality": quality}


def expose(
    light: Images,
    *,
    pixel: Values,
    seeing: Values,
    shift: Tensor,
    noise: Values | None = None,
    generator: Generator,
) -> Images:
    """Blur by the atmosphere and the pixel, and add photon and sky noise, times `noise`.

    `pixel` is the scale in arcsec (if coarser than the camera's, camera pixels are averaged),
    `seeing` multiplies the median `SEEING`, and `shift` (galaxy, 3, 2) moves each band by (x, y)
    arcsec. The PSF is SDSS's double Gaussian: 90 % of the light in the core, 10 % in wings 2.5
    times as wide."""
    galaxies, bands, size, _ = light.shape
    flat = light.reshape(galaxies * bands, size, size)
    fwhm = seeing[:, None] * torch.tensor(SEEING)  # (galaxy, band)
    sigma = (((fwhm / 2.3548) ** 2 + pixel[:, None] ** 2 / 12).sqrt() / pixel[:, None]).flatten()
    x, y = (shift / pixel[:, None, None]).flatten(0, 1).unbind(1)  # (galaxy band)
    core = blur_matrix(size, sigma, y) @ flat @ blur_matrix(size, sigma, x).mT
    wing = blur_matrix(size, 2.3 * sigma, torch.zeros_like(sigma))  # sqrt(1 + 2.3²) = 2.5 in total
    blurred = torch.lerp(core, wing @ core @ wing.mT, 0.1).view_as(light)

    # Noise falls with the square root of the number of camera pixels per pixel.
    averaged = (PIXEL / pixel).view(-1, 1, 1, 1)
    sky = torch.tensor(SKY_NOISE).view(3, 1, 1) / PIXEL**2
    photons = blurred.clamp_min(0) / (torch.tensor(ELECTRONS).view(3, 1, 1) * PIXEL**2)
    if noise is not None:
        averaged = averaged * noise.view(-1, 1, 1, 1)
    sigma = (photons + sky**2).sqrt_().mul_(averaged)
    return blurred + sigma * torch.randn(light.shape, generator=generator)


def lupton_rgb(
    red: Shape, green: Shape, blue: Shape, *, stretch: float, Q: float
) -> Float[Tensor, "*shape 3"]:
    """Stretch by the asinh of the mean intensity, preserving colours; whole numbers, 0 to 255.

    A batched `astropy.visualization.make_lupton_rgb` (Lupton et al. 2004, PASP 116, 133); if a band
    exceeds 255, all three are scaled down together."""
    bands = torch.stack((red, green, blue), -1)
    intensity = bands.mean(-1, keepdim=True)
    slope = 0.1 * 255 / math.asinh(0.1 * Q)
    factor = torch.asinh(intensity * (Q / stretch)) * slope / intensity
    rgb = (bands * torch.where(intensity > 0, factor, 0.0)).clamp_min_(0)
    brightest = rgb.amax(-1, keepdim=True)
    return torch.where(brightest > 255, rgb / brightest * 255, rgb).floor_()


_YCC = torch.tensor(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
)
_DCT = torch.cos(torch.arange(8)[:, None] * (2 * torch.arange(8) + 1) * math.pi / 16) / 2
_DCT[0] /= math.sqrt(2)


@functools.cache
def _steps(quality: int) -> dict[int, list[int]]:
    """Return the quantisation tables: 64 steps each for luminance (0) and chrominance (1)."""
    Image.new("RGB", (8, 8)).save(file := io.BytesIO(), "JPEG", quality=quality)
    return Image.open(file).quantization  # pyright: ignore[reportAttributeAccessIssue]


def _quantise(plane: Planes, table: list[int]) -> Planes:
    """Round the cosine coefficients of 8 x 8 blocks to multiples of the table's steps."""
    steps = torch.tensor(table, dtype=plane.dtype).view(8, 8)
    blocks = plane.shape[-1] // 8
    cosines = torch.block_diag(*[_DCT] * blocks)  # one large matrix product beats many of 8 x 8
    steps = steps.repeat(blocks, blocks)
    coefficients = (cosines @ plane @ cosines.T).div_(steps).round_().mul_(steps)
    return cosines.T @ coefficients @ cosines


def jpeg(rgb: Images, *, quality: int) -> Images:
    """Degrade images (0 to 255) as JPEG does: colour at half resolution, coarse quantisation."""
    size = rgb.shape[-1]
    pad = -size % 16
    rgb = functional.pad(rgb, (0, pad, 0, pad), mode="replicate")
    luminance, *chrominance = torch.einsum("cb,nbhw->cnhw", _YCC, rgb)
    planes = [_quantise(luminance - 128, _steps(quality)[0]) + 128]
    for plane in chrominance:
        coarse = _quantise(functional.avg_pool2d(plane, 2), _steps(quality)[1])
        fine = functional.interpolate(coarse[:, None], scale_factor=2, mode="bilinear")
        planes.append(fine[:, 0])
    back = torch.einsum("bc,cnhw->nbhw", torch.linalg.inv(_YCC), torch.stack(planes))
    return back[..., :size, :size].round().clamp_(0, 255)


def develop(exposed: Images, *, zoom: Values, quality: int = 75) -> Images:
    """Make Galaxy Zoo's colour picture (0 to 255, RGB) of an exposure in g, r, i.

    Lupton's composite is saved as JPEG; its central 1/`zoom` is enlarged and saved again."""
    blue, green, red = (exposed * (torch.tensor(WEIGHTS).view(3, 1, 1) * PIXEL**2)).unbind(1)
    picture = jpeg(
        lupton_rgb(red, green, blue, stretch=STRETCH, Q=Q).movedim(-1, 1), quality=quality
    )
    enlarge = enlarge_matrix(exposed.shape[-1], zoom)[:, None]
    return jpeg(enlarge @ picture @ enlarge.mT, quality=95)
