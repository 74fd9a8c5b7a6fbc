"""A table of `comparison.compare` for others to take along: as a web page, as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from galaxymorph.evaluation import comparison, phrases
from galaxymorph.evaluation.entries import words

SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"}
SPECIAL |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SPECIAL |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
SPECIAL |= {"–": "--", "[": "{[}", "*": "{*}"}
SHORT = {"macro_precision": "precision", "macro_recall": "recall", "macro_f1": "F1", "auc": "AUC"}
SHORT |= {"balanced_accuracy": "balanced"}  # beside accuracy
PARTS = {"train": "train_accuracy", "val": "val_accuracy", "test": "accuracy"}
SCORES = r"""Test galaxies, mean over seeds with the 95\,\% interval: of the mean (\textit{t}) or,
of one seed, over galaxies (bootstrap). `Balanced' is balanced accuracy; precision, recall and F1
are unweighted means over classes; log loss is in nats."""
COSTS = """Accuracy of training, validation and test galaxies, and costs; FLOPs are those of one
forward pass, where a multiply-add counts 2."""
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<title>Comparison of methods</title>
<style>
body { margin: 1rem; font: 14px/1.4 system-ui, "DejaVu Sans", sans-serif; color: #1c2330; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #d5dae3; text-align: left; }
th { vertical-align: bottom; border-bottom: 2px solid #aab3c2; }
td { vertical-align: top; white-space: nowrap; }
small { display: block; color: #566073; }
.words { white-space: normal; }
</style></head>
<body>
CELLS
</body></html>
"""
TABULAR = r"""\begin{table*}
\centering
\footnotesize
\setlength{\tabcolsep}{3pt}
\renewcommand{\arraystretch}{1.25}
\caption{CAPTION}
\medskip
\begin{tabular}{ALIGNED}
\toprule
ROWS
\bottomrule
\end{tabular}
\end{table*}
"""


def html(table: pd.DataFrame) -> str:
    """Return a table of `compare` as a web page that loads nothing: `comparison.readable`."""
    cells = comparison.readable(table).to_html(index=False, border=0)
    return PAGE.replace("CELLS", narrow(cells))


def narrow(cells: str) -> str:
    """Set what explains a number (`0.903 [0.885, 0.921]`, `2 (1 missing)`), and why a method was
    not run, in small letters below, in a table as HTML."""
    explained = r"<td>([^<\s]+) (\[[^<\]]+\]|\(\d+ missing\))</td>"
    cells = re.sub(explained, r"<td>\1<small>\2</small></td>", cells)
    why = r"<td>\1<small class='words'>\2</small></td>"
    return re.sub(r"<td>(not run): ([^<]+)</td>", why, cells)


def latex(table: pd.DataFrame) -> str:
    """Return a table of `compare` as two LaTeX tables as wide as a page: metrics, with
    their intervals as `0.903^{+0.018}_{-0.018}`; and accuracies of all parts with
    costs. Both need the package booktabs."""
    scores, costs = [], []
    for row in table.to_dict("records"):
        own = {name: _interval(row, name) for name in comparison.SHOWN}
        scores.append({SHORT.get(k, k.replace("_", " ")): text for k, text in own.items()})
        parts = {name: phrases.number(row[column], ".3f") for name, column in PARTS.items()}
        costs.append({name: escape(text) for name, text in (parts | phrases.costs(row)).items()})
    both = _tabular(table, scores, SCORES), _tabular(table, costs, COSTS)
    return "\n".join(["% \\usepackage{booktabs}", *both])


def escape(text: str) -> str:
    """Return text as LaTeX prints it to the letter."""
    return "".join(SPECIAL.get(character, character) for character in text)


def _interval(row: Mapping[str, Any], name: str) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if pd.isna(value):
        return "--"
    ends = "" if pd.isna(low) else f"^{{+{high - value:.3f}}}_{{-{value - low:.3f}}}"
    return f"${value:.3f}{ends}$"


def _tabular(table: pd.DataFrame, cells: Sequence[Mapping[str, str]], caption: str) -> str:
    """Return rows of a table with more `cells` for each, by name; where there is no result, a
    single one says why."""
    lines, names = [], []
    for row, more in zip(table.to_dict("records"), cells, strict=True):
        first, texts = phrases.head(row), list(more.values())
        names = [*first, *more]
        if not row["seeds"]:
            why = escape(f"not run: {row['not_run']}" if words(row, "not_run") else "missing")
            texts = [rf"\multicolumn{{{len(more)}}}{{l}}{{{why}}}"]
        lines.append(" & ".join([*map(escape, first.values()), *texts]) + r" \\")
    lines = [" & ".join(map(escape, names)) + r" \\", r"\midrule", *lines]
    aligned = "".join("l" if name in ("protocol", "method") else "r" for name in names)
    head = TABULAR.replace("CAPTION", caption.replace("\n", " ")).replace("ALIGNED", aligned)
    return head.replace("ROWS", "\n".join(lines))
