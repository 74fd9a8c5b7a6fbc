"""Cache results in folders named by a hash of their inputs.

An entry is written as a whole (`project.replacing`) with the checksums of its files, which are
compared whenever it is used: a damaged entry is made again."""

import hashlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from galaxymorph import project

CHECKSUMS = "checksums.json"  # of the files of an entry, by name
PAGE, BLOCK = 4096, 2**23  # bytes


def entry(folder: Path, inputs: object, write: Callable[[Path], None], *, needed: int = 0) -> Path:
    """Return the folder of one entry; create it with `write(folder)` if there is no sound one.

    A process that needs an entry waits while another one makes it.

    Args:
        folder: parent folder of all entries of one kind.
        inputs: everything that the entry depends on, JSON-serialisable.
        write: function that writes the entry's files into the given folder.
        needed: bytes of these files, if known: a full disk is noticed before they are made.

    Warns: an entry is damaged and has been made again.
    """
    key = json.dumps([CHECKSUMS, inputs], sort_keys=True).encode()
    final = folder / hashlib.sha256(key).hexdigest()[:16]
    if final.is_dir() and not _damage(final):
        return final
    with project.locked(folder, f".{final.name}.lock", wait=True):
        damage = _damage(final) if final.exists() else ""
        if damage:
            project.set_aside(final, f"the cache is damaged ({damage}) and is made again")
        if damage or not final.exists():
            with project.replacing(final, needed=needed) as part:
                part.mkdir()
                write(part)
                sums = {file.name: checksum(file) for file in sorted(part.iterdir())}
                (part / CHECKSUMS).write_text(json.dumps(sums))
    return final


def _damage(entry: Path) -> str:
    """Say what is wrong with an entry; "" if it is sound."""
    try:
        sums = json.loads((entry / CHECKSUMS).read_bytes())
        for name, value in sums.items():
            if checksum(entry / name) != value:
                return f"{name} has changed"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (ValueError, AttributeError, NotADirectoryError, IsADirectoryError):
        return f"{CHECKSUMS} is not valid"
    return "" if sums else f"{CHECKSUMS} is empty"


def checksum(file: Path) -> list[int | str]:
    """Return the size of a file and a hash of the sums of the 64-bit words of each 4 kB page.

    Notices every flipped bit, and pages that were zeroed, exchanged or shifted, but not words that
    were exchanged within a page. It reads 4 GB/s, six times as much as SHA-256 of all bytes, since
    a data set is checked whenever it is loaded."""
    size, digest = 0, hashlib.sha256()
    buffer = np.zeros(BLOCK, np.uint8)
    with file.open("rb", buffering=0) as opened:
        while count := opened.readinto(buffer.data):
            size += count
            buffer[count:] = 0
            digest.update(buffer.view(np.uint64).reshape(-1, PAGE // 8).sum(1).tobytes())
    return [size, digest.hexdigest()]


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
