"""Comparisons of methods against hand-made tables, scikit-learn and scipy. About 10 s."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk
from scipy import stats

from galaxymorph.evaluation import comparison, metrics, phrases
from galaxymorph.evaluation.entries import Entries
from galaxymorph.evaluation.metrics import evaluate
from tests.evaluation import made
from tests.evaluation.made import HAND, NAMES, changed, entry, joined, rights, sample, table


def renamed(predictions, *, begin="", end=""):
    return changed(predictions, lambda frame: frame.assign(id=begin + frame.id + end))


def whole(n, *, skill, seed):
    """Predictions with all three parts."""
    splits = ("train", "val", "test")
    parts = [sample(n, skill=skill, seed=seed + i, split=s) for i, s in enumerate(splits)]
    return joined(*(renamed(part, begin=s) for part, s in zip(parts, splits, strict=True)))


def compare(entries, **options):
    return comparison.compare(Entries(entries), **options)


def test_several_seeds_give_mean_spread_and_t_interval():
    """Seeds that share no galaxy and differ by more than their galaxies explain: scipy's."""
    skills = (0.2, 1, 2, 4)
    tables = [whole(60, skill=skill, seed=10 * i) for i, skill in enumerate(skills)]
    apart = [renamed(t, end=str(i)) for i, t in enumerate(tables)]
    row = compare([entry("cnn", i, t, seconds=10.0 * i) for i, t in enumerate(apart)]).iloc[0]
    accuracy = [t.labelled().right.mean() for t in tables]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(accuracy), scale=stats.sem(accuracy))
    assert row.accuracy == pytest.approx(np.mean(accuracy))
    assert row.accuracy_std == pytest.approx(np.std(accuracy, ddof=1))
    assert (row.accuracy_low, row.accuracy_high) == pytest.approx((low, min(high, 1)))
    assert (row.seeds, row.missing, row.interval, row.seconds) == (4, 0, "t over seeds", 15)
    assert (row.n_train, row.n_test, row.n_test_all) == (60, 60, 240)


def test_galaxies_that_seeds_share_do_not_count_twice():
    """Four seeds that agree on the same test galaxies know no more than one of them."""
    t = whole(60, skill=1, seed=0)
    row = compare([entry("cnn", i, t) for i in range(4)]).iloc[0]
    right = int(60 * row.accuracy + 0.5) + 1  # and two more galaxies, one of them right
    error = math.sqrt(right / 62 * (1 - right / 62) / 62)
    assert row.accuracy_high - row.accuracy_low == pytest.approx(2 * 1.96 * error, rel=1e-3)
    assert row.n_test_all == 60


def test_one_seed_gives_the_bootstrap_interval():
    t = whole(60, skill=2, seed=0)
    row = compare([entry("cnn", 0, t)], n_bootstrap=100).iloc[0]
    expected = evaluate(t, n_bootstrap=100).set_index(["metric", "class"])
    for metric in metrics.OVERALL:
        found = [row[metric], row[f"{metric}_low"], row[f"{metric}_high"]]
        assert found == pytest.approx(list(expected.loc[(metric, ""), ["value", "low", "high"]]))
    assert row.interval == "bootstrap over galaxies"
    assert math.isnan(row.accuracy_std)
    val = evaluate(t, split="val", n_bootstrap=0).value[0]
    assert (row.train_accuracy, row.val_accuracy) == pytest.approx(
        (evaluate(t, split="train", n_bootstrap=0).value[0], val)
    )


def test_missing_seeds_are_counted_and_methods_and_budgets_kept_apart():
    t = whole(40, skill=2, seed=0)
    entries = [
        entry("cnn", 0, t, n_labels=100, protocol="from scratch"),
        entry("cnn", 1, None, n_labels=100),
        entry("cnn", 0, t),
        entry("moco", 0, None),
    ]
    found = compare(entries, n_bootstrap=5)
    assert list(found.method) == ["cnn", "cnn", "moco"]
    assert list(found.n_labels.fillna(-1)) == [100, -1, -1]
    assert list(found.seeds) == [1, 1, 0] and list(found.missing) == [1, 0, 1]
    assert list(found.protocol.fillna("")) == ["from scratch", "", ""]
    assert math.isnan(found.accuracy[2]) and found.n_test.isna()[2]
    assert "protocol" not in compare(entries[2:], n_bootstrap=5)
    mixed = [
        entry("cnn", seed, t, protocol=p)
        for seed, p in enumerate(["frozen", "frozen, transductive", "frozen"])
    ]
    assert list(compare(mixed, n_bootstrap=5).protocol) == ["frozen / frozen, transductive"]
    assert compare([]).empty


def test_a_table_without_train_and_val_parts_is_compared_by_its_test_part():
    row = compare([entry("theirs", None, HAND)], n_bootstrap=5).iloc[0]
    assert row.accuracy == pytest.approx(4 / 6)
    assert row.n_train == 0 and math.isnan(row.train_accuracy) and math.isnan(row.val_accuracy)


def test_intervals_end_where_the_metric_ends():
    better = [
        table([("round", [0.9, 0.1, 0]), ("spiral", [0, 0.1, 0.9])]),
        table([("round", [0, 0, 1]), ("spiral", [0, 0, 1])]),
    ]
    row = compare([entry("cnn", i, t) for i, t in enumerate(better)]).iloc[0]
    assert (row.accuracy_low, row.accuracy_high) == (0, 1)
    assert row.log_loss_low == 0 and row.log_loss_high > 20


def test_per_class_is_the_mean_over_seeds():
    a, b = sample(50, seed=1), sample(50, seed=2)
    found = comparison.per_class(
        Entries([entry("cnn", 0, a), entry("cnn", 1, b), entry("moco", 0, None)]), metric="recall"
    )
    parts = (a.labelled(), b.labelled())
    expected = [
        np.mean([sk.recall_score(part.true == k, part.predicted == k) for part in parts])
        for k in range(3)
    ]
    assert list(found.index) == ["cnn"] and list(found.columns) == list(NAMES)
    assert list(found.loc["cnn"]) == pytest.approx(expected)
    several = comparison.per_class(Entries([entry("cnn", 0, a), entry("cnn", 0, b, n_labels=1000)]))
    assert list(several.index) == ["cnn, all labels", "cnn, 1,000 labels"]
    with pytest.raises(ValueError, match="unknown metric .* Known: precision, recall, f1, auc"):
        comparison.per_class(Entries([]), metric="accuracy")


def scored(method, *accuracies, missing=0):
    """Entries whose accuracy, of 200 galaxies, is as given."""
    found = [
        made.scored(method, rights(200, round(200 * a)), seed=s, common=True)
        for s, a in enumerate(accuracies)
    ]
    return [entry(method, -1 - i) for i in range(missing)] + found


def test_budgets_are_judged_apart_and_survive_a_file(tmp_path):
    entries = scored("cnn", 0.9) + [replace(p, n_labels=1000) for p in scored("cnn", 0.7, 0.8)]
    found = compare(entries, n_bootstrap=9)
    found.to_csv(tmp_path / "table.csv", index=False)
    shown = comparison.readable(found)
    assert shown.equals(
        comparison.readable(pd.read_csv(tmp_path / "table.csv", keep_default_na=True))
    )
    assert list(shown.labels) == ["all", "1,000"]
    assert list(shown["test accuracy"])[1] == "0.750 [0.481, 1.000]"


def test_readable_says_missing_with_a_dash():
    shown = comparison.readable(compare(scored("cnn", missing=2)), shown=["accuracy", "macro_f1"])
    assert (
        shown.loc[0, ["test accuracy", "macro F1", "seconds", "test galaxies"]].tolist()
        == ["–"] * 4
    )
    assert shown.seeds[0] == "0 (2 missing)"


# ---- costs, what was left out, the Pareto front


def test_costs_are_means_over_the_seeds_that_know_them():
    t = whole(20, skill=2, seed=0)
    known = {"parameters": 100, "flops": 2_000_000, "training_seconds": 10.0}
    known |= {"peak_memory_mib": 300.0, "peak_memory_of": "process"}
    entries = [
        entry("cnn", 0, t, costs=known, seconds=30.0),
        entry(
            "cnn",
            1,
            t,
            costs=known | {"training_seconds": 20.0, "images_per_second": 50.0},
            seconds=50.0,
        ),
        entry("cnn", 2, t, costs={}),
        entry("cnn", 3, None, costs={"training_seconds": 999.0}),
        entry("theirs", 0, t),
    ]
    cnn, theirs = compare(entries, n_bootstrap=5).to_dict("records")
    assert [cnn[name] for name in comparison.COSTS] == [100, 2e6, 15, 50, 300]
    assert (cnn["seconds"], cnn["peak_memory_of"]) == (40, "process")
    assert all(math.isnan(theirs[name]) for name in (*comparison.COSTS, "seconds"))
    shown = comparison.readable(compare(entries, n_bootstrap=5))
    columns = [
        "parameters",
        "FLOPs per galaxy",
        "training seconds",
        "images/s",
        "peak memory (MiB)",
        "seconds",
    ]
    assert shown[columns].to_numpy().tolist() == [
        ["100", "2 M", "15", "50", "300", "40"],
        ["–"] * 6,
    ]


def test_memory_of_a_gpu_is_called_so():
    spent = {"peak_memory_mib": 1234.5, "peak_memory_of": "GPU tensors"}
    found = compare([entry("cnn", 0, HAND, costs=spent)], n_bootstrap=0)
    assert comparison.readable(found)["peak memory (MiB)"][0] == "1,234 (GPU)"


@pytest.mark.parametrize(
    ("parameters", "seconds", "texts"),
    [
        (159_700, 9.949, ("160 k", "9.9")),
        (999_499, 9.951, ("999 k", "10")),
        (999_600, 0.25, ("1 M", "0.25")),
        (11_176_512, 1234.4, ("11.2 M", "1,234")),
        (3.15e13, 99.9, ("31.5 T", "100")),
        (12, math.nan, ("12", "–")),
    ],
)
def test_costs_are_as_exact_as_they_are_worth(parameters, seconds, texts):
    shown = phrases.costs({"parameters": parameters, "training_seconds": seconds})
    assert (shown["parameters"], shown["training seconds"]) == texts


def test_what_was_left_out_is_not_missing_and_says_why(tmp_path):
    why = "weights not available offline"
    entries = [entry("imagenet", seed, None, not_run=why) for seed in range(3)] + scored(
        "cnn", 0.9, 0.9, missing=1
    )
    entries += [
        entry("partly", 7, HAND),
        entry("partly", 8, None, not_run=why),
        entry("partly", 9, None),
    ]
    found = compare(entries, n_bootstrap=5)
    assert list(found.seeds) == [0, 2, 1] and list(found.missing) == [0, 1, 1]
    assert list(found.not_run.fillna("")) == [why, "", why]
    found.to_csv(tmp_path / "table.csv", index=False)
    for each in (found, pd.read_csv(tmp_path / "table.csv", dtype={"n_labels": "Int64"})):
        assert [s for row in each.to_dict("records") for s in phrases.absent(row)] == [
            f"imagenet was not run: {why}.",
            "cnn lacks results for 1 of 3 seeds.",
            "partly lacks results for 1 of 2 seeds.",
            f"partly was not run for some seeds: {why}.",
        ]
        shown = comparison.readable(each)
        assert shown["test accuracy"][0] == f"not run: {why}" and shown.AUC[0] == "–"
        assert shown["test accuracy"][2].startswith("0.667")
        assert list(shown.seeds) == ["0", "2 (1 missing)", "1 (1 missing)"]
    assert "not_run" not in compare(scored("cnn", 0.9), n_bootstrap=0)


def test_readable_has_every_metric_and_the_protocol_first():
    found = compare([entry("cnn", 0, HAND, protocol="from scratch")], n_bootstrap=5)
    shown = comparison.readable(found)
    assert list(shown)[:4] == ["protocol", "method", "labels", "seeds"]
    assert {
        "train accuracy",
        "val accuracy",
        "test accuracy",
        "balanced accuracy",
        "log loss",
        "AUC",
    } <= set(shown)
    assert {
        "macro precision",
        "macro recall",
        "macro F1",
        "train galaxies",
        "test galaxies",
        "interval",
    } <= set(shown)
    assert list(comparison.readable(found, shown=["auc"]))[4:7] == [
        "train accuracy",
        "val accuracy",
        "AUC",
    ]


def test_a_table_of_an_earlier_version_is_readable():
    found = compare(scored("cnn", 0.9), n_bootstrap=5).drop(
        columns=[*comparison.COSTS, "peak_memory_of"]
    )
    assert (
        comparison.readable(found).loc[0, ["parameters", "images/s", "peak memory (MiB)"]].tolist()
        == ["–"] * 3
    )


def priced(*rows):
    names = ("method", "flops", "accuracy")
    return pd.DataFrame([dict(zip(names, row, strict=True)) for row in rows])


def test_the_front_by_hand():
    table = priced(
        *(("cheap", 1, 0.6), ("worse", 2, 0.5), ("same", 2, 0.8)),
        *(("dear", 9, 0.9), ("twin", 2, 0.8), ("as dear", 9, 0.85)),
        ("unknown", np.nan, 0.99), ("missing", 3, np.nan), ("majority", 0, 0.3),
    )  # fmt: skip
    assert list(table.method[comparison.front(table, cost="flops")]) == [
        "cheap",
        "same",
        "dear",
        "twin",
    ]
    assert comparison.front(table[:0], cost="flops").tolist() == []
    assert not comparison.front(table[-3:], cost="flops").any()


def test_no_row_of_the_front_is_beaten_and_every_other_is():
    rng = np.random.default_rng(0)
    table = priced(*[(f"m{i}", *rng.integers(0, 12, 2)) for i in range(60)])
    front = comparison.front(table, cost="flops")
    for i, row in table.iterrows():
        beaten = ((table.flops <= row.flops) & (table.accuracy >= row.accuracy)) & (
            (table.flops < row.flops) | (table.accuracy > row.accuracy)
        )
        assert beaten.any() != front[i]


def test_a_method_whose_best_epoch_is_the_last_is_still_improving():
    rising, settled = (pd.DataFrame({"epoch": [1, 2], "best": [True, b]}) for b in (True, False))
    entries = [entry("net", k, HAND, history=each) for k, each in enumerate((rising, settled))]
    entries += [entry("late", 0, HAND, history=rising), entry("forest", 0, HAND)]
    found = comparison.compare(Entries(entries), n_bootstrap=0).set_index("method").still_improving
    assert found["net"] == 0.5 and found["late"] == 1 and np.isnan(found["forest"])
