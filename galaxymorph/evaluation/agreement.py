"""How far annotators agree: Cohen's and Fleiss' kappa, with bootstrap intervals over galaxies.

Kappa is (o - e) / (1 - e): the observed agreement o, beyond the agreement e of annotators who draw
classes at random, each with the shares that they gave (Cohen 1960), or all with the same ones
(Fleiss 1971). 1 is perfect, 0 is chance. It is NaN if only one class was given, as e is then 1.
Galaxies need not have the same number of annotators: each counts once, with the share of its pairs
of annotators that agree. Who "cannot tell" has no opinion and is left out."""

from collections.abc import Callable, Collection, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray

from galaxymorph.evaluation.annotations import Annotations
from galaxymorph.evaluation.intervals import estimated

DRAWS = 2000
PAIRS = 6  # annotators of whom every pair is compared
COLUMNS = ["question", "annotators", "statistic", "galaxies", "agreement", "kappa", "low", "high"]

Codes = Int[ndarray, " galaxy"]
Counts = Int[ndarray, "galaxy answer"]
Scores = Callable[[Float[ndarray, "draw galaxy"]], Float[ndarray, "draw 2"]]


def cohen(one: Codes, other: Codes, *, seed: int = 0) -> dict[str, Any]:
    """Return agreement and Cohen's kappa, with its interval, of two annotators of each galaxy."""
    size = int(max(one.max(initial=0), other.max(initial=0))) + 1
    given = [np.eye(size)[each] for each in (one, other)]
    same = (one == other).astype(float)

    def scores(weights: Float[ndarray, "draw galaxy"]) -> Float[ndarray, "draw 2"]:
        n = weights.sum(1)
        by_chance = np.multiply(*(weights @ each for each in given)).sum(1) / n**2
        return _scores(weights @ same / n, by_chance)

    return _interval(scores, len(one), seed)


def fleiss(counts: Counts, *, seed: int = 0) -> dict[str, Any]:
    """Return agreement and Fleiss' kappa, with its interval, of two or more annotators of each
    galaxy, from the number of them who gave each answer."""
    size = counts.sum(1)
    same = ((counts**2).sum(1) - size) / (size * (size - 1))

    def scores(weights: Float[ndarray, "draw galaxy"]) -> Float[ndarray, "draw 2"]:
        share = weights @ counts
        share = share / share.sum(1, keepdims=True)
        return _scores(weights @ same / weights.sum(1), (share**2).sum(1))

    return _interval(scores, len(counts), seed)


def _scores(observed: Float[ndarray, " draw"], by_chance: Float[ndarray, " draw"]) -> ndarray:
    beyond = 1 - by_chance
    known = beyond > 1e-12
    kappa = np.divide(observed - by_chance, beyond, out=np.full_like(beyond, np.nan), where=known)
    return np.stack([observed, kappa], axis=1)


def _interval(scores: Scores, n: int, seed: int) -> dict[str, Any]:
    found = estimated(scores, n, n_bootstrap=DRAWS, seed=seed, sizes=np.array([n, n]))
    agreement, kappa = found["value"].tolist()
    ends = {end: float(found[end][1]) for end in ("low", "high")}
    return {"galaxies": n, "agreement": agreement, "kappa": kappa} | ends


def table(given: Annotations, *, without: Collection[str] = (), seed: int = 0) -> pd.DataFrame:
    """Return a row for each question and pair of annotators (at most `PAIRS` annotators), and for
    all together if there are more than two.

    Galaxies `without` are left out: golden ones, which are chosen to be clear. So are rows of
    fewer than two galaxies."""
    rows, names = list[dict[str, Any]](), given.annotators
    for question, answered in given.questions():
        part = [each for id, each in answered.items() if id not in without and len(each) > 1]
        known = list(dict.fromkeys(answer for each in part for answer in each.values()))
        for one, other in combinations(names, 2) if len(names) <= PAIRS else ():
            both = [(each[one], each[other]) for each in part if one in each and other in each]
            if len(both) > 1:
                codes = np.array([[known.index(answer) for answer in pair] for pair in both])
                row = {"question": question, "annotators": f"{one}, {other}", "statistic": "Cohen"}
                rows.append(row | cohen(codes[:, 0], codes[:, 1], seed=seed))
        if len(names) > 2 and len(part) > 1:
            counts = np.array([[list(each.values()).count(a) for a in known] for each in part])
            row = {"question": question, "annotators": f"all {len(names)}", "statistic": "Fleiss"}
            rows.append(row | fleiss(counts, seed=seed))
    return pd.DataFrame(rows, columns=COLUMNS)


def sentence(row: Mapping[Any, Any]) -> str:
    """Say what a row of the table means: `anna, ben agree on 86.0 % of 100 galaxies; ...`."""
    asked = "" if row["question"] == "label" else f"{row['question']}: "
    share = f"{100 * row['agreement']:.0f} % of {row['galaxies']:,} galaxies"
    text = f"{asked}{row['annotators']} agree on {share}; {row['statistic']}'s kappa"
    if row["kappa"] != row["kappa"]:  # NaN
        return f"{text} is undefined: all gave the same answer to all"
    unknown = row["low"] != row["low"]
    ends = "unknown: too few disagreements" if unknown else f"{row['low']:.2f} to {row['high']:.2f}"
    return f"{text} {row['kappa']:.2f} (95 % interval {ends})"
