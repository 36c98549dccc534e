"""What a check found: one finding for each requirement, and the report of all, as text and as JSON."""

import json
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final, Literal, get_args

from attrs import asdict, field, filters, frozen

from navai_client.conformance._catalogue import Requirement, Severity

Verdict = Literal["passed", "failed", "warned", "skipped"]

_NOT_REACHED: Final = 3  # the navai command's status for "no response"

_MARKS: Final = {"passed": "ok", "failed": "FAIL", "warned": "warn", "skipped": "skip"}
_COLORS: Final = {"passed": "32", "failed": "1;31", "warned": "33", "skipped": "2"}
_NARROWEST: Final = 40  # columns
_SENTENCE_COLUMN: Final = 18
_LABEL_COLUMN: Final = 8  # of asked, came and change
_DETAIL_COLUMN: Final = 16


@frozen(kw_only=True)
class Finding:
    """The result of one requirement.

    Attributes:
        requirement: The requirement.
        verdict: ``passed``; ``failed`` for a violated *must*; ``warned`` for a violated *should*; ``skipped``
            when nothing was sent or there was nothing to judge.
        expected: What the profile expects: usually the requirement's sentence.
        asked: The request, without the given headers; empty when none was sent.
        came: The response, if it was not the expected one; secrets are masked.
        change: What to do about it; empty if nothing needs to be done.
        reason: Why it was skipped.
        seconds: How long the responses took.
    """

    requirement: Requirement
    verdict: Verdict
    expected: str
    asked: str = ""
    came: str = ""
    change: str = ""
    reason: str = ""
    seconds: float = 0.0

    @property
    def id(self) -> str:
        """The id of the requirement."""
        return self.requirement.id

    def to_text(self) -> str:
        """Return the finding as lines: what was expected, asked and came, and what to change."""
        lines = [f"{self.id} {self.verdict}: {self.expected}"]
        lines += [f"  {label + ':':<8} {text}" for label, text in _details(self)]
        return "\n".join(lines)


@frozen(kw_only=True)
class Report:
    """The result of a check.

    Attributes:
        url: The base URL of the backend.
        profile: The name of the profile.
        version: The version of this package.
        started_at: When the check began, in Unix seconds.
        seconds: How long it took.
        failure: Why no response came; empty when any did.
        findings: One for each requirement, in their order.
    """

    url: str
    profile: str
    version: str
    started_at: float
    seconds: float
    failure: str = ""
    findings: tuple[Finding, ...] = field(repr=False)

    @property
    def reached(self) -> bool:
        """Whether any response came."""
        return not self.failure

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __getitem__(self, requirement: str | Requirement) -> Finding:
        """Return the finding of a requirement, also by its id; a KeyError says that it was not checked."""
        for finding in self.findings:
            if finding.id == str(requirement):
                return finding
        raise KeyError(f"{requirement} was not checked.")

    @property
    def counts(self) -> Mapping[Verdict, int]:
        """How many findings have each verdict."""
        return _counts(self.findings)

    @property
    def exit_status(self) -> int:
        """The exit status for a process, 0 if every *must* holds, 1 if not, 3 if no response came."""
        return self.exit_status_at("must")

    def exit_status_at(self, severity: Severity) -> int:
        """Return the exit status for a process, as ``exit_status``.

        Args:
            severity: The lowest severity of a violation that counts: with ``should``, warnings count, too.
        """
        if not self.reached:
            return _NOT_REACHED
        counted: tuple[Verdict, ...] = ("failed",) if severity == "must" else ("failed", "warned")
        return int(any(finding.verdict in counted for finding in self.findings))

    def to_text(self, *, color: bool = False, width: int = 80, verbose: bool = False) -> str:
        """Return the report for a person.

        Args:
            color: Whether to colour it, for a terminal.
            width: How many columns there are.
            verbose: Whether to show each requirement, also those that hold or were skipped.
        """
        width = max(width, _NARROWEST)
        lines = [f"Navai conformance of {self.url} (profile: {self.profile})"]
        shown = self.findings if self.reached or verbose else ()  # nothing was seen of the others
        for group, grouped in groupby(shown, key=lambda each: each.requirement.group):
            findings = tuple(grouped)
            lines += ["", f"{group}: {_counts_text(findings)}"]
            skipped: dict[str, list[str]] = {}
            for finding in findings:
                if verbose or finding.verdict in ("failed", "warned"):
                    lines += _wrapped(finding, color=color, width=width)
                elif finding.verdict == "skipped":
                    skipped.setdefault(finding.reason, []).append(finding.id)
            for reason, ids in skipped.items():  # many ids often have one reason
                mark = _mark("skipped", color=color)
                lines += _wrap(mark, f"{', '.join(ids)}: {reason}", _LABEL_COLUMN, width)
        lines += ["", *textwrap.wrap(self._summary(), width)]
        return "\n".join(lines) + "\n"

    def _summary(self) -> str:
        if not self.reached:
            return f"The backend gave no response, so nothing was checked: {self.failure}."
        return f"{_counts_text(self.findings)} in {self.seconds:.1f} s."

    def to_json(self) -> str:
        """Return the report as JSON, whose form docs/conformance.md describes."""
        record = {
            "url": self.url,
            "profile": self.profile,
            "version": self.version,
            "started_at": datetime.fromtimestamp(self.started_at, UTC).isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 3),
            "reached": self.reached,
            "failure": self.failure,
            "exit_status": self.exit_status,
            "counts": dict(self.counts),
            "findings": [_to_record(each) for each in self.findings],
        }
        return json.dumps(record, indent=2)


def _details(finding: Finding) -> Iterator[tuple[str, str]]:
    if finding.verdict == "skipped":
        yield "because", finding.reason
    elif finding.verdict != "passed":
        yield "asked", finding.asked
        yield "came", finding.came
        yield "change", finding.change


def _to_record(finding: Finding) -> dict[str, Any]:
    requirement = finding.requirement
    return {
        "id": requirement.id,
        "group": requirement.group,
        "severity": requirement.severity,
        "source": requirement.source,
        **asdict(finding, filter=filters.exclude("requirement")),
        "seconds": round(finding.seconds, 3),
    }


def _wrapped(finding: Finding, *, color: bool, width: int) -> Iterator[str]:
    mark = _mark(finding.verdict, color=color)
    yield from _wrap(f"{mark}{finding.id:<10}", finding.expected, _SENTENCE_COLUMN, width)
    for label, text in _details(finding):
        yield from _wrap(f"{'':{_LABEL_COLUMN}}{label:<8}", text, _DETAIL_COLUMN, width)


def _counts(findings: Iterable[Finding]) -> Mapping[Verdict, int]:
    counted = Counter(each.verdict for each in findings)
    return {verdict: counted[verdict] for verdict in get_args(Verdict)}


def _counts_text(findings: Iterable[Finding]) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in _counts(findings).items() if count)


def _mark(verdict: Verdict, *, color: bool) -> str:
    mark = f"{_MARKS[verdict]:<4}"
    return f"  \x1b[{_COLORS[verdict]}m{mark}\x1b[0m  " if color else f"  {mark}  "


def _wrap(start: str, text: str, column: int, width: int) -> list[str]:
    """Return *text* wrapped: the first line after *start*, the others indented by *column*."""
    lines = textwrap.wrap(text, max(width - column, 20), break_on_hyphens=False) or [""]
    return [start + lines[0], *(" " * column + line for line in lines[1:])]
