"""Scores of class-activation maps, one per galaxy: can `gradcam.maps` be trusted?"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import ndimage
from scipy.stats import rankdata
from torch import Tensor, nn

from galaxymorph import pixels
from galaxymorph.diagnostics import gradcam
from galaxymorph.diagnostics.gradcam import Floats, Heat, Images, PerGalaxy, Target
from galaxymorph.evaluation.intervals import bootstrap_means, percentiles
from galaxymorph.evaluation.phrases import interval

Curve = Float[Tensor, "galaxy step"]

KINDS = ("deletion", "insertion")
# scores of `compare`, and whether more or less is better
BETTER = {"deletion": "less", "insertion": "more", "randomised": "less"}
BETTER |= {"on galaxy": "more", "rotation": "more"}
SIGN = {"more": 1, "less": -1}
VERBS = {1: "beats", 0: "is statistically tied with", -1: "is worse than"}
DRAWS = 2000  # bootstrap samples
STEPS = 16  # of a deletion or insertion curve
BLUR = 1 / 16  # of the image's side: sigma of the blur that removes bar and arms
BACK = (0, 3, 2, 1, 4, 5, 6, 7)  # the orientation that undoes each orientation
FAINTEST = 0.02  # of full brightness: minimum of a galaxy above the sky


@torch.no_grad()
def curve(
    model: nn.Module, images: Images, target: Target, heat: Heat, kind: str, batch_size: int = 64
) -> Curve:
    """Score galaxies while their hottest pixels, 0, 1/16, ... 1 of all, are replaced.

    The better the map, the faster the score changes: Petsiuk et al. 2018 (RISE, arXiv 1806.07421),
    section 4.2. A `deletion` replaces these pixels by sky (`gradcam.sky`), and the score should
    fall. In an `insertion` only they are sharp, and the score should rise; the others are blurred
    by a Gaussian of 1/16 of the image's side, because cut-outs on a plain background would have
    edges. Pixels of equal heat, such as those where a map's ReLU is zero, are taken in random
    order."""
    mixed = torch.randperm(heat[0].numel(), generator=torch.Generator().manual_seed(0))
    by_heat = heat.flatten(1)[:, mixed].argsort(dim=1, descending=True, stable=True)
    order = mixed[by_heat]  # (galaxy, pixel)
    place = (order.argsort(dim=1) / order.shape[1]).view_as(heat)  # from 0 (hottest) to below 1
    parts = zip(gradcam.batches(model, images, batch_size), place.split(batch_size), strict=True)
    found, asked = [], gradcam.frozen(model)
    for whole, places in parts:
        new, old = whole, gradcam.sky(whole)
        if kind == "insertion":
            new, old = _blurred(whole), whole
        hot = places.to(whole)[:, None]  # (galaxy, 1, size, size)
        mixtures = (torch.where(hot < k / STEPS, old, new) for k in range(STEPS + 1))
        found.append(gradcam.scores(asked, mixtures, target).T.cpu())
    return torch.cat(found)


def _blurred(images: Floats) -> Floats:
    sigma = BLUR * images.shape[-1]
    smooth = ndimage.gaussian_filter(images.cpu().numpy(), (0, 0, sigma, sigma))
    return torch.from_numpy(smooth).to(images)


def area(curve: Curve) -> PerGalaxy:
    """Integrate each curve over the fraction of pixels (trapezoidal rule)."""
    return torch.trapezoid(curve, dx=1 / (curve.shape[1] - 1))


def randomised(model: nn.Module, *, stages: int | None = None, seed: int = 1803) -> nn.Module:
    """Copy the model with new random weights in its last `stages`, or in all.

    Stages are those of `model.stages()`, or its children. The default `seed` is one that no
    training uses, so that it does not restore the model's own initial weights. Raises `ValueError`
    for a module with weights but without `reset_parameters`."""
    copied = copy.deepcopy(model)
    groups = _stages(copied)
    chosen = groups if stages is None else groups[max(0, len(groups) - stages) :]
    with torch.random.fork_rng(range(torch.cuda.is_available())):
        torch.manual_seed(seed)
        for module in (each for group in chosen for top in group for each in top.modules()):
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()  # pyright: ignore[reportCallIssue]
            elif list(module.parameters(recurse=False)):
                kind = type(module).__name__
                raise ValueError(f"{kind} has weights, but no reset_parameters() to redraw them")
    return copied


def _stages(model: Any) -> list[list[nn.Module]]:
    return model.stages() if hasattr(model, "stages") else [[child] for child in model.children()]


def randomisation(model: nn.Module, images: Images, target: Target, **options: Any) -> pd.DataFrame:
    """Compare maps with those of the model with more and more of its last stages randomised.

    Returns a row per number of randomised `stages` (none, the last, the last two, ... all) and
    `galaxy`: `rank_correlation`, `ssim`. A map that stays the same does not show what the model has
    learned. Adebayo et al. 2018 (arXiv 1810.03292), section 3. `options` are those of `maps`."""
    heat, rows = gradcam.maps(model, images, target, **options), []
    for stages in range(len(_stages(model)) + 1):
        other = gradcam.maps(randomised(model, stages=stages), images, target, **options)
        alike = {"rank_correlation": rank_correlation(heat, other), "ssim": ssim(heat, other)}
        rows.append(pd.DataFrame({"stages": stages, "galaxy": range(len(images))} | alike))
    return pd.concat(rows, ignore_index=True)


def rank_correlation(first: Heat, second: Heat) -> PerGalaxy:
    """Return Spearman's correlation over pixels, -1 to 1; 0 if one map is constant."""
    ranks = (torch.from_numpy(rankdata(heat.flatten(1), axis=1)) for heat in (first, second))
    return _correlation(*ranks)


def _correlation(*both: Float[Tensor, "galaxy ..."]) -> PerGalaxy:
    """Return Pearson's correlation; 0 if one of the two is constant."""
    a, b = (each.flatten(1).double() for each in both)
    a, b = (each - each.mean(1, keepdim=True) for each in (a, b))
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-12)


def ssim(first: Heat, second: Heat) -> PerGalaxy:
    """Return the structural similarity, -1 to 1, averaged over pixels.

    Wang et al. 2004 (IEEE TIP 13, 600), eq. 13, K = (0.01, 0.03), a Gaussian window of 1.5 px."""
    a, b = first.double().numpy(), second.double().numpy()
    values = np.stack([a, b, a * a, a * b, b * b])
    mean_a, mean_b, aa, ab, bb = ndimage.gaussian_filter(values, (0, 0, 1.5, 1.5))
    means = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
    covariance, variances = ab - mean_a * mean_b, aa - mean_a**2 + bb - mean_b**2
    local = means * (2 * covariance + 0.03**2) / (variances + 0.03**2)
    return torch.from_numpy(local.mean((1, 2)))


def galaxy_mask(images: Images) -> Bool[Tensor, "galaxy size size"]:
    """Mask the pixels of the central galaxy.

    These are brighter than the sky by 3 sigma of its noise and by 2 % of full brightness, and
    connected to the one of them nearest to the centre. Brightness is the mean of the bands; sky and
    noise are the median and 1.4826 times the median absolute deviation of the frame's border.
    Thresholding follows Bertin & Arnouts 1996 (A&AS 117, 393), but without deblending: a neighbour
    that touches the galaxy counts as part of it."""
    light = gradcam.floats(images.cpu()).mean(1)
    outer = gradcam.border(light)  # (galaxy, pixel)
    ground = outer.median(1, keepdim=True).values
    noise = 1.4826 * (outer - ground).abs().median(1, keepdim=True).values
    above = (light > (ground + (3 * noise).clamp_min(FAINTEST))[..., None]).numpy()
    x = np.arange(light.shape[-1]) - (light.shape[-1] - 1) / 2
    for bright in above:
        objects: Any = ndimage.label(bright)
        central = np.where(bright, np.hypot(x, x[:, None]), np.inf).argmin()
        bright &= objects[0] == objects[0].flat[central]
    return torch.from_numpy(above)


def heat_on_galaxy(images: Images, heat: Heat) -> PerGalaxy:
    """Return the fraction of the heat on the galaxy (`galaxy_mask`); 0 without any heat.

    The pointing game of Zhang et al. 2016 (arXiv 1608.00507), for all heat instead of one pixel."""
    return (heat * galaxy_mask(images)).sum((1, 2)) / heat.sum((1, 2)).clamp_min(torch.finfo().tiny)


def rotation_agreement(
    model: nn.Module, images: Images, target: Target, **options: Any
) -> PerGalaxy:
    """Correlate a galaxy's map with that of the rotated galaxy, rotated back.

    Mean over the 7 other rotations by 90 degrees and mirror images. 1 if the map rotates with the
    galaxy; 0 for a constant map. `options` are those of `maps`."""
    return _agreement(
        [gradcam.maps(model, v, target, **options) for v in pixels.orientations(images)]
    )


def _agreement(heat: list[Heat]) -> PerGalaxy:
    first, *others = (pixels.orientations(each)[BACK[k]] for k, each in enumerate(heat))
    return torch.stack([_correlation(first, other) for other in others]).mean(0)


def compare(
    model: nn.Module,
    images: Images,
    target: Target,
    *,
    methods: Sequence[str] = (*gradcam.METHODS, *gradcam.CONTROLS),
    score: Target | None = None,
    **options: Any,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score several methods on the same galaxies; return the scores and the curves.

    The curves follow `score`, by default the target: a probability is more informative than the
    logit that the map explains. `options` are those of `maps`.

    Columns of both tables: method, value (mean over galaxies), low, high (95 %, bootstrap over
    galaxies; NaN for a single one), n. Of the curves: curve (`deletion` or `insertion`) and
    fraction (of pixels). Of the scores: score, and gain, gain_low, gain_high, the improvement over
    the `centred` control, paired by galaxy (NaN without it).

    The scores (`BETTER`): the `area` under the curves of `deletion` and `insertion`; `randomised`,
    the `rank_correlation` with the map of a fully randomised model; `on galaxy`, `heat_on_galaxy`;
    `rotation`, `rotation_agreement`."""
    model, follow = gradcam.frozen(model), score or target
    how: dict[str, Any] = {"methods": methods} | options
    heat = gradcam.several(model, images, target, **how)
    untrained = gradcam.several(randomised(model), images, target, **how)
    views = pixels.orientations(images)[1:]
    turned = [heat, *(gradcam.several(model, view, target, **how) for view in views)]
    curves: dict[tuple[str, str], Tensor] = {}
    values: dict[tuple[str, str], ndarray] = {}
    for method, hot in heat.items():
        for kind in KINDS:
            curves[method, kind] = curve(model, images, follow, hot, kind)
            values[method, kind] = area(curves[method, kind]).numpy()
        values[method, "randomised"] = rank_correlation(hot, untrained[method]).numpy()
        values[method, "on galaxy"] = heat_on_galaxy(images, hot).numpy()
        values[method, "rotation"] = _agreement([each[method] for each in turned]).numpy()
    nothing = np.full(len(images), np.nan)
    control = {name: values.get(("centred", name), nothing) for name in BETTER}
    gains = [SIGN[BETTER[name]] * (each - control[name]) for (_, name), each in values.items()]
    scores = pd.DataFrame(list(values), columns=["method", "score"])
    scores[["value", "low", "high"]] = _means(list(values.values()))
    scores["n"] = len(images)
    scores[["gain", "gain_low", "gain_high"]] = _means(gains)
    points = [(*key, k / STEPS) for key in curves for k in range(STEPS + 1)]
    lines = pd.DataFrame(points, columns=["method", "curve", "fraction"])
    along = [point for each in curves.values() for point in each.numpy().T]
    lines[["value", "low", "high"]] = _means(along)
    return scores, lines.assign(n=len(images))


def _means(measures: Sequence[Float[ndarray, " galaxy"]]) -> Float[ndarray, "measure 3"]:
    """Return means over galaxies and the bounds of their intervals, NaN for a single galaxy."""
    several = DRAWS * (len(measures[0]) > 1)
    drawn = bootstrap_means(np.stack(measures, 1).astype(float), n_bootstrap=several, seed=0)
    return np.stack([[each.mean() for each in measures], *percentiles(drawn)], 1)


def sentences(table: pd.DataFrame) -> list[str]:
    """State for each method of `compare` whether its maps beat the control.

    They do if the whole interval of the gain is above 0. Not corrected for the number of
    methods."""
    lines = []
    for row in table.loc[
        ~table.method.isin(gradcam.CONTROLS) & table.score.isin(KINDS)
    ].itertuples():
        low, high = row.gain_low, row.gain_high
        control = row.value - SIGN[BETTER[row.score]] * row.gain
        text = "not assessed, which needs the centred control and at least two galaxies"
        if not math.isnan(low):
            text = (
                f"{VERBS[int(low > 0) - int(high < 0)]} the centred Gaussian, area {row.value:.3f} "
                f"against {control:.3f} (gain {row.gain:+.3f}, {interval(low, high, '+.3f')}, "
                f"{row.n:,} galaxies)"
            )
        lines.append(f"{row.method}, {row.score}: {text}.")
    return lines
