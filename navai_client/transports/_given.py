"""The transport of a client: the default one, or a wrapper around the one that was passed in.

Over connections of its owner, a call keeps its deadline, its limits and ``may_have_executed``, by the public
``timeout`` and ``trace`` extensions of httpx. docs/transports.md lists what needs our own connections.
"""

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final, cast

from navai_client._threads import run_within
from navai_client.errors import NavaiConfigError
from navai_client.transports import AsyncTransport, Call, Transport
from navai_client.transports._httpx import Library, exchange, exchange_async
from navai_client.wire._encode import type_name
from navai_client.wire._values import Request, Response, TransportFailure

_PATIENCE: Final = 0.2  # seconds that the owner's pool has to end a call by itself
_NETWORK: Final = {"verify": True, "proxy": None, "cert": None, "uds": None}  # the defaults of these options
_HANDSHAKES_FAILED: Final = (".start_tls.failed", ".setup_socks5_connection.failed")  # events of httpcore
_SHORTEST_WAIT: Final = 0.001  # seconds; to a socket, a timeout of 0 means "do not wait"


def sync_transport(transport: Any, http_client: Any, **network: Any) -> Transport:
    """Return the transport for a sync client.

    Args:
        transport: The option of this name.
        http_client: The option of this name.
        network: The options of the default transport.

    Raises:
        NavaiConfigError: If what is given cannot work, alone or together.
    """
    _check_choice(transport, http_client, network)
    if transport is None and http_client is None:
        from navai_client.transports._default import HTTPXTransport  # noqa: PLC0415 - it loads httpx

        return HTTPXTransport(**network)
    if http_client is not None:
        return _GivenTransport(_of_kind(http_client, "send", is_async=False))
    if _is_ours(transport, Transport):
        if inspect.iscoroutinefunction(transport.send):
            raise NavaiConfigError(f"{type(transport).__name__} is async; use AsyncNavaiBackendClient.")
        return cast("Transport", transport)
    return _GivenTransport(_of_kind(_adapted(transport, is_async=False), "handle_request", is_async=False))


def async_transport(transport: Any, http_client: Any, **network: Any) -> AsyncTransport:
    """Return the transport for an async client, as ``sync_transport`` does."""
    _check_choice(transport, http_client, network)
    if transport is None and http_client is None:
        from navai_client.transports._default import AsyncHTTPXTransport  # noqa: PLC0415 - it loads httpx

        return AsyncHTTPXTransport(**network)
    if http_client is not None:
        return _AsyncGivenTransport(_of_kind(http_client, "send", is_async=True))
    if _is_ours(transport, AsyncTransport):
        if not inspect.iscoroutinefunction(transport.send):
            raise NavaiConfigError(f"{type(transport).__name__} is not async; use NavaiBackendClient.")
        return cast("AsyncTransport", transport)
    return _AsyncGivenTransport(
        _of_kind(_adapted(transport, is_async=True), "handle_async_request", is_async=True)
    )


def is_authorized(http_client: Any) -> bool:
    """Return whether *http_client*, an option or None, sends an ``Authorization`` of its own."""
    return getattr(http_client, "auth", None) is not None or "authorization" in getattr(
        http_client, "headers", ()
    )


def _check_choice(transport: Any, http_client: Any, network: dict[str, Any]) -> None:
    if transport is not None and http_client is not None:
        raise NavaiConfigError(
            "transport and http_client were both given; a client sends through one of them."
        )
    if (transport is not None or http_client is not None) and any(
        value is not _NETWORK[name] for name, value in network.items()
    ):
        raise NavaiConfigError(
            "verify, proxy, cert and uds are for the default transport; set them on what you pass."
        )


def _is_ours(given: Any, protocol: type) -> bool:
    """Return whether *given* is a transport as this package defines them."""
    return isinstance(given, protocol) and not isinstance(given, type) and not _is_of_httpx(given)


def _is_of_httpx(given: Any) -> bool:
    theirs = ("handle_request", "handle_async_request", "build_request")
    return any(hasattr(given, name) for name in theirs)


def _adapted(given: Any, *, is_async: bool) -> Any:
    """Return *given*, or a transport that calls it if it is a function."""
    name = getattr(given, "__name__", type(given).__name__)
    if isinstance(given, type) and not hasattr(given, "build_request"):
        raise NavaiConfigError(f"{name} is a class; pass an instance of it.")
    if not callable(given) or _is_of_httpx(given):
        return given
    if not is_async and any(map(inspect.iscoroutinefunction, (given, type(given).__call__))):
        raise NavaiConfigError(f"{name} is async; use AsyncNavaiBackendClient with it.")
    return _Function(given)


class _Function:
    """A function from requests to responses of httpx, as a transport."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def handle_request(self, request: Any) -> Any:
        return _response(self._function(request))

    async def handle_async_request(self, request: Any) -> Any:
        response = self._function(request)
        return _response(await response if inspect.isawaitable(response) else response)

    def close(self) -> None:
        """Do nothing: what the function uses belongs to its owner."""

    async def aclose(self) -> None:
        """Do nothing, as ``close`` does."""


def _response(value: Any) -> Any:
    import httpx  # noqa: PLC0415 - loaded since the request was made

    if isinstance(value, httpx.Response):
        return value
    if inspect.iscoroutine(value):
        value.close()
    raise TypeError(f"the transport must return an httpx.Response, not {type_name(value)}")


def _of_kind(given: Any, method: str, *, is_async: bool) -> Any:
    """Return *given* if it has *method*, sync or async as required; else say what to use instead."""
    name = type(given).__name__
    is_client = hasattr(given, "build_request")
    if is_client and method != "send":
        raise NavaiConfigError(f"{name} is a client, not a transport; pass it as http_client.")
    if method == "send" and not is_client:
        raise NavaiConfigError(f"{name} is not a client of httpx or httpx2; pass a transport as transport.")
    found = getattr(given, method, None)
    asynchronous = inspect.iscoroutinefunction(found) or method == "handle_async_request"
    if found is not None and asynchronous == is_async:
        return given
    other = getattr(given, "handle_request" if is_async else "handle_async_request", found)
    if other is None:
        raise NavaiConfigError(f"{name} is not a transport or client of navai_client, httpx or httpx2.")
    if is_async:
        raise NavaiConfigError(f"{name} is not async; use NavaiBackendClient with it.")
    raise NavaiConfigError(f"{name} is async; use AsyncNavaiBackendClient with it.")


class _Trace:
    """The ``trace`` extension of one call: notes what was sent, where httpcore is at work.

    Attributes:
        speaks_http: Whether httpcore is at work, so that ``call.sent`` says what happened.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._stream: Any = None
        self.speaks_http = False

    def note(self, name: str, info: dict[str, Any]) -> None:
        """Take an event of httpcore.

        Raises:
            TimeoutError: If the request is about to leave too late.
        """
        if name.endswith((".connect_tcp.started", ".connect_unix_socket.started")):
            self.speaks_http = True
        elif name.endswith(".send_request_headers.started"):
            self.speaks_http = True
            if info["request"].method != b"CONNECT":
                self._call.mark_sent()

    async def note_async(self, name: str, info: dict[str, Any]) -> None:
        """Take an event in an event loop.

        httpcore 1.0 leaves a connection open whose TLS or SOCKS handshake is cancelled, as at the deadline.
        """
        self.note(name, info)
        if name.endswith((".connect_tcp.complete", ".connect_unix_socket.complete")):
            self._stream = info["return_value"]
        elif self._stream is not None and name.endswith(_HANDSHAKES_FAILED):
            await self._stream.aclose()


class _Sender:
    """A transport or client of httpx or httpx2, and how to send through it.

    Attributes:
        handle: Sends a request of the library and returns the response, or an awaitable of it.
        is_client: Whether it is a client, which its owner closes.
        is_in_process: Whether nothing leaves this process.
    """

    def __init__(self, given: Any, *, is_async: bool) -> None:
        self.given = given
        self.library = Library(_library_of(given))
        self.is_client = hasattr(given, "build_request")
        module = self.library.module
        in_process = (module.MockTransport, module.ASGITransport, module.WSGITransport)
        self.is_in_process = isinstance(given, in_process)
        if self.is_client:  # its own authentication, cookies, hooks and proxies apply
            self.handle = functools.partial(given.send, stream=True, follow_redirects=False)
        else:
            self.handle = given.handle_async_request if is_async else given.handle_request

    def build(self, request: Request, call: Call, trace: Callable[..., Any]) -> Any:
        """Return *request* as a request of the library, with what a client of it adds."""
        seconds = call.remaining()
        timeout = None if seconds is None else max(_SHORTEST_WAIT, seconds)
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), timeout)
        built = self.library.request(request, {"timeout": timeouts, "trace": trace})
        if self.is_client:
            ours = {name.lower() for name, _ in (*request.headers, *request.call_headers)}
            for name, value in self.given.headers.multi_items():
                if name.lower() not in ours and name.lower() != "accept-encoding":
                    built.headers[name] = value
            self.library.module.Cookies(self.given.cookies).set_cookie_header(built)
        return built


class _GivenTransport:
    """A transport or client that was passed in, for sync clients."""

    def __init__(self, given: Any) -> None:
        self._sender = _Sender(given, is_async=False)

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        sender, trace = self._sender, _Trace(call)
        work = functools.partial(self._send, request, call, trace)
        if sender.is_in_process:
            call.sent = True
            return work()  # in the caller's thread, which an application under test may depend on
        try:
            return run_within(call.remaining(), work)
        except TimeoutError:
            call.abandon()
            return TransportFailure("time ran out", sent=call.sent or not trace.speaks_http, timed_out=True)
        except BaseException:
            call.abandon()
            raise

    def _send(self, request: Request, call: Call, trace: _Trace) -> Response | TransportFailure:
        library = self._sender.library
        try:
            return exchange(self._sender.handle, self._sender.build(request, call, trace.note), call)
        except library.errors as error:
            return library.failure(error, call, knows_sent=trace.speaks_http)

    def close(self) -> None:
        if not self._sender.is_client:
            self._sender.given.close()


class _AsyncGivenTransport:
    """A transport or client that was passed in, for async clients.

    Its pool is shared by all calls, and that of httpx 0.28 loses slots when calls are cancelled before they
    are sent (httpcore issue 1093). So none is cancelled then: the timeouts of the pool itself end a call, and
    an abandoned one fails where it would be sent.
    """

    def __init__(self, given: Any) -> None:
        self._sender = _Sender(given, is_async=True)

    async def send(self, request: Request, call: Call) -> Response | TransportFailure:
        sender, trace = self._sender, _Trace(call)
        call.sent = call.cancellable = sender.is_in_process
        seconds = call.remaining()
        try:
            async with asyncio.timeout(None if seconds is None else seconds + _PATIENCE):
                built = sender.build(request, call, trace.note_async)
                return await exchange_async(sender.handle, built, call)
        except sender.library.errors as error:
            return sender.library.failure(error, call, knows_sent=trace.speaks_http)

    async def close(self) -> None:
        if not self._sender.is_client:
            await self._sender.given.aclose()


def _library_of(given: Any) -> ModuleType:
    """Return the library of *given*: httpx2 if it is an instance of one of its classes, else httpx."""
    httpx2 = sys.modules.get("httpx2")  # which is loaded, if *given* comes from it
    if httpx2 is not None:
        kinds = (httpx2.BaseTransport, httpx2.AsyncBaseTransport, httpx2.Client, httpx2.AsyncClient)
        if isinstance(given, kinds):
            return httpx2
    import httpx  # noqa: PLC0415 - `import navai_client` must not load it

    return httpx
