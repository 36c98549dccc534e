"""The functions' routes, row by row of the contract, and how OpenAPI describes them."""

import asyncio
import enum
import json
import socket
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast
from urllib.parse import urlsplit

import attrs
import httpx
import pytest

from navai_client.server import FunctionContext, NavaiBackend, ToolError
from navai_client.testing import LiveServer
from tests.server.time_limits import NEVER_S, end_time_limits
from tests.waiting import PATIENCE_S

EXECUTE = "/navai/functions/execute"
SECRET = "/navai/realtime/client-secret"
JSON = {"content-type": "application/json"}
BOM = b"\xef\xbb\xbf"


def test_a_call_that_succeeds_gives_ok_name_source_and_result(backend: NavaiBackend, execute: Any) -> None:
    @backend.function
    def getWeather(city: str) -> str:  # noqa: N802
        return f"sunny in {city}"

    answer = execute(backend, " Get_Weather ", {"city": "Oslo"})
    assert answer == {
        "ok": True,
        "function_name": "get_weather",
        "source": f"{__name__}#getWeather",
        "result": "sunny in Oslo",
    }


@pytest.mark.parametrize("name", [None, "", "  ", 3, ["x"]])
def test_a_call_without_a_name_is_400(backend: NavaiBackend, ask: Any, name: Any) -> None:
    answer = ask(backend, "POST", EXECUTE, json={"function_name": name})
    assert (answer.status_code, answer.json()) == (400, {"error": "function_name is required."})


def test_a_call_of_an_unknown_function_is_404_with_the_available_ones(
    backend: NavaiBackend, ask: Any
) -> None:
    backend.function(name="one")(lambda: 1)
    answer = ask(backend, "POST", EXECUTE, json={"function_name": "two"})
    assert answer.status_code == 404
    assert answer.json() == {"error": "Unknown or disallowed function.", "available_functions": ["one"]}


def test_a_function_that_raises_is_200_and_not_ok(backend: NavaiBackend, ask: Any) -> None:
    @backend.function
    def fails() -> None:
        raise LookupError("no such order")

    answer = ask(backend, "POST", EXECUTE, json={"function_name": "fails"})
    assert answer.status_code == 200
    assert answer.json() == {
        "ok": False,
        "function_name": "fails",
        "error": "Function execution failed.",
        "details": "no such order",
    }


@pytest.mark.parametrize(
    ("payload", "details"),
    [({"number": 7}, "There is no order 7."), ({"nummer": 7}, "did you mean number?")],
)
def test_what_is_written_for_the_caller_is_marked_for_its_model(
    backend: NavaiBackend, ask: Any, payload: Any, details: str
) -> None:
    @backend.function
    def find(number: int) -> None:
        raise ToolError(f"There is no order {number}.")

    body = {"function_name": "find", "payload": payload}
    for headers in ({}, {"idempotency-key": "k"}, {"idempotency-key": "k"}):
        answer = ask(backend, "POST", EXECUTE, json=body, headers=headers).json()
        assert (details in answer["details"], answer["details_for_model"]) == (True, True)


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), ValueError()]
)
@pytest.mark.parametrize("is_async", [True, False])
def test_an_exception_of_any_kind_ends_only_its_own_call(
    backend: NavaiBackend, execute: Any, error: Any, is_async: Any
) -> None:
    @backend.function(name="a")
    async def raises() -> None:
        raise error

    @backend.function(name="s")
    def raises_too() -> None:
        raise error

    answer = execute(backend, "a" if is_async else "s")
    assert answer["ok"] is False
    assert answer["details"] in (type(error).__name__, "3")


@pytest.mark.parametrize("is_async", [True, False])
def test_a_function_that_does_not_end_in_time_is_not_ok(tmp_path: Path, execute: Any, is_async: Any) -> None:
    backend = NavaiBackend(env={}, functions_base_dir=tmp_path)

    @backend.function(name="slow", timeout=0.05)
    async def slow() -> None:
        await asyncio.Event().wait()

    @backend.function(name="stuck", timeout=NEVER_S)
    def stuck(context: FunctionContext) -> None:
        end_time_limits(backend)
        context.cancelled.wait(PATIENCE_S)

    name, seconds = ("slow", "0.05") if is_async else ("stuck", "3600")
    assert f"did not finish within {seconds} seconds" in execute(backend, name)["details"]


@pytest.mark.parametrize("value", [object(), {(1, 2): 3}, lambda: 1, int])
def test_a_result_that_json_cannot_hold_is_not_ok(backend: NavaiBackend, execute: Any, value: Any) -> None:
    backend.function(name="odd")(lambda: value)
    assert execute(backend, "odd")["ok"] is False


def test_a_result_that_holds_itself_is_not_ok(backend: NavaiBackend, execute: Any) -> None:
    loop: list[Any] = []
    loop.append(loop)
    backend.function(name="loop")(lambda: loop)
    assert execute(backend, "loop")["ok"] is False


def test_results_of_many_types_have_a_form_in_json(backend: NavaiBackend, execute: Any) -> None:
    @attrs.frozen
    class Value:
        number: int = 10**30

    @dataclass
    class Data:
        name: str = "x"

    class Color(enum.Enum):
        RED = "red"

    result = [
        Value(),
        Data(),
        Color.RED,
        datetime(2026, 1, 2, tzinfo=UTC),
        uuid.UUID(int=1),
        Decimal("1.10"),
        b"a",
        {7},
    ]
    backend.function(name="many")(lambda: result)
    assert execute(backend, "many")["result"] == [
        {"number": 10**30}, {"name": "x"}, "red", "2026-01-02T00:00:00Z",
        "00000000-0000-0000-0000-000000000001", "1.10", "YQ==", [7],
    ]  # fmt: skip


def test_lone_surrogates_travel_both_ways(backend: NavaiBackend, execute: Any) -> None:
    backend.function(name="echo")(lambda text: text)
    assert execute(backend, "echo", {"text": "\ud800"})["result"] == "\ud800"


@pytest.mark.parametrize(
    "body", [b"{", b" ", b"nan", b'{"a":1e400}', b"[" * 100_000, b'"\xff"', b"[]", b"3", b"null"]
)
def test_a_body_that_is_not_a_json_object_is_400(backend: NavaiBackend, ask: Any, body: Any) -> None:
    answer = ask(backend, "POST", EXECUTE, content=body, headers=JSON)
    assert answer.status_code == 400
    assert "JSON" in answer.json()["error"] or "nested" in answer.json()["error"]


@pytest.mark.parametrize("headers", [{}, {"content-length": "0"}, JSON])
@pytest.mark.parametrize(
    ("path", "status", "member"),
    [("/navai/realtime/client-secret", 200, "value"), ("/navai/functions/execute", 400, "error")],
)
def test_no_body_counts_as_an_empty_object(  # noqa: PLR0917
    tmp_path: Path, ask: Any, path: str, status: int, member: str, headers: dict[str, str]
) -> None:
    backend = NavaiBackend(env={}, functions_base_dir=tmp_path, demo=True)
    answer = ask(backend, "POST", path, headers=headers)
    assert (answer.status_code, member in answer.json()) == (status, True)


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    yield body


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_without_a_content_type_is_415_and_runs_nothing(
    tmp_path: Path, ask: Any, chunked: bool
) -> None:
    ran: list[int] = []
    backend = NavaiBackend(env={}, functions_base_dir=tmp_path)
    backend.function(name="f")(lambda: ran.append(1))
    body = b'{"function_name": "f"}'
    answer = ask(backend, "POST", "/navai/functions/execute", content=_pieces(body) if chunked else body)
    assert (answer.status_code, ran) == (415, [])


def test_a_body_whose_length_was_not_announced_needs_a_content_type_too(tmp_path: Path) -> None:
    """HTTP/2 requests have neither Content-Length nor Transfer-Encoding."""
    ran: list[int] = []
    sent: list[Any] = []
    backend = NavaiBackend(env={}, functions_base_dir=tmp_path)
    backend.function(name="f")(lambda: ran.append(1))

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b'{"function_name": "f"}'}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/navai/functions/execute", "headers": []}
    asyncio.run(backend(scope, receive, send))
    assert (sent[0]["status"], ran) == (415, [])


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data"]
)
def test_a_body_of_another_content_type_is_415_and_runs_nothing(
    backend: NavaiBackend, ask: Any, kind: str
) -> None:
    ran: list[Any] = []
    backend.function(name="run")(lambda: ran.append(1))
    answer = ask(backend, "POST", EXECUTE, content=b'{"function_name":"run"}', headers={"content-type": kind})
    assert (answer.status_code, ran) == (415, [])


def test_a_body_over_the_limit_is_413_while_it_is_read(tmp_path: Path, ask: Any) -> None:
    backend = NavaiBackend(env={}, functions_base_dir=tmp_path, max_body_bytes=100)
    assert ask(backend, "POST", EXECUTE, content=b" " * 101, headers=JSON).status_code == 413
    messages = iter([{"type": "http.request", "body": b" " * 60, "more_body": True}] * 1000)
    taken: list[Any] = []
    sent: list[Any] = []

    async def receive() -> Any:
        taken.append(1)
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": EXECUTE,
        "headers": [(b"content-type", b"application/json")],
    }
    asyncio.run(backend(scope, receive, send))
    assert (sent[0]["status"], len(taken)) == (413, 2)


@pytest.mark.parametrize(
    ("payload", "result"),
    [
        ({"args": [1, 2]}, [1, 2]),
        ({"arguments": [1]}, [1, 5]),
        ({"args": [1, 2, 3]}, [1, 2]),
        ({"value": 7}, [7, 5]),
        ({"a": 1, "b": 2}, [1, 2]),
        ({"a": 1, "c": 2}, [{"a": 1, "c": 2}, 5]),
        ([1], [[1], 5]),
    ],
)
def test_payloads_become_arguments(backend: NavaiBackend, execute: Any, payload: Any, result: Any) -> None:
    backend.function(name="f")(lambda a, b=5: [a, b])
    assert execute(backend, "f", payload)["result"] == result


@pytest.mark.parametrize("payload", [None, {}, [], 3, "x", True])
def test_a_payload_without_keys_gives_no_arguments(backend: NavaiBackend, execute: Any, payload: Any) -> None:
    backend.function(name="f")(lambda a="none": a)
    assert execute(backend, "f", payload)["result"] == "none"


def test_arguments_that_do_not_fit_say_which_and_why(backend: NavaiBackend, execute: Any) -> None:
    @backend.function
    def order(quantity: int, note: str = "") -> None: ...

    assert (
        execute(backend, "order", {"quantity": "x"})["details"]
        == "Invalid arguments: quantity: Input should be a valid integer."
    )
    assert execute(backend, "order", {})["details"] == "Invalid arguments: missing argument quantity."
    assert "no parameter size" in execute(backend, "order", {"size": 1})["details"]


def test_a_class_is_instantiated_for_each_call(backend: NavaiBackend, execute: Any) -> None:
    @backend.function
    class Till:
        def __init__(self, rate: int = 1) -> None:
            self.rate = rate

        def add_tax(self, amount: int) -> int:
            return amount * self.rate

        async def later(self) -> int:
            return self.rate

    payload = {"constructorArgs": [3], "methodArgs": [2]}
    assert execute(backend, "till_add_tax", payload)["result"] == 6
    assert execute(backend, "till_add_tax", {"amount": 2})["result"] == 2
    assert execute(backend, "till_later", {"constructorArgs": [4]})["result"] == 4


def test_the_list_has_an_etag_and_is_304_when_known(backend: NavaiBackend, ask: Any) -> None:
    backend.function(name="one")(lambda: 1)
    first = ask(backend, "GET", "/navai/functions")
    assert first.json() == {
        "items": [
            {
                "name": "one",
                "description": "Call exported function one.",
                "source": f"{__name__}#one",
                "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
            }
        ],
        "warnings": [],
    }
    again = ask(
        backend, "GET", "/navai/functions", headers={"if-none-match": f'"x", W/{first.headers["etag"]}'}
    )
    assert (again.status_code, again.content) == (304, b"")


def test_unknown_paths_methods_and_health(backend: NavaiBackend, ask: Any) -> None:
    assert ask(backend, "GET", "/nope").status_code == 404
    wrong = ask(backend, "GET", EXECUTE)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST, OPTIONS")
    assert ask(backend, "GET", "/health").json() == {"ok": True}
    assert ask(backend, "HEAD", "/health").content == b""
    assert "/navai/functions" in ask(backend, "GET", "/navai/openapi.json").json()["paths"]


def test_without_functions_routes_only_the_client_secret_route_exists(tmp_path: Path, ask: Any) -> None:
    backend = NavaiBackend(env={}, functions_base_dir=tmp_path, include_functions_routes=False)
    assert ask(backend, "GET", "/navai/functions").status_code == 404
    assert ask(backend, "POST", "/navai/realtime/client-secret", json={}).status_code == 401


def test_a_key_runs_a_call_once_and_refuses_another(backend: NavaiBackend, ask: Any) -> None:
    ran: list[Any] = []

    @backend.function
    def book(seat: int) -> int:
        ran.append(seat)
        return len(ran)

    headers = {"idempotency-key": "k1"}
    bodies = [{"function_name": "book", "payload": {"seat": seat}} for seat in (1, 1, 2)]

    async def all_three() -> list[int]:
        transport = httpx.ASGITransport(app=cast("Any", backend))
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
            first, same = await asyncio.gather(
                *(client.post(EXECUTE, json=body, headers=headers) for body in bodies[:2])
            )
            other = await client.post(EXECUTE, json=bodies[2], headers=headers)
            assert first.json() == same.json()
            return [first.status_code, same.status_code, other.status_code]

    assert asyncio.run(all_three()) == [200, 200, 422]
    assert ran == [1]


@pytest.mark.parametrize(
    "body",
    [
        {"function_name": "book", "payload": {}},
        {"function_name": "book", "payload": {"seat": 1}},
        {"function_name": "nope"},
        {},
        [],
    ],
)
def test_every_response_to_an_execution_repeats_its_key(backend: NavaiBackend, ask: Any, body: Any) -> None:
    backend.function(lambda seat: seat, name="book")
    for _ in range(2):
        assert (
            ask(backend, "POST", EXECUTE, json=body, headers={"idempotency-key": "k1"}).headers[
                "idempotency-key"
            ]
            == "k1"
        )
    assert "idempotency-key" not in ask(backend, "POST", EXECUTE, json=body).headers
    refused = ask(backend, "POST", EXECUTE, content=b"{}", headers={"idempotency-key": "k2"})
    assert (refused.status_code, refused.headers["idempotency-key"]) == (415, "k2")


@pytest.mark.parametrize("key", ["a\tb", "k" * 300, "\xff"])
def test_a_key_that_is_refused_is_not_repeated(backend: NavaiBackend, ask: Any, key: str) -> None:
    backend.function(lambda: 1, name="book")
    headers = {"idempotency-key": key.encode("latin-1")}
    refused = ask(backend, "POST", EXECUTE, json={"function_name": "book"}, headers=headers)
    assert refused.status_code == 400
    assert "idempotency-key" not in refused.headers


def test_requests_carry_an_id(backend: NavaiBackend, ask: Any) -> None:
    assert (
        ask(backend, "GET", "/health", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    )
    assert ask(backend, "GET", "/health", headers={"x-request-id": "a b"}).headers["x-request-id"] != "a b"
    assert json.loads(ask(backend, "GET", "/health").content)


@pytest.mark.parametrize(("body", "status"), [(b"0\r\n\r\n", 400), (b"2\r\n{}\r\n0\r\n\r\n", 415)])
def test_an_empty_body_in_chunks_needs_no_content_type(body: bytes, status: int) -> None:
    head = b"POST /navai/functions/execute HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n"
    with LiveServer() as server:
        address = urlsplit(server.url)
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=60) as connection:
            connection.sendall(head + body)
            assert connection.recv(100).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (BOM + b'{"function_name":"echo","payload":{"x":1.5}}', 200),
        (BOM + b'{"function_name":"echo","payload":{"x":1e999}}', 400),
        (BOM + b'{"function_name":"echo","payload":{"x":NaN}}', 400),
        (BOM + b"[" * 100_000, 400),
        (b'{"function_name":"echo","payload":{"x":"\\ud800"}}', 200),
    ],
)
def test_bodies_that_javascript_writes_are_read_and_no_others(
    backend: NavaiBackend, ask: Any, body: bytes, status: int
) -> None:
    backend.function(name="echo")(lambda x: x)
    assert ask(backend, "POST", EXECUTE, content=body, headers=JSON).status_code == status


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"'])
def test_every_route_with_a_body_refuses_json_that_is_not_an_object(
    backend: NavaiBackend, ask: Any, body: bytes
) -> None:
    for path in (SECRET, "/navai/speech/synthesize", EXECUTE):
        answer = ask(backend, "POST", path, content=body, headers=JSON)
        assert (answer.status_code, list(answer.json())) == (400, ["error"])


def test_a_compressed_body_is_415(backend: NavaiBackend, ask: Any) -> None:
    answer = ask(backend, "POST", EXECUTE, content=b"{}", headers={**JSON, "content-encoding": "gzip"})
    assert (answer.status_code, "Content-Encoding" in answer.json()["error"]) == (415, True)


def test_a_json_type_with_a_prefix_is_json(backend: NavaiBackend, ask: Any) -> None:
    headers = {"content-type": "application/vnd.api+json; charset=utf-8"}
    assert ask(backend, "POST", EXECUTE, content=b"{}", headers=headers).status_code == 400


def test_options_lists_the_methods(backend: NavaiBackend, ask: Any) -> None:
    answer = ask(backend, "OPTIONS", EXECUTE)
    assert (answer.status_code, answer.headers["allow"]) == (204, "POST, OPTIONS")


def test_a_list_that_changed_is_sent_again(backend: NavaiBackend, ask: Any) -> None:
    first = ask(backend, "GET", "/navai/functions").headers["etag"]
    backend.function(name="one")(lambda: 1)
    again = ask(backend, "GET", "/navai/functions", headers={"if-none-match": first})
    assert (again.status_code, len(again.json()["items"])) == (200, 1)


@pytest.mark.parametrize("key", ["", "x" * 256, "é"])
def test_an_invalid_idempotency_key_is_400(backend: NavaiBackend, ask: Any, key: str) -> None:
    backend.function(name="one")(lambda: 1)
    headers = {"idempotency-key": key.encode("latin-1")}
    answer = ask(backend, "POST", EXECUTE, json={"function_name": "one"}, headers=headers)
    assert (answer.status_code, "Idempotency-Key" in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    ("result", "given"),
    [
        (None, None),
        ({"a": [None, (1, 2.5)], "b": "null"}, {"a": [None, [1, 2.5]], "b": "null"}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        ({"\ud800": 1}, {"\ud800": 1}),
    ],
)
def test_ordinary_results_are_returned(backend: NavaiBackend, execute: Any, result: Any, given: Any) -> None:
    backend.function(name="f")(lambda: result)
    assert execute(backend, "f")["result"] == given


class _Deep(Mapping[str, Any]):
    """An infinite mapping."""

    def __getitem__(self, key: str) -> Any:
        return self

    def __iter__(self) -> Any:
        return iter("a")

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("result", "details"),
    [
        ({1: "a", "1": "b"}, 'The result has two keys that are "1" in JSON.'),
        ({(1, 2): 3}, "The result has a key of type tuple, which JSON cannot hold."),
        (_Deep(), "The result is nested too deeply, or contains itself."),
    ],
)
def test_results_that_no_json_can_hold_say_why(
    backend: NavaiBackend, execute: Any, result: Any, details: str
) -> None:
    backend.function(name="f")(lambda: result)
    answer = execute(backend, "f")
    assert answer["error"] == "Function execution failed."
    assert answer["details"].startswith(details)


def test_an_exception_without_a_message_is_reported_by_its_type(backend: NavaiBackend, execute: Any) -> None:
    class Mute(Exception):  # noqa: N818
        def __str__(self) -> str:
            raise LookupError

    @backend.function
    def fails() -> None:
        raise Mute

    assert execute(backend, "fails")["details"] == "Mute"


def test_openapi_lists_the_routes_and_the_access_token(tmp_path: Path, ask: Any) -> None:
    backend = NavaiBackend(
        env={}, functions_base_dir=tmp_path, include_functions_routes=False, access_token="let-me-in"
    )
    headers = {"authorization": "Bearer let-me-in"}
    described = ask(backend, "GET", "/navai/openapi.json", headers=headers).json()
    assert "/navai/functions" not in described["paths"]
    assert described["security"] == [{"token": []}]
    assert described["paths"]["/health"]["get"]["security"] == []
