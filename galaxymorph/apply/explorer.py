"""A page to explore galaxies: a map of their features, linked with a table, a gallery, histograms,
and what is known and predicted of each.

One HTML file without requests to anywhere, which its content security policy enforces. The modules
of `assets/` are put into one script, because a browser loads no module from a file; `page` gives
the policy its hash."""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8
from jinja2 import Environment, FileSystemLoader
from numpy import ndarray

from galaxymorph import galaxy_zoo_tree
from galaxymorph.apply import page_model
from galaxymorph.apply.packing import MANY, Blobs
from galaxymorph.learning import model_files
from galaxymorph.text import listing

ASSETS = Path(__file__).with_name("assets")
MODULES = ("unpack", "rows", "address", "map", "lists", "panels", "detail", "save", "explorer")
PICTURED = 10_000  # thumbnails at most
LARGE, TILE, LARGER = 2500, 64, 128  # of up to 2,500 galaxies thumbnails may have 128 px
BUDGET = 700  # bytes of a thumbnail of 64 px, on average
DIMENSIONS = 64  # of the features that neighbours are found by

Points = Float[ndarray, "galaxy 2"]


@dataclass
class Explored:
    """What is shown of galaxies; the first dimension of all arrays is that of `ids`.

    `columns`, by group ("galaxy", "measured", ...), are what can be coloured, filtered and sorted
    by. Numbers that are missing are NaN, names "". In `probabilities` (by method) a galaxy that the
    method has not predicted is a row of NaN. `votes` are cumulative."""

    ids: Sequence[str]
    projections: Mapping[str, Points]  # maps by name
    columns: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    classes: Sequence[str] = ()
    probabilities: Mapping[str, Float[ndarray, "galaxy class"]] = field(default_factory=dict)
    votes: Mapping[str, Sequence[str]] = field(default_factory=dict)  # 37 columns by who voted
    features: Float[ndarray, "galaxy feature"] | None = None
    pictures: UInt8[ndarray, "picture 3 side side"] | None = None
    pictured: Sequence[int] | ndarray = ()  # the galaxy of each picture
    maps: Mapping[str, Float[ndarray, "map cell cell"]] = field(default_factory=dict)  # by answer
    mapped: Sequence[int] | ndarray = ()  # the galaxy of each class-activation map
    concepts: Mapping[str, str] = field(default_factory=dict)  # name of a slider: column


def page(
    explored: Explored, *, title: str, notes: Sequence[str] = (), model: Path | None = None
) -> str:
    """Return the HTML of the page; `notes` are sentences on what is shown.

    With a `model`, whose features those of `explored` are, the page classifies images that are
    dropped on it, if a page can compute that model (`page_model.refusal`).

    Up to 10,000 thumbnails of 64 px are kept, or of 128 px of up to 2,500 galaxies. Neighbours are
    found by the cosine of the features in their 64 leading directions (of the uncentred features,
    so that cosines are kept), with 16 bits per number (8 of more than 20,000 galaxies).

    Raises `ValueError` for duplicate ids, sizes that differ, maps that are not finite, or no
    galaxy."""
    _check(explored)
    blobs = Blobs()
    data: dict[str, Any] = {"title": title, "n": len(explored.ids), "notes": list(notes)}
    data |= _described(explored, blobs)
    script, style = inlined(MODULES), _read("look.css") + _read("explorer.css")
    why = page_model.refusal(model_files.load(model)[1]) if model else "no model"
    if model and why:
        data["notes"].append(f"Images dropped on the page are not classified by this model: {why}.")
    elif model:
        data["classifier"] = page_model.export(model)
        script = f"{page_model.script('classify.js', 'network')}\n{script}"
    loader = Environment(loader=FileSystemLoader(ASSETS), autoescape=True)
    loader.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
    template = loader.get_template("explorer.html")
    return template.render(
        data=data, blobs=blobs, style=style, script=script, hash=digest(script), title=title
    )


def inlined(modules: Iterable[str]) -> str:
    """Join ES modules of `assets/` into one, each after those that it imports.

    A page opened from a file may not import modules, so the lines `import ... from "./x.js";` and
    the word `export` are dropped; names are therefore unique over all modules (`node --check`)."""
    texts = (_read(f"{name}.js") for name in modules)
    joined = "".join(re.sub(r"^import\b[^;]*;\n", "", text, flags=re.M) for text in texts)
    return re.sub(r"^export (?=async function|function|const|let|class)", "", joined, flags=re.M)


def digest(script: str) -> str:
    """Return the hash of a script in a content security policy."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _read(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _check(explored: Explored) -> None:
    n, ids = len(explored.ids), pd.Index(explored.ids)
    if not n:
        raise ValueError("no galaxies to explore")
    if ids.has_duplicates:
        rows = np.flatnonzero(ids == ids[ids.duplicated()][0])
        raise ValueError(f"duplicate id {ids[rows[0]]!r} (rows {listing(rows + 1)})")
    parts: dict[str, Any] = {f"map {name!r}": p for name, p in explored.projections.items()}
    parts |= {f"columns {name!r}": frame for name, frame in explored.columns.items()}
    parts |= {f"probabilities of {name!r}": p for name, p in explored.probabilities.items()}
    parts["features"] = explored.features
    for name, part in parts.items():
        if part is not None and len(part) != n:
            raise ValueError(f"{name}: {len(part):,} rows for {n:,} galaxies")
    n_pictures = 0 if explored.pictures is None else len(explored.pictures)
    maps = {f"activation map {name!r}": len(each) for name, each in explored.maps.items()}
    for name, found, rows in [
        ("pictures", n_pictures, explored.pictured),
        *((name, found, explored.mapped) for name, found in maps.items()),
    ]:
        if found != len(rows):
            raise ValueError(f"{name}: {found:,} for {len(rows):,} galaxies")
    if not explored.projections:
        raise ValueError("no map: give at least one projection of the galaxies")
    for name, points in explored.projections.items():
        if not np.isfinite(points).all():
            raise ValueError(f"map {name!r} is not finite")
    names = [str(name) for frame in explored.columns.values() for name in frame]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"duplicate column {listing(sorted(twice))}")
    wanted = [
        *explored.concepts.values(),
        *(each for own in explored.votes.values() for each in own),
    ]
    if lacking := set(wanted) - set(names):
        raise ValueError(f"no column {listing(sorted(lacking))} for a slider or the decision tree")


def _described(explored: Explored, blobs: Blobs) -> dict[str, Any]:
    """Add all arrays to `blobs`, the first that a page needs first; return what they are."""
    maps = {name: blobs.add(scaled(points)) for name, points in explored.projections.items()}
    columns = [
        {"name": str(name), "group": group} | blobs.column(pd.Series(frame[name]), explored.classes)
        for group, frame in explored.columns.items()
        for name in frame
    ]
    data: dict[str, Any] = {"projections": maps, "columns": columns}
    data |= {"classes": list(explored.classes), "ids": blobs.texts(list(explored.ids))}
    data["concepts"] = dict(explored.concepts)
    data["methods"] = {
        name: blobs.fractions(p, small=True) for name, p in explored.probabilities.items()
    }
    if explored.votes:
        data["votes"] = {who: list(names) for who, names in explored.votes.items()}
        questions = galaxy_zoo_tree.QUESTIONS
        data["tree"] = [[q.name.replace("_", " "), list(q.answers), q.parent] for q in questions]
        for row in data["tree"]:
            row[2] = row[2] and [row[2][0].replace("_", " "), row[2][1]]
    if explored.pictures is not None and len(explored.pictures):
        data["pictures"] = _pictured(explored, blobs)
    if explored.maps:
        rows = np.asarray(explored.mapped, np.uint32)
        heat = {name: blobs.add(_bytes(each)) for name, each in explored.maps.items()}
        side = next(iter(explored.maps.values())).shape[1]
        data["maps"] = {"side": side, "rows": blobs.add(rows), "heat": heat}
    if explored.features is not None:
        data["features"] = _features(explored.features, blobs)
    return data


def scaled(points: Points) -> ndarray:
    """Scale a map to whole numbers from 0 to 65,535, alike in both directions, y upwards."""
    low, high = points.min(0), points.max(0)
    size = float((high - low).max()) or 1.0
    middle = (points - (low + high) / 2) / size * 65_535 + 32_767.5
    return np.rint(middle).clip(0, 65_535).astype(np.uint16)


def _bytes(heat: Float[ndarray, "map cell cell"]) -> ndarray:
    return np.rint(np.nan_to_num(heat).clip(0, 1) * 255).astype(np.uint8)


def _pictured(explored: Explored, blobs: Blobs) -> dict[str, Any]:
    pixels, rows = explored.pictures, np.asarray(explored.pictured, np.uint32)
    assert pixels is not None
    if len(pixels) > PICTURED:
        kept = np.sort(np.random.default_rng(0).permutation(len(pixels))[:PICTURED])
        pixels, rows = pixels[kept], rows[kept]
    large = len(pixels) <= LARGE and pixels.shape[-1] > TILE
    tile = LARGER if large else TILE
    budget = BUDGET * (tile // TILE) ** 2
    described = blobs.sheets(pixels.transpose(0, 2, 3, 1), tile, budget)
    return described | {"rows": blobs.add(rows)}


def _features(features: Float[ndarray, "galaxy feature"], blobs: Blobs) -> dict[str, Any]:
    """Add unit features in their leading directions, and the directions."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    values, axes = np.linalg.eigh(unit.T @ unit)  # ascending
    axes = axes[:, ::-1][:, :DIMENSIONS]
    kind, scale = (np.int8, 127) if len(unit) > MANY else (np.int16, 32_767)
    coded = np.rint((unit @ axes).clip(-1, 1) * scale).astype(kind)
    kept = float(values[::-1][:DIMENSIONS].sum() / max(values.sum(), 1e-12))
    about = {"dimensions": axes.shape[1], "scale": scale, "kept": round(kept, 5)}
    return about | {"at": blobs.add(coded), "axes": blobs.add(axes.astype(np.float32))}
