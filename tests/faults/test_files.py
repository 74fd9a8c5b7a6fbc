"""Damaged files of our own are noticed, never taken as good, and made again where they can be.

Each test plants one fault: planted, survived; lost would be a wrong result without a word."""

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from galaxymorph import project
from galaxymorph.apply import explain, predict
from galaxymorph.data.load import load
from galaxymorph.data.mock.survey import mock_survey
from galaxymorph.learning import device, model_files, saved, train
from galaxymorph.learning.classifier import Classifier
from galaxymorph.learning.encoders import encoder
from galaxymorph.morphology import measure_sets

SIZE = 32


def flipped(content: bytes, place: float = 0.5) -> bytes:
    changed = bytearray(content)
    changed[int(place * (len(content) - 1))] ^= 4
    return bytes(changed)


FAULTS = {
    "truncated": lambda content: content[: len(content) // 2],
    "one byte less": lambda content: content[:-1],
    "empty": lambda content: b"",
    "zeroed": lambda content: bytes(len(content)),
    "zeros at the end": lambda content: content[:-600] + bytes(min(600, len(content))),
    "flipped bit": flipped,
    "flipped bit near the end": lambda content: flipped(content, 0.9),
    "garbage": lambda content: np.random.default_rng(0).bytes(len(content)),
    "list": lambda content: b"[1, 2]",
    "text": lambda content: b"hello",
}
every_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    monkeypatch.setattr(device, "has_bf16", lambda where: False)


def picture(number: int) -> Image.Image:
    coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
    coarse[[0, -1]] = coarse[:, [0, -1]] = 0  # a dark sky
    coarse[1:3, 1:3] |= 64
    return Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC)


@pytest.fixture
def galaxies(tmp_path):
    """A folder with a folder for each of two classes."""
    for number in range(12):
        path = tmp_path / "galaxies" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(path)
    return tmp_path / "galaxies"


# --- the cache -----------------------------------------------------------------------------------


def loaded(galaxies):
    return load(
        "folder", root=galaxies, image_size=SIZE, cache=galaxies.parent / "cache"
    ).images.numpy()


def cached(folder, name):
    """The one file of this name in a cache."""
    (found,) = [path for path in folder.rglob(name) if path.parent.suffix != ".damaged"]
    return found


@every_fault
@pytest.mark.parametrize("name", ["images.npy", "remarks.json", "checksums.json"])
def test_a_damaged_cache_is_made_again(galaxies, fault, name):
    (galaxies / "a" / "0.png").write_bytes((galaxies / "a" / "0.png").read_bytes()[:-10])
    before = loaded(galaxies).copy()  # one image is repaired: a remark
    file = cached(galaxies.parent / "cache", name)
    file.write_bytes(fault(file.read_bytes()))
    with pytest.warns(UserWarning, match=r"the cache is damaged .*\.(npy|json) .*made again"):
        again = loaded(galaxies)
    assert (again == before).all()
    assert (loaded(galaxies) == before).all()  # and without a warning


@pytest.mark.parametrize("name", ["images.npy", "remarks.json", "checksums.json"])
def test_a_half_deleted_cache_is_made_again(galaxies, name):
    before = loaded(galaxies).copy()
    cached(galaxies.parent / "cache", name).unlink()
    with pytest.warns(UserWarning, match=f"the cache is damaged .{name} is missing"):
        assert (loaded(galaxies) == before).all()


@pytest.mark.parametrize("size", [SIZE, 400])  # hashed whole, and sampled
def test_other_pixels_in_files_of_the_same_name_size_and_time(tmp_path, size):
    for folder, shift in (("before", 0), ("after", 7)):
        for number in range(8):
            path = tmp_path / folder / "ab"[number % 2] / f"{number}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(number + shift).resize((size, size)).save(path)
            os.utime(path, ns=(0, 0))
    sizes = {p.stat().st_size for p in tmp_path.rglob("*.tif")}
    assert len(sizes) == 1 and (min(sizes) > 2**16) == (size == 400)
    how = {"image_size": SIZE, "cache": tmp_path / "cache"}
    first = load("folder", root=tmp_path / "before", **how).images.numpy().copy()
    (tmp_path / "before").rename(tmp_path / "old")
    (tmp_path / "after").rename(tmp_path / "before")
    second = load("folder", root=tmp_path / "before", **how).images.numpy().copy()
    third = load("folder", root=tmp_path / "before", **how, seed=1).images.numpy().copy()
    assert (first != second).any() and (second == third).all()
    fresh = load("folder", root=tmp_path / "before", image_size=SIZE, cache=tmp_path / "fresh")
    assert (second == fresh.images.numpy()).all()


@every_fault
def test_damaged_measures_are_measured_again(tmp_path, fault):
    images = mock_survey(3, image_size=64, seed=1).images
    before = measure_sets.measure(images, cache=tmp_path).table
    file = cached(tmp_path, "table.npz")
    file.write_bytes(fault(file.read_bytes()))
    with pytest.warns(UserWarning, match="the cache is damaged .table.npz has changed"):
        assert measure_sets.measure(images, cache=tmp_path).table.equals(before)


# --- checkpoints and models ----------------------------------------------------------------------


def training(path, epochs=None):
    """The rows of a training with a checkpoint, stopped after some epochs, and its weights."""
    torch.manual_seed(3)
    learner = Classifier(encoder("cnn", channels=[4, 8]), classes=2, dropout=0.3)
    labels = torch.arange(16) % 2
    part = mock_survey(16, image_size=SIZE, seed=0).images, labels
    rows = train.fit(learner, part, part, epochs=3, batch_size=8, average=0.5, checkpoint=path)
    found = []
    for row in rows:
        found.append({key: value for key, value in row.items() if "second" not in key})
        if len(found) == epochs:
            rows.close()
    return found, {name: value.clone() for name, value in learner.state_dict().items()}


def same(weights, others):
    return all(torch.equal(value, others[name]) for name, value in weights.items())


@every_fault
def test_a_damaged_checkpoint_starts_the_training_anew(tmp_path, fault):
    expected, weights = training(tmp_path / "sound")
    training(tmp_path / "c", epochs=2)
    (tmp_path / "c").write_bytes(fault((tmp_path / "c").read_bytes()))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows, again = training(tmp_path / "c")
    assert rows == expected and same(weights, again)
    if fault is not flipped:  # the bit may be one of the zip's padding
        assert "/c: not a valid checkpoint: " in str(caught[0].message)
        assert "training starts anew" in str(caught[0].message)
        assert (tmp_path / "c.damaged").is_file()


def test_a_flipped_bit_anywhere_in_a_checkpoint_is_noticed_or_harmless(tmp_path):
    path = tmp_path / "c"
    torch.save({"x": torch.arange(900.0), "rows": [{"loss": 0.25}] * 9, "y": torch.ones(7)}, path)
    content, noticed = path.read_bytes(), 0
    for place in np.linspace(0, 1, 300):
        path.write_bytes(flipped(content, place))
        try:
            state = model_files.unpickled(path, "checkpoint")
        except ValueError:
            noticed += 1
        else:
            assert torch.equal(state["x"], torch.arange(900.0)) and state["y"].sum() == 7
            assert state["rows"] == [{"loss": 0.25}] * 9
    assert noticed > 200


@pytest.mark.parametrize(
    "change",
    [
        lambda state: [1, 2],
        lambda state: state | {"settings": [1]},
        lambda state: state | {"rows": 3},
        lambda state: state | {"random": torch.zeros(3)},
        lambda state: state | {"best": {}},
        lambda state: state | {"learner": {"x": torch.zeros(1)}},
        lambda state: {key: state[key] for key in state if key != "optimiser"},
        lambda state: state | {"schedule": None},
    ],
)
def test_a_checkpoint_of_other_values_starts_the_training_anew(tmp_path, change):
    expected, weights = training(tmp_path / "sound")
    training(tmp_path / "c", epochs=2)
    torch.save(change(torch.load(tmp_path / "c", weights_only=True)), tmp_path / "c")
    with pytest.warns(UserWarning, match=r"/c: its values are not valid; training starts anew"):
        rows, again = training(tmp_path / "c")
    assert rows == expected and same(weights, again)


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    learner = Classifier(encoder("cnn", channels=[4, 8]), classes=2)
    return written(tmp_path / "m.safetensors", learner)


def written(path, learner, **header):
    body = learner.encoder.options
    known = {"encoder": body, "image_size": SIZE, "classes": ["a", "b"], "cutout": {"crop": None}}
    model_files.write(path, learner, **known | {"seen": [], "seen_labels": []} | header)
    return path


@every_fault
def test_a_damaged_model_is_refused_by_name(model, fault):
    model.write_bytes(fault(model.read_bytes()))
    with pytest.raises(ValueError, match=r"m\.safetensors: not a valid model file: .") as refused:
        saved.load(model)
    assert "weights_only" not in str(refused.value)


def test_a_flipped_bit_anywhere_in_a_model_is_noticed(model):
    content = model.read_bytes()
    for place in np.linspace(0, 1, 40):
        model.write_bytes(flipped(content, place))
        with pytest.raises(ValueError, match=r"m\.safetensors: "):
            saved.load(model)


@every_fault
def test_damaged_weights_of_others_are_refused_by_name(tmp_path, fault):
    path = tmp_path / "w.pth"
    torch.save({"x": torch.arange(900.0)}, path)
    path.write_bytes(fault(path.read_bytes()))
    with pytest.raises(ValueError, match=r"w\.pth: not a valid model file: \w+") as refused:
        model_files.read(path)
    assert "weights_only" not in str(refused.value) and "pickle" not in str(refused.value).lower()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_tensor(model, tmp_path, value):
    learner, _ = saved.load(model)
    with torch.no_grad():
        learner.head[-1].weight[1, 3] = value
    written(tmp_path / "bad.safetensors", learner)
    torch.save(learner.state_dict(), tmp_path / "bad.pth")
    for name in ("bad.safetensors", "bad.pth"):
        with pytest.raises(ValueError, match=rf"{name}: not valid weights: head\.1\.weight has"):
            model_files.read(tmp_path / name)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("image_size", 0),
        ("image_size", 30_000),
        ("image_size", "32"),
        ("image_size", True),
        ("image_size", None),
        ("classes", ["a", "a"]),
        ("classes", []),
        ("classes", "ab"),
        ("classes", {"a": 1, "b": 2}),
        ("classes", [1, 2]),
        ("classes", None),
        ("encoder", "cnn"),
        ("encoder", {"channels": [4, 8]}),
        ("encoder", {"name": "m.safetensors"}),
        ("encoder", {"name": "resnet18", "weights": "imagenet"}),
        ("encoder", {"name": "cnn", "channels": [4, 8], "size": 30_000}),
        ("cutout", []),
        ("cutout", {"crop": -1}),
        ("cutout", {"crop": "40"}),
        ("cutout", {"crop": "autos"}),
        ("seen", "all"),
        ("seen_labels", [1]),
    ],
)
def test_a_header_that_no_training_writes_is_refused(model, entry, value):
    learner, _ = saved.load(model)
    written(model, learner, **{entry: value})
    with pytest.raises(ValueError, match=rf"m\.safetensors: not a valid header: {entry} is "):
        saved.load(model)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({"classes": ["a", "b", "c"]}, r"head.1.weight has the shape \(2, 8\), expected \(3, 8\)"),
        ({"encoder": {"name": "cnn", "channels": [10**6, 10**6, 10**6]}}, "encoder.body.blocks.0"),
        ({"encoder": {"name": "cnn", "channels": "many"}}, "."),
        ({"encoder": {"name": "cnn", "channels": []}}, "."),
        ({"encoder": {"name": "cnn", "mean": {}}}, "."),
        ({"encoder": {"name": "cnn", "layers": 3}}, "layers"),
        ({"encoder": {"name": "nothing"}}, "unknown encoder 'nothing'"),
    ],
)
def test_a_header_that_does_not_fit_the_weights_is_refused(model, header, why):
    learner, _ = saved.load(model)
    written(model, learner, **header)
    with pytest.raises(ValueError, match=rf"m\.safetensors: not a valid model file: .*{why}"):
        saved.load(model)


def test_exchanged_classes_in_a_header_are_noticed(model):
    state, header = model_files.load(model)
    header["classes"].reverse()
    save_file(state, model, metadata={"header": json.dumps(header)})
    with pytest.raises(ValueError, match="it has changed since it was written"):
        saved.load(model)


# --- predictions ---------------------------------------------------------------------------------


def predicted(model, galaxies, out, **options):
    """The bytes of a table, what was said, and the remarks."""
    said = []
    remarks = predict.predict(model, [galaxies], out, batch_size=2, say=said.append, **options)
    return out.read_bytes(), said, remarks


@pytest.fixture
def interrupted(model, galaxies, tmp_path, monkeypatch):
    """The journal of predictions that Ctrl-C stopped after four of six batches."""
    stream = predict.stream

    def stopped(*given, **options):
        for number, batch in enumerate(stream(*given, **options)):
            if number == 4:
                raise KeyboardInterrupt
            yield batch

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(predict, "stream", stopped)
        predicted(model, galaxies, tmp_path / "p.csv")
    return tmp_path / ".p.csv.partial"


@every_fault
def test_a_damaged_journal_never_reaches_the_table(model, galaxies, tmp_path, interrupted, fault):
    interrupted.write_bytes(fault(interrupted.read_bytes()))
    expected, _, _ = predicted(model, galaxies, tmp_path / "whole.csv")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table, said, _ = predicted(model, galaxies, tmp_path / "p.csv")
    assert table == expected
    aside = "not a valid journal of predictions; starting over" in str([w.message for w in caught])
    assert aside != said[0].startswith("resuming after")  # a cut last line costs a batch only


def test_a_journal_that_lacks_a_batch_is_never_taken_as_whole(
    model, galaxies, tmp_path, interrupted
):
    lines = interrupted.read_bytes().splitlines(keepends=True)
    interrupted.write_bytes(b"".join(lines[:2] + lines[3:]))
    with (
        pytest.warns(UserWarning, match="does not hold each galaxy once"),
        pytest.raises(ValueError, match=r"\.p\.csv\.partial: not a valid journal.*Repeat"),
    ):
        predicted(model, galaxies, tmp_path / "p.csv")
    assert not (tmp_path / "p.csv").exists()
    expected, _, _ = predicted(model, galaxies, tmp_path / "whole.csv")
    assert predicted(model, galaxies, tmp_path / "p.csv")[0] == expected


@pytest.mark.parametrize("fault", [FAULTS[name] for name in FAULTS if name != "one byte less"])
def test_a_damaged_record_is_set_aside_before_anything_is_computed(
    model, galaxies, tmp_path, monkeypatch, fault
):
    table, _, _ = predicted(model, galaxies, tmp_path / "p.csv")
    record = tmp_path / "p.csv.json"
    content = record.read_bytes()
    record.write_bytes(fault(content))
    with (
        monkeypatch.context() as patch,
        pytest.warns(UserWarning, match="not a valid record of predictions; renamed"),
        pytest.raises(FileExistsError, match=r"p\.csv exists, but .*--force"),
    ):
        patch.setattr(predict, "stream", None)
        predicted(model, galaxies, tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_bytes() == table
    predicted(model, galaxies, tmp_path / "p.csv", force=True)
    assert record.read_bytes() == content


def test_two_at_once_do_not_mix_their_rows(model, galaxies, tmp_path):
    reached, go = threading.Event(), threading.Event()

    def wait(text):
        reached.set()
        assert go.wait(30)

    def first():
        predict.predict(model, [galaxies], tmp_path / "p.csv", batch_size=2, say=wait)

    thread = threading.Thread(target=first)
    thread.start()
    assert reached.wait(30)  # the first is about to end, and holds its lock
    with pytest.raises(project.Locked, match=r"another process is writing p\.csv"):
        predicted(model, galaxies, tmp_path / "p.csv", force=True)
    predicted(model, galaxies, tmp_path / "q.csv")  # another name
    go.set()
    thread.join(30)
    assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "q.csv").read_bytes()
    assert predicted(model, galaxies, tmp_path / "p.csv")[1][0].endswith(
        "complete already: 12 galaxies"
    )
    assert not [*tmp_path.glob(".*")]


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize(
    "name", ["m.safetensors", "galaxies/a/0.png", "list.csv", "link.csv", "hard.csv"]
)
def test_no_input_is_ever_replaced(model, galaxies, tmp_path, name, force):
    (tmp_path / "list.csv").write_text("file\ngalaxies/a/0.png\ngalaxies/b/1.png\n")
    (tmp_path / "link.csv").symlink_to(model)
    os.link(galaxies / "b" / "1.png", tmp_path / "hard.csv")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for images in ([galaxies], [tmp_path / "list.csv"]):
        if name == "list.csv" and images == [galaxies]:
            continue
        with pytest.raises(FileExistsError, match="is an input, .*another name"):
            predict.predict(model, images, tmp_path / name, force=force)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_figure_never_replaces_the_model_or_its_galaxy(model, galaxies, tmp_path, monkeypatch):
    monkeypatch.setattr(explain.gradcam, "maps", None)  # nothing is computed
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for out, message in (
        (galaxies / "a" / "4.png", "is an input"),
        (model, "expected an ending of a figure"),
        (galaxies, "expected an ending of a figure"),
        (model / "x.png", "a file has the name of this folder"),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            explain.explain(model, ["4"], [galaxies], out, answer="a")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_neither_record_nor_gallery_replaces_a_model_or_a_page(model, galaxies, tmp_path):
    for name, out in (("p.csv.json", "p.csv"), (".p.csv.partial", "p.csv"), ("p.html", "p.csv")):
        other = shutil.copy(model, tmp_path / f"{name}.safetensors")
        (tmp_path / name).symlink_to(other)
        with pytest.raises(FileExistsError, match="is an input"):
            predict.predict(other, [galaxies], tmp_path / out, gallery=True, force=True)
        (tmp_path / name).unlink()
    (tmp_path / "index.html").write_text("my page")
    with pytest.raises(FileExistsError, match=r"index\.html exists"):
        predicted(model, galaxies, tmp_path / "index.csv", gallery=True)
    assert (tmp_path / "index.html").read_text() == "my page"


def test_outputs_that_are_not_finite_are_never_written(model, galaxies, tmp_path):
    learner, _ = saved.load(model)
    for parameter in learner.parameters():
        nn.init.constant_(parameter, 3e38)  # each is finite, their sums are not
    written(model, learner)
    with pytest.raises(ValueError, match=r"m\.safetensors: outputs that are not finite for 0, 1"):
        predicted(model, galaxies, tmp_path / "p.csv")
    assert not (tmp_path / "p.csv").exists()


def test_on_a_full_disk_finished_batches_are_kept(model, galaxies, tmp_path, monkeypatch):
    line, said = predict._line, []

    def full(value):
        said.append(value)
        if len(said) > 3:  # the settings and two batches
            raise OSError(28, "No space left on device")
        return line(value)

    with monkeypatch.context() as patch:
        patch.setattr(predict, "_line", full)
        with pytest.raises(project.NotWritten, match=r"the disk is full .* Nothing is lost"):
            predicted(model, galaxies, tmp_path / "p.csv")
    expected, _, _ = predicted(model, galaxies, tmp_path / "whole.csv")
    table, said, _ = predicted(model, galaxies, tmp_path / "p.csv")
    assert table == expected and said[0].startswith("resuming after 2 batches")


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("galaxies", "cannot write galaxies: it is a folder"),
        ("m.safetensors/p.csv", "a file has the name of this folder"),
        ("x" * 250 + ".csv", "Choose a shorter name"),
        ("p.csv.gz", "the table is plain CSV"),
        ("p.fits", "the table is plain CSV"),
    ],
)
def test_an_impossible_output_is_refused_before_anything_is_computed(
    model, galaxies, tmp_path, monkeypatch, out, message
):
    monkeypatch.setattr(predict, "stream", None)
    with pytest.raises((ValueError, OSError), match=message):
        predicted(model, galaxies, tmp_path / out)


def test_images_deleted_or_changed_meanwhile_are_remarked(model, galaxies, tmp_path, monkeypatch):
    find = predict.find

    def then_changed(*given):
        found = find(*given)
        (galaxies / "a" / "4.png").unlink()
        picture(99).save(galaxies / "b" / "5.png")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(predict, "find", then_changed)
        table, _, remarks = predicted(model, galaxies, tmp_path / "p.csv")
    assert table.count(b"\n") == 12  # a header and eleven galaxies
    assert [(Path(name).name, left_out) for name, _, left_out in remarks] == [
        ("4.png", True),
        ("5.png", False),
    ]
    assert "changed while the predictions were made" in remarks[1].message
    with pytest.raises(FileExistsError, match="different model, images or options"):
        predicted(model, galaxies, tmp_path / "p.csv")


# --- how files are written -----------------------------------------------------------------------


def test_files_have_the_modes_of_the_umask(model, galaxies, tmp_path):
    before = os.umask(0o027)
    try:
        learner, _ = saved.load(model)
        written(tmp_path / "new.safetensors", learner)
        training(tmp_path / "c", epochs=1)
        predicted(model, galaxies, tmp_path / "p.csv")
        loaded(galaxies)
    finally:
        os.umask(before)
    made = [tmp_path / name for name in ("new.safetensors", "c", "p.csv", "p.csv.json")]
    made += [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(made) >= 7
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o640}


KILLED = """
import os, sys
from pathlib import Path
from galaxymorph import project
with project.replacing(Path(sys.argv[1])) as partial:
    partial.write_text("half")
    os._exit(9)
"""


def test_what_a_killed_process_left_is_swept(tmp_path):
    path = tmp_path / "x.csv"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    (tmp_path / ".mine.part").write_text("of the user")
    assert len([*tmp_path.iterdir()]) == 2
    living = project.temporary(tmp_path / "y")  # this process is alive
    living.write_text("being written")
    project._swept.clear()
    project.write(path, "whole")
    assert {p.name for p in tmp_path.iterdir()} == {"x.csv", ".mine.part", living.name}


def test_writers_of_one_file_never_share_a_temporary_name(tmp_path):
    path = tmp_path / "x"
    start = threading.Barrier(8)

    def write(number):
        start.wait(10)
        for _ in range(20):
            project.write(path, bytes([number]) * 50_000)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    while any(each.is_alive() for each in threads):
        if path.exists():
            content = path.read_bytes()
            assert len(content) == 50_000 and len(set(content)) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("number", [28, 30, 122])  # full, read-only, over quota
def test_a_write_that_fails_names_the_folder_and_keeps_what_was_there(
    tmp_path, monkeypatch, number
):
    path = tmp_path / "results" / "x.csv"
    project.write(path, "before")

    def full(*given):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(project.NotWritten, match=r"results: cannot write x\.csv: .*unchanged"):
            project.write(path, "after")
    assert path.read_text() == "before" and len([*path.parent.iterdir()]) == 1


def test_what_is_no_result_is_whole_but_not_flushed(tmp_path, monkeypatch):
    """The progress of a job, written at every cell: a flush would wait for the disk."""
    flushed = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    project.write_json(tmp_path / "progress.json", "cell 1/2", flush=False)
    assert project.read_json(tmp_path / "progress.json") == "cell 1/2" and flushed == []
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]
    project.write_json(tmp_path / "progress.json", "cell 2/2")
    assert len(flushed) == 2  # the file and its folder


def test_a_full_disk_in_numpy_words(tmp_path):
    with (
        pytest.raises(project.NotWritten, match=r"cannot write x.npy: the disk is full .* MB free"),
        project.replacing(tmp_path / "x.npy"),
    ):
        raise OSError("368640 requested and 94080 written")


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "x").symlink_to(tmp_path / "elsewhere" / "y")
    project.write(tmp_path / "x", "text")
    assert (tmp_path / "x").is_symlink() and (tmp_path / "elsewhere" / "y").read_text() == "text"


def test_long_names_are_written_if_the_disk_takes_them(tmp_path):
    project.write(tmp_path / ("é" * 127), "text")
    with pytest.raises(project.NotWritten, match="Choose a shorter name"):
        project.write(tmp_path / ("é" * 128), "text")
    assert len([*tmp_path.iterdir()]) == 1
