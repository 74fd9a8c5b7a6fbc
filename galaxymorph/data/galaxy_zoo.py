"""Read galaxies and votes in the layout of Kaggle's Galaxy Zoo challenge."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from galaxymorph import galaxy_zoo_tree, project
from galaxymorph.data import sources
from galaxymorph.data.found import Found, join, take
from galaxymorph.data.labels import matched
from galaxymorph.data.tables import check_columns, indexed, read_table, respelled
from galaxymorph.text import is_empty, listing

LEEWAY = 0.05  # in sums of votes, which may be rounded
CONVENTIONS = (
    "votes must be cumulative, as Kaggle's (the answers to a question sum to the answer that leads "
    "to it), or fractions of those asked (they sum to 1; 0 or empty if nobody was asked)."
)


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
    table, found = read_votes(solutions, sources.images(training))
    found = matched(found, table, solutions, "left out")
    found = take(found, [row for row, id in enumerate(found.ids) if id in table.index])
    votes, classes = table.loc[found.ids], galaxy_zoo_tree.CLASSES[n_classes]
    labels = galaxy_zoo_tree.hard_labels(votes.to_numpy(), classes).tolist()
    found = replace(
        found, labels=dict(zip(found.ids, labels, strict=True)), classes=classes, votes=votes
    )
    if test := _part(root, "images_test_rev1"):
        found = join(found, sources.images(test), test.name)
    return found if volunteers is None else count_volunteers(found, volunteers)


def _part(root: Path, name: str) -> Path | None:
    """Return the path of one part, unpacked or as a zip; None if neither exists."""
    paths = (root / name, (root / name).with_suffix(".zip"))
    return next((path for path in paths if path.exists()), None)


def read_votes(file: Path, found: Found) -> tuple[pd.DataFrame, Found]:
    """Read a table of vote fractions as Kaggle's 37 cumulative ones, indexed by GalaxyID.

    Fractions of those who were asked each question are converted, with a note, if all rows fit
    that convention. Raises `ValueError` for a table of mixed or unknown convention, percentages and
    numbers of votes."""
    columns = list(galaxy_zoo_tree.COLUMNS)
    wanted = ["GalaxyID", *columns]
    table = read_table(file, lambda names: wanted if set(wanted) <= set(names) else names)
    if any(name.startswith("t01_") for name in table.columns):
        what = "columns of the catalogue of Galaxy Zoo 2 (t01_..., to t11_...)"
        todo = "rename the 37 weighted_fraction columns to Class1.1, ..., Class11.6, in their order"
        raise ValueError(f"{file}: {what}; {todo}, and the ids to GalaxyID")
    check_columns(table.columns, wanted, file)
    ids, notes = respelled(list(table["GalaxyID"]), found.ids, file)
    table = indexed(table.assign(GalaxyID=ids), ["GalaxyID"], columns, file)[columns]
    votes = table.apply(lambda column: pd.to_numeric(column, errors="coerce")).to_numpy(float)
    empty = table.apply(lambda column: column.map(is_empty)).to_numpy(bool)
    total = np.stack([np.nansum(votes[:, q], 1) for q in galaxy_zoo_tree.SLICES.values()], axis=1)
    fractions = (votes >= -1e-6) & (votes <= 1 + 1e-6)
    over = (total > galaxy_zoo_tree.reached(votes) + LEEWAY).any(1)  # more answers than were asked
    of_asked = (abs(total - 1) <= LEEWAY) | (total == 0) & (np.arange(total.shape[1]) > 0)
    if over.any() and of_asked.all() and (fractions | empty).all():
        votes = galaxy_zoo_tree.cumulative(votes)
        notes += [f"{file.name} has fractions of those asked each question: made cumulative"]
    elif not fractions.all():
        what = "votes are not fractions between 0 and 1 for GalaxyID "
        what += listing(table.index[np.flatnonzero(~fractions.all(1))])
        if (abs(total[:, 0] - 100) < 1).all():
            what += "; these look like percentages: divide by 100"
        elif (votes % 1 == 0).all():
            what += "; these look like numbers of votes: divide by the number of volunteers"
        raise ValueError(f"{file}: {what}")
    elif over.any():
        row = int(np.flatnonzero(over)[0])
        asked = galaxy_zoo_tree.reached(votes[[row]])[0]
        q = int(np.argmax(total[row] - asked))
        names = listing(columns[[*galaxy_zoo_tree.SLICES.values()][q]], 11)
        example = f"{names} of {table.index[row]} sum to {total[row, q]:.3g}, after {asked[q]:.3g}"
        todo = "divide the answers to each question by their sum, or use weighted fractions"
        rows = listing(table.index[np.flatnonzero(over)])
        raise ValueError(
            f"{file}: {CONVENTIONS} Neither fits GalaxyID {rows}: {example}. Debiased fractions of "
            f"Galaxy Zoo 2 fit neither: {todo}"
        )
    votes = pd.DataFrame(votes, table.index, columns)
    return votes, replace(found, notes=[*found.notes, *notes])


def count_volunteers(found: Found, file: Path) -> Found:
    """Add the number of people who classified each galaxy, from a CSV file; NaN if not listed.

    Its columns are `GalaxyID`, `asset_id` or `id`, and `volunteers` or `total_classifications`.
    Raises `ValueError` also for numbers below 1, and if it lists none of the galaxies."""
    wanted = ["GalaxyID", "asset_id", "id", "volunteers", "total_classifications"]
    table = read_table(file, lambda names: [n for n in names if n in wanted] or names)
    count = next((n for n in ("volunteers", "total_classifications") if n in table), "volunteers")
    table = indexed(table, ["GalaxyID", "asset_id", "id"], [count], file)
    spelled, notes = respelled(list(table.index), found.ids, file)
    table.index = pd.Index(spelled, name=table.index.name)
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
    notes += [note] * bool(unknown)
    return replace(found, volunteers=counted, notes=[*found.notes, *notes])
