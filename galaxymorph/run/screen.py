"""Terminal output of a run or a search in progress."""

import os
import shutil
import time
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
    """Permanent lines and, below them on a terminal, rewritten ones: running jobs and the whole.

    Elsewhere (a log file), a line for each job every `every` seconds, and one a minute for the
    whole."""

    def __init__(self, out: TextIO | TextIOBase, *, every: float = 30.0, minute: float = 60.0):
        self.out, self.every, self.minute, self.tty = out, every, minute, out.isatty()
        self.shown, self.began = 0, time.monotonic()
        self.last: dict[str, float] = {}

    def say(self, text: str) -> None:
        """Write permanent lines."""
        self._write(f"{text}\n")
        self.shown = 0

    def live(self, running: Mapping[str, tuple[str, float]], whole: str = "") -> None:
        """Show the progress of jobs, name -> (progress, seconds since the start), and the whole."""
        if self.tty:
            width = max(20, shutil.get_terminal_size().columns - 1)
            lines = [f"  {name}  {far}  ({duration(s)})" for name, (far, s) in running.items()]
            lines += [f"  {whole}"] * bool(whole)
            self._write("".join(f"{line[:width]}\n" for line in lines))
            self.shown = len(lines)
            return
        for name, (far, seconds) in running.items():
            if seconds - self.last.get(name, 0.0) > self.every:
                self.last[name] = seconds
                self.say(f"{name}: {far}")
        passed = time.monotonic() - self.began
        if whole and passed - self.last.get("", 0.0) > self.minute:
            self.last[""] = passed
            self.say(whole)

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
