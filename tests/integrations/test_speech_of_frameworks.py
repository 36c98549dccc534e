"""Frameworks with their own Realtime model in text mode, over WebSockets, and the voice of a real backend."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from livekit import rtc
from livekit.agents import Agent, AgentSession, APIError
from livekit.agents.voice.io import AudioOutput, AudioOutputCapabilities
from livekit.plugins.openai.realtime import RealtimeModel
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMRunFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.realtime.events import InputAudioBufferClearEvent, SessionProperties
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.workers.runner import WorkerRunner

from navai_client import AsyncNavaiBackendClient
from navai_client.integrations.livekit import NavaiToolset, NavaiTTS
from navai_client.integrations.pipecat import NavaiTTSService
from navai_client.testing import FakeBackend
from navai_client.testing.realtime import Action, Call, FakeElevenLabs, FakeRealtimeServer, Say, Until
from tests.integrations.loop import in_a_loop
from tests.integrations.scripted_livekit import ScriptedLLM
from tests.integrations.shop import Shop, served

pytestmark = pytest.mark.usefixtures("no_proxy")

Script = list[Action | list[Action]]


def sound(*texts: str, rate: int = 24_000) -> bytes:
    return b"".join(FakeElevenLabs.sound(text, rate) for text in texts).rstrip(b"\0")


@asynccontextmanager
async def backend(
    voices: FakeElevenLabs, script: Script
) -> AsyncIterator[tuple[FakeRealtimeServer, AsyncNavaiBackendClient]]:
    async with FakeRealtimeServer(script) as api:
        with served(Shop(), api.openai_base_url, **voices.env) as url:
            async with AsyncNavaiBackendClient(url) as client:
                yield api, client


class Loudspeaker(AudioOutput):
    """An output of LiveKit that plays at once, or not before it is silenced."""

    def __init__(self) -> None:
        super().__init__(label="test", capabilities=AudioOutputCapabilities(pause=False), sample_rate=24_000)
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        self.cut: asyncio.Queue[bytes] = asyncio.Queue()
        self.began = asyncio.Event()
        self.holds = False
        self._playing = b""

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """Take a part of the sound."""
        await super().capture_frame(frame)
        if not self._playing:
            self.on_playback_started(created_at=time.time())
        self._playing += bytes(frame.data)
        self.began.set()

    def flush(self) -> None:
        """Take the end of a text."""
        super().flush()
        if self._playing and not self.holds:
            self._end(self.heard, interrupted=False)

    def clear_buffer(self) -> None:
        """Fall silent."""
        if self._playing:
            self.holds = False  # here: the next text may come before the test sees that this one was cut
            self._end(self.cut, interrupted=True)

    def _end(self, queue: "asyncio.Queue[bytes]", *, interrupted: bool) -> None:
        queue.put_nowait(self._playing.rstrip(b"\0"))  # LiveKit ends each text with 10 ms of silence
        self._playing = b""
        self.on_playback_finished(playback_position=0.1, interrupted=interrupted)


class TestLiveKit:
    """An ``AgentSession`` of LiveKit."""

    @in_a_loop
    async def test_speaks_the_texts_of_a_realtime_model_with_its_tools(self) -> None:
        script: Script = [Call("get_weather", {"location": "Bogotá"}, "c1"), Say("It is sunny. Take a hat!")]
        with FakeElevenLabs() as voices:
            async with backend(voices, script) as (api, client), self.talking(api, client) as output:
                await asyncio.to_thread(api.speak, "How is the weather?")
                assert await output.heard.get() == sound("It is sunny.", "Take a hat!")
                assert sorted(voices.texts) == ["It is sunny.", "Take a hat!"]
                assert api.session.config["output_modalities"] == ["text"]

    @in_a_loop
    async def test_falls_silent_when_the_person_speaks(self) -> None:
        script: Script = [[Say("One. Two. Three"), Until("never")], Say("Yes?")]
        with FakeElevenLabs() as voices:
            async with backend(voices, script) as (api, client), self.talking(api, client) as output:
                output.holds = True
                await asyncio.to_thread(api.speak, "Count.")
                await output.began.wait()
                await asyncio.to_thread(api.speak, "Wait.")
                assert sound("One.", "Two.").startswith(await output.cut.get())
                assert await output.heard.get() == sound("Yes?")

    @in_a_loop
    async def test_plays_nothing_that_arrives_after_the_person_spoke(self) -> None:
        script: Script = [[Say("One. Two. Three"), Until("never")], Say("Yes?")]
        with FakeElevenLabs() as voices:
            voices.answering.clear()
            async with backend(voices, script) as (api, client), self.talking(api, client) as output:
                await asyncio.to_thread(api.speak, "Count.")
                await asyncio.to_thread(voices.wait_for, 2)
                await asyncio.to_thread(api.speak, "Wait.")
                await asyncio.to_thread(voices.wait_for, 3)
                voices.answering.set()
                assert await output.heard.get() == sound("Yes?")
                assert output.cut.empty()

    @in_a_loop
    async def test_abandons_what_is_synthesized_when_a_pipeline_is_interrupted(self) -> None:
        output = Loudspeaker()
        with FakeElevenLabs() as voices, served(Shop(), **voices.env) as url:
            voices.answering.clear()
            async with AsyncNavaiBackendClient(url) as client:
                model = ScriptedLLM("One. Two. Three.", "Yes?")
                async with AgentSession[None](llm=model, tts=NavaiTTS(client)) as session:
                    session.output.audio = output
                    await session.start(Agent(instructions="Help."))
                    session.generate_reply(user_input="Count.")
                    await asyncio.to_thread(voices.wait_for, 2)
                    await session.interrupt()
                    voices.answering.set()
                    await session.generate_reply(user_input="Wait.")
                    assert output.heard.get_nowait() == sound("Yes?")
        assert sorted(voices.texts) == ["One.", "Two.", "Yes?"]
        assert output.cut.empty()

    @asynccontextmanager
    async def talking(
        self, api: FakeRealtimeServer, client: AsyncNavaiBackendClient
    ) -> AsyncIterator[Loudspeaker]:
        secret = await client.create_client_secret()
        assert secret.speech_provider == "elevenlabs"
        output = Loudspeaker()
        async with aiohttp.ClientSession() as http:
            model = RealtimeModel(
                api_key=secret.value,
                base_url=api.url.replace("ws", "http").removesuffix("/realtime"),
                modalities=["text"],
                http_session=http,
            )
            async with AgentSession[None](llm=model, tts=NavaiTTS(client)) as session:
                session.output.audio = output
                await session.start(Agent(instructions="Help.", tools=[NavaiToolset(client)]))
                await api.wait_for_async("session.update", 3, timeout=60)  # model, instructions, tools
                before = asyncio.all_tasks()
                yield output
        # With a Realtime model, LiveKit lets the speech that was interrupted run to its end, unheard.
        if left := asyncio.all_tasks() - before:
            await asyncio.wait(left)

    @in_a_loop
    async def test_can_have_a_text_spoken(self) -> None:
        with FakeElevenLabs() as voices, served(Shop(), **voices.env) as url:
            async with AsyncNavaiBackendClient(url) as client, NavaiTTS(client, sample_rate=16_000) as voice:
                frame = await voice.synthesize("One. Two.").collect()
        assert bytes(frame.data).rstrip(b"\0") == sound("One.", "Two.", rate=16_000)
        assert (frame.sample_rate, voice.provider) == (16_000, "navai")

    @in_a_loop
    async def test_is_given_the_rest_if_a_sentence_fails_and_an_error_if_all_do(self) -> None:
        with FakeElevenLabs(refuse=["Two."]) as voices, served(Shop(), **voices.env) as url:
            async with AsyncNavaiBackendClient(url) as client, NavaiTTS(client) as voice:
                frame = await voice.synthesize("One. Two. Three.").collect()
                assert bytes(frame.data).rstrip(b"\0") == sound("One.", "Three.")
                with pytest.raises(APIError, match="no speech; the log says why"):
                    await voice.synthesize("Two.").collect()
                assert voices.texts.count("Two.") == 2
                silence = await voice.synthesize("...").collect()
                assert not any(silence.data)


class Sink(FrameProcessor):
    """The end of a pipeline of Pipecat: it collects the sound, and the errors."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        self.errors: list[str] = []
        self.interrupted = asyncio.Event()
        self._sound = b""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Collect, and pass each frame on."""
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self._sound += frame.audio
        elif isinstance(frame, TTSStoppedFrame):
            self.heard.put_nowait(self._sound.rstrip(b"\0"))
            self._sound = b""
        elif isinstance(frame, InterruptionFrame):
            self.interrupted.set()
        await self.push_frame(frame, direction)


@asynccontextmanager
async def pipeline(*services: FrameProcessor) -> AsyncIterator[tuple[PipelineWorker, Sink]]:
    sink = Sink()
    pair = LLMContextAggregatorPair(LLMContext([{"role": "developer", "content": "Help."}]))
    worker = PipelineWorker(
        Pipeline([pair.user(), *services, sink, pair.assistant()]), cancel_on_idle_timeout=False
    )
    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")  # type: ignore[untyped-decorator]
    async def on_started(*_: Any) -> None:
        started.set()

    @worker.event_handler("on_pipeline_error")  # type: ignore[untyped-decorator]
    async def on_error(_: Any, frame: ErrorFrame) -> None:
        sink.errors.append(frame.error)

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    await started.wait()
    try:
        yield worker, sink
    finally:
        await worker.queue_frame(EndFrame())
        await running


class TestPipecat:
    """A pipeline of Pipecat."""

    @in_a_loop
    async def test_speaks_the_texts_of_a_realtime_model_until_the_person_speaks(self) -> None:
        spoken = Until("input_audio_buffer.clear")  # a person speaks longer than Pipecat takes to fall silent
        script: Script = [
            Say("It is sunny. Take a hat!"),
            [spoken, Say("One. Two. Three."), Until("never")],
            [spoken, Say("Yes?")],
        ]
        with FakeElevenLabs() as voices:
            async with backend(voices, script) as (api, client):
                model = OpenAIRealtimeLLMService(
                    api_key=(await client.create_client_secret()).value,
                    base_url=api.url,
                    settings=OpenAIRealtimeLLMService.Settings(
                        session_properties=SessionProperties(output_modalities=["text"])
                    ),
                )
                async with pipeline(model, NavaiTTSService(client)) as (worker, sink):
                    await worker.queue_frame(LLMRunFrame())
                    assert await sink.heard.get() == sound("It is sunny.", "Take a hat!")
                    voices.answering.clear()
                    await asyncio.to_thread(api.speak, "Count.")
                    await sink.interrupted.wait()
                    await model.send_client_event(InputAudioBufferClearEvent())
                    await asyncio.to_thread(voices.wait_for, 3)
                    sink.interrupted.clear()
                    await asyncio.to_thread(api.speak, "Wait.")
                    await sink.interrupted.wait()
                    voices.answering.set()
                    await model.send_client_event(InputAudioBufferClearEvent())
                    assert await sink.heard.get() == sound("Yes?")
        assert sorted(voices.texts) == ["It is sunny.", "One.", "Take a hat!", "Yes?"]

    @in_a_loop
    async def test_speaks_the_rest_if_a_sentence_cannot_be_synthesized(self) -> None:
        with FakeElevenLabs(refuse=["Two."]) as voices, served(Shop(), **voices.env) as url:
            async with AsyncNavaiBackendClient(url) as client:
                voice = NavaiTTSService(client, sample_rate=16_000, voice={"voice_id": "another"})
                async with pipeline(voice) as (worker, sink):
                    for frame in (
                        LLMFullResponseStartFrame(),
                        LLMTextFrame("One. Two. Three."),
                        LLMFullResponseEndFrame(),
                    ):
                        await worker.queue_frame(frame)
                    assert await sink.heard.get() == sound("One.", "Three.", rate=16_000)
        assert any("A sentence is not spoken" in error for error in sink.errors)
        assert voice.can_generate_metrics()

    @in_a_loop
    async def test_refuses_a_sound_that_it_cannot_play(self) -> None:
        fake = FakeBackend()
        client = AsyncNavaiBackendClient("https://navai.test", transport=fake.async_transport)
        async with client, pipeline(NavaiTTSService(client, stop_frame_timeout_s=0.1)) as (worker, sink):
            await worker.queue_frame(TTSSpeakFrame("One."))
        assert "Pipecat needs PCM, and the backend sent audio/wav." in sink.errors
