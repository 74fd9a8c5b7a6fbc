"""FITS images become pictures: which planes are which bands, what is missing, how to show them."""

import bz2
import gzip
import inspect
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits as astropy_fits
from astropy.io.fits.verify import VerifyWarning
from astropy.utils.exceptions import AstropyUserWarning

from galaxymorph.data import fits, looks, planes
from galaxymorph.data.load import load as load_galaxies

REAL = os.environ.get("GALAXYMORPH_DATA")


@pytest.fixture
def load(tmp_path):
    """`data.load` of FITS images without the type check, which would hide what users see."""

    def unwrapped(root=tmp_path / "sky", **options):
        options = {"image_size": 8, "cache": tmp_path / "cache"} | options
        return inspect.unwrap(load_galaxies)("fits", root=root, **options)

    return unwrapped


def write(file: Path, image: np.ndarray, dtype=np.float32, **header) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    hdu = astropy_fits.PrimaryHDU(image.astype(dtype))
    hdu.header.update(header)
    hdu.writeto(file)


def write_extensions(file: Path, **images: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    hdus = [astropy_fits.ImageHDU(image, name=name.strip("_")) for name, image in images.items()]
    astropy_fits.HDUList([astropy_fits.PrimaryHDU(), *hdus]).writeto(file)


def bands(*levels: float, size: int = 8) -> np.ndarray:
    """Bands that are 0, but for a square of a level each in the middle."""
    frame = np.zeros((len(levels), size, size))
    frame[:, size // 4 : -(size // 4), size // 4 : -(size // 4)] = np.reshape(levels, (-1, 1, 1))
    return frame


def middle(image: torch.Tensor) -> list[int]:
    """The colour in the middle of a picture of `bands`: red, green, blue."""
    return image[:, 4, 4].tolist()


def galaxy(size: int = 48, seed: int = 0, noise: float = 0.004) -> np.ndarray:
    """A galaxy of three bands in nanomaggies, red, in noise on a sky of 0."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - size / 2
    light = np.exp(-np.hypot(x, y / rng.uniform(0.4, 1)) / (size / 8))
    return light * np.reshape([0.3, 0.6, 1.0], (3, 1, 1)) + rng.normal(0, noise, (3, size, size))


def survey(root: Path, change=lambda cube: cube, count: int = 4) -> None:
    for number in range(count):
        write(root / f"n{number}.fits", change(galaxy(seed=number)))


# --- which planes are which bands -----------------------------------------------------------------


def test_the_reddest_band_is_red(tmp_path, load):
    """A cube's planes go from blue to red; single files go by their names, whatever their headers
    say."""
    write(tmp_path / "sky" / "cube.fits", bands(0.001, 0.001, 0.5))
    for band, level in {"g": 0.5, "r": 0.001, "i": 0.001}.items():
        write(tmp_path / "sky" / f"single_{band}.fits", bands(level)[0], FILTER="i")
    galaxies = load()
    assert galaxies.ids.tolist() == ["cube", "single"]
    red, blue = map(middle, galaxies.images)
    assert red[0] > 50 and max(red[1:]) < 5
    assert blue[2] > 50 and max(blue[:2]) < 5
    assert galaxies.labels.tolist() == [-1, -1] and galaxies.classes == ()
    assert set(galaxies.split) == {"unlabelled"}


def test_order_of_a_cubes_planes(tmp_path, load):
    write(tmp_path / "sky" / "cube.fits", bands(0.5, 0.001, 0.001))
    red, _, blue = middle(load(bands="zrg").images[0])
    assert red > 50 and blue < 5


def test_planes_go_by_the_names_in_the_header(tmp_path, load):
    write(tmp_path / "sky" / "legacy.fits", bands(0.5, 0.001, 0.001), BANDS="zrg")
    numbered = {"FILTER1": "HSC-Z", "FILTER2": "HSC-R", "FILTER3": "HSC-G"}
    write(tmp_path / "sky" / "numbered.fits", bands(0.5, 0.001, 0.001), **numbered)
    for image in load().images:
        assert middle(image)[0] > 50 and middle(image)[2] < 5


@pytest.mark.parametrize("wanted", ["gri", ["Y", "J", "H"], ["VIS"]])
def test_names_in_the_header_that_contradict_are_refused(tmp_path, load, wanted):
    write(tmp_path / "sky" / "a.fits", bands(0.5, 0.02, 0.02), BANDS="grz")
    with pytest.raises(ValueError, match=r"3 planes .*\(g, r, z\).*named in the header"):
        load(bands=wanted)


def test_three_of_four_planes_by_name(tmp_path, load):
    cube = bands(0.5, 0.02, 0.02, 0.02)
    write(tmp_path / "sky" / "a.fits", cube, BANDS="g,r,i,z")
    assert max(middle(load(bands=["z", "i", "r"], stretch=0.5).images[0])) < 30
    assert middle(load(bands=["i", "r", "g"]).images[0])[2] > 50
    assert torch.equal(load(bands="gri").images, load(bands=["i", "r", "g"]).images)
    with pytest.raises(
        ValueError, match=r"4 planes of 8 x 8 px \(g, r, i, z\).*bands: \[g, r, i\]"
    ):
        load()
    with pytest.raises(ValueError, match=r"4 planes .*: bands u must be named in the header"):
        load(bands="ugr")


def test_four_planes_without_names_are_not_guessed(tmp_path, load):
    write(tmp_path / "sky" / "a.fits", bands(0.5, 0.1, 0.1, 0.1))
    for options in ({}, {"bands": "gri"}):
        with pytest.raises(ValueError, match=r"4 planes .*unnamed"):
            load(**options)


def test_bands_of_other_telescopes(tmp_path, load):
    """Of unknown order, they are red, green and blue; those of Euclid go by wavelength."""
    for name, level in {"F444W": 0.5, "F277W": 0.001, "F150W": 0.001}.items():
        write(tmp_path / "sky" / f"a_{name}.fits", bands(level)[0])
    red, _, blue = middle(load(bands=["F444W", "F277W", "F150W"]).images[0])
    assert red > 50 and blue < 5
    write_extensions(
        tmp_path / "euclid" / "b.fits",
        NIR_H=bands(0.5)[0],
        VIS=bands(0.001)[0],
        NIR_Y=bands(0.001)[0],
    )
    red, _, blue = middle(load(tmp_path / "euclid", bands=["VIS", "Y", "H"]).images[0])
    assert red > 50 and blue < 5


@pytest.mark.parametrize("layout", ["last", "four axes", "extensions", "named extensions"])
def test_layouts_of_the_same_galaxy(tmp_path, load, layout):
    cube = galaxy().astype(np.float32)
    write(tmp_path / "sky" / "a.fits", cube)
    if layout == "extensions":
        write_extensions(tmp_path / "other" / "a.fits", _=cube[0], __=cube[1], ___=cube[2])
    elif layout == "named extensions":
        write_extensions(tmp_path / "other" / "a.fits", Z=cube[2], R=cube[1], G=cube[0])
    else:
        other = np.moveaxis(cube, 0, -1) if layout == "last" else cube[None]
        write(tmp_path / "other" / "a.fits", other)
    assert torch.equal(load(image_size=24).images, load(tmp_path / "other", image_size=24).images)


def test_degenerate_axes_of_single_bands(tmp_path, load):
    cube = galaxy().astype(np.float32)
    for band, plane in zip("gri", cube, strict=True):
        write(tmp_path / "sky" / f"a_{band}.fits", plane[None, None])
        write(tmp_path / "other" / f"a_{band}.fits", plane)
    assert torch.equal(load(image_size=24).images, load(tmp_path / "other", image_size=24).images)


def test_errors_and_masks_are_no_bands(tmp_path, load):
    images = {"SCI": bands(0.1)[0], "ERR": bands(0.2)[0], "DQ": bands(0.3)[0]}
    write_extensions(tmp_path / "sky" / "a.fits", **images)
    with pytest.raises(ValueError, match=r"3 planes of 8 x 8 px \(SCI, ERR, DQ\).*\[i, r, g\]"):
        load()
    galaxies = load(bands=["VIS"])
    assert any("not read: further images (ERR, DQ)" in note for note in galaxies.notes)


def test_the_first_image_is_read_after_a_table(tmp_path, load):
    table = astropy_fits.BinTableHDU.from_columns([astropy_fits.Column("x", "D", array=[1.0])])
    image = astropy_fits.ImageHDU(bands(0.1, 0.2, 0.3))
    more = astropy_fits.ImageHDU(bands(0.1, 0.2, 0.3), name="MORE")
    (tmp_path / "sky").mkdir()
    astropy_fits.HDUList([astropy_fits.PrimaryHDU(), table, image, more]).writeto(
        tmp_path / "sky" / "a.fits"
    )
    galaxies = load()
    assert middle(galaxies.images[0])[0] > 30
    assert galaxies.notes[-1] == "remarks on 1 images: a.fits (not read: further images (MORE))"


def test_one_band_is_grey_as_a_choice(tmp_path, load):
    cube = galaxy().astype(np.float32)
    write(tmp_path / "sky" / "a.fits", cube[1])
    write(tmp_path / "cube" / "a.fits", cube, BANDS="grz")
    write(tmp_path / "files" / "a_r.fits", cube[1])
    with pytest.raises(ValueError, match=r"to show one band in grey.* bands: \[r\]"):
        load()
    galaxies = load(bands=["r"], image_size=24)
    assert (galaxies.images == galaxies.images[:, :1]).all() and galaxies.images.max() > 50
    assert galaxies.cutout["bands"] == ["r"]
    assert "one band (r): grey, in three equal channels" in galaxies.notes
    for folder in ("cube", "files"):
        other = load(tmp_path / folder, bands="r", image_size=24)
        assert torch.equal(other.images, galaxies.images)


def test_bands_that_differ_by_a_pixel_are_cut(tmp_path, load):
    for band, size in {"g": 20, "r": 21, "i": 21}.items():
        write(tmp_path / "sky" / f"a_{band}.fits", bands(0.3, size=size)[0])
    assert load().notes[-1].endswith("a_i.fits (bands differ by a pixel: cut to 20 x 20 px)")
    write(tmp_path / "sky" / "b_g.fits", bands(0.3, size=20)[0])
    write(tmp_path / "sky" / "b_r.fits", bands(0.3, size=23)[0])
    write(tmp_path / "sky" / "b_i.fits", bands(0.3, size=20)[0])
    with pytest.raises(ValueError, match=r"b_g.fits.*expected bands of one size, found \(20, 20\)"):
        load()


def test_bands_in_capitals(tmp_path, load):
    for band, level in {"G": 0.5, "r": 0.001, "I": 0.001}.items():
        write(tmp_path / "sky" / f"m51_{band}.fits", bands(level)[0])
    galaxies = load(bands="gri")
    assert galaxies.ids.tolist() == ["m51"]
    red, green, blue = middle(galaxies.images[0])
    assert blue > 50 and max(red, green) < 5


def test_four_bands_and_a_choice_of_three(tmp_path, load):
    for band, level in {"u": 0.5, "g": 0.02, "r": 0.02, "i": 0.02}.items():
        write(tmp_path / "sky" / f"a_{band}.fits", bands(level)[0])
    assert max(middle(load(bands="gri", stretch=0.5).images[0])) < 30  # u is not in the picture
    assert middle(load(bands="ugr", stretch=0.5).images[0])[2] > 50


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        (["a_g", "a_r"], {}, r"these have other bands: a \(g, r\)"),
        (["a_u", "a_g", "a_r", "a_i"], {}, r"a \(g, i, r, u\)"),
        (["a_g", "a_r", "a_i"], {"bands": "grz"}, r"a \(g, i, r\)"),
        (["a_g", "a_r", "a_i", "a"], {}, r"duplicate id 'a' \(.*a.fits, .*a_g.fits\)"),
        (["a"], {"bands": "grr"}, r"bands must be three different bands"),
        (["a"], {"bands": ["g", "r"]}, r"bands must be three different bands"),
        (["a"], {"band_weights": [1.0, 2.0]}, r"band_weights must be three numbers"),
        (["a"], {}, r"a.fits \(1 plane of 8 x 8 px .*expected three bands of one size"),
        ([], {}, r"no FITS files found"),
    ],
)
def test_bad_sets(tmp_path, load, files, options, message):
    (tmp_path / "sky").mkdir()
    for name in files:
        write(tmp_path / "sky" / f"{name}.fits", bands(0.1)[0])
    with pytest.raises(ValueError, match=message):
        load(**options)


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("module", "ending"), [(gzip, ".gz"), (bz2, ".bz2")])
def test_compressed(tmp_path, load, module, ending):
    for band, level in {"g": 0.1, "r": 0.2, "i": 0.3}.items():
        for name in ("plain", "packed"):
            write(tmp_path / name / f"m51_{band}.fits", bands(level)[0])
        file = tmp_path / "packed" / f"m51_{band}.fits"
        file.with_name(file.name + ending).write_bytes(module.compress(file.read_bytes()))
        file.unlink()
    plain, packed = load(tmp_path / "plain"), load(tmp_path / "packed")
    assert packed.ids.tolist() == ["m51"]
    assert torch.equal(plain.images, packed.images)


def test_tile_compressed(tmp_path, load):
    cube = (1000 * galaxy(noise=0.02)).astype(np.int16)
    write(tmp_path / "sky" / "a.fits", cube, np.int16)
    (tmp_path / "other").mkdir()
    packed = astropy_fits.CompImageHDU(cube, compression_type="RICE_1")
    astropy_fits.HDUList([astropy_fits.PrimaryHDU(), packed]).writeto(
        tmp_path / "other" / "a.fits.fz"
    )
    assert torch.equal(load(image_size=24).images, load(tmp_path / "other", image_size=24).images)


def test_first_row_is_the_lowest(tmp_path, load):
    cube = bands(0.001, 0.001, 0.001)
    cube[:, :2] = 0.5
    write(tmp_path / "sky" / "cube.fits", cube)
    image = load(sky="none", stretch=0.5).images[0, 0].float()
    assert image[-2:].min() > 50 and image[:-2].max() < 5


def test_labels_and_settings(tmp_path, load):
    for number in range(6):
        write(tmp_path / "sky" / f"n{number}.fits", bands(0.1, 0.1, 0.1))
    (tmp_path / "labels.csv").write_text(
        "id,label\n" + "\n".join(f"n{n},{'ab'[n % 2]}" for n in range(6))
    )
    faint = load(labels=tmp_path / "labels.csv", stretch=0.5)
    assert faint.classes == ("a", "b") and faint.labels.tolist() == [0, 1] * 3
    bright = load(stretch=0.05, band_weights=[1.0, 1.0, 1.0])
    assert middle(bright.images[0])[0] > middle(faint.images[0])[0]
    assert len(set(middle(bright.images[0]))) == 1  # equal bands, equal weights: grey


def test_truncated_is_named(tmp_path, load):
    for name in ("good", "broken"):
        write(tmp_path / "sky" / f"{name}.fits", bands(0.1, 0.1, 0.1, size=40))
    with (tmp_path / "sky" / "broken.fits").open("r+b") as file:
        file.truncate(9000)
    wanted = r"1 of 2 images cannot be used: broken.fits \(incomplete or broken FITS file"
    with pytest.raises(ValueError, match=wanted):
        load()
    assert load(on_bad="skip").ids.tolist() == ["good"]


def test_links_to_nothing_are_broken_images(tmp_path, load):
    write(tmp_path / "sky" / "good.fits", bands(0.1, 0.1, 0.1))
    (tmp_path / "sky" / "bad.fits").symlink_to(tmp_path / "gone.fits")
    with pytest.raises(ValueError, match=r"1 of 2 .*: bad.fits \(a link to .*does not exist"):
        load()


def test_an_absurd_header_is_refused_before_its_pixels(tmp_path, load):
    write(tmp_path / "sky" / "good.fits", bands(0.1, 0.1, 0.1))
    hdu = astropy_fits.PrimaryHDU(bands(0.1, 0.1, 0.1))
    text = hdu.header.tostring().replace(f"NAXIS1  = {8:20}", f"NAXIS1  = {4 * 10**9:20}")
    (tmp_path / "sky" / "bad.fits").write_bytes(text.encode() + bytes(2880))
    with pytest.raises(ValueError, match=r"1 of 2 .*bad.fits \(.*megapixels"):
        load()


# --- missing pixels -------------------------------------------------------------------------------


def test_missing_pixels_take_the_other_bands():
    cube = np.stack([np.full((4, 4), level) for level in (1.0, 3.0, 8.0)])
    cube[0, 1, 1] = np.nan
    cube[1, 2, 2] = 0.0
    cube[:2, 3, 3] = np.inf, np.nan
    filled, percent = planes.fill(cube)
    assert filled[:, 1, 1].tolist() == [5.5, 3, 8]
    assert filled[:, 2, 2].tolist() == [1, 0, 8]  # a single 0 may be true
    assert filled[:, 3, 3].tolist() == [8, 8, 8]
    assert percent == pytest.approx(100 * 3 / 48)


def test_holes_in_every_band_take_their_neighbourhood():
    cube = np.stack([np.tile(np.arange(20.0) + 1, (20, 1)) * band for band in (1, 2, 3)])
    holed = cube.copy()
    holed[:, 9:11, 9:11] = np.nan
    filled, percent = planes.fill(holed)
    np.testing.assert_allclose(filled, cube, rtol=0.05)
    assert percent == 1.0


def test_holes_without_neighbourhood_take_the_sky():
    cube = np.full((3, 100, 100), np.nan)
    cube[:, :60] = np.array([1.0, 2.0, 3.0])[:, None, None]
    with pytest.warns(AstropyUserWarning, match="larger than the kernel"):
        filled, _ = planes.fill(cube)
    assert filled[:, 99, 50].tolist() == pytest.approx([1, 2, 3])


@pytest.mark.parametrize("kind", ["black background", "empty band", "counts", "packed"])
def test_true_zeros_stay(kind):
    """Of a simulation, of a band in which a galaxy drops out, of photons, and of rounded noise."""
    cube = galaxy()
    if kind == "black background":
        cube = bands(0.3, 0.6, 1.0, size=48)
        cube[2] += 0.001
    elif kind == "empty band":
        cube[0] = 0
    elif kind == "counts":
        cube = np.random.default_rng(1).poisson(np.maximum(20 * cube - 0.5, 0)).astype(float)
    else:
        cube = np.round(cube / 0.02) * 0.02
    assert (cube == 0).sum() > 48
    filled, percent = planes.fill(cube)
    assert percent == 0 and np.array_equal(filled, cube)


@pytest.mark.parametrize("where", [np.s_[:1], np.s_[:, 30:], np.s_[10:40, 5:40]])
def test_areas_without_data_amid_noise_are_filled(where):
    cube = galaxy()
    cube[0][where] = 0
    filled, percent = planes.fill(cube)
    assert percent == pytest.approx(100 * (cube == 0).mean())
    assert np.array_equal(filled[0][where], cube[1:].mean(0)[where])
    assert np.array_equal(filled[1:], cube[1:])


@pytest.mark.parametrize("zero", [0, 32768], ids=["signed", "unsigned"])
def test_blank_of_whole_numbers_is_missing(tmp_path, load, zero):
    counts = np.round(3000 * galaxy(noise=0.01) + 200)
    counts[:, :12, :12] = 32767 + zero
    hdu = astropy_fits.PrimaryHDU(counts.astype(np.uint16 if zero else np.int16))
    hdu.header["BLANK"] = 32767
    (tmp_path / "sky").mkdir()
    hdu.writeto(tmp_path / "sky" / "a.fits")
    galaxies = load(image_size=48)
    assert galaxies.images[0, :, -11:, :11].max() < 100  # no bright square
    assert "a.fits (6.2 % of the pixels were missing" in galaxies.notes[-1]


def test_repaired_images_are_noted(tmp_path, load):
    cube = bands(0.1, 0.1, 0.1)
    cube[0, 0, :3] = np.nan
    write(tmp_path / "sky" / "holes.fits", cube)
    assert load(stretch=0.5, sky="none").notes == [
        "remarks on 1 images: holes.fits (1.6 % of the pixels were missing and filled in)"
    ]


# --- undeclared bad values ------------------------------------------------------------------------


def masked(value: float, count: int):
    """A change of a cube: `count` pixels of its first band have this value."""

    def change(cube: np.ndarray) -> np.ndarray:
        cube = cube.copy()
        cube[0].flat[np.random.default_rng(1).choice(cube[0].size, count, replace=False)] = value
        return cube

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            masked(-99, 1),
            "pixels of -99, far from all others: if they are missing, set them to NaN",
        ),
        (masked(-999, 3), "pixels of -999, far from all others"),
        (masked(1e30, 2), r"pixels of 1e\+30, far from all others"),
        (masked(-1.5, 6), "pixels of -1.5, far from all others"),
        (lambda cube: cube.clip(-0.003), "many pixels of -0.003, the lowest value: clipped, or"),
        (lambda cube: cube.clip(max=0.05), "many pixels of 0.05, the highest value: clipped, or"),
    ],
)
def test_undeclared_bad_values_are_remarked(tmp_path, load, change, said):
    survey(tmp_path / "sky", change)
    (note,) = [each for each in load(stretch=0.5, sky="none").notes if "remarks on" in each]
    assert re.search(f"remarks on 4 images: n0.fits, .*{said}", note)


@pytest.mark.parametrize(
    "change",
    [
        lambda cube: cube,
        lambda cube: np.round(cube * 3000 + 1000),  # counts on a bias
        lambda cube: np.random.default_rng(0).poisson((cube * 10).clip(0.2)),  # few photons
        lambda cube: np.round(cube / 0.008) * 0.008,  # as a compressed image
        masked(30.0, 1),  # a cosmic ray
        masked(0.0, 300),
    ],
)
def test_sound_values_are_not(tmp_path, load, change):
    survey(tmp_path / "sky", change)
    assert not [each for each in load(on_bad="skip").notes if "pixels of" in each]


def test_a_declared_bad_value_is_missing_in_real_numbers_too(tmp_path, load):
    survey(tmp_path / "sky")
    expected = load(stretch=0.5, sky="none").images
    for number in range(4):
        cube = masked(-99, 1)(galaxy(seed=number))
        with pytest.warns(VerifyWarning, match="BLANK"):  # of astropy, which knows whole ones
            write(tmp_path / "b" / f"n{number}.fits", cube, BLANK=-99)
    found = load(root=tmp_path / "b", stretch=0.5, sky="none")
    assert "of the pixels were missing and filled in" in " ".join(found.notes)
    assert (found.images.int() - expected.int()).abs().max() < 12


# --- stretch and sky ------------------------------------------------------------------------------


def pictures(load, **options) -> np.ndarray:
    galaxies = load(image_size=48, **options)
    assert set(looks.look(galaxies.images.numpy())["finding"]) == {""}
    return galaxies.images.numpy().astype(int)


def test_nanomaggies_keep_the_stretch_that_they_always_had(tmp_path, load):
    survey(tmp_path / "sky")
    galaxies = load(image_size=48)
    assert (galaxies.cutout["stretch"], galaxies.cutout["sky"]) == (0.5, "none")
    assert "stretch: 0.5, sky: none" in galaxies.notes[0]
    assert np.array_equal(pictures(load), pictures(load, stretch=0.5, sky="none"))


@pytest.mark.parametrize("unit", [1e-25, 1e-17, 1e-3, 1e6, 1e20])
def test_any_unit_gives_the_same_pictures(tmp_path, load, unit):
    survey(tmp_path / "sky")
    survey(tmp_path / "other", lambda cube: (cube * unit).astype(np.float32))
    reference = fits.propose(fits.find(tmp_path / "other").read, fits.COLOUR)["stretch"]
    expected = pictures(load, stretch=reference / unit)
    assert np.abs(expected - pictures(load, root=tmp_path / "other")).max() <= 1


def test_the_stretch_grows_with_the_light_and_never_jumps():
    """From a 30th to 30 times the usual light: 0.5 in the middle, proportional far away."""
    factors = np.geomspace(1e-3, 1e3, 400)
    best = np.array([fits._near_usual(0.5 * factor) for factor in factors])
    steps = best[1:] / best[:-1]
    assert (steps >= 1).all() and steps.max() < 1.09  # twice as steep as the data, at most
    assert (best[(factors > 0.2) & (factors < 5)] == 0.5).all()
    far = (factors < 0.04) | (factors > 25)
    assert best[far] == pytest.approx(0.5 * factors[far], rel=0.01)
    assert fits._near_usual(0.0) == 0.5


@pytest.mark.parametrize(("scale", "sky"), [(1000, 1000), (500, 30000), (3e-18, -1e-17)])
def test_a_bright_sky_is_subtracted_and_said(tmp_path, load, scale, sky):
    survey(tmp_path / "sky", lambda cube: cube * scale + sky)
    galaxies = load(image_size=48)
    assert galaxies.cutout["sky"] == "border" and "sky: border" in galaxies.notes[0]
    images = pictures(load)
    assert np.median(images[:, :, :4]) < 30 and images.max() > 100


def test_unusable_pictures_name_the_stretch_to_try(tmp_path, load):
    survey(tmp_path / "sky", lambda cube: cube * 1e-17)
    with pytest.raises(ValueError) as error:
        load(stretch=0.5, on_bad="skip")
    said = str(error.value)
    assert "stretch: 0.5 leaves 100% of the pixels black" in said
    best = float(said.partition("try stretch: ")[2].partition(",")[0])
    assert best == load().cutout["stretch"]
    pictures(load, stretch=best)


def test_saturated_pictures_name_the_sky(tmp_path, load):
    survey(tmp_path / "sky", lambda cube: 700 * cube + 1000)
    with pytest.raises(ValueError, match="show no galaxy.*sky: border"):
        load(stretch=0.5, sky="none")


def test_frames_without_light_are_left_out(tmp_path, load):
    survey(tmp_path / "sky")
    write(tmp_path / "sky" / "outside.fits", np.zeros((3, 48, 48)))
    with pytest.raises(ValueError, match=r"1 of 5 images cannot be used: outside.fits \(blank"):
        load(image_size=48)
    galaxies = load(image_size=48, on_bad="skip")
    assert galaxies.ids.tolist() == ["n0", "n1", "n2", "n3"] and len(galaxies.images) == 4


def test_a_second_load_reads_no_file(tmp_path, load, monkeypatch):
    survey(tmp_path / "sky")
    first = load(image_size=48)
    monkeypatch.setattr(fits, "light_of", None)
    second = load(image_size=48)
    assert torch.equal(first.images, second.images) and first.notes == second.notes


@pytest.mark.real
def test_real_cubes(load):
    with pytest.raises(ValueError, match=r"1 of 7 images .*: decals_grz_truncated.fits"):
        load(Path(str(REAL), "fits"), image_size=64)
    galaxies = load(Path(str(REAL), "fits"), image_size=64, on_bad="skip")
    assert galaxies.ids.tolist()[3:] == ["decals_grz_bad_pixels", "decals_grz_e", "ngc6976_sdss"]
    assert (galaxies.cutout["stretch"], galaxies.cutout["sky"]) == (0.5, "none")
    assert any("decals_grz_bad_pixels.fits (49 %" in note for note in galaxies.notes)
