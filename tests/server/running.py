"""Keyed calls as coroutines, for tests that wait for them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from navai_client.server._calls import Outcome, RunningCall
from navai_client.server._idempotency import IdempotencyKeys

__all__ = ["begun", "once"]


def begun(work: Callable[[], Awaitable[bytes]]) -> RunningCall:
    """Begin a call that ends with what *work* gives; when it is cancelled, so is the call."""
    running = RunningCall("f", None, set())

    async def go() -> None:
        try:
            running.end(await work())
        except asyncio.CancelledError:
            running.end(None)
            raise

    running.task = asyncio.get_running_loop().create_task(go())
    running.ends_itself = True
    return running


async def once(
    keys: IdempotencyKeys, key: str, function: str, payload: Any, work: Callable[[], Awaitable[bytes]]
) -> tuple[Outcome, bool]:
    """Make a keyed call and wait for it: what it ended with, and whether it was replayed."""
    running, replayed = keys.once(key, function, payload, lambda: begun(work))
    return await running.wait(), replayed
