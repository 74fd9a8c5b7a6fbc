"""What stands on a gallery page, and that it loads nothing. Takes about 3 s."""

import base64
import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from galaxymorph.plots import gallery
from tests.plots.test_cloud3d import NASTY, Reader


def images(n, size=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 3, size, size), dtype=np.uint8)


def made(table, shown=None, **more):
    shown = images(len(table)) if shown is None else shown
    return Reader(gallery.page(table, shown, **{"title": "Galaxies"} | more))


def data(page):
    script = page.texts["script"][0]
    return json.loads(script)


TABLE = pd.DataFrame(
    {
        "id": ["a", "b", "c"],
        "predicted": ["round", "spiral", None],
        "probability": [0.123456, np.nan, 1],
    }
)


def test_texts_filter_and_numbers_sort():
    page = made(TABLE)
    found = data(page)
    assert found["ids"] == ["a", "b", "c"]
    assert found["texts"] == {"predicted": ["round", "spiral", ""]}
    assert found["numbers"] == {"probability": [0.123, None, 1.0]}
    assert "3 galaxies" in "".join(page.texts["p"]) and not page.open


def test_pictures_are_the_galaxies_and_no_larger_than_asked_for():
    flat = np.zeros((2, 3, 200, 200), np.uint8)
    flat[0, 0], flat[1, 2] = 255, 255  # red and blue
    table = pd.DataFrame({"id": ["red", "blue"]})
    found = data(made(table, flat, tile=50))["pictures"]
    small = [Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB") for picture in found]
    assert [picture.size for picture in small] == [(50, 50)] * 2
    red, blue = (picture.getpixel((25, 25)) for picture in small)
    assert red[0] > 200 > 60 > red[2] and blue[2] > 200 > 60 > blue[0]


def test_the_page_loads_nothing_and_prints_names_to_the_letter():
    table = pd.DataFrame({"id": NASTY, "predicted": NASTY})
    page = made(table, title=NASTY[0], note=NASTY[0], unreadable=NASTY)
    assert data(page)["ids"] == NASTY and not page.open
    assert page.texts["title"] == [NASTY[0]] and page.texts["li"] == NASTY
    policy = next(a["content"] for tag, a in page.tags if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert not [a for _, a in page.tags if {"src", "href"} & set(a)]
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 2


def test_a_sample_says_of_how_many():
    page = made(TABLE, total=60_000)
    assert "3 of 60,000 galaxies, drawn at random" in "".join(page.texts["p"])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="3 rows and 2 images: expected one image per row"):
        gallery.page(TABLE, images(2), title="x")
    with pytest.raises(ValueError, match="duplicate id 'a'"):
        gallery.page(TABLE.assign(id="a"), images(3), title="x")
