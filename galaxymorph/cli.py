"""The command line: `galaxymorph run | tune | report | compare | data | predict | similar |
gradcam`."""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import galaxymorph

RUN = """Executes the steps of params.yaml in order, each a notebook in a process of its own, then makes the report.

Every key is checked before anything runs. A step whose inputs (parameters, code, data, steps that it reads) have not changed
is skipped. Ctrl-C stops at once; what is finished stays finished, and the same command goes on from there."""

TUNE = """Searches hyper-parameters of steps on validation galaxies alone.

What may be tried is the key `search` of a step's block. A trial trains as the step's notebook does, with other values, for one
seed, and predicts nothing; the first has the step's own values. Each step gets the same number of trials. Ctrl-C stops at
once, and the same command goes on from there. Of a step that trains more than once, the first training is what is tuned. The
best values are written to results/RUN/tune/STEP/best.yaml, for galaxymorph run --params."""


COMPARE = """Compares methods, whoever made them, by their files of predictions alone: the comparison and the report of a run.

A FILE is CSV with a row for each galaxy: id,p_<class>,p_<class>,... and, if wanted, label (the true class) and split (train,
val, test, unlabelled; without it, all are test galaxies). A column `prediction` may stand for p_<class>. The method is the
file's name, or NAME in NAME=FILE; a run's files (cnn/seed=0/predictions.csv) are called as they are there. Several files of a
method are its seeds.

Everything is checked before anything is written: mistakes are said with file, line and galaxy, and the exit status is 2. An
earlier comparison with the same --run is replaced."""


MOST = 20  # images to be named

PREDICT = """Predicts galaxies by a trained model, from its file alone.

A model of vote fractions writes GalaxyID,Class1.1,...,Class11.6, a submission to the Galaxy Zoo challenge; one of classes
id,p_<class>...,label. Rows are sorted by id, which is the file's name without its ending. An image that cannot be read is said
at the end and has no row; the exit status is then 3. An interrupted command goes on where it was when it is given again."""

SIMILAR = """Finds the galaxies that look most like one of them to a trained model: nearest by cosine in feature space.

Writes a table (id,similarity) and a picture. Any model file will do, also one that was trained without labels."""


GRADCAM = """Draws class-activation maps of galaxies: where a trained model sees a class, or an answer of a question.

The volunteers' share stands above a map where it is known, as for galaxies of the mock survey, beside the model's."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, 1 where a step has failed, 2 for wrong parameters or arguments, 3
    where images could not be read, 130 after Ctrl-C."""
    parser = _parser()
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return options.command(options)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="galaxymorph", description=galaxymorph.__doc__)
    parser.add_argument(
        "--version", action="version", version=f"galaxymorph {galaxymorph.__version__}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="train, evaluate, compare, report: the steps of params.yaml",
        description=RUN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _plan_options(run)
    run.add_argument(
        "--only",
        metavar="STEP",
        nargs="+",
        default=[],
        help="execute only these steps, or single combinations",
    )
    run.add_argument("--force", action="store_true", help="also execute what has not changed")
    run.add_argument(
        "--jobs",
        metavar="N",
        type=int,
        default=1,
        help="execute up to N pieces of work side by side",
    )
    run.add_argument(
        "--list",
        action="store_true",
        help="execute nothing; show every piece of work with its parameters",
    )
    run.set_defaults(command=_run)

    tune = commands.add_parser(
        "tune",
        help="search hyper-parameters of a step on validation galaxies",
        description=TUNE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    tune.add_argument("steps", metavar="STEP", nargs="+", help="steps of the parameters")
    _plan_options(tune)
    tune.add_argument(
        "--trials",
        metavar="N",
        type=int,
        default=20,
        help="for each step, with those done before (default: 20)",
    )
    tune.add_argument(
        "--metric",
        metavar="NAME",
        default="val_accuracy",
        help="column of history.csv (default: val_accuracy)",
    )
    tune.add_argument(
        "--seed",
        metavar="N",
        type=int,
        help="of all trials (default: the first that the step is repeated over)",
    )
    tune.add_argument(
        "--restart", action="store_true", help="begin again, without the trials done before"
    )
    tune.set_defaults(command=_tune)

    report = commands.add_parser(
        "report",
        help="show what was compared, and write results/RUN/index.html",
        description="Shows what was compared, and writes results/RUN/index.html.",
    )
    _plan_options(report)
    report.set_defaults(command=_report)

    compare = commands.add_parser(
        "compare",
        help="compare files of predictions, whoever made them",
        description=COMPARE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    compare.add_argument(
        "files", metavar="FILE", nargs="+", help="predictions of a method; NAME=FILE names it"
    )
    compare.add_argument(
        "--labels",
        metavar="FILE",
        type=Path,
        help="true classes: CSV of id,label and, if wanted, split",
    )
    compare.add_argument(
        "--run",
        metavar="NAME",
        default="brought",
        help="name of the run that this makes (default: brought)",
    )
    compare.set_defaults(command=_compare)

    data = commands.add_parser(
        "data",
        help="download published galaxies, or export the mock survey",
        description="Downloads published galaxies and checks them; without NAME, says which there are and how each is used.",
    )
    data.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        help="galaxy10, galaxy_mnist, galaxy_zoo; or export, the mock survey",
    )
    data.add_argument("--folder", type=Path, help="where to (default: data/NAME of the project)")
    export = data.add_argument_group(
        "export: writes a mock survey in the layout of Kaggle's Galaxy Zoo challenge"
    )
    export.add_argument(
        "--n-galaxies",
        metavar="N",
        type=int,
        default=500,
        help="with published votes (default: 500)",
    )
    export.add_argument(
        "--n-test", metavar="N", type=int, default=100, help="without (default: 100)"
    )
    export.add_argument(
        "--image-size", metavar="PX", type=int, default=424, help="default: 424, as Kaggle's"
    )
    export.add_argument("--seed", type=int, default=0, help="of the survey (default: 0)")
    data.set_defaults(command=_data)

    predict = commands.add_parser(
        "predict",
        help="vote fractions or classes of images, by a trained model",
        description=PREDICT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _image_options(predict)
    predict.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        default=Path("predictions.csv"),
        help="default: predictions.csv",
    )
    predict.add_argument("--force", action="store_true", help="replace another file at --out")
    predict.set_defaults(command=_predict)

    similar = commands.add_parser(
        "similar",
        help="the galaxies that are most like one, by a trained model",
        description=SIMILAR,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _image_options(similar)
    similar.add_argument(
        "--galaxy", metavar="ID", required=True, help="the one to compare with, among the images"
    )
    similar.add_argument(
        "--n", metavar="N", type=int, default=12, help="how many to find (default: 12)"
    )
    similar.add_argument(
        "--out", metavar="FOLDER", type=Path, default=Path(), help="default: this folder"
    )
    similar.set_defaults(command=_similar)

    gradcam = commands.add_parser(
        "gradcam",
        help="where in a galaxy a trained model sees a class, or an answer",
        description=GRADCAM,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _model_option(gradcam)
    gradcam.add_argument(
        "--galaxy", metavar="ID", nargs="+", required=True, help="a row of the picture for each"
    )
    _images_option(gradcam, required=False)
    gradcam.add_argument(
        "--question",
        metavar="NAME",
        help="such as bar, spiral, edge_on; of a model of vote fractions",
    )
    gradcam.add_argument(
        "--answer", metavar="NAME", help="one answer (default: all of the question), or one class"
    )
    gradcam.add_argument(
        "--method",
        metavar="NAME",
        nargs="+",
        default=["gradcam"],
        help="gradcam, gradcam++, hirescam, ...",
    )
    gradcam.add_argument("--layer", metavar="NAME", help="such as encoder.body.layer2")
    gradcam.add_argument(
        "--out", metavar="FILE", type=Path, default=Path("gradcam.png"), help="default: gradcam.png"
    )
    gradcam.set_defaults(command=_gradcam)
    return parser


def _plan_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--params",
        metavar="FILE",
        type=Path,
        help="parameters (default: params.yaml of the project)",
    )
    parser.add_argument(
        "-s",
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="change one parameter, such as -s resnet18.training.epochs=3; may be repeated",
    )
    parser.add_argument(
        "--run", metavar="NAME", help="name of the run (default: `run` in the parameters)"
    )


def _model_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", metavar="FILE", type=Path, required=True, help="models/RUN/STEP.safetensors"
    )


def _images_option(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--images",
        metavar="PATH",
        type=Path,
        nargs="+",
        default=[],
        required=required,
        help="folders of JPEG, PNG, TIFF or FITS images, zips, CSV files with a column `file`, images, FITS cubes"
        + (
            ""
            if required
            else " (default: the mock survey, whose galaxies are called mock-0-0000007)"
        ),
    )
    parser.add_argument(
        "--crop",
        metavar="PX",
        type=int,
        help="use the central PX x PX pixels (default: as in training)",
    )


def _image_options(parser: argparse.ArgumentParser) -> None:
    _model_option(parser)
    _images_option(parser, required=True)
    parser.add_argument(
        "--average-orientations",
        action="store_true",
        help="mean of 8 rotations and mirror images; slower",
    )
    parser.add_argument(
        "--batch-size", metavar="N", type=int, default=64, help="galaxies at a time (default: 64)"
    )


def _plan(options: argparse.Namespace) -> Any:
    from galaxymorph import project
    from galaxymorph.run.plan import make_plan

    path = options.params or project.root() / "params.yaml"
    return make_plan(path, overrides=options.overrides, run=options.run)


def _run(options: argparse.Namespace) -> int:
    from galaxymorph.run import runner
    from galaxymorph.run.locks import RunError
    from galaxymorph.run.problems import ParamsError

    try:
        plan = _plan(options)
        _check_only(plan, options.only)
        if options.jobs < 1:
            raise ParamsError([f"--jobs {options.jobs}: at least 1"])
        if options.list:
            print(_listing(plan, options.only))
            return 0
        outcome = runner.run(
            plan, only=options.only, force=options.force, jobs=options.jobs, out=sys.stdout
        )
    except (ParamsError, RunError) as error:
        print(error, file=sys.stderr)
        return 2
    _show(plan.run)
    if outcome.failed:
        print(f"failed: {', '.join(outcome.failed)}", file=sys.stderr)
    return 1 if outcome.failed else 0


def _tune(options: argparse.Namespace) -> int:
    if not importlib.util.find_spec("optuna"):
        print(
            "galaxymorph tune needs optuna, the extra `search`: pip install -e '.[search]'",
            file=sys.stderr,
        )
        return 2
    from galaxymorph.run.locks import RunError
    from galaxymorph.run.problems import ParamsError
    from galaxymorph.run.search import tune as search_tune

    try:
        searched = {
            "n_trials": options.trials,
            "metric": options.metric,
            "seed": options.seed,
            "restart": options.restart,
        }
        failed = search_tune(_plan(options), options.steps, **searched, out=sys.stdout)
    except (ParamsError, RunError) as error:
        print(error, file=sys.stderr)
        return 2
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _show(run: str) -> None:
    """Writes the report, and prints what it compares and where it is."""
    from galaxymorph.run.report import text, write

    path, compared = write(run), text(run)
    print("\n".join(["", compared, ""] if compared else [""]))
    print(path)


def _check_only(plan: Any, only: Sequence[str]) -> None:
    from galaxymorph.run.problems import ParamsError
    from galaxymorph.text import nearest

    names = {name for piece in plan.pieces for name in (piece.step, piece.name)}
    wrong = [name for name in only if name not in names]
    if wrong:
        raise ParamsError(
            f"--only {name}: there is no such step{nearest(name, names)}" for name in wrong
        )


def _listing(plan: Any, only: Sequence[str]) -> str:
    """Every piece of work: whether it is done, its notebook, its parameters, and the defaults of
    what differs."""
    from galaxymorph.run import done
    from galaxymorph.text import leaves

    lines = []
    for piece in (
        piece for piece in plan.pieces if not only or {piece.name, piece.step} & set(only)
    ):
        why = done.changed(plan, piece)
        needs = f", needs {', '.join(piece.needs)}" if piece.needs else ""
        lines.append(
            f"{piece.name}: {piece.notebook.path.name}, {f'to be executed ({why})' if why else 'done'}{needs}"
        )
        defaults = dict(leaves(piece.notebook.parameters))
        for key, value in leaves(piece.parameters):
            if key.split(".")[0] not in ("run", "step", "steps"):
                default = (
                    f"  (default {defaults[key]!r})"
                    if key in defaults and defaults[key] != value
                    else ""
                )
                lines.append(f"  {key}: {value!r}{default}")
    return "\n".join(lines)


def _report(options: argparse.Namespace) -> int:
    from galaxymorph.run.problems import ParamsError

    try:
        _show(options.run or _plan(options).run)
    except (ParamsError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _compare(options: argparse.Namespace) -> int:
    from galaxymorph.evaluation import foreign
    from galaxymorph.run import runner
    from galaxymorph.run.foreign import write
    from galaxymorph.run.locks import RunError

    try:
        brought = foreign.read(options.files, labels=options.labels)
        plan = write(options.run, brought)
        print("\n".join(map(str, brought)))
        outcome = runner.run(plan, force=True, out=sys.stdout)
    except (ValueError, OSError, RunError) as error:
        print(error, file=sys.stderr)
        return 2
    _show(plan.run)
    return 1 if outcome.failed else 0


def _data(options: argparse.Namespace) -> int:
    from galaxymorph import project
    from galaxymorph.data import download
    from galaxymorph.data.mock.export import export_survey

    try:
        if options.name is None:
            print(download.info())
        elif options.name == "export":
            folder = options.folder or project.root() / "data" / "export"
            sizes = {
                "n_galaxies": options.n_galaxies,
                "n_test": options.n_test,
                "image_size": options.image_size,
            }
            print(export_survey(folder, **sizes, seed=options.seed))
        else:
            print(download.download(options.name, folder=options.folder))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _predict(options: argparse.Namespace) -> int:
    from galaxymorph.apply.predict import predict as predict_predict

    return _on_images(options, predict_predict, options.out, force=options.force)


def _similar(options: argparse.Namespace) -> int:
    from galaxymorph.apply.similar import similar as similar_similar

    return _on_images(options, similar_similar, options.galaxy, n=options.n, out=options.out)


def _gradcam(options: argparse.Namespace) -> int:
    from galaxymorph.apply import explain

    names = {
        "question": options.question,
        "answer": options.answer,
        "methods": options.method,
        "layer": options.layer,
    }
    try:
        explain.explain(
            options.model, options.galaxy, options.images, options.out, **names, crop=options.crop
        )
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _on_images(
    options: argparse.Namespace,
    work: Callable[..., list[tuple[str, str, bool]]],
    *given: Any,
    **more: Any,
) -> int:
    """Does the work, and says which images could not be read, or had to be mended."""
    common = {
        name: getattr(options, name) for name in ("average_orientations", "batch_size", "crop")
    }
    try:
        remarks = work(options.model, options.images, *given, **more, **common)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    for what, wanted in (("mended", False), ("left out", True)):
        rows = [f"\n  {name}: {said}" for name, said, left_out in remarks if left_out == wanted]
        if rows:
            rest = f"\n  and {len(rows) - MOST:,} more" if len(rows) > MOST else ""
            print(f"images {what}: {len(rows):,}{''.join(rows[:MOST])}{rest}", file=sys.stderr)
    return 3 if any(left_out for _, _, left_out in remarks) else 0
