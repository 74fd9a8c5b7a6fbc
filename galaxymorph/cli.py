"""The command line, `galaxymorph COMMAND`. Each command is a function, with its docstring as help
and its parameters as arguments. It imports what it needs, so that the command line starts fast."""

import importlib.util
import io
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from galaxymorph import early, escape, project
from galaxymorph.arguments import parser
from galaxymorph.project import trouble

MOST = 20  # images to list


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.
    0: success; 1: a step or download failed; 2: invalid parameters or arguments; 3: unreadable
    images; 130: Ctrl-C."""
    commands = [run, tune, report, compare, data, predict, similar, explore, gradcam]
    commands += [label, labels, next_, build_model]
    options = vars(parser(commands).parse_args(arguments))
    command = options.pop("command")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as for Ctrl-C
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        early.check_run(options.get("run"))
        return command(**options)
    except BrokenPipeError:
        from galaxymorph.run.screen import silence

        silence(sys.stdout)
        return 141  # as if stopped by SIGPIPE
    except (ValueError, OSError) as error:
        from galaxymorph.run.params import ParamsError

        if command in (run, tune, report) and not isinstance(error, ParamsError | OSError):
            raise  # a bug, not a user error
        print(trouble(error) if isinstance(error, OSError) else error, file=sys.stderr)
        return 1 if command is data else 2
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


# ---- runs


def run(*, only: list[str], force: bool, jobs: int, show: bool, **options: Any) -> int:
    """Train, evaluate, compare, report: execute the steps of params.yaml.

    Each step is a notebook in its own process; the report is written at the end. All parameters are
    checked before anything runs. Steps with unchanged inputs (parameters, code, data, steps that
    they read) are skipped. Ctrl-C stops at once; the same command resumes, and keeps finished
    jobs."""
    from galaxymorph.run.executors import Local
    from galaxymorph.run.params import ParamsError

    if jobs < 1:
        raise ParamsError([f"--jobs {jobs}: at least 1"])
    plan = _plan(**options, asked={"--only": only}, look=early.unreadable)
    if show:
        _list(plan, only)
        return 0
    return _execute(plan, only=only, force=force, executor=Local(jobs))


def tune(*, params: Path | None, overrides: list[str], run: str | None, **options: Any) -> int:
    """Tune the hyper-parameters of steps on validation galaxies only.

    The key `search` in a step's block lists the values to try. A trial trains like the step's
    notebook, but with these values, for one seed and without predictions; the first trial uses the
    step's own values. Each step gets the same number of trials, including earlier ones. If a step
    trains more than once, its first training is tuned. Losses and errors are minimised, other
    metrics maximised. Ctrl-C stops at once, and the same command resumes. The best values are
    written to results/RUN/tune/STEP/best.yaml, for galaxymorph run --params."""
    from galaxymorph.run.params import ParamsError

    if not importlib.util.find_spec("optuna"):
        extra = "the extra `search`: pip install -e '.[search]'"
        raise ParamsError([f"galaxymorph tune needs optuna, {extra}"])
    plan = _plan(params, overrides, run, asked={"tune": options["steps"]}, look=early.unreadable)
    from galaxymorph.run import search

    return _failed(search.tune(plan, **options, out=sys.stdout))


def report(*, run: str | None, params: Path | None = None, overrides: Sequence[str] = ()) -> int:
    """Show the comparison, and write results/RUN/index.html."""
    name = run or early.run_of(params or project.root() / "params.yaml", overrides)
    folder = project.run_folder(name)
    if not folder.is_dir():  # before pandas is imported
        raise FileNotFoundError(f"{folder}: run {name!r} has no steps yet; run one first")
    from galaxymorph.run.report import text, write

    path, compared = write(name), text(name)
    print(f"\n{compared}\n" if compared else "")
    print(path)
    return 0


def compare(*, files: list[str], labels: Path | None, run: str, stack: bool) -> int:
    """Compare methods from any code, given only their predictions.

    The comparison and its report form a run of their own. FILE is CSV with one row per galaxy:
    id,p_<class>,p_<class>,... and optionally label (the true class) and split (train, val, test,
    unlabelled; without it, all are test galaxies). A column `prediction` may replace p_<class>. The
    method is the file's name, or NAME in NAME=FILE; files of a run (cnn/seed=0/predictions.csv)
    keep their names. Several files of one method count as its seeds.

    Everything is checked before anything is written: errors are reported with file, line and
    galaxy, and the exit status is 2. An earlier comparison with the same --run is replaced."""
    from galaxymorph.run.foreign import read, stacked, write

    methods = read(files, labels=labels)
    methods += stacked(methods) if stack else []
    plan = write(run, methods)
    print("\n".join(map(str, methods)))
    return _execute(plan, force=True)


def _plan(params: Path | None, overrides: list[str], run: str | None, **options: Any) -> Any:
    from galaxymorph.run.plan import make_plan

    path = params or project.root() / "params.yaml"
    return make_plan(path, overrides=overrides, run=run, **options)


def _execute(plan: Any, **options: Any) -> int:
    """Execute a plan and report its results; return the exit status."""
    from galaxymorph.run import runner

    outcome = runner.run(plan, **options, out=sys.stdout)
    report(run=plan.run)
    return _failed(outcome.failed)


def _failed(names: Sequence[str]) -> int:
    if names:
        print(f"failed: {', '.join(names)}", file=sys.stderr)
    return 1 if names else 0


def _list(plan: Any, only: Sequence[str]) -> None:
    """Print each job: notebook, state, parameters, and the defaults that they replace."""
    from galaxymorph.run import done, runner
    from galaxymorph.text import leaves

    for job in runner.select(plan, only):
        why = done.changed(plan, job)
        state = f"to be executed ({why})" if why else "done"
        needs = f", needs {', '.join(job.needs)}" if job.needs else ""
        print(f"{job.name}: {job.notebook.path.name}, {state}{needs}")
        defaults = dict(leaves(job.notebook.parameters))
        given = {k: v for k, v in job.parameters.items() if k not in ("run", "step", "steps")}
        for key, value in leaves(given):
            default = defaults.get(key, value)
            other = f"  (default {default!r})" if default != value else ""
            print(f"  {key}: {value!r}{other}")


# ---- data


def data(
    *,
    name: str | None,
    path: Path | None,
    overrides: list[str],
    out: Path | None,
    folder: Path | None,
    **options: Any,
) -> int:
    """Look at galaxies before anything is trained; download published ones; export the mock survey.

    `data check PATH` says what is read, and writes a page with examples of each class, histograms
    of the pixels and all remarks. PATH is a params file (default: the project's), or galaxies: a
    folder, zip, HDF5 or Parquet file, FITS images, a CSV list of files. The exit status is 1 if
    they are not usable.

    `data cutouts TABLE --survey legacy --size 256 --out FOLDER` downloads a cut-out for each row of
    a table with ra and dec (degrees). The same command resumes. What could not be had is listed in
    failures.csv; the exit status is then 3.

    `data NAME` downloads and verifies a data set; without NAME, all are listed. `data export`
    writes the survey in the layout of Kaggle's Galaxy Zoo challenge."""
    sky = {key: options.pop(key) for key in ("survey", "size", "pixscale", "kind")}
    if name == "check":
        given = early.galaxies(path or project.root() / "params.yaml", overrides)
        from galaxymorph.apply.check import check

        return 0 if check(given, out or Path("check.html")) else 1
    if name == "cutouts":
        if None in (path, out, sky["survey"], sky["size"]):
            raise ValueError("data cutouts needs TABLE, --survey, --size and --out FOLDER")
        from galaxymorph.data import surveys

        summary, failed = surveys.cutouts(path, out, **sky)  # pyright: ignore
        print(summary)
        return 3 if failed else 0
    if path is not None:
        raise ValueError(f"unexpected {str(path)!r}: it is for `data check` or `data cutouts`")
    from galaxymorph.data import download

    if name is None:
        print(download.info())
    elif name == "export":
        from galaxymorph.data.mock.survey import export_survey

        print(export_survey(folder or project.root() / "data" / "export", **options))
    else:
        print(download.download(name, folder=folder))
    return 0


# ---- trained models


def predict(*, features: Path | None, **options: Any) -> int:
    """Predict vote fractions or classes of galaxies with a trained model, given only its file.

    Without --model it is the one in the package, trained on mock galaxies alone: it writes
    id,p_<class>...,label,set,unlike_training,Class1.1,..., where the set lists all classes that the
    galaxy may have, and galaxies unlike those of its training (unlike_training above 1) have none.
    Models of vote fractions write GalaxyID,Class1.1,...,Class11.6, a submission to the Galaxy Zoo
    challenge; models of classes write id,p_<class>...,label. Rows are sorted by id, the file name
    without extension (Parquet: in the order of the file). Unreadable images have no row and are
    listed at the end; the exit status is then 3. Run the same command again to resume."""
    early.check_paths(**options)
    from galaxymorph.apply.predict import predict

    remarks = predict(**options)
    if features:
        from galaxymorph.apply.pool import write_features

        how = ("model", "images", "average_orientations", "batch_size", "crop")
        write_features(out=features, **{name: options[name] for name in how})
    return _left_out(remarks)


def similar(**options: Any) -> int:
    """Find the galaxies most similar to a given one, by the features of a trained model.

    Similarity is the cosine in feature space. Writes a table (id,similarity) and a figure. The
    model may have been trained without labels."""
    early.check_paths(**options)
    from galaxymorph.apply.similar import similar

    return _left_out(similar(**options))


def gradcam(**options: Any) -> int:
    """Draw class-activation maps: where a trained model sees a class, or an answer to a question.

    Above each map is the model's prediction, with the volunteers' vote fraction if known, as for
    galaxies of the mock survey."""
    header = early.check_paths(**options)
    early.check_names(header, **options)
    from galaxymorph.apply.explain import explain

    explain(**options)
    return 0


def label(**options: Any) -> int:
    """Write a page to label galaxies by hand: one offline HTML file, one galaxy at a time, by keys.

    It asks for one of the classes, or the questions of Galaxy Zoo's decision tree (--tree), and
    saves the labels as CSV: id, label or answers, annotator, seconds, time. The same file, loaded
    again, goes on. Without --ids galaxies come in random order, so that those labelled so far are
    a fair sample; `galaxymorph next` chooses better ones. Golden galaxies, with known answers that
    are not on the page, are mixed in. The exit status is 3 if an image cannot be read."""
    from galaxymorph.apply.label import label

    return _left_out(label(**options))


def labels(*, action: str, files: list[Path], out: Path, **more: Any) -> int:
    """Merge labels of several people, or exchange them with Zooniverse and Label Studio.

    `labels merge a.csv b.csv --out labels.csv` writes the majority's labels and the votes, which a
    run reads as `labels`, and beside them the conflicts, the agreement (Cohen's or Fleiss' kappa
    with its 95 % interval), and what each annotator did. --golden rates annotators by galaxies
    with known answers, --images checks that all ids are there. All mistakes are listed with file
    and line before anything is written.

    `labels export --to zooniverse --images FOLDER --out FOLDER` writes a subject set: manifest and
    images. `--to label-studio ... --out tasks.json` writes tasks, and the interface that asks for
    --classes or --tree beside them. `labels import FILE --from zooniverse` (a classification
    export) or `--from label-studio` (a JSON export) makes labels of the answers, for merge."""
    if action != "export" and not files:
        raise ValueError(f"labels {action} needs FILE")
    early.check_action(action, more | {"files": files})
    from galaxymorph.evaluation import consensus, labels_exchange

    if action == "import":
        written = labels_exchange.imported(files, out, more["source"], question=more["question"])
        print("\n".join(map(str, written)))
        return 0
    from galaxymorph.apply import label

    if action == "merge":
        names = [name.strip() for name in (more["classes"] or "").split(",") if name.strip()]
        ids = label.chosen(more["images"], None).ids if more["images"] else None
        golden = more["golden"]
        for line in consensus.merge(files, out, golden=golden, classes=names, ids=ids):
            print(escape.visible(line))
        return 0
    options = {key: more[key] for key in ("images", "ids", "n", "crop")}
    asked = label.asked(more["classes"], more["tree"]) if more["target"] == "label-studio" else []
    shown, pictures, remarks = label.exported(**options)
    written = labels_exchange.exported(shown, pictures, asked, out, more["target"])
    print("\n".join(map(str, written)))
    return _left_out(remarks)


def explore(*, run: str | None, images: list[Path], out: Path | None, **options: Any) -> int:
    """Write a page to explore galaxies: one HTML file that works offline, also years later.

    A map of the galaxies by the features of a model, linked with a table, a gallery and histograms;
    for each galaxy the predictions, votes, class-activation maps and the most similar ones.

    `--run NAME` shows the galaxies of a run and what all its methods say; the model, whose features
    make the map, is by default the best on validation galaxies. `--images FOLDER` shows images with
    the predictions of the model (default: the one in the package), or those of a table:
    `--predictions FILE --images FOLDER`. Unreadable images are left out and listed; the exit status
    is then 3."""
    predictions, model = options.pop("predictions"), options["model"]
    if bool(run) == bool(images):
        raise ValueError("explore needs either --run NAME or --images FOLDER")
    if run:
        if predictions or options["crop"]:
            raise ValueError("--predictions and --crop are for --images: a run has its own")
        project.existing_model(model)
        from galaxymorph.explore_run import explore_run

        out = out or project.run_folder(run) / "explorer.html"
        explore_run(run, None if model == project.BUNDLED else model, out)
        print(out)
        return 0
    out = out or Path("explorer.html")
    early.check_paths(images=images, out=out, **options)
    from galaxymorph.apply.explore import explore

    return _left_out(explore(images=images, out=out, predictions=predictions, **options))


def next_(**options: Any) -> int:
    """Choose the galaxies to label next, for galaxymorph label --ids.

    From a run, its galaxies without a label; or from a table of `galaxymorph predict` and features
    of the same galaxies. Writes id,chosen_by,score. Whatever the rule, 10 % are random galaxies.
    Given the labels so far (--labels), it prints the accuracy and the share of each class among all
    galaxies, estimated from these, and with features how much 50 more labels would gain."""
    from galaxymorph.next_labels import next_labels

    print(next_labels(**options))
    return 0


def build_model(**options: Any) -> int:
    """Train the model in the package again, or a larger one, from mock galaxies alone.

    Half an hour on one core with bfloat16. The same command resumes."""
    from galaxymorph.apply.build_model import build

    build(**options)
    return 0


def _left_out(remarks: Sequence[tuple[str, str, bool]]) -> int:
    """List remarks on images and those that were left out; return the exit status."""
    for what, wanted in (("with remarks", False), ("left out", True)):
        rows = [f"\n  {name}: {why}" for name, why, left_out in remarks if left_out == wanted]
        for each in [row for row in rows if row.startswith("\n  all images: ")]:
            print(f"remark on {each[3:]}", file=sys.stderr)
            rows.remove(each)
        if rows:
            rest = f"\n  and {len(rows) - MOST:,} more" if len(rows) > MOST else ""
            print(f"images {what}: {len(rows):,}{''.join(rows[:MOST])}{rest}", file=sys.stderr)
    return 3 if any(left_out for _, _, left_out in remarks) else 0
