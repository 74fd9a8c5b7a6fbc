"""Predictions that others have made, from their CSV files alone: `galaxymorph compare a.csv b.csv
--labels truth.csv`.

A file has a header and a row for each galaxy, in any order:

    id            or one of `IDS`, in capitals or not p_<class>     a column for each class:
    probabilities that sum to 1. Or, instead of all of them, prediction    or one of `TAKEN`: the
    class alone, as a probability of 1; AUC, log loss and calibration then mean nothing split
    train, val, test or unlabelled; without it, all are test galaxies label         the true class;
    without it, that of the other files, or of a file of labels: id, label (or class), split

A column `label` that names the most probable class in every row, as `galaxymorph predict` writes
it, is the prediction and not the truth: it counts as the truth only where other labels say the
same. Other columns are ignored, which is said.

The method is the file's name without ending, or NAME in NAME=FILE. The files of a run are called
what they are called there: `cnn/seed=0/predictions.csv` is `cnn` with the seed 0,
`cae_frozen/seed=0/dnn/predictions.csv` is `cae_frozen dnn`. Several files of a method are its
seeds, numbered from 0 where no folder tells.

What is read becomes a run whose pieces of work are done already, and the notebook of a run's
comparison is executed on it."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from galaxymorph import galaxy_zoo_tree, project
from galaxymorph.data import sources
from galaxymorph.evaluation.predictions import PREDICTIONS, TOLERANCE
from galaxymorph.text import listing, plain_id

IDS = ("id", "galaxyid", "galaxy_id", "asset_id", "objid", "object_id", "dr7objid", "dr8objid")
TAKEN = ("prediction", "predicted", "class")  # of a method without probabilities
LABELS = ("label", "class")  # of a file of labels
SPLITS = ("train", "val", "test", "unlabelled")
COMPARE = "compare"  # the step that compares
OCCUPIED = (COMPARE, "majority", "tune")  # names of steps and rows that a comparison has itself
PAIRS = re.compile(r"[\w.]+=[\w.+-]+(,[\w.]+=[\w.+-]+)*")  # the folder of a repeated step
EMPTY = ("", "nan", "na", "null", "none")
ROUNDING = 1e-6  # by which a probability may be less than 0 or more than 1
MOST = 5  # rows, or galaxies, that a message names


@dataclass(frozen=True)
class Brought:
    """One file: the predictions of a method with one seed, checked."""

    name: str  # its piece of work: cnn/seed=0
    row: str  # of a piece with several rows: dnn; else empty
    combination: dict[str, Any]
    path: Path
    table: pd.DataFrame  # id, split, label, p_<class>...
    hard: bool  # classes without probabilities
    notes: tuple[str, ...]  # what has to be known of how it was read

    def __str__(self) -> str:
        n = (self.table.split == "test").sum()
        method = f"{self.name.split('/')[0]} {self.row}".strip()
        return "\n  ".join(
            [
                f"{method}, seed {self.combination['seed']}: {n:,} test galaxies, {self.path}",
                *self.notes,
            ]
        )


def read(files: Sequence[str], *, labels: Path | None = None) -> list[Brought]:
    """Reads and checks files, each `FILE` or `NAME=FILE`, and the file of `labels`; see above for
    what is in them.

    With `labels`, these alone are the truth; a column `label` elsewhere has to agree with them,
    unless it is the prediction. Ids that differ in folder, ending and leading zeros only are the
    same, unless two of one file would be. With one seed, all methods have to have the same test
    galaxies: those of `labels` where that has splits.

    Raises `ValueError` with the mistakes of all files, a line for each: the file, its rows (by
    line, of which the header is the first) and galaxies, what was expected, what to do."""
    problems: list[str] = []
    places = _places(files, problems)
    tables = [_read(place.path, problems) for place in places]
    truth = _read(labels, problems, truth=True) if labels is not None else None
    found = [
        (place, table) for place, table in zip(places, tables, strict=True) if table is not None
    ]
    if found and (labels is None) == (truth is None):
        complete = len(found) == len(
            places
        )  # else a label may be missing as its file could not be read
        checked = _together(found, truth, problems, complete=complete)
        if not problems:
            return checked
    raise ValueError("\n".join(dict.fromkeys(problems)))


# ---- which method, which seed


@dataclass
class _Place:
    """Where the predictions of a file belong in a run."""

    path: Path
    step: str
    row: str
    pairs: str  # the folder's name: seed=0,n_labels=100
    combination: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.step}/{self.pairs}"

    @property
    def words(self) -> list[str]:
        """The words of the method's name."""
        return [self.step, self.row] if self.row else [self.step]


def _places(files: Sequence[str], problems: list[str]) -> list[_Place]:
    places = [_place(text) for text in files]
    n = Counter[tuple[str, str, str]]()
    for place in places:
        if "seed" not in place.combination:
            setting = (place.step, place.row, place.pairs)
            place.combination = {"seed": n[setting]} | place.combination
            place.pairs = ",".join([f"seed={n[setting]}", *([place.pairs] if place.pairs else [])])
            n[setting] += 1
        if place.step in OCCUPIED or not all(
            project.NAME.fullmatch(name) and ".." not in name for name in place.words
        ):
            why = (
                "a comparison has that itself"
                if place.step in OCCUPIED
                else "names are of letters, digits, '.', '_' and '-'"
            )
            problems.append(
                f"{place.path}: cannot be called {' '.join(place.words)!r}: {why}; give NAME=FILE"
            )
    files_before, names_before = dict[Path, Path](), dict[Any, Path]()
    for place in places:
        if place.path.resolve() in files_before:
            problems.append(f"{place.path}: is given twice; leave one out")
            continue
        files_before[place.path.resolve()] = place.path
        other = names_before.setdefault(
            (*place.words, str(sorted(place.combination.items()))), place.path
        )
        if other is not place.path:
            called = f"{' '.join(place.words)}, {place.pairs.replace(',', ', ')}"
            problems.append(
                f"{place.path}: is called {called}, as {other} is; give one another name by NAME=FILE"
            )
    return places


def _place(text: str) -> _Place:
    """What an argument of the command line says, by itself or by where its file lies."""
    given, equals, rest = text.partition("=")
    named = bool(equals) and bool(project.NAME.fullmatch(given)) and not Path(text).exists()
    path = Path(rest).expanduser() if named else Path(text)
    folder, row, step = path.parent.resolve(), "", path.stem
    if path.name == PREDICTIONS:
        above = folder.parent
        if not PAIRS.fullmatch(folder.name) and (
            PAIRS.fullmatch(above.name) or (above / "done.json").is_file()
        ):
            row, folder = folder.name, above
        step = folder.parent.name if PAIRS.fullmatch(folder.name) else folder.name
    pairs = folder.name if PAIRS.fullmatch(folder.name) else ""
    combination = {
        key: yaml.safe_load(value)
        for key, _, value in (each.partition("=") for each in pairs.split(",") if pairs)
    }
    return _Place(path, given if named else step, "" if named else row, pairs, combination)


# ---- one file


@dataclass
class _Table:
    """The cells of one file."""

    path: Path
    # by line: id, split, label, taken, as text, empty where the file does not say; key, by which
    # ids match
    rows: pd.DataFrame
    p: pd.DataFrame | None  # by line, a column for each class; None: taken instead
    notes: list[str] = field(default_factory=list)

    def at(self, rows: pd.DataFrame, more: Iterable[str] | None = None) -> str:
        """Some rows, for a message, each with what more there is to be said about it."""
        places = [f"line {line} (galaxy {id})" for line, id in rows.id.items()]
        return listing(
            [f"{place} {said}" for place, said in zip(places, more, strict=True)]
            if more
            else places,
            MOST,
        )

    def labelled(self) -> pd.DataFrame:
        return self.rows.loc[self.rows.label != ""]


def _read(path: Path, problems: list[str], *, truth: bool = False) -> _Table | None:
    """A file of predictions, or of labels (`truth`), and its mistakes; None where it cannot be told
    which galaxies it has."""
    try:
        cells = _cells(path)
    except (ValueError, OSError) as error:
        problems.append(str(error))
        return None
    names = {str(name).lower(): str(name) for name in reversed(cells.columns)}
    p = [] if truth else [str(name) for name in cells.columns if str(name).startswith("p_")]
    wanted = {
        "id": IDS,
        "split": ("split",),
        "label": LABELS if truth else LABELS[:1],
        "taken": () if truth or p else TAKEN,
    }
    used = {
        what: names[name] for what, each in wanted.items() for name in each[::-1] if name in names
    }
    if set(galaxy_zoo_tree.COLUMNS) & {str(name).removeprefix("p_") for name in cells.columns}:
        problems.append(
            f"{path}: holds vote fractions, and what is compared are classes; give a column p_<class> for each"
        )
        return None
    missing = [] if "id" in used else [f"id (or {', '.join(IDS[1:])})"]
    missing += ["label (or class)"] if truth and "label" not in used else []
    missing += (
        ["p_<class> (one for each class)"] if not truth and not p and "taken" not in used else []
    )
    if missing:
        problems.append(
            f"{path}: no column {', nor '.join(missing)}; it has {listing(cells.columns, 12)}"
        )
        return None
    if len(p) == 1:
        problems.append(
            f"{path}: {p[0]} is the only column p_<class>; give one for each class, the other of two as well"
        )
        return None
    rows = pd.DataFrame(
        {what: cells[used[what]] if what in used else "" for what in wanted}, dtype=str
    )
    rows["split"] = rows.split.str.lower()
    rows["label"] = rows.label.where(~_empty(rows.label), "")
    table = _Table(path, rows, None)
    if not _ids_are_good(table, problems):
        return None
    odd = rows.loc[~rows.split.isin(SPLITS)]
    if "split" in used and len(odd):
        problems.append(
            f"{path}: split is none of {', '.join(SPLITS)} in {table.at(odd, map(repr, odd['split']))}"
        )
    if p:
        table.p = _probabilities(table, cells.loc[:, p], problems)
    elif not truth:
        _check_filled(table, cells.loc[:, [used["taken"]]], problems)
        table.notes.append(
            "classes without probabilities: its AUC, log loss, Brier score and calibration mean nothing"
        )
    others = [
        name or "(without a name)" for name in cells.columns if name not in (*used.values(), *p)
    ]
    if others and not truth:
        table.notes.append(f"columns ignored: {listing(others)}")
    return table


def _cells(path: Path) -> pd.DataFrame:
    """The cells of a CSV file, all text; the index is the line on which a row begins. Blank lines
    are no rows.

    Raises `ValueError`, or an `OSError`, that names the file, and the lines.
    """
    try:
        text = sources.existing(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: is no text in UTF-8 (byte {error.start + 1}); save it as CSV in UTF-8"
        ) from None
    reader, found, line = (
        csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True),
        [],
        1,
    )
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                found.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}: line {line} is no row of a CSV file: {error}") from None
    if len(found) < 2:
        raise ValueError(
            f"{path}: has no rows; expected a header, and below it a row for each galaxy"
        )
    (_, columns), rows = found[0], found[1:]
    if len(columns) == 1:
        raise ValueError(
            f"{path}: has one column, {columns[0]!r}; expected several, separated by commas"
        )
    twice = [name for name, n in Counter(columns).items() if n > 1]
    if twice:
        raise ValueError(f"{path}: has several columns {listing(twice)}; keep one of each")
    odd = [f"line {line} has {len(cells)}" for line, cells in rows if len(cells) != len(columns)]
    if odd:
        raise ValueError(f"{path}: the header has {len(columns)} cells, but {listing(odd, MOST)}")
    return pd.DataFrame(
        [cells for _, cells in rows], index=[line for line, _ in rows], columns=columns, dtype=str
    )


def _empty(cells: pd.Series) -> pd.Series:
    return cells.str.lower().isin(EMPTY)


def _ids_are_good(table: _Table, problems: list[str]) -> bool:
    ids = table.rows.id
    empty = [f"line {line}" for line in table.rows.loc[_empty(ids)].index]
    if empty:
        problems.append(f"{table.path}: no id in {listing(empty, MOST)}; give each galaxy its id")
        return False
    groups = table.rows.loc[ids.duplicated(keep=False)].groupby("id", sort=False)
    twice = [f"galaxy {id} (lines {' and '.join(map(str, each.index))})" for id, each in groups]
    if twice:
        problems.append(
            f"{table.path}: ids that are there twice: {listing(twice, MOST)}; keep one row for each galaxy"
        )
    return not twice


def _check_filled(table: _Table, cells: pd.DataFrame, problems: list[str]) -> None:
    for name, column in cells.items():
        rows = table.rows.loc[_empty(column)]
        if len(rows):
            problems.append(
                f"{table.path}: {name} is empty or NaN in {table.at(rows)}; fill it, or leave these galaxies out"
            )


def _probabilities(table: _Table, cells: pd.DataFrame, problems: list[str]) -> pd.DataFrame:
    """The numbers in the columns p_<class>, from 0 to 1; NaN where there is none."""
    before = len(problems)
    _check_filled(table, cells, problems)
    p = cells.map(_number)
    for name, column in cells.items():
        rows = table.rows.loc[~np.isfinite(p[name]) & ~_empty(column)]
        if len(rows):
            problems.append(
                f"{table.path}: {name} is no number in {table.at(rows, map(repr, column[rows.index]))}"
            )
    p = p.rename(columns=lambda name: name.removeprefix("p_"))
    if len(problems) > before:
        return p
    total = p.sum(axis=1)
    outside, wrong = (
        ((p < -ROUNDING) | (p > 1 + ROUNDING)).any(axis=1),
        (total - 1).abs() > TOLERANCE,
    )
    if (p >= 0).all(axis=None) and ((total / 100 - 1).abs() <= TOLERANCE).all():
        problems.append(
            f"{table.path}: p_<class> sum to 100 in every row; these look like percentages: divide them by 100"
        )
    elif outside.any():
        said = [f"[{', '.join(f'{value:.4g}' for value in row)}]" for row in p[outside].to_numpy()]
        problems.append(
            f"{table.path}: p_<class> are less than 0 or more than 1 in {outside.sum():,} of {len(p):,} rows: "
            f"{table.at(table.rows.loc[outside], said)}; these look like logits: apply a softmax"
        )
    elif wrong.any():
        said = [f"{value:.4g}" for value in total[wrong]]
        problems.append(
            f"{table.path}: p_<class> do not sum to 1 in {wrong.sum():,} of {len(p):,} rows: "
            f"{table.at(table.rows.loc[wrong], said)}; give the probabilities of all classes, of which each galaxy has one"
        )
    return p.clip(0, 1)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


# ---- all files together


def _together(
    found: Sequence[tuple[_Place, _Table]],
    truth: _Table | None,
    problems: list[str],
    *,
    complete: bool,
) -> list[Brought]:
    """What is in the files, once they are held against each other; nothing where that does not
    fit."""
    tables = [table for _, table in found]
    spelling = _match([*([truth] if truth else []), *tables])
    known = _known(tables, truth, problems)
    for table in tables:
        _split(table, truth, problems)
    if complete:
        _check_labelled(tables, truth, known, problems)
    classes = next(
        (list(table.p.columns) for table in tables if table.p is not None),
        sorted(set(known.values())),
    )
    for table in tables:
        _check_classes(table, table.rows, classes, problems)
    if truth:  # may have more galaxies, and those may have other classes
        predicted = pd.concat([table.rows.key for table in tables])
        _check_classes(truth, truth.rows.loc[truth.rows.key.isin(predicted)], classes, problems)
    _check_test_galaxies(found, truth, known, spelling, problems)
    brought = []
    for place, table in found if not problems else ():
        p = (
            pd.DataFrame({name: table.rows.taken == name for name in classes})
            if table.p is None
            else table.p[classes]
        )
        keys = table.rows.key
        head = {"id": _of(keys, spelling), "split": table.rows.split, "label": _of(keys, known)}
        rows = pd.DataFrame(head).join(p.astype(float).add_prefix("p_")).reset_index(drop=True)
        hard, notes = table.p is None, tuple(table.notes)
        brought.append(
            Brought(place.name, place.row, place.combination, place.path, rows, hard, notes)
        )
    return brought


def _of(keys: pd.Series, values: Mapping[str, str]) -> pd.Series:
    """The text of each key, empty where there is none."""
    return pd.Series([values.get(key, "") for key in keys], index=keys.index, dtype=str)


def _match(tables: Sequence[_Table]) -> dict[str, str]:
    """Gives all rows a key, the same for the same galaxy; returns the id of each key as the first
    file spells it."""
    for table in tables:
        table.rows["key"] = table.rows.id.map(plain_id)
    if any(table.rows.key.duplicated().any() for table in tables):
        for table in tables:
            table.rows["key"] = table.rows.id
    spelling = dict[str, str]()
    for table in tables:
        spelling |= dict(zip(table.rows.key, table.rows.id, strict=True)) | spelling
    for table in tables:
        other = table.rows.loc[table.rows.id != _of(table.rows.key, spelling)]
        if len(other):
            id, key = other.iloc[0][["id", "key"]]
            table.notes.append(
                f"{len(other):,} ids are spelled in another way: {id} is {spelling[key]}"
            )
    return spelling


def _known(tables: Sequence[_Table], truth: _Table | None, problems: list[str]) -> dict[str, str]:
    """The true class of each galaxy whose is known, by key. Labels that contradict each other are
    mistakes."""
    known, source = dict[str, str](), dict[str, Path]()
    for table in [
        *([truth] if truth else []),
        *sorted(tables, key=_is_prediction),
    ]:  # last those that others have to confirm
        rows = table.labelled()
        theirs = _of(rows.key, known)
        other = rows.loc[(theirs != "") & (theirs != rows.label)]
        if (
            table is not truth
            and _is_prediction(table)
            and (len(other) or not (theirs != "").any())
        ):
            table.notes.append(
                "its label is its own most probable class in every row: the prediction, and so not the truth"
            )
            continue
        if len(other):
            said = [
                f"{own}, there {their}"
                for own, their in zip(other.label, theirs[other.index], strict=True)
            ]
            whose = listing(dict.fromkeys(source[key] for key in other.key))
            problems.append(
                f"{table.path}: label is not that of {whose} for {len(other):,} galaxies: {table.at(other, said)}; mend one of "
                "them, or remove the column if it is not the true class"
            )
        if truth is None or table is truth:
            known |= dict(zip(rows.key, rows.label, strict=True)) | known
            source |= dict.fromkeys(rows.key, table.path) | source
    return known


def _is_prediction(table: _Table) -> bool:
    """Whether the label of every row is the most probable class, or one of several that are equally
    probable."""
    rows = table.labelled()
    if table.p is None or rows.empty:
        return len(rows) > 0 and bool((rows.label == rows.taken).all())
    column = table.p.columns.get_indexer(pd.Index(rows.label))
    p = table.p.loc[rows.index].to_numpy()
    return bool((column >= 0).all() and (p[np.arange(len(p)), column] >= p.max(1)).all())


def _check_labelled(
    tables: Sequence[_Table], truth: _Table | None, known: Mapping[str, str], problems: list[str]
) -> None:
    said = [table.path for table in tables if len(table.labelled())]
    if not known and not truth:
        why = "no file has a column label"
        if said:
            why = f"label is the most probable class in every row of {listing(said, MOST)}, as `galaxymorph predict` "
            why += "writes it: the prediction, and so not the truth"
        problems.append(
            f"no labels: {why}; --labels FILE gives the true classes (that file again, if these are the true ones)"
        )
        return
    where = truth.path if truth else "any file"
    for table in tables:
        bare = table.rows.loc[~table.rows.key.isin(known) & (table.rows.split != "unlabelled")]
        if len(bare):
            problems.append(
                f"{table.path}: {len(bare):,} of {len(table.rows):,} galaxies have no label in {where}: "
                f"{table.at(bare)}; add their labels, or leave them out of all files"
            )


def _check_classes(
    table: _Table, rows: pd.DataFrame, classes: Sequence[str], problems: list[str]
) -> None:
    own = classes if table.p is None else list(table.p.columns)
    if set(own) != set(classes):
        problems.append(
            f"{table.path}: its classes are {', '.join(own)}, those of the others {', '.join(classes)}; all files need "
            "the same columns p_<class>, in any order"
        )
    for what, cells in (("label", rows.label), ("prediction", rows.taken)):
        odd = rows.loc[~_empty(cells) & ~cells.isin(own)]
        if len(odd) and len(own):
            said = map(repr, cells[odd.index])
            problems.append(
                f"{table.path}: {what} is no class in {table.at(odd, said)}; classes are {', '.join(own)}"
            )


def _split(table: _Table, truth: _Table | None, problems: list[str]) -> None:
    """Fills in the splits of a file without any: those of the file of labels, or else test."""
    own = table.rows.split
    theirs = _of(
        table.rows.key, dict(zip(truth.rows.key, truth.rows.split, strict=True)) if truth else {}
    )
    other = table.rows.loc[(own != "") & (theirs != "") & (own != theirs)]
    if truth and len(other):
        said = [
            f"{one}, there {two}" for one, two in zip(other.split, theirs[other.index], strict=True)
        ]
        problems.append(
            f"{table.path}: split is not that of {truth.path} for {len(other):,} galaxies: {table.at(other, said)}; mend "
            "one of them, or remove the column from one"
        )
    table.rows["split"] = own.where(own != "", theirs.where(theirs != "", "test"))
    if "test" not in set(table.rows.split):
        problems.append(
            f"{table.path}: no galaxy is of the split test, and these are what is compared"
        )


def _check_test_galaxies(
    found: Sequence[tuple[_Place, _Table]],
    truth: _Table | None,
    known: Mapping[str, str],
    spelling: Mapping[str, str],
    problems: list[str],
) -> None:
    """With one seed, all methods have to be tested on the same galaxies: on those of the file of
    labels if that has splits, else on those of most methods."""

    def tested(table: _Table) -> frozenset[str]:
        rows = table.rows
        return frozenset(rows.loc[(rows.split == "test") & rows.key.isin(known), "key"])

    for seed in dict.fromkeys(str(place.combination["seed"]) for place, _ in found):
        tables = [table for place, table in found if str(place.combination["seed"]) == seed]
        wanted, whose = Counter(map(tested, tables)).most_common(1)[0][0], None
        if truth and tested(truth):
            wanted, whose = tested(truth), truth.path
        whose = whose or next(table.path for table in tables if tested(table) == wanted)
        for table in tables:
            has = tested(table)
            if wanted - has:
                other = Counter(table.rows.loc[table.rows.key.isin(list(wanted - has)), "split"])
                but = "".join(f" ({n:,} of them it has in {split})" for split, n in other.items())
                ids = listing([id for key, id in spelling.items() if key in wanted - has], MOST)
                problems.append(
                    f"{table.path}: seed {seed} lacks {len(wanted - has):,} of {len(wanted):,} test galaxies that {whose} has"
                    f"{but}: {ids}; predict these, too, or leave them out of the other files"
                )
            if has - wanted:
                rows = table.rows.loc[table.rows.key.isin(list(has - wanted))]
                problems.append(
                    f"{table.path}: seed {seed} has {len(rows):,} test galaxies that {whose} has not: {table.at(rows)}; leave "
                    "them out, or predict them with the other methods, too"
                )
