"""From vote fractions to numbers: errors between two yardsticks, leading answers, broken trees.

Two conventions (see `galaxy_zoo_tree`):

* cumulative: the 37 columns as they are; their RMSE is the score of Kaggle's Galaxy Zoo challenge;
* per question: fractions of those who answered the question, among galaxies where at least two
  people are known to have (where the number of volunteers is unknown: anybody). Predictions, too,
  are divided by the sum of the question's answers, once negative ones are set to 0; where that
  leaves nothing, all answers are taken as equally likely.

Two yardsticks show what an error is worth:

* baseline: the error of predicting the mean vote of the training galaxies for every galaxy;
* floor: the error that is left for someone who knows the opinion of all mankind, as N volunteers
  are but a sample of it. With the true fraction q, the fraction v that N people vote has the
  variance q (1 - q) / N (binomial), and since E[v (1 - v)] = q (1 - q) (N - 1) / N, the unbiased
  estimate of this variance is v (1 - v) / (N - 1). The floor of the RMSE is the root of its mean
  over cells (galaxy, answer) with N known and at least 2; per question, N are those who answered.
  (If weights were given to volunteers, as in Galaxy Zoo 2, N counts too many, and the floor is
  rather low.)
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
ROUNDING = 1e-5  # what fractions of six decimals lose, with a margin
TOLERANCE = 0.01  # by how much predictions may break a rule of the tree
QUESTIONS = tuple(tree.SLICES)
STARTS = [where.start for where in tree.SLICES.values()]
QUESTION_OF = np.repeat(np.arange(11), [len(q.answers) for q in tree.QUESTIONS])  # (37,)
SCOPES = [("overall", "overall"), *(("question", name) for name in QUESTIONS)]
SCOPES += [("answer", name) for name in tree.LABELS]
# (scope, answer): 1 where it belongs
MEMBERS = np.vstack([np.ones(37), np.eye(11)[:, QUESTION_OF], np.eye(37)])

Weights = Float[ndarray, "draw galaxy"]


def evaluate(
    votes: Votes, *, split: str = "test", n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Return errors of a split's galaxies in both conventions, overall, per question and answer.

    The tidy table has the columns scope (overall, question or answer), name (overall, a question,
    or an answer as in `galaxy_zoo_tree.LABELS`), convention, metric, value, low, high, n
    (galaxies), baseline, floor, way, way_low and way_high.

    rmse: the root of the mean squared error over all cells of the scope. mae: the mean absolute
    error. r2: 1 - the sum of squared errors / that of the differences to each answer's mean, both
    over all cells; NaN where votes do not vary. baseline and floor are in the metric's own unit; no
    unbiased floor of the mae is known, it is NaN. way: per cent of the way from baseline to floor
    that the method has gone; NaN where the floor is not below the baseline: there is nothing to
    predict.

    low and high: the central 95 % of a bootstrap of the galaxies (`n_bootstrap` draws, NaN
    without): it covers the choice of the galaxies alone, not of the training run.

    Raises `ValueError` where the split has no galaxies with votes."""
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
    """Return rmse, mae, r2 and the baseline, floor and way of the RMSE (index), cumulative, over
    all cells of the test galaxies: columns value, low, high and variance (of the draws)."""
    cells = _cells(votes, "test", CONVENTIONS[0])
    found = _estimated(cells, n_bootstrap=n_bootstrap, seed=seed)
    chosen = [*METRICS, *KINDS[1:]]  # the values of all metrics, and the yardsticks of the first
    columns = {name: [*each[0, 0], *each[1:, 0, 0]] for name, each in found.items()}
    return pd.DataFrame(columns, index=pd.Index(chosen))


def leading(
    votes: Votes, *, split: str = "test", agreed: float = 0.8, asked: int = 10
) -> pd.DataFrame:
    """Return how often the leading answer of a question is predicted, among galaxies where the
    volunteers agree on it.

    They agree where the leading fraction of those who answered is at least `agreed` and at least
    `asked` people answered (where the number of volunteers is unknown: half of them). Columns:
    question, accuracy, low, high (95 % Wilson interval), n (galaxies), always (the accuracy of
    always giving the answer that leads most often in such training galaxies) and most_common (that
    answer)."""
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
    """Return how many galaxies have predictions that contradict the tree by more than `tolerance`.

    Columns: rule (the last, "any of these", for all together), count, share, largest (by how much a
    rule is broken at most, however little; 0: never) and n (galaxies)."""
    sizes = broken(votes, split=split)
    above = sizes > tolerance
    found = {"rule": sizes.columns, "count": above.sum(), "share": above.mean()}
    return pd.DataFrame(found | {"largest": sizes.max(), "n": len(sizes)}).reset_index(drop=True)


def broken(votes: Votes, *, split: str = "test") -> pd.DataFrame:
    """Return by how much each galaxy's predictions (rows) break each rule of the tree (columns),
    0 where they do not; the last column, "any of these", is the largest."""
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
    """Count galaxies by the class that follows from the volunteers' votes (row) and from predicted
    ones (column), by the thresholds of `galaxy_zoo_tree.hard_labels`; the last is "no class"."""
    part, names = votes.labelled(split), np.array([*classes, "no class"])
    true, named = (names[tree.hard_labels(each, classes)] for each in (part.true, part.predicted))
    cells = pd.crosstab(true, named, rownames=["by votes"], colnames=["by prediction"])
    return cells.reindex(index=names, columns=names, fill_value=0)


def shares(predicted: Fractions) -> Fractions:
    """Return predicted fractions of those who answer each question: from 0 to 1, summing to 1."""
    found = tree.shares(predicted)
    return np.where(np.isnan(found), 1 / MEMBERS[1:12].sum(1)[QUESTION_OF], found)


def observed(part: Votes) -> Fractions:
    """Return the volunteers' fractions per question; NaN where nobody answered, or, as far as is
    known, one."""
    answered = _answered(part)
    enough = (answered > ROUNDING) & ~(part.volunteers[:, None] * answered < 1.5)
    return np.divide(part.true, answered, out=np.full(answered.shape, np.nan), where=enough)


# ---- the parts


def _answered(part: Votes) -> Fractions:
    """The share of a galaxy's volunteers who answered each question, in its answers' columns."""
    return np.add.reduceat(part.true, STARTS, axis=1)[:, QUESTION_OF]


def _agree(part: Votes, agreed: float, asked: int) -> Bool[ndarray, "galaxy 11"]:
    """Where the volunteers agree on the leading answer of a question (`leading`)."""
    asked_of = _answered(part)[:, STARTS]
    people = part.volunteers[:, None] * asked_of
    most = np.maximum.reduceat(part.true, STARTS, axis=1)
    enough = np.where(np.isnan(people), asked_of >= 0.5, people > asked - 0.5)
    return (most > 0) & (most >= (agreed - ROUNDING) * asked_of) & enough


class _Cells(NamedTuple):
    """What errors are made of."""

    observed: Fractions  # NaN where it does not count
    predicted: Fractions
    mean: Float[ndarray, " 37"]  # vote of the training galaxies
    noise: Fractions  # variance of the volunteers' sampling; NaN where unknown


def _cells(votes: Votes, split: str, convention: str) -> _Cells:
    part, train = votes.labelled(split), votes.voted("train")
    people = part.volunteers[:, None] * np.ones(37)
    true, predicted, past = part.true, part.predicted, train.true
    if convention != "cumulative":
        true, predicted, past = observed(part), shares(part.predicted), observed(train)
        people = people * _answered(part)
    blank = np.full(true.shape, np.nan)
    noise = np.divide(true * (1 - true), people - 1, out=blank, where=people > 1.5)
    return _Cells(true, predicted, pd.DataFrame(past).mean().to_numpy(float), noise)  # without NaN


def _estimated(cells: _Cells, **options: Any) -> dict[str, Float[ndarray, "4 scope 3"]]:
    """Each of `KINDS` in each of `SCOPES` of each of `METRICS`."""
    return estimated(lambda weights: _scores(weights, cells), len(cells.observed), **options)


def _scores(weights: Weights, cells: _Cells) -> Float[ndarray, "draw 4 scope 3"]:
    """The same, for many weightings of the same galaxies at once."""
    observed, predicted, mean, noise = cells
    there, known = np.isfinite(observed), np.isfinite(noise)
    error, away = predicted - observed, mean - observed
    centred = observed - np.where(there, observed, 0).mean(0)  # small numbers, for precision

    def total(values: Fractions | float, where: Bool[ndarray, "galaxy 37"] = there) -> Any:
        return weights @ np.where(where, values, 0.0)  # (draw, 37)

    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0: nobody in a draw was asked
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
