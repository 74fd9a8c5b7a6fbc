"""What maps can be asked to explain: the classes, or the answers of questions, of a model file."""

import math
from functools import partial
from typing import Any, NamedTuple

from jaxtyping import Float
from numpy import ndarray
from torch import nn

from galaxymorph import galaxy_zoo_tree
from galaxymorph.diagnostics.gradcam import Target
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.votes import VoteRegressor


class Answer(NamedTuple):
    """Something that a model says of a galaxy: a class, or an answer of a question."""

    column: int  # of what the model predicts
    target: Target  # how much its raw outputs speak for it: what maps explain
    # the same as a probability, or a share of the volunteers: what deletion and insertion follow
    score: Target


def answers(learner: nn.Module, header: dict[str, Any]) -> dict[str, Answer]:
    """List all that a model (`saved.load`) can say: its classes, or by question and answer ("bar:
    yes"). Raises `ValueError` for a model without a head."""
    if isinstance(learner, VoteRegressor):
        names, target = galaxy_zoo_tree.LABELS, learner.answer
        score = (lambda raw, column: target(raw, column).exp()) if learner.tree else target
    elif isinstance(learner, Classifier):
        names, target = header["classes"], lambda raw, column: raw[:, column]
        score = lambda raw, column: raw.softmax(1)[:, column]  # noqa: E731
    else:
        raise ValueError("the model learned without labels: it has no classes and no answers")
    both = [[partial(each, column=k) for each in (target, score)] for k in range(len(names))]
    return {name: Answer(k, *both[k]) for k, name in enumerate(names)}


def shares(fractions: Float[ndarray, "galaxy output"], column: int) -> Float[ndarray, " galaxy"]:
    """Return what is predicted for a class; for an answer (there are 37 or more columns), its share
    among the answers of its question, NaN where these have none."""
    n = len(galaxy_zoo_tree.COLUMNS)
    known = fractions if fractions.shape[1] < n else galaxy_zoo_tree.shares(fractions[:, :n])
    return known[:, column]


def captions(
    name: str,
    answer: Answer,
    predicted: Float[ndarray, "galaxy output"],
    votes: Float[ndarray, "galaxy 37"] | None,
) -> list[str]:
    """Name for each galaxy what is explained, the share of its volunteers who said so (where
    `votes` has any), and what is predicted: `bar: yes 0.62, predicted 0.55`."""
    question, colon, given = name.partition(": ")
    share = shares(predicted, answer.column).tolist()
    if not colon:
        return [f"{name}, predicted {value:.2f}" for value in share]
    voted = [math.nan] * len(share) if votes is None else shares(votes, answer.column).tolist()
    return [caption(question, given, *pair) for pair in zip(voted, share, strict=True)]


def caption(question: str, answer: str, voted: float, predicted: float) -> str:
    """Write `bar: yes 0.62, predicted 0.55`, for a vote fraction and the model's; without that of
    the volunteers where it is NaN."""
    votes = "" if math.isnan(voted) else f" {voted:.2f}"
    return f"{question.replace('_', ' ')}: {answer}{votes}, predicted {predicted:.2f}"
