"""How requests reach a ``FakeBackend``: from our clients by a transport, from httpx and httpx2 by a handler.

httpx and httpx2 have the same interface and no class in common: what a handler returns and raises is of the
library that the request came from.
"""

import asyncio
import sys
from types import ModuleType
from typing import Any, Final, NoReturn, Protocol, final
from urllib.parse import unquote, urlsplit

from navai_client.errors import NavaiStateError
from navai_client.server._http import BackendResponse
from navai_client.testing._in_memory_server import InMemoryServer
from navai_client.testing._scripted_failures import Arrival
from navai_client.transports import Call
from navai_client.transports._body import Body, outcome
from navai_client.wire._values import Request, Response, TransportFailure

_REFUSED: Final = TransportFailure("connection refused (scripted)", sent=False)
_DROPPED: Final = TransportFailure("connection dropped (scripted)")
_LATE: Final = TransportFailure("the backend took longer", timed_out=True)


class Receive(Protocol):
    """Records a request, and says what goes wrong with it."""

    def __call__(self, method: str, path: str, headers: dict[bytes, bytes], content: bytes, /) -> Arrival: ...


class _Connector:
    """Takes requests in: records each, and has the server respond."""

    def __init__(self, server: InMemoryServer, receive: Receive) -> None:
        self._server = server
        self._receive = receive

    def _arrive(self, method: str, url: str, headers: Any, content: bytes | None) -> Arrival:
        raw = {name.lower().encode("latin-1"): value.encode("latin-1") for name, value in headers}
        return self._receive(method, unquote(urlsplit(url).path), raw, content or b"")

    def _arrive_from_client(self, request: Request) -> Arrival:
        endpoint, headers = request.endpoint, (*request.headers, *request.call_headers)
        return self._arrive(endpoint.method, endpoint.url, headers, request.content)

    def _arrive_from_httpx(self, request: Any, content: bytes, library: ModuleType) -> Arrival:
        arrival = self._arrive(request.method, str(request.url), request.headers.multi_items(), content)
        if arrival.is_refused:
            raise library.ConnectError("connection refused (scripted)", request=request)
        return arrival


@final
class InMemoryTransport(_Connector):
    """Sends the requests of ``NavaiBackendClient`` to the backend."""

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Return the response to *request*, within the deadline of *call*."""
        arrival = self._arrive_from_client(request)
        if arrival.is_refused:
            return _REFUSED
        call.sent = True
        try:
            return _to_outcome(self._server.respond_blocking(arrival, call.remaining()), call)
        except TimeoutError:
            return _LATE

    def close(self) -> None:
        """Hold nothing: the backend is closed on its own."""


@final
class AsyncInMemoryTransport(_Connector):
    """Sends the requests of ``AsyncNavaiBackendClient`` to the backend, on the client's own event loop."""

    async def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Return the response to *request*, within the deadline of *call*."""
        arrival = self._arrive_from_client(request)
        if arrival.is_refused:
            return _REFUSED
        call.sent = True
        try:
            async with asyncio.timeout(call.remaining()):
                return _to_outcome(await self._server.respond(arrival), call)
        except TimeoutError:
            return _LATE

    async def close(self) -> None:
        """Hold nothing: the backend is closed on its own."""


@final
class HTTPXHandlers(_Connector):
    """Handles requests of httpx and httpx2."""

    def handle(self, request: Any) -> Any:
        """Return the response to *request*, within its read timeout; raise what its library would."""
        library = _library_of(request)
        arrival = self._arrive_from_httpx(request, request.read(), library)
        try:
            response = self._server.respond_blocking(arrival, _read_timeout(request))
        except TimeoutError:
            _raise_read_timeout(library, request)
        return _to_library(library, response, request)

    async def handle_async(self, request: Any) -> Any:
        """Do the same on the running event loop."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise NavaiStateError(
                "handle_async needs a running asyncio event loop; without one, use handle."
            ) from None
        library = _library_of(request)
        arrival = self._arrive_from_httpx(request, await request.aread(), library)
        try:
            async with asyncio.timeout(_read_timeout(request)):
                response = await self._server.respond(arrival)
        except TimeoutError:
            _raise_read_timeout(library, request)
        return _to_library(library, response, request)


def _to_outcome(response: BackendResponse | None, call: Call) -> Response | TransportFailure:
    if response is None:
        return _DROPPED
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
    body = Body(call.max_response_bytes, headers.get("content-encoding"))
    body.feed(response.body)
    return outcome(response.status, headers, body)


def _library_of(request: Any) -> ModuleType:
    """Return the library that *request* comes from; it is loaded, as its request exists."""
    roots = {cls.__module__.partition(".")[0] for cls in type(request).__mro__}
    return sys.modules["httpx2" if "httpx2" in roots else "httpx"]


def _read_timeout(request: Any) -> float | None:
    timeouts = request.extensions.get("timeout")
    seconds: float | None = timeouts.get("read") if timeouts else None
    return seconds


def _to_library(library: ModuleType, response: BackendResponse | None, request: Any) -> Any:
    if response is None:
        raise library.RemoteProtocolError("connection dropped (scripted)", request=request)
    body = b"" if request.method == "HEAD" else response.body
    return library.Response(response.status, headers=list(response.headers), content=body, request=request)


def _raise_read_timeout(library: ModuleType, request: Any) -> NoReturn:
    raise library.ReadTimeout("the backend took longer", request=request) from None
