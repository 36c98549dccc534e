"""An HTTP server that is not the bottleneck: it answers every request with prepared bytes.

``/SIZE/...`` is answered as an executed function whose result has that many bytes, anything else as OpenAI
answers a request for a client secret. Run ``python -m benchmarks.fixed_server``: it prints its URL.
"""

import asyncio
from functools import cache
from typing import cast

import uvloop

from benchmarks.calls import compact, result_of

__all__ = ["main"]

MINTED = {"value": "ek_minted", "expires_at": 4102444800, "session": {"type": "realtime"}}
HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}"


@cache
def answer_to(path: str) -> bytes:
    """Return the complete response to a request for *path*."""
    size = path.split("/", 2)[1]
    result = (
        {"ok": True, "function_name": "f", "source": "s", "result": result_of(int(size))}
        if size.isdecimal()
        else MINTED
    )
    body = compact(result)
    return HEAD.format(len(body), body).encode()


@cache
def read_head(head: bytes) -> tuple[int, bytes]:
    """Return the length of the body after *head*, and the response. Clients repeat their headers."""
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0, answer_to(head.split(b" ", 2)[1].decode())


class Answering(asyncio.Protocol):
    """One connection: reads requests and writes responses, parsing as little as possible."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class does not derive from it

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length, answer = read_head(self._buffer[:end])
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            self._transport.write(answer)


async def main() -> None:
    """Serve on a free port of this machine."""
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
