"""How many labels a method is worth: the number that another one needs to be as accurate."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray
from scipy.optimize import isotonic_regression

from galaxymorph.evaluation.entries import Entries
from galaxymorph.evaluation.phrases import say

COLUMNS = ["a", "b", "n_labels", "accuracy", "labels", "low", "high", "ratio", "fewest", "most"]
COLUMNS += ["seeds"]
Curves = Float[ndarray, "_ seed"]  # accuracy by budget and seed
ALL = -1  # stands for a budget of all labels in an index


def accuracies(entries: Entries) -> pd.DataFrame:
    """Tabulate the test accuracy of every entry: columns method, seed, n_labels (<NA> for all),
    n_train (labels that there were) and accuracy (NaN where it is missing), without the baseline
    `majority`."""
    rows = []
    for entry in entries.where(lambda entry: entry.method != "majority"):
        there = entry.predictions
        accuracy = float(there.labelled().right.mean()) if there else math.nan
        rows.append((entry.method, entry.seed, entry.n_labels, entry.n_train, accuracy))
    table = pd.DataFrame(rows, columns=["method", "seed", "n_labels", "n_train", "accuracy"])
    return table.astype({"n_labels": "Int64", "n_train": float, "accuracy": float})


def equivalent(entries: Entries, *, n_bootstrap: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Tabulate, for every ordered pair of methods and every budget of a, how many labels b needs to
    be as accurate as a.

    Columns: a, b, n_labels (integer, <NA> for all), accuracy (of a, mean over the seeds that both
    have), labels (that b needs), low, high, ratio (labels by those of a), fewest and most (that b
    was tried with) and seeds. labels, low and high are 0 where b is as accurate with the fewest
    already, and infinite where it is not with the most: nothing is extrapolated.

    The accuracy of b is made to rise with its labels, or stay (isotonic regression, Barlow et al.
    1972), and is taken to be straight in the logarithm of their number in between. low and high are
    the 2.5 and 97.5 percentiles over `n_bootstrap` draws of the seeds, both methods on the same
    draw: they say what another split and other first weights would change, and with few seeds
    rather too little; NaN with one. Pairs with a single budget of b have no row."""
    cells, found = accuracies(entries), []
    grids = {str(name): _grid(each) for name, each in cells.groupby("method", sort=False)}
    for a, ours in grids.items():
        for b, theirs in grids.items():
            seeds = [key for key in ours.columns if key in theirs.columns]
            if a == b or len(theirs) < 2 or not seeds:
                continue
            n, rng = len(seeds), np.random.default_rng(seed)  # whatever else is compared
            draws = [np.arange(n), *rng.integers(0, n, (n_bootstrap * (n > 1), n))]
            accuracy, reached = ours[seeds].to_numpy(), theirs[seeds].to_numpy()
            tried = theirs.index.get_level_values("labels").to_numpy(float)
            needed = np.array([_needed(accuracy[:, d], reached[:, d], tried) for d in draws])
            ends = np.full((2, len(ours)), math.nan)
            if n > 1:  # one of the draws, as some may be infinite
                ends = np.quantile(needed[1:], [0.025, 0.975], axis=0, method="inverted_cdf")
            for row, (n_train, n_labels) in enumerate(ours.index):
                each = {"a": a, "b": b, "n_labels": None if n_labels == ALL else n_labels}
                each |= {"accuracy": accuracy[row].mean(), "labels": needed[0, row]}
                each |= {"low": ends[0, row], "high": ends[1, row], "seeds": n}
                each |= {"ratio": needed[0, row] / n_train, "fewest": tried[0], "most": tried[-1]}
                found.append(each)
    return pd.DataFrame(found, columns=COLUMNS).astype({"n_labels": "Int64", "seeds": "Int64"})


def grid(entries: Entries) -> pd.DataFrame:
    """Tabulate how many seeds each method has with each budget, of how many there should be, as `5`
    or `3 of 5`; empty where the run has no such entry."""
    cells = accuracies(entries)
    cells["labels"] = cells.n_labels.astype(float).fillna(math.inf)
    groups = cells.groupby(["method", "labels"], sort=False).accuracy
    there, of = groups.count().astype(str), groups.size().astype(str)
    text = there.where(there == of, there + " of " + of)
    table = text.unstack("labels").reindex(index=cells.method.unique()).sort_index(axis=1)
    table.columns = ["all" if math.isinf(n) else f"{n:,.0f}" for n in table.columns]
    return table.fillna("").rename_axis(None)


def sentences(table: pd.DataFrame, *, method: str) -> list[str]:
    """Put `equivalent` into words for one method: how many labels the others need to match it."""
    budgets = []
    for _, rows in table.loc[table.a == method].groupby("n_labels", sort=False, dropna=False):
        records, needs = rows.to_dict("records"), dict[str, list[str]]()
        for row in records:
            text, low, high = (_amount(row, name) for name in ("labels", "low", "high"))
            interval = "" if math.isnan(row["low"]) or low == high else f" ({low} to {high})"
            needs.setdefault(text + interval, []).append(row["b"])
        budgets.append((records[0], needs))
    return say("equivalent", budgets=budgets, method=method)


# ---- the parts


def _grid(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy of a method by its labels (index: labels, rising, and the budget) and
    seed; only seeds that have every budget."""
    name = cells.n_labels.fillna(ALL)
    count = cells.groupby(name).n_train.transform("median").rename("labels")
    table = cells.set_index([count, name, cells.seed.map(str)]).accuracy.unstack()
    return table.dropna(how="all").dropna(axis=1).sort_index()


def _needed(accuracy: Curves, reached: Curves, tried: Float[ndarray, " _"]) -> Float[ndarray, " _"]:
    """Return how many labels b needs for each mean accuracy of a: 0 for at most the fewest,
    infinite for more than the most."""
    curve, wanted = isotonic_regression(reached.mean(1)).x, accuracy.mean(1) - 1e-12
    return np.exp(np.interp(wanted, curve, np.log(tried), left=-math.inf, right=math.inf))


def _amount(row: Mapping[str, Any], name: str) -> str:
    """`230` labels, `≤ 25` where the fewest are enough, `> 487` where the most are not."""
    if row[name] == 0:
        return f"≤ {row['fewest']:,.0f}"
    return f"> {row['most']:,.0f}" if math.isinf(row[name]) else f"{row[name]:,.0f}"
