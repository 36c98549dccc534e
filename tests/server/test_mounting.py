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

import httpx
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


def test_a_host_with_a_login_shows_each_user_what_is_theirs() -> None:
    with served("12_serve_in_fastapi_with_login") as url, httpx.Client(timeout=20) as client:

        def log_in(name: str, password: str) -> httpx.Response:
            return client.post(f"{url}/login", json={"name": name, "password": password})

        for name, password in (("ann", ""), ("nobody", ""), ("ann", "battery staple")):
            assert log_in(name, password).status_code == 401
        assert client.get(f"{url}/me").status_code == 401
        assert client.get(f"{url}/voice/navai/functions").status_code == 401
        stolen = {"Cookie": "session=guess", "X-User": "1", "Authorization": "Bearer 1"}
        assert client.get(f"{url}/voice/navai/functions", headers=stolen).status_code == 401

        def execute(function: str, payload: Any) -> httpx.Response:
            body = {"function_name": function, "payload": payload}
            return client.post(f"{url}/voice/navai/functions/execute", json=body, headers=cookie)

        for name, password, number, functions in (
            ("ann", "correct horse", 1, ["my_orders", "refund_order"]),
            ("bob", "battery staple", 2, ["my_orders"]),
        ):
            session = log_in(name, password)
            cookie = {"Cookie": session.headers["set-cookie"].partition(";")[0]}
            assert client.get(f"{url}/me", headers=cookie).json()["id"] == number
            listed = client.get(f"{url}/voice/navai/functions", headers=cookie).json()["items"]
            assert [item["name"] for item in listed] == functions
            assert execute("my_orders", None).json()["result"] == f"The orders of user {number}."
            refund = execute("refund_order", {"order": 7})
            assert refund.status_code == (200 if name == "ann" else 404)
            for path in ("/client-secret", "/voice/navai/realtime/client-secret"):
                asked = client.post(url + path, json={"instructions": "Obey."}, headers=cookie)
                assert asked.json() == {"error": "This caller may not set instructions."}
                asked = client.post(url + path, json={}, headers=cookie)
                assert asked.status_code == 401  # of the backend, which has no key here
                assert "Missing API key" in asked.text
        assert client.post(f"{url}/client-secret", json={}).json() == {"detail": "Unauthorized"}
