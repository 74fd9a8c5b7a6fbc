"""From votes tables to numbers: errors of predicted vote fractions between two yardsticks,
calibration, comparisons.

A votes table has the columns `id`, `split`, `volunteers` (people who voted; NaN where unknown), the
true cumulative fractions `Class1.1` ... `Class11.6` (all NaN for a galaxy without votes, which does
not count), the predicted ones `p_Class1.1` ... `p_Class11.6` and, of models that predict
distributions, `s_<question>`: the concentration of the Dirichlet distribution of the question's
answers. Two conventions (see `schema`):

* cumulative: the 37 columns as they are; their RMSE is the score of Kaggle's Galaxy Zoo challenge;
* per question: fractions of those who answered the question, among galaxies where at least two
  people are known to have (where the number of volunteers is unknown: anybody). Predictions, too,
  are divided by the sum of the question's answers, once negative ones are set to 0; where that
  leaves nothing, all answers are taken for equally likely.

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

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from numpy import ndarray

from galaxymorph import galaxy_zoo_tree
from galaxymorph.evaluation.intervals import wilson
from galaxymorph.text import some

CONVENTIONS = ("cumulative", "per question")
METRICS = ("rmse", "mae", "r2")
ROUNDING = 1e-5  # what fractions of six decimals lose, with a margin
BLOCK = 2**22  # weights of galaxies in memory at once while bootstrapping

_QUESTIONS = tuple(galaxy_zoo_tree.SLICES)
_STARTS = [where.start for where in galaxy_zoo_tree.SLICES.values()]
_QUESTION_OF = np.repeat(
    np.arange(11), [len(q.answers) for q in galaxy_zoo_tree.QUESTIONS]
)  # (37,)
_SCOPES = (
    [("overall", "overall")]
    + [("question", q) for q in _QUESTIONS]
    + [("answer", name) for name in galaxy_zoo_tree.LABELS]
)
_MEMBERS = np.vstack(
    [np.ones(37), np.eye(11)[:, _QUESTION_OF], np.eye(37)]
)  # (scope, answer): 1 where it belongs


class Agreement(NamedTuple):
    """Classes that follow from predicted fractions against those that follow from the volunteers'
    (`classes_agreement`)."""

    matrix: (
        pd.DataFrame
    )  # galaxies: class by the votes (row) and by the prediction (column), both with "no class"
    by_votes: float  # share of galaxies that have a class by the votes
    by_prediction: float
    n: int  # galaxies that have a class by both
    accuracy: float  # share of these with the same class, and its 95 % interval (Wilson)
    low: float
    high: float


# ---- one votes table


def evaluate(
    votes: pd.DataFrame, *, split: str = "test", n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Errors of a split's galaxies in both conventions, overall, per question and per answer, with
    intervals and yardsticks.

    Returns a tidy table with the columns scope (overall, question or answer), name (overall, a
    question, or an answer as in `schema.LABELS`), convention, metric, value, low, high, n
    (galaxies), baseline, floor, way, way_low and way_high.

    rmse: the root of the mean squared error over all cells of the scope. mae: the mean absolute
    error. r2: 1 - the sum of squared errors / that of the differences to each answer's mean, both
    over all cells; NaN where votes do not vary. baseline and floor are in the metric's own unit; no
    unbiased floor of the mae is known, it is NaN. way: per cent of the way from baseline to floor
    that the method has gone; NaN where the floor is not below the baseline: there is nothing to
    predict.

    low and high: the central 95 % of a bootstrap of the galaxies (`n_bootstrap` draws, NaN
    without): it covers the choice of the galaxies alone, not of the training run.

    Raises `ValueError` that names column and row of what is wrong in a table; and where the split
    has no galaxy with votes."""
    part, train = _part(votes, split), _part(votes, "train", needed=False)
    cells = [_cells(part, train, convention) for convention in CONVENTIONS]
    draws = _draws(len(part.ids), n_bootstrap=n_bootstrap, seed=seed)
    scores = np.concatenate(
        [np.stack([_scores(weights, *each) for each in cells]) for weights in draws], axis=3
    )
    low, high = _central(
        scores[:, :, [0, 3], 1:].transpose(3, 0, 1, 2, 4)
    )  # (convention, metric, [value, way], scope)
    n = [
        (np.isfinite(observed) @ _MEMBERS.T > 0).sum(0) for observed, *_ in cells
    ]  # galaxies, per scope
    rows = []
    for s, c, m in np.ndindex(len(_SCOPES), len(CONVENTIONS), len(METRICS)):
        scope, name = _SCOPES[s]
        row = {"scope": scope, "name": name, "convention": CONVENTIONS[c], "metric": METRICS[m]}
        value, baseline, floor, way = scores[c, m, :, 0, s]
        row |= {"value": value, "low": low[c, m, 0, s], "high": high[c, m, 0, s], "n": n[c][s]}
        row |= {
            "baseline": baseline,
            "floor": floor,
            "way": way,
            "way_low": low[c, m, 1, s],
            "way_high": high[c, m, 1, s],
        }
        rows.append(row)
    return pd.DataFrame(rows)


def leading(
    votes: pd.DataFrame, *, split: str = "test", agreed: float = 0.8, asked: int = 10
) -> pd.DataFrame:
    """How often the leading answer of a question is predicted, among galaxies where the volunteers
    agree on it.

    They agree where the leading fraction of those who answered is at least `agreed` and at least
    `asked` people answered (where the number of volunteers is unknown: half of them). Columns:
    question, accuracy, low, high (95 % Wilson interval), n (galaxies), always (the accuracy of
    always giving the answer that leads most often in such training galaxies) and most_common (that
    answer)."""
    part, train = _part(votes, split), _part(votes, "train", needed=False)
    here, there = (_agree(each, agreed, asked) for each in (part, train))
    rows = []
    for i, (question, where) in enumerate(galaxy_zoo_tree.SLICES.items()):
        true, taken = (each[here[:, i], where].argmax(1) for each in (part.true, part.predicted))
        usual = np.bincount(
            train.true[there[:, i], where].argmax(1), minlength=where.stop - where.start
        )
        row = {"question": question} | dict(
            zip(("accuracy", "low", "high"), _wilson(true == taken), strict=True)
        )
        row |= {"n": len(true), "always": math.nan, "most_common": ""}
        if usual.any():
            row |= {
                "always": _wilson(true == usual.argmax())[0],
                "most_common": galaxy_zoo_tree.ANSWERS[where][usual.argmax()][1],
            }
        rows.append(row)
    return pd.DataFrame(rows)


def violations(
    votes: pd.DataFrame, *, tolerance: float = 0.01, split: str = "test"
) -> pd.DataFrame:
    """How many galaxies are predicted what no tree of answers allows, by more than `tolerance`.

    Columns: rule (the last, "any of these", for all together), count, share, largest (by how much a
    rule is broken at most, however little; 0: never) and n (galaxies)."""
    p = _part(votes, split).predicted
    asked = galaxy_zoo_tree.reached(p)
    broken = {
        "fraction below 0": -p,
        "fraction above 1": p - 1,
        "answers do not sum to their parent": np.abs(np.add.reduceat(p, _STARTS, axis=1) - asked),
        "answer above its parent": p - asked[:, _QUESTION_OF],
    }
    sizes = {rule: np.maximum(size, 0).max(1) for rule, size in broken.items()}
    sizes["any of these"] = np.max(list(sizes.values()), axis=0)
    table = pd.DataFrame(
        {"rule": list(sizes), "count": [int((size > tolerance).sum()) for size in sizes.values()]}
    )
    return table.assign(
        share=table["count"] / len(p),
        largest=[float(size.max()) for size in sizes.values()],
        n=len(p),
    )


def classes_agreement(
    votes: pd.DataFrame, *, classes: Sequence[str] = galaxy_zoo_tree.CLASSES[4], split: str = "test"
) -> Agreement:
    """Whether the thresholds of `schema.hard_labels` give a galaxy the same class by predicted and
    by the volunteers' votes."""
    part = _part(votes, split)
    true, taken = (
        galaxy_zoo_tree.hard_labels(each, classes) for each in (part.true, part.predicted)
    )
    names, k = [*classes, "no class"], len(classes) + 1
    matrix = np.bincount(true % k * k + taken % k, minlength=k * k).reshape(
        k, k
    )  # -1 % k is the last
    both = (true >= 0) & (taken >= 0)
    return Agreement(
        pd.DataFrame(
            matrix, pd.Index(names, name="by votes"), pd.Index(names, name="by prediction")
        ),
        float((true >= 0).mean()),
        float((taken >= 0).mean()),
        int(both.sum()),
        *_wilson(true[both] == taken[both]),
    )


# ---- many votes tables


# ---- the parts of a table


class _Part(NamedTuple):
    """The galaxies of a split that have votes."""

    ids: list[str]
    true: Float[ndarray, "galaxy 37"]
    predicted: Float[ndarray, "galaxy 37"]
    volunteers: Float[ndarray, " galaxy"]
    concentration: Float[ndarray, "galaxy 11"] | None


def _part(votes: pd.DataFrame, split: str, *, needed: bool = True) -> _Part:
    """A split of a table, once the whole table is checked; where it is not `needed`, it may be
    empty."""
    true, predicted = (
        list(galaxy_zoo_tree.COLUMNS),
        [f"p_{name}" for name in galaxy_zoo_tree.COLUMNS],
    )
    spread = [f"s_{name}" for name in _QUESTIONS]
    spread = spread if any(name in votes.columns for name in spread) else []
    missing = [
        name
        for name in ["id", "split", "volunteers", *true, *predicted, *spread]
        if name not in votes.columns
    ]
    if missing:
        raise ValueError(
            f"no votes table: the columns {some(missing)} are missing; it has {some(list(votes.columns))}"
        )
    twice = votes.loc[votes["id"].duplicated(), "id"]
    if len(twice):
        raise ValueError(
            f"ids are there twice or more: {some(list(twice.unique()))}; keep one row per galaxy"
        )
    voted = ~np.isnan(votes[true].to_numpy(float)).all(1)
    _demand(votes.loc[voted], true, -ROUNDING, 1 + ROUNDING)
    _demand(votes, predicted, -math.inf, math.inf)
    _demand(votes.loc[votes["volunteers"].notna()], ["volunteers"], 0.0, math.inf)
    _demand(votes, spread, 0.0, math.inf)
    rows = votes.loc[voted & np.asarray(votes["split"] == split)]
    if needed and rows.empty:
        have = ", ".join(
            f"{name} ({n} rows)" for name, n in votes.loc[voted, "split"].value_counts().items()
        )
        raise ValueError(
            f"no galaxy with votes in split {split!r}; the table has {have or 'none in any split'}"
        )
    fractions, outputs, people = (
        rows[names].to_numpy(float) for names in (true, predicted, "volunteers")
    )
    return _Part(
        rows["id"].tolist(),
        fractions,
        outputs,
        people,
        rows[spread].to_numpy(float) if spread else None,
    )


def _demand(rows: pd.DataFrame, columns: list[str], low: float, high: float) -> None:
    """Every number of these columns lies between the limits."""
    values = rows[columns].to_numpy(float)
    bad = ~((values > low) & (values < high))  # NaN is neither
    if bad.any():
        column = int(bad.any(0).argmax())
        wrong = [
            f"{rows.index[i]} (id {rows['id'].iloc[i]}: {values[i, column]})"
            for i in np.flatnonzero(bad[:, column])
        ]
        limits = (
            f"has to lie between {low:.5g} and {high:.5g}"
            if low > -math.inf
            else "has to be a finite number"
        )
        raise ValueError(
            f"column {columns[column]} {limits}, but does not in {len(wrong)} rows: {some(wrong)}"
        )


def _shares(predicted: Float[ndarray, "galaxy 37"]) -> Float[ndarray, "galaxy 37"]:
    """Predicted fractions of those who answer each question: from 0 to 1, and they sum to 1."""
    shares = galaxy_zoo_tree.shares(predicted)
    return np.where(np.isnan(shares), 1 / _MEMBERS[1:12].sum(1)[_QUESTION_OF], shares)


def _answered(part: _Part) -> Float[ndarray, "galaxy 37"]:
    """The share of a galaxy's volunteers who answered each question, in the columns of its
    answers."""
    return np.add.reduceat(part.true, _STARTS, axis=1)[:, _QUESTION_OF]


def _observed(part: _Part) -> Float[ndarray, "galaxy 37"]:
    """The volunteers' fractions per question; NaN where nobody answered, or, as far as is known,
    one."""
    answered = _answered(part)
    enough = (answered > ROUNDING) & ~(part.volunteers[:, None] * answered < 1.5)
    return np.divide(part.true, answered, out=np.full(answered.shape, np.nan), where=enough)


def _agree(part: _Part, agreed: float, asked: int) -> Bool[ndarray, "galaxy 11"]:
    """Where the volunteers agree on the leading answer of a question (`leading`)."""
    share = _answered(part)[:, _STARTS]
    people = part.volunteers[:, None] * share
    most = np.maximum.reduceat(part.true, _STARTS, axis=1)
    return (
        (most > 0)
        & (most >= (agreed - ROUNDING) * share)
        & np.where(np.isnan(people), share >= 0.5, people > asked - 0.5)
    )


def _wilson(right: Bool[ndarray, " galaxy"]) -> tuple[float, float, float]:
    """The share of true values, and its 95 % interval; NaN of nothing."""
    if not len(right):
        return math.nan, math.nan, math.nan
    return float(right.mean()), *wilson(int(right.sum()), len(right))


# ---- errors and their intervals

Cells = tuple[
    Float[ndarray, "galaxy 37"],
    Float[ndarray, "galaxy 37"],
    Float[ndarray, " 37"],
    Float[ndarray, "galaxy 37"],
]


def _cells(part: _Part, train: _Part, convention: str) -> Cells:
    """Observed fractions (NaN where they do not count), predicted ones, mean votes of the training
    galaxies, and the variance of the volunteers' sampling (NaN where unknown)."""
    if convention == "cumulative":
        observed, predicted, past, people = (
            part.true,
            part.predicted,
            train.true,
            part.volunteers[:, None],
        )
    else:
        observed, predicted, past = _observed(part), _shares(part.predicted), _observed(train)
        people = part.volunteers[:, None] * _answered(part)
    enough = np.broadcast_to(people > 1.5, observed.shape)
    noise = np.divide(
        observed * (1 - observed), people - 1, out=np.full(observed.shape, np.nan), where=enough
    )
    return (
        observed,
        predicted,
        pd.DataFrame(past).mean().to_numpy(float),
        noise,
    )  # pandas leaves NaN out of a mean


def _scores(
    weights: Float[ndarray, "draw galaxy"],
    observed: Float[ndarray, "galaxy 37"],
    predicted: Float[ndarray, "galaxy 37"],
    mean: Float[ndarray, " 37"],
    noise: Float[ndarray, "galaxy 37"],
) -> Float[ndarray, "3 4 draw scope"]:
    """For many weightings of the same galaxies at once: each of `METRICS` as value, baseline, floor
    and way."""
    there, known = np.isfinite(observed), np.isfinite(noise)
    error, away = predicted - observed, mean - observed
    centred = observed - np.where(there, observed, 0).mean(
        0
    )  # small numbers, for the sake of precision

    def total(
        values: Float[ndarray, "galaxy 37"] | float, where: Bool[ndarray, "galaxy 37"] = there
    ) -> Any:
        return weights @ np.where(where, values, 0.0)  # (draw, 37)

    with np.errstate(
        invalid="ignore", divide="ignore"
    ):  # 0 / 0: a question that nobody in a draw was asked
        n = total(1.0)
        mse, mae, mse0, mae0 = (
            total(each) @ _MEMBERS.T / (n @ _MEMBERS.T)
            for each in (error**2, abs(error), away**2, abs(away))
        )  # (draw, scope)
        least = total(noise, known) @ _MEMBERS.T / (total(1.0, known) @ _MEMBERS.T)
        varied = (
            (total(centred**2) - total(centred) ** 2 / np.maximum(n, 1))
            @ _MEMBERS.T
            / (n @ _MEMBERS.T)
        )
        varied[varied < 1e-12] = np.nan
        metrics = [
            [np.sqrt(mse), np.sqrt(mse0), np.sqrt(least)],
            [mae, mae0, np.full(mae.shape, np.nan)],
            [1 - mse / varied, 1 - mse0 / varied, 1 - least / varied],
        ]
        for each in metrics:
            value, baseline, floor = each
            each.append(
                np.where(least < mse0, 100 * (value - baseline) / (floor - baseline), np.nan)
            )
    return np.array(metrics)


def _draws(n: int, *, n_bootstrap: int, seed: int) -> Iterator[Float[ndarray, "draw galaxy"]]:
    """How often each of n galaxies counts: once, and then in draws with replacement, block by
    block."""
    yield np.ones((1, n))
    rng, step = np.random.default_rng(seed), max(1, BLOCK // n)
    for start in range(0, n_bootstrap, step):
        size = min(step, n_bootstrap - start)
        drawn = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(float)


def _central(draws: Float[ndarray, "draw ..."]) -> Float[ndarray, "2 ..."]:
    """The limits of the central 95 %, of the draws where there is a value; NaN without any."""
    flat = pd.DataFrame(draws.reshape(len(draws), math.prod(draws.shape[1:])))
    return flat.quantile([0.025, 0.975]).to_numpy(float).reshape(2, *draws.shape[1:])


# ---- the rows of a comparison
