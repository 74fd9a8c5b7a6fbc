"""Did pre-training help? Each row of a comparison against its control: the same on an encoder that
was never trained.

The control of the method `<step> <row>` is `<step> random_<row>`: `moco_frozen dnn` is held against
`moco_frozen random_dnn`. The control of any other method is what `against` names: a fine-tuned
network is held against the same one from scratch. Both had the same labelled galaxies and are
tested on the same ones, so that their difference is known better than either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from galaxymorph.evaluation import significance
from galaxymorph.evaluation.entries import budget, labels

RANDOM = "random_"
_INTERVALS = ("", "bootstrap over galaxies", "t over seeds")  # with so many seeds, or more
COLUMNS = (
    "method",
    "n_labels",
    "accuracy",
    "control",
    "difference",
    "low",
    "high",
    "interval",
    "seeds",
    "missing",
    "n_test",
)


def differences(
    pieces: Sequence[Mapping[str, Any]],
    *,
    against: Mapping[str, str] | None = None,
    n_bootstrap: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Test accuracy of every method that has a control, less that of its control: one row per
    method and label budget.

    `pieces` as `comparison.compare` takes them (`results.trained`); `against`: methods with the
    names of their controls. Columns: method, n_labels (integer, <NA> for all), accuracy and control
    (means over the seeds where both are there), difference, low, high, interval (what low and high
    are), seeds, missing (seeds where one of the two is not there), n_test (galaxies per seed; the
    fewest). NaN without a seed.

    low and high, 95 %, are those of `significance.difference`: with two seeds or more a t-interval,
    paired by seed, that knows of the test galaxies that seeds have in common; with one a bootstrap
    of the test galaxies, both methods on the same draw.

    Raises `ValueError` for two pieces of a method with the same seed and labels, and for a method
    that was tested on other galaxies than its control."""
    groups: dict[tuple[str, int | None], dict[Any, Mapping[str, Any]]] = {}
    for piece in pieces:
        group = groups.setdefault((str(piece["step"]), budget(piece)), {})
        if piece.get("seed") in group:
            raise ValueError(
                f"{piece['step']}: seed {piece.get('seed')} is there twice with {labels(budget(piece))}"
            )
        group[piece.get("seed")] = piece
    rows = []
    for (method, n_labels), group in groups.items():
        controls = groups.get(((against or {}).get(method, _control(method)), n_labels))
        if controls is not None:
            both = [
                (group[key], controls[key])
                for key in group
                if key in controls
                and group[key]["predictions"] is not None
                and controls[key]["predictions"] is not None
            ]
            row = {
                "method": method,
                "n_labels": n_labels,
                "seeds": 0,
                "missing": len({*group, *controls}) - len(both),
            }
            if both:
                ours, theirs = zip(*both, strict=True)
                row |= significance.difference(ours, theirs, n_bootstrap=n_bootstrap, seed=seed)
                row |= {"accuracy": row["accuracy_a"], "control": row["accuracy_b"]}
            rows.append(row | {"interval": _INTERVALS[min(row["seeds"], 2)]})
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(
        dict.fromkeys(["n_labels", "n_test"], "Int64")
    )


def sentences(
    pieces: Sequence[Mapping[str, Any]],
    *,
    against: Mapping[str, str] | None = None,
    n_bootstrap: int = 10_000,
    seed: int = 0,
) -> list[str]:
    """What `differences` says, a sentence for each method and label budget.

    Pre-training helped where the whole interval is above 0; it did not beat its random encoder
    where the difference is 0 or less; else the two cannot be told apart. No correction for the
    number of methods."""
    said = []
    for row in differences(pieces, against=against, n_bootstrap=n_bootstrap, seed=seed).to_dict(
        "records"
    ):
        named = (against or {}).get(row["method"])
        control, whose = named or "its random encoder", f" of {named}" if named else ""
        opening = f"{row['method']}, {labels(budget(row))}"
        lacking = (
            f"; {row['missing']} of {row['seeds'] + row['missing']} seeds missing"
            if row["missing"]
            else ""
        )
        if not row["seeds"]:
            said.append(
                f"{opening}: nothing can be said yet of pre-training, no seed has both it and {control}."
            )
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
