"""A trial of a search (`galaxymorph tune`) as the process of its notebook sees it.

The search opens the study, draws the trial's values, and executes the step's notebook with the
trial's folder in an environment variable (`folder.TRIAL`). Here the notebook's epochs are reported
to the study, in its own storage, and its training ends where the study prunes it."""

import math
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

PRUNER = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3)


class TrialOver(BaseException):
    """Ends a notebook that is executed for a trial, at the end of its first training and so before
    it predicts."""


def storage(folder: Path) -> RDBStorage:
    """Return the storage of the study in the folder of a step's search; nothing is to be closed."""
    url = URL.create("sqlite", database=str(folder / "study.db"))
    return RDBStorage(url.render_as_string(), engine_kwargs={"poolclass": NullPool})


def watched(folder: Path, rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a training, one per epoch, and report each to the study after that; close
    them and raise `TrialOver` at their end, or where the trial is pruned.

    Trials may differ in how many epochs they last, so they are compared at the same tenth of their
    training. The first epoch and the first two tenths decide nothing, nor does the last epoch,
    whose work is done. The search finds the attributes `epoch`, `value` (of the weights that would
    be kept) and `over`: complete, pruned, or empty where the training has failed."""
    study = optuna.load_study(
        study_name=folder.parent.name, storage=storage(folder.parent), pruner=PRUNER
    )
    (running,) = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    trial = optuna.Trial(study, running._trial_id)
    metric, reported = study.user_attrs["setup"]["metric"], 0
    epoch, value, over = 0, math.nan, ""
    try:
        for row in rows:
            yield row
            if metric not in row:
                there = ", ".join(name for name in row if name.startswith("val_"))
                why = f"its epochs have no {metric}, but {there}; --metric NAME takes another"
                raise ValueError(why)
            if row.get("best", True):
                value = float(row[metric])
            epoch, epochs = int(row["epoch"]), int(row.get("epochs", 0))
            before, reported = reported, 10 * epoch // epochs if epochs else epoch
            for tenth in range(before + 1, reported + 1):
                trial.report(value, tenth)
            if before < reported and 1 < epoch != epochs and trial.should_prune():
                over = "pruned"
                break
        over = over or "complete"
        if isinstance(rows, Generator):
            rows.close()
    finally:
        for name, found in {"epoch": epoch, "value": value, "over": over}.items():
            trial.set_user_attr(name, found)
    raise TrialOver
