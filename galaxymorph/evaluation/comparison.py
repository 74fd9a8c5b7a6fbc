"""From entries to a comparison of methods: a row per method and budget, and a table to read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool
from numpy import ndarray

from galaxymorph.evaluation import metrics
from galaxymorph.evaluation.entries import Entries, Entry, labels, named, words
from galaxymorph.evaluation.intervals import over_seeds, share_in_common
from galaxymorph.evaluation.phrases import costs, head, number, tail, with_interval

COSTS = ("parameters", "flops", "training_seconds", "images_per_second", "peak_memory_mib")
SHOWN = ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1", "auc")
SHOWN += ("log_loss",)
TITLES = {"accuracy": "test accuracy", "macro_f1": "macro F1", "auc": "AUC"}
ENDS = dict.fromkeys(metrics.OVERALL, (0.0, 1.0)) | {
    "log_loss": (0.0, math.inf),
    "brier": (0.0, 2.0),
}
VARIANCE_DRAWS = 200  # of a bootstrap of which only the variance is wanted

# The numbers of an entry: a row for each statistic, columns value, low, high (for one seed) and
# variance; with the number of draws and the seed of a bootstrap.
Numbers = Callable[[Entry, int, int], pd.DataFrame]


def compare(entries: Entries, *, n_bootstrap: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Return one row per method and budget, over its seeds, in the order of the entries.

    Columns: method, protocol (where an entry has one), n_labels (integer, <NA> for all), n_train
    and n_test (labelled galaxies per seed; the fewest), n_test_all (different galaxies tested over
    all seeds), seeds (those that are there), missing (those that are not), not_run (why entries
    were skipped, which do not count as missing; where there are some), seconds (mean; of the whole
    step), those of `COSTS` (means; NaN where unknown), peak_memory_of (what was measured), interval
    (what low and high are), train_accuracy, val_accuracy (means; NaN where a table has no such
    part), and for every metric of `metrics.OVERALL`, of the test part: <metric> (mean over seeds),
    <metric>_std (over seeds, n - 1), <metric>_low and <metric>_high.

    low and high: with two seeds or more the 95 % t-interval of `intervals.over_seeds`, cut off
    where the metric ends; with one the bootstrap interval over galaxies of `metrics.evaluate`,
    which knows nothing of the spread between seeds. `n_bootstrap=0` leaves out both, but for the
    accuracy over seeds."""

    def more(there: Sequence[Entry]) -> dict[str, Any]:
        tables = [entry.predictions for entry in there if entry.predictions]
        tested = [table.labelled("test").ids for table in tables]
        spent = pd.DataFrame([dict(entry.costs) for entry in there]).reindex(columns=[*COSTS])
        kinds = dict.fromkeys(
            str(e.costs["peak_memory_of"]) for e in there if "peak_memory_of" in e.costs
        )
        train = [table.labelled("train").ids if table.has("train") else () for table in tables]
        return spent.astype(float).mean().to_dict() | {
            "n_train": min(map(len, train)),
            "n_test": min(map(len, tested)),
            "n_test_all": len({galaxy for ids in tested for galaxy in ids}),
            "peak_memory_of": " / ".join(kinds) or None,
            "train_accuracy": float(np.mean([metrics.accuracy(t, "train") for t in tables])),
            "val_accuracy": float(np.mean([metrics.accuracy(t, "val") for t in tables])),
        }

    columns = ["n_train", "n_test", "n_test_all", "seeds", "missing", "not_run", "seconds", *COSTS]
    columns += ["peak_memory_of", "interval", "train_accuracy", "val_accuracy"]
    return summary(
        entries, "predictions", _numbers, ENDS, columns, more, n_bootstrap=n_bootstrap, seed=seed
    )


def summary(
    entries: Entries,
    kind: str,
    numbers: Numbers,
    ends: Mapping[str, tuple[float, float]],
    columns: Sequence[str],
    more: Callable[[Sequence[Entry]], dict[str, Any]],
    *,
    n_bootstrap: int,
    seed: int,
) -> pd.DataFrame:
    """Return the rows of `compare`, for any table of an entry and any statistics of it.

    Args:
        kind: the attribute of an entry that holds the table, "predictions" or "votes".
        numbers: the statistics of an entry.
        ends: the smallest and the largest value of each statistic, which are shown in this order.
        columns: those after method, protocol and n_labels, before the statistics.
        more: what else a row holds, of the entries that are there."""
    rows = []
    for (method, n_labels), group in entries.groups().items():
        there = [entry for entry in group if getattr(entry, kind) is not None]
        protocols = dict.fromkeys(entry.protocol for entry in group if entry.protocol)
        skipped = [str(e.not_run) for e in group if getattr(e, kind) is None and e.not_run]
        row: dict[str, Any] = {
            "method": method,
            "n_labels": n_labels,
            "protocol": " / ".join(protocols) or None,  # one seed may have seen test galaxies
            "seeds": len(there),
            "missing": len(group) - len(there) - len(skipped),
            "not_run": " / ".join(dict.fromkeys(skipped)) or None,
            "interval": "",
        }
        if there:
            seconds = [math.nan if e.seconds is None else e.seconds for e in there]
            row["seconds"] = pd.Series(seconds, dtype=float).mean()
            row["interval"] = "t over seeds" if len(there) > 1 else "bootstrap over galaxies"
            few = min(n_bootstrap, VARIANCE_DRAWS) if len(there) > 1 else n_bootstrap
            found = []
            for entry in there:
                with named(entry):
                    found.append(numbers(entry, few, seed))
            row |= more(there) | _spread(found, there, kind, ends)
        rows.append(row)
    every = ["method", "protocol", "n_labels", *columns]
    every += [f"{name}{end}" for name in ends for end in ("", "_std", "_low", "_high")]
    counts = [name for name in columns if name.startswith("n_")]
    table = pd.DataFrame(rows, columns=every).astype(dict.fromkeys(["n_labels", *counts], "Int64"))
    unused = [
        name for name in ("protocol", "not_run") if not any(getattr(e, name) for e in entries)
    ]
    return table.drop(columns=unused)


def _spread(
    found: Sequence[pd.DataFrame],
    there: Sequence[Entry],
    kind: str,
    ends: Mapping[str, tuple[float, float]],
) -> dict[str, float]:
    """Mean, standard deviation and interval over seeds of each statistic."""
    common, row = share_in_common([entry.tested(kind) for entry in there]), {}
    for name, (least, most) in ends.items():
        values = [float(table.at[name, "value"]) for table in found]
        low, high = (float(found[0].at[name, end]) for end in ("low", "high"))
        mean, std = float(np.mean(values)), math.nan
        if len(values) > 1:
            variances = [float(table.at[name, "variance"]) for table in found]
            std = float(np.std(values, ddof=1))
            low, high = over_seeds(values, variances, common).interval(least, most)
        row |= {name: mean, f"{name}_std": std, f"{name}_low": low, f"{name}_high": high}
    return row


def _numbers(entry: Entry, n_bootstrap: int, seed: int) -> pd.DataFrame:
    assert entry.predictions is not None
    return metrics.overall(entry.predictions, n_bootstrap=n_bootstrap, seed=seed)


def per_class(entries: Entries, *, metric: str = "f1") -> pd.DataFrame:
    """Return a metric of `metrics.PER_CLASS` on the test part, mean over seeds: methods (and
    budgets, where there are several) by classes. Missing entries are skipped."""
    if metric not in metrics.PER_CLASS:
        raise ValueError(f"metric={metric!r}: one of {', '.join(metrics.PER_CLASS)}")
    several, found = len(entries.budgets()) > 1, {}
    for entry in entries:
        if entry.predictions is not None:
            table = metrics.evaluate(entry.predictions, n_bootstrap=0)
            own = table[(table["metric"] == metric) & (table["class"] != "")]
            name = f"{entry.method}, {labels(entry.n_labels)}" if several else entry.method
            found.setdefault(name, []).append(own.set_index("class")["value"])
    return pd.DataFrame({name: pd.DataFrame(values).mean() for name, values in found.items()}).T


def front(table: pd.DataFrame, *, cost: str, baseline: str = "majority") -> Bool[ndarray, " row"]:
    """Return which rows of a table of `compare` are on the Pareto front of accuracy against a cost,
    one of `COSTS` of which less is better: no other is at least as accurate at no greater cost, and
    better in one of the two. Rows without either number, and the `baseline`, take no part."""
    known = table[[cost, "accuracy"]].notna().all(axis=1) & (table["method"] != baseline)
    numbers = table[[cost, "accuracy"]].astype(float).where(known).to_numpy(float)
    price, accuracy = numbers.T
    # [i, j]: i is no worse than j; never of a NaN
    no_worse = (price[:, None] <= price) & (accuracy[:, None] >= accuracy)
    return known.to_numpy(bool) & ~(no_worse & ~no_worse.T).any(0)


def readable(table: pd.DataFrame, *, shown: Sequence[str] = SHOWN) -> pd.DataFrame:
    """Return a table of `compare` to look at: metrics that are `shown` as `0.903 [0.885, 0.921]`, a
    missing value as an en dash. What was not run says so instead of its accuracy."""
    rows = []
    for row in table.to_dict("records"):
        parts = ("train_accuracy", "val_accuracy")
        text = head(row) | {name.replace("_", " "): number(row[name], ".3f") for name in parts}
        for metric in shown:
            title = TITLES.get(metric, metric.replace("_", " "))
            text[title] = with_interval(row, metric, ".3f")
        if not row["seeds"] and words(row, "not_run"):
            place = "test accuracy" if "test accuracy" in text else "seeds"
            text[place] = f"not run: {row['not_run']}"
        rows.append(text | costs(row) | tail(row))
    return pd.DataFrame(rows)
