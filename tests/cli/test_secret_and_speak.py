"""``navai secret`` and ``navai speak``: what is sent, what is shown, what is written."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from navai_client.server import NavaiBackend
from tests.cli.conftest import Navai
from tests.faults.server import FAULTS, FaultServer
from tests.serving import serving_app

SECRET = "ek_0123456789abcdef0123456789abcdef"
AUDIO = base64.b64encode(b"sound").decode()
SPEECH = json.dumps({"provider": "elevenlabs", "mimeType": "audio/mpeg", "audioBase64": AUDIO})


def minted(**fields: Any) -> str:
    return json.dumps({"value": SECRET, "expires_at": 1_900_000_000, **fields})


def test_a_secret_is_masked_unless_reveal_is_given(command: Navai, demo_server: str) -> None:
    masked = command("secret", "--url", demo_server)
    assert masked.status == 0
    assert "value: ek_***" in masked.out
    assert "(masked; --reveal shows it)" in masked.out
    assert "speech: openai" in masked.out
    assert command("secret", "--reveal", "--url", demo_server).out.startswith("value: ek_demo_")


def test_json_is_masked_too(navai: Navai, reply: Callable[..., FaultServer]) -> None:
    server = reply(minted(speech={"provider": "elevenlabs"}))
    expected = {"value": "ek_***cdef", "expires_at": 1_900_000_000, "speech_provider": "elevenlabs"}
    assert json.loads(navai("secret", "--json", "--url", server.url).out) == expected
    revealed = navai("secret", "--json", "--reveal", "--url", server.url)
    assert json.loads(revealed.out) == expected | {"value": SECRET}


@pytest.mark.parametrize("expires_at", [None, 1e300, float("-1e18")])
def test_an_expiry_outside_the_calendar_is_not_shown(
    expires_at: float | None, navai: Navai, reply: Callable[..., FaultServer]
) -> None:
    server = reply(minted(expires_at=expires_at))
    assert "expires: unknown\n" in navai("secret", "--url", server.url).out


def test_what_is_given_is_sent(
    navai: Navai, reply: Callable[..., FaultServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-my-own-key-0123456789")
    server = reply(minted())
    session = ["--model", "m", "--voice", "v", "--instructions", "i", "--language", "l"]
    session += ["--voice-accent", "a", "--voice-tone", "t", "--api-key", "@env:MY_KEY"]
    assert navai("secret", *session, "--url", server.url).status == 0
    assert json.loads(server.arrived[0][2]) == {
        "model": "m",
        "voice": "v",
        "instructions": "i",
        "language": "l",
        "voiceAccent": "a",
        "voiceTone": "t",
        "apiKey": "sk-my-own-key-0123456789",
    }


def test_a_backend_without_a_key_is_said_to_need_one(navai: Navai) -> None:
    with serving_app(NavaiBackend(env={}, discover=False)) as url:
        result = navai("secret", "--url", url)
    said = "The backend has no OpenAI key. Set OPENAI_API_KEY where the backend runs, and start it again."
    assert result == (1, "", f"navai secret: {said}\n")


def test_a_refusal_shows_no_key(
    navai: Navai, reply: Callable[..., FaultServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-my-own-key-0123456789")
    server = reply('{"error": "bad key sk-my-own-key-0123456789"}', status="401 Unauthorized")
    result = navai("secret", "--api-key", "@env:MY_KEY", "--url", server.url)
    assert result.status == 1
    assert "bad key ***" in result.err


def test_a_lost_response_to_minting_is_status_3(navai: Navai) -> None:
    with FaultServer(FAULTS["never answers"]) as server:
        assert navai("secret", "--timeout", "0.2", "--url", server.url).status == 3


def test_a_lost_response_to_speech_may_have_been_paid_for(navai: Navai) -> None:
    with FaultServer(FAULTS["never answers"]) as server:
        result = navai("speak", "hi", "--out", "-", "--timeout", "2", "--url", server.url)
    assert result.status == 4
    assert "It may have been executed all the same: check before you try again." in result.err


def test_audio_is_written_to_a_file(command: Navai, demo_server: str, tmp_path: Path) -> None:
    out = tmp_path / "hello.wav"
    result = command("speak", "hello", "--out", str(out), "--url", demo_server)
    assert result == (0, "", f"{out}: 844 bytes of audio/wav\n")
    assert out.read_bytes().startswith(b"RIFF")


def test_a_dash_writes_the_audio_to_standard_output(
    navai: Navai, reply: Callable[..., FaultServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert navai("speak", "hi", "--out", "-", "--url", reply(SPEECH).url) == (0, "sound", "")


def test_a_dash_reads_the_text_from_standard_input(command: Navai, reply: Callable[..., FaultServer]) -> None:
    server = reply(SPEECH)
    assert command("speak", "-", "--out", "-", "--url", server.url, stdin="hello\n").out == "sound"
    assert json.loads(server.arrived[0][2]) == {"text": "hello\n"}


def test_voice_settings_are_sent(navai: Navai, reply: Callable[..., FaultServer], tmp_path: Path) -> None:
    server, out = reply(SPEECH), tmp_path / "hi.mp3"
    voice = [
        "--voice-id",
        "v",
        "--model-id",
        "m",
        "--output-format",
        "o",
        "--optimize-streaming-latency",
        "2",
    ]
    voice += ["--stability", "0.5", "--similarity-boost", "1", "--style", "0", "--no-speaker-boost"]
    result = navai("speak", "hi", "--out", str(out), "--json", *voice, "--url", server.url)
    assert json.loads(result.out) == {
        "file": str(out),
        "bytes": 5,
        "mime_type": "audio/mpeg",
        "provider": "elevenlabs",
    }
    assert json.loads(server.arrived[0][2]) == {
        "text": "hi",
        "voiceId": "v",
        "modelId": "m",
        "outputFormat": "o",
        "optimizeStreamingLatency": 2,
        "voiceSettings": {"stability": 0.5, "similarityBoost": 1.0, "style": 0.0, "useSpeakerBoost": False},
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["hi"], "Missing option '--out'"),
        (["hi", "--out", "-", "--json"], "--json and --out - would both write to standard output."),
        (
            ["hi", "--out", "/not/there/x"],
            "--out /not/there/x: the folder /not/there does not exist or is not writable.",
        ),
        (["hi", "--out", "x.mp3", "--style", "2"], "2.0 is not in the range"),
        ([" ", "--out", "-"], "text must be a string that is not blank."),
    ],
)
def test_an_invalid_request_for_speech_sends_nothing(
    arguments: list[str], said: str, navai: Navai, reply: Callable[..., FaultServer]
) -> None:
    server = reply(SPEECH)
    result = navai("speak", *arguments, "--url", server.url)
    assert result.status == 2
    assert said in result.err
    assert not server.arrived


def test_a_failure_leaves_the_file_as_it_was(
    navai: Navai, reply: Callable[..., FaultServer], tmp_path: Path
) -> None:
    out = tmp_path / "hello.mp3"
    out.write_bytes(b"before")
    server = reply('{"error": "no"}', status="500 Internal Server Error")
    assert navai("speak", "hello", "--out", str(out), "--url", server.url).status == 1
    assert out.read_bytes() == b"before"


def test_a_full_disk_is_reported(navai: Navai, reply: Callable[..., FaultServer]) -> None:
    result = navai("speak", "hello", "--out", "/dev/full", "--url", reply(SPEECH).url)
    assert result == (1, "", "navai speak: /dev/full cannot be written: No space left on device.\n")
