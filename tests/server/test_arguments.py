"""Payloads become arguments for every kind of callable, and schemas for every kind of hint."""

import asyncio
import collections.abc
import contextlib
import functools
import logging
from collections.abc import Callable
from typing import Annotated, Any, Literal

import attrs
import pydantic
import pytest

from navai_client.functions._binding import ArgumentsError, Payload
from navai_client.server import FunctionContext, NavaiBackend


@attrs.frozen
class Tree:
    """A type that holds itself."""

    inner: "Tree | None" = None


@pytest.mark.parametrize(
    ("call", "payload", "result"),
    [
        (lambda value, other: [value, other], {"value": 1, "other": 2}, [1, 2]),
        (lambda args, other=0: [args, other], {"args": [1], "other": 2}, [[1], 2]),
        (lambda **more: more, {"a": 1, "b": 2}, {"a": 1, "b": 2}),
        (lambda a=0, **more: [a, more], {"a": 1, "b": 2}, [1, {"b": 2}]),
        (lambda a=0, *more: [a, more], {"args": [1, 2, 3]}, [1, [2, 3]]),
        (lambda *, a, b=3: [a, b], {"a": 1}, [1, 3]),
        (lambda a, /, b=3: [a, b], {"a": 1}, [1, 3]),
        (lambda a=9: a, {"args": []}, {"args": []}),
        (lambda a=9: a, {"args": "x"}, {"args": "x"}),
        (lambda a=9: a, {"args": None, "arguments": [4]}, 4),
        (lambda a=9: a, {"args": 3, "arguments": [4]}, {"args": 3, "arguments": [4]}),
        (functools.partial(lambda a, b: [a, b], 1), {"b": 2}, [1, 2]),
        (max, {"args": [3, 7]}, 7),
        (functools.cache(lambda a: a), {"a": 1}, 1),
    ],
)
def test_each_kind_of_parameter_is_filled(
    backend: NavaiBackend, execute: Any, call: Callable[..., Any], payload: Any, result: Any
) -> None:
    backend.functions().add_value("here", "f", call)
    assert execute(backend, "f", payload)["result"] == result


def test_the_context_is_passed_and_cannot_be_forged(backend: NavaiBackend, execute: Any, ask: Any) -> None:
    @backend.function
    def by_name(context: Any, **more: Any) -> Any:
        return [context.request.headers["x-tenant"], sorted(more)]

    @backend.function
    def by_type(call: FunctionContext | None, n: int = 0) -> Any:
        assert call is not None
        return [call.request.path, n]

    body = {"function_name": "by_name", "payload": {"context": "forged", "a": 1}}
    answer = ask(backend, "POST", "/navai/functions/execute", json=body, headers={"X-Tenant": "acme"})
    assert answer.json()["result"] == ["acme", ["a"]]
    assert execute(backend, "by_type", {"n": 2})["result"] == ["/navai/functions/execute", 2]
    assert execute(backend, "by_type", None)["result"] == ["/navai/functions/execute", 0]


def test_each_variable_argument_is_checked(backend: NavaiBackend, execute: Any) -> None:
    @backend.function
    def total(*numbers: int, **named: int) -> int:
        return sum(numbers) + sum(named.values())

    assert execute(backend, "total", {"args": [1, 2]})["result"] == 3
    assert execute(backend, "total", {"a": 1, "b": 2})["result"] == 3
    assert (
        "args.1: Input should be a valid integer" in execute(backend, "total", {"args": [1, "x"]})["details"]
    )
    assert "a: Input should be a valid integer" in execute(backend, "total", {"a": "x"})["details"]


def test_an_argument_with_a_default_may_be_left_out_and_is_checked_when_given(
    backend: NavaiBackend, execute: Any
) -> None:
    @backend.function
    def order(size: Literal["s", "l"] = "s", count: int = 1) -> list[Any]:
        return [size, count]

    assert execute(backend, "order", {"count": 2})["result"] == ["s", 2]
    assert "size: Input should be 's' or 'l'" in execute(backend, "order", {"size": "x"})["details"]


@pytest.mark.parametrize("levels", [600, 5000])  # deeper than Pydantic reads, and than Python encodes
def test_an_argument_that_is_nested_too_deeply_is_the_callers_error(levels: int) -> None:
    deep: dict[str, Any] = {}
    for _ in range(levels):
        deep = {"inner": deep}

    def count(tree: Tree) -> int:
        return len([tree])

    backend = NavaiBackend(env={}, discover=False)
    backend.function(count)
    found = backend.functions().find("count")
    assert found is not None
    with pytest.raises(ArgumentsError, match=r"nested too deeply|recursion limit"):
        found.target.prepare(Payload({"tree": deep}), FunctionContext(request=None))  # type: ignore[arg-type]


class _Callable:
    """Greets."""

    def __call__(self, name: str) -> str:
        return f"hello {name}"


class _Async:
    async def __call__(self) -> str:
        return "later"


def test_objects_that_can_be_called_are_functions(backend: NavaiBackend, execute: Any) -> None:
    registry = backend.functions()
    registry.add_value("here", "greet", _Callable())
    registry.add_value("here", "later", _Async())
    registry.add_value("here", "coroutine", lambda: asyncio.sleep(0, "awaited"))
    assert execute(backend, "greet", {"name": "you"})["result"] == "hello you"
    assert "name: Input should be a valid string" in execute(backend, "greet", {"name": 1})["details"]
    assert execute(backend, "later")["result"] == "later"
    assert execute(backend, "coroutine")["result"] == "awaited"


def test_a_hint_that_cannot_be_resolved_leaves_the_others_checked(
    backend: NavaiBackend, execute: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def odd(a: Any, b: Any = 1, c: Any = None) -> list[Any]:
        return [a, b, c]

    odd.__annotations__ = {
        "a": "OnlyForCheckers",
        "b": int,
        "c": contextlib.ExitStack | dict[bytes, set[list[int]]],
    }
    caplog.set_level(logging.WARNING, logger="navai_client.server")
    backend.function(odd)
    assert execute(backend, "odd", {"a": 1, "b": 3})["result"] == [1, 3, None]
    assert "b: Input should be a valid integer" in execute(backend, "odd", {"a": 1, "b": "x"})["details"]


class Inner(pydantic.BaseModel):
    """Inside."""

    n: int


class Outer(pydantic.BaseModel):
    """Outside."""

    inner: Inner
    more: list[Inner] = []


def test_pydantic_models_travel_both_ways_and_have_a_schema(
    backend: NavaiBackend, execute: Any, ask: Any
) -> None:
    @backend.function
    def pass_on(model: Outer) -> Outer:
        assert isinstance(model, Outer)
        return model

    given = {"inner": {"n": 1}, "more": [{"n": 2}]}
    assert execute(backend, "pass_on", {"model": given})["result"] == given
    assert "n" in execute(backend, "pass_on", {"model": {"inner": {}}})["details"]
    (item,) = ask(backend, "GET", "/navai/functions").json()["items"]
    assert item["parameters"]["properties"]["model"]["properties"]["inner"]["required"] == ["n"]
    assert "$ref" not in str(item)


def test_a_parameter_that_no_json_value_can_fill_is_left_out_with_a_warning(
    backend: NavaiBackend, execute: Any, ask: Any
) -> None:
    class Plain: ...

    @backend.function
    def take(some: collections.abc.Iterable[int], it: Plain | None = None) -> object:
        return [some, it]

    assert execute(backend, "take", {"some": [1, 2]})["result"] == [[1, 2], None]
    assert "no parameter it" in execute(backend, "take", {"some": [], "it": {}})["details"]
    listed = ask(backend, "GET", "/navai/functions").json()
    assert listed["items"][0]["parameters"]["properties"] == {
        "some": {"type": "array", "items": {"type": "integer"}}
    }
    (warning,) = listed["warnings"]
    assert 'parameter "it" cannot be given' in warning


def test_docstrings_and_defaults_that_cannot_be_read_are_left_out(backend: NavaiBackend, ask: Any) -> None:
    @backend.function
    def odd(a: Annotated[int, 7] = 1, b: Any = object(), *rest: int) -> None:  # noqa: B008
        """Do it.

        :param: broken
        """

    (item,) = ask(backend, "GET", "/navai/functions").json()["items"]
    assert item["description"] == "Do it."
    assert item["parameters"]["properties"] == {
        "a": {"type": "integer", "default": 1},
        "b": {},
        "args": {"type": "array", "items": {"type": "integer"}},
    }
