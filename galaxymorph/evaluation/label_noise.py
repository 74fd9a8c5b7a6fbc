"""galaxymorph.evaluation.label_noise"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray

from galaxymorph.evaluation.entries import mean_probabilities

HELD_OUT = ("val", "test")  # no method was trained on these
NOTHING = 1e-9  # by how much a mean may miss its equals


def suspects(
    pieces: Sequence[Mapping[str, Any]], *, splits: Sequence[str] = HELD_OUT
) -> pd.DataFrame:
    """Galaxies whose label methods doubt, by confident learning (Northcutt, Jiang & Chuang 2021,
    JAIR 70, 1373, eq. 1).

    For each method: t_j is the mean of p_j over the galaxies labelled j; a galaxy is taken to be of
    that class, among those with p_j >= t_j, whose p_j is the largest, and suspected where this is
    not its label. p_j are averaged over the seeds where the galaxy is in `splits`, on which no
    method was trained.

    Columns: id, label, suspected (the class that the most methods suspect; of as many, the one of
    the larger probability), methods (how many agree on it), of (how many predict the galaxy),
    probability (of the suspected class, mean over those that agree). Sorted by the share of
    methods, then by probability; galaxies that no method suspects have no row.

    A suspect is not an error: methods err, classes overlap, and methods that learned from the same
    labels share their mistakes. `label_errors` says how many are to be expected of methods that err
    independently."""
    found = _consensus(pieces, splits)
    table = found.loc[
        found["methods"] > 0, ["id", "label", "suspected", "methods", "of", "probability"]
    ]
    order = pd.DataFrame(
        {"share": table["methods"] / table["of"], "probability": table["probability"]}
    )
    return table.loc[
        order.sort_values(by=["share", "probability"], ascending=False, kind="stable").index
    ].reset_index(drop=True)


def label_errors(
    pieces: Sequence[Mapping[str, Any]], *, splits: Sequence[str] = HELD_OUT
) -> pd.DataFrame:
    """How many labels of each class are suspected, by more than half of the methods, to be of each
    other class.

    Columns: label, suspected, n (galaxies with the label), found, expected and errors. A row for
    each pair of classes.

    * expected: how many would be found if each method doubted as many galaxies with this label as
      it does, but which ones were chance, independent of the other methods. What is found beyond
      that is due to the galaxies: to a wrong label, or to looks that are those of another class. Of
      a single method it is what is found.
    * errors: the estimated number of label errors, n times the joint distribution of given and true
      labels: found and confirmed galaxies of a label, scaled to its number of galaxies, as some
      reach no threshold (Northcutt et al. 2021, eq. 3); 0 for a label of which no galaxy is found
      or confirmed.
    """
    found = _consensus(pieces, splits)
    names, place = (
        found.attrs["classes"],
        {name: k for k, name in enumerate(found.attrs["classes"])},
    )
    label, agreed = (
        np.array([place.get(name, -1) for name in found[column]]) for column in ("label", "agreed")
    )
    count, chance = np.zeros((2, len(names), len(names)))
    np.add.at(count, (label[agreed >= 0], agreed[agreed >= 0]), 1)
    np.add.at(chance, label, found.attrs["chance"])
    n = np.bincount(label, minlength=len(names))
    total = count.sum(1, keepdims=True)
    scaled = np.divide(count * n[:, None], total, out=np.zeros_like(count), where=total > 0)
    rows = [
        {
            "label": names[i],
            "suspected": names[j],
            "n": n[i],
            "found": int(count[i, j]),
            "expected": chance[i, j],
            "errors": scaled[i, j],
        }
        for i, j in np.ndindex(count.shape)
        if i != j
    ]
    return pd.DataFrame(rows, columns=["label", "suspected", "n", "found", "expected", "errors"])


def suspect_sentences(suspects: pd.DataFrame, errors: pd.DataFrame) -> list[str]:
    """What tables of `suspects` and `label_errors` of the same pieces say, and what they do not."""
    n, found, expected = (
        int(errors.drop_duplicates("label").n.sum()),
        int(errors.found.sum()),
        float(errors.expected.sum()),
    )
    if suspects.empty:
        return [f"Of {n:,} held-out galaxies none has a label that a method doubts."]
    of = int(suspects.of.max())
    who = f"most of {of} methods doubt" if of > 1 else "the method doubts"
    chance = (
        f" If the methods doubted galaxies at random, each as many as it does, most would agree on {expected:.1f}."
        * (of > 1)
    )
    every = f", {int((suspects.methods == suspects.of).sum()):,} one that all of them doubt" * (
        of > 1
    )
    said = [
        f"Of {n:,} held-out galaxies {found:,} have a label that {who}{every} (confident learning).",
        "A suspect is not an error: classes overlap, and methods that learned from the same labels share their mistakes. Look "
        f"at a galaxy before its label is changed.{chance}",
    ]
    if found:
        most = errors.loc[errors.found.idxmax()]
        said.append(
            f"The most frequent: {most.found:,} labelled {most.label} are suspected to be {most.suspected} "
            f"{f'({most.expected:.1f} by chance)' if of > 1 else '(which one method cannot tell from its own mistakes)'}; the "
            f"estimate of confident learning is {most.errors:.1f} of the {most.n:,} with that label."
        )
    return said


def _assigned(
    p: Float[ndarray, "galaxy class"], label: Int[ndarray, " galaxy"]
) -> Int[ndarray, " galaxy"]:
    """The class that confident learning takes each galaxy for, of one method; -1 where no
    probability reaches its threshold."""
    threshold = [
        p[label == k, k].mean() - NOTHING if (label == k).any() else np.inf
        for k in range(p.shape[1])
    ]
    above = p >= np.array(threshold)
    return np.where(above.any(1), np.where(above, p, -1).argmax(1), -1)


def _consensus(pieces: Sequence[Mapping[str, Any]], splits: Sequence[str]) -> pd.DataFrame:
    """A row for each galaxy: the columns of `suspects`, and agreed, the class that more than half
    of the methods take it for, or "". `attrs`: classes, and chance `(galaxy, class)`, the
    probability of that if methods were independent of each other."""
    found, names = mean_probabilities(pieces, splits)
    index = pd.concat([each.iloc[:, :0] for each in found.values()]).index.unique()
    place = {name: k for k, name in enumerate(names)}
    label = index.get_level_values("label").map(place).to_numpy(int)
    taken, by_those = np.zeros(
        (2, len(index), len(names))
    )  # how many methods say a class of a galaxy, and the sum of their p
    number = np.zeros(
        (len(found) + 1, len(index), len(names))
    )  # the distribution of the former if methods were independent
    number[0], of = 1, np.zeros(len(index), int)
    for each in found.values():
        rows, p = index.get_indexer(each.index), each.to_numpy(float)
        assigned = _assigned(p, label[rows])
        sure = assigned >= 0
        taken[rows[sure], assigned[sure]] += 1
        by_those[rows[sure], assigned[sure]] += p[sure, assigned[sure]]
        of[rows] += 1
        rates = np.zeros((len(names), len(names)))
        np.add.at(rates, (label[rows][sure], assigned[sure]), 1)
        rates /= np.maximum(np.bincount(label[rows], minlength=len(names)), 1)[:, None]
        before, rate = number[:, rows], rates[label[rows]]
        number[:, rows] = before * (1 - rate)
        number[1:, rows] += before[:-1] * rate
    mean = by_those / np.maximum(taken, 1)
    others = np.where(
        np.arange(len(names)) == label[:, None], -1, taken + 0.999 * mean
    )  # the larger mean of equal numbers
    suspected, galaxy = others.argmax(1), np.arange(len(index))
    most = taken.argmax(1)
    agreed = np.where(taken.max(1) > of / 2, np.array(names, object)[most], "")
    table = pd.DataFrame(
        {"id": index.get_level_values("id"), "label": index.get_level_values("label")}
    )
    table["suspected"] = np.array(names)[suspected]
    table["methods"] = np.where(suspected == label, 0, taken[galaxy, suspected]).astype(int)
    table = table.assign(of=of, probability=mean[galaxy, suspected], agreed=agreed)
    table.attrs = {
        "classes": names,
        "chance": (number * (np.arange(len(number))[:, None] > of / 2)[..., None]).sum(0),
    }
    return table
