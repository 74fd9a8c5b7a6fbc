"""Tables and sentences of mistakes that were made again."""

import pytest

from galaxymorph.diagnostics import mistakes
from galaxymorph.diagnostics.findings import Finding
from galaxymorph.diagnostics.mistakes import Replay
from galaxymorph.evaluation.intervals import wilson

EPOCH, LEAK, VIEW, SHUFFLED = "best epoch", "leak", "one view", "shuffled"
MORE = {
    EPOCH: {"direction": 1},
    LEAK: {"direction": 1},
    VIEW: {"direction": -1},
    SHUFFLED: {"direction": -1, "measure": "macro F1"},
}
WHY = "no check: it cannot happen"


def replay(name, *numbers):
    return Replay(name, "a project", "what it is", *numbers, **MORE[name])


def made():
    return [
        replay(EPOCH, 0.91, 0.90, 200, WHY, {"epochs": 8}),
        replay(EPOCH, 0.90, 0.90, 200, WHY, {"epochs": 8}),
        replay(LEAK, 0.96, 0.90, 200, Finding("ids", "leak", "twice"), {}),
        replay(LEAK, 0.98, 0.90, 198, Finding("ids", "leak", "twice"), {}),
        replay(VIEW, 0.80, 0.70, 200, WHY, {"random weights": 0.6}),
        replay(VIEW, 0.82, 0.70, 200, WHY, {"random weights": 0.7}),
        replay(SHUFFLED, 0.24, 0.90, 200, Finding("order", "warning", "chance"), {}),
        replay(SHUFFLED, 0.28, 0.90, 200, Finding("order", "passed", "none"), {}),
    ]


def test_the_table_has_means_and_extremes_and_the_worst_first():
    table = mistakes.table(made())
    assert list(table.columns) == [
        *(
            "mistake",
            "published_in",
            "measure",
            "reported",
            "honest",
            "difference",
            "low",
            "high",
            "n",
            "seeds",
        ),
        *("found_by", "beside", "what"),
    ]
    assert table.mistake.tolist() == [SHUFFLED, VIEW, LEAK, EPOCH]
    assert set(table.published_in) == {"a project"} and set(table.what) == {"what it is"}
    assert table.difference.tolist() == pytest.approx([-0.64, 0.11, 0.07, 0.005])
    assert table.low.tolist() == pytest.approx([-0.66, 0.10, 0.06, 0.0])
    assert table.high.tolist() == pytest.approx([-0.62, 0.12, 0.08, 0.01])
    assert table.n.tolist() == [200, 200, 198, 200] and set(table.seeds) == {2}
    assert (
        table.found_by.tolist()[0] == "audit: order in 1 of 2 seeds"
        and table.found_by[2] == "audit: ids"
    )
    assert table.found_by[1] == WHY and table.beside[1] == "random weights 0.65"
    missed = made()[6]._replace(finding=made()[7].finding)
    assert mistakes.table([missed]).found_by[0] == "audit: order, which missed it"


def test_sentences_say_what_was_not_as_expected():
    shuffled, view, leak, epoch = mistakes.sentences(made())
    assert (
        "reports macro F1 0.260, where the honest value is 0.900, -0.640 (-0.660 to -0.620 over 2 "
        "seeds, 200 test" in shuffled
    )
    assert "too low. Found by: audit: order in 1 of 2 seeds." in shuffled
    assert "too good, contrary to expectation. Found by: no check" in view and view.endswith(
        "random weights 0.65."
    )
    low, high = wilson(178, 198)
    assert "too good. Found by: audit: ids." in leak and not low <= 0.97 <= high
    assert "the seeds disagree on whether it made a difference" in epoch
    (alone,) = mistakes.sentences([replay(EPOCH, 0.91, 0.90, 200, WHY, {})])
    low, high = wilson(180, 200)
    assert (
        f"95 % interval of the honest value for this many galaxies ({low:.3f} to {high:.3f})"
        in alone
    )
    assert "(one seed, 200 test galaxies): too good, though" in alone
    (same,) = mistakes.sentences([replay(VIEW, 0.9, 0.9, 200, WHY, {})])
    assert "it made no difference." in same


def test_each_replay_has_its_seed():
    table = mistakes.by_seed(made(), [3, 5])
    assert table.seed.tolist() == [3, 5] * 4 and len(table) == 8
    row = table[(table.seed == 5) & (table.mistake == VIEW)].iloc[0]
    assert (row.reported, row.honest, row.n) == (
        0.82,
        0.70,
        200,
    ) and row.difference == pytest.approx(0.12)
    with pytest.raises(ValueError, match=r"best epoch: 2 replays for 1 seeds"):
        mistakes.by_seed(made(), [3])
