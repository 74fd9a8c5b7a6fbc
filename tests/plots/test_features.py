"""What stands in the figures of learned features, and that nothing is cut off or overlaps. About 6
s."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from galaxymorph.plots import features as feature_plots
from galaxymorph.plots import style
from tests.plots.test_style import NAMES, TEN, check_texts, images, words


def history(n=12, contrastive=True):
    epoch = np.arange(1, n + 1)
    measured = (epoch == 1) | (epoch % 5 == 0) | (epoch == n)
    table = pd.DataFrame({"epoch": epoch, "train_loss": 1 / epoch})
    if contrastive:
        table = table.assign(
            train_contrastive_accuracy=epoch / 20, val_contrastive_accuracy=epoch / 30
        )
    for i, name in enumerate(
        ("alignment", "uniformity", "spread", "effective_rank", "knn_accuracy")
    ):
        table[f"health_{name}"] = np.where(measured, 10.0**i / epoch, np.nan)
    return table


def points(n=60):
    return pd.DataFrame(
        np.random.default_rng(0).normal(size=(n, 2)),
        columns=["component 1 (23 % of the variance)", "component 2"],
    )


def floats(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def strips(columns=9):
    given = images(20)
    rows = np.arange(3)
    near = np.stack([np.arange(5, 5 + columns - 1) + i for i in rows])
    return given, rows, near, np.arange(20) % 5 - 1


CASES = {
    "health": lambda: feature_plots.health(history()),
    "health of an autoencoder": lambda: feature_plots.health(history(contrastive=False)),
    "health of one epoch": lambda: feature_plots.health(history(1)),
    "contrastive accuracy alone": lambda: feature_plots.health(history().iloc[:, :4]),
    "projection": lambda: feature_plots.projection(points(), np.arange(60) % 5 - 1, NAMES),
    "projection 10": lambda: feature_plots.projection(points(), np.arange(60) % 10, TEN),
    "projection of unlabelled": lambda: feature_plots.projection(points(), np.full(60, -1), ()),
    "neighbours": lambda: feature_plots.neighbours(*strips(), NAMES),
    "neighbours 10": lambda: feature_plots.neighbours(*strips(11), TEN),
    "neighbours of nothing": lambda: feature_plots.neighbours(
        images(2), [], np.zeros((0, 3), int), np.zeros(2, int), NAMES
    ),
    "reconstructions": lambda: feature_plots.reconstructions(
        floats(8, 3, 16, 16), floats(8, 3, 16, 16) / 2
    ),
    "one reconstruction": lambda: feature_plots.reconstructions(
        floats(1, 3, 16, 16), floats(1, 3, 16, 16)
    ),
    "interpolation": lambda: feature_plots.interpolation(floats(3, 8, 3, 16, 16)),
    "oddest": lambda: feature_plots.oddest(
        images(20), np.arange(20) / 1e5, ["587722984435351614"] * 20
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.long
def test_text_is_legible_and_nothing_is_cut_off_or_overlaps(case):
    check_texts(CASES[case]())


@pytest.mark.long
def test_health_shows_what_was_measured_where_it_was():
    figure = feature_plots.health(history())
    shown = {ax.get_title(loc="left"): ax for ax in figure.axes if ax.axison}
    assert list(shown) == [
        *("contrastive accuracy", "kNN accuracy", "alignment"),
        *("uniformity", "spread", "effective rank"),
    ]
    train, val = shown["contrastive accuracy"].lines
    assert train.get_linestyle() != val.get_linestyle() and train.get_color() != val.get_color()
    assert list(train.get_xdata()) == list(range(1, 13)) and val.get_ydata()[-1] == pytest.approx(
        0.4
    )
    (line,) = shown["effective rank"].lines
    assert list(line.get_xdata()) == [
        1,
        5,
        10,
        12,
    ]  # joined, though the epochs in between were not measured
    np.testing.assert_allclose(line.get_ydata(), 1000 / np.array([1, 5, 10, 12]))
    assert shown["spread"].get_ylim()[0] == 0
    assert not any(
        "contrastive" in text for text in words(feature_plots.health(history(contrastive=False)))
    )
    assert words(feature_plots.health(history()[["epoch", "train_loss"]])) == [
        "no measurements of feature quality"
    ]


def test_projection_has_a_look_for_each_class_and_grey_behind_for_none():
    given, labels = points(), torch.arange(60) % 5 - 1
    figure = feature_plots.projection(given, labels, NAMES)
    none, *classes = figure.axes[0].collections
    assert none.zorder < min(each.zorder for each in classes)
    for k, each in zip((-1, 0, 1, 2, 3), (none, *classes), strict=True):
        np.testing.assert_allclose(each.get_offsets(), given.to_numpy()[labels.numpy() == k])
    assert [to_hex(each.get_facecolor()[0]) for each in classes] == [
        c.lower() for c in style.COLOURS[:4]
    ]
    assert (
        len({each.get_paths()[0].vertices.tobytes() for each in classes}) == 4
    )  # not by colour alone
    assert {
        "no class (n = 12)",
        "round (n = 12)",
        "spiral (n = 12)",
        "component 1 (23 % of the variance)",
    } <= set(words(figure))
    outer = Figure(figsize=(8, 4))
    assert feature_plots.projection(given, labels, NAMES, ax=outer.add_subplot()) is outer


def test_neighbours_are_framed_and_named_by_whether_they_are_of_the_same_class():
    given, labels = images(6), np.array([0, 0, 3, -1, 3, -1])
    figure = feature_plots.neighbours(
        given, [0, 3], np.array([[1, 2, 3], [4, 5, 0]]), labels, NAMES
    )
    (ax,) = figure.axes
    for image, frame, i in zip(ax.images, ax.patches, [0, 1, 2, 3, 3, 4, 5, 0], strict=True):
        assert (image.get_array() == given[i].transpose(1, 2, 0)).all()
        np.testing.assert_allclose(frame.get_window_extent().size, image.get_window_extent().size)
    assert [text.get_text() for text in ax.texts[:4]] == ["round", "round", "spiral", "–"]
    frames = [ax.patches[:4], ax.patches[4:]]
    assert [to_hex(f.get_edgecolor()) for f in frames[0]] == [
        colour.lower() for colour in (style.INK, style.BLUE, style.ORANGE, style.FAINT)
    ]
    assert [f.get_linestyle() == "-" for f in frames[0]] == [
        True,
        True,
        False,
        True,
    ]  # not by colour alone
    assert frames[0][0].get_linewidth() > frames[0][1].get_linewidth()
    assert {to_hex(f.get_edgecolor()) for f in frames[1][1:]} == {
        style.FAINT
    }  # of a galaxy without a class


def test_residuals_are_what_the_reconstruction_leaves_on_a_symmetric_scale():
    originals, rebuilt = floats(2, 3, 16, 16), floats(2, 3, 16, 16).flip(0)
    figure = feature_plots.reconstructions(originals, rebuilt)
    top, middle, below = np.reshape(figure.axes[0].images, (3, 2))
    for row, given in ((top, originals), (middle, rebuilt)):
        for shown, image in zip(row, given, strict=True):
            np.testing.assert_allclose(shown.get_array(), 255 * image.permute(1, 2, 0), atol=0.51)
    for shown, one, other in zip(below, originals, rebuilt, strict=True):
        np.testing.assert_allclose(shown.get_array(), 100 * (one - other).mean(0), atol=1e-4)
        low, high = shown.get_clim()
        assert low == -high and high > 10
    as_bytes = [(255 * given).round().byte() for given in (originals, rebuilt)]
    again = feature_plots.reconstructions(*as_bytes).axes[0].images[4:]
    (same,) = {image.get_clim() for image in again}
    assert same == pytest.approx((low, high), abs=0.5)
    perfect = feature_plots.reconstructions(originals, originals)
    assert perfect.axes[0].images[4].get_clim() == (-1, 1)


def test_interpolation_frames_the_ends():
    figure = feature_plots.interpolation(
        floats(2, 5, 3, 16, 16) * 1.2 - 0.1
    )  # beyond black and white it is cut off
    (ax,) = figure.axes
    lefts = {round(float(frame.get_x()), 3) for frame in ax.patches}
    assert len(ax.patches) == 4 and len(ax.images) == 10
    assert lefts == {round(ax.images[i].get_extent()[0], 3) for i in (0, 4)}


def test_the_oddest_come_first():
    given, scores = images(6), torch.tensor([0.1, 0.6, 0.3, 0.5, 0.2, 0.4])
    figure = feature_plots.oddest(given, scores, np.array(list("abcdef")), count=4, columns=3)
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.texts] == [
        "b\nerror 0.6",
        "d\nerror 0.5",
        "f\nerror 0.4",
        "c\nerror 0.3",
    ]
    for image, i in zip(ax.images, [1, 3, 5, 2], strict=True):
        assert (image.get_array() == given[i].transpose(1, 2, 0)).all()
