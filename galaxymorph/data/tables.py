"""Read tables of labels, votes or file names, and check their columns and ids."""

import difflib
import io
import warnings
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from galaxymorph.project import existing
from galaxymorph.text import listing


def opened(kind: Callable[[Path], Any], file: Path) -> Any:
    """Open a file as this kind of archive. Raises `ValueError` if it is not valid."""
    try:
        return kind(file)
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} is incomplete or broken ({error}): download it again") from error


def read_table(file: Path, kinds: Any = str) -> pd.DataFrame:
    """Read a CSV file, or the one in a zip; `kinds`: type of all columns, or types by column."""
    content: Path | io.BytesIO = existing(file)
    if file.suffix == ".zip":
        with opened(zipfile.ZipFile, file) as archive:
            names = [n for n in archive.namelist() if n.endswith(".csv") and "__MACOSX" not in n]
            if len(names) != 1:
                found = listing(names) or "none"
                raise ValueError(f"{file}: expected one CSV file inside, found {found}")
            content = io.BytesIO(archive.read(names[0]))
    # Only empty fields are missing values: NA, None and null may be class names.
    options: dict[str, Any] = {"keep_default_na": False, "na_values": [""], "index_col": False}
    try:
        with warnings.catch_warnings():  # for rows with more fields than the header
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(content, dtype=kinds, skipinitialspace=True, **options)
    except (ValueError, pd.errors.ParserWarning) as error:  # also ParserError, Unicode
        raise ValueError(f"{file} is not a valid CSV file: {error}") from error


def check_columns(columns: Iterable[str], wanted: Iterable[str], file: Path) -> None:
    """Raise `ValueError` for missing columns, naming a possible misspelling."""
    columns, wanted = list(columns), list(wanted)
    if missing := [name for name in wanted if name not in columns]:
        near = difflib.get_close_matches(missing[0], set(columns) - set(wanted), n=1)
        hint = f"; is {near[0]!r} a misspelt {missing[0]!r}?" if near else "."
        raise ValueError(f"{file}: no column {listing(missing)}{hint} It has: {listing(columns)}")


def indexed(
    table: pd.DataFrame, names: Sequence[str], columns: Sequence[str], file: Path
) -> pd.DataFrame:
    """Check the columns and ids of a table; index it by the first column in `names` that it has.
    Raises `ValueError` for missing columns, and empty or duplicate ids."""
    ids = next((name for name in names if name in table.columns), names[-1])
    check_columns(table.columns, [ids, *columns], file)
    table = table.set_index(ids)
    twice = table.index[table.index.duplicated()].unique()
    if len(twice) or table.index.hasnans:
        what = f"duplicate {ids} {listing(twice)}" if len(twice) else f"rows without {ids}"
        raise ValueError(f"{file}: {what}. Keep one row per galaxy")
    return table
