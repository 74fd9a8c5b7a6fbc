"""Consistency under rotation: a galaxy has no up (Dieleman et al. 2015, arXiv 1503.07077).

Galaxies are turned in two ways, each a set of perturbations whose reference is turn 0:

* `orientations`: the 8 rotations by 90 degrees and mirror images of `pixels.orientations`; the
  reference is the original image, and nothing is resampled.
* `angles`: 16 rotations by multiples of 22.5 degrees (`ANGLES`), including 0. They are resampled,
  and must differ only in angle. They all show the same scene, because beyond the inscribed disc
  the sky is reflected (`rotated`), and corners are never black. All are smoothed equally: bilinear
  interpolation reduces the standard deviation of noise to 2/3 at any angle except multiples of 90
  degrees, where pixels would stay unchanged; all angles therefore sample `OFF_GRID` pixels off the
  centre along both axes, which smooths those four just as much.

Predictions averaged over the 8 orientations agree in all of them by construction. For averaged
predictions only angles are informative, and only the first 4 of them (0 to 67.5 degrees): adding 90
degrees gives the same 8 views again, whose agreement cannot fail."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import PurePath
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from galaxymorph import pixels
from galaxymorph.diagnostics.perturbed import REFERENCE, Output, outputs
from galaxymorph.evaluation import intervals, phrases
from galaxymorph.learning import train
from galaxymorph.learning.protocols import Predictor
from galaxymorph.pixels import Pixels
from galaxymorph.text import unknown

ANGLES = tuple(22.5 * turn for turn in range(16))  # degrees
DIFFERENT = 4  # of these, after averaging over the 8 orientations
# px: solves (1 - a)^2 + a^2 = 2/3, its mean over all a, which applies to other angles
OFF_GRID = (1 - 1 / math.sqrt(3)) / 2

SETTINGS = (("orientations", False), ("angles", False), ("angles", True))  # turns, averaged?
KEYS = ["method", "turns", "averaged", "metric"]  # identify a row over seeds
LOWEST = {"gain": -1.0, "cosine": -1.0}  # lower limits, by default 0; upper limits are 1

Predict = Callable[[Pixels], Output]


def rotated(images: Pixels, angle: float | int) -> Pixels:
    """Rotate galaxies by an angle in degrees, counterclockwise like `torch.rot90`; on the CPU.

    Bilinear and `OFF_GRID`, then rounded to 8 bits, so that any method can be applied. Beyond the
    disc inscribed in the frame, at radius r > R, the value is that at 2R - r in the same direction:
    the sky continues, and the rotated scene is the same for every angle."""
    half = (images.shape[-1] - 1) / 2  # px from the centre to the outermost pixels
    edge, turn = half - OFF_GRID, math.radians(angle)
    x = torch.arange(images.shape[-1]) - half
    across = math.cos(turn) * x - math.sin(turn) * x[:, None]  # (size, size)
    down = math.sin(turn) * x + math.cos(turn) * x[:, None]
    radius = torch.hypot(across, down)
    inwards = torch.where(radius > edge, 2 * edge / radius - 1, 1.0)
    # (1, size, size, 2), 1 is the outermost pixel
    grid = (torch.stack([across, down], -1) * inwards[..., None] + OFF_GRID)[None] / half
    found = []
    for batch in images.cpu().split(256):
        places = grid.expand(len(batch), -1, -1, -1)
        sampled = functional.grid_sample(batch.float(), places, align_corners=True)
        found.append(sampled.round().byte())
    return torch.cat(found)


def perturbations(turns: str, *, averaged: bool = False) -> dict[str, Callable[[Pixels], Pixels]]:
    """Return the turns by name, `orientations` or `angles`, with turn 0 as `REFERENCE`.

    If predictions are `averaged` over the orientations, only the angles that still differ."""
    named: dict[str, Callable[[Pixels], Pixels]] = {}
    if turns == "angles":
        for angle in ANGLES[:DIFFERENT] if averaged else ANGLES:
            named[f"{angle:g} degrees" if angle else REFERENCE] = partial(rotated, angle=angle)
    elif turns == "orientations":
        for k in range(8):
            name = f"{90 * (k % 4)} degrees{' mirrored' * (k > 3)}" if k else REFERENCE
            named[name] = lambda images, k=k: pixels.orientations(images)[k]
    else:
        raise ValueError(unknown("turns", turns, ("orientations", "angles")))
    return named


def turned(
    predict: Predict, images: Pixels, *, turns: str, average_orientations: bool = False
) -> dict[str, Output]:
    """Apply a method to galaxies in every turn (`perturbed.outputs` under `perturbations`).

    With `average_orientations`, outputs are averaged over the 8 orientations of each turned galaxy
    (test-time averaging), for the angles that still differ then."""

    def averaged(images: Pixels) -> Output:
        return torch.stack([predict(view) for view in pixels.orientations(images)]).mean(0)

    asked = averaged if average_orientations else predict
    return outputs(asked, images, perturbations(turns, averaged=average_orientations))


def features_and_predictions(learner: nn.Module) -> Predict:
    """Return a function that gives the features of a learner's encoder and then its predictions.

    Both are columns of the output; a learner without `predict` gives features only. Each image
    passes through the encoder once."""
    encoder: Any = learner.encoder

    def asked(images: Pixels) -> Output:
        if not isinstance(learner, Predictor):
            return train.embed(encoder, images)
        kept: list[Output] = []
        note = encoder.register_forward_hook(lambda _, __, found: kept.append(found.float().cpu()))
        with note:
            predicted = train.predict(learner, images)
        return torch.cat([torch.cat(kept), predicted], 1)

    return asked


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Average over seeds: a row per method, turns, averaged (over orientations) and metric.

    `table` has the rows of `perturbed.of_predictions` and `of_features`, and columns method, seed,
    turns and averaged; its order is kept. The result has these keys without seed, and value (mean),
    low, high, n (galaxies per seed; the fewest), seeds, interval (what low and high are).

    low and high, with two seeds or more: the 95 % t-interval of the mean, clipped to the metric's
    range; with one, those of `table`. Seeds are treated as independent although their galaxies
    overlap. Raises `ValueError` for a duplicate seed."""
    rows = []
    groups: Any = table.groupby(KEYS, sort=False)
    for (method, turns, averaged, metric), group in groups:
        twice = group.loc[group["seed"].duplicated(), "seed"]
        if len(twice):
            what = f"{method}, {turns}, averaged {averaged}, {metric}"
            raise ValueError(f"{what}: duplicate seed {twice.iloc[0]}; keep one row per seed")
        n, kind = len(group), "t over seeds"
        values, variances = group["value"].tolist(), [0.0] * n
        if len(set(values)) == 1:  # such as 1: what the galaxies of a seed may not have shown
            variances = ((group["high"] - group["low"]) / 4).pow(2).fillna(0.0).tolist()
        mean = intervals.over_seeds(values, variances, 0.0)
        ends = mean.interval(LOWEST.get(metric, 0.0), 1.0)
        if n == 1:
            kind, ends = "over galaxies", group[["low", "high"]].iloc[0]
        key = (method, turns, averaged, metric)
        rows.append((*key, mean.value, *ends, group["n"].min(), n, kind))
    return pd.DataFrame(rows, columns=[*KEYS, "value", "low", "high", "n", "seeds", "interval"])


def methods(models: Sequence[str]) -> dict[str, str]:
    """Map the method of each model file to its path.

    `models/mock/resnet18/seed=0.safetensors` belongs to `resnet18`,
    `.../resnet18/seed=0,n_labels=50.safetensors` to `resnet18 n_labels=50`, any other file to its
    own name. Raises `ValueError` without a model, and for two of one method: each seed has its own
    test galaxies, so one job measures one seed."""
    if not models:
        raise ValueError("models: none given; list the model files to be measured")
    found: dict[str, str] = {}
    for path in models:
        file = PurePath(path)
        step, pairs = file.stem, list[str]()
        if "=" in file.stem:
            step, pairs = file.parent.name, file.stem.split(",")
        kept = [pair for pair in pairs if not re.match("seed=|n_labels=null$", pair)]
        method = " ".join([step, *kept])
        if method in found:
            both = f"{found[method]} and {path} both belong to {method}"
            raise ValueError(f"models: {both}; give one seed of each method")
        found[method] = path
    return found


def sentences(table: pd.DataFrame, val_accuracy: Mapping[str, float]) -> list[str]:
    """State what a table of `over_seeds` means for the best method.

    It has the highest `val_accuracy`, independent of test galaxies. Empty if none has classes."""
    if not val_accuracy:
        return []
    best = max(val_accuracy, key=lambda method: val_accuracy[method])
    rows = table.loc[table.method == best].set_index(["turns", "averaged", "metric"])

    def share(turns: str, averaged: bool = False, metric: str = "agreement", sign: str = "") -> str:
        row: Any = rows.loc[(turns, averaged, metric)]
        row = {metric: row["value"], f"{metric}_low": row["low"], f"{metric}_high": row["high"]}
        return phrases.with_interval(row, metric, f"{sign}.3f")

    first: Any = rows.loc[("angles", False, "agreement")]
    return [
        f"{best}, the best on validation galaxies ({val_accuracy[best]:.3f}), gives a turned "
        f"galaxy the same class in {share('angles')} of the 15 other angles, and with test-time "
        f"averaging over the 8 orientations in {share('angles', True)} of the 3 that then differ; "
        f"in the 7 other orientations, without averaging, in {share('orientations')} (means over "
        "galaxies with 95 % intervals). Averaging over orientations changes its accuracy by "
        f"{share('orientations', metric='gain', sign='+')} "
        f"({phrases.tested({'seeds': first.seeds, 'n_test': first.n})})."
    ]
