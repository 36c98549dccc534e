"""A backend that works, and access to the connections that a transport keeps."""

import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from tests.faults.server import FaultServer, Peer, answer

__all__ = ["echo", "waiting"]


def echo(peer: Peer) -> None:
    """Respond to each execution with its payload."""
    while (body := peer.request()) is not None:
        peer.send(answer(body.replace(b'"function_name":"f","payload"', b'"ok":true,"result"')))


@pytest.fixture
def backend() -> Iterator[FaultServer]:
    """A backend that responds to each execution with its payload."""
    with FaultServer(echo) as server:
        yield server


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[str, int]]]:
    """Host names with given addresses; other names are looked up as usual."""
    known: dict[str, list[tuple[str, int]]] = {}
    original = socket.getaddrinfo

    def look_up(host: Any, *args: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in known:
            return original(host, *args, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in known[name]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


def waiting(transport: Any) -> list[Any]:
    """Return the connections of *transport* that wait for a call."""
    idle = transport._idle
    return [connection for waiting in idle._waiting.values() for connection in waiting]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A private certificate authority."""
    return trustme.CA()


@pytest.fixture
def encrypted(authority: trustme.CA) -> Iterator[FaultServer]:
    """The same backend over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def treat(peer: Peer) -> None:
        with context.wrap_socket(peer._connection, server_side=True) as wrapped:
            peer._connection = wrapped
            peer._server._open.add(wrapped)
            echo(peer)
            peer._server._open.discard(wrapped)

    with FaultServer(treat) as server:
        server.url = server.url.replace("http:", "https:")
        yield server
