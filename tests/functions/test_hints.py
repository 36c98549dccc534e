"""Hints are resolved one by one; what cannot be resolved, checked or given is a warning."""

from __future__ import annotations

import functools
import threading  # noqa: TC003 - read at run time
from collections.abc import Callable  # noqa: TC003 - read at run time
from typing import TYPE_CHECKING, Any

import attrs
import fastapi
import pytest
from pydantic import BaseModel

from navai_client import NavaiConfigError
from navai_client.server import NavaiBackend, function
from tests.functions.conftest import toolset_of

if TYPE_CHECKING:
    from fractions import Fraction

    from navai_client.server import FunctionContext

MODULE = '''
from __future__ import annotations
from typing import TYPE_CHECKING
from pydantic import BaseModel
if TYPE_CHECKING:
    from decimal import Decimal
    from shop import Receipt
    from navai_client.server import FunctionContext

class Order(BaseModel):
    amount: int

def refund(amount: int, rate: Decimal, order: Order, call: FunctionContext) -> Receipt:
    """Refund."""
    return [amount, rate, type(order).__name__, call.request.path]
'''


def test_a_name_for_type_checkers_costs_the_check_of_its_parameter_only(
    write: Any, backend: NavaiBackend, ask: Any, execute: Any, caplog: pytest.LogCaptureFixture
) -> None:
    write("src/ai/functions-modules/shop.py", MODULE)
    listed = ask(backend, "GET", "/navai/functions").json()
    (item,) = listed["items"]
    assert list(item["parameters"]["properties"]) == ["amount", "rate", "order"]
    assert item["parameters"]["properties"]["amount"] == {"type": "integer"}
    assert item["parameters"]["properties"]["rate"] == {}
    warning = (
        '[navai] src/ai/functions-modules/shop.py#refund: parameter "rate" is not checked: '
        "name 'Decimal' is not defined."
    )
    assert listed["warnings"] == [warning]
    assert warning in caplog.text
    given = {"amount": "all of it", "rate": [1], "order": {"amount": 1}}
    assert execute(backend, "refund", given)["details"] == (
        "Invalid arguments: amount: Input should be a valid integer."
    )
    assert execute(backend, "refund", {**given, "amount": 3})["result"] == [
        3, [1], "Order", "/navai/functions/execute",
    ]  # fmt: skip


def test_a_model_that_is_defined_inside_a_function_is_found(call: Any) -> None:
    class Local(BaseModel):
        n: int

    @attrs.define
    class Node:
        n: int
        other: Node | None = None

    def f(model: Local, node: Node) -> list[Any]:
        return [model, node]

    assert call(f, {"model": {"n": 1}, "node": {"n": 2, "other": {"n": 3}}}) == [
        {"n": 1}, {"n": 2, "other": {"n": 3, "other": None}},
    ]  # fmt: skip
    assert call(f, {"model": {"n": "x"}, "node": {"n": 2}}).startswith("Invalid arguments: model.n:")


def test_a_model_that_a_function_uses_is_found_when_its_own_scope_is_gone(call: Any) -> None:
    def make() -> Callable[..., Any]:
        class Local(BaseModel):
            n: int

        def f(model: Local) -> bool:
            return isinstance(model, Local)

        return f

    f = make()
    assert call(f, {"model": {"n": 1}}) is True
    assert call(f, {"model": {}}) == "Invalid arguments: model.n: Field required."


class Unfinished(BaseModel):
    """A model with a field whose type is not defined."""

    x: Missing  # type: ignore[name-defined]  # noqa: F821 - on purpose


def test_a_model_that_is_not_complete_is_not_checked(backend: NavaiBackend, execute: Any, ask: Any) -> None:
    @backend.function
    def f(model: Unfinished, n: int) -> Any:
        return [model, n]

    (warning,) = ask(backend, "GET", "/navai/functions").json()["warnings"]
    assert 'parameter "model" is not checked: its type is not complete' in warning
    assert execute(backend, "f", {"model": 1, "n": 2})["result"] == [1, 2]
    assert execute(backend, "f", {"model": 1, "n": "x"})["ok"] is False


class TestTheContext:
    """The context goes to parameters of its type, and to one called ``context`` without a type."""

    def test_it_is_recognised_by_its_type_whatever_else_cannot_be_resolved(
        self, backend: NavaiBackend, execute: Any, ask: Any
    ) -> None:
        @backend.function
        def f(n: Fraction, call: FunctionContext, other: FunctionContext | None = None) -> Any:
            return [n, call.request.path, other is call]

        @backend.function
        def g(n: int, context) -> Any:  # type: ignore[no-untyped-def]  # noqa: ANN001
            return [n, context.request.path]

        assert execute(backend, "f", {"n": 1})["result"] == [1, "/navai/functions/execute", True]
        assert execute(backend, "g", {"n": 1})["result"] == [1, "/navai/functions/execute"]
        items = ask(backend, "GET", "/navai/functions").json()["items"]
        assert [list(each["parameters"]["properties"]) for each in items] == [["n"], ["n"]]

    def test_an_ordinary_parameter_is_not_taken_for_the_context(self, call: Any, schema: Any) -> None:
        def f(context: str, n: int = 0) -> Any:
            return [context, n]

        assert call(f, {"context": "billing"}) == ["billing", 0]
        assert call(f, {"n": 1}) == "Invalid arguments: missing argument context."
        assert schema(f)["properties"]["context"] == {"type": "string"}

    def test_a_local_function_has_one_without_a_request(self) -> None:
        def f(context: FunctionContext) -> Any:
            return None

        assert toolset_of(f).tools[0].parameters["properties"] == {}


class TestDefaultsThatAreMarkers:
    """Markers would reach the function instead of a value."""

    def test_a_backend_refuses_them(self, backend: NavaiBackend) -> None:
        def depends(db: str = fastapi.Depends(dict)) -> str:
            return db

        with pytest.raises(NavaiConfigError, match=r'Parameter "db" is filled by Depends\(...\)'):
            backend.function(depends)
        assert backend.functions().names == []

    def test_a_toolset_refuses_them(self) -> None:
        def f(limit: int = object()) -> int:  # type: ignore[assignment]
            return limit

        with pytest.raises(NavaiConfigError, match='The default of parameter "limit" has the type object'):
            toolset_of(f)

    def test_a_discovered_one_is_a_warning(self, backend: NavaiBackend, ask: Any, write: Any) -> None:
        write(
            "src/ai/functions-modules/a.py",
            "class Marker: ...\ndef bad(n: int = Marker()): ...\ndef good(n: int = 1): ...",
        )
        listed = ask(backend, "GET", "/navai/functions").json()
        assert [each["name"] for each in listed["items"]] == ["good"]
        assert any("a.py#bad: The default of parameter" in each for each in listed["warnings"])

    def test_defaults_that_pydantic_converts_are_values(self, call: Any) -> None:
        def f(a: float = 1, b: list[int] = (), c: threading.Lock | None = None) -> Any:  # type: ignore[assignment]
            return [a, b, c]

        assert call(f) == [1, [], None]


def test_a_function_that_no_json_payload_can_call_is_not_listed(
    backend: NavaiBackend, ask: Any, execute: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @backend.function
    def never(lock: threading.Lock, kind: type[int], back: Callable[[], int]) -> None: ...

    @backend.function
    def sometimes(n: int, back: Callable[[], int] = int) -> int:
        return n + back()

    listed = ask(backend, "GET", "/navai/functions").json()
    assert [each["name"] for each in listed["items"]] == ["sometimes"]
    assert list(listed["items"][0]["parameters"]["properties"]) == ["n"]
    assert 'never: parameter "lock" cannot be given' in listed["warnings"][0]
    assert 'sometimes: parameter "back" cannot be given' in listed["warnings"][1]
    assert 'parameter "lock" cannot be given' in caplog.text
    assert execute(backend, "sometimes", {"n": 1})["result"] == 1
    assert execute(backend, "sometimes", {"n": 1, "back": "x"})["details"] == (
        "Invalid arguments: no parameter back."
    )


class TestKindsOfCallables:
    """Every callable can be registered, or is refused with a message that says what to do."""

    def test_partials_publish_and_accept_only_unfilled_parameters(self, call: Any, schema: Any) -> None:
        def search(api_key: str, query: str, limit: int = 5, **more: Any) -> Any:
            return [api_key, query, limit, more]

        f = functools.partial(search, "s3cret", limit=7)
        assert list(schema(f)["properties"]) == ["query"]
        assert "s3cret" not in str(schema(f))
        assert call(f, {"query": "tea"}) == ["s3cret", "tea", 7, {}]
        assert call(f, {"query": "tea", "limit": 9}) == "Invalid arguments: no parameter limit."

        g = functools.partial(functools.partial(search, api_key="s3cret"), limit=7)
        assert call(g, {"query": "tea", "x": 1}) == ["s3cret", "tea", 7, {"x": 1}]
        assert call(g, {"query": "tea", "api_key": "mine"}) == "Invalid arguments: no parameter api_key."

    def test_each_callable_is_called_as_it_is(self, backend: NavaiBackend, execute: Any) -> None:
        class Shop:
            """A shop."""

            def buy(self, n: int) -> str:
                return f"bought {n}"

            @classmethod
            def count(cls, n: int) -> str:
                return f"{cls.__name__} {n}"

            @staticmethod
            @backend.function
            def plain(n: int) -> int:
                return n

            def __call__(self, n: int) -> int:
                return n

        class Later:
            async def __call__(self, n: int) -> int:
                return n

        backend.function(Shop().buy)
        backend.function(Shop.count)
        backend.function(Shop())
        backend.function(Later())
        backend.function(functools.partial(Shop().buy, 2))
        backend.function(functools.partial(Later(), n=3), name="three")
        backend.function(Shop.__dict__["plain"], name="static")
        assert backend.functions().names == [
            "plain", "buy", "count", "shop", "later", "buy_2", "three", "static",
        ]  # fmt: skip
        assert execute(backend, "buy", {"n": 1})["result"] == "bought 1"
        assert execute(backend, "count", {"n": 1})["result"] == "Shop 1"
        assert execute(backend, "shop", {"n": 1})["result"] == 1
        assert execute(backend, "later", {"n": 1})["result"] == 1
        assert execute(backend, "buy_2")["result"] == "bought 2"
        assert execute(backend, "three")["result"] == 3
        assert execute(backend, "static", {"n": 1})["result"] == 1
        assert execute(backend, "buy", {"n": "x"})["ok"] is False

    def test_a_method_without_an_instance_is_refused(self, backend: NavaiBackend) -> None:
        with pytest.raises(NavaiConfigError, match=r"Shop\.buy is a method without an instance\. Register"):

            class Shop:
                @backend.function
                def buy(self, n: int) -> int:
                    return n

        class Other:
            def buy(self) -> None: ...

        with pytest.raises(NavaiConfigError, match=r"backend\.function\(instance\.buy\)"):
            backend.function(Other.buy)
        with pytest.raises(NavaiConfigError, match="method without an instance"):
            toolset_of(Other.buy)
        assert backend.functions().names == []

    def test_a_class_method_that_is_not_bound_yet_says_what_to_do(self, backend: NavaiBackend) -> None:
        with pytest.raises(
            NavaiConfigError, match=r"Register it after the class: backend\.function\(.*count\)"
        ):

            class Shop:
                @backend.function
                @classmethod
                def count(cls) -> int:
                    return 1

    def test_what_cannot_be_called_is_refused(self, backend: NavaiBackend) -> None:
        with pytest.raises(NavaiConfigError, match="A function is required; this has the type int"):
            backend.function(3)


class TestTheDeclaration:
    """A declaration by ``function`` applies wherever the function is offered."""

    def test_the_decorator_only_marks(self) -> None:
        @function(name="other", timeout=3)
        def f(n: int) -> int:
            """Do it."""
            return n

        assert f(3) == 3
        assert function(f) is f

    def test_it_holds_for_a_discovered_function(self, backend: NavaiBackend, ask: Any, write: Any) -> None:
        write(
            "src/ai/functions-modules/a.py",
            """
import functools
from navai_client.server import function
@function(name="buyTea", description="Buy some.", timeout=7)
def buy(n: int): ...
class Shop:
    @function(name="sell")
    def sold(self): ...
    def rest(self): '''Rest.'''
@function
class Plain:
    def go(self): ...
tool = function(name="tool")(functools.partial(buy, 1))
untold = functools.partial(buy, 1)
""",
        )
        listed = ask(backend, "GET", "/navai/functions").json()
        assert [(each["name"], each["description"]) for each in listed["items"]] == [
            ("buy_tea", "Buy some."),
            ("sell", "Call class method Shop.sold()."),
            ("shop_rest", "Rest."),
            ("plain_go", "Call class method Plain.go()."),
            ("tool", "Buy some."),
        ]
        assert [each.declaration.timeout for each in backend.functions().functions] == [
            7,
            None,
            None,
            None,
            7,
        ]

    def test_it_holds_for_a_registered_and_a_local_function(self, backend: NavaiBackend) -> None:
        @function(name="tea", description="Buy tea.", timeout=7)
        def buy(n: int) -> int:
            return n

        backend.function(buy)
        backend.function(description="Other.", timeout=0)(buy)
        first, second = backend.functions().functions
        assert (first.name, first.description, first.declaration.timeout) == ("tea", "Buy tea.", 7)
        assert (second.name, second.description, second.declaration.timeout) == ("tea_2", "Other.", 0)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            first.declaration.name = "x"  # type: ignore[misc]
        (tool,) = toolset_of(buy).tools
        assert (tool.name, tool.description) == ("f", "Buy tea.")

    def test_a_callable_that_cannot_be_marked_is_refused(self) -> None:
        class Shop:
            def buy(self) -> None: ...

        with pytest.raises(NavaiConfigError, match="A method cannot be marked"):
            function(Shop().buy)
