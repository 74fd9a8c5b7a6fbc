"""`crop: auto` follows the size of the drawn galaxy, whatever is around it."""

from functools import partial

import numpy as np
import pytest
from PIL import Image

from galaxymorph.data import cutouts, framing
from galaxymorph.data.load import load
from galaxymorph.data.pictures import read_image

SIZE = 160  # px of a frame


def frame(*galaxies, sky=8.0, noise=2.0, shape=(SIZE, SIZE), seed=0):
    """Draw Gaussian galaxies: x and y from the centre (px), sigma (px), axis ratio, peak."""
    rows, columns = np.indices(shape) - (np.array(shape).reshape(2, 1, 1) - 1) / 2
    light = np.random.default_rng(seed).normal(sky, noise, (*shape, 3))
    for x, y, sigma, ratio, peak in galaxies:
        across, along = (columns - x) / sigma, (rows - y) / (sigma * ratio)
        light += (peak * np.exp(-(across**2 + along**2) / 2))[..., None]
    return light.round().clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("sigma", [4, 8, 12, 16])
def test_the_side_is_in_proportion_to_the_radius(sigma):
    """A round Gaussian holds 90 % of its light within sigma sqrt(2 ln 10)."""
    r90 = sigma * np.sqrt(2 * np.log(10))
    assert framing.side(frame((0, 0, sigma, 1, 200))) == pytest.approx(
        min(framing.RADII * r90, SIZE), rel=0.1
    )


@pytest.mark.parametrize("scale", [2, 3])
def test_a_picture_of_more_pixels_has_a_cutout_of_more_pixels(scale):
    one = framing.side(frame((0, 0, 8, 1, 200)))
    large = frame((0, 0, 8 * scale, 1, 200), shape=(SIZE * scale, SIZE * scale))
    assert framing.side(large) == pytest.approx(one * scale, rel=0.06)


@pytest.mark.parametrize(
    "around",
    [
        [(50, 20, 4, 1, 240)],
        [(50, -40, 10, 1, 240), (-60, -60, 3, 1, 240)],
        [(22, 0, 3, 1, 240)],  # its light runs into that of the galaxy
    ],
    ids=["star", "galaxy and star", "touching"],
)
def test_neighbours_do_not_count(around):
    galaxy = (0, 0, 8, 0.6, 180)
    alone = framing.side(frame(galaxy))
    assert framing.side(frame(galaxy, *around)) == pytest.approx(alone, rel=0.05)


def test_a_disc_seen_edge_on_is_framed_along_its_length():
    """A Gaussian along a line holds 90 % of its light within 1.645 sigma."""
    edge_on = framing.side(frame((0, 0, 14, 0.15, 200)))
    assert edge_on == pytest.approx(framing.RADII * 1.645 * 14, rel=0.1)


def test_the_shift_of_a_pixel_changes_little():
    centred, shifted = (framing.side(frame((at, at, 8, 1, 200))) for at in (0, 1.5))
    assert shifted == pytest.approx(centred, rel=0.1)


@pytest.mark.parametrize("picture", [
    frame(), frame(noise=0), frame(noise=20), frame((45, 30, 5, 1, 200)),
    np.zeros((SIZE, SIZE, 3), np.uint8), np.full((32, 40, 3), 255, np.uint8),
])  # fmt: skip
def test_without_a_galaxy_in_the_centre_there_is_no_side(picture):
    assert framing.side(picture) is None


def test_a_galaxy_larger_than_the_frame_is_shown_whole_and_a_tiny_one_not_enlarged_for_ever():
    assert framing.side(frame((0, 0, 60, 1, 200), shape=(SIZE, SIZE + 40))) == SIZE
    assert framing.side(frame((0, 0, 1.5, 1, 240))) == SIZE * framing.LEAST


@pytest.mark.parametrize("kind", ["pixels", "jpg", "png"])
def test_a_cutout_is_the_central_square_of_the_side_chosen(tmp_path, kind):
    pixels = frame((0, 0, 6, 1, 200))
    file = tmp_path / f"g.{kind}"
    if kind != "pixels":
        Image.fromarray(pixels).save(file, quality=100, subsampling=0)
    original = (lambda: (pixels, "")) if kind == "pixels" else partial(read_image, str(file))
    sides = []
    image, remark = cutouts.read(original, size=32, crop="auto", sides=sides)
    wanted, _ = cutouts.read(lambda: (pixels, ""), size=32, crop=sides[0])
    assert len(sides) == 1 and sides[0] < SIZE * 0.6 and remark == ""
    assert np.abs(image.astype(int) - wanted).max() <= (0 if kind != "jpg" else 8)


def test_the_note_gives_the_range_and_remarks_name_what_was_not_framed(tmp_path):
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "set" / "b").mkdir()
    for at in range(10):
        pixels = frame((0, 0, 4 + at, 1, 200) if at else (50, 30, 5, 1, 200), seed=at)
        Image.fromarray(pixels).save(tmp_path / "set" / "ab"[at % 2] / f"{at}.png")

    def loaded(**options):
        where = {"root": tmp_path / "set", "cache": tmp_path / "cache"}
        return load("folder", image_size=32, **where, **options)

    first, again = loaded(crop="auto"), loaded(crop="auto")
    sides = [framing.side(frame((0, 0, 4 + at, 1, 200), seed=at)) for at in range(1, 10)]
    note = f"crop: auto chose {min(sides)} to {max(sides)} px, median {sorted(sides)[4]}"
    assert note in first.notes and first.notes == again.notes
    assert first.cutout == {"crop": "auto"}
    assert [note for note in first.notes if "0.png" in note and cutouts.UNFRAMED in note]
    whole = loaded()
    assert not [note for note in whole.notes if "crop" in note]
    same = [(one == two).all() for one, two in zip(first.images, whole.images, strict=True)]
    assert same == [id == "0" for id in whole.ids]  # only the one that was not framed is equal
    with pytest.raises(ValueError, match="crop must be px or auto, not 'atuo'"):
        loaded(crop="atuo")
