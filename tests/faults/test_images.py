"""Planted faults of image files: what hangs, what is huge, what is damaged, what is no image."""

import gzip
import io
import math
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from galaxymorph import cli, project
from galaxymorph.data import cutouts, fits, pictures, sources, tables
from galaxymorph.data.found import files_below
from galaxymorph.data.load import load
from galaxymorph.data.pictures import read_image

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def galaxy(width: int = 90, height: int = 70, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    light = 180 * np.exp(-np.hypot(x - width / 2, (y - height / 2) * rng.uniform(1, 2)) / 12)
    noisy = light[..., None] * [1, 0.8, 0.6] + rng.normal(10, 5, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def saved(image: Image.Image, kind: str, **options) -> bytes:
    image.save(content := io.BytesIO(), kind, **options)
    return content.getvalue()


def read(file: Path, size: int = 32) -> tuple[np.ndarray, str]:
    return cutouts.read(partial(read_image, str(file)), size=size, crop=None)


# --- damaged --------------------------------------------------------------------------------------


@QUICK
@given(
    quality=st.integers(5, 100),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
    mode=st.sampled_from(["RGB", "L", "CMYK"]),
    progressive=st.booleans(),
    optimize=st.booleans(),
    restart=st.sampled_from([0, 1, 3]),
    side=st.integers(1, 70),
    size=st.sampled_from([8, 32]),
    black=st.booleans(),
)
def test_no_sound_jpeg_is_called_damaged(tmp_path, mode, side, size, black, restart, **options):
    image = galaxy(side + 3, side).convert(mode)
    if black:
        image.paste(0, (0, 0, *image.size))
    file = tmp_path / "x.jpg"
    file.write_bytes(saved(image, "JPEG", restart_marker_blocks=restart, **options))
    expected = np.asarray(Image.open(file).convert("RGB"))
    if size * 2 > side:  # no draft
        picture = read_image(str(file))[0]
        assert np.array_equal(np.asarray(pictures.to_rgb(picture)[0]), expected)
    assert read(file, size)[1] == ""


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_most_jpegs_with_damage_inside_are_named(tmp_path, mode):
    named, rng = 0, np.random.default_rng(0)
    for seed in range(40):
        content = bytearray(saved(galaxy(200, 200, seed).convert(mode), "JPEG", quality=90))
        start = len(content) // 2
        content[start : start + 300] = rng.integers(0, 256, 300, np.uint8).tobytes()
        (tmp_path / "x.jpg").write_bytes(content)
        try:
            read(tmp_path / "x.jpg")
        except (ValueError, OSError) as error:
            named += "damaged" in str(error) or "truncated" in str(error)
    assert named >= 36


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_cut_files_are_errors_without_traceback(tmp_path, kind, share):
    content = saved(galaxy(), kind)
    file = tmp_path / f"x{pictures.FORMATS[kind][0]}"
    file.write_bytes(content[: int(share * len(content))])
    (image, message, _), *_ = cutouts.run([partial(read, file)])
    assert image is None and message


# --- what the pixels mean -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", pictures.FORMATS)
def test_the_content_decides_on_the_format(tmp_path, kind):
    for ending in (".jpg", *pictures.FORMATS[kind]):
        file = tmp_path / f"x{ending}"
        file.write_bytes(saved(galaxy(), kind))
        assert file.suffix in pictures.IMAGES
        with Image.open(file) as image:
            expected = np.asarray(image.convert("RGB").crop((10, 0, 80, 70)))
        assert np.array_equal(read(file, 70)[0].transpose(1, 2, 0), expected)


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"P6 9 9 255 "]
)
def test_other_formats_are_not_opened(tmp_path, content):
    (tmp_path / "x.jpg").write_bytes(content + bytes(500))
    with pytest.raises(ValueError, match="not a valid image"):
        read_image(str(tmp_path / "x.jpg"))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_transparent_pixels_are_laid_on_black(tmp_path, mode):
    image = Image.new("RGBA", (32, 32), (255, 255, 255, 0))
    image.paste((200, 200, 200, 255), (8, 8, 24, 24))
    options = {}
    if mode == "P":
        image, options = image.convert("RGB").quantize(2), {"transparency": 0}
        if image.getpixel((0, 0)) != 0:
            options = {"transparency": 1}
    elif mode == "RGB":
        image, options = image.convert("RGB"), {"transparency": (255, 255, 255)}
    else:
        image = image.convert(mode)
    image.save(tmp_path / "x.png", **options)
    pixels, remark = read(tmp_path / "x.png")
    assert (pixels[:, :8] == 0).all() and (pixels[:, 8:24, 8:24] == 200).all()
    assert remark == "transparent: laid on black"


def test_white_may_be_zero(tmp_path):
    values = np.asarray(galaxy(32, 32).convert("L"))
    for number, image in enumerate([values, values.astype(np.uint16) * 257]):
        file = tmp_path / f"{number}.tif"
        Image.fromarray(image.max() - image if 0 else image).save(file, tiffinfo={262: 1})
        read_right, _ = read(file)
        Image.fromarray(np.iinfo(image.dtype).max - image).save(file)
        content = file.read_bytes()
        tag = b"\x06\x01\x03\x00\x01\x00\x00\x00\x01\x00"  # PhotometricInterpretation: 1
        assert content.count(tag) == 1
        file.write_bytes(content.replace(tag, tag[:-2] + b"\x00\x00"))
        assert np.array_equal(read(file)[0], read_right)


def test_bands_on_pages_are_refused_and_other_pages_said(tmp_path):
    grey = [galaxy(seed=seed).convert("L") for seed in range(3)]
    grey[0].save(tmp_path / "bands.tif", save_all=True, append_images=grey[1:])
    with pytest.raises(ValueError, match="several grey pages: if they are bands, save them"):
        read(tmp_path / "bands.tif")
    small = galaxy().resize((9, 7))
    galaxy().save(tmp_path / "thumb.tif", save_all=True, append_images=[small])
    frames = [galaxy(seed=seed) for seed in range(2)]
    for ending in ("gif", "webp", "png"):
        frames[0].save(tmp_path / f"x.{ending}", save_all=True, append_images=frames[1:])
    for file in tmp_path.glob("[tx]*"):
        assert read(file)[1] == "only the first of several pages or frames was read"


def test_exif_orientation_is_applied_and_said(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    for name, options in {"plain": {}, "turned": {"exif": exif}}.items():
        galaxy(64, 64).save(tmp_path / f"{name}.png", **options)
    plain, turned = (read(tmp_path / f"{name}.png") for name in ("plain", "turned"))
    assert np.array_equal(np.rot90(plain[0], -1, (1, 2)), turned[0])
    assert (plain[1], turned[1]) == ("", "turned by its EXIF orientation")


# --- what is huge ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "kind"), [(7_100, "PNG"), (7_100, "JPEG"), (20_000, "BMP")])
def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, side, kind):
    content = bytearray(saved(galaxy(), kind))
    places = {"PNG": (16, 20, ">"), "JPEG": (None, None, ">"), "BMP": (18, 22, "<")}[kind]
    big = side.to_bytes(4, "big" if places[2] == ">" else "little")
    if kind == "JPEG":
        at = content.index(b"\xff\xc0") + 5
        content[at : at + 4] = big[2:] * 2
    else:
        for at in places[:2]:
            content[at : at + 4] = big
    if kind == "PNG":  # its checksum
        import zlib

        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (tmp_path / "x.png").write_bytes(content)
    needed = math.ceil(side**2 / 1e6)
    said = f"px: cut out .* limit is megapixels=50; .* {project.RAISED}='megapixels={needed}'"
    with pytest.raises(ValueError, match=said):
        read_image(str(tmp_path / "x.png"))


def test_the_bound_of_pixels_is_an_option_and_part_of_the_cache_key(tmp_path, monkeypatch):
    """A picture that was left out under one bound is read under another, with the same files."""
    root = tmp_path / "mine"
    for name in "ab":
        (root / name).mkdir(parents=True)
        for n in range(3):
            pixels = np.random.default_rng(n).integers(0, 200, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).resize((40, 40)).save(root / name / f"{name}{n}.png")
    galaxy().resize((80, 80)).save(root / "a" / "large.png")
    options = {"image_size": 8, "root": root, "cache": tmp_path / "cache", "on_bad": "skip"}
    monkeypatch.setenv(project.RAISED, "megapixels=0.005")
    few = load("folder", **options)
    assert len(few) == 6 and "80 x 80 px: cut out" in " ".join(few.notes)
    monkeypatch.setenv(project.RAISED, "table_mb=7, megapixels=0.0064")
    assert len(load("folder", **options)) == 7
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # as Pillow's, which knows no option
    assert read_image(str(root / "a" / "large.png"))[0].size == (80, 80)


@pytest.mark.parametrize("text", ["pixels=3", "megapixels", "megapixels=-1", "table_mb=nan", "1"])
def test_a_wrong_bound_is_refused_with_those_that_there_are(monkeypatch, capsys, text):
    monkeypatch.setenv(project.RAISED, text)
    assert cli.main(["report", "--run", "x"]) == 2
    assert re.search(rf"{project.RAISED}: .*megapixels, image_mb.*such as", capsys.readouterr().err)


def test_members_of_zips_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setenv(project.RAISED, "image_mb=1")
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", bytes(3_000_000))
        archive.writestr("good.png", saved(galaxy(), "PNG"))
        archive.writestr("notes.txt", "notes")
    assert (tmp_path / "x.zip").stat().st_size < 50_000
    found = sources.images(tmp_path / "x.zip")
    assert found.notes == ["left out: 1 .txt (other types of files)"]
    results = cutouts.run([partial(cutouts.read, each, size=8, crop=None) for each in found.read])
    assert results[0][1].startswith("3.0 MB; the limit is image_mb=1; to raise it, set")
    assert results[1][0] is not None


# --- what hangs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".png", ".fits"])
def test_only_regular_files_are_read(tmp_path, ending):
    os.mkfifo(tmp_path / f"fifo{ending}")
    (tmp_path / f"device{ending}").symlink_to("/dev/zero")
    for name in ("fifo", "device"):
        file = str(tmp_path / f"{name}{ending}")
        with pytest.raises(ValueError, match="not a regular file"):
            read_image(file) if ending == ".png" else fits.read([file])


def test_links_in_a_circle_end(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    galaxy().save(tmp_path / "a" / "x.png")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "b" / "itself").symlink_to(tmp_path / "a" / "b" / "itself")
    with pytest.warns(UserWarning, match="left out, a link in a circle") as said:
        found = [file.name for file in files_below(tmp_path.resolve(), (".png",))]
    assert found == ["x.png"] and len(said) == 2


HANGING = """
import time
from galaxymorph.data import cutouts
print("ready", flush=True)
list(cutouts.in_order(time.sleep, [1000, 1000], workers=2))
"""


def test_an_interrupt_does_not_wait_for_a_file_that_hangs():
    process = subprocess.Popen(
        [sys.executable, "-c", HANGING], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout and process.stdout.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert b"KeyboardInterrupt" in errors


@pytest.mark.parametrize("content", ["images", "table"])
def test_a_zip_that_unpacks_to_far_more_is_refused(tmp_path, monkeypatch, content):
    monkeypatch.setenv(project.RAISED, "archive_mb=0.1")
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.bmp" if content == "images" else "a.csv", "id,label\n" * 1_000_000)
    read = sources.images if content == "images" else tables.read_table
    with pytest.raises(ValueError, match="x.zip: a zip of 0.0 MB .*='archive_mb=9'"):
        read(path)
    monkeypatch.setenv(project.RAISED, "archive_mb=9")
    read(path)


ECSV: Any = {"format": "ascii.ecsv", "overwrite": True}


@pytest.mark.parametrize("name", ["x.csv.gz", "x.csv", "x.ecsv.gz"])
def test_a_table_is_bounded_when_it_is_unpacked(tmp_path, monkeypatch, name):
    rows = "".join(f"{n},spiral\n" for n in range(20_000))
    (tmp_path / "plain.csv").write_text(f"id,label\n{rows}")
    if "ecsv" in name:
        Table.read(tmp_path / "plain.csv").write(tmp_path / "plain.csv", **ECSV)
    pack = gzip.compress if name.endswith(".gz") else bytes
    (tmp_path / name).write_bytes(pack((tmp_path / "plain.csv").read_bytes()))
    monkeypatch.setenv(project.RAISED, "table_mb=0.1")
    with pytest.raises(ValueError, match=f"{name}: too large: .*{project.RAISED}='table_mb=1'"):
        tables.read_table(tmp_path / name)
    monkeypatch.setenv(project.RAISED, "table_mb=1")
    assert len(tables.read_table(tmp_path / name)) == 20_000
