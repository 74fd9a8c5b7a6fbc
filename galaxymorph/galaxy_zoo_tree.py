"""The Galaxy Zoo 2 decision tree as data: 11 questions, 37 answers (Willett et al. 2013, table 2).

One table, `QUESTIONS`, holds the tree; Kaggle's column names, slices, parents, plot labels and the
hard classes all derive from it. Votes come in two conventions, both `(galaxy, 37)`:

* cumulative (Kaggle): the fraction of *all* volunteers who gave an answer; the answers to a
  question sum to the answer that leads to it, so a child never exceeds its parent;
* per question: the fraction of *those asked*; the answers to a question sum to 1, or are NaN if
  nobody was asked."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

Votes = Float[ndarray, "galaxy 37"]


class Question(NamedTuple):
    """One question of the tree, with the answer that leads to it."""

    name: str
    answers: tuple[str, ...]
    parent: tuple[str, str] | None  # (question name, answer); None: everyone is asked


# In the order of Kaggle's columns and with its normalisation: questions 3, 4 and 5 are asked about
# every disc that is not edge-on, question 6 ("Is there anything odd?") about every galaxy.
_FACE_ON, _SPIRAL = ("edge_on", "no"), ("spiral", "yes")
_ODD = ("ring", "lens or arc", "disturbed", "irregular", "other", "merger", "dust lane")
QUESTIONS = (
    Question("smooth", ("smooth", "features", "artifact"), None),
    Question("edge_on", ("yes", "no"), ("smooth", "features")),
    Question("bar", ("yes", "no"), _FACE_ON),
    Question("spiral", ("yes", "no"), _FACE_ON),
    Question("bulge", ("none", "noticeable", "obvious", "dominant"), _FACE_ON),
    Question("odd", ("yes", "no"), None),
    Question("roundness", ("round", "in-between", "cigar"), ("smooth", "smooth")),
    Question("odd_feature", _ODD, ("odd", "yes")),
    Question("bulge_shape", ("rounded", "boxy", "none"), ("edge_on", "yes")),  # seen edge-on
    Question("winding", ("tight", "medium", "loose"), _SPIRAL),
    Question("arms", ("1", "2", "3", "4", "more", "can't tell"), _SPIRAL),
)

# How Galaxy Zoo 2 asks each question (Willett et al. 2013, table 2).
PROMPTS = {
    "smooth": "Is the galaxy simply smooth and rounded, with no sign of a disk?",
    "edge_on": "Could this be a disk viewed edge-on?",
    "bar": "Is there a sign of a bar feature through the centre of the galaxy?",
    "spiral": "Is there any sign of a spiral arm pattern?",
    "bulge": "How prominent is the central bulge, compared with the rest of the galaxy?",
    "odd": "Is there anything odd?",
    "roundness": "How rounded is it?",
    "odd_feature": "Is the odd feature a ring, or is the galaxy disturbed or irregular?",
    "bulge_shape": "Does the galaxy have a bulge at its centre? If so, what shape?",
    "winding": "How tightly wound do the spiral arms appear?",
    "arms": "How many spiral arms are there?",
}
END = ("smooth", "artifact")  # the answer after which nothing is asked

ANSWERS = tuple((q.name, a) for q in QUESTIONS for a in q.answers)  # 37 (question, answer)
COLUMNS = tuple(
    f"Class{k}.{i}" for k, q in enumerate(QUESTIONS, 1) for i in range(1, 1 + len(q.answers))
)
LABELS = tuple(f"{question.replace('_', ' ')}: {answer}" for question, answer in ANSWERS)
_STARTS = {q.name: ANSWERS.index((q.name, q.answers[0])) for q in QUESTIONS}
SLICES = {q.name: slice(_STARTS[q.name], _STARTS[q.name] + len(q.answers)) for q in QUESTIONS}


def column(question: str, answer: str) -> int:
    """Return the column (0 to 36) of an answer. A `KeyError` lists the valid names."""
    known = [a for q, a in ANSWERS if q == question]
    if not known:
        raise KeyError(f"unknown question {question!r}. Known: {', '.join(SLICES)}")
    if answer not in known:
        raise KeyError(f"unknown answer {answer!r} to {question!r}. Known: {', '.join(known)}")
    return ANSWERS.index((question, answer))


# Column of the answer that leads to each question; None if everyone is asked.
PARENTS = {q.name: None if q.parent is None else column(*q.parent) for q in QUESTIONS}


def reached(votes: Votes) -> Float[ndarray, "galaxy 11"]:
    """Return the fraction of volunteers who were asked each question."""
    ones = np.ones(len(votes), votes.dtype)
    columns = [ones if parent is None else votes[:, parent] for parent in PARENTS.values()]
    return np.stack(columns, axis=1)  # (galaxy, 11)


def per_question(votes: Votes) -> Votes:
    """Convert cumulative votes to fractions of those asked; NaN if nobody was asked."""
    fractions = np.full_like(votes, np.nan)
    for asked, where in zip(reached(votes).T[..., None], SLICES.values(), strict=True):
        np.divide(votes[:, where], asked, out=fractions[:, where], where=asked > 0)
    return fractions


def cumulative(fractions: Votes) -> Votes:
    """Convert fractions of those asked to cumulative votes.

    Each answer is multiplied by the probability of reaching its question. NaN (nobody was asked)
    becomes 0, so `cumulative(per_question(votes))` returns `votes`."""
    votes = np.nan_to_num(fractions)
    for question, where in SLICES.items():  # parents precede their children in the table
        parent = PARENTS[question]
        if parent is not None:
            votes[:, where] *= votes[:, parent, None]
    return votes


# ---- one person's answers: {question: answer}, as text `smooth=features;edge_on=no;...`


def next_question(given: Mapping[str, str]) -> Question | None:
    """Return the question that Galaxy Zoo 2 asks after these answers; None at the end.

    What an answer leads to is asked at once, in the order of the table: bar, spiral, winding, arms,
    bulge; whether anything is odd comes last. Nothing is asked after "artifact"."""

    def below(parent: tuple[str, str] | None) -> Question | None:
        for question in (each for each in QUESTIONS if each.parent == parent):
            if question.name not in given:
                return question
            if deeper := below((question.name, given[question.name])):
                return deeper
        return None

    return None if given.get(END[0]) == END[1] else below(None)


def given_in(text: str, *, complete: bool = True) -> dict[str, str]:
    """Return the answers in a text such as `smooth=smooth;roundness=round;odd=no`.

    Raises `ValueError` for unknown questions and answers, a question answered twice, and, if it
    must be `complete`, answers that do not follow the tree to its end."""
    given: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        question, _, answer = (each.strip() for each in part.partition("="))
        try:
            column(question, answer)
        except KeyError as error:
            raise ValueError(error.args[0]) from None
        if question in given:
            raise ValueError(f"question {question!r} is answered twice")
        given[question] = answer
    walked: dict[str, str] = {}
    while complete and (following := next_question(walked)):
        if following.name not in given:
            raise ValueError(f"no answer to {following.name!r}, which is asked next")
        walked[following.name] = given[following.name]
    if complete and len(walked) < len(given):
        extra = next(name for name in given if name not in walked)
        raise ValueError(f"question {extra!r} is not asked after these answers")
    return given


def text_of(given: Mapping[str, str]) -> str:
    """Return answers as text, which `given_in` reads."""
    return ";".join(f"{question}={answer}" for question, answer in given.items())


# Hard classes: all (question, answer, minimum per-question fraction) of a rule must be met.
# Thresholds of the Galaxy Zoo 2 "clean" samples (Willett et al. 2013, table 3; used
# by Zhu et al. 2019, arXiv 1807.10406).
_SMOOTH, _FEATURES = ("smooth", "smooth", 0.469), ("smooth", "features", 0.430)
RULES: dict[str, tuple[tuple[str, str, float], ...]] = {
    "round": (_SMOOTH, ("roundness", "round", 0.5)),
    "in-between": (_SMOOTH, ("roundness", "in-between", 0.5)),
    "cigar": (_SMOOTH, ("roundness", "cigar", 0.5)),
    "edge-on": (_FEATURES, ("edge_on", "yes", 0.602)),
    "spiral": (_FEATURES, ("edge_on", "no", 0.715), ("spiral", "yes", 0.619)),
}
CLASSES: dict[int, tuple[str, ...]] = {
    4: ("round", "in-between", "edge-on", "spiral"),  # a cigar counts as edge-on
    5: ("round", "in-between", "cigar", "edge-on", "spiral"),
}


def _places(classes: Sequence[str]) -> list[int]:
    """Return the class of each rule; if `classes` lacks cigar, cigars count as edge-on."""
    return [list(classes).index(name if name in classes else "edge-on") for name in RULES]


def class_columns(classes: Sequence[str]) -> list[tuple[int, int]]:
    """Return pairs of a class and a column of votes that counts for it: the last of a rule."""
    last = [column(question, answer) for *_, (question, answer, _) in RULES.values()]
    return list(zip(_places(classes), last, strict=True))


def hard_labels(votes: Votes, classes: Sequence[str]) -> Int[ndarray, " galaxy"]:
    """Assign a class to each galaxy by `RULES`: an index into `classes`, -1 if none or several fit.
    If `classes` lacks cigar, cigars count as edge-on."""
    fractions = np.nan_to_num(per_question(votes))
    fits = np.zeros((len(votes), len(classes)), bool)
    for place, rule in zip(_places(classes), RULES.values(), strict=True):
        holds = [fractions[:, column(q, a)] >= least for q, a, least in rule]
        fits[:, place] |= np.all(holds, axis=0)
    return np.where(fits.sum(1) == 1, fits.argmax(1), -1)


def class_fractions(votes: Votes, classes: Sequence[str]) -> Float[ndarray, "galaxy class"]:
    """Return each class's share of the votes, or equal shares if no class has any.
    A share is the fraction of volunteers who reach the last answer of a rule, normalised over
    classes. Negative fractions count as 0. If `classes` lacks cigar, cigars count as edge-on."""
    shares = np.zeros((len(votes), len(classes)))
    for place, at in class_columns(classes):
        shares[:, place] += np.clip(votes[:, at], 0, None)
    total = shares.sum(1, keepdims=True)
    return np.where(total > 0, shares / np.where(total > 0, total, 1), 1 / len(classes))


def shares(fractions: Votes) -> Votes:
    """Return each answer's share of the answers to its question; negative fractions count as 0.
    NaN if the question has no answers."""
    fractions = np.maximum(fractions, 0)
    total = np.empty_like(fractions)
    for where in SLICES.values():
        total[:, where] = fractions[:, where].sum(1, keepdims=True)
    return np.divide(fractions, total, out=np.full_like(total, np.nan), where=total > 0)
