"""Find galaxies in folders of images, in zips and in lists of files.

Only names and tables are read at first, so their errors are reported before images are decoded."""

import os
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from galaxymorph.data.found import Found, check_unique, files_below, stamp, without_ending
from galaxymorph.data.labels import renamed
from galaxymorph.data.pictures import IMAGES, left_out, read_image
from galaxymorph.data.tables import check_columns, indexed, opened, read_table
from galaxymorph.project import existing
from galaxymorph.text import listing


def folder(root: Path, *, class_names: Sequence[str] | None = None) -> Found:
    """Find images of any size in one subfolder per class.

    `class_names` renames the sorted subfolders. Raises `ValueError` for missing or empty class
    folders, images outside them and duplicate ids."""
    paths = sorted(path for path in existing(root).iterdir() if path.is_dir())
    classes = [path.name for path in paths if not path.name.startswith(".")]
    if not classes:
        raise ValueError(f"{root} has no class folders; expected {root.name}/<class>/<id>.jpg")
    found = images(root)
    homes = [name.partition(os.sep)[0] for name in found.names]
    if empty := [name for name in classes if name not in homes]:
        raise ValueError(f"{root}: no images in class {listing(empty)}: fill or remove the folder")
    if set(homes) - set(classes):
        stray = [n for n, home in zip(found.names, homes, strict=True) if home not in classes]
        raise ValueError(f"{root}: images outside the class folders: {listing(stray)}")
    labels = {id: classes.index(home) for id, home in zip(found.ids, homes, strict=True)}
    return replace(found, labels=labels, classes=renamed(classes, class_names))


def images(root: Path) -> Found:
    """Find unlabelled images below a folder or in a zip; ids are file names without extension."""
    if existing(root).suffix.lower() == ".zip":
        archive = opened(zipfile.ZipFile, root)
        # macOS adds hidden files and a folder __MACOSX to zips.
        members = [member for member in archive.namelist() if "__MACOSX" not in member]
        files = sorted((member.rpartition("/")[2], member) for member in members)
        files = [each for each in files if each[0][:1] not in (".", "")]
        notes = left_out((name for name, _ in files), IMAGES)
        files = [each for each in files if each[0].lower().endswith(IMAGES)]
        names = [f"{root.name}/{member}" for _, member in files]
        read = [partial(read_image, member, archive) for _, member in files]
        stamps = [stamp(root)]
    else:
        below = sorted(files_below(root, ("",)), key=lambda file: file.name)
        notes = left_out((file.name for file in below), IMAGES)
        below = [file for file in below if file.name.lower().endswith(IMAGES)]
        files = [(file.name, file.path) for file in below]
        names = [path[len(str(root)) + 1 :] for _, path in files]
        read = [partial(read_image, path) for _, path in files]
        stamps = [(name, *stamp(file)[1:]) for name, file in zip(names, below, strict=True)]
    if not files:
        raise ValueError(f"{root}: no images found; expected {', '.join(IMAGES)}")
    ids = [name.rpartition(".")[0] for name, _ in files]  # ten times as fast as pathlib
    check_unique(ids, names, root)
    return Found(ids, names, [*read], stamps, notes=notes)


def listed(file: Path) -> dict[str, Path]:
    """Return the files that a CSV file lists in a column `file` or `path`, by id.

    Paths are relative to its folder. Ids come from a column `id` or `GalaxyID`, or else from the
    file names. Raises `ValueError` for missing columns, rows or file names, and duplicate ids."""
    table = read_table(file)
    paths = "path" if "path" in table.columns else "file"
    check_columns(table.columns, [paths], file)
    if not len(table) or table[paths].hasnans:
        what = f"rows without {paths}" if len(table) else "no rows"
        raise ValueError(f"{file}: {what}. Name a file in each row")
    files = [file.parent / Path(name).expanduser() for name in table[paths]]
    if not {"id", "GalaxyID"} & set(table.columns):
        table["id"] = [without_ending(each.name) for each in files]
    return dict(zip(indexed(table, ("id", "GalaxyID"), [], file).index, files, strict=True))
