"""Did pre-training help? Each row of a comparison against its control: the same on an encoder that was never trained.

The control of the method `<step> <row>` is `<step> random_<row>`: `moco_frozen dnn` is held against `moco_frozen random_dnn`.
The control of any other method is what `against` names: a fine-tuned network is held against the same one from scratch.
Both had the same labelled galaxies and are tested on the same ones, so that their difference is known better than either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.stats import t as student

from galaxymorph import metrics
from galaxymorph.comparison import budget, labels

RANDOM = "random_"
COLUMNS = ("method", "n_labels", "accuracy", "control", "difference", "low", "high", "interval", "seeds", "missing", "n_test")


def differences(
    pieces: Sequence[Mapping[str, Any]],
    *,
    against: Mapping[str, str] | None = None,
    n_bootstrap: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Test accuracy of every method that has a control, less that of its control: one row per method and label budget.

    `pieces` as `comparison.compare` takes them (`runs.trained`); `against`: methods with the names of their controls. Columns:
    method, n_labels (integer, <NA> for all), accuracy and control (means over the seeds where both are there), difference,
    low, high, interval (what low and high are), seeds, missing (seeds where one of the two is not there), n_test (galaxies per
    seed; the fewest). NaN without a seed.

    low and high, 95 %, with two seeds or more: the t-interval of the mean of the differences, paired by seed. With one, or
    where all seeds differ by the same: the percentiles of a bootstrap of the test galaxies, both methods on the same draw.

    Raises `ValueError` for two pieces of a method with the same seed and labels, and for a method that was tested on other
    galaxies than its control.
    """
    groups: dict[tuple[str, int | None], dict[Any, Mapping[str, Any]]] = {}
    for piece in pieces:
        group = groups.setdefault((str(piece["step"]), budget(piece)), {})
        if piece.get("seed") in group:
            raise ValueError(f"{piece['step']}: seed {piece.get('seed')} is there twice with {labels(budget(piece))}")
        group[piece.get("seed")] = piece
    rows = []
    for (method, n_labels), group in groups.items():
        controls = groups.get(((against or {}).get(method, _control(method)), n_labels))
        if controls is not None:
            gains = [
                _gains(group[key], controls[key])
                for key in group
                if key in controls and group[key]["predictions"] is not None and controls[key]["predictions"] is not None
            ]
            row = {
                "method": method,
                "n_labels": n_labels,
                "seeds": len(gains),
                "missing": len({*group, *controls}) - len(gains),
            }
            rows.append(row | _difference(gains, n_bootstrap=n_bootstrap, seed=seed))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(["n_labels", "n_test"], "Int64"))


def sentences(
    pieces: Sequence[Mapping[str, Any]],
    *,
    against: Mapping[str, str] | None = None,
    n_bootstrap: int = 10_000,
    seed: int = 0,
) -> list[str]:
    """What `differences` says, a sentence for each method and label budget.

    Pre-training helped where the whole interval is above 0; it did not beat its random encoder where the difference is 0 or
    less; else the two cannot be told apart. No correction for the number of methods.
    """
    said = []
    for row in differences(pieces, against=against, n_bootstrap=n_bootstrap, seed=seed).to_dict("records"):
        named = (against or {}).get(row["method"])
        control, whose = named or "its random encoder", f" of {named}" if named else ""
        opening = f"{row['method']}, {labels(budget(row))}"
        lacking = f"; {row['missing']} of {row['seeds'] + row['missing']} seeds missing" if row["missing"] else ""
        if not row["seeds"]:
            said.append(f"{opening}: nothing can be said yet of pre-training, no seed has both it and {control}.")
            continue
        if row["low"] > 0:
            verdict = "pre-training helped"
        elif row["difference"] <= 0:
            verdict = f"pre-training did not beat {control}"
        else:
            verdict = f"pre-training cannot be told apart from {control}"
        tested = f"{row['seeds']} seeds, {row['n_test']:,} test galaxies each"
        if row["seeds"] == 1:
            tested = f"one seed, {row['n_test']:,} test galaxies"
        said.append(
            f"{opening}: {verdict}, {row['accuracy']:.3f} against {row['control']:.3f}{whose} "
            f"(difference {row['difference']:+.3f}, 95 % interval {row['low']:+.3f} to {row['high']:+.3f}, {tested}{lacking})."
        )
    return said


def _control(method: str) -> str:
    """`moco_frozen random_dnn` for `moco_frozen dnn`; settings that follow (`zoom=0.1`) stay."""
    step, _, row = method.partition(" ")
    return f"{step} {RANDOM}{row}"


def _right(piece: Mapping[str, Any]) -> pd.Series:
    """1 for each labelled test galaxy whose class is right, 0 for the others, by id."""
    table = piece["predictions"]
    wrong = set(metrics.mistakes(table).id)
    tested = table.loc[metrics.selected(table, "test"), "id"]
    return pd.Series([int(name not in wrong) for name in tested], index=list(tested))


def _gains(piece: Mapping[str, Any], control: Mapping[str, Any]) -> Int[ndarray, "galaxy 2"]:
    """Whether the method, and whether its control, is right about each test galaxy."""
    ours, theirs = _right(piece), _right(control)
    if set(ours.index) != set(theirs.index):
        raise ValueError(
            f"{piece['step']}, seed {piece.get('seed')}: tested on {len(ours):,} galaxies, of which "
            f"{len(set(ours.index) & set(theirs.index)):,} are among the {len(theirs):,} of {control['step']}; "
            "execute both again with the same galaxies"
        )
    return np.stack([ours.to_numpy(), theirs.loc[ours.index].to_numpy()], 1)


def _difference(gains: Sequence[Int[ndarray, "galaxy 2"]], *, n_bootstrap: int, seed: int) -> dict[str, Any]:
    if not gains:
        return {"interval": ""}
    scores: Float[ndarray, "seed 2"] = np.array([each.mean(0) for each in gains])
    each = scores[:, 0] - scores[:, 1]
    mean, n = float(each.mean()), len(each)
    spread = float(each.std(ddof=1)) if n > 1 else 0.0
    if spread > 1e-12:  # else there is none but for rounding
        margin = float(student.ppf(0.975, n - 1)) * spread / math.sqrt(n)
        low, high, interval = mean - margin, mean + margin, "t over seeds"
    else:
        rng = np.random.default_rng(seed)
        low, high = np.percentile(sum(_draws(pairs, n_bootstrap, rng) for pairs in gains) / n, [2.5, 97.5])
        interval = "bootstrap over galaxies"
    accuracy, control = scores.mean(0)
    found = {"accuracy": float(accuracy), "control": float(control), "difference": mean, "low": float(low), "high": float(high)}
    return found | {"interval": interval, "n_test": min(len(pairs) for pairs in gains)}


def _draws(pairs: Int[ndarray, "galaxy 2"], n_bootstrap: int, rng: np.random.Generator) -> Float[ndarray, " draw"]:
    """The difference in accuracy in each draw. It depends only on how often a draw holds each of the three kinds of galaxy:
    right by the method alone, right by the control alone, the others; these counts are multinomial."""
    n, gain = len(pairs), pairs[:, 0] - pairs[:, 1]
    won, lost = int((gain > 0).sum()), int((gain < 0).sum())
    counts = rng.multinomial(n, [won / n, lost / n, (n - won - lost) / n], n_bootstrap)
    return (counts[:, 0] - counts[:, 1]) / n
