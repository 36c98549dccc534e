"""``FakeBackend``: the server's core in memory, behind transports for our clients and handlers for httpx.

httpx and httpx2 have the same interface and no class in common: what a handler returns and raises is of the
library that the request came from. Synchronous callers wait for an event loop in a thread of its own.
"""

import asyncio
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Final, Unpack, final
from urllib.parse import unquote, urlsplit

from navai_client.errors import NavaiStateError
from navai_client.server._app import NavaiBackend
from navai_client.server._demo import DemoServices
from navai_client.server._settings import SettingsKeywords
from navai_client.testing._backend_base import BackendForTests
from navai_client.testing._in_memory_server import InMemoryServer
from navai_client.testing._scripted_failures import Arrival
from navai_client.transports import Call
from navai_client.transports._body import Body, outcome
from navai_client.wire._values import Request, Response, TransportFailure

_Arrive = Callable[[str, str, Iterable[tuple[str, str]], bytes], Arrival]

_REFUSED: Final = "connection refused (scripted)"
_DROPPED: Final = "connection dropped (scripted)"
_LATE: Final = "the backend took longer"


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
        self.async_transport: AsyncInMemoryTransport = AsyncInMemoryTransport(self._arrive, self._server)
        self.transport: InMemoryTransport = InMemoryTransport(self.async_transport, self._server)

    def handle(self, request: Any) -> Any:
        """Respond to a request of httpx or httpx2: ``httpx.MockTransport(backend.handle)``.

        Args:
            request: An ``httpx.Request`` or ``httpx2.Request``; its read timeout is kept.

        Returns:
            The response, of the same library; scripted failures raise that library's errors.
        """
        request.read()
        try:
            return self._server.run(self.handle_async(request), _read_timeout(request))
        except TimeoutError:
            raise _library_of(request).ReadTimeout(_LATE, request=request) from None

    async def handle_async(self, request: Any) -> Any:
        """Respond to a request of an asynchronous client: ``httpx.MockTransport(backend.handle_async)``.

        Args:
            request: As for ``handle``.

        Returns:
            As ``handle`` does.

        Raises:
            NavaiStateError: If no asyncio event loop is running.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise NavaiStateError(
                "handle_async needs a running asyncio event loop; without one, use handle."
            ) from None
        library = _library_of(request)
        content, headers = await request.aread(), request.headers.multi_items()
        arrival = self._arrive(request.method, str(request.url), headers, content)
        if arrival.is_refused:
            raise library.ConnectError(_REFUSED, request=request)
        try:
            async with asyncio.timeout(_read_timeout(request)):
                response = await self._server.respond(arrival)
        except TimeoutError:
            raise library.ReadTimeout(_LATE, request=request) from None
        if response is None:
            raise library.RemoteProtocolError(_DROPPED, request=request)
        body = b"" if request.method == "HEAD" else response.body
        return library.Response(
            response.status, headers=list(response.headers), content=body, request=request
        )

    def _arrive(self, method: str, url: str, headers: Iterable[tuple[str, str]], content: bytes) -> Arrival:
        """Record a request, and return it with its scripted failure."""
        raw = {name.lower().encode("latin-1"): value.encode("latin-1") for name, value in headers}
        return self._receive(method, unquote(urlsplit(url).path), raw, content)

    def close(self) -> None:
        """Stop what still runs; afterwards synchronous callers get no response."""
        self._server.close()


@final
class AsyncInMemoryTransport:
    """Sends the requests of ``AsyncNavaiBackendClient`` to the backend, on the client's own event loop."""

    def __init__(self, arrive: _Arrive, server: InMemoryServer) -> None:
        self._arrive = arrive
        self._server = server

    async def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Return the response to *request*, within the deadline of *call*."""
        endpoint, headers = request.endpoint, (*request.headers, *request.call_headers)
        arrival = self._arrive(endpoint.method, endpoint.url, headers, request.content or b"")
        if arrival.is_refused:
            return TransportFailure(_REFUSED, sent=False)
        call.sent = True
        try:
            async with asyncio.timeout(call.remaining()):
                response = await self._server.respond(arrival)
        except TimeoutError:
            return TransportFailure(_LATE, timed_out=True)
        if response is None:
            return TransportFailure(_DROPPED)
        received = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
        body = Body(call.max_response_bytes, received.get("content-encoding"))
        body.feed(response.body)
        return outcome(response.status, received, body)

    async def close(self) -> None:
        """Do nothing: the backend itself is closed separately."""


@final
class InMemoryTransport:
    """Sends the requests of ``NavaiBackendClient`` to the backend."""

    def __init__(self, transport: AsyncInMemoryTransport, server: InMemoryServer) -> None:
        self._transport = transport
        self._server = server

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Return the response to *request*, within the deadline of *call*."""
        try:
            return self._server.run(self._transport.send(request, call), call.remaining())
        except TimeoutError:
            return TransportFailure(_LATE, timed_out=True)

    def close(self) -> None:
        """Do nothing: the backend itself is closed separately."""


def _library_of(request: Any) -> ModuleType:
    """Return the library of *request*, which is loaded already."""
    roots = {cls.__module__.partition(".")[0] for cls in type(request).__mro__}
    return sys.modules["httpx2" if "httpx2" in roots else "httpx"]


def _read_timeout(request: Any) -> float | None:
    seconds: float | None = (request.extensions.get("timeout") or {}).get("read")
    return seconds
