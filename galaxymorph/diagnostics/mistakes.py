"""Tables and sentences about reproduced mistakes (`published_mistakes`)."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from galaxymorph.data.galaxies import Galaxies
from galaxymorph.diagnostics.findings import Finding
from galaxymorph.evaluation.intervals import wilson
from galaxymorph.evaluation.phrases import tested

Make = Callable[..., tuple]


class Replay(NamedTuple):
    """One reproduction of a published mistake."""

    mistake: str
    published_in: str
    what: str
    reported: float
    honest: float
    n: int  # test galaxies behind the honest number
    finding: Finding | str  # of the audit, or why the mistake cannot happen here
    beside: Mapping[str, float]  # further numbers, by name
    measure: str = "accuracy"
    direction: int = 0  # expected sign of reported - honest (0: either)


NUMBERS = ["reported", "honest", "difference"]


def replays(
    mistake: str, published_in: str, **more: Any
) -> Callable[[Make], Callable[..., Replay]]:
    """Decorate a function that reproduces a mistake on a data set.

    The function returns reported, honest, finding and beside of a `Replay`, and the first paragraph
    of its docstring describes the mistake (`what`). `more`: measure and direction."""

    def decorate(make: Make) -> Callable[..., Replay]:
        what = " ".join(str(inspect.getdoc(make)).split("\n\n")[0].split())

        @functools.wraps(make)
        def replay(sample: Galaxies, *given: Any, **options: Any) -> Replay:
            reported, honest, *found = make(sample, *given, **options)
            n = len(sample.part("test"))
            return Replay(mistake, published_in, what, reported, honest, n, *found, **more)

        return replay

    return decorate


def by_seed(replays: Sequence[Replay], seeds: Sequence[int]) -> pd.DataFrame:
    """List the replays, a row each; raise `ValueError` unless each mistake has one per seed."""
    made: Any = _with_difference(replays)
    for name, n in made["mistake"].value_counts(sort=False).items():
        if n != len(seeds):
            text = f"{n} replays for {len(seeds)} seeds"
            raise ValueError(f"{name}: {text}; expected one per seed")
    made["seed"] = np.take(seeds, made.groupby("mistake").cumcount())
    return made[["mistake", "seed", "measure", *NUMBERS, "n"]]


def table(replays: Sequence[Replay]) -> pd.DataFrame:
    """Summarise each mistake over its replays, one per seed, the largest difference first.

    Means over seeds, low and high (extreme differences), found_by (check of the audit), what it
    is."""
    groups: Any = _with_difference(replays).groupby("mistake", sort=False)
    rows = groups[["published_in", "measure"]].first()
    rows[NUMBERS] = groups[NUMBERS].mean()
    rows["low"], rows["high"] = groups.difference.min(), groups.difference.max()
    rows["n"], rows["seeds"] = groups.n.min(), groups.size()
    rows["found_by"] = groups.finding.agg(_found_by)
    rows["beside"] = groups.beside.agg(_beside)
    rows["what"] = groups.what.first()
    return rows.reset_index().sort_values(
        "difference", key=abs, ascending=False, kind="stable", ignore_index=True
    )


def _with_difference(replays: Sequence[Replay]) -> pd.DataFrame:
    return pd.DataFrame(replays).assign(difference=lambda made: made.reported - made.honest)


def _found_by(findings: pd.Series) -> str:
    """Return the check that noticed, and how often if not always; or why none is needed."""
    first: Finding | str = findings.iloc[0]
    if isinstance(first, str):
        return first
    noticed = sum(finding.severity != "passed" for finding in findings)
    often = f" in {noticed} of {len(findings)} seeds" if noticed else ", which missed it"
    return f"audit: {first.check}{'' if noticed == len(findings) else often}"


def _beside(numbers: pd.Series) -> str:
    means = pd.DataFrame(numbers.tolist()).mean().items()
    return "; ".join(f"{key} {value:.3g}" for key, value in means)


def sentences(replays: Sequence[Replay]) -> list[str]:
    """State for each mistake the reported and the honest value, and whether that was expected."""
    direction, lines = {each.mistake: each.direction for each in replays}, []
    for row in list[Any](table(replays).itertuples()):
        extremes = f"{row.low:+.3f} to {row.high:+.3f} over " if row.seeds > 1 else ""
        beside = f" Also: {row.beside}." if row.beside else ""
        n = tested({"seeds": row.seeds, "n_test": row.n})
        lines.append(
            f"{row.mistake[0].upper()}{row.mistake[1:]} ({row.published_in}): reports "
            f"{row.measure} {row.reported:.3f}, where the honest value is {row.honest:.3f}, "
            f"{row.difference:+.3f} ({extremes}{n}): {_verdict(row, direction[row.mistake])}. "
            f"Found by: {row.found_by}.{beside}"
        )
    return lines


def _verdict(row: Any, direction: int) -> str:
    if row.low <= 0 <= row.high:
        differ = "the seeds disagree on whether it made a difference"
        return differ if row.low < row.high else "it made no difference"
    text = "too good" if row.difference > 0 else "too low"
    text += ", contrary to expectation" if direction * row.difference < 0 else ""
    low, high = wilson(round(row.honest * row.n), int(row.n))
    if row.measure == "accuracy" and low <= row.reported <= high:
        within = "within the 95 % interval of the honest value for this many galaxies"
        text += f", though {within} ({low:.3f} to {high:.3f})"
    return text
