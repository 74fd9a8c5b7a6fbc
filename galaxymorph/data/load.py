"""`load(name, ...)`: galaxies from anything that astronomers have on disk, or simulated ones.

Each source is a function in `SOURCES`, whose signature says which options it has. It returns
`Galaxies`, or the `Found` of images in files, which are then cut, joined and decoded here."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from inspect import Parameter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from galaxymorph import galaxy_zoo_tree, project
from galaxymorph.cache import code, entry
from galaxymorph.data import cutouts, fits, hdf5, sources
from galaxymorph.data.galaxies import Galaxies
from galaxymorph.data.galaxy_zoo import galaxy_zoo
from galaxymorph.data.mock import survey as mock
from galaxymorph.data.sources import Found
from galaxymorph.data.splits import Target, drawn_split, limit_labels, strata_of
from galaxymorph.text import listing, unknown


def simulated(
    *,
    n_galaxies: int = 4000,
    survey_seed: int = 0,
    n_classes: Literal[4, 5] = 4,
    image_size: int,
    cache: Path,
) -> Galaxies:
    """Simulate the mock survey (`mock.survey`), or open it from the cache; `n_classes`: classes
    that votes are turned into, `galaxy_zoo_tree.CLASSES`."""

    def write(folder: Path) -> None:
        survey = mock.mock_survey(n_galaxies, image_size=image_size, seed=survey_seed)
        for key in ("images", "votes", "ids", "volunteers"):
            np.save(folder / f"{key}.npy", np.asarray(getattr(survey, key)))

    folder = entry(cache, [n_galaxies, image_size, survey_seed, code(mock)], write)
    votes, classes = np.load(folder / "votes.npy"), galaxy_zoo_tree.CLASSES[n_classes]
    return Galaxies(
        ids=np.load(folder / "ids.npy"),
        images=torch.from_numpy(np.load(folder / "images.npy", mmap_mode="c")),
        labels=torch.from_numpy(galaxy_zoo_tree.hard_labels(votes, classes)),
        classes=classes,
        votes=torch.from_numpy(votes),
        volunteers=torch.from_numpy(np.load(folder / "volunteers.npy")).float(),
        split=np.full(n_galaxies, "unlabelled"),
        cutout={"crop": None},
    )


SOURCES: dict[str, Callable[..., Galaxies | Found]] = {
    "simulated": simulated,
    "folder": sources.folder,
    "galaxy_zoo": galaxy_zoo,
    "galaxy10": hdf5.galaxy10,
    "table": hdf5.table,
    "fits": fits.find,
}


def load(
    name: str,
    *,
    image_size: int = 64,
    target: Target = "classes",
    n_labels: int | Sequence[str] | None = None,
    label_fraction: float | None = None,
    test: float = 0.2,
    val: float = 0.2,
    seed: int = 0,
    cache: str | Path | None = None,
    **options: Any,
) -> Galaxies:
    """Load galaxies from a source, decoded once and cached, split into train, val and test. Paths
    are relative to the project's folder; `~` is the home folder.

    Args:
        name: of the source, each described by its function in `SOURCES`.
        image_size: of the square images that come out, in pixels.
        target: what is to be learned. `classes`: galaxies that fit no class are unlabelled.
            `votes`: all galaxies with votes are split, those of no class, too; those of a class lie
            in the same split as with `classes`.
        n_labels: keep the labels of this many training galaxies, see `limit_labels`, or of those
            with these ids; the others become unlabelled. Validation and test stay as they are.
        label_fraction: the same as a fraction of the training galaxies.
        test, val: fraction of each class, at least one galaxy unless 0.
        seed: of the splits and the choice of labels.
        cache: folder for decoded images; default: `data/cache` in the project.
        options: those of the source's function; if it reads files, also those of `decoded`.

    Raises:
        ValueError, FileNotFoundError: whatever would spoil an experiment; the message names files,
            rows or options.
    """
    given = {"image_size": image_size, "test": test, "val": val, "target": target, **options}
    _check(name, given | {"n_labels": n_labels, "label_fraction": label_fraction})
    root = project.root()
    for option in ("root", "labels", "volunteers", "unlabelled_root"):
        if options.get(option) is not None:
            options[option] = root / Path(options[option]).expanduser()
    kept = root / Path(cache or "data/cache").expanduser() / name
    options |= {"name": name, "image_size": image_size, "cache": kept}
    galaxies = _call(SOURCES[name], options)
    if isinstance(galaxies, Found):
        galaxies = _call(partial(decoded, galaxies), options)
    strata = strata_of(galaxies, target)
    remedy = "Add galaxies of it, or take its labels away: those galaxies are then unlabelled"
    if name == "simulated":
        remedy = "Simulate more by n_galaxies"
    if options.get("n_classes") == 5:
        remedy += ", or use n_classes: 4, which has larger classes"
    remedy = remedy if target == "classes" else None
    drawn_split(galaxies, strata, test=test, val=val, seed=seed, remedy=remedy)
    limit_labels(galaxies, strata, target, n_labels=n_labels, fraction=label_fraction, seed=seed)
    return galaxies


def _call(function: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """Call a function with those of the options that it has."""
    has = inspect.signature(function).parameters
    return function(**{option: value for option, value in options.items() if option in has})


def decoded(
    found: Found,
    *,
    name: str,
    image_size: int,
    cache: Path,
    crop: int | None = None,
    unlabelled_root: Path | None = None,
    unlabelled_crop: int | None = None,
    on_bad: Literal["raise", "skip"] = "raise",
) -> Galaxies:
    """Cut square images out of what a source found and decode them, or open them from the cache.

    Args:
        crop: take the central `crop` pixels of the source's images before resizing; default: the
            largest central square.
        unlabelled_root: a second source, for methods that learn without labels: a folder or zip of
            images, an HDF5 file of the same layout, or a folder of FITS images if the first is one.
            Ids that the first source has are left out.
        unlabelled_crop: `crop` for the second source.
        on_bad: whether to stop at images that cannot be read, images without label and labels
            without image, or to go on without them and say so in `notes`.
    """
    if found.problems and on_bad == "raise":
        problems = "; ".join(found.problems)
        raise ValueError(f"{problems}. Complete the data, or go on without these by on_bad: skip")
    options = {"size": image_size, "crop": crop, "unlabelled_crop": unlabelled_crop}
    found = _cut(found, image_size, crop)
    if unlabelled_root is not None:
        extra = _cut(_second(name, unlabelled_root, found), image_size, unlabelled_crop)
        found = sources.join(found, extra, str(unlabelled_root).removeprefix(f"{project.root()}/"))
    inputs = found.colour | options | {"ids": found.ids, "files": found.stamps}
    inputs["code"] = code(sources, hdf5, fits, cutouts)
    folder = entry(cache, inputs, partial(cutouts.decode, found.read, size=image_size))
    images, remarks = cutouts.opened(folder)
    bad = {at: why for at, why, failed in remarks if failed}
    notes, total = [*found.notes], len(found.ids)
    if bad:
        each = listing(f"{found.names[at]} ({why})" for at, why in bad.items())
        message = f"{len(bad):,} of {total:,} images cannot be used: {each}"
        if on_bad == "raise" or len(bad) == total:
            raise ValueError(f"{message}. Repair or remove them, or leave them out: on_bad: skip")
        notes.append(f"left out: {message}")
    if mended := [f"{found.names[at]}: {what}" for at, what, failed in remarks if not failed]:
        notes.append(f"mended {len(mended):,} images: {listing(mended)}")
    found = sources.take(found, [row for row in range(total) if row not in bad])
    return Galaxies(
        ids=np.array(found.ids),
        images=torch.from_numpy(images),
        labels=torch.tensor([found.labels.get(id, -1) for id in found.ids]),
        classes=found.classes,
        votes=_known(found.votes, found.ids),
        volunteers=_known(found.volunteers, found.ids),
        split=np.full(len(found.ids), "unlabelled"),
        cutout={"crop": crop, **found.colour},
        notes=notes,
    )


def _known(table: pd.DataFrame | pd.Series | None, ids: Sequence[str]) -> Tensor | None:
    """The rows of these ids, NaN where there is none."""
    return None if table is None else torch.tensor(table.reindex(ids).to_numpy(np.float32))


def _cut(found: Found, size: int, crop: int | None) -> Found:
    """The same galaxies, with square cutouts as pixels: uint8 (3, size, size)."""
    return replace(found, read=[partial(cutouts.read, r, size=size, crop=crop) for r in found.read])


def _second(name: str, path: Path, found: Found) -> Found:
    """The galaxies of a second source, with the colours of the first, `found`."""
    if path.suffix.lower() in hdf5.ENDINGS:
        return hdf5.galaxy10(path) if name == "galaxy10" else hdf5.table(path)
    return fits.find(path, **found.colour) if name == "fits" else sources.images(path)


_OWN = {p.name: p for p in inspect.signature(load).parameters.values() if p.kind != p.VAR_KEYWORD}
_OWN["name"] = _OWN["name"].replace(annotation=Literal[tuple(SOURCES)])  # pyright: ignore


def _options(source: Callable[..., Galaxies | Found]) -> dict[str, Parameter]:
    """The options of one source by its signature; for images in files, also of `decoded`."""
    functions = [source] if source is simulated else [source, decoded]
    own = [p for each in functions for p in inspect.signature(each).parameters.values()]
    return {p.name: p.replace(kind=p.KEYWORD_ONLY) for p in own if p.name not in {*_OWN, "found"}}


OPTIONS = {name: _options(source) for name, source in SOURCES.items()}
_EVERY = {option: p for options in OPTIONS.values() for option, p in options.items()}


def refused(given: Mapping[str, Any]) -> dict[str, str]:
    """Why options are refused that the source `given["name"]` does not have, but another one has;
    none where no source is named. An option at its default is never refused."""
    name = given.get("name")
    takes = OPTIONS.get(str(name), _EVERY)
    why = {}
    for option in (option for option in given if option in _EVERY and option not in takes):
        if given[option] not in (None, _EVERY[option].default):
            whose = listing(source for source in SOURCES if option in OPTIONS[source])
            why[option] = f"the source {name!r} has no option {option!r}, but {whose}: remove it"
    return why


def _check(name: str, given: dict[str, Any]) -> None:
    """Raise `ValueError` for unknown sources and options, and values out of range."""
    if name not in SOURCES:
        raise ValueError(unknown("source", name, SOURCES))
    takes = OPTIONS[name]
    wrong = list(refused({"name": name, **given}).values())
    known = [*_OWN, *takes]
    strange = [option for option in given if option not in {*known, *_EVERY}]
    wrong += [unknown("option", option, known) for option in strange]
    given = {option: value for option, value in given.items() if value is not None}
    for option, parameter in takes.items():
        if parameter.default is Parameter.empty and option not in given:
            wrong.append(f"the source {name!r} needs `{option}`, the folder or file to read")
    if given["target"] == "votes" and "n_classes" not in takes:
        wrong.append(f"the source {name!r} has no votes: remove target: votes")
    if "unlabelled_crop" in given and "unlabelled_root" not in given:
        wrong.append("unlabelled_crop needs unlabelled_root, the second source that it is for")
    if {"n_labels", "label_fraction"} <= given.keys():
        wrong.append("give n_labels or label_fraction, not both")
    for option in ("image_size", "crop", "unlabelled_crop", "n_galaxies"):
        if given.get(option, 1) < 1:
            wrong.append(f"{option} must be at least 1, not {given[option]}")
    for option in ("test", "val", "label_fraction"):
        if not 0 <= given.get(option, 0) <= 1:
            wrong.append(f"{option} must lie between 0 and 1, not {given[option]}")
    if (test := given["test"]) + (val := given["val"]) >= 1:
        wrong.append(f"test = {test} and val = {val} leave nothing to train on")
    if wrong:
        raise ValueError("; ".join(wrong))


# What a params file may give to `load` is checked by its signature before anything runs.
vars(load).update(
    __signature__=inspect.Signature([*_OWN.values(), *_EVERY.values()]), refused=refused
)
