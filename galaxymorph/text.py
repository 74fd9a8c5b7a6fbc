"""Format messages: durations, lists, and suggestions for misspelt names."""

import difflib
import errno
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

LIMITS = {  # of a machine, in words: what happened, and what to do
    errno.ENOSPC: ("no space left on this disk", "make room"),
    errno.EDQUOT: ("the quota of this disk is used up", "make room"),
    errno.EFBIG: ("the file would be larger than allowed", "raise the limit (ulimit -f)"),
    errno.EROFS: ("this disk is read-only", "use a folder that you can write to"),
    errno.EACCES: ("permission denied", "use a folder that you can read and write"),
    errno.EPERM: ("not permitted", "use a folder that you can read and write"),
    errno.EMFILE: ("too many open files", "raise the limit (ulimit -n 4096), or use fewer --jobs"),
    errno.ENFILE: ("too many open files on this machine", "close other programs"),
    errno.ENAMETOOLONG: ("the name or the path is too long", "choose a shorter one"),
    errno.ELOOP: ("a loop of symbolic links", "remove it"),
    errno.EIO: ("the disk reports an error", "check it"),
    errno.ENOMEM: ("not enough memory", "close other programs, or use fewer --jobs"),
}


def duration(seconds: float | int) -> str:
    """Format a duration: `8 s`, `2 min 05 s`, `1 h 12 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def trouble(error: OSError) -> str:
    """Say in words what stopped a command: a full disk, a read-only folder, too many open files."""
    if error.errno is None:
        return str(error)  # ours
    file = f"{error.filename}: " if error.filename else ""
    what, todo = LIMITS.get(error.errno, (error.strerror or str(error), ""))
    if error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename:
        what += f" ({free(Path(error.filename)) / 1e6:,.0f} MB free)"
    kept = f"; {todo} and repeat the command: finished results are kept" if todo else ""
    return f"{file}{what}{kept}"


def free(path: Path) -> int:
    """Return the free bytes on the disk of a path, which need not exist yet."""
    return shutil.disk_usage(next(p for p in (path, *path.absolute().parents) if p.exists())).free


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all values of nested dicts and lists with their dotted keys."""
    if not isinstance(tree, dict | list):
        yield prefix, tree
        return
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))


def plain_id(name: str) -> str:
    """Strip folder, extension and leading zeros, so that all spellings of an id are equal."""
    ending = r"\.(jpe?g|png|tiff?|npy|fits?)(\.(gz|bz2))?$"
    name = re.split(r"[/\\]", str(name))[-1]
    return re.sub(ending, "", name, flags=re.IGNORECASE).lstrip("0") or "0"


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
    found = difflib.get_close_matches(str(word), known, n=1, cutoff=0.5)
    hint = f"; did you mean {found[0]!r}?" if found else "."
    return f"unknown {thing} {word!r}{hint} Known: {', '.join(known)}"
