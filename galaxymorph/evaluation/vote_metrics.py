"""From votes tables to numbers: errors of predicted vote fractions between two yardsticks, calibration, comparisons.

A votes table has the columns `id`, `split`, `volunteers` (people who voted; NaN where unknown), the true cumulative
fractions `Class1.1` ... `Class11.6` (all NaN for a galaxy without votes, which does not count), the predicted ones
`p_Class1.1` ... `p_Class11.6` and, of models that predict distributions, `s_<question>`: the concentration of the
Dirichlet distribution of the question's answers. Two conventions (see `schema`):

* cumulative: the 37 columns as they are; their RMSE is the score of Kaggle's Galaxy Zoo challenge;
* per question: fractions of those who answered the question, among galaxies where at least two people are known to have
  (where the number of volunteers is unknown: anybody). Predictions, too, are divided by the sum of the question's answers,
  once negative ones are set to 0; where that leaves nothing, all answers are taken for equally likely.

Two yardsticks show what an error is worth:

* baseline: the error of predicting the mean vote of the training galaxies for every galaxy;
* floor: the error that is left for someone who knows the opinion of all mankind, as N volunteers are but a sample of it.
  With the true fraction q, the fraction v that N people vote has the variance q (1 - q) / N (binomial), and since
  E[v (1 - v)] = q (1 - q) (N - 1) / N, the unbiased estimate of this variance is v (1 - v) / (N - 1). The floor of the
  RMSE is the root of its mean over cells (galaxy, answer) with N known and at least 2; per question, N are those who
  answered. (If weights were given to volunteers, as in Galaxy Zoo 2, N counts too many, and the floor is rather low.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.stats import betabinom, binom
from scipy.stats import t as student

from galaxymorph import galaxy_zoo_tree as schema
from galaxymorph.evaluation.comparison import absent, attendance, budget, head, labels, number, tail, with_interval, words
from galaxymorph.evaluation.metrics import some, wilson

CONVENTIONS = ("cumulative", "per question")
METRICS = ("rmse", "mae", "r2")
COMPARED = {  # by methods, and where it ends
    **{"rmse": (0, math.inf), "mae": (0, math.inf), "r2": (-math.inf, 1), "baseline": (0, math.inf), "floor": (0, math.inf)},
    **{"way": (-math.inf, math.inf), "violations": (0, 1)},
}
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
ROUNDING = 1e-5  # what fractions of six decimals lose, with a margin
BLOCK = 2**22  # weights of galaxies in memory at once while bootstrapping

_QUESTIONS = tuple(schema.SLICES)
_STARTS = [where.start for where in schema.SLICES.values()]
_QUESTION_OF = np.repeat(np.arange(11), [len(q.answers) for q in schema.QUESTIONS])  # (37,)
_SCOPES = [("overall", "overall")] + [("question", q) for q in _QUESTIONS] + [("answer", name) for name in schema.LABELS]
_MEMBERS = np.vstack([np.ones(37), np.eye(11)[:, _QUESTION_OF], np.eye(37)])  # (scope, answer): 1 where it belongs


class Agreement(NamedTuple):
    """Classes that follow from predicted fractions against those that follow from the volunteers' (`classes_agreement`)."""

    matrix: pd.DataFrame  # galaxies: class by the votes (row) and by the prediction (column), both with "no class"
    by_votes: float  # share of galaxies that have a class by the votes
    by_prediction: float
    n: int  # galaxies that have a class by both
    accuracy: float  # share of these with the same class, and its 95 % interval (Wilson)
    low: float
    high: float


# ---- one votes table


def evaluate(votes: pd.DataFrame, *, split: str = "test", n_bootstrap: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Errors of a split's galaxies in both conventions, overall, per question and per answer, with intervals and yardsticks.

    Returns a tidy table with the columns scope (overall, question or answer), name (overall, a question, or an answer as in
    `schema.LABELS`), convention, metric, value, low, high, n (galaxies), baseline, floor, way, way_low and way_high.

    rmse: the root of the mean squared error over all cells of the scope. mae: the mean absolute error. r2: 1 - the sum of
    squared errors / that of the differences to each answer's mean, both over all cells; NaN where votes do not vary. baseline
    and floor are in the metric's own unit; no unbiased floor of the mae is known, it is NaN. way: per cent of the way from
    baseline to floor that the method has gone; NaN where the floor is not below the baseline: there is nothing to predict.

    low and high: the central 95 % of a bootstrap of the galaxies (`n_bootstrap` draws, NaN without): it covers the choice
    of the galaxies alone, not of the training run.

    Raises `ValueError` that names column and row of what is wrong in a table; and where the split has no galaxy with votes.
    """
    part, train = _part(votes, split), _part(votes, "train", needed=False)
    cells = [_cells(part, train, convention) for convention in CONVENTIONS]
    draws = _draws(len(part.ids), n_bootstrap=n_bootstrap, seed=seed)
    scores = np.concatenate([np.stack([_scores(weights, *each) for each in cells]) for weights in draws], axis=3)
    low, high = _central(scores[:, :, [0, 3], 1:].transpose(3, 0, 1, 2, 4))  # (convention, metric, [value, way], scope)
    n = [(np.isfinite(observed) @ _MEMBERS.T > 0).sum(0) for observed, *_ in cells]  # galaxies, per scope
    rows = []
    for s, c, m in np.ndindex(len(_SCOPES), len(CONVENTIONS), len(METRICS)):
        scope, name = _SCOPES[s]
        row = {"scope": scope, "name": name, "convention": CONVENTIONS[c], "metric": METRICS[m]}
        value, baseline, floor, way = scores[c, m, :, 0, s]
        row |= {"value": value, "low": low[c, m, 0, s], "high": high[c, m, 0, s], "n": n[c][s]}
        row |= {"baseline": baseline, "floor": floor, "way": way, "way_low": low[c, m, 1, s], "way_high": high[c, m, 1, s]}
        rows.append(row)
    return pd.DataFrame(rows)


def leading(votes: pd.DataFrame, *, split: str = "test", agreed: float = 0.8, asked: int = 10) -> pd.DataFrame:
    """How often the leading answer of a question is predicted, among galaxies where the volunteers agree on it.

    They agree where the leading fraction of those who answered is at least `agreed` and at least `asked` people answered
    (where the number of volunteers is unknown: half of them). Columns: question, accuracy, low, high (95 % Wilson interval),
    n (galaxies), always (the accuracy of always giving the answer that leads most often in such training galaxies) and
    most_common (that answer).
    """
    part, train = _part(votes, split), _part(votes, "train", needed=False)
    here, there = (_agree(each, agreed, asked) for each in (part, train))
    rows = []
    for i, (question, where) in enumerate(schema.SLICES.items()):
        true, taken = (each[here[:, i], where].argmax(1) for each in (part.true, part.predicted))
        usual = np.bincount(train.true[there[:, i], where].argmax(1), minlength=where.stop - where.start)
        row = {"question": question} | dict(zip(("accuracy", "low", "high"), _wilson(true == taken), strict=True))
        row |= {"n": len(true), "always": math.nan, "most_common": ""}
        if usual.any():
            row |= {"always": _wilson(true == usual.argmax())[0], "most_common": schema.ANSWERS[where][usual.argmax()][1]}
        rows.append(row)
    return pd.DataFrame(rows)


def coverage(
    votes: pd.DataFrame, *, levels: Sequence[float] = LEVELS, split: str = "test", n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """How many of the volunteers' counts lie within the central predicted interval of each level: as many as the level says,
    if the predicted distributions are right.

    Of n people who answer, the number who give an answer is predicted to be beta-binomial(n, s p, s (1 - p)), the marginal of
    the Dirichlet-multinomial (Walmsley et al. 2022, arXiv 2102.08414), where the table has concentrations s, and
    binomial(n, p) where it has none. Counts are discrete, so that no interval of theirs has a given level: whether a count
    lies within is decided by its randomised probability integral transform u = F(k - 1) + v f(k) with v uniform in [0, 1]
    (Czado et al. 2009), which is uniform if F is right: within, where |u - 0.5| <= level / 2.

    Columns: question (or overall), level, coverage (share of all counts), low, high (bootstrap over galaxies), error (the mean
    of |coverage - level| over all levels of the question) and n (galaxies with a known number of people who answered).
    """
    u = _transform(_part(votes, split), seed=seed)
    inside = (np.abs(u - 0.5) <= np.array(levels)[:, None, None] / 2) @ _MEMBERS[:12].T  # (level, galaxy, scope), counts
    there = np.isfinite(u) @ _MEMBERS[:12].T
    blocks = []
    for weights in _draws(len(u), n_bootstrap=n_bootstrap, seed=seed):
        counts = weights @ there  # (draw, scope)
        within = weights @ inside  # (level, draw, scope)
        blocks.append(np.divide(within, counts, out=np.full(within.shape, np.nan), where=counts > 0))
    shares = np.concatenate(blocks, axis=1)
    low, high = _central(shares[:, 1:].transpose(1, 0, 2))  # (level, scope)
    error, n = np.abs(shares[:, 0] - np.array(levels)[:, None]).mean(0), (there > 0).sum(0)
    return pd.DataFrame(
        {"question": name, "level": level, "coverage": shares[i, 0, s], "low": low[i, s], "high": high[i, s]}
        | {"error": error[s], "n": n[s]}
        for s, (_, name) in enumerate(_SCOPES[:12])
        for i, level in enumerate(levels)
    )


def pit(votes: pd.DataFrame, *, bins: int = 10, split: str = "test", seed: int = 0) -> pd.DataFrame:
    """Histogram of the randomised probability integral transform (see `coverage`): flat if the predicted distributions are
    right, a valley if they are too narrow, a hill if too wide. Columns: question (or overall), bin (its centre), share (of
    the counts; 1 / bins if flat) and n (counts)."""
    u = _transform(_part(votes, split), seed=seed)
    rows = []
    for s, (_, name) in enumerate(_SCOPES[:12]):
        values = u[:, _MEMBERS[s] > 0]
        count, edges = np.histogram(values[np.isfinite(values)], bins, (0, 1))
        share = count / count.sum() if count.any() else np.full(bins, np.nan)
        rows.append(pd.DataFrame({"question": name, "bin": (edges[:-1] + edges[1:]) / 2, "share": share, "n": count.sum()}))
    return pd.concat(rows, ignore_index=True)


def calibration(votes: pd.DataFrame, *, bins: int = 10, split: str = "test") -> pd.DataFrame:
    """Predicted fractions of those who answered, in bins of equal width, against what the volunteers of these galaxies said.

    Columns: question (or overall; all its answers together), bin (centre), predicted, observed (means), low, high (1.96
    standard errors of `observed` around it, answers counting as independent) and n (answers of galaxies). Empty bins are
    left out.
    """
    part = _part(votes, split)
    predicted, observed = _shares(part.predicted), _observed(part)
    there = np.isfinite(observed)
    question = np.broadcast_to(np.array(_QUESTIONS)[_QUESTION_OF], there.shape)[there]
    table = pd.DataFrame({"question": question, "predicted": predicted[there], "observed": observed[there]})
    table["bin"] = (np.minimum((table["predicted"] * bins).astype(int), bins - 1) + 0.5) / bins
    table = pd.concat([table.assign(question="overall"), table])
    table["question"] = pd.Categorical(table["question"], ["overall", *_QUESTIONS])
    means = table.groupby(["question", "bin"], observed=True).agg(
        predicted=("predicted", "mean"), observed=("observed", "mean"), margin=("observed", "sem"), n=("observed", "size")
    )
    margin = 1.96 * means.pop("margin")
    means = means.assign(low=means["observed"] - margin, high=means["observed"] + margin).reset_index()
    return means.astype({"question": str})


def violations(votes: pd.DataFrame, *, tolerance: float = 0.01, split: str = "test") -> pd.DataFrame:
    """How many galaxies are predicted what no tree of answers allows, by more than `tolerance`.

    Columns: rule (the last, "any of these", for all together), count, share, largest (by how much a rule is broken at
    most, however little; 0: never) and n (galaxies).
    """
    p = _part(votes, split).predicted
    asked = schema.reached(p)
    broken = {
        "fraction below 0": -p,
        "fraction above 1": p - 1,
        "answers do not sum to their parent": np.abs(np.add.reduceat(p, _STARTS, axis=1) - asked),
        "answer above its parent": p - asked[:, _QUESTION_OF],
    }
    sizes = {rule: np.maximum(size, 0).max(1) for rule, size in broken.items()}
    sizes["any of these"] = np.max(list(sizes.values()), axis=0)
    table = pd.DataFrame({"rule": list(sizes), "count": [int((size > tolerance).sum()) for size in sizes.values()]})
    return table.assign(share=table["count"] / len(p), largest=[float(size.max()) for size in sizes.values()], n=len(p))


def classes_agreement(votes: pd.DataFrame, *, classes: Sequence[str] = schema.CLASSES[4], split: str = "test") -> Agreement:
    """Whether the thresholds of `schema.hard_labels` give a galaxy the same class by predicted and by the volunteers' votes."""
    part = _part(votes, split)
    true, taken = (schema.hard_labels(each, classes) for each in (part.true, part.predicted))
    names, k = [*classes, "no class"], len(classes) + 1
    matrix = np.bincount(true % k * k + taken % k, minlength=k * k).reshape(k, k)  # -1 % k is the last
    both = (true >= 0) & (taken >= 0)
    return Agreement(
        pd.DataFrame(matrix, pd.Index(names, name="by votes"), pd.Index(names, name="by prediction")),
        float((true >= 0).mean()),
        float((taken >= 0).mean()),
        int(both.sum()),
        *_wilson(true[both] == taken[both]),
    )


# ---- many votes tables


def compare(pieces: Sequence[Mapping[str, Any]], *, n_bootstrap: int = 1000, seed: int = 0) -> pd.DataFrame:
    """One row per method and label budget, over its seeds, in the order of `pieces`.

    A piece is one training run: `step` (the method), `seed`, `n_labels` (None: all labels), `votes` (a table, or None where
    it is missing), and, if known, `seconds`, `protocol` and `not_run` (why it was left out).

    Columns: method, protocol (where a piece has one), n_labels (<NA> for all), n_train and n_test (galaxies with votes per
    seed; the fewest), seeds (those that are there), missing (those that are not), not_run (why pieces were left out, which do
    not count as missing; where there are some), seconds (mean), interval (what low and
    high are), seed_rmse (the RMSE of each seed, a dict), and for each of `COMPARED`, of the test galaxies in the cumulative
    convention: mean over seeds, <name>_std (n - 1), <name>_low and <name>_high. `violations` is the share of galaxies that
    break the tree.

    low and high with two seeds or more: the 95 % t-interval of the mean over seeds (rather too narrow, as their galaxies
    overlap: Nadeau & Bengio 2003). With one seed: the bootstrap interval over galaxies of `evaluate`, where it has one.

    Raises `ValueError` that names the method and seed of a faulty table, of two pieces for the same seed, or of one that was
    tested on other galaxies than another method with its seed.
    """
    groups: dict[tuple[str, int | None], list[Mapping[str, Any]]] = {}
    tested: dict[Any, tuple[str, frozenset[str]]] = {}
    for piece in pieces:
        group = groups.setdefault((str(piece["step"]), budget(piece)), [])
        if piece["seed"] in [other["seed"] for other in group]:
            raise ValueError(f"{_title(piece)} is there twice; give variants a step each")
        group.append(piece)
        if piece["votes"] is not None:
            try:
                ids = frozenset(_part(piece["votes"], "test").ids)
            except ValueError as error:
                raise ValueError(f"{_title(piece)}: {error}") from error
            name, others = tested.setdefault(piece["seed"], (str(piece["step"]), ids))
            if ids != others:
                raise ValueError(
                    f"{_title(piece)}: tested on {len(ids):,} galaxies, of which {len(ids & others):,} are among the "
                    f"{len(others):,} of {name}; execute both again with the same galaxies"
                )
    rows = [
        {"method": step, "n_labels": n_labels} | _row(group, n_bootstrap=n_bootstrap, seed=seed)
        for (step, n_labels), group in groups.items()
    ]
    columns = ["method", "protocol", "n_labels", "n_train", "n_test", "seeds", "missing", "not_run", "seconds", "interval"]
    columns += ["seed_rmse"] + [f"{name}{end}" for name in COMPARED for end in ("", "_std", "_low", "_high")]
    table = pd.DataFrame(rows).reindex(columns=columns).astype(dict.fromkeys(["n_labels", "n_train", "n_test"], "Int64"))
    return table.drop(columns=[name for name in ("protocol", "not_run") if not any(piece.get(name) for piece in pieces)])


def sentences(table: pd.DataFrame) -> list[str]:
    """What a table of `compare` says about the RMSE, in plain words, for each label budget: who has the lowest, what is a tie,
    how far it is from baseline to floor, who breaks the tree, and what is missing.

    Two methods with two common seeds or more are compared by the 95 % t-interval of their difference, paired by seed; others
    by both their intervals, as if independent. No correction for the number of methods.
    """
    said, budgets = [], {}
    for row in table.to_dict("records"):
        budgets.setdefault(budget(row), []).append(row)
    for rows in budgets.values():
        opening = f"With {labels(budget(rows[0]))}"
        ranked = sorted((row for row in rows if row["seeds"]), key=lambda row: row["rmse"])
        said += _ranking(opening, ranked) if ranked else [f"{opening}: no result yet."]
        for row in ranked:
            if row["violations"] > 0:
                share = f"{100 * row['violations']:.1f} % of its test galaxies ({_seeds(row)})"
                said.append(f"{opening}, {row['method']} breaks the tree for {share}.")
        said += [f"{opening}, {sentence}" for row in rows for sentence in absent(row)]
    return said


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """A table of `compare` as text to look at: each number as `0.1303 [0.1285, 0.1321]`; no value as an en dash."""
    forms = {"rmse": ("RMSE", ".4f"), "mae": ("MAE", ".4f"), "r2": ("R²", ".3f"), "way": ("% of the way", ".1f")}
    shown = []
    for row in table.to_dict("records"):
        text = head(row) | {title: with_interval(row, name, form) for name, (title, form) in forms.items()}
        text |= {"baseline RMSE": number(row["baseline"], ".4f"), "noise floor": number(row["floor"], ".4f")}
        text["break the tree"] = number(row["violations"], ".1%")
        if not row["seeds"] and words(row, "not_run"):
            text["RMSE"] = f"not run: {row['not_run']}"
        shown.append(text | tail(row))
    return pd.DataFrame(shown)


# ---- the parts of a table


class _Part(NamedTuple):
    """The galaxies of a split that have votes."""

    ids: list[str]
    true: Float[ndarray, "galaxy 37"]
    predicted: Float[ndarray, "galaxy 37"]
    volunteers: Float[ndarray, " galaxy"]
    concentration: Float[ndarray, "galaxy 11"] | None


def _part(votes: pd.DataFrame, split: str, *, needed: bool = True) -> _Part:
    """A split of a table, once the whole table is checked; where it is not `needed`, it may be empty."""
    true, predicted = list(schema.COLUMNS), [f"p_{name}" for name in schema.COLUMNS]
    spread = [f"s_{name}" for name in _QUESTIONS]
    spread = spread if any(name in votes.columns for name in spread) else []
    missing = [name for name in ["id", "split", "volunteers", *true, *predicted, *spread] if name not in votes.columns]
    if missing:
        raise ValueError(f"no votes table: the columns {some(missing)} are missing; it has {some(list(votes.columns))}")
    twice = votes.loc[votes["id"].duplicated(), "id"]
    if len(twice):
        raise ValueError(f"ids are there twice or more: {some(list(twice.unique()))}; keep one row per galaxy")
    voted = ~np.isnan(votes[true].to_numpy(float)).all(1)
    _demand(votes.loc[voted], true, -ROUNDING, 1 + ROUNDING)
    _demand(votes, predicted, -math.inf, math.inf)
    _demand(votes.loc[votes["volunteers"].notna()], ["volunteers"], 0.0, math.inf)
    _demand(votes, spread, 0.0, math.inf)
    rows = votes.loc[voted & np.asarray(votes["split"] == split)]
    if needed and rows.empty:
        have = ", ".join(f"{name} ({n} rows)" for name, n in votes.loc[voted, "split"].value_counts().items())
        raise ValueError(f"no galaxy with votes in split {split!r}; the table has {have or 'none in any split'}")
    fractions, outputs, people = (rows[names].to_numpy(float) for names in (true, predicted, "volunteers"))
    return _Part(rows["id"].tolist(), fractions, outputs, people, rows[spread].to_numpy(float) if spread else None)


def _demand(rows: pd.DataFrame, columns: list[str], low: float, high: float) -> None:
    """Every number of these columns lies between the limits."""
    values = rows[columns].to_numpy(float)
    bad = ~((values > low) & (values < high))  # NaN is neither
    if bad.any():
        column = int(bad.any(0).argmax())
        wrong = [f"{rows.index[i]} (id {rows['id'].iloc[i]}: {values[i, column]})" for i in np.flatnonzero(bad[:, column])]
        limits = f"has to lie between {low:.5g} and {high:.5g}" if low > -math.inf else "has to be a finite number"
        raise ValueError(f"column {columns[column]} {limits}, but does not in {len(wrong)} rows: {some(wrong)}")


def _shares(predicted: Float[ndarray, "galaxy 37"]) -> Float[ndarray, "galaxy 37"]:
    """Predicted fractions of those who answer each question: from 0 to 1, and they sum to 1."""
    shares = schema.shares(predicted)
    return np.where(np.isnan(shares), 1 / _MEMBERS[1:12].sum(1)[_QUESTION_OF], shares)


def _answered(part: _Part) -> Float[ndarray, "galaxy 37"]:
    """The share of a galaxy's volunteers who answered each question, in the columns of its answers."""
    return np.add.reduceat(part.true, _STARTS, axis=1)[:, _QUESTION_OF]


def _observed(part: _Part) -> Float[ndarray, "galaxy 37"]:
    """The volunteers' fractions per question; NaN where nobody answered, or, as far as is known, one."""
    answered = _answered(part)
    enough = (answered > ROUNDING) & ~(part.volunteers[:, None] * answered < 1.5)
    return np.divide(part.true, answered, out=np.full(answered.shape, np.nan), where=enough)


def _agree(part: _Part, agreed: float, asked: int) -> Bool[ndarray, "galaxy 11"]:
    """Where the volunteers agree on the leading answer of a question (`leading`)."""
    share = _answered(part)[:, _STARTS]
    people = part.volunteers[:, None] * share
    most = np.maximum.reduceat(part.true, _STARTS, axis=1)
    return (most > 0) & (most >= (agreed - ROUNDING) * share) & np.where(np.isnan(people), share >= 0.5, people > asked - 0.5)


def _wilson(right: Bool[ndarray, " galaxy"]) -> tuple[float, float, float]:
    """The share of true values, and its 95 % interval; NaN of nothing."""
    if not len(right):
        return math.nan, math.nan, math.nan
    return float(right.mean()), *wilson(int(right.sum()), len(right))


def _transform(part: _Part, *, seed: int) -> Float[ndarray, "galaxy 37"]:
    """The randomised probability integral transform of each count of votes (`coverage`); NaN where nobody answered, or the
    number of volunteers is unknown."""
    counts = np.round(part.volunteers[:, None] * part.true)
    asked = np.add.reduceat(counts, _STARTS, axis=1)[:, _QUESTION_OF]
    there = asked > 0
    k, n, p = counts[there].astype(int), asked[there].astype(int), _shares(part.predicted)[there]
    if part.concentration is None:
        below, upto = binom.cdf(k - 1, n, p), binom.cdf(k, n, p)
    else:
        s = part.concentration[:, _QUESTION_OF][there]
        a, b = np.maximum(s * p, 1e-9), np.maximum(s * (1 - p), 1e-9)
        below = np.zeros(len(k))
        for j in range(k.max(initial=0)):  # betabinom.cdf adds up one galaxy at a time, which takes a hundred times as long
            more = k > j
            below[more] += betabinom.pmf(j, n[more], a[more], b[more])
        upto = below + betabinom.pmf(k, n, a, b)
    u = np.full(there.shape, np.nan)
    u[there] = below + np.random.default_rng(seed).random(len(k)) * (upto - below)
    return u


# ---- errors and their intervals

Cells = tuple[Float[ndarray, "galaxy 37"], Float[ndarray, "galaxy 37"], Float[ndarray, " 37"], Float[ndarray, "galaxy 37"]]


def _cells(part: _Part, train: _Part, convention: str) -> Cells:
    """Observed fractions (NaN where they do not count), predicted ones, mean votes of the training galaxies, and the
    variance of the volunteers' sampling (NaN where unknown)."""
    if convention == "cumulative":
        observed, predicted, past, people = part.true, part.predicted, train.true, part.volunteers[:, None]
    else:
        observed, predicted, past = _observed(part), _shares(part.predicted), _observed(train)
        people = part.volunteers[:, None] * _answered(part)
    enough = np.broadcast_to(people > 1.5, observed.shape)
    noise = np.divide(observed * (1 - observed), people - 1, out=np.full(observed.shape, np.nan), where=enough)
    return observed, predicted, pd.DataFrame(past).mean().to_numpy(float), noise  # pandas leaves NaN out of a mean


def _scores(
    weights: Float[ndarray, "draw galaxy"],
    observed: Float[ndarray, "galaxy 37"],
    predicted: Float[ndarray, "galaxy 37"],
    mean: Float[ndarray, " 37"],
    noise: Float[ndarray, "galaxy 37"],
) -> Float[ndarray, "3 4 draw scope"]:
    """For many weightings of the same galaxies at once: each of `METRICS` as value, baseline, floor and way."""
    there, known = np.isfinite(observed), np.isfinite(noise)
    error, away = predicted - observed, mean - observed
    centred = observed - np.where(there, observed, 0).mean(0)  # small numbers, for the sake of precision

    def total(values: Float[ndarray, "galaxy 37"] | float, where: Bool[ndarray, "galaxy 37"] = there) -> Any:
        return weights @ np.where(where, values, 0.0)  # (draw, 37)

    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0: a question that nobody in a draw was asked
        n = total(1.0)
        mse, mae, mse0, mae0 = (
            total(each) @ _MEMBERS.T / (n @ _MEMBERS.T) for each in (error**2, abs(error), away**2, abs(away))
        )  # (draw, scope)
        least = total(noise, known) @ _MEMBERS.T / (total(1.0, known) @ _MEMBERS.T)
        varied = (total(centred**2) - total(centred) ** 2 / np.maximum(n, 1)) @ _MEMBERS.T / (n @ _MEMBERS.T)
        varied[varied < 1e-12] = np.nan
        metrics = [
            [np.sqrt(mse), np.sqrt(mse0), np.sqrt(least)],
            [mae, mae0, np.full(mae.shape, np.nan)],
            [1 - mse / varied, 1 - mse0 / varied, 1 - least / varied],
        ]
        for each in metrics:
            value, baseline, floor = each
            each.append(np.where(least < mse0, 100 * (value - baseline) / (floor - baseline), np.nan))
    return np.array(metrics)


def _draws(n: int, *, n_bootstrap: int, seed: int) -> Iterator[Float[ndarray, "draw galaxy"]]:
    """How often each of n galaxies counts: once, and then in draws with replacement, block by block."""
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


def _title(piece: Mapping[str, Any]) -> str:
    return f"{piece['step']}, {labels(budget(piece))}, seed {piece['seed']}"


def _row(group: Sequence[Mapping[str, Any]], *, n_bootstrap: int, seed: int) -> dict[str, Any]:
    """A method's row of `compare` (without method and n_labels), from its pieces."""
    there = [piece for piece in group if piece["votes"] is not None]
    protocols = dict.fromkeys(piece["protocol"] for piece in group if piece.get("protocol"))
    row: dict[str, Any] = {"protocol": " / ".join(protocols) or None} | attendance(group, "votes")
    if not there:
        return row | {"interval": "", "seed_rmse": {}}
    results = [_overall(piece, n_bootstrap=n_bootstrap if len(there) == 1 else 0, seed=seed) for piece in there]
    values = pd.DataFrame([result["value"] for result in results])  # (seed, of COMPARED)
    mean, std = values.mean(), values.std()
    low, high = results[0]["low"], results[0]["high"]
    if len(there) > 1:
        margin = float(student.ppf(0.975, len(there) - 1)) / math.sqrt(len(there)) * std
        low, high = mean - margin, mean + margin
    seconds = [piece["seconds"] for piece in there if piece.get("seconds") is not None]
    row |= {
        "n_train": min(len(_part(piece["votes"], "train", needed=False).ids) for piece in there),
        "n_test": min(len(_part(piece["votes"], "test").ids) for piece in there),
        "seconds": float(np.mean(seconds)) if seconds else math.nan,
        "interval": "t over seeds" if len(there) > 1 else "bootstrap over galaxies",
        "seed_rmse": {piece["seed"]: float(rmse) for piece, rmse in zip(there, values["rmse"], strict=True)},
    }
    for name, (least, most) in COMPARED.items():
        limits = {f"{name}_low": max(low[name], least), f"{name}_high": min(high[name], most)}  # NaN stays
        row |= {name: mean[name], f"{name}_std": std[name]} | limits
    return row


def _overall(piece: Mapping[str, Any], *, n_bootstrap: int, seed: int) -> pd.DataFrame:
    """value, low and high of each of `COMPARED` (index), of a piece's test part."""
    table = evaluate(piece["votes"], n_bootstrap=n_bootstrap, seed=seed)
    table = table[(table["scope"] == "overall") & (table["convention"] == "cumulative")].set_index("metric")
    rmse, broken = table.loc["rmse"], violations(piece["votes"])["share"].iloc[-1]
    more = {"way": [rmse["way"], rmse["way_low"], rmse["way_high"]], "violations": [broken, math.nan, math.nan]}
    more |= {name: [rmse[name], math.nan, math.nan] for name in ("baseline", "floor")}
    ends = ["value", "low", "high"]
    return pd.concat([table.loc[:, ends], pd.DataFrame.from_dict(more, orient="index", columns=ends)]).astype(float)


def _seeds(row: Mapping[str, Any]) -> str:
    return f"{row['seeds']} seed{'s' * (row['seeds'] != 1)}, {row['n_test']:,} test galaxies{' each' * (row['seeds'] != 1)}"


def _difference(best: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[float, float, str]:
    """By how much the RMSE of a method is above the best one's, the 95 % margin of this, and what it rests on."""
    common = [s for s in best["seed_rmse"] if s in row["seed_rmse"]]
    if len(common) > 1:
        differences = np.array([row["seed_rmse"][s] - best["seed_rmse"][s] for s in common])
        margin = float(student.ppf(0.975, len(common) - 1)) * differences.std(ddof=1) / math.sqrt(len(common))
        return float(differences.mean()), float(margin), f"paired over {len(common)} seeds"
    margin = math.hypot(*((each["rmse_high"] - each["rmse_low"]) / 2 for each in (best, row)))
    return row["rmse"] - best["rmse"], margin, f"from both intervals, {best['seeds']} and {row['seeds']} seeds"


def _ranking(opening: str, ranked: Sequence[Mapping[str, Any]]) -> list[str]:
    """The sentences on the methods of one label budget, the lowest RMSE first."""
    best = ranked[0]
    interval = f"95 % interval {best['rmse_low']:.4f} to {best['rmse_high']:.4f}"
    way = f"{best['way']:.0f} % of the way from the mean-vote baseline ({best['baseline']:.4f}) to the volunteers' noise floor"
    way = f"{way} ({best['floor']:.4f})"
    if math.isnan(best["way"]):
        way = f"where the mean-vote baseline has {number(best['baseline'], '.4f')} and the noise floor is not known"
    verb = "has the lowest RMSE" if len(ranked) > 1 else "reaches an RMSE of"
    said = [
        f"{opening}, {best['method']} {verb}{',' * (len(ranked) > 1)} {best['rmse']:.4f} ({interval}, {_seeds(best)}), {way}."
    ]
    ties, behind = [], []
    for row in ranked[1:]:
        difference, margin, basis = _difference(best, row)
        limits = f"{difference - margin:+.4f} to {difference + margin:+.4f}"
        text = f"{row['method']} ({row['rmse']:.4f}, {_seeds(row)}; {difference:+.4f}, 95 % interval {limits}, {basis})"
        (behind if difference > margin else ties).append(text)
    if ties:
        said.append(f"{opening}, it is a tie of {best['method']} with {' and with '.join(ties)}.")
    if behind:
        said.append(f"{opening}, {best['method']} is ahead, by a resolved difference, of {' and of '.join(behind)}.")
    return said
