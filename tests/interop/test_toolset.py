"""The toolset and the realtime agent of the JavaScript package, made of the same functions and routes.

This file lists what may differ: the line about food, which belongs to the JavaScript package's demonstration;
details of failures, which a model gets only on request; the source of local functions.
"""

import asyncio
from typing import Any

import pytest
from agents.realtime import RealtimeAgent
from hypothesis import HealthCheck, given, settings, strategies as st

from navai_client import BackendFunction, FunctionFailedError, FunctionList
from navai_client.integrations.openai_agents import Specialist, build_navai_agent
from navai_client.integrations.routes import NavaiRoute, resolve_navai_route, route_prompt_lines
from navai_client.integrations.toolset import Toolset
from tests.interop.node import Node, revived

FOOD = (
    "- Food recommendations, fast food, hamburgers, pizza, tacos, snacks, and meal suggestions belong to the "
    "food specialist."
)
ROUTES: list[dict[str, Any]] = [
    {"name": "Perfil", "path": "/profile", "description": "", "synonyms": ["mi cuenta", "Ñandú"]},
    {"name": "Configuración", "path": "/settings", "description": ""},
]
LISTED = [
    {"name": " Get_Weather ", "description": "Get the weather.", "source": "src/w.js#getWeather"},
    {"name": "GET_WEATHER"},
    {"name": "get_time", "description": "Ours."},
    {"name": "fails"},
    {"name": "navigate_to"},
    {"name": "execute_app_function"},
    {"name": "mañana"},
    {"name": "a" * 65},
    {"name": "a.b"},
    {"name": "\ufeff"},
    {"name": "İstanbul"},
    {"name": "ΣΑΣ"},
]
LOCAL = ["getTime", "get_time", "HTMLPage2You", "fail_here", "$", "echo"]


class Backend:
    """Executes functions like the backend of the driver."""

    async def list_functions(self) -> FunctionList:
        raise AssertionError

    async def execute_function(self, function_name: str, payload: Any = None, **_: Any) -> Any:
        if "fail" in function_name.lower():
            raise FunctionFailedError(f"{function_name} failed", function_name=function_name)
        return payload


def local(name: str) -> Any:
    def function(payload: Any = None) -> Any:
        if "fail" in name.lower():
            raise ValueError(f"{name} failed")
        return payload

    return function


def ours(listed: list[dict[str, Any]], **options: Any) -> Toolset:
    functions = FunctionList(functions=tuple(BackendFunction(**each) for each in listed))
    return Toolset(Backend(), functions, **options)  # type: ignore[arg-type]


def routes_of(given: list[dict[str, Any]]) -> list[NavaiRoute]:
    return [NavaiRoute(**each) for each in given]


def called(toolset: Toolset, uses: list[dict[str, Any]]) -> list[Any]:
    async def call() -> list[Any]:
        async with toolset:
            outcomes = [await toolset.call(use["tool"], use["arguments"]) for use in uses]
            return [outcome.as_dict(include_details=True) for outcome in outcomes]

    return asyncio.run(call())


def without_food(instructions: str) -> list[str]:
    lines = instructions.splitlines()
    lines.remove(FOOD)
    return lines


@pytest.mark.covers("agent.tools")
def test_names_warnings_and_prompt_lines_are_those_of_the_javascript_agent(node: Node) -> None:
    theirs = node.ask("toolset", listed=LISTED, local=LOCAL, routes=ROUTES)
    toolset = ours(
        LISTED,
        functions={name: local(name) for name in LOCAL},
        routes=routes_of(ROUTES),
        navigate=lambda _: None,
    )
    assert [tool.name for tool in toolset.tools] == theirs["tools"]
    assert list(toolset.warnings) == theirs["warnings"]
    assert toolset.instructions().splitlines() == without_food(theirs["instructions"])


def test_the_prompt_without_functions_has_no_rules_for_a_tool_that_is_not_there(node: Node) -> None:
    theirs = without_food(node.ask("toolset", listed=[])["instructions"])
    mine = ours([], navigate=lambda _: None).instructions().splitlines()
    action = "- If user asks to run an internal action that belongs to you, call the matching tool."
    assert [line for line in mine if line not in theirs] == [action]
    assert [line for line in theirs if line not in mine] == [
        line for line in theirs if "execute_app_function" in line or "constructorArgs" in line
    ]


def test_results_have_the_same_shape(node: Node) -> None:
    went: list[str] = []
    generic = "execute_app_function"
    # The JavaScript tools take {"payload": ...}; our tools take the payload itself.
    uses = [
        ("get_weather", {"city": "Bogotá"}),
        ("get_weather", None),
        ("fails", {"a": 1}),
        ("echo", {"args": ["a", 1]}),
        ("echo", {"value": 7}),
        ("echo", {"a": 1}),
        ("fail_here", None),
    ]
    asked: list[dict[str, Any]] = [
        *({"tool": tool, "arguments": payload, "input": {"payload": payload}} for tool, payload in uses),
        *(
            {"tool": generic, "arguments": each, "input": each}
            for each in (
                {"function_name": " MAÑANA ", "payload": {"x": 1}},
                {"function_name": "A.B", "payload": None},
                {"function_name": "navigate_to", "payload": None},
                {"function_name": "no_such", "payload": None},
            )
        ),
        *(
            {"tool": "navigate_to", "arguments": {"target": target}, "input": {"target": target}}
            for target in ("CONFIGURACION", "a mi cuenta por favor", "/profile", "the moon")
        ),
    ]
    theirs = node.ask("toolset", listed=LISTED, local=LOCAL, routes=ROUTES, uses=asked)
    toolset = ours(
        LISTED,
        functions={name: local(name) for name in LOCAL},
        routes=routes_of(ROUTES),
        navigate=went.append,
    )
    mine = called(toolset, asked)
    for answer in (*mine, *theirs["results"]):
        if str(answer.get("source")).startswith(("tools.ts#", "tests.interop")):
            answer["source"] = "local"
    assert mine == revived(theirs["results"])
    assert went == theirs["went"]


def test_specialists_have_the_same_instructions(node: Node) -> None:
    agents: list[dict[str, Any]] = [
        {"key": "main", "name": "Main", "isPrimary": True, "functions": ["getTime"]},
        {"key": "food", "name": "Food", "description": "Knows the menu.", "functions": ["getDish"]},
        {"key": "sales", "name": "Sales", "handoffDescription": "Sells.", "functions": ["get_weather"]},
        {"key": "help", "name": "Help", "instructions": "You help.", "functions": ["help"]},
    ]
    theirs = node.ask("toolset", listed=LISTED, routes=ROUTES, agents=agents)
    toolset = ours(
        LISTED, functions={"getTime": local("getTime")}, routes=routes_of(ROUTES), navigate=lambda _: None
    )
    specialists = [
        Specialist(
            name=each["name"],
            description=each.get("description"),
            handoff_description=each.get("handoffDescription"),
            instructions=each.get("instructions"),
            functions={name: local(name) for name in each["functions"]},
            direct_tools=False,  # as in JavaScript
            hands_back=False,
        )
        for each in agents[1:]
    ]
    agent = build_navai_agent(toolset, specialists=specialists)
    assert [
        {
            "name": each.name,
            "instructions": each.instructions,
            "handoffDescription": each.handoff_description,
            "tools": [tool.name for tool in each.tools],
        }
        for each in agent.handoffs
        if isinstance(each, RealtimeAgent)
    ] == theirs["handoffs"]
    assert str(agent.instructions).splitlines() == without_food(theirs["instructions"])
    assert list(toolset.warnings) == theirs["warnings"]


# In JavaScript a blank name is contained in everything; these are not blank.
names = st.tuples(st.sampled_from("aáñB/"), st.text("aáñ éB/-_ßÇ", max_size=3)).map("".join)
some_routes = st.lists(
    st.fixed_dictionaries(
        {
            "name": names,
            "path": st.sampled_from(["/a", "/Á", "/b", "ñ"]),
            "description": st.just(""),
            "synonyms": st.lists(names, max_size=2),
        }
    ),
    max_size=4,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(asked=st.lists(st.tuples(st.text("aáñ éB/-_ßÇİ", max_size=8), some_routes), min_size=20, max_size=40))
def test_any_spoken_words_match_the_same_route(
    node: Node, asked: list[tuple[str, list[dict[str, Any]]]]
) -> None:
    theirs = node.ask("routes", asked=[{"spoken": spoken, "routes": routes} for spoken, routes in asked])
    assert [resolve_navai_route(spoken, routes_of(routes)) for spoken, routes in asked] == theirs
    for _, routes in asked[:3]:
        assert route_prompt_lines(routes_of(routes)) == node.ask("routeLines", routes=routes)
