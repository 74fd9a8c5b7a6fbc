"""Read tables of labels, votes or file names in any common format, and check columns and ids."""

import bz2
import difflib
import gzip
import io
import lzma
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from galaxymorph.project import bounded, bounds, existing
from galaxymorph.text import clean, is_empty, listing, plain_id, read_cells

PACKED: Mapping[str, Any] = {".gz": gzip, ".bz2": bz2, ".xz": lzma}
ASTROPY = {"fits": "fits", "fit": "fits", "xml": "votable", "vot": "votable"}
ASTROPY |= {"votable": "votable", "ecsv": "ascii.ecsv"}  # formats by ending
PARQUET = ("parquet", "pq")
SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
BROKEN = (ValueError, OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile)
BROKEN += (RuntimeError, StopIteration)  # of an encrypted zip, and without a header
Choose = Callable[[list[str]], Iterable[str]]
INFLATED = 100  # how much a zip may shrink, however large


def opened(kind: Callable[[Path], Any], file: Path) -> Any:
    """Open a file as this kind of archive. Raises `ValueError` if it is not valid, or a zip that
    unpacks to far more than its size."""
    try:
        content = kind(file)
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} is incomplete or broken ({error}): download it again") from error
    if isinstance(content, zipfile.ZipFile):
        size, packed = sum(member.file_size for member in content.infolist()), file.stat().st_size
        more = bounded("archive_mb", size / 1e6)
        if more and size > INFLATED * packed:
            what = f"a zip of {packed / 1e6:,.1f} MB that unpacks to {size / 1e6:,.0f} MB"
            raise ValueError(f"{file}: {what}; if you trust it, give the unpacked folder; {more}")
    return content


def read_table(file: Path, choose: Choose = list) -> pd.DataFrame:
    """Read a table as text, without blanks around cells; the index is the line or row.

    Formats: CSV with any separator (also compressed, or the one in a zip), FITS, VOTable, ECSV and
    parquet. `choose` selects from the names of all columns those to read.

    Raises `ValueError` that names the file for anything else, for duplicate columns, and for rows
    longer or shorter than the header."""
    if existing(file).is_dir():
        raise ValueError(f"{file} is a folder; expected a table, such as a CSV file")
    kind = file.name.lower().removesuffix(".gz").rpartition(".")[2]
    try:
        if kind in PARQUET:
            return _from_parquet(file, choose)
        if kind in ASTROPY:
            return _from_astropy(file, ASTROPY[kind], choose)
        text = _text(file)
        if text.startswith("# %ECSV"):
            return _from_astropy(file, "ascii.ecsv", choose)
        separator, text = _separated(text)
        rows = read_cells(text, separator)
        _, names = next(rows)
        places = [names.index(name) for name in choose(names)]
        kept = {line: [row[place] for place in places] for line, row in rows}
    except ImportError as error:
        todo = "pip install 'galaxymorph[parquet]', or save it as CSV"
        raise ValueError(f"{file}: parquet needs pyarrow: {todo}") from error
    except BROKEN as error:
        why = str(error) or "no rows; expected a header and one row per galaxy"
        raise ValueError(f"{file}: {why}") from error
    columns = [names[place] for place in places]
    return pd.DataFrame(list(kept.values()), list(kept), columns, dtype=object)


def _text(file: Path) -> str:
    """Return the text of a file, decompressed, or of the one table in a zip."""
    if file.suffix.lower() == ".zip":
        with opened(zipfile.ZipFile, file) as archive:
            tables = (".csv", ".tsv", ".txt")
            names = [n for n in archive.namelist() if n.endswith(tables) and "__MACOSX" not in n]
            if len(names) != 1:
                found = listing(names) or "none"
                raise ValueError(f"expected one CSV file inside, found {found}")
            with archive.open(names[0]) as source:
                content = _bounded(source)
    else:
        content = _bytes(file)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        what = "not a table of a known format, nor text in UTF-8"
        raise ValueError(f"{what}: save it as CSV in UTF-8 (from a spreadsheet: export it)")
    return text


def _bytes(file: Path) -> bytes:
    with PACKED.get(file.suffix.lower(), Path).open(file, "rb") as source:
        return _bounded(source)


def _bounded(source: Any) -> bytes:
    """Read a file, decompressed. Raises `ValueError` if it is too large (`project.BOUNDS`)."""
    most = int(bounds()["table_mb"] * 1e6)
    content = source.read(most + 1)
    if len(content) > most:
        more = bounded("table_mb", 2 * most / 1e6)  # how much larger is not known
        raise ValueError(f"too large: give only the columns and rows needed; {more}")
    return content


def _separated(text: str) -> tuple[str, str]:
    """Find the separator of a table; return it and the text, with one blank between words if they
    are the separators."""
    text = re.sub(r"\A(sep=.(?=\r|\n)|#)", "", text)  # Excel's hint; a header marked as comment
    lines = [line for line in text.splitlines() if line.strip()]
    head = lines[0] if lines else ""
    if found := [each for each in SEPARATORS if each in head]:
        # a separator stands equally often in every row; others are part of a cell
        odd = {each: sum(line.count(each) != head.count(each) for line in lines) for each in found}
        return min(found, key=odd.__getitem__), text
    if len({len(line.split()) for line in lines}) == 1 and len(head.split()) > 1:
        return " ", "\n".join(" ".join(line.split()) for line in text.splitlines())
    return ",", text


def _from_astropy(file: Path, kind: str, choose: Choose) -> pd.DataFrame:
    from astropy.table import Table  # slow to import

    content = _bytes(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message=".*multiple tables")
            table = Table.read(io.BytesIO(content), format=kind)
    except Exception as error:  # of any kind: astropy's readers share no class
        raise ValueError(f"not a valid table ({kind}): {error}") from error
    table.convert_bytestring_to_unicode()
    names = [str(name) for name in table.colnames if table[name].ndim == 1]
    return _as_text({name: table[name] for name in choose(names)})


def _from_parquet(file: Path, choose: Choose) -> pd.DataFrame:
    from pyarrow import ArrowException, parquet, types

    try:
        schema = parquet.read_schema(file)
        names = [each.name for each in schema if not types.is_nested(each.type)]
        wanted = list(choose(names))
        table = parquet.read_table(file, columns=wanted)
    except (ArrowException, OSError) as error:
        raise ValueError(f"not a valid parquet file: {error}") from error
    return _as_text({name: table[name].to_pylist() for name in wanted})


def _as_text(columns: Mapping[str, Iterable[Any]]) -> pd.DataFrame:
    """Return columns as text; the index is the row, from 1."""
    texts = {
        name: [clean(each.decode() if isinstance(each, bytes) else str(each)) for each in values]
        for name, values in columns.items()
    }
    table = pd.DataFrame(texts, dtype=object)
    return table.set_index(pd.RangeIndex(1, len(table) + 1))


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
    if lacking := [row for row, id in table[ids].items() if is_empty(str(id))]:
        raise ValueError(f"{file}: rows without {ids} ({listing(lacking, 5)}): fill them in")
    if len(twice := table.loc[table[ids].duplicated(keep=False), ids]):
        of = {id: listing(twice.index[twice == id], 5) for id in twice.unique()[:3]}
        several = listing(f"{id!r} (rows {rows})" for id, rows in of.items())
        more = f" and {len(set(twice)) - 3:,} more" if len(set(twice)) > 3 else ""
        raise ValueError(f"{file}: duplicate {ids} {several}{more}. Keep one row per galaxy")
    return table.set_index(ids)


def respelled(cells: Sequence[str], ids: Sequence[str], file: Path) -> tuple[list[str], list[str]]:
    """Spell the ids in the `cells` of a table as the galaxies' `ids`, with a note if any changes.

    Ids that differ only in folder, extension, leading zeros, `.0`, case or the composition of
    accents are one id, unless that is ambiguous in the table or among the galaxies."""
    there, known = set(ids), {plain_id(id).casefold(): id for id in ids}
    keys = [plain_id(cell).casefold() for cell in cells]
    if len(known) < len(ids) or len(set(keys)) < len(keys):
        known = {}
    new = [id if id in there else known.get(key, id) for id, key in zip(cells, keys, strict=True)]
    changed = [f"{a!r} is {b!r}" for a, b in zip(cells, new, strict=True) if a != b]
    note = f"{len(changed):,} ids are spelled differently in {file.name}: {listing(changed, 3)}"
    return new, [note] * bool(changed)
