"""A toolset on upstream's WordPress plugin: what a model is told."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from navai_client import AsyncNavaiBackendClient
from navai_client.integrations.toolset import Toolset
from tests.wordpress import PASSWORD, Plugin, Site, serving_site

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def served() -> Iterator[Site]:
    with serving_site() as site:
        yield site


@pytest.fixture
async def toolset(served: Site) -> AsyncIterator[Toolset]:
    served.plugin = Plugin()
    options: dict[str, Any] = {"user": "admin", "application_password": PASSWORD, "env": {}}
    async with (
        AsyncNavaiBackendClient.for_wordpress(served.url, **options) as client,
        Toolset.load(client) as toolset,
    ):
        yield toolset


async def test_each_function_has_a_tool_with_its_schema_and_its_time(toolset: Toolset) -> None:
    tools = {tool.name: tool for tool in toolset.tools}
    assert toolset.warnings == ()
    assert tools["get_weather"].parameters["required"] == ["city"]
    assert tools["nothing"].parameters == {"type": "object", "properties": {}}
    assert (tools["get_weather"].timeout, tools["echo"].timeout) == (45, 20)


async def test_the_time_that_a_user_gives_takes_precedence(served: Site) -> None:
    options: dict[str, Any] = {"user": "admin", "application_password": PASSWORD, "env": {}}
    async with (
        AsyncNavaiBackendClient.for_wordpress(served.url, **options) as client,
        Toolset.load(client, timeouts={"get_weather": 3}) as toolset,
    ):
        assert {tool.name: tool.timeout for tool in toolset.tools}["get_weather"] == 3


async def test_a_model_learns_what_is_wrong_with_its_arguments(toolset: Toolset) -> None:
    outcome = await toolset.call("get_weather", {"args": ["Oslo"]})
    assert outcome.error == "Invalid arguments: $.city is required. $.args is not allowed."
    assert (outcome.error_type, outcome.may_have_executed) == ("invalid_arguments", False)
