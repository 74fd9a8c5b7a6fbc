"""galaxymorph.run.done"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from galaxymorph import project
from galaxymorph.run.folder import Step
from galaxymorph.run.notebooks import MODEL
from galaxymorph.run.plan import Piece, Plan
from galaxymorph.text import leaves

PACKAGE = Path(__file__).parents[1]
LARGE = 64 * 2**20  # bytes; larger files are told apart by size and time


def fingerprints(plan: Plan, piece: Piece) -> dict[str, str]:
    """Hashes of everything that a piece's results depend on, by kind, so that a change can be
    named."""
    inputs = {
        "parameters": piece.parameters,
        "code": [
            [_normal(source) for source in piece.notebook.code],
            _sources(piece.notebook.code),
        ],
        "files": _files(piece.parameters),
        "upstream": {name: _hash_file(folder(plan, name) / "done.json") for name in piece.reads},
    }
    return {
        kind: _hash(json.dumps(value, sort_keys=True, default=str).encode())
        for kind, value in inputs.items()
    }


def folder(plan: Plan, name: str) -> Path:
    return Step(plan.run, name).path


def outputs(plan: Plan, piece: Piece) -> list[Path]:
    """The files that a piece has to leave: those that its notebook declares, and what the runner
    writes itself."""
    step = Step(plan.run, piece.name)
    declared = []
    for output in piece.notebook.outputs:
        row, _, name = output.rpartition("/")
        place = step.row(row) if row else step
        declared.append(place.model_file if name == MODEL else place.path / name)
    return [*declared, step.path / "notebook.ipynb", step.path / "params.yaml"]


def _shown(path: Path, step: Step) -> str:
    """A file of a piece as the piece's folder has it, a model as the project has it."""
    return path.relative_to(
        step.path if path.is_relative_to(step.path) else project.root()
    ).as_posix()


def changed(plan: Plan, piece: Piece) -> str:
    """Why a piece has to be executed: empty where it is done."""
    mark = folder(plan, piece.name) / "done.json"
    if not mark.is_file():
        return "new"
    missing = [path for path in outputs(plan, piece) if not path.is_file()]
    if missing:
        return f"{_shown(missing[0], Step(plan.run, piece.name))} is gone"
    before = json.loads(mark.read_text(encoding="utf-8"))["fingerprints"]
    kinds = [kind for kind, value in fingerprints(plan, piece).items() if before.get(kind) != value]
    return f"{' and '.join(kinds)} changed" if kinds else ""


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _hash_file(path: Path) -> str | None:
    return _hash(path.read_bytes()) if path.is_file() else None


def _normal(source: str) -> str:
    """Python without comments, docstrings and layout; what is no Python, as it is."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return source
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and len(body) > 1
        ):
            first = body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                del body[0]
    return ast.unparse(tree)


def _sources(code: Sequence[str]) -> dict[str, str]:
    """Hashes of the package's modules that code imports, directly or through each other."""
    found: dict[str, str] = {}
    waiting = [module for source in code for module in _modules(source)]
    while waiting:
        name = waiting.pop()
        place = PACKAGE.joinpath(*name.split("."))
        path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if name not in found and path.is_file():
            found[name], imported = _module(path, path.stat().st_mtime_ns)
            waiting += imported
    return found


@functools.cache
def _module(path: Path, mtime: int) -> tuple[str, tuple[str, ...]]:
    source = path.read_text(encoding="utf-8")
    return _hash(_normal(source).encode()), tuple(_modules(source))


def _modules(source: str) -> Iterator[str]:
    """Names that may be modules of the package: the caller looks which are."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return  # importing it will say so
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = (
                f"{PACKAGE.name}.{node.module or ''}".rstrip(".")
                if node.level
                else node.module or ""
            )
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            top, *parts = name.split(".")
            if top == PACKAGE.name:
                yield from (
                    ".".join(parts[:depth]) or "__init__" for depth in range(len(parts) + 1)
                )  # and those around it


def _files(parameters: dict[str, Any]) -> dict[str, Any]:
    """What stands at each path that a parameter names, relative to the project's folder."""
    named = {}
    for key, value in leaves(
        {k: v for k, v in parameters.items() if k not in ("run", "step", "steps")}
    ):
        if (
            isinstance(value, str)
            and value
            and len(value) < 1000
            and "\0" not in value
            and key.split(".")[-1] != "cache"
        ):
            path = (project.root() / Path(value).expanduser()).resolve()
            if path.is_file():
                named[value] = _file(path, path.stat().st_size, path.stat().st_mtime_ns)
            elif path.is_dir() and not project.root().resolve().is_relative_to(
                path
            ):  # not the whole project
                named[value] = _listing(path)
    return named


@functools.cache
def _file(path: Path, size: int, mtime: int) -> str:
    return _hash(path.read_bytes()) if size <= LARGE else f"{size} {mtime}"


def _listing(path: Path) -> str:
    cache = project.root() / "data" / "cache"  # our own: decoded galaxies
    lines = []
    for where, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if Path(where, name) != cache)
        for name in sorted(names):
            file = Path(where, name)
            stat = file.stat() if file.exists() else file.lstat()  # a link that leads nowhere
            lines.append(f"{os.path.relpath(where, path)}/{name} {stat.st_size} {stat.st_mtime_ns}")
    return _hash("\n".join(lines).encode())
