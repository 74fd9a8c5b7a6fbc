"""Simulated volunteers who walk the Galaxy Zoo 2 decision tree: from probabilities per answer to
vote fractions."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from galaxymorph import galaxy_zoo_tree
from galaxymorph.data.mock import population


def draw_volunteers(galaxies: int, *, generator: Generator) -> Int[Tensor, " galaxy"]:
    """How many volunteers see each galaxy: 43 +- 6, at least 20, as in Galaxy Zoo 2 (Willett et al.
    2013, section 2.3)."""
    return (43 + 6 * torch.randn(galaxies, generator=generator)).round().clamp_min(20).long()


def vote(
    opinions: Float[Tensor, "galaxy 37"],
    volunteers: Int[Tensor, " galaxy"],
    *,
    generator: Generator,
) -> Float[Tensor, "galaxy 37"]:
    """Votes in Kaggle's cumulative convention.

    `opinions` are the probabilities of each answer for a volunteer who is asked that question (of a
    question they need not sum to 1). Every volunteer follows the tree, so the numbers of votes on a
    question are multinomial with as many trials as there were votes for the answer that leads to
    it."""
    votes = torch.zeros_like(opinions)
    everybody = volunteers.to(opinions.dtype)
    for question, where in galaxy_zoo_tree.SLICES.items():
        parent = galaxy_zoo_tree.PARENTS[question]
        left = everybody if parent is None else votes[:, parent]
        chances = opinions[:, where]
        rest = chances.flip(1).cumsum(1).flip(1)  # the chance of this answer or a later one
        for answer in range(where.start, where.stop - 1):
            chance = (opinions[:, answer] / rest[:, answer - where.start].clamp_min(1e-9)).clamp(
                0, 1
            )
            votes[:, answer] = torch.binomial(left, chance, generator=generator)
            left = left - votes[:, answer]
        votes[:, where.stop - 1] = left
    return votes / everybody[:, None]


def _share(*scores: Float[Tensor, " galaxy"]) -> Float[Tensor, "galaxy answers"]:
    return torch.stack(scores, 1).softmax(1)


def opinions(truth: dict[str, Tensor], *, generator: Generator) -> Float[Tensor, "galaxy 37"]:
    """Probability of each answer for a volunteer who is asked, from what can be seen of a galaxy of
    `simulate.draw`.

    Structure is seen as well as its contrast, the galaxy's size in seeing discs and its signal to
    noise allow. `generator` adds what crowds agree on without a reason that the truth knows (0.4 in
    the logit)."""
    k = population.kinds(truth)
    disc = ~(k.elliptical | k.artifact)
    beams = truth["r90"] / (1.3 * truth["seeing"])  # radius in seeing discs
    clarity = (beams / 5).log().clamp(-1.5, 1.0) + 0.7 * (truth["snr"] / 5).log().clamp(-1.5, 1.0)

    # The axis ratio of the blurred image decides on roundness.
    bulge = truth["bulge_fraction"]
    blur = (0.6 * truth["seeing"] / truth["r50"]) ** 2
    ratio2 = bulge * truth["bulge_ratio"] ** 2 + (1 - bulge) * truth["ratio"] ** 2
    ratio = ((ratio2 + blur) / (1 + blur)).sqrt()
    flat = (0.38 - (truth["ratio"] ** 2 + 0.5 * blur).div(1 + 0.5 * blur).sqrt()) / 0.06

    # A Gaussian blur of sigma weakens a pattern of wavelength L by exp(-2 (pi sigma / L)²), and
    # arms are 2 pi R tan(pitch) /
    # number apart; the old stars, whose arms are a third as strong, and the bulge dilute them, and
    # a slant hides them.
    apart = (
        2
        * torch.pi
        * truth["radius"]
        * truth["pitch"].deg2rad().tan()
        / truth["arms"]
        * truth["ratio"].sqrt()
    )
    visible = torch.exp(-2 * (torch.pi * 0.62 * truth["seeing"] / apart) ** 2) * (
        0.35 + 0.65 * truth["young"]
    )
    contrast = truth["arm_contrast"] * visible * (1 - bulge)
    arms = 12 * (contrast - 0.11) + 0.8 * clarity + 2 * (truth["ratio"] - 0.75).clamp_max(0)
    arms = torch.where(
        k.spiral | k.merger, arms + 0.3 * torch.randn(arms.shape, generator=generator), -3.0
    )
    other = (
        3 * (truth["bar_strength"] - 0.7)
        + 3 * (truth["ring"] - 0.6)
        + 4 * (truth["clumpiness"] - 0.9)
    )
    features = torch.logaddexp(
        torch.logaddexp(arms + 0.8, 1.2 * flat + 0.3 * clarity + 1.2), other + 0.5 * clarity
    )
    features = torch.where(disc, features, -2.6) + 1.5 * k.merger
    features = features + 0.3 * torch.randn(features.shape, generator=generator)
    strange = (
        torch.full_like(features, -2.6)
        + 4.0 * k.merger
        + 3.2 * k.irregular
        + 2.5 * truth["ring"]
        + 0.3 * truth["dust"]
    )
    strange = strange + 0.4 * torch.randn(features.shape, generator=generator)
    nothing = torch.zeros_like(features)

    shown = [
        _share(nothing, features, -3.3 + 6.5 * k.artifact),
        _share(1.6 * flat - arms.clamp_min(-1) - 1.1, nothing),
        _share(4 * (truth["bar_strength"] - 0.75) + 0.3 * clarity, nothing),
        _share(1.5 * arms + 0.3, nothing),
        _share(*(-(((bulge - middle) / 0.13) ** 2) for middle in (-0.02, 0.15, 0.42, 0.75))),
        _share(strange, nothing),
        _share((ratio - 0.81) / 0.04, nothing, (0.46 - ratio) / 0.045),
        _share(
            4 * truth["ring"] - 1,
            nothing - 2,
            nothing + 1.0 * k.irregular,
            3.0 * k.irregular - 1,
            nothing - 0.5,
            4.0 * k.merger - 0.5,
            truth["dust"] - 2,
        ),
        _share(8 * (bulge - 0.15), nothing - 1.5, 8 * (0.10 - bulge)),
        _share((15 - truth["pitch"]) / 4, nothing, (truth["pitch"] - 22) / 4),
        _share(
            *(2.5 * (truth["arms"] == n) + 0.2 for n in (1, 2, 3, 4)),
            2.5 * (truth["arms"] > 4),
            1.2 - 0.6 * clarity,
        ),
    ]
    return torch.cat(shown, 1)
