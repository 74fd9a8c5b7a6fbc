"""Hyper-parameter search: `galaxymorph tune STEP --trials N`, on validation galaxies alone.

What may be tried stands in the step's block of the params file (`search`, see `params`). A trial
executes the step's own notebook with other values, for one seed, up to the end of its first
training: `runs.Step.record` hands each epoch's row to the search, closes the generator of epochs
when a trial is pruned, and ends the notebook before it predicts anything. Of a notebook that trains
more than once, as `05_frozen` does, the first training is what is tuned. Everything that a trial
writes is in a folder of its own; its weights are not kept.

    results/<run>/tune/<step>/
        study.db                  every trial, of optuna; the same command goes on with it
        trials.csv  history.png  importance.png best.yaml                 the params file with the
        best trial's values, for `galaxymorph run --params` trial-0001/  ...          params.yaml,
        history.csv; notebook.ipynb where it has failed

The first trial has the step's own values, so that the best is never worse than they are; the others
are suggested by a tree-structured Parzen estimator (Bergstra et al. 2011, NeurIPS 24, 2546). A
trial's value is the validation measure of the weights that it would keep, those of its best epoch.
It is pruned where that is worse than the median of the finished trials at the same share of their
training (Golovin et al. 2017, KDD, section 3.2.2)."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import TextIOBase
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import optuna
import pandas as pd
import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial, TrialState
from sqlalchemy.engine import URL

from galaxymorph import project
from galaxymorph.learning import train
from galaxymorph.plots import search as search_plots
from galaxymorph.run import done, executors
from galaxymorph.run.folder import TRIAL
from galaxymorph.run.folder import progress as folder_progress
from galaxymorph.run.locks import deaf, locked
from galaxymorph.run.plan import Piece, Plan, Range, changed, make_trial
from galaxymorph.run.problems import ParamsError
from galaxymorph.run.screen import Screen
from galaxymorph.text import duration, leaves, nearest

SPENT = (
    TrialState.COMPLETE,
    TrialState.PRUNED,
)  # trials that count; FAIL: interrupted, to be tried again
KEPT = ("history.csv", "params.yaml")  # of a trial's files
MANY = 3  # failed trials one after the other: more would not do any better
ENOUGH = 5  # trials that came to their end, to say which parameters matter


class SearchError(RuntimeError):
    """A search that cannot go on."""


def tune(
    plan: Plan,
    steps: Sequence[str],
    *,
    n_trials: int = 20,
    metric: str = "val_accuracy",
    seed: int | None = None,
    restart: bool = False,
    out: TextIO | TextIOBase,
    every: float = 30.0,
) -> list[str]:
    """Searches for each step, `n_trials` in all with those of earlier calls; returns the steps
    whose search has failed.

    Raises `problems.ParamsError` for what cannot be searched, before anything runs, and
    `KeyboardInterrupt` after the trial that runs has been stopped: it is tried again by the next
    call."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    searches = [
        _search(plan, step, metric, seed) for step in _checked(plan, steps, n_trials, metric)
    ]
    screen = Screen(out, every=every)
    failed, document, accounts = [], plan.document, []
    for search in searches:
        with locked(search.folder):
            try:
                winner, account = _run(search, n_trials, restart=restart, screen=screen)
            except SearchError as error:
                failed.append(search.step)
                screen.say(f"✗ tune {search.step}: {error}\n")
                continue
        document = changed(document, search.step, winner)
        accounts.append(account)
        screen.say(f"{account}\n  galaxymorph run --params {search.folder / 'best.yaml'}")
    if len(accounts) > 1:
        path = project.root() / "results" / plan.run / "tune" / "best.yaml"
        remarks = [
            f"Best values of {len(accounts)} searches of {_trials(n_trials)} each, by `galaxymorph tune`.",
            *accounts,
        ]
        _write_params(path, document, "\n".join(remarks))
        screen.say(f"all of them, {_trials(n_trials)} each:\n  galaxymorph run --params {path}")
    return failed


# ---- what is searched


@dataclass
class Search:
    """The search of one step. `piece` is what its trials change: the step with its own values, for
    one seed."""

    plan: Plan
    step: str
    piece: Piece
    metric: str
    seed: int | None  # None: the first of the step's
    own: dict[str, Any] = field(init=False)  # the step's own value of everything that is searched

    def __post_init__(self) -> None:
        self.folder = project.root() / "results" / self.plan.run / "tune" / self.step
        self.own = {key: self.piece.value(key) for key in self.piece.search}
        self.least = self.metric.removeprefix("val_") in train.ERRORS
        self.drawn = self.piece.parameters.get("seed")  # the seed of all trials
        inputs = done.fingerprints(self.plan, self.piece)
        space = {
            key: vars(each) if isinstance(each, Range) else each
            for key, each in self.piece.search.items()
        }
        same = {"search": space, "metric": self.metric, "parameters": self.piece.parameters}
        same |= {kind: inputs[kind] for kind in ("files", "upstream")}
        self.setup = json.loads(
            json.dumps(same, default=str)
        )  # without which trials cannot be compared
        self.code = inputs["code"]

    def shown(self, value: float) -> str:
        return f"{self.metric.replace('_', ' ')} {value:.4f}"


def _checked(plan: Plan, steps: Sequence[str], n_trials: int, metric: str) -> list[str]:
    """The steps, each once. Raises `ParamsError` where one cannot be searched, or an option makes
    no sense."""
    problems = [f"--trials {n_trials}: at least 1"] if n_trials < 1 else []
    if not metric.startswith("val_"):
        problems.append(
            f"--metric {metric}: expected a measure of validation galaxies, such as val_accuracy or val_loss"
        )
    by_step = {piece.step: piece.notebook for piece in plan.pieces}
    for step in steps:
        if step not in by_step:
            problems.append(f"tune {step}: there is no such step{nearest(step, by_step)}")
        elif not by_step[step].trains:
            name = by_step[step].path.name
            problems.append(
                f"tune {step}: {name} does not train by epochs (`Step.record`), and these are what is watched"
            )
        elif not plan.document[step].get("search"):
            example = "search: {training.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}}"
            problems.append(f"{step}.search: missing; it says what may be tried, such as {example}")
    if problems:
        raise ParamsError(problems)
    return list(dict.fromkeys(steps))


def _search(plan: Plan, step: str, metric: str, seed: int | None) -> Search:
    """Raises `ParamsError` where the step's own values are outside what is searched, or models that
    it needs are missing."""
    piece = make_trial(plan, step, {}, seed=seed)
    problems = []
    for key, space in piece.search.items():
        try:
            value = piece.value(key)
        except KeyError:
            problems.append(
                f"{step}.search.{key}: begins with the step's own value, and there is none; give {step}.{key}"
            )
            continue
        if not _inside(value, space):
            problems.append(
                f"{step}.search.{key}: begins with the step's own value, {value!r}, which is outside; widen it"
            )
    for name in piece.needs:
        if not (done.folder(plan, name) / "done.json").is_file():
            problems.append(f"tune {step}: needs {name}; galaxymorph run --only {name} makes it")
    if problems:
        raise ParamsError(problems)
    return Search(plan, step, piece, metric, seed)


def _inside(value: Any, space: Range | list[Any]) -> bool:
    if isinstance(space, list):
        return value in space
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and space.low <= value <= space.high
    )


# ---- the study


def _run(
    search: Search, n_trials: int, *, restart: bool, screen: Screen
) -> tuple[dict[str, Any], str]:
    """Executes the trials that are left; returns what the best one has changed, and how it was
    found."""
    with _study(search, restart=restart) as study:
        spent = len(study.get_trials(deepcopy=False, states=SPENT))
        left = f", {spent} of them done" if spent else ""
        screen.say(
            f"tune {search.step}: {_trials(n_trials)}{left}, {search.metric}, seed {search.drawn}, in {search.folder}"
        )
        if study.user_attrs.get("code", search.code) != search.code:
            screen.say(
                "  the code has changed since the first trial; --restart begins again where that makes a difference"
            )
        else:
            study.set_user_attr("code", search.code)
        _enqueue(study, search)
        failures = 0
        while spent < n_trials:
            spent += 1
            failures = failures + 1 if _trial(study, search, spent, n_trials, screen) else 0
            _write(study, search)
            if failures == MANY:
                raise SearchError(f"{MANY} trials have failed one after the other")
        trials = _write(study, search)
        _draw(study, search, trials)
        return _winner(study, search), _account(study, search, trials)


@contextmanager
def _study(search: Search, *, restart: bool) -> Iterator[optuna.Study]:
    """The study in the step's folder, or a new one. Raises `SearchError` where its trials cannot be
    compared with new ones."""
    path = search.folder / "study.db"
    while True:
        if restart:
            for old in [each for each in search.folder.iterdir() if each.name != ".lock"]:
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        storage = optuna.storages.RDBStorage(
            URL.create("sqlite", database=str(path)).render_as_string()
        )
        try:
            study = optuna.create_study(
                storage=storage,
                study_name=search.step,
                direction="minimize" if search.least else "maximize",
                pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3),
                load_if_exists=True,
            )
            before = study.user_attrs.get("setup", search.setup)
            if before == search.setup:
                study.set_user_attr("setup", search.setup)
                yield study
                return
            spent = len(study.get_trials(deepcopy=False, states=SPENT))
            if spent:
                raise SearchError(
                    f"{search.folder} has {_trials(spent)} of another search ({_differences(before, search.setup)}), with "
                    "which new ones cannot be compared; --restart begins again without them, --run NAME elsewhere"
                )
            restart = True  # nothing is lost
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _differences(before: Any, now: Any) -> str:
    old, new = dict(leaves(before)), dict(leaves(now))
    keys = [
        key
        for key in dict.fromkeys([*old, *new])
        if old.get(key, "nothing") != new.get(key, "nothing")
    ]
    told = [
        f"{key}: {old.get(key, 'nothing')} before, {new.get(key, 'nothing')} now"
        for key in keys[:3]
    ]
    return "; ".join([*told, *(["..."] if len(keys) > 3 else [])])


def _enqueue(study: optuna.Study, search: Search) -> None:
    """Puts the step's own values first, and after them those of trials that were interrupted."""
    for interrupted in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(interrupted.number, state=TrialState.FAIL)
    trials = study.get_trials(deepcopy=False)
    known = [
        each.system_attrs.get("fixed_params", each.params)
        for each in trials
        if each.state != TrialState.FAIL
    ]
    own = {key: _stored(each, search.piece.search[key]) for key, each in search.own.items()}
    for wanted in [own, *(each.params for each in trials if each.state == TrialState.FAIL)]:
        if (
            wanted.keys() == own.keys() and wanted not in known
        ):  # one killed while it was drawn has not all of them
            study.enqueue_trial(wanted)
            known.append(wanted)


def _stored(value: Any, space: Range | list[Any]) -> Any:
    """A value as optuna stores it: lists and dicts as text."""
    if isinstance(space, Range):
        return int(value) if space.whole else float(value)
    return json.dumps(value) if isinstance(value, list | dict) else value


def _distribution(space: Range | list[Any]) -> BaseDistribution:
    if isinstance(space, list):
        return CategoricalDistribution([_stored(value, space) for value in space])
    if space.whole:
        return IntDistribution(int(space.low), int(space.high), log=space.log)
    return FloatDistribution(space.low, space.high, log=space.log)


def _values(search: Search, drawn: Mapping[str, Any]) -> dict[str, Any]:
    """What was drawn, as parameters: choices as they were given, numbers with four digits, which
    can be read."""
    values = {}
    for key, space in search.piece.search.items():
        if isinstance(space, list):
            values[key] = next(value for value in space if _stored(value, space) == drawn[key])
        elif space.whole or drawn[key] == search.own[key]:
            values[key] = drawn[key]
        else:
            values[key] = min(max(float(f"{drawn[key]:.4g}"), float(space.low)), float(space.high))
    return values


# ---- one trial


def _trial(study: optuna.Study, search: Search, number: int, n_trials: int, screen: Screen) -> str:
    """Executes one trial and tells the study; returns what went wrong, nothing where it has come to
    its end or was pruned."""
    # What is drawn follows from the seed and the trials so far: a search that was interrupted goes
    # on as if it never was.
    entropy = np.random.SeedSequence([abs(search.drawn or 0), number]).generate_state(1)[0]
    study.sampler = optuna.samplers.TPESampler(seed=int(entropy))
    trial = study.ask({key: _distribution(space) for key, space in search.piece.search.items()})
    values = _values(search, trial.params)
    piece = make_trial(search.plan, search.step, values, seed=search.seed)
    name = f"{search.step} trial {number}/{n_trials}"
    watched = _execute(trial, search, piece, search.folder / f"trial-{number:04d}", name, screen)
    error, took = watched.error, duration(watched.seconds)
    if error and number == 1:
        study.tell(trial, state=TrialState.FAIL)
        raise SearchError(f"the first trial, with the step's own values, has failed {error}")
    attributes = {"values": values, "epoch": watched.epoch, "seconds": round(watched.seconds, 1)}
    if error:
        attributes["error"] = error.strip().splitlines()[-1]
    for key, value in attributes.items():
        trial.set_user_attr(key, value)
    if error or watched.pruned:
        study.tell(trial, state=TrialState.PRUNED)  # so that the sampler keeps away from there
    else:
        study.tell(trial, watched.value)
    if error:
        screen.say(f"✗ {name}: failed after {took} {error}\n")
    else:
        sign, how = ("-", f"pruned at epoch {watched.epoch}, ") if watched.pruned else ("✓", "")
        screen.say(
            f"{sign} {name}: {how}{search.shown(watched.value)}, best {study.best_value:.4f} ({took})"
        )
    return error


@dataclass
class _Watched:
    """What has become of a trial."""

    value: float = math.nan  # of the weights that would be kept
    epoch: int = 0
    tenths: int = 0  # of the training, reported to the study
    pruned: bool = False
    error: str = ""
    seconds: float = 0.0


def _execute(
    trial: Trial, search: Search, piece: Piece, folder: Path, name: str, screen: Screen
) -> _Watched:
    """Executes the notebook until its training is over, is pruned, or has failed; no process and no
    weights are left."""
    shutil.rmtree(folder, ignore_errors=True)  # of a trial that was interrupted
    folder.mkdir(parents=True)
    partial, row, over = (folder / file for file in ("notebook.partial.ipynb", "row.json", "over"))
    execution = executors.Execution(
        piece, partial, os.environ | {"PYTHONUNBUFFERED": "1", TRIAL: str(folder)}
    )
    watched, progress = _Watched(), "starting"
    try:
        while not over.is_file():
            ended = (
                execution.process.poll() is not None
            )  # asked first: all that it has left is then there
            if row.is_file():
                epoch = json.loads(row.read_text(encoding="utf-8"))
                row.unlink()
                _report(trial, search, epoch, watched)
                project.write(folder / "answer", "stop" if watched.pruned else "go on")
                progress = folder_progress(
                    epoch, seconds=float(epoch.get("seconds", 0.0)) * watched.epoch
                )
            elif ended and not over.is_file():
                broken = execution.process.returncode
                watched.error = (
                    execution.failure()
                    if broken
                    else "as the notebook has ended without a training"
                )
                break
            screen.live({name: (progress, execution.seconds)})
            time.sleep(0.02)
        if not watched.error and not math.isfinite(watched.value):
            watched.error = f"as {search.metric} is {watched.value} after {watched.epoch} epochs"
    finally:
        with deaf():  # a second Ctrl-C or SIGTERM would leave something behind
            watched.seconds = execution.seconds
            execution.stop()
            if watched.error and partial.is_file():
                partial.replace(folder / "notebook.ipynb")
            for path in [each for each in folder.rglob("*") if each.is_file()]:
                if path.name not in KEPT and not (watched.error and path.name == "notebook.ipynb"):
                    path.unlink()
    return watched


def _report(trial: Trial, search: Search, row: Mapping[str, Any], watched: _Watched) -> None:
    """Takes an epoch's row, and decides whether the trial is pruned.

    Trials may differ in how many epochs they last, so they are compared at the same tenth of their
    training. The first epoch and the first two tenths decide nothing, nor does the last epoch,
    whose work is done."""
    if search.metric not in row:
        there = ", ".join(name for name in row if name.startswith("val_"))
        raise SearchError(
            f"its epochs have no {search.metric}, but {there}; --metric NAME takes another"
        )
    if row.get("best", True):
        watched.value = float(row[search.metric])
    watched.epoch = int(row["epoch"])
    epochs = int(row.get("epochs", 0))
    tenths = 10 * watched.epoch // epochs if epochs else watched.epoch
    for tenth in range(watched.tenths + 1, tenths + 1):
        trial.report(watched.value, tenth)
    more, watched.tenths = tenths > watched.tenths, tenths
    watched.pruned = more and 1 < watched.epoch != epochs and trial.should_prune()


# ---- what comes out


def _write(study: optuna.Study, search: Search) -> pd.DataFrame:
    """Writes `trials.csv` and `best.yaml`; returns the table: trial, state (complete, pruned,
    failed), value, best (so far), epoch, seconds, a column for each parameter, error."""
    rows, best = [], math.inf if search.least else -math.inf
    for number, each in enumerate(study.get_trials(deepcopy=False, states=SPENT), start=1):
        error = each.user_attrs.get("error", "")
        if each.state == TrialState.COMPLETE and each.value is not None:
            best = (min if search.least else max)(best, each.value)
        row = {"trial": number, "state": "failed" if error else each.state.name.lower()}
        row |= {"value": None if error else each.value, "best": best}
        row |= {name: each.user_attrs[name] for name in ("epoch", "seconds")}
        row |= {
            key: _stored(value, search.piece.search[key])
            for key, value in each.user_attrs["values"].items()
        }
        rows.append(row | {"error": error})
    trials = pd.DataFrame(rows)
    project.write(search.folder / "trials.csv", trials.to_csv(index=False, lineterminator="\n"))
    document = changed(search.plan.document, search.step, _winner(study, search))
    remarks = f"Best values of a search, by `galaxymorph tune`.\n{_account(study, search, trials)}"
    _write_params(search.folder / "best.yaml", document, remarks)
    return trials


def _trials(n: int) -> str:
    return f"{n} trial{'s' * (n != 1)}"


def _write_params(path: Path, document: dict[str, Any], remarks: str) -> None:
    text = yaml.safe_dump(
        document, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120
    )
    project.write(path, "".join(f"# {line}\n" for line in remarks.splitlines()) + text)


def _winner(study: optuna.Study, search: Search) -> dict[str, Any]:
    """What is other in the best trial than in the step itself. Of equal trials the first counts."""
    return {
        key: value
        for key, value in study.best_trial.user_attrs["values"].items()
        if value != search.own[key]
    }


def _account(study: optuna.Study, search: Search, trials: pd.DataFrame) -> str:
    """How the best trial was found, in a few lines."""
    finished = trials[trials.state == "complete"]
    number = int(finished.trial[finished.value == study.best_value].iloc[0])
    parts = [
        f"{n} {state}"
        for state in ("pruned", "failed")
        if (n := int((trials.state == state).sum()))
    ]
    of = f" ({', '.join(parts)})" if parts else ""
    why = (
        "the best of that many measured values, so it flatters"
        if number > 1
        else "as no trial was better"
    )
    lines = [
        f"{search.step}: {_trials(len(trials))}{of} on validation galaxies, seed {search.drawn}.",
        f"Own values (trial 1): {search.shown(trials.value[0])}.",
        f"Best (trial {number}): {search.shown(study.best_value)}, {why}.",
    ]
    changes = [
        f"  {key}: {value} (before: {search.own[key]})"
        for key, value in _winner(study, search).items()
    ]
    return "\n".join([*lines, *changes])


def _draw(study: optuna.Study, search: Search, trials: pd.DataFrame) -> None:
    """Writes `history.png` and `importance.png`."""
    shares: dict[str, float] = {}
    finished = int((trials.state == "complete").sum())
    if finished >= ENOUGH:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        with suppress(ValueError, RuntimeError):  # all values are the same
            shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    name = search.metric.replace("_", " ").replace("val ", "validation ")
    history, importance = (
        search_plots.history(trials, measure=name),
        search_plots.importance(shares, n=finished),
    )
    for file, figure in (("history.png", history), ("importance.png", importance)):
        figure.savefig(search.folder / file, dpi=150, bbox_inches="tight")
