"""Connections over TCP and TLS on which no wait outlasts the call's deadline.

The default and the fast transports open theirs here. A timeout for each read is not enough: a peer that sends
a byte now and then never exceeds it. So each wait may take the remaining time of the whole call.
"""

import asyncio
import contextlib
import errno
import functools
import ipaddress
import os
import re
import select
import selectors
import socket
import ssl
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias, TypeVar, cast

from attrs import field, frozen

from navai_client._threads import run_within
from navai_client.transports import Call
from navai_client.wire._values import TransportFailure

_PORTS: Final = {"http": 80, "https": 443}
_LOOKUPS: Final = 32  # names looked up at the same time, as the executor of asyncio allows
_READ: Final = 64 * 1024  # bytes
_ATTEMPT_DELAY: Final = 0.25  # seconds from one attempt to connect to the next (RFC 8305, section 5)
_REMEMBERED: Final = 1000  # hosts; a client has one
_CONNECTING: Final = {0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", 0)}
_FAREWELL: Final = 1.0  # seconds that a peer has for its part of closing TLS
_PIECE: Final = 256 * 1024  # bytes that are encrypted at a time

T = TypeVar("T")

_Address: TypeAlias = tuple[Any, Any, int, str, Any]  # as getaddrinfo() returns them


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


# A URL that httpx leaves as it is: nothing is encoded, by IDNA or otherwise, and the path has no "." or "..".
_BYTE: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_PLAIN_URL: Final = re.compile(
    rf"(https?)://(localhost|(?:{_BYTE}\.){{3}}{_BYTE}|(?:(?!xn--)[a-z][a-z0-9-]*\.)+[a-z]{{2,}})"
    r"(?::([1-9][0-9]{0,3}|[1-5][0-9]{4}))?((?:/[A-Za-z0-9_~-]+)+/?)"
)


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
        if (plain := _PLAIN_URL.fullmatch(url)) is not None:
            scheme, host, port, path = plain.groups()
            authority = host if port is None or int(port) == _PORTS[scheme] else f"{host}:{port}"
            return cls(Origin(scheme, host, int(port or _PORTS[scheme])), authority.encode(), path.encode())
        import httpx  # noqa: PLC0415 - to load it takes ten times as long as one call

        try:
            parsed = httpx.URL(url)
            has_host = bool(parsed.host)  # which IDNA may refuse to decode, such as xn--abc
        except (httpx.InvalidURL, UnicodeError):  # its text can hold the URL
            return TransportFailure("the URL cannot be read", sent=False, permanent=True)
        port = parsed.port or _PORTS.get(parsed.scheme)
        if parsed.scheme not in _PORTS or port is None or not has_host:
            message = f"{parsed.scheme}:// URLs cannot be requested"
            return TransportFailure(message, sent=False, permanent=True)
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
    return TransportFailure(
        f"{type(error).__name__}: {text}",
        sent=call.sent,
        cause=without_frames(error),
        permanent=is_permanent(error),
    )


def is_permanent(error: BaseException) -> bool:
    """Return whether *error* comes from a certificate or a host name, and another attempt would fail, too."""
    current: BaseException | None = error
    while current is not None and not isinstance(current, ssl.SSLCertVerificationError | _HostNameError):
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


def connect(host: str, port: int, call: Call) -> socket.socket:
    """Open a TCP connection, whose socket does not block, by Happy Eyeballs (RFC 8305).

    Raises:
        OSError: If no address can be reached, or TimeoutError if time runs out.
    """
    waiting = _in_order(_addresses(host, port, call), host)
    delay = _delay(waiting, call)
    problem: OSError = OSError("the name has no address")
    with selectors.DefaultSelector() as attempts:
        try:
            while waiting or attempts.get_map():
                left = remaining(call)
                if waiting:
                    if (failed := _begin(waiting.popleft(), attempts)) is not None:
                        problem = failed
                        continue
                    left = delay if waiting else left
                for key, _ in attempts.select(left):
                    connection = cast("socket.socket", key.fileobj)
                    number = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if number:
                        problem = _drop(connection, number, attempts)
                    else:
                        attempts.unregister(connection)
                        _remember(host, key.data)
                        return connection
            raise problem
        finally:
            for key in list(attempts.get_map().values()):
                cast("socket.socket", key.fileobj).close()


def _new_socket(address: _Address) -> socket.socket:
    connection = socket.socket(*address[:3])
    try:
        connection.setblocking(False)  # noqa: FBT003 - it takes no keyword
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


def _begin(address: _Address, attempts: selectors.BaseSelector) -> OSError | None:
    """Begin to connect to *address*; return why that fails at once, as without IPv6 in the system."""
    try:
        connection = _new_socket(address)
    except OSError as error:
        return error
    attempts.register(connection, selectors.EVENT_WRITE, address)
    number = connection.connect_ex(address[4])
    return None if number in _CONNECTING else _drop(connection, number, attempts)


def _drop(connection: socket.socket, number: int, attempts: selectors.BaseSelector) -> OSError:
    attempts.unregister(connection)
    connection.close()
    return OSError(number, os.strerror(number))  # Python makes a ConnectionRefusedError of it, for example


def _in_order(addresses: list[_Address], host: str) -> deque[_Address]:
    """Return *addresses* in the order to try: what worked last, then the families in turn (RFC 8305, 4)."""
    families: dict[int, deque[_Address]] = {}
    for address in addresses:
        families.setdefault(address[0], deque()).append(address)
    ordered: deque[_Address] = deque()
    while families:
        for family, each in list(families.items()):
            ordered.append(each.popleft())
            if not each:
                del families[family]
    known = _reached.get(host)
    for address in ordered:
        if address[4][0] == known:
            ordered.remove(address)
            ordered.appendleft(address)
            break
    return ordered


def _delay(addresses: deque[_Address], call: Call) -> float:
    """Return the seconds from one attempt to the next, so short that each address has its turn."""
    left = call.remaining()
    return _ATTEMPT_DELAY if left is None else min(_ATTEMPT_DELAY, left / (len(addresses) + 1))


_reached: dict[str, str] = {}  # the address of each host that was reached last


def _remember(host: str, address: _Address) -> None:
    if len(_reached) >= _REMEMBERED:
        _reached.clear()
    _reached[host] = address[4][0]


def _addresses(host: str, port: int, call: Call) -> list[_Address]:
    if known := _literal(host, port):
        return known  # type: ignore[no-any-return]
    with _only_os_errors():
        return _looked_up(functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM), call)


def _literal(host: str, port: int) -> Any:
    """Return *host* if it is an address, or None for a name, whose lookup may have to wait."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    # As bytes, because a str would load the IDNA codec.
    return socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)


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


class _HostNameError(OSError):
    """A text cannot be a host name."""


@contextlib.contextmanager
def _only_os_errors() -> Iterator[None]:
    """Raise an OSError where Python raises another error for an invalid host name."""
    try:
        yield
    except OSError:  # a certificate that is not trusted is a ValueError as well
        raise
    except ValueError as error:  # UnicodeError too
        raise _HostNameError(f"the host's name cannot be used ({error})") from None


def encrypt(
    connection: socket.socket, context: ssl.SSLContext, host: str | None, call: Call
) -> socket.socket:
    """Shake hands over *connection*, which is closed if that fails.

    Raises:
        OSError: If the peer is not to be trusted, or TimeoutError if time runs out.
    """
    encrypted = connection
    try:
        with _only_os_errors():
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
        return self._run(lambda: self._tls.read(size))

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
        """Close it at once."""
        self.socket.close()


async def _connect_async(loop: asyncio.AbstractEventLoop, host: str, port: int, call: Call) -> socket.socket:
    """Connect as ``connect`` does. uvloop has no Happy Eyeballs, and asyncio does not remember addresses."""
    known = _literal(host, port)
    waiting = _in_order(known or await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM), host)
    delay = _delay(waiting, call)

    async def attempt(address: _Address) -> socket.socket:
        connection = _new_socket(address)
        try:
            await loop.sock_connect(connection, address[4])
        except BaseException:
            connection.close()
            raise
        _remember(host, address)
        return connection

    problem: BaseException = OSError("the name has no address")
    attempts: set[asyncio.Task[socket.socket]] = set()
    try:
        while waiting or attempts:
            if waiting:
                attempts.add(loop.create_task(attempt(waiting.popleft())))
            done, _ = await asyncio.wait(
                attempts, timeout=delay if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                attempts.discard(task)
                if (error := task.exception()) is None:
                    return task.result()
                problem = error
        raise problem
    finally:
        for task in attempts:
            if not task.cancel() and task.exception() is None:
                task.result().close()


class AsyncConnection(asyncio.Protocol):
    """A connection in an event loop of asyncio or uvloop, for one reader at a time.

    Attributes:
        closed: Done when the connection is gone.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._layers: list[asyncio.Transport] = []
        self.closed: asyncio.Future[None] = self._loop.create_future()

    async def connect(self, host: str, port: int, tls: ssl.SSLContext | None, call: Call) -> None:
        """Connect, encrypted if *tls* is given.

        Raises:
            OSError: If no address can be reached, or TimeoutError if time runs out.
        """
        with _only_os_errors():
            async with asyncio.timeout(remaining(call)):
                connection = await _connect_async(self._loop, host, port, call)
                try:
                    await self._loop.create_connection(lambda: self, sock=connection)
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
        self._layers.append(self._transport)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; that of uvloop is no subclass."""
        self._transport = cast("asyncio.Transport", transport)
        self._layers = [self._transport]
        self._watch = watch(transport.get_extra_info("socket"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is gone, and why."""
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(None)
        self._wake(exc)

    def is_alive(self) -> bool:
        """Return whether the peer keeps it open, and has sent nothing unrequested."""
        return self._transport is not None and not self._transport.is_closing() and not self._watch(0.0)

    def has_unsent(self) -> bool:
        """Return whether any bytes still wait to be sent. A TLS layer counts only its own."""
        return any(layer.get_write_buffer_size() for layer in self._layers)

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
