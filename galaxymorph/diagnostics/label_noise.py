"""Suspected label errors by confident learning (Northcutt, Jiang & Chuang 2021, JAIR 70, 1373).

A suspected label is not necessarily wrong: classes overlap, and methods trained on the same labels
share mistakes. Agreement between methods is therefore compared with the agreement expected if their
errors were independent. All functions take entries with one budget.
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
NOTHING = 1e-9  # rounding error of a mean of equal values
SUSPECTS = ["id", "label", "suspected", "methods", "of", "probability"]
ERRORS = ["label", "suspected", "n", "found", "expected", "errors"]


def suspects(entries: Entries, *, splits: Sequence[str] = HELD_OUT) -> pd.DataFrame:
    """List the galaxies whose labels are doubted by at least one method.

    For each method, t_j is the mean of p_j over the galaxies labelled j. The suspected class of a
    galaxy is the one with the largest p_j among those with p_j >= t_j; the label is doubted if it
    differs (Northcutt et al. 2021, eq. 1). p_j are means over the seeds for which the galaxy is in
    `splits`, so that the method was not trained on it.

    Columns: id, label, suspected (class suspected by most methods; in case of ties, the one with
    the larger probability), methods (number that agree on it), of (number that predict the galaxy)
    and probability (of the suspected class, mean over the methods that agree). Sorted by the
    fraction of methods, then by probability."""
    table = _consensus(entries, splits).table
    table = table.loc[table["methods"] > 0].assign(share=lambda each: each.methods / each.of)
    table = table.sort_values(by=["share", "probability"], ascending=False, kind="stable")
    return table[SUSPECTS].reset_index(drop=True)


def label_errors(entries: Entries, *, splits: Sequence[str] = HELD_OUT) -> pd.DataFrame:
    """Count labels for which more than half of the methods suspect the same other class.

    One row per pair of classes: label, suspected, n (galaxies with the label), found, expected and
    errors.

    * expected: number that would be found if each method doubted as many labels as it does, but
      independently of the others. An excess is due to the galaxies themselves: wrong labels, or
      an appearance typical of another class. With a single method it equals found.
    * errors: estimated number of label errors, n times the joint distribution of given and true
      labels. Counts of a label (found or confirmed) are scaled to n, as some galaxies are above no
      threshold (Northcutt et al. 2021, eq. 3); 0 for a label without any."""
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
    """Describe `suspects` and `label_errors` of the same entries in words."""
    known = {"n": errors.drop_duplicates("label").n.sum(), "found": errors.found.sum()}
    known |= {"expected": errors.expected.sum(), "every": (suspects.methods == suspects.of).sum()}
    of, most = 0 if suspects.empty else suspects.of.max(), errors.loc[errors.found.idxmax()]
    return say("suspects", of=of, most=most, **known)


# ---- the parts


class _Consensus(NamedTuple):
    table: pd.DataFrame  # the columns of `suspects`, a row for each galaxy
    classes: tuple[str, ...]
    label: Int[ndarray, " galaxy"]
    agreed: Int[ndarray, " galaxy"]  # class assigned by more than half of the methods, or -1
    chance: Float[ndarray, "galaxy class"]  # probability of this for independent methods


def _consensus(entries: Entries, splits: Sequence[str]) -> _Consensus:
    found, names = mean_probabilities(entries, splits)
    index = pd.concat([each.iloc[:, :0] for each in found.values()]).index.unique()
    ids, labels = (index.get_level_values(name) for name in ("id", "label"))
    label = pd.Index(names).get_indexer(labels)
    n, k = len(index), len(names)
    support, p_sum = np.zeros((2, n, k))  # methods that assign a class, and the sum of their p
    number = np.zeros((len(found) + 1, n, k))  # distribution of `support` for independent methods
    number[0], of = 1, np.zeros(n, int)
    for each in found.values():
        rows, p = index.get_indexer(each.index), each.to_numpy(float)
        is_label = label[rows][:, None] == np.arange(k)
        size = is_label.sum(0)
        threshold = (p * is_label).sum(0) / np.maximum(size, 1) - NOTHING
        above = np.where((p >= threshold) & (size > 0), p, -1)  # -1 below the threshold
        assigned = (above >= 0) & (np.arange(k) == above.argmax(1)[:, None])
        support[rows] += assigned
        p_sum[rows] += assigned * p
        of[rows] += 1
        rate = (is_label.T.astype(float) @ assigned / np.maximum(size, 1)[:, None])[label[rows]]
        before = number[:, rows]
        number[:, rows] = before * (1 - rate)
        number[1:, rows] += before[:-1] * rate
    mean, galaxy = p_sum / np.maximum(support, 1), np.arange(n)
    # ties are decided by the larger mean
    others = np.where(np.arange(k) == label[:, None], -1, support + 0.999 * mean)
    suspected = others.argmax(1)
    methods = np.where(suspected == label, 0, support[galaxy, suspected]).astype(int)
    columns = (ids, labels, np.array(names)[suspected], methods, of, mean[galaxy, suspected])
    table = pd.DataFrame(dict(zip(SUSPECTS, columns, strict=True)))
    agreed = np.where(support.max(1) > of / 2, support.argmax(1), -1)
    most = (np.arange(len(number))[:, None] > of / 2)[..., None]
    return _Consensus(table, names, label, agreed, (number * most).sum(0))
