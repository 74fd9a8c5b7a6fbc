"""galaxymorph.run.screen"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from io import TextIOBase
from typing import TextIO

from galaxymorph.text import duration


class Screen:
    """Permanent lines, and below them, on a terminal, one line per running piece that is rewritten.

    Elsewhere (a log file), a line for each piece every `every` seconds.
    """

    def __init__(self, out: TextIO | TextIOBase, *, every: float = 30.0):
        self.out, self.every, self.tty, self.shown = out, every, out.isatty(), 0
        self.last: dict[str, float] = {}

    def say(self, text: str) -> None:
        self.out.write(f"{self._up()}{text}\n")
        self.out.flush()
        self.shown = 0

    def live(self, running: Mapping[str, tuple[str, float]]) -> None:
        """Shows how far pieces are: name -> (progress, seconds since the start)."""
        if self.tty:
            width = shutil.get_terminal_size().columns - 1
            lines = [
                f"  {name}  {progress}  ({duration(seconds)})"
                for name, (progress, seconds) in running.items()
            ]
            self.out.write(
                "".join([self._up(), *(f"{line[:width]}\n" for line in lines)])
            )  # at once, or it flickers
            self.out.flush()
            self.shown = len(lines)
            return
        for name, (progress, seconds) in running.items():
            if seconds - self.last.get(name, 0.0) > self.every:
                self.last[name] = seconds
                self.say(f"{name}: {progress}")

    def _up(self) -> str:
        return f"\x1b[{self.shown}F\x1b[J" if self.shown else ""
