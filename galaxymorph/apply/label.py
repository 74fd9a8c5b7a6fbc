"""Write one page on which a person labels galaxies: offline, one galaxy at a time, by keys.

The page (`assets/label.html`, its stylesheets and scripts) has everything in it, which its content
security policy enforces. Labels stay in the browser until they are saved as CSV, in the form that
`evaluation.annotations` reads. Known answers of golden galaxies are not on the page.

Scripts are ES modules for an editor, a linter and node; a page opened from a file may not load
modules, so they are joined into one script, without `import` and `export`."""

import base64
import hashlib
import io
import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader
from PIL import Image

from galaxymorph import galaxy_zoo_tree, project
from galaxymorph.apply.images import check_positive, find
from galaxymorph.data import cutouts
from galaxymorph.data.found import Found, take
from galaxymorph.data.tables import indexed, read_table, respelled
from galaxymorph.escape import text_of_cell
from galaxymorph.plots import pages
from galaxymorph.text import IDS, listing, nearest, unknown, value_of

ASSETS = Path(__file__).with_name("assets")
SCRIPTS = ("labelling.js", "label.js")
OTHERS = ("star or artifact", "cannot tell")  # for any galaxy, as in `evaluation.annotations`
MOST = 2000  # galaxies on a page: about 30 MB
SIDE = 384  # of a picture on the page, px; smaller ones keep their size

Remarks = list[tuple[str, str, bool]]  # image, what is wrong, whether it is left out


def label(
    *,
    images: Sequence[Path],
    out: Path,
    ids: Path | None = None,
    classes: str | None = None,
    tree: bool = False,
    golden: Path | None = None,
    annotator: str = "",
    n: int | None = None,
    crop: int | None = None,
    say: Callable[[str], object] = print,
) -> Remarks:
    """Write the page; return the images that could not be read.

    Args:
        images: see `images.find`.
        ids: table of the galaxies to label, in this order (default: all, in random order).
        classes: separated by commas; or the questions of the `tree`.
        golden: table of galaxies with known answers, `id` and `label` or `answers`. They are mixed
            in; `galaxymorph labels merge --golden` compares.
        annotator: who labels (default: asked by the page).
        n: how many galaxies, the first of the order.
        crop: side of the central square that is shown, px (default: the largest).

    Raises `ValueError` for wrong options, ids that are not among the images, unknown golden
    answers, and more than `MOST` galaxies."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{out}: the page needs the ending .html")
    questions = asked(classes, tree)
    check_positive(crop=crop, n=n)
    project.check_writable(out)
    found = chosen(images, ids, n=n, golden=golden, questions=questions)
    if len(found.ids) > MOST:
        todo = "choose some with --ids (galaxymorph next), or a random sample with --n"
        raise ValueError(f"{len(found.ids):,} galaxies, but a page has at most {MOST:,}: {todo}")
    shown, pictures, remarks = drawn(found, crop, partial(pages.picture, tile=SIDE))
    page = render(shown, pictures, questions, annotator, title="Label galaxies")
    project.write(out, page)
    size = f"{len(page) / 1e6:,.1f} MB"
    say(f"{out}: {len(shown):,} galaxies, {size}. Open it in a browser; it needs no network")
    return remarks


def asked(classes: str | None, tree: bool) -> list[dict[str, Any]]:
    """Return the questions of the page, each with name, prompt, answers and parent.

    Raises `ValueError` unless there are either the tree or two or more different classes."""
    if tree == (classes is not None):
        raise ValueError("give either --classes a,b,c or --tree")
    if classes is None:
        return [
            each._asdict() | {"prompt": galaxy_zoo_tree.PROMPTS[each.name]}
            for each in galaxy_zoo_tree.QUESTIONS
        ]
    names = [value_of(name) for name in classes.split(",") if name.strip()]
    plain = [name.casefold() for name in names]
    if len(names) < 2 or len(set(plain)) < len(names):
        raise ValueError(f"--classes {classes}: expected two or more different classes")
    if reserved := [name for name in OTHERS if name in plain]:
        what = f"every page has {listing(map(repr, OTHERS))}"
        raise ValueError(f"--classes {classes}: leave out {listing(reserved)}, as {what}")
    return [{"name": "label", "prompt": "Which class is it?", "answers": names, "parent": None}]


def chosen(
    images: Sequence[Path],
    ids: Path | None,
    *,
    n: int | None = None,
    golden: Path | None = None,
    questions: Sequence[dict[str, Any]] = (),
) -> Found:
    """Find the galaxies to label, in their order. All of them are in random order, so that the
    first ones are a fair sample. Golden galaxies are mixed in at random places."""
    found, random = find(images, {"image_size": None}), np.random.default_rng(0)
    places = {id: row for row, id in enumerate(found.ids)}
    if ids is None:
        order = random.permutation(len(found.ids)).tolist()
    else:
        order = [places[id] for id in listed(ids, found)]
    order = order[:n]
    for id in listed(golden, found, questions) if golden else ():
        if places[id] not in order:
            order.insert(int(random.integers(len(order) + 1)), places[id])
    return take(found, order)


def listed(
    file: Path, found: Found, questions: Sequence[dict[str, Any]] | None = None
) -> list[str]:
    """Return the ids in a table, spelled as those of the images.

    Raises `ValueError` that names the rows of ids that are unknown or double, and, with
    `questions`, of golden answers that these cannot have."""
    table = read_table(file)
    spelled = {name.lower(): name for name in reversed(list(table.columns))}
    column = next((spelled[name] for name in IDS if name in spelled), "id")
    indexed(table, [column], [], file)  # raises for empty and duplicate ids
    ids, _ = respelled([text_of_cell(id) for id in table[column]], found.ids, file)
    known = set(found.ids)
    unknown_ids = [(line, id) for line, id in zip(table.index, ids, strict=True) if id not in known]
    problems = [
        f"line {line}: no galaxy {id!r} among the {len(known):,} images{nearest(id, found.ids)}"
        for line, id in unknown_ids[:5]
    ]
    if len(unknown_ids) > 5:
        problems.append(f"and {len(unknown_ids) - 5:,} more ids without an image")
    if questions:
        kind = "label" if questions[0]["name"] == "label" else "answers"
        if kind not in table:
            raise ValueError(f"{file}: no column {kind!r}, the known answer of golden galaxies")
        for line, cell in table[kind].items():
            if wrong := _impossible(str(text_of_cell(cell)), questions):
                problems.append(f"line {line}: {wrong}")
    if problems:
        raise ValueError("\n".join(f"{file}, {each}" for each in problems[:20]))
    return ids


def _impossible(answer: str, questions: Sequence[dict[str, Any]]) -> str:
    """Return why a golden answer cannot be given on the page; empty if it can."""
    if questions[0]["name"] == "label":
        classes = [*questions[0]["answers"], OTHERS[0]]
        return "" if value_of(answer) in classes else unknown("class", answer, classes)
    try:
        given = galaxy_zoo_tree.given_in(answer, complete=False)
    except ValueError as error:
        return "" if answer == OTHERS[0] else str(error)
    return "" if given else "no answers; expected such as smooth=smooth;odd=no"


def drawn(
    found: Found, crop: int | None, encode: Callable[[np.ndarray], str]
) -> tuple[list[str], list[str], Remarks]:
    """Return ids and encoded pictures of the galaxies, and what cannot be read."""
    ids, pictures, remarks = list[str](), list[str](), Remarks()
    for id, name, read in zip(found.ids, found.names, found.read, strict=True):
        try:
            picture, remark = read()
            shape = picture.shape[:2] if isinstance(picture, np.ndarray) else picture.size
            size = min(crop or SIDE, SIDE, *shape)
            pixels, more = cutouts.cutout(picture, size=size, crop=crop)
        except Exception as error:  # decoders raise all kinds of errors on broken files
            remarks.append((name, str(error) or type(error).__name__, True))
            continue
        ids.append(id)
        pictures.append(encode(np.ascontiguousarray(pixels.transpose(1, 2, 0))))
        if text := "; ".join(filter(None, [remark, more])):
            remarks.append((name, text, False))
    if not ids:
        raise ValueError(f"none of {len(found.ids):,} images can be read: {remarks[0][1]}")
    return ids, pictures, remarks


def exported(
    images: Sequence[Path], *, ids: Path | None, n: int | None, crop: int | None
) -> tuple[list[str], list[str], Remarks]:
    """Return ids and base64-encoded JPEG pictures for `labels export`, and what cannot be read."""
    if not images:
        raise ValueError("labels export needs --images")
    check_positive(crop=crop, n=n)

    def encode(pixels: np.ndarray) -> str:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=92)
        return base64.b64encode(file.getvalue()).decode()

    return drawn(chosen(images, ids, n=n), crop, encode)


def render(
    ids: Sequence[str],
    pictures: Sequence[str],
    questions: Sequence[dict[str, Any]],
    annotator: str,
    *,
    title: str,
) -> str:
    """Return the HTML of the page. Labels are kept by a hash of galaxies, pictures and questions,
    so that two sets in one browser do not mix."""
    key = hashlib.sha256(json.dumps([ids, pictures, questions]).encode()).hexdigest()[:16]
    data = {"key": key, "annotator": annotator, "questions": questions}
    data |= {"end": galaxy_zoo_tree.END, "galaxies": list(zip(ids, pictures, strict=True))}
    script = "\n".join(_plain_script(ASSETS / name) for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assets = Environment(loader=FileSystemLoader([ASSETS, pages.ASSETS]), autoescape=True)
    assets.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    page = assets.get_template("label.html")
    return page.render(title=title, data=data, script=script, hash=digest)


def _plain_script(file: Path) -> str:
    """Return a module as a plain script: without its imports and the word `export`."""
    text = file.read_text(encoding="utf-8")
    return re.sub(r"^import .*\n|^export (?=\w)", "", text, flags=re.MULTILINE)
