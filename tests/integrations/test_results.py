"""The result that a model gets: strict JSON of a limited length, for any value."""

import dataclasses
import datetime as dt
import enum
import ipaddress
import json
import math
import pathlib
import uuid
from collections import deque
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn

import attrs
import pydantic
import pytest
from hypothesis import given, settings, strategies as st

from navai_client.integrations.tools import Tool, ToolOutcome, ToolsetChanges


class Color(enum.Enum):
    """An enum."""

    RED = "red"


class Number(enum.IntEnum):
    """An enum of numbers."""

    ONE = 1


class Point(NamedTuple):
    """A named tuple."""

    x: int
    y: int


@attrs.frozen
class Attrs:
    """An attrs class."""

    when: dt.date


@dataclasses.dataclass
class Data:
    """A data class."""

    cost: Decimal


class Model(pydantic.BaseModel):
    """A model of Pydantic."""

    when: dt.date


class Bad:
    """Has no text."""

    def __str__(self) -> NoReturn:
        raise ValueError("no text")


class Array:
    """Like NumPy's."""

    def tolist(self) -> list[int]:
        return [1, 2]


def shown(result: Any, **options: Any) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise AssertionError(constant)

    text = ToolOutcome(ok=True, function_name="f", source="s", result=result).to_json(**options)
    text.encode()
    answer = json.loads(text, parse_constant=refuse)
    assert (answer["ok"], answer["function_name"], answer["source"]) == (True, "f", "s")
    return answer["result"]


ITSELF: list[Any] = []
ITSELF.append(ITSELF)
DEEP: Any = None
for _ in range(5000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (None, None),
        ({"a": [1, 2.5, True, None, "é"]}, {"a": [1, 2.5, True, None, "é"]}),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC), "2026-01-02T03:00:00Z"),
        (dt.time(3, 4), "03:04:00"),
        (dt.timedelta(minutes=1.5), "PT1M30S"),
        (Decimal("2.80"), "2.80"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (b"\x00\xff", "AP8="),
        (bytearray(b"a"), "YQ=="),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (math.nan, None),
        ([math.inf, -math.inf], [None, None]),
        (Color.RED, "red"),
        ({Color.RED: Number.ONE}, {"red": 1}),
        ({1: "a", None: "b", 2.5: "c"}, {"1": "a", "None": "b", "2.5": "c"}),
        ({(1, 2): "e"}, "[left out: The result has a key of type tuple, which JSON cannot hold.]"),
        (Point(1, 2), [1, 2]),
        ({3}, [3]),
        (frozenset({"x"}), ["x"]),
        (deque([1]), [1]),
        (range(2), [0, 1]),
        (Attrs(dt.date(2026, 1, 2)), {"when": "2026-01-02"}),
        (Data(Decimal(1)), {"cost": "1"}),
        (Model(when=dt.date(2026, 1, 2)), {"when": "2026-01-02"}),
        (Array(), [1, 2]),
        (ipaddress.ip_address("127.0.0.1"), "127.0.0.1"),
        (Data, "[left out: A result of type type has no form in JSON.]"),
        (Bad(), "[left out: A result of type Bad has no form in JSON.]"),
        ("\ud800 \ud83d\ude00", "\ud800 \U0001f600"),
        ({"\ud800": 1}, {"\ud800": 1}),
        (ITSELF, "[left out: The result is nested too deeply, or contains itself.]"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_result_becomes_json(result: Any, expected: Any) -> None:
    assert shown(result) == expected


@pytest.mark.parametrize("result", [DEEP, 10**5000], ids=["levels", "digits"])
def test_a_result_that_json_parsers_refuse_is_left_out(result: Any) -> None:
    assert shown(result).startswith("[left out: ")


def counted(count: int) -> tuple[list[Any], list[int]]:
    """Return *count* rows, and the numbers of those that were converted, as they are."""
    converted: list[int] = []

    class Row(pydantic.BaseModel):
        number: int

        @pydantic.field_serializer("number")
        def _converted(self, number: int) -> int:
            converted.append(number)
            return number

        def __hash__(self) -> int:
            return self.number

    return [Row(number=number) for number in range(count)], converted


class TestLongResults:
    """They are cut where they are longest, with a mark."""

    def test_a_string_keeps_its_beginning(self) -> None:
        cut = shown("abc" * 1000, max_result_chars=200)
        assert cut.startswith("abcabc")
        assert cut.endswith(" of 3000 characters shown]")

    def test_a_list_keeps_its_first_items(self) -> None:
        cut = shown(list(range(10_000)), max_result_chars=300)
        assert cut[:3] == [0, 1, 2]
        assert cut[-1] == f"… [cut: {len(cut) - 1} of 10000 items shown]"

    def test_a_first_item_that_is_too_long_by_itself_is_cut(self) -> None:
        first, mark = shown([{"text": "x" * 5000}, 2], max_result_chars=400)
        assert first["text"].startswith("xxx")
        assert mark == "… [cut: 1 of 2 items shown]"

    def test_an_only_item_that_is_cut_has_no_mark_beside_it(self) -> None:
        (only,) = shown(["x" * 5000], max_result_chars=400)
        assert only.startswith("xxx")
        assert only.endswith(" of 5000 characters shown]")

    def test_short_fields_stay_complete_beside_a_long_one(self) -> None:
        cut = shown({"items": ["x" * 50] * 100, "total": 100, "next": "page 2"}, max_result_chars=600)
        assert (cut["total"], cut["next"]) == (100, "page 2")
        assert cut["items"][-1].endswith(" of 100 items shown]")

    def test_of_many_fields_the_first_are_kept(self) -> None:
        cut = shown({f"field {number}": number for number in range(1000)}, max_result_chars=400)
        assert cut["field 0"] == 0
        assert cut["…"].endswith(" of 1000 fields shown]")

    def test_what_cannot_be_cut_in_its_shape_is_cut_as_text(self) -> None:
        cut = shown({"n": 10**4000}, max_result_chars=200)
        assert isinstance(cut, str | dict)
        assert shown({"n": 10**4000}, max_result_chars=600) == {"n": "…"}

    def test_truncated_stands_beside_the_result(self) -> None:
        outcome = ToolOutcome(ok=True, function_name="f", source="s", result="x" * 500, max_result_chars=200)
        assert outcome.as_dict()["truncated"] is True
        assert "truncated" not in outcome.as_dict(max_result_chars=600)

    @settings(max_examples=200)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner, max_size=10) | st.dictionaries(st.text(), inner, max_size=10),
            max_leaves=60,
        ),
        st.integers(200, 600),
    )
    def test_no_text_for_a_model_exceeds_its_limit(self, result: Any, most: int) -> None:
        outcome = ToolOutcome(ok=True, function_name="f", source="ñ.py#f", result=result)
        text = outcome.to_json(max_result_chars=most)
        assert len(text) <= most
        if len(outcome.to_json()) <= most:
            assert text == outcome.to_json()

    def test_what_is_cut_is_not_even_converted(self) -> None:
        """150,000 rows would block the event loop, and with it every conversation of the process."""
        rows, converted = counted(150_000)
        for result in (rows, {"rows": rows, "more": tuple(rows)}):
            converted.clear()
            outcome = ToolOutcome(ok=True, function_name="f", source="s", result=result)
            assert len(outcome.to_json()) <= 16_000
            assert 0 < len(converted) < 5000

    @pytest.mark.parametrize("kind", ["attrs", "data class", "deque", "set", "numbers as names", "iterator"])
    def test_members_of_other_types_are_cut_like_those_of_json(self, kind: str) -> None:
        @attrs.frozen
        class Rows:
            rows: Any

        @dataclasses.dataclass
        class Page:
            rows: Any

        rows, converted = counted(20_000)
        results: dict[str, Any] = {
            "attrs": lambda: Rows(rows),
            "data class": lambda: [Page(Page(rows))],
            "deque": lambda: deque(rows),
            "set": lambda: {"rows": frozenset(rows)},
            "numbers as names": lambda: dict(enumerate(rows)),
            "iterator": lambda: iter(rows),
        }
        text = ToolOutcome(ok=True, function_name="f", source="s", result=results[kind]()).to_json()
        assert " of 20000 " in text
        assert 10_000 < len(text) <= 16_000
        assert 0 < len(converted) < 5000

    def test_an_iterator_within_is_cut_before_it_is_known(self) -> None:
        result = [iter(["x" * 500]), iter(["y" * 500])]
        assert shown(result, max_result_chars=200)[-1] == "… [cut: 1 of 2 items shown]"


def test_details_are_included_on_request() -> None:
    outcome = ToolOutcome(ok=False, function_name="f", error="Failed.", error_type="failed", details="sk-1")
    assert outcome.as_dict() == {"ok": False, "function_name": "f", "error": "Failed."}
    assert outcome.as_dict(include_details=True)["details"] == "sk-1"
    assert attrs.evolve(outcome, show_details=True).as_dict()["details"] == "sk-1"


def test_changes_list_added_removed_and_changed_tools() -> None:
    def tool(name: str, description: str = "") -> Tool:
        return Tool(name=name, description=description, parameters={}, source="s", kind="backend")

    before, after = (tool("a"), tool("b"), tool("c")), (tool("d"), tool("a"), tool("b", "new"))
    changes = ToolsetChanges.between(before, after)
    assert (changes.added, changes.removed, changes.changed) == (("d",), ("c",), ("b",))
    assert changes
    assert not ToolsetChanges.between(before, before)
