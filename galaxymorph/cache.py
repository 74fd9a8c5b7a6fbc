"""Cache results in folders named by a hash of their inputs.

An entry is written as a whole (`project.replacing`) with the checksums of its files, which are
compared whenever it is used: a damaged entry is made again."""

import hashlib
import inspect
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np

from galaxymorph import project

CHECKSUMS = "checksums.json"  # of the files of an entry, by name
PAGE, READ, BLOCK = 4096, 2**20, 2**23  # bytes


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
    were exchanged within a page. A thread reads 4 GB/s, six times as much as SHA-256 of all bytes,
    since a data set is checked whenever it is loaded."""
    digest = hashlib.sha256()
    with file.open("rb", buffering=0) as opened, ThreadPoolExecutor(2) as threads:
        number = opened.fileno()
        size = os.fstat(number).st_size
        for sums in threads.map(lambda start: _sums(number, start), range(0, size, READ)):
            digest.update(sums)
    pages = -(-size // PAGE)
    digest.update(bytes(8 * (-pages % (BLOCK // PAGE))))  # as if the last block were full
    return [size, digest.hexdigest()]


def _sums(number: int, start: int) -> bytes:
    """Sum the words of each of the pages of an open file that begin at `start`."""
    words = np.zeros((READ // PAGE, PAGE // 8), np.uint64)
    count = os.preadv(number, [words.data.cast("B")], start)
    return words[: -(-count // PAGE)].sum(1).tobytes()


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
