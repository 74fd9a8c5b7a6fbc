"""galaxymorph.run.typecheck"""

from __future__ import annotations

import collections.abc
import inspect
import json
import os
import pathlib
import re
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from galaxymorph.text import nearest


def hints_of(target: Any) -> dict[str, Any]:
    """Annotations by name; none where they cannot be evaluated."""
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError, AttributeError):
        return {}


def accepts(value: Any, hint: Any) -> bool:
    """Whether a value as YAML gives it can be meant by an annotation; what YAML cannot express
    (tensors) fits always."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(accepts(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return any(value == argument and type(value) is type(argument) for argument in arguments)
    if hint in (None, type(None)):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (str, Path, pathlib.PurePath, os.PathLike) or origin is os.PathLike:
        return isinstance(value, str)
    if hint is bool:
        return isinstance(value, bool)
    kind = origin or hint
    if not inspect.isclass(kind):
        return True
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        return (
            isinstance(value, list)
            and len(value) == len(arguments)
            and all(map(accepts, value, arguments))
        )
    if issubclass(kind, collections.abc.Mapping):
        return isinstance(value, dict) and all(
            accepts(each, argument) for argument in arguments[1:] for each in value.values()
        )
    if kind in (list, tuple, set, frozenset) or kind.__module__ in ("collections.abc", "typing"):
        if kind is collections.abc.Callable:
            return True
        return isinstance(value, list) and all(
            accepts(each, argument) for argument in arguments[:1] for each in value
        )
    return True


def expectation(value: Any, hint: Any) -> str:
    message = f"expected {describe(hint)}, found {json.dumps(value, default=str)}"
    if isinstance(value, str) and (number := _exponent(value)):
        message += f", which YAML reads as text; write {number}"
    elif isinstance(value, str) and (
        choices := [c for c in choices_of(hint) if isinstance(c, str)]
    ):
        message += nearest(value, choices)
    return message


def _exponent(text: str) -> str | None:
    """`3e-2`, which YAML takes for text, as YAML wants a number to be written: `3.0e-2`."""
    match = re.fullmatch(r"([-+]?\d+)(\.\d*)?[eE]([-+]?)(\d+)", text)
    if not match:
        return None
    whole, fraction, sign, power = match.groups()
    return f"{whole}{fraction if fraction and len(fraction) > 1 else '.0'}e{sign or '+'}{power}"


def choices_of(hint: Any) -> Iterable[Any]:
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)
    return [choice for argument in typing.get_args(hint) for choice in choices_of(argument)]


def describe(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(argument) for argument in arguments)
    if origin is typing.Literal:
        return " or ".join(str(argument) for argument in arguments)
    if hint in (None, type(None)):
        return "null"
    names = {
        str: "text",
        Path: "a path",
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        dict: "keys below it",
    }
    if hint in names:
        return names[hint]
    if inspect.isclass(origin or hint) and (origin or hint) in (
        list,
        tuple,
        set,
        frozenset,
        collections.abc.Sequence,
    ):
        inner = " and ".join(
            dict.fromkeys(describe(argument) for argument in arguments if argument is not Ellipsis)
        )
        many = (
            f"{len(arguments)} values"
            if origin is tuple and Ellipsis not in arguments
            else "a list"
        )
        return f"{many} ({inner})" if inner else many
    return getattr(hint, "__name__", str(hint))


def odd_keys(name: str, given: Any) -> Iterator[tuple[str, str]]:
    if isinstance(given, dict):
        for key, value in given.items():
            if not isinstance(key, str):
                yield f"{name}.{key}", f"the key {key!r} is no text; write it in quotes"
            yield from odd_keys(f"{name}.{key}", value)
