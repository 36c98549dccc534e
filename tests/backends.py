"""Backends for tests: in memory, or on a socket for each transport of the package."""

import base64
import contextlib
import json
import socket
import ssl
import types
from collections.abc import Callable, Iterator
from typing import Any, Final, Self

import httpx
import pytest
import trustme

from navai_client import NavaiError, RetryPolicy
from navai_client.wire._operations import OPERATIONS as TABLE
from tests.clients import KINDS, THROUGH, Client, make_client
from tests.faults.server import FaultServer, Peer

__all__ = [
    "BASE",
    "EVERY_WAY",
    "OPERATIONS",
    "RAISING",
    "SECRET",
    "SPEECH",
    "Backend",
    "Clients",
    "OnTheWire",
    "answer",
    "call",
    "shown_by",
]

BASE = "https://backend.example"
SECRET = {"value": "ek_abc", "expires_at": 1_900_000_000}
SPEECH = {
    "provider": "elevenlabs",
    "mimeType": "audio/mpeg",
    "audioBase64": base64.b64encode(b"ID3").decode(),
}
OPERATIONS: dict[str, tuple[Any, ...]] = {
    operation.name: tuple("get_weather" for field in operation.fields if field.required)
    for operation in TABLE
}
"""Valid arguments for each operation: its required fields, which are strings."""
EVERY_WAY: Final = pytest.mark.parametrize(
    "clients",
    [(kind, through) for kind in KINDS for through in ("mock", *THROUGH)],
    indirect=True,
    ids="-".join,
)
"""For tests of what a transport has a part in: both clients, over a mock of httpx and our transports."""
RAISING = [operation.name for operation in TABLE if operation.recover is None]


class Backend:
    """Responds to each request with the next of *answers*, repeats the last, and keeps the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    @property
    def request(self) -> httpx.Request:
        """The only request."""
        assert len(self.requests) == 1
        return self.requests[0]

    @property
    def body(self) -> Any:
        """The JSON of the only request."""
        return json.loads(self.request.content)


class OnTheWire:
    """A server for every host name, with and without TLS, that responds as *backend* does."""

    _TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.backend: Callable[[httpx.Request], httpx.Response] = Backend()
        self._server = FaultServer(self._serve)
        there = ("127.0.0.1", self._server.port)
        connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

        def look_up(host: Any, port: int, *_: Any, **__: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        def connect_there(connection: socket.socket, address: Any) -> None:
            connect(connection, there if connection.family == socket.AF_INET else address)

        def connect_ex_there(connection: socket.socket, address: Any) -> int:
            return connect_ex(connection, there if connection.family == socket.AF_INET else address)

        patch.setattr(socket, "getaddrinfo", look_up)
        patch.setattr(socket.socket, "connect", connect_there)
        patch.setattr(socket.socket, "connect_ex", connect_ex_there)

    def _serve(self, peer: Peer) -> None:
        scheme = "http"
        if peer._connection.recv(1, socket.MSG_PEEK) == b"\x16":  # TLS (RFC 8446, 5.1)
            scheme = "https"
            peer._connection = self._TLS.wrap_socket(peer._connection, server_side=True)
            self._server._open.add(peer._connection)
        with (
            peer._connection,
            contextlib.suppress(httpx.TransportError),
        ):  # no response then
            while peer.request() is not None:
                peer.send(self._answer(scheme, *self._server.arrived[-1][1:]))

    def _answer(self, scheme: str, head: bytes, body: bytes) -> bytes:
        first, *lines = head.decode().split("\r\n")
        method, target, _ = first.split(" ")
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        host = next(value for name, value in headers if name.lower() == "host")
        url = f"{scheme}://{host}{target}"
        answer = self.backend(httpx.Request(method, url, headers=headers, content=body))
        kept = [(name, value) for name, value in answer.headers.raw if name.lower() != b"content-length"]
        kept.append((b"Content-Length", b"%d" % len(answer.content)))
        head = b"".join(b"%b: %b\r\n" % pair for pair in kept)
        content = b"" if answer.status_code in {204, 304} else answer.content
        return b"HTTP/1.1 %d Status\r\n%b\r\n%b" % (answer.status_code, head, content)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.__exit__(*error)


trustme.CA().issue_cert("backend.example").configure_cert(OnTheWire._TLS)


class Clients:
    """Makes clients of one kind for backends, and closes them at the end.

    Args:
        kind: ``sync`` or ``async``.
        through: The transport of the package to send through; None for a mock of httpx.
        wire: The server of the backend, unless it is mocked.
    """

    def __init__(self, kind: str, through: str | None = None, wire: OnTheWire | None = None) -> None:
        self.kind = kind
        self._through = through
        self._wire = wire
        self._made = contextlib.ExitStack()

    def make(self, backend: Callable[[httpx.Request], httpx.Response], *args: Any, **options: Any) -> Client:
        """Make a client of *backend* that ignores the environment of the process."""
        if self._wire is None or self._through is None:
            options = {"transport": httpx.MockTransport(backend), **options}
        else:
            self._wire.backend = backend
            options = {"through": self._through, "verify": False, **options}
        if not isinstance(max_retries := options.get("max_retries", 2), RetryPolicy):
            options["max_retries"] = RetryPolicy(max_retries=max_retries, jitter=lambda: 0.0)
        client = make_client(self.kind, *args, **{"env": {}, **options})
        self._made.callback(client.close)
        return client

    def close(self) -> None:
        """Close all clients that were made."""
        self._made.close()


def answer(value: Any = None, status: int = 200, headers: dict[str, str] | None = None) -> httpx.Response:
    """Return a response with *value* as JSON, or as it is if it is bytes."""
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return httpx.Response(status, content=content, headers=headers)


def frames_of_ours(error: BaseException | None) -> Iterator[types.FrameType]:
    """Yield the frames of the package that *error*, its causes and contexts keep alive."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_globals.get("__name__", "").startswith("navai_client"):
                yield trace.tb_frame
            trace = trace.tb_next
        error = error.__cause__ or error.__context__


def shown_by(error: NavaiError) -> str:
    """Return all that a traceback with local variables could show of *error* and our frames."""
    shown = [str(error), repr(error), repr(error.__cause__), repr(vars(error))]
    for frame in frames_of_ours(error):
        for name, value in frame.f_locals.items():
            try:
                shown.append(f"{frame.f_code.co_qualname}: {name} = {value!r}")
            except AttributeError:  # a client whose construction failed
                assert name == "self"
    return "\n".join(shown)


def call(client: Any, operation: str, **options: Any) -> Any:
    """Call *operation* with valid arguments."""
    return getattr(client, operation)(*OPERATIONS[operation], **options)
