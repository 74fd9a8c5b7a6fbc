"""Read galaxies and votes in the layout of Kaggle's Galaxy Zoo challenge."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pandas as pd

from galaxymorph import galaxy_zoo_tree, project
from galaxymorph.data import sources
from galaxymorph.data.found import Found, join, take
from galaxymorph.data.labels import matched
from galaxymorph.data.tables import indexed, read_table
from galaxymorph.text import listing


def galaxy_zoo(
    root: Path, *, n_classes: Literal[4, 5] = 4, volunteers: Path | None = None
) -> Found:
    """Find the galaxies of Kaggle's Galaxy Zoo challenge, in folders or in Kaggle's zips.

    Reads `images_training_rev1`, `training_solutions_rev1` and, as unlabelled galaxies, any
    `images_test_rev1`. Images without votes and votes without images are left out as problems.
    `galaxy_zoo_tree.hard_labels` turns votes into `n_classes` classes; for `volunteers`, see
    `count_volunteers`. Raises `FileNotFoundError` or `ValueError` if a part is missing or has
    wrong columns, wrong votes or duplicate ids."""
    training = _part(root, "images_training_rev1")
    solutions = _part(root, "training_solutions_rev1.csv")
    if training is None or solutions is None:
        missing = "images" if training is None else "solutions"
        raise FileNotFoundError(
            f"{project.existing(root)}: no training {missing}. Expected images_training_rev1 "
            "(folder or .zip) and training_solutions_rev1 (.csv or .zip), named as on Kaggle"
        )
    table = read_votes(solutions)
    found = matched(sources.images(training), table, solutions, "left out")
    found = take(found, [row for row, id in enumerate(found.ids) if id in table.index])
    votes, classes = table.loc[found.ids], galaxy_zoo_tree.CLASSES[n_classes]
    labels = galaxy_zoo_tree.hard_labels(votes.to_numpy(), classes).tolist()
    found = replace(
        found,
        labels=dict(zip(found.ids, labels, strict=True)),
        classes=classes,
        votes=votes,
    )
    if test := _part(root, "images_test_rev1"):
        found = join(found, sources.images(test), test.name)
    return found if volunteers is None else count_volunteers(found, volunteers)


def _part(root: Path, name: str) -> Path | None:
    """Return the path of one part, unpacked or as a zip; None if neither exists."""
    paths = (root / name, (root / name).with_suffix(".zip"))
    return next((path for path in paths if path.exists()), None)


def read_votes(file: Path) -> pd.DataFrame:
    """Read a table of Kaggle's 37 cumulative vote fractions, indexed by GalaxyID (str)."""
    columns = list(galaxy_zoo_tree.COLUMNS)
    table = read_table(file, {"GalaxyID": str})
    table = indexed(table, ["GalaxyID"], columns, file)
    votes = table[columns].apply(pd.to_numeric, errors="coerce")
    wrong = table.index[~((votes >= -1e-6) & (votes <= 1 + 1e-6)).all(axis=1)]  # or a NaN
    if len(wrong):
        what = "votes are not fractions between 0 and 1"
        raise ValueError(f"{file}: {what} for GalaxyID {listing(wrong)}")
    return pd.DataFrame(votes, dtype=float)


def count_volunteers(found: Found, file: Path) -> Found:
    """Add the number of people who classified each galaxy, from a CSV file; NaN if not listed.

    Its columns are `GalaxyID`, `asset_id` or `id`, and `volunteers` or `total_classifications`.
    Raises `ValueError` also for numbers below 1, and if it lists none of the galaxies."""
    table = read_table(file)
    count = next((n for n in ("volunteers", "total_classifications") if n in table), "volunteers")
    table = indexed(table, ["GalaxyID", "asset_id", "id"], [count], file)
    numbers = pd.Series(pd.to_numeric(table[count], errors="coerce"))
    if not (numbers >= 1).all():
        wrong = listing(table.index[~(numbers >= 1)])
        raise ValueError(f"{file}: column {count!r} is not a number of people (>= 1) for {wrong}")
    counted = pd.Series(numbers.reindex(found.ids))
    if counted.isna().all():
        none = f"none of {len(found.ids):,} galaxies is in column {table.index.name}"
        raise ValueError(f"{file}: {none}, which has {listing(table.index, 3)}")
    unknown = counted.loc[list(found.labels)].isna().sum()  # among those with votes
    note = f"number of volunteers unknown for {unknown:,} galaxies: not in {file.name}"
    return replace(found, volunteers=counted, notes=found.notes + [note] * bool(unknown))
