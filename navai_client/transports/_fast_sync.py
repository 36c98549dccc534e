"""A connection of the fast sync transport: a socket and a parser, with nothing between them."""

import socket
from typing import Final

from navai_client.transports import Call
from navai_client.transports._fast_parser import Encoder, ResponseParser
from navai_client.transports._network import (
    Origin,
    connect,
    encrypt,
    failure,
    readable,
    remaining,
    send,
    unread,
)
from navai_client.transports._tls import TLS
from navai_client.wire._values import Request, Response, TransportFailure

_READ: Final = 64 * 1024  # bytes
_READ_MORE: Final = 1024 * 1024  # bytes, where a response turns out to be long


class SyncConnection:
    """One connection, which serves one call after the other. The first opens it.

    Attributes:
        idle_since: When its last call ended.
    """

    def __init__(self, origin: Origin, tls: TLS, encode: Encoder) -> None:
        self._origin = origin
        self._context = tls.context() if origin.scheme == "https" else None
        self._encode = encode
        self._socket: socket.socket | None = None
        self._parser = ResponseParser()
        self.idle_since = 0.0

    def is_alive(self) -> bool:
        """Return whether the peer keeps it open, and has sent nothing unrequested."""
        return self._socket is not None and not self._readable()

    def is_reusable(self) -> bool:
        """Return whether another call may use the connection."""
        return self._parser.reusable and self._socket is not None and not unread(self._socket)

    def close(self) -> None:
        """Close it at once."""
        if self._socket is not None:
            self._socket.close()

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Send *request* and return the outcome, as ``Transport.send`` does."""
        self._parser.begin(call.max_response_bytes)
        whole = self._encode(request)
        if isinstance(whole, TransportFailure):
            return whole
        try:
            if self._socket is None:
                self._socket = self._connected(call)
                self._readable = readable(self._socket)
            return self._exchange(self._socket, whole, call)
        except OSError as error:
            return failure(error, call)

    def _connected(self, call: Call) -> socket.socket:
        plain = connect(self._origin.host, self._origin.port, call)
        return plain if self._context is None else encrypt(plain, self._context, self._origin.host, call)

    def _exchange(self, connection: socket.socket, whole: bytes, call: Call) -> Response | TransportFailure:
        parser = self._parser
        call.mark_sent()
        refused: ConnectionError | None = None
        try:
            send(connection, whole, call)
        except ConnectionError as error:
            refused = error  # even then the peer may have said why
        size = _READ
        while not parser.over:
            connection.settimeout(remaining(call))
            try:
                data = connection.recv(size)
            except ConnectionError:
                raise refused or ConnectionResetError("the connection was reset by the peer") from None
            if data:
                parser.feed(data)
                size = _READ_MORE
            else:
                parser.end()
        return parser.outcome()
