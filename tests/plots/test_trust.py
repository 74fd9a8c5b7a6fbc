"""What stands in the figures of calibration, pairs and consistency, and that nothing is cut off or
overlaps. Takes 15 s."""

import numpy as np
import pandas as pd
import pytest

from galaxymorph.evaluation import calibration, significance
from galaxymorph.plots import trust as trust_plots
from tests.evaluation.made import changed, drawn
from tests.plots.test_comparison import LONG
from tests.plots.test_style import check_texts, words

FEW = ("cnn", "moco dnn", "resnet18")
MANY = (
    *LONG,
    "moco_finetuned",
    "cae_frozen dnn",
    "classical random_forest",
    "a method with a name beyond all measure, tuned",
)


def labelled(name):
    return changed(drawn(50, seed=0), lambda table: table.assign(label=name))


def tables(names, what, n=160):
    return {name: what(drawn(n, seed=i, hot=1 + i / 4)) for i, name in enumerate(names)}


def ranked(names):
    value = 0.9 - 0.3 / len(names) * np.arange(len(names))
    rows = {
        "method": list(names),
        "accuracy": value,
        "accuracy_low": value - 0.03,
        "accuracy_high": value + 0.03,
        "seeds": 3,
    }
    return pd.DataFrame(rows)


def paired(names, margin=0.06):
    table, rows = ranked(names).set_index("method"), []
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            gain = table.accuracy[a] - table.accuracy[b]
            row = {
                "a": a,
                "b": b,
                "n_labels": 50,
                "accuracy_a": table.accuracy[a],
                "accuracy_b": table.accuracy[b],
            }
            rows.append(row | {"resolved": gain > margin, "p_better": min(0.5 + 5 * gain, 1.0)})
    return pd.DataFrame(rows)


def turned(names, classless=(), seeds=3):
    """Of `consistency.over_seeds`: the first is the most accurate and the most consistent."""
    rows = []
    for i, name in enumerate(names):
        for k, (turns, averaged) in enumerate(trust_plots.TURNED):
            value = {"cosine": 0.99 - 0.03 * i / len(names) * (3 - k)}
            if name not in classless:
                value |= {
                    "agreement": 0.95 - 0.1 * i / len(names) + 0.01 * k,
                    "gain": 0.003 * i - 0.01,
                    "accuracy": 0.9 - i / 20,
                }
            key = {"method": name, "turns": turns, "averaged": averaged, "n": 161, "seeds": seeds}
            rows += [
                key | {"metric": m, "value": v, "low": v - 0.01, "high": v + 0.01}
                for m, v in value.items()
            ]
    return pd.DataFrame(rows)


def tied(names, margin=0.06):
    return trust_plots.ties(ranked(names), significance.cliques(paired(names, margin)))


CASES = {
    "reliability": lambda: trust_plots.reliability(tables(FEW, calibration.reliability)),
    "reliability of 1": lambda: trust_plots.reliability(tables(FEW[:1], calibration.reliability)),
    "reliability of many": lambda: trust_plots.reliability(
        tables(MANY, calibration.reliability, 2000)
    ),
    "reliability of nothing": lambda: trust_plots.reliability({}),
    "risk": lambda: trust_plots.risk_coverage(tables(FEW, calibration.risk_coverage)),
    "risk of many": lambda: trust_plots.risk_coverage(tables(MANY, calibration.risk_coverage)),
    "risk of nothing": lambda: trust_plots.risk_coverage({}),
    "ties": lambda: tied(FEW, 0.15),
    "ties of many": lambda: tied(MANY),
    "no ties": lambda: tied(FEW, 0),
    "ties of nothing": lambda: trust_plots.ties(ranked(FEW), []),
    "probabilities": lambda: trust_plots.probabilities(paired(FEW, 0.15)),
    "probabilities of 2": lambda: trust_plots.probabilities(paired(LONG[-2:])),
    "probabilities of many": lambda: trust_plots.probabilities(paired(MANY)),
    "probabilities of nothing": lambda: trust_plots.probabilities(paired(FEW)[:0]),
    "consistency": lambda: trust_plots.consistency(turned(FEW, ["moco dnn"])),
    "consistency of 1": lambda: trust_plots.consistency(turned(FEW[:1], seeds=1)),
    "consistency of many": lambda: trust_plots.consistency(turned(MANY, MANY[-4:-2])),
    "consistency of features": lambda: trust_plots.consistency(turned(FEW, FEW)),
    "consistency of nothing": lambda: trust_plots.consistency(turned(FEW)[:0]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.long
def test_text_is_legible_and_nothing_is_cut_off_or_overlaps(case):
    check_texts(CASES[case]())


def test_reliability_shows_points_and_galaxies():
    table = calibration.reliability(drawn(155, seed=0))
    figure = trust_plots.reliability({"cnn": table})
    ax = figure.axes[0]
    points = next(line for line in ax.lines if line.get_marker() == "o")
    assert np.allclose(np.asarray(points.get_xydata()), table[["confidence", "accuracy"]])
    heights = np.array([bar.get_height() for bar in ax.patches])
    assert np.allclose(heights / heights.max(), table.n / table.n.max())
    assert f"cnn\nn = 155 ({table.n.min()} to {table.n.max()} each)" in words(figure)


def test_the_legend_of_risks_begins_with_the_best():
    curves = {
        "worse": calibration.risk_coverage(labelled("b")),
        "better": calibration.risk_coverage(labelled("a")),
    }
    legend = trust_plots.risk_coverage(curves).legends[0]
    assert [text.get_text().split()[0] for text in legend.get_texts()] == ["better", "worse"]
    assert legend.get_texts()[0].get_text() == "better (0.000)"


def test_bars_join_what_is_statistically_tied():
    figure = trust_plots.ties(ranked("abcd"), [("a", "b"), ("b", "d"), ("c",)])
    right = figure.axes[1]
    dots = [
        sorted(np.asarray(line.get_ydata(), float))
        for line in right.lines
        if line.get_marker() == "o"
    ]
    assert dots == [[2, 3], [0, 2]]  # a is on top, c is in none
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == list("dcba")
    assert "no methods are tied" in words(CASES["no ties"]())


def test_probabilities_mirror_each_other_and_mark_ties():
    figure = trust_plots.probabilities(paired(FEW, 0.15))
    shown = {(text.get_position()): text.get_text() for text in figure.axes[0].texts}
    assert shown == {
        (1, 0): "100=",
        (0, 1): "0=",
        (2, 0): "100",
        (0, 2): "0",
        (2, 1): "100=",
        (1, 2): "0=",
    }


def test_consistency_shows_every_way_to_turn_and_the_best_on_top():
    table = turned(FEW, ["moco dnn"])
    figure = trust_plots.consistency(table)
    agreement, _, cosine = figure.axes
    assert [text.get_text() for text in agreement.get_yticklabels()] == [
        "moco dnn",
        "resnet18",
        "cnn",
    ]
    points = [
        line for ax in figure.axes for line in ax.lines if line.get_marker() in ("o", "s", "^")
    ]
    assert [len(np.asarray(line.get_xdata())) for line in points] == [2, 2, 2, 2, 2, 3, 3, 3]
    averaged = table[(table.metric == "agreement") & table.averaged]
    assert np.asarray(points[2].get_xdata()) == pytest.approx(averaged.value.to_numpy(float))
    assert [round(y) for y in np.asarray(points[2].get_ydata(), float)] == [2, 1]
    texts = words(figure)
    assert texts.count("no classes") == 2 and not cosine.texts
    assert "mean with its 95 % interval (n = 161 galaxies, 3 seeds)" in texts
    assert "(n = 161 galaxies, 1 seed)" in " ".join(words(CASES["consistency of 1"]()))
    assert len(CASES["consistency of features"]().axes) == 1
