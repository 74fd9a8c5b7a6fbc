"""Read `params.yaml`, and apply overrides; `plan` resolves it to jobs.

    run: mock                            # results/<run>/..., models/<run>/...
    galaxies: {name: simulated}          # for every notebook with the parameter `galaxies`
    moco:                                # every other key is a step, in this order
      notebook: 04_moco                  # notebooks/04_moco.ipynb
      over: {seed: [0, 1]}               # each combination is a job of its own
      training: {epochs: 10}             # the rest goes to the notebook's cell tagged `parameters`
    tuned:
      notebook: 02_supervised
      over: {seed: [0, 1], training.learning_rate: [1.0e-3, 3.0e-3]}
      encoder: {step: moco, freeze: 2}   # starts from the model of `moco` with the same seed

A notebook's own defaults are the base: a dict changes them key by key, so that setting one option
keeps the others. A dict that gives another `name` than the default stands alone: the options of
what it replaces mean nothing to it. A plain text for such a dict is the name: `encoder: resnet50`
means `encoder: {name: resnet50}`.

`{step: NAME}`, anywhere in a parameter, is the model file of an earlier step, which the job then
reads and needs: of the job with the same values of all that both steps are repeated over. Where
that leaves several, values choose one: `{step: moco, seed: 0}`. Other keys are options beside the
name. Model files from elsewhere are given by their paths.

What `galaxymorph tune` may change, and in which range, is the step's `search`; a run ignores it:

    search:
      training.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}
      training.epochs: {low: 5, high: 15}     # whole numbers, as the parameter is one
      training.batch_size: [16, 32, 64]       # one of these

A notebook with the parameter `steps` reads other steps. It gets the names of the jobs to read: all
earlier ones where params.yaml says nothing (it then runs over whatever exists), or those of the
steps listed there (it then needs them; where both are repeated over the same key, those of its own
combination). A notebook that is a gate (see `notebooks`) is needed by all jobs after it.
"""

import copy
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from galaxymorph.text import nearest

RESERVED = ("run", "galaxies")  # keys that are not steps
# parameters that draw the galaxies that trials are compared on
DRAW = ("seed", "n_labels", "galaxies", "steps")
CUT = ("galaxies.crop", "galaxies.image_size")  # but these show the same ones in another way


class ParamsError(ValueError):
    """What is wrong in the parameters, one line for each mistake."""

    def __init__(self, problems: Iterable[str]):
        self.problems = list(dict.fromkeys(problems))
        super().__init__("\n".join(self.problems))


@dataclass
class Problems:
    """The mistakes found so far, each with the file, or the override, that it was made in."""

    file: str
    found: list[str] = field(default_factory=list)
    overridden: dict[str, str] = field(default_factory=dict)  # dotted key -> text of the override

    def add(self, key: str, message: str) -> None:
        """Add a mistake at a dotted key; an empty one is the whole file."""
        origin = self.file
        for dotted, text in self.overridden.items():
            if f"{key}.".startswith(f"{dotted}."):
                origin = f"-s {text}"
        self.found.append(f"{origin}: {f'{key}: ' if key else ''}{message}")


def kind_of(value: Any) -> str:
    """Name what was found in place of what was expected."""
    return "nothing" if value is None else repr(value)


# ---- the file, and overrides of it


class _Loader(yaml.SafeLoader):
    """Refuses duplicate keys, of which YAML silently keeps the last, and keys that are not text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            place = f"{self.name}: line {key.start_mark.line + 1}"
            if not key.tag.endswith((":str", ":merge")):  # merge: `<<`
                text = key.value if isinstance(key, yaml.ScalarNode) else "[...]"
                raise ParamsError([f"{place}: the key {text} is not text; write it in quotes"])
            if key.value in seen:
                raise ParamsError([f"{place}: duplicate key {key.value}"])
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _yaml(text: str, name: str) -> Any:
    loader = _Loader(text)
    loader.name = name
    try:
        return loader.get_single_data()
    except yaml.YAMLError as error:
        raise ParamsError([f"{name}: not valid YAML: {error}"]) from None


def read(path: Path) -> dict[str, Any]:
    """Read a params file. Raises `ParamsError` where it is not one."""
    try:
        document = _yaml(path.read_text(encoding="utf-8"), path.name)
    except OSError as error:
        why = f"cannot be read ({error.strerror}); --params FILE names another"
        raise ParamsError([f"{path}: {why}"]) from None
    except UnicodeDecodeError as error:
        raise ParamsError([f"{path}: not valid UTF-8 (byte {error.start + 1})"]) from None
    if not isinstance(document, dict):
        found = kind_of(document)
        raise ParamsError([f"{path.name}: expected `run:`, `galaxies:` and steps, found {found}"])
    return document


def override(document: dict[str, Any], text: str, problems: Problems) -> None:
    """Set one value of a document in place, by a text such as `resnet18.training.epochs=3`."""
    dotted, equals, value = text.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        problems.found.append(f"-s {text}: expected KEY=VALUE, such as resnet18.training.epochs=3")
        return
    if keys[0] not in document and keys[0] not in RESERVED:
        near = nearest(keys[0], [*document, *RESERVED])
        problems.found.append(f"-s {text}: there is no step {keys[0]}{near}")
        return
    problems.overridden[".".join(keys)] = text
    parsed = _yaml(value, f"-s {text}")
    if keys == ["run"]:
        parsed = value.strip()  # a name, also where it looks like a number
    path = keys
    if keys[1:2] in (["over"], ["search"]) and len(keys) > 2:
        # what is below these are dotted keys: `step.over.training.learning_rate`
        path = [*keys[:2], ".".join(keys[2:])]
    if not set_key(document, path, parsed):
        problems.add(".".join(keys), f"{'.'.join(keys[:-1])} has no keys below it")


# ---- nested values, and their dotted keys


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


# ---- what a search may try


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float | int
    high: float | int
    log: bool  # tries as many from 0.001 to 0.01 as from 0.01 to 0.1
    whole: bool  # whole numbers

    def __contains__(self, value: Any) -> bool:
        return type(value) in (int, float) and self.low <= value <= self.high


Tried = Range | list[Any]
Space = dict[str, Tried]  # by dotted key


def tried(key: str, given: Any, mistakes: Callable[[Any], list[str]]) -> Tried:
    """Read what the params file gives for a parameter at a dotted key.

    `mistakes` returns what is wrong with one value of the parameter. Raises `ParamsError` for a
    value that the step could not be given, and for what is neither range nor choices."""
    if key.split(".")[0] in DRAW and key not in CUT:
        why = "draws other galaxies, and trials can be compared on the same ones alone"
        raise ParamsError([why])
    bounds = isinstance(given, dict) and {"low", "high"} <= set(given) <= {"low", "high", "log"}
    values = [given["low"], given["high"]] if bounds else given
    if not isinstance(values, list) or len(values) < 2:
        wanted = "a list of two values or more, or {low: NUMBER, high: NUMBER}"
        raise ParamsError([f"expected {wanted}, found {kind_of(given)}"])
    if wrong := [message for value in values for message in mistakes(value)]:
        raise ParamsError(wrong)
    if not bounds:
        return values
    low, high, log = *values, given.get("log", False)
    if not all(type(each) in (int, float) and math.isfinite(each) for each in values):
        why = f"expected numbers as low and high, found {kind_of(low)} and {kind_of(high)}"
    elif not low < high:
        why = f"low has to be less than high, found {low} and {high}"
    elif not isinstance(log, bool):
        why = f"expected true or false as log, found {kind_of(log)}"
    elif log and low <= 0:
        why = f"a logarithmic range begins above 0, found low: {low}"
    else:
        whole = not mistakes("text") or bool(mistakes(low + 0.5))  # any value: nobody knows
        return Range(low, high, log, whole and type(low) is type(high) is int)
    raise ParamsError([why])
