"""The owner's own fields of the sessions that client secrets open."""

import json
from pathlib import Path
from typing import Any

import httpx
import pydantic
import pytest
from openai.types.realtime.client_secret_create_params import ClientSecretCreateParams

from navai_client.server import (
    BackendOptions,
    BackendOptionsError,
    NavaiBackend,
    create_realtime_client_secret_sync,
)
from navai_client.testing.realtime import FakeRealtimeServer
from tests.server.conftest import Stub

PATH = "/navai/realtime/client-secret"
TOKEN = "token-of-the-mcp-server"
MCP = {
    "type": "mcp",
    "server_label": "shop",
    "server_url": "https://mcp.shop.example",
    "authorization": TOKEN,
    "headers": {"X-Shop": "header-of-the-mcp-server"},
    "require_approval": "never",
}
G711 = {
    "input": {"format": {"type": "audio/pcmu"}},
    "output": {"format": {"type": "audio/pcmu"}, "speed": 1.1},
}
SESSIONS: dict[str, dict[str, Any]] = {
    "transcription": {
        "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe", "language": "es"}}}
    },
    "server turns": {
        "audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 300}}}
    },
    "semantic turns": {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}}},
    "noise reduction": {"audio": {"input": {"noise_reduction": {"type": "far_field"}}}},
    "telephone": {"audio": G711},
    "truncation": {"truncation": {"type": "retention_ratio", "retention_ratio": 0.8}},
    "reasoning": {"reasoning": {"effort": "low"}},
    "tracing": {"tracing": {"workflow_name": "orders", "group_id": "g", "metadata": {"shop": "1"}}},
    "prompt": {"prompt": {"id": "pmpt_1", "version": "2"}},
    "mcp": {"tools": [MCP]},
    "parallel calls": {"parallel_tool_calls": False, "max_output_tokens": 500},
    "transcription session": {
        "type": "transcription",
        "audio": {
            "input": {
                "transcription": {"model": "gpt-4o-transcribe"},
                "turn_detection": {"type": "server_vad"},
            }
        },
        "include": ["item.input_audio_transcription.logprobs"],
    },
}


def options(url: str, **extra: Any) -> BackendOptions:
    return BackendOptions(openai_api_key="k", openai_base_url=url, session_extra=extra)


@pytest.mark.parametrize("extra", SESSIONS.values(), ids=list(SESSIONS))
def test_a_session_has_the_fields_of_its_owner_as_openai_types_them(
    extra: dict[str, Any], stub: Stub
) -> None:
    create_realtime_client_secret_sync(options(stub.url, **extra))
    body = stub.got[2]
    # What the types do not know, Pydantic leaves out of a TypedDict.
    assert pydantic.TypeAdapter(ClientSecretCreateParams).validate_python(body) == body
    session = body["session"]
    for name, value in extra.items():
        if name == "audio":
            assert session["audio"]["input"] == value.get("input", session["audio"].get("input"))
        else:
            assert session[name] == value
    if extra.get("type") != "transcription":
        assert session["audio"]["output"] == {"voice": "marin", **extra.get("audio", {}).get("output", {})}
        assert session["instructions"] == "You are a helpful assistant."


@pytest.mark.parametrize("extra", SESSIONS.values(), ids=list(SESSIONS))
def test_the_strict_fake_of_openai_mints_it(extra: dict[str, Any]) -> None:
    with FakeRealtimeServer([], strict=False) as api:
        made = create_realtime_client_secret_sync(options(api.openai_base_url, **extra))
    assert made.session is not None
    assert made.session["type"] == extra.get("type", "realtime")


def test_it_is_read_from_the_environment_and_no_request_can_set_it(
    tmp_path: Path, ask: Any, stub: Stub
) -> None:
    env = {"OPENAI_BASE_URL": stub.url, "OPENAI_API_KEY": "k", "NAVAI_SESSION_EXTRA": '{"tracing": "auto"}'}
    backend = NavaiBackend(env=env, functions_base_dir=tmp_path)
    given = {"truncation": "disabled", "session_extra": {"tracing": None}, "sessionExtra": {"tracing": None}}
    assert ask(backend, "POST", PATH, json={**given, "voice": "cedar"}).status_code == httpx.codes.OK
    session = stub.got[2]["session"]
    assert session["tracing"] == "auto"
    assert session["audio"]["output"]["voice"] == "cedar"
    assert "truncation" not in session


def test_a_request_cannot_choose_what_a_transcription_session_lacks(
    tmp_path: Path, ask: Any, stub: Stub
) -> None:
    env = {"OPENAI_BASE_URL": stub.url, "OPENAI_API_KEY": "k"}
    extra = json.dumps(SESSIONS["transcription session"])
    backend = NavaiBackend(env={**env, "NAVAI_SESSION_EXTRA": extra}, functions_base_dir=tmp_path)
    assert ask(backend, "POST", PATH, json={"apiKey": "x"}).status_code == httpx.codes.OK
    refused = ask(backend, "POST", PATH, json={"model": "gpt-realtime-2.1", "voice": "cedar"})
    assert refused.status_code == httpx.codes.BAD_REQUEST
    assert refused.json()["error"].endswith("transcription sessions, which have no model and voice.")


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("[]", "an object"),
        ('{"a": 1', "an object"),
        ("[" * 100_000, "an object"),
        ('{"type": "banana"}', "realtime or transcription"),
        ('{"model": "m"}', "cannot set model: set OPENAI_REALTIME_MODEL"),
        ('{"instructions": "i"}', "set OPENAI_REALTIME_INSTRUCTIONS"),
        ('{"audio": {"output": {"voice": "v"}}}', "cannot set audio.output.voice: set OPENAI_REALTIME_VOICE"),
    ],
)
def test_what_cannot_be_meant_stops_the_start_and_shows_no_value(extra: str, said: str) -> None:
    with pytest.raises(BackendOptionsError, match="NAVAI_SESSION_EXTRA") as caught:
        BackendOptions.from_env({"NAVAI_SESSION_EXTRA": extra})
    assert said in str(caught.value)
    assert "Received" not in str(caught.value)


@pytest.mark.parametrize("extra", [{"a": object()}, {"a": float("nan")}])
def test_what_is_not_json_is_refused(extra: dict[str, Any]) -> None:
    with pytest.raises(BackendOptionsError, match="must be JSON"):
        BackendOptions(session_extra=extra)


def test_where_elevenlabs_speaks_sessions_return_text() -> None:
    with pytest.raises(BackendOptionsError, match="output_modalities"):
        BackendOptions(
            tts_provider="elevenlabs",
            elevenlabs_api_key="x",
            elevenlabs_voice_id="v",
            session_extra={"output_modalities": ["audio"]},
        )


def test_the_tokens_of_mcp_servers_are_shown_nowhere(tmp_path: Path, ask: Any, stub: Stub) -> None:
    tools = [MCP, {"type": "function", "name": "f"}, "odd"]
    given = options(stub.url, tools=tools)
    assert TOKEN not in repr(given)
    stub.status, stub.answer = 400, f"no: {TOKEN} and header-of-the-mcp-server"
    backend = NavaiBackend(given, functions_base_dir=tmp_path, env={})
    answer = ask(backend, "POST", PATH, json={})
    assert answer.json()["error"] == "OpenAI client_secrets failed (400): no: *** and ***"
    assert BackendOptions(session_extra={"tools": None}).secrets == ()
