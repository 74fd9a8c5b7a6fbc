"""galaxymorph.run.locks"""

from __future__ import annotations

import contextlib
import fcntl
import signal
from collections.abc import Iterator
from pathlib import Path


class RunError(RuntimeError):
    """A run that cannot start."""


@contextlib.contextmanager
def locked(place: Path) -> Iterator[None]:
    """Two runners in one folder would take each other's files away. The lock ends with the process,
    however that ends."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{place}: another process is executing this run; --run NAME makes a second one"
            ) from None
        yield


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    before = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
