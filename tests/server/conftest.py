"""Fixtures of the server's tests: requests to a backend in memory, a folder of modules, a stub of OpenAI."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol, cast

import httpx
import pytest

from navai_client.server import NavaiBackend


class Ask(Protocol):
    """Sends one request to a backend, without a socket."""

    def __call__(
        self,
        backend: NavaiBackend,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = ...,
        **given: Any,
    ) -> httpx.Response:
        """Send it."""
        ...


@pytest.fixture(name="ask")
def _ask() -> Ask:
    def ask(
        backend: NavaiBackend, method: str, path: str, *, headers: dict[str, str] | None = None, **given: Any
    ) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=cast("Any", backend))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, headers=headers, **given)

        return asyncio.run(send())

    return ask


@pytest.fixture(name="execute")
def _execute(ask: Ask) -> Callable[..., Any]:
    def execute(backend: NavaiBackend, name: Any, payload: Any = None, **given: Any) -> Any:
        body = json.dumps({"function_name": name, "payload": payload})
        headers = {"content-type": "application/json"}
        return ask(backend, "POST", "/navai/functions/execute", content=body, headers=headers, **given).json()

    return execute


@pytest.fixture(name="backend")
def _backend(tmp_path: Path) -> NavaiBackend:
    return NavaiBackend(env={}, functions_base_dir=tmp_path)


@pytest.fixture(name="write")
def _write(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(path: str, text: str) -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write


class Stub(ThreadingHTTPServer):
    """The part of OpenAI that mints client secrets."""

    daemon_threads = True
    status = 200
    answer: Any = {"value": "ek_1", "expires_at": 1730000000, "more": 1}  # noqa: RUF012
    headers: dict[str, str] = {}  # noqa: RUF012
    got: Any = None
    asked: Mapping[str, str] = {}
    hold: threading.Event | None = None

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    """Responds as its server says."""

    server: Stub

    def do_POST(self) -> None:
        """Record the request and respond."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked = dict(self.headers)
        self.server.got = (self.path, self.headers["authorization"], body)
        if self.server.hold is not None:
            self.server.hold.wait(60)
        answer = self.server.answer
        data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(self.server.status)
        for name, value in {"content-length": str(len(data)), **self.server.headers}.items():
            self.send_header(name, value)
        with contextlib.suppress(ConnectionError):  # the caller may have timed out
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture(name="stub")
def _stub() -> Iterator[Stub]:
    with Stub(("127.0.0.1", 0), Handler) as stub:
        thread = threading.Thread(target=stub.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield stub
        if stub.hold is not None:
            stub.hold.set()
        stub.shutdown()
        thread.join()
