"""Comparisons as web pages and LaTeX: what stands in them, and that LaTeX would take it. Takes
about 3 s."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from galaxymorph.evaluation import comparison, export
from galaxymorph.evaluation.entries import Entries
from tests.evaluation.made import HAND, entry, rights, scored

WHY = "weights not available offline"
COSTS = {"parameters": 11_176_512, "flops": 296e6, "training_seconds": 41.2}
COSTS |= {"images_per_second": 1234.4, "peak_memory_mib": 800.0}


@pytest.fixture
def table():
    """Of one and of two seeds, with names that HTML and LaTeX trip over, one left out, one
    missing."""
    entries = [
        entry("net_a 50% <b>&{x}$#~^\\[1] *|", seed, HAND, protocol="fine-tuned", costs=COSTS)
        for seed in (0, 1)
    ]
    entries += [entry("[moco]", 0, HAND, n_labels=1000)]
    entries += [entry("imagenet", not_run=WHY), entry("late")]
    return comparison.compare(Entries(entries), n_bootstrap=20)


class Cells(HTMLParser):
    """The rows of a page's table, each a list of texts, and what the page loads."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.loads, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.loads += [value for key, value in attributes if key in ("src", "href")] + [tag] * (
            tag in ("script", "link")
        )
        self.rows += [[]] if tag == "tr" else []
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.open += [tag] if tag != "meta" else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data + ("|" if self.open[-1] == "td" and data.strip() else "")


def test_a_page_has_every_cell_and_loads_nothing(table):
    text = export.html(table)
    page = Cells(text)
    shown = comparison.readable(table)
    assert (
        page.loads == []
        and page.open == []
        and "url(" not in text
        and text.startswith("<!DOCTYPE html>")
    )
    assert page.rows[0] == list(shown)
    assert len(page.rows) == 5 and {len(row) for row in page.rows} == {len(shown.columns)}
    first = dict(zip(shown, page.rows[1], strict=True))
    assert first["method"] == "net_a 50% <b>&{x}$#~^\\[1] *|" + "|"  # to the letter
    low, high = table.loc[0, ["accuracy_low", "accuracy_high"]]
    limits = f"[{low:.3f}, {high:.3f}]"
    assert first["test accuracy"] == f"0.667|{limits}" and first["parameters"] == "11.2 M|"
    assert dict(zip(shown, page.rows[3], strict=True))["test accuracy"] == f"not run|{WHY}"
    assert f"<td>0.667<small>{limits}</small></td>" in text


def blocks(text):
    """The tabulars of a LaTeX source: the alignment, and the rows between the rules, cells
    apart."""
    found = []
    for alignment, body in re.findall(
        r"\\begin\{tabular\}\{(\w+)\}\n(.*?)\n\\end\{tabular\}", text, re.S
    ):
        lines = body.split("\n")
        assert (lines[0], lines[2], lines[-1]) == (r"\toprule", r"\midrule", r"\bottomrule")
        rows = lines[1:2] + lines[3:-1]
        assert all(row.endswith(r" \\") for row in rows)
        found.append(
            (alignment, [re.split(r"(?<!\\) & ", row.removesuffix(r" \\")) for row in rows])
        )
    return found


def spans(cell):
    found = re.match(r"\\multicolumn\{(\d+)\}", cell)
    return int(found[1]) if found else 1


def test_every_row_of_latex_has_as_many_cells_as_its_columns(table):
    found = blocks(export.latex(table))
    assert len(found) == 2
    for alignment, rows in found:
        assert len(rows) == 5 and alignment.startswith("ll") and set(alignment[2:]) == {"r"}
        assert {sum(map(spans, row)) for row in rows} == {len(alignment)}


def test_latex_says_what_the_table_says(table):
    (_, scores), (_, costs) = blocks(export.latex(table))
    assert scores[0][:6] == ["protocol", "method", "labels", "seeds", "accuracy", "balanced"]
    for row, labels in ((0, "all"), (1, "1,000")):
        low, high = table.loc[row, ["accuracy_low", "accuracy_high"]]
        ends = f"^{{+{high - 2 / 3:.3f}}}_{{-{2 / 3 - low:.3f}}}"
        assert scores[row + 1][4] == f"$0.667{ends}$" and scores[row + 1][2] == labels
    assert scores[3][4:] == [rf"\multicolumn{{7}}{{l}}{{not run: {WHY}}}"]
    assert costs[4][4:] == [r"\multicolumn{8}{l}{missing}"]
    assert dict(zip(costs[0], costs[1], strict=True)) == {
        "protocol": "fine-tuned",
        "method": r"net\_a 50\% \textless{}b\textgreater{}\&\{x\}\$\#\textasciitilde{}"
        r"\textasciicircum{}\textbackslash{}{[}1] {*}\textbar{}",
        **{"labels": "all", "seeds": "2", "train": "--", "val": "--", "test": "0.667"},
        **{
            "parameters": "11.2 M",
            "FLOPs per galaxy": "296 M",
            "training seconds": "41",
            "images/s": "1,234",
        },
        "peak memory (MiB)": "800",
    }
    assert scores[2][1] == "{[}moco]"  # after \\ a [ would begin an argument


def test_metrics_without_a_value_or_an_interval():
    row = {
        "auc": np.nan,
        "auc_low": np.nan,
        "auc_high": np.nan,
        "brier": 0.5,
        "brier_low": np.nan,
        "brier_high": np.nan,
    }
    assert (export._interval(row, "auc"), export._interval(row, "brier")) == ("--", "$0.500$")


def test_no_special_character_is_left_bare(table):
    text = export.latex(table)
    bare = re.sub(
        r"\$[0-9.^_{}+-]+\$", "", text.replace("% \\usepackage{booktabs}", "")
    )  # without numbers
    bare = re.sub(r"\\[&%$#_{}]", "", bare).replace(" & ", "").replace("\\\\\n", "\n")
    assert not re.search(r"[%$#_~^&<>|]", bare)
    assert bare.count("{") == bare.count("}") == len(re.findall(r"[{]", bare))
    assert text.count("\\begin{table*}") == text.count("\\end{table*}") == 2


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
def test_latex_takes_it(table, tmp_path):
    protocol = "frozen, random encoder"
    entries = [
        scored(f"x mock_survey_finetuned {i}", rights(200, 180), seed=seed, protocol=protocol)
        for i in range(9)
        for seed in (0, 1)
    ]
    wide = comparison.compare(Entries(entries), n_bootstrap=0)
    (tmp_path / "table.tex").write_text(export.latex(pd.concat([table, wide])))
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\n\\usepackage[landscape,margin=1cm]{geometry}\n\\usepackage{booktabs}\n"
        "\\begin{document}\n\\input{table}\n\\end{document}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull \\hbox" not in done.stdout  # fits a page
