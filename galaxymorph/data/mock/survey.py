"""Simulate a galaxy survey with known truth, a data set that needs no download.

`mock_survey(n)` draws galaxies (`population`), renders their light in g, r and i (`paint`),
observes them as SDSS would (`camera`) and simulates their classification (`volunteers`). Sizes on
the sky are in arcsec, angles in degrees."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from PIL import Image
from torch import Generator, Tensor
from torch.nn.functional import avg_pool2d
from tqdm.auto import tqdm

from galaxymorph import galaxy_zoo_tree, project
from galaxymorph.data.mock import camera, population
from galaxymorph.data.mock import volunteers as crowd
from galaxymorph.data.mock.camera import Images
from galaxymorph.data.mock.population import Truth, Values, flux

Plane = Float[Tensor, "galaxy rows columns"]
PerGalaxy = Float[Tensor, "galaxy 1 1"]
Line = Float[Tensor, "galaxy size"]  # pixel positions in arcsec from the centre

CHUNK = 32  # galaxies per chunk; each chunk has its own seed, so galaxies do not depend on n


class Survey(NamedTuple):
    ids: np.ndarray
    images: Tensor  # uint8 (galaxy, 3, size, size)
    votes: Tensor  # cumulative, (galaxy, 37)
    volunteers: Tensor  # number of voters
    truth: pd.DataFrame


def mock_survey(
    n: int,
    *,
    image_size: int = 64,
    seed: int = 0,
    framing: float = 3.2,
    varied: bool = False,
    published: bool = False,
) -> Survey:
    """Simulate `n` galaxies, reproducible to the byte; the first galaxies do not depend on `n`.

    `framing` is the median width of the frame in Petrosian radii R90: 8.48 in Galaxy Zoo, and
    usually 3 to 4.5 in data sets that keep the central part of its images. With `varied`, frames
    and observing conditions differ more than within one survey (`camera.vary`). Vote fractions are
    as volunteers would give them, or as Galaxy Zoo 2 has `published` them: corrected for what
    cannot be seen at a galaxy's distance (`volunteers.opinions`)."""
    if n < 1 or image_size < 16:
        raise ValueError(f"a survey needs n >= 1 and image_size >= 16: {n=}, {image_size=}")
    images = torch.empty(n, 3, image_size, image_size, dtype=torch.uint8)

    def simulate(start: int) -> tuple[Truth, Tensor, Tensor]:
        mixed = np.random.SeedSequence((seed, start)).generate_state(1)  # torch takes 32 bits
        generator = Generator().manual_seed(int(mixed[0]))
        conditions = camera.vary(CHUNK, generator=generator) if varied else {}
        frame = conditions.pop("framing", framing)
        truth = population.draw(CHUNK, framing=frame, generator=generator, **conditions)
        pictures = photograph(truth, image_size=image_size, generator=generator)
        images[start : start + CHUNK] = pictures[: n - start]
        # Willett et al. (2013), section 2.3: at least 20 people classify each galaxy.
        number = (43 + 6 * torch.randn(CHUNK, generator=generator)).round().clamp_min(20).long()
        opinions = crowd.opinions(truth, generator=generator, published=published)
        return truth, crowd.vote(opinions, number, generator=generator), number

    # A chunk is too small to be shared among threads, so whole chunks run in parallel.
    threads = torch.get_num_threads()
    workers = max(1, min(threads, 2_000_000 // (CHUNK * image_size**2)))
    torch.set_num_threads(threads // workers)
    starts = range(0, n, CHUNK)
    try:
        with ThreadPoolExecutor(workers) as pool:
            done = pool.map(simulate, starts)
            shown = tqdm(done, f"simulating {n:,} galaxies", len(starts), disable=n < 4000)
            truths, votes, numbers = zip(*shown, strict=True)
    finally:
        torch.set_num_threads(threads)

    columns = {name: torch.cat([truth[name] for truth in truths])[:n].numpy() for name in truths[0]}
    codes, names = columns["kind"].astype(int), population.Kinds._fields
    table = pd.DataFrame(columns | {"kind": pd.Categorical.from_codes(codes, names)})
    ids = np.array([f"mock-{seed}-{i:07d}" for i in range(n)])
    return Survey(ids, images, torch.cat(votes)[:n], torch.cat(numbers)[:n], table)


def export_survey(
    folder: Path,
    *,
    n_galaxies: int = 500,
    n_test: int = 100,
    image_size: int = 424,
    framing: float = 8.48,
    seed: int = 0,
) -> str:
    """Write a mock survey in Kaggle's layout; return how to load it.

    `n_galaxies` have published votes, `n_test` do not; for `framing`, see `mock_survey` (default:
    Galaxy Zoo's). Raises `FileExistsError` instead of overwriting."""
    training, test = folder / "images_training_rev1", folder / "images_test_rev1"
    solutions = folder / "training_solutions_rev1.csv"
    if there := [path.name for path in (training, solutions, test) if path.exists()]:
        raise FileExistsError(f"{folder} already has {', '.join(there)}: choose another folder")
    survey = mock_survey(n_galaxies + n_test, image_size=image_size, seed=seed, framing=framing)
    pictures = dict(zip(survey.ids, survey.images.permute(0, 2, 3, 1).numpy(), strict=True))
    for home, ids in ((training, survey.ids[:n_galaxies]), (test, survey.ids[n_galaxies:])):
        with project.replacing(home) as part:
            part.mkdir()
            for id in ids:
                Image.fromarray(pictures[id]).save(part / f"{id}.jpg", quality=95)
    votes = pd.DataFrame(survey.votes[:n_galaxies].numpy(), columns=list(galaxy_zoo_tree.COLUMNS))
    votes.insert(0, "GalaxyID", survey.ids[:n_galaxies])
    project.write(solutions, votes.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
    return f"galaxies: {{name: galaxy_zoo, root: {folder}}}"


def plane(x: Plane, y: Plane, *, angle: PerGalaxy, ratio: PerGalaxy) -> tuple[Plane, Plane]:
    """Deproject sky to face-on coordinates; `angle` is that of the major axis, from x to y."""
    cosine, sine = torch.cos(angle.deg2rad()), torch.sin(angle.deg2rad())
    return torch.addcmul(x * cosine, y, sine), torch.addcmul(x * (-sine / ratio), y, cosine / ratio)


def bulge_light(t: Truth, x: Plane, y: Plane) -> Plane:
    """Return the surface brightness of a bulge or elliptical of flux 1 (`t`: (galaxy, 1, 1) each).
    Sersic profile with b from Ciotti & Bertin (1999), eq. 18, accurate to 1e-4 for n > 0.5."""
    u, v = plane(x, y, angle=t["angle"], ratio=t["bulge_ratio"])
    index, half_light = t["bulge_index"], t["bulge_radius"]
    b = 2 * index - 1 / 3 + 4 / (405 * index) + 46 / (25515 * index**2)
    area = 2 * torch.pi * index * half_light**2
    log_total = torch.log(area) + b - 2 * index * b.log() + torch.lgamma(2 * index)
    face_on = torch.exp(b - log_total - b * (torch.hypot(u, v) / half_light) ** (1 / index))
    return face_on / t["bulge_ratio"]


def disc_light(t: Truth, x: Plane, y: Plane, clumps: Plane) -> tuple[Plane, Plane, Plane]:
    """Return the surface brightness of old disc, young disc and bar, each of flux about 1.

    Both discs are exponential and truncated near four scale lengths, which removes 11.8 % of the
    flux of an infinite disc. Logarithmic arms, starting at the ends of the bar, modulate the young
    disc with the galaxy's arm contrast and the old disc with a third of it. `clumps` is a random
    field of unit variance."""
    u, v = plane(x, y, angle=t["angle"], ratio=t["ratio"])
    # Seen edge-on, a disc is a lozenge rather than an ellipse.
    power = 2 - 0.6 * ((t["inclination"] - 72) / 12).clamp(0, 1)
    radius = (u.abs() ** power + v.abs() ** power).clamp_min_(1e-9) ** (1 / power) / t["disc_scale"]
    log_area = 2 * torch.lgamma(1 + 1 / power) - torch.lgamma(1 + 2 / power)
    lozenge = 4 * log_area.exp()  # area of |x|^p + |y|^p = 1
    total = 0.882 * 2 * lozenge * t["disc_scale"] ** 2 * t["ratio"]
    disc = torch.exp((-radius - (radius / 4.2) ** 6).clamp_min(-40)) / total

    theta, twist = torch.atan2(v, u), t["arm_twist"].deg2rad()
    start = torch.where(t["bar_strength"] > 0, t["bar_length"] / t["disc_scale"], 1.0)
    winding = (radius / start).log_() / t["pitch"].deg2rad().tan()
    clumpy = t["clumpiness"] * clumps
    phase = t["arms"] * (theta - twist - t["spin"] * winding) + clumpy
    k = t["arm_sharpness"]
    crest = torch.exp(k * (torch.cos(phase) - 1)) / torch.special.i0e(k)  # mean 1 around a circle
    contrast = t["arm_contrast"] * torch.sigmoid((radius - 0.7 * start) * 6)
    lopsided = 1 + t["lopsided"] * torch.cos(theta - twist) * (radius / 2).clamp_max(1)
    knots = torch.exp(clumpy - t["clumpiness"] ** 2 / 2)
    ring = t["ring"] * 2.0 * torch.exp(-0.5 * ((radius - 1.8) / 0.25) ** 2)
    young = disc * (1 + contrast * (crest - 1) + ring) * knots * lopsided
    old = disc * (1 + 0.35 * contrast * (crest - 1) + 0.3 * ring) * lopsided

    length = t["bar_length"]
    along = (u * twist.cos() + v * twist.sin()) / length
    across = (v * twist.cos() - u * twist.sin()) / (0.3 * length)
    bar = torch.exp(-((along**2 + across**2) ** 2).clamp_max(40))
    return old, young, bar / (0.15 * torch.pi**1.5 * length**2 * t["ratio"])


def spectrum(colour: Values) -> Float[Tensor, "galaxy 3"]:
    """Return fluxes in g, r, i for flux 1 in r and this g - r; r - i = 0.4 (g - r) + 0.07."""
    return 10 ** (0.4 * torch.stack((-colour, torch.zeros_like(colour), 0.4 * colour + 0.07), 1))


def _grid(line: Line) -> tuple[Plane, Plane]:
    """Return x and y of a square grid whose rows and columns lie at `line`."""
    size = line.shape[1]
    return line[:, None, :].expand(-1, size, -1), line[:, :, None].expand(-1, -1, size)


def paint(truth: Truth, *, size: int, pixel: Values, generator: Generator) -> Images:
    """Render fields above the atmosphere, in nanomaggies per square arcsec in g, r, i.

    `pixel` is in arcsec. `generator` draws the clumps and the positions of field stars."""
    t = {name: value[:, None, None] for name, value in truth.items()}
    line = (torch.arange(size) - (size - 1) / 2) * pixel[:, None]  # (galaxy, size), arcsec
    x, y = _grid(line)

    # A bulge's cusp is narrower than a pixel: average 4 x 4 points in each central pixel.
    bulge = bulge_light(t, x, y)
    centre = slice(size // 2 - 4, size // 2 + 4)
    points = (torch.arange(4) - 1.5) / 4 * pixel[:, None, None]
    fine = bulge_light(t, *_grid((line[:, centre, None] + points).flatten(1)))
    bulge[:, centre, centre] = avg_pool2d(fine, 4)

    # Clumps: Gaussians on a 20 x 20 lattice with random heights.
    lattice = torch.linspace(-0.55, 0.55, 20) - torch.linspace(-0.5, 0.5, size)[:, None]
    spread = torch.exp(-0.5 * (lattice / 0.03) ** 2)
    spread = spread / spread.square().sum(1, keepdim=True).sqrt()
    clumps = spread @ torch.randn(len(pixel), 20, 20, generator=generator) @ spread.T
    old, young, bar = disc_light(t, x, y, clumps)

    direction, distance = t["neighbour_direction"].deg2rad(), t["neighbour_distance"]
    dx, dy = x - distance * direction.cos(), y - distance * direction.sin()
    u, v = plane(dx, dy, angle=t["neighbour_angle"], ratio=t["neighbour_ratio"])
    scale = t["neighbour_radius"] / 1.678
    neighbour = torch.exp(-(torch.hypot(u, v) / scale).clamp_max(40))
    neighbour = neighbour / (2 * torch.pi * scale**2 * t["neighbour_ratio"])

    total = flux(truth["magnitude"])
    disc = total * (1 - truth["bulge_fraction"])
    bar_flux = 0.25 * truth["bar_strength"] * disc
    disc = disc - bar_flux
    reddening = 2.2 * truth["redshift"]  # K-correction of g - r
    red = spectrum(truth["colour"] + 0.08 + reddening)
    parts = (
        (bulge, total * truth["bulge_fraction"], red),
        (old, disc * (1 - truth["young"]), spectrum(truth["colour"] + reddening)),
        (young, disc * truth["young"], spectrum(truth["young_colour"] + reddening / 2)),
        (bar, bar_flux, red),
        (neighbour, total * truth["neighbour"], spectrum(truth["young_colour"] + 0.1 + reddening)),
    )
    fluxes = torch.stack([amount[:, None] * bands for _, amount, bands in parts], 1)
    fluxes[population.kinds(truth).artifact] = 0  # (galaxy, component, band)
    planes = torch.stack([plane for plane, _, _ in parts], 1)
    light = (fluxes.mT @ planes.flatten(2)).view(len(pixel), 3, size, size)
    dim_by_dust(light, truth, x, y)
    return light + stars(truth, line, generator=generator)


def dim_by_dust(light: Images, truth: Truth, x: Plane, y: Plane) -> None:
    """Dim edge-on galaxies by their dust lane, more in the blue, in place."""
    dusty = (truth["dust"] > 0).nonzero().squeeze(1)
    t = {name: value[dusty, None, None] for name, value in truth.items()}
    u, v = plane(x[dusty], y[dusty], angle=t["angle"], ratio=torch.ones_like(t["angle"]))
    height = 0.8 * t["thickness"] * t["disc_scale"]
    depth = t["dust"] * torch.exp(-(u.abs() / (2 * t["disc_scale"])) - (v / height - 0.3) ** 2)
    light[dusty] *= torch.exp(-depth[:, None] * torch.tensor([1.2, 1.0, 0.75]).view(3, 1, 1))


def stars(truth: Truth, line: Line, *, generator: Generator) -> Images:
    """Render the field stars; in an artifact's frame, one is saturated and has spikes."""
    galaxies, most = len(line), 4
    pixel = (line[:, 1] - line[:, 0])[:, None]
    x, y = (torch.rand(2, galaxies, most, generator=generator) - 0.5) * truth["width"][:, None]
    magnitude = 16 + 5 * torch.rand(galaxies, most, generator=generator).sqrt()
    colour = 0.3 + 1.2 * torch.rand(galaxies, most, generator=generator)
    brightness = flux(magnitude) * (torch.arange(most) < truth["stars"][:, None])
    bands = brightness[..., None] * spectrum(colour.flatten()).view(galaxies, most, 3)
    # Each star is a point of total flux 1 on the pixel grid: (galaxy, star, size).
    places = torch.stack((x, y))[..., None]  # (axis, galaxy, star, 1)
    lines = camera.gaussian((line[:, None] - places) / (0.4 * pixel[..., None])) / pixel[..., None]
    along_x, along_y = lines
    light = (along_y.mT[:, None] * bands.mT[:, :, None]) @ along_x[:, None]

    bright = population.kinds(truth).artifact.nonzero().squeeze(1)
    dx = line[bright][:, None, :] - 0.1 * x[bright, :1, None]
    dy = line[bright][:, :, None] - 0.1 * y[bright, :1, None]
    halo = (1 + (dx**2 + dy**2) / 4) ** -1.5
    one, other = (torch.exp(-((a / 0.7) ** 2)) / (1 + b.abs()) for a, b in ((dx, dy), (dy, dx)))
    strength = 10 ** (0.5 + 2 * torch.rand(len(bright), 1, 1, generator=generator))
    glare = (strength * (halo + 0.3 * (one + other)))[:, None]
    light[bright] += glare * spectrum(colour[bright, 0])[:, :, None, None]
    return light


def photograph(truth: Truth, *, image_size: int, generator: Generator) -> Images:
    """Observe frames of `truth["width"]` arcsec; return colour pictures, whole numbers, 0 to 255.
    Frames are sampled no finer than by the camera."""
    pixel = (truth["width"] / image_size).clamp_min(camera.PIXEL)
    light = paint(truth, size=image_size, pixel=pixel, generator=generator)
    # SDSS colour pictures align the bands only to whole pixels.
    shift = 0.5 * camera.PIXEL * (torch.rand(len(pixel), 3, 2, generator=generator) - 0.5)
    how = {"seeing": truth["seeing"], "noise": truth.get("noise"), "shift": shift}
    exposed = camera.expose(light, pixel=pixel, generator=generator, **how)
    zoom = pixel * image_size / truth["width"]
    if "gain" not in truth:
        return camera.develop(exposed, zoom=zoom)
    gain, quality = truth["gain"], int(truth["quality"][0])
    bands = torch.stack((gain * truth["blue"], gain, gain * truth["red"]), 1)
    return camera.develop(exposed * bands[..., None, None], zoom=zoom, quality=quality)
