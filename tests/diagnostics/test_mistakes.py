"""Tables and sentences of mistakes that were made again."""

import pytest

import galaxymorph.diagnostics.published_mistakes  # noqa: F401 (its import fills MISTAKES)
from galaxymorph.diagnostics import mistakes
from galaxymorph.diagnostics.findings import Finding
from galaxymorph.diagnostics.mistakes import MISTAKES, Replay
from galaxymorph.evaluation.intervals import wilson


def made():
    return [
        Replay("best_epoch", 0.91, 0.90, 200, None, {"epochs": 8}),
        Replay("best_epoch", 0.90, 0.90, 200, None, {"epochs": 8}),
        Replay("leak", 0.96, 0.90, 200, Finding("ids", "leak", "twice"), {}),
        Replay("leak", 0.98, 0.90, 198, Finding("ids", "leak", "twice"), {}),
        Replay("one_view", 0.80, 0.70, 200, None, {"random weights": 0.6}),
        Replay("one_view", 0.82, 0.70, 200, None, {"random weights": 0.7}),
        Replay("shuffled_predictions", 0.24, 0.90, 200, Finding("order", "warning", "chance"), {}),
        Replay("shuffled_predictions", 0.28, 0.90, 200, Finding("order", "passed", "none"), {}),
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
    assert table.mistake.tolist() == [
        MISTAKES[name].name for name in ("shuffled_predictions", "one_view", "leak", "best_epoch")
    ]
    assert table.difference.tolist() == pytest.approx([-0.64, 0.11, 0.07, 0.005])
    assert table.low.tolist() == pytest.approx([-0.66, 0.10, 0.06, 0.0])
    assert table.high.tolist() == pytest.approx([-0.62, 0.12, 0.08, 0.01])
    assert table.n.tolist() == [200, 200, 198, 200] and set(table.seeds) == {2}
    assert (
        table.found_by.tolist()[0] == "audit: order in 1 of 2 seeds"
        and table.found_by[2] == "audit: ids"
    )
    assert (
        table.found_by[1] == MISTAKES["one_view"].prevented
        and table.beside[1] == "random weights 0.65"
    )
    missed = made()[6]._replace(finding=made()[7].finding)
    assert mistakes.table([missed]).found_by[0] == "audit: order, which missed it"


def test_sentences_say_what_was_not_as_expected():
    shuffled, view, leak, epoch = mistakes.sentences(mistakes.table(made()))
    assert (
        "reports macro F1 0.260 where the honest one is 0.900, -0.640 (-0.660 to -0.620 over 2 "
        "seeds, 200 test" in shuffled
    )
    assert "too low. Found by: audit: order in 1 of 2 seeds." in shuffled
    assert "too good, the other way than expected. Found by: no check" in view and view.endswith(
        "random weights 0.65."
    )
    low, high = wilson(178, 198)
    assert "too good. Found by: audit: ids." in leak and not low <= 0.97 <= high
    assert "the seeds do not agree that it made a difference" in epoch
    (alone,) = mistakes.sentences(mistakes.table([Replay("best_epoch", 0.91, 0.90, 200, None, {})]))
    low, high = wilson(180, 200)
    assert (
        f"95 % interval of the honest number for so many galaxies ({low:.3f} to {high:.3f})"
        in alone
    )
    assert "(one seed, 200 test galaxies): too good, though" in alone
    (same,) = mistakes.sentences(mistakes.table([Replay("one_view", 0.9, 0.9, 200, None, {})]))
    assert "it made no difference." in same


def test_each_replay_has_its_seed():
    table = mistakes.by_seed(made(), [3, 5])
    assert table.seed.tolist() == [3, 5] * 4 and len(table) == 8
    row = table[(table.seed == 5) & (table.mistake == MISTAKES["one_view"].name)].iloc[0]
    assert (row.reported, row.honest, row.n) == (
        0.82,
        0.70,
        200,
    ) and row.difference == pytest.approx(0.12)
    with pytest.raises(ValueError, match=r"best_epoch: 2 replays for 1 seeds"):
        mistakes.by_seed(made(), [3])
