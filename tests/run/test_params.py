"""params.yaml as a file, and overrides of it."""

import pytest

from galaxymorph.run.params import ParamsError, Problems, override, read


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"run: x\na: {seed: 1}\na: {seed: 2}\n", "params.yaml: line 3: duplicate key 'a'"),
        (b"run: x\na: {seed: 1,\n seed: 2}\n", "params.yaml: line 3: duplicate key 'seed'"),
        (b"run: x\na: {free: {3: x}}\n", "params.yaml: line 2: key 3 is not text"),
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
    given, problems = {"run": "x", "a": {"encoder": "cnn"}}, Problems("params.yaml")
    override(given, text, problems)
    assert given == document
    assert problems.found == []
