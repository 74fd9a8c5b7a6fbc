"""What each method of a run says of each galaxy, for one seed."""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from galaxymorph.diagnostics import label_noise
from galaxymorph.evaluation.entries import Entries
from galaxymorph.evaluation.predictions import VOTED


@dataclass
class ByGalaxy:
    """Tables by id of the galaxy; galaxies that a method has not predicted have no row."""

    probabilities: dict[str, pd.DataFrame] = field(default_factory=dict)  # by method, best first
    best: str = ""  # the most accurate method on validation galaxies
    votes: pd.DataFrame | None = None  # predicted, a column per answer
    voter: str = ""  # the method that predicted them
    suspects: pd.DataFrame = field(default_factory=pd.DataFrame)  # as `label_noise.suspects`


def by_galaxy(entries: Entries, seed: Any) -> ByGalaxy:
    """Collect predictions of the methods with the largest number of labels, without controls.

    Methods are called by their titles. Votes are those of the run's last method that predicts them,
    as an ensemble comes after its members. Suspected labels rest on all seeds."""
    titles, found = entries.titles(), ByGalaxy()
    there = entries.where(lambda e: e.predictions is not None and not e.is_control)
    own = there.most_labels().where(lambda entry: entry.seed == seed)
    accuracy = {}
    for entry in own:
        predictions = entry.predictions
        assert predictions is not None
        part = predictions.labelled("val") if predictions.has("val") else None
        accuracy[titles[entry.method]] = part.right.mean() if part else -1.0
        found.probabilities[titles[entry.method]] = pd.DataFrame(
            predictions.p, predictions.ids, pd.Index(predictions.classes)
        )
    ranked = sorted(accuracy, key=lambda name: -accuracy[name])
    found.probabilities = {name: found.probabilities[name] for name in ranked}
    found.best = ranked[0] if ranked else ""
    for entry in entries.where(lambda e: e.votes is not None and e.seed == seed):
        votes = entry.votes
        assert votes is not None
        found.votes = pd.DataFrame(votes.predicted, votes.ids, pd.Index(VOTED))
        found.voter = titles[entry.method]
    if own:
        held_out = [e.predictions for e in there if e.predictions is not None]
        if any(each.has(split) for each in held_out for split in label_noise.HELD_OUT):
            found.suspects = label_noise.suspects(there.most_labels())
    return found
