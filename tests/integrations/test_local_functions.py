"""Python functions of this process as tools: names, schemas, arguments."""

import asyncio
import dataclasses
import datetime as dt
import functools
import ipaddress
import pathlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic
import pytest

from navai_client import (
    BackendFunction,
    FunctionFailedError,
    FunctionList,
    NavaiBackendClient,
    NavaiConfigError,
)
from navai_client.integrations.routes import NavaiRoute
from navai_client.integrations.tools import ToolOutcome
from navai_client.integrations.toolset import Toolset
from navai_client.server import (
    FunctionContext,
    FunctionRegistry,
    discover_function_modules,
    function as declare,
    load_functions,
)
from navai_client.testing import FakeBackend

if TYPE_CHECKING:
    from fractions import Fraction


class EmptyBackend:
    """A client of a backend without functions."""

    async def execute_function(self, *_: Any, **__: Any) -> None:
        raise AssertionError

    async def list_functions(self) -> FunctionList:
        return FunctionList()


def toolset_with(functions: Any, *listed: str, **options: Any) -> Toolset:
    backend = FunctionList(functions=tuple(BackendFunction(name=name) for name in listed))
    return Toolset(EmptyBackend(), backend, functions=functions, **options)  # type: ignore[arg-type]


def call(function: Callable[..., Any], arguments: Any) -> ToolOutcome:
    async def run() -> ToolOutcome:
        async with toolset_with({"f": function}) as toolset:
            return await toolset.call("f", arguments)

    return asyncio.run(run())


@dataclasses.dataclass
class Order:
    """An order."""

    product: Literal["tea", "coffee"]
    quantity: Annotated[int, pydantic.Field(ge=1)] = 1


SENTINEL = object()


def everything(  # noqa: D417 - of the others nothing is said
    location: Annotated[str, "A city."],
    when: Annotated[dt.date | None, pydantic.Field()] = None,
    *more: int,
    order: Order | None = None,
    schema: int = 3,
    sentinel: object = SENTINEL,
    **others: Any,
) -> Any:
    """Do everything.

    And say more.

    Args:
        when: The
            day.
    """
    return location, when, more, order, schema, sentinel is SENTINEL, others


def test_a_function_is_described_by_its_hints_and_its_docstring() -> None:
    tool = toolset_with([everything]).tools[-1]
    assert (tool.name, tool.description, tool.kind) == ("everything", "Do everything.", "local")
    assert tool.source.endswith("test_local_functions#everything")
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "A city."},
            "when": {
                "anyOf": [{"type": "string", "format": "date"}, {"type": "null"}],
                "default": None,
                "description": "The day.",
            },
            "args": {"type": "array", "items": {"type": "integer"}},
            "order": {
                "anyOf": [
                    {
                        "type": "object",
                        "title": "Order",
                        "description": "An order.",
                        "properties": {
                            "product": {"type": "string", "enum": ["tea", "coffee"]},
                            "quantity": {"type": "integer", "minimum": 1, "default": 1},
                        },
                        "required": ["product"],
                    },
                    {"type": "null"},
                ],
                "default": None,
            },
            "schema": {"type": "integer", "default": 3},
            "sentinel": {},
        },
        "required": ["location"],
        "additionalProperties": True,
    }


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        ({"location": "Rome"}, ["Rome", None, [], None, 3, True, {}]),
        (
            {"location": "Rome", "when": "2026-01-02", "order": {"product": "tea"}, "x": 1},
            ["Rome", "2026-01-02", [], {"product": "tea", "quantity": 1}, 3, True, {"x": 1}],
        ),
        ({"location": "Rome", "args": [1, 2]}, ["Rome", None, [1, 2], None, 3, True, {}]),
        ({"args": ["Rome", None, 1, 2]}, ["Rome", None, [1, 2], None, 3, True, {}]),
        ({"arguments": ["Rome"]}, ["Rome", None, [], None, 3, True, {}]),
        ({"value": "Rome"}, ["Rome", None, [], None, 3, True, {}]),
        ('{"location": "Rome", "schema": 4}', ["Rome", None, [], None, 4, True, {}]),
    ],
    ids=str,
)
def test_arguments_are_bound_in_the_order_of_the_contract(arguments: Any, result: Any) -> None:
    assert call(everything, arguments).result == result


def test_a_payload_that_is_valid_as_the_first_argument_is_passed_whole() -> None:
    def takes_a_dict(order: dict[str, Any]) -> Any:
        return order

    assert call(takes_a_dict, {"product": "tea"}).result == {"product": "tea"}
    assert call(takes_a_dict, {"order": {"product": "tea"}}).result == {"product": "tea"}
    assert call(lambda: "none", None).result == "none"
    assert call(lambda *, only: only, {"only": 1}).result == 1


@pytest.mark.parametrize(
    ("function", "arguments", "problems"),
    [
        (lambda city: city, None, ["missing argument city"]),
        (everything, {"location": 7, "when": "soon"}, ["location: Input should be a valid string", "when: "]),
        (everything, {"location": "", "order": {"product": "x"}}, ["order.product: Input should be 'tea'"]),
    ],
    ids=["missing", "types", "nested"],
)
def test_each_invalid_field_is_reported(
    function: Callable[..., Any], arguments: Any, problems: list[str]
) -> None:
    outcome = call(function, arguments)
    assert (outcome.ok, outcome.error_type) == (False, "invalid_arguments")
    for problem in problems:
        assert problem in (outcome.error or "")


def test_an_unknown_name_is_reported_and_not_passed_as_the_argument() -> None:
    def weather(city: str) -> str:
        return city

    assert call(weather, {"place": "Rome"}).error == (
        "Invalid arguments: missing argument city; no parameter place."
    )

    extra = call(weather, {"city": "Rome", "zip": 1})
    assert extra.error == "Invalid arguments: no parameter zip."

    def keywords(*, city: str) -> str:
        return city

    assert "no parameter place" in (call(keywords, {"place": "Rome"}).error or "")


def test_a_hint_that_cannot_be_resolved_is_not_checked_and_what_cannot_be_called_is_not_offered() -> None:
    class Odd:
        pass

    def unresolved(x: "Fraction") -> Any:
        return x

    def foreign(x: Callable[[int], int], y: threading.Lock, z: Odd) -> Any:
        return x

    assert toolset_with([unresolved]).tools[-1].parameters["properties"] == {"x": {}}
    toolset = toolset_with([foreign])
    assert [tool.name for tool in toolset.tools] == []
    assert 'parameter "x" cannot be given' in toolset.warnings[0]


def test_names_are_made_as_the_javascript_agent_makes_them() -> None:
    class Callable_:  # noqa: N801 - what it is
        async def __call__(self, x: int) -> int:
            """Call it."""
            return x

    def get_x() -> None: ...

    given = [get_x, get_x, functools.partial(get_x), Callable_(), lambda: 0]
    toolset = toolset_with(given)
    assert [tool.name for tool in toolset.tools] == ["get_x", "get_x_2", "get_x_3", "callable", "lambda"]
    assert toolset.warnings == (
        '[navai] Renamed duplicated function "get_x" to "get_x_2".',
        '[navai] Renamed duplicated function "get_x" to "get_x_3".',
    )
    renamed = toolset_with({"getHTMLPage2You": get_x, "¡!": get_x})
    assert [tool.name for tool in renamed.tools] == ["get_htmlpage2_you", "fn"]
    assert renamed.tools[0].description == "Call exported function getHTMLPage2You."
    assert renamed.warnings == ('[navai] Renamed duplicated function "¡!" to "fn".',)


def test_a_local_function_replaces_a_backend_function_of_the_same_name() -> None:
    def weather() -> str:
        return "local"

    toolset = toolset_with([weather], " Weather ", "other", "OTHER", " ")
    assert [(tool.name, tool.kind) for tool in toolset.tools] == [
        ("weather", "local"),
        ("other", "backend"),
    ]
    assert toolset.warnings == (
        '[navai] Ignored backend function " Weather ": name conflicts with a frontend function.',
        '[navai] Ignored duplicated backend function "OTHER".',
    )


def test_a_function_that_needs_approval_is_refused_as_no_person_would_be_asked() -> None:
    @declare(approval=True)
    def pay() -> None: ...

    with pytest.raises(NavaiConfigError, match=r"^functions: pay needs a person's approval"):
        toolset_with([pay])


def test_a_value_that_is_not_callable_is_refused() -> None:
    with pytest.raises(NavaiConfigError, match=r"^functions: x is not callable\.$"):
        toolset_with({"x": 1})


def test_blocking_functions_run_in_threads_and_coroutines_in_the_loop() -> None:
    async def run() -> list[Any]:
        def here() -> bool:
            return threading.current_thread() is threading.main_thread()

        async def there() -> bool:
            return here()

        async with toolset_with({"a": here, "b": there, "c": lambda: there()}) as toolset:  # noqa: PLW0108
            return [(await toolset.call(name)).result for name in "abc"]

    assert asyncio.run(run()) == [False, True, True]


def test_a_large_result_of_a_coroutine_is_converted_while_the_loop_runs() -> None:
    async def run() -> ToolOutcome:
        loop, loop_runs = asyncio.get_running_loop(), threading.Event()

        class Rows(list[Any]):
            def __iter__(self) -> Any:
                loop.call_soon_threadsafe(loop_runs.set)
                assert loop_runs.wait(60), "the event loop was blocked"
                return super().__iter__()

        async def rows() -> Any:
            return Rows({"number": number, "name": "x" * 10} for number in range(10_000))

        async with toolset_with([rows]) as toolset:
            return await toolset.call("rows")

    outcome = asyncio.run(run())
    assert outcome.result == [{"number": number, "name": "x" * 10} for number in range(10_000)]


def test_a_declaration_names_describes_and_limits_a_local_function() -> None:
    @declare(name="findTable", description="Find a table.", timeout=60)
    def find() -> None: ...

    @declare(timeout=0)
    def wait() -> None: ...

    tools = toolset_with([find, wait], timeout=5).tools
    assert [(tool.name, tool.timeout) for tool in tools] == [
        ("find_table", 60),
        ("wait", None),
    ]
    assert tools[0].description == "Find a table."
    limited = toolset_with([find, wait], timeout=5, timeouts={"wait": 7}).tools
    assert [tool.timeout for tool in limited] == [60, 7]


class Cart:
    """A cart of one customer."""

    def __init__(self, customer: str = "nobody") -> None:
        self.customer = customer
        self.products: list[str] = []

    def add(self, product: str) -> list[str]:
        """Add a product.

        Args:
            product: What to add.
        """
        self.products.append(f"{product} for {self.customer}")
        return self.products

    async def count(self) -> int:
        return len(self.products)

    @staticmethod
    def currency() -> str:
        """Return the currency."""
        return "EUR"

    def _internal(self) -> None: ...


class Greeter:
    """Greets."""

    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    def greet(self, name: str, context: FunctionContext) -> str:
        return f"{self.greeting}, {name}: {context.request}"


class Empty:
    """No methods."""


def test_a_class_is_one_tool_for_each_public_method_and_each_call_makes_an_instance() -> None:
    toolset = toolset_with([Cart])
    add, count, currency = toolset.tools
    assert (add.name, add.description, count.name, currency.name) == (
        "cart_add",
        "Add a product.",
        "cart_count",
        "cart_currency",
    )
    assert count.description == "Call class method Cart.count()."
    assert add.source.endswith("test_local_functions#Cart.add")
    assert add.parameters["properties"] == {
        "product": {"type": "string", "description": "What to add."},
        "constructorArgs": {
            "type": "array",
            "prefixItems": [{"type": "string", "default": "nobody"}],
            "minItems": 0,
        },
    }

    async def run() -> list[Any]:
        async with toolset:
            calls: list[tuple[str, Any]] = [
                ("cart_add", {"product": "tea"}),
                ("cart_add", {"constructorArgs": ["Ada"], "methodArgs": ["coffee"]}),
                ("cart_count", None),
                ("cart_currency", {}),
            ]
            return [(await toolset.call(*each)).result for each in calls]

    assert asyncio.run(run()) == [["tea for nobody"], ["coffee for Ada"], 0, "EUR"]


def test_a_class_is_named_by_a_mapping_and_what_its_constructor_needs_is_required() -> None:
    toolset = toolset_with({"desk": Greeter, "shop": Empty})
    (tool,) = toolset.tools
    assert (tool.name, tool.parameters["required"]) == ("desk_greet", ["name", "constructorArgs"])
    assert toolset.warnings == (f"[navai] Ignored {__name__}#Empty: class has no callable instance methods.",)

    async def run() -> list[ToolOutcome]:
        async with toolset:
            given: list[Any] = [{"name": "Ada", "constructorArgs": ["Hello"]}, {"name": "Ada"}]
            return [await toolset.call("desk_greet", each) for each in given]

    greeted, refused = asyncio.run(run())
    assert greeted.result == "Hello, Ada: None"
    assert (refused.ok, refused.error_type) == (False, "invalid_arguments")


@pytest.mark.parametrize("kind", ["threads", "loop", "async navigate"])
def test_a_context_navigates_as_the_toolset_does_and_in_its_event_loop(kind: str) -> None:
    went: list[tuple[str, bool]] = []

    def is_main() -> bool:
        return threading.current_thread() is threading.main_thread()

    def navigate(path: str) -> str:
        went.append((path, is_main()))
        return f"at {path}"

    async def slowly(path: str) -> str:
        await asyncio.sleep(0)
        return navigate(path)

    def open_orders(context) -> Any:  # type: ignore[no-untyped-def]  # noqa: ANN001 - filled by its name
        return context.navigate("/orders")

    async def open_help(context: FunctionContext) -> Any:
        return await context.navigate("/help")

    class Guide:
        def open(self, page: str, context: FunctionContext) -> Any:
            return context.navigate(page)

    how = slowly if kind == "async navigate" else navigate
    function, path = (open_help, "/help") if kind == "loop" else (open_orders, "/orders")

    async def run() -> list[ToolOutcome]:
        async with toolset_with([function, Guide], navigate=how, routes=[]) as toolset:
            assert toolset.tools[1].parameters["properties"] == {}
            return [
                await toolset.call(function.__name__),
                await toolset.call("guide_open", {"page": "/guide"}),
            ]

    assert [outcome.result for outcome in asyncio.run(run())] == [f"at {path}", "at /guide"]
    assert went == [(path, True), ("/guide", True)]


def test_a_coroutine_function_need_not_await_its_navigation() -> None:
    went: list[str] = []
    arrived = asyncio.Event()

    async def navigate(path: str) -> None:
        went.append(path)
        arrived.set()

    async def leave(context: FunctionContext) -> str:
        context.navigate("/bye")
        return "left"

    async def run() -> Any:
        async with toolset_with([leave], navigate=navigate) as toolset:
            outcome = await toolset.call("leave")
            await asyncio.wait_for(arrived.wait(), 60)
            return outcome.result

    assert (asyncio.run(run()), went) == ("left", ["/bye"])


def test_a_class_that_holds_data_is_named_in_a_warning_when_it_is_passed() -> None:
    warning = f"[navai] Ignored {__name__}#Order: class has no callable instance methods."
    assert toolset_with([Order]).warnings == (warning,)
    with FakeBackend() as backend:
        backend.function(few)
        backend.function(Order)
        assert NavaiBackendClient(transport=backend.transport).list_functions().warnings == (warning,)


def test_a_context_without_navigation_says_so_and_a_failing_one_fails_the_call() -> None:
    def go(context: FunctionContext) -> Any:
        return context.navigate("/x")

    def broken(path: str) -> None:
        raise LookupError(f"no page {path}")

    async def run(**options: Any) -> ToolOutcome:
        async with toolset_with([go], **options) as toolset:
            return await toolset.call("go")

    nowhere = asyncio.run(run())
    assert (nowhere.ok, nowhere.details) == (
        False,
        "There is no navigation here: pass navigate= to Toolset.load. A backend has none.",
    )
    failed = asyncio.run(run(navigate=broken))
    assert (failed.ok, failed.details) == (False, "no page /x")


def test_a_derived_toolset_navigates_for_its_functions_without_the_tool() -> None:
    went: list[str] = []

    def go(context: FunctionContext) -> None:
        context.navigate("/x")

    async def run() -> None:
        async with toolset_with([], navigate=went.append, routes=[NavaiRoute(name="x", path="/x")]) as main:
            specialist = main.derive("food", functions=[go], navigate=None)
            assert [tool.name for tool in specialist.tools] == ["go"]
            assert (await specialist.call("go")).ok

    asyncio.run(run())
    assert went == ["/x"]


def test_what_load_functions_found_is_handed_to_a_toolset(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "src" / "ai" / "functions-modules"
    folder.mkdir(parents=True)
    (folder / "cart.py").write_text(
        'class Cart:\n    def add(self, x: int) -> int:\n        """Add one."""\n        return x + 1\n'
    )
    (folder / "nothing.py").write_text("X = 1\n")
    registry = load_functions(discover_function_modules(tmp_path).modules)

    async def run(given: FunctionRegistry) -> None:
        async with toolset_with(given) as toolset:
            (tool,) = toolset.tools
            assert (tool.name, tool.source) == ("cart_add", "src/ai/functions-modules/cart.py#Cart.add")
            assert toolset.warnings == (
                "[navai] Ignored src/ai/functions-modules/nothing.py: module has no exports.",
            )
            assert (await toolset.call("cart_add", {"x": 1})).result == 2

    asyncio.run(run(registry))
    with_more = toolset_with([*registry, few, registry.functions[0]])
    assert [tool.name for tool in with_more.tools] == ["cart_add", "few", "cart_add_2"]
    assert with_more.warnings == ('[navai] Renamed duplicated function "cart_add" to "cart_add_2".',)


class Cat(pydantic.BaseModel):
    """A pet."""

    meow: int


class Dog(pydantic.BaseModel):
    """Another pet."""

    bark: int


def few(n: Annotated[int, pydantic.Field(ge=1, le=50)]) -> int:
    return n


def short(q: str = pydantic.Field("x", max_length=3)) -> str:
    return q


def pet(p: Cat | Dog | str) -> str:
    return type(p).__name__


def address(ip: ipaddress.IPv4Address, path: pathlib.Path | None = None) -> list[Any]:
    return [ip, path]


def own_context(context: str) -> str:
    return context


def rest(a: int, *more: int, **others: str) -> list[Any]:
    return [a, more, others]


def numbers(n: int) -> Any:
    return (each for each in range(n))


@pytest.mark.parametrize(
    ("function", "payload"),
    [
        (few, {"n": 0}),
        (few, {"n": 7.0}),
        (few, {"n": "7"}),
        (few, {"m": 7}),
        (functools.partial(few, n=3), {"n": 4}),
        (functools.partial(few, n=3), {}),
        (short, None),
        (short, {"q": "long"}),
        (pet, {"p": {"bark": 1}}),
        (pet, {"bark": 1}),
        (pet, {"p": 3}),
        (address, {"ip": "1.2.3.4", "path": "/a"}),
        (address, {"ip": "1.2.3"}),
        (own_context, {"context": "a"}),
        (rest, {"args": [1, 2, 3]}),
        (rest, {"a": 1, "k": "v"}),
        (rest, {"a": 1, "k": 2}),
        (numbers, {"n": 3}),
    ],
    ids=lambda value: getattr(value, "__name__", None) or repr(value).partition(" at 0x")[0],
)
def test_a_function_has_the_same_schema_results_and_errors_in_a_toolset_and_in_a_backend(
    function: Any, payload: Any
) -> None:
    with FakeBackend() as backend:
        backend.function(function)
        with NavaiBackendClient("https://navai.test", transport=backend.transport) as client:
            (listed,) = client.list_functions()
            expected: tuple[Any, str | None]
            try:
                expected = client.execute_function(listed.name, payload), None
            except FunctionFailedError as error:
                expected = None, error.details
    toolset = toolset_with([function])
    assert toolset.tools[-1].parameters == listed.parameters
    outcome = asyncio.run(toolset.call(listed.name, payload))
    assert (outcome.result, outcome.error) == expected
