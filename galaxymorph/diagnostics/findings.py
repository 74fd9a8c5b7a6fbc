"""What the checks of the audit found, and what becomes of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from galaxymorph.text import unknown

# Every check, and what to do where it finds a leak.
CHECKS = {
    "ids": "leave them out of one of the splits",
    "duplicates": "leave all but one of each group out, or keep a group in one split",
    "class balance": "draw the splits stratified by class",
    "class sizes": "add galaxies of the class, or merge classes",
    "normalisation": "measure mean and std on training galaxies alone, or use fixed ones",
    "labels seen": "take a model that was trained on the same split",
    "galaxies seen": "call the result transductive, or train without the test galaxies",
    "rows": "write each labelled galaxy once, under the id that the data set has for it",
    "labels": "write ids, labels and probabilities from the same rows",
    "splits": "write the split of the data set that was trained on",
    "order": "write ids, labels and probabilities from the same rows, without shuffling in between",
    "batches": "call eval() on the network before it predicts",
}
Severity = Literal["passed", "warning", "leak"]
SEVERITIES: tuple[Severity, ...] = ("passed", "warning", "leak")


@dataclass(frozen=True)
class Finding:
    """What one check said. A leak makes a result worth nothing; a warning belongs beside it. `n` is
    how many were compared."""

    check: str  # one of CHECKS
    severity: Severity
    message: str
    ids: tuple[str, ...] = ()
    n: int = 0


class Leak(ValueError):
    """A check found a leak that was not allowed."""


def check(findings: Iterable[Finding], *, allow: Sequence[str] = ()) -> None:
    """Raise `Leak` with all leaks among the findings, the first galaxies of each, and what to do;
    not for checks in `allow`. Raises `ValueError` for an unknown name in `allow`."""
    for name in allow:
        if name not in CHECKS:
            raise ValueError(f"allow: {unknown('check', name, CHECKS)}")
    leaks = [each for each in findings if each.severity == "leak" and each.check not in allow]
    if leaks:
        lines = [f"{one.check}: {one.message}. What to do: {CHECKS[one.check]}" for one in leaks]
        names = sorted({each.check for each in leaks})
        raise Leak("\n".join([*lines, f"To go on all the same, allow: {names}"]))


def summary(findings: Iterable[Finding]) -> pd.DataFrame:
    """List the checks that were made: `check`, `result` (passed, warning, leak), `n` compared,
    `galaxies` named, `what`."""
    rows = [(each.check, each.severity, each.n, len(each.ids), each.message) for each in findings]
    return pd.DataFrame(rows, columns=["check", "result", "n", "galaxies", "what"])


def overview(found: Mapping[str, Sequence[Finding]]) -> pd.DataFrame:
    """Gather each check over all that it was made of (the names in `found`): `check`, `result` (the
    worst), `of` (how many it was made of), `warnings` and `leaks` (of how many), `what` (the
    message of the first of the worst, and whose it is)."""
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
    """Put `overview` into words: how many checks passed, and a sentence for each that did not, the
    leaks first."""
    table = overview(found)
    made, passed = table.of.sum(), (table.of - table.warnings - table.leaks).sum()
    share = f"all {made:,} checks" if passed == made else f"{passed:,} of {made:,} checks"
    said = [f"Leak audit: {share} passed ({len(found):,} data sets, models and prediction files)."]
    bad = table.query("result != 'passed'").sort_values(by="leaks", ascending=False, kind="stable")
    for row in bad.to_dict("records"):
        share = f", {row['leaks'] + row['warnings']} of {row['of']}" if row["of"] > 1 else ""
        said.append(f"{row['check']} ({row['result']}{share}): {row['what']}.")
    return said
