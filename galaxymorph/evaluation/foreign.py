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

from galaxymorph import galaxy_zoo_tree
from galaxymorph.evaluation.predictions import (
    PREDICTIONS,
    ROUNDING,
    TOLERANCE,
    Predictions,
    predictions_in,
)
from galaxymorph.project import NAME
from galaxymorph.text import listing, plain_id

IDS = ("id", "galaxyid", "galaxy_id", "asset_id", "objid", "object_id", "dr7objid", "dr8objid")
TAKEN = ("prediction", "predicted", "class")  # of a method without probabilities
LABELS = ("label", "class")  # of a file of labels
SPLITS = ("train", "val", "test", "unlabelled")
COMPARE = "compare"  # the step that compares
OCCUPIED = (COMPARE, "majority", "tune")  # names of steps and rows that a comparison has itself
PAIRS = re.compile(r"[\w.]+=[\w.+-]+(,[\w.]+=[\w.+-]+)*")  # the folder of a repeated step
EMPTY = ("", "nan", "na", "null", "none")
MOST = 5  # rows, or galaxies, that a message names
HARD = "classes without probabilities: AUC, log loss, Brier score and calibration mean nothing"
NOT_TRUE = "its label is its own most probable class in every row: the prediction, not the truth"


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
        brought = _together(found, truth, complete=len(found) == len(named))
        if not problems:
            return brought
    raise ValueError("\n".join(dict.fromkeys(problems)))


# ---- one file


@dataclass
class _File:
    """A file, and its cells."""

    path: Path
    problems: list[str]  # of all files
    step: str = ""
    row: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    # by line, as text: id, split, label, taken, empty where the file does not say; key, by which
    # ids match
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    p: pd.DataFrame | None = None  # by line, a column for each class; None: taken instead
    notes: list[str] = field(default_factory=list)

    @property
    def combination(self) -> dict[str, Any]:
        return {key: yaml.safe_load(value) for key, value in self.settings.items()}

    @property
    def method(self) -> str:
        return f"{self.step} {self.row}".strip()

    def wrong(self, what: str) -> None:
        self.problems.append(f"{self.path}: {what}")

    def wrong_in(self, which: pd.Series, what: str, advice: str, cells: Iterable[str] = ()) -> bool:
        """Note a mistake in some rows, where there are any, with what stands there."""
        rows = self.rows.loc[which]
        texts = pd.Series(list(cells) or "", self.rows.index, dtype=str)[which]
        places = [
            f"line {line}{f' (id {name})' * bool(name)}{f' {text}' * bool(text)}"
            for (line, name), text in zip(rows.id.items(), texts, strict=True)
        ]
        if places:
            of = f"{len(rows):,} of {len(self.rows):,} rows"
            self.wrong(f"{what}, {of}: {listing(places, MOST)}; {advice}")
        return bool(places)


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
    n, paths, names = Counter[str](), dict[Path, Path](), dict[str, Path]()
    for file in files:
        setting = f"{file.method} {file.settings}"
        if "seed" not in file.settings:
            file.settings = {"seed": str(n[setting])} | file.settings
            n[setting] += 1
        words = [file.step, file.row or file.step]
        fits = all(NAME.fullmatch(word) and ".." not in word for word in words)
        if file.step in OCCUPIED or not fits:
            why = "names are of letters, digits, '.', '_' and '-'" if not fits else "it is reserved"
            file.wrong(f"cannot be called {file.method!r}: {why}; give NAME=FILE")
    for file in files:
        if paths.setdefault(file.path.resolve(), file.path) is not file.path:
            file.wrong("given twice; leave one out")
            continue
        name = f"{file.method} {sorted(file.combination.items())}"
        other = names.setdefault(name, file.path)
        if other is not file.path:
            pairs = ", ".join(f"{key}={value}" for key, value in file.settings.items())
            advice = "give one another name by NAME=FILE"
            file.wrong(f"called {file.method}, {pairs}, as {other} is; {advice}")


def _filled(file: _File, *, truth: bool = False) -> bool:
    """Read a file of predictions, or of labels (`truth`), and note its mistakes; False where it is
    unknown which galaxies it has."""
    try:
        cells = _cells(file.path)
    except (ValueError, OSError) as error:
        file.wrong(getattr(error, "strerror", None) or str(error))
        return False
    columns = list(cells.columns)
    names = {name.lower(): name for name in reversed(columns)}
    p = [] if truth else [name for name in columns if name.startswith("p_")]
    wanted = {"id": IDS, "split": ("split",), "label": LABELS if truth else LABELS[:1]}
    wanted["taken"] = () if truth or p else TAKEN
    used = {
        what: names[name] for what, each in wanted.items() for name in each[::-1] if name in names
    }
    missing = [f"id (or {', '.join(IDS[1:])})"] * ("id" not in used)
    missing += ["label (or class)"] * (truth and "label" not in used)
    missing += ["p_<class> (one for each class)"] * (not truth and not p and "taken" not in used)
    if set(galaxy_zoo_tree.COLUMNS) & {name.removeprefix("p_") for name in columns}:
        file.wrong("vote fractions instead of classes; give a column p_<class> for each class")
    elif missing:
        file.wrong(f"no column {', nor '.join(missing)}; it has {listing(columns, 12)}")
    elif len(p) == 1:
        file.wrong(f"{p[0]} is the only column p_<class>; give one for each class, also of two")
    else:
        rows = {what: cells[used[what]] if what in used else "" for what in wanted}
        file.rows = rows = pd.DataFrame(rows, cells.index, dtype=str)
        rows["split"] = rows.split.str.lower()
        for name in ("id", "label", "taken"):
            rows[name] = rows[name].where(~rows[name].str.lower().isin(EMPTY), "")
        if file.wrong_in(rows.id == "", "no id", "give each galaxy its id") or file.wrong_in(
            rows.id.duplicated(keep=False), "duplicate id", "keep one row per galaxy"
        ):
            return False
        if "split" in used:
            known, texts = f"known: {', '.join(SPLITS)}", rows.split.map(repr)
            file.wrong_in(~rows.split.isin(SPLITS), "unknown split", known, texts)
        if p:
            file.p = _probabilities(file, cells[p])
        if not truth:
            others = [name or "(unnamed)" for name in columns if name not in (*used.values(), *p)]
            ignored = [f"columns ignored: {listing(others)}"] * bool(others)
            file.notes = [HARD] * (file.p is None) + ignored
        return True
    return False


def _cells(path: Path) -> pd.DataFrame:
    """Return the cells of a CSV file, all text; the index is the line on which a row begins. Blank
    lines do not count. Raises `ValueError` that names the lines, or an `OSError`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        byte = error.start + 1
        raise ValueError(f"not valid UTF-8 (byte {byte}); save it as CSV in UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    found, line = {}, 1
    try:
        for row in reader:
            if any(cells := [cell.strip() for cell in row]):
                found[line] = cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"line {line} is not a row of a CSV file: {error}") from None
    if len(found) < 2:
        raise ValueError("no rows; expected a header, and below it a row for each galaxy")
    columns = found.pop(next(iter(found)))
    if len(columns) == 1:
        raise ValueError(f"one column, {columns[0]!r}; expected several, separated by commas")
    duplicates = [name for name, n in Counter(columns).items() if n > 1]
    if duplicates:
        raise ValueError(f"duplicate columns {listing(duplicates)}; keep one of each")
    odd = [f"line {k} has {len(row)}" for k, row in found.items() if len(row) != len(columns)]
    if odd:
        raise ValueError(f"the header has {len(columns)} cells, but {listing(odd, MOST)}")
    return pd.DataFrame(list(found.values()), index=list(found), columns=columns, dtype=str)


def _probabilities(file: _File, cells: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers in the columns p_<class>, from 0 to 1; NaN where there is none."""
    p = cells.map(_number)
    advice = "fill it, or leave these galaxies out"
    bad = [
        file.wrong_in(~np.isfinite(p[name]), f"{name} is not a number", advice, text.map(repr))
        for name, text in cells.items()
    ]
    total, outside = p.sum(axis=1), ((p < -ROUNDING) | (p > 1 + ROUNDING)).any(axis=1)
    if any(bad):
        pass
    elif (p >= 0).all(axis=None) and ((total / 100 - 1).abs() <= TOLERANCE).all():
        file.wrong("p_<class> sum to 100; these look like percentages: divide them by 100")
    elif outside.any():
        texts = [f"[{', '.join(f'{value:.4g}' for value in row)}]" for row in p.to_numpy()]
        advice = "these look like logits: apply a softmax"
        file.wrong_in(outside, "p_<class> below 0 or above 1", advice, texts)
    else:
        advice = "give the probabilities of all classes, of which each galaxy has one"
        texts = total.map("{:.4g}".format)
        file.wrong_in((total - 1).abs() > TOLERANCE, "p_<class> do not sum to 1", advice, texts)
    return p.rename(columns=lambda name: name.removeprefix("p_")).clip(0, 1)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


# ---- all files together


def _together(files: Sequence[_File], truth: _File | None, *, complete: bool) -> list[Brought]:
    """Return what is in the files, once they are checked against each other. Only where all could
    be read (`complete`) are missing labels a mistake."""
    spelling = _match([*([truth] if truth else []), *files])
    known = _known(files, truth)
    for file in files:
        _split(file, truth)
    if complete:
        _check_labelled(files, truth, known)
    given = [list(file.p.columns) for file in files if file.p is not None]
    classes = given[0] if given else sorted(set(known.values()))
    for file in files:
        own = classes if file.p is None else list(file.p.columns)
        if set(own) != set(classes):
            others = f"its classes are {', '.join(own)}, those of the others {', '.join(classes)}"
            file.wrong(f"{others}; all files need the same columns p_<class>, in any order")
        _check_classes(file, "label", own)
        if file.p is None:
            _check_classes(file, "taken", own)
    if truth:  # may have more galaxies, and those may have other classes
        predicted = pd.concat([file.rows.key for file in files])
        _check_classes(truth, "label", classes, truth.rows.key.isin(predicted))
    _check_test_galaxies(files, truth, known, spelling)
    return [] if files[0].problems else [_brought(each, classes, spelling, known) for each in files]


def _brought(
    file: _File, classes: list[str], spelling: Mapping[str, str], known: Mapping[str, str]
) -> Brought:
    p, keys = file.p, file.rows.key
    if p is None:
        p = pd.DataFrame({name: file.rows.taken == name for name in classes})
    head = {"id": _of(keys, spelling), "split": file.rows.split, "label": _of(keys, known)}
    table = pd.DataFrame(head).join(p[classes].astype(float).add_prefix("p_"))
    name = f"{file.step}/{','.join(f'{key}={value}' for key, value in file.settings.items())}"
    found = predictions_in(table)
    hard, notes = file.p is None, tuple(file.notes)
    return Brought(name, file.row, file.combination, file.path, found, hard, notes)


def _of(keys: pd.Series, values: Mapping[str, str]) -> pd.Series:
    """Return the text of each key, empty where there is none."""
    return pd.Series([values.get(key, "") for key in keys], index=keys.index, dtype=str)


def _match(files: Sequence[_File]) -> dict[str, str]:
    """Give all rows a key, the same for the same galaxy; return the id of each key as the first
    file spells it."""
    plain = [file.rows.id.map(plain_id) for file in files]
    same = any(keys.duplicated().any() for keys in plain)
    spelling = dict[str, str]()
    for file, keys in zip(files, plain, strict=True):
        ids = file.rows.id
        file.rows["key"] = ids if same else keys
        spelling = dict(zip(file.rows.key, ids, strict=True)) | spelling
        other = file.rows.loc[ids != _of(file.rows.key, spelling)]
        for name, key in zip(other.id[:1], other.key[:1], strict=True):
            example = f"{name} is {spelling[key]}"
            file.notes.append(f"{len(other):,} ids are spelled in another way: {example}")
    return spelling


def _known(files: Sequence[_File], truth: _File | None) -> dict[str, str]:
    """Return the true class by key, for galaxies whose class is known. Labels that contradict each
    other are mistakes."""
    known, source = dict[str, str](), dict[str, Path]()
    # last those that others have to confirm
    for file in [*([truth] if truth else []), *sorted(files, key=_is_prediction)]:
        label, theirs = file.rows.label, _of(file.rows.key, known)
        both = (label != "") & (theirs != "")
        other = both & (theirs != label)
        if file is not truth and _is_prediction(file) and (other.any() or not both.any()):
            file.notes.append(NOT_TRUE)
            continue
        whose = listing(dict.fromkeys(source[key] for key in file.rows.key[other]))
        advice = "mend one of them, or remove the column if it is not the true class"
        file.wrong_in(other, f"label differs from {whose}", advice, label + ", there " + theirs)
        if truth is None or file is truth:
            own = file.rows.loc[label != ""]
            known = dict(zip(own.key, own.label, strict=True)) | known
            source = dict.fromkeys(own.key, file.path) | source
    return known


def _is_prediction(file: _File) -> bool:
    """Whether the label of every row is the most probable class, or one of several that are equally
    probable."""
    rows = file.rows.loc[file.rows.label != ""]
    if file.p is None or rows.empty:
        return len(rows) > 0 and bool((rows.label == rows.taken).all())
    column, p = file.p.columns.get_indexer(pd.Index(rows.label)), file.p.loc[rows.index].to_numpy()
    return bool((column >= 0).all() and (p[np.arange(len(p)), column] >= p.max(1)).all())


def _split(file: _File, truth: _File | None) -> None:
    """Fill in the splits of a file without any: those of the file of labels, or else test."""
    own, theirs = file.rows.split, _of(file.rows.key, {})
    if truth:
        theirs = _of(file.rows.key, dict(zip(truth.rows.key, truth.rows.split, strict=True)))
        other = (own != "") & (theirs != "") & (own != theirs)
        advice, texts = "mend one, or remove the column from one", own + ", there " + theirs
        file.wrong_in(other, f"split differs from {truth.path}", advice, texts)
    file.rows["split"] = own.where(own != "", theirs.where(theirs != "", "test"))
    if "test" not in set(file.rows.split):
        file.wrong("no galaxy of the split test, and these are what is compared")


def _check_labelled(files: Sequence[_File], truth: _File | None, known: Mapping[str, str]) -> None:
    if not known and not truth:
        predicted = [file.path for file in files if (file.rows.label != "").any()]
        why = "no file has a column label"
        if predicted:
            why = f"label is the most probable class in every row of {listing(predicted, MOST)}, "
            why += "as `galaxymorph predict` writes it: the prediction, not the truth"
        advice = (
            "--labels FILE gives the true classes (that file again, if these are the true ones)"
        )
        files[0].problems.append(f"no labels: {why}; {advice}")
        return
    what = f"no label in {truth.path if truth else 'any file'}"
    for file in files:
        bare = ~file.rows.key.isin(known) & (file.rows.split != "unlabelled")
        file.wrong_in(bare, what, "add their labels, or leave them out of all files")


def _check_classes(file: _File, column: str, classes: Sequence[str], among: Any = True) -> None:
    what, good = ("prediction", []) if column == "taken" else ("label", [""])
    if len(classes):  # else no label is known
        advice, cells = f"classes are {', '.join(classes)}", file.rows[column]
        odd = ~cells.isin([*classes, *good]) & among
        file.wrong_in(odd, f"{what} is not a class", advice, cells.map(repr))


def _check_test_galaxies(
    files: Sequence[_File],
    truth: _File | None,
    known: Mapping[str, str],
    spelling: Mapping[str, str],
) -> None:
    """Note where methods with one seed are tested on other galaxies than those of the file of
    labels if that has splits, else than those of most methods."""

    def tested(file: _File) -> frozenset[str]:
        rows = file.rows
        return frozenset(rows.key[(rows.split == "test") & rows.key.isin(known)])

    for seed in dict.fromkeys(file.settings["seed"] for file in files):
        own = [file for file in files if file.settings["seed"] == seed]
        wanted = Counter(map(tested, own)).most_common(1)[0][0]
        if truth and tested(truth):
            own, wanted = [truth, *own], tested(truth)
        whose = next(file.path for file in own if tested(file) == wanted)
        for file in own:
            keys, lacking, more = file.rows.key, wanted - tested(file), tested(file) - wanted
            if lacking:
                other = Counter(file.rows.split[keys.isin(list(lacking))])
                but = "".join(f" ({n:,} of them it has in {split})" for split, n in other.items())
                ids = listing([name for key, name in spelling.items() if key in lacking], MOST)
                lack = f"seed {seed} lacks {len(lacking):,} of {len(wanted):,} test galaxies"
                advice = "predict these, too, or leave them out of the other files"
                file.wrong(f"{lack} that {whose} has{but}: {ids}; {advice}")
            what = f"seed {seed} has test galaxies that {whose} lacks"
            advice = "leave them out, or predict them with the other methods, too"
            file.wrong_in(keys.isin(list(more)), what, advice)
