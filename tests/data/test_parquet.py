"""Parquet files written by pyarrow load with their pixels, labels and votes, or are refused."""

import builtins
import inspect
import io
import json
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet as pq

from galaxymorph import galaxy_zoo_tree
from galaxymorph.apply import images
from galaxymorph.data import campaigns, parquet
from galaxymorph.data.load import load as load_galaxies

STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@pytest.fixture
def load(tmp_path):
    """`load` with a cache of its own, without the tests' type check."""

    def unwrapped(**options):
        more = {"image_size": 8, "cache": tmp_path / "cache"}
        return inspect.unwrap(load_galaxies)("parquet", **more | options)

    return unwrapped


def pixels(number: int) -> np.ndarray:
    """Random pixels, different for each number."""
    return np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def png(number: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels(number)).save(stream, "png")
    return stream.getvalue()


def numbers(count: int, start: int = 0) -> range:
    return range(start, start + count)


def structs(rows) -> pa.Array:
    return pa.array([{"bytes": png(n), "path": None} for n in rows], STRUCT)


def write(file: Path, columns: dict, *, names=None, **options) -> Path:
    """Write a table, with Hugging Face's metadata if the classes have `names`."""
    table = pa.table(columns)
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        text = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": text})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, **options)
    return file


def hugging_face(root: Path, **shards: range) -> Path:
    names = ["zeta", "alpha", "gone"]
    for name, rows in shards.items():
        columns = {"image": structs(rows), "label": [n % 2 for n in rows]}
        columns["id"] = [f"g{n}" for n in rows]
        file = root / "data" / f"{name.replace('__', '-of-').replace('_', '-')}.parquet"
        write(file, columns, names=names, row_group_size=7)
    return root


def assert_pixels(galaxies, number_of=lambda id: int(id.removeprefix("g"))):
    for id, image in zip(galaxies.ids, galaxies.images.numpy(), strict=True):
        assert np.array_equal(image, pixels(number_of(id)).transpose(2, 0, 1)), id


# ---- Hugging Face


def test_shards_with_named_classes(tmp_path, load):
    root = hugging_face(
        tmp_path / "hf", one_00000__00002=numbers(20), one_00001__00002=numbers(13, 20)
    )
    galaxies = load(root=root)
    assert galaxies.ids.tolist() == [f"g{n}" for n in range(33)]
    assert galaxies.classes == ("alpha", "zeta")
    assert galaxies.labels.tolist() == [1 - n % 2 for n in range(33)]
    assert "classes without galaxies: gone" in galaxies.notes
    assert_pixels(galaxies)


@pytest.mark.parametrize(
    "column",
    [
        lambda rows: pa.array([png(n) for n in rows], pa.binary()),
        lambda rows: pa.array([png(n) for n in rows], pa.large_binary()),
        lambda rows: pa.array([png(n) for n in rows], pa.binary()).dictionary_encode(),
        lambda rows: pa.array(
            [{"path": f"g{n}.png", "bytes": png(n)} for n in rows],
            pa.struct({"path": pa.string(), "bytes": pa.large_binary()}),
        ),
    ],
    ids=["binary", "large", "dictionary", "large struct"],
)
def test_kinds_of_image_columns(tmp_path, load, column):
    rows = numbers(12)
    columns = {"image": column(rows), "id_str": [f"g{n}" for n in rows]}
    columns["label"] = ["disc", "ball"] * 6
    galaxies = load(root=write(tmp_path / "a.parquet", columns, row_group_size=5))
    assert galaxies.classes == ("ball", "disc")
    assert galaxies.labels.tolist() == [1, 0] * 6
    assert_pixels(galaxies)


def test_ids_are_names_of_images_or_file_and_row(tmp_path, load):
    rows = numbers(8)
    named = [{"bytes": png(n), "path": f"some/g{n}.png"} for n in rows]
    columns = {"label": ["a", "b"] * 4}
    file = write(tmp_path / "a.parquet", {"image": pa.array(named, STRUCT)} | columns)
    galaxies = load(root=file)
    assert galaxies.ids.tolist() == [f"g{n}" for n in rows]
    file = write(tmp_path / "b.parquet", {"image": structs(rows)} | columns)
    galaxies = load(root=file)
    assert galaxies.ids.tolist() == [f"b-{n:06d}" for n in rows]
    assert_pixels(galaxies, lambda id: int(id[-6:]))


def test_images_beside_the_table(tmp_path, load):
    (tmp_path / "img").mkdir()
    for n in numbers(8):
        (tmp_path / "img" / f"g{n}.png").write_bytes(png(n))
    values = [{"bytes": None, "path": f"img/g{n}.png"} for n in numbers(8)]
    columns = {"image": pa.array(values, STRUCT), "label": ["a", "b"] * 4}
    assert_pixels(load(root=write(tmp_path / "a.parquet", columns)))


def test_a_column_image_with_names_of_files(tmp_path, load):
    (tmp_path / "g0.png").write_bytes(png(0))
    found = parquet.parquet(write(tmp_path / "a.parquet", {"image": ["g0.png"]}))
    assert found.ids == ["g0"]
    assert np.array_equal(found.read[0]()[0], pixels(0))


def test_null_and_broken_images_are_named(tmp_path, load):
    content = [png(n) for n in numbers(12)]
    content[3], content[5], content[7] = None, b"", b"<html>"
    columns = {"image": content, "id": [f"g{n}" for n in numbers(12)], "label": ["a", "b"] * 6}
    file = write(tmp_path / "a.parquet", columns)
    with pytest.raises(
        ValueError,
        match=r"3 of 12 images cannot be used: a.parquet row 3 \(no image \(null\)\), "
        r"a.parquet row 5 \(no image \(0 bytes\)\), a.parquet row 7 \(not a valid",
    ):
        load(root=file)
    galaxies = load(root=file, on_bad="skip")
    assert galaxies.ids.tolist() == [f"g{n}" for n in (0, 1, 2, 4, 6, 8, 9, 10, 11)]
    assert "left out: 3 of 12 images" in galaxies.notes[0]
    assert_pixels(galaxies)


def test_a_damaged_row_group_leaves_the_others(tmp_path, load):
    columns = {"image": [png(n) for n in numbers(30)], "id": [f"g{n}" for n in numbers(30)]}
    columns["label"] = ["a", "b"] * 15
    file = write(tmp_path / "a.parquet", columns, row_group_size=10)
    column = pq.ParquetFile(file).metadata.row_group(1).column(0)
    content = bytearray(file.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + 40] = bytes(40)
    file.write_bytes(content)
    galaxies = load(root=file, on_bad="skip")
    assert galaxies.ids.tolist() == [f"g{n}" for n in (*range(10), *range(20, 30))]
    assert "10 of 30 images" in galaxies.notes[0] and "row group 1" in galaxies.notes[0]
    assert_pixels(galaxies)


def test_splits_are_those_of_the_file_names(tmp_path):
    shards = {"train_00000__00001": numbers(4), "validation_00000__00001": numbers(4, 4)}
    root = hugging_face(tmp_path / "hf", **shards, test_00000__00001=numbers(4, 8))
    found = parquet.parquet(root)
    expected = {"train": range(4), "val": range(4, 8), "test": range(8, 12)}
    assert found.split == {f"g{n}": name for name, rows in expected.items() for n in rows}
    only = parquet.parquet(root / "data" / "train-00000-of-00001.parquet")
    assert only.split == {}  # splits are drawn


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train-00000-of-00002.parquet", "train"),
        ("data/validation-0.parquet", "val"),
        ("default/test/0000.parquet", "test"),
        ("gz2_train_catalog.parquet", "train"),
        ("latest.parquet", None),
        ("strain_rates.parquet", None),
        ("dev.parquet", "val"),
    ],
)
def test_splits_of_file_names(path, split):
    assert parquet._split(Path("root") / path, Path("root")) == split


def test_images_to_predict_stay_in_the_order_of_the_file(tmp_path):
    rows = [3, 1, 2]
    columns = {"image": structs(rows), "id": [f"g{n}" for n in rows]}
    file = write(tmp_path / "in" / "a.parquet", columns)
    for path in (file, file.parent):
        found = images.find([path], {"image_size": 8})
        assert found.ids == ["g3", "g1", "g2"]
        for n, read in zip(rows, found.read, strict=True):
            assert np.array_equal(read()[0], pixels(n).transpose(2, 0, 1))


def test_a_second_source_without_labels(tmp_path, load):
    columns = {"image": structs(numbers(10)), "id": [f"g{n}" for n in numbers(10)]}
    file = write(tmp_path / "a.parquet", columns | {"label": ["a", "b"] * 5})
    extra = write(
        tmp_path / "b.parquet", {"image": structs(numbers(4, 8)), "id": ["g8", "g9", "g10", "g11"]}
    )
    galaxies = load(root=file, unlabelled_root=extra)
    assert galaxies.ids.tolist() == [f"g{n}" for n in range(12)]
    assert galaxies.labels.tolist()[10:] == [-1, -1]
    assert_pixels(galaxies)


# ---- rows


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_rows_in_any_order(tmp_path_factory, data):
    """Rows come out right in any order, whatever the row groups."""
    count = data.draw(st.integers(1, 200))
    folder = tmp_path_factory.mktemp("rows")
    values = [f"{n}".encode() for n in range(count)]
    size = data.draw(st.integers(1, 90))
    file = write(folder / "a.parquet", {"image": values}, row_group_size=size)
    (part,) = inspect.unwrap(parquet._parts)(file)
    rows = parquet.Rows(part, "image")
    order = data.draw(st.lists(st.integers(0, count - 1), max_size=40))
    assert [rows[n] for n in [*range(count), *order]] == [*values, *[values[n] for n in order]]


def test_threads_share_rows(tmp_path):
    values = [f"{n}".encode() for n in range(1000)]
    file = write(tmp_path / "a.parquet", {"image": values}, row_group_size=90)
    (part,) = parquet._parts(file)
    rows = parquet.Rows(part, "image")
    found = {}

    def some(start):
        for n in range(start, 1000, 4):
            found[n] = rows[n]

    threads = [threading.Thread(target=some, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[n] for n in range(1000)] == values


def test_memory_is_bounded_in_a_large_row_group(tmp_path):
    values = [np.random.default_rng(n).bytes(20_000) for n in range(1500)]  # 30 MB
    file = write(
        tmp_path / "a.parquet", {"image": values}, row_group_size=1500, write_batch_size=16
    )
    del values
    (part,) = parquet._parts(file)
    assert part.content.metadata.num_row_groups == 1
    rows, before, most = parquet.Rows(part, "image"), pa.total_allocated_bytes(), 0
    for n in range(1500):
        assert len(rows[n]) == 20_000
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 64 * 20_000 * (rows.blocks.maxlen + 3)
    assert most < 25e6 or rows.blocks.maxlen > 12


# ---- what is refused


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": [1, 2, 3]}, "column 'image' is int64, but expected encoded images"),
        ({"image": [[1], [2], [3]]}, "column 'image' is list<"),
        ({"a": [b"x"], "b": [b"y"]}, "several columns hold bytes: a, b; name one `image`"),
        ({"ra": [1.0]}, "expected a column `image` .* or file_loc, .*; it has ra"),
        ({"image": [b"x", b"x"], "id": ["g1", "g1"]}, r"duplicate id 'g1' \(a.parquet row 0, a"),
        ({"image": [b"x", b"x"], "id": ["g1", None]}, "rows without id: 1"),
        ({"image": [b"x"], "id": [5.877e17]}, "ids in 'id' are double, which loses digits"),
        ({"image": pa.array([], pa.binary())}, "no rows"),
        ({"image": [b"x"], "label": ["a"], "more": 1}, None),
    ],
    ids=["numbers", "lists", "two", "none", "twice", "null id", "float id", "empty", "sound"],
)
def test_refused_tables(tmp_path, columns, message):
    if message is None:
        assert parquet.parquet(write(tmp_path / "a.parquet", {"image": [b"x"]})).ids == ["a-000000"]
        return
    file = write(tmp_path / "a.parquet", columns)
    with pytest.raises(ValueError, match=message):
        parquet.parquet(file)


def test_refused_files(tmp_path):
    with pytest.raises(ValueError, match="no Parquet files found"):
        parquet.parquet(tmp_path)
    file = tmp_path / "train.parquet"
    file.write_text("<html>not found</html>")
    with pytest.raises(ValueError, match=r"train.parquet is not a valid Parquet file: "):
        parquet.parquet(tmp_path)
    hugging_face(tmp_path / "two", train_0=numbers(3))
    (tmp_path / "two" / "data").rename(tmp_path / "two" / "tiny")
    hugging_face(tmp_path / "two", train_0=numbers(3, 3))
    with pytest.raises(ValueError, match=r"several sets of files: two/data, two/tiny; choose one"):
        parquet.parquet(tmp_path / "two")
    root = hugging_face(tmp_path / "odd", train_0=numbers(3), extra=numbers(3, 3))
    with pytest.raises(ValueError, match=r"named after a split, but not extra.parquet"):
        parquet.parquet(root)
    root = hugging_face(tmp_path / "columns", train_0=numbers(3))
    write(root / "data" / "test.parquet", {"image": structs(numbers(2)), "id": ["a", "b"]})
    with pytest.raises(ValueError, match=r"test.parquet: no column label. It has: image, id"):
        parquet.parquet(root)


def test_without_pyarrow(tmp_path, monkeypatch):
    file = write(tmp_path / "a.parquet", {"image": [b"x"]})
    ours = builtins.__import__

    def without(name, *rest):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return ours(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"need pyarrow: pip install 'galaxymorph\[parquet\]'"):
        parquet.parquet(file)


@pytest.mark.parametrize("value", [7, -2])
def test_a_label_without_a_name_is_refused(tmp_path, value):
    columns = {"image": structs(numbers(3)), "label": [0, 1, value]}
    with pytest.raises(ValueError, match=f"label {value} stands for no class; 2 classes are named"):
        parquet.parquet(write(tmp_path / "a.parquet", columns, names=["a", "b"]))


def test_missing_labels(tmp_path):
    columns = {"image": structs(numbers(4)), "label": [0, -1, None, 1]}
    found = parquet.parquet(write(tmp_path / "a.parquet", columns, names=["a", "b"]))
    assert found.labels == {"a-000000": 0, "a-000003": 1}
    columns["label"] = ["x ", "y", "--", "x"]
    found = parquet.parquet(write(tmp_path / "a.parquet", columns))
    expected = {"a-000000": 0, "a-000001": 1, "a-000003": 0}
    assert (found.labels, found.classes) == (expected, ("x", "y"))
    del columns["label"]
    found = parquet.parquet(write(tmp_path / "a.parquet", columns))
    assert found.labels == {}
    assert found.notes == ["no labels in a.parquet, which has the columns image"]


def test_other_columns_of_labels(tmp_path):
    columns = {"image": structs(numbers(2)), "summary": ["smooth_round", "barred_spiral"]}
    file = write(tmp_path / "a.parquet", columns)
    found = parquet.parquet(file, label_column="summary", class_names=["barred", "round"])
    assert (found.labels, found.classes) == ({"a-000000": 1, "a-000001": 0}, ("barred", "round"))
    with pytest.raises(ValueError, match=r"unknown column 'sumary'; did you mean 'summary'"):
        parquet.parquet(file, label_column="sumary")


# ---- catalogues of galaxy-datasets

# The vote columns of its GZ2 catalogue, and those of GZ DECaLS (dr5), as published.
GZ2 = {
    "smooth-or-featured-gz2": ("smooth", "featured-or-disk", "artifact"),
    "disk-edge-on-gz2": ("yes", "no"),
    "has-spiral-arms-gz2": ("yes", "no"),
    "bar-gz2": ("yes", "no"),
    "bulge-size-gz2": ("dominant", "obvious", "just-noticeable", "no"),
    "something-odd-gz2": ("yes", "no"),
    "how-rounded-gz2": ("round", "in-between", "cigar"),
    "bulge-shape-gz2": ("round", "boxy", "no-bulge"),
    "spiral-winding-gz2": ("tight", "medium", "loose"),
    "spiral-arm-count-gz2": ("1", "2", "3", "4", "more-than-4", "cant-tell"),
}
DR5 = {
    "smooth-or-featured-dr5": ("smooth", "featured-or-disk", "artifact"),
    "disk-edge-on-dr5": ("yes", "no"),
    "has-spiral-arms-dr5": ("yes", "no"),
    "bar-dr5": ("strong", "weak", "no"),
    "bulge-size-dr5": ("dominant", "large", "moderate", "small", "none"),
    "how-rounded-dr5": ("round", "in-between", "cigar-shaped"),
    "edge-on-bulge-dr5": ("boxy", "none", "rounded"),
    "spiral-winding-dr5": ("tight", "medium", "loose"),
    "spiral-arm-count-dr5": ("1", "2", "3", "4", "more-than-4", "cant-tell"),
    "merging-dr5": ("none", "minor-disturbance", "major-disturbance", "merger"),
}


def votes(schema: dict, *galaxies: dict, fractions: bool = False) -> dict[str, list]:
    """Columns of votes from `{question: counts in the order of the schema}` for each galaxy."""
    columns = {}
    for question, answers in schema.items():
        counts = [galaxy.get(question.rpartition("-")[0], ()) for galaxy in galaxies]
        counts = [each if len(each) == len(answers) else (0,) * len(answers) for each in counts]
        for place, answer in enumerate(answers):
            number = [each[place] for each in counts]
            share = [n / sum(c) if sum(c) else None for n, c in zip(number, counts, strict=True)]
            if not fractions:
                columns[f"{question}_{answer}"] = number
            columns[f"{question}_{answer}_fraction"] = share
        columns[f"{question}_total-votes"] = [sum(each) for each in counts]
    return columns


ROUND = {"smooth-or-featured": (36, 4, 0), "how-rounded": (30, 6, 0), "something-odd": (4, 36)}
SPIRAL = {
    "smooth-or-featured": (4, 36, 0),
    "disk-edge-on": (0, 36),
    "has-spiral-arms": (27, 9),
    "bar": (9, 27),
    "bulge-size": (0, 9, 27, 0),
    "spiral-winding": (0, 9, 18),
    "how-rounded": (0, 4, 0),
}
BETWEEN = {"smooth-or-featured": (36, 4, 0), "how-rounded": (6, 30, 0)}
EDGE_ON = {"smooth-or-featured": (0, 40, 0), "disk-edge-on": (36, 4)}
UNSEEN: dict = {}


def catalogue(folder: Path, columns: dict, *, subfolder: str = "images") -> Path:
    """Write a catalogue with `file_loc`, and its images."""
    count = len(next(iter(columns.values())))
    names = {"id_str": [f"g{n}" for n in range(count)]}
    names["file_loc"] = [f"{subfolder}/g{n}.png" for n in range(count)]
    (folder / subfolder).mkdir(parents=True, exist_ok=True)
    for n in range(count):
        (folder / subfolder / f"g{n}.png").write_bytes(png(n))
    return write(folder / "gz_train_catalog.parquet", names | columns)


@pytest.mark.parametrize("fractions", [False, True])
def test_votes_of_galaxy_zoo_2(tmp_path, load, fractions):
    columns = votes(GZ2, *[ROUND, SPIRAL, UNSEEN, BETWEEN, EDGE_ON] * 3, fractions=fractions)
    galaxies = load(root=catalogue(tmp_path, columns))
    assert galaxies.classes == ("round", "in-between", "edge-on", "spiral")
    assert galaxies.labels.tolist() == [0, 3, -1, 1, 2] * 3
    assert galaxies.volunteers.nan_to_num(-1).tolist() == [40, 40, -1, 40, 40] * 3
    at = galaxy_zoo_tree.column
    spiral = galaxies.votes[1]
    expected = {
        ("smooth", "features"): 0.9,
        ("edge_on", "no"): 0.9,
        ("spiral", "yes"): 0.675,  # 27 of 36 of the 0.9 who were asked
        ("bar", "no"): 0.675,
        ("bulge", "noticeable"): 0.675,
        ("bulge", "obvious"): 0.225,
        ("winding", "loose"): 0.45,  # 18 of 27 of the 0.675
        ("winding", "medium"): 0.225,
        ("roundness", "in-between"): 0.1,
        ("arms", "2"): 0,  # nobody was asked
    }
    for answer, value in expected.items():
        assert spiral[at(*answer)].item() == pytest.approx(value, abs=1e-6), answer
    assert galaxies.votes[0, at("odd", "yes")].item() == pytest.approx(0.1)
    assert galaxies.votes[:, galaxy_zoo_tree.SLICES["odd_feature"]].isnan().all()
    assert galaxies.votes[2].isnan().all()
    assert "no votes for the questions odd_feature" in galaxies.notes[0]
    assert_pixels(galaxies)


def test_vote_fractions_as_targets_are_refused_without_all_questions(tmp_path, load):
    file = catalogue(tmp_path, votes(GZ2, *[ROUND, SPIRAL] * 5))
    with pytest.raises(
        ValueError, match=r"all 37 vote fractions: no votes for .* odd_feature.*Rem"
    ):
        load(root=file, target="votes")


def test_other_campaigns_have_classes_where_the_questions_are_the_same(tmp_path):
    both = votes(GZ2, ROUND, UNSEEN, ROUND) | votes(
        DR5, UNSEEN, SPIRAL, {"smooth-or-featured": (1, 4, 0)}
    )
    found = parquet.parquet(catalogue(tmp_path, both))
    assert [found.labels[f"g{n}"] for n in range(3)] == [0, 3, 0]
    assert found.volunteers.tolist() == [40, 40, 40]  # the campaign with most volunteers
    bar, winding = (galaxy_zoo_tree.SLICES[name] for name in ("bar", "winding"))
    assert np.isnan(found.votes.to_numpy()[1, bar]).all()  # strong, weak, no: another question
    assert found.votes.to_numpy()[1, winding] == pytest.approx([0, 0.225, 0.45])


def test_another_tree_is_refused_but_its_questions_can_be_chosen(tmp_path):
    hubble = {
        "smooth-or-featured-hubble": ("smooth", "features", "artifact"),
        "clumpy-appearance-hubble": ("yes", "no"),
        "disk-edge-on-hubble": ("yes", "no"),
    }
    clumpy = {"smooth-or-featured": (4, 36, 0), "clumpy-appearance": (30, 6)}
    smooth, unclear = {"smooth-or-featured": (36, 4, 0)}, {"smooth-or-featured": (20, 20, 0)}
    columns = votes(hubble, clumpy, smooth, unclear, {"smooth-or-featured": (4, 0, 0)})
    file = catalogue(tmp_path, columns)
    with pytest.raises(
        ValueError,
        match=r"clumpy-appearance-hubble is asked before disk-edge-on. Choose a question .*"
        r"label_column \(one of smooth-or-featured-hubble, clumpy",
    ):
        parquet.parquet(file)
    found = parquet.parquet(file, label_column="smooth-or-featured-hubble")
    assert found.classes == ("features", "smooth")
    assert found.labels == {"g0": 0, "g1": 1}  # no majority, and four volunteers only
    columns = votes(GZ2, ROUND, SPIRAL)
    del columns["how-rounded-gz2_cigar"], columns["how-rounded-gz2_cigar_fraction"]
    with pytest.raises(ValueError, match="no question smooth-or-featured-gz2|how-rounded-gz2"):
        parquet.parquet(catalogue(tmp_path, columns))
    found = parquet.parquet(
        catalogue(tmp_path, {"ring_yes": [9, 1], "ring_no": [1, 9]}), label_column="ring"
    )
    assert (found.classes, found.labels) == (("no", "yes"), {"g0": 1, "g1": 0})


@pytest.mark.parametrize("value", [-1, float("inf")])
def test_impossible_votes_are_refused(tmp_path, value):
    columns = votes(GZ2, ROUND, SPIRAL)
    columns["bar-gz2_yes"] = [0.0, float(value)]
    with pytest.raises(
        ValueError, match=r"not valid votes in bar-gz2_yes, bar-gz2_no: galaxies g1"
    ):
        parquet.parquet(catalogue(tmp_path, columns))


def test_fractions_that_do_not_sum_to_one_are_refused(tmp_path):
    columns = votes(GZ2, ROUND, SPIRAL, fractions=True)
    columns["bar-gz2_yes_fraction"] = [0.0, 0.9]
    with pytest.raises(
        ValueError, match=r"not valid votes in bar-gz2_yes_fraction, .*: galaxies g1"
    ):
        parquet.parquet(catalogue(tmp_path, columns))


counts = st.lists(st.integers(0, 9), min_size=37, max_size=37)


@settings(max_examples=20, deadline=None)
@given(counts)
def test_counts_become_votes_that_obey_the_tree(numbers):
    import pandas as pd

    values = iter(numbers)
    row = {f"{q}_{a}": [next(values)] for q, answers in GZ2.items() for a in answers}
    found, volunteers, _ = inspect.unwrap(campaigns.read)(pd.DataFrame(row), Path("x"))
    total = sum(row[f"smooth-or-featured-gz2_{a}"][0] for a in GZ2["smooth-or-featured-gz2"])
    assert np.nan_to_num(volunteers[0]) == total
    given = found.to_numpy()
    if not total:
        assert np.isnan(given).all()
        return
    for question, where in galaxy_zoo_tree.SLICES.items():
        parent = galaxy_zoo_tree.PARENTS[question]
        asked = 1 if parent is None else given[0, parent]
        if question != "odd_feature":
            assert given[0, where].sum() == pytest.approx(asked) or given[0, where].sum() == 0


def test_options_without_effect_are_refused(tmp_path):
    file = catalogue(tmp_path, votes(GZ2, ROUND, SPIRAL))
    with pytest.raises(ValueError, match="class_names: the classes follow from votes"):
        parquet.parquet(file, class_names=["a", "b"])
    file = write(tmp_path / "a.parquet", {"image": structs(numbers(2))})
    with pytest.raises(ValueError, match="images: the pixels are in column 'image'"):
        parquet.parquet(file, images=tmp_path)


# ---- files of a catalogue


def test_folders_of_another_machine_are_replaced(tmp_path):
    columns = votes(GZ2, ROUND, SPIRAL)
    file = catalogue(tmp_path / "a", columns, subfolder="587722")
    moved = {"file_loc": [f"/raid/scratch/gz2/587722/g{n}.png" for n in range(2)]}
    table = pq.read_table(file).to_pydict() | moved
    file = write(tmp_path / "catalogue.parquet", table)
    with pytest.raises(ValueError, match=r"none of the files .* such as /raid.*images: FOLDER"):
        parquet.parquet(file)
    found = parquet.parquet(file, images=tmp_path / "a")
    assert [np.asarray(read()[0]).tolist() for read in found.read] == [
        pixels(n).tolist() for n in range(2)
    ]
    table["subfolder"], table["filename"] = ["587722"] * 2, ["g0.png", "gone.png"]
    del table["file_loc"]
    found = parquet.parquet(write(tmp_path / "b.parquet", table), images=tmp_path / "a")
    assert found.problems == [
        f"1 files named in b.parquet do not exist: {tmp_path}/a/587722/gone.png"
    ]
