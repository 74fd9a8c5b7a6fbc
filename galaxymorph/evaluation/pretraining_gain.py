"""Gain from pre-training: the accuracy of each method minus that of its control.

The control of `<step> <row>` is the same classifier on an untrained encoder, `<step> random_<row>`:
`moco_frozen dnn` is compared with `moco_frozen random_dnn`. Other controls are named by `against`:
a fine-tuned network is compared with the same network from scratch. Both are trained and tested on
the same galaxies, so the difference is better determined than either accuracy.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from galaxymorph.evaluation import significance
from galaxymorph.evaluation.entries import Entries
from galaxymorph.evaluation.phrases import say

INTERVALS = ("", "bootstrap over galaxies", "t over seeds")  # for 0, 1, 2 or more seeds
COLUMNS = ["method", "n_labels", "accuracy", "control", "difference", "low", "high", "interval"]
COLUMNS += ["seeds", "missing", "n_test", "against"]
Against = Mapping[str, str] | None  # control by method


def differences(
    entries: Entries, *, against: Against = None, n_bootstrap: int = 10_000, seed: int = 0
) -> pd.DataFrame:
    """Subtract the control's test accuracy from that of each method that has a control.

    One row per method and budget. Columns: method, n_labels (integer, <NA> for all), accuracy and
    control (means over common seeds), difference, low, high (95 % interval, see
    `significance.difference`), interval (its kind), seeds, missing (seeds that lack one of the
    two), n_test (galaxies; minimum over seeds) and against (name of the control; empty for an
    untrained encoder). Without a common seed the numbers are NaN."""
    groups, rows = entries.groups(), []
    for (method, n_labels), group in groups.items():
        step, _, name = method.partition(" ")  # name may include settings: `dnn zoom=0.1`
        named = (against or {}).get(method, "")
        control = named or f"{step} random_{name}"
        ours, theirs = (
            {entry.seed: entry for entry in each}
            for each in (group, groups.get((control, n_labels), []))
        )
        if not theirs:
            continue
        pairs = [(entry, theirs[key]) for key, entry in ours.items() if key in theirs]
        both = [(a, b) for a, b in pairs if a.predictions and b.predictions]
        row: dict[str, Any] = {"method": method, "n_labels": n_labels, "seeds": 0}
        if both:
            row |= significance.difference(both, n_bootstrap=n_bootstrap, seed=seed)
            row |= {"accuracy": row["accuracy_a"], "control": row["accuracy_b"]}
        row |= {"missing": len({*ours, *theirs}) - len(both), "against": control if named else ""}
        rows.append(row | {"interval": INTERVALS[min(row["seeds"], 2)]})
    kinds = dict.fromkeys(["n_labels", "n_test"], "Int64")
    return pd.DataFrame(rows, columns=COLUMNS).astype(kinds)


def sentences(table: pd.DataFrame) -> list[str]:
    """Describe a table of `differences`, one sentence per method and budget.

    Pre-training helped if the whole interval is above 0, and gave no improvement if the difference
    is 0 or negative; otherwise the two are tied. Not corrected for the number of methods."""
    return say("pretraining", rows=table.to_dict("records"))
