"""A correct backend in the event loop of the test, which notices clients that close too early."""

import asyncio
import json
import re
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Self

__all__ = ["LoopBackend"]


class LoopBackend:
    """Responds to execute with its payload, after waiting for what *hold* returns.

    Attributes:
        arrived: The payloads that came, in their order.
        abandoned: How many calls were given up by the client before they were answered.
        connections: How many connections were accepted.
        busy: How many calls are under way.
        open: How many connections are open.
    """

    def __init__(
        self,
        hold: Callable[[], Awaitable[Any]],
        *,
        keeps_connections: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.hold = hold
        self._tls = tls
        self._keeps_connections = keeps_connections
        self.arrived: list[Any] = []
        self.abandoned = 0
        self.connections = 0
        self.busy = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> int:
        return len(self._tasks)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1000, ssl=self._tls)
        scheme = "http" if self._tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.gather(*self._tasks)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            wanted = True
            while wanted:
                wanted = self._keeps_connections
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
                body = json.loads(await reader.readexactly(int(length[1]) if length else 0))
                self.arrived.append(body["payload"])
                self.busy += 1
                await self.hold()
                self.busy -= 1
                self.abandoned += reader.at_eof()
                content = json.dumps({"ok": True, "result": body["payload"]}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()
