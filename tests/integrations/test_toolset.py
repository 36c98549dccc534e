"""The tools of an agent: what is offered, and what comes of calling it."""

import json
from typing import Any

import pytest

from navai_client import AsyncNavaiBackendClient, NavaiBackendClient
from navai_client.integrations.routes import NavaiRoute
from navai_client.integrations.toolset import Toolset
from navai_client.testing.fake_backend import FakeBackend
from tests.integrations.loop import in_a_loop

ROUTES = [NavaiRoute(name="Café", path="/cafe", synonyms=["bar"])]


def backend_with_functions() -> FakeBackend:
    backend = FakeBackend()

    @backend.function
    def get_weather(location: str, unit: str = "celsius") -> dict[str, Any]:
        """Get the weather."""
        return {"location": location, "unit": unit}

    @backend.function
    def fails() -> None:
        """Fail."""
        raise ValueError("the database is away")

    return backend


def local_time(zone: str = "utc") -> str:
    """Tell the time.

    Args:
        zone: The time zone.
    """
    return f"noon in {zone}"


def client_of(kind: str, backend: FakeBackend) -> Any:
    if kind == "sync":
        return NavaiBackendClient("https://navai.test", transport=backend.transport)
    return AsyncNavaiBackendClient("https://navai.test", transport=backend.async_transport)


@pytest.mark.parametrize("kind", ["sync", "async"])
@in_a_loop
async def test_a_backends_functions_are_tools_of_either_client(kind: str) -> None:
    went: list[str] = []
    with backend_with_functions() as backend:
        client = client_of(kind, backend)
        options: Any = {"functions": [local_time], "routes": ROUTES, "navigate": went.append}
        async with await Toolset.load(client, **options) as toolset:
            assert [tool.name for tool in toolset.tools] == [
                "navigate_to",
                "execute_app_function",
                "local_time",
                "get_weather",
                "fails",
            ]
            assert toolset.warnings == ()
            outcome = await toolset.call("get_weather", '{"location": "Bogotá"}')
            assert json.loads(outcome.to_json()) == {
                "ok": True,
                "function_name": "get_weather",
                "source": toolset.tools[3].source,
                "result": {"location": "Bogotá", "unit": "celsius"},
            }
            failed = await toolset.call("fails")
            assert failed.as_dict() == {
                "ok": False,
                "function_name": "fails",
                "error": "Function execution failed.",
            }
            assert failed.details == "the database is away"
            assert (await toolset.call("local_time", {"zone": "cet"})).result == "noon in cet"
            gone = await toolset.call("navigate_to", {"target": "open the CAFÉ"})
            assert (gone.as_dict(), went) == ({"ok": True, "path": "/cafe"}, ["/cafe"])
        if kind == "sync":
            client.close()
        else:
            await client.close()
