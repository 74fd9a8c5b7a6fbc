"""Write a table of predictions of a trained model, from its file alone."""

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import galaxymorph
from galaxymorph import galaxy_zoo_tree, project
from galaxymorph.apply import gallery as galleries
from galaxymorph.apply.images import check_positive, find
from galaxymorph.apply.stream import BATCH, Remark, Say, Values, progress, stream
from galaxymorph.escape import csv_text
from galaxymorph.learning import saved
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.votes import VoteRegressor
from galaxymorph.text import listing


def predict(
    model: Path,
    images: Sequence[Path],
    out: Path,
    *,
    average_orientations: bool = False,
    batch_size: int = BATCH,
    crop: int | None = None,
    force: bool = False,
    gallery: bool = False,
    say: Say = print,
) -> list[Remark]:
    """Write predictions to the table `out`, a row per galaxy in the order of `find`.

    * vote fractions: `GalaxyID, Class1.1, ..., Class11.6`, clipped to [0, 1], as submitted to the
      Galaxy Zoo challenge;
    * classes: `id, p_<class>..., label`, where the label is the most probable class.

    `gallery` also writes a page to look at, with the ending .html (`apply.gallery`). `crop` (px) is
    by default that of the training. An unreadable image gets a remark, but no row.

    Until all is done, rows are kept in `.<out>.partial`, from which the same call resumes if
    interrupted. `<out>.json` records model, images, options and remarks, so that a repeated call
    recognises a complete table; any other file at `out` is replaced only with `force`. Returns the
    remarks. Raises `ValueError` or an `OSError` (`FileExistsError`, `FileNotFoundError`)."""
    check_positive(batch_size=batch_size, crop=crop)
    if gallery and out.suffix == ".html":
        raise ValueError(f"{out}: the gallery would replace the table; give --out another ending")
    learner, header = saved.load(model)
    if not isinstance(learner, Classifier | VoteRegressor):
        advice = "train one with 03_supervised or 09_vote_fractions"
        raise ValueError(f"{model} has no head, because it was trained without labels: {advice}")
    found, classes = find(images, header, crop), header.get("classes")
    listed = json.dumps([found.ids, found.names, sorted(found.stamps)])
    how = {"average_orientations": average_orientations, "batch_size": batch_size}
    settings = {
        "galaxymorph": galaxymorph.__version__,
        "model": _digest(model.read_bytes()),
        "images": _digest(listed.encode()),
        **how,
        "crop": crop or header.get("cutout", {}).get("crop"),
    }
    record, journal = out.with_name(f"{out.name}.json"), out.with_name(f".{out.name}.partial")
    if out.exists() and not force:
        made = project.read_json(record)
        if made != made | settings or made["table"] != _digest(out.read_bytes()):
            other = "exists, but was made with a different model, images or options"
            raise FileExistsError(f"{out} {other}: choose another name, or --force")
        say(f"{out} is complete already: {made['galaxies']:,} galaxies")
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        batches, start = _resume(journal, settings, say), time.perf_counter()
        new = max(0, len(found.ids) - len(batches) * batch_size)
        with journal.open("a", encoding="utf-8") as file:
            new_batches = stream(learner.predict, found, done=len(batches), **how)
            for ids, values, remarks in progress(new_batches, len(found.ids), len(found.ids) - new):
                batches.append([len(ids), _rows(ids, values, classes), remarks])
                file.write(json.dumps(batches[-1]) + "\n")
                file.flush()
        seconds = time.perf_counter() - start
        table, made = _joined(batches, settings, classes)
        project.write(record, json.dumps(made, indent=1) + "\n")
        project.write(out, table)
        journal.unlink()
        say(f"{new:,} galaxies in {seconds:.1f} s, {new / seconds:.0f} images/s: {out}")
    remarks = [Remark(*remark) for remark in made["remarks"]]
    if gallery:
        say(str(galleries.write(out, found, remarks, model=model)))
    return remarks


def _joined(
    batches: Sequence[Any], settings: dict[str, Any], classes: Sequence[str] | None
) -> tuple[str, dict[str, Any]]:
    """Return the table of all batches, and its record."""
    columns = ["GalaxyID", *galaxy_zoo_tree.COLUMNS]
    if classes:
        columns = ["id", *(f"p_{name}" for name in classes), "label"]
    table = csv_text(pd.DataFrame(columns=columns))
    table += "".join(rows for _, rows, _ in batches)
    remarks = [remark for _, _, more in batches for remark in more]
    galaxies = sum(n for n, _, _ in batches)
    made = {"galaxies": galaxies, "remarks": remarks, "table": _digest(table.encode())}
    return table, settings | made


def _resume(journal: Path, settings: dict[str, Any], say: Say) -> list[Any]:
    """Read the batches in the journal of an interrupted run: number of galaxies, rows, remarks.

    A line each; a truncated last line is ignored. A journal with other settings is restarted."""
    text = journal.read_text(encoding="utf-8") if journal.is_file() else ""
    whole = text.rpartition("\n")[0].splitlines()
    before, *batches = [json.loads(line) for line in whole] or [{}]
    if before == settings:
        size = settings["batch_size"]
        say(f"resuming after {len(batches):,} batches of {size} galaxies: {journal}")
    elif text:
        changed = listing(key for key in settings if before.get(key) != settings[key])
        say(f"starting over: {journal} was made with other settings ({changed})")
        batches = []
    lines = [json.dumps(each) + "\n" for each in (settings, *batches)]
    project.write(journal, "".join(lines))
    return batches


def _rows(ids: list[str], values: Values, classes: Sequence[str] | None) -> str:
    table = pd.DataFrame(values[:, : len(classes or galaxy_zoo_tree.COLUMNS)].clip(0, 1), ids)
    if classes:
        table["label"] = [classes[k] for k in values.argmax(1)]
    return csv_text(table, number="%.6f", index=True, header=False)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
