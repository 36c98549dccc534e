"""The inspector without a browser: when it is served, its access rules, and the latest calls."""

import asyncio
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from navai_client.server import NavaiBackend
from navai_client.server._process_settings import ProcessSettings
from navai_client.server._serving import make_backend

if TYPE_CHECKING:
    from navai_client.server._settings import BackendKeywords

CALLS = "/navai/inspector/calls"
EXECUTE = "/navai/functions/execute"


def ask(backend: NavaiBackend, *requests: tuple[str, str, dict[str, Any]]) -> list[httpx.Response]:
    """Send requests, one after the other, in memory."""

    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=cast("Any", backend))
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
            return [await client.request(method, path, **given) for method, path, given in requests]

    return asyncio.run(send())


def get(backend: NavaiBackend, path: str, **given: Any) -> httpx.Response:
    return ask(backend, ("GET", path, given))[0]


@pytest.mark.parametrize(
    ("given", "env", "there"),
    [
        ({}, {}, False),
        ({"demo": True}, {}, True),
        ({"inspector": True}, {}, True),
        ({}, {"NAVAI_INSPECTOR": " TRUE "}, True),
        ({}, {"NAVAI_INSPECTOR": "1"}, True),
        ({}, {"NAVAI_INSPECTOR": "off"}, False),
        ({"demo": True}, {"NAVAI_INSPECTOR": "false"}, False),
        ({"inspector": False}, {"NAVAI_INSPECTOR": "true"}, False),
        ({"inspector": False, "demo": True}, {}, False),
    ],
)
def test_it_is_served_on_request_and_in_a_demo(
    given: dict[str, Any], env: dict[str, str], there: bool
) -> None:
    backend = NavaiBackend(env=env, discover=False, **given)
    for path in ("/navai/", "/navai/inspector.js", CALLS):
        assert (get(backend, path).status_code == 200) is there


@pytest.mark.parametrize("path", ["/", "/navai"])
@pytest.mark.parametrize("mount", ["", "/voice"])
def test_the_addresses_that_one_tries_first_lead_to_it(path: str, mount: str) -> None:
    backend = NavaiBackend(env={}, discover=False, inspector=True)
    app = Starlette(routes=[Mount(mount, app=cast("Any", backend))]) if mount else cast("Any", backend)

    async def follow() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
            return await client.get(f"{mount}{path}", follow_redirects=True)

    response = asyncio.run(follow())
    assert (response.status_code, response.url.path) == (200, f"{mount}/navai/")
    assert get(NavaiBackend(env={}, discover=False, inspector=False), path).status_code == 404


@pytest.mark.parametrize(
    ("process", "inspector", "env", "served"),
    [
        (ProcessSettings(), None, "", False),
        (ProcessSettings(demo=True), None, "", True),
        (ProcessSettings(reload=True), None, "", True),
        (ProcessSettings(reload=True), None, "false", False),
        (ProcessSettings(), None, "true", True),
        (ProcessSettings(demo=True), False, "true", False),
        (ProcessSettings(), True, "false", True),
    ],
)
def test_the_command_line_serves_it_for_development(
    process: ProcessSettings,
    inspector: bool | None,
    env: str,
    served: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NAVAI_INSPECTOR", env)
    settings: BackendKeywords = {} if inspector is None else {"inspector": inspector}
    assert make_backend(process, settings).settings.inspector is served


def test_the_page_loads_nothing_from_elsewhere_and_cannot_be_framed() -> None:
    backend = NavaiBackend(env={}, discover=False, demo=True)
    for path in ("/navai/", "/navai/inspector.js", "/navai/inspector.css", "/navai/inspector.svg"):
        headers = get(backend, path).headers
        policy = dict(each.strip().split(" ", 1) for each in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert get(backend, path, headers={"if-none-match": headers["etag"]}).status_code == 304
    page = get(backend, "/navai/").text
    assert "http://" not in page
    assert "https://" not in page
    assert "<script>" not in page
    assert "style=" not in page


def test_the_page_holds_the_paths_of_the_routes_escaped() -> None:
    backend = NavaiBackend(
        env={}, discover=False, inspector=True, functions_list_path='/a"><b>', client_secret_path="/s"
    )
    page = get(backend, "/navai/").text
    assert 'data-list="/a&quot;&gt;&lt;b&gt;"' in page
    assert 'data-secret="/s"' in page
    without = NavaiBackend(env={}, discover=False, inspector=True, include_functions_routes=False)
    assert "data-list" not in get(without, "/navai/").text


def test_the_access_token_protects_the_calls_but_not_the_page() -> None:
    backend = NavaiBackend(env={}, discover=False, demo=True, access_token="let-me-in")
    assert get(backend, "/navai/").status_code == 200
    assert get(backend, CALLS).status_code == 401
    assert get(backend, CALLS, headers={"authorization": "Bearer let-me-in"}).status_code == 200


def test_the_latest_calls_are_shown_without_secrets() -> None:
    backend = NavaiBackend(env={}, discover=False, demo=True, access_token="let-me-in")
    headers = {"authorization": "Bearer let-me-in"}

    @backend.function
    def echo(password: str, key: str, text: str) -> dict[str, str]:
        return {"api_key": key, "said": text}

    payload = {"password": 'hunter\\"2', "key": "sk-proj-abcdef123456", "text": "let-me-in, hello"}
    ask(
        backend,
        ("POST", EXECUTE, {"json": {"function_name": "echo", "payload": payload}, "headers": headers}),
        ("POST", EXECUTE, {"json": {"function_name": "cancel_order"}, "headers": headers}),
        ("POST", "/navai/realtime/client-secret", {"json": {"apiKey": "sk-mine"}, "headers": headers}),
        ("GET", "/nowhere", {}),
        ("GET", "/health", {}),
        ("GET", "/navai/", {}),
    )
    answer = get(backend, CALLS, headers=headers)
    nowhere, secret, cancel, called = answer.json()["calls"]
    assert (nowhere["path"], nowhere["status"], nowhere["ok"]) == ("/nowhere", 404, False)
    assert (secret["status"], secret["sent"], secret["given"]) == (200, "", "")
    assert (cancel["status"], cancel["ok"], cancel["function"]) == (200, False, "cancel_order")
    assert called["ok"] is True
    assert "hello" in called["sent"]
    assert "hello" in called["given"]
    for private in ("hunter", "sk-proj", "sk-mine", "let-me-in", "ek_demo"):
        assert private not in answer.text
    assert (
        get(backend, CALLS, headers={**headers, "if-none-match": answer.headers["etag"]}).status_code == 304
    )


def test_the_calls_are_bounded_in_number_and_size() -> None:
    backend = NavaiBackend(env={}, discover=False, inspector=True)
    backend.function(name="echo")(lambda text: text)
    body = {"function_name": "echo", "payload": {"text": "x" * 100_000}}
    ask(backend, *[("POST", EXECUTE, {"json": body})] * 101)
    calls = get(backend, CALLS).json()["calls"]
    assert [calls[0]["id"], calls[-1]["id"], len(calls)] == [101, 2, 100]
    assert max(len(each["sent"]) + len(each["given"]) for each in calls) <= 4000


def test_a_secret_in_a_path_is_masked_and_a_second_look_shows_the_same() -> None:
    backend = NavaiBackend(env={}, discover=False, inspector=True)
    get(backend, "/v1/sk-abcdef123456/x")
    first = get(backend, CALLS).json()["calls"]
    assert first[0]["path"] == "/v1/***/x"
    assert get(backend, CALLS).json()["calls"] == first


def test_without_it_nothing_is_kept() -> None:
    assert NavaiBackend(env={}, discover=False).recent_calls is None


def test_a_404_has_the_name_that_was_asked_for_and_the_pages_own_lists_are_left_out() -> None:
    backend = NavaiBackend(env={}, discover=False, demo=True)
    own = {"x-navai-inspector": "1"}
    ask(
        backend,
        ("GET", "/navai/functions", {"headers": own}),
        ("POST", EXECUTE, {"json": {"function_name": "send_fax"}, "headers": own}),
        ("POST", EXECUTE, {"json": {"function_name": "sk-proj-abcdef123456"}}),
        ("POST", EXECUTE, {"json": {"function_name": "x" * 20_000}}),  # cut, so that it is no JSON
        ("GET", "/navai/functions", {}),
    )
    calls = [(each["status"], each["function"]) for each in get(backend, CALLS).json()["calls"]]
    assert calls == [(200, None), (404, None), (404, "***"), (404, "send_fax")]
