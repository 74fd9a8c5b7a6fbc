"""Whether an annotation allows a value as YAML gives it, and what it allows in words.

pydantic's strict mode has the same meaning, but none of our other dependencies brings it, tensors
and callables would still have to be excepted, and its messages are not in YAML's terms."""

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

KINDS: dict[Any, tuple[tuple[type, ...], str]] = {  # types of the values, and their name in words
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
    """The kind of an annotation, its arguments, and, of a tuple, how many values it has (0: any
    number). Every mapping is a `dict`."""
    kind, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if inspect.isclass(kind) and issubclass(kind, Mapping):
        return dict, arguments, 0
    return kind, arguments, len(arguments) if kind is tuple and ... not in arguments else 0


def accepts(value: Any, hint: Any) -> bool:
    """Whether an annotation allows a value; one that YAML cannot express (a tensor) always does."""
    kind, arguments, length = _parts(hint)
    if kind in KINDS:
        return type(value) in KINDS[kind][0]  # true is not a whole number
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
    """What an annotation allows, in words."""
    kind, arguments, length = _parts(hint)
    if kind in KINDS:
        return KINDS[kind][1]
    if kind in UNIONS:
        return " or ".join(map(describe, arguments))
    if kind is typing.Literal:
        return " or ".join(map(str, arguments))
    if kind is dict:
        return "keys below it"
    if kind not in LISTS:
        return getattr(hint, "__name__", str(hint))
    inner = " and ".join(dict.fromkeys(describe(each) for each in arguments if each is not ...))
    many = f"{length} values" if length else "a list"
    return f"{many} ({inner})" if inner else many


def expectation(value: Any, hint: Any) -> str:
    """Say what was expected in place of a value."""
    allowed = describe(hint)
    message = f"expected {allowed}, found {json.dumps(value, default=str)}"
    if not isinstance(value, str):
        return message
    if number := exponent(value):
        return f"{message}, which YAML reads as text; write {number}"
    return message + nearest(value, allowed.split(" or "))


def exponent(text: str) -> str | None:
    """Write `3e-2`, which YAML takes for text, as YAML wants a number: `3.0e-2`."""
    match = re.fullmatch(r"([-+]?\d+)(?:\.(\d*))?[eE]([-+]?)(\d+)", text)
    if not match:
        return None
    whole, fraction, sign, power = match.groups()
    return f"{whole}.{fraction or '0'}e{sign or '+'}{power}"
