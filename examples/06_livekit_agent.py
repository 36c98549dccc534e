"""A voice agent of LiveKit whose tools are the functions of a Navai backend.

Start a backend (``python -m navai_client.server --demo``), set LIVEKIT_URL, LIVEKIT_API_KEY and
LIVEKIT_API_SECRET, and talk to the agent in your terminal, which needs the library PortAudio::

    python examples/06_livekit_agent.py console
"""

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli

from navai_client.integrations.livekit import NavaiToolset

server = AgentServer()


def make_agent() -> Agent:
    # Without an argument, the tools are those of the backend at NAVAI_API_URL.
    tools = NavaiToolset(timeouts={"make_report": 60}, filler="One moment, please.")
    return Agent(instructions="You help customers of a shop. Be brief.", tools=[tools])


@server.rtc_session()
async def talk(context: JobContext) -> None:
    session = AgentSession[None](
        stt="deepgram/nova-3", llm="openai/gpt-4.1-mini", tts="cartesia/sonic-3", turn_detection="stt"
    )
    await session.start(make_agent(), room=context.room)


if __name__ == "__main__":
    cli.run_app(server)
