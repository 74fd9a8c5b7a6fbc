"""Give galaxies their labels from a table."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from galaxymorph.data.found import Found
from galaxymorph.data.tables import indexed, read_table
from galaxymorph.text import listing

Names = Sequence[str] | Mapping[str, str | None] | None


def classified(found: Found, texts: Mapping[str, str], names: Names, where: Path) -> Found:
    """Set classes and labels from the label of each galaxy, a text, by id."""
    classes = sorted(set(texts.values()))
    if len(classes) < 2:
        raise ValueError(f"{where}: only one class, {listing(classes)}")
    called = renamed(classes, names if isinstance(names, Sequence) else None)
    labels = {id: classes.index(text) for id, text in texts.items()}
    return replace(found, labels=labels, classes=called)


def label(
    found: Found, file: Path | None, class_names: Any, *, label_column: str | None = None
) -> Found:
    """Add labels from a CSV file: `id,label`, or one column in the order of the galaxies.

    Classes are the distinct labels, sorted. Rows without a label are unlabelled; so are images
    without a row, which count as a problem."""
    if file is None:
        return found
    table = read_table(file)
    if len(table.columns) == 1:
        if len(table) != len(found.ids):
            what = f"{len(table):,} rows for {len(found.ids):,} galaxies"
            raise ValueError(f"{file}: {what}; give one each, in order, or columns id,label")
        table = pd.DataFrame({"id": found.ids, "label": table.iloc[:, 0].to_numpy()})
    table = indexed(table, ("GalaxyID", "id"), ["label"], file)
    found = matched(found, table, file, "left out or treated as unlabelled")
    labels = table["label"].reindex(found.ids).dropna()
    classes = sorted(
        labels.unique(), key=lambda name: (int(name), "") if name.isdecimal() else (0, name)
    )
    return replace(
        found,
        labels={id: classes.index(name) for id, name in labels.items()},
        classes=renamed(classes, class_names),
    )


def matched(found: Found, table: pd.DataFrame, file: Path, what_then: str) -> Found:
    """Record images without a row and rows without an image as problems.
    The notes say `what_then` happens to them. Raises `ValueError` if no image has a row."""
    rows, galaxies = set(table.index), set(found.ids)
    unmatched = {
        f"images without a row in {file.name}": [id for id in found.ids if id not in rows],
        f"rows of {file.name} without an image": [id for id in table.index if id not in galaxies],
    }
    problems = [f"{len(ids):,} {what}: {listing(ids)}" for what, ids in unmatched.items() if ids]
    if problems and not rows & galaxies:
        raise ValueError(f"{'; '.join(problems)}. No ids match: give the table of these images")
    notes = [*found.notes, *(f"{what_then}: {each}" for each in problems)]
    return replace(found, notes=notes, problems=problems)


def renamed(classes: Sequence[str], names: Sequence[str] | None) -> tuple[str, ...]:
    """Return `names` in place of the classes found, in the same order."""
    names = classes if names is None else names
    if not len(names) == len(set(names)) == len(classes):
        wanted = f"{len(classes)} different names, for {listing(classes)}"
        raise ValueError(f"class_names has {listing(names)}, but must have {wanted}")
    return tuple(names)
