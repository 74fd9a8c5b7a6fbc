"""Read the results of a run's jobs, for reports and comparisons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from galaxymorph.evaluation import predictions as tables
from galaxymorph.evaluation.entries import Entries, Entry
from galaxymorph.evaluation.predictions import NOT_RUN, PREDICTIONS, VOTES
from galaxymorph.project import NAME, read_json, root

FRACTION = "galaxies.label_fraction"  # labels as a fraction of the training galaxies


@dataclass(frozen=True)
class Result:
    """Stored results of one job. If `done` is False there is nothing to read."""

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
        """A row per epoch, or None if the step does not train."""
        return pd.read_csv(self.path / "history.csv") if self.has("history.csv") else None

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


def planned(folder: Path) -> dict[str, Any]:
    """Return the jobs in the `plan.json` of a run's folder, by name; empty if there is none."""
    plan = read_json(folder / "plan.json")
    return plan.get("jobs") or plan.get("pieces", {})  # "pieces": before version 0.2


def titles(run: str) -> dict[str, str]:
    """Return the titles of a run's steps, where they have one."""
    jobs = planned(root() / "results" / run)
    return {name.split("/")[0]: job["title"] for name, job in jobs.items() if job.get("title")}


def read(run: str, steps: Sequence[str] | None = None) -> list[Result]:
    """Read all jobs of a run, or those in `steps`, finished or not, in the run's order.

    `steps` are names of steps or of single jobs. The runner writes the expected jobs to
    `plan.json`; in a run by hand, those that exist are read. Raises `FileNotFoundError` if the run
    has none, or lacks one of `steps`."""
    folder = root() / "results" / run
    jobs = planned(folder) or _found(folder)
    if not jobs:
        raise FileNotFoundError(f"{folder}: run {run!r} has no steps yet; run one first")
    names = {name: {name, name.split("/")[0]} for name in jobs}
    unknown = set(steps or ()) - set().union(*names.values())
    if unknown:
        there = ", ".join(dict.fromkeys(name.split("/")[0] for name in jobs))
        missing = ", ".join(sorted(unknown))
        raise FileNotFoundError(f"{folder}: no step {missing} in run {run!r}; it has {there}")
    chosen = [name for name in jobs if steps is None or names[name] & set(steps)]
    return [_result(folder / name, name, jobs[name]) for name in chosen]


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
    jobs = sorted({part[: 2 if "=" in "".join(part[1:2]) else 1] for part in parts if part})
    found = {}
    for job in jobs:  # deeper folders are rows
        pairs = [pair.partition("=") for pair in "".join(job[1:]).split(",") if pair]
        combination = {key: yaml.safe_load(value) for key, _, value in pairs}
        found["/".join(job)] = {"combination": combination, "parameters": {}, "outputs": None}
    return found


def _result(path: Path, name: str, planned: Mapping[str, Any]) -> Result:
    marked, executed = read_json(path / "done.json"), path / "params.yaml"
    not_run = read_json(path / NOT_RUN).get("why")
    done = not_run is None and bool(marked or planned["outputs"] is None)
    if marked and executed.is_file():  # the plan may have changed since
        known = yaml.safe_load(executed.read_text(encoding="utf-8"))
        planned = {**planned, "parameters": known}
    return Result(
        **planned,
        name=name,
        path=path,
        done=done,
        metrics=read_json(path / "metrics.json") if done else {},
        seconds=marked.get("seconds"),
        finished=marked.get("finished"),
        not_run=not_run,
    )
