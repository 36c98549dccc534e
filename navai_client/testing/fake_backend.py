"""A backend in memory for tests: the server's core behind both kinds of transport, without sockets."""

import asyncio
import threading
from types import TracebackType
from typing import Final, Self, Unpack, final
from urllib.parse import unquote, urlsplit

from navai_client.server.backend import Backend
from navai_client.server.demo import DemoServices
from navai_client.server.messages import Answer, BackendRequest
from navai_client.server.settings import SettingsKeywords
from navai_client.transports import Call
from navai_client.wire.messages import Request, Response, TransportFailure

__all__ = ["FakeBackend"]

_CLOSING_S: Final = 5.0


@final
class FakeBackend:
    """Runs registered functions for clients of either kind, and notes what it was asked.

    ::

        with FakeBackend() as backend:

            @backend.function
            def get_weather(location: str) -> str: ...

            client = NavaiBackendClient(transport=backend.transport)

    Secrets are demo secrets, and no folder is searched for functions.

    Attributes:
        transport: For ``NavaiBackendClient``.
        async_transport: For ``AsyncNavaiBackendClient``.
        requests: Every request that arrived, in order.
    """

    def __init__(self, **settings: Unpack[SettingsKeywords]) -> None:
        """Make a backend with *settings*, fields of :class:`~navai_client.server.ServerSettings`."""
        self._backend = Backend(env={}, discover=False, services=DemoServices(), **settings)
        self.function = self._backend.function
        self.requests: list[Request] = []
        self.transport = _Transport(self)
        self.async_transport = _AsyncTransport(self)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop what still runs; afterwards no call is answered."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._backend.aclose(), loop).result(_CLOSING_S)
            loop.call_soon_threadsafe(loop.stop)

    async def respond(self, request: Request, max_response_bytes: int) -> Response:
        """Answer *request*, as the server would."""
        self.requests.append(request)
        sent = {
            name.lower().encode("latin-1"): value.encode("latin-1")
            for name, value in (*request.endpoint.headers, *request.headers)
        }
        path = unquote(urlsplit(request.endpoint.url).path)
        given = BackendRequest(
            request.endpoint.method, path, sent, sent.get(b"x-request-id", b"").decode("latin-1")
        )
        core = self._backend.core
        body = request.content or b""
        answer = core.admit(given)
        if answer is None and len(body) > core.settings.max_body_bytes:
            answer = core.too_large()
        if answer is None:
            answer = await core.answer(given, body)
        return _response(answer, max_response_bytes)

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop, in a thread of its own, on which synchronous clients are answered."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_run, args=(self._loop,), name="navai-fake", daemon=True).start()
            return self._loop


class _Transport:
    """Answers ``NavaiBackendClient``."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Send *request* to the backend's loop and wait for the answer."""
        call.sent = True
        answering = self._backend.respond(request, call.max_response_bytes)
        waiting = asyncio.run_coroutine_threadsafe(answering, self._backend.loop())
        try:
            return waiting.result(call.remaining())
        except TimeoutError:
            waiting.cancel()
            return TransportFailure("The backend did not answer in time.", timed_out=True)

    def close(self) -> None:
        """Hold nothing: the backend is closed by who made it."""


class _AsyncTransport:
    """Answers ``AsyncNavaiBackendClient``."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend

    async def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Answer *request* on the client's own loop."""
        call.sent = True
        try:
            async with asyncio.timeout(call.remaining()):
                return await self._backend.respond(request, call.max_response_bytes)
        except TimeoutError:
            return TransportFailure("The backend did not answer in time.", timed_out=True)

    async def close(self) -> None:
        """Hold nothing: the backend is closed by who made it."""


def _response(answer: Answer, most: int) -> Response:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
    return Response(answer.status, headers, answer.body[:most], truncated=len(answer.body) > most)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()
