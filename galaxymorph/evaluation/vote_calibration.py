"""galaxymorph.evaluation.vote_calibration"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import betabinom, binom

from galaxymorph.evaluation.vote_metrics import (
    _MEMBERS,
    _QUESTION_OF,
    _QUESTIONS,
    _SCOPES,
    _STARTS,
    _central,
    _draws,
    _observed,
    _Part,
    _part,
    _shares,
)

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def coverage(
    votes: pd.DataFrame,
    *,
    levels: Sequence[float] = LEVELS,
    split: str = "test",
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """How many of the volunteers' counts lie within the central predicted interval of each level:
    as many as the level says, if the predicted distributions are right.

    Of n people who answer, the number who give an answer is predicted to be beta-binomial(n, s p, s
    (1 - p)), the marginal of the Dirichlet-multinomial (Walmsley et al. 2022, arXiv 2102.08414),
    where the table has concentrations s, and binomial(n, p) where it has none. Counts are discrete,
    so that no interval of theirs has a given level: whether a count lies within is decided by its
    randomised probability integral transform u = F(k - 1) + v f(k) with v uniform in [0, 1] (Czado
    et al. 2009), which is uniform if F is right: within, where |u - 0.5| <= level / 2.

    Columns: question (or overall), level, coverage (share of all counts), low, high (bootstrap over
    galaxies), error (the mean of |coverage - level| over all levels of the question) and n
    (galaxies with a known number of people who answered)."""
    u = _transform(_part(votes, split), seed=seed)
    inside = (np.abs(u - 0.5) <= np.array(levels)[:, None, None] / 2) @ _MEMBERS[
        :12
    ].T  # (level, galaxy, scope), counts
    there = np.isfinite(u) @ _MEMBERS[:12].T
    blocks = []
    for weights in _draws(len(u), n_bootstrap=n_bootstrap, seed=seed):
        counts = weights @ there  # (draw, scope)
        within = weights @ inside  # (level, draw, scope)
        blocks.append(
            np.divide(within, counts, out=np.full(within.shape, np.nan), where=counts > 0)
        )
    shares = np.concatenate(blocks, axis=1)
    low, high = _central(shares[:, 1:].transpose(1, 0, 2))  # (level, scope)
    error, n = np.abs(shares[:, 0] - np.array(levels)[:, None]).mean(0), (there > 0).sum(0)
    return pd.DataFrame(
        {
            "question": name,
            "level": level,
            "coverage": shares[i, 0, s],
            "low": low[i, s],
            "high": high[i, s],
        }
        | {"error": error[s], "n": n[s]}
        for s, (_, name) in enumerate(_SCOPES[:12])
        for i, level in enumerate(levels)
    )


def pit(votes: pd.DataFrame, *, bins: int = 10, split: str = "test", seed: int = 0) -> pd.DataFrame:
    """Histogram of the randomised probability integral transform (see `coverage`): flat if the
    predicted distributions are right, a valley if they are too narrow, a hill if too wide. Columns:
    question (or overall), bin (its centre), share (of the counts; 1 / bins if flat) and n
    (counts)."""
    u = _transform(_part(votes, split), seed=seed)
    rows = []
    for s, (_, name) in enumerate(_SCOPES[:12]):
        values = u[:, _MEMBERS[s] > 0]
        count, edges = np.histogram(values[np.isfinite(values)], bins, (0, 1))
        share = count / count.sum() if count.any() else np.full(bins, np.nan)
        rows.append(
            pd.DataFrame(
                {
                    "question": name,
                    "bin": (edges[:-1] + edges[1:]) / 2,
                    "share": share,
                    "n": count.sum(),
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def calibration(votes: pd.DataFrame, *, bins: int = 10, split: str = "test") -> pd.DataFrame:
    """Predicted fractions of those who answered, in bins of equal width, against what the
    volunteers of these galaxies said.

    Columns: question (or overall; all its answers together), bin (centre), predicted, observed
    (means), low, high (1.96 standard errors of `observed` around it, answers counting as
    independent) and n (answers of galaxies). Empty bins are left out."""
    part = _part(votes, split)
    predicted, observed = _shares(part.predicted), _observed(part)
    there = np.isfinite(observed)
    question = np.broadcast_to(np.array(_QUESTIONS)[_QUESTION_OF], there.shape)[there]
    table = pd.DataFrame(
        {"question": question, "predicted": predicted[there], "observed": observed[there]}
    )
    table["bin"] = (np.minimum((table["predicted"] * bins).astype(int), bins - 1) + 0.5) / bins
    table = pd.concat([table.assign(question="overall"), table])
    table["question"] = pd.Categorical(table["question"], ["overall", *_QUESTIONS])
    means = table.groupby(["question", "bin"], observed=True).agg(
        predicted=("predicted", "mean"),
        observed=("observed", "mean"),
        margin=("observed", "sem"),
        n=("observed", "size"),
    )
    margin = 1.96 * means.pop("margin")
    means = means.assign(
        low=means["observed"] - margin, high=means["observed"] + margin
    ).reset_index()
    return means.astype({"question": str})


def _transform(part: _Part, *, seed: int) -> Float[ndarray, "galaxy 37"]:
    """The randomised probability integral transform of each count of votes (`coverage`); NaN where
    nobody answered, or the number of volunteers is unknown."""
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
        for j in range(
            k.max(initial=0)
        ):  # betabinom.cdf adds up one galaxy at a time, which takes a hundred times as long
            more = k > j
            below[more] += betabinom.pmf(j, n[more], a[more], b[more])
        upto = below + betabinom.pmf(k, n, a, b)
    u = np.full(there.shape, np.nan)
    u[there] = below + np.random.default_rng(seed).random(len(k)) * (upto - below)
    return u
