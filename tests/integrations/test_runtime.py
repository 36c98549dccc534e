"""A project's folder: its agents, functions and routes, and what is said about a folder that is not right."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agents import Handoff
from agents.realtime import RealtimeAgent

from navai_client import FunctionList, NavaiConfigError
from navai_client.integrations.openai_agents import Specialist, build_navai_agent
from navai_client.integrations.routes import NavaiRoute
from navai_client.integrations.runtime import NavaiRuntime, resolve_navai_runtime
from navai_client.integrations.toolset import Toolset

Project = Callable[..., Path]
HOME = NavaiRoute(name="home", path="/")


@pytest.fixture(name="project")
def _project(tmp_path: Path) -> Project:
    def write(**files: str) -> Path:
        for path, text in files.items():
            file = tmp_path / "src" / "ai" / f"{path}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        return tmp_path

    return write


class EmptyBackend:
    """A client of a backend without functions."""

    async def execute_function(self, *_: Any, **__: Any) -> None:
        raise AssertionError

    async def list_functions(self) -> FunctionList:
        return FunctionList()


def load(runtime: NavaiRuntime, **options: Any) -> Toolset:
    return Toolset(EmptyBackend(), FunctionList(), **runtime.toolset_options, **options)  # type: ignore[arg-type]


def test_a_folder_and_the_environment_of_the_process_are_enough(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = project(
        routes="from navai_client.integrations.routes import NavaiRoute\n"
        'NAVAI_ROUTE_ITEMS = [NavaiRoute(name="orders", path="/orders")]',
        **{
            "main/open_orders": "def open_orders(context):\n    context.navigate('/orders')",
            "main/shared": "OPEN = []",
            "food/agent_config": "from .menu import DISHES\n"
            'NAVAI_AGENT = {"name": "Food desk", "instructions": f"You know {DISHES}."}',
            "food/menu": 'DISHES = "tacos"\n\ndef order(dish: str) -> str:\n    return f"one {dish}"',
        },
    )
    monkeypatch.chdir(base)
    monkeypatch.setenv("NAVAI_FUNCTIONS_FOLDERS", "src/ai")
    monkeypatch.setenv("NAVAI_AGENTS_FOLDERS", "main,food")
    monkeypatch.setenv("NAVAI_REALTIME_MODEL", "gpt-realtime-2.1")
    runtime = resolve_navai_runtime()

    assert runtime.primary_agent is not None
    assert (runtime.primary_agent.key, runtime.primary_agent.name) == ("main", "Main")
    assert (runtime.model, runtime.warnings) == ("gpt-realtime-2.1", ())
    assert runtime.routes == (NavaiRoute(name="orders", path="/orders"),)
    (food,) = runtime.specialists
    assert (food.name, food.instructions) == ("Food desk", "You know tacos.")

    async def run() -> list[str]:
        went: list[str] = []
        async with load(runtime, navigate=went.append) as toolset:
            agent = build_navai_agent(toolset, runtime=runtime)
            assert [tool.name for tool in agent.tools] == ["navigate_to", "open_orders"]
            assert (await toolset.call("open_orders")).ok
            assert (await toolset.derive("x", functions=food.functions).call("order", {"dish": "taco"})).ok
            assert toolset.warnings == ("[navai] Ignored src/ai/main/shared.py: module has no exports.",)
        return went

    assert asyncio.run(run()) == ["/orders"]


@pytest.mark.parametrize(
    ("text", "routes"),
    [
        ('NAVAI_ROUTES = [{"name": "home", "path": "/"}]', (HOME,)),
        ('APP_ROUTES = ({"name": "home", "path": "/", "synonyms": None, "icon": 1},)', (HOME,)),
        ("routes = []", ()),
    ],
)
def test_routes_have_the_names_that_they_have_in_javascript(
    project: Project, text: str, routes: tuple[NavaiRoute, ...]
) -> None:
    base = project(**{"routes/__init__": text})
    runtime = resolve_navai_runtime(base, env={}, routes_file="ai/routes", default_routes=[HOME])
    assert (runtime.routes, runtime.warnings) == (
        routes,
        ('[navai] The default folder "src/ai/functions-modules" has no module.',),
    )


WRONG = '[navai] Route module "src/ai/routes.py" must hold NAVAI_ROUTE_ITEMS, a list of NavaiRoute.'


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("", WRONG),
        ("NAVAI_ROUTE_ITEMS = 'home'", WRONG),
        ("NAVAI_ROUTE_ITEMS = [{'name': 'home'}]", WRONG),
        ("NAVAI_ROUTE_ITEMS = [{'name': 'home', 'path': 3}]", WRONG),
        ("NAVAI_ROUTE_ITEMS = [{'name': 'home', 'path': '/', 'synonyms': 'start'}]", WRONG),
        ("NAVAI_ROUTE_ITEMS = [{'name': 'home', 'path': '/', 'synonyms': [1]}]", WRONG),
        ("raise SystemExit", '[navai] Failed to load route module "src/ai/routes.py": SystemExit.'),
        ("1 / 0", '[navai] Failed to load route module "src/ai/routes.py": division by zero.'),
    ],
)
def test_a_module_without_routes_is_a_warning_and_the_given_routes_are_used(
    project: Project, text: str, warning: str
) -> None:
    base = project(routes=text, **{"functions-modules/f": "def f(): ..."})
    runtime = resolve_navai_runtime(base, env={}, default_routes=iter([HOME]))
    assert (runtime.routes, runtime.warnings) == ((HOME,), (warning,))


def test_a_module_outside_the_folder_is_not_imported(project: Project, tmp_path: Path) -> None:
    base = project(routes="NAVAI_ROUTE_ITEMS = []", **{"functions-modules/f": "def f(): ..."})
    outside = tmp_path.parent / "outside.py"
    outside.write_text("raise AssertionError")
    runtime = resolve_navai_runtime(base, env={}, routes_file="src/../../outside.py")
    assert runtime.routes == ()
    (warning,) = runtime.warnings
    assert warning.startswith(
        '[navai] Failed to load route module "src/../../outside.py": outside.py is a link'
    )
    assert warning.endswith('Falling back to "src/ai/routes.py".')


def test_a_configuration_that_cannot_be_used_is_a_warning(project: Project) -> None:
    base = project(
        **{
            "a/f": "def f(): ...",
            "a/agent_config": "raise ValueError('not today')",
            "b/f": "def f(): ...",
            "b/agent_config": "NAVAI_AGENT = 'b'\nagent = None",
            "c/f": "def f(): ...",
            "c/agent_config": "agent = {'is_primary': True, 'name': 3, 'handoff_description': 'For c.'}",
            "functions-modules/g": "def g(): ...",
        },
    )
    runtime = resolve_navai_runtime(
        base,
        env={},
        functions_folders="src/ai, src/ai/functions-modules/*.py",
        agents_folders="a,empty,b,c",
    )
    assert runtime.warnings == (
        "[navai] Ignored src/ai/functions-modules/g.py: it is in no folder of NAVAI_AGENTS_FOLDERS.",
        '[navai] NAVAI_AGENTS_FOLDERS: "empty" has no function, so it is no agent.',
        "[navai] Failed to load src/ai/a/agent_config.py: not today",
        "[navai] Ignored src/ai/b/agent_config.py: it must hold NAVAI_AGENT, a dict.",
    )
    assert [(each.key, each.name, each.is_primary) for each in runtime.agents] == [
        ("a", "A", True),
        ("b", "B", False),
        ("c", "C", False),
    ]
    assert runtime.specialists[1].handoff_description == "For c."
    assert runtime.functions.names == ["f"]


def test_the_main_agent_can_be_chosen_by_its_key(project: Project) -> None:
    base = project(
        **{"a/f": "def f(): ...", "b/g": "def g(): ...", "b/agent_config": 'NAVAI_AGENT = {"key": "x"}'}
    )
    given: dict[str, Any] = {"env": {}, "functions_folders": "src/ai", "agents_folders": "a,b"}
    runtime = resolve_navai_runtime(base, **given, primary_agent_key="x")
    assert (runtime.functions.names, [each.name for each in runtime.specialists]) == (["g"], ["A"])
    with pytest.raises(
        NavaiConfigError, match=r"^primary_agent_key: no agent has the key 'b'; there are: a, x\.$"
    ):
        resolve_navai_runtime(base, **given, primary_agent_key="b")
    with pytest.raises(NavaiConfigError, match=r"no agent has the key 'x': NAVAI_AGENTS_FOLDERS names none"):
        resolve_navai_runtime(base, env={}, functions_folders="src/ai", primary_agent_key="x")


def test_a_text_is_no_list_of_patterns_to_exclude(project: Project) -> None:
    with pytest.raises(
        TypeError, match=r"^exclude must be a list of wildcards, not the text '\*\*/old/\*'\.$"
    ):
        resolve_navai_runtime(project(a="def f(): ..."), env={}, exclude="**/old/*")


def test_folders_can_be_excluded_and_defaulted_and_exports_strict(project: Project) -> None:
    base = project(
        **{
            "routes": "from os import path\nroutes = []\ndef not_a_tool(): ...",
            "old/f": "def f(): ...",
            "new/g": "def g(): ...",
            "new/old/h": "def h(): ...",
            "new/strict": "from navai_client.server import function\n@function\ndef named(): ...",
        },
    )
    given: dict[str, Any] = {
        "env": {},
        "default_functions_folder": "src/ai",
        "exclude": ["src/ai/old", "**/new/old/*"],
    }
    runtime = resolve_navai_runtime(base, **given)
    assert (runtime.functions.names, runtime.warnings) == (["g", "named"], ())
    assert resolve_navai_runtime(base, **given, strict=True).functions.names == ["named"]


def test_ctrl_c_during_an_import_ends_it(project: Project) -> None:
    base = project(routes="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        resolve_navai_runtime(base, env={})


def test_the_agent_keeps_its_own_instructions_and_the_backends_manner_of_speech(project: Project) -> None:
    base = project(
        **{"a/f": "def f(): ...", "a/agent_config": "NAVAI_AGENT = {'instructions': 'You are A.'}"}
    )
    runtime = resolve_navai_runtime(base, env={}, functions_folders="src/ai", agents_folders="a")
    backend = "You are a helpful assistant.\nAlways reply in Spanish."
    assert runtime.instructions(backend) == "You are A.\nAlways reply in Spanish."
    toolset = load(runtime)
    agent = build_navai_agent(toolset, runtime=runtime, instructions=backend)
    assert str(agent.instructions).startswith("You are A.\nAlways reply in Spanish.\nAllowed app functions:")
    assert agent.name == "A"
    assert build_navai_agent(toolset, runtime=runtime, name="Mine").name == "Mine"

    without = resolve_navai_runtime(base, env={}, default_functions_folder="src/ai")
    assert without.primary_agent is None
    agent = build_navai_agent(load(without), runtime=without, instructions=backend)
    assert agent.name == "Navai Voice Agent"
    assert str(agent.instructions).startswith(backend)


def test_a_project_is_one_agent_where_there_are_no_handoffs(project: Project) -> None:
    base = project(
        **{
            "a/f": "def f() -> str:\n    return 'a'",
            "b/f": "def f() -> str:\n    return 'b'",
            "b/agent_config": "agent = {'name': 'B', 'description': 'Knows b.', 'instructions': 'Be b.'}",
            "c/g": "def g(): ...",
        },
    )
    runtime = resolve_navai_runtime(base, env={}, functions_folders="src/ai", agents_folders="a,c,b")
    one = runtime.as_one_agent()
    assert (one.specialists, one.as_one_agent()) == ((), one)
    assert one.instructions("Hello.\nAlways reply in Spanish.") == (
        "You are the main NAVAI voice agent embedded in a web app.\n"
        "Tasks of B: Knows b. Be b.\nAlways reply in Spanish."
    )

    async def run() -> list[Any]:
        async with load(one) as toolset:
            assert toolset.warnings == ('[navai] Renamed duplicated function "f" to "f_2".',)
            return [(await toolset.call(name)).result for name in ("f", "f_2", "g")]

    assert asyncio.run(run()) == ["a", "b", None]
    two = resolve_navai_runtime(base, env={}, functions_folders="src/ai", agents_folders="a,c").as_one_agent()
    assert (two.functions.names, two.instructions("Hello.")) == (["f", "g"], "Hello.")
    alone = resolve_navai_runtime(base, env={}, functions_folders="src/ai/a")
    assert alone.as_one_agent() is alone


@pytest.mark.parametrize(
    ("name", "tool"),
    [("Food", "transfer_to_food"), ("Fast Food-2", "transfer_to_fast_food_2"), ("Ñam", "transfer_to__am")],
)
def test_the_tool_that_hands_over_has_the_name_that_is_documented(name: str, tool: str) -> None:
    agent = build_navai_agent(
        Toolset(EmptyBackend(), FunctionList()),  # type: ignore[arg-type]
        specialists=[Specialist(name=name)],
    )
    (specialist,) = agent.handoffs
    assert isinstance(specialist, RealtimeAgent)
    assert Handoff.default_tool_name(specialist) == tool
