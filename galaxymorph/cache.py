"""One entry of the cache, by the hash of its inputs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path


def entry(folder: Path, inputs: object, write: Callable[[Path], None]) -> Path:
    """The folder of one cache entry, made by `write(folder)` unless it exists.

    Args:
        folder: where the entries of one kind lie. inputs: all that the entry depends on, as what
        JSON can say; it becomes the hash that names the entry. write: writes the entry's files into
        the folder it is given.
    """
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    final = folder / digest
    if final.is_dir():
        return final
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    part = folder / f"{final.name}.{os.getpid()}.part"
    shutil.rmtree(part, ignore_errors=True)  # a killed process may have had the same number
    part.mkdir()
    try:
        write(part)
        try:
            part.replace(final)
        except (
            OSError
        ):  # another process was faster: its entry has the same inputs, hence the same content
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return final


def _sweep(folder: Path) -> None:
    """Remove what killed decodes left behind a day ago or earlier; younger ones may still be at
    work."""
    for part in folder.glob("*.part"):
        with contextlib.suppress(FileNotFoundError):  # another process has just completed it
            if part.stat().st_mtime < time.time() - 86400:
                shutil.rmtree(part, ignore_errors=True)
