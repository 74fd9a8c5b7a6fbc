"""The command line: `galaxymorph run | report | data`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import galaxymorph

RUN = """Executes the steps of params.yaml in order, each a notebook in a process of its own, then makes the report.

Every key is checked before anything runs. A step whose inputs (parameters, code, data, steps that it reads) have not changed
is skipped. Ctrl-C stops at once; what is finished stays finished, and the same command goes on from there."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, 1 where a step has failed, 2 for wrong parameters or arguments, 130 after Ctrl-C."""
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
    parser.add_argument("--version", action="version", version=f"galaxymorph {galaxymorph.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="train, evaluate, compare, report: the steps of params.yaml",
        description=RUN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _plan_options(run)
    run.add_argument("--only", metavar="STEP", nargs="+", default=[], help="execute only these steps, or single combinations")
    run.add_argument("--force", action="store_true", help="also execute what has not changed")
    run.add_argument("--jobs", metavar="N", type=int, default=1, help="execute up to N pieces of work side by side")
    run.add_argument("--list", action="store_true", help="execute nothing; show every piece of work with its parameters")
    run.set_defaults(command=_run)

    report = commands.add_parser(
        "report",
        help="show what was compared, and write results/RUN/index.html",
        description="Shows what was compared, and writes results/RUN/index.html.",
    )
    _plan_options(report)
    report.set_defaults(command=_report)

    data = commands.add_parser(
        "data",
        help="download published galaxies, or export the mock survey",
        description="Downloads published galaxies and checks them; without NAME, says which there are and how each is used.",
    )
    data.add_argument("name", metavar="NAME", nargs="?", help="galaxy10, galaxy_mnist, galaxy_zoo; or export, the mock survey")
    data.add_argument("--folder", type=Path, help="where to (default: data/NAME of the project)")
    export = data.add_argument_group("export: writes a mock survey in the layout of Kaggle's Galaxy Zoo challenge")
    export.add_argument("--n-galaxies", metavar="N", type=int, default=500, help="with published votes (default: 500)")
    export.add_argument("--n-test", metavar="N", type=int, default=100, help="without (default: 100)")
    export.add_argument("--image-size", metavar="PX", type=int, default=424, help="default: 424, as Kaggle's")
    export.add_argument("--seed", type=int, default=0, help="of the survey (default: 0)")
    data.set_defaults(command=_data)
    return parser


def _plan_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--params", metavar="FILE", type=Path, help="parameters (default: params.yaml of the project)")
    parser.add_argument(
        "-s",
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="change one parameter, such as -s resnet18.training.epochs=3; may be repeated",
    )
    parser.add_argument("--run", metavar="NAME", help="name of the run (default: `run` in the parameters)")


def _plan(options: argparse.Namespace) -> Any:
    from galaxymorph import params, runs

    path = options.params or runs.root() / "params.yaml"
    return params.plan(path, overrides=options.overrides, run=options.run)


def _run(options: argparse.Namespace) -> int:
    from galaxymorph import params, runner

    try:
        plan = _plan(options)
        _check_only(plan, options.only)
        if options.jobs < 1:
            raise params.ParamsError([f"--jobs {options.jobs}: at least 1"])
        if options.list:
            print(_listing(plan))
            return 0
        outcome = runner.run(plan, only=options.only, force=options.force, jobs=options.jobs, out=sys.stdout)
    except (params.ParamsError, runner.RunError) as error:
        print(error, file=sys.stderr)
        return 2
    _show(plan.run)
    if outcome.failed:
        print(f"failed: {', '.join(outcome.failed)}", file=sys.stderr)
    return 1 if outcome.failed else 0


def _show(run: str) -> None:
    """Writes the report, and prints what it compares and where it is."""
    from galaxymorph import report

    path, compared = report.write(run), report.text(run)
    print("\n".join(["", compared, ""] if compared else [""]))
    print(path)


def _check_only(plan: Any, only: Sequence[str]) -> None:
    from galaxymorph import notebooks, params

    names = {name for piece in plan.pieces for name in (piece.step, piece.name)}
    wrong = [name for name in only if name not in names]
    if wrong:
        raise params.ParamsError(f"--only {name}: there is no such step{notebooks.nearest(name, names)}" for name in wrong)


def _listing(plan: Any) -> str:
    """Every piece of work: whether it is done, its notebook, its parameters, and the defaults of what differs."""
    from galaxymorph import runner, runs

    lines = []
    for piece in plan.pieces:
        why = runner.changed(plan, piece)
        needs = f", needs {', '.join(piece.needs)}" if piece.needs else ""
        lines.append(f"{piece.name}: {piece.notebook.path.name}, {f'to be executed ({why})' if why else 'done'}{needs}")
        defaults = dict(runs.leaves(piece.notebook.parameters))
        for key, value in runs.leaves(piece.parameters):
            if key.split(".")[0] not in ("run", "step", "steps"):
                default = f"  (default {defaults[key]!r})" if key in defaults and defaults[key] != value else ""
                lines.append(f"  {key}: {value!r}{default}")
    return "\n".join(lines)


def _report(options: argparse.Namespace) -> int:
    from galaxymorph import params

    try:
        _show(options.run or _plan(options).run)
    except (params.ParamsError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _data(options: argparse.Namespace) -> int:
    from galaxymorph import download, runs

    try:
        if options.name is None:
            print(download.info())
        elif options.name == "export":
            folder = options.folder or runs.root() / "data" / "export"
            sizes = {"n_galaxies": options.n_galaxies, "n_test": options.n_test, "image_size": options.image_size}
            print(download.export_survey(folder, **sizes, seed=options.seed))
        else:
            print(download.download(options.name, folder=options.folder))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0
