"""Find the galaxies that look most like a given one to a trained model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from galaxymorph import project
from galaxymorph.apply import outputs
from galaxymorph.apply.images import check_positive, find, read
from galaxymorph.apply.stream import BATCH, Remark, Say, Values, compute, progress, stream
from galaxymorph.data.found import without_ending
from galaxymorph.escape import csv_text, slug
from galaxymorph.learning import saved


def similar(
    model: Path,
    images: Sequence[Path],
    galaxy: str,
    *,
    n: int = 12,
    out: Path = Path(),
    average_orientations: bool | None = None,
    batch_size: int = BATCH,
    crop: int | None = None,
    say: Say = print,
) -> list[Remark]:
    """Find the `n` galaxies whose features are most similar (cosine) to those of one galaxy.

    Writes a table `similar_<galaxy>.csv` (`id, similarity`) and a figure `similar_<galaxy>.png` to
    the folder `out`; returns remarks. With `average_orientations` a galaxy is also similar to its
    rotated image. Raises `ValueError` for an unknown id, and for features that are not finite."""
    check_positive(n=n, batch_size=batch_size, crop=crop)
    learner, header = saved.load(model)
    found = find(images, header, crop)
    stem = out / f"similar_{slug(galaxy)}"
    table_file, picture = stem.with_name(f"{stem.name}.csv"), stem.with_name(f"{stem.name}.png")
    outputs.check([table_file, picture], [model, *images])
    encoder: Any = learner.encoder
    how = {"average_orientations": bool(average_orientations)}
    galaxy = galaxy if galaxy in found.ids else without_ending(galaxy)
    own = _unit(compute(encoder, read(found, [galaxy]), **how), [galaxy], model)[0]
    cosines, remarks = dict[str, float](), list[Remark]()
    batches = stream(encoder, found, batch_size=batch_size, **how)
    for ids, values, more in progress(batches, len(found.ids)):
        remarks += more
        if ids:
            cosines |= zip(ids, (_unit(values, ids, model) @ own).tolist(), strict=True)
    cosines.pop(galaxy, None)
    table = pd.DataFrame(cosines.items(), columns=["id", "similarity"])
    table = table.sort_values(by="similarity", ascending=False, kind="stable").head(n)
    if not len(table):
        raise ValueError(f"{galaxy!r} is the only galaxy; nothing to compare it with")

    project.write(table_file, csv_text(table, number="%.6f"))
    from galaxymorph.plots.galaxies import examples  # matplotlib is slow to import

    near = zip(table["id"], table["similarity"], strict=True)
    titles = [f"{galaxy}\nquery", *(f"{id}\n{cosine:.3f}" for id, cosine in near)]
    figure = examples(read(found, [galaxy, *table["id"]]), titles, columns=7)
    outputs.save_figure(figure, picture)
    say(f"{table.to_string(index=False)}\n\n{table_file}\n{picture}")
    return remarks


def _unit(features: Values, ids: Sequence[str], model: Path) -> Values:
    outputs.check_finite(features, ids, model)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
