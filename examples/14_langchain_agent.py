"""An agent of LangChain whose tools are the functions of a Navai backend, and which asks before it orders.

Needs: pip install 'navai-client[langchain]' langchain langchain-openai; OPENAI_API_KEY;
    a backend (``navai serve --demo`` in another terminal, or NAVAI_API_URL).
Run: python examples/14_langchain_agent.py "How is the weather in Bogotá?"
For a real voice: speech recognition before it and speech synthesis after it; or example 05, 06 or 07.
"""

import asyncio
import os
import sys
from typing import Any

import _explain
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from navai_client import AsyncNavaiBackendClient
from navai_client.integrations.langchain import function_tools
from navai_client.integrations.toolset import Toolset

THREAD: RunnableConfig = {"configurable": {"thread_id": "1"}}


def decide(call: dict[str, Any]) -> dict[str, str]:
    answer = input(f"Allow {call['name']} with {call['args']}? ")
    return {"type": "approve" if answer == "yes" else "reject"}


async def main(question: str, model: BaseChatModel | str = "openai:gpt-4.1-mini") -> None:
    async with (
        AsyncNavaiBackendClient() as client,
        Toolset.load(
            client,
            required=True,
            approval=["create_order"],
            after=lambda _, outcome: print(" ", outcome.as_dict()),
        ) as tools,
    ):
        agent = create_agent(
            model,
            function_tools(tools),
            system_prompt=tools.instructions("You help customers of a shop. Be brief."),
            checkpointer=InMemorySaver(),  # keeps the conversation while somebody decides
        )
        state = await agent.ainvoke({"messages": [{"role": "user", "content": question}]}, THREAD)
        while questions := state.get("__interrupt__"):
            answers = {each.id: decide(each.value) for each in questions}
            state = await agent.ainvoke(Command(resume=answers), THREAD)
        print(state["messages"][-1].text)


if __name__ == "__main__":
    if "OPENAI_API_KEY" not in os.environ:
        sys.exit("Set OPENAI_API_KEY: the model is OpenAI's.")
    asyncio.run(main(" ".join(sys.argv[1:]) or "How is the weather in Bogotá?"))
