"""Where two methods differ: on which galaxies, and in which cells of the confusion matrix.

Both functions take the entries of one budget, and compare the seeds that both methods have.
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
    """List the test galaxies that two methods classify differently, those first of which both are
    surest: by the smaller of the two probabilities.

    Columns: id, label, class_a, probability_a, class_b, probability_b, right ("a", "b" or
    "neither"). Probabilities are means over the seeds that both have and that test the galaxy."""
    both = Entries(entry for pair in entries.pairs(a, b) for entry in pair)
    found, names = mean_probabilities(both, ("test",))
    index = found[a].index  # that of b as well: tested on the same galaxies
    table = pd.DataFrame({name: index.get_level_values(name) for name in ("id", "label")})
    for which, method in (("a", a), ("b", b)):
        p = found[method].to_numpy()
        table[f"class_{which}"] = np.array(names)[p.argmax(1)]
        table[f"probability_{which}"] = p.max(1)
    right = [table.class_a == table.label, table.class_b == table.label]
    table["right"] = np.select(right, ["a", "b"], "neither")
    table = table.loc[table.class_a != table.class_b]
    surest = table[["probability_a", "probability_b"]].min(axis=1)
    order = surest.sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def confusion_difference(
    entries: Entries, a: str, b: str, *, n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Subtract the confusion matrix of b from that of a, both as fractions of the true class (row),
    mean over the seeds that both have.

    One row per cell. Columns: label, taken_for, a, b (fractions), difference, low, high (its 95 %
    interval), p, p_holm, resolved, n (galaxies of the label per seed; the fewest) and seeds.
    Interval and p are those of `significance.difference`, of the galaxies with this label and of
    being taken for that class: paired over the same galaxies, McNemar's exact test with one seed.
    p_holm: corrected for all cells; resolved: below 0.05. A class without test galaxies has NaN,
    and p 1."""
    both, rows = entries.pairs(a, b), []
    names = entries.methods()[a][0].predictions.classes  # pyright: ignore
    for i, j in np.ndindex(len(names), len(names)):

        def scores(entry: Entry, label: int = i, taken_for: int = j) -> Scores:
            part = entry.predictions.labelled()  # pyright: ignore
            own = part.true == label
            taken = (part.predicted == taken_for).astype(float)
            return Scores(part.ids[own], taken[own], part.true[own])

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
    """Name the cells of `confusion_difference` that differ significantly, the largest first."""
    resolved = table.loc[table.resolved]
    order = resolved.difference.abs().sort_values(ascending=False, kind="stable").index
    known = {"smallest": table.p_holm.min(), "seeds": table.seeds.max(), "a": a, "b": b}
    rows, holm = resolved.loc[order].to_dict("records"), after_holm(len(table), "cells")
    return say("confusion", rows=rows, holm=holm, **known)
