"""Read galaxies from Parquet: Hugging Face's layout, and the catalogues of galaxy-datasets."""

import json
import os
import re
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from galaxymorph import galaxy_zoo_tree, project
from galaxymorph.data import campaigns
from galaxymorph.data.cutouts import CHUNK
from galaxymorph.data.found import Found, check_unique, files_below, stamp, without_ending
from galaxymorph.data.labels import Names, classified, label
from galaxymorph.data.pictures import File, image_of, read_image
from galaxymorph.data.tables import check_columns
from galaxymorph.text import clean, is_empty, listing, unknown

ENDINGS = (".parquet",)
IDS = ("id_str", "id", "GalaxyID", "iauname")
LABELS = ("label", "labels", "class")
PATHS = ("file_loc", "filename", "file_name", "file", "path", "image")
SPLIT = re.compile(r"(?<![a-z])(train|val|test|dev|eval)(?:ing|id|idation)?(?![a-z])")
BYTES = re.compile(r"(dictionary<values=)?(large_)?binary(_view)?\b|struct<(.*, )?bytes: ")
BLOCK = 64  # rows that are read at a time


def parquet(
    root: Path,
    *,
    labels: Path | None = None,
    label_column: str | None = None,
    class_names: Names = None,
    images: Path | None = None,
    n_classes: Literal[4, 5] = 4,
) -> Found:
    """Find galaxies in Parquet files: pixels in a column `image`, or names of files (`file_loc`).

    Splits are taken from the names of files (train, validation, test), ids from a column (`IDS`),
    the names of image files, or file and row.

    Args:
        root: one file, or a folder of files with the same columns.
        labels: table of labels, see `labels.label`, in place of a column.
        label_column: column of labels, or a question of Galaxy Zoo, such as `ring` or
            `smooth-or-featured-hubble`, whose answers become the classes (`campaigns.majority`).
            Default: `label`, or else votes (`campaigns.read`).
        class_names: see `labels.classified`; not for classes that follow from votes.
        images: folder of the image files (default: the table's, or `images` in it).
        n_classes: number of classes that votes are turned into (`galaxy_zoo_tree.hard_labels`).

    Raises:
        ValueError: pyarrow missing, a broken file, missing columns, duplicate ids, labels or votes
            whose meaning is unknown."""
    parts = _parts(root)
    schema = parts[0].schema
    questions = campaigns.asked(schema.names)
    found = _pixels(parts, root, images)
    if labels is not None:
        return label(found, labels, class_names, label_column=label_column)
    column = label_column or _default_column(schema, root)
    if column is None and not questions:
        note = f"no labels in {root.name}, which has the columns {listing(schema.names)}"
        return replace(found, notes=[*found.notes, note])
    if column is not None and column not in [*schema.names, *questions]:
        raise ValueError(f"{root}: {unknown('column', column, [*questions, *schema.names])}")
    if column is not None and column not in questions:
        named = _names(schema, column) or []
        texts = [_label(value, named) for value in _column(parts, column)]
        if absent := [name for name in named if name not in texts]:
            found.notes.append(f"classes without galaxies: {listing(absent)}")
        return _classified(found, texts, class_names, root)
    columns = [name for name in schema.names if campaigns.COLUMN.fullmatch(name)]
    table = pd.concat([_read(part, columns).to_pandas() for part in parts])
    table.index = pd.Index(found.ids)
    if column is not None:
        return _classified(found, campaigns.majority(table, column, root), class_names, root)
    if class_names is not None:
        raise ValueError("class_names: the classes follow from votes; remove it, or choose labels")
    votes, volunteers, notes = campaigns.read(table, root)
    classes = galaxy_zoo_tree.CLASSES[n_classes]
    hard = galaxy_zoo_tree.hard_labels(votes.to_numpy(), classes).tolist()
    return replace(
        found,
        labels=dict(zip(found.ids, hard, strict=True)),
        classes=classes,
        votes=votes,
        volunteers=volunteers,
        notes=[*found.notes, *notes],
    )


def _classified(found: Found, texts: Sequence[str | None], names: Names, root: Path) -> Found:
    known = {id: text for id, text in zip(found.ids, texts, strict=True) if text is not None}
    return classified(found, known, names, root)


def _label(value: Any, named: Sequence[str]) -> str | None:
    """Return the label in a cell as text; None if it has none."""
    if value is None or value != value:  # NaN
        return None
    if named and not isinstance(value, str):
        if value == -1:
            return None
        if value not in range(len(named)):
            raise ValueError(f"label {value} stands for no class; {len(named)} classes are named")
        return named[int(value)]
    cell = clean(value.decode() if isinstance(value, bytes) else str(value))
    return None if is_empty(cell) else cell


def _default_column(schema: Any, root: Path) -> str | None:
    """Return the column of labels: one of `LABELS`, or else the only one with named classes."""
    usual = [name for name in LABELS if name in schema.names]
    named = [name for name in schema.names if _names(schema, name)]
    if not usual and len(named) > 1:
        raise ValueError(f"{root}: columns of classes: {listing(named)}; choose with label_column")
    return next(iter(usual + named), None)


def find(root: Path) -> Found:
    """Find unlabelled galaxies in one Parquet file or a folder of them."""
    return _pixels(_parts(root), root, None)


# ---- files and columns


class Part(NamedTuple):
    """One Parquet file, open, and the split that it is named after."""

    file: Path
    split: str | None
    content: Any  # pyarrow.parquet.ParquetFile

    @property
    def schema(self) -> Any:
        return self.content.schema_arrow


def _parts(root: Path) -> list[Part]:
    """Open the Parquet files of a folder, in order; check that they belong together."""
    files = [root]
    if project.existing(root).is_dir():
        files = sorted(Path(file.path) for file in files_below(root, ENDINGS))
    parts = [Part(file, _split(file, root), _open(file)) for file in files]
    if not parts:
        raise ValueError(f"{root}: no Parquet files found; expected names ending in .parquet")
    sets = {SPLIT.sub("", str(part.file.parent.relative_to(root.parent))) for part in parts}
    if len(sets) > 1:
        raise ValueError(f"{root} holds several sets of files: {listing(sorted(sets))}; choose one")
    if None in (given := {part.split for part in parts}) and len(given) > 1:
        odd = listing(part.file.name for part in parts if part.split is None)
        raise ValueError(f"{root}: some files are named after a split, but not {odd}")
    most = max(parts, key=lambda part: len(part.schema.names))
    for part in parts:
        check_columns(part.schema.names, most.schema.names, part.file)
    return parts


def _split(file: Path, root: Path) -> str | None:
    """Return the split that a file or its folder is named after: train, val, test or None."""
    name = str(file.relative_to(root.parent if root == file else root)).lower()
    words = SPLIT.findall(name)
    return {"dev": "val", "eval": "test"}.get(words[-1], words[-1]) if words else None


def _open(file: Path) -> Any:
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        remedy = "pip install 'galaxymorph[parquet]'"
        raise ValueError(f"{file}: Parquet files need pyarrow: {remedy}") from error
    try:
        # buffer_size: pages are read as needed, however large a row group is
        return ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
    except (ValueError, OSError) as error:
        raise ValueError(f"{file} is not a valid Parquet file: {error}") from error


def _read(part: Part, columns: Sequence[str]) -> Any:
    try:
        return part.content.read(columns=list(columns))
    except (ValueError, OSError) as error:
        raise ValueError(f"{part.file} is not a valid Parquet file: {error}") from error


def _column(parts: Sequence[Part], name: str) -> list[Any]:
    """Return the values of a column, or of a field `column.field`, in all files."""
    values = [value for part in parts for value in _read(part, [name]).column(0).to_pylist()]
    field = name.partition(".")[2]
    return [value and value[field] for value in values] if field else values


def _features(schema: Any) -> dict[str, Any]:
    """Return Hugging Face's description of the columns, or an empty dict."""
    text = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        return json.loads(text).get("info", {}).get("features", {})
    except (ValueError, AttributeError) as error:
        raise ValueError(f"not valid metadata of Hugging Face: {error}") from error


def _names(schema: Any, column: str) -> list[str] | None:
    """Return the names of the classes that a column of numbers stands for, if they are stated."""
    feature = _features(schema).get(column)
    return feature.get("names") if isinstance(feature, dict) else None


# ---- pixels


def _pixels(parts: Sequence[Part], root: Path, images: Path | None) -> Found:
    """Find the galaxies and the functions that read their pixels."""
    counts = [part.content.metadata.num_rows for part in parts]
    if not sum(counts):
        raise ValueError(f"{root}: no rows")
    places = [(part, row) for part, n in zip(parts, counts, strict=True) for row in range(n)]
    schema, problems = parts[0].schema, []
    column = _image_column(schema, root)
    if column is not None and images is not None:
        raise ValueError(f"images: the pixels are in column {column!r} of {root}; remove it")
    if column is None:
        paths = _paths(parts, root)
        files = _located(paths, root if root.is_dir() else root.parent, images)
        read = [partial(_read_file, file) for file in files]
        stamps = [(str(file), *stamp(file)[1:]) for file in files if file]
        if gone := [str(file) for file in files if file and not file.exists()]:
            problems = [f"{len(gone):,} files named in {root.name} do not exist: {listing(gone)}"]
    else:
        rows = {part: Rows(part, column) for part in parts}
        read = [partial(_read_row, rows[part], row) for part, row in places]
        stamps = [stamp(part.file) for part in parts]
        has_paths = "path: " in str(schema.field(column).type)
        paths = _column(parts, f"{column}.path") if has_paths else [None] * len(places)
    names = [f"{part.file.name} row {row}" for part, row in places]
    found = Found(_ids(parts, paths, places), names, [*read], stamps, problems=problems)
    if len({part.split for part in parts}) > 1:
        given = zip(found.ids, (part.split or "" for part, _ in places), strict=True)
        found = replace(found, split=dict(given))
    check_unique(found.ids, names, root)
    return found


def _image_column(schema: Any, root: Path) -> str | None:
    """Return the column that holds encoded images, or None if it has names of files only."""
    kinds = {field.name: str(field.type) for field in schema}
    held = [name for name, kind in kinds.items() if BYTES.match(kind)]
    if "image" in kinds and "image" not in held and "string" not in kinds["image"]:
        wanted = "encoded images (binary, or a struct with a field `bytes`)"
        raise ValueError(f"{root}: column 'image' is {kinds['image']}, but expected {wanted}")
    if len(held) > 1 and "image" not in held:
        raise ValueError(f"{root}: several columns hold bytes: {listing(held)}; name one `image`")
    return "image" if "image" in held else next(iter(held), None)


class Rows:
    """Rows of a column of images, read in blocks in the order of the file.

    The last few blocks are kept, enough for all threads of `cutouts.in_order`; an earlier row
    starts its row group again. Threads take turns."""

    def __init__(self, part: Part, column: str) -> None:
        self.part, self.column, self.lock = part, column, threading.Lock()
        groups = part.content.metadata
        sizes = [groups.row_group(n).num_rows for n in range(groups.num_row_groups)]
        self.starts = np.cumsum([0, *sizes])
        ahead = 2 * (os.cpu_count() or 1) * CHUNK // BLOCK
        self.blocks: deque[tuple[int, Any]] = deque(maxlen=ahead + 4)  # first row, values
        self.group, self.next = -1, 0  # row group that the stream reads, and its next row
        self.stream: Iterator[Any] = iter(())
        self.broken: dict[int, str] = {}  # errors by row group

    def __getitem__(self, row: int) -> Any:
        with self.lock:
            found = self._kept(row)
            if found is None:
                self._advance(row)
                found = self._kept(row)
        return found.as_py()

    def _kept(self, row: int) -> Any:
        blocks = [(first, block) for first, block in self.blocks if 0 <= row - first < len(block)]
        return blocks[-1][1][row - blocks[-1][0]] if blocks else None

    def _advance(self, row: int) -> None:
        """Read the blocks of a row group up to the one with this row."""
        group = int(np.searchsorted(self.starts, row, side="right")) - 1
        if group in self.broken:
            raise ValueError(self.broken[group])
        try:
            if self.group != group or self.next > row:
                options = {"row_groups": [group], "columns": [self.column]}
                self.stream = self.part.content.iter_batches(BLOCK, **options)
                self.group, self.next = group, int(self.starts[group])
            while self.next <= row:
                block = next(self.stream).column(0)
                self.blocks.append((self.next, block))
                self.next += len(block)
        except (ValueError, OSError, StopIteration) as error:
            self.group = -1
            self.broken[group] = f"row group {group} of the file is damaged: {error}"
            raise ValueError(self.broken[group]) from error


def _read_row(rows: Rows, row: int) -> File:
    """Read the image of a row: bytes, or Hugging Face's dict of bytes and path."""
    value = rows[row]
    content = value["bytes"] if isinstance(value, dict) else value
    if content is None and isinstance(value, dict) and value.get("path"):
        return read_image(str(rows.part.file.parent / value["path"]))
    if not content:
        raise ValueError("no image (null)" if content is None else "no image (0 bytes)")
    return image_of(content)


def _read_file(file: Path | None) -> File:
    if file is None:
        raise ValueError("no image (no file is named)")
    return read_image(str(file))


def _paths(parts: Sequence[Part], root: Path) -> list[str | None]:
    """Return the file names that the tables list, with their subfolders."""
    names = parts[0].schema.names
    column = next((name for name in PATHS if name in names), None)
    if column is None:
        wanted = f"`image` (encoded images) or {', '.join(PATHS)} (names of files)"
        raise ValueError(f"{root}: expected a column {wanted}; it has {listing(names)}")
    paths = _column(parts, column)
    if column == "filename" and "subfolder" in names:
        folders = _column(parts, "subfolder")
        paths = [name and f"{f or ''}/{name}" for f, name in zip(folders, paths, strict=True)]
    return paths


def _located(paths: Sequence[str | None], folder: Path, images: Path | None) -> list[Path | None]:
    """Find the files that a table lists.

    Relative names start at `images`, or at the table's `folder` or `images` in it. With `images`, a
    name may begin with folders of another machine: all lose the same number of them."""
    named = [path and Path(path.replace("\\", "/")).parts for path in paths]
    bases = [folder, folder / "images"]
    if images is not None:
        bases = [project.existing(images)]
        named = [parts and tuple(part for part in parts if part != "/") for parts in named]
    some = [parts for parts in named if parts][:100]
    for skip in range(1 if images is None else max(map(len, some), default=0)):
        for base in bases:
            if any(base.joinpath(*parts[skip:]).is_file() for parts in some):
                return [base.joinpath(*parts[skip:]) if parts else None for parts in named]
    raise ValueError(
        f"none of the files that the table names is in {listing(bases)}, such as "
        f"{Path(*some[0]) if some else '(none)'}. Name their folder: images: FOLDER"
    )


def _ids(
    parts: Sequence[Part], paths: Sequence[str | None], places: Sequence[tuple[Part, int]]
) -> list[str]:
    """Return ids from a column, or unique names of image files, or else file and row."""
    column = next((name for name in IDS if name in parts[0].schema.names), None)
    if column is None:
        ids = [without_ending(Path(path).name) if path else "" for path in paths]
        if all(ids) and len(set(ids)) == len(ids):
            return ids
        return [f"{without_ending(part.file.name)}-{row:06d}" for part, row in places]
    kind = str(parts[0].schema.field(column).type)
    if kind in ("float", "double", "halffloat"):
        raise ValueError(f"{parts[0].file}: ids in {column!r} are {kind}, which loses digits")
    ids = _column(parts, column)
    if empty := [row for row, id in enumerate(ids) if id in (None, "")]:
        raise ValueError(f"{parts[0].file}: rows without {column}: {listing(empty)}")
    return [id.decode() if isinstance(id, bytes) else str(id) for id in ids]
