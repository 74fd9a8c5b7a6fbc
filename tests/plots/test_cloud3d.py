"""What stands in the page of features in three dimensions, and that it loads nothing. Takes about 3
s."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from galaxymorph.plots import cloud3d

CLASSES = ("round", "<b>&amp;", "ink")
NASTY = [
    "</script><script>alert(1)</script>",
    "<!--",
    '"',
    "'",
    "\\",
    "{{ title }}",
    "{% raw %}",
    "587722984435351614",
]


class Reader(HTMLParser):
    """Every tag with its attributes, the text in each kind of tag, and whether tags close."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.open = [], {}, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "path", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)


def table(n, seed=0):
    return pd.DataFrame(
        np.random.default_rng(seed).normal(size=(n, 3)),
        columns=["one (20 % of the variance)", "two", "three"],
    )


def images(n, size=16):
    """Each galaxy of one colour, of its own."""
    return torch.arange(n, dtype=torch.uint8)[:, None, None, None].mul(30).expand(n, 3, size, size)


def made(n=8, **options):
    labels = options.pop("labels", np.arange(n) % 4 - 1)
    options = {"images": images(n), "ids": NASTY[:n], "title": "A <title> & {{ number }}"} | options
    return cloud3d.page(options.pop("points", table(n)), labels, CLASSES, **options)


def data_of(text):
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S).group(1)
    )


def sprite_of(text):
    return Image.open(
        io.BytesIO(
            base64.b64decode(re.search(r'src="data:image/jpeg;base64,([^"]+)"', text).group(1))
        )
    )


def test_the_page_loads_nothing_and_says_so_to_the_browser():
    text = made()
    reader = Reader(text)
    assert reader.open == []
    assert [attributes["src"][:23] for _, attributes in reader.tags if "src" in attributes] == [
        "data:image/jpeg;base64,"
    ]
    assert not any(
        {"href", "srcset", "poster", "action", "style"} & set(attributes)
        for _, attributes in reader.tags
    )
    assert not {"link", "iframe", "object", "embed", "base", "form"} & {
        tag for tag, _ in reader.tags
    }
    assert not re.search(
        r"https?:|//\w+\.|@import|url\(|fetch\(|XMLHttp|WebSocket|import\(|localStorage", text
    )
    (policy,) = [a["content"] for tag, a in reader.tags if tag == "meta" and "http-equiv" in a]
    assert policy.startswith("default-src 'none';") and "http" not in policy
    assert "JavaScript" in "".join(reader.texts["noscript"])


def test_texts_are_what_they_were_and_end_nothing():
    text = made()
    data = data_of(text)
    assert data["ids"] == NASTY
    assert [look["name"] for look in data["looks"]] == [*CLASSES, "no class"]
    reader = Reader(text)
    assert reader.texts["title"] == ["A <title> & {{ number }}"] and reader.texts["h1"] == [
        "A <title> & {{ number }}"
    ]
    assert (
        sum(tag == "script" for tag, _ in reader.tags) == 2
        and text.count("</script>") == 2
        and "<!--" not in text
    )
    assert [t.strip() for t in reader.texts["button"] if t.strip()] == [*CLASSES, "no class"]
    assert reader.texts["small"] == ["2"] * 4


def test_points_classes_and_pictures_belong_together():
    given, labels = table(8), np.array([2, -1, 0, 0, 1, -1, 2, 1])
    text = made(points=given, labels=torch.from_numpy(labels))
    data, sprite = data_of(text), sprite_of(text)
    assert data["axes"] == ["one (20 %)", "two", "three"]
    assert data["kinds"] == [k if k >= 0 else 3 for k in labels]
    points = np.array(data["points"])
    apart = np.linalg.norm(points[:, None] - points, axis=2) / np.linalg.norm(
        given.values[:, None] - given.values, axis=2
    ).clip(1e-9)
    np.testing.assert_allclose(
        apart[np.triu_indices(8, 1)], apart[0, 1], rtol=0.02
    )  # the same factor along each axis
    assert 0.9 < np.linalg.norm(points, axis=1).max() < 1.2
    assert sprite.width == data["columns"] * data["tile"] == 3 * 48
    for i in range(8):
        middle = (i % 3 * 48 + 24, i // 3 * 48 + 24)
        assert np.abs(np.subtract(sprite.getpixel(middle), 30 * i)).max() <= 4


def test_of_too_many_galaxies_some_are_drawn_by_the_seed():
    text = made(most=5)
    data = data_of(text)
    assert len(data["ids"]) == len(data["points"]) == len(data["kinds"]) == 5 and set(
        data["ids"]
    ) < set(NASTY)
    assert "5 of 8 galaxies." in text and "8 galaxies." in made()
    whole = data_of(made())
    for point, name in zip(data["points"], data["ids"], strict=True):
        assert point == whole["points"][whole["ids"].index(name)]  # at its place among all
    assert made(most=5) == text != made(most=5, seed=1)


def test_colours_and_markers_of_classes_differ():
    text = cloud3d.page(
        table(9),
        np.arange(9),
        [str(k) for k in range(9)],
        images=images(9),
        ids=list("abcdefghi"),
        title="t",
    )
    looks = data_of(text)["looks"]
    assert (
        len({look["colour"] for look in looks[:8]})
        == len({look["shape"] for look in looks[:8]})
        == 8
    )
    assert "#000000" not in {
        look["colour"] for look in looks
    }  # on dark paper, nothing would be seen
    assert len(looks) == 9 and not any(look["name"] == "no class" for look in looks)


def test_collapsed_features_are_shown_and_what_does_not_fit_is_refused():
    same = pd.DataFrame(np.ones((8, 3)), columns=list("abc"))
    assert data_of(made(points=same))["points"] == [[0, 0, 0]] * 8
    with pytest.raises(ValueError, match="8 points, 8 labels, 8 images, 7 ids in 3 dimensions"):
        made(ids=NASTY[:7])
    with pytest.raises(
        ValueError, match="in 2 dimensions: expected equal numbers, in 3 dimensions"
    ):
        made(points=same[["a", "b"]])
