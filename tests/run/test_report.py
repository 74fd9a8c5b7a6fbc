"""The report of a made-up run: what stands in it, and that it loads nothing. Takes about 10 s."""

import base64
import io
import json
import re
import warnings
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from PIL import Image, PngImagePlugin

from galaxymorph import project
from galaxymorph.evaluation import comparison, export
from galaxymorph.evaluation.entries import Entries
from galaxymorph.plots import cloud3d
from galaxymorph.run import report, results
from galaxymorph.run.folder import Step

CLASSES = ("round", "edge-on")


def predictions(seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(40) % 2
    right = rng.random(40) < 0.8
    first = np.where((labels == 0) == right, 0.9, 0.1)
    return {
        "ids": [f"g{i}" for i in range(40)],
        "split": ["test"] * 40,
        "labels": labels,
        "probabilities": np.stack([first, 1 - first], 1),
        "classes": CLASSES,
    }


PAGE = cloud3d.page(
    pd.DataFrame(np.eye(4)[:, :3], columns=["a", "b", "c"]),
    np.arange(4) % 2,
    ("<b>&amp;", '"quoted"'),
    images=np.zeros((4, 3, 8, 8), np.uint8),
    ids=["</script>", "'", "1 < 2", "g"],
    title="Features",
)


def executed(path, *, failed=False):
    """A notebook with prose, code and its output."""
    error = {
        "output_type": "error",
        "ename": "E",
        "evalue": "closed",
        "traceback": ["\x1b[31mE\x1b[0m: closed"],
    }
    stream = {"output_type": "stream", "name": "stdout", "text": "1 < 2"}
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": "# Title"},
        {
            "cell_type": "code",
            "metadata": {},
            "execution_count": 1,
            "source": "x",
            "outputs": [error if failed else stream],
        },
    ]
    kernel = {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},
    }
    path.write_text(
        json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": kernel, "cells": cells})
    )


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Two of three jobs are done; one has failed, one has never been started; names and values
    that HTML would trip over."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    galaxies = {"name": "folder", "root": "a<b>&c"}
    jobs = {}
    for seed in (0, 1, 2):
        name = f"net/seed={seed}"
        parameters = {"run": "toy", "step": name, "galaxies": galaxies, "seed": seed, "rate": 0.001}
        jobs[name] = {
            "combination": {"seed": seed},
            "parameters": parameters,
            "outputs": ["predictions.csv"],
        }
    jobs["compare"] = {
        "combination": {},
        "parameters": {"run": "toy", "steps": list(jobs)},
        "outputs": ["table.csv"],
    }
    project.write(tmp_path / "results" / "toy" / "plan.json", json.dumps({"jobs": jobs}))
    for name in ("net/seed=0", "compare"):
        step = Step("toy", name)
        if name != "compare":
            step.predictions(**predictions(0))
        step.metrics(
            {
                "test": {
                    "accuracy": {"value": 0.8125, "low": 0.7, "high": 0.9, "n": 40},
                    "macro_f1": {"value": 0.75, "n": 40},
                },
                "n_test": 40,
                "fingerprint": "<script>",
                "notes": ["left out: 2 files < 1 kB", "mended 3 images"]
                if name != "compare"
                else [],
            }
        )
        step.environment(device="cpu")
        about = PngImagePlugin.PngInfo()
        about.add_text("Description", f"What {name} <shows>.")
        Image.new("RGB", (4, 4)).save(step.file("roc.png"), pnginfo=about)
        Image.new("RGB", (4, 4)).save(step.file("details.png"))  # for the notebook alone
        if name == "net/seed=0":
            project.write(step.file("features3d.html"), PAGE)
        executed(step.file("notebook.ipynb"))
        project.write(
            step.path / "done.json",
            json.dumps({"seconds": 65.0, "finished": "2026-01-02T03:04:05+00:00"}),
        )
    executed(Step("toy", "net/seed=1").file("notebook.ipynb"), failed=True)
    compare = Step("toy", "compare").path
    comparison.compare(results.trained("toy")).to_csv(compare / "table.csv", index=False)
    project.write(compare / "summary.md", "One is < two.\n\nAnd so on.\n")
    return tmp_path / "results" / "toy"


class Reader(HTMLParser):
    """What a page loads and links, the text of each table row, and whether its tags close."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.links, self.rows, self.open, self.tags = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag in ("script", "object", "embed", "base", "link", "iframe"):
            self.loads.append(tag)
        self.tags.append((tag, attributes))
        self.loads += [
            attributes[key]
            for key in ("src", "srcset", "poster", "background")
            if key in attributes
        ]
        self.links += [attributes["href"]] if "href" in attributes else []
        self.rows += [[]] if tag == "tr" else []
        if tag not in ("meta", "img", "br", "input", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th", "a") and "tr" in self.open:
            self.rows[-1].append(data)


def test_the_report_loads_nothing_and_links_what_is_there(run):
    path = report.write("toy")
    assert path == run / "index.html"
    pages = [
        path,
        run / "net/seed=0/notebook.html",
        run / "net/seed=1/notebook.html",
        run / "compare/notebook.html",
    ]
    for page in pages:
        text = page.read_text()
        reader = Reader(text)
        assert reader.open == []
        assert all(
            load.startswith(("data:image/webp;base64,", "data:image/png;base64,"))
            for load in reader.loads
        )
        assert not re.search(r"@import|url\(", text)
        inside = [link[1:] for link in reader.links if link.startswith("#")]
        assert all(f'id="{name}"' in text for name in inside)
        files = [link for link in reader.links if not link.startswith("#")]
        assert all(re.fullmatch(r"[\w./%~-]+", link) for link in files)  # encoded
        assert all((page.parent / unquote(link)).is_file() for link in files)
    links = Reader(path.read_text()).links
    assert {unquote(link) for link in links if "seed" in link} == {
        "net/seed=0/notebook.html",
        "net/seed=1/notebook.html",
        "net/seed=0/features3d.html",
    }


def test_figures_with_a_caption_are_shown_with_it(run):
    reader = Reader(report.write("toy").read_text())
    shown = [attributes for tag, attributes in reader.tags if tag == "img"]
    texts = ["What compare <shows>.", "What net/seed=0 <shows>."]
    assert [attributes["alt"] for attributes in shown] == texts
    data = shown[0]["src"].removeprefix("data:image/webp;base64,")
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.format == "WEBP" and picture.size == (4, 4)
    assert (shown[0]["width"], shown[0]["height"]) == ("4", "4")


def test_the_report_says_what_is_there_and_what_is_missing(run):
    text = report.write("toy").read_text()
    rows = Reader(text).rows
    assert "Missing: net/seed=1, net/seed=2." in text
    assert "2 of 4 jobs · 2 min 10 s of computing time · finished 2026-01-02 03:04 UTC" in " ".join(
        text.split()
    )
    assert "<p>One is &lt; two.</p>" in text
    assert "root a&lt;b&gt;&amp;c" in text
    assert ["seed", "notebook", "time", "test accuracy", "test macro f1", "n test"] in rows
    assert ["0", "done", "1 min 05 s", "0.8125", "0.75", "40"] in rows
    assert ["1", "failed", "–", "–", "–", "–"] in rows
    assert ["2", "missing", "–", "–", "–", "–"] in rows
    assert ["fingerprint", "<script>"] in rows
    assert text.count("<p>Notes: left out: 2 files &lt; 1 kB; mended 3 images.</p>") == 1
    assert ["rate", "0.001"] in rows
    assert ["device", "cpu"] in rows
    assert (
        any(row[:3] == ["net", "all", "1"] for row in rows)
        and "<td>1<small>(2 missing)</small></td>" in text
    )
    assert text.count("data:image/webp") == 2
    assert text.index("And so on") < text.index('id="net"')  # the comparison first


def test_notebooks_are_pages_and_failed_ones_show_why(run):
    report.write("toy")
    good, failed = ((run / f"net/seed={seed}/notebook.html").read_text() for seed in (0, 1))
    assert "<h1>Title</h1>" in good
    assert "1 &lt; 2" in good
    assert 'href="../../index.html"' in good
    assert "closed" in failed
    before = (run / "net/seed=0/notebook.html").stat().st_mtime_ns
    report.write("toy")
    assert (run / "net/seed=0/notebook.html").stat().st_mtime_ns == before  # made once


def test_the_table_is_linked_as_files_and_shown_once(run):
    compare = run / "compare"
    assert (
        "table.csv" in report.write("toy").read_text()
        and "table.tex" not in report.write("toy").read_text()
    )
    table = pd.read_csv(compare / "table.csv")
    project.write(compare / "table.html", export.html(table))
    project.write(compare / "table.tex", export.latex(table))
    page = Reader(report.write("toy").read_text())
    assert [link for link in page.links if "table" in link] == [
        f"compare/table.{kind}" for kind in ("csv", "tex")
    ]


def test_protocols_come_first_and_intervals_below_their_values(run):
    frozen = Entries(replace(entry, protocol="frozen") for entry in results.trained("toy"))
    table = comparison.compare(frozen)
    table.to_csv(run / "compare" / "table.csv", index=False)
    text = report.write("toy").read_text()
    (header, row), value = (
        [row for row in Reader(text).rows if row[:1] in (["protocol"], ["frozen"])],
        table.accuracy[0],
    )
    assert header[:4] == ["protocol", "method", "labels", "seeds"] and row[:3] == [
        "frozen",
        "net",
        "all",
    ]
    interval = f"[{table.accuracy_low[0]:.3f}, {table.accuracy_high[0]:.3f}]"
    assert f"<td>{value:.3f}<small>{interval}</small></td>" in text
    assert '<details class="compared">' in text


def test_what_was_left_out_is_told_from_what_is_missing(run):
    why = "weights not < available"
    project.write(run / "net/seed=2/not_run.json", json.dumps({"why": why}))
    comparison.compare(results.trained("toy")).to_csv(run / "compare" / "table.csv", index=False)
    text = report.write("toy").read_text()
    assert "Missing: net/seed=1." in text and "Not run: net (weights not &lt; available)." in text
    rows = Reader(text).rows
    assert ["2", f"not run: {why}", "–", "–", "–", "–"] in rows and [
        "1",
        "failed",
        "–",
        "–",
        "–",
        "–",
    ] in rows


def test_the_table_for_a_terminal(run):
    lines = report.text("toy").splitlines()
    assert lines[0].split() == [
        "method",
        "labels",
        "seeds",
        "test",
        "accuracy",
        "macro",
        "F1",
        "AUC",
        "seconds",
    ]
    assert lines[1].split()[:5] == ["net", "all", "1", "(2", "missing)"]
    assert max(map(len, lines)) < 120
    assert lines[2:] == ["", "One is < two.", "And so on."]


def test_a_table_of_another_form_is_shown_as_it_is(run):
    (run / "compare" / "table.csv").write_text(
        "n_labels,gain,method\n100,0.123456,a\n,,b\n20000,12345.67,\n"
    )
    (result,) = report.comparisons(results.read("toy"))
    table = report.readable(result)
    assert list(table.columns) == ["n labels", "gain", "method"]
    assert table.to_numpy().tolist() == [
        ["100", "0.1235", "a"],
        ["–", "–", "b"],
        ["20,000", "12,345.7", "–"],
    ]


def test_a_run_without_comparison_and_a_run_that_is_not_there(run):
    (run / "compare" / "table.csv").unlink()
    assert report.text("toy") == ""
    assert report.write("toy").is_file()
    with pytest.raises(FileNotFoundError, match="run 'other' has no steps yet"):
        report.write("other")


def test_the_recommendation_comes_first_and_many_sentences_are_folded(run):
    from galaxymorph.evaluation import significance, verdict

    compare = Step("toy", "compare").path
    table = comparison.compare(results.trained("toy"))
    verdict.verdicts(table, significance.pairs(results.trained("toy"))).to_csv(
        compare / "answer.csv", index=False
    )
    text = report.write("toy").read_text()
    assert "With all labels the best choice is net" in text
    places = ["<h2>Recommendation</h2>", "<h2>compare</h2>", "<h2>Steps</h2>", 'id="net"']
    assert sorted(places, key=text.index) == places
    assert text.count("data:image/webp") == 2  # the figure of the comparison is not shown again
    (compare / "summary.md").write_text("\n\n".join(f"Sentence {i}." for i in range(11)))
    text = report.write("toy").read_text()
    folded = ["<p>Sentence 2.</p>", "<summary>8 more findings</summary>", "<p>Sentence 3.</p>"]
    assert sorted(folded, key=text.index) == folded and Reader(text).open == []
    assert "Still improving" not in text
    table.assign(title="the net", still_improving=1.0).to_csv(compare / "table.csv", index=False)
    text = report.write("toy").read_text()
    assert "Still improving at the last epoch in every seed: the net." in text
    assert "the best choice is the net" in text


def test_what_speaks_of_all_methods_is_above_the_steps_and_the_audit_last(run):
    plan = json.loads((run / "plan.json").read_text())
    for name in ("audit", "failures"):
        plan["jobs"][name] = {
            "combination": {},
            "parameters": {"run": "toy"},
            "outputs": ["summary.md"],
        }
        step = Step("toy", name)
        project.write(step.file("summary.md"), f"What {name} <says>.\n")
    (run / "audit" / "audit.csv").write_text(
        "check,result,of,warnings,leaks,what\nids,leak,2,0,1,a < b\n"
    )
    project.write(run / "plan.json", json.dumps(plan))
    text = report.write(
        "toy"
    ).read_text()  # neither is done: an audit that has stopped a run is shown
    places = [
        text.index(part)
        for part in (
            "What failures &lt;says&gt;",
            "What audit &lt;says&gt;",
            "a &lt; b",
            'id="net"',
        )
    ]
    assert places == sorted(places) and Reader(text).open == []


def test_where_each_row_comes_from(run):
    mark = run / "net/seed=0/done.json"
    known = json.loads(mark.read_text()) | {
        "fingerprints": {"parameters": "abc123", "code": "def456"}
    }
    mark.write_text(json.dumps(known))
    (row,) = [cells for cells in Reader(report.write("toy").read_text()).rows if "abc123" in cells]
    torch = json.loads((run / "net/seed=0/environment.json").read_text())["torch"]
    assert row[:2] == ["net", "1"] and {
        "def456",
        "<script>",
        torch,
        "2026-01-02 03:04",
        "1 min 05 s",
    } <= set(row)


GARBAGE = {"binary": bytes(range(256)) * 40, "empty": b"", "one cell": b"x", "bars": b"a|b\n1|2\n"}


@pytest.mark.parametrize("kind", GARBAGE)
def test_damaged_files_are_named_and_the_rest_is_shown(run, kind):
    """Any file that the report reads, of a job that no mark vouches for."""
    names = ("table.csv", "answer.csv", "summary.md", "audit.csv", "pairs.csv", "seeds.csv")
    for name in (*names, "roc.png", "metrics.json", "environment.json", "history.csv"):
        (run / "compare" / name).write_bytes(GARBAGE[kind])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        text = report.write("toy").read_text()
        shown = report.text("toy")
    said = " ".join(str(each.message) for each in caught)
    assert "compare: roc.png is damaged (UnidentifiedImageError" in said
    assert kind == "one cell" or "answer.csv is damaged" in said
    if kind in ("binary", "empty"):
        assert "compare: table.csv is damaged" in said and "table.csv is damaged" in shown
        assert "table.csv is damaged" in text and "make it again with --force" in text
    assert (kind == "binary") == ("summary.md is damaged" in text)
    assert "81.25" in text or "0.8125" in text  # of the sound job


@pytest.mark.parametrize("value", [{"a": 1}, [1], "x", None])
def test_metrics_of_odd_types_are_left_out_of_the_report(run, value):
    metrics = {"test": {"accuracy": {"value": value}, "loss": {}, "auc": {"value": 0.75}}}
    (run / "net/seed=0/metrics.json").write_text(json.dumps(metrics | {"n_test": value}))
    assert "0.75" in report.write("toy").read_text()


def test_a_history_that_is_damaged_is_no_history(run):
    (run / "net/seed=0/history.csv").write_bytes(GARBAGE["binary"])
    (result, *_) = results.read("toy")
    with pytest.warns(UserWarning, match=r"seed=0/history.csv: not a valid table: .*ignored"):
        assert result.history is None
