"""Write a table of predictions of a trained model, from its file alone."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from stat import S_ISREG
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

import galaxymorph
from galaxymorph import galaxy_zoo_tree, project
from galaxymorph.apply import outputs
from galaxymorph.apply.images import check_positive, find
from galaxymorph.apply.stream import BATCH, Remark, Say, Values, progress, stream
from galaxymorph.data.found import Found
from galaxymorph.escape import csv_text
from galaxymorph.learning import saved
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.votes import VoteRegressor
from galaxymorph.learning.votes_and_classes import VotesAndClasses
from galaxymorph.text import listing

OTHER = (".bz2", ".fits", ".gz", ".h5", ".hdf5", ".parquet", ".xlsx", ".xz", ".zip", ".zst")


NOTHING = np.zeros((0, 99), np.float32)  # outputs of no galaxies
Tabulate = Callable[[Sequence[str], Values], pd.DataFrame]  # of ids and outputs


class Files(NamedTuple):
    """The files of a table of predictions."""

    table: Path
    record: Path  # how the table was made
    journal: Path  # batches of a table that is not complete
    page: Path  # the gallery


def predict(
    model: Path,
    images: Sequence[Path],
    out: Path,
    *,
    average_orientations: bool | None = None,
    batch_size: int = BATCH,
    crop: int | None = None,
    force: bool = False,
    gallery: bool = False,
    say: Say = print,
) -> list[Remark]:
    """Write predictions to the table `out`, a row per galaxy in the order of `find`.

    * vote fractions: `GalaxyID, Class1.1, ..., Class11.6`, clipped to [0, 1], as submitted to the
      Galaxy Zoo challenge;
    * classes: `id, p_<class>..., label`, where the label is the most probable class;
    * both, as from the model in the package: `id, p_<class>..., label, set, unlike_training,
      Class1.1, ...`. The set has all classes that the galaxy may have (`round|in-between`). Label
      and set are empty for a galaxy unlike those of the training (`unlike_training` above 1).

    `average_orientations` is by default true for the last kind of model, which is small, and false
    for others. `gallery` also writes a page to look at, with the ending .html (`apply.gallery`).
    `crop` (px) is by default that of the training. An unreadable image gets a remark, but no row.

    Until all is done, rows are kept in `.<out>.partial`, from which the same call resumes if
    interrupted. `<out>.json` records model, images, options and remarks, so that a repeated call
    recognises a complete table; any other file at `out` is replaced only with `force`, the model
    and the images never. Returns the remarks.

    Raises `ValueError`, also for outputs that are not finite, or an `OSError`: `FileExistsError`,
    `FileNotFoundError`, `project.Locked` while another process writes the same table,
    `project.NotWritten`."""
    check_positive(batch_size=batch_size, crop=crop)
    if out.suffix.lower() in OTHER:
        raise ValueError(f"{out}: the table is plain CSV; give --out an ending such as .csv")
    if gallery and out.suffix == ".html":
        raise ValueError(f"{out}: the gallery would replace the table; give --out another ending")
    learner, header = saved.load(model)
    if not isinstance(learner, Classifier | VoteRegressor):
        advice = "train one with 03_supervised or 09_vote_fractions"
        raise ValueError(f"{model} has no head, because it was trained without labels: {advice}")
    hidden, page = out.with_name(f".{out.name}.partial"), out.with_suffix(".html")
    files = Files(out, out.with_name(f"{out.name}.json"), hidden, page)
    begun = time.time_ns()
    found = find(images, header, crop)
    outputs.check(files if gallery else files[:3], [model, *images, *found.names])
    listed = json.dumps([found.ids, found.names, sorted(found.stamps)])
    if average_orientations is None:
        average_orientations = isinstance(learner, VotesAndClasses)
    settings = {
        "galaxymorph": galaxymorph.__version__,
        "model": _digest(model.read_bytes()),
        "images": _digest(listed.encode()),
        "average_orientations": average_orientations,
        "batch_size": batch_size,
        "crop": crop or header.get("cutout", {}).get("crop"),
    }
    busy = f"another process is writing {out.name}; wait for it, or choose another name"
    with project.locked(out.parent, f".{out.name}.lock", why=busy):
        made = _record(files.record)
        if gallery and files.page.exists() and not made and not force:
            raise FileExistsError(f"{files.page} exists: choose another name, or --force")
        if out.exists() and not force:
            if made != made | settings or made["table"] != _digest(out.read_bytes()):
                other = "exists, but was made with a different model, images or options"
                raise FileExistsError(f"{out} {other}: choose another name, or --force")
            say(f"{out} is complete already: {made['galaxies']:,} galaxies")
        else:
            inputs = {"model": model, "images": images, "begun": begun}
            tabulate = partial(tabulated, learner, header.get("classes"))
            made = _make(learner, found, files, settings, tabulate=tabulate, say=say, **inputs)
        files.journal.unlink(missing_ok=True)
    remarks = _remarks(made)
    if gallery:
        from galaxymorph.apply import gallery as galleries  # matplotlib is slow to import

        try:
            say(str(galleries.write(out, found, remarks, model=model)))
        except ValueError as error:  # an image that has gone since
            raise ValueError(f"{out} is complete, but has no gallery: {error}") from error
    return remarks


def _make(
    learner: Classifier | VoteRegressor,
    found: Found,
    files: Files,
    settings: dict[str, Any],
    *,
    tabulate: Tabulate,
    model: Path,
    images: Sequence[Path],
    begun: int,
    say: Say,
) -> dict[str, Any]:
    """Predict all galaxies, or those that the journal lacks; write table and record, return it.

    Images that were changed after `begun` (ns) get a remark."""
    how = {key: settings[key] for key in ("average_orientations", "batch_size")}
    batches, start = _resume(files.journal, settings, say), time.perf_counter()
    new = max(0, len(found.ids) - len(batches) * settings["batch_size"])
    new_batches = stream(learner.predict, found, done=len(batches), **how)
    shown = progress(new_batches, len(found.ids), len(found.ids) - new)
    with project.writing(files.journal), files.journal.open("ab") as file:
        for ids, values, remarks in shown:
            outputs.check_finite(values, ids, model)
            table = tabulate(ids, values if ids else NOTHING)
            rows = csv_text(table, number="%.6f", header=False)
            batches.append([ids, rows, remarks])
            file.write(_line(batches[-1]))
            file.flush()
    seconds = time.perf_counter() - start
    batches.append([[], "", _changed([*images, *found.names], begun)])
    _check_complete(batches, found, files.journal)
    table, made = _joined(batches, settings, csv_text(tabulate([], NOTHING)))
    project.write(files.record, json.dumps(made, indent=1) + "\n")
    project.write(files.table, table)
    say(f"{new:,} galaxies in {seconds:.1f} s, {new / seconds:.0f} images/s: {files.table}")
    return made


def _joined(
    batches: Sequence[Any], settings: dict[str, Any], columns: str
) -> tuple[str, dict[str, Any]]:
    """Return the table of all batches below its line of columns, and its record."""
    table = columns + "".join(rows for _, rows, _ in batches)
    remarks = [remark for _, _, more in batches for remark in more]
    galaxies = sum(len(ids) for ids, _, _ in batches)
    made = {"galaxies": galaxies, "remarks": remarks, "table": _digest(table.encode())}
    made = settings | made
    return table, made | {"checksum": _digest(json.dumps(made).encode())}


def _remarks(made: dict[str, Any]) -> list[Remark]:
    return [Remark(*remark) for remark in made["remarks"]]


def _check_complete(batches: Sequence[Any], found: Found, journal: Path) -> None:
    """Raise `ValueError` unless each galaxy is predicted once, or left out, in their order."""
    left_out = {name for _, _, remarks in batches for name, _, left in remarks if left}
    rows = zip(found.ids, found.names, strict=True)
    if [id for ids, _, _ in batches for id in ids] != [
        i for i, name in rows if name not in left_out
    ]:
        why = "not a valid journal of predictions: it does not hold each galaxy once"
        project.set_aside(journal, why)
        raise ValueError(f"{journal}: {why}. Repeat the command, which then starts over")


def _changed(names: Sequence[Path | str], begun: int) -> list[Remark]:
    """Remark files that were changed while they were read, after `begun` (ns)."""
    remarks = []
    for name in (name for each in names for name in str(each).split(", ")):
        with contextlib.suppress(OSError, ValueError):  # a member of a zip; gone since
            stat = os.stat(name)  # noqa: PTH116 - many files
            if stat.st_mtime_ns > begun and S_ISREG(stat.st_mode):
                why = "changed while the predictions were made: repeat the command, with --force"
                remarks.append(Remark(name, why, False))
    return remarks


def _record(path: Path) -> dict[str, Any]:
    """Read how a table was made; {} if unknown. A damaged record is set aside."""
    try:
        made = json.loads(path.read_bytes())
        if lacking := {"model", "galaxies", "table"} - made.keys():
            raise ValueError(f"it lacks {listing(lacking)}")
        rest = {key: value for key, value in made.items() if key != "checksum"}
        if made.get("checksum", "") not in ("", _digest(json.dumps(rest).encode())):
            raise ValueError("it has changed")
        _remarks(made)
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
        project.set_aside(path, "not a valid record of predictions")
        return {}
    return made


def _resume(journal: Path, settings: dict[str, Any], say: Say) -> list[Any]:
    """Read the batches in the journal of an interrupted run: ids, rows, remarks.

    A line each (`_line`); a truncated last line is ignored. A journal with other settings is
    restarted, and so is a damaged one."""
    before, batches = {}, []
    if journal.is_file():
        try:
            before, *batches = map(_parsed, journal.read_bytes().split(b"\n")[:-1])
        except ValueError:
            project.set_aside(journal, "not a valid journal of predictions; starting over")
    if before == settings:
        size = settings["batch_size"]
        say(f"resuming after {len(batches):,} batches of {size} galaxies: {journal}")
    elif before:
        changed = listing(key for key in settings if before.get(key) != settings[key])
        say(f"starting over: {journal} was made with other settings ({changed})")
        batches = []
    project.write(journal, b"".join(map(_line, (settings, *batches))))
    return batches


def _line(value: Any) -> bytes:
    """Return a line of the journal: a value, after its checksum."""
    text = json.dumps(value)
    return f"{_digest(text.encode())[:16]} {text}\n".encode()


def _parsed(line: bytes) -> Any:
    digest, _, text = line.partition(b" ")
    if _digest(text)[:16].encode() != digest:
        raise ValueError("the line has changed")
    return json.loads(text)


def tabulated(
    learner: Classifier | VoteRegressor,
    classes: Sequence[str] | None,
    ids: Sequence[str],
    values: Values,
) -> pd.DataFrame:
    """Return the rows of galaxies in the table of predictions; see `predict`."""
    answers = list(galaxy_zoo_tree.COLUMNS)
    if classes is None:
        table = pd.DataFrame(values[:, :37].clip(0, 1), columns=answers)
        table.insert(0, "GalaxyID", ids)
        return table
    judged = learner.judge(torch.tensor(values)) if isinstance(learner, VotesAndClasses) else None
    chances = values[:, : len(classes)] if judged is None else judged.chances.numpy()
    table = pd.DataFrame(chances.clip(0, 1), columns=[f"p_{name}" for name in classes])
    table.insert(0, "id", ids)
    table["label"] = [classes[k] for k in chances.argmax(1)]
    if judged is not None:
        sets = ["|".join(np.array(classes)[row]) for row in judged.sets.numpy()]
        table["set"], table["unlike_training"] = sets, judged.distance.numpy()
        table.loc[table.unlike_training > 1, ["label", "set"]] = ""
        table[answers] = judged.votes.numpy().clip(0, 1)
    return table


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
