"""Draw splits and label sets that depend only on the seed and each galaxy's id."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int64
from numpy import ndarray

from galaxymorph.data.galaxies import Galaxies
from galaxymorph.text import listing

Target = Literal["classes", "votes"]
Strata = Int64[ndarray, " galaxy"]


def drawn_order(ids: ndarray, seed: int | str) -> ndarray:
    """Return row numbers in a seeded order; adding or removing galaxies keeps the others' order."""
    keys = [hashlib.sha256(f"{seed}:{id}".encode()).digest() for id in ids]
    return np.array(sorted(range(len(ids)), key=keys.__getitem__), dtype=int)


def strata_of(galaxies: Galaxies, target: Target) -> Strata:
    """Return each galaxy's class, -1 if unlabelled; votes without a class are an extra stratum."""
    strata = galaxies.labels.numpy().copy()
    if target == "votes" and galaxies.votes is not None:
        voted = galaxies.votes.isfinite().all(1).numpy()
        strata[(strata < 0) & voted] = len(galaxies.classes)
    return strata


def fold_of(galaxies: Galaxies, strata: Strata, *, folds: int, draw: int) -> Strata:
    """Return each galaxy's fold, -1 if unlabelled.

    The galaxies of one stratum after the other, in an order drawn from their ids, are dealt to the
    folds in turn. So folds differ by at most one galaxy, in all and in each stratum. They hold for
    this set of galaxies: one galaxy more or less moves others to another fold."""
    order = drawn_order(galaxies.ids, f"folds {draw}")
    order = order[strata[order] >= 0]
    turn = pd.factorize(strata[order])[0]  # of first appearance: independent of names of classes
    turn[strata[order] == len(galaxies.classes)] = len(galaxies.classes) + 1  # no class: last
    folded = np.full(len(strata), -1)
    folded[order[np.argsort(turn, kind="stable")]] = np.arange(len(order)) % folds
    return folded


def drawn_split(
    galaxies: Galaxies,
    strata: Strata,
    *,
    test: float,
    val: float,
    folds: int | None = None,
    seed: int,
    remedy: str | None,
) -> None:
    """Assign the galaxies of each stratum, in seeded order, to test, val and train.

    With `folds`, test is fold seed % folds of draw seed // folds (`fold_of`) instead of a fraction.
    A split that the data came with is kept; a part that it lacks is drawn from its train. `remedy`
    is part of the error for too small a class; if None, its galaxies go to train first."""
    given, labelled = galaxies.split, strata >= 0
    if folds and (given[labelled] != "unlabelled").any():
        remove = "Remove folds to keep it, or give the data without a split"
        raise ValueError(f"the data come with a split, but folds = {folds} draws one. {remove}")
    kept = [part for part in ("val", "test") if (given[labelled] == part).any()]
    test, val = (0.0 if part in kept else n for part, n in (("test", test), ("val", val)))
    drawn = labelled
    if (given[labelled] != "unlabelled").any():
        drawn = labelled & (given == "train")
        galaxies.notes.append(_given(galaxies, strata, kept, {"val": val, "test": test}))
    galaxies.split = np.where(labelled & np.isin(given, kept), given, "unlabelled")
    order = drawn_order(galaxies.ids, seed)
    order = order[drawn[order]]
    ordered = strata[order]
    parts = ["train"] + ["val"] * (val > 0) + ["test"] * (test > 0)
    least, why = len(parts), f"one for each of {', '.join(parts)}"
    if folds:  # of two folds, the other one holds train and val
        least, why = 4 if folds == 2 and val else folds, f"to be in each of {folds} folds"
    counts = np.bincount(ordered, minlength=len(galaxies.classes))
    few = [f"{name} ({n})" for name, n in zip(galaxies.classes, counts, strict=False) if n < least]
    if few and remedy is not None:
        needs = f"each class needs at least {least}, {why}"
        if len(few) == len(galaxies.classes) > 20:
            remedy = f"Are these classes? label_column chooses another column of a table. {remedy}"
        raise ValueError(f"too few galaxies to split: class {listing(few)}; {needs}. {remedy}")
    tested = np.zeros(len(strata), bool)
    if folds:
        if len(order) < least:
            raise ValueError(f"{len(order)} labelled galaxies are too few for {folds} folds")
        draw, fold = divmod(seed, folds)
        tested = fold_of(galaxies, strata, folds=folds, draw=draw) == fold
        once = f"seeds {seed - fold} to {seed - fold + folds - 1} test each of the {len(order):,}"
        of = f"fold {fold} of {folds} (draw {draw})"
        galaxies.notes.append(f"test galaxies: {of}, {tested.sum():,}; {once} once")
    for stratum, count in enumerate(counts):
        rows = order[ordered == stratum]
        n_test, n_val = (max(1, round(part * count)) if part else 0 for part in (test, val))
        n_test = max(0, min(n_test, count - 1 - (val > 0)))  # leave one each for val and train
        if folds:
            rows = rows[np.argsort(~tested[rows], kind="stable")]
            n_test = int(tested[rows].sum())
        n_val = max(0, min(n_val, count - 1 - n_test))
        galaxies.split[rows] = "train"
        galaxies.split[rows[: n_test + n_val]] = "val"
        galaxies.split[rows[:n_test]] = "test"


def _given(
    galaxies: Galaxies, strata: Strata, kept: Sequence[str], options: Mapping[str, float]
) -> str:
    """Describe the given split. Raises `ValueError` if one of its parts lacks a class."""
    counted = []
    for part in ("train", *kept):
        present = strata[(galaxies.split == part) & (strata >= 0)]
        lacking = [name for at, name in enumerate(galaxies.classes) if at not in present]
        if lacking:
            what = f"the given split has no {part} galaxies of class {listing(lacking)}"
            raise ValueError(f"{what}. Add some, or give the data without a split to draw one")
        counted.append(f"{len(present):,} {part}")
    note = f"split as given: {', '.join(counted)}"
    if drawn := [part for part, fraction in options.items() if fraction]:
        note += f"; {' and '.join(drawn)} drawn from train"
    return note + (f"; options not used: {listing(kept)}" if kept else "")


def limit_labels(
    galaxies: Galaxies,
    strata: Strata,
    target: Target,
    *,
    n_labels: int | Sequence[str] | None,
    fraction: float | None,
    seed: int,
) -> None:
    """Remove labels and votes from all training galaxies except `n_labels`, or except these ids.

    Training galaxies form one queue in which each stratum is spread evenly, with its first galaxy
    at the front. The first `n_labels`, or `fraction` of all, keep their labels, so a smaller set is
    part of every larger one and has at least one galaxy per class. Raises `ValueError` for too few
    or too many labels, a class without any, and ids that are unknown, duplicate or not in train."""
    if n_labels is None and fraction is None:
        return
    order = drawn_order(galaxies.ids, seed)
    order = order[galaxies.split[order] == "train"]
    ordered = strata[order]
    present = np.unique(ordered)
    if not isinstance(n_labels, Sequence):
        same = pd.Series(ordered).groupby(ordered)
        rank = same.cumcount()
        place = ((rank + 0.5) / same.transform("size")).where(rank > 0, 0)
        queue = order[np.argsort(place, kind="stable")]
        if n_labels is None:
            n_labels = max(len(present), round((fraction or 0) * len(queue)))
        if not len(present) <= n_labels <= len(queue):
            low = f"{len(present)} (one label for each class)"
            high = f"{len(queue)} (all training galaxies with a label)"
            raise ValueError(f"n_labels = {n_labels}, but it must lie between {low} and {high}")
        left = queue[n_labels:]
    else:
        kept = _rows_in_train(galaxies, n_labels)
        if missing := set(present.tolist()) - set(strata[kept].tolist()):
            names = [[*galaxies.classes, "none"][stratum] for stratum in sorted(missing)]
            raise ValueError(f"n_labels has no training galaxy of class {listing(names)}")
        left = np.setdiff1d(order, kept)
    galaxies.split[left] = "unlabelled"
    galaxies.labels[torch.from_numpy(left)] = -1
    for known in (galaxies.votes, galaxies.volunteers):
        if known is not None and target == "votes":
            known[torch.from_numpy(left)] = torch.nan


def _rows_in_train(galaxies: Galaxies, ids: Sequence[str]) -> list[int]:
    """Return the rows of these ids, which must be labelled training galaxies, each given once."""
    rows = {id: row for row, id in enumerate(galaxies.ids.tolist())}
    where = {id: galaxies.split[rows[id]] if id in rows else "unknown" for id in ids}
    if len(where) < len(ids):
        twice = [id for id, count in Counter(ids).items() if count > 1]
        raise ValueError(f"n_labels: duplicate ids {listing(twice)}")
    if others := [f"{id} ({split})" for id, split in where.items() if split != "train"]:
        raise ValueError(f"n_labels: not training galaxies with a label: {listing(others)}")
    return [rows[id] for id in ids]
