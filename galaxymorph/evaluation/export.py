"""Export a table of `comparison.compare` as a web page or as LaTeX."""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader

from galaxymorph.escape import visible
from galaxymorph.evaluation import comparison, phrases
from galaxymorph.evaluation.entries import words

SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"}
SPECIAL |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SPECIAL |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
SPECIAL |= {"–": "--", "[": "{[}", "*": "{*}"}
SHORT = {"macro_precision": "precision", "macro_recall": "recall", "macro_f1": "F1", "auc": "AUC"}
SHORT |= {"balanced_accuracy": "balanced"}  # next to accuracy
PARTS = {"train": "train_accuracy", "val": "val_accuracy", "test": "accuracy"}


def html(table: pd.DataFrame) -> str:
    """Format a table of `compare` as a self-contained web page (see `comparison.readable`)."""
    cells = comparison.readable(table).to_html(index=False, border=0)
    return _render("comparison.html", cells=narrow(cells))


def narrow(cells: str) -> str:
    """Set intervals, numbers of missing seeds and reasons for skipping in small type below.

    Takes an HTML table with cells like `0.903 [0.885, 0.921]`, `2 (1 missing)`, `not run: ...`."""
    explained = r"<td>([^<\s]+) (\[[^<\]]+\]|\(\d+ missing\))</td>"
    cells = re.sub(explained, r"<td>\1<small>\2</small></td>", cells)
    why = r"<td>\1<small class='words'>\2</small></td>"
    return re.sub(r"<td>(not run): ([^<]+)</td>", why, cells)


def latex(table: pd.DataFrame) -> str:
    """Format a table of `compare` as two full-width LaTeX tables, which need booktabs.

    The first has metrics with intervals, `0.903^{+0.018}_{-0.018}`; the second the accuracy in each
    split and the costs. A method without results has a single cell with the reason."""
    rows = []
    for row in table.to_dict("records"):
        scores = {name: _interval(row, name) for name in comparison.SHOWN}
        costs = {name: phrases.number(row[column], ".3f") for name, column in PARTS.items()}
        costs |= phrases.costs(row)
        why = f"not run: {row['not_run']}" if words(row, "not_run") else "missing"
        cells = {"head": phrases.head(row), "why": "" if row["seeds"] else why}
        cells["scores"] = {SHORT.get(k, k.replace("_", " ")): text for k, text in scores.items()}
        cells["costs"] = {name: escape(text) for name, text in costs.items()}
        rows.append(cells)
    return _render("comparison.tex", rows=rows)


def escape(text: str) -> str:
    """Escape text for LaTeX, which then prints it literally."""
    return "".join(SPECIAL.get(character, character) for character in visible(text))


def _interval(row: Mapping[str, Any], name: str) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if pd.isna(value):
        return "--"
    ends = "" if pd.isna(low) else f"^{{+{high - value:.3f}}}_{{-{value - low:.3f}}}"
    return f"${value:.3f}{ends}$"


def _render(template: str, **values: Any) -> str:
    """Fill in a template that may contain the braces of CSS and LaTeX."""
    templates = Environment(
        *("<%", "%>", "<<", ">>", "<#", "#>"),
        loader=PackageLoader("galaxymorph.evaluation", "templates"),
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["latex"] = escape
    return templates.get_template(template).render(values)
