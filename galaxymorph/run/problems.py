"""galaxymorph.run.problems"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


class ParamsError(ValueError):
    """What is wrong in the parameters, one line for each mistake."""

    def __init__(self, problems: Iterable[str]):
        self.problems = list(dict.fromkeys(problems))
        super().__init__("\n".join(self.problems))


@dataclass
class Problems:
    """The mistakes found so far; a key set by -s is named so."""

    file: str
    found: list[str] = field(default_factory=list)
    overridden: dict[str, str] = field(default_factory=dict)  # dotted key -> text of the override

    def add(self, key: str, message: str) -> None:
        texts = [
            text
            for dotted, text in self.overridden.items()
            if key == dotted or key.startswith(f"{dotted}.")
        ]
        self.found.append(
            f"{f'-s {texts[-1]}' if texts else self.file}: {f'{key}: ' if key else ''}{message}"
        )


def kind_of(value: Any) -> str:
    return "nothing" if value is None else repr(value)
