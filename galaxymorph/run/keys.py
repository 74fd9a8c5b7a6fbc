"""Nested values by dotted key, as params.yaml has them."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from typing import Any

RESERVED = ("run", "galaxies")  # keys of params.yaml that are not steps


def set_key(tree: dict[str, Any], keys: Sequence[str], value: Any) -> bool:
    """Set a value in place; False where something on the way to it has no keys below it."""
    for key in keys[:-1]:
        if isinstance(tree.get(key), str):
            tree[key] = {"name": tree[key]}
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            return False
    tree[keys[-1]] = value
    return True


def overlap(a: str, b: str) -> bool:
    """Whether one of two dotted keys is the other, or is below it."""
    return f"{a}.".startswith(f"{b}.") or f"{b}.".startswith(f"{a}.")


def merge(base: Any, given: Any) -> Any:
    """Merge dicts key by key, except where `given` has another `name`; replace all else."""
    if not isinstance(base, dict) or not isinstance(given, dict):
        return copy.deepcopy(given)
    if "name" in given and given["name"] != base.get("name"):
        base = {}
    kept = {key: copy.deepcopy(value) for key, value in base.items()}
    return kept | {key: merge(base.get(key), value) for key, value in given.items()}


def named(default: Any, given: Any) -> Any:
    """Make a plain text for a dict with a name that name."""
    has_name = isinstance(default, dict) and "name" in default
    return {"name": given} if has_name and isinstance(given, str) else given


def as_text(value: Any) -> str:
    """Write a value as part of a folder's name."""
    text = value if isinstance(value, str) else json.dumps(value, default=str).replace('"', "")
    return re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9._+-]+", "-", text)) or "-"
