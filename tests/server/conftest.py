"""Fixtures of the server's tests: requests to a backend in memory, and a folder of modules to serve."""

import asyncio
import json
from collections.abc import Callable
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
