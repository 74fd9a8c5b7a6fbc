"""galaxymorph.evaluation.vote_comparison"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from galaxymorph.evaluation.entries import attendance, budget, labels, words
from galaxymorph.evaluation.phrases import absent, head, number, tail, with_interval
from galaxymorph.evaluation.vote_metrics import _part, evaluate, violations

COMPARED = {  # by methods, and where it ends
    **{
        "rmse": (0, math.inf),
        "mae": (0, math.inf),
        "r2": (-math.inf, 1),
        "baseline": (0, math.inf),
        "floor": (0, math.inf),
    },
    **{"way": (-math.inf, math.inf), "violations": (0, 1)},
}


def compare(
    pieces: Sequence[Mapping[str, Any]], *, n_bootstrap: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """One row per method and label budget, over its seeds, in the order of `pieces`.

    A piece is one training run: `step` (the method), `seed`, `n_labels` (None: all labels), `votes`
    (a table, or None where it is missing), and, if known, `seconds`, `protocol` and `not_run` (why
    it was left out).

    Columns: method, protocol (where a piece has one), n_labels (<NA> for all), n_train and n_test
    (galaxies with votes per seed; the fewest), seeds (those that are there), missing (those that
    are not), not_run (why pieces were left out, which do not count as missing; where there are
    some), seconds (mean), interval (what low and high are), seed_rmse (the RMSE of each seed, a
    dict), and for each of `COMPARED`, of the test galaxies in the cumulative convention: mean over
    seeds, <name>_std (n - 1), <name>_low and <name>_high. `violations` is the share of galaxies
    that break the tree.

    low and high with two seeds or more: the 95 % t-interval of the mean over seeds (rather too
    narrow, as their galaxies overlap: Nadeau & Bengio 2003). With one seed: the bootstrap interval
    over galaxies of `evaluate`, where it has one.

    Raises `ValueError` that names the method and seed of a faulty table, of two pieces for the same
    seed, or of one that was tested on other galaxies than another method with its seed."""
    groups: dict[tuple[str, int | None], list[Mapping[str, Any]]] = {}
    tested: dict[Any, tuple[str, frozenset[str]]] = {}
    for piece in pieces:
        group = groups.setdefault((str(piece["step"]), budget(piece)), [])
        if piece["seed"] in [other["seed"] for other in group]:
            raise ValueError(f"{_title(piece)} is there twice; give variants a step each")
        group.append(piece)
        if piece["votes"] is not None:
            try:
                ids = frozenset(_part(piece["votes"], "test").ids)
            except ValueError as error:
                raise ValueError(f"{_title(piece)}: {error}") from error
            name, others = tested.setdefault(piece["seed"], (str(piece["step"]), ids))
            if ids != others:
                raise ValueError(
                    f"{_title(piece)}: tested on {len(ids):,} galaxies, of which {len(ids & others):,} are among the "
                    f"{len(others):,} of {name}; execute both again with the same galaxies"
                )
    rows = [
        {"method": step, "n_labels": n_labels} | _row(group, n_bootstrap=n_bootstrap, seed=seed)
        for (step, n_labels), group in groups.items()
    ]
    columns = [
        "method",
        "protocol",
        "n_labels",
        "n_train",
        "n_test",
        "seeds",
        "missing",
        "not_run",
        "seconds",
        "interval",
    ]
    columns += ["seed_rmse"] + [
        f"{name}{end}" for name in COMPARED for end in ("", "_std", "_low", "_high")
    ]
    table = (
        pd.DataFrame(rows)
        .reindex(columns=columns)
        .astype(dict.fromkeys(["n_labels", "n_train", "n_test"], "Int64"))
    )
    return table.drop(
        columns=[
            name for name in ("protocol", "not_run") if not any(piece.get(name) for piece in pieces)
        ]
    )


def sentences(table: pd.DataFrame) -> list[str]:
    """What a table of `compare` says about the RMSE, in plain words, for each label budget: who has
    the lowest, what is a tie, how far it is from baseline to floor, who breaks the tree, and what
    is missing.

    Two methods with two common seeds or more are compared by the 95 % t-interval of their
    difference, paired by seed; others by both their intervals, as if independent. No correction for
    the number of methods."""
    said, budgets = [], {}
    for row in table.to_dict("records"):
        budgets.setdefault(budget(row), []).append(row)
    for rows in budgets.values():
        opening = f"With {labels(budget(rows[0]))}"
        ranked = sorted((row for row in rows if row["seeds"]), key=lambda row: row["rmse"])
        said += _ranking(opening, ranked) if ranked else [f"{opening}: no result yet."]
        for row in ranked:
            if row["violations"] > 0:
                share = f"{100 * row['violations']:.1f} % of its test galaxies ({_seeds(row)})"
                said.append(f"{opening}, {row['method']} breaks the tree for {share}.")
        said += [f"{opening}, {sentence}" for row in rows for sentence in absent(row)]
    return said


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """A table of `compare` as text to look at: each number as `0.1303 [0.1285, 0.1321]`; no value
    as an en dash."""
    forms = {
        "rmse": ("RMSE", ".4f"),
        "mae": ("MAE", ".4f"),
        "r2": ("R²", ".3f"),
        "way": ("% of the way", ".1f"),
    }
    shown = []
    for row in table.to_dict("records"):
        text = head(row) | {
            title: with_interval(row, name, form) for name, (title, form) in forms.items()
        }
        text |= {
            "baseline RMSE": number(row["baseline"], ".4f"),
            "noise floor": number(row["floor"], ".4f"),
        }
        text["break the tree"] = number(row["violations"], ".1%")
        if not row["seeds"] and words(row, "not_run"):
            text["RMSE"] = f"not run: {row['not_run']}"
        shown.append(text | tail(row))
    return pd.DataFrame(shown)


def _title(piece: Mapping[str, Any]) -> str:
    return f"{piece['step']}, {labels(budget(piece))}, seed {piece['seed']}"


def _row(group: Sequence[Mapping[str, Any]], *, n_bootstrap: int, seed: int) -> dict[str, Any]:
    """A method's row of `compare` (without method and n_labels), from its pieces."""
    there = [piece for piece in group if piece["votes"] is not None]
    protocols = dict.fromkeys(piece["protocol"] for piece in group if piece.get("protocol"))
    row: dict[str, Any] = {"protocol": " / ".join(protocols) or None} | attendance(group, "votes")
    if not there:
        return row | {"interval": "", "seed_rmse": {}}
    results = [
        _overall(piece, n_bootstrap=n_bootstrap if len(there) == 1 else 0, seed=seed)
        for piece in there
    ]
    values = pd.DataFrame([result["value"] for result in results])  # (seed, of COMPARED)
    mean, std = values.mean(), values.std()
    low, high = results[0]["low"], results[0]["high"]
    if len(there) > 1:
        margin = float(student.ppf(0.975, len(there) - 1)) / math.sqrt(len(there)) * std
        low, high = mean - margin, mean + margin
    seconds = [piece["seconds"] for piece in there if piece.get("seconds") is not None]
    row |= {
        "n_train": min(len(_part(piece["votes"], "train", needed=False).ids) for piece in there),
        "n_test": min(len(_part(piece["votes"], "test").ids) for piece in there),
        "seconds": float(np.mean(seconds)) if seconds else math.nan,
        "interval": "t over seeds" if len(there) > 1 else "bootstrap over galaxies",
        "seed_rmse": {
            piece["seed"]: float(rmse) for piece, rmse in zip(there, values["rmse"], strict=True)
        },
    }
    for name, (least, most) in COMPARED.items():
        limits = {
            f"{name}_low": max(low[name], least),
            f"{name}_high": min(high[name], most),
        }  # NaN stays
        row |= {name: mean[name], f"{name}_std": std[name]} | limits
    return row


def _overall(piece: Mapping[str, Any], *, n_bootstrap: int, seed: int) -> pd.DataFrame:
    """value, low and high of each of `COMPARED` (index), of a piece's test part."""
    table = evaluate(piece["votes"], n_bootstrap=n_bootstrap, seed=seed)
    table = table[(table["scope"] == "overall") & (table["convention"] == "cumulative")].set_index(
        "metric"
    )
    rmse, broken = table.loc["rmse"], violations(piece["votes"])["share"].iloc[-1]
    more = {
        "way": [rmse["way"], rmse["way_low"], rmse["way_high"]],
        "violations": [broken, math.nan, math.nan],
    }
    more |= {name: [rmse[name], math.nan, math.nan] for name in ("baseline", "floor")}
    ends = ["value", "low", "high"]
    return pd.concat(
        [table.loc[:, ends], pd.DataFrame.from_dict(more, orient="index", columns=ends)]
    ).astype(float)


def _seeds(row: Mapping[str, Any]) -> str:
    return f"{row['seeds']} seed{'s' * (row['seeds'] != 1)}, {row['n_test']:,} test galaxies{' each' * (row['seeds'] != 1)}"


def _difference(best: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[float, float, str]:
    """By how much the RMSE of a method is above the best one's, the 95 % margin of this, and what
    it rests on."""
    common = [s for s in best["seed_rmse"] if s in row["seed_rmse"]]
    if len(common) > 1:
        differences = np.array([row["seed_rmse"][s] - best["seed_rmse"][s] for s in common])
        margin = (
            float(student.ppf(0.975, len(common) - 1))
            * differences.std(ddof=1)
            / math.sqrt(len(common))
        )
        return float(differences.mean()), float(margin), f"paired over {len(common)} seeds"
    margin = math.hypot(*((each["rmse_high"] - each["rmse_low"]) / 2 for each in (best, row)))
    return (
        row["rmse"] - best["rmse"],
        margin,
        f"from both intervals, {best['seeds']} and {row['seeds']} seeds",
    )


def _ranking(opening: str, ranked: Sequence[Mapping[str, Any]]) -> list[str]:
    """The sentences on the methods of one label budget, the lowest RMSE first."""
    best = ranked[0]
    interval = f"95 % interval {best['rmse_low']:.4f} to {best['rmse_high']:.4f}"
    way = f"{best['way']:.0f} % of the way from the mean-vote baseline ({best['baseline']:.4f}) to the volunteers' noise floor"
    way = f"{way} ({best['floor']:.4f})"
    if math.isnan(best["way"]):
        way = f"where the mean-vote baseline has {number(best['baseline'], '.4f')} and the noise floor is not known"
    verb = "has the lowest RMSE" if len(ranked) > 1 else "reaches an RMSE of"
    said = [
        f"{opening}, {best['method']} {verb}{',' * (len(ranked) > 1)} {best['rmse']:.4f} ({interval}, {_seeds(best)}), {way}."
    ]
    ties, behind = [], []
    for row in ranked[1:]:
        difference, margin, basis = _difference(best, row)
        limits = f"{difference - margin:+.4f} to {difference + margin:+.4f}"
        text = f"{row['method']} ({row['rmse']:.4f}, {_seeds(row)}; {difference:+.4f}, 95 % interval {limits}, {basis})"
        (behind if difference > margin else ties).append(text)
    if ties:
        said.append(f"{opening}, it is a tie of {best['method']} with {' and with '.join(ties)}.")
    if behind:
        said.append(
            f"{opening}, {best['method']} is ahead, by a resolved difference, of {' and of '.join(behind)}."
        )
    return said
