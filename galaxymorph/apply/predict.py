"""A trained model put to use, from its file alone: a table of predictions, and the galaxies that
look alike.

Images are read as in training, a batch at a time, so that memory does not grow with their number.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Float
from numpy import ndarray

import galaxymorph
from galaxymorph import galaxy_zoo_tree, project
from galaxymorph.apply.images import find
from galaxymorph.apply.stream import BATCH, Remark, stream
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.saved import load
from galaxymorph.learning.votes import VoteRegressor
from galaxymorph.text import listing

# --- images ---------------------------------------------------------------------------------------


# --- outputs --------------------------------------------------------------------------------------


# --- predictions ----------------------------------------------------------------------------------


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
    """Writes a table of predictions to `out`, a row for each galaxy of `images` in the order of
    `find`; returns remarks.

    * vote fractions: `GalaxyID, Class1.1, ..., Class11.6`, clipped to [0, 1]: a submission to the
      Galaxy Zoo challenge;
    * classes: `id, p_<class>..., label`, the label being the most probable class.

    `crop` (px) is that of the training if not given. An image that cannot be read has a remark and
    no row.

    Until all is done, rows lie in `.<out>.partial`, from where the same call goes on if it was
    interrupted. Beside `out` comes `<out>.json`: model, images, options, remarks. The same call
    again finds that all is done; any other file at `out` is replaced with `force` only. Raises
    `ValueError`, or an `OSError` (`FileExistsError`, `FileNotFoundError`)."""
    _check_positive(batch_size=batch_size, crop=crop)
    learner, header = load(model)
    if not isinstance(learner, Classifier | VoteRegressor):
        raise ValueError(
            f"{model} has no head, as it learned without labels: train one with 02_supervised or 08_vote_fractions"
        )
    cutout, classes = header.get("cutout", {}), header.get("classes")
    found = find(images, cutout)
    told = {
        "galaxymorph": galaxymorph.__version__,
        "model": _digest(model),
        "images": hashlib.sha256(
            json.dumps([found.ids, found.names, sorted(found.stamps)]).encode()
        ).hexdigest(),
        "average_orientations": average_orientations,
        "batch_size": batch_size,
        "crop": crop or cutout.get("crop"),
    }
    record, journal = out.with_name(f"{out.name}.json"), out.with_name(f".{out.name}.partial")
    if out.exists() and not force:
        made = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
        if {**made, **told} != made or made["table"] != _digest(out):
            raise FileExistsError(
                f"{out} is there, but not of this model, images and options: use another name, or --force"
            )
        say(f"{out} is complete already: {made['galaxies']:,} galaxies")
        return [(name, said, left_out) for name, said, left_out in made["remarks"]]

    out.parent.mkdir(parents=True, exist_ok=True)
    done, start = _resume(journal, told, say), time.perf_counter()
    options = {"batch_size": batch_size, "done": done, "average_orientations": average_orientations}
    with journal.open("a", encoding="utf-8") as file:
        for ids, values, said in stream(
            learner.predict, found, size=header["image_size"], crop=told["crop"], **options
        ):
            file.write(json.dumps([len(ids), _rows(ids, values, classes), said]) + "\n")
            file.flush()
    seconds = time.perf_counter() - start
    columns = (
        ["id", *(f"p_{name}" for name in classes), "label"]
        if classes
        else ["GalaxyID", *galaxy_zoo_tree.COLUMNS]
    )
    remarks = _finish(journal, out, record, told, columns)
    n = max(0, len(found.ids) - done * batch_size)
    say(f"{n:,} galaxies in {seconds:.1f} s, {n / seconds:.0f} images/s: {out}")
    return remarks


def _rows(
    ids: Sequence[str], values: Float[ndarray, "galaxy output"], classes: Sequence[str] | None
) -> str:
    """Lines of the table."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    for id, row in zip(
        ids, values[:, : len(classes or galaxy_zoo_tree.COLUMNS)].clip(0, 1), strict=True
    ):
        table.writerow(
            [id, *(f"{value:.6f}" for value in row), *([classes[row.argmax()]] if classes else [])]
        )
    return text.getvalue()


def _resume(journal: Path, told: dict[str, Any], say: Callable[[str], object]) -> int:
    """How many batches of an interrupted run the journal has: a line for each, the last of which
    may be cut off and is then removed. A journal of another model, other images or options is begun
    anew."""
    if journal.is_file():
        with journal.open("r+b") as file:
            first = file.readline()
            before = json.loads(first) if first.endswith(b"\n") else {}
            if before == told:
                lines = [len(line) for line in file if line.endswith(b"\n")]
                file.truncate(len(first) + sum(lines))
                say(
                    f"going on after {len(lines):,} batches of {told['batch_size']} galaxies: {journal}"
                )
                return len(lines)
        changed = listing(key for key in told if before.get(key) != told[key])
        say(f"starting anew, as what there is was made with another setting ({changed}): {journal}")
    journal.write_text(json.dumps(told) + "\n", encoding="utf-8")
    return 0


def _finish(
    journal: Path, out: Path, record: Path, told: dict[str, Any], columns: Sequence[str]
) -> list[Remark]:
    """The complete table and its record, each put in place in one go, from the journal, which is
    removed."""
    galaxies, remarks, new = 0, list[Remark](), out.with_name(f".{out.name}.new")
    with (
        journal.open(encoding="utf-8") as lines,
        new.open("w", encoding="utf-8", newline="") as table,
    ):
        next(lines)  # what it belongs to
        csv.writer(table, lineterminator="\n").writerow(columns)
        for line in lines:
            n, rows, said = json.loads(line)
            table.write(rows)
            galaxies += n
            remarks += [(name, message, left_out) for name, message, left_out in said]
    made = {**told, "galaxies": galaxies, "remarks": remarks, "table": _digest(new)}
    project.write(record, json.dumps(made, indent=1) + "\n")
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


# --- similarity -----------------------------------------------------------------------------------
