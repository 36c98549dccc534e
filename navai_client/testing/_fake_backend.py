"""``FakeBackend``: the server's core in memory, behind transports for our clients and handlers for httpx.

httpx and httpx2 have the same interface and no class in common: what a handler returns and raises is of the
library that the request came from. Synchronous callers wait for an event loop in a thread of its own.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, Unpack, cast, final
from urllib.parse import unquote, urlsplit

from navai_client._extras import needs_extra
from navai_client.errors import NavaiConfigError, NavaiStateError
from navai_client.server._app import NavaiBackend
from navai_client.server._demo import DemoServices
from navai_client.server._settings import SettingsKeywords
from navai_client.testing._backend_base import BackendForTests
from navai_client.testing._in_memory_server import InMemoryServer
from navai_client.testing._scripted_failures import Arrival
from navai_client.transports import Call
from navai_client.transports._body import Body, outcome
from navai_client.wire._values import Request, Response, TransportFailure

if TYPE_CHECKING:
    from navai_client.testing._saved_functions import SavedFunctions

_Arrive = Callable[[str, str, Iterable[tuple[str, str]], bytes], Arrival]

_REFUSED: Final = "connection refused (scripted)"
_DROPPED: Final = "connection dropped (scripted)"
_STREAM: Final = {"content-type": "text/event-stream"}
_LATE: Final = "the backend took longer"


@final
class FakeBackend(BackendForTests):
    """Runs registered functions for clients of any kind, records their requests, and plays failures.

    ::

        with FakeBackend() as backend:

            @backend.function
            def get_weather(location: str) -> str: ...

            client = NavaiBackendClient(transport=backend.transport)

    It mints sample secrets, and does not search folders for functions. Any number of threads and event loops
    can use it at the same time. An ``Idempotency-Key`` is valid where it arrived first: for all synchronous
    callers, or on that event loop.

    Attributes:
        transport: For ``NavaiBackendClient``.
        async_transport: For ``AsyncNavaiBackendClient``. Asynchronous functions then run on the client's own
            event loop.
        strict: Whether the test fails at its end if a saved list of functions refuses a call, or if the test
            does not define the function; see ``from_file``.
    """

    def __init__(self, **settings: Unpack[SettingsKeywords]) -> None:
        """Create a backend with *settings*, fields of :class:`~navai_client.server.ServerSettings`."""
        services = DemoServices()
        super().__init__(NavaiBackend(env={}, discover=False, services=services, **settings), services)
        self._server = InMemoryServer(self._backend)
        self.async_transport: AsyncInMemoryTransport = AsyncInMemoryTransport(self._arrive, self._server)
        self.transport: InMemoryTransport = InMemoryTransport(self.async_transport, self._server)
        self.strict: bool = True
        self._saved: SavedFunctions | None = None

    @classmethod
    def from_file(cls, file: str | os.PathLike[str], **settings: Unpack[SettingsKeywords]) -> Self:
        """Create a backend with the functions of a real one, so that the two cannot drift apart.

        Clients list the functions in the file. The test says what a function returns, with ``returns``, or
        what it does, with ``@backend.function``. If the saved schemas refuse a call, the caller gets the
        error that the real backend would send, and the test fails when the ``with`` block or the fixture
        ends, even if the code under test hides the error. The test also fails if a function is called that
        it does not define.

        Args:
            file: A file from ``navai functions --save FILE``.
            settings: The same as for the constructor.

        Raises:
            ImportError: If jsonschema is not installed; the extra ``testing`` brings it.
            NavaiConfigError: If the file is not such a list, or has a schema that cannot be used.
            OSError: If the file cannot be read.
        """
        with needs_extra("testing", "jsonschema"):
            from navai_client.testing._saved_functions import SavedFunctions  # noqa: PLC0415 - few need it

        backend = cls(**settings)
        backend._saved = saved = SavedFunctions(file)
        saved.offer(backend._backend.functions())
        backend.function = cast("Any", saved.function)  # of the same form, with fewer options
        return backend

    def returns(self, function_name: str, result: Any) -> None:
        """Let a function in the file return *result* from now on, whatever its arguments are.

        Raises:
            NavaiConfigError: If the file has no such function, or there is no file.
        """
        if self._saved is None:
            raise NavaiConfigError("returns() needs FakeBackend.from_file(); else use @backend.function.")
        self._saved.returns(function_name, result)

    def assert_calls_accepted(self) -> None:
        """Assert that the saved schemas accept all calls, and that the test defines the called functions.

        The ``with`` block and the fixture call this at their end. Without a file, it accepts everything.

        Raises:
            AssertionError: If one of these is not true and ``strict`` is set; the message says what came and
                what was expected.
        """
        __tracebackhide__ = True
        problems = self._saved.problems() if self._saved is not None and self.strict else None
        if problems is not None:
            raise AssertionError(problems)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if error is None:
            self.assert_calls_accepted()

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
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(_read_timeout(request)):
                response = await self._server.respond(arrival, parts.append)
        except TimeoutError:
            raise library.ReadTimeout(_LATE, request=request) from None
        if response is None:
            raise library.RemoteProtocolError(_DROPPED, request=request)
        body = b"" if request.method == "HEAD" else b"".join([*parts, response.body])
        return library.Response(
            response.status, headers=list(response.headers), content=body, request=request
        )

    def _arrive(self, method: str, url: str, headers: Iterable[tuple[str, str]], content: bytes) -> Arrival:
        """Record a request, and return it with its scripted failure."""
        raw = {name.lower().encode("latin-1"): value.encode("latin-1") for name, value in headers}
        return self._receive(method, unquote(urlsplit(url).path), raw, content)

    def close(self) -> None:
        """Stop all running calls. After this, synchronous callers get no response."""
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
        events, parts = call.events, list[bytes]()

        def write(part: bytes) -> None:
            if events is None:
                parts.append(part)
            else:
                events.begin(200, _STREAM)
                events.feed(part)
                call.deliver()

        try:
            async with asyncio.timeout(call.remaining()):
                response = await self._server.respond(arrival, write)
        except TimeoutError:
            return TransportFailure(_LATE, timed_out=True)
        if response is None:
            return TransportFailure(_DROPPED)
        received = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
        events = events and events.begin(response.status, received)
        body = Body(call.max_response_bytes, received.get("content-encoding"), events)
        body.feed(b"".join([*parts, response.body]))
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
        report, said = call.report, SimpleQueue[str | None]()
        if report is None:
            return self._send(request, call)
        # Its caller may make a call of its own meanwhile: it is told in its own thread, as over sockets.
        call.report = said.put
        with ThreadPoolExecutor(1) as threads:
            sending = threads.submit(self._send, request, call)
            sending.add_done_callback(lambda _: said.put(None))
            while (message := said.get()) is not None:
                report(message)
        call.report = report
        return sending.result()

    def _send(self, request: Request, call: Call) -> Response | TransportFailure:
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
