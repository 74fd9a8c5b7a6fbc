"""Names are data: markup, formulas, code and control characters in the names of classes, galaxies
and methods, through everything that shows or stores a name. Takes about 20 s."""

import base64
import functools
import hashlib
import json
import re
import warnings
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text
from nbconvert.filters.markdown import markdown2html

from galaxymorph import project
from galaxymorph.diagnostics import cautions
from galaxymorph.escape import (
    cell,
    csv_text,
    from_markdown,
    markdown,
    read_csv,
    shortened,
    slug,
    text_of_cell,
    visible,
)
from galaxymorph.evaluation import comparison, export, pretraining_gain, significance, verdict
from galaxymorph.evaluation.entries import Entries, Entry, titled
from galaxymorph.evaluation.predictions import predictions_of, read_predictions
from galaxymorph.plots import cloud3d, failures, features, gallery, training, trust
from galaxymorph.plots import comparison as comparison_plots
from galaxymorph.plots.galaxies import distributions, examples
from galaxymorph.run import report
from galaxymorph.run.folder import Step

NASTY = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "<!--",
    r"$\bad$",
    "$$",
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://x","y")',
    "+1",
    "-1",
    "+1+cmd|' /C calc'!A0",
    "@SUM(A1)",
    "'=already",
    "\t=1",
    "\r=1",
    "a|b",
    "**bold**",
    "_under_",
    "__init__",
    "~~gone~~",
    "# head",
    "1. one",
    "- item",
    "> quote",
    "[x](javascript:alert(1))",
    "![x](http://example.org/a.png)",
    "<http://example.org>",
    "&lt;b&gt;",
    "`code`",
    "```",
    "a\nb",
    "a\n\n# b",
    "a\tb",
    "a\0b",
    "\x1b[2J",
    "\u202egnp.exe",
    "🌀",
    "x" * 300,
    "{{7*7}}",
    "{% raw %}",
    "%s",
    "'quoted'",
    '"quoted"',
    "\\\\",
    "\\begin{x}",
    "../../etc",
    "NA",
    "a / b",
    " blank ",
]
RISKY = ("=", "+", "-", "@", "\t", "\r", "\n")
TEXT = st.text(max_size=40) | st.sampled_from(NASTY)


class Page(HTMLParser):
    """The tags, attributes and texts of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_data(self, data):
        self.texts.append(data)

    def policy(self):
        return next(
            v
            for tag, k, v in self.attributes
            if tag == "meta" and k == "content" and "default-src" in v
        )

    def runs(self):
        """What would run or load something from elsewhere."""
        found = [a for a in self.attributes if a[1].startswith("on")]
        found += [a for a in self.attributes if str(a[2]).strip().lower().startswith("javascript")]
        return found + [
            a for a in self.attributes if a[1] == "src" and not str(a[2]).startswith("data:")
        ]


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def named(classes, *, ids=None, seed=0, n=60):
    """Predictions of so many galaxies of these classes."""
    rng, k = np.random.default_rng(seed), len(classes)
    ids = [str(i) for i in range(n)] if ids is None else ids
    p = rng.dirichlet(np.ones(k), len(ids))
    labels = np.where(rng.random(len(ids)) < 0.7, p.argmax(1), rng.integers(0, k, len(ids)))
    split = np.where(np.arange(len(ids)) % 3 == 0, "val", "test")
    return {"ids": ids, "split": split, "labels": labels, "probabilities": p, "classes": classes}


# ---- spreadsheets


def test_predictions_come_back_and_no_cell_is_a_formula(folder):
    step = Step("r", "s")
    step.predictions(**named(NASTY, ids=NASTY))
    path = step.path / "predictions.csv"
    back = read_predictions(path)
    assert list(back.ids) == NASTY and back.classes == tuple(NASTY)
    assert (back.labels == predictions_of(**named(NASTY, ids=NASTY)).labels).all()
    raw = pd.read_csv(path, dtype=str, keep_default_na=False, header=None)
    cells = [text for text in raw.to_numpy().ravel() if text.startswith(RISKY)]
    assert all(map(is_number, cells))


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_a_cell_is_no_formula_and_comes_back(text):
    assert text_of_cell(cell(text)) == text
    assert not cell(text).startswith(RISKY) or is_number(text)


@settings(max_examples=40, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=6))
def test_tables_come_back(tmp_path_factory, texts):
    frame = pd.DataFrame({"=name": texts, "value": np.arange(len(texts))})
    file = tmp_path_factory.getbasetemp() / "table.csv"
    file.write_text(csv_text(frame), encoding="utf-8", newline="")
    pd.testing.assert_frame_equal(read_csv(file, dtype={0: str}, na_values=[]), frame)


def test_numbers_stay_numbers():
    frame = pd.DataFrame({"a": [-1.5, 2.0], "b": [1, -2], "c": ["-1e5", "+3"]})
    assert csv_text(frame, number="%.2f") == "a,b,c\n-1.50,1,-1e5\n2.00,-2,+3\n"


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("p_a,p_a,p_a,p_a", "duplicate columns 'p_a'"),
        ("p_a,p_", "not a valid class: a name is empty or nan"),
        ("p_a,p_nan", "not a valid class: a name is empty or nan"),
        ("p_a,p_ ", "not a valid class: a name is empty or nan"),
    ],
)
def test_classes_have_names_of_their_own(tmp_path, header, said):
    path, k = tmp_path / "p.csv", header.count(",") + 1
    path.write_text(f"id,split,label,{header}\ng,test,a,{','.join([str(1 / k)] * k)}\n")
    with pytest.raises(ValueError, match=said) as error:
        read_predictions(path)
    assert str(path) in str(error.value)


# ---- Markdown and pages


@pytest.mark.parametrize("name", NASTY)
def test_markdown_shows_a_name_literally(name):
    for text in (name, f"With all labels, {name} beats {name}."):
        page = Page(markdown2html(markdown(text)))
        assert set(page.tags) <= {"p"} and not page.attributes
        assert " ".join("".join(page.texts).split()) == " ".join(visible(text).split())


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_markdown_comes_back(text):
    assert from_markdown(markdown(text)) == visible(text)


def entries():
    """A method for each name, as its title, and its control; and a class for each name, too."""
    made = []
    for k, name in enumerate(NASTY):
        for method in (f"m{k} dnn", f"m{k} random_dnn")[: 1 + (k < 3)]:
            table = predictions_of(**named(NASTY, seed=k, n=90))
            made.append(Entry(method, 0, predictions=table, title=name if k else None))
    return Entries(made)


@functools.cache
def compared():
    every = entries()
    table = comparison.compare(every, n_bootstrap=20)
    return every, table, significance.pairs(every, n_bootstrap=20)


def test_the_report_shows_names_literally(folder):
    step, (every, table, pairs) = Step("toy", "compare"), compared()
    titles = every.titles()
    verdicts, shown = verdict.verdicts(table, pairs), titled(table, titles)
    gains = pretraining_gain.differences(every, n_bootstrap=20)
    said = cautions.sentences(every) + verdict.sentences(titled(verdicts, titles), shown)
    said += pretraining_gain.sentences(titled(gains, titles))
    step.summary([*said, *NASTY])
    for name, each in (("table", table), ("answer", verdicts), ("audit", shown[["method"]])):
        step.table(name, each)
    step.metrics({"protocol": NASTY[0], "notes": NASTY, "findings": NASTY})
    jobs = {"compare": {"combination": {}, "parameters": {"x": NASTY}, "outputs": ["table.csv"]}}
    project.write_json(folder / "results/toy/plan.json", {"jobs": jobs})
    project.write_json(step.path / "done.json", {"seconds": 1.0, "finished": "2026-01-02T03:04:05"})
    page = Page(report.write("toy").read_text(encoding="utf-8"))
    assert not page.runs() and "script" not in page.tags
    assert page.policy().startswith("default-src 'none'") and "script" not in page.policy()
    texts = {" ".join(text.split()) for text in page.texts}
    assert {" ".join(visible(name).split()) for name in NASTY} <= texts
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f]", report.text("toy"))
    page = Page(export.html(shown))
    assert not page.runs() and "script" not in page.tags and "script" not in page.policy()
    assert r"\begin{x}" not in export.latex(shown)


def test_a_notebook_s_page_runs_nothing(folder):
    """Neither names, which `Step.summary` escapes, nor what a notebook of somebody else shows."""
    step = Step("toy", "s")
    outputs = [
        {"output_type": "display_data", "metadata": {}, "data": {kind: text}}
        for text in ("<script>alert(1)</script>", *NASTY[:3])
        for kind in ("text/html", "text/markdown")
    ]
    code = {"cell_type": "code", "metadata": {}, "execution_count": 1, "source": "x"}
    notebook = {"nbformat": 4, "nbformat_minor": 4, "metadata": {}}
    project.write_json(
        step.file("notebook.ipynb"), notebook | {"cells": [code | {"outputs": outputs}]}
    )
    project.write_json(
        folder / "results/toy/plan.json",
        {"jobs": {"s": {"combination": {}, "parameters": {}, "outputs": []}}},
    )
    report.write("toy")
    page = Page((step.path / "notebook.html").read_text(encoding="utf-8"))
    assert page.policy().startswith("default-src 'none'; img-src data:")
    assert "script-src" not in page.policy()  # so no script, handler or link with code runs


def test_interactive_pages_run_their_own_script_only():
    n = len(NASTY)
    images = np.zeros((n, 3, 8, 8), np.uint8)
    points = pd.DataFrame(np.random.default_rng(0).normal(size=(n, 3)), columns=NASTY[:3])
    table = pd.DataFrame({"id": NASTY, NASTY[0]: NASTY, "p": 0.5})
    note = {"title": NASTY[0], "note": NASTY[1], "unreadable": NASTY}
    pages = {
        "cloud3d": cloud3d.page(
            points, np.arange(n), NASTY, images=images, ids=NASTY, title=NASTY[1]
        ),
        "gallery": gallery.page(table, images, **note),
    }
    for name, text in pages.items():
        page = Page(text)
        assert not page.runs() and page.tags.count("script") == 2
        script = text.rpartition("<script>")[2].partition("</script>")[0]
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in page.policy(), name
        data = text.partition('id="data">')[2].partition("</script>")[0]
        assert json.loads(data)["ids"] == NASTY


# ---- figures and files


def figures():
    k, rng = len(NASTY), np.random.default_rng(0)
    labels, images = np.arange(3 * k) % k, rng.integers(0, 255, (3 * k, 3, 8, 8), np.uint8)
    yield training.confusion(rng.integers(0, 9, (4, 4)), NASTY[:4])
    points = pd.DataFrame(rng.normal(size=(3 * k, 2)), columns=["a", "b"])
    yield features.projection(points, labels, NASTY)
    yield features.neighbours(images, np.arange(2), np.arange(6).reshape(2, 3), labels, NASTY)
    yield distributions({"q": rng.normal(size=3 * k)}, labels, NASTY)
    yield examples(images[:k], NASTY)
    row = {"label": "a", "suspected": "b", "probability": 0.5, "methods": 1, "of": 2}
    yield failures.suspects(
        images[:k], pd.DataFrame([row | {"id": x, "label": x, "suspected": x} for x in NASTY])
    )
    every, table, pairs = compared()
    shown = titled(table, every.titles())
    shown = shown.assign(training_seconds=np.geomspace(1, 1e4, len(shown)), n_train=50)
    yield comparison_plots.comparison(shown)
    yield comparison_plots.train_val_test(shown)
    yield comparison_plots.label_efficiency(shown)
    yield comparison_plots.pareto(shown, comparison.front(shown, cost="training_seconds"))
    pairs = titled(pairs, every.titles())
    few = pairs[pairs.a.isin(NASTY[1:5]) & pairs.b.isin(NASTY[1:5])]
    yield trust.ties(shown, [NASTY[3:6]])
    yield trust.probabilities(few)
    yield comparison_plots.per_class(comparison.per_class(every).rename(every.titles()))


def test_figures_show_names_literally(folder):
    """Without formulas, also on logarithmic axes; long names are shortened in the middle."""
    drawn = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # glyphs that the font lacks
        for number, figure in enumerate(figures()):
            Step("r", "s").figure(figure, NASTY[number], NASTY[number])
            texts = [text for text in figure.findobj(Text) if text.get_text()]
            assert not [text.get_text() for text in texts if text.get_parse_math()], number
            assert not [text.get_text() for text in texts if "mathdefault" in text.get_text()]
            drawn |= {text.get_text() for text in texts}
    assert r"$\bad$" in drawn and max(map(len, drawn)) < 300
    assert len(list(Path("results/r/s").glob("*.png"))) == number + 1


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_a_file_has_a_name_that_any_disk_takes(text):
    name = slug(text)
    assert re.fullmatch(r"\w[\w.=+-]*|[=+][\w.=+-]*", name) and len(name.encode()) <= 100
    assert Path("/a", name).name == name


def test_files_of_different_names_differ():
    names = [slug(name) for name in (*NASTY, "y" * 299, "y" * 298, "🌟", "", ".", "..")]
    assert len(set(names)) == len(names)
    assert slug("learning_curves_cnn zoom=0.1") == "learning_curves_cnn-zoom=0.1"
    assert shortened("a" * 50 + "b" * 50, 11) == "aaaaa…bbbbb"
