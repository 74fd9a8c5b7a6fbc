"""galaxymorph.evaluation.predictions"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from galaxymorph import galaxy_zoo_tree
from galaxymorph.text import some

PREDICTIONS, VOTES, NOT_RUN = "predictions.csv", "votes.csv", "not_run.json"


def read_predictions(path: Path | str) -> pd.DataFrame:
    """A predictions table: `id`, `split`, `label` (class name, empty for unlabelled) as text,
    `p_<class>` as float.

    Raises `ValueError`, naming file and column or row, for another header, an id twice, a label
    that is no class, or a value that is no probability."""
    table = pd.read_csv(path, dtype={"id": str, "split": str, "label": str}, keep_default_na=False)
    columns = list(table.columns)
    if columns[:3] != ["id", "split", "label"] or len(columns) < 4:
        raise ValueError(
            f"{path}: columns are {', '.join(columns)}; expected id, split, label, p_<class>, p_<class>, ..."
        )
    for column in columns[3:]:
        if not column.startswith("p_"):
            raise ValueError(f"{path}: column {column!r} is not p_<class>")
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise ValueError(f"{path}: column {column!r} has values that are no numbers")
    classes = [column.removeprefix("p_") for column in columns[3:]]
    unknown = table.loc[~table.label.isin(["", *classes]), "label"]
    if len(unknown):
        raise ValueError(
            f"{path}: row {unknown.index[0] + 2} has label {unknown.iloc[0]!r}, but classes are {classes}"
        )
    codes = table.label.map(
        {name: index for index, name in enumerate(classes)} | {"": -1}
    ).to_numpy(int)
    try:
        predictions_table(
            ids=table.id.to_numpy(),
            split=table.split.to_numpy(),
            labels=codes,
            probabilities=table[columns[3:]].to_numpy(float),
            classes=classes,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return table.astype(dict.fromkeys(columns[3:], float))


def read_votes(path: Path | str) -> pd.DataFrame:
    """A table of vote fractions: `id` and `split` as text, everything else as float, NaN where
    empty (`Step.votes`).

    Raises `ValueError`, naming file and column or row, for a missing column, an id twice, or a
    value that is no number."""
    table = pd.read_csv(
        path, dtype={"id": str, "split": str}, keep_default_na=False, na_values=[""]
    )
    wanted = [
        "id",
        "split",
        "volunteers",
        *galaxy_zoo_tree.COLUMNS,
        *(f"p_{name}" for name in galaxy_zoo_tree.COLUMNS),
    ]
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ValueError(
            f"{path}: no column {', '.join(missing[:3])}{more}; expected id, split, volunteers, Class..., p_Class..."
        )
    numbers = [name for name in table.columns if name not in ("id", "split")]
    for column in numbers:
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise ValueError(f"{path}: column {column!r} has values that are no numbers")
    try:
        check_votes(table)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return table.astype(dict.fromkeys(numbers, float))


def check_votes(table: pd.DataFrame) -> None:
    twice = table.id[table.id.duplicated()]
    if len(twice):
        raise ValueError(f"galaxy {twice.iloc[0]!r} is there twice")
    told = table[list(galaxy_zoo_tree.COLUMNS)].to_numpy(float)
    wrong = (told < -1e-6) | (told > 1 + 1e-6)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"galaxy {table.id[row]!r}: {galaxy_zoo_tree.COLUMNS[column]} is {told[row, column]:g}, no fraction"
        )
    predicted = table[[name for name in table.columns if str(name).startswith(("p_", "s_"))]]
    bad = ~np.isfinite(predicted.to_numpy(float))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(f"galaxy {table.id[row]!r}: {predicted.columns[column]} is no number")


def predictions_table(
    *, ids: Any, split: Any, labels: Any, probabilities: np.ndarray, classes: Sequence[str]
) -> pd.DataFrame:
    """The table of predictions, or a `ValueError` that says what is wrong with it."""
    sizes = {
        "ids": len(ids),
        "split": len(split),
        "labels": len(labels),
        "probabilities": len(probabilities),
    }
    if len(set(sizes.values())) > 1:
        raise ValueError(f"lengths differ: {sizes}")
    if probabilities.shape[1] != len(classes):
        raise ValueError(
            f"{probabilities.shape[1]} probabilities per galaxy for {len(classes)} classes"
        )
    if len(labels) and not (labels.min() >= -1 and labels.max() < len(classes)):
        raise ValueError(
            f"labels reach from {labels.min()} to {labels.max()} with {len(classes)} classes (-1: unlabelled)"
        )
    names = np.array([*classes, ""], dtype=object)  # -1 takes the last
    table = pd.DataFrame(
        {
            "id": np.asarray(ids, dtype=str),
            "split": np.asarray(split, dtype=str),
            "label": names[labels],
        }
    )
    twice = table.id[table.id.duplicated()]
    if len(twice):
        raise ValueError(f"galaxy {twice.iloc[0]!r} is there twice")
    wrong = ~((probabilities >= -1e-6) & (probabilities <= 1 + 1e-6))  # NaN is neither
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        value = probabilities[row, column]
        raise ValueError(
            f"galaxy {table.id[row]!r}: p_{classes[column]} is {value:g}, no probability"
        )
    return table.assign(**{f"p_{name}": probabilities[:, i] for i, name in enumerate(classes)})


TOLERANCE = (
    1e-3  # by how much the rounded probabilities of a galaxy may miss 1; they are then rescaled
)


def classes(predictions: pd.DataFrame) -> tuple[str, ...]:
    """The names of the classes, in the order of the table's `p_<class>` columns. Raises
    `ValueError` for another table."""
    names = tuple(str(c).removeprefix("p_") for c in predictions.columns if str(c).startswith("p_"))
    missing = [c for c in ("id", "split", "label") if c not in predictions.columns]
    if missing or not names:
        missing += [] if names else ["p_<class>"]
        have = ", ".join(map(str, predictions.columns))
        raise ValueError(
            f"no predictions table: columns {', '.join(missing)} are missing; it has {have}"
        )
    return names


def selected(predictions: pd.DataFrame, split: str) -> Bool[ndarray, " galaxy"]:
    """Which rows are labelled galaxies of the split."""
    label = predictions["label"]
    return ((predictions["split"] == split) & label.notna() & (label.astype(str) != "")).to_numpy(
        dtype=bool
    )


def checked(
    predictions: pd.DataFrame, split: str
) -> tuple[Int[ndarray, " galaxy"], Float[ndarray, "galaxy class"]]:
    """True classes as indices, and probabilities that sum to 1, of the labelled galaxies of a
    split, once they are checked.

    Raises the `ValueError` of `evaluate`."""
    names = classes(predictions)
    twice = predictions.loc[predictions["id"].duplicated(keep=False), "id"]
    if len(twice):
        raise ValueError(
            f"{twice.nunique()} ids are there twice or more: {some(list(twice.unique()))}; keep one row per galaxy"
        )
    rows = predictions.loc[selected(predictions, split)]
    if rows.empty:
        have = ", ".join(
            f"{name} ({n} rows)" for name, n in predictions["split"].value_counts().items()
        )
        raise ValueError(
            f"no labelled galaxy in split {split!r}; the table has {have or 'no rows'}"
        )
    label = rows["label"]
    if pd.api.types.is_float_dtype(
        label
    ):  # class names that are numbers, read from a file with empty labels
        label = label.astype(int)
    true = np.array([names.index(name) if name in names else -1 for name in label.astype(str)])
    if (true < 0).any():
        wrong = [f"{row} ({name})" for row, name in label.loc[true < 0].items()]
        raise ValueError(
            f"labels that are no class in rows {some(wrong)}; classes: {', '.join(names)}"
        )
    p = np.asarray(rows[[f"p_{name}" for name in names]], dtype=float)
    total = p.sum(1)
    good = (p >= 0).all(1) & (abs(total - 1) <= TOLERANCE)  # NaN is neither
    if not good.all():
        wrong = [
            f"{row} (id {rows.at[row, 'id']}, sum {s:.4g})"
            for row, s in zip(rows.index[~good], total[~good], strict=True)
        ]
        raise ValueError(
            f"p_<class> are no probabilities that sum to 1 in {len(wrong)} rows: {some(wrong)}"
        )
    return true, p / total[:, None]
