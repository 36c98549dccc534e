"""Encrypted connections and proxies: whom our transports trust, and which way they go."""

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
import trustme

from navai_client import NavaiConfigError, NavaiTransportError
from navai_client.transports import _tls
from tests.clients import Client, make_client
from tests.faults.server import OK, FaultServer, Peer, answer

FAST = {"timeout": 5.0, "max_retries": 0}
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def authority_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def good(peer: Peer) -> None:
    while peer.request() is not None:
        peer.send(answer(OK))


def over_tls(authority: trustme.CA, fault: Callable[[Peer], object]) -> Callable[[Peer], object]:
    """Shake hands first, then treat the connection with *fault*."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def treat(peer: Peer) -> None:
        plain = peer._connection
        with context.wrap_socket(plain, server_side=True) as encrypted:
            peer._connection = encrypted
            peer._server._open.add(encrypted)
            try:
                fault(peer)
            finally:
                peer._server._open.discard(encrypted)

    return treat


@contextlib.contextmanager
def tls_server(authority: trustme.CA, fault: Callable[[Peer], object] = good) -> Iterator[FaultServer]:
    with FaultServer(over_tls(authority, fault)) as server:
        server.url = server.url.replace("http:", "https:")
        yield server


class Make(Protocol):
    """Makes a client of the kind and through the transport that a test is run with."""

    def __call__(self, url: str, **options: Any) -> Client: ...


@pytest.fixture
def made(kind: str, through: str) -> Make:
    return lambda url, **options: make_client(kind, through=through, base_url=url, **{**FAST, **options})


def test_a_certificate_that_nobody_vouches_for_is_rejected(made: Make, authority: trustme.CA) -> None:
    with (
        tls_server(authority) as server,
        made(server.url) as client,
        pytest.raises(NavaiTransportError, match="CERTIFICATE_VERIFY_FAILED") as caught,
    ):
        client.execute_function("f")
    assert not caught.value.may_have_executed
    assert not server.arrived


@pytest.mark.parametrize("way", ["file", "context", "nothing", "SSL_CERT_FILE"])
def test_a_certificate_is_accepted_if_told_so(
    way: str, made: Make, authority: trustme.CA, authority_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify: Any = True
    if way == "file":
        verify = authority_file
    elif way == "context":
        verify = ssl.create_default_context(cafile=authority_file)
    elif way == "nothing":
        verify = False
    else:
        monkeypatch.setenv("SSL_CERT_FILE", authority_file)
    with tls_server(authority) as server, made(server.url, verify=verify) as client:
        assert [client.execute_function("f") for _ in range(3)] == ["done"] * 3
        assert server.connections == 1


def test_a_folder_of_certificates_is_all_that_is_trusted(
    made: Make, authority: trustme.CA, tmp_path: Path
) -> None:
    with (
        tls_server(authority) as server,
        made(server.url, verify=str(tmp_path)) as client,
        pytest.raises(NavaiTransportError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.execute_function("f")


@pytest.mark.parametrize("records", [1, 2])
def test_two_answers_over_tls_never_answer_the_next_call(
    records: int, made: Make, authority: trustme.CA, authority_file: str
) -> None:
    other = answer('{"ok": true, "result": "a stranger\'s"}')

    def twice(peer: Peer) -> None:
        raw = peer._connection
        while peer.request() is not None:
            if records == 1:
                peer.send(answer(OK) + other)
            else:
                raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, "TCP_CORK", socket.TCP_NODELAY), 1)
                peer.send(answer(OK))
                peer.send(other)
                raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, "TCP_CORK", socket.TCP_NODELAY), 0)

    with tls_server(authority, twice) as server, made(server.url, verify=authority_file) as client:
        assert {client.execute_function("f") for _ in range(10)} == {"done"}


def test_an_end_of_tls_that_came_with_the_answer_is_noticed(
    made: Make, authority: trustme.CA, authority_file: str
) -> None:
    def one_answer_each(peer: Peer) -> None:
        encrypted = peer._connection
        assert isinstance(encrypted, ssl.SSLSocket)
        if peer.request() is not None:
            encrypted.setsockopt(socket.IPPROTO_TCP, getattr(socket, "TCP_CORK", socket.TCP_NODELAY), 1)
            peer.send(answer(OK))
            encrypted.unwrap()

    with (
        tls_server(authority, one_answer_each) as server,
        made(server.url, verify=authority_file) as client,
    ):
        assert [client.execute_function("f") for _ in range(3)] == ["done"] * 3
        assert server.connections == 3


def test_there_is_one_tls_context_for_each_setting_and_none_without_tls(
    made: Make, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Any] = []
    original = httpx.create_ssl_context

    def counted(*args: Any, **options: Any) -> ssl.SSLContext:
        built.append(options)
        return original(*args, **options)

    monkeypatch.setattr(httpx, "create_ssl_context", counted)
    _tls._usual_context.cache_clear()
    with FaultServer(good) as plain, made(plain.url) as client:
        client.execute_function("f")
    assert not built
    with tls_server(authority) as server:
        for _ in range(3):
            for verify in (True, False):
                with made(server.url, verify=verify) as client:
                    client.list_functions()
    assert len(built) == 2


def test_certificates_of_the_environment_that_cannot_be_read_are_a_mistake_in_the_settings(
    made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", __file__)
    with made("https://127.0.0.1:1") as client:
        for _ in range(101):  # and no place among the connections is lost
            with pytest.raises(NavaiConfigError, match="SSL_CERT_FILE"):
                client.execute_function("f")


class Proxy(FaultServer):
    """Forwards what comes, or tunnels it; notes the first line and the credentials of each request."""

    def __init__(self, refusal: bytes | None = None) -> None:
        super().__init__(self._forward)
        self._refusal = refusal
        self.asked: list[str] = []

    def _forward(self, peer: Peer) -> None:
        connection = peer._connection
        head = b""
        while b"\r\n\r\n" not in head:
            if not (data := connection.recv(65536)):
                return
            head += data
        line = head.split(b"\r\n")[0].decode()
        credentials = re.search(rb"proxy-authorization: ([^\r]*)", head, re.IGNORECASE)
        self.asked.append(f"{line} {credentials[1].decode() if credentials else ''}".strip())
        if self._refusal is not None:
            peer.send(self._refusal)
            return
        target = re.search(r"(127\.0\.0\.1):(\d+)", line)
        assert target is not None
        with socket.create_connection((target[1], int(target[2]))) as onward:
            if line.startswith("CONNECT"):
                peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                onward.sendall(head)
            back = threading.Thread(target=_pump, args=(onward, connection))
            back.start()
            _pump(connection, onward)
            back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("way", ["argument", "environment"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_is_used(
    way: str, scheme: str, made: Make, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        FaultServer(good if scheme == "http" else over_tls(authority, good)) as server,
        Proxy() as proxy,
    ):
        address = proxy.url.replace("//", "//user:hidden@")
        if way == "environment":
            monkeypatch.setenv(f"{scheme.upper()}_PROXY", address)
        url = server.url.replace("http:", f"{scheme}:")
        options = {"proxy": address} if way == "argument" else {}
        with made(url, verify=False, **options) as client:
            assert [client.execute_function("f") for _ in range(3)] == ["done"] * 3
        verb = "CONNECT" if scheme == "https" else "POST"
        assert [line.partition(" ")[0] for line in proxy.asked] == [verb]
        assert proxy.asked[0].endswith("Basic dXNlcjpoaWRkZW4=")
        assert server.count("execute") == 3


def test_no_proxy_is_obeyed(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultServer(good) as server, Proxy() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with made(server.url) as client:
            assert client.execute_function("f") == "done"
        assert not proxy.asked


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_is_an_error_without_its_password(scheme: str, made: Make) -> None:
    refusal = answer("no", status="407 Proxy Authentication Required")
    with Proxy(refusal) as proxy:
        address = proxy.url.replace("//", "//user:hidden-word@")
        with made(f"{scheme}://backend.test", proxy=address) as client:
            warning = client.list_functions().warnings[0]
    assert "407" in warning
    assert "hidden-word" not in warning
    assert "aGlkZGVu" not in warning


def test_a_proxy_that_cannot_be_reached_has_let_nothing_through(made: Make) -> None:
    with (
        made("https://backend.test", proxy="http://user:hidden-word@127.0.0.1:1") as client,
        pytest.raises(NavaiTransportError) as caught,
    ):
        client.execute_function("f")
    assert not caught.value.may_have_executed
    assert "hidden-word" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nonsense://user:hidden-word@host", "is not a proxy's URL"),
        ("socks5://user:hidden-word@host", "socksio"),
    ],
)
def test_a_proxy_of_the_environment_that_cannot_work_is_a_mistake_in_the_settings(
    address: str, message: str, made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", address)
    with made("http://backend.test") as client:
        with pytest.raises(NavaiConfigError, match=message) as caught:
            client.execute_function("f")
        assert "hidden-word" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None  # which would hold the URL
