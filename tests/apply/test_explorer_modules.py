"""The explorer's JavaScript without a browser: unit tests by node, where there is one."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from galaxymorph.apply import explorer
from tests.browser import node

HERE = Path(__file__).parent / "javascript"


@pytest.fixture
def copied(tmp_path):
    """The assets and their tests in one folder, where node takes .js for modules."""
    for path in [*explorer.ASSETS.glob("*.js"), *HERE.glob("*.js")]:
        shutil.copy(path, tmp_path)
    (tmp_path / "package.json").write_text(json.dumps({"type": "module"}))
    return tmp_path


def test_units(copied):
    command = [node(), "--test", "explorer.test.js"]
    done = subprocess.run(command, cwd=copied, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r"# pass (\d+)", done.stdout), done.stdout[-500:]
    assert int(re.search(r"# pass (\d+)", done.stdout)[1]) >= 15  # pyright: ignore


def test_all_modules_make_one_script(copied):
    script = explorer.inlined(explorer.MODULES)
    assert not re.search(r"^(import|export)\b", script, re.MULTILINE)
    whole = copied / "whole.mjs"
    whole.write_text(script)  # a name that two modules have is a syntax error
    done = subprocess.run([node(), "--check", whole], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_modules_follow_those_that_they_import():
    for place, name in enumerate(explorer.MODULES):
        text = (explorer.ASSETS / f"{name}.js").read_text()
        assert set(re.findall(r'from "\./(\w+)\.js"', text)) <= set(explorer.MODULES[:place])
