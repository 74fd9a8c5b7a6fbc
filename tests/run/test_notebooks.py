"""What a notebook declares, read from its source."""

import re

import pytest

from galaxymorph.run import notebooks
from tests.run.test_plan import COMPARE, cell, notebook


def test_parameters_are_plain_values(tmp_path):
    source = 'run = "x"\nstep: str = "y"\n"""text"""\nat = (1, dict(a=[None, -2.0]), {3: True})\n'
    path = tmp_path / "01_a.ipynb"
    notebook(path, cell("%time\n1 + 1"), cell(source, "parameters"), galaxymorph={"gate": True})
    found = notebooks.read(path)
    at = [1, {"a": [None, -2.0]}, {3: True}]
    assert found.parameters == {"run": "x", "step": "y", "at": at}
    assert (found.outputs, found.gate, found.code[0]) == ((), True, "1 + 1")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([cell("x = 1")], "expected one cell tagged `parameters`, found 0"),
        ([cell("run = 1\nstep = print(3)", "parameters")], "`print(3)` is not a plain value"),
        ([cell("import os", "parameters")], "`import os` is not a plain assignment"),
        ([cell("run: str", "parameters")], "`run: str` is not a plain assignment"),
        ([cell("x = = 1", "parameters")], "not valid Python: x = = 1"),
        ([cell("run = 1", "parameters")], "needs the parameter `step`"),
        (None, "not a version-4 notebook"),
    ],
)
def test_notebooks_that_are_not_steps(tmp_path, cells, message):
    path = tmp_path / "03_odd.ipynb"
    notebook(path, *cells) if cells else path.write_text("{}")
    with pytest.raises(notebooks.NotebookError, match=rf"^03_odd\.ipynb: .*{re.escape(message)}"):
        notebooks.read(path)


@pytest.mark.parametrize(
    "output",
    [
        "../../params.yaml",
        "../params.yaml",
        "..",
        "a/b/c.csv",
        "a..b/c.csv",
        "seed=0/c.csv",
        "/c.csv",
        "a/",
    ],
)
def test_outputs_stay_in_the_folder(tmp_path, output):
    path = tmp_path / "03_odd.ipynb"
    declared = {"outputs": ["dnn/predictions.csv", output]}
    notebook(path, cell(COMPARE, "parameters"), galaxymorph=declared)
    with pytest.raises(notebooks.NotebookError, match="outputs are files in the step's folder"):
        notebooks.read(path)


def test_options_of_what_parameters_are_handed_to(tmp_path):
    source = 'run = "x"\nstep = "y"\nparts = dict()\nbase = None\nother = dict()\n'
    use = "import textwrap\ntextwrap.TextWrapper(tabsize=3, **parts)\nint(base=base, **other)\n"
    use += "textwrap.indent('a', '> ', predicate=base)\nmade_here(**parts)\n"
    notebook(tmp_path / "01_a.ipynb", cell(source, "parameters"), cell(use))
    found = notebooks.read(tmp_path / "01_a.ipynb")
    assert found.option("parts.width") == 70
    with pytest.raises(KeyError):
        found.option("parts.weight")
    assert list(found.mistakes({"parts": {"width": 3}, "base": 7, "other": {"x": 1}})) == []
    mistakes = dict(found.mistakes({"parts": {"widht": 3, "tabsize": 2}, "step": "z", "bas": 1}))
    assert mistakes["parts.widht"].startswith("textwrap.TextWrapper has no such option (did you m")
    assert mistakes["parts.tabsize"].startswith("the notebook itself sets tabsize of textwrap.Tex")
    assert mistakes["step"] == "is set by the runner"
    assert mistakes["bas"] == (
        "01_a.ipynb has no such parameter (did you mean base?); it has parts, base, other"
    )


def test_null_is_allowed_where_the_function_allows_it_whatever_the_default(tmp_path):
    source = 'run = "x"\nstep = "y"\nn_labels = 100\nseed = 3\n'
    use = "from galaxymorph.data.load import load\nload(n_labels=n_labels, seed=seed)\n"
    notebook(tmp_path / "01_a.ipynb", cell(source, "parameters"), cell(use))
    found = notebooks.read(tmp_path / "01_a.ipynb")
    assert list(found.mistakes({"n_labels": None})) == []
    assert dict(found.mistakes({"n_labels": "x", "seed": None})).keys() == {"n_labels", "seed"}
