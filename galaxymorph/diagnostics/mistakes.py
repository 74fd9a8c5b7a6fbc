"""What each published mistake was, and tables and sentences of those that were made again
(`published_mistakes`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from galaxymorph.diagnostics.findings import Finding
from galaxymorph.evaluation.intervals import wilson


class Mistake(NamedTuple):
    """A mistake that was published: `direction` is the sign that reported less honest should have
    (0: either)."""

    name: str
    published_in: str
    measure: str
    direction: int
    what: str
    prevented: str = ""  # where no check can find it afterwards: why it cannot happen here


FIVE, DNN = "Galaxy classification, five CNNs", "MoCo + DNN"
MISTAKES = {
    "best_epoch": Mistake(
        *("best epoch chosen on test galaxies", "ResNet50", "accuracy", 1),
        "The largest test accuracy of all epochs, against that of the epoch with the smallest "
        "validation loss; one training.",
        "no check; train.fit is not given the test galaxies",
    ),
    "training_mode": Mistake(
        *("features taken in training mode", DNN, "accuracy", -1),
        "BatchNorm normalises each galaxy by itself, as they come one by one, against eval mode; a "
        "linear probe on the same encoder.",
    ),
    "leak": Mistake(
        *("test galaxies in the training set", FIVE, "accuracy", 1),
        "As many training galaxies, but some of them are test galaxies, against a clean split; the "
        "same test galaxies.",
    ),
    "shuffled_predictions": Mistake(
        *("predictions in shuffled order", FIVE, "macro F1", -1),
        "Predictions in another order than the labels that they are scored against; the accuracy "
        "of the same network, scored batch by batch, does not know.",
    ),
    "resampled_validation": Mistake(
        *("validation redrawn on every resume", "Galaxy classifier, vote fractions"),
        *("accuracy", 1),
        "What the last validation galaxies say, of which many were trained on before the last "
        "resume, against what the test galaxies say of the same network.",
    ),
    "one_view": Mistake(
        *("one of two views not augmented", DNN, "accuracy", -1),
        "MoCo whose queries are the galaxies as they are and only the keys are views, against "
        "views for both; a linear probe on either.",
        "no check; moco.MoCo draws both views itself",
    ),
    "other_preprocessing": Mistake(
        *("preprocessing of another network", FIVE, "accuracy", -1),
        "The same network predicts images that are normalised in another way than those that it "
        "was trained on.",
    ),
    "sorted_validation": Mistake(
        *("validation galaxies of one class", FIVE, "accuracy", 0),
        "Validation is the first part of a table sorted by class, so that its accuracy is the "
        "recall of the first class, against the test accuracy of the same network.",
    ),
}


class Replay(NamedTuple):
    """A mistake that was made once. `n`: test galaxies that the honest number is of. `beside`:
    further numbers, by name."""

    mistake: str  # one of MISTAKES
    reported: float
    honest: float
    n: int
    finding: Finding | None  # what the audit says to it; None where no check is meant for it
    beside: Mapping[str, float]


def by_seed(replays: Sequence[Replay], seeds: Sequence[int]) -> pd.DataFrame:
    """List the replays, a row each: mistake, seed, measure, reported, honest, difference and n.
    `replays`: of each mistake one for each of the `seeds`, in their order. Raises `ValueError`
    where there are more or fewer."""
    rows = []
    for name, made in _by_mistake(replays).items():
        if len(made) != len(seeds):
            raise ValueError(
                f"{name}: {len(made)} replays for {len(seeds)} seeds; make each mistake once for "
                "every seed"
            )
        row = {"mistake": MISTAKES[name].name, "seed": seeds, "measure": MISTAKES[name].measure}
        rows.append(pd.DataFrame(row | _numbers(made)))
    return pd.concat(rows, ignore_index=True)


def table(replays: Sequence[Replay]) -> pd.DataFrame:
    """Gather each mistake, the one that was worth the most first: mistake, published_in, measure,
    reported, honest and difference (means over seeds), low and high (the smallest and the largest
    difference), n, seeds, found_by (the check of the audit), beside (further numbers, means over
    seeds) and what. `replays`: one of each mistake for each seed."""
    rows = []
    for name, made in _by_mistake(replays).items():
        mistake, each = MISTAKES[name], pd.DataFrame(_numbers(made))
        beside = pd.DataFrame([replay.beside for replay in made]).mean()
        row: dict[str, Any] = dict(zip(("mistake", *Mistake._fields[1:3]), mistake, strict=False))
        row |= each[["reported", "honest", "difference"]].mean().to_dict()
        row |= {"low": each.difference.min(), "high": each.difference.max()}
        row |= {"n": each.n.min(), "seeds": len(made), "found_by": _found_by(made)}
        text = "; ".join(f"{key} {value:.3g}" for key, value in beside.items())
        rows.append(row | {"beside": text, "what": mistake.what})
    return pd.DataFrame(rows).sort_values(
        "difference", key=abs, ascending=False, kind="stable", ignore_index=True
    )


def sentences(table: pd.DataFrame) -> list[str]:
    """Say of each mistake in a `table` what it reports, what is right, and whether that was to be
    expected."""
    said = []
    for row in table.to_dict("records"):
        tested = f"one seed, {row['n']:,} test galaxies"
        if row["seeds"] > 1:
            extremes = f"{row['low']:+.3f} to {row['high']:+.3f} over {row['seeds']} seeds"
            tested = f"{extremes}, {row['n']:,} test galaxies each"
        said.append(
            f"{row['mistake'][0].upper()}{row['mistake'][1:]} ({row['published_in']}): reports "
            f"{row['measure']} {row['reported']:.3f} where the honest one is {row['honest']:.3f}, "
            f"{row['difference']:+.3f} ({tested}): {_verdict(row)}. Found by: {row['found_by']}."
            + (f" Beside it: {row['beside']}." if row["beside"] else "")
        )
    return said


def _by_mistake(replays: Sequence[Replay]) -> dict[str, list[Replay]]:
    names = dict.fromkeys(each.mistake for each in replays)
    return {name: [each for each in replays if each.mistake == name] for name in names}


def _numbers(made: Sequence[Replay]) -> dict[str, list[float]]:
    return {
        "reported": [each.reported for each in made],
        "honest": [each.honest for each in made],
        "difference": [each.reported - each.honest for each in made],
        "n": [each.n for each in made],
    }


def _verdict(row: Mapping[str, Any]) -> str:
    (direction,) = (each.direction for each in MISTAKES.values() if each.name == row["mistake"])
    if row["low"] == row["high"] == 0:
        return "it made no difference"
    if row["low"] <= 0 <= row["high"]:
        return "the seeds do not agree that it made a difference"
    text = "too good" if row["difference"] > 0 else "too low"
    if direction * row["difference"] < 0:
        text += ", the other way than expected"
    low, high = wilson(round(row["honest"] * row["n"]), int(row["n"]))
    if row["measure"] == "accuracy" and low <= row["reported"] <= high:
        text += (
            ", though within the 95 % interval of the honest number for so many galaxies "
            f"({low:.3f} to {high:.3f})"
        )
    return text


def _found_by(made: Sequence[Replay]) -> str:
    """The check that noticed, and how often where not always."""
    findings = [each.finding for each in made if each.finding is not None]
    if not findings:
        return MISTAKES[made[0].mistake].prevented
    noticed = sum(finding.severity != "passed" for finding in findings)
    often = f" in {noticed} of {len(made)} seeds" if noticed else ", which missed it"
    return f"audit: {findings[0].check}{'' if noticed == len(made) else often}"
