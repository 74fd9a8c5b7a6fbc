"""Combine predicted vote fractions: the mean of an ensemble, and shrinkage to the training mean.

Deep questions of the decision tree are asked about few galaxies, so a network knows little about
their answers. `shrunk` draws the fractions of those asked, f, to their mean over the training
galaxies, m, the more the fewer votes are expected: (n f + k m) / (n + k), where n is the expected
number of volunteers who reach the question. Each question's strength k is chosen on validation
galaxies; 0 leaves its fractions as they are. The result follows the tree."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from galaxymorph import galaxy_zoo_tree as tree
from galaxymorph.evaluation.entries import Entry
from galaxymorph.evaluation.predictions import Votes
from galaxymorph.evaluation.stacking import common

STRENGTHS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # in votes
VOLUNTEERS = 40.0  # per galaxy, where their number is unknown; it only sets the unit of k


def mean(members: Sequence[Entry]) -> Votes:
    """Average predicted fractions, for the galaxies that all members predict.

    Concentrations are averaged if all members have them. Raises `ValueError` if splits or test
    galaxies differ."""
    parts = common({entry.method: entry.votes for entry in members if entry.votes})
    spreads = [part.concentration for part in parts if part.concentration is not None]
    spread = np.mean(spreads, axis=0) if len(spreads) == len(parts) else None
    return replace(
        parts[0], predicted=np.mean([p.predicted for p in parts], axis=0), concentration=spread
    )


def shrunk(votes: Votes) -> tuple[Votes, dict[str, float]]:
    """Shrink the predicted fractions; return them, and the strength k of each question.

    Raises `ValueError` if there are no training or validation galaxies with votes."""
    train, val = votes.labelled("train"), votes.rows("val")
    votes.labelled("val")  # raises if there are none
    people = train.volunteers[np.isfinite(train.volunteers)]
    n_all = float(np.median(people)) if len(people) else VOLUNTEERS
    usual = tree.shares(tree.per_question(train.true.mean(0, keepdims=True)))
    own, found, strengths = tree.shares(votes.predicted), np.empty_like(votes.predicted), {}
    for question, where in tree.SLICES.items():  # parents precede their children
        parent = tree.PARENTS[question]
        asked = np.ones(len(own)) if parent is None else found[:, parent]
        m = np.nan_to_num(usual[:, where], nan=1 / (where.stop - where.start))
        f = np.where(np.isnan(own[:, where]), m, own[:, where])
        n = n_all * asked[:, None]
        tried = [
            asked[:, None] * np.where(n + k > 0, (n * f + k * m) / np.maximum(n + k, 1e-12), m)
            for k in STRENGTHS
        ]
        errors = [((each[val] - votes.true[val, where]) ** 2).mean() for each in tried]
        best = int(np.argmin(errors))
        found[:, where], strengths[question] = tried[best], STRENGTHS[best]
    return replace(votes, predicted=found), strengths
