"""An agent of Google's ADK whose tools are the functions of a Navai backend.

Needs: pip install 'navai-client[google-adk]'; GOOGLE_API_KEY; an environment without LiveKit (``make adk``);
    a backend (``navai serve --demo`` in another terminal, or NAVAI_API_URL).
Run: python examples/15_google_adk_agent.py "How is the weather in Bogotá?"
For a real voice: speech recognition before it and speech synthesis after it; or example 05, 06 or 07.
"""

import asyncio
import os
import sys

import _explain
from google.adk.agents import LlmAgent
from google.adk.models import BaseLlm
from google.adk.runners import InMemoryRunner
from google.genai.types import Content, Part

from navai_client import AsyncNavaiBackendClient
from navai_client.integrations.google_adk import NavaiToolset
from navai_client.integrations.toolset import Toolset


async def main(question: str, model: BaseLlm | str = "gemini-2.5-flash") -> None:
    async with (
        AsyncNavaiBackendClient() as client,
        Toolset.load(client, required=True, after=lambda _, outcome: print(" ", outcome.as_dict())) as tools,
    ):
        instruction = tools.instructions("You help customers of a shop. Be brief.")
        agent = LlmAgent(
            name="clerk",
            model=model,
            instruction=lambda _: instruction,  # a text would have its braces replaced
            tools=[NavaiToolset(tools)],
        )
        runner = InMemoryRunner(agent, app_name="shop")
        session = await runner.session_service.create_session(app_name="shop", user_id="ada")
        message = Content(role="user", parts=[Part(text=question)])
        async for event in runner.run_async(user_id="ada", session_id=session.id, new_message=message):
            if event.is_final_response() and event.content and event.content.parts:
                print(event.content.parts[0].text)
        await runner.close()


if __name__ == "__main__":
    if "GOOGLE_API_KEY" not in os.environ:
        sys.exit("Set GOOGLE_API_KEY: the model is Google's.")
    asyncio.run(main(" ".join(sys.argv[1:]) or "How is the weather in Bogotá?"))
