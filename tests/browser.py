"""A headless browser for tests of pages: Debian's chromium, driven by playwright, offline."""

import atexit
import contextlib
import functools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FLAGS = ["--no-sandbox", "--disable-gpu", "--hide-scrollbars"]


class Opened:
    """A page opened from a file, with what it has asked for and complained of."""

    def __init__(self, page: Any, path: Path):
        self.page, self.path = page, path
        self.requests: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._console)

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def outside(self) -> list[str]:
        """Addresses that were asked for, other than the page itself and what it holds."""
        own = (self.path.resolve().as_uri(), "data:", "blob:")
        return [url for url in self.requests if not url.startswith(own)]

    def axe(self) -> list[str]:
        """Serious and critical violations of accessibility that axe-core finds."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        bad = [each for each in found if each["impact"] in ("serious", "critical")]
        return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in bad]


def missing() -> str:
    """Say why there is no browser; empty if there is one."""
    if not shutil.which("chromium"):
        return "no chromium: apt-get install chromium"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "no playwright: pip install playwright axe-playwright-python"
    return ""


@contextlib.contextmanager
def opened(
    path: Path, *, address: str = "", width: int = 1440, height: int = 900, **options: Any
) -> Iterator[Opened]:
    """Open a file in chromium, offline; `address` follows its name (`#...`).

    `options` of the browser's context, such as `color_scheme="dark"`. Skips the test if there is no
    browser."""
    size: Any = {"width": width, "height": height}
    context = chromium().new_context(viewport=size, offline=True, **options)
    try:
        shown = Opened(context.new_page(), path)
        shown.page.goto(path.resolve().as_uri() + address)
        yield shown
    finally:
        context.close()


def chromium() -> Any:
    """Return the browser of this process, or skip the test if there is none."""
    if why := missing():
        pytest.skip(why)
    return _browser()


@functools.cache
def _browser() -> Any:
    """Start the browser of this process, which ends with it: playwright has one driver in each."""
    from playwright.sync_api import sync_playwright

    driver = sync_playwright().start()
    browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
    atexit.register(driver.stop)
    atexit.register(browser.close)
    return browser


def node() -> str:
    """Return the path of node, or skip the test."""
    if not (found := shutil.which("node")):
        pytest.skip("no node: apt-get install nodejs")
    return found
