"""What a search may try of a parameter, as optuna takes and stores it."""

from __future__ import annotations

import json
from typing import Any

from optuna import distributions

from galaxymorph.run.plan import Range

Tried = Range | list[Any]  # a range of numbers, or choices


def inside(value: Any, space: Tried) -> bool:
    """Return whether a value is one that may be tried."""
    if isinstance(space, list):
        return value in space
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and space.low <= value <= space.high


def stored(value: Any, space: Tried) -> Any:
    """Return a value as optuna stores it: lists and dicts as text."""
    if isinstance(space, Range):
        return int(value) if space.whole else float(value)
    return json.dumps(value) if isinstance(value, list | dict) else value


def distribution(space: Tried) -> distributions.BaseDistribution:
    if isinstance(space, list):
        return distributions.CategoricalDistribution([stored(value, space) for value in space])
    if space.whole:
        return distributions.IntDistribution(int(space.low), int(space.high), log=space.log)
    return distributions.FloatDistribution(space.low, space.high, log=space.log)


def parameter(drawn: Any, space: Tried, *, own: Any) -> Any:
    """Return what was drawn as a parameter: a choice as it was given, a number with four digits,
    which can be read, unless it is the step's own."""
    if isinstance(space, list):
        return next(each for each in space if stored(each, space) == drawn)
    if space.whole or drawn == own:
        return drawn
    return min(max(float(f"{drawn:.4g}"), float(space.low)), float(space.high))
