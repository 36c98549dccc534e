"""The example of a voice session runs: offline as a script, and with a fake microphone."""

import asyncio
import os
import runpy
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import pytest

from navai_client import AsyncNavaiBackendClient
from navai_client.testing.realtime import FakeRealtimeServer, Say
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
        "agent: It is sunny in Bogotá.",
        "  the app opens /orders",
        '  navigate_to -> {"ok":true,"path":"/orders"}',
        "agent: Here is what you bought.",
    ):
        assert line in finished.stdout


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

    def start(self) -> None: ...

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
async def test_with_a_microphone_it_listens_and_speaks() -> None:
    talk = runpy.run_path(str(EXAMPLE))["talk"]
    sound = Sound()
    async with FakeRealtimeServer([Say("Hello.")]) as api:
        with served(Shop(), api.openai_base_url) as url:
            async with AsyncNavaiBackendClient(url) as client:
                talking = asyncio.create_task(talk(client, api.url, nothing(), sound))
                await api.wait_for_async("input_audio_buffer.append", 3, timeout=30)
                await asyncio.to_thread(api.speak, "Hello?")
                await api.wait_async()
                assert await asyncio.to_thread(sound.spoke.wait, 30)
                talking.cancel()
                await asyncio.wait((talking,))
