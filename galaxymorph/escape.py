"""Write names literally: what a user calls a class, a galaxy or a method is never markup or code.

One function for each medium: `visible` for a terminal, `markdown`, `csv_text` for spreadsheets,
`slug` for files, `shortened` for figures. Pages escape by jinja2, LaTeX in `evaluation.export`.
"""

import contextlib
import csv
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any


def visible(text: object) -> str:
    """Replace control characters, and those that reverse the direction of writing, by `�`.

    Line breaks and tabs become spaces. So no name moves a terminal's cursor or reorders a line."""
    spaced = re.sub(r"[\t\n\r\v\f\x85\u2028\u2029]", " ", str(text))
    return re.sub("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", "�", spaced)


def shortened(text: object, most: int = 60) -> str:
    """Return a visible text of at most `most` letters: of a longer one the beginning and end."""
    text, half = visible(text), (most - 1) // 2
    return text if len(text) <= most else f"{text[: most - 1 - half]}…{text[len(text) - half :]}"


def slug(name: object) -> str:
    """Return a name for a file: at most 100 bytes, without `/`, spaces or a leading dot or minus.

    Spaces, slashes, colons and commas become `-`. A name that is changed further ends in a hash of
    it."""
    name = str(name)
    kept = re.sub(r"[^\w.=+-]+", "-", name).lstrip(".-").encode()[:90].decode(errors="ignore")
    if kept == re.sub("[ /:,]+", "-", name) != "":
        return kept
    hashed = hashlib.sha256(name.encode(errors="replace")).hexdigest()[:8]
    return f"{kept}-{hashed}".lstrip("-")


def markdown(text: object) -> str:
    """Escape a text for Markdown, which then shows it literally: no markup, HTML or formula."""
    special = (
        r"[\\`*\[\]$|~]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|<(?=[A-Za-z/!?])|&(?=[#A-Za-z])|^[#>+=-]"
    )
    return re.sub(rf"{special}|(?<=^\d)[.)]", r"\\\g<0>", visible(text))


def from_markdown(text: str) -> str:
    """Return the text that `markdown` escaped."""
    return re.sub(r"\\([\\`*\[\]$|~_:<&#>+=.)-])", r"\1", text)


RISKY = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")  # a spreadsheet runs a cell that begins like this


def cell(value: Any) -> Any:
    """Put an apostrophe before a text that a spreadsheet would run as a formula, unless a number.

    `text_of_cell` takes it off again; texts that begin with apostrophes and a formula get one more.
    """
    if not isinstance(value, str) or not RISKY.match(value):
        return value
    with contextlib.suppress(ValueError):
        float(value)
        return value
    return f"'{value}"


def text_of_cell(value: Any) -> Any:
    """Return the text that `cell` protected."""
    apostrophe = isinstance(value, str) and value.startswith("'") and RISKY.match(value)
    return value[1:] if apostrophe else value


def csv_text(frame: Any, *, number: str | None = None, **options: Any) -> str:
    """Format a data frame as CSV without formulas (`cell`); `number` formats floats.

    The index is left out unless `options` of `to_csv` say otherwise."""
    options = {"index": False, "float_format": number, "lineterminator": "\n"} | options
    text = (safe := _mapped(frame.rename(index=cell), cell)).to_csv(**options)
    return safe.to_csv(**options, quoting=csv.QUOTE_ALL) if "\r" in text else text


def read_csv(path: Path, **options: Any) -> Any:
    """Read a table of `csv_text` as it was: only empty cells are missing values.

    Raises `ValueError` for duplicate columns, which pandas would rename."""
    import pandas as pd

    with path.open(encoding="utf-8", newline="") as file:
        header = next(csv.reader(file), [])
    if twice := dict.fromkeys(name for name in header if header.count(name) > 1):
        raise ValueError(f"duplicate columns {', '.join(map(repr, twice))}; keep one of each")
    options = {"keep_default_na": False, "na_values": [""]} | options
    return _mapped(pd.read_csv(path, **options), text_of_cell)


def _mapped(frame: Any, function: Callable[[Any], Any]) -> Any:
    frame = frame.rename(columns=function)
    for place, kind in enumerate(frame.dtypes):
        if kind.kind == "O":
            frame.isetitem(place, frame.iloc[:, place].map(function))
    return frame
