"""The ASGI application: reading requests, writing answers, start and stop."""

import asyncio
import contextlib
import functools
import itertools
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from typing import Any, Final, final

from navai_client.server._backend import Backend
from navai_client.server._http import BackendRequest, BackendResponse, Header, error_response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:+/=@-]{1,128}")
_EXPOSED: Final = (b"access-control-expose-headers", b"ETag, Idempotent-Replayed, Retry-After, X-Request-ID")
_VARY: Final = (b"vary", b"Origin")
_WITHOUT_BODY: Final = (204, 304)


class _GoneError(Exception):
    """The client left before its request was whole."""


@final
class NavaiBackend(Backend):
    """A Navai backend as one ASGI application, to be served alone or mounted into another.

    ::

        backend = NavaiBackend()

        @backend.function
        def get_weather(location: str) -> str:
            \"\"\"Get the current weather of a place.\"\"\"
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request, or the start and stop of the server."""
        if scope["type"] != "http":
            await self._serve_other(scope["type"], receive, send)
            return
        began = time.perf_counter()
        headers = dict(scope["headers"])
        request = BackendRequest(scope["method"], _path_of(scope), headers, self._request_id(headers))
        body: bytes | BackendResponse = b""
        answer = self.core.admit(request)
        if answer is None:
            try:
                body = await self._read(request, receive)
            except _GoneError:
                return
            answer = body if isinstance(body, BackendResponse) else await self.core.answer(request, body)
        await self._send(request, answer, send)
        if self.access_log is not None:
            self.access_log.write(request, answer, time.perf_counter() - began)
        if self.recent_calls is not None:
            sent = body if isinstance(body, bytes) else b""
            self.recent_calls.record(request, sent, answer, time.perf_counter() - began)

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncIterator[None]:
        """Start and stop with the application that this one is mounted into: ``Starlette(lifespan=...)``."""
        self.start()
        try:
            yield
        finally:
            await self.aclose()

    async def _serve_other(self, protocol: str, receive: Receive, send: Send) -> None:
        if protocol == "lifespan":
            await self._live(receive, send)
        elif protocol == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        else:
            raise ValueError(f"A Navai backend does not serve {protocol!r}.")

    def _request_id(self, headers: dict[bytes, bytes]) -> str:
        given = headers.get(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given.decode()
        return next(self._own_ids)

    @functools.cached_property
    def _own_ids(self) -> Iterator[str]:
        """Ids that no other process gives: made at the first request, and so after a server has forked."""
        start = os.urandom(6).hex()
        return (f"{start}-{number}" for number in itertools.count(1))

    async def _read(self, request: BackendRequest, receive: Receive) -> bytes | BackendResponse:
        """Read the body, up to the limit, within its time."""
        if request.method != "POST":
            return b""
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            return body if len(body) <= self.settings.max_body_bytes else self.core.too_large()
        parts = bytearray()
        try:
            async with asyncio.timeout(self.settings.body_timeout):
                while True:
                    if message["type"] != "http.request":
                        raise _GoneError
                    parts += message.get("body", b"")
                    if len(parts) > self.settings.max_body_bytes:
                        return self.core.too_large()
                    if not message.get("more_body"):
                        return bytes(parts)
                    message = await receive()
        except TimeoutError:
            return error_response(408, "Request body did not arrive in time.", (b"connection", b"close"))

    async def _send(self, request: BackendRequest, answer: BackendResponse, send: Send) -> None:
        headers: list[Header] = [*answer.headers, (b"x-request-id", request.request_id.encode()), _VARY]
        origin = request.raw_headers.get(b"origin")
        if origin is not None and self.settings.allows_origin(origin.decode("latin-1")):
            headers += ((b"access-control-allow-origin", origin), _EXPOSED)
        if answer.status not in _WITHOUT_BODY:
            headers.append((b"content-length", b"%d" % len(answer.body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        body = b"" if request.method == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": body})

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return


def _path_of(scope: Scope) -> str:
    """Return the path below the mount point."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :] or "/"
    return path
