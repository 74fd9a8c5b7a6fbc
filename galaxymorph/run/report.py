"""The report of a run: one self-contained `results/<run>/index.html`.

Each executed notebook is also rendered as a page in its folder, from `templates/`. Nothing is
loaded from elsewhere and there is no script: images are data URIs, styles are inline, so a report
can be mailed. Other pages written by steps (galleries, features in 3-D) are linked."""

import base64
import io
import json
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from jinja2 import Environment, PackageLoader
from PIL import Image

from galaxymorph import project
from galaxymorph.escape import from_markdown, read_csv, visible
from galaxymorph.evaluation import comparison, export, verdict, vote_comparison
from galaxymorph.evaluation.entries import is_control, titled
from galaxymorph.run.marks import UNFINISHED
from galaxymorph.run.marks import read as read_json
from galaxymorph.run.results import Result, read
from galaxymorph.text import duration, leaves

# columns of comparisons (classes and vote fractions) that fit a terminal's width
FIRST = ("protocol", "method", "labels", "seeds", "test accuracy", "macro F1", "AUC", "RMSE")
FIRST += ("gap closed (%)", "seconds")
WIDEST = 1200  # px, of a figure

T = TypeVar("T")


# ---- the comparison table


def _sound(path: Path, reader: Callable[[Path], T], instead: Callable[[str], T]) -> T:
    """Return what a reader makes of a file of a step; if it is damaged, warn and show `instead`."""
    try:
        return reader(path)
    except Exception as error:  # of any kind: the report is about the others, too
        said = str(error).partition("\n")[0]
        why = f"{path.name} is damaged ({type(error).__name__}: {said}); make it again with --force"
        warnings.warn(f"{path.parent}: {why}", stacklevel=2)
        return instead(why)


def readable(result: Result) -> pd.DataFrame:
    """Return the `table.csv` of a step as text, comparisons as their own `readable` gives them."""
    return _sound(result.path / "table.csv", _readable, _damaged)


def _damaged(why: str) -> pd.DataFrame:
    return pd.DataFrame({"damaged": [why]})


def _readable(path: Path) -> pd.DataFrame:
    table = read_csv(path, dtype={"n_labels": "Int64"})
    for column, maker in (("accuracy_low", comparison), ("rmse_low", vote_comparison)):
        if {"method", "interval", column} <= set(table.columns):
            return maker.readable(table)
    return pd.DataFrame({_plain(name): table[name].map(_number) for name in table.columns})


def comparisons(results: Sequence[Result]) -> list[Result]:
    """Return the steps that compare, that is, those with a `table.csv`."""
    return [result for result in results if result.has("table.csv")]


def sentences(result: Result) -> list[str]:
    """Return the paragraphs of a step's `summary.md` as plain text, if it has one."""
    path = result.path / "summary.md"
    text = _sound(path, _text, str) if path.is_file() else ""
    return [from_markdown(paragraph) for paragraph in text.strip().split("\n\n") if paragraph]


def _text(path: Path) -> str:
    if "\0" in (text := path.read_text(encoding="utf-8")):
        raise ValueError("not a text")
    return text


def text(run: str) -> str:
    """Return a run's comparison tables and summaries for a terminal; empty if there are none."""
    parts = []
    for result in comparisons(read(run, with_outdated=True)):
        if result.outdated:
            parts.append(f"{result.name} is of an earlier state of the run ({result.outdated}):")
        table = readable(result)
        if {"test accuracy", "RMSE"} & set(table.columns):
            table = table[[name for name in FIRST if name in table]]
        filled = [textwrap.fill(sentence, width=100) for sentence in sentences(result)]
        table = table.set_axis(map(visible, table), axis=1).map(visible)
        parts += [table.to_string(index=False), *(["\n".join(filled)] if filled else [])]
    return "\n\n".join(parts)


# ---- the report


def write(run: str) -> Path:
    """Write the report of a run, finished or not; return its path.

    It starts with the recommendation, followed by a section for each step about several methods
    (those with a `table.csv` or a `summary.md`: comparisons, failures, the audit, ...), every step
    by itself, folded, and the provenance of each row. Only figures with a caption are included; the
    others are in the notebooks' pages. Raises `FileNotFoundError` if there is no such run."""
    results, folder = read(run, with_outdated=True), project.run_folder(run)
    pages = {result.name: page for result in results if (page := notebook(result)) is not None}
    compared = comparisons(results)
    speaking = [r for r in results if r not in compared and (r.path / "summary.md").is_file()]
    speaking.sort(key=lambda result: (result.path / "audit.csv").is_file())
    steps: dict[str, list[Result]] = {}
    for result in results:
        steps.setdefault(result.step, []).append(result)
    done = [result.path for result in results if result.done]
    page = _render(
        "report.html",
        run=run,
        results=results,
        answer=_answer(compared),
        compared=compared,
        topics=compared + speaking,
        findings=_once({job.name: sentences(job) for job in compared + speaking}),
        steps=steps,
        links={name: page.relative_to(folder).as_posix() for name, page in pages.items()},
        explorers=[path for path in _explorers(results, folder) if path.is_file()],
        folder=folder,
        origins=pd.DataFrame([row for jobs in steps.values() if (row := _provenance(jobs))]),
        environment=_distinct(read_json(p / "environment.json") for p in done),
    )
    project.write(folder / "index.html", page)
    return folder / "index.html"


def _explorers(results: Sequence[Result], folder: Path) -> list[Path]:
    """Return where the pages to explore the galaxies may be: of `galaxymorph explore`, of jobs."""
    return [folder / "explorer.html", *(job.path / "explorer.html" for job in results)]


def notebook(result: Result) -> Path | None:
    """Render an executed or failed notebook as `notebook.html`; None if there is none."""
    source, page = result.path / "notebook.ipynb", result.path / "notebook.html"
    if not source.is_file():
        return None
    if not page.is_file() or page.stat().st_mtime < source.stat().st_mtime:
        from nbconvert import HTMLExporter
        from pygments.formatters import HtmlFormatter

        plain = ("exclude_anchor_links", "exclude_input_prompt", "exclude_output_prompt")
        exporter = HTMLExporter(template_name="basic", **dict.fromkeys(plain, True))
        try:
            body, _ = exporter.from_filename(str(source))
        except Exception as error:  # of any kind: the report is about the others, too
            why = f"not a valid notebook ({type(error).__name__}); --force executes the step again"
            warnings.warn(f"{source}: {why}", stacklevel=2)
            return None
        style = HtmlFormatter(style="default").get_style_defs(".highlight")
        depth = result.name.count("/") + 1 + (UNFINISHED in result.path.parts)
        back = "../" * depth + "index.html"
        shown = _render("page.html", title=result.name, style=style, back=back, notebook=body)
        project.write(page, shown)
    return page


def _render(template: str, **values: Any) -> str:
    loader = PackageLoader("galaxymorph.run", "templates")
    found = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    shown = (readable, duration, leaves)
    found.filters |= {function.__name__: function for function in shown}
    found.filters |= {"images": _images, "pages": _pages, "plain": _plain, "number": _number}
    found.filters |= {"numbers": _numbers, "parameters": _parameters}
    found.filters["narrow"] = lambda cells: export.narrow(str(cells))
    found.filters["why"] = lambda job: f"{job.step} ({job.not_run})"
    found.filters["csv"] = lambda path: _sound(path, partial(read_csv, na_values=[]), _damaged)
    return found.get_template(template).render(values)


# ---- contents of its sections


def _answer(compared: Sequence[Result]) -> dict[str, Any] | None:
    """Return the recommendation for each number of labels, and methods that were still improving.

    From the step that compares the most numbers of labels, then the most pairs of methods."""
    paths = [job.path / "answer.csv" for job in compared]
    read = [_sound(path, _answered, lambda _: None) for path in paths if path.is_file()]
    found = [each for each in read if each]
    return max(found, key=lambda each: each[:2])[2] | {"job": compared[0]} if found else None


def _answered(path: Path) -> tuple[int, int, dict[str, Any]] | None:
    """Return the numbers of labels and pairs that a step compares, and what it recommends."""
    answer, table = (
        read_csv(path.with_name(name), dtype={"n_labels": "Int64"})
        for name in ("answer.csv", "table.csv")
    )
    refused = verdict.refusals(table)
    if not len(answer) and not refused:
        return None
    named = table.get("title", table.method).fillna(table.method)
    titles = dict(zip(table.method, named, strict=True))
    verdicts = titled(answer, titles)
    last = table.loc[table.get("still_improving", pd.Series(0, table.index)) == 1]
    last = last.loc[[not is_control(row) for row in last.to_dict("records")]]
    shown = {
        "sentence": " ".join([verdict.in_short(verdicts), *refused]),
        "table": verdict.readable(verdicts),
        "improving": list(dict.fromkeys(titled(last, titles).method)),
    }
    return len(answer), int(answer.n_pairs.sum()), shown


def _once(sentences: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the sentences of each step without those that an earlier step has, too."""
    seen, found = set[str](), {}
    for name, own in sentences.items():
        found[name] = [sentence for sentence in own if sentence not in seen]
        seen |= set(own)
    return found


def _numbers(metrics: Mapping[str, Any]) -> dict[str, int | float]:
    """Return a job's numbers for the report: test metrics without intervals, and single values."""
    tests = {k: v.get("value") for k, v in metrics.get("test", {}).items() if isinstance(v, dict)}
    every = {f"test {name}": number for name, number in tests.items()} | {**metrics}
    return {name: number for name, number in every.items() if isinstance(number, int | float)}


def _parameters(jobs: Sequence[Result]) -> list[tuple[str, str]]:
    """Return parameters that a step's jobs share (others are in rows above), and text metrics."""
    skipped = {"run", "step", "steps"}
    given = {key: value for key, value in jobs[0].parameters.items() if key not in skipped}
    rows = [
        (key, value if isinstance(value, str) else json.dumps(value))
        for key, value in leaves(given)
        if key not in jobs[0].combination
    ]
    texts = ({k: v for k, v in job.metrics.items() if isinstance(v, str)} for job in jobs)
    return rows + [(_plain(key), " / ".join(values)) for key, values in _distinct(texts).items()]


def _provenance(jobs: Sequence[Result]) -> dict[str, str]:
    """Provenance of a step: hashes of parameters and galaxies, code, machine, time.

    Values that differ between its jobs are counted. Empty if no job is done."""
    done = [job for job in jobs if job.done]
    if not done:
        return {}
    found = {"step": done[0].step, "jobs": str(len(done))}
    for key, values in _distinct(map(_origin, done)).items():
        known = [value for value in values if value != "–"] or ["–"]
        found[key] = known[0] if len(known) == 1 else f"{len(known)} different"
    return found | {"total time": duration(sum(job.seconds or 0 for job in done))}


def _origin(job: Result) -> dict[str, Any]:
    made = read_json(job.path / "done.json").get("fingerprints", {})
    where = read_json(job.path / "environment.json")
    changes = " and changes" if where.get("git_changes") else ""
    return {
        "parameters": made.get("parameters"),
        "galaxies": job.metrics.get("fingerprint"),
        "code": made.get("code"),
        "commit": where.get("git_commit") and where["git_commit"][:9] + changes,
        "machine": where.get("gpu") or where.get("processor"),
        "torch": where.get("torch"),
        "finished (UTC)": job.finished and job.finished[:16].replace("T", " "),
    }


def _images(job: Result) -> list[dict[str, Any]]:
    """Return a job's captioned figures (`Step.figure`), oldest first, as WebP up to `WIDEST` px."""
    paths = sorted(job.path.glob("*.png"), key=lambda path: path.stat().st_mtime_ns)
    found = [_sound(path, _image, lambda _: None) for path in paths]
    return [each for each in found if each]


def _image(path: Path) -> dict[str, Any] | None:
    with Image.open(path, formats=["PNG"]) as picture:
        if not (caption := picture.info.get("Description")):
            return None
        shown, file = picture.convert("RGB"), io.BytesIO()
    shown.thumbnail((WIDEST, 4 * WIDEST), Image.Resampling.LANCZOS)
    shown.save(file, "WEBP", quality=85)
    data = base64.b64encode(file.getvalue()).decode()
    width, height = shown.size
    return {"caption": caption, "data": data, "width": width, "height": height}


def _pages(job: Result) -> list[str]:
    """Return the names of other pages that a job has written, such as a gallery."""
    own = ("notebook.html", "table.html")
    return [path.name for path in sorted(job.path.glob("*.html")) if path.name not in own]


# ---- values


def _distinct(dicts: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Distinct values of each key, as text, in order."""
    found: dict[str, dict[str, None]] = {}
    for key, value in (item for each in dicts for item in each.items()):
        text = ", ".join(map(str, value)) if isinstance(value, list) else _number(value)
        found.setdefault(key, {})[text] = None
    return {key: list(values) for key, values in found.items()}


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _number(value: Any) -> str:
    """At most four digits where these suffice; an en dash for missing values."""
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, list) and pd.isna(value):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)
