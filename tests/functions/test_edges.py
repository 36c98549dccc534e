"""Edge cases of types: each of these was once lost, refused, or accepted by mistake."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import enum
import functools
import threading
import typing
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, LiteralString, NotRequired, Self, TypeVar

import attrs
import fastapi
import msgspec
import numpy as np
import pydantic
import pytest
from typing_extensions import ParamSpec, TypeAliasType, TypedDict, Unpack

from navai_client.errors import NavaiConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from navai_client.server import NavaiBackend

P = ParamSpec("P")
T = TypeVar("T")


class Options(TypedDict):
    """Annotated by strings, as everything in this module: the qualifiers are in the string."""

    size: int
    colour: NotRequired[str]


class Level(enum.Enum):
    """An enum with values of several types."""

    LOW = "low"
    PAIR = (1, 2)


@dataclasses.dataclass
class Node(Generic[T]):
    """A recursive type."""

    value: T
    following: Node[T] | None = None
    same: Self | None = None


@dataclasses.dataclass
class InOrder:
    """With a parameter that has no name for callers."""

    n: int

    def __init__(self, n: int, /, more: int = 0) -> None:
        self.n = n + more


@attrs.define
class Line:
    """With a factory and a validator."""

    count: int = attrs.field(validator=attrs.validators.in_([1, 2]))
    tags: list[str] = attrs.field(factory=list)


class Tagged(msgspec.Struct, tag="tagged"):
    """With a tag."""

    model: Inner


class Inner(pydantic.BaseModel):
    """With a model of its own."""

    options: Options


Lines = TypeAliasType("Lines", list[Line])
Many = TypeAliasType("Many", "list[T] | dict[str, Many[T]]", type_params=(T,))
Elsewhere = TypeAliasType("Elsewhere", "list[NotHere]")  # type: ignore[name-defined]  # noqa: F821


class Raw(pydantic.BaseModel):
    """With bytes in UTF-8, as Pydantic reads them."""

    data: bytes


class Objects(enum.Enum):
    """With values that are not JSON."""

    ONE = object()


class Unfinished(pydantic.BaseModel):
    """With a type that does not exist."""

    of: Missing  # type: ignore[name-defined]  # noqa: F821


class Plain:
    """Without a form in JSON."""


class TestTheEmptyForms:
    """Payloads that resemble the contract's forms, and are not."""

    @pytest.mark.parametrize("given", [[], {}, 5, None])
    def test_args_that_is_not_a_list_of_arguments_is_a_name(self, call: Any, given: Any) -> None:
        def f(x: int) -> int:
            return x

        assert call(f, {"args": given}) == "Invalid arguments: missing argument x; no parameter args."
        assert call(lambda: 1, {"args": given}) == "Invalid arguments: no parameter args."

    def test_a_function_of_keywords_gets_all_names(self, call: Any) -> None:
        def f(**names: int) -> Any:
            return names

        for payload in ({"value": 2}, {"value": 2, "n": 1}):
            assert call(f, payload) == payload
        assert call(f, {"args": [1]}) == "Invalid arguments: args: Input should be a valid integer."

    def test_the_text_of_an_error_is_a_sentence(self, call: Any) -> None:
        def f(data: bytes = b"") -> Any:
            return data

        assert call(f, {"": 1}) == 'Invalid arguments: no parameter "".'
        assert not call(f, {"data": "!"}).endswith("..")

    def test_what_the_schema_admits_for_a_parameter_with_a_reserved_name(self, call: Any) -> None:
        def f(b: int = 0, value: int = 0) -> Any:
            return [b, value]

        def g(args: list[int]) -> Any:
            return args

        def h(*, value: int) -> Any:
            return value

        assert call(f, {"value": 5}) == [0, 5]
        assert call(g, {"args": [1, 2]}) == [1, 2]
        assert call(g, {"args": [[1, 2]]}) == [1, 2]
        assert call(h, {"value": 3}) == 3


class TestHints:
    """What a hint means."""

    def test_the_keys_of_unpacked_keywords_are_parameters(self, call: Any, schema: Any) -> None:
        def f(**options: Unpack[Options]) -> Any:
            return options

        assert call(f, {"size": 1}) == {"size": 1}
        assert call(f, {"size": 1, "colour": "red"}) == {"size": 1, "colour": "red"}
        assert call(f, {"size": "1"}) == "Invalid arguments: size: Input should be a valid integer."
        assert call(f, {"colour": "red"}) == "Invalid arguments: missing argument size."
        assert schema(f)["required"] == ["size"]

    def test_each_unpacked_position_is_checked(self, call: Any) -> None:
        def f(*row: *tuple[int, Node[int]]) -> Any:
            return row

        def g(*row: Unpack[tuple[int, str]]) -> Any:  # noqa: UP044 - as on older versions
            return row

        assert call(f, {"args": [1, {"value": 2}]})[1]["value"] == 2
        assert call(g, {"args": [1, "a"]}) == [1, "a"]
        for each in (f, g):
            assert "args.0: Input should be a valid integer" in call(each, {"args": ["a", "a"]})

    def test_the_parameters_of_a_wrapper_without_a_name_are_not_checked(
        self, backend: NavaiBackend, execute: Any
    ) -> None:
        def wrap(inner: Callable[P, T]) -> Callable[P, T]:
            def outer(*args: P.args, **names: P.kwargs) -> T:
                return inner(*args, **names)

            return outer

        backend.function(name="f")(wrap(lambda x, y=2: [x, y]))
        assert execute(backend, "f", {"x": 1})["result"] == [1, 2]
        assert "is not checked: its type is that of another function" in backend.functions().warnings[0]

    def test_qualifiers_in_string_annotations_count(self, call: Any, schema: Any) -> None:
        def f(options: Options) -> Any:
            return options

        assert call(f, {"options": {"size": 1}}) == {"size": 1}
        assert schema(f)["properties"]["options"]["required"] == ["size"]

    def test_a_recursive_generic_class_is_checked_by_its_type(self, call: Any) -> None:
        def f(node: Node[int]) -> Any:
            return node

        given = {"value": 1, "following": {"value": 2, "following": None, "same": None}, "same": None}
        assert call(f, {"node": given}) == given
        for name in ("following", "same"):
            assert call(f, {"node": {"value": 1, name: {"value": "x"}}}) == (
                f"Invalid arguments: node.{name}.value: Input should be a valid integer."
            )

    def test_self_is_the_class_of_a_bound_method(self, backend: NavaiBackend) -> None:
        class Shop:
            def join(self, other: Self | None = None) -> None: ...

            def merge(self, other: Self) -> None: ...

        backend.function(Shop().join)
        backend.function(Shop().merge)
        assert backend.functions().names == ["join"]
        assert (
            'parameter "other" cannot be given: Self has no form in JSON' in backend.functions().warnings[1]
        )

    def test_a_type_alias_is_checked_as_its_value(self, call: Any, backend: NavaiBackend) -> None:
        def f(lines: Lines, many: Many[int] | None = None) -> Any:
            return [lines, many]

        def g(x: Any) -> Any:
            return x

        g.__annotations__ = {"x": Elsewhere}
        assert call(f, {"lines": [{"count": 1}], "many": {"a": [1.0]}}) == [
            [{"count": 1, "tags": []}],
            {"a": [1]},
        ]
        assert "lines.0: 'count' must be" in call(f, {"lines": [{"count": 3}]})
        assert "many.a.0: Input should be a valid integer" in call(f, {"lines": [], "many": {"a": ["x"]}})
        backend.function(g)
        assert 'parameter "x" is not checked' in backend.functions().warnings[0]

    def test_literals_and_enums_are_compared_as_json(self, call: Any, schema: Any) -> None:
        def f(x: Literal[Level.LOW, 1], level: Level = Level.LOW, text: LiteralString = "") -> Any:
            return [repr(x), repr(level), text]

        published = schema(f)["properties"]
        assert published["x"]["enum"] == ["low", 1]
        assert call(f, {"x": "low", "level": [1, 2], "text": "t"}) == [
            "<Level.LOW: 'low'>",
            "<Level.PAIR: (1, 2)>",
            "t",
        ]
        assert "x: Input should be" in call(f, {"x": True})

    def test_a_member_of_a_union_without_a_form_in_json_costs_itself_only(
        self, call: Any, schema: Any
    ) -> None:
        def f(source: str | typing.IO[bytes] | Plain) -> Any:
            return source

        assert schema(f)["properties"]["source"] == {"type": "string"}
        assert call(f, {"source": "a"}) == "a"
        assert call(f, {"source": 1}) == "Invalid arguments: source: Input should be a valid string."

    def test_bytes_are_base64_once_and_say_so(self, call: Any, schema: Any) -> None:
        def f(a: bytes, b: pydantic.Base64Bytes, c: Annotated[bytes, pydantic.Field(max_length=2)]) -> Any:
            return [a, b, c]

        assert call(f, {"a": "YQ==", "b": "YQ==", "c": "YWI="}) == ["YQ==", "YQ==", "YWI="]
        for published in schema(f)["properties"].values():
            assert published == {"type": "string", "contentEncoding": "base64"}

    def test_keys_with_a_pattern_are_the_only_ones(self, call: Any, schema: Any) -> None:
        def f(x: dict[Annotated[str, pydantic.Field(pattern="^a")], int]) -> Any:
            return x

        assert schema(f)["properties"]["x"]["additionalProperties"] is False
        assert call(f, {"x": {"b": 1}}).startswith("Invalid arguments: x.b:")

    def test_a_number_that_no_float_holds_is_refused(self, call: Any) -> None:
        def f(x: float) -> Any:
            return x

        assert call(f, {"x": 10**400}) == "Invalid arguments: x: Input should be a finite number."

    def test_bytes_of_a_model_are_text_as_it_says(self, schema: Any) -> None:
        def f(x: Raw) -> Any:
            return x

        assert schema(f)["properties"]["x"]["properties"]["data"] == {"type": "string", "format": "binary"}

    def test_unpacked_positions_of_an_annotation_that_is_not_a_string(self, call: Any) -> None:
        def f(*row: Any) -> Any:
            return row

        f.__annotations__ = {"row": next(iter(tuple[int, str]))}  # type: ignore[call-overload]
        assert call(f, {"args": [1, "a"]}) == [1, "a"]
        assert "args.1: Input should be a valid string" in call(f, {"args": [1, 1]})

    @pytest.mark.parametrize(
        ("hint", "reason"),
        [
            (Annotated[str, pydantic.Field(pattern="(?=a)")], "cannot be given: error: look-around"),
            (Annotated[str, pydantic.Field(pattern="(?=a)")] | None, "cannot be given: error: look-around"),
            (Plain, "cannot be given: tests.functions.test_edges.Plain has no form in JSON"),
            (Objects, "cannot be given: Unable to serialize unknown type"),
            (int | Unfinished, "is not checked: its type is not complete"),
        ],
    )
    def test_a_warning_says_what_is_wrong_with_a_type(
        self, backend: NavaiBackend, hint: Any, reason: str
    ) -> None:
        def f(x: Any) -> Any:
            return x

        f.__annotations__ = {"x": hint}
        backend.function(f)
        assert f'parameter "x" {reason}' in backend.functions().warnings[0]


class TestClasses:
    """How instances are made."""

    def test_a_positional_only_parameter_is_filled(self, call: Any) -> None:
        def f(x: InOrder) -> int:
            return x.n

        assert call(f, {"x": {"n": 1, "more": 2}}) == 3

    def test_a_factory_is_not_a_default_and_errors_of_validators_are_clear(
        self, call: Any, schema: Any
    ) -> None:
        def f(line: Line) -> Any:
            return line

        assert "default" not in schema(f)["properties"]["line"]["properties"]["tags"]
        assert call(f, {"line": {"count": 3}}) == (
            "Invalid arguments: line: 'count' must be in [1, 2] (got 3)."
        )

    def test_a_struct_is_described_and_checked_at_any_depth(self, call: Any, schema: Any) -> None:
        def f(x: Tagged) -> Any:
            return x.model

        published = schema(f)["properties"]["x"]["properties"]["model"]["properties"]["options"]
        assert published["properties"]["size"] == {"type": "integer"}
        assert call(f, {"x": {"type": "tagged", "model": {"options": {"size": 1}}}}) == {
            "options": {"size": 1}
        }
        assert call(f, {"x": {"type": "tagged", "model": {"options": {"size": "1"}}}}) == (
            "Invalid arguments: x: options: size: Input should be a valid integer - at `$.model`."
        )
        assert call(f, {"x": {"model": {"options": {"size": 1}}}}) == (
            "Invalid arguments: x: Object missing required field `type`."
        )


class Till:
    """Made with arguments."""

    def __init__(self, start: int, step: int = 1) -> None:
        self.start = start + step

    def add(self, n: int) -> int:
        return self.start + n


class Named:
    """Made with an argument that only goes by its name."""

    def __init__(self, *, start: int) -> None: ...

    def add(self) -> None: ...


def test_the_schema_of_a_method_has_the_arguments_of_its_constructor(
    backend: NavaiBackend, execute: Any, ask: Any
) -> None:
    backend.function(Till)
    backend.function(Named)
    listed = ask(backend, "GET", "/navai/functions").json()
    (published,) = (each["parameters"] for each in listed["items"])
    assert published["required"] == ["n", "constructorArgs"]
    assert published["properties"]["constructorArgs"] == {
        "type": "array",
        "prefixItems": [{"type": "integer"}, {"type": "integer", "default": 1}],
        "minItems": 1,
    }
    assert execute(backend, "till_add", {"constructorArgs": [1], "n": 2})["result"] == 4
    assert execute(backend, "till_add", {"n": 2})["details"] == "Invalid arguments: missing argument start."
    assert execute(backend, "till_add", {"constructorArgs": [1]})["details"] == (
        "Invalid arguments: missing argument n."
    )
    assert 'parameter "start" of the constructor cannot be given by position' in listed["warnings"][0]


class Settings(pydantic.BaseModel):
    """With secrets."""

    password: str = "hunter2"
    name: str = "Ada"
    token: pydantic.SecretStr = pydantic.SecretStr("hunter3")


class TestDefaults:
    """Which defaults are published, and which are not."""

    def test_a_secret_is_not_published(self, schema: Any) -> None:
        key = "sk-" + "a1B2" * 8

        def f(  # noqa: PLR0917 - as callers see it
            secret: pydantic.SecretStr = "hunter2",  # type: ignore[assignment]
            maybe: pydantic.SecretStr | None = pydantic.Field("hunter2"),  # type: ignore[assignment]  # noqa: B008 - a marker
            api_key: str = "hunter2",
            where: str = f"https://example.com?{key}",
            settings: Settings = Settings(),  # noqa: B008
            more: list[Settings] = [],  # noqa: B006
            limit: int = 5,
        ) -> None: ...

        published = schema(f)
        text = str(published)
        assert "hunter" not in text
        assert key not in text
        assert "***" not in text
        assert published["properties"]["limit"]["default"] == 5
        assert published["properties"]["settings"]["properties"]["name"]["default"] == "Ada"

    def test_a_marker_of_a_framework_is_refused_with_and_without_a_type(self, backend: NavaiBackend) -> None:
        def untyped(db=fastapi.Depends(dict)) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001, B008

        def annotated(db: Annotated[dict[str, Any], fastapi.Security(dict)]) -> None: ...

        for each in (untyped, annotated):
            with pytest.raises(NavaiConfigError, match='Parameter "db" is filled by'):
                backend.function(each)

    def test_the_default_of_a_field_is_a_value_of_its_type(self, backend: NavaiBackend) -> None:
        def f(x: int = fastapi.Query("a")) -> int:
            return x

        with pytest.raises(NavaiConfigError, match='The default of parameter "x" has the type str'):
            backend.function(f)

    def test_arguments_that_a_partial_binds_must_fit(self, backend: NavaiBackend) -> None:
        f: Any = lambda x: x  # noqa: E731 - mypy must not know better
        f.__name__ = "f"
        for wrong in (functools.partial(f, 1, 2), functools.partial(f, secret="hunter2")):
            with pytest.raises(NavaiConfigError) as caught:
                backend.function(wrong)
            assert str(caught.value) == "The arguments that functools.partial has bound do not fit f."


class Unreadable:
    """Raises SystemExit when it is inspected."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        raise SystemExit(3)

    def __call__(self) -> None: ...

    @property
    def __signature__(self) -> Any:
        raise RuntimeError("no signature")


class Described(pydantic.BaseModel):
    """With what JSON cannot hold in its schema."""

    n: int = pydantic.Field(json_schema_extra={"pattern": object()})  # type: ignore[dict-item]


class TestReading:
    """A function that cannot be read costs itself only."""

    def test_a_module_keeps_its_other_functions(self, backend: NavaiBackend, ask: Any, write: Any) -> None:
        write(
            "src/ai/functions-modules/a.py",
            """
from tests.functions.test_edges import Unreadable
def first(x: Unreadable): ...
second = Unreadable()
def third(n: int): ...
__all__ = ["first", "second", "third"]
""",
        )
        listed = ask(backend, "GET", "/navai/functions").json()
        assert [each["name"] for each in listed["items"]] == ["third"]
        assert [each.partition("a.py#first: first cannot be read: ")[2] for each in listed["warnings"]] == [
            "3",
            "",
        ]
        assert listed["warnings"][1].endswith("a.py#second: second cannot be read: no signature")

    def test_a_schema_that_is_not_json_costs_its_parameter(self, backend: NavaiBackend, ask: Any) -> None:
        def f(x: Described | None = None, y: int = 1) -> Any:
            return [x, y]

        backend.function(f)
        listed = ask(backend, "GET", "/navai/functions").json()
        assert listed["items"][0]["parameters"]["properties"] == {"y": {"type": "integer", "default": 1}}
        assert 'parameter "x" cannot be given' in listed["warnings"][0]

    def test_a_wrapper_of_itself_takes_any_arguments(self, call: Any) -> None:
        def f(x: int) -> int:
            return x

        f.__wrapped__ = f  # type: ignore[attr-defined]
        assert call(f, {"args": [3]}) == 3

    def test_two_parameters_of_one_name_are_refused(self, backend: NavaiBackend) -> None:
        def f(a: int = pydantic.Field(1, alias="b"), b: int = 2) -> Any:
            return [a, b]

        with pytest.raises(NavaiConfigError, match="Two parameters have the same name, by an alias"):
            backend.function(f)


class Exits:
    """Raises SystemExit when it is encoded."""

    def model_dump(self, mode: str) -> Any:
        raise SystemExit(mode)


class TestResults:
    """What a function may return."""

    def test_a_generator_works_in_the_thread_of_its_function(self, call: Any) -> None:
        def f() -> Any:
            yield threading.current_thread() is threading.main_thread()

        assert call(f) == [False]

    def test_a_cancellation_while_a_result_is_read_is_a_failure(
        self, backend: NavaiBackend, execute: Any
    ) -> None:
        @backend.function
        def f() -> Any:
            yield 1
            raise asyncio.CancelledError("stopped")

        assert execute(backend, "f")["details"] == "stopped"

    @pytest.mark.parametrize(
        ("result", "given"),
        [
            (lambda: collections.UserList([1, Level.LOW]), [1, "low"]),
            (lambda: collections.UserString("a"), "a"),
            (lambda: {np.int64(1): 2, np.str_("z"): 3}, {"1": 2, "z": 3}),
            (Exits, "json"),
        ],
    )
    def test_each_result_is_encoded_or_a_failure(self, call: Any, result: Any, given: Any) -> None:
        assert call(lambda: result()) == given  # noqa: PLW0108 - a class would be registered by its methods
