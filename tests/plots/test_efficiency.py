"""What stands in the figures of costs and labels, and that nothing is cut off or overlaps."""

import numpy as np
import pandas as pd
import pytest

from galaxymorph.evaluation import comparison
from galaxymorph.plots import comparison as comparison_plots
from tests.plots.test_comparison import LONG, compared, many
from tests.plots.test_style import check_texts, words


def pareto(table, cost="training_seconds"):
    return comparison_plots.pareto(table, comparison.front(table, cost=cost), cost=cost)


def equivalents(others, labels=(25, 50, 100, 1000, None)):
    """What others need: a quarter, as many, the fewest, more than there are, in turn."""
    rows = []
    for i, other in enumerate(others):
        for j, n in enumerate(labels):
            needed = [(n or 4000) / 4, float(n or 4000), 0.0, np.inf][(i + j) % 4]
            row = {
                "a": "resnet18",
                "b": other,
                "n_labels": n,
                "accuracy": 0.8 + j / 50,
                "labels": needed,
            }
            rows.append(row | {"ratio": needed / (n or 4000), "fewest": 25.0, "most": 4000.0})
    return pd.DataFrame(rows).astype({"n_labels": "Int64"})


CASES = {
    "pareto": lambda: pareto(compared(3, (None,))),
    "pareto of many": lambda: pareto(many(), "flops"),
    "pareto of 1": lambda: pareto(compared(1, (None,)), "parameters"),
    "pareto of budgets": lambda: pareto(compared(LONG), "peak_memory_mib"),
    "pareto of nothing": lambda: pareto(compared().assign(training_seconds=np.nan)),
    "labels": lambda: comparison_plots.label_efficiency(
        compared(3, (50, 100, 200, 400, 450, None))
    ),
    "labels of many": lambda: comparison_plots.label_efficiency(
        pd.concat([many(), compared(LONG, (50, 100))])
    ),
    "labels of 1": lambda: comparison_plots.label_efficiency(compared(1, (None,))),
    "labels of nothing": lambda: comparison_plots.label_efficiency(
        compared().assign(method="majority")
    ),
    "equivalent": lambda: comparison_plots.equivalent_labels(
        equivalents(("cnn", "classical forest")), "resnet18"
    ),
    "equivalent of many": lambda: comparison_plots.equivalent_labels(equivalents(LONG), "resnet18"),
    "equivalent of nothing": lambda: comparison_plots.equivalent_labels(
        equivalents(LONG), "nobody"
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.long
def test_text_is_legible_and_nothing_is_cut_off_or_overlaps(case):
    check_texts(CASES[case]())


def points(ax):
    """Where the points are that have a name in the legend: x and y, and whether they are filled."""
    (legend,) = ax.figure.legends
    names = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    assert [text.get_text() for text in legend.get_texts()][: len(names)] == list(names)
    filled = {name: line.get_markerfacecolor() == line.get_color() for name, line in names.items()}
    return {
        name: (*line.get_xydata()[0], filled[name])
        for name, line in names.items()
        if line.get_marker() != "None"
    }


def hand():
    """a is cheap, c accurate, b between them on the front; d is dearer and worse than b, e as dear
    as c and worse."""
    table = compared(["e", "a", "b", "c", "d"], (None,))
    table["accuracy"] = [0.85, 0.6, 0.8, 0.9, 0.7]
    table["training_seconds"] = [1000.0, 1.0, 10.0, 1000.0, 100.0]
    table[["accuracy_low", "accuracy_high"]] = np.add.outer(
        table.accuracy.to_numpy(), [-0.01, 0.03]
    )
    return table


def test_pareto_puts_every_method_where_it_belongs():
    table = hand().sample(frac=1, random_state=1)  # whatever their order
    ax = pareto(table).axes[0]
    assert points(ax) == {
        "c": (1000, 0.9, True),
        "e": (1000, 0.85, False),
        "b": (10, 0.8, True),
        "d": (100, 0.7, False),
        "a": (1, 0.6, True),
    }
    (front,) = [line for line in ax.lines if line.get_label() == "Pareto front"]
    assert front.get_drawstyle() == "steps-post" and ax.get_xscale() == "log"
    np.testing.assert_allclose(front.get_xydata()[:3], [[1, 0.6], [10, 0.8], [1000, 0.9]])
    intervals = {
        tuple(line.get_ydata())
        for line in ax.lines
        if line.get_marker() == "None" and line is not front
    }
    assert intervals == {tuple(row) for row in table[["accuracy_low", "accuracy_high"]].to_numpy()}
    low, high = ax.get_ylim()
    assert low < 0.59 and high > 0.93


def test_pareto_moves_points_apart_that_would_hide_each_other():
    table = compared(["a", "b", "c"], (None,)).assign(
        flops=[1e6, 1e6, 1e9], accuracy=[0.9, 0.9, 0.8]
    )
    figure = pareto(table, "flops")
    figure.draw_without_rendering()
    lines = [line for line in figure.axes[0].lines if line.get_marker() != "None"]
    (a, b, c), _ = np.transpose(
        [line.get_transform().transform(line.get_xydata()[0]) for line in lines]
    )
    assert abs(b - a) > 8 and c - max(a, b) > 100  # pixels
    figure.draw_without_rendering()
    assert lines[2].get_transform().transform([1e9, 0.8])[0] == pytest.approx(
        figure.axes[0].transData.transform([1e9, 0.8])[0]
    )


def test_pareto_names_what_has_no_cost_and_leaves_out_what_has_no_result():
    shown = words(pareto(many()))
    assert "cost unknown:\ncae_frozen random_linear 0" in shown and "↓ majority 0.250" in shown
    assert not any("imagenet_finetuned" in text for text in shown)
    assert words(CASES["pareto of nothing"]()) == ["training time (s): unknown for all methods"]


def test_twenty_methods_look_different():
    for figure in (CASES["pareto of many"](), CASES["labels of many"]()):
        lines = [line for line in figure.axes[0].lines if line.get_marker() != "None"]
        clear = [line for line in lines if line.get_linewidth() > 1]
        looks = {(line.get_color(), line.get_marker()) for line in clear}
        assert len(lines) >= 19 and len(looks) == len(clear) >= 7


def test_seven_lines_stand_out():
    ax = CASES["labels of many"]().axes[0]
    assert len([line for line in ax.lines if line.get_linewidth() > 1]) == 7


def curves(table, **more):
    ax = comparison_plots.label_efficiency(table, **more).axes[0]
    return ax, {
        line.get_label(): line.get_xydata()
        for line in ax.lines
        if not line.get_label().startswith("_")
    }


def test_labels_stand_where_they_are_and_gaps_stay_gaps():
    table = compared(["a", "b"], (50, 100, 200, None))
    table = table.drop(
        index=table.index[(table.method == "b") & (table.n_labels == 100).fillna(False)]
    )
    ax, lines = curves(table)
    np.testing.assert_allclose(lines["a"][:, 0], [50, 100, 200, 487])
    np.testing.assert_allclose(lines["a"][:, 1], [0.88, 0.88, 0.88, 0.9])
    np.testing.assert_allclose(lines["b"][:, 1], [0.83, np.nan, 0.83, 0.85])
    few, every = (
        dict(
            zip(
                ax.get_xticks(minor=minor),
                [text.get_text() for text in ax.get_xticklabels(minor=minor)],
                strict=True,
            )
        )
        for minor in (False, True)
    )
    assert (
        few == {50: "50", 100: "100", 200: "200"}
        and every == {487: "all (487)"}
        and ax.get_xscale() == "log"
    )
    assert list(lines) == ["a", "b"]  # the better one on top
    bands = [band for band in ax.collections if hasattr(band, "get_paths") and band.get_alpha()]
    assert (
        len(bands[0].get_paths()) == 1 and len(bands[1].get_paths()) == 2
    )  # b's is in two parts, one of them a point
    (alone,) = [
        each.get_segments()
        for each in ax.collections
        if hasattr(each, "get_segments") and len(each.get_segments())
    ]
    np.testing.assert_allclose(alone, [[[50, 0.81], [50, 0.85]]])


def test_labels_of_a_file_and_of_another_metric(tmp_path):
    table = compared(["a", "b"], (50, None), metrics=("accuracy", "log_loss"))
    table.to_csv(tmp_path / "table.csv", index=False)
    ax, lines = curves(pd.read_csv(tmp_path / "table.csv"), metric="log_loss")
    assert (
        list(lines) == ["b", "a"] and ax.get_ylabel() == "test log loss (nats), 95 % interval"
    )  # less is better
    ax, lines = curves(table[table.n_labels.notna()])
    assert [text.get_text() for text in ax.get_xticklabels()] == ["50"]


def test_labels_too_close_for_their_names_keep_the_last():
    ax, _ = curves(compared(2, (50, 100, 400, 450, None)))
    assert [text.get_text() for text in ax.get_xticklabels()] == ["50", "100", "450"]
    assert [text.get_text() for text in ax.get_xticklabels(minor=True)] == [
        "all (487)"
    ]  # in a line of its own


def test_controls_are_grey_and_end_the_legend():
    table = compared(["pca_forest", "cnn", "random_dnn"], (50, None))
    ax, lines = curves(table, controls={"pca_forest", "random_dnn", "of another table"})
    assert list(lines) == ["cnn", "pca_forest", "random_dnn"]  # though pca_forest is the best
    colours = {line.get_label(): line.get_color() for line in ax.lines}
    assert colours["pca_forest"] == colours["random_dnn"] != colours["cnn"]
    assert len([band for band in ax.collections if band.get_alpha()]) == 1


def test_gains_have_a_panel_for_each_budget_and_fill_what_is_distinguished():
    rows = [
        ("tuned", 50, 0.04, 0.01, 0.07, 5),
        ("tuned", pd.NA, 0.02, -0.01, 0.05, 5),
        ("frozen", pd.NA, -0.06, -0.09, -0.03, 5),
    ]
    names = ["method", "n_labels", "difference", "low", "high", "seeds"]
    table = pd.DataFrame([*rows, ("absent", 50, np.nan, np.nan, np.nan, 0)], columns=names).astype(
        {"n_labels": "Int64"}
    )
    figure = comparison_plots.gains(table, "scratch")
    few, every = figure.axes
    assert (few.get_title(), every.get_title()) == ("50 labels", "all labels")
    assert [text.get_text() for text in few.get_yticklabels()] == [
        "frozen",
        "tuned",
    ]  # the first on top; not the absent one
    assert "missing" in [text.get_text() for text in few.texts] and "scratch" in few.get_xlabel()
    points = {
        line.get_xdata()[0]: line.get_markerfacecolor()
        for line in every.lines
        if line.get_marker() == "o"
    }
    assert (
        points[0.02] == "white" and points[-0.06] != "white"
    )  # 0 is within the interval of the first alone
    assert any(
        "no method" in text
        for text in words(comparison_plots.gains(table[table.seeds == 0], "scratch"))
    )


def test_equivalent_labels_are_numbers_or_bounds_in_their_cells():
    figure = comparison_plots.equivalent_labels(equivalents(("cnn", "forest")), "resnet18")
    ax = figure.axes[0]
    cells = {
        (round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in ax.texts
    }
    assert [cells[0, j] for j in range(5)] == ["6", "50", "≤ 25", "> 4,000", "1,000"]
    assert [cells[1, j] for j in range(5)] == ["25", "≤ 25", "> 4,000", "250", "4,000"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["cnn", "forest"]
    assert [t.get_text() for t in ax.get_xticklabels()][-1] == "all\n(0.880)"
    assert ax.get_xlabel() == "labels of resnet18 (accuracy)"
