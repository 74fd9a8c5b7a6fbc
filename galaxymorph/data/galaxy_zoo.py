"""galaxymorph.data.galaxy_zoo"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from galaxymorph import galaxy_zoo_tree
from galaxymorph.data.sources import (
    Found,
    OnBad,
    _check_columns,
    _indexed,
    _read_csv,
    _unmatched,
    existing,
    images,
    join,
    take,
)
from galaxymorph.text import listing


def galaxy_zoo(root: Path, *, n_classes: Literal[4, 5], on_bad: OnBad) -> Found:
    """Kaggle's Galaxy Zoo layout, as folders or as the zips that Kaggle serves.

    `images_training_rev1` with `training_solutions_rev1`, and `images_test_rev1`, if there, as
    unlabelled galaxies. Classes come from the votes by `schema.hard_labels`.

    Raises:
        FileNotFoundError, ValueError: a part is missing; wrong columns, votes outside of [0, 1],
            repeated ids; images without votes or votes without image (`on_bad`: skip leaves these
            out).
    """
    training = _part(root, "images_training_rev1", ("", ".zip"))
    solutions = _part(root, "training_solutions_rev1", (".csv", ".zip"))
    if training is None or solutions is None:
        missing = [
            name for name, part in (("images", training), ("solutions", solutions)) if part is None
        ]
        raise FileNotFoundError(
            f"{existing(root)}: no training {' and '.join(missing)}. Expected images_training_rev1 (folder or .zip) and "
            "training_solutions_rev1 (.csv or .zip), as Kaggle's galaxy-zoo-the-galaxy-challenge has them"
        )
    found = images(training)
    table = read_votes(solutions)
    problems = _unmatched(found, table, solutions, on_bad)
    found = take(found, [row for row, id in enumerate(found.ids) if id in table.index])
    votes = table.loc[found.ids].to_numpy()
    found.notes = [f"left out: {problem}" for problem in problems]
    found.votes, found.classes = votes, galaxy_zoo_tree.CLASSES[n_classes]
    found.labels = galaxy_zoo_tree.hard_labels(votes, found.classes).tolist()
    if (test := _part(root, "images_test_rev1", ("", ".zip"))) is not None:
        found = join(found, images(test), test.name)
    return found


def _part(root: Path, name: str, endings: Sequence[str]) -> Path | None:
    return next((path for ending in endings if (path := root / f"{name}{ending}").exists()), None)


def read_votes(file: Path) -> pd.DataFrame:
    """A table of Kaggle's 37 cumulative vote fractions, with the GalaxyID (str) as index."""
    table = _read_csv(file, {"GalaxyID": str})
    _check_columns(table, ["GalaxyID", *galaxy_zoo_tree.COLUMNS], file)
    table = _indexed(table, "GalaxyID", file)
    votes = np.array(
        [pd.to_numeric(table[column], errors="coerce") for column in galaxy_zoo_tree.COLUMNS]
    ).T  # (galaxy, 37)
    wrong = np.flatnonzero(
        ~np.all((votes >= -1e-6) & (votes <= 1 + 1e-6), axis=1)
    )  # a NaN is wrong, too
    if len(wrong):
        raise ValueError(
            f"{file}: votes that are no fraction between 0 and 1, for GalaxyID {listing(table.index[wrong])}"
        )
    return pd.DataFrame(votes, table.index, list(galaxy_zoo_tree.COLUMNS))


def count_volunteers(found: Found, file: Path) -> Found:
    """Add from a CSV file how many people classified each galaxy; NaN for galaxies that it does not
    have.

    Raises:
        FileNotFoundError, ValueError: no such file or columns, repeated ids, numbers below 1, not
        one of the galaxies in it.
    """
    table = _read_csv(file, str)
    columns = [
        next((name for name in names if name in table.columns), names[0])
        for names in (("GalaxyID", "asset_id", "id"), ("volunteers", "total_classifications"))
    ]
    _check_columns(table, columns, file)
    table = _indexed(table, columns[0], file)
    numbers = pd.Series(pd.to_numeric(table[columns[1]], errors="coerce"))
    if not (numbers >= 1).all():
        raise ValueError(
            f"{file}: {columns[1]} is no number of people (1 or more) for {listing(table.index[~(numbers >= 1)])}"
        )
    counted = numbers.reindex(found.ids)
    if counted.isna().all():
        raise ValueError(
            f"{file}: none of the {len(found.ids):,} galaxies stands in column {columns[0]}; it has {listing(table.index, 3)}"
        )
    voted = (
        np.ones(len(found.ids), bool) if found.votes is None else np.isfinite(found.votes).all(1)
    )
    missing = int((counted.isna().to_numpy() & voted).sum())
    notes = (
        [f"number of volunteers unknown for {missing:,} galaxies: not in {file.name}"]
        if missing
        else []
    )
    return replace(found, volunteers=counted.to_numpy(float), notes=[*found.notes, *notes])
