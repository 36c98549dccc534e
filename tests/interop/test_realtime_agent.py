"""The realtime agent of the JavaScript package with the bundled server: it runs listed functions as tools.

Its packages are pinned to versions that were current then: openai 6.49 refuses its tools.
"""

from collections.abc import Iterator

import pytest

from tests.interop.node import Node
from tests.interop.test_javascript_client import our_server


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with our_server("http://127.0.0.1:9", {}) as url:
        yield url


@pytest.mark.covers("agent.tools")
def test_an_agent_has_each_function_as_a_tool_and_runs_it(node: Node, url: str) -> None:
    built = node.ask(
        "agent",
        options={"apiBaseUrl": url},
        uses=[
            {"tool": "calculator_add_to", "input": {"payload": {"constructorArgs": [40], "methodArgs": [2]}}},
            {
                "tool": "execute_app_function",
                "input": {"function_name": " Echo ", "payload": {"args": ["a", 1]}},
            },
            {"tool": "none", "input": {"payload": None}},
            {"tool": "fails", "input": {"payload": {"value": "no such luck"}}},
            {"tool": "execute_app_function", "input": {"function_name": "no_such", "payload": None}},
        ],
    )

    added, echoed, empty, failed, unknown = built["results"]
    assert added == {
        "ok": True,
        "function_name": "calculator_add_to",
        "source": "src/tools/objects.py#Calculator.addTo",
        "result": 42,
    }
    assert (echoed["ok"], echoed["result"]) == (True, ["a", 1])
    assert (empty["ok"], empty["result"]) == (True, "nothing was needed")
    assert failed == {
        "ok": False,
        "function_name": "fails",
        "error": "Function execution failed.",
        "details": "no such luck",
    }
    assert (unknown["ok"], unknown["error"]) == (False, "Unknown or disallowed function.")
    assert unknown["available_functions"] == built["tools"][2:]
    assert built["tools"][:5] == ["navigate_to", "execute_app_function", "echo", "one", "two"]
    assert "- echo_2: Call exported function echo." in built["instructions"].splitlines()
    assert '[navai] Renamed duplicated function "echo" to "echo_2".' in built["warnings"]
