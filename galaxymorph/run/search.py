"""Hyper-parameter search: `galaxymorph tune STEP --trials N`, on validation galaxies only.

The step's block of the params file defines the search space (`search`, see `params`). A trial
executes the step's own notebook with other values, for one seed, until the end of its first
training: `trial` reports each epoch to the study, and stops the notebook before it predicts. A
trial writes only to its own folder; its weights are not kept.

    results/<run>/tune/<step>/
        study.db                              optuna's storage, from which the same command resumes
        trials.csv  history.png  importance.png
        best.yaml                             the params file with the best trial's values, for
                                              `galaxymorph run --params`
        trial-0001/  ...                      params.yaml, history.csv; notebook.ipynb if it failed

The first trial has the step's own values, so the best is never worse than these; the others are
suggested by a tree-structured Parzen estimator (Bergstra et al. 2011, NeurIPS 24, 2546). A trial's
value is the validation measure of the weights that it would keep, those of its best epoch. It is
pruned if its value is worse than the median of the finished trials at the same fraction of their
training (Golovin et al. 2017, KDD, section 3.2.2)."""

import json
import math
import shutil
import textwrap
import time
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOBase
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import optuna
import pandas as pd
import yaml
from optuna import distributions
from optuna.trial import FrozenTrial, TrialState

from galaxymorph import project
from galaxymorph.escape import csv_text
from galaxymorph.plots import search as plots
from galaxymorph.run import done
from galaxymorph.run.executors import Executor, Handle, Local
from galaxymorph.run.folder import TRIAL, Step
from galaxymorph.run.locks import ignoring_signals
from galaxymorph.run.params import ParamsError, Range, Tried
from galaxymorph.run.plan import Plan, changed, make_trial
from galaxymorph.run.screen import Screen
from galaxymorph.run.trial import DAMAGED, PRUNER, storage
from galaxymorph.text import duration, leaves, unknown

SPENT = (TrialState.COMPLETE, TrialState.PRUNED)  # trials that count; FAIL: to be repeated
KEPT = ("history.csv", "params.yaml")  # files of a trial
ERRORS = ("loss", "error", "mse", "mae")  # endings of measures that are minimised
MANY = 3  # consecutive failures that end a search
ENOUGH = 5  # complete trials, to estimate the importance of parameters


class SearchError(RuntimeError):
    """A search that cannot continue."""


def tune(
    plan: Plan,
    steps: Sequence[str],
    *,
    n_trials: int = 20,
    metric: str = "val_accuracy",
    seed: int | None = None,
    restart: bool = False,
    out: TextIO | TextIOBase,
) -> list[str]:
    """Search for each step; return the steps whose search failed.

    Args:
        plan: the run that contains the steps.
        n_trials: per step, including those of earlier calls.
        metric: column of `history.csv`, to be maximised, or minimised if it is an error (`ERRORS`).
        seed: of all trials; by default the first that the step is repeated over.
        restart: discard the trials of earlier calls.
        out: where progress is written.

    Raises:
        params.ParamsError: the search is invalid; before anything runs.
        project.Locked: another process is executing the same search.
        KeyboardInterrupt: after the running trial was stopped; the next call repeats it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _check(plan, steps, n_trials, metric)
    searches = [Search(plan, step, metric, seed) for step in dict.fromkeys(steps)]
    screen, executor = Screen(out), Local()
    failed, document, accounts = [], plan.document, []
    for search in searches:
        try:
            with project.locked(search.folder):
                search.study = _study(search, restart=restart)
                accounts.append(_run(search, n_trials, screen, executor))
                document = changed(document, search.step, search.winner())
        except (SearchError, *DAMAGED) as error:
            failed.append(search.step)
            todo = f"{search.folder / 'study.db'} cannot be used; --restart discards it: "
            screen.say(f"✗ tune {search.step}: {todo * isinstance(error, DAMAGED)}{error}\n")
        else:
            screen.say(f"{accounts[-1]}\n  galaxymorph run --params {search.folder / 'best.yaml'}")
    if len(accounts) > 1:
        path, each = searches[0].folder.with_name("best.yaml"), f"{_trials(n_trials)} each"
        head = f"Best values of {len(accounts)} searches of {each}, by `galaxymorph tune`."
        _write_params(path, document, "\n".join([head, *accounts]))
        screen.say(f"all steps, {each}:\n  galaxymorph run --params {path}")
    return failed


def _check(plan: Plan, steps: Sequence[str], n_trials: int, metric: str) -> None:
    """Raise `ParamsError` if a step cannot be searched or an option is invalid."""
    problems = [f"--trials {n_trials}: expected at least 1"] if n_trials < 1 else []
    if not metric.startswith("val_"):
        wanted = "a measure of validation galaxies, such as val_accuracy or val_loss"
        problems.append(f"--metric {metric}: expected {wanted}")
    notebooks = {job.step: job.notebook for job in plan.jobs}
    for step in steps:
        if step not in notebooks:
            problems.append(f"tune: {unknown('step', step, notebooks)}")
        elif not notebooks[step].trains:
            why = "does not record epochs (`Step.record`), which a search needs"
            problems.append(f"tune {step}: {notebooks[step].path.name} {why}")
        elif not plan.document[step].get("search"):
            example = "search: {training.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}}"
            problems.append(f"{step}.search: missing; it defines what to try, such as {example}")
    if problems:
        raise ParamsError(problems)


class Search:
    """The search of one step.

    Trials modify `job`, the step with its own values, for one seed; `own` are its values of the
    searched parameters. Raises `ParamsError` if these are outside the search space, or the job
    needs results that do not exist."""

    study: optuna.Study  # while it is open

    def __init__(self, plan: Plan, step: str, metric: str, seed: int | None):
        self.plan, self.step, self.metric, self.seed = plan, step, metric, seed
        self.folder = project.run_folder(plan.run) / "tune" / step
        self.least = metric.endswith(ERRORS)
        self.job = job = make_trial(plan, step, {}, seed=seed)
        self.space = job.search
        self.drawn = job.parameters.get("seed")  # the seed of all trials
        self.own: dict[str, Any] = {}
        problems = [
            f"tune {step}: needs {name}; make it by galaxymorph run --only {name}"
            for name in job.needs
            if not Step(plan.run, name).mark.is_file()
        ]
        for key, space in self.space.items():
            first = f"{step}.search.{key}: the first trial needs the step's own value"
            try:
                self.own[key] = value = job.value(key)
            except KeyError:
                problems.append(f"{first}, which is missing; set {step}.{key}")
            else:
                if value not in space:
                    problems.append(f"{first}, {value!r}, which is outside the range; widen it")
        if problems:
            raise ParamsError(problems)
        inputs = done.fingerprints(plan, job)
        self.code = inputs["code"]
        ranges = {key: vars(each) for key, each in self.space.items() if isinstance(each, Range)}
        same = {"search": self.space | ranges, "metric": metric, "parameters": job.parameters}
        same |= {kind: inputs[kind] for kind in ("files", "upstream")}
        self.setup = json.loads(json.dumps(same, default=str))  # equal for comparable trials

    def shown(self, value: float) -> str:
        return f"{self.metric.replace('_', ' ')} {value:.4f}"

    def spent(self) -> list[FrozenTrial]:
        """Return the trials that count, in order."""
        return self.study.get_trials(deepcopy=False, states=SPENT)

    def winner(self) -> dict[str, Any]:
        """Return the values in which the best trial (the first of equals) differs from the step."""
        values = self.study.best_trial.user_attrs["values"]
        return {key: value for key, value in values.items() if value != self.own[key]}


# ---- the study


def _study(search: Search, *, restart: bool) -> optuna.Study:
    """Open the study, with interrupted trials queued again; without counted trials, restart it.

    Raises `SearchError` if its trials cannot be compared with new ones."""
    if restart:
        for old in [each for each in search.folder.iterdir() if each.name != ".lock"]:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    study = optuna.create_study(
        storage=storage(search.folder),
        study_name=search.step,
        direction="minimize" if search.least else "maximize",
        pruner=PRUNER,
        load_if_exists=True,
    )
    own = {key: _stored(search.own[key], space) for key, space in search.space.items()}
    spent = len(study.get_trials(deepcopy=False, states=SPENT))
    if not spent and (search.folder / "trials.csv").is_file():
        why = "study.db has no trials, but trials.csv lists some; --restart starts over"
        raise SearchError(f"{search.folder}: {why}")
    if "setup" not in study.user_attrs:  # a new one
        study.set_user_attr("setup", search.setup)
        study.set_user_attr("code", search.code)
        study.enqueue_trial(own)
        return study
    if not spent:  # nothing is lost
        return _study(search, restart=True)
    old, new = dict(leaves(study.user_attrs["setup"])), dict(leaves(search.setup))
    pairs = {key: (old.get(key, "nothing"), new.get(key, "nothing")) for key in old | new}
    different = [f"{key}: {a} before, {b} now" for key, (a, b) in pairs.items() if a != b]
    if different:
        more = ["..."] if len(different) > 3 else []
        raise SearchError(
            f"{search.folder} has {_trials(spent)} of a different search "
            f"({'; '.join(different[:3] + more)}), not comparable with new ones; "
            "--restart discards them, --run NAME searches elsewhere"
        )
    for interrupted in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(interrupted.number, state=TrialState.FAIL)
        wanted = interrupted.system_attrs.get("fixed_params", interrupted.params)
        if wanted.keys() == own.keys():  # a trial killed while drawing has fewer
            study.enqueue_trial(wanted)
    return study


def _run(search: Search, n_trials: int, screen: Screen, executor: Executor) -> str:
    """Execute the remaining trials of an open study; return how the best one was found."""
    spent = len(search.spent())
    before = f", {spent} of them done" if spent else ""
    how = f"{search.metric}, seed {search.drawn}, in {search.folder}"
    screen.say(f"tune {search.step}: {_trials(n_trials)}{before}, {how}")
    if search.study.user_attrs["code"] != search.code:
        screen.say("  the code has changed since the first trial; --restart starts over")
    failed: list[bool] = []
    for number in range(spent + 1, n_trials + 1):
        failed.append(bool(_trial(search, number, n_trials, screen, executor)))
        _write(search)
        if sum(failed[-MANY:]) == MANY:
            raise SearchError(f"{MANY} consecutive trials failed")
    trials = _write(search)
    _draw(search, trials)
    return _account(search, trials)


# ---- one trial


def _stored(value: Any, space: Tried) -> Any:
    """Convert a value to what optuna stores: lists and dicts become text."""
    if isinstance(space, Range):
        return int(value) if space.whole else float(value)
    return json.dumps(value) if isinstance(value, list | dict) else value


def _parameter(drawn: Any, space: Tried, *, own: Any) -> Any:
    """Convert a drawn value: choices as given, other numbers than the own with four digits."""
    if isinstance(space, list):
        return next(each for each in space if _stored(each, space) == drawn)
    if space.whole or drawn == own:
        return drawn
    return min(max(float(f"{drawn:.4g}"), float(space.low)), float(space.high))


def _distribution(space: Tried) -> distributions.BaseDistribution:
    """Convert a search space to optuna's distribution."""
    if isinstance(space, list):
        return distributions.CategoricalDistribution([_stored(value, space) for value in space])
    if space.whole:
        return distributions.IntDistribution(int(space.low), int(space.high), log=space.log)
    return distributions.FloatDistribution(space.low, space.high, log=space.log)


def _trial(search: Search, number: int, n_trials: int, screen: Screen, executor: Executor) -> str:
    """Execute one trial and report it to the study; return what went wrong, if anything."""
    # Draws depend on the seed and the trials so far: an interrupted search resumes as if it had
    # never stopped.
    entropy = np.random.SeedSequence([abs(search.drawn or 0), number]).generate_state(1)[0]
    study, space, own = search.study, search.space, search.own
    study.sampler = optuna.samplers.TPESampler(seed=int(entropy))
    asked = study.ask({key: _distribution(each) for key, each in space.items()})
    values = {key: _parameter(asked.params[key], space[key], own=own[key]) for key in space}
    asked.set_user_attr("values", values)
    job = make_trial(search.plan, search.step, values, seed=search.seed)
    name, folder = f"{search.step} trial {number}/{n_trials}", search.folder / f"trial-{number:04d}"
    shutil.rmtree(folder, ignore_errors=True)  # left by an interrupted trial
    handle, error = executor.submit(job, folder, {TRIAL: str(folder)}), ""
    try:
        while handle.poll() is None:
            screen.live({name: (handle.progress(), handle.seconds)})
            time.sleep(0.1)
        seconds, reported = handle.seconds, study.get_trials(deepcopy=False)[asked.number]
        found = {"epoch": 0, "value": math.nan, "over": ""} | reported.user_attrs
        value, epoch, pruned = found["value"], found["epoch"], found["over"] == "pruned"
        if not found["over"]:
            ended = "because the notebook ended without training"
            error = handle.failure() if handle.poll() else ended
        elif not math.isfinite(value):
            error = f"because {search.metric} is {value} after {epoch} epochs"
    finally:
        with ignoring_signals():
            handle.stop()
            _tidy(handle, failed=bool(error))
    if error and number == 1:
        raise SearchError(f"the first trial, with the step's own values, failed {error}")
    asked.set_user_attr("seconds", round(seconds, 1))
    if error:
        asked.set_user_attr("error", error.strip().splitlines()[-1])
        screen.say(f"✗ {name}: failed after {duration(seconds)} {error}\n")
    if error or pruned:  # also if failed, so that the sampler avoids the region
        study.tell(asked, state=TrialState.PRUNED)
    else:
        study.tell(asked, value)
    if not error:
        how = f"- {name}: pruned at epoch {epoch}," if pruned else f"✓ {name}:"
        best = f"best {study.best_value:.4f} ({duration(seconds)})"
        screen.say(f"{how} {search.shown(value)}, {best}")
    return error


def _tidy(handle: Handle, *, failed: bool) -> None:
    """Remove the files of a trial except `KEPT` and, if it failed, its notebook."""
    kept: set[str] = set(KEPT)
    if failed and handle.partial.is_file():
        kept.add(handle.partial.replace(handle.folder / "notebook.ipynb").name)
    for path in [each for each in handle.folder.rglob("*") if each.is_file()]:
        if path.name not in kept:
            path.unlink()


# ---- results


def _write(search: Search) -> pd.DataFrame:
    """Write `trials.csv` and `best.yaml`; return the table of trials.

    Columns: trial, state (complete, pruned, failed), value, best (so far), epoch, seconds, one per
    parameter, error."""
    rows = []
    for number, spent in enumerate(search.spent(), start=1):
        found = {"epoch": 0, "error": ""} | spent.user_attrs
        failed = bool(found["error"])
        row = {"trial": number, "state": "failed" if failed else spent.state.name.lower()}
        row |= {"value": None if failed else spent.value, "best": None}
        row |= {"epoch": found["epoch"], "seconds": found["seconds"]}
        row |= {key: _stored(found["values"][key], each) for key, each in search.space.items()}
        rows.append(row | {"error": found["error"]})
    trials = pd.DataFrame(rows)
    finished = trials.value.where(trials.state == "complete").astype(float)
    trials["best"] = (finished.cummin() if search.least else finished.cummax()).ffill()
    project.write(search.folder / "trials.csv", csv_text(trials))
    document = changed(search.plan.document, search.step, search.winner())
    remarks = f"Best values of a search, by `galaxymorph tune`.\n{_account(search, trials)}"
    _write_params(search.folder / "best.yaml", document, remarks)
    return trials


def _trials(n: int) -> str:
    return f"{n} trial{'s' * (n != 1)}"


def _write_params(path: Path, document: dict[str, Any], remarks: str) -> None:
    form = {"sort_keys": False, "allow_unicode": True, "default_flow_style": None, "width": 120}
    head = textwrap.indent(remarks, "# ", lambda line: True)
    project.write(path, f"{head}\n{yaml.safe_dump(document, **form)}")


def _account(search: Search, trials: pd.DataFrame) -> str:
    """Describe how the best trial was found, in a few lines."""
    best, counts = search.study.best_value, trials.state.value_counts()
    number = int(trials.trial[(trials.state == "complete") & (trials.value == best)].iloc[0])
    parts = [f"{counts[state]} {state}" for state in ("pruned", "failed") if state in counts]
    of = f" ({', '.join(parts)})" if parts else ""
    optimistic = "selected as the best of all trials, so it is optimistic"
    why = optimistic if number > 1 else "as no trial was better"
    lines = [
        f"{search.step}: {_trials(len(trials))}{of} on validation galaxies, seed {search.drawn}.",
        f"Own values (trial 1): {search.shown(trials.value[0])}.",
        f"Best (trial {number}): {search.shown(best)}, {why}.",
    ]
    changes = search.winner().items()
    return "\n".join(lines + [f"  {k}: {v} (before: {search.own[k]})" for k, v in changes])


def _draw(search: Search, trials: pd.DataFrame) -> None:
    """Write `history.png` and `importance.png`."""
    shares: dict[str, float] = {}
    if (finished := int((trials.state == "complete").sum())) >= ENOUGH:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        with suppress(ValueError, RuntimeError):  # all values are equal
            shares = optuna.importance.get_param_importances(search.study, evaluator=evaluator)
    measure = search.metric.replace("_", " ").replace("val ", "validation ")
    how = {"dpi": 150, "bbox_inches": "tight"}
    plots.history(trials, measure=measure).savefig(search.folder / "history.png", **how)
    plots.importance(shares, n=finished).savefig(search.folder / "importance.png", **how)
