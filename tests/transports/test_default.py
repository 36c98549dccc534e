"""The default transports where they differ from the fast ones: they send through httpx and httpcore."""

import asyncio
import socket
import subprocess
import sys
from typing import Any
from unittest import mock

import httpcore
import httpx
import pytest

from navai_client import NavaiBackendClient
from navai_client.transports import Call, _default
from tests.clients import make_client
from tests.faults.server import FaultServer
from tests.transports.conftest import waiting
from tests.waiting import PATIENCE_S

FAST: dict[str, Any] = {"timeout": PATIENCE_S, "max_retries": 0}


class Stop(BaseException):
    """A stand-in for KeyboardInterrupt."""


def test_an_interrupted_call_leaves_no_connection_behind(
    backend: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted:
        def __init__(self, real: socket.socket) -> None:
            self.real = real

        def recv(self, size: int) -> bytes:
            raise Stop

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

    with NavaiBackendClient(backend.url, **FAST) as client:
        client.execute_function("f", 1)
        transport: Any = client._transport
        stream = waiting(transport)[0]._network.stream
        stream._connection.socket = Interrupted(stream._socket)
        with pytest.raises(Stop):
            client.execute_function("f", 2)
        assert not waiting(transport)
        assert stream._socket.fileno() == -1
        assert client.execute_function("f", 3) == 3
        assert backend.connections == 2
        assert transport._slots.qsize() == 100


def test_httpx_sends_through_the_pool_that_is_set_on_its_transport(kind: str) -> None:
    """The one private name of httpx that is used. If this fails, httpx has changed it."""
    sent: list[httpcore.Request] = []

    class Pool:
        def handle_request(self, request: httpcore.Request) -> httpcore.Response:
            sent.append(request)
            return httpcore.Response(204)

        async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
            return self.handle_request(request)

    request = httpx.Request("GET", "http://backend.test/path")
    if kind == "sync":
        response = _default._HTTPTransport(Pool()).handle_request(request)
    else:
        response = asyncio.run(_default._AsyncHTTPTransport(Pool()).handle_async_request(request))
    assert response.status_code == 204
    assert [bytes(each.url) for each in sent] == [b"http://backend.test/path"]


LOADS_NOTHING = """
import asyncio, sys
from navai_client import AsyncNavaiBackendClient

async def main():
    client = AsyncNavaiBackendClient(sys.argv[1]) if inside else given
    loaded = set(sys.modules)
    assert await client.execute_function("f", 1) == 1
    await client.close()
    print([name for name in set(sys.modules) - loaded if not name.startswith("encodings.")])

inside = sys.argv[2] == "inside"
given = None if inside else AsyncNavaiBackendClient(sys.argv[1])
asyncio.run(main())
"""


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_the_first_async_call_loads_no_module(where: str, backend: FaultServer) -> None:
    """Loading modules blocks the event loop: for 30 to 53 ms in release 0.1.0."""
    command = [sys.executable, "-c", LOADS_NOTHING, backend.url, where]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stdout == "[]\n", run.stderr


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_stream_describes_its_connection_as_those_of_httpcore_do(
    kind: str, scheme: str, backend: FaultServer, encrypted: FaultServer
) -> None:
    """Instrumentation of httpx reads these from the response's ``network_stream``."""
    server = backend if scheme == "http" else encrypted
    with make_client(kind, base_url=server.url, verify=False, **FAST) as client:
        client.execute_function("f")
        stream = waiting(client.real._transport)[0]._network.stream
        assert stream.get_extra_info("server_addr") == ("127.0.0.1", server.port)
        assert stream.get_extra_info("client_addr")[0] == "127.0.0.1"
        assert stream.get_extra_info("socket").fileno() >= 0
        assert (stream.get_extra_info("ssl_object") is not None) is (scheme == "https")
        assert stream.get_extra_info("is_readable") is False
        assert stream.get_extra_info("unknown") is None


def test_reading_pauses_when_a_response_comes_faster_than_it_is_used(backend: FaultServer) -> None:
    async def main() -> None:
        network = _default._AsyncNetwork()
        network.begin(Call(timeout=PATIENCE_S, max_response_bytes=100))
        stream = await network.connect_tcp("127.0.0.1", backend.port)
        assert isinstance(stream, _default._AsyncStream)
        paused = []
        transport = stream._transport
        assert transport is not None
        stream._transport = mock.Mock(wraps=transport, pause_reading=lambda: paused.append(True))
        for _ in range(5):
            stream.data_received(b"x" * 100_000)
        assert paused
        network.call.sent = True
        assert len(await stream.read(10**6)) == 499_999
        assert stream._transport.resume_reading.called
        assert await stream.read(10**6) == b"x"
        transport.abort()
        await stream.closed
        stream._error = ConnectionResetError("reset")
        with pytest.raises(httpcore.ReadError):
            await stream.read(1)
        await stream.write(b"")
        await stream.write(b"nobody takes this")
        assert stream.get_extra_info("socket") is None

    asyncio.run(main())
