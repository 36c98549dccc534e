"""The example of a voice session runs: offline as a script, and with a fake microphone."""

import asyncio
import os
import runpy
import subprocess
import sys
import threading
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import pytest

from navai_client import AsyncNavaiBackendClient
from navai_client.testing.realtime import Disconnect, FakeElevenLabs, FakeRealtimeServer, Say
from tests.integrations.loop import in_a_loop
from tests.integrations.shop import Shop, served

EXAMPLE = Path(__file__).parents[2] / "examples" / "05_voice_agent.py"


def run(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(EXAMPLE), *arguments]
    environment = {**os.environ, "PYTHONWARNINGS": "error", "NO_PROXY": "127.0.0.1", **env}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=120, check=False, input=""
    )


def test_a_conversation_runs_without_key_network_or_sound() -> None:
    finished = run("--offline")
    assert finished.returncode == 0, finished.stderr
    for line in (
        "you: What is the weather in Bogotá?",
        "  get_weather -> {",
        "agent: It is sunny in Bogotá. Take a hat!",
        "  the app opens /orders",
        '  navigate_to -> {"ok":true,"path":"/orders"}',
        "agent: Here is what you bought.",
    ):
        assert line in finished.stdout


def test_a_backend_that_speaks_through_elevenlabs_is_heard(tmp_path: Path) -> None:
    out = tmp_path / "said.wav"
    finished = run("--offline", "--elevenlabs", "--out", str(out))
    assert finished.returncode == 0, finished.stderr
    texts = ["It is sunny in Bogotá.", "Take a hat!", "Here is what you bought."]
    # Two sentences are synthesized at a time: either may arrive first. They are played in order.
    shown = finished.stdout.partition("ElevenLabs was asked for:\n")[2].splitlines()
    assert sorted(shown) == sorted(f"  {text}" for text in texts)
    assert f"This backend speaks through ElevenLabs, to {out}." in finished.stdout
    with wave.open(str(out)) as heard:
        assert (heard.getframerate(), heard.getnchannels(), heard.getsampwidth()) == (24_000, 1, 2)
        sound = heard.readframes(heard.getnframes())
    assert sound == b"".join(map(FakeElevenLabs.sound, texts))
    assert f"{out} has {len(sound) / 48_000:.1f} seconds of speech." in finished.stdout


def test_with_nothing_to_hear_it_with_such_a_backend_is_read() -> None:
    finished = run("--offline", "--elevenlabs")
    assert finished.returncode == 0, finished.stderr
    assert "ElevenLabs, to nobody: pass --out, or install sounddevice." in finished.stdout
    assert "agent: Here is what you bought." in finished.stdout
    assert finished.stdout.endswith("ElevenLabs was asked for:\n")


def test_without_a_backend_it_ends_with_the_error() -> None:
    finished = run(NAVAI_API_URL="http://127.0.0.1:9")
    assert finished.returncode == 1
    assert "127.0.0.1:9" in finished.stderr
    assert "Traceback" not in finished.stderr


class Sound:
    """A microphone with silence, and a speaker that records that it played."""

    def __init__(self) -> None:
        self.spoke = threading.Event()

    def RawInputStream(self, **_: Any) -> "Sound":  # noqa: N802 - sounddevice's name
        return self

    RawOutputStream = RawInputStream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def read(self, frames: int) -> tuple[bytes, bool]:
        return bytes(2 * frames), False

    def write(self, data: bytes) -> None:
        assert data
        self.spoke.set()


async def nothing() -> AsyncIterator[str]:
    for text in tuple[str, ...]():
        yield text


@pytest.mark.usefixtures("no_proxy")
@in_a_loop
async def test_a_lost_connection_ends_the_conversation() -> None:
    talk = runpy.run_path(str(EXAMPLE))["talk"]

    async def questions() -> AsyncIterator[str]:
        yield "Hello?"

    async with FakeRealtimeServer([Disconnect()]) as api:
        with FakeElevenLabs() as voices, served(Shop(), api.openai_base_url, **voices.env) as url:
            async with AsyncNavaiBackendClient(url) as client:
                with pytest.raises(Exception, match="1011"):
                    await talk(client, api.url, questions(), None)


@pytest.mark.usefixtures("no_proxy")
@in_a_loop
async def test_with_a_microphone_it_listens_and_speaks() -> None:
    talk = runpy.run_path(str(EXAMPLE))["talk"]
    sound = Sound()
    async with FakeRealtimeServer([Say("Hello.")]) as api:
        with served(Shop(), api.openai_base_url) as url:
            async with AsyncNavaiBackendClient(url) as client:
                talking = asyncio.create_task(talk(client, api.url, nothing(), sound))
                await api.wait_for_async("input_audio_buffer.append", 3, timeout=60)
                await asyncio.to_thread(api.speak, "Hello?")
                await api.wait_async(60)
                assert await asyncio.to_thread(sound.spoke.wait, 60)
                talking.cancel()
                await asyncio.wait((talking,))
