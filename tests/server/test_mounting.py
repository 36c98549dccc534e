"""The examples of a backend mounted into, or beside, an application of another framework."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from navai_client import NavaiBackendClient
from navai_client.server import FunctionContext, NavaiBackend
from navai_client.server._serving import bind, url_of
from tests.serving import serving_app
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]


@contextmanager
def served(example: str) -> Iterator[str]:
    """Serve the application of *example* with uvicorn, as a script does, but on a free port."""
    with bind("127.0.0.1", 0) as listener:
        command = [sys.executable, "-m", "uvicorn", f"{example}:app", "--fd", str(listener.fileno())]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'examples'}"}
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
                _, log = server.communicate(timeout=PATIENCE_S)
    assert "Application shutdown complete" in log
    assert "Traceback" not in log


def get(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
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
    with served("12_serve_in_fastapi_with_login") as url, httpx.Client(timeout=PATIENCE_S) as client:

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


async def own(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("the host's")


async def missing(_request: Request, _error: Exception) -> PlainTextResponse:
    return PlainTextResponse("the host has no such page", status_code=404)


def starlette(backend: NavaiBackend) -> Any:
    routes = [*backend.routes(), *(Route(path, own) for path in ("/", "/health", "/ready"))]
    return Starlette(routes=routes, exception_handlers={404: missing}, lifespan=backend.lifespan)


def fastapi(backend: NavaiBackend) -> Any:
    app = FastAPI(routes=backend.routes(), exception_handlers={404: missing}, lifespan=backend.lifespan)
    for path in ("/", "/health", "/ready"):
        app.add_route(path, own)
    return app


def fastapi_with_a_router(backend: NavaiBackend) -> Any:
    app = FastAPI(exception_handlers={404: missing}, lifespan=backend.lifespan)
    for path in ("/", "/health", "/ready"):
        app.add_route(path, own)
    app.include_router(APIRouter(routes=backend.routes()))
    return app


HOSTS = pytest.mark.parametrize("make", [starlette, fastapi, fastapi_with_a_router])


@HOSTS
def test_a_host_with_the_routes_lists_and_decides_what_waits_for_approval(
    make: Callable[[NavaiBackend], Any],
) -> None:
    backend = NavaiBackend(env={}, discover=False, inspector_token="inspectors-own-token")
    backend.function(lambda: "paid", name="pay", approval=True)
    with serving_app(make(backend)) as url, httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        body, key = {"function_name": "pay", "payload": {}}, {"idempotency-key": "k"}
        waits = client.post("/navai/functions/execute", json=body, headers=key).json()["approval"]["id"]
        given = {"authorization": "Bearer inspectors-own-token"}
        assert client.get("/navai/approvals").status_code == 401
        (item,) = client.get("/navai/approvals", headers=given).json()["items"]
        path, decision = f"/navai/approvals/{item['id']}", {"decision": "approve"}
        assert client.post(path, json=decision).status_code == 401
        assert client.post(path, json=decision, headers=given).json()["approval"]["id"] == waits
        assert client.post("/navai/functions/execute", json=body, headers=key).json()["result"] == "paid"


def shop_backend(**settings: Any) -> NavaiBackend:
    backend = NavaiBackend(env={}, demo=True, discover=False, **settings)

    @backend.function
    def find_shop(location: str, context: FunctionContext) -> str:
        return f"{location}: {context.principal and context.principal.id}"

    return backend


@HOSTS
def test_routes_stand_among_those_of_the_host_at_the_documented_paths(make: Any) -> None:
    with (
        serving_app(make(shop_backend())) as url,
        NavaiBackendClient(url) as client,
        httpx.Client(timeout=PATIENCE_S) as http,
    ):
        assert client.create_client_secret().value.startswith("ek_demo_")
        assert client.list_functions()["find_shop"].name == "find_shop"
        assert client.execute_function("find_shop", {"location": "Oslo"}) == "Oslo: None"
        assert client.synthesize_speech("Hello").mime_type == "audio/wav"
        for path in ("/", "/health", "/ready"):
            assert http.get(url + path).text == "the host's"
        for path in ("/other", "/navai/other", "/metrics"):
            unknown = http.get(url + path)
            assert (unknown.status_code, unknown.text) == (404, "the host has no such page")
        refused = http.get(f"{url}/navai/functions/execute")
        assert (refused.status_code, refused.headers["allow"]) == (405, "POST, OPTIONS")
        assert "the host" not in refused.text
        assert http.get(f"{url}/navai/").headers["content-type"].startswith("text/html")
        assert http.get(f"{url}/navai/openapi.json").json()["openapi"]


@HOSTS
def test_routes_keep_settings_and_authentication(make: Any) -> None:
    backend = shop_backend(access_tokens=["till=secret-token"], functions_list_path="/tools", inspector=False)
    token = {"authorization": "Bearer secret-token"}
    with serving_app(make(backend)) as url, httpx.Client(timeout=PATIENCE_S) as http:
        assert http.get(f"{url}/tools").status_code == 401
        assert http.get(f"{url}/tools", headers=token).json()["items"]
        assert http.get(f"{url}/navai/functions", headers=token).text == "the host has no such page"
        assert http.get(f"{url}/navai/", headers=token).text == "the host has no such page"
        body = {"function_name": "find_shop", "payload": {"location": "Oslo"}}
        called = http.post(f"{url}/navai/functions/execute", json=body, headers=token)
        assert called.json()["result"] == "Oslo: till"


def test_routes_start_with_the_host(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "navai_client.server")
    with serving_app(starlette(shop_backend())) as url:
        assert httpx.get(url, timeout=PATIENCE_S).status_code == 200
        assert any(message.startswith("Offers 7 functions") for message in caplog.messages)
