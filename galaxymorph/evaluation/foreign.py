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
from collections.abc import Sequence
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
    in_rows,
    predictions_in,
)
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
MOST = 5  # rows, or galaxies, that a message names
HARD = "classes without probabilities: AUC, log loss, Brier score and calibration mean nothing"
NOT_TRUE = "label is the most probable class in every row: the prediction, not the truth"


@dataclass(eq=False)
class Brought:
    """One file: the predictions of a method with one seed.

    `rows`, by line, as text: id, split, label, taken, empty where the file does not say. What all
    files together say is filled in later: key, by which ids match; what is known of the
    galaxy (`_known`); and whether it is tested."""

    path: Path
    step: str = ""
    row: str = ""  # of a job with several rows: dnn; else empty
    pairs: tuple[str, ...] = ()  # settings of the job: seed=0, ...
    rows: pd.DataFrame = field(init=False)
    p: pd.DataFrame = field(init=False)  # by line, a column for each class
    hard: bool = False  # classes without probabilities: p is 1 for the class `taken`
    notes: tuple[str, ...] = ()  # on how it was read
    problems: list[str] = field(default_factory=list)
    predictions: Predictions = field(init=False)

    @property
    def method(self) -> str:
        return f"{self.step} {self.row}".strip()

    @property
    def name(self) -> str:
        """The name of its job: cnn/seed=0."""
        return f"{self.step}/{','.join(self.pairs)}"

    @property
    def combination(self) -> dict[str, Any]:
        pairs = (pair.split("=") for pair in self.pairs)
        return {key: yaml.safe_load(value) for key, value in pairs}

    def __str__(self) -> str:
        n, seed = (self.predictions.split == "test").sum(), self.combination["seed"]
        head = f"{self.method}, seed {seed}: {n:,} test galaxies, {self.path}"
        return "\n  ".join([head, *self.notes])

    def wrong_in(self, which: Any, mistake: str, cells: Any = None) -> None:
        """Note a mistake, `what is wrong; what to do`, in some rows, where there are any, with what
        stands there."""
        if np.any(which):
            what, _, advice = mistake.partition("; ")
            where = in_rows(which, self.rows["id"], cells, lines=self.rows.index)
            self.problems.append(f"{what}, {where}; {advice}")


def read(files: Sequence[str], *, labels: Path | None = None) -> list[Brought]:
    """Read and check files, each `FILE` or `NAME=FILE`, and the file of `labels`.

    With `labels`, these alone are the truth; a column `label` elsewhere has to agree with them,
    unless it is the prediction. Ids that differ in folder, ending and leading zeros only are the
    same, unless two of one file would be. With one seed, all methods have to have the same test
    galaxies: those of `labels` where that has splits.

    Raises `ValueError` with the mistakes of all files, a line for each: the file, its rows (by
    line, of which the header is the first) and galaxies, what was expected, what to do."""
    brought = [_placed(text) for text in files]
    _check_names(brought)
    truth = Brought(labels) if labels is not None else None
    every = [truth, *brought] if truth else brought
    found = [file for file in every if _filled(file, truth=file is truth)]
    classes, problems = [], []
    if truth in (None, *found) and any(file in found for file in brought):
        classes = _checked_together(found, truth, problems, complete=len(found) == len(every))
    problems += [f"{file.path}: {problem}" for file in every for problem in file.problems]
    if problems:
        raise ValueError("\n".join(dict.fromkeys(problems)))
    for file in brought:
        p = file.p.reindex(columns=classes, fill_value=0.0).add_prefix("p_")
        head = file.rows[["name", "split", "true"]].set_axis(["id", "split", "label"], axis=1)
        file.predictions = predictions_in(head.join(p))
    return brought


def _placed(text: str) -> Brought:
    """Return the file of an argument of the command line, called as it says or by its folder."""
    given, _, rest = text.partition("=")
    named = bool(rest and NAME.fullmatch(given)) and not Path(text).exists()
    path = Path(rest).expanduser() if named else Path(text)
    folder, row, step = path.parent.resolve(), "", path.stem
    if path.name == PREDICTIONS:
        above = folder.parent
        if not _pairs(folder) and (_pairs(above) or (above / "done.json").is_file()):
            row, folder = folder.name, above
        step = folder.parent.name if _pairs(folder) else folder.name
    return Brought(path, given if named else step, "" if named else row, _pairs(folder))


def _pairs(folder: Path) -> tuple[str, ...]:
    return tuple(folder.name.split(",")) if PAIRS.fullmatch(folder.name) else ()


def _check_names(files: Sequence[Brought]) -> None:
    """Number seeds, and check that names can be those of steps and are different."""
    n, names = Counter[str](), dict[str | Path, Path]()
    for file in files:
        if "seed" not in file.combination:
            alike = f"{file.method} {file.pairs}"
            file.pairs = (f"seed={n[alike]}", *file.pairs)
            n[alike] += 1
        fits = all(map(NAME.fullmatch, [file.step, file.row or "x"]))
        if file.step in OCCUPIED or not fits:
            why = "it is reserved" if fits else "names are of letters, digits, '.', '_' and '-'"
            file.problems.append(f"cannot be called {file.method!r}: {why}; give NAME=FILE")
        name, place = ", ".join([file.method, *file.pairs]), file.path.resolve()
        if place in names:
            file.problems.append("given twice; leave one out")
        elif name in names:
            what = f"called {name}, as {names[name]} is"
            file.problems.append(f"{what}; give one another name by NAME=FILE")
        names = {name: file.path, place: file.path} | names


def _filled(file: Brought, *, truth: bool) -> bool:
    """Read a file of predictions, or of labels (`truth`), and note its mistakes; False where it is
    unknown which galaxies it has."""
    try:
        cells = _cells(file.path)
        used, p = _columns(list(map(str, cells.columns)), truth=truth)
    except (ValueError, OSError) as error:
        file.problems.append(getattr(error, "strerror", None) or str(error))
        return False
    rows = {what: cells[used[what]] if what in used else "" for what in FIELDS}
    rows = pd.DataFrame(rows, cells.index, dtype=str)
    rows = rows.mask(rows.apply(lambda column: column.str.lower().isin(EMPTY)), "")
    file.rows, file.hard = rows.assign(split=rows.split.str.lower()), "taken" in used
    file.p = _probabilities(file, cells.loc[:, p]) if p else pd.get_dummies(rows.taken, dtype=float)
    rest = [name or "(unnamed)" for name in cells if name not in (*used.values(), *p)]
    file.notes = (HARD,) * file.hard + (f"columns ignored: {listing(rest)}",) * bool(rest)
    lacking, twice = rows.id == "", (rows.id != "") & rows.id.duplicated(keep=False)
    odd = ~file.rows.split.isin(SPLITS) & ("split" in used)
    file.wrong_in(odd, f"unknown split; known: {', '.join(SPLITS)}", rows.split.map(repr))
    file.wrong_in(lacking, "no id; give each galaxy its id")
    file.wrong_in(twice, "duplicate id; keep one row per galaxy")
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


def _probabilities(file: Brought, cells: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers in the columns p_<class>, from 0 to 1; NaN where there is none."""
    values = cells.apply(pd.to_numeric, errors="coerce").to_numpy(float)
    for (name, text), odd in zip(cells.items(), ~np.isfinite(values.T), strict=True):
        mistake = f"{name} is not a number; fill it, or leave these galaxies out"
        file.wrong_in(odd, mistake, text.map(repr))
    if np.isfinite(values).all():
        total, outside = values.sum(1), ((values < -ROUNDING) | (values > 1 + ROUNDING)).any(1)
        advice = "give the probabilities of all classes, of which each galaxy has one"
        if outside.any():
            advice = "these look like logits: apply a softmax"
        if (values >= 0).all() and (abs(total / 100 - 1) <= TOLERANCE).all():
            advice = "these look like percentages: divide them by 100"
        mistake = f"p_<class> are not probabilities that sum to 1; {advice}"
        texts = [f"[{', '.join(f'{value:.4g}' for value in row)}]" for row in values]
        file.wrong_in(outside | (abs(total - 1) > TOLERANCE), mistake, texts)
    names = pd.Index([str(name).removeprefix("p_") for name in cells.columns])
    return pd.DataFrame(values.clip(0, 1), cells.index, names)


# ---- all files together


def _checked_together(
    every: Sequence[Brought], truth: Brought | None, problems: list[str], *, complete: bool
) -> list[str]:
    """Check files against each other, and return their classes. Only where all could be read
    (`complete`) are missing labels a mistake, in `problems` if no file has any."""
    known = _known(every, truth)
    files = [file for file in every if file is not truth]
    if complete and not truth and known.true.isna().all():
        predicted = listing((file.path for file in files if NOT_TRUE in file.notes), MOST)
        why = f"in {predicted} {NOT_TRUE}" if predicted else "no file has a column label"
        advice = "gives the true classes (that file again, if these are the true ones)"
        problems.append(f"no labels: {why}; --labels FILE {advice}")
        complete = False
    given = [list(file.p.columns) for file in files if not file.hard]
    classes = given[0] if given else sorted(known.true.dropna().unique())
    predicted = {key for file in files for key in file.rows.key}
    for file in every:
        file.rows = file.rows.join(known, on="key").fillna("")
        if file is not truth:
            _compare(file, truth, complete=complete)
        file.rows["tested"] = (file.rows.split == "test") & (file.rows.true != "")
        own = list(file.p.columns) if file in files and not file.hard else classes
        if set(own) != set(classes):
            others = f"its classes are {', '.join(own)}, those of the others {', '.join(classes)}"
            advice = "all files need the same columns p_<class>, in any order"
            file.problems.append(f"{others}; {advice}")
        label, taken = file.rows.label, file.rows.taken
        mistake = f"is not a class; classes are {', '.join(own)}"
        odd = ~label.isin([*own, ""]) & file.rows.key.isin(predicted)
        file.wrong_in(odd & (len(own) > 0), f"label {mistake}", label.map(repr))
        odd = ~taken.isin(own) & file.hard & (len(own) > 0)
        file.wrong_in(odd, f"prediction {mistake}", taken.map(repr))
    for seed in dict.fromkeys(file.combination["seed"] for file in files):
        _check_test_galaxies([f for f in files if f.combination["seed"] == seed], truth)
    return classes


def _known(files: Sequence[Brought], truth: Brought | None) -> pd.DataFrame:
    """Give all rows a key, the same for the same galaxy. Return what is known of each (index: key):
    name, the id as the first file spells it; true, its class; source, the file that says so; there,
    its split in the file of labels. Forget labels that are the prediction."""
    plain = not any(file.rows.id.map(plain_id).duplicated().any() for file in files)
    for file in files:
        file.rows["key"] = file.rows.id.map(plain_id) if plain else file.rows.id
    predicted = [file for file in files if file is not truth and _is_prediction(file)]
    known = pd.DataFrame(columns=["true", "source"])
    # the truth first, last those that others have to confirm
    for file in [*(file for file in files if file not in predicted), *predicted]:
        own = file.rows.loc[file.rows.label != ""].set_index("key").label
        both = own.index.intersection(known.index)
        if file in predicted and not (len(both) and (own[both] == known.true[both]).all()):
            file.notes += (NOT_TRUE,)
            file.rows["label"] = ""
        elif truth in (None, file):
            known = known.combine_first(own.to_frame("true").assign(source=str(file.path)))
    names = pd.concat([file.rows for file in files]).groupby("key").id.first()
    there = truth.rows.set_index("key").split if truth else pd.Series(dtype=str)
    return known.join([names.rename("name"), there.rename("there")], how="outer")


def _is_prediction(file: Brought) -> bool:
    """Whether every label is the most probable class, or one of several equally probable ones."""
    rows = file.rows.loc[file.rows.label != ""]
    column, p = file.p.columns.get_indexer(pd.Index(rows.label)), file.p.loc[rows.index].to_numpy()
    most = (column >= 0) & (p[np.arange(len(p)), column] >= p.max(1))
    return len(rows) > 0 and bool(most.all())


def _compare(file: Brought, truth: Brought | None, *, complete: bool) -> None:
    """Compare a file with what is known of its galaxies, and fill in the splits of one without any:
    those of the file of labels, or else test."""
    rows, whose = file.rows, truth.path if truth else "any file"
    other = rows.loc[rows.id != rows.name]
    if len(other):
        example = f"{other.id.iloc[0]} is {other.name.iloc[0]}"
        file.notes += (f"{len(other):,} ids are spelled in another way: {example}",)
    other = (rows.split != "") & (rows.there != "") & (rows.split != rows.there)
    mistake = f"split differs from {whose}; mend one, or remove the column from one"
    file.wrong_in(other, mistake, rows.split + ", there " + rows.there)
    rows["split"] = rows.split.where(rows.split != "", rows.there.where(rows.there != "", "test"))
    if "test" not in set(rows.split):
        file.problems.append("no galaxy of the split test, and these are what is compared")
    other = (rows.label != "") & (rows.true != "") & (rows.label != rows.true)
    mistake = f"label differs from {listing(rows.source[other].unique())}; mend one, or remove "
    mistake += "the column if it is a prediction"
    file.wrong_in(other, mistake, rows.label + ", there " + rows.true)
    bare = (rows.true == "") & (rows.split != "unlabelled") & complete
    mistake = f"no label in {whose}; add their labels, or leave them out of all files"
    file.wrong_in(bare, mistake)


def _check_test_galaxies(files: Sequence[Brought], truth: Brought | None) -> None:
    """Check that methods with one seed are tested on the same galaxies: on those of the file of
    labels if that has splits, else on those of most methods."""
    tested = [frozenset(file.rows.key[file.rows.tested]) for file in files]
    whose = files[int(np.argmax([tested.count(each) for each in tested]))]
    if truth and truth.rows.tested.any():
        whose = truth
    wanted = frozenset(whose.rows.key[whose.rows.tested])
    for file, own in zip(files, tested, strict=True):
        seed, lacking = file.combination["seed"], list(wanted - own)
        if lacking:
            other = Counter(file.rows.split[file.rows.key.isin(lacking)])
            but = "".join(f" ({n:,} of them it has in {split})" for split, n in other.items())
            ids = listing(whose.rows.name[whose.rows.key.isin(lacking)], MOST)
            of = f"{len(lacking):,} of {len(wanted):,} test galaxies that {whose.path} has{but}"
            advice = "predict these, too, or leave them out of the other files"
            file.problems.append(f"seed {seed} lacks {of}: {ids}; {advice}")
        mistake = f"seed {seed} has test galaxies that {whose.path} lacks; leave them out, or "
        mistake += "predict them everywhere"
        file.wrong_in(file.rows.key.isin(list(own - wanted)), mistake)
