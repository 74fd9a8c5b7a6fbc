"""What `galaxymorph data check` says and shows of small sets whose contents are known."""

import base64
import io
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest
import yaml
from PIL import Image

from galaxymorph import cli
from galaxymorph.apply import check as checks
from galaxymorph.apply.check import bands, check, spread
from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.data.ways import kind_of

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def pixels():
    images = mock_survey(16, image_size=24, seed=2).images
    return images.numpy().transpose(0, 2, 3, 1)


@pytest.fixture
def classes(tmp_path, pixels):
    """Two classes with 10 and 6 galaxies."""
    for row, image in enumerate(pixels):
        path = tmp_path / "set" / ("round" if row < 10 else HOSTILE) / f"g{row:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return tmp_path / "set"


def looked(tmp_path, **options):
    """Return whether a set is usable, what is printed, and the page."""
    said = []
    options = {"image_size": 24, **options}
    if "name" in options:
        options["cache"] = str(tmp_path / "cache")
    usable = check(options, tmp_path / "page.html", say=said.append)
    return usable, "\n".join(said), (tmp_path / "page.html").read_text()


def pictures(page):
    found = re.findall(r"data:image/webp;base64,([A-Za-z0-9+/=]+)", page)
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in found]


def test_classes_are_counted_and_shown(classes, tmp_path):
    usable, said, page = looked(tmp_path, name="folder", root=str(classes))
    assert usable
    assert re.search(r"round +10 +6 +2 +2$", said, re.MULTILINE)
    assert "source images: 24 x 24 px (16)" in said
    assert "<td>round</td><td>10</td><td>6</td><td>2</td><td>2</td>" in page
    assert len(pictures(page)) == 16
    assert {image.size for image in pictures(page)} == {(24, 24)}


def test_names_are_escaped(classes, tmp_path):
    _, _, page = looked(tmp_path, name="folder", root=str(classes))
    assert HOSTILE not in page
    assert "&lt;img src=x onerror" in page
    assert "default-src 'none'" in page
    assert "<script" not in page


def test_pixels_of_each_band_are_counted():
    images = np.zeros((4, 3, 2, 2), np.uint8)
    images[:, 0] = 255
    images[:, 1, 0] = 40
    red, green, blue = bands(images)
    assert (red["name"], red["median"], red["black"], red["white"]) == (
        "red",
        "255",
        "0.0 %",
        "100.0 %",
    )
    assert (green["black"], green["white"]) == ("50.0 %", "0.0 %")
    assert (blue["median"], blue["black"]) == ("0", "100.0 %")
    assert blue["path"].startswith("M0 100V0.0h4V100.0h4")  # everything in the first bin
    assert bands(images[:0]) == []


def test_a_flat_folder_is_read_as_by_predict(tmp_path, pixels):
    for row, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{row}.jpg")
    (tmp_path / "17.jpg").write_text("not an image")
    (tmp_path / "labels.csv").write_text("id,label\n1,round\n")
    usable, said, page = looked(tmp_path, root=str(tmp_path))
    assert usable
    assert "read as: images without labels: classify them with `galaxymorph predict`" in said
    assert "galaxies: 17\n" in said
    assert "1 of 17 images cannot be used" in said and "17.jpg" in said
    assert f"If it has labels, -s galaxies.labels={tmp_path / 'labels.csv'}" in said
    assert len(pictures(page)) == 12
    with pytest.raises(ValueError, match="option n_classes: .* give name"):
        check({"root": str(tmp_path), "n_classes": 5}, tmp_path / "page.html")


def test_a_set_in_the_dark_is_an_error_and_still_shown(classes, tmp_path):
    for file in classes.glob("*/*.png"):
        Image.fromarray(np.asarray(Image.open(file)) // 64).save(file)
    usable, said, page = looked(tmp_path, name="folder", root=str(classes))
    assert not usable
    assert re.search("error: .*nearly black", said)
    assert "Not usable as it is" in page
    assert pictures(page)


def test_an_unreadable_image_is_an_error_and_the_others_are_shown(classes, tmp_path):
    (classes / "round/g03.png").write_bytes(b"\x89PNG\r\n")
    options = {"name": "folder", "root": str(classes)}
    usable, said, page = looked(tmp_path, **options)
    assert not usable
    assert "1 of 16 images cannot be used: " in said and "g03.png" in said
    assert len(pictures(page)) == 15
    usable, said, _ = looked(tmp_path, **options, on_bad="skip")
    assert usable
    assert "remark: left out: 1 of 16 images cannot be used" in said


def test_of_a_large_set_a_sample_is_decoded_and_everything_counted(classes, tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "MOST", 15)
    monkeypatch.setattr(checks, "SAMPLE", 8)
    monkeypatch.setattr(checks, "LEAST", 3)
    usable, said, page = looked(tmp_path, name="folder", root=str(classes))
    assert usable
    assert "8 of 16 galaxies were decoded" in said
    assert re.search(r"round +10 +3 +1 +1$", said, re.MULTILINE)
    assert len(pictures(page)) == 8


def test_too_small_a_class_is_an_error_and_counted(classes, tmp_path):
    for row in range(8):
        (classes / f"round/g{row:02}.png").unlink()
    usable, said, page = looked(tmp_path, name="folder", root=str(classes))
    assert not usable
    assert "too few galaxies to split: class round (2)" in said
    assert re.search(r"round +2$", said, re.MULTILINE)
    assert len(pictures(page)) == 8


@pytest.mark.parametrize(("n", "most"), [(0, 3), (1, 3), (5, 3), (3, 12), (1000, 8)])
def test_rows_are_spread_from_the_first_to_the_last(n, most):
    rows = spread(n, most)
    assert len(rows) == min(n, most)
    if n > 1:
        assert (rows[0], rows[-1]) == (0, n - 1)
        assert set(np.diff(rows)) <= {(n - 1) // (most - 1), -(-(n - 1) // (most - 1)), 1}


def test_kinds_of_sources_are_recognised(tmp_path, classes):
    def made(name, write=lambda path: path.write_bytes(b"")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
        return path

    def arrays(path):
        with h5py.File(path, "w") as file:
            file["images"], file["ans"] = np.zeros((1, 2, 2, 3), np.uint8), [0]

    def table(path):
        with h5py.File(path, "w") as file:
            file["galaxies"] = np.zeros(1, [(band, float, (2, 2)) for band in "rgb"])

    names = {
        classes: "folder",
        made("a.h5", arrays): "galaxy10",
        made("b.hdf5", table): "table",
        made("kaggle/images_training_rev1/1.jpg").parents[1]: "galaxy_zoo",
        made("kaggle_zips/images_training_rev1.zip").parent: "galaxy_zoo",
        made("half/training_solutions_rev1.zip").parent: "galaxy_zoo",
        made("votes/training_solutions_rev1.csv").parent: "galaxy_zoo",
        made("cubes/1.fits").parent: "fits",
        made("deep/tables/c.h5", table).parent: "table",
        made("flat/1.jpg").parent: None,
        made("flat.zip"): None,
        made("list.csv"): None,
        made("1.fits"): None,
    }
    assert {path: kind_of(path).get("name") for path in names} == names
    assert all(kind_of(path)["root"] == str(path) for path in names)
    flat = {path: kind_of(path, labels=True).get("name") for path in names if "flat" in path.name}
    assert set(flat.values()) == {"folder"} and len(flat) == 2


# ---- the command


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_reads_a_path_and_a_params_file(classes, home, capsys):
    assert cli.main(["data", "check", "set", "-s", "galaxies.image_size=16"]) == 0
    assert "images here: 16 x 16 px" in capsys.readouterr().out
    galaxies = {"name": "folder", "root": str(classes), "image_size": 20}
    (home / "mine.yaml").write_text(yaml.safe_dump({"run": "a", "galaxies": galaxies}))
    overrides = ["-s", "galaxies.on_bad=skip", "--out", "there/a.html"]
    assert cli.main(["data", "check", "mine.yaml", *overrides]) == 0
    assert "images here: 20 x 20 px" in capsys.readouterr().out
    assert (home / "check.html").is_file()
    assert (home / "there/a.html").is_file()


@pytest.mark.parametrize(
    ("galaxies", "message"),
    [
        ({"name": "folder", "root": "nowhere/set"}, "galaxies.root: .*nowhere/set does not exist"),
        ({"name": "folder", "root": "set", "labells": "a"}, "labells"),
        ({"name": "folder", "root": "set", "image_size": "large"}, "galaxies.image_size"),
        ({"name": "foldr", "root": "set"}, "galaxies.name"),
    ],
)
def test_mistakes_are_named(classes, home, capsys, galaxies, message):
    galaxies = galaxies | {"root": str(home / galaxies["root"])}
    (home / "mine.yaml").write_text(yaml.safe_dump({"run": "a", "galaxies": galaxies}))
    assert cli.main(["data", "check", "mine.yaml"]) == 1
    assert re.search(f"mine.yaml: .*{message}", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("labels=5", "galaxies.labels: .*path"),
        ("labels=no.csv", "galaxies.labels: .*no.csv does not exist"),
        ("class_names=7", "galaxies.class_names"),
        ("root=", ""),
        ("name=fits", r"set: no FITS files found; .*; found 16 .png"),
    ],
)
def test_mistakes_in_options_of_a_path(classes, home, capsys, given, message):
    assert cli.main(["data", "check", "set", "-s", f"galaxies.{given}"]) == 1
    assert re.search(message, capsys.readouterr().err)


def test_other_wrong_calls(classes, home, capsys):
    assert cli.main(["data", "galaxy10", "set"]) == 1
    assert "it is for `data check` or `data cutouts`" in capsys.readouterr().err
    assert cli.main(["data", "check", "set", "--out", "set"]) == 1
    assert "needs the ending .html" in capsys.readouterr().err


def test_a_table_of_labels_starts_in_the_current_folder(classes, home, capsys):
    """The source need not be named: with a table, a flat folder is read with its labels."""
    (home / "sub").mkdir()
    for path in classes.glob("*/*.png"):
        path.rename(home / "sub" / path.name)
    table = "".join(f"g{row:02}.png,{'ab'[row % 2]}\n" for row in range(16))
    (home / "labels.csv").write_text(f"id,label\n{table}")
    (home / "params.yaml").touch()
    assert cli.main(["data", "check", "sub", "-s", "galaxies.labels=labels.csv"]) == 0
    said = capsys.readouterr().out
    assert f"labels: {home}/labels.csv" in said and "classes: 2: a, b" in said


def test_a_long_table_of_classes_is_cut(tmp_path, pixels):
    for row in range(40):
        (tmp_path / "set" / f"c{row}").mkdir(parents=True)
        image = Image.fromarray(pixels[row % 16])
        image.save(tmp_path / "set" / f"c{row}" / f"g{row}.png")
    usable, said, page = looked(tmp_path, name="folder", root=str(tmp_path / "set"))
    assert not usable and "and 10 more rows, which are on the page" in said
    assert "<td>c39</td>" in page and len(said.splitlines()) < 50


def test_what_is_not_found_is_said_before_torch_is_loaded(tmp_path):
    """`run` and `data check` use the same words, and no job starts."""
    for folder in ("notebooks", "flat"):
        (tmp_path / folder).mkdir()
    (tmp_path / "flat" / "1.png").touch()
    (tmp_path / "params.yaml").write_text("galaxies: {name: folder, root: nowhere}\n")
    (tmp_path / "flat.yaml").write_text("galaxies: {name: folder, root: flat}\n")
    code = (
        "import sys; from galaxymorph import cli; "
        "status = [cli.main(['data', 'check', path]) for path in ('gone', 'params.yaml')]; "
        "status += [cli.main(['data', 'check', 'flat', '-s', 'galaxies.name=folder'])]; "
        "status += [cli.main(['data', 'check', 'notebooks'])]; "
        "status += [cli.main(['run', '--run', 'a', '--params', 'flat.yaml'])]; "
        "print(status, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "[1, 1, 1, 1, 2] False\n", done.stderr
    gone, nowhere, flat, empty, run = done.stderr.splitlines()
    assert "gone does not exist" in gone and "nowhere does not exist" in nowhere
    assert "a relative path starts at the project's folder" in nowhere
    assert "notebooks: no images found" in empty
    assert "flat: no class folders; expected flat/<class>/<id>.jpg" in flat
    assert run == f"flat.yaml: galaxies.root: {flat}"
    assert not (tmp_path / "results").exists()
