"""Galaxies, and cells of the confusion matrix, for which two methods differ.

All functions take entries with one budget and compare the seeds that both methods have.
"""

import dataclasses

import numpy as np
import pandas as pd

from galaxymorph.evaluation.entries import Entries, Entry, mean_probabilities
from galaxymorph.evaluation.intervals import corrected
from galaxymorph.evaluation.phrases import after_holm, say
from galaxymorph.evaluation.significance import ACCURACY, Scores, difference

CELLS = ["label", "taken_for", "a", "b", "difference", "low", "high", "p", "p_holm", "resolved"]
CELLS += ["n", "seeds"]


def disagreements(entries: Entries, a: str, b: str) -> pd.DataFrame:
    """List the test galaxies that two methods classify differently, most confident ones first.

    Sorted by the smaller of the two probabilities. Columns: id, label, class_a, probability_a,
    class_b, probability_b and right ("a", "b" or "neither"). Probabilities are means over the
    common seeds in whose test set the galaxy is."""
    both = Entries(entry for pair in entries.pairs(a, b) for entry in pair)
    found, names = mean_probabilities(both, ("test",))
    index = found[a].index  # equal to that of b, tested on the same galaxies
    table = pd.DataFrame({name: index.get_level_values(name) for name in ("id", "label")})
    for which, method in (("a", a), ("b", b)):
        p = found[method].to_numpy()
        table[f"class_{which}"] = np.array(names)[p.argmax(1)]
        table[f"probability_{which}"] = p.max(1)
    right = [table.class_a == table.label, table.class_b == table.label]
    table["right"] = np.select(right, ["a", "b"], "neither")
    table = table.loc[table.class_a != table.class_b]
    smaller = table[["probability_a", "probability_b"]].min(axis=1)
    order = smaller.sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def confusion_difference(
    entries: Entries, a: str, b: str, *, n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Subtract the confusion matrix of b from that of a: fractions of the true class, over seeds.

    One row per cell. Columns: label, taken_for (predicted class), a, b (mean fractions),
    difference, low, high (95 % interval), p, p_holm, resolved, n (galaxies with this label; minimum
    over seeds) and seeds. Interval and p are those of `significance.difference`, paired over the
    galaxies with this label; McNemar's exact test for one seed. p_holm: corrected for all cells;
    resolved: p_holm < 0.05. For a class without test galaxies the numbers are NaN and p is 1."""
    both, rows = entries.pairs(a, b), []
    names = entries.methods()[a][0].predictions.classes  # pyright: ignore
    for i, j in np.ndindex(len(names), len(names)):

        def scores(entry: Entry, label: int = i, predicted: int = j) -> Scores:
            part = entry.predictions.labelled()  # pyright: ignore
            own = part.true == label
            in_cell = (part.predicted == predicted).astype(float)
            return Scores(part.ids[own], in_cell[own], part.true[own])

        cells = [pair for pair in both if len(scores(pair[0]).ids)]
        row = {"label": names[i], "taken_for": names[j], "p": 1.0, "n": 0, "seeds": len(cells)}
        if cells:
            statistic = dataclasses.replace(ACCURACY, scores=scores)
            found = difference(cells, statistic=statistic, n_bootstrap=n_bootstrap, seed=seed)
            row |= {"a": found["accuracy_a"], "b": found["accuracy_b"], "n": found["n_test"]}
            row |= {name: found[name] for name in ("difference", "low", "high", "p")}
        rows.append(row)
    return corrected(pd.DataFrame(rows)).reindex(columns=CELLS)


def confusion_sentences(table: pd.DataFrame, a: str, b: str) -> list[str]:
    """Describe the cells that differ significantly, largest difference first."""
    resolved = table.loc[table.resolved]
    order = resolved.difference.abs().sort_values(ascending=False, kind="stable").index
    known = {"smallest": table.p_holm.min(), "seeds": table.seeds.max(), "a": a, "b": b}
    rows, holm = resolved.loc[order].to_dict("records"), after_holm(len(table), "cells")
    return say("confusion", rows=rows, holm=holm, **known)
