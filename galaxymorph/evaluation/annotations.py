"""Read labels that people gave, one row per galaxy and annotator, and check them.

`galaxymorph label` writes such tables; anybody can make one, as CSV with these columns:

    id           or another name in `text.IDS`
    label        the class; "star or artifact" and "cannot tell" may stand for one. Or instead
    answers      to the questions of Galaxy Zoo's tree: smooth=smooth;roundness=round;odd=no
    annotator    who labelled; if missing or empty, the file's name
    seconds      that it took, if known
    time         when, if known

Other columns are ignored. Who labels a galaxy twice in one file means the later row. If two files
have a galaxy from the same annotator, it cannot be known which one counts: that is an error."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from galaxymorph import galaxy_zoo_tree
from galaxymorph.escape import text_of_cell
from galaxymorph.project import existing
from galaxymorph.text import IDS, is_empty, listing, plain_id, read_cells, unknown, value_of

ARTIFACT, UNSURE = "star or artifact", "cannot tell"  # for any galaxy, beside the classes
SHORTENED = re.compile(r"\d(\.\d+)?[eE]\+?\d+")  # a number that a spreadsheet has rounded
MOST = 20  # mistakes listed

Given = dict[str, dict[str, str]]  # the answer of each annotator, by galaxy


class Row(NamedTuple):
    """What an annotator gave for a galaxy, and where that stands."""

    id: str
    answer: str  # a class, or a text of answers; or `ARTIFACT`, `UNSURE`
    annotator: str
    seconds: float  # NaN: unknown
    file: Path
    line: int

    def wrong(self, what: str) -> str:
        return f"{self.file}, line {self.line} (id {self.id}): {what}"


@dataclass(frozen=True, eq=False)
class Annotations:
    """Checked labels: each annotator has at most one row for a galaxy."""

    rows: Sequence[Row]
    tree: bool  # whether answers follow the tree
    classes: tuple[str, ...] = ()  # none for the tree
    notes: tuple[str, ...] = ()

    @property
    def annotators(self) -> list[str]:
        return list(dict.fromkeys(row.annotator for row in self.rows))

    @property
    def ids(self) -> list[str]:
        return list(dict.fromkeys(row.id for row in self.rows))

    def questions(self) -> Iterator[tuple[str, Given]]:
        """Yield each question with its answers; of classes there is one, `label`.

        Rows without an opinion ("cannot tell") are left out."""
        sure = [row for row in self.rows if row.answer != UNSURE]
        if not self.tree:
            yield "label", _by_galaxy((row, row.answer) for row in sure)
            return
        given = [(row, galaxy_zoo_tree.given_in(row.answer)) for row in sure]
        for name in galaxy_zoo_tree.SLICES:
            yield name, _by_galaxy((row, each[name]) for row, each in given if name in each)


def _by_galaxy(given: Iterable[tuple[Row, str]]) -> Given:
    found: Given = defaultdict(dict)
    for row, answer in given:
        found[row.id][row.annotator] = answer
    return dict(found)


def read(
    files: Sequence[Path], *, classes: Sequence[str] = (), ids: Sequence[str] | None = None
) -> Annotations:
    """Read labels from one or more files.

    Args:
        classes: all that may occur (default: those that do occur).
        ids: all galaxies that may occur (default: any).

    Raises `ValueError` that lists the mistakes in all files: file, line, galaxy, what was expected
    and what to do."""
    problems, notes, rows, kinds = list[str](), list[str](), list[Row](), dict[Path, bool]()
    for file in files:
        found, tree = _rows(file, problems, notes)
        rows += found
        kinds |= {file: tree} if found else {}
    if len({file.resolve() for file in files}) < len(files):
        problems.append(f"{listing(files)}: a file is given twice; leave one out")
    if len(set(kinds.values())) > 1:
        each = ", ".join(f"{file} has {_kind(tree)}" for file, tree in kinds.items())
        problems.append(f"files of different kinds cannot be merged: {each}")
    if ids is not None:
        there = set(ids)
        problems += [
            row.wrong(f"no such galaxy among the {len(there):,} images; correct the id")
            for row in rows
            if row.id not in there
        ]
    tree, classes = True in kinds.values(), [value_of(name) for name in classes]
    if not problems:
        problems += _same_name(rows)
        problems += _alike("ids", {row.id: row for row in rows}, lambda id: plain_id(id).casefold())
        problems += [] if tree else _unknown(rows, classes)
    _refuse(problems)
    known = () if tree else tuple(classes) or _classes(row.answer for row in rows)
    return Annotations(rows, tree, known, tuple(notes))


def golden(
    file: Path, given: Annotations, *, strict: bool = False
) -> tuple[dict[str, str], list[str]]:
    """Read the known answers to some galaxies; return them by id, and notes.

    The file has `id` and `label`, or `answers`, which may be only the sure ones. Raises
    `ValueError` for mistakes in it, galaxies that nobody labelled, and classes that the
    annotators did not have (`strict`: any that is not among `given.classes`)."""
    problems, twice = list[str](), list[str]()
    rows, tree = _rows(file, problems, twice, complete=False)
    problems += [f"{each}; keep one row of each galaxy" for each in twice]
    if not problems and tree != given.tree:
        problems.append(f"{file}: has {_kind(tree)}, but the annotators gave {_kind(given.tree)}")
    _refuse(problems)
    rest = [row.id for row in rows if row.id not in set(given.ids)]
    if len(rest) == len(rows):
        raise ValueError(f"{file}: nobody labelled any of its galaxies ({listing(rest, 3)})")
    odd = [] if tree else [row for row in rows if row.answer not in (*given.classes, ARTIFACT)]
    if odd and (strict or len(odd) == len(rows)):
        todo = "Correct it, or name all classes with --classes"
        wrong = (row.wrong(unknown("class", row.answer, given.classes)) for row in odd)
        _refuse([f"{each}. {todo}" for each in wrong])
    few = f"{len(rest):,} golden galaxies that nobody labelled: {listing(rest, 5)}"
    notes = [few] * bool(rest)
    notes += [f"golden class that nobody gave: {c}" for c in dict.fromkeys(r.answer for r in odd)]
    return {row.id: row.answer for row in rows}, notes


# ---- one file


def _rows(
    file: Path, problems: list[str], notes: list[str], *, complete: bool = True
) -> tuple[list[Row], bool]:
    """Return the rows of a file, and whether they have answers of the tree; record mistakes."""
    try:
        text = existing(file).read_text(encoding="utf-8-sig")
        cells = read_cells(text, max(",;\t", key=text.partition("\n")[0].count))
        _, names = next(cells)
        columns, tree = _columns(names)
        lines = [(line, [text_of_cell(cell) for cell in row]) for line, row in cells]
    except UnicodeDecodeError:
        problems.append(f"{file}: not valid UTF-8; save it as CSV in UTF-8")
        return [], False
    except (ValueError, OSError) as error:
        problems.append(f"{file}: {getattr(error, 'strerror', None) or error}")
        return [], False
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for line, row in lines:
        id, answer, annotator, seconds = ("" if at is None else row[at] for at in columns)
        made = Row(id, answer, annotator or file.stem, math.nan, file, line)
        try:
            made = made._replace(answer=_answer(made, tree, complete), seconds=_seconds(seconds))
        except ValueError as error:
            problems.append(made.wrong(str(error)))
            continue
        found[made.annotator, id].append(made)
    twice = [
        f"{id} by {annotator} (lines {listing((row.line for row in rows), 5)})"
        for (annotator, id), rows in found.items()
        if len(rows) > 1
    ]
    if twice:
        notes.append(f"{file}: labelled more than once, the last row counts: {listing(twice, 5)}")
    return [rows[-1] for rows in found.values()], tree


def _columns(names: Sequence[str]) -> tuple[list[int | None], bool]:
    """Return the places of id, answer, annotator and seconds, None if missing; and whether there
    are answers of the tree."""
    lower = [name.lower() for name in names]
    id = next((name for name in IDS if name in lower), None)
    kinds = [name for name in ("label", "answers") if name in lower]
    if id is None or len(kinds) != 1:
        wanted = f"a column id (or {', '.join(IDS[1:])}), and either label or answers"
        raise ValueError(f"expected {wanted}; it has {listing(map(repr, names), 12)}")
    wanted = (id, kinds[0], "annotator", "seconds")
    places = [lower.index(name) if name in lower else None for name in wanted]
    return places, kinds == ["answers"]


def _answer(row: Row, tree: bool, complete: bool) -> str:
    """Return the answer of a row in its one spelling. Raises `ValueError` for a wrong row."""
    if is_empty(row.id):
        raise ValueError("no id; name the galaxy")
    if SHORTENED.fullmatch(row.id):
        raise ValueError("the id is a number that has lost its last digits; export ids as text")
    if is_empty(row.answer):
        what = "answers" if tree else "label"
        raise ValueError(f"no {what}; remove the row, or write {UNSURE!r}")
    if not tree or row.answer == UNSURE:
        return value_of(row.answer)
    if row.answer == ARTIFACT:
        return "=".join(galaxy_zoo_tree.END)
    return galaxy_zoo_tree.text_of(galaxy_zoo_tree.given_in(row.answer, complete=complete))


def _seconds(text: str) -> float:
    try:
        seconds = math.nan if is_empty(text) else float(text)
    except ValueError:
        raise ValueError(f"seconds {text!r} is not a number") from None
    if seconds < 0 or seconds > 1e9:
        raise ValueError(f"seconds {text!r} is not a duration")
    return seconds


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        more = [f"and {len(problems) - MOST:,} more"] * (len(problems) > MOST)
        raise ValueError("\n".join([*problems[:MOST], *more]))


def _kind(tree: bool) -> str:
    return "answers of the tree" if tree else "classes"


# ---- all files together


def _classes(answers: Iterable[str]) -> tuple[str, ...]:
    """Return the classes that occur, numbers by value, then others by name."""
    found = set(answers) - {ARTIFACT, UNSURE}
    return tuple(sorted(found, key=lambda c: (int(c) if c.isdecimal() else math.inf, c)))


def _same_name(rows: Iterable[Row]) -> Iterator[str]:
    """Yield annotators that labelled a galaxy in two files: two people, or two versions."""
    several: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        several[row.annotator, row.id].append(row)
    first: dict[str, list[Row]] = {}
    count = Counter[str]()
    for (annotator, _), each in several.items():
        if len(each) > 1:
            first.setdefault(annotator, each)
            count[annotator] += 1
    for annotator, each in first.items():
        where = listing(f"{row.file}, line {row.line}" for row in each)
        what = f"annotator {annotator!r} labelled {count[annotator]:,} galaxies in two files"
        todo = "rename one annotator if these are two people, else leave out the older file"
        yield f"{what}, such as {each[0].id} ({where}); {todo}"


def _alike(what: str, first: dict[str, Row], key: Callable[[str], str]) -> Iterator[str]:
    """Yield texts that are probably one, differently spelled, with where each occurs."""
    groups: dict[str, list[str]] = defaultdict(list)
    for text in first:
        groups[key(text)].append(text)
    for texts in groups.values():
        if len(texts) > 1:
            each = (f"{text!r} ({first[text].file}, line {first[text].line})" for text in texts)
            yield f"{what} that differ only in spelling: {listing(each, 4)}; correct one"


def _unknown(rows: Sequence[Row], classes: Sequence[str]) -> Iterator[str]:
    """Yield rows with unknown classes, or, without `classes`, what shows different sets of them."""
    if classes:
        odd = (row for row in rows if row.answer not in (*classes, ARTIFACT, UNSURE))
        yield from (row.wrong(unknown("class", row.answer, classes)) for row in odd)
        return
    yield from _alike("classes", {row.answer: row for row in rows}, str.casefold)
    own: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        own[row.annotator] |= {row.answer} - {ARTIFACT, UNSURE}
    used = Counter(name for each in own.values() for name in each)
    for name, each in own.items():
        others = set(used) - each
        if min(len(each), len(others)) > 1 and all(used[c] == 1 for c in each):
            theirs = f"{name!r} has {listing(sorted(each))}, the others {listing(sorted(others))}"
            yield f"no class in common: {theirs}; label with the same --classes, or name them all"
