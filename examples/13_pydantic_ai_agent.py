"""An agent of Pydantic AI whose tools are the functions of a Navai backend.

Needs: pip install 'navai-client[pydantic-ai]' 'pydantic-ai-slim[openai]'; OPENAI_API_KEY;
    a backend (``navai serve --demo`` in another terminal, or NAVAI_API_URL).
Run: python examples/13_pydantic_ai_agent.py "How is the weather in Bogotá?"
For a real voice: speech recognition before it and speech synthesis after it; or example 05, 06 or 07.
"""

import asyncio
import os
import sys

import _explain
from pydantic_ai import Agent
from pydantic_ai.models import Model

from navai_client import AsyncNavaiBackendClient
from navai_client.integrations.pydantic_ai import NavaiToolset
from navai_client.integrations.toolset import Toolset


async def main(question: str, model: Model | str = "openai:gpt-4.1-mini") -> None:
    async with (
        AsyncNavaiBackendClient() as client,
        Toolset.load(client, required=True, after=lambda _, outcome: print(" ", outcome.as_dict())) as tools,
    ):
        instructions = tools.instructions("You help customers of a shop. Be brief.")
        agent = Agent(model, instructions=instructions, toolsets=[NavaiToolset(tools)])
        result = await agent.run(question)
        print(result.output)


if __name__ == "__main__":
    if "OPENAI_API_KEY" not in os.environ:
        sys.exit("Set OPENAI_API_KEY: the model is OpenAI's.")
    asyncio.run(main(" ".join(sys.argv[1:]) or "How is the weather in Bogotá?"))
