"""Draw the true parameters of a flux-limited population of galaxies.

Values are round numbers close to the SDSS main galaxy sample: sizes after Shen et al. (2003,
MNRAS 343, 978), colours and their K-correction after Strateva et al. (2001, AJ 122, 1861) and
Chilingarian et al. (2010, MNRAS 405, 1409), the mix of types and the bar fraction after Willett et
al. (2013, MNRAS 435, 2835); colours, framing and the fraction of featureless discs are tuned by eye
to Galaxy Zoo cutouts. Sizes on the sky are in arcsec, angles in degrees."""

from collections import namedtuple
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from galaxymorph.data.mock import camera
from galaxymorph.data.mock.camera import Values

Truth = dict[str, Tensor]  # the true parameters, each (galaxy,)

HUBBLE_DISTANCE = 299792.458 / 70  # Mpc, c / H0

# A mask for each kind; an artifact is a frame spoilt by a bright star.
Kinds = namedtuple("Kinds", "elliptical lenticular spiral irregular merger artifact")
MIXTURE = (0.32, 0.10, 0.52, 0.025, 0.02, 0.015)  # their fractions, in this order


def kinds(truth: Truth) -> Kinds:
    """Return masks from the codes in `truth["kind"]`, which are positions in `Kinds`."""
    return Kinds(*(truth["kind"] == code for code in range(len(Kinds._fields))))


class Dice(NamedTuple):
    """Draw one value for each of `n` galaxies; normal deviates are clipped to `low` and `high`."""

    n: int
    generator: Generator

    def normal(
        self, mean: float | Tensor, spread: float, low: float = -torch.inf, high: float = torch.inf
    ) -> Values:
        return (mean + spread * torch.randn(self.n, generator=self.generator)).clamp(low, high)

    def uniform(self, low: float, high: float) -> Values:
        return low + (high - low) * torch.rand(self.n, generator=self.generator)

    def chance(self, probability: float | Tensor) -> Bool[Tensor, " galaxy"]:
        return torch.rand(self.n, generator=self.generator) < probability

    def one_of(self, *weights: float) -> Values:
        shares = torch.tensor(weights)
        return shares.multinomial(self.n, replacement=True, generator=self.generator).float()


def draw(
    n: int, *, framing: float | Values = 3.2, generator: Generator, **conditions: Values
) -> Truth:
    """Draw the parameters of `n` galaxies; `framing` as in `survey.mock_survey`.
    `conditions` of the observation (`camera.vary`) replace those of the survey."""
    dice = Dice(n, generator)
    t = {"kind": dice.one_of(*MIXTURE)}
    k = kinds(t)
    _distance_and_size(t, k, dice)
    _bulge_and_disc(t, k, dice)
    _structure(t, k, dice)
    _frame(t, k, dice, framing)
    t |= conditions
    t["snr"] = t["snr"] / conditions.get("noise", 1)
    return t


def flux(magnitude: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Convert AB magnitudes to nanomaggies."""
    return 10 ** ((22.5 - magnitude) / 2.5)


def _distance_and_size(t: Truth, k: Kinds, dice: Dice) -> None:
    """Draw Euclidean number counts to r = 16.8, and luminosities scattered around L*.

    The luminosity distance d_L = z + (1 - q0) / 2 z² (in Hubble distances, q0 = -0.55) gives the
    redshift, the angular diameter distance d_L / (1 + z)² the size on the sky, so that surface
    brightness falls as (1 + z)^-4."""
    t["magnitude"] = (16.8 + dice.uniform(1e-4, 1.0).log10() / 0.6).clamp_min(12.5)
    t["absolute"] = dice.normal(-20.9 - 0.4 * k.elliptical + 2.0 * k.irregular, 0.8)
    distance = 10 ** ((t["magnitude"] - t["absolute"] - 25) / 5) / HUBBLE_DISTANCE
    t["redshift"] = (((1 + 4 * 0.775 * distance).sqrt() - 1) / (2 * 0.775)).clamp(0.003, 0.3)
    brighter = -0.4 * (t["absolute"] + 21)  # log10 of the luminosity relative to M = -21
    slope = torch.where(k.elliptical, 0.6, 0.4)
    log_kpc = dice.normal(0.66 - 0.07 * k.elliptical, 0.15) + slope * brighter
    arcsec = 10**log_kpc / 1000 / (HUBBLE_DISTANCE * distance / (1 + t["redshift"]) ** 2) * 206265
    t["radius"] = arcsec.clamp(1.3, 40)  # half-light radius, along the major axis


def _bulge_and_disc(t: Truth, k: Kinds, dice: Dice) -> None:
    """Draw bulges and sizes; discs are randomly inclined oblate spheroids."""
    lenticular, other = dice.normal(0.42, 0.15, 0.1, 0.8), dice.normal(0.16, 0.14, 0.0, 0.6)
    bulge = torch.where(k.irregular, 0.0, torch.where(k.lenticular, lenticular, other))
    bulge = torch.where(k.elliptical | k.artifact, 1.0, bulge)
    t["bulge_fraction"] = bulge
    t["bulge_radius"] = t["radius"] * torch.where(k.elliptical, 1.0, 0.12 + 0.5 * bulge)
    elliptical, other = dice.normal(3.8, 1.0, 1.5, 6.0), dice.normal(2.2, 0.7, 0.8, 4.0)
    t["bulge_index"] = torch.where(k.elliptical, elliptical, other)
    t["disc_scale"] = t["radius"] / 1.678 * (1 + 0.35 * bulge)
    t["thickness"] = dice.normal(0.13 + 0.12 * k.lenticular + 0.2 * k.irregular, 0.035, 0.06, 0.5)
    cosine = dice.uniform(0.0, 1.0)
    t["inclination"] = cosine.acos().rad2deg()
    t["ratio"] = (cosine**2 * (1 - t["thickness"] ** 2) + t["thickness"] ** 2).sqrt()
    dimmed = 0.7 * (1 - cosine) ** 2 * (k.spiral | k.lenticular)  # by its own dust
    t["magnitude"], t["absolute"] = t["magnitude"] + dimmed, t["absolute"] + dimmed
    own = dice.normal(0.82, 0.17, 0.35, 1.0)
    t["bulge_ratio"] = torch.where(k.elliptical, own, (cosine**2 * (1 - 0.6**2) + 0.6**2).sqrt())
    t["ratio"] = torch.where(k.elliptical, own, t["ratio"])
    t["angle"] = dice.uniform(0.0, 180.0)


def _structure(t: Truth, k: Kinds, dice: Dice) -> None:
    """Draw arms, bar, ring, clumps, asymmetry, dust lane, and g - r of old and young stars."""
    cosine = t["inclination"].deg2rad().cos()
    disc, disturbed = k.spiral | k.lenticular, k.irregular | k.merger
    t["arms"] = 1 + dice.one_of(0.1, 0.58, 0.14, 0.1, 0.08)
    t["pitch"] = dice.normal(17.0, 6.0, 7.0, 40.0) + 12 * k.merger
    armed = k.merger | (k.spiral & dice.chance(0.78))  # the others are smooth blue discs
    t["arm_contrast"] = torch.where(armed, dice.normal(0.78, 0.22, 0.0, 1.0), 0.0)
    t["arm_sharpness"] = dice.uniform(1.0, 3.5)
    t["arm_twist"] = dice.uniform(0.0, 360.0)
    t["spin"] = torch.where(dice.chance(0.5), 1.0, -1.0)
    barred = dice.chance(0.35 * k.spiral + 0.2 * k.lenticular)
    t["bar_strength"] = torch.where(barred, dice.uniform(0.3, 1.0), 0.0)
    t["bar_length"] = t["disc_scale"] * dice.uniform(0.7, 1.5)
    ringed = dice.chance(0.15 * k.spiral + 0.08 * k.lenticular)
    t["ring"] = torch.where(ringed, dice.uniform(0.3, 1.0), 0.0)
    clumpy, other = dice.uniform(0.8, 1.4), dice.normal(0.35, 0.2, 0.0, 0.9) * armed
    t["clumpiness"] = torch.where(k.irregular, clumpy, other) + 0.3 * k.merger
    t["lopsided"] = torch.where(disturbed, dice.uniform(0.2, 0.7), dice.uniform(0.0, 0.25))
    young, other = dice.normal(0.45, 0.12, 0.15, 0.8), 0.5 * disturbed + 0.1 * k.lenticular
    t["young"] = torch.where(k.spiral, young, other)
    t["dust"] = torch.where((cosine < 0.2) & disc & dice.chance(0.5), dice.uniform(0.5, 3.0), 0.0)

    red, other = dice.normal(0.76, 0.06), dice.normal(0.59, 0.13, 0.2)
    old = torch.where(k.elliptical | k.lenticular, red, other) - 0.25 * k.irregular
    blue_elliptical = k.elliptical & dice.chance(0.10)
    reddened = 0.3 * (1 - cosine) ** 2 * k.spiral  # by the dust of inclined discs
    t["colour"] = old - 0.35 * blue_elliptical + reddened
    t["young_colour"] = t["colour"] - dice.normal(0.30, 0.11, 0.05)


def _frame(t: Truth, k: Kinds, dice: Dice, framing: float | Values) -> None:
    """Draw the frame, the seeing, a neighbour (close and bright for a merger) and field stars.
    Petrosian radii are circular, hence smaller for flattened galaxies, and include the seeing."""
    shape = 0.62 + 0.38 * t["ratio"]
    t["r50"] = t["radius"] * shape
    r90 = torch.where(k.elliptical, 1.85, 2.0) * t["radius"] * shape
    t["r90"] = r90.square().add(1.2**2).sqrt()
    t["width"] = framing * t["r90"] * dice.uniform(0.85, 1.15)
    t["seeing"] = dice.normal(1.0, 0.1, 0.7, 1.5)
    # Signal to noise per camera pixel within the half-light radius.
    mean_brightness = flux(t["magnitude"]) / 2 / (torch.pi * t["r50"] ** 2)
    t["snr"] = mean_brightness * camera.PIXEL**2 / camera.SKY_NOISE[1]
    area = (t["width"] / 60) ** 2  # square arcmin
    background = 10 ** dice.uniform(-2.2, -0.5) * dice.chance(1 - (-1.5 * area).exp())
    t["neighbour"] = torch.where(k.merger, dice.uniform(0.2, 0.8), background)  # relative flux
    size = torch.where(k.merger, dice.uniform(0.3, 0.6), dice.uniform(0.1, 0.4))
    t["neighbour_radius"] = t["radius"] * size
    near, far = t["r90"] * dice.uniform(0.35, 0.9), t["width"] * dice.uniform(0.25, 0.7)
    t["neighbour_distance"] = torch.where(k.merger, near, far)
    t["neighbour_direction"] = dice.uniform(0.0, 360.0)
    t["neighbour_ratio"], t["neighbour_angle"] = dice.uniform(0.3, 1.0), dice.uniform(0.0, 180.0)
    mean_stars = (2.5 * area + 0.05).clamp_max(4)
    t["stars"] = torch.poisson(mean_stars, generator=dice.generator).clamp_max(4)
