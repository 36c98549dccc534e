"""Clients that go away, over real sockets, and calls that are cancelled on purpose."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from navai_client.server import FunctionContext, MemoryStore, SQLiteStore
from navai_client.testing import LiveServer
from tests.server.test_outcomes import post, posted, server_process
from tests.serving import NO_TLS
from tests.waiting import PATIENCE_S, until

CANCEL = "/navai/functions/execute/cancel"


def send(url: str, path: str, body: Any, **headers: str) -> socket.socket:
    """Send a request over a connection of its own, and return the connection."""
    address = urlsplit(url)
    content = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", f"Host: {address.netloc}", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(content)}", *(f"{name}: {value}" for name, value in headers.items())]
    connection = socket.create_connection((address.hostname or "", address.port or 0), timeout=PATIENCE_S)
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + content)
    return connection


def execute(server: LiveServer | str, name: str, payload: Any = None, **headers: str) -> socket.socket:
    url = server if isinstance(server, str) else server.url
    return send(url, "/navai/functions/execute", {"function_name": name, "payload": payload}, **headers)


@pytest.fixture(name="server")
def _server() -> Iterator[LiveServer]:
    with LiveServer(threads_per_function=1, function_timeout=None) as server:
        yield server


class Waiting:
    """Functions that wait, and what happened to them."""

    def __init__(self, server: LiveServer) -> None:
        self.began, self.ended, self.release = threading.Event(), threading.Event(), threading.Event()
        self.ran = 0
        server.function(self.wait_async)
        server.function(self.wait_sync)

    async def wait_async(self) -> str:
        """Wait on the event loop."""
        self.ran += 1
        self.began.set()
        try:
            while not self.release.is_set():  # noqa: ASYNC110 - another thread sets it
                await asyncio.sleep(0.01)
        finally:
            self.ended.set()
        return "done"

    def wait_sync(self, context: FunctionContext) -> str:
        """Wait in a thread."""
        self.ran += 1
        self.began.set()
        while not (context.cancelled.is_set() or self.release.is_set()):
            context.cancelled.wait(0.01)
        self.ended.set()
        return "done"


@pytest.mark.parametrize("name", ["wait_async", "wait_sync"])
def test_a_client_that_goes_away_cancels_a_call_without_a_key(server: LiveServer, name: str) -> None:
    waiting = Waiting(server)
    with execute(server, name):
        assert waiting.began.wait(PATIENCE_S)
        assert not waiting.ended.is_set()
    assert waiting.ended.wait(PATIENCE_S)
    assert not waiting.release.is_set()


@pytest.mark.parametrize("name", ["wait_async", "wait_sync"])
def test_a_call_with_a_key_runs_to_its_end_without_its_client(server: LiveServer, name: str) -> None:
    waiting = Waiting(server)
    with execute(server, name, **{"Idempotency-Key": "k"}):
        assert waiting.began.wait(PATIENCE_S)
    with execute(server, name):  # the disconnect of this one is seen after that of the first
        until(lambda: len(server._app._disconnects._watchers) == 1)
    waiting.release.set()
    answer = post(server, name, key="k")
    assert (answer.json()["result"], answer.headers["idempotent-replayed"]) == ("done", "true")


@pytest.mark.parametrize("store", [MemoryStore, SQLiteStore], ids=["memory", "sqlite"])
@pytest.mark.parametrize("name", ["read_async", "read_sync"])
def test_one_that_only_reads_is_cancelled_and_runs_anew_if_it_is_asked_for_again(
    tmp_path: Path, store: Any, name: str
) -> None:
    kept = MemoryStore() if store is MemoryStore else SQLiteStore(tmp_path / "keys.sqlite")
    options: Any = {"store": kept}
    with LiveServer(threads_per_function=1, function_timeout=None, **options) as server:
        waiting = Waiting(server)
        server.function(waiting.wait_async, name="read_async", effect="read")
        server.function(waiting.wait_sync, name="read_sync", effect="read")
        with execute(server, name, **{"Idempotency-Key": "k"}):
            assert waiting.began.wait(PATIENCE_S)
        assert waiting.ended.wait(PATIENCE_S)
        assert not waiting.release.is_set()
        until(lambda: not server._app.invoker.running)
        waiting.release.set()
        answer = post(server, name, key="k")
    assert answer.json()["result"] == "done"
    assert (waiting.ran, "idempotent-replayed" in answer.headers) == (2, False)


def test_one_that_only_reads_goes_on_for_the_other_client_that_waits_for_it(server: LiveServer) -> None:
    waiting = Waiting(server)
    server.function(waiting.wait_async, name="look", effect="read")
    with execute(server, "look", **{"Idempotency-Key": "k"}):
        assert waiting.began.wait(PATIENCE_S)
        other = posted(server, "look", key="k")
        (call,) = server._app.invoker._running
        until(lambda: len(call._waiting or ()) == 2)
    later = Waiting(server)
    with execute(server, "wait_async_2"):
        assert later.began.wait(PATIENCE_S)
    assert later.ended.wait(PATIENCE_S)  # its disconnect was seen after that of the first
    assert not waiting.ended.is_set()
    waiting.release.set()
    assert other.result().json()["result"] == "done"
    assert waiting.ran == 1


def test_a_call_whose_client_goes_away_while_it_waits_for_a_thread_never_begins(server: LiveServer) -> None:
    waiting = Waiting(server)
    first = posted(server, "wait_sync")
    assert waiting.began.wait(PATIENCE_S)
    with execute(server, "wait_sync"):
        slots = server._app.invoker._threads._functions["wait_sync"]
        until(lambda: len(slots.waiting) == 1)
    until(lambda: not slots.waiting)
    waiting.release.set()
    assert first.result().json()["result"] == "done"
    assert waiting.ran == 1


def test_a_client_that_goes_away_cancels_the_request_upstream() -> None:
    cancelled = threading.Event()
    began = threading.Event()

    class Upstream:
        async def create_client_secret(self, request: Mapping[str, Any]) -> dict[str, Any]:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
            return {}

        synthesize_speech = create_client_secret

        async def aclose(self) -> None: ...

    with LiveServer() as server:
        server._app.router._services = Upstream()
        server._app.router._routes = server._app.router._make_routes()
        with send(server.url, "/navai/realtime/client-secret", {}):
            assert began.wait(PATIENCE_S)
        assert cancelled.wait(PATIENCE_S)


def test_the_server_as_it_is_shipped_notices_that_its_client_has_gone(tmp_path: Path) -> None:
    began, ended = tmp_path / "began", tmp_path / "ended"
    file = tmp_path / "src" / "ai" / "functions-modules" / "waiting.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import asyncio, pathlib\n"
        "async def waits(began: str, ended: str) -> None:\n"
        "    pathlib.Path(began).touch()\n"
        "    try:\n"
        "        await asyncio.Event().wait()\n"
        "    finally:\n"
        "        pathlib.Path(ended).touch()\n"
    )
    with server_process(tmp_path, "--function-timeout", "600") as (process, url):
        with execute(url, "waits", {"began": str(began), "ended": str(ended)}):
            until(began.exists)
        until(ended.exists)
        process.terminate()
        assert process.stderr is not None
        log = process.stderr.read()
    assert "status=499" in log
    assert "Traceback" not in log


def cancel(server: LiveServer, key: str | None, **headers: str) -> httpx.Response:
    if key is not None:
        headers["idempotency-key"] = key
    return httpx.post(
        server.url + CANCEL, headers=headers, timeout=PATIENCE_S, trust_env=False, verify=NO_TLS
    )


@pytest.mark.parametrize("name", ["wait_async", "wait_sync"])
def test_a_call_that_has_begun_can_be_cancelled_by_its_key(server: LiveServer, name: str) -> None:
    waiting = Waiting(server)
    call = posted(server, name, key="k")
    assert waiting.began.wait(PATIENCE_S)
    answer = cancel(server, "k")
    assert (answer.status_code, answer.json()) == (
        200,
        {"ok": True, "cancelled": True, "may_have_executed": True},
    )
    assert waiting.ended.wait(PATIENCE_S)
    first = call.result().json()
    if name == "wait_async":
        assert (first["ok"], first["details"]) == (False, "The call was cancelled.")
        assert first["may_have_executed"] is True
    assert post(server, name, key="k").headers["idempotent-replayed"] == "true"
    assert waiting.ran == 1
    assert cancel(server, "k").json() == {"ok": True, "cancelled": False}


def test_a_call_that_has_not_begun_can_be_cancelled_and_is_not_begun_by_a_copy(server: LiveServer) -> None:
    waiting = Waiting(server)
    holding = posted(server, "wait_sync")
    assert waiting.began.wait(PATIENCE_S)
    call = posted(server, "wait_sync", key="k")
    until(lambda: len(server._app.invoker._threads._functions["wait_sync"].waiting) == 1)
    assert cancel(server, "k").json() == {"ok": True, "cancelled": True}
    waiting.release.set()
    assert holding.result().json()["ok"] is True
    for answer in (call.result(), post(server, "wait_sync", key="k")):
        assert answer.json()["details"] == "The call was cancelled before its function began."
        assert "may_have_executed" not in answer.json()
    assert waiting.ran == 1


def test_a_call_can_be_cancelled_only_by_its_caller(server: LiveServer) -> None:
    waiting = Waiting(server)
    mine, key = {"authorization": "Bearer mine"}, {"Idempotency-Key": "k"}
    with execute(server, "wait_async", Authorization="Bearer mine", **key):
        assert waiting.began.wait(PATIENCE_S)
        assert cancel(server, "k").status_code == 404
        assert cancel(server, "k", authorization="Bearer others").status_code == 404
        assert cancel(server, "k", **mine).json()["cancelled"] is True


def test_a_key_belongs_to_its_caller(server: LiveServer) -> None:
    given = iter("abc")
    server.function(name="draw")(lambda: next(given))
    drawn = [
        post(server, "draw", key="k", **headers).json()["result"]
        for headers in ({}, {"authorization": "Bearer x"}, {"authorization": "Bearer y"}, {})
    ]
    assert drawn == ["a", "b", "c", "a"]


def test_cancelling_needs_a_known_key_and_the_access_token() -> None:
    with LiveServer(access_token="let-me-in") as server:
        allowed = {"authorization": "Bearer let-me-in"}
        assert cancel(server, "k").status_code == 401
        assert cancel(server, None, **allowed).json() == {
            "error": "Idempotency-Key is required: it names the call to cancel."
        }
        assert cancel(server, "k" * 256, **allowed).status_code == 400
        unknown = cancel(server, "unknown", **allowed)
        assert (unknown.status_code, unknown.json()) == (404, {"error": "No call has this Idempotency-Key."})
        asked = {"origin": "http://localhost:5173", "access-control-request-method": "POST"}
        preflight = httpx.options(server.url + CANCEL, headers=asked, timeout=PATIENCE_S, trust_env=False)
        assert preflight.status_code == 204
        assert "Idempotency-Key" in preflight.headers["access-control-allow-headers"]
        url = server.url + "/navai/openapi.json"
        described = httpx.get(url, headers=allowed, timeout=PATIENCE_S, trust_env=False).json()
        assert list(described["paths"][CANCEL]) == ["post"]
