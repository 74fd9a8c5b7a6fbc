"""Read predictions made elsewhere, for `galaxymorph compare a.csv b.csv --labels truth.csv`.

A CSV file has a header and one row per galaxy, in any order:

    id           or another name in `IDS`, upper or lower case
    p_<class>    one column per class with probabilities that sum to 1; or instead
    prediction   or another name in `TAKEN`: the predicted class only, treated as probability 1
                 (AUC, log loss and calibration are then meaningless)
    split        train, val, test or unlabelled; if missing, all are test galaxies
    label        the true class; if missing, taken from the other files or from a file of labels
                 with the columns id, label (or class) and optionally split

If the column `label` equals the most probable class in every row, as in files written by
`galaxymorph predict`, it is regarded as a prediction, and as the truth only if other labels
confirm it. Other columns are ignored, with a note. Labels that are the same number (`1`, `1.0`)
are one class, as in `data.labels`.

The method is named after the file (without extension), or NAME in NAME=FILE. Files of a run keep
their names: `cnn/seed=0/predictions.csv` is `cnn` with seed 0, and
`cae_frozen/seed=0/dnn/predictions.csv` is `cae_frozen dnn`. Several files with the same method are
different seeds, numbered from 0 unless their folder gives the seed.
"""

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
from galaxymorph.escape import text_of_cell
from galaxymorph.evaluation.predictions import (
    PREDICTIONS,
    ROUNDING,
    TOLERANCE,
    Predictions,
    check_classes,
    in_rows,
    predictions_in,
)
from galaxymorph.project import NAME, RESERVED
from galaxymorph.text import EMPTY, IDS, listing, plain_id, read_cells, value_of

TAKEN = ("prediction", "predicted", "class")  # for methods without probabilities
FIELDS = {"id": IDS, "split": ("split",), "label": ("label",), "taken": TAKEN}
SPLITS = ("train", "val", "test", "unlabelled")
COMPARE = "compare"  # name of the step that compares
OCCUPIED = (COMPARE, "majority", *RESERVED)  # reserved names of steps and rows
PAIRS = re.compile(r"[\w.]+=[\w.+-]+(,[\w.]+=[\w.+-]+)*")  # folder of a job, such as seed=0
MOST = 5  # rows or galaxies listed in a message
HARD = "no probabilities: AUC, log loss, Brier score and calibration are meaningless"
NOT_TRUE = "label equals the most probable class in every row: a prediction, not the truth"


@dataclass(eq=False)
class Brought:
    """A file with the predictions of one method for one seed.

    `rows` (index: line) has the text columns id, split, label and taken (predicted class), empty if
    missing. Columns added later combine all files: key (matches ids), those of `_known`, and
    tested."""

    path: Path
    step: str = ""
    row: str = ""  # such as dnn, for a job with several rows
    pairs: tuple[str, ...] = ()  # settings of the job: seed=0, ...
    rows: pd.DataFrame = field(init=False)
    p: pd.DataFrame = field(init=False)  # index: line; one column per class
    hard: bool = False  # no probabilities: p is 1 for the class `taken`
    notes: tuple[str, ...] = ()  # how the file was interpreted
    about: dict[str, Any] = field(default_factory=dict)  # further metrics of the entry
    problems: list[str] = field(default_factory=list)
    predictions: Predictions = field(init=False)

    @property
    def method(self) -> str:
        return f"{self.step} {self.row}".strip()

    @property
    def name(self) -> str:
        """Name of the job, such as cnn/seed=0."""
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
        """Record a mistake, `what is wrong; what to do`, for the rows of `which`, if any."""
        if np.any(which):
            what, _, advice = mistake.partition("; ")
            where = in_rows(which, self.rows["id"], cells, lines=self.rows.index)
            self.problems.append(f"{what}, {where}; {advice}")


def read(files: Sequence[str], *, labels: Path | None = None) -> list[Brought]:
    """Read and check files, each given as `FILE` or `NAME=FILE`, and an optional file of `labels`.

    `labels` are the truth; a column `label` in other files must agree with them, unless it is a
    prediction. Ids that differ only in folder, extension or leading zeros match, unless this is
    ambiguous within a file. All methods with the same seed must have the same test galaxies, those
    of `labels` if it has splits.

    Raises `ValueError` that lists the mistakes in all files, one per line: file, rows (by line
    number; the header is line 1), ids, what was expected, and what to do."""
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
    """Parse a command-line argument; the method is named by NAME=, the folder or the file."""
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
    """Number the seeds, and check that names are valid and unique."""
    n, names = Counter[str](), dict[str | Path, Path]()
    for file in files:
        if "seed" not in file.combination:
            alike = f"{file.method} {file.pairs}"
            file.pairs = (f"seed={n[alike]}", *file.pairs)
            n[alike] += 1
        fits = all(map(NAME.fullmatch, [file.step, file.row or "x"]))
        if file.step in OCCUPIED or not fits:
            why = "reserved" if fits else "expected letters, digits, '.', '_' and '-'"
            file.problems.append(f"not a valid name: {file.method!r} ({why}); use NAME=FILE")
        name, place = ", ".join([file.method, *file.pairs]), file.path.resolve()
        if place in names:
            file.problems.append("given twice; leave one out")
        elif name in names:
            what = f"same name and settings as {names[name]} ({name})"
            file.problems.append(f"{what}; rename one with NAME=FILE")
        names = {name: file.path, place: file.path} | names


def _filled(file: Brought, *, truth: bool) -> bool:
    """Read a file of predictions, or of labels (`truth`), and record its mistakes.

    Returns False if its galaxies cannot be identified."""
    try:
        cells = _cells(file.path)
        used, p = _columns(list(map(str, cells.columns)), truth=truth)
    except (ValueError, OSError) as error:
        file.problems.append(getattr(error, "strerror", None) or str(error))
        return False
    rows = {what: cells[used[what]] if what in used else "" for what in FIELDS}
    rows = pd.DataFrame(rows, cells.index, dtype=str).map(text_of_cell)
    rows = rows.mask(rows.apply(lambda column: column.str.lower().isin(EMPTY)), "")
    names = {what: rows[what].map(value_of) for what in ("label", "taken")}
    file.rows, file.hard = rows.assign(split=rows.split.str.lower(), **names), "taken" in used
    file.p = (
        _probabilities(file, cells.loc[:, p]) if p else pd.get_dummies(file.rows.taken, dtype=float)
    )
    rest = [name or "(unnamed)" for name in cells if name not in (*used.values(), *p)]
    file.notes = (HARD,) * file.hard + (f"columns ignored: {listing(rest)}",) * bool(rest)
    lacking, twice = rows.id == "", (rows.id != "") & rows.id.duplicated(keep=False)
    odd = ~file.rows.split.isin(SPLITS) & ("split" in used)
    file.wrong_in(odd, f"unknown split; known: {', '.join(SPLITS)}", rows.split.map(repr))
    file.wrong_in(lacking, "no id; give every galaxy an id")
    file.wrong_in(twice, "duplicate id; keep one row per galaxy")
    return not (lacking | twice).any()


def _columns(columns: Sequence[str], *, truth: bool) -> tuple[dict[str, str], list[str]]:
    """Find the columns of `FIELDS` and p_<class>. Raises `ValueError` if one is missing."""
    p = [] if truth else [name for name in columns if name.startswith("p_")]
    wanted = FIELDS | ({"label": ("label", "class")} if truth else {})
    wanted |= {"taken": ()} if truth or p else {}
    spelled = {name.lower(): name for name in reversed(columns)}
    used = {what: spelled[n] for what, each in wanted.items() for n in each[::-1] if n in spelled}
    missing = [f"id (or {', '.join(IDS[1:])})"] * ("id" not in used)
    missing += ["label (or class)"] * (truth and "label" not in used)
    missing += ["p_<class> (one for each class)"] * (not truth and not p and "taken" not in used)
    if set(galaxy_zoo_tree.COLUMNS) & {name.removeprefix("p_") for name in columns}:
        raise ValueError("vote fractions instead of classes; expected one p_<class> per class")
    if missing:
        have = listing(columns, 12)
        raise ValueError(f"missing column {' and '.join(missing)}; the file has {have}")
    check_classes([value_of(name.removeprefix("p_")) for name in p])
    if len(p) == 1:
        raise ValueError(f"{p[0]} is the only column p_<class>; expected one per class")
    return used, p


def _cells(path: Path) -> pd.DataFrame:
    """Read a CSV file as text without blank lines; the index is the line where a row begins.

    Raises `ValueError` that names the faulty lines, or `OSError`."""
    try:
        rows = read_cells(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not valid UTF-8 (byte {error.start + 1}); save it in UTF-8") from None
    _, columns = next(rows)
    if len(columns) == 1:
        raise ValueError(f"only one column, {columns[0]!r}; expected commas between columns")
    lines, content = zip(*rows, strict=True)
    return pd.DataFrame(content, index=lines, columns=columns, dtype=str)


def _probabilities(file: Brought, cells: pd.DataFrame) -> pd.DataFrame:
    """Return the probabilities in the columns p_<class>, and record mistakes."""
    values = cells.apply(pd.to_numeric, errors="coerce").to_numpy(float)
    for (name, text), odd in zip(cells.items(), ~np.isfinite(values.T), strict=True):
        mistake = f"column {str(name)!r} is not numeric; fill it in, or remove these galaxies"
        file.wrong_in(odd, mistake, text.map(repr))
    if np.isfinite(values).all():
        total, outside = values.sum(1), ((values < -ROUNDING) | (values > 1 + ROUNDING)).any(1)
        advice = "give the probabilities of all classes, which must be mutually exclusive"
        if outside.any():
            advice = "these look like logits: apply a softmax"
        if (values >= 0).all() and (abs(total / 100 - 1) <= TOLERANCE).all():
            advice = "these look like percentages: divide by 100"
        mistake = f"p_<class> are not probabilities that sum to 1; {advice}"
        texts = [f"[{', '.join(f'{value:.4g}' for value in row)}]" for row in values]
        file.wrong_in(outside | (abs(total - 1) > TOLERANCE), mistake, texts)
    names = pd.Index([value_of(str(name).removeprefix("p_")) for name in cells.columns])
    return pd.DataFrame(values.clip(0, 1), cells.index, names)


# ---- all files together


def _checked_together(
    every: Sequence[Brought], truth: Brought | None, problems: list[str], *, complete: bool
) -> list[str]:
    """Check files against each other, and return their classes.

    Missing labels are a mistake only if all files could be read (`complete`)."""
    known = _known(every, truth)
    files = [file for file in every if file is not truth]
    if complete and not truth and known.true.isna().all():
        predicted = listing((file.path for file in files if NOT_TRUE in file.notes), MOST)
        why = f"in {predicted} {NOT_TRUE}" if predicted else "no file has a column label"
        advice = "give the true classes with --labels FILE (the same file, if its labels are true)"
        problems.append(f"no labels: {why}; {advice}")
        complete = False
    given = [list(file.p.columns) for file in files if not file.hard]
    classes = given[0] if given else sorted(known.true.dropna().unique())
    if complete and len(classes) == 1:
        what = f"one class, {classes[0]!r}; a comparison needs galaxies of two or more"
        problems.append(f"all labels are of {what}")
    predicted = {key for file in files for key in file.rows.key}
    for file in every:
        file.rows = file.rows.join(known, on="key").fillna("")
        if file is not truth:
            _compare(file, truth, complete=complete)
        file.rows["tested"] = (file.rows.split == "test") & (file.rows.true != "")
        own = list(file.p.columns) if file in files and not file.hard else classes
        if set(own) != set(classes):
            others = f"classes are {', '.join(own)}; other files have {', '.join(classes)}"
            file.problems.append(f"{others}; use the same columns p_<class> in all files")
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
    """Give each row a key that identifies its galaxy, and discard labels that are predictions.

    Returns, by key: name (id as spelled in the first file), true (class), source (file with this
    label) and there (split in the file of labels)."""
    plain = not any(file.rows.id.map(plain_id).duplicated().any() for file in files)
    for file in files:
        file.rows["key"] = file.rows.id.map(plain_id) if plain else file.rows.id
    predicted = [file for file in files if file is not truth and _is_prediction(file)]
    known = pd.DataFrame(columns=["true", "source"])
    # the file of labels first; last, labels that need confirmation
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
    """Return whether every label is the most probable class, or tied for it."""
    rows = file.rows.loc[file.rows.label != ""]
    column, p = file.p.columns.get_indexer(pd.Index(rows.label)), file.p.loc[rows.index].to_numpy()
    most = (column >= 0) & (p[np.arange(len(p)), column] >= p.max(1))
    return len(rows) > 0 and bool(most.all())


def _compare(file: Brought, truth: Brought | None, *, complete: bool) -> None:
    """Check ids, splits and labels against the other files, and fill in missing splits.

    They are taken from the file of labels, else they are "test"."""
    rows, whose = file.rows, truth.path if truth else "any file"
    other = rows.loc[rows.id != rows.name]
    if len(other):
        example = f"{other.id.iloc[0]} is {other.name.iloc[0]}"
        file.notes += (f"{len(other):,} ids are spelled differently: {example}",)
    other = (rows.split != "") & (rows.there != "") & (rows.split != rows.there)
    mistake = f"split differs from {whose}; correct one, or remove the column from one"
    file.wrong_in(other, mistake, rows.split + ", there " + rows.there)
    rows["split"] = rows.split.where(rows.split != "", rows.there.where(rows.there != "", "test"))
    if "test" not in set(rows.split):
        file.problems.append("no galaxies in split 'test'; methods are compared on these")
    other = (rows.label != "") & (rows.true != "") & (rows.label != rows.true)
    mistake = f"label differs from {listing(rows.source[other].unique())}; correct one, or remove "
    mistake += "the column if it is a prediction"
    file.wrong_in(other, mistake, rows.label + ", there " + rows.true)
    bare = (rows.true == "") & (rows.split != "unlabelled") & complete
    mistake = f"no label in {whose}; add labels, or remove these galaxies from all files"
    file.wrong_in(bare, mistake)


def _check_test_galaxies(files: Sequence[Brought], truth: Brought | None) -> None:
    """Check that methods with the same seed have the same test galaxies.

    The reference is the file of labels if it has splits, else the most common set."""
    tested = [frozenset(file.rows.key[file.rows.tested]) for file in files]
    whose = files[int(np.argmax([tested.count(each) for each in tested]))]
    if truth and truth.rows.tested.any():
        whose = truth
    wanted = frozenset(whose.rows.key[whose.rows.tested])
    for file, own in zip(files, tested, strict=True):
        seed, lacking = file.combination["seed"], list(wanted - own)
        if lacking:
            other = Counter(file.rows.split[file.rows.key.isin(lacking)])
            but = "".join(f" ({n:,} of them are in {split} here)" for split, n in other.items())
            ids = listing(whose.rows.name[whose.rows.key.isin(lacking)], MOST)
            of = f"{len(lacking):,} of the {len(wanted):,} test galaxies of {whose.path}{but}"
            advice = "predict these as well, or remove them from the other files"
            file.problems.append(f"seed {seed} lacks {of}: {ids}; {advice}")
        mistake = f"seed {seed} has test galaxies that {whose.path} lacks; remove them, or predict "
        mistake += "them in all files"
        file.wrong_in(file.rows.key.isin(list(own - wanted)), mistake)
