"""A connection of the fast sync transport: a socket and a parser, with nothing between them."""

from typing import Final

from navai_client.transports import Call, _network
from navai_client.transports._connecting import Origin, connect, connect_unix
from navai_client.transports._fast_parser import Encoder, ResponseParser
from navai_client.transports._network import encrypt, failure
from navai_client.transports._tls import TLS
from navai_client.wire._values import Request, Response, TransportFailure

_READ: Final = 64 * 1024  # bytes
_READ_MORE: Final = 1024 * 1024  # bytes, where a response turns out to be long


class SyncConnection:
    """One connection, which serves one call after the other. The first opens it.

    Attributes:
        idle_since: When its last call ended.
    """

    def __init__(self, origin: Origin, tls: TLS, encode: Encoder, uds: str | None = None) -> None:
        self._origin = origin
        self._uds = uds
        self._context = tls.context() if origin.scheme == "https" else None
        self._encode = encode
        self._connection: _network.SyncConnection | None = None
        self._parser = ResponseParser()
        self.idle_since = 0.0

    def is_alive(self) -> bool:
        return self._connection is not None and self._connection.is_alive()

    def is_reusable(self) -> bool:
        return self._parser.reusable and self._connection is not None and self._connection.is_clean()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        parser = self._parser
        parser.begin(call.max_response_bytes, call.events)
        whole = self._encode(request)
        if isinstance(whole, TransportFailure):
            return whole
        try:
            connection = self._connection
            if connection is None:
                connection = self._connection = self._connect(call)
            call.mark_sent()
            connection.write(whole)
            size = _READ
            while not parser.over:
                if data := connection.read(size, call):
                    parser.feed(data)
                    call.deliver()
                    size = _READ_MORE
                else:
                    parser.end()
        except OSError as error:
            return failure(error, call)
        return parser.outcome()

    def _connect(self, call: Call) -> _network.SyncConnection:
        if self._uds is None:
            plain = connect(self._origin.host, self._origin.port, call)
        else:
            plain = connect_unix(self._uds, call)
        if self._context is None:
            return _network.SyncConnection(plain)
        return _network.SyncConnection(encrypt(plain, self._context, self._origin.host, call))
