"""Predictions that others have made, from their CSV files alone: `galaxymorph compare a.csv b.csv
--labels truth.csv`.

A file has a header and a row for each galaxy, in any order:

    id           or one of `IDS`, in capitals or not
    p_<class>    a column for each class: probabilities that sum to 1. Or, instead of all of them,
    prediction   or one of `TAKEN`: the class alone, as a probability of 1; AUC, log loss and
                 calibration then mean nothing
    split        train, val, test or unlabelled; without it, all are test galaxies
    label        the true class; without it, that of the other files, or of a file of labels: id,
                 label (or class), split

A column `label` that names the most probable class in every row, as `galaxymorph predict` writes
it, is the prediction and not the truth: it counts as the truth only where other labels say the
same. Other columns are ignored, with a note.

The method is the file's name without ending, or NAME in NAME=FILE. The files of a run are called
what they are called there: `cnn/seed=0/predictions.csv` is `cnn` with the seed 0,
`cae_frozen/seed=0/dnn/predictions.csv` is `cae_frozen dnn`. Several files of a method are its
seeds, numbered from 0 where no folder gives one.
"""

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

from galaxymorph import galaxy_zoo_tree
from galaxymorph.evaluation.predictions import PREDICTIONS, TOLERANCE, Predictions, predictions_in
from galaxymorph.project import NAME
from galaxymorph.text import listing, plain_id

IDS = ("id", "galaxyid", "galaxy_id", "asset_id", "objid", "object_id", "dr7objid", "dr8objid")
TAKEN = ("prediction", "predicted", "class")  # of a method without probabilities
FIELDS = {"id": IDS, "split": ("split",), "label": ("label",), "taken": TAKEN}
SPLITS = ("train", "val", "test", "unlabelled")
COMPARE = "compare"  # the step that compares
OCCUPIED = (COMPARE, "majority", "tune")  # names of steps and rows that a comparison has itself
PAIRS = re.compile(r"[\w.]+=[\w.+-]+(,[\w.]+=[\w.+-]+)*")  # the folder of a repeated step
EMPTY = ("", "nan", "na", "null", "none")
ROUNDING = 1e-6  # by which a probability may be less than 0 or more than 1
MOST = 5  # rows, or galaxies, that a message names
HARD = "classes without probabilities: AUC, log loss, Brier score and calibration mean nothing"
NOT_TRUE = "label is the most probable class in every row: the prediction, not the truth"
NO_SUM = "p_<class> are not probabilities that sum to 1"
MISTAKES = {  # in rows of a file: what is wrong; what to do about it
    "no id": "no id; give each galaxy its id",
    "twice": "duplicate id; keep one row per galaxy",
    "split": f"unknown split; known: {', '.join(SPLITS)}",
    "number": "{} is not a number; fill it, or leave these galaxies out",
    "sum": f"{NO_SUM}; give the probabilities of all classes, of which each galaxy has one",
    "percentages": f"{NO_SUM}; these look like percentages: divide them by 100",
    "logits": f"{NO_SUM}; these look like logits: apply a softmax",
    "no label": "no label in {}; add their labels, or leave them out of all files",
    "class": "{0} is not a class; classes are {1}",
    "other split": "split differs from {}; mend one, or remove the column from one",
    "other label": "label differs from {}; mend one, or remove the column if it is a prediction",
    "more": "seed {} has test galaxies that {} lacks; leave them out, or predict them everywhere",
}
Mask = pd.Series | np.ndarray  # which rows


@dataclass(frozen=True)
class Brought:
    """One file: the predictions of a method with one seed."""

    name: str  # of its job: cnn/seed=0
    row: str  # of a job with several rows: dnn; else empty
    combination: dict[str, Any]
    path: Path
    predictions: Predictions
    hard: bool  # classes without probabilities
    notes: tuple[str, ...]  # on how it was read

    def __str__(self) -> str:
        n, method = (self.predictions.split == "test").sum(), self.name.split("/")[0]
        seed = self.combination["seed"]
        head = f"{f'{method} {self.row}'.strip()}, seed {seed}: {n:,} test galaxies, {self.path}"
        return "\n  ".join([head, *self.notes])


def read(files: Sequence[str], *, labels: Path | None = None) -> list[Brought]:
    """Read and check files, each `FILE` or `NAME=FILE`, and the file of `labels`.

    With `labels`, these alone are the truth; a column `label` elsewhere has to agree with them,
    unless it is the prediction. Ids that differ in folder, ending and leading zeros only are the
    same, unless two of one file would be. With one seed, all methods have to have the same test
    galaxies: those of `labels` where that has splits.

    Raises `ValueError` with the mistakes of all files, a line for each: the file, its rows (by
    line, of which the header is the first) and galaxies, what was expected, what to do."""
    problems: list[str] = []
    named = [_placed(text, problems) for text in files]
    _check_names(named)
    found = [file for file in named if _filled(file)]
    truth = _File(labels, problems) if labels is not None else None
    if found and (truth is None or _filled(truth, truth=True)):
        classes = _checked_together(found, truth, complete=len(found) == len(named))
        if not problems:
            return [file.brought(classes) for file in found]
    raise ValueError("\n".join(dict.fromkeys(problems)))


@dataclass
class _File:
    """A file, and its cells.

    `rows`, by line, as text: id, split, label, taken, empty where the file does not say. What all
    files together say is filled in later: key, by which ids match; name, the id in the spelling of
    the first file; true, the true class."""

    path: Path
    problems: list[str]  # of all files
    step: str = ""
    row: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    p: pd.DataFrame = field(default_factory=pd.DataFrame)  # by line, a column for each class
    hard: bool = False  # p is 1 for the class `taken`
    notes: list[str] = field(default_factory=list)

    @property
    def method(self) -> str:
        return f"{self.step} {self.row}".strip()

    def wrong(self, what: str) -> None:
        self.problems.append(f"{self.path}: {what}")

    def wrong_in(self, which: Mask, mistake: str, *of: object, cells: Iterable[str] = ()) -> None:
        """Note one of `MISTAKES` in some rows, where there are any, with what stands there."""
        rows = self.rows.loc[which]
        if len(rows):
            names = rows.id.map(lambda name: f" (id {name})" if name else "")
            texts = pd.Series(list(cells) or "", self.rows.index, dtype=str)[which]
            lines = ("line " + rows.index.astype(str) + names + " " + texts).str.strip()
            where = f"{len(rows):,} of {len(self.rows):,} rows: {listing(lines, MOST)}"
            what, advice = (text.format(*of) for text in MISTAKES[mistake].split("; "))
            self.wrong(f"{what}, {where}; {advice}")

    def known(self, values: Mapping[str, str]) -> pd.Series:
        """Return the text of each row by its key, empty where there is none."""
        return self.rows.key.map(lambda key: values.get(key, "")).astype(str)

    def tested(self) -> frozenset[str]:
        return frozenset(self.rows.key[(self.rows.split == "test") & (self.rows.true != "")])

    def brought(self, classes: Sequence[str]) -> Brought:
        p = self.p.reindex(columns=classes, fill_value=0.0).add_prefix("p_")
        head = self.rows[["name", "split", "true"]].set_axis(["id", "split", "label"], axis=1)
        name = f"{self.step}/{','.join(map('='.join, self.settings.items()))}"
        combination = {key: yaml.safe_load(value) for key, value in self.settings.items()}
        table, notes = predictions_in(head.join(p)), tuple(self.notes)
        return Brought(name, self.row, combination, self.path, table, self.hard, notes)


def _placed(text: str, problems: list[str]) -> _File:
    """Return the file of an argument of the command line, called as it says or by its folder."""
    given, equals, rest = text.partition("=")
    named = bool(equals) and bool(NAME.fullmatch(given)) and not Path(text).exists()
    path = Path(rest).expanduser() if named else Path(text)
    folder, row, step = path.parent.resolve(), "", path.stem
    if path.name == PREDICTIONS:
        of_row = PAIRS.fullmatch(folder.parent.name) or (folder.parent / "done.json").is_file()
        if of_row and not PAIRS.fullmatch(folder.name):
            row, folder = folder.name, folder.parent
        step = folder.parent.name if PAIRS.fullmatch(folder.name) else folder.name
    pairs = folder.name.split(",") if PAIRS.fullmatch(folder.name) else []
    settings = dict(pair.split("=") for pair in pairs)
    return _File(path, problems, given if named else step, "" if named else row, settings)


def _check_names(files: Sequence[_File]) -> None:
    """Number seeds, and check that names can be those of steps and are different."""
    n, names = Counter[str](), dict[str | Path, Path]()
    for file in files:
        setting = f"{file.method} {file.settings}"
        if "seed" not in file.settings:
            file.settings = {"seed": str(n[setting])} | file.settings
            n[setting] += 1
        fits = ".." not in file.method and all(map(NAME.fullmatch, [file.step, file.row or "x"]))
        if file.step in OCCUPIED or not fits:
            why = "it is reserved" if fits else "names are of letters, digits, '.', '_' and '-'"
            file.wrong(f"cannot be called {file.method!r}: {why}; give NAME=FILE")
        name = ", ".join([file.method, *map("=".join, file.settings.items())])
        if file.path.resolve() in names:
            file.wrong("given twice; leave one out")
        elif name in names:
            file.wrong(f"called {name}, as {names[name]} is; give one another name by NAME=FILE")
        names = {name: file.path, file.path.resolve(): file.path} | names


def _filled(file: _File, *, truth: bool = False) -> bool:
    """Read a file of predictions, or of labels (`truth`), and note its mistakes; False where it is
    unknown which galaxies it has."""
    try:
        cells = _cells(file.path)
        used, p = _columns(list(map(str, cells.columns)), truth=truth)
    except (ValueError, OSError) as error:
        file.wrong(getattr(error, "strerror", None) or str(error))
        return False
    rows = {what: cells[used[what]] if what in used else "" for what in FIELDS}
    rows = pd.DataFrame(rows, cells.index, dtype=str)
    rows = rows.mask(rows.apply(lambda column: column.str.lower().isin(EMPTY)), "")
    file.rows, file.hard = rows.assign(split=rows.split.str.lower()), not p
    file.p = _probabilities(file, cells.loc[:, p]) if p else pd.get_dummies(rows.taken, dtype=float)
    rest = [name or "(unnamed)" for name in cells if name not in (*used.values(), *p)]
    file.notes = [HARD] * file.hard + [f"columns ignored: {listing(rest)}"] * bool(rest)
    lacking, twice = rows.id == "", (rows.id != "") & rows.id.duplicated(keep=False)
    odd = ~file.rows.split.isin(SPLITS) & ("split" in used)
    file.wrong_in(odd, "split", cells=rows.split.map(repr))
    file.wrong_in(lacking, "no id")
    file.wrong_in(twice, "twice")
    return not (lacking | twice).any()


def _columns(columns: Sequence[str], *, truth: bool) -> tuple[dict[str, str], list[str]]:
    """Return the column of each of `FIELDS`, where it is there, and the columns p_<class>. Raises
    `ValueError` for a missing one, and for vote fractions."""
    p = [] if truth else [name for name in columns if name.startswith("p_")]
    wanted = FIELDS | ({"label": ("label", "class")} if truth else {})
    wanted |= {"taken": ()} if truth or p else {}
    spelled = {name.lower(): name for name in reversed(columns)}
    used = {what: spelled[n] for what, each in wanted.items() for n in each[::-1] if n in spelled}
    missing = [f"id (or {', '.join(IDS[1:])})"] * ("id" not in used)
    missing += ["label (or class)"] * (truth and "label" not in used)
    missing += ["p_<class> (one for each class)"] * (not truth and not p and "taken" not in used)
    if set(galaxy_zoo_tree.COLUMNS) & {name.removeprefix("p_") for name in columns}:
        raise ValueError("vote fractions instead of classes; give p_<class> for each class")
    if missing:
        raise ValueError(f"no column {', nor '.join(missing)}; it has {listing(columns, 12)}")
    if len(p) == 1:
        raise ValueError(f"{p[0]} is the only column p_<class>; give one for each class")
    return used, p


def _cells(path: Path) -> pd.DataFrame:
    """Return the cells of a CSV file, all text; the index is the line on which a row begins. Blank
    lines do not count. Raises `ValueError` that names the lines, or an `OSError`."""
    found, line = {}, 1
    try:
        text = io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")
        reader = csv.reader(text, strict=True, skipinitialspace=True)
        for row in reader:
            if any(cells := [cell.strip() for cell in row]):
                found[line] = cells
            line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise ValueError(f"not valid UTF-8 (byte {error.start + 1}); save it in UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"line {line} is not a row of a CSV file: {error}") from None
    if len(found) < 2:
        raise ValueError("no rows; expected a header, and below it a row for each galaxy")
    columns = found.pop(next(iter(found)))
    if len(columns) == 1:
        raise ValueError(f"one column, {columns[0]!r}; expected several, separated by commas")
    duplicates = listing(name for name, n in Counter(columns).items() if n > 1)
    if duplicates:
        raise ValueError(f"duplicate columns {duplicates}; keep one of each")
    odd = [f"line {k} has {len(row)}" for k, row in found.items() if len(row) != len(columns)]
    if odd:
        raise ValueError(f"the header has {len(columns)} cells, but {listing(odd, MOST)}")
    return pd.DataFrame(list(found.values()), index=list(found), columns=columns, dtype=str)


def _probabilities(file: _File, cells: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers in the columns p_<class>, from 0 to 1; NaN where there is none."""
    values = cells.apply(pd.to_numeric, errors="coerce").to_numpy(float)
    for (name, text), odd in zip(cells.items(), ~np.isfinite(values.T), strict=True):
        file.wrong_in(odd, "number", name, cells=text.map(repr))
    if np.isfinite(values).all():
        total, outside = values.sum(1), ((values < -ROUNDING) | (values > 1 + ROUNDING)).any(1)
        percentages = (values >= 0).all() and (abs(total / 100 - 1) <= TOLERANCE).all()
        mistake = "percentages" if percentages else "logits" if outside.any() else "sum"
        texts = [f"[{', '.join(f'{value:.4g}' for value in row)}]" for row in values]
        file.wrong_in(outside | (abs(total - 1) > TOLERANCE), mistake, cells=texts)
    names = pd.Index([str(name).removeprefix("p_") for name in cells.columns])
    return pd.DataFrame(values.clip(0, 1), cells.index, names)


# ---- all files together


def _checked_together(files: Sequence[_File], truth: _File | None, *, complete: bool) -> list[str]:
    """Check files against each other, and return their classes. Only where all could be read
    (`complete`) are missing labels a mistake."""
    every = [truth, *files] if truth else list(files)
    _match(every)
    for file in files:
        _split(file, truth)
    known = _known(every, truth)
    if complete and not known and not truth:
        predicted = listing((file.path for file in files if (file.rows.label != "").any()), MOST)
        why = f"in {predicted} {NOT_TRUE}" if predicted else "no file has a column label"
        advice = "gives the true classes (that file again, if these are the true ones)"
        files[0].problems.append(f"no labels: {why}; --labels FILE {advice}")
    for file in every:
        file.rows["true"] = file.known(known)
        bare = (file.rows.true == "") & (file.rows.split != "unlabelled") & (file is not truth)
        bare &= complete and bool(known or truth)
        file.wrong_in(bare, "no label", truth.path if truth else "any file")
    given = [list(file.p.columns) for file in files if not file.hard]
    classes = given[0] if given else sorted(set(known.values()))
    predicted = {key for file in files for key in file.rows.key}
    for file in every if classes else ():  # else no label is known
        own = classes if file.hard else list(file.p.columns)
        if set(own) != set(classes):
            others = f"its classes are {', '.join(own)}, those of the others {', '.join(classes)}"
            file.wrong(f"{others}; all files need the same columns p_<class>, in any order")
        label, taken = file.rows.label, file.rows.taken
        odd = ~label.isin([*own, ""]) & file.rows.key.isin(predicted)
        file.wrong_in(odd, "class", "label", ", ".join(own), cells=label.map(repr))
        odd = ~taken.isin(own) & (file.hard and file is not truth)
        file.wrong_in(odd, "class", "prediction", ", ".join(own), cells=taken.map(repr))
    for seed in dict.fromkeys(file.settings["seed"] for file in files):
        _check_test_galaxies([file for file in files if file.settings["seed"] == seed], truth)
    return classes


def _match(files: Sequence[_File]) -> None:
    """Give all rows a key, the same for the same galaxy, and its id as the first file spells it."""
    plain = not any(file.rows.id.map(plain_id).duplicated().any() for file in files)
    spelling = dict[str, str]()
    for file in files:
        rows = file.rows
        rows["key"] = rows.id.map(plain_id) if plain else rows.id
        spelling = dict(zip(rows.key, rows.id, strict=True)) | spelling
        rows["name"] = file.known(spelling)
        other = rows.loc[rows.id != rows.name]
        if len(other):
            example = f"{other.id.iloc[0]} is {other.name.iloc[0]}"
            file.notes.append(f"{len(other):,} ids are spelled in another way: {example}")


def _split(file: _File, truth: _File | None) -> None:
    """Fill in the splits of a file without any: those of the file of labels, or else test."""
    known = dict(zip(truth.rows.key, truth.rows.split, strict=True)) if truth else {}
    own, theirs = file.rows.split, file.known(known)
    other = (own != "") & (theirs != "") & (own != theirs)
    file.wrong_in(other, "other split", truth and truth.path, cells=own + ", there " + theirs)
    file.rows["split"] = own.where(own != "", theirs.where(theirs != "", "test"))
    if "test" not in set(file.rows.split):
        file.wrong("no galaxy of the split test, and these are what is compared")


def _known(files: Sequence[_File], truth: _File | None) -> dict[str, str]:
    """Return the true class by key, where it is known; labels must not contradict each other."""
    known, source = dict[str, str](), dict[str, Path]()
    # the truth first, last those that others have to confirm
    for file in sorted(files, key=lambda file: file is not truth and _is_prediction(file)):
        label, theirs = file.rows.label, file.known(known)
        both = (label != "") & (theirs != "")
        other = both & (theirs != label)
        if file is not truth and _is_prediction(file) and (other.any() or not both.any()):
            file.notes.append(NOT_TRUE)
            continue
        whose = listing(dict.fromkeys(source[key] for key in file.rows.key[other]))
        file.wrong_in(other, "other label", whose, cells=label + ", there " + theirs)
        if truth is None or file is truth:
            own = file.rows.loc[label != ""]
            known = dict(zip(own.key, own.label, strict=True)) | known
            source = dict.fromkeys(own.key, file.path) | source
    return known


def _is_prediction(file: _File) -> bool:
    """Whether every label is the most probable class, or one of several equally probable ones."""
    rows = file.rows.loc[file.rows.label != ""]
    column, p = file.p.columns.get_indexer(pd.Index(rows.label)), file.p.loc[rows.index].to_numpy()
    most = (column >= 0) & (p[np.arange(len(p)), column] >= p.max(1))
    return len(rows) > 0 and bool(most.all())


def _check_test_galaxies(files: Sequence[_File], truth: _File | None) -> None:
    """Check that methods with one seed are tested on the same galaxies: on those of the file of
    labels if that has splits, else on those of most methods."""
    tested = [file.tested() for file in files]
    most = files[int(np.argmax([tested.count(each) for each in tested]))]
    whose = truth if truth and truth.tested() else most
    wanted = whose.tested()
    for file, own in zip(files, tested, strict=True):
        seed, lacking = file.settings["seed"], list(wanted - own)
        if lacking:
            other = Counter(file.rows.split[file.rows.key.isin(lacking)])
            but = "".join(f" ({n:,} of them it has in {split})" for split, n in other.items())
            ids = listing(whose.rows.name[whose.rows.key.isin(lacking)], MOST)
            of = f"{len(lacking):,} of {len(wanted):,} test galaxies that {whose.path} has{but}"
            advice = "predict these, too, or leave them out of the other files"
            file.wrong(f"seed {seed} lacks {of}: {ids}; {advice}")
        file.wrong_in(file.rows.key.isin(list(own - wanted)), "more", seed, whose.path)
