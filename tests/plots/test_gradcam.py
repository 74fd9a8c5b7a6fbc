"""What stands in the figures of class-activation maps, and that nothing is cut off or overlaps."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex

from galaxymorph.diagnostics import gradcam, map_scores, targets
from galaxymorph.plots import gradcam as gradcam_plots
from galaxymorph.plots import style
from tests.plots.test_style import check_texts, images, words

METHODS = (*gradcam.METHODS, *gradcam.CONTROLS)
TITLE = "587722984435351614, " + targets.caption("odd_feature", "lens or arc", 0.62, 0.5512)


def heat(n=3, size=16, seed=0):
    return torch.rand(n, size, size, generator=torch.Generator().manual_seed(seed))


def overlay(n=3, names=METHODS, **more):
    return gradcam_plots.overlay(
        images(n), {name: heat(n, seed=i) for i, name in enumerate(names)}, **more
    )


def captions(n=3):
    return {
        name: [targets.caption(name, answer, 0.5, 0.25)] * n
        for name, answer in (
            ("bar", "yes"),
            ("odd_feature", "lens or arc"),
            ("bulge_shape", "rounded"),
            ("smooth", "smooth"),
        )
    }


def curves(methods=METHODS):
    tables = []
    for i, method in enumerate(methods):
        for name in ("deletion", "insertion"):
            fraction = np.linspace(0, 1, 17)
            value = (
                np.exp(-fraction * (i + 1))
                if name == "deletion"
                else 1 - np.exp(-fraction * (i + 1))
            )
            columns = {
                "fraction": fraction,
                "value": value,
                "low": value - 0.1,
                "high": value + 0.1,
                "n": 1234,
            }
            tables.append(pd.DataFrame({"method": method, "curve": name} | columns))
    return pd.concat(tables, ignore_index=True)


def scores(methods=METHODS, value=lambda i: 0.1 * i, half=0.04):
    rows = [
        {
            "method": method,
            "score": name,
            "value": value(i),
            "low": value(i) - half,
            "high": value(i) + half,
            "n": 12,
        }
        for i, method in enumerate(methods)
        for name in map_scores.BETTER
    ]
    return pd.DataFrame(rows)


CASES = {
    "overlay of methods": lambda: overlay(titles=[TITLE] * 3),
    "overlay without titles": overlay,
    "overlay of answers": lambda: overlay(
        names=captions(), titles=["587722984435351614"] * 3, captions=captions()
    ),
    "overlay of a galaxy": lambda: overlay(1, ("gradcam",), titles=["a galaxy"]),
    "overlay of nothing": lambda: overlay(0),
    "overlay without maps": lambda: overlay(names=()),
    "curves": lambda: gradcam_plots.curves(curves()),
    "curves of a method": lambda: gradcam_plots.curves(curves(("gradcam",))),
    "no curves": lambda: gradcam_plots.curves(curves().iloc[:0]),
    "scores": lambda: gradcam_plots.scores(scores()),
    "scores that hardly differ": lambda: gradcam_plots.scores(
        scores(value=lambda i: 0.97 + 0.001 * i, half=0.002)
    ),
    "scores in log": lambda: gradcam_plots.scores(scores(value=lambda i: -12.3 - i)),
    "scores without control": lambda: gradcam_plots.scores(scores(("gradcam", "occlusion"))),
    "scores of a galaxy": lambda: gradcam_plots.scores(scores(half=np.nan)),
    "no scores": lambda: gradcam_plots.scores(scores().iloc[:0]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.long
def test_text_is_legible_and_nothing_is_cut_off_or_overlaps(case):
    check_texts(CASES[case]())


def test_the_map_lies_on_the_galaxy_which_stays_visible():
    given, maps = images(2), {"gradcam": heat(2), "random": heat(2, seed=1)}
    figure = gradcam_plots.overlay(given, maps, titles=["first", "second"])
    drawn = figure.axes[0].images
    over = np.reshape(drawn[6:], (2, 2))
    for row, strip in enumerate(np.reshape(drawn[:6], (2, 3))):
        assert (strip[0].get_array() == given[row].transpose(1, 2, 0)).all()
        for below, above, shown in zip(strip[1:], over[row], maps.values(), strict=True):
            np.testing.assert_allclose(below.get_array(), given[row].mean(0))
            np.testing.assert_array_equal(above.get_array(), shown[row])
            assert above.get_clim() == (0, 1) and below.get_extent() == above.get_extent()
    alpha = gradcam_plots.HEAT(np.linspace(0, 1, 11))[:, 3]
    assert alpha[0] == 0 and (np.diff(alpha) > 0).all() and alpha[-1] < 0.7
    luminance = gradcam_plots.HEAT(np.linspace(0, 1, 11))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all()  # distinguished without colour
    assert {"first", "second", "Grad-CAM", "random", "heat"} <= set(words(figure))


def test_captions_stand_in_place_of_names():
    figure = overlay(names=captions(), captions=captions())
    lines = {text.replace("\n", " ") for text in words(figure)}
    assert {
        "bar: yes 0.50, predicted 0.25",
        "odd feature: lens or arc 0.50, predicted 0.25",
    } <= lines
    assert targets.caption("edge_on", "yes", float("nan"), 0.5) == "edge on: yes, predicted 0.50"
    with pytest.raises(ValueError, match="titles: 1 for 3 galaxies; expected one per galaxy"):
        overlay(titles=["one"])
    with pytest.raises(ValueError, match="bar: 2 for 3 galaxies"):
        overlay(names=captions(), captions=captions(2))


def test_curves_are_distinguished_and_only_methods_have_bands():
    table = curves()
    figure = gradcam_plots.curves(table)
    for ax, name in zip(figure.axes, ("deletion", "insertion"), strict=True):
        assert [line.get_label() for line in ax.lines] == [
            gradcam_plots.NAMES.get(method, method) for method in METHODS
        ]
        for line, (_, rows) in zip(
            ax.lines, table[table.curve == name].groupby("method", sort=False), strict=True
        ):
            np.testing.assert_allclose(line.get_data(), [100 * rows.fraction, rows.value])
        assert len({(to_hex(line.get_color()), str(line._dash_pattern)) for line in ax.lines}) == 7
        assert len({str(line._dash_pattern) for line in ax.lines}) == 7  # not by colour alone
        assert len(ax.collections) == len(gradcam.METHODS)
    assert {"deletion (area: lower is better)", "insertion (area: higher is better)"} <= set(
        words(figure)
    )
    assert any("1,234 galaxies" in text for text in words(figure))


def test_scores_have_their_interval_and_the_control_is_a_line():
    figure = gradcam_plots.scores(scores())
    senses = {"less": "lower", "more": "higher"}
    assert [ax.get_xlabel() for ax in figure.axes] == [
        f"{name}\n{senses[sense]} is better" for name, sense in map_scores.BETTER.items()
    ]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == [
        gradcam_plots.NAMES.get(method, method) for method in reversed(METHODS)
    ]
    for ax in figure.axes:
        *points, control = ax.lines
        assert [line.get_xdata()[0] for line in points] == pytest.approx(
            [0.1 * i for i in reversed(range(7))]
        )
        assert control.get_xdata()[0] == pytest.approx(0.5) and control.get_linestyle() == "--"
        ends = [segment[:, 0] for each in ax.collections for segment in each.get_segments()]
        np.testing.assert_allclose(
            ends, [[0.1 * i - 0.04, 0.1 * i + 0.04] for i in reversed(range(7))]
        )
        assert len({line.get_marker() for line in points}) == 2
    alike = gradcam_plots.scores(scores(value=lambda i: 0.97 + 0.001 * i, half=0.002))
    assert all(np.ptp(ax.get_xlim()) > 0.1 for ax in alike.axes)
    assert to_hex(figure.axes[0].lines[0].get_color()) == style.FAINT  # the random control
