"""What stands in the figures of comparisons, and that nothing is cut off or overlaps."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from galaxymorph.plots import comparison as comparison_plots
from tests.plots.test_style import NAMES, TEN, check_texts, words

LONG = (
    *(
        "cnn",
        "timm_efficientnet_b0",
        "classical logistic_regression",
        "cae_frozen random_linear",
        "moco_frozen random_dnn",
    ),
    *(
        "mock_survey_finetuned_layerwise",
        "pca_random_forest galaxies.crop=128",
        "imagenet_partly_frozen head.dropout=0.5",
    ),
)


COSTS = tuple(comparison_plots.COSTS)


def compared(methods=5, budgets=(100, None), metrics=("accuracy", "macro_f1", "auc", "log_loss")):
    """Of a number of methods, or of those that are named; better by 0.2 in training, and by 0.05 in
    validation."""
    names = [f"method {i}" for i in range(methods)] if isinstance(methods, int) else methods
    rows = []
    for budget in budgets:
        for i, name in enumerate(names):
            value = 0.9 - min(0.05, 0.4 / len(names)) * i - 0.02 * (budget is not None)
            row = {
                "method": name,
                "n_labels": budget,
                "n_train": budget or 487,
                "seeds": 3,
                "n_test": 160 + i,
            }
            row |= {"train_accuracy": min(value + 0.2, 1.0), "val_accuracy": value + 0.05}
            row |= {cost: 10.0 ** (2 + i % 5 + k) for k, cost in enumerate(COSTS)}
            for m in metrics:
                row |= {m: value, f"{m}_low": value - 0.02, f"{m}_high": value + 0.02}
            rows.append(row)
    return pd.DataFrame(rows).astype(dict.fromkeys(["n_labels", "n_train", "n_test"], "Int64"))


def many():
    """Twenty methods with long names, some without a result, and the baseline."""
    table = compared([f"{name} {i}" for i in range(3) for name in LONG][:20], (None,))
    table.loc[3, COSTS] = np.nan
    gone = table.iloc[[0, 1]].assign(
        method=["imagenet_finetuned", "moco_finetuned_few"], seeds=0, n_test=pd.NA
    )
    gone["not_run"] = ["weights not available offline", np.nan]
    gone[[name for name in table if name.startswith(("accuracy", "macro"))]] = np.nan
    return pd.concat(
        [table, gone, table.iloc[[0]].assign(method="majority", accuracy=0.25, macro_f1=0.1)],
        ignore_index=True,
    )


def replayed(seeds=(0, 1)):
    """Mistakes with long names, worst first, by seed and together."""
    names = (
        "predictions in shuffled order",
        "validation redrawn on every resume",
        "best epoch chosen on test galaxies",
    )
    reported, honest = [0.25, 0.96, 0.9], [0.9, 0.91, 0.9]
    rows = [
        {"mistake": name, "seed": seed, "reported": a + 0.01 * seed, "honest": b - 0.01 * seed}
        for name, a, b in zip(names, reported, honest, strict=True)
        for seed in seeds
    ]
    published = [
        "Galaxy classification, five CNNs",
        "Galaxy classifier, vote fractions",
        "ResNet50",
    ]
    table = pd.DataFrame(
        {
            "mistake": names,
            "published_in": published,
            "measure": ["macro F1", "accuracy", "accuracy"],
        }
    )
    means = (
        pd.DataFrame(rows)
        .groupby("mistake", sort=False)[["reported", "honest"]]
        .mean()
        .reset_index(drop=True)
    )
    table = table.join(means).assign(n=[398, 400, 400], seeds=len(seeds))
    return table.assign(difference=table.reported - table.honest), pd.DataFrame(rows)


CASES = {
    "comparison": lambda: comparison_plots.comparison(compared()),
    "comparison of 3 metrics": lambda: comparison_plots.comparison(
        compared(), metrics=("accuracy", "auc", "log_loss")
    ),
    "comparison of 1": lambda: comparison_plots.comparison(
        compared(1, (None,)), metrics=("accuracy",)
    ),
    "comparison of nothing": lambda: comparison_plots.comparison(
        compared().assign(method="majority")
    ),
    "comparison of many": lambda: comparison_plots.comparison(many()),
    "parts": lambda: comparison_plots.train_val_test(compared(3, (None,))),
    "parts of many": lambda: comparison_plots.train_val_test(many()),
    "parts of nothing": lambda: comparison_plots.train_val_test(
        compared().assign(method="majority")
    ),
    "per class of many": lambda: comparison_plots.per_class(
        pd.DataFrame(0.5, index=list(many().method), columns=list(TEN))
    ),
    "per class": lambda: comparison_plots.per_class(
        pd.DataFrame(0.9, index=["resnet18", "moco, 1,000 labels"], columns=list(NAMES))
    ),
    "mistakes": lambda: comparison_plots.mistakes(*replayed()),
    "mistakes of one seed": lambda: comparison_plots.mistakes(*replayed((0,))),
    "one mistake": lambda: comparison_plots.mistakes(replayed()[0][1:2], replayed()[1]),
    "per class of nothing": lambda: comparison_plots.per_class(pd.DataFrame()),
    "per class 10": lambda: comparison_plots.per_class(
        pd.DataFrame(0.9, index=["resnet18"], columns=list(TEN))
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.long
def test_text_is_legible_and_nothing_is_cut_off_or_overlaps(case):
    check_texts(CASES[case]())


def test_comparison_sorts_methods_and_draws_their_intervals():
    table = compared(3, (None,))
    figure = comparison_plots.comparison(table, metrics=("accuracy", "log_loss"))
    accuracy, log_loss = figure.axes
    names = [t.get_text() for t in accuracy.get_yticklabels()]
    assert names == [f"method {i} (3 seeds)" for i in (2, 1, 0)]  # from below
    assert list(accuracy.lines[0].get_xdata()) == pytest.approx([0.8, 0.85, 0.9])
    segments = [segment[:, 0] for segment in accuracy.collections[0].get_segments()]
    np.testing.assert_allclose(segments, [[0.78, 0.82], [0.83, 0.87], [0.88, 0.92]])
    assert log_loss.get_xlabel() == "log loss (nats)\nlower is better"
    assert any("(n = 160 to 162 test galaxies)" in t for t in words(figure))
    by_loss = comparison_plots.comparison(table, metrics=("log_loss",)).axes[0]
    assert [t.get_text() for t in by_loss.get_yticklabels()] == names[::-1]


def test_comparison_draws_a_near_baseline_and_points_to_a_far_one():
    table = compared(3, (None,))
    near, far = table.iloc[[0]].assign(method="majority"), table.iloc[[0]].assign(method="majority")
    near.loc[:, "accuracy"], far.loc[:, "accuracy"] = 0.75, 0.25
    figure = comparison_plots.comparison(pd.concat([table, near]), metrics=("accuracy",))
    assert any(list(line.get_xdata()) == [0.75, 0.75] for line in figure.axes[0].lines)
    assert " majority 0.750 " in words(figure)
    figure = comparison_plots.comparison(pd.concat([table, far]), metrics=("accuracy",))
    assert len(figure.axes[0].lines) == 1 and "← majority 0.250" in words(figure)
    assert figure.axes[0].get_xlim()[0] > 0.7
    assert not any(t.startswith("majority") for t in words(figure))


def test_comparison_says_where_its_numbers_come_from():
    table = compared(2, (None,))
    assert "one seed with its 95 % interval (n = 160 to 161 test galaxies)" in words(
        comparison_plots.comparison(table.assign(seeds=1))
    )
    assert words(comparison_plots.comparison(table.assign(seeds=0))) == [
        "no method has a result yet"
    ]


def test_comparison_shows_what_is_missing_and_budgets_where_they_differ():
    table = compared(2)
    table.loc[0, ["accuracy", "accuracy_low", "accuracy_high", "n_test"]] = np.nan
    table.loc[0, "seeds"] = 0
    shown = words(comparison_plots.comparison(table, metrics=("accuracy",)))
    assert (
        "missing" in shown
        and "method 0, 100 labels (0 seeds)" in shown
        and "method 0, all labels (3 seeds)" in shown
    )


def test_per_class_states_values_and_leaves_undefined_ones_grey():
    table = pd.DataFrame({"round": [0.912, np.nan], "spiral": [0.55, 1.0]}, index=["cnn", "moco"])
    ax = comparison_plots.per_class(table, metric="recall").axes[0]
    cells = {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in ax.texts}
    assert cells == {(0, 0): "0.91", (0, 1): "0.55", (1, 0): "–", (1, 1): "1.00"}
    assert ax.images[0].get_array().mask.tolist() == [[False, False], [True, False]]


def test_comparison_tells_what_was_left_out_from_what_is_missing():
    shown = words(comparison_plots.comparison(many(), metrics=("accuracy",)))
    assert shown.count("not run") == shown.count("missing") == 1
    table = many().drop(columns="not_run")  # as an earlier version wrote it
    assert words(comparison_plots.comparison(table, metrics=("accuracy",))).count("missing") == 2


def test_per_class_draws_into_given_axes():
    figure = Figure(figsize=(8, 4))
    first, second = figure.subplots(1, 2)
    assert (
        comparison_plots.per_class(pd.DataFrame(0.5, index=["cnn"], columns=list(NAMES)), ax=first)
        is figure
    )
    assert comparison_plots.per_class(pd.DataFrame(), ax=second) is figure
    assert len(first.images) == 1 and "no method has a result yet" in words(figure)


def test_train_val_and_test_stand_beside_each_other():
    table = compared(2, (None,))
    ax = comparison_plots.train_val_test(table).axes[0]
    drawn = {line.get_marker(): list(line.get_xdata()) for line in ax.lines}
    assert drawn["^"] == pytest.approx([1.0, 1.0]) and drawn["s"] == pytest.approx([0.9, 0.95])
    assert drawn["o"] == pytest.approx([0.85, 0.9])  # from below
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        "method 1 (3 seeds)",
        "method 0 (3 seeds)",
    ]
    intervals = [segment[:, 0] for segment in ax.collections[1].get_segments()]
    np.testing.assert_allclose(intervals, [[0.83, 0.87], [0.88, 0.92]])
    comparison_plots.train_val_test(
        table.assign(train_accuracy=np.nan, val_accuracy=np.nan)
    )  # a table of others: test alone


def test_mistakes_are_arrows_from_the_honest_number_to_the_reported_one():
    table, seeds = replayed()
    figure = comparison_plots.mistakes(table, seeds)
    ax = figure.axes[0]
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert [name.split("\n")[0] for name in names] == table.mistake.to_list()[
        ::-1
    ]  # the worst on top
    assert names[0] == "best epoch chosen on test galaxies\n(ResNet50)"
    big = [line for line in ax.lines if line.get_markersize() > 6]
    drawn = {
        (line.get_markerfacecolor() == "none", line.get_ydata()[0]): line.get_xdata()[0]
        for line in big
    }
    expected = {(False, 2 - i): value for i, value in enumerate(table.honest)}
    assert drawn == expected | {(True, 2 - i): value for i, value in enumerate(table.reported)}
    arrows = {
        text.xyann[1]: (text.xyann[0], text.xy[0]) for text in ax.texts if hasattr(text, "xyann")
    }
    assert arrows == {
        2: (table.honest[0], table.reported[0]),
        1: (table.honest[1], table.reported[1]),
    }  # none of no length
    small = [line for line in ax.lines if line.get_markersize() < 6]
    of_worst = [list(line.get_xdata()) for line in small if 1 < line.get_ydata()[0] < 2]
    assert of_worst == [[0.9, 0.89], [0.25, 0.26]]
    shown = words(figure)
    assert "-0.640\nmacro F1" in shown and "+0.060" in shown and "+0.010" in shown
    assert any(
        "mean over 2 seeds" in text and "n = 398 to 400 test galaxies" in text for text in shown
    )
    alone = comparison_plots.mistakes(*replayed((0,)))
    assert "one seed (n = 398 to 400 test galaxies)" in words(alone)
    assert [line for line in alone.axes[0].lines if line.get_markersize() < 6] == []
    assert alone.axes[0].get_xlabel().startswith("accuracy (or the metric") and any(
        "+0.050" in text for text in words(alone)
    )
    assert comparison_plots.mistakes(table[1:], seeds).axes[0].get_xlabel() == "accuracy"
