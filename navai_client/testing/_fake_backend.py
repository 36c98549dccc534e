"""``FakeBackend``: the server's core behind every kind of transport, in memory."""

from typing import Any, Unpack, final

from navai_client.server._app import NavaiBackend
from navai_client.server._demo import DemoServices
from navai_client.server._settings import SettingsKeywords
from navai_client.testing._backend_base import BackendForTests
from navai_client.testing._fake_transports import AsyncInMemoryTransport, HTTPXHandlers, InMemoryTransport
from navai_client.testing._in_memory_server import InMemoryServer


@final
class FakeBackend(BackendForTests):
    """Runs registered functions for clients of every kind, records its requests, and fails on request.

    ::

        with FakeBackend() as backend:

            @backend.function
            def get_weather(location: str) -> str: ...

            client = NavaiBackendClient(transport=backend.transport)

    Secrets are demo secrets, and no folder is searched for functions. Any number of threads and event loops
    may use one at the same time; an ``Idempotency-Key`` is known where it arrived first: to all synchronous
    callers, or on that event loop.

    Attributes:
        transport: For ``NavaiBackendClient``.
        async_transport: For ``AsyncNavaiBackendClient``. Asynchronous functions then run on the client's own
            event loop.
    """

    def __init__(self, **settings: Unpack[SettingsKeywords]) -> None:
        """Make a backend with *settings*, fields of :class:`~navai_client.server.ServerSettings`."""
        super().__init__(NavaiBackend(env={}, discover=False, services=DemoServices(), **settings))
        self._server = InMemoryServer(self._backend)
        self._handlers = HTTPXHandlers(self._server, self._receive)
        self.transport: InMemoryTransport = InMemoryTransport(self._server, self._receive)
        self.async_transport: AsyncInMemoryTransport = AsyncInMemoryTransport(self._server, self._receive)

    def handle(self, request: Any) -> Any:
        """Respond to a request of httpx or httpx2: ``httpx.MockTransport(backend.handle)``.

        Args:
            request: An ``httpx.Request`` or ``httpx2.Request``; its read timeout is kept.

        Returns:
            The response, of the same library; scripted failures raise that library's errors.
        """
        return self._handlers.handle(request)

    async def handle_async(self, request: Any) -> Any:
        """Respond to a request of an asynchronous client: ``httpx.MockTransport(backend.handle_async)``.

        Args:
            request: As for ``handle``.

        Returns:
            As ``handle`` does.

        Raises:
            NavaiStateError: If no asyncio event loop is running.
        """
        return await self._handlers.handle_async(request)

    def close(self) -> None:
        """Stop what still runs; afterwards synchronous callers get no response."""
        self._server.close()
