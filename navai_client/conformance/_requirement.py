"""What a backend must do or should do: one requirement, and what a rule says of it."""

from collections.abc import Mapping
from typing import Final, Literal, Protocol

from attrs import field, frozen

from navai_client.conformance._outcome import Answer
from navai_client.conformance._probes import Acts, Subject

Group = Literal["list", "execute", "client-secret", "errors", "cors", "limits", "speech"]
Severity = Literal["must", "should"]

GROUPS: Final[tuple[Group, ...]] = (
    "list",
    "execute",
    "client-secret",
    "errors",
    "cors",
    "limits",
    "speech",
)
ACTS: Final[Mapping[Acts, str]] = {
    "execute": "execute=(name, payload)",
    "execute_failing": "execute_failing=(name, payload)",
    "mint": "mint=True",
    "speak": "speak=text",
}


@frozen(kw_only=True)
class Evidence:
    """All that came, for rules that look at more than one answer.

    Attributes:
        subject: What was checked.
        answers: By the name of their probe.
        asked: What each probe asked, for a person.
        now: The clock of this machine, in Unix seconds.
    """

    subject: Subject
    answers: Mapping[str, Answer]
    asked: Mapping[str, str]
    now: float


@frozen
class Unseen:
    """What a rule gives when there is nothing that it could judge: the reason."""

    reason: str


class Rule(Protocol):
    """Judges one answer. Pure."""

    def __call__(self, answer: Answer, evidence: Evidence, /) -> str | Unseen | None:
        """Return None if it is as it should be, else what came instead, or that nothing can be seen."""
        ...


@frozen(kw_only=True)
class Requirement:
    """One thing that is asked of a backend.

    Attributes:
        id: Its name, which stays: reports, baselines and tests refer to it.
        group: What it is about.
        severity: ``must`` is what the documents say and the published clients need; ``should`` is what keeps
            a backend safe and its errors plain, and what the reference server does.
        sentence: What is asked.
        change: What to do when it is broken.
        source: Who asks.
        relates: Ids of the requirements on the page docs/parity.md that it is a part of.
        needs: Ids of requirements without which it cannot be judged.
        acts: What must be allowed for it to be checked; empty when looking is enough.
        probes: The names of the probes whose answers are judged, one after the other.
        unseen: Why a probe of it may not have been made.
        may_hang_up: Whether the end of the connection is as good as an answer.
        rule: Judges each answer.
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
