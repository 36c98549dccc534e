"""The restaurant's voice agent, on the OpenAI Agents SDK; its tools are the functions of the backend.

Needs: pip install 'navai-client[agents,server,testing]' fastapi sqlalchemy; no key with --offline.
Run: python -m examples.restaurant.agent --offline, where a scripted caller books a table
For a real voice: no --offline, and in another terminal its backend with an OpenAI key
    (``OPENAI_API_KEY=... uvicorn --factory examples.restaurant.backend:main --port 3000``).
"""

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
from agents.realtime import RealtimeRunner, RealtimeSession
from agents.realtime.items import RealtimeItem

from examples.restaurant.backend import make_app
from navai_client import AsyncNavaiBackendClient
from navai_client.integrations.openai_agents import (
    build_navai_agent,
    read_backend_session,
    realtime_model_config,
)
from navai_client.integrations.tools import ToolCall
from navai_client.integrations.toolset import Toolset
from navai_client.server import BackendOptions
from navai_client.testing.realtime import Call, FakeRealtimeServer, Say

Approve = Callable[[ToolCall], bool | Awaitable[bool]]

WHO = "You take bookings for a small restaurant. Ask for day, time, number of people and a name; be brief."

CALLER = [
    "A table for four on the 17th of May, please. And have you something vegetarian?",
    "At eight, for Ana.",
    "Cancel it, please.",
]
MODEL: list[Call | Say] = [
    Call("free_seatings", {"day": "2030-05-17", "party": 4}),
    Call("menu", {"vegetarian": True}),
    Say("We have tables at six and at eight, and a mushroom risotto. When, and for whom?"),
    Call("book", {"day": "2030-05-17", "seating": "20:00", "party": 4, "guest": "Ana"}),
    Say("Your table is booked, Ana: eight o'clock on the 17th of May."),
    Call("cancel", {"booking": 1}),
    Say("Then it stays booked."),
]


async def listen(session: RealtimeSession) -> str:
    """Return what the agent says next; print its tool calls until then."""
    said = ""
    async for event in session:
        if event.type == "tool_end":
            print(f"  [{event.tool.name} -> {event.output}]")
        elif event.type == "history_updated" and event.history:
            said = spoken(event.history[-1])
        elif event.type == "agent_end" and said:
            break
    return said


def spoken(item: RealtimeItem) -> str:
    """Return the text of *item* if it is from the agent, else an empty string."""
    if item.type != "message" or item.role != "assistant":
        return ""
    return "".join(part.text or "" if part.type == "text" else part.transcript or "" for part in item.content)


async def ask(call: ToolCall) -> bool:
    """Ask the person at this terminal whether a dangerous call may run."""
    question = f"  Allow {call.function_name} with {call.arguments}? (yes) "
    return (await asyncio.to_thread(input, question)).strip() == "yes"


async def talk(
    client: AsyncNavaiBackendClient, caller: AsyncIterator[str], approve: Approve, url: str | None = None
) -> None:
    """Hold a conversation with *caller*, line by line."""
    known = await (read_backend_session(client, url=url) if url else read_backend_session(client))
    async with Toolset.load(client, generic_tool=False, approve=approve) as tools:
        agent = build_navai_agent(tools, name="Restaurant", instructions=WHO)
        config = realtime_model_config(client, known, url=url)
        runner = RealtimeRunner(agent, config={"tracing_disabled": True, "async_tool_calls": True})
        async with await runner.run(model_config=config) as session:
            async for line in caller:
                print(f"caller: {line}")
                await session.send_message(line)
                print(f"agent:  {await listen(session)}")


async def offline() -> None:
    """Play a complete call on this machine alone: caller, model, backend and database."""

    async def caller() -> AsyncIterator[str]:
        for line in CALLER:
            yield line

    def refuse(call: ToolCall) -> bool:
        print(f"  [may {call.function_name} run? no]")
        return False

    with tempfile.TemporaryDirectory() as folder:
        async with FakeRealtimeServer(MODEL) as api:
            options = BackendOptions(openai_api_key="sk-offline", openai_base_url=api.openai_base_url)
            app = make_app(f"sqlite:///{folder}/restaurant.db", options)
            async with (
                app.router.lifespan_context(app),
                AsyncNavaiBackendClient("http://restaurant", transport=httpx.ASGITransport(app)) as client,
            ):
                await talk(client, caller(), refuse, api.url)


async def online() -> None:
    """Hold a conversation with a person at this terminal."""

    async def caller() -> AsyncIterator[str]:
        while line := (await asyncio.to_thread(input, "> ")).strip():
            yield line

    async with AsyncNavaiBackendClient() as client:
        await talk(client, caller(), ask)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The restaurant's voice agent.")
    parser.add_argument("--offline", action="store_true", help="play a scripted call, without any key")
    asyncio.run(offline() if parser.parse_args().offline else online())
