"""params.yaml as a file, and overrides of it."""

import math
import os
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxymorph.run import ranges
from galaxymorph.run.params import ParamsError, Problems, override, read

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"run: x\na: {seed: 1}\na: {seed: 2}\n", "params.yaml: line 3: duplicate key 'a'"),
        (b"run: x\na: {seed: 1,\n seed: 2}\n", "params.yaml: line 3: duplicate key 'seed'"),
        (b"run: x\na: {free: {true: x}}\n", "params.yaml: line 2: key true is not text"),
        (b"run: x\ntrue: {}\n", "params.yaml: line 2: key true is not text; put it in quo"),
        (b"run: x\n[a, b]: {}\n", "line 2: key [...] is not text"),
        (b"- run\n", "params.yaml: expected `run:`, `galaxies:` and steps, found ['run']"),
        (b"", "params.yaml: expected `run:`, `galaxies:` and steps, found nothing"),
        (b"a: [\n", "params.yaml: line 2: not valid YAML"),
        (b"run: caf\xe9\n", "not valid UTF-8 (byte 9)"),
    ],
)
def test_wrong_files_are_refused(tmp_path, text, message):
    path = tmp_path / "params.yaml"
    path.write_bytes(text)
    with pytest.raises(ParamsError) as error:
        read(path)
    assert message in str(error.value)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ParamsError, match=r"other\.yaml: cannot be read \(No such file.*--params"):
        read(tmp_path / "other.yaml")
    with pytest.raises(ParamsError, match=r": cannot be read \(Is a directory\)"):
        read(tmp_path)


def test_keys_may_be_merged_and_quoted(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a: &a {seed: 1}\nb: {<<: *a, '3': x}\n")
    assert read(path) == {"a": {"seed": 1}, "b": {"seed": 1, "3": "x"}}


def test_numbers_as_keys_are_text_as_written(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("galaxies: {class_names: {-5: E, 0.50: S0, -999: null}}\n")
    names = read(path)["galaxies"]["class_names"]
    assert names == {"-5": "E", "0.50": "S0", "-999": None}
    path.write_text("a: {-5: E, '-5': S0}\n")
    with pytest.raises(ParamsError, match="line 1: duplicate key '-5'"):
        read(path)


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("run=1e3", {"run": "1e3", "a": {"encoder": "cnn"}}),
        ("galaxies.root=x", {"run": "x", "a": {"encoder": "cnn"}, "galaxies": {"root": "x"}}),
        ("a.encoder.freeze=2", {"run": "x", "a": {"encoder": {"name": "cnn", "freeze": 2}}}),
        ("a.encoder={step: b}", {"run": "x", "a": {"encoder": {"step": "b"}}}),
        ("a.over.b.c=[1]", {"run": "x", "a": {"encoder": "cnn", "over": {"b.c": [1]}}}),
    ],
)
def test_overrides_set_one_value(text, document):
    found, problems = {"run": "x", "a": {"encoder": "cnn"}}, Problems("params.yaml")
    override(found, text, problems)
    assert found == document
    assert problems.found == []


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS.encode(), "more than 100,000 values, repeated by aliases"),
        (b"run: x\na: &a {b: *a}\n", "line 2: an alias that refers to itself"),
        (b"a: " + b"[" * 3000 + b"]" * 3000, "line 1: nested more than 40 levels deep"),
        (b"run: x\n? !!str [a, b]\n: c\n", "line 2: key [...] is not text"),
        (b"run: x\n? {a: b}\n: c\n", "line 2: key [...] is not text"),
        (b"run: x\0y\n", "line 1: not valid YAML: character '\\x00' is not allowed"),
        (
            b"run: x\na:\n\tb: 1\n",
            "line 3: not valid YAML: found character '\\t' that cannot start any",
        ),
        (b"run: x\na: {label: no}\n", "line 2: YAML reads no as false; write false, or 'no'"),
        (b"run: x\na: {label: On}\n", "line 2: YAML reads On as true"),
        (b"run: x\nno: {}\n", "line 2: key no is not text; put it in quotes"),
        (b"run: x\na: 0123\n", "line 2: YAML reads 0123 as 83; write 83, or '0123'"),
        (b"run: x\na: 12:30\n", "line 2: YAML reads 12:30 as 750"),
        (b"run: x\na: 12:30.5\n", "line 2: YAML reads 12:30.5 as 750.5"),
        (b"run: x\na: 2026-11-30\n", "line 2: '2026-11-30' is a timestamp; put it in quotes"),
        (b"run: x\na: 2026-99-99\n", "line 2: '2026-99-99' is a timestamp"),
        (b"run: x\na: !!binary aGk=\n", "line 2: 'aGk=' is a binary"),
        (
            b"run: x\na: !!python/object:os.system x\n",
            "line 2: 'x' is a python/object:os.system; put",
        ),
        (b"run: x\na: .nan\n", "line 2: .nan is not a finite number"),
        (b"run: x\na: -.inf\n", "line 2: -.inf is not a finite number"),
        (b"run: x\na: !!int b\n", "not valid YAML"),
        (b"run: x\na: *b\n", "line 2: not valid YAML: found undefined alias 'b'"),
        (b"run: x\n--- \nrun: y\n", "line 2: not valid YAML: but found another document"),
        (b"\xff\xfer\0u\0n\0", "not valid UTF-8 (byte 1)"),
    ],
)
def test_what_yaml_would_do_without_a_word_is_refused(tmp_path, text, message):
    path = tmp_path / "params.yaml"
    path.write_bytes(text)
    with pytest.raises(ParamsError) as error:
        read(path)
    assert message in str(error.value)


def test_numbers_and_booleans_as_anyone_reads_them(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a: [true, False, 0, -10, 0.5, 1.0e-3, 'no', '0123', null, 1_000]\n")
    assert read(path) == {"a": [True, False, 0, -10, 0.5, 0.001, "no", "0123", None, 1000]}


def test_a_file_is_regular_and_small(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ParamsError, match="not a regular file"):
        read(tmp_path / "fifo")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(ParamsError, match="1,073,741,824 bytes; a params file has at most"):
        read(tmp_path / "large")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"training": {"epochs": 0}}, "training.epochs: a whole number, 1 or more"),
        ({"training": {"epochs": -1}}, "training.epochs: a whole number, 1 or more"),
        ({"training": {"batch_size": 0}}, "training.batch_size: a whole number, 1 or more"),
        ({"training": {"learning_rate": 0}}, "training.learning_rate: a number above 0"),
        ({"training": {"learning_rate": -1e-3}}, "training.learning_rate: a number above 0"),
        ({"training": {"learning_rate": math.nan}}, "training.learning_rate: a finite number"),
        ({"training": {"learning_rate": math.inf}}, "training.learning_rate: a finite number"),
        ({"training": {"weight_decay": -0.1}}, "training.weight_decay: a number at least 0"),
        ({"contrast": {"momentum": 1.5}}, "contrast.momentum: a number at least 0 and below 1"),
        ({"head": {"dropout": 1.0}}, "head.dropout: a number at least 0 and below 1"),
        (
            {"training": {"layer_decay": 0.0}},
            "training.layer_decay: a number above 0 and at most 1",
        ),
        ({"galaxies": {"label_fraction": 1.5}}, "galaxies.label_fraction: a number above 0 and at"),
        ({"galaxies": {"test": 1.0}}, "galaxies.test: a number above 0 and below 1"),
        ({"seed": -1}, "seed: a whole number from 0 to 4294967295"),
        ({"seeds": [0, 2**32]}, "seeds.1: a whole number from 0 to 4294967295"),
        ({"semi": {"ratio": 0}}, "semi.ratio: a whole number, 1 or more"),
        ({"semi": {"weight": -1.0}}, "semi.weight: a number at least 0"),
        ({"semi": {"threshold": 1.0}}, "semi.threshold: a number above 0 and below 1"),
        ({"n_labels": 0}, "n_labels: a whole number, 1 or more"),
    ],
)
def test_numbers_have_ranges(given, wanted):
    ((key, message),) = ranges.mistakes(given)
    assert f"{key}: {message.removeprefix('expected ')}".startswith(wanted)


# PyYAML itself writes a key of these as a line break.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x85\u2028\u2029"))


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), TEXT),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=8,
    )
)
@settings(max_examples=60, deadline=None)
@pytest.mark.long
def test_what_yaml_writes_is_read_or_refused_in_words(tree):
    text = yaml.safe_dump({"run": "x", "a": tree}, allow_unicode=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_text(text, encoding="utf-8", newline="")
        try:
            assert read(path) == {"run": "x", "a": tree}
        except ParamsError as error:
            assert "params.yaml" in str(error)


def test_the_params_files_of_the_project_are_valid():
    for path in [ROOT / "params.yaml", *ROOT.glob("results/reference/*/params.yaml")]:
        assert list(ranges.mistakes(read(path))) == []
