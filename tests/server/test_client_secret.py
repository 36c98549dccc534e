"""Minting client secrets, against a stub of OpenAI on a local port."""

import threading
from pathlib import Path
from typing import Any

import pytest

from navai_client.server import BackendOptions, BackendOptionsError, NavaiBackend
from tests.server.conftest import Stub

PATH = "/navai/realtime/client-secret"


def backend_of(tmp_path: Path, stub: Stub, **env: str) -> NavaiBackend:
    return NavaiBackend(env={"OPENAI_BASE_URL": stub.url, **env}, functions_base_dir=tmp_path)


def test_a_secret_is_minted_with_the_defaults(tmp_path: Path, ask: Any, stub: Stub) -> None:
    answer = ask(backend_of(tmp_path, stub, OPENAI_API_KEY=" k "), "POST", PATH, json={})
    assert answer.json() == {"value": "ek_1", "expires_at": 1730000000, "speech": {"provider": "openai"}}
    path, key, body = stub.got
    assert (path, key) == ("/v1/realtime/client_secrets", "Bearer k")
    assert body == {
        "expires_after": {"anchor": "created_at", "seconds": 600},
        "session": {
            "type": "realtime",
            "model": "gpt-realtime-2.1",
            "instructions": "You are a helpful assistant.",
            "audio": {"output": {"voice": "marin"}},
        },
    }


SESSION = {
    "type": "realtime",
    "id": "sess_1",
    "model": "gpt-realtime-2.1",
    "instructions": "Our secret recipe.",
    "tools": [{"type": "mcp", "authorization": "sk-of-the-owner"}],
    "prompt": {"id": "pmpt_1"},
    "audio": {"output": {"voice": "cedar"}},
}


@pytest.mark.parametrize("env", [{}, {"NAVAI_EXPOSE_SESSION": "true"}])
def test_the_session_of_the_upstream_is_passed_on(tmp_path: Path, ask: Any, stub: Stub, env: Any) -> None:
    stub.answer = {"value": "ek_1", "expires_at": 1, "session": SESSION}
    answer = ask(backend_of(tmp_path, stub, OPENAI_API_KEY="k", **env), "POST", PATH, json={})
    private = ("instructions", "tools", "prompt")
    shown = {name: value for name, value in SESSION.items() if env or name not in private}
    assert answer.json()["session"] == shown


@pytest.mark.parametrize("session", [None, [], "x", 7])
def test_what_is_no_session_is_left_out(tmp_path: Path, ask: Any, stub: Stub, session: Any) -> None:
    stub.answer = {"value": "ek_1", "session": session}
    answer = ask(backend_of(tmp_path, stub, OPENAI_API_KEY="k"), "POST", PATH, json={})
    assert answer.json() == {"value": "ek_1", "speech": {"provider": "openai"}}


def test_instructions_are_lines_and_elevenlabs_gets_text(tmp_path: Path, ask: Any, stub: Stub) -> None:
    env = {"NAVAI_TTS_PROVIDER": "elevenlabs", "ELEVENLABS_API_KEY": "x", "ELEVENLABS_VOICE_ID": "v"}
    given = {"instructions": " Be kind. ", "language": "Spanish", "voiceAccent": " ", "voiceTone": "warm"}
    answer = ask(backend_of(tmp_path, stub, OPENAI_API_KEY="k", **env), "POST", PATH, json=given)
    assert answer.json()["speech"] == {"provider": "elevenlabs"}
    session = stub.got[2]["session"]
    assert session["instructions"] == "Be kind.\nAlways reply in Spanish.\nUse a warm tone while speaking."
    assert session["output_modalities"] == ["text"]
    assert "audio" not in session


@pytest.mark.parametrize(
    ("env", "given", "status", "text"),
    [
        ({}, {}, 401, "Missing API key. Configure openaiApiKey or send apiKey in request."),
        (
            {"NAVAI_ALLOW_FRONTEND_API_KEY": "false"},
            {"apiKey": "sk-x"},
            403,
            "Passing apiKey from request is disabled. Set allowApiKeyFromRequest=true to enable it.",
        ),
        ({}, {"model": 3}, 400, "model must be a string."),
    ],
)
def test_a_refused_request_says_why(  # noqa: PLR0917
    tmp_path: Path, ask: Any, stub: Stub, env: Any, given: Any, status: int, text: str
) -> None:
    answer = ask(backend_of(tmp_path, stub, **env), "POST", PATH, json=given)
    assert (answer.status_code, answer.json()) == (status, {"error": text})
    assert stub.got is None


def test_the_servers_key_takes_precedence_over_the_requests(tmp_path: Path, ask: Any, stub: Stub) -> None:
    ask(backend_of(tmp_path, stub, OPENAI_API_KEY="ours"), "POST", PATH, json={"apiKey": "theirs"})
    assert stub.got[1] == "Bearer ours"
    ask(backend_of(tmp_path, stub), "POST", PATH, json={"apiKey": "theirs"})
    assert stub.got[1] == "Bearer theirs"


@pytest.mark.parametrize(("status", "passed_on"), [(401, 401), (429, 429), (500, 502), (302, 502)])
def test_a_refusal_of_the_upstream_is_passed_on_without_keys(
    tmp_path: Path, ask: Any, stub: Stub, status: int, passed_on: int
) -> None:
    stub.status, stub.answer = status, "no: my-own-key and sk-proj-abcdefgh1234"
    stub.headers = {"retry-after": "7", "location": "http://127.0.0.1:1/"}
    answer = ask(backend_of(tmp_path, stub, OPENAI_API_KEY="my-own-key"), "POST", PATH, json={})
    assert answer.status_code == passed_on
    assert answer.json()["error"] == f"OpenAI client_secrets failed ({status}): no: *** and ***"
    assert answer.headers.get("retry-after") == ("7" if passed_on == status else None)


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"value":3}', "["])
def test_an_upstream_without_a_secret_is_502(tmp_path: Path, ask: Any, stub: Stub, body: Any) -> None:
    stub.answer = body
    assert ask(backend_of(tmp_path, stub, OPENAI_API_KEY="k"), "POST", PATH, json={}).status_code == 502


def test_an_expiry_beyond_the_numbers_of_javascript_is_left_out(tmp_path: Path, ask: Any, stub: Stub) -> None:
    stub.answer = '{"value":"ek_1","expires_at":%s}' % ("9" * 400)
    answer = ask(backend_of(tmp_path, stub, OPENAI_API_KEY="k"), "POST", PATH, json={})
    assert answer.json() == {"value": "ek_1", "speech": {"provider": "openai"}}


def test_a_retry_after_of_invalid_bytes_is_passed_on(tmp_path: Path, ask: Any, stub: Stub) -> None:
    stub.status, stub.headers = 429, {"retry-after": "\xff"}
    answer = ask(backend_of(tmp_path, stub, OPENAI_API_KEY="k"), "POST", PATH, json={})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "\xff")


def test_an_unreachable_upstream_is_502_and_a_silent_one_504(tmp_path: Path, ask: Any, stub: Stub) -> None:
    gone = BackendOptions(openai_api_key="k", openai_base_url="http://127.0.0.1:1")
    assert (
        ask(NavaiBackend(gone, env={}, functions_base_dir=tmp_path), "POST", PATH, json={}).status_code == 502
    )
    stub.hold = threading.Event()
    silent = BackendOptions(openai_api_key="k", openai_base_url=stub.url, timeout=0.1)
    assert (
        ask(NavaiBackend(silent, env={}, functions_base_dir=tmp_path), "POST", PATH, json={}).status_code
        == 504
    )


@pytest.mark.parametrize("ttl", [9, 7201, True])
def test_a_time_to_live_out_of_range_is_refused_at_start_and_400(tmp_path: Path, ask: Any, ttl: Any) -> None:
    text = f"clientSecretTtlSeconds must be between 10 and 7200. Received: {ttl}"
    with pytest.raises(BackendOptionsError, match="between 10 and 7200") as caught:
        BackendOptions(client_secret_ttl_seconds=ttl)
    assert (str(caught.value), caught.value.status_code) == (text, 400)
    forced = BackendOptions()
    object.__setattr__(forced, "client_secret_ttl_seconds", ttl)
    answer = ask(NavaiBackend(forced, env={}, functions_base_dir=tmp_path), "POST", PATH, json={})
    assert (answer.status_code, answer.json()) == (400, {"error": text})


@pytest.mark.parametrize(
    ("model", "warned"),
    [(None, False), ("gpt-realtime-2.1", False), ("gpt-realtime", True), ("gpt-realtime-mini", True)],
)
def test_the_start_warns_of_a_chosen_model_that_shuts_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, model: str | None, warned: bool
) -> None:
    env = {"OPENAI_API_KEY": "k", "OPENAI_REALTIME_MODEL": model}
    NavaiBackend(env=env, functions_base_dir=tmp_path).start()
    said = [each for each in caplog.messages if "shuts down" in each]
    remedy = "Set OPENAI_REALTIME_MODEL to another, such as gpt-realtime-2.1."
    assert said == ([f"The model {model} shuts down on 2027-01-20. {remedy}"] if warned else [])


@pytest.mark.parametrize(
    ("models", "warned"),
    [
        ("gpt-realtime", ["gpt-realtime"]),
        ("gpt-realtime-2.1,gpt-realtime-mini,gpt-realtime", ["gpt-realtime-mini", "gpt-realtime"]),
        ("gpt-realtime-2.1", []),
    ],
)
def test_the_start_warns_of_models_that_callers_may_choose_and_that_shut_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, models: str, warned: list[str]
) -> None:
    NavaiBackend(
        env={"OPENAI_API_KEY": "k", "NAVAI_MINT_MODELS": models}, functions_base_dir=tmp_path
    ).start()
    remedy = "Set NAVAI_MINT_MODELS to another, such as gpt-realtime-2.1."
    assert [each for each in caplog.messages if "shuts down" in each] == [
        f"The model {model} shuts down on 2027-01-20. {remedy}" for model in warned
    ]


def test_an_api_key_that_no_header_can_carry_is_refused_and_not_shown(
    backend: NavaiBackend, ask: Any
) -> None:
    answer = ask(backend, "POST", PATH, json={"apiKey": "a\nb"})
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "apiKey must be printable ASCII without spaces."},
    )
