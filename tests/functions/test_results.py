"""Results: what a function returned is what its caller gets, over HTTP and from a local tool."""

import collections
import collections.abc
import dataclasses
import datetime as dt
import decimal
import enum
import ipaddress
import pathlib
import types
import uuid
from collections.abc import Iterator
from typing import Any

import attrs
import msgspec
import pydantic
import pytest

from navai_client.functions import _results


class Text(str):
    """A text of another class."""

    __slots__ = ()


class Number(int):
    """A number of another class."""


class Share(float):
    """A share."""


class Color(enum.Enum):
    """A colour."""

    RED = "red"


@attrs.define
class Attrs:
    """With attrs."""

    _hidden: int = 1
    data: bytes = b"\xff\xfe"


@dataclasses.dataclass
class Data:
    """With the standard library."""

    inner: Any = None


class Struct(msgspec.Struct, rename="camel"):
    """With msgspec."""

    some_value: int = 1
    inner: Any = None


class Model(pydantic.BaseModel):
    """With Pydantic."""

    first_name: str = pydantic.Field(default="Ada", serialization_alias="firstName")
    inner: Any = None


class OtherModel:
    """With a library like Pydantic's first version."""

    def model_dump(self, mode: str) -> Any:
        return {"mode": mode}


def generate() -> Iterator[int]:
    yield from (1, 2)


DEEP: Any = None
for _ in range(300):
    DEEP = [DEEP]

RESULTS = [
    (Text("a"), "a"),
    (Number(3), 3),
    (Share(2.5), 2.5),
    (pathlib.PurePosixPath("/a/b"), "/a/b"),
    (pathlib.Path("a"), "a"),
    (range(3), [0, 1, 2]),
    (collections.deque([1, 2]), [1, 2]),
    ({"a": 1}.keys(), ["a"]),
    ({"a": 1}.values(), [1]),
    ({"a": 1}.items(), [["a", 1]]),
    ({3}, [3]),
    ({Text("a"): 1}, {"a": 1}),
    (collections.ChainMap({"a": 1}), {"a": 1}),
    (types.MappingProxyType({"a": 1}), {"a": 1}),
    ({1: "a", None: "b", 2.5: "c"}, {"1": "a", "None": "b", "2.5": "c"}),
    ({Color.RED: Color.RED}, {"red": "red"}),
    ({dt.date(2026, 1, 2): 1}, {"2026-01-02": 1}),
    (decimal.Decimal("1.10"), "1.10"),
    (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    (dt.timedelta(minutes=1), "PT1M"),
    (ipaddress.ip_address("::1"), "::1"),
    (b"\xff\xfe", "//4="),
    (memoryview(b"ab"), "YWI="),
    (float("nan"), None),
    ([float("inf"), -float("inf"), Share("nan")], [None, None, None]),
    (Data(float("nan")), {"inner": None}),
    (Attrs(), {"hidden": 1, "data": "//4="}),
    (Data([Attrs(), b"a"]), {"inner": [{"hidden": 1, "data": "//4="}, "YQ=="]}),
    (Struct(inner=Data(1)), {"someValue": 1, "inner": {"inner": 1}}),
    (Model(inner=[Attrs()]), {"firstName": "Ada", "inner": [{"hidden": 1, "data": "//4="}]}),
    (OtherModel(), {"mode": "json"}),
    ("\ud800", "\ud800"),
    (
        {"\ud800": [Text("\ud800"), float("nan"), Model()]},
        {"\ud800": ["\ud800", None, {"firstName": "Ada", "inner": None}]},
    ),
    (10**30, 10**30),
    (DEEP, DEEP),
]


@pytest.fixture(autouse=True, params=[1, 40, None], ids=["tiny pieces", "small pieces", "usual pieces"])
def _pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encode each result in pieces of several sizes, in which none may look different."""
    if request.param is not None:
        monkeypatch.setattr(_results, "_PIECE", request.param)


@pytest.mark.parametrize(("result", "given"), RESULTS, ids=lambda each: type(each).__name__)
def test_a_result_is_encoded(call: Any, result: Any, given: Any) -> None:
    assert call(lambda: result) == given


def test_numbers_and_arrays_of_numpy_are_numbers_and_arrays(call: Any) -> None:
    np = pytest.importorskip("numpy")
    given = [np.float64(2.5), np.int64(3), np.bool_(True), np.array([[1, 2], [3, 4]]), np.float32("nan")]  # noqa: FBT003
    assert call(lambda: {"numbers": given, "model": Model(inner=np.int64(1))}) == {
        "numbers": [2.5, 3, True, [[1, 2], [3, 4]], None],
        "model": {"firstName": "Ada", "inner": 1},
    }


@pytest.mark.parametrize("make", [generate, lambda: map(str, [1, 2]), lambda: iter([1, 2])])
def test_an_iterable_that_can_be_read_once_is_a_list(call: Any, make: Any) -> None:
    assert call(make) in ([1, 2], ["1", "2"])


class Strange:
    """Without a form in JSON."""


def fail() -> Iterator[int]:
    yield 1
    raise KeyError("later")


async def stream() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("make", "details"),
    [
        (lambda: {1: "a", "1": "b"}, 'The result has two keys that are "1" in JSON.'),
        (lambda: Data({1: "a", "1": "b"}), 'The result has two keys that are "1" in JSON.'),
        (lambda: {(1, 2): 3}, "The result has a key of type tuple, which JSON cannot hold."),
        (lambda: {Strange(): 3}, "The result has a key of type Strange, which JSON cannot hold."),
        (Strange, "A result of type Strange has no form in JSON."),
        (lambda: [Strange], "A result of type type has no form in JSON."),
        (stream, "A result of type async_generator has no form in JSON."),
        (fail, "'later'"),
    ],
)
def test_a_result_that_json_cannot_hold_is_a_failure_and_says_why(call: Any, make: Any, details: str) -> None:
    assert call(lambda: make()) == details  # noqa: PLW0108 - a class would be registered by its methods


@pytest.mark.parametrize(
    ("value", "is_plain"),
    [
        ({"a": [1, "b", None, True, 0.5]}, True),
        ({1: "a"}, False),
        ([[dt.date(2026, 11, 28)]], False),
        ((Text("a"),), False),
        ("a", True),
    ],
)
def test_only_the_types_of_json_are_plain(value: Any, is_plain: bool) -> None:
    assert _results._is_plain(value) is is_plain
