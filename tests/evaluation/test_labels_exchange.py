"""Galaxies out and labels in: files in the documented formats of Zooniverse and Label Studio."""

import base64
import csv
import json
from xml.etree import ElementTree

import pandas as pd
import pytest

from galaxymorph import galaxy_zoo_tree as tree
from galaxymorph.evaluation import annotations, labels_exchange

PICTURES = [base64.b64encode(text).decode() for text in (b"one", b"two")]
CLASSES = [{"name": "label", "prompt": "Which?", "answers": ["round", "a & b"], "parent": None}]
TREE = [q._asdict() | {"prompt": tree.PROMPTS[q.name]} for q in tree.QUESTIONS]


def classifications(file, rows, **more):
    """A classification export of Zooniverse: (user, metadata of the subject, annotations)."""
    columns = (
        "classification_id,user_name,user_id,user_ip,workflow_id,workflow_name,workflow_version"
    )
    columns += ",created_at,gold_standard,expert,metadata,annotations,subject_data,subject_ids"
    with file.open("w", newline="") as target:
        writer = csv.DictWriter(target, columns.split(","))
        writer.writeheader()
        for n, (user, subject, given) in enumerate(rows):
            about = {
                "started_at": "2026-12-01T10:00:00.000Z",
                "finished_at": f"2026-12-01T10:00:0{n % 10}.500Z",
            }
            writer.writerow(
                {
                    "classification_id": n,
                    "user_name": user,
                    "workflow_id": 7,
                    "created_at": "2026-12-01 10:00:09 UTC",
                    "metadata": json.dumps(about),
                    "annotations": json.dumps(given),
                    "subject_data": json.dumps({str(n): {"retired": None, **subject}}),
                    "subject_ids": n,
                }
                | more
            )
    return file


def one(value, task="T0", label="Which class?"):
    return {"task": task, "task_label": label, "value": value}


def rows(text, tmp_path):
    file = tmp_path / "in.csv"
    file.write_text(text)
    return annotations.read([file])


def test_a_subject_set_comes_back_with_its_ids(tmp_path):
    ids = ["001", "=a/b"]
    written = labels_exchange.exported(ids, PICTURES, [], tmp_path / "set", "zooniverse")
    assert written == [tmp_path / "set" / "manifest.csv"]
    manifest = pd.read_csv(written[0], dtype=str)
    images = [(tmp_path / "set" / name).read_bytes() for name in manifest.image]
    assert images == [b"one", b"two"]
    subjects = manifest.drop(columns="image").to_dict("records")  # what volunteers do not see
    assert all(name.startswith("#") for name in manifest.columns[1:])
    given = [("anna", subjects[0], [one("round")]), ("ben", subjects[1], [one("spiral")])]
    text = labels_exchange.zooniverse(classifications(tmp_path / "c.csv", given))
    found = rows(text, tmp_path)
    assert [(r.id, r.answer, r.annotator) for r in found.rows] == [
        ("001", "round", "anna"),
        ("=a/b", "spiral", "ben"),
    ]
    assert [r.seconds for r in found.rows] == [0.5, 1.5]


def test_a_classification_is_flattened(tmp_path):
    """Markup and pictures in answers, combo tasks, answers left out, ids from file names."""
    combo = {
        "task": "T9",
        "task_label": None,
        "value": [one("**Spiral** ![](a.png)"), one(None, "T1", "")],
    }
    given = [
        ("not-logged-in-0f3a", {"Filename": "set/42.jpg"}, [combo]),
        ("anna", {"#galaxy": "7", "image": "8.png"}, [one(["Round"])]),
        ("anna", {"GalaxyID": 9}, [one(None)]),
    ]
    found = rows(labels_exchange.zooniverse(classifications(tmp_path / "c.csv", given)), tmp_path)
    assert [(r.id, r.answer) for r in found.rows] == [
        ("42", "Spiral"),
        ("7", "Round"),
        ("9", "cannot tell"),
    ]
    assert found.rows[0].annotator == "not-logged-in-0f3a"


def test_answers_of_the_tree_are_recognised_by_the_questions_of_galaxy_zoo(tmp_path):
    way = {"smooth": "features", "edge_on": "yes", "bulge_shape": "boxy", "odd": "no"}
    tasks = [one(f" {a.title()}", f"T{n}", tree.PROMPTS[q]) for n, (q, a) in enumerate(way.items())]
    file = classifications(tmp_path / "c.csv", [("anna", {"id": "1"}, tasks)])
    found = rows(labels_exchange.zooniverse(file), tmp_path)
    assert found.tree and tree.given_in(found.rows[0].answer) == way
    wrong = [one("fluffy", "T0", tree.PROMPTS["smooth"])]
    file = classifications(
        tmp_path / "c.csv", [("anna", {"id": "1"}, tasks), ("b", {"id": "1"}, wrong)]
    )
    with pytest.raises(ValueError, match=r"c.csv, line 3: unknown answer 'fluffy' to 'smooth'"):
        labels_exchange.zooniverse(file)


def test_one_of_several_questions_is_chosen(tmp_path):
    tasks = [one("round", "T0", "Class?"), one("no", "T1", "Is it blurred?")]
    file = classifications(tmp_path / "c.csv", [("anna", {"id": "1"}, tasks)])
    with pytest.raises(ValueError, match=r"line 2: several questions \(T0 Class\?, T1 Is it"):
        labels_exchange.zooniverse(file)
    for question, answer in (("T0", "round"), ("is it blurred", "no")):
        text = labels_exchange.zooniverse(file, question=question)
        assert rows(text, tmp_path).rows[0].answer == answer


def test_other_files_of_zooniverse_are_refused(tmp_path):
    file = tmp_path / "c.csv"
    file.write_text("subject_id,metadata\n1,{}\n")
    with pytest.raises(ValueError, match="no column user_name, created_at"):
        labels_exchange.zooniverse(file)
    given = [("anna", {"id": "1"}, [one("x")]), ("anna", {"retired": 1}, [one("x")])]
    with pytest.raises(ValueError, match="line 3: no id of the galaxy"):
        labels_exchange.zooniverse(classifications(file, given))
    text = classifications(file, given[:1]).read_text()
    file.write_text(text.replace('""value""', '""value'))
    with pytest.raises(ValueError, match="line 2, column annotations: not valid JSON"):
        labels_exchange.zooniverse(file)
    file.write_text(text + text.splitlines()[1].replace(",7,", ",8,") + "\n")
    with pytest.raises(ValueError, match=r"2 workflows \(7, 8\); keep the rows of one"):
        labels_exchange.zooniverse(file)


def labelled(tasks, chosen, **more):
    """What Label Studio's JSON export makes of tasks: all chosen answers of each."""
    made = []
    for n, (task, answers) in enumerate(zip(tasks, chosen, strict=True), 1):
        result = [
            {
                "id": f"r{n}",
                "from_name": name,
                "to_name": "image",
                "type": "choices",
                "origin": "manual",
                "value": {"choices": [answer]},
            }
            for name, answer in answers.items()
        ]
        annotation = {"id": n, "completed_by": 3, "result": result, "was_cancelled": False}
        annotation |= {"lead_time": 4.288, "created_at": "2026-12-01T10:00:00Z"} | more
        made.append({"id": n, "project": 1, **task, "annotations": [annotation], "predictions": []})
    return made


def test_tasks_of_label_studio_come_back_labelled(tmp_path):
    file = tmp_path / "tasks.json"
    written = labels_exchange.exported(["007", "x"], PICTURES, CLASSES, file, "label-studio")
    tasks = json.loads(file.read_text())
    assert tasks[1]["data"]["image"] == f"data:image/jpeg;base64,{PICTURES[1]}"
    shown = ElementTree.parse(written[1])
    values = [choice.get("value") for choice in shown.iter("Choice")]
    assert values == ["round", "a & b", "star or artifact", "cannot tell"]
    assert shown.find("Image").get("value") == "$image"
    answers = [{"label": "a & b"}, {"label": "cannot tell"}]
    file.write_text(json.dumps(labelled(tasks, answers, completed_by={"id": 3, "email": "a@b.c"})))
    found = rows(labels_exchange.label_studio(file), tmp_path)
    assert [(r.id, r.answer, r.annotator) for r in found.rows] == [
        ("007", "a & b", "a@b.c"),
        ("x", "cannot tell", "a@b.c"),
    ]
    assert found.rows[0].seconds == 4.3


def test_label_studio_asks_along_the_tree(tmp_path):
    file = tmp_path / "tasks.json"
    labels_exchange.exported(["1", "2"], PICTURES, TREE, file, "label-studio")
    shown = ElementTree.parse(tmp_path / "tasks.xml").getroot()
    asked = {view.find("Choices").get("name"): view for view in shown.findall("View")}
    assert [*asked] == [*tree.SLICES]
    for question in tree.QUESTIONS:
        view = asked[question.name]
        parent = (view.get("whenTagName"), view.get("whenChoiceValue"))
        assert parent == (question.parent or (None, None))
    way = {"smooth": "smooth", "roundness": "cigar", "odd": "yes", "odd_feature": "dust lane"}
    exported = labelled(json.loads(file.read_text()), [way, {"smooth": "artifact"}])
    file.write_text(json.dumps(exported))
    found = rows(labels_exchange.label_studio(file), tmp_path)
    assert [tree.given_in(r.answer) for r in found.rows] == [way, {"smooth": "artifact"}]


def test_skipped_tasks_are_left_out_and_other_exports_refused(tmp_path):
    file, task = tmp_path / "t.json", {"data": {"image": "/data/upload/1/42.png"}}
    tasks = labelled([task], [{"label": "x"}]) + labelled([task], [{}], was_cancelled=True)
    file.write_text(json.dumps(tasks))
    assert [r.id for r in rows(labels_exchange.label_studio(file), tmp_path).rows] == ["42"]
    file.write_text('[{"image": "a.png", "label": "x"}]')
    with pytest.raises(ValueError, match=r"t.json, task 1: not a valid export .* not JSON-MIN"):
        labels_exchange.label_studio(file)
    file.write_text("[]")
    with pytest.raises(ValueError, match="no task is annotated"):
        labels_exchange.label_studio(file)
    file.write_text(
        json.dumps(
            labelled(
                [task],
                [{"label": "x"}],
                result=[
                    {"type": "choices", "from_name": "label", "value": {"choices": ["x", "y"]}}
                ],
            )
        )
    )
    with pytest.raises(ValueError, match=r"task 1: 2 answers to one question \(x, y\)"):
        labels_exchange.label_studio(file)


def test_unknown_targets_and_inputs_as_output_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown target 'zoniverse'; did you mean 'zooniverse'"):
        labels_exchange.exported(["1"], PICTURES[:1], [], tmp_path / "x", "zoniverse")
    file = classifications(tmp_path / "c.csv", [("anna", {"id": "1"}, [one("x")])])
    with pytest.raises(ValueError, match="is an input"):
        labels_exchange.imported([file], file, "zooniverse")
    paths = labels_exchange.imported([file, file], tmp_path / "out.csv", "zooniverse")
    assert [path.name for path in paths] == ["out.csv", "out_2.csv"]
