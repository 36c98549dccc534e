"""What a backend must do or should do: one requirement, and what its rule gets to see."""

from collections.abc import Mapping
from typing import Final, Literal, Protocol, get_args

from attrs import field, frozen

from navai_client.conformance._outcome import Outcome
from navai_client.conformance._probes import Acts, Subject

Group = Literal["list", "execute", "client-secret", "errors", "cors", "limits", "speech"]
Severity = Literal["must", "should"]

GROUPS: Final[tuple[Group, ...]] = get_args(Group)
ACTS: Final[Mapping[Acts, str]] = {
    "execute": "execute=(name, payload)",
    "execute_failing": "execute_failing=(name, payload)",
    "mint": "mint=True",
    "speak": "speak=text",
}
"""The argument of ``check`` that allows a requirement to act."""


@frozen(kw_only=True)
class Evidence:
    """Everything that came, for rules that look at more than one response.

    Attributes:
        subject: What was checked.
        outcomes: By the name of their probe.
        asked: What each probe asked, for a person.
        now: The clock of this machine, in Unix seconds.
    """

    subject: Subject
    outcomes: Mapping[str, Outcome]
    asked: Mapping[str, str]
    now: float


@frozen
class Unseen:
    """What a rule returns when there is nothing to judge: the reason."""

    reason: str


class Rule(Protocol):
    """Judges the outcome of one probe. Pure."""

    def __call__(self, outcome: Outcome, evidence: Evidence, /) -> str | Unseen | None:
        """Return None if it is as it should be, else what came instead, or that there is nothing to judge."""
        ...


@frozen(kw_only=True)
class Requirement:
    """One thing that is required of a backend.

    Attributes:
        id: Its name, which stays: reports, baselines and tests refer to it.
        group: What it is about.
        severity: ``must`` is what the documents say and the published clients need; ``should`` is what keeps
            a backend safe and its errors plain, and what the reference server does.
        sentence: What is required.
        change: What to do when it is violated.
        source: Where it comes from.
        relates: Ids of the requirements on the page docs/parity.md that it is a part of.
        needs: Ids of requirements without which it cannot be judged.
        acts: What must be allowed for it to be checked; empty when looking is enough.
        probes: The names of the probes whose outcomes are judged, one after the other.
        unseen: Why one of its probes may not have been sent.
        may_hang_up: Whether a closed connection is as good as a response.
        rule: Judges each outcome.
    """

    id: str
    group: Group
    severity: Severity
    sentence: str
    change: str
    source: str
    relates: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    acts: Acts = ""
    probes: tuple[str, ...]
    unseen: str = ""
    may_hang_up: bool = False
    rule: Rule = field(repr=False)

    def __str__(self) -> str:
        return self.id
