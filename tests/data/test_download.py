"""Downloads from a server of our own that breaks off, lies or is gone, archives that want out, and
the exported survey."""

import hashlib
import http.server
import importlib.util
import io
import socket
import tarfile
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from galaxymorph import galaxy_zoo_tree
from galaxymorph.data import download, galaxy_zoo, sources
from galaxymorph.data.load import load
from galaxymorph.data.mock.survey import export_survey, mock_survey

CONTENT = np.random.default_rng(0).bytes(3_000_000)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.content`; notes every requested range; misbehaves as `server.mood` says."""

    def do_GET(self) -> None:
        server, content = self.server, self.server.content
        wanted = self.headers["Range"]
        server.ranges.append(wanted)
        if server.mood == "missing":
            self.send_error(404)
            return
        start = (
            0
            if wanted is None or "no ranges" in server.mood
            else int(wanted.removeprefix("bytes=").rstrip("-"))
        )
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop = len(content)
        if "breaks off" in server.mood:  # after a megabyte, each time
            stop = min(stop, start + 1_000_000)
        elif server.mood == "dies":
            stop = start
        self.wfile.write(content[start:stop])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.content, running.mood, running.ranges = CONTENT, "good", []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def published(server, content: bytes = CONTENT, algorithm: str = "sha256") -> tuple[str, str]:
    """The address of a file and its checksum."""
    checksum = hashlib.new(algorithm, content).hexdigest()
    return f"http://127.0.0.1:{server.server_port}/files/galaxies.h5", f"{algorithm}:{checksum}"


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_fetch(tmp_path, server, algorithm):
    file = download.fetch(*published(server, algorithm=algorithm), tmp_path / "data")
    assert file == tmp_path / "data" / "galaxies.h5"
    assert file.read_bytes() == CONTENT
    assert [path.name for path in file.parent.iterdir()] == ["galaxies.h5"]


def test_what_is_there_is_not_fetched_again(tmp_path, server):
    for _ in range(2):
        download.fetch(*published(server), tmp_path)
    assert len(server.ranges) == 1


def test_what_is_there_but_wrong_is_an_error(tmp_path, server):
    (tmp_path / "galaxies.h5").write_bytes(b"something else")
    with pytest.raises(
        ValueError, match=r"galaxies.h5 is not valid: its sha256 checksum .* Delete .*galaxies.h5"
    ):
        download.fetch(*published(server), tmp_path)
    assert (tmp_path / "galaxies.h5").read_bytes() == b"something else"
    assert server.ranges == []


def test_goes_on_where_an_earlier_command_stopped(tmp_path, server):
    (tmp_path / "galaxies.h5.part").write_bytes(CONTENT[:1_234_567])
    assert download.fetch(*published(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1234567-"]


def test_goes_on_by_itself_when_the_connection_breaks_off(tmp_path, server):
    server.mood = "breaks off"
    assert download.fetch(*published(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000000-", "bytes=2000000-"]


def test_starts_anew_where_the_server_cannot_resume(tmp_path, server):
    server.mood = "no ranges"
    (tmp_path / "galaxies.h5.part").write_bytes(b"x" * 1000)
    assert download.fetch(*published(server), tmp_path).read_bytes() == CONTENT


def test_a_complete_part_is_only_checked(tmp_path, server):
    (tmp_path / "galaxies.h5.part").write_bytes(CONTENT)
    assert download.fetch(*published(server), tmp_path).read_bytes() == CONTENT


def test_wrong_checksum(tmp_path, server):
    with pytest.raises(ValueError, match="its publishers state"):
        download.fetch(*published(server, b"what was published"), tmp_path)
    assert list(tmp_path.iterdir()) == []  # so that the next command starts anew


def test_dead_connection_keeps_what_has_come(tmp_path, server):
    server.mood = "dies"
    (tmp_path / "galaxies.h5.part").write_bytes(CONTENT[:1000])
    with pytest.raises(
        ConnectionError, match=r"1,000 bytes are kept: run the same command again to resume"
    ):
        download.fetch(*published(server), tmp_path)
    assert (tmp_path / "galaxies.h5.part").read_bytes() == CONTENT[:1000]


def test_a_server_that_neither_resumes_nor_lasts(tmp_path, server):
    server.mood = "no ranges, breaks off"
    with pytest.raises(ConnectionError, match=r"1,000,000 bytes are kept"):
        download.fetch(*published(server), tmp_path)


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/galaxies.h5"
    with pytest.raises(
        ConnectionError, match=rf"cannot download {url} .* with a browser and save it as {tmp_path}"
    ):
        download.fetch(url, "md5:0", tmp_path)


def test_file_that_has_moved(tmp_path, server):
    server.mood = "missing"
    with pytest.raises(
        OSError, match=r"galaxies.h5 \(HTTP Error 404: Not Found\)\..* download it with a browser"
    ):
        download.fetch(*published(server), tmp_path)


# --- archives -------------------------------------------------------------------------------------


def write_tar(file: Path, members: dict[str, bytes], link: str | None = None) -> Path:
    with tarfile.open(file, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if link:
            member = tarfile.TarInfo("images/link.jpg")
            member.type, member.linkname = tarfile.SYMTYPE, link
            archive.addfile(member)
    return file


def test_extract(tmp_path):
    archive = write_tar(
        tmp_path / "a.tar.gz", {"images/1.jpg": b"one", "images/deep/2.jpg": b"two"}
    )
    download.extract(archive, tmp_path / "out")
    assert (tmp_path / "out/images/1.jpg").read_bytes() == b"one"
    assert (tmp_path / "out/images/deep/2.jpg").read_bytes() == b"two"


@pytest.mark.parametrize(
    "name", ["../evil.jpg", "images/../../evil.jpg", "/tmp/evil.jpg", "..\\evil.jpg"]
)
def test_archive_that_writes_elsewhere(tmp_path, name):
    archive = write_tar(tmp_path / "a.tar.gz", {"images/1.jpg": b"one", name: b"evil"})
    with pytest.raises(ValueError, match=r"a.tar.gz is not a safe archive: member .*evil.jpg"):
        download.extract(archive, tmp_path / "inner" / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["a.tar.gz"]


def test_archive_with_a_link(tmp_path):
    archive = write_tar(tmp_path / "a.tar.gz", {"images/1.jpg": b"one"}, link="../../secret")
    with pytest.raises(ValueError, match=r"member 'images/link.jpg' may write outside"):
        download.extract(archive, tmp_path / "out")


# --- the data sets --------------------------------------------------------------------------------


def test_unknown_data_set():
    with pytest.raises(ValueError, match=r"unknown data set 'galaxy11'; did you mean 'galaxy10'"):
        download.download("galaxy11")


def test_kaggle_tells_how(tmp_path):
    text = download.download("galaxy_zoo", folder=tmp_path)
    assert "kaggle competitions download -c galaxy-zoo-the-galaxy-challenge" in text
    assert list(tmp_path.iterdir()) == []


def test_info_names_every_data_set_and_its_use():
    text = download.info()
    for name in download.DATASETS:
        assert f"{name}\n" in text
    assert text.count("galaxies: {name:") == len(download.DATASETS)


def test_every_file_has_a_checksum():
    lengths = {"sha256": 64, "md5": 32}
    for dataset in download.DATASETS.values():
        for url, checksum in dataset.files.items():
            algorithm, digest = checksum.split(":")
            assert len(bytes.fromhex(digest)) * 2 == lengths[algorithm]
            assert url.startswith("https://")


def test_galaxy10_from_the_server(tmp_path, server, monkeypatch):
    dataset = download.DATASETS["galaxy10"]._replace(files=dict([published(server)]))
    monkeypatch.setitem(download.DATASETS, "galaxy10", dataset)
    assert "name: galaxy10" in download.download("galaxy10", folder=tmp_path)
    assert (tmp_path / "galaxies.h5").read_bytes() == CONTENT


def test_galaxy_mnist_becomes_class_folders(tmp_path, monkeypatch):
    """From two catalogues and an archive; the Parquet reader is no dependency, so CSV stands in for
    it."""
    names = [f"{number:02d}.jpg" for number in range(20)]
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "JPEG")
    write_tar(
        tmp_path / "galaxy_mnist_images.tar.gz",
        {f"images/{name}": picture.getvalue() for name in names},
    )
    table = pd.DataFrame({"filename": names, "label": np.arange(20) % 4, "other": 1})
    for half, rows in (("train", slice(0, 16)), ("test", slice(16, 20))):
        table[rows].to_csv(tmp_path / f"galaxy_mnist_{half}_catalog.parquet", index=False)
    monkeypatch.setattr(download.pd, "read_parquet", pd.read_csv)
    monkeypatch.setattr(
        download, "fetch", lambda url, _, folder: folder / Path(url.split("?")[0]).name
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    for _ in range(2):
        download.download("galaxy_mnist", folder=tmp_path)
    found = sources.folder(tmp_path / "classes", class_names=None)
    assert found.classes == ("edge_on_disk", "smooth_cigar", "smooth_round", "unbarred_spiral")
    labels = {id: found.classes[label] for id, label in found.labels.items()}
    assert labels == {
        name[:2]: download.GALAXY_MNIST[number % 4] for number, name in enumerate(names)
    }
    assert not (tmp_path / "classes.part").exists()


def test_galaxy_mnist_without_a_parquet_reader(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="need pyarrow: pip install"):
        download.download("galaxy_mnist", folder=tmp_path)


def test_exported_survey_is_read_as_galaxy_zoo(tmp_path):
    use = export_survey(tmp_path / "mock", n_galaxies=40, n_test=8, image_size=32, seed=3)
    assert f"root: {tmp_path / 'mock'}" in use
    found = galaxy_zoo.galaxy_zoo(tmp_path / "mock", n_classes=4)
    survey = mock_survey(48, image_size=32, seed=3, framing=8.48)
    assert found.ids == survey.ids.tolist()
    assert found.votes is not None
    np.testing.assert_allclose(found.votes, survey.votes[:40], atol=1e-6)
    assert found.votes.index.tolist() == found.ids[:40]
    direct = galaxy_zoo_tree.hard_labels(survey.votes[:40].numpy(), galaxy_zoo_tree.CLASSES[4])
    assert found.labels == dict(zip(found.ids[:40], direct.tolist(), strict=True))
    for read, image in zip(found.read, survey.images, strict=True):
        assert (
            np.abs(np.asarray(read()[0]).transpose(2, 0, 1).astype(int) - image.numpy()).mean() < 8
        )  # JPEG
    assert len(list((tmp_path / "mock/images_test_rev1").iterdir())) == 8


def test_export_overwrites_nothing(tmp_path):
    (tmp_path / "images_test_rev1").mkdir()
    with pytest.raises(FileExistsError, match="already has .*images_test_rev1"):
        export_survey(tmp_path, n_galaxies=4, n_test=1, image_size=16)


def test_exported_survey_loads(tmp_path):
    export_survey(tmp_path / "mock", n_galaxies=192, n_test=4, image_size=16, seed=1)
    galaxies = load("galaxy_zoo", root=tmp_path / "mock", image_size=16, cache=tmp_path / "cache")
    assert galaxies.images.shape == (196, 3, 16, 16)
