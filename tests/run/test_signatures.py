"""Signatures read from source against those of the imported functions. Takes about 10 s."""

import ast
from pathlib import Path

import pytest

from galaxymorph.run import notebooks, signatures
from galaxymorph.run.typecheck import accepts

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
VALUES = [None, True, 0, 4, 2.5, "x", "auto", "votes", [], [1], [1, 2.5], ["x"], {}, {"a": 1}]


def called() -> set[str]:
    """The functions of ours that notebooks call, by their dotted paths."""
    paths = set()
    for path in NOTEBOOKS.glob("*.ipynb"):
        nodes = [e for code in notebooks.read(path).code for e in ast.walk(ast.parse(code))]
        places = dict(pair for node in nodes for pair in signatures.imports(node))
        names = [ast.unparse(e.func).split(".") for e in nodes if isinstance(e, ast.Call)]
        paths |= {".".join([places[n], *rest]) for n, *rest in names if n in places}
    return {path for path in paths if path.startswith("galaxymorph.")}


def test_what_is_written_never_refuses_what_is_imported():
    read = 0
    for path in sorted(called()):
        known, found = signatures.imported(path), signatures.written(path)
        if known is None or found is None:
            continue
        read += 1
        for name, parameter in known[0].items():
            assert name in found[0] or "options" in found[0], (path, name)
            hint = found[0][name].annotation if name in found[0] else signatures.ANY
            allowed = [value for value in VALUES if accepts(value, parameter.annotation)]
            assert all(accepts(value, hint) for value in allowed), (path, name)
    assert read > 60  # most of them


@pytest.mark.parametrize(
    ("path", "option", "refused"),
    [
        ("galaxymorph.learning.train.fit", "epochs", "x"),
        ("galaxymorph.learning.augment.Views", "zoom", [1]),  # a data class
        ("galaxymorph.learning.moco.MoCo", "temperature", None),
        ("galaxymorph.data.load.load", "sky", "dark"),  # of a source
        ("galaxymorph.data.load.load", "on_bad", "x"),  # of `decoded`
    ],
)
def test_plain_types_are_read(path, option, refused):
    for find in (signatures.imported, signatures.written):
        found = find(path)
        assert found and not accepts(refused, found[0][option].annotation)


@pytest.mark.parametrize(
    "path", ["galaxymorph.learning.train.none", "galaxymorph.none.x", "json.dumps", "x"]
)
def test_what_is_not_ours_is_not_read(path):
    assert signatures.written(path) is None
