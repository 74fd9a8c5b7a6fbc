"""Did pre-training help? Each method against its control, the same on an untrained encoder.

The control of the method `<step> <row>` is `<step> random_<row>`: `moco_frozen dnn` is compared
with `moco_frozen random_dnn`. The control of any other method is what `against` names: a
fine-tuned network is compared with the same one from scratch. Both had the same labelled galaxies
and are tested on the same ones, so that their difference is known better than either.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from galaxymorph.evaluation import significance
from galaxymorph.evaluation.entries import Entries
from galaxymorph.evaluation.phrases import say

INTERVALS = ("", "bootstrap over galaxies", "t over seeds")  # with so many seeds, or more
COLUMNS = ["method", "n_labels", "accuracy", "control", "difference", "low", "high", "interval"]
COLUMNS += ["seeds", "missing", "n_test", "against"]
Against = Mapping[str, str] | None  # methods with the names of their controls


def differences(
    entries: Entries, *, against: Against = None, n_bootstrap: int = 10_000, seed: int = 0
) -> pd.DataFrame:
    """Subtract from the test accuracy of every method that of its control, where it has one: one
    row per method and budget.

    Columns: method, n_labels (integer, <NA> for all), accuracy and control (means over the seeds
    where both are there), difference, low, high (the 95 % interval of `significance.difference`),
    interval (what that is), seeds, missing (seeds where one of the two is not there), n_test
    (galaxies per seed; the fewest) and against (the control's name; empty for an untrained
    encoder). NaN without a seed."""
    groups, rows = entries.groups(), []
    for (method, n_labels), group in groups.items():
        step, _, name = method.partition(" ")  # settings that follow (`dnn zoom=0.1`) stay
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
    """Put a table of `differences` into words, a sentence for each method and budget.

    Pre-training helped where the whole interval is above 0, and gave no improvement where the
    difference is 0 or less; otherwise the two are tied. Not corrected for the number of methods."""
    return say("pretraining", rows=table.to_dict("records"))
