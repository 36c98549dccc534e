"""What the command's tests share: the command as it is installed, and the same within this process."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from navai_client.cli.__main__ import main
from navai_client.testing import FakeBackend
from tests.faults.server import FaultServer, Peer, answer

COMMAND = str(Path(sys.executable).with_name("navai"))
REMOVED = (
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OPENAI_REALTIME_MODEL",
    "NAVAI_API_URL",
    "NAVAI_ACCESS_TOKEN",
    "NO_COLOR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
)


class Result(NamedTuple):
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str


Navai = Callable[..., Result]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in REMOVED:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.setenv("NAVAI_COMPLETE_TIMEOUT", "60")  # a slow machine is not a failure


@pytest.fixture(name="command")
def _command() -> Navai:
    """Run the installed command in a process of its own."""

    def run(*arguments: str, stdin: str = "", **environment: str) -> Result:
        finished = subprocess.run(
            [COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
            check=False,
            env=os.environ | environment,
        )
        return Result(finished.returncode, finished.stdout, finished.stderr)

    return run


@pytest.fixture(name="navai")
def _navai(capfd: pytest.CaptureFixture[str]) -> Navai:
    """Run the command within this process."""

    def run(*arguments: str) -> Result:
        capfd.readouterr()
        try:
            status = main(arguments)
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        out, err = capfd.readouterr()
        return Result(status, out, err)

    return run


@pytest.fixture(name="reply")
def _reply() -> Iterator[Callable[..., FaultServer]]:
    """Start a backend that sends the same response to every request."""
    servers: list[FaultServer] = []

    def start(body: str | bytes, *headers: str, status: str = "200 OK") -> FaultServer:
        def treat(peer: Peer) -> None:
            while peer.request() is not None:
                peer.send(answer(body, *headers, status=status))

        server = FaultServer(treat)
        servers.append(server)
        server.__enter__()
        return server

    yield start
    for server in servers:
        server.__exit__(None, None, None)


@pytest.fixture(name="backend")
def _backend(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    """A backend in memory that the command within this process talks to."""
    backend = FakeBackend()

    def through_memory(*_: Any, **__: Any) -> Any:
        return sync_transport(backend.transport, None)

    from navai_client import client  # noqa: PLC0415 - what is replaced
    from navai_client.transports._given import sync_transport  # noqa: PLC0415

    monkeypatch.setattr(client, "sync_transport", through_memory)
    return backend
