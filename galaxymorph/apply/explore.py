"""Write a page to explore images: of a model's features, with its predictions or a table's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from galaxymorph import galaxy_zoo_tree, project
from galaxymorph.apply import explorer, outputs
from galaxymorph.apply.explored import Features, drawn, projections, unusual, with_predictions
from galaxymorph.apply.explorer import LARGE, LARGER, PICTURED, TILE, Explored
from galaxymorph.apply.images import check_positive, find, read
from galaxymorph.apply.predict import tabulated
from galaxymorph.apply.stream import BATCH, Remark, Say, progress, stream
from galaxymorph.escape import read_csv
from galaxymorph.learning import saved
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.votes import VoteRegressor
from galaxymorph.text import listing


def explore(
    model: Path,
    images: Sequence[Path],
    out: Path,
    *,
    predictions: Path | None = None,
    crop: int | None = None,
    batch_size: int = BATCH,
    say: Say = print,
) -> list[Remark]:
    """Write a page to explore images: their features by a model, with its predictions or a table's.

    `predictions` is a table of `predict`, or of any code with `id, p_<class>, ...` and optionally
    `split` and `label`; other columns are shown, too. The label is the true class, unless it is the
    most probable one in every row and there is no `split`: then it is taken for the prediction.

    Returns remarks on images. Raises `ValueError` for features that are not finite and for a table
    of other galaxies, and an `OSError` as `predict` does."""
    check_positive(batch_size=batch_size, crop=crop)
    loaded, header = saved.load(model)
    learner: Any = loaded
    found = find(images, header, crop)
    table = None if predictions is None else _read_table(predictions)
    given = [predictions] if predictions else []
    outputs.check([out], [model, *images, *given, *found.names])
    ids, features, predicted, remarks = _streamed(learner, found, model, batch_size=batch_size)
    if not ids:
        raise ValueError(f"{listing(images)}: no image could be read")
    notes = [f"Neighbours and maps: features of {model.stem}."]
    if table is not None:
        notes += _matched(table, ids, predictions)
        table = table.reindex(ids)
    elif predicted.shape[1]:
        table = tabulated(learner, header.get("classes"), ids, predicted)
        table = table.set_index(table.columns[0])
    shown = drawn(len(ids), PICTURED)
    tile = LARGER if len(shown) <= LARGE else TILE
    again = find(images, {**header, "image_size": tile}, crop)
    explored = Explored(
        ids=ids,
        projections=projections(features),
        features=features,
        pictures=read(again, [ids[row] for row in shown]),
        pictured=shown,
    )
    if table is not None:
        with_predictions(explored, table, method=(predictions or model).stem)
    main = explored.columns.get("galaxy", pd.DataFrame(index=range(len(ids))))
    explored.columns = {**explored.columns, "galaxy": main.join(unusual(features))}
    if len(shown) < len(ids):
        notes.append(f"{len(shown):,} of {len(ids):,} galaxies have a picture, drawn at random.")
    title = listing((path.name or path for path in images), 3)
    project.write(out, explorer.page(explored, title=title, notes=notes, model=model))
    say(str(out))
    return remarks


def _streamed(
    learner: Any, found: Any, model: Path, *, batch_size: int
) -> tuple[list[str], Features, Float[ndarray, "galaxy output"], list[Remark]]:
    """Return ids, features and predictions (none without a head) of all images, and remarks."""
    encoder, has_head = learner.encoder, isinstance(learner, Classifier | VoteRegressor)

    def both(pixels: Tensor) -> Tensor:
        parts = [encoder(pixels).float()]
        parts += [learner.predict(pixels).float()] if has_head else []
        return torch.cat(parts, 1)

    ids, rows, remarks = list[str](), list[ndarray](), list[Remark]()
    batches = stream(both, found, batch_size=batch_size)
    for batch, values, more in progress(batches, len(found.ids)):
        remarks += more
        if batch:
            outputs.check_finite(values, batch, model)
            ids += batch
            rows.append(values)
    values, n = np.concatenate([*rows, np.zeros((0, 1))]) if not rows else np.concatenate(rows), 0
    n = encoder.num_features if rows else 0
    return ids, values[:, :n], values[:, n:], remarks


def _read_table(path: Path) -> pd.DataFrame:
    """Read a table of predictions, by id."""
    texts: Any = {"id": str, "GalaxyID": str, "label": str, "split": str, "set": str}
    table = read_csv(project.existing(path), dtype=texts, na_values=[""])
    key = next((name for name in ("id", "GalaxyID") if name in table), None)
    if key is None:
        raise ValueError(f"{path}: missing column 'id'; the table has {listing(table, 5)}")
    twice = table.index[table[key].duplicated(keep=False)]
    if len(twice):
        rows = [row + 2 for row in twice if table[key][row] == table[key][twice[0]]]
        raise ValueError(f"{path}: duplicate id {table[key][twice[0]]!r} (lines {listing(rows)})")
    for name in table:
        predicted = str(name).startswith("p_") or name in galaxy_zoo_tree.COLUMNS
        if predicted and not pd.api.types.is_numeric_dtype(table[name]):
            raise ValueError(f"{path}: column {name!r} is not numeric")
    return table.set_index(key)


def _matched(table: pd.DataFrame, ids: Sequence[str], path: Path | None) -> list[str]:
    """Return notes on galaxies that only the table has, or only the images."""
    there = table.index.intersection(pd.Index(ids))
    if not len(there):
        have = f"the table has {listing(table.index, 3)}, the images {listing(ids, 3)}"
        raise ValueError(f"{path}: none of its ids is that of an image; {have}")
    n = {"without an image, not shown": len(table) - len(there)}
    n |= {f"that {path} does not have": len(ids) - len(there)}
    return [f"Galaxies {what}: {number:,}." for what, number in n.items() if number]
