"""Each requirement finds the backends that break it, and no other does."""

import re
from typing import Any

import pytest

from navai_client.conformance import PROFILES, Report, check, requirements
from navai_client.server import NavaiBackend
from tests.conformance.faults import FAULTS, Seeded
from tests.conformance.in_memory import Fault, InMemory

TOKEN = "token-of-the-tests"


def everything_of(fault: Fault | None = None, **given: Any) -> Report:
    """Check all that can be checked of our own server, with *fault* before it."""
    backend = NavaiBackend(env={}, demo=True, discover=False, access_token=TOKEN)
    with InMemory(backend, fault) as transport:
        return check(
            "http://navai.test",
            headers={"Authorization": f"Bearer {TOKEN}"},
            mint=True,
            execute=("get_weather", {"location": "Oslo"}),
            execute_failing=("cancel_order", {"order_id": "9"}),
            speak="Hello.",
            transport=transport,
            **given,
        )


def broken_in(report: Report) -> set[str]:
    return {finding.id for finding in report if finding.verdict in ("failed", "warned")}


def test_without_a_fault_all_requirements_hold_and_none_is_skipped() -> None:
    report = everything_of()

    assert {finding.verdict for finding in report} == {"passed"}
    assert [finding.requirement for finding in report] == list(requirements())
    assert report.exit_status == 0


@pytest.mark.parametrize("seeded", FAULTS, ids=str)
def test_a_fault_is_found_by_the_requirement_that_it_breaks_alone(seeded: Seeded) -> None:
    report = everything_of(seeded.fault)

    assert broken_in(report) == {seeded.requirement}
    finding = report[seeded.requirement]
    is_must = finding.requirement.severity == "must"
    assert finding.verdict == ("failed" if is_must else "warned")
    assert report.exit_status == is_must
    assert finding.asked
    assert finding.came
    assert finding.change == finding.requirement.change


def test_each_requirement_has_a_fault_that_it_finds() -> None:
    assert {seeded.requirement for seeded in FAULTS} == {each.id for each in requirements()}


def test_what_express_does_is_not_what_we_do() -> None:
    deviations = PROFILES["express"].deviations
    report = everything_of(profile="express")

    asked = {each for each, deviation in deviations.items() if deviation.rule is not None}
    assert broken_in(report) == asked - {"ERR-06"}  # any 404 will do there, ours too
    for each in set(deviations) - asked:
        assert re.match("the profile express does not ask it: ", report[each].reason)


def test_express_may_not_answer_unknown_paths_either() -> None:
    answers_all = next(each for each in FAULTS if each.sentence == "has an answer for every path")

    assert "ERR-06" in broken_in(everything_of(answers_all.fault, profile="express"))
