"""A table of `comparison.compare` for others to take along: as a web page, as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from galaxymorph.evaluation import comparison, phrases
from galaxymorph.evaluation.entries import words

SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SPECIAL |= {
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "[": "{[}",
    "*": "{*}",
}
SPECIAL |= {character: f"\\{character}" for character in "&%$#_{}"}
SHORT = {"macro_precision": "precision", "macro_recall": "recall", "macro_f1": "F1", "auc": "AUC"}
SHORT |= {"balanced_accuracy": "balanced"}  # beside accuracy
PARTS = {"train": "train_accuracy", "val": "val_accuracy", "test": "accuracy"}
STYLE = """
body { margin: 1rem; font: 14px/1.4 system-ui, "DejaVu Sans", sans-serif; color: #1c2330; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #d5dae3; text-align: left; vertical-align: top; }
td { white-space: nowrap; }
th { vertical-align: bottom; border-bottom: 2px solid #aab3c2; }
small { display: block; color: #566073; }
.words { white-space: normal; }
"""


def html(table: pd.DataFrame) -> str:
    """A table of `compare` as a web page that loads nothing: that of `comparison.readable`."""
    cells = narrow(comparison.readable(table).to_html(index=False, border=0))
    head = f'<meta charset="utf-8">\n<title>Comparison of methods</title>\n<style>{STYLE}</style>'
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{cells}\n</body></html>\n'
    )


def narrow(cells: str) -> str:
    """A table as HTML with what explains a number (`0.903 [0.885, 0.921]`, `2 (1 missing)`), and
    why a method was not run, in small letters below."""
    cells = re.sub(
        r"<td>([^<\s]+) (\[[^<\]]+\]|\(\d+ missing\))</td>", r"<td>\1<small>\2</small></td>", cells
    )
    return re.sub(
        r"<td>(not run): ([^<]+)</td>", r"<td>\1<small class='words'>\2</small></td>", cells
    )


def latex(table: pd.DataFrame, *, shown: Sequence[str] = comparison.SHOWN) -> str:
    """A table of `compare` as two LaTeX tables as wide as a page: the metrics that are `shown`,
    with their intervals as `0.903^{+0.018}_{-0.018}`; and accuracies of all parts with costs. Both
    need the package booktabs."""
    scores, costs = [], []
    for row in table.to_dict("records"):
        scores.append(
            {SHORT.get(name, name.replace("_", " ")): _interval(row, name) for name in shown}
        )
        parts = {name: phrases.number(row[column], ".3f") for name, column in PARTS.items()}
        costs.append({name: escape(text) for name, text in (parts | phrases.costs(row)).items()})
    tables = [
        _tabular(
            table,
            scores,
            r"Test galaxies, mean over seeds with the 95\,\% interval: of the mean (\textit{t}) or, of one seed, over galaxies "
            "(bootstrap). `Balanced' is balanced accuracy; precision, recall and F1 are unweighted means over classes; log "
            "loss is in nats.",
        ),
        _tabular(
            table,
            costs,
            "Accuracy of training, validation and test galaxies, and costs; FLOPs are those of one forward pass, where a "
            "multiply-add counts 2.",
        ),
    ]
    return "% \\usepackage{booktabs}\n" + "\n".join(tables)


def escape(text: str) -> str:
    """Text as LaTeX prints it to the letter."""
    return "".join(SPECIAL.get(character, character) for character in text)


def _interval(row: Mapping[str, Any], name: str) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if pd.isna(value):
        return "--"
    return (
        f"${value:.3f}$"
        if pd.isna(low)
        else f"${value:.3f}^{{+{high - value:.3f}}}_{{-{value - low:.3f}}}$"
    )


def _tabular(table: pd.DataFrame, cells: Sequence[Mapping[str, str]], caption: str) -> str:
    """Rows of a table with more `cells` for each, by name; where there is no result, a single one
    says why."""
    lines: list[str] = []
    names: list[str] = []
    for row, more in zip(table.to_dict("records"), cells, strict=True):
        first = phrases.head(row)
        texts = [escape(text) for text in first.values()]
        if row["seeds"]:
            texts += more.values()
        else:
            why = words(row, "not_run")
            texts.append(
                rf"\multicolumn{{{len(more)}}}{{l}}{{{escape(f'not run: {why}' if why else 'missing')}}}"
            )
        names = [*first, *more]
        lines.append(" & ".join(texts) + r" \\")
    aligned = "".join("l" if name in ("protocol", "method") else "r" for name in names)
    header = " & ".join(escape(name) for name in names) + r" \\"
    body = "\n".join([r"\toprule", header, r"\midrule", *lines, r"\bottomrule"])
    return (
        "\\begin{table*}\n\\centering\n\\footnotesize\n\\setlength{\\tabcolsep}{3pt}\n\\renewcommand{\\arraystretch}{1.25}\n"
        f"\\caption{{{caption}}}\n\\medskip\n\\begin{{tabular}}{{{aligned}}}\n{body}\n\\end{{tabular}}\n\\end{{table*}}\n"
    )
