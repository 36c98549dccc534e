"""``FakeBackend.from_file``: a fake with the functions that ``navai functions --save`` wrote."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from navai_client import (
    ApprovalPendingError,
    AsyncNavaiBackendClient,
    FunctionFailedError,
    NavaiBackendClient,
    NavaiConfigError,
    UnknownFunctionError,
)
from navai_client.testing import FakeBackend
from tests.pytest_runs import NO_PLUGINS_OF_OTHERS

pytest_plugins = ["pytester"]

WEATHER = {
    "name": "get_weather",
    "description": "The weather.",
    "source": "weather.py#get_weather",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
        "required": ["location"],
        "additionalProperties": False,
    },
    "effect": "read",
    "timeout_seconds": 5.0,
    "typical_seconds": 2.0,
    "say_while_waiting": "One moment.",
}
REFUND = {"name": "refund", "parameters": {"type": "object", "properties": {}}, "approval": True}
PING = {"name": "ping"}  # of a JavaScript backend, which sends no schema


@pytest.fixture
def file(tmp_path: Path) -> Path:
    saved = tmp_path / "functions.json"
    saved.write_text(json.dumps({"functions": [WEATHER, REFUND, PING], "warnings": []}))
    return saved


@pytest.mark.parametrize("result", [{"temperature": 21}, None, [1, 2]])
def test_a_function_returns_what_the_test_says(file: Path, result: Any) -> None:
    with FakeBackend.from_file(file) as fake, NavaiBackendClient(transport=fake.transport) as client:
        fake.returns("get_weather", result)
        assert client.execute_function("get_weather", {"location": "Oslo"}) == result
        assert client.execute_function("get_weather", ["Oslo"]) == result  # by position: not in the schema
        fake.returns("ping", "pong")
        assert client.execute_function("ping", {"anything": 1}) == "pong"
        fake.assert_called("get_weather", {"location": "Oslo"})


def test_a_function_does_what_the_test_says_for_async_clients_too(file: Path) -> None:
    async def scenario() -> None:
        with FakeBackend.from_file(file) as fake:

            @fake.function
            async def get_weather(location: str, unit: str = "celsius") -> str:
                return f"{location} {unit}"

            @fake.function(name="ping")
            def pong() -> str:
                return "pong"

            async with AsyncNavaiBackendClient(transport=fake.async_transport) as client:
                assert await client.execute_function("get_weather", {"location": "Oslo"}) == "Oslo celsius"
                assert await client.execute_function("ping") == "pong"
                listed = await client.list_functions()
        assert listed["get_weather"].parameters == WEATHER["parameters"]
        assert listed["get_weather"].say_while_waiting == "One moment."

    asyncio.run(scenario())


def refused(fake: FakeBackend, payload: Any) -> FunctionFailedError:
    with (
        NavaiBackendClient(transport=fake.transport) as client,
        pytest.raises(FunctionFailedError) as caught,
    ):
        client.execute_function("get_weather", payload, idempotency_key="key")
    return caught.value


@pytest.mark.parametrize(
    ("payload", "came"),
    [
        ({"loc": "Oslo"}, 'missing "location"; no parameter "loc"'),
        (None, 'missing "location"'),
        ({"location": 3}, 'location: 3 does not satisfy "type": "string"'),
        (
            {"location": "Oslo", "unit": "k"},
            'unit: "k" does not satisfy "enum": ["celsius", "fahrenheit"]',
        ),
    ],
)
def test_a_call_that_the_saved_schema_refuses_fails_the_test_even_where_its_error_is_hidden(
    file: Path, payload: Any, came: str
) -> None:
    fake = FakeBackend.from_file(file)
    with pytest.raises(AssertionError) as failed, fake:  # noqa: PT012 - the block's end raises
        fake.returns("get_weather", 21)
        assert came in str(refused(fake, payload))
        assert came in str(refused(fake, payload))
    shown = json.dumps(payload)
    assert str(failed.value).splitlines() == [
        "Calls that the functions in functions.json refuse:",
        f"  1. get_weather({shown})",
        f"       came:     {came}",
        "       expected: location (required), unit",
        f"If the backend has changed: navai functions --save {file}",
        "If a test makes such a call on purpose, set backend.strict = False.",
    ]


def test_a_call_that_is_refused_on_purpose_does_not_fail_the_test(file: Path) -> None:
    with FakeBackend.from_file(file) as fake:
        fake.strict = False
        fake.returns("get_weather", 21)
        refused(fake, {})


def test_a_call_of_a_function_that_the_test_says_nothing_about_fails_with_a_remedy(file: Path) -> None:
    fake = FakeBackend.from_file(file)
    with pytest.raises(AssertionError) as failed, fake:  # noqa: PT012 - as above
        said = str(refused(fake, {"location": "Oslo"}))
        assert "returns('get_weather', ...) says it" in said
    assert str(failed.value).splitlines()[:3] == [
        "Calls of functions that the test says nothing about:",
        '  1. get_weather({"location": "Oslo"})',
        "returns(name, result) says what one returns, @backend.function what it does.",
    ]


def test_an_error_of_the_test_itself_is_not_replaced(file: Path) -> None:
    with pytest.raises(ZeroDivisionError), FakeBackend.from_file(file) as fake:  # noqa: PT012 - as above
        refused(fake, {})
        raise ZeroDivisionError


def test_a_function_that_needs_approval_waits_for_it_as_in_the_backend(file: Path) -> None:
    with FakeBackend.from_file(file) as fake, NavaiBackendClient(transport=fake.transport) as client:
        with pytest.raises(ApprovalPendingError):
            client.execute_function("refund", {})
        with pytest.raises(UnknownFunctionError):
            client.execute_function("refnd", {})


def test_a_name_that_the_file_has_not_is_refused_where_the_test_says_it(file: Path) -> None:
    with FakeBackend.from_file(file) as fake:
        with pytest.raises(NavaiConfigError, match='no function "get_wether"; did you mean "get_weather"'):
            fake.returns("get_wether", 21)
        with pytest.raises(NavaiConfigError, match="it has get_weather, refund, ping"):
            fake.function(name="charge")(print)
        with pytest.raises(NavaiConfigError, match="class has no callable instance methods"):
            fake.function(int)
    with FakeBackend() as plain, pytest.raises(NavaiConfigError, match="from_file"):
        plain.returns("get_weather", 21)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "is not a list of functions: write it with `navai functions --save"),
        ("{", "is not a list of functions"),
        ('{"functions": [{"nam": "x"}]}', "is not a list of functions"),
        ('{"functions": [{"name": "x", "parameters": {"type": "array"}}]}', "the schema of x is unusable"),
    ],
)
def test_a_file_that_is_no_such_list_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "broken.json").write_text(text)
    with pytest.raises(NavaiConfigError, match=said):
        FakeBackend.from_file(tmp_path / "broken.json")


def test_the_plugin_takes_the_file_from_the_configuration(pytester: pytest.Pytester, file: Path) -> None:
    pytester.makeini("[pytest]\nnavai_functions = functions.json")
    (pytester.path / "functions.json").write_bytes(file.read_bytes())
    pytester.makepyfile(
        """
import pytest
from navai_client import FunctionFailedError

def test_accepted(navai_backend, navai_client):
    navai_backend.returns("get_weather", 21)
    assert navai_client.execute_function("get_weather", {"location": "Oslo"}) == 21

def test_refused(navai_backend, navai_client):
    navai_backend.returns("get_weather", 21)
    with pytest.raises(FunctionFailedError):
        navai_client.execute_function("get_weather", {"loc": "Oslo"})

def test_failed(navai_backend, navai_client):
    navai_client.execute_function("get_weather", {"loc": "Oslo"})

@pytest.mark.parametrize("navai_backend_functions", [None])
def test_without(navai_backend, navai_client):
    assert not navai_client.list_functions()
"""
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", *NO_PLUGINS_OF_OTHERS)
    result.assert_outcomes(passed=3, failed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["Calls that the functions in functions.json refuse:", "*expected: location*"]
    )
