"""The values that calls return."""

import copy
import datetime as dt
import importlib
import math
import pickle
import time
from collections.abc import Sequence
from typing import Any

import attrs
import pydantic
import pytest
from hypothesis import given, strategies as st

from navai_client import (
    BackendFunction,
    ClientSecret,
    FunctionList,
    NavaiConfigError,
    NavaiHTTPError,
    SpeechAudio,
)
from navai_client._redaction import mask
from tests.properties import PROPERTY

LONG = "ek_68af296e8e408191a1120ab6383263c2"
WEATHER = BackendFunction(name="get_weather", description="The weather.", parameters={"type": "object"})
ORDER = BackendFunction(name="order")
LIST = FunctionList(functions=(WEATHER, ORDER), warnings=("odd",))
VALUES: list[Any] = [
    ClientSecret(value=LONG, expires_at=5),
    WEATHER,
    LIST,
    SpeechAudio(audio=b"ID3", mime_type="audio/mpeg"),
]


def test_a_client_secret_shows_its_first_three_and_last_four_characters() -> None:
    secret = ClientSecret(value=LONG, expires_at=5)
    expected = "ClientSecret(value=ek_***63c2, expires_at=5, speech_provider='openai')"
    assert repr(secret) == str(secret) == f"{secret}" == expected
    assert repr([secret]) == f"[{expected}]"


@pytest.mark.parametrize("value", ["", "e", "ek_abc", "ek_1234567890", LONG[:27]])
def test_a_short_secret_shows_nothing(value: str) -> None:
    assert mask(value) == "***"
    assert repr(ClientSecret(value=value)) == (
        "ClientSecret(value=***, expires_at=None, speech_provider='openai')"
    )


def test_a_secret_of_28_characters_is_long_enough_to_show_some() -> None:
    assert mask(LONG[:28]) == f"ek_***{LONG[24:28]}"


@PROPERTY
@given(st.text(max_size=60))
def test_a_mask_shows_seven_characters_at_most(secret: str) -> None:
    shown = mask(secret).replace("***", "", 1)
    assert len(shown) in {0, 7}
    assert shown in {"", secret[:3] + secret[-4:]}
    assert len(secret) >= 4 * len(shown)


def test_a_secret_has_the_seconds_until_it_expires() -> None:
    secret = ClientSecret(value=LONG, expires_at=1000)
    assert secret.expires_in(now=900.5) == 99.5
    assert secret.expires_in(now=1001) == -1
    assert [secret.is_expired(now=now) for now in (999.9, 1000, 1000.1)] == [False, True, True]
    assert [secret.is_expired(leeway=30, now=now) for now in (969, 970, 971)] == [False, True, True]


def test_a_secret_of_unknown_expiry_does_not_expire() -> None:
    secret = ClientSecret(value=LONG)
    assert secret.expires_in() == secret.expires_in(now=1e12) == math.inf
    assert not secret.is_expired(leeway=1e12)


def test_the_system_clock_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 100.0)
    secret = ClientSecret(value=LONG, expires_at=130)
    assert secret.expires_in() == 30.0
    assert secret.is_expired(leeway=30)
    assert not secret.is_expired(leeway=29)


@pytest.mark.parametrize(
    ("expires_at", "expected"), [(10**400, math.inf), (-(10**400), -math.inf), (math.inf, math.inf)]
)
def test_an_expiry_beyond_all_floats_does_not_raise(expires_at: float, expected: float) -> None:
    secret = ClientSecret(value=LONG, expires_at=expires_at)
    assert secret.expires_in() == expected
    assert secret.is_expired() == (expected < 0)


def test_a_function_list_iterates_counts_and_finds() -> None:
    assert list(LIST) == [WEATHER, ORDER]
    assert len(LIST) == 2
    assert LIST
    assert "order" in LIST
    assert WEATHER in LIST
    assert "missing" not in LIST
    assert 5 not in LIST
    assert ["unhashable"] not in LIST
    assert LIST.get("order") is ORDER
    assert LIST.get("missing") is None


def test_a_function_list_is_a_sequence_by_position_and_slice() -> None:
    assert isinstance(LIST, Sequence)
    assert (LIST[0], LIST[-1]) == (WEATHER, ORDER)
    assert (LIST[1:], LIST[:0], LIST[::-1]) == ((ORDER,), (), (ORDER, WEATHER))
    assert list(reversed(LIST)) == [ORDER, WEATHER]
    assert (LIST.index(ORDER), LIST.count(ORDER)) == (1, 1)
    with pytest.raises(IndexError):
        LIST[2]


def test_a_function_is_found_by_its_name_in_brackets() -> None:
    assert LIST["order"] is ORDER
    with pytest.raises(KeyError, match=r"no function 'Order'; there are get_weather, order"):
        LIST["Order"]
    with pytest.raises(KeyError, match=r"no function 'order'; there are none"):
        FunctionList()["order"]


def test_of_two_functions_with_one_name_the_first_is_found() -> None:
    first, second = BackendFunction(name="a", source="1"), BackendFunction(name="a", source="2")
    assert FunctionList(functions=(first, second)).get("a") is first
    assert FunctionList(functions=(first, second))["a"] is first


@pytest.mark.parametrize(
    ("listed", "shown"),
    [
        (LIST, "<FunctionList: get_weather, order; 1 warning>"),
        (FunctionList(functions=(ORDER,)), "<FunctionList: order>"),
        (FunctionList(), "<FunctionList: no functions>"),
        (
            FunctionList(functions=tuple(BackendFunction(name=f"f{number}") for number in range(300))),
            "<FunctionList: f0, f1, f2, f3, f4, f5, f6, f7 and 292 more>",
        ),
        (
            FunctionList(warnings=("a", "b"), error=NavaiHTTPError("long" * 1000)),
            "<FunctionList: no functions; 2 warnings; NavaiHTTPError>",
        ),
        (FunctionList(functions=(BackendFunction(name="x" * 5000),)), f"<FunctionList: {'x' * 64}...>"),
    ],
)
def test_the_repr_of_a_function_list_is_short(listed: FunctionList, shown: str) -> None:
    assert repr(listed) == str(listed) == shown


def test_a_list_without_functions_is_empty_and_has_its_warnings() -> None:
    listed = FunctionList(warnings=("why",))
    assert not listed
    assert list(listed) == []
    assert listed.warnings == ("why",)


def test_sound_shows_its_length_only() -> None:
    assert repr(SpeechAudio(audio=b"\0" * 1000, mime_type="audio/mpeg")) == (
        "SpeechAudio(audio=<1000 bytes>, mime_type='audio/mpeg', provider='elevenlabs')"
    )


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_are_frozen_compared_hashed_copied_and_pickled(value: Any) -> None:
    name = attrs.fields(type(value))[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, name, "changed")
    for same in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert same == value
        assert hash(same) == hash(value)
        assert repr(same) == repr(value)


@pytest.mark.parametrize(
    ("expires_at", "expected"),
    [
        (1730000000, dt.datetime(2024, 10, 27, 3, 33, 20, tzinfo=dt.UTC)),
        (None, None),
        (10**400, None),
        (math.inf, None),
        (math.nan, None),
        (1e15, None),
    ],
)
def test_the_expiry_is_available_as_a_time(expires_at: float | None, expected: dt.datetime | None) -> None:
    assert ClientSecret(value=LONG, expires_at=expires_at).expires_at_datetime == expected


def test_the_session_of_a_secret_shows_in_no_repr_and_counts_in_no_comparison() -> None:
    secret = ClientSecret(value=LONG, session={"instructions": "Our recipe."})
    assert "recipe" not in repr(secret)
    assert secret == ClientSecret(value=LONG)
    assert hash(secret) == hash(ClientSecret(value=LONG))


SCHEMA = {
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/City"}},
    "required": ["city"],
    "$defs": {"City": {"type": "string", "minLength": 1}},
    "anyOf": [{"required": ["city"]}],
}
INLINED = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 1}},
    "required": ["city"],
}
OFFERED = FunctionList(
    functions=(
        BackendFunction(name="get_weather", description="The weather.", parameters=SCHEMA),
        BackendFunction(name="ping"),
    )
)


@pytest.mark.parametrize(
    ("api", "type_name"),
    [
        ("realtime", "RealtimeFunctionToolParam"),
        ("responses", "FunctionToolParam"),
        ("chat", "ChatCompletionFunctionToolParam"),
    ],
)
def test_a_list_becomes_tools_that_each_api_of_openai_accepts(api: Any, type_name: str) -> None:
    # Importing openai's types takes longer than all other tests of this file.
    kind: Any = getattr(importlib.import_module(f"openai.types.{api}"), type_name)
    tools = OFFERED.to_openai_tools(api)
    assert pydantic.TypeAdapter(list[kind]).validate_python(tools) == tools  # without unknown members
    weather, ping = (tool.get("function", tool) for tool in tools)
    assert (weather["name"], weather["description"]) == ("get_weather", "The weather.")
    assert weather["parameters"] == INLINED
    assert ping["description"]
    assert ping["parameters"]["additionalProperties"] is True  # nothing is known


def test_tools_for_an_unknown_api_are_refused() -> None:
    with pytest.raises(NavaiConfigError, match="realtime, responses or chat"):
        OFFERED.to_openai_tools("assistants")  # type: ignore[arg-type]


def test_a_function_whose_name_openai_refuses_is_left_out_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    listed = FunctionList(functions=(BackendFunction(name="año nuevo"), BackendFunction(name="ping")))
    assert [tool["name"] for tool in listed.to_openai_tools()] == ["ping"]
    assert "'año nuevo' is not offered as a tool" in caplog.text


@pytest.mark.parametrize(
    ("schema", "depth"),
    [
        ({"type": "string"}, 0),
        ({"properties": 7}, 0),
        ({"properties": {"a": {"anyOf": [{}] * 6000}}}, 0),
        ({}, 100_000),
    ],
    ids=["text", "properties", "large", "deep"],
)
def test_a_schema_that_openai_refuses_is_replaced_and_logged(
    schema: dict[str, Any], depth: int, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(depth):
        schema = {"not": schema}
    (tool,) = FunctionList(functions=(BackendFunction(name="f", parameters=schema),)).to_openai_tools()
    assert tool["parameters"] == OFFERED.to_openai_tools()[1]["parameters"]
    assert "The parameters of 'f' are ignored: it" in caplog.text
