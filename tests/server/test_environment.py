"""Settings from the environment and from code, and which takes precedence."""

from pathlib import Path
from typing import Any

import pytest

from navai_client.server import BackendOptions, NavaiBackend, VoiceSettings
from tests.server import settings_table

FULL = {
    "OPENAI_API_KEY": " k ",
    "OPENAI_BASE_URL": "http://stub/v1/ ",
    "OPENAI_REALTIME_MODEL": "m",
    "OPENAI_REALTIME_VOICE": "v",
    "OPENAI_REALTIME_INSTRUCTIONS": "Be kind.",
    "OPENAI_REALTIME_LANGUAGE": "Spanish",
    "OPENAI_REALTIME_VOICE_ACCENT": "neutral",
    "OPENAI_REALTIME_VOICE_TONE": "warm",
    "OPENAI_REALTIME_CLIENT_SECRET_TTL": "60",
    "NAVAI_ALLOW_FRONTEND_API_KEY": "TRUE",
    "NAVAI_TTS_PROVIDER": "ElevenLabs",
    "ELEVENLABS_API_KEY": "x",
    "ELEVENLABS_BASE_URL": "http://stub/",
    "ELEVENLABS_VOICE_ID": "i",
    "ELEVENLABS_MODEL_ID": "e",
    "ELEVENLABS_OUTPUT_FORMAT": "pcm_16000",
    "ELEVENLABS_OPTIMIZE_STREAMING_LATENCY": "3",
    "ELEVENLABS_STABILITY": "0.1",
    "ELEVENLABS_SIMILARITY_BOOST": "0.2",
    "ELEVENLABS_STYLE": "0.3",
    "ELEVENLABS_USE_SPEAKER_BOOST": "false",
}


def test_every_variable_sets_its_option() -> None:
    assert BackendOptions.from_env(FULL) == BackendOptions(
        openai_api_key="k",
        openai_base_url="http://stub/v1",
        default_model="m",
        default_voice="v",
        default_instructions="Be kind.",
        default_language="Spanish",
        default_voice_accent="neutral",
        default_voice_tone="warm",
        client_secret_ttl_seconds=60,
        allow_api_key_from_request=True,
        tts_provider="elevenlabs",
        elevenlabs_api_key="x",
        elevenlabs_base_url="http://stub",
        elevenlabs_voice_id="i",
        elevenlabs_model_id="e",
        elevenlabs_output_format="pcm_16000",
        elevenlabs_optimize_streaming_latency=3,
        elevenlabs_voice_settings=VoiceSettings(
            stability=0.1, similarity_boost=0.2, style=0.3, use_speaker_boost=False
        ),
    )


def test_a_blank_variable_is_absent_and_code_takes_precedence() -> None:
    blank = BackendOptions.from_env(dict.fromkeys(FULL, "  "))
    assert blank == BackendOptions(allow_api_key_from_request=True)
    assert blank.openai_base_url == "https://api.openai.com/v1"
    assert BackendOptions.from_env(FULL, default_model="mine").default_model == "mine"


@pytest.mark.parametrize(
    ("env", "allowed"),
    [
        ({}, True),
        ({"OPENAI_API_KEY": "k"}, False),
        ({"OPENAI_API_KEY": "k", "NAVAI_ALLOW_FRONTEND_API_KEY": "True"}, True),
        ({"NAVAI_ALLOW_FRONTEND_API_KEY": "false"}, False),
    ],
)
def test_keys_from_requests_are_allowed_by_the_policy(env: dict[str, str], allowed: bool) -> None:
    assert BackendOptions.from_env(env).allow_api_key_from_request is allowed


def test_the_environment_says_where_functions_are(tmp_path: Path, write: Any, ask: Any) -> None:
    write("src/tools/sales/b.py", "def b(): ...")
    write("src/tools/sales/a.py", "def a(): ...")
    write("src/tools/help/c.py", "def c(): ...")
    env = {
        "NAVAI_FUNCTIONS_BASE_DIR": str(tmp_path),
        "NAVAI_FUNCTIONS_FOLDERS": "tools",
        "NAVAI_AGENTS_FOLDERS": "sales",
    }
    backend = NavaiBackend(env=env)
    listed = ask(backend, "GET", "/navai/functions").json()
    assert [each["name"] for each in listed["items"]] == ["a", "b"]
    write("src/tools/sales/d.py", "def d(): ...")
    assert ask(backend, "GET", "/navai/functions").json() == listed  # built once, at first use
    assert NavaiBackend(env=env, agents_folders="help").functions().names == ["c"]


def test_every_path_can_be_set(ask: Any) -> None:
    backend = NavaiBackend(
        env={},
        discover=False,
        demo=True,
        client_secret_path="secret",
        functions_list_path="/list",
        functions_execute_path="/run",
        speech_synthesize_path="/say",
    )
    assert ask(backend, "POST", "/secret", json={}).json()["value"].startswith("ek_demo_")
    assert ask(backend, "GET", "/list").status_code == 200
    assert ask(backend, "POST", "/run", json={"function_name": "tell_time"}).json()["ok"] is True
    assert ask(backend, "POST", "/say", json={"text": "x"}).status_code == 200
    assert ask(backend, "GET", "/navai/functions").status_code == 404


@pytest.mark.parametrize(
    ("origins", "origin", "granted"),
    [
        ("*", "https://any.example", True),
        (" https://A.example/ , https://b.example", "https://a.example", True),
        (" https://A.example/ , https://b.example", "https://c.example", False),
    ],
)
def test_cors_origins_are_a_list_with_commas(ask: Any, origins: str, origin: str, granted: bool) -> None:
    backend = NavaiBackend(env={"NAVAI_CORS_ORIGIN": origins}, discover=False)
    answer = ask(backend, "GET", "/health", headers={"origin": origin})
    assert ("access-control-allow-origin" in answer.headers) is granted


def test_the_documentation_lists_every_setting_as_it_is_declared() -> None:
    """``python -m tests.server.settings_table`` writes the tables."""
    text = settings_table.PAGE.read_text(encoding="utf-8")
    assert settings_table.page(text) == text
