"""A backend in memory for tests: the server's core behind every kind of transport, without sockets."""

from types import TracebackType
from typing import Any, Self, Unpack, final

from navai_client.server._backend import Backend
from navai_client.server._demo import DemoServices
from navai_client.server._settings import SettingsKeywords
from navai_client.testing._base import ScriptedBackend
from navai_client.testing._fake_transports import AsyncInMemoryTransport, InMemoryTransport
from navai_client.testing._handlers import handle, handle_async
from navai_client.testing._in_process import InMemory


@final
class FakeBackend(ScriptedBackend):
    """Runs registered functions for clients of every kind, notes what it was asked, and fails on request.

    ::

        with FakeBackend() as backend:

            @backend.function
            def get_weather(location: str) -> str: ...

            client = NavaiBackendClient(transport=backend.transport)

    Secrets are demo secrets, and no folder is searched for functions. Any number of threads and event loops
    may use one at the same time; an ``Idempotency-Key`` is known where it came first: to all synchronous
    callers, or on that event loop.

    Attributes:
        transport: For ``NavaiBackendClient``.
        async_transport: For ``AsyncNavaiBackendClient``. Asynchronous functions then run on the client's own
            event loop.
    """

    def __init__(self, **settings: Unpack[SettingsKeywords]) -> None:
        """Make a backend with *settings*, fields of :class:`~navai_client.server.ServerSettings`."""
        super().__init__(Backend(env={}, discover=False, services=DemoServices(), **settings))
        self._memory = InMemory(self._backend, self._scenario)
        self.transport: InMemoryTransport = InMemoryTransport(self._memory)
        self.async_transport: AsyncInMemoryTransport = AsyncInMemoryTransport(self._memory)

    def handle(self, request: Any) -> Any:
        """Answer a request of httpx or httpx2: ``httpx.MockTransport(backend.handle)``.

        Args:
            request: An ``httpx.Request`` or ``httpx2.Request``; its read timeout is kept.

        Returns:
            The response, of the same library; scripted failures raise that library's errors.
        """
        return handle(self._memory, request)

    async def handle_async(self, request: Any) -> Any:
        """Answer a request of an asynchronous client: ``httpx.MockTransport(backend.handle_async)``.

        Args:
            request: As for ``handle``.

        Returns:
            As ``handle`` does.

        Raises:
            NavaiStateError: If no asyncio event loop is running.
        """
        return await handle_async(self._memory, request)

    def close(self) -> None:
        """Stop what still runs; afterwards synchronous callers are not answered."""
        self._memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
