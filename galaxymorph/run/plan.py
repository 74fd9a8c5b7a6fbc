"""Resolve a params file (see `params`) into the jobs of a run: notebooks with parameters.

Everything is checked before execution: keys and types against the notebooks and what they call."""

import copy
import functools
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from galaxymorph import project
from galaxymorph.run import notebooks, params
from galaxymorph.run.marks import MODEL
from galaxymorph.run.params import RESERVED, WEIGHTS, ParamsError, Problems, Space, kind_of
from galaxymorph.run.signatures import Found, imported, written
from galaxymorph.text import leaves, listing, nearest

PLACEHOLDER = re.compile(r"(?<!\{)\{[A-Za-z_][\w.]*\}(?!\})")
LONGEST = 200  # characters of a folder's name; files named after it have endings
# notebooks whose names before version 0.2 do not resemble the current ones
RENAMED = {"11_forensics": "17_published_mistakes", "12_consistency": "15_rotation"}

Params = dict[str, Any]
Values = Mapping[str, Any]  # by dotted key
Find = Callable[[str], Found | None]


@dataclass(frozen=True)
class Job:
    """One job: a notebook with its resolved parameters."""

    # its folder below results/<run>: the step, and the combination if it is repeated
    name: str
    step: str
    combination: Params
    notebook: notebooks.Notebook
    parameters: Params
    reads: tuple[str, ...]  # names of earlier jobs that it reads
    needs: tuple[str, ...]  # those of them that it requires, and gates
    search: Space = field(default_factory=dict)  # the search space
    title: str | None = None  # of the step, for readers

    def value(self, key: str) -> Any:
        """Return the value at a dotted key, given or by default.

        Raises `KeyError` if neither the notebook nor what it calls has one."""
        found: Any = self.parameters
        for each in key.split("."):
            if not isinstance(found, dict) or each not in found:
                return self.notebook.option(key)
            found = found[each]
        return found

    def agrees(self, values: Values) -> bool:
        """Return whether it has these values, as far as its step is repeated over them."""
        keys = self.combination.keys() & values.keys()
        return all(self.combination[key] == values[key] for key in keys)


@dataclass(frozen=True)
class Plan:
    """All jobs of a run, in order."""

    run: str
    jobs: tuple[Job, ...]
    document: Params  # the params file with overrides

    @functools.cached_property
    def described(self) -> dict[str, Params]:
        """The jobs as in `plan.json`, for readers of the run: combination, parameters, ..."""
        return {
            job.name: {
                "combination": job.combination,
                "parameters": job.parameters,
                "outputs": list(job.notebook.outputs),
                "title": job.title,
                "reads": list(job.reads),
            }
            for job in self.jobs
        }

    def select(self, only: Sequence[str]) -> list[Job]:
        """Return the jobs with these names of steps or jobs, or all; `ParamsError` if unknown."""
        names = {name for job in self.jobs for name in (job.step, job.name)}
        if odd := [name for name in only if name not in names]:
            raise ParamsError(f"--only: unknown step {n!r}{nearest(n, names)}" for n in odd)
        return [job for job in self.jobs if not only or {job.name, job.step} & set(only)]


def make_plan(
    path: Path,
    *,
    overrides: Sequence[str] = (),
    run: str | None = None,
    asked: Mapping[str, Sequence[str]] = MappingProxyType({}),
    look: Callable[[Any], Iterable[tuple[str, str]]] = lambda galaxies: (),
) -> Plan:
    """Read a params file, apply overrides such as `resnet18.training.epochs=3`, resolve all jobs.

    `asked` are names of steps or jobs by the option that gives them; wrong ones are refused before
    anything is imported, and so is what `look` finds wrong with the files of galaxies, as
    (option, why). Raises `ParamsError` with all mistakes, each with file, key, what was expected,
    and the nearest valid name."""
    document = params.read(path)
    problems = Problems(path.name)
    for text in overrides:
        params.override(document, text, problems)
    if run is not None:
        document["run"] = run
    if lacking := [(f"galaxies.{key}", why) for key, why in look(document.get("galaxies"))]:
        for key, why in lacking:
            problems.add(key, why)
        raise ParamsError(problems.found)
    names = [name for name in document if name not in RESERVED]
    wrong = [(key, name) for key, given in asked.items() for name in given]
    wrong = [(key, name) for key, name in wrong if name.split("/")[0] not in names]
    if wrong:
        raise ParamsError(f"{k}: unknown step {name!r}{nearest(name, names)}" for k, name in wrong)
    _resolve(copy.deepcopy(document), problems, written)  # before anything is imported
    return _resolve(document, problems)


def changed(document: Params, step: str, values: Values) -> Params:
    """Copy a plan's document with other values, by dotted key, in a step's parameters."""
    document = copy.deepcopy(document)
    for key, value in values.items():
        params.set_key(document[step], key.split("."), copy.deepcopy(value))
    return document


def make_trial(plan: Plan, step: str, values: Values, *, seed: int | None = None) -> Job:
    """Resolve a step's job with other values, for one seed (None: the step's first).

    All else that the step is repeated over has its first value. Raises `ParamsError` if it is
    invalid."""
    document = changed(plan.document, step, values)
    block = document[step]
    over = block["over"] = {key: each[:1] for key, each in block.get("over", {}).items()}
    if seed is not None and "seed" in over:
        over["seed"] = [seed]
    elif seed is not None:
        block["seed"] = seed
    names = [*RESERVED, *list(document)[: list(document).index(step) + 1]]
    document = {name: document[name] for name in names if name in document}  # no later steps
    return _resolve(document, Problems(f"trial of {step}")).jobs[-1]


def _resolve(document: Params, problems: Problems, find: Find = imported) -> Plan:
    run, galaxies = document.get("run"), params.named({"name": None}, document.get("galaxies", {}))
    if "galaxies" in document:
        document["galaxies"] = galaxies
    if run is None:
        problems.add("run", "missing; it names the folder results/<run>")
    elif why := project.misnamed(run):
        problems.add("run", why)
    if not isinstance(galaxies, dict):
        problems.add("galaxies", f"expected a mapping, found {kind_of(galaxies)}")
    names = [name for name in document if name not in RESERVED]
    if not names:
        problems.add("", "no steps found; a step is a name with `notebook: NAME` below it")
    jobs: list[Job] = []
    for place, name in enumerate(names):
        step = _Step(name, document[name], document, names[:place], jobs, problems, find)
        if step.check():
            jobs += list(step.jobs())
    if problems.found:
        raise ParamsError(problems.found)
    return Plan(document["run"], tuple(jobs), document)


@dataclass
class _Step:
    """A step of the params file, to be checked and resolved into its jobs."""

    name: str
    block: Any
    document: Params
    before: list[str]  # names of the earlier steps
    earlier: list[Job]  # their jobs; none for invalid steps
    problems: Problems
    find: Find  # of signatures
    combination: Params = field(default_factory=dict)  # of the current job
    models: dict[str, str] = field(default_factory=dict)  # files that it reads -> their jobs

    def check(self) -> bool:
        """Return whether the block can be resolved."""
        before = len(self.problems.found)
        if not isinstance(self.block, dict) or not isinstance(self.block.get("notebook"), str):
            near = nearest(self.name, RESERVED)
            self.problems.add(self.name, f"a step needs `notebook: NAME` below it{near}")
            return False
        if why := project.misnamed(self.name):
            self.problems.add(self.name[:120], why)
        twins = [name for name in self.before if name.lower() == self.name.lower()]
        if twins:
            why = f"differs from {twins[0]} only by capitals, which some disks do not distinguish"
            self.problems.add(self.name, why)
        self.title = self.block.get("title")
        if not isinstance(self.title, str | None):
            self._add("title", f"expected a text, found {kind_of(self.title)}")
        self.over, self.search = self.block.get("over", {}), self.block.get("search", {})
        for part, wanted in (("over", "lists of values"), ("search", "ranges or lists of values")):
            given = self.block.get(part, {})
            if not isinstance(given, dict):
                self._add(part, f"expected parameters with {wanted}, found {kind_of(given)}")
                return False
            for key, values in given.items():
                if part == "over" and not (isinstance(values, list) and values):
                    self._add(f"over.{key}", f"expected a list of values, found {kind_of(values)}")
                elif isinstance(values, list) and any(values.count(each) > 1 for each in values):
                    self._add(f"{part}.{key}", "duplicate value")
        name = self.block["notebook"].removesuffix(".ipynb")
        path = project.root() / "notebooks" / f"{name}.ipynb"
        try:
            self.notebook = replace(notebooks.read(path), find=self.find)
        except notebooks.NotebookError as error:
            names = [] if path.is_file() else [each.stem for each in path.parent.glob("*.ipynb")]
            self._add("notebook", f"{error}{nearest(RENAMED.get(name) or name, names)}")
        self._check_paths()
        return len(self.problems.found) == before

    def _add(self, key: str, message: str) -> None:
        self.problems.add(f"{self.name}.{key}", message)

    def _check_paths(self) -> None:
        """Reject paths of this run's own model files, and the former `{placeholders}`."""
        models = (project.root() / "models" / str(self.document.get("run"))).resolve()
        for key, value in leaves({k: v for k, v in self.block.items() if k != "notebook"}):
            if not isinstance(value, str):
                continue
            step, new = "", "{step: NAME}, with the name of an earlier step"
            path = params.model_path(value.replace("{run}", models.name))
            if path and path.is_relative_to(models):
                job = path.relative_to(models).as_posix().removesuffix(WEIGHTS)
                step, *pairs = re.split("[/,]", job)
                if step in self.document:
                    pairs = [pair.replace("=", ": ") for pair in pairs if "{" not in pair]
                    new = f"{{{', '.join([f'step: {step}', *pairs])}}}"
            last = key.removesuffix(".name").split(".")[-1]
            new = new if last.isdigit() else f"{last}: {new}"
            if holes := PLACEHOLDER.findall(value):
                self._add(key, f"placeholders ('{holes[0]}') are not supported; write {new}")
            elif step in self.before:
                self._add(key, f"{value} is made by a step of this run; write {new}")
            elif step in self.document and step not in RESERVED:
                self._add(key, f"{value} is made by {step}, which is not an earlier step")

    def jobs(self) -> Iterator[Job]:
        """Resolve every combination of the step's `over`."""
        space = self._space()
        gates = [job.name for job in self.earlier if job.notebook.gate]
        notebook, seen = self.notebook, set[str]()
        for values in itertools.product(*self.over.values()):
            combination = self.combination = dict(zip(self.over, values, strict=True))
            pairs = ",".join(f"{key}={params.as_text(value)}" for key, value in combination.items())
            name = f"{self.name}/{pairs}" if combination else self.name
            if name in seen:
                self._add("over", f"two combinations share the folder {name}")
            if len(pairs) > LONGEST:
                why = f"a combination has a folder name of {len(pairs)} characters"
                self._add("over", f"{why}, at most {LONGEST} are possible: {pairs[:60]}...")
            seen.add(name)
            self.models = {}
            given = self._given()
            for key, message in notebook.mistakes(given):
                self._add_at(key, message)
            defaults = notebook.parameters
            parameters = {k: params.merge(each, given.get(k, each)) for k, each in defaults.items()}
            for key, value in leaves(parameters):
                if (
                    value not in self.models
                    and (file := params.model_path(value))
                    and not file.is_file()
                ):
                    self._add_at(key, f"{value}: no such file")
            for option, why in params.missing(parameters.get("galaxies")):
                self._add_at(f"galaxies.{option}", why)
            reads, needs = self._reads(parameters)
            parameters |= {"run": self.document.get("run"), "step": name}
            parameters |= {"steps": reads} if "steps" in parameters else {}
            reads = tuple(dict.fromkeys([*reads, *self.models.values()]))
            needs = tuple(dict.fromkeys([*needs, *self.models.values(), *gates]))
            inputs = (parameters, reads, needs, space, self.title)
            yield Job(name, self.name, combination, notebook, *inputs)
            gates += [name] if notebook.gate else []

    def _given(self) -> Params:
        """Merge what the params file gives to a job: galaxies, the step's block, combination."""
        parameters = self.block.keys() - set(notebooks.OF_STEP)
        own = {k: self._value(k, each) for k, each in self.block.items() if k in parameters}
        given = copy.deepcopy(own)
        if "galaxies" in self.notebook.parameters:
            common = self.document.get("galaxies", {})
            given["galaxies"] = params.merge(common, given.get("galaxies", {}))
        for key, value in self.combination.items():
            if key in own or any(params.overlap(key, other) for other, _ in leaves(own)):
                self._add(key, f"is also given by {self.name}.over; remove one of the two")
            elif not params.set_key(given, key.split("."), self._value(key, value)):
                self._add(f"over.{key}", "is below a value that is not a mapping")
        return given

    def _value(self, key: str, value: Any) -> Any:
        return params.named(self.notebook.parameters.get(key), self._with_models(key, value))

    def _with_models(self, key: str, value: Any) -> Any:
        """Return a parameter's value with every `{step: NAME}` in it replaced by its model file."""
        if isinstance(value, list):
            return [self._with_models(f"{key}.{i}", each) for i, each in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if "step" in value:
            return self._model_of(key, value)
        return {k: self._with_models(f"{key}.{k}", each) for k, each in value.items()}

    def _model_of(self, key: str, reference: Params) -> Any:
        """Return the model file of the earlier job that a reference selects, with other options."""
        step, wanted, why = reference["step"], self.combination | reference, ""
        jobs = [job for job in self.earlier if job.step == step]
        over = jobs[0].combination if jobs else {}
        options = {k: v for k, v in reference.items() if k != "step" and k not in over}
        matching = [job.name for job in jobs if job.agrees(wanted)]
        if step not in self.before:
            why = f"no earlier step {step!r}{nearest(str(step), self.before)}"
        elif jobs and MODEL not in jobs[0].notebook.outputs:
            why = f"{step} ({jobs[0].notebook.path.name}) makes no model file"
        elif "name" in options:
            why = "has both `step` and `name`; remove one of the two"
        elif jobs and options and not isinstance(self.notebook.parameters.get(key), dict):
            odd = next(iter(options))
            why = f"{step} is not repeated over {odd}{nearest(odd, over)}"
        elif jobs and not matching:
            there = listing(each.name for each in jobs)
            todo = f"change this, or the values of {step}.over"
            why = f"no job of {step} matches; it has {there}; {todo}"
        elif len(matching) > 1:
            left = ", ".join(f"{k}: {json.dumps(v)}" for k, v in over.items() if k not in wanted)
            why = f"{listing(matching)} match; choose one, such as {{step: {step}, {left}}}"
        if why:
            self._add_at(key, why)
        path = f"models/{self.document.get('run')}/{matching[0]}{WEIGHTS}" if matching else ""
        if path:
            self.models[path] = matching[0]
        return {"name": path} | options if options else path

    def _reads(self, parameters: Params) -> tuple[list[str], list[str]]:
        """Return the earlier jobs that a job reads by its parameter `steps`, and those it needs."""
        steps = parameters.get("steps")
        if steps is None:
            return [job.name for job in self.earlier if "steps" in parameters], []
        if not isinstance(steps, list):
            self._add("steps", f"expected a list of earlier steps, found {kind_of(steps)}")
            return [], []
        names = [*self.before, *(job.name for job in self.earlier)]
        for name in steps:
            if name not in names:
                self._add("steps", f"no earlier step {name!r}{nearest(str(name), names)}")
        wanted = [
            job.name
            for job in self.earlier
            if job.name in steps or (job.step in steps and job.agrees(self.combination))
        ]
        return wanted, wanted

    def _add_at(self, key: str, message: str) -> None:
        """Add a mistake in a job's parameter where the params file sets it."""
        repeated = [over for over in self.combination if params.overlap(over, key)]
        own = params.named({"name": None}, self.block.get("galaxies")) or {}
        if repeated:
            self._add(f"over.{repeated[0]}", message)
        elif key.startswith("galaxies.") and key.split(".")[1] not in own:
            self.problems.add(key, message)  # the run's, not the step's own
        else:
            self._add(key, message)

    def _space(self) -> Space:
        """Return the search space, of values that the step accepts."""

        def mistakes(value: Any) -> list[str]:  # of the parameter `key`
            given: Params = {}
            params.set_key(given, key.split("."), value)
            return [message for _, message in self.notebook.mistakes(given)]

        places = [*(("over", key) for key in self.over), *(("search", key) for key in self.search)]
        found: Space = {}
        for key, values in self.search.items():
            for part, other in places:
                if params.overlap(other, key) and (part, other) != ("search", key):
                    why = f"is also given by {self.name}.{part}.{other}; remove one of the two"
                    self._add(f"search.{key}", why)
            try:
                found[key] = params.tried(key, values, mistakes)
            except ParamsError as error:
                for message in error.problems:
                    self._add(f"search.{key}", message)
        return found
