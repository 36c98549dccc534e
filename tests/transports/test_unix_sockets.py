"""Unix sockets: the ``uds`` option of the clients and of the fast transports, against real servers."""

import asyncio
import contextlib
import errno
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import httpx2
import pytest
import trustme

from navai_client import (
    AsyncNavaiBackendClient,
    NavaiBackendClient,
    NavaiConfigError,
    NavaiTimeoutError,
    NavaiTransportError,
)
from navai_client.transports.fast import AsyncFastTransport, FastTransport
from tests.clients import Client, make_client
from tests.faults.server import FAULTS, FaultServer, Peer
from tests.transports.conftest import echo
from tests.waiting import PATIENCE_S, SHORT_S, until

if sys.platform == "win32":
    pytest.skip("Windows has no Unix sockets in Python", allow_module_level=True)

MADE: Final = (NavaiBackendClient, AsyncNavaiBackendClient, FastTransport, AsyncFastTransport)
URL: Final = "http://backend.test"
FAST: Final[dict[str, Any]] = {"timeout": PATIENCE_S, "max_retries": 0}

Make = Callable[..., Client]


@pytest.fixture
def path() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:  # shorter than tmp_path, which can exceed 107 bytes
        yield str(Path(folder) / "backend.sock")


@pytest.fixture
def made(kind: str, through: str) -> Make:
    def make(uds: Any, url: str = URL, **options: Any) -> Client:
        return make_client(kind, through=through, base_url=url, uds=uds, **{**FAST, **options})

    return make


@pytest.mark.parametrize("form", [str, Path])
def test_calls_reach_a_backend_behind_a_unix_socket(form: Any, made: Make, path: str) -> None:
    with FaultServer(echo, uds=path) as server, made(form(path)) as client:
        for payload in ("a", "b" * 2_000_000, "c"):
            assert client.execute_function("f", payload) == payload
        assert server.connections == 1
        _, head, _ = server.arrived[0]
        assert b"\r\nhost: backend.test\r\n" in head.lower() + b"\r\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract names")
def test_an_abstract_name_of_linux_is_a_unix_socket(made: Make, path: str) -> None:
    name = f"\0{path}"
    with FaultServer(echo, uds=name) as server, made(name) as client:
        assert client.execute_function("f", 1) == 1
        assert server.connections == 1


def test_https_is_encrypted_over_a_unix_socket_too(made: Make, path: str, authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("backend.test").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    def treat(peer: Peer) -> None:
        with context.wrap_socket(peer._connection, server_side=True) as encrypted:
            peer._connection = encrypted
            echo(peer)

    with FaultServer(treat, uds=path) as server:
        with made(path, "https://backend.test", verify=trusting) as client:
            assert [client.execute_function("f", number) for number in range(3)] == [0, 1, 2]
        with made(path, "https://other.test", verify=trusting) as client:
            with pytest.raises(NavaiTransportError, match="CERTIFICATE_VERIFY_FAILED") as caught:
                client.execute_function("f")
            assert not caught.value.may_have_executed
        assert len(server.arrived) == 3


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
def test_no_proxy_variable_applies_to_a_unix_socket(
    name: str, made: Make, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    with FaultServer(echo, uds=path), made(path) as client:
        assert client.execute_function("f", 1) == 1


@pytest.mark.parametrize("missing", [True, False])
def test_a_socket_without_a_server_is_named_and_has_certainly_not_executed(
    missing: bool, made: Make, path: str
) -> None:
    if not missing:
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(path)
    with made(path) as client, pytest.raises(NavaiTransportError, match=path) as caught:
        client.execute_function("f")
    assert not caught.value.may_have_executed
    assert not isinstance(caught.value, NavaiTimeoutError)


def test_a_server_that_comes_later_is_found(made: Make, path: str) -> None:
    with made(path) as client:
        with pytest.raises(NavaiTransportError):
            client.execute_function("f")
        with FaultServer(echo, uds=path):
            assert client.execute_function("f", 1) == 1


@pytest.mark.parametrize("fault", ["never answers", "drips a body", "drips headers", "never reads"])
def test_the_deadline_holds(fault: str, made: Make, path: str) -> None:
    with FaultServer(FAULTS[fault], uds=path), made(path, timeout=SHORT_S) as client:
        began = time.monotonic()
        with pytest.raises(NavaiTimeoutError) as caught:
            client.execute_function("f", "x" * 4_000_000)
        assert time.monotonic() - began < PATIENCE_S / 2
        assert caught.value.may_have_executed


@pytest.fixture
def full(path: str) -> Iterator[FaultServer]:
    """A server that accepts nothing before it is entered, and whose backlog is full until then."""
    server = FaultServer(echo, uds=path)
    server._listener.listen(0)
    with server._listener, contextlib.ExitStack() as stack:
        outcome = 0
        while outcome == 0:
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)  # noqa: FBT003 - it takes no keyword
            outcome = waiting.connect_ex(path)
        assert outcome == errno.EAGAIN
        yield server


@pytest.mark.skipif(sys.platform != "linux", reason="others refuse the connection")
def test_a_full_backlog_is_waited_for_and_has_certainly_not_executed(
    made: Make, path: str, full: FaultServer
) -> None:
    with made(path, timeout=0.3) as client, pytest.raises(NavaiTimeoutError) as caught:
        client.execute_function("f")
    assert not caught.value.may_have_executed


@pytest.mark.skipif(sys.platform != "linux", reason="others refuse the connection")
def test_a_call_goes_on_when_the_backlog_has_room_again(
    made: Make, path: str, full: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = threading.Event()
    original = socket.socket.connect_ex

    def connect_ex(self: socket.socket, address: Any) -> int:
        outcome = original(self, address)
        if outcome == errno.EAGAIN:
            refused.set()
        return outcome

    monkeypatch.setattr(socket.socket, "connect_ex", connect_ex)

    def serve() -> None:
        refused.wait(PATIENCE_S)
        full.__enter__()

    serving = threading.Thread(target=serve)
    serving.start()
    try:
        with made(path) as client:
            assert client.execute_function("f", 1) == 1
    finally:
        serving.join()
        full.__exit__(None, None, None)


def test_calls_of_a_loop_of_uvloop_reach_it(path: str) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def call() -> Any:
        async with (
            AsyncNavaiBackendClient(URL, uds=path) as default,
            AsyncNavaiBackendClient(URL, transport=AsyncFastTransport(uds=path)) as fast,
        ):
            return await asyncio.gather(default.execute_function("f", 1), fast.execute_function("f", 2))

    with FaultServer(echo, uds=path):
        assert uvloop.run(call()) == [1, 2]


@pytest.mark.parametrize("cls", MADE)
@pytest.mark.parametrize(
    "uds", [b"/a", 5, True, "", " ", "/a\0b", "/" + "a" * 200, "/\ud800", Path()], ids=repr
)
def test_what_cannot_be_a_path_is_refused_at_once(cls: Any, uds: Any) -> None:
    with pytest.raises(NavaiConfigError, match="uds"):
        cls(uds=uds)


@pytest.mark.parametrize("cls", MADE)
def test_a_proxy_and_a_unix_socket_exclude_each_other(cls: Any) -> None:
    with pytest.raises(NavaiConfigError, match="uds and proxy"):
        cls(uds="/a", proxy="http://hidden:hidden@127.0.0.1:1")


@pytest.mark.parametrize("cls", MADE)
def test_a_system_without_unix_sockets_says_so(cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(NavaiConfigError, match="this system has no Unix sockets"):
        cls(uds="/a")


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_a_given_transport_that_waits_behind_a_unix_socket_has_sent_nothing(
    library: Any, kind: str, path: str
) -> None:
    made = library.HTTPTransport if kind == "sync" else library.AsyncHTTPTransport
    with FaultServer(Peer.silence, uds=path) as server:
        client = make_client(
            kind,
            base_url="https://backend.test",
            transport=made(uds=path, verify=False),
            **{**FAST, "timeout": SHORT_S},
        )
        with client, pytest.raises(NavaiTimeoutError) as caught:
            client.execute_function("f")
        assert not caught.value.may_have_executed
        until(lambda: server.connections)
        assert server.connections == 1
