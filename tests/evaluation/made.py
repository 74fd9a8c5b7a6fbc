"""Predictions and entries with known answers, for the tests of the wing."""

import numpy as np
import pandas as pd

from galaxymorph.evaluation.entries import Entry
from galaxymorph.evaluation.predictions import predictions_in

NAMES = ("round", "edge-on", "spiral")


def predicted(ids, label, p, *, split="test", names=NAMES):
    """Predictions from a row of probabilities per galaxy."""
    p = np.asarray(p, float).reshape(len(label), len(names))
    head = {"id": list(ids), "split": split, "label": list(label)}
    return predictions_in(pd.DataFrame(head | {f"p_{n}": p[:, k] for k, n in enumerate(names)}))


def g(numbers):
    return [f"g{i}" for i in numbers]


def table(rows, *, split="test", names=NAMES):
    """Predictions from (label, probabilities) pairs."""
    labels, p = [label for label, _ in rows], [p for _, p in rows]
    return predicted(g(range(len(rows))), labels, p, split=split, names=names)


def sample(n, *, names=NAMES, skill=1.5, seed=0, split="test", digits=6):
    """Random predictions: the larger the skill, the better the classifier."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, len(names), n)
    logits = rng.normal(size=(n, len(names)))
    logits[np.arange(n), true] += skill
    p = np.round(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), digits)
    return predicted(g(range(n)), np.array(names)[true], p, split=split, names=names)


# round: 2 galaxies, 1 right; edge-on: 1, right; spiral: 3, 2 right and one taken for round
HAND = table(
    [
        ("round", [0.8, 0.1, 0.1]),
        ("round", [0.3, 0.6, 0.1]),
        ("edge-on", [0.1, 0.8, 0.1]),
        ("spiral", [0.1, 0.1, 0.8]),
        ("spiral", [0.2, 0.2, 0.6]),
        ("spiral", [0.5, 0.1, 0.4]),
    ]
)


def changed(predictions, change=lambda frame: frame):
    """The predictions after a change of their table."""
    return predictions_in(change(predictions.table()))


def joined(*parts):
    """The galaxies of several predictions."""
    return predictions_in(pd.concat([part.table() for part in parts], ignore_index=True))


def two(confidence, right, *, split="test"):
    """Galaxies of two classes, each taken for `a` with a confidence of its own, and rightly so or
    not."""
    ids = [f"{split}{i}" for i in range(len(confidence))]
    p = np.stack([confidence, 1 - np.asarray(confidence)], 1)
    label = np.where(np.asarray(right, bool), "a", "b")
    return predicted(ids, label, p, split=split, names=("a", "b"))


def drawn(n, *, seed, split="test", hot=1.0):
    """Galaxies that are right with the probability that their confidence says at a temperature
    `hot`; 1: calibrated."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.5, 0.99, n)
    right = rng.random(n) < p
    odds = (p / (1 - p)) ** hot
    return two(odds / (1 + odds), right, split=split)


def entry(method, seed=0, predictions=None, **more):
    return Entry(method, seed, predictions=predictions, **more)


def judged(method, ids, right, *, confidence=0.8, seed=0, **more):
    """An entry about galaxies of two classes in turn, of which some are right."""
    right, confidence = np.asarray(right, bool), np.broadcast_to(confidence, len(ids))
    label = np.array(["round", "edge-on"])[np.arange(len(ids)) % 2]
    p = np.where((label == "round") == right, confidence, 1 - confidence)
    return entry(
        method, seed, predicted(ids, label, np.stack([p, 1 - p], 1), names=NAMES[:2]), **more
    )


def rights(n, right):
    return [True] * right + [False] * (n - right)


def scored(method, right, *, seed=0, n_labels=None, common=False, **more):
    """An entry right about its test galaxies where `right` says so, which are those of its seed
    alone or `common` to all; every table has galaxies that are not tested, too."""
    ids = [f"g{i}" if common else f"{seed}-{i}" for i in range(len(right))]
    made = judged(method, ids, right, confidence=0.9, seed=seed, n_labels=n_labels, **more)
    others = {"id": ["t", "u"], "split": ["train", "test"], "label": ["round", ""]}
    others = pd.DataFrame(others | {"p_round": 0.1, "p_edge-on": 0.9})
    both = pd.concat([made.predictions.table(), others], ignore_index=True)
    return entry(method, seed, predictions_in(both), n_labels=n_labels, **more)
