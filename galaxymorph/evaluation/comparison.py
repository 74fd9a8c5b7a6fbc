"""Compare methods that predict classes: a row per method and budget, and a readable table."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool
from numpy import ndarray

from galaxymorph.evaluation import metrics
from galaxymorph.evaluation.entries import Entries, Entry, labels, named, words
from galaxymorph.evaluation.intervals import over_seeds, share_in_common
from galaxymorph.evaluation.phrases import costs, head, number, tail, with_interval
from galaxymorph.text import unknown

COSTS = ("parameters", "flops", "training_seconds", "images_per_second", "peak_memory_mib")
SHOWN = ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1", "auc")
SHOWN += ("log_loss",)
TITLES = {"accuracy": "test accuracy", "macro_f1": "macro F1", "auc": "AUC"}
ENDS = dict.fromkeys(metrics.OVERALL, (0.0, 1.0))
ENDS |= {"log_loss": (0.0, math.inf), "brier": (0.0, 2.0)}
VARIANCE_DRAWS = 200  # bootstrap draws if only the variance is needed


def compare(entries: Entries, *, n_bootstrap: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Summarise the test results of each method and budget over seeds, in the order of entries.

    Columns: method, title and protocol (if any entry has one), n_labels (integer, <NA> for all),
    n_train and n_test (labelled galaxies; minimum over seeds), n_test_all (distinct test galaxies
    of all seeds), seeds (with results), missing (seeds without), not_run (why entries were skipped;
    these are not counted as missing), seconds (mean duration of the step), `COSTS` (means; NaN if
    unknown), peak_memory_of (what was measured), interval (kind), still_improving (fraction of
    seeds whose best epoch is the last; NaN without epochs), train_accuracy and val_accuracy (means;
    NaN without such galaxies), and for each metric in `metrics.OVERALL`: <metric> (mean over
    seeds), <metric>_std (over seeds, ddof = 1), <metric>_low and <metric>_high.

    The 95 % interval is the t-interval of `intervals.over_seeds`, clipped to the range of the
    metric. For a single seed it is the bootstrap interval of `metrics.evaluate`, which does not
    include the variance between seeds. With `n_bootstrap=0` only the accuracy over several seeds
    has an interval."""
    columns = ["n_train", "n_test", "n_test_all", "seeds", "missing", "not_run", "seconds", *COSTS]
    columns += ["peak_memory_of", "interval", "still_improving", "train_accuracy", "val_accuracy"]
    options = {"n_bootstrap": n_bootstrap, "seed": seed}
    return summary(entries, "predictions", metrics.overall, ENDS, columns, **options)


def summary(
    entries: Entries,
    kind: str,
    numbers: Callable[..., pd.DataFrame],
    ends: Mapping[str, tuple[float, float]],
    columns: Sequence[str],
    *,
    n_bootstrap: int,
    seed: int,
) -> pd.DataFrame:
    """Summarise any statistics of predictions or votes over seeds (see `compare`).

    Args:
        kind: "predictions" or "votes".
        numbers: function of such a table, n_bootstrap and seed that returns one row per statistic,
            with the columns value, low, high (used for a single seed) and variance.
        ends: smallest and largest possible value by statistic, in the order of the columns.
        columns: columns between n_labels and the statistics."""
    rows, titles = [], entries.titles()
    for (method, n_labels), group in entries.groups().items():
        tables = [(entry, entry.table(kind)) for entry in group]
        there = [(entry, table) for entry, table in tables if table is not None]
        absent = [entry for entry, table in tables if table is None]
        skipped = [entry.not_run for entry in absent if entry.not_run]
        row: dict[str, Any] = {"method": method, "n_labels": n_labels, "seeds": len(there)}
        row |= {"missing": len(absent) - len(skipped), "not_run": _joined(skipped)}
        row |= {"protocol": _joined(entry.protocol for entry in group), "interval": ""}
        row["title"] = titles[method] if titles[method] != method else None
        if there:
            several = len(there) > 1
            row["interval"] = "t over seeds" if several else "bootstrap over galaxies"
            draws = min(n_bootstrap, VARIANCE_DRAWS) if several else n_bootstrap
            found = []
            for entry, table in there:
                with named(entry):
                    found.append(numbers(table, n_bootstrap=draws, seed=seed))
            for split in ("train", "test"):
                row[f"n_{split}"] = min(len(table.rows(split)) for _, table in there)
            ids = [entry.tested(kind) for entry, _ in there]
            row["n_test_all"] = len(set().union(*ids))
            row |= _means([entry for entry, _ in there])
            row |= _spread(found, share_in_common(ids), ends)
        rows.append(row)
    every = ["method", "title", "protocol", "n_labels", *columns]
    every += [f"{name}{end}" for name in ends for end in ("", "_std", "_low", "_high")]
    counts = [name for name in every if name.startswith("n_")]
    table = pd.DataFrame(rows, columns=every).astype(dict.fromkeys(counts, "Int64"))
    used = table.dropna(axis="columns", how="all").columns
    return table.drop(
        columns=[name for name in ("title", "protocol", "not_run") if name not in used]
    )


def _joined(texts: Iterable[str | None]) -> str | None:
    """Join distinct texts; seeds may differ, for instance in their protocol."""
    return " / ".join(dict.fromkeys(text for text in texts if text)) or None


def _means(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return mean costs and mean training and validation accuracy over seeds."""
    spent = pd.DataFrame([{"seconds": e.seconds, **e.costs} for e in entries], dtype=object)
    means = spent.reindex(columns=["seconds", *COSTS]).astype(float).mean().to_dict()
    histories = [entry.history for entry in entries if entry.history is not None]
    last = [float(each["best"].iloc[-1]) for each in histories if "best" in each]
    means["still_improving"] = float(np.mean(last)) if last else math.nan
    for split in ("train", "val"):
        values = [metrics.accuracy(entry.predictions, split) for entry in entries]
        means[f"{split}_accuracy"] = float(np.mean(values))
    return means | {"peak_memory_of": _joined(e.costs.get("peak_memory_of") for e in entries)}


def _spread(
    found: Sequence[pd.DataFrame], common: float, ends: Mapping[str, tuple[float, float]]
) -> dict[str, float]:
    """Return mean, standard deviation and interval over seeds of each statistic."""
    row = {}
    for name, (least, most) in ends.items():
        values, variances = ([t.at[name, what] for t in found] for what in ("value", "variance"))
        low, high, std = found[0].at[name, "low"], found[0].at[name, "high"], math.nan
        if len(values) > 1:
            std = float(np.std(values, ddof=1))
            low, high = over_seeds(values, variances, common).interval(least, most)
        row |= {name: np.mean(values), f"{name}_std": std, f"{name}_low": low, f"{name}_high": high}
    return row


def per_class(entries: Entries, *, metric: str = "f1") -> pd.DataFrame:
    """Tabulate a metric of `metrics.PER_CLASS` (test galaxies, mean over seeds).

    Rows are methods (with their budget, if there are several), columns are classes."""
    if metric not in metrics.PER_CLASS:
        raise ValueError(unknown("metric", metric, metrics.PER_CLASS))
    several, found = len(entries.budgets()) > 1, {}
    for entry in entries:
        if entry.predictions is not None:
            table = metrics.evaluate(entry.predictions, n_bootstrap=0)
            own = table[(table["metric"] == metric) & (table["class"] != "")]
            name = f"{entry.method}, {labels(entry.n_labels)}" if several else entry.method
            found.setdefault(name, []).append(own.set_index("class")["value"])
    return pd.DataFrame({name: pd.DataFrame(values).mean() for name, values in found.items()}).T


def front(table: pd.DataFrame, *, cost: str, baseline: str = "majority") -> Bool[ndarray, " row"]:
    """Return which rows of `compare` are on the Pareto front of accuracy and a cost in `COSTS`.

    No other row is at least as good in both and better in one. Rows with missing values and the
    `baseline` are excluded."""
    known = table[[cost, "accuracy"]].notna().all(axis=1) & (table["method"] != baseline)
    numbers = table[[cost, "accuracy"]].astype(float).where(known).to_numpy(float)
    price, accuracy = numbers.T
    # [i, j]: i is at least as good as j; False for NaN
    no_worse = (price[:, None] <= price) & (accuracy[:, None] >= accuracy)
    return known.to_numpy(bool) & ~(no_worse & ~no_worse.T).any(0)


def readable(table: pd.DataFrame, *, shown: Sequence[str] = SHOWN) -> pd.DataFrame:
    """Format a table of `compare`: `0.903 [0.885, 0.921]`, or an en dash if missing.

    `shown` are the metrics to include. Skipped methods show the reason in place of the accuracy."""
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
