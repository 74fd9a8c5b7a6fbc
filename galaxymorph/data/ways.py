"""The sources that read galaxies from files, which are found without loading torch."""

from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import h5py

from galaxymorph import project
from galaxymorph.data import fits, hdf5, parquet, sources
from galaxymorph.data.found import Found, files_below
from galaxymorph.data.galaxy_zoo import galaxy_zoo
from galaxymorph.data.pictures import IMAGES

FILES: dict[str, Callable[..., Found]] = {
    "folder": sources.folder,
    "galaxy_zoo": galaxy_zoo,
    "galaxy10": hdf5.galaxy10,
    "table": hdf5.table,
    "fits": fits.find,
    "parquet": parquet.parquet,
}
PATHS = ("root", "labels", "volunteers", "unlabelled_root", "images")  # options
KINDS = {
    ".parquet": "parquet",
    **dict.fromkeys(fits.ENDINGS, "fits"),
    **dict.fromkeys(hdf5.ENDINGS, "table"),
}
KAGGLE = ("images_training_rev1", "training_solutions_rev1.csv")


def located(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with paths, which are relative to the project's folder."""
    return {
        key: project.root() / Path(value).expanduser()
        if key in PATHS and value is not None
        else value
        for key, value in options.items()
    }


def find(options: Mapping[str, Any]) -> Found:
    """Find galaxies as `load` does with these options, from names and tables alone.
    Raises `ValueError` or `OSError` if the source cannot read them."""
    source = FILES[options["name"]]
    taken = signature(source).parameters
    return source(**{key: each for key, each in located(options).items() if key in taken})


def check_complete(found: Found, on_bad: str = "raise") -> None:
    """Raise `ValueError` for images without labels and the like, unless they may be skipped."""
    if found.problems and on_bad == "raise":
        problems = "; ".join(found.problems)
        raise ValueError(f"{problems}. Complete the data, or ignore these with on_bad: skip")


def kind_of(root: Path, *, labels: bool = False) -> dict[str, Any]:
    """Return the options of `load` for a path, without a `name` if it has no labels, either in
    itself or in a table of `labels`."""
    every = IMAGES + tuple(KINDS)
    files = [entry.path for entry in files_below(root, every)] if root.is_dir() else [str(root)]
    pictures = [file for file in files if file.lower().endswith(IMAGES)]
    tables = [file for file in files if file.lower().endswith(tuple(KINDS))]
    name = next(
        (KINDS[end] for end in KINDS for file in tables if file.lower().endswith(end)), None
    )
    if root.is_dir() and any(
        (root / part).with_suffix(end).exists() for part in KAGGLE for end in ("", ".csv", ".zip")
    ):
        name = "galaxy_zoo"
    elif pictures:
        inside = root.is_dir() and all(Path(file).parent != root for file in pictures)
        name = "folder" if inside or labels else None
    elif name == "fits" and not root.is_dir():
        name = None
    elif name == "table":
        with hdf5.opened(h5py.File, Path(tables[0])) as content:
            name = "galaxy10" if {"images", "ans"} <= set(content) else "table"
    elif labels and root.suffix.lower() == ".zip":
        name = "folder"
    return {"name": name, "root": str(root)} if name else {"root": str(root)}
