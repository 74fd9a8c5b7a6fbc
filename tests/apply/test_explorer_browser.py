"""The explorer in a browser, from a file, offline. Takes 30 s; skipped without chromium."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from galaxymorph import galaxy_zoo_tree
from galaxymorph.apply import explorer
from galaxymorph.apply.explored import judged, with_votes
from galaxymorph.apply.explorer import Explored
from tests.browser import opened

CLASSES = ("round", "spiral", "edge-on")
N = 400
RNG = np.random.default_rng(1)


@pytest.fixture(scope="module")
def drawn():
    """Galaxies with two methods, votes, features in three groups, pictures of one colour each."""
    true = np.repeat([0, 1, 2, 1], N // 4)
    truth = pd.Series(np.array(CLASSES)[true])
    p = {name: RNG.dirichlet((0.4, 0.4, 0.4), N) for name in ("CNN", "forest")}
    main = judged(p["CNN"], CLASSES, truth).assign(unusual=RNG.gamma(3, 1, N))
    features = np.eye(5)[true] + RNG.normal(scale=0.2, size=(N, 5))
    said = pd.DataFrame({name: judged(each, CLASSES, None).predicted for name, each in p.items()})
    made = Explored(
        ids=[f"g{i:03d}" for i in range(N)],
        projections={"PCA": features[:, :2], "other": features[:, 1:3]},
        columns={"galaxy": main, "methods": said},
        classes=CLASSES,
        probabilities=p,
        features=features,
        pictures=np.repeat(RNG.integers(30, 255, (N, 3, 1, 1), np.uint8), 64, 2).repeat(64, 3),
        pictured=np.arange(N),
        maps={name: RNG.random((5, 8, 8)) for name in CLASSES},
        mapped=np.arange(5),
    )
    votes = galaxy_zoo_tree.cumulative(galaxy_zoo_tree.shares(RNG.random((N, 37))))
    with_votes(made, votes, votes[::-1].copy())
    return made


@pytest.fixture(scope="module")
def path(drawn, tmp_path_factory):
    file = tmp_path_factory.mktemp("explorer") / "explorer.html"
    file.write_text(explorer.page(drawn, title="Galaxies", notes=["A note."]), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def shown(path):
    with opened(path) as page:
        ready(page)
        yield page


@pytest.fixture
def fresh(shown):
    """The page as it is when it is opened."""
    page = shown.page
    page.evaluate("document.activeElement.blur()")
    page.evaluate("location.hash = ''")
    page.evaluate(
        "galaxymorph.change({filters: [], area: null, mix: {}, sort: '', down: false,"
        " show: 'table', colour: '', projection: 'PCA', at: null, columns: null})"
    )
    return page


def ready(page):
    page.page.wait_for_selector("html[data-ready]", state="attached")


def selected(page):
    """Row numbers of the selected galaxies, in their order."""
    return page.evaluate("[...galaxymorph.order]")


def check_ranked(page, values, *, down=False):
    """The selected galaxies are those of a series, ranked by its values as the page keeps them."""
    rows = selected(page)
    assert sorted(rows) == sorted(values.index)
    steps = np.diff(values[rows].to_numpy())
    assert ((-steps if down else steps) >= -3e-5).all()


def test_it_asks_for_nothing_and_complains_of_nothing(shown):
    assert shown.outside() == [] and shown.errors == []


def test_the_page_holds_the_tables(shown, drawn):
    script = "(name) => { const c = galaxymorph.store.columns.get(name);"
    script += " return [...c.values].map((v) => c.names ? c.names[v] : v) }"
    for frame in drawn.columns.values():
        for name in frame:
            found, given = shown.page.evaluate(script, name), frame[name]
            if given.dtype.kind == "f":
                assert found == pytest.approx(given.to_numpy(), rel=1e-6, abs=2e-5)
            else:
                assert found == given.tolist()
    assert shown.page.evaluate("galaxymorph.store.ids") == list(drawn.ids)


def test_the_table_shows_the_rows_in_order(fresh, drawn):
    fresh.select_option("#sort", "confidence")
    fresh.click("#reverse")
    confidence = drawn.columns["galaxy"].confidence
    check_ranked(fresh, confidence, down=True)
    first = fresh.locator("#table tbody tr[data-place]").first.locator("td").all_inner_texts()
    best = selected(fresh)[0]
    assert drawn.ids[best] in first and f"{confidence[best]:.3f}" in first
    assert fresh.locator("#table tbody tr[data-place]").count() < 40  # only those in view


def test_questions(fresh, drawn):
    main = drawn.columns["galaxy"]
    fresh.click("text=The surest mistakes")
    check_ranked(fresh, main.confidence[main.right == "no"], down=True)
    fresh.click("text=The most unusual")
    check_ranked(fresh, main.unusual, down=True)
    fresh.click("#questions .differ button")
    said = drawn.columns["methods"]
    check_ranked(fresh, main.margin[said["CNN"] != said["forest"]])


def test_filters_combine_and_live_in_the_address(fresh, drawn, path):
    main = drawn.columns["galaxy"]
    address = "#is.class=spiral&in.confidence=0.5_0.9&sort=-margin&show=gallery"
    fresh.evaluate("(to) => { location.hash = to }", address)
    fresh.wait_for_selector("#gallery .tile")
    kept = main[(main["class"] == "spiral") & main.confidence.between(0.5, 0.9)]
    check_ranked(fresh, kept.margin, down=True)
    expected = selected(fresh)
    fresh.wait_for_timeout(300)
    again = fresh.evaluate("location.hash")
    with opened(path, address=again) as other:
        ready(other)
        assert selected(other.page) == expected
        assert other.page.locator("#filters .filter").count() == 2


def test_a_filter_is_added_and_removed_by_hand(fresh, drawn):
    fresh.select_option("[aria-label='Add a filter']", "class")
    fresh.uncheck("#filters .filter >> text=round")
    truth = drawn.columns["galaxy"]["class"]
    assert len(selected(fresh)) == (truth != "round").sum()
    fresh.select_option("[aria-label='Add a filter']", "confidence")
    fresh.fill("[aria-label='confidence, at least']", "0.8")
    fresh.keyboard.press("Tab")
    sure = drawn.columns["galaxy"].confidence >= 0.8
    assert len(selected(fresh)) == ((truth != "round") & sure).sum()
    fresh.click("[aria-label='Remove the filter class']")
    assert len(selected(fresh)) == sure.sum()


def test_a_lasso_selects_what_is_inside(fresh):
    box = fresh.locator("#map").bounding_box()
    fresh.click("#lasso")
    corners = [(0.5, 0.02), (0.98, 0.02), (0.98, 0.98), (0.5, 0.98), (0.5, 0.02)]
    places = [(box["x"] + u * box["width"], box["y"] + v * box["height"]) for u, v in corners]
    fresh.mouse.move(*places[0])
    fresh.mouse.down()
    for place in places[1:]:
        fresh.mouse.move(*place, steps=12)
    fresh.mouse.up()
    right = fresh.evaluate(
        "[...Array(galaxymorph.map.n).keys()].filter((i) =>"
        " galaxymorph.map.toScreen(galaxymorph.map.points[2*i], 0)[0] > galaxymorph.map.width / 2)"
    )
    assert sorted(selected(fresh)) == right and 0 < len(right) < N
    fresh.keyboard.press("Escape")
    assert len(selected(fresh)) == N


def test_everything_by_keys(fresh, drawn):
    press = fresh.keyboard.press
    for key in ("m", "+", "+", "+", "ArrowLeft", "s"):
        press(key)
    inside = selected(fresh)
    assert 0 < len(inside) < N
    press("Escape")
    press("j")
    current = fresh.evaluate("galaxymorph.store.state.galaxy")
    press("j")
    assert fresh.evaluate("galaxymorph.store.state.galaxy") != current
    fresh.focus("#table tr[tabindex='0']")
    for key in ("Home", "ArrowDown", "ArrowDown", "Enter"):
        press(key)
    assert fresh.evaluate("galaxymorph.store.state.galaxy") == drawn.ids[2]
    press("End")
    assert fresh.evaluate("document.activeElement.dataset.place") == str(N - 1)
    press("g")
    assert fresh.is_visible("#gallery") and not fresh.is_visible("#table")
    press("h")
    assert fresh.locator("#histograms figure").count() == fresh.evaluate(
        "[...galaxymorph.store.columns.values()].filter((c) => c.kind !== 'text').length"
    )
    press("/")
    fresh.keyboard.type("g123")
    assert fresh.evaluate("galaxymorph.store.state.galaxy") == "g123"
    press("Escape")
    press("?")
    assert fresh.locator("#about").get_attribute("open") is not None
    press("Escape")
    press("t")


def test_a_galaxy_has_its_neighbours_and_all_answers(fresh, drawn):
    fresh.evaluate("galaxymorph.change({galaxy: 'g004'})")
    unit = drawn.features / np.linalg.norm(drawn.features, axis=1, keepdims=True)
    cosines = unit @ unit[4]
    near = [row for row in np.argsort(-cosines) if row != 4][:12]
    titles = fresh.locator("#galaxy .near button").evaluate_all("(all) => all.map((b) => b.title)")
    assert titles == [drawn.ids[row] for row in near]
    texts = fresh.locator("#galaxy .methods tr").all_inner_texts()
    for text, (name, p) in zip(texts, drawn.probabilities.items(), strict=True):
        assert name in text and CLASSES[p[4].argmax()] in text
    assert fresh.locator("#galaxy .heat canvas").count() == len(CLASSES)
    groups = [drawn.columns[name].to_numpy() for name in ("votes", "predicted votes")]
    shares = [galaxy_zoo_tree.shares(votes)[4] for votes in groups]
    text = fresh.locator("#galaxy .tree > li").first.inner_text()
    assert f"{shares[0][0]:.2f} / {shares[1][0]:.2f}" in text
    fresh.evaluate("galaxymorph.change({galaxy: 'g300'})")
    assert fresh.locator("#galaxy .heat").count() == 0


def test_a_picture_is_that_of_its_galaxy(fresh, drawn):
    script = "(row) => { const c = document.createElement('canvas').getContext('2d');"
    script += " galaxymorph.store.picture(c, row, 0, 0, 10);"
    script += " return [...c.getImageData(5, 5, 1, 1).data].slice(0, 3) }"
    for row in (0, 17, 399):
        own = drawn.pictures[row, :, 0, 0].tolist()
        assert fresh.evaluate(script, row) == pytest.approx(own, abs=12)


def test_sliders_rank_by_a_mixture(fresh, drawn):
    for name, keys in (("spiral", "ArrowRight"), ("odd", "ArrowLeft")):
        slider = fresh.locator("#sliders label", has_text=name).locator("input")
        for _ in range(5):
            slider.press(keys)
    of = drawn.columns["predicted votes"]
    mixed = 0.5 * of["spiral: yes (predicted votes)"] - 0.5 * of["odd: yes (predicted votes)"]
    rank = mixed.to_numpy()[selected(fresh)]
    assert len(rank) == N and (np.diff(rank) <= 1e-4).all() and rank[0] > rank[-1]
    fresh.click("text=Set all to 0")
    assert selected(fresh) == list(range(N))


def test_downloads(fresh, drawn, tmp_path):
    fresh.evaluate("galaxymorph.change({filters: [{column: 'class', values: ['spiral']}]})")
    for button, name in (("#csv", "ids.csv"), ("#sheet", "sheet.png")):
        with fresh.expect_download() as download:
            fresh.click(button)
        download.value.save_as(tmp_path / name)
    rows = list(csv.DictReader((tmp_path / "ids.csv").read_text().splitlines()))
    truth = drawn.columns["galaxy"]["class"]
    assert [row["id"] for row in rows] == np.array(drawn.ids)[truth == "spiral"].tolist()
    assert {row["class"] for row in rows} == {"spiral"}
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert min(sheet.size) > 1000


def test_thumbnails_replace_points_when_zoomed_in(fresh):
    fresh.evaluate("galaxymorph.map.whole()")
    count = "new Promise((r) => { galaxymorph.map.draw();"
    count += " setTimeout(() => r(galaxymorph.map.pictured), 200) })"
    before = fresh.evaluate(count)
    fresh.evaluate("galaxymorph.map.centre(3); galaxymorph.map.zoom(12)")
    assert fresh.evaluate(count) > 0 and fresh.evaluate("galaxymorph.map.isWhole") is False
    assert before != fresh.evaluate(count)


def test_a_dropped_image_goes_through_the_hook(fresh, drawn):
    answer = {
        "classes": CLASSES,
        "probabilities": [0.1, 0.7, 0.2],
        "features": drawn.features[7].tolist(),
        "unlike": 1.4,
    }
    fresh.evaluate(
        "async (answer) => { galaxymorph.classify = async () => answer;"
        " const c = new OffscreenCanvas(9, 9); c.getContext('2d').fillRect(0, 0, 9, 9);"
        " await galaxymorph.dropped(await c.convertToBlob()) }",
        answer,
    )
    text = fresh.locator("#galaxy").inner_text()
    assert "0.700" in text and "Unlike the galaxies" in text
    assert fresh.locator("#galaxy .near button").first.get_attribute("aria-label") == "g007"
    fresh.evaluate("galaxymorph.classify = null")


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible_and_within_its_width(path, width, scheme):
    with opened(path, width=width, height=860, color_scheme=scheme) as page:
        ready(page)
        assert page.axe() == []
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.page.evaluate(overflow) == 0
        page.page.keyboard.press("g")
        page.page.keyboard.press("h")
        assert page.axe() == [] and page.errors == []


def test_both_ways_of_drawing_show_the_same(path):
    shown = {}
    for draw in ("canvas", "webgl"):
        with opened(path, address=f"?draw={draw}") as page:
            ready(page)
            assert page.page.evaluate("galaxymorph.map.backend") == draw
            picture = Image.open(io.BytesIO(page.page.locator("#points").screenshot()))
            shown[draw] = np.asarray(picture.convert("RGB").resize((60, 40)), float)
            assert page.outside() == []
    assert np.abs(shown["canvas"] - shown["webgl"]).mean() < 4
    assert shown["canvas"].std() > 5


def test_a_page_of_little(tmp_path):
    """Without classes, features, votes and pictures."""
    one = Explored(ids=["a"], projections={"line": np.zeros((1, 2))})
    (tmp_path / "one.html").write_text(explorer.page(one, title="One"), encoding="utf-8")
    with opened(tmp_path / "one.html") as page:
        ready(page)
        assert page.errors == [] and page.page.locator("#table tbody tr").count() == 1
        assert json.loads(page.page.evaluate("JSON.stringify(galaxymorph.store.ids)")) == ["a"]
