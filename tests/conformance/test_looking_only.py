"""Unless it is allowed to act, a check sends no request on which even a lax backend could act."""

import asyncio
import json
from typing import Any

from hypothesis import given, strategies as st

from navai_client.conformance import check
from navai_client.server import NavaiBackend
from tests.conformance.in_memory import Asked, InMemory

EXECUTE = "/navai/functions/execute"
SECRET = "/navai/realtime/client-secret"
SPEECH = "/navai/speech/synthesize"


def asked_of(**allowed: Any) -> list[Asked]:
    with InMemory(NavaiBackend(env={}, demo=True, discover=False)) as transport:
        check("http://navai.test", transport=transport, **allowed)
    return transport.asked


def test_no_existing_function_is_called() -> None:
    names = set(NavaiBackend(env={}, demo=True, discover=False).functions().names)

    for asked in asked_of():
        for name in names:
            assert name.encode() not in asked.body


def test_nothing_is_posted_to_the_route_that_mints() -> None:
    assert {asked.method for asked in asked_of() if asked.path == SECRET} == {"GET"}


def test_nothing_is_spoken() -> None:
    asked = [asked for asked in asked_of() if asked.path.endswith("/synthesize")]

    assert [each.record for each in asked if each.method == "POST"] == [{"text": " "}]
    assert {each.method for each in asked} == {"GET", "POST"}  # no backend synthesizes speech for a GET


def test_allowed_actions_are_done_as_often_as_documented() -> None:
    asked = asked_of(
        mint=True, execute=("tell_time", None), execute_failing=("cancel_order", {}), speak="Hello."
    )

    called = [str(each.record.get("function_name")).strip().lower() for each in asked if each.path == EXECUTE]
    assert (called.count("tell_time"), called.count("cancel_order")) == (3, 1)
    keys = [each.headers.get("idempotency-key") for each in asked if b'"tell_time"' in each.body]
    assert len(set(keys)) == 1  # the second is a copy of the first
    assert keys[0] is not None
    assert [each.method for each in asked if each.path == SECRET] == ["GET", *["POST"] * 6]
    spoken = [each.record for each in asked if (each.method, each.path) == ("POST", SPEECH)]
    assert spoken == [{"text": " "}, {"text": "Hello."}]


@given(st.integers(min_value=0, max_value=4))
def test_a_function_with_the_name_of_the_probe_is_not_called(surplus: int) -> None:
    backend = NavaiBackend(env={}, discover=False)
    ran = []
    for number in range(surplus):
        backend.function(name="navai_check_no_such_function" + "_" * number)(lambda: ran.append(1))
    with InMemory(backend) as transport:
        report = check("http://navai.test", transport=transport, groups=["execute"])
    asyncio.run(backend.aclose())

    assert not ran
    assert report["EXEC-03"].verdict == "passed"
    assert json.loads(transport.asked[0].body or b"{}") == {}
