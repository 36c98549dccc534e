"""What was seen of a world, and the rules that each history must keep. The rules read nothing else."""

import dataclasses
import math
from collections import defaultdict
from typing import Any, Final, Literal

__all__ = ["Answer", "Began", "Decision", "Ended", "Fault", "History", "Key", "Kind", "violations"]

Kind = Literal["result", "failed", "refused", "pending", "unknown", "lost", "left", "escaped"]
Key = tuple[str, str]
"""The caller, and its idempotency key."""

REJECTED: Final = "A person rejected the call. It was not executed."
_CONFLICT: Final = 422


@dataclasses.dataclass
class Call:
    """A client asks for an execution.

    Attributes:
        number: Of this call.
        key: Its caller and key.
        order: Its payload, which a result repeats.
        request_id: By which an execution knows the call.
        audits: Whether it came at the end, when nothing went wrong any more.
        due: When it must have ended.
    """

    number: int
    key: Key
    order: str
    request_id: str
    audits: bool
    due: float


@dataclasses.dataclass
class Answer:
    """A client has an answer.

    Attributes:
        call: The number of the call.
        kind: ``result`` or ``failed``, as the function ended; ``refused`` with a *status*; ``unknown``: the
            backend cannot say; ``lost``: there was no response; ``left``: the caller did not wait;
            ``pending``: the call waits for approval; ``escaped``: what is no NavaiError.
        value: The result, or what a message says.
        status: Of a response.
        told: Whether the answer says that the function may have been executed.
    """

    call: int
    kind: Kind
    value: Any = None
    status: int | None = None
    told: bool = False


@dataclasses.dataclass
class Began:
    """A function begins: the execution of its *number*, in a process, for the request of a call."""

    number: int
    key: Key
    order: str
    process: str
    request_id: str
    doubled: bool


@dataclasses.dataclass
class Ended:
    """An execution ends by itself, with its result or error."""

    number: int
    fails: bool


@dataclasses.dataclass
class Decision:
    """A person decides on a call that waits, or has a *status* for that."""

    key: Key
    order: str
    approves: bool
    status: int | None = None


@dataclasses.dataclass
class Fault:
    """Something goes wrong. A *process* may have been *killed*."""

    what: str
    killed: str = ""


Event = Call | Answer | Began | Ended | Decision | Fault


@dataclasses.dataclass
class History:
    """The events of a world in their order.

    Attributes:
        survives: Whether the store survives the processes that use it.
        approves: Whether calls wait until a person has approved them.
    """

    seed: int
    survives: bool
    approves: bool = False
    events: list[tuple[float, Event]] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)

    def of(self, kind: type[Any]) -> list[Any]:
        """Return the events of a kind."""
        return [event for _, event in self.events if isinstance(event, kind)]


def violations(history: History) -> list[str]:
    """Return what in *history* breaks the promise: at most once, or told."""
    calls: dict[int, Call] = {call.number: call for call in history.of(Call)}
    answers: list[Answer] = history.of(Answer)
    executions: dict[Key, list[Began]] = defaultdict(list)
    for began in history.of(Began):
        executions[began.key].append(began)
    ended: dict[int, Ended] = {end.number: end for end in history.of(Ended)}
    found = list(history.problems)
    found += _at_most_once(history, executions)
    found += _all_answered(calls, answers, history)
    found += _as_decided(history)
    asked: dict[Key, list[tuple[Call, Answer]]] = defaultdict(list)
    for answer in answers:
        asked[calls[answer.call].key].append((calls[answer.call], answer))
    for key, pairs in asked.items():
        rejected = {each.order for each in history.of(Decision) if each.key == key and not each.approves}
        found += _consistent(pairs, executions[key], ended, rejected)
        found += _told(pairs, executions[key])
        found += _known_in_the_end(pairs, executions[key], ended, history)
    return found


def _at_most_once(history: History, executions: dict[Key, list[Began]]) -> list[str]:
    found = []
    for key, begun in executions.items():
        # Who keeps keys in memory only is promised nothing about the time after a restart; but the client
        # never repeats a call by itself that may have been executed.
        scope = [0 if history.survives else each.process for each in begun]
        if len(set(scope)) < len(scope):
            found.append(f"{key} was executed {len(begun)} times: {begun}")
        repeated = [each.request_id for each in begun if not each.doubled]
        if len(set(repeated)) < len(repeated):
            found.append(f"one call of {key} was executed {len(repeated)} times: {begun}")
    return found


def _as_decided(history: History) -> list[str]:
    """What needs approval begins after it, and what was rejected never."""
    found = []
    approved: set[tuple[Key, str]] = set()
    for _, event in history.events:
        if isinstance(event, Decision) and event.approves:
            approved.add((event.key, event.order))
        elif isinstance(event, Began) and history.approves and (event.key, event.order) not in approved:
            found.append(f"{event} was not approved")
    if history.survives:
        begun = {(each.key, each.order) for each in history.of(Began)}
        found += [
            f"what {decision} rejected was executed"
            for decision in history.of(Decision)
            if decision.status == 200 and not decision.approves and (decision.key, decision.order) in begun
        ]
    return found


def _all_answered(calls: dict[int, Call], answers: list[Answer], history: History) -> list[str]:
    found = []
    times = {event.call: at for at, event in history.events if isinstance(event, Answer)}
    for call in calls.values():
        if call.number not in times:
            found.append(f"{call} never ended")
        elif times[call.number] > call.due:
            found.append(f"{call} ended at {times[call.number]:.3f}")
    found += [f"{calls[answer.call]}: {answer}" for answer in answers if answer.kind == "escaped"]
    return found


def _consistent(
    pairs: list[tuple[Call, Answer]], begun: list[Began], ended: dict[int, Ended], rejected: set[str]
) -> list[str]:
    """Each result is one of the execution, for the payload that was sent; each error is the function's."""
    found = []
    outcomes = {
        ("failed" if ended[each.number].fails else "result", each.number, each.order)
        for each in begun
        if each.number in ended
    }
    for call, answer in pairs:
        if answer.kind == "result" or (answer.kind == "failed" and not answer.told):
            if answer.value == REJECTED and call.order in rejected:
                continue
            value = answer.value if isinstance(answer.value, dict) else {}
            if (answer.kind, value.get("execution"), call.order) not in outcomes:
                found.append(f"{call} has {answer}, and there were {begun}")
        if answer.status == _CONFLICT and all(each.order == call.order for each, _ in pairs):
            found.append(f"{call} has {answer}, and its key no other payload")
    return found


def _told(pairs: list[tuple[Call, Answer]], begun: list[Began]) -> list[str]:
    """What says that nothing was executed is right, for its call."""
    executed = {each.request_id for each in begun if not each.doubled}
    return [
        f"{call} was told that it was not executed, by {answer}: {begun}"
        for call, answer in pairs
        if call.request_id in executed and answer.kind in {"refused", "lost"} and not answer.told
    ]


def _known_in_the_end(
    pairs: list[tuple[Call, Answer]], begun: list[Began], ended: dict[int, Ended], history: History
) -> list[str]:
    """Before anything goes wrong, nobody is refused; after it, a key can be used, and what ended is known."""
    found = []
    first = min((at for at, event in history.events if isinstance(event, Fault)), default=math.inf)
    times = {event.call: at for at, event in history.events if isinstance(event, Answer)}
    killed = {fault.killed for fault in history.of(Fault)}
    is_kept = any(each.number in ended and each.process not in killed for each in begun)
    for call, answer in pairs:
        is_conflict = answer.status == _CONFLICT
        if times[call.number] < first and not is_conflict and answer.kind in {"refused", "unknown"}:
            found.append(f"nothing had gone wrong, but {call} has {answer}")
        if not call.audits or is_conflict:
            continue
        if answer.kind in {"refused", "lost"}:
            found.append(f"nothing goes wrong any more, but {call} has {answer}")
        elif answer.kind == "unknown" and is_kept:
            found.append(f"{call} has {answer}, although its execution ended and nothing killed it: {begun}")
    return found
