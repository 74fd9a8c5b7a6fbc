"""Locks for folders that only one process may write to, and cleanup safe from signals."""

import contextlib
import fcntl
import signal
from collections.abc import Iterator
from pathlib import Path


class RunError(BlockingIOError):
    """A run or a search that another process is already executing."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Create and lock a folder; raise `RunError` if another process holds the lock.

    The lock is released when the process ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            why = "another process is executing this run; --run NAME starts a separate one"
            raise RunError(f"{folder}: {why}") from None
        yield


@contextlib.contextmanager
def ignoring_signals() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM: a second signal would interrupt the cleanup."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
