"""Calls with an idempotency key: what is kept, for how long, and what is dropped first."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from navai_client._threads import CallThreads
from navai_client.functions._binding import Payload
from navai_client.server import NavaiBackend
from navai_client.server._calls import NOT_BEGUN, Failure
from navai_client.server._execution import Invoker
from navai_client.server._http import BackendRequest
from navai_client.server._idempotency import Claim, MemoryKeys, fingerprint
from tests.server.running import begin, once

Call = Callable[[], Coroutine[Any, Any, bytes]]


def counting(body: bytes = b"x") -> tuple[list[int], Call]:
    ran: list[int] = []

    async def call() -> bytes:
        ran.append(1)
        return body

    return ran, call


def test_a_call_that_still_runs_is_kept_and_keeps_nothing_else() -> None:
    async def scenario() -> None:
        now, release, began = [0.0], asyncio.Event(), asyncio.Event()
        keys = MemoryKeys(lifetime=10, max_keys=1, clock=lambda: now[0])

        async def slow() -> bytes:
            began.set()
            await release.wait()
            return b"slow"

        first = asyncio.create_task(once(keys, "slow", "f", 1, slow))
        await began.wait()
        ran, quick = counting()
        await once(keys, "a", "f", 1, quick)
        await once(keys, "b", "f", 1, quick)  # one too many: "a" is forgotten
        await once(keys, "a", "f", 1, quick)
        assert len(ran) == 3
        now[0] = 100.0
        again = asyncio.create_task(once(keys, "slow", "f", 1, quick))
        await asyncio.sleep(0)
        release.set()
        assert await first == (b"slow", False)
        assert await again == (b"slow", True)
        assert len(ran) == 3

    asyncio.run(scenario())


def test_outcomes_are_kept_up_to_a_number_of_bytes() -> None:
    async def scenario() -> None:
        keys = MemoryKeys(max_bytes=10)
        ran, call = counting(b"123456")
        await once(keys, "a", "f", 1, call)
        await once(keys, "b", "f", 1, call)  # both would be 12 bytes
        await once(keys, "b", "f", 1, call)
        assert len(ran) == 2
        await once(keys, "a", "f", 1, call)
        assert len(ran) == 3

    asyncio.run(scenario())


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
