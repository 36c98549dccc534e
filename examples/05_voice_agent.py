"""A complete voice session: a backend's functions as the tools of an agent of the OpenAI Agents SDK.

    python examples/05_voice_agent.py            # through microphone and speaker, else through the keyboard
    python examples/05_voice_agent.py --offline  # a scripted conversation: no API key, no network, no sound

It needs ``pip install 'navai-client[agents]'`` and a backend with an OpenAI key (``NAVAI_API_URL``). Sound
also needs ``pip install sounddevice``, and ``--offline`` the extra ``testing``.
"""

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator
from typing import Any

from agents.realtime import RealtimeRunner, RealtimeSession

from navai_client import AsyncNavaiBackendClient, NavaiError
from navai_client.integrations.openai_agents import (
    build_navai_agent,
    read_backend_session,
    realtime_model_config,
)
from navai_client.integrations.routes import NavaiRoute
from navai_client.integrations.toolset import Toolset

OPENAI = "wss://api.openai.com/v1/realtime"
RATE = 24_000  # Hz, of 16-bit mono, in both directions
ROUTES = [NavaiRoute(name="orders", path="/orders", synonyms=["what I bought"])]


async def talk(client: AsyncNavaiBackendClient, url: str, texts: AsyncIterator[str], sound: Any) -> None:
    """Run one session, by voice if there is *sound*, else with *texts*."""
    found = await read_backend_session(client, url=url)  # the backend's model, voice and instructions
    async with await Toolset.load(
        client, routes=ROUTES, navigate=lambda path: print(f"  the app opens {path}")
    ) as toolset:
        print(*toolset.warnings, sep="\n", end="", file=sys.stderr)
        agent = build_navai_agent(toolset, instructions=found.instructions)
        config = realtime_model_config(client, found, url=url)  # a new client secret for each connection
        session = await RealtimeRunner(agent, config={"tracing_disabled": True}).run(model_config=config)
        async with session:
            answered = asyncio.Event()
            showing = asyncio.create_task(show(session, answered, sound))
            if sound is not None:
                await listen(session, sound)
            async for text in texts:
                print(f"you: {text}")
                answered.clear()
                await session.send_message(text)
                await answered.wait()
            await session.close()
            await showing


async def show(session: RealtimeSession, answered: asyncio.Event, sound: Any) -> None:
    """Print the events and play the speech of the agent."""
    speaker = sound and sound.RawOutputStream(samplerate=RATE, channels=1, dtype="int16")
    if speaker:
        speaker.start()
    async for event in session:
        if event.type == "audio" and speaker:
            await asyncio.to_thread(speaker.write, event.audio.data)
        elif event.type == "tool_end":
            print(f"  {event.tool.name} -> {event.output}")
        elif event.type == "raw_model_event" and event.data.type == "transcript_delta":
            print(f"agent: {event.data.delta}")
            answered.set()
        elif event.type == "error":
            print(f"  error: {event.error}", file=sys.stderr)


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


async def online() -> None:
    """Talk with a real backend and OpenAI."""
    try:
        sound: Any = importlib.import_module("sounddevice")
    except (ImportError, OSError):  # it is not installed, or there is no sound system
        sound = None
    async with AsyncNavaiBackendClient() as client:
        await talk(client, OPENAI, typed(), sound)


async def offline() -> None:
    """Play a conversation with a backend in this process and a Realtime API on this machine."""
    import httpx  # noqa: PLC0415 - like the two below, needed for this alone

    from navai_client.server import NavaiBackend  # noqa: PLC0415
    from navai_client.testing.realtime import Call, FakeRealtimeServer, Say  # noqa: PLC0415

    script = [
        Call("get_weather", {"location": "Bogotá"}),
        Say("It is sunny in Bogotá."),
        Call("navigate_to", {"target": "what I bought"}),
        Say("Here is what you bought."),
    ]

    async def questions() -> AsyncIterator[str]:
        yield "What is the weather in Bogotá?"
        yield "Show me what I bought."

    async with FakeRealtimeServer(script) as api:
        env = {"OPENAI_API_KEY": "sk-offline", "OPENAI_BASE_URL": api.openai_base_url}
        backend = NavaiBackend(env=env, discover=False)

        @backend.function
        def get_weather(location: str) -> dict[str, str]:
            """Get the weather of a place."""
            return {"location": location, "weather": "sunny"}

        transport = httpx.ASGITransport(backend)
        async with backend.lifespan(), AsyncNavaiBackendClient("http://shop", transport=transport) as client:
            await talk(client, api.url, questions(), None)


if __name__ == "__main__":
    try:
        asyncio.run(offline() if "--offline" in sys.argv else online())
    except NavaiError as problem:
        sys.exit(str(problem))
