"""What a notebook says about itself before it is executed: its parameters, what it hands them to,
and its declared outputs.

Read from the source alone (`ast`): parameters are the plain assignments in the cell tagged
`parameters`; outputs are listed in the notebook's metadata, `"galaxymorph": {"outputs":
["predictions.csv", "dnn/predictions.csv", "model.safetensors"]}`. With `"gate": true` beside them,
no later piece of work of a run is executed unless this one has succeeded."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from galaxymorph import project
from galaxymorph.run.typecheck import _exponent, accepts, expectation, hints_of, odd_keys
from galaxymorph.text import nearest

MODEL = "model.safetensors"  # among declared outputs, stands for models/<run>/<step>.safetensors
OUTPUT = re.compile(rf"({project.NAME.pattern}/)?[^/\\.][^/\\]*")


class NotebookError(ValueError):
    """A notebook that cannot be used as a step; `path` is its file."""

    def __init__(self, path: Path, message: str):
        super().__init__(f"{path.name}: {message}")
        self.path = path


@dataclass(frozen=True, eq=False)
class Notebook:
    """A notebook's source, and what its parameters cell and metadata declare."""

    path: Path
    code: tuple[str, ...]  # Python of the code cells, without IPython's commands
    parameters: dict[str, Any]  # name -> default
    outputs: tuple[str, ...]  # files in the step's folder, or in that of a row below it
    gate: bool = False  # whether what comes after it in a run needs it

    def check(self, name: str, given: Any) -> Iterator[tuple[str, str]]:
        """What is wrong with a value given for the parameter `name`: dotted keys, each with what
        was expected there.

        The options of a dict that the notebook hands on as `function(**name)` are those of the
        function's signature, types included; of everything else, the default tells the type."""
        default = self.parameters[name]
        if default is not None and not accepts(given, type(default)):
            yield name, expectation(given, type(default))
            return
        yield from odd_keys(name, given)
        for call in self._calls:
            if default is None and name in call.passed:
                hint = hints_of(call.target).get(call.passed[name], Any)
                if not accepts(given, hint):
                    yield name, expectation(given, hint)
            if name in call.unpacked and isinstance(given, dict):
                yield from call.check(name, given)
        if default is None and isinstance(given, str) and _exponent(given):
            yield name, expectation(given, float)

    def option(self, name: str, key: str) -> Any:
        """The default of an option that the parameter `name` may hold, by what it is handed to:
        `training`, `batch_size`.

        `KeyError` where nobody says."""
        for call in self._calls:
            if name in call.unpacked:
                with contextlib.suppress(TypeError, ValueError, KeyError):
                    default = inspect.signature(call.target).parameters[key].default
                    if default is not inspect.Parameter.empty:
                        return default
        raise KeyError(f"{name}.{key}")

    @property
    def trains(self) -> bool:
        """Whether it trains by epochs: it takes the rows of a training by `record`
        (`runs.Step.record`)."""
        nodes = (node for source in self.code for node in ast.walk(ast.parse(source)))
        return any(
            isinstance(n, ast.Call)
            and isinstance(n.func, ast.Attribute)
            and n.func.attr == "record"
            for n in nodes
        )

    @functools.cached_property
    def _calls(self) -> list[_Call]:
        """The calls of importable functions that are handed parameters."""
        trees = [ast.parse(source) for source in self.code]
        imported = dict(pair for tree in trees for pair in _imports(tree))
        calls = [
            _call(node, imported, set(self.parameters)) for tree in trees for node in ast.walk(tree)
        ]
        return [call for call in calls if call]


def read(path: Path) -> Notebook:
    """Reads a notebook. Raises `NotebookError` where it is missing, no notebook, or declares
    nothing to fill in."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
        sources = [
            cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
            for cell in cells
        ]
    except FileNotFoundError:
        raise NotebookError(path, f"there is no such notebook in {path.parent}") from None
    except (ValueError, KeyError, TypeError):
        raise NotebookError(path, "is no notebook of format 4") from None
    code = [_python(source) for source in sources]
    for source in code:
        try:
            ast.parse(source)
        except SyntaxError as error:
            raise NotebookError(path, f"not valid Python: {error.text or source.strip()}") from None
    tagged = [
        source
        for cell, source in zip(cells, code, strict=True)
        if "parameters" in cell["metadata"].get("tags", [])
    ]
    if len(tagged) != 1:
        raise NotebookError(path, f"has {len(tagged)} cells with the tag `parameters`, needs one")
    try:
        parameters = dict(_assignments(ast.parse(tagged[0])))
    except ValueError as error:
        raise NotebookError(path, f"parameters cell: {error}") from None
    said = content.get("metadata", {}).get("galaxymorph", {})
    outputs = said.get("outputs", [])
    for name in outputs:
        if not OUTPUT.fullmatch(name) or ".." in name:
            raise NotebookError(
                path,
                f"declares the output {name}; outputs are files in the step's folder, or <row>/<file>",
            )
    return Notebook(
        path, tuple(code), parameters, tuple(outputs), gate=said.get("gate", False) is True
    )


def _python(source: str) -> str:
    """A cell without IPython's commands (`%matplotlib inline`, `!ls`, `%%time`)."""
    return "\n".join(line for line in source.splitlines() if not re.match(r"\s*[%!]", line))


def _assignments(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    for node in tree.body:
        if (
            isinstance(node, ast.Assign)
            and len(node.targets) == 1
            and isinstance(node.targets[0], ast.Name)
        ):
            yield node.targets[0].id, _value(node.value)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, _value(node.value)
        elif not isinstance(node, ast.Expr):
            raise ValueError(f"`{ast.unparse(node)}` is no plain assignment")


def _value(node: ast.expr) -> Any:
    """A literal, or `dict(key=literal)`; tuples become lists, as in YAML."""
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "dict"
        and not node.args
    ):
        return {word.arg: _value(word.value) for word in node.keywords if word.arg}
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(element) for element in node.elts]
    if isinstance(node, ast.Dict):
        return {
            ast.literal_eval(key): _value(value)
            for key, value in zip(node.keys, node.values, strict=True)
            if key
        }
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"`{ast.unparse(node)}` is no plain value") from None


# ---- what parameters are handed to


@dataclass(frozen=True)
class _Call:
    """A call in the notebook: `path.function(other=..., option=NAME, **NAME)`."""

    name: str  # as the notebook writes it: "train.fit"
    target: Any
    unpacked: frozenset[str]  # parameters handed on as **NAME
    passed: dict[str, str]  # parameter handed on as it is -> the option's name
    fixed: frozenset[str]  # options that the notebook fills itself

    def check(self, name: str, given: dict[str, Any]) -> Iterator[tuple[str, str]]:
        try:
            signature = inspect.signature(self.target)
        except (TypeError, ValueError):
            return  # some built-in functions have none
        options = [
            p
            for p in signature.parameters.values()
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        ]
        free = [p.name for p in options if p.name not in self.fixed]
        accepts_all = any(p.kind == p.VAR_KEYWORD for p in signature.parameters.values())
        hints = hints_of(self.target)
        # What the signature cannot say: why options that are given together do not go together.
        refused = getattr(self.target, "refused", lambda given: {})(given)
        for key, value in given.items():
            if key in self.fixed:
                yield (
                    f"{name}.{key}",
                    f"the notebook itself fills {key} of {self.name}; set the step's parameter instead",
                )
            elif key in refused:
                yield f"{name}.{key}", refused[key]
            elif key in free:
                if not accepts(value, hints.get(key, Any)):
                    yield f"{name}.{key}", expectation(value, hints[key])
            elif not accepts_all:
                yield (
                    f"{name}.{key}",
                    f"{self.name} has no such option{nearest(str(key), free)}; it has {', '.join(free)}",
                )


def _imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Local name -> dotted path of everything that is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (
                    alias.asname or alias.name.split(".")[0],
                    alias.name if alias.asname else alias.name.split(".")[0],
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _call(node: ast.AST, imported: Mapping[str, str], parameters: set[str]) -> _Call | None:
    if not isinstance(node, ast.Call):
        return None
    names = {id(word): word.value.id for word in node.keywords if isinstance(word.value, ast.Name)}
    unpacked = {
        names[id(word)] for word in node.keywords if word.arg is None and id(word) in names
    } & parameters
    passed = {
        names[id(word)]: word.arg
        for word in node.keywords
        if word.arg and names.get(id(word)) in parameters
    }
    dotted = ast.unparse(node.func)
    first, *rest = dotted.split(".")
    if not (unpacked or passed) or first not in imported:
        return None  # what is made in the notebook cannot be known without running it
    target = _import(".".join([imported[first], *rest]))
    if target is None:
        return None
    try:
        positional = [
            p.name
            for p in inspect.signature(target).parameters.values()
            if p.kind != p.VAR_POSITIONAL
        ]
    except (TypeError, ValueError):
        positional = []
    fixed = {word.arg for word in node.keywords if word.arg} | set(positional[: len(node.args)])
    return _Call(dotted, target, frozenset(unpacked), passed, frozenset(fixed))


def _import(dotted: str) -> Any:
    """The object of a dotted path, or None where there is none: executing the notebook will say so
    in full."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            found = getattr(found, part, None)
        return found
    return None


# ---- types
