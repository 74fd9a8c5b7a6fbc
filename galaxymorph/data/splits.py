"""galaxymorph.data.splits"""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray

from galaxymorph.data.galaxies import Galaxies
from galaxymorph.text import listing

Target = Literal["classes", "votes"]


def drawn_order(ids: ndarray, seed: int) -> ndarray:
    """Row numbers in an order that depends on nothing but the seed and each id: a galaxy more or
    less moves no other."""
    keys = [hashlib.sha256(f"{seed}:{id}".encode()).digest() for id in ids]
    return np.array(sorted(range(len(ids)), key=keys.__getitem__), dtype=int)


def strata_of(galaxies: Galaxies, target: Target) -> Int64[ndarray, " galaxy"]:
    """The stratum of each galaxy: its class, one more for those of no class if `target` is votes,
    -1 for the unlabelled."""
    strata = galaxies.labels.numpy().copy()
    if target == "votes":
        voted = (
            torch.zeros(len(galaxies), dtype=torch.bool)
            if galaxies.votes is None
            else galaxies.votes.isfinite().all(1)
        )
        strata[(strata < 0) & voted.numpy()] = len(galaxies.classes)
    return strata


def drawn_split(
    galaxies: Galaxies,
    strata: Int64[ndarray, " galaxy"],
    *,
    test: float,
    val: float,
    seed: int,
    remedy: str | None,
) -> None:
    """Give the galaxies of each stratum, in seeded order, to test, val and train.

    `remedy` is for the error where a stratum is too small for that; without one, its galaxies are
    to train on."""
    galaxies.split = np.full(len(galaxies), "unlabelled")
    order = drawn_order(galaxies.ids, seed)
    ordered = strata[order]
    parts = ["train"] + ["val"] * (val > 0) + ["test"] * (test > 0)
    least = len(parts)
    counts = np.bincount(ordered[ordered >= 0], minlength=len(galaxies.classes))
    few = [
        f"{name} ({count})"
        for name, count in zip(galaxies.classes, counts, strict=False)
        if count < least
    ]
    if few and remedy is not None:
        raise ValueError(
            f"too few galaxies to split: class {listing(few)}; each class needs at least {least}, one for each of "
            f"{', '.join(parts)}. {remedy}"
        )
    for stratum, count in enumerate(counts):
        rows = order[ordered == stratum]
        n_test, n_val = (max(1, round(part * count)) if part else 0 for part in (test, val))
        n_test = max(0, min(n_test, count - 1 - (val > 0)))  # leave one each for val and train
        n_val = max(0, min(n_val, count - 1 - n_test))
        galaxies.split[rows] = "train"
        galaxies.split[rows[: n_test + n_val]] = "val"
        galaxies.split[rows[:n_test]] = "test"


def limit_labels(
    galaxies: Galaxies,
    strata: Int64[ndarray, " galaxy"],
    target: Target,
    *,
    n_labels: int | None,
    label_fraction: float | None,
    seed: int,
) -> None:
    """Take labels and votes from all but `n_labels` training galaxies, the same fraction of each
    stratum.

    All training galaxies stand in one queue, in which every stratum is spread evenly, its first
    galaxy at the very front. The first `n_labels` keep their labels, so that a smaller set is
    always part of a larger one."""
    if n_labels is None and label_fraction is None:
        return
    order = drawn_order(galaxies.ids, seed)
    order = order[galaxies.split[order] == "train"]
    ordered = strata[order]
    present = np.unique(ordered)
    place = np.empty(len(order))
    for stratum in present:
        same = ordered == stratum
        place[same] = (np.arange(same.sum()) + 0.5) / same.sum()
        place[np.flatnonzero(same)[0]] = 0
    queue = order[np.argsort(place, kind="stable")]
    if n_labels is None:
        n_labels = max(len(present), round((label_fraction or 0) * len(queue)))
    if not len(present) <= n_labels <= len(queue):
        raise ValueError(
            f"n_labels = {n_labels}, but it must lie between {len(present)} (one label for each class) and {len(queue)} (all "
            "training galaxies with a label)"
        )
    left = torch.from_numpy(queue[n_labels:])
    galaxies.split[queue[n_labels:]] = "unlabelled"
    galaxies.labels[left] = -1
    for told in (galaxies.votes, galaxies.volunteers):
        if told is not None and target == "votes":
            told[left] = torch.nan
