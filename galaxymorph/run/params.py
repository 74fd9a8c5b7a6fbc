"""Read `params.yaml`, and apply overrides; `plan` resolves it to jobs.

    run: mock                            # results/<run>/..., models/<run>/...
    galaxies: {name: simulated}          # for every notebook with the parameter `galaxies`
    moco:                                # every other key is a step, in this order
      notebook: 05_moco                  # notebooks/05_moco.ipynb
      over: {seed: [0, 1]}               # each combination is a job of its own
      training: {epochs: 10}             # other keys: parameters in the cell tagged `parameters`
    tuned:
      notebook: 03_supervised
      over: {seed: [0, 1], training.learning_rate: [1.0e-3, 3.0e-3]}
      encoder: {step: moco, freeze: 2}   # starts from the model of `moco` with the same seed

Values are merged with the notebook's defaults: a dict changes them key by key, so setting one
option keeps the others. A dict with a `name` other than the default's replaces it entirely, since
its options no longer apply. Plain text instead of such a dict is the name: `encoder: resnet50`
means `encoder: {name: resnet50}`.

`{step: NAME}`, anywhere in a parameter, is the model file of an earlier step, which the job then
reads and needs. It comes from the job with the same values of all keys that both steps are
repeated over. If several remain, values choose one: `{step: moco, seed: 0}`. Other keys are options
next to the name. Model files from elsewhere are given by their paths.

The step's `search` defines what `galaxymorph tune` may change, and in which range; runs ignore it:

    search:
      training.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}
      training.epochs: {low: 5, high: 15}     # integers, like the parameter
      training.batch_size: [16, 32, 64]       # one of these

A notebook with the parameter `steps` reads other steps: it receives the names of their jobs. If
params.yaml does not set `steps`, these are all earlier jobs, and it runs with whatever exists.
Otherwise they are those of the listed steps (of the same combination, where both are repeated over
the same key), and it needs all of them. A gate (see `notebooks`) is needed by all jobs after it.
"""

import copy
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from galaxymorph import project
from galaxymorph.text import unknown

RESERVED = ("run", "galaxies")  # keys that are not steps
PATHS = ("root", "labels", "volunteers", "unlabelled_root", "images")  # options of galaxies
# parameters that select the galaxies on which trials are compared
DRAW = ("seed", "n_labels", "galaxies", "steps")
CUT = (
    "galaxies.crop",
    "galaxies.image_size",
)  # exceptions: the same galaxies, displayed differently


class ParamsError(ValueError):
    """Mistakes in the parameters, one per line."""

    def __init__(self, problems: Iterable[str]):
        self.problems = list(dict.fromkeys(problems))
        super().__init__("\n".join(self.problems))


@dataclass
class Problems:
    """The mistakes found so far, each with the file or override in which it was made."""

    file: str
    found: list[str] = field(default_factory=list)
    overridden: dict[str, str] = field(default_factory=dict)  # dotted key -> text of the override

    def add(self, key: str, message: str) -> None:
        """Add a mistake at a dotted key; an empty key means the whole file."""
        origin = self.file
        for dotted, text in self.overridden.items():
            if f"{key}.".startswith(f"{dotted}."):
                origin = f"-s {text}"
        self.found.append(f"{origin}: {f'{key}: ' if key else ''}{message}")


def kind_of(value: Any) -> str:
    """Describe what was found instead of what was expected."""
    return "nothing" if value is None else repr(value)


# ---- the file, and overrides of it


class _Loader(yaml.SafeLoader):
    """Refuses duplicate keys, of which YAML silently keeps the last, and keys that are not text.
    A number as a key, such as a label in `class_names`, is read as text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            place = f"{self.name}: line {key.start_mark.line + 1}"
            if key.tag.endswith((":int", ":float")):
                key.tag = "tag:yaml.org,2002:str"
            if not key.tag.endswith((":str", ":merge")):  # merge: `<<`
                text = key.value if isinstance(key, yaml.ScalarNode) else "[...]"
                raise ParamsError([f"{place}: key {text} is not text; put it in quotes"])
            if key.value in seen:
                raise ParamsError([f"{place}: duplicate key {key.value!r}"])
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
    """Read a params file; raise `ParamsError` if it is not valid."""
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
    """Set one value of a document in place, from text such as `resnet18.training.epochs=3`."""
    dotted, equals, value = text.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        problems.found.append(f"-s {text}: expected KEY=VALUE, such as resnet18.training.epochs=3")
        return
    if keys[0] not in document and keys[0] not in RESERVED:
        wrong = unknown("step", keys[0], dict.fromkeys([*RESERVED, *document]))
        problems.found.append(f"-s {text}: {wrong}")
        return
    problems.overridden[".".join(keys)] = text
    parsed = _yaml(value, f"-s {text}")
    if keys == ["run"]:
        parsed = value.strip()  # a name, even if it looks like a number
    path = keys
    if keys[1:2] in (["over"], ["search"]) and len(keys) > 2:
        # below these, keys are dotted: `step.over.training.learning_rate`
        path = [*keys[:2], ".".join(keys[2:])]
    if not set_key(document, path, parsed):
        problems.add(".".join(keys), f"{'.'.join(keys[:-1])} is not a mapping")


# ---- nested values, and their dotted keys


def set_key(tree: dict[str, Any], keys: Sequence[str], value: Any) -> bool:
    """Set a value in place; return False if a key on the way to it is not a dict."""
    for key in keys[:-1]:
        if isinstance(tree.get(key), str):
            tree[key] = {"name": tree[key]}
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            return False
    tree[keys[-1]] = value
    return True


def overlap(a: str, b: str) -> bool:
    """Return whether two dotted keys are equal, or one is below the other."""
    return f"{a}.".startswith(f"{b}.") or f"{b}.".startswith(f"{a}.")


def merge(base: Any, given: Any) -> Any:
    """Merge dicts key by key, unless `given` has a different `name`; otherwise replace."""
    if not isinstance(base, dict) or not isinstance(given, dict):
        return copy.deepcopy(given)
    if "name" in given and given["name"] != base.get("name"):
        base = {}
    kept = {key: copy.deepcopy(value) for key, value in base.items()}
    return kept | {key: merge(base.get(key), value) for key, value in given.items()}


def named(default: Any, given: Any) -> Any:
    """Turn plain text into a dict with that name, if the default is a dict with a name."""
    has_name = isinstance(default, dict) and "name" in default
    return {"name": given} if has_name and isinstance(given, str) else given


def as_text(value: Any) -> str:
    """Format a value as part of a folder name."""
    text = value if isinstance(value, str) else json.dumps(value, default=str).replace('"', "")
    return re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9._+-]+", "-", text)) or "-"


def missing(galaxies: Any) -> Iterator[tuple[str, str]]:
    """Find paths among the options of galaxies that do not exist."""
    for option in PATHS if isinstance(galaxies, dict) else ():
        if isinstance(path := galaxies.get(option), str):
            try:
                project.existing(project.root() / Path(path).expanduser())
            except OSError as error:
                yield option, str(error)


# ---- the search space


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float | int
    high: float | int
    log: bool  # uniform in the logarithm
    whole: bool  # integers only

    def __contains__(self, value: Any) -> bool:
        return type(value) in (int, float) and self.low <= value <= self.high


Tried = Range | list[Any]
Space = dict[str, Tried]  # by dotted key


def tried(key: str, given: Any, mistakes: Callable[[Any], list[str]]) -> Tried:
    """Read the range or choices that the params file gives for a parameter at a dotted key.

    `mistakes` returns what is wrong with one value of the parameter. Raises `ParamsError` for
    values that the step does not accept, and for anything but a range or choices."""
    if key.split(".")[0] in DRAW and key not in CUT:
        why = "changes the galaxies, and trials can only be compared on the same ones"
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
        why = f"low must be less than high, found {low} and {high}"
    elif not isinstance(log, bool):
        why = f"expected true or false as log, found {kind_of(log)}"
    elif log and low <= 0:
        why = f"a logarithmic range must start above 0, found low: {low}"
    else:
        whole = not mistakes("text") or bool(mistakes(low + 0.5))  # or unchecked: any value fits
        return Range(low, high, log, whole and type(low) is type(high) is int)
    raise ParamsError([why])
