"""The answer in words: which method to take, at which number of labels, with what certainty, at
what cost, and what is a tie.

From a table of `comparison.compare` and one of `significance.pairs` of the same pieces.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from galaxymorph.evaluation.entries import budget, is_control, labels, words
from galaxymorph.evaluation.phrases import absent, number, with_interval

OTHERS = ("frozen", "fine-tuned", "partly")  # protocols of methods whose encoder was trained before
BETWEEN = " / "  # names of methods in one cell
MOST = 6  # methods that a sentence names
COLUMNS = [
    "n_labels",
    "method",
    "chosen_on",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "seeds",
    "n_test",
    "training_seconds",
]
COLUMNS += [
    "pretrained",
    "rival",
    "p_better",
    "ties",
    "behind",
    "better",
    "cheapest",
    "cheapest_accuracy",
    "cheapest_seconds",
]
COLUMNS += ["resolvable_low", "resolvable_high", "n_pairs"]


def verdicts(
    table: pd.DataFrame, pairs: pd.DataFrame, *, baseline: str = "majority"
) -> pd.DataFrame:
    """One row per number of labels, the fewest first, "all" last: which method to take, and how
    sure that is.

    The method to take has the highest accuracy on *validation* galaxies, mean over seeds, so that
    its test accuracy does not flatter; where a table has no such galaxies it is the highest on test
    galaxies, and `chosen_on` says so. Controls (random encoders, pixels alone) and the `baseline`
    are never taken, and are none of the others either.

    Columns: n_labels (integer, <NA> for all), method, chosen_on ("validation" or "test"), accuracy
    with its interval, seeds, n_test, training_seconds (NaN where unknown; of its own, see
    pretrained: whether an encoder was trained before that, which is not counted), rival (the most
    accurate of the others on test galaxies) and p_better (the probability that the method is ahead
    of it with another seed and other galaxies); ties, behind and better: other methods that cannot
    be told apart from it, that it is ahead of, and that are ahead of it, by differences that are
    resolved after Holm's correction, the most accurate first, between " / "; cheapest,
    cheapest_accuracy, cheapest_seconds: among the method and its ties the one that trains fastest;
    resolvable_low, resolvable_high: the range, over all pairs, of the smallest difference that
    would be resolved; n_pairs."""
    found = []
    for n_labels, rows in _budgets(table):
        ranked = [row for row in rows if row["seeds"] and _is_method(row, baseline)]
        if not ranked:
            continue
        chosen_on = (
            "validation" if all(not math.isnan(row["val_accuracy"]) for row in ranked) else "test"
        )
        score = "val_accuracy" if chosen_on == "validation" else "accuracy"
        best = max(ranked, key=lambda row: (row[score], row["accuracy"]))
        row = {name: best[name] for name in COLUMNS[3:9] if name in best} | {
            "n_labels": n_labels,
            "method": best["method"],
        }
        row |= {"chosen_on": chosen_on, "pretrained": _pretrained(best)}
        these = pairs.loc[pairs.n_labels.isna() if n_labels is None else pairs.n_labels == n_labels]
        found.append(row | _others(best, ranked, these))
    kinds = {"n_labels": "Int64", "seeds": "Int64", "n_test": "Int64", "n_pairs": "Int64"}
    return pd.DataFrame(found, columns=COLUMNS).astype(kinds)


def readable(verdicts: pd.DataFrame) -> pd.DataFrame:
    """A table of `verdicts` to look at: labels, take, test accuracy, cost, as good within the
    error, cheapest of these, ..."""
    rows = []
    for row in verdicts.to_dict("records"):
        n = budget(row)
        rows.append(
            {
                "labels": "all" if n is None else f"{n:,}",
                "take": row["method"],
                "test accuracy": with_interval(row, "accuracy", ".3f"),
                "training": _spent(row["training_seconds"], row["pretrained"]),
                "cannot be told apart": _few(words(row, "ties")) or "–",
                "the cheapest of these": _cheapest(row),
                "behind, resolved": _few(words(row, "behind")) or "–",
                "ahead, resolved": _few(words(row, "better")) or "–",
                "resolvable": _span(row) or "–",
            }
        )
    return pd.DataFrame(rows)


def in_short(verdicts: pd.DataFrame) -> str:
    """One sentence on all numbers of labels: what to take with which, and whether anything else is
    as good."""
    parts = []
    for method, group in itertools.groupby(
        verdicts.to_dict("records"), key=lambda row: row["method"]
    ):
        rows = list(group)
        where = (
            "" if len(rows) == 1 else f"{'all' if (n := budget(rows[0])) is None else f'{n:,}'} to "
        )
        scores = " to ".join(
            dict.fromkeys(number(row["accuracy"], ".3f") for row in (rows[0], rows[-1]))
        )
        texts = [f"with {where}{labels(budget(rows[-1]))} take {method}, test accuracy {scores}"]
        better = list(
            dict.fromkeys(
                name for row in rows for name in words(row, "better").split(BETWEEN) if name
            )
        )
        if better:
            texts.append(f"although {_few(BETWEEN.join(better))} did better on test galaxies")
        ties = [len(words(row, "ties").split(BETWEEN)) if words(row, "ties") else 0 for row in rows]
        if any(words(row, "rival") for row in rows):
            span = (
                " to ".join(dict.fromkeys(str(n) for n in (min(ties), max(ties))))
                if max(ties)
                else "no"
            )
            texts.append(f"and {span} other{'s' * (max(ties) != 1)} cannot be told apart from it")
        parts.append(" ".join([", ".join(texts[:2]), *texts[2:]]))
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def sentences(
    verdicts: pd.DataFrame, table: pd.DataFrame, *, baseline: str = "majority"
) -> list[str]:
    """What `verdicts` say, a few sentences for each number of labels of the `table` they were made
    from; and there what is missing, what was not run, and what answering without eyes reaches (the
    method `baseline`)."""
    said = []
    by_budget = {budget(row): row for row in verdicts.to_dict("records")}
    for n_labels, rows in _budgets(table):
        opening = f"With {labels(n_labels)}"
        if n_labels in by_budget:
            said += _verdict(opening, by_budget[n_labels])
        elif any(_is_method(row, baseline) for row in rows):
            said.append(f"{opening}: no result yet.")
        for row in rows:
            if row["method"] == baseline and row["seeds"]:
                said.append(
                    f"{opening}, naming the most common class every time would reach {row['accuracy']:.3f}."
                )
        said += [f"{opening}, {sentence}" for row in rows for sentence in absent(row)]
    return said


# ---- the parts


def _budgets(table: pd.DataFrame) -> list[tuple[int | None, list[dict[Any, Any]]]]:
    groups: dict[int | None, list[dict[Any, Any]]] = {}
    for row in table.to_dict("records"):
        groups.setdefault(budget(row), []).append(row)
    return sorted(groups.items(), key=lambda group: math.inf if group[0] is None else group[0])


def _is_method(row: Mapping[str, Any], baseline: str) -> bool:
    return row["method"] != baseline and not is_control(row)


def _pretrained(row: Mapping[str, Any]) -> bool:
    return words(row, "protocol").startswith(OTHERS)


def _others(
    best: Mapping[str, Any], ranked: Sequence[Mapping[str, Any]], pairs: pd.DataFrame
) -> dict[str, Any]:
    """What the pairs with the same labels say of the other methods."""
    against = {}
    for pair in pairs.to_dict("records"):
        if best["method"] in (pair["a"], pair["b"]):
            first = pair["a"] == best["method"]
            against[pair["b"] if first else pair["a"]] = (
                pair["resolved"],
                pair["difference"] if first else -pair["difference"],
                pair["p_better"] if first else 1 - pair["p_better"],
            )
    others = [
        row for row in sorted(ranked, key=lambda row: -row["accuracy"]) if row["method"] in against
    ]
    kinds: dict[str, list[str]] = {"ties": [], "behind": [], "better": []}
    for row in others:
        resolved, difference, _ = against[row["method"]]
        kinds["ties" if not resolved else "behind" if difference > 0 else "better"].append(
            row["method"]
        )
    known = [row for row in (best, *others) if row["method"] in (best["method"], *kinds["ties"])]
    known = [row for row in known if row.get("training_seconds", math.nan) > 0]
    cheapest = min(known, key=lambda row: row["training_seconds"]) if len(known) > 1 else None
    found: dict[str, Any] = {name: BETWEEN.join(names) for name, names in kinds.items()}
    if others:
        found |= {"rival": others[0]["method"], "p_better": against[others[0]["method"]][2]}
    if cheapest:
        found |= {"cheapest": cheapest["method"], "cheapest_accuracy": cheapest["accuracy"]}
        found |= {"cheapest_seconds": cheapest["training_seconds"]}
    if len(pairs):
        found |= {
            "resolvable_low": pairs.resolvable.min(),
            "resolvable_high": pairs.resolvable.max(),
        }
    return found | {"n_pairs": len(pairs)}


def _verdict(opening: str, row: Mapping[str, Any]) -> list[str]:
    """The sentences of one number of labels."""
    tested = f"{row['seeds']} seeds" if row["seeds"] > 1 else "one seed"
    tested += f", {row['n_test']:,} test galaxies{' each' * (row['seeds'] > 1)}"
    interval = f"95 % interval {row['accuracy_low']:.3f} to {row['accuracy_high']:.3f}"
    where = (
        "on validation galaxies"
        if row["chosen_on"] == "validation"
        else "on the test galaxies themselves, which flatters it"
    )
    cost = f", after {_seconds(row['training_seconds'])} of training" * bool(
        row["training_seconds"] > 0
    )
    cost += " (its pre-training not counted)" * bool(cost and row["pretrained"])
    said = [
        f"{opening}, take {row['method']}: its test accuracy is {row['accuracy']:.3f} ({interval}, {tested}){cost}. "
        f"It was chosen {where}."
    ]
    for name, what in (
        ("better", "behind"),
        ("ties", "not to be told apart from"),
        ("behind", "ahead of"),
    ):
        others = words(row, name)
        if others:
            sure = "" if name == "ties" else ", by a resolved difference"
            said.append(f"{opening}, {row['method']} is {what} {_few(others)}{sure}.")
    if words(row, "cheapest") and row["cheapest"] != row["method"]:
        said.append(
            f"{opening}, the cheapest of those that cannot be told apart is {_cheapest(row)}."
        )
    if words(row, "rival"):
        said.append(
            f"{opening}, with another seed and other galaxies {row['method']} would be ahead of {row['rival']} with a "
            f"probability of {row['p_better']:.2f}."
        )
    if row["n_pairs"]:
        holm = f", after Holm's correction for {row['n_pairs']} pairs" * (row["n_pairs"] > 1)
        said.append(f"{opening}, these galaxies resolve a difference from {_span(row)} on{holm}.")
    return said


def _few(names: str) -> str:
    """`a, b and c`; of many, the first ones and how many more."""
    each = [name for name in names.split(BETWEEN) if name]
    if len(each) > MOST:
        return f"{', '.join(each[:MOST])} and {len(each) - MOST} more"
    return " and ".join([", ".join(each[:-1]), each[-1]] if len(each) > 1 else each)


def _span(row: Mapping[str, Any]) -> str:
    ends = [number(row[f"resolvable_{end}"], ".3f") for end in ("low", "high")]
    return "" if "–" in ends else " to ".join(dict.fromkeys(ends))


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 9.95 else f"{value:.2g} s"


def _spent(seconds: Any, pretrained: bool) -> str:
    if bool(pd.isna(seconds)):
        return "–"
    return f"{_seconds(seconds)}{' after pre-training' * bool(pretrained)}"


def _cheapest(row: Mapping[str, Any]) -> str:
    if not words(row, "cheapest"):
        return "–"
    return f"{row['cheapest']} ({row['cheapest_accuracy']:.3f}, {_seconds(row['cheapest_seconds'])} of training)"
