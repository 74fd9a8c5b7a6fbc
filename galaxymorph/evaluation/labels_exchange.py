"""Exchange galaxies and labels with Zooniverse and Label Studio, in their documented formats.

**Zooniverse.** A subject set is a CSV manifest and its image files; metadata that begin with "#"
are hidden from volunteers. Its classification export is a CSV file in which `metadata`,
`annotations` and `subject_data` are JSON (help.zooniverse.org, Data Exports).

**Label Studio.** Tasks are a JSON list of `data` for each galaxy, with the image as a data URL, so
that it needs no server of images; an interface in XML has the questions. Its JSON export adds
`annotations` to each task (labelstud.io, Task Format).

Labels come back as the table that `evaluation.annotations` reads. Answers of Galaxy Zoo's tree are
recognised if questions and answers have our names, or questions those of Galaxy Zoo."""

import base64
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pandas as pd

from galaxymorph import galaxy_zoo_tree as tree
from galaxymorph import project
from galaxymorph.escape import csv_text, slug, text_of_cell
from galaxymorph.evaluation.annotations import ARTIFACT, UNSURE
from galaxymorph.project import existing
from galaxymorph.text import ENDING, listing, read_cells, unknown

ID = "#galaxy"  # of a subject's metadata: hidden from volunteers
IDS = (ID, "galaxy", "#id", "id", "!id", "//id", "GalaxyID", "#GalaxyID")
FILES = ("image", "#image", "Filename", "filename", "#filename", "file")
FIRST = tree.QUESTIONS[0].name
TARGETS = ("zooniverse", "label-studio")
MANIFEST = "manifest.csv"


# ---- out


def exported(
    ids: Sequence[str],
    pictures: Sequence[str],
    asked: Sequence[Mapping[str, Any]],
    out: Path,
    target: str | None,
) -> list[Path]:
    """Write galaxies for `target`; return the files to upload.

    Args:
        pictures: base64-encoded JPEG.
        asked: questions for Label Studio, each with name, prompt, answers and parent.
        out: folder for Zooniverse, of the manifest and the images; file of tasks for Label Studio,
            beside which the interface is written."""
    if target not in TARGETS:
        raise ValueError(f"--to: {unknown('target', target, TARGETS)}")
    if target == "zooniverse":
        names = [f"{slug(id).lstrip('=+') or 'galaxy'}.jpg" for id in ids]  # no formula
        twice = {name for name, n in Counter(map(str.casefold, names)).items() if n > 1}
        files = [f"{row}-{n}" if n.casefold() in twice else n for row, n in enumerate(names)]
        for name, picture in zip(files, pictures, strict=True):
            project.write(out / name, base64.b64decode(picture), flush=False)
        project.write(out / MANIFEST, csv_text(pd.DataFrame({"image": files, ID: ids})))
        return [out / MANIFEST]
    if out.suffix.lower() != ".json":
        raise ValueError(f"{out}: the tasks of Label Studio need the ending .json")
    tasks = [
        {"data": {"galaxy": id, "image": f"data:image/jpeg;base64,{picture}"}}
        for id, picture in zip(ids, pictures, strict=True)
    ]
    shown = out.with_suffix(".xml")
    project.write_json(out, tasks)
    project.write(shown, interface(asked))
    return [out, shown]


def interface(asked: Sequence[Mapping[str, Any]]) -> str:
    """Return the labelling interface of Label Studio that asks these questions."""
    lines = ["<View>", '  <Image name="image" value="$image"/>']
    for question in asked:
        more = () if question["name"] in tree.SLICES and question["parent"] else (UNSURE,)
        answers = (*question["answers"], *(ARTIFACT,) * (question["name"] == "label"), *more)
        when = ""
        if question["parent"]:
            name, answer = map(quoteattr, question["parent"])
            when = f' visibleWhen="choice-selected" whenTagName={name} whenChoiceValue={answer}'
        name, prompt = quoteattr(question["name"]), quoteattr(question["prompt"])
        lines += [f"  <View{when}>", f"    <Header value={prompt}/>"]
        lines.append(f'    <Choices name={name} toName="image" choice="single">')
        lines += [f"      <Choice value={quoteattr(answer)}/>" for answer in answers]
        lines += ["    </Choices>", "  </View>"]
    return "\n".join([*lines, "</View>"]) + "\n"


# ---- in


def imported(
    files: Sequence[Path], out: Path, source: str | None, *, question: str | None = None
) -> list[Path]:
    """Write the labels in exports of `source` as tables for `labels merge`; return their paths.

    Of several files, the later tables are `<out>_2.csv`, and so on."""
    if source not in TARGETS:
        raise ValueError(f"--from: {unknown('source', source, TARGETS)}")
    read = zooniverse if source == "zooniverse" else label_studio
    tables = [read(file, question=question) for file in files]
    paths = [out, *(out.with_stem(f"{out.stem}_{n}") for n in range(2, len(files) + 1))]
    for path, table in zip(paths, tables, strict=True):
        if path.resolve() in map(Path.resolve, files):
            raise ValueError(f"{path} is an input: choose another name for --out")
        project.write(path, table)
    return paths


def zooniverse(file: Path, *, question: str | None = None) -> str:
    """Return the labels in a Zooniverse classification export, as CSV.

    Args:
        question: the task or its text that has the classes, if there are several.

    Raises `ValueError` that names line and classification for anything unexpected."""
    wanted = ("user_name", "created_at", "metadata", "annotations", "subject_data")
    try:
        cells = read_cells(existing(file).read_text(encoding="utf-8-sig"))
        _, names = next(cells)
        if missing := [name for name in wanted if name not in names]:
            what = f"not a valid Zooniverse classification export: no column {listing(missing)}"
            raise ValueError(what)
        found = [(line, dict(zip(names, row, strict=True))) for line, row in cells]
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    if len(flows := dict.fromkeys(row.get("workflow_id", "") for _, row in found)) > 1:
        what = f"classifications of {len(flows)} workflows ({listing(flows)})"
        raise ValueError(f"{file}: {what}; keep the rows of one")
    rows = list[dict[str, Any]]()
    for line, row in found:
        where = f"{file}, line {line}"
        about, given, subject = (_json(row[name], f"{where}, column {name}") for name in wanted[2:])
        answers = [(a["task"], a.get("task_label") or "", a.get("value")) for a in _flat(given)]
        meta = next(iter(subject.values()), {}) if isinstance(subject, dict) else {}
        rows.append(
            {
                "id": _id(meta, where),
                "given": _chosen(answers, question, where),
                "annotator": row["user_name"],
                "seconds": _seconds(about),
                "time": row["created_at"],
            }
        )
    return _table(rows)


def label_studio(file: Path, *, question: str | None = None) -> str:
    """Return the labels in a JSON export of Label Studio, as CSV.

    Skipped tasks ("was_cancelled") are left out. See `zooniverse` for `question` and errors."""
    content = _json(existing(file).read_text(encoding="utf-8-sig"), str(file))
    rows = list[dict[str, Any]]()
    wanted = "expected a list of tasks with data and annotations (export as JSON, not JSON-MIN)"
    for number, task in enumerate(content if isinstance(content, list) else [content], 1):
        where = f"{file}, task {number}"
        if not isinstance(task, dict) or not {"data", "annotations"} <= set(task):
            raise ValueError(f"{where}: not a valid export of Label Studio: {wanted}")
        for made in task["annotations"]:
            if made.get("was_cancelled"):
                continue
            chosen = [
                (each.get("from_name", ""), "", each.get("value", {}).get("choices"))
                for each in made.get("result", [])
                if each.get("type") == "choices"
            ]
            by = made.get("completed_by", "")
            rows.append(
                {
                    "id": _id(task["data"], where),
                    "given": _chosen(chosen, question, where),
                    "annotator": by.get("email") or by.get("id") if isinstance(by, dict) else by,
                    "seconds": made.get("lead_time"),
                    "time": made.get("created_at", ""),
                }
            )
    if not rows:
        raise ValueError(f"{file}: no task is annotated")
    return _table(rows)


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where}: not valid JSON: {error}") from None


def _flat(given: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the annotations of all tasks, also of those within a combo task."""
    for each in given:
        if isinstance(value := each.get("value"), list) and value and isinstance(value[0], dict):
            yield from _flat(value)
        elif "task" in each:
            yield each


def _id(meta: Mapping[str, Any], where: str) -> str:
    """Return the id of a galaxy from the metadata of a subject or task."""
    for name in IDS:
        if meta.get(name) not in (None, ""):
            return text_of_cell(str(meta[name]))
    for name in FILES:
        text = str(meta.get(name) or "")
        if text and not text.startswith("data:"):
            return re.sub(ENDING, "", re.split(r"[/\\]", text)[-1], flags=re.IGNORECASE)
    raise ValueError(f"{where}: no id of the galaxy: no {IDS[1]} or image among {listing(meta)}")


def _chosen(
    answers: Sequence[tuple[str, str, Any]], question: str | None, where: str
) -> dict[str, str]:
    """Return the answer to each question of the tree, or {"label": class}; {} if there is none.

    `answers` are (task, its text, chosen answers)."""
    said = [(task, text, each) for task, text, value in answers if (each := _text(value, where))]
    named = {_plain(prompt): name for name, prompt in tree.PROMPTS.items()}
    named |= {_plain(name): name for name in tree.PROMPTS}
    ours = [named.get(_plain(text)) or named.get(_plain(task)) for task, text, _ in said]
    if FIRST in ours and question is None:
        given = {
            name: _answer(name, each, where)
            for name, (_, _, each) in zip(ours, said, strict=True)
            if name
        }
        try:
            return tree.given_in(tree.text_of(given))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    if question is not None:
        said = [each for each in said if _plain(question) in map(_plain, each[:2])]
    if len(said) > 1:
        names = listing(f"{task} {text}".strip() for task, text, _ in said)
        raise ValueError(f"{where}: several questions ({names}); choose one with --question")
    return {"label": said[0][2]} if said else {}


def _text(value: Any, where: str) -> str:
    """Return a chosen answer without markup and pictures; empty if there is none."""
    chosen = value if isinstance(value, list) else [value]
    if len(chosen) > 1:
        raise ValueError(f"{where}: {len(chosen)} answers to one question ({listing(chosen)})")
    text = str(chosen[0] if chosen and chosen[0] is not None else "")
    return re.sub(r"!\[[^\]]*\]\([^)]*\)|[*_]{2}", "", text).strip()


def _answer(question: str, text: str, where: str) -> str:
    """Return the answer to a question of the tree in our spelling."""
    answers = {_plain(a): a for a in tree.QUESTIONS[list(tree.SLICES).index(question)].answers}
    if _plain(text) not in answers:
        known = listing(answers.values())
        raise ValueError(f"{where}: unknown answer {text!r} to {question!r}. Known: {known}")
    return answers[_plain(text)]


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).strip().casefold()


def _seconds(about: Mapping[str, Any]) -> float | None:
    """Return the seconds between the times in the metadata of a classification, if they are."""
    try:
        ends = [datetime.fromisoformat(about[name]) for name in ("started_at", "finished_at")]
    except (KeyError, ValueError, TypeError):
        return None
    return max(0.0, (ends[1] - ends[0]).total_seconds())


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """Return labels as CSV; those without an answer are "cannot tell"."""
    is_tree = any(FIRST in row["given"] for row in rows)

    def text(given: dict[str, str]) -> str:
        return given.get("label") or tree.text_of(given) or UNSURE

    made = [
        {
            "id": row["id"],
            "answers" if is_tree else "label": text(row["given"]),
            "annotator": row["annotator"],
            "seconds": "" if row["seconds"] is None else round(float(row["seconds"]), 1),
            "time": row["time"],
        }
        for row in rows
    ]
    return csv_text(pd.DataFrame(made))
