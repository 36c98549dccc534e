"""``LiveServer``: the reference server on a free port of this machine, in a thread of the test's process."""

import asyncio
import functools
import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final, Unpack, final

import uvicorn

from navai_client.server._app import NavaiBackend
from navai_client.server._demo import DemoServices
from navai_client.server._events import EVENT_STREAM
from navai_client.server._http import BackendResponse, Header
from navai_client.server._settings import SettingsKeywords
from navai_client.server._upstream_settings import BackendOptions
from navai_client.testing._backend_base import BackendForTests

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]

_GRACE_S: Final = 1
_CLEANUP_S: Final = 2  # for functions that are cut off, and the responses to their callers
# For a client that has gone, and gets no response: recorded with the status of the server's own log.
_NOTHING: Final[Sequence[_Message]] = ({"status": 499, "headers": ()}, {"body": b""})
_STARTING_S: Final = 30.0
_CLOSING_S: Final = 10.0


@final
class LiveServer(BackendForTests):
    """A real server: for what only sockets, proxies and timeouts show.

    Attributes:
        url: The base URL, such as ``http://127.0.0.1:49152``.
    """

    _can_refuse = False

    def __init__(self, **settings: Unpack[SettingsKeywords]) -> None:
        """Start a server with *settings*, fields of :class:`~navai_client.server.ServerSettings`.

        Raises:
            OSError: If it cannot listen.
        """
        options = BackendOptions.from_env({}, default_model="demo")  # a model without an announced shutdown
        services = DemoServices()
        self._app = NavaiBackend(options, env={}, discover=False, services=services, **settings)
        super().__init__(self._app, services)
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as the server's own does
        self.url: str = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            self._serve,
            interface="asgi3",
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=_GRACE_S + _CLEANUP_S,
        )
        self._server = _Server(config, self._app)
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="navai-live-server", daemon=True
        )
        self._thread.start()
        self._server.ready.wait(_STARTING_S)

    def close(self) -> None:
        """Stop: no new connections, and a second for calls under way.

        What then still runs and cannot be cancelled is left to its thread, which keeps no process alive.
        """
        self._server.should_exit = True
        self._thread.join(_CLOSING_S)

    async def _serve(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = await _whole_body(receive)
        if body is None:
            return
        arrival = self._receive(scope["method"], scope["path"], dict(scope["headers"]), body)
        passes_on = send if arrival.failure.drop is None else None
        response = await arrival.respond(functools.partial(self._respond, scope, receive, body, passes_on))
        if response is None:
            # uvicorn closes a connection only when a response ends before its Content-Length.
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
            return
        if _is_stream(response.headers):
            return  # it has been sent
        await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
        await send({"type": "http.response.body", "body": response.body})

    async def _respond(
        self, scope: _Message, receive: _Receive, body: bytes, send: _Send | None
    ) -> BackendResponse:
        """Return the server's response to a request whose *body* has been read; a stream goes to *send*."""
        unread: list[_Message] = [{"type": "http.request", "body": body}]
        sent: list[_Message] = []

        async def replay() -> _Message:
            return unread.pop() if unread else await receive()

        async def collect(message: _Message) -> None:
            sent.append(message)
            if send is not None and _is_stream(sent[0]["headers"]):
                await send(message)

        await self._app(scope, replay, collect)
        start, *parts = sent or _NOTHING
        content = b"".join(part["body"] for part in parts)
        return BackendResponse(start["status"], content, tuple(start["headers"]))


def _is_stream(headers: Sequence[Header]) -> bool:
    return EVENT_STREAM[0] in headers


class _Server(uvicorn.Server):
    """Sets ``ready`` once it listens, and cuts calls off when their grace is over."""

    def __init__(self, config: uvicorn.Config, backend: NavaiBackend) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._backend = backend

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        async def cut_off() -> None:
            await asyncio.sleep(_GRACE_S)
            await self._backend.invoker.close()

        cutting = asyncio.create_task(cut_off())
        await super().shutdown(sockets)
        cutting.cancel()


async def _whole_body(receive: _Receive) -> bytes | None:
    """Return the body, or None if the client disconnected before its end."""
    parts = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(parts)
