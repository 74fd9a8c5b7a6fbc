"""The explorer's page: what it holds equals the tables; sizes; wrong input. Takes about 10 s."""

import base64
import gzip
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from galaxymorph import galaxy_zoo_tree
from galaxymorph.apply import explorer
from galaxymorph.apply.explorer import Explored
from galaxymorph.apply.packing import Blobs

CLASSES = ("round", "spiral")
N = 40


def explored(n=N, **more):
    rng = np.random.default_rng(n)
    p = rng.dirichlet((1, 1), n)
    p[3] = np.nan
    table = pd.DataFrame(
        {"class": rng.choice(["round", "spiral", ""], n), "size": rng.gamma(2, 3, n)}
    )
    table["share"] = rng.random(n)
    table.loc[5, ["size", "share"]] = np.nan
    votes = galaxy_zoo_tree.cumulative(galaxy_zoo_tree.shares(rng.random((n, 37))))
    names = list(galaxy_zoo_tree.LABELS)
    given = {
        "ids": [f'g-"{i}"</script>é' for i in range(n)],
        "projections": {"PCA": rng.normal(size=(n, 2)), "t-SNE": rng.normal(size=(n, 2))},
        "columns": {"galaxy": table, "votes": pd.DataFrame(votes, columns=names)},
        "classes": CLASSES,
        "probabilities": {"CNN": p},
        "votes": {"volunteers": names},
        "features": rng.normal(size=(n, 7)),
        "pictures": rng.integers(0, 255, (n - 2, 3, 32, 32), np.uint8),
        "pictured": np.arange(2, n),
        "maps": {"spiral": rng.random((3, 8, 8))},
        "mapped": [4, 9, 0],
        "concepts": {"shared": "share"},
    }
    return Explored(**given | more)  # pyright: ignore


class Page:
    """The data of a page."""

    def __init__(self, html):
        texts = dict(
            re.findall(r'<script type="[^"]+" id="([^"]+)">(.*?)</script>', html, re.DOTALL)
        )
        self.data = json.loads(texts.pop("data"))
        self.texts = texts

    def raw(self, at):
        return base64.b64decode(self.texts[f"blob-{at}"])

    def array(self, at, kind):
        return np.frombuffer(gzip.decompress(self.raw(at)), kind)

    def texts_of_ids(self):
        return json.loads(gzip.decompress(self.raw(self.data["ids"])))

    def column(self, name):
        (found,) = [each for each in self.data["columns"] if each["name"] == name]
        if found["kind"] == "class":
            return np.array(found["names"])[self.array(found["at"], np.uint8)]
        if found["kind"] == "fraction":
            return self.fractions(found)
        return self.array(found["at"], np.float32)

    def fractions(self, found):
        whole = self.array(found["at"], np.uint8 if found["scale"] == 250 else np.uint16)
        missing = 255 if found["scale"] == 250 else 65535
        return np.where(whole == missing, np.nan, whole / found["scale"])


@pytest.fixture(scope="module")
def made():
    given = explored()
    return given, Page(explorer.page(given, title="A <b> page"))


def test_columns_and_ids_are_those_of_the_tables(made):
    given, page = made
    table = given.columns["galaxy"]
    assert page.column("class").tolist() == table["class"].tolist()
    assert page.column("size") == pytest.approx(table["size"].to_numpy(), rel=1e-6, nan_ok=True)
    assert page.column("share") == pytest.approx(table.share.to_numpy(), abs=2e-5, nan_ok=True)
    assert page.texts_of_ids() == given.ids and page.data["concepts"] == {"shared": "share"}


def test_probabilities_votes_and_maps_are_those_given(made):
    given, page = made
    p = page.fractions(page.data["methods"]["CNN"]).reshape(N, 2)
    assert p == pytest.approx(given.probabilities["CNN"], abs=0.0021, nan_ok=True)
    for name, votes in given.columns["votes"].items():
        assert page.column(name) == pytest.approx(votes.to_numpy(), abs=2e-5)
    assert page.data["votes"] == given.votes
    heat = page.array(page.data["maps"]["heat"]["spiral"], np.uint8).reshape(3, 8, 8) / 255
    assert heat == pytest.approx(given.maps["spiral"], abs=0.003)
    assert page.array(page.data["maps"]["rows"], np.uint32).tolist() == [4, 9, 0]


def test_a_map_keeps_its_shape(made):
    given, page = made
    points = page.array(page.data["projections"]["PCA"], np.uint16).reshape(N, 2).astype(float)
    own = given.projections["PCA"]
    for a, b in ((0, 1), (2, 7), (11, 30)):
        ratio = np.linalg.norm(points[a] - points[b]) / np.linalg.norm(own[a] - own[b])
        assert ratio == pytest.approx(65535 / np.ptp(own, axis=0).max(), rel=1e-3)


def test_cosines_of_the_page_are_those_of_the_features(made):
    given, page = made
    about = page.data["features"]
    coded = page.array(about["at"], np.int16).reshape(N, about["dimensions"]) / about["scale"]
    unit = given.features / np.linalg.norm(given.features, axis=1, keepdims=True)
    assert coded @ coded.T == pytest.approx(unit @ unit.T, abs=3e-4)
    axes = page.array(about["axes"], np.float32).reshape(7, -1)
    assert coded == pytest.approx(unit @ axes, abs=1e-4)


def test_many_directions_are_cut_to_those_that_matter():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 20)) @ rng.normal(size=(20, 100))  # of rank 20
    page = Page(explorer.page(explored(300, features=features), title=""))
    about = page.data["features"]
    assert (about["dimensions"], about["kept"]) == (64, pytest.approx(1))


def test_each_picture_is_in_its_place(made):
    given, page = made
    about = page.data["pictures"]
    assert page.array(about["rows"], np.uint32).tolist() == list(range(2, N))
    sheet = np.asarray(Image.open(io.BytesIO(page.raw(about["sheets"][0]))), float)
    tile, across = about["tile"], about["across"]
    for place in (0, 31, 32, N - 3):
        top, left = place // across * tile, place % across * tile
        found = sheet[top : top + tile, left : left + tile].mean((0, 1))
        assert found == pytest.approx(given.pictures[place].mean((1, 2)), abs=4)


def test_no_more_than_ten_thousand_pictures(monkeypatch):
    monkeypatch.setattr(explorer, "PICTURED", 5)
    page = Page(explorer.page(explored(), title=""))
    rows = page.array(page.data["pictures"]["rows"], np.uint32)
    assert page.data["pictures"]["n"] == 5 == len(set(rows.tolist())) and rows.min() >= 2


def test_text_and_names_are_escaped(made):
    _, page = made
    html = explorer.page(explored(), title="A <b> page", notes=["<i>note</i>"])
    assert "<title>A &lt;b&gt; page</title>" in html and "<i>note" not in html
    assert page.data["title"] == "A <b> page"


def test_the_policy_allows_our_script_alone():
    html = explorer.page(explored(), title="")
    script = re.search(r'<script type="module">(.*?)</script>\n</body>', html, re.DOTALL)[1]  # pyright: ignore
    assert f"script-src 'sha256-{explorer.digest(script)}'" in html
    assert not re.search(r'(src|href)="(?!data:)', html.replace(script, ""))


def test_many_values_of_a_column_are_texts_and_many_galaxies_cost_less(monkeypatch):
    blobs = Blobs()
    assert blobs.column(pd.Series([f"remark {i}" for i in range(201)]))["kind"] == "text"
    assert blobs.column(pd.Series([True, False]))["names"] == ["no", "yes"]
    assert blobs.column(pd.Series([0, 1]))["kind"] == "number"  # counts are not shares
    assert blobs.column(pd.Series(["b", "a"]), ["b"])["names"] == ["b", "a"]
    values = pd.Series(np.random.default_rng(0).normal(size=5000) * 1e5)
    whole = len(blobs[blobs.column(values)["at"]])
    monkeypatch.setattr("galaxymorph.apply.packing.MANY", 4999)
    about = blobs.column(values)
    found = np.frombuffer(gzip.decompress(base64.b64decode(blobs[about["at"]])), np.float32)
    assert found == pytest.approx(values.to_numpy(), rel=5e-4)
    assert len(blobs[about["at"]]) < 0.8 * whole


def test_pages_of_many_galaxies_keep_their_limits():
    """Bytes per galaxy at 1,200, from which the parts of larger pages follow."""
    from galaxymorph.data.mock.survey import mock_survey

    n = 1200
    survey = mock_survey(n)
    given = explored(n, pictures=survey.images.numpy(), pictured=np.arange(n), maps={}, mapped=[])
    given.features = np.random.default_rng(0).normal(size=(n, 192))
    html = explorer.page(given, title="")
    fixed = len(explorer.inlined(explorer.MODULES))
    assert 10_000 * (len(html) - fixed) / n + fixed < 15e6


def refusals():
    rows = np.arange(2, N)
    yield {"ids": ["a"] * N}, "duplicate id 'a'"
    yield {"ids": [], "projections": {}}, "no galaxies"
    yield {"projections": {}}, "no map"
    yield {"projections": {"PCA": np.full((N, 2), np.nan)}}, "map 'PCA' is not finite"
    short = {"galaxy": pd.DataFrame({"share": [0.1, 0.2]})}
    yield {"columns": short}, "columns 'galaxy': 2 rows for 40 galaxies"
    yield {"pictured": rows[1:]}, "pictures: 38 for 37 galaxies"
    yield {"mapped": [1]}, "activation map 'spiral': 3 for 1 galaxies"
    yield {"concepts": {"odd": "no such"}}, "no column no such for a slider"
    yield {"votes": {"predicted": ["bar"]}}, "no column bar for a slider or the decision tree"
    twice = pd.DataFrame({"class": ["x"] * N})
    bare = {"concepts": {}, "votes": {}}
    yield {"columns": {"a": twice, "b": twice}} | bare, "duplicate column class"


@pytest.mark.parametrize(("change", "message"), list(refusals()))
def test_wrong_input_is_named(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        explorer.page(explored(**change), title="")
