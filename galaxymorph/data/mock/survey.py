"""A mock galaxy survey with known truth: the data set that is always there.

`survey(n)` draws galaxies (`population`), paints their light in g, r and i (`paint`), photographs
them as SDSS would (`camera`) and has volunteers classify them (`volunteers`). Sizes on the sky are
in arcsec, angles in degrees."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from torch import Generator, Tensor
from tqdm.auto import tqdm

from galaxymorph.data.mock import camera, population
from galaxymorph.data.mock.population import flux
from galaxymorph.data.mock.volunteers import draw_volunteers, vote
from galaxymorph.data.mock.volunteers import opinions as volunteers_opinions

# galaxies that are drawn together, each chunk from its own seed: galaxy 7 is the same whatever n is
CHUNK = 32


class Survey(NamedTuple):
    """Simulated galaxies: `images` uint8 (galaxy, 3, size, size), cumulative `votes` (galaxy, 37),
    and how they came about."""

    ids: np.ndarray
    images: Tensor
    votes: Tensor
    volunteers_module: Tensor
    truth: pd.DataFrame


def mock_survey(n: int, *, image_size: int = 64, seed: int = 0, framing: float = 3.2) -> Survey:
    """Simulate `n` galaxies; the same arguments give the same bytes, and the first galaxies do not
    depend on `n`.

    `framing` is the median width of the frame in Petrosian radii R90: Galaxy Zoo shows 8.48, data
    sets made from it usually keep the central 3 to 4.5. Memory beyond the result is that of a few
    chunks of 32 galaxies."""
    if n < 1 or image_size < 16:
        raise ValueError(
            f"a survey needs n >= 1 galaxies of image_size >= 16 pixels, got n={n}, image_size={image_size}"
        )
    images = torch.empty(n, 3, image_size, image_size, dtype=torch.uint8)

    def simulate(start: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        mixed = np.random.SeedSequence((seed, start)).generate_state(
            1
        )  # torch's CPU generator takes 32 bits
        generator = Generator().manual_seed(int(mixed[0]))
        truth = population.draw(CHUNK, framing=framing, generator=generator)
        pictures = photograph(truth, image_size=image_size, generator=generator)
        images[start : start + CHUNK] = pictures[: n - start]
        number = draw_volunteers(CHUNK, generator=generator)
        opinions = volunteers_opinions(truth, generator=generator)
        return truth, vote(opinions, number, generator=generator), number

    # The tensors of a chunk are too small to be shared among threads: chunks run side by side,
    # fewer where they are large.
    threads = torch.get_num_threads()
    workers = max(1, min(threads, 2_000_000 // (CHUNK * image_size**2)))
    torch.set_num_threads(threads // workers)
    try:
        with ThreadPoolExecutor(workers) as pool:
            done = pool.map(simulate, range(0, n, CHUNK))
            chunks = list(
                tqdm(
                    done, total=-(-n // CHUNK), desc=f"simulating {n:,} galaxies", disable=n < 4000
                )
            )
    finally:
        torch.set_num_threads(threads)

    truths, votes, numbers = zip(*chunks, strict=True)
    table = pd.DataFrame(
        {name: torch.cat([truth[name] for truth in truths])[:n].numpy() for name in truths[0]}
    )
    table["kind"] = pd.Categorical.from_codes(
        table["kind"].to_numpy().astype(int), population.Kinds._fields
    )
    ids = np.array([f"mock-{seed}-{i:07d}" for i in range(n)])
    return Survey(ids, images, torch.cat(votes)[:n], torch.cat(numbers)[:n], table)


def sersic(
    radius: Float[Tensor, "*shape"],
    *,
    half_light: Float[Tensor, "*#shape"],
    index: Float[Tensor, "*#shape"],
) -> Float[Tensor, "*shape"]:
    """Surface brightness of a round Sersic component with total flux 1; flux lies in ellipses if
    divided by the axis ratio.

    exp(-b ((R / Re)^(1/n) - 1)) with b from Ciotti & Bertin (1999), eq. 18, good to 1e-4 for n >
    0.5."""
    b = 2 * index - 1 / 3 + 4 / (405 * index) + 46 / (25515 * index**2)
    log_total = (
        torch.log(2 * torch.pi * index * half_light**2)
        + b
        - 2 * index * b.log()
        + torch.lgamma(2 * index)
    )
    return torch.exp(b - log_total - b * (radius / half_light) ** (1 / index))


def plane(
    x: Float[Tensor, "galaxy rows columns"],
    y: Float[Tensor, "galaxy rows columns"],
    *,
    angle: Float[Tensor, "galaxy 1 1"],
    ratio: Float[Tensor, "galaxy 1 1"],
) -> tuple[Float[Tensor, "galaxy rows columns"], Float[Tensor, "galaxy rows columns"]]:
    """Sky to face-on coordinates: the major axis at `angle` from x to y, the minor axis stretched
    by 1 / `ratio`."""
    cosine, sine = torch.cos(angle.deg2rad()), torch.sin(angle.deg2rad())
    return torch.addcmul(x * cosine, y, sine), torch.addcmul(x * (-sine / ratio), y, cosine / ratio)


def bulge_light(
    t: dict[str, Tensor],
    x: Float[Tensor, "galaxy rows columns"],
    y: Float[Tensor, "galaxy rows columns"],
) -> Float[Tensor, "galaxy rows columns"]:
    """Surface brightness of a bulge (or elliptical) of flux 1; `t` holds parameters of shape
    (galaxy, 1, 1)."""
    u, v = plane(x, y, angle=t["angle"], ratio=t["bulge_ratio"])
    return (
        sersic(torch.hypot(u, v), half_light=t["bulge_radius"], index=t["bulge_index"])
        / t["bulge_ratio"]
    )


def disc_light(
    t: dict[str, Tensor],
    x: Float[Tensor, "galaxy rows columns"],
    y: Float[Tensor, "galaxy rows columns"],
    clumps: Float[Tensor, "galaxy rows columns"],
) -> tuple[Tensor, Tensor, Tensor]:
    """Surface brightness of the old disc, of the young one and of the bar, each of flux about 1.

    Both discs are exponential and end near four scale lengths, which costs them 11.8 % of an
    endless disc's flux. Logarithmic arms, which start at the bar's ends, modulate the young disc
    with the galaxy's arm contrast and the old one with a third of it. `clumps` is a random field of
    unit variance."""
    u, v = plane(x, y, angle=t["angle"], ratio=t["ratio"])
    power = 2 - 0.6 * ((t["inclination"] - 72) / 12).clamp(
        0, 1
    )  # seen edge-on, a disc is a lozenge rather than an ellipse
    radius = (u.abs() ** power + v.abs() ** power).clamp_min_(1e-9) ** (1 / power) / t["disc_scale"]
    lozenge = (
        4 * (2 * torch.lgamma(1 + 1 / power) - torch.lgamma(1 + 2 / power)).exp()
    )  # area of |x|^p + |y|^p = 1
    disc = torch.exp((-radius - (radius / 4.2) ** 6).clamp_min(-40)) / (
        0.882 * 2 * lozenge * t["disc_scale"] ** 2 * t["ratio"]
    )

    theta = torch.atan2(v, u)
    start = torch.where(t["bar_strength"] > 0, t["bar_length"] / t["disc_scale"], 1.0)
    winding = (radius / start).log_() / t["pitch"].deg2rad().tan()
    phase = (
        t["arms"] * (theta - t["arm_twist"].deg2rad() - t["spin"] * winding)
        + t["clumpiness"] * clumps
    )
    k = t["arm_sharpness"]
    crest = torch.exp(k * (torch.cos(phase) - 1)) / torch.special.i0e(k)  # mean 1 around a circle
    contrast = t["arm_contrast"] * torch.sigmoid((radius - 0.7 * start) * 6)
    lopsided = 1 + t["lopsided"] * torch.cos(theta - t["arm_twist"].deg2rad()) * (
        radius / 2
    ).clamp_max(1)
    knots = torch.exp(t["clumpiness"] * clumps - t["clumpiness"] ** 2 / 2)
    ring = t["ring"] * 2.0 * torch.exp(-0.5 * ((radius - 1.8) / 0.25) ** 2)
    young = disc * (1 + contrast * (crest - 1) + ring) * knots * lopsided
    old = disc * (1 + 0.35 * contrast * (crest - 1) + 0.3 * ring) * lopsided

    twist, length = t["arm_twist"].deg2rad(), t["bar_length"]
    along = (u * twist.cos() + v * twist.sin()) / length
    across = (v * twist.cos() - u * twist.sin()) / (0.3 * length)
    bar = torch.exp(-((along**2 + across**2) ** 2).clamp_max(40)) / (
        0.15 * torch.pi**1.5 * length**2 * t["ratio"]
    )
    return old, young, bar


def spectrum(colour: Float[Tensor, " galaxy"]) -> Float[Tensor, "galaxy 3"]:
    """Fluxes in g, r and i of a source with flux 1 in r and this g - r, along the sequence r - i =
    0.4 (g - r) + 0.07."""
    return 10 ** (0.4 * torch.stack((-colour, torch.zeros_like(colour), 0.4 * colour + 0.07), 1))


def paint(
    truth: dict[str, Tensor], *, size: int, pixel: Float[Tensor, " galaxy"], generator: Generator
) -> Float[Tensor, "galaxy 3 size size"]:
    """The light of each field above the atmosphere, in nanomaggies per square arcsec in g, r, i;
    `pixel` in arcsec.

    `generator` draws what `truth` does not list: the pattern of clumps, and where the field's stars
    are."""
    t = {name: value[:, None, None] for name, value in truth.items()}
    galaxies = len(pixel)
    line = (torch.arange(size) - (size - 1) / 2) * pixel[
        :, None
    ]  # (galaxy, size), arcsec from the centre
    x, y = line[:, None, :].expand(-1, size, -1), line[:, :, None].expand(-1, -1, size)

    # A bulge's cusp is narrower than a pixel: average 4 x 4 points in each of the central pixels.
    bulge = bulge_light(t, x, y)
    centre = slice(size // 2 - 4, size // 2 + 4)
    inner = (line[:, centre, None] + (torch.arange(4) - 1.5) / 4 * pixel[:, None, None]).flatten(
        1
    )  # (galaxy, 32)
    fine = bulge_light(
        t, inner[:, None, :].expand(-1, 32, -1), inner[:, :, None].expand(-1, -1, 32)
    )
    bulge[:, centre, centre] = torch.nn.functional.avg_pool2d(fine, 4)

    # Clumps: Gaussians on a 20 x 20 lattice with random heights.
    lattice = torch.linspace(-0.55, 0.55, 20) - torch.linspace(-0.5, 0.5, size)[:, None]
    spread = torch.exp(-0.5 * (lattice / 0.03) ** 2)
    spread = spread / spread.square().sum(1, keepdim=True).sqrt()
    clumps = spread @ torch.randn(galaxies, 20, 20, generator=generator) @ spread.T
    old, young, bar = disc_light(t, x, y, clumps)

    direction = t["neighbour_direction"].deg2rad()
    u, v = plane(
        x - t["neighbour_distance"] * direction.cos(),
        y - t["neighbour_distance"] * direction.sin(),
        angle=t["neighbour_angle"],
        ratio=t["neighbour_ratio"],
    )
    scale = t["neighbour_radius"] / 1.678
    neighbour = torch.exp(-(torch.hypot(u, v) / scale).clamp_max(40)) / (
        2 * torch.pi * scale**2 * t["neighbour_ratio"]
    )

    total = flux(truth["magnitude"])
    disc = total * (1 - truth["bulge_fraction"])
    bar_flux = 0.25 * truth["bar_strength"] * disc
    disc = disc - bar_flux
    reddening = 2.2 * truth["redshift"]  # K-correction of g - r
    red = spectrum(truth["colour"] + 0.08 + reddening)
    fluxes = torch.stack(
        (
            (total * truth["bulge_fraction"])[:, None] * red,
            (disc * (1 - truth["young"]))[:, None] * spectrum(truth["colour"] + reddening),
            (disc * truth["young"])[:, None] * spectrum(truth["young_colour"] + reddening / 2),
            bar_flux[:, None] * red,
            (total * truth["neighbour"])[:, None]
            * spectrum(truth["young_colour"] + 0.1 + reddening),
        ),
        1,
    )  # (galaxy, component, band)
    fluxes[population.kinds(truth).artifact] = 0
    planes = torch.stack((bulge, old, young, bar, neighbour), 1)
    light = (fluxes.mT @ planes.flatten(2)).view(galaxies, 3, size, size)
    dim_by_dust(light, truth, x, y)
    return light + stars(truth, line, generator=generator)


def dim_by_dust(
    light: Float[Tensor, "galaxy 3 size size"],
    truth: dict[str, Tensor],
    x: Float[Tensor, "galaxy size size"],
    y: Float[Tensor, "galaxy size size"],
) -> None:
    """Put a dust lane before the mid-plane of the edge-on galaxies that have one, deeper in the
    blue, in place."""
    dusty = (truth["dust"] > 0).nonzero().squeeze(1)
    t = {
        name: truth[name][dusty, None, None]
        for name in ("dust", "angle", "disc_scale", "thickness")
    }
    u, v = plane(x[dusty], y[dusty], angle=t["angle"], ratio=torch.ones_like(t["angle"]))
    height = 0.8 * t["thickness"] * t["disc_scale"]
    depth = t["dust"] * torch.exp(-(u.abs() / (2 * t["disc_scale"])) - (v / height - 0.3) ** 2)
    light[dusty] *= torch.exp(-depth[:, None] * torch.tensor([1.2, 1.0, 0.75]).view(3, 1, 1))


def stars(
    truth: dict[str, Tensor], line: Float[Tensor, "galaxy size"], *, generator: Generator
) -> Float[Tensor, "galaxy 3 size size"]:
    """Light of the field's stars; an artifact's frame has one far too bright star near its centre,
    with diffraction spikes."""
    galaxies, most = len(line), 4
    pixel = (line[:, 1] - line[:, 0])[:, None]
    x, y = (torch.rand(2, galaxies, most, generator=generator) - 0.5) * truth["width"][:, None]
    magnitude = 16 + 5 * torch.rand(galaxies, most, generator=generator).sqrt()
    colour = 0.3 + 1.2 * torch.rand(galaxies, most, generator=generator)
    brightness = flux(magnitude) * (torch.arange(most) < truth["stars"][:, None])
    bands = brightness[..., None] * spectrum(colour.flatten()).view(galaxies, most, 3)

    def profile(
        position: Tensor,
    ) -> Tensor:  # (galaxy, star, size): a point on the pixel grid, of total 1
        return (
            camera.gaussian((line[:, None] - position[..., None]) / (0.4 * pixel[..., None]))
            / pixel[..., None]
        )

    along_x, along_y = profile(x), profile(y)
    light = (along_y.mT[:, None] * bands.mT[:, :, None]) @ along_x[
        :, None
    ]  # (galaxy, 3, size, size)

    bright = (population.kinds(truth).artifact).nonzero().squeeze(1)
    dx = line[bright][:, None, :] - 0.1 * x[bright, :1, None]
    dy = line[bright][:, :, None] - 0.1 * y[bright, :1, None]
    halo = (1 + (dx**2 + dy**2) / 4) ** -1.5
    spikes = torch.exp(-((dx / 0.7) ** 2)) / (1 + dy.abs()) + torch.exp(-((dy / 0.7) ** 2)) / (
        1 + dx.abs()
    )
    strength = 10 ** (0.5 + 2 * torch.rand(len(bright), 1, 1, generator=generator))
    light[bright] += (strength * (halo + 0.3 * spikes))[:, None] * spectrum(colour[bright, 0])[
        :, :, None, None
    ]
    return light


def photograph(
    truth: dict[str, Tensor], *, image_size: int, generator: Generator
) -> UInt8[Tensor, "galaxy 3 size size"]:
    """Galaxies as Galaxy Zoo shows them: frames of `truth["width"]` arcsec, never sampled finer
    than the camera's pixels."""
    pixel = (truth["width"] / image_size).clamp_min(camera.PIXEL)
    light = paint(truth, size=image_size, pixel=pixel, generator=generator)
    galaxies = len(pixel)
    # SDSS's colour pictures align the bands to whole pixels only.
    shift = 0.5 * camera.PIXEL * (torch.rand(galaxies, 3, 2, generator=generator) - 0.5)
    exposed = camera.expose(
        light, pixel=pixel, seeing=truth["seeing"], shift=shift, generator=generator
    )
    return camera.develop(exposed, zoom=pixel * image_size / truth["width"]).to(torch.uint8)
