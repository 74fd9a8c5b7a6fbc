"""What a notebook declares before execution: its parameters, their use, and its outputs.

Read from the source only (`ast`): parameters are the plain assignments in the cell tagged
`parameters`; outputs are listed in the notebook's metadata, `"galaxymorph": {"outputs":
["predictions.csv", "dnn/predictions.csv", "model.safetensors"]}`. With `"gate": true`, later jobs
of a run are only executed if this one has succeeded."""

import ast
import functools
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from galaxymorph import project
from galaxymorph.run import ranges, signatures
from galaxymorph.run.typecheck import accepts, expectation, exponent
from galaxymorph.text import nearest

OF_STEP = ("notebook", "title", "over", "search")  # keys of a step that are not parameters
OUTPUT = re.compile(rf"(?!.*\.\.)({project.NAME.pattern}/)?[^/\\.][^/\\]*")

Mistakes = Iterator[tuple[str, str]]  # dotted keys, and what was expected there


class NotebookError(ValueError):
    """A notebook that cannot be used as a step."""


@dataclass(frozen=True, eq=False)
class Notebook:
    """A notebook's source, and what its parameters cell and metadata declare."""

    path: Path
    code: tuple[str, ...]  # Python of the code cells, without IPython's commands
    parameters: dict[str, Any]  # name -> default
    outputs: tuple[str, ...]  # files in the step's folder, or in that of a row below it
    gate: bool = False  # whether all later jobs of a run need it
    find: Callable[[str], signatures.Found | None] = signatures.imported  # by dotted path

    def mistakes(self, given: Mapping[str, Any]) -> Mistakes:
        """Find what is wrong with the values given for parameters.

        If the notebook passes a dict on as `function(**name)`, its keys and types are checked
        against the function's signature; everything else against the type of the default. Numbers
        are checked against `ranges`."""
        found = list(self._wrong(given))
        yield from found
        keys = {key for key, _ in found}
        yield from ((key, why) for key, why in ranges.mistakes(given) if key not in keys)

    def _wrong(self, given: Mapping[str, Any]) -> Mistakes:
        """Find wrong names and types."""
        file = self.path.name
        names = [name for name in self.parameters if name not in ("run", "step")]
        for key, value in given.items():
            if key in ("run", "step"):
                yield key, "is set by the runner"
            elif key in names:
                yield from self._mistakes_of(key, value)
            else:
                near = nearest(key, [*names, *OF_STEP])
                yield key, f"{file} has no such parameter{near}; it has {', '.join(names)}"

    def _mistakes_of(self, name: str, given: Any) -> Mistakes:
        default = self.parameters[name]
        hints = [call.passed[name] for call in self._calls if name in call.passed]
        unset = given is None and hints  # a default that is a number does not forbid null
        for hint in hints if default is None or unset else [type(default)]:
            if not accepts(given, hint):
                yield name, expectation(given, hint)
                return
        for call in self._calls:
            if name in call.unpacked and isinstance(given, dict):
                yield from call.check(name, given)
        if default is None and isinstance(given, str) and exponent(given):
            yield name, expectation(given, float)

    def option(self, key: str) -> Any:
        """Return the default of an option in a parameter (`training.batch_size`).

        It is that of the function which receives the parameter. Raises `KeyError` if there is
        none."""
        name, _, option = key.partition(".")
        found = (call.options.get(option) for call in self._calls if name in call.unpacked)
        defaults = [each.default for each in found if each and each.default is not each.empty]
        if not defaults:
            raise KeyError(key)
        return defaults[0]

    @functools.cached_property
    def _nodes(self) -> list[ast.AST]:
        return [node for source in self.code for node in ast.walk(ast.parse(source))]

    @property
    def trains(self) -> bool:
        """Whether it trains by epochs, that is, calls `folder.Step.record`."""
        return any(
            isinstance(each, ast.Attribute) and each.attr == "record" for each in self._nodes
        )

    @functools.cached_property
    def _calls(self) -> "list[_Call]":
        """Calls of importable functions that receive parameters."""
        imported = dict(pair for node in self._nodes for pair in signatures.imports(node))
        calls = (node for node in self._nodes if isinstance(node, ast.Call))
        found = (_call(node, imported, self.parameters, self.find) for node in calls)
        return [call for call in found if call]


def read(path: Path) -> Notebook:
    """Read a notebook; raise `NotebookError` unless it is valid, with one parameters cell."""
    try:
        return _read(path)
    except FileNotFoundError:
        why = f"no such notebook in {path.parent}"
    except SyntaxError as error:
        why = f"not valid Python: {error.text or error}"
    except ValueError as error:
        why = str(error)
    raise NotebookError(f"{path.name}: {why}")


def _read(path: Path) -> Notebook:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
        code = [_python("".join(cell["source"])) for cell in cells]
    except (ValueError, KeyError, TypeError):
        raise ValueError("not a version-4 notebook") from None
    trees = [ast.parse(source) for source in code]
    tags = [cell["metadata"].get("tags", []) for cell in cells]
    tagged = [tree for tree, each in zip(trees, tags, strict=True) if "parameters" in each]
    if len(tagged) != 1:
        raise ValueError(f"expected one cell tagged `parameters`, found {len(tagged)}")
    try:
        parameters = dict(_assignments(tagged[0]))
    except ValueError as error:
        raise ValueError(f"parameters cell: {error}") from None
    for name in ("run", "step"):
        if name not in parameters:
            raise ValueError(f"needs the parameter `{name}`, which says where to write")
    declared = content.get("metadata", {}).get("galaxymorph", {})
    outputs = tuple(declared.get("outputs", []))
    for name in outputs:
        if not OUTPUT.fullmatch(name):
            where = "outputs are files in the step's folder, or <row>/<file>"
            raise ValueError(f"not a valid output: {name}; {where}")
    return Notebook(path, tuple(code), parameters, outputs, gate=declared.get("gate") is True)


def _python(source: str) -> str:
    """Source of a cell without IPython's commands (`%matplotlib inline`, `!ls`, `%%time`)."""
    return "\n".join(line for line in source.splitlines() if not re.match(r"\s*[%!]", line))


def _assignments(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                yield name, _value(value)
            case ast.Expr():
                pass  # a docstring
            case _:
                raise ValueError(f"`{ast.unparse(node)}` is not a plain assignment")


def _value(node: ast.expr) -> Any:
    """Evaluate a literal, or `dict(key=literal)`; tuples become lists, as in YAML."""
    match node:
        case ast.Call(func=ast.Name(id="dict"), args=[]):
            return {word.arg: _value(word.value) for word in node.keywords if word.arg}
        case ast.List() | ast.Tuple():
            return [_value(element) for element in node.elts]
        case ast.Dict():
            pairs = zip(node.keys, node.values, strict=True)
            return {ast.literal_eval(key): _value(value) for key, value in pairs if key}
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"`{ast.unparse(node)}` is not a plain value") from None


# ---- functions that receive parameters


@dataclass(frozen=True)
class _Call:
    """A call in the notebook: `path.function(other=..., option=NAME, **NAME)`."""

    name: str  # as the notebook writes it: "train.fit"
    unpacked: set[str]  # parameters passed on as **NAME
    passed: dict[str, Any]  # parameter passed on unchanged -> the option's annotation
    fixed: set[str]  # options that the notebook sets itself
    options: dict[str, inspect.Parameter]  # other options of the target
    takes_all: bool  # whether it accepts arbitrary others
    refused: signatures.Refused

    def check(self, name: str, given: dict[str, Any]) -> Mistakes:
        refused = self.refused(given)
        for key, value in given.items():
            place = f"{name}.{key}"
            if key in self.fixed:
                own = "change the step's parameter instead"
                yield place, f"the notebook itself sets {key} of {self.name}; {own}"
            elif key in refused:
                yield place, refused[key]
            elif key in self.options:
                if not accepts(value, self.options[key].annotation):
                    yield place, expectation(value, self.options[key].annotation)
            elif not self.takes_all:
                near = f"{nearest(key, self.options)}; it has {', '.join(self.options)}"
                yield place, f"{self.name} has no such option{near}"


def _call(
    node: ast.Call,
    imported: Mapping[str, str],
    parameters: Mapping[str, Any],
    find: Callable[[str], signatures.Found | None],
) -> _Call | None:
    """Return a call that receives parameters; None for others, or if known only at run time."""
    handed = [
        (word.arg, word.value.id)
        for word in node.keywords
        if isinstance(word.value, ast.Name) and word.value.id in parameters
    ]
    dotted = ast.unparse(node.func)
    first, *rest = dotted.split(".")
    if not handed or first not in imported:
        return None
    found = find(".".join([imported[first], *rest]))
    if found is None:
        return None  # left to execution
    signature, refused = found
    kinds = {name: each.kind for name, each in signature.items()}
    positional = [name for name, kind in kinds.items() if kind != inspect.Parameter.VAR_POSITIONAL]
    fixed = {word.arg for word in node.keywords if word.arg} | set(positional[: len(node.args)])
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    options = {name: each for name, each in signature.items() if each.kind in by_name}
    return _Call(
        dotted,
        unpacked={name for option, name in handed if option is None},
        passed={name: options[option].annotation for option, name in handed if option in options},
        fixed=fixed,
        options={name: each for name, each in options.items() if name not in fixed},
        takes_all=inspect.Parameter.VAR_KEYWORD in kinds.values(),
        refused=refused,
    )
