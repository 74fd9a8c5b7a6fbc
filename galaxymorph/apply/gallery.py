"""A gallery page of a table of predictions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from galaxymorph import galaxy_zoo_tree, project
from galaxymorph.apply.images import read
from galaxymorph.apply.stream import Remark
from galaxymorph.data.found import Found
from galaxymorph.escape import read_csv
from galaxymorph.plots import gallery

CLASSES = galaxy_zoo_tree.CLASSES[4]


def write(table: Path, found: Found, remarks: Sequence[Remark], *, model: Path) -> Path:
    """Write `<table>.html`, the galaxies of a table of `predict` by predicted class with its
    probability; return its path. Of more than `gallery.MOST` galaxies a random sample is shown.

    For vote fractions the class is the one that most volunteers would arrive at, and the
    probability their fraction (`galaxy_zoo_tree.class_fractions`)."""
    rows = read_csv(table, dtype={"id": str, "GalaxyID": str}, na_values=[])
    total = len(rows)
    rows = rows.sample(min(total, gallery.MOST), random_state=0).sort_index()
    ids = rows.iloc[:, 0].to_numpy(str)
    numbers = [name for name in rows if name.startswith("p_")]
    if numbers:
        classes, p = [name.removeprefix("p_") for name in numbers], rows[numbers].to_numpy(float)
    else:
        classes = list(CLASSES)
        p = galaxy_zoo_tree.class_fractions(rows.iloc[:, 1:].to_numpy(float), CLASSES)
    shown = pd.DataFrame({"id": ids, "predicted": np.array(classes)[p.argmax(1)]})
    shown["probability"] = p.max(1)
    name = f"{model.parent.name} {model.stem}" if "=" in model.stem else model.stem
    images = read(found, list(ids)) if len(ids) else np.zeros((0, 3, 1, 1), np.uint8)
    page = gallery.page(
        shown,
        images,
        title=f"Galaxies by predicted class ({name})",
        note="Sort by probability to see where the model is unsure.",
        unreadable=[f"{remark.name}: {remark.message}" for remark in remarks if remark.left_out],
        total=total,
    )
    path = table.with_suffix(".html")
    project.write(path, page)
    return path
