"""The fast transports (extra ``fast``): sockets of our own, with the HTTP parser of Node.js, llhttp.

They keep every promise of the default ones and skip the objects of httpx between a call and its socket. Where
a proxy is in the way, they send through the default transports, which know proxies.
"""

import asyncio
import contextlib
import re
import ssl
import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar
from weakref import WeakKeyDictionary

from navai_client._extras import needs_extra
from navai_client.transports import AsyncTransport, Call, Transport, _pool
from navai_client.transports._body import ACCEPT_ENCODING
from navai_client.transports._default import AsyncHTTPXTransport, HTTPXTransport
from navai_client.transports._httpx import Origin, Settings, Target, without_frames
from navai_client.transports._pool import Idle, all_busy, forget_after_fork
from navai_client.wire._values import Endpoint, Request, Response, TransportFailure

with needs_extra("fast", "httptools"):
    from navai_client.transports import _fast_async, _fast_sync

__all__ = ["AsyncFastTransport", "FastTransport"]

T = TypeVar("T")
_Headers = tuple[tuple[str, str], ...]

_LINES: Final = re.compile(r"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*\r\n)*")  # RFC 9110, section 5, in ASCII


class _Routes(Generic[T]):
    """How requests get where they go.

    Args:
        verify: As for the transports.
        proxy: As for the transports.
        default: Makes the transport for requests that go through a proxy.
    """

    def __init__(
        self,
        verify: bool | str | ssl.SSLContext,
        proxy: str | None,
        default: Callable[[bool | str | ssl.SSLContext, str | None], T],
    ) -> None:
        self._settings = Settings(verify, proxy)
        self._default = default
        self._given = (verify, proxy)
        self._heads: WeakKeyDictionary[Endpoint, tuple[_Headers, tuple[Origin, bytes] | TransportFailure]] = (
            WeakKeyDictionary()
        )
        self.by_proxy: T | None = None

    def head(self, request: Request) -> tuple[Origin, bytes] | TransportFailure:
        """Return where *request* goes and how its head begins; kept for requests with the same headers."""
        endpoint, headers = request.endpoint, request.headers
        known = self._heads.get(endpoint)
        if known is None or known[0] is not headers:
            known = self._heads[endpoint] = (headers, _head(endpoint, headers))
        return known[1]

    def proxy_transport(self, origin: Origin) -> T | None:
        """Return the default transport if requests to *origin* may go through a proxy."""
        if not self._settings.proxied(origin):
            return None
        if self.by_proxy is None:
            self.by_proxy = self._default(*self._given)
        return self.by_proxy

    def tls(self, origin: Origin) -> ssl.SSLContext | None:
        """Return the TLS context for connections to *origin*, or None if they are not encrypted."""
        return self._settings.tls() if origin.scheme == "https" else None


def _head(endpoint: Endpoint, headers: _Headers) -> tuple[Origin, bytes] | TransportFailure:
    target = Target.of(endpoint.url)
    if isinstance(target, TransportFailure):
        return target
    if not any(name.lower() == "host" for name, _ in headers):
        headers = (("Host", target.authority.decode("ascii")), *headers)
    lines = _lines((*headers, ("Accept-Encoding", ACCEPT_ENCODING)))
    if lines is None:
        return _bad_header()
    first = b"%b %b HTTP/1.1\r\n" % (endpoint.method.encode("ascii"), target.path)
    return target.origin, first + lines


def _whole(head: bytes, request: Request) -> bytes | TransportFailure:
    """Return *request* as it leaves, in one piece."""
    lines = _lines(request.call_headers)
    if lines is None:
        return _bad_header()
    if request.content is None:
        return b"%b%b\r\n" % (head, lines)
    return b"%b%bContent-Length: %d\r\n\r\n%b" % (head, lines, len(request.content), request.content)


def _lines(headers: _Headers) -> bytes | None:
    """Return *headers* as they leave, or None if one would not be a header of its own."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    return lines.encode("ascii") if _LINES.fullmatch(lines) and lines.count("\n") == len(headers) else None


def _bad_header() -> TransportFailure:
    return TransportFailure("the request has a header that cannot be sent as it is", sent=False)


def _failure(error: OSError | UnicodeError, call: Call) -> TransportFailure:
    """Return what *error* says. No error of a socket holds anything of a request or an answer."""
    if isinstance(error, TimeoutError):
        return TransportFailure("time ran out", sent=call.sent, timed_out=True)
    text = " ".join(str(error).split()) or "no reason was given"
    return TransportFailure(f"{type(error).__name__}: {text}", sent=call.sent, cause=without_frames(error))


class FastTransport:
    """A transport for ``NavaiBackendClient`` that does less for each call than the default one.

    Give it as ``transport=FastTransport()``. It is closed with the client. Any number of threads may use it.

    Args:
        verify: True for the usual certificate authorities (and those that ``SSL_CERT_FILE`` and
            ``SSL_CERT_DIR`` name), False for none, a file or folder of certificates, or an
            ``ssl.SSLContext``.
        proxy: The URL of a proxy, else what the environment says; calls through a proxy take the way of the
            default transport.

    Raises:
        NavaiConfigError: If any of it cannot work.
    """

    def __init__(self, verify: bool | str | ssl.SSLContext = True, proxy: str | None = None) -> None:
        self._routes: _Routes[Transport] = _Routes(verify, proxy, HTTPXTransport)
        self._idle: Idle[_fast_sync.SocketConnection] = Idle()
        self._slots = threading.BoundedSemaphore(_pool.MAX_CONNECTIONS)
        forget_after_fork(self)

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Send *request*; see ``Transport``."""
        head = self._routes.head(request)
        if isinstance(head, TransportFailure):
            return head
        origin, first = head
        whole = _whole(first, request)
        if isinstance(whole, TransportFailure):
            return whole
        slots = self._slots
        if not slots.acquire(timeout=call.remaining()):
            return all_busy()
        try:
            connection = self._take(origin)
            if connection is None and (way := self._routes.proxy_transport(origin)) is not None:
                return way.send(request, call)
            return self._send_on(connection, origin, whole, call)
        finally:
            slots.release()

    def _take(self, origin: Origin) -> "_fast_sync.SocketConnection | None":
        dead: list[_fast_sync.SocketConnection] = []
        connection = self._idle.take(origin, dead)
        for other in dead:
            other.close()
        return connection

    def _send_on(
        self, connection: "_fast_sync.SocketConnection | None", origin: Origin, request: bytes, call: Call
    ) -> Response | TransportFailure:
        try:
            if connection is None:
                connection = _fast_sync.connect(origin, self._routes.tls(origin), call)
            outcome = connection.send(request, call)
        except (OSError, UnicodeError) as error:
            outcome = _failure(error, call)
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        if connection is not None and not (connection.clean() and self._idle.give_back(origin, connection)):
            connection.close()
        return outcome

    def close(self) -> None:
        """Close all connections."""
        for connection in self._idle.close():
            connection.close()
        if self._routes.by_proxy is not None:
            self._routes.by_proxy.close()

    def forget_parent(self) -> None:
        """Drop what belongs to the process that this one was forked from."""
        self._slots = threading.BoundedSemaphore(_pool.MAX_CONNECTIONS)
        for connection in self._idle.empty():
            connection.close()


class AsyncFastTransport:
    """A transport for ``AsyncNavaiBackendClient``, as ``FastTransport`` is for the other client.

    Give it as ``transport=AsyncFastTransport()``. It belongs to the event loop of its first call, be it of
    asyncio or of uvloop.

    Args:
        verify: As for ``FastTransport``.
        proxy: As for ``FastTransport``.

    Raises:
        NavaiConfigError: If any of it cannot work.
    """

    def __init__(self, verify: bool | str | ssl.SSLContext = True, proxy: str | None = None) -> None:
        self._routes: _Routes[AsyncTransport] = _Routes(verify, proxy, AsyncHTTPXTransport)
        self._idle: Idle[_fast_async.StreamConnection] = Idle()
        self._slots = asyncio.BoundedSemaphore(_pool.MAX_CONNECTIONS)
        self._ending: set[asyncio.Future[None]] = set()

    async def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Send *request*; see ``AsyncTransport``."""
        head = self._routes.head(request)
        if isinstance(head, TransportFailure):
            return head
        origin, first = head
        whole = _whole(first, request)
        if isinstance(whole, TransportFailure):
            return whole
        if self._slots.locked():
            try:
                async with asyncio.timeout(call.remaining()):
                    await self._slots.acquire()
            except TimeoutError:
                return all_busy()
        else:
            await self._slots.acquire()
        try:
            connection = self._take(origin)
            if connection is None and (way := self._routes.proxy_transport(origin)) is not None:
                return await way.send(request, call)
            return await self._send_on(connection, origin, whole, call)
        finally:
            self._slots.release()

    def _take(self, origin: Origin) -> "_fast_async.StreamConnection | None":
        dead: list[_fast_async.StreamConnection] = []
        connection = self._idle.take(origin, dead)
        for other in dead:
            self._end(other)
        return connection

    async def _send_on(
        self, connection: "_fast_async.StreamConnection | None", origin: Origin, request: bytes, call: Call
    ) -> Response | TransportFailure:
        try:
            if connection is None:
                connection = await _fast_async.connect(origin, self._routes.tls(origin), call)
            outcome = await connection.send(request, call)
        except (OSError, UnicodeError) as error:
            outcome = _failure(error, call)
        except BaseException:
            if connection is not None:
                self._end(connection)
            raise
        if connection is not None and not (connection.clean() and self._idle.give_back(origin, connection)):
            self._end(connection)
        return outcome

    def _end(self, connection: "_fast_async.StreamConnection") -> None:
        connection.abort()
        if not connection.closed.done():
            self._ending.add(connection.closed)
            connection.closed.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Close all connections."""
        for connection in self._idle.close():
            connection.close()
            self._ending.add(connection.closed)
        with contextlib.suppress(TimeoutError):
            if self._ending:
                await asyncio.wait(self._ending)
        if self._routes.by_proxy is not None:
            await self._routes.by_proxy.close()
