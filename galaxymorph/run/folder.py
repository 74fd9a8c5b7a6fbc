"""The folder of a step: everything that a notebook writes goes through `Step`.

    results/<run>/<step>/                  or <step>/seed=0,n_labels=100/ of a repeated step
        history.csv                        a row per epoch (`record`)
        predictions.csv  votes.csv         what comparisons read (`evaluation.predictions`)
        metrics.json  environment.json     what the report shows (`finish`)
        *.csv  *.png  summary.md           tables, figures and sentences
        dnn/  linear/  ...                 the same for each row, if a step adds several (`row`)
    models/<run>/<step>.safetensors        `model_file`

The runner adds params.yaml, notebook.ipynb and done.json, or not_run.json. It executes a step in
`results/<run>/unfinished/<step>/`, model file included, and moves everything when it is whole.
Everything also works in a notebook that is executed by hand. Each file except `history.csv`, which
grows, is replaced atomically: a killed run leaves no partial files."""

import copy
import csv
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from galaxymorph import project
from galaxymorph.escape import csv_text, markdown, slug
from galaxymorph.evaluation.predictions import NOT_RUN, predictions_of, votes_of
from galaxymorph.project import JOB, NAME, model_file, write
from galaxymorph.run.environment import environment
from galaxymorph.run.marks import MODEL, UNFINISHED, planned
from galaxymorph.text import duration, leaves

SAID = ".job"  # folder in which a job reports to the runner (`executors`)
TRIAL = "GALAXYMORPH_TRIAL"  # environment variable: the folder of a search trial
JOB_NAME = "GALAXYMORPH_JOB"  # environment variable: run/step of the job that is being executed


class Step:
    """The folder `path` of one step of a run, created with its first file.

    `step` is the step's name, followed by `/seed=0,...` if it is repeated. Raises `ValueError` for
    invalid names. In a search trial everything, including the model file, goes to the trial's
    folder; in a job that the runner executes, to its `unfinished` folder."""

    def __init__(self, run: str, step: str):
        if project.misnamed(run) or not JOB.fullmatch(step):
            raise ValueError(f"run {run!r}, step {step!r}: names consist of {project.LETTERS}")
        self.run, self.step = run, step
        self.trial = Path(os.environ[TRIAL]) if TRIAL in os.environ else None
        self.apart = os.environ.get(JOB_NAME) == f"{run}/{step}"  # model file beside the others
        place = self._unfinished if self.apart else project.run_folder(run) / step
        self.path = self.trial or place
        self.mark = self.path / "done.json"

    @property
    def _unfinished(self) -> Path:
        return project.run_folder(self.run) / UNFINISHED / self.step

    @property
    def unfinished(self) -> "Step":
        """The step as it is being executed, in `results/<run>/unfinished/<step>/`."""
        step = copy.copy(self)
        step.apart, step.path = True, self._unfinished
        step.mark = step.path / "done.json"
        return step

    def __repr__(self) -> str:
        return f"Step({self.run!r}, {self.step!r}): {self.path}"

    @property
    def model_file(self) -> Path:
        """`models/<run>/<step>.safetensors`, while executed by the runner beside the other files.

        Its folder exists."""
        apart = self.trial or self.apart
        path = self.path / MODEL if apart else model_file(self.run, self.step)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def first(self) -> bool:
        """Whether this is the first job of its step in the run's plan, or of none."""
        step = self.step.split("/")[0]
        jobs = [
            each for each in planned(project.run_folder(self.run)) if each.split("/")[0] == step
        ]
        return self.step in (jobs or [self.step])[:1]

    @property
    def shared(self) -> Path:
        """Return the folder of measurements that jobs of the run share (`diagnostics.costs`)."""
        return project.run_folder(self.run) / ".shared"

    def row(self, name: str) -> "Step":
        """Return the folder `<name>/` below this one, for one of several rows of the comparison.

        The method is then called `<step> <name>`. Raises `ValueError` for an invalid name, and for
        a row of a row."""
        if not NAME.fullmatch(name) or self.path != self.mark.parent:
            names = f"names consist of {project.LETTERS}"
            raise ValueError(f"row {name!r} of {self.step}: only a step has rows; {names}")
        row = copy.copy(self)  # keeps the mark: a step is done as a whole
        row.step, row.path = f"{self.step}/{name}", self.path / name
        return row

    def rows(self) -> "list[Step]":
        """Return the rows whose folders exist, by name (combinations, with a `=`, are not rows)."""
        folders = sorted(path.name for path in self.path.glob("*/"))
        return [self.row(name) for name in folders if NAME.fullmatch(name)]

    def file(self, name: str) -> Path:
        """Return the path of a file to write.

        The step no longer counts as done (or skipped) until the runner marks it again."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.mark.unlink(missing_ok=True)
        self.mark.with_name(NOT_RUN).unlink(missing_ok=True)
        return self.path / name

    def record(self, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        """Write rows such as `train.fit` yields, one per epoch, to `history.csv`; return them all.

        They are written as they arrive, and the latest is displayed in a line that is rewritten. In
        a trial of a search this ends the notebook: `trial.watched`."""
        if self.trial:
            from galaxymorph.run import trial

            rows = trial.watched(self.trial, rows)
        done: list[dict[str, Any]] = []
        line = _Line(self.mark.with_name(SAID))
        start = time.monotonic()
        with self.file("history.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            for row in rows:
                if not done:
                    writer.writerow(row)
                elif list(row) != list(done[0]):
                    names = f"a row has columns {list(row)}, the first has {list(done[0])}"
                    raise ValueError(f"{self.path / 'history.csv'}: {names}")
                done.append(dict(row))
                writer.writerow(f"{v:.6g}" if isinstance(v, float) else v for v in row.values())
                file.flush()
                line.show(progress(row, seconds=time.monotonic() - start))
        return pd.DataFrame(done)

    def predictions(self, **parts: Any) -> None:
        """Write `predictions.csv`, with arguments of `evaluation.predictions.predictions_of`."""
        self.table("predictions", predictions_of(**parts).table(), number="%.6f")

    def votes(self, **parts: Any) -> None:
        """Write `votes.csv`, with arguments of `evaluation.predictions.votes_of`."""
        self.table("votes", votes_of(**parts).table(), number="%.6f")

    def table(self, name: str, frame: pd.DataFrame, *, number: str = "%.8g") -> None:
        """Write a table as `<name>.csv`, without its index; numbers have 8 significant digits."""
        write(self.file(f"{name}.csv"), csv_text(frame, number=number))

    def figure(self, figure: Any, name: str, caption: str | None = None) -> None:
        """Save a matplotlib figure as `<name>.png` at 150 dpi, show it in the notebook, close it.

        With a caption, a sentence that describes it, it is also included in the report. The name
        may be any text, such as a class or a method (`escape.slug`)."""
        from matplotlib import pyplot

        from galaxymorph.plots.style import png

        picture = png(figure, caption)
        write(self.file(f"{slug(name.removesuffix('.png'))}.png"), picture)
        _show(picture)
        pyplot.close(figure)

    def summary(self, sentences: Iterable[str]) -> None:
        """Write sentences as paragraphs of `summary.md`, and show them in the notebook.

        A step with a summary gets its own section in the report. Sentences are text, and names in
        them are shown literally (`escape.markdown`)."""
        text = "\n\n".join(map(markdown, sentences))
        write(self.file("summary.md"), f"{text}\n")
        _show(text)

    def metrics(self, values: Mapping[str, Any]) -> None:
        """Write `metrics.json`; raise `ValueError` for a value that is not finite."""
        plain = json.loads(json.dumps(values, default=project.plain))
        for key, value in leaves(plain):
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"metric {key} of {self.step} is {value}")
        project.write_json(self.file("metrics.json"), plain)

    def environment(self, **more: Any) -> None:
        """Write `environment.json`: versions, git commit, machine, and `more` (device,
        precision)."""
        project.write_json(self.file("environment.json"), environment() | more)

    def finish(self, sample: Any, metrics: Mapping[str, Any], **more: Any) -> None:
        """End a notebook: write the metrics and the environment.

        The fingerprint and notes of the galaxies are added to the metrics, and `more` to the
        environment. `sample` is None for a notebook that compares tables and loads no galaxies."""
        if sample is not None:
            metrics = {**metrics, "fingerprint": sample.fingerprint, "notes": sample.notes}
        self.metrics(metrics)
        self.environment(**more)


def progress(row: Mapping[str, Any], *, seconds: float | int) -> str:
    """Describe the latest epoch, `seconds` after the first began.

    For instance `epoch 3/10, val accuracy 0.871, val loss 0.420, 8 s left`."""
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
    """A line rewritten in the notebook and for the runner, at most twice a second."""

    def __init__(self, said: Path) -> None:
        self.said, self.handle, self.last = said, None, -math.inf

    def show(self, text: str) -> None:
        if time.monotonic() - self.last >= 0.5 or "left" not in text:
            self.handle, self.last = _show(markdown(text), self.handle), time.monotonic()
            if self.said.is_dir():
                project.write_json(self.said / "progress.json", text, flush=False)


def _show(content: str | bytes, handle: Any = None) -> Any:
    """Display Markdown or a PNG picture of 150 dpi in a notebook; return its handle.

    It replaces what an earlier handle shows. Does nothing outside notebooks."""
    if "ipykernel" not in sys.modules:
        return None
    from IPython.display import Image, Markdown, display

    if isinstance(content, bytes):  # the screen has 100 dpi, or twice as many
        shown: Any = Image(content, width=int.from_bytes(content[16:20], "big") * 100 // 150)
    else:
        shown = Markdown(content)
    if handle is None:
        return display(shown, display_id=True)
    handle.update(shown)
    return handle
