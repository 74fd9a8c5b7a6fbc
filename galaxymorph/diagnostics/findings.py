"""Findings of the audit, and how they are reported."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from galaxymorph.text import unknown

# Every check, and what to do about a leak.
CHECKS = {
    "ids": "remove them from one of the splits",
    "duplicates": "keep one galaxy of each group, or keep the group in one split",
    "blank frames": "remove them, or leave them out with on_bad: skip",
    "class balance": "stratify the splits by class",
    "class sizes": "add galaxies of the class, or merge classes",
    "normalisation": "measure mean and std on training galaxies only, or use fixed values",
    "labels seen": "use a model that was trained on the same split",
    "galaxies seen": "call the result transductive, or train without the test galaxies",
    "rows": "write each labelled galaxy once, under its id in the data set",
    "labels": "write ids, labels and probabilities from the same rows",
    "splits": "write the split of the data set used in training",
    "order": "write ids, labels and probabilities from the same rows, without shuffling in between",
    "batches": "call eval() on the network before predicting",
}
Severity = Literal["passed", "warning", "leak"]
SEVERITIES: tuple[Severity, ...] = ("passed", "warning", "leak")


@dataclass(frozen=True)
class Finding:
    """Result of one check: a leak invalidates results, a warning must be reported with them."""

    check: str  # one of CHECKS
    severity: Severity
    message: str
    ids: tuple[str, ...] = ()
    n: int = 0  # how many were compared


class Leak(ValueError):
    """A check found a leak that was not allowed."""


def check(findings: Iterable[Finding], *, allow: Sequence[str] = ()) -> None:
    """Raise `Leak` with all leaks not in `allow`; `ValueError` if that has an unknown name."""
    for name in allow:
        if name not in CHECKS:
            raise ValueError(f"allow: {unknown('check', name, CHECKS)}")
    leaks = [each for each in findings if each.severity == "leak" and each.check not in allow]
    if leaks:
        lines = [f"{one.check}: {one.message}. What to do: {CHECKS[one.check]}" for one in leaks]
        names = sorted({each.check for each in leaks})
        raise Leak("\n".join([*lines, f"To continue anyway, allow: {names}"]))


def summary(findings: Iterable[Finding]) -> pd.DataFrame:
    """Tabulate findings: check, result, n (compared), galaxies (number named), what (was found)."""
    rows = [(each.check, each.severity, each.n, len(each.ids), each.message) for each in findings]
    return pd.DataFrame(rows, columns=["check", "result", "n", "galaxies", "what"])


def overview(found: Mapping[str, Sequence[Finding]]) -> pd.DataFrame:
    """Summarise each check over everything it was run on (the names in `found`).

    Columns: `check`, `result` (the worst), `of` (how many it was run on), `warnings` and `leaks`
    (how many), `what` (the first of the worst messages, with its name)."""
    rows = []
    for name in CHECKS:
        pairs = ((whose, each) for whose, several in found.items() for each in several)
        made = [pair for pair in pairs if pair[1].check == name]
        if made:
            severities = [SEVERITIES.index(each.severity) for _, each in made]
            whose, worst = made[severities.index(max(severities))]
            what = f"{whose}: {worst.message}" if len(made) > 1 else worst.message
            n = (len(made), severities.count(1), severities.count(2))
            rows.append((name, worst.severity, *n, what))
    return pd.DataFrame(rows, columns=["check", "result", "of", "warnings", "leaks", "what"])


def sentences(found: Mapping[str, Sequence[Finding]]) -> list[str]:
    """Put `overview` into words: how many checks passed, then each that did not, leaks first."""
    table = overview(found)
    made, passed = table.of.sum(), (table.of - table.warnings - table.leaks).sum()
    share = f"all {made:,} checks" if passed == made else f"{passed:,} of {made:,} checks"
    lines = [f"Leak audit: {share} passed ({len(found):,} data sets, models and prediction files)."]
    bad = table.query("result != 'passed'").sort_values(by="leaks", ascending=False, kind="stable")
    for row in bad.to_dict("records"):
        share = f", {row['leaks'] + row['warnings']} of {row['of']}" if row["of"] > 1 else ""
        lines.append(f"{row['check']} ({row['result']}{share}): {row['what']}.")
    return lines
