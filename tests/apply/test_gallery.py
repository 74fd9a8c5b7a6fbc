"""The gallery page of predictions, against the table. Takes about 10 s."""

import json

import pandas as pd
import pytest

from galaxymorph import galaxy_zoo_tree
from galaxymorph.plots import gallery
from tests.apply.test_predict import (  # noqa: F401
    CLASSES,
    IDS,
    full_precision,
    galaxies,
    models,
    picture,
    run,
)
from tests.plots.test_cloud3d import Reader


def data(path):
    page = Reader(path.read_text())
    return page, json.loads(page.texts["script"][0])


def test_galaxies_have_the_class_and_probability_of_the_table(models, galaxies, tmp_path):  # noqa: F811
    (galaxies / "3.jpg").write_text("no image")
    table, _ = run(models, "classes", galaxies, tmp_path / "mine.csv", gallery=True)
    page, found = data(tmp_path / "mine.html")
    p = table[[f"p_{name}" for name in CLASSES]].astype(float)
    assert found["ids"] == table.id.tolist() and len(found["pictures"]) == len(IDS)
    assert found["texts"]["predicted"] == table.label.tolist()
    assert found["numbers"]["probability"] == pytest.approx(p.max(axis=1).tolist(), abs=5e-4)
    assert any("3.jpg" in text for text in page.texts["li"])  # the one that could not be read


def test_vote_fractions_give_the_class_that_most_volunteers_arrive_at(models, galaxies, tmp_path):  # noqa: F811
    table, _ = run(models, "votes", galaxies, tmp_path / "votes.csv", gallery=True)
    _, found = data(tmp_path / "votes.html")
    votes = table[list(galaxy_zoo_tree.COLUMNS)].to_numpy(float)
    classes = galaxy_zoo_tree.CLASSES[4]
    shares = galaxy_zoo_tree.class_fractions(votes, classes)
    assert found["texts"]["predicted"] == [classes[k] for k in shares.argmax(1)]


def test_a_finished_table_gets_its_page_and_a_large_one_a_sample(
    models,  # noqa: F811
    galaxies,  # noqa: F811
    tmp_path,
    monkeypatch,
):
    out = tmp_path / "mine.csv"
    run(models, "classes", galaxies, out)
    assert not out.with_suffix(".html").exists()
    monkeypatch.setattr(gallery, "MOST", 4)
    run(models, "classes", galaxies, out, gallery=True)  # predicts nothing again
    page, found = data(out.with_suffix(".html"))
    assert len(found["ids"]) == 4 and set(found["ids"]) <= set(pd.read_csv(out, dtype=str).id)
    assert f"4 of {len(IDS)} galaxies, drawn at random" in "".join(page.texts["p"])


def test_ids_stay_what_they_are(models, tmp_path):  # noqa: F811
    folder = tmp_path / "odd"
    folder.mkdir()
    for place, name in enumerate(("0002", "NA", "nan")):
        picture(place).save(folder / f"{name}.jpg")
    run(models, "classes", folder, tmp_path / "mine.csv", gallery=True)
    assert sorted(data(tmp_path / "mine.html")[1]["ids"]) == ["0002", "NA", "nan"]


def test_a_gallery_never_replaces_the_table(models, galaxies, tmp_path):  # noqa: F811
    with pytest.raises(ValueError, match="mine.html: the gallery would replace the table"):
        run(models, "classes", galaxies, tmp_path / "mine.html", gallery=True)
    assert not (tmp_path / "mine.html").exists()
