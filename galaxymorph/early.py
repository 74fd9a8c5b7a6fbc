"""Checks of the command line's arguments before torch, which takes seconds, is imported."""

import errno
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from galaxymorph import galaxy_zoo_tree, project
from galaxymorph.text import unknown

# kinds of maps, as in `diagnostics.gradcam`
MAPS = ("gradcam", "gradcam++", "hirescam", "layercam", "occlusion", "centred", "random")


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
    for path in images or ():
        project.existing(path)
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


def galaxies(path: Path, overrides: list[str]) -> dict[str, Any]:
    """Return the options of `data.load` in a params file, or those given for a path of galaxies.

    Refuses paths that do not exist."""
    from galaxymorph.run import notebooks, params

    given = {"galaxies": {"root": str(project.existing(path).absolute())}}
    is_params = path.suffix.lower() in (".yaml", ".yml")
    document = params.read(path) if is_params else given
    problems = params.Problems(path.name)
    for text in overrides:
        params.override(document, text, problems)
    galaxies = params.named({"name": None}, document.get("galaxies") or {})
    for option, why in params.missing(galaxies):
        problems.add(f"galaxies.{option}", why)
    if is_params and not problems.found:
        notebook = notebooks.read(project.root() / "notebooks" / "02_data.ipynb")
        for key, why in notebook.mistakes({"galaxies": galaxies}):
            problems.add(key, why)
        galaxies = params.merge(notebook.parameters["galaxies"], galaxies)
    if problems.found:
        raise params.ParamsError(problems.found)
    return galaxies
