"""Validated tables of predicted classes and of predicted vote fractions.

    predictions.csv   id, split, label, p_<class>, p_<class>, ...
    votes.csv         id, split, volunteers, Class1.1, ..., p_Class1.1, ..., s_<question>, ...

`label` is a class, or empty for an unlabelled galaxy. `Class...` are the volunteers' cumulative
fractions, all empty for a galaxy without votes; `s_<question>` is the concentration of the
Dirichlet distribution of a question's answers, for models that predict distributions. `Predictions`
and `Votes` are valid by construction and need no further checks. Errors give rows as line numbers
of the file, where the header is line 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray

from galaxymorph import galaxy_zoo_tree
from galaxymorph.escape import read_csv
from galaxymorph.text import listing

PREDICTIONS, VOTES, NOT_RUN = "predictions.csv", "votes.csv", "not_run.json"
TOLERANCE = 1e-3  # largest deviation from 1 of the sum of rounded probabilities
ROUNDING = 1e-6  # precision of numbers with six decimals
VOTED = list(galaxy_zoo_tree.COLUMNS)  # columns of votes.csv
PREDICTED = [f"p_{name}" for name in VOTED]
SPREAD = [f"s_{name}" for name in galaxy_zoo_tree.SLICES]

Names = Shaped[ndarray, "_"]  # ids, or names of splits
Numbers = Float[ndarray, " galaxy"]
Rows = Int[ndarray, " row"]
Probabilities = Float[ndarray, "galaxy class"]
Fractions = Float[ndarray, "galaxy 37"]
Table = TypeVar("Table", bound="Galaxies")


def in_rows(which: Any, ids: Any, cells: Any = None, *, lines: Any = None) -> str:
    """Describe the rows where `which` is true by line (from 2 by default), id and cell.

    For example `2 of 3 rows: line 2 (id a) 1.1, line 4 (id c) 1.2`."""
    lines = range(2, len(ids) + 2) if lines is None else lines
    cells = [""] * len(ids) if cells is None else [f" {cell}" for cell in cells]
    wrong = [row for *row, odd in zip(lines, ids, cells, which, strict=True) if odd]
    rows = [f"line {line}" + f" (id {name})" * bool(name) + cell for line, name, cell in wrong]
    return f"{len(rows):,} of {len(ids):,} rows: {listing(rows, 5)}"


@dataclass(frozen=True, eq=False)
class Galaxies:
    """Base class of both tables: galaxies with unique ids, each in a split, some with an answer."""

    ids: Names
    split: Names
    ANSWERED: ClassVar[str]  # name for a galaxy with an answer

    def __post_init__(self) -> None:
        sizes = {name: len(p) for name, p in vars(self).items() if isinstance(p, ndarray)}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"lengths differ: {sizes}")
        duplicated = pd.Series(self.ids).duplicated(keep=False)
        self._refuse(duplicated, "duplicate id", advice="; keep one row per galaxy")

    def _refuse(self, which: Any, what: str, cells: Any = None, advice: str = "") -> None:
        if np.any(which):
            raise ValueError(f"{what}, {in_rows(which, self.ids, cells)}{advice}")

    @property
    def answered(self) -> Bool[ndarray, " galaxy"]:
        raise NotImplementedError

    def rows(self, split: str) -> Rows:
        """Return the row numbers of the galaxies of a split that have an answer."""
        return np.flatnonzero((self.split == split) & self.answered)

    def has(self, split: str) -> bool:
        """Return whether a split has galaxies with an answer."""
        return len(self.rows(split)) > 0

    def take(self: Table, rows: Rows) -> Table:
        """Return the galaxies in these rows, in this order."""
        parts = {name: p[rows] for name, p in vars(self).items() if isinstance(p, ndarray)}
        return replace(self, **parts)

    def _some_rows(self, split: str) -> Rows:
        rows = self.rows(split)
        if not len(rows):
            counted = pd.Series(self.split, dtype=object).value_counts(sort=False)
            have = ", ".join(f"{name} ({n:,} rows)" for name, n in counted.items()) or "no rows"
            raise ValueError(f"no {self.ANSWERED} in split {split!r}; the table has {have}")
        return rows


class Part(NamedTuple):
    """The labelled galaxies of one split."""

    ids: Names
    true: Int[ndarray, " galaxy"]  # indices into the classes
    p: Probabilities  # sums to 1

    @property
    def predicted(self) -> Int[ndarray, " galaxy"]:
        """The class with the largest probability, the first in case of ties."""
        return self.p.argmax(1)

    @property
    def right(self) -> Bool[ndarray, " galaxy"]:
        return self.predicted == self.true

    @property
    def confidence(self) -> Numbers:
        """The largest probability."""
        return self.p.max(1)


@dataclass(frozen=True, eq=False)
class Predictions(Galaxies):
    """Predicted classes, one galaxy per row.

    Raises `ValueError` for duplicate ids, labels that are not a class, and probabilities that are
    negative or do not sum to 1 (within 0.001)."""

    labels: Int[ndarray, " galaxy"]  # indices into `classes`, -1 for unlabelled
    p: Probabilities  # as given; `labelled` rescales them to sum to 1
    classes: tuple[str, ...]
    ANSWERED: ClassVar[str] = "labelled galaxy"

    def __post_init__(self) -> None:
        super().__post_init__()
        k = len(self.classes)
        check_classes(self.classes)
        if self.p.shape[1] != k:
            raise ValueError(f"{self.p.shape[1]} probabilities per galaxy, but {k} classes")
        if len(self.labels) and not -1 <= self.labels.min() <= self.labels.max() < k:
            reach = f"{self.labels.min()} to {self.labels.max()}"
            raise ValueError(f"labels range from {reach}; expected -1 (unlabelled) to {k - 1}")
        total = self.p.sum(1)
        bad = ~((self.p >= -ROUNDING).all(1) & (abs(total - 1) <= TOLERANCE))  # true for NaN
        self._refuse(bad, "p_<class> are not probabilities that sum to 1", total.round(4))

    @property
    def answered(self) -> Bool[ndarray, " galaxy"]:
        return self.labels >= 0

    def labelled(self, split: str = "test") -> Part:
        """Return the labelled galaxies of a split. Raises `ValueError` if there are none."""
        rows = self._some_rows(split)
        p = np.maximum(self.p[rows], 0)
        return Part(self.ids[rows], self.labels[rows], p / p.sum(1, keepdims=True))

    def table(self) -> pd.DataFrame:
        """Return the table in the format of predictions.csv, unrounded."""
        names = np.array([*self.classes, ""], dtype=object)  # -1 selects ""
        head = {"id": self.ids, "split": self.split, "label": names[self.labels]}
        return pd.DataFrame(head | {f"p_{c}": self.p[:, k] for k, c in enumerate(self.classes)})


@dataclass(frozen=True, eq=False)
class Votes(Galaxies):
    """Predicted vote fractions together with those of the volunteers.

    Raises `ValueError` for duplicate ids, voted fractions outside [0, 1] or missing for some of a
    galaxy's answers, numbers of volunteers or concentrations that are not positive, and predictions
    that are not finite."""

    true: Fractions  # cumulative; NaN for a galaxy without votes
    volunteers: Numbers  # number who voted; NaN if unknown
    predicted: Fractions
    concentration: Float[ndarray, "galaxy 11"] | None = None
    ANSWERED: ClassVar[str] = "galaxy with votes"

    def __post_init__(self) -> None:
        super().__post_init__()
        p, s, people = self.predicted, self.concentration, self.volunteers[:, None]
        inside = (self.true >= -10 * ROUNDING) & (self.true <= 1 + 10 * ROUNDING)
        inside |= ~self.answered[:, None]
        fair = (people > 0) & (people < np.inf) | np.isnan(people)
        demands = [(VOTED, self.true, inside, "between 0 and 1")]
        demands += [(["volunteers"], people, fair, "positive")]
        demands += [(PREDICTED, p, np.isfinite(p), "finite")]
        if s is not None:
            demands += [(SPREAD, s, (s > 0) & np.isfinite(s), "positive")]
        for columns, values, good, what in demands:
            for k in np.flatnonzero(~good.all(0)):
                self._refuse(~good[:, k], f"column {columns[k]!r} is not {what}", values[:, k])

    @property
    def answered(self) -> Bool[ndarray, " galaxy"]:
        return np.any(~np.isnan(self.true), axis=1)

    def voted(self, split: str = "test") -> "Votes":
        """Return the galaxies of a split that have votes, possibly none."""
        return self.take(self.rows(split))

    def labelled(self, split: str = "test") -> "Votes":
        """Return the galaxies of a split that have votes. Raises `ValueError` if there are none."""
        return self.take(self._some_rows(split))

    def table(self) -> pd.DataFrame:
        """Return the table in the format of votes.csv, unrounded."""
        head = {"id": self.ids, "split": self.split, "volunteers": self.volunteers}
        numbers = [(VOTED, self.true), (PREDICTED, self.predicted)]
        if self.concentration is not None:
            numbers.append((SPREAD, self.concentration))
        parts = [pd.DataFrame(values, columns=pd.Index(names)) for names, values in numbers]
        return pd.concat([pd.DataFrame(head), *parts], axis=1)


def check_classes(names: Sequence[str]) -> None:
    """Raise `ValueError` for classes without a name, or with the same one."""
    twice = listing(dict.fromkeys(repr(name) for name in names if names.count(name) > 1))
    if twice:
        raise ValueError(f"duplicate class {twice}; give every class a name of its own")
    if any(not name.strip() or name.lower() == "nan" for name in names):
        why = "empty or nan, which would mean a missing label"
        raise ValueError(f"not a valid class: a name is {why}; rename it")


# ---- from arrays


def predictions_of(
    *, ids: Any, split: Any, labels: Any, probabilities: Any, classes: Sequence[str]
) -> Predictions:
    """Build predictions from arrays or CPU tensors; `labels` are indices, -1 for unlabelled."""
    p = np.asarray(getattr(probabilities, "float", lambda: probabilities)(), dtype=float)
    return Predictions(_texts(ids), _texts(split), np.asarray(labels, int), p, tuple(classes))


def votes_of(
    *, ids: Any, split: Any, votes: Any, volunteers: Any, predicted: Any, outputs: Sequence[str]
) -> Votes:
    """Build a table of vote fractions from arrays or CPU tensors.

    Args:
        votes: cumulative fractions `(galaxy, 37)`; NaN for a galaxy without votes.
        volunteers: number of people who voted `(galaxy,)`, or None if unknown.
        predicted: `(galaxy, output)`; the first 37 outputs are the answers.
        outputs: names of the outputs: the answers, optionally followed by all `s_<question>`.
    """
    expected = [*VOTED, *SPREAD]
    if list(outputs) not in (VOTED, expected):
        raise ValueError(f"outputs are {listing(outputs, 5)}; expected {listing(expected, 5)}")
    people = np.full(len(ids), np.nan) if volunteers is None else np.asarray(volunteers, float)
    true, values = np.asarray(votes, float), np.asarray(predicted, float)
    spread = values[:, 37:] if len(outputs) > 37 else None
    return Votes(_texts(ids), _texts(split), true, people, values[:, :37], spread)


# ---- from tables and files


def predictions_in(table: pd.DataFrame) -> Predictions:
    """Build predictions from a table with the columns id, split, label, p_<class>, ..."""
    head, columns = ["id", "split", "label"], [str(name) for name in table.columns]
    classes = [name.removeprefix("p_") for name in columns if name.startswith("p_")]
    _check_columns(table, head if classes else [*head, "p_<class>"])
    other = [name for name in columns if name not in head and not name.startswith("p_")]
    if other:
        raise ValueError(f"unknown column {other[0]!r}; expected id, split, label, p_<class>, ...")
    label = pd.Series(table["label"])
    if pd.api.types.is_float_dtype(label):  # numeric class names, some labels empty
        label = label.astype("Int64")
    text = label.astype(str).where(label.notna(), "")
    unknown = ~text.isin([*classes, ""])
    if unknown.any():
        where = in_rows(unknown, table["id"], map(repr, text))
        raise ValueError(f"label is not a class, {where}; classes are {', '.join(classes)}")
    labels = pd.Index(classes).get_indexer(text)  # -1 for an empty one
    p = _numeric(table, [f"p_{name}" for name in classes])
    return Predictions(_texts(table["id"]), _texts(table["split"]), labels, p, tuple(classes))


def votes_in(table: pd.DataFrame) -> Votes:
    """Build a table of vote fractions from one with the columns of votes.csv."""
    spread = SPREAD if any(name in table.columns for name in SPREAD) else []
    _check_columns(table, ["id", "split", "volunteers", *VOTED, *PREDICTED, *spread])
    true, people = _numeric(table, VOTED), _numeric(table, ["volunteers"])[:, 0]
    p, outputs = _numeric(table, [*PREDICTED, *spread]), [*VOTED, *spread]
    head = {"ids": table["id"], "split": table["split"]}
    return votes_of(**head, votes=true, volunteers=people, predicted=p, outputs=outputs)


def read_predictions(path: Path | str) -> Predictions:
    """Read predictions.csv. Raises `ValueError` with the file and the faulty column or row."""
    return _read(path, predictions_in)


def read_votes(path: Path | str) -> Votes:
    """Read votes.csv. Raises `ValueError` with the file and the faulty column or row."""
    return _read(path, votes_in, na_values=[""])


def _read(path: Path | str, make: Callable[[pd.DataFrame], Table], **options: Any) -> Table:
    texts: Any = dict.fromkeys(["id", "split", "label"], str)
    try:
        return make(read_csv(Path(path), dtype=texts, **{"na_values": []} | options))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _texts(values: Any) -> Names:
    return np.asarray(values, dtype=str).astype(object)


def _check_columns(table: pd.DataFrame, wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        have = listing(table.columns, 5)
        raise ValueError(f"missing column {listing(map(repr, missing), 3)}; the table has {have}")


def _numeric(table: pd.DataFrame, columns: Sequence[str]) -> Float[ndarray, "galaxy column"]:
    for name in columns:
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise ValueError(f"column {name!r} is not numeric")
    return table[list(columns)].to_numpy(float)
