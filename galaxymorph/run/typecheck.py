"""Check values from YAML against type annotations, and describe what these allow.

pydantic's strict mode means the same, but no other dependency brings it, tensors and callables
would still need exceptions, and its messages are not in YAML's terms."""

import inspect
import json
import os
import re
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from galaxymorph.text import nearest

KINDS: dict[Any, tuple[tuple[type, ...], str]] = {  # types of values, and their description
    **dict.fromkeys((None, type(None)), ((type(None),), "null")),
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "text"),
    **dict.fromkeys((Path, PurePath, os.PathLike), ((str,), "a path")),
}
LISTS = (list, tuple, set, frozenset, Sequence, Collection, Iterable)
UNIONS = (typing.Union, types.UnionType)


def _parts(hint: Any) -> tuple[Any, tuple[Any, ...], int]:
    """Kind (`dict` for mappings) and arguments of an annotation; length of a tuple (0: any)."""
    kind, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if inspect.isclass(kind) and issubclass(kind, Mapping):
        return dict, arguments, 0
    return kind, arguments, len(arguments) if kind is tuple and ... not in arguments else 0


def accepts(value: Any, hint: Any) -> bool:
    """Return whether an annotation allows a value; always if YAML cannot express it (tensors)."""
    kind, arguments, length = _parts(hint)
    if kind in KINDS:
        return type(value) in KINDS[kind][0]  # true is not an integer
    if kind in UNIONS:
        return any(accepts(value, each) for each in arguments)
    if kind is typing.Literal:
        return (type(value), value) in [(type(each), each) for each in arguments]
    if kind is dict:
        return isinstance(value, dict) and all(
            accepts(each, argument) for argument in arguments[1:] for each in value.values()
        )
    if kind not in LISTS:
        return True
    if not isinstance(value, list):
        return False
    if length:
        return len(value) == length and all(map(accepts, value, arguments))
    return all(accepts(each, argument) for argument in arguments[:1] for each in value)


def describe(hint: Any) -> str:
    """Describe in words what an annotation allows."""
    kind, arguments, length = _parts(hint)
    if kind in KINDS:
        return KINDS[kind][1]
    if kind in UNIONS:
        return " or ".join(map(describe, arguments))
    if kind is typing.Literal:
        return " or ".join(map(str, arguments))
    if kind is dict:
        return "a mapping"
    if kind not in LISTS:
        return getattr(hint, "__name__", str(hint))
    inner = " and ".join(dict.fromkeys(describe(each) for each in arguments if each is not ...))
    many = f"{length} values" if length else "a list"
    return f"{many} ({inner})" if inner else many


def expectation(value: Any, hint: Any) -> str:
    """Say what was expected instead of a value."""
    allowed = describe(hint)
    message = f"expected {allowed}, found {json.dumps(value, default=str)}"
    if not isinstance(value, str):
        return message
    if number := exponent(value):
        return f"{message}, which YAML reads as text; write {number}"
    return message + nearest(value, allowed.split(" or "))


def exponent(text: str) -> str | None:
    """Rewrite `3e-2`, which YAML reads as text, as the number `3.0e-2`."""
    match = re.fullmatch(r"([-+]?\d+)(?:\.(\d*))?[eE]([-+]?)(\d+)", text)
    if not match:
        return None
    whole, fraction, sign, power = match.groups()
    return f"{whole}.{fraction or '0'}e{sign or '+'}{power}"
