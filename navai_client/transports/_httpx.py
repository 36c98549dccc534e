"""Sending through httpx or httpx2: how to ask, how to read what comes, and what their errors mean.

Nothing outside this file touches either library. The two have the same interface and no class in common.
"""

import asyncio
import functools
import importlib
import os
import re
import ssl
import traceback
import urllib.request
from types import ModuleType
from typing import Any, Final, NoReturn
from weakref import WeakKeyDictionary

from attrs import field, frozen

from navai_client.errors import NavaiConfigError
from navai_client.transports import Call
from navai_client.transports._body import ACCEPT_ENCODING, Body, outcome
from navai_client.transports._tap import AsyncTrace, Timeouts, Trace, under_way
from navai_client.wire._values import Endpoint, Request, Response, TransportFailure

__all__ = [
    "ClientSender",
    "Origin",
    "Sender",
    "Settings",
    "Target",
    "TransportSender",
    "send",
    "send_async",
    "too_late",
    "without_frames",
]

_QUOTED: Final = re.compile(r"[:,]? *(?:bytearray\(|b?['\"])")
_PORTS: Final = {"http": 80, "https": 443}
_NEVER_SENT: Final = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol")


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


@frozen
class Origin:
    """Where connections lead.

    Attributes:
        scheme: ``http`` or ``https``.
        host: A name or an address, as it is looked up.
        port: The TCP port.
    """

    scheme: str
    host: str
    port: int


@frozen(eq=False)
class Target:
    """What a URL says, as httpx reads it.

    Attributes:
        origin: Where to connect to.
        authority: The value of ``Host``.
        path: The path and query, encoded. It can hold a key.
    """

    origin: Origin
    authority: bytes
    path: bytes = field(repr=False)

    @classmethod
    def of(cls, url: str) -> "Target | TransportFailure":
        """Return what *url* says, or why nothing can be sent there."""
        import httpx  # noqa: PLC0415 - `import navai_client` must not load it

        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL:  # its text can hold the URL
            return TransportFailure("the URL cannot be read", sent=False)
        port = parsed.port or _PORTS.get(parsed.scheme)
        if port is None or not parsed.host:
            return TransportFailure(f"there is no way to {parsed.scheme}:// URLs", sent=False)
        origin = Origin(parsed.scheme, parsed.raw_host.decode("ascii"), port)
        return cls(origin, parsed.netloc, parsed.raw_path)


class Settings:
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
            self.tls()

    def proxied(self, origin: Origin) -> bool:
        """Return whether requests to *origin* may go through a proxy; when in doubt, they may."""
        if self._proxy is not None:
            return True
        proxies = urllib.request.getproxies()
        if not proxies.get(origin.scheme) and not proxies.get("all"):
            return False
        spared = {name.strip().lower() for name in proxies.get("no", "").split(",")}
        return spared.isdisjoint({"*", origin.host})

    def sender(self, scheme: str, *, is_async: bool) -> "Sender":
        """Return a sender with one connection of its own.

        Raises:
            NavaiConfigError: If the certificates or proxies that the environment names cannot be used.
        """
        options: dict[str, Any] = {
            "verify": self.tls() if scheme == "https" else _no_tls(),
            "limits": self.httpx.Limits(
                max_connections=1, max_keepalive_connections=1, keepalive_expiry=None
            ),
        }
        trace_type = AsyncTrace if is_async else Trace
        if self._proxy is None and not urllib.request.getproxies():
            transport_type = self.httpx.AsyncHTTPTransport if is_async else self.httpx.HTTPTransport
            return TransportSender(transport_type(**options), trace_type)
        client_type = self.httpx.AsyncClient if is_async else self.httpx.Client
        try:  # httpx knows which proxy to use for what
            client = client_type(proxy=self._proxy, **options)
        except ImportError as error:  # SOCKS needs another package, and httpx says which
            _refuse(str(error))
        except (self.httpx.InvalidURL, ValueError):  # its text holds the URL, and that a password
            _refuse("One of HTTP_PROXY, HTTPS_PROXY and ALL_PROXY is not a proxy's URL.")
        return _ProxySender(client, trace_type)

    def tls(self) -> ssl.SSLContext:
        """Return the TLS context of these settings.

        Raises:
            NavaiConfigError: If the certificates that the environment names cannot be used.
        """
        environment = tuple(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
        try:
            return _tls_context(self._verify, environment)
        except OSError as error:
            where = f"verify={self._verify!r}" if isinstance(self._verify, str) else "SSL_CERT_FILE"
            _refuse(f"The certificates that {where} names cannot be used: {error}.")


def _refuse(message: str) -> NoReturn:
    raise NavaiConfigError(message) from None


class Sender:
    """A transport or client of httpx or httpx2, and how to ask it."""

    def __init__(self, given: Any, trace_type: type[Trace]) -> None:
        self.given = given
        self.trace_type = trace_type
        self.library = _library_of(given)
        self.errors = (self.library.RequestError, self.library.InvalidURL, OSError, UnicodeError)
        self._prepared: WeakKeyDictionary[Endpoint, tuple[Any, Any, Any]] = WeakKeyDictionary()

    def handle(self, request: Request, call: Call, trace: Trace) -> Any:
        """Send *request* and return the response, its body unread (or an awaitable of it)."""

    def _build(self, request: Request, call: Call, trace: Trace) -> Any:
        endpoint, given = request.endpoint, request.headers
        prepared = self._prepared.get(endpoint)
        if prepared is None or prepared[0] is not given:
            headers = self.library.Headers([*given, ("Accept-Encoding", ACCEPT_ENCODING)])
            prepared = self._prepared[endpoint] = (given, self.library.URL(endpoint.url), headers)
        _, url, headers = prepared
        trace.call = call
        built = self.library.Request(
            endpoint.method,
            url,
            headers=headers,  # copied by it
            content=request.content,
            extensions={"timeout": Timeouts(call), "trace": trace},
        )
        for name, value in request.call_headers:
            built.headers[name] = value
        return built


class TransportSender(Sender):
    """A bare transport: nothing stands between us and it."""

    def __init__(self, given: Any, trace_type: type[Trace]) -> None:
        super().__init__(given, trace_type)
        is_async = issubclass(trace_type, AsyncTrace)
        self._handle = given.handle_async_request if is_async else given.handle_request

    def handle(self, request: Request, call: Call, trace: Trace) -> Any:
        return self._handle(self._build(request, call, trace))


class ClientSender(Sender):
    """A whole client: its own headers, authentication, cookies, hooks and proxies apply."""

    def handle(self, request: Request, call: Call, trace: Trace) -> Any:
        built = self._build(request, call, trace)
        ours = {name.lower() for name, _ in (*request.headers, *request.call_headers)}
        for name, value in self.given.headers.multi_items():
            if name.lower() not in ours and name.lower() != "accept-encoding":
                built.headers[name] = value
        self.library.Cookies(self.given.cookies).set_cookie_header(built)
        return self.given.send(built, stream=True, follow_redirects=False)


class _ProxySender(Sender):
    """A client of our own, which is there to choose the proxy and for nothing else."""

    def handle(self, request: Request, call: Call, trace: Trace) -> Any:
        self.given.cookies.clear()  # no call knows of another
        return self.given.send(self._build(request, call, trace), stream=True, follow_redirects=False)


def _failure(sender: Sender, error: BaseException, call: Call, trace: Trace) -> TransportFailure:
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
    return TransportFailure(f"{kind}: {text}", sent=sent, timed_out=timed_out, cause=without_frames(error))


def without_frames(error: BaseException) -> BaseException:
    """Return *error* without the frames that it went through, whose variables hold headers and bodies."""
    current: BaseException | None = error
    while current is not None:
        traceback.clear_frames(current.__traceback__)
        current.__traceback__ = None
        current = current.__cause__ or current.__context__
    return error


def too_late(call: Call) -> TransportFailure:
    return TransportFailure("time ran out", sent=call.sent, timed_out=True)


def _body_of(response: Any, call: Call) -> Body:
    """Return where to put the body; it is there already if a hook of the user's client has read it."""
    if not response.is_stream_consumed:
        return Body(call.max_response_bytes, response.headers.get("content-encoding"))
    body = Body(call.max_response_bytes, None)
    body.feed(response.content)
    return body


def send(sender: Sender, request: Request, call: Call, trace: Trace) -> Response | TransportFailure:
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
                        return too_late(call)
        finally:
            response.close()
    except sender.errors as error:
        return _failure(sender, error, call, trace)
    finally:
        under_way.reset(token)
    return outcome(response.status_code, response.headers, body)


async def send_async(
    sender: Sender, request: Request, call: Call, trace: Trace, patience: float = 0.0
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
    return outcome(response.status_code, response.headers, body)
