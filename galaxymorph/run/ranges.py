"""Ranges of numbers in parameters, by the last part of their dotted keys.

They hold for every notebook that has a parameter, or an option of a function, of that name."""

import math
from collections.abc import Iterator
from typing import Any

from galaxymorph.text import leaves

COUNTS = {  # whole numbers and their least value
    **dict.fromkeys(("epochs", "batch_size", "patience", "health_every", "legs", "queue"), 1),
    **dict.fromkeys(("latent", "channels", "hidden", "dim", "key_groups", "bins", "least"), 1),
    **dict.fromkeys(("ratio",), 1),
    **dict.fromkeys(
        ("n_labels", "n_galaxies", "n_shown", "n_scored", "n_test", "image_size", "crop"), 1
    ),
    **dict.fromkeys(("seed", "seeds", "survey_seed", "least_steps", "hdu"), 0),
    "folds": 2,
    "tap": 1,
}
NUMBERS = {  # lower and upper bound, and whether these belong to the range
    **dict.fromkeys(("learning_rate", "temperature", "stretch", "Q"), (0, math.inf, "()")),
    **dict.fromkeys(("weight_decay", "weight", "blur", "noise", "reddening"), (0, math.inf, "[)")),
    **dict.fromkeys(("momentum", "average", "dropout", "label_smoothing"), (0, 1, "[)")),
    **dict.fromkeys(("warmup",), (0, 1, "[]")),
    **dict.fromkeys(("layer_decay", "label_fraction"), (0, 1, "(]")),
    **dict.fromkeys(("val", "test", "threshold"), (0, 1, "()")),
}
LARGEST_SEED = 2**32 - 1  # of NumPy


def mistakes(given: Any) -> Iterator[tuple[str, str]]:
    """Find numbers out of range in nested parameters: dotted key, and what was expected."""
    for key, value in leaves(given):
        names = [part for part in key.split(".") if not part.isdigit()]
        if names and type(value) in (int, float):
            if not math.isfinite(value):
                yield key, f"expected a finite number, found {value}"
            elif wanted := _expected(names[-1], value):
                yield key, f"expected {wanted}, found {value}"


def _expected(name: str, value: float | int) -> str:
    """Return the range of a number that is outside; empty if it is inside, or has no range."""
    if name in ("seed", "seeds", "survey_seed") and not 0 <= value <= LARGEST_SEED:
        return f"a whole number from 0 to {LARGEST_SEED}"
    if name in COUNTS:
        return "" if value >= COUNTS[name] else f"a whole number, {COUNTS[name]} or more"
    if name not in NUMBERS:
        return ""
    low, high, ends = NUMBERS[name]
    above = value > low or (ends[0] == "[" and value == low)
    below = value < high or (ends[1] == "]" and value == high)
    if above and below:
        return ""
    lower = f"{'above' if ends[0] == '(' else 'at least'} {low}"
    upper = f" and {'below' if ends[1] == ')' else 'at most'} {high}"
    return f"a number {lower}{upper if high < math.inf else ''}"
