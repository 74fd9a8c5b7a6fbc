"""Cut-outs from a server of our own that misbehaves in all ways that real ones do."""

import email.utils
import http.server
import inspect
import io
import threading
import time
import urllib.parse
from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from galaxymorph import cli, project
from galaxymorph.data import positions, surveys

SIZE = 32


def jpg(size: int = SIZE, seed: int = 0, low: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(low, 256, (size, size, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "jpeg")
    return stream.getvalue()


def fits_file(*shape: int, level: float = 1.0) -> bytes:
    pixels = level * np.random.default_rng(0).normal(size=shape).astype(np.float32)
    stream = io.BytesIO()
    fits.PrimaryHDU(pixels).writeto(stream)
    return stream.getvalue()


HTML = b"<!DOCTYPE html><html><head><title>Down for\nmaintenance</title></head></html>"
BLANK = jpg(low=255)
ANSWERS = {
    "good": (200, jpg()),
    "empty": (200, b""),
    "html": (200, HTML),
    "truncated": (200, jpg()[:600]),
    "blank": (200, BLANK),
    "small": (200, jpg(16)),
    "png": (200, b"\x89PNG\r\n\x1a\n but not really"),
    "not found": (404, HTML),
    "too many": (429, b""),
    "busy": (503, b""),
}


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers the n-th request for a galaxy with the n-th of its `answers`, by its ra."""

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        asked = {key: values[0] for key, values in urllib.parse.parse_qs(url.query).items()}
        asked |= {"path": url.path, "agent": self.headers["User-Agent"], "time": time.monotonic()}
        self.server.requests.append(asked)
        queue = self.server.answers[round(float(asked["ra"]))]
        answer = queue.pop(0) if len(queue) > 1 else queue[0]
        if callable(answer):
            answer = answer(asked)
        if answer == "hang up":
            return
        if answer == "break off":
            self.send_response(200)
            self.send_header("Content-Length", "9999")
            self.end_headers()
            self.wfile.write(jpg()[:300])
            return
        status, content = (
            ANSWERS.get(answer, (200, answer)) if isinstance(answer, str | bytes) else answer
        )
        self.send_response(status)
        if self.server.retry_after and status in (429, 503):
            self.send_header("Retry-After", self.server.retry_after)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    """A running server; nothing sleeps, but `slept` notes for how long it would."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(surveys, "INTERVAL", 0.0)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.answers = defaultdict(lambda: ["good"])
        running.requests, running.slept, running.retry_after = [], [], None
        clock = {"now": 1000.0}

        def sleep(seconds):
            running.slept.append(seconds)
            clock["now"] += seconds

        monkeypatch.setattr(surveys.time, "sleep", sleep)
        monkeypatch.setattr(surveys.time, "monotonic", lambda: clock["now"])
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        root = f"http://127.0.0.1:{running.server_port}"
        local = {
            name: each._replace(
                jpg=root + urllib.parse.urlsplit(each.jpg)._replace(scheme="", netloc="").geturl(),
                fits=each.fits and root + each.fits.split("/", 3)[3].join(["/", ""]),
                names=each.names and root + each.names.split("/", 3)[3].join(["/", ""]),
                sides=(8, 3000),
            )
            for name, each in surveys.SURVEYS.items()
        }
        monkeypatch.setattr(surveys, "SURVEYS", local)
        yield running
        running.shutdown()
        thread.join()


def table_of(tmp_path, count: int, **columns):
    file = tmp_path / "galaxies.csv"
    table = pd.DataFrame({"id": [f"g{n}" for n in range(count)], "ra": range(count), "dec": 10.5})
    table.assign(**columns).to_csv(file, index=False)
    return file


def run(tmp_path, table, survey="legacy", **options):
    options = {"survey": survey, "size": SIZE} | options
    return inspect.unwrap(surveys.cutouts)(table, tmp_path / "out", **options)


def whys(tmp_path) -> dict[str, str]:
    return pd.read_csv(tmp_path / "out" / "failures.csv").set_index("id")["why"].to_dict()


def names(tmp_path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "out").iterdir())


# ---- what is asked and what is written


def test_cutouts_and_where_they_come_from(tmp_path, server):
    for n in range(3):
        server.answers[n] = [jpg(seed=n)]
    summary, failed = run(tmp_path, table_of(tmp_path, 3), pixscale=0.5)
    assert failed == 0 and "3 of 3 cut-outs" in summary
    assert names(tmp_path) == ["cutouts.csv", "g0.jpg", "g1.jpg", "g2.jpg"]
    for n in range(3):
        assert (tmp_path / "out" / f"g{n}.jpg").read_bytes() == jpg(seed=n)
    written = pd.read_csv(tmp_path / "out" / "cutouts.csv")
    assert written.columns.tolist() == surveys.COLUMNS
    assert written.loc[1].drop("date").to_dict() == {
        "id": "g1", "file": "g1.jpg", "ra": 1.0, "dec": 10.5, "survey": "legacy",
        "layer": "ls-dr10", "pixel_scale": 0.5, "size": SIZE,
    }  # fmt: skip
    asked = server.requests[1]
    assert asked["path"] == "/viewer/jpeg-cutout"
    expected = {"ra": "1.0000000", "dec": "10.5000000", "layer": "ls-dr10", "pixscale": "0.5"}
    assert {key: asked[key] for key in expected} == expected
    assert asked["agent"].startswith("galaxymorph/")


def test_the_real_addresses():
    hosts = {
        urllib.parse.urlsplit(url).netloc
        for each in surveys.SURVEYS.values()
        for url in (each.jpg, each.fits, each.names)
        if url
    }
    assert hosts == {"www.legacysurvey.org", "skyserver.sdss.org", "ps1images.stsci.edu"}
    assert surveys.SURVEYS["sdss"].jpg.format(ra=1, dec=2, pixscale=0.4, size=64) == (
        "https://skyserver.sdss.org/dr18/SkyServerWS/ImgCutout/getjpeg"
        "?ra=1&dec=2&scale=0.4&width=64&height=64"
    )


PS1_TABLE = (
    "projcell subcell ra dec filter mjd type filename shortname badflag\n"
    + "".join(f"1 2 0 0 {band} 0 stack /rings/{band}.fits {band} 0\n" for band in "gri")
).encode()


def ps1(asked):
    if asked["path"].endswith("ps1filenames.py"):
        assert asked["filters"] == "gri"
        return PS1_TABLE
    if asked["format"] == "fits":
        return fits_file(SIZE, SIZE, level=1 + "gri".index(asked["red"][7]))
    assert (asked["red"], asked["green"], asked["blue"]) == (
        "/rings/i.fits",
        "/rings/r.fits",
        "/rings/g.fits",
    )
    assert (asked["size"], asked["output_size"]) == (str(2 * SIZE), str(SIZE))
    return jpg()


def test_ps1_first_asks_for_the_files(tmp_path, server):
    server.answers[0] = [ps1]
    assert run(tmp_path, table_of(tmp_path, 1), "ps1", pixscale=0.5)[1] == 0
    assert (tmp_path / "out" / "g0.jpg").read_bytes() == jpg()


def test_fits_of_ps1_become_one_cube(tmp_path, server):
    server.answers[0] = [ps1]
    assert run(tmp_path, table_of(tmp_path, 1), "ps1", kind="fits")[1] == 0
    cube, header = fits.getdata(tmp_path / "out" / "g0.fits", header=True)
    assert cube.shape == (3, SIZE, SIZE) and header["BANDS"] == "gri"
    for level, plane in enumerate(cube, 1):
        assert np.array_equal(plane, level * cube[0])


def test_fits_of_the_legacy_surveys(tmp_path, server):
    server.answers[0] = [fits_file(3, SIZE, SIZE)]
    server.answers[1] = [fits_file(3, SIZE, SIZE, level=0)]
    summary, failed = run(tmp_path, table_of(tmp_path, 2), kind="fits")
    assert failed == 1 and "1 blank (outside the footprint?)" in summary
    assert names(tmp_path) == ["cutouts.csv", "failures.csv", "g0.fits"]
    assert server.requests[0]["bands"] == "grz"


def test_outside_the_footprint_of_ps1(tmp_path, server):
    server.answers[0] = [PS1_TABLE.splitlines()[0]]
    run(tmp_path, table_of(tmp_path, 1), "ps1")
    assert whys(tmp_path)["g0"].startswith("blank: no image in band g, r, i")


# ---- servers that misbehave


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("empty", "an empty answer (0 bytes), 5 times"),
        ("html", "a text (HTML) instead of an image: 'Down for maintenance', 5 times"),
        ("truncated", "a truncated or broken jpg file"),
        ("png", "a truncated or broken jpg file"),
        ("blank", "blank (outside the footprint?)"),
        ("small", "16 x 16 px instead of 32 x 32: the server changed the size"),
        ("not found", "HTTP 404"),
        ("too many", "HTTP 429 (Too Many Requests), 5 times"),
        ("busy", "HTTP 503 (Service Unavailable), 5 times"),
        ("hang up", "no answer ("),
        ("break off", "no answer (IncompleteRead"),
    ],
)
def test_useless_answers_are_recognised(tmp_path, server, answer, why):
    server.answers[1] = [answer]
    summary, failed = run(tmp_path, table_of(tmp_path, 3))
    assert failed == 1 and "2 of 3 cut-outs" in summary and "1 failed" in summary
    assert names(tmp_path) == ["cutouts.csv", "failures.csv", "g0.jpg", "g2.jpg"]
    found = whys(tmp_path)
    assert [*found] == ["g1"] and found["g1"].startswith(why)
    tries = sum(round(float(asked["ra"])) == 1 for asked in server.requests)
    assert tries == (1 if answer in ("blank", "small", "not found") else surveys.TRIES)


def test_a_truncated_fits_file_is_recognised(tmp_path, server):
    server.answers[0] = [fits_file(3, SIZE, SIZE)[:9000]]
    run(tmp_path, table_of(tmp_path, 1), kind="fits")
    assert whys(tmp_path)["g0"].startswith("a truncated or broken fits file")


@pytest.mark.parametrize("answer", ["empty", "html", "truncated", "too many", "busy", "hang up"])
def test_another_try_helps(tmp_path, server, answer):
    server.answers[0] = [answer, answer, "good"]
    assert run(tmp_path, table_of(tmp_path, 1))[1] == 0
    assert names(tmp_path) == ["cutouts.csv", "g0.jpg"]
    assert [round(s) for s in server.slept] == [0, 1, 2]


def test_waits_as_long_as_the_server_asks(tmp_path, server):
    server.answers[0], server.retry_after = ["too many", "good"], "77"
    assert run(tmp_path, table_of(tmp_path, 1))[1] == 0
    assert [round(s) for s in server.slept] == [0, 77]


def test_waits_until_a_date(tmp_path, server):
    server.answers[0] = ["busy", "good"]
    server.retry_after = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert run(tmp_path, table_of(tmp_path, 1))[1] == 0
    assert 90 < server.slept[1] < 101


def test_does_not_wait_for_hours(tmp_path, server):
    server.answers[1], server.retry_after = ["busy"], "7200"
    with pytest.raises(ConnectionError, match="the server asks to wait for 7,200 s; run later"):
        run(tmp_path, table_of(tmp_path, 3))
    assert "g0.jpg" in names(tmp_path)


def test_no_faster_than_the_interval(tmp_path, server, monkeypatch):
    monkeypatch.setattr(surveys, "INTERVAL", 0.5)
    run(tmp_path, table_of(tmp_path, 4))
    assert server.slept[1:] == [0.5] * 3


def test_stops_where_every_galaxy_fails(tmp_path, server):
    for n in range(2, 20):
        server.answers[n] = ["not found"]
    with pytest.raises(ConnectionError, match=r"5 galaxies in a row failed: HTTP 404 .* resume"):
        run(tmp_path, table_of(tmp_path, 20))
    assert [*whys(tmp_path)] == ["g2", "g3", "g4", "g5", "g6"]
    assert pd.read_csv(tmp_path / "out" / "cutouts.csv")["id"].tolist() == ["g0", "g1"]
    for n in range(20):
        server.answers[n] = ["blank"]  # but a table may begin outside the footprint
    assert run(tmp_path, table_of(tmp_path, 20))[1] == 18


# ---- resuming


def test_what_is_there_is_not_asked_for_again(tmp_path, server):
    table = table_of(tmp_path, 3)
    server.answers[1] = ["blank"]
    run(tmp_path, table)
    server.answers[1], count = ["good"], len(server.requests)
    assert run(tmp_path, table)[1] == 0
    assert [round(float(asked["ra"])) for asked in server.requests[count:]] == [1]
    assert names(tmp_path) == ["cutouts.csv", "g0.jpg", "g1.jpg", "g2.jpg"]  # no failures.csv


@pytest.mark.parametrize("damage", [b"", jpg()[:500], HTML, jpg(16), BLANK])
def test_a_damaged_file_is_downloaded_again(tmp_path, server, damage):
    table = table_of(tmp_path, 2)
    run(tmp_path, table)
    (tmp_path / "out" / "g1.jpg").write_bytes(damage)
    assert run(tmp_path, table)[1] == 0
    assert (tmp_path / "out" / "g1.jpg").read_bytes() == jpg()
    assert len(server.requests) == 3


def test_a_moved_galaxy_is_downloaded_again(tmp_path, server):
    run(tmp_path, table_of(tmp_path, 2))
    run(tmp_path, table_of(tmp_path, 2, ra=[0, 5]))
    assert [round(float(asked["ra"])) for asked in server.requests] == [0, 1, 5]
    assert pd.read_csv(tmp_path / "out" / "cutouts.csv")["ra"].tolist() == [0, 5]


def test_other_settings_need_another_folder(tmp_path, server):
    table = table_of(tmp_path, 2)
    run(tmp_path, table)
    for options in ({"size": 64}, {"pixscale": 0.5}, {"survey": "sdss"}, {"kind": "fits"}):
        with pytest.raises(
            ValueError, match=r"has other cut-outs \(legacy ls-dr10, 32 px of 0.262"
        ):
            run(tmp_path, table, **options)
    (tmp_path / "out" / "cutouts.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="not a list of cut-outs"):
        run(tmp_path, table)


@pytest.mark.parametrize("content", [b"", b"\0\xff" * 99, b"id,file,ra\n1", b'id,"file\n'])
def test_a_damaged_list_is_set_aside(tmp_path, server, content):
    table = table_of(tmp_path, 2)
    run(tmp_path, table)
    file = tmp_path / "out" / "cutouts.csv"
    text = file.read_bytes()
    file.write_bytes(content if content[:3] != b"id," else text[:-30].replace(b"10.5", b"x"))
    with pytest.warns(UserWarning, match="cutouts.csv: not a list of cut-outs .*; renamed"):
        assert run(tmp_path, table)[1] == 0
    assert file.read_bytes() == text
    assert len(server.requests) == 4


def test_ctrl_c_keeps_what_is_there(tmp_path, server, monkeypatch):
    written = project.write

    def write(path, content):
        if path.name == "g2.jpg":
            raise KeyboardInterrupt
        written(path, content)

    monkeypatch.setattr(project, "write", write)
    table = table_of(tmp_path, 4)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, table)
    assert names(tmp_path) == ["cutouts.csv", "g0.jpg", "g1.jpg"]
    monkeypatch.setattr(project, "write", written)
    assert run(tmp_path, table)[1] == 0
    assert [round(float(asked["ra"])) for asked in server.requests] == [0, 1, 2, 2, 3]


# ---- options and coordinates


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"survey": "legasy"}, "unknown survey 'legasy'; did you mean 'legacy'"),
        ({"size": 4}, "size 4: legacy offers 8 to 3000 px"),
        ({"kind": "png"}, "format 'png': legacy offers jpg and fits"),
        ({"survey": "sdss", "kind": "fits"}, "format 'fits': sdss offers jpg only"),
        ({"pixscale": 0.0}, "pixscale 0.0: expected"),
        ({"pixscale": float("nan")}, "pixscale nan: expected"),
        ({"survey": "ps1", "kind": "fits", "pixscale": 1.0}, "offers FITS at 0.25 only"),
    ],
)
def test_options_out_of_range(tmp_path, server, options, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, table_of(tmp_path, 1), **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,x,y\na,1,2\n", "expected columns ra and dec, found id, x, y"),
        ("ra,dec\n1,91\n2,3\n", r"not in rows \d \(1, 91\)"),
        ("ra,dec\n-1,1\n", r"not in rows \d \(-1, 1\)"),
        ("ra,dec\n1,nan\n2,\n", r"not in rows \d \(1, .*\), \d \(2, \)"),
        ("ra,dec\n12:30:00,4\n", r"not in rows \d \(12:30:00, 4\)"),
        ("ra,dec\n12:70:00,+04:00:00\n", "not valid coordinates"),
        ("id,ra,dec\na,1,2\na,3,4\n", r"duplicate id 'a' \(rows \d, \d\)"),
        ("ra,dec\n1,2\n1,2\n", r"duplicate id 'J000400.00\+020000.0' \(rows"),
        ("id,ra,dec\n../a,1,2\n", r"ids that cannot be file names or have lost digits: '\.\./a'"),
        ("id,ra,dec\na/b,1,2\n", "cannot be file names"),
        ("id,ra,dec\n5.8774e+17,1,2\n", "lost digits"),
        ("id,ra,dec\n=cmd(),1,2\n", "cannot be file names"),
    ],
)
def test_refused_coordinates(tmp_path, text, message):
    (tmp_path / "galaxies.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        positions.positions(tmp_path / "galaxies.csv")


def test_usual_names_and_hours(tmp_path):
    file = tmp_path / "galaxies.csv"
    file.write_text("objID,RA_ICRS,DE_ICRS\n1,10.5,-3\n")
    found, notes = positions.positions(file)
    assert found.to_numpy().tolist() == [["1", 10.5, -3.0]]
    assert notes == ["coordinates from columns RA_ICRS, DE_ICRS"]
    file.write_text("RA,Dec\n12:30:00,+04:30:00\n12h30m00s,-04d30m00s\n12 30 00,04 31 12.0\n")
    found, notes = positions.positions(file)
    expected = np.array([[187.5, 4.5], [187.5, -4.5], [187.5, 4.52]])
    assert found[["ra", "dec"]].to_numpy() == pytest.approx(expected)
    assert "3 coordinates read as hh:mm:ss and dd:mm:ss" in notes


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 360, exclude_max=True), st.floats(-90, 90))
def test_names_are_truncated_coordinates(ra, dec):
    """A name is at most one unit of its last digit away, towards zero."""
    name = inspect.unwrap(positions.iau_name)(ra, dec)
    sign = 10
    assert name[0] == "J" and name[sign] in "+-" and len(name) == 19
    hours, degrees = name[1:sign], name[sign:]
    text = f"{hours[:2]}:{hours[2:4]}:{hours[4:]} {degrees[:3]}:{degrees[3:5]}:{degrees[5:]}"
    back = SkyCoord(text, unit=("hourangle", "deg"))
    assert -1e-8 <= (ra - back.ra.deg + 1e-8) % 360 - 1e-8 <= 0.01 * 15 / 3600 + 1e-8
    assert -1e-8 <= abs(dec) - abs(back.dec.deg) <= 0.1 / 3600 + 1e-8


# ---- the command


def test_the_command(tmp_path, server, capsys):
    table, out = table_of(tmp_path, 2), tmp_path / "out"
    server.answers[1] = ["blank"]
    command = ["data", "cutouts", str(table), "--survey", "legacy", "--size", "32"]
    assert cli.main([*command, "--out", str(out)]) == 3
    assert "1 of 2 cut-outs are in" in capsys.readouterr().out
    assert cli.main(command) == 1
    assert "needs TABLE, --survey, --size and --out FOLDER" in capsys.readouterr().err
    assert cli.main(["data", "galaxy10", str(table)]) == 1
    assert "it is for `data check` or `data cutouts`" in capsys.readouterr().err
