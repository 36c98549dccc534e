"""Start and stop, the messages of ASGI, and defects of the server."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import navai_client.server
from navai_client.server import NavaiBackend
from navai_client.server._demo import DemoServices
from tests.server.conftest import Ask


def run(backend: NavaiBackend, scope: dict[str, Any], messages: list[dict[str, Any]]) -> list[Any]:
    sent: list[Any] = []
    left = iter(messages)

    async def receive() -> Any:
        message = next(left, None)
        return message if message is not None else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(backend(scope, receive, send))
    return sent


def post(*parts: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/navai/functions/execute", "headers": headers}
    return scope, [{"type": "http.request", "body": part, "more_body": True} for part in parts]


def test_the_lifespan_loads_the_functions_and_warns_once(tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.WARNING, logger="navai_client.server")
    env = {"NAVAI_ALLOW_FRONTEND_API_KEY": "no", "OPENAI_REALTIME_MODEL": "gpt-realtime"}
    backend = NavaiBackend(env=env, functions_base_dir=tmp_path)
    sent = run(backend, {"type": "lifespan"}, [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    assert [each["type"] for each in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    logged = " ".join(record.getMessage() for record in caplog.records)
    assert logged.count("get status 401") == 1
    assert logged.count("2027-01-20") == 1


def test_an_outer_application_can_start_and_stop_it(backend: NavaiBackend) -> None:
    async def scenario() -> None:
        async with backend.lifespan():
            assert backend.functions().names == []

    asyncio.run(scenario())


def test_a_websocket_is_closed(backend: NavaiBackend) -> None:
    assert (
        run(backend, {"type": "websocket"}, [{"type": "websocket.connect"}])[0]["type"] == "websocket.close"
    )


def test_a_body_may_come_in_parts(backend: NavaiBackend) -> None:
    backend.function(name="one")(lambda: 1)
    scope, messages = post(b'{"function_', b'name":"one"}')
    sent = run(backend, scope, [*messages, {"type": "http.request"}])
    assert b'"result":1' in sent[1]["body"]


def test_messages_after_the_body_do_not_cancel_a_call(backend: NavaiBackend) -> None:
    @backend.function(name="one")
    async def one() -> int:
        await asyncio.sleep(0)
        backend._disconnects._look(asyncio.get_running_loop())
        for _ in range(5):
            await asyncio.sleep(0)
        return 1

    scope, messages = post(b'{"function_name":"one"}')
    sent = run(backend, scope, [*messages, {"type": "http.request"}, {"type": "http.request"}])
    assert b'"result":1' in sent[1]["body"]


def test_a_body_that_does_not_arrive_is_408_and_a_disconnected_client_gets_nothing(tmp_path: Path) -> None:
    backend = NavaiBackend(env={}, functions_base_dir=tmp_path, body_timeout=0.02)
    scope, messages = post(b"{")
    assert run(backend, scope, messages)[0]["status"] == 408
    assert run(backend, scope, [*messages, {"type": "http.disconnect"}]) == []


def test_a_result_that_breaks_while_it_is_encoded_fails_only_its_own_call(
    backend: NavaiBackend, execute: Any
) -> None:
    class Broken:
        def model_dump(self, *, mode: str) -> dict[str, Any]:
            """Break."""
            raise LookupError("broken out")

    @backend.function
    def give() -> Broken:
        return Broken()

    assert execute(backend, "give")["details"] == "broken out"


def test_a_defect_is_a_json_500_with_request_id_cors_headers_and_a_log_line(
    ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(DemoServices):
        async def create_client_secret(
            self, request: Mapping[str, Any], *, ttl_seconds: int | None = None
        ) -> dict[str, Any]:
            raise LookupError("a defect")

    backend = NavaiBackend(env={}, discover=False, services=Broken())
    headers = {"origin": "http://localhost:5173", "x-request-id": "id-1"}
    response = ask(backend, "POST", "/navai/realtime/client-secret", json={}, headers=headers)
    assert (response.status_code, response.json()) == (500, {"error": "Internal server error."})
    assert response.headers["x-request-id"] == "id-1"
    assert response.headers["access-control-allow-origin"] == "http://localhost:5173"
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "id-1" in record.getMessage()
    assert record.exc_info is not None


def test_every_public_name_can_be_imported_and_no_other() -> None:
    for name in navai_client.server.__all__:
        assert hasattr(navai_client.server, name)
    assert set(navai_client.server.__all__) <= set(dir(navai_client.server))
    with pytest.raises(AttributeError):
        _ = navai_client.server.nothing


def test_an_unsupported_asgi_protocol_is_an_error(backend: NavaiBackend) -> None:
    async def nothing(*_: Any) -> Any:
        return None

    with pytest.raises(ValueError, match="does not serve 'webtransport'"):
        asyncio.run(backend({"type": "webtransport"}, nothing, nothing))
