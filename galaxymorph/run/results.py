"""galaxymorph.run.results"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from galaxymorph.evaluation.predictions import (
    NOT_RUN,
    PREDICTIONS,
    VOTES,
    read_predictions,
    read_votes,
)
from galaxymorph.project import NAME, root

# the parameter that gives labels as a fraction of the training galaxies
FRACTION = "galaxies.label_fraction"


@dataclass(frozen=True)
class Result:
    """What is there of one piece of work: a step, or one combination of a repeated one. Not `done`:
    nothing to read."""

    name: str  # its folder below results/<run>, "resnet18" or "resnet18/seed=0,n_labels=100"
    combination: dict[
        str, Any
    ]  # {"seed": 0, "n_labels": 100}; empty where the step is not repeated
    parameters: dict[
        str, Any
    ]  # as executed, or to be executed; empty where the notebook was executed by hand
    outputs: (
        list[str] | None
    )  # files that the notebook declares; None where it was executed by hand, or files were brought
    path: Path
    done: bool
    metrics: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None  # that the notebook took; None where it was executed by hand
    finished: str | None = None  # UTC
    not_run: str | None = None  # why it was left out: "weights not available offline"

    @property
    def step(self) -> str:
        return self.name.split("/")[0]

    @property
    def predictions(self) -> pd.DataFrame | None:
        """The predictions table (`read_predictions`), or None where the step makes none."""
        path = self.path / "predictions.csv"
        return read_predictions(path) if self.done and path.is_file() else None

    @property
    def votes(self) -> pd.DataFrame | None:
        """The table of vote fractions (`read_votes`), or None where the step makes none."""
        path = self.path / VOTES
        return read_votes(path) if self.done and path.is_file() else None

    @property
    def history(self) -> pd.DataFrame | None:
        """A row per epoch, or None where the step does not train."""
        path = self.path / "history.csv"
        return pd.read_csv(path) if self.done and path.is_file() else None

    @property
    def rows(self) -> list[str]:
        """The rows that it adds to the comparison, declared or found: "" for its own predictions,
        "dnn" for `dnn/`."""
        if self.outputs is not None:
            return [
                name.removesuffix(PREDICTIONS).rstrip("/")
                for name in self.outputs
                if Path(name).name == PREDICTIONS
            ]
        found = [
            path.parent.relative_to(self.path).as_posix()
            for path in self.path.glob(f"*/{PREDICTIONS}")
        ]
        own = [""] if (self.path / PREDICTIONS).is_file() else []
        return own + sorted(name for name in found if NAME.fullmatch(name))

    def row(self, name: str) -> Result:
        """What is there of one row. Metrics that the row lacks are those of the piece; history and
        seconds are its own."""
        path = self.path / name / "metrics.json"
        own = json.loads(path.read_text(encoding="utf-8")) if self.done and path.is_file() else {}
        return replace(
            self,
            name=f"{self.name}/{name}",
            path=self.path / name,
            metrics=self.metrics | own,
            seconds=own.get("seconds"),
        )


def read(run: str, steps: Sequence[str] | None = None) -> list[Result]:
    """Every piece of work of a run, or those in `steps`, finished or missing (`done` is False), in
    the run's order.

    `steps` are names of steps or of single pieces of work. Which there should be, the runner has
    written to `plan.json`; of a run by hand, those that are there. Raises `FileNotFoundError` where
    the run has none, or not one of `steps`."""
    folder = root() / "results" / run
    plan = folder / "plan.json"
    planned = (
        json.loads(plan.read_text(encoding="utf-8"))["pieces"] if plan.is_file() else _found(folder)
    )
    if not planned:
        raise FileNotFoundError(f"{folder}: no step of run {run!r} is there; run one first")
    names = {name: {name, name.split("/")[0]} for name in planned}
    unknown = set(steps or ()) - set().union(*names.values())
    if unknown:
        there = ", ".join(dict.fromkeys(name.split("/")[0] for name in planned))
        raise FileNotFoundError(
            f"{folder}: no step {', '.join(sorted(unknown))} in run {run!r}; it has {there}"
        )
    chosen = [name for name in planned if steps is None or names[name] & set(steps)]
    return [_result(folder / name, name, planned[name]) for name in chosen]


def _found(folder: Path) -> dict[str, dict[str, Any]]:
    kinds = (PREDICTIONS, "metrics.json", "environment.json")
    files = (
        path
        for kind in kinds
        for depth in ("*", "*/*", "*/*/*")
        for path in folder.glob(f"{depth}/{kind}")
    )
    parts = (path.parent.relative_to(folder).parts for path in files)
    names = sorted(
        {"/".join(part[: 2 if "=" in "".join(part[1:2]) else 1]) for part in parts}
    )  # else part[1] is a row
    pairs = {
        name: [pair.partition("=") for pair in name.partition("/")[2].split(",") if pair]
        for name in names
    }
    return {
        name: {
            "combination": {key: yaml.safe_load(value) for key, _, value in pairs[name]},
            "parameters": {},
            "outputs": None,
        }
        for name in names
    }


def _result(path: Path, name: str, piece: Mapping[str, Any]) -> Result:
    mark, metrics, left_out = path / "done.json", path / "metrics.json", path / NOT_RUN
    done = (mark.is_file() or piece["outputs"] is None) and not left_out.is_file()
    marked = json.loads(mark.read_text(encoding="utf-8")) if mark.is_file() else {}
    executed = path / "params.yaml"  # the plan may have changed since
    if marked and executed.is_file():
        piece = {**piece, "parameters": yaml.safe_load(executed.read_text(encoding="utf-8"))}
    return Result(
        **piece,
        name=name,
        path=path,
        done=done,
        metrics=json.loads(metrics.read_text(encoding="utf-8"))
        if done and metrics.is_file()
        else {},
        seconds=marked.get("seconds"),
        finished=marked.get("finished"),
        not_run=json.loads(left_out.read_text(encoding="utf-8"))["why"]
        if left_out.is_file()
        else None,
    )


def trained(run: str, steps: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """What `comparison.compare` takes: a dict for each piece of work that makes predictions, those
    that are missing included (predictions None): step, seed, n_labels (None: all), protocol (None:
    not said), predictions, voting (whether it makes a table of vote fractions), votes (that table),
    history, seconds, costs (those in metrics.json, see `costs.of`), not_run (why it was left out,
    or None).

    A step that is repeated over more than seeds and labels counts as a method for each of its
    settings: `frozen zoom=0.1`; so does each row of a step that makes several: `frozen dnn`,
    `frozen dnn zoom=0.1`. The seconds of a row are those in its own metrics.json, if there: the
    notebook took its time for all of them. Where a fraction of the labels was asked for, n_labels
    is how many that were (`n_train` in metrics.json; the fewest over the seeds)."""
    found, counted = [], dict[tuple[str, Any], int]()
    for whole, row in [(each, row) for each in read(run, steps) for row in each.rows]:
        result = whole.row(row) if row else whole
        known = result.parameters | result.combination
        labels = ("seed", "n_labels", FRACTION)
        variant = [
            f"{key}={value}" for key, value in result.combination.items() if key not in labels
        ]
        method = " ".join([result.step, *([row] if row else []), *variant])
        fraction = result.combination.get(FRACTION, known.get("galaxies", {}).get("label_fraction"))
        if fraction is not None and "n_train" in result.metrics:
            n_train = result.metrics["n_train"]
            counted[method, fraction] = min(n_train, counted.get((method, fraction), n_train))
        found.append(
            {
                "step": method,
                "seed": known.get("seed"),
                "n_labels": known.get("n_labels"),
                "fraction": fraction,
                "protocol": result.metrics.get("protocol"),
                "predictions": result.predictions,
                "voting": (result.path / VOTES).is_file()
                if result.outputs is None
                else VOTES in result.outputs,
                "votes": result.votes,
                "history": result.history,
                "seconds": result.seconds,
                "costs": result.metrics.get("costs", {}),
                "not_run": result.not_run,
            }
        )
    for piece in found:
        fraction = piece.pop("fraction")
        if fraction is not None:
            piece["n_labels"] = counted.get((piece["step"], fraction))
            if (
                piece["n_labels"] is None
            ):  # none of this fraction is done yet: it cannot pass for all labels
                piece["step"] += f" {FRACTION}={fraction}"
    return found
