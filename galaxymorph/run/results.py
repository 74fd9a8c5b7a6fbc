"""Read the results of a run's jobs, for reports and comparisons."""

import csv
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from galaxymorph.evaluation import predictions as tables
from galaxymorph.evaluation.entries import Entries, Entry
from galaxymorph.evaluation.predictions import NOT_RUN, PREDICTIONS, VOTES
from galaxymorph.project import JOB, NAME, run_folder
from galaxymorph.run.marks import UNFINISHED, altered, outdated, planned
from galaxymorph.run.marks import read as read_json

FRACTION = "galaxies.label_fraction"  # labels as a fraction of the training galaxies


@dataclass(frozen=True)
class Result:
    """Stored results of one job. If `done` is False there is nothing to read.

    If `outdated` says why, its results are of an earlier state of the run."""

    name: str  # its folder below results/<run>, "resnet18" or "resnet18/seed=0,n_labels=100"
    combination: dict[str, Any]  # {"seed": 0, "n_labels": 100}; empty if not repeated
    parameters: dict[str, Any]  # as executed, or planned; empty if executed by hand
    outputs: list[str] | None  # declared by the notebook; None if by hand or for foreign files
    path: Path
    done: bool
    metrics: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None  # run time of the notebook; None if executed by hand
    finished: str | None = None  # UTC
    not_run: str | None = None  # why it was skipped: "weights not available offline"
    title: str | None = None  # of its step, for readers
    outdated: str = ""

    @property
    def step(self) -> str:
        return self.name.split("/")[0]

    def has(self, name: str) -> bool:
        return self.done and (self.path / name).is_file()

    @property
    def predictions(self) -> tables.Predictions | None:
        """The predicted classes, or None if the step makes none."""
        return tables.read_predictions(self.path / PREDICTIONS) if self.has(PREDICTIONS) else None

    @property
    def votes(self) -> tables.Votes | None:
        """The predicted vote fractions, or None if the step makes none."""
        return tables.read_votes(self.path / VOTES) if self.has(VOTES) else None

    @property
    def history(self) -> pd.DataFrame | None:
        """A row per epoch, or None if the step does not train, or with a warning if damaged."""
        path = self.path / "history.csv"
        try:
            return pd.read_csv(path) if self.has(path.name) else None
        except (ValueError, csv.Error) as error:
            warnings.warn(
                f"{path}: not a valid table: {str(error).strip()}; it is ignored", stacklevel=2
            )
            return None

    @property
    def rows(self) -> list[str]:
        """Rows that it adds to the comparison: "" for its own predictions, "dnn" for `dnn/`."""
        if self.outputs is not None:
            tables = [name for name in self.outputs if Path(name).name == PREDICTIONS]
            return [name.removesuffix(PREDICTIONS).rstrip("/") for name in tables]
        found = sorted(path.parent.name for path in self.path.glob(f"*/{PREDICTIONS}"))
        own = [""] if (self.path / PREDICTIONS).is_file() else []
        return own + [name for name in found if NAME.fullmatch(name)]

    def row(self, name: str) -> "Result":
        """Return the results of one row, with the job's metrics where it has none of its own."""
        path = self.path / name
        row = replace(self, name=f"{self.name}/{name}", path=path)
        own = read_json(path / "metrics.json") if self.done else {}
        return replace(row, metrics=self.metrics | own, seconds=own.get("seconds"))


def titles(run: str) -> dict[str, str]:
    """Return the titles of a run's steps, where they have one."""
    jobs = planned(run_folder(run))
    return {name.split("/")[0]: job["title"] for name, job in jobs.items() if job.get("title")}


def read(
    run: str, steps: Sequence[str] | None = None, *, with_outdated: bool = False
) -> list[Result]:
    """Read all jobs of a run, or those in `steps`, finished or not, in the run's order.

    The runner writes the expected jobs to `plan.json`; in a run by hand, those that exist are read.

    Args:
        run: the run's name.
        steps: names of steps or of single jobs.
        with_outdated: read results of an earlier state of the run, too. Otherwise these jobs are
            not done, and `not_run` says why, so that a comparison never mixes old and new.

    Raises:
        FileNotFoundError: the run has no jobs, or lacks one of `steps`."""
    folder = run_folder(run)
    jobs = planned(folder) or _found(folder)
    if not jobs:
        raise FileNotFoundError(f"{folder}: run {run!r} has no steps yet; run one first")
    names = {name: {name, name.split("/")[0]} for name in jobs}
    unknown = set(steps or ()) - set().union(*names.values())
    if unknown:
        there = ", ".join(dict.fromkeys(name.split("/")[0] for name in jobs))
        missing = ", ".join(sorted(unknown))
        raise FileNotFoundError(f"{folder}: no step {missing} in run {run!r}; it has {there}")
    chosen = [
        name
        for name, job in jobs.items()
        if (steps is None or names[name] & set(steps))
        and (job.get("chosen", True) or (folder / name / "done.json").is_file())
    ]
    states = outdated(folder, jobs, chosen)
    return [_result(folder, name, jobs[name], states[name], with_outdated) for name in chosen]


def trained(run: str, steps: Sequence[str] | None = None) -> Entries:
    """Return the entries of a comparison: all jobs that make predictions, including missing ones.

    A step that is repeated over more than seeds and labels counts as one method per setting, such
    as `frozen zoom=0.1`; so does each row of a step that makes several: `frozen dnn`, `frozen dnn
    zoom=0.1`. If a fraction of the labels was requested, n_labels is the resulting number
    (`n_train` in metrics.json; the fewest over seeds)."""
    results = [(whole, row) for whole in read(run, steps) for row in whole.rows]
    found = [_entry(whole.row(row) if row else whole, row) for whole, row in results]
    counted: dict[tuple[str, Any], list[int]] = {}
    for entry, fraction, n_train in found:
        if n_train is not None:
            counted.setdefault((entry.method, fraction), []).append(n_train)
    entries = []
    for entry, fraction, _ in found:
        if fraction is not None:
            n_labels = min(counted.get((entry.method, fraction), []), default=None)
            # unknown until one is done: it must not be mistaken for all labels
            more = f" {FRACTION}={fraction}" if n_labels is None else ""
            entry = replace(entry, method=entry.method + more, n_labels=n_labels)
        entries.append(entry)
    return Entries(entries)


def _entry(result: Result, row: str) -> tuple[Entry, Any, int | None]:
    """Return an entry, the requested fraction of labels, and the resulting number of labels."""
    known = result.parameters | result.combination
    common = ("seed", "n_labels", FRACTION)
    settings = [f"{k}={v}" for k, v in result.combination.items() if k not in common]
    method = " ".join(filter(None, [result.step, row, *settings]))
    fraction = result.combination.get(FRACTION, known.get("galaxies", {}).get("label_fraction"))
    by_hand, labels = result.outputs is None, known.get("n_labels")  # a number, or a list of ids
    entry = Entry(
        method,
        known.get("seed"),
        len(labels) if isinstance(labels, list) else labels,
        result.metrics.get("protocol"),
        result.predictions,
        (result.path / VOTES).is_file() if by_hand else VOTES in (result.outputs or ()),
        result.votes,
        result.history,
        result.seconds,
        result.metrics.get("costs", {}),
        result.not_run,
        _title(result, row, settings),
    )
    return entry, fraction, result.metrics.get("n_train")


def _title(result: Result, row: str, settings: Sequence[str]) -> str | None:
    """Method name for readers: the step's title, which replaces {} in the title of a row.

    None if the step has no title, or the row does not exist yet."""
    named = result.metrics.get("title") if row else "{}"
    if not result.title or not named:
        return None
    return " ".join([named.replace("{}", result.title), *settings])


def _found(folder: Path) -> dict[str, dict[str, Any]]:
    """Find the jobs of a run executed by hand, from the files that they left."""
    kinds = (PREDICTIONS, "metrics.json", "environment.json")
    files = [path for kind in kinds for path in folder.glob(f"**/{kind}")]
    parts = [path.parent.relative_to(folder).parts for path in files]
    parts = [part for part in parts if part and part[0] not in (UNFINISHED, "tune")]
    jobs = sorted({part[: 2 if "=" in "".join(part[1:2]) else 1] for part in parts})
    found = {}
    for job in jobs:  # deeper folders are rows
        if not JOB.fullmatch("/".join(job)):
            continue
        pairs = [pair.partition("=") for pair in "".join(job[1:]).split(",") if pair]
        combination = {key: _value(value) for key, _, value in pairs}
        found["/".join(job)] = {"combination": combination, "parameters": {}, "outputs": None}
    return found


def _value(text: str) -> Any:
    """Return the value in the name of a folder: `seed=0`."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return text


def _result(
    folder: Path, name: str, job: Mapping[str, Any], state: str, with_outdated: bool
) -> Result:
    path = folder / name
    marked = read_json(path / "done.json")
    not_run = read_json(path / NOT_RUN).get("why")
    broken = altered(folder, name, marked)
    if broken or (state and not with_outdated):
        not_run = f"{'damaged' if broken else 'outdated'} ({broken or state})"
    done = not_run is None and bool(marked or job["outputs"] is None)
    if not marked and (folder / UNFINISHED / name).is_dir():
        path = folder / UNFINISHED / name  # what a failed execution has left
    parameters = job["parameters"]
    if marked:  # the plan may have changed since
        parameters = _executed(path / "params.yaml") or parameters
    return Result(
        name=name,
        combination=job["combination"],
        parameters=parameters,
        outputs=job["outputs"],
        path=path,
        done=done,
        metrics=read_json(path / "metrics.json") if done else {},
        seconds=None if (seconds := marked.get("seconds")) is None else float(seconds),
        finished=marked.get("finished"),
        not_run=not_run,
        title=job.get("title"),
        outdated=state if done else "",
    )


def _executed(path: Path) -> dict[str, Any]:
    """Return the parameters with which a job was executed; empty if their file is damaged."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
