"""Cropping and resampling, decoding in parallel, and a cache that holds all or nothing."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from galaxymorph import cache
from galaxymorph.data import cutouts
from galaxymorph.data.pictures import read_image

REAL = os.environ.get("GALAXYMORPH_DATA")


def numbered(height: int, width: int) -> np.ndarray:
    """An image whose red is its row and whose green is its column."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, rows * 0], axis=-1).astype(np.uint8)


def test_crop_is_central_and_exact():
    red, green, _ = cutouts.cutout(numbered(20, 30), size=6, crop=6)[0]
    assert red[:, 0].tolist() == [7, 8, 9, 10, 11, 12]
    assert green[0].tolist() == [12, 13, 14, 15, 16, 17]


def test_without_crop_the_largest_central_square():
    red, green, _ = cutouts.cutout(numbered(10, 30), size=10, crop=None)[0]
    assert red[:, 0].tolist() == list(range(10))
    assert green[0].tolist() == list(range(10, 20))


def test_crop_larger_than_the_image():
    with pytest.raises(ValueError, match="crop of 21 px, but the image has only 30 x 20 px"):
        cutouts.cutout(numbered(20, 30), size=6, crop=21)


@pytest.mark.parametrize("size", [16, 64, 200])
def test_resampling_keeps_a_flat_image(size):
    flat = np.full((64, 64, 3), (10, 120, 250), np.uint8)
    small, _ = cutouts.cutout(flat, size=size, crop=None)
    assert (small.reshape(3, -1) == np.array([[10], [120], [250]])).all()


def test_shrinking_does_not_alias():
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[::2] = 200  # every second row: must become their mean, 100, and not one or the other
    assert (
        np.abs(cutouts.cutout(stripes, size=24, crop=None)[0][:, 3:-3].astype(int) - 100).max() <= 2
    )


def test_shrinking_keeps_the_place_and_the_light():
    spot = np.zeros((96, 96, 3), np.uint8)
    spot[60:66, 30:36] = 240
    small = cutouts.cutout(spot, size=16, crop=None)[0][0].astype(float)
    assert np.unravel_index(small.argmax(), small.shape) == (10, 5)
    assert small.sum() * 36 == pytest.approx(240 * 36, rel=0.15)  # dark rings are cut off at 0


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGB", (4, 4), (1, 2, 3)), (1, 2, 3)),
        (Image.new("L", (4, 4), 77), (77, 77, 77)),
        (Image.new("LA", (4, 4), (77, 255)), (77, 77, 77)),
        (Image.new("RGBA", (4, 4), (1, 2, 3, 255)), (1, 2, 3)),
        (Image.new("1", (4, 4), 1), (255, 255, 255)),
        (Image.new("RGB", (4, 4), (8, 16, 24)).quantize(4), (8, 16, 24)),
        (Image.fromarray(np.full((4, 4), 65535, np.uint16)), (255, 255, 255)),
        (Image.fromarray(np.full((4, 4), 257 * 40, np.uint16)), (40, 40, 40)),
    ],
    ids=["rgb", "grey", "grey-alpha", "rgba", "bilevel", "palette", "16-bit-white", "16-bit-grey"],
)
@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_every_kind_of_image_becomes_rgb(tmp_path, image, expected, ending):
    file = tmp_path / f"galaxy.{ending}"
    image.save(file)
    pixels, remark = cutouts.read(partial(read_image, str(file)), size=4, crop=None)
    assert pixels.dtype == np.uint8
    assert (pixels == np.reshape(expected, (3, 1, 1))).all()
    assert remark == ""


def test_floating_point_images_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "galaxy.tif")
    with pytest.raises(ValueError, match="floating-point"):
        cutouts.read(partial(read_image, str(tmp_path / "galaxy.tif")), size=4, crop=None)


def test_what_is_no_image_is_said_to_be_none(tmp_path):
    (tmp_path / "galaxy.jpg").write_text("no image")
    with pytest.raises(ValueError, match="not a valid image: expected JPEG, PNG"):
        read_image(str(tmp_path / "galaxy.jpg"))


WHERE = (151.0, 203.0)  # of a round galaxy in a frame of 401 rows and 423 columns
SMOOTH = 10 + 220 * np.exp(
    -((np.mgrid[:401, :423] - np.reshape(WHERE, (2, 1, 1))) ** 2).sum(0) / 2 / 12**2
)


@pytest.mark.parametrize(
    ("size", "crop", "decoded"),
    [
        (64, None, (106, 101)),  # 401 / 4 pixels remain, 1.6 for each new one
        (64, 301, (212, 201)),  # and here at half of the size: 150 pixels, an offset of 30.5
        (64, 300, (212, 201)),
        (64, 180, (423, 401)),
        (130, 401, (212, 201)),
        (150, 401, (423, 401)),
        (401, 401, (423, 401)),
    ],
)
def test_a_jpeg_is_decoded_no_finer_than_needed(tmp_path, monkeypatch, size, crop, decoded):
    """With the galaxy at its place, and within a few levels of what the complete file gives."""
    file = str(tmp_path / "galaxy.jpg")
    Image.fromarray(np.repeat(SMOOTH.astype(np.uint8)[..., None], 3, 2)).save(file, quality=95)
    image, _ = read_image(file)
    reduced, _ = cutouts.cutout(image, size=size, crop=crop)
    assert image.size == decoded
    side = crop or 401
    light = reduced.mean(0) - 10.0
    light = np.where(light > 5, light, 0)
    found = (np.mgrid[:size, :size] * light).sum((1, 2)) / light.sum()
    corner = np.array([401 - side, 423 - side]) // 2
    assert found == pytest.approx((np.array(WHERE) - corner + 0.5) * size / side - 0.5, abs=0.05)
    monkeypatch.setattr(cutouts, "LEAST", 1000)
    complete, _ = cutouts.cutout(read_image(file)[0], size=size, crop=crop)
    assert np.abs(reduced.astype(int) - complete).max() <= 4


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("L", (124, 124, 124)), ("CMYK", (200, 100, 50)), ("RGB", (200, 100, 50))],
)
def test_a_jpeg_of_any_mode_is_decoded_to_rgb(tmp_path, mode, expected):
    Image.new("RGB", (240, 200), (200, 100, 50)).convert(mode).save(
        tmp_path / "galaxy.jpg", quality=95
    )
    image, _ = read_image(str(tmp_path / "galaxy.jpg"))
    assert (
        np.abs(cutouts.cutout(image, size=50, crop=None)[0] - np.reshape(expected, (3, 1, 1))).max()
        <= 1
    )
    assert image.size == (120, 100)


@pytest.mark.real
@pytest.mark.parametrize(("size", "crop"), [(64, None), (64, 212), (128, None)])
def test_real_galaxies_change_as_little_as_promised(monkeypatch, size, crop):
    files = sorted((Path(REAL or "") / "galaxy_zoo_2" / "images_test_rev1").glob("*.jpg"))[:60]
    jobs = [
        partial(cutouts.read, partial(read_image, str(file)), size=size, crop=crop)
        for file in files
    ]
    reduced = np.array([job()[0] for job in jobs], int)
    monkeypatch.setattr(cutouts, "LEAST", 1000)
    changes = np.abs(reduced - [job()[0] for job in jobs])
    assert 0 < changes.mean() < 0.4 and (changes > 2).mean() < 0.002 and changes.max() <= 12


def test_nothing_from_beyond_the_crop(tmp_path):
    """At 1/4 of the size, too: bright corners of a frame whose middle is dark."""
    frame = np.full((512, 512, 3), 250, np.uint8)
    frame[128:384, 128:384] = 20
    Image.fromarray(frame).save(tmp_path / "galaxy.jpg", quality=95)
    for picture in (frame, read_image(str(tmp_path / "galaxy.jpg"))[0]):
        assert np.abs(cutouts.cutout(picture, size=32, crop=256)[0].astype(int) - 20).max() <= 2


def job(number: int) -> tuple[np.ndarray, str]:
    """Galaxy `number`: the later, the faster; every seventh fails, every fifth has a remark."""
    time.sleep(0.02 if number < 3 else 0)
    if number % 7 == 6:
        raise OSError(f"galaxy {number} is broken")
    image = np.full((3, 8, 8), number, np.uint8)
    image[:, 4:] = 250  # or it would be blank
    return image, "mended" if number % 5 == 4 else ""


def test_decode_keeps_the_order_and_leaves_out_what_fails(tmp_path):
    cutouts.decode([partial(job, number) for number in range(100)], tmp_path, size=8)
    images = cutouts.opened(tmp_path)[0]
    good = [number for number in range(100) if number % 7 != 6]
    assert images.shape == (len(good), 3, 8, 8)
    assert images[:, 0, 0, 0].tolist() == good
    assert (images[:, :, :4] == images[:, :1, :1, :1]).all()
    bad = [(number, f"galaxy {number} is broken", True) for number in range(100) if number % 7 == 6]
    mended = [(number, "mended", False) for number in good if number % 5 == 4]
    assert cutouts.opened(tmp_path)[1] == sorted(bad + mended)


@pytest.mark.long
def test_only_a_few_galaxies_are_in_memory(tmp_path):
    """No job is started while many earlier ones wait to be written."""
    started = 0
    release = threading.Event()

    def slow_first(number: int) -> tuple[np.ndarray, str]:
        nonlocal started
        started += 1
        if number == 0:
            release.wait(10)
        return job(1)

    jobs = [partial(slow_first, number) for number in range(5000)]
    thread = threading.Thread(target=cutouts.decode, args=(jobs, tmp_path), kwargs={"size": 8})
    thread.start()
    last = -1
    while started != last or not started:  # until the others stand still
        last = started
        time.sleep(0.1)
    release.set()
    thread.join()
    assert last <= cutouts.CHUNK * (3 * (os.cpu_count() or 1) + 1) < 5000
    assert len(cutouts.opened(tmp_path)[0]) == 5000


@pytest.mark.parametrize("workers", [1, 3])
def test_in_order_stops_where_its_caller_does(workers):
    begun, threads = [], threading.active_count()

    def double(number: int) -> int:
        begun.append(number)
        time.sleep(0.001 * (number % 3))
        return 2 * number

    assert list(cutouts.in_order(double, range(50), workers=workers)) == list(range(0, 100, 2))
    begun.clear()
    results = cutouts.in_order(double, iter(range(1000)), workers=workers)
    assert [next(results), next(results)] == [0, 2]
    results.close()
    assert len(begun) <= 3 * workers + 2
    assert threading.active_count() == threads


def test_images_are_mapped_and_the_file_is_safe(tmp_path):
    cutouts.decode([partial(job, 1)], tmp_path, size=8)
    images = cutouts.opened(tmp_path)[0]
    assert isinstance(images, np.memmap)
    images[:] = 99
    assert (cutouts.opened(tmp_path)[0][..., :4, :] == 1).all()


def test_entry_is_made_once_for_the_same_inputs(tmp_path):
    made = []

    def write(folder):
        made.append(folder)
        (folder / "number").write_text(str(len(made)))

    first = cache.entry(tmp_path, {"size": 64, "files": [["a.jpg", 10, 5]]}, write)
    again = cache.entry(tmp_path, {"files": [["a.jpg", 10, 5]], "size": 64}, write)
    assert first == again
    assert len(made) == 1
    for other in (
        {"size": 65, "files": [["a.jpg", 10, 5]]},
        {"size": 64, "files": [["a.jpg", 10, 6]]},
    ):
        assert cache.entry(tmp_path, other, write) != first
    assert len(made) == 3
    assert (first / "number").read_text() == "1"


def test_a_failing_write_leaves_nothing(tmp_path):
    def write(folder):
        (folder / "half").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        cache.entry(tmp_path, "inputs", write)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import sys, time
from pathlib import Path
import numpy as np
from galaxymorph.cache import entry
from galaxymorph.data import cutouts

def job():
    time.sleep(0.01)
    return np.arange(192, dtype=np.uint8).reshape(3, 8, 8), ""

entry(Path(sys.argv[1]), "inputs", lambda part: cutouts.decode([job] * 100_000, part, size=8))
"""


def test_a_killed_decode_leaves_no_entry(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not any(file.stat().st_size > 1000 for file in tmp_path.glob("*.part/images.npy")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert {path.suffix for path in tmp_path.iterdir()} == {".part", ".lock"}

    def write(part):
        cutouts.decode([partial(job, 3)], part, size=8)

    entry = cache.entry(tmp_path, "inputs", write)
    assert cutouts.opened(entry)[0].shape == (1, 3, 8, 8)
