"""Entries of a comparison, and their groups by method and budget.

An entry is one row of the comparison for one seed: the result of a job, or of one row of a job. The
constructor of `Entries` checks that entries are unique, and that all methods with the same seed
have the same test galaxies.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from galaxymorph.evaluation.predictions import Names, Predictions, Votes
from galaxymorph.text import listing

CONTROLS = ("control", "random encoder")  # mark controls in `protocol`
BETWEEN = " / "  # separates methods in a cell
# columns that contain method names
NAMING = ("method", "a", "b", "rival", "cheapest", "ties", "behind", "better", "against")
Key = tuple[str, int | None]  # method and budget


@dataclass(frozen=True, eq=False)
class Entry:
    """One row of the comparison for one seed. Missing values are None."""

    method: str
    seed: Any = None
    n_labels: int | None = None  # budget; None: all labels
    protocol: str | None = None
    predictions: Predictions | None = None
    voting: bool = False  # predicts vote fractions, even if `votes` is missing
    votes: Votes | None = None
    history: pd.DataFrame | None = None
    seconds: float | None = None
    costs: Mapping[str, Any] = field(default_factory=dict)
    not_run: str | None = None  # why it was skipped
    title: str | None = None  # name of the method in figures and reports

    def __str__(self) -> str:
        return f"{self.method}, {labels(self.n_labels)}, seed {self.seed}"

    @property
    def is_control(self) -> bool:
        return is_control({"protocol": self.protocol})

    def table(self, kind: str) -> Predictions | Votes | None:
        """Return the "predictions" or "votes"."""
        return self.predictions if kind == "predictions" else self.votes

    def tested(self, kind: str) -> Names:
        """Return the ids of the test galaxies in a table; empty if it is missing."""
        table = self.table(kind)
        with named(self):
            return np.empty(0, object) if table is None else table.labelled("test").ids

    @property
    def n_train(self) -> int | None:
        """Number of training labels: the budget, or all labelled training galaxies."""
        if self.n_labels is not None or self.predictions is None:
            return self.n_labels
        return len(self.predictions.rows("train"))


class Entries(tuple[Entry, ...]):
    """The entries of a comparison, in order.

    Raises `ValueError` for duplicate entries (method, budget and seed), and if methods with the
    same seed have different test galaxies, which would make the comparison meaningless."""

    def __new__(cls, entries: Iterable[Entry] = ()) -> "Entries":
        self = super().__new__(cls, entries)
        seen: set[tuple[Any, ...]] = set()
        first: dict[tuple[str, Any], tuple[Entry, frozenset[str]]] = {}
        for entry in self:
            place = (entry.method, entry.n_labels, entry.seed)
            if place in seen:
                raise ValueError(f"duplicate entry: {entry}; define a separate step per variant")
            seen.add(place)
            for kind in ("predictions", "votes"):
                if not (ids := frozenset(entry.tested(kind))):
                    continue
                other, others = first.setdefault((kind, entry.seed), (entry, ids))
                if ids != others:
                    raise ValueError(
                        f"{entry}: tested on {len(ids):,} galaxies, of which {len(ids & others):,} "
                        f"are among the {len(others):,} of {other.method}; "
                        "rerun both with the same galaxies"
                    )
        return self

    def where(self, chosen: Callable[[Entry], object]) -> "Entries":
        """Select the entries for which `chosen` is true."""
        return Entries(entry for entry in self if chosen(entry))

    def groups(self) -> dict[Key, list[Entry]]:
        """Group the entries by method and budget."""
        found: dict[Key, list[Entry]] = {}
        for entry in self:
            found.setdefault((entry.method, entry.n_labels), []).append(entry)
        return found

    def budgets(self) -> list[int | None]:
        """Return the budgets in ascending order, None (all labels) last."""
        there = {entry.n_labels for entry in self}
        return sorted(there, key=lambda n: math.inf if n is None else n)

    def titles(self) -> dict[str, str]:
        """Return the title of each method; if titles coincide, the method name is appended."""
        found = {entry.method: entry.method for entry in self}
        titled = [(entry.method, entry.title) for entry in self if entry.title]
        found |= {method: title.replace(BETWEEN, "/") for method, title in titled}
        n = Counter(found.values())
        return {name: t if n[t] == 1 else f"{t} ({name})" for name, t in found.items()}

    def most_labels(self) -> "Entries":
        """Select the entries with the largest budget."""
        most = self.budgets()[-1:]
        return self.where(lambda entry: entry.n_labels in most)

    def methods(self) -> dict[str, list[Entry]]:
        """Group the entries with predictions by method.

        Raises `ValueError` if there are none, or if budgets or classes differ."""
        there = [entry for entry in self if entry.predictions is not None]
        if not there:
            raise ValueError("no entry has predictions; train a method first")
        budgets = list(dict.fromkeys(entry.n_labels for entry in there))
        if len(budgets) > 1:
            have = ", ".join(map(labels, budgets))
            raise ValueError(f"entries have several budgets: {have}; select one")
        found: dict[str, list[Entry]] = {}
        for entry in there:
            own, names = entry.predictions.classes, there[0].predictions.classes  # pyright: ignore
            if own != names:
                ours, others = ", ".join(own), ", ".join(names)
                raise ValueError(f"{entry}: classes are {ours}; {there[0].method} has {others}")
            found.setdefault(entry.method, []).append(entry)
        return found

    def trained_methods(self) -> "Entries":
        """Select methods with predictions and the largest budget, without controls.

        Raises `ValueError` if there are none."""
        there = self.where(lambda e: e.predictions is not None and not e.is_control)
        if not there:
            none = f"none of the {len(self)} entries is a method with predictions"
            raise ValueError(f"{none}; train a method first")
        return there.most_labels()

    def pairs(self, a: str, b: str) -> list[tuple[Entry, Entry]]:
        """Pair the entries of two methods by seed, for seeds where both have predictions.

        Raises `ValueError` for unknown methods, and if there is no common seed."""
        methods = self.methods()
        if a == b or not {a, b} <= set(methods):
            have = ", ".join(methods)
            raise ValueError(f"methods {a!r} and {b!r}: expected two different methods from {have}")
        theirs = {entry.seed: entry for entry in methods[b]}
        both = [(entry, theirs[entry.seed]) for entry in methods[a] if entry.seed in theirs]
        if not both:
            raise ValueError(f"{a} and {b} have no common seed; run both with the same seeds")
        return both


@contextmanager
def named(entry: Entry) -> Iterator[None]:
    """Prefix a `ValueError` with the entry that it concerns."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{entry}: {error}") from error


def mean_probabilities(
    entries: Entries, splits: Sequence[str]
) -> tuple[dict[str, pd.DataFrame], tuple[str, ...]]:
    """Average the probabilities of each method over seeds, for the galaxies in `splits`.

    Returns a table by method (index: id and label; one column per class), and the classes. Raises
    `ValueError` if there are no such galaxies, or if labels differ between tables."""
    found, names = {}, ()
    for method, group in entries.methods().items():
        parts = []
        for predictions in (entry.predictions for entry in group if entry.predictions):
            names = predictions.classes
            for part in (predictions.labelled(s) for s in splits if predictions.has(s)):
                index = [part.ids, np.array(names)[part.true]]
                index = pd.MultiIndex.from_arrays(index, names=["id", "label"])
                parts.append(pd.DataFrame(part.p, index, columns=pd.Index(names)))
        if parts:
            found[method] = pd.concat(parts).groupby(level=["id", "label"]).mean()
    if not found:
        where = f"no method has labelled galaxies in {' or '.join(splits)}"
        raise ValueError(f"{where}; predict galaxies that it was not trained on")
    index = pd.concat([each.iloc[:, :0] for each in found.values()]).index.unique()
    ids = index.get_level_values("id")
    if ids.has_duplicates:
        known = ids[ids.duplicated()].unique()
        what = f"labels of {len(known)} galaxies differ between tables: {listing(known, 5)}"
        raise ValueError(f"{what}; compare methods with the same labels")
    return found, names


# ---- text for table rows, where NaN stands for None (as read from a file)


def budget(row: Mapping[str, Any]) -> int | None:
    """Return the budget of a table row; None means all labels."""
    n_labels = row.get("n_labels")
    return None if n_labels is None or bool(pd.isna(n_labels)) else int(n_labels)


def titled(table: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """Replace method names in a table by their titles (`Entries.titles`)."""

    def replaced(text: Any) -> Any:
        if not isinstance(text, str):
            return text
        return BETWEEN.join(titles.get(name, name) for name in text.split(BETWEEN))

    columns = [name for name in NAMING if name in table]
    return table.assign(**{name: table[name].map(replaced) for name in columns})


def labels(n_labels: int | None) -> str:
    return "all labels" if n_labels is None else f"{n_labels:,} labels"


def words(row: Mapping[str, Any], name: str) -> str:
    """Return a cell as text, empty if it is missing."""
    return "" if bool(pd.isna(row.get(name))) else str(row[name])


def is_control(row: Mapping[str, Any]) -> bool:
    """Tell from its protocol whether a row is a control (raw pixels, an untrained encoder)."""
    return any(kind in words(row, "protocol") for kind in CONTROLS)
