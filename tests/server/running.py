"""Calls with an idempotency key as coroutines, for tests that wait for them."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from navai_client.functions._binding import Payload
from navai_client.server._calls import Outcome, RunningCall
from navai_client.server._idempotency import MemoryKeys, fingerprint

__all__ = ["begin", "once"]


async def begin(
    keys: MemoryKeys, key: str, function: str, value: Any, work: Callable[[], Awaitable[bytes]]
) -> tuple[RunningCall, bool]:
    """Begin a call that ends with what *work* returns, unless *key* has begun one before."""
    call = RunningCall(function, None, set())
    claim = await keys.claim((b"", key.encode()), fingerprint(function, Payload(value)), call)
    if claim.call is not call:
        return claim.call, True
    call.on_end = functools.partial(keys.finish, claim)
    assert await keys.start(claim)
    assert not await keys.start(claim)  # it is started once

    async def run() -> None:
        call.begun = True
        call.end(await work())

    call.task = asyncio.get_running_loop().create_task(run())
    return call, False


async def once(
    keys: MemoryKeys, key: str, function: str, value: Any, work: Callable[[], Awaitable[bytes]]
) -> tuple[Outcome, bool]:
    """Make a keyed call and wait for it: its outcome, and whether it was replayed."""
    call, replayed = await begin(keys, key, function, value, work)
    return await call.wait(), replayed
