"""Copies among mock galaxies, of all kinds, and at all sizes."""

import pytest
import torch

from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.diagnostics.duplicates import duplicates
from tests.diagnostics.test_audit import COPIES, jpeg


def test_the_kinds_of_duplicates_and_how_alike_they_are(images):
    images = images.clone()
    images[1], images[3] = COPIES["rotated"](images[0]), COPIES["compressed"](images[2])
    found = duplicates(images).set_index(["first", "second"])
    assert list(found.index) == [(0, 1), (2, 3)]
    assert list(found.kind) == ["exact", "near"]
    assert tuple(found.loc[(0, 1), ["correlation", "difference"]]) == (1, 0)
    assert 0.8 < found.correlation[2, 3] < 1
    assert 0 < found.difference[2, 3] < 0.12


def test_many_identical_images_are_one_group(images):
    """More of them than there are neighbours looked at, one turned, and one compressed."""
    images = images[:40].clone()
    images[10:30] = images[5]
    images[30], images[31] = images[5].flip(1), jpeg(images[5], 80)
    found = duplicates(images)
    assert set(found["first"]) == {5}
    assert sorted(found["second"]) == list(range(10, 32))


@pytest.mark.parametrize("size", [32, 96])
def test_duplicates_at_other_sizes(size):
    images = mock_survey(60, image_size=size, seed=6).images
    images[1] = COPIES["all"](images[0])
    assert duplicates(images)[["first", "second"]].to_numpy().tolist() == [[0, 1]]


def test_too_few_or_empty_images_have_no_duplicates_or_are_one():
    assert len(duplicates(torch.zeros(0, 3, 64, 64, dtype=torch.uint8))) == 0
    assert len(duplicates(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))) == 0
    assert len(duplicates(torch.zeros(3, 3, 64, 64, dtype=torch.uint8))) == 2
