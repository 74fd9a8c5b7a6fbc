"""Simulate volunteers who answer the questions of the Galaxy Zoo 2 decision tree."""

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from galaxymorph import galaxy_zoo_tree
from galaxymorph.data.mock import population

Votes = Float[Tensor, "galaxy 37"]

# Galaxy Zoo 2 corrects its fractions to what volunteers would see nearby (Willett et al. 2013,
# section 3.3), that is in a galaxy at least as clear as this (see `opinions`).
CLEAR = 0.8
# Added to the logits of the answers, so that the mean fractions for each question are about those
# of 546 galaxies of Galaxy Zoo 2. In the order of the tree; the others agree without.
CORRECTIONS = {
    "smooth": (0.0, 0.0, -0.3),
    "bar": (0.5, 0.0),
    "spiral": (0.2, 0.0),
    "bulge": (-0.9, 0.1, 0.3, -0.7),
    "odd": (1.0, 0.0),
    "roundness": (0.1, -0.25, 1.0),
    "odd_feature": (-0.3, 0.2, -0.9, -0.2, 0.3, 0.6, -0.5),
    "bulge_shape": (-0.1, -0.4, 0.4),
    "winding": (0.5, 0.0, -0.6),
    "arms": (-0.5, 0.0, -0.5, -1.3, -0.8, 1.0),
}


def vote(opinions: Votes, volunteers: Int[Tensor, " galaxy"], *, generator: Generator) -> Votes:
    """Draw vote fractions in Kaggle's cumulative convention.

    `opinions` are the probabilities of each answer for a volunteer who is asked that question; they
    need not sum to 1. The votes on a question are multinomial, with as many trials as votes for the
    answer that leads to it."""
    votes = torch.zeros_like(opinions)
    everybody = volunteers.to(opinions.dtype)
    for question, where in galaxy_zoo_tree.SLICES.items():
        parent = galaxy_zoo_tree.PARENTS[question]
        left = everybody if parent is None else votes[:, parent]
        chances = opinions[:, where]
        rest = chances.flip(1).cumsum(1).flip(1)  # the chance of this answer or a later one
        for answer in range(where.start, where.stop - 1):
            later = rest[:, answer - where.start].clamp_min(1e-9)
            chance = (opinions[:, answer] / later).clamp(0, 1)
            votes[:, answer] = torch.binomial(left, chance, generator=generator)
            left = left - votes[:, answer]
        votes[:, where.stop - 1] = left
    return votes / everybody[:, None]


def opinions(truth: population.Truth, *, generator: Generator, published: bool = False) -> Votes:
    """Return the probability of each answer for a volunteer who is asked that question.

    Structure is visible as far as its contrast, the galaxy's size in seeing discs and its signal to
    noise allow. `generator` adds scatter shared by all volunteers (0.4 in the logit). If
    `published`, they are corrected as in Galaxy Zoo 2 (`CLEAR`, `CORRECTIONS`)."""
    k, t = population.kinds(truth), truth
    disc = ~(k.elliptical | k.artifact)
    beams = t["r90"] / (1.3 * t["seeing"])  # radius in seeing discs
    clarity = (beams / 5).log().clamp(-1.5, 1.0) + 0.7 * (t["snr"] / 5).log().clamp(-1.5, 1.0)
    if published:
        clarity = clarity.clamp_min(CLEAR)

    # Roundness follows from the axis ratio of the blurred image.
    bulge = t["bulge_fraction"]
    blur = (0.6 * t["seeing"] / t["r50"]) ** 2
    ratio2 = bulge * t["bulge_ratio"] ** 2 + (1 - bulge) * t["ratio"] ** 2
    ratio = ((ratio2 + blur) / (1 + blur)).sqrt()
    flat = (0.38 - (t["ratio"] ** 2 + 0.5 * blur).div(1 + 0.5 * blur).sqrt()) / 0.06

    # A Gaussian blur of sigma damps a pattern of wavelength L by exp(-2 (pi sigma / L)²), and arms
    # are 2 pi R tan(pitch) / number apart. Old stars (arms a third as strong) and the bulge dilute
    # them; inclination hides them.
    apart = 2 * torch.pi * t["radius"] * t["pitch"].deg2rad().tan() / t["arms"] * t["ratio"].sqrt()
    blurred = torch.exp(-2 * (torch.pi * 0.62 * t["seeing"] / apart) ** 2)
    contrast = t["arm_contrast"] * (blurred * (0.35 + 0.65 * t["young"])) * (1 - bulge)
    arms = 12 * (contrast - 0.11) + 0.8 * clarity + 2 * (t["ratio"] - 0.75).clamp_max(0)
    arms = arms + 0.3 * torch.randn(arms.shape, generator=generator)
    arms = torch.where(k.spiral | k.merger, arms, -3.0)
    other = 3 * (t["bar_strength"] - 0.7) + 3 * (t["ring"] - 0.6) + 4 * (t["clumpiness"] - 0.9)
    features = torch.logaddexp(arms + 0.8, 1.2 * flat + 0.3 * clarity + 1.2)
    features = torch.logaddexp(features, other + 0.5 * clarity)
    features = torch.where(disc, features, -2.6) + 1.5 * k.merger
    features = features + 0.3 * torch.randn(features.shape, generator=generator)
    strange = torch.full_like(features, -2.6) + 4.0 * k.merger + 3.2 * k.irregular
    strange = strange + 2.5 * t["ring"] + 0.3 * t["dust"]
    strange = strange + 0.4 * torch.randn(features.shape, generator=generator)
    nothing = torch.zeros_like(features)
    odd = [4 * t["ring"] - 1, nothing - 2, nothing + 1.0 * k.irregular, 3.0 * k.irregular - 1]
    odd += [nothing - 0.5, 4.0 * k.merger - 0.5, t["dust"] - 2]
    bulges = [-(((bulge - middle) / 0.13) ** 2) for middle in (-0.02, 0.15, 0.42, 0.75)]
    numbers = [2.5 * (t["arms"] == n) + 0.2 for n in (1, 2, 3, 4)]

    shown = [  # logits of the answers to each question, in the order of the tree
        (nothing, features, -3.3 + 6.5 * k.artifact),
        (1.6 * flat - arms.clamp_min(-1) - 1.1, nothing),
        (4 * (t["bar_strength"] - 0.75) + 0.3 * clarity, nothing),
        (1.5 * arms + 0.3, nothing),
        bulges,
        (strange, nothing),
        ((ratio - 0.81) / 0.04, nothing, (0.46 - ratio) / 0.045),
        odd,
        (8 * (bulge - 0.15), nothing - 1.5, 8 * (0.10 - bulge)),
        ((15 - t["pitch"]) / 4, nothing, (t["pitch"] - 22) / 4),
        (*numbers, 2.5 * (t["arms"] > 4), 1.2 - 0.6 * clarity),
    ]
    chances = []
    for question, answers in zip(galaxy_zoo_tree.SLICES, shown, strict=True):
        logits = torch.stack(tuple(answers), 1)
        if published and question in CORRECTIONS:
            logits = logits + torch.tensor(CORRECTIONS[question])
        chances.append(logits.softmax(1))
    return torch.cat(chances, 1)
