"""House rules that a machine can check: who imports whom, sizes, notebooks, what is committed."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "galaxymorph"
PATHS = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
BUNDLED = PACKAGE / "learning" / "assets" / "mock_cnn.safetensors"
GROUND = {"project", "text", "escape", "pixels", "cache", "galaxy_zoo_tree"}
WINGS = {
    "ground": {"ground"},
    "data": {"ground", "data", "mock"},
    "mock": {"ground", "mock"},
    "learning": {"ground", "learning"},
    "morphology": {"ground", "morphology"},
    "evaluation": {"ground", "evaluation"},
    "plots": {"ground", "plots"},
    "diagnostics": {"ground", "data", "mock", "learning", "evaluation", "diagnostics"},
    "run": {"ground", "evaluation", "plots", "run"},
    "apply": {"ground", "data", "mock", "learning", "diagnostics", "plots", "apply"},
    "door": {"run", "apply", "data", "mock", "evaluation", "ground", "door"},
}
MOST_OF_MODULE, MOST_OF_WING = 400, 2_800  # lines
ABOVE = {"data": 4_260, "evaluation": 4_950, "run": 4_175, "diagnostics": 3_010}  # may only fall
# Of the library: 16,800 for the house, most of the rest checks what is read and written.
MOST = 27_500


def wing(module: str) -> str:
    """The wing of a module by its dotted name below the package."""
    top = module.split(".")[0]
    if module.startswith("data.mock"):
        return "mock"
    return "ground" if top in GROUND else top if top in WINGS else "door"


def imports(source: str) -> set[str]:
    """The modules that a source text imports, wherever in it, by their dotted names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and not node.level:
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def ours(source: str) -> set[str]:
    """The modules of this package among them, by their dotted names below it."""
    below = {name.removeprefix("galaxymorph.") for name in imports(source)}
    return below & (set(PATHS) - set(WINGS) - {""})


@pytest.mark.parametrize("name", WINGS)
def test_a_wing_imports_only_what_it_may(name):
    found = {}
    for module, path in PATHS.items():
        if wing(module) == name and module not in ("", "__init__"):
            wrong = {m for m in ours(path.read_text()) if wing(m) not in WINGS[name]}
            found |= {module: wrong} if wrong else {}
    assert found == {}


def test_the_door_imports_of_the_data_only_the_download():
    for module in ("cli", "__main__"):
        found = {m for m in ours(PATHS[module].read_text()) if wing(m) == "data"}
        assert found <= {"data.download", "data.surveys", "data.mock.survey"}


def test_evaluation_knows_no_torch():
    for module, path in PATHS.items():
        if wing(module) == "evaluation":
            assert not {name for name in imports(path.read_text()) if name.startswith("torch")}


def loaded(statement: str) -> set[str]:
    """The top-level modules that a statement loads, in a fresh process."""
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    command = [sys.executable, "-c", code]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_evaluation_loads_no_torch():
    modules = [name for name in PATHS if wing(name) == "evaluation" and "." in name]
    names = ", ".join(f"galaxymorph.{name}" for name in ["evaluation", *modules])
    assert "torch" not in loaded(f"import {names}")


def test_starting_the_command_line_loads_neither_torch_nor_optuna():
    assert not {"torch", "optuna"} & loaded("import galaxymorph.cli")


def test_only_the_entry_point_imports_the_command_line():
    assert {name for name, path in PATHS.items() if "cli" in ours(path.read_text())} == {"__main__"}


def test_wings_and_modules_stay_small():
    lines = {name: path.read_text().count("\n") for name, path in PATHS.items()}
    assert {name: n for name, n in lines.items() if n > MOST_OF_MODULE} == {}
    sizes = dict.fromkeys(WINGS, 0)
    for name, n in lines.items():
        sizes[wing(name)] += n
    large = {name: n for name, n in sizes.items() if n > ABOVE.get(name, MOST_OF_WING)}
    assert large == {}, "shorten something in these wings: see CONTRIBUTING.md"
    assert sum(sizes.values()) <= MOST, "first look for what can go, then raise MOST and say why"


def test_tests_mirror_the_wings():
    there = {
        path.name for path in (PROJECT / "tests").iterdir() if (path / "__init__.py").is_file()
    }
    assert there == set(WINGS) - {"ground", "door", "mock"} | {"faults"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_a_recipe(path):
    notebook = json.loads(path.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert notebook["cells"][0]["cell_type"] == "markdown"
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"]] == []
    for cell in code:
        source = "".join(cell["source"])
        assert source.count("\n") < 25
        forbidden = ast.FunctionDef | ast.ClassDef | ast.While
        assert not [n for n in ast.walk(ast.parse(source)) if isinstance(n, forbidden)]
        of_run = {name for name in ours(source) if wing(name) == "run"}
        assert of_run <= {"run.folder", "run.results"}


def test_each_notebook_has_a_number_of_its_own():
    numbers = [path.stem.split("_")[0] for path in NOTEBOOKS]
    assert len(set(numbers)) == len(numbers)


def test_nothing_large_or_made_is_committed():
    command = ["git", "ls-files"]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [PROJECT / line for line in listed.stdout.splitlines()]
    files = [path for path in files if path.is_file()]
    files.remove(BUNDLED)  # the only model, of at most 2 MB: `learning/test_bundled.py`
    assert [path.name for path in files if path.stat().st_size > 2**20] == []
    made = (".safetensors", ".pth", ".npy", ".h5", ".zip", ".fits", ".bz2")
    fixtures = PROJECT / "tests" / "fixtures"  # a few kB that an earlier version wrote
    elsewhere = [path for path in files if not path.is_relative_to(fixtures)]
    assert [path.name for path in elsewhere if path.suffix in made] == []
