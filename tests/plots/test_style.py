"""What stands in the figures, and that nothing is cut off or overlaps. About 15 s."""

import io
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from galaxymorph import galaxy_zoo_tree
from galaxymorph.plots import style as plots

NAMES = ("round", "in-between", "edge-on", "spiral")
TEN = (
    *("disturbed", "merging", "round smooth", "in-between smooth", "cigar smooth", "barred spiral"),
    *("tight spiral", "loose spiral", "edge-on without bulge", "edge-on with bulge"),
)
MATRIX = np.array([[50, 30, 20, 0], [0, 7, 0, 0], [1, 0, 3, 0], [0, 0, 0, 0]])


@pytest.fixture(autouse=True)
def nothing_left_open():
    from matplotlib import pyplot, rcParams

    before = dict(rcParams)
    yield
    assert not pyplot.get_fignums()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert dict(rcParams) == before


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


def images(n, size=16):
    return np.random.default_rng(0).integers(0, 256, (n, 3, size, size), dtype=np.uint8)


def counts(names=NAMES):
    return pd.DataFrame(
        {s: np.arange(len(names)) + n for s, n in (("train", 900), ("val", 90), ("test", 200))},
        index=list(names),
    )


def votes(n=50):
    return np.random.default_rng(0).random((n, 37)).astype(np.float32)


def texts(figure):
    """All text that is drawn."""
    drawn = {}
    draw = Text.draw

    def noted(text, renderer):
        if text.get_visible() and text.get_text():
            drawn[id(text)] = text
        return draw(text, renderer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", noted)
        figure.draw_without_rendering()
    return list(drawn.values())


def said(figure):
    return [t.get_text() for t in texts(figure)]


CASES = {
    "curves": lambda: plots.learning_curves(history()),
    "curves of seeds": lambda: plots.learning_curves([history(12 - i, i) for i in range(5)]),
    "curves of a self-supervised method": lambda: plots.learning_curves(
        history()[["epoch", "train_loss"]]
    ),
    "no curves": lambda: plots.learning_curves([]),
    "roc": lambda: plots.roc(points()),
    "roc 10": lambda: plots.roc(points(TEN)),
    "roc of nothing": lambda: plots.roc(points()[:0]),
    "confusion": lambda: plots.confusion(MATRIX, NAMES),
    "confusion 1": lambda: plots.confusion(np.array([[4]]), ["round"]),
    "confusion 10": lambda: plots.confusion(np.full((10, 10), 1000), TEN),
    "examples": lambda: plots.examples(images(7), [f"galaxy {i}" for i in range(7)]),
    "one example": lambda: plots.examples(images(1), ["587722984435351614"]),
    "class examples": lambda: plots.class_examples(images(20), np.arange(20) % 4, NAMES),
    "class examples 10": lambda: plots.class_examples(images(20), np.arange(20) % 10, TEN),
    "misclassified": lambda: plots.misclassified(
        images(7), ["in-between"] * 7, ["in-between"] * 7, [1.0] * 7
    ),
    "misclassified 10": lambda: plots.misclassified(images(2), TEN[-2:], TEN[-3:-1], [0.5, 0.6]),
    "nothing misclassified": lambda: plots.misclassified(images(0), [], [], []),
    "balance": lambda: plots.class_balance(counts()),
    "balance 1": lambda: plots.class_balance(counts(["round"])[["test"]]),
    "balance 10": lambda: plots.class_balance(counts(TEN)),
    "distributions": lambda: plots.distributions(
        {"a (px)": np.arange(40), "b": np.ones(40)}, np.arange(40) % 4, NAMES
    ),
    "distributions 10": lambda: plots.distributions(
        {"a (px)": np.arange(40)}, np.arange(40) % 10, TEN
    ),
    "votes": lambda: plots.vote_correlation(votes(), galaxy_zoo_tree.LABELS),
    "class examples without classes": lambda: plots.class_examples(
        images(2), np.array([-1, -1]), ()
    ),
    "balance without classes": lambda: plots.class_balance(counts().iloc[:0]),
    "distributions without classes": lambda: plots.distributions(
        {"a": np.arange(2)}, np.array([-1, -1]), ()
    ),
}


def check_texts(figure, smallest=10):
    """Text is legible, and none is cut off or overlaps another."""
    found = texts(figure)
    width, height = figure.bbox.width, figure.bbox.height
    assert width <= 100 * plots.WIDTH + 1  # no smaller than life in 800 pixels
    upright = []
    for text in found:
        box = text.get_window_extent()
        inside = min(box.x0, box.y0) >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, f"{text.get_text()!r} at {box} is cut off in {width} x {height}"
        assert text.get_fontsize() >= smallest
        if text.get_rotation() == 0:
            upright.append((text.get_text(), box))
    for i, (a, first) in enumerate(upright):
        for b, second in upright[i + 1 :]:
            x = min(first.x1, second.x1) - max(first.x0, second.x0)
            y = min(first.y1, second.y1) - max(first.y0, second.y0)
            assert x <= 2 or y <= 2, f"{a!r} and {b!r} overlap by {x:.0f} x {y:.0f} pixels"


@pytest.mark.parametrize("case", CASES)
def test_text_is_legible_and_nothing_is_cut_off_or_overlaps(case):
    check_texts(
        CASES[case](),
        smallest=8 if case in ("votes", "balance 10") else 9 if case == "confusion 10" else 10,
    )


def test_a_notebook_shows_a_figure_once_and_sharp():
    figure = plots.roc(points())
    shown, metadata = DisplayFormatter().format(figure)
    assert [kind for kind in shown if kind.startswith("image")] == ["image/png"]
    picture = Image.open(io.BytesIO(shown["image/png"]))
    assert metadata["image/png"]["width"] == 800 and picture.width == 1200


def test_a_given_axes_is_drawn_into():
    figure = Figure(figsize=(8, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    assert plots.roc(points(), ax=axes[0, 0]) is figure
    assert plots.confusion(MATRIX, NAMES, ax=axes[0, 1]) is figure
    assert plots.class_balance(counts(), ax=axes[1, 0]) is figure
    assert len(axes[0, 0].lines) == 5 and len(axes[0, 1].images) == 1
    assert len(axes[1, 0].patches) == 12
    assert tuple(figure.get_size_inches()) == (8, 8)


def test_curves_mark_the_best_epoch_of_each_run():
    runs = [history(12, 0), history(9, 1)]
    figure = plots.learning_curves(runs)
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
    for ax in plots.learning_curves(other).axes:
        (star,) = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "*"]
        assert star == 3
    assert "best epoch on validation" in said(figure)
    assert "best epoch on validation" not in said(
        plots.learning_curves(runs[0].drop(columns="best"))
    )


def test_curves_show_what_there_is():
    figure = plots.learning_curves(history()[["epoch", "train_loss"]])
    assert len(figure.axes) == 1 and len(figure.axes[0].lines) == 1
    assert not any("validation" in t for t in said(figure))
    assert said(plots.learning_curves([])) == ["no training history"]


def test_roc_names_class_area_and_number():
    shown = said(plots.roc(points()))
    assert "edge-on: AUC 0.920 (n = 12)" in shown
    assert {"false positive rate", "true positive rate (recall)"} <= set(shown)


@pytest.mark.parametrize("names", [NAMES, TEN])
def test_no_two_curves_look_the_same(names):
    lines = plots.roc(points(names)).axes[0].lines[1:]
    assert len({(line.get_color(), str(line._dash_pattern)) for line in lines}) == len(names)
    assert len({str(line._dash_pattern) for line in lines[:8]}) == min(
        8, len(names)
    )  # not by colour alone


def test_confusion_states_counts_and_per_cent_of_the_true_class():
    figure = plots.confusion(MATRIX, NAMES)
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
    assert ax.get_ylabel() == "true class" and ax.get_xlabel() == "taken for"
    assert ax.yaxis_inverted()  # the first class on top


@pytest.mark.parametrize("as_tensor", [False, True])
def test_sheets_show_every_galaxy_with_its_title(as_tensor):
    given = images(8)
    figure = plots.examples(
        torch.from_numpy(given) if as_tensor else given, [f"g{i}" for i in range(8)], columns=3
    )
    shown = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in shown] == [f"g{i}" for i in range(8)]
    for ax, image in zip(shown, given, strict=True):
        assert (ax.images[0].get_array() == image.transpose(1, 2, 0)).all()
        assert not ax.axison
        box = ax.get_window_extent()
        assert box.width == pytest.approx(box.height, rel=0.02)


def test_class_sheet_has_a_row_per_class_and_leaves_out_the_unlabelled():
    given, labels = images(9), torch.tensor([0, 0, 0, 1, 3, 3, -1, 0, 3])
    figure = plots.class_examples(given, labels, NAMES, each=3)
    rows = np.reshape(figure.axes, (4, 3))
    expected = [[0, 1, 2], [3], [], [4, 5, 8]]
    for row, members in zip(rows, expected, strict=True):
        shown = [ax.images[0].get_array() for ax in row if ax.images]
        assert len(shown) == len(members)
        for image, i in zip(shown, members, strict=True):
            assert (image == given[i].transpose(1, 2, 0)).all()
    assert said(figure) == [
        "round\n(n = 4)",
        "in-between\n(n = 1)",
        "edge-on\n(n = 0)",
        "spiral\n(n = 3)",
    ]


def test_misclassified_say_what_they_were_taken_for():
    figure = plots.misclassified(
        images(2), ["spiral", "round"], ["edge-on", "spiral"], np.array([0.871, 1.0])
    )
    assert said(figure) == ["spiral, taken for\nedge-on (87 %)", "round, taken for\nspiral (100 %)"]
    assert said(plots.misclassified(images(0), [], [], [])) == ["no galaxy is misclassified"]


def test_figures_of_nothing_say_so():
    for case in (
        "class examples without classes",
        "balance without classes",
        "distributions without classes",
    ):
        assert said(CASES[case]()) == ["no galaxy has a class"]
    assert said(plots.distributions({}, np.zeros(2, int), ["round"])) == ["nothing was measured"]
    figure = Figure(figsize=(8, 4))
    assert plots.class_balance(counts().iloc[:0], ax=figure.add_subplot()) is figure
    assert said(figure) == ["no galaxy has a class"]


def test_wrong_images_are_refused():
    with pytest.raises(ValueError, match="1 images and 2 titles"):
        plots.examples(images(1), ["a", "b"])
    for wrong in (images(2).transpose(0, 2, 3, 1), images(2) / 255.0, images(2)[0]):
        with pytest.raises(ValueError, match=r"expected uint8 \(galaxy, 3, size, size\)"):
            plots.to_pixels(wrong)


def test_balance_states_every_count_and_the_imbalance():
    table = counts()
    shown = said(plots.class_balance(table))
    assert set(table.astype(str).to_numpy().ravel()) <= set(shown)
    assert "train (3,606)" in shown
    big = pd.DataFrame({"train": [300, 100]}, index=["spiral", "round"])
    assert "imbalance 3.0: spiral has 300 galaxies, round has 100 galaxies" in said(
        plots.class_balance(big)
    )
    empty = pd.DataFrame({"train": [300, 0]}, index=["spiral", "round"])
    assert "imbalance: spiral has 300 galaxies, round has 0 galaxies" in said(
        plots.class_balance(empty)
    )


def test_distributions_mark_medians_and_leave_out_what_is_not_known():
    values = np.array([1.0, 2, 9, 4, 5, 6, np.nan, 1000])
    labels = np.array([0, 0, 0, 1, 1, 1, 1, -1])
    figure = plots.distributions({"size (px)": values}, labels, ["round", "spiral"])
    first, second = figure.axes
    assert [ax.lines[0].get_xdata()[0] for ax in (first, second)] == [2, 5]
    for ax in (first, second):
        assert sum(patch.get_height() for patch in ax.patches) == pytest.approx(1)
        assert ax.get_xlim()[1] < 12
    assert second.get_xlabel() == "size (px)" and first.get_ylabel() == "round\n(n = 3)"


def test_vote_correlation_is_that_of_numpy():
    given = votes()
    given[:, 5] = 0.5
    figure = plots.vote_correlation(torch.from_numpy(given), galaxy_zoo_tree.LABELS)
    shown = figure.axes[0].images[1].get_array()
    with np.errstate(all="ignore"):
        expected = np.corrcoef(given.T.astype(float))
    lower = np.tri(37, dtype=bool)
    lower[5] = lower[:, 5] = False  # constant: no correlation
    np.testing.assert_allclose(shown[lower], expected[lower], atol=1e-6)
    assert (shown.mask == ~lower).all()
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == list(galaxy_zoo_tree.LABELS)


def lab(rgb, seen_through=None):
    """CIE L*a*b* (D65) of sRGB colours, as they are or as seen through a matrix on linear RGB."""
    rgb = np.asarray(rgb)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    if seen_through is not None:
        linear = np.clip(linear @ np.transpose(seen_through), 0, 1)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    ratio = linear @ to_xyz.T / to_xyz.sum(1)
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def test_the_colour_map_is_even_in_lightness():
    steps = -np.diff(lab(plots.SEQUENTIAL(np.linspace(0, 1, 21))[:, :3])[:, 0])
    assert (steps > 0).all() and steps.max() / steps.min() < 1.6


# what is left of colours without one kind of cone (Machado, Oliveira & Fernandes 2009, table 1,
# severity 1)
VISION = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


@pytest.mark.parametrize("vision", VISION)
def test_the_colour_blind_tell_colours_apart(vision):
    seen = lab([to_rgb(c) for c in plots.COLOURS], VISION[vision])
    distance = np.linalg.norm(seen[:, None] - seen[None], axis=2)[np.triu_indices(len(seen), 1)]
    assert distance.min() > 8, distance.min()  # 2.3 is just noticeable
