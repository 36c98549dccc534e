"""``result_type=``: results that Pydantic or msgspec checks. One suite for both clients."""

import datetime as dt
import enum
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import attrs
import msgspec
import pydantic
import pytest
from typing_extensions import TypedDict

from navai_client import InvalidResponseError, NavaiConfigError, _validation
from tests.backends import BASE, Backend, Clients, answer

LINES = {"items": [{"price": 1.5}, {"price": 2}], "at": "2026-11-28T08:00:00Z", "kind": "cafe"}


class Kind(enum.Enum):
    """A kind of shop."""

    CAFE = "cafe"


class LineModel(pydantic.BaseModel):
    """A line, as Pydantic knows it."""

    price: float


class OrderModel(pydantic.BaseModel):
    """An order, as Pydantic knows it."""

    items: list[LineModel]
    at: dt.datetime
    kind: Kind


@dataclass
class LineData:
    """A line as a data class."""

    price: float


@dataclass
class OrderData:
    """An order as a data class."""

    items: list[LineData]
    at: dt.datetime
    kind: Kind


class LineDict(TypedDict):
    """A line as a dict."""

    price: float


class OrderDict(TypedDict):
    """An order as a dict."""

    items: list[LineDict]
    at: dt.datetime
    kind: Kind


class LineStruct(msgspec.Struct):
    """A line, as msgspec knows it."""

    price: float


class OrderStruct(msgspec.Struct):
    """An order, as msgspec knows it."""

    items: list[LineStruct]
    at: dt.datetime
    kind: Kind


@attrs.define
class LineAttrs:
    """A line, as attrs knows it."""

    price: float


@attrs.define
class OrderAttrs:
    """An order, as attrs knows it."""

    items: list[LineAttrs]
    at: dt.datetime
    kind: Kind


AT = dt.datetime(2026, 11, 28, 8, tzinfo=dt.UTC)
ORDERS: dict[Any, Any] = {
    OrderModel: OrderModel(items=[LineModel(price=1.5), LineModel(price=2)], at=AT, kind=Kind.CAFE),
    OrderData: OrderData([LineData(1.5), LineData(2.0)], AT, Kind.CAFE),
    OrderDict: {"items": [{"price": 1.5}, {"price": 2}], "at": AT, "kind": Kind.CAFE},
    OrderStruct: OrderStruct([LineStruct(1.5), LineStruct(2.0)], AT, Kind.CAFE),
    OrderAttrs: OrderAttrs([LineAttrs(1.5), LineAttrs(2.0)], AT, Kind.CAFE),
}


def executed(clients: Clients, result: Any, result_type: Any) -> Any:
    client = clients.make(Backend(answer({"ok": True, "result": result})), BASE)
    return client.execute_function("order", result_type=result_type)


@pytest.mark.parametrize("result_type", ORDERS)
def test_a_result_becomes_a_value_of_its_type(clients: Clients, result_type: Any) -> None:
    value = executed(clients, LINES, result_type)
    assert value == ORDERS[result_type]
    assert executed(clients, [LINES], list[result_type]) == [value]


@pytest.mark.parametrize(
    ("result_type", "result", "value"),
    [
        (int, 5, 5),
        (str | None, None, None),
        (type(None), None, None),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (set[int], [1, 1], {1}),
        (dt.date, "2026-11-28", dt.date(2026, 11, 28)),
        (str, "\ud800", "\ud800"),
        (Any, LINES, LINES),
    ],
    ids=str,
)
def test_a_type_can_be_any_that_json_can_hold(
    clients: Clients, result_type: Any, result: Any, value: Any
) -> None:
    found = executed(clients, result, result_type)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("result_type", ORDERS)
@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"items": [{"price": 1}, {"price": "much"}]}, "result.items[1].price: "),
        ({"items": [{"price": 1}, {}]}, "result.items[1]"),
        ({"at": "soon"}, "result.at: "),
        ({"kind": "bar"}, "result.kind: "),
    ],
    ids=str,
)
def test_a_mismatch_is_an_invalid_response_that_names_its_place(
    clients: Clients, result_type: Any, change: dict[str, Any], place: str
) -> None:
    with pytest.raises(InvalidResponseError) as caught:
        executed(clients, {**LINES, **change}, result_type)
    assert str(caught.value).startswith(f"The result is not valid as {result_type.__name__}: {place}")
    assert caught.value.may_have_executed
    assert caught.value.status_code == 200
    assert "POST" in caught.value.__notes__[0]


def test_a_place_within_a_union_has_no_name_of_a_type(clients: Clients) -> None:
    with pytest.raises(
        InvalidResponseError, match=r"as list\[int \| list\[int\]\]: result\[1\]: .*result\[1\]: "
    ):
        executed(clients, [1, "x"], list[int | list[int]])


def test_many_mismatches_are_counted(clients: Clients) -> None:
    with pytest.raises(InvalidResponseError) as caught:
        executed(clients, ["x"] * 10, list[pydantic.StrictInt])
    assert str(caught.value).count("result[") == 3
    assert str(caught.value).endswith("; and 7 more.")


def test_a_mismatch_shows_no_header(clients: Clients) -> None:
    key = "0123456789abcdef"
    client = clients.make(Backend(answer({"ok": True, "result": {key: "x"}})), BASE, headers={"X-Key": key})
    with pytest.raises(InvalidResponseError) as caught:
        client.execute_function("f", result_type=dict[str, int])
    assert key not in str(caught.value)


def test_a_failed_function_fails_as_without_a_type(clients: Clients) -> None:
    client = clients.make(Backend(answer({"ok": False, "details": "no"})), BASE)
    with pytest.raises(Exception, match=r"^no") as caught:
        client.execute_function("f", result_type=int)
    assert type(caught.value).__name__ == "FunctionFailedError"


def test_the_response_is_there_beside_a_checked_value(clients: Clients) -> None:
    client = clients.make(Backend(answer({"ok": True, "result": LINES})), BASE)
    assert client.raw.execute_function("f", result_type=OrderModel).value == ORDERS[OrderModel]


class Foreign:
    """A class that neither library can make."""


@pytest.mark.parametrize("result_type", [Foreign, list[Foreign], 5, "Nowhere", [int]], ids=str)
def test_a_type_that_cannot_be_checked_is_refused_before_anything_is_sent(
    clients: Clients, result_type: Any
) -> None:
    backend = Backend(answer({"ok": True}))
    with pytest.raises(NavaiConfigError, match=r"^result_type cannot be .*: "):
        clients.make(backend, BASE).execute_function("f", result_type=result_type)
    assert backend.requests == []


@pytest.mark.parametrize(
    ("missing", "works"), [("pydantic", OrderStruct), ("msgspec", OrderModel), ("pydantic", OrderData)]
)
def test_one_library_suffices(
    clients: Clients, missing: str, works: Any, monkeypatch: pytest.MonkeyPatch, uncached: None
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert executed(clients, LINES, works) == ORDERS[works]


def test_without_a_library_the_error_says_what_to_install(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, uncached: None
) -> None:
    monkeypatch.setitem(sys.modules, "pydantic", None)
    monkeypatch.setitem(sys.modules, "msgspec", None)
    with pytest.raises(NavaiConfigError, match=r"^result_type needs pydantic or msgspec; run: pip "):
        executed(clients, 5, int)


@pytest.fixture(name="uncached")
def _uncached() -> Iterator[None]:
    """Let nothing be known of any type."""
    _validation._known_check.cache_clear()
    yield
    _validation._known_check.cache_clear()
