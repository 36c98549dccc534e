"""Fixtures of the server's tests: requests to a backend in memory, a folder of modules, ``navai serve``."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

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


class Served(NamedTuple):
    """A running ``navai serve``."""

    url: str
    process: subprocess.Popen[str]
    log_file: Path

    def stop(self) -> str:
        """Stop it, and return its whole log."""
        self.process.terminate()
        self.process.communicate(timeout=60)
        return self.log_file.read_text(encoding="utf-8")


Serve = Callable[..., Served]
_COMMAND = str(Path(sys.executable).with_name("navai"))


def _environment(given: dict[str, str]) -> dict[str, str]:
    """Return this process's environment without the settings of a server, and with *given*."""
    settings = ("NAVAI_", "OPENAI_", "ELEVENLABS_", "PORT")
    return {name: text for name, text in os.environ.items() if not name.startswith(settings)} | given


@pytest.fixture(name="serve")
def _serve(tmp_path: Path) -> Iterator[Serve]:
    """Start ``navai serve`` on a free port, with *environment*, in a directory of its own."""
    with contextlib.ExitStack() as stack:

        def serve(*arguments: str, **environment: str) -> Served:
            log_file = tmp_path / "server.log"
            process = stack.enter_context(
                subprocess.Popen(
                    [_COMMAND, "serve", "--port", "0", *arguments],
                    stdout=subprocess.PIPE,
                    stderr=stack.enter_context(log_file.open("w")),
                    text=True,
                    cwd=tmp_path,
                    env=_environment(environment),
                )
            )
            stack.callback(process.terminate)
            assert process.stdout is not None
            listening = process.stdout.readline()
            assert listening, log_file.read_text(encoding="utf-8")
            return Served(listening.split()[-1], process, log_file)

        yield serve


@pytest.fixture(name="start")
def _start(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Run ``navai serve``, which is expected not to start, and return its status and what it wrote."""

    def start(*arguments: str, **environment: str) -> tuple[int, str]:
        ended = subprocess.run(
            [_COMMAND, "serve", "--port", "0", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=_environment(environment),
            timeout=60,
            check=False,
        )
        assert ended.stdout == ""
        return ended.returncode, ended.stderr

    return start
