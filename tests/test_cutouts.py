"""Cropping and resampling, decoding in parallel, and a cache that holds all or nothing."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import numpy as np
import pytest
from PIL import Image

from galaxymorph import cutouts, sources


def numbered(height: int, width: int) -> np.ndarray:
    """An image whose red is its row and whose green is its column."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, rows * 0], axis=-1).astype(np.uint8)


def test_crop_is_central_and_exact():
    red, green, _ = cutouts.cutout(numbered(20, 30), size=6, crop=6)
    assert red[:, 0].tolist() == [7, 8, 9, 10, 11, 12]
    assert green[0].tolist() == [12, 13, 14, 15, 16, 17]


def test_without_crop_the_largest_central_square():
    red, green, _ = cutouts.cutout(numbered(10, 30), size=10, crop=None)
    assert red[:, 0].tolist() == list(range(10))
    assert green[0].tolist() == list(range(10, 20))


def test_crop_larger_than_the_image():
    with pytest.raises(ValueError, match="crop of 21 px, but the image has only 30 x 20 px"):
        cutouts.cutout(numbered(20, 30), size=6, crop=21)


@pytest.mark.parametrize("size", [16, 64, 200])
def test_resampling_keeps_a_flat_image(size):
    flat = np.full((64, 64, 3), (10, 120, 250), np.uint8)
    small = cutouts.cutout(flat, size=size, crop=None)
    assert (small.reshape(3, -1) == np.array([[10], [120], [250]])).all()


def test_shrinking_does_not_alias():
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[::2] = 200  # every second row: must become their mean, 100, and not one or the other
    assert np.abs(cutouts.cutout(stripes, size=24, crop=None)[:, 3:-3].astype(int) - 100).max() <= 2


def test_shrinking_keeps_the_place_and_the_light():
    spot = np.zeros((96, 96, 3), np.uint8)
    spot[60:66, 30:36] = 240
    small = cutouts.cutout(spot, size=16, crop=None)[0].astype(float)
    assert np.unravel_index(small.argmax(), small.shape) == (10, 5)
    assert small.sum() * 36 == pytest.approx(240 * 36, rel=0.15)  # dark rings are cut off at 0


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGB", (4, 4), (1, 2, 3)), (1, 2, 3)),
        (Image.new("L", (4, 4), 77), (77, 77, 77)),
        (Image.new("LA", (4, 4), (77, 9)), (77, 77, 77)),
        (Image.new("RGBA", (4, 4), (1, 2, 3, 0)), (1, 2, 3)),
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
    rgb, remark = sources.read_image(str(file))
    assert rgb.shape == (4, 4, 3)
    assert rgb.dtype == np.uint8
    assert (rgb == expected).all()
    assert remark == ""


def test_floating_point_images_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "galaxy.tif")
    with pytest.raises(ValueError, match="floating-point"):
        sources.read_image(str(tmp_path / "galaxy.tif"))


def job(number: int) -> tuple[np.ndarray, str]:
    """Galaxy `number`: the later, the faster; every seventh fails, every fifth has a remark."""
    time.sleep(0.02 if number < 3 else 0)
    if number % 7 == 6:
        raise OSError(f"galaxy {number} is broken")
    return np.full((3, 8, 8), number, np.uint8), "mended" if number % 5 == 4 else ""


def test_decode_keeps_the_order_and_leaves_out_what_fails(tmp_path):
    cutouts.decode([partial(job, number) for number in range(100)], tmp_path, size=8)
    images = cutouts.open_images(tmp_path)
    good = [number for number in range(100) if number % 7 != 6]
    assert images.shape == (len(good), 3, 8, 8)
    assert images[:, 0, 0, 0].tolist() == good
    assert (images == images[:, :1, :1, :1]).all()
    bad = [(number, f"galaxy {number} is broken", True) for number in range(100) if number % 7 == 6]
    mended = [(number, "mended", False) for number in good if number % 5 == 4]
    assert cutouts.open_remarks(tmp_path) == sorted(bad + mended)


def test_only_a_few_galaxies_are_in_memory(tmp_path):
    """No job is started while many earlier ones wait to be written."""
    started = 0
    release = threading.Event()

    def slow_first(number: int) -> tuple[np.ndarray, str]:
        nonlocal started
        started += 1
        if number == 0:
            release.wait(10)
        return np.zeros((3, 4, 4), np.uint8), ""

    jobs = [partial(slow_first, number) for number in range(5000)]
    thread = threading.Thread(target=cutouts.decode, args=(jobs, tmp_path), kwargs={"size": 4})
    thread.start()
    last = -1
    while started != last or not started:  # until the others stand still
        last = started
        time.sleep(0.1)
    release.set()
    thread.join()
    assert last <= cutouts.CHUNK * (3 * (os.cpu_count() or 1) + 1) < 5000
    assert len(cutouts.open_images(tmp_path)) == 5000


def test_images_are_mapped_and_the_file_is_safe(tmp_path):
    cutouts.decode([partial(job, 1)], tmp_path, size=8)
    images = cutouts.open_images(tmp_path)
    assert isinstance(images, np.memmap)
    images[:] = 99
    assert (cutouts.open_images(tmp_path) == 1).all()


def test_entry_is_made_once_for_the_same_inputs(tmp_path):
    made = []

    def write(folder):
        made.append(folder)
        (folder / "number").write_text(str(len(made)))

    first = cutouts.entry(tmp_path, {"size": 64, "files": [["a.jpg", 10, 5]]}, write)
    again = cutouts.entry(tmp_path, {"files": [["a.jpg", 10, 5]], "size": 64}, write)
    assert first == again
    assert len(made) == 1
    for other in ({"size": 65, "files": [["a.jpg", 10, 5]]}, {"size": 64, "files": [["a.jpg", 10, 6]]}):
        assert cutouts.entry(tmp_path, other, write) != first
    assert len(made) == 3
    assert (first / "number").read_text() == "1"


def test_a_failing_write_leaves_nothing(tmp_path):
    def write(folder):
        (folder / "half").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        cutouts.entry(tmp_path, "inputs", write)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_at_once_agree(tmp_path):
    """The slower one finds the entry there and uses it."""

    def overtaken(folder):
        (folder / "name").write_text("slow")
        other = folder.with_name(folder.name.split(".")[0])
        other.mkdir()
        (other / "name").write_text("fast")

    entry = cutouts.entry(tmp_path, "inputs", overtaken)
    assert (entry / "name").read_text() == "fast"
    assert list(tmp_path.iterdir()) == [entry]


KILLED = """
import sys, time
from pathlib import Path
import numpy as np
from galaxymorph import cutouts

def job():
    time.sleep(0.01)
    return np.zeros((3, 8, 8), np.uint8), ""

cutouts.entry(Path(sys.argv[1]), "inputs", lambda part: cutouts.decode([job] * 100_000, part, size=8))
"""


def test_a_killed_decode_leaves_no_entry(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not any(file.stat().st_size > 1000 for file in tmp_path.glob("*.part/images.npy")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]

    def write(part):
        cutouts.decode([partial(job, 3)], part, size=8)

    entry = cutouts.entry(tmp_path, "inputs", write)
    assert cutouts.open_images(entry).shape == (1, 3, 8, 8)


def test_leftovers_go_after_a_day(tmp_path):
    old, new = tmp_path / "a.1.part", tmp_path / "b.2.part"
    for part in (old, new):
        part.mkdir()
        (part / "images.npy").write_bytes(b"half")
    os.utime(old, (time.time() - 90000,) * 2)
    cutouts.entry(tmp_path, "inputs", lambda part: (part / "x").write_text(json.dumps("x")) and None)
    assert not old.exists()
    assert new.exists()
