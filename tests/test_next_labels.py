"""`galaxymorph next`: from tables to a table of ids."""

import numpy as np
import pandas as pd
import pytest

from galaxymorph import cli

CLASSES = ("round", "edge-on", "spiral")


@pytest.fixture
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def predicted(n=200, *, seed=0, **columns):
    """A table as predict writes it, and the true class of each galaxy; ids begin with zeros."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 3, n)
    logits = rng.normal(size=(n, 3)) + 2 * np.eye(3)[true]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    table = pd.DataFrame({"id": [f"00{k:03}" for k in range(n)]})
    table = table.assign(**{f"p_{name}": p[:, k].round(6) for k, name in enumerate(CLASSES)})
    table = table.assign(label=np.array(CLASSES)[p.argmax(1)], **columns)
    table.to_csv("p.csv", index=False)
    return table, np.array(CLASSES)[true]


def features(table, true):
    """Features that tell the classes apart, with the rows of the table in another order."""
    rng = np.random.default_rng(1)
    codes = pd.Categorical(true, CLASSES).codes
    made = pd.DataFrame(rng.normal(size=(len(table), 5)), columns=[f"f_{k}" for k in range(5)])
    made["f_0"] += 6 * codes
    made.insert(0, "id", table["id"])
    made.sample(frac=1, random_state=0).to_csv("f.csv", index=False)


def call(*arguments):
    return cli.main(["next", *map(str, arguments)])


def read(name="next.csv"):
    return pd.read_csv(name, dtype={"id": str})


def test_the_least_certain_of_a_table_and_a_tenth_at_random(inside, capsys):
    table, _ = predicted()
    assert call("--predictions", "p.csv", "--n", 20, "--rule", "margin") == 0
    found = read()
    assert found["chosen_by"].value_counts().to_dict() == {"margin": 18, "random": 2}
    ranked = table.set_index("id").filter(like="p_").apply(np.sort, axis=1, result_type="expand")
    margin = 1 - (ranked[2] - ranked[1])
    by_rule = found[found["chosen_by"] == "margin"]
    np.testing.assert_allclose(by_rule["score"], margin[by_rule["id"]], atol=1e-5)
    assert (margin > by_rule["score"].min()).sum() < 18 + 20 + 1  # the reserve is closed to it
    assert "2 random, 18 margin: next.csv" in capsys.readouterr().out


def test_labels_are_not_chosen_again_and_tell_the_shares(inside, capsys):
    table, true = predicted()
    answers = pd.Series(true, table["id"])
    labelled = []
    for round_ in range(3):
        options = ["--labels", *labelled] if labelled else []
        assert call("--predictions", "p.csv", "--n", 40, *options) == 0
        found = read()
        before = [read(name)["id"] for name in labelled]
        assert not set(found["id"]) & set(pd.concat([*before, pd.Series(dtype=str)]))
        labelled.append(f"l{round_}.csv")
        given = pd.DataFrame({"id": found["id"], "label": answers[found["id"]].to_numpy()})
        given.to_csv(labelled[-1], index=False)
    capsys.readouterr()
    assert call("--predictions", "p.csv", "--labels", *labelled) == 0
    said = capsys.readouterr().out
    assert "estimates from 12 random galaxies" in said
    assert "accuracy " in said and "share spiral " in said and "more labels" not in said


def test_with_features_it_learns_from_the_labels(inside, capsys):
    """Predictions that know nothing are replaced: the galaxies chosen then lie between classes."""
    table, true = predicted(300)
    table[[f"p_{name}" for name in CLASSES]] = 1 / 3
    table.to_csv("p.csv", index=False)
    features(table, true)
    labels = pd.DataFrame({"id": table["id"], "label": true})[:60]
    labels.loc[0, "label"] = "cannot tell"
    labels.to_csv("l.csv", index=False)
    options = ["--predictions", "p.csv", "--features", "f.csv", "--labels", "l.csv"]
    assert call(*options, "--n", 30) == 0
    said = capsys.readouterr().out
    assert "59 labels: round " in said and "\n50 more labels: " in said
    found = read()
    assert set(found["chosen_by"]) == {"random", "margin"}
    place = pd.read_csv("f.csv", dtype={"id": str}).set_index("id")["f_0"]
    between = abs(place[found["id"][found["chosen_by"] == "margin"]] % 6 - 3)
    assert between.mean() < abs(place % 6 - 3).mean()
    assert call(*options, "--n", 30, "--rule", "bald") == 0
    assert "bald" in set(read()["chosen_by"])


def test_with_features_the_classes_may_be_ones_own(inside, capsys):
    table, true = predicted(100)
    features(table, true)
    own = np.where(true == "spiral", "disc", "other")
    pd.DataFrame({"id": table["id"], "label": own})[:40].to_csv("l.csv", index=False)
    options = ["--predictions", "p.csv", "--labels", "l.csv"]
    assert call(*options, "--features", "f.csv", "--n", 10) == 0
    assert "40 labels: disc " in capsys.readouterr().out
    assert call(*options) == 2
    assert "unknown class" in capsys.readouterr().err


def test_of_a_run_test_galaxies_are_left_out_and_labels_known(inside):
    table, true = predicted(100)
    split = np.repeat(["test", "train", "unlabelled"], [20, 30, 50])
    table = table.assign(split=split, label=np.where(split == "unlabelled", "", true))
    table.to_csv("p.csv", index=False)
    assert call("--predictions", "p.csv", "--n", 70) == 0
    assert set(read()["id"]) == set(table["id"][50:])


def test_what_is_wrong_is_named(inside, capsys):
    table, true = predicted(30)
    features(table[:20], true[:20])
    pd.DataFrame({"id": ["00001"], "label": ["sprial"]}).to_csv("l.csv", index=False)
    pd.DataFrame({"id": ["x", "y"], "label": ["round", ""]}).to_csv("other.csv", index=False)
    pd.DataFrame({"id": ["00001", "00001"], "label": ["round"] * 2}).to_csv("two.csv", index=False)
    table.drop(columns=["p_round", "p_spiral", "p_edge-on"]).to_csv("none.csv", index=False)
    pd.DataFrame({"id": ["00001"] * 2, "f_0": [1.0, 2.0]}).to_csv("twice.csv", index=False)
    table.assign(p_round=0.9).to_csv("sum.csv", index=False)
    for options, message in (
        ((), "give either --run, or --predictions"),
        (("--predictions", "p.csv", "--run", "mock"), "give either --run"),
        (("--predictions", "p.csv", "--rule", "margn"), "unknown rule 'margn'; did you mean"),
        (("--predictions", "p.csv", "--rule", "bald"), "rule 'bald' needs several predictions"),
        (("--predictions", "p.csv", "--rule", "typical"), "rule 'typical' needs features"),
        (("--predictions", "p.csv", "--features", "f.csv"), "f.csv: no features of 10 galaxies"),
        (
            ("--predictions", "p.csv", "--labels", "l.csv"),
            "l.csv, id 00001: unknown class 'sprial'",
        ),
        (("--predictions", "p.csv", "--labels", "other.csv"), "none of 2 ids is a galaxy"),
        (("--predictions", "p.csv", "--labels", "two.csv"), "duplicate id '00001'"),
        (("--predictions", "none.csv"), "none.csv: no column p_<class>"),
        (("--predictions", "sum.csv"), "sum.csv: probabilities do not sum to 1"),
        (("--predictions", "gone.csv"), "gone.csv"),
        (("--predictions", "p.csv", "--n", 0), "expected at least 1 galaxy"),
        (("--run", "gone"), "run 'gone' has no steps yet"),
    ):
        assert call(*options) == 2, message
        assert message in capsys.readouterr().err
        assert not (inside / "next.csv").exists()
