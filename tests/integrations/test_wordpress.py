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


async def test_a_call_that_waits_for_approval_is_not_asked_for(served: Site) -> None:
    served.plugin = Plugin()
    options: dict[str, Any] = {"user": "admin", "application_password": PASSWORD, "env": {}}
    async with (
        AsyncNavaiBackendClient.for_wordpress(served.url, **options) as client,
        Toolset.load(client, decided=lambda *_: None) as toolset,
    ):
        outcome = await toolset.call("order", {"city": "Oslo"})
    assert outcome.error == (
        "The call waits for the approval of a person. It was not executed. Do not repeat it. "
        "What comes of it is not known here."
    )
    assert (outcome.pending, outcome.approval_id, outcome.decision_follows) == (True, "1", False)
    assert served.plugin.approvals == ["order"]


async def test_code_for_a_browser_did_not_run(toolset: Toolset) -> None:
    outcome = await toolset.call("open_cart", {})
    assert not outcome.ok
    assert "alert" not in outcome.to_json(include_details=True)
