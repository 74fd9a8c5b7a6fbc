"""Label, learn, choose, label: the loop around `acquisition`, for use and in simulation.

What is learned is a logistic regression on fixed features, which takes a second. Its regularisation
is chosen by cross-validation among the labelled galaxies: none is set aside for validation, and
every label is counted. It predicts the labelled galaxies out of fold.

**When to stop.** `forecast` predicts how much accuracy the next 50 labels would gain, without any
label more. The same number of labels is left out at random, and the classifier is fitted again:

* the gain of the last labels is what the full fit expects: its probability of the class that it
  predicts for a galaxy, minus that of the class predicted without the labels, averaged over all
  galaxies. The error above that of endless labels falls as 1 / n, so the next ones gain less, by
  the ratio of (1 / n - 1 / (n + 50)) to the same difference for the labels left out.
* no more can be gained or lost than the galaxies whose class changes. Their fraction varies as the
  root of that ratio; the interval is the gain plus or minus this fraction. How often it holds is
  measured in `results/reference/active_learning`.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from galaxymorph.evaluation import acquisition, equivalent_labels
from galaxymorph.evaluation.acquisition import Pool
from galaxymorph.evaluation.entries import Entries, Entry
from galaxymorph.evaluation.phrases import say
from galaxymorph.evaluation.predictions import Names, Predictions

STRENGTHS = (5e-3, 2e-2, 1e-1)  # inverse L2 penalties to try
FOLDS = 5
MEMBERS = 10  # of an ensemble
AHEAD = 50  # labels that a forecast is for
REFITS = 4  # with labels left out, for a forecast
LEARNING = ("margin", "entropy", "bald")  # rules that need predictions

Features = Float[ndarray, "galaxy feature"]
Labels = Int[ndarray, " galaxy"]  # indices of classes
Chances = Float[ndarray, "galaxy class"]
Predict = Callable[[Features], Chances]


class Learned(NamedTuple):
    """A classifier on features."""

    features: Features  # of the labelled galaxies
    labels: Labels
    n_classes: int
    predict: Predict
    held_out: Chances  # of the labelled galaxies, each by a fit without it
    strength: float

    def again(self, weights: Float[ndarray, " galaxy"]) -> Predict:
        """Fit once more, with a weight for each labelled galaxy; 0 leaves it out."""
        own = weights > 0
        of = (self.features[own], self.labels[own], weights[own])
        return fit(*of, n_classes=self.n_classes, strength=self.strength)

    def ensemble(self, *, n: int = MEMBERS, seed: int = 0) -> Iterator[Predict]:
        """Yield classifiers fitted to labelled galaxies drawn with replacement (bagging)."""
        rng, size = np.random.default_rng(seed), len(self.labels)
        for _ in range(n):
            yield self.again(np.bincount(rng.integers(0, size, size), minlength=size).astype(float))


class Forecast(NamedTuple):
    """Predicted gain in accuracy of the next `AHEAD` labels, and its interval."""

    gain: float
    low: float
    high: float

    def __str__(self) -> str:
        ends = f"{100 * self.low:+.1f} to {100 * self.high:+.1f}"
        return f"{AHEAD} more labels: {100 * self.gain:+.1f} points of accuracy ({ends})"


class Round(NamedTuple):
    """One round of a simulated loop."""

    rule: str
    seed: int
    n_labels: int
    predicted: Chances  # of the test galaxies
    forecast: Forecast
    seconds: float  # to choose and to learn


def learn(features: Features, labels: Labels, *, n_classes: int, seed: int = 0) -> Learned:
    """Fit a logistic regression to `acquisition.scaled` features.

    Its penalty has the smallest out-of-fold log loss. A class without labels gets probability 0."""
    n = len(labels)
    order = np.random.default_rng(seed).permutation(n)
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(n, int)
    fold[order] = np.arange(n) % FOLDS  # each class is spread over the folds
    best = (math.inf, STRENGTHS[0], np.full((n, n_classes), 1 / n_classes))
    for strength in STRENGTHS if n > 1 else ():
        held_out = np.empty((n, n_classes))
        for out in (fold == k for k in range(min(FOLDS, n))):
            of = {"n_classes": n_classes, "strength": strength}
            held_out[out] = fit(features[~out], labels[~out], **of)(features[out])
        loss = -np.log(held_out[np.arange(n), labels].clip(1e-3)).mean()
        best = min(best, (float(loss), strength, held_out), key=lambda each: each[0])
    predict = fit(features, labels, n_classes=n_classes, strength=best[1])
    return Learned(features, labels, n_classes, predict, best[2], best[1])


def fit(
    features: Features,
    labels: Labels,
    weights: Float[ndarray, " galaxy"] | None = None,
    *,
    n_classes: int,
    strength: float,
) -> Predict:
    """Fit a logistic regression with an inverse L2 penalty `strength`."""
    present = np.unique(labels)
    model = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
    if len(present) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(features, labels, sample_weight=weights)

    def predict(wanted: Features) -> Chances:
        p = np.zeros((len(wanted), n_classes))
        p[:, present] = model.predict_proba(wanted) if len(present) > 1 else 1.0
        return p

    return predict


def forecast(learned: Learned, features: Features, *, seed: int = 0) -> Forecast:
    """Predict the gain in accuracy of the next `AHEAD` labels (see the module's docstring).

    Args:
        features: of the galaxies to classify, or a random sample of them."""
    n, rng = len(learned.labels), np.random.default_rng(seed)
    if n < 2:
        return Forecast(math.nan, -1.0, 1.0)
    left_out = min(AHEAD, n // 2)
    p, gains, changes = learned.predict(features), [], []
    classes = p.argmax(1)
    for _ in range(REFITS):
        weights = np.ones(n)
        weights[rng.choice(n, left_out, replace=False)] = 0
        other = learned.again(weights)(features).argmax(1)
        gains.append(p.max(1) - p[np.arange(len(p)), other])
        changes.append(other != classes)
    ratio = (1 / n - 1 / (n + AHEAD)) / (1 / (n - left_out) - 1 / n)
    gain = ratio * float(np.mean(gains))
    margin = math.sqrt(ratio) * float(np.mean(changes))
    return Forecast(gain, max(gain - margin, -1.0), min(gain + margin, 1.0))


# ---- simulation


def answers(fractions: Chances, *, seed: int) -> Labels:
    """Draw the class that one volunteer sees in each galaxy, from fractions that sum to 1."""
    drawn = np.random.default_rng((seed, 21)).random((len(fractions), 1))
    return np.minimum((fractions.cumsum(1) < drawn).sum(1), fractions.shape[1] - 1)


def simulate(
    ids: Names,
    features: Features,
    answered: Labels,
    test: Float[ndarray, "test feature"],
    *,
    rule: str,
    classes: Sequence[str],
    n: int = 25,
    most: int = 400,
    seed: int = 0,
) -> Iterator[Round]:
    """Yield the rounds of a loop that labels `n` galaxies at a time, up to `most`.

    Rules that need predictions begin with random galaxies. All rules get the same answers.

    Args:
        ids, features: of the galaxies in the pool.
        answered: the class that the annotator would see in each, `answers`.
        test: features of the test galaxies, none of them in the pool.
        seed: of the random order, the folds and k-means."""
    points, test = acquisition.scaled(features), acquisition.scaled(test, like=features)
    pool = Pool(ids, np.zeros(len(ids), bool), features=points)
    places = pd.Index(ids)
    some = np.random.default_rng(seed).permutation(len(ids))[:5000]  # for forecasts
    while pool.known.sum() < min(most, len(ids)):
        start = time.perf_counter()
        now = "random" if rule in LEARNING and pool.p is None else rule
        chosen = acquisition.choose(pool, n, rule=now, seed=seed)
        known = pool.known.copy()
        known[places.get_indexer(pd.Index(chosen["id"]))] = True
        rows = np.flatnonzero(known)
        learned = learn(points[rows], answered[rows], n_classes=len(classes), seed=seed)
        p, several = learned.predict(points), None
        if rule == "bald":
            several = np.array([each(points) for each in learned.ensemble(seed=seed)])
        seconds = time.perf_counter() - start
        pool = Pool(ids, known, p, several, points)
        ahead = forecast(learned, points[some], seed=seed)
        yield Round(rule, seed, len(rows), learned.predict(test), ahead, seconds)


def entries(
    rounds: Iterable[Round], tested: dict[int, tuple[Names, Labels]], classes: Sequence[str]
) -> Entries:
    """Return simulated rounds as entries of a comparison: a method for each rule.

    `tested`: ids and true classes of the test galaxies, by seed."""
    split = {seed: np.full(len(ids), "test", object) for seed, (ids, _) in tested.items()}
    return Entries(
        Entry(
            each.rule,
            each.seed,
            each.n_labels,
            predictions=Predictions(
                tested[each.seed][0],
                split[each.seed],
                tested[each.seed][1],
                each.predicted,
                tuple(classes),
            ),
        )
        for each in rounds
    )


def forecasts(rounds: Sequence[Round], tested: dict[int, tuple[Names, Labels]]) -> pd.DataFrame:
    """Compare each forecast with the gain that was then measured on the test galaxies.

    Columns: rule, seed, n_labels, gain, low, high (predicted), measured, noise (standard error of
    the measured gain, from the test galaxies that only one of the two rounds has right), held
    (whether the interval has the measured gain) and held_with_noise (whether it does after it is
    widened by 1.28 standard errors of the measurement)."""
    right = {
        (each.rule, each.seed, each.n_labels): each.predicted.argmax(1) == tested[each.seed][1]
        for each in rounds
    }
    rows = []
    for each in rounds:
        now = right[each.rule, each.seed, each.n_labels]
        then = right.get((each.rule, each.seed, each.n_labels + AHEAD))
        if then is None:
            continue
        gained = then.astype(float) - now
        noise, (gain, low, high) = gained.std() / math.sqrt(len(gained)), each.forecast
        measured = float(gained.mean())
        held = [low - z * noise <= measured <= high + z * noise for z in (0, 1.28)]
        rows.append((each.rule, each.seed, each.n_labels, gain, low, high, measured, noise, *held))
    columns = ["rule", "seed", "n_labels", "gain", "low", "high", "measured", "noise", "held"]
    return pd.DataFrame(rows, columns=[*columns, "held_with_noise"])


def opinions(
    labels: Labels,
    votes: Chances | None,
    confusion: Sequence[Sequence[float | int]] | None,
    classes: Sequence[str],
) -> Chances:
    """Return the fraction of volunteers who see each class in each galaxy.

    Args:
        labels: true classes; -1 if unknown.
        votes: fractions of the classes; rows of NaN where nobody voted.
        confusion: the fraction who see each class (columns) in a galaxy of a class (rows), for
            galaxies without votes.

    Raises `ValueError` for galaxies without votes if there is no valid `confusion`, or no class."""
    found = np.full((len(labels), len(classes)), np.nan) if votes is None else votes.copy()
    rest = np.flatnonzero(np.isnan(found).any(1))
    if not len(rest):
        return found
    table = np.asarray([] if confusion is None else confusion, float)
    expected = f"expected {len(classes)} rows of {len(classes)} fractions that sum to 1"
    square = table.shape == (len(classes), len(classes))
    if not square or (table < 0).any() or (abs(table.sum(1) - 1) > 1e-3).any():
        without = f"{len(rest):,} galaxies have no votes"
        raise ValueError(f"confusion: {without}; {expected}, not {confusion}")
    if (labels[rest] < 0).any():
        n = int((labels[rest] < 0).sum())
        raise ValueError(f"{n:,} galaxies in the pool have neither votes nor a class")
    found[rest] = table[labels[rest]] / table.sum(1)[labels[rest], None]
    return found


def sentences(
    equivalent: pd.DataFrame, gains: pd.DataFrame, forecasts: pd.DataFrame, *, most: int
) -> list[str]:
    """Describe a simulation.

    Args:
        equivalent: of `equivalent_labels.equivalent`.
        gains: of `pretraining_gain.differences` against random.
        forecasts: of `forecasts`.
        most: the labels of the last round; the first, the second, the fourth, ... half of them are
            described, too."""
    needed: Any = equivalent[(equivalent.a == "random") & (equivalent.n_labels == most)]
    budgets = [most // 2**k for k in range(5)][::-1]
    shown: dict[int, Any] = {n: gains[gains.n_labels == n] for n in budgets}
    differing = {n: rows[(rows.low > 0) | (rows.high < 0)] for n, rows in shown.items()}
    return equivalent_labels.sentences(needed, method="random") + say(
        "acquisition",
        first=needed.iloc[0].to_dict() if len(needed) else None,
        halves=needed.b[needed.labels <= most / 2].tolist(),
        surely=needed.b[needed.high <= most / 2].tolist(),
        differing={n: rows.to_dict("records") for n, rows in differing.items() if len(rows)},
        tied=[str(n) for n in budgets if len(shown[n]) and not len(differing[n])],
        n_forecasts=len(forecasts),
        ahead=AHEAD,
        held=float(forecasts.held.mean()),
        held_with_noise=float(forecasts.held_with_noise.mean()),
        width=float((forecasts.high - forecasts.low).median()),
        gain=float(forecasts.measured.mean()),
        forecast=float(forecasts.gain.mean()),
    )
