"""Arguments by their type hints: what is checked is what is published."""

import dataclasses
import datetime as dt
import decimal
import enum
import ipaddress
import pathlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Required,
    TypedDict,
    TypeVar,
)

import attrs
import fastapi
import msgspec
import pydantic
import pytest
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, PositiveInt, StringConstraints

T = TypeVar("T")


class Cat(BaseModel):
    """A cat."""

    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    """A dog."""

    kind: Literal["dog"]
    tricks: list[str] = []


class Tree(BaseModel):
    """A tree."""

    name: str
    children: list["Tree"] = []


class Aliased(BaseModel):
    """Names of JavaScript."""

    first_name: str = Field(alias="firstName")


@pydantic.dataclasses.dataclass
class Checked:
    """A data class of Pydantic."""

    quantity: int = Field(ge=1, le=50)


@dataclasses.dataclass
class Order:
    """An order."""

    product: Literal["tea", "coffee"]
    quantity: Annotated[int, Field(ge=1)] = 1
    tags: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        if self.quantity == 13:
            raise KeyError("unlucky")


@dataclasses.dataclass(init=False)
class OwnInit:
    """A data class with an __init__ of its own."""

    text: str

    def __init__(self, words: list[str]) -> None:
        self.text = " ".join(words)


def upper(text: str) -> str:
    return text.upper()


def split(text: str) -> list[str]:
    return text.split(",")


@attrs.define
class Line:
    """A line of an order."""

    sku: str = attrs.field(converter=upper)
    tags: list[str] = attrs.field(converter=split)  # of the text that it takes
    count: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    _note: str = ""
    inner: "Line | None" = None


class Point(msgspec.Struct, rename="camel"):
    """A point."""

    x_value: Annotated[int, msgspec.Meta(ge=0)]
    label: str = ""


class Framed(msgspec.Struct):
    """A struct that holds a model."""

    cat: Cat


class Before(BaseModel):
    """With a validator that passes on what it gets: it is no JSON any more."""

    pair: tuple[int, str] = (0, "")
    several: set[int] = set()
    price: decimal.Decimal | None = None
    data: bytes = b""
    day: dt.date | None = None
    n: int = 0

    @pydantic.model_validator(mode="before")
    @classmethod
    def pass_on(cls, given: Any) -> Any:
        return given


class Place(TypedDict, total=False):
    """A place."""

    name: Required[str]
    line: Line


Keyed = TypedDict("Keyed", {"a-b": int, "class": NotRequired[list[Line]]})
Number = NewType("Number", int)
Rows = NewType("Rows", list[Line])


class Odd:
    """A type that raises when it is inspected."""

    def __eq__(self, other: object) -> bool:
        raise LookupError("no comparison")

    __hash__ = None  # type: ignore[assignment]

    def __call__(self) -> None:
        """Count as a type for the typing module."""


@dataclasses.dataclass(init=False)
class Open:
    """A data class that takes any name."""

    values: dict[str, Any]

    def __init__(self, *_: Any, **values: Any) -> None:
        self.values = values


@dataclasses.dataclass
class Box(Generic[T]):
    """A box."""

    content: T
    more: list[T] = dataclasses.field(default_factory=list)


class Size(enum.Enum):
    """A size."""

    SMALL = "s"
    ONE = 1


class Pair(NamedTuple):
    """A pair."""

    a: int
    b: str


def stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def no_zero(value: int) -> int:
    assert value, "not zero"
    return value


def broken(_value: Any) -> Any:
    raise KeyError("no such thing")


GIVEN = [
    (int, 5, 5),
    (int, 2.0, 2),
    (int, 10**30, 10**30),
    (float, 2, 2.0),
    (bool, True, True),
    (dt.date, "2026-01-02", "2026-01-02"),
    (dt.datetime, "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
    (dt.timedelta, "PT1M", "PT1M"),
    (decimal.Decimal, "1.10", "1.10"),
    (uuid.UUID, "00000000-0000-0000-0000-000000000007", "00000000-0000-0000-0000-000000000007"),
    (bytes, "//8=", "//8="),
    (pathlib.Path, "a/b", "a/b"),
    (ipaddress.IPv4Address, "127.0.0.1", "127.0.0.1"),
    (pydantic.SecretStr, "hush", "**********"),
    (pydantic.HttpUrl, "https://example.com/a", "https://example.com/a"),
    (Annotated[int, Field(ge=1, le=50)], 50, 50),
    (PositiveInt, 1, 1),
    (Annotated[str, StringConstraints(min_length=2, pattern="^a")], "ab", "ab"),
    (Annotated[str, BeforeValidator(stripped)], " a ", "a"),
    (Annotated[dt.date, BeforeValidator(stripped)], " 2026-01-02 ", "2026-01-02"),
    (Annotated[dt.date, BeforeValidator(stripped)], "2026-01-02", "2026-01-02"),
    (list[Annotated[dt.date, BeforeValidator(stripped)]] | None, [" 2026-01-02"], ["2026-01-02"]),
    (
        tuple[Annotated[dt.date, BeforeValidator(stripped)], dict[str, Any]],
        [" 2026-01-02", {"a": 1}],
        ["2026-01-02", {"a": 1}],
    ),
    (Annotated[int, AfterValidator(no_zero)], 1, 1),
    (Annotated[int, msgspec.Meta(ge=1)], 1, 1),
    (Cat | Dog, {"kind": "dog", "tricks": ["sit"]}, {"kind": "dog", "tricks": ["sit"]}),
    (Cat | str, "tom", "tom"),
    (dt.date | dt.datetime, "2026-01-02T03:04:05", "2026-01-02T03:04:05"),
    (int | None, None, None),
    (int | str, 2.0, 2),
    (
        Tree,
        {"name": "a", "children": [{"name": "b"}]},
        {"name": "a", "children": [{"name": "b", "children": []}]},
    ),
    (Aliased, {"firstName": "Ada"}, {"firstName": "Ada"}),
    (
        Before,
        {"pair": [1.0, "a"], "several": [1], "price": "1.5", "data": "a", "day": "2026-01-02", "n": 2.0},
        {"pair": [1, "a"], "several": [1], "price": "1.5", "data": "a", "day": "2026-01-02", "n": 2},
    ),
    (Checked, {"quantity": 50}, {"quantity": 50}),
    (Order, {"product": "tea"}, {"product": "tea", "quantity": 1, "tags": []}),
    (list[Order], [{"product": "tea", "quantity": 2.0}], [{"product": "tea", "quantity": 2, "tags": []}]),
    (OwnInit, {"words": ["a", "b"]}, {"text": "a b"}),
    (
        Line,
        {"sku": "tea", "tags": "a,b", "note": "n", "inner": {"sku": "x", "tags": ""}},
        {
            "sku": "TEA", "tags": ["a", "b"], "count": 1, "note": "n",
            "inner": {"sku": "X", "tags": [""], "count": 1, "note": "", "inner": None},
        },
    ),
    (Point, {"xValue": 1}, {"xValue": 1, "label": ""}),
    (Place, {"name": "x", "line": {"sku": "a", "tags": ""}}, None),
    (dict[str, Point], {"a": {"xValue": 0}}, {"a": {"xValue": 0, "label": ""}}),
    (Box[int], {"content": 2.0, "more": [3.0]}, {"content": 2, "more": [3]}),
    (Open, {"a": 1, "b": "x"}, {"values": {"a": 1, "b": "x"}}),
    (Framed, {"cat": {"kind": "cat", "lives": 7}}, {"cat": {"kind": "cat", "lives": 7}}),
    (Size, "s", "s"),
    (Size, 1, 1),
    (Literal[1, "a"], 1.0, 1),
    (Literal[True], True, True),
    (Pair, [1, "b"], [1, "b"]),
    (set[int], [1, 1], [1]),
    (Keyed, {"a-b": 1.0}, {"a-b": 1}),
    (Number, 1.0, 1),
    (Rows, [], []),
    (Odd(), "anything", "anything"),
    (frozenset[str], ["a", "a"], ["a"]),
    (Iterable[int], [1, 2], [1, 2]),
    (Sequence[Order], [{"product": "tea"}], [{"product": "tea", "quantity": 1, "tags": []}]),
    (Mapping[str, int], {"a": 1}, {"a": 1}),
    (list["int"], [1], [1]),
    (Any, {"a": [1.0]}, {"a": [1.0]}),
]  # fmt: skip


@pytest.mark.parametrize(("hint", "value", "result"), GIVEN, ids=lambda each: str(each)[:40])
def test_a_value_of_the_type_reaches_the_function(call: Any, hint: Any, value: Any, result: Any) -> None:
    def f(x):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        seen.append(x)
        return x

    f.__annotations__ = {"x": hint}
    seen: list[Any] = []
    given = call(f, {"x": value})
    assert result is None or given == result
    assert isinstance(given, str) <= isinstance(value, str)
    assert seen[0] == seen[1]


REFUSED = [
    (int, "5"),
    (int, True),
    (int, 2.5),
    (float, "2"),
    (bool, 1),
    (bool, "true"),
    (str, 1),
    (str, None),
    (dt.date, 1),
    (decimal.Decimal, True),
    (ipaddress.IPv4Address, "999.0.0.1"),
    (pydantic.HttpUrl, "no url"),
    (Annotated[int, Field(ge=1, le=50)], 999),
    (Annotated[int, msgspec.Meta(ge=1)], 0),
    (PositiveInt, 0),
    (Annotated[str, StringConstraints(min_length=2)], "a"),
    (Annotated[int, AfterValidator(no_zero)], 0),
    (Annotated[int, AfterValidator(broken)], 1),
    (Annotated[int, AfterValidator(broken)], 2.0),
    (Annotated[int, Field(ge=5)], 2.0),
    (Annotated[int, BeforeValidator(broken)], 1),
    (Cat | Dog, {"kind": "cow"}),
    (Cat | str, 3),
    (Tree, {"name": "a", "children": [{}]}),
    (Aliased, {"first_name": "Ada"}),
    (Before, {"pair": ["1", "a"]}),
    (Before, {"several": [1], "n": "2"}),
    (Before, {"price": True}),
    (Checked, {"quantity": 999}),
    (Order, {"product": "tea", "quantity": 0}),
    (Order, {"product": "tea", "quantity": 13}),
    (Order, {"product": "tea", "quantity": "1"}),
    (Line, {"sku": "a", "tags": "", "count": 0}),
    (Line, {"sku": 1, "tags": ""}),
    (Point, {"xValue": -1}),
    (Framed, {"cat": {"kind": "dog"}}),
    (Keyed, {"a-b": 1, "class": [3]}),
    (Number, "1"),
    (Rows, [1]),
    (Place, {"line": {"sku": "a", "tags": ""}}),
    (Box[int], {"content": 1, "more": ["x"]}),
    (Point, {"x_value": 1}),
    (Size, "x"),
    (Size, True),
    (Literal[1], True),
    (Literal[True], 1),
    (list[int], [1, "2"]),
    (tuple[Annotated[dt.date, BeforeValidator(stripped)], int], [" 2026-01-02", "5"]),
    (tuple[Annotated[dt.date, BeforeValidator(stripped)], int | None], [" 2026-01-02", "5"]),
    (tuple[Annotated[dt.date, BeforeValidator(stripped)], Literal["a"]], [" 2026-01-02", "5"]),
    (Annotated[str, Field(max_length=1)] | int, "55"),
    (tuple[Size, Size] | list[int], [True, 0]),
    (Iterable[int], [1, "x"]),
]


@pytest.mark.parametrize(("hint", "value"), REFUSED, ids=lambda each: str(each)[:40])
def test_another_value_is_the_callers_error_and_names_the_parameter(call: Any, hint: Any, value: Any) -> None:
    def f(x):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        raise AssertionError

    f.__annotations__ = {"x": hint}
    details = call(f, {"x": value})
    assert details.startswith("Invalid arguments: x"), details


def test_the_published_schema_is_what_is_checked(schema: Any) -> None:
    def f(  # noqa: D417, PLR0917 - of the others nothing is said
        limit: Annotated[int, Field(ge=1, le=50)],
        pet: Cat | Dog,
        order: Order,
        line: Line,
        point: Point,
        tree: Tree,
        when: dt.date | None = None,
        path: pathlib.Path = pathlib.Path("a"),
        size: Size = Size.SMALL,
        tags: frozenset[str] = frozenset(),
        framed: Framed | None = None,
        place: Place = {"name": "x"},  # noqa: B006
    ) -> None:
        """Do it.

        Args:
            limit: How many.
            when: The
                day.
        """

    published = schema(f)
    assert published["required"] == ["limit", "pet", "order", "line", "point", "tree"]
    assert published["additionalProperties"] is False
    properties = published["properties"]
    assert properties["limit"] == {"type": "integer", "minimum": 1, "maximum": 50, "description": "How many."}
    assert [each["title"] for each in properties["pet"]["anyOf"]] == ["Cat", "Dog"]
    assert properties["order"]["properties"] == {
        "product": {"enum": ["tea", "coffee"], "type": "string"},
        "quantity": {"type": "integer", "minimum": 1, "default": 1},
        "tags": {"type": "array", "items": {"type": "string"}},
    }
    assert properties["order"]["description"] == "An order."
    assert properties["line"]["required"] == ["sku", "tags"]
    assert properties["line"]["properties"]["tags"] == {"type": "string"}
    assert properties["line"]["properties"]["note"] == {"type": "string", "default": ""}
    assert properties["point"]["properties"]["xValue"] == {"type": "integer", "minimum": 0}
    assert properties["tree"]["properties"]["children"]["items"]["type"] == "object"
    assert properties["when"]["description"] == "The day."
    assert properties["when"]["default"] is None
    assert properties["path"] == {"type": "string", "format": "path", "default": "a"}
    assert properties["size"]["default"] == "s"
    assert "uniqueItems" not in properties["tags"]
    assert properties["framed"]["anyOf"][0]["properties"]["cat"]["properties"]["lives"]["default"] == 9
    assert properties["place"]["default"] == {"name": "x"}
    assert "$ref" not in str(published)


class TestMarkersAsDefaults:
    """Field definitions of Pydantic keep their meaning."""

    def test_a_field_describes_its_parameter_and_gives_its_default(self, call: Any, schema: Any) -> None:
        def f(  # noqa: PLR0917 - as callers see it
            q: str = Field(description="What to look for."),
            limit: int = Field(5, le=50),
            tags: list[str] = Field(default_factory=list),  # noqa: B008 - a marker
            page: int = fastapi.Query(1, ge=1),
            x: int = Field(0, alias="xPos"),
            y: Annotated[int, Field(ge=0)] = 7,
            z: Annotated[int, Field(8)] = Field(9),
        ) -> list[Any]:
            return [q, limit, tags, page, x, y, z]

        assert call(f, {"q": "tea"}) == ["tea", 5, [], 1, 0, 7, 9]
        assert call(f, {"q": "tea", "limit": 50, "page": 2, "xPos": 3}) == ["tea", 50, [], 2, 3, 7, 9]
        assert call(f, {"q": "tea", "limit": 51}).startswith("Invalid arguments: limit:")
        assert call(f, {"q": "tea", "page": 0}).startswith("Invalid arguments: page:")
        assert call(f, {"q": "tea", "xpos": 3}) == "Invalid arguments: no parameter xpos; did you mean xPos?"
        assert call(f) == "Invalid arguments: missing argument q."
        published = schema(f)
        assert published["required"] == ["q"]
        assert published["properties"]["q"] == {"type": "string", "description": "What to look for."}
        assert published["properties"]["limit"] == {"type": "integer", "maximum": 50, "default": 5}
        assert published["properties"]["xPos"] == {"type": "integer", "default": 0}
        assert published["properties"]["page"] == {"type": "integer", "minimum": 1, "default": 1}

    def test_one_of_several_aliases_is_taken(self, call: Any, schema: Any) -> None:
        def f(
            a: int = Field(validation_alias=pydantic.AliasChoices("first", "one")),
            b: int = Field(0, validation_alias=pydantic.AliasPath("deep", "b")),
        ) -> list[int]:
            return [a, b]

        assert call(f, {"one": 1}) == [1, 0]
        assert call(f, {"first": 1, "deep": {"b": 2}}) == [1, 2]
        assert next(iter(schema(f)["properties"])) == "first"

    def test_an_optional_parameter_without_null_refuses_null_over_http(
        self, call: Any, schema: Any, backend: Any, execute: Any
    ) -> None:
        """A toolset takes it for an omission: models write null for what they leave out."""

        def f(x: str = None) -> Any:  # type: ignore[assignment]  # noqa: RUF013 - on purpose
            return x

        assert schema(f)["properties"] == {"x": {"type": "string"}}
        assert call(f) is None
        backend.function(f)
        refused = execute(backend, "f", {"x": None})
        assert refused["details"] == "Invalid arguments: x: Input should be a valid string."
