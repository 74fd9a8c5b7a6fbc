"""Values as YAML gives them, against annotations."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from jaxtyping import Float

from galaxymorph.run.typecheck import accepts, expectation

Optimizer = Literal["adamw", "sgd"]


@pytest.mark.parametrize(
    ("hint", "right", "wrong"),
    [
        (int, [3, -1], [True, 3.0, "3", None]),
        (float, [3, 0.5], [True, "1e-3", None]),
        (bool, [True], [1, 0, "yes"]),
        (str, ["a", ""], [1, None]),
        (Path, ["a/b"], [1]),
        (None, [None], [0, "null"]),
        (int | None, [3, None], [3.5, "long"]),
        (Optimizer, ["adamw"], ["adam", None]),
        (Literal[1, "all"], [1, "all"], [True, 1.0, 2]),
        (Optimizer | float | None, ["sgd", 1, None], ["x", False]),
        (list[int], [[], [1, 2]], [[1.5], (1,), 1, "ab"]),
        (list, [["a", 1]], [{"a": 1}]),
        (tuple[int, ...], [[], [1, 2, 3]], [["a"], 1]),
        (tuple[int, str], [[1, "a"]], [[1], ["a", 1], [1, "a", 2]]),
        (Sequence[str], [["a"]], ["a", [1]]),
        (dict, [{}, {"a": 1}], [[], "a"]),
        (Mapping[str, float], [{"a": 1}], [{"a": "x"}, [1]]),
        (Float[torch.Tensor, "galaxy"], [1, "a", None], []),
        (Callable[[int], str], [1, "a"], []),
        (Any, [1, "a", None, {}], []),
    ],
)
def test_what_annotations_allow(hint, right, wrong):
    assert [value for value in right if not accepts(value, hint)] == []
    assert [value for value in wrong if accepts(value, hint)] == []


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        (True, int | None, "expected a whole number or null, found true"),
        ("1e-3", float, 'expected a number, found "1e-3", which YAML reads as text; write 1.0e-3'),
        ("adam", Optimizer, 'expected adamw or sgd, found "adam" (did you mean adamw?)'),
        ([1], tuple[int, str], "expected 2 values (a whole number and text), found [1]"),
        ("a", list[str] | Path, 'expected a list (text) or a path, found "a"'),
        (1, Mapping[str, float], "expected a mapping, found 1"),
    ],
)
def test_what_was_expected_is_said_in_words(value, hint, message):
    assert expectation(value, hint) == message
