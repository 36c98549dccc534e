"""The bundled server on a free port, in the test's event loop, with asynchronous functions.

They record their calls and wait for events of the test, so that no test sleeps.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Unpack, cast

import httpx
import uvicorn

from navai_client import AsyncNavaiBackendClient
from navai_client.integrations.tools import ToolCall
from navai_client.integrations.toolset import Toolset, ToolsetOptions
from navai_client.server import FunctionContext, NavaiBackend
from navai_client.server._serving import bind, url_of

__all__ = ["Archive", "LiveBackend", "approving_backend", "archive", "live_backend", "loaded_toolset"]

_CROWD = 10
_INSPECTOR = "token-of-the-inspector-for-tests"


class LiveBackend:
    """A running backend.

    Attributes:
        url: Its URL.
        backend: The backend, to register more functions.
        booked: The names for which ``book_table`` has booked a table.
        waiting: Set when a call of ``book_table`` has begun.
        release: Set it to let the calls of ``book_table`` finish.
        done: Set when one has finished.
        traces: The ``traceparent`` of each call of ``get_weather``.
        refunded: The orders that ``refund``, whose calls wait for approval, has refunded.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.backend = NavaiBackend(env={}, inspector=True, inspector_token=_INSPECTOR)
        self.booked: list[str] = []
        self.waiting = asyncio.Event()
        self.release = asyncio.Event()
        self.done = asyncio.Event()
        self.traces: list[str | None] = []
        self.refunded: list[str] = []
        self._together = asyncio.Barrier(_CROWD)
        for function in (self.get_weather, self.book_table, self.break_down, self.meet):
            self.backend.function(function)

    async def get_weather(self, context: FunctionContext, location: str) -> dict[str, Any]:
        """Get the current weather of a place.

        Args:
            context: The call.
            location: City or region.
        """
        self.traces.append(context.request.headers.get("traceparent"))
        return {"location": location, "temperature": 21}

    async def book_table(self, name: str) -> str:
        """Book a table."""
        self.waiting.set()
        await self.release.wait()
        self.booked.append(name)
        self.done.set()
        return f"booked for {name}"

    def offer_refund(self) -> None:
        """Register ``refund``, whose calls wait for approval."""
        self.backend.function(self.refund, approval=True)

    async def refund(self, order: str) -> str:
        """Refund an order."""
        self.refunded.append(order)
        return f"refunded {order}"

    async def decide(self, decision: str, **more: str) -> str:
        """Decide the only call that waits for approval, and return its id."""
        headers = {"Authorization": f"Bearer {_INSPECTOR}"}
        async with httpx.AsyncClient(
            base_url=self.url, headers=headers, timeout=60, trust_env=False
        ) as person:
            (item,) = (await person.get("/navai/approvals")).json()["items"]
            path = f"/navai/approvals/{item['id']}"
            answer = await person.post(path, json={"decision": decision, **more})
            assert answer.json()["ok"] is True
        return str(item["id"])

    async def break_down(self) -> None:
        """Fail."""
        raise RuntimeError("the oven is out of order")

    async def meet(self, guest: int) -> int:
        """Return when ten calls have arrived."""
        await self._together.wait()
        return guest


@asynccontextmanager
async def live_backend(given: socket.socket | None = None) -> AsyncIterator[LiveBackend]:
    """Serve a backend on the *given* socket, or on a free port."""
    with given or bind("127.0.0.1", 0) as listener:
        live = LiveBackend(url_of(listener))
        config = uvicorn.Config(
            cast("Any", live.backend),
            log_config=None,
            access_log=False,
            lifespan="on",
            ws="none",
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield live
        finally:
            live.release.set()
            server.should_exit = True
            await serving


@asynccontextmanager
async def approving_backend() -> AsyncIterator[LiveBackend]:
    """Serve a backend that has ``refund``, too."""
    async with live_backend() as live:
        live.offer_refund()
        yield live


@asynccontextmanager
async def loaded_toolset(**options: Unpack[ToolsetOptions]) -> AsyncIterator[tuple[LiveBackend, Toolset]]:
    """Serve a backend, and load its functions."""
    async with (
        live_backend() as live,
        AsyncNavaiBackendClient(live.url) as client,
        Toolset.load(client, **options) as toolset,
    ):
        yield live, toolset


class Archive:
    """A function of a backend that takes until the agent has heard what it reports, and that it is slow."""

    def __init__(self) -> None:
        self._is_heard = asyncio.Event()
        self._is_slow = asyncio.Event()

    async def search(self, context: FunctionContext) -> str:
        """Search the archive."""
        context.progress("Looking at March")
        await self._is_heard.wait()
        await self._is_slow.wait()
        return "found"

    def hear(self, told: object) -> None:
        """Take what the agent is told."""
        if "Looking at March" in str(told):
            self._is_heard.set()

    def slow(self, call: ToolCall) -> None:
        """Take that *call* is slow."""
        assert call.function_name == "search"
        self._is_slow.set()


@asynccontextmanager
async def archive(**options: Any) -> AsyncIterator[tuple[Archive, Toolset]]:
    """Serve ``search`` of an ``Archive``, and load it."""
    functions = Archive()
    async with live_backend() as live, AsyncNavaiBackendClient(live.url) as client:
        live.backend.function(functions.search)
        async with Toolset.load(client, slow=functions.slow, slow_after=0.01, **options) as toolset:
            yield functions, toolset
