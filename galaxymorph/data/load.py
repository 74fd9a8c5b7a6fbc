"""Load galaxies from files in common formats, or simulate them: `load(name, ...)`.

Each source is a function in `SOURCES`, whose signature defines its options. It returns `Galaxies`,
or, for images in files, `Found`, which is then cut out, joined and decoded here."""

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from galaxymorph.data import cutouts, fits, hdf5, looks, parquet, sources, ways
from galaxymorph.data.found import Found, join, take
from galaxymorph.data.galaxies import Galaxies
from galaxymorph.data.mock import survey as mock
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
    """Simulate the mock survey (`mock.survey`), or load it from the cache.
    `galaxy_zoo_tree.CLASSES` lists the `n_classes` classes that votes are turned into."""

    def write(folder: Path) -> None:
        survey = mock.mock_survey(n_galaxies, image_size=image_size, seed=survey_seed)
        for key in ("images", "votes", "ids", "volunteers"):
            np.save(folder / f"{key}.npy", np.asarray(getattr(survey, key)))

    size = n_galaxies * 3 * image_size**2
    folder = entry(cache, [n_galaxies, image_size, survey_seed, code(mock)], write, needed=size)
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


TEST = 0.2  # fraction of test galaxies, without folds
SOURCES: dict[str, Callable[..., Galaxies | Found]] = {"simulated": simulated, **ways.FILES}


def load(
    name: str,
    *,
    image_size: int = 64,
    target: Target = "classes",
    n_labels: int | Sequence[str] | None = None,
    label_fraction: float | None = None,
    test: float | None = None,
    val: float = 0.2,
    folds: int | None = None,
    seed: int = 0,
    cache: str | Path | None = None,
    select: Callable[[Found], Found] | None = None,
    **options: Any,
) -> Galaxies:
    """Load galaxies from a source, decode and cache them, and split them into train, val and test.

    Args:
        name: source, a key of `SOURCES`.
        image_size: side of the square images, in pixels.
        target: what to learn. `classes`: galaxies that fit no class are unlabelled. `votes`: all
            galaxies with votes are split; those with a class stay in the same split.
        n_labels: number (see `limit_labels`) or ids of the training galaxies that keep their
            labels; the others become unlabelled. Validation and test galaxies are unaffected.
        label_fraction: `n_labels` as a fraction of the training galaxies.
        test, val: fraction of each class (test: 0.2 unless given), at least one galaxy unless 0;
            not for parts of a split that the data come with.
        folds: instead of `test`: number of disjoint test sets. Seeds 0 to folds - 1 test each
            labelled galaxy once, the next `folds` seeds in another draw of the folds, and so on.
        seed: seed for the splits and the choice of labels.
        cache: folder for decoded images (default: `data/cache` in the project).
        select: chooses galaxies that a source found, before any is decoded (not in params files).
        options: options of the source's function; if it reads files, also those of `decoded`.
            Paths are relative to the project's folder; `~` is the home folder.

    Raises:
        ValueError, FileNotFoundError: anything that would invalidate an experiment; the message
            names files, rows or options."""
    given = {"image_size": image_size, "test": test, "val": val, "target": target, **options}
    labelled = {"n_labels": n_labels, "label_fraction": label_fraction}
    _check(name, given | labelled | {"folds": folds})
    test = TEST if test is None else test
    options = ways.located(options)
    kept = project.root() / Path(cache or "data/cache").expanduser() / name
    options |= {"name": name, "image_size": image_size, "cache": kept}
    galaxies = _call(SOURCES[name], options)
    if isinstance(galaxies, Found):
        galaxies = _call(partial(decoded, select(galaxies) if select else galaxies), options)
    votes = galaxies.votes
    if target == "votes" and (votes is None or not votes.isfinite().all(1).any()):
        why = listing(galaxies.notes) or "it has no votes"
        raise ValueError(f"no galaxy has all 37 vote fractions: {why}. Remove target: votes")
    strata = strata_of(galaxies, target)
    remedy = "Add galaxies, or remove the labels so that these galaxies become unlabelled"
    if name == "simulated":
        remedy = "Increase n_galaxies"
    if options.get("n_classes") == 5:
        remedy += ", or use n_classes: 4, with larger classes"
    remedy = remedy if target == "classes" else None
    drawn_split(galaxies, strata, test=test, val=val, folds=folds, seed=seed, remedy=remedy)
    limit_labels(galaxies, strata, target, n_labels=n_labels, fraction=label_fraction, seed=seed)
    return galaxies


def _call(function: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """Call a function with the options that it accepts."""
    accepted = inspect.signature(function).parameters
    return function(**{option: value for option, value in options.items() if option in accepted})


def decoded(
    found: Found,
    *,
    name: str,
    image_size: int,
    cache: Path,
    crop: int | Literal["auto"] | None = None,
    unlabelled_root: Path | None = None,
    unlabelled_crop: int | Literal["auto"] | None = None,
    on_bad: Literal["raise", "skip"] = "raise",
) -> Galaxies:
    """Cut out and decode the images that a source found, or load them from the cache.

    Args:
        crop: side of the central square to cut out before resizing, in pixels of the source
            (default: the largest square); `auto`: by the size of each galaxy (`framing.side`).
        unlabelled_root: second source, for methods that learn without labels: a folder or zip of
            images, an HDF5 file in the same layout, a Parquet file, or a folder of FITS images if
            the first source is FITS. Ids of the first source are left out.
        unlabelled_crop: `crop` for the second source.
        on_bad: `raise` an error for unreadable images, images without a label and labels without
            an image, or `skip` them and list them in `notes`."""
    ways.check_complete(found, on_bad)
    options = {"size": image_size, "crop": crop, "unlabelled_crop": unlabelled_crop}
    found = _settled(found, cache)
    sides: list[int] = []  # that `auto` chooses
    crops = [crop] * len(found.ids)
    if unlabelled_root is not None:
        extra = _second(name, unlabelled_root, found)
        found = join(found, extra, str(unlabelled_root).removeprefix(f"{project.root()}/"))
        crops += [unlabelled_crop] * (len(found.ids) - len(crops))
    inputs = found.colour | options | {"ids": found.ids, "files": found.stamps}
    inputs["code"] = code(sources, hdf5, fits, parquet, cutouts)
    # files that are too large are left out
    inputs["bounds"] = [project.bounds()[name] for name in ("megapixels", "image_mb")]

    def write(folder: Path) -> None:
        cut = partial(partial, cutouts.read, size=image_size, sides=sides)
        jobs = [cut(each, crop=side) for each, side in zip(found.read, crops, strict=True)]
        cutouts.decode(jobs, folder, size=image_size)
        (folder / "sides.json").write_text(json.dumps(sides))

    folder = entry(cache, inputs, write, needed=len(found.ids) * 3 * image_size**2)
    images, remarks, seen = cutouts.opened(folder)
    if problem := looks.unusable(seen, found.names):
        raise ValueError(f"{problem}. {fits.advice(found, seen)}" if found.propose else problem)
    bad = {at: why for at, why, failed in remarks if failed}
    notes, total = [*found.notes], len(found.ids)
    if sides := json.loads((folder / "sides.json").read_text()):
        middle = f"median {np.median(sides):.0f}"
        notes.append(f"crop: auto chose {min(sides)} to {max(sides)} px, {middle}")
    if bad:
        each = _grouped(found.names, bad.items())
        message = f"{len(bad):,} of {total:,} images cannot be used: {each}"
        if len(bad) == total:
            raise ValueError(message)
        if on_bad == "raise":
            raise ValueError(f"{message}. Repair or remove them, or ignore them with on_bad: skip")
        notes.append(f"left out: {message}")
    if repaired := [(at, what) for at, what, failed in remarks if not failed]:
        notes.append(f"remarks on {len(repaired):,} images: {_grouped(found.names, repaired)}")
    kept = [finding for finding in looks.FINDINGS if finding != "blank"]
    notes += looks.sentences(seen, found.names, kept)
    if found.propose and set(seen["finding"]) & {"nearly black", "saturated"}:
        notes.append(fits.advice(found, seen))
    found = take(found, [row for row in range(total) if row not in bad])
    return Galaxies(
        ids=np.array(found.ids),
        images=torch.from_numpy(images),
        labels=torch.tensor([found.labels.get(id, -1) for id in found.ids]),
        classes=found.classes,
        votes=_known(found.votes, found.ids),
        volunteers=_known(found.volunteers, found.ids),
        split=np.array([found.split.get(id, "unlabelled") for id in found.ids], "U10"),
        cutout={"crop": crop, **found.colour},
        notes=notes,
    )


def _grouped(names: Sequence[str], why: Iterable[tuple[int, str]]) -> str:
    """List what happened to which images, each message once."""
    groups = dict[str, list[str]]()
    for at, message in why:
        groups.setdefault(message, []).append(names[at])
    return listing(f"{listing(which)} ({message})" for message, which in groups.items())


def _settled(found: Found, cache: Path) -> Found:
    """Choose the colour options that are not given from the data, or as in the cache."""
    if not found.propose or fits.is_settled(found.colour):
        return found
    propose, colour = found.propose, found.colour

    def write(folder: Path) -> None:
        (folder / "colour.json").write_text(json.dumps(propose(colour)))

    folder = entry(cache, colour | {"files": found.stamps, "code": code(fits)}, write)
    return fits.settled(found, json.loads((folder / "colour.json").read_text()))


def _known(table: pd.DataFrame | pd.Series | None, ids: Sequence[str]) -> Tensor | None:
    """Return the rows of these ids; NaN if missing."""
    return None if table is None else torch.tensor(table.reindex(ids).to_numpy(np.float32))


def _second(name: str, path: Path, found: Found) -> Found:
    """Find the galaxies of a second source, with the colour options of the first, `found`."""
    if name == "parquet" or path.suffix.lower() in parquet.ENDINGS:
        return parquet.find(path)
    if path.suffix.lower() in hdf5.ENDINGS:
        return hdf5.unlabelled(path, name)
    return fits.find(path, **found.colour) if name == "fits" else sources.images(path)


_OWN = {p.name: p for p in inspect.signature(load).parameters.values() if p.kind != p.VAR_KEYWORD}
del _OWN["select"]
_OWN["name"] = _OWN["name"].replace(annotation=Literal[tuple(SOURCES)])  # pyright: ignore


def _options(source: Callable[..., Galaxies | Found]) -> dict[str, Parameter]:
    """Return the options of a source; if it reads files, also those of `decoded`."""
    functions = [source] if source is simulated else [source, decoded]
    own = [p for each in functions for p in inspect.signature(each).parameters.values()]
    return {p.name: p.replace(kind=p.KEYWORD_ONLY) for p in own if p.name not in {*_OWN, "found"}}


OPTIONS = {name: _options(source) for name, source in SOURCES.items()}
_EVERY = {option: p for options in OPTIONS.values() for option, p in options.items()}


def refused(given: Mapping[str, Any]) -> dict[str, str]:
    """Explain, by option, which options the source `given["name"]` lacks although others have them,
    and which exclude each other.
    Options at their default are ignored, and all of them if no source is named."""
    name = given.get("name")
    takes = OPTIONS.get(str(name), _EVERY)
    why = {}
    if None not in (given.get("folds"), given.get("test")):
        why["test"] = "give test or folds, not both: with folds, 1 / folds of each class is tested"
    for option in (option for option in given if option in _EVERY and option not in takes):
        if given[option] not in (None, _EVERY[option].default):
            whose = listing(source for source in SOURCES if option in OPTIONS[source])
            why[option] = f"option {option!r} applies to {whose}, not to {name!r}: remove it"
    return why


def _check(name: str, given: dict[str, Any]) -> None:
    """Raise `ValueError` for unknown sources or options, and for values out of range."""
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
            wrong.append(f"source {name!r} needs `{option}`, the folder or file to read")
    if given["target"] == "votes" and "n_classes" not in takes:
        wrong.append(f"source {name!r} has no votes: remove target: votes")
    if "unlabelled_crop" in given and "unlabelled_root" not in given:
        wrong.append("unlabelled_crop needs unlabelled_root, the second source that it crops")
    if {"n_labels", "label_fraction"} <= given.keys():
        wrong.append("give n_labels or label_fraction, not both")
    for option in ("image_size", "crop", "unlabelled_crop", "n_galaxies"):
        value = given.get(option, 1)
        if "crop" in option and isinstance(value, str):
            wrong += [] if value == "auto" else [f"{option} must be px or auto, not {value!r}"]
        elif value < 1:
            wrong.append(f"{option} must be at least 1, not {value}")
    for option in ("test", "val", "label_fraction"):
        if not 0 <= given.get(option, 0) <= 1:
            wrong.append(f"{option} must lie between 0 and 1, not {given[option]}")
    folds, test, val = given.get("folds"), given.get("test", TEST), given["val"]
    if folds is not None and folds < 2:
        wrong.append(f"folds must be at least 2, not {folds}")
    elif (1 / folds if folds else test) + val >= 1:
        what = f"folds = {folds}" if folds else f"test = {test}"
        wrong.append(f"{what} and val = {val} leave nothing to train on")
    if wrong:
        raise ValueError("; ".join(wrong))


# The options in a params file are checked against this signature before anything runs.
vars(load).update(
    __signature__=inspect.Signature([*_OWN.values(), *_EVERY.values()]), refused=refused
)
