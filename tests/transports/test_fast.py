"""The fast transports where they differ from the default ones: options, sending, proxies."""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpcore
import pytest

from navai_client import (
    NavaiConfigError,
    NavaiTransportError,
)
from navai_client.transports import Call, _connecting, _fast_async, _fast_sync, _network
from navai_client.transports._connecting import Origin
from navai_client.transports._fast_parser import Encoder
from navai_client.transports._tls import TLS
from navai_client.transports.fast import AsyncFastTransport, FastTransport
from navai_client.wire._values import Endpoint, Request, TransportFailure
from tests.clients import Client, make_client
from tests.faults.server import OK, FaultServer, Peer, answer
from tests.transports.conftest import waiting
from tests.waiting import PATIENCE_S

SOON: dict[str, Any] = {"timeout": PATIENCE_S, "max_retries": 0}


def fast(kind: str, url: str, **options: Any) -> Client:
    return make_client(kind, through="fast", base_url=url, **{**SOON, **options})


def good(peer: Peer) -> None:
    while peer.request() is not None:
        peer.send(answer(OK))


def call(timeout: float | None = PATIENCE_S) -> Call:
    return Call(timeout=timeout, max_response_bytes=1000)


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
            own = {"X-Own": "a; b", "Host": "gateway.test", "X-Request-ID": "r-1"}
            options = {"headers": own, "max_retries": 0}
            with make_client(kind, through=through, base_url=server.url, **options) as client:
                client.execute_function("f", {"a": 1}, idempotency_key="k")
                client.list_functions()
        heads = [head for _, head, _ in server.arrived]
    lines = [sorted(line.lower() for line in head.split(b"\r\n")) for head in heads]
    assert lines[:2] == lines[2:]


class Refuses:
    """A socket whose peer has stopped reading."""

    def __init__(self, said: list[bytes]) -> None:
        self.said = said
        self._ended, other = socket.socketpair()  # so that something can be read
        other.close()

    def close(self) -> None:
        self._ended.close()

    def fileno(self) -> int:
        return self._ended.fileno()

    def send(self, data: bytes) -> int:
        raise BrokenPipeError("broken pipe")

    def recv(self, size: int) -> bytes:
        if not self.said:
            raise ConnectionResetError("reset")
        return self.said.pop(0)


@contextlib.contextmanager
def connected(peer: Refuses) -> Iterator[Any]:
    """Return an established connection to *peer*."""
    connection = _fast_sync.SyncConnection(Origin("http", "backend.test", 80), TLS(verify=True), Encoder())
    connection._connection = _network.SyncConnection(peer)  # type: ignore[arg-type]
    with contextlib.closing(connection):
        yield connection


REQUEST = Request(Endpoint("GET", "http://backend.test/"))


def test_a_response_is_read_after_the_connection_broke_while_sending() -> None:
    refusal = answer("{}", status="413 Too Large")
    with connected(Refuses([refusal])) as connection:
        asked = connection.send(REQUEST, call())
    assert not isinstance(asked, TransportFailure)
    assert asked.status == 413


def test_without_a_response_the_error_of_sending_is_reported() -> None:
    with connected(Refuses([])) as connection:
        outcome = connection.send(REQUEST, call())
    assert isinstance(outcome, TransportFailure)
    assert outcome.message == "BrokenPipeError: broken pipe"
    assert outcome.sent


def test_an_abandoned_call_is_not_sent() -> None:
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
    """A stand-in for KeyboardInterrupt."""


@pytest.mark.parametrize("where", ["connect_ex", "setsockopt", "recv"])
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
            patch.setattr(_connecting, "socket", SimpleNamespace(**{**vars(socket), "socket": Interrupted}))
            with pytest.raises(Stop):
                client.execute_function("f")
        assert [connection.fileno() for connection in made] == [-1]
        assert not waiting(client.real._transport)
        assert client.execute_function("f") == "done"


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
def test_proxies_of_the_environment_are_used_for_their_scheme_alone(
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


def test_no_connection_of_httpcore_is_used(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultServer(good) as server, fast(kind, server.url) as client:

        def never(*args: Any, **options: Any) -> Any:
            raise AssertionError

        for connection in (httpcore.HTTPConnection, httpcore.AsyncHTTPConnection):
            monkeypatch.setattr(connection, "__init__", never)
        assert client.execute_function("f") == "done"


def test_a_connection_that_was_lost_before_a_request_has_sent_nothing() -> None:
    async def main(port: int) -> None:
        encode, tls = Encoder(), TLS(verify=True)
        connection = _fast_async.AsyncConnection(Origin("http", "127.0.0.1", port), tls, encode)
        assert not isinstance(await connection.send(REQUEST, call()), TransportFailure)
        connection.close()
        await connection.closed
        outcome = await connection.send(REQUEST, call())
        assert isinstance(outcome, TransportFailure)
        assert not outcome.sent

    with FaultServer(good) as server:
        asyncio.run(main(server.port))
