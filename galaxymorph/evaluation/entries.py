"""The contract for comparisons: entries, each one training of a method, and their groups.

An entry is what one job, or one row of it, adds to a comparison. Entries are checked once, when
they are put together: no seed twice, and the same test galaxies for all methods with one seed.
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

CONTROLS = ("control", "random encoder")  # in the protocol of what is a yardstick and not a method
BETWEEN = " / "  # names of methods in one cell
# columns with names of methods
NAMING = ("method", "a", "b", "rival", "cheapest", "ties", "behind", "better", "against")
Key = tuple[str, int | None]  # method and budget


@dataclass(frozen=True, eq=False)
class Entry:
    """One training of a method: a row of the comparison for one seed. What is missing is None."""

    method: str
    seed: Any = None
    n_labels: int | None = None  # the budget: labelled training galaxies; None: all
    protocol: str | None = None
    predictions: Predictions | None = None
    voting: bool = False  # whether it predicts vote fractions, there or not
    votes: Votes | None = None
    history: pd.DataFrame | None = None
    seconds: float | None = None
    costs: Mapping[str, Any] = field(default_factory=dict)
    not_run: str | None = None  # why it was skipped
    title: str | None = None  # what figures and reports call the method

    def __str__(self) -> str:
        return f"{self.method}, {labels(self.n_labels)}, seed {self.seed}"

    @property
    def is_control(self) -> bool:
        return is_control({"protocol": self.protocol})

    def table(self, kind: str) -> Predictions | Votes | None:
        """Its "predictions" or "votes"."""
        return self.predictions if kind == "predictions" else self.votes

    def tested(self, kind: str) -> Names:
        """The test galaxies of a table, none where it is missing."""
        table = self.table(kind)
        with named(self):
            return np.empty(0, object) if table is None else table.labelled("test").ids

    @property
    def n_train(self) -> int | None:
        """Labels that it learned from: the budget, or the labelled training galaxies."""
        if self.n_labels is not None or self.predictions is None:
            return self.n_labels
        return len(self.predictions.rows("train"))


class Entries(tuple[Entry, ...]):
    """The entries of a comparison, in their order.

    Raises `ValueError` that names method, budget and seed for two entries of the same, and for
    methods that were tested on other galaxies with the same seed, as such a comparison means
    nothing."""

    def __new__(cls, entries: Iterable[Entry] = ()) -> "Entries":
        self = super().__new__(cls, entries)
        seen: set[tuple[Any, ...]] = set()
        first: dict[tuple[str, Any], tuple[Entry, frozenset[str]]] = {}
        for entry in self:
            place = (entry.method, entry.n_labels, entry.seed)
            if place in seen:
                raise ValueError(f"duplicate entry: {entry}; give variants a step each")
            seen.add(place)
            for kind in ("predictions", "votes"):
                if not (ids := frozenset(entry.tested(kind))):
                    continue
                other, others = first.setdefault((kind, entry.seed), (entry, ids))
                if ids != others:
                    raise ValueError(
                        f"{entry}: tested on {len(ids):,} galaxies, of which {len(ids & others):,} "
                        f"are among the {len(others):,} of {other.method}; "
                        "execute both again with the same galaxies"
                    )
        return self

    def where(self, chosen: Callable[[Entry], object]) -> "Entries":
        """Return the entries for which `chosen` is true."""
        return Entries(entry for entry in self if chosen(entry))

    def groups(self) -> dict[Key, list[Entry]]:
        """Return the entries of each method and budget, over its seeds."""
        found: dict[Key, list[Entry]] = {}
        for entry in self:
            found.setdefault((entry.method, entry.n_labels), []).append(entry)
        return found

    def budgets(self) -> list[int | None]:
        """Return the numbers of labels, the fewest first, None (all) last."""
        there = {entry.n_labels for entry in self}
        return sorted(there, key=lambda n: math.inf if n is None else n)

    def titles(self) -> dict[str, str]:
        """Return what figures and reports call each method; its name is added to a shared title."""
        found = {entry.method: entry.method for entry in self}
        found |= {entry.method: entry.title for entry in self if entry.title}
        n = Counter(found.values())
        return {name: t if n[t] == 1 else f"{t} ({name})" for name, t in found.items()}

    def most_labels(self) -> "Entries":
        """Return the entries with the most labels of all."""
        most = self.budgets()[-1:]
        return self.where(lambda entry: entry.n_labels in most)

    def methods(self) -> dict[str, list[Entry]]:
        """Return the entries with predictions by method. Raises `ValueError` for several budgets,
        where there are none, and for other classes."""
        there = [entry for entry in self if entry.predictions is not None]
        if not there:
            raise ValueError("no entry has predictions; train a method first")
        budgets = list(dict.fromkeys(entry.n_labels for entry in there))
        if len(budgets) > 1:
            raise ValueError(f"entries with {', '.join(map(labels, budgets))}: give those of one")
        found: dict[str, list[Entry]] = {}
        for entry in there:
            own, names = entry.predictions.classes, there[0].predictions.classes  # pyright: ignore
            if own != names:
                ours, others = ", ".join(own), ", ".join(names)
                raise ValueError(f"{entry}: classes are {ours}, but {others} of {there[0].method}")
            found.setdefault(entry.method, []).append(entry)
        return found

    def trained_methods(self) -> "Entries":
        """Return what can be looked into: with predictions, the most labels, without controls.
        Raises `ValueError` where there is nothing."""
        there = self.where(lambda e: e.predictions is not None and not e.is_control)
        if not there:
            none = f"none of {len(self)} entries is a method with predictions yet"
            raise ValueError(f"{none}; train one first")
        return there.most_labels()

    def pairs(self, a: str, b: str) -> list[tuple[Entry, Entry]]:
        """Return the entries with predictions of two methods, for each seed that both have. Raises
        `ValueError` for methods that are not there, and where there is no common seed."""
        methods = self.methods()
        if a == b or not {a, b} <= set(methods):
            raise ValueError(f"methods {a!r} and {b!r}: give two of {', '.join(methods)}")
        theirs = {entry.seed: entry for entry in methods[b]}
        both = [(entry, theirs[entry.seed]) for entry in methods[a] if entry.seed in theirs]
        if not both:
            raise ValueError(f"{a} and {b} have no common seed: execute both with the same seeds")
        return both


@contextmanager
def named(entry: Entry) -> Iterator[None]:
    """Say in an error whose table it is."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{entry}: {error}") from error


def mean_probabilities(
    entries: Entries, splits: Sequence[str]
) -> tuple[dict[str, pd.DataFrame], tuple[str, ...]]:
    """Return for each method the probabilities of the galaxies in `splits`, mean over its seeds
    (index id and label, a column for each class), and the classes. Raises `ValueError` where there
    are none, and for galaxies that have other labels elsewhere."""
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
        where = f"no labelled galaxy in {' or '.join(splits)} of any method"
        raise ValueError(f"{where}: predict those that it was not trained on")
    index = pd.concat([each.iloc[:, :0] for each in found.values()]).index.unique()
    ids = index.get_level_values("id")
    if ids.has_duplicates:
        known = ids[ids.duplicated()].unique()
        what = f"{len(known)} galaxies have other labels elsewhere: {listing(known, 5)}"
        raise ValueError(f"{what}; the tables are of other data")
    return found, names


# ---- words for rows of tables, of which a file has NaN for None


def budget(row: Mapping[str, Any]) -> int | None:
    """The number of labels of a row of a table; None: all."""
    n_labels = row.get("n_labels")
    return None if n_labels is None or bool(pd.isna(n_labels)) else int(n_labels)


def titled(table: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """Return a table to show, with titles in place of the names of methods (`Entries.titles`)."""

    def replaced(text: Any) -> Any:
        if not isinstance(text, str):
            return text
        return BETWEEN.join(titles.get(name, name) for name in text.split(BETWEEN))

    columns = [name for name in NAMING if name in table]
    return table.assign(**{name: table[name].map(replaced) for name in columns})


def labels(n_labels: int | None) -> str:
    return "all labels" if n_labels is None else f"{n_labels:,} labels"


def words(row: Mapping[str, Any], name: str) -> str:
    """A text of a row, empty where it has none."""
    return "" if bool(pd.isna(row.get(name))) else str(row[name])


def is_control(row: Mapping[str, Any]) -> bool:
    """Whether the protocol of a row makes it a yardstick: pixels alone, a random encoder."""
    return any(kind in words(row, "protocol") for kind in CONTROLS)
