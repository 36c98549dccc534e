"""What a check found: one finding for each requirement, and the report that they make."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, Literal

from attrs import field, frozen

from navai_client.conformance import _rendering as rendering
from navai_client.conformance._requirement import Requirement, Severity

Verdict = Literal["passed", "failed", "warned", "skipped"]

_NO_ANSWER: Final = 3  # as the navai command has it


@frozen(kw_only=True)
class Finding:
    """What came of one requirement.

    Attributes:
        requirement: Which.
        verdict: ``passed``; ``failed``, when something that must be is not; ``warned``, when something that
            should be is not; ``skipped``, when it was not asked or could not be seen.
        expected: What the profile expects: mostly the requirement's sentence.
        asked: The request, without headers that its user gave; empty when none was made.
        came: What came, when it was not what was expected; secrets masked.
        change: What to do about it; empty when nothing has to be done.
        reason: Why it was skipped.
        seconds: How long the answers took.
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
        """Return the finding in some lines: what was expected, asked and came, and what to change."""
        return rendering.finding_to_text(self)


@frozen(kw_only=True)
class Report:
    """What a check found.

    Attributes:
        url: The base URL of the backend.
        profile: The name of the profile.
        version: The version of this package.
        started_at: When the check began, in Unix seconds.
        seconds: How long it took.
        failure: Why no answer came; empty when any did.
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
        """Whether any answer came."""
        return not self.failure

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __getitem__(self, requirement: str | Requirement) -> Finding:
        """Return the finding on *requirement*, by its id; a KeyError says that it was not checked."""
        for finding in self.findings:
            if finding.id == str(requirement):
                return finding
        raise KeyError(f"{requirement} was not checked.")

    @property
    def counts(self) -> Mapping[Verdict, int]:
        """How many findings there are of each verdict."""
        counted = Counter(finding.verdict for finding in self.findings)
        verdicts: tuple[Verdict, ...] = ("passed", "failed", "warned", "skipped")
        return {verdict: counted[verdict] for verdict in verdicts}

    @property
    def exit_status(self) -> int:
        """The status for a process: 0 when all that must be is, 1 when not, 3 when no answer came."""
        return self.exit_status_at("must")

    def exit_status_at(self, severity: Severity) -> int:
        """Return the status for a process, as ``exit_status``.

        Args:
            severity: From which severity on a broken requirement counts: with ``should``, warnings do, too.
        """
        if not self.reached:
            return _NO_ANSWER
        counted: tuple[Verdict, ...] = ("failed",) if severity == "must" else ("failed", "warned")
        return int(any(finding.verdict in counted for finding in self.findings))

    def to_text(self, *, color: bool = False, width: int = 80, verbose: bool = False) -> str:
        """Return the report for a person.

        Args:
            color: Whether to colour it, for a terminal.
            width: How many columns there are.
            verbose: Whether to show each requirement, also those that hold or were skipped.
        """
        return rendering.to_text(self, color=color, width=width, verbose=verbose)

    def to_json(self) -> str:
        """Return the report as JSON, whose form docs/conformance.md describes."""
        return rendering.to_json(self)

    def to_junit(self) -> str:
        """Return the report as JUnit's XML, as Jenkins, GitLab and their like read it."""
        return rendering.to_junit(self)
