"""The command line: `galaxymorph COMMAND`. Each command is a function whose docstring is its help
and whose parameters are its arguments; what it needs is imported when it is called."""

import argparse
import importlib.util
import inspect
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import galaxymorph

MOST = 20  # images to be named
# kinds of arguments
FLAG: Any = {"action": "store_true"}
NUMBER: Any = {"metavar": "N", "type": int}
PIXELS: Any = {"metavar": "PX", "type": int}
FILE: Any = {"metavar": "FILE", "type": Path}
NAME: Any = {"metavar": "NAME"}
STEPS: Any = {"metavar": "STEP", "nargs": "+"}
ID: Any = {"metavar": "ID", "required": True}


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status: 0, 1 where a step has failed, 2 for wrong parameters or arguments, 3
    where images could not be read, 130 after Ctrl-C."""
    options = vars(_parser().parse_args(arguments))
    command, status = options.pop("command"), options.pop("status")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops as Ctrl-C does
    try:
        return command(**options)
    except (ValueError, OSError) as error:
        from galaxymorph.run.params import ParamsError

        if command in (run, tune, report) and not isinstance(error, ParamsError | OSError):
            raise  # not the user's mistake
        print(error, file=sys.stderr)
        return status
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


# ---- runs


def run(*, only: list[str], force: bool, jobs: int, show: bool, **options: Any) -> int:
    """Train, evaluate, compare, report: execute the steps of params.yaml.

    Every step is a notebook in a process of its own; the report is made at the end. Every key is
    checked before anything runs. A step whose inputs (parameters, code, data, steps that it reads)
    have not changed is skipped. Ctrl-C stops at once; what is finished stays finished, and the same
    command goes on from there."""
    from galaxymorph.run import runner
    from galaxymorph.run.executors import Local
    from galaxymorph.run.params import ParamsError

    plan = _plan(**options)
    if jobs < 1:
        raise ParamsError([f"--jobs {jobs}: at least 1"])
    if show:
        print(_listing(plan, only))
        return 0
    outcome = runner.run(plan, only=only, force=force, executor=Local(jobs), out=sys.stdout)
    _show(plan.run)
    return _failed(outcome.failed)


def tune(*, params: Path | None, overrides: list[str], run: str | None, **options: Any) -> int:
    """Search hyper-parameters of steps on validation galaxies alone.

    What may be tried is the key `search` of a step's block. A trial trains as the step's notebook
    does, with other values, for one seed, and predicts nothing; the first has the step's own
    values. Each step gets the same number of trials. Ctrl-C stops at once, and the same command
    goes on from there. Of a step that trains more than once, the first training is what is tuned.
    The best values are written to results/RUN/tune/STEP/best.yaml, for galaxymorph run --params."""
    from galaxymorph.run.params import ParamsError

    if not importlib.util.find_spec("optuna"):
        extra = "the extra `search`: pip install -e '.[search]'"
        raise ParamsError([f"galaxymorph tune needs optuna, {extra}"])
    from galaxymorph.run import search

    return _failed(search.tune(_plan(params, overrides, run), **options, out=sys.stdout))


def report(**options: Any) -> int:
    """Show what was compared, and write results/RUN/index.html."""
    _show(options["run"] or _plan(**options).run)
    return 0


def compare(*, files: list[str], labels: Path | None, run: str) -> int:
    """Compare methods, whoever made them, by their files of predictions alone.

    This makes the comparison and the report of a run. A FILE is CSV with a row for each galaxy:
    id,p_<class>,p_<class>,... and, if wanted, label (the true class) and split (train, val, test,
    unlabelled; without it, all are test galaxies). A column `prediction` may stand for p_<class>.
    The method is the file's name, or NAME in NAME=FILE; a run's files (cnn/seed=0/predictions.csv)
    are called as they are there. Several files of a method are its seeds.

    Everything is checked before anything is written: mistakes are said with file, line and galaxy,
    and the exit status is 2. An earlier comparison with the same --run is replaced."""
    from galaxymorph.run import runner
    from galaxymorph.run.foreign import read, write

    brought = read(files, labels=labels)
    plan = write(run, brought)
    print("\n".join(map(str, brought)))
    outcome = runner.run(plan, force=True, out=sys.stdout)
    _show(plan.run)
    return _failed(outcome.failed)


def _plan(params: Path | None, overrides: list[str], run: str | None) -> Any:
    from galaxymorph import project
    from galaxymorph.run.plan import make_plan

    return make_plan(params or project.root() / "params.yaml", overrides=overrides, run=run)


def _show(run: str) -> None:
    """Writes the report, and prints what it compares and where it is."""
    from galaxymorph.run.report import text, write

    path, compared = write(run), text(run)
    print("\n".join(["", compared, ""] if compared else [""]))
    print(path)


def _failed(names: Sequence[str]) -> int:
    if names:
        print(f"failed: {', '.join(names)}", file=sys.stderr)
    return 1 if names else 0


def _listing(plan: Any, only: Sequence[str]) -> str:
    """Every job: whether it is done, its notebook, its parameters, and the defaults of what
    differs."""
    from galaxymorph.run import done
    from galaxymorph.text import leaves

    lines = []
    for job in plan.select(only):
        why = done.changed(plan, job)
        state = f"to be executed ({why})" if why else "done"
        needs = f", needs {', '.join(job.needs)}" if job.needs else ""
        lines.append(f"{job.name}: {job.notebook.path.name}, {state}{needs}")
        defaults = dict(leaves(job.notebook.parameters))
        given = {k: v for k, v in job.parameters.items() if k not in ("run", "step", "steps")}
        for key, value in leaves(given):
            default = defaults.get(key, value)
            other = f"  (default {default!r})" if default != value else ""
            lines.append(f"  {key}: {value!r}{other}")
    return "\n".join(lines)


# ---- data


def data(*, name: str | None, folder: Path | None, **survey: int) -> int:
    """Download published galaxies and check them, or export the mock survey.

    Without NAME, says which there are and how each is used. The survey is written in the layout of
    Kaggle's Galaxy Zoo challenge."""
    from galaxymorph import project
    from galaxymorph.data import download

    if name is None:
        print(download.info())
    elif name == "export":
        from galaxymorph.data.mock.survey import export_survey

        print(export_survey(folder or project.root() / "data" / "export", **survey))
    else:
        print(download.download(name, folder=folder))
    return 0


# ---- trained models


def predict(**options: Any) -> int:
    """Predict vote fractions or classes of galaxies by a trained model, from its file alone.

    A model of vote fractions writes GalaxyID,Class1.1,...,Class11.6, a submission to the Galaxy Zoo
    challenge; one of classes id,p_<class>...,label. Rows are sorted by id, which is the file's name
    without its ending. An image that cannot be read is named at the end and has no row; the exit
    status is then 3. Run the same command again to resume."""
    from galaxymorph.apply.predict import predict

    return _left_out(predict(**options))


def similar(**options: Any) -> int:
    """Find the galaxies that look most like one of them to a trained model.

    These are the nearest by cosine in feature space. Writes a table (id,similarity) and a picture.
    Any model file will do, also one that was trained without labels."""
    from galaxymorph.apply.similar import similar

    return _left_out(similar(**options))


def gradcam(**options: Any) -> int:
    """Draw class-activation maps: where a trained model sees a class, or an answer of a question.

    The volunteers' share stands above a map where it is known, as for galaxies of the mock survey,
    beside the model's."""
    from galaxymorph.apply.explain import explain

    explain(**options)
    return 0


def _left_out(remarks: Sequence[tuple[str, str, bool]]) -> int:
    """Says which images could not be read, or had to be mended."""
    for what, wanted in (("mended", False), ("left out", True)):
        rows = [f"\n  {name}: {said}" for name, said, left_out in remarks if left_out == wanted]
        if rows:
            rest = f"\n  and {len(rows) - MOST:,} more" if len(rows) > MOST else ""
            print(f"images {what}: {len(rows):,}{''.join(rows[:MOST])}{rest}", file=sys.stderr)
    return 3 if any(left_out for _, _, left_out in remarks) else 0


# ---- arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="galaxymorph", description=galaxymorph.__doc__)
    version = f"galaxymorph {galaxymorph.__version__}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(function: Callable[..., int], *, status: int = 2) -> Any:
        """Add a command, which ends with `status` after an error; return how it gets arguments."""
        text = inspect.getdoc(function) or ""
        added = commands.add_parser(
            function.__name__,
            help=text.splitlines()[0].rstrip("."),
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=function, status=status)
        return added.add_argument

    add = command(run)
    _plan_arguments(add)
    add("--only", **STEPS, default=[], help="execute only these steps, or single combinations")
    add("--force", **FLAG, help="also execute what has not changed")
    add("--jobs", **NUMBER, default=1, help="how many jobs to execute side by side (default: 1)")
    add("--list", **FLAG, dest="show", help="execute nothing; show every job with its parameters")

    add = command(tune)
    add("steps", **STEPS, help="steps of the parameters")
    _plan_arguments(add)
    trials = "for each step, with those done before (default: 20)"
    add("--trials", **NUMBER, dest="n_trials", default=20, help=trials)
    metric = "column of history.csv (default: val_accuracy); of a loss or error the least is best"
    add("--metric", **NAME, default="val_accuracy", help=metric)
    add(
        "--seed", **NUMBER, help="of all trials (default: the first that the step is repeated over)"
    )
    add("--restart", **FLAG, help="begin again, without the trials done before")

    _plan_arguments(command(report))

    add = command(compare)
    add("files", metavar="FILE", nargs="+", help="predictions of a method; NAME=FILE names it")
    add("--labels", **FILE, help="true classes: CSV of id,label and, if wanted, split")
    add("--run", **NAME, default="brought", help="the run that this makes (default: brought)")

    add = command(data, status=1)
    add("name", **NAME, nargs="?", help="galaxy10, galaxy_mnist, galaxy_zoo; or export")
    add("--folder", type=Path, help="where to (default: data/NAME of the project)")
    add("--n-galaxies", **NUMBER, default=500, help="to export with published votes (default: 500)")
    add("--n-test", **NUMBER, default=100, help="to export without (default: 100)")
    add("--image-size", **PIXELS, default=424, help="of the export (default: 424, as Kaggle's)")
    add("--seed", **NUMBER, default=0, help="of the survey to export (default: 0)")

    add = command(predict)
    _image_arguments(add, several=True)
    add("--out", **FILE, default=Path("predictions.csv"), help="default: predictions.csv")
    add("--force", **FLAG, help="replace another file at --out")

    add = command(similar)
    _image_arguments(add, several=True)
    add("--galaxy", **ID, help="the one to compare with, among the images")
    add("--n", **NUMBER, default=12, help="how many to find (default: 12)")
    add("--out", metavar="FOLDER", type=Path, default=Path(), help="default: this folder")

    add = command(gradcam)
    _image_arguments(add, several=False)
    add("--galaxy", **ID, dest="ids", nargs="+", help="a row of the picture for each")
    add("--question", **NAME, help="such as bar, spiral, edge_on; of a model of vote fractions")
    add("--answer", **NAME, help="one answer (default: all of the question), or one class")
    methods = {"dest": "methods", "nargs": "+", "default": ["gradcam"]}
    add("--method", **NAME, **methods, help="gradcam, gradcam++, hirescam, ...")
    add("--layer", **NAME, help="such as encoder.body.layer2")
    add("--out", **FILE, default=Path("gradcam.png"), help="default: gradcam.png")
    return parser


def _plan_arguments(add: Any) -> None:
    add("--params", **FILE, help="parameters (default: params.yaml of the project)")
    change = "change one parameter, such as -s resnet18.training.epochs=3; may be repeated"
    more = {"metavar": "KEY=VALUE", "action": "append", "default": [], "dest": "overrides"}
    add("-s", "--set", **more, help=change)
    add("--run", **NAME, help="name of the run (default: `run` in the parameters)")


def _image_arguments(add: Any, *, several: bool) -> None:
    add("--model", **FILE, required=True, help="models/RUN/STEP.safetensors")
    images = "folders of JPEG, PNG, TIFF or FITS images, zips, CSV files with a column `file`, "
    images += "images, FITS cubes"
    if not several:
        images += " (default: the mock survey, whose galaxies are called mock-0-0000007)"
    path = {"metavar": "PATH", "type": Path, "nargs": "+", "default": []}
    add("--images", **path, required=several, help=images)
    add("--crop", **PIXELS, help="use the central PX x PX pixels (default: as in training)")
    if several:
        add("--average-orientations", **FLAG, help="mean of 8 rotations and mirror images; slower")
        add("--batch-size", **NUMBER, default=64, help="galaxies at a time (default: 64)")
