"""FakeBackend: both clients against the server's core, in memory."""

import asyncio

import pytest

from navai_client import (
    AsyncNavaiBackendClient,
    FunctionFailedError,
    NavaiBackendClient,
    NavaiHTTPError,
    NavaiTimeoutError,
)
from navai_client.testing.fake_backend import FakeBackend


def test_the_sync_client_runs_functions_in_memory() -> None:
    with FakeBackend() as backend, NavaiBackendClient(transport=backend.transport) as client:

        @backend.function
        def double(n: int) -> int:
            return 2 * n

        assert client.execute_function("double", {"n": 21}) == 42
        assert [each.name for each in client.list_functions().functions] == ["double"]
        assert client.create_client_secret().value.startswith("ek_demo_")
        with pytest.raises(FunctionFailedError, match="Missing argument"):
            client.execute_function("double")
        assert len(backend.requests) == 4


def test_the_async_client_runs_functions_in_memory() -> None:
    async def scenario() -> None:
        backend = FakeBackend()

        @backend.function
        async def hang() -> None:
            await asyncio.Event().wait()

        async with AsyncNavaiBackendClient(transport=backend.async_transport) as client:
            assert (await client.list_functions()).warnings == ()
            with pytest.raises(NavaiTimeoutError):
                await client.execute_function("hang", timeout=0.05)
        backend.close()

    asyncio.run(scenario())


def test_a_call_without_an_end_and_a_body_over_the_limit_are_as_over_a_socket() -> None:
    with (
        FakeBackend(max_body_bytes=100) as backend,
        NavaiBackendClient(transport=backend.transport) as client,
    ):

        @backend.function
        async def hang() -> None:
            await asyncio.Event().wait()

        with pytest.raises(NavaiTimeoutError) as late:
            client.execute_function("hang", timeout=0.05)
        assert late.value.may_have_executed
        with pytest.raises(NavaiHTTPError, match="larger than 100 bytes"):
            client.execute_function("hang", "x" * 200)


def test_a_path_that_is_not_there_is_404_in_memory_too() -> None:
    with (
        FakeBackend() as backend,
        NavaiBackendClient(transport=backend.transport, functions_execute_path="/nope") as client,
        pytest.raises(NavaiHTTPError, match=r"Not found\."),
    ):
        client.execute_function("x")
