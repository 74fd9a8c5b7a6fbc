"""Where methods fail, against cases worked by hand and scipy. Takes about 10 s."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from galaxymorph import galaxy_zoo_tree
from galaxymorph.diagnostics import by_property
from galaxymorph.evaluation.entries import Entries
from galaxymorph.evaluation.intervals import wilson
from galaxymorph.evaluation.predictions import votes_in
from tests.evaluation.made import g, judged


def test_bins_by_hand():
    """Eight galaxies, radius 1 to 8, in two bins; the four small ones are wrong but for one."""
    ids = g(range(8))
    right, confidence = [0, 0, 1, 0, 1, 1, 1, 1], np.array([0.6, 0.7, 0.8, 0.9, 0.9, 0.9, 0.9, 0.7])
    size = pd.DataFrame({"id": ids, "radius": np.arange(1, 9)})
    entries = Entries([judged("cnn", ids, right, confidence=confidence)])
    found = by_property.by_property(entries, size, bins=2)
    assert list(found.bin) == [0, 1] and list(found.low) == [1, 5] and list(found.high) == [4, 8]
    assert list(found.accuracy) == [0.25, 1] and list(found.n) == list(found.tests) == [4, 4]
    assert list(found.confidence) == pytest.approx([0.75, 0.85]) and list(
        found.gap
    ) == pytest.approx([0.5, -0.15])
    for row, k in zip(found.to_dict("records"), (1, 4), strict=True):
        interval = stats.binomtest(k, 4).proportion_ci(method="wilson")
        assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx(
            (interval.low, interval.high)
        )
        assert row["gap_low"] == pytest.approx(row["confidence"] - interval.high)
    with pytest.raises(ValueError, match="bins=0"):
        by_property.by_property(entries, size, bins=0)


def test_bins_are_the_same_for_all_methods_and_seeds_and_equals_stay_together():
    rng = np.random.default_rng(0)
    size = pd.DataFrame(
        {"radius": rng.integers(1, 6, 200), "flux": rng.normal(size=200), "same": 1.0},
        index=g(range(200)),
    )
    size.loc["g0":"g9", "flux"] = np.nan
    tested = {seed: g(rng.permutation(200)[:120]) for seed in (0, 1)}
    entries = Entries(
        judged(m, tested[s], rng.random(120) < 0.7, seed=s) for m in ("a", "b") for s in (0, 1)
    )
    found = by_property.by_property(entries, size)
    for name in size:
        a, b = (found[(found.property == name) & (found.method == method)] for method in "ab")
        assert len(a) == {"radius": 3, "flux": 4, "same": 1}[name]  # of five different values
        assert (
            list(a.low) == list(b.low) and list(a.high) == list(b.high) and list(a.n) == list(b.n)
        )
        assert (a.low.to_numpy()[1:] > a.high.to_numpy()[:-1]).all()
    both = set(tested[0]) | set(tested[1])
    n = found[found.method == "a"].groupby("property")[["n", "tests"]].sum()
    assert n.n["radius"] == len(both) and n.tests["radius"] == 240
    assert n.n["flux"] == size.flux[sorted(both)].notna().sum() < len(both)


def test_seeds_with_the_same_galaxies_are_not_independent():
    """Three seeds that differ by a galaxy or two: on the same galaxies the interval is that of the
    galaxies alone, about as wide as Wilson's of one seed; on different ones it is that of scipy's
    t-test where the seeds vary more than by chance."""
    rights = [np.arange(60) < k for k in (45, 46, 44)]
    size = pd.DataFrame(
        {"radius": 1.0}, index=[*g(range(60)), *(f"{s}-{i}" for s in range(3) for i in range(60))]
    )
    entries = Entries(judged("a", g(range(60)), r, seed=s) for s, r in enumerate(rights))
    same = by_property.by_property(entries, size).iloc[0]
    assert (same.n, same.tests, same.seeds, same.accuracy) == (60, 180, 3, 0.75)
    p = (np.array([45, 46, 44]) + 1) / 62
    v, own = (p * (1 - p) / 62).mean(), np.var([45 / 60, 46 / 60, 44 / 60], ddof=1) / 3
    freedom = 2 * ((v + own) / own) ** 2
    assert same.accuracy_high - same.accuracy == pytest.approx(
        stats.t.ppf(0.975, freedom) * math.sqrt(v + own)
    )
    alone = wilson(45, 60)
    assert same.accuracy_high - same.accuracy_low == pytest.approx(alone[1] - alone[0], rel=0.1)
    varied = [np.arange(60) < k for k in (54, 30, 42)]
    other = [judged("a", [f"{s}-{i}" for i in range(60)], r, seed=s) for s, r in enumerate(varied)]
    apart = by_property.by_property(Entries(other), size).iloc[0]
    interval = stats.ttest_1samp([0.9, 0.5, 0.7], 0).confidence_interval(0.95)
    assert (apart.n, apart.accuracy_low, apart.accuracy_high) == pytest.approx(
        (180, interval.low, min(interval.high, 1))
    )


def small_fail(seed, n=400):
    """A method that is right about 60 % of the small and 95 % of the large galaxies, one to which
    size is all the same."""
    rng = np.random.default_rng(seed)
    size = pd.DataFrame(
        {"id": g(range(n)), "radius": rng.uniform(1, 9, n), "colour": rng.normal(size=n)}
    )
    entries = []
    for s in range(3):
        ids = rng.permutation(n)[: n // 2]
        chance = 0.6 + 0.35 * (size.radius[ids] > 5)
        entries.append(judged("weak", g(ids), rng.random(n // 2) < chance, seed=s))
        entries.append(judged("even", g(ids), rng.random(n // 2) < 0.8, seed=s))
    return Entries(entries), size


def test_a_method_that_fails_on_small_galaxies_is_found_to():
    entries, size = small_fail(0)
    found = by_property.trends(entries, size)
    told = found[found.resolved]
    assert set(zip(told.property, told.method, told.measure, strict=True)) == {
        ("radius", "weak", "accuracy"),
        ("radius", "weak", "gap"),
    }
    row = told[told.measure == "accuracy"].iloc[0]
    tests = pd.concat([p.predictions.table() for p in entries if p.method == "weak"])
    tests["right"] = np.where(
        tests.label == "round", tests.p_round > 0.5, tests.p_round < 0.5
    ).astype(float)
    mean = tests.groupby("id").right.mean()
    expected = stats.spearmanr(size.set_index("id").radius[mean.index], mean)
    assert (row.correlation, row.p) == pytest.approx(
        (expected.statistic, expected.pvalue)
    ) and row.correlation > 0.2
    assert (
        row.n == len(mean)
        and row.p_holm == pytest.approx(min(8 * row.p, 1), rel=0.2)
        and len(found) == 8
    )
    said = by_property.property_sentences(by_property.by_property(entries, size), found)
    assert said[0].startswith("Accuracy rises with radius for 1 of 2 methods (weak): ")
    assert said[1].startswith("Overconfidence falls with radius for 1 of 2 methods")
    assert said[2].startswith("Neither accuracy nor overconfidence of any method")


@pytest.mark.long
def test_no_trend_is_found_where_there_is_none():
    """40 data sets of a method and two properties without any trend, galaxies tested up to three
    times: with a chance of 5 % each that any is resolved, 7 or more of them have a chance of 0.3
    %."""
    alarms = 0
    for seed in range(40):
        entries, size = small_fail(seed, n=80)
        shuffled = size.assign(radius=np.random.default_rng(seed).permutation(size.radius))
        alarms += by_property.trends(Entries(entries[::2]), shuffled).resolved.any()
    assert alarms <= 6


def test_where_all_galaxies_are_alike_there_is_no_trend():
    size = pd.DataFrame({"radius": range(20), "same": 2.0}, index=g(range(20)))
    one = Entries([judged("a", g(range(20)), [1] * 20)])
    found = by_property.trends(one, size)
    assert found.correlation.isna().all() and (found.p_holm == 1).all() and not found.resolved.any()
    said = by_property.property_sentences(by_property.by_property(one, size), found)
    assert "20 different galaxies" in said[0]


def test_properties_that_do_not_fit_are_refused():
    entries = Entries([judged("cnn", g(range(6)), [1] * 6)])
    size = pd.DataFrame({"id": g(range(6)), "radius": 1.0})
    with pytest.raises(ValueError, match="no row for 2 of the 6 tested galaxies: g4, g5; measure"):
        by_property.by_property(entries, size[:4])
    with pytest.raises(ValueError, match="properties: duplicate ids g0; keep one row each"):
        by_property.trends(entries, pd.concat([size, size[:1]]))
    with pytest.raises(ValueError, match="properties: column 'label' is not numeric"):
        by_property.trends(entries, size.assign(label="round"))


def test_ambiguous_galaxies_are_asked_for_the_class_of_most_volunteers():
    """Four test galaxies, two of them clean; the method names the leading class of all but one
    ambiguous one."""
    classes = galaxy_zoo_tree.CLASSES[4]
    votes = np.zeros((5, 37))
    smooth, disc = (
        galaxy_zoo_tree.column("smooth", "smooth"),
        galaxy_zoo_tree.column("smooth", "features"),
    )
    for row, (share, round_) in enumerate(
        [(0.9, 0.8), (0.8, 0.1), (0.44, 0.3), (0.45, 0.1), (0.9, 0.8)]
    ):
        votes[row, smooth], votes[row, galaxy_zoo_tree.column("roundness", "round")] = (
            share,
            round_ * share,
        )
        votes[row, galaxy_zoo_tree.column("roundness", "in-between")] = share * (1 - round_)
        votes[row, disc] = 1 - share
    predicted = votes.copy()
    predicted[3, galaxy_zoo_tree.column("roundness", "round")] = 0.45  # for in-between
    predicted[3, galaxy_zoo_tree.column("roundness", "in-between")] = 0
    told = pd.DataFrame(votes, columns=list(galaxy_zoo_tree.COLUMNS)).assign(
        id=g(range(5)), split=["test"] * 4 + ["train"], volunteers=40.0
    )
    told = told.join(
        pd.DataFrame(predicted, columns=[f"p_{name}" for name in galaxy_zoo_tree.COLUMNS])
    )
    cnn = judged("cnn", g(range(2)), [1, 1])
    both = Entries([judged("votes", g(range(2)), [1, 1], votes=votes_in(told)), cnn])
    found = by_property.ambiguous(both, classes).set_index("part")
    assert list(found.method) == ["votes", "votes"] and list(found.index) == ["clean", "ambiguous"]
    assert list(found.agreement) == [1, 0.5] and list(found.n) == [2, 2]
    assert list(found.volunteers) == pytest.approx([0.85, 0.8]) and list(
        found.confidence
    ) == pytest.approx([0.85, 0.85])
    interval = wilson(1, 2)
    assert (found.agreement_low["ambiguous"], found.agreement_high["ambiguous"]) == pytest.approx(
        interval
    )
    assert "0.500" in by_property.ambiguous_sentences(found.reset_index())[0]
    nobody = by_property.ambiguous(Entries([cnn]), classes)
    assert nobody.empty and by_property.ambiguous_sentences(nobody)[0].startswith(
        "No method predicts vote fractions"
    )
