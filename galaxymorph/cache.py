"""Cache results in folders named by a hash of their inputs.

An entry is written under a temporary name and renamed when complete, so that a killed process never
leaves a partial entry."""

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
    """Return the folder of one entry; create it with `write(folder)` if it does not exist.

    Args:
        folder: parent folder of all entries of one kind.
        inputs: everything that the entry depends on, JSON-serialisable.
        write: function that writes the entry's files into the given folder.
    """
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    final, part = folder / digest, folder / f"{digest}.{os.getpid()}.part"
    if final.is_dir():
        return final
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*.part"):  # old ones are from killed processes
        with contextlib.suppress(FileNotFoundError):  # another process has just renamed it
            if left.stat().st_mtime < time.time() - 86400:
                shutil.rmtree(left, ignore_errors=True)
    shutil.rmtree(part, ignore_errors=True)  # from a killed process with the same id
    part.mkdir()
    try:
        write(part)
        try:
            part.replace(final)
        except OSError:  # another process was faster; its entry has the same content
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return final


def code(*modules: ModuleType) -> str:
    """Hash the source code of modules and of all package modules that they import."""
    texts: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module.__name__ not in texts:
            texts[module.__name__] = inspect.getsource(module)
            used = {inspect.getmodule(value) for value in vars(module).values()}
            waiting += [each for each in used if each and each.__name__.startswith("galaxymorph.")]
    return hashlib.sha256("".join(texts[name] for name in sorted(texts)).encode()).hexdigest()
