"""What readers of the project find: one README for each folder, whose links and numbers hold."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
LISTED = subprocess.run(
    ["git", "ls-files", "*.md"], cwd=PROJECT, capture_output=True, text=True, check=False
).stdout.split()
PAGES = [PROJECT / name for name in sorted(set(LISTED)) if not name.endswith("summary.md")] or [
    *PROJECT.glob("*.md"),
    *PROJECT.glob("*/README.md"),
]
FOLDERS = ("notebooks", "galaxymorph", "data", "models", "results", "results/reference")
FOLDERS += ("tests", "benchmarks")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
# a result with its interval: 0.821 ± 0.044, 0.863 [0.823, 0.904]
RESULT = re.compile(r"\d\.\d+ (?:± \d\.\d+|\[[-+\d.]+, [-+\d.]+\])")


def anchors(page):
    """Names that headings can be linked by, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    texts = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", head).lower() for head in heads)
    return {re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-") for text in texts}


def links(page):
    return LINK.findall(re.sub(r"<!--.*?-->", "", page.read_text(), flags=re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_resolve(page):
    for _, _, target in links(page):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{target} leads nowhere"
        if anchor:
            assert anchor in anchors(there), f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_pictures_are_described_in_a_sentence(page):
    for picture, text, target in links(page):
        assert not picture or len(text.split()) >= 5, f"{target}: {text!r} is no description"


def test_every_folder_has_a_readme_and_the_first_is_short():
    assert [name for name in FOLDERS if not (PROJECT / name / "README.md").is_file()] == []
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 150


def test_every_wing_and_notebook_is_named():
    library = (PROJECT / "galaxymorph/README.md").read_text()
    wings = [path.parent.name for path in (PROJECT / "galaxymorph").glob("*/__init__.py")]
    assert [name for name in wings if f"{name}/" not in library] == [] and len(wings) == 8
    tour = (PROJECT / "notebooks/README.md").read_text()
    notebooks = [path.name for path in (PROJECT / "notebooks").glob("*.ipynb")]
    assert [name for name in notebooks if f"({name})" not in tour] == []


def test_no_result_stands_in_two_places():
    pages = [page for page in PAGES if page.name != "CHANGELOG.md"]
    found = Counter(each for page in pages for each in set(RESULT.findall(page.read_text())))
    assert [result for result, n in found.items() if n > 1] == [] and len(found) > 50
