"""What a model says of many galaxies: their features, and the probabilities of its classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from galaxymorph import project
from galaxymorph.apply import outputs
from galaxymorph.apply.images import find
from galaxymorph.apply.stream import BATCH, Values, progress, stream
from galaxymorph.data.load import load
from galaxymorph.escape import csv_text
from galaxymorph.learning import saved, train
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.votes_and_classes import VotesAndClasses

Chances = Float[ndarray, "model galaxy class"]


def write_features(
    model: Path,
    images: Sequence[Path],
    out: Path,
    *,
    average_orientations: bool = False,
    batch_size: int = BATCH,
    crop: int | None = None,
) -> None:
    """Write a table of features, `id, f_0, f_1, ...`, of all images that can be read.

    Raises `ValueError` for features that are not finite."""
    learner, header = saved.load(model)
    found = find(images, header, crop)
    outputs.check([out], [model, *images, *found.names])
    encoder: Any = learner.encoder
    how = {"average_orientations": average_orientations, "batch_size": batch_size}
    names, parts = list[str](), list[Values]()
    for ids, values, _ in progress(stream(encoder, found, **how), len(found.ids)):
        if ids:
            outputs.check_finite(values, ids, model)
            names += ids
            parts.append(values)
    values = np.concatenate(parts)
    table = pd.DataFrame(values, columns=[f"f_{k}" for k in range(values.shape[1])])
    table.insert(0, "id", names)
    project.write(out, csv_text(table, number="%.5g"))


def of_run(
    galaxies: dict[str, Any], models: Sequence[Path], *, seed: Any, n_labels: Any
) -> tuple[pd.DataFrame, Chances, Values, list[str]]:
    """Predict the galaxies of a run that are not test galaxies, with the seeds of a method.

    Args:
        galaxies: options of `data.load`; seed, n_labels: of the first model.

    Returns a table of id and label (empty: to be labelled), the probabilities by each model, the
    features by the first, and the classes. Raises `ValueError` if all galaxies have a label."""
    sample = load(**{"seed": seed, "n_labels": n_labels} | galaxies)
    sample = sample.take(sample.split != "test")
    if not (sample.split == "unlabelled").any():
        advice = "add some with unlabelled_root, or give --predictions of other galaxies"
        raise ValueError(f"no galaxy of the run is without a label: {advice}")
    names = np.array([*sample.classes, ""], dtype=object)
    known = np.where(sample.split == "unlabelled", -1, sample.labels.numpy())
    chances, features = [], np.empty((0, 0))
    for path in models:
        learner, _ = saved.load(path)
        if not isinstance(learner, Classifier | VotesAndClasses):
            raise ValueError(f"{path} does not predict classes: choose another --step")
        p = train.predict(learner, sample.images)
        if isinstance(learner, VotesAndClasses):
            p = learner.judge(p).chances
        chances.append((p / p.sum(1, keepdim=True)).numpy())
        if len(chances) == 1:
            encoder: Any = learner.encoder
            features = train.embed(encoder, sample.images).numpy()
    table = pd.DataFrame({"id": sample.ids.astype(str), "label": names[known]})
    return table, np.stack(chances), features, list(sample.classes)
