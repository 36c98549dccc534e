"""Each requirement finds the backends that violate it, and no other requirement does."""

import re
from collections import Counter
from typing import Any

import pytest

from navai_client.conformance import PROFILES, Report, check, requirements
from navai_client.server import NavaiBackend
from tests.conformance.faults import FAULTS, Seeded
from tests.conformance.in_memory import Asked, Fault, InMemory, Reply

TOKEN = "token-of-the-tests"


def everything_of(fault: Fault | None = None, **given: Any) -> Report:
    """Check everything that can be checked of our own server, with *fault* before it."""
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
def test_a_fault_is_found_by_its_requirement_alone(seeded: Seeded) -> None:
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


def test_our_server_violates_the_express_profile() -> None:
    deviations = PROFILES["express"].deviations
    report = everything_of(profile="express")

    asked = {each for each, deviation in deviations.items() if deviation.rule is not None}
    assert broken_in(report) == asked - {"ERR-06"}  # any 404 is accepted there, ours too
    assert report["ERR-01"].expected == deviations["ERR-01"].sentence
    assert report["ERR-01"].change.endswith("check it with the profile contract.")
    for each in set(deviations) - asked:
        assert re.match("the profile express does not expect it: ", report[each].reason)


def test_the_express_profile_expects_404_for_unknown_paths() -> None:
    answers_all = next(each for each in FAULTS if each.sentence == "has an answer for every path")

    assert "ERR-06" in broken_in(everything_of(answers_all.fault, profile="express"))


def test_optional_parts_are_skipped_when_absent() -> None:
    def leaves_out(asked: Asked, reply: Reply) -> Reply:
        if asked.path.endswith("/client-secret") and reply.status == 200:
            reply.record = {"value": reply.record["value"]}
        if (asked.method, asked.path) == ("GET", "/navai/functions") and reply.status == 200:
            reply.headers.pop("etag")
            items = [{"name": item["name"]} for item in reply.record["items"]]
            reply.record = {"items": items, "warnings": []}
        if asked.path.endswith("/synthesize"):
            reply.status = 404
        return reply

    report = everything_of(leaves_out)

    skipped = {finding.id: finding.reason for finding in report if finding.verdict == "skipped"}
    assert skipped == {
        "LIST-09": "no function has parameters",
        "LIST-13": "the list has no ETag",
        "SECRET-04": "the response has no expires_at",
        "SECRET-05": "it is judged only when SECRET-04 holds",
        "SECRET-06": "the response has no speech",
        "SPEECH-01": "the backend does not speak",
        "SPEECH-03": "it is judged only when SPEECH-02 holds",
        "SPEECH-04": "it is judged only when SPEECH-03 holds",
    }
    assert broken_in(report) == {"SPEECH-02"}


def test_expiry_is_judged_by_the_backends_own_clock() -> None:
    def is_of_next_year(asked: Asked, reply: Reply) -> Reply:
        if asked.path.endswith("/client-secret") and reply.status == 200:
            reply.headers["date"] = "Fri, 15 Jan 2027 08:00:00 GMT"
            reply.record = {**reply.record, "expires_at": 1_800_000_600}
        return reply

    assert broken_in(everything_of(is_of_next_year)) == set()


def test_a_request_is_retried_as_retry_after_says() -> None:
    times: Counter[tuple[str, str, bytes]] = Counter()

    def is_busy_once(asked: Asked, reply: Reply) -> Reply:
        key = (asked.method, asked.path, asked.body)
        times[key] += 1
        return Reply(429, {"retry-after": "0"}) if times[key] == 1 else reply

    assert everything_of(is_busy_once).exit_status_at("should") == 0


def test_a_retry_after_beyond_the_timeout_is_not_waited_for() -> None:
    def is_busy(asked: Asked, reply: Reply) -> Reply:
        return Reply(429, {"retry-after": "3600"})

    assert everything_of(is_busy)["LIST-01"].came == "HTTP 429: (empty)"
