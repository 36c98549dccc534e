"""The clients to compare, each a line of ``CONTENDERS``: how to open it, and how to make one call."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from functools import partial
from typing import Any

import aiohttp
import attrs
import httpx
import httpx2
import uvloop

from benchmarks.calls import EXECUTE, PAYLOAD
from navai_client import AsyncNavaiBackendClient, NavaiBackendClient
from navai_client.transports.fast import AsyncFastTransport, FastTransport

__all__ = ["CONTENDERS", "OURS", "Contender"]

PATIENCE = 30.0  # seconds, this package's default; httpx's 5 are too few on a busy machine
BODY = {"function_name": "f", "payload": PAYLOAD}
Sync = Callable[[str], AbstractContextManager[Callable[[], Any]]]
Async = Callable[[str], AbstractAsyncContextManager[Callable[[], Awaitable[Any]]]]


@attrs.frozen
class Contender:
    """One client.

    Attributes:
        sync: Opens it for a base URL and gives a function that makes one call; None when there is none.
        concurrent: The same in an event loop.
        loop: Makes that event loop.
    """

    sync: Sync | None = None
    concurrent: Async | None = None
    loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop


@contextmanager
def ours(url: str, transport: Callable[[], Any] = lambda: None) -> Iterator[Callable[[], Any]]:
    """Open the sync client of this package."""
    with NavaiBackendClient(url, transport=transport()) as client:
        yield lambda: client.execute_function("f", PAYLOAD)


@asynccontextmanager
async def ours_async(
    url: str, transport: Callable[[], Any] = lambda: None
) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """Open the async client of this package."""
    async with AsyncNavaiBackendClient(url, transport=transport()) as client:
        yield lambda: client.execute_function("f", PAYLOAD)


@contextmanager
def by_hand(url: str, library: Any) -> Iterator[Callable[[], Any]]:
    """Open a sync client of *library*, httpx or httpx2."""
    with library.Client(timeout=PATIENCE) as client:
        yield lambda: client.post(url + EXECUTE, json=BODY).json()["result"]


@asynccontextmanager
async def by_hand_async(url: str, library: Any) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """Open an async client of *library*, httpx or httpx2."""

    async def call() -> Any:
        return (await client.post(url + EXECUTE, json=BODY)).json()["result"]

    async with library.AsyncClient(timeout=PATIENCE) as client:
        yield call


@asynccontextmanager
async def aiohttp_by_hand(url: str) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """Open an aiohttp session."""

    async def call() -> Any:
        async with session.post(url + EXECUTE, json=BODY) as answer:
            return (await answer.json())["result"]

    async with aiohttp.ClientSession() as session:
        yield call


CONTENDERS = {
    "navai_client, fast": Contender(
        partial(ours, transport=FastTransport), partial(ours_async, transport=AsyncFastTransport)
    ),
    "navai_client, fast, uvloop": Contender(
        None, partial(ours_async, transport=AsyncFastTransport), uvloop.new_event_loop
    ),
    "navai_client": Contender(ours, ours_async),
    "httpx by hand": Contender(partial(by_hand, library=httpx), partial(by_hand_async, library=httpx)),
    "httpx2 by hand": Contender(partial(by_hand, library=httpx2), partial(by_hand_async, library=httpx2)),
    "aiohttp by hand": Contender(None, aiohttp_by_hand),
}
OURS = tuple(name for name in CONTENDERS if name.startswith("navai_client"))
