"""The report of a run: one self-contained `results/<run>/index.html`, and beside each executed
notebook a page of it.

Nothing is loaded from elsewhere: pictures are data URIs, styles are inline. A report can be mailed.
The only scripts are in pages that steps have written (`features3d`), in frames that cannot reach
the report."""

from __future__ import annotations

import base64
import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from galaxymorph import project
from galaxymorph.run.results import Result, read
from galaxymorph.text import duration, leaves

# As wide as a terminal, of classes and of vote fractions.
LONG, MANY = 24, 10  # rows of a table, and sentences, of which more are folded up
ORIGIN = (
    "parameters",
    "galaxies",
    "code",
    "commit",
    "machine",
    "torch",
    "finished (UTC)",
)  # of a piece of work
FIRST = (
    "protocol",
    "method",
    "labels",
    "seeds",
    "test accuracy",
    "macro F1",
    "AUC",
    "RMSE",
    "% of the way",
    "seconds",
)


# ---- the comparison table


def readable(result: Result) -> pd.DataFrame:
    """The `table.csv` of a step as text to look at; one that `comparison.compare` or
    `vote_comparison.compare` has made in the form of their `readable`."""
    from galaxymorph.evaluation import comparison, vote_metrics

    table = pd.read_csv(result.path / "table.csv", dtype={"n_labels": "Int64"})
    makers = {"accuracy_low": comparison, "rmse_low": vote_metrics}
    maker = next(
        (
            maker
            for column, maker in makers.items()
            if {"method", "interval", column} <= set(table.columns)
        ),
        None,
    )
    if maker is not None:
        return maker.readable(table)
    return pd.DataFrame(
        {_title(name): [_number(value) for value in table[name]] for name in table.columns}
    )


def comparisons(results: Sequence[Result]) -> list[Result]:
    """The steps that compare: those that leave a `table.csv`."""
    return [result for result in results if result.done and (result.path / "table.csv").is_file()]


def text(run: str) -> str:
    """The comparison tables of a run for a terminal, below each what its step says of it; empty
    where no step compares."""
    parts = []
    for result in comparisons(read(run)):
        table = readable(result)
        if {"test accuracy", "RMSE"} & set(table.columns):
            table = table[[name for name in FIRST if name in table]]
        said = [textwrap.fill(sentence, width=100) for sentence in sentences(result)]
        parts += [table.to_string(index=False), *(["\n".join(said)] if said else [])]
    return "\n\n".join(parts)


def sentences(result: Result) -> list[str]:
    """What a step says of its comparison: the paragraphs of `summary.md`, if it leaves one."""
    path = result.path / "summary.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [paragraph for paragraph in text.strip().split("\n\n") if paragraph]


def _number(value: Any) -> str:
    """Four digits at most where they say enough; an en dash for what is missing."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (
        isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    ):
        return f"{int(value):,}" if abs(value) >= 10_000 else str(int(value))
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


# ---- the report


def write(run: str) -> Path:
    """Writes the report of a run, finished or not; returns its path. Raises `FileNotFoundError`
    where there is no such run.

    First the answer, then the steps that compare, then those that speak of all methods (they leave
    a `summary.md`: where methods fail, the audit, ...), then every step by itself, and where each
    row comes from."""
    results = read(run)
    folder = project.root() / "results" / run
    notebooks = {result.name: page for result in results if (page := notebook(result)) is not None}
    compared = comparisons(results)
    speaking = [
        result
        for result in results
        if result not in compared and (result.path / "summary.md").is_file()
    ]
    speaking.sort(key=lambda result: (result.path / "audit.csv").is_file())
    steps: dict[str, list[Result]] = {}
    for result in results:
        steps.setdefault(result.step, []).append(result)
    above = [*compared, *speaking]
    parts = [
        _head(run, results),
        _answer(compared),
        *(_comparison(result) for result in compared),
        *(_spoken(result) for result in speaking),
        *(
            _step(name, pieces, notebooks, folder, shown=pieces[0] not in above)
            for name, pieces in steps.items()
        ),
        _provenance(results),
        _environments(results),
    ]
    path = folder / "index.html"
    project.write(path, _page(f"Galaxy morphology: {run}", "\n".join(parts)))
    return path


def notebook(result: Result) -> Path | None:
    """The executed notebook as a page, `notebook.html` beside it; None where there is none. A
    failed one shows its error."""
    source, page = result.path / "notebook.ipynb", result.path / "notebook.html"
    if not source.is_file():
        return None
    if not page.is_file() or page.stat().st_mtime < source.stat().st_mtime:
        from nbconvert import HTMLExporter

        exporter = HTMLExporter(
            template_name="basic",
            exclude_anchor_links=True,
            exclude_input_prompt=True,
            exclude_output_prompt=True,
        )
        body, _ = exporter.from_filename(str(source))
        back = "../" * (result.name.count("/") + 1) + "index.html"
        project.write(
            page,
            _page(
                result.name, f'<p><a href="{back}">← report</a></p>\n{body}', style=_code_style()
            ),
        )
    return page


def _code_style() -> str:
    from pygments.formatters import HtmlFormatter

    return HtmlFormatter(style="default").get_style_defs(".highlight")


def _head(run: str, results: Sequence[Result]) -> str:
    done = [result for result in results if result.done]
    seconds = sum(result.seconds or 0 for result in results)
    finished = max((result.finished for result in results if result.finished), default="")
    facts = [f"{len(done)} of {len(results)} pieces of work", f"{duration(seconds)} of computing"]
    facts += [f"finished {finished[:16].replace('T', ' ')} UTC"] if finished else []
    missing = [result.name for result in results if not result.done and result.not_run is None]
    left_out = dict.fromkeys(
        f"{result.step} ({result.not_run})" for result in results if result.not_run is not None
    )
    galaxies = next(
        (result.parameters["galaxies"] for result in results if "galaxies" in result.parameters), {}
    )
    source = ", ".join(f"{_title(key)} {_number(value)}" for key, value in leaves(galaxies))
    warning = f'<p class="warning">Missing: {escape(", ".join(missing))}.</p>\n' if missing else ""
    warning += f'<p class="warning">Not run: {escape(", ".join(left_out))}.</p>' if left_out else ""
    return (
        f"<header><h1>Run {escape(run)}</h1>\n<p>{escape(' · '.join(facts))}</p>\n"
        f"{f'<p>Galaxies: {escape(source)}</p>' if source else ''}</header>\n{warning}"
    )


def _answer(compared: Sequence[Result]) -> str:
    """Which method to take, by number of labels: of the step that compares the most numbers of
    them, and pairs of methods."""
    from galaxymorph.evaluation import export, verdict

    found = [
        pd.read_csv(path, dtype={"n_labels": "Int64"})
        for each in compared
        if (path := each.path / "answer.csv").is_file()
    ]
    verdicts = max(found, key=lambda each: (len(each), each.n_pairs.sum()), default=None)
    if verdicts is None or verdicts.empty:
        return ""
    shown = verdict.readable(verdicts)
    said = f"<p>{escape(verdict.in_short(verdicts))}</p>"
    table = export.narrow(_table(shown.columns, shown.itertuples(index=False)))
    note = (
        "<p>The method to take was chosen on validation galaxies, where there are some; the numbers are of test galaxies. "
        "What these cannot tell apart from it, after Holm's correction for all pairs, may be as good. Seconds of training are "
        "the method's own, without what its encoder was trained with before.</p>"
    )
    return f'<section class="answer">\n<h2>The answer</h2>\n{said}\n{table}\n{note}\n</section>'


def _spoken(result: Result) -> str:
    """A step that speaks of all methods: its sentences, the table of an audit, its pictures."""
    said = "\n".join(f"<p>{escape(sentence)}</p>" for sentence in sentences(result))
    path = result.path / "audit.csv"
    table = pd.read_csv(path, keep_default_na=False) if path.is_file() else None
    shown = _table(table.columns, table.itertuples(index=False)) if table is not None else ""
    return (
        f'<section class="spoken">\n<h2>{escape(_title(result.step))}</h2>\n{said}\n<div class="pairs">{shown}</div>\n'
        f"{_pictures(result)}\n</section>"
    )


def _comparison(result: Result) -> str:
    from galaxymorph.evaluation import export

    table = readable(result)
    shown = export.narrow(_table(table.columns, table.itertuples(index=False)))
    files = [
        path for kind in ("csv", "html", "tex") if (path := result.path / f"table.{kind}").is_file()
    ]
    links = ", ".join(
        f'<a href="{escape(result.name)}/{path.name}">{path.name}</a>' for path in files
    )
    words = sentences(result)
    said = "\n".join(f"<p>{escape(sentence)}</p>" for sentence in words)
    said = _folded("In words", said) if len(words) > MANY else said
    shown = f"{shown}\n<p>The table as files: {links}.</p>"
    several = (
        "labels" in table.columns and len(set(table["labels"])) > 1
    )  # then the figure says more than the table
    shown = (
        _folded(f"The table, {len(table)} rows", shown) if several or len(table) > LONG else shown
    )
    kind = "compared" if table.columns[0] == "protocol" else ""
    parts = [_pictures(result), said, shown] if several else [shown, said, _pictures(result)]
    return f'<section class="{kind}">\n<h2>{escape(_title(result.step))}</h2>\n{chr(10).join(parts)}\n</section>'


def _folded(title: str, content: str) -> str:
    """What is too long to be seen at first; on paper it is unfolded."""
    return f"<details><summary>{escape(title)}</summary>\n{content}\n</details>"


def _step(
    name: str, pieces: Sequence[Result], notebooks: Mapping[str, Path], folder: Path, *, shown: bool
) -> str:
    """A step: a row per piece of work, the pictures of the first that is done (if `shown`), and its
    parameters."""
    keys = list(pieces[0].combination)
    numbers = [_numbers(piece.metrics) for piece in pieces]
    names = list(dict.fromkeys(key for each in numbers for key in each))
    rows = []
    for piece, values in zip(pieces, numbers, strict=True):
        page = notebooks.get(piece.name)
        state = "done" if piece.done else "failed" if page else "missing"
        state = state if piece.not_run is None else escape(f"not run: {piece.not_run}")
        state = (
            f'<a href="{escape(page.relative_to(folder).as_posix())}">{state}</a>'
            if page
            else state
        )
        took = duration(piece.seconds) if piece.seconds is not None else "–"
        cells = [escape(str(piece.combination[key])) for key in keys] + [state, took]
        rows.append(cells + [escape(_number(values.get(key))) for key in names])
    header = [*keys, "notebook", "time", *(_title(key) for key in names)]
    said = (
        note for piece in pieces for key, note in leaves(piece.metrics) if key.startswith("notes.")
    )
    notes = dict.fromkeys(map(str, said))  # each once
    noted = f"<p>Notes: {escape('; '.join(notes))}.</p>\n" if notes else ""
    found = (sentence for piece in pieces for sentence in piece.metrics.get("findings", []))
    noted = (
        "".join(f"<p>{escape(str(sentence))}</p>\n" for sentence in dict.fromkeys(found)) + noted
    )
    first = next((piece for piece in pieces if piece.done), None)
    pictures = _pictures(first) if first and shown else ""
    if pictures and len(pieces) > 1:
        pictures = f"<p>Shown: {escape(first.name if first else '')}. Each notebook has its own.</p>\n{pictures}"
    return (
        f'<section class="step">\n<h2 id="{escape(name)}">{escape(_title(name))}</h2>\n'
        f"{_table(header, rows, escaped=True)}\n{noted}{pictures}\n"
        f"{_parameters(pieces)}\n</section>"
    )


def _numbers(metrics: Mapping[str, Any]) -> dict[str, int | float]:
    """What stands in the table; of a value with its interval (`{"value": ..., "low": ..., ...}`),
    the value alone."""
    found = {}
    for key, value in metrics.items():
        if isinstance(value, dict):
            inner = {"": value["value"]} if "value" in value else _numbers(value)
            found |= {f"{key} {name}".strip(): number for name, number in inner.items()}
        elif isinstance(value, int | float):
            found[key] = value
    return found


def _parameters(pieces: Sequence[Result]) -> str:
    """What is the same for all pieces of a step (what differs stands in the rows above), and what
    the metrics say in words."""
    repeated = pieces[0].combination
    rows = [
        (key, json.dumps(value) if not isinstance(value, str) else value)
        for key, value in leaves(
            {k: v for k, v in pieces[0].parameters.items() if k not in ("run", "step", "steps")}
        )
        if key not in repeated
    ]
    words: dict[str, dict[str, None]] = {}
    for piece in pieces:
        for key, value in piece.metrics.items():
            if isinstance(value, str):
                words.setdefault(key, {})[value] = None
    rows += [(_title(key), " / ".join(values)) for key, values in words.items()]
    table = _table(("parameter", "value"), rows)
    return (
        f'<details class="pairs"><summary>Parameters</summary>\n{table}\n</details>' if rows else ""
    )


def _provenance(results: Sequence[Result]) -> str:
    """Where each row of the tables comes from: hashes of its parameters and galaxies, code,
    machine, time; of a repeated step what differs between its pieces is counted."""
    rows = []
    for step in dict.fromkeys(result.step for result in results if result.done):
        pieces = [result for result in results if result.step == step and result.done]
        known: dict[str, dict[str, None]] = {}
        for piece in pieces:
            for key, value in _origin(piece).items():
                known.setdefault(key, {})[value] = None
        cells = [
            next(iter(known[key]))
            if len(known.get(key, ())) == 1
            else f"{len(known.get(key, ()))} different"
            for key in ORIGIN
        ]
        seconds = sum(piece.seconds or 0 for piece in pieces)
        rows.append(
            [
                step,
                str(len(pieces)),
                *(cell if cell != "0 different" else "–" for cell in cells),
                duration(seconds),
            ]
        )
    header = ("step", "pieces", *ORIGIN, "time in all")
    note = "<p>Each piece's own are in its folder: params.yaml, done.json, metrics.json, environment.json.</p>"
    return (
        f"<section>\n<h2>Where each row comes from</h2>\n{_table(header, rows)}\n{note}\n</section>"
        if rows
        else ""
    )


def _origin(piece: Result) -> dict[str, str]:
    mark, environment = piece.path / "done.json", piece.path / "environment.json"
    made = (
        json.loads(mark.read_text(encoding="utf-8")).get("fingerprints", {})
        if mark.is_file()
        else {}
    )
    where = json.loads(environment.read_text(encoding="utf-8")) if environment.is_file() else {}
    commit = (
        f"{where['git_commit'][:9]}{' and changes' * bool(where.get('git_changes'))}"
        if where.get("git_commit")
        else None
    )
    found = {
        "parameters": made.get("parameters"),
        "galaxies": piece.metrics.get("fingerprint"),
        "code": made.get("code"),
        "commit": commit,
        "machine": where.get("gpu") or where.get("processor"),
        "torch": where.get("torch"),
        "finished (UTC)": (piece.finished or "")[:16].replace("T", " "),
    }
    return {key: str(value) for key, value in found.items() if value}


def _environments(results: Sequence[Result]) -> str:
    """Where it was computed; a value that differs between pieces is listed with each of its
    values."""
    found: dict[str, list[str]] = {}
    for result in results:
        path = result.path / "environment.json"
        if result.done and path.is_file():
            for key, value in json.loads(path.read_text(encoding="utf-8")).items():
                shown = ", ".join(map(str, value)) if isinstance(value, list) else _number(value)
                if shown not in found.setdefault(key, []):
                    found[key].append(shown)
    rows = [(_title(key), " / ".join(values)) for key, values in found.items()]
    return (
        f'<section>\n<h2>Environment</h2>\n<div class="pairs">{_table(("", ""), rows)}</div>\n</section>'
        if rows
        else ""
    )


def _pictures(result: Result) -> str:
    figures = []
    for path in sorted(
        result.path.glob("*.png"), key=lambda path: (path.stat().st_mtime_ns, path.name)
    ):  # as they were made
        data = base64.b64encode(path.read_bytes()).decode()
        name = escape(_title(path.stem))
        figures.append(
            f'<figure><img src="data:image/png;base64,{data}" alt="{name}"><figcaption>{name}</figcaption></figure>'
        )
    pictures = f'<div class="pictures">{"".join(figures)}</div>' if figures else ""
    pages = [
        path
        for path in sorted(result.path.glob("*.html"))
        if path.name not in ("notebook.html", "table.html")
    ]
    return pictures + "".join(map(_frame, pages))


def _frame(path: Path) -> str:
    """A page that a step has written, within the report; started when it is scrolled to."""
    name = escape(_title(path.stem))
    return (
        f'<figure class="frame"><iframe sandbox="allow-scripts" loading="lazy" title="{name}" '
        f'srcdoc="{escape(path.read_text(encoding="utf-8"))}"></iframe>'
        f"<figcaption>{name} (interactive, on a screen)</figcaption></figure>"
    )


def _table(header: Iterable[str], rows: Iterable[Sequence[Any]], *, escaped: bool = False) -> str:
    def cell(value: Any, tag: str = "td") -> str:
        return f"<{tag}>{value if escaped and tag == 'td' else escape(str(value))}</{tag}>"

    names = list(header)
    head = (
        f"<thead><tr>{''.join(cell(name, 'th') for name in names)}</tr></thead>"
        if any(names)
        else ""
    )
    body = "\n".join(f"<tr>{''.join(cell(value) for value in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table>{head}<tbody>\n{body}\n</tbody></table></div>'


def _title(name: str) -> str:
    return name.replace("_", " ")


def _page(title: str, body: str, *, style: str = "") -> str:
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}{style}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 70rem; background: #fff; color: #1c2330;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: .5rem 0 0; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .5rem; padding-top: .5rem; border-top: 1px solid #d5dae3; }
header p, figcaption, summary { color: #566073; }
header p { margin: .2rem 0 1rem; }
a { color: #0b5cad; }
p { max-width: 46rem; margin: .5rem 0; }
.warning { padding: .6rem .8rem; border-left: 4px solid #c4500c; background: #fdf1e8; }
.scroll { overflow-x: auto; margin: .8rem 0; /* a shadow where there is more to the right */
  background: linear-gradient(to left, #fff 1.2rem, #fff0) right / 2.4rem 100% no-repeat local,
    linear-gradient(to left, #566f9140, #fff0) right / 1rem 100% no-repeat scroll; }
table { border-collapse: collapse; border: 0; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; text-align: right; white-space: nowrap; border: 0 solid #e3e7ee; border-bottom-width: 1px; }
th { font-weight: 600; vertical-align: bottom; white-space: normal; }
.step th, .step td { padding: .35rem .3rem; }
thead tr:last-child th { border-bottom: 2px solid #aab3c2; }
th:first-child, td:first-child { text-align: left; padding-left: 0; position: sticky; left: 0; background: #fff; }
.compared th, .compared td { vertical-align: top; padding: .35rem .4rem; }
.compared th:first-child, .compared td:first-child { position: static; max-width: 8rem; white-space: normal; }
.compared th:nth-child(2), .compared td:nth-child(2) { text-align: left; position: sticky; left: 0; background: #fff;
  max-width: 14rem; white-space: normal; }
td small { display: block; color: #566073; }
.words { white-space: normal; min-width: 7rem; }
.answer td { white-space: normal; vertical-align: top; }
.answer td:first-child, .answer td:nth-child(3), .answer td:nth-child(2) { white-space: nowrap; }
.answer th, .answer td { text-align: left; padding: .35rem .5rem; }
summary { cursor: pointer; margin: .8rem 0; }
.pairs td, .pairs th { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.pairs td:first-child { min-width: 8rem; }
.pictures { display: grid; gap: 1.2rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); }
figure { margin: 0; }
.frame { margin-top: 1.2rem; }
iframe { display: block; width: 100%; height: min(36rem, 80vh); border: 1px solid #d5dae3; border-radius: 6px; }
figcaption { font-size: .875rem; }
img { max-width: 100%; height: auto; }
.cell { margin: .8rem 0; }
pre { overflow-x: auto; margin: 0; padding: .6rem .8rem; font: .8rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
.input_area { background: #f4f6f9; border-radius: 4px; }
.output_error pre { background: #fdf1e8; }
.output_html, .output_png { overflow-x: auto; }
@media (max-width: 40rem) { /* the method stays in sight, and so do two numbers beside it */
  .compared th:first-child, .compared td:first-child { max-width: 6.5rem; }
  .compared th:nth-child(2), .compared td:nth-child(2) { max-width: 8rem; min-width: 6rem; } }
@media print { iframe { display: none; } details::details-content { content-visibility: visible; block-size: auto; }
  body { max-width: none; } .scroll { overflow: visible; } figure, tr { break-inside: avoid; } }
"""
