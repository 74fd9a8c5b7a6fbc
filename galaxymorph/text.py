"""Read text (cells of tables, ids), and format messages: durations, lists, suggestions."""

import csv
import difflib
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

IDS = ("id", "galaxyid", "galaxy_id", "asset_id", "objid", "object_id", "dr7objid", "dr8objid")
EMPTY = ("", "nan", "na", "n/a", "null", "none", "<na>", "--")  # cells without a value
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?")
WHITE = "[\\s\u200b\ufeff]+"  # also no-break spaces and what has no width


def clean(cell: str) -> str:
    """Strip blanks of any kind, also no-break spaces, and compose accents (Unicode NFC)."""
    if cell.isascii():
        return cell.strip()
    return re.sub(f"^{WHITE}|{WHITE}$", "", unicodedata.normalize("NFC", cell))


def value_of(cell: str) -> str:
    """Return the label that a cell stands for: numbers in one spelling, without `.0` or zeros."""
    cell = clean(cell)
    number = cell.replace("\N{MINUS SIGN}", "-")
    return f"{Decimal(number).normalize() + 0:f}" if NUMBER.fullmatch(number) else cell


def is_empty(cell: str) -> bool:
    """Return whether a cell has no value, however pandas, astropy or a person writes that."""
    return cell.lower() in EMPTY


def read_cells(text: str, separator: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yield the header of a CSV text and its rows, with their lines; blank lines are left out.

    Columns may have no name. Raises `ValueError` for duplicate columns, rows longer or shorter than
    the header (after all others), or unless there is a row."""
    options: Any = {"delimiter": separator, "skipinitialspace": True, "strict": True}
    reader = csv.reader(io.StringIO(text, newline=""), **options)
    head, line, odd, rows = list[str](), 1, list[str](), 0
    tidy = str.strip if text.isascii() else clean  # the same, but faster
    try:
        for row in reader:
            row = [tidy(cell) for cell in row]
            if not head and (head := row if any(row) else []):
                if twice := listing(c for c, n in Counter(head).items() if c and n > 1):
                    raise ValueError(f"duplicate columns {twice}; keep one of each")
                yield line, head
            elif any(row):
                rows += 1
                if len(row) == len(head):
                    yield line, row
                else:
                    odd.append(f"line {line} has {len(row)}")
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"not a valid CSV file: line {line}: {error}") from None
    if not rows:
        raise ValueError("no rows; expected a header and one row per galaxy")
    if odd:
        raise ValueError(f"the header has {len(head)} cells, but {listing(odd, 5)}")


def duration(seconds: float | int) -> str:
    """Format a duration: `8 s`, `2 min 05 s`, `1 h 12 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all values of nested dicts and lists with their dotted keys."""
    if not isinstance(tree, dict | list):
        yield prefix, tree
        return
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))


ENDING = r"\.(jpe?g|jpe|jfif|png|tiff?|webp|bmp|gif|npy|fits?)(\.(gz|bz2|fz))?$"


def plain_id(name: str) -> str:
    """Strip folder, extension, leading zeros and the `.0` of whole numbers, so that all spellings
    of an id are equal. A number with an exponent is written out if all its digits are there."""
    name = clean(re.split(r"[/\\]", str(name))[-1])
    name = re.sub(ENDING, "", name, flags=re.IGNORECASE)
    if number := re.fullmatch(r"(\d+)\.(\d+)(?:[eE]\+?(\d{1,2}))?", name):
        whole, digits, power = number[1], number[2], int(number[3] or 0)
        if len(digits) >= power and not digits[power:].strip("0"):
            name = whole + digits[:power]
    return name.lstrip("0") or "0"


def listing(items: Iterable[object], most: int = 10) -> str:
    """Join the first items with commas, and count the rest: `a, b and 3 more`."""
    items = [str(item) for item in items]
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def nearest(word: str, words: Iterable[str]) -> str:
    """Return ` (did you mean seed?)`, or an empty string if no word is close."""
    found = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f" (did you mean {found[0]}?)" if found else ""


def unknown(thing: str, word: object, known: Iterable[str]) -> str:
    """Return `unknown split 'tets'; did you mean 'test'? Known: train, val, test`."""
    known = list(known)
    found = [each for each in known if each.lower() == str(word).lower()]
    found += difflib.get_close_matches(str(word), known, n=1, cutoff=0.5)
    hint = f"; did you mean {found[0]!r}?" if found else "."
    return f"unknown {thing} {word!r}{hint} Known: {listing(known, 40)}"
