"""The verdict: which method to take with which number of labels, how certain that is, what it
costs, and which methods are tied with it.

From a table of `comparison.compare` and one of `significance.pairs` of the same entries.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from galaxymorph.evaluation.entries import budget, is_control, labels, words
from galaxymorph.evaluation.phrases import absent, amount, interval, number, tested, with_interval

OTHERS = ("frozen", "fine-tuned", "partly")  # protocols of methods whose encoder was trained before
BETWEEN = " / "  # names of methods in one cell
BASELINE = "majority"  # the method that never looks at the images
MOST = 6  # methods that a sentence names
TAKEN = ["method", "accuracy", "accuracy_low", "accuracy_high", "seeds", "n_test"]
COLUMNS = ["n_labels", "method", "chosen_on", *TAKEN[1:], "training_seconds", "pretrained", "rival"]
COLUMNS += ["p_better", "ties", "behind", "better", "cheapest", "cheapest_accuracy"]
COLUMNS += ["cheapest_seconds", "resolvable_low", "resolvable_high", "n_pairs"]


def verdicts(table: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Choose the method to take for each number of labels, one row each, the fewest first.

    The method to take has the highest accuracy on *validation* galaxies, mean over seeds, so that
    its test accuracy does not flatter; where a table has no such galaxies it is the highest on test
    galaxies, and `chosen_on` says so. Controls (random encoders, pixels alone) and the baseline
    that never looks at the images are never taken, nor counted among the others.

    Columns: n_labels (integer, <NA> for all), method, chosen_on ("validation" or "test"), accuracy
    with its interval, seeds, n_test, training_seconds (NaN where unknown; of its own, see
    pretrained: whether an encoder was trained before that, which is not counted), rival (the most
    accurate of the others on test galaxies) and p_better (the probability that the method is ahead
    of it with another seed and other galaxies); ties, behind and better: other methods that are
    statistically tied with it, that it is ahead of, and that are ahead of it, by differences that
    are resolved after Holm's correction, the most accurate first, between " / "; cheapest,
    cheapest_accuracy, cheapest_seconds: among the method and its ties the one that trains fastest;
    resolvable_low, resolvable_high: the range, over all pairs, of the smallest difference that
    would be resolved; n_pairs."""
    found = []
    for n_labels, rows in _budgets(table):
        ranked = [row for row in rows if row["seeds"] and _is_method(row)]
        if ranked:
            validated = all(not math.isnan(row["val_accuracy"]) for row in ranked)
            score = "val_accuracy" if validated else "accuracy"
            best = max(ranked, key=lambda row: (row[score], row["accuracy"]))
            row = {"n_labels": n_labels, "chosen_on": "validation" if validated else "test"}
            row |= {name: best[name] for name in TAKEN}
            row["training_seconds"] = best.get("training_seconds")
            row["pretrained"] = words(best, "protocol").startswith(OTHERS)
            own = pairs.n_labels.isna() if n_labels is None else pairs.n_labels == n_labels
            found.append(row | _others(best, ranked, pairs.loc[own]))
    kinds = dict.fromkeys(["n_labels", "seeds", "n_test", "n_pairs"], "Int64")
    kinds |= {"training_seconds": float}
    return pd.DataFrame(found, columns=COLUMNS).astype(kinds)


def readable(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Return a table of `verdicts` to look at: labels, take, test accuracy, training, ..."""
    rows = []
    for row in verdicts.to_dict("records"):
        cost = f"{amount(row['training_seconds'])} s" + " after pre-training" * row["pretrained"]
        text = {"labels": labels(budget(row)).removesuffix(" labels"), "take": row["method"]}
        text["test accuracy"] = with_interval(row, "accuracy", ".3f")
        text["training"] = cost if row["training_seconds"] > 0 else ""
        text["statistically tied"] = _few(words(row, "ties"))
        text["the cheapest of these"] = _cheapest(row)
        text["behind, resolved"] = _few(words(row, "behind"))
        text["ahead, resolved"] = _few(words(row, "better"))
        rows.append(text | {"resolvable": _span(row)})
    return pd.DataFrame(rows).replace("", "–")


def in_short(verdicts: pd.DataFrame) -> str:
    """Say in one sentence what to take with which number of labels, and what is tied with it."""
    parts, records = [], verdicts.to_dict("records")
    for method, group in itertools.groupby(records, key=lambda row: row["method"]):
        rows = list(group)
        ends = dict.fromkeys(labels(budget(row)) for row in (rows[0], rows[-1]))
        where = " to ".join(ends).replace(" labels to", " to")
        scores = dict.fromkeys(number(row["accuracy"], ".3f") for row in (rows[0], rows[-1]))
        text = f"with {where} take {method}, test accuracy {' to '.join(scores)}"
        better = dict.fromkeys(name for row in rows for name in _names(words(row, "better")))
        if better:
            text += f", although {_few(BETWEEN.join(better))} did better on test galaxies"
        if any(words(row, "rival") for row in rows):
            ties = [len(_names(words(row, "ties"))) for row in rows]
            span = " to ".join(map(str, sorted({min(ties), max(ties)}))) if max(ties) else "no"
            are = "other is" if max(ties) == 1 else "others are"
            text += f"{', ' * (not better) or ' '}and {span} {are} statistically tied with it"
        parts.append(text)
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def sentences(verdicts: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """Say what `verdicts` are, a few sentences for each number of labels of the `table` they were
    made from; and what is missing, what was not run, and what the baseline reaches."""
    said, found = [], {budget(row): row for row in verdicts.to_dict("records")}
    for n_labels, rows in _budgets(table):
        opening = f"With {labels(n_labels)}"
        if n_labels in found:
            said += [f"{opening}, {text}" for text in _verdict(found[n_labels])]
        elif any(_is_method(row) for row in rows):
            said.append(f"{opening}: no result yet.")
        blind = [row["accuracy"] for row in rows if row["method"] == BASELINE and row["seeds"]]
        most = f"{opening}, naming the most common class every time would reach"
        said += [f"{most} {accuracy:.3f}." for accuracy in blind]
        said += [f"{opening}, {sentence}" for row in rows for sentence in absent(row)]
    return said


# ---- the parts


def _budgets(table: pd.DataFrame) -> Iterator[tuple[int | None, list[dict[Any, Any]]]]:
    for _, part in table.groupby("n_labels", dropna=False):  # all labels last
        rows = part.to_dict("records")
        yield budget(rows[0]), rows


def _is_method(row: Mapping[str, Any]) -> bool:
    return row["method"] != BASELINE and not is_control(row)


def _others(
    best: Mapping[str, Any], ranked: Sequence[Mapping[str, Any]], pairs: pd.DataFrame
) -> dict[str, Any]:
    """Return what the pairs with the same labels say of the other methods."""
    turned = {"a": pairs.b, "b": pairs.a, "difference": -pairs.difference}
    both = pd.concat([pairs, pairs.assign(**turned, p_better=1 - pairs.p_better)])
    against = both.loc[both.a == best["method"]].set_index("b").to_dict("index")
    others = [row for row in ranked if row["method"] in against]
    others.sort(key=lambda row: -row["accuracy"])
    kinds: dict[str, list[str]] = {"ties": [], "behind": [], "better": []}
    for name in (row["method"] for row in others):
        ahead = "behind" if against[name]["difference"] > 0 else "better"
        kinds[ahead if against[name]["resolved"] else "ties"].append(name)
    found: dict[str, Any] = {kind: BETWEEN.join(names) for kind, names in kinds.items()}
    if others:
        rival = others[0]["method"]
        found |= {"rival": rival, "p_better": against[rival]["p_better"]}
    tied = [best, *(row for row in others if row["method"] in kinds["ties"])]
    known = [row for row in tied if row.get("training_seconds", math.nan) > 0]
    if len(known) > 1:
        cheapest = min(known, key=lambda row: row["training_seconds"])
        found |= {"cheapest": cheapest["method"], "cheapest_accuracy": cheapest["accuracy"]}
        found["cheapest_seconds"] = cheapest["training_seconds"]
    span = {"resolvable_low": pairs.resolvable.min(), "resolvable_high": pairs.resolvable.max()}
    return found | (span if len(pairs) else {}) | {"n_pairs": len(pairs)}


def _verdict(row: Mapping[str, Any]) -> list[str]:
    """Return the sentences of one number of labels, without their opening."""
    method, seconds = row["method"], row["training_seconds"]
    limits = interval(row["accuracy_low"], row["accuracy_high"])
    cost = f", after {amount(seconds)} s of training" if seconds > 0 else ""
    cost += " (its pre-training not counted)" * bool(cost and row["pretrained"])
    where = "the test galaxies themselves, which flatters it"
    where = "validation galaxies" if row["chosen_on"] == "validation" else where
    said = [
        f"take {method}: its test accuracy is {row['accuracy']:.3f} ({limits}, {tested(row)})"
        f"{cost}. It was chosen on {where}."
    ]
    resolved = ", by a resolved difference"
    kinds = {"better": ("behind", resolved), "ties": ("statistically tied with", "")}
    for name, (what, how) in (kinds | {"behind": ("ahead of", resolved)}).items():
        if words(row, name):
            said.append(f"{method} is {what} {_few(row[name])}{how}.")
    if words(row, "cheapest") not in ("", method):
        said.append(f"the cheapest of those that are tied is {_cheapest(row)}.")
    if words(row, "rival"):
        said.append(
            f"with another seed and other galaxies {method} would be ahead of {row['rival']} with "
            f"a probability of {row['p_better']:.2f}."
        )
    if row["n_pairs"]:
        holm = f", after Holm's correction for {row['n_pairs']} pairs" * (row["n_pairs"] > 1)
        said.append(f"these galaxies resolve a difference from {_span(row)} on{holm}.")
    return said


def _names(text: str) -> list[str]:
    return [name for name in text.split(BETWEEN) if name]


def _few(text: str) -> str:
    """`a, b and c`; of many, the first ones and how many more."""
    names = _names(text)
    if len(names) > MOST:
        return f"{', '.join(names[:MOST])} and {len(names) - MOST} more"
    return " and ".join([", ".join(names[:-1]), *names[-1:]] if len(names) > 1 else names)


def _span(row: Mapping[str, Any]) -> str:
    ends = [number(row[f"resolvable_{end}"], ".3f") for end in ("low", "high")]
    return "" if "–" in ends else " to ".join(dict.fromkeys(ends))


def _cheapest(row: Mapping[str, Any]) -> str:
    if not words(row, "cheapest"):
        return ""
    seconds = f"{amount(row['cheapest_seconds'])} s of training"
    return f"{row['cheapest']} ({row['cheapest_accuracy']:.3f}, {seconds})"
