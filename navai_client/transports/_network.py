"""Connections over TCP and TLS on which no wait outlasts the call's deadline.

The default and the fast transports open theirs here. A timeout for each read is not enough: a peer that sends
a byte now and then never exceeds it. So each wait may take the remaining time of the whole call.
"""

import asyncio
import contextlib
import functools
import ipaddress
import os
import select
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar, cast

from attrs import field, frozen

from navai_client._threads import run_within
from navai_client.transports import Call
from navai_client.wire._values import TransportFailure

_PORTS: Final = {"http": 80, "https": 443}
_LOOKUPS: Final = 32  # names looked up at the same time, as the executor of asyncio allows
_READ: Final = 64 * 1024  # bytes
_SHORTEST_WAIT: Final = 0.001  # seconds; to a socket, a timeout of 0 means "do not wait"
_FAREWELL: Final = 1.0  # seconds that a peer has for its part of closing TLS
_PIECE: Final = 256 * 1024  # bytes that are sent before the deadline is checked again

T = TypeVar("T")


@frozen
class Origin:
    """What a connection leads to (RFC 6454).

    Attributes:
        scheme: ``http`` or ``https``. It alone decides whether the connection is encrypted.
        host: A name or an address, as it is looked up.
        port: The TCP port.
    """

    scheme: str
    host: str
    port: int


@frozen(eq=False)
class Target:
    """The parts of a URL, as httpx reads them.

    Attributes:
        origin: What to connect to.
        authority: The value of ``Host``.
        path: The path and query, encoded. It can hold a key.
    """

    origin: Origin
    authority: bytes
    path: bytes = field(repr=False)

    @classmethod
    def of(cls, url: str) -> "Target | TransportFailure":
        """Return the target of *url*, or why nothing can be sent there."""
        import httpx  # noqa: PLC0415 - `import navai_client` must not load it

        try:
            parsed = httpx.URL(url)
            has_host = bool(parsed.host)  # which IDNA may refuse to decode, such as xn--abc
        except (httpx.InvalidURL, UnicodeError):  # its text can hold the URL
            return TransportFailure("the URL cannot be read", sent=False)
        port = parsed.port or _PORTS.get(parsed.scheme)
        if parsed.scheme not in _PORTS or port is None or not has_host:
            return TransportFailure(f"{parsed.scheme}:// URLs cannot be requested", sent=False)
        origin = Origin(parsed.scheme, parsed.raw_host.decode("ascii"), port)
        return cls(origin, parsed.netloc, parsed.raw_path)


def remaining(call: Call) -> float | None:
    """Return the remaining seconds of *call*, or None for no limit.

    Raises:
        TimeoutError: If nothing is left. As a timeout, 0 would mean "do not wait" to a socket.
    """
    if call.deadline is None:
        return None
    seconds = call.deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("time ran out")
    return seconds


def failure(error: OSError, call: Call) -> TransportFailure:
    """Return the message of *error*. Socket errors contain nothing of a request or a response."""
    if isinstance(error, TimeoutError):
        return TransportFailure("time ran out", sent=call.sent, timed_out=True)
    text = " ".join(str(error).split()) or "no reason was given"
    return TransportFailure(f"{type(error).__name__}: {text}", sent=call.sent, cause=without_frames(error))


def without_frames(error: BaseException) -> BaseException:
    """Return *error* without its traceback, because the variables of the frames hold headers and bodies."""
    current: BaseException | None = error
    while current is not None:
        traceback.clear_frames(current.__traceback__)
        current.__traceback__ = None
        current = current.__cause__ or current.__context__
    return error


def readable(connection: socket.socket) -> Callable[[], bool]:
    """Return a function that says at once whether *connection* has bytes or its end to read."""
    if not hasattr(select, "poll"):  # pragma: no cover - Windows
        return lambda: bool(select.select([connection], [], [], 0)[0])
    poll = select.poll()  # unlike select(), for file descriptors above 1,023 too
    poll.register(connection.fileno(), select.POLLIN)
    return lambda: bool(poll.poll(0))


def connect(host: str, port: int, call: Call) -> socket.socket:
    """Open a TCP connection.

    Raises:
        OSError: If no address can be reached, or TimeoutError if time runs out.
    """
    problem: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in _addresses(host, port, call):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(remaining(call))
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:  # if time ran out, for the other addresses too
            connection.close()
            problem = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise problem


def _addresses(host: str, port: int, call: Call) -> list[Any]:
    look_up = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        with _only_os_errors():
            return _looked_up(look_up, call)
    return look_up()


_lookups = threading.BoundedSemaphore(_LOOKUPS)


def _looked_up(look_up: Callable[[], T], call: Call) -> T:
    """Return the result of *look_up*, in another thread: the system's resolver has no timeout."""
    lookups = _lookups
    if not lookups.acquire(timeout=call.remaining()):
        raise TimeoutError("time ran out")

    def work() -> T:
        try:
            return look_up()
        finally:
            lookups.release()

    return run_within(call.remaining(), work)


def _forget_lookups() -> None:
    """A child of fork() has none of the threads of its parent that look up names."""
    global _lookups  # noqa: PLW0603 - there is one limit for the process
    _lookups = threading.BoundedSemaphore(_LOOKUPS)


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork()
    os.register_at_fork(after_in_child=_forget_lookups)


@contextlib.contextmanager
def _only_os_errors() -> Iterator[None]:
    """Raise an OSError where Python raises another error for an invalid host name."""
    try:
        yield
    except ValueError as error:  # UnicodeError too
        raise OSError(f"the host's name cannot be used ({error})") from None


def encrypt(
    connection: socket.socket, context: ssl.SSLContext, host: str | None, call: Call
) -> socket.socket:
    """Shake hands over *connection*, which is closed if that fails.

    Raises:
        OSError: If the peer is not to be trusted, or TimeoutError if time runs out.
    """
    try:
        connection.settimeout(remaining(call))
        with _only_os_errors():
            if isinstance(connection, ssl.SSLSocket):
                return cast("socket.socket", _TLSInTLS(connection, context, host))
            return context.wrap_socket(connection, server_hostname=host)
    except BaseException:
        connection.close()
        raise


class _TLSInTLS:
    """A socket with TLS inside the TLS of a proxy; ``ssl.SSLSocket`` encrypts only plain sockets."""

    def __init__(self, outer: ssl.SSLSocket, context: ssl.SSLContext, host: str | None) -> None:
        self._outer = outer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self.fileno, self.close = outer.fileno, outer.close
        self.getsockname, self.getpeername = outer.getsockname, outer.getpeername
        self.settimeout(outer.gettimeout())
        self._run(self._tls.do_handshake)

    def settimeout(self, seconds: float | None) -> None:
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def recv(self, size: int) -> bytes:
        return self._run(lambda: self._tls.read(size))

    def send(self, data: bytes) -> int:
        return self._run(lambda: self._tls.write(data))

    def sendall(self, data: bytes) -> None:
        self.send(data)  # all of it, because memory takes all

    def pending(self) -> int:
        return self._tls.pending() or self._incoming.pending or self._outer.pending()

    def _run(self, work: Callable[[], T]) -> T:
        """Return the result of *work*, with the sends and receives that it needs."""
        while True:
            try:
                result = work()
            except ssl.SSLWantReadError:
                self._flush()
                if self._deadline is not None:
                    self._outer.settimeout(max(_SHORTEST_WAIT, self._deadline - time.monotonic()))
                if data := self._outer.recv(_READ):
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._outer.sendall(data)


def unread(connection: socket.socket) -> int:
    """Return how many bytes TLS has decrypted, or holds to decrypt, that were not read from *connection*."""
    return connection.pending() if isinstance(connection, ssl.SSLSocket | _TLSInTLS) else 0


def send(connection: socket.socket, data: bytes, call: Call) -> None:
    """Send *data*.

    Raises:
        OSError: If the connection fails, or TimeoutError if time runs out.
    """
    if len(data) <= _PIECE:
        connection.settimeout(remaining(call))
        connection.sendall(data)
        return
    view = memoryview(data)
    while view:
        connection.settimeout(remaining(call))
        view = view[connection.send(view[:_PIECE]) :]


class AsyncConnection(asyncio.Protocol):
    """A connection in an event loop of asyncio or uvloop, for one reader at a time.

    Attributes:
        closed: Done when the connection is gone.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = self._loop.create_future()

    async def connect(self, host: str, port: int, tls: ssl.SSLContext | None, call: Call) -> None:
        """Connect, encrypted if *tls* is given.

        Raises:
            OSError: If no address can be reached, or TimeoutError if time runs out.
        """
        farewell = None if tls is None else _FAREWELL
        with _only_os_errors():
            async with asyncio.timeout(remaining(call)):
                await self._loop.create_connection(
                    lambda: self, host, port, ssl=tls, ssl_shutdown_timeout=farewell
                )

    async def encrypt(self, tls: ssl.SSLContext, host: str | None, call: Call) -> None:
        """Shake hands over what is connected; the connection is gone if that fails.

        Raises:
            OSError: If the peer is not to be trusted, or TimeoutError if time runs out.
        """
        plain, self._transport = self._transport, None
        assert plain is not None  # noqa: S101 - it is connected
        try:
            with _only_os_errors():
                async with asyncio.timeout(remaining(call)):
                    encrypted = await self._loop.start_tls(
                        plain, self, tls, server_hostname=host, ssl_shutdown_timeout=_FAREWELL
                    )
        except BaseException:
            plain.abort()
            self.connection_lost(None)  # asyncio may not say so for a handshake that failed
            raise
        self._transport = cast("asyncio.Transport", encrypted)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; that of uvloop is no subclass."""
        self._transport = cast("asyncio.Transport", transport)
        self._readable = readable(transport.get_extra_info("socket"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is gone, and why."""
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(None)
        self._wake(exc)

    def is_alive(self) -> bool:
        """Return whether the peer keeps it open, and has sent nothing unrequested."""
        return self._transport is not None and not self._transport.is_closing() and not self._readable()

    def end(self, *, in_peace: bool = False) -> asyncio.Future[None]:
        """Close the connection, at once or with TLS's close_notify; return ``closed``."""
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
        seconds = remaining(call)
        waiter = self._waiter = self._loop.create_future()
        timer = None
        if seconds is not None:
            timer = self._loop.call_later(seconds, self._wake, TimeoutError("time ran out"))
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self, error: Exception | None = None) -> None:
        if self._waiter is None or self._waiter.done():
            return
        if error is None:
            self._waiter.set_result(None)
        else:
            self._waiter.set_exception(error)
