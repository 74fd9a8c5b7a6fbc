"""The galaxies that look most like one, to a trained model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from galaxymorph.apply.images import cutouts_of, find
from galaxymorph.apply.predict import Say, check_positive, progress
from galaxymorph.apply.stream import BATCH, Remark, Values, compute, stream
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
    """Find the `n` galaxies whose features have the greatest cosine with those of one; write a
    table `similar_<galaxy>.csv` (`id, similarity`) and a picture `similar_<galaxy>.png` to the
    folder `out`; return remarks.

    With `average_orientations` a galaxy is near to its rotated image, too. Raises `ValueError` for
    an unknown id."""
    check_positive(n=n, batch_size=batch_size, crop=crop)
    learner, header = saved.load(model)
    cutout = header.get("cutout", {})
    found = find(images, cutout)
    encoder: Any = learner.encoder
    pixels = {"size": header["image_size"], "crop": crop or cutout.get("crop")}
    view = {"average_orientations": average_orientations}

    query = _unit(compute(encoder, cutouts_of(found, [galaxy], **pixels), **view))[0]
    ids, similarity, remarks = list[str](), list[float](), list[Remark]()
    batches = stream(encoder, found, **pixels, **view, batch_size=batch_size)
    for batch in progress(batches, len(found.ids)):
        ids += batch.ids
        similarity += (_unit(batch.values) @ query).tolist()
        remarks += batch.remarks
    table = pd.DataFrame({"id": ids, "similarity": similarity})
    table = table.loc[table["id"] != galaxy]
    table = table.sort_values(by="similarity", ascending=False, kind="stable").head(n)
    if not len(table):
        raise ValueError(f"{galaxy!r} is the only galaxy: there is nothing to compare it with")

    stem = f"similar_{galaxy.replace('/', '_')}"
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / f"{stem}.csv", index=False, float_format="%.6f")
    near = zip(table["id"], table["similarity"], strict=True)
    titles = [f"{galaxy}\nasked for", *(f"{id}\n{cosine:.3f}" for id, cosine in near)]
    figure = examples(cutouts_of(found, [galaxy, *table["id"]], **pixels), titles, columns=7)
    figure.savefig(out / f"{stem}.png", dpi=150)
    say(f"{table.to_string(index=False)}\n\n{out / stem}.csv\n{out / stem}.png")
    return remarks


def _unit(features: Values) -> Values:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
