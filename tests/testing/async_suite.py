"""Asynchronous tests with the plugin's fixtures, to be run by several plugins.

test_plugin.py runs them with anyio's, .ci/run with pytest-asyncio: that one is not a development dependency,
because it would be active in every test run that our tests start.
"""

import asyncio

import pytest

from navai_client import AsyncNavaiBackendClient, FunctionList, NavaiBackendClient
from navai_client.testing import FakeBackend


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def listed(async_navai_client: AsyncNavaiBackendClient) -> FunctionList:
    return await async_navai_client.list_functions()


@pytest.fixture
def begun(navai_backend: FakeBackend) -> asyncio.Event:
    """Set when the function ``hang`` has begun, which never ends."""
    begun = asyncio.Event()

    @navai_backend.function
    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    return begun


async def test_the_client_belongs_to_the_loop_of_the_test(
    navai_backend: FakeBackend, async_navai_client: AsyncNavaiBackendClient, listed: FunctionList
) -> None:
    begun, let = asyncio.Event(), asyncio.Event()

    @navai_backend.function
    async def wait() -> str:
        begun.set()
        await let.wait()
        return "done"

    call = asyncio.create_task(async_navai_client.execute_function("wait"))
    await begun.wait()
    let.set()
    assert await call == "done"
    assert listed.warnings == ()


async def test_a_call_may_be_abandoned(
    async_navai_client: AsyncNavaiBackendClient, begun: asyncio.Event
) -> None:
    call = asyncio.create_task(async_navai_client.execute_function("hang"))
    await begun.wait()
    call.cancel()


async def test_a_call_may_be_under_way_at_the_end(
    async_navai_client: AsyncNavaiBackendClient, begun: asyncio.Event
) -> None:
    asyncio.create_task(async_navai_client.execute_function("hang"))  # noqa: RUF006 - this is the point
    await begun.wait()


async def test_the_client_may_be_closed_by_the_test(async_navai_client: AsyncNavaiBackendClient) -> None:
    async with async_navai_client:
        await async_navai_client.list_functions()


async def test_the_sync_client_works_beside_it(
    navai_client: NavaiBackendClient, async_navai_client: AsyncNavaiBackendClient
) -> None:
    assert navai_client.list_functions() == await async_navai_client.list_functions()
