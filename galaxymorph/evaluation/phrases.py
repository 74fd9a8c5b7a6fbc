"""Phrases shared by tables and sentences; whole sentences are in `templates/*.txt`."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from galaxymorph.evaluation.entries import budget, labels, words
from galaxymorph.evaluation.intervals import LEAST
from galaxymorph.text import listing


def say(template: str, **values: Any) -> list[str]:
    """Render `templates/<template>.txt` into a list of sentences.

    Blank lines separate sentences; other white space is collapsed. Templates can call the functions
    of this module."""
    loader = PackageLoader("galaxymorph.evaluation", "templates")
    templates = Environment(
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates.globals |= globals() | {"labels": labels}
    text = templates.get_template(f"{template}.txt").render(values)
    lines = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text)]
    return [re.sub(r" ([,.;:)])", r"\1", line) for line in lines if line]


def number(value: Any, form: str) -> str:
    """Format a number, or return an en dash if it is missing."""
    return "–" if bool(pd.isna(value)) else format(value, form)


def with_interval(row: Mapping[str, Any], name: str, form: str) -> str:
    """Format <name>, <name>_low and <name>_high as `0.903 [0.885, 0.921]`."""
    limits = [number(row[f"{name}_{end}"], form) for end in ("low", "high")]
    return number(row[name], form) + ("" if "–" in limits else f" [{', '.join(limits)}]")


def head(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the first cells of a readable row: protocol, method, labels and seeds."""
    text = {"protocol": words(row, "protocol")} if "protocol" in row else {}
    text["method"] = words(row, "title") or words(row, "method")
    text["labels"] = "all" if budget(row) is None else f"{budget(row):,}"
    missing = f" ({row['missing']} missing)" if row["missing"] else ""
    return text | {"seeds": f"{row['seeds']}{missing}"}


def costs(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the costs of a readable row; tables of early versions lack them."""
    memory = number(row.get("peak_memory_mib"), ",.0f")
    gpu = " (GPU)" * (words(row, "peak_memory_of") == "GPU tensors" and memory != "–")
    text = {"parameters": si(row.get("parameters")), "FLOPs per galaxy": si(row.get("flops"))}
    text["training seconds"] = amount(row.get("training_seconds"))
    text["images/s"] = amount(row.get("images_per_second"))
    return text | {"peak memory (MiB)": memory + gpu}


def tail(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the last cells of a readable row: galaxies, kind of interval, seconds of the step."""
    text = {"train galaxies": number(row["n_train"], ",.0f"), "test galaxies": n_tested(row)}
    return text | {"interval": words(row, "interval"), "seconds": amount(row["seconds"])}


def absent(row: Mapping[str, Any]) -> list[str]:
    """Describe missing or skipped seeds of a row, in sentences that begin with the method."""
    found = []
    if row["missing"]:
        of = row["missing"] + row["seeds"]
        found.append(f"{row['method']} lacks results for {row['missing']} of {of} seeds.")
    if words(row, "not_run"):
        some = " for some seeds" * (row["seeds"] > 0)
        found.append(f"{row['method']} was not run{some}: {row['not_run']}.")
    return found


def tested(row: Mapping[str, Any]) -> str:
    """Return `3 seeds, 161 test galaxies each`; of folds, `5 seeds, 809 test galaxies in all`."""
    n, _, of = n_tested(row).partition(" ")
    of = of or "each" * bool(row["seeds"] != 1)
    return f"{seeds_text(row['seeds'])}, {n} test galaxies {of}".rstrip()


def n_tested(row: Mapping[str, Any]) -> str:
    """Return `161`, the test galaxies of a seed, or of disjoint folds, `809 in all`."""
    n, seeds, every = row["n_test"], row["seeds"], row.get("n_test_all")
    if seeds > 1 and not bool(pd.isna(every)) and every >= seeds * n:
        return f"{every:,.0f} in all"
    return number(n, ",.0f")


def too_few(n: Any) -> str:
    """Return `5 test galaxies are too few for a verdict (at least 12)`, "" if they are enough."""
    are = "galaxy is" if n == 1 else "galaxies are"
    return "" if n >= LEAST else f"{n} test {are} too few for a verdict (at least {LEAST})"


def interval(low: float, high: float, form: str = ".3f") -> str:
    """Return `95 % interval 0.801 to 0.843`."""
    if math.isnan(low):
        return "interval unknown"
    return f"95 % interval {low:{form}} to {high:{form}}"


def amount(value: Any) -> str:
    """Format a cost with a sensible number of digits: `3.2`, `41`, `1,204`."""
    return number(value, ".2g" if not bool(pd.isna(value)) and value < 9.95 else ",.0f")


def si(value: Any) -> str:
    """Format with three digits and an SI prefix: `11.2 M`."""
    if bool(pd.isna(value)):
        return "–"
    power = 0
    while abs(value) >= 999.5 and power < 4:
        value, power = value / 1000, power + 1
    return f"{value:.3g}" + ("", " k", " M", " G", " T")[power]


def chance(p: float) -> str:
    """Return `86 %`; at least 1 % and at most 99 %, as p is estimated."""
    return f"{min(max(100 * p, 1), 99):.0f} %"


def p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def seeds_text(n: Any) -> str:
    return "one seed" if n == 1 else f"{n} seeds"


def difference(value: float, low: float, high: float) -> str:
    """Return `difference +0.020, 95 % interval -0.003 to +0.043`."""
    return f"difference {value:+.3f}, {interval(low, high, '+.3f')}"


def after_holm(n: int, tests: str) -> str:
    """Return `after Holm's correction for 15 pairs`."""
    return f"after Holm's correction for {n} {tests}"


def extent(*texts: str) -> str:
    """Return `0.750 to 0.900`; a single text if all are equal, "" if one is an en dash."""
    return "" if "–" in texts else " to ".join(dict.fromkeys(texts))


def listed(names: Iterable[str], most: int = 6) -> str:
    """Return `a, b and c`; of more than `most` names, the first and the number of the rest."""
    names = list(names)
    if not 1 < len(names) <= most:
        return listing(names, most)
    return f"{', '.join(names[:-1])} and {names[-1]}"
