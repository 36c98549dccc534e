"""A connection of the fast async transport: a protocol of asyncio that feeds a parser."""

import asyncio

from navai_client.transports import Call, _network
from navai_client.transports._connecting import Origin
from navai_client.transports._fast_parser import Encoder, ResponseParser
from navai_client.transports._network import failure
from navai_client.transports._tls import TLS
from navai_client.wire._values import Request, Response, TransportFailure


class AsyncConnection(_network.AsyncConnection):
    """One connection, which serves one call after the other. The first opens it.

    Attributes:
        idle_since: When its last call ended.
    """

    def __init__(self, origin: Origin, tls: TLS, encode: Encoder, uds: str | None = None) -> None:
        super().__init__()
        self._origin = origin
        self._uds = uds
        self._context = tls.context() if origin.scheme == "https" else None
        self._encode = encode
        self._parser = ResponseParser()
        self._call: Call | None = None  # the one under way, if its caller wants progress
        self._connected = False
        self.idle_since = 0.0

    def data_received(self, data: bytes) -> None:
        """Process received bytes; bytes that no request asked for end the connection."""
        if self._waiter is None:
            self.end()
            return
        self._parser.feed(data)
        if self._call is not None:
            self._call.deliver()
        if self._parser.over:
            self._wake()

    def eof_received(self) -> None:
        """Note that the peer has finished sending; asyncio then closes the connection."""
        self._parser.end()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note why there is no response."""
        if exc is None:
            self._parser.end()
        super().connection_lost(exc)

    def is_reusable(self) -> bool:
        return self._parser.reusable and self._transport is not None and not self.has_unsent()

    def close(self, *, in_peace: bool = False) -> asyncio.Future[None] | None:
        return self.end(in_peace=in_peace) if self._connected else None

    async def send(self, request: Request, call: Call) -> Response | TransportFailure:
        self._parser.begin(call.max_response_bytes, call.events)
        self._call = None if call.events is None else call
        whole = self._encode(request)
        if isinstance(whole, TransportFailure):
            return whole
        try:
            if not self._connected:
                await self.connect(self._origin.host, self._origin.port, self._context, call, self._uds)
                self._connected = True
            if self._transport is None:
                raise ConnectionResetError("the connection was closed by the peer")
            call.mark_sent()
            self._transport.write(whole)
            await self._wait(call)
        except OSError as error:
            return failure(error, call)
        return self._parser.outcome()
