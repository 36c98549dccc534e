"""A report as text and as JSON, and its exit status."""

import json
import re
from typing import Final

import attrs
import pytest

from navai_client.conformance import Finding, Report, requirements
from tests.conformance.table import PAGE

BY_ID: Final = {each.id: each for each in requirements()}


def finding(id_: str, **given: str) -> Finding:
    return Finding(**{"requirement": BY_ID[id_], "expected": BY_ID[id_].sentence, "asked": "GET /x", **given})  # type: ignore[arg-type]


PASSED: Final = finding("LIST-01", verdict="passed")
FAILED: Final = finding("LIST-08", verdict="failed", came="no <warnings> & none", change="Add them.")
WARNED: Final = finding("LIST-10", verdict="warned", came='Content-Type: "text"', change="Send it.")
SKIPPED: Final = finding("EXEC-10", verdict="skipped", reason="it acts")
SKIPPED_TOO: Final = finding("EXEC-11", verdict="skipped", reason="it acts")
REPORT: Final = Report(
    url="http://navai.test",
    profile="contract",
    version="1.2.3",
    started_at=1_800_000_000.0,
    seconds=1.23456,
    findings=(PASSED, FAILED, WARNED, SKIPPED, SKIPPED_TOO),
)

TEXT: Final = """\
Navai conformance of http://navai.test (profile: contract)

list: 1 passed, 1 failed, 1 warned
  FAIL  LIST-08   The list has warnings, an array of strings.
        asked   GET /x
        came    no <warnings> & none
        change  Add them.
  warn  LIST-10   The list's Content-Type is application/json.
        asked   GET /x
        came    Content-Type: "text"
        change  Send it.

execute: 2 skipped
  skip  EXEC-10, EXEC-11: it acts

1 passed, 1 failed, 1 warned, 2 skipped in 1.2 s.
"""


def test_the_text_shows_what_needs_attention() -> None:
    assert REPORT.to_text() == TEXT


def test_the_text_can_show_everything() -> None:
    text = REPORT.to_text(verbose=True)

    assert "  ok    LIST-01   Listing functions returns" in text
    assert "  skip  EXEC-11   It then has a result" in text
    assert "        because it acts\n" in text


def test_without_colour_the_text_has_no_control_characters_and_with_it_says_the_same() -> None:
    colored = REPORT.to_text(color=True)

    assert "\x1b[1;31mFAIL\x1b[0m" in colored
    assert re.sub(r"\x1b\[[\d;]*m", "", colored) == TEXT


@pytest.mark.parametrize("width", [1, 40, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    long = attrs.evolve(FAILED, came="word " * 50 + "w" * 200)
    report = attrs.evolve(REPORT, findings=(long, *REPORT.findings), url="http://n")

    longest = max(len(line) for line in report.to_text(width=width, verbose=True).splitlines()[1:])
    assert longest <= max(width, 40)


def test_json_has_the_members_that_are_promised() -> None:
    read = json.loads(REPORT.to_json())

    assert read == {
        "url": "http://navai.test",
        "profile": "contract",
        "version": "1.2.3",
        "started_at": "2027-01-15T08:00:00+00:00",
        "seconds": 1.235,
        "reached": True,
        "failure": "",
        "exit_status": 1,
        "counts": {"passed": 1, "failed": 1, "warned": 1, "skipped": 2},
        "findings": read["findings"],
    }
    assert read["findings"][1] == {
        "id": "LIST-08",
        "group": "list",
        "severity": "must",
        "verdict": "failed",
        "expected": "The list has warnings, an array of strings.",
        "asked": "GET /x",
        "came": "no <warnings> & none",
        "change": "Add them.",
        "reason": "",
        "source": "documents",
        "seconds": 0.0,
    }


def test_the_page_says_what_each_member_of_the_json_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    read = json.loads(REPORT.to_json())

    for name in read:
        assert f"`{name}`" in page or f"`{name}[]" in page
    for name in read["findings"][0]:
        assert f"`findings[].{name}`" in page or f"`.{name}`" in page


def test_exit_statuses_go_by_severity() -> None:
    def statuses(report: Report) -> tuple[int, int]:
        return report.exit_status, report.exit_status_at("should")

    assert statuses(REPORT) == (1, 1)
    assert statuses(attrs.evolve(REPORT, findings=(PASSED, SKIPPED))) == (0, 0)
    assert statuses(attrs.evolve(REPORT, findings=(PASSED, WARNED))) == (0, 1)
    assert statuses(attrs.evolve(REPORT, failure="nobody there")) == (3, 3)


def test_a_finding_is_found_by_its_id_or_requirement() -> None:
    assert REPORT["LIST-08"] is FAILED is REPORT[BY_ID["LIST-08"]]
    with pytest.raises(KeyError, match=r"CORS-01 was not checked\."):
        REPORT["CORS-01"]
