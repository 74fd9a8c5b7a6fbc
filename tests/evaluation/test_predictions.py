"""Checked tables of classes and of vote fractions: what is read, what is refused. Takes 3 s."""

import math

import numpy as np
import pandas as pd
import pytest

from galaxymorph import galaxy_zoo_tree
from galaxymorph.evaluation import predictions
from tests.evaluation.made import HAND, changed, joined, sample, table


def test_the_labelled_galaxies_of_a_split():
    rows = [("round", [0.5, 0.5, 0]), ("", [0, 0, 1]), ("spiral", [0.2, 0.3, 0.5004])]
    both = joined(table(rows), changed(HAND, lambda t: t.assign(split="val", id=t.id + "v")))
    part = both.labelled("test")
    assert list(part.ids) == ["g0", "g2"] and list(part.true) == [0, 2]
    assert list(part.predicted) == [0, 2]  # the first of equals
    assert list(part.right) == [True, True] and part.p.sum(1) == pytest.approx(1, abs=1e-15)
    assert part.confidence == pytest.approx([0.5, 0.5004 / 1.0004])
    assert both.has("val") and not both.has("train") and len(both.labelled("val").ids) == 6
    with pytest.raises(
        ValueError, match=r"in split 'train'; the table has test \(3 rows\), val \(6"
    ):
        both.labelled("train")
    with pytest.raises(ValueError, match="no labelled galaxy in split 'test'; the table has test"):
        table(rows[1:2]).labelled()


def test_a_file_gives_the_same_predictions(tmp_path):
    """With ids and labels that look like numbers, and one that is empty."""
    names = ("0", "1")
    rows = [("0", [0.9, 0.1]), ("1", [0.2, 0.8]), ("1", [0.7, 0.3]), ("", [0.5, 0.5])]
    whole = table(rows, names=names).table().assign(id=["007", "7", "nan", "1e5"])
    whole.to_csv(tmp_path / "predictions.csv", index=False)
    read = predictions.read_predictions(tmp_path / "predictions.csv")
    assert read.table().equals(whole) and list(read.ids) == ["007", "7", "nan", "1e5"]
    loose = pd.read_csv(tmp_path / "predictions.csv").assign(id=list("abcd"))
    assert loose.label.dtype == float  # the trap: 0.0, 1.0, 1.0, NaN
    assert list(predictions.predictions_in(loose).labels) == [0, 1, 1, -1]


def test_arrays_give_the_same_predictions():
    made = predictions.predictions_of(
        ids=HAND.ids,
        split=HAND.split,
        labels=HAND.labels,
        probabilities=HAND.p,
        classes=HAND.classes,
    )
    assert made.table().equals(HAND.table())
    with pytest.raises(ValueError, match="3 probabilities per galaxy, but 2 classes"):
        predictions.Predictions(HAND.ids, HAND.split, HAND.labels, HAND.p, ("a", "b"))
    with pytest.raises(ValueError, match="labels range from 2 to 4; expected -1 .* to 2"):
        predictions.Predictions(HAND.ids, HAND.split, HAND.labels + 2, HAND.p, HAND.classes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.assign(id="a"),
            r"duplicate id, 6 of 6 rows: line 2 \(id a\), .*, line 6 \(id a\) and 1 more; keep",
        ),
        (
            lambda t: t.assign(id=["a", "b", "a", "b", "c", "a"]),
            r"duplicate id, 5 of 6 rows: line 2 \(id a\), line 3 \(id b\), .*; keep one row",
        ),
        (
            lambda t: t.assign(label=["bar", *t.label[1:]]),
            r"not a class, 1 of 6 rows: line 2 \(id g0\) 'bar'; classes are round, edge-on, spiral",
        ),
        (
            lambda t: t.assign(p_round=t.p_round + 0.01),
            r"sum to 1, 6 of 6 rows: line 2 \(id g0\) 1.01, .* and 1 more",
        ),
        (
            lambda t: t.assign(p_round=[math.nan, *t.p_round[1:]]),
            r"sum to 1, 1 of 6 rows: line 2 \(id g0\) nan",
        ),
        (lambda t: t.assign(p_round=t.p_round - 1, p_spiral=t.p_spiral + 1), "not probabilities"),
        (lambda t: t.assign(p_round="much"), "column 'p_round' is not numeric"),
        (lambda t: t.assign(more=1), "unknown column 'more'; expected id, split, label, p_<class>"),
        (lambda t: t.drop(columns="split"), "missing column 'split'; the table has id, label, p_r"),
        (
            lambda t: t[["id", "split", "label"]],
            "missing column 'p_<class>'; the table has id, spl",
        ),
    ],
)
def test_faulty_predictions_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        changed(HAND, change)


def test_an_error_names_the_file(tmp_path):
    HAND.table().assign(id="a").to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(ValueError, match=r"p\.csv: duplicate id, 6 of 6 rows: line 2 \(id a\)"):
        predictions.read_predictions(tmp_path / "p.csv")


def test_probabilities_that_a_file_rounded_are_good_enough():
    t = sample(100, digits=12)
    rounded = changed(t, lambda frame: frame.round(4))
    assert (rounded.p.sum(1) != 1).any()
    assert rounded.labelled().p == pytest.approx(t.labelled().p, abs=1e-3)


# ---- votes


def votes(n=3, *, concentration=False):
    """A table of votes: galaxies of three in four of which people say smooth, as predicted."""
    true = np.zeros((n, 37))
    true[:, :3] = 0.75, 0.2, 0.05
    head = {"id": [f"g{i}" for i in range(n)], "split": "test", "volunteers": 40.0}
    columns = dict(zip(galaxy_zoo_tree.COLUMNS, true.T, strict=True))
    predicted = {f"p_{name}": values for name, values in columns.items()}
    spread = {f"s_{name}": 20.0 for name in galaxy_zoo_tree.SLICES} if concentration else {}
    return pd.DataFrame(head | columns | predicted | spread)


TRUE = list(galaxy_zoo_tree.COLUMNS)


@pytest.mark.parametrize("concentration", [True, False])
def test_a_file_of_votes_gives_the_same_votes(tmp_path, concentration):
    frame = votes(concentration=concentration).assign(id=["007", "7", "nan"])
    frame.loc[1, [*TRUE, "volunteers"]] = np.nan
    made = predictions.votes_in(frame)
    made.table().to_csv(tmp_path / "votes.csv", index=False)
    read = predictions.read_votes(tmp_path / "votes.csv")
    pd.testing.assert_frame_equal(read.table(), frame, check_dtype=False)
    assert list(read.voted().ids) == list(read.labelled().ids) == ["007", "nan"]
    assert (read.concentration is not None) == concentration
    assert len(read.voted("val").ids) == 0 and not read.has("val")
    message = r"no galaxy with votes in split 'val'; the table has test \(3 rows\)"
    with pytest.raises(ValueError, match=message):
        read.labelled("val")


def test_arrays_give_the_same_votes():
    frame = votes(concentration=True)
    outputs = [*TRUE, *(f"s_{name}" for name in galaxy_zoo_tree.SLICES)]
    predicted = frame[[f"p_{name}" for name in TRUE] + outputs[37:]].to_numpy(float)
    parts = {"ids": frame.id, "split": frame.split, "votes": frame[TRUE]}
    parts |= {"volunteers": frame.volunteers, "predicted": predicted}
    made = predictions.votes_of(**parts, outputs=outputs)
    pd.testing.assert_frame_equal(made.table(), frame, check_dtype=False)
    plain = predictions.votes_of(**parts | {"volunteers": None}, outputs=outputs)
    assert np.isnan(plain.volunteers).all()
    with pytest.raises(ValueError, match="outputs are Class1.2, .*; expected Class1.1"):
        predictions.votes_of(**parts, outputs=outputs[1:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.drop(columns=["p_Class3.1", "volunteers"]),
            "missing column 'volunteers', 'p_Class3.1'; the table has id, split",
        ),
        (
            lambda t: t.assign(s_smooth=1.0),
            "missing column 's_edge_on', 's_bar', 's_spiral' and 7 more;",
        ),
        (
            lambda t: t.assign(
                **{f"s_{q}": 0.0 if q == "bar" else 1.0 for q in galaxy_zoo_tree.SLICES}
            ),
            "column 's_bar' is not positive, 3 of 3 rows",
        ),
        (
            lambda t: t.assign(**{"p_Class3.1": [0.1, np.nan, 0.2]}),
            r"column 'p_Class3.1' is not finite, 1 of 3 rows: line 3 \(id g1\) nan",
        ),
        (
            lambda t: t.assign(**{"p_Class1.1": np.inf}),
            r"'p_Class1.1' is not finite, 3 of 3 rows: line 2 \(id g0\) inf, line 3",
        ),
        (
            lambda t: t.assign(**{"Class6.1": [0.1, 1.2, np.nan]}),
            r"'Class6.1' is not between 0 and 1, 2 of 3 rows: line 3 \(id g1\) 1.2, line 4 \(id g2",
        ),
        (
            lambda t: t.assign(volunteers=[0, 2, 40]),
            r"'volunteers' is not positive, 1 of 3 rows: line 2 \(",
        ),
        (lambda t: t.assign(**{"Class1.1": "much"}), "column 'Class1.1' is not numeric"),
        (
            lambda t: t.assign(id="g"),
            r"duplicate id, 3 of 3 rows: line 2 \(id g\), .*; keep one row",
        ),
    ],
)
def test_faulty_votes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        predictions.votes_in(change(votes()))
