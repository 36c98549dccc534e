"""Payloads in detail: their forms, what counts as JSON, and the errors that the caller gets."""

import asyncio
import dataclasses
import json
import threading
from typing import Annotated, Any

import attrs
import pydantic
import pytest

from navai_client.functions._binding import Payload
from navai_client.server import FunctionContext, NavaiBackend
from navai_client.server._http import BackendRequest
from tests.functions.conftest import toolset_of

EXECUTE = "/navai/functions/execute"


class Order(pydantic.BaseModel):
    """An order."""

    product: str
    amount: int = pydantic.Field(ge=1)


def send(ask: Any, backend: NavaiBackend, payload: str | bytes, key: str | None = None) -> Any:
    """Send a payload as it is written."""
    text = payload.encode() if isinstance(payload, str) else payload
    headers = {"content-type": "application/json", **({} if key is None else {"idempotency-key": key})}
    return ask(
        backend, "POST", EXECUTE, content=b'{"function_name": "f", "payload": ' + text + b"}", headers=headers
    )


class TestNames:
    """Errors name parameters, unless the payload is valid as the one argument."""

    def test_missing_and_unknown_names_are_reported(self, call: Any) -> None:
        def f(amount: int, note: str = "") -> Any:
            return [amount, note]

        assert call(f, {"amout": 5}) == (
            "Invalid arguments: missing argument amount; no parameter amout; did you mean amount?"
        )
        assert call(f, {"amount": 5, "Note": "x"}) == (
            "Invalid arguments: no parameter Note; did you mean note?"
        )
        assert call(f, {"total": "x"}) == ("Invalid arguments: missing argument amount; no parameter total.")
        assert call(f, {"amount": "x", "total": 1}) == (
            "Invalid arguments: amount: Input should be a valid integer; no parameter total."
        )

    def test_a_payload_that_is_valid_as_a_whole_is_the_one_argument(self, call: Any) -> None:
        def f(order: Order) -> Any:
            return order

        assert call(f, {"product": "tea", "amount": 2}) == {"product": "tea", "amount": 2}
        assert call(f, {"order": {"product": "tea", "amount": 2}}) == {"product": "tea", "amount": 2}
        assert call(f, {"product": "tea", "amount": 0}) == (
            "Invalid arguments: missing argument order; no parameter product; no parameter amount."
        )

    @pytest.mark.parametrize("error", [KeyError("k"), TypeError("t"), RuntimeError("r"), SystemExit(3)])
    def test_whatever_a_validator_raises_is_the_callers_error(self, call: Any, error: BaseException) -> None:
        def fail(_: Any) -> Any:
            raise error

        def f(x: Annotated[int, pydantic.AfterValidator(fail)], y: int = 0) -> Any:
            return [x, y]

        assert call(f, {"x": 1, "y": "z"}) == (
            f"Invalid arguments: x: {error}; y: Input should be a valid integer."
        )
        assert call(f, {"x": 1, "z": 1}) == f"Invalid arguments: x: {error}; no parameter z."

    def test_a_function_without_parameters_takes_no_names(self, call: Any) -> None:
        assert call(lambda: "done", {}) == "done"
        assert call(lambda: "done", {"x": 1}) == "Invalid arguments: no parameter x."
        assert call(lambda *, a: a, {"a": 1, "b": 2}) == "Invalid arguments: no parameter b."

    def test_no_more_than_a_few_problems_are_listed(self, call: Any) -> None:
        def f(a: int = 0) -> int:
            return a

        details = call(f, {f"x{number}": number for number in range(20)} | {"y" * 500: 1})
        assert details.startswith("Invalid arguments: no parameter x0; no parameter x1;")
        assert details.endswith("; and 13 more.")

    def test_the_place_of_a_problem_is_a_path_in_the_payload(self, call: Any) -> None:
        def f(orders: list[Order | int], **more: list[int]) -> Any:
            return orders

        assert "orders.1.amount: Input should be a valid integer" in call(
            f, {"orders": [1, {"product": "a", "amount": "b"}]}
        )
        assert "orders.0.amount: Field required" in call(f, {"orders": [{"product": "a"}]})
        assert call(f, {"orders": [], "n": [1, "x"]}) == (
            "Invalid arguments: n.1: Input should be a valid integer."
        )


class TestOrder:
    """The contract's order: args, value, names, the whole."""

    def test_each_form_of_payload_is_bound(self, call: Any) -> None:
        def f(a: int, b: int = 5, *more: int, key: str = "k", **others: int) -> Any:
            return [a, b, more, key, others]

        assert call(f, {"args": [1, 2.0, 3]}) == [1, 2, [3], "k", {}]
        assert call(f, {"arguments": [1]}) == [1, 5, [], "k", {}]
        assert call(f, {"value": 1}) == [1, 5, [], "k", {}]
        assert call(f, {"a": 1, "args": [7]}) == [1, 5, [7], "k", {}]
        assert call(f, {"a": 1, "z": 2}) == [1, 5, [], "k", {"z": 2}]
        assert call(f, {"args": [1, "x"]}) == "Invalid arguments: b: Input should be a valid integer."

    def test_arguments_beyond_the_last_parameter_are_ignored_as_in_express(self, call: Any) -> None:
        def f(a: int) -> int:
            return a

        assert call(f, {"args": [1, 2, 3]}) == 1

    def test_a_class_is_made_and_called_by_the_same_rules(self, backend: NavaiBackend, execute: Any) -> None:
        @attrs.define
        class Till:
            start: int

            def add(self, n: int) -> int:
                return self.start + n

        @dataclasses.dataclass
        class Box:
            items: list[int] = dataclasses.field(default_factory=list)

            def count(self, context: FunctionContext) -> int:
                return len(self.items) + len(context.request.path)

        class Locked:
            def __init__(self, lock: threading.Lock) -> None: ...

            def open(self) -> None: ...

        backend.function(Till)
        backend.function(Box)
        backend.function(Locked)
        assert backend.functions().names == ["till_add", "box_count"]
        assert 'Locked.open: parameter "lock" cannot be given' in backend.functions().warnings[0]
        assert execute(backend, "box_count")["result"] == len(EXECUTE)
        assert execute(backend, "box_count", {"constructorArgs": [[1, 2]]})["result"] == len(EXECUTE) + 2
        assert execute(backend, "till_add", {"constructorArgs": [1.0], "n": 2})["result"] == 3
        assert execute(backend, "till_add", {"constructorArgs": [1], "methodArgs": [2]})["result"] == 3
        assert execute(backend, "till_add", {"n": 2})["details"] == (
            "Invalid arguments: missing argument start."
        )
        assert (
            "start: Input should be"
            in execute(backend, "till_add", {"constructorArgs": ["x"], "n": 2})["details"]
        )


class TestJson:
    """One parser decides what the JSON is; what it refuses is the caller's error."""

    @pytest.mark.parametrize(
        "payload", ['{"n": NaN}', '{"n": Infinity}', '{"n": 1e400}', '{"n": -1e999}', '{"n"}']
    )
    @pytest.mark.parametrize("typed", [True, False])
    def test_what_is_not_json_is_refused(
        self, ask: Any, backend: NavaiBackend, payload: str, typed: bool
    ) -> None:
        def f(n: float) -> float:
            return n

        backend.function(name="f")(f if typed else lambda n: n)
        assert send(ask, backend, payload).status_code == 400

        async def call_tool() -> Any:
            async with toolset_of(f) as toolset:
                return await toolset.call("f", payload)

        assert asyncio.run(call_tool()).error_type == "invalid_arguments"

    @pytest.mark.parametrize(
        ("payload", "reason"),
        [
            (f'{{"n": {"9" * 5000}}}', "number out of range"),
            ('{"n": "\\ud800"}', "the payload has half of a surrogate pair"),
            (f'{{"n": {"[" * 300}1{"]" * 300}}}', "the payload is nested too deeply"),
        ],
    )
    def test_json_that_the_parser_refuses_is_the_callers_error(
        self, ask: Any, backend: NavaiBackend, payload: str, reason: str
    ) -> None:
        @backend.function(name="f")
        def f(n: list[Any] | str | int) -> Any:
            return n

        answer = send(ask, backend, payload)
        assert answer.status_code in (200, 400)
        if answer.status_code == 200:
            assert reason in answer.json()["details"]
        assert send(ask, backend, payload, key="k").status_code == answer.status_code
        assert backend.invoker._running == set()

    def test_bytes_that_are_not_text_are_not_json(self, ask: Any, backend: NavaiBackend) -> None:
        backend.function(name="f")(lambda n: n)
        assert send(ask, backend, b'{"n": "\xff"}').status_code == 400
        assert send(ask, backend, b'{"n": "\xed\xa0\x80"}').status_code == 400

    def test_the_last_of_two_equal_names_counts_everywhere(self, ask: Any, backend: NavaiBackend) -> None:
        @backend.function(name="f")
        def f(n: int, order: Order | None = None) -> Any:
            return [n, order]

        text = '{"n": "x", "n": 2, "order": {"product": "a", "amount": 0, "amount": 3}}'
        first = send(ask, backend, text, key="k")
        assert first.json()["result"] == [2, {"product": "a", "amount": 3}]
        again = send(ask, backend, '{"order": {"amount": 3, "product": "a"}, "n": 2.0}', key="k")
        assert again.json() == first.json()
        assert again.headers["idempotent-replayed"] == "true"
        assert send(ask, backend, '{"n": 3}', key="k").status_code == 422

    def test_a_python_payload_that_is_not_json_is_refused(self) -> None:
        def f(n: float) -> float:
            return n

        async def call_tool(value: Any) -> Any:
            async with toolset_of(f) as toolset:
                return await toolset.call("f", {"n": value})

        assert "JSON" in str(asyncio.run(call_tool(float("nan"))).error)
        assert "JSON" in str(asyncio.run(call_tool(object())).error)


def test_a_call_that_could_not_be_bound_does_not_stay_registered(backend: NavaiBackend) -> None:
    def interrupt(_: Any) -> Any:
        raise KeyboardInterrupt

    @backend.function
    async def f(x: Annotated[int, pydantic.AfterValidator(interrupt)]) -> int:
        return x

    (function,) = backend.functions().functions

    async def begin(key: bytes | None) -> None:
        beginning = backend.invoker.begin(
            function, Payload({"x": 1}), BackendRequest("POST", EXECUTE, {}), key=key
        )
        with pytest.raises(KeyboardInterrupt):
            beginning.send(None)

    for key in (None, b"k", b"k"):
        asyncio.run(begin(key))
    assert backend.invoker._running == set()


def test_a_message_with_a_lone_surrogate_is_reported(
    ask: Any, backend: NavaiBackend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(
        "CRITICAL", "navai_client.server"
    )  # xdist cannot send a report with what would be logged

    @backend.function(name="f")
    def f() -> None:
        raise ValueError("\ud800")

    assert json.loads(send(ask, backend, "null").content)["details"] == "\ud800"
    assert send(ask, backend, '{"\\ud800": 1}').json()["details"] == "Invalid arguments: no parameter \ud800."
