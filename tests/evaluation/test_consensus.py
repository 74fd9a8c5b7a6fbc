"""Merging labels: what is written, who is right, and every mistake by file and line."""

import numpy as np
import pandas as pd
import pytest

from galaxymorph import galaxy_zoo_tree as tree
from galaxymorph.evaluation import annotations, consensus

ROUND, EDGE = (
    "smooth=smooth;roundness=round;odd=no",
    ("smooth=features;edge_on=yes;bulge_shape=boxy;odd=yes;odd_feature=ring"),
)
SPIRAL = "smooth=features;edge_on=no;bar=yes;spiral=yes;winding=tight;arms=2;bulge=none;odd=no"


def written(folder, name, labels, column="label", **more):
    """A file of one annotator, with a label for each galaxy a, b, c, ..."""
    rows = [
        {"id": id, column: label, "annotator": name, "seconds": 2.0} | more
        for id, label in zip("abcdefghij", labels, strict=False)
        if label
    ]
    file = folder / f"{name}.csv"
    file.write_text(pd.DataFrame(rows).to_csv(index=False))
    return file


def merged(folder, *files, **options):
    said = consensus.merge(files, folder / "labels.csv", **options)
    read = {path.stem: pd.read_csv(path, dtype={"id": str}) for path in folder.glob("labels*.csv")}
    return read, "\n".join(said)


def test_the_majority_labels_and_the_rest_is_to_be_settled(tmp_path):
    a = written(tmp_path, "anna", ["round", "round", "round", "star or artifact", "cannot tell"])
    b = written(tmp_path, "ben", ["round", "spiral", "cannot tell", "star or artifact"])
    c = written(tmp_path, "cleo", ["spiral", "edge-on", None, "round", "cannot tell", "spiral"])
    found, said = merged(tmp_path, a, b, c)
    labels = found["labels"].set_index("id")
    assert labels.label.fillna("").to_dict() == {
        "a": "round",
        "b": "",
        "c": "round",
        "d": "",
        "e": "",
        "f": "spiral",
    }
    assert [*labels.decision] == [
        *("majority", "conflict", "single", "artifact", "cannot tell", "single")
    ]
    assert [*labels.annotators] == [3, 3, 1, 3, 0, 1]
    assert labels.loc["a", ["p_edge-on", "p_round", "p_spiral"]].tolist() == pytest.approx(
        [0, 2 / 3, 1 / 3], abs=1e-5
    )
    assert np.isnan(labels.loc["e", "p_round"])
    conflict = found["labels_conflicts"]
    assert conflict.id.tolist() == ["b"]
    assert conflict.given[0] == "anna: round; ben: spiral; cleo: edge-on"
    assert "galaxies in conflict: 1" in said and "labels_conflicts.csv" in said


def test_a_third_person_settles_a_conflict(tmp_path):
    a, b = written(tmp_path, "anna", ["x", "y"]), written(tmp_path, "ben", ["x", "x"])
    found, said = merged(tmp_path, a, b)
    assert found["labels_conflicts"].id.tolist() == ["b"]
    found, said = merged(tmp_path, a, b, written(tmp_path, "judge", [None, "x"]))
    assert found["labels"].label.tolist() == ["x", "x"] and "no conflicts" in said
    assert not len(found["labels_conflicts"])


def test_golden_galaxies_rate_annotators_by_wilsons_interval(tmp_path):
    right, wrong = written(tmp_path, "right", "xyxyxyxyxy"), written(tmp_path, "half", "xxxxxxxxxx")
    golden = written(tmp_path, "golden", "xyxyxyxy")
    found, said = merged(tmp_path, right, wrong, golden=golden)
    rated = found["labels_annotators"].set_index("annotator")
    assert rated.golden.tolist() == [8, 8] and rated.right.tolist() == [8, 4]
    z, n = 1.959964, 8
    centre, half = (
        (0.5 + z**2 / 2 / n) / (1 + z**2 / n),
        z / (1 + z**2 / n) * np.sqrt(0.25 / n + z**2 / 4 / n**2),
    )
    assert rated.loc["half", ["low", "high"]].tolist() == pytest.approx(
        [centre - half, centre + half], abs=1e-5
    )
    assert rated.loc["right", "high"] == 1
    labels = found["labels"].set_index("id")
    assert labels.label[:8].tolist() == [*"xyxyxyxy"] and set(labels.decision[:8]) == {"golden"}
    assert found["labels_agreement"].galaxies.tolist() == [2]  # i and j
    assert found["labels_conflicts"].id.tolist() == ["j"]
    assert "golden galaxies right: 4 of 8" in said


def test_time_is_summed_and_its_median_taken(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("id,label,seconds\n1,x,1\n2,y,3\n3,x,100\n4,y,\n")
    found, said = merged(tmp_path, file)
    row = found["labels_annotators"].iloc[0]
    assert (row.annotator, row.median_seconds, row.seconds) == ("a", 3, 104)
    assert "3.0 s each (median), 1 min 44 s in all" in said


def test_answers_of_the_tree_become_votes_that_kaggles_reader_takes(tmp_path):
    from galaxymorph.data.found import Found
    from galaxymorph.data.galaxy_zoo import count_volunteers, read_votes

    artifact = "star or artifact"
    a = written(tmp_path, "anna", [ROUND, EDGE, ROUND, artifact, "cannot tell"], "answers")
    b = written(tmp_path, "ben", [ROUND, SPIRAL, artifact, artifact, "cannot tell"], "answers")
    c = written(tmp_path, "cleo", [ROUND, SPIRAL, ROUND], "answers")
    found, _ = merged(tmp_path, a, b, c)
    labels = found["labels"].fillna("")
    assert labels.label.tolist() == ["round", "", "round", "", ""]
    assert labels.decision.tolist() == ["votes", "no class", "votes", "artifact", "cannot tell"]
    table, _ = read_votes(tmp_path / "labels_votes.csv", Found([*"abcd"], [*"abcd"], [], []))
    votes = table.to_numpy()

    def vote(id, question, answer):
        return votes[table.index.get_loc(id), tree.column(question, answer)]

    assert vote("b", "smooth", "features") == 1
    assert vote("b", "edge_on", "no") == pytest.approx(2 / 3, abs=1e-5)
    assert vote("b", "winding", "tight") == pytest.approx(2 / 3, abs=1e-5)
    assert vote("b", "odd_feature", "ring") == pytest.approx(1 / 3, abs=1e-5)
    assert vote("c", "roundness", "round") == pytest.approx(2 / 3, abs=1e-5)
    assert vote("c", "odd", "no") == 1  # of those who were asked
    people = Found([*"abcd"], [*"abcd"], [], [], labels=dict.fromkeys("abcd", 0))
    counted = count_volunteers(people, tmp_path / "labels_votes.csv").volunteers
    assert counted.tolist() == [3, 3, 3, 2]


def test_conflicts_of_the_tree_are_about_what_decides_the_class(tmp_path):
    loose = SPIRAL.replace("tight", "loose")
    a = written(tmp_path, "anna", [ROUND, EDGE, SPIRAL, SPIRAL], "answers")
    b = written(tmp_path, "ben", [EDGE, SPIRAL, loose, SPIRAL], "answers")
    found, _ = merged(tmp_path, a, b)
    conflict = found["labels_conflicts"]
    assert conflict[["id", "question"]].to_numpy().tolist() == [["a", "smooth"], ["b", "edge_on"]]
    asked = found["labels_agreement"].set_index("question")
    assert asked.galaxies[["smooth", "edge_on", "winding"]].tolist() == [4, 3, 2]
    assert asked.agreement[["smooth", "winding"]].tolist() == [0.75, 0.5]


def test_golden_answers_of_the_tree_may_be_partial(tmp_path):
    a = written(tmp_path, "anna", [ROUND, EDGE, SPIRAL], "answers")
    golden = written(
        tmp_path, "golden", ["smooth=smooth", "edge_on=no", "spiral=yes;arms=2"], "answers"
    )
    found, _ = merged(tmp_path, a, golden=golden)
    assert found["labels_annotators"].right.tolist() == [2]


MISTAKES = {
    "no rows": ("id,label\n", "a.csv: no rows"),
    "empty": ("", "a.csv: no rows"),
    "columns": ("galaxy,class\n1,x\n", "a.csv: expected a column id"),
    "no id": ("id,label\n1,x\n,y\n", "a.csv, line 3 (id ): no id"),
    "no label": ("id,label\n1,x\n2,\n", "a.csv, line 3 (id 2): no label; remove the row"),
    "seconds": ("id,label,seconds\n1,x,1\n2,y,two\n", "a.csv, line 3 (id 2): seconds 'two'"),
    "negative": ("id,label,seconds\n1,x,-1\n", "line 2 (id 1): seconds '-1' is not a duration"),
    "rounded": ("id,label\n5.87E+17,x\n", "line 2 (id 5.87E+17): the id is a number that has lost"),
    "short": ("id,label\n1,x\n2\n", "a.csv: the header has 2 cells, but line 3 has 1"),
    "case": ("id,label\n1,Round\n2,round\n", "differ only in spelling: 'Round' (", "line 3"),
    "spelling": ("id,label\n007,x\n7,y\n", "ids that differ only in spelling"),
    "answer": ("id,answers\n1,smooth=soft\n", "a.csv, line 2 (id 1): unknown answer 'soft'"),
    "path": ("id,answers\n1,smooth=smooth;bar=yes\n", "line 2 (id 1): no answer to 'roundness'"),
    "off": (f"id,answers\n1,{ROUND};bar=yes\n", "question 'bar' is not asked after these"),
    "missing": (None, "a.csv does not exist"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named_by_file_and_line_before_anything_is_written(tmp_path, name):
    content, *expected = MISTAKES[name]
    if content is not None:
        (tmp_path / "a.csv").write_text(content)
    with pytest.raises(ValueError) as error:
        consensus.merge([tmp_path / "a.csv"], tmp_path / "labels.csv")
    assert all(text in str(error.value) for text in expected), str(error.value)
    assert not [*tmp_path.glob("labels*")]


def test_all_mistakes_of_all_files_are_listed(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text("id,label\n1,\n2,x\n3,\n")
    with pytest.raises(ValueError) as error:
        annotations.read([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert str(error.value).count("no label") == 4


def test_two_files_of_one_name_are_two_people_or_two_versions(tmp_path):
    a = written(tmp_path, "anna", "xy")
    b = tmp_path / "b.csv"
    b.write_text(a.read_text())
    with pytest.raises(ValueError, match=r"'anna' labelled 2 galaxies in two files, such as a"):
        annotations.read([a, b])
    b.write_text("id,label,annotator\nz,x,anna\n")
    assert annotations.read([a, b]).annotators == ["anna"]  # further galaxies
    with pytest.raises(ValueError, match="given twice"):
        annotations.read([a, a])


def test_of_a_galaxy_labelled_twice_the_later_row_counts_and_is_noted(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("id,label\n1,x\n2,y\n1,y\n")
    found = annotations.read([file])
    assert {row.id: row.answer for row in found.rows} == {"1": "y", "2": "y"}
    assert "the last row counts: 1 by a (lines 2, 4)" in found.notes[0]


def test_other_classes_and_other_kinds_are_refused(tmp_path):
    a, b = written(tmp_path, "anna", "xyx"), written(tmp_path, "ben", "pqp")
    with pytest.raises(ValueError, match="no class in common: 'anna' has x, y, the others p, q"):
        annotations.read([a, b])
    with pytest.raises(ValueError, match=r"ben.csv, line 2 \(id a\): unknown class 'p'"):
        annotations.read([a, b], classes=["x", "y"])
    assert annotations.read([a, b], classes=[*"xypq"]).classes == (*"xypq",)
    answers = written(tmp_path, "cleo", [ROUND], "answers")
    with pytest.raises(ValueError, match="cleo.csv has answers of the tree"):
        annotations.read([a, answers])


def test_other_golden_answers_are_refused(tmp_path):
    given = annotations.read([written(tmp_path, "anna", "xyx")])
    for labels, column, expected in (
        ("pq", "label", r"unknown class 'p'"),
        ([ROUND], "answers", "has answers of the tree, but the annotators gave classes"),
    ):
        with pytest.raises(ValueError, match=expected):
            annotations.golden(written(tmp_path, "golden", labels, column), given)
    golden = tmp_path / "golden.csv"
    golden.write_text("id,label\na,x\na,y\n")
    with pytest.raises(ValueError, match="keep one row of each galaxy"):
        annotations.golden(golden, given)
    golden.write_text("id,label\nz,x\n")
    with pytest.raises(ValueError, match="nobody labelled any"):
        annotations.golden(golden, given)
    golden.write_text("id,label\na,x\nb,z\nq,y\n")
    known, notes = annotations.golden(golden, given)
    assert known == {"a": "x", "b": "z", "q": "y"} and len(notes) == 2
    with pytest.raises(ValueError, match=r"line 3 \(id b\): unknown class 'z'"):
        annotations.golden(golden, given, strict=True)


def test_galaxies_without_an_image_are_refused(tmp_path):
    a = written(tmp_path, "anna", "xyx")
    assert annotations.read([a], ids=[*"abcd"]).ids == [*"abc"]
    with pytest.raises(ValueError, match=r"anna.csv, line 4 \(id c\): no such galaxy among the 2"):
        annotations.read([a], ids=[*"ab"])


def test_inputs_are_never_overwritten(tmp_path):
    a = written(tmp_path, "anna", "xy")
    before = a.read_text()
    with pytest.raises(ValueError, match="is an input"):
        consensus.merge([a], a)
    conflicts = a.rename(tmp_path / "out_conflicts.csv")
    with pytest.raises(ValueError, match="is an input"):
        consensus.merge([conflicts], tmp_path / "out.csv")
    assert conflicts.read_text() == before


def test_a_spreadsheets_semicolons_and_formulas_are_read(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("\ufeffid;label;annotator\n'=1+1;x;anna\n2;y;anna\n")
    assert [row.id for row in annotations.read([file]).rows] == ["=1+1", "2"]
