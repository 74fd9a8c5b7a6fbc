"""How many labels a method is worth: the number that another one needs to be as accurate. From
predictions tables alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray
from scipy.optimize import isotonic_regression

from galaxymorph.evaluation import metrics
from galaxymorph.evaluation.entries import budget, labels, named
from galaxymorph.evaluation.predictions import selected

COLUMNS = [
    "a",
    "b",
    "n_labels",
    "accuracy",
    "labels",
    "low",
    "high",
    "ratio",
    "fewest",
    "most",
    "seeds",
]


def accuracies(pieces: Sequence[Mapping[str, Any]], *, baseline: str = "majority") -> pd.DataFrame:
    """Test accuracy of every cell of the grid: columns method, seed, n_labels (None: all), n_train
    (labels that there were) and accuracy (NaN where the cell is missing). `pieces` as
    `comparison.compare` takes them; the method `baseline` is none."""
    rows = []
    for piece in pieces:
        if piece["step"] == baseline:
            continue
        row = {"method": str(piece["step"]), "seed": piece.get("seed"), "n_labels": budget(piece)}
        if piece["predictions"] is None:
            rows.append(row | {"n_train": row["n_labels"] or math.nan, "accuracy": math.nan})
            continue
        with named(piece):
            matrix = metrics.confusion(piece["predictions"])
        n_train = row["n_labels"] or int(selected(piece["predictions"], "train").sum())
        rows.append(row | {"n_train": n_train, "accuracy": float(matrix.trace() / matrix.sum())})
    columns = ["method", "seed", "n_labels", "n_train", "accuracy"]
    return pd.DataFrame(rows, columns=columns).astype(
        {"n_labels": "Int64", "n_train": float, "accuracy": float}
    )


def equivalent(
    pieces: Sequence[Mapping[str, Any]], *, n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """For every ordered pair of methods and every number of labels of a: how many labels b needs to
    be as accurate as a.

    Columns: a, b, n_labels (integer, <NA> for all), accuracy (of a, mean over the seeds that both
    have), labels (that b needs), low, high, ratio (labels by those of a), fewest and most (that b
    was tried with) and seeds. labels, low and high are 0 where b is as accurate with the fewest
    already, and infinite where it is not with the most: nothing is extrapolated.

    The accuracy of b is made to rise with its labels, or stay (isotonic regression, Barlow et al.
    1972), and is taken to be straight in the logarithm of their number in between. low and high are
    the 2.5 and 97.5 percentiles over `n_bootstrap` draws of the seeds, both methods on the same
    draw: they say what another split and other first weights would change, and with few seeds
    rather too little; NaN with one. Pairs with a single number of labels of b have no row."""
    cells = accuracies(pieces)
    grids = {str(name): _grid(each) for name, each in cells.groupby("method", sort=False)}
    found = []
    for a, ours in grids.items():
        for b, theirs in grids.items():
            seeds = [key for key in ours.columns if key in theirs.columns]
            if a == b or len(theirs) < 2 or not seeds:
                continue
            rng = np.random.default_rng(
                seed
            )  # a pair's interval does not depend on what else is compared
            draws = [
                np.arange(len(seeds)),
                *rng.integers(0, len(seeds), (n_bootstrap * (len(seeds) > 1), len(seeds))),
            ]
            accuracy, reached = ours[seeds].to_numpy(), theirs[seeds].to_numpy()
            needed = np.array(
                [
                    _needed(
                        accuracy[:, d].mean(1), reached[:, d].mean(1), theirs.index.to_numpy(float)
                    )
                    for d in draws
                ]
            )
            ends = [[math.nan] * len(ours)] * 2
            if len(seeds) > 1:  # one of the draws, as some may be infinite
                ends = np.quantile(
                    needed[1:], [0.025, 0.975], axis=0, method="inverted_cdf"
                ).tolist()
            for row, n_train in enumerate(ours.index):
                each = {
                    "a": a,
                    "b": b,
                    "n_labels": ours.attrs["n_labels"][n_train],
                    "accuracy": accuracy[row].mean(),
                }
                each |= {"labels": needed[0, row], "low": ends[0][row], "high": ends[1][row]}
                each |= {
                    "ratio": needed[0, row] / n_train,
                    "fewest": theirs.index[0],
                    "most": theirs.index[-1],
                }
                found.append(each | {"seeds": len(seeds)})
    return pd.DataFrame(found, columns=COLUMNS).astype({"n_labels": "Int64", "seeds": "Int64"})


def grid(pieces: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Methods by numbers of labels: how many seeds are there, of how many there should be, as `5`
    or `3 of 5`; a cell that the run does not have is empty. What is missing is seen at once."""
    cells = accuracies(pieces)
    cells["labels"] = cells.n_labels.astype(float).fillna(math.inf)
    counted = cells.groupby(["method", "labels"], sort=False).accuracy.agg(["count", "size"])
    text = counted.apply(
        lambda c: f"{c['count']}" if c["count"] == c["size"] else f"{c['count']} of {c['size']}",
        axis=1,
    )
    table = text.unstack("labels").reindex(index=cells.method.unique()).sort_index(axis=1)
    table.columns = ["all" if math.isinf(n) else f"{n:,.0f}" for n in table.columns]
    return table.fillna("").rename_axis(None)


def sentences(table: pd.DataFrame, *, method: str) -> list[str]:
    """What a table of `equivalent` says of one method, for each number of labels: what the others
    would need to be as good."""
    said = []
    for _, rows in table.loc[table.a == method].groupby("n_labels", sort=False, dropna=False):
        records = rows.to_dict("records")
        texts: dict[str, list[str]] = {}
        for row in records:
            low, high = (_amount(row | {"labels": row[end]}) for end in ("low", "high"))
            interval = f" ({low} to {high})" if not math.isnan(row["low"]) and low != high else ""
            texts.setdefault(f"{_amount(row)}{interval}", []).append(row["b"])
        needs = "; ".join(f"{', '.join(names)}: {text}" for text, names in texts.items())
        opening = f"As accurate as {method} with {labels(budget(records[0]))} ({records[0]['accuracy']:.3f})"
        said.append(f"{opening} are the others with so many labels (95 % interval): {needs}.")
    return said


# ---- the parts


def _grid(cells: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of a method by number of labels (index, rising) and seed; only seeds that have every
    number. `attrs` tell what each was called: 100, or None for all."""
    cells = cells.assign(
        seed=cells.seed.map(str),
        name=[-1 if (n := budget(row)) is None else n for row in cells.to_dict("records")],
    )
    table = cells.pivot_table(
        index="name", columns="seed", values="accuracy", aggfunc="first", dropna=False
    )
    table = table.dropna(axis=0, how="all").dropna(axis=1)
    count = cells.groupby("name").n_train.median()
    names = {float(count[name]): (None if name < 0 else int(name)) for name in table.index}
    table.index = pd.Index([float(count[name]) for name in table.index], name="labels")
    table = table.sort_index()
    table.attrs["n_labels"] = names
    return table


def _needed(
    wanted: Float[ndarray, " labels_a"],
    reached: Float[ndarray, " labels_b"],
    labels_b: Float[ndarray, " labels_b"],
) -> Float[ndarray, " labels_a"]:
    """How many labels b needs for each accuracy of a: 0 for at most the fewest, infinite for more
    than the most."""
    curve = isotonic_regression(reached).x
    needed = np.full(len(wanted), math.inf)
    for i, accuracy in enumerate(wanted):
        there = np.flatnonzero(curve >= accuracy - 1e-12)
        if len(there) and there[0] == 0:
            needed[i] = 0.0
        elif len(there):
            k = int(there[0])
            part = (accuracy - curve[k - 1]) / (curve[k] - curve[k - 1])
            needed[i] = math.exp(
                math.log(labels_b[k - 1]) + part * math.log(labels_b[k] / labels_b[k - 1])
            )
    return needed


def _amount(row: Mapping[str, Any]) -> str:
    """The labels of a row of `equivalent`: `230`, `≤ 25` where the fewest are enough, `> 487` where
    the most are not."""
    if row["labels"] == 0:
        return f"≤ {row['fewest']:,.0f}"
    return f"> {row['most']:,.0f}" if math.isinf(row["labels"]) else f"{row['labels']:,.0f}"
