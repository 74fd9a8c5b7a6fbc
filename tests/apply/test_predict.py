"""A model file alone is enough: predictions stay with their galaxies, whatever the order, the
batches and the interruptions."""

import inspect
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from astropy.io import fits as astropy_fits
from PIL import Image
from torch import nn

from galaxymorph import galaxy_zoo_tree
from galaxymorph.apply import predict, similar
from galaxymorph.data import cutouts, fits
from galaxymorph.data.found import without_ending
from galaxymorph.data.load import load
from galaxymorph.data.pictures import read_image
from galaxymorph.learning import device, model_files, saved, train
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.encoders import encoder
from galaxymorph.learning.votes import VoteRegressor

REAL = os.environ.get("GALAXYMORPH_DATA")
SIZE, CLASSES = 32, ("round", "edge-on, or so", "spiral")
BODY = {"name": "conv", "channels": [4, 4, 8, 8], "latent": 6, "aligned": False, "image_size": SIZE}
HEADER = {
    "encoder": BODY,
    "image_size": SIZE,
    "seen": [],
    "seen_labels": [],
    "cutout": {"crop": 40},
}


def shaken(learner: nn.Module) -> nn.Module:
    """With other weights than the first, so that galaxies differ by much more than a sixth
    decimal."""
    torch.manual_seed(5)
    for parameter in learner.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    return learner.eval()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Model files by name, and the learners in them."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("models")
    learners = {
        "classes": shaken(Classifier(encoder(**BODY), classes=3)),
        "votes": shaken(VoteRegressor(encoder(**BODY), hidden=5)),
        "plain": shaken(VoteRegressor(encoder(**BODY), tree=False, loss="mse")),
        "encoder": nn.ModuleDict({"encoder": encoder(**BODY), "decoder": nn.Linear(2, 3)}),
    }
    for name, learner in learners.items():
        head = (
            {"answers": galaxy_zoo_tree.COLUMNS, "head": learner.options}
            if isinstance(learner, VoteRegressor)
            else {}
        )
        head |= {"classes": CLASSES, "head": {"dropout": 0.1}} if name == "classes" else {}
        model_files.write(folder / f"{name}.safetensors", learner, **HEADER, **head)
    return folder, learners


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """bfloat16 would round otherwise in batches of another size."""
    monkeypatch.setattr(device, "has_bf16", lambda where: False)


IDS = ("2", "10", "9", "101", "33", "4", "100018", "57", "8", "71", "6")


def picture(number: int, size: int = 48) -> Image.Image:
    """Blobs that differ from galaxy to galaxy, bright in the middle."""
    coarse = np.random.default_rng(number).integers(0, 120, (4, 4, 3), np.uint8)
    coarse[1:3, 1:3] += 120
    return Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)


@pytest.fixture
def galaxies(tmp_path):
    """A folder of JPEG files of 48 px, some in a folder below."""
    folder = tmp_path / "galaxies"
    (folder / "more").mkdir(parents=True)
    for place, id in enumerate(IDS):
        picture(place).save(folder / ("more" if place % 3 else "") / f"{id}.jpg")
    return folder


def run(models, name, images, out, **options):
    """The table as it is written, all text, and the remarks."""
    images = images if isinstance(images, list) else [images]
    remarks = predict.predict(models[0] / f"{name}.safetensors", images, out, **options)
    return pd.read_csv(out, dtype=str), remarks


def one_by_one(learner, files, ids, **options) -> np.ndarray:
    """`train.predict` of each galaxy alone."""
    outputs = []
    for id in ids:
        image = cutouts.read(partial(read_image, str(files[id])), size=SIZE, crop=40)[0]
        outputs.append(train.predict(learner, torch.from_numpy(image)[None], **options).numpy())
    return np.concatenate(outputs)


def files_of(folder: Path) -> dict[str, Path]:
    return {file.stem: file for file in folder.rglob("*.jpg")}


# --- model files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["classes", "votes", "plain"])
def test_a_file_gives_back_its_learner(models, name):
    learner, header = saved.load(models[0] / f"{name}.safetensors")
    assert type(learner) is type(models[1][name])
    assert not learner.training and header["image_size"] == SIZE
    images = torch.rand(3, 3, SIZE, SIZE)
    with torch.no_grad():
        torch.testing.assert_close(learner.predict(images), models[1][name].predict(images))


def test_a_file_without_a_head_has_an_encoder(models, galaxies, tmp_path):
    learner, _ = saved.load(models[0] / "encoder.safetensors")
    images = torch.rand(3, 3, SIZE, SIZE)
    with torch.no_grad():
        torch.testing.assert_close(
            learner.encoder(images), models[1]["encoder"]["encoder"].eval()(images)
        )
    with pytest.raises(
        ValueError, match="encoder.safetensors has no head.*03_supervised or 09_vote_fractions"
    ):
        run(models, "encoder", galaxies, tmp_path / "out.csv")


def test_files_that_are_no_models_are_refused_by_name(models, tmp_path):
    learner, file = models[1]["classes"], tmp_path / "m.safetensors"
    with pytest.raises(FileNotFoundError, match="m.safetensors: no such model file"):
        saved.load(file)
    model_files.write(file, learner, classes=CLASSES)
    with pytest.raises(ValueError, match="m.safetensors: its header lacks encoder and image_size"):
        saved.load(file)
    model_files.write(file, learner, **HEADER, classes=CLASSES[:2])
    with pytest.raises(
        ValueError, match="m.safetensors: not a valid model file: the weights do not match"
    ):
        saved.load(file)


# --- predictions ----------------------------------------------------------------------------------


def test_vote_fractions_are_a_submission(models, galaxies, tmp_path):
    """Ids in the order of numbers, 37 columns though the head has 48 outputs, six decimals."""
    out = tmp_path / "new" / "submission.csv"
    table, remarks = run(models, "votes", galaxies, out)
    assert remarks == []
    assert out.read_text().splitlines()[0] == "GalaxyID," + ",".join(galaxy_zoo_tree.COLUMNS)
    assert table["GalaxyID"].tolist() == sorted(IDS, key=int)
    assert (
        table[list(galaxy_zoo_tree.COLUMNS)]
        .map(lambda text: len(text.split(".")[1]))
        .eq(6)
        .all(axis=None)
    )
    expected = one_by_one(models[1]["votes"], files_of(galaxies), table["GalaxyID"])[:, :37]
    assert expected.std(0).max() > 0.01  # galaxies can be told apart
    assert np.abs(table[list(galaxy_zoo_tree.COLUMNS)].to_numpy(float) - expected).max() < 2e-6


def test_plain_outputs_are_clipped(models, galaxies, tmp_path):
    table, _ = run(models, "plain", galaxies, tmp_path / "out.csv")
    expected = one_by_one(models[1]["plain"], files_of(galaxies), table["GalaxyID"])
    assert expected.min() < 0 and expected.max() > 1
    assert (
        np.abs(table[list(galaxy_zoo_tree.COLUMNS)].to_numpy(float) - expected.clip(0, 1)).max()
        < 1e-5
    )  # outputs beyond 3, in batches of other sizes: float32 has seven digits


@pytest.mark.parametrize("average", [False, True])
def test_classes_have_probabilities_and_the_most_probable(models, galaxies, tmp_path, average):
    table, _ = run(models, "classes", galaxies, tmp_path / "out.csv", average_orientations=average)
    names = [f"p_{name}" for name in CLASSES]
    assert list(table) == ["id", *names, "label"]
    expected = one_by_one(
        models[1]["classes"], files_of(galaxies), table["id"], average_orientations=average
    )
    assert np.abs(table[names].to_numpy(float) - expected).max() < 2e-6
    assert table["label"].tolist() == [CLASSES[k] for k in expected.argmax(1)]
    assert average or table["label"].nunique() > 1


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    "batch_size", [1, 3, 64, *(pytest.param(k, marks=pytest.mark.slow) for k in (2, 5))]
)
@pytest.mark.long
def test_predictions_stay_with_their_ids(models, galaxies, tmp_path, two_threads, batch_size):
    """A published project began its ids anew with each batch. Here the files come in any order, in
    two parts, from a list."""
    files = files_of(galaxies)
    expected = pd.DataFrame(one_by_one(models[1]["classes"], files, IDS), IDS)
    shuffled = np.random.default_rng(batch_size).permutation(IDS)
    first, second = (tmp_path / f"{part}.csv" for part in "ab")
    first.write_text(
        "other,id,file\n"
        + "".join(f"x,{id},{files[id].relative_to(tmp_path)}\n" for id in shuffled[:4])
    )
    second.write_text("path\n" + "".join(f"{files[id]}\n" for id in shuffled[4:]))
    table, remarks = run(
        models, "classes", [second, first], tmp_path / "out.csv", batch_size=batch_size
    )
    assert remarks == []
    assert sorted(table["id"]) == sorted(IDS)
    assert (
        np.abs(table.iloc[:, 1:4].to_numpy(float) - expected.loc[table["id"]].to_numpy()).max()
        < 2e-6
    )


def test_a_zip_is_as_good_as_a_folder(models, galaxies, tmp_path):
    with zipfile.ZipFile(tmp_path / "g.zip", "w") as archive:
        for file in sorted(galaxies.rglob("*.jpg"), reverse=True):
            archive.write(file, f"images/{file.name}")
    run(models, "votes", tmp_path / "g.zip", tmp_path / "zip.csv")
    run(models, "votes", galaxies, tmp_path / "folder.csv")
    assert (tmp_path / "zip.csv").read_bytes() == (tmp_path / "folder.csv").read_bytes()


@pytest.fixture
def cubes(tmp_path):
    folder = tmp_path / "cubes"
    folder.mkdir()
    for number, name in enumerate(["a.fits", "b.fits.gz", "c.v2.fit"]):
        cube = np.asarray(picture(number, 44), np.float32).transpose(2, 0, 1) / 255
        cube += np.random.default_rng(number).uniform(0.01, 0.02, cube.shape).astype(np.float32)
        if number == 1:
            cube[:, 3, 4] = np.nan
        astropy_fits.PrimaryHDU(cube).writeto(folder / name)
    return folder


def test_galaxies_are_cut_out_by_their_own_size_as_in_training(models, tmp_path):
    """A model trained with `crop: auto`; a frame without a galaxy in its centre stays whole."""
    file, folder = tmp_path / "m.safetensors", tmp_path / "galaxies"
    folder.mkdir()
    rows, columns = np.indices((96, 96)) - 47.5
    for id, sigma, shift in (("1", 5, 0), ("2", 9, 0), ("3", 5, 30)):
        light = 8 + 200 * np.exp(-((rows - shift) ** 2 + columns**2) / 2 / sigma**2)
        Image.fromarray(light.astype(np.uint8)).save(folder / f"{id}.png")
    learner = models[1]["classes"]
    model_files.write(file, learner, **HEADER | {"cutout": {"crop": "auto"}}, classes=CLASSES)
    remarks = predict.predict(file, [folder], tmp_path / "p.csv")
    table, sides = pd.read_csv(tmp_path / "p.csv", index_col="id"), []
    for id in ("1", "2"):
        read = partial(read_image, str(folder / f"{id}.png"))
        image, _ = cutouts.read(read, size=SIZE, crop="auto", sides=sides)
        wanted = train.predict(learner, torch.from_numpy(image)[None])[0]
        np.testing.assert_allclose(table.filter(like="p_").loc[int(id)], wanted, atol=2e-4)
    assert sides == pytest.approx([3.2 * 2.146 * 5, 3.2 * 2.146 * 9], rel=0.1)
    assert [(name, cutouts.UNFRAMED in what) for name, what, _ in remarks] == [
        (f"{folder}/3.png", True)
    ]


def test_fits_cubes_become_pictures_as_in_training(models, cubes, tmp_path):
    """By the options of the header: here not the default ones."""
    colour = {"bands": "zgr", "hdu": 0, "stretch": 2.0, "Q": 5.0, "band_weights": [1.0, 2.0, 0.5]}
    file = tmp_path / "m.safetensors"
    model_files.write(
        file, models[1]["classes"], **{**HEADER, "cutout": {"crop": 40, **colour}}, classes=CLASSES
    )
    remarks = predict.predict(file, [cubes], tmp_path / "folder.csv")
    assert remarks == [
        (f"{cubes}/b.fits.gz", "0.052 % of the pixels were missing and filled in", False)
    ]
    listed = sorted(cubes.iterdir(), reverse=True)
    predict.predict(file, listed, tmp_path / "files.csv")
    assert (tmp_path / "files.csv").read_bytes() == (tmp_path / "folder.csv").read_bytes()
    for images, name in (([cubes], "cropped folder.csv"), (listed, "cropped files.csv")):
        predict.predict(file, images, tmp_path / name, crop=30)
    cropped = (tmp_path / "cropped files.csv").read_bytes()
    assert cropped == (tmp_path / "cropped folder.csv").read_bytes()
    assert cropped != (tmp_path / "files.csv").read_bytes()

    galaxies = load(
        "fits",
        root=cubes,
        image_size=SIZE,
        crop=40,
        test=0.0,
        val=0.0,
        cache=tmp_path / "cache",
        **colour,
    )
    expected = train.predict(models[1]["classes"], galaxies.images).numpy()
    table = pd.read_csv(tmp_path / "folder.csv")
    assert table["id"].tolist() == ["a", "b", "c.v2"] == galaxies.ids.tolist()
    assert np.abs(table.iloc[:, 1:4].to_numpy() - expected).max() < 2e-6
    defaults = models[0] / "classes.safetensors"
    predict.predict(defaults, [cubes], tmp_path / "defaults.csv")
    assert (
        np.abs(pd.read_csv(tmp_path / "defaults.csv").iloc[:, 1:4].to_numpy() - expected).max()
        > 1e-3
    )


def test_colours_default_to_those_of_the_data():
    given = inspect.signature(load).parameters
    assert {name: given[name].default for name in fits.COLOUR} == fits.COLOUR | {
        "band_weights": fits.WEIGHTS
    }


def test_without_options_of_a_model_all_cubes_get_one_stretch(models, cubes, tmp_path):
    """Which is said, the same for a folder and for a list of its files."""
    for file in cubes.iterdir():
        data = astropy_fits.getdata(file) * 1e-17
        astropy_fits.PrimaryHDU(data).writeto(file, overwrite=True)
    for name, images in {"folder": [cubes], "files": [*cubes.iterdir()]}.items():
        remarks = predict.predict(models[0] / "classes.safetensors", images, tmp_path / name)
        (said,) = [remark for remark in remarks if "stretch" in remark.message]
        assert "e-18, sky: none" in said.message and not said.left_out
    assert (tmp_path / "folder").read_bytes() == (tmp_path / "files").read_bytes()


def test_other_files_are_counted(models, galaxies, tmp_path):
    for name in ("a.txt", "b.TXT", "c.eps"):
        (galaxies / name).write_text("no image")
    _, (remark,) = run(models, "classes", galaxies, tmp_path / "out.csv")
    assert remark.message.startswith("left out: 2 .txt, 1 .eps") and not remark.left_out


def test_blank_frames_get_no_row_and_dark_ones_a_remark(models, galaxies, tmp_path):
    Image.new("L", (48, 48), 70).save(galaxies / "500.png")
    picture(3).point(lambda level: level // 12).save(galaxies / "501.png")
    table, remarks = run(models, "classes", galaxies, tmp_path / "out.csv")
    assert set(table["id"].astype(str)) == {*IDS, "501"}
    blank, dark = sorted(remarks)
    assert blank.left_out and blank.message.startswith("blank: ")
    assert not dark.left_out and dark.message.startswith("nearly black: ")


def test_a_set_without_galaxies_ends_before_anything_is_written(models, galaxies, tmp_path):
    for file in galaxies.rglob("*.jpg"):
        Image.open(file).point(lambda level: level // 12).save(file)
    with pytest.raises(ValueError, match="of 11 images show no galaxy.*nearly black"):
        run(models, "classes", galaxies, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_images_and_cubes_of_several_places(models, galaxies, cubes, tmp_path):
    (cubes / "sub").mkdir()
    picture(77).save(cubes / "sub" / "x.png")
    single = tmp_path / "single.tif"
    picture(78).save(single)
    (tmp_path / "list.csv").write_text(f"GalaxyID,path\nlisted,cubes/a.fits\nother,{single}\n")
    table, _ = run(
        models, "classes", [galaxies, cubes, single, tmp_path / "list.csv"], tmp_path / "out.csv"
    )
    assert table["id"].tolist() == sorted(
        [*IDS, "a", "b", "c.v2", "x", "single", "listed", "other"]
    )  # as text: not all numbers
    rows = table.set_index("id")
    assert rows.loc["listed"].equals(rows.loc["a"]) and rows.loc["other"].equals(rows.loc["single"])


def test_what_cannot_be_read_is_named_and_left_out(models, galaxies, tmp_path):
    whole = (galaxies / "2.jpg").read_bytes()
    (galaxies / "500.jpg").write_bytes(whole[: len(whole) // 2])
    (galaxies / "501.png").write_text("no image")
    (galaxies / "502.jpg").symlink_to(tmp_path / "nowhere.jpg")
    picture(1, 39).save(galaxies / "503.jpg")
    table, remarks = run(models, "votes", galaxies, tmp_path / "out.csv", batch_size=3)
    assert table["GalaxyID"].tolist() == sorted(IDS, key=int)
    assert [(Path(name).name, left_out) for name, _, left_out in remarks] == [
        (name, True) for name in ("500.jpg", "501.png", "502.jpg", "503.jpg")
    ]
    for (_, said, _), words in zip(
        remarks, ("truncated", "not a valid image", "does not exist", "--crop"), strict=True
    ):
        assert words.lower() in said.lower()
    again, remarks_again = run(models, "votes", galaxies, tmp_path / "out.csv", batch_size=3)
    assert again.equals(table) and remarks_again == remarks
    table, remarks = run(models, "votes", galaxies, tmp_path / "cropped.csv", crop=20)
    assert "503" in table["GalaxyID"].tolist() and sum(each.left_out for each in remarks) == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: [f / "nowhere"], "nowhere does not exist"),
        (
            lambda f: [f / "galaxies", f / "galaxies" / "2.jpg"],
            r"duplicate id '2' \(.*2.jpg, .*2.jpg\)",
        ),
        (lambda f: [f / "note.txt"], "note.txt: expected a folder, a zip, a Parquet file, a CSV"),
        (lambda f: [f / "empty"], "empty: no images found"),
        (
            lambda f: [f / "wrong.csv"],
            "wrong.csv: not a list of files: no column file or path among .* as option labels",
        ),
        (lambda f: [f / "none.csv"], "none.csv: no rows"),
        (lambda f: [f / "hole.csv"], "hole.csv: rows without file"),
        (lambda f: [f / "twice.csv"], "twice.csv: duplicate id 'a'"),
    ],
)
def test_wrong_images_are_refused(models, galaxies, tmp_path, make, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").write_text("x")
    (tmp_path / "wrong.csv").write_text("id,image\na,b\n")
    (tmp_path / "none.csv").write_text("id,file\n")
    (tmp_path / "hole.csv").write_text("id,file\na,\n")
    (tmp_path / "twice.csv").write_text("file\nx/a.jpg\ny/a.jpg\n")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(models, "votes", make(tmp_path), tmp_path / "out.csv")
    assert not list(tmp_path.glob("*out.csv*"))


@pytest.mark.parametrize("option", [{"batch_size": 0}, {"crop": 0}])
def test_options_out_of_range(models, galaxies, tmp_path, option):
    with pytest.raises(ValueError, match=f"{next(iter(option))}=0: expected at least 1"):
        run(models, "votes", galaxies, tmp_path / "out.csv", **option)


@pytest.mark.real
def test_real_galaxies(models, tmp_path):
    """424 px JPEG files and FITS images, one of them broken on purpose."""
    places = [Path(REAL or "") / "galaxy_zoo_2" / "images_test_rev1", Path(REAL or "") / "fits"]
    table, remarks = run(models, "votes", places, tmp_path / "out.csv")
    assert [Path(name).name for name, _, left_out in remarks if left_out] == [
        "decals_grz_truncated.fits"
    ]
    ids = {
        without_ending(file.name)
        for file in [*places[0].iterdir(), *places[1].glob("decals*.fits")]
    }
    assert set(table["GalaxyID"]) == ids - {"decals_grz_truncated"} | {"ngc6976_sdss"}
    assert table[list(galaxy_zoo_tree.COLUMNS)].to_numpy(float).max() <= 1


# --- interruptions --------------------------------------------------------------------------------

KILLED = """
import sys, time
from pathlib import Path
from galaxymorph.apply import predict
from galaxymorph.data import cutouts
from galaxymorph.learning import device

device.has_bf16 = lambda where: False
fast = cutouts.read
def slow(*given, **options):
    time.sleep(0.1)
    return fast(*given, **options)

cutouts.read = slow
predict.predict(Path(sys.argv[1]), [Path(sys.argv[2])], Path(sys.argv[3]), batch_size=2)
"""


def test_a_killed_run_goes_on_to_the_same_bytes(models, galaxies, tmp_path):
    (galaxies / "3.jpg").write_text("no image")  # in the first batch: to be said in the end, too
    out, journal = tmp_path / "out.csv", tmp_path / ".out.csv.partial"
    model = str(models[0] / "votes.safetensors")
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, model, str(galaxies), str(out)], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (journal.is_file() and journal.read_bytes().count(b"\n") > 2):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    lines = journal.read_bytes().splitlines(keepends=True)
    assert not out.exists() and 3 <= len(lines) < 7
    journal.write_bytes(
        b"".join(lines[:3]) + b'[2, "9,0.12'
    )  # cut off in the middle of the third batch

    said = []
    _, remarks = run(models, "votes", galaxies, out, batch_size=2, say=said.append)
    _, expected = run(models, "votes", galaxies, tmp_path / "whole.csv", batch_size=2)
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert remarks == expected and len(remarks) == 1
    assert said[0].startswith("resuming after 2 batches") and said[1].startswith("8 galaxies in")
    assert sorted(path.name for path in tmp_path.glob("*out.csv*")) == ["out.csv", "out.csv.json"]
    assert not journal.exists()


def interrupted(models, galaxies, out, monkeypatch):
    """A run that Ctrl-C stops after its second batch."""
    stream = predict.stream

    def stopped(*given, **options):
        for number, batch in enumerate(stream(*given, **options)):
            yield batch
            if number == 1:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(predict, "stream", stopped)
        run(models, "votes", galaxies, out, batch_size=3)
    assert not out.exists() and (out.parent / f".{out.name}.partial").is_file()


@pytest.mark.parametrize(
    ("name", "options", "changed"),
    [
        ("votes", {"crop": 30}, "crop"),
        ("plain", {}, "model"),
        ("votes", {"average_orientations": True}, "average_orientations"),
    ],
)
@pytest.mark.long
def test_a_changed_run_starts_anew(models, galaxies, tmp_path, monkeypatch, name, options, changed):
    out, said = tmp_path / "out.csv", []
    interrupted(models, galaxies, out, monkeypatch)
    run(models, name, galaxies, out, batch_size=3, say=said.append, **options)
    assert f"was made with other settings ({changed})" in said[0]
    run(models, name, galaxies, tmp_path / "whole.csv", batch_size=3, **options)
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_changed_images_start_anew(models, galaxies, tmp_path, monkeypatch):
    out, said = tmp_path / "out.csv", []
    interrupted(models, galaxies, out, monkeypatch)
    picture(99).save(galaxies / "2.jpg")
    table, _ = run(models, "votes", galaxies, out, batch_size=3, say=said.append)
    assert "(images)" in said[0]
    expected = one_by_one(models[1]["votes"], files_of(galaxies), ["2"])[0, :37]
    assert np.abs(table.iloc[0, 1:].to_numpy(float) - expected).max() < 2e-6


def test_what_is_there_is_kept(models, galaxies, tmp_path, monkeypatch):
    out, said = tmp_path / "out.csv", []
    out.write_text("a file of somebody else\n")
    with pytest.raises(
        FileExistsError, match="out.csv exists, but was made with a different model.*--force"
    ):
        run(models, "votes", galaxies, out)
    assert out.read_text() == "a file of somebody else\n"
    table, _ = run(models, "votes", galaxies, out, force=True)

    with monkeypatch.context() as patch:  # the same call has nothing to do
        patch.setattr(predict, "stream", None)
        again, _ = run(models, "votes", galaxies, out, say=said.append)
    assert again.equals(table) and said == [f"{out} is complete already: 11 galaxies"]
    with pytest.raises(FileExistsError):
        run(models, "votes", galaxies, out, crop=30)
    out.write_text(out.read_text().replace("0.", "1.", 1))  # no longer what was predicted
    with pytest.raises(FileExistsError):
        run(models, "votes", galaxies, out)
    record = json.loads((tmp_path / "out.csv.json").read_text())
    assert (record["galaxies"], record["crop"], record["average_orientations"]) == (11, 40, False)


# --- similarity -----------------------------------------------------------------------------------


def test_the_nearest_are_those_of_a_search_by_hand(models, galaxies, tmp_path):
    files, said = files_of(galaxies), []
    model = models[0] / "encoder.safetensors"
    remarks = similar.similar(
        model, [galaxies], "57", n=4, out=tmp_path / "near", batch_size=3, say=said.append
    )
    assert remarks == []
    images = [
        cutouts.read(partial(read_image, str(files[id])), size=SIZE, crop=40)[0] for id in IDS
    ]
    features = (
        train.embed(models[1]["encoder"]["encoder"], torch.from_numpy(np.stack(images)))
        .double()
        .numpy()
    )
    own = features[IDS.index("57")]
    cosine = {
        id: f @ own / np.sqrt((f @ f) * (own @ own))
        for id, f in zip(IDS, features, strict=True)
        if id != "57"
    }
    table = pd.read_csv(tmp_path / "near" / "similar_57.csv", dtype={"id": str})
    assert table["id"].tolist() == sorted(cosine, key=cosine.__getitem__, reverse=True)[:4]
    assert table["similarity"].to_numpy() == pytest.approx(
        [cosine[id] for id in table["id"]], abs=2e-6
    )
    assert all(id in said[0] for id in table["id"])
    with Image.open(tmp_path / "near" / "similar_57.png") as strip:
        assert strip.width > 4 * strip.height > 0


def test_a_turned_galaxy_is_the_same_in_the_mean_over_orientations(models, tmp_path):
    for number in range(5):
        picture(number).save(tmp_path / f"g{number}.png")
    picture(3).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png")
    options = {"n": 1, "average_orientations": True, "crop": SIZE}  # no resampling
    similar.similar(models[0] / "votes.safetensors", [tmp_path], "g3", out=tmp_path, **options)
    assert (tmp_path / "similar_g3.csv").read_text() == "id,similarity\nturned,1.000000\n"


def test_similar_goes_on_after_a_batch_of_which_nothing_can_be_read(models, tmp_path):
    for number in range(3):
        picture(number).save(tmp_path / f"g{number}.png")
        (tmp_path / f"broken{number}.png").write_text("no image")
    model = models[0] / "votes.safetensors"
    remarks = similar.similar(model, [tmp_path], "g0", out=tmp_path / "near", batch_size=3)
    assert len(remarks) == 3
    assert len((tmp_path / "near" / "similar_g0.csv").read_text().splitlines()) == 3


def test_similar_wants_a_galaxy_that_is_there(models, galaxies, tmp_path):
    model = models[0] / "encoder.safetensors"
    with pytest.raises(
        ValueError, match="no galaxy '10018' among 11; the nearest ids are 100018, "
    ):
        similar.similar(model, [galaxies], "10018", out=tmp_path)
    with pytest.raises(ValueError, match="'2' is the only galaxy"):
        similar.similar(model, [galaxies / "2.jpg"], "2", out=tmp_path)
    with pytest.raises(ValueError, match="galaxy '2' cannot be read: crop of 90 px"):
        similar.similar(model, [galaxies], "2", out=tmp_path, crop=90)
    assert list(tmp_path.glob("similar*")) == []


# What takes long to import and is not needed to predict classes of JPEG files.
HEAVY = {"astropy", "h5py", "matplotlib", "scipy", "sklearn", "sympy", "torch._dynamo"}
START = """
import sys
from galaxymorph.cli import main
from galaxymorph.learning.encoders import encoder
model, images, out = sys.argv[1:]
assert main(["predict", "--model", model, "--images", images, "--out", out]) == 0
print(*sys.modules)
encoder("resnet18")
print(*sys.modules)
"""


def test_predict_starts_without_what_it_does_not_need(models, galaxies, tmp_path):
    arguments = [str(models[0] / "classes.safetensors"), str(galaxies), str(tmp_path / "p.csv")]
    command = [sys.executable, "-c", START, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    own, with_torchvision = done.stdout.splitlines()[-2:]
    assert not (HEAVY | {"torchvision"}) & set(own.split())
    assert not HEAVY & set(with_torchvision.split())
    assert "torchvision" in with_torchvision.split()
