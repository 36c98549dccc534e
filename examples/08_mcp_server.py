"""A server of the Model Context Protocol that offers the functions of a Navai backend.

Needs: pip install 'navai-client[mcp]'; no key;
    a backend (``navai serve --demo`` in another terminal, or NAVAI_API_URL).
Run: python examples/08_mcp_server.py, which says what it offers; a host, such as an editor, starts it itself:
    {"mcpServers": {"shop": {"command": "python", "args": ["examples/08_mcp_server.py"]}}}
For a real voice: a host that talks.
"""

import asyncio
import sys

import _explain

from navai_client import AsyncNavaiBackendClient
from navai_client.integrations.mcp import serve_stdio


async def main() -> None:
    async with AsyncNavaiBackendClient() as client:
        functions = await client.list_functions()
        functions.raise_for_error()
        print(
            f"Offering {', '.join(each.name for each in functions)}.", file=sys.stderr
        )  # standard output is the host's
        await serve_stdio(client, name="shop", read_only=["get_weather", "tell_time"])


if __name__ == "__main__":
    asyncio.run(main())
