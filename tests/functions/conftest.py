"""What the tests of functions share: a function called over HTTP and as a local tool."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from navai_client import FunctionList
from navai_client.integrations.toolset import Toolset
from navai_client.server import NavaiBackend
from tests.server.conftest import (  # noqa: F401 - fixtures
    _ask as ask,
    _backend as backend,
    _execute as execute,
    _write as write,
)


class NoBackend:
    """A client of a backend without functions."""

    async def execute_function(self, *_: Any, **__: Any) -> None:
        raise AssertionError

    async def list_functions(self) -> FunctionList:
        return FunctionList()


def toolset_of(function: Callable[..., Any]) -> Toolset:
    return Toolset(NoBackend(), FunctionList(), functions={"f": function}, generic_tool=False)  # type: ignore[arg-type]


@pytest.fixture(name="call")
def _call(execute: Any) -> Callable[..., Any]:  # noqa: F811 - the fixture
    """Call a function over HTTP and as a local tool; return the result or the error, which are the same."""

    def call(function: Callable[..., Any], payload: Any = None) -> Any:
        backend = NavaiBackend(env={}, discover=False)  # noqa: F811 - one of its own
        backend.function(name="f")(function)
        answer = execute(backend, "f", payload)

        async def call_tool() -> Any:
            async with toolset_of(function) as toolset:
                return await toolset.call("f", payload)

        outcome = asyncio.run(call_tool())
        assert outcome.ok == answer["ok"]
        if outcome.ok:
            assert outcome.result == answer["result"]
            return outcome.result
        assert answer["details"] in (outcome.error, outcome.details)
        return answer["details"]

    return call


@pytest.fixture(name="schema")
def _schema(ask: Any) -> Callable[..., Any]:  # noqa: F811 - the fixture
    """Return the schema of a function as a backend lists it, which is that of the local tool."""

    def schema(function: Callable[..., Any]) -> Any:
        backend = NavaiBackend(env={}, discover=False)  # noqa: F811 - one of its own
        backend.function(name="f")(function)
        (item,) = ask(backend, "GET", "/navai/functions").json()["items"]
        (tool,) = toolset_of(function).tools
        assert tool.parameters == item["parameters"]
        return item["parameters"]

    return schema
