"""Metrics of vote fractions against tables by hand, scikit-learn, scipy, and volunteers of known
opinions. About 15 s."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk
import torch
from scipy import stats

from galaxymorph import galaxy_zoo_tree
from galaxymorph.data.mock import volunteers
from galaxymorph.evaluation import intervals, vote_calibration, vote_metrics
from galaxymorph.evaluation.predictions import votes_in

SIZES = [len(question.answers) for question in galaxy_zoo_tree.QUESTIONS]


def table(true, predicted, people=np.nan, *, concentration=None, split="test"):
    """A votes table of cumulative fractions."""
    columns = {"id": [f"g{i}" for i in range(len(true))], "split": split, "volunteers": people}
    columns |= dict(zip(galaxy_zoo_tree.COLUMNS, np.asarray(true, float).T, strict=True))
    columns |= {
        f"p_{name}": values
        for name, values in zip(
            galaxy_zoo_tree.COLUMNS, np.asarray(predicted, float).T, strict=True
        )
    }
    if concentration is not None:
        columns |= {
            f"s_{name}": values
            for name, values in zip(
                galaxy_zoo_tree.SLICES, np.transpose(concentration), strict=True
            )
        }
    return pd.DataFrame(columns)


def evaluate(table, **options):
    return vote_metrics.evaluate(votes_in(table), **options)


def leading(table, **options):
    return vote_metrics.leading(votes_in(table), **options)


def violations(table, **options):
    return vote_metrics.violations(votes_in(table), **options)


def agreement(table, **options):
    return vote_metrics.classes_agreement(votes_in(table), **options)


def coverage(table, **options):
    return vote_calibration.coverage(votes_in(table), **options)


def calibration(table, **options):
    return vote_calibration.calibration(votes_in(table), **options)


def opinions(n, *, seed=0, concentration=1.0):
    """Fractions per question, each galaxy with its own: Dirichlet."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.dirichlet(np.full(k, concentration), n) for k in SIZES], axis=1)


def walk(fractions, people, *, seed=0):
    """What volunteers of these opinions vote."""
    generator = torch.Generator().manual_seed(seed)
    return volunteers.vote(
        torch.tensor(fractions), torch.tensor(people), generator=generator
    ).numpy()


def survey(n=1000, *, seed=0, least=20, most=60):
    """Opinions, numbers of volunteers, votes, and splits (half of them test)."""
    truth, people = opinions(n, seed=seed), np.random.default_rng(seed).integers(least, most, n)
    return (
        truth,
        people,
        walk(truth, people, seed=seed),
        np.where(np.arange(n) % 2, "test", "train"),
    )


def noisy(n=400, *, seed=0, error=0.03):
    """A table of a middling model, whose answers break the tree."""
    truth, people, votes, split = survey(n, seed=0)
    rng = np.random.default_rng(seed + 100)
    return table(
        votes,
        galaxy_zoo_tree.cumulative(truth) + error * rng.normal(size=votes.shape),
        people.astype(float),
        split=split,
    )


def indexed(evaluated):
    return evaluated.set_index(["convention", "metric", "name"]).sort_index()


def smooth_only(*fractions):
    """Cumulative votes of galaxies of which all volunteers say that they are smooth, round and not
    odd, but for what is given for (column, fraction)."""
    votes = np.zeros((len(fractions), 37))
    for row, given in zip(votes, fractions, strict=True):
        for question, answer in (("smooth", "smooth"), ("roundness", "round"), ("odd", "no")):
            row[galaxy_zoo_tree.column(question, answer)] = 1
        for column, fraction in given.items():
            row[column] = fraction
    return votes


# ---- errors


def test_errors_are_those_of_scikit_learn():
    t = noisy()
    part, train = t[t.split == "test"], t[t.split == "train"]
    true, train = (each[list(galaxy_zoo_tree.COLUMNS)].to_numpy() for each in (part, train))
    predicted = part[[f"p_{name}" for name in galaxy_zoo_tree.COLUMNS]].to_numpy()
    mean = np.broadcast_to(train.mean(0), true.shape)
    found = evaluate(t, n_bootstrap=0)
    places = (
        {"overall": slice(0, 37)}
        | galaxy_zoo_tree.SLICES
        | {name: slice(i, i + 1) for i, name in enumerate(galaxy_zoo_tree.LABELS)}
    )
    assert found.name.unique().tolist() == list(places)
    found = indexed(found)
    for name, where in places.items():
        rmse, mae, r2 = (found.loc["cumulative", metric, name] for metric in ("rmse", "mae", "r2"))
        for column, given in (("value", predicted), ("baseline", mean)):
            assert rmse[column] == pytest.approx(
                math.sqrt(sk.mean_squared_error(true[:, where], given[:, where]))
            )
            assert mae[column] == pytest.approx(
                sk.mean_absolute_error(true[:, where], given[:, where])
            )
            expected = sk.r2_score(true[:, where], given[:, where], multioutput="variance_weighted")
            assert r2[column] == pytest.approx(expected)
        assert rmse.n == len(true) and rmse[["low", "high", "way_low"]].isna().all()
        assert rmse.way == pytest.approx(
            100 * (rmse.baseline - rmse.value) / (rmse.baseline - rmse.floor)
        )


def test_per_question_errors_are_those_among_galaxies_that_two_people_answered_for():
    t = noisy()
    names = [f"p_{name}" for name in galaxy_zoo_tree.COLUMNS]
    t[names] = t[names].clip(lower=0.001)
    part = t[t.split == "test"]
    true, predicted = part[list(galaxy_zoo_tree.COLUMNS)].to_numpy(), part[names].to_numpy()
    shares, asked = (
        galaxy_zoo_tree.per_question(true),
        galaxy_zoo_tree.reached(true) * part[["volunteers"]].to_numpy(),
    )
    found = indexed(evaluate(t, n_bootstrap=0)).loc["per question"]
    lonely = 0
    for i, (name, where) in enumerate(galaxy_zoo_tree.SLICES.items()):
        chosen = asked[:, i] > 1.9
        lonely += ((asked[:, i] > 0.9) & ~chosen).sum()
        total = predicted[chosen, where].sum(1, keepdims=True)
        error = predicted[chosen, where] / total - shares[chosen, where]
        assert found.loc["rmse", name]["value"] == pytest.approx(math.sqrt((error**2).mean()))
        assert found.loc["rmse", name]["n"] == chosen.sum()
    assert lonely > 5
    unknown = indexed(evaluate(t.assign(volunteers=np.nan), n_bootstrap=0)).loc[
        "per question", "rmse"
    ]
    assert unknown.loc[list(galaxy_zoo_tree.SLICES), "n"].tolist() == (asked > 0.9).sum(0).tolist()


def test_answers_of_which_nothing_is_predicted_count_as_equally_likely():
    bar = galaxy_zoo_tree.column("bar", "yes")
    disc = smooth_only(
        {
            galaxy_zoo_tree.column("smooth", "features"): 1,
            galaxy_zoo_tree.column("edge_on", "no"): 1,
            bar: 0.5,
            bar + 1: 0.5,
        }
    )
    disc[
        0,
        [galaxy_zoo_tree.column("smooth", "smooth"), galaxy_zoo_tree.column("roundness", "round")],
    ] = 0
    empty = np.full((1, 37), -0.1)
    found = indexed(evaluate(table(disc, empty), n_bootstrap=0)).loc["per question", "rmse"]
    assert found.loc["bar", "value"] == 0
    assert found.loc["smooth", "value"] == pytest.approx(
        math.sqrt(((np.array([0, 1, 0]) - 1 / 3) ** 2).mean())
    )
    assert math.isnan(found.loc["winding", "value"]) and found.loc["winding", "n"] == 0


def test_the_floor_by_hand():
    features = galaxy_zoo_tree.column("smooth", "features")
    votes = smooth_only({0: 0.75, features: 0.25, 25 - 10: 0.75}, {})  # of 4 and of 11 people
    t = table(votes, votes, np.array([4.0, 11.0]))
    found = indexed(evaluate(t, n_bootstrap=0)).loc["cumulative", "rmse"]
    variance = 0.75 * 0.25 / 3
    assert found.loc[galaxy_zoo_tree.LABELS[features], "floor"] == pytest.approx(
        math.sqrt(variance / 2)
    )
    assert found.loc["smooth", "floor"] == pytest.approx(math.sqrt(2 * variance / 6))
    assert found.loc["overall", "floor"] == pytest.approx(math.sqrt(3 * variance / 74))
    assert found.loc["overall", "value"] == 0


def test_someone_who_knows_all_opinions_reaches_the_floor():
    truth, people, votes, split = survey(6000, least=4, most=60)
    t = table(votes, galaxy_zoo_tree.cumulative(truth), people.astype(float), split=split)
    found = evaluate(t, n_bootstrap=200)
    for convention, tolerance in (("cumulative", 0.01), ("per question", 0.025)):
        rows = found[
            (found.convention == convention) & (found.metric == "rmse") & (found.scope != "answer")
        ]
        assert len(rows) == 12
        np.testing.assert_allclose(rows.value, rows.floor, rtol=0.06)
        assert rows.value.iloc[0] == pytest.approx(rows.floor.iloc[0], rel=tolerance)
        covered = (rows.way_low <= 100) & (rows.way_high >= 100)
        assert covered.sum() >= 9  # of 12, at 95 %
    r2 = found[(found.metric == "r2") & (found.scope == "overall")]
    np.testing.assert_allclose(r2.value, r2.floor, atol=0.01)
    np.testing.assert_allclose(r2.way, 100, atol=3)


def test_the_mean_vote_has_gone_nothing_of_the_way():
    t = noisy()
    mean = t[t.split == "train"][list(galaxy_zoo_tree.COLUMNS)].mean()
    t = t.assign(**{f"p_{name}": value for name, value in mean.items()})
    found = evaluate(t, n_bootstrap=0)
    found = found[(found.convention == "cumulative") & (found.metric != "mae")]
    np.testing.assert_allclose(found.value, found.baseline)
    np.testing.assert_allclose(found.way, 0, atol=1e-9)


def test_yardsticks_are_nan_where_they_are_not_known():
    t = noisy(200)
    unknown = evaluate(t.assign(volunteers=np.nan), n_bootstrap=5)
    assert unknown[["floor", "way", "way_low", "way_high"]].isna().all(axis=None)
    assert (
        unknown[unknown.convention == "cumulative"][["value", "low", "high", "baseline"]]
        .notna()
        .all(axis=None)
    )
    few = t.assign(
        volunteers=t.volunteers.where(t.index < 100)
    )  # the floor is that of the known half
    found = [
        indexed(evaluate(each, n_bootstrap=0)).loc["cumulative", "rmse", "overall"]
        for each in (few, t[:100])
    ]
    assert found[0].floor == found[1].floor > 0 and found[0].value != found[1].value
    alone = evaluate(t[t.split == "test"], n_bootstrap=0)
    assert alone[["baseline", "way"]].isna().all(axis=None) and alone.value.notna().all()
    same = indexed(evaluate(table(*2 * [smooth_only({}, {})], 30.0), n_bootstrap=3)).loc[
        "cumulative"
    ]
    assert same.loc["r2", "value"].isna().all()  # votes do not vary
    assert (same.loc["rmse", "floor"] == 0).all()


def test_the_interval_is_that_of_resampled_galaxies():
    t = noisy(120)
    part, train = t[t.split == "test"], t[t.split == "train"]
    found = evaluate(t, n_bootstrap=10)
    (weights,) = intervals.draws(60, n_bootstrap=10, seed=0)
    assert weights.shape == (10, 60) and (weights.sum(1) == 60).all()
    values = []
    for row in weights.astype(int):
        drawn = part.loc[part.index.repeat(row)]
        drawn = pd.concat([train, drawn.assign(id=[f"d{i}" for i in range(len(drawn))])])
        values.append(evaluate(drawn, n_bootstrap=0)[["value", "way"]].to_numpy(float))
    values = pd.DataFrame(np.reshape(values, (10, -1)))
    for q, ends in ((0.025, ["low", "way_low"]), (0.975, ["high", "way_high"])):
        np.testing.assert_allclose(np.ravel(found[ends]), values.quantile(q), rtol=1e-7, atol=1e-9)


def test_draws_depend_on_the_seed_alone_and_not_on_the_memory(monkeypatch):
    t = noisy(100)
    once = evaluate(t, n_bootstrap=30)
    other = evaluate(t, n_bootstrap=30, seed=1)
    monkeypatch.setattr(intervals, "BLOCK", 400)  # blocks of 8 draws
    pd.testing.assert_frame_equal(once, evaluate(t, n_bootstrap=30))
    assert not once.low.equals(other.low)


def test_galaxies_without_votes_and_of_other_splits_do_not_count():
    t = noisy(100)
    more = t.assign(id=[f"more{i}" for i in range(100)])
    more.loc[:, list(galaxy_zoo_tree.COLUMNS)] = np.nan
    more["volunteers"] = np.nan
    other = t.assign(id=[f"val{i}" for i in range(100)], split="val", **{"p_Class1.1": 5.0})
    both = pd.concat([t, more, other], ignore_index=True)
    for measure in (
        evaluate,
        violations,
        leading,
        calibration,
    ):
        options = {"n_bootstrap": 9} if measure is evaluate else {}
        pd.testing.assert_frame_equal(measure(both, **options), measure(t, **options))


# ---- single answers and distributions


def test_leading_answers_by_hand():
    yes = galaxy_zoo_tree.column("odd", "yes")
    shares = [
        0.9,
        0.8,
        0.79,
        0.1,
        0.9,
    ]  # who see something odd; the third does not agree, the last were too few
    votes = smooth_only(*({yes: q, yes + 1: 1 - q} for q in shares))
    predicted = smooth_only(*({yes: q, yes + 1: 1 - q} for q in (0.6, 0.4, 0.0, 0.3, 0.0)))
    test = table(votes, predicted, np.array([40.0, 10, 40, 40, 9]))
    train = table(
        smooth_only({}, {}, {yes: 1, yes + 1: 0}), smooth_only({}, {}, {}), 40.0, split="train"
    )
    t = pd.concat([test, train.assign(id=["t0", "t1", "t2"])], ignore_index=True)
    found = leading(t).set_index("question")
    odd = found.loc["odd"]
    assert (odd.n, odd.accuracy, odd.always, odd.most_common) == (
        3,
        pytest.approx(2 / 3),
        pytest.approx(1 / 3),
        "no",
    )
    z = stats.norm.ppf(0.975)
    centre, margin = (
        (2 + z**2 / 2) / (3 + z**2),
        z * math.sqrt(2 / 9 * 3 + z**2 / 4) / (3 + z**2),
    )  # Wilson 1927
    assert (odd.low, odd.high) == (pytest.approx(centre - margin), pytest.approx(centre + margin))
    assert (
        found.loc["bar", "n"] == 0
        and math.isnan(found.loc["bar", "accuracy"])
        and found.loc["bar", "most_common"] == ""
    )
    unknown = leading(t.assign(volunteers=np.nan)).set_index("question")
    assert unknown.loc["odd", "n"] == 4  # everybody reached it
    loose = leading(t, agreed=0.7, asked=9).set_index("question")
    assert loose.loc["odd", "n"] == 5


def predicted_distributions(n, *, concentration, told, seed=0):
    """Galaxies whose opinions scatter around what is predicted, Dirichlet; and the concentration
    that the model tells."""
    rng = np.random.default_rng(seed)
    means, starts = opinions(n, seed=seed, concentration=2.0), np.cumsum([0, *SIZES])
    truth = means.copy()
    for start, stop in itertools.pairwise(starts):
        gamma = rng.gamma(concentration * means[:, start:stop])
        truth[:, start:stop] = gamma / gamma.sum(1, keepdims=True)
    people = rng.integers(20, 60, n)
    votes = walk(truth if np.isfinite(concentration) else means, people, seed=seed)
    told = None if told is None else np.full((n, 11), told)
    return table(votes, galaxy_zoo_tree.cumulative(means), people.astype(float), concentration=told)


@pytest.mark.parametrize("concentration", [8.0, 3e5])
def test_coverage_of_the_right_distribution_is_what_it_says(concentration):
    binomial = concentration > 1e5  # all volunteers have the predicted opinion
    t = predicted_distributions(
        1500, concentration=concentration, told=None if binomial else concentration
    )
    found = coverage(t, n_bootstrap=0)
    for name, rows in found.groupby("question"):
        error = np.sqrt(
            rows.level * (1 - rows.level) / rows.n
        )  # as if the answers of a galaxy were one
        assert (abs(rows.coverage - rows.level) < 4 * error).all(), name
    assert found.error.max() < 0.02 and found[found.question == "overall"].error.max() < 0.005
    u = vote_calibration._transform(votes_in(t).labelled(), seed=0)
    count, _ = np.histogram(u[np.isfinite(u)], 10, (0, 1))
    assert count / count.sum() == pytest.approx(0.1, abs=0.005)
    asked = (
        galaxy_zoo_tree.reached(t[list(galaxy_zoo_tree.COLUMNS)].to_numpy())
        * t[["volunteers"]].to_numpy()
        > 0.5
    ).sum(0)
    assert count.sum() == asked @ SIZES
    assert found[found.level == 0.5].n.tolist() == [1500, *asked]


def test_coverage_of_an_overconfident_distribution_is_too_low_and_of_a_timid_one_too_high():
    for told, sign in ((100.0, -1), (None, -1), (2.0, 1)):
        t = predicted_distributions(400, concentration=8.0, told=told)
        found = coverage(t, levels=(0.5, 0.9), n_bootstrap=100)
        found = found[found.question == "overall"]
        away = found.coverage - found.level
        assert (sign * away > 0.05).all() and found.error.iloc[0] == pytest.approx(abs(away).mean())
        assert ((found.low < found.coverage) & (found.coverage < found.high)).all()


def test_the_transform_lies_between_the_distribution_functions_of_scipy():
    t = predicted_distributions(40, concentration=5.0, told=5.0)
    for concentration in (5.0, None):
        spread = [f"s_{name}" for name in galaxy_zoo_tree.SLICES]
        part = votes_in(t if concentration else t.drop(columns=spread)).labelled()
        u = vote_calibration._transform(part, seed=0)
        counts = np.round(part.true * part.volunteers[:, None])
        p = galaxy_zoo_tree.per_question(part.predicted)
        asked = np.round(galaxy_zoo_tree.reached(part.true) * part.volunteers[:, None])
        n = np.repeat(asked, SIZES, axis=1)
        law = stats.betabinom(n, 5 * p, 5 * (1 - p)) if concentration else stats.binom(n, p)
        there = n > 0
        assert (np.isfinite(u) == there).all()
        assert (law.cdf(counts - 1) - 1e-9 <= u)[there].all() and (u <= law.cdf(counts) + 1e-9)[
            there
        ].all()


def test_without_known_volunteers_there_is_no_coverage():
    t = noisy(60).assign(volunteers=np.nan)
    found = coverage(t, n_bootstrap=3)
    assert found.coverage.isna().all() and (found.n == 0).all()


def test_calibration_by_hand():
    yes = galaxy_zoo_tree.column("odd", "yes")
    votes = smooth_only(*({yes: q, yes + 1: 1 - q} for q in (0.2, 0.4, 1.0)))
    predicted = smooth_only(*({yes: p, yes + 1: 1 - p} for p in (0.12, 0.18, 1.0)))
    found = calibration(table(votes, predicted)).set_index(["question", "bin"]).loc["odd"]
    assert found.index.tolist() == pytest.approx([0.05, 0.15, 0.85, 0.95])
    assert found.n.tolist() == [1, 2, 2, 1]
    assert found.predicted.tolist() == pytest.approx([0, 0.15, 0.85, 1])
    assert found.observed.tolist() == pytest.approx([0, 0.3, 0.7, 1])
    row = found.loc[0.15]
    assert row.high - row.observed == pytest.approx(1.96 * stats.sem([0.2, 0.4]))
    assert found[["low", "high"]].iloc[0].isna().all()


def test_a_model_that_says_the_opinions_is_calibrated():
    truth, people, votes, _ = survey(1500)
    t = table(votes, galaxy_zoo_tree.cumulative(truth), people.astype(float))
    found = calibration(t)
    assert list(found.question.unique()) == ["overall", *galaxy_zoo_tree.SLICES]
    rows = found[found.n > 100]
    inside = (rows.low <= rows.predicted) & (rows.predicted <= rows.high)
    assert len(rows) > 80 and inside.mean() > 0.85
    shrunk = t.assign(
        **{
            f"p_{name}": 0.5 * t[f"p_{name}"] + 0.5 * t[f"p_{name}"].mean()
            for name in galaxy_zoo_tree.COLUMNS
        }
    )
    rows = calibration(shrunk)
    rows = rows[(rows.question == "odd") & (rows.n > 20)]
    assert (rows.observed < rows.predicted).iloc[0] and (rows.observed > rows.predicted).iloc[-1]


# ---- the tree, and classes


def test_violations_by_hand():
    yes = galaxy_zoo_tree.column("odd", "yes")
    ring = galaxy_zoo_tree.column("odd_feature", "ring")
    predicted = smooth_only(
        {},
        {yes: -0.02, yes + 1: 1.02},  # below 0, above 1, and a child (1.02) above its parent (1)
        {yes: 0.2, yes + 1: 0.8},  # nobody says what is odd: 0.2 lost
        {yes: 0.2, yes + 1: 0.8, ring: 0.2},
        {
            yes: 0.0,
            ring: 0.05,
            ring + 1: -0.05,
        },  # below 0, and a child above its parent, but the sum is right
        {yes: 0.009, yes + 1: 0.991},  # within tolerance
    )
    t = table(smooth_only(*[{}] * 6), predicted)
    found = violations(t).set_index("rule")
    assert found["count"].to_dict() == {
        **{"fraction below 0": 2, "fraction above 1": 1, "answers do not sum to their parent": 2},
        **{"answer above its parent": 2, "any of these": 3},
    }
    assert found.largest.to_dict() == pytest.approx(
        {
            **{
                "fraction below 0": 0.05,
                "fraction above 1": 0.02,
                "answers do not sum to their parent": 0.2,
            },
            **{"answer above its parent": 0.05, "any of these": 0.2},
        }
    )
    assert (found.n == 6).all() and found.share["any of these"] == 0.5
    strict = violations(t, tolerance=0.005).set_index("rule")
    assert strict["count"]["any of these"] == 4


def test_votes_that_follow_the_tree_violate_nothing():
    truth, _, votes, _ = survey(200)
    found = violations(table(votes, galaxy_zoo_tree.cumulative(truth)))
    assert (found["count"] == 0).all() and found.largest.max() < 1e-9


def test_classes_agree_where_the_thresholds_say_so():
    yes, number = galaxy_zoo_tree.column("edge_on", "yes"), galaxy_zoo_tree.column
    disc = {0: 0.0, number("roundness", "round"): 0.0, number("smooth", "features"): 1.0}
    edge_on = disc | {yes: 1.0, number("bulge_shape", "none"): 1.0}
    spiral = disc | {yes + 1: 1.0, number("spiral", "yes"): 1.0, number("winding", "tight"): 1.0}
    unclear = disc | {yes: 0.5, yes + 1: 0.5}
    true = smooth_only({}, {}, edge_on, edge_on, spiral, unclear)
    predicted = smooth_only({}, edge_on, edge_on, unclear, spiral, {})
    found = agreement(table(true, predicted))
    names = ["round", "in-between", "edge-on", "spiral", "no class"]
    assert found.index.tolist() == found.columns.tolist() == names
    expected = np.zeros((5, 5), int)
    for row, column in ((0, 0), (0, 2), (2, 2), (2, 4), (3, 3), (4, 0)):
        expected[row, column] = 1
    assert (found.to_numpy() == expected).all()
    none = agreement(table(true[5:], predicted[5:]))
    assert none.loc["no class", "round"] == none.to_numpy().sum() == 1
