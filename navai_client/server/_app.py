"""The ASGI application: reading requests, sending responses, start and stop, the boundary for all errors."""

import asyncio
import contextlib
import functools
import itertools
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from typing import Any, Final, final

from navai_client.server._backend import Backend
from navai_client.server._cors import CrossOrigin
from navai_client.server._http import BackendRequest, BackendResponse, error_response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# What is safe in a log line: UUIDs, trace ids, base64. Longer ids get one of ours.
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:+/=@-]{1,128}")
_WITHOUT_BODY: Final = (204, 304)  # RFC 9110, section 6.4.1

_log: Final = logging.getLogger("navai_client.server")


class _DisconnectedError(Exception):
    """The client closed its connection before its request was complete."""


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
        body = b""
        try:
            response = self.router.refuse(request)
            if response is None:
                received = await self._read(request, receive)
                if isinstance(received, BackendResponse):
                    response = received
                else:
                    body = received
                    response = await self.router.respond(request, body)
        except _DisconnectedError:
            return
        except Exception:  # noqa: BLE001 - the outer boundary: a defect of ours fails one request, not the server
            _log.exception("Request %s failed.", request.request_id)
            response = error_response(500, "Internal server error.")
        await self._send(request, response, send)
        if self.access_log is not None:
            self.access_log.write(request, response, time.perf_counter() - began)
        if self.recent_calls is not None:
            self.recent_calls.record(request, body, response, time.perf_counter() - began)

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
            await self._serve_lifespan(receive, send)
        elif protocol == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        else:
            raise ValueError(f"A Navai backend does not serve {protocol!r}.")

    @functools.cached_property
    def _cross_origin(self) -> CrossOrigin:
        return CrossOrigin(self.settings.cors_origins)

    def _request_id(self, headers: dict[bytes, bytes]) -> str:
        given = headers.get(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given.decode()
        return next(self._request_ids)

    @functools.cached_property
    def _request_ids(self) -> Iterator[str]:
        """Ids that are unique across processes: made at the first request, after a server has forked."""
        start = os.urandom(6).hex()
        return (f"{start}-{number}" for number in itertools.count(1))

    async def _read(self, request: BackendRequest, receive: Receive) -> bytes | BackendResponse:
        """Read the body, or return the refusal of one that is too large or too slow."""
        if request.method != "POST":
            return b""
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            return body if len(body) <= self.settings.max_body_bytes else self.router.too_large()
        parts = bytearray()
        try:
            async with asyncio.timeout(self.settings.body_timeout):
                while True:
                    if message["type"] != "http.request":
                        raise _DisconnectedError
                    parts += message.get("body", b"")
                    if len(parts) > self.settings.max_body_bytes:
                        return self.router.too_large()
                    if not message.get("more_body"):
                        return bytes(parts)
                    message = await receive()
        except TimeoutError:
            return error_response(408, "Request body did not arrive in time.", (b"connection", b"close"))

    async def _send(self, request: BackendRequest, response: BackendResponse, send: Send) -> None:
        headers = [
            *response.headers,
            (b"x-request-id", request.request_id.encode()),
            *self._cross_origin.headers(request),
        ]
        if response.status not in _WITHOUT_BODY:
            headers.append((b"content-length", b"%d" % len(response.body)))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        body = b"" if request.method == "HEAD" else response.body
        await send({"type": "http.response.body", "body": body})

    async def _serve_lifespan(self, receive: Receive, send: Send) -> None:
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
