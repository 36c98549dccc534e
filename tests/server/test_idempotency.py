"""Calls with an idempotency key: what is kept, for how long, and what is dropped first."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest

from navai_client._threads import CallThreads
from navai_client.functions._binding import Payload
from navai_client.server import NavaiBackend
from navai_client.server._calls import NOT_BEGUN, Failure
from navai_client.server._execution import Invoker
from navai_client.server._http import BackendRequest
from navai_client.server._idempotency import Claim, MemoryKeys, NoRoomError, fingerprint
from tests.server.conftest import Ask
from tests.server.running import begin, once

EXECUTE = "/navai/functions/execute"

Call = Callable[[], Coroutine[Any, Any, bytes]]


def counting(body: bytes = b"x") -> tuple[list[int], Call]:
    ran: list[int] = []

    async def call() -> bytes:
        ran.append(1)
        return body

    return ran, call


def test_a_key_is_never_dropped_before_its_time_and_others_are_refused_meanwhile() -> None:
    async def scenario() -> None:
        now, release, began = [0.0], asyncio.Event(), asyncio.Event()
        keys = MemoryKeys(lifetime=10, max_bytes=2100, clock=lambda: now[0])  # room for two

        async def slow() -> bytes:
            began.set()
            await release.wait()
            return b"slow"

        first = asyncio.create_task(once(keys, "slow", "f", 1, slow))
        await began.wait()
        ran, quick = counting()
        assert await once(keys, "a", "f", 1, quick) == (b"x", False)
        now[0] = 9.5
        with pytest.raises(NoRoomError) as refused:
            await once(keys, "b", "f", 1, quick)
        assert (refused.value.status_code, refused.value.retry_after) == (503, "1")
        assert await once(keys, "a", "f", 1, quick) == (b"x", True)
        now[0] = 10.0
        assert await once(keys, "b", "f", 1, quick) == (b"x", False)
        assert len(ran) == 2
        now[0] = 100.0
        again = asyncio.create_task(once(keys, "slow", "f", 1, quick))
        await asyncio.sleep(0)
        release.set()
        assert await first == (b"slow", False)
        assert await again == (b"slow", True)
        assert len(ran) == 2

    asyncio.run(scenario())


def test_without_room_a_caller_is_told_when_there_may_be_some() -> None:
    async def scenario() -> None:
        keys = MemoryKeys(lifetime=10.5, max_bytes=1100, clock=lambda: 0.0)
        running, _ = await begin(keys, "a", "f", 1, asyncio.Event().wait)  # type: ignore[arg-type]
        with pytest.raises(NoRoomError) as refused:
            await once(keys, "b", "f", 1, counting()[1])
        assert refused.value.retry_after == "1"  # when the calls that run end is not known
        running.end(b"x")
        with pytest.raises(NoRoomError) as refused:
            await once(keys, "b", "f", 1, counting()[1])
        assert refused.value.retry_after == "11"

    asyncio.run(scenario())


@pytest.mark.parametrize("limits", [{"max_kept_bytes": 5}, {"max_bytes": 1005}], ids=["too large", "no room"])
def test_of_a_result_that_cannot_be_kept_it_is_known_that_there_was_one(limits: Any) -> None:
    async def scenario() -> None:
        keys = MemoryKeys(**limits)
        ran, call = counting(b"123456")
        assert await once(keys, "a", "f", 1, call) == (b"123456", False)
        outcome, replayed = await once(keys, "a", "f", 1, call)
        assert isinstance(outcome, Failure)
        assert (outcome.status, outcome.may_have_executed, replayed) == (409, True, True)
        assert len(ran) == 1

    asyncio.run(scenario())


def test_a_key_that_is_refused_is_503_and_a_result_that_is_not_kept_409(ask: Ask) -> None:
    backend = NavaiBackend(env={}, discover=False, max_key_bytes=1100, max_kept_result_bytes=199)
    backend.function(name="f")(lambda: "x" * 200)

    def call(key: str) -> httpx.Response:
        body = {"function_name": "f"}
        return ask(backend, "POST", EXECUTE, json=body, headers={"idempotency-key": key})

    assert call("a").json()["result"] == "x" * 200
    again = call("a")
    assert (again.status_code, again.json()["may_have_executed"]) == (409, True)
    assert again.headers["idempotent-replayed"] == "true"
    refused = call("b")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "600")
    assert list(refused.json()) == ["error"]


class Unreachable(MemoryKeys):
    """Keys that cannot be reached between the claim and the start."""

    async def start(self, claim: Claim) -> bool:
        raise OSError


def test_a_call_whose_claim_could_not_be_started_leaves_its_key_free() -> None:
    backend = NavaiBackend(env={}, discover=False)
    backend.function(name="f")(lambda: 1)
    (function,) = backend.functions().functions

    async def scenario() -> None:
        invoker = Invoker(CallThreads(), str, keys=Unreachable())
        for _ in range(2):
            with pytest.raises(OSError, match=r"^$"):
                await invoker.begin(function, Payload(None), BackendRequest("POST", "/", {}), key=(b"", b"k"))

    asyncio.run(scenario())


class TakenOver(MemoryKeys):
    """Keys that another process takes over between the claim and the start."""

    async def start(self, claim: Claim) -> bool:
        return False


def test_a_call_whose_claim_was_taken_over_is_not_started() -> None:
    ran: list[int] = []
    backend = NavaiBackend(env={}, discover=False)
    backend.function(name="f")(lambda: ran.append(1))
    (function,) = backend.functions().functions

    async def scenario() -> Any:
        invoker = Invoker(CallThreads(), str, keys=TakenOver())
        call, _ = await invoker.begin(
            function, Payload(None), BackendRequest("POST", "/", {}), key=(b"", b"k")
        )
        return await call.wait()

    assert not asyncio.run(scenario()).has_begun
    assert ran == []


def test_a_key_with_a_deeply_nested_payload_is_recognised() -> None:
    def nested(levels: int) -> Payload:
        value: Any = 1
        for _ in range(levels):
            value = [value]
        return Payload(value, b"[" * levels + b"1" + b"]" * levels)

    assert fingerprint("f", nested(5000)) == fingerprint("f", nested(5000))
    assert fingerprint("f", nested(5000)) != fingerprint("f", nested(5001))
    assert fingerprint("f", Payload({"a": 2.0, "b": [1.5, 10**30]})) == fingerprint(
        "f", Payload({"b": [1.5, 10**30], "a": 2})
    )
    assert fingerprint("f", Payload([2.0, "x"])) == fingerprint("f", Payload([2, "x"]))


@pytest.mark.parametrize("began", [True, False])
def test_a_call_that_was_stopped_frees_its_key_only_if_it_never_began(began: bool) -> None:
    async def scenario() -> None:
        keys, failed, not_begun = MemoryKeys(), Failure("stopped"), Failure("busy", NOT_BEGUN)
        running, _ = await begin(keys, "a", "f", 1, asyncio.Event().wait)  # type: ignore[arg-type]
        if began:
            await asyncio.sleep(0)
        running.stop(failed, not_begun)
        assert await running.wait() == (failed if began else not_begun)
        ran, call = counting()
        again = await once(keys, "a", "f", 1, call)
        assert again == ((failed, True) if began else (b"x", False))
        assert len(ran) == (0 if began else 1)

    asyncio.run(scenario())
