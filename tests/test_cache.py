"""A cache entry is made once, is whole, and is never taken as good when it is damaged."""

import shutil
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxymorph import cache, project


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def write(numbers):
    """A writer of an entry with two files, which counts its calls."""

    def make(place):
        make.calls += 1
        np.save(place / "numbers.npy", np.arange(numbers))
        (place / "words.txt").write_text("sky and galaxies")

    make.calls = 0
    return make


def test_an_entry_is_made_once_for_each_input(folder):
    make = write(5000)
    first, again = cache.entry(folder, ["a", 1], make), cache.entry(folder, ["a", 1], make)
    other = cache.entry(folder, ["a", 2], make)
    assert first == again != other and make.calls == 2
    assert np.load(first / "numbers.npy").tolist() == list(range(5000))
    assert sorted(path.name for path in folder.iterdir()) == sorted([first.name, other.name])


def test_an_entry_that_cannot_be_made_leaves_nothing(folder):
    def broken(place):
        (place / "half").write_text("x")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        cache.entry(folder, 1, broken)
    assert list(folder.iterdir()) == []
    assert cache.entry(folder, 1, write(3)).is_dir()


def test_who_needs_an_entry_waits_for_who_makes_it(folder):
    made, start, go = [], threading.Event(), threading.Event()

    def slow(place):
        made.append(place)
        start.set()
        assert go.wait(20)
        (place / "x").write_text("x")

    places = []
    threads = [
        threading.Thread(target=lambda: places.append(cache.entry(folder, 1, slow)))
        for _ in range(3)
    ]
    for each in threads:
        each.start()
    assert start.wait(20)
    go.set()
    for each in threads:
        each.join(20)
    assert len(made) == 1 and len(set(places)) == 1 and len(places) == 3


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 30_000), data=st.data())
def test_a_checksum_sees_each_flipped_bit(tmp_path_factory, size, data):
    path = tmp_path_factory.mktemp("sum") / "file"
    content = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    path.write_bytes(content.tobytes())
    before = cache.checksum(path)
    assert before[0] == size and cache.checksum(path) == before
    place, bit = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, 7))
    content[place] ^= 1 << bit
    path.write_bytes(content.tobytes())
    assert cache.checksum(path) != before


def test_a_checksum_sees_pages_exchanged_zeroed_shifted_or_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "READ", 4 * cache.PAGE)  # several reads of a small file
    path = tmp_path / "file"
    pages = np.random.default_rng(0).integers(0, 256, (11, cache.PAGE), np.uint8)
    exchanged, zeroed, shifted = pages[[0, 2, 1, *range(3, 11)]], pages.copy(), np.roll(pages, 3)
    zeroed[6] = 0
    sums = []
    for content in (pages, exchanged, zeroed, shifted, pages[:10], pages.ravel()[:-1]):
        path.write_bytes(content.tobytes())
        sums.append(tuple(cache.checksum(path)))
    assert len(set(sums)) == len(sums)


def test_a_cache_that_may_not_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(project.NotWritten, match=r"file: cannot write .*another folder"):
        cache.entry(tmp_path / "file", 1, write(3))


def test_a_sound_entry_is_read_where_nothing_can_be_written(folder, monkeypatch):
    first = cache.entry(folder, 1, write(3))
    monkeypatch.setattr(project, "locked", None)
    assert cache.entry(folder, 1, write(3)) == first
    shutil.rmtree(folder)
