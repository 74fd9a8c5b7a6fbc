"""Galaxies: the one data set type, and `load(name, ...)`, which makes it from anything that
astronomers have on disk."""

from __future__ import annotations

import difflib
import hashlib
import inspect
import types
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from galaxymorph import galaxy_zoo_tree
from galaxymorph.cache import entry
from galaxymorph.data import cutouts, fits, galaxy_zoo, hdf5, sources
from galaxymorph.data.galaxies import Galaxies
from galaxymorph.data.mock import survey as survey_module
from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.data.sources import Found
from galaxymorph.data.splits import Target, drawn_split, limit_labels, strata_of
from galaxymorph.project import root as project_root
from galaxymorph.text import listing

Source = Literal["simulated", "folder", "galaxy_zoo", "galaxy10", "table", "fits"]


# Which sources an option is for; those not named here are for all.
_FILES = ("folder", "galaxy_zoo", "galaxy10", "table", "fits")
_ONLY: dict[str, tuple[str, ...]] = {
    "root": _FILES,
    "crop": _FILES,
    "unlabelled_root": _FILES,
    "unlabelled_crop": _FILES,
    "on_bad": _FILES,
    "labels": ("table", "fits"),
    "volunteers": ("galaxy_zoo",),
    "target": ("simulated", "galaxy_zoo"),
    "class_names": ("folder", "table", "fits"),
    "n_classes": ("simulated", "galaxy_zoo"),
    "n_galaxies": ("simulated",),
    "survey_seed": ("simulated",),
    "bands": ("fits",),
    "hdu": ("fits",),
    "stretch": ("fits",),
    "Q": ("fits",),
    "band_weights": ("fits",),
}
# Why the mock survey has no use for options that all other sources have.
_NOT_SIMULATED = {
    "root": "it reads no files",
    "crop": "its frames are drawn around the galaxies, at image_size",
    "unlabelled_root": "its own unlabelled galaxies are those with ambiguous votes, and more by n_labels or label_fraction",
    "on_bad": "none of its images can be broken",
}


def load(
    name: Source,
    *,
    root: str | Path | None = None,
    image_size: int = 64,
    crop: int | None = None,
    unlabelled_root: str | Path | None = None,
    unlabelled_crop: int | None = None,
    labels: str | Path | None = None,
    volunteers: str | Path | None = None,
    target: Target = "classes",
    class_names: Sequence[str] | None = None,
    n_classes: Literal[4, 5] = 4,
    n_labels: int | None = None,
    label_fraction: float | None = None,
    test: float = 0.2,
    val: float = 0.2,
    seed: int = 0,
    on_bad: sources.OnBad = "raise",
    n_galaxies: int = 4000,
    survey_seed: int = 0,
    bands: str | None = None,
    hdu: int | None = None,
    stretch: float = 0.5,
    Q: float = 8.0,
    band_weights: Sequence[float] = (2.5, 1.5, 1.0),
    cache: str | Path | None = None,
) -> Galaxies:
    """Galaxies from a source, decoded once and cached, split into train, val and test.

    Relative paths are relative to the project's folder; `~` is the home folder.

    Args:
        name: `simulated`: the built-in mock survey (`simulate`). `folder`: one subfolder per class
            with JPEG, PNG or TIFF images of any size. `galaxy_zoo`: Kaggle's Galaxy Zoo layout, as
            folders or zips (`galaxy_zoo.galaxy_zoo`). `galaxy10`: Galaxy10 DECaLS's HDF5 file
            (`hdf5.galaxy10`). `table`: an astropy table in HDF5 with columns r, g, b of images in
            [-0.5, 0.5] (`hdf5.table`). `fits`: cubes of three bands or one file per band
            (`fits.find`).
        root: the folder or file to read. image_size: of the square images that come out, in pixels.
        crop: take the central `crop` pixels of the source's images before resizing; default: the
        largest central square. unlabelled_root: a second source, for methods that learn without
        labels: a folder or zip of images, an HDF5 file of the
            same layout, or a folder of FITS images if the first is one. Ids that the first source
            has are left out.
        unlabelled_crop: `crop` for the second source. labels: CSV file `id,label` for `table` and
        `fits`. volunteers: CSV file with the number of people who classified each galaxy, for
        `galaxy_zoo`, whose votes are fractions:
            columns `GalaxyID`, `asset_id` or `id`, and `volunteers` or `total_classifications` (as
            Galaxy Zoo 2 has them).
        target: what is to be learned. `classes`: galaxies that fit no class are unlabelled.
            `votes`: all galaxies with votes are split, those of no class, too; those of a class lie
            in the same split as with `classes`.
        class_names: names for the classes, in the order of the sorted labels or folders. n_classes:
        classes that votes are turned into, see `schema.CLASSES`. n_labels: keep the labels of this
        many training galaxies: about the same fraction of each class and at least one;
            a smaller set is part of every larger one. The others become unlabelled. Validation and
            test stay as they are.
        label_fraction: the same as a fraction of the training galaxies. test, val: fraction of each
        class, at least one galaxy unless 0. seed: of the splits and the choice of labels. on_bad:
        what to do about images that cannot be read, images without label and labels without image:
        stop, or go on
            without them and say so in `notes`.
        n_galaxies, survey_seed: of the mock survey. bands, hdu, stretch, Q, band_weights: from FITS
        bands to colour; see `fits.find` and `fits.read`. cache: folder for decoded images; default:
        `data/cache` in the project.

    Raises:
        ValueError, FileNotFoundError: anything about the data or the options that would spoil an
            experiment; the message names files, rows or options and says what to do.
    """
    _check_options(dict(locals()))
    project = project_root()
    cache_folder = project / Path(cache or Path("data", "cache")).expanduser() / name
    path, csv = (
        project / Path(root or "").expanduser(),
        project / Path(labels).expanduser() if labels else None,
    )
    colour: dict[str, Any] = {
        "bands": bands,
        "hdu": hdu,
        "stretch": stretch,
        "q": Q,
        "band_weights": tuple(band_weights),
    }
    if name == "simulated":
        galaxies = _simulated(cache_folder, n_galaxies, image_size, survey_seed, n_classes)
    else:
        found = _find(
            name,
            path,
            labels=csv,
            class_names=class_names,
            n_classes=n_classes,
            on_bad=on_bad,
            colour=colour,
        )
        if volunteers is not None:
            found = galaxy_zoo.count_volunteers(found, project / Path(volunteers).expanduser())
        found = _cut(found, image_size, crop)
        if unlabelled_root is not None:
            extra = _find_unlabelled(
                name, project / Path(unlabelled_root).expanduser(), colour=colour
            )
            found = sources.join(
                found, _cut(extra, image_size, unlabelled_crop), str(unlabelled_root)
            )
        options = colour | {"size": image_size, "crop": crop, "unlabelled_crop": unlabelled_crop}
        galaxies = _decoded(found, options, on_bad, cache_folder)
    galaxies.cutout = {"crop": crop}
    if name == "fits":
        galaxies.cutout |= {
            "bands": bands,
            "hdu": hdu,
            "stretch": stretch,
            "Q": Q,
            "band_weights": list(band_weights),
        }
    strata = strata_of(galaxies, target)
    drawn_split(
        galaxies,
        strata,
        test=test,
        val=val,
        seed=seed,
        remedy=_remedy(name, n_classes) if target == "classes" else None,
    )
    limit_labels(
        galaxies, strata, target, n_labels=n_labels, label_fraction=label_fraction, seed=seed
    )
    return galaxies


def _check_options(given: dict[str, Any]) -> None:
    """Raises `ValueError` for an unknown source, for options that it does not use, and for values
    out of range."""
    known = get_args(Source)
    name = given["name"]
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"no data source {name!r}; {hint}There are: {', '.join(known)}")
    for option, parameter in inspect.signature(load).parameters.items():
        if (
            given[option] != parameter.default
            and option != "name"
            and name not in _ONLY.get(option, known)
        ):
            why = (
                f" ({_NOT_SIMULATED[option]})"
                if name == "simulated" and option in _NOT_SIMULATED
                else ""
            )
            raise ValueError(
                f"option {option!r} means nothing to the source {name!r}{why}: remove it"
            )
    if given["root"] is None and name in _ONLY["root"]:
        raise ValueError(f"the source {name!r} needs `root`, the folder or file to read")
    if given["unlabelled_crop"] is not None and given["unlabelled_root"] is None:
        raise ValueError("unlabelled_crop needs unlabelled_root, the second source that it is for")
    for option in ("image_size", "crop", "unlabelled_crop", "n_galaxies"):
        if given[option] is not None and given[option] < 1:
            raise ValueError(f"{option} must be at least 1, not {given[option]}")
    if given["n_labels"] is not None and given["label_fraction"] is not None:
        raise ValueError("give n_labels or label_fraction, not both")
    for option in ("test", "val", "label_fraction"):
        if given[option] is not None and not 0 <= given[option] <= 1:
            raise ValueError(f"{option} must lie between 0 and 1, not {given[option]}")
    if given["test"] + given["val"] >= 1:
        raise ValueError(
            f"test = {given['test']} and val = {given['val']} leave nothing to train on"
        )


# --- pixels ---------------------------------------------------------------------------------------


def _simulated(cache: Path, n: int, size: int, seed: int, n_classes: int) -> Galaxies:
    """The mock survey; made once, like everything that is decoded."""

    def write(folder: Path) -> None:
        survey = mock_survey(n, image_size=size, seed=seed)
        np.save(folder / "images.npy", survey.images.numpy())
        np.save(folder / "votes.npy", survey.votes.numpy())
        np.save(folder / "volunteers.npy", survey.volunteers.numpy().astype(np.float32))
        np.save(folder / "ids.npy", survey.ids)

    inputs = {
        "n": n,
        "size": size,
        "seed": seed,
        "code": _code(survey_module),
        "files": ["images", "votes", "volunteers", "ids"],
    }
    folder = entry(cache, inputs, write)
    votes = np.load(folder / "votes.npy")
    classes = galaxy_zoo_tree.CLASSES[n_classes]
    return Galaxies(
        ids=np.load(folder / "ids.npy"),
        images=torch.from_numpy(cutouts.open_images(folder)),
        labels=torch.from_numpy(galaxy_zoo_tree.hard_labels(votes, classes)),
        classes=classes,
        votes=torch.from_numpy(votes),
        volunteers=torch.from_numpy(np.load(folder / "volunteers.npy")),
        split=np.full(n, "unlabelled"),
    )


def _find(
    name: Source,
    path: Path,
    *,
    labels: Path | None,
    class_names: Sequence[str] | None,
    n_classes: Literal[4, 5],
    on_bad: sources.OnBad,
    colour: dict[str, Any],
) -> Found:
    if name == "folder":
        return sources.folder(path, class_names=class_names)
    if name == "galaxy_zoo":
        return galaxy_zoo.galaxy_zoo(path, n_classes=n_classes, on_bad=on_bad)
    if name == "galaxy10":
        return hdf5.galaxy10(path)
    if name == "table":
        return hdf5.table(path, labels=labels, class_names=class_names, on_bad=on_bad)
    return fits.find(path, labels=labels, class_names=class_names, on_bad=on_bad, **colour)


def _find_unlabelled(name: Source, path: Path, *, colour: dict[str, Any]) -> Found:
    """The galaxies of a second source, whatever it is."""
    if path.suffix.lower() in hdf5.ENDINGS:
        return (
            hdf5.galaxy10(path)
            if name == "galaxy10"
            else hdf5.table(path, labels=None, class_names=None, on_bad="skip")
        )
    if name == "fits":
        return fits.find(path, labels=None, class_names=None, on_bad="skip", **colour)
    return sources.images(path)


def _cut(found: Found, size: int, crop: int | None) -> Found:
    """The same galaxies, with square cutouts as pixels: uint8 (3, size, size)."""
    return replace(
        found, read=[partial(cutouts.read, read, size=size, crop=crop) for read in found.read]
    )


def _decoded(found: Found, options: dict[str, Any], on_bad: sources.OnBad, cache: Path) -> Galaxies:
    """Decode what was found, or open it from the cache, and leave out what cannot be read."""
    inputs = options | {
        "ids": found.ids,
        "files": found.stamps,
        "code": _code(sources, hdf5, fits, cutouts),
    }
    folder = entry(cache, inputs, partial(cutouts.decode, found.read, size=options["size"]))
    remarks = cutouts.open_remarks(folder)
    bad = {position: message for position, message, failed in remarks if failed}
    notes = [*found.notes]
    if bad:
        message = f"{len(bad):,} of {len(found.ids):,} images cannot be used: " + listing(
            f"{found.names[position]} ({message})" for position, message in bad.items()
        )
        if on_bad == "raise" or len(bad) == len(found.ids):
            raise ValueError(
                f"{message}. Repair or remove them, or leave them out with on_bad: skip"
            )
        notes.append(f"left out: {message}")
    if mended := [
        f"{found.names[position]}: {message}" for position, message, failed in remarks if not failed
    ]:
        notes.append(f"mended {len(mended):,} images: {listing(mended)}")
    found = sources.take(found, [row for row in range(len(found.ids)) if row not in bad])
    return Galaxies(
        ids=np.array(found.ids),
        images=torch.from_numpy(cutouts.open_images(folder)),
        labels=torch.tensor(found.labels),
        classes=found.classes,
        votes=None if found.votes is None else torch.from_numpy(found.votes.astype(np.float32)),
        volunteers=None
        if found.volunteers is None
        else torch.from_numpy(found.volunteers.astype(np.float32)),
        split=np.full(len(found.ids), "unlabelled"),
        notes=notes,
    )


def _code(*modules: types.ModuleType) -> str:
    """A hash of the source text of modules and of all in this package that they import: what is
    cached depends on it."""
    seen = {module.__name__: module for module in modules}
    waiting = list(modules)
    while waiting:
        for value in vars(waiting.pop()).values():
            module = value if isinstance(value, types.ModuleType) else inspect.getmodule(value)
            if (
                module
                and module.__name__.startswith("galaxymorph.")
                and module.__name__ not in seen
            ):
                seen[module.__name__] = module
                waiting.append(module)
    texts = [inspect.getsource(seen[name]) for name in sorted(seen)]
    return hashlib.sha256("".join(texts).encode()).hexdigest()


# --- which galaxy belongs where -------------------------------------------------------------------


def _remedy(name: Source, n_classes: int) -> str:
    """What can be done where a class has too few galaxies."""
    fewer = ", or use n_classes: 4, which has larger classes" if n_classes == 5 else ""
    return {
        "simulated": f"Simulate more by n_galaxies{fewer}",
        "folder": "Add images to its folder, or move the folder away",
        "galaxy_zoo": f"Add galaxies with clear votes for it{fewer}",
        "galaxy10": "Use a file with more galaxies of it: the ten classes are fixed",
        "table": "Add galaxies, or empty its labels in the CSV file: those galaxies are then unlabelled",
        "fits": "Add galaxies, or empty its labels in the CSV file: those galaxies are then unlabelled",
    }[name]
