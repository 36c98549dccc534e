"""A load generator for machines without wrk: one process that does as little work per request as possible.

``python -m benchmarks.load_generator CONNECTIONS SECONDS URL METHOD PATH [BODY [KEY]]`` prints its figures
as JSON. KEY begins the ``Idempotency-Key`` of each request.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import cast
from urllib.parse import urlsplit

import uvloop

__all__ = ["main"]

PATIENCE = 60  # seconds to wait for the last responses


@cache
def read_head(head: bytes) -> tuple[int, bool]:
    """Return the length of the body after *head*, and whether the status is 2xx."""
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]), head.startswith(b"HTTP/1.1 2")


class Loading(asyncio.Protocol):
    """One connection, with one request in flight at a time.

    Attributes:
        times: Seconds that each answer took.
        wrong: How many answers had no status of success.
        done: Is set when the last answer has come, or the connection was lost.
    """

    def __init__(self, request: Callable[[], bytes], end: float) -> None:
        self.times: list[float] = []
        self.wrong = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._end = end
        self._head = b""
        self._missing: int | None = None  # bytes of the response, once its headers have been read
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class does not derive from it
        self._send()

    def data_received(self, data: bytes) -> None:
        if self._missing is None:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            length, success = read_head(self._head[:end])
            self.wrong += not success
            self._missing = length + end + 4 - len(self._head)
        else:
            self._missing -= len(data)
        if self._missing > 0:
            return
        now = time.perf_counter()
        self.times.append(now - self._began)
        if now < self._end:
            self._send()
        elif not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("The server closed a connection."))

    def _send(self) -> None:
        self._head = b""
        self._missing = None
        self._began = time.perf_counter()
        self._transport.write(self._request())


async def main(connections: int, seconds: float, url: str, *request_line: str) -> None:
    """Load the server and print the figures."""
    method, path, body, key = (*request_line, "", "")[:4]
    numbers = itertools.count()
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    entity = body.encode()
    kind = "Content-Type: application/json\r\n" if body else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{kind}Content-Length: {len(entity)}\r\n\r\n"
    request = head.encode() + entity

    def keyed() -> bytes:
        return request.replace(b"\r\n", b"\r\nIdempotency-Key: %s%d\r\n" % (key.encode(), next(numbers)), 1)

    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    every = []
    for _ in range(connections):
        _, protocol = await loop.create_connection(
            lambda: Loading(keyed if key else lambda: request, began + seconds), parts.hostname, parts.port
        )
        every.append(protocol)
    async with asyncio.timeout(seconds + PATIENCE):
        await asyncio.gather(*(each.done for each in every))
    took = time.perf_counter() - began
    times = sorted(took for each in every for took in each.times)
    figures = {
        "requests": len(times),
        "seconds": took,
        "p50": times[len(times) // 2] * 1e3,
        "p99": times[len(times) * 99 // 100] * 1e3,
        "wrong": sum(each.wrong for each in every),
    }
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:]))
