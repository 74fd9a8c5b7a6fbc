"""A trial of a search (`galaxymorph tune`) as seen by the process of its notebook.

The search opens the study, draws the trial's values, and executes the step's notebook with the
trial's folder in an environment variable (`folder.TRIAL`). This module reports the notebook's
epochs to the study, and ends the training when the study prunes the trial."""

import math
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

DAMAGED = (SQLAlchemyError, StorageInternalError)  # errors of a study that cannot be read
PRUNER = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3)


class TrialOver(BaseException):
    """Ends the notebook of a trial after its first training, before it predicts."""


def storage(folder: Path) -> RDBStorage:
    """Return the storage of the study in a step's search folder; it need not be closed."""
    url = URL.create("sqlite", database=str(folder / "study.db"))
    return RDBStorage(url.render_as_string(), engine_kwargs={"poolclass": NullPool})


def watched(folder: Path, rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a training, one per epoch, then report each to the study.

    At the end, or when the trial is pruned, closes the rows and raises `TrialOver`. Trials may
    differ in their number of epochs, so they are compared at the same tenth of their training. They
    are not pruned at the first epoch, in the first two tenths, or at the last epoch, when the work
    is done. The search reads the attributes `epoch`, `value` (of the weights that would be kept)
    and `over`: complete, pruned, or empty if the training failed."""
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
                why = f"its epochs have no {metric}; choose one of {there} with --metric NAME"
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
