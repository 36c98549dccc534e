"""The way to a backend, step by step: proxy, name, connection, TLS, response, clock."""

import base64
import contextlib
import functools
import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Literal, cast
from urllib.parse import urlsplit

import attrs

from navai_client._threads import run_within
from navai_client.cli._connection import Connection, with_option_names
from navai_client.cli._errors import GIVE_IT_ONE, KEYLESS, explain
from navai_client.cli._output import counted
from navai_client.config import DEFAULT_BASE_URL
from navai_client.errors import InvalidResponseError, NavaiConfigError
from navai_client.models import FunctionList
from navai_client.transports import Call, Transport
from navai_client.transports._connecting import Origin
from navai_client.transports._default import HTTPXTransport
from navai_client.transports._proxies import Proxies, Proxy
from navai_client.transports._tls import TLS
from navai_client.wire._decode import http_date, trim
from navai_client.wire._values import Request, Response, TransportFailure

_DAY = 86_400.0  # seconds
_EXPIRES_SOON = 14  # days
_SKEW = 30.0  # seconds; client secrets live for 10 to 7200
_PORTS = {"http": 80, "https": 443}
_PROXY_PORT = 80  # of a proxy whose URL has none, as in httpx

_OTHER_SERVER = "Another server responds here: correct host, port or path."
_NOT_RUNNING = "Is the backend running? `navai serve --demo` starts one."

Address = tuple[str, int]
Names = tuple[tuple[tuple[str, str], ...], ...]  # the form of names in ssl.SSLSocket.getpeercert()


@attrs.frozen
class Diagnosis:
    """The result of examining one thing.

    Attributes:
        subject: What was examined.
        level: ``ok``, ``warn`` (it works, with a risk) or ``fail``.
        message: What was found.
        remedy: What to do about it, or None.
    """

    subject: str
    level: Literal["ok", "warn", "fail"]
    message: str
    remedy: str | None = None


def base_url_source(url: str | None, env: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Return the base URL and where it is set, in the clients' order of precedence."""
    for source, value in (("--url", url), ("NAVAI_API_URL", env.get("NAVAI_API_URL"))):
        if value and trim(value):
            return trim(value), source
    return DEFAULT_BASE_URL, "the default: neither --url nor NAVAI_API_URL is set"


def diagnose_backend(connection: Connection, base_url: str) -> Iterator[Diagnosis]:
    """Follow the way of a call to the backend and yield a diagnosis of each step, until one fails."""
    url = urlsplit(base_url)
    scheme = url.scheme.lower()
    backend = url.hostname or "", url.port or _PORTS[scheme]
    try:
        proxy = Proxies(connection.proxy).find(Origin(scheme, *backend))
    except NavaiConfigError as error:
        yield Diagnosis("proxy", "fail", str(error))
        return
    if proxy is not None:
        yield Diagnosis("proxy", "ok", f"{proxy} (from {with_option_names(proxy.source)})")
    steps: list[Callable[[], Diagnosis]] = []
    if proxy is None or proxy.scheme == "http":  # only the transports know the protocols of the others
        peer = backend if proxy is None else _address(proxy)
        steps.append(functools.partial(_look_up, peer, connection.timeout))
        steps.append(functools.partial(_connect, peer, connection.timeout, is_proxy=proxy is not None))
        if scheme == "https":
            steps.append(functools.partial(_shake_hands, connection, backend, proxy))
        elif proxy is None:
            steps.append(functools.partial(_rate_plain_text, backend))
    for step in steps:
        diagnosis = step()
        yield diagnosis
        if diagnosis.level == "fail":
            return
    yield from _call(connection)


def _address(proxy: Proxy) -> Address:
    return proxy.host, proxy.port or _PROXY_PORT


def _look_up(address: Address, timeout: float) -> Diagnosis:
    host, port = address
    try:
        look_up = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = run_within(timeout, look_up)
    except TimeoutError:
        return Diagnosis("name", "fail", f"{host}: no reply within {timeout:g} s", "Is the network up?")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a host name"
        remedy = "Is the name spelled correctly? Some names are known only inside a VPN."
        return Diagnosis("name", "fail", f"{host}: {reason}", remedy)
    addresses = dict.fromkeys(str(each[4][0]) for each in found)
    return Diagnosis("name", "ok", f"{host} is {', '.join(addresses)}")


def _connect(address: Address, timeout: float, *, is_proxy: bool) -> Diagnosis:
    host, port = address
    started = time.monotonic()
    try:
        socket.create_connection(address, timeout).close()
    except TimeoutError:
        remedy = "A firewall may drop the packets; are host and port correct?"
        return Diagnosis("connection", "fail", f"{host}:{port}: no reply within {timeout:g} s", remedy)
    except OSError as error:
        remedy = "Is this the right proxy?" if is_proxy else _NOT_RUNNING
        return Diagnosis("connection", "fail", f"{host}:{port}: {error.strerror or error}", remedy)
    return Diagnosis("connection", "ok", f"{host}:{port} in {(time.monotonic() - started) * 1000:.0f} ms")


def _rate_plain_text(address: Address) -> Diagnosis:
    found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    if any(ipaddress.ip_address(each[4][0]).is_global for each in found):
        message = "not encrypted: others on the network path can read headers and client secrets"
        return Diagnosis("TLS", "warn", message, "Use an https:// URL.")
    return Diagnosis("TLS", "ok", "not used, within a private network")


def _shake_hands(connection: Connection, backend: Address, proxy: Proxy | None) -> Diagnosis:
    try:
        context = TLS(connection.verify).context()  # as calls use it
        tcp = HTTPConnection(*(backend if proxy is None else _address(proxy)), timeout=connection.timeout)
        if proxy is not None:
            tcp.set_tunnel(*backend, _proxy_headers(proxy))
        with contextlib.closing(tcp):
            tcp.connect()
            assert tcp.sock is not None  # noqa: S101 - connect() raises otherwise
            with context.wrap_socket(tcp.sock, server_hostname=backend[0]) as encrypted:
                return _certificate(encrypted)
    except NavaiConfigError as error:
        return Diagnosis("TLS", "fail", str(error), "Correct --ca-file, SSL_CERT_FILE or SSL_CERT_DIR.")
    except ssl.SSLCertVerificationError as error:
        return Diagnosis("TLS", "fail", error.verify_message, _certificate_remedy(error))
    except ssl.SSLError as error:
        remedy = "Does this port use TLS? Try http://." if error.reason == "WRONG_VERSION_NUMBER" else None
        return Diagnosis("TLS", "fail", (error.reason or str(error)).replace("_", " ").lower(), remedy)
    except (OSError, HTTPException) as error:
        return Diagnosis("TLS", "fail", f"the connection ended: {error}", "Is this the right port?")


def _proxy_headers(proxy: Proxy) -> dict[str, str]:
    if proxy.auth is None:
        return {}
    credentials = base64.b64encode(":".join(proxy.auth).encode()).decode()
    return {"Proxy-Authorization": f"Basic {credentials}"}


def _certificate_remedy(error: ssl.SSLCertVerificationError) -> str:
    names, validity = (62, 64), (9, 10)  # X509_V_ERR_* of OpenSSL's x509_vfy.h
    if error.verify_code in names:
        return "The certificate is for another name: correct the host in the URL, or the certificate."
    if error.verify_code in validity:
        return "Renew the server's certificate; if it is new, set the clock of this machine."
    return "If it is from your own authority, give its certificate: --ca-file FILE, or SSL_CERT_FILE."


def _certificate(encrypted: ssl.SSLSocket) -> Diagnosis:
    certificate = encrypted.getpeercert() or {}
    issuer = dict(pair for part in cast("Names", certificate.get("issuer", ())) for pair in part)
    days = (ssl.cert_time_to_seconds(str(certificate.get("notAfter"))) - time.time()) / _DAY
    authority = issuer.get("organizationName") or issuer.get("commonName") or "an unnamed authority"
    message = f"{encrypted.version()}, certificate by {authority}, valid for {counted(round(days), 'day')}"
    if days < _EXPIRES_SOON:
        return Diagnosis("TLS", "warn", message, "Renew the server's certificate.")
    return Diagnosis("TLS", "ok", message)


class _Recorder:
    """A transport that keeps the outcome of its last call, and when it was."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.outcome: Response | TransportFailure | None = None
        self.started = self.ended = 0.0

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        self.started = time.time()
        self.outcome = self._transport.send(request, call)
        self.ended = time.time()
        return self.outcome

    def close(self) -> None:
        self._transport.close()


def _call(connection: Connection) -> Iterator[Diagnosis]:
    """List the functions, and judge by the response who is there."""
    recorder = _Recorder(HTTPXTransport(connection.verify, connection.proxy))
    with connection.client(transport=recorder, max_retries=0) as client:
        try:
            listed = client.list_functions()
        except NavaiConfigError as error:  # of the environment, and found only by a call
            yield Diagnosis("backend", "fail", str(error))
            return
    yield _backend(listed, recorder.outcome)
    if listed.error is None:
        count = counted(len(listed), "function") if listed else "no functions"
        if listed.warnings:
            message = f"{count}; {'; '.join(listed.warnings)}"
            yield Diagnosis("functions", "warn", message, "See the backend's log.")
        else:
            yield Diagnosis("functions", "ok", count)
    if isinstance(recorder.outcome, Response):
        yield from _client_secrets(recorder.outcome.headers.get("navai-client-secrets"))
        yield _clock(recorder.outcome.headers.get("date"), recorder.started, recorder.ended)


def _client_secrets(mints: str | None) -> Iterator[Diagnosis]:
    """Judge by the header of the bundled server; other backends do not say it before they are asked."""
    match mints:
        case "own-key":
            yield Diagnosis("client secrets", "ok", "minted with the backend's own OpenAI key")
        case "request-key":
            message = f"{KEYLESS}: only a request with a key of its own (--api-key) gets one"
            yield Diagnosis("client secrets", "warn", message, GIVE_IT_ONE)
        case "no-key":
            message = f"{KEYLESS}, and mints no client secret"
            yield Diagnosis("client secrets", "warn", message, GIVE_IT_ONE)
        case "samples":
            yield Diagnosis("client secrets", "ok", "samples of a demo, which open no session")


def _backend(listed: FunctionList, outcome: Response | TransportFailure | None) -> Diagnosis:
    error = listed.error
    if error is None:
        if isinstance(outcome, Response) and b'"items"' not in outcome.content:
            message = "the response is JSON, but has no list of functions"
            return Diagnosis("backend", "warn", message, "Is this a Navai backend?")
        return Diagnosis("backend", "ok", "a Navai backend")
    if isinstance(outcome, Response) and isinstance(error, InvalidResponseError):
        kind = outcome.headers.get("content-type", "no Content-Type")
        message = f"HTTP {outcome.status} with {kind}, which is not a list of functions"
        return Diagnosis("backend", "fail", message, _OTHER_SERVER)
    explanation = explain(error, acts=False)
    is_missing = isinstance(outcome, Response) and outcome.status == HTTPStatus.NOT_FOUND
    return Diagnosis(
        "backend", "fail", explanation.message, _OTHER_SERVER if is_missing else explanation.remedy
    )


def _clock(date: str | None, started: float, ended: float) -> Diagnosis:
    """Compare the server's clock with this machine's; the header Date is exact to a second."""
    server = http_date(date or "")
    if server is None:
        return Diagnosis("clock", "ok", "not compared: the response has no Date")
    skew = server + 0.5 - (started + ended) / 2
    if abs(skew) > _SKEW + (ended - started):
        side = "ahead of" if skew > 0 else "behind"
        message = f"the server is {abs(skew):.0f} s {side} this machine"
        remedy = "Synchronize the clocks (NTP): the expiry of client secrets depends on them."
        return Diagnosis("clock", "warn", message, remedy)
    return Diagnosis("clock", "ok", "the server and this machine agree")
