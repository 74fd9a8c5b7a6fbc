"""Coverage and calibration of predicted vote fractions."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import betabinom, binom

from galaxymorph.evaluation import vote_metrics
from galaxymorph.evaluation.intervals import estimated
from galaxymorph.evaluation.predictions import Fractions, Votes
from galaxymorph.evaluation.vote_metrics import MEMBERS, QUESTION_OF, QUESTIONS, SCOPES, STARTS

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def coverage(
    votes: Votes,
    *,
    levels: Sequence[float] = LEVELS,
    split: str = "test",
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the fraction of vote counts within the central predicted interval of each level.

    If the predicted distributions are correct, this fraction equals the level. With concentrations
    s, the number of n people who choose an answer is predicted as beta-binomial(n, s p, s (1 - p)),
    the marginal of the Dirichlet-multinomial (Walmsley et al. 2022, arXiv 2102.08414), else as
    binomial(n, p). As counts are discrete, no interval has exactly a given level. Instead the
    randomised probability integral transform u = F(k - 1) + v f(k), with v uniform in [0, 1] (Czado
    et al. 2009), is used, which is uniform if F is correct; a count is inside if |u - 0.5| <=
    level / 2.

    Columns: question (or overall), level, coverage, low, high (bootstrap over galaxies), error
    (mean |coverage - level| over the levels of the question) and n (galaxies with a known number of
    people who answered)."""
    u, scopes = _transform(votes.labelled(split), seed=seed), MEMBERS[:12].T
    wide = np.array(levels)[:, None, None] / 2
    inside, there = (np.abs(u - 0.5) <= wide) @ scopes, np.isfinite(u) @ scopes  # counts

    def covered(weights: Float[ndarray, "draw galaxy"]) -> Float[ndarray, "draw level scope"]:
        counts, within = weights @ there, weights @ inside  # ([level,] draw, scope)
        blank = np.full(within.shape, np.nan)
        return np.divide(within, counts, out=blank, where=counts > 0).transpose(1, 0, 2)

    options = {"n_bootstrap": n_bootstrap, "seed": seed, "bounded": True}
    found = estimated(covered, len(u), **options)  # (level, scope)
    n, error = (there > 0).sum(0), abs(found["value"] - np.array(levels)[:, None]).mean(0)
    rows = [(name, level) for _, name in SCOPES[:12] for level in levels]
    table = pd.DataFrame(rows, columns=["question", "level"])
    numbers = {"coverage": found["value"], "low": found["low"], "high": found["high"]}
    table = table.assign(**{name: each.T.ravel() for name, each in numbers.items()})
    return table.assign(error=np.repeat(error, len(levels)), n=np.repeat(n, len(levels)))


def calibration(votes: Votes, *, bins: int = 10, split: str = "test") -> pd.DataFrame:
    """Compare predicted with voted fractions per question, in bins of equal width.

    Columns: question (all its answers together; or overall), bin (centre), predicted, observed
    (means), low, high (observed +- 1.96 standard errors, treating answers as independent;
    NaN if they do not vary) and n (pairs of galaxy and answer). Empty bins are omitted."""
    part = votes.labelled(split)
    true, predicted = vote_metrics.observed(part), vote_metrics.shares(part.predicted)
    there = np.isfinite(true)
    question = np.broadcast_to(np.array(QUESTIONS)[QUESTION_OF], there.shape)[there]
    numbers = {"predicted": predicted[there], "observed": true[there]}
    table = pd.DataFrame({"question": question} | numbers)
    table["bin"] = (np.minimum((table["predicted"] * bins).astype(int), bins - 1) + 0.5) / bins
    table = pd.concat([table.assign(question="overall"), table])
    table["question"] = pd.Categorical(table["question"], ["overall", *QUESTIONS])
    means = table.groupby(["question", "bin"], observed=True).agg(
        predicted=("predicted", "mean"),
        observed=("observed", "mean"),
        low=("observed", lambda values: values.mean() - 1.96 * (values.sem() or np.nan)),
        high=("observed", lambda values: values.mean() + 1.96 * (values.sem() or np.nan)),
        n=("observed", "size"),
    )
    return means.reset_index().astype({"question": str})


def _transform(part: Votes, *, seed: int) -> Fractions:
    """Return the randomised probability integral transform of each vote count (see `coverage`).

    NaN if nobody answered or the number of volunteers is unknown."""
    counts = np.round(part.volunteers[:, None] * part.true)
    asked = np.add.reduceat(counts, STARTS, axis=1)[:, QUESTION_OF]
    there = asked > 0
    k, n, p = (
        counts[there].astype(int),
        asked[there].astype(int),
        vote_metrics.shares(part.predicted)[there],
    )
    if part.concentration is None:
        below, upto = binom.cdf(k - 1, n, p), binom.cdf(k, n, p)
    else:
        s = part.concentration[:, QUESTION_OF][there]
        a, b = np.maximum(s * p, 1e-9), np.maximum(s * (1 - p), 1e-9)
        below = np.zeros(len(k))
        for j in range(k.max(initial=0)):  # a hundred times faster than betabinom.cdf
            more = k > j
            below[more] += betabinom.pmf(j, n[more], a[more], b[more])
        upto = below + betabinom.pmf(k, n, a, b)
    u = np.full(there.shape, np.nan)
    u[there] = below + np.random.default_rng(seed).random(len(k)) * (upto - below)
    return u
