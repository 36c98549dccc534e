"""A connection of the fast async transport: a protocol of asyncio that collects answers."""

import asyncio
import ssl
from typing import Final, cast

from navai_client.transports import Call
from navai_client.transports._fast_parser import ResponseParser
from navai_client.transports._fast_sync import readable, remaining_or_late
from navai_client.transports._httpx import Origin
from navai_client.wire._values import Response, TransportFailure

__all__ = ["StreamConnection", "connect"]

_FAREWELL: Final = 1.0  # seconds that a peer has to answer the end of TLS


class StreamConnection(asyncio.Protocol):
    """One connection, which serves one call after the other.

    Attributes:
        idle_since: When its last call ended.
        closed: Done when the connection is gone.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._answer = ResponseParser()
        self._waiter: asyncio.Future[None] | None = None
        self._spoiled = False
        self.closed: asyncio.Future[None] = loop.create_future()
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note that the connection stands."""
        self._transport = cast("asyncio.Transport", transport)  # that of uvloop is no subclass
        self._readable = readable(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        """Take what the peer has sent; what nobody asked for ends the connection."""
        if self._waiter is None:
            self.abort()
            return
        self._answer.feed(data)
        if self._answer.over:
            self._wake()

    def eof_received(self) -> None:
        """Take note that the peer sends no more; asyncio closes the connection then."""
        self._answer.end()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits why there is no answer."""
        self._spoiled = True
        self.closed.set_result(None)
        if exc is None:
            self._answer.end()
        self._wake(exc)

    def _wake(self, error: Exception | None = None) -> None:
        if self._waiter is None or self._waiter.done():
            return
        if error is None:
            self._waiter.set_result(None)
        else:
            self._waiter.set_exception(error)

    def is_alive(self) -> bool:
        """Return whether the peer keeps it, and nothing came on it that nobody asked for."""
        return not self._spoiled and not self._transport.is_closing() and not self._readable()

    async def send(self, request: bytes, call: Call) -> Response | TransportFailure:
        """Send *request* and return the answer.

        Raises:
            OSError: If the connection fails, or TimeoutError if time runs out.
        """
        remaining = remaining_or_late(call)
        self._answer.begin(call.max_response_bytes)
        self._waiter = self._loop.create_future()
        timer = (
            None
            if remaining is None
            else self._loop.call_later(remaining, self._wake, TimeoutError("time ran out"))
        )
        call.sent = True
        self._transport.write(request)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()
        return self._answer.outcome()

    def clean(self) -> bool:
        """Return whether another call may follow."""
        return self._answer.reusable and not self._spoiled and not self._transport.get_write_buffer_size()

    def close(self) -> None:
        """End it in peace."""
        self._spoiled = True
        self._transport.close()

    def abort(self) -> None:
        """End it at once."""
        self._spoiled = True
        self._transport.abort()


async def connect(origin: Origin, tls: ssl.SSLContext | None, call: Call) -> StreamConnection:
    """Open a connection to *origin*, encrypted if *tls* is given.

    Raises:
        OSError: If there is no way there, or TimeoutError if time runs out.
        UnicodeError: If the name cannot be looked up.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(remaining_or_late(call)):
        _, connection = await loop.create_connection(
            lambda: StreamConnection(loop),
            origin.host,
            origin.port,
            ssl=tls,
            ssl_shutdown_timeout=None if tls is None else _FAREWELL,
        )
    return connection
