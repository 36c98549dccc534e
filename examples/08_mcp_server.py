"""A server of the Model Context Protocol that offers the functions of a Navai backend.

Start a backend (``python -m navai_client.server --demo``) and tell a host, such as a desktop assistant or an
editor, to run this file::

    {"mcpServers": {"shop": {"command": "python", "args": ["examples/08_mcp_server.py"]}}}
"""

import asyncio

from navai_client import AsyncNavaiBackendClient
from navai_client.integrations.mcp import serve_stdio


async def main() -> None:
    async with AsyncNavaiBackendClient() as client:
        await serve_stdio(client, name="shop", read_only=["get_weather", "tell_time"])


if __name__ == "__main__":
    asyncio.run(main())
