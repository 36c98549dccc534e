"""Python values to JSON."""

import enum
import json
import math
import uuid
from collections import OrderedDict, namedtuple
from typing import Any

import pytest
from hypothesis import assume, given, strategies as st

from navai_client import NavaiPayloadError
from navai_client.wire._encode import encode_json
from tests.properties import JSON, PROPERTY

Point = namedtuple("Point", "x y")  # noqa: PYI024 - as users have them


class Size(enum.IntEnum):
    """A subclass of int."""

    BIG = 3


class Name(str):
    """A subclass of str."""

    __slots__ = ()


def joined(value: Any) -> Any:
    """Return *value* with the halves of surrogate pairs joined, as JSON parsers join them."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    if isinstance(value, list):
        return [joined(item) for item in value]
    if isinstance(value, dict):
        return {joined(key): joined(item) for key, item in value.items()}
    return value


@PROPERTY
@given(JSON)
def test_any_json_value_survives_the_round_trip(value: Any) -> None:
    assert json.loads(encode_json(value, name="payload").decode()) == joined(value)


@PROPERTY
@given(JSON)
def test_json_is_compact_utf_8(value: Any) -> None:
    content = encode_json(value, name="payload")
    compact = json.dumps(json.loads(content), ensure_ascii=False, separators=(",", ":"))
    assert content == compact.encode("utf-8", "backslashreplace")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, (2,)), b"[1,[2]]"),
        (Point(1, 2), b"[1,2]"),
        (OrderedDict(b=1, a=2), b'{"b":1,"a":2}'),
        (Size.BIG, b"3"),
        ({Name("n"): Name("v")}, b'{"n":"v"}'),
        (True, b"true"),
        (-0.0, b"-0.0"),
        ("\u2028</script>", '"\u2028</script>"'.encode()),
        ('\x00\x7f\n"\\/', b'"\\u0000\x7f\\n\\"\\\\/"'),
        ("\U0001f600", '"\U0001f600"'.encode()),
        ("\ud83d", rb'"\ud83d"'),
    ],
)
def test_a_value_is_encoded(value: Any, expected: bytes) -> None:
    assert encode_json(value, name="payload") == expected


NOT_JSON = (
    st.binary()
    | st.sets(st.integers())
    | st.frozensets(st.text())
    | st.complex_numbers()
    | st.sampled_from([math.nan, math.inf, -math.inf, 10**4400])
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals()
    | st.fractions()
    | st.uuids()
    | st.just(object())
    | st.just(iter(()))
    | st.just(range(3))
    | st.just(len)
)


@st.composite
def broken(draw: st.DrawFn) -> tuple[Any, str]:
    """Draw a value with a part that is not JSON, and the path by which the error names that part."""
    value, place = draw(NOT_JSON), ""
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            before = draw(st.lists(JSON, max_size=2))
            value = [*before, value, *draw(st.lists(st.integers(), max_size=2))]
            place = f"[{len(before)}]{place}"
        else:
            key = draw(st.text(max_size=5))
            value = {**draw(st.dictionaries(st.text(max_size=5), JSON, max_size=2)), key: value}
            place = f"[{key!r}]{place}"
    return value, f"payload{place}"


@PROPERTY
@given(broken())
def test_a_value_that_is_not_json_is_refused_and_its_place_is_named(case: tuple[Any, str]) -> None:
    value, place = case
    with pytest.raises(NavaiPayloadError) as caught:
        encode_json(value, name="payload")
    assert str(caught.value).startswith(f"{place} is ")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


KEYS = st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.tuples(st.integers())


@PROPERTY
@given(KEYS, JSON, st.integers(0, 3))
def test_keys_that_are_not_strings_are_refused_at_any_depth(key: Any, value: Any, depth: int) -> None:
    assume(not isinstance(key, str))
    payload: Any = {"a": 1, key: value}
    for _ in range(depth):
        payload = {"in": [payload]}
    with pytest.raises(NavaiPayloadError) as caught:
        encode_json(payload, name="payload")
    place = "payload" + "['in'][0]" * depth
    assert str(caught.value) == f"{place} has the key {key!r}; JSON keys are strings."


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (b"", "bytes, which is not JSON; decode it, or send base64 text."),
        (set(), "a set, which is not JSON; send a list."),
        (uuid.UUID(int=0), "a UUID, which is not JSON; send str() of it."),
        (range(3), "a range, which is not JSON; send dicts, lists, strings, numbers, bools or None."),
    ],
)
def test_the_error_says_what_to_send_instead(value: Any, hint: str) -> None:
    with pytest.raises(NavaiPayloadError) as caught:
        encode_json({"x": value}, name="payload")
    assert str(caught.value) == f"payload['x'] is {hint}"


def test_a_cycle_is_refused_and_the_place_is_named() -> None:
    cycle: list[Any] = [1, {"a": []}]
    cycle[1]["a"].append(cycle)
    with pytest.raises(
        NavaiPayloadError, match=r"^payload\[1\]\['a'\]\[0\] contains itself; JSON has no cycles\.$"
    ):
        encode_json(cycle, name="payload")


def test_the_same_value_in_two_places_is_not_a_cycle() -> None:
    shared = [1]
    assert encode_json([shared, {"a": shared}], name="payload") == b'[[1],{"a":[1]}]'
    with pytest.raises(NavaiPayloadError, match=r"^payload\[2\] is nan; "):
        encode_json([shared, shared, math.nan], name="payload")


def test_a_value_that_is_nested_too_deep_is_refused() -> None:
    deep: Any = None
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(NavaiPayloadError, match=r"^payload is nested too deep to be sent as JSON\.$"):
        encode_json(deep, name="payload")


def test_a_container_that_changes_during_encoding_is_refused() -> None:
    class Changing(dict[str, Any]):
        looks = 0

        def items(self) -> Any:
            self.looks += 1
            return [("a", object() if self.looks == 1 else 1)]

    with pytest.raises(NavaiPayloadError, match=r"^payload is not JSON: Object of type object"):
        encode_json(Changing(a=1), name="payload")
