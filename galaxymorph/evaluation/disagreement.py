"""galaxymorph.evaluation.disagreement"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from galaxymorph.evaluation.entries import by_method, mean_probabilities, named
from galaxymorph.evaluation.intervals import LEVEL, holm
from galaxymorph.evaluation.phrases import p_value, seeds_text
from galaxymorph.evaluation.predictions import checked, classes, selected
from galaxymorph.evaluation.significance import difference


def disagreements(pieces: Sequence[Mapping[str, Any]], a: str, b: str) -> pd.DataFrame:
    """Test galaxies that two methods name differently, those first of which both are surest: by the
    smaller one of the two probabilities.

    Columns: id, label, class_a, probability_a, class_b, probability_b, right ("a", "b" or
    "neither"). Probabilities are means over the seeds that both have and that test the galaxy.
    Raises `ValueError` for a method that is not there, and for two that were tested on other
    galaxies."""
    both = _pair(pieces, a, b)
    found, names = mean_probabilities([piece for pair in both for piece in pair], ("test",))
    p_a, p_b = (found[name].to_numpy() for name in (a, b))
    index, named_as = found[a].index, np.array(names)
    label = np.array(index.get_level_values("label"))
    table = pd.DataFrame(
        {
            "id": index.get_level_values("id"),
            "label": label,
            "class_a": named_as[p_a.argmax(1)],
            "probability_a": p_a.max(1),
            "class_b": named_as[p_b.argmax(1)],
            "probability_b": p_b.max(1),
        }
    )
    table["right"] = np.select(
        [table.class_a == table.label, table.class_b == table.label], ["a", "b"], "neither"
    )
    table = table.loc[table.class_a != table.class_b]
    surest = (
        table[["probability_a", "probability_b"]]
        .min(axis=1)
        .sort_values(ascending=False, kind="stable")
    )
    return table.loc[surest.index].reset_index(drop=True)


def confusion_difference(
    pieces: Sequence[Mapping[str, Any]], a: str, b: str, *, n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """The confusion matrix of a less that of b, both as fractions of the true class (row), mean
    over the seeds that both have.

    One row per cell. Columns: label, taken_for, a, b (fractions), difference, low, high (its 95 %
    interval), p, p_holm, resolved, n (galaxies of the label per seed; the fewest) and seeds.
    Interval and p are those of `significance.difference`, of the galaxies with this label and of
    being taken for that class: paired over the same galaxies, McNemar's exact test with one seed.
    p_holm: corrected for all cells; resolved: below 0.05. A class without test galaxies has NaN,
    and p 1."""
    both = _pair(pieces, a, b)
    names = classes(both[0][0]["predictions"])
    rows = []
    for label in names:
        for taken_for in names:
            cells = [[_cell(piece, label, taken_for) for piece in pair] for pair in both]
            cells = [pair for pair in cells if len(pair[0]["predictions"])]
            row: dict[str, Any] = {
                "label": label,
                "taken_for": taken_for,
                "p": 1.0,
                "n": 0,
                "seeds": len(cells),
            }
            if cells:
                found = difference(*zip(*cells, strict=True), n_bootstrap=n_bootstrap, seed=seed)
                row |= {name: found[name] for name in ("difference", "low", "high", "p")}
                row |= {"a": found["accuracy_a"], "b": found["accuracy_b"], "n": found["n_test"]}
            rows.append(row)
    table = pd.DataFrame(
        rows,
        columns=["label", "taken_for", "a", "b", "difference", "low", "high", "p", "n", "seeds"],
    )
    corrected = holm(table["p"].to_numpy(float))
    table.insert(8, "p_holm", corrected)
    table.insert(9, "resolved", corrected < LEVEL)
    return table


def confusion_sentences(table: pd.DataFrame, a: str, b: str) -> list[str]:
    """Which cells of a table of `confusion_difference` are told apart: one sentence each, the
    largest difference first."""
    told = table.loc[table.resolved]
    said = []
    for row in told.loc[
        told.difference.abs().sort_values(ascending=False, kind="stable").index
    ].to_dict("records"):
        more, less, sign = (a, b, 1) if row["difference"] > 0 else (b, a, -1)
        shares = (row["a"], row["b"]) if sign > 0 else (row["b"], row["a"])
        low, high = sorted((sign * row["low"], sign * row["high"]))
        what = (
            f"is right about {row['label']}"
            if row["label"] == row["taken_for"]
            else f"takes {row['label']} for {row['taken_for']}"
        )
        said.append(
            f"{more} {what} more often than {less}: {shares[0]:.3f} against {shares[1]:.3f} (difference "
            f"{sign * row['difference']:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}, {p_value(row['p_holm'])} after Holm's "
            f"correction for {len(table)} cells, {row['n']:,} galaxies{' each' * (row['seeds'] > 1)}, {seeds_text(row['seeds'])})."
        )
    return said or [
        f"No cell of the confusion matrices of {a} and {b} can be told apart ({len(table)} cells, the smallest p after Holm's "
        f"correction {table.p_holm.min():.2f}, {seeds_text(table.seeds.max())})."
    ]


def _pair(
    pieces: Sequence[Mapping[str, Any]], a: str, b: str
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The pieces of two methods, for each seed that both have."""
    methods = by_method(pieces)
    unknown = [name for name in (a, b) if name not in methods]
    if unknown or a == b:
        raise ValueError(
            f"methods {a!r} and {b!r}: give two different ones of {', '.join(methods)}"
        )
    theirs = {piece.get("seed"): piece for piece in methods[b]}
    both = [
        (piece, theirs[piece.get("seed")]) for piece in methods[a] if piece.get("seed") in theirs
    ]
    if not both:
        raise ValueError(f"{a} and {b} have no seed in common: execute both with the same seeds")
    for one, other in both:
        tables = (one["predictions"], other["predictions"])
        ours, others = (set(table.loc[selected(table, "test"), "id"]) for table in tables)
        if ours != others:
            raise ValueError(
                f"{a}, seed {one.get('seed')}: tested on {len(ours):,} galaxies, of which {len(ours & others):,} are among the "
                f"{len(others):,} of {b}; execute both again with the same galaxies"
            )
    return both


def _cell(piece: Mapping[str, Any], label: str, taken_for: str) -> dict[str, Any]:
    """A piece of which "right" is to take a galaxy for a class, and which tests the galaxies of one
    label only."""
    table = piece["predictions"]
    names = classes(table)
    with named(piece):
        true, p = checked(table, "test")
    which = true == names.index(label)
    yes = (p.argmax(1)[which] == names.index(taken_for)).astype(float)
    ids = table.loc[selected(table, "test"), "id"].to_numpy()[which]
    cell = pd.DataFrame({"id": ids, "split": "test", "label": "yes", "p_yes": yes, "p_no": 1 - yes})
    return {
        "step": piece["step"],
        "seed": piece.get("seed"),
        "n_labels": piece.get("n_labels"),
        "predictions": cell,
    }
