"""What stands in the figures of vote fractions, and that nothing is cut off or overlaps. About 20
s."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from galaxymorph import galaxy_zoo_tree
from galaxymorph.evaluation import vote_calibration, vote_comparison, vote_metrics
from galaxymorph.evaluation.entries import Entries, Entry
from galaxymorph.evaluation.predictions import votes_in
from galaxymorph.plots import style
from galaxymorph.plots import votes as vote_plots
from tests.plots.test_style import check_texts, images, words

METHODS = ("plain", "tree, fine-tuned from MoCo", "Dirichlet")


def evaluated(way=70.0, spread=5.0):
    """A table of `vote_metrics.evaluate`: the way of the i-th row is i above the first."""
    rows = []
    for convention in vote_metrics.CONVENTIONS:
        for metric in vote_metrics.METRICS:
            for i, name in enumerate(["overall", *galaxy_zoo_tree.SLICES, *galaxy_zoo_tree.LABELS]):
                scope = "overall" if i == 0 else "question" if i <= 11 else "answer"
                row = {
                    "scope": scope,
                    "name": name,
                    "convention": convention,
                    "metric": metric,
                    "n": 4000,
                }
                gone = way + i + 2 * (convention == "per question") - (metric != "rmse")
                rows.append(
                    row | {"way": gone, "way_low": gone - spread, "way_high": gone + spread}
                )
    return pd.DataFrame(rows)


def compared(n=3, budgets=(None,)):
    rows = []
    for budget in budgets:
        for i in range(n):
            rmse = 0.11 - 0.01 * i + 0.02 * (budget is not None)
            row = {"method": f"method {i}", "n_labels": budget, "seeds": 3, "n_test": 140 + i}
            row |= {"rmse": rmse, "rmse_low": rmse - 0.004, "rmse_high": rmse + 0.004}
            rows.append(row | {"baseline": 0.19 + 0.01 * (budget is not None), "floor": 0.04})
    return pd.DataFrame(rows).astype({"n_labels": "Int64", "n_test": "Int64"})


def votes(n=60, *, concentration=False, people=40.0):
    rng = np.random.default_rng(0)
    true, predicted = (
        galaxy_zoo_tree.cumulative(
            np.concatenate(
                [rng.dirichlet(np.ones(len(q.answers)), n) for q in galaxy_zoo_tree.QUESTIONS],
                axis=1,
            )
        )
        for _ in range(2)
    )
    columns = {
        "id": [f"587722984435351{i:03d}" for i in range(n)],
        "split": "test",
        "volunteers": people,
    }
    columns |= dict(zip(galaxy_zoo_tree.COLUMNS, true.T, strict=True))
    columns |= {
        f"p_{name}": values
        for name, values in zip(galaxy_zoo_tree.COLUMNS, predicted.T, strict=True)
    }
    columns |= {f"s_{name}": 24.0 for name in galaxy_zoo_tree.SLICES} if concentration else {}
    return pd.DataFrame(columns)


def questions(x, y, values, *, n=600):
    """A table with these values of x in every question, and y a tenth above, less 0.01 for each
    question."""
    names = ["overall", *galaxy_zoo_tree.SLICES]
    rows = [
        {"question": q, x: v, y: v + 0.1 - 0.01 * i, "n": n}
        for i, q in enumerate(names)
        for v in values
    ]
    table = pd.DataFrame(rows)
    return table.assign(low=table[y] - 0.02, high=table[y] + 0.04)


def calibrated():
    return questions("predicted", "observed", [0.1, 0.4, 0.8], n=200)


def covered():
    return questions("level", "coverage", [0.5, 0.9])


def broken(shares=(1.0, 0.017, 0.5, 0.0, 1.0)):
    rules = vote_metrics.violations(votes_in(votes(2))).rule
    return pd.DataFrame(
        {"rule": rules, "count": np.ceil(600 * np.array(shares)).astype(int), "share": shares}
    ).assign(largest=[0.123 * s + 1e-16 for s in shares], n=600)


def galaxy(i=0, **options):
    return votes(**options).iloc[i]


CASES = {
    "progress": lambda: vote_plots.progress(evaluated()),
    "progress of 3": lambda: vote_plots.progress(
        {name: evaluated(60 + 10 * i) for i, name in enumerate(METHODS)}
    ),
    "progress far out": lambda: vote_plots.progress(
        {name: evaluated(w) for name, w in zip(METHODS, (-340, 80, 200), strict=True)}
    ),
    "no progress": lambda: vote_plots.progress(evaluated(np.nan)),
    "comparison": lambda: vote_plots.comparison(compared(5, (50, None))),
    "comparison without floor": lambda: vote_plots.comparison(compared().assign(floor=np.nan)),
    "comparison of nothing": lambda: vote_plots.comparison(compared().assign(seeds=0)),
    "predicted": lambda: vote_plots.predicted_against_votes(votes()),
    "predicted 1": lambda: vote_plots.predicted_against_votes(
        votes(5), answers=[("odd_feature", "lens or arc")]
    ),
    "predicted 5": lambda: vote_plots.predicted_against_votes(
        votes(), answers=galaxy_zoo_tree.ANSWERS[:5]
    ),
    "predicted of nothing": lambda: vote_plots.predicted_against_votes(votes(), split="val"),
    "coverage of 3": lambda: vote_plots.coverage(dict.fromkeys(METHODS, covered())),
    "no coverage": lambda: vote_plots.coverage(covered().assign(n=0)),
    "tree": lambda: vote_plots.tree(galaxy(concentration=True), image=images(1, 64)[0]),
    "tree of unknown volunteers": lambda: vote_plots.tree(galaxy(people=np.nan)),
    "violations": lambda: vote_plots.violations(broken()),
    "violations of 3": lambda: vote_plots.violations({name: broken() for name in METHODS}),
    "no violations": lambda: vote_plots.violations(broken((0.0,) * 5)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.long
def test_text_is_legible_and_nothing_is_cut_off_or_overlaps(case):
    check_texts(CASES[case]())


def test_progress_draws_every_question_between_the_yardsticks():
    ax = vote_plots.progress({name: evaluated(60 + 10 * i) for i, name in enumerate(METHODS)}).axes[
        0
    ]
    names = ["overall", *(name.replace("_", " ") for name in galaxy_zoo_tree.SLICES)]
    assert [
        t.get_text() for t in ax.get_yticklabels()
    ] == names and ax.yaxis_inverted()  # overall on top
    points = [line for line in ax.lines if line.get_ls() == "None"]
    assert [line.get_xdata().tolist() for line in points] == [
        [60 + 10 * i + q for q in range(12)] for i in range(3)
    ]
    places = np.array([line.get_ydata() for line in points])
    assert (
        np.array_equal(places.round(), np.tile(np.arange(12), (3, 1)))
        and (np.diff(places, axis=0) > 0).all()
    )
    assert (
        len({(line.get_color(), line.get_marker()) for line in points})
        == len({line.get_marker() for line in points})
        == 3
    )
    for i, bars in enumerate(ax.collections):
        ends = [segment[:, 0].tolist() for segment in bars.get_segments()]
        assert ends == [[55 + 10 * i + q, 65 + 10 * i + q] for q in range(12)]
    verticals = [line.get_xdata()[0] for line in ax.lines if line.get_ls() == "--"]
    assert verticals == [0, 100] and ax.get_xlim()[0] < 0 < 100 < ax.get_xlim()[1]


def test_progress_of_another_convention_and_of_what_is_far_out():
    figure = vote_plots.progress(evaluated(70), convention="per question")
    assert figure.axes[0].lines[0].get_xdata()[0] == 72
    assert any("% of the RMSE, per question" in text for text in words(figure))
    figure = vote_plots.progress({"far": evaluated(-340), "near": evaluated(80)})
    assert "← -340 %" in words(figure) and figure.axes[0].get_xlim() == (-50, 108)
    assert len(figure.axes[0].lines[0].get_xdata()) == 0
    assert "200 % →" in words(vote_plots.progress(evaluated(200)))


def test_comparison_puts_the_lowest_on_top_between_floor_and_baseline():
    figure = vote_plots.comparison(compared(3, (50, None)))
    ax = figure.axes[0]
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert (
        labels[-1] == "method 2, all labels (3 seeds)"
        and labels[0] == "method 0, 50 labels (3 seeds)"
    )
    points, floor, baseline = ax.lines
    assert points.get_xdata() == pytest.approx(sorted(compared(3, (50, None)).rmse, reverse=True))
    assert floor.get_xdata()[0] == pytest.approx(0.04) and baseline.get_xdata()[0] == pytest.approx(
        0.195
    )
    shown = words(figure)
    assert " best achievable 0.040 " in shown and " mean vote 0.195 " in shown
    assert any("(n = 140 to 142 test galaxies)" in text for text in shown)
    spans = [patch.get_extents().transformed(ax.transData.inverted()) for patch in ax.patches]
    assert (spans[1].x0, spans[1].x1) == (pytest.approx(0.19), pytest.approx(0.20))
    assert not any(
        "floor" in text for text in words(vote_plots.comparison(compared().assign(floor=np.nan)))
    )
    lacking = compared()
    lacking.loc[1, ["rmse", "rmse_low", "rmse_high", "n_test"]] = np.nan
    assert "missing" in words(vote_plots.comparison(lacking))


def test_predictions_are_binned_against_votes():
    t = votes(50)
    t["p_Class3.1"] = t["Class3.1"]
    t["p_Class3.2"] = -0.03
    figure = vote_plots.predicted_against_votes(
        t, answers=[("bar", "yes"), ("bar", "no"), ("odd", "yes")]
    )
    panels = [ax for ax in figure.axes if ax.get_title()]
    assert [ax.get_title() for ax in panels] == ["bar: yes", "bar: no", "odd: yes"]
    for ax in panels:
        counts = ax.collections[0].get_array()
        assert counts.sum() == 50 and ax.get_xlim() == ax.get_ylim()
    counts = np.asarray(panels[0].collections[0].get_array().filled(0))
    assert np.trace(counts) == 50  # all on the line on which both are equal
    assert panels[1].get_ylim()[0] == pytest.approx(-0.1) and panels[0].get_ylim()[0] == 0
    assert "fraction of volunteers (n = 50 galaxies)" in words(figure)
    assert words(vote_plots.predicted_against_votes(t.assign(split="train"))) == [
        "no galaxies with votes in the test split"
    ]
    with pytest.raises(KeyError, match="unknown question 'colour'"):
        vote_plots.predicted_against_votes(t, answers=[("colour", "red")])


@pytest.mark.parametrize("draw", [vote_plots.calibration, vote_plots.coverage])
@pytest.mark.long
def test_each_question_has_a_panel_with_its_points_and_intervals(draw):
    table, x, y = (
        (calibrated(), "predicted", "observed")
        if draw is vote_plots.calibration
        else (covered(), "level", "coverage")
    )
    figure = draw({"a": table, "b": table.assign(**{y: table[y] - 0.01})})
    assert [ax.get_title() for ax in figure.axes] == [
        "overall",
        *(name.replace("_", " ") for name in galaxy_zoo_tree.SLICES),
    ]
    for ax, name in zip(figure.axes, ["overall", *galaxy_zoo_tree.SLICES], strict=True):
        rows = table[table.question == name]
        equal, first, second = ax.lines
        assert list(equal.get_xdata()) == list(equal.get_ydata()) == [0, 1]
        assert first.get_xdata() == pytest.approx(rows[x]) and first.get_ydata() == pytest.approx(
            rows[y]
        )
        assert second.get_ydata() == pytest.approx(rows[y] - 0.01)
        ends = np.array([segment[:, 1] for segment in ax.collections[0].get_segments()])
        assert ends == pytest.approx(rows[["low", "high"]].to_numpy())
    n = "(n = 600 answers)" if draw is vote_plots.calibration else "(n = 600 galaxies)"
    shown = words(figure)
    assert any(n in text for text in shown) and {"a", "b"} <= set(shown)


def panel(figure, start):
    (ax,) = [ax for ax in figure.axes if ax.get_title(loc="left").startswith(start)]
    return ax


@pytest.mark.long
def test_a_tree_shows_votes_with_their_noise_and_predictions():
    row = galaxy(concentration=True).copy()
    for i, (true, predicted) in enumerate(((0.5, 0.3), (0.2, 0.4), (0.3, 0.3)), start=1):
        row[f"Class1.{i}"], row[f"p_Class1.{i}"] = true, predicted
    row["Class2.1"], row["Class2.2"] = 0.05, 0.15  # 8 of 40 people
    figure = vote_plots.tree(row, image=images(1)[0])
    assert len(figure.axes) == 12 and sum(bool(ax.images) for ax in figure.axes) == 1
    smooth, edge_on = panel(figure, "smooth: 40 of 40"), panel(figure, "edge on: 8 of 40")
    assert [bar.get_width() for bar in smooth.patches] == pytest.approx([0.5, 0.2, 0.3])
    assert [bar.get_width() for bar in edge_on.patches] == pytest.approx([0.25, 0.75])
    assert [t.get_text() for t in edge_on.get_yticklabels()] == ["yes", "no"]
    noise, error = (
        np.array([segment[:, 0] for segment in each.get_segments()]) for each in edge_on.collections
    )
    v, n = 0.25, 8  # Wilson (1927) with z = 1
    limits = (v + 1 / (2 * n) + np.array([-1, 1]) * np.sqrt(v * (1 - v) / n + 1 / (4 * n**2))) / (
        1 + 1 / n
    )
    assert noise[0] == pytest.approx(limits)
    assert smooth.lines[0].get_xdata() == pytest.approx([0.3, 0.4, 0.3])
    deviation = np.sqrt(0.3 * 0.7 / 25)
    error = np.array([segment[:, 0] for segment in smooth.collections[1].get_segments()])
    assert error[0] == pytest.approx([0.3 - deviation, 0.3 + deviation])
    assert row["id"] in words(figure)


def test_a_tree_pales_where_few_are_asked_and_leaves_out_what_is_not_known():
    row = galaxy(people=np.nan).copy()
    row["Class1.1"], row["Class1.2"], row["Class1.3"] = 0.97, 0.03, 0.0
    row["Class2.1"], row["Class2.2"] = 0.0, 0.03
    row[[f"Class9.{i}" for i in (1, 2, 3)]] = 0.0
    figure = vote_plots.tree(row)
    edge_on, shape = panel(figure, "edge on: 3 %"), panel(figure, "bulge shape: 0 %")
    assert (
        edge_on.patches[0].get_alpha() < 0.5
        and panel(figure, "smooth: 100 %").patches[0].get_alpha() == 1
    )
    assert not shape.patches and len(shape.lines[0].get_xdata()) == 3  # predicted alone
    unlabelled = galaxy().copy()
    unlabelled[list(galaxy_zoo_tree.COLUMNS)] = np.nan
    smooth = panel(vote_plots.tree(unlabelled), "smooth")
    assert smooth.get_title(loc="left") == "smooth" and not smooth.patches and smooth.lines


def test_violations_are_given_by_method():
    ax = vote_plots.violations({"plain": broken(), "tree": broken((0.0,) * 5)}).axes[0]
    assert [bar.get_width() for bar in ax.patches[:5]] == pytest.approx([100, 1.7, 50, 0, 100])
    texts = [t.get_text() for t in ax.texts]
    assert texts[:2] == ["plain: 100 %, by up to 0.12", "plain: 1.7 %, by up to 0.0021"]
    assert texts[3] == "plain: 0 %" and set(texts[5:]) == {"tree: 0 %"}
    assert {to_hex(bar.get_facecolor()) for bar in ax.patches[:5]} == {style.COLOURS[0].lower()}
    assert ax.get_xlabel() == "% of the galaxies (n = 600)"


def test_figures_of_nothing_say_why():
    expected = {
        "no progress": "the best achievable RMSE is unknown: the number of volunteers is unknown",
        "comparison of nothing": "no method has a result yet",
        "no coverage": "no vote counts: the number of volunteers is unknown",
        "no violations": "no predicted fractions violate the decision tree",
    }
    assert {case: words(CASES[case]()) for case in expected} == {
        case: [text] for case, text in expected.items()
    }


def test_what_the_metrics_give_can_be_drawn():
    table = votes(40, concentration=True).assign(split=["train", "test"] * 20)
    given, broken = votes_in(table), votes_in(table.assign(**{"p_Class1.1": 2.0}))
    entries = Entries([Entry("model", 0, voting=True, votes=given)])
    figures = [
        vote_plots.progress({"model": vote_metrics.evaluate(given, n_bootstrap=9)}),
        vote_plots.calibration(vote_calibration.calibration(given)),
        vote_plots.coverage(vote_calibration.coverage(given, n_bootstrap=9)),
        vote_plots.violations(vote_metrics.violations(broken)),
        vote_plots.comparison(vote_comparison.compare(entries, n_bootstrap=9)),
    ]
    assert all(len(figure.axes) in (1, 12) for figure in figures)
    assert figures[0].axes[0].lines and figures[4].axes[0].lines and figures[3].axes[0].patches
    assert figures[3].axes[0].get_xlabel() == "% of the galaxies (n = 20)"
