"""The fast transports where they differ from the default ones: connecting, sending, proxies, event loops."""

import asyncio
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpcore
import pytest
import trustme
import uvloop

from navai_client import (
    AsyncNavaiBackendClient,
    NavaiConfigError,
    NavaiHTTPError,
    NavaiTimeoutError,
    NavaiTransportError,
)
from navai_client.transports import Call, _fast_sync, _network
from navai_client.transports._fast_parser import Encoder
from navai_client.transports._network import Origin
from navai_client.transports._tls import TLS
from navai_client.transports.fast import AsyncFastTransport, FastTransport
from navai_client.wire._values import Endpoint, Request, TransportFailure
from tests.clients import Client, make_client
from tests.faults.server import OK, FaultServer, Peer, answer, closed_port
from tests.transports.conftest import waiting

SOON: dict[str, Any] = {"timeout": 5.0, "max_retries": 0}


def fast(kind: str, url: str, **options: Any) -> Client:
    return make_client(kind, through="fast", base_url=url, **{**SOON, **options})


def good(peer: Peer) -> None:
    while peer.request() is not None:
        peer.send(answer(OK))


def call(timeout: float | None = 5.0) -> Call:
    return Call(timeout=timeout, max_response_bytes=1000)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[str, int]]]:
    """Names and the addresses that they have; others are looked up as ever."""
    known: dict[str, list[tuple[str, int]]] = {}
    original = socket.getaddrinfo

    def look_up(host: Any, *args: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in known:
            return original(host, *args, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in known[name]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


def test_a_missing_library_is_named_with_what_installs_it() -> None:
    code = "import sys; sys.modules['httptools'] = None; import navai_client.transports.fast"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.splitlines()[-1] == (
        "ImportError: httptools is not installed; run: pip install 'navai-client[fast]'"
    )


def test_one_of_the_other_kind_is_refused() -> None:
    with pytest.raises(NavaiConfigError, match="AsyncFastTransport is async; use AsyncNavaiBackendClient"):
        Client("sync", transport=AsyncFastTransport())
    with pytest.raises(NavaiConfigError, match="FastTransport is not async; use NavaiBackendClient"):
        Client("async", transport=FastTransport())


@pytest.mark.parametrize("options", [{"verify": "/nowhere"}, {"proxy": "nonsense://user:word@host"}])
@pytest.mark.parametrize("made", [FastTransport, AsyncFastTransport])
def test_what_cannot_work_is_refused_at_once(made: Any, options: dict[str, str]) -> None:
    with pytest.raises(NavaiConfigError) as caught:
        made(**options)
    assert "word" not in str(caught.value)


def test_the_next_address_is_tried_when_one_refuses(
    kind: str, names: dict[str, list[tuple[str, int]]]
) -> None:
    with FaultServer(good) as server, closed_port() as port:
        names["backend.test"] = [("127.0.0.1", port), ("127.0.0.1", server.port)]
        with fast(kind, "http://backend.test") as client:
            assert client.execute_function("f") == "done"


def test_a_name_without_addresses_has_let_nothing_through(
    kind: str, names: dict[str, list[tuple[str, int]]]
) -> None:
    names["backend.test"] = []
    with fast(kind, "http://backend.test") as client, pytest.raises(NavaiTransportError) as caught:
        client.execute_function("f")
    assert not caught.value.may_have_executed


@pytest.mark.parametrize("host", ["a" * 70 + ".test", "backend..test"])
def test_a_name_that_is_none_has_let_nothing_through(kind: str, host: str) -> None:
    with fast(kind, f"http://{host}") as client, pytest.raises(NavaiTransportError) as caught:
        client.execute_function("f")
    assert not caught.value.may_have_executed


def test_a_name_that_is_looked_up_too_slowly_ends_in_time(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = threading.Event()

    def slow(*args: Any, **options: Any) -> Any:
        found.wait()
        raise socket.gaierror("not known")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    client = fast(kind, "http://backend.test", timeout=0.05)
    with pytest.raises(NavaiTimeoutError) as caught:
        client.execute_function("f")
    assert not caught.value.may_have_executed
    found.set()
    client.close()


def test_a_name_of_another_alphabet_is_looked_up_as_httpx_does(
    kind: str, names: dict[str, list[tuple[str, int]]]
) -> None:
    with FaultServer(good) as server:
        names["xn--bcher-kva.test"] = [("127.0.0.1", server.port)]
        with fast(kind, "http://bücher.test/ä") as client:
            assert client.execute_function("f") == "done"
        path, head, _ = server.arrived[0]
    assert path == "/%C3%A4/navai/functions/execute"
    assert b"\r\nHost: xn--bcher-kva.test\r\n" in head


def test_the_head_of_a_request_is_what_the_default_transport_sends(kind: str) -> None:
    heads = []
    with FaultServer(good) as server:
        for through in ("default", "fast"):
            options = {"headers": {"X-Own": "a; b", "Host": "gateway.test"}, "max_retries": 0}
            with make_client(kind, through=through, base_url=server.url, **options) as client:
                client.execute_function("f", {"a": 1}, idempotency_key="k")
                client.list_functions()
        heads = [head for _, head, _ in server.arrived]
    lines = [sorted(line.lower() for line in head.split(b"\r\n")) for head in heads]
    assert lines[:2] == lines[2:]


def test_an_answer_that_comes_before_the_request_was_taken_is_read(kind: str) -> None:
    def refuses(peer: Peer) -> None:
        peer._connection.recv(1000)
        peer.send(answer('{"error": "too large"}', "Connection: close", status="413 Too Large"))
        while peer._connection.recv(65536):
            pass

    with (
        FaultServer(refuses) as server,
        fast(kind, server.url, timeout=20) as client,
        pytest.raises(NavaiHTTPError) as caught,
    ):
        client.execute_function("f", "x" * 8 * 2**20)
    assert caught.value.status_code == 413


class Refuses:
    """Stands for a socket whose peer takes nothing more."""

    def __init__(self, said: list[bytes]) -> None:
        self.said = said

    def fileno(self) -> int:
        return 0

    def settimeout(self, timeout: float | None) -> None: ...

    def sendall(self, data: bytes) -> None:
        raise BrokenPipeError("broken pipe")

    def recv(self, size: int) -> bytes:
        if not self.said:
            raise ConnectionResetError("reset")
        return self.said.pop(0)


def connected(peer: Refuses) -> Any:
    """Return a connection that stands, to *peer*."""
    connection = _fast_sync.SyncConnection(Origin("http", "backend.test", 80), TLS(verify=True), Encoder())
    connection._socket = peer  # type: ignore[assignment]
    return connection


REQUEST = Request(Endpoint("GET", "http://backend.test/"))


def test_what_a_peer_said_before_it_took_nothing_more_is_read() -> None:
    refusal = answer("{}", status="413 Too Large")
    asked = connected(Refuses([refusal])).send(REQUEST, call())
    assert not isinstance(asked, TransportFailure)
    assert asked.status == 413


def test_a_peer_that_took_nothing_more_and_said_nothing_broke_the_pipe() -> None:
    outcome = connected(Refuses([])).send(REQUEST, call())
    assert isinstance(outcome, TransportFailure)
    assert outcome.message == "BrokenPipeError: broken pipe"
    assert outcome.sent


def test_a_call_whose_caller_has_left_is_not_sent() -> None:
    with FaultServer(good) as server:
        left = call()
        left.abandon()
        transport = FastTransport()
        request = Request(Endpoint("POST", f"{server.url}/navai/functions/execute"), (), b"{}")
        outcome = transport.send(request, left)
        transport.close()
        assert isinstance(outcome, TransportFailure)
        assert not outcome.sent
        assert not server.arrived


class Stop(BaseException):
    """Stands for KeyboardInterrupt."""


@pytest.mark.parametrize("where", ["connect", "setsockopt", "recv"])
def test_an_interrupted_call_leaves_no_connection_behind(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []

    class Interrupted(socket.socket):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            made.append(self)

    def interrupted(*args: Any) -> None:
        raise Stop

    setattr(Interrupted, where, interrupted)
    with FaultServer(good) as server, fast("sync", server.url) as client:
        with monkeypatch.context() as patch:
            patch.setattr(_network, "socket", SimpleNamespace(**{**vars(socket), "socket": Interrupted}))
            with pytest.raises(Stop):
                client.execute_function("f")
        assert [connection.fileno() for connection in made] == [-1]
        assert not waiting(client.real._transport)
        assert client.execute_function("f") == "done"


def test_a_call_that_is_cancelled_amid_a_handshake_is_taken_back() -> None:
    arrived, gone = threading.Event(), threading.Event()

    def never_shakes_hands(peer: Peer) -> None:
        peer._receive()
        arrived.set()
        peer.silence()
        gone.set()

    async def main(url: str) -> None:
        async with AsyncNavaiBackendClient(url, transport=AsyncFastTransport(verify=False)) as client:
            caller = asyncio.create_task(client.execute_function("f"))
            await asyncio.to_thread(arrived.wait)
            caller.cancel()
            await asyncio.wait([caller])
        await asyncio.to_thread(gone.wait)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with FaultServer(never_shakes_hands) as server:
        asyncio.run(main(server.url.replace("http:", "https:")))


def test_a_call_that_outlasts_the_grace_of_close_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    arrived, gone = threading.Event(), threading.Event()

    def never(peer: Peer) -> None:
        peer.request()
        arrived.set()
        peer.silence()
        gone.set()

    async def main(url: str) -> None:
        async with AsyncNavaiBackendClient(url, transport=AsyncFastTransport(), timeout=None) as client:
            caller = asyncio.create_task(client.execute_function("f"))
            await asyncio.to_thread(arrived.wait)
            caller.cancel()
            await asyncio.wait([caller])
        await asyncio.to_thread(gone.wait)

    monkeypatch.setattr("navai_client.client._GRACE", 0.01)
    with FaultServer(never) as server:
        asyncio.run(main(server.url))


def test_bytes_that_nobody_asked_for_end_an_idle_connection(kind: str) -> None:
    sent, may_send = threading.Event(), threading.Event()

    def talks(peer: Peer) -> None:
        peer.request()
        peer.send(answer(OK))
        may_send.wait()
        peer.send(answer('{"ok": true, "result": "a stranger\'s"}'))
        sent.set()
        good(peer)

    with FaultServer(talks) as server, fast(kind, server.url) as client:
        assert client.execute_function("f") == "done"
        may_send.set()
        sent.wait()
        if kind == "async":
            client.run(_until_nothing_waits(client.real._transport))
        assert client.execute_function("f") == "done"
        assert server.connections == 2


async def _until_nothing_waits(transport: Any) -> None:
    async with asyncio.timeout(5):
        while waiting(transport)[0].is_alive():  # noqa: ASYNC110 - a connection signals nothing
            await asyncio.sleep(0.001)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def encrypted(authority: trustme.CA) -> Iterator[FaultServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def treat(peer: Peer) -> None:
        with context.wrap_socket(peer._connection, server_side=True) as wrapped:
            peer._connection = wrapped
            peer._server._open.add(wrapped)
            good(peer)
            peer._server._open.discard(wrapped)

    with FaultServer(treat) as server:
        server.url = server.url.replace("http:", "https:")
        yield server


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_it_works_in_an_event_loop_of_uvloop(scheme: str, encrypted: FaultServer) -> None:
    async def main(url: str) -> list[Any]:
        async with AsyncNavaiBackendClient(url, transport=AsyncFastTransport(verify=False)) as client:
            return [await client.execute_function("f", number) for number in range(3)]

    with FaultServer(good) as plain, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        server = plain if scheme == "http" else encrypted
        assert runner.run(main(server.url)) == ["done"] * 3
        assert server.connections == 1


@pytest.mark.parametrize("size", [100_000, 1_000_000])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_connections_are_used_again_after_large_answers(
    kind: str, scheme: str, size: int, authority: trustme.CA, tmp_path: Path
) -> None:
    certificate = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def treat(peer: Peer) -> None:
        if scheme == "https":
            peer._connection = context.wrap_socket(peer._connection, server_side=True)
        with peer._connection:
            while peer.request() is not None:
                peer.send(answer('{"ok": true, "result": "%s"}' % ("x" * size)))

    with FaultServer(treat) as server:
        url = server.url.replace("http:", f"{scheme}:")
        with fast(kind, url, verify=str(certificate)) as client:
            for _ in range(5):
                assert client.execute_function("f") == "x" * size
        assert server.connections == 1


@pytest.mark.parametrize(
    ("variables", "spared"),
    [
        ({"HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": "other.test, 127.0.0.1"}, True),
        ({"HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": "*"}, True),
        ({"HTTPS_PROXY": "http://127.0.0.1:1"}, True),
        ({"ALL_PROXY": "http://127.0.0.1:1"}, False),
        ({"HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": "backend.test"}, False),
    ],
)
def test_proxies_of_the_environment_are_used_only_for_what_they_are_for(
    kind: str, variables: dict[str, str], spared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
        if name in variables:
            monkeypatch.setenv(name, variables[name])
    with FaultServer(good) as server, fast(kind, server.url) as client:
        if spared:
            assert client.execute_function("f") == "done"
        else:
            with pytest.raises(NavaiTransportError):
                client.execute_function("f")
        assert server.count("execute") == spared


def test_no_module_of_httpcore_is_on_the_way(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultServer(good) as server, fast(kind, server.url) as client:

        def never(*args: Any, **options: Any) -> Any:
            raise AssertionError

        for connection in (httpcore.HTTPConnection, httpcore.AsyncHTTPConnection):
            monkeypatch.setattr(connection, "__init__", never)
        assert client.execute_function("f") == "done"
