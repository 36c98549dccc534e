"""Rare cases: bodies that only JavaScript produces, unusual requests, functions that do not stop."""

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from navai_client.server import (
    BackendOptions,
    BackendOptionsError,
    NavaiBackend,
    discover_function_modules,
    load_functions,
)
from navai_client.server._http import BackendRequest

EXECUTE = "/navai/functions/execute"
SECRET = "/navai/realtime/client-secret"
JSON = {"content-type": "application/json"}
BOM = b"\xef\xbb\xbf"


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


def test_an_unsupported_asgi_protocol_is_an_error(backend: NavaiBackend) -> None:
    async def nothing(*_: Any) -> Any:
        return None

    with pytest.raises(ValueError, match="does not serve 'webtransport'"):
        asyncio.run(backend({"type": "webtransport"}, nothing, nothing))


def test_a_model_without_an_announced_shutdown_is_not_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="navai_client.server")
    options = BackendOptions(openai_api_key="k", default_model="gpt-realtime-2")
    NavaiBackend(options, env={}, discover=False).start()
    assert caplog.records == []


def test_an_api_key_that_no_header_can_carry_is_refused_and_not_shown(
    backend: NavaiBackend, ask: Any
) -> None:
    answer = ask(backend, "POST", SECRET, json={"apiKey": "a\nb"})
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "apiKey must be printable ASCII without spaces."},
    )


def test_a_timeout_of_zero_is_refused() -> None:
    with pytest.raises(BackendOptionsError, match=r"timeout .* greater than 0\. Received: 0"):
        BackendOptions(timeout=0)


def test_a_missing_base_directory_has_no_modules(tmp_path: Path) -> None:
    assert discover_function_modules(tmp_path / "gone").modules == ()


def test_a_module_that_another_imported_is_not_loaded_twice(tmp_path: Path, write: Any) -> None:
    write("src/tools/a.py", "from .b import COUNT\ndef a(): ...")
    write("src/tools/b.py", "COUNT = 1\ndef b(): ...")
    assert load_functions(discover_function_modules(tmp_path, "tools").modules).names == ["a", "b"]


def test_a_module_that_raises_on_inspection_is_a_warning(tmp_path: Path, write: Any) -> None:
    text = (
        "__all__ = ['box']\nclass Box:\n    @property\n    def lid(self): raise LookupError('no lid')\n"
        "box = Box()\nbox.__dict__['lid'] = 1\n"
    )
    write("src/a.py", text)
    write("src/b.py", "def fine(): ...")
    found = load_functions(discover_function_modules(tmp_path, "src").modules)
    assert found.names == ["fine"]
    assert found.warnings == ["[navai] Failed to load src/a.py: no lid"]


def test_a_name_that_is_taken_twice_gets_the_next_free_number(backend: NavaiBackend, ask: Any) -> None:
    for name in ("go", "go_2", "Go", "GO", "é", "ü"):
        backend.function(name=name)(lambda: 1)
    listed = ask(backend, "GET", "/navai/functions").json()
    assert [each["name"] for each in listed["items"]] == ["go", "go_2", "go_3", "go_4", "fn", "fn_2"]
    assert listed["warnings"] == [
        '[navai] Renamed duplicated function "Go" to "go_3".',
        '[navai] Renamed duplicated function "GO" to "go_4".',
        '[navai] Renamed duplicated function "é" to "fn".',
        '[navai] Renamed duplicated function "ü" to "fn_2".',
    ]


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


def test_a_function_whose_threads_are_all_taken_says_so(tmp_path: Path, execute: Any) -> None:
    backend = NavaiBackend(env={}, functions_base_dir=tmp_path, threads_per_function=1, function_timeout=0.05)
    release = threading.Event()
    backend.function(name="stuck")(lambda: release.wait(5))
    assert "did not finish" in execute(backend, "stuck")["details"]
    assert execute(backend, "stuck") == {
        "error": "The server is too busy: the function was not begun. Try again."
    }
    release.set()


def test_a_function_that_ignores_its_timeout_fails_in_time_and_is_stopped_at_shutdown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = NavaiBackend(env={}, discover=False, function_timeout=0.02)
    ended: list[str] = []

    @backend.function
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("stopped")

    async def scenario() -> None:
        request = BackendRequest("POST", EXECUTE, {b"content-type": b"application/json"})
        answer = await backend.router.respond(request, b'{"function_name":"stubborn"}')
        assert b"did not finish within 0.02 seconds" in answer.body
        assert ended == []
        await backend.aclose()

    asyncio.run(scenario())
    assert ended == ["stopped"]
    assert "still runs, although its time is over" in caplog.text


def test_the_functions_of_the_demo_work(tmp_path: Path, execute: Any, ask: Any) -> None:
    demo = NavaiBackend(env={}, functions_base_dir=tmp_path, demo=True)
    weather = execute(demo, "get_weather", {"location": "Oslo", "unit": "fahrenheit"})["result"]
    assert (weather["location"], weather["unit"]) == ("Oslo", "fahrenheit")
    order = {"items": [{"product": "tea", "quantity": 2}], "customer_id": "7"}
    placed = execute(demo, "create_order", order)["result"]
    assert (placed["order_id"], placed["total"]) == ("order-7", "4.80")
    nothing = {**order, "items": [{"product": "tea", "quantity": 0}]}
    assert "quantity" in execute(demo, "create_order", nothing)["details"]
    assert execute(demo, "cancel_order", {"order_id": "9"})["details"] == "There is no order '9'."
    assert execute(demo, "make_report", {"seconds": 0})["result"]["orders"] == 42
    assert execute(demo, "tell_time")["result"].endswith("Z")
    assert execute(demo, "calculator_add_tax", {"amount": 100})["result"] == 119
    for silence in ({}, {"text": " "}):
        assert ask(demo, "POST", "/navai/speech/synthesize", json=silence).status_code == 400


def test_a_field_that_is_not_a_boolean_is_named(tmp_path: Path, ask: Any) -> None:
    demo = NavaiBackend(env={}, functions_base_dir=tmp_path, demo=True)
    body = {"text": "x", "voiceSettings": {"useSpeakerBoost": 1}}
    answer = ask(demo, "POST", "/navai/speech/synthesize", json=body)
    assert answer.json() == {"error": "useSpeakerBoost must be true or false."}


def test_openapi_lists_the_routes_and_the_access_token(tmp_path: Path, ask: Any) -> None:
    backend = NavaiBackend(
        env={}, functions_base_dir=tmp_path, include_functions_routes=False, access_token="let-me-in"
    )
    headers = {"authorization": "Bearer let-me-in"}
    described = ask(backend, "GET", "/navai/openapi.json", headers=headers).json()
    assert "/navai/functions" not in described["paths"]
    assert described["security"] == [{"token": []}]
    assert described["paths"]["/health"]["get"]["security"] == []


JWT = ["--jwt-jwks-url=https://login.example/keys", "--jwt-issuer=i", "--jwt-audience=a"]


@pytest.mark.parametrize(
    ("missing", "extra", "command"),
    [
        ("msgspec", "server", "import navai_client.server as s; s.NavaiBackend"),
        ("uvicorn", "server", "from navai_client.server.__main__ import main; main(['--demo'])"),
        ("jwt", "auth", f"from navai_client.server.__main__ import main; main({JWT!r})"),
        (
            "prometheus_client",
            "metrics",
            "from navai_client.server.__main__ import main; main(['--metrics'])",
        ),
        ("cryptography", "auth", f"from navai_client.server.__main__ import main; main({JWT!r})"),
    ],
)
def test_a_missing_extra_is_named_with_its_pip_command(missing: str, extra: str, command: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; {command}"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode in (1, 2)
    assert f"pip install 'navai-client[{extra}]'" in ended.stderr.splitlines()[-1]
