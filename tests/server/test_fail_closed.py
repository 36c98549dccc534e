"""A configuration that cannot be meant, or that would let strangers in, stops the start and says why."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from navai_client.server import BackendOptions, BackendOptionsError, NavaiBackend
from tests.server.conftest import Ask
from tests.serving import Serve, Start

KEY = "sk-live-not-to-be-shown"
LIST = "/navai/functions"


def test_a_blank_access_token_stops_the_start(start: Start) -> None:
    status, said = start("--demo", NAVAI_ACCESS_TOKEN=" ")
    assert status == 2
    assert said == (
        "navai serve: access_token (NAVAI_ACCESS_TOKEN) must be a text that is not blank, or not be set at "
        "all.\n"
    )


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_a_blank_access_token_is_refused(blank: str) -> None:
    for options in ({"env": {}, "access_token": blank}, {"env": {"NAVAI_ACCESS_TOKEN": blank}}):
        with pytest.raises(BackendOptionsError, match="must be a text that is not blank"):
            NavaiBackend(**options)
    assert NavaiBackend(env={"NAVAI_ACCESS_TOKEN": None}, discover=False).settings.access_token is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'"{KEY}"', "must have no quotes around it"),
        (f"'{KEY}'", "must have no quotes around it"),
        (f"{KEY}'", "must have no quotes around it"),
        (f"{KEY}\n{KEY}", "must be printable ASCII without spaces and line breaks"),
        (f"{KEY} {KEY}", "must be printable ASCII without spaces and line breaks"),
        (f"{KEY}\u2019", "must be printable ASCII without spaces and line breaks"),
    ],
)
def test_a_key_or_token_that_cannot_be_sent_is_refused_by_name_without_being_shown(
    text: str, said: str
) -> None:
    with pytest.raises(BackendOptionsError, match=rf"\(OPENAI_API_KEY\) {said}") as refused:
        BackendOptions.from_env({"OPENAI_API_KEY": text})
    assert KEY not in str(refused.value)
    for backend in (
        lambda: NavaiBackend(env={}, access_token=text),
        lambda: BackendOptions(openai_api_key=text),
        lambda: BackendOptions(elevenlabs_api_key=text),
    ):
        with pytest.raises(BackendOptionsError, match=said):
            backend()


def test_a_key_that_cannot_be_sent_stops_the_start_by_name_without_being_shown(start: Start) -> None:
    status, written = start(OPENAI_API_KEY=f'"{KEY}"')
    assert status == 2
    assert "(OPENAI_API_KEY) must have no quotes around it" in written
    assert KEY not in written


def test_a_token_that_is_no_text_is_refused() -> None:
    given: Any = b"let-me-in"
    with pytest.raises(BackendOptionsError, match="must be a text"):
        NavaiBackend(env={}, access_token=given)


@pytest.mark.parametrize(
    "environment", [{"OPENAI_API_KEY": KEY}, {"ELEVENLABS_API_KEY": KEY, "NAVAI_WORKERS": "2"}]
)
def test_a_server_with_a_key_that_strangers_could_use_does_not_start(
    start: Start, environment: dict[str, str]
) -> None:
    status, said = start("--host", "0.0.0.0", **environment)
    assert status == 2
    assert "NAVAI_ACCESS_TOKEN" in said
    assert "--allow-anonymous" in said
    assert said.count("\n") == 1
    assert KEY not in said


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--allow-anonymous"], {"OPENAI_API_KEY": KEY}),
        ([], {"OPENAI_API_KEY": KEY, "NAVAI_ALLOW_ANONYMOUS": "yes"}),
        ([], {"OPENAI_API_KEY": KEY, "NAVAI_ACCESS_TOKEN": "let-me-in"}),
        (["--demo"], {"OPENAI_API_KEY": KEY}),
        ([], {}),
    ],
)
def test_a_server_for_others_starts_if_it_has_a_token_or_nothing_to_lose(
    serve: Serve, arguments: list[str], environment: dict[str, str]
) -> None:
    server = serve("--host", "0.0.0.0", *arguments, **environment)
    url = server.url.replace("0.0.0.0", "127.0.0.1")
    token = environment.get("NAVAI_ACCESS_TOKEN")
    assert httpx.get(url + LIST, timeout=60).status_code == (200 if token is None else 401)


def test_on_loopback_a_key_needs_no_token(serve: Serve) -> None:
    assert httpx.get(serve(OPENAI_API_KEY=KEY).url + LIST, timeout=60).status_code == 200


def test_only_true_opens_the_backend_to_the_keys_of_requests() -> None:
    for text, allowed in (("true", True), ("TRUE", True), ("1", False), ("yes", False), ("on", False)):
        options = BackendOptions.from_env({"OPENAI_API_KEY": "k", "NAVAI_ALLOW_FRONTEND_API_KEY": text})
        assert options.allow_api_key_from_request is allowed


def preflight(ask: Ask, backend: NavaiBackend, asked: str) -> set[str]:
    answer = ask(
        backend,
        "OPTIONS",
        LIST,
        headers={
            "origin": "http://localhost:5173",
            "access-control-request-method": "GET",
            "access-control-request-headers": asked,
        },
    )
    return {*answer.headers["access-control-allow-headers"].lower().split(", ")}


def test_pages_may_send_the_headers_of_their_traces_and_those_that_are_set(ask: Ask, tmp_path: Path) -> None:
    asked = "authorization, traceparent, x-session-id"
    backend = NavaiBackend(env={}, functions_base_dir=tmp_path)
    assert {"authorization", "idempotency-key", "traceparent", "tracestate", "baggage"} <= preflight(
        ask, backend, asked
    )
    assert "x-session-id" not in preflight(ask, backend, asked)
    backend = NavaiBackend(
        env={"NAVAI_CORS_HEADERS": "X-Session-Id, sentry-trace"}, functions_base_dir=tmp_path
    )
    assert {"authorization", "x-session-id", "sentry-trace"} <= preflight(ask, backend, asked)
    anything = NavaiBackend(env={}, functions_base_dir=tmp_path, cors_headers=["*"])
    assert preflight(ask, anything, asked) == {*asked.split(", ")}
    for wrong in ("X-A", ["X A"], ["X-*"], ['"X-A"'], [""]):
        with pytest.raises(BackendOptionsError, match="must be a list of header names"):
            NavaiBackend(env={}, cors_headers=wrong)
