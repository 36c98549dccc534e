"""FakeBackend: both clients against the server's core, in memory."""

import asyncio

import pytest

from navai_client import AsyncNavaiBackendClient, FunctionFailedError, NavaiBackendClient, NavaiTimeoutError
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
