"""Counts planted faults, and leaves out slow ones unless they are asked for."""

import os

import pytest

FOLDER = "tests/faults/"


def pytest_collection_modifyitems(config, items):
    asked = os.environ.get("GALAXYMORPH_SLOW") or "slow" in config.getoption("markexpr")
    for item in items:
        if item.nodeid.startswith(FOLDER) and item.get_closest_marker("slow") and not asked:
            item.add_marker(pytest.mark.skip(reason="slow: pytest -m slow, or GALAXYMORPH_SLOW=1"))


def pytest_terminal_summary(terminalreporter):
    ended = {
        kind: {
            report.nodeid
            for report in terminalreporter.stats.get(kind, [])
            if report.nodeid.startswith(FOLDER)
        }
        for kind in ("passed", "failed", "error")
    }
    lost = ended["failed"] | ended["error"]
    if planted := lost | ended["passed"]:
        survived = len(planted) - len(lost)
        counts = f"{len(planted)} planted, {survived} survived, {len(lost)} lost"
        terminalreporter.write_line(f"faults: {counts}", bold=True)
