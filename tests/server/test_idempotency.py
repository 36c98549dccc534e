"""Keyed calls: what is kept, for how long, and what is forgotten first."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from navai_client.server.idempotency import IdempotencyKeys
from navai_client.server.messages import Answer

Call = Callable[[], Coroutine[Any, Any, Answer]]


def counting(body: bytes = b"x") -> tuple[list[int], Call]:
    ran: list[int] = []

    async def call() -> Answer:
        ran.append(1)
        return Answer(200, body)

    return ran, call


def test_a_call_that_still_runs_is_kept_and_keeps_nothing_else() -> None:
    async def scenario() -> None:
        now, release, begun = [0.0], asyncio.Event(), asyncio.Event()
        keys = IdempotencyKeys(lifetime=10, most_keys=1, clock=lambda: now[0])

        async def slow() -> Answer:
            begun.set()
            await release.wait()
            return Answer(200, b"slow")

        first = asyncio.create_task(keys.once("slow", "f", 1, slow))
        await begun.wait()
        ran, quick = counting()
        await keys.once("a", "f", 1, quick)
        await keys.once("b", "f", 1, quick)  # one too many: "a" is forgotten
        await keys.once("a", "f", 1, quick)
        assert len(ran) == 3
        now[0] = 100.0
        again = asyncio.create_task(keys.once("slow", "f", 1, quick))
        await asyncio.sleep(0)
        release.set()
        assert (await first).body == (await again).body == b"slow"
        assert (await again).headers[-1] == (b"idempotent-replayed", b"true")
        assert len(ran) == 3

    asyncio.run(scenario())


def test_answers_are_kept_up_to_a_number_of_bytes() -> None:
    async def scenario() -> None:
        keys = IdempotencyKeys(most_bytes=10)
        ran, call = counting(b"123456")
        await keys.once("a", "f", 1, call)
        await keys.once("b", "f", 1, call)  # both would be 12 bytes
        await keys.once("b", "f", 1, call)
        assert len(ran) == 2
        await keys.once("a", "f", 1, call)
        assert len(ran) == 3

    asyncio.run(scenario())


def test_a_call_that_raised_is_not_repeated_from_memory() -> None:
    async def scenario() -> None:
        keys = IdempotencyKeys()

        async def broken() -> Answer:
            raise LookupError("once")

        with pytest.raises(LookupError):
            await keys.once("a", "f", 1, broken)
        ran, call = counting()
        await keys.once("a", "f", 1, call)
        assert len(ran) == 1

    asyncio.run(scenario())
