"""A connection of the fast sync transport: a socket on which no wait goes beyond the call's deadline."""

import contextlib
import functools
import ipaddress
import select
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from navai_client.transports import Call
from navai_client.transports._fast_parser import ResponseParser
from navai_client.transports._httpx import Origin
from navai_client.transports._threads import run_within
from navai_client.wire._values import Response, TransportFailure

__all__ = ["SocketConnection", "connect", "readable", "remaining_or_late"]

_READ: Final = 64 * 1024  # bytes
_READ_MORE: Final = 1024 * 1024  # bytes, where an answer turns out to be long
_PIECE: Final = 256 * 1024  # bytes that are sent before the deadline is looked at again


def remaining_or_late(call: Call) -> float | None:
    """Return the seconds that are left of *call*, or None for no limit.

    Raises:
        TimeoutError: If nothing is left, or nobody waits for it any more.
    """
    remaining = call.remaining()
    if remaining == 0 or call.left:
        raise TimeoutError("time ran out")
    return remaining


def readable(connection: socket.socket) -> Callable[[], bool]:
    """Return what tells, without waiting, whether *connection* has ended or bytes wait on it."""
    if not hasattr(select, "poll"):  # pragma: no cover - Windows
        return lambda: bool(select.select([connection], [], [], 0)[0])
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return lambda: bool(poll.poll(0))


class SocketConnection:
    """One connection, which serves one call after the other.

    Attributes:
        idle_since: When its last call ended.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._readable = readable(connection)
        self._answer = ResponseParser()
        self.idle_since = 0.0

    def is_alive(self) -> bool:
        """Return whether the peer keeps it, and nothing came on it that nobody asked for."""
        return not self._readable()

    def send(self, request: bytes, call: Call) -> Response | TransportFailure:
        """Send *request* and return the answer.

        Raises:
            OSError: If the connection fails, or TimeoutError if time runs out.
        """
        answer = self._answer
        answer.begin(call.max_response_bytes)
        self._socket.settimeout(remaining_or_late(call))
        call.sent = True
        refused = self._send(request, call)
        size = _READ
        while not answer.over:
            self._socket.settimeout(remaining_or_late(call))
            try:
                data = self._socket.recv(size)
            except ConnectionError:
                raise refused or ConnectionResetError("the connection was reset by the peer") from None
            if data:
                answer.feed(data)
                size = _READ_MORE
            else:
                answer.end()
        return answer.outcome()

    def _send(self, request: bytes, call: Call) -> ConnectionError | None:
        """Send *request*; return why it was not taken whole. Even then the peer may have said why."""
        try:
            if len(request) <= _PIECE:
                self._socket.sendall(request)
                return None
            view = memoryview(request)
            while view:
                self._socket.settimeout(remaining_or_late(call))
                view = view[self._socket.send(view[:_PIECE]) :]
        except ConnectionError as error:
            return error
        return None

    def clean(self) -> bool:
        """Return whether another call may follow."""
        pending = self._socket.pending() if isinstance(self._socket, ssl.SSLSocket) else 0
        return self._answer.reusable and not pending

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def connect(origin: Origin, tls: ssl.SSLContext | None, call: Call) -> SocketConnection:
    """Open a connection to *origin*, encrypted if *tls* is given.

    Raises:
        OSError: If there is no way there, or TimeoutError if time runs out.
        UnicodeError: If the name cannot be looked up.
    """
    problem: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in _addresses(origin, call):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(remaining_or_late(call))
            connection.connect(address)
        except TimeoutError:
            connection.close()
            raise
        except OSError as error:
            connection.close()
            problem = error
            continue
        except BaseException:
            connection.close()
            raise
        return _ready(connection, origin, tls, call)
    raise problem


def _addresses(origin: Origin, call: Call) -> list[Any]:
    look_up = functools.partial(socket.getaddrinfo, origin.host, origin.port, type=socket.SOCK_STREAM)
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(origin.host)
        return look_up()
    return run_within(remaining_or_late(call), look_up)  # it can take longer than any timeout says


def _ready(
    connection: socket.socket, origin: Origin, tls: ssl.SSLContext | None, call: Call
) -> SocketConnection:
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            connection.settimeout(remaining_or_late(call))
            connection = tls.wrap_socket(connection, server_hostname=origin.host)
        return SocketConnection(connection)
    except BaseException:
        connection.close()
        raise
