"""From many predictions tables to a comparison of methods: numbers with intervals, and a table to
read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.stats import t as student

from galaxymorph.evaluation import metrics
from galaxymorph.evaluation.entries import (
    attendance,
    budget,
    check_test_galaxies,
    labels,
    named,
    words,
)
from galaxymorph.evaluation.phrases import costs, head, number, tail, with_interval
from galaxymorph.evaluation.predictions import selected

COSTS = (
    "parameters",
    "flops",
    "training_seconds",
    "images_per_second",
    "peak_memory_mib",
)  # see `costs`
SHOWN = (
    "accuracy",
    "balanced_accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "auc",
    "log_loss",
)
TITLES = {"accuracy": "test accuracy", "macro_f1": "macro F1", "auc": "AUC"}


def compare(
    pieces: Sequence[Mapping[str, Any]], *, n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """One row per method and label budget, over its seeds, in the order of `pieces`.

    A piece is one training run: `step` (the method), `seed`, `n_labels` (None: all labels),
    `predictions` (a table, or None where it is missing), and, if known, `seconds`, `protocol`,
    `costs` (a dict as `costs.of` gives it) and `not_run` (why it was left out).

    Columns: method, protocol (where a piece has one), n_labels (integer, <NA> for all), n_train and
    n_test (labelled galaxies per seed; the fewest), n_test_all (different galaxies tested over all
    seeds), seeds (those that are there), missing (those that are not), not_run (why pieces were
    left out, which do not count as missing; where there are some), seconds (mean; of the whole
    step), those of `COSTS` (means; NaN where unknown), peak_memory_of (what was measured), interval
    (what low and high are), train_accuracy, val_accuracy (means; NaN where a table has no such
    part), and for every metric of `metrics.OVERALL`, of the test part: <metric> (mean over seeds),
    <metric>_std (over seeds, n - 1), <metric>_low and <metric>_high.

    low and high with two seeds or more: the 95 % t-interval of the mean over seeds, cut off where
    the metric ends. Seeds count as independent, although their test and training sets overlap: it
    is rather too narrow (Nadeau & Bengio 2003). With one seed: the bootstrap interval over galaxies
    of `metrics.evaluate`, which knows nothing of the spread between seeds.

    Raises `ValueError` that names the method and seed of a faulty table, of two pieces for the same
    seed, or of one that was tested on other galaxies than another method with its seed."""
    check_test_galaxies(pieces)
    groups: dict[tuple[str, int | None], list[Mapping[str, Any]]] = {}
    for piece in pieces:
        groups.setdefault((str(piece["step"]), budget(piece)), []).append(piece)
    rows = []
    for (step, n_labels), group in groups.items():
        seeds = [piece.get("seed") for piece in group]
        twice = {s for s in seeds if seeds.count(s) > 1}
        if twice:
            raise ValueError(
                f"{step}, {labels(n_labels)}: seed {twice.pop()} is there twice; give variants a step each"
            )
        rows.append(
            {"method": step, "n_labels": n_labels} | _row(group, n_bootstrap=n_bootstrap, seed=seed)
        )
    table = (
        pd.DataFrame(rows)
        .reindex(columns=_columns())
        .astype(dict.fromkeys(["n_labels", "n_train", "n_test", "n_test_all"], "Int64"))
    )
    return table.drop(
        columns=[
            name for name in ("protocol", "not_run") if not any(piece.get(name) for piece in pieces)
        ]
    )


def per_class(pieces: Sequence[Mapping[str, Any]], *, metric: str = "f1") -> pd.DataFrame:
    """A metric of `metrics.PER_CLASS` on the test part, methods (and label budgets, where there are
    several) by classes, mean over seeds.

    `pieces` as for `compare`; those that are missing are left out.
    """
    if metric not in metrics.PER_CLASS:
        raise ValueError(f"metric={metric!r}: one of {', '.join(metrics.PER_CLASS)}")
    several = len({budget(piece) for piece in pieces}) > 1
    found: dict[str, list[pd.Series]] = {}
    for piece in pieces:
        if piece["predictions"] is not None:
            table = _evaluated(piece, n_bootstrap=0, seed=0)
            name = str(piece["step"]) + (f", {labels(budget(piece))}" if several else "")
            found.setdefault(name, []).append(table.loc[metric, "value"].drop("", errors="ignore"))
    return pd.DataFrame({name: pd.DataFrame(values).mean() for name, values in found.items()}).T


def front(table: pd.DataFrame, *, cost: str, baseline: str = "majority") -> Bool[ndarray, " row"]:
    """Which rows of a table of `compare` are on the Pareto front of accuracy against a cost, one of
    `COSTS` of which less is better: no other is at least as accurate at no greater cost, and better
    in one of the two. Rows without either number, and the `baseline`, take no part."""
    known = (
        table[cost].notna() & table["accuracy"].notna() & (table["method"] != baseline)
    ).to_numpy(bool)
    price, accuracy = (
        np.where(known, table[name].to_numpy(float), np.nan) for name in (cost, "accuracy")
    )
    no_worse = (price[:, None] <= price) & (
        accuracy[:, None] >= accuracy
    )  # [i, j]: i is no worse than j; never of a NaN
    return known & ~(no_worse & ~no_worse.T).any(0)


# ---- a table to look at


def readable(table: pd.DataFrame, *, shown: Sequence[str] = SHOWN) -> pd.DataFrame:
    """A table of `compare` to look at: each metric that is `shown` as `0.903 [0.885, 0.921]`; no
    value as an en dash. What was not run says so instead of its accuracy."""
    rows = []
    for row in table.to_dict("records"):
        text = head(row) | {
            f"{part} accuracy": number(row[f"{part}_accuracy"], ".3f") for part in ("train", "val")
        }
        text |= {
            TITLES.get(metric, metric.replace("_", " ")): with_interval(row, metric, ".3f")
            for metric in shown
        }
        if not row["seeds"] and words(row, "not_run"):
            text["test accuracy" if "test accuracy" in text else "seeds"] = (
                f"not run: {row['not_run']}"
            )
        rows.append(text | costs(row) | tail(row))
    return pd.DataFrame(rows)


# ---- words for rows, here and of other tables


# ---- the rows of a comparison


def _columns() -> list[str]:
    first = [
        "method",
        "protocol",
        "n_labels",
        "n_train",
        "n_test",
        "n_test_all",
        "seeds",
        "missing",
        "not_run",
        "seconds",
    ]
    first += [*COSTS, "peak_memory_of", "interval", "train_accuracy", "val_accuracy"]
    each = [f"{metric}{end}" for metric in metrics.OVERALL for end in ("", "_std", "_low", "_high")]
    return first + each


def _evaluated(piece: Mapping[str, Any], *, n_bootstrap: int, seed: int) -> pd.DataFrame:
    """The table of `metrics.evaluate` of a piece's test part, indexed by metric and class."""
    with named(piece):
        return metrics.evaluate(piece["predictions"], n_bootstrap=n_bootstrap, seed=seed).set_index(
            ["metric", "class"]
        )


def _row(group: Sequence[Mapping[str, Any]], *, n_bootstrap: int, seed: int) -> dict[str, Any]:
    """A method's row of `compare` (without method and n_labels), from its pieces."""
    there = [piece for piece in group if piece["predictions"] is not None]
    protocols = dict.fromkeys(piece["protocol"] for piece in group if piece.get("protocol"))
    row: dict[str, Any] = {
        "protocol": " / ".join(protocols) or None
    }  # seeds may differ: one may have seen test galaxies
    row |= attendance(group, "predictions") | {"interval": ""}
    if not there:
        return row
    tables = [piece["predictions"] for piece in there]
    tested = [table.loc[selected(table, "test"), "id"] for table in tables]
    spent = pd.DataFrame(
        [{"seconds": piece.get("seconds"), **piece.get("costs", {})} for piece in there]
    )
    measured = dict.fromkeys(
        piece["costs"]["peak_memory_of"]
        for piece in there
        if "peak_memory_of" in piece.get("costs", {})
    )
    row |= spent.reindex(columns=["seconds", *COSTS]).astype(float).mean().to_dict() | {
        "n_train": min(int(selected(table, "train").sum()) for table in tables),
        "n_test": min(len(ids) for ids in tested),
        "n_test_all": len({galaxy for ids in tested for galaxy in ids}),
        "peak_memory_of": " / ".join(measured) or None,
        "interval": "t over seeds" if len(there) > 1 else "bootstrap over galaxies",
        "train_accuracy": float(np.mean([_accuracy(piece, "train") for piece in there])),
        "val_accuracy": float(np.mean([_accuracy(piece, "val") for piece in there])),
    }
    draws = n_bootstrap if len(there) == 1 else 0
    results = [_evaluated(piece, n_bootstrap=draws, seed=seed) for piece in there]
    for metric in metrics.OVERALL:
        values = np.array([result.at[(metric, ""), "value"] for result in results])
        low, high = (
            float(results[0].at[(metric, ""), end]) for end in ("low", "high")
        )  # for one seed
        row |= _spread(metric, values, low=low, high=high)
    return row


def _accuracy(piece: Mapping[str, Any], split: str) -> float:
    if not selected(piece["predictions"], split).any():
        return math.nan
    with named(piece):
        matrix = metrics.confusion(piece["predictions"], split=split)
    return float(matrix.trace() / matrix.sum())


def _spread(
    metric: str, values: Float[ndarray, " seed"], *, low: float, high: float
) -> dict[str, float]:
    """Mean over seeds, standard deviation, interval; `low` and `high` are taken where there is one
    seed."""
    mean, std = float(values.mean()), math.nan
    if len(values) > 1:
        std = float(values.std(ddof=1))
        margin = float(student.ppf(0.975, len(values) - 1)) * std / math.sqrt(len(values))
        end = {"log_loss": math.inf, "brier": 2.0}.get(metric, 1.0)
        low, high = max(mean - margin, 0.0), min(mean + margin, end)
    return {metric: mean, f"{metric}_std": std, f"{metric}_low": low, f"{metric}_high": high}
