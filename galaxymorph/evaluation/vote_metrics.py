"""Errors of vote fractions relative to baseline and noise floor, leading answers, violations.

Two conventions (see `galaxy_zoo_tree`):

* cumulative: the 37 columns as given; their RMSE is the score of Kaggle's Galaxy Zoo challenge;
* per question: fractions of those who answered the question, for galaxies where at least two people
  did (at least one, if the number of volunteers is unknown). Predictions are normalised in the same
  way after setting negative values to 0; if all are 0, a uniform distribution is assumed.

Two reference values put errors into perspective:

* baseline: the error of predicting the mean vote of the training galaxies for every galaxy;
* floor: the best achievable error, due to the finite number N of volunteers. For a true fraction q
  the voted fraction v has the binomial variance q (1 - q) / N. As E[v (1 - v)] = q (1 - q)
  (N - 1) / N, its unbiased estimate is v (1 - v) / (N - 1). The floor of the RMSE is the square
  root of the mean over all (galaxy, answer) with known N >= 2; per question, N is the number of
  people who answered. (With weighted volunteers, as in Galaxy Zoo 2, the effective N is smaller and
  the floor is underestimated.)
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from numpy import ndarray

from galaxymorph import galaxy_zoo_tree as tree
from galaxymorph.evaluation.intervals import estimated, share
from galaxymorph.evaluation.predictions import Fractions, Votes

CONVENTIONS = ("cumulative", "per question")
METRICS = ("rmse", "mae", "r2")
KINDS = ("value", "baseline", "floor", "way")
ROUNDING = 1e-5  # of fractions with six decimals, with a margin
TOLERANCE = 0.01  # tolerated violation of a rule of the tree
QUESTIONS = tuple(tree.SLICES)
STARTS = [where.start for where in tree.SLICES.values()]
QUESTION_OF = np.repeat(np.arange(11), [len(q.answers) for q in tree.QUESTIONS])  # (37,)
SCOPES = [("overall", "overall"), *(("question", name) for name in QUESTIONS)]
SCOPES += [("answer", name) for name in tree.LABELS]
# (scope, answer): 1 if the scope contains the answer
MEMBERS = np.vstack([np.ones(37), np.eye(11)[:, QUESTION_OF], np.eye(37)])

Weights = Float[ndarray, "draw galaxy"]


def evaluate(
    votes: Votes, *, split: str = "test", n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Compute the errors for a split in both conventions: overall, per question and per answer.

    Columns: scope (overall, question or answer), name (overall, a question, or an answer as in
    `galaxy_zoo_tree.LABELS`), convention, metric, value, low, high, n (galaxies), baseline, floor,
    way, way_low and way_high.

    rmse, mae: root mean squared and mean absolute error over all galaxies and answers of the scope.
    r2: 1 - (sum of squared errors) / (sum of squared deviations from each answer's mean); NaN if
    the votes do not vary. baseline and floor have the unit of the metric; for the mae no unbiased
    floor is known, and it is NaN. way: percentage of the gap between baseline and floor that the
    method closes; NaN if the floor is not below the baseline, as there is nothing to predict.

    low and high: central 95 % of `n_bootstrap` bootstrap draws, NaN without. They cover the
    sampling of galaxies only, not of training runs.

    Raises `ValueError` if the split has no galaxies with votes."""
    cells = [_cells(votes, split, convention) for convention in CONVENTIONS]
    found = [_estimated(each, n_bootstrap=n_bootstrap, seed=seed) for each in cells]
    value, low, high = (
        np.stack([each[name] for each in found], axis=2).reshape(4, -1)
        for name in ("value", "low", "high")
    )  # (kind, row)
    n = np.stack([np.isfinite(each.observed) @ MEMBERS.T > 0 for each in cells]).sum(1)  # galaxies
    rows = [(*scope, *row) for scope, *row in product(SCOPES, CONVENTIONS, METRICS)]
    table = pd.DataFrame(rows, columns=["scope", "name", "convention", "metric"])
    table = table.assign(value=value[0], low=low[0], high=high[0], n=np.repeat(n.T, len(METRICS)))
    yardsticks = {"baseline": value[1], "floor": value[2], "way": value[3]}
    return table.assign(**yardsticks, way_low=low[3], way_high=high[3])


def overall(votes: Votes, *, n_bootstrap: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Return rmse, mae, r2 and the baseline, floor and way of the RMSE for the test galaxies.

    In the cumulative convention, over all answers. Columns: value, low, high (95 %) and variance
    (of the bootstrap draws)."""
    cells = _cells(votes, "test", CONVENTIONS[0])
    found = _estimated(cells, n_bootstrap=n_bootstrap, seed=seed)
    chosen = [*METRICS, *KINDS[1:]]  # values of all metrics; reference values of the RMSE
    columns = {name: [*each[0, 0], *each[1:, 0, 0]] for name, each in found.items()}
    return pd.DataFrame(columns, index=pd.Index(chosen))


def leading(
    votes: Votes, *, split: str = "test", agreed: float = 0.8, asked: int = 10
) -> pd.DataFrame:
    """Return the accuracy of the leading answer of each question, where volunteers agree on it.

    Args:
        agreed: smallest leading fraction among those who answered.
        asked: smallest number of people who answered (if unknown: half of the volunteers).

    Columns: question, accuracy, low, high (95 % Wilson interval), n (galaxies), always (accuracy of
    always predicting the most common leading answer in training) and most_common (its name)."""
    part, train = votes.labelled(split), votes.voted("train")
    here, there = (_agree(each, agreed, asked) for each in (part, train))
    rows = []
    for i, (question, where) in enumerate(tree.SLICES.items()):
        true, named = (each[here[:, i], where].argmax(1) for each in (part.true, part.predicted))
        before = train.true[there[:, i], where].argmax(1)
        usual = np.bincount(before, minlength=where.stop - where.start)
        always, common = math.nan, ""
        if usual.any():
            always = share(true == usual.argmax())[0]
            common = tree.ANSWERS[where][usual.argmax()][1]
        rows.append((question, *share(true == named), len(true), always, common))
    columns = ["question", "accuracy", "low", "high", "n", "always", "most_common"]
    return pd.DataFrame(rows, columns=columns)


def violations(votes: Votes, *, tolerance: float = TOLERANCE, split: str = "test") -> pd.DataFrame:
    """Count galaxies whose predictions violate the rules of the tree by more than `tolerance`.

    Columns: rule (finally "any of these"), count, share, largest (violation, also below
    `tolerance`; 0 if there is none) and n (galaxies)."""
    sizes = broken(votes, split=split)
    above = sizes > tolerance
    found = {"rule": sizes.columns, "count": above.sum(), "share": above.mean()}
    return pd.DataFrame(found | {"largest": sizes.max(), "n": len(sizes)}).reset_index(drop=True)


def broken(votes: Votes, *, split: str = "test") -> pd.DataFrame:
    """Return by how much each galaxy (row) violates each rule of the tree (column), or 0.

    The last column, "any of these", is the maximum."""
    p = votes.labelled(split).predicted
    asked = tree.reached(p)
    rules = {
        "fraction below 0": -p,
        "fraction above 1": p - 1,
        "answers do not sum to their parent": abs(np.add.reduceat(p, STARTS, axis=1) - asked),
        "answer above its parent": p - asked[:, QUESTION_OF],
    }
    sizes = pd.DataFrame({rule: np.maximum(size, 0).max(1) for rule, size in rules.items()})
    return sizes.assign(**{"any of these": sizes.max(axis=1)})


def classes_agreement(
    votes: Votes, *, classes: Sequence[str] = tree.CLASSES[4], split: str = "test"
) -> pd.DataFrame:
    """Cross-tabulate the classes that follow from the volunteers' (row) and the predicted votes.

    Classes are those of `galaxy_zoo_tree.hard_labels`, followed by "no class"."""
    part, names = votes.labelled(split), np.array([*classes, "no class"])
    true, named = (names[tree.hard_labels(each, classes)] for each in (part.true, part.predicted))
    cells = pd.crosstab(true, named, rownames=["by votes"], colnames=["by prediction"])
    return cells.reindex(index=names, columns=names, fill_value=0)


def shares(predicted: Fractions) -> Fractions:
    """Normalise predictions per question: fractions from 0 to 1 that sum to 1."""
    found = tree.shares(predicted)
    return np.where(np.isnan(found), 1 / MEMBERS[1:12].sum(1)[QUESTION_OF], found)


def observed(part: Votes) -> Fractions:
    """Return the voted fractions per question; NaN if nobody, or only one person, answered."""
    answered = _answered(part)
    enough = (answered > ROUNDING) & ~(part.volunteers[:, None] * answered < 1.5)
    return np.divide(part.true, answered, out=np.full(answered.shape, np.nan), where=enough)


# ---- the parts


def _answered(part: Votes) -> Fractions:
    """Return the fraction of volunteers who answered each question, repeated for its answers."""
    return np.add.reduceat(part.true, STARTS, axis=1)[:, QUESTION_OF]


def _agree(part: Votes, agreed: float, asked: int) -> Bool[ndarray, "galaxy 11"]:
    """Return where volunteers agree on the leading answer of a question (see `leading`)."""
    asked_of = _answered(part)[:, STARTS]
    people = part.volunteers[:, None] * asked_of
    most = np.maximum.reduceat(part.true, STARTS, axis=1)
    enough = np.where(np.isnan(people), asked_of >= 0.5, people > asked - 0.5)
    return (most > 0) & (most >= (agreed - ROUNDING) * asked_of) & enough


class _Cells(NamedTuple):
    """Values from which errors are computed, by galaxy and answer."""

    observed: Fractions  # NaN if excluded
    predicted: Fractions
    mean: Float[ndarray, " 37"]  # mean vote of the training galaxies
    noise: Fractions  # sampling variance of the votes; NaN if unknown


def _cells(votes: Votes, split: str, convention: str) -> _Cells:
    part, train = votes.labelled(split), votes.voted("train")
    people = part.volunteers[:, None] * np.ones(37)
    true, predicted, past = part.true, part.predicted, train.true
    if convention != "cumulative":
        true, predicted, past = observed(part), shares(part.predicted), observed(train)
        people = people * _answered(part)
    blank = np.full(true.shape, np.nan)
    noise = np.divide(true * (1 - true), people - 1, out=blank, where=people > 1.5)
    return _Cells(true, predicted, pd.DataFrame(past).mean().to_numpy(float), noise)


def _estimated(cells: _Cells, **options: Any) -> dict[str, Float[ndarray, "4 scope 3"]]:
    """Return value, low, high and variance for all `KINDS`, `SCOPES` and `METRICS`."""
    return estimated(lambda weights: _scores(weights, cells), len(cells.observed), **options)


def _scores(weights: Weights, cells: _Cells) -> Float[ndarray, "draw 4 scope 3"]:
    """Compute all `KINDS`, `SCOPES` and `METRICS` for many weightings of the galaxies at once."""
    observed, predicted, mean, noise = cells
    there, known = np.isfinite(observed), np.isfinite(noise)
    error, away = predicted - observed, mean - observed
    centred = observed - np.where(there, observed, 0).mean(0)  # for numerical precision

    def total(values: Fractions | float, where: Bool[ndarray, "galaxy 37"] = there) -> Any:
        return weights @ np.where(where, values, 0.0)  # (draw, 37)

    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0: nobody answered in a draw
        n = total(1.0)
        size = n @ MEMBERS.T  # (draw, scope)
        losses = (error**2, abs(error), away**2, abs(away))
        mse, mae, mse0, mae0 = (total(each) @ MEMBERS.T / size for each in losses)
        least = total(noise, known) @ MEMBERS.T / (total(1.0, known) @ MEMBERS.T)
        varied = (total(centred**2) - total(centred) ** 2 / np.maximum(n, 1)) @ MEMBERS.T / size
        varied[varied < 1e-12] = np.nan
        found = [
            [np.sqrt(mse), np.sqrt(mse0), np.sqrt(least)],
            [mae, mae0, np.full(mae.shape, np.nan)],
            [1 - mse / varied, 1 - mse0 / varied, 1 - least / varied],
        ]
        for each in found:
            value, baseline, floor = each
            way = 100 * (value - baseline) / (floor - baseline)
            each.append(np.where(least < mse0, way, np.nan))
    return np.array(found).transpose(2, 1, 3, 0)
