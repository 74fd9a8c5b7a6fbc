"""What stands in the figures of failures, and that nothing is cut off or overlaps. Takes about 10
s."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from galaxymorph.plots import failures as failure_plots
from galaxymorph.plots import style
from tests.plots.test_comparison import LONG
from tests.plots.test_style import check_texts, words

CLASSES = ("round", "in-between", "edge-on", "spiral")
TEN = tuple(f"class number {i}" for i in range(10))


def by_property(
    methods=("cnn", "classical forest"), properties=("half_light_radius", "signal_to_noise"), bins=4
):
    rng, rows = np.random.default_rng(0), []
    for name in properties:
        for i, method in enumerate(methods):
            for k in range(bins):
                accuracy, gap = 0.6 + 0.08 * k - 0.02 * i, 0.1 - 0.05 * k + 0.01 * i
                row = {
                    "property": name,
                    "method": method,
                    "bin": k,
                    "low": 10.0**k + 1.234,
                    "high": 10.0 ** (k + 1),
                }
                row |= {"accuracy": accuracy, "gap": gap}
                margin = rng.uniform(0.05, 0.3)
                for measure, value in (("accuracy", accuracy), ("gap", gap)):
                    row |= {f"{measure}_low": value - margin, f"{measure}_high": value + margin}
                rows.append(row)
    return pd.DataFrame(rows)


def images(n):
    return np.random.default_rng(0).integers(0, 255, (n, 3, 16, 16), dtype=np.uint8)


def suspects(n, name="mock-0-000000{}"):
    rows = [
        (name.format(i), CLASSES[i % 4], CLASSES[(i + 1) % 4], 12 - i, 12, 0.9 - i / 40)
        for i in range(n)
    ]
    return pd.DataFrame(rows, columns=["id", "label", "suspected", "methods", "of", "probability"])


def disagreements(n):
    rows = [
        (f"mock-0-000000{i}", CLASSES[i % 4], CLASSES[1], 0.9, CLASSES[2], 0.8, "a")
        for i in range(n)
    ]
    return pd.DataFrame(
        rows,
        columns=["id", "label", "class_a", "probability_a", "class_b", "probability_b", "right"],
    )


def cells(classes=CLASSES, resolved=((0, 1),)):
    n, rng = len(classes), np.random.default_rng(1)
    rows = [
        (a, b, rng.normal(0, 0.08) if i < n - 1 else np.nan, (i, j) in resolved, 30 * (i < n - 1))
        for i, a in enumerate(classes)
        for j, b in enumerate(classes)
    ]
    return pd.DataFrame(rows, columns=["label", "taken_for", "difference", "resolved", "n"])


ALL = ("half_light_radius", "brightness", "signal_to_noise", "vote_agreement")
CASES = {
    "properties": lambda: failure_plots.by_property(by_property()),
    "properties of 1": lambda: failure_plots.by_property(by_property(("cnn",), ALL[:1])),
    "properties of many": lambda: failure_plots.by_property(by_property(LONG, ALL)),
    "properties in many bins": lambda: failure_plots.by_property(by_property(LONG[:6], ALL[:2], 7)),
    "properties in one bin": lambda: failure_plots.by_property(by_property(bins=1)),
    "properties of nothing": lambda: failure_plots.by_property(by_property()[:0]),
    "suspects": lambda: failure_plots.suspects(images(7), suspects(7)),
    "suspects with long ids": lambda: failure_plots.suspects(
        images(3), suspects(3, "58772298173612034{}")
    ),
    "suspects of nothing": lambda: failure_plots.suspects(images(0), suspects(0)),
    "disagreements": lambda: failure_plots.disagreements(
        images(6), disagreements(6), "cnn", "resnet18"
    ),
    "disagreements of long": lambda: failure_plots.disagreements(
        images(6), disagreements(6), *LONG[-2:]
    ),
    "disagreements of nothing": lambda: failure_plots.disagreements(
        images(0), disagreements(0), "cnn", "resnet18"
    ),
    "cells": lambda: failure_plots.confusion_difference(cells(), "cnn", "resnet18"),
    "cells of 2": lambda: failure_plots.confusion_difference(cells(CLASSES[:2]), *LONG[-2:]),
    "cells of 10": lambda: failure_plots.confusion_difference(cells(TEN), *LONG[-2:]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.long
def test_text_is_legible_and_nothing_is_cut_off_or_overlaps(case):
    check_texts(CASES[case]())


def test_a_line_for_each_method_stands_at_its_values():
    table = by_property()
    figure = CASES["properties"]()
    assert len(figure.axes) == 4  # properties by accuracy and gap
    for row, name in enumerate(("half_light_radius", "signal_to_noise")):
        for column, measure in enumerate(("accuracy", "gap")):
            ax = figure.axes[2 * row + column]
            lines = [line for line in ax.lines if line.get_label() in ("cnn", "classical forest")]
            for line in lines:
                own = table[(table.property == name) & (table.method == line.get_label())]
                assert np.allclose(np.asarray(line.get_ydata()), own[measure])
                assert (np.round(np.asarray(line.get_xdata())) == own.bin).all()
    assert {
        "half-light radius (px)",
        "signal to noise",
        "confidence\nminus accuracy",
        "cnn",
    } <= set(words(figure))


def test_galleries_say_what_is_suspected_by_how_many():
    shown = words(failure_plots.suspects(images(2), suspects(2)))
    assert "mock-0-0000000\nlabel: round\nin-between? 90 %\nby 12 of 12 methods" in shown
    shown = words(failure_plots.disagreements(images(1), disagreements(1), "cnn", "resnet18"))
    assert "mock-0-0000000\nlabel: round\ncnn:\nin-between 90 %\nresnet18:\nedge-on 80 %" in shown
    assert "no label is suspected" in words(CASES["suspects of nothing"]())
    assert "cnn and resnet18 agree on every galaxy" in words(CASES["disagreements of nothing"]())


def test_cells_show_points_and_which_are_distinguished():
    table = cells().assign(difference=0.0, resolved=False)
    table.loc[1, ["difference", "resolved"]] = [0.124, True]
    table.loc[4, "difference"] = -0.05
    figure = failure_plots.confusion_difference(table, "cnn", "resnet18")
    ax = figure.axes[0]
    shown = {text.get_position(): text.get_text() for text in ax.texts}
    assert shown[1, 0] == "+12*" and shown[0, 1] == "−5" and shown[2, 2] == "0"
    assert [patch.get_xy() for patch in ax.patches] == [(1 - 0.46, 0 - 0.46)]
    image = ax.images[0]
    orange, blue = (image.cmap(image.norm(value)) for value in (13, -13))
    assert orange == pytest.approx(to_rgba(style.ORANGE)) and blue == pytest.approx(
        to_rgba(style.BLUE)
    )
    assert "above 0: more often by cnn" in words(figure) and "* significant difference" in words(
        figure
    )
    unsure = failure_plots.confusion_difference(table.assign(resolved=False), "cnn", "resnet18")
    assert "no significant difference" in words(unsure)
