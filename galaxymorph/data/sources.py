"""Find galaxies in folders of images, in zips and in lists of files.

Only names and tables are read at first, so their errors are reported before images are decoded."""

import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from galaxymorph.data.found import (
    Found,
    check_unique,
    files_below,
    no_collection,
    split_named,
    split_of,
    stamp,
    without_ending,
)
from galaxymorph.data.labels import Names, classified, label
from galaxymorph.data.pictures import IMAGES, instead, left_out, read_image
from galaxymorph.data.tables import indexed, opened, read_table
from galaxymorph.project import existing
from galaxymorph.text import listing


@no_collection()
def folder(
    root: Path,
    *,
    labels: Path | None = None,
    class_names: Names = None,
    id_column: str | None = None,
    label_column: str | None = None,
) -> Found:
    """Find images of any size in one subfolder per class, or anywhere with a table of `labels`.

    Folders such as train, val and test above or directly below the class folders are the split of
    the galaxies; one above them without class folders is unlabelled. A single folder around all
    others is left out. Both are noted. A zip is read like the folder in it.

    Args:
        labels, id_column, label_column: see `labels.label`; subfolders are then no classes.
        class_names: see `labels.classified`.

    Raises:
        ValueError: missing or empty class folders, images outside them or all of them deeper, a
            single class, duplicate ids, or labels that `labels.label` rejects."""
    found = images(root)
    below = slice(int(root.is_file()), -1)
    paths = [tuple(name.replace("\\", "/").split("/")[below]) for name in found.names]
    above = Path(os.path.commonpath(["/".join(path) for path in set(paths)])).parts
    homes = {id: path[len(above) :] for id, path in zip(found.ids, paths, strict=True)}
    homes = _split_first(homes)
    found.split = _split_folders(homes, root) if any(homes.values()) else {}
    if labels is not None:
        return label(found, labels, class_names, id_column=id_column, label_column=label_column)
    _check_filled(root, paths, len(above) + bool(found.split))
    if above and any(homes.values()):
        found.notes.append(f"class folders are those in {root.name}/{'/'.join(above)}")
    if found.split:
        classed = {found.split[id] for id, home in homes.items() if len(home) > 1} - {"unlabelled"}
        bare = [id for id in homes if found.split[id] not in classed]
        parts = dict.fromkeys(homes[id][0] for id in bare)
        note = f"{len(bare):,} galaxies without class folders are unlabelled: {listing(parts)}"
        found.notes += [note] * bool(bare and classed)
        homes = {id: home[1:] for id, home in homes.items() if found.split[id] in classed}
    return classified(found, _classes(homes, above, found, root), class_names, root)


def _classes(
    homes: Mapping[str, Sequence[str]], above: Sequence[str], found: Found, root: Path
) -> dict[str, str]:
    """Return the class of each galaxy from the folders below the class level that it is in."""
    tables = sorted(root.glob("*.[ct]sv")) if root.is_dir() else []
    expected = f"; expected {root.name}/<class>/<id>.jpg. With a table of labels, add labels: "
    expected += f"{tables[0] if tables else 'FILE'}. "
    expected += "Without labels, use the images with `galaxymorph predict` or as unlabelled_root"
    if not any(homes.values()):
        only = f"only one class folder, {'/'.join(above)}" if above else "no class folders"
        raise ValueError(f"{root}: {only}{expected}")
    if stray := [n for id, n in zip(found.ids, found.names, strict=True) if homes.get(id) == ()]:
        raise ValueError(f"{root}: images outside the class folders: {listing(stray)}{expected}")
    deep = dict.fromkeys(home[:2] for home in homes.values() if len(home) > 1)
    if all(len(home) > 1 for home in homes.values()):
        first, second = (listing(dict.fromkeys(level), 3) for level in zip(*deep, strict=True))
        raise ValueError(f"{root}: are the classes {first} or {second}? Remove a level{expected}")
    if all(re.search(r"\d\d$", home[0]) and _begins(id, home[0]) for id, home in homes.items()):
        what = f"folders {listing(dict.fromkeys(home[0] for home in homes.values()), 3)}"
        raise ValueError(f"{root}: {what} are the beginnings of the ids, not classes{expected}")
    if parts := ["/".join(home) for home in deep if len(home) > 1 and split_named(home[1])]:
        what = f"folders {listing(parts)} are named like splits, but not all images are in one"
        raise ValueError(f"{root}: {what}; move or rename some")
    note = f"subfolders that count for their class: {listing('/'.join(home) for home in deep)}"
    found.notes += [note] * bool(deep)
    return {id: home[0] for id, home in homes.items()}


def _begins(id: str, folder: str) -> bool:
    """Return whether an id is a longer number, or name and number, than a folder's name."""
    return id.startswith(folder) and id[len(folder) :][:1].isdigit()


def _split_first(homes: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Put splits above classes: `round/train/7.jpg` means the same as `train/round/7.jpg`."""
    below = all(len(home) > 1 and split_named(home[1]) for home in homes.values())
    if not below or any(split_named(home[0]) for home in homes.values()):
        return {**homes}
    return {id: (home[1], home[0], *home[2:]) for id, home in homes.items()}


def _split_folders(homes: Mapping[str, Sequence[str]], root: Path) -> dict[str, str]:
    """Return the split by id if all top folders are called like splits, else an empty dict.
    Raises `ValueError` if only some are."""
    tops = {id: home[0] if home else "images beside them" for id, home in homes.items()}
    splits = [top for top in dict.fromkeys(tops.values()) if split_named(top)]
    others = [top for top in dict.fromkeys(tops.values()) if not split_named(top)]
    if splits and others:
        what = f"folders {listing(splits)} are named like splits, {listing(others)} are not"
        raise ValueError(f"{root}: {what}; move or rename some, or remove the split")
    return split_of(tops, str(root)) if splits else {}


def _check_filled(root: Path, paths: Sequence[tuple[str, ...]], depth: int) -> None:
    """Raise `ValueError` for folders without images, down to the class folders in this depth."""
    filled = {path[:n] for path in set(paths) for n in range(len(path) + 1)}
    parents = [Path(root, *path) for path in sorted(filled) if len(path) <= depth]
    below = [each for top in parents if top.is_dir() for each in os.scandir(top) if each.is_dir()]
    below = sorted(Path(each).relative_to(root) for each in below)
    names = [each for each in below if each.name[0] != "." and each.name != "__MACOSX"]
    if empty := [str(each) for each in names if each.parts not in filled]:
        raise ValueError(f"{root}: no images in class {listing(empty)}: fill or remove the folder")


@no_collection()
def images(root: Path) -> Found:
    """Find unlabelled images below a folder or in a zip; ids are file names without extension."""
    if existing(root).suffix.lower() == ".zip" and root.is_file():
        archive = opened(zipfile.ZipFile, root)
        # macOS adds hidden files and a folder __MACOSX to zips; older Windows writes backslashes.
        members = [member for member in archive.namelist() if "__MACOSX" not in member]
        files = sorted((re.split(r"[/\\]", member)[-1], member) for member in members)
        files = [each for each in files if each[0][:1] not in (".", "")]
        notes = left_out((name for name, _ in files), IMAGES)
        files = [each for each in files if each[0].lower().endswith(IMAGES)]
        names = [f"{root.name}/{member}".replace("\\", "/") for _, member in files]
        read = [partial(read_image, member, archive) for _, member in files]
        stamps = [stamp(root)]
    elif root.is_dir():
        below = sorted(files_below(root, ("",)), key=lambda file: file.name)
        notes = left_out((file.name for file in below), IMAGES)
        below = [file for file in below if file.name.lower().endswith(IMAGES)]
        files = [(file.name, file.path) for file in below]
        names = [path[len(str(root)) + 1 :] for _, path in files]
        read = [partial(read_image, path) for _, path in files]
        stamps = [(name, *stamp(file)[1:]) for name, file in zip(names, below, strict=True)]
    else:
        raise ValueError(f"{root} is a file; expected a folder of images, or a zip")
    if not files:
        raise ValueError(f"{root}: no images found; expected {', '.join(IMAGES)}{instead(notes)}")
    ids = [without_ending(name) for name, _ in files]
    check_unique(ids, names, root)
    return Found(ids, names, [*read], stamps, notes=notes)


def listed(file: Path) -> dict[str, Path]:
    """Return the files that a table lists in a column `file` or `path`, by id.

    Paths are relative to its folder. Ids come from a column `id` or `GalaxyID`, or else from the
    file names. Raises `ValueError` for missing columns, rows or file names, and duplicate ids."""
    table = read_table(file)
    paths = "path" if "path" in table.columns else "file"
    if paths not in table.columns:
        what = f"{file}: not a list of files: no column file or path among"
        todo = "For a table of labels, give the folder of images, and the table as option labels"
        raise ValueError(f"{what} {listing(table.columns)}. {todo}")
    if not all(table[paths]):
        raise ValueError(f"{file}: rows without {paths}. Name a file in each row")
    files = [file.parent / Path(name).expanduser() for name in table[paths]]
    if not {"id", "GalaxyID"} & set(table.columns):
        table["id"] = [without_ending(each.name) for each in files]
    return dict(zip(indexed(table, ("id", "GalaxyID"), [], file).index, files, strict=True))
