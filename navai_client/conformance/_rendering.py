"""A report as text for people, as JSON for programs, and as JUnit's XML for CI."""

import json
import textwrap
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from navai_client.conformance._report import Finding, Report

_MARKS: Final = {"passed": "ok", "failed": "FAIL", "warned": "warn", "skipped": "skip"}
_COLORS: Final = {"passed": "32", "failed": "1;31", "warned": "33", "skipped": "2"}
_NARROWEST: Final = 40
_MARGIN: Final = 18  # where sentences begin
_LABELS: Final = 8  # where the words asked, came and change begin
_DETAILS: Final = 16  # and what follows them


def finding_to_text(finding: "Finding") -> str:
    """Return one finding in some lines, without the width of a terminal in mind."""
    lines = [f"{finding.id} {finding.verdict}: {finding.expected}"]
    for label, text in _details(finding):
        lines.append(f"  {label + ':':<8} {text}")
    return "\n".join(lines)


def _details(finding: "Finding") -> Iterator[tuple[str, str]]:
    if finding.verdict == "skipped":
        yield "because", finding.reason
    elif finding.verdict != "passed":
        yield "asked", finding.asked
        yield "came", finding.came
        yield "change", finding.change


def to_text(report: "Report", *, color: bool, width: int, verbose: bool) -> str:
    """Return *report* for a person."""
    width = max(width, _NARROWEST)
    lines = [f"Navai conformance of {report.url} (profile: {report.profile})"]
    for group, grouped in groupby(report.findings, key=lambda each: each.requirement.group):
        findings = tuple(grouped)
        lines += ["", f"{group}: {_counts(findings)}"]
        skipped: dict[str, list[str]] = {}
        for finding in findings:
            if verbose or finding.verdict in ("failed", "warned"):
                lines += _finding_lines(finding, color=color, width=width)
            elif finding.verdict == "skipped":
                skipped.setdefault(finding.reason, []).append(finding.id)
        for reason, ids in skipped.items():
            # What was skipped for one reason is one line: there may be many.
            lines += _wrapped(_mark("skipped", color=color), f"{', '.join(ids)}: {reason}", _LABELS, width)
    lines += ["", *textwrap.wrap(_summary(report), width)]
    return "\n".join(lines) + "\n"


def _finding_lines(finding: "Finding", *, color: bool, width: int) -> Iterator[str]:
    mark = _mark(finding.verdict, color=color)
    yield from _wrapped(mark + f"{finding.id:<10}", finding.expected, _MARGIN, width)
    for label, text in _details(finding):
        yield from _wrapped(" " * _LABELS + f"{label:<8}", text, _DETAILS, width)


def _mark(verdict: str, *, color: bool) -> str:
    mark = f"{_MARKS[verdict]:<4}"
    return f"  \x1b[{_COLORS[verdict]}m{mark}\x1b[0m  " if color else f"  {mark}  "


def _wrapped(start: str, text: str, indent: int, width: int) -> list[str]:
    """Return *text* beginning after *start*, and below itself."""
    lines = textwrap.wrap(text, max(width - indent, 20), break_on_hyphens=False) or [""]
    return [start + lines[0], *(" " * indent + line for line in lines[1:])]


def _summary(report: "Report") -> str:
    counts = _counts(report.findings)
    if not report.reached:
        return f"The backend gave no answer ({report.failure}): {counts}."
    return f"{counts} in {report.seconds:.1f} s."


def _counts(findings: "tuple[Finding, ...]") -> str:
    counted = Counter[str](each.verdict for each in findings)
    return ", ".join(f"{counted[verdict]} {verdict}" for verdict in _MARKS if counted[verdict])


def to_json(report: "Report") -> str:
    """Return *report* as JSON."""
    return json.dumps(
        {
            "url": report.url,
            "profile": report.profile,
            "version": report.version,
            "started_at": _time_of(report),
            "seconds": round(report.seconds, 3),
            "reached": report.reached,
            "failure": report.failure,
            "exit_status": report.exit_status,
            "counts": dict(report.counts),
            "findings": [_finding_as_record(each) for each in report.findings],
        },
        indent=2,
    )


def _finding_as_record(finding: "Finding") -> dict[str, Any]:
    requirement = finding.requirement
    return {
        "id": requirement.id,
        "group": requirement.group,
        "severity": requirement.severity,
        "verdict": finding.verdict,
        "expected": finding.expected,
        "asked": finding.asked,
        "came": finding.came,
        "change": finding.change,
        "reason": finding.reason,
        "source": requirement.source,
        "seconds": round(finding.seconds, 3),
    }


def _time_of(report: "Report") -> str:
    return datetime.fromtimestamp(report.started_at, UTC).isoformat(timespec="seconds")


def to_junit(report: "Report") -> str:
    """Return *report* as JUnit's XML: a suite for each group; what is warned of passes, and says so."""
    totals = _totals(report.findings)
    del totals["skipped"]  # the schema has it for suites alone
    root = ET.Element("testsuites", name="navai conformance", **totals)
    for group, grouped in groupby(report.findings, key=lambda each: each.requirement.group):
        findings = tuple(grouped)
        suite = ET.SubElement(root, "testsuite", name=f"navai.{group}", **_totals(findings))
        suite.set("timestamp", _time_of(report).partition("+")[0])
        properties = ET.SubElement(suite, "properties")
        for name, value in (("url", report.url), ("profile", report.profile)):
            ET.SubElement(properties, "property", name=name, value=value)
        for finding in findings:
            case = ET.SubElement(
                suite,
                "testcase",
                classname=f"navai.{group}",
                name=f"{finding.id} {finding.requirement.sentence}",
                time=f"{finding.seconds:.3f}",
            )
            if finding.verdict == "failed":
                failure = ET.SubElement(
                    case, "failure", message=finding.came, type=finding.requirement.severity
                )
                failure.text = finding_to_text(finding)
            elif finding.verdict == "skipped":
                ET.SubElement(case, "skipped", message=finding.reason)
            elif finding.verdict == "warned":
                ET.SubElement(case, "system-out").text = finding_to_text(finding)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _totals(findings: "tuple[Finding, ...]") -> dict[str, Any]:
    verdicts = [each.verdict for each in findings]
    return {
        "tests": str(len(findings)),
        "failures": str(verdicts.count("failed")),
        "errors": "0",
        "skipped": str(verdicts.count("skipped")),
        "time": f"{sum(each.seconds for each in findings):.3f}",
    }
