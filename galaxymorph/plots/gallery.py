"""A gallery of galaxies as a single HTML page that can be sorted and filtered.

The page (`assets/gallery.html`, `.css`, `.js`) is self-contained, which its content security policy
enforces: it works from a file, in an e-mail, or embedded in a report."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from galaxymorph.plots.galaxies import Images, to_pixels
from galaxymorph.plots.pages import picture, render

MOST = 5000  # galaxies on a page: about 10 MB


def page(
    table: pd.DataFrame,
    images: Images,
    *,
    title: str,
    note: str = "",
    unreadable: Sequence[str] = (),
    total: int | None = None,
    tile: int = 96,
) -> str:
    """Return the HTML of the page.

    Args:
        table: one row per galaxy with a unique `id`. Text columns (predicted, true, ...) become
            filters with counts; numeric columns (probability, ...) can be sorted by. The page opens
            unfiltered, in the order of the rows.
        images: in the order of the rows.
        note: a sentence below the title.
        unreadable: names of files that could not be read, with the reason; listed at the end.
        total: total number of galaxies, if the page shows a sample.
        tile: side of a picture in pixels; larger images are shrunk.

    Raises `ValueError` if numbers of rows and images differ, or ids are not unique."""
    if len(table) != len(images) or "id" not in table:
        given = f"{len(table)} rows and {len(images)} images"
        raise ValueError(f"{given}: expected one image per row, and a column id")
    twice = table.loc[table["id"].duplicated(), "id"].tolist()
    if twice:
        raise ValueError(f"duplicate id {twice[0]!r}")
    numbers = table.select_dtypes("number").astype(float)
    named = table.drop(columns=["id", *numbers]).fillna("").astype(str)
    data = {
        "ids": table["id"].astype(str).tolist(),
        "texts": {str(name): named[name].tolist() for name in named},
        "numbers": {str(name): _rounded(numbers[name]) for name in numbers},
        "pictures": [picture(image, tile) for image in to_pixels(images)],
    }
    shown = f"{len(table):,} galaxies"
    if total is not None and total > len(table):
        shown = f"{len(table):,} of {total:,} galaxies, drawn at random"
    texts = {"title": title, "note": note, "shown": shown, "unreadable": unreadable}
    return render("gallery.html", data=data, **texts)


def _rounded(values: Iterable[float]) -> list[float | None]:
    """Round to three digits; None if not finite."""
    return [float(f"{v:.3g}") if np.isfinite(v) else None for v in values]
