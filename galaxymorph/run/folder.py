"""The run folder: what a notebook writes of its step, and how a comparison reads all steps of a run.

    results/<run>/<step>/            or, of a repeated step, results/<run>/<step>/seed=0,n_labels=100/
        history.csv                  a row per epoch
        votes.csv                    of vote fractions: id,split,volunteers,Class1.1...,p_Class1.1...
        predictions.csv              id,split,label,p_<class>...
        metrics.json  environment.json  *.png
        notebook.ipynb  params.yaml  done.json    written by the runner
        not_run.json                 {"why": ...}: left out, as what it needs is not to be had; written by the runner
        dnn/  linear/  ...           of a step that makes several rows of the comparison: predictions.csv, ... of each
    results/<run>/plan.json          all pieces of work of the run, written by the runner; files that were brought by `bring`
    models/<run>/<step>.safetensors

All of it works in a notebook that is opened by hand, too. Files are replaced in one go: a killed run leaves no half file.
"""

from __future__ import annotations

import csv
import importlib.metadata
import json
import math
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jaxtyping import Float

import galaxymorph
from galaxymorph import galaxy_zoo_tree as schema

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # of a run or a step
PIECE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[^/\\]+)?")  # a step, or one combination of a repeated step
PREDICTIONS, VOTES, NOT_RUN = "predictions.csv", "votes.csv", "not_run.json"
TRIAL = "GALAXYMORPH_TRIAL"  # environment variable: the folder of the trial of `tune` that a notebook is executed for
FRACTION = "galaxies.label_fraction"  # the parameter that gives labels as a fraction of the training galaxies


def root() -> Path:
    """The project's folder: the nearest one from here upwards with `params.yaml` and `notebooks/`, else the checkout that
    this package is imported from, else the current folder."""
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[2]):
        if (folder / "params.yaml").is_file() and (folder / "notebooks").is_dir():
            return folder
    return here


def model_file(run: str, step: str) -> Path:
    """`models/<run>/<step>.safetensors`."""
    return root() / "models" / run / f"{step}.safetensors"


def write(path: Path, text: str) -> None:
    """Writes a text file so that at any time either the old or the new one is there, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


class TrialOver(BaseException):
    """Ends a notebook that is executed for a trial of `tune`, at the end of its first training and so before it predicts."""


class Step:
    """The folder of one step of a run: `path`; made when the first file is written.

    `step` is the step's name, followed by `/seed=0,...` where it is repeated. `ValueError` for what is no folder's name.
    In a trial of `tune` everything goes to the trial's folder instead, the model file, too.
    """

    def __init__(self, run: str, step: str):
        if not NAME.fullmatch(run) or not PIECE.fullmatch(step) or ".." in step:
            raise ValueError(f"run {run!r}, step {step!r}: names are of letters, digits, '.', '_' and '-'")
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
        """The folder `<name>/` below this one, for one of several rows that a step adds to the comparison; the method is then
        called `<step> <name>`. Written to like a step's own folder. `ValueError` for what is no row's name."""
        if not NAME.fullmatch(name) or ".." in name or self.path != self.mark.parent:
            raise ValueError(f"row {name!r} of {self.step}: a step has rows, named of letters, digits, '.', '_' and '-'")
        row = Step(self.run, self.step)  # keeps the mark: what is done is the step
        row.step, row.path = f"{self.step}/{name}", self.path / name
        return row

    def rows(self) -> list[Step]:
        """The rows whose folders are there, by name; not the combinations of a repeated step, whose names have a `=`."""
        folders = sorted(path.name for path in self.path.glob("*/"))
        return [self.row(name) for name in folders if NAME.fullmatch(name) and ".." not in name]

    def file(self, name: str) -> Path:
        """The path of a file to write. The step no longer counts as done (or left out): the runner says so again when all is
        written."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.mark.unlink(missing_ok=True)
        self.mark.with_name(NOT_RUN).unlink(missing_ok=True)
        return self.path / name

    def record(self, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        """Takes rows such as `train.fit` yields, one per epoch; appends each to `history.csv` at once, shows the latest in a
        line that is rewritten, and returns all of them. A break in between leaves the rows so far on disk.

        In a trial of `tune`, asks after each row whether to go on, closes `rows` where not, and raises `TrialOver` at the end.
        """
        done: list[dict[str, Any]] = []
        line = _Line()
        start = time.monotonic()
        with self.file("history.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            for row in rows:
                if not done:
                    writer.writerow(row)
                elif list(row) != list(done[0]):
                    raise ValueError(f"{self.path / 'history.csv'}: a row has {list(row)}, the first has {list(done[0])}")
                done.append(dict(row))
                writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in row.values()])
                file.flush()
                line.show(progress(row, seconds=time.monotonic() - start))
                if self.trial and not _goes_on(self.trial, row):
                    break
        if self.trial:
            if isinstance(rows, Generator):
                rows.close()
            write(self.trial / "over", "")
            raise TrialOver
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
        """Writes `predictions.csv`: `id, split, label, p_<class>...`, a row per galaxy, probabilities with 6 decimals.

        `labels`: int `(galaxy,)`, indices into `classes`, -1 for unlabelled (an empty label in the file). Arrays or CPU
        tensors. Raises `ValueError` for lengths that differ, an id twice, or a value that is no probability.
        """
        values = np.asarray(probabilities.float() if hasattr(probabilities, "float") else probabilities, dtype=float)
        labels = np.asarray(labels)
        table = _checked(ids=ids, split=split, labels=labels, probabilities=values, classes=classes)
        write(self.file("predictions.csv"), table.to_csv(index=False, float_format="%.6f", lineterminator="\n"))

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
        """Writes `votes.csv`: `id, split, volunteers, Class1.1, ..., p_Class1.1, ...` and what else is predicted.

        `votes`: cumulative fractions `(galaxy, 37)`; `volunteers`: how many people voted `(galaxy,)`, or None; NaN becomes an
        empty cell in both. `predicted`: `(galaxy, output)`, its columns named by `outputs`, of which the first are the 37
        answers (`p_` is put before their names). Raises `ValueError` for lengths that differ, an id twice, or a value that is
        no number.
        """
        number = np.full(len(ids), np.nan) if volunteers is None else np.asarray(volunteers, dtype=float)
        names = [f"p_{name}" if name in schema.COLUMNS else name for name in outputs]
        parts = {"ids": ids, "split": split, "votes": votes, "volunteers": number, "predicted": predicted}
        if len({len(part) for part in parts.values()}) > 1:
            raise ValueError(f"lengths differ: { {name: len(part) for name, part in parts.items()} }")
        head = pd.DataFrame({"id": np.asarray(ids, dtype=str), "split": np.asarray(split, dtype=str), "volunteers": number})
        told = pd.DataFrame(np.asarray(votes, dtype=float), columns=list(schema.COLUMNS))
        table = pd.concat([head, told, pd.DataFrame(np.asarray(predicted, dtype=float), columns=names)], axis=1)
        _check_votes(table)
        write(self.file(VOTES), table.to_csv(index=False, float_format="%.6f", lineterminator="\n"))

    def metrics(self, values: Mapping[str, Any]) -> None:
        """Writes `metrics.json`. Raises `ValueError` for a value that is not finite, naming it."""
        plain = json.loads(json.dumps(values, default=_plain))
        for key, value in leaves(plain):
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"metric {key} of {self.step} is {value}")
        write(self.file("metrics.json"), json.dumps(plain, indent=2) + "\n")

    def figure(self, figure: Any, name: str) -> None:
        """Saves a matplotlib figure as `<name>.png` at 150 dpi, shows it in the notebook, and closes it.

        What a file's name cannot hold becomes `-`: methods may be named after settings (`galaxies.root=data/a`).
        """
        from matplotlib import pyplot

        name = re.sub(r"[^\w.=+-]+", "-", name.removesuffix(".png"))
        figure.savefig(self.file(f"{name}.png"), dpi=150, bbox_inches="tight")
        if "ipykernel" in sys.modules:
            from IPython.display import display

            display(figure)
        pyplot.close(figure)

    def environment(self, **more: Any) -> None:
        """Writes `environment.json`: versions, git commit, machine; `more` adds what only the notebook knows (precision)."""
        write(self.file("environment.json"), json.dumps(environment() | more, indent=2, default=_plain) + "\n")


def progress(row: Mapping[str, Any], *, seconds: float | int) -> str:
    """The latest epoch, `seconds` after the first began: `epoch 3/10, val accuracy 0.871, val loss 0.420, 8 s left`."""
    epoch, epochs = int(row["epoch"]), int(row.get("epochs", 0))
    parts = [f"epoch {epoch}/{epochs}" if epochs else f"epoch {epoch}"]
    for name in ("val_accuracy", "val_loss", "train_loss"):
        value = float(row[name]) if row.get(name) not in (None, "") else math.nan
        if len(parts) < 3 and math.isfinite(value):
            parts.append(f"{name.replace('_', ' ')} {value:.3f}")
    if 0 < epoch < epochs:
        parts.append(f"{duration(seconds / epoch * (epochs - epoch))} left")
    return ", ".join(parts)


def duration(seconds: float | int) -> str:
    """`8 s`, `2 min 05 s`, `1 h 12 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def _goes_on(trial: Path, row: Mapping[str, Any]) -> bool:
    """Shows a row to `tune` and waits for its answer, which it can take from the file `answer` as soon as that is there."""
    answer = trial / "answer"
    write(trial / "row.json", json.dumps(row, default=_plain))
    while not answer.is_file():
        time.sleep(0.01)
    text = answer.read_text(encoding="utf-8")
    answer.unlink()
    return text == "go on"


class _Line:
    """A line that is rewritten in a notebook, at most twice a second, and is nowhere to be seen outside."""

    def __init__(self) -> None:
        self.handle, self.last = None, -math.inf

    def show(self, text: str) -> None:
        if "ipykernel" not in sys.modules or (time.monotonic() - self.last < 0.5 and "left" in text):
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


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All values of nested dicts and lists, with their dotted keys."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else None
    if items is None:
        yield prefix, tree
        return
    for key, value in items:
        yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))


def environment() -> dict[str, Any]:
    """Python and package versions, git commit (and the files that differ from it), machine, cores, GPU."""
    versions = {}
    for package in ("torch", "torchvision", "numpy", "scikit-learn"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    import torch

    return {
        "galaxymorph": galaxymorph.__version__,
        "git_commit": _git("rev-parse", "HEAD"),
        "git_changes": (_git("status", "--porcelain", "--untracked-files=no") or "").splitlines(),
        "python": platform.python_version(),
        **versions,
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _git(*arguments: str) -> str | None:
    """Of the checkout that this package is imported from; None where it is installed, or there is no git."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return None
    try:
        return subprocess.run(["git", "-C", checkout, *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.is_file() else []
    return names[0] if names else platform.processor()


# ---- reading


@dataclass(frozen=True)
class Result:
    """What is there of one piece of work: a step, or one combination of a repeated one. Not `done`: nothing to read."""

    name: str  # its folder below results/<run>, "resnet18" or "resnet18/seed=0,n_labels=100"
    combination: dict[str, Any]  # {"seed": 0, "n_labels": 100}; empty where the step is not repeated
    parameters: dict[str, Any]  # as executed, or to be executed; empty where the notebook was executed by hand
    outputs: list[str] | None  # files that the notebook declares; None where it was executed by hand, or files were brought
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
        """The rows that it adds to the comparison, declared or found: "" for its own predictions, "dnn" for `dnn/`."""
        if self.outputs is not None:
            return [name.removesuffix(PREDICTIONS).rstrip("/") for name in self.outputs if Path(name).name == PREDICTIONS]
        found = [path.parent.relative_to(self.path).as_posix() for path in self.path.glob(f"*/{PREDICTIONS}")]
        own = [""] if (self.path / PREDICTIONS).is_file() else []
        return own + sorted(name for name in found if NAME.fullmatch(name))

    def row(self, name: str) -> Result:
        """What is there of one row. Metrics that the row lacks are those of the piece; history and seconds are its own."""
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
    """Every piece of work of a run, or those in `steps`, finished or missing (`done` is False), in the run's order.

    `steps` are names of steps or of single pieces of work. Which there should be, the runner has written to `plan.json`;
    of a run by hand, those that are there. Raises `FileNotFoundError` where the run has none, or not one of `steps`.
    """
    folder = root() / "results" / run
    plan = folder / "plan.json"
    planned = json.loads(plan.read_text(encoding="utf-8"))["pieces"] if plan.is_file() else _found(folder)
    if not planned:
        raise FileNotFoundError(f"{folder}: no step of run {run!r} is there; run one first")
    names = {name: {name, name.split("/")[0]} for name in planned}
    unknown = set(steps or ()) - set().union(*names.values())
    if unknown:
        there = ", ".join(dict.fromkeys(name.split("/")[0] for name in planned))
        raise FileNotFoundError(f"{folder}: no step {', '.join(sorted(unknown))} in run {run!r}; it has {there}")
    chosen = [name for name in planned if steps is None or names[name] & set(steps)]
    return [_result(folder / name, name, planned[name]) for name in chosen]


def _found(folder: Path) -> dict[str, dict[str, Any]]:
    kinds = (PREDICTIONS, "metrics.json", "environment.json")
    files = (path for kind in kinds for depth in ("*", "*/*", "*/*/*") for path in folder.glob(f"{depth}/{kind}"))
    parts = (path.parent.relative_to(folder).parts for path in files)
    names = sorted({"/".join(part[: 2 if "=" in "".join(part[1:2]) else 1]) for part in parts})  # else part[1] is a row
    pairs = {name: [pair.partition("=") for pair in name.partition("/")[2].split(",") if pair] for name in names}
    return {
        name: {"combination": {key: yaml.safe_load(value) for key, _, value in pairs[name]}, "parameters": {}, "outputs": None}
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
        metrics=json.loads(metrics.read_text(encoding="utf-8")) if done and metrics.is_file() else {},
        seconds=marked.get("seconds"),
        finished=marked.get("finished"),
        not_run=json.loads(left_out.read_text(encoding="utf-8"))["why"] if left_out.is_file() else None,
    )


def trained(run: str, steps: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """What `comparison.compare` takes: a dict for each piece of work that makes predictions, those that are missing included
    (predictions None): step, seed, n_labels (None: all), protocol (None: not said), predictions, voting (whether it
    makes a table of vote fractions), votes (that table), history, seconds, costs (those in metrics.json, see `costs.of`),
    not_run (why it was left out, or None).

    A step that is repeated over more than seeds and labels counts as a method for each of its settings: `frozen zoom=0.1`; so
    does each row of a step that makes several: `frozen dnn`, `frozen dnn zoom=0.1`. The seconds of a row are those in its own
    metrics.json, if there: the notebook took its time for all of them. Where a fraction of the labels was asked for, n_labels
    is how many that were (`n_train` in metrics.json; the fewest over the seeds).
    """
    found, counted = [], dict[tuple[str, Any], int]()
    for whole, row in [(each, row) for each in read(run, steps) for row in each.rows]:
        result = whole.row(row) if row else whole
        known = result.parameters | result.combination
        labels = ("seed", "n_labels", FRACTION)
        variant = [f"{key}={value}" for key, value in result.combination.items() if key not in labels]
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
                "voting": (result.path / VOTES).is_file() if result.outputs is None else VOTES in result.outputs,
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
            if piece["n_labels"] is None:  # none of this fraction is done yet: it cannot pass for all labels
                piece["step"] += f" {FRACTION}={fraction}"
    return found


def read_predictions(path: Path | str) -> pd.DataFrame:
    """A predictions table: `id`, `split`, `label` (class name, empty for unlabelled) as text, `p_<class>` as float.

    Raises `ValueError`, naming file and column or row, for another header, an id twice, a label that is no class, or a value
    that is no probability.
    """
    table = pd.read_csv(path, dtype={"id": str, "split": str, "label": str}, keep_default_na=False)
    columns = list(table.columns)
    if columns[:3] != ["id", "split", "label"] or len(columns) < 4:
        raise ValueError(f"{path}: columns are {', '.join(columns)}; expected id, split, label, p_<class>, p_<class>, ...")
    for column in columns[3:]:
        if not column.startswith("p_"):
            raise ValueError(f"{path}: column {column!r} is not p_<class>")
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise ValueError(f"{path}: column {column!r} has values that are no numbers")
    classes = [column.removeprefix("p_") for column in columns[3:]]
    unknown = table.loc[~table.label.isin(["", *classes]), "label"]
    if len(unknown):
        raise ValueError(f"{path}: row {unknown.index[0] + 2} has label {unknown.iloc[0]!r}, but classes are {classes}")
    codes = table.label.map({name: index for index, name in enumerate(classes)} | {"": -1}).to_numpy(int)
    try:
        _checked(
            ids=table.id.to_numpy(),
            split=table.split.to_numpy(),
            labels=codes,
            probabilities=table[columns[3:]].to_numpy(float),
            classes=classes,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return table.astype(dict.fromkeys(columns[3:], float))


def read_votes(path: Path | str) -> pd.DataFrame:
    """A table of vote fractions: `id` and `split` as text, everything else as float, NaN where empty (`Step.votes`).

    Raises `ValueError`, naming file and column or row, for a missing column, an id twice, or a value that is no number.
    """
    table = pd.read_csv(path, dtype={"id": str, "split": str}, keep_default_na=False, na_values=[""])
    wanted = ["id", "split", "volunteers", *schema.COLUMNS, *(f"p_{name}" for name in schema.COLUMNS)]
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ValueError(
            f"{path}: no column {', '.join(missing[:3])}{more}; expected id, split, volunteers, Class..., p_Class..."
        )
    numbers = [name for name in table.columns if name not in ("id", "split")]
    for column in numbers:
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise ValueError(f"{path}: column {column!r} has values that are no numbers")
    try:
        _check_votes(table)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return table.astype(dict.fromkeys(numbers, float))


def _check_votes(table: pd.DataFrame) -> None:
    twice = table.id[table.id.duplicated()]
    if len(twice):
        raise ValueError(f"galaxy {twice.iloc[0]!r} is there twice")
    told = table[list(schema.COLUMNS)].to_numpy(float)
    wrong = (told < -1e-6) | (told > 1 + 1e-6)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(f"galaxy {table.id[row]!r}: {schema.COLUMNS[column]} is {told[row, column]:g}, no fraction")
    predicted = table[[name for name in table.columns if str(name).startswith(("p_", "s_"))]]
    bad = ~np.isfinite(predicted.to_numpy(float))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(f"galaxy {table.id[row]!r}: {predicted.columns[column]} is no number")


def _checked(*, ids: Any, split: Any, labels: Any, probabilities: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """The table of predictions, or a `ValueError` that says what is wrong with it."""
    sizes = {"ids": len(ids), "split": len(split), "labels": len(labels), "probabilities": len(probabilities)}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"lengths differ: {sizes}")
    if probabilities.shape[1] != len(classes):
        raise ValueError(f"{probabilities.shape[1]} probabilities per galaxy for {len(classes)} classes")
    if len(labels) and not (labels.min() >= -1 and labels.max() < len(classes)):
        raise ValueError(f"labels reach from {labels.min()} to {labels.max()} with {len(classes)} classes (-1: unlabelled)")
    names = np.array([*classes, ""], dtype=object)  # -1 takes the last
    table = pd.DataFrame({"id": np.asarray(ids, dtype=str), "split": np.asarray(split, dtype=str), "label": names[labels]})
    twice = table.id[table.id.duplicated()]
    if len(twice):
        raise ValueError(f"galaxy {twice.iloc[0]!r} is there twice")
    wrong = ~((probabilities >= -1e-6) & (probabilities <= 1 + 1e-6))  # NaN is neither
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        value = probabilities[row, column]
        raise ValueError(f"galaxy {table.id[row]!r}: p_{classes[column]} is {value:g}, no probability")
    return table.assign(**{f"p_{name}": probabilities[:, i] for i, name in enumerate(classes)})
