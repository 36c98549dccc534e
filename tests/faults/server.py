"""A backend that misbehaves deliberately, on raw sockets, because no HTTP server would do this."""

import contextlib
import gzip
import json
import re
import socket
import struct
import threading
from collections.abc import Callable
from typing import Final, Self

__all__ = ["FAULTS", "OK", "FaultServer", "Peer", "answer"]

# One response that is valid for all operations but speech.
OK: Final = json.dumps(
    {"ok": True, "result": "done", "items": [], "value": "ek_0123456789", "expires_at": None}
)


class Peer:
    """One connection, as the server sees it."""

    def __init__(self, server: "FaultServer", connection: socket.socket) -> None:
        self._server = server
        self._connection = connection
        self._received = b""

    def request(self) -> bytes | None:
        """Read one request, count it and return its body; None if none arrives."""
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            if not self._receive():
                return None
        head = self._received[:end]
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        whole = end + 4 + (int(length[1]) if length else 0)
        while len(self._received) < whole:
            if not self._receive():
                return None
        body = self._received[end + 4 : whole]
        self._received = self._received[whole:]
        self._server.arrived.append((head.split(b" ")[1].decode(), head, body))
        return body

    def _receive(self) -> bool:
        data = self._connection.recv(65536)
        self._received += data
        return bool(data)

    def send(self, data: bytes) -> None:
        """Send *data*."""
        self._connection.sendall(data)

    def drip(self, data: bytes) -> None:
        """Send *data* byte by byte, so that no single wait is long."""
        for index in range(len(data)):
            self.send(data[index : index + 1])
            if self._server.stopping.wait(0.02):
                return

    def flood(self, data: bytes) -> None:
        """Send *data* repeatedly, as fast as the client reads it."""
        while not self._server.stopping.is_set():
            self.send(data)

    def silence(self) -> None:
        """Do nothing until the client leaves or the test is over."""
        while self._receive():
            pass

    def wait(self, timeout: float | None = None) -> None:
        """Do nothing for *timeout* seconds or until the test is over."""
        self._server.stopping.wait(timeout)

    def reset(self) -> None:
        """End the connection with a reset instead of an orderly close."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def half_close(self) -> None:
        """Send no more, but go on reading."""
        self._connection.shutdown(socket.SHUT_WR)
        self.silence()


Fault = Callable[[Peer], object]


class FaultServer:
    """Treats each connection with *fault*, each on a thread of its own, on a free port of this machine.

    Args:
        fault: What to do with a connection.
        uds: The path of a Unix socket to listen on instead.

    Attributes:
        arrived: Path, head and body of every whole request that came.
        connections: How many connections were accepted.
    """

    def __init__(self, fault: Fault, uds: str | None = None) -> None:
        self._fault = fault
        if uds is None:
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
            self.port: int = self._listener.getsockname()[1]
            self.url = f"http://127.0.0.1:{self.port}"
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(uds)
            self._listener.listen(200)
            self.url = "http://backend.test"
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.arrived: list[tuple[str, bytes, bytes]] = []
        self.connections = 0
        self.stopping = threading.Event()

    def count(self, part: str) -> int:
        """Return how many requests came for a path that has *part*."""
        return sum(part in path for path, _, _ in self.arrived)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if connection.family == socket.AF_INET:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else two sends wait 40 ms
            self.connections += 1
            self._open.add(connection)
            thread = threading.Thread(target=self._treat, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _treat(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self._fault(Peer(self, connection))
        self._open.discard(connection)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()


def answer(body: bytes | str, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """Return a whole response."""
    content = body.encode() if isinstance(body, str) else body
    length = len(content) if length is None else length
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {length}", *headers]
    return "\r\n".join((*lines, "", "")).encode() + content


def _after_request(act: Callable[[Peer], object]) -> Fault:
    def fault(peer: Peer) -> None:
        if peer.request() is not None:
            act(peer)

    return fault


def _sends(data: bytes) -> Fault:
    return _after_request(lambda peer: peer.send(data))


def _answers(data: bytes) -> Fault:
    """Send this response to every request of a connection."""

    def fault(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(data)

    return fault


def _then(data: bytes, act: Callable[[Peer], object]) -> Fault:
    def both(peer: Peer) -> None:
        peer.send(data)
        act(peer)

    return _after_request(both)


_CHUNKED: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_GZIPPED: Final = gzip.compress(OK.encode() + b" " * 5000)
_BOMB: Final = gzip.compress(b" " * 64 * 2**20, compresslevel=9)
_LARGE: Final = b'"' + b"x" * (64 * 2**20 - 2) + b'"'

FAULTS: Final[dict[str, Fault]] = {
    "resets on accept": Peer.reset,
    "closes on accept": lambda peer: None,
    "resets after the request": _after_request(Peer.reset),
    "closes after the request": _after_request(lambda peer: None),
    "resets in the headers": _then(b"HTTP/1.1 200 OK\r\nContent-", Peer.reset),
    "resets in the body": _then(answer("{", length=100), Peer.reset),
    "truncates the headers": _sends(b"HTTP/1.1 200 OK\r\nContent-"),
    "announces more than it sends": _sends(answer(OK, length=len(OK) + 100)),
    "announces less than it sends": _sends(answer(OK, length=5)),
    "announces nonsense as a length": _sends(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}"),
    "announces two lengths": _sends(answer(OK, "Content-Length: 7")),
    "announces a length of 5000 digits": _sends(
        b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n" % (b"9" * 5000)
    ),
    "sends a bad chunk": _sends(_CHUNKED + b"zz\r\nhello\r\n"),
    "sends a negative chunk": _sends(_CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n"),
    "codes its transfer in an unknown way": _then(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n" + OK.encode(), Peer.silence
    ),
    "ends within a chunk": _sends(_CHUNKED + b"ff\r\nhello"),
    "sends endless headers": _then(
        b"HTTP/1.1 200 OK\r\n", lambda peer: peer.flood(b"X-Header: value\r\n" * 100)
    ),
    "sends one endless header": _then(b"HTTP/1.1 200 OK\r\nX: ", lambda peer: peer.flood(b"x" * 1000)),
    "drips headers": _then(b"HTTP/1.1 200 OK\r\n", lambda peer: peer.drip(b"X-Header: value\r\n" * 100)),
    "sends an endless body": _then(_CHUNKED, lambda peer: peer.flood(b"3e8\r\n%b\r\n" % (b" " * 1000))),
    "drips a body": _then(answer("", length=5000), lambda peer: peer.drip(b" " * 5000)),
    "drips chunks": _then(_CHUNKED, lambda peer: peer.drip(b"1\r\n \r\n" * 1000)),
    "is slow with the first byte": _after_request(lambda peer: peer.wait(60)),
    "never answers": _after_request(Peer.silence),
    "never reads": lambda peer: peer.wait(),
    "floods with 100 Continue": _after_request(
        lambda peer: peer.flood(b"HTTP/1.1 100 Continue\r\n\r\n" * 50)
    ),
    "drips 100 Continue": _after_request(lambda peer: peer.drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 500)),
    "redirects to itself": _answers(
        answer("", "Location: /navai/functions", status="307 Temporary Redirect")
    ),
    "sends a gzip bomb": _sends(answer(_BOMB, "Content-Encoding: gzip")),
    "sends broken gzip": _sends(answer(b"\x1f\x8b\x08" + b"\xff" * 200, "Content-Encoding: gzip")),
    "cuts gzip short": _sends(answer(_GZIPPED[:-12], "Content-Encoding: gzip")),
    "sends a bad status line": _sends(b"HTTP/1.1 fine\r\n\r\n"),
    "sends garbage": _sends(b"\x00\x01\x02\xff" * 50),
    "speaks HTTP/0.9": _sends(b"<html>hello</html>"),
    "announces a gigabyte": _then(answer("{", length=2**30), Peer.silence),
    "sends 64 MiB of JSON": _sends(answer(_LARGE)),
    "sends invalid UTF-8": _answers(answer(b"\xff\xfe\xfd")),
    "answers with TLS": _sends(b"\x15\x03\x03\x00\x02\x02\x46"),
    "is busy for long": _answers(answer("{}", "Retry-After: 100", status="429 Too Many Requests")),
    "is down for long": _answers(answer("{}", "Retry-After: 100", status="503 Service Unavailable")),
    "ends its half": _after_request(Peer.half_close),
    "switches protocols": _sends(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\n\r\n" + OK.encode()),
}
