"""The promise of "once or told" in many histories, and the mistakes that they would show."""

import dataclasses
import gc
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.simulation.__main__ import main
from tests.simulation.bugs import BUGS
from tests.simulation.checking import check
from tests.simulation.history import (
    REJECTED,
    Answer,
    Began,
    Call,
    Decision,
    Ended,
    Fault,
    History,
    violations,
)
from tests.simulation.scenario import simulate

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="what it replaces is that of POSIX systems"),
    # Connections of killed processes were never closed.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

_AT_A_TIME: Final = 40
_SOON: Final = 600  # seeds, within which each mistake is found


@pytest.fixture(autouse=True)
def _leave_nothing() -> Iterator[None]:
    """Collect what a history has left here, where its warnings are expected, and not in a later test."""
    yield
    for _ in range(3):  # each finalizes what the one before has found
        gc.collect()


@pytest.mark.parametrize("first", range(0, 400, _AT_A_TIME))
def test_no_history_breaks_the_promise(first: int) -> None:
    found, seen = check(range(first, first + _AT_A_TIME))
    assert not found
    assert seen["calls"] > seen["executions"] > 0 < seen["faults"]


@pytest.mark.parametrize("bug", BUGS)
def test_a_mistake_is_found(bug: str) -> None:
    assert any(check(range(seed, seed + 1), bug)[0] for seed in range(_SOON))


def digest(first: int) -> str:
    histories = [simulate(seed) for seed in range(first, 30)]
    return hashlib.sha256(repr(histories[-20:]).encode()).hexdigest()


def test_a_seed_has_one_history_in_every_process() -> None:
    code = "from tests.simulation.test_simulation import digest; print(digest(10))"
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    other = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    assert digest(0) == other.stdout.strip()


def test_the_command_names_a_seed_that_is_violated_and_replays_it(capsys: pytest.CaptureFixture[str]) -> None:
    bug = "another caller gets the result"
    assert main(["--seeds", "40", "--bug", bug]) == 1
    first, second = capsys.readouterr().out.splitlines()[:2]
    seed = first.removeprefix("Seed ").partition(":")[0]
    assert second == f"Replay it: python -m tests.simulation --seed {seed} --bug {bug!r}"
    assert main(["--seed", seed, "--bug", bug]) == 1
    shown = capsys.readouterr().out
    assert "Began(number=1" in shown
    assert first.partition(": ")[2] in shown


def test_the_command_counts_what_it_has_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "3", "--first", "7"]) == 0
    assert capsys.readouterr().out.startswith("3 seeds, ")
    assert main(["--seed", "7"]) == 0
    assert capsys.readouterr().out.endswith("\nno violation\n")


KEY: Final = ("ann", "key")
RESULT: Final = {"execution": 1, "order": "tea"}


def asked(number: int = 1, order: str = "tea", *, audits: bool = False) -> Call:
    return Call(number, KEY, order, f"call-{number}", audits, due=30.0)


def begun(number: int = 1, process: str = "replica", call: int = 1, *, doubled: bool = False) -> Began:
    return Began(number, KEY, "tea", process, f"call-{call}", doubled)


def history(*events: Any, survives: bool = True) -> History:
    return History(0, survives, events=[(float(at), event) for at, event in enumerate(events)])


HONEST: Final = {
    "a result": (asked(), begun(), Ended(1, fails=False), Answer(1, "result", RESULT)),
    "a repetition": (
        *(asked(), begun(), Ended(1, fails=False), Answer(1, "result", RESULT)),
        *(asked(2), Answer(2, "result", RESULT)),
    ),
    "an error": (asked(), begun(), Ended(1, fails=True), Answer(1, "failed", {"execution": 1})),
    "a response that was lost": (asked(), begun(), Answer(1, "lost", told=True)),
    "a refusal": (Fault("the store is killed"), asked(), Answer(1, "refused", status=503)),
    "another payload": (
        *(asked(), begun(), Ended(1, fails=False), Answer(1, "result", RESULT)),
        *(asked(2, "milk"), Answer(2, "refused", status=422)),
    ),
    "an owner that was killed": (
        *(asked(), begun(), Fault("kill", killed="replica"), Answer(1, "lost", told=True)),
        *(asked(2, audits=True), Answer(2, "unknown", status=409, told=True)),
    ),
    "a request that came twice": (
        *(Fault("a proxy repeats"), asked(), Answer(1, "refused", status=503)),
        *(begun(doubled=True), Ended(1, fails=False)),
    ),
}
DISHONEST: Final = {
    "two executions": (asked(), begun(), begun(2, "another", 2), Answer(1, "lost", told=True)),
    "no end": (asked(),),
    "another error": (asked(), Answer(1, "escaped", "ValueError()")),
    "a result of nothing": (asked(), Answer(1, "result", RESULT)),
    "a result of another payload": (
        *(asked(order="milk"), begun(), Ended(1, fails=False), Answer(1, "result", RESULT)),
    ),
    "a failure that was a result": (
        *(asked(), begun(), Ended(1, fails=False), Answer(1, "failed", {"execution": 1})),
    ),
    "a refusal of what was executed": (asked(), begun(), Answer(1, "refused", status=503)),
    "a loss of what was executed": (asked(), begun(), Answer(1, "lost")),
    "a refusal for no reason": (asked(), Answer(1, "refused", status=503)),
    "a conflict with nothing": (asked(), Answer(1, "refused", status=422)),
    "a refusal in the end": (Fault("pause"), asked(audits=True), Answer(1, "refused", status=503)),
    "a result that nobody knows any more": (
        *(asked(), begun(), Ended(1, fails=False), Fault("pause"), Answer(1, "result", RESULT)),
        *(asked(2, audits=True), Answer(2, "unknown", status=409, told=True)),
    ),
}


@pytest.mark.parametrize("name", HONEST)
def test_what_keeps_the_promise(name: str) -> None:
    assert violations(history(*HONEST[name])) == []


@pytest.mark.parametrize("name", DISHONEST)
def test_what_breaks_the_promise(name: str) -> None:
    assert violations(history(*DISHONEST[name]))


def test_approvals_are_kept() -> None:
    approve, reject = Decision(KEY, "tea", approves=True), Decision(KEY, "tea", approves=False, status=200)
    waits, executed = (asked(), Answer(1, "pending", status=202)), (begun(), Ended(1, fails=False))

    def found(*events: Any) -> list[str]:
        return violations(dataclasses.replace(history(*events), approves=True))

    assert found(*waits, approve, *executed) == []
    assert found(*waits, *executed)
    assert found(*waits, reject, asked(2), Answer(2, "failed", REJECTED)) == []
    assert found(*waits, approve, asked(2), Answer(2, "failed", REJECTED))
    assert found(*waits, reject, approve, *executed)


def test_a_store_in_memory_forgets_but_no_client_repeats_a_call_that_may_have_been_executed() -> None:
    first = asked(), begun(), Fault("kill", killed="replica"), Answer(1, "lost", told=True)
    again = asked(2), begun(2, "the next", 2), Ended(2, fails=False)
    answer = Answer(2, "result", {"execution": 2, "order": "tea"})
    assert violations(history(*first, *again, answer, survives=False)) == []
    assert violations(history(*first, *again, answer, survives=True))
    by_itself = asked(), begun(), Fault("kill", killed="replica"), begun(2, "the next"), Ended(2, fails=False)
    told = Answer(1, "result", {"execution": 2, "order": "tea"})
    assert violations(history(*by_itself, told, survives=False))


def test_a_call_may_not_end_late() -> None:
    late = Answer(1, "lost", told=True)
    assert violations(History(0, survives=True, events=[(0.0, asked()), (31.0, late)]))
