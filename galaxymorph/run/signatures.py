"""Signatures of functions: as they are (`imported`), or read from source (`written`).

Importing what notebooks call takes seconds (torch), so mistakes in params files are first looked
for in what is written. That knows less: no options that conflict, and no annotations but plain
types, lists of choices, and names for these in the same module."""

import ast
import collections.abc
import functools
import inspect
import pkgutil
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Parameters = dict[str, inspect.Parameter]
Refused = Callable[[Any], dict[str, str]]  # conflicting options, according to the function
Found = tuple[Parameters, Refused]
OURS = Path(__file__).parents[1]
ANY = inspect.Parameter.empty  # as an annotation: any value fits
NAMED = inspect.Parameter.KEYWORD_ONLY
KNOWN: dict[str, Any] = {
    name: vars(collections.abc)[name] for name in ("Sequence", "Mapping", "Iterable")
}
KNOWN |= {kind.__name__: kind for kind in (int, float, str, bool, list, dict, tuple, Path)}


def imported(path: str) -> Found | None:
    """Return the signature of a function by its dotted path; None if there is none.

    Some built-in functions have none, and others are known at run time only."""
    try:
        target = pkgutil.resolve_name(path)
        try:
            signature = inspect.signature(target, eval_str=True)
        except (NameError, TypeError, AttributeError, SyntaxError):  # not resolved: any value fits
            signature = inspect.signature(target)
    except (ImportError, AttributeError, TypeError, ValueError):
        return None
    return dict(signature.parameters), getattr(target, "refused", lambda given: {})


def written(path: str) -> Found | None:
    """Return the same from the source of this package; None if it is not there, or decorated.

    Options of a class are those of `__init__`, or the fields of a data class. A function with
    `**options` in a module with a dict `SOURCES` takes those of all functions in it, and of
    `decoded` (see `data.load`)."""
    module, _, name = path.rpartition(".")
    tree = _source(module)
    node = next((e for e in tree.body if getattr(e, "name", "") == name), None) if tree else None
    if isinstance(node, ast.ClassDef):
        if node.decorator_list:
            fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
            pairs = [(ast.unparse(each.target), each.annotation) for each in fields]
            return _made(pairs, tree), _nothing
        node = next((e for e in node.body if getattr(e, "name", "") == "__init__"), None)
    if not isinstance(node, ast.FunctionDef) or node.decorator_list:
        return None
    of = node.args
    positional = [*of.posonlyargs, *of.args][node.name == "__init__" :]
    found = _made(((each.arg, each.annotation) for each in (*positional, *of.kwonlyargs)), tree)
    if of.kwarg is None:
        return found, _nothing
    sources = [*_sources(module), f"{module}.decoded"]
    others = list(filter(None, map(written, sources)))
    for option, each in (pair for more, _ in others for pair in more.items()):
        differs = option in found and found[option].annotation != each.annotation
        found[option] = each.replace(annotation=ANY) if differs else each
    rest = of.kwarg.arg
    any_other = {rest: inspect.Parameter(rest, inspect.Parameter.VAR_KEYWORD)}
    return found if others else found | any_other, _nothing


def _nothing(given: Any) -> dict[str, str]:
    return {}


def imports(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield local name and dotted path of everything that a statement imports."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            top = alias.name.split(".")[0]
            yield alias.asname or top, alias.name if alias.asname else top
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        for alias in node.names:
            yield alias.asname or alias.name, f"{node.module}.{alias.name}"


@functools.cache
def _source(module: str) -> ast.Module | None:
    package, *parts = module.split(".")
    path = OURS.joinpath(*parts).with_suffix(".py")
    there = package == OURS.name and path.is_file()
    return ast.parse(path.read_text(encoding="utf-8")) if there else None


def _sources(module: str, name: str = "SOURCES") -> list[str]:
    """Return the dotted paths of the functions in a dict of a module, or in dicts in it."""
    tree = _source(module)
    body = tree.body if tree else []
    places = dict(pair for node in body for pair in imports(node))

    def path(node: ast.expr) -> str:
        first, *rest = ast.unparse(node).split(".")
        return ".".join([places.get(first, f"{module}.{first}"), *rest])

    found = []
    for node in body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name:
            assert isinstance(node.value, ast.Dict)
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                place, _, inner = path(value).rpartition(".")
                found += [path(value)] if key else _sources(place, inner)
    return found


def _made(pairs: Any, tree: ast.Module | None) -> Parameters:
    return {
        name: inspect.Parameter(name, NAMED, annotation=_type(hint, tree)) for name, hint in pairs
    }


def _type(node: ast.expr | None, tree: ast.Module | None) -> Any:
    """Return the type that an annotation means; `ANY` unless it is plain."""
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=value) if value is ...:
            return ...
        case ast.Name(id=name) if tree:
            named = (each for each in tree.body if isinstance(each, ast.Assign))
            value = next((e.value for e in named if ast.unparse(e.targets[0]) == name), None)
            return KNOWN.get(name) or _type(value, tree)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            parts = _type(left, tree), _type(right, tree)
            return ANY if ANY in parts else typing.Union[parts]  # noqa: UP007, of a tuple
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            elements = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            plain = all(isinstance(each, ast.Constant) for each in elements)
            return typing.Literal[tuple(map(ast.literal_eval, elements))] if plain else ANY
        case ast.Subscript(value=value, slice=inner):
            inner = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            kind, *parts = (_type(each, tree) for each in (value, *inner))
            return ANY if ANY in (kind, *parts) else kind[tuple(parts)]
    return ANY
