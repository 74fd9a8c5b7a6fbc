"""Consistency of a method under perturbations that leave a galaxy's class unchanged.

Any change is the method's error, and no label is needed to see it. (A method that always predicts
the same class is perfectly consistent: read these numbers together with its accuracy.)

Perturbations are functions from images to images, by name; the one called `REFERENCE` gives the
images that the others are compared with.

Tables of predictions have a row per galaxy and perturbation: `id`, `perturbation`, `label` (a
class's name, empty if unknown; this column is optional) and `p_<class>` for each class."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Shaped
from numpy import ndarray
from torch import Tensor

from galaxymorph.evaluation.intervals import bootstrap_means, percentiles, wilson
from galaxymorph.evaluation.predictions import predictions_in
from galaxymorph.text import listing

REFERENCE = "reference"
COLUMNS = ["metric", "value", "low", "high", "n"]  # n: galaxies

Output = Float[Tensor, "galaxy output"]
Probabilities = Float[ndarray, "perturbation galaxy class"]
Outputs = Mapping[str, Output]  # by perturbation


def outputs(
    predict: Callable[[Tensor], Tensor],
    images: Shaped[Tensor, "galaxy 3 size size"],
    perturbations: Mapping[str, Callable[[Tensor], Tensor]],
) -> dict[str, Output]:
    """Apply a method to the same galaxies under each of the perturbations.

    `predict` maps images to class probabilities or features, like `train.predict` or
    `train.embed`."""
    return {name: predict(perturb(images)) for name, perturb in perturbations.items()}


def table(
    probabilities: Outputs,
    *,
    ids: Shaped[ndarray, " galaxy"],
    labels: Shaped[ndarray, " galaxy"],
    classes: Sequence[str],
) -> pd.DataFrame:
    """Make the table of predictions; `labels` are names of classes, empty if unknown."""
    n = len(probabilities)
    head = {"id": np.tile(ids, n), "perturbation": np.repeat(list(probabilities), len(ids))}
    head["label"] = np.tile(labels, n)
    p = torch.cat(list(probabilities.values())).double().numpy()
    return pd.DataFrame(head | {f"p_{name}": p[:, k] for k, name in enumerate(classes)})


def of_predictions(table: pd.DataFrame, *, n_bootstrap: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Measure how consistent predictions are, a row of `COLUMNS` per metric.

    * agreement: the share of predictions, other than the reference, that give the class of the
      reference, mean over galaxies.
    * same: the share of galaxies with the same class under all perturbations.
    * spread: the standard deviation over perturbations of the probability of the reference's class,
      mean over galaxies.
    * With labels, accuracy of the reference; accuracy_turned, mean over all perturbations;
      accuracy_averaged, of the mean probabilities over all perturbations; gain, accuracy_averaged -
      accuracy.

    low and high, 95 %: Wilson's interval (1927) for shares of galaxies (same, accuracy,
    accuracy_averaged); otherwise a bootstrap over galaxies, paired for gain. If every galaxy agrees
    under all perturbations, the bootstrap has no width; agreement, which is never less than same,
    then has the lower bound of same.

    Raises `ValueError`, naming the rows, for a galaxy that does not occur once under every
    perturbation, an unknown label or one that differs between perturbations, and invalid
    probabilities; also for missing columns, fewer than two perturbations, or no reference."""
    true, p = _checked(table)
    taken = p.argmax(2)  # (perturbation, galaxy)
    agree, known = taken[1:] == taken[0], true >= 0
    each = {
        "agreement": agree.mean(0),
        "same": agree.all(0),
        "spread": np.take_along_axis(p, taken[:1, :, None], 2)[..., 0].std(0),
    }
    if known.any():
        right = (taken == true)[:, known]
        averaged = p.mean(0).argmax(1)[known] == true[known]
        each |= {"accuracy": right[0], "accuracy_turned": right.mean(0)}
        each |= {"accuracy_averaged": averaged, "gain": averaged.astype(float) - right[0]}
    rows = []
    for metric, values in each.items():
        if values.dtype == bool:
            low, high = wilson(int(values.sum()), len(values))
        else:
            means = bootstrap_means(values[:, None], n_bootstrap=n_bootstrap, seed=seed)
            low, high = percentiles(means)[:, 0].tolist()
            if metric == "agreement" and agree.all() and n_bootstrap:
                low, high = wilson(len(values), len(values))
        rows.append((metric, float(values.mean()), low, high, len(values)))
    return pd.DataFrame(rows, columns=COLUMNS)


def of_features(features: Outputs, *, n_bootstrap: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Measure how consistent features of perturbed galaxies are, a row of `COLUMNS` per metric.

    * cosine: of the angle between the features of a perturbed galaxy and those of the reference,
      averaged over the other perturbations and galaxies. The mean of all features is subtracted
      first, because a direction shared by all galaxies is uninformative. It is 1 if features do
      not change, 0 if they are no more similar than those of different galaxies.
    * between_turns: the share of the features' variance that perturbations of a galaxy cause: the
      sum of squares about each galaxy's mean, divided by that about the overall mean (one-way
      analysis of variance, Fisher 1925). It is 0 if features do not change, and about 1 - 1 /
      perturbations if they are unrelated to the galaxy.

    Features are not rescaled, so those that vary most count most, as for nearest neighbours. low
    and high: 95 %, percentiles of a bootstrap over galaxies. NaN if all features are equal.

    Raises `ValueError` for fewer than two perturbations or galaxies, and no reference."""
    names = _ordered(list(features))
    values = torch.stack([features[name] for name in names]).double().numpy()
    if values.shape[1] < 2:
        raise ValueError(f"features: expected at least two galaxies, found {values.shape[1]}")
    if not np.isfinite(values).all():
        row, galaxy, _ = np.argwhere(~np.isfinite(values))[0]
        whose = f"galaxy {galaxy} (from 0) under {names[row]!r}"
        raise ValueError(f"the features of {whose} are not finite")
    values = values - values.mean((0, 1))
    lengths = np.linalg.norm(values, axis=2)
    within = np.square(values - values.mean(0)).sum((0, 2))
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        cosine = ((values[1:] * values[0]).sum(2) / (lengths[1:] * lengths[0])).mean(0)
        parts = np.stack([cosine, within, np.square(lengths).sum(0)], 1)  # (galaxy, 3)
        means = bootstrap_means(parts, n_bootstrap=n_bootstrap, seed=seed)
        means = np.concatenate([parts.mean(0)[None], means])
        found = np.stack([means[:, 0], means[:, 1] / means[:, 2]], 1)  # first row: not resampled
    rows = zip(("cosine", "between_turns"), found[0], *percentiles(found[1:]), strict=True)
    return pd.DataFrame([(*row, len(parts)) for row in rows], columns=COLUMNS)


def _ordered(names: Sequence[str]) -> list[str]:
    """Check the names of perturbations, and put the reference first."""
    if len(names) < 2 or REFERENCE not in names:
        have = listing(names, 5) or "none"
        raise ValueError(
            f"perturbations: expected at least two, including {REFERENCE!r}, found {have}"
        )
    return [REFERENCE, *(name for name in names if name != REFERENCE)]


def _checked(table: pd.DataFrame) -> tuple[Int[ndarray, " galaxy"], Probabilities]:
    """True classes as indices (-1: unknown) and probabilities, with galaxies in the same order."""
    missing = [name for name in ("id", "perturbation") if name not in table.columns]
    if missing:
        raise ValueError(f"column {listing(map(repr, missing), 5)} is missing")
    known = {} if "label" in table.columns else {"label": ""}
    table = table.sort_values(by="id", kind="stable").assign(split="", **known)
    kept = ["id", "split", "label", *(c for c in table.columns if str(c).startswith("p_"))]
    parts = {}
    for name in _ordered(table["perturbation"].unique().tolist()):
        rows = table.loc[table["perturbation"] == name, kept]
        try:
            parts[name] = predictions_in(rows)
        except ValueError as error:
            raise ValueError(f"under {name!r}: {error}") from None
    first = parts[REFERENCE]
    for name, part in parts.items():
        pairs = (zip(each.ids, each.labels, strict=True) for each in (first, part))
        odd = sorted({galaxy for galaxy, _ in set.symmetric_difference(*map(set, pairs))})
        if odd:
            both = f"both {REFERENCE!r} and {name!r} with one label"
            raise ValueError(f"galaxies that do not occur under {both}: {listing(odd, 5)}")
    p = np.stack([part.p for part in parts.values()])
    return first.labels, p / p.sum(2, keepdims=True)
