"""Connections, encrypted or not, on which no wait outlasts the call's deadline.

The default and the fast transports use these. A timeout for each read is not enough: a peer that sends a byte
now and then never exceeds it. So each wait may take the remaining time of the whole call.
"""

import asyncio
import contextlib
import select
import socket
import ssl
import time
import traceback
from collections.abc import Callable
from typing import Final, TypeVar, cast

from navai_client.transports import Call
from navai_client.transports._connecting import (
    HostNameError,
    connect_async,
    connect_unix_async,
    noting_handshake,
    only_os_errors,
    remaining,
)
from navai_client.wire._values import TransportFailure

_READ: Final = 64 * 1024  # bytes
_FAREWELL: Final = 1.0  # seconds that a peer has for its part of closing TLS
_PIECE: Final = 256 * 1024  # bytes that are encrypted at a time

T = TypeVar("T")


def failure(error: OSError, call: Call) -> TransportFailure:
    """Return the message of *error*. Socket errors contain nothing of a request or a response."""
    if isinstance(error, TimeoutError):
        return TransportFailure("time ran out", sent=call.sent, timed_out=True)
    text = " ".join(str(error).split()) or "no reason was given"
    return TransportFailure(
        f"{type(error).__name__}: {text}",
        sent=call.sent,
        cause=without_frames(error),
        permanent=is_permanent(error),
    )


def is_permanent(error: BaseException) -> bool:
    """Return whether *error* comes from a certificate or a host name, and another attempt would fail, too."""
    current: BaseException | None = error
    while current is not None and not isinstance(current, ssl.SSLCertVerificationError | HostNameError):
        current = current.__cause__ or current.__context__
    return current is not None


def without_frames(error: BaseException) -> BaseException:
    """Return *error* without its traceback, because the variables of the frames hold headers and bodies."""
    current: BaseException | None = error
    while current is not None:
        traceback.clear_frames(current.__traceback__)
        current.__traceback__ = None
        current = current.__cause__ or current.__context__
    return error


def watch(connection: socket.socket) -> Callable[..., bool]:
    """Return a function that waits until *connection* has bytes or its end to read, and says whether it has.

    The function takes the seconds to wait, or None for no limit. With ``writing=True`` it also returns when
    the peer takes more bytes.
    """
    if not hasattr(select, "poll"):  # pragma: no cover - Windows
        return lambda seconds, *, writing=False: bool(
            select.select([connection], [connection] if writing else [], [], seconds)[0]
        )
    poll = select.poll()  # unlike select(), for file descriptors above 1,023 too
    descriptor = connection.fileno()
    poll.register(descriptor, select.POLLIN)

    def wait(seconds: float | None, *, writing: bool = False) -> bool:
        if not writing:
            return bool(poll.poll(None if seconds is None else seconds * 1000))
        poll.modify(descriptor, select.POLLIN | select.POLLOUT)
        events = poll.poll(None if seconds is None else seconds * 1000)
        poll.modify(descriptor, select.POLLIN)
        return any(event != select.POLLOUT for _, event in events)

    return wait


def encrypt(
    connection: socket.socket, context: ssl.SSLContext, host: str | None, call: Call
) -> socket.socket:
    """Shake hands over *connection*, which is closed if that fails.

    Raises:
        OSError: If the peer is not to be trusted, or TimeoutError if time runs out.
    """
    encrypted = connection
    try:
        with only_os_errors(), noting_handshake(connection.getpeername()):
            if isinstance(connection, ssl.SSLSocket):
                encrypted = cast("socket.socket", _TLSInTLS(connection, context, host))
            else:
                encrypted = context.wrap_socket(
                    connection, server_hostname=host, do_handshake_on_connect=False
                )
            wait = watch(encrypted)
            while True:
                try:
                    encrypted.do_handshake()  # type: ignore[attr-defined]
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                    wait(remaining(call), writing=isinstance(error, ssl.SSLWantWriteError))
                else:
                    return encrypted
    except BaseException:
        encrypted.close()
        raise


class _TLSInTLS:
    """A socket with TLS inside the TLS of a proxy; ``ssl.SSLSocket`` encrypts only plain sockets.

    As of a socket that does not block, its methods raise ``SSLWantReadError`` and ``SSLWantWriteError``.
    """

    def __init__(self, outer: ssl.SSLSocket, context: ssl.SSLContext, host: str | None) -> None:
        self._outer = outer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._unsent = b""
        self._written = 0
        self.fileno, self.close = outer.fileno, outer.close
        self.getsockname, self.getpeername = outer.getsockname, outer.getpeername

    def do_handshake(self) -> None:
        self._run(self._tls.do_handshake)
        self._flush()

    def recv(self, size: int) -> bytes:
        """Receive, even while the peer does not take what is to be sent: it may refuse the request."""
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                with contextlib.suppress(ssl.SSLWantWriteError):
                    self._flush()
                self._receive()

    def send(self, data: bytes) -> int:
        """Send all of *data*. As with OpenSSL, an interrupted send is repeated with the same data."""
        if not self._written:
            self._written = self._run(lambda: self._tls.write(data))
        self._flush()
        written, self._written = self._written, 0
        return written

    def pending(self) -> int:
        return self._tls.pending() or self._incoming.pending or self._outer.pending()

    def _run(self, work: Callable[[], T]) -> T:
        """Return the result of *work*, with the sends and receives that it needs."""
        while True:
            try:
                return work()
            except ssl.SSLWantReadError:
                self._flush()
                self._receive()

    def _receive(self) -> None:
        if data := self._outer.recv(_READ):
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        self._unsent += self._outgoing.read()
        while self._unsent:
            self._unsent = self._unsent[self._outer.send(self._unsent[:_PIECE]) :]


class SyncConnection:
    """A connection over a socket that does not block, for one reader at a time.

    What the peer does not take at once is sent while the response is awaited. So a response that comes before
    the peer has read the whole request is received, whether the peer reads on or not.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._wait = watch(connection)
        self._is_encrypted = isinstance(connection, ssl.SSLSocket | _TLSInTLS)
        self._unsent: bytes | memoryview = b""
        self._broken: OSError | None = None

    def write(self, data: bytes) -> None:
        """Send *data*, now or while the response is read. ``read`` says why if that fails."""
        self._unsent = data
        self._send()

    def read(self, size: int, call: Call) -> bytes:
        """Return up to *size* bytes, or none if the peer has ended the connection.

        Raises:
            OSError: If the connection fails, or TimeoutError if time runs out.
        """
        while True:
            if not self._is_readable(remaining(call)):
                continue
            try:
                return self.socket.recv(size)
            except (BlockingIOError, ssl.SSLWantReadError):
                continue  # a part of a record of TLS
            except ConnectionError:
                raise self._broken or ConnectionResetError("the connection was reset by the peer") from None

    def _is_readable(self, seconds: float | None) -> bool:
        """Wait up to *seconds* for bytes to read, and send meanwhile what the peer takes."""
        if not self._unsent:
            return (self._is_encrypted and self.unread() > 0) or self._wait(seconds)
        is_readable = self._wait(seconds, writing=True)
        self._send()
        return is_readable

    def _send(self) -> None:
        unsent = self._unsent
        try:
            if len(unsent) <= _PIECE:
                unsent = unsent[self.socket.send(unsent) :]
            unsent = memoryview(unsent)
            while unsent:
                unsent = unsent[self.socket.send(unsent[:_PIECE]) :]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:  # even then the peer may have said why
            unsent, self._broken = b"", error
        self._unsent = unsent

    def unread(self) -> int:
        """Return how many bytes TLS has decrypted, or holds to decrypt, that were not read."""
        return self.socket.pending() if self._is_encrypted else 0  # type: ignore[attr-defined]

    def is_alive(self) -> bool:
        """Return whether the peer keeps it open, and has sent nothing unrequested."""
        return not self._wait(0.0)

    def is_clean(self) -> bool:
        """Return whether no part of the last request or response remains."""
        return not self._unsent and self._broken is None and self.socket.fileno() >= 0 and not self.unread()

    def close(self) -> None:
        self.socket.close()


class AsyncConnection(asyncio.Protocol):
    """A connection in an event loop of asyncio or uvloop, for one reader at a time.

    Attributes:
        closed: Done when the connection is gone.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._deadline: float | None = None  # of the waiter, on the clock of ``time.monotonic()``
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ends = 0.0
        self._transport: asyncio.Transport | None = None
        self._layers: list[asyncio.Transport] = []
        self._socket: socket.socket | None = None
        self.closed: asyncio.Future[None] = self._loop.create_future()

    async def connect(
        self, host: str, port: int, tls: ssl.SSLContext | None, call: Call, uds: str | None = None
    ) -> None:
        """Connect to *host*, or to the Unix socket *uds* in its place, encrypted if *tls* is given.

        Raises:
            OSError: If no address can be reached, or TimeoutError if time runs out.
        """
        with only_os_errors():
            async with asyncio.timeout(remaining(call)):
                if uds is None:
                    connection = await connect_async(self._loop, host, port, call)
                else:
                    connection = await connect_unix_async(uds)
                self._socket = connection
                try:
                    if uds is None:
                        await self._loop.create_connection(lambda: self, sock=connection)
                    else:
                        await self._loop.create_unix_connection(lambda: self, sock=connection)
                except BaseException:
                    connection.close()
                    raise
        if tls is not None:
            await self.encrypt(tls, host, call)

    async def encrypt(self, tls: ssl.SSLContext, host: str | None, call: Call) -> None:
        """Shake hands over what is connected; the connection is gone if that fails.

        Raises:
            OSError: If the peer is not to be trusted, or TimeoutError if time runs out.
        """
        plain, self._transport = self._transport, None
        if plain is None:
            raise ConnectionResetError("the connection was closed by the peer")
        try:
            with only_os_errors(), noting_handshake(plain.get_extra_info("peername")):
                async with asyncio.timeout(remaining(call)):
                    encrypted = await self._loop.start_tls(
                        plain, self, tls, server_hostname=host, ssl_shutdown_timeout=_FAREWELL
                    )
        except BaseException:
            plain.abort()
            self.connection_lost(None)  # asyncio may not say so for a handshake that failed
            raise
        self._transport = cast("asyncio.Transport", encrypted)
        self._layers.append(self._transport)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; that of uvloop is no subclass."""
        self._transport = cast("asyncio.Transport", transport)
        self._layers = [self._transport]
        self._watch = watch(transport.get_extra_info("socket"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is gone, and why."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.closed.done():
            self.closed.set_result(None)
        self._wake(exc)

    def is_alive(self) -> bool:
        """Return whether the peer keeps it open, and has sent nothing unrequested."""
        return self._transport is not None and not self._transport.is_closing() and not self._watch(0.0)

    def has_unsent(self) -> bool:
        """Return whether any bytes still wait to be sent. A TLS layer counts only its own."""
        return any(layer.get_write_buffer_size() for layer in self._layers)

    def end(self, *, in_peace: bool = False) -> asyncio.Future[None] | None:
        """Close the connection, at once or with TLS's close_notify; return ``closed``.

        After the end of the event loop, only the socket can be closed, and there is nothing to wait for.
        """
        if self._loop.is_closed():
            if self._socket is not None:
                self._socket.close()
            return None
        if self._transport is not None:
            if in_peace:
                self._transport.close()
            else:
                self._transport.abort()
        return self.closed

    async def _wait(self, call: Call) -> None:
        """Wait until ``_wake()`` is called.

        Raises:
            OSError: If the connection is lost, or TimeoutError if time runs out.
        """
        remaining(call)  # raises if none is left
        waiter = self._waiter = self._loop.create_future()
        self._deadline = call.deadline
        if call.deadline is not None:
            self._set_timer(call.deadline)
        try:
            await waiter
        finally:
            self._waiter = None

    def _set_timer(self, deadline: float) -> None:
        """Let ``_expire()`` be called at *deadline*, or earlier.

        The timer of an earlier wait stays, because most waits are over long before their deadline: to set
        and cancel one for each would cost a quarter of a call.
        """
        if self._timer is not None:
            if self._timer_ends <= deadline:
                return
            self._timer.cancel()
        self._timer = self._loop.call_later(deadline - time.monotonic(), self._expire)
        self._timer_ends = deadline

    def _expire(self) -> None:
        self._timer = None
        if self._waiter is None or self._deadline is None:
            return
        if self._deadline > time.monotonic():
            self._set_timer(self._deadline)
        else:
            self._wake(TimeoutError("time ran out"))

    def _wake(self, error: Exception | None = None) -> None:
        if self._waiter is None or self._waiter.done():
            return
        if error is None:
            self._waiter.set_result(None)
        else:
            self._waiter.set_exception(error)
