"""A test's own httpx and httpx2 code, without our clients, reaches a FakeBackend through its handlers."""

import asyncio
import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest
from pytest_httpx import HTTPXMock

from navai_client import AsyncNavaiBackendClient, NavaiBackendClient, NavaiStateError
from navai_client.testing import FakeBackend
from tests.waiting import SHORT_S

EXECUTE = "https://navai.test/navai/functions/execute"
CALL = {"function_name": "double", "payload": {"n": 21}}

both_libraries = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])


@pytest.fixture
def backend() -> Iterator[FakeBackend]:
    with FakeBackend() as backend:

        @backend.function
        async def double(n: int) -> int:
            return 2 * n

        yield backend


def sync_client(library: ModuleType, backend: FakeBackend) -> Any:
    return library.Client(transport=library.MockTransport(backend.handle))


def async_client(library: ModuleType, backend: FakeBackend) -> Any:
    return library.AsyncClient(transport=library.MockTransport(backend.handle_async))


@both_libraries
def test_a_sync_client_of_the_library_gets_a_response(library: ModuleType, backend: FakeBackend) -> None:
    with sync_client(library, backend) as client:
        answer = client.post(EXECUTE, json=CALL)
        assert answer.json()["result"] == 42
        assert isinstance(answer, library.Response)
        assert client.head("https://navai.test/navai/functions").content == b""
        assert client.get("https://navai.test/nowhere").status_code == 404

    backend.assert_called_once_with("double", {"n": 21})
    assert [request.operation for request in backend.requests] == ["execute_function", "list_functions", None]
    assert backend.requests[2].summary() == "GET /nowhere -> 404"


@both_libraries
def test_an_async_client_of_the_library_gets_a_response(library: ModuleType, backend: FakeBackend) -> None:
    async def body() -> Any:
        yield json.dumps(CALL).encode()

    async def scenario() -> None:
        async with async_client(library, backend) as client:
            answer = await client.post(EXECUTE, content=body(), headers={"content-type": "application/json"})
            assert answer.json()["result"] == 42

    asyncio.run(scenario())
    backend.assert_called_once_with("double", {"n": 21})


@both_libraries
def test_scripted_failures_raise_the_errors_of_the_library(library: ModuleType, backend: FakeBackend) -> None:
    backend.drop_next(before="sending")
    backend.drop_next(before="answering")
    backend.delay_next(3600)
    backend.fail_next(429, retry_after="Wed, 21 Oct 2026 07:28:00 GMT")

    with sync_client(library, backend) as client:
        with pytest.raises(library.ConnectError) as caught:
            client.post(EXECUTE, json=CALL)
        assert str(caught.value.request.url) == EXECUTE
        with pytest.raises(library.RemoteProtocolError):
            client.post(EXECUTE, json=CALL)
        with pytest.raises(library.ReadTimeout):
            client.post(EXECUTE, json=CALL, timeout=SHORT_S)
        answer = client.post(EXECUTE, json=CALL)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "Wed, 21 Oct 2026 07:28:00 GMT")


@both_libraries
def test_the_timeout_of_an_async_client_is_kept(library: ModuleType, backend: FakeBackend) -> None:
    backend.delay_next(3600)

    async def scenario() -> None:
        async with async_client(library, backend) as client:
            with pytest.raises(library.ReadTimeout):
                await client.post(EXECUTE, json=CALL, timeout=SHORT_S)
            assert (await client.post(EXECUTE, json=CALL, timeout=None)).json()["result"] == 42

    asyncio.run(scenario())


def test_a_request_without_a_timeout_waits_for_its_response(backend: FakeBackend) -> None:
    answer = backend.handle(httpx.Request("POST", EXECUTE, json=CALL))

    assert answer.json()["result"] == 42


def test_without_asyncio_the_async_handler_says_what_to_do(backend: FakeBackend) -> None:
    handling = backend.handle_async(httpx.Request("POST", EXECUTE, json=CALL))

    with pytest.raises(NavaiStateError, match="needs a running asyncio event loop"):
        handling.send(None)


def test_pytest_httpx_hands_over_requests_of_both_clients(
    backend: FakeBackend, httpx_mock: HTTPXMock
) -> None:
    httpx_mock.add_callback(backend.handle, url=EXECUTE)
    httpx_mock.add_callback(backend.handle_async, url=EXECUTE)

    async def scenario() -> None:
        async with AsyncNavaiBackendClient("https://navai.test") as client:
            assert await client.execute_function("double", {"n": 2}) == 4

    with NavaiBackendClient("https://navai.test") as client:
        assert client.execute_function("double", {"n": 1}) == 2
    asyncio.run(scenario())

    assert [call.payload for call in backend.calls] == [{"n": 1}, {"n": 2}]
