"""Terminal output of a run or a search in progress."""

import os
import shutil
from collections.abc import Mapping
from io import TextIOBase
from typing import TextIO

from galaxymorph.text import duration

ASCII = str.maketrans({"✓": "+", "✗": "x", "–": "-"})  # for terminals that know no others


def silence(stream: TextIO | TextIOBase) -> None:
    """Discard what is written from now on: the reader is gone (`galaxymorph run | head -1`)."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class Screen:
    """Permanent lines and, below them on a terminal, one rewritten line per running job.

    Elsewhere (a log file), a line for each job every `every` seconds."""

    def __init__(self, out: TextIO | TextIOBase, *, every: float = 30.0):
        self.out, self.every, self.tty, self.shown = out, every, out.isatty(), 0
        self.last: dict[str, float] = {}

    def say(self, text: str) -> None:
        """Write permanent lines."""
        self._write(f"{text}\n")
        self.shown = 0

    def live(self, running: Mapping[str, tuple[str, float]]) -> None:
        """Show the progress of jobs: name -> (progress, seconds since the start)."""
        if self.tty:
            width = max(20, shutil.get_terminal_size().columns - 1)
            lines = [f"  {name}  {far}  ({duration(s)})" for name, (far, s) in running.items()]
            self._write("".join(f"{line[:width]}\n" for line in lines))
            self.shown = len(lines)
            return
        for name, (far, seconds) in running.items():
            if seconds - self.last.get(name, 0.0) > self.every:
                self.last[name] = seconds
                self.say(f"{name}: {far}")

    def _write(self, text: str) -> None:
        up = f"\x1b[{self.shown}F\x1b[J" if self.shown else ""
        encoding = self.out.encoding or "utf-8"
        try:
            "✓✗–".encode(encoding)
        except UnicodeEncodeError:
            text = text.translate(ASCII).encode(encoding, "replace").decode(encoding)
        try:
            self.out.write(up + text)  # in one call, or it flickers
            self.out.flush()
        except BrokenPipeError:  # the run goes on
            silence(self.out)
