"""Locks of folders that one process may write to, and a shield from signals while it cleans up."""

import contextlib
import fcntl
import signal
from collections.abc import Iterator
from pathlib import Path


class RunError(BlockingIOError):
    """A run or a search that another process is executing."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which is made; raise `RunError` where another process holds it.

    The lock ends with the process, however that ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said = "another process is executing this run; --run NAME makes a second one"
            raise RunError(f"{folder}: {said}") from None
        yield


@contextlib.contextmanager
def ignoring_signals() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM, of which a second one would leave something behind."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
