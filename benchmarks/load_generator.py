"""A load generator for machines without wrk: sockets and a selector in one thread, and no more than that.

``python -m benchmarks.load_generator CONNECTIONS SECONDS URL METHOD PATH [BODY]`` prints its figures as JSON.
"""

import json
import selectors
import socket
import sys
import time
from urllib.parse import urlsplit

__all__ = ["main"]

BUFFER = 2**18
PATIENCE = 60  # seconds without any answer


class Connection:
    """One connection, with at most one request under way.

    Attributes:
        socket: What the selector watches.
        times: Seconds that each answer took.
        wrong: How many answers had no status of success.
    """

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.times: list[float] = []
        self.wrong = 0
        self._request = request

    def send(self) -> None:
        """Send the request."""
        self._head = b""
        self._missing: int | None = None
        self._began = time.perf_counter()
        self.socket.sendall(self._request)

    def receive(self) -> bool:
        """Read what has come, and return whether that was the end of the answer."""
        data = self.socket.recv(BUFFER)
        if not data:
            raise ConnectionError("The server closed a connection.")
        if self._missing is None:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return False
            _, _, rest = self._head[:end].lower().partition(b"\r\ncontent-length:")
            self._missing = int(rest.partition(b"\r\n")[0]) + end + 4 - len(self._head)
        else:
            self._missing -= len(data)
        if self._missing > 0:
            return False
        self.times.append(time.perf_counter() - self._began)
        self.wrong += not self._head.startswith(b"HTTP/1.1 2")
        return True


def main(connections: int, seconds: float, url: str, *request_line: str) -> None:
    """Load, and print the figures."""
    method, path, body = (*request_line, "")[:3]
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    entity = body.encode()
    kind = "Content-Type: application/json\r\n" if body else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{kind}Content-Length: {len(entity)}\r\n\r\n"
    request = head.encode() + entity
    every = [Connection((parts.hostname, parts.port), request) for _ in range(connections)]
    selector = selectors.DefaultSelector()
    for each in every:
        selector.register(each.socket, selectors.EVENT_READ, each)
    began = time.perf_counter()
    for each in every:
        each.send()
    end, waiting = began + seconds, connections
    while waiting:
        ready = selector.select(PATIENCE)
        if not ready:
            raise TimeoutError(f"The server has not answered for {PATIENCE} seconds.")
        for key, _ in ready:
            if not key.data.receive():
                continue
            if time.perf_counter() < end:
                key.data.send()
            else:
                waiting -= 1
    took = time.perf_counter() - began
    for each in every:
        each.socket.close()
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
    main(int(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:])
