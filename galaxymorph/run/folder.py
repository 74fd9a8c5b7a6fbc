"""The run folder: what a notebook writes of its step, and how a comparison reads all steps of a
run.

    results/<run>/<step>/            or, of a repeated step,
    results/<run>/<step>/seed=0,n_labels=100/
        history.csv                  a row per epoch votes.csv                    of vote fractions:
        id,split,volunteers,Class1.1...,p_Class1.1... predictions.csv
        id,split,label,p_<class>... metrics.json  environment.json  *.png notebook.ipynb
        params.yaml  done.json    written by the runner not_run.json                 {"why": ...}:
        left out, as what it needs is not to be had; written by the runner dnn/  linear/  ...
        of a step that makes several rows of the comparison: predictions.csv, ... of each
    results/<run>/plan.json          all pieces of work of the run, written by the runner; files
    that were brought by `bring` models/<run>/<step>.safetensors

All of it works in a notebook that is opened by hand, too. Files are replaced in one go: a killed
run leaves no half file."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from galaxymorph import galaxy_zoo_tree
from galaxymorph.evaluation.predictions import NOT_RUN, VOTES, check_votes, predictions_table
from galaxymorph.project import NAME, PIECE, model_file, root, write
from galaxymorph.run.environment import environment
from galaxymorph.text import duration, leaves

TRIAL = "GALAXYMORPH_TRIAL"  # environment variable: the folder of the trial of a search


class Step:
    """The folder of one step of a run: `path`; made when the first file is written.

    `step` is the step's name, followed by `/seed=0,...` where it is repeated. `ValueError` for what
    is no folder's name. In a trial of `tune` everything goes to the trial's folder instead, the
    model file, too."""

    def __init__(self, run: str, step: str):
        if not NAME.fullmatch(run) or not PIECE.fullmatch(step) or ".." in step:
            raise ValueError(
                f"run {run!r}, step {step!r}: names are of letters, digits, '.', '_' and '-'"
            )
        self.run, self.step = run, step
        self.trial = Path(os.environ[TRIAL]) if TRIAL in os.environ else None
        self.path = self.trial or root() / "results" / run / step
        self.mark = self.path / "done.json"

    def __repr__(self) -> str:
        return f"Step({self.run!r}, {self.step!r}): {self.path}"

    @property
    def model_file(self) -> Path:
        """`models/<run>/<step>.safetensors`; its folder exists."""
        path = self.path / "model.safetensors" if self.trial else model_file(self.run, self.step)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def row(self, name: str) -> Step:
        """The folder `<name>/` below this one, for one of several rows that a step adds to the
        comparison; the method is then called `<step> <name>`. Written to like a step's own folder.
        `ValueError` for what is no row's name."""
        if not NAME.fullmatch(name) or ".." in name or self.path != self.mark.parent:
            raise ValueError(
                f"row {name!r} of {self.step}: a step has rows, named of letters, digits, '.', '_' and '-'"
            )
        row = Step(self.run, self.step)  # keeps the mark: what is done is the step
        row.step, row.path = f"{self.step}/{name}", self.path / name
        return row

    def rows(self) -> list[Step]:
        """The rows whose folders are there, by name; not the combinations of a repeated step, whose
        names have a `=`."""
        folders = sorted(path.name for path in self.path.glob("*/"))
        return [self.row(name) for name in folders if NAME.fullmatch(name) and ".." not in name]

    def file(self, name: str) -> Path:
        """The path of a file to write. The step no longer counts as done (or left out): the runner
        says so again when all is written."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.mark.unlink(missing_ok=True)
        self.mark.with_name(NOT_RUN).unlink(missing_ok=True)
        return self.path / name

    def record(self, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        """Takes rows such as `train.fit` yields, one per epoch; appends each to `history.csv` at
        once, shows the latest in a line that is rewritten, and returns all of them. A break in
        between leaves the rows so far on disk.

        In a trial of a search this ends the notebook: `trial.watched`."""
        if self.trial:
            from galaxymorph.run import trial

            rows = trial.watched(self.trial, rows)
        done: list[dict[str, Any]] = []
        line = _Line()
        start = time.monotonic()
        with self.file("history.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            for row in rows:
                if not done:
                    writer.writerow(row)
                elif list(row) != list(done[0]):
                    raise ValueError(
                        f"{self.path / 'history.csv'}: a row has {list(row)}, the first has {list(done[0])}"
                    )
                done.append(dict(row))
                writer.writerow(
                    [
                        f"{value:.6g}" if isinstance(value, float) else value
                        for value in row.values()
                    ]
                )
                file.flush()
                line.show(progress(row, seconds=time.monotonic() - start))
        return pd.DataFrame(done)

    def predictions(
        self,
        *,
        ids: Sequence[str] | np.ndarray,
        split: Sequence[str] | np.ndarray,
        labels: Any,
        probabilities: Float[Any, "galaxy answer"],
        classes: Sequence[str],
    ) -> None:
        """Writes `predictions.csv`: `id, split, label, p_<class>...`, a row per galaxy,
        probabilities with 6 decimals.

        `labels`: int `(galaxy,)`, indices into `classes`, -1 for unlabelled (an empty label in the
        file). Arrays or CPU tensors. Raises `ValueError` for lengths that differ, an id twice, or a
        value that is no probability."""
        values = np.asarray(
            probabilities.float() if hasattr(probabilities, "float") else probabilities, dtype=float
        )
        labels = np.asarray(labels)
        table = predictions_table(
            ids=ids, split=split, labels=labels, probabilities=values, classes=classes
        )
        write(
            self.file("predictions.csv"),
            table.to_csv(index=False, float_format="%.6f", lineterminator="\n"),
        )

    def votes(
        self,
        *,
        ids: Sequence[str] | np.ndarray,
        split: Sequence[str] | np.ndarray,
        votes: Any,
        volunteers: Any,
        predicted: Any,
        outputs: Sequence[str],
    ) -> None:
        """Writes `votes.csv`: `id, split, volunteers, Class1.1, ..., p_Class1.1, ...` and what else
        is predicted.

        `votes`: cumulative fractions `(galaxy, 37)`; `volunteers`: how many people voted
        `(galaxy,)`, or None; NaN becomes an empty cell in both. `predicted`: `(galaxy, output)`,
        its columns named by `outputs`, of which the first are the 37 answers (`p_` is put before
        their names). Raises `ValueError` for lengths that differ, an id twice, or a value that is
        no number."""
        number = (
            np.full(len(ids), np.nan) if volunteers is None else np.asarray(volunteers, dtype=float)
        )
        names = [f"p_{name}" if name in galaxy_zoo_tree.COLUMNS else name for name in outputs]
        parts = {
            "ids": ids,
            "split": split,
            "votes": votes,
            "volunteers": number,
            "predicted": predicted,
        }
        if len({len(part) for part in parts.values()}) > 1:
            raise ValueError(
                f"lengths differ: { {name: len(part) for name, part in parts.items()} }"
            )
        head = pd.DataFrame(
            {
                "id": np.asarray(ids, dtype=str),
                "split": np.asarray(split, dtype=str),
                "volunteers": number,
            }
        )
        told = pd.DataFrame(np.asarray(votes, dtype=float), columns=list(galaxy_zoo_tree.COLUMNS))
        table = pd.concat(
            [head, told, pd.DataFrame(np.asarray(predicted, dtype=float), columns=names)], axis=1
        )
        check_votes(table)
        write(self.file(VOTES), table.to_csv(index=False, float_format="%.6f", lineterminator="\n"))

    def metrics(self, values: Mapping[str, Any]) -> None:
        """Writes `metrics.json`. Raises `ValueError` for a value that is not finite, naming it."""
        plain = json.loads(json.dumps(values, default=_plain))
        for key, value in leaves(plain):
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"metric {key} of {self.step} is {value}")
        write(self.file("metrics.json"), json.dumps(plain, indent=2) + "\n")

    def figure(self, figure: Any, name: str) -> None:
        """Saves a matplotlib figure as `<name>.png` at 150 dpi, shows it in the notebook, and
        closes it.

        What a file's name cannot hold becomes `-`: methods may be named after settings
        (`galaxies.root=data/a`)."""
        from matplotlib import pyplot

        name = re.sub(r"[^\w.=+-]+", "-", name.removesuffix(".png"))
        figure.savefig(self.file(f"{name}.png"), dpi=150, bbox_inches="tight")
        if "ipykernel" in sys.modules:
            from IPython.display import display

            display(figure)
        pyplot.close(figure)

    def environment(self, **more: Any) -> None:
        """Writes `environment.json`: versions, git commit, machine; `more` adds what only the
        notebook knows (precision)."""
        write(
            self.file("environment.json"),
            json.dumps(environment() | more, indent=2, default=_plain) + "\n",
        )


def progress(row: Mapping[str, Any], *, seconds: float | int) -> str:
    """The latest epoch, `seconds` after the first began: `epoch 3/10, val accuracy 0.871, val loss
    0.420, 8 s left`."""
    epoch, epochs = int(row["epoch"]), int(row.get("epochs", 0))
    parts = [f"epoch {epoch}/{epochs}" if epochs else f"epoch {epoch}"]
    for name in ("val_accuracy", "val_loss", "train_loss"):
        value = float(row[name]) if row.get(name) not in (None, "") else math.nan
        if len(parts) < 3 and math.isfinite(value):
            parts.append(f"{name.replace('_', ' ')} {value:.3f}")
    if 0 < epoch < epochs:
        parts.append(f"{duration(seconds / epoch * (epochs - epoch))} left")
    return ", ".join(parts)


class _Line:
    """A line that is rewritten in a notebook, at most twice a second, and is nowhere to be seen
    outside."""

    def __init__(self) -> None:
        self.handle, self.last = None, -math.inf

    def show(self, text: str) -> None:
        if "ipykernel" not in sys.modules or (
            time.monotonic() - self.last < 0.5 and "left" in text
        ):
            return
        from IPython.display import Pretty, display

        self.last = time.monotonic()
        if self.handle is None:
            self.handle = display(Pretty(text), display_id=True)
        else:
            self.handle.update(Pretty(text))


def _plain(value: Any) -> Any:
    """NumPy and torch scalars and arrays as Python's, for JSON."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


# ---- reading
