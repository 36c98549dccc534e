"""A voice agent of LiveKit whose tools are the functions of a Navai backend.

Needs: pip install 'navai-client[livekit]'; LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET of a project;
    a backend (``navai serve --demo`` in another terminal, or NAVAI_API_URL).
Run: python examples/06_livekit_agent.py console
For a real voice: a microphone and the library PortAudio; or ``dev``, not ``console``, for callers in rooms.
"""

import os
import sys

import _explain
from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli

from navai_client import NavaiBackendClient
from navai_client.integrations.livekit import NavaiToolset

server = AgentServer()


def make_agent() -> Agent:
    # Without a client, the tools are those of the backend at NAVAI_API_URL.
    tools = NavaiToolset(
        timeouts={"make_report": 60},
        filler="One moment, please.",
        after=lambda _, outcome: print(" ", outcome.as_dict()),
    )
    return Agent(instructions="You help customers of a shop. Be brief.", tools=[tools])


@server.rtc_session()
async def talk(context: JobContext) -> None:
    session = AgentSession[None](
        stt="deepgram/nova-3", llm="openai/gpt-4.1-mini", tts="cartesia/sonic-3", turn_detection="stt"
    )
    await session.start(make_agent(), room=context.room)


if __name__ == "__main__":
    if missing := {"LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"} - os.environ.keys():
        sys.exit(f"Set {', '.join(sorted(missing))}: the agent talks through a project of LiveKit.")
    with NavaiBackendClient() as client:  # LiveKit would go on without the backend's functions
        functions = client.list_functions()
    functions.raise_for_error()
    print(f"The agent can call {', '.join(each.name for each in functions)}.")
    try:
        cli.run_app(server)
    except OSError as problem:
        sys.exit(f"The console needs sound: {problem}")
