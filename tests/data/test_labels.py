"""Labels, splits, votes and names mean what their author meant, or are refused with a remedy."""

import gzip
import inspect
import re
import unicodedata
import zipfile
from collections import Counter
from decimal import Decimal
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from astropy.io import fits as astropy_fits
from astropy.table import MaskedColumn, Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from galaxymorph import galaxy_zoo_tree as tree
from galaxymorph.data import galaxy_zoo, hdf5, labels, sources
from galaxymorph.data.found import Found
from galaxymorph.data.galaxies import Galaxies
from galaxymorph.data.load import load as load_galaxies
from galaxymorph.data.splits import drawn_split
from galaxymorph.text import plain_id

quick = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def load(tmp_path):
    """`data.load`, without the type check of tests, which would hide the errors that users see."""

    def unwrapped(name, **options):
        return inspect.unwrap(load_galaxies)(
            name, **{"image_size": 8, "cache": tmp_path / "cache"} | options
        )

    return unwrapped


def found(ids, names=None) -> Found:
    ids = [str(id) for id in ids]
    return Found(ids, names or [f"{id}.png" for id in ids], [], [])


def write(file: Path, text: str, encoding: str = "utf-8") -> Path:
    file.write_bytes(text.encode(encoding))
    return file


def images(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", (8, 8))
        picture.paste((100 + len(name), 90, 80), (2, 2, 6, 6))
        picture.save(root / name)
    return root


def by_id(galaxies) -> dict[str, str | None]:
    names = [*galaxies.classes, None]
    return {id: names[at] for id, at in zip(galaxies.ids, galaxies.labels, strict=True)}


def labelled(made: Found) -> dict[str, str]:
    return {id: made.classes[at] for id, at in made.labels.items()}


# --- numbers, and what is one class ---------------------------------------------------------------

numbers = st.one_of(
    st.integers(-30, 120),
    st.decimals(-9, 9, places=1, allow_nan=False),
)


@quick
@given(st.sets(numbers.map(Decimal), min_size=2, max_size=12), st.data())
def test_labels_that_are_numbers_sort_as_numbers_however_spelled(values, data):
    """Known from `sorted` of the numbers themselves."""
    forms = ("{:f}", "+{:f}", " {:f}", "{:e}", "{:f}\N{NO-BREAK SPACE}")
    texts, truth = {}, {}
    for n, value in enumerate([*values, *values]):
        form = data.draw(st.sampled_from(forms[:1] + forms[2:] if value < 0 else forms))
        texts[f"g{n}"], truth[f"g{n}"] = form.format(value), value
    names = [f"k{n}" for n in range(len(values))]
    made = labels.classified(found(texts), texts, names, Path("x.csv"))
    expected = dict(zip(sorted(values), names, strict=True))
    assert labelled(made) == {id: expected[value] for id, value in truth.items()}
    mapping = {float(value): name for value, name in expected.items()}
    assert labelled(labels.classified(found(texts), texts, mapping, Path("x"))) == labelled(made)


@quick
@given(st.lists(st.integers(0, 99), min_size=2, max_size=12, unique=True))
def test_numbers_within_names_sort_as_numbers(values):
    texts = {f"g{value}": f"type {value}" for value in values}
    made = labels.classified(found(texts), texts, None, Path("x.csv"))
    assert made.classes == tuple(f"type {value}" for value in sorted(values))


def test_class_folders_are_sorted_as_numbers(tmp_path, load):
    values = [-5, 0, 2, 10, 11]
    images(tmp_path / "mine", *(f"{value}/{value}_{n}.png" for value in values for n in range(3)))
    galaxies = load("folder", root=tmp_path / "mine", class_names=["a", "b", "c", "d", "e"])
    names = dict(zip(values, "abcde", strict=True))
    assert by_id(galaxies) == {f"{v}_{n}": names[v] for v in values for n in range(3)}
    assert "classes: -5 = a (3), 0 = b (3), 2 = c (3), 10 = d (3), 11 = e (3)" in galaxies.notes


@pytest.mark.parametrize("empty", ["", "nan", "NaN", "--", "NA", "N/A", "null", "None", "<NA>"])
def test_empty_cells_are_unlabelled_and_noted(tmp_path, empty):
    file = write(tmp_path / "l.csv", f"id,label\na,x\nb, {empty} \nc,y\nd,\n")
    made = labels.label(found("abcd"), file, None)
    assert labelled(made) == {"a": "x", "c": "y"}
    (note,) = made.notes
    assert note.startswith("2 galaxies are unlabelled") and (empty or "(empty)") in note


def test_one_class_in_two_spellings(tmp_path):
    file = write(tmp_path / "l.csv", "id,label\na,1\nb,1.0\nc,2\nd,2 \ne,01\n")
    made = labels.label(found("abcde"), file, None)
    assert made.classes == ("1", "2") and list(made.labels.values()) == [0, 0, 1, 1, 0]
    assert made.notes == ["labels that are one class: 1 and 1.0 and 01"]


def test_classes_that_look_alike_are_noted(tmp_path):
    file = write(tmp_path / "l.csv", "id,label\na,Spiral\nb,spiral\nc,early type\nd,early  type\n")
    (note,) = labels.label(found("abcd"), file, None).notes
    assert "'Spiral' and 'spiral'" in note and "'early  type' and 'early type'" in note


def test_composed_and_decomposed_accents_are_one_class(tmp_path):
    text = "id,label\na,é\nb," + unicodedata.normalize("NFD", "é") + "\nc,x\n"
    made = labels.label(found("abc"), write(tmp_path / "l.csv", text), None)
    assert made.classes == ("x", "é")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({0: "a"}, r"class_names lacks the label 1 \(2 galaxies\): name it, or write null"),
        ({0: "a", 1: "b", 2: "c"}, r"unknown label in class_names: '2'. Known: 0, 1"),
        ({0: "a", "0.0": "b", 1: "c"}, "one label twice"),
        ({0: "a", 1: "a"}, r"only one class, a \(4 galaxies\)"),
        (["a"], "must have 2 different names, for 0, 1"),
        (
            ["1", "0"],
            r"would call the label '0' '1', another label: say what .* \{0: ..., 1: ...\}",
        ),
    ],
)
def test_class_names_that_do_not_fit(tmp_path, names, message):
    file = write(tmp_path / "l.csv", "id,label\na,0\nb,1\nc,0\nd,1\n")
    with pytest.raises(ValueError, match=message):
        labels.label(found("abcd"), file, names)


def test_a_label_of_nines_is_noted_as_it_may_mean_unknown():
    for values, noted in ([-5, 0, -999], 1), ([97, 98, 99], 0), ([1, 99], 1):
        texts = {f"g{value}": str(value) for value in values}
        notes = labels.classified(found(texts), texts, None, Path("l.csv")).notes
        assert len(notes) == noted and all(f"if {values[-1]} means unknown" in n for n in notes)


def test_class_names_may_merge_and_leave_out(tmp_path):
    file = write(tmp_path / "l.csv", "id,T\na,-5\nb,0\nc,-999\nd,-3.0\n")
    names = {"-999": None, -3: "early", 0: "late", -5.0: "early"}
    made = labels.label(found("abcd"), file, names)
    assert labelled(made) == {"a": "early", "b": "late", "d": "early"}
    assert "classes: -5 and -3.0 = early (2), 0 = late (1)" in made.notes
    assert "unlabelled by class_names: -999" in made.notes


# --- tables of any format -------------------------------------------------------------------------

TRUTH = {"g1": "E", "g2": "S0", "g10": "Sa"}


def csv(separator: str, end: str = "\n") -> str:
    rows = [["id", "ra", "label"], *([id, "1.5", name] for id, name in TRUTH.items())]
    return end.join(separator.join(row) for row in rows) + end


def as_table() -> Table:
    return Table({"id": list(TRUTH), "ra": [1.0, 2.0, 3.0], "label": list(TRUTH.values())})


def zipped(file: Path) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("l.csv", csv(","))
    return file


WRITERS = {
    "comma": lambda f: write(f / "l.csv", csv(",")),
    "tab": lambda f: write(f / "l.tsv", csv("\t")),
    "semicolon": lambda f: write(f / "l.csv", csv(";").replace("1.5", "1,5")),
    "blanks": lambda f: write(f / "l.txt", csv("   ")),
    "bar": lambda f: write(f / "l.dat", csv("|")),
    "BOM and CRLF": lambda f: write(f / "l.csv", csv(",", "\r\n"), "utf-8-sig"),
    "numpy": lambda f: write(f / "l.txt", "# " + csv(" ")),
    "Excel's hint": lambda f: write(f / "l.csv", "sep=;\r\n" + csv(";", "\r\n")),
    "gzip": lambda f: (
        [write(f / "l.csv.gz", ""), (f / "l.csv.gz").write_bytes(gzip.compress(csv(",").encode()))]
        and f / "l.csv.gz"
    ),
    "zip": lambda f: zipped(f / "l.zip"),
    "FITS": lambda f: as_table().write(f / "l.fits") or f / "l.fits",
    "VOTable": lambda f: as_table().write(f / "l.vot", format="votable") or f / "l.vot",
    "ECSV": lambda f: as_table().write(f / "l.ecsv") or f / "l.ecsv",
    "ECSV as CSV": lambda f: as_table().write(f / "l.csv", format="ascii.ecsv") or f / "l.csv",
    "parquet": lambda f: as_table().to_pandas().to_parquet(f / "l.parquet") or f / "l.parquet",
}


@pytest.mark.parametrize("kind", WRITERS)
def test_labels_from_any_format(tmp_path, kind):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    made = labels.label(found(TRUTH), WRITERS[kind](tmp_path), None)
    assert labelled(made) == TRUTH and made.problems == [] and made.notes == []


def test_missing_values_of_binary_tables(tmp_path):
    number = MaskedColumn([-5, 0, 2, 5], mask=[False, True, False, False])
    flag = MaskedColumn(["x", "y", "x", "--"], mask=[False, False, True, False])
    table = Table({"objid": np.array([587722981742084144 + n for n in range(4)]), "T": number})
    table["flag"] = flag
    ids = [str(id) for id in table["objid"]]
    for name in ("l.fits", "l.ecsv"):
        table.write(tmp_path / name)
        by_number = labels.label(found(ids), tmp_path / name, None, label_column="T")
        assert labelled(by_number) == {ids[0]: "-5", ids[2]: "2", ids[3]: "5"}
        by_flag = labels.label(found(ids), tmp_path / name, None, label_column="flag")
        assert labelled(by_flag) == {ids[0]: "x", ids[1]: "y"}


def test_integers_with_gaps_stay_integers_in_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    ids = [587722981742084144 + n for n in range(3)]
    table = pd.DataFrame({"objid": ids, "label": pd.array([3, None, 4], dtype="Int64")})
    table.to_parquet(tmp_path / "l.parquet")
    made = labels.label(found(ids), tmp_path / "l.parquet", None)
    assert labelled(made) == {str(ids[0]): "3", str(ids[2]): "4"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,label\na,x,3\nb,y\n", "the header has 2 cells, but line 2 has 3"),
        (b"id,label\na\nb,y\n", "the header has 2 cells, but line 2 has 1"),
        (b"id,label,label\na,x,y\nb,y,y\n", "duplicate columns label; keep one"),
        (b"id,label\n", "no rows; expected a header"),
        (b"id,label\na,x\na,y\n", r"duplicate id 'a' \(rows 2, 3\)\. Keep one row"),
        (b"id,label\na,x\n,y\n", r"rows without id \(3\)"),
        (b"id;label\na;1,5\nb;2,5\n", "decimal comma in label '1,5'; write a point"),
        (b"a,x\nb,y\n", "no column label .* among 'a', 'x'. Add a header, or choose with label_"),
        (b"id:label\na:x\nb:y\n", "are columns separated by commas, tabs or semicolons"),
        (b"id,ra\na,1\nb,2\n", "no column label .* among 'id', 'ra'"),
        (b"ra,label\n1,x\n2,y\n", "no column id .* among 'ra', 'label'. Add it, or choose"),
        (b"id,class,morphology\na,x,y\nb,y,x\n", "several .* 'class', 'morphology': choose with"),
        (b"id,label\na,x\nb,x\n", r"l.csv: only one class, x \(2 galaxies\)"),
        (b"id,label\na,nan\nb,--\n", "no galaxy has a label in column 'label'"),
        (b"id,label\nq,x\nr,y\n", "no ids match in column 'id': give the table of these images"),
        (b"PK\x03\x04\xff\xfe", "not a table of a known format, .*from a spreadsheet: export it"),
        ("id,label\na,x\nb,y\n".encode("utf-16"), "not a table of a known format"),
        (b"id,label,split\na,x,train\nb,y,tset\n", "unknown split 'tset'; did you mean 'test'"),
        (b"id,label,split\na,x,train\nb,y,\n", r"unknown split ''.* \(galaxy b\)"),
        (b"GalaxyID,Class1.1,Class1.2,Class1.3\na,1,0,0\n", "vote fractions.* name: galaxy_zoo"),
    ],
)
def test_tables_that_are_refused(tmp_path, content, message):
    (tmp_path / "l.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        labels.label(found("ab"), tmp_path / "l.csv", None)


def test_files_that_are_no_tables(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="folder is a folder; expected a table"):
        labels.label(found("ab"), tmp_path / "folder", None)
    for name in ("l.fits", "l.vot", "l.parquet"):
        with pytest.raises(ValueError, match=f"{name}: not a valid .*(table|parquet)"):
            labels.label(found("ab"), write(tmp_path / name, "id,label\na,b\n"), None)
    two = [astropy_fits.table_to_hdu(as_table()) for _ in range(2)]
    astropy_fits.HDUList([astropy_fits.PrimaryHDU(), *two]).writeto(tmp_path / "two.fits")
    with pytest.raises(ValueError, match="two.fits: not a valid table .*multiple tables"):
        labels.label(found(TRUTH), tmp_path / "two.fits", None)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"pip install 'galaxymorph\[parquet\]'"):
        labels.label(found("ab"), tmp_path / "l.parquet", None)
    with pytest.raises(ValueError, match="class_names given, but no table of labels"):
        labels.label(found("ab"), None, ["a", "b"])


ENDINGS = (".csv", ".csv.gz", ".zip", ".fits", ".vot", ".ecsv", ".parquet")


@quick
@given(
    st.binary(max_size=60) | st.text(max_size=60).map(str.encode),
    st.sampled_from([b"", b"id,label\na,x\nb,y\n", b"\x1f\x8b", b"PK\x03\x04", b"SIMPLE", b"PAR1"]),
    st.sampled_from(ENDINGS),
)
def test_any_content_is_read_or_refused(tmp_path, content, head, ending):
    file = tmp_path / f"l{ending}"
    file.write_bytes(head + content)
    try:
        made = labels.label(found("ab"), file, None)
    except ValueError as error:
        assert str(error).startswith((str(file), "1 ", "2 "))
    else:
        assert set(made.labels) <= {"a", "b"}


# --- which column, which galaxy -------------------------------------------------------------------


def test_columns_by_usual_names_or_by_option(tmp_path):
    file = write(tmp_path / "l.csv", "Obj_ID,ra,Morphology,z\na,1,x,0\nb,2,y,0\nc,3,x,1\n")
    made = labels.label(found("abc"), file, None)
    assert labelled(made) == {"a": "x", "b": "y", "c": "x"}
    assert made.notes == ["columns of l.csv: 'Obj_ID' is the id, 'Morphology' the label"]
    other = labels.label(found("123"), file, None, id_column="ra", label_column="z")
    assert labelled(other) == {"1": "0", "2": "0", "3": "1"}
    with pytest.raises(
        ValueError, match=r"l.csv: unknown column 'Morph'; did you mean 'Morphology'"
    ):
        labels.label(found("abc"), file, None, label_column="Morph")


def test_of_several_ids_the_one_of_the_galaxies_is_used(tmp_path):
    text = "id,objid,filename,label\n1,a,sub/1.jpg,x\n2,b,sub/2.jpg,y\n3,c,sub/3.jpg,y\n"
    file = write(tmp_path / "l.csv", text)
    assert labelled(labels.label(found("abc"), file, None)) == {"a": "x", "b": "y", "c": "y"}
    assert labelled(labels.label(found("123"), file, None)) == {"1": "x", "2": "y", "3": "y"}
    file = write(tmp_path / "l.csv", "id,objid,label\n1,2,x\n2,3,y\n3,1,y\n")
    with pytest.raises(ValueError, match="'id' and 'objid' have ids of different galaxies"):
        labels.label(found("123"), file, None)
    made = labels.label(found("123"), file, None, id_column="objid")
    assert labelled(made) == {"2": "x", "3": "y", "1": "y"}


@quick
@given(
    st.lists(st.integers(1, 10**18), min_size=2, max_size=9, unique=True),
    st.sampled_from(["{}.0", "{}.jpg", "sub/{}.fits", "000{}", "C:\\data\\{}.PNG", "{} "]),
)
def test_ids_spelled_differently_are_matched_with_a_note(tmp_path, ids, form):
    rows = [f"{form.format(id)},{n % 2}" for n, id in enumerate(ids)]
    file = write(tmp_path / "l.csv", "\n".join(["id,label", *rows]))
    made = labels.label(found(ids), file, None)
    assert labelled(made) == {str(id): str(n % 2) for n, id in enumerate(ids)}
    assert made.problems == [] and len(made.notes) == (form != "{} ")


@quick
@given(st.integers(1, 10**18 - 1), st.integers(1, 17))
def test_numbers_with_an_exponent_are_one_id_only_if_no_digit_is_lost(id, digits):
    """Known from the value of the text."""
    text = f"{Decimal(id):.{digits}E}"
    lossless = digits >= len(str(id)) - 1
    assert (plain_id(text) == str(id)) == lossless


def test_ids_that_a_spreadsheet_has_shortened_are_refused(tmp_path):
    file = write(tmp_path / "l.csv", "id,label\n5.87723E+17,x\n17,y\n")
    with pytest.raises(ValueError, match=r"5.87723E\+17 are numbers that have lost their last dig"):
        labels.label(found([587722981742084144, 17]), file, None)


def test_ambiguous_spellings_are_not_matched(tmp_path):
    file = write(tmp_path / "l.csv", "id,label\n7,x\n007,y\n8,x\n")
    assert labelled(labels.label(found(["7", "007", "8"]), file, None)) == {
        "7": "x",
        "007": "y",
        "8": "x",
    }
    file = write(tmp_path / "l.csv", "id,label\n7,x\n007,y\n8,y\n")
    made = labels.label(found(["7", "8"]), file, None)
    assert labelled(made) == {"7": "x", "8": "y"}
    assert made.problems == ["1 rows of l.csv without an image: 007"]


def test_names_in_two_unicode_forms_are_one_id(tmp_path, load):
    composed, decomposed = (unicodedata.normalize(form, "é1") for form in ("NFC", "NFD"))
    root = images(tmp_path / "mine", *(f"{n}.png" for n in "abcde"), f"{decomposed}.png")
    rows = [f"{id},{n % 2}" for n, id in enumerate([*"abcde", composed])]
    file = write(tmp_path / "l.csv", "\n".join(["id,label", *rows]))
    galaxies = load("folder", root=root, labels=file)
    assert by_id(galaxies)[composed] == "1" and galaxies.notes == []
    images(root, f"{composed}.png")
    with pytest.raises(ValueError, match="duplicate id 'é1'"):
        load("folder", root=root, labels=file)


def test_ids_that_differ_in_case_only_are_noted(tmp_path):
    file = write(tmp_path / "l.csv", "id,label\nNGC1,x\nngc1,y\n")
    (note,) = labels.label(found(["NGC1", "ngc1"]), file, None).notes
    assert note == "ids that differ only in spelling: 'NGC1' and 'ngc1'"


def test_zips_with_backslashes(tmp_path, load):
    root = images(tmp_path / "mine", *(f"{n}.png" for n in range(12)))
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for n in range(12):
            archive.write(root / f"{n}.png", f"sky\\{'ab'[n % 2]}\\{n:02d}.png")
    with zipfile.ZipFile(tmp_path / "z.zip") as archive:
        assert "sky\\a\\00.png" in archive.namelist()
    assert sources.images(tmp_path / "z.zip").ids == [f"{n:02d}" for n in range(12)]
    galaxies = load("folder", root=tmp_path / "z.zip")
    assert by_id(galaxies) == {f"{n:02d}": "ab"[n % 2] for n in range(12)}


# --- one column in order --------------------------------------------------------------------------


def in_order(count: int, form: str) -> list[str]:
    """Ids of files as they are found, sorted as text."""
    return sorted(form.format(n) for n in range(1, count + 1))


@quick
@given(st.integers(2, 30), st.sampled_from(["{}", "{:04d}", "g{}", "NGC_{:03d}", "{}_r"]))
def test_a_single_column_is_matched_only_in_an_order_beyond_doubt(tmp_path, count, form):
    """Known by counting: names are in one order if they are padded, or have one digit."""
    ids, cells = in_order(count, form), ["xy"[n % 2] for n in range(count)]
    file = write(tmp_path / "l.csv", "\n".join(["label", *cells]))
    if "0" in form or count < 10:
        made = labels.label(found(ids), file, None)
        assert labelled(made) == dict(zip(ids, cells, strict=True))
        (note,) = made.notes
        assert f"{ids[0]} = {cells[0]}, ..., {ids[-1]} = {cells[-1]}" in note
    else:
        with pytest.raises(ValueError, match="order of the files is in doubt.* columns id,label"):
            labels.label(found(ids), file, None)


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (["B", "a"], None),  # capitals come first in one order only
        (["a", "b"], ["sub2/a.png", "sub1/b.png"]),  # by folder it is the other
        (["a-2", "a1"], None),  # some sort without punctuation
    ],
)
def test_orders_in_doubt(tmp_path, ids, names):
    file = write(tmp_path / "l.csv", "label\nx\ny\n")
    with pytest.raises(ValueError, match="order of the files is in doubt: number 1 is"):
        labels.label(found(ids, names), file, None)


def test_a_file_without_header_is_not_a_column_of_labels(tmp_path):
    """Three labels for two galaxies: the first is not a header."""
    file = write(tmp_path / "l.csv", "round\nedge\nround\n")
    with pytest.raises(ValueError, match="no column label .* among 'round'.* Add a header"):
        labels.label(found("ab"), file, None)


# --- which folder is the class --------------------------------------------------------------------


def test_a_split_above_the_classes_is_kept(tmp_path, load):
    truth = {}
    for part, name in (("training", "train"), ("valid", "val"), ("Test_set", "test")):
        for n in range(3):
            for shape in ("disc", "ball"):
                id = f"{shape}_{name}_{n}"
                images(tmp_path / "mine", f"{part}/{shape}/{id}.png")
                truth[id] = shape, name
    galaxies = load("folder", root=tmp_path / "mine", test=0.5, seed=3)
    splits = zip(by_id(galaxies).values(), galaxies.split, strict=True)
    assert dict(zip(galaxies.ids, splits, strict=True)) == truth
    assert any(n.startswith("split as given: 6 train, 6 val, 6 test") for n in galaxies.notes)
    few = load("folder", root=tmp_path / "mine", n_labels=2)
    assert Counter(few.split) == {"train": 2, "val": 6, "test": 6, "unlabelled": 4}


@quick
@given(st.data(), st.floats(0.1, 0.4), st.integers(0, 5))
def test_a_part_that_is_missing_is_drawn_from_train(tmp_path, data, fraction, seed):
    counts = {c: data.draw(st.integers(3, 12)) for c in "ab"}
    splits = {f"{c}{n}": "test" if n == 0 else "train" for c in "ab" for n in range(counts[c])}
    file = write(
        tmp_path / "l.csv",
        "\n".join(["id,label,split", *(f"{id},{id[0]},{part}" for id, part in splits.items())]),
    )
    made = labels.label(found(splits), file, None)
    galaxies = as_galaxies(made)
    options = {"test": 0.3, "val": fraction, "seed": seed, "remedy": ""}
    labels_of = galaxies.labels.numpy()
    drawn_split(galaxies, labels_of, **options)
    for id, part in zip(galaxies.ids, galaxies.split, strict=True):
        assert part == "test" if splits[id] == "test" else part in ("train", "val")
    for at, c in enumerate("ab"):
        parts = Counter(galaxies.split[labels_of == at])
        assert parts["val"] == min(max(1, round(fraction * (counts[c] - 1))), counts[c] - 2)


def as_galaxies(made: Found):
    return Galaxies(
        ids=np.array(made.ids),
        images=torch.zeros(len(made.ids), 3, 1, 1, dtype=torch.uint8),
        labels=torch.tensor([made.labels.get(id, -1) for id in made.ids]),
        classes=made.classes,
        votes=None,
        split=np.array([made.split.get(id, "unlabelled") for id in made.ids], "U10"),
    )


def test_a_given_split_that_lacks_a_class_is_refused(tmp_path, load):
    root = images(tmp_path / "mine", *(f"train/{c}/{c}{n}.png" for c in "ab" for n in range(5)))
    images(root, "test/a/x.png")
    with pytest.raises(ValueError, match="the given split has no test galaxies of class b"):
        load("folder", root=root)


def test_splits_in_a_table_and_in_folders(tmp_path, load):
    root = images(tmp_path / "mine", *(f"train/{n}.png" for n in range(8)))
    images(root, *(f"test/{n}.png" for n in range(8, 12)))
    text = "id,label\n" + "\n".join(f"{n},{'xy'[n % 2]}" for n in range(12))
    galaxies = load("folder", root=root, labels=write(tmp_path / "l.csv", text))
    assert Counter(galaxies.split) == {"train": 6, "val": 2, "test": 4}
    assert set(galaxies.part("test").ids) == {"8", "9", "10", "11"}
    text = "id,label,split\n" + "\n".join(f"{n},{'xy'[n % 2]},train" for n in range(12))
    with pytest.raises(
        ValueError, match="column 'split' contradicts the folders.* for 8, 9, 10, 11"
    ):
        load("folder", root=root, labels=write(tmp_path / "l.csv", text))


def test_galaxies_that_a_table_leaves_unlabelled(tmp_path):
    text = "id,label,split\na,x,train\nb,y,Validation\nc,x,unlabelled\nd,y,train\n"
    made = labels.label(found("abcd"), write(tmp_path / "l.csv", text), None)
    assert made.split == {"a": "train", "b": "val", "c": "unlabelled", "d": "train"}
    assert set(made.labels) == set("abd")
    assert made.notes == ["labels not used, as the split is `unlabelled`: c"]


def test_a_column_that_may_be_a_split_is_one_if_its_cells_are(tmp_path):
    text = "id,label,subset\na,x,{}\nb,y,{}\n"
    file = write(tmp_path / "l.csv", text.format("trainset", "validation"))
    assert labels.label(found("ab"), file, None).split == {"a": "train", "b": "val"}
    file = write(tmp_path / "l.csv", text.format("main", "stripe82"))
    assert labels.label(found("ab"), file, None).split == {}


def test_splits_below_the_classes_mean_the_same_as_above(tmp_path):
    parts = {"train": range(5), "valid": (5, 6), "test": (7, 8, 9)}
    places = [(part, c, n) for part, numbers in parts.items() for c in "ab" for n in numbers]
    first = images(tmp_path / "m", *(f"{part}/{c}/{c}{n}.png" for part, c, n in places))
    second = images(tmp_path / "k", *(f"{c}/{part}/{c}{n}.png" for part, c, n in places))
    above, under = sources.folder(first), sources.folder(second)
    assert under.split == above.split and under.labels == above.labels
    assert Counter(under.split.values()) == {"train": 10, "val": 4, "test": 6}
    (second / "b" / "test" / "b9.png").rename(second / "b" / "b9.png")
    with pytest.raises(ValueError, match="k: folders a/train, .* named like splits, but not all"):
        sources.folder(second)


@pytest.mark.parametrize("above", ["download/", "download/v2/", "train/"])
def test_folders_around_the_classes_are_descended(tmp_path, load, above):
    root = images(tmp_path / "m", *(f"{above}{c}/{c}{n}.png" for c in "ab" for n in range(4)))
    (root / "__MACOSX" / "x").mkdir(parents=True)
    (root / ".hidden").mkdir()
    galaxies = load("folder", root=root)
    assert galaxies.classes == ("a", "b")
    assert galaxies.notes == [f"class folders are those in m/{above.rstrip('/')}"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a/1.png", "a/2.png"], r"m: only one class folder, a; expected m/<class>/<id>.jpg"),
        (["1.png", "2.png"], r"no class folders; .* labels: FILE\. .*`galaxymorph predict`"),
        (["train/a/1.png", "b/2.png"], r"folders train are named like splits, b are not"),
        (["train/1.png", "test/2.png"], r"no class folders; .*labels: FILE"),
        (
            ["x/a/1.png", "x/b/2.png", "y/a/3.png"],
            r"are the classes x, y or a, b\? Remove a level; exp",
        ),
        (["train/a/1.png", "test/2.png", "3.png"], "splits, images beside them are not"),
        (["train/a/1.png", "train/2.png", "test/3.png"], "outside the class folders: train/2.png;"),
        (["a/1.png", "b/2.png", "c.txt/x.txt"], "no images in class c.txt"),
        (["58/587.png", "59/590.png"], "58, 59 are the beginnings of the ids, not classes"),
        (["J10/J101-00.png", "J11/J110+01.png"], "J10, J11 are the beginnings of the ids"),
    ],
)
def test_folders_that_are_refused(tmp_path, names, message):
    for name in names:
        if name.endswith("txt"):
            (tmp_path / "m" / name).mkdir(parents=True)
        else:
            images(tmp_path / "m", name)
    with pytest.raises(ValueError, match=message):
        sources.folder(tmp_path / "m")


@pytest.mark.parametrize("names", [["10/10_1.png", "11/11_2.png"], ["a/a1.png", "b/b1.png"]])
def test_names_may_begin_with_their_class(tmp_path, names):
    for name in names:
        images(tmp_path / "m", name)
    assert len(sources.folder(tmp_path / "m").classes) == 2


def test_a_refusal_names_the_table_that_lies_there(tmp_path):
    images(tmp_path / "m", "x/1.png")
    table = write(tmp_path / "m" / "my.tsv", "id\tlabel\n")
    with pytest.raises(ValueError, match=f"add labels: {table}. Without"):
        sources.folder(tmp_path / "m")


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("1.fits.gz", "1 .fits.gz; FITS images are read by name: fits"),
        ("a.zip", "1 .zip; give the zip itself"),
    ],
)
def test_a_source_without_images_says_what_is_there(tmp_path, name, way):
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=f"no images found; expected .*; found .*{way}"):
        sources.images(tmp_path)


def test_a_part_of_a_split_without_classes_is_unlabelled(tmp_path, load):
    """As competitions give their test images."""
    root = images(tmp_path / "m", *(f"train/{c}/{c}{n}.png" for c in "ab" for n in range(5)))
    galaxies = load("folder", root=images(root, "test/1.png", "test/2.png"))
    assert set(galaxies.part("unlabelled").ids) == {"1", "2"}
    assert Counter(galaxies.split) == {"train": 6, "val": 2, "test": 2, "unlabelled": 2}
    assert "2 galaxies without class folders are unlabelled: test" in galaxies.notes


def test_some_deeper_folders_are_noted(tmp_path):
    root = images(tmp_path / "m", "a/1.png", "a/more/2.png", "b/3.png")
    made = sources.folder(root)
    assert labelled(made) == {"1": "a", "2": "a", "3": "b"}
    assert made.notes == ["subfolders that count for their class: a/more"]


def test_a_root_that_is_a_file(tmp_path):
    with pytest.raises(ValueError, match="x.csv is a file; expected a folder of images, or a zip"):
        sources.folder(write(tmp_path / "x.csv", "id"))


def test_a_flat_folder_and_a_table(tmp_path, load):
    root = images(tmp_path / "mine", *(f"sub{n % 2}/n{n}.png" for n in range(10)))
    text = "filename;Hubble type\n" + "\n".join(f"n{n}.png;{n % 2 - 5}" for n in range(10))
    file = write(tmp_path / "l.csv", text)
    names = {-5: "E", "-4.0": "cD"}
    galaxies = load("folder", root=root, labels=file, class_names=names)
    assert by_id(galaxies) == {f"n{n}": ("E", "cD")[n % 2] for n in range(10)}
    assert len(galaxies.part("test")) == 2


# --- Galaxy10 -------------------------------------------------------------------------------------


def galaxy10(file: Path, side: int, answers) -> Path:
    with h5py.File(file, "w") as opened:
        opened["images"] = np.zeros((len(answers), side, side, 3), np.uint8)
        opened["ans"] = answers
    return file


def test_galaxy10_of_two_surveys(tmp_path):
    old = hdf5.galaxy10(galaxy10(tmp_path / "old.h5", 69, np.arange(10)))
    new = hdf5.galaxy10(galaxy10(tmp_path / "new.h5", 256, np.arange(10)))
    assert (old.classes[1], new.classes[1]) == ("round smooth", "merging")
    assert (old.classes[9], new.classes[2]) == ("loose spiral", "round smooth")
    assert len(set(old.classes)) == len(set(new.classes)) == 10
    assert "SDSS (images of 69 px)" in old.notes[0] and "DECaLS (images of 256" in new.notes[0]
    other = galaxy10(tmp_path / "other.h5", 64, np.arange(10))
    with pytest.raises(ValueError, match=r"64 px are neither .* survey: decals or sdss"):
        hdf5.galaxy10(other)
    assert hdf5.galaxy10(other, survey="sdss").classes == old.classes
    (note,) = hdf5.galaxy10(tmp_path / "old.h5", survey="decals").notes
    assert note.endswith("DECaLS (images of 69 px, the size of Galaxy10 SDSS)")


@pytest.mark.parametrize(
    "answers",
    [
        np.arange(10.0),
        np.array([str(n) for n in range(10)], "S1"),
        np.array([str(n) for n in range(10)], object),
        np.eye(10),
    ],
    ids=["float", "bytes", "text", "one column each"],
)
def test_answers_of_other_types(tmp_path, answers):
    made = hdf5.galaxy10(galaxy10(tmp_path / "a.h5", 69, answers))
    assert list(made.labels.values()) == list(range(10))


@pytest.mark.parametrize("wrong", [0.5, np.nan, -1, 10, "spiral", [0.5] * 10, [1.0] * 10])
def test_answers_that_are_no_class(tmp_path, wrong):
    answers = np.eye(10) if isinstance(wrong, list) else np.arange(10.0)
    if isinstance(wrong, str):
        answers = answers.astype(str).astype(object)
    answers[3] = wrong
    with pytest.raises(ValueError, match="whole number between 0 and 9, but is not in row 3$"):
        hdf5.galaxy10(galaxy10(tmp_path / "a.h5", 69, answers))


# --- tables of pictures in [0, 1] -----------------------------------------------------------------


def pictures(file: Path, low: float, high: float) -> Path:
    light = np.random.default_rng(0).uniform(low, high, (12, 8, 8))
    light[:, 0, 0] = low
    Table(dict.fromkeys("rgb", light)).write(file, path="data")
    return file


@pytest.mark.parametrize("high", [0.2, 0.45, 1.0])
def test_pictures_from_0_to_1_are_read_as_such(tmp_path, high):
    made = hdf5.table(pictures(tmp_path / "a.hdf5", 0, high))
    shifted = hdf5.table(pictures(tmp_path / "b.hdf5", -0.5, high - 0.5))
    assert shifted.notes == []
    assert "0 is taken as black" in made.notes[0] and "in 12 galaxies" in made.notes[0]
    for one, other in zip(made.read, shifted.read, strict=True):
        np.testing.assert_array_equal(one()[0], other()[0])


def test_pictures_of_neither_range_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"from -0.1 to .* expected -0.5 .* or 0 to 1"):
        hdf5.table(pictures(tmp_path / "a.hdf5", -0.1, 0.3))


# --- votes ----------------------------------------------------------------------------------------


@st.composite
def per_question(draw):
    """Fractions of those asked, some questions unanswered; everyone answers the first."""
    count = draw(st.integers(2, 6))
    table = np.zeros((count, 37))
    for number, where in enumerate(tree.SLICES.values()):
        size = where.stop - where.start
        for row in range(count):
            weights = draw(st.lists(st.integers(0, 9), min_size=size, max_size=size))
            if not number and not sum(weights):
                weights[0] = 1
            table[row, where] = np.array(weights) / max(1, sum(weights))
    return table


def votes_file(file: Path, table: np.ndarray) -> tuple[Path, Found]:
    frame = pd.DataFrame(table, columns=list(tree.COLUMNS)).round(6)
    frame.insert(0, "GalaxyID", [f"g{n}" for n in range(len(table))])
    frame.to_csv(file, index=False)
    return file, found(frame["GalaxyID"])


@quick
@given(per_question())
@pytest.mark.long
def test_both_conventions_of_votes_give_the_same(tmp_path, fractions):
    cumulative = tree.cumulative(fractions)
    known, noted = galaxy_zoo.read_votes(*votes_file(tmp_path / "k.csv", cumulative))
    assert noted.notes == []
    np.testing.assert_allclose(known, cumulative, atol=1e-6)
    read, noted = galaxy_zoo.read_votes(*votes_file(tmp_path / "q.csv", fractions))
    above = tree.reached(fractions)
    total = np.stack([fractions[:, q].sum(1) for q in tree.SLICES.values()], axis=1)
    if (total > above + 0.05).any():  # otherwise both conventions nearly agree
        assert "made cumulative" in noted.notes[0]
        np.testing.assert_allclose(read, cumulative, atol=1e-5)
    else:
        np.testing.assert_allclose(read, cumulative, atol=0.06)


def some_fractions(count: int = 6) -> np.ndarray:
    table = np.zeros((count, 37))
    for where in tree.SLICES.values():
        table[:, where] = 1 / (where.stop - where.start)
    return table


def test_unanswered_questions_may_be_empty(tmp_path):
    fractions = some_fractions()
    fractions[2, tree.SLICES["winding"]] = np.nan
    read, _ = galaxy_zoo.read_votes(*votes_file(tmp_path / "q.csv", fractions))
    np.testing.assert_allclose(read, tree.cumulative(fractions), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: np.vstack([f[:3], tree.cumulative(f)[3:]]),
            r"Neither fits GalaxyID g0, g1, g2: Class\d",
        ),
        (lambda f: tree.cumulative(f) * 100, "look like percentages: divide by 100"),
        (lambda f: np.round(tree.cumulative(f) * 40), "look like numbers of votes: divide by the"),
    ],
    ids=["mixed", "percent", "counts"],
)
def test_votes_that_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        galaxy_zoo.read_votes(*votes_file(tmp_path / "q.csv", change(some_fractions())))


def test_a_child_above_its_parent_in_one_row_is_refused(tmp_path):
    votes = tree.cumulative(some_fractions())
    votes[4, tree.column("roundness", "round")] = 0.9
    where = tree.SLICES["roundness"]
    columns = ", ".join(tree.COLUMNS[where])
    sums = (
        f"{columns} of g4 sum to {votes[4, where].sum():.3g}, after {tree.reached(votes)[4][6]:.3g}"
    )
    said = f"votes must be cumulative.* Neither fits GalaxyID g4: {re.escape(sums)}. Debiased"
    with pytest.raises(ValueError, match=said):
        galaxy_zoo.read_votes(*votes_file(tmp_path / "q.csv", votes))


def test_columns_of_the_catalogue_of_galaxy_zoo_2_are_named_with_what_to_do(tmp_path):
    file, known = votes_file(tmp_path / "q.csv", some_fractions())
    names = [f"t{n:02}_x_a{k:02}_y_debiased" for n in range(1, 12) for k in range(2)]
    pd.DataFrame(0.1, ["587"], names).to_csv(file, index_label="dr7objid")
    with pytest.raises(
        ValueError, match=r"q.csv: .*Galaxy Zoo 2 \(t01_.*rename .*Class1\.1, \.\.\."
    ):
        galaxy_zoo.read_votes(file, known)
