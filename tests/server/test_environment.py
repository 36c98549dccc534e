"""Settings from the environment and from code, and which takes precedence."""

import json
from pathlib import Path
from typing import Any, get_type_hints

import attrs
import httpx
import pytest

from navai_client.server import (
    BackendOptions,
    BackendOptionsError,
    NavaiBackend,
    ServerSettings,
    VoiceSettings,
)
from navai_client.server.__main__ import main
from navai_client.server._process_settings import ProcessSettings
from navai_client.server._settings import BackendKeywords, SettingsKeywords
from tests.server import settings_table
from tests.serving import Serve

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


CLASSES: Any = (ProcessSettings, ServerSettings, BackendOptions)
TUNED = [
    pytest.param(cls, field, id=field.name)
    for cls in CLASSES
    for field in attrs.fields(cls)
    if field.metadata.get("metavar") in {"INTEGER", "SECONDS", "BYTES"}
]
SWITCHES = [
    pytest.param(cls, field, id=field.name)
    for cls in CLASSES
    for field in attrs.fields(cls)
    if field.metadata.get("metavar") == "" and field.metadata["env"]
]


def test_options_and_variables_are_unique() -> None:
    fields = [field for cls in CLASSES for field in attrs.fields(cls) if "option" in field.metadata]
    for names in (
        [field.name for field in fields],
        [field.metadata["option"] for field in fields if field.metadata["option"]],
        [field.metadata["env"] for field in fields if field.metadata["env"]],
    ):
        assert len(names) == len({*names})


@pytest.mark.parametrize(("cls", "field"), TUNED)
def test_what_a_deployment_tunes_has_a_variable_and_an_option(cls: Any, field: Any, capfd: Any) -> None:
    env, option = field.metadata["env"], field.metadata["option"]
    assert getattr(cls.from_env({env: " 17 "}), field.name) == 17
    assert getattr(cls.from_env({env: ""}), field.name) == field.default
    for text in ("five", "-1", "1e999", "nan", "17s"):
        with pytest.raises(BackendOptionsError) as refused:
            cls.from_env({env: text})
        assert str(refused.value).startswith(f"{field.name} ({env}, {option}) must be a ")
        assert "Received: " in str(refused.value)
        with pytest.raises(SystemExit) as ended:
            main([f"{option}={text}"])
        assert ended.value.code == 2
        assert f"({env}, {option}) must be a " in capfd.readouterr().err


@pytest.mark.parametrize(("cls", "field"), SWITCHES)
def test_a_switch_is_on_or_off_by_any_of_the_usual_words(cls: Any, field: Any) -> None:
    env = field.metadata["env"]
    for text in ("true", "1", "yes", "ON"):
        assert getattr(cls.from_env({env: text}), field.name) is True
    for text in ("false", "0", "no", "Off"):
        assert getattr(cls.from_env({env: text}), field.name) is False
    with pytest.raises(BackendOptionsError, match="must be true or false"):
        cls.from_env({env: "maybe"})
    with pytest.raises(BackendOptionsError, match="must be true or false"):
        cls(**{field.name: "false"})


def test_a_call_may_take_as_long_as_it_likes_if_the_timeout_is_none() -> None:
    assert ServerSettings.from_env({"NAVAI_FUNCTION_TIMEOUT": "None"}).function_timeout is None
    with pytest.raises(BackendOptionsError, match="must be a number of seconds greater than 0"):
        ServerSettings.from_env({"NAVAI_BODY_TIMEOUT": "none"})


def test_a_running_server_has_the_limits_of_its_environment_and_command_line(
    serve: Serve, write: Any
) -> None:
    write("src/a.py", "import asyncio\nasync def wait(): await asyncio.Event().wait()\n")
    server = serve("--functions-folders", "src", "--max-body-bytes", "60", NAVAI_FUNCTION_TIMEOUT="0.3")
    with httpx.Client(base_url=server.url, timeout=60) as client:
        late = client.post("/navai/functions/execute", json={"function_name": "wait"}).json()
        assert late["details"] == "The function did not finish within 0.3 seconds."
        large = client.post("/navai/functions/execute", json={"function_name": "wait", "payload": "x" * 60})
        assert large.status_code == 413
        assert json.loads(large.content) == {"error": "Request body is larger than 60 bytes."}


def test_a_backend_takes_every_setting_by_its_name(tmp_path: Path) -> None:
    assert get_type_hints(BackendKeywords) == {
        field.name: field.type for field in attrs.fields(ServerSettings)
    }
    given: SettingsKeywords = {"max_body_bytes": 7, "cors_origins": ["https://a.example"]}
    settings = NavaiBackend(env={}, functions_base_dir=tmp_path, **given).settings
    assert (settings.max_body_bytes, settings.cors_origins) == (7, ("https://a.example",))
    with pytest.raises(BackendOptionsError, match=r"^cors_origins .* must be a list of origins, "):
        NavaiBackend(env={}, cors_origins="https://*.a.example")
    with pytest.raises(BackendOptionsError, match=r"max_body_bytes .* must be a whole number of 1 or more"):
        NavaiBackend(env={}, functions_base_dir=tmp_path, max_body_bytes=0)
