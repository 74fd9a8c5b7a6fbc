"""Checks of the command line's arguments before torch, which takes seconds, is imported."""

import errno
import inspect
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from galaxymorph import galaxy_zoo_tree, project
from galaxymorph.text import unknown

# kinds of maps, as in `diagnostics.gradcam`
MAPS = ("gradcam", "gradcam++", "hirescam", "layercam", "occlusion", "centred", "random")
# options of `data.load` for every source, or for sources that are not files
COMMON = ("name", "image_size", "target", "n_labels", "label_fraction", "test", "val", "seed")
COMMON += ("folds", "cache", "crop", "unlabelled_root", "unlabelled_crop", "on_bad")
COMMON += ("n_galaxies", "survey_seed", "n_classes")
# options of `labels` by action
ACTIONS = {
    "merge": {"files", "images", "golden", "classes"},
    "import": {"files", "source", "question"},
    "export": {"images", "ids", "n", "crop", "classes", "tree", "target"},
}


def check_run(name: str | None) -> None:
    """Refuse a `--run` that is not a name, and wrong bounds, before anything else."""
    why = f"--run: {wrong}" if name is not None and (wrong := project.misnamed(name)) else ""
    try:
        project.bounds()
    except ValueError as error:
        why = str(error)
    if why:
        from galaxymorph.run.params import ParamsError

        raise ParamsError([why])


def run_of(path: Path, overrides: Sequence[str]) -> str:
    """Return the name of the run in a params file, of which nothing else is checked."""
    from galaxymorph.run import params

    document, problems = params.read(path), params.Problems(path.name)
    for text in overrides:
        params.override(document, text, problems)
    if why := project.misnamed(document.get("run")):
        problems.add("run", why)
    if problems.found:
        raise params.ParamsError(problems.found)
    return document["run"]


def check_paths(
    *, model: Path, images: Sequence[Path] | None, out: Path, **options: Any
) -> dict[str, Any]:
    """Refuse wrong paths and numbers; return the model's header."""
    from safetensors import SafetensorError, safe_open

    project.existing_model(model)
    if images:
        from galaxymorph.apply.images import check_readable

        for path in images:
            check_readable(project.existing(path))
    try:
        with safe_open(model, framework="numpy") as file:
            header = json.loads((file.metadata() or {})["header"])
    except (SafetensorError, KeyError, ValueError):
        wanted = "expected models/RUN/STEP.safetensors, which a step has written"
        raise ValueError(f"{model}: not a valid model file: {wanted}") from None
    for name in ("crop", "batch_size", "n"):
        if (value := options.get(name)) is not None and value < 1:
            raise ValueError(f"{name}={value}: expected at least 1")
    above = next(each for each in (out, *out.absolute().parents) if each.exists())
    if not os.access(above, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(above))
    return header if isinstance(header, dict) else {}


def check_action(action: str, given: Mapping[str, Any]) -> None:
    """Refuse options of `labels` that are for another action."""
    names = {"source": "--from", "target": "--to", "files": "FILE"}
    other = [name for name, value in given.items() if value and name not in ACTIONS[action]]
    if other:
        wrong = ", ".join(names.get(name, f"--{name}") for name in other)
        raise ValueError(f"labels {action} does not use {wrong}: leave it out")


def check_names(
    header: Mapping[str, Any],
    *,
    ids: Sequence[str],
    images: Sequence[Path],
    question: str | None,
    answer: str | None,
    methods: Sequence[str],
    **_: Any,
) -> None:
    """Refuse unknown classes, questions, answers, methods and mock galaxies."""
    for method in methods:
        if method not in MAPS:
            raise ValueError(unknown("method", method, MAPS))
    classes, slices = header.get("classes"), galaxy_zoo_tree.SLICES
    if question is not None and "answers" in header:
        classes = None
    if question is not None and (question := question.replace(" ", "_")) not in slices:
        raise ValueError(unknown("question", question, slices))
    known = classes
    if question is not None and not classes:
        labels = galaxy_zoo_tree.LABELS[slices[question]]
        known = [label.partition(": ")[2] for label in labels]
    if answer is not None and known and answer not in known:
        raise ValueError(unknown("class" if classes else "answer", answer, known))
    odd = [each for each in ids if not images and not re.fullmatch(r"mock-\d+-\d{7}", each)]
    if odd:
        mock = "galaxies of the mock survey are called mock-0-0000007"
        raise ValueError(f"{mock}; for other galaxies ({', '.join(odd)}), give --images")


def unreadable(galaxies: Any, *, complete: bool = True) -> Iterator[tuple[str, str]]:
    """Find what is wrong with the files of galaxies, from names and tables: (option, why).

    Decodes nothing. Leaves options that are unknown, or of a wrong type, to the check of params;
    and images without labels and the like to `data.load`, unless the set must be `complete`."""
    from galaxymorph.run import params, typecheck

    galaxies = params.named({"name": None}, galaxies)
    if lacking := [*params.missing(galaxies)]:
        yield from lacking
        return
    from galaxymorph.data import ways

    source = ways.FILES.get(str(galaxies.get("name"))) if isinstance(galaxies, dict) else None
    if source is None or "root" not in galaxies:
        return
    takes = inspect.signature(source).parameters
    known = {key: takes[key].annotation for key in galaxies if key in takes}
    if galaxies.keys() - known.keys() - {*COMMON}:
        return
    if not all(typecheck.accepts(galaxies[key], hint) for key, hint in known.items()):
        return
    try:
        found = ways.find(galaxies)
        ways.check_complete(found, galaxies.get("on_bad", "raise") if complete else "skip")
    except (ValueError, OSError) as error:
        table = galaxies.get("labels")
        yield "labels" if table and Path(table).name in str(error) else "root", str(error)


def galaxies(path: Path, overrides: list[str]) -> dict[str, Any]:
    """Return the options of `data.load` in a params file, or those given for a path of galaxies,
    where other paths start in the current folder, too.

    Refuses paths that do not exist, and galaxies that are not found."""
    from galaxymorph.apply import images
    from galaxymorph.data import ways
    from galaxymorph.run import notebooks, params

    given = {"galaxies": {"root": str(project.existing(path).absolute())}}
    is_params = path.suffix.lower() in (".yaml", ".yml")
    document = params.read(path) if is_params else given
    problems = params.Problems(path.name)
    for text in overrides:
        params.override(document, text, problems)
    galaxies = params.named({"name": None}, document.get("galaxies") or {})
    if not isinstance(galaxies, dict):
        raise ValueError(f"galaxies: expected a mapping of options, not {galaxies!r}")
    if not is_params:
        for option in ways.PATHS:
            if isinstance(value := galaxies.get(option), str):
                galaxies[option] = str(Path(value).expanduser().absolute())
        if "name" not in galaxies:
            galaxies = ways.kind_of(path.absolute(), labels="labels" in galaxies) | galaxies
    for option, why in params.missing(galaxies):
        problems.add(f"galaxies.{option}", why)
    if not problems.found:
        for _, why in unreadable(galaxies, complete=False):
            raise ValueError(why)
    if (is_params or "name" in galaxies) and not problems.found:
        notebook = notebooks.read(project.root() / "notebooks" / "02_data.ipynb")
        for key, why in notebook.mistakes({"galaxies": galaxies}):
            problems.add(key, why)
        if is_params:
            galaxies = params.merge(notebook.parameters["galaxies"], galaxies)
    if problems.found:
        raise params.ParamsError(problems.found)
    if "name" not in galaxies:
        images.check_readable(path)
    return galaxies
