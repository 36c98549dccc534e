"""The examples of a backend mounted into, or beside, an application of another framework."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from navai_client.server._serving import bind, url_of

ROOT = Path(__file__).parents[2]


@contextmanager
def served(example: str) -> Iterator[str]:
    """Serve the application of *example* as its first line says, on a free port."""
    with bind("127.0.0.1", 0) as listener:
        command = [sys.executable, "-m", "uvicorn", f"examples.{example}:app", "--fd", str(listener.fileno())]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        ) as server:
            try:
                yield url_of(listener)
            finally:
                server.send_signal(signal.SIGTERM)
                _, log = server.communicate(timeout=20)
    assert "Application shutdown complete" in log
    assert "Traceback" not in log


def get(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        text = answer.read().decode()
    return json.loads(text) if text.startswith("{") else text


@pytest.mark.parametrize(
    ("example", "own_path", "own"),
    [
        ("09_serve_in_starlette", "/", "The shop's own pages."),
        ("10_serve_in_fastapi", "/weather/Rome", {"location": "Rome", "temperature": 21}),
        ("11_serve_beside_django", "/", "The shop's own pages."),
    ],
)
def test_the_backend_and_the_outer_application_both_respond(example: str, own_path: str, own: Any) -> None:
    with served(example) as url:
        assert get(url + own_path) == own
        assert get(f"{url}/voice/health") == {"ok": True}
        called = get(
            f"{url}/voice/navai/functions/execute",
            {"function_name": "get_weather", "payload": {"location": "Oslo"}},
        )
        assert called["result"] == {"location": "Oslo", "temperature": 21}
