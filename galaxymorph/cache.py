"""Cache entries: folders that are named by the hash of all that went into them.

An entry is written under another name and renamed when it is complete, so that a killed process
leaves nothing that could be taken for an entry."""

import contextlib
import hashlib
import inspect
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType


def entry(folder: Path, inputs: object, write: Callable[[Path], None]) -> Path:
    """Return the folder of one entry, made by `write(folder)` unless it exists.

    Args:
        folder: where the entries of one kind lie.
        inputs: all that the entry depends on, as JSON can express it.
        write: writes the entry's files into the folder that it is given.
    """
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    final, part = folder / digest, folder / f"{digest}.{os.getpid()}.part"
    if final.is_dir():
        return final
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*.part"):  # by killed processes, if old; others may be at work
        with contextlib.suppress(FileNotFoundError):  # another process has just completed it
            if left.stat().st_mtime < time.time() - 86400:
                shutil.rmtree(left, ignore_errors=True)
    shutil.rmtree(part, ignore_errors=True)  # a killed process may have had the same number
    part.mkdir()
    try:
        write(part)
        try:
            part.replace(final)
        except OSError:  # another process was faster: its entry has the same content
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return final


def code(*modules: ModuleType) -> str:
    """Hash the source of modules and of all in this package that they import."""
    texts: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module.__name__ not in texts:
            texts[module.__name__] = inspect.getsource(module)
            used = {inspect.getmodule(value) for value in vars(module).values()}
            waiting += [each for each in used if each and each.__name__.startswith("galaxymorph.")]
    return hashlib.sha256("".join(texts[name] for name in sorted(texts)).encode()).hexdigest()
