"""Show what a data set holds before anything is trained: classes, pixels, and what looks wrong."""

import inspect
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jaxtyping import Int, UInt8
from numpy import ndarray

from galaxymorph import project
from galaxymorph.apply.images import Cutouts, check_positive, find
from galaxymorph.data import cutouts, fits, looks, ways
from galaxymorph.data.found import SPLITS, Found, take
from galaxymorph.data.load import load
from galaxymorph.plots.pages import picture, render
from galaxymorph.text import listing

MOST, SAMPLE = 10_000, 2_000  # galaxies; of a larger set, a sample is decoded
MOST_ROWS = 30  # of the table of classes that is printed
LEAST = 50  # of each class in a sample
EACH, TILE = 12, 96  # pictures in a row, and their side (px)
MEASURED = 1_000  # images for histograms, and as many pictures to ask for their size
BANDS = ("red", "green", "blue")
TOO_MANY = "{} of {} galaxies were decoded, spread over the set; a run decodes all."
NO_LABELS = (
    "images without labels: classify them with `galaxymorph predict`, or name them as "
    "`unlabelled_root` of a labelled set. Add a table of labels by -s galaxies.labels=FILE"
)

Rows = Int[ndarray, " row"]


@dataclass
class Seen:
    """What could be read of a data set."""

    ids: list[str]  # of `images`
    images: Cutouts
    classes: tuple[str, ...] = ()
    labels: ndarray | None = None  # index into `classes`, or -1, of each image
    found: Found | None = None  # of all galaxies, if they are in files
    splits: pd.DataFrame | None = None  # counts by class and split, if they could be drawn
    errors: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return max(len(self.ids), len(self.found.ids) if self.found else 0)

    @property
    def is_sample(self) -> bool:
        return self.found is not None and len(self.found.ids) > MOST


def check(
    options: Mapping[str, Any],
    out: Path = Path("check.html"),
    *,
    say: Callable[[str], object] = print,
) -> bool:
    """Say what a data set holds, and write a page with examples; return whether it is usable.

    `options` are those of `data.load`, or only a `root` whose kind is recognised (`ways.kind_of`);
    without labels it is read as by `predict`. Of more than `MOST` galaxies a sample is decoded.
    Raises `ValueError` or `OSError` if nothing can be read."""
    if out.suffix.lower() != ".html":
        raise ValueError(f"{out}: the page needs the ending .html")
    given = dict(options)
    if "name" not in given:
        root = Path(given.pop("root")).absolute()
        given = ways.kind_of(root, labels="labels" in given) | given
    seen = with_labels(given) if "name" in given else without_labels(given)
    table = looks.look(seen.images)
    if not seen.errors and (bad := looks.unusable(table, seen.ids)):
        seen.errors.append(bad)
    seen.remarks = noticed(seen.remarks, table, seen.ids, known=seen.errors)
    root = project.root() / Path(given.get("root", given.get("name", ""))).expanduser()
    if not seen.classes and (tables := sorted(root.glob("*.csv"))):
        names = listing(table.name for table in tables)
        seen.remarks.append(f"not read: {names}. If it has labels, -s galaxies.labels={tables[0]}")
    if seen.is_sample:
        seen.remarks.insert(0, TOO_MANY.format(f"{len(seen.ids):,}", f"{seen.total:,}"))
    facts = facts_of(seen, given)
    for line in lines(seen, facts):
        say(line)
    project.write(out, page(seen, root.name, facts, table["finding"].to_numpy(str)))
    say(f"page: {out}")
    return not seen.errors


def noticed(
    notes: Sequence[str], table: pd.DataFrame, ids: Sequence[str], *, known: Sequence[str] = ()
) -> list[str]:
    """Return the notes of a set, and what its `looks` add to them and to what is `known`."""
    before = "\n".join([*known, *notes])
    more = looks.sentences(table, ids)
    return [*notes, *(text for text in more if f"{text.partition(':')[0]}: " not in before)]


def spread(n: int, most: int) -> Rows:
    """Return at most `most` of `n` rows, evenly spread."""
    return np.unique(np.linspace(0, max(0, n - 1), min(n, most)).round().astype(int))


def sampled(found: Found) -> Found:
    """Return the galaxies, or of more than `MOST` a sample with all classes."""
    if len(found.ids) <= MOST:
        return found
    labels = np.array([found.labels.get(id, -1) for id in found.ids])
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    shares = [max(LEAST, round(SAMPLE * len(rows) / len(labels))) for rows in groups]
    rows = [rows[spread(len(rows), n)] for rows, n in zip(groups, shares, strict=True)]
    return take(found, np.sort(np.concatenate(rows)).tolist())


def with_labels(options: Mapping[str, Any]) -> Seen:
    """Read galaxies as a run would, once more without bad ones if there are errors."""
    kept, errors = list[Found](), list[str]()

    def select(found: Found) -> Found:
        kept[:] = [found]
        return sampled(found)

    for more in ({}, {"on_bad": "skip"}):
        try:
            galaxies = load(**{**options, **more}, select=select)
        except (ValueError, OSError) as error:
            if not kept:
                raise  # nothing was found
            errors += [str(error)] if str(error) not in errors else []
            continue
        found, splits = kept[0] if kept else None, galaxies.counts()
        shown = (
            galaxies.ids.tolist(),
            galaxies.images.numpy(),
            galaxies.classes,
            galaxies.labels.numpy(),
        )
        known = "\n".join(errors)
        notes = [n for n in galaxies.notes if n.removeprefix("left out: ") not in known]
        return Seen(*shown, found, splits, errors, notes)
    return replace(decoded(kept[0], options), errors=errors, remarks=[*kept[0].notes])


def without_labels(options: Mapping[str, Any]) -> Seen:
    """Read pictures as `predict` does, which leaves out those that it cannot read."""
    root, allowed = (
        Path(options["root"]),
        inspect.signature(fits.read).parameters.keys() - {"files"},
    )
    colour = {key: each for key, each in options.items() if key in allowed}
    if other := options.keys() - allowed - {"root", "image_size", "crop", "cache"}:
        why = (
            f"{root} has no labels of its own: give name, the source, too (-s galaxies.name=folder)"
        )
        raise ValueError(f"option {listing(sorted(other))}: {why}")
    check_positive(image_size=options.get("image_size"), crop=options.get("crop"))
    return decoded(find([root], {"image_size": None, "cutout": colour}), options)


def tried(job: cutouts.Job) -> tuple[Any, str]:
    """Return an image with a remark, or None with the reason."""
    try:
        return job()
    except Exception as error:  # decoders raise all kinds of errors on broken files
        return None, str(error) or type(error).__name__


def decoded(found: Found, options: Mapping[str, Any]) -> Seen:
    """Decode pictures without judging them."""
    part, cut = sampled(found), {"size": options.get("image_size", 64)}
    cut |= {"crop": options.get("crop")}
    reads = [partial(cutouts.read, each, **cut) for each in part.read]
    results = [*cutouts.in_order(tried, reads, workers=os.cpu_count() or 1)]
    rows = [row for row, (image, _) in enumerate(results) if image is not None]
    images = [results[row][0] for row in rows]
    labels = np.array([found.labels.get(part.ids[row], -1) for row in rows])
    seen = Seen(
        [part.ids[row] for row in rows],
        np.stack(images) if images else np.zeros((0, 3, cut["size"], cut["size"]), np.uint8),
        found.classes,
        labels if found.classes else None,
        found,
        remarks=[*found.notes],
    )
    for what, wanted in (("cannot be used", True), ("were repaired", False)):
        said = [
            f"{name} ({why})"
            for name, (image, why) in zip(part.names, results, strict=True)
            if why and (image is None) == wanted
        ]
        if said:
            text = f"{len(said):,} of {len(results):,} images {what}: {listing(said)}"
            (seen.remarks if images else seen.errors).append(text)
    return seen


def sizes(found: Found) -> str:
    """Return the sizes of the source images, in pixels, each with the number of images."""
    asked, count = spread(len(found.ids), MEASURED), Counter[tuple[int, int]]()
    for row in asked:
        try:
            image = found.read[row]()[0]
        except Exception:  # decoders raise all kinds of errors, which are reported elsewhere
            continue
        if isinstance(image, ndarray):
            count[image.shape[1], image.shape[0]] += 1
        else:
            count[image.size] += 1
    each = [f"{width} x {height} px ({n:,})" for (width, height), n in count.most_common()]
    of = f", of {len(asked):,} looked at" if len(asked) < len(found.ids) else ""
    return listing(each, 4) + of if each else "unknown"


def facts_of(seen: Seen, options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what is known of the whole set, by name."""
    written = {
        key: str(value) if isinstance(value, Path) else value for key, value in options.items()
    }
    text = yaml.safe_dump(
        {"galaxies": written}, default_flow_style=True, width=1000, sort_keys=False
    )
    as_read = text.strip().removeprefix("{").removesuffix("}") if "name" in options else NO_LABELS
    shown = f"{seen.images.shape[-1]} x {seen.images.shape[-1]} px"
    facts = [("read as", as_read), ("galaxies", f"{seen.total:,}")]
    if seen.classes:
        facts.append(("classes", f"{len(seen.classes)}: {listing(seen.classes, 12)}"))
    if seen.found:
        facts.append(("source images", sizes(seen.found)))
    return [*facts, ("images here", shown)]


def counted(seen: Seen) -> tuple[list[str], list[list[str]]]:
    """Return the header and rows of a table of classes; without rows if nothing is labelled."""
    names, splits, part = [*seen.classes, "unlabelled"], seen.splits, ""
    if splits is not None and not seen.is_sample:
        total = splits.sum(axis=1).tolist()
    else:
        found = seen.found.labels.values() if seen.found else []
        known, part = Counter(found), " (sample)"
        total = [known[k] for k in range(len(seen.classes))]
        total.append(seen.total - sum(total))
    header = ["class", "galaxies"]
    rows = [[name, f"{n:,}"] for name, n in zip(names, total, strict=True)]
    if splits is not None:
        header += [f"{split}{part}" for split in SPLITS[:3]]
        for row, name in zip(rows, names, strict=True):
            row += [f"{n:,}" for n in splits.loc[name, list(SPLITS[:3])]]
    rows = rows if total[-1] else rows[:-1]
    return header, rows if seen.classes else []


def lines(seen: Seen, facts: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield what is printed."""
    yield from (f"{name}: {value}" for name, value in facts)
    header, rows = counted(seen)
    if rows:
        yield pd.DataFrame(rows[:MOST_ROWS], columns=header).to_string(index=False)
    if len(rows) > MOST_ROWS:
        yield f"and {len(rows) - MOST_ROWS:,} more rows, which are on the page"
    for band in bands(seen.images):
        yield "{name}: median {median}, {black} at 0, {white} at 255".format(**band)
    yield from (f"error: {text}" for text in seen.errors)
    yield from (f"remark: {text}" for text in seen.remarks)


def bands(images: Cutouts) -> list[dict[str, str]]:
    """Return median, shares at 0 and at 255, and the outline of a histogram of each channel.

    The outline is an SVG path in a frame of 256 by 100; heights are logarithmic, from 1 in 100,000
    pixels to all of them."""
    found = []
    some = images[spread(len(images), MEASURED)]
    for name, band in zip(BANDS, some.transpose(1, 0, 2, 3) if len(some) else (), strict=False):
        share = np.bincount(band.ravel(), minlength=256) / band.size
        height = np.log10(np.maximum(share.reshape(64, 4).sum(1), 1e-5)) / 5 + 1
        path = "".join(f"V{100 - 100 * h:.1f}h4" for h in height)
        median = f"{int(np.searchsorted(share.cumsum(), 0.5))}"
        black, white = (f"{100 * share[level]:.1f} %" for level in (0, 255))
        found.append(
            dict(name=name, median=median, black=black, white=white, path=f"M0 100{path}V100Z")
        )
    return found


def page(seen: Seen, name: str, facts: Sequence[tuple[str, str]], finding: ndarray) -> str:
    """Return the HTML of the page."""

    def row(name: str, rows: Rows) -> dict[str, Any]:
        chosen = rows[spread(len(rows), EACH)] if len(rows) else rows
        shown = [(seen.ids[at], encoded(seen.images[at])) for at in chosen]
        return {"name": name, "n": f"{len(rows):,}", "shown": shown}

    labels = seen.labels if seen.labels is not None else np.full(len(seen.ids), -1)
    names = [*enumerate(seen.classes), (-1, "unlabelled" if seen.classes else "galaxies")]
    classes = [row(name, np.flatnonzero(labels == k)) for k, name in names]
    wrong = [row(name, np.flatnonzero(finding == name)) for name in looks.FINDINGS]
    header, table = counted(seen)
    return render(
        "check.html",
        title=f"Data check: {name}",
        facts=facts,
        errors=seen.errors,
        remarks=seen.remarks,
        wrong=[each for each in wrong if each["shown"]],
        classes=[each for each in classes if each["shown"]],
        header=header,
        table=table,
        bands=bands(seen.images),
        measured=f"{min(len(seen.images), MEASURED):,}",
    )


def encoded(image: UInt8[ndarray, "3 size size"]) -> str:
    """Return an image as base64-encoded WebP."""
    return picture(np.ascontiguousarray(image.transpose(1, 2, 0)), TILE)
