"""Compare methods that predict vote fractions: a row per method and budget, and sentences."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from galaxymorph.evaluation import phrases, significance, vote_metrics
from galaxymorph.evaluation.comparison import summary
from galaxymorph.evaluation.entries import Entries, budget, words
from galaxymorph.evaluation.intervals import HALVES, share, variance_of_mean
from galaxymorph.evaluation.phrases import head, interval, number, say, too_few, with_interval
from galaxymorph.evaluation.predictions import Votes

ANY = (-math.inf, math.inf)
COMPARED = {"rmse": (0.0, math.inf), "mae": (0.0, math.inf), "r2": (-math.inf, 1.0)}
COMPARED |= {"baseline": (0.0, math.inf), "floor": (0.0, math.inf)}
COMPARED |= {"way": ANY, "violations": (0.0, 1.0)}
SHOWN = {"rmse": ("RMSE", ".4f"), "mae": ("MAE", ".4f"), "r2": ("R²", ".3f")}
SHOWN |= {"way": ("gap closed (%)", ".1f")}


def compare(entries: Entries, *, n_bootstrap: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Summarise the test results of each method and budget over seeds, in the order of entries.

    Columns as in `comparison.compare`: method, protocol, n_labels, n_train and n_test (galaxies
    with votes; minimum over seeds), n_test_all, seeds, missing, not_run, seconds, interval, and for
    each name in `COMPARED` (cumulative) the mean over seeds, <name>_std, <name>_low, <name>_high.
    `violations` is the fraction of galaxies whose predictions contradict the tree; for a single
    seed its interval is that of Wilson (1927)."""
    columns = ["n_train", "n_test", "n_test_all", "seeds", "missing", "not_run", "seconds"]
    columns += ["interval"]
    options = {"n_bootstrap": n_bootstrap, "seed": seed}
    return summary(entries, "votes", _numbers, COMPARED, columns, **options)


def pairs(entries: Entries, **options: Any) -> pd.DataFrame:
    """Compare the RMSE of every pair of methods with equal labels (see `significance.pairs`)."""
    return significance.pairs(entries, statistic=significance.RMSE, **options)


def sentences(table: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """Describe tables of `compare` and `pairs` in words.

    For each budget: the lowest RMSE, its ties, the gap closed, contradictions, missing results."""
    budgets, records, against = [], table.to_dict("records"), pairs.to_dict("records")
    for n_labels in dict.fromkeys(map(budget, records)):
        rows = [row for row in records if budget(row) == n_labels]
        ranked = sorted((row for row in rows if row["seeds"]), key=lambda row: row["rmse"])
        own = [pair for pair in against if budget(pair) == n_labels]
        few = too_few(min(row["n_test"] for row in ranked)) if ranked else ""
        ties, behind = ([], []) if few else _against_the_best(ranked, own)
        budgets.append((n_labels, rows, ranked, few, ties, behind))
    return say("votes", budgets=budgets)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Format a table of `compare`: `0.1303 [0.1285, 0.1321]`, or an en dash if missing."""
    shown = []
    for row in table.to_dict("records"):
        text = head(row) | {t: with_interval(row, name, form) for name, (t, form) in SHOWN.items()}
        text["baseline RMSE"] = number(row["baseline"], ".4f")
        text["noise floor"] = number(row["floor"], ".4f")
        text["contradict the tree"] = number(row["violations"], ".1%")
        if not row["seeds"] and words(row, "not_run"):
            text["RMSE"] = f"not run: {row['not_run']}"
        shown.append(text | phrases.tail(row))
    return pd.DataFrame(shown)


def _numbers(votes: Votes, **options: Any) -> pd.DataFrame:
    """Return each statistic in `COMPARED` (index) for the test split."""
    numbers = vote_metrics.overall(votes, **options)
    broken = (vote_metrics.broken(votes)["any of these"] > vote_metrics.TOLERANCE).to_numpy(float)
    numbers.loc["violations"] = [*share(broken), variance_of_mean(broken, HALVES)]
    errors = significance.squared_errors(votes).values  # closed-form variance of the RMSE
    numbers.loc["rmse", "variance"] = variance_of_mean(significance.RMSE.linear(errors))
    return numbers


def _against_the_best(
    ranked: Sequence[Mapping[str, Any]], pairs: Sequence[Mapping[str, Any]]
) -> tuple[list[str], list[str]]:
    """Describe the methods that are tied with the best one, and those that are worse."""
    ties, behind = [], []
    for row in ranked[1:]:
        name = ranked[0]["method"]
        for pair in pairs:
            if {pair["a"], pair["b"]} == {name, row["method"]}:
                sign = 1 if pair["b"] == name else -1
                low, high = sorted((sign * pair["low"], sign * pair["high"]))
                found = f"{sign * pair['difference']:+.4f}, {interval(low, high, '+.4f')}"
                holm = f", {phrases.p_value(pair['p_holm'])} after Holm's correction"
                found += holm * (len(pairs) > 1)
                ahead = pair["resolved"] and sign * pair["difference"] > 0
                text = f"{row['method']} ({row['rmse']:.4f}, {phrases.tested(row)}; {found})"
                (behind if ahead else ties).append(text)
    return ties, behind
