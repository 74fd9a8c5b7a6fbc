"""Recommend a method for each number of labels, with its uncertainty, cost and ties.

There is no verdict with fewer than `intervals.LEAST` test galaxies.

Takes tables of `comparison.compare` and `significance.pairs` of the same entries.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from galaxymorph.evaluation import phrases
from galaxymorph.evaluation.entries import BETWEEN, budget, is_control, labels, words
from galaxymorph.evaluation.phrases import extent, listed, number, say, too_few

OTHERS = ("frozen", "fine-tuned", "partly")  # protocols with a pre-trained encoder
BASELINE = "majority"  # never looks at the images
TAKEN = ["accuracy", "accuracy_low", "accuracy_high", "seeds", "n_test", "n_test_all"]
TAKEN += ["training_seconds", "still_improving"]
COLUMNS = ["n_labels", "method", "chosen_on", *TAKEN, "pretrained", "rival", "p_better", "ties"]
COLUMNS += ["behind", "better", "cheapest", "cheapest_accuracy", "cheapest_seconds"]
COLUMNS += ["resolvable_low", "resolvable_high", "n_pairs"]


def verdicts(table: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Recommend a method for each number of labels with enough test galaxies, in ascending order.

    The best choice has the highest mean accuracy on *validation* galaxies, so its test accuracy is
    unbiased by the choice. If any method lacks validation galaxies, test galaxies are used, and
    `chosen_on` says so. Controls (untrained encoders, raw pixels) and the majority baseline are
    never recommended or listed as alternatives.

    Columns: n_labels (integer, <NA> for all), method, chosen_on ("validation" or "test"), accuracy
    with its interval, seeds, n_test, n_test_all, training_seconds (NaN if unknown; excludes
    pre-training), still_improving (see `comparison.compare`), pretrained, and

    * rival, p_better: the alternative with the highest test accuracy, and the probability that the
      method beats it with a new seed and new galaxies;
    * ties, behind, better: alternatives that are statistically tied, significantly worse and
      significantly better (after Holm's correction), most accurate first, joined by " / ";
    * cheapest, cheapest_accuracy, cheapest_seconds: fastest to train of the method and its ties;
    * resolvable_low, resolvable_high, n_pairs: range over the pairs of the smallest detectable
      difference, and the number of pairs."""
    found = []
    for n_labels, rows in _budgets(table):
        ranked = [row for row in rows if row["seeds"] and _is_method(row)]
        own = pairs.n_labels.isna() if n_labels is None else pairs.n_labels == n_labels
        if ranked and not _too_few(rows):
            validated = not any(math.isnan(row["val_accuracy"]) for row in ranked)
            score = "val_accuracy" if validated else "accuracy"
            best = max(ranked, key=lambda row: (row[score], row["accuracy"]))
            row = {name: best.get(name) for name in ("method", *TAKEN)} | {"n_labels": n_labels}
            row["chosen_on"] = "validation" if validated else "test"
            row["pretrained"] = words(best, "protocol").startswith(OTHERS)
            found.append(row | _others(best, ranked, pairs.loc[own]))
    kinds = dict.fromkeys(["n_labels", "seeds", "n_test", "n_test_all", "n_pairs"], "Int64")
    return pd.DataFrame(found, columns=COLUMNS).astype(kinds | {"training_seconds": float})


def readable(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Format a table of `verdicts` for display."""
    rows = []
    for row in verdicts.to_dict("records"):
        cost = phrases.amount(row["training_seconds"])
        after = " after pre-training" * row["pretrained"]
        text = {"labels": labels(budget(row)).removesuffix(" labels"), "best choice": row["method"]}
        text["test accuracy"] = phrases.with_interval(row, "accuracy", ".3f")
        text["training"] = f"{cost} s{after}" if row["training_seconds"] > 0 else ""
        text["statistically tied"] = listed(_names(row, "ties"), 4)
        text["fastest of these"] = _cheapest(row)
        text["significantly worse"] = listed(_names(row, "behind"), 4)
        text["significantly better"] = listed(_names(row, "better"), 4)
        rows.append(text | {"detectable difference": _resolvable(row)})
    return pd.DataFrame(rows).replace("", "–")


def in_short(verdicts: pd.DataFrame) -> str:
    """Summarise the best choices and the number of their ties, one sentence per method."""
    choices = []
    records = verdicts.to_dict("records")
    for method, group in itertools.groupby(records, key=lambda row: row["method"]):
        rows = list(group)
        ends = (rows[0], rows[-1])
        ties = [len(_names(row, "ties")) for row in rows]
        choice: dict[str, Any] = {"method": method, "most": max(ties)}
        choice["labels"] = extent(*(labels(budget(row)) for row in ends)).replace(
            " labels to", " to"
        )
        choice["accuracy"] = extent(*(number(row["accuracy"], ".2f") for row in ends))
        choice["ties"] = extent(str(min(ties)), str(max(ties)))
        choice["better"] = listed(dict.fromkeys(n for row in rows for n in _names(row, "better")))
        choices.append(choice)
    return " ".join(say("in_short", choices=choices))


def sentences(verdicts: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """Describe `verdicts` in words for each number of labels.

    Takes from `table` what is missing or was skipped, and the accuracy of the majority baseline."""
    found = {budget(row): row for row in verdicts.to_dict("records")}
    budgets = [
        (n_labels, found.get(n_labels), _too_few(rows), [*filter(_is_method, rows)], rows)
        for n_labels, rows in _budgets(table)
    ]
    more = {"names": _names, "cheapest": _cheapest, "resolvable": _resolvable}
    return say("verdict", budgets=budgets, BASELINE=BASELINE, **more)


def refusals(table: pd.DataFrame) -> list[str]:
    """Say for which numbers of labels there are too few test galaxies for a verdict."""
    few = [(labels(n_labels), _too_few(rows)) for n_labels, rows in _budgets(table)]
    return [f"With {name}, {why}." for name, why in few if why]


# ---- the parts


def _too_few(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say that the methods among the rows have too few test galaxies, or return ""."""
    n = [int(row["n_test"]) for row in rows if row["seeds"] and _is_method(row)]
    return too_few(min(n)) if n else ""


def _budgets(table: pd.DataFrame) -> Iterator[tuple[int | None, list[dict[Any, Any]]]]:
    for _, part in table.groupby("n_labels", dropna=False):  # all labels last
        rows = part.to_dict("records")
        yield budget(rows[0]), rows


def _is_method(row: Mapping[str, Any]) -> bool:
    return row["method"] != BASELINE and not is_control(row)


def _others(
    best: Mapping[str, Any], ranked: Sequence[Mapping[str, Any]], pairs: pd.DataFrame
) -> dict[str, Any]:
    """Compare the best choice with the other methods, from the pairs with the same labels."""
    turned = {"a": pairs.b, "b": pairs.a, "difference": -pairs.difference}
    both = pd.concat([pairs, pairs.assign(**turned, p_better=1 - pairs.p_better)])
    against = both.loc[both.a == best["method"]].set_index("b").to_dict("index")
    others = [row for row in ranked if row["method"] in against]
    others.sort(key=lambda row: -row["accuracy"])
    kinds: dict[str, list[Mapping[str, Any]]] = {"ties": [], "behind": [], "better": []}
    for row in others:
        pair = against[row["method"]]
        ahead = "behind" if pair["difference"] > 0 else "better"
        kinds[ahead if pair["resolved"] else "ties"].append(row)
    found: dict[str, Any] = {"n_pairs": len(pairs)}
    found |= {k: BETWEEN.join(row["method"] for row in rows) for k, rows in kinds.items()}
    if others:
        found["rival"] = others[0]["method"]
        found["p_better"] = against[found["rival"]]["p_better"]
    timed = [row for row in (best, *kinds["ties"]) if row.get("training_seconds", math.nan) > 0]
    if len(timed) > 1:
        cheapest = min(timed, key=lambda row: row["training_seconds"])
        found |= {"cheapest": cheapest["method"], "cheapest_accuracy": cheapest["accuracy"]}
        found["cheapest_seconds"] = cheapest["training_seconds"]
    if len(pairs):
        found["resolvable_low"] = pairs.resolvable.min()
        found["resolvable_high"] = pairs.resolvable.max()
    return found


def _names(row: Mapping[str, Any], name: str) -> list[str]:
    return [each for each in words(row, name).split(BETWEEN) if each]


def _resolvable(row: Mapping[str, Any]) -> str:
    """Format the smallest detectable difference, a range if it depends on the pair."""
    found = extent(*(number(row[f"resolvable_{end}"], ".3f") for end in ("low", "high")))
    return f"{found} (by pair)" if " to " in found else found


def _cheapest(row: Mapping[str, Any]) -> str:
    if not words(row, "cheapest"):
        return ""
    seconds = f"{phrases.amount(row['cheapest_seconds'])} s of training"
    return f"{row['cheapest']} ({row['cheapest_accuracy']:.3f}, {seconds})"
