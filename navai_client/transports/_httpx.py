"""The default transport, on httpx; and whatever transport or client of httpx or httpx2 a user hands in.

Nothing outside this file touches either library. The two have the same interface and no class in common.
"""

import asyncio
import contextlib
import functools
import importlib
import inspect
import os
import re
import ssl
import threading
import time
import traceback
import urllib.request
from collections import deque
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Final, NoReturn, cast
from weakref import WeakKeyDictionary, WeakSet

from navai_client.errors import NavaiConfigError
from navai_client.transports import AsyncTransport, Call, Transport
from navai_client.transports._body import ACCEPT_ENCODING, Body
from navai_client.transports._tap import AsyncTap, AsyncTrace, Timeouts, Trace, under_way
from navai_client.transports._threads import run_within
from navai_client.wire.messages import Endpoint, Request, Response, TransportFailure

__all__ = ["AsyncHTTPXTransport", "HTTPXTransport", "async_transport", "sync_transport"]

_MAX_CONNECTIONS: Final = 100
_MAX_IDLE: Final = 20
_IDLE_FOR: Final = 55.0  # seconds; load balancers end connections after 60, and earlier ends are noticed
_QUOTED: Final = re.compile(r"[:,]? *(?:bytearray\(|b?['\"])")
_PATIENCE: Final = (
    0.2  # seconds that a pool of the user's has to end a call by itself; see _AsyncForeignTransport
)
_NEVER_SENT: Final = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol")


def sync_transport(transport: Any, http_client: Any, verify: Any, proxy: str | None) -> Transport:
    """Return the transport for a sync client.

    Raises:
        NavaiConfigError: If what is given cannot work, alone or together.
    """
    _check_choice(transport, http_client, verify, proxy)
    if transport is None and http_client is None:
        return HTTPXTransport(verify, proxy)
    if http_client is not None:
        return _ForeignTransport(_ClientSender(_of_kind(http_client, "send", is_async=False), Trace))
    if _is_ours(transport, Transport):
        if inspect.iscoroutinefunction(transport.send):
            raise NavaiConfigError(f"{type(transport).__name__} is async; use AsyncNavaiBackendClient.")
        return cast("Transport", transport)
    return _ForeignTransport(_TransportSender(_of_kind(transport, "handle_request", is_async=False), Trace))


def async_transport(transport: Any, http_client: Any, verify: Any, proxy: str | None) -> AsyncTransport:
    """Return the transport for an async client, as ``sync_transport`` does."""
    _check_choice(transport, http_client, verify, proxy)
    if transport is None and http_client is None:
        return AsyncHTTPXTransport(verify, proxy)
    if http_client is not None:
        return _AsyncForeignTransport(_ClientSender(_of_kind(http_client, "send", is_async=True), AsyncTrace))
    if _is_ours(transport, AsyncTransport):
        if not inspect.iscoroutinefunction(transport.send):
            raise NavaiConfigError(f"{type(transport).__name__} is not async; use NavaiBackendClient.")
        return cast("AsyncTransport", transport)
    return _AsyncForeignTransport(
        _TransportSender(_of_kind(transport, "handle_async_request", is_async=True), AsyncTrace)
    )


def _check_choice(transport: Any, http_client: Any, verify: Any, proxy: str | None) -> None:
    if transport is not None and http_client is not None:
        raise NavaiConfigError(
            "transport and http_client were both given; a client sends through one of them."
        )
    if (transport is not None or http_client is not None) and (verify is not True or proxy is not None):
        raise NavaiConfigError("verify and proxy are for the default transport; set them on what you give.")


def _is_ours(given: Any, protocol: type) -> bool:
    """Return whether *given* is a transport as this package defines them."""
    theirs = ("handle_request", "handle_async_request", "build_request")
    return isinstance(given, protocol) and not any(hasattr(given, name) for name in theirs)


def _of_kind(given: Any, method: str, *, is_async: bool) -> Any:
    """Return *given* if it has the *method* of its world, else say what to use instead."""
    name = type(given).__name__
    is_client = hasattr(given, "build_request")
    if is_client and method != "send":
        raise NavaiConfigError(f"{name} is a client, not a transport; give it as http_client.")
    if method == "send" and not is_client:
        raise NavaiConfigError(f"{name} is no client of httpx or httpx2; a transport is given as transport.")
    found = getattr(given, method, None)
    asynchronous = inspect.iscoroutinefunction(found) or method == "handle_async_request"
    if found is not None and asynchronous == is_async:
        return given
    other = getattr(given, "handle_request" if is_async else "handle_async_request", found)
    if other is None:
        raise NavaiConfigError(f"{name} is no transport or client of navai_client, httpx or httpx2.")
    if is_async:
        raise NavaiConfigError(f"{name} is not async; use NavaiBackendClient with it.")
    raise NavaiConfigError(f"{name} is async; use AsyncNavaiBackendClient with it.")


def _library_of(given: Any) -> ModuleType:
    """Return the library that *given* comes from, or is made for."""
    roots = {cls.__module__.partition(".")[0] for cls in type(given).__mro__}
    return importlib.import_module("httpx2" if "httpx2" in roots else "httpx")


@functools.cache
def _tls_context(verify: bool | str | ssl.SSLContext, _environment: tuple[str | None, ...]) -> ssl.SSLContext:
    """Return the one TLS context of this process for the setting; building one takes tens of milliseconds."""
    if isinstance(verify, str):
        is_folder = os.path.isdir(verify)  # noqa: PTH112 - the same question for any kind of path
        return (
            ssl.create_default_context(capath=verify)
            if is_folder
            else ssl.create_default_context(cafile=verify)
        )
    import httpx  # noqa: PLC0415 - loaded by then, and only needed here

    return verify if isinstance(verify, ssl.SSLContext) else httpx.create_ssl_context(verify=verify)


@functools.cache
def _no_tls() -> ssl.SSLContext:
    """Return a context for connections without TLS: it trusts nobody, and costs nothing."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _Settings:
    """What the default transports are told."""

    def __init__(self, verify: bool | str | ssl.SSLContext, proxy: str | None) -> None:
        if isinstance(verify, str) and not os.path.exists(verify):  # noqa: PTH110 - as above
            raise NavaiConfigError(
                f"verify names {verify!r}, where there is no file or folder of certificates."
            )
        import httpx  # noqa: PLC0415 - `import navai_client` must not load it

        self.httpx = httpx
        self._verify = verify
        self._proxy = proxy
        if proxy is not None:
            try:
                httpx.Proxy(proxy)
            except (httpx.InvalidURL, ValueError):
                raise NavaiConfigError("proxy is not a proxy's URL, such as http://proxy:8080.") from None
        if isinstance(verify, str):
            self._context()

    def sender(self, scheme: str, *, is_async: bool) -> "_Sender":
        """Return a sender with one connection of its own.

        Raises:
            NavaiConfigError: If the certificates or proxies that the environment names cannot be used.
        """
        options: dict[str, Any] = {
            "verify": self._context() if scheme == "https" else _no_tls(),
            "limits": self.httpx.Limits(
                max_connections=1, max_keepalive_connections=1, keepalive_expiry=None
            ),
        }
        trace_type = AsyncTrace if is_async else Trace
        if self._proxy is None and not urllib.request.getproxies():
            transport_type = self.httpx.AsyncHTTPTransport if is_async else self.httpx.HTTPTransport
            return _TransportSender(transport_type(**options), trace_type)
        client_type = self.httpx.AsyncClient if is_async else self.httpx.Client
        try:  # httpx knows which proxy to use for what
            client = client_type(proxy=self._proxy, **options)
        except ImportError as error:  # SOCKS needs another package, and httpx says which
            _refuse(str(error))
        except (self.httpx.InvalidURL, ValueError):  # its text holds the URL, and that a password
            _refuse("One of HTTP_PROXY, HTTPS_PROXY and ALL_PROXY is not a proxy's URL.")
        return _ProxySender(client, trace_type)

    def _context(self) -> ssl.SSLContext:
        environment = tuple(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
        try:
            return _tls_context(self._verify, environment)
        except OSError as error:
            where = f"verify={self._verify!r}" if isinstance(self._verify, str) else "SSL_CERT_FILE"
            _refuse(f"The certificates that {where} names cannot be used: {error}.")


def _refuse(message: str) -> NoReturn:
    raise NavaiConfigError(message) from None


class _Sender:
    """A transport or client of httpx or httpx2, and how to ask it."""

    def __init__(self, given: Any, trace_type: type[Trace]) -> None:
        self.given = given
        self.trace_type = trace_type
        self.library = _library_of(given)
        self.errors = (self.library.RequestError, self.library.InvalidURL, OSError, UnicodeError)
        self._prepared: WeakKeyDictionary[Endpoint, tuple[Any, Any]] = WeakKeyDictionary()

    def handle(self, request: Request, call: Call, trace: Trace) -> Any:
        """Send *request* and return the response, its body unread (or an awaitable of it)."""

    def _build(self, request: Request, call: Call, trace: Trace) -> Any:
        prepared = self._prepared.get(request.endpoint)
        if prepared is None:
            headers = self.library.Headers([*request.endpoint.headers, ("Accept-Encoding", ACCEPT_ENCODING)])
            prepared = self._prepared[request.endpoint] = (self.library.URL(request.endpoint.url), headers)
        url, headers = prepared
        if request.headers:
            headers = self.library.Headers([*headers.multi_items(), *request.headers])
        trace.call = call
        return self.library.Request(
            request.endpoint.method,
            url,
            headers=headers,
            content=request.content,
            extensions={"timeout": Timeouts(call), "trace": trace},
        )


class _TransportSender(_Sender):
    """A bare transport: nothing stands between us and it."""

    def __init__(self, given: Any, trace_type: type[Trace]) -> None:
        super().__init__(given, trace_type)
        is_async = issubclass(trace_type, AsyncTrace)
        self._handle = given.handle_async_request if is_async else given.handle_request

    def handle(self, request: Request, call: Call, trace: Trace) -> Any:
        return self._handle(self._build(request, call, trace))


class _ClientSender(_Sender):
    """A whole client: its own headers, authentication, cookies, hooks and proxies apply."""

    def handle(self, request: Request, call: Call, trace: Trace) -> Any:
        built = self._build(request, call, trace)
        ours = {name.lower() for name, _ in (*request.endpoint.headers, *request.headers)}
        for name, value in self.given.headers.multi_items():
            if name.lower() not in ours and name.lower() != "accept-encoding":
                built.headers[name] = value
        self.library.Cookies(self.given.cookies).set_cookie_header(built)
        return self.given.send(built, stream=True, follow_redirects=False)


class _ProxySender(_Sender):
    """A client of our own, which is there to choose the proxy and for nothing else."""

    def handle(self, request: Request, call: Call, trace: Trace) -> Any:
        self.given.cookies.clear()  # no call knows of another
        return self.given.send(self._build(request, call, trace), stream=True, follow_redirects=False)


def _failure(sender: _Sender, error: BaseException, call: Call, trace: Trace) -> TransportFailure:
    """Return what *error* says, without anything that could be secret."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if trace.speaks_http:
        sent = call.sent
    else:
        sent = names.isdisjoint(_NEVER_SENT) and not isinstance(error, sender.library.InvalidURL)
    timed_out = "TimeoutException" in names or isinstance(error, TimeoutError)
    kind = type(error).__name__
    if "LocalProtocolError" in names:  # its text can hold a header in full
        return TransportFailure(f"{kind}: the request cannot be sent as it is", sent=sent)
    text = " ".join(str(error).split()) or ("time ran out" if timed_out else "no reason was given")
    if "RemoteProtocolError" in names and (quoted := _QUOTED.search(text)):  # the peer may repeat our key
        return TransportFailure(f"{kind}: {text[: quoted.start()]}", sent=sent)
    return TransportFailure(f"{kind}: {text}", sent=sent, timed_out=timed_out, cause=_without_frames(error))


def _without_frames(error: BaseException) -> BaseException:
    """Return *error* without the frames that it went through, whose variables hold headers and bodies."""
    current: BaseException | None = error
    while current is not None:
        traceback.clear_frames(current.__traceback__)
        current.__traceback__ = None
        current = current.__cause__ or current.__context__
    return error


def _too_late(call: Call) -> TransportFailure:
    return TransportFailure("time ran out", sent=call.sent, timed_out=True)


def _outcome(response: Any, body: Body) -> Response | TransportFailure:
    if body.damaged():
        return TransportFailure("the answer is compressed, and damaged or cut short")
    return Response(response.status_code, response.headers, body.content(), body.truncated)


def _body_of(response: Any, call: Call) -> Body:
    """Return where to put the body; it is there already if a hook of the user's client has read it."""
    if not response.is_stream_consumed:
        return Body(call.max_response_bytes, response.headers.get("content-encoding"))
    body = Body(call.max_response_bytes, None)
    body.feed(response.content)
    return body


def _send(sender: _Sender, request: Request, call: Call, trace: Trace) -> Response | TransportFailure:
    token = under_way.set(call)
    try:
        response = sender.handle(request, call, trace)
        try:
            body = _body_of(response, call)
            if not response.is_stream_consumed:
                for chunk in response.stream:
                    if not body.feed(chunk):
                        break
                    if call.remaining() == 0:
                        return _too_late(call)
        finally:
            response.close()
    except sender.errors as error:
        return _failure(sender, error, call, trace)
    finally:
        under_way.reset(token)
    return _outcome(response, body)


async def _send_async(
    sender: _Sender, request: Request, call: Call, trace: Trace, patience: float = 0.0
) -> Response | TransportFailure:
    remaining = call.remaining()
    token = under_way.set(call)
    try:
        async with asyncio.timeout(None if remaining is None else remaining + patience):
            response = await sender.handle(request, call, trace)
            try:
                body = _body_of(response, call)
                if not response.is_stream_consumed:
                    async for chunk in response.stream:
                        if not body.feed(chunk):
                            break
            finally:
                await response.aclose()
    except sender.errors as error:
        return _failure(sender, error, call, trace)
    finally:
        under_way.reset(token)
    return _outcome(response, body)


class _ForeignTransport:
    """A transport or client of the user's, for sync clients."""

    def __init__(self, sender: _Sender) -> None:
        self._sender = sender
        in_process = (sender.library.MockTransport, sender.library.WSGITransport)
        self._blocks_on_network = not isinstance(sender.given, in_process)

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        trace = Trace()
        work = functools.partial(_send, self._sender, request, call, trace)
        if not self._blocks_on_network:
            call.sent = True
            return work()  # in the caller's thread, which an application under test may depend on
        try:
            return run_within(call.remaining(), work)
        except TimeoutError:
            call.left = True
            return TransportFailure("time ran out", sent=call.sent or not trace.speaks_http, timed_out=True)
        except BaseException:
            call.left = True
            raise

    def close(self) -> None:
        if isinstance(self._sender, _TransportSender):
            self._sender.given.close()


class _AsyncForeignTransport:
    """A transport or client of the user's, for async clients.

    Its pool is shared by all calls, and that of httpx 0.28.1 loses places when calls are cancelled. So none
    is cancelled: a call whose time runs out or whose caller leaves gets an error where it next sends or
    reads.
    """

    def __init__(self, sender: _Sender) -> None:
        self._sender = sender
        in_process = (sender.library.MockTransport, sender.library.ASGITransport)
        self._sends_at_once = isinstance(sender.given, in_process)

    async def send(self, request: Request, call: Call) -> Response | TransportFailure:
        call.sent = call.cancellable = self._sends_at_once
        trace = AsyncTrace()
        try:
            return await _send_async(self._sender, request, call, trace, _PATIENCE)
        finally:
            if not call.sent and isinstance(trace.tap, AsyncTap):
                await trace.tap.aclose()

    async def close(self) -> None:
        if isinstance(self._sender, _TransportSender):
            await self._sender.given.aclose()


class _Lane:
    """A sender with one connection, which serves one call after the other.

    One connection each, so that a call that ended badly takes nothing with it: its lane is thrown away.
    (httpx 0.28.1 loses places in a shared pool when calls are cancelled; httpcore issue 1093.)
    """

    def __init__(self, sender: _Sender) -> None:
        self.sender = sender
        self.trace = sender.trace_type()
        self.idle_since = 0.0

    def ready(self, now: float) -> bool:
        """Return whether its connection stands and nothing came on it that nobody asked for."""
        tap = self.trace.tap
        return tap is not None and now - self.idle_since < _IDLE_FOR and not tap.get_extra_info("is_readable")

    def usable(self, outcome: Response | TransportFailure) -> bool:
        """Return whether another call may follow after *outcome*."""
        tap = self.trace.tap  # there is none if a stand-in answered that opens no connections
        self.trace.call = None
        self.idle_since = time.monotonic()
        return isinstance(outcome, Response) and not outcome.truncated and tap is not None and tap.clean()

    async def aclose(self) -> None:
        """Close what it has, in the async world."""
        await self.sender.given.aclose()
        if isinstance(self.trace.tap, AsyncTap):
            await self.trace.tap.aclose()


class _Lanes:
    """The idle lanes, the latest first."""

    def __init__(self, settings: _Settings, *, is_async: bool) -> None:
        self._settings = settings
        self._is_async = is_async
        self._idle: deque[_Lane] = deque()
        self._closed = False

    def take(self, request: Request, dead: list[_Lane]) -> tuple[_Lane, bool]:
        """Return a lane and whether its connection stands; put those that must be closed into *dead*."""
        now = time.monotonic()
        while True:
            try:
                lane = self._idle.pop()
            except IndexError:
                scheme = request.endpoint.url.partition(":")[0].lower()
                return _Lane(self._settings.sender(scheme, is_async=self._is_async)), False
            if lane.ready(now):
                return lane, True
            dead.append(lane)

    def give_back(self, lane: _Lane, outcome: Response | TransportFailure) -> bool:
        """Take *lane* back; return whether it was kept."""
        if self._closed or not lane.usable(outcome) or len(self._idle) >= _MAX_IDLE:
            return False
        self._idle.append(lane)
        return True

    def empty(self) -> Iterator[_Lane]:
        """Give out all idle lanes for good."""
        with contextlib.suppress(IndexError):
            while True:
                yield self._idle.pop()

    def close(self) -> Iterator[_Lane]:
        """Give out all idle lanes, and take none back from now on."""
        self._closed = True
        return self.empty()


class HTTPXTransport:
    """The default transport of ``NavaiBackendClient``.

    Args:
        verify: True for the usual certificate authorities, False for none, a file or folder of certificates,
            or an ``ssl.SSLContext``.
        proxy: The URL of a proxy, else what the environment says, as httpx reads it.
    """

    def __init__(self, verify: bool | str | ssl.SSLContext = True, proxy: str | None = None) -> None:
        self._lanes = _Lanes(_Settings(verify, proxy), is_async=False)
        self._places = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        _sync_transports.add(self)

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Send *request*; see ``Transport``."""
        if not self._places.acquire(timeout=call.remaining()):
            return _all_busy()
        dead: list[_Lane] = []
        try:
            lane, stands = self._lanes.take(request, dead)
        except BaseException:
            self._places.release()
            raise
        finally:
            for other in dead:
                other.sender.given.close()
        work = functools.partial(self._send_on, lane, self._places, request, call)
        if stands:
            return work()
        try:  # looking up the name and connecting can take longer than any timeout says
            return run_within(call.remaining(), work)
        except TimeoutError:
            call.left = True
            return _too_late(call)
        except BaseException:
            call.left = True
            if (tap := lane.trace.tap) is not None:
                tap.cut_off()  # there may be no deadline for the other thread
            raise

    def _send_on(
        self, lane: _Lane, places: threading.BoundedSemaphore, request: Request, call: Call
    ) -> Response | TransportFailure:
        outcome: Response | TransportFailure = TransportFailure("interrupted")
        try:
            outcome = _send(lane.sender, request, call, lane.trace)
            return outcome
        finally:
            if call.left or not self._lanes.give_back(lane, outcome):
                lane.sender.given.close()
            places.release()

    def close(self) -> None:
        """Close all connections."""
        for lane in self._lanes.close():
            lane.sender.given.close()

    def forget_parent(self) -> None:
        """Drop what belongs to the process that this one was forked from."""
        self._places = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        for lane in self._lanes.empty():
            lane.sender.given.close()


_sync_transports: Final[WeakSet[HTTPXTransport]] = WeakSet()


def _forget_parents() -> None:
    """A child of fork() must not speak on its parent's connections."""
    for transport in list(_sync_transports):
        transport.forget_parent()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork()
    os.register_at_fork(after_in_child=_forget_parents)


def _all_busy() -> TransportFailure:
    return TransportFailure(f"all {_MAX_CONNECTIONS} connections were busy", sent=False, timed_out=True)


class AsyncHTTPXTransport:
    """The default transport of ``AsyncNavaiBackendClient``; its arguments are those of ``HTTPXTransport``."""

    def __init__(self, verify: bool | str | ssl.SSLContext = True, proxy: str | None = None) -> None:
        self._lanes = _Lanes(_Settings(verify, proxy), is_async=True)
        self._places = asyncio.BoundedSemaphore(_MAX_CONNECTIONS)
        self._closing: set[asyncio.Task[None]] = set()

    async def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Send *request*; see ``AsyncTransport``."""
        if self._places.locked():
            try:
                async with asyncio.timeout(call.remaining()):
                    await self._places.acquire()
            except TimeoutError:
                return _all_busy()
        else:
            await self._places.acquire()
        dead: list[_Lane] = []
        outcome: Response | TransportFailure = TransportFailure("interrupted")
        lane: _Lane | None = None
        try:
            lane, _ = self._lanes.take(request, dead)
            outcome = await _send_async(lane.sender, request, call, lane.trace)
            return outcome
        finally:
            if lane is not None and not self._lanes.give_back(lane, outcome):
                dead.append(lane)
            for other in dead:
                self._discard(other)
            self._places.release()

    def _discard(self, lane: _Lane) -> None:
        """Close *lane* in a task of its own, which nobody cancels with the call."""
        task = asyncio.get_running_loop().create_task(lane.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close all connections."""
        for lane in self._lanes.close():
            self._discard(lane)
        if self._closing:
            await asyncio.wait(self._closing)
