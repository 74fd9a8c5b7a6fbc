"""A trained model put to use, from its file alone: a table of predictions, and the galaxies that look alike.

Images are read as in training, a batch at a time, so that memory does not grow with their number.
"""

from __future__ import annotations

import contextlib
import csv
import difflib
import hashlib
import io
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor, nn
from tqdm import tqdm

import galaxymorph
from galaxymorph import galaxy_zoo_tree as schema
from galaxymorph.data import cutouts, fits, sources
from galaxymorph.data.sources import Found
from galaxymorph.learning import encoders, train
from galaxymorph.learning import model_files as weights
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.votes import VoteRegressor
from galaxymorph.plots import style as plots
from galaxymorph.run import folder as runs

BATCH = 64  # galaxies
# From FITS bands to colour, where a model was not trained on them: as in `data.load`.
COLOUR: dict[str, Any] = {"bands": None, "hdu": None, "stretch": 0.5, "Q": 8.0, "band_weights": (2.5, 1.5, 1.0)}

Remark = tuple[str, str, bool]  # which image; what is to be said about it; whether it is left out for that
Outputs = Callable[[Float[Tensor, "galaxy 3 size size"]], Float[Tensor, "galaxy output"]]  # of images in [0, 1]
Batch = tuple[list[str], Float[ndarray, "galaxy output"], list[Remark]]  # ids and outputs of the galaxies that could be read


def load(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The learner of a model file, in eval mode and on the GPU where there is one, and the file's header.

    A `Classifier` or a `VoteRegressor`; of a model that learned without labels, a module that has an `encoder` only.

    Raises `FileNotFoundError`, or `ValueError` for a file that is none of this package, or whose weights do not fit its header.
    """
    state, header = weights.load(path)
    missing = [key for key in ("encoder", "image_size") if key not in header]
    if missing:
        raise ValueError(
            f"{path}: its header lacks {' and '.join(missing)}; expected a file of a training step of this package"
        )
    encoder = encoders.encoder(**header["encoder"])
    if "classes" in header:
        learner = Classifier(encoder, classes=len(header["classes"]))
    elif "answers" in header:
        learner = VoteRegressor(encoder, **header["head"])
    else:
        learner = nn.ModuleDict({"encoder": encoder})
        state = {key: value for key, value in state.items() if key.startswith("encoder.")}
    try:
        learner.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights are not those of the model in its header: {error}") from error
    return learner.eval().to(train.device(), memory_format=torch.channels_last), header  # pyright: ignore[reportCallIssue]


# --- images ------------------------------------------------------------------------------------------------------------


def find(paths: Sequence[Path], cutout: Mapping[str, Any]) -> Found:
    """The galaxies of all paths, sorted by id, as numbers where all are: folders of images, of FITS images or of both, zips,
    CSV lists of files (`sources.listed`), single images, FITS cubes. `cutout`: how the model's galaxies were cut (its header).

    Raises `FileNotFoundError` or `ValueError`, naming the path, where there is nothing to read, or an id stands twice.
    """
    colour = {key.lower(): cutout.get(key, default) for key, default in COLOUR.items()}  # as `fits` names them
    parts = [part for path in paths for part in _found(sources.existing(path), colour)]
    ids = [id for part in parts for id in part.ids]
    names = [name for part in parts for name in part.names]
    sources.check_unique(ids, names, sources.listing(paths))
    found = Found(
        ids=ids,
        names=names,
        read=[read for part in parts for read in part.read],
        labels=[-1] * len(ids),
        stamps=[stamp for part in parts for stamp in part.stamps],
    )
    numbers = all(id.isdecimal() for id in ids)
    return sources.take(found, sorted(range(len(ids)), key=lambda row: (int(ids[row]) if numbers else 0, ids[row])))


def _found(path: Path, colour: dict[str, Any]) -> list[Found]:
    if path.is_dir():
        parts = []
        if list(sources.files_below(path, sources.IMAGES)):
            parts.append(sources.images(path))
        if list(sources.files_below(path, fits.ENDINGS)):
            parts.append(fits.find(path, labels=None, class_names=None, on_bad="skip", **colour))
        if not parts:
            raise ValueError(f"{path}: no images found, no file that ends in {', '.join(sources.IMAGES + fits.ENDINGS)}")
        for part in parts:
            part.names = [f"{path}/{name}" for name in part.names]
        return parts
    if path.suffix.lower() == ".zip":
        return [sources.images(path)]
    if path.suffix.lower() == ".csv":
        files = sources.listed(path)
    elif path.name.lower().endswith(sources.IMAGES + fits.ENDINGS):
        files = {sources.without_ending(path.name): path}
    else:
        raise ValueError(f"{path}: expected a folder, a zip, a CSV list of files, an image or a FITS cube")
    return [
        Found(
            ids=list(files),
            names=[str(file) for file in files.values()],
            read=[_reader(file, colour) for file in files.values()],
            labels=[-1] * len(files),
            stamps=[sources.stamp(file) for file in files.values()],
        )
    ]


def _reader(file: Path, colour: dict[str, Any]) -> Callable[[], sources.RGB | sources.File]:
    if not file.name.lower().endswith(fits.ENDINGS):
        return partial(sources.read_image, str(file))
    bands = colour["bands"] or "gri"
    order = [bands.index(band) for band in sorted(bands, key=fits.WAVELENGTHS.index)]
    options = {"hdu": colour["hdu"], "stretch": colour["stretch"], "q": colour["q"], "weights": colour["band_weights"]}
    return partial(fits.read, [str(file)], order=order, **options)


# --- outputs -----------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def compute(
    outputs: Outputs, images: UInt8[ndarray, "galaxy 3 size size"], *, average_orientations: bool = False
) -> Float[ndarray, "galaxy output"]:
    """What the function `outputs` gives of a batch; with `average_orientations`, the mean over the 8 rotations and mirror
    images of each galaxy."""
    where = train.device()
    pixels = train.to_float(torch.from_numpy(images), where)
    views = train.orientations(pixels) if average_orientations else [pixels]
    with train.autocast("auto", where):
        return torch.stack([outputs(view).float() for view in views]).mean(0).cpu().numpy()


def stream(
    outputs: Outputs,
    found: Found,
    *,
    size: int,
    crop: int | None,
    batch_size: int = BATCH,
    done: int = 0,
    average_orientations: bool = False,
) -> Iterator[Batch]:
    """`compute` of all galaxies' cutouts, batch by batch in the order of `found`, from the batch number `done` on.

    As many batches as torch has threads are in work at a time, each read and computed by a single thread: no thread ever waits
    for another, so that reading costs no more than its own time.
    """

    def work(batch: Found) -> Batch:
        read = cutouts.run([partial(cutouts.read, each, size=size, crop=crop) for each in batch.read])
        remarks = [(name, said, image is None) for name, (image, said) in zip(batch.names, read, strict=True) if said]
        good = [(id, image) for id, (image, _) in zip(batch.ids, read, strict=True) if image is not None]
        if not good:
            return [], np.empty((0, 1), np.float32), remarks
        ids, images = zip(*good, strict=True)
        return list(ids), compute(outputs, np.stack(images), average_orientations=average_orientations), remarks

    n, threads = len(found.ids), torch.get_num_threads()
    batches = (sources.take(found, range(row, min(row + batch_size, n))) for row in range(done * batch_size, n, batch_size))
    torch.set_num_threads(1)
    try:
        with (
            contextlib.closing(cutouts.in_order(work, batches, workers=threads)) as results,
            tqdm(total=n, initial=min(done * batch_size, n), unit=" galaxies", mininterval=1) as bar,
            warnings.catch_warnings(),  # a setting of the whole process, so nothing that a thread could change
        ):
            warnings.simplefilter("ignore")
            for ids, values, remarks in results:
                yield ids, values, remarks
                bar.update(len(ids) + sum(left_out for _, _, left_out in remarks))
    finally:
        torch.set_num_threads(threads)


# --- predictions -------------------------------------------------------------------------------------------------------


def predict(
    model: Path,
    images: Sequence[Path],
    out: Path,
    *,
    average_orientations: bool = False,
    batch_size: int = BATCH,
    crop: int | None = None,
    force: bool = False,
    say: Callable[[str], object] = print,
) -> list[Remark]:
    """Writes a table of predictions to `out`, a row for each galaxy of `images` in the order of `find`; returns remarks.

    * vote fractions: `GalaxyID, Class1.1, ..., Class11.6`, clipped to [0, 1]: a submission to the Galaxy Zoo challenge;
    * classes: `id, p_<class>..., label`, the label being the most probable class.

    `crop` (px) is that of the training if not given. An image that cannot be read has a remark and no row.

    Until all is done, rows lie in `.<out>.partial`, from where the same call goes on if it was interrupted. Beside `out` comes
    `<out>.json`: model, images, options, remarks. The same call again finds that all is done; any other file at `out` is
    replaced with `force` only. Raises `ValueError`, or an `OSError` (`FileExistsError`, `FileNotFoundError`).
    """
    _check_positive(batch_size=batch_size, crop=crop)
    learner, header = load(model)
    if not isinstance(learner, Classifier | VoteRegressor):
        raise ValueError(
            f"{model} has no head, as it learned without labels: train one with 02_supervised or 07_vote_fractions"
        )
    cutout, classes = header.get("cutout", {}), header.get("classes")
    found = find(images, cutout)
    told = {
        "galaxymorph": galaxymorph.__version__,
        "model": _digest(model),
        "images": hashlib.sha256(json.dumps([found.ids, found.names, sorted(found.stamps)]).encode()).hexdigest(),
        "average_orientations": average_orientations,
        "batch_size": batch_size,
        "crop": crop or cutout.get("crop"),
    }
    record, journal = out.with_name(f"{out.name}.json"), out.with_name(f".{out.name}.partial")
    if out.exists() and not force:
        made = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
        if {**made, **told} != made or made["table"] != _digest(out):
            raise FileExistsError(f"{out} is there, but not of this model, images and options: use another name, or --force")
        say(f"{out} is complete already: {made['galaxies']:,} galaxies")
        return [(name, said, left_out) for name, said, left_out in made["remarks"]]

    out.parent.mkdir(parents=True, exist_ok=True)
    done, start = _resume(journal, told, say), time.perf_counter()
    options = {"batch_size": batch_size, "done": done, "average_orientations": average_orientations}
    with journal.open("a", encoding="utf-8") as file:
        for ids, values, said in stream(learner.predict, found, size=header["image_size"], crop=told["crop"], **options):
            file.write(json.dumps([len(ids), _rows(ids, values, classes), said]) + "\n")
            file.flush()
    seconds = time.perf_counter() - start
    columns = ["id", *(f"p_{name}" for name in classes), "label"] if classes else ["GalaxyID", *schema.COLUMNS]
    remarks = _finish(journal, out, record, told, columns)
    n = max(0, len(found.ids) - done * batch_size)
    say(f"{n:,} galaxies in {seconds:.1f} s, {n / seconds:.0f} images/s: {out}")
    return remarks


def _rows(ids: Sequence[str], values: Float[ndarray, "galaxy output"], classes: Sequence[str] | None) -> str:
    """Lines of the table."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    for id, row in zip(ids, values[:, : len(classes or schema.COLUMNS)].clip(0, 1), strict=True):
        table.writerow([id, *(f"{value:.6f}" for value in row), *([classes[row.argmax()]] if classes else [])])
    return text.getvalue()


def _resume(journal: Path, told: dict[str, Any], say: Callable[[str], object]) -> int:
    """How many batches of an interrupted run the journal has: a line for each, the last of which may be cut off and is then
    removed. A journal of another model, other images or options is begun anew."""
    if journal.is_file():
        with journal.open("r+b") as file:
            first = file.readline()
            before = json.loads(first) if first.endswith(b"\n") else {}
            if before == told:
                lines = [len(line) for line in file if line.endswith(b"\n")]
                file.truncate(len(first) + sum(lines))
                say(f"going on after {len(lines):,} batches of {told['batch_size']} galaxies: {journal}")
                return len(lines)
        changed = sources.listing(key for key in told if before.get(key) != told[key])
        say(f"starting anew, as what there is was made with another setting ({changed}): {journal}")
    journal.write_text(json.dumps(told) + "\n", encoding="utf-8")
    return 0


def _finish(journal: Path, out: Path, record: Path, told: dict[str, Any], columns: Sequence[str]) -> list[Remark]:
    """The complete table and its record, each put in place in one go, from the journal, which is removed."""
    galaxies, remarks, new = 0, list[Remark](), out.with_name(f".{out.name}.new")
    with journal.open(encoding="utf-8") as lines, new.open("w", encoding="utf-8", newline="") as table:
        next(lines)  # what it belongs to
        csv.writer(table, lineterminator="\n").writerow(columns)
        for line in lines:
            n, rows, said = json.loads(line)
            table.write(rows)
            galaxies += n
            remarks += [(name, message, left_out) for name, message, left_out in said]
    made = {**told, "galaxies": galaxies, "remarks": remarks, "table": _digest(new)}
    runs.write(record, json.dumps(made, indent=1) + "\n")
    new.replace(out)
    journal.unlink()
    return remarks


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_positive(**options: int | None) -> None:
    for name, value in options.items():
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}: at least 1")


# --- similarity --------------------------------------------------------------------------------------------------------


def cutouts_of(found: Found, ids: Sequence[str], *, size: int, crop: int | None = None) -> UInt8[ndarray, "galaxy 3 size size"]:
    """Cutouts of single galaxies by id. Raises `ValueError` for an id that is not there, with the nearest, or an image that
    cannot be read."""
    places, read = {id: row for row, id in enumerate(found.ids)}, []
    for id in ids:
        if id not in places:
            near = sources.listing(difflib.get_close_matches(id, found.ids, cutoff=0.0))
            raise ValueError(f"no galaxy {id!r} among {len(found.ids):,}; the nearest ids are {near}")
        try:
            read.append(cutouts.read(found.read[places[id]], size=size, crop=crop)[0])
        except (ValueError, OSError) as error:
            raise ValueError(f"the galaxy {id!r} cannot be read: {error}") from error
    return np.stack(read)


def similar(
    model: Path,
    images: Sequence[Path],
    galaxy: str,
    *,
    n: int = 12,
    out: Path = Path(),
    average_orientations: bool = False,
    batch_size: int = BATCH,
    crop: int | None = None,
    say: Callable[[str], object] = print,
) -> list[Remark]:
    """The `n` galaxies that are nearest to one in feature space, by the cosine of the angle between their features: as a table
    `similar_<galaxy>.csv` (`id, similarity`) and a picture `similar_<galaxy>.png` in the folder `out`; returns remarks.

    With `average_orientations` a galaxy is near to its rotated image, too. Raises `ValueError` for an id that is not there.
    """
    _check_positive(n=n, batch_size=batch_size, crop=crop)
    learner, header = load(model)
    cutout = header.get("cutout", {})
    found = find(images, cutout)
    encoder: Any = learner.encoder
    pixels = {"size": header["image_size"], "crop": crop or cutout.get("crop")}
    view = {"average_orientations": average_orientations}

    query = _unit(compute(encoder, cutouts_of(found, [galaxy], **pixels), **view))[0]
    ids, similarity, remarks = list[str](), list[float](), list[Remark]()
    for some, features, said in stream(encoder, found, **pixels, **view, batch_size=batch_size):
        ids += some
        similarity += (_unit(features) @ query).tolist()
        remarks += said
    table = pd.DataFrame({"id": ids, "similarity": similarity})
    table = table.loc[table["id"] != galaxy].sort_values(by="similarity", ascending=False, kind="stable").head(n)
    if not len(table):
        raise ValueError(f"{galaxy!r} is the only galaxy: there is nothing to compare it with")

    stem = f"similar_{galaxy.replace('/', '_')}"
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / f"{stem}.csv", index=False, float_format="%.6f")
    titles = [f"{galaxy}\nasked for", *(f"{id}\n{near:.3f}" for id, near in zip(table.id, table.similarity, strict=True))]
    figure = plots.examples(cutouts_of(found, [galaxy, *table["id"]], **pixels), titles, columns=7)
    figure.savefig(out / f"{stem}.png", dpi=150)
    say(f"{table.to_string(index=False)}\n\n{out / stem}.csv\n{out / stem}.png")
    return remarks


def _unit(features: Float[ndarray, "galaxy feature"]) -> Float[ndarray, "galaxy feature"]:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
