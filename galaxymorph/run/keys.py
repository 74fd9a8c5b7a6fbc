"""galaxymorph.run.keys"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from typing import Any

RESERVED = ("run", "galaxies")  # keys of params.yaml that are no steps


def set_key(tree: dict[str, Any], keys: Sequence[str], value: Any) -> bool:
    for key in keys[:-1]:
        if isinstance(tree.get(key), str):
            tree[key] = {"name": tree[key]}
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            return False
    tree[keys[-1]] = value
    return True


def has_key(tree: Any, keys: Sequence[str]) -> bool:
    for key in keys:
        if not isinstance(tree, dict) or key not in tree:
            return False
        tree = tree[key]
    return True


def merge(base: Any, given: Any) -> Any:
    """Dicts key by key, except where `given` has another `name`; everything else is replaced."""
    if not isinstance(base, dict) or not isinstance(given, dict):
        return copy.deepcopy(given)
    if "name" in given and given["name"] != base.get("name"):
        base = {}
    merged = {
        key: merge(value, given[key]) if key in given else copy.deepcopy(value)
        for key, value in base.items()
    }
    return merged | {key: copy.deepcopy(value) for key, value in given.items() if key not in base}


def as_text(value: Any) -> str:
    """A value as part of a folder's name."""
    text = value if isinstance(value, str) else json.dumps(value, default=str).replace('"', "")
    return re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9._+-]+", "-", text)) or "-"
