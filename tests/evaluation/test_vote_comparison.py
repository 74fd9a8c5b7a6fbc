"""Comparisons of methods that predict vote fractions against scipy. About 10 s."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from galaxymorph.evaluation import vote_comparison, vote_metrics
from galaxymorph.evaluation.entries import Entries, Entry
from galaxymorph.evaluation.predictions import votes_in
from tests.evaluation.test_vote_metrics import indexed, noisy


def entry(method, seed, votes=None, **more):
    return Entry(
        method, seed, voting=True, votes=None if votes is None else votes_in(votes), **more
    )


def compare(entries, **options):
    return vote_comparison.compare(Entries(entries), **options)


def sentences(entries, **options):
    them = Entries(entries)
    table = vote_comparison.compare(them, **options)
    return vote_comparison.sentences(table, vote_comparison.pairs(them, n_bootstrap=50))


def trained(errors, *, seeds=(0, 1, 2), n_labels=None, **more):
    """Training runs of methods with these errors."""
    return [
        entry(method, s, noisy(seed=s, error=error), n_labels=n_labels, seconds=10.0 + s, **more)
        for method, error in errors.items()
        for s in seeds
    ]


def test_a_comparison_holds_mean_spread_and_interval_over_seeds():
    given = trained({"tree": 0.02, "plain": 0.06})
    found = compare(given)
    assert found.method.tolist() == ["tree", "plain"] and "protocol" not in found
    row, each = found.iloc[0], []
    for one in given[:3]:
        evaluated = indexed(vote_metrics.evaluate(one.votes, n_bootstrap=0)).loc["cumulative"]
        each.append(evaluated.loc["rmse", "overall"])
    rmse = np.array([value["value"] for value in each])
    assert row.rmse == pytest.approx(rmse.mean())
    assert row.rmse_std == pytest.approx(rmse.std(ddof=1))
    assert row.way == pytest.approx(np.mean([value.way for value in each]))
    assert row.floor == each[0].floor
    broken = [vote_metrics.violations(one.votes).share.iloc[-1] for one in given[:3]]
    assert row.violations == np.mean(broken) > 0.9 and row.violations_high <= 1
    assert (row.n_train, row.n_test, row.seeds, row.missing, row.seconds) == (200, 200, 3, 0, 11.0)
    assert row.interval == "t over seeds"
    # all seeds have the same test galaxies, and what these add to all alike is in the interval:
    # that of one seed, a bootstrap, is narrower by no more than what seeds differ by
    one = compare(given[:1], n_bootstrap=2000).iloc[0]
    wide, narrow = (r.rmse_high - r.rmse_low for r in (row, one))
    assert narrow * 0.9 < wide < narrow * 2


def test_a_single_seed_has_the_interval_of_its_galaxies():
    (one,) = trained({"tree": 0.02}, seeds=(4,), protocol="from scratch")
    row = compare([one], n_bootstrap=50).iloc[0]
    expected = indexed(vote_metrics.evaluate(one.votes, n_bootstrap=50))
    expected = expected.loc["cumulative", "rmse", "overall"]
    numbers = (row.rmse, row.rmse_low, row.rmse_high)
    assert numbers == pytest.approx(tuple(expected[["value", "low", "high"]]))
    assert (row.way_low, row.way_high) == pytest.approx(tuple(expected[["way_low", "way_high"]]))
    assert row.interval == "bootstrap over galaxies" and row.protocol == "from scratch"
    assert np.isnan(row.rmse_std) and row.floor_low < row.floor < row.floor_high


def test_sentences_say_what_is_resolved_and_what_a_tie():
    alike = [replace(one, method="other") for one in trained({"tree": 0.0201}, seeds=(0, 1, 2))]
    rows = [*trained({"tree": 0.02}), *alike, *trained({"plain": 0.06})]
    rows += trained({"tree": 0.03}, seeds=(0,), n_labels=50)
    rows += [*trained({"late": 0.1}, seeds=(2,)), entry("late", 6)]
    said = sentences(rows, n_bootstrap=50)
    best = compare(rows, n_bootstrap=50).iloc[0]
    interval = f"{best.rmse_low:.4f} to {best.rmse_high:.4f}"
    assert said[0] == (
        f"With all labels, tree has the lowest RMSE, {best.rmse:.4f} (95 % interval {interval}, "
        f"3 seeds, 200 test galaxies each); this closes {best.way:.0f} % of the gap between "
        f"predicting the mean vote ({best.baseline:.4f}) and the best achievable RMSE "
        f"({best.floor:.4f})."
    )
    text = " ".join(said)
    assert "With all labels, tree is significantly better than " in text
    assert "plain (" in text and "late (" in text and "after Holm's correction" in text
    assert (
        sum(
            "answers predicted by plain contradict the decision tree for every test" in s
            for s in said
        )
        == 1
    )
    assert "With all labels, late lacks results for 1 of 2 seeds." in said
    assert any(s.startswith("With 50 labels, tree reaches an RMSE of 0.") for s in said)


def test_equal_methods_are_tied():
    first = trained({"tree": 0.02})
    other = [replace(trained({"b": 0.02}, seeds=(9 + s,))[0], seed=s) for s in range(3)]
    said = sentences([*first, *other], n_bootstrap=50)
    assert any("is statistically tied with" in s for s in said)


def test_the_difference_over_seeds_without_common_galaxies_is_that_of_scipy():
    given = []
    for s, (a, b) in enumerate(((0.02, 0.05), (0.03, 0.04), (0.06, 0.10), (0.01, 0.08))):
        for method, error in (("a", a), ("b", b)):
            table = noisy(seed=s, error=error)
            given.append(entry(method, s, table.assign(id=table.id + f"-{s}")))
    row = vote_comparison.pairs(Entries(given), n_bootstrap=0).iloc[0]
    rmse = {
        m: [
            vote_metrics.overall(e.votes, n_bootstrap=0).value["rmse"]
            for e in given
            if e.method == m
        ]
        for m in "ab"
    }
    test = stats.ttest_rel(rmse["a"], rmse["b"])
    low, high = test.confidence_interval(0.95)
    assert (row.low, row.high, row.p) == pytest.approx((low, high, test.pvalue))
    assert row.difference == pytest.approx(np.mean(rmse["a"]) - np.mean(rmse["b"]))


def test_sentences_and_texts_of_little():
    missing = [entry("tree", 0)]
    table = compare(missing)
    assert sentences(missing) == [
        "With all labels: no result yet.",
        "With all labels, tree lacks results for 1 of 1 seeds.",
    ]
    shown = vote_comparison.readable(table).iloc[0]
    assert shown["RMSE"] == shown["contradict the tree"] == "–" and shown.seeds == "0 (1 missing)"
    given = trained({"tree": 0.02}, seeds=(0, 1))
    unknown = [
        replace(one, votes=votes_in(one.votes.table().assign(volunteers=np.nan))) for one in given
    ]
    said = sentences(unknown)
    assert (
        said[0].endswith("; the best achievable RMSE is unknown.")
        and "predicting the mean vote gives 0." in said[0]
    )
    found = compare(given)
    shown, row = vote_comparison.readable(found).iloc[0], found.iloc[0]
    assert shown["RMSE"] == f"{row.rmse:.4f} [{row.rmse_low:.4f}, {row.rmse_high:.4f}]"
    assert shown["labels"] == "all" and shown["gap closed (%)"].startswith(f"{row.way:.1f} [")
    assert shown["noise floor"] == f"{row.floor:.4f}" and shown["seconds"] == "10"


def test_methods_have_to_be_tested_on_the_same_galaxies():
    first, second = trained({"tree": 0.02, "plain": 0.02}, seeds=(3,))
    other = votes_in(second.votes.table().replace({"id": {"g1": "g9999"}}))
    message = (
        "plain, all labels, seed 3: tested on 200 galaxies, of which 199 are among the 200 of tr"
    )
    with pytest.raises(ValueError, match=message):
        Entries([first, replace(second, votes=other)])
    with pytest.raises(ValueError, match="duplicate entry: tree, all labels, seed 3"):
        Entries([first, first])
