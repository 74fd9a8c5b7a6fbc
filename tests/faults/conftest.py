"""Counts planted faults."""

FOLDER = "tests/faults/"


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
