"""Tables and sentences of published mistakes that were made again (`published_mistakes`)."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from galaxymorph.data.galaxies import Galaxies
from galaxymorph.diagnostics.findings import Finding
from galaxymorph.evaluation.intervals import wilson
from galaxymorph.evaluation.phrases import tested

Make = Callable[..., tuple]


class Mistake(NamedTuple):
    """A mistake that was published."""

    name: str
    published_in: str
    what: str
    measure: str = "accuracy"
    direction: int = 0  # the sign that reported less honest should have (0: either)
    prevented: str = ""  # where no check can find it afterwards: why it cannot happen here


class Replay(NamedTuple):
    """A mistake that was made once."""

    mistake: str  # one of MISTAKES
    reported: float
    honest: float
    n: int  # test galaxies that the honest number is of
    finding: Finding | None  # what the audit says to it; None where no check is meant for it
    beside: Mapping[str, float]  # further numbers, by name


MISTAKES: dict[str, Mistake] = {}  # by the function of `published_mistakes` that makes it
NUMBERS = ["reported", "honest", "difference", "n"]  # of a replay


def replays(name: str, published_in: str, **more: Any) -> Callable[[Make], Callable[..., Replay]]:
    """Decorate what makes a mistake again, with a data set: it returns all of a `Replay` but name
    and n, and the first paragraph of its docstring is `what` the mistake is. `more`: of a
    `Mistake`."""

    def decorate(make: Make) -> Callable[..., Replay]:
        what = " ".join(str(inspect.getdoc(make)).split("\n\n")[0].split())
        MISTAKES[make.__name__] = Mistake(name, published_in, what, **more)

        @functools.wraps(make)
        def replay(sample: Galaxies, *given: Any, **options: Any) -> Replay:
            reported, honest, *rest = make(sample, *given, **options)
            return Replay(make.__name__, reported, honest, len(sample.part("test")), *rest)

        return replay

    return decorate


def by_seed(replays: Sequence[Replay], seeds: Sequence[int]) -> pd.DataFrame:
    """List the replays, a row each: mistake, seed, measure, reported, honest, difference and n.
    `replays`: of each mistake one for each of the `seeds`, in their order. Raises `ValueError`
    where there are more or fewer."""
    rows = []
    for name, made in _by_mistake(replays).items():
        if len(made) != len(seeds):
            n = f"{len(made)} replays for {len(seeds)} seeds"
            raise ValueError(f"{name}: {n}; make each mistake once for every seed")
        head = {"mistake": MISTAKES[name].name, "seed": seeds, "measure": MISTAKES[name].measure}
        rows.append(made.assign(**head)[[*head, *NUMBERS]])
    return pd.concat(rows, ignore_index=True)


def table(replays: Sequence[Replay]) -> pd.DataFrame:
    """Gather each mistake, the one that was worth the most first: mistake, published_in, measure,
    reported, honest and difference (means over seeds), low and high (the smallest and the largest
    difference), n, seeds, found_by (the check of the audit), beside (further numbers, means over
    seeds) and what. `replays`: one of each mistake for each seed."""
    rows = []
    for name, made in _by_mistake(replays).items():
        title, published_in, what, measure, *_ = MISTAKES[name]
        row: dict[str, Any] = {"mistake": title, "published_in": published_in, "measure": measure}
        row |= made[NUMBERS[:3]].mean().to_dict()
        row |= {"low": made.difference.min(), "high": made.difference.max()}
        row |= {"n": made.n.min(), "seeds": len(made), "found_by": _found_by(name, made.finding)}
        beside = pd.DataFrame(made.beside.tolist()).mean().items()
        text = "; ".join(f"{key} {value:.3g}" for key, value in beside)
        rows.append(row | {"beside": text, "what": what})
    return pd.DataFrame(rows).sort_values(
        "difference", key=abs, ascending=False, kind="stable", ignore_index=True
    )


def _by_mistake(replays: Sequence[Replay]) -> dict[str, pd.DataFrame]:
    """The replays of each mistake, a row each, with their difference."""
    made = pd.DataFrame([each._asdict() for each in replays])
    made["difference"] = made.reported - made.honest
    groups = made.groupby("mistake", sort=False)
    return {str(name): rows.reset_index(drop=True) for name, rows in groups}


def _found_by(mistake: str, made: pd.Series) -> str:
    """The check that noticed, and how often where not always."""
    findings = [finding for finding in made if finding is not None]
    if not findings:
        return MISTAKES[mistake].prevented
    noticed = sum(finding.severity != "passed" for finding in findings)
    often = f" in {noticed} of {len(made)} seeds" if noticed else ", which missed it"
    return f"audit: {findings[0].check}{'' if noticed == len(made) else often}"


def sentences(table: pd.DataFrame) -> list[str]:
    """Say of each mistake in a `table` what it reports, what is right, and whether that was to be
    expected."""
    said, rows = [], list[Any](table.itertuples())
    for row in rows:
        extremes = f"{row.low:+.3f} to {row.high:+.3f} over " if row.seeds > 1 else ""
        beside = f" Beside it: {row.beside}." if row.beside else ""
        n = tested({"seeds": row.seeds, "n_test": row.n})
        said.append(
            f"{row.mistake[0].upper()}{row.mistake[1:]} ({row.published_in}): reports "
            f"{row.measure} {row.reported:.3f} where the honest one is {row.honest:.3f}, "
            f"{row.difference:+.3f} ({extremes}{n}): {_verdict(row)}. "
            f"Found by: {row.found_by}.{beside}"
        )
    return said


def _verdict(row: Any) -> str:
    if row.low <= 0 <= row.high:
        differ = "the seeds do not agree that it made a difference"
        return differ if row.low < row.high else "it made no difference"
    (direction,) = (each.direction for each in MISTAKES.values() if each.name == row.mistake)
    text = "too good" if row.difference > 0 else "too low"
    text += ", the other way than expected" if direction * row.difference < 0 else ""
    low, high = wilson(round(row.honest * row.n), int(row.n))
    if row.measure == "accuracy" and low <= row.reported <= high:
        within = "within the 95 % interval of the honest number for so many galaxies"
        text += f", though {within} ({low:.3f} to {high:.3f})"
    return text
