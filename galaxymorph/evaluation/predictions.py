"""The contract for predictions: tables of classes and of vote fractions, checked once, here.

    predictions.csv   id, split, label, p_<class>, p_<class>, ...
    votes.csv         id, split, volunteers, Class1.1, ..., p_Class1.1, ..., s_<question>, ...

`label` is a class, or empty for an unlabelled galaxy. `Class...` are the volunteers' cumulative
fractions, all empty for a galaxy without votes; `s_<question>` is the concentration of the
Dirichlet distribution of a question's answers, of models that predict distributions. Whatever has
a `Predictions` or a `Votes` in hand need not check it again. Errors count rows as the lines of a
file, of which the header is the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray

from galaxymorph import galaxy_zoo_tree
from galaxymorph.text import listing

PREDICTIONS, VOTES, NOT_RUN = "predictions.csv", "votes.csv", "not_run.json"
TOLERANCE = 1e-3  # by how much the rounded probabilities of a galaxy may miss a sum of 1
ROUNDING = 1e-6  # of numbers with six decimals

Names = Shaped[ndarray, " galaxy"]  # ids, or names of splits
Numbers = Float[ndarray, " galaxy"]
Probabilities = Float[ndarray, "galaxy class"]
Fractions = Float[ndarray, "galaxy 37"]
Table = TypeVar("Table")


class Part(NamedTuple):
    """The labelled galaxies of one split."""

    ids: Names
    true: Int[ndarray, " galaxy"]  # indices into the classes
    p: Probabilities  # sums to 1

    @property
    def predicted(self) -> Int[ndarray, " galaxy"]:
        """The class of the largest probability, the first of equals."""
        return self.p.argmax(1)

    @property
    def right(self) -> Bool[ndarray, " galaxy"]:
        return self.predicted == self.true

    @property
    def confidence(self) -> Numbers:
        """The largest probability."""
        return self.p.max(1)


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predicted classes, a galaxy per row, checked when it is made.

    Raises `ValueError` for a duplicate id, a label that is not a class, and probabilities that are
    negative or do not sum to 1 (within 0.001)."""

    ids: Names
    split: Names
    labels: Int[ndarray, " galaxy"]  # indices into `classes`, -1 for unlabelled
    p: Probabilities  # as given; `labelled` rescales them to sum to 1
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_lengths(split=self.split, labels=self.labels, p=self.p, ids=self.ids)
        _check_ids(self.ids)
        k = len(self.classes)
        if self.p.shape[1] != k:
            raise ValueError(f"{self.p.shape[1]} probabilities per galaxy for {k} classes")
        if len(self.labels) and not -1 <= self.labels.min() <= self.labels.max() < k:
            reach = f"{self.labels.min()} to {self.labels.max()}"
            raise ValueError(f"labels reach from {reach} with {k} classes (-1: unlabelled)")
        total = self.p.sum(1)
        bad = ~((self.p >= -ROUNDING).all(1) & (abs(total - 1) <= TOLERANCE))  # NaN is neither
        if bad.any():
            rows = [f"{i + 2} (id {self.ids[i]}, sum {total[i]:.4g})" for i in np.flatnonzero(bad)]
            raise ValueError(
                f"p_<class> are not probabilities that sum to 1 in {len(rows)} rows: "
                + listing(rows, 5)
            )

    def has(self, split: str) -> bool:
        """Whether a split has labelled galaxies."""
        return len(self.rows(split)) > 0

    def rows(self, split: str) -> Int[ndarray, " row"]:
        """Return which rows are labelled galaxies of a split."""
        return np.flatnonzero((self.split == split) & (self.labels >= 0))

    def labelled(self, split: str = "test") -> Part:
        """Return the labelled galaxies of a split. Raises `ValueError` where there are none."""
        rows = self.rows(split)
        if not len(rows):
            raise ValueError(f"no labelled galaxy in split {split!r}; {_splits(self.split)}")
        p = np.maximum(self.p[rows], 0)
        return Part(self.ids[rows], self.labels[rows], p / p.sum(1, keepdims=True))

    def table(self) -> pd.DataFrame:
        """Return the table as it stands in predictions.csv, unrounded."""
        names = np.array([*self.classes, ""], dtype=object)  # -1 takes the last
        head = {"id": self.ids, "split": self.split, "label": names[self.labels]}
        return pd.DataFrame(head | {f"p_{c}": self.p[:, k] for k, c in enumerate(self.classes)})


@dataclass(frozen=True, eq=False)
class Votes:
    """Predicted vote fractions beside those of the volunteers, checked when it is made.

    Raises `ValueError` for a duplicate id, a fraction of the volunteers outside [0, 1], votes that
    are there for some answers of a galaxy only, a number of volunteers or a concentration that is
    not positive, and a prediction that is not finite."""

    ids: Names
    split: Names
    true: Fractions  # cumulative; NaN for a galaxy without votes
    volunteers: Numbers  # who voted; NaN where unknown
    predicted: Fractions
    concentration: Float[ndarray, "galaxy 11"] | None = None

    def __post_init__(self) -> None:
        columns = galaxy_zoo_tree.COLUMNS
        parts = {"true": self.true, "volunteers": self.volunteers, "predicted": self.predicted}
        _check_lengths(split=self.split, ids=self.ids, **parts)
        _check_ids(self.ids)
        voted = ~np.isnan(self.true).all(1, keepdims=True)
        inside = (self.true >= -10 * ROUNDING) & (self.true <= 1 + 10 * ROUNDING)
        self._demand(columns, self.true, inside | ~voted, "between 0 and 1")
        people = self.volunteers[:, None]
        self._demand(
            ["volunteers"],
            people,
            ~(people <= 0) & (people < np.inf) | np.isnan(people),
            "positive",
        )
        finite = np.isfinite(self.predicted)
        self._demand([f"p_{name}" for name in columns], self.predicted, finite, "finite")
        if self.concentration is not None:
            names = [f"s_{name}" for name in galaxy_zoo_tree.SLICES]
            s = self.concentration
            self._demand(names, s, (s > 0) & np.isfinite(s), "positive")

    def _demand(self, columns: Sequence[str], values: ndarray, good: ndarray, what: str) -> None:
        if not good.all():
            column = int((~good).any(0).argmax())
            rows = np.flatnonzero(~good[:, column])
            wrong = [f"{i + 2} (id {self.ids[i]}: {values[i, column]})" for i in rows]
            raise ValueError(
                f"column {columns[column]!r}: not {what} in {len(wrong)} rows: {listing(wrong, 5)}"
            )

    def voted(self, split: str = "test") -> Votes:
        """Return the galaxies of a split that have votes; there may be none."""
        rows = (self.split == split) & ~np.isnan(self.true).all(1)
        s = None if self.concentration is None else self.concentration[rows]
        people = self.volunteers[rows]
        return Votes(
            self.ids[rows], self.split[rows], self.true[rows], people, self.predicted[rows], s
        )

    def tested(self, split: str = "test") -> Votes:
        """Return the galaxies of a split that have votes. Raises `ValueError` where there are
        none."""
        part = self.voted(split)
        if not len(part.ids):
            with_votes = self.split[~np.isnan(self.true).all(1)]
            raise ValueError(f"no galaxy with votes in split {split!r}; {_splits(with_votes)}")
        return part

    def table(self) -> pd.DataFrame:
        """Return the table as it stands in votes.csv, unrounded."""
        head = {"id": self.ids, "split": self.split, "volunteers": self.volunteers}
        names = list(galaxy_zoo_tree.COLUMNS)
        parts = [
            pd.DataFrame(head),
            pd.DataFrame(self.true, columns=pd.Index(names)),
            pd.DataFrame(self.predicted, columns=pd.Index([f"p_{name}" for name in names])),
        ]
        if self.concentration is not None:
            named = pd.Index([f"s_{name}" for name in galaxy_zoo_tree.SLICES])
            parts.append(pd.DataFrame(self.concentration, columns=named))
        return pd.concat(parts, axis=1)


def predictions_of(
    *, ids: Any, split: Any, labels: Any, probabilities: Any, classes: Sequence[str]
) -> Predictions:
    """Return predictions from arrays or CPU tensors; `labels` are indices, -1 for unlabelled."""
    p = np.asarray(getattr(probabilities, "float", lambda: probabilities)(), dtype=float)
    return Predictions(_texts(ids), _texts(split), np.asarray(labels, int), p, tuple(classes))


def votes_of(
    *, ids: Any, split: Any, votes: Any, volunteers: Any, predicted: Any, outputs: Sequence[str]
) -> Votes:
    """Return vote fractions from arrays or CPU tensors.

    Args:
        votes: cumulative fractions `(galaxy, 37)`; NaN for a galaxy without votes.
        volunteers: how many people voted `(galaxy,)`; None where that is unknown.
        predicted: `(galaxy, output)`, of which the first 37 are the answers.
        outputs: names of the outputs; after the answers come `s_<question>`, or nothing.
    """
    values = np.asarray(predicted, dtype=float)
    expected = [*galaxy_zoo_tree.COLUMNS, *(f"s_{name}" for name in galaxy_zoo_tree.SLICES)]
    if list(outputs) not in (expected[:37], expected):
        raise ValueError(f"outputs are {listing(outputs, 5)}; expected {listing(expected, 5)}")
    people = np.full(len(ids), np.nan) if volunteers is None else np.asarray(volunteers, float)
    spread = values[:, 37:] if len(outputs) > 37 else None
    return Votes(
        _texts(ids), _texts(split), np.asarray(votes, float), people, values[:, :37], spread
    )


def read_predictions(path: Path | str) -> Predictions:
    """Read predictions.csv. Raises `ValueError` that names the file and the column or row."""
    table = pd.read_csv(path, dtype={"id": str, "split": str, "label": str}, keep_default_na=False)
    return _named(path, predictions_in, table)


def predictions_in(table: pd.DataFrame) -> Predictions:
    """Return the predictions in a table of the columns id, split, label, p_<class>."""
    columns = [str(name) for name in table.columns]
    classes = [name.removeprefix("p_") for name in columns if name.startswith("p_")]
    _check_columns(table, ["id", "split", "label", *([] if classes else ["p_<class>"])])
    other = [name for name in columns if name not in ("id", "split", "label") and name[:2] != "p_"]
    if other:
        raise ValueError(f"unknown column {other[0]!r}; expected id, split, label, p_<class>, ...")
    p = _numeric(table, [f"p_{name}" for name in classes])
    label = table["label"]
    if pd.api.types.is_float_dtype(label):  # classes named by numbers, some labels empty
        label = label.astype("Int64")
    text = np.array(["" if pd.isna(name) else str(name) for name in label], dtype=object)
    place = {name: k for k, name in enumerate(classes)} | {"": -1}
    unknown = [f"{i + 2} ({name})" for i, name in enumerate(text) if name not in place]
    if unknown:
        raise ValueError(
            f"labels that are not a class in rows {listing(unknown, 5)}; "
            f"classes: {', '.join(classes)}"
        )
    labels = np.array([place[name] for name in text], int)
    return Predictions(_texts(table["id"]), _texts(table["split"]), labels, p, tuple(classes))


def read_votes(path: Path | str) -> Votes:
    """Read votes.csv. Raises `ValueError` that names the file and the column or row."""
    table = pd.read_csv(
        path, dtype={"id": str, "split": str}, keep_default_na=False, na_values=[""]
    )
    return _named(path, votes_in, table)


def votes_in(table: pd.DataFrame) -> Votes:
    """Return the vote fractions in a table of the columns of votes.csv."""
    true = list(galaxy_zoo_tree.COLUMNS)
    predicted, spread = [f"p_{name}" for name in true], [f"s_{q}" for q in galaxy_zoo_tree.SLICES]
    spread = spread if any(name in table.columns for name in spread) else []
    _check_columns(table, ["id", "split", "volunteers", *true, *predicted, *spread])
    return Votes(
        _texts(table["id"]),
        _texts(table["split"]),
        _numeric(table, true),
        _numeric(table, ["volunteers"])[:, 0],
        _numeric(table, predicted),
        _numeric(table, spread) if spread else None,
    )


# ---- the checks


def _named(path: Path | str, make: Callable[[pd.DataFrame], Table], table: pd.DataFrame) -> Table:
    try:
        return make(table)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _texts(values: Any) -> Names:
    return np.asarray(values, dtype=str).astype(object)


def _check_lengths(**parts: Any) -> None:
    sizes = {name: len(part) for name, part in parts.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"lengths differ: {sizes}")


def _check_ids(ids: Names) -> None:
    duplicated = pd.Series(ids).duplicated(keep=False)
    if duplicated.any():
        first = ids[int(duplicated.argmax())]
        rows = listing((i + 2 for i in np.flatnonzero(ids == first)), 5)
        n = len(set(ids[duplicated.to_numpy()]))
        more = f", and {n - 1:,} other ids" if n > 1 else ""
        raise ValueError(f"duplicate id {first!r} (rows {rows}){more}; keep one row per galaxy")


def _check_columns(table: pd.DataFrame, wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        have = listing(table.columns, 5)
        raise ValueError(f"column {listing(map(repr, missing), 3)} is missing; there are {have}")


def _numeric(table: pd.DataFrame, columns: Sequence[str]) -> Float[ndarray, "galaxy column"]:
    for name in columns:
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise ValueError(f"column {name!r} is not numeric")
    return table[list(columns)].to_numpy(float)


def _splits(split: Names) -> str:
    counted = pd.Series(split, dtype=object).value_counts(sort=False)
    have = ", ".join(f"{name} ({n:,} rows)" for name, n in counted.items())
    return f"there are {have or 'no rows'}"
