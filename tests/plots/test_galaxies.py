"""What stands in the figures of galaxies and data sets, and that nothing is cut off or overlaps."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from galaxymorph import galaxy_zoo_tree
from galaxymorph.plots import galaxies
from tests.plots.test_style import NAMES, TEN, check_texts, images, words


def counts(names=NAMES):
    return pd.DataFrame(
        {s: np.arange(len(names)) + n for s, n in (("train", 900), ("val", 90), ("test", 200))},
        index=list(names),
    )


def votes(n=50):
    return np.random.default_rng(0).random((n, 37)).astype(np.float32)


CASES = {
    "examples": lambda: galaxies.examples(images(7), [f"galaxy {i}" for i in range(7)]),
    "one example": lambda: galaxies.examples(images(1), ["587722984435351614"]),
    "class examples": lambda: galaxies.class_examples(images(20), np.arange(20) % 4, NAMES),
    "class examples 10": lambda: galaxies.class_examples(images(20), np.arange(20) % 10, TEN),
    "misclassified": lambda: galaxies.misclassified(
        images(7), ["in-between"] * 7, ["in-between"] * 7, [1.0] * 7
    ),
    "misclassified 10": lambda: galaxies.misclassified(images(2), TEN[-2:], TEN[-3:-1], [0.5, 0.6]),
    "nothing misclassified": lambda: galaxies.misclassified(images(0), [], [], []),
    "balance": lambda: galaxies.class_balance(counts()),
    "balance 1": lambda: galaxies.class_balance(counts(["round"])[["test"]]),
    "balance 10": lambda: galaxies.class_balance(counts(TEN)),
    "distributions": lambda: galaxies.distributions(
        {"a (px)": np.arange(40), "b": np.ones(40)}, np.arange(40) % 4, NAMES
    ),
    "distributions 10": lambda: galaxies.distributions(
        {"a (px)": np.arange(40)}, np.arange(40) % 10, TEN
    ),
    "votes": lambda: galaxies.vote_correlation(votes(), galaxy_zoo_tree.LABELS),
    "class examples without classes": lambda: galaxies.class_examples(
        images(2), np.array([-1, -1]), ()
    ),
    "balance without classes": lambda: galaxies.class_balance(counts().iloc[:0]),
    "distributions without classes": lambda: galaxies.distributions(
        {"a": np.arange(2)}, np.array([-1, -1]), ()
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.long
def test_text_is_legible_and_nothing_is_cut_off_or_overlaps(case):
    check_texts(
        CASES[case](),
        smallest=8 if case in ("votes", "balance 10") else 9 if case == "confusion 10" else 10,
    )


@pytest.mark.parametrize("as_tensor", [False, True])
def test_sheets_show_every_galaxy_with_its_title(as_tensor):
    given = images(8)
    figure = galaxies.examples(
        torch.from_numpy(given) if as_tensor else given, [f"g{i}" for i in range(8)], columns=3
    )
    (ax,) = figure.axes
    assert not ax.axison and [text.get_text() for text in ax.texts] == [f"g{i}" for i in range(8)]
    for shown, text, image in zip(ax.images, ax.texts, given, strict=True):
        assert (shown.get_array() == image.transpose(1, 2, 0)).all()
        box, words_above = shown.get_window_extent(), text.get_window_extent()
        assert abs(box.width) == pytest.approx(abs(box.height), rel=0.02)
        assert (box.x0 + box.x1) / 2 == pytest.approx(words_above.x0 + words_above.width / 2, abs=2)
        assert 0 <= words_above.y0 - max(box.y0, box.y1) < 10  # just above its galaxy


def test_class_sheet_has_a_row_per_class_and_leaves_out_the_unlabelled():
    given, labels = images(9), torch.tensor([0, 0, 0, 1, 3, 3, -1, 0, 3])
    figure = galaxies.class_examples(given, labels, NAMES, each=3)
    shown = figure.axes[0].images
    for image, i in zip(shown, [0, 1, 2, 3, 4, 5, 8], strict=True):
        assert (image.get_array() == given[i].transpose(1, 2, 0)).all()
    tops = np.array([image.get_extent()[3] for image in shown])
    pitch = tops[3] - tops[0]
    np.testing.assert_allclose((tops - tops[0]) / pitch, [0, 0, 0, 1, 3, 3, 3], atol=1e-9)
    assert words(figure) == [
        "round\n(n = 4)",
        "in-between\n(n = 1)",
        "edge-on\n(n = 0)",
        "spiral\n(n = 3)",
    ]


def test_misclassified_galaxies_have_both_classes():
    figure = galaxies.misclassified(
        images(2), ["spiral", "round"], ["edge-on", "spiral"], np.array([0.871, 1.0])
    )
    first, second = (
        "true: spiral\npredicted: edge-on\n(87 %)",
        "true: round\npredicted: spiral\n(100 %)",
    )
    assert words(figure) == [first, second]
    assert words(galaxies.misclassified(images(0), [], [], [])) == ["no galaxy is misclassified"]


def test_figures_of_nothing_say_so():
    for case in (
        "class examples without classes",
        "balance without classes",
        "distributions without classes",
    ):
        assert words(CASES[case]()) == ["no galaxy has a class"]
    assert words(galaxies.distributions({}, np.zeros(2, int), ["round"])) == [
        "nothing was measured"
    ]
    figure = Figure(figsize=(8, 4))
    assert galaxies.class_balance(counts().iloc[:0], ax=figure.add_subplot()) is figure
    assert words(figure) == ["no galaxy has a class"]


def test_wrong_images_are_refused():
    with pytest.raises(ValueError, match="1 images and 2 titles"):
        galaxies.examples(images(1), ["a", "b"])
    for wrong in (images(2).transpose(0, 2, 3, 1), images(2) / 255.0, images(2)[0]):
        with pytest.raises(ValueError, match=r"expected uint8 \(galaxy, 3, size, size\)"):
            galaxies.to_pixels(wrong)


def test_balance_states_every_count_and_the_imbalance():
    table = counts()
    shown = words(galaxies.class_balance(table))
    assert set(table.astype(str).to_numpy().ravel()) <= set(shown)
    assert "train (3,606)" in shown
    big = pd.DataFrame({"train": [300, 100]}, index=["spiral", "round"])
    assert "imbalance 3.0: spiral has 300 galaxies, round has 100 galaxies" in words(
        galaxies.class_balance(big)
    )
    empty = pd.DataFrame({"train": [300, 0]}, index=["spiral", "round"])
    assert "imbalance: spiral has 300 galaxies, round has 0 galaxies" in words(
        galaxies.class_balance(empty)
    )


def test_distributions_mark_medians_and_leave_out_what_is_not_known():
    values = np.array([1.0, 2, 9, 4, 5, 6, np.nan, 1000])
    labels = np.array([0, 0, 0, 1, 1, 1, 1, -1])
    figure = galaxies.distributions({"size (px)": values}, labels, ["round", "spiral"])
    first, second = figure.axes
    assert [ax.lines[0].get_xdata()[0] for ax in (first, second)] == [2, 5]
    for ax in (first, second):
        assert sum(patch.get_height() for patch in ax.patches) == pytest.approx(1)
        assert ax.get_xlim()[1] < 12
    assert second.get_xlabel() == "size (px)" and first.get_ylabel() == "round\n(n = 3)"


def test_vote_correlation_is_that_of_numpy():
    given = votes()
    given[:, 5] = 0.5
    figure = galaxies.vote_correlation(torch.from_numpy(given), galaxy_zoo_tree.LABELS)
    shown = figure.axes[0].images[1].get_array()
    with np.errstate(all="ignore"):
        expected = np.corrcoef(given.T.astype(float))
    lower = np.tri(37, dtype=bool)
    lower[5] = lower[:, 5] = False  # constant: no correlation
    np.testing.assert_allclose(shown[lower], expected[lower], atol=1e-6)
    assert (shown.mask == ~lower).all()
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == list(galaxy_zoo_tree.LABELS)
