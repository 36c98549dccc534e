"""The default transports: httpx over connections of this package, by public interfaces of httpx and httpcore.

Each connection has a transport of httpx to itself, so that what instruments or mocks ``httpx.HTTPTransport``
(OpenTelemetry, pytest-httpx) sees the calls. Beneath it, httpcore speaks HTTP over the streams defined here,
its ``NetworkBackend`` and ``NetworkStream``. They own what httpx cannot promise: the deadline of the whole
call, what was sent, and that no byte behind a response reaches the next call.

**The last byte.** httpcore keeps what arrives behind a response for the next one on that connection. A peer
that sends two responses in one packet would give the next call a wrong one. Therefore a stream holds back the
last byte that it has received, and gives it when httpcore reads again. A response that ends with that byte
makes httpcore read again. If the response was complete before, the byte stays, and the connection is not used
again. The first byte of each read belongs to the response, because httpcore reads only what it misses.
"""

import asyncio
import functools
import socket
import ssl
import threading
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

import anyio
import httpcore
import httpx

from navai_client.transports import Call, _network
from navai_client.transports._connecting import Origin, connect, connect_unix, remaining
from navai_client.transports._httpx import Library, exchange, exchange_async
from navai_client.transports._network import encrypt
from navai_client.transports._pool import AsyncPool, Pool
from navai_client.transports._proxies import Proxy
from navai_client.transports._tls import TLS
from navai_client.wire._values import Request, Response, TransportFailure

_HTTPX: Final = Library(httpx)
_BUFFER: Final = (
    256 * 1024
)  # bytes received ahead of httpcore, after which reading pauses; asyncio reads as many
# The first bytes of each proxy handshake: RFC 9110, section 9.3.6; RFC 1928, section 3; RFC 1929, section 2.
_HANDSHAKES: Final = (b"CONNECT ", b"\x05", b"\x01")

N = TypeVar("N", bound="_Network[Any]")
S = TypeVar("S", bound="_Stream")


class _HTTPTransport(httpx.HTTPTransport):
    """Sends through *pool*, because a pool made by httpx would not use our network backend."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool  # the only private name of httpx that this package uses, here and in the next class


class _AsyncHTTPTransport(httpx.AsyncHTTPTransport):
    """The async counterpart of ``_HTTPTransport``."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool


class _RaisedAs:
    """Converts socket errors to the exceptions that httpcore expects from a network backend."""

    def __init__(self, late: type[httpcore.TimeoutException], failed: type[httpcore.NetworkError]) -> None:
        self._late = late
        self._failed = failed

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, TimeoutError):
            raise self._late("time ran out") from None
        if isinstance(error, OSError):
            raise self._failed(str(error)) from error


_CONNECTING: Final = _RaisedAs(httpcore.ConnectTimeout, httpcore.ConnectError)
_READING: Final = _RaisedAs(httpcore.ReadTimeout, httpcore.ReadError)
_WRITING: Final = _RaisedAs(httpcore.WriteTimeout, httpcore.WriteError)


class _Network(Generic[S]):
    """The network of one connection. Its timeouts are those of the call, whatever httpcore passes.

    Attributes:
        call: The call under way.
        stream: The latest stream, which is the one that requests are sent on.
        used: Whether httpcore used the network for the call. It does not where a mock of httpx responds.
    """

    call: Call

    def __init__(self) -> None:
        self.stream: S | None = None
        self.used = False

    def begin(self, call: Call) -> None:
        """Work for *call* from now on."""
        self.call = call
        self.used = False
        if self.stream is not None:
            self.stream.begins = True


class _Stream:
    """The base of the sync and the async stream.

    Attributes:
        begins: Whether the head of a request is expected. httpcore writes head and body apart; the head is
            held back until the body comes, so that both leave in one packet.
    """

    def __init__(self, network: _Network[Any]) -> None:
        self._network = network
        self._head = b""
        self._received = b""
        self.begins = True

    def _due(self, written: bytes) -> bytes:
        """Return what must be sent now that httpcore has written *written*.

        Raises:
            TimeoutError: If nothing may be sent any more.
        """
        call = self._network.call
        self._network.used = True
        if self.begins:
            self.begins = False
            self._head = written
            return b""
        due, self._head = self._head + written, b""
        if due and not call.sent and not due.startswith(_HANDSHAKES):
            call.mark_sent()
        return due

    def _take(self, max_bytes: int) -> bytes:
        """Return what was received, but for the last byte where a response is read."""
        held = 1 if self._network.call.sent else 0  # socksio wants the messages of a proxy whole
        size = max(1, min(max_bytes, len(self._received) - held))
        data, self._received = self._received[:size], self._received[size:]
        return data


class _SyncStream(_Stream, httpcore.NetworkStream):
    """A socket as a network stream of httpcore."""

    def __init__(self, network: _Network[Any], connection: socket.socket) -> None:
        super().__init__(network)
        self._socket = connection
        self._connection = _network.SyncConnection(connection)

    def read(self, max_bytes: int, *_: Any, **__: Any) -> bytes:
        if self._head:
            self.write(b"")
        if not self._received:
            with _READING:
                self._received = self._connection.read(max_bytes, self._network.call)
        return self._take(max_bytes)

    def write(self, buffer: bytes, *_: Any, **__: Any) -> None:
        with _WRITING:
            if due := self._due(buffer):
                self._connection.write(due)  # read() sends what the peer does not accept yet

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, *_: Any, **__: Any
    ) -> httpcore.NetworkStream:
        with _CONNECTING:
            encrypted = encrypt(self._socket, ssl_context, server_hostname, self._network.call)
        self._network.stream = stream = _SyncStream(self._network, encrypted)
        return stream

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "is_readable":
                return not self._connection.is_alive()
            case "ssl_object":
                return self._socket if isinstance(self._socket, ssl.SSLSocket) else None
            case "client_addr":
                return self._socket.getsockname()
            case "server_addr":
                return self._socket.getpeername()
            case _:
                return self._socket if info == "socket" else None

    def is_alive(self) -> bool:
        return self._connection.is_alive()

    def is_clean(self) -> bool:
        return not self._received and self._connection.is_clean()

    def close(self) -> None:
        self._socket.close()


class _SyncNetwork(_Network[_SyncStream], httpcore.NetworkBackend):
    """The network of a sync connection."""

    def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> httpcore.NetworkStream:
        self.used = True
        with _CONNECTING:
            self.stream = stream = _SyncStream(self, connect(host, port, self.call))
        return stream

    def connect_unix_socket(self, path: str, *_: Any, **__: Any) -> httpcore.NetworkStream:
        self.used = True
        with _CONNECTING:
            self.stream = stream = _SyncStream(self, connect_unix(path, self.call))
        return stream


class _AsyncStream(_Stream, _network.AsyncConnection, httpcore.AsyncNetworkStream):
    """A connection of an event loop as a network stream of httpcore."""

    def __init__(self, network: "_AsyncNetwork") -> None:
        _Stream.__init__(self, network)
        _network.AsyncConnection.__init__(self)
        self._error: Exception | None = None
        self._ended = False

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > _BUFFER and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._error = exc
        super().connection_lost(exc)

    async def read(self, max_bytes: int, *_: Any, **__: Any) -> bytes:
        if self._head:
            await self.write(b"")
        with _READING:
            remaining(self._network.call)  # a peer that floods gives no read a reason to wait
            if not self._received and not self._ended:
                await self._wait(self._network.call)
            if not self._received and self._error is not None:
                raise OSError(str(self._error))
        data = self._take(max_bytes)
        if self._transport is not None and len(self._received) <= _BUFFER:
            self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, *_: Any, **__: Any) -> None:
        with _WRITING:
            due = self._due(buffer)
        if due and self._transport is not None:  # else the read that follows says why
            self._transport.write(
                due
            )  # what the peer does not take yet is sent while the response is awaited

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, *_: Any, **__: Any
    ) -> httpcore.AsyncNetworkStream:
        with _CONNECTING:
            await self.encrypt(ssl_context, server_hostname, self._network.call)
        self._received = b""  # what came unencrypted is not part of any response
        self.begins = True
        return self

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return not _network.AsyncConnection.is_alive(self)
        name = {"client_addr": "sockname", "server_addr": "peername"}.get(info, info)
        return None if self._transport is None else self._transport.get_extra_info(name)

    def is_alive(self) -> bool:
        return not self._received and super().is_alive()

    def is_clean(self) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing() or self._ended:
            return False
        return not self._received and not self.has_unsent()

    async def aclose(self) -> None:
        self.end()


class _AsyncNetwork(_Network[_AsyncStream], httpcore.AsyncNetworkBackend):
    """The network of an async connection."""

    async def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        return await self._connect(host, port, None)

    async def connect_unix_socket(self, path: str, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        return await self._connect("", 0, path)

    async def _connect(self, host: str, port: int, uds: str | None) -> _AsyncStream:
        self.used = True
        stream = _AsyncStream(self)
        with _CONNECTING:
            await stream.connect(host, port, None, self.call, uds)
        self.stream = stream
        return stream


class _Connection(Generic[N]):
    """The base of the sync and the async connection: one to an origin, opened by its first call.

    Raises:
        NavaiConfigError: If the certificates that the environment names cannot be used.
    """

    def __init__(self, network: N, proxy: Proxy | None) -> None:
        self._network = network
        self._where = "" if proxy is None else f" (through the proxy {proxy}, from {proxy.source})"
        self._errors = (*_HTTPX.errors, *_errors_of(proxy))
        self._is_ambiguous = False
        self.idle_since = 0.0

    def is_alive(self) -> bool:
        stream = self._network.stream
        return stream is not None and stream.is_alive()

    def is_reusable(self) -> bool:
        stream = self._network.stream
        return stream is not None and stream.is_clean() and not self._is_ambiguous

    def _checked(self, outcome: Response | TransportFailure) -> Response | TransportFailure:
        """Return *outcome*, having noted whether it says twice where it ends (RFC 9112, section 6.3)."""
        if isinstance(outcome, Response) and "transfer-encoding" in outcome.headers:
            self._is_ambiguous = "content-length" in outcome.headers
        return outcome

    def _failure(self, error: BaseException, call: Call) -> TransportFailure:
        where = "" if call.sent else self._where
        return _HTTPX.failure(error, call, knows_sent=self._network.used, where=where)


class SyncConnection(_Connection[_SyncNetwork]):
    """A sync connection."""

    def __init__(self, origin: Origin, tls: TLS, proxy: Proxy | None, uds: str | None = None) -> None:
        super().__init__(_SyncNetwork(), proxy)
        kinds = (httpcore.HTTPConnection, httpcore.HTTPProxy, httpcore.SOCKSProxy)
        self._transport = _HTTPTransport(_pool(kinds, self._network, origin, tls, proxy=proxy, uds=uds))

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        self._network.begin(call)
        try:
            return self._checked(exchange(self._transport.handle_request, _HTTPX.request(request), call))
        except self._errors as error:
            return self._failure(error, call)

    def close(self) -> None:
        if self._network.stream is not None:
            self._network.stream.close()


class AsyncConnection(_Connection[_AsyncNetwork]):
    """An async connection."""

    def __init__(self, origin: Origin, tls: TLS, proxy: Proxy | None, uds: str | None = None) -> None:
        super().__init__(_AsyncNetwork(), proxy)
        kinds = (httpcore.AsyncHTTPConnection, httpcore.AsyncHTTPProxy, httpcore.AsyncSOCKSProxy)
        self._transport = _AsyncHTTPTransport(_pool(kinds, self._network, origin, tls, proxy=proxy, uds=uds))

    async def send(self, request: Request, call: Call) -> Response | TransportFailure:
        self._network.begin(call)
        handle = self._transport.handle_async_request
        try:
            return self._checked(await exchange_async(handle, _HTTPX.request(request), call))
        except self._errors as error:
            return self._failure(error, call)

    def close(self, *, in_peace: bool = False) -> asyncio.Future[None] | None:
        stream = self._network.stream
        return None if stream is None else stream.end(in_peace=in_peace)


def _pool(
    kinds: tuple[Any, Any, Any],
    network: Any,
    origin: Origin,
    tls: TLS,
    *,
    proxy: Proxy | None,
    uds: str | None,
) -> Any:
    """Return a pool of httpcore, one of *kinds*: direct, through an HTTP proxy, through a SOCKS proxy."""
    context = tls.context() if origin.scheme == "https" else None
    if proxy is None:
        where = httpcore.Origin(origin.scheme.encode(), origin.host.encode(), origin.port)
        return kinds[0](where, ssl_context=context, uds=uds, network_backend=network)
    options = {
        "proxy_url": httpcore.URL(scheme=proxy.scheme, host=proxy.host, port=proxy.port, target="/"),
        "proxy_auth": None if proxy.auth is None else tuple(part.encode() for part in proxy.auth),
        "ssl_context": context,
        "max_connections": 1,
        "network_backend": network,
    }
    if not proxy.scheme.startswith("socks"):
        return kinds[1](**options, proxy_ssl_context=tls.proxy_context() if proxy.scheme == "https" else None)
    return kinds[2](**options)


def _errors_of(proxy: Proxy | None) -> tuple[type[Exception], ...]:
    """Return the exceptions of *proxy* that httpcore raises without converting them."""
    if proxy is None or not proxy.scheme.startswith("socks"):
        return ()
    import socksio  # noqa: PLC0415 - an optional dependency of httpx, there if a SOCKS proxy was accepted

    return (socksio.SOCKSError,)


class HTTPXTransport(Pool):
    """The default transport of ``NavaiBackendClient``.

    Args:
        verify: True for the usual certificate authorities, False for none, a file or folder of certificates,
            or an ``ssl.SSLContext``.
        proxy: The URL of a proxy; without it, the proxy variables apply.
        cert: The client's certificate: a file that holds its key too, or a tuple of its file, the file of its
            key and, if that is encrypted, its password.
        uds: The path of a Unix socket to connect to, instead of the URL's host.

    Raises:
        NavaiConfigError: If an argument cannot work.
    """

    def _connection(self, origin: Origin, proxy: Proxy | None) -> SyncConnection:
        return SyncConnection(origin, self._tls, proxy, self._proxies.uds)


class AsyncHTTPXTransport(AsyncPool):
    """The default transport of ``AsyncNavaiBackendClient``; its arguments are those of ``HTTPXTransport``."""

    def _prepare(self) -> None:
        _load_anyio()

    def _connection(self, origin: Origin, proxy: Proxy | None) -> AsyncConnection:
        return AsyncConnection(origin, self._tls, proxy, self._proxies.uds)


@functools.cache
def _load_anyio() -> None:
    """Load what httpcore makes its locks of. It would do so in the first call, and block the event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        thread = threading.Thread(
            target=anyio.run, args=(anyio.sleep, 0)
        )  # so that this one gets no event loop
        thread.start()
        thread.join()
    else:
        anyio.Event()
