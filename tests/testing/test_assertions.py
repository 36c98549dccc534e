"""Assertions about the requests to a backend: when they pass, and their messages when they fail."""

from collections.abc import Iterator
from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given, strategies as st

from navai_client import FunctionFailedError, NavaiBackendClient
from navai_client.testing import FakeBackend
from navai_client.testing._assertions import differences

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


@pytest.fixture
def backend() -> Iterator[FakeBackend]:
    with FakeBackend() as backend:

        @backend.function
        def get_weather(location: str, unit: str = "c", api_key: str = "") -> str:
            return f"{location} {unit}"

        @backend.function
        def list_orders(*args: Any, **filters: Any) -> list[str]:
            return []

        yield backend


@pytest.fixture
def client(backend: FakeBackend) -> Iterator[NavaiBackendClient]:
    with NavaiBackendClient("https://navai.test", transport=backend.transport) as client:
        yield client


def failure_of(assertion: Any, *args: Any, **options: Any) -> str:
    """Return the message of the failing *assertion*."""
    with pytest.raises(AssertionError) as caught:
        assertion(*args, **options)
    return str(caught.value)


def test_a_recorded_call_satisfies_its_assertions(backend: FakeBackend, client: NavaiBackendClient) -> None:
    client.execute_function("Get_Weather ", {"location": "Paris", "unit": "f"})

    backend.assert_called("get_weather")
    backend.assert_called(" GET_WEATHER", {"location": "Paris", "unit": "f"}, times=1)
    backend.assert_called("get_weather", {"location": ANY, "unit": "f"})
    backend.assert_called("get_weather", containing={"unit": "f"})
    backend.assert_called_once_with("get_weather", {"location": "Paris", "unit": "f"})
    backend.assert_not_called("list_orders")


def test_a_payload_may_be_anything_that_is_json(backend: FakeBackend, client: NavaiBackendClient) -> None:
    client.execute_function("list_orders", (1, [2.5, True], "x"))
    client.execute_function("list_orders", {"location": "\ud800"})

    backend.assert_called("list_orders", [1, [pytest.approx(2.5), True], "x"])
    backend.assert_called("list_orders", (1, (2.5, True), "x"))
    backend.assert_called("list_orders", {"location": "\ud800"})
    assert "instead of" in failure_of(backend.assert_called, "list_orders", [True, [2.5, True], "x"])


def test_a_missing_call_is_reported(backend: FakeBackend) -> None:
    assert failure_of(backend.assert_called, "get_weather") == (
        "Expected a call of get_weather, but it was not called."
    )


def test_an_unregistered_name_is_reported(backend: FakeBackend, client: NavaiBackendClient) -> None:
    client.execute_function("list_orders")

    assert failure_of(backend.assert_called, "getWeather", {"a": 1}) == (
        'Expected a call of getweather with the payload {"a": 1}, but it was not called.\n'
        "No function has that name; registered: get_weather, list_orders.\n"
        "Calls of other functions:\n"
        "  1. list_orders(null) -> 200"
    )
    with FakeBackend() as empty:
        assert "registered: none." in failure_of(empty.assert_called, "get_weather")


def test_another_payload_is_reported_with_where_it_differs(
    backend: FakeBackend, client: NavaiBackendClient
) -> None:
    client.execute_function("get_weather", {"location": "Rome", "api_key": "abc"})
    client.execute_function("list_orders")

    assert failure_of(
        backend.assert_called, "get_weather", {"location": "Paris", "unit": "c", "api_key": "abd"}
    ) == (
        "Expected a call of get_weather with the payload "
        '{"location": "Paris", "unit": "c", "api_key": "***"}, but one call of it came:\n'
        '  1. get_weather({"location": "Rome", "api_key": "***"}) -> 200\n'
        '       payload["location"] is "Rome" instead of "Paris"\n'
        '       payload["unit"] is missing\n'
        '       payload["api_key"] has another value (not shown: its name says that it is secret)\n'
        "Calls of other functions:\n"
        "  1. list_orders(null) -> 200\n"
        "To loosen it:\n"
        "  - put unittest.mock.ANY where any value will do\n"
        "  - assert_called('get_weather', containing={...}) where more keys may come"
    )


def test_surplus_keys_and_other_lengths_are_reported(
    backend: FakeBackend, client: NavaiBackendClient
) -> None:
    client.execute_function("list_orders", {"a": [1, 2], "b": {"c": 1}})

    text = failure_of(backend.assert_called, "list_orders", {"a": [1], "b": {}})
    assert 'payload["a"] has 2 items instead of 1\n' in text
    assert 'payload["b"]["c"] was not expected\n' in text


def test_a_part_that_is_not_contained_is_reported(backend: FakeBackend, client: NavaiBackendClient) -> None:
    client.execute_function("get_weather", {"location": "Rome", "api_key": "abc"})

    backend.assert_called("get_weather", containing={"api_key": "abc"})
    assert failure_of(backend.assert_called, "get_weather", containing={"location": "Paris"}) == (
        'Expected a call of get_weather with a payload that contains {"location": "Paris"},'
        " but one call of it came:\n"
        '  1. get_weather({"location": "Rome", "api_key": "***"}) -> 200\n'
        '       payload["location"] is "Rome" instead of "Paris"\n'
        "To loosen it:\n"
        "  - put unittest.mock.ANY where any value will do, or name fewer keys"
    )


def test_too_many_and_too_few_calls_are_reported(backend: FakeBackend, client: NavaiBackendClient) -> None:
    client.execute_function("list_orders")
    client.execute_function("list_orders")

    assert failure_of(backend.assert_called_once_with, "list_orders") == (
        "Expected one call of list_orders with the payload null, but 2 calls of it came:\n"
        "  1. list_orders(null) -> 200\n"
        "  2. list_orders(null) -> 200\n"
        "To loosen it:\n"
        "  - assert_called('list_orders', ...) without times, where any number will do"
    )
    assert failure_of(backend.assert_called, "list_orders", times=3).startswith(
        "Expected 3 calls of list_orders, but 2 calls of it came:\n"
    )
    backend.assert_called("list_orders", times=2)


def test_called_once_allows_no_other_call_of_the_function(
    backend: FakeBackend, client: NavaiBackendClient
) -> None:
    client.execute_function("get_weather", {"location": "Rome"})
    client.execute_function("get_weather", {"location": "Paris"})

    text = failure_of(backend.assert_called_once_with, "get_weather", {"location": "Paris"})
    assert text.startswith(
        'Expected one call of get_weather with the payload {"location": "Paris"}, but 2 calls'
    )


def test_unexpected_calls_are_reported(backend: FakeBackend, client: NavaiBackendClient) -> None:
    backend.assert_not_called()
    client.list_functions()
    backend.assert_not_called()
    client.execute_function("list_orders")

    assert failure_of(backend.assert_not_called) == (
        "Expected no call of any function, but one came:\n"
        "  1. list_orders(null) -> 200\n"
        "To loosen it:\n"
        "  - assert_not_called('name') where only one must not be called"
    )
    client.execute_function("list_orders")
    assert failure_of(backend.assert_not_called, "List_Orders") == (
        "Expected no call of list_orders, but 2 came:\n"
        "  1. list_orders(null) -> 200\n"
        "  2. list_orders(null) -> 200"
    )


def test_requests_dropped_before_sending_are_reported(
    backend: FakeBackend, client: NavaiBackendClient
) -> None:
    backend.drop_next(before="sending", times=3)
    with pytest.raises(OSError, match="refused"):
        client.execute_function("list_orders")

    assert failure_of(backend.assert_called, "list_orders") == (
        "Expected a call of list_orders, but it was not called.\n"
        "Requests that never arrived, their connections dropped by the script: 3."
    )


def test_values_that_look_the_same_when_masked_are_distinguished(
    backend: FakeBackend, client: NavaiBackendClient
) -> None:
    client.execute_function("list_orders", {"n": "x" * 999 + "y", "m": "sk-abcdefgh1", "sk-abcdefgh2": 1})

    text = failure_of(
        backend.assert_called, "list_orders", {"n": "x" * 1000, "m": "sk-abcdefgh2", "sk-abcdefgh2": 2}
    )
    assert 'payload["n"] is another str, which looks the same because it is masked or cut\n' in text
    assert 'payload["m"] is another str, which looks the same because it is masked or cut\n' in text
    assert 'payload["***"] is 1 instead of 2\n' in text
    assert "abcdefgh" not in text


def test_words_that_only_resemble_keys_are_shown(backend: FakeBackend, client: NavaiBackendClient) -> None:
    client.execute_function("list_orders", {"task_manager": "disk-usage-report"})

    assert '{"task_manager": "disk-usage-report"}' in failure_of(backend.assert_not_called)


def test_deep_payloads_are_cut(backend: FakeBackend, client: NavaiBackendClient) -> None:
    payload: list[Any] = []
    for _ in range(300):
        payload = [payload]
    client.execute_function("list_orders", payload)

    backend.assert_called("list_orders", payload)
    assert f'list_orders({"[" * 20}"..."{"]" * 20})' in failure_of(backend.assert_not_called)


def test_many_calls_are_listed_in_part(backend: FakeBackend, client: NavaiBackendClient) -> None:
    for _ in range(12):
        client.execute_function("list_orders")

    text = failure_of(backend.assert_not_called)
    assert "  10. list_orders(null) -> 200\n  ... and 2 more\n" in text
    assert "  11." not in text


def test_long_payloads_are_cut(backend: FakeBackend, client: NavaiBackendClient) -> None:
    client.execute_function("list_orders", "x" * 10_000)

    assert "xxx... (10002 characters)" in failure_of(backend.assert_not_called)


def test_no_message_holds_a_secret(backend: FakeBackend) -> None:
    payload = {
        "location": "sk-proj-abcdefgh",
        "unit": "Bearer abcdefgh",
        "api_key": {"nested": "hush-1"},
        "password": ["hush-2"],
        "deep": [{"AccessToken": "hush-3", "token": None}],
    }
    with NavaiBackendClient(
        "https://navai.test", transport=backend.transport, headers={"Authorization": "hush-4"}
    ) as secretive:
        with pytest.raises(FunctionFailedError):
            secretive.execute_function("get_weather", payload)
        secretive.create_client_secret(api_key="hush-5")
    backend.fail_next()

    said = [
        failure_of(backend.assert_called, "get_weather", {"api_key": "hush-6", "deep": []}),
        failure_of(backend.assert_called, "get_weather", {**payload, "password": ["hush-7"]}),
        failure_of(backend.assert_not_called),
        failure_of(backend.assert_failures_used),
        repr(backend.requests),
        repr(backend.calls),
        repr(backend.requests[0].headers),
    ]
    for text in said:
        assert "hush" not in text
        assert "abcdefgh" not in text
    assert '"token": null' in said[0]
    assert backend.requests[0].headers["Authorization"] == "hush-4"
    assert dict(backend.requests[0].headers)["content-type"] == "application/json"
    assert len(backend.requests[0].headers) == len(list(backend.requests[0].headers))


def test_recorded_requests_can_be_inspected(backend: FakeBackend, client: NavaiBackendClient) -> None:
    client.create_client_secret(voice="marin")
    client.list_functions()
    client.execute_function("get_weather", {"location": "Rome"}, idempotency_key="k")

    minted, listed, executed = backend.requests
    assert (minted.method, minted.path) == ("POST", "/navai/realtime/client-secret")
    assert (minted.operation, minted.json(), minted.status) == (
        "create_client_secret",
        {"voice": "marin"},
        200,
    )
    assert (listed.operation, listed.json(), listed.content) == ("list_functions", {}, b"")
    assert (executed.function_name, executed.payload) == ("get_weather", {"location": "Rome"})
    assert executed.headers["idempotency-key"] == "k"
    (call,) = backend.calls
    assert call.requests == (executed,)
    assert (call.function_name, call.payload, call.outcome) == ("get_weather", {"location": "Rome"}, "200")


@given(json_values)
def test_a_payload_equals_itself(value: Any) -> None:
    assert not list(differences(value, value))
    assert not list(differences(ANY, value))
    assert not list(differences({"a": value}, {"a": value, "b": 1}, partial=True))
    assert list(differences({"a": value}, {"a": value, "b": 1})) == ['payload["b"] was not expected']


@given(json_values, json_values)
def test_payloads_that_python_finds_different_differ(one: Any, other: Any) -> None:
    found = list(differences(one, other))
    assert found or one == other
    assert bool(found) == bool(list(differences(other, one)))
