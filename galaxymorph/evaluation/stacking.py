"""Stack methods: combine their predicted probabilities into those of one more method.

* `mean`: the mean of the members' probabilities.
* `logistic`: a multinomial logistic regression on the members' log probabilities (Wolpert 1992),
  with one weight per member, shared by all classes and not negative (Breiman 1996), and one offset
  per class.

It is fitted on validation galaxies. No member was trained on these, but members chose their epochs
and hyper-parameters on them, so they look slightly better there than on test galaxies. The strength
of the regularisation is chosen by cross-validation, and validation galaxies are predicted out of
fold, so that their accuracy can be compared with that of other methods. Labels of test galaxies are
never used."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from galaxymorph.evaluation.entries import Entry, labels
from galaxymorph.evaluation.predictions import Galaxies, Predictions
from galaxymorph.text import listing

PROTOCOL = "stack of"
FLOOR = 1e-3  # smallest probability, so that no member alone excludes a class
STRENGTHS = np.geomspace(1e-2, 1e4, 7)  # of the regularisation; with the largest, weights are equal
FOLDS = 5
FEWEST = 2 * FOLDS  # validation galaxies to fit on

Logs = Float[ndarray, "member galaxy class"]
Labels = Int[ndarray, " galaxy"]
Table = TypeVar("Table", bound=Galaxies)


@dataclass(frozen=True)
class Fit:
    """A logistic stack: weights by member and offsets by class. Equal weights sum to 1."""

    weights: dict[str, float]
    offsets: dict[str, float]
    strength: float  # of the regularisation, as chosen by cross-validation
    n_val: int  # galaxies that it was fitted on


def members(
    entries: Iterable[Entry], *, seed: Any, n_labels: int | None, least: int = 2
) -> list[Entry]:
    """Select what can be stacked: entries of a seed and budget with predictions.

    Controls and stacks are left out. Raises `ValueError` for fewer than `least`."""
    found = [entry for entry in entries if entry.n_labels == n_labels]
    found = [entry for entry in found if entry.seed in (seed, None)]  # None: made by hand
    found = [entry for entry in found if entry.predictions and not entry.is_control]
    found = [entry for entry in found if not (entry.protocol or "").startswith(PROTOCOL)]
    if len(found) < least:
        have = listing(entry.method for entry in found) or "none"
        place = f"seed {seed}, {labels(n_labels)}"
        raise ValueError(
            f"{place}: a stack needs {least} or more methods with predictions; found {have}; "
            "train them with this seed and number of labels first"
        )
    return found


def protocol(stacked: Sequence[Entry]) -> str:
    """Name the protocol of a stack, with what qualifies that of any member (`transductive`)."""
    qualified = [word for e in stacked for word in (e.protocol or "").split(", ")[1:]]
    return ", ".join([f"{PROTOCOL} {len(stacked)}", *dict.fromkeys(qualified)])


def costs(stacked: Sequence[Entry]) -> dict[str, Any]:
    """Sum the costs of the members; what is unknown of one is unknown of the sum."""

    def known(name: str) -> list[Any]:
        found = [entry.costs.get(name) for entry in stacked]
        return [] if None in found else found

    names = [name for name in ("parameters", "flops", "training_seconds") if known(name)]
    found: dict[str, Any] = {name: sum(known(name)) for name in names}
    if speeds := known("images_per_second"):
        found["images_per_second"] = 1 / sum(1 / speed for speed in speeds)
    if len(kinds := set(known("peak_memory_of"))) == 1 and (peaks := known("peak_memory_mib")):
        found |= {"peak_memory_mib": max(peaks), "peak_memory_of": kinds.pop()}
    return found


def common(tables: dict[str, Table]) -> list[Table]:
    """Restrict tables, given by method, to the galaxies of all, in the order of the first.

    Raises `ValueError` if a test galaxy is missing in one, and if splits differ: a method could
    have been trained on what another one is tested on."""
    first, one = next(iter(tables.items()))
    shared = set.intersection(*({*table.ids} for table in tables.values()))
    ids = [name for name in one.ids if name in shared]
    found = []
    for method, table in tables.items():
        part = table.take(pd.Index(table.ids).get_indexer(pd.Index(ids)))
        found.append(part)
        if len(other := part.ids[part.split != found[0].split]):
            what = f"split of {len(other):,} galaxies differs from {first}: {listing(other, 5)}"
            raise ValueError(f"{method}: {what}; stack methods of one split")
        tested = table.ids[table.rows("test")]
        if len(lost := [name for name in tested if name not in shared]):
            what = f"{len(lost):,} test galaxies are missing in other members: {listing(lost, 5)}"
            raise ValueError(f"{method}: {what}; predict them with all members")
    return found


def mean(stacked: Sequence[Entry]) -> Predictions:
    """Average the members' probabilities, for the galaxies that all of them predict.

    Raises `ValueError` if members differ in classes, labels, splits or test galaxies."""
    parts = _aligned(stacked)
    return replace(parts[0], p=np.mean([_proper(part.p) for part in parts], axis=0))


def logistic(stacked: Sequence[Entry]) -> tuple[Predictions, Fit]:
    """Fit a logistic stack on validation galaxies, and predict the galaxies that all members do.

    Labelled validation galaxies are predicted out of fold. Raises `ValueError` as `mean` does, and
    for fewer than ten labelled validation galaxies."""
    parts = _aligned(stacked)
    one = parts[0]
    val = one.rows("val")
    if len(val) < FEWEST:
        raise ValueError(
            f"{len(val)} labelled galaxies in split 'val' are predicted by all members, at least "
            f"{FEWEST} are needed to fit a stack; predict validation galaxies with every member"
        )
    logs = np.log(np.maximum([_proper(part.p) for part in parts], FLOOR))
    inside, true = logs[:, val], one.labels[val]
    folds = _folds(one.ids[val], true)
    guesses = [_out_of_fold(inside, true, folds, strength) for strength in STRENGTHS]
    losses = [-np.log(p[np.arange(len(val)), true]).mean() for p in guesses]
    best = int(np.argmin(losses))
    weights, offsets = _fitted(inside, true, STRENGTHS[best])
    p = _combined(logs, weights, offsets)
    p[val] = guesses[best]
    names = [entry.method for entry in stacked]
    by_member, by_class = (
        dict(zip(keys, values.tolist(), strict=True))
        for keys, values in ((names, weights), (one.classes, offsets))
    )
    return replace(one, p=p), Fit(by_member, by_class, float(STRENGTHS[best]), len(val))


def _aligned(stacked: Sequence[Entry]) -> list[Predictions]:
    tables = {entry.method: entry.predictions for entry in stacked if entry.predictions}
    first, *others = tables
    classes = tables[first].classes
    for method in others:
        if (own := tables[method].classes) != classes:
            ours, theirs = ", ".join(own), ", ".join(classes)
            raise ValueError(f"{method}: classes are {ours}; {first} has {theirs}")
    parts = common(tables)
    for method, part in zip(others, parts[1:], strict=True):
        if len(odd := part.ids[part.labels != parts[0].labels]):
            what = f"labels of {len(odd):,} galaxies differ from {first}: {listing(odd, 5)}"
            raise ValueError(f"{method}: {what}; stack methods with the same labels")
    return parts


def _proper(p: Float[ndarray, "galaxy class"]) -> Float[ndarray, "galaxy class"]:
    p = np.maximum(p, 0)
    return p / p.sum(1, keepdims=True)


def _folds(ids: ndarray, true: Labels) -> Int[ndarray, " galaxy"]:
    """Deal galaxies to folds, stratified by class; the order of the rows does not matter."""
    drawn, fold = np.empty(len(ids), int), np.empty(len(ids), int)
    drawn[np.argsort(ids)] = np.random.default_rng(0).permutation(len(ids))
    fold[np.lexsort((drawn, true))] = np.arange(len(ids)) % FOLDS
    return fold


def _out_of_fold(logs: Logs, true: Labels, folds: ndarray, strength: float) -> ndarray:
    p = np.empty(logs.shape[1:])
    for fold in range(FOLDS):
        out = folds == fold
        p[out] = _combined(logs[:, out], *_fitted(logs[:, ~out], true[~out], strength))
    return p


def _fitted(logs: Logs, true: Labels, strength: float) -> tuple[ndarray, ndarray]:
    """Return weights and offsets with the largest penalised likelihood.

    The penalty draws weights to 1 / members and offsets to 0. It is scaled so that a member given
    twice changes nothing."""
    k, n, classes = logs.shape
    target = np.eye(classes)[true]

    def loss(values: ndarray) -> tuple[float, ndarray]:
        weights, offsets = values[:k], values[k:]
        log_p = log_softmax(np.tensordot(weights, logs, 1) + offsets, axis=1)
        surplus = np.exp(log_p) - target
        away = np.concatenate([k * (weights - 1 / k), offsets])
        penalty = k * ((weights - 1 / k) ** 2).sum() + (offsets**2).sum()
        slope = np.concatenate([np.tensordot(logs, surplus, 2), surplus.sum(0)])
        return (strength * penalty - (target * log_p).sum()) / n, (2 * strength * away + slope) / n

    start = np.concatenate([np.full(k, 1 / k), np.zeros(classes)])
    bounds = [(0, None)] * k + [(None, None)] * classes
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return found[:k], found[k:]


def _combined(logs: Logs, weights: ndarray, offsets: ndarray) -> Float[ndarray, "galaxy class"]:
    return softmax(np.tensordot(weights, logs, 1) + offsets, axis=1)
