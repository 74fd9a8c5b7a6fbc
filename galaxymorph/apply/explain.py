"""Draw class-activation maps of a trained model, from its file alone."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from galaxymorph import galaxy_zoo_tree
from galaxymorph.apply import outputs
from galaxymorph.apply.images import find, read
from galaxymorph.apply.stream import Say
from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.diagnostics import gradcam, map_scores
from galaxymorph.diagnostics.targets import answers, captions
from galaxymorph.learning import saved, train
from galaxymorph.pixels import Pixels
from galaxymorph.plots import gradcam as gradcam_plots
from galaxymorph.text import unknown

MOCK = re.compile(r"mock-(\d+)-(\d{7})")  # survey and number of a galaxy of `survey.mock_survey`


def explain(
    model: Path,
    ids: Sequence[str],
    images: Sequence[Path],
    out: Path,
    *,
    question: str | None = None,
    answer: str | None = None,
    methods: Sequence[str] = ("gradcam",),
    layer: str | None = None,
    crop: int | None = None,
    say: Say = print,
) -> None:
    """Draw maps of where a model sees an answer or a class, and save them as the file `out`.

    Rows are galaxies, columns are answers and methods (`gradcam.maps`). The galaxies are those with
    these ids among `images` or, without images, in the mock survey ("mock-0-0000007"), where votes
    are known. `question` and `answer` select one answer, or `question` alone all of its answers;
    `answer` alone is a class. Raises `ValueError` for an unknown name, an unknown figure format and
    predictions that are not finite; an `OSError` as `predict` does."""
    learner, header = saved.load(model)
    known = answers(learner, header)
    chosen = _chosen(header, question, answer)
    outputs.check_figure(out)
    pixels, votes, read = _galaxies(ids, images, header, crop)
    outputs.check([out], [model, *images, *read])
    predicted = train.predict(learner, pixels, precision="fp32").numpy()
    outputs.check_finite(predicted, ids, model)
    heat, texts = dict[str, Tensor](), dict[str, list[str]]()
    for name, method in itertools.product(chosen, methods):
        key = name if len(methods) == 1 else f"{name}, {method}"
        heat[key] = gradcam.maps(learner, pixels, known[name].target, method=method, layer=layer)
        below = captions(name, known[name], predicted, votes)
        texts[key] = [f"{method}\n{text}" for text in below]
    outputs.save_figure(gradcam_plots.overlay(pixels, heat, list(ids), texts), out)
    for key, maps in heat.items():
        shares = zip(ids, map_scores.heat_on_galaxy(pixels, maps).tolist(), strict=True)
        say(f"{key}, heat on the galaxy: " + ", ".join(f"{id} {part:.0%}" for id, part in shares))
    say(str(out))


def _chosen(header: dict[str, Any], question: str | None, answer: str | None) -> list[str]:
    """Return the names of what is to be explained: `bar: yes`, or a class."""
    classes = header.get("classes")
    if question is not None and "answers" not in header:
        advice = f"give one of {', '.join(classes or ())} as the answer"
        raise ValueError(f"the model predicts classes, not answers to questions: {advice}")
    if classes and question is None:
        kind, names = "class", {name: name for name in classes}
    else:
        if question is None:
            raise ValueError(f"which question? Known: {', '.join(galaxy_zoo_tree.SLICES)}")
        question = question.replace(" ", "_")
        if question not in galaxy_zoo_tree.SLICES:
            raise ValueError(unknown("question", question, galaxy_zoo_tree.SLICES))
        labels = galaxy_zoo_tree.LABELS[galaxy_zoo_tree.SLICES[question]]
        kind, names = "answer", {label.partition(": ")[2]: label for label in labels}
    if answer is not None and answer not in names:
        raise ValueError(unknown(kind, answer, names))
    return list(names.values()) if answer is None else [names[answer]]


def _galaxies(
    ids: Sequence[str], images: Sequence[Path], header: dict[str, Any], crop: int | None
) -> tuple[Pixels, Float[ndarray, "galaxy 37"] | None, list[str]]:
    """Return cutouts of the galaxies, for those of the mock survey their votes, and their files."""
    if images:
        found = find(images, header, crop)
        names = dict(zip(found.ids, found.names, strict=True))
        return torch.from_numpy(read(found, ids)), None, [names[id] for id in ids]
    matches = [MOCK.fullmatch(id) for id in ids]
    if not all(matches):
        named = "galaxies of the mock survey are called mock-0-0000007"
        raise ValueError(f"{named}; for other galaxies ({', '.join(ids)}), give --images")
    pairs = [(int(match[1]), int(match[2])) for match in matches if match]
    lengths = {seed: 1 + row for seed, row in sorted(pairs)}  # up to the last galaxy needed
    size = header["image_size"]
    surveys = {seed: mock_survey(n, image_size=size, seed=seed) for seed, n in lengths.items()}
    pixels = torch.stack([surveys[seed].images[row] for seed, row in pairs])
    votes = torch.stack([surveys[seed].votes[row] for seed, row in pairs]).numpy()
    return pixels, votes, []
