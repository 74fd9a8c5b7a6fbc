"""Files of predictions, good and bad. The end-to-end run is in test_cli.py."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from galaxymorph.evaluation import foreign
from galaxymorph.project import Locked, locked
from galaxymorph.project import write as project_write
from galaxymorph.run import results, runner
from galaxymorph.run.folder import Step
from galaxymorph.run.foreign import stacked
from galaxymorph.run.foreign import write as foreign_write
from galaxymorph.run.plan import Plan

GOOD = """\
id,label,p_a,p_b
1,a,0.9,0.1
2,b,0.2,0.8
3,a,0.3,0.7
"""
OTHER = """\
id,label,p_b,p_a
3,a,0.0,1.0
2,b,0.25,0.75
1,a,0.5,0.5
"""
TRUTH = "id,label\n1,a\n2,b\n3,a\n"
BARE = "id,p_a,p_b\n1,0.9,0.1\n2,0.2,0.8\n3,0.3,0.7\n"  # GOOD without labels


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Writes files by name in the current folder, which is no project."""
    monkeypatch.chdir(tmp_path)

    def write(**texts: str) -> list[str]:
        for name, text in texts.items():
            Path(f"{name}.csv").write_text(text, encoding="utf-8")
        return [f"{name}.csv" for name in texts]

    return write


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params.yaml").touch()
    code = {
        "cell_type": "code",
        "metadata": {"tags": ["parameters"]},
        "source": 'run = ""\nstep = ""\nsteps = None\n',
    }
    notebook = {"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": [code]}
    (tmp_path / "notebooks" / "12_compare.ipynb").write_text(json.dumps(notebook))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def labels(one) -> list[str]:
    return one.predictions.table().label.tolist()


def same(one, other) -> bool:
    return one.predictions.table().equals(other.predictions.table())


def refusal(names, labels=None) -> list[str]:
    with pytest.raises(ValueError) as refused:
        foreign.read(names, labels=Path(labels) if labels else None)
    return str(refused.value).split("\n")


# ---- what is read


def test_files_become_predictions_in_the_same_order_of_classes(files):
    one, two = foreign.read(files(one=GOOD, two=OTHER))
    assert one.predictions.classes == two.predictions.classes == ("a", "b")
    assert two.predictions.table().to_numpy().tolist() == [
        ["3", "test", "a", 1.0, 0.0],
        ["2", "test", "b", 0.75, 0.25],
        ["1", "test", "a", 0.5, 0.5],
    ]
    assert (one.name, one.row, one.combination, one.notes) == ("one/seed=0", "", {"seed": 0}, ())
    assert str(one) == "one, seed 0: 3 test galaxies, one.csv"


@pytest.mark.parametrize("name", ["GalaxyID", "asset_id", "objID", "ID"])
def test_names_of_the_column_of_ids(files, name):
    (one,) = foreign.read(files(one=GOOD.replace("id,", f"{name},", 1)))
    assert one.predictions.ids.tolist() == ["1", "2", "3"]


def test_what_spreadsheets_write_is_read(files):
    """A byte order mark, blank lines and rows, spaces, quotes, Windows' ends of lines."""
    text = (
        '\ufeffid,label,p_a,p_b\r\n\r\n"1", a ,0.9, 0.1\r\n,,,\r\n2,b,0.2,0.8\r\n3,a,3e-1,0.7\r\n'
    )
    (one,) = foreign.read(files(one=text))
    assert same(one, foreign.read(files(two=GOOD))[0])


def test_labels_that_are_the_same_number_are_one_class_everywhere(files):
    """`1` and `1.0` in labels, predicted classes and columns, as where galaxies are read."""
    texts = {
        "one": "id,label,p_-5,p_1.0\n1,-5.0,0.9,0.1\n2,1,0.2,0.8\n",
        "two": "id,label,prediction\n1,−5,1.0\n2,1.00,1\n",
    }
    one, two = foreign.read(files(**texts))
    assert one.predictions.classes == two.predictions.classes == ("-5", "1")
    assert labels(one) == labels(two) == ["-5", "1"]
    assert two.predictions.p.tolist() == [[0, 1], [0, 1]]
    (text,) = refusal(files(twice="id,label,p_1,p_1.0\n1,1,0.5,0.5\n"))
    assert "duplicate class '1'" in text


def test_splits_are_those_of_the_file_else_of_the_labels_else_test(files):
    truth = "id,label,split\n1,a,train\n2,b,test\n3,a,test\n"
    own = "id,split,p_a,p_b\n1,Train,0.9,0.1\n2,test,0.2,0.8\n3,test,0.3,0.7\n"
    names = files(own=own, bare=BARE, truth=truth)[:2]
    own, bare = foreign.read(names, labels=Path("truth.csv"))
    assert (
        own.predictions.split.tolist()
        == bare.predictions.split.tolist()
        == ["train", "test", "test"]
    )
    assert labels(own) == labels(bare) == ["a", "b", "a"]


def test_unlabelled_galaxies_need_no_label(files):
    text = "id,split,label,p_a,p_b\n1,test,a,0.9,0.1\n2,test,b,0.9,0.1\n3,unlabelled,,0.5,0.5\n"
    (one,) = foreign.read(files(one=text))
    assert labels(one) == ["a", "b", ""]


def test_the_file_of_labels_may_say_that_galaxies_have_none(files):
    truth = "id,label,split\n1,a,test\n2,b,test\n3,,unlabelled\n"
    (one,) = foreign.read(files(one=BARE, truth=truth)[:1], labels=Path("truth.csv"))
    assert labels(one) == ["a", "b", ""]
    assert one.predictions.split.tolist() == ["test", "test", "unlabelled"]


def test_numbers_keep_all_their_digits_and_rounding_errors_are_cut_off(files):
    p = [0.12345678901234567, 1 - 0.12345678901234567]
    (one,) = foreign.read(files(one=f"id,label,p_a,p_b\n1,a,{p[0]},{p[1]}\n2,b,1.0000001,-1e-7\n"))
    assert one.predictions.p.tolist() == [p, [1.0, 0.0]]


def test_other_columns_are_ignored_and_said(files):
    (one,) = foreign.read(
        files(one="id,label,ra,p_a,p_b,\n1,a,150.1,0.9,0.1,\n2,b,150.2,0.9,0.1,\n")
    )
    assert one.notes == ("columns ignored: ra, (unnamed)",)


def test_classes_alone_become_certain(files):
    hard = "objid,Prediction\n1,b\n2,b\n3,a\n"
    one, two = foreign.read(files(one=hard, two=GOOD))  # labels of the other
    assert one.hard and not two.hard
    assert one.predictions.p.tolist() == [[0, 1], [0, 1], [1, 0]]
    assert "calibration are meaningless" in str(one)
    files(one=hard, truth=TRUTH)  # no file says which classes there are
    (alone,) = foreign.read(["one.csv"], labels=Path("truth.csv"))
    assert same(alone, one)


# ---- which labels are true


def test_labels_of_one_file_serve_the_others(files):
    one, two = foreign.read(files(one=BARE, two=OTHER))
    assert labels(one) == ["a", "b", "a"]
    assert labels(two) == ["a", "b", "a"]


PREDICT = (
    "id,p_a,p_b,label\n1,0.9,0.1,a\n2,0.2,0.8,b\n3,0.3,0.7,b\n"  # as `galaxymorph predict` writes
)


def test_the_predicted_class_is_not_mistaken_for_the_true_one(files):
    files(
        predict=PREDICT,
        truth="id,class,comment\n1,a,\n2,b,\n3,a,edge\n4,c,not predicted\n",
        good=GOOD,
    )
    (one,) = foreign.read(["predict.csv"], labels=Path("truth.csv"))
    assert labels(one) == ["a", "b", "a"]
    assert one.notes == (foreign.NOT_TRUE,)
    for names in (
        ["predict.csv", "good.csv"],
        ["good.csv", "predict.csv"],
    ):  # another file has the labels
        both = {each.path.stem: each for each in foreign.read(names)}
        assert labels(both["predict"]) == ["a", "b", "a"]
        assert (both["predict"].notes, both["good"].notes) == ((foreign.NOT_TRUE,), ())
    (said,) = refusal(["predict.csv"])
    assert said.startswith(
        "no labels: in predict.csv label equals the most probable class in every row"
    )
    assert "--labels FILE" in said


def test_the_class_that_predict_took_may_share_the_largest_probability_after_rounding(files):
    files(predict="id,p_a,p_b,label\n1,0.5,0.5,b\n2,0.5,0.5,a\n")
    (said,) = refusal(["predict.csv"])
    assert said.startswith("no labels: in predict.csv label equals the most probable class")


def test_a_method_that_is_always_right_is_believed_where_others_agree(files):
    perfect = "id,label,split,p_a,p_b\n1,a,test,0.9,0.1\n2,b,test,0.2,0.8\n"
    perfect += "3,a,test,0.7,0.3\n4,b,train,0,1\n"
    names = files(perfect=perfect, good=GOOD, truth=TRUTH + "4,b\n")[:2]
    for each in (foreign.read(names), foreign.read(names[::-1])):
        assert [one.notes for one in each] == [(), ()]
        rows = {one.path.stem: one for one in each}["perfect"]
        assert labels(rows) == ["a", "b", "a", "b"]  # also the fourth, which the other lacks
    (alone,) = foreign.read(["perfect.csv"], labels=Path("truth.csv"))
    assert alone.notes == ()
    assert "the same file, if its labels are true" in refusal(["perfect.csv"])[0]
    (itself,) = foreign.read(["perfect.csv"], labels=Path("perfect.csv"))
    assert labels(itself) == ["a", "b", "a", "b"]


def test_galaxies_that_were_not_predicted_are_nothing_to_a_file_of_labels(files):
    files(one=BARE, truth="id,label\n9,x\n1,a\n2,b\n3,a\n")
    (one,) = foreign.read(["one.csv"], labels=Path("truth.csv"))
    assert len(one.predictions.ids) == 3


# ---- which galaxy


def test_ids_match_without_folder_ending_and_leading_zeros(files):
    truth = "id,label\n0001.jpg,a\nimages/0002.FITS.gz,b\n3,a\n"
    names = files(one=BARE, truth=truth)[:1]
    (one,) = foreign.read(names, labels=Path("truth.csv"))
    assert one.predictions.ids.tolist() == ["0001.jpg", "images/0002.FITS.gz", "3"]
    assert labels(one) == ["a", "b", "a"]
    assert one.notes == ("2 ids are spelled differently: 1 is 0001.jpg",)


def test_ids_match_by_the_letter_where_two_would_be_the_same(files):
    one = "id,label,p_a,p_b\n7,a,0.9,0.1\n007,b,0.9,0.1\n"
    first, second = foreign.read(files(one=one, two=one))
    assert first.predictions.ids.tolist() == second.predictions.ids.tolist() == ["7", "007"]
    assert labels(first) == labels(second) == ["a", "b"]
    files(one="id,p_a,p_b\n7,0.9,0.1\n", truth="id,label\n07,a\n007,b\n")
    (said,) = refusal(["one.csv"], "truth.csv")
    assert said.startswith("no") or "no label in truth.csv, 1 of 1 rows: line 2 (id 7)" in said


def test_what_is_after_a_dot_of_an_id_is_no_ending(files):
    one = "id,label,p_a,p_b\nJ1.5,a,0.9,0.1\nJ1.7,b,0.9,0.1\n"
    two = "id,label,p_a,p_b\nJ1.5,a,0.9,0.1\nJ1.8,b,0.9,0.1\n"
    assert "J1.7" in refusal(files(one=one, two=two))[0]


# ---- which method, which seed


@pytest.mark.parametrize(
    ("path", "name", "row", "combination"),
    [
        ("zoobot.v2.csv", "zoobot.v2/seed=0", "", {"seed": 0}),
        ("deep/predictions.csv", "deep/seed=0", "", {"seed": 0}),
        ("cnn/seed=3/predictions.csv", "cnn/seed=3", "", {"seed": 3}),
        (
            "cnn/seed=3,n_labels=100/predictions.csv",
            "cnn/seed=3,n_labels=100",
            "",
            {"seed": 3, "n_labels": 100},
        ),
        (
            "cnn/n_labels=100/predictions.csv",
            "cnn/seed=0,n_labels=100",
            "",
            {"seed": 0, "n_labels": 100},
        ),
        ("cae_frozen/seed=1/dnn/predictions.csv", "cae_frozen/seed=1", "dnn", {"seed": 1}),
        (
            "cae_frozen/dnn/predictions.csv",
            "cae_frozen/seed=0",
            "dnn",
            {"seed": 0},
        ),  # below done.json
        ("seed=2/mine.csv", "mine/seed=2", "", {"seed": 2}),
        ("mine=cae_frozen/seed=1/dnn/predictions.csv", "mine/seed=1", "", {"seed": 1}),
        ("mine=zoobot.v2.csv", "mine/seed=0", "", {"seed": 0}),
        ("a=b.csv", "x", "", {}),
    ],
)
def test_methods_are_called_what_their_files_are(
    tmp_path, monkeypatch, path, name, row, combination
):
    if path == "a=b.csv":
        monkeypatch.chdir(tmp_path)
        Path(path).write_text(GOOD)
        assert (
            "'a=b'" in refusal([path])[0]
        )  # a file's name, as there is such a file, and none that a method can have
        return
    place = tmp_path / (path.removeprefix("mine="))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(GOOD)
    if name.startswith("cae_frozen/seed=0"):
        (tmp_path / "cae_frozen" / "done.json").touch()
    monkeypatch.chdir(tmp_path)
    (one,) = foreign.read([path])
    assert (one.name, one.row, one.combination) == (name, row, combination)
    (absolute,) = foreign.read([f"mine={place}" if path.startswith("mine=") else str(place)])
    assert absolute.name == name


def test_a_file_is_found_from_the_folder_of_its_seed(tmp_path, monkeypatch):
    folder = tmp_path / "cnn" / "seed=4"
    folder.mkdir(parents=True)
    (folder / "predictions.csv").write_text(GOOD)
    monkeypatch.chdir(folder)
    assert foreign.read(["predictions.csv"])[0].name == "cnn/seed=4"
    monkeypatch.chdir(folder.parent)
    assert foreign.read(["seed=4/predictions.csv"])[0].name == "cnn/seed=4"  # not the method "seed"


def test_files_of_a_method_are_its_seeds(files):
    files(one=GOOD, two=GOOD, three=OTHER)
    brought = foreign.read(["x=one.csv", "three.csv", "x=two.csv"])
    assert [each.name for each in brought] == ["x/seed=0", "three/seed=0", "x/seed=1"]


def test_a_seed_that_is_there_twice_is_refused(files):
    for run in ("r", "s"):
        Path(f"{run}/cnn/seed=0").mkdir(parents=True)
        Path(f"{run}/cnn/seed=0/predictions.csv").write_text(GOOD)
    paths = [f"{run}/cnn/seed=0/predictions.csv" for run in ("r", "s")]
    assert refusal(paths) == [
        "s/cnn/seed=0/predictions.csv: same name and settings as "
        "r/cnn/seed=0/predictions.csv (cnn, seed=0); rename one with NAME=FILE"
    ]
    assert len(foreign.read([paths[0], f"cnn2={paths[1]}"])) == 2
    assert refusal([paths[0], f"./{paths[0]}"]) == [f"{paths[0]}: given twice; leave one out"]


@pytest.mark.parametrize("name", ["my net", "compare", "majority", "tune", "a..b"])
def test_names_that_cannot_be_are_refused(files, name):
    names = files(**{name: GOOD, "ok": GOOD})
    (said,) = refusal(names)
    assert said.startswith(f"{name}.csv: not a valid name: {name!r} (")
    assert len(foreign.read([f"mine={names[0]}", names[1]])) == 2


# ---- what is refused


BAD = {
    "no id": ("name,p_a,p_b\n1,0.9,0.1\n", "missing column id (or galaxyid, "),
    "no classes": (
        "id,label\n1,a\n",
        "missing column p_<class> (one for each class); the file has id, label",
    ),
    "one class": ("id,label,p_a\n1,a,0.9\n", "p_a is the only column p_<class>"),
    "vote fractions": ("GalaxyID,Class1.1,Class1.2\n1,0.9,0.1\n", "vote fractions instead of"),
    "predicted votes": ("id,p_Class1.1,p_Class1.2\n1,0.9,0.1\n", "vote fractions instead of"),
    "column twice": ("id,p_a,p_a\n1,0.9,0.1\n", "duplicate columns p_a; keep one of each"),
    "semicolons": (
        "id;p_a;p_b\n1;0,9;0,1\n",
        "only one column, 'id;p_a;p_b'; expected commas between",
    ),
    "nothing": ("", "no rows"),
    "no rows": ("id,p_a,p_b\n", "no rows"),
    "cells missing": (
        BARE + "4,0.5\n\n5,1,0,0\n",
        "the header has 3 cells, but line 5 has 2, line 7 has 4",
    ),
    "quote left open": (BARE + '4,"0.5,0.5\n5,1,0\n', "not a valid CSV file: line 5: "),
    "id twice": (
        "id,p_a,p_b\n1,1,0\n\n2,1,0\n1,1,0\n",
        "duplicate id, 2 of 3 rows: line 2 (id 1), line 5 (id 1); keep one row per galaxy",
    ),
    "lines of text in a cell": (
        'id,note,p_a,p_b\n1,"of two\nlines",1,0\n2,,1,\n',
        "column 'p_b' is not numeric, 1 of 2 rows: line 4 (id 2) ''; fill it in",
    ),
    "no id in a row": (
        "id,p_a,p_b\n1,1,0\n ,1,0\nnan,1,0\n",
        "no id, 2 of 3 rows: line 3, line 4; give every galaxy an id",
    ),
    "empty p": (
        "id,p_a,p_b\n1,1,0\n2,,1\n3,0,NaN\n",
        "column 'p_b' is not numeric, 1 of 3 rows: line 4 (id 3) 'NaN'; fill it",
    ),
    "no number": (
        "id,p_a,p_b\n1,1,0\n2,half,1\n3,inf,0\n",
        "column 'p_a' is not numeric, 2 of 3 rows: line 3 (id 2) 'half', line 4 (id 3) 'inf'",
    ),
    "logits": (
        "id,p_a,p_b\n1,0.5,0.5\n2,-3.25,7\n3,0.2,1.1\n",
        "p_<class> are not probabilities that sum to 1, 2 of 3 rows: line 3 (id 2) [-3.25, 7], "
        "line 4 (id 3) [0.2, 1.1]; these look like logits: apply a softmax",
    ),
    "percentages": (
        "id,p_a,p_b\n1,50,50\n2,0.5,99.5\n",
        "p_<class> are not probabilities that sum to 1, 2 of 2 rows: line 2 (id 1) [50, 50], "
        "line 3 (id 2) [0.5, 99.5]; these look like percentages: divide by 100",
    ),
    "sum": (
        "id,p_a,p_b\n1,0.5,0.5\n2,0.5,0.48\n3,0.5,0.5009\n",
        "p_<class> are not probabilities that sum to 1, 1 of 3 rows: line 3 (id 2) [0.5, 0.48]",
    ),
    "label": (
        "id,label,p_a,p_b\n1,a,0.1,0.9\n2,A,1,0\n",
        "label is not a class, 1 of 2 rows: line 3 (id 2) 'A'; classes are a, b",
    ),
    "split": (
        "id,split,p_a,p_b\n1,test,0.1,0.9\n2,valid,1,0\n3,,1,0\n",
        "unknown split, 2 of 3 rows: line 3 (id 2) 'valid', line 4 (id 3) ''; known: train, val",
    ),
    "no test": ("id,split,p_a,p_b\n1,train,0.1,0.9\n", "no galaxies in split 'test'"),
    "prediction of no class": (
        "id,prediction\n1,a\n2,c\n3,\n",
        "prediction is not a class, 2 of 3 rows: line 3 (id 2) 'c', line 4 (id 3) ''; classes are",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_file_is_refused(files, case):
    text, message = BAD[case]
    said = refusal(files(one=text, truth=TRUTH)[:1], "truth.csv")
    assert any(line.startswith(f"one.csv: {message}") for line in said), said


def test_files_that_cannot_be_read_are_named(files, tmp_path):
    Path("latin.csv").write_bytes("id,p_é,p_b\n".encode("latin-1"))
    Path("folder.csv").mkdir()
    said = refusal(["gone.csv", "latin.csv", "folder.csv", *files(one=GOOD)])
    assert said == [
        "gone.csv: No such file or directory",
        "latin.csv: not valid UTF-8 (byte 6); save it in UTF-8",
        "folder.csv: Is a directory",
    ]


def test_other_classes_are_refused(files):
    names = files(one=GOOD, two=GOOD.replace("p_b", "p_c").replace("b,", "c,"))
    said = refusal(names)
    classes = "two.csv: classes are a, c; other files have a, b; use the same "
    assert said[1].startswith(f"{classes}columns p_<class>")
    assert said[0].startswith(
        "two.csv: label differs from one.csv, 1 of 3 rows: line 3 (id 2) c, there b; "
    )


def test_labels_that_differ_are_refused_with_their_galaxies(files):
    wrong = OTHER.replace("2,b", "2,a").replace("3,a,0.0,1.0", "3,a,0.6,0.4")
    names = files(one=GOOD, two=wrong, truth=TRUTH)[:2]
    assert refusal(names) == [
        "two.csv: label differs from one.csv, 1 of 3 rows: line 3 (id 2) a, there b; correct one, "
        "or remove the column if it is a prediction"
    ]
    (said,) = refusal(names, "truth.csv")
    assert said.startswith(
        "two.csv: label differs from truth.csv, 1 of 3 rows: line 3 (id 2) a, there b; "
    )


def test_labels_that_are_missing_are_refused(files):
    files(
        one=BARE,
        two=BARE,
        short="id,label\n1,a\n2,\n",
        odd="id,label\n1,a\n2,x\n3,a\n",
        none="id,p_a\n1,1\n",
    )
    assert refusal(["one.csv", "two.csv"]) == [
        "no labels: no file has a column label; give the true classes with --labels FILE (the "
        "same file, if its labels are true)"
    ]
    said = refusal(["one.csv", "two.csv"], "short.csv")
    assert said[0] == (
        "one.csv: no label in short.csv, 2 of 3 rows: line 3 (id 2), line 4 (id 3); add "
        "labels, or remove these galaxies from all files"
    )
    assert said[1].startswith("two.csv: no label in short.csv, 2 of 3 rows")
    assert refusal(["one.csv"], "odd.csv") == [
        "odd.csv: label is not a class, 1 of 3 rows: line 3 (id 2) 'x'; classes are a, b"
    ]
    assert refusal(["one.csv"], "none.csv")[0].startswith(
        "none.csv: missing column label (or class); the file has id, p_a"
    )
    files(part="id,label,p_a,p_b\n1,b,0.9,0.1\n2,,0.2,0.8\n3,a,0.3,0.7\n")
    assert refusal(["part.csv"])[0].startswith(
        "part.csv: no label in any file, 1 of 3 rows: line 3 (id 2); "
    )


def test_splits_that_differ_are_refused(files):
    truth = "id,label,split\n1,a,train\n2,b,test\n3,a,test\n"
    files(one="id,split,p_a,p_b\n1,test,0.9,0.1\n2,test,0.2,0.8\n3,test,0.3,0.7\n", truth=truth)
    said = refusal(["one.csv"], "truth.csv")
    assert said[0].startswith(
        "one.csv: split differs from truth.csv, 1 of 3 rows: line 2 (id 1) test, there train; "
    )


def test_partial_files_are_refused_with_their_galaxies(files):
    rows = OTHER.splitlines(keepends=True)
    files(one=GOOD, whole=OTHER, part="".join(rows[:2] + rows[3:]), more=GOOD + "4,b,0.4,0.6\n")
    assert refusal(["one.csv", "part.csv", "whole.csv", "more.csv"]) == [
        "part.csv: seed 0 lacks 1 of the 3 test galaxies of one.csv: 2; predict these as well, or "
        "remove them from the other files",
        "more.csv: seed 0 has test galaxies that one.csv lacks, 1 of 4 rows: line 5 (id 4); "
        "remove them, or predict them in all files",
    ]
    files(split="id,split,label,p_a,p_b\n1,test,a,0.2,0.8\n2,val,b,0.2,0.8\n3,train,a,0.3,0.7\n")
    (said,) = refusal(["one.csv", "split.csv"])
    there = "(1 of them are in val here) (1 of them are in train here)"
    assert f"lacks 2 of the 3 test galaxies of one.csv {there}: 2, 3; " in said


def test_a_file_of_labels_with_splits_says_which_test_galaxies_there_are(files):
    names = files(
        one="id,p_a,p_b\n1,1,0\n",
        two="id,p_a,p_b\n1,0,1\n",
        truth="id,label,split\n1,a,test\n2,b,test\n3,b,val\n",
    )
    said = refusal(names[:2], "truth.csv")
    assert [line[: line.index(":", 10)] for line in said] == [
        f"{name}.csv: seed 0 lacks 1 of the 2 test galaxies of truth.csv" for name in ("one", "two")
    ]


def test_seeds_may_have_test_galaxies_of_their_own(files):
    for seed, ids in ((0, (1, 2)), (1, (2, 3))):
        for method in ("a", "b"):
            path = Path(f"{method}/seed={seed}/predictions.csv")
            path.parent.mkdir(parents=True)
            path.write_text(
                "id,label,p_a,p_b\n" + "".join(f"{id},a,0.{id},0.{10 - id}\n" for id in ids)
            )
    paths = [f"{method}/seed={seed}/predictions.csv" for method in ("a", "b") for seed in (0, 1)]
    assert len(foreign.read(paths)) == 4


def test_mistakes_of_all_files_are_said_at_once(files):
    names = files(
        one="id,label,p_a,p_b\n1,a,0.9,0.9\n2,b,0.2,0.8\n3,x,0.3,0.7\n",
        two="id;p_a\n1;2\n",
        three=GOOD.replace("2,b", "2,a"),
        four=OTHER + "3,a,0,1\n",
        five=BARE.removesuffix("3,0.3,0.7\n"),
    )
    said = refusal([*names, "gone.csv"], None)
    told = {
        "one.csv": 2,
        "two.csv:": 1,
        "three.csv:": 1,
        "four.csv:": 1,
        "five.csv:": 1,
        "gone.csv": 1,
    }
    found = {name: sum(line.startswith(name) for line in said) for name in told}
    assert found == told and len(said) == 7, said


def test_many_rows_are_counted(files):
    rows = "".join(f"{id},0.5,0.6\n" for id in range(1000))
    (said,) = refusal(
        files(
            one=f"id,p_a,p_b\n{rows}",
            truth="id,label\n" + "".join(f"{id},a\n" for id in range(1000)),
        )[:1],
        "truth.csv",
    )
    assert "1,000 of 1,000 rows: line 2 (id 0) [0.5, 0.6], " in said
    assert "and 995 more" in said


# ---- the run that is made


def test_a_run_of_files_is_read_like_any_other(project, files):
    names = files(one=GOOD, hard="id,prediction\n1,b\n2,b\n3,a\n")
    Path("cae/seed=5/dnn").mkdir(parents=True)
    Path("cae/seed=5/dnn/predictions.csv").write_text(OTHER)
    brought = foreign.read([names[1], "seen=one.csv", "cae/seed=5/dnn/predictions.csv"])
    plan = foreign_write("mine", brought)
    (job,) = plan.jobs
    assert job.parameters == {
        "run": "mine",
        "step": "compare",
        "steps": ["hard/seed=0", "seen/seed=0", "cae/seed=5"],
    }
    runner._write_plan(
        plan, project / "results" / "mine", plan.jobs
    )  # what the runner does before it executes the comparison
    assert [each.name for each in results.read("mine")] == [*job.parameters["steps"], "compare"]
    entries = results.trained("mine", job.parameters["steps"])
    assert [(each.method, each.seed, each.n_labels, each.protocol) for each in entries] == [
        ("hard", 0, None, "classes alone"),
        ("seen", 0, None, None),
        ("cae dnn", 5, None, None),
    ]
    for each, one in zip(entries, brought, strict=True):
        assert each.predictions.table().equals(one.predictions.table())
    metrics = json.loads(
        (project / "results" / "mine" / "hard" / "seed=0" / "metrics.json").read_text()
    )
    assert metrics["file"] == "hard.csv"
    assert "hard.csv: no probabilities" in metrics["findings"][0]


def test_the_same_name_again_replaces_what_was_brought_before(project, files):
    Path("net/seed=0/linear").mkdir(parents=True)
    Path("net/seed=0/linear/predictions.csv").write_text(OTHER)
    files(one=GOOD)
    first = foreign_write("mine", foreign.read(["one.csv", "net/seed=0/linear/predictions.csv"]))
    runner._write_plan(first, project / "results" / "mine", first.jobs)
    foreign_write("mine", foreign.read(["net=one.csv"]))
    # and no row `linear` any more
    assert [(each.method, each.seed) for each in results.trained("mine")] == [("net", 0)]
    assert not (project / "results" / "mine" / "one").exists()


@pytest.mark.parametrize("with_plan", [True, False])
def test_another_run_of_the_same_name_is_left_alone(project, files, with_plan):
    step = Step("mine", "cnn")
    step.metrics({"accuracy": 0.5})
    if with_plan:
        jobs = {"cnn": {"combination": {}, "parameters": {}, "outputs": ["metrics.json"]}}
        jobs["brought/seed=0"] = {"combination": {"seed": 0}, "parameters": {}, "outputs": None}
        project_write(project / "results" / "mine" / "plan.json", json.dumps({"jobs": jobs}))
    before = sorted(project.rglob("*"))
    brought = foreign.read(files(one=GOOD))
    with pytest.raises(
        ValueError,
        match=r"results/mine: this run was not made from files, .* --run NAME makes a separate one",
    ):
        foreign_write("mine", brought)
    with pytest.raises(ValueError, match=r"--run: expected a name .* found 'my/run'"):
        foreign_write("my/run", brought)
    assert set(project.rglob("*")) - set(before) == {project / "one.csv"}
    foreign_write("other", brought)


def test_a_run_that_is_executed_is_left_alone(project, files):
    brought = foreign.read(files(one=GOOD))
    with locked(project / "results" / "mine"), pytest.raises(Locked, match="another process"):
        foreign_write("mine", brought)
    assert not (project / "results" / "mine" / "one").exists()


def test_the_runner_keeps_what_was_brought_and_nothing_else(project):
    folder = project / "results" / "mine"
    brought = {"combination": {"seed": 0}, "parameters": {}, "outputs": None}
    jobs = {
        "b/seed=0": brought,
        "old": {"combination": {}, "parameters": {}, "outputs": ["metrics.json"]},
    }
    project_write(folder / "plan.json", json.dumps({"jobs": jobs}))
    runner._write_plan(Plan("mine", (), {}), folder, [])
    assert json.loads((folder / "plan.json").read_text()) == {"jobs": {"b/seed=0": brought}}


def test_small_differences_are_kept_in_the_run(project, files):
    """Rounded to six decimals, the two would be the same, and the first class would be taken."""
    text = "id,label,p_a,p_b\n1,b,0.49999999,0.50000001\n2,a,0.1,0.9\n"
    foreign_write("mine", foreign.read(files(one=text)))
    (entry,) = results.trained("mine")
    assert entry.predictions.labelled().predicted.tolist() == [1, 1]


def test_the_documented_names_are_those_that_are_read():
    text = foreign.__doc__ or ""
    assert re.search(r"`IDS`", text) and re.search(r"`TAKEN`", text)
    assert all(name == name.lower() for name in (*foreign.IDS, *foreign.TAKEN))


@pytest.mark.parametrize("number", ["inf", "Infinity", "-inf", "nan", "1e999", ""])
def test_a_probability_is_a_finite_number(files, number):
    bad = GOOD.replace("0.3,0.7", f"{number},0.7")
    said = "one.csv: column 'p_a' is not numeric, 1 of 3 rows: line 4 (id 3)"
    assert any(each.startswith(said) for each in refusal(files(one=bad)))


def test_one_class_cannot_be_compared(files):
    alone = "id,label,prediction\n1,a,a\n2,a,a\n"
    (said,) = refusal(files(one=alone), labels=files(truth="id,label\n1,a\n2,a\n")[0])
    assert said == "all labels are of one class, 'a'; a comparison needs galaxies of two or more"


def test_formulas_that_we_have_escaped_are_the_same_galaxies(files):
    """As `predictions.csv` and the tables of `predict` have them."""
    table = "id,label,p_=a,p_b\n'=1+1,'=a,0.9,0.1\n-2,b,0.2,0.8\n"
    (one,) = foreign.read(files(one=table), labels=Path(files(t="id,label\n=1+1,=a\n-2,b\n")[0]))
    assert list(one.predictions.ids) == ["=1+1", "-2"] and labels(one) == ["=a", "b"]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("p_a,p_", "not a valid class"),
        ("p_a,p_NaN", "not a valid class"),
        ("p_a,p_a", "duplicate columns p_a"),
    ],
)
def test_every_class_has_a_name(files, header, said):
    assert said in refusal(files(one=GOOD.replace("p_a,p_b", header)))[0]


# ---- stacks


def split_in_turn(name, n, *, seed):
    """A file of a middling method, with galaxies in all three splits."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) // 3 % 2
    p = (0.1 + 0.3 * label + 0.5 * rng.random(n)).round(4)
    frame = pd.DataFrame({"id": np.arange(n), "split": np.resize(["train", "val", "test"], n)})
    frame = frame.assign(label=np.array(["a", "b"])[label], p_a=1 - p, p_b=p)
    frame.to_csv(name, index=False)
    return name


def test_files_are_stacked_seed_by_seed(project):
    names = [f"{method}=x{i}.csv" for i, method in enumerate(("one", "two", "one", "two"))]
    for i, name in enumerate(names):
        split_in_turn(name.partition("=")[2], 60, seed=i)
    brought = foreign.read(names)
    found = stacked(brought)
    assert [f"{each.method} {each.pairs[0]}" for each in found] == [
        f"stack {row} seed={seed}" for seed in (0, 1) for row in ("mean", "logistic")
    ]
    foreign_write("both", [*brought, *found])
    entries = results.trained("both")
    assert {e.method: e.protocol for e in entries if e.seed == 1} == {
        "one": None,
        "two": None,
        "stack mean": "stack of 2",
        "stack logistic": "stack of 2",
    }
    one, two, mean = (
        next(e.predictions.p for e in entries if (e.method, e.seed) == (method, 1))
        for method in ("one", "two", "stack mean")
    )
    np.testing.assert_allclose(mean, (one + two) / 2)


def test_a_stack_that_cannot_be_fitted_is_refused(project):
    split_in_turn("good.csv", 60, seed=0)
    pd.read_csv("good.csv").query("split == 'test'").to_csv("bare.csv", index=False)
    pd.read_csv("good.csv").query("split != 'val' or id < 8").to_csv("few.csv", index=False)
    for files, why in (
        (["good.csv", "bare.csv"], "--stack: bare.csv: no labelled galaxies in split 'val'"),
        (["good.csv", "few.csv"], "--stack: 3 labelled galaxies in split 'val' are predicted"),
        (["good.csv"], "--stack: seed 0, all labels: a stack needs 2 or more .* found good"),
        (["stack=good.csv"], "--stack: good.csv: the name 'stack' is taken; use NAME=FILE"),
    ):
        with pytest.raises(ValueError, match=why):
            stacked(foreign.read(files))
