"""What stands in the figures of training, and that nothing is cut off or overlaps."""

import io

import numpy as np
import pandas as pd
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib.figure import Figure
from PIL import Image

from galaxymorph.plots import galaxies, training
from tests.plots.test_galaxies import counts
from tests.plots.test_style import NAMES, TEN, check_texts, words

MATRIX = np.array([[50, 30, 20, 0], [0, 7, 0, 0], [1, 0, 3, 0], [0, 0, 0, 0]])


def history(n=12, seed=0):
    rng = np.random.default_rng(seed)
    epoch = np.arange(1, n + 1)
    loss, accuracy = 1 / epoch + rng.random(n) / 10, 1 - 1 / (epoch + 1) - rng.random(n) / 10
    columns = {
        "train_loss": loss,
        "train_accuracy": accuracy,
        "val_loss": loss + 0.1,
        "val_accuracy": accuracy - 0.1,
    }
    best = columns["val_loss"] == np.minimum.accumulate(columns["val_loss"])
    return pd.DataFrame({"epoch": epoch, "epochs": n} | columns | {"best": best})


def used(names=NAMES, n=12, seed=0):
    """A history of pseudo-labels, and the share of each class among the labels."""
    columns = ["train_used", "val_used", "val_used_right"]
    columns += [f"{what}_{name}" for what in ("threshold", "share") for name in names]
    values = np.random.default_rng(seed).random((n, len(columns)))
    values[:, 2] *= values[:, 1]
    values[0, 1:3] = 0  # nothing was used
    rows = pd.DataFrame(values, columns=columns)
    return rows.assign(epoch=np.arange(1, n + 1)), {name: 1 / len(names) for name in names}


def points(names=NAMES):
    curve = {
        "false_positive_rate": [0.0, 0.1, 1.0],
        "true_positive_rate": [0.0, 0.9, 1.0],
        "threshold": [np.inf, 0.5, 0.0],
    }
    return pd.concat(
        [
            pd.DataFrame({"class": name} | curve | {"auc": 0.9 + k / 100, "n": 10 + k})
            for k, name in enumerate(names)
        ]
    )


CASES = {
    "curves": lambda: training.learning_curves(history()),
    "curves of seeds": lambda: training.learning_curves([history(12 - i, i) for i in range(5)]),
    "curves of a self-supervised method": lambda: training.learning_curves(
        history()[["epoch", "train_loss"]]
    ),
    "no curves": lambda: training.learning_curves([]),
    "pseudo-labels": lambda: training.pseudo_labels(*used()),
    "pseudo-labels 10": lambda: training.pseudo_labels(*used(TEN)),
    "pseudo-labels of one epoch": lambda: training.pseudo_labels(*used(n=1)),
    "roc": lambda: training.roc(points()),
    "roc 10": lambda: training.roc(points(TEN)),
    "roc of nothing": lambda: training.roc(points()[:0]),
    "confusion": lambda: training.confusion(MATRIX, NAMES),
    "confusion 1": lambda: training.confusion(np.array([[4]]), ["round"]),
    "confusion 10": lambda: training.confusion(np.full((10, 10), 1000), TEN),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.long
def test_text_is_legible_and_nothing_is_cut_off_or_overlaps(case):
    check_texts(
        CASES[case](),
        smallest=8 if case in ("votes", "balance 10") else 9 if case == "confusion 10" else 10,
    )


def test_a_notebook_shows_a_figure_once_and_sharp():
    figure = training.roc(points())
    shown, metadata = DisplayFormatter().format(figure)
    assert [kind for kind in shown if kind.startswith("image")] == ["image/png"]
    picture = Image.open(io.BytesIO(shown["image/png"]))
    assert metadata["image/png"]["width"] == 800 and picture.width == 1200


def test_a_given_axes_is_drawn_into():
    figure = Figure(figsize=(8, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    assert training.roc(points(), ax=axes[0, 0]) is figure
    assert training.confusion(MATRIX, NAMES, ax=axes[0, 1]) is figure
    assert galaxies.class_balance(counts(), ax=axes[1, 0]) is figure
    assert len(axes[0, 0].lines) == 5 and len(axes[0, 1].images) == 1
    assert len(axes[1, 0].patches) == 12
    assert tuple(figure.get_size_inches()) == (8, 8)


@pytest.mark.long
def test_curves_mark_the_best_epoch_of_each_run():
    runs = [history(12, 0), history(9, 1)]
    figure = training.learning_curves(runs)
    loss, accuracy = figure.axes
    stars = {tuple(np.ravel(line.get_xydata())) for line in loss.lines if line.get_marker() == "*"}
    best = [run.loc[run.val_loss.idxmin()] for run in runs]
    assert stars == {(row.epoch, row.val_loss) for row in best}
    stars = {
        tuple(np.ravel(line.get_xydata())) for line in accuracy.lines if line.get_marker() == "*"
    }
    assert stars == {(row.epoch, row.val_accuracy) for row in best}
    assert len(loss.lines) == 2 * 3
    other = runs[0].assign(best=[True, False, True] + [False] * 9)  # whatever training went by
    for ax in training.learning_curves(other).axes:
        (star,) = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "*"]
        assert star == 3
    assert "best epoch on validation" in words(figure)
    assert "best epoch on validation" not in words(
        training.learning_curves(runs[0].drop(columns="best"))
    )


def test_curves_show_what_there_is():
    figure = training.learning_curves(history()[["epoch", "train_loss"]])
    assert len(figure.axes) == 1 and len(figure.axes[0].lines) == 1
    assert not any("validation" in t for t in words(figure))
    assert words(training.learning_curves([])) == ["no training history"]


def test_pseudo_labels_show_which_part_of_those_used_is_right():
    rows, labels = used()
    fractions, thresholds, shares = training.pseudo_labels(rows, labels).axes
    right = fractions.lines[2].get_ydata()
    np.testing.assert_allclose(right[1:] * rows.val_used[1:], rows.val_used_right[1:])
    assert np.isnan(right[0])
    assert [len(ax.lines) for ax in (thresholds, shares)] == [4, 8]
    np.testing.assert_allclose(thresholds.lines[1].get_ydata(), rows["threshold_in-between"])
    np.testing.assert_allclose(shares.lines[2].get_ydata(), rows["share_edge-on"])


def test_roc_names_class_area_and_number():
    shown = words(training.roc(points()))
    assert "edge-on: AUC 0.920 (n = 12)" in shown
    assert {"false positive rate", "true positive rate (recall)"} <= set(shown)


@pytest.mark.parametrize("names", [NAMES, TEN])
def test_no_two_curves_look_the_same(names):
    lines = training.roc(points(names)).axes[0].lines[1:]
    assert len({(line.get_color(), str(line._dash_pattern)) for line in lines}) == len(names)
    assert len({str(line._dash_pattern) for line in lines[:8]}) == min(
        8, len(names)
    )  # not by colour alone


def test_confusion_states_counts_and_per_cent_of_the_true_class():
    figure = training.confusion(MATRIX, NAMES)
    ax = figure.axes[0]
    cells = {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in ax.texts}
    assert cells[0, 0] == "50\n50 %" and cells[0, 1] == "30\n30 %" and cells[0, 2] == "20\n20 %"
    assert cells[2, 0] == "1\n25 %" and cells[2, 2] == "3\n75 %" and cells[3, 3] == "0\n–"
    for row in range(3):
        share = [int(cells[row, column].split("\n")[1].removesuffix(" %")) for column in range(4)]
        assert sum(share) == 100
        assert (
            sum(int(cells[row, column].split("\n")[0]) for column in range(4)) == MATRIX[row].sum()
        )
    shown = ax.images[0].get_array()
    np.testing.assert_allclose(shown[:3].sum(1), 100)
    assert shown.mask[3].all() and not shown.mask[:3].any()
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        f"{n} (n = {c})" for n, c in zip(NAMES, (100, 7, 4, 0), strict=True)
    ]
    assert ax.get_ylabel() == "true class" and ax.get_xlabel() == "predicted class"
    assert ax.yaxis_inverted()  # the first class on top
