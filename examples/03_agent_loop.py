"""The loop of an async voice agent: get a secret, offer the functions, run what the model calls.

Needs: a backend (``navai serve --demo`` in another terminal, or NAVAI_API_URL); no key:
    a list of calls takes the model's place.
Run: python examples/03_agent_loop.py
For a real voice: a Realtime session, opened with ``secret.value``, from which the calls come; see example 05.
"""

import asyncio
import json
from typing import Any

import _explain

from navai_client import AsyncNavaiBackendClient, NavaiError

CALLS_OF_THE_MODEL: list[tuple[str, dict[str, Any]]] = [
    ("get_weather", {"location": "Bogotá"}),
    ("create_order", {"customer_id": "ana", "items": [{"product": "tea"}]}),
    ("cancel_order", {"order_id": "order-ana"}),  # the demo backend cannot: the model gets the reason
]


async def run_tool(client: AsyncNavaiBackendClient, name: str, arguments: dict[str, Any]) -> str:
    """Return the output of one tool call as JSON text for the model, also if it fails."""
    try:
        result = await client.execute_function(name, arguments, timeout=8)
    except NavaiError as error:
        return json.dumps({"ok": False, "error": str(error)})
    return json.dumps({"ok": True, "result": result})


async def main() -> None:
    async with AsyncNavaiBackendClient() as client:
        secret, functions = await asyncio.gather(client.create_client_secret(), client.list_functions())
        print(f"session opened with {secret}")
        tools = functions.to_openai_tools("realtime")
        print(f"{len(tools)} tools offered")
        outputs = await asyncio.gather(*(run_tool(client, *call) for call in CALLS_OF_THE_MODEL))
        for (name, _), output in zip(CALLS_OF_THE_MODEL, outputs, strict=True):
            print(f"{name}: {output}")


asyncio.run(main())
