"""What is seen in decoded pictures: nothing in galaxies, and each fault by its name."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from galaxymorph.data import cutouts, looks, sources
from galaxymorph.data.mock.survey import mock_survey

REAL = os.environ.get("GALAXYMORPH_DATA")
SIZE = 40


def galaxies(count: int = 12, size: int = SIZE) -> np.ndarray:
    """Round and flat galaxies of several colours and sizes on a dark noisy sky."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    images = []
    for _ in range(count):
        r = np.hypot(x, y / rng.uniform(0.3, 1))
        light = rng.uniform(90, 200) * np.exp(-r / rng.uniform(size / 16, size / 5))
        colour = np.array([1.0, rng.uniform(0.6, 1), rng.uniform(0.3, 1)])
        images.append(light * colour[:, None, None] + rng.normal(8, 4, (3, size, size)))
    return np.array(images).clip(0, 255).astype(np.uint8)


def findings(images: np.ndarray) -> set[str]:
    return set(looks.look(images)["finding"])


@pytest.mark.parametrize("size", [16, 32, 45, 130])
def test_nothing_is_seen_in_galaxies(size):
    assert findings(galaxies(size=size)) == {""}


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_smallest_pictures_can_be_measured(size):
    assert len(looks.look(galaxies()[..., :size, :size])) == 12


@pytest.mark.parametrize("size", [32, 64])
def test_nothing_is_seen_in_mock_galaxies(size):
    assert findings(mock_survey(60, image_size=size, seed=1).images.numpy()) == {""}


def one_channel(images: np.ndarray) -> np.ndarray:
    return images * np.array([0, 1, 0], np.uint8)[:, None, None]


FAULTS = {
    "black": (lambda images: images * 0, "blank"),
    "white": (lambda images: images * 0 + 255, "blank"),
    "one level and a little noise": (lambda images: 90 + images // 128, "blank"),
    "sixteen bits of twelve": (lambda images: images // 14, "nearly black"),
    "too bright": (lambda images: np.where(images > 12, 255, images * 9), "saturated"),
    "white is zero": (lambda images: 255 - images, "negative"),
    "half of the scale": (lambda images: 136 + images // 3, "bright sky"),
    "one channel": (one_channel, "one colour"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_has_its_name(fault):
    change, expected = FAULTS[fault]
    assert findings(change(galaxies()).astype(np.uint8)) == {expected}


def test_measures_are_those_of_a_picture_painted_by_hand():
    image = np.full((1, 3, 32, 32), 10, np.uint8)
    image[0, :, :8] = 0  # a quarter is black
    image[0, 0, 24:, :16] = 255  # an eighth is at 255 in one channel
    image[0, :, 12:20, 12:20] = 80
    found = looks.look(image).iloc[0]
    assert (found["share_0"], found["share_255"]) == (0.25, 0.125)
    assert (found["peak"], found["spread"], found["second"]) == (255, 255, 80)
    assert (found["sky"], found["centre"]) == (10, 80)
    assert found["coloured"] == 0.125


def test_grey_is_one_band_and_no_fault():
    table = looks.look(np.repeat(galaxies()[:, :1], 3, axis=1))
    assert set(table["finding"]) == {""}
    said = looks.sentences(table, [str(row) for row in range(len(table))])
    assert said == ["grey: 12 of 12 images (one band, in three equal channels)"]


def test_sentences_name_the_pictures_and_what_may_help():
    images = galaxies()
    images[3], images[7], images[8] = 0, images[7] // 16, images[8] // 16
    table, names = looks.look(images), [f"g{row}.png" for row in range(12)]
    blank, black = looks.sentences(table, names)
    assert blank.startswith("blank: 1 of 12 images") and "g3.png. Remove" in blank
    assert black.startswith("nearly black: 2 of 12 images") and "g7.png, g8.png. Scale" in black
    assert looks.unusable(table, names) == ""
    assert looks.remark("") == "" and "stretch" in looks.remark("nearly black")


def test_a_set_of_which_most_is_unusable():
    images = galaxies()
    images[:6] //= 14
    names = list("abcdefghijkl")
    assert looks.unusable(looks.look(images), names) == ""
    images[11] = 255
    said = looks.unusable(looks.look(images), names)
    assert said.startswith("7 of 12 images show no galaxy") and "a, b, c, d, e, f. " in said
    assert "stretch" in said and ": l. " in said


def test_many_pictures_are_looked_at_in_chunks(monkeypatch):
    images = galaxies()
    whole = looks.look(images)
    monkeypatch.setattr(looks, "CHUNK", 5)
    pd.testing.assert_frame_equal(looks.look(images), whole)
    assert len(looks.look(images[:0])) == 0


@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "crop"),
    [("four_class", None), ("galaxy_zoo_2/images_test_rev1", 106), ("galaxy_zoo_128", None)],
)
def test_nothing_is_seen_in_real_galaxies(folder, crop):
    read = sources.images(Path(REAL or "") / folder).read[:800]
    jobs = [partial(cutouts.read, each, size=32, crop=crop) for each in read]
    assert findings(np.stack([job()[0] for job in jobs])) == {""}
