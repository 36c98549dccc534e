"""LiveServer: the real server on a port, with the record, the assertions and the script of FakeBackend."""

import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from navai_client import (
    NavaiBackendClient,
    NavaiConfigError,
    NavaiHTTPError,
    NavaiTimeoutError,
    NavaiTransportError,
)
from navai_client.testing import LiveServer
from tests.clients import make_client
from tests.waiting import SHORT_S


@pytest.fixture
def server() -> Iterator[LiveServer]:
    with LiveServer(max_body_bytes=1000) as server:

        @server.function
        def double(n: int) -> int:
            return 2 * n

        yield server


@pytest.fixture
def client(server: LiveServer) -> Iterator[NavaiBackendClient]:
    with NavaiBackendClient(server.url) as client:
        yield client


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_functions_of_the_test_run_behind_real_sockets(kind: str, server: LiveServer) -> None:
    client = make_client(kind, base_url=server.url)
    try:
        assert client.execute_function("double", {"n": 21}) == 42
        assert client.create_client_secret().value.startswith("ek_demo_")
        assert [each.name for each in client.list_functions()] == ["double"]
    finally:
        client.close()

    server.assert_called_once_with("double", {"n": 21})
    assert [request.status for request in server.requests] == [200, 200, 200]


def test_responses_are_those_of_the_server(server: LiveServer, caplog: pytest.LogCaptureFixture) -> None:
    with httpx.Client(base_url=server.url) as client:
        answer = client.get("/navai/functions", headers={"X-Request-ID": "r-1", "Origin": "http://localhost"})
        assert answer.headers["x-request-id"] == "r-1"
        assert answer.headers["access-control-allow-origin"] == "http://localhost"
        assert (
            client.get("/navai/functions", headers={"If-None-Match": answer.headers["etag"]}).status_code
            == 304
        )
        assert client.head("/navai/functions").status_code == 200
        assert client.post("/navai/functions/execute", content=iter([b"x" * 300] * 2)).status_code == 415
        too_long = {"content": b"x" * 2000, "headers": {"content-type": "application/json"}}
        assert client.post("/navai/functions/execute", **too_long).status_code == 413  # type: ignore[arg-type]

    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def test_scripted_failures_reach_the_client(server: LiveServer, client: NavaiBackendClient) -> None:
    server.fail_next(retry_after=0)
    server.fail_next(400, error="No.")
    server.answer_next(json={"ok": True, "result": "own"})
    server.drop_next(before="executing")
    server.drop_next(before="answering")
    server.delay_next(3600)

    with pytest.raises(NavaiHTTPError, match=r"No\."):
        client.execute_function("double", {"n": 1})
    assert client.execute_function("double", {"n": 2}) == "own"
    for _ in range(2):
        with pytest.raises(NavaiTransportError) as caught:
            client.execute_function("double", {"n": 3})
        assert caught.value.may_have_executed
    with pytest.raises(NavaiTimeoutError):
        client.execute_function("double", {"n": 4}, timeout=SHORT_S)

    server.assert_failures_used()
    assert [call.outcome for call in server.calls] == [
        "503 (scripted), then 400 (scripted)",
        "200 (scripted)",
        "connection dropped before executing (scripted)",
        "connection dropped before answering (scripted)",
        "no response",
    ]


def test_what_a_server_cannot_do_is_refused(server: LiveServer) -> None:
    with pytest.raises(
        NavaiConfigError, match="cannot refuse one request before it is sent; FakeBackend can"
    ):
        server.drop_next(before="sending")


def test_a_closed_server_is_gone_though_a_function_hangs() -> None:
    release = threading.Event()
    with LiveServer() as server, NavaiBackendClient(server.url, max_retries=0) as client:

        @server.function
        def hang() -> None:
            release.wait()

        with pytest.raises(NavaiTimeoutError):
            client.execute_function("hang", timeout=0.1)
        server.close()
        release.set()
        client.list_functions()  # notices that its connection is gone
        with pytest.raises(NavaiTransportError) as caught:
            client.execute_function("hang")
        assert not caught.value.may_have_executed


def test_a_client_that_disconnects_during_its_request_affects_no_other(
    server: LiveServer, client: NavaiBackendClient
) -> None:
    address = (urlsplit(server.url).hostname, urlsplit(server.url).port)
    with socket.create_connection(address) as leaving:
        leaving.sendall(b"POST /navai/functions/execute HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")

    assert client.execute_function("double", {"n": 21}) == 42
    assert len(server.requests) == 1
