"""Mistakes in parameters, collected so that all of them can be reported at once."""

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
    """The mistakes found so far, each with the file, or the override, that it was made in."""

    file: str
    found: list[str] = field(default_factory=list)
    overridden: dict[str, str] = field(default_factory=dict)  # dotted key -> text of the override

    def add(self, key: str, message: str) -> None:
        """Add a mistake at a dotted key; an empty one is the whole file."""
        origin = self.file
        for dotted, text in self.overridden.items():
            if f"{key}.".startswith(f"{dotted}."):
                origin = f"-s {text}"
        self.found.append(f"{origin}: {f'{key}: ' if key else ''}{message}")


def kind_of(value: Any) -> str:
    """Name what was found in place of what was expected."""
    return "nothing" if value is None else repr(value)
