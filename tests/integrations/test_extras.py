"""The message for a missing extra, and which modules an import loads."""

import json
import subprocess
import sys
from typing import Final

import pytest

BLOCKED = """
import importlib.abc, sys
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
"""

# What no import may load by itself.
FRAMEWORKS: Final = {
    "agents",
    "langchain_core",
    "langgraph",
    "livekit",
    "mcp",
    "openai",
    "pipecat",
    "pydantic_ai",
    "websockets",
}


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("integrations.toolset", "jsonschema", "tools"),
        ("integrations.toolset", "pydantic", "tools"),
        ("integrations.toolset", "docstring_parser", "tools"),
        ("integrations.realtime", "jsonschema", "tools"),
        ("integrations.openai_agents", "agents", "agents"),
        ("integrations.openai_agents", "websockets", "agents"),
        ("testing.realtime", "websockets", "testing"),
    ],
)
def test_a_missing_extra_is_one_line_with_the_command_that_installs_it(
    module: str, package: str, extra: str
) -> None:
    finished = run(BLOCKED.format(packages=(package,)) + f"import navai_client.{module}")
    assert finished.returncode == 1
    assert finished.stderr.count("Traceback") == 1
    assert finished.stderr.splitlines()[-1] == (
        f"ImportError: {package} is not installed; run: pip install 'navai-client[{extra}]'"
    )


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("google_adk", "google-adk"),
        ("langchain", "langchain"),
        ("livekit", "livekit"),
        ("mcp", "mcp"),
        ("openai_agents", "agents"),
        ("pipecat", "pipecat"),
        ("pydantic_ai", "pydantic-ai"),
    ],
)
def test_if_nothing_is_installed_the_message_names_the_extra_of_the_framework(
    module: str, extra: str
) -> None:
    packages = (
        "agents",
        "docstring_parser",
        "jsonschema",
        "google",
        "langchain_core",
        "langgraph",
        "livekit",
        "mcp",
        "mcp_types",
        "pipecat",
        "pydantic",
        "pydantic_ai",
    )
    finished = run(BLOCKED.format(packages=packages) + f"import navai_client.integrations.{module}")
    assert finished.stderr.splitlines()[-1].endswith(f"run: pip install 'navai-client[{extra}]'")


def test_a_module_missing_in_an_installed_package_is_an_error_of_that_package() -> None:
    finished = run(BLOCKED.format(packages=("referencing",)) + "import navai_client.integrations.toolset")
    assert "No module named 'referencing" in finished.stderr.splitlines()[-1]


@pytest.mark.parametrize("module", ["navai_client", "navai_client.integrations", "navai_client.testing"])
def test_importing_a_package_loads_none_of_its_modules(module: str) -> None:
    finished = run(f"import json, sys, {module}; print(json.dumps([*sys.modules]))")
    loaded = set(json.loads(finished.stdout))
    rooms = ("navai_client.integrations.", "navai_client.testing.")
    assert not [name for name in loaded if name.startswith(rooms)]
    assert loaded.isdisjoint({*FRAMEWORKS, "jsonschema", "pydantic", "attr"})


def test_a_toolset_and_routes_load_no_framework() -> None:
    code = "import json, sys, navai_client.integrations.realtime; print(json.dumps([*sys.modules]))"
    loaded = set(json.loads(run(code).stdout))
    assert loaded.isdisjoint({*FRAMEWORKS, "httpx", "anyio"})
