"""Going the way to a backend step by step: its name, a connection, encryption, an answer, its clock."""

import contextlib
import functools
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import cast
from urllib.parse import urlsplit

from navai_client.cli.connection import Connection
from navai_client.cli.findings import Finding, Hop, proxy_of
from navai_client.cli.statuses import explain
from navai_client.errors import InvalidResponseError, NavaiConfigError
from navai_client.models import FunctionList
from navai_client.transports import Call, Transport
from navai_client.transports._default import HTTPXTransport
from navai_client.transports._threads import run_within
from navai_client.transports._tls import TLS
from navai_client.wire._values import Request, Response, TransportFailure

__all__ = ["probe"]

_DAY = 86_400.0  # seconds
_EXPIRES_SOON = 14  # days
_SKEW = 30.0  # seconds; client secrets live for 10 to 7200
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = range(300, 400)

_SOMETHING_ELSE = "Something else answers here: mend host, port or path."
_NOBODY_THERE = "Is the backend running? `navai serve --demo` starts one."

Address = tuple[str, int]
Names = tuple[tuple[tuple[str, str], ...], ...]  # how the standard library gives a certificate's names


def probe(connection: Connection, base_url: str) -> Iterator[Finding]:
    """Go the way to the backend and tell of each step, until one fails."""
    url = urlsplit(base_url)
    there = (url.hostname or "", url.port or _PORTS[url.scheme.lower()])
    hop: Hop | None = None
    steps: list[Callable[[], Finding]] = []
    if (proxy := proxy_of(base_url, connection.proxy)) is not None:
        try:
            hop = Hop.from_url(proxy[0])
        except ValueError:  # its text can hold a password
            yield Finding(
                "proxy", "fail", f"{proxy[1]} is not a proxy's URL", "It is like http://proxy:8080."
            )
            return
        yield Finding("proxy", "ok", f"{hop} (from {proxy[1]})")
    if hop is None or hop.scheme == "http":  # httpx alone knows how to speak to the others
        first = there if hop is None else hop.address
        steps = [
            functools.partial(_look_up, first, connection.timeout),
            functools.partial(_connect, first, connection.timeout, is_proxy=hop is not None),
        ]
        if url.scheme.lower() == "https":
            steps.append(functools.partial(_shake_hands, connection, there, hop))
        elif hop is None:
            steps.append(functools.partial(_plain, there))
    for step in steps:
        finding = step()
        yield finding
        if finding.level == "fail":
            return
    yield from _ask(connection)


def _look_up(address: Address, timeout: float) -> Finding:
    host, port = address
    try:
        look_up = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = run_within(timeout, look_up)
    except TimeoutError:
        return Finding("name", "fail", f"{host}: no answer within {timeout:g} s", "Is the network up?")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no host name"
        remedy = "Is the name spelt right? Some names are known inside a VPN only."
        return Finding("name", "fail", f"{host}: {reason}", remedy)
    return Finding("name", "ok", f"{host} is {', '.join(dict.fromkeys(str(each[4][0]) for each in found))}")


def _connect(address: Address, timeout: float, *, is_proxy: bool) -> Finding:
    host, port = address
    began = time.monotonic()
    try:
        socket.create_connection(address, timeout).close()
    except TimeoutError:
        remedy = "A firewall may drop the packets; are host and port right?"
        return Finding("connection", "fail", f"{host}:{port} does not answer within {timeout:g} s", remedy)
    except OSError as error:
        remedy = "Is the proxy right?" if is_proxy else _NOBODY_THERE
        return Finding("connection", "fail", f"{host}:{port}: {error.strerror or error}", remedy)
    return Finding("connection", "ok", f"{host}:{port} in {(time.monotonic() - began) * 1000:.0f} ms")


def _plain(address: Address) -> Finding:
    """Say what travels unencrypted, and how far."""
    found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    if any(ipaddress.ip_address(each[4][0]).is_global for each in found):
        message = "not encrypted: everybody on the way can read headers and client secrets"
        return Finding("TLS", "warn", message, "Use an https:// URL.")
    return Finding("TLS", "ok", "not used, within a private network")


def _shake_hands(connection: Connection, there: Address, hop: Hop | None) -> Finding:
    host, port = there
    try:
        context = TLS(connection.verify).context()  # the very one that calls use
        way = HTTPConnection(*(hop.address if hop else there), timeout=connection.timeout)
        if hop is not None:
            way.set_tunnel(host, port, hop.headers)
        with contextlib.closing(way):
            way.connect()
            assert way.sock is not None  # noqa: S101 - connect() raises otherwise
            with context.wrap_socket(way.sock, server_hostname=host) as encrypted:
                return _certificate(encrypted)
    except NavaiConfigError as error:
        return Finding("TLS", "fail", str(error), "Mend --ca-file, SSL_CERT_FILE or SSL_CERT_DIR.")
    except ssl.SSLCertVerificationError as error:
        return Finding("TLS", "fail", error.verify_message, _certificate_remedy(error))
    except ssl.SSLError as error:
        remedy = "Does this port speak TLS? Try http://." if error.reason == "WRONG_VERSION_NUMBER" else None
        return Finding("TLS", "fail", (error.reason or str(error)).replace("_", " ").lower(), remedy)
    except (OSError, HTTPException) as error:
        return Finding("TLS", "fail", f"the connection ended: {error}", "Is the port right?")


def _certificate_remedy(error: ssl.SSLCertVerificationError) -> str:
    names, validity = (62, 64), (9, 10)  # X509_V_ERR_* of OpenSSL's x509_vfy.h
    if error.verify_code in names:
        return "The certificate is for another name: mend the host in the URL, or the certificate."
    if error.verify_code in validity:
        return "Renew the server's certificate; if it is new, set this machine's clock."
    return "If it is your own authority's, give its certificate: --ca-file FILE, or SSL_CERT_FILE."


def _certificate(encrypted: ssl.SSLSocket) -> Finding:
    certificate = encrypted.getpeercert() or {}
    issuer = dict(pair for part in cast("Names", certificate.get("issuer", ())) for pair in part)
    left = (ssl.cert_time_to_seconds(str(certificate.get("notAfter"))) - time.time()) / _DAY
    by = issuer.get("organizationName") or issuer.get("commonName") or "an unnamed authority"
    message = f"{encrypted.version()}, certificate by {by}, good for {left:.0f} days"
    if left < _EXPIRES_SOON:
        return Finding("TLS", "warn", message, "Renew the server's certificate.")
    return Finding("TLS", "ok", message)


class _Recorder:
    """A transport that keeps what came, and when."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.outcome: Response | TransportFailure | None = None
        self.began = self.ended = 0.0

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        self.began = time.time()
        self.outcome = self._transport.send(request, call)
        self.ended = time.time()
        return self.outcome

    def close(self) -> None:
        self._transport.close()


def _ask(connection: Connection) -> Iterator[Finding]:
    """Ask for the functions, and see from the answer who is there."""
    recorder = _Recorder(HTTPXTransport(connection.verify, connection.proxy))
    with connection.client(transport=recorder, max_retries=0) as client:
        try:
            listed = client.list_functions()
        except NavaiConfigError as error:  # what the environment says, and only the first call finds
            yield Finding("backend", "fail", str(error))
            return
    yield _answer(listed, recorder)
    if listed.error is None:
        names = f"{len(listed)} functions" if listed.functions else "no functions"
        if listed.warnings:
            yield Finding(
                "functions", "warn", f"{names}; {'; '.join(listed.warnings)}", "See the backend's log."
            )
        else:
            yield Finding("functions", "ok", names)
    if isinstance(recorder.outcome, Response):
        yield _clock(recorder.outcome.headers.get("date"), recorder.began, recorder.ended)


def _answer(listed: FunctionList, recorder: _Recorder) -> Finding:
    error, outcome = listed.error, recorder.outcome
    if error is None:
        if isinstance(outcome, Response) and b'"items"' not in outcome.content:
            message = "the answer is JSON, but has no list of functions"
            return Finding("backend", "warn", message, "Is this a Navai backend?")
        return Finding("backend", "ok", "a Navai backend")
    if isinstance(outcome, Response):
        if outcome.status in _REDIRECTS:
            target = outcome.headers.get("location", "nowhere").partition("?")[0]
            remedy = "Redirects are not followed: give the URL that it leads to."
            return Finding("backend", "fail", f"HTTP {outcome.status}, a redirect to {target}", remedy)
        if isinstance(error, InvalidResponseError):
            kind = outcome.headers.get("content-type", "nothing that says its type")
            message = f"HTTP {outcome.status} with {kind}, which is no list of functions"
            return Finding("backend", "fail", message, _SOMETHING_ELSE)
    told = explain(error, acts=False)
    is_missing = isinstance(outcome, Response) and outcome.status == HTTPStatus.NOT_FOUND
    return Finding("backend", "fail", told.message, _SOMETHING_ELSE if is_missing else told.remedy)


def _clock(date: str | None, began: float, ended: float) -> Finding:
    """Compare the server's clock with ours; its Date is exact to a second."""
    try:
        theirs = parsedate_to_datetime(date or "").timestamp() + 0.5
    except ValueError:
        return Finding("clock", "ok", "not compared: the answer has no Date")
    skew = theirs - (began + ended) / 2
    if abs(skew) > _SKEW + (ended - began):
        side = "ahead of" if skew > 0 else "behind"
        message = f"the server is {abs(skew):.0f} s {side} this machine"
        remedy = "Set the clocks (NTP): client secrets are judged by their expiry."
        return Finding("clock", "warn", message, remedy)
    return Finding("clock", "ok", "the server's and this machine's agree")
