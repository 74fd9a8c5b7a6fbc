"""Where methods fail, against cases worked by hand, scipy, and faults that were planted. Takes
about 10 s."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from galaxymorph import galaxy_zoo_tree
from galaxymorph.evaluation import by_property, disagreement, label_noise, metrics
from galaxymorph.evaluation.entries import chosen
from galaxymorph.evaluation.intervals import wilson

NAMES = ("round", "edge-on", "spiral")


def table(ids, label, p, *, split="test", names=NAMES):
    """A predictions table."""
    head = {"id": list(ids), "split": split, "label": list(label)}
    return pd.DataFrame(
        head | {f"p_{name}": np.asarray(p, float)[:, k] for k, name in enumerate(names)}
    )


def piece(step, *tables, seed=0, n_labels=None, **more):
    predictions = pd.concat(tables, ignore_index=True)
    return {"step": step, "seed": seed, "n_labels": n_labels, "predictions": predictions, **more}


def judged(step, ids, right, *, confidence=0.8, seed=0):
    """Galaxies of two classes in turn, of which some are right, with some confidence."""
    right, confidence = np.asarray(right, bool), np.broadcast_to(confidence, len(ids))
    label = np.array(["round", "edge-on"])[np.arange(len(ids)) % 2]
    p_round = np.where((label == "round") == right, confidence, 1 - confidence)
    return piece(
        step, table(ids, label, np.stack([p_round, 1 - p_round], 1), names=NAMES[:2]), seed=seed
    )


def g(numbers):
    return [f"g{i}" for i in numbers]


# ---- which pieces


def test_the_most_labels_without_controls_are_looked_at():
    one = judged("cnn", g(range(4)), [1, 1, 0, 1])
    pieces = [one | {"n_labels": n, "step": f"cnn {n}"} for n in (50, 400, None)]
    controls = [
        one | {"step": "c", "protocol": "frozen, random encoder"},
        one | {"step": "d", "protocol": "control"},
    ]
    gone = one | {"predictions": None, "step": "moco"}
    assert [p["step"] for p in chosen([*pieces, *controls, gone])] == ["cnn None"]
    assert [p["step"] for p in chosen(pieces[:2])] == ["cnn 400"]
    with pytest.raises(ValueError, match="none of 3 pieces .* train one first"):
        chosen([*controls, gone])
    with pytest.raises(ValueError, match="50 labels, 400 labels: give those of one number"):
        label_noise.suspects(pieces[:2])


# ---- properties


def test_bins_by_hand():
    """Eight galaxies, radius 1 to 8, in two bins; the four small ones are wrong but for one."""
    ids = g(range(8))
    right, confidence = [0, 0, 1, 0, 1, 1, 1, 1], np.array([0.6, 0.7, 0.8, 0.9, 0.9, 0.9, 0.9, 0.7])
    size = pd.DataFrame({"id": ids, "radius": np.arange(1, 9)})
    found = by_property.by_property(
        [judged("cnn", ids, right, confidence=confidence)], size, bins=2
    )
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
        by_property.by_property([judged("cnn", ids, right)], size, bins=0)


def test_bins_are_the_same_for_all_methods_and_seeds_and_equals_stay_together():
    rng = np.random.default_rng(0)
    size = pd.DataFrame(
        {"radius": rng.integers(1, 6, 200), "flux": rng.normal(size=200), "same": 1.0},
        index=g(range(200)),
    )
    size.loc["g0":"g9", "flux"] = np.nan
    tested = {seed: g(rng.permutation(200)[:120]) for seed in (0, 1)}
    pieces = [
        judged(m, tested[s], rng.random(120) < 0.7, seed=s) for m in ("a", "b") for s in (0, 1)
    ]
    found = by_property.by_property(pieces, size)
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
    same = by_property.by_property(
        [judged("a", g(range(60)), r, seed=s) for s, r in enumerate(rights)], size
    ).iloc[0]
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
    apart = by_property.by_property(other, size).iloc[0]
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
    pieces = []
    for s in range(3):
        ids = rng.permutation(n)[: n // 2]
        chance = 0.6 + 0.35 * (size.radius[ids] > 5)
        pieces.append(judged("weak", g(ids), rng.random(n // 2) < chance, seed=s))
        pieces.append(judged("even", g(ids), rng.random(n // 2) < 0.8, seed=s))
    return pieces, size


def test_a_method_that_fails_on_small_galaxies_is_found_to():
    pieces, size = small_fail(0)
    found = by_property.trends(pieces, size)
    told = found[found.resolved]
    assert set(zip(told.property, told.method, told.measure, strict=True)) == {
        ("radius", "weak", "accuracy"),
        ("radius", "weak", "gap"),
    }
    row = told[told.measure == "accuracy"].iloc[0]
    tests = pd.concat([p["predictions"] for p in pieces if p["step"] == "weak"])
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
    said = by_property.property_sentences(by_property.by_property(pieces, size), found)
    assert said[0].startswith("Accuracy rises with radius, most clearly that of weak: 0.")
    assert (
        said[1].startswith("Confidence less accuracy falls with radius")
        and "1 of 2 methods" in said[1]
    )
    assert said[2].startswith("With colour, neither accuracy nor calibration")


def test_no_trend_is_found_where_there_is_none():
    """40 data sets of a method and two properties without any trend, galaxies tested up to three
    times: with a chance of 5 % each that any is resolved, 7 or more of them have a chance of 0.3
    %."""
    alarms = 0
    for seed in range(40):
        pieces, size = small_fail(seed, n=80)
        shuffled = size.assign(radius=np.random.default_rng(seed).permutation(size.radius))
        alarms += by_property.trends(pieces[::2], shuffled).resolved.any()
    assert alarms <= 6


def test_where_all_galaxies_are_alike_there_is_no_trend():
    size = pd.DataFrame({"radius": range(20), "same": 2.0}, index=g(range(20)))
    found = by_property.trends([judged("a", g(range(20)), [1] * 20)], size)
    assert found.correlation.isna().all() and (found.p_holm == 1).all() and not found.resolved.any()
    assert (
        "20 different galaxies"
        in by_property.property_sentences(
            by_property.by_property([judged("a", g(range(20)), [1] * 20)], size), found
        )[0]
    )


def test_properties_that_do_not_fit_are_refused():
    pieces = [judged("cnn", g(range(6)), [1] * 6)]
    size = pd.DataFrame({"id": g(range(6)), "radius": 1.0})
    with pytest.raises(
        ValueError, match="no row for 2 of the 6 galaxies that were tested: g4, g5; measure"
    ):
        by_property.by_property(pieces, size[:4])
    with pytest.raises(ValueError, match="1 ids are there twice or more: g0"):
        by_property.trends(pieces, pd.concat([size, size[:1]]))
    with pytest.raises(ValueError, match="no numbers in label"):
        by_property.trends(pieces, size.assign(label="round"))
    with pytest.raises(ValueError, match="cnn, all labels, seed 0: this seed is there twice"):
        by_property.by_property(pieces * 2, size)
    with pytest.raises(
        ValueError,
        match="other, .*classes are round, edge-on, spiral, those of cnn are round, edge-on",
    ):
        by_property.by_property(
            [*pieces, piece("other", table(["a"], ["round"], [[1, 0, 0]]))], size
        )
    with pytest.raises(ValueError, match="no piece has predictions"):
        by_property.trends([pieces[0] | {"predictions": None}], size)


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
        id=g(range(5)), split=["test"] * 4 + ["train"]
    )
    told = told.join(
        pd.DataFrame(predicted, columns=[f"p_{name}" for name in galaxy_zoo_tree.COLUMNS])
    )
    one = judged("votes", g(range(2)), [1, 1]) | {"votes": told}
    found = by_property.ambiguous([one, judged("cnn", g(range(2)), [1, 1])], classes).set_index(
        "part"
    )
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
    nobody = by_property.ambiguous([judged("cnn", g(range(2)), [1, 1])], classes)
    assert nobody.empty and by_property.ambiguous_sentences(nobody)[0].startswith(
        "No method predicts galaxies"
    )


# ---- labels


# Thresholds: round (0.9 + 0.7 + 0.2 + 0.5) / 4 = 0.575, edge-on (0.8 + 0.6 + 0.4) / 3 = 0.6, spiral
# 0.5.
LABELS = ["round", "round", "round", "round", "edge-on", "edge-on", "edge-on", "spiral"]
P = [
    [0.90, 0.05, 0.05],  # confirmed
    [0.70, 0.20, 0.10],  # confirmed
    [0.20, 0.70, 0.10],  # edge-on
    [0.50, 0.40, 0.10],  # reaches no threshold
    [0.10, 0.80, 0.10],  # confirmed
    [0.20, 0.60, 0.20],  # confirmed: just at the threshold
    [0.05, 0.40, 0.55],  # spiral
    [0.30, 0.20, 0.50],  # confirmed
]


def test_confident_learning_by_hand():
    """Northcutt et al. 2021, eq. 1 and 3: the counts of round are 2 confirmed and 1 edge-on of 4
    galaxies."""
    one = piece("cnn", table(g(range(8)), LABELS, P))
    found = label_noise.suspects([one])
    assert found.to_dict("list") == {
        "id": ["g2", "g6"],
        "label": ["round", "edge-on"],
        "suspected": ["edge-on", "spiral"],
        "methods": [1, 1],
        "of": [1, 1],
        "probability": pytest.approx([0.7, 0.55]),
    }
    errors = label_noise.label_errors([one]).set_index(["label", "suspected"])
    assert errors.found[errors.found > 0].to_dict() == {
        ("round", "edge-on"): 1,
        ("edge-on", "spiral"): 1,
    }
    assert errors.errors["round", "edge-on"] == pytest.approx(4 * 1 / 3)
    assert errors.errors["edge-on", "spiral"] == pytest.approx(3 * 1 / 3)
    assert errors.expected.to_numpy() == pytest.approx(
        errors.found.to_numpy()
    )  # one method agrees with itself
    assert errors.n["round"].to_list() == [4, 4] and len(errors) == 6
    said = label_noise.suspect_sentences(found, errors.reset_index())
    assert (
        said[0]
        == "Of 8 held-out galaxies 2 have a label that the method doubts (confident learning)."
    )
    assert "A suspect is not an error" in said[1]
    assert said[2].startswith(
        "The most frequent: 1 labelled round are suspected to be edge-on (which one method cannot tell"
    )


def test_consensus_by_hand():
    """Three methods; two agree on g2, one more doubts g1, the third has not predicted g7."""
    other = [row.copy() for row in P]
    other[1] = [0.1, 0.1, 0.8]  # round, which it takes to be spiral
    third = [row.copy() for row in P]
    third[2] = [0.8, 0.1, 0.1]  # confirms it
    third[6] = [0.05, 0.9, 0.05]
    tables = [
        table(g(range(8)), LABELS, P),
        table(g(range(8)), LABELS, other),
        table(g(range(7)), LABELS[:7], third[:7]),
    ]
    pieces = [piece(name, each) for name, each in zip("abc", tables, strict=True)]
    found = label_noise.suspects(pieces).set_index("id")
    assert found.loc["g2", ["suspected", "methods", "of"]].to_list() == ["edge-on", 2, 3]
    assert found.probability["g2"] == pytest.approx(0.7)
    assert found.loc["g1", ["suspected", "methods", "of"]].to_list() == ["spiral", 1, 3]
    assert list(found.index)[:2] == ["g2", "g6"]  # of the same share, the larger probability first
    errors = label_noise.label_errors(pieces).set_index(["label", "suspected"])
    assert errors.found["round", "edge-on"] == 1 and errors.found["round", "spiral"] == 0
    # of the four round galaxies two methods take a quarter each to be edge-on, the third none; one
    # a quarter to be spiral
    assert (
        errors.expected["round", "edge-on"] == pytest.approx(4 / 16)
        and errors.expected["round", "spiral"] == 0
    )


def test_training_galaxies_are_never_asked_and_seeds_are_averaged():
    train = table(["t"], ["round"], [[0, 1, 0]], split="train")
    val = table(g(range(4)), LABELS[:4], P[:4], split="val")
    test = table(g(range(4, 8)), LABELS[4:], P[4:])
    again = table(g(range(8)), LABELS, [[1, 0, 0]] * 4 + P[4:])
    pieces = [piece("cnn", train, val, test), piece("cnn", again, seed=1)]
    found = label_noise.suspects(pieces)
    assert list(found.id) == ["g6"]  # g2 is (0.6, 0.35, 0.05) on average
    assert label_noise.label_errors(pieces).drop_duplicates("label").n.sum() == 8
    assert label_noise.label_errors(pieces[:1], splits=("test",)).drop_duplicates(
        "label"
    ).n.to_list() == [0, 3, 1]
    with pytest.raises(ValueError, match="no labelled galaxy in val of any method"):
        label_noise.suspects(pieces[1:], splits=("val",))
    with pytest.raises(ValueError, match="1 galaxies have other labels elsewhere: g0"):
        label_noise.suspects([pieces[1], piece("other", table(["g0"], ["spiral"], [[1, 0, 0]]))])


def planted(seed=0, n=900, wrong=0.05):
    """Galaxies that three methods recognise with little noise, of which some have another label;
    which these are."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 3, n)
    label, faulty = true.copy(), rng.random(n) < wrong
    label[faulty] = (true[faulty] + rng.integers(1, 3, faulty.sum())) % 3
    pieces = []
    for name in ("a", "b", "c"):
        score = 3.0 * np.eye(3)[true] + rng.normal(size=(n, 3)) * 0.6
        p = np.exp(score) / np.exp(score).sum(1, keepdims=True)
        pieces.append(piece(name, table(g(range(n)), np.array(NAMES)[label], p)))
    return pieces, set(np.array(g(range(n)))[faulty])


def test_planted_label_errors_are_found():
    pieces, faulty = planted()
    found = label_noise.suspects(pieces)
    for least, recall in ((3, 0.45), (2, 0.75)):
        consensus = set(found.id[found.methods >= least])
        assert (
            len(consensus & faulty) / len(faulty) > recall
            and len(consensus & faulty) / len(consensus) > 0.95
        )
    errors = label_noise.label_errors(pieces)
    assert errors.errors.sum() == pytest.approx(len(faulty), rel=0.15)
    assert errors.expected.sum() < 3 < 30 < errors.found.sum()
    clean, _ = planted(wrong=0.0)
    assert label_noise.label_errors(clean).found.sum() == 0


def test_methods_that_err_at_random_agree_as_often_as_is_expected():
    """Of 4,000 galaxies each of three methods takes a fifth for one of the two other classes: two
    or three of them agree on one of these with a probability of 2 (3 0.1^2 0.9 + 0.1^3) = 0.056."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 4000)
    pieces = []
    for name in "abc":
        taken = (label + np.where(rng.random(4000) < 0.8, 0, rng.integers(1, 3, 4000))) % 3
        pieces.append(
            piece(
                name, table(g(range(4000)), np.array(NAMES)[label], 0.05 + 0.85 * np.eye(3)[taken])
            )
        )
    errors = label_noise.label_errors(pieces)
    assert errors.expected.sum() == pytest.approx(4000 * 0.056, rel=0.07)
    assert errors.found.sum() == pytest.approx(errors.expected.sum(), abs=3 * math.sqrt(224))
    said = label_noise.suspect_sentences(label_noise.suspects(pieces), errors)
    assert f"most would agree on {errors.expected.sum():.1f}." in said[1]


def test_where_nothing_is_doubted_it_says_so():
    one = piece("a", table(g(range(3)), NAMES, np.eye(3)))
    found = label_noise.suspects([one])
    assert found.empty
    assert list(found) == ["id", "label", "suspected", "methods", "of", "probability"]
    assert (
        "none has a label"
        in label_noise.suspect_sentences(found, label_noise.label_errors([one]))[0]
    )


# ---- two methods


def test_disagreements_by_hand():
    ours = [[0.9, 0.1, 0], [0.6, 0.4, 0], [0.2, 0.1, 0.7], [0.1, 0.9, 0]]
    theirs = [[0.2, 0.8, 0], [0.1, 0.9, 0], [0.5, 0.1, 0.4], [0.2, 0.8, 0]]
    label = ["round", "edge-on", "edge-on", "edge-on"]
    tables = table(g(range(4)), label, ours), table(g(range(4))[::-1], label[::-1], theirs[::-1])
    pieces = [
        piece(name, each, seed=None) for name, each in zip("ab", tables, strict=True)
    ]  # by hand, a run knows no seed
    found = disagreement.disagreements(pieces, "a", "b")
    assert list(found.id) == ["g0", "g1", "g2"]
    assert list(found.class_a) == ["round", "round", "spiral"] and list(found.class_b) == [
        "edge-on",
        "edge-on",
        "round",
    ]
    assert list(found.probability_a) == pytest.approx([0.9, 0.6, 0.7]) and list(
        found.probability_b
    ) == [0.8, 0.9, 0.5]
    assert list(found.right) == ["a", "b", "neither"]
    again = [piece(name, table(g(range(4)), label, [[0, 1, 0]] * 4), seed=1) for name in "ab"]
    assert disagreement.disagreements(
        [*pieces, *again], "a", "b"
    ).empty  # of g0 (0.45, 0.55, 0) and (0.1, 0.9, 0) on average


def test_methods_that_cannot_be_held_against_each_other_are_refused():
    a, b = judged("a", g(range(4)), [1] * 4), judged("b", g(range(1, 5)), [1] * 4)
    with pytest.raises(
        ValueError, match="a, seed 0: tested on 4 galaxies, of which 3 are among the 4 of b"
    ):
        disagreement.disagreements([a, b], "a", "b")
    with pytest.raises(ValueError, match="'a' and 'c': give two different ones of a, b"):
        disagreement.confusion_difference([a, b], "a", "c")
    with pytest.raises(ValueError, match="no seed in common"):
        disagreement.confusion_difference([a, b | {"seed": 1}], "a", "b")


def test_the_difference_of_confusion_matrices_by_hand():
    """One seed, 40 round and 40 edge-on galaxies: a takes 12 round ones for edge-on that b has
    right, b none; of the edge-on ones each has two wrong that the other has right. McNemar's exact
    p of 12 to 0 is 2 / 2^12."""
    index, label = np.arange(80), ["round"] * 40 + ["edge-on"] * 40
    wrong_a, wrong_b = (index < 12) | (index == 50) | (index == 51), (index == 60) | (index == 61)
    yes = np.r_[np.ones(40, bool), np.zeros(40, bool)]
    pieces = [
        piece(
            name, table(g(range(80)), label, np.stack([yes != wrong, yes == wrong, 0 * index], 1))
        )
        for name, wrong in (("a", wrong_a), ("b", wrong_b))
    ]
    found = disagreement.confusion_difference(pieces, "a", "b").set_index(["label", "taken_for"])
    assert found.loc[("round", "edge-on"), ["a", "b", "difference"]].to_list() == pytest.approx(
        [0.3, 0, 0.3]
    )
    assert (
        found.difference["round", "round"] == pytest.approx(-0.3)
        and found.difference["edge-on", "edge-on"] == 0
    )
    for pair in (("round", "edge-on"), ("round", "round")):
        assert (
            found.p[pair] == pytest.approx(2 / 2**12)
            and found.resolved[pair]
            and found.n[pair] == 40
        )
    assert found.p_holm["round", "edge-on"] == pytest.approx(9 * 2 / 2**12)
    assert found.resolved.sum() == 2 and found.loc[("spiral", "round"), ["n", "p"]].to_list() == [
        0,
        1,
    ]
    assert np.isnan(found.difference["spiral", "spiral"])
    matrices = [metrics.confusion(p["predictions"]) for p in pieces]
    rows = [m / np.maximum(m.sum(1, keepdims=True), 1) for m in matrices]
    names = list(NAMES[:2])
    assert found.difference.unstack().loc[names, names].to_numpy() == pytest.approx(
        (rows[0] - rows[1])[:2, :2]
    )
    said = disagreement.confusion_sentences(found.reset_index(), "a", "b")
    assert len(said) == 2 and any(
        s.startswith("a takes round for edge-on more often than b: 0.300 against 0.000")
        for s in said
    )
    assert any(
        s.startswith(
            "b is right about round more often than a: 1.000 against 0.700 (difference +0.300"
        )
        for s in said
    )


def test_the_difference_over_seeds_is_a_mean_and_is_that_of_all_pairs():
    rng = np.random.default_rng(1)
    pieces = []
    for s in range(3):
        ids = g(rng.permutation(300)[:100])
        label = np.array(NAMES)[[int(i[1:]) % 3 for i in ids]]
        for name in "ab":
            pieces.append(piece(name, table(ids, label, rng.dirichlet([1, 1, 1], 100)), seed=s))
    found = disagreement.confusion_difference(pieces, "a", "b").set_index(["label", "taken_for"])
    mean = {}
    for name in "ab":
        matrices = [metrics.confusion(p["predictions"]) for p in pieces if p["step"] == name]
        mean[name] = np.mean([m / m.sum(1, keepdims=True) for m in matrices], axis=0)
    names = list(NAMES)
    assert found.difference.unstack().loc[names, names].to_numpy() == pytest.approx(
        mean["a"] - mean["b"]
    )
    assert (
        (found.low < found.difference).all()
        and (found.difference < found.high).all()
        and set(found.seeds) == {3}
    )
    assert not found.resolved.any()
    assert disagreement.confusion_sentences(found.reset_index(), "a", "b")[0].startswith(
        "No cell of the confusion matrices of a and b"
    )
