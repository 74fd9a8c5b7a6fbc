"""Hyper-parameter search: `galaxymorph tune STEP --trials N`, on validation galaxies alone.

What may be tried stands in the step's block of the params file (`search`, see `params`). A trial
executes the step's own notebook with other values, for one seed, up to the end of its first
training: `trial` reports each epoch to the study, and ends the notebook before it predicts
anything. Everything that a trial writes is in a folder of its own; its weights are not kept.

    results/<run>/tune/<step>/
        study.db                              optuna's storage: the same command goes on with it
        trials.csv  history.png  importance.png
        best.yaml                             the params file with the best trial's values, for
                                              `galaxymorph run --params`
        trial-0001/  ...                      params.yaml, history.csv; notebook.ipynb if it failed

The first trial has the step's own values, so that the best is never worse than they are; the others
are suggested by a tree-structured Parzen estimator (Bergstra et al. 2011, NeurIPS 24, 2546). A
trial's value is the validation measure of the weights that it would keep, those of its best epoch.
It is pruned where that is worse than the median of the finished trials at the same share of their
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
from galaxymorph.plots import search as plots
from galaxymorph.run import done
from galaxymorph.run.executors import Executor, Handle, Local
from galaxymorph.run.folder import TRIAL, Step
from galaxymorph.run.locks import ignoring_signals, locked
from galaxymorph.run.params import ParamsError, Range, Tried
from galaxymorph.run.plan import Plan, changed, make_trial
from galaxymorph.run.screen import Screen
from galaxymorph.run.trial import PRUNER, storage
from galaxymorph.text import duration, leaves, nearest

SPENT = (TrialState.COMPLETE, TrialState.PRUNED)  # trials that count; FAIL: to be tried again
KEPT = ("history.csv", "params.yaml")  # of a trial's files
ERRORS = ("loss", "error", "mse", "mae")  # endings of measures of which the least is the best
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
) -> list[str]:
    """Search for each step, and return the steps whose search has failed.

    Args:
        plan: of the run that has the steps.
        n_trials: for each step, with those of earlier calls.
        metric: column of `history.csv`; the largest is the best, of an error (`ERRORS`) the least.
        seed: of all trials; the first that the step is repeated over if None.
        restart: without the trials of earlier calls.
        out: takes what is said.

    Raises:
        params.ParamsError: for what cannot be searched, before anything runs.
        locks.RunError: another process is searching the same.
        KeyboardInterrupt: after the running trial was stopped, which the next call repeats."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _check(plan, steps, n_trials, metric)
    searches = [Search(plan, step, metric, seed) for step in dict.fromkeys(steps)]
    screen, executor = Screen(out), Local()
    failed, document, accounts = [], plan.document, []
    for search in searches:
        try:
            with locked(search.folder):
                search.study = _study(search, restart=restart)
                accounts.append(_run(search, n_trials, screen, executor))
                document = changed(document, search.step, search.winner())
        except SearchError as error:
            failed.append(search.step)
            screen.say(f"✗ tune {search.step}: {error}\n")
        else:
            screen.say(f"{accounts[-1]}\n  galaxymorph run --params {search.folder / 'best.yaml'}")
    if len(accounts) > 1:
        path, each = searches[0].folder.with_name("best.yaml"), f"{_trials(n_trials)} each"
        head = f"Best values of {len(accounts)} searches of {each}, by `galaxymorph tune`."
        _write_params(path, document, "\n".join([head, *accounts]))
        screen.say(f"all of them, {each}:\n  galaxymorph run --params {path}")
    return failed


def _check(plan: Plan, steps: Sequence[str], n_trials: int, metric: str) -> None:
    """Raise `ParamsError` where a step cannot be searched, or an option makes no sense."""
    problems = [f"--trials {n_trials}: at least 1"] if n_trials < 1 else []
    if not metric.startswith("val_"):
        wanted = "a measure of validation galaxies, such as val_accuracy or val_loss"
        problems.append(f"--metric {metric}: expected {wanted}")
    notebooks = {job.step: job.notebook for job in plan.jobs}
    for step in steps:
        if step not in notebooks:
            problems.append(f"tune {step}: there is no such step{nearest(step, notebooks)}")
        elif not notebooks[step].trains:
            why = "does not train by epochs (`Step.record`), and these are what is watched"
            problems.append(f"tune {step}: {notebooks[step].path.name} {why}")
        elif not plan.document[step].get("search"):
            example = "search: {training.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}}"
            problems.append(f"{step}.search: missing; it says what may be tried, such as {example}")
    if problems:
        raise ParamsError(problems)


class Search:
    """The search of one step. `job` is what its trials change: the step with its own values, for
    one seed; `own` are its values of what is searched.

    Raises `ParamsError` where these are outside what may be tried, or the job needs what has not
    been made."""

    study: optuna.Study  # while it is open

    def __init__(self, plan: Plan, step: str, metric: str, seed: int | None):
        self.plan, self.step, self.metric, self.seed = plan, step, metric, seed
        self.folder = project.root() / "results" / plan.run / "tune" / step
        self.least = metric.endswith(ERRORS)
        self.job = job = make_trial(plan, step, {}, seed=seed)
        self.space = job.search
        self.drawn = job.parameters.get("seed")  # the seed of all trials
        self.own: dict[str, Any] = {}
        problems = [
            f"tune {step}: needs {name}; galaxymorph run --only {name} makes it"
            for name in job.needs
            if not Step(plan.run, name).mark.is_file()
        ]
        for key, space in self.space.items():
            begins = f"{step}.search.{key}: begins with the step's own value"
            try:
                self.own[key] = value = job.value(key)
            except KeyError:
                problems.append(f"{begins}, which is missing; give {step}.{key}")
            else:
                if value not in space:
                    problems.append(f"{begins}, {value!r}, which is outside; widen it")
        if problems:
            raise ParamsError(problems)
        inputs = done.fingerprints(plan, job)
        self.code = inputs["code"]
        ranges = {key: vars(each) for key, each in self.space.items() if isinstance(each, Range)}
        same = {"search": self.space | ranges, "metric": metric, "parameters": job.parameters}
        same |= {kind: inputs[kind] for kind in ("files", "upstream")}
        self.setup = json.loads(json.dumps(same, default=str))  # else trials cannot be compared

    def shown(self, value: float) -> str:
        return f"{self.metric.replace('_', ' ')} {value:.4f}"

    def spent(self) -> list[FrozenTrial]:
        """Return the trials that count, in order."""
        return self.study.get_trials(deepcopy=False, states=SPENT)

    def winner(self) -> dict[str, Any]:
        """Return what differs in the best trial, the first of equals, from the step itself."""
        values = self.study.best_trial.user_attrs["values"]
        return {key: value for key, value in values.items() if value != self.own[key]}


# ---- the study


def _study(search: Search, *, restart: bool) -> optuna.Study:
    """Open the study, with trials that were interrupted to be repeated; raise `SearchError` where
    its trials cannot be compared with new ones. One without any that count begins again."""
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
    if "setup" not in study.user_attrs:  # a new one
        study.set_user_attr("setup", search.setup)
        study.set_user_attr("code", search.code)
        study.enqueue_trial(own)
        return study
    spent = len(study.get_trials(deepcopy=False, states=SPENT))
    if not spent:  # nothing is lost
        return _study(search, restart=True)
    old, new = dict(leaves(study.user_attrs["setup"])), dict(leaves(search.setup))
    pairs = {key: (old.get(key, "nothing"), new.get(key, "nothing")) for key in old | new}
    different = [f"{key}: {a} before, {b} now" for key, (a, b) in pairs.items() if a != b]
    if different:
        more = ["..."] if len(different) > 3 else []
        raise SearchError(
            f"{search.folder} has {_trials(spent)} of another search "
            f"({'; '.join(different[:3] + more)}), with which new ones cannot be compared; "
            "--restart begins again without them, --run NAME elsewhere"
        )
    for interrupted in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(interrupted.number, state=TrialState.FAIL)
        wanted = interrupted.system_attrs.get("fixed_params", interrupted.params)
        if wanted.keys() == own.keys():  # one that was killed while it was drawn has fewer
            study.enqueue_trial(wanted)
    return study


def _run(search: Search, n_trials: int, screen: Screen, executor: Executor) -> str:
    """Execute the trials that are left of an open study; return how the best one was found."""
    spent = len(search.spent())
    before = f", {spent} of them done" if spent else ""
    how = f"{search.metric}, seed {search.drawn}, in {search.folder}"
    screen.say(f"tune {search.step}: {_trials(n_trials)}{before}, {how}")
    if search.study.user_attrs["code"] != search.code:
        where = "--restart begins again where that makes a difference"
        screen.say(f"  the code has changed since the first trial; {where}")
    failed: list[bool] = []
    for number in range(spent + 1, n_trials + 1):
        failed.append(bool(_trial(search, number, n_trials, screen, executor)))
        _write(search)
        if sum(failed[-MANY:]) == MANY:
            raise SearchError(f"{MANY} trials have failed one after the other")
    trials = _write(search)
    _draw(search, trials)
    return _account(search, trials)


# ---- one trial


def _stored(value: Any, space: Tried) -> Any:
    """Return a value as optuna stores it: lists and dicts as text."""
    if isinstance(space, Range):
        return int(value) if space.whole else float(value)
    return json.dumps(value) if isinstance(value, list | dict) else value


def _parameter(drawn: Any, space: Tried, *, own: Any) -> Any:
    """Return what was drawn as a parameter: a choice as it was given, a number with four digits,
    which can be read, unless it is the step's own."""
    if isinstance(space, list):
        return next(each for each in space if _stored(each, space) == drawn)
    if space.whole or drawn == own:
        return drawn
    return min(max(float(f"{drawn:.4g}"), float(space.low)), float(space.high))


def _distribution(space: Tried) -> distributions.BaseDistribution:
    """Return what may be tried as optuna takes it."""
    if isinstance(space, list):
        return distributions.CategoricalDistribution([_stored(value, space) for value in space])
    if space.whole:
        return distributions.IntDistribution(int(space.low), int(space.high), log=space.log)
    return distributions.FloatDistribution(space.low, space.high, log=space.log)


def _trial(search: Search, number: int, n_trials: int, screen: Screen, executor: Executor) -> str:
    """Execute one trial and tell the study; return what went wrong, if anything."""
    # What is drawn follows from the seed and the trials so far: a search that was interrupted goes
    # on as if it never was.
    entropy = np.random.SeedSequence([abs(search.drawn or 0), number]).generate_state(1)[0]
    study, space, own = search.study, search.space, search.own
    study.sampler = optuna.samplers.TPESampler(seed=int(entropy))
    asked = study.ask({key: _distribution(each) for key, each in space.items()})
    values = {key: _parameter(asked.params[key], space[key], own=own[key]) for key in space}
    asked.set_user_attr("values", values)
    job = make_trial(search.plan, search.step, values, seed=search.seed)
    name, folder = f"{search.step} trial {number}/{n_trials}", search.folder / f"trial-{number:04d}"
    shutil.rmtree(folder, ignore_errors=True)  # of a trial that was interrupted
    handle, error = executor.submit(job, folder, {TRIAL: str(folder)}), ""
    try:
        while handle.poll() is None:
            screen.live({name: (handle.progress(), handle.seconds)})
            time.sleep(0.1)
        seconds, reported = handle.seconds, study.get_trials(deepcopy=False)[asked.number]
        said = {"epoch": 0, "value": math.nan, "over": ""} | reported.user_attrs
        value, epoch, pruned = said["value"], said["epoch"], said["over"] == "pruned"
        if not said["over"]:
            ended = "as the notebook has ended without a training"
            error = handle.failure() if handle.poll() else ended
        elif not math.isfinite(value):
            error = f"as {search.metric} is {value} after {epoch} epochs"
    finally:
        with ignoring_signals():
            handle.stop()
            _tidy(handle, failed=bool(error))
    if error and number == 1:
        raise SearchError(f"the first trial, with the step's own values, has failed {error}")
    asked.set_user_attr("seconds", round(seconds, 1))
    if error:
        asked.set_user_attr("error", error.strip().splitlines()[-1])
        screen.say(f"✗ {name}: failed after {duration(seconds)} {error}\n")
    if error or pruned:  # a failed one, too, so that the sampler keeps away from there
        study.tell(asked, state=TrialState.PRUNED)
    else:
        study.tell(asked, value)
    if not error:
        how = f"- {name}: pruned at epoch {epoch}," if pruned else f"✓ {name}:"
        best = f"best {study.best_value:.4f} ({duration(seconds)})"
        screen.say(f"{how} {search.shown(value)}, {best}")
    return error


def _tidy(handle: Handle, *, failed: bool) -> None:
    """Remove what a trial has left, but `KEPT` and, where it has failed, its notebook."""
    kept: set[str] = set(KEPT)
    if failed and handle.partial.is_file():
        kept.add(handle.partial.replace(handle.folder / "notebook.ipynb").name)
    for path in [each for each in handle.folder.rglob("*") if each.is_file()]:
        if path.name not in kept:
            path.unlink()


# ---- what comes out


def _write(search: Search) -> pd.DataFrame:
    """Write `trials.csv` and `best.yaml`; return the table: trial, state (complete, pruned,
    failed), value, best (so far), epoch, seconds, a column for each parameter, error."""
    rows = []
    for number, spent in enumerate(search.spent(), start=1):
        said = {"epoch": 0, "error": ""} | spent.user_attrs
        failed = bool(said["error"])
        row = {"trial": number, "state": "failed" if failed else spent.state.name.lower()}
        row |= {"value": None if failed else spent.value, "best": None}
        row |= {"epoch": said["epoch"], "seconds": said["seconds"]}
        row |= {key: _stored(said["values"][key], each) for key, each in search.space.items()}
        rows.append(row | {"error": said["error"]})
    trials = pd.DataFrame(rows)
    finished = trials.value.where(trials.state == "complete").astype(float)
    trials["best"] = (finished.cummin() if search.least else finished.cummax()).ffill()
    project.write(search.folder / "trials.csv", trials.to_csv(index=False, lineterminator="\n"))
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
    """Return how the best trial was found, in a few lines."""
    best, counts = search.study.best_value, trials.state.value_counts()
    number = int(trials.trial[(trials.state == "complete") & (trials.value == best)].iloc[0])
    parts = [f"{counts[state]} {state}" for state in ("pruned", "failed") if state in counts]
    of = f" ({', '.join(parts)})" if parts else ""
    flatters = "the best of that many measured values, so it flatters"
    why = flatters if number > 1 else "as no trial was better"
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
    finished = int((trials.state == "complete").sum())
    if finished >= ENOUGH:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        with suppress(ValueError, RuntimeError):  # all values are the same
            shares = optuna.importance.get_param_importances(search.study, evaluator=evaluator)
    measure = search.metric.replace("_", " ").replace("val ", "validation ")
    save = {"dpi": 150, "bbox_inches": "tight"}
    plots.history(trials, measure=measure).savefig(search.folder / "history.png", **save)
    plots.importance(shares, n=finished).savefig(search.folder / "importance.png", **save)
