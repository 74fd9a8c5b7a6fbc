"""A table of predictions of a trained model, from its file alone."""

import contextlib
import csv
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

import galaxymorph
from galaxymorph import galaxy_zoo_tree, project
from galaxymorph.apply.images import find
from galaxymorph.apply.stream import BATCH, Batches, Remark, Values, stream
from galaxymorph.learning import saved
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.votes import VoteRegressor
from galaxymorph.text import listing

Say = Callable[[str], object]


def predict(
    model: Path,
    images: Sequence[Path],
    out: Path,
    *,
    average_orientations: bool = False,
    batch_size: int = BATCH,
    crop: int | None = None,
    force: bool = False,
    say: Say = print,
) -> list[Remark]:
    """Write a table of predictions to `out`, a row for each galaxy in the order of `find`; return
    remarks.

    * vote fractions: `GalaxyID, Class1.1, ..., Class11.6`, clipped to [0, 1]: a submission to the
      Galaxy Zoo challenge;
    * classes: `id, p_<class>..., label`, the label being the most probable class.

    `crop` (px) is that of the training if not given. An image that cannot be read has a remark and
    no row. Until all is done, rows lie in `.<out>.partial`, from where the same call goes on if it
    was interrupted. `<out>.json` records model, images, options and remarks, by which the same call
    finds that all is done; any other file at `out` is replaced with `force` only. Raises
    `ValueError`, or an `OSError` (`FileExistsError`, `FileNotFoundError`)."""
    check_positive(batch_size=batch_size, crop=crop)
    learner, header = saved.load(model)
    if not isinstance(learner, Classifier | VoteRegressor):
        advice = "train one with 02_supervised or 08_vote_fractions"
        raise ValueError(f"{model} has no head, as it learned without labels: {advice}")
    cutout, classes = header.get("cutout", {}), header.get("classes")
    found = find(images, cutout)
    listed = json.dumps([found.ids, found.names, sorted(found.stamps)])
    settings = {
        "galaxymorph": galaxymorph.__version__,
        "model": _digest(model),
        "images": hashlib.sha256(listed.encode()).hexdigest(),
        "average_orientations": average_orientations,
        "batch_size": batch_size,
        "crop": crop or cutout.get("crop"),
    }
    record, journal = out.with_name(f"{out.name}.json"), out.with_name(f".{out.name}.partial")
    if out.exists() and not force:
        made = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
        if made != made | settings or made["table"] != _digest(out):
            other = "is there, but not of this model, images and options"
            raise FileExistsError(f"{out} {other}: use another name, or --force")
        say(f"{out} is complete already: {made['galaxies']:,} galaxies")
        return [Remark(*remark) for remark in made["remarks"]]

    out.parent.mkdir(parents=True, exist_ok=True)
    done, start = _resume(journal, settings, say), time.perf_counter()
    how = {key: settings[key] for key in ("average_orientations", "batch_size", "crop")}
    batches = stream(learner.predict, found, size=header["image_size"], done=done, **how)
    n, before = len(found.ids), min(done * batch_size, len(found.ids))
    with journal.open("a", encoding="utf-8") as file:
        for batch in progress(batches, n, before):
            rows = _rows(batch.ids, batch.values, classes)
            file.write(json.dumps([len(batch.ids), rows, batch.remarks]) + "\n")
            file.flush()
    seconds = time.perf_counter() - start
    remarks = _finish(journal, out, record, settings, classes)
    say(f"{n - before:,} galaxies in {seconds:.1f} s, {(n - before) / seconds:.0f} images/s: {out}")
    return remarks


def progress(batches: Batches, total: int, before: int = 0) -> Batches:
    """Show a progress bar of `total` galaxies on stderr."""
    bar = tqdm(total=total, initial=before, unit=" galaxies", mininterval=1)
    with contextlib.closing(batches), bar:
        for batch in batches:
            yield batch
            bar.update(len(batch.ids) + sum(remark.left_out for remark in batch.remarks))


def _rows(ids: list[str], values: Values, classes: Sequence[str] | None) -> str:
    table = pd.DataFrame(values[:, : len(classes or galaxy_zoo_tree.COLUMNS)].clip(0, 1), ids)
    if classes:
        table["label"] = [classes[k] for k in values.argmax(1)]
    return table.to_csv(header=False, float_format="%.6f", lineterminator="\n")


def _resume(journal: Path, settings: dict[str, Any], say: Say) -> int:
    """How many batches of an interrupted run the journal has, a line for each; a last one that is
    cut off is removed. A journal of other settings is begun anew."""
    if journal.is_file():
        with journal.open("r+b") as file:
            first = file.readline()
            before = json.loads(first) if first.endswith(b"\n") else {}
            if before == settings:
                lines = [len(line) for line in file if line.endswith(b"\n")]
                file.truncate(len(first) + sum(lines))
                size = settings["batch_size"]
                say(f"going on after {len(lines):,} batches of {size} galaxies: {journal}")
                return len(lines)
        changed = listing(key for key in settings if before.get(key) != settings[key])
        say(f"starting anew, as what there is was made with another setting ({changed}): {journal}")
    journal.write_text(json.dumps(settings) + "\n", encoding="utf-8")
    return 0


def _finish(
    journal: Path, out: Path, record: Path, settings: dict[str, Any], classes: Sequence[str] | None
) -> list[Remark]:
    """Replace the journal by the table and its record, each put in place in one go."""
    header = ["GalaxyID", *galaxy_zoo_tree.COLUMNS]
    if classes:
        header = ["id", *(f"p_{name}" for name in classes), "label"]
    galaxies, remarks, new = 0, list[Remark](), out.with_name(f".{out.name}.new")
    with (
        journal.open(encoding="utf-8") as lines,
        new.open("w", encoding="utf-8", newline="") as table,
    ):
        next(lines)  # the settings
        csv.writer(table, lineterminator="\n").writerow(header)
        for line in lines:
            n, rows, said = json.loads(line)
            table.write(rows)
            galaxies += n
            remarks += [Remark(*remark) for remark in said]
    made = {**settings, "galaxies": galaxies, "remarks": remarks, "table": _digest(new)}
    project.write(record, json.dumps(made, indent=1) + "\n")
    new.replace(out)
    journal.unlink()
    return remarks


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_positive(**options: int | None) -> None:
    """Raise `ValueError` for a number below 1."""
    for name, value in options.items():
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}: at least 1")
