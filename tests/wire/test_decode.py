"""Any response becomes a value or a NavaiError, for each operation."""

import json
import math
import sys
import typing
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from navai_client import (
    BackendFunction,
    FunctionList,
    NavaiBackendClient,
    NavaiError,
)
from navai_client.wire import _decode
from navai_client.wire._exchange import Exchange
from navai_client.wire._operations import OPERATIONS, Paths
from navai_client.wire._requests import Invocation, Invocations
from navai_client.wire._retry import RetryPolicy
from navai_client.wire._values import ClientHeaders, Done, Response, Send
from tests.properties import JSON, PROPERTY, TEXT

CALLS = Invocations("http://x", Paths(), lambda: "key")
HEADERS_WITH_A_SECRET = ClientHeaders(secrets=("a-secret",))
BY_NAME = {operation.name: operation for operation in OPERATIONS}


def make(name: str) -> Invocation[Any]:
    operation = BY_NAME[name]
    given = {field.name: "another" for field in operation.fields if field.required or field.secret}
    return CALLS.prepare(operation, given)


DECODERS: dict[str, Callable[[Response], Any]] = {name: make(name).read for name in BY_NAME}
ONCE = RetryPolicy(max_retries=0)


def field(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, JSON | st.sampled_from(WORDS)))


WORDS: list[Any] = [
    True,
    False,
    "elevenlabs",
    "openai",
    "audio/mpeg",
    "QUJD",
    "QUI=",
    "a-secret",
    {"provider": "elevenlabs"},
    ["a", 1, None],
    [{"name": "a", "description": "b", "source": "c", "parameters": {}}, {"name": " "}, {}],
    10**400,
]
NEAR = (
    field("value", "expires_at", "speech")
    | field("items", "warnings")
    | field("ok", "result", "error", "details", "available_functions")
    | field("provider", "mimeType", "audioBase64")
)
BODIES = (
    st.binary()
    | (JSON | NEAR).map(lambda value: json.dumps(value).encode())
    | (JSON | NEAR).map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    | NEAR.map(lambda value: b"\xef\xbb\xbf" + json.dumps(value).encode("utf-16"))
)
HEADERS = st.dictionaries(st.sampled_from(["location", "retry-after", "etag", "content-type"]), TEXT)
STATUSES = st.integers(100, 599) | st.sampled_from([200, 204, 302, 304, 404, 503])


@pytest.mark.parametrize("name", BY_NAME)
@PROPERTY
@given(status=STATUSES, headers=HEADERS, content=BODIES, truncated=st.booleans())
@example(status=200, headers={}, content=b"[" * 100_000, truncated=False)
@example(status=500, headers={}, content=b"[" * 100_000, truncated=False)
@example(status=200, headers={}, content=b"7" * 5000 + b" NaN", truncated=False)
@example(status=400, headers={}, content=b'{"error":' + b"7" * 5000 + b',"details":NaN}', truncated=False)
@example(status=302, headers={"location": "https://[x"}, content=b"", truncated=False)
@example(status=302, headers={"location": "https://exa\u2100mple"}, content=b"", truncated=False)
def test_any_response_gives_a_value_or_a_navai_error(
    name: str, status: int, headers: dict[str, str], content: bytes, truncated: bool
) -> None:
    exchange = Exchange(make(name), ONCE, None, HEADERS_WITH_A_SECRET, lambda: "request-1", print)
    assert isinstance(exchange.start(0.0), Send)
    try:
        done = exchange.receive(Response(status, headers, content, truncated), 0.0)
    except NavaiError as error:
        message = str(error)
        assert name != "list_functions"
        assert "a-secret" not in message
        return
    assert isinstance(done, Done)
    kind = typing.get_type_hints(getattr(NavaiBackendClient, name))["return"]
    assert kind is Any or isinstance(done.value, kind)


@pytest.mark.parametrize("name", DECODERS)
@PROPERTY
@given(status=STATUSES, content=BODIES)
def test_only_2xx_gives_values(name: str, status: int, content: bytes) -> None:
    try:
        DECODERS[name](Response(status, {}, content))
    except NavaiError as error:
        assert getattr(error, "status_code", status) == status  # noqa: PT017 - a value is as good as an error
    else:
        assert 200 <= status <= 299


@PROPERTY
@given(JSON)
def test_any_result_is_read_as_json_reads_it(value: Any) -> None:
    content = json.dumps({"ok": True, "result": value}).encode()
    assert _decode.function_result(Response(200, {}, content), "f") == json.loads(json.dumps(value))


@PROPERTY
@given(st.lists(NEAR | st.builds(lambda name: {"name": name}, TEXT) | JSON, max_size=5))
def test_functions_have_names_and_keep_their_order(items: list[Any]) -> None:
    listed = _decode.function_list(Response(200, {}, json.dumps({"items": items}).encode()))
    names = [
        item["name"]
        for item in json.loads(json.dumps(items))
        if isinstance(item, dict) and isinstance(item.get("name"), str)
    ]
    found = [function.name for function in listed]
    assert [name for name in names if name in found] == found
    assert all(isinstance(function, BackendFunction) and function.name.strip(" \n") for function in listed)


def test_an_integer_of_the_most_digits_that_python_reads_is_exact() -> None:
    digits = "7" * 4300
    value = _decode.function_result(Response(200, {}, f'{{"ok":true,"result":{digits}}}'.encode()), "f")
    assert value == int(digits)


def test_other_integers_beside_a_longer_one_stay_exact() -> None:
    content = b'{"ok":true,"result":[%b,123456789012345678901,-%b]}' % (b"7" * 5000, b"7" * 5000)
    value = _decode.function_result(Response(200, {}, content), "f")
    assert value == [math.inf, 123456789012345678901, -math.inf]


def test_a_list_that_was_not_modified_is_the_known_one() -> None:
    known = FunctionList(functions=(BackendFunction(name="a"),))
    assert _decode.function_list(Response(304, {}, b""), known) is known
    with pytest.raises(NavaiError, match=r"(?m)^HTTP 304$"):
        _decode.function_list(Response(304, {}, b""))


# WhiteSpace and LineTerminator of ECMAScript 2026.
JAVASCRIPT_WHITE_SPACE = {
    *range(0x09, 0x0E),
    0x20,
    0xA0,
    0x1680,
    *range(0x2000, 0x200B),
    0x2028,
    0x2029,
    0x202F,
    0x205F,
    0x3000,
    0xFEFF,
}


def test_exactly_the_white_space_of_javascript_is_trimmed() -> None:
    trimmed = {code for code in range(sys.maxunicode + 1) if _decode.trim(f"{chr(code)}x{chr(code)}") == "x"}
    assert trimmed == JAVASCRIPT_WHITE_SPACE


def test_white_space_inside_is_kept() -> None:
    assert _decode.trim("\ufeff\n a \t b \u2028") == "a \t b"
    assert _decode.trim(" \n") == ""
