"""Rules of choosing galaxies on points and probabilities whose answer is known. A second."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from galaxymorph.evaluation import acquisition
from galaxymorph.evaluation.acquisition import Pool, choose, estimates, random_sample


def names(n):
    return np.array([f"g{i}" for i in range(n)], object)


def pool(n, known=(), **parts):
    flags = np.zeros(n, bool)
    flags[list(known)] = True
    return Pool(names(n), flags, **parts)


def chances(n, *, classes=3, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(classes), n)


def chosen(found, **options):
    """The ids that the rule chose, without random ones."""
    table = choose(found, **{"share": 0.0} | options)
    return table["id"].tolist()


def add_labels(found, table):
    """The pool once the chosen galaxies have labels."""
    return replace(found, known=found.known | np.isin(found.ids, table["id"]))


def test_margin_and_entropy_by_hand():
    p = np.array([[0.5, 0.3, 0.2], [0.6, 0.4, 0.0], [0.34, 0.33, 0.33], [1, 0, 0]])
    np.testing.assert_allclose(acquisition.margin(p), [0.8, 0.8, 0.99, 0])
    half = -(0.6 * np.log(0.6) + 0.4 * np.log(0.4))
    np.testing.assert_allclose(acquisition.entropy(p)[[1, 3]], [half, 0], atol=1e-12)
    assert chosen(pool(4, p=p), n=1, rule="margin") == ["g2"]
    assert chosen(pool(4, p=p), n=4, rule="entropy") == ["g2", "g0", "g1", "g3"]
    assert acquisition.margin(np.ones((2, 1))).tolist() == [0, 0]  # a single class


def test_bald_by_hand():
    """Members that agree, whether sure or not, leave nothing to learn; two that contradict each
    other leave one bit."""
    one, other, even = [1, 0], [0, 1], [0.5, 0.5]
    several = np.array([[one, even, one], [one, even, other]], float)
    np.testing.assert_allclose(acquisition.bald(several), [0, 0, np.log(2)], atol=1e-12)
    assert chosen(pool(3, several=several), n=1, rule="bald") == ["g2"]
    with pytest.raises(ValueError, match="several predictions, not 1"):
        choose(pool(3, several=several[:1]), 1, rule="bald", share=0.0)


def test_coreset_is_the_greedy_search_over_all_distances():
    points = np.random.default_rng(1).normal(size=(40, 2))
    known, expected = [3, 17], []
    for _ in range(6):
        centres = known + expected
        near = [min(np.linalg.norm(x - points[c]) for c in centres) for x in points]
        expected.append(int(np.argmax(near)))
    found = choose(pool(40, known, features=points), 6, rule="coreset", share=0.0)
    assert found["id"].tolist() == [f"g{i}" for i in expected]
    assert found["score"].is_monotonic_decreasing


def test_coreset_covers_within_twice_the_best_radius():
    """The guarantee of the greedy search (Gonzalez 1985), against every choice of 3 of 9 points."""
    points = np.random.default_rng(2).normal(size=(9, 2))
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)

    def radius(rows):
        return distance[:, list(rows)].min(1).max()

    best = min(map(radius, itertools.combinations(range(9), 3)))
    found = chosen(pool(9, features=points), n=3, rule="coreset")
    assert best <= radius([int(name[1:]) for name in found]) <= 2 * best


def groups(sizes, *, seed=0, spread=0.02):
    """Directions around a few centres, with the number of the group of each."""
    rng, angles = np.random.default_rng(seed), np.arange(len(sizes)) * 2 * np.pi / len(sizes)
    group = np.repeat(np.arange(len(sizes)), sizes)
    angle = angles[group] + spread * rng.normal(size=len(group))
    return np.stack([np.cos(angle), np.sin(angle)], 1), group


def test_typical_takes_the_densest_galaxy_of_each_cluster_the_largest_first():
    points, group = groups([40, 30, 20])
    found = choose(pool(90, features=points), 3, rule="typical", share=0.0)
    rows = [int(name[1:]) for name in found["id"]]
    assert group[rows].tolist() == [0, 1, 2]
    for row in rows:
        own = np.flatnonzero(group == group[row])
        distance = np.sort(np.linalg.norm(points[own][:, None] - points[own][None], axis=2), axis=1)
        n = min(20, len(own) - 1)
        typicality = 1 / distance[:, 1 : n + 1].mean(1)
        assert row == own[typicality.argmax()]
    np.testing.assert_allclose(found["score"].iloc[-1], typicality.max())


def test_typical_turns_to_clusters_without_a_label():
    points, group = groups([40, 30, 20])
    found = pool(90, known=[0, 1], features=points)  # both in the largest
    assert group[int(chosen(found, n=1, rule="typical")[0][1:])] == 1


def test_typical_margin_changes_its_mind_after_fifty_labels():
    points, _ = groups([60, 60])
    made = {"p": chances(120), "features": points}
    few, many = pool(120, range(49), **made), pool(120, range(50), **made)
    assert set(choose(few, 5, rule="typical-margin")["chosen_by"]) == {"random", "typical"}
    table = choose(many, 5, rule="typical-margin")
    assert set(table["chosen_by"]) == {"random", "margin"}
    assert table.equals(choose(many, 5, rule="margin"))


@pytest.mark.parametrize("rule", acquisition.RULES)
def test_no_rule_chooses_a_known_galaxy_or_one_twice_until_none_is_left(rule):
    several = np.stack([chances(50, seed=k) for k in range(3)])
    points = np.random.default_rng(3).normal(size=(50, 4))
    found = pool(50, range(5), p=several[0], several=several, features=points)
    ids = [f"g{i}" for i in range(5)]
    while not found.known.all():
        table = choose(found, 20, rule=rule)
        assert len(table) == min(20, 50 - len(ids))
        ids += table["id"].tolist()
        found = add_labels(found, table)
    assert sorted(ids) == sorted(names(50))
    with pytest.raises(ValueError, match="all 50 galaxies have a label"):
        choose(found, 1, rule=rule)


def test_a_tenth_of_a_batch_is_random_and_marked():
    table = choose(pool(1000, p=chances(1000)), 50, rule="margin")
    assert table["chosen_by"].value_counts().to_dict() == {"margin": 45, "random": 5}
    assert table.loc[table["chosen_by"] == "random", "score"].isna().all()
    assert set(choose(pool(1000), 7, rule="random")["chosen_by"]) == {"random"}


def test_the_same_seed_chooses_the_same_and_another_one_others():
    points = np.random.default_rng(4).normal(size=(200, 3))
    found = pool(200, features=points, p=chances(200))
    for rule in ("random", "margin", "typical", "coreset"):
        first, again, other = (choose(found, 30, rule=rule, seed=s) for s in (0, 0, 1))
        assert first.equals(again)
        assert set(first["id"]) != set(other["id"])


def test_ties_go_to_the_first_in_the_random_order_not_in_the_table():
    found = pool(300, p=np.full((300, 3), 1 / 3))
    order = choose(pool(300), 300, rule="random")["id"].tolist()
    assert chosen(found, n=5, rule="margin") == order[:5]


def test_another_galaxy_keeps_the_random_order_of_the_others():
    small = choose(pool(100), 100, rule="random")["id"].tolist()
    large = choose(pool(120), 120, rule="random")["id"].tolist()
    assert [name for name in large if int(name[1:]) < 100] == small


# ---- the random sample


def test_estimates_by_hand():
    p = np.eye(3)[[0, 0, 1, 2, 2]]
    labels = np.array([0, 1, 1, -1, 2])
    table = estimates(np.arange(4), labels, p, ["a", "b", "c"]).set_index(["quantity", "class"])
    assert table.loc[("accuracy", ""), ["value", "n"]].tolist() == [2 / 3, 3]
    assert table["value"]["share"].to_dict() == {"a": 0.25, "b": 0.5, "c": 0, "no class": 0.25}
    assert (table["low"] < table["value"] + 1e-9).all() and (table["high"] > table["value"]).all()


def test_the_random_sample_is_unbiased_where_the_rule_is_not():
    """A rule that looks for the rare class: its labels overstate it several times, the random
    sample does not. The mean over 300 random orders is within 3 standard errors of the truth, and
    95 % intervals have it in at least 92 % of cases."""
    rng, n = np.random.default_rng(5), 400
    labels = (rng.random(n) < 0.1).astype(int)
    first = np.clip(0.5 + 0.3 * labels + 0.1 * rng.normal(size=n), 0, 1)
    p = np.stack([0.5 + abs(first - 0.8) / 2, 0.5 - abs(first - 0.8) / 2], 1)  # least sure of rare
    right = p.argmax(1) == labels
    shares, accuracies, held, biased = [], [], [], []
    for seed in range(300):
        found = pool(n, p=p)
        for _ in range(4):
            found = add_labels(found, choose(found, 50, rule="margin", seed=seed))
        sample = random_sample(found, seed=seed)
        assert len(sample) == 20
        table = estimates(sample, labels, p, ["common", "rare"]).set_index(["quantity", "class"])
        accuracies.append(table.value["accuracy", ""])
        row = table.loc[("share", "rare")]
        shares.append(row["value"])
        held.append(row["low"] <= labels.mean() <= row["high"])
        biased.append(labels[found.known].mean())
    error = np.std(shares) / np.sqrt(300)
    assert abs(np.mean(shares) - labels.mean()) < 3 * error
    assert abs(np.mean(accuracies) - right.mean()) < 3 * np.std(accuracies) / np.sqrt(300)
    assert np.mean(held) >= 0.92
    assert np.mean(biased) > 1.5 * labels.mean()


def test_galaxies_known_before_are_not_sampled():
    before = np.arange(300) < 200
    found = Pool(names(300), before, p=chances(300), before=before)
    assert len(random_sample(found)) == 0
    table = choose(found, 30, rule="margin")
    sample = random_sample(add_labels(found, table))
    assert set(found.ids[sample]) == set(table.loc[table["chosen_by"] == "random", "id"])


# ---- what is refused


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("margin", "rule 'margin' needs predicted probabilities"),
        ("bald", "rule 'bald' needs several predictions"),
        ("typical", "rule 'typical' needs features"),
        ("margn", "unknown rule 'margn'; did you mean 'margin'"),
    ],
)
def test_a_rule_says_what_it_lacks(rule, message):
    with pytest.raises(ValueError, match=message):
        choose(pool(5), 2, rule=rule)


def test_wrong_numbers_are_refused():
    for options in ({"n": 0}, {"n": 1, "share": 1.5}):
        with pytest.raises(ValueError, match="at least 1 galaxy, and a share from 0 to 1"):
            choose(pool(5), rule="random", **options)


def test_a_pool_names_wrong_galaxies():
    flags = np.zeros(3, bool)
    with pytest.raises(ValueError, match="duplicate id, 2 of 3 rows: line 2 .id a., line 4 .id a."):
        Pool(np.array(["a", "b", "a"], object), flags)
    with pytest.raises(ValueError, match="lengths differ"):
        Pool(names(4), flags)
    p = np.array([[0.5, 0.5], [0.9, 0.2], [np.nan, 1]])
    for parts in ({"p": p}, {"several": p[None]}):
        with pytest.raises(ValueError, match="do not sum to 1, 2 of 3 rows: line 3 .id g1. 1.1"):
            Pool(names(3), flags, **parts)
    with pytest.raises(ValueError, match="features are not finite, 1 of 3 rows: line 3"):
        Pool(names(3), flags, features=np.array([[1.0], [np.inf], [2]]))


def test_scaled_features_have_unit_spread_and_constant_ones_stay_finite():
    values = np.stack([np.arange(5.0) * 7 + 3, np.full(5, 2.0)], 1)
    found = acquisition.scaled(values)
    np.testing.assert_allclose([found.mean(0), found.std(0)], [[0, 0], [1, 0]], atol=1e-12)
    np.testing.assert_allclose(acquisition.scaled(values[:2], like=values), found[:2])


def test_an_empty_table_of_choices_is_never_written():
    with pytest.raises(ValueError, match="all 0 galaxies"):
        choose(Pool(names(0), np.zeros(0, bool)), 3, rule="random")


def test_the_table_has_the_columns_that_label_reads():
    table = choose(pool(30, p=chances(30)), 5, rule="margin")
    assert list(table.columns) == ["id", "chosen_by", "score"]
    assert pd.api.types.is_float_dtype(table["score"])


def test_scikit_activeml_chooses_the_same():
    """Another library, which is no requirement: pip install scikit-activeml."""
    other = pytest.importorskip("skactiveml.pool", reason="scikit-activeml is not installed")
    rng = np.random.default_rng(0)
    p, points = rng.dirichlet(np.ones(4), 200), rng.normal(size=(200, 5))
    for ours, method in ((acquisition.margin, "margin_sampling"), (acquisition.entropy, "entropy")):
        np.testing.assert_allclose(ours(p), other.uncertainty_scores(p, method=method))
    known, labels = [3, 50, 80], np.full(200, np.nan)
    labels[known] = 0
    found = pool(200, known, features=points)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    for rule, theirs, x, n in (
        ("coreset", other.CoreSet(random_state=0), points, 12),
        ("typical", other.TypiClust(random_state=0, k=20), unit, 5),
    ):
        expected = theirs.query(x, labels, batch_size=n)
        assert chosen(found, n=n, rule=rule) == [f"g{k}" for k in expected]
