"""galaxymorph.run.plan"""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from galaxymorph import project
from galaxymorph.run import notebooks
from galaxymorph.run.keys import RESERVED, as_text, has_key, merge, set_key
from galaxymorph.run.params import _override, _read
from galaxymorph.run.problems import ParamsError, Problems, kind_of
from galaxymorph.text import leaves, nearest

OF_STEP = ("notebook", "over", "search")  # keys of a step that are no parameters
DRAW = (
    "seed",
    "n_labels",
    "galaxies",
    "steps",
)  # parameters that draw the galaxies that trials are compared on
CUT = ("galaxies.crop", "galaxies.image_size")  # but these show the same ones in another way
PLACEHOLDER = re.compile(r"(?<!\{)\{([A-Za-z_][\w.]*)\}(?!\})")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included, that a search may try."""

    low: float | int
    high: float | int
    log: bool  # tries as many from 0.001 to 0.01 as from 0.01 to 0.1
    whole: bool  # whole numbers


Space = dict[str, Range | list[Any]]  # what a search may try, by dotted key: a range, or choices


@dataclass(frozen=True)
class Piece:
    """One piece of work: a notebook with its resolved parameters."""

    # its folder below results/<run>: the step, and the combination where the step is repeated
    name: str
    step: str
    combination: dict[str, Any]
    notebook: notebooks.Notebook
    parameters: dict[str, Any]
    reads: tuple[str, ...]  # names of the earlier pieces that it reads
    needs: tuple[str, ...]  # those of them without which it is pointless
    search: Space = field(default_factory=dict)

    def value(self, key: str) -> Any:
        """What it has for a dotted key: given, or by default. `KeyError` where neither the notebook
        nor what it calls says."""
        keys = key.split(".")
        found: Any = self.parameters
        for each in keys:
            if not isinstance(found, dict) or each not in found:
                return self.notebook.option(keys[0], ".".join(keys[1:]))
            found = found[each]
        return found


@dataclass(frozen=True)
class Plan:
    """All pieces of work of a run, in order."""

    run: str
    pieces: tuple[Piece, ...]
    document: dict[str, Any]  # what they were made from: the params file with its overrides


def plan(path: Path, *, overrides: Sequence[str] = (), run: str | None = None) -> Plan:
    """Reads a params file, applies overrides such as `resnet18.training.epochs=3`, and resolves
    every piece of work.

    Raises `ParamsError` with all mistakes, each naming file and key, what was expected, and the
    nearest valid name."""
    document = _read(path)
    problems = Problems(path.name)
    for text in overrides:
        _override(document, text, problems)
    if run is not None:
        document["run"] = run
    return _resolved(document, problems)


def changed(document: dict[str, Any], step: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a plan's document with other values, by dotted key, of a step's parameters."""
    document = copy.deepcopy(document)
    for key, value in values.items():
        set_key(document[step], key.split("."), copy.deepcopy(value))
    return document


def trial(plan: Plan, step: str, values: Mapping[str, Any], *, seed: int | None = None) -> Piece:
    """A step's piece of work with other values, for one seed and the first of everything else that
    it is repeated over.

    `seed` is the first of the step's seeds where None. Raises `ParamsError` where that is no piece
    that can be executed."""
    document = changed(plan.document, step, values)
    block = document[step]
    over = block["over"] = {key: each[:1] for key, each in block.get("over", {}).items()}
    if seed is not None and "seed" in over:
        over["seed"] = [seed]
    elif seed is not None:
        block["seed"] = seed
    steps = [name for name in document if name not in RESERVED]
    for later in steps[steps.index(step) + 1 :]:
        del document[later]  # may read what no trial makes
    return _resolved(document, Problems(f"trial of {step}")).pieces[-1]


def _resolved(document: dict[str, Any], problems: Problems) -> Plan:
    if isinstance(document.get("galaxies"), str):
        document["galaxies"] = {"name": document["galaxies"]}
    _check_head(document, problems)
    steps = {name: block for name, block in document.items() if name not in RESERVED}
    if not steps:
        problems.add("", "there is no step; a step is a name with `notebook: NAME` below it")
    pieces: list[Piece] = []
    for name, block in steps.items():
        if _check_step(name, block, problems):
            pieces += _pieces(name, block, document, pieces, problems)
    if not problems.found:  # or what is missing may be so by another mistake
        pieces = _behind_gates(_with_models(document, pieces, problems))
    if problems.found:
        raise ParamsError(problems.found)
    return Plan(document["run"], tuple(pieces), document)


def _check_head(document: dict[str, Any], problems: Problems) -> None:
    run = document.get("run")
    if run is None:
        problems.add("run", "missing; it names the folder results/<run>")
    elif not isinstance(run, str) or not project.NAME.fullmatch(run):
        problems.add("run", f"expected a name of letters, digits, '.', '_' and '-', found {run!r}")
    if not isinstance(document.get("galaxies", {}), dict):
        problems.add("galaxies", f"expected keys below it, found {kind_of(document['galaxies'])}")


def _check_step(name: str, block: Any, problems: Problems) -> bool:
    before = len(problems.found)
    if not isinstance(block, dict) or not isinstance(block.get("notebook"), str):
        near = nearest(name, RESERVED)
        problems.add(name, f"a step needs `notebook: NAME` below it{near}")
        return False
    if not project.NAME.fullmatch(name):
        problems.add(name, "a step's name is of letters, digits, '.', '_' and '-'")
    if name == "tune":
        problems.add(
            name,
            "results/<run>/tune is the folder of `galaxymorph tune`; give the step another name",
        )
    over = block.get("over", {})
    if not isinstance(over, dict):
        problems.add(
            f"{name}.over", f"expected parameters with lists of values, found {kind_of(over)}"
        )
        return False
    for key, values in over.items():
        if not isinstance(values, list) or not values:
            problems.add(
                f"{name}.over.{key}", f"expected a list of values, found {kind_of(values)}"
            )
        elif any(values.count(value) > 1 for value in values):
            problems.add(f"{name}.over.{key}", "a value is given twice")
    if not isinstance(block.get("search", {}), dict):
        problems.add(
            f"{name}.search",
            f"expected parameters with ranges or lists of values, found {kind_of(block['search'])}",
        )
        return False
    try:
        _notebook(block["notebook"])
    except notebooks.NotebookError as error:
        near = nearest(
            block["notebook"],
            [path.stem for path in (project.root() / "notebooks").glob("*.ipynb")],
        )
        problems.add(f"{name}.notebook", f"{error}{near if not error.path.is_file() else ''}")
    return len(problems.found) == before


@functools.lru_cache
def _notebook(name: str) -> notebooks.Notebook:
    return notebooks.read(project.root() / "notebooks" / f"{name.removesuffix('.ipynb')}.ipynb")


def _pieces(
    step: str,
    block: dict[str, Any],
    document: dict[str, Any],
    earlier: Sequence[Piece],
    problems: Problems,
) -> Iterator[Piece]:
    notebook = _notebook(block["notebook"])
    over = block.get("over", {})
    space = {
        key: _searched(step, key, each, block, problems)
        for key, each in block.get("search", {}).items()
    }
    seen: set[str] = set()
    for values in itertools.product(*over.values()):
        combination = dict(zip(over, values, strict=True))
        name = (
            f"{step}/{','.join(f'{key}={as_text(value)}' for key, value in combination.items())}"
            if over
            else step
        )
        if name in seen:
            problems.add(f"{step}.over", f"two combinations have the same folder, {name}")
        seen.add(name)
        given = _given(step, block, document, combination, problems)
        for key, message in _mistakes(given, notebook):
            problems.add(_place(step, key, block, combination), message)
        parameters = {
            key: merge(value, given[key]) if key in given else value
            for key, value in notebook.parameters.items()
        }
        reads, needs = _reads(step, parameters, combination, earlier, problems)
        parameters |= {"run": document.get("run"), "step": name}
        if "steps" in parameters:
            parameters["steps"] = list(reads)
        yield Piece(name, step, combination, notebook, parameters, reads, needs, space)


def _searched(
    step: str, key: Any, given: Any, block: dict[str, Any], problems: Problems
) -> Range | list[Any]:
    """What a search may try for one parameter, checked: every value has to be one that the step
    could be given."""
    place = f"{step}.search.{key}"
    others = {f"over.{other}": other for other in block.get("over", {})}
    others |= {f"search.{other}": other for other in block["search"] if other != key}
    for name, other in others.items():
        if f"{other}.".startswith(f"{key}.") or f"{key}.".startswith(f"{other}."):
            problems.add(place, f"is given by {step}.{name}, too; leave one of the two out")
    if str(key).split(".")[0] in DRAW and key not in CUT:
        problems.add(
            place, "draws other galaxies, and trials can be compared on the same ones alone"
        )
    if isinstance(given, list) and len(given) > 1:
        tried = given
        if any(given.count(value) > 1 for value in given):
            problems.add(place, "a value is given twice")
    elif isinstance(given, dict) and {"low", "high"} <= set(given) <= {"low", "high", "log"}:
        tried = [given["low"], given["high"]]
    else:
        problems.add(
            place,
            f"expected a list of two values or more, or {{low: NUMBER, high: NUMBER}}, found {kind_of(given)}",
        )
        tried = []
    mistakes = [each for value in tried for each in _mistakes_at(str(key), value, block)]
    for _, message in mistakes:
        problems.add(place, message)
    if mistakes or not isinstance(given, dict) or not tried:
        return tried
    low, high, log = tried[0], tried[1], given.get("log", False)
    if not all(
        isinstance(bound, int | float) and not isinstance(bound, bool) and math.isfinite(bound)
        for bound in tried
    ):
        problems.add(
            place, f"expected numbers as low and high, found {kind_of(low)} and {kind_of(high)}"
        )
    elif not low < high:
        problems.add(place, f"low has to be less than high, found {low} and {high}")
    elif not isinstance(log, bool):
        problems.add(place, f"expected true or false as log, found {kind_of(log)}")
    elif log and low <= 0:
        problems.add(place, f"a logarithmic range begins above 0, found low: {low}")
    else:
        whole = bool(_mistakes_at(str(key), low + 0.5, block)) or not _mistakes_at(
            str(key), "text", block
        )  # or nobody knows
        return Range(low, high, log, whole and isinstance(low, int) and isinstance(high, int))
    return tried


def _mistakes_at(key: str, value: Any, block: dict[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with one value of a parameter of a step."""
    given: dict[str, Any] = {}
    set_key(given, key.split("."), value)
    return [
        each for each in _mistakes(given, _notebook(block["notebook"])) if each[0] != "notebook"
    ]


def _given(
    step: str,
    block: dict[str, Any],
    document: dict[str, Any],
    combination: dict[str, Any],
    problems: Problems,
) -> dict[str, Any]:
    """What the params file gives to one piece: the run's galaxies, the step's block, its own values
    of what is repeated."""
    defaults = _notebook(block["notebook"]).parameters
    texts = {"run": str(document.get("run"))} | {
        str(key): as_text(value) for key, value in combination.items()
    }
    own = {key: value for key, value in block.items() if key not in OF_STEP}
    for key, value in leaves(own | {f"over.{key}": value for key, value in combination.items()}):
        for word in PLACEHOLDER.findall(value) if isinstance(value, str) else ():
            if word not in texts:
                there = ", ".join(f"{{{name}}}" for name in texts)
                near = nearest(word, texts)
                problems.add(
                    f"{step}.{key}", f"nothing stands for {{{word}}} here{near}; there is {there}"
                )
    own = {key: _named(defaults.get(key), _filled(value, texts)) for key, value in own.items()}
    given = copy.deepcopy(own)
    if "galaxies" in defaults:
        given["galaxies"] = merge(document.get("galaxies", {}), given.get("galaxies", {}))
    for key, value in combination.items():
        keys = str(key).split(".")
        if has_key(own, keys):
            problems.add(f"{step}.{key}", f"is given by {step}.over, too; leave one of the two out")
        elif not set_key(given, keys, _named(defaults.get(key), _filled(value, texts))):
            problems.add(f"{step}.over.{key}", "there are no keys below it")
    return given


def _named(default: Any, given: Any) -> Any:
    """A plain text for a dict with a name is that name."""
    return (
        {"name": given}
        if isinstance(given, str) and isinstance(default, dict) and "name" in default
        else given
    )


def _filled(value: Any, texts: dict[str, str]) -> Any:
    """A copy with the placeholders in all its texts replaced."""
    if isinstance(value, dict):
        return {key: _filled(each, texts) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, texts) for each in value]
    return (
        PLACEHOLDER.sub(lambda match: texts.get(match[1], match[0]), value)
        if isinstance(value, str)
        else value
    )


def _place(step: str, key: str, block: dict[str, Any], combination: Iterable[str]) -> str:
    """Where in the params file a parameter of a piece is given, as a dotted key."""
    repeated = next(
        (
            over
            for over in combination
            if f"{over}.".startswith(f"{key}.") or key.startswith(f"{over}.")
        ),
        None,
    )
    if repeated:
        return f"{step}.over.{repeated}"
    own = block.get("galaxies")  # the step's own changes; the others are the run's
    own = {"name"} if isinstance(own, str) else own if isinstance(own, dict) else ()
    if key.startswith("galaxies.") and key.split(".")[1] not in own:
        return key
    return f"{step}.{key}"


def _mistakes(given: dict[str, Any], notebook: notebooks.Notebook) -> Iterator[tuple[str, str]]:
    """Dotted keys of what is given that the notebook cannot take, each with what was expected."""
    for key in ("run", "step"):
        if key not in notebook.parameters:
            yield (
                "notebook",
                f"{notebook.path.name} has no parameter `{key}` and so does not know where to write",
            )
    names = [name for name in notebook.parameters if name not in ("run", "step")]
    for key, value in given.items():
        if key in ("run", "step"):
            yield key, "is set by the runner"
        elif key in names:
            yield from notebook.check(key, value)
        else:
            near = nearest(str(key), names + list(OF_STEP))
            yield (
                str(key),
                f"{notebook.path.name} has no such parameter{near}; it has {', '.join(names)}",
            )


def _reads(
    step: str,
    parameters: dict[str, Any],
    combination: dict[str, Any],
    earlier: Sequence[Piece],
    problems: Problems,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The earlier pieces that a piece reads by its parameter `steps`, and those of them that it
    needs."""
    steps = parameters.get("steps")
    if steps is None:
        return (tuple(piece.name for piece in earlier) if "steps" in parameters else ()), ()
    if not isinstance(steps, list):
        problems.add(f"{step}.steps", f"expected a list of earlier steps, found {kind_of(steps)}")
        return (), ()
    names = [name for piece in earlier for name in (piece.step, piece.name)]
    for name in steps:
        if name not in names:
            problems.add(f"{step}.steps", f"{name} is no earlier step{nearest(str(name), names)}")

    def agrees(piece: Piece) -> bool:
        return all(
            piece.combination[key] == combination[key]
            for key in piece.combination.keys() & combination.keys()
        )

    wanted = tuple(
        piece.name
        for piece in earlier
        if piece.name in steps or (piece.step in steps and agrees(piece))
    )
    return wanted, wanted


def _with_models(
    document: dict[str, Any], pieces: Sequence[Piece], problems: Problems
) -> list[Piece]:
    """The same pieces, each reading also those whose model files its parameters name."""
    makers = {
        project.model_file(document["run"], piece.name).resolve(): piece.name
        for piece in pieces
        if notebooks.MODEL in piece.notebook.outputs
    }
    found: list[Piece] = []
    for piece in pieces:
        before = {each.name for each in found}
        earlier = {path: name for path, name in makers.items() if name in before}
        wanted = dict[str, None]()
        for key, value in leaves(piece.parameters):
            if not isinstance(value, str) or not value.endswith(".safetensors"):
                continue
            path = (project.root() / Path(value).expanduser()).resolve()
            if path in earlier:
                wanted[earlier[path]] = None
            elif path in makers or not path.is_file():
                others = [name for name in earlier.values() if name.split("/")[0] != piece.step]
                names = [f"models/{document['run']}/{name}.safetensors" for name in others]
                why = (
                    f"{makers[path]} makes it, which is no earlier step"
                    if path in makers
                    else "there is no such file"
                )
                place = _place(piece.step, key, document[piece.step], piece.combination)
                problems.add(place, f"{value}: {why}{nearest(value, names)}")
        reads, needs = (
            tuple(dict.fromkeys([*names, *wanted])) for names in (piece.reads, piece.needs)
        )
        found.append(dataclasses.replace(piece, reads=reads, needs=needs))
    return found


def _behind_gates(pieces: Sequence[Piece]) -> list[Piece]:
    """The same pieces, each needing also all earlier ones whose notebook is a gate, without reading
    them."""
    gates = [(place, piece.name) for place, piece in enumerate(pieces) if piece.notebook.gate]
    return [
        dataclasses.replace(
            piece, needs=(*piece.needs, *(gate for before, gate in gates if before < place))
        )
        for place, piece in enumerate(pieces)
    ]
