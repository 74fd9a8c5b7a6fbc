"""What the command `explore` shows of images and of a run. Takes about 20 s."""

import numpy as np
import pandas as pd
import pytest
import torch

from galaxymorph import galaxy_zoo_tree
from galaxymorph.apply import explored
from galaxymorph.apply.explore import explore
from galaxymorph.apply.explore_run import of_run
from galaxymorph.data.galaxies import Galaxies
from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.diagnostics.by_galaxy import by_galaxy
from galaxymorph.evaluation.entries import Entries, Entry
from galaxymorph.evaluation.predictions import VOTED, predictions_of, votes_of
from tests.apply.test_explorer import Page
from tests.apply.test_predict import (  # noqa: F401
    CLASSES,
    IDS,
    full_precision,
    galaxies,
    models,
    run,
)


def page_of(models, galaxies, tmp_path, kind="classes", **options):  # noqa: F811
    out = tmp_path / "page.html"
    quiet = {"say": lambda _: None}
    explore(models[0] / f"{kind}.safetensors", [galaxies], out, **options | quiet)
    page = Page(out.read_text(encoding="utf-8"))
    return page, page.texts_of_ids()


def test_images_have_the_predictions_of_predict(models, galaxies, tmp_path):  # noqa: F811
    table, _ = run(models, "classes", galaxies, tmp_path / "mine.csv")
    page, ids = page_of(models, galaxies, tmp_path)
    assert ids == table.id.tolist()
    assert page.column("predicted").tolist() == table.label.tolist()
    p = table[[f"p_{name}" for name in CLASSES]].astype(float).to_numpy()
    assert page.column("confidence") == pytest.approx(p.max(1), abs=1e-4)
    names = [each["name"] for each in page.data["columns"]]
    assert "class" not in names and "right" not in names  # no truth is known


def test_a_table_brings_truth_splits_and_columns_of_its_own(models, galaxies, tmp_path):  # noqa: F811
    p = np.random.default_rng(0).dirichlet(np.ones(2), len(IDS))
    table = pd.DataFrame({"id": IDS, "p_a": p[:, 0], "p_b": p[:, 1]})
    table["label"], table["redshift"], table["confidence"] = "a", 0.1, 7.0
    table["split"] = "test"
    table.iloc[:-1].to_csv(tmp_path / "t.csv", index=False)
    page, ids = page_of(models, galaxies, tmp_path, predictions=tmp_path / "t.csv")
    place = [ids.index(id) for id in IDS[:-1]]
    right = np.where(p[:-1, 0] >= p[:-1, 1], "yes", "no")
    assert page.column("right")[place].tolist() == right.tolist()
    assert page.column("confidence")[place] == pytest.approx(p[:-1].max(1), abs=1e-4)
    assert page.column("confidence (table)")[place].tolist() == [7.0] * len(place)
    last = ids.index(IDS[-1])
    assert page.column("right")[last] == "" and np.isnan(page.column("confidence")[last])
    assert "1." in page.data["notes"][1] and "does not have" in page.data["notes"][1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,p_a\nx,1\n", "missing column 'id'"),
        ("id,p_a,p_b\nx,1,0\nx,0,1\n", "duplicate id 'x' (lines 2, 3)"),
        ("id,p_a,p_b\nx,high,0\n", "column 'p_a' is not numeric"),
        ("id,p_a,p_b\nx,1,0\n", "none of its ids is that of an image; the table has x"),
    ],
)
def test_a_wrong_table_is_named(models, galaxies, tmp_path, text, message):  # noqa: F811
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match="t.csv") as error:
        page_of(models, galaxies, tmp_path, predictions=tmp_path / "t.csv")
    assert message in str(error.value)


def test_t_sne_of_many_places_each_galaxy_near_its_like():
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], 60)
    features = 8 * np.eye(3)[group] + rng.normal(size=(180, 3))
    maps = explored.projections(features, most=60)
    assert set(maps) >= {"t-SNE", "PCA"}
    points = maps["t-SNE"]
    middles = np.stack([points[group == k].mean(0) for k in range(3)])
    away = np.linalg.norm(points[:, None] - middles, axis=2)
    assert (away.argmin(1) == group).mean() > 0.95


def test_few_galaxies_have_a_map_too():
    for n in (1, 2, 3):
        (points,) = explored.projections(np.ones((n, 4))).values()
        assert points.shape == (n, 2) and np.isfinite(points).all()


@pytest.fixture(scope="module")
def entries_of_a_run():
    n, rng = 60, np.random.default_rng(0)
    ids, split = np.array([f"g{i}" for i in range(n)]), np.repeat(["train", "val", "test"], n // 3)
    labels = rng.integers(0, len(CLASSES), n)
    made = []
    for method, skill in (("weak", 0.0), ("good", 5.0)):
        for budget in (10, None):
            raw = rng.normal(size=(n, len(CLASSES)))
            raw[np.arange(n), labels] += skill
            p = np.exp(raw) / np.exp(raw).sum(1, keepdims=True)
            given = {"ids": ids, "split": split, "labels": labels, "probabilities": p}
            table = predictions_of(**given, classes=CLASSES)
            made.append(Entry(method, 0, budget, predictions=table, title=f"the {method} one"))
    voted = galaxy_zoo_tree.cumulative(galaxy_zoo_tree.shares(rng.random((n, 37))))
    votes = votes_of(
        ids=ids, split=split, votes=voted, volunteers=None, predicted=voted[::-1], outputs=VOTED
    )
    made.append(Entry("tree", 0, voting=True, votes=votes))
    control = Entry("pixels", 0, protocol="control", predictions=made[0].predictions)
    images = mock_survey(n, image_size=32).images
    sample = Galaxies(
        ids, images, torch.from_numpy(labels), tuple(CLASSES), torch.from_numpy(voted), split
    )
    return sample, Entries([*made, control])


def test_all_methods_of_a_run_by_galaxy(entries_of_a_run):
    sample, entries = entries_of_a_run
    found = by_galaxy(entries, 0)
    assert list(found.probabilities) == ["the good one", "the weak one"]  # no control, best first
    assert (found.best, found.voter) == ("the good one", "tree")
    whole = next(e.predictions for e in entries if e.method == "good" and e.n_labels is None)
    assert found.probabilities["the good one"].to_numpy().tolist() == whole.p.tolist()  # pyright: ignore
    assert set(found.suspects.id) <= set(sample.ids[20:])  # held out


def test_the_page_of_a_run(entries_of_a_run, models):  # noqa: F811
    sample, entries = entries_of_a_run
    measured = pd.DataFrame({"id": ["g3", "g1"], "half_light_radius": [3.5, 1.5]})
    model = {"CNN": models[0] / "classes.safetensors"}
    html = of_run(sample, entries, model, seed=0, title="r", measured=measured, n_maps=4, t_sne=30)
    page = Page(html)
    assert page.texts_of_ids() == sample.ids.tolist()
    truth = np.array(CLASSES)[sample.labels]
    assert page.column("class").tolist() == truth.tolist()
    assert page.column("split").tolist() == sample.split.tolist()
    good = next(e.predictions for e in entries if e.method == "good" and e.n_labels is None)
    best = np.array(CLASSES)[good.p.argmax(1)]  # pyright: ignore
    assert (
        page.column("the good one").tolist() == best.tolist() == page.column("predicted").tolist()
    )
    radius = page.column("half light radius")
    assert (radius[3], radius[1]) == (3.5, 1.5) and np.isnan(radius[[0, 2, 4]]).all()
    votes = page.column("spiral: yes (votes)")
    column = galaxy_zoo_tree.column("spiral", "yes")
    assert votes == pytest.approx(sample.votes[:, column].numpy(), abs=2e-5)  # pyright: ignore
    assert page.column("spiral: yes (predicted votes)") == pytest.approx(votes[::-1], abs=5e-5)
    maps = page.data["maps"]
    assert set(maps["heat"]) == set(CLASSES) and page.data["notes"]
    rows = page.array(maps["rows"], np.uint32)
    weak = page.column("the weak one")
    assert len(rows) == 4 and all(weak[row] != best[row] for row in rows)  # those that differ first


def test_a_model_for_other_images_is_refused(entries_of_a_run, models):  # noqa: F811
    sample, entries = entries_of_a_run
    wide = Galaxies(**vars(sample) | {"images": sample.images.repeat(1, 1, 2, 2)})
    with pytest.raises(ValueError, match="made for images of 32 px, the galaxies of the run 64"):
        of_run(wide, entries, {"CNN": models[0] / "classes.safetensors"}, seed=0, title="r")


def test_a_model_of_votes_gives_votes_alone(models, galaxies, tmp_path):  # noqa: F811
    page, _ = page_of(models, galaxies, tmp_path, kind="votes")
    assert page.data["votes"].keys() == {"predicted"} and page.data["classes"] == []
