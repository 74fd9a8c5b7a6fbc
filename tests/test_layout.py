"""House rules that a machine can check: who imports whom, what a notebook may hold, what is
committed."""

import ast
import json
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(PROJECT / "galaxymorph").with_suffix("").parts): ast.parse(
        path.read_text()
    )
    for path in (PROJECT / "galaxymorph").rglob("*.py")
}
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))


def imports(tree: ast.Module) -> set[str]:
    """The modules of the package that a module imports."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "galaxymorph":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("galaxymorph."):
            found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.split(".")[1]
                for alias in node.names
                if alias.name.startswith("galaxymorph.")
            }
    return found & set(MODULES)


LEAVES = "architectures augment baselines cae classical classifier costs features gradcam metrics moco plots schema train"
LEAVES += " weights"


@pytest.mark.parametrize("leaf", LEAVES.split())
def test_a_leaf_knows_no_other_module(leaf):
    assert imports(MODULES[leaf]) == set()


def test_votes_know_the_tree_alone():
    assert imports(MODULES["votes"]) == {"schema"}


def test_comparisons_know_metrics_and_each_other_s_words():
    assert imports(MODULES["comparison"]) == {"metrics"}
    assert (
        imports(MODULES["significance"])
        == imports(MODULES["calibration"])
        == {"comparison", "metrics"}
    )
    assert imports(MODULES["controls"]) == {"comparison", "significance"}
    assert imports(MODULES["answer"]) == {"comparison"}
    assert imports(MODULES["efficiency"]) == {"comparison", "metrics"}
    assert imports(MODULES["failures"]) == {"comparison", "metrics", "schema", "significance"}
    assert imports(MODULES["vote_metrics"]) == {"comparison", "metrics", "schema"}
    assert imports(MODULES["tables"]) == {"comparison"}
    assert (
        imports(MODULES["comparison_plots"])
        == imports(MODULES["trust_plots"])
        == imports(MODULES["failure_plots"])
        == {"plots"}
    )


def test_sets_of_measures_know_those_of_light_and_where_the_cache_is():
    assert imports(MODULES["morphometry"]) == {"classical", "cutouts", "runs"}


def test_files_of_others_are_read_without_any_network():
    assert imports(MODULES["bring"]) == {
        "metrics",
        "notebooks",
        "params",
        "runner",
        "runs",
        "schema",
        "sources",
    }


def test_forensics_is_a_composition_of_leaves_and_the_audit():
    assert imports(MODULES["forensics"]) == {
        "audit",
        "classifier",
        "data",
        "metrics",
        "moco",
        "train",
    }


def test_consistency_knows_how_to_predict():
    assert imports(MODULES["consistency"]) == {"metrics", "train"}


def test_the_audit_knows_data_models_and_runs():
    known = {
        "data",
        "duplicates",
        "encoders",
        "inference",
        "runs",
        "significance",
        "sources",
        "train",
    }
    assert imports(MODULES["audit"]) == known


def test_encoders_know_architectures_and_where_model_files_are():
    assert imports(MODULES["encoders"]) == {"architectures", "cae", "runs", "weights"}


def test_only_the_entry_point_imports_the_command_line():
    assert {name for name, tree in MODULES.items() if "cli" in imports(tree)} == {"__main__"}


def test_starting_the_command_line_loads_neither_torch_nor_optuna():
    code = "import sys, galaxymorph.cli; raise SystemExit(bool({'torch', 'optuna'} & set(sys.modules)))"
    assert (
        subprocess.run(
            [str(Path(__import__("sys").executable)), "-c", code], check=False
        ).returncode
        == 0
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_a_recipe(path):
    notebook = json.loads(path.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert notebook["cells"][0]["cell_type"] == "markdown"
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"]] == []
    for cell in code:
        source = "".join(cell["source"])
        assert source.count("\n") < 25
        assert not [
            n
            for n in ast.walk(ast.parse(source))
            if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.While)
        ]


def test_nothing_large_or_made_is_committed():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [PROJECT / line for line in listed.stdout.splitlines()]
    assert [path.name for path in files if path.is_file() and path.stat().st_size > 2**20] == []
    made = (".safetensors", ".pth", ".npy", ".h5", ".zip", ".fits", ".bz2")
    assert [path.name for path in files if path.suffix in made] == []


def test_the_readme_names_every_module_and_notebook():
    text = (PROJECT / "README.md").read_text()
    modules = [name for name in MODULES if not name.startswith("__") and f"{name}.py" not in text]
    assert modules + [path.stem for path in NOTEBOOKS if path.stem not in text] == []
    assert "@" not in text.replace("@article", "")  # no placeholder is left
