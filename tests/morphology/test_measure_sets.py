"""Sets of measures, kept by pixels: what is measured, what is counted, and when it is measured
again."""

import importlib.metadata

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.morphology import measure_sets, measures


def has(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


needs_extra = pytest.mark.skipif(
    not has("statmorph"), reason="needs statmorph: pip install -e '.[classical]'"
)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return mock_survey(6, seed=2).images


def test_light_is_that_of_classical_and_measured_once(images, tmp_path, monkeypatch):
    first = measure_sets.measure(images, cache=tmp_path)
    np.testing.assert_allclose(first.table, measures.features(images), rtol=1e-6)
    assert list(first.table) == list(measures.MEASURES) and first.counts == {"light failed": 0}
    monkeypatch.setattr(measures, "features", lambda images: pytest.fail("measured again"))
    again = measure_sets.measure(images.clone(), cache=tmp_path)
    assert again.table.equals(first.table) and again.seconds == first.seconds > 0


def test_other_pixels_are_measured_anew(images, tmp_path):
    first = measure_sets.measure(images, cache=tmp_path).table
    other = measure_sets.measure(images.flip(0), cache=tmp_path).table
    np.testing.assert_allclose(other, first[::-1], rtol=1e-3, atol=1e-4)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_galaxy_that_cannot_be_measured_stays_in_and_is_counted(images, tmp_path):
    sky = torch.full((1, 3, 64, 64), 9, dtype=torch.uint8)
    found = measure_sets.measure(torch.cat([images[:2], sky]), cache=tmp_path)
    assert len(found.table) == 3 and found.counts == {"light failed": 1}
    assert found.table.iloc[2].isna().all()


def test_a_measuring_that_fails_leaves_nothing(images, tmp_path, monkeypatch):
    monkeypatch.setattr(measures, "features", lambda images: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        measure_sets.measure(images, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("features", [["gini"], [], ["light", "light"]])
def test_unknown_sets_are_refused(images, features):
    with pytest.raises(ValueError, match="expected one or more of light, hog, statmorph"):
        measure_sets.measure(images, features=features)


@pytest.mark.parametrize("name", ["hog", "statmorph"])
def test_without_the_extra_the_error_says_how_to_install_it(images, tmp_path, monkeypatch, name):
    def missing(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(ModuleNotFoundError, match=r"galaxymorph\[classical\]"):
        measure_sets.measure(images, features=[name], cache=tmp_path)


@needs_extra
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("size", [64, 48])
def test_hog_has_1764_numbers_that_stand_for_one_thing(size, tmp_path):
    images = mock_survey(2, image_size=size).images
    found = measure_sets.measure(images, features=["light", "hog"], cache=tmp_path)
    assert found.table.shape == (2, len(measures.MEASURES) + 1764)
    assert len(found.groups["hog"]) == 1764 and found.groups["gini"] == [
        list(measures.MEASURES).index("gini")
    ]


@needs_extra
@pytest.mark.filterwarnings("default")
def test_hog_of_vertical_stripes_is_all_in_one_direction():
    stripes = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    stripes[..., ::8] = stripes[..., 1::8] = stripes[..., 2::8] = stripes[..., 3::8] = 200
    histograms = measure_sets.hog(stripes).to_numpy().reshape(-1, 9)
    assert histograms[:, 0].sum() == pytest.approx(histograms.sum())


@needs_extra
@pytest.mark.filterwarnings("default")
@pytest.mark.long
def test_statmorph_agrees_and_its_failures_are_counted(images, tmp_path):
    """Six galaxies only, as statmorph takes a second for each: its values themselves are close
    where the sky has no say."""
    sky = torch.full((1, 3, 64, 64), 9, dtype=torch.uint8)
    found = measure_sets.measure(
        torch.cat([images, sky]), features=["light", "statmorph"], cache=tmp_path
    )
    table = found.table
    assert found.counts["statmorph failed"] == found.counts["light failed"] == 1
    assert table.statmorph_flag.iloc[6] == table.statmorph_flag_sersic.iloc[6] == 4 and np.isnan(
        table.statmorph_gini.iloc[6]
    )
    good = table.iloc[:6][table.statmorph_flag[:6] < 2]
    assert len(good) >= 4
    for ours, theirs, error in (
        ("concentration", "concentration", 0.12),
        ("gini", "gini", 0.06),
        ("m20", "m20", 0.12),
        ("half_light_radius", "r50", 0.6),
        ("petrosian_radius", "rpetro_circ", 1.5),
    ):
        assert (good[ours] - good[f"statmorph_{theirs}"]).abs().median() < error, ours
    assert (good.axis_ratio - (1 - good.statmorph_ellipticity_asymmetry)).abs().median() < 0.03
    assert spearmanr(good.half_light_radius, good.statmorph_r50)[0] > 0.9


@needs_extra
@pytest.mark.filterwarnings("default")
def test_what_statmorph_gives_up_on_is_flagged_not_dropped(images, monkeypatch):
    import statmorph

    def gives_up(*arguments, **options):
        raise AssertionError("Root not found within range.")

    monkeypatch.setattr(statmorph, "SourceMorphology", gives_up)
    table = measure_sets.statmorph(images[:2])
    assert (
        len(table) == 2
        and (table.statmorph_flag == 4).all()
        and table.drop(columns=table.columns[-2:]).isna().all(axis=None)
    )
