"""Choose the galaxies to label next: tables and arrays in, ids out.

* `random`: the yardstick, which every other rule has to beat.
* `margin`, `entropy`: the galaxies whose predicted classes are least certain (Settles 2009).
* `bald`: those about whose class several predictions disagree, such as draws of dropout or an
  ensemble of seeds (Houlsby et al. 2011, arXiv 1112.5745; Gal et al. 2017, arXiv 1703.02910; for
  Galaxy Zoo: Walmsley et al. 2020, arXiv 1905.07424).
* `coreset`: those farthest in feature space from all labelled ones, greedy k-centre (Sener &
  Savarese 2018, arXiv 1708.00489).
* `typical`: the most typical galaxy of each cluster that has no label yet (TypiClust, Hacohen et
  al. 2022, arXiv 2202.02794).
* `typical-margin`: `typical` up to 50 labels, then `margin` (after Doucet et al. 2024, arXiv
  2403.03728).

**The random sample.** Galaxies that a rule chooses are not like the others, so no fraction of them
estimates that of all. Therefore a share of each batch, 10 %, comes at random: a seeded order of all
galaxies, which depends only on their ids, begins with a reserve of 10 % that is closed to the rule,
and random galaxies are taken from its front. Those labelled so far are then a simple random sample
of all galaxies, whatever the rule, and estimates from it (`estimates`) are unbiased. That needs one
seed in all rounds. Galaxies that were labelled before the first round (`Pool.before`) are not part
of what is sampled."""

import functools
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors

from galaxymorph.evaluation.intervals import wilson
from galaxymorph.evaluation.predictions import TOLERANCE, Names, in_rows
from galaxymorph.text import unknown

SHARE = 0.1  # of each batch, chosen at random
FIRST = 50  # labels until `typical-margin` changes to margin
CLUSTERS = 500  # at most, as in TypiClust
NEIGHBOURS = 20  # whose mean distance says how typical a galaxy is
LARGE = 3000  # galaxies from which k-means works on small batches

Flags = Bool[ndarray, " galaxy"]
Rows = Int[ndarray, " row"]
Scores = Float[ndarray, " row"]
Features = Float[ndarray, "galaxy feature"]
Chances = Float[ndarray, "*member galaxy class"]


@dataclass(frozen=True, eq=False)
class Pool:
    """All galaxies, labelled or not, and what is known of them.

    Raises `ValueError` for duplicate ids, lengths that differ, probabilities that do not sum to 1
    and features that are not finite."""

    ids: Names
    known: Flags  # labelled, or looked at: never chosen
    p: Float[ndarray, "galaxy class"] | None = None  # predicted probabilities
    several: Float[ndarray, "member galaxy class"] | None = None  # of several predictions
    features: Features | None = None  # scaled as distances should be
    before: Flags | None = None  # known before the first round

    def __post_init__(self) -> None:
        n, several = len(self.ids), self.several
        lengths = {name: len(each) for name, each in vars(self).items() if each is not None}
        if several is not None:
            lengths["several"] = several.shape[1]
        if set(lengths.values()) != {n}:
            raise ValueError(f"lengths differ: {lengths}")
        twice = pd.Series(self.ids).duplicated(keep=False)
        if twice.any():
            raise ValueError(f"duplicate id, {in_rows(twice, self.ids)}; keep one row per galaxy")
        for p in [*([] if self.p is None else [self.p]), *([] if several is None else several)]:
            wrong = ~((abs(p.sum(1) - 1) <= TOLERANCE) & (p >= -TOLERANCE).all(1))  # also for NaN
            if wrong.any():
                where = in_rows(wrong, self.ids, p.sum(1).round(4))
                raise ValueError(f"probabilities do not sum to 1, {where}")
        if self.features is not None and (odd := ~np.isfinite(self.features).all(1)).any():
            raise ValueError(f"features are not finite, {in_rows(odd, self.ids)}")


class Batch(NamedTuple):
    """What a rule may choose from, and how many."""

    pool: Pool
    free: Rows  # galaxies that may be chosen, in seeded order: ties go to the first
    taken: Flags  # labelled, or chosen already
    n: int
    seed: int


class Choice(NamedTuple):
    rows: Rows  # the first is the most wanted
    scores: Scores  # larger is more wanted
    by: str  # the rule


def choose(
    pool: Pool, n: int, *, rule: str = "margin", share: float = SHARE, seed: int = 0
) -> pd.DataFrame:
    """Choose `n` galaxies to label next, or all that are left.

    Args:
        rule: one of `RULES`.
        share: fraction of the galaxies chosen at random, rounded up.
        seed: of the random order and of k-means; the same in all rounds.

    Returns a table of `id`, `chosen_by` (random, or the rule) and `score` (empty for random). The
    random galaxies come first. Raises `ValueError` if nothing is left, and for a rule that is
    unknown or lacks what it needs."""
    if n < 1 or not 0 <= share <= 1:
        raise ValueError(f"{n=}, {share=}: expected at least 1 galaxy, and a share from 0 to 1")
    if rule not in RULES:
        raise ValueError(unknown("rule", rule, RULES))
    if pool.known.all():  # also: none at all
        raise ValueError(f"all {len(pool.ids):,} galaxies have a label: nothing to choose from")
    order, share = _order(pool, seed), 1.0 if rule == "random" else share
    reserve = _part(len(order), share)
    closed, free = (part[~pool.known[part]] for part in (order[:reserve], order[reserve:]))
    n_random = max(_part(n, share), n - len(free))  # at the end only the reserve is left
    drawn, taken = closed[:n_random], pool.known.copy()
    taken[drawn] = True
    wanted, chosen = min(n - len(drawn), len(free)), Choice(free[:0], np.empty(0), rule)
    if wanted > 0:
        chosen = METHODS[rule](Batch(pool, free, taken, wanted, seed))
    parts = [
        (drawn, "random", np.full(len(drawn), np.nan)),
        (chosen.rows, chosen.by, chosen.scores),
    ]
    tables = [pd.DataFrame({"id": pool.ids[r], "chosen_by": by, "score": s}) for r, by, s in parts]
    return pd.concat([each for each in tables if len(each)], ignore_index=True)


def random_sample(pool: Pool, *, share: float = SHARE, seed: int = 0) -> Rows:
    """Return the rows of the random sample so far: labelled, from the front of the seeded order."""
    order = _order(pool, seed)
    front = order[: _part(len(order), share)]
    return front[: int(np.cumprod(pool.known[front]).sum())]


def estimates(
    sample: Rows,
    labels: Int[ndarray, " galaxy"],
    held_out: Float[ndarray, "galaxy class"] | None,
    classes: Sequence[str],
) -> pd.DataFrame:
    """Estimate the share of each class among all galaxies, and the accuracy of predictions.

    Args:
        sample: rows of `random_sample`.
        labels: indices into `classes`; -1 for a galaxy without a class, counted as a share of its
            own if there is one.
        held_out: predictions by a model that has not learned the label of the galaxy.

    Returns a table of quantity (accuracy, share), class, value, low, high (Wilson's 95 % interval)
    and n. The interval is too wide where the sample is a large part of all galaxies."""
    own, rows = labels[sample], []
    if held_out is not None:
        right = held_out[sample].argmax(1)[own >= 0] == own[own >= 0]
        rows.append(("accuracy", "", int(right.sum()), len(right)))
    named = [*enumerate(classes), *([(-1, "no class")] if (own < 0).any() else [])]
    rows += [("share", name, int((own == place).sum()), len(own)) for place, name in named]
    table = [
        (quantity, name, count / n if n else math.nan, *wilson(count, n), n)
        for quantity, name, count, n in rows
    ]
    return pd.DataFrame(table, columns=["quantity", "class", "value", "low", "high", "n"])


# ---- uncertainty


def margin(p: Chances) -> Float[ndarray, " galaxy"]:
    """Return 1 minus the difference of the two largest probabilities."""
    first, second = np.sort(p, axis=-1)[..., [-1, -2]].T if p.shape[-1] > 1 else (p[..., 0], 0.0)
    return 1 - (first - second)


def entropy(p: Chances) -> Float[ndarray, "*galaxy"]:
    """Return the Shannon entropy of each row of probabilities, in nats."""
    p = np.clip(p, 0, None)
    return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)


def bald(several: Float[ndarray, "member galaxy class"]) -> Float[ndarray, " galaxy"]:
    """Return the mutual information of a galaxy's class and the member: 0 if all members agree.

    Entropy of the mean prediction minus the mean entropy of the predictions, in nats."""
    return entropy(several.mean(0)) - entropy(several).mean(0)


def _by_margin(batch: Batch) -> Choice:
    return _largest(batch, margin(_of(batch.pool, "p", "margin")), "margin")


def _by_entropy(batch: Batch) -> Choice:
    return _largest(batch, entropy(_of(batch.pool, "p", "entropy")), "entropy")


def _by_bald(batch: Batch) -> Choice:
    several = _of(batch.pool, "several", "bald")
    if len(several) < 2:
        raise ValueError(f"rule 'bald' compares several predictions, not {len(several)}")
    return _largest(batch, bald(several), "bald")


def _largest(batch: Batch, scores: Float[ndarray, " galaxy"], rule: str) -> Choice:
    """Choose the largest scores; of equal ones, the first in seeded order."""
    rows = batch.free[np.argsort(-scores[batch.free], kind="stable")[: batch.n]]
    return Choice(rows, scores[rows], rule)


# ---- feature space


def _coreset(batch: Batch) -> Choice:
    """Choose again and again the galaxy farthest from its nearest labelled or chosen one.

    The first of all is the first in seeded order. The score is the distance."""
    points = _of(batch.pool, "features", "coreset")
    near = np.full(len(batch.free), np.inf)
    if batch.taken.any():
        near = _nearest(points[batch.free], points[batch.taken])
    rows, scores, own = [], [], points[batch.free]
    for _ in range(batch.n):
        at = int(near.argmax())
        rows.append(batch.free[at])
        scores.append(near[at])
        near = np.minimum(near, np.linalg.norm(own - own[at], axis=1))
        near[at] = -np.inf
    return Choice(np.array(rows), np.array(scores), "coreset")


def _nearest(points: Features, centres: Float[ndarray, "_ feature"]) -> Scores:
    parts = np.array_split(points, max(1, len(points) * len(centres) // 2**23))
    return np.concatenate([pairwise_distances(part, centres).min(1) for part in parts])


def _typical(batch: Batch) -> Choice:
    """Choose the most typical galaxy of the largest cluster with the fewest labels, repeatedly.

    Unit feature vectors are divided by k-means into as many clusters as there will be labels. The
    score is the typicality: 1 / mean distance to the nearest neighbours in the cluster."""
    points = _of(batch.pool, "features", "typical")
    points = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    n_clusters = min(int(batch.taken.sum()) + batch.n, CLUSTERS, len(np.unique(points, axis=0)))
    kind: Any = MiniBatchKMeans if len(points) > LARGE else KMeans
    means = kind(n_clusters, n_init=1, random_state=batch.seed).fit(points)
    cluster, left = means.labels_, list(range(n_clusters))
    size = np.bincount(cluster, minlength=n_clusters)
    labelled = np.bincount(cluster[batch.taken], minlength=n_clusters)
    queues, rows, scores = dict[int, list[tuple[float, int]]](), list[int](), list[float]()
    while len(rows) < batch.n:
        at = min(left, key=lambda each: (labelled[each], -size[each]))
        if at not in queues:
            queues[at] = _typicality(points, batch.free, cluster == at)
        if not queues[at]:
            left.remove(at)
            continue
        score, row = queues[at].pop()
        rows.append(row)
        scores.append(score)
        labelled[at] += 1
    return Choice(np.array(rows), np.array(scores), "typical")


def _typicality(points: Features, free: Rows, within: Flags) -> list[tuple[float, int]]:
    """Return typicality and row of the free galaxies of a cluster, the most typical last."""
    members, own = np.flatnonzero(within), free[within[free]]
    if not len(own):
        return []
    n = min(NEIGHBOURS, len(members) - 1)
    if not n:
        return [(math.inf, int(own[0]))]
    near = NearestNeighbors(n_neighbors=n + 1).fit(points[members])
    distance = near.kneighbors(points[own])[0].sum(1) / n  # the nearest is the galaxy itself
    score = 1 / np.maximum(distance, 1e-12)
    order = np.argsort(-score, kind="stable")[::-1]
    return [(float(score[at]), int(own[at])) for at in order]


def _typical_margin(batch: Batch) -> Choice:
    rule = _typical if batch.pool.known.sum() < FIRST else _by_margin
    return rule(batch)


METHODS: dict[str, Callable[[Batch], Choice]] = {
    "margin": _by_margin,
    "entropy": _by_entropy,
    "bald": _by_bald,
    "coreset": _coreset,
    "typical": _typical,
    "typical-margin": _typical_margin,
}
RULES = ("random", *METHODS)
NEEDED = {
    "p": "predicted probabilities",
    "several": "several predictions: of an ensemble of seeds, or draws of dropout",
    "features": "features of all galaxies",
}


def _of(pool: Pool, name: str, rule: str) -> Any:
    if (found := getattr(pool, name)) is None:
        raise ValueError(f"rule {rule!r} needs {NEEDED[name]}")
    return found


def scaled(features: Features, like: Float[ndarray, "_ feature"] | None = None) -> Features:
    """Scale features to mean 0 and standard deviation 1, over all galaxies or over those `like`."""
    like = np.asarray(features if like is None else like, float)
    spread = like.std(0)
    return (features - like.mean(0)) / np.where(spread > 0, spread, 1)


# ---- the random order


def _part(n: int, share: float) -> int:
    """Return a share of n galaxies, rounded up."""
    return math.ceil(share * n - 1e-9)


def _order(pool: Pool, seed: int) -> Rows:
    """Return the rows of what is sampled, in an order that other galaxies do not change."""
    order = _hashed(tuple(map(str, pool.ids)), seed)
    return order if pool.before is None else order[~pool.before[order]]


@functools.lru_cache(maxsize=8)
def _hashed(ids: tuple[str, ...], seed: int) -> Rows:
    keys = [hashlib.sha256(f"label {seed}:{id}".encode()).digest() for id in ids]
    return np.array(sorted(range(len(ids)), key=keys.__getitem__), dtype=int)
