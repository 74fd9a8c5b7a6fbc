"""Find the galaxies that look most like a given one to a trained model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from galaxymorph.apply.images import check_positive, find, read
from galaxymorph.apply.stream import BATCH, Remark, Say, Values, compute, progress, stream
from galaxymorph.learning import saved
from galaxymorph.plots.galaxies import examples


def similar(
    model: Path,
    images: Sequence[Path],
    galaxy: str,
    *,
    n: int = 12,
    out: Path = Path(),
    average_orientations: bool = False,
    batch_size: int = BATCH,
    crop: int | None = None,
    say: Say = print,
) -> list[Remark]:
    """Find the `n` galaxies whose features are most similar (cosine) to those of one galaxy.

    Writes a table `similar_<galaxy>.csv` (`id, similarity`) and a figure `similar_<galaxy>.png` to
    the folder `out`; returns remarks. With `average_orientations` a galaxy is also similar to its
    rotated image. Raises `ValueError` for an unknown id."""
    check_positive(n=n, batch_size=batch_size, crop=crop)
    learner, header = saved.load(model)
    found = find(images, header, crop)
    encoder: Any = learner.encoder
    how = {"average_orientations": average_orientations}
    own = _unit(compute(encoder, read(found, [galaxy]), **how))[0]
    cosines, remarks = dict[str, float](), list[Remark]()
    batches = stream(encoder, found, batch_size=batch_size, **how)
    for ids, values, more in progress(batches, len(found.ids)):
        remarks += more
        if ids:
            cosines |= zip(ids, (_unit(values) @ own).tolist(), strict=True)
    cosines.pop(galaxy, None)
    table = pd.DataFrame(cosines.items(), columns=["id", "similarity"])
    table = table.sort_values(by="similarity", ascending=False, kind="stable").head(n)
    if not len(table):
        raise ValueError(f"{galaxy!r} is the only galaxy; nothing to compare it with")

    stem = f"similar_{galaxy.replace('/', '_')}"
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / f"{stem}.csv", index=False, float_format="%.6f")
    near = zip(table["id"], table["similarity"], strict=True)
    titles = [f"{galaxy}\nquery", *(f"{id}\n{cosine:.3f}" for id, cosine in near)]
    figure = examples(read(found, [galaxy, *table["id"]]), titles, columns=7)
    figure.savefig(out / f"{stem}.png", dpi=150)
    say(f"{table.to_string(index=False)}\n\n{out / stem}.csv\n{out / stem}.png")
    return remarks


def _unit(features: Values) -> Values:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
