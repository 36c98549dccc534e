"""A project's folder as the web agent resolves it: our runtime beside the published package, over one tree.

The tree has each module twice, in JavaScript and in Python. Python's modules end in ``.py``, and an agent's
configuration is ``agent_config.py``. The warnings that only one of both has are listed here.
"""

from pathlib import Path
from typing import Any, Final

import attrs
import pytest
from agents.realtime import RealtimeAgent

from navai_client import BackendFunction, FunctionList
from navai_client.integrations.openai_agents import build_navai_agent
from navai_client.integrations.routes import NavaiRoute
from navai_client.integrations.runtime import NavaiRuntime, resolve_navai_runtime
from navai_client.integrations.toolset import Toolset
from tests.interop.node import Node

ROUTES: Final = """[
  {"name": "perfil", "path": "/profile", "description": "Who you are.", "synonyms": ["mi cuenta"]},
  {"name": "ajustes", "path": "/settings", "description": ""}
]
"""
FUNCTION: Final = "export function NAME() {}", "def NAME(): ..."
CLASS: Final = (
    "export class NAME { add(product) {} remove() {} }",
    "class NAME:\n    def add(self, product): ...\n    def remove(self): ...",
)
FILES: Final[dict[str, tuple[str, str]]] = {
    "src/ai/main/session/logout": FUNCTION,
    "src/ai/main/support/help_me": FUNCTION,
    "src/ai/fast_food/menu/burger": FUNCTION,
    "src/ai/fast_food/order": CLASS,
    "src/ai/sales-team/offer": FUNCTION,
    "src/ai/named/hello": FUNCTION,
    "src/ai/functions-modules/plain": FUNCTION,
    "src/ai/functions-modules/main/inner": FUNCTION,
    "src/tools/first": FUNCTION,
    "src/ai/routes": (f"export const NAVAI_ROUTE_ITEMS = {ROUTES}", f"NAVAI_ROUTE_ITEMS = {ROUTES}"),
    "src/other/routes": ("export const routes = [];", "routes = []"),
    "src/other/wrong": ("export const NAVAI_ROUTE_ITEMS = [1];", "NAVAI_ROUTE_ITEMS = [1]"),
    "src/other/broken": ("throw new Error('not today');", "raise ValueError('not today')"),
}
CONFIGS: Final[dict[str, dict[str, str | bool]]] = {
    "src/ai/main": {"name": "Main desk", "description": "All else.", "instructions": "You are the desk."},
    "src/ai/fast_food": {"handoffDescription": "For the hungry.", "isPrimary": True},
    "src/ai/sales-team/deep": {"name": "Not this one"},
    "src/ai/named": {"key": " renamed ", "name": "  ", "description": " Named. ", "isPrimary": False},
    "src/ai/empty": {"name": "Nobody"},
}
SETTINGS: Final[tuple[dict[str, str], ...]] = (
    {},
    {"NAVAI_REALTIME_MODEL": " gpt-realtime-2.1 ", "NAVAI_ROUTES_FILE": " "},
    {"NAVAI_FUNCTIONS_FOLDERS": "src/ai", "NAVAI_AGENTS_FOLDERS": "main,fast_food,sales-team,named,empty"},
    {"NAVAI_FUNCTIONS_FOLDERS": "ai", "NAVAI_AGENTS_FOLDERS": " fast_food , main/"},
    {"NAVAI_FUNCTIONS_FOLDERS": "src/ai", "NAVAI_AGENTS_FOLDERS": "empty,sales-team,fast_food"},
    {"NAVAI_FUNCTIONS_FOLDERS": "src/ai", "NAVAI_AGENTS_FOLDERS": "empty,sales-team,main"},
    {"NAVAI_FUNCTIONS_FOLDERS": "src/ai/...", "NAVAI_AGENTS_FOLDERS": "named,main"},
    {"NAVAI_FUNCTIONS_FOLDERS": "src/ai/main/**", "NAVAI_AGENTS_FOLDERS": "main"},
    {"NAVAI_FUNCTIONS_FOLDERS": "src/ai,src/ai/functions-modules", "NAVAI_AGENTS_FOLDERS": "main"},
    {"NAVAI_AGENTS_FOLDERS": "main"},
    {"NAVAI_AGENTS_FOLDERS": "nobody"},
    {"NAVAI_FUNCTIONS_FOLDERS": "no/such", "NAVAI_AGENTS_FOLDERS": "main"},
    {"NAVAI_FUNCTIONS_FOLDERS": "src/tools"},
    {"NAVAI_ROUTES_FILE": "src/ai/routes"},
    {"NAVAI_ROUTES_FILE": "ai/routes{ext}"},
    {"NAVAI_ROUTES_FILE": "./other/routes"},
    {"NAVAI_ROUTES_FILE": "other/wrong{ext}"},
    {"NAVAI_ROUTES_FILE": "other/broken"},
    {"NAVAI_ROUTES_FILE": "../no/such"},
)
LISTED: Final = [{"name": "get_weather", "description": "Get the weather."}, {"name": "burger"}]
OF_ONE_ALONE: Final = (
    "is in no folder of NAVAI_AGENTS_FOLDERS",
    "has no function, so it is no agent",
    "The default folder",
    '"src/ai/functions-modules". Falling back to "src/ai/functions-modules"',
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("project")
    texts = {"package.json": '{"type": "module"}'}
    for path, (script, module) in FILES.items():
        name = path.rpartition("/")[2]
        texts |= {f"{path}.js": script.replace("NAME", name), f"{path}.py": module.replace("NAME", name)}
    for path, said in CONFIGS.items():
        script = ", ".join(f"{key}: {str(value).lower()}" if isinstance(value, bool) else f"{key}: {value!r}"
                           for key, value in said.items())  # fmt: skip
        texts[f"{path}/agent.config.js"] = f"export const NAVAI_AGENT = {{ {script} }};"
        texts[f"{path}/agent_config.py"] = f"NAVAI_AGENT = {said!r}"
    for path, text in texts.items():
        (base / path).parent.mkdir(parents=True, exist_ok=True)
        (base / path).write_text(text, encoding="utf-8")
    return base


def by_javascript(node: Node, tree: Path, env: dict[str, str]) -> Any:
    files = sorted(str(each.relative_to(tree)) for each in tree.rglob("*.js"))
    env = {name: value.replace("{ext}", ".js") for name, value in env.items()}
    return node.ask(
        "runtime", root=str(tree), files=files, routes="src/ai/routes.js", options={"env": env}, listed=LISTED
    )


def by_us(tree: Path, env: dict[str, str]) -> tuple[NavaiRuntime, Toolset, RealtimeAgent[Any]]:
    runtime = resolve_navai_runtime(
        tree, env={name: value.replace("{ext}", ".py") for name, value in env.items()}
    )
    listed = FunctionList(
        functions=tuple(
            BackendFunction(name=each["name"], description=each.get("description")) for each in LISTED
        )
    )
    # As in JavaScript: specialists have one tool and do not hand back.
    specialists = [attrs.evolve(each, direct_tools=False, hands_back=False) for each in runtime.specialists]

    class Backend:
        async def execute_function(self) -> None: ...

    toolset = Toolset(Backend(), listed, navigate=print, **runtime.toolset_options)  # type: ignore[arg-type]
    alone = attrs.evolve(runtime, agents=tuple(each for each in runtime.agents if each.is_primary))
    return runtime, toolset, build_navai_agent(toolset, runtime=alone, specialists=specialists)


def routes_of(given: list[dict[str, Any]]) -> tuple[NavaiRoute, ...]:
    return tuple(NavaiRoute(**each) for each in given)


def before_the_rules(instructions: object) -> list[str]:
    lines = str(instructions).splitlines()
    return lines[: lines.index("Rules:")]


def warnings_of(given: list[str]) -> list[str]:
    return [
        each.replace(".js", ".py").replace(
            "must export NavaiRoute[] (NAVAI_ROUTE_ITEMS or default)",
            "must hold NAVAI_ROUTE_ITEMS, a list of NavaiRoute",
        )
        for each in given
        if not any(text in each for text in OF_ONE_ALONE)
    ]


@pytest.mark.covers("agent.runtime")
@pytest.mark.parametrize("env", SETTINGS, ids=str)
def test_a_folder_gives_the_agents_functions_and_routes_that_it_gives_in_javascript(
    tree: Path, node: Node, env: dict[str, str]
) -> None:
    theirs = by_javascript(node, tree, env)
    runtime, toolset, agent = by_us(tree, env)

    assert [
        {
            "key": each.key,
            "name": each.name,
            "description": each.description,
            "handoffDescription": each.handoff_description,
            "instructions": each.instructions,
            "isPrimary": each.is_primary,
        }
        for each in runtime.agents
    ] == [{"description": None, "handoffDescription": None, "instructions": None, **each}
          for each in theirs["agents"]]  # fmt: skip
    assert (runtime.primary_agent and runtime.primary_agent.key) == theirs["primaryAgentKey"]
    assert runtime.model == theirs["model"]
    assert runtime.routes == routes_of(theirs["routes"])

    assert agent.name == theirs["main"]["name"]
    assert before_the_rules(agent.instructions) == before_the_rules(theirs["main"]["instructions"])
    handoffs = [each for each in agent.handoffs if isinstance(each, RealtimeAgent)]
    assert [
        {
            "name": each.name,
            "instructions": each.instructions,
            "handoffDescription": each.handoff_description,
            "tools": [tool.name for tool in each.tools],
        }
        for each in handoffs
    ] == theirs["handoffs"]
    assert warnings_of([*runtime.warnings, *toolset.warnings]) == warnings_of(theirs["warnings"])
