"""Read what the jobs of a run have left in their folders, for reports and comparisons."""

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

FRACTION = "galaxies.label_fraction"  # gives labels as a fraction of the training galaxies


@dataclass(frozen=True)
class Result:
    """Stored results of one job. If `done` is False there is nothing to read."""

    name: str  # its folder below results/<run>, "resnet18" or "resnet18/seed=0,n_labels=100"
    combination: dict[str, Any]  # {"seed": 0, "n_labels": 100}; empty where it is not repeated
    parameters: dict[str, Any]  # as executed, or to be executed; empty where executed by hand
    outputs: list[str] | None  # declared by the notebook; None by hand, or of somebody's files
    path: Path
    done: bool
    metrics: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None  # that the notebook took; None where it was executed by hand
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
        """The predicted classes, or None where the step makes none."""
        return tables.read_predictions(self.path / PREDICTIONS) if self.has(PREDICTIONS) else None

    @property
    def votes(self) -> tables.Votes | None:
        """The predicted vote fractions, or None where the step makes none."""
        return tables.read_votes(self.path / VOTES) if self.has(VOTES) else None

    @property
    def history(self) -> pd.DataFrame | None:
        """A row per epoch, or None where the step does not train."""
        return pd.read_csv(self.path / "history.csv") if self.has("history.csv") else None

    @property
    def rows(self) -> list[str]:
        """The rows that it adds to the comparison, declared or found: "" for its own predictions,
        "dnn" for `dnn/`."""
        if self.outputs is not None:
            tables = [name for name in self.outputs if Path(name).name == PREDICTIONS]
            return [name.removesuffix(PREDICTIONS).rstrip("/") for name in tables]
        found = sorted(path.parent.name for path in self.path.glob(f"*/{PREDICTIONS}"))
        own = [""] if (self.path / PREDICTIONS).is_file() else []
        return own + [name for name in found if NAME.fullmatch(name)]

    def row(self, name: str) -> "Result":
        """Return the results of one row. Metrics that the row lacks are those of the job; history
        and seconds are its own."""
        path = self.path / name
        row = replace(self, name=f"{self.name}/{name}", path=path)
        own = read_json(path / "metrics.json") if self.done else {}
        return replace(row, metrics=self.metrics | own, seconds=own.get("seconds"))


def planned(folder: Path) -> dict[str, Any]:
    """Return the jobs in the `plan.json` of a run's folder, by name; none where it has none."""
    plan = read_json(folder / "plan.json")
    return plan.get("jobs") or plan.get("pieces", {})  # "pieces": before version 0.2


def read(run: str, steps: Sequence[str] | None = None) -> list[Result]:
    """Read every job of a run, or those in `steps`, finished or missing, in the run's order.

    `steps` are names of steps or of single jobs. Which there should be, the runner has written to
    `plan.json`; of a run by hand, those that are there. Raises `FileNotFoundError` where the run
    has none, or lacks one of `steps`."""
    folder = root() / "results" / run
    jobs = planned(folder) or _found(folder)
    if not jobs:
        raise FileNotFoundError(f"{folder}: run {run!r} has no step yet; run one first")
    names = {name: {name, name.split("/")[0]} for name in jobs}
    unknown = set(steps or ()) - set().union(*names.values())
    if unknown:
        there = ", ".join(dict.fromkeys(name.split("/")[0] for name in jobs))
        missing = ", ".join(sorted(unknown))
        raise FileNotFoundError(f"{folder}: no step {missing} in run {run!r}; it has {there}")
    chosen = [name for name in jobs if steps is None or names[name] & set(steps)]
    return [_result(folder / name, name, jobs[name]) for name in chosen]


def trained(run: str, steps: Sequence[str] | None = None) -> Entries:
    """Return the entries of a comparison: of every job that makes predictions, missing ones, too.

    A step that is repeated over more than seeds and labels counts as a method for each of its
    settings: `frozen zoom=0.1`; so does each row of a step that makes several: `frozen dnn`,
    `frozen dnn zoom=0.1`. Where a fraction of the labels was asked for, n_labels is how many that
    were (`n_train` in metrics.json; the fewest over the seeds)."""
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
            # where none of this fraction is done yet it must not pass for all labels
            more = f" {FRACTION}={fraction}" if n_labels is None else ""
            entry = replace(entry, method=entry.method + more, n_labels=n_labels)
        entries.append(entry)
    return Entries(entries)


def _entry(result: Result, row: str) -> tuple[Entry, Any, int | None]:
    """An entry, the fraction of labels that was asked for, and how many labels there were."""
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
    """What readers call a method: the title of its step, which stands for {} in the title that a
    notebook gives a row; None where the step has none, or the row is not there yet."""
    named = result.metrics.get("title") if row else "{}"
    if not result.title or not named:
        return None
    return " ".join([named.replace("{}", result.title), *settings])


def _found(folder: Path) -> dict[str, dict[str, Any]]:
    """The jobs of a run by hand, from the files that they left."""
    kinds = (PREDICTIONS, "metrics.json", "environment.json")
    files = [path for kind in kinds for path in folder.glob(f"**/{kind}")]
    parts = [path.parent.relative_to(folder).parts for path in files]
    jobs = sorted({part[: 2 if "=" in "".join(part[1:2]) else 1] for part in parts if part})
    found = {}
    for job in jobs:  # what follows is a row
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
