"""Which labels may be wrong, by confident learning (Northcutt, Jiang & Chuang 2021, JAIR 70, 1373).

A suspect is not an error: methods err, classes overlap, and methods that learned from the same
labels share their mistakes. So what several find is compared with what they would find if they
erred independently. All functions take the entries of one budget.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray

from galaxymorph.evaluation.entries import Entries, mean_probabilities
from galaxymorph.evaluation.phrases import say

HELD_OUT = ("val", "test")  # no method was trained on these
NOTHING = 1e-9  # by how much a mean may miss its equals
SUSPECTS = ["id", "label", "suspected", "methods", "of", "probability"]
ERRORS = ["label", "suspected", "n", "found", "expected", "errors"]


def suspects(entries: Entries, *, splits: Sequence[str] = HELD_OUT) -> pd.DataFrame:
    """List the galaxies whose label methods doubt (Northcutt et al. 2021, eq. 1).

    For each method: t_j is the mean of p_j over the galaxies labelled j; a galaxy is taken to be of
    that class, among those with p_j >= t_j, whose p_j is the largest, and suspected where this is
    not its label. p_j are averaged over the seeds where the galaxy is in `splits`, on which no
    method was trained.

    Columns: id, label, suspected (the class that the most methods suspect; of as many, the one of
    the larger probability), methods (how many agree on it), of (how many predict the galaxy),
    probability (of the suspected class, mean over those that agree). Sorted by the share of
    methods, then by probability; galaxies that no method suspects have no row."""
    table = _consensus(entries, splits).table
    table = table.loc[table["methods"] > 0].assign(share=lambda each: each.methods / each.of)
    table = table.sort_values(by=["share", "probability"], ascending=False, kind="stable")
    return table[SUSPECTS].reset_index(drop=True)


def label_errors(entries: Entries, *, splits: Sequence[str] = HELD_OUT) -> pd.DataFrame:
    """Count the labels of each class that more than half of the methods take for each other class.

    Columns: label, suspected, n (galaxies with the label), found, expected and errors. A row for
    each pair of classes.

    * expected: how many would be found if each method doubted as many galaxies with this label as
      it does, but which ones were chance, independent of the other methods. What is found beyond
      that is due to the galaxies: to a wrong label, or to looks that are those of another class. Of
      a single method it is what is found.
    * errors: the estimated number of label errors, n times the joint distribution of given and true
      labels: found and confirmed galaxies of a label, scaled to its number of galaxies, as some
      reach no threshold (Northcutt et al. 2021, eq. 3); 0 for a label of which no galaxy is found
      or confirmed."""
    found = _consensus(entries, splits)
    names, label, agreed = found.classes, found.label, found.agreed
    count, chance = np.zeros((2, len(names), len(names)))
    np.add.at(count, (label[agreed >= 0], agreed[agreed >= 0]), 1)
    np.add.at(chance, label, found.chance)
    n, total = np.bincount(label, minlength=len(names)), np.maximum(count.sum(1), 1)
    scaled = count * (n / total)[:, None]
    rows = [
        (names[i], names[j], n[i], int(count[i, j]), chance[i, j], scaled[i, j])
        for i, j in np.ndindex(count.shape)
        if i != j
    ]
    return pd.DataFrame(rows, columns=ERRORS)


def suspect_sentences(suspects: pd.DataFrame, errors: pd.DataFrame) -> list[str]:
    """Put `suspects` and `label_errors` of the same entries into words."""
    known = {"n": errors.drop_duplicates("label").n.sum(), "found": errors.found.sum()}
    known |= {"expected": errors.expected.sum(), "every": (suspects.methods == suspects.of).sum()}
    of, most = 0 if suspects.empty else suspects.of.max(), errors.loc[errors.found.idxmax()]
    return say("suspects", of=of, most=most, **known)


# ---- the parts


class _Consensus(NamedTuple):
    table: pd.DataFrame  # the columns of `suspects`, a row for each galaxy
    classes: tuple[str, ...]
    label: Int[ndarray, " galaxy"]
    agreed: Int[ndarray, " galaxy"]  # what more than half of the methods take it for, or -1
    chance: Float[ndarray, "galaxy class"]  # probability of that if methods were independent


def _consensus(entries: Entries, splits: Sequence[str]) -> _Consensus:
    found, names = mean_probabilities(entries, splits)
    index = pd.concat([each.iloc[:, :0] for each in found.values()]).index.unique()
    ids, labels = (index.get_level_values(name) for name in ("id", "label"))
    label = pd.Index(names).get_indexer(labels)
    n, k = len(index), len(names)
    taken, by_those = np.zeros((2, n, k))  # methods that say a class, and the sum of their p
    number = np.zeros((len(found) + 1, n, k))  # distribution of `taken` of independent methods
    number[0], of = 1, np.zeros(n, int)
    for each in found.values():
        rows, p = index.get_indexer(each.index), each.to_numpy(float)
        is_label = label[rows][:, None] == np.arange(k)
        size = is_label.sum(0)
        threshold = (p * is_label).sum(0) / np.maximum(size, 1) - NOTHING
        sure = np.where((p >= threshold) & (size > 0), p, -1)  # of classes that reach theirs
        says = (sure >= 0) & (np.arange(k) == sure.argmax(1)[:, None])
        taken[rows] += says
        by_those[rows] += says * p
        of[rows] += 1
        rate = (is_label.T.astype(float) @ says / np.maximum(size, 1)[:, None])[label[rows]]
        before = number[:, rows]
        number[:, rows] = before * (1 - rate)
        number[1:, rows] += before[:-1] * rate
    mean, galaxy = by_those / np.maximum(taken, 1), np.arange(n)
    # of as many methods the larger mean counts
    others = np.where(np.arange(k) == label[:, None], -1, taken + 0.999 * mean)
    suspected = others.argmax(1)
    methods = np.where(suspected == label, 0, taken[galaxy, suspected]).astype(int)
    columns = (ids, labels, np.array(names)[suspected], methods, of, mean[galaxy, suspected])
    table = pd.DataFrame(dict(zip(SUSPECTS, columns, strict=True)))
    agreed = np.where(taken.max(1) > of / 2, taken.argmax(1), -1)
    most = (np.arange(len(number))[:, None] > of / 2)[..., None]
    return _Consensus(table, names, label, agreed, (number * most).sum(0))
