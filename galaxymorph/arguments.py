"""The arguments of the command line."""

import argparse
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import galaxymorph
from galaxymorph import project

# kinds of arguments
FLAG: Any = {"action": "store_true"}
NUMBER: Any = {"metavar": "N", "type": int}
PIXELS: Any = {"metavar": "PX", "type": int}
FILE: Any = {"metavar": "FILE", "type": Path}
NAME: Any = {"metavar": "NAME"}
STEPS: Any = {"metavar": "STEP", "nargs": "+"}
CHANGE: Any = {"metavar": "KEY=VALUE", "action": "append", "default": [], "dest": "overrides"}
ID: Any = {"metavar": "ID", "required": True}


def parser(functions: Sequence[Callable[..., int]]) -> argparse.ArgumentParser:
    """Return the parser of the command line; each function is a command of its name."""
    made = argparse.ArgumentParser(prog="galaxymorph", description=galaxymorph.__doc__)
    version = f"galaxymorph {galaxymorph.__version__}"
    made.add_argument("--version", action="version", version=version)
    commands = made.add_subparsers(required=True, metavar="COMMAND")

    named = {function.__name__: function for function in functions}

    def command(name: str) -> Any:
        """Add a command; return the method that adds its arguments."""
        function = named[name]
        text = inspect.getdoc(function) or ""
        added = commands.add_parser(
            name.strip("_").replace("_", "-"),
            help=text.splitlines()[0].rstrip("."),
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=function)
        return added.add_argument

    add = command("run")
    _plan_arguments(add)
    add("--only", **STEPS, default=[], help="execute only these steps or combinations")
    add("--force", **FLAG, help="also execute unchanged steps")
    add("--jobs", **NUMBER, default=1, help="how many jobs to execute in parallel (default: 1)")
    add("--list", **FLAG, dest="show", help="execute nothing; list all jobs with their parameters")

    add = command("tune")
    add("steps", **STEPS, help="steps of the parameters")
    _plan_arguments(add)
    add("--trials", **NUMBER, dest="n_trials", default=20, help="trials per step (default: 20)")
    metric = "column of history.csv (default: val_accuracy)"
    add("--metric", **NAME, default="val_accuracy", help=metric)
    add("--seed", **NUMBER, help="seed of all trials (default: the step's first)")
    add("--restart", **FLAG, help="discard earlier trials")

    _plan_arguments(command("report"))

    add = command("compare")
    add("files", metavar="FILE", nargs="+", help="predictions of a method; NAME=FILE names it")
    add("--labels", **FILE, help="true classes: CSV of id,label and optionally split")
    add("--run", **NAME, default="brought", help="name of the new run (default: brought)")
    add("--stack", **FLAG, help="also compare combinations, fitted on galaxies with split val")

    add = command("data")
    add(
        "name", **NAME, nargs="?", help="check; cutouts; export; galaxy10, galaxy_mnist, galaxy_zoo"
    )
    add("path", metavar="PATH", type=Path, nargs="?", help="for check: galaxies, or a params file")
    add("-s", "--set", **CHANGE, help="for check: such as -s galaxies.crop=212; may be repeated")
    add("--out", metavar="PATH", type=Path, help="page of check, or folder of cutouts")
    add("--survey", **NAME, help="for cutouts: legacy, sdss or ps1")
    add("--size", **PIXELS, help="for cutouts: side in pixels")
    add("--pixscale", metavar="ARCSEC", type=float, help="per pixel (default: the survey's own)")
    add("--format", dest="kind", default="jpg", help="of cutouts: jpg (default), or fits")
    add("--folder", type=Path, help="target (default: data/NAME in the project)")
    add("--n-galaxies", **NUMBER, default=500, help="galaxies exported with votes (default: 500)")
    add("--n-test", **NUMBER, default=100, help="galaxies exported without votes (default: 100)")
    add("--image-size", **PIXELS, default=424, help="size of exported images (default: 424)")
    add("--seed", **NUMBER, default=0, help="seed of the exported survey (default: 0)")

    add = command("predict")
    _image_arguments(add, several=True)
    add("--out", **FILE, default=Path("predictions.csv"), help="default: predictions.csv")
    add("--features", **FILE, help="also write the features of the galaxies, for next --features")
    add("--gallery", **FLAG, help="also write an .html page of the galaxies by predicted class")
    add("--force", **FLAG, help="overwrite a different file at --out")

    add = command("similar")
    _image_arguments(add, several=True)
    add("--galaxy", **ID, help="id of the galaxy to compare with, among the images")
    add("--n", **NUMBER, default=12, help="how many to find (default: 12)")
    add("--out", metavar="FOLDER", type=Path, default=Path(), help="default: this folder")

    add = command("label")
    _label_arguments(add)
    add("--out", **FILE, default=Path("label.html"), help="default: label.html")
    add("--golden", **FILE, help="galaxies with known answers, id,label or id,answers, mixed in")
    add("--annotator", **NAME, default="", help="who labels (default: asked by the page)")

    add = command("labels")
    add(
        "action",
        metavar="ACTION",
        choices=("merge", "export", "import"),
        help="merge, export, import",
    )
    add("files", metavar="FILE", type=Path, nargs="*", help="for merge and import: labels")
    add("--out", **FILE, required=True, help="table of labels; for export, folder or tasks")
    add("--golden", **FILE, help="for merge: known answers, which rate annotators")
    add("--to", **NAME, dest="target", help="for export: zooniverse or label-studio")
    add("--from", **NAME, dest="source", help="for import: zooniverse or label-studio")
    add(
        "--question", **NAME, help="for import: the task that has the classes, if there are several"
    )
    _label_arguments(add, required=False)

    add = command("explore")
    add("--run", **NAME, help="a run, with all that its methods say")
    _image_arguments(add, several=True, required=False)
    add("--predictions", **FILE, help="table of predict, or id,p_<class>,... by any code")
    page = "page (default: explorer.html; with --run in the folder of the run)"
    add("--out", **FILE, help=page)

    add = command("next_")
    add("--run", **NAME, help="choose from its galaxies without a label")
    add("--step", **NAME, help="of the run, whose model is used (default: the best)")
    add("--predictions", **FILE, help="choose from these galaxies: a table of predict")
    add("--features", **FILE, help="of the same galaxies: a table of predict --features")
    labels = "labels so far, of galaxymorph label: id,label"
    add("--labels", metavar="FILE", type=Path, nargs="+", default=[], help=labels)
    add("--n", **NUMBER, default=50, help="how many to choose (default: 50)")
    rules = "random, margin, entropy, bald, coreset, typical or typical-margin"
    default = "default: typical-margin; without features margin"
    add("--rule", **NAME, help=f"{rules} ({default})")
    add("--seed", **NUMBER, default=0, help="the same in all rounds (default: 0)")
    add("--out", **FILE, default=Path("next.csv"), help="default: next.csv")

    add = command("build_model")
    add("--out", **FILE, default=Path("models/mock_cnn.safetensors"), help="model file")
    add("--encoder", **NAME, default="cnn", help="cnn (default), resnet18, ...")
    add("--n-galaxies", **NUMBER, default=100_000, help="for training (default: 100,000)")
    add("--epochs", **NUMBER, default=3, help="default: 3")
    add("--image-size", **PIXELS, default=64, help="side of the images (default: 64)")
    add("--seed", **NUMBER, default=0, help="of weights, batches and views (default: 0)")

    add = command("gradcam")
    _image_arguments(add, several=False)
    add("--galaxy", **ID, dest="ids", nargs="+", help="ids of the galaxies to draw")
    add("--question", **NAME, help="for a model of vote fractions: bar, spiral, edge_on, ...")
    add("--answer", **NAME, help="one class, or one answer (default: all answers to the question)")
    more = {"dest": "methods", "nargs": "+", "default": ["gradcam"]}
    add("--method", **NAME, **more, help="gradcam (default), gradcam++, hirescam, ...")
    add("--layer", **NAME, help="layer to explain, such as encoder.body.layer2")
    add("--out", **FILE, default=Path("gradcam.png"), help="default: gradcam.png")
    return made


def _plan_arguments(add: Any) -> None:
    add("--params", **FILE, help="parameter file (default: the project's params.yaml)")
    change = "change one parameter, such as -s resnet18.training.epochs=3; may be repeated"
    add("-s", "--set", **CHANGE, help=change)
    add("--run", **NAME, help="name of the run (default: `run` in the parameters)")


def _label_arguments(add: Any, *, required: bool = True) -> None:
    path = {"metavar": "PATH", "type": Path, "nargs": "+", "default": []}
    images = "folders of JPEG, PNG, TIFF or FITS, zips, Parquet, CSV lists, files"
    add("--images", **path, required=required, help=images)
    add(
        "--ids", **FILE, help="table with the ids to label, in this order (default: all, at random)"
    )
    add("--n", **NUMBER, help="only the first N of them")
    add("--crop", **PIXELS, help="show the central PX x PX pixels (default: all)")
    add("--classes", metavar="A,B,...", help="names of the classes, separated by commas")
    add("--tree", **FLAG, help="ask the questions of Galaxy Zoo's decision tree instead")


def _image_arguments(add: Any, *, several: bool, required: bool = True) -> None:
    model = "models/RUN/STEP.safetensors (default: the model in the package)"
    add("--model", **FILE, default=project.BUNDLED, help=model)
    mock = "" if several else " (default: the mock survey, with ids such as mock-0-0000007)"
    images = f"folders of JPEG, PNG, TIFF or FITS, zips, Parquet, CSV lists, files{mock}"
    path = {"metavar": "PATH", "type": Path, "nargs": "+", "default": []}
    add("--images", **path, required=several and required, help=images)
    add("--crop", **PIXELS, help="use the central PX x PX pixels (default: as in training)")
    if several:
        if required:
            turned = (
                "mean of 8 rotations and reflections; predict does so by itself without --model"
            )
            add("--average-orientations", action=argparse.BooleanOptionalAction, help=turned)
        add("--batch-size", **NUMBER, default=64, help="galaxies per batch (default: 64)")
