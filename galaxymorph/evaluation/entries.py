"""galaxymorph.evaluation.entries"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from galaxymorph.evaluation.predictions import checked, classes, selected
from galaxymorph.text import some


def check_test_galaxies(pieces: Sequence[Mapping[str, Any]]) -> None:
    """A comparison means nothing unless all methods with one seed are tested on the same
    galaxies."""
    first: dict[Any, tuple[str, frozenset[str]]] = {}
    for piece in pieces:
        predictions = piece["predictions"]
        if predictions is None:
            continue
        tested = frozenset(predictions.loc[selected(predictions, "test"), "id"])
        name, others = first.setdefault(piece.get("seed"), (str(piece["step"]), tested))
        if tested != others:
            raise ValueError(
                f"{piece['step']}, seed {piece.get('seed')}: tested on {len(tested):,} galaxies, of which "
                f"{len(tested & others):,} are among the {len(others):,} of {name}; execute both again with the same galaxies"
            )


def budget(row: Mapping[str, Any]) -> int | None:
    """The number of labels of a piece or a row; None: all. (A file has NaN.)"""
    n_labels = row.get("n_labels")
    return None if bool(pd.isna(n_labels)) else int(n_labels)  # pyright: ignore[reportArgumentType]


def labels(n_labels: int | None) -> str:
    return "all labels" if n_labels is None else f"{n_labels:,} labels"


def words(row: Mapping[str, Any], name: str) -> str:
    """A text of a row, empty where it has none. (A file has NaN.)"""
    return "" if bool(pd.isna(row.get(name))) else str(row[name])


def is_control(row: Mapping[str, Any]) -> bool:
    """Whether the protocol of a piece or a row makes it a yardstick and no method to take: pixels
    alone, random encoders."""
    return any(kind in words(row, "protocol") for kind in ("control", "random encoder"))


def attendance(pieces: Sequence[Mapping[str, Any]], kind: str) -> dict[str, Any]:
    """How many `seeds` of a row are there, with a table of a `kind` ("predictions"), how many are
    `missing`, and why the others were left out (`not_run`)."""
    there = sum(piece[kind] is not None for piece in pieces)
    why = [
        str(piece["not_run"]) for piece in pieces if piece[kind] is None and piece.get("not_run")
    ]
    return {
        "seeds": there,
        "missing": len(pieces) - there - len(why),
        "not_run": " / ".join(dict.fromkeys(why)) or None,
    }


@contextmanager
def named(piece: Mapping[str, Any]) -> Iterator[None]:
    """Says in an error whose table it is."""
    try:
        yield
    except ValueError as error:
        raise ValueError(
            f"{piece['step']}, {labels(budget(piece))}, seed {piece.get('seed')}: {error}"
        ) from error


def chosen(pieces: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of `results.trained` that are looked at here: with predictions, with the most labels of
    all, and no controls (random encoders, pixels alone). Raises `ValueError` where there is
    none."""
    there = [
        piece for piece in pieces if piece["predictions"] is not None and not is_control(piece)
    ]
    if not there:
        raise ValueError(
            f"none of {len(pieces)} pieces of work is a method with predictions yet; train one first"
        )
    budgets = [math.inf if (n := budget(piece)) is None else n for piece in there]
    return [piece for piece, n in zip(there, budgets, strict=True) if n == max(budgets)]


def by_method(pieces: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The pieces with predictions by method. Raises `ValueError` for several numbers of labels, a
    seed twice, other classes."""
    there = [piece for piece in pieces if piece["predictions"] is not None]
    budgets = list(dict.fromkeys(budget(piece) for piece in there))
    if len(budgets) > 1:
        raise ValueError(
            f"pieces with {', '.join(map(labels, budgets))}: give those of one number of labels (`failures.chosen`)"
        )
    if not there:
        raise ValueError("no piece has predictions; train a method first")
    methods: dict[str, list[Mapping[str, Any]]] = {}
    names: tuple[str, ...] = ()
    for piece in there:
        with named(piece):
            own = classes(piece["predictions"])
            names = names or own
            if own != names:
                raise ValueError(
                    f"classes are {', '.join(own)}, those of {there[0]['step']} are {', '.join(names)}"
                )
            group = methods.setdefault(str(piece["step"]), [])
            if any(other.get("seed") == piece.get("seed") for other in group):
                raise ValueError("this seed is there twice; give variants a step each")
            group.append(piece)
    return methods


def mean_probabilities(
    pieces: Sequence[Mapping[str, Any]], splits: Sequence[str]
) -> tuple[dict[str, pd.DataFrame], tuple[str, ...]]:
    """For each method the probabilities of the galaxies in `splits`, mean over its seeds (index id
    and label, a column for each class), and the classes."""
    found, names = {}, ()
    for method, group in by_method(pieces).items():
        parts = []
        for piece in group:
            table = piece["predictions"]
            names = classes(table)
            for split in splits:
                which = selected(table, split)
                if which.any():
                    with named(piece):
                        true, p = checked(table, split)
                    ids = table.loc[which, "id"].astype(str).to_numpy()
                    index = pd.MultiIndex.from_arrays(
                        [ids, np.array(names)[true]], names=["id", "label"]
                    )
                    parts.append(pd.DataFrame(p, index, columns=pd.Index(names)))
        if parts:
            found[method] = pd.concat(parts).groupby(level=["id", "label"]).mean()
    if not found:
        raise ValueError(
            f"no labelled galaxy in {' or '.join(splits)} of any method: predict those that it was not trained on"
        )
    index = pd.concat([each.iloc[:, :0] for each in found.values()]).index.unique()
    ids = index.get_level_values("id")
    if ids.has_duplicates:
        known = ids[ids.duplicated()].unique()
        raise ValueError(
            f"{len(known)} galaxies have other labels elsewhere: {some(list(known))}; the tables are of other data"
        )
    return found, names
