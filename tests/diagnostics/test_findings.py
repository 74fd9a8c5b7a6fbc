"""What becomes of findings."""

import pytest

from galaxymorph.diagnostics import findings

FINDINGS = [
    findings.Finding(
        "ids", "leak", "the same id in different splits: a (train) = a (test)", ("a", "a"), 10
    ),
    findings.Finding("class balance", "warning", "skewed", n=10),
    findings.Finding("rows", "passed", "every galaxy is there", n=7),
]


def test_a_leak_stops_unless_it_is_allowed():
    with pytest.raises(
        findings.Leak,
        match=r"a \(train\) = a \(test\)\. What to do: remove them.*\n.*allow: \['ids'\]",
    ):
        findings.check(FINDINGS)
    findings.check(FINDINGS, allow=["ids"])
    findings.check(FINDINGS[1:])
    with pytest.raises(findings.Leak):
        findings.check(FINDINGS, allow=["duplicates"])
    with pytest.raises(ValueError, match="unknown check 'duplicate'; did you mean 'duplicates'"):
        findings.check([], allow=["duplicate"])


def test_the_summary_has_every_check_that_was_made():
    table = findings.summary(FINDINGS)
    assert table.check.tolist() == ["ids", "class balance", "rows"]
    assert table.result.tolist() == ["leak", "warning", "passed"]
    assert table.n.tolist() == [10, 10, 7]
    assert table.galaxies.tolist() == [2, 0, 0]
