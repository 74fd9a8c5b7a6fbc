"""What maps can explain: the classes of a model file, or its answers to questions."""

import math
from functools import partial
from typing import Any, NamedTuple

from jaxtyping import Float
from numpy import ndarray
from torch import nn

from galaxymorph import galaxy_zoo_tree
from galaxymorph.diagnostics.gradcam import Target
from galaxymorph.learning.classifier import Classifier, Outputs
from galaxymorph.learning.votes import VoteRegressor
from galaxymorph.learning.votes_and_classes import VotesAndClasses
from galaxymorph.pixels import Each


class Answer(NamedTuple):
    """Something that a model predicts: a class, or an answer to a question."""

    column: int  # of the model's predictions
    target: Target  # its score in the raw outputs: what maps explain
    # the probability, or share of volunteers: what deletion and insertion follow
    score: Target


def answers(learner: nn.Module, header: dict[str, Any]) -> dict[str, Answer]:
    """List a model's classes and answers ("bar: yes"); raise `ValueError` without a head."""
    found: dict[str, Answer] = {}
    if isinstance(learner, VoteRegressor):
        target, score = learner.answer, partial(_share, learner)
        for k, name in enumerate(galaxy_zoo_tree.LABELS):
            found[name] = Answer(k, partial(target, column=k), partial(score, column=k))
    if isinstance(learner, VotesAndClasses | Classifier):
        names, first = header["classes"], 0
        if isinstance(learner, VotesAndClasses):
            first = learner.outputs.index(f"p_{names[0]}")
        for k, name in enumerate(names, start=-len(names)):
            logit, chance = lambda raw, k: raw[:, k], partial(_chance, n=len(names))
            found[name] = Answer(first + len(names) + k, partial(logit, k=k), partial(chance, k=k))
    if not found:
        raise ValueError(
            "the model was trained without labels: it predicts neither classes nor answers"
        )
    return found


def _share(learner: VoteRegressor, raw: Outputs, column: int) -> Each:
    answer = learner.answer(raw, column)
    return answer.exp() if learner.tree else answer


def _chance(raw: Outputs, k: int, n: int) -> Each:
    """Return the probability of the class at column `k` from the end, the logits of `n` classes."""
    return raw[:, -n:].softmax(1)[:, k]


def shares(fractions: Float[ndarray, "galaxy output"], column: int) -> Float[ndarray, " galaxy"]:
    """Return predictions of a class, or the share of an answer within its question.

    The first of 37 or more columns are answers. NaN if a question has no votes."""
    n = len(galaxy_zoo_tree.COLUMNS)
    if fractions.shape[1] < n or column >= n:
        return fractions[:, column]
    return galaxy_zoo_tree.shares(fractions[:, :n])[:, column]


def captions(
    name: str,
    answer: Answer,
    predicted: Float[ndarray, "galaxy output"],
    votes: Float[ndarray, "galaxy 37"] | None,
) -> list[str]:
    """Caption galaxies (`bar: yes 0.62, predicted 0.55`) with votes, if any, and predictions."""
    question, colon, given = name.partition(": ")
    share = shares(predicted, answer.column).tolist()
    if not colon:
        return [f"{name}, predicted {value:.2f}" for value in share]
    voted = [math.nan] * len(share) if votes is None else shares(votes, answer.column).tolist()
    return [caption(question, given, *pair) for pair in zip(voted, share, strict=True)]


def caption(question: str, answer: str, voted: float, predicted: float) -> str:
    """Write `bar: yes 0.62, predicted 0.55`: votes (omitted if NaN) and the model's prediction."""
    votes = "" if math.isnan(voted) else f" {voted:.2f}"
    return f"{question.replace('_', ' ')}: {answer}{votes}, predicted {predicted:.2f}"
