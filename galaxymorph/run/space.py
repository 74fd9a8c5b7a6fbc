"""What a search may try of one parameter: a range of numbers, or a list of choices."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from galaxymorph.run.params import ParamsError, kind_of

# parameters that draw the galaxies that trials are compared on
DRAW = ("seed", "n_labels", "galaxies", "steps")
CUT = ("galaxies.crop", "galaxies.image_size")  # but these show the same ones in another way


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float | int
    high: float | int
    log: bool  # tries as many from 0.001 to 0.01 as from 0.01 to 0.1
    whole: bool  # whole numbers

    def __contains__(self, value: Any) -> bool:
        return type(value) in (int, float) and self.low <= value <= self.high


Tried = Range | list[Any]
Space = dict[str, Tried]  # by dotted key


def tried(key: str, given: Any, mistakes: Callable[[Any], list[str]]) -> Tried:
    """Read what the params file gives for a parameter at a dotted key.

    `mistakes` returns what is wrong with one value of the parameter. Raises `ParamsError` for a
    value that the step could not be given, and for what is neither range nor choices."""
    if key.split(".")[0] in DRAW and key not in CUT:
        why = "draws other galaxies, and trials can be compared on the same ones alone"
        raise ParamsError([why])
    bounds = isinstance(given, dict) and {"low", "high"} <= set(given) <= {"low", "high", "log"}
    values = [given["low"], given["high"]] if bounds else given
    if not isinstance(values, list) or len(values) < 2:
        wanted = "a list of two values or more, or {low: NUMBER, high: NUMBER}"
        raise ParamsError([f"expected {wanted}, found {kind_of(given)}"])
    if wrong := [message for value in values for message in mistakes(value)]:
        raise ParamsError(wrong)
    if not bounds:
        return values
    low, high, log = *values, given.get("log", False)
    if not all(type(each) in (int, float) and math.isfinite(each) for each in values):
        why = f"expected numbers as low and high, found {kind_of(low)} and {kind_of(high)}"
    elif not low < high:
        why = f"low has to be less than high, found {low} and {high}"
    elif not isinstance(log, bool):
        why = f"expected true or false as log, found {kind_of(log)}"
    elif log and low <= 0:
        why = f"a logarithmic range begins above 0, found low: {low}"
    else:
        whole = not mistakes("text") or bool(mistakes(low + 0.5))  # any value: nobody knows
        return Range(low, high, log, whole and type(low) is type(high) is int)
    raise ParamsError([why])


def stored(value: Any, space: Tried) -> Any:
    """Return a value as optuna stores it: lists and dicts as text."""
    if isinstance(space, Range):
        return int(value) if space.whole else float(value)
    return json.dumps(value) if isinstance(value, list | dict) else value


def parameter(drawn: Any, space: Tried, *, own: Any) -> Any:
    """Return what was drawn as a parameter: a choice as it was given, a number with four digits,
    which can be read, unless it is the step's own."""
    if isinstance(space, list):
        return next(each for each in space if stored(each, space) == drawn)
    if space.whole or drawn == own:
        return drawn
    return min(max(float(f"{drawn:.4g}"), float(space.low)), float(space.high))
