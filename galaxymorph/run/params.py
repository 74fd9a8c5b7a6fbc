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
from typing import Any, NoReturn

import yaml

from galaxymorph import project
from galaxymorph.text import unknown

RESERVED = ("run", "galaxies")  # keys that are not steps
WEIGHTS = ".safetensors"
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
    return "nothing" if value is None else f"{value!r:.200}"


# ---- the file, and overrides of it


LARGEST = 2**20  # bytes of a params file
DEEPEST = 40  # levels of nesting
MOST = 100_000  # values, with those that aliases repeat
PLAIN = ("str", "int", "float", "bool", "null", "map", "seq", "merge")  # types that we accept
# as YAML 1.1 reads them, to the surprise of most people
SURPRISES = {
    "bool": re.compile("(?!true$|false$)", re.IGNORECASE),  # yes, no, on, off
    "int": re.compile("[-+]?(0_*[0-9]|.*:)"),  # octal, and 12:30 in base 60
    "float": re.compile(".*:"),
}


class _Loader(yaml.SafeLoader):
    """Refuses what YAML silently changes, and documents without bounds.

    These are duplicate keys, of which YAML keeps the last, keys that are not text, values such as
    `no`, `0123` and `12:30`, dates, and aliases that repeat themselves or too much. A
    number as a key, such as a label in `class_names`, is read as text."""

    name = ""

    def __init__(self, text: str, name: str):
        super().__init__(text)
        self.name, self.depth = name, 0
        self.sizes: dict[int, int] = {}  # by identity of a node: number of values in it

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        line = self.peek_event().start_mark.line + 1
        if self.depth == DEEPEST:
            self.refuse(line, f"nested more than {DEEPEST} levels deep")
        self.depth += 1
        is_alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node is None:
            return None
        if is_alias and id(node) not in self.sizes:
            self.refuse(line, "an alias that refers to itself")
        if not is_alias:
            parts = node.value if isinstance(node, yaml.CollectionNode) else []
            inner = [each for part in parts for each in (part if type(part) is tuple else (part,))]
            self.sizes[id(node)] = 1 + sum(self.sizes[id(each)] for each in inner)
        if self.sizes[id(node)] > MOST:
            self.refuse(line, f"more than {MOST:,} values, repeated by aliases (&, *)")
        return node

    def refuse(self, line: int, why: str) -> NoReturn:
        raise ParamsError([f"{self.name}: line {line}: {why}"])

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.tag.endswith((":int", ":float")):
                key.tag = "tag:yaml.org,2002:str"
            if not (isinstance(key, yaml.ScalarNode) and key.tag.endswith((":str", ":merge"))):
                text = key.value if isinstance(key, yaml.ScalarNode) else "[...]"
                self.refuse(line, f"key {text} is not text; put it in quotes")
            if key.value in seen:
                self.refuse(line, f"duplicate key {key.value!r}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        kind, line = node.tag.split(":", 2)[-1], node.start_mark.line + 1
        if kind not in PLAIN:
            self.refuse(line, f"{node.value!r:.60} is a {kind}; put it in quotes if it is text")
        value = super().construct_object(node, deep)
        odd = SURPRISES.get(kind)
        if odd and isinstance(node, yaml.ScalarNode) and odd.match(node.value):
            text = json.dumps(value)
            self.refuse(line, f"YAML reads {node.value} as {text}; write {text}, or '{node.value}'")
        if isinstance(value, float) and not math.isfinite(value):
            self.refuse(line, f"{node.value} is not a finite number")
        return value


def _yaml(text: str, name: str) -> Any:
    try:
        return _Loader(text, name).get_single_data()
    except ParamsError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}:" if mark else ""
        what = error.problem or error.context
        tab = "; indent with spaces, not tabs" if "'\\t'" in str(what) else ""
        raise ParamsError([f"{name}:{line} not valid YAML: {what}{tab}"]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        why = f"not valid YAML: character {text[error.position]!r} is not allowed"
        raise ParamsError([f"{name}: line {line}: {why}"]) from None
    except (ValueError, TypeError, AttributeError) as error:  # of a tag that does not fit
        raise ParamsError([f"{name}: not valid YAML: {error}"]) from None


def _text(path: Path) -> str:
    """Read a file that may be anything. Raises `ParamsError`."""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ParamsError([f"{path}: not a regular file; --params FILE names another"])
        size = path.stat().st_size
        if size > LARGEST:
            why = f"{size:,} bytes; a params file has at most {LARGEST:,}"
            raise ParamsError([f"{path}: {why}; --params FILE names another"])
        return path.read_text(encoding="utf-8")
    except OSError as error:
        why = f"cannot be read ({error.strerror}); --params FILE names another"
        raise ParamsError([f"{path}: {why}"]) from None
    except UnicodeDecodeError as error:
        raise ParamsError([f"{path}: not valid UTF-8 (byte {error.start + 1})"]) from None


def read(path: Path) -> dict[str, Any]:
    """Read a params file; raise `ParamsError` if it is not valid."""
    document = _yaml(_text(path), path.name)
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
    is_name = keys == ["run"]  # even if it looks like a number
    parsed = value.strip() if is_name else _yaml(value, f"-s {text}")
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
                start = " (a relative path starts at the project's folder)"
                yield option, f"{error}{'' if Path(path).expanduser().is_absolute() else start}"


def model_path(value: Any) -> Path | None:
    """Return the model file that a value names by its path, if any."""
    if not isinstance(value, str) or not value.endswith(WEIGHTS):
        return None
    return (project.root() / Path(value).expanduser()).resolve()


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
