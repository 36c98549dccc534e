"""Functions that take a minute, and how long an agent does not know what it may say meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from navai_client import AsyncNavaiBackendClient
from navai_client.integrations.toolset import Toolset
from navai_client.server import FunctionContext, function
from navai_client.testing import FakeBackend

__all__ = ["LONG", "Silence", "offered"]

# Names of functions, and what a person hears of them during the call.
LONG = ["count_stock", "search_archive", "make_report"]


class Silence:
    """Measures silence by the clock of the running loop.

    It begins with a call, and with each report of its function; it ends when the agent says something of that
    call, or is told how the call stands.

    Attributes:
        told: When that was, in seconds of the call.
    """

    def __init__(self) -> None:
        self._begun: float | None = None
        self._since: float | None = None
        self._longest = 0.0
        self.told: list[float] = []

    @property
    def longest(self) -> float:
        """The longest silence."""
        assert self._since is None, "the call ended, and the agent had not been told"
        return round(self._longest, 3)

    def begins(self) -> None:
        """Note that a call has begun, or that its function has reported something."""
        now = asyncio.get_running_loop().time()
        self._begun = now if self._begun is None else self._begun
        self._since = now if self._since is None else self._since

    def ends(self) -> None:
        """Note that the agent was told, or said something."""
        now = asyncio.get_running_loop().time()
        if self._begun is not None and self._since is not None:
            self._longest = max(self._longest, now - self._since)
        self._since = None
        self.told.append(round(now - (self._begun or now), 1))

    async def count_stock(self) -> str:
        """Count the stock: it says nothing, and declares nothing."""
        self.begins()
        await asyncio.sleep(60)
        return "12 left"

    async def search_archive(self) -> str:
        """Search the archive: it declares what to say."""
        self.begins()
        await asyncio.sleep(60)
        return "found"

    async def make_report(self, context: FunctionContext) -> str:
        """Make a report: it says how far it has come."""
        self.begins()
        for pause, month in ((7, "January"), (0.5, "February"), (0.5, "March"), (22, "April"), (25, "May")):
            await asyncio.sleep(pause)
            self.begins()
            context.progress(f"Looking at {month}")
        await asyncio.sleep(5)
        return "written"


@asynccontextmanager
async def offered(silence: Silence, **options: Any) -> AsyncIterator[Toolset]:
    """Load a toolset with the functions of *silence*."""

    @function(typical_seconds=60, say_while_waiting="I am searching.")
    async def search_archive() -> str:
        return await silence.search_archive()

    functions: list[Any] = [silence.count_stock, search_archive, silence.make_report]
    backend = FakeBackend()
    async with (
        AsyncNavaiBackendClient("https://navai.test", transport=backend.async_transport) as client,
        Toolset.load(client, functions=functions, timeout=None, **options) as toolset,
    ):
        yield toolset
