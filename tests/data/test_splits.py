"""Folds: disjoint test sets that hold every labelled galaxy once."""

import numpy as np
import pytest
import torch

from galaxymorph.data.galaxies import Galaxies
from galaxymorph.data.load import load as load_galaxies
from galaxymorph.data.load import refused
from galaxymorph.data.splits import drawn_split, limit_labels, strata_of

COUNTS = {"a": 41, "b": 23, "c": 7}


def galaxies(counts=COUNTS, *, unlabelled=5, order=None, names=None):
    """Galaxies with ids of their own in any order of rows and classes; some without a label."""
    labels = [k for k, n in enumerate(counts.values()) for _ in range(n)] + [-1] * unlabelled
    rows = np.arange(len(labels)) if order is None else order
    ids = np.array([f"id{n}" for n in range(len(labels))])[rows]
    classes = names or tuple(counts)
    label = torch.tensor([k if k < 0 else classes.index([*counts][k]) for k in labels])[rows]
    images = torch.zeros(len(rows), 3, 1, 1, dtype=torch.uint8)
    split = np.full(len(rows), "unlabelled")
    return Galaxies(ids, images, label, classes, None, split)


def held_out(made, seed, *, folds=5, val=0.2, n_labels=None):
    """Split in place; return the ids of the test galaxies."""
    strata = made.labels.numpy().copy()
    options = {"test": 0.2, "val": val, "seed": seed, "remedy": "Add some"}
    drawn_split(made, strata, folds=folds, **options)
    limit_labels(made, strata, "classes", n_labels=n_labels, fraction=None, seed=seed)
    return set(made.ids[made.split == "test"].tolist())


@pytest.mark.parametrize("folds", [2, 5, 7])
def test_every_labelled_galaxy_is_tested_once_and_each_class_evenly(folds):
    for draw in (0, 3):
        found, counts = [], []
        for seed in range(draw * folds, (draw + 1) * folds):
            made = galaxies()
            found.append(held_out(made, seed, folds=folds))
            counts.append(made.counts().loc[[*COUNTS]].to_numpy())  # class, split
            parts = made.counts().loc[[*COUNTS]]
            least = parts[["train", "val"]].to_numpy().min()
            assert least >= 1 and (parts["unlabelled"] == 0).all()
            expected = [round(0.2 * n) for n in COUNTS.values()]
            assert (parts["val"].to_numpy() <= expected).all()
            if folds > 2:
                assert parts["val"].tolist() == expected
            once = f"seeds {draw * folds} to {draw * folds + folds - 1} test each of the 71 once"
            assert made.notes == [
                f"test galaxies: fold {seed % folds} of {folds} (draw {draw}), "
                f"{len(found[-1])}; {once}"
            ]
        every = [id for ids in found for id in ids]
        assert len(every) == len(set(every)) == 71
        sizes = np.array([len(ids) for ids in found])
        assert np.ptp(sizes) <= 1
        of_class = np.array(counts)[:, :, [*made.counts().columns].index("test")]
        assert (np.ptp(of_class, axis=0) <= 1).all()


def test_other_draws_have_other_folds_and_the_same_seed_the_same():
    first, again, later = (held_out(galaxies(), seed) for seed in (1, 1, 6))
    assert first == again != later
    assert 0 < len(first & later) < len(first)


def test_folds_depend_neither_on_the_order_of_rows_nor_of_classes():
    order = np.random.default_rng(0).permutation(sum(COUNTS.values()) + 5)
    for seed in (0, 4):
        made, other = galaxies(), galaxies(order=order, names=("c", "a", "b"))
        assert held_out(made, seed) == held_out(other, seed)
        parts = [dict(zip(g.ids.tolist(), g.split.tolist(), strict=True)) for g in (made, other)]
        assert parts[0] == parts[1]


def test_validation_is_drawn_anew_by_each_seed_and_labels_are_nested():
    val, smaller = [], set()
    for seed in range(5):
        made = galaxies()
        held_out(made, seed)
        val.append(frozenset(made.ids[made.split == "val"].tolist()))
    assert len(set(val)) == 5
    for n in (3, 10, 20, 40):
        made = galaxies()
        test = held_out(made, 2, n_labels=n)
        labelled = set(made.ids[made.split == "train"].tolist())
        assert len(labelled) == n and smaller < labelled and not labelled & test
        assert test == held_out(galaxies(), 2)
        smaller = labelled


def test_galaxies_without_a_class_but_with_votes_move_none_of_a_class():
    for seed in range(5):
        by_class, by_votes = (
            load_galaxies(
                "simulated", n_galaxies=150, image_size=32, target=target, seed=seed, folds=5
            )
            for target in ("classes", "votes")
        )
        of_class = by_class.labels.numpy() >= 0
        assert (by_class.split[of_class] == by_votes.split[of_class]).all()
        extra = strata_of(by_votes, "votes") == len(by_votes.classes)
        assert extra.any() and abs((by_votes.split[extra] == "test").mean() - 0.2) < 1 / extra.sum()


def test_too_few_galaxies_for_folds():
    few = r"too few galaxies to split: class c \(4\); .* at least 5, to be in each of 5 folds. Add"
    with pytest.raises(ValueError, match=few):
        held_out(galaxies({"a": 9, "c": 4}), 0)
    assert len(held_out(galaxies({"a": 9, "c": 5}), 0)) in (2, 3)
    for count, val, enough in ((4, 0.2, True), (3, 0.2, False), (2, 0.0, True), (1, 0.0, False)):
        for seed in (0, 1):
            made = galaxies({"a": 9, "c": count})
            if not enough:
                with pytest.raises(ValueError, match=r"class c \(\d\); each class needs at least"):
                    held_out(made, seed, folds=2, val=val)
                continue
            held_out(made, seed, folds=2, val=val)
            wanted = ["train", "test", *["val"] * (val > 0)]
            assert (made.counts().loc["c", wanted] > 0).all()


def test_votes_may_lack_a_class_but_not_galaxies():
    made = galaxies({"a": 3})
    options = {"test": 0.2, "val": 0.2, "seed": 0, "remedy": None}
    with pytest.raises(ValueError, match="3 labelled galaxies are too few for 5 folds"):
        drawn_split(made, made.labels.numpy(), folds=5, **options)
    made = galaxies({"a": 12, "b": 1})
    for seed in range(5):
        drawn_split(made, made.labels.numpy(), folds=5, **options | {"seed": seed})
        made.split[made.split != "x"] = "unlabelled"


def test_a_given_split_and_folds_are_refused():
    made = galaxies()
    made.split[:] = np.where(np.arange(len(made)) % 4, "train", "test")
    with pytest.raises(ValueError, match="data come with a split, but folds = 5 draws one. Remove"):
        held_out(made, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 5, "test": 0.2}, "give test or folds, not both"),
        ({"folds": 1}, "folds must be at least 2, not 1"),
        ({"folds": 0}, "folds must be at least 2, not 0"),
        ({"folds": 2, "val": 0.5}, "folds = 2 and val = 0.5 leave nothing to train on"),
    ],
)
def test_options_that_exclude_folds(options, message):
    with pytest.raises(ValueError, match=message):
        load_galaxies("simulated", n_galaxies=20, image_size=32, **options)


def test_params_files_refuse_folds_with_test():
    assert "not both" in refused({"name": "simulated", "folds": 5, "test": 0.3})["test"]
    assert refused({"name": "simulated", "folds": 5}) == {}
