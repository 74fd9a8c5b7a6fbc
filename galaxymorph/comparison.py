"""From many predictions tables to a comparison of methods: numbers with intervals, sentences, a table to read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import t as student

from galaxymorph import metrics


def compare(pieces: Sequence[Mapping[str, Any]], *, n_bootstrap: int = 1000, seed: int = 0) -> pd.DataFrame:
    """One row per method and label budget, over its seeds, in the order of `pieces`.

    A piece is one training run: `step` (the method), `seed`, `n_labels` (None: all labels), `predictions` (a table, or
    None where it is missing), and, if known, `seconds` and `protocol`.

    Columns: method, protocol (where a piece has one), n_labels (integer, <NA> for all), n_train and n_test (labelled
    galaxies per seed; the fewest), n_test_all (different galaxies tested over all seeds), seeds (those that are there),
    missing (those that are not), seconds (mean), interval (what low and high are), train_accuracy, val_accuracy (means;
    NaN where a table has no such part), and for every metric of `metrics.OVERALL`, of the test part: <metric> (mean over
    seeds), <metric>_std (over seeds, n - 1), <metric>_low and <metric>_high.

    low and high with two seeds or more: the 95 % t-interval of the mean over seeds, cut off where the metric ends.
    Seeds count as independent, although their test and training sets overlap: it is rather too narrow (Nadeau & Bengio
    2003). With one seed: the bootstrap interval over galaxies of `metrics.evaluate`, which knows nothing of the spread between
    seeds.

    Raises `ValueError` that names the method and seed of a faulty table, of two pieces for the same seed, or of one that was
    tested on other galaxies than another method with its seed.
    """
    _check_test_galaxies(pieces)
    groups: dict[tuple[str, int | None], list[Mapping[str, Any]]] = {}
    for piece in pieces:
        groups.setdefault((str(piece["step"]), budget(piece)), []).append(piece)
    rows = []
    for (step, n_labels), group in groups.items():
        seeds = [piece.get("seed") for piece in group]
        twice = {s for s in seeds if seeds.count(s) > 1}
        if twice:
            raise ValueError(f"{step}, {labels(n_labels)}: seed {twice.pop()} is there twice; give variants a step each")
        rows.append({"method": step, "n_labels": n_labels} | _row(group, n_bootstrap=n_bootstrap, seed=seed))
    table = (
        pd.DataFrame(rows)
        .reindex(columns=_columns())
        .astype(dict.fromkeys(["n_labels", "n_train", "n_test", "n_test_all"], "Int64"))
    )
    return table if any(piece.get("protocol") for piece in pieces) else table.drop(columns="protocol")


def _check_test_galaxies(pieces: Sequence[Mapping[str, Any]]) -> None:
    """A comparison means nothing unless all methods with one seed are tested on the same galaxies."""
    first: dict[Any, tuple[str, frozenset[str]]] = {}
    for piece in pieces:
        predictions = piece["predictions"]
        if predictions is None:
            continue
        tested = frozenset(predictions.loc[metrics.selected(predictions, "test"), "id"])
        name, others = first.setdefault(piece.get("seed"), (str(piece["step"]), tested))
        if tested != others:
            raise ValueError(
                f"{piece['step']}, seed {piece.get('seed')}: tested on {len(tested):,} galaxies, of which "
                f"{len(tested & others):,} are among the {len(others):,} of {name}; execute both again with the same galaxies"
            )


def per_class(pieces: Sequence[Mapping[str, Any]], *, metric: str = "f1") -> pd.DataFrame:
    """A metric of `metrics.PER_CLASS` on the test part, methods (and label budgets, where there are several) by classes, mean
    over seeds.

    `pieces` as for `compare`; those that are missing are left out.
    """
    if metric not in metrics.PER_CLASS:
        raise ValueError(f"metric={metric!r}: one of {', '.join(metrics.PER_CLASS)}")
    several = len({budget(piece) for piece in pieces}) > 1
    found: dict[str, list[pd.Series]] = {}
    for piece in pieces:
        if piece["predictions"] is not None:
            table = _evaluated(piece, n_bootstrap=0, seed=0)
            name = str(piece["step"]) + (f", {labels(budget(piece))}" if several else "")
            found.setdefault(name, []).append(table.loc[metric, "value"].drop("", errors="ignore"))
    return pd.DataFrame({name: pd.DataFrame(values).mean() for name, values in found.items()}).T


def smallest_difference(n_test: int, accuracy: float) -> float:
    """The smallest difference between two accuracies near `accuracy` that a test set of `n_test` galaxies resolves at
    95 %.

    1.96 sqrt(2 a (1 - a) / (n_test + 2)) with a = (n_test accuracy + 1) / (n_test + 2): the half-width of the interval
    of a difference of two proportions with a success and a failure added to each, so that it also holds near 0 and 1
    (Agresti & Caffo 2000). The two count as tested on independent galaxies; a paired test on the same galaxies may
    resolve somewhat less.
    """
    if n_test < 1 or not 0 <= accuracy <= 1:
        raise ValueError(f"n_test={n_test}, accuracy={accuracy}: at least one galaxy, and from 0 to 1")
    a = (n_test * accuracy + 1) / (n_test + 2)
    return 1.96 * math.sqrt(2 * a * (1 - a) / (n_test + 2))


def sentences(table: pd.DataFrame, *, baseline: str = "majority") -> list[str]:
    """What a table of `compare` says about accuracy, in plain words, for each label budget: who is ahead, what is a
    tie, what is missing, and what answering without eyes reaches (the method `baseline`, which is not ranked).

    Two methods are told apart only if they differ by more than both `smallest_difference` (of the different galaxies
    that were tested) and, with two seeds or more each, the 95 % margin of Welch's t-test over seeds. No correction for
    the number of methods.
    """
    said, budgets = [], {}
    for row in table.to_dict("records"):
        budgets.setdefault(budget(row), []).append(row)
    for n_labels, rows in budgets.items():
        opening = f"With {labels(n_labels)}"
        there = sorted((row for row in rows if row["seeds"]), key=lambda row: -row["accuracy"])
        ranked = [row for row in there if row["method"] != baseline]
        if ranked:
            said += _ranking(opening, ranked)
        elif any(row["method"] != baseline for row in rows):
            said.append(f"{opening}: no result yet.")
        for row in there:
            if row["method"] == baseline:
                said.append(f"{opening}, naming the most common class every time would reach {row['accuracy']:.3f}.")
        for row in rows:
            if row["missing"]:
                said.append(f"{opening}, {row['method']} lacks {row['missing']} of {row['missing'] + row['seeds']} seeds.")
    return said


def readable(table: pd.DataFrame, *, shown: Sequence[str] = ("accuracy", "macro_f1", "auc", "log_loss")) -> pd.DataFrame:
    """A table of `compare` to look at: each metric that is `shown` as `0.903 [0.885, 0.921]`; no value as an en dash."""
    rows = []
    for row in table.to_dict("records"):
        text = head(row) | {f"{part} accuracy": number(row[f"{part}_accuracy"], ".3f") for part in ("train", "val")}
        for metric in shown:
            name = "test accuracy" if metric == "accuracy" else metric.replace("_", " ")
            text[name] = with_interval(row, metric, ".3f")
        rows.append(text | {"interval": row["interval"], "seconds": number(row["seconds"], ",.0f")})
    return pd.DataFrame(rows)


# ---- words for rows, here and of other tables


def budget(row: Mapping[str, Any]) -> int | None:
    """The number of labels of a piece or a row; None: all. (A file has NaN.)"""
    n_labels = row.get("n_labels")
    return None if bool(pd.isna(n_labels)) else int(n_labels)  # pyright: ignore[reportArgumentType]


def labels(n_labels: int | None) -> str:
    return "all labels" if n_labels is None else f"{n_labels:,} labels"


def number(value: Any, form: str) -> str:
    """A number, or an en dash where there is none."""
    return "–" if bool(pd.isna(value)) else format(value, form)


def with_interval(row: Mapping[str, Any], name: str, form: str) -> str:
    """`0.903 [0.885, 0.921]`, from the columns <name>, <name>_low and <name>_high."""
    limits = [number(row[f"{name}_{end}"], form) for end in ("low", "high")]
    return number(row[name], form) + ("" if "–" in limits else f" [{', '.join(limits)}]")


def head(row: Mapping[str, Any]) -> dict[str, str]:
    """What a readable row begins with: method, protocol, labels, galaxies and seeds."""
    text = {name: row[name] or "" for name in ("method", "protocol") if name in row}
    text["labels"] = "all" if budget(row) is None else f"{budget(row):,}"
    text |= {f"{part} galaxies": number(row[f"n_{part}"], ",.0f") for part in ("train", "test")}
    return text | {"seeds": str(row["seeds"]) + (f" ({row['missing']} missing)" if row["missing"] else "")}


# ---- the rows of a comparison


def _columns() -> list[str]:
    first = ["method", "protocol", "n_labels", "n_train", "n_test", "n_test_all", "seeds", "missing", "seconds", "interval"]
    each = [f"{metric}{end}" for metric in metrics.OVERALL for end in ("", "_std", "_low", "_high")]
    return first + ["train_accuracy", "val_accuracy"] + each


@contextmanager
def _named(piece: Mapping[str, Any]) -> Iterator[None]:
    """Says in an error whose table it is."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{piece['step']}, {labels(budget(piece))}, seed {piece.get('seed')}: {error}") from error


def _evaluated(piece: Mapping[str, Any], *, n_bootstrap: int, seed: int) -> pd.DataFrame:
    """The table of `metrics.evaluate` of a piece's test part, indexed by metric and class."""
    with _named(piece):
        return metrics.evaluate(piece["predictions"], n_bootstrap=n_bootstrap, seed=seed).set_index(["metric", "class"])


def _row(group: Sequence[Mapping[str, Any]], *, n_bootstrap: int, seed: int) -> dict[str, Any]:
    """A method's row of `compare` (without method and n_labels), from its pieces."""
    there = [piece for piece in group if piece["predictions"] is not None]
    protocols = dict.fromkeys(piece["protocol"] for piece in group if piece.get("protocol"))
    row: dict[str, Any] = {"protocol": " / ".join(protocols) or None}  # seeds may differ: one may have seen test galaxies
    row |= {"seeds": len(there), "missing": len(group) - len(there), "interval": ""}
    if not there:
        return row
    tables = [piece["predictions"] for piece in there]
    tested = [table.loc[metrics.selected(table, "test"), "id"] for table in tables]
    seconds = [piece["seconds"] for piece in there if piece.get("seconds") is not None]
    row |= {
        "n_train": min(int(metrics.selected(table, "train").sum()) for table in tables),
        "n_test": min(len(ids) for ids in tested),
        "n_test_all": len({galaxy for ids in tested for galaxy in ids}),
        "seconds": float(np.mean(seconds)) if seconds else np.nan,
        "interval": "t over seeds" if len(there) > 1 else "bootstrap over galaxies",
        "train_accuracy": float(np.mean([_accuracy(piece, "train") for piece in there])),
        "val_accuracy": float(np.mean([_accuracy(piece, "val") for piece in there])),
    }
    draws = n_bootstrap if len(there) == 1 else 0
    results = [_evaluated(piece, n_bootstrap=draws, seed=seed) for piece in there]
    for metric in metrics.OVERALL:
        values = np.array([result.at[(metric, ""), "value"] for result in results])
        low, high = (float(results[0].at[(metric, ""), end]) for end in ("low", "high"))  # for one seed
        row |= _spread(metric, values, low=low, high=high)
    return row


def _accuracy(piece: Mapping[str, Any], split: str) -> float:
    if not metrics.selected(piece["predictions"], split).any():
        return math.nan
    with _named(piece):
        matrix = metrics.confusion(piece["predictions"], split=split)
    return float(matrix.trace() / matrix.sum())


def _spread(metric: str, values: Float[ndarray, " seed"], *, low: float, high: float) -> dict[str, float]:
    """Mean over seeds, standard deviation, interval; `low` and `high` are taken where there is one seed."""
    mean, std = float(values.mean()), math.nan
    if len(values) > 1:
        std = float(values.std(ddof=1))
        margin = float(student.ppf(0.975, len(values) - 1)) * std / math.sqrt(len(values))
        end = {"log_loss": math.inf, "brier": 2.0}.get(metric, 1.0)
        low, high = max(mean - margin, 0.0), min(mean + margin, end)
    return {metric: mean, f"{metric}_std": std, f"{metric}_low": low, f"{metric}_high": high}


def _margin(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    """By how much two methods have to differ in accuracy to be told apart (`sentences`)."""
    margin = smallest_difference(int(min(a["n_test_all"], b["n_test_all"])), (a["accuracy"] + b["accuracy"]) / 2)
    if a["seeds"] > 1 and b["seeds"] > 1:
        va, vb = (row["accuracy_std"] ** 2 / row["seeds"] for row in (a, b))
        if va + vb > 0:
            freedom = (va + vb) ** 2 / (va**2 / (a["seeds"] - 1) + vb**2 / (b["seeds"] - 1))
            margin = max(margin, float(student.ppf(0.975, freedom)) * math.sqrt(va + vb))
    return margin


def _ranking(opening: str, ranked: Sequence[Mapping[str, Any]]) -> list[str]:
    """The sentences on the methods of one label budget, the most accurate first."""
    best = ranked[0]
    galaxies = f"{best['seeds']} seeds, {best['n_test']:.0f} test galaxies each"
    if best["seeds"] == 1:
        galaxies = f"one seed, {best['n_test']:.0f} test galaxies"
    interval = f"{best['accuracy_low']:.3f} to {best['accuracy_high']:.3f}"
    score = f"{best['accuracy']:.3f} (95 % interval {interval}, {galaxies})"
    n, least = int(best["n_test_all"]), smallest_difference(int(best["n_test_all"]), best["accuracy"])
    power = f"{opening}, {n:,} different test galaxies tell two such methods apart from a difference of {least:.3f} on."
    if len(ranked) == 1:
        return [f"{opening}, {best['method']} reaches an accuracy of {score}.", power]
    ties, behind = [], []
    for row in ranked[1:]:
        margin, difference = _margin(best, row), best["accuracy"] - row["accuracy"]
        text = f"{row['method']} ({row['accuracy']:.3f}, lower by {difference:.3f} where {margin:.3f} can be told apart)"
        (behind if difference > margin else ties).append(text)
    said = [f"{opening}, {best['method']} has the highest accuracy, {score}."]
    if ties:
        said.append(f"{opening}, it is a tie of {best['method']} with {' and with '.join(ties)}.")
    if behind:
        said.append(f"{opening}, {best['method']} is ahead, by a resolved difference, of {' and of '.join(behind)}.")
    return [*said, power]
