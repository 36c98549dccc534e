"""What a function declares of itself travels from the decorator to the tools of an agent."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from navai_client import AsyncNavaiBackendClient, NavaiConfigError
from navai_client.integrations.toolset import Toolset
from navai_client.server import NavaiBackend, function
from tests.integrations.live_backend import LiveBackend, live_backend
from tests.integrations.loop import in_a_loop


def nothing() -> str:
    """Do nothing."""
    return "done"


DECLARED: dict[str, dict[str, Any]] = {
    "look": {"effect": "read", "typical_seconds": 12, "say_while_waiting": "I am looking."},
    "book": {"effect": "write", "timeout": 45},
    "erase": {"effect": "dangerous"},
    "pay": {"effect": "dangerous", "approval": True},
    "plain": {"timeout": 0},
}


@asynccontextmanager
async def served(**options: Any) -> AsyncIterator[tuple[LiveBackend, Toolset]]:
    async with live_backend() as live:
        for name, declared in DECLARED.items():
            live.backend.function(nothing, name=name, **declared)
        async with (
            AsyncNavaiBackendClient(live.url, env={}) as client,
            Toolset.load(client, only=DECLARED, **options) as toolset,
        ):
            yield live, toolset


@in_a_loop
async def test_the_list_says_what_was_declared_and_nothing_else() -> None:
    async with served() as (live, _), httpx.AsyncClient(base_url=live.url, trust_env=False) as http:
        items = (await http.get("/navai/functions")).json()["items"]
    assert {each["name"]: each.get("metadata") for each in items if each["name"] in DECLARED} == {
        "look": {"effect": "read", "typical_seconds": 12, "say_while_waiting": "I am looking."},
        "book": {"effect": "write", "timeout_seconds": 45},
        "erase": {"effect": "dangerous"},
        "pay": {"effect": "dangerous", "requires_approval": True},
        "plain": None,
    }


@in_a_loop
async def test_the_client_and_the_tools_have_it() -> None:
    async with served() as (live, toolset), AsyncNavaiBackendClient(live.url, env={}) as client:
        look = (await client.list_functions())["look"]
        tools = {tool.name: tool for tool in toolset.tools}
    assert (look.effect, look.typical_seconds, look.say_while_waiting) == ("read", 12, "I am looking.")
    tool = tools["look"]
    assert (tool.effect, tool.typical_seconds, tool.say_while_waiting) == ("read", 12, "I am looking.")
    assert {name: each.read_only for name, each in tools.items()} == {name: name == "look" for name in tools}
    assert [tools["book"].timeout, tools["plain"].timeout] == [45, 20]


@in_a_loop
async def test_a_dangerous_call_asks_the_person_unless_one_is_asked_at_the_backend() -> None:
    asked: list[str] = []

    def approve(call: Any) -> bool:
        asked.append(call.function_name)
        return False

    async with served(direct_tools=False) as (_, toolset):
        tools = {tool.name: tool.approval for tool in toolset.tools}
        refused = await toolset.call("erase", approve=approve)
        nobody = await toolset.call("erase")
        waits = await toolset.call("pay", approve=approve)
        done = await toolset.call("book", approve=approve)
    assert tools == {"execute_app_function": False, "erase": True}
    assert asked == ["erase"]
    assert (refused.error_type, nobody.error_type, waits.pending, done.ok) == (
        "refused",
        "refused",
        True,
        True,
    )


@in_a_loop
async def test_options_override_it() -> None:
    options = {"read_only": ["erase"], "approval": ["look"], "timeouts": {"book": 3}}
    async with served(**options) as (_, toolset):
        tools = {tool.name: tool for tool in toolset.tools}
        unasked = await toolset.call("erase")
    assert (tools["erase"].effect, tools["erase"].approval, unasked.ok) == ("read", False, True)
    assert (tools["look"].effect, tools["look"].approval) == ("read", True)
    assert tools["book"].timeout == 3


@in_a_loop
async def test_local_functions_declare_the_same() -> None:
    @function(effect="dangerous", typical_seconds=0.5, say_while_waiting="Wait.")
    def wipe() -> None:
        """Wipe it."""

    async with served(functions=[wipe]) as (_, toolset):
        (tool,) = [tool for tool in toolset.tools if tool.name == "wipe"]
        outcome = await toolset.call("wipe")
    assert (tool.effect, tool.typical_seconds, tool.say_while_waiting) == ("dangerous", 0.5, "Wait.")
    assert tool.approval
    assert outcome.error_type == "refused"


class TestWhatIsSaidDuringALongCall:
    """It is said once for calls that run at the same time in one conversation."""

    @pytest.mark.parametrize(
        ("seconds", "slow_after"), [(None, 0.01), (1, 0.01), (61, 60)], ids=["late", "either", "at once"]
    )
    @in_a_loop
    async def test_it_is_what_the_function_declares(self, seconds: float | None, slow_after: float) -> None:
        said: asyncio.Queue[str] = asyncio.Queue()
        async with live_backend() as live, AsyncNavaiBackendClient(live.url, env={}) as client:
            live.backend.function(
                live.book_table, name="reserve", say_while_waiting="Wait.", typical_seconds=seconds
            )
            async with Toolset.load(client, slow_after=slow_after) as toolset:
                session = object()
                calls = [
                    asyncio.create_task(
                        toolset.call("reserve", {"name": name}, session=session, say=said.put)
                    )
                    for name in ("Ada", "Bea")
                ]
                assert await said.get() == "Wait."
                elsewhere = asyncio.create_task(
                    toolset.call("reserve", {"name": "Cy"}, session=object(), say=said.put)
                )
                assert await said.get() == "Wait."
                live.release.set()
                outcomes = await asyncio.gather(*calls, elsewhere)
        assert all(outcome.ok for outcome in outcomes)
        assert said.empty()

    @pytest.mark.parametrize(
        ("declared", "options"),
        [
            ({"say_while_waiting": "Wait."}, {"slow_after": 60}),
            ({"say_while_waiting": "Wait.", "typical_seconds": 9}, {"slow_after": None}),
            ({"typical_seconds": 9}, {"slow_after": 0.01}),
        ],
        ids=["quick", "never", "nothing declared"],
    )
    @in_a_loop
    async def test_else_nothing_is_said(self, declared: dict[str, Any], options: dict[str, Any]) -> None:
        said: list[str] = []
        async with live_backend() as live, AsyncNavaiBackendClient(live.url, env={}) as client:
            live.backend.function(live.book_table, name="reserve", **declared)
            slow = asyncio.Event()
            async with Toolset.load(client, slow=lambda _: slow.set(), **options) as toolset:
                call = asyncio.create_task(toolset.call("reserve", {"name": "Ada"}, say=said.append))
                await live.waiting.wait()
                if options["slow_after"] == 0.01:
                    await slow.wait()
                live.release.set()
                assert (await call).ok
        assert said == []


@pytest.mark.parametrize("declare", [function, NavaiBackend(env={}, discover=False).function])
@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"effect": "harmless"}, r"effect must be one of read, write, dangerous\. Received: 'harmless'"),
        ({"effect": ["read"]}, "effect must be one of"),
        ({"typical_seconds": 0}, r"typical_seconds must be a positive number\. Received: 0"),
        ({"typical_seconds": float("inf")}, "typical_seconds must be a positive number"),
        ({"typical_seconds": True}, "typical_seconds must be a positive number"),
        ({"say_while_waiting": " "}, "say_while_waiting must be a text"),
        ({"say_while_waiting": 5}, "say_while_waiting must be a text"),
    ],
    ids=str,
)
def test_what_means_nothing_is_refused(
    declare: Callable[..., Any], said: dict[str, Any], message: str
) -> None:
    with pytest.raises(NavaiConfigError, match=message):
        declare(**said)(nothing)
