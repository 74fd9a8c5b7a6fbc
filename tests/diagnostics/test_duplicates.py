"""Copies among mock galaxies, of all kinds, and at all sizes; blank frames."""

import pytest
import torch

from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.diagnostics.duplicates import blank, duplicates
from tests.diagnostics.test_audit import COPIES, jpeg


@pytest.mark.long
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


@pytest.mark.parametrize("seed", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 2))])
@pytest.mark.long
def test_small_round_galaxies_are_no_copies_of_each_other(seed):
    """At 32 px, pairs of these are as alike as copies, except in their fine structure."""
    assert len(duplicates(mock_survey(600, image_size=32, seed=seed).images)) == 0


def test_of_too_small_images_only_identical_ones_are_found():
    images = mock_survey(300, image_size=24, seed=0).images
    images[1], images[3] = COPIES["rotated"](images[0]), COPIES["compressed"](images[2])
    assert duplicates(images)[["first", "second"]].to_numpy().tolist() == [[0, 1]]


@pytest.mark.parametrize("size", [32, 40, 48, 96])
@pytest.mark.long
def test_duplicates_at_other_sizes(size):
    images = mock_survey(60, image_size=size, seed=6).images
    images[1] = COPIES["all"](images[0])
    assert duplicates(images)[["first", "second"]].to_numpy().tolist() == [[0, 1]]


@pytest.mark.parametrize("n", [0, 1, 3])
@pytest.mark.parametrize("size", [24, 64])
def test_no_or_blank_images_are_no_duplicates(n, size):
    frames = torch.tensor([0, 255, 7], dtype=torch.uint8)[None, :, None, None]
    frames = frames.expand(n, 3, size, size)
    assert len(duplicates(frames)) == 0
    assert blank(frames).tolist() == [True] * n


def test_a_frame_with_one_bright_pixel_is_not_blank(images):
    frames = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    frames[0, 1, 30, 5] = 1
    assert blank(frames).tolist() == [False, True]
    assert not blank(images).any()
