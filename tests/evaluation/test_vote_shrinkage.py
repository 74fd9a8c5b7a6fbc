"""Ensembles of vote fractions and their shrinkage, on simulated volunteers. About 5 s."""

from dataclasses import replace

import numpy as np
import pytest

from galaxymorph import galaxy_zoo_tree as tree
from galaxymorph.evaluation import vote_metrics, vote_shrinkage
from galaxymorph.evaluation.entries import Entry
from galaxymorph.evaluation.predictions import Votes

SIZES = [len(question.answers) for question in tree.QUESTIONS]


def galaxies(n=900, *, seed=0):
    """Galaxies whose answers vary, in the three splits in turn, predicted perfectly."""
    rng = np.random.default_rng(seed)
    fractions = [rng.dirichlet(3.0 * np.arange(1, size + 1), n) for size in SIZES]
    true = tree.cumulative(np.concatenate(fractions, axis=1))
    ids = np.array([f"g{i}" for i in range(n)], object)
    split = np.array(["train", "val", "test"], object)[np.arange(n) % 3]
    return Votes(ids, split, true, np.full(n, 40.0), true.copy())


def guessed(votes, *, seed, votes_of=5.0):
    """Predictions as noisy as if a few volunteers had been asked, the deeper the noisier."""
    rng = np.random.default_rng(seed)
    own, found = tree.per_question(votes.true), np.zeros_like(votes.true)
    for reach, where in zip(tree.reached(votes.true).T, tree.SLICES.values(), strict=True):
        for row, n in enumerate(np.maximum(1, reach * votes_of).astype(int)):
            p = np.nan_to_num(own[row, where], nan=0) + 1e-9
            found[row, where] = rng.multinomial(n, p / p.sum()) / n
    return replace(votes, predicted=tree.cumulative(found))


def rmse(votes, split="test"):
    rows = votes.rows(split)
    return float(np.sqrt(((votes.predicted - votes.true)[rows] ** 2).mean()))


def test_noisy_fractions_gain_and_follow_the_tree():
    votes = guessed(galaxies(), seed=1)
    found, strengths = vote_shrinkage.shrunk(votes)
    assert rmse(found) < 0.8 * rmse(votes) and rmse(found, "val") < 0.8 * rmse(votes, "val")
    assert min(strengths.values()) > 0 and list(strengths) == list(tree.SLICES)
    assert vote_metrics.violations(found, tolerance=1e-9)["count"].max() == 0


def test_perfect_fractions_stay():
    votes = galaxies()
    found, strengths = vote_shrinkage.shrunk(votes)
    assert set(strengths.values()) == {0}
    np.testing.assert_allclose(found.predicted, votes.predicted, atol=1e-12)


def test_one_question_by_hand(monkeypatch):
    """(n f + k m) / (n + k) with 40 volunteers, k = 10 and the training galaxies' mean."""
    monkeypatch.setattr(vote_shrinkage, "STRENGTHS", (10.0,))
    votes = guessed(galaxies(), seed=2)
    found, _ = vote_shrinkage.shrunk(votes)
    smooth, deep = tree.SLICES["smooth"], tree.SLICES["roundness"]
    mean = votes.true[votes.split == "train"].mean(0)
    expected = (40 * votes.predicted[:, smooth] + 10 * mean[smooth]) / 50
    np.testing.assert_allclose(found.predicted[:, smooth], expected)
    asked = found.predicted[:, smooth.start, None]
    own = tree.per_question(votes.predicted)[:, deep]
    usual = mean[deep] / mean[deep].sum()
    own = np.where(np.isnan(own), usual, own)
    expected = asked * (40 * asked * own + 10 * usual) / (40 * asked + 10)
    np.testing.assert_allclose(found.predicted[:, deep], expected)


def test_votes_of_test_galaxies_are_never_read():
    votes = guessed(galaxies(300), seed=3)
    true = votes.true.copy()
    true[votes.split == "test"] = galaxies(300, seed=9).true[votes.split == "test"]
    found, again = (vote_shrinkage.shrunk(v)[0] for v in (votes, replace(votes, true=true)))
    np.testing.assert_array_equal(found.predicted, again.predicted)


def test_fractions_that_break_the_tree_are_mended():
    votes = galaxies(300)
    noise = 0.05 * np.random.default_rng(4).normal(size=votes.true.shape)
    broken = replace(votes, predicted=votes.predicted + noise)
    assert vote_metrics.violations(broken)["count"].max() > 50
    found, _ = vote_shrinkage.shrunk(broken)
    assert vote_metrics.violations(found, tolerance=1e-9)["count"].max() == 0
    nothing = replace(votes, predicted=np.zeros_like(votes.predicted))
    assert np.isfinite(vote_shrinkage.shrunk(nothing)[0].predicted).all()


def test_the_mean_of_an_ensemble_is_better_than_its_members():
    votes = galaxies(300)
    them = [guessed(votes, seed=seed) for seed in (5, 6)]
    members = [Entry(f"m{i}", 0, votes=v) for i, v in enumerate(them)]
    found = vote_shrinkage.mean(members)
    np.testing.assert_allclose(found.predicted, (them[0].predicted + them[1].predicted) / 2)
    assert rmse(found) < 0.8 * min(map(rmse, them))
    spread = np.ones((300, 11))
    sure = [
        replace(m, votes=replace(m.votes, concentration=k * spread))
        for k, m in zip((2, 4), members, strict=True)
    ]
    assert (vote_shrinkage.mean(sure).concentration == 3).all()
    assert vote_shrinkage.mean([sure[0], members[1]]).concentration is None
    untested = replace(members[1], votes=them[1].take(np.arange(299)))
    with pytest.raises(ValueError, match="m0: 1 test galaxies are missing .*: g299"):
        vote_shrinkage.mean([members[0], untested])


def test_without_validation_votes_nothing_is_chosen():
    votes = galaxies(30)
    with pytest.raises(ValueError, match="no galaxy with votes in split 'val'"):
        vote_shrinkage.shrunk(votes.take(np.flatnonzero(votes.split != "val")))
