"""A complete voice session: a backend's functions as the tools of an agent of the OpenAI Agents SDK.

Needs: pip install 'navai-client[agents,testing]'; no backend and no key with --offline.
Run: python examples/05_voice_agent.py --offline, which plays a scripted conversation
    (--elevenlabs --out said.wav: spoken by another provider, to a file)
For a real voice: no --offline; the extra ``audio`` for microphone and speaker, without which you type; and a
    backend with an OpenAI key (``OPENAI_API_KEY=... navai serve`` in another terminal, or NAVAI_API_URL).
"""

import argparse
import asyncio
import contextlib
import importlib
import sys
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import _explain
from agents.realtime import RealtimeRunner, RealtimeSession

from navai_client import AsyncNavaiBackendClient
from navai_client.integrations.openai_agents import (
    build_navai_agent,
    read_backend_session,
    realtime_model_config,
    speak_event,
)
from navai_client.integrations.routes import NavaiRoute
from navai_client.integrations.speech import Speaker
from navai_client.integrations.tools import ToolCall
from navai_client.integrations.toolset import Toolset

OPENAI = "wss://api.openai.com/v1/realtime"
RATE = 24_000  # Hz, of 16-bit mono, in both directions
PART = RATE // 25 * 2  # bytes of 40 ms, the longest sound after an interruption
ROUTES = [NavaiRoute(name="orders", path="/orders", synonyms=["what I bought"])]

Play = Callable[[bytes], Awaitable[None]]


async def talk(
    client: AsyncNavaiBackendClient, url: str, texts: AsyncIterator[str], sound: Any, out: str | None = None
) -> None:
    """Run one session, by voice if there is *sound*, else with *texts*; *out* is a file for what is said."""
    found = await read_backend_session(client, url=url)  # the backend's model, voice and instructions
    with loudspeaker(sound, out) as play:
        async with (
            Toolset.load(
                client,
                routes=ROUTES,
                navigate=lambda path: print(f"  the app opens {path}"),
                approve=ask,
            ) as tools,
            Speaker(client, lambda audio: play(audio.audio), output_format="pcm_24000") as speaker,
        ):
            print(*tools.warnings, sep="\n", end="", file=sys.stderr)
            if found.speech_provider == "elevenlabs":
                heard = out or ("the loudspeaker" if sound else "nobody: pass --out, or install sounddevice")
                print(f"This backend speaks through ElevenLabs, to {heard}.")
            agent = build_navai_agent(tools, instructions=found.instructions)
            config = realtime_model_config(client, found, url=url)  # a new client secret for each connection
            session = await RealtimeRunner(agent, config={"tracing_disabled": True}).run(model_config=config)
            async with session:
                answered = asyncio.Event()
                speaks = speaker if found.speech_provider == "elevenlabs" and (sound or out) else None
                showing = asyncio.create_task(show(session, answered, play, speaks))
                if sound is not None:
                    await listen(session, sound)
                async for text in texts:
                    print(f"you: {text}")
                    answered.clear()
                    await session.send_message(text)
                    await answered.wait()
                await speaker.join()  # let it finish
                await session.close()
                await showing


async def ask(call: ToolCall) -> bool:
    """Ask the person at the terminal whether a call of a dangerous function may run."""
    question = f"  Allow {call.function_name} with {call.arguments}? (yes) "
    return (await asyncio.to_thread(input, question)).strip() == "yes"


async def show(
    session: RealtimeSession, answered: asyncio.Event, play: Play, speaker: Speaker | None
) -> None:
    """Print the events, and play the speech of the agent."""
    turn = Turn()
    try:
        async for event in session:
            if speaker is not None:
                speak_event(speaker, event)
            if event.type == "audio":
                await play(event.audio.data)
            elif event.type == "tool_end":
                print(f"  {event.tool.name} -> {event.output}")
            elif event.type == "error":
                print(f"  error: {event.error}", file=sys.stderr)
                answered.set()
            elif event.type == "raw_model_event" and turn.receive(event.data):
                answered.set()
    finally:
        answered.set()  # the connection was lost


class Turn:
    """One response of the agent after the other, until it needs no more tools."""

    said = ""
    called = False

    def receive(self, data: Any) -> bool:
        """Print what was said at the end of each response; return whether it was the last one."""
        if data.type in {"transcript_delta", "output_text_delta"}:
            self.said += data.delta
        elif data.type == "function_call":
            self.called = True
        elif data.type == "turn_ended":
            if self.said:
                print(f"agent: {self.said}")
            is_last, self.said, self.called = not self.called, "", False
            return is_last
        return False


@contextlib.contextmanager
def loudspeaker(sound: Any, out: str | None) -> Iterator[Play]:
    """Give a function that plays sound, and adds it to the file *out*."""
    with contextlib.ExitStack() as stack:
        stream = sound and stack.enter_context(
            sound.RawOutputStream(samplerate=RATE, channels=1, dtype="int16")
        )
        file = out and stack.enter_context(wave.open(out, "wb"))
        if file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))

        async def play(heard: bytes) -> None:
            if file:
                file.writeframes(heard)
            if stream:
                for start in range(0, len(heard), PART):
                    await asyncio.to_thread(stream.write, heard[start : start + PART])

        yield play
        if file:
            print(f"{out} has {file.getnframes() / RATE:.1f} seconds of speech.")


async def listen(session: RealtimeSession, sound: Any) -> None:
    """Send the sound of the microphone until the program is stopped."""
    print("Speak; Ctrl+C ends it.")
    with sound.RawInputStream(samplerate=RATE, channels=1, dtype="int16") as microphone:
        while True:
            heard, _ = await asyncio.to_thread(microphone.read, RATE // 25)
            await session.send_audio(bytes(heard))


async def typed() -> AsyncIterator[str]:
    """Yield typed lines; an empty line ends them."""
    while text := (await asyncio.to_thread(input, "> ")).strip():
        yield text


async def online(out: str | None) -> None:
    """Talk with a real backend and OpenAI."""
    try:
        sound: Any = importlib.import_module("sounddevice")
    except (ImportError, OSError):  # it is not installed, or there is no sound system
        sound = None
    async with AsyncNavaiBackendClient() as client:
        await talk(client, OPENAI, typed(), sound, out)


async def offline(out: str | None, *, elevenlabs: bool) -> None:
    """Play a conversation with a backend in this process and the upstream APIs on this machine."""
    import httpx  # noqa: PLC0415 - like the two below, needed for this alone

    from navai_client.server import NavaiBackend  # noqa: PLC0415
    from navai_client.testing.realtime import Call, FakeElevenLabs, FakeRealtimeServer, Say  # noqa: PLC0415

    script = [
        Call("get_weather", {"location": "Bogotá"}),
        Say("It is sunny in Bogotá. Take a hat!"),
        Call("navigate_to", {"target": "what I bought"}),
        Say("Here is what you bought."),
    ]

    async def questions() -> AsyncIterator[str]:
        yield "What is the weather in Bogotá?"
        yield "Show me what I bought."

    with FakeElevenLabs() as voices:
        async with FakeRealtimeServer(script) as api:
            env = {"OPENAI_API_KEY": "sk-offline", "OPENAI_BASE_URL": api.openai_base_url}
            backend = NavaiBackend(env={**env, **(voices.env if elevenlabs else {})}, discover=False)

            @backend.function
            def get_weather(location: str) -> dict[str, str]:
                """Get the weather of a place."""
                return {"location": location, "weather": "sunny"}

            client = AsyncNavaiBackendClient("http://shop", transport=httpx.ASGITransport(backend))
            async with backend.lifespan(), client:
                await talk(client, api.url, questions(), None, out)
        if elevenlabs:
            print("ElevenLabs was asked for:", *voices.texts, sep="\n  ")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A voice session with the functions of a Navai backend.")
    parser.add_argument("--offline", action="store_true", help="play a script, without key and network")
    parser.add_argument("--elevenlabs", action="store_true", help="with --offline: speak through ElevenLabs")
    parser.add_argument("--out", metavar="FILE", help="keep what is said in a WAV file")
    given = parser.parse_args()
    asyncio.run(offline(given.out, elevenlabs=given.elevenlabs) if given.offline else online(given.out))
