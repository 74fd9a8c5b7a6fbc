"""Equivalent labels: how many labels one method needs to match the accuracy of another."""

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
ALL = -1  # stands for "all labels" in an index


def accuracies(entries: Entries) -> pd.DataFrame:
    """Tabulate the test accuracy of every entry except the baseline `majority`.

    Columns: method, seed, n_labels (<NA> for all), n_train (available labels) and accuracy."""
    rows = []
    for entry in entries.where(lambda entry: entry.method != "majority"):
        there = entry.predictions
        accuracy = float(there.labelled().right.mean()) if there else math.nan
        rows.append((entry.method, entry.seed, entry.n_labels, entry.n_train, accuracy))
    table = pd.DataFrame(rows, columns=["method", "seed", "n_labels", "n_train", "accuracy"])
    return table.astype({"n_labels": "Int64", "n_train": float, "accuracy": float})


def equivalent(entries: Entries, *, n_bootstrap: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Estimate, for every ordered pair of methods, how many labels b needs to match a.

    One row per pair and budget of a, if b has at least two budgets. Columns: a, b, n_labels
    (integer, <NA> for all), accuracy (of a, mean over common seeds), labels (needed by b), low,
    high, ratio (of labels to the labels of a), fewest and most (labels in b's learning curve) and
    seeds. labels, low and high are 0 if b matches a even with its fewest labels, and infinite if b
    does not match a even with its most: nothing is extrapolated.

    The learning curve of b is made monotonic by isotonic regression (Barlow et al. 1972) and
    interpolated linearly in the logarithm of the number of labels. low and high are the 2.5th and
    97.5th percentiles over `n_bootstrap` resamplings of the seeds, paired between methods; NaN with
    one seed. They cover the variation between splits and initial weights, but are too narrow when
    there are few seeds."""
    cells, found = accuracies(entries), []
    grids = {str(name): _grid(each) for name, each in cells.groupby("method", sort=False)}
    for a, ours in grids.items():
        for b, theirs in grids.items():
            seeds = [key for key in ours.columns if key in theirs.columns]
            if a == b or len(theirs) < 2 or not seeds:
                continue
            n, rng = len(seeds), np.random.default_rng(seed)  # independent of other pairs
            draws = [np.arange(n), *rng.integers(0, n, (n_bootstrap * (n > 1), n))]
            accuracy, reached = ours[seeds].to_numpy(), theirs[seeds].to_numpy()
            tried = theirs.index.get_level_values("labels").to_numpy(float)
            needed = np.array([_needed(accuracy[:, d], reached[:, d], tried) for d in draws])
            ends = np.full((2, len(ours)), math.nan)
            if n > 1:  # without interpolation, as draws may be infinite
                ends = np.quantile(needed[1:], [0.025, 0.975], axis=0, method="inverted_cdf")
            for row, (n_train, n_labels) in enumerate(ours.index):
                each = {"a": a, "b": b, "n_labels": None if n_labels == ALL else n_labels}
                each |= {"accuracy": accuracy[row].mean(), "labels": needed[0, row]}
                each |= {"low": ends[0, row], "high": ends[1, row], "seeds": n}
                each |= {"ratio": needed[0, row] / n_train, "fewest": tried[0], "most": tried[-1]}
                found.append(each)
    return pd.DataFrame(found, columns=COLUMNS).astype({"n_labels": "Int64", "seeds": "Int64"})


def grid(entries: Entries) -> pd.DataFrame:
    """Tabulate completed seeds by method and budget, as `5` or `3 of 5`; empty without entries."""
    cells = accuracies(entries)
    cells["labels"] = cells.n_labels.astype(float).fillna(math.inf)
    groups = cells.groupby(["method", "labels"], sort=False).accuracy
    there, of = groups.count().astype(str), groups.size().astype(str)
    text = there.where(there == of, there + " of " + of)
    table = text.unstack("labels").reindex(index=cells.method.unique()).sort_index(axis=1)
    table.columns = ["all" if math.isinf(n) else f"{n:,.0f}" for n in table.columns]
    return table.fillna("").rename_axis(None)


def sentences(table: pd.DataFrame, *, method: str) -> list[str]:
    """Describe a table of `equivalent`: how many labels other methods need to match `method`."""
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
    """Return the learning curve of one method for each seed that has every budget.

    The index holds the number of labels (ascending) and the budget."""
    name = cells.n_labels.fillna(ALL)
    count = cells.groupby(name).n_train.transform("median").rename("labels")
    table = cells.set_index([count, name, cells.seed.map(str)]).accuracy.unstack()
    return table.dropna(how="all").dropna(axis=1).sort_index()


def _needed(accuracy: Curves, reached: Curves, tried: Float[ndarray, " _"]) -> Float[ndarray, " _"]:
    """Return how many labels b needs to reach each mean accuracy of a (0, inf: out of range)."""
    curve, wanted = isotonic_regression(reached.mean(1)).x, accuracy.mean(1) - 1e-12
    return np.exp(np.interp(wanted, curve, np.log(tried), left=-math.inf, right=math.inf))


def _amount(row: Mapping[str, Any], name: str) -> str:
    """Format labels as `230`, `≤ 25` (fewest tried suffice) or `> 487` (most tried do not)."""
    if row[name] == 0:
        return f"≤ {row['fewest']:,.0f}"
    return f"> {row['most']:,.0f}" if math.isinf(row[name]) else f"{row[name]:,.0f}"
