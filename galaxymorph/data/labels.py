"""Give galaxies their labels from a table, and make classes of labels."""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from galaxymorph import galaxy_zoo_tree, text
from galaxymorph.data.found import Found, split_named, split_of
from galaxymorph.data.tables import indexed, read_table, respelled
from galaxymorph.text import NUMBER, clean, is_empty, listing, unknown, value_of

Names = Sequence[str] | Mapping[Any, str | None] | None
SHORTENED = re.compile(r"\d(\.\d+)?[eE]\+?\d+")
# Usual names of columns, in lower case without blanks and punctuation.
IDS = {re.sub(r"\W|_", "", name) for name in text.IDS} | {
    *("name", "objectname", "objname", "iauname", "designation", "galaxy", "galaxyname", "idstr"),
    *("sourceid", "targetid", "catalogid", "imageid", "imagename", "image", "img"),
    *("filename", "file", "path", "filepath", "fileloc", "imagepath", "imagefile"),
}
LABELS = {
    *("label", "labels", "class", "classes", "classname", "classlabel", "classification"),
    *("morphology", "morph", "morphtype", "morphologicaltype", "morphclass", "galaxytype"),
    *("type", "t", "ttype", "hubbletype", "gz2class", "target", "category", "ans", "answer"),
}
SPLITS = {"split", "datasplit", "subset", "partition", "set", "dataset", "usage"}


# ---- from a table


def label(
    found: Found,
    file: Path | None,
    class_names: Names,
    *,
    id_column: str | None = None,
    label_column: str | None = None,
    in_order: bool = False,
) -> Found:
    """Add labels from a table of any format that `tables.read_table` reads.

    Its columns are ids and labels by one of the usual names (`IDS`, `LABELS`), and optionally
    `split`. Without ids it must be a single column of labels for galaxies in a sure order: rows of
    a table (`in_order`), or files that every way to sort names puts into the same order. Empty
    labels, `nan`, `--` and the like are unlabelled; so are images without a row, which count as a
    problem.

    Args:
        class_names: see `classified`.
        id_column, label_column: names of the columns, if not usual or not unique.

    Raises:
        ValueError: columns that are missing or ambiguous, ids that are empty, duplicate or do not
            match, an unknown split, decimal commas, or a single class."""
    if file is None:
        given = {"class_names": class_names, "id_column": id_column, "label_column": label_column}
        if alone := [name for name, value in given.items() if value is not None]:
            raise ValueError(f"{listing(alone)} given, but no table of labels: add labels: FILE")
        return found
    choose = partial(_columns, id_column=id_column, label_column=label_column)
    table = read_table(file, lambda names: dict.fromkeys(itertools.chain(*choose(names))))
    ids, (column, *_), splits = choose([*table.columns])
    if ids:
        found, table = _by_id(found, table, ids, file)
        if not {table.index.name, column} <= {"id", "GalaxyID", "label"}:
            note = f"columns of {file.name}: {table.index.name!r} is the id, {column!r} the label"
            found = replace(found, notes=[*found.notes, note])
    else:
        found, table = _by_order(found, table, column, file, in_order=in_order)
    table = table.loc[table.index.isin(found.ids)]
    cells = dict(zip(table.index, table[column], strict=True))
    if comma := [cell for cell in cells.values() if re.fullmatch(r"[+-]?\d+,\d+", cell)]:
        raise ValueError(f"{file}: decimal comma in label {comma[0]!r}; write a point")
    texts = {id: cell for id, cell in cells.items() if not is_empty(cell)}
    if not texts:
        raise ValueError(f"{file}: no galaxy has a label in column {column!r}")
    if empty := dict.fromkeys(cell or "(empty)" for cell in cells.values() if is_empty(cell)):
        n = len(cells) - len(texts)
        note = f"{n:,} galaxies are unlabelled; their label is {listing(empty)}"
        found = replace(found, notes=[*found.notes, note])
    if splits and (splits[0].lower() == "split" or any(map(split_named, table[splits[0]]))):
        found = _with_split(found, table.loc[list(texts), splits[0]], file)
    if outside := [id for id in texts if found.split.get(id) == "unlabelled"]:
        note = f"labels not used, as the split is `unlabelled`: {listing(outside)}"
        found = replace(found, notes=[*found.notes, note])
        texts = {id: cell for id, cell in texts.items() if id not in {*outside}}
    return classified(found, texts, class_names, file)


def _with_split(found: Found, cells: pd.Series, file: Path) -> Found:
    """Add the split in a column of a table; raise `ValueError` if folders give another."""
    given = {str(id): str(cell) for id, cell in cells.items()}
    split = split_of(given, f"{file}, column {cells.name!r}")
    if clash := [id for id in split if found.split.get(id, split[id]) != split[id]]:
        what = f"column {cells.name!r} contradicts the folders train, val, test"
        raise ValueError(f"{file}: {what} for {listing(clash)}: correct or remove one")
    return replace(found, split=found.split | split)


def _columns(
    names: Sequence[str], *, id_column: str | None, label_column: str | None
) -> tuple[list[str], list[str], list[str]]:
    """Find the columns that may hold ids, the one with labels, and the one with splits if any."""
    plain = {name: re.sub(r"\W|_", "", name).lower() for name in names}
    for given in (id_column, label_column):
        if given and given not in names:
            raise ValueError(unknown("column", given, names))
    labels = [label_column] if label_column else [n for n in names if plain[n] in LABELS]
    if len(names) == 1 and names[0] == "0":  # as pandas writes a column without a name
        labels = [*names]
    if len(set(names) & set(galaxy_zoo_tree.COLUMNS)) > 2 and not label_column:
        raise ValueError("a table of vote fractions, not of labels: use name: galaxy_zoo")
    if not labels:
        has = f"among {listing(map(repr, names))}"
        if len(names) == 1:
            has += " (are columns separated by commas, tabs or semicolons?)"
        what = f"no column label (or class, morphology, type, ...) {has}"
        raise ValueError(f"{what}. Add a header, or choose with label_column: NAME")
    if len(labels) > 1:
        what = f"several columns may be the label, {listing(map(repr, labels))}"
        raise ValueError(f"{what}: choose with label_column: NAME")
    ids = [id_column] if id_column else [n for n in names if plain[n] in IDS and n not in labels]
    if not ids and len(names) > 1:
        what = f"no column id (or objid, name, filename, ...) among {listing(map(repr, names))}"
        raise ValueError(f"{what}. Add it, or choose with id_column: NAME")
    return ids, labels, [name for name in names if plain[name] in SPLITS][:1]


def _by_id(
    found: Found, table: pd.DataFrame, names: Sequence[str], file: Path
) -> tuple[Found, pd.DataFrame]:
    """Index a table by the column that has the ids of most galaxies.
    Raises `ValueError` if another column has the ids of other galaxies in the same rows."""
    galaxies = set(found.ids)
    spelled = {name: respelled(list(table[name]), found.ids, file) for name in names}
    ids = {
        name: [id if id in galaxies else None for id in new] for name, (new, _) in spelled.items()
    }
    best = max(names, key=lambda name: len(table) - ids[name].count(None))
    for name in names:
        if any(
            None not in pair and len({*pair}) > 1 for pair in zip(ids[best], ids[name], strict=True)
        ):
            what = f"columns {best!r} and {name!r} have ids of different galaxies in one row"
            raise ValueError(f"{file}: {what}: choose with id_column: NAME")
    new, notes = spelled[best]
    table = indexed(table.assign(**{best: new}), [best], [], file)
    found = replace(found, notes=[*found.notes, *notes])
    return matched(found, table, file, "left out or treated as unlabelled"), table


def _by_order(
    found: Found, table: pd.DataFrame, column: str, file: Path, *, in_order: bool
) -> tuple[Found, pd.DataFrame]:
    """Index a single column of labels by the galaxies in their order, and note the pairs.

    Raises `ValueError` unless there are as many, in an order that is beyond doubt: people and
    programs sort names as text, as numbers, without regard to case or punctuation, or by folder."""
    remedy = "give columns id,label"
    if len(table) != len(found.ids):
        what = f"{len(table):,} rows for {len(found.ids):,} galaxies (the first line is the header)"
        raise ValueError(f"{file}: {what}; {remedy}")
    if not in_order:
        files = list(zip(found.ids, found.names, strict=True))
        for at, sort in ((0, str), (0, natural), (0, _letters), (1, str), (1, natural)):
            other = sorted(files, key=lambda pair: sort(pair[at]))
            if other != files:
                n = next(n for n, pair in enumerate(files) if pair != other[n])
                what = "labels without ids, but the order of the files is in doubt: number"
                either = f"{n + 1} is {files[n][0]!r} or {other[n][0]!r}"
                raise ValueError(f"{file}: {what} {either}, as names are sorted; {remedy}")
    pairs = [f"{id} = {cell}" for id, cell in zip(found.ids, table[column], strict=True)]
    note = f"labels of {file.name} are matched by order: {pairs[0]}, ..., {pairs[-1]}; to be sure, "
    table = table.set_axis(pd.Index(found.ids))
    return replace(found, notes=[*found.notes, note + remedy]), table


def matched(found: Found, table: pd.DataFrame, file: Path, what_then: str) -> Found:
    """Record images without a row and rows without an image as problems.
    The notes say `what_then` happens to them. Raises `ValueError` if no image has a row."""
    rows, galaxies = set(table.index), set(found.ids)
    unmatched = {
        f"images without a row in {file.name}": [id for id in found.ids if id not in rows],
        f"rows of {file.name} without an image": [id for id in table.index if id not in galaxies],
    }
    shortened = [id for id in table.index if id not in galaxies and SHORTENED.fullmatch(id)]
    if shortened:
        what = f"ids such as {shortened[0]} are numbers that have lost their last digits"
        raise ValueError(f"{file}: {what}. Export the ids as text")
    problems = [f"{len(ids):,} {what}: {listing(ids)}" for what, ids in unmatched.items() if ids]
    if problems and not rows & galaxies:
        what = f"no ids match in column {table.index.name!r}: give the table of these images"
        raise ValueError(f"{'; '.join(problems)}; {what}")
    notes = [*found.notes, *(f"{what_then}: {each}" for each in problems)]
    return replace(found, notes=notes, problems=problems)


# ---- from labels to classes


def classified(found: Found, texts: Mapping[str, str], names: Names, where: Path) -> Found:
    """Set classes and labels from the label of each galaxy, a text, by id.

    Labels are one class if they are the same number (`1`, `1.0`), and are in natural order: numbers
    by value, then text, in which numbers count by value. `names` renames them: a list in this
    order, or a mapping from labels, in which labels with the same name are one class, and those
    named null are unlabelled. Whatever is merged, renamed or suspiciously alike is noted.

    Raises `ValueError` for names that do not fit the labels, and if there is only one class."""
    spelled: dict[str, Counter[str]] = {}
    for cell, count in Counter(texts.values()).items():
        spelled.setdefault(value_of(cell), Counter())[clean(cell)] += count
    own = {value: next(iter(c)) if len(c) == 1 else value for value, c in spelled.items()}
    values = sorted(own, key=natural)
    several = [" and ".join(spelled[v]) for v in values if len(spelled[v]) > 1]
    notes = [f"labels that are one class: {listing(several)}"] * bool(several)
    called = _called(values, own, spelled, names)
    classes = tuple(dict.fromkeys(name for name in called.values() if name is not None))
    if len(classes) < 2:
        n, only = len(texts), f"only one class, {listing(classes) or 'none'}"
        raise ValueError(f"{where}: {only} ({n:,} galaxies): there is nothing to tell apart")
    if names is not None:
        of = {name: [value for value in values if called[value] == name] for name in classes}
        n = {name: sum(spelled[value].total() for value in of[name]) for name in classes}
        shown = [
            f"{' and '.join(own[v] for v in of[name])} = {name} ({n[name]:,})" for name in classes
        ]
        notes.append(f"classes: {', '.join(shown)}")
        notes += [f"unlabelled by class_names: {own[v]}" for v in values if called[v] is None]
    nines = [v for v in values if re.fullmatch("-?99+", v) and called[v] is not None]
    nines = [v for v in nines if not {str(int(v) - 1), str(int(v) + 1)} & {*values}]
    notes += [f"if {v} means unknown, leave it out by class_names: {{{v}: null}}" for v in nines]
    notes += _alike("classes", classes) + _alike("ids", found.ids)
    at = {cell: called[value_of(cell)] for cell in set(texts.values())}
    labels = {id: at[cell] for id, cell in texts.items()}
    labels = {id: classes.index(name) for id, name in labels.items() if name is not None}
    return replace(found, labels=labels, classes=classes, notes=[*found.notes, *notes])


def natural(name: str) -> tuple[Any, ...]:
    """Return a key that sorts numbers by value, then text, in which numbers count by value."""
    value = value_of(name)
    if NUMBER.fullmatch(value):
        return 0, Decimal(value), name
    parts = re.split(r"(\d+)", name)
    return 1, [int(part) if at % 2 else part for at, part in enumerate(parts)], name


def _letters(name: str) -> tuple[Any, ...]:
    return natural(re.sub(r"\W|_", "", name.casefold()))


def _called(
    values: Sequence[str], own: Mapping[str, str], spelled: Mapping[str, Counter[str]], names: Names
) -> dict[str, str | None]:
    """Return the name of the class of each label, None if it is to be left out."""
    if names is None:
        return {value: own[value] for value in values}
    if not isinstance(names, Mapping):
        if not len(names) == len(set(names)) == len(values):
            wanted = f"{len(values)} different names, for {listing(own[v] for v in values)}"
            raise ValueError(f"class_names has {listing(names)}, but must have {wanted}")
        called, folded = dict(zip(values, names, strict=True)), [own[v].casefold() for v in values]
        for value, name in called.items():
            if name.casefold() in folded and name.casefold() != own[value].casefold():
                what = f"class_names would call the label {own[value]!r} {name!r}, another label"
                raise ValueError(f"{what}: say what each means, {{{own[value]}: ..., {name}: ...}}")
        return {**called}
    called = {value_of(str(key)): name for key, name in names.items()}
    if len(called) < len(names):
        raise ValueError(f"class_names has one label twice: {listing(names)}")
    if strange := [key for key in called if key not in values]:
        raise ValueError(
            unknown("label in class_names:", strange[0], [own[value] for value in values])
        )
    if lacking := [
        f"{own[v]} ({spelled[v].total():,} galaxies)" for v in values if v not in called
    ]:
        todo = "name it, or write null to leave these unlabelled"
        raise ValueError(f"class_names lacks the label {listing(lacking)}: {todo}")
    return {value: called[value] for value in values}


def _alike(what: str, names: Iterable[str]) -> list[str]:
    """Note names that differ only in case or blanks, or as `true` and `1` do."""
    groups: dict[str, list[str]] = {}
    words = {"true": "1", "false": "0"}
    for name in names:
        key = re.sub(r"[\s_'\"`]+", "", name.casefold())
        groups.setdefault(words.get(key, key), []).append(name)
    pairs = [" and ".join(map(repr, group)) for group in groups.values() if len(group) > 1]
    return [f"{what} that differ only in spelling: {listing(pairs)}"] * bool(pairs)
