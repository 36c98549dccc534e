"""Bytes on a socket, for what no HTTP client sends."""

import contextlib
import select
import socket
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import urlsplit

import psutil

from tests.waiting import PATIENCE_S, until

__all__ = [
    "EXECUTE",
    "connect",
    "exchange",
    "get",
    "is_alive",
    "memory_of",
    "paused",
    "post",
    "read_all",
    "send_until_refused",
]

EXECUTE = "/navai/functions/execute"


def connect(url: str, *, receive_buffer: int | None = None) -> socket.socket:
    """Open a connection; with a small *receive_buffer*, the kernel takes little for a slow reader."""
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.settimeout(PATIENCE_S)
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    parts = urlsplit(url)
    connection.connect((parts.hostname, parts.port))
    return connection


def get(path: str, *headers: str) -> bytes:
    """Return a request without a body."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "host: 127.0.0.1", *headers, "", ""]).encode()


def post(path: str, body: bytes = b"{}", headers: Sequence[str] = ()) -> bytes:
    """Return a request with a JSON *body*."""
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json", *headers]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the peer closes the connection."""
    received = bytearray()
    try:
        while part := connection.recv(2**16):
            received += part
    except ConnectionError:
        pass  # it was reset, after what was received
    return bytes(received)


def exchange(url: str, *parts: bytes) -> bytes:
    """Send *parts* on a connection, and return what comes until the peer closes it."""
    with connect(url) as connection:
        send_until_refused(connection, parts, until_response=False)
        return read_all(connection)


def send_until_refused(
    connection: socket.socket, parts: Iterable[bytes], *, until_response: bool = True
) -> int:
    """Send *parts* until a response comes, or the peer takes no more; return the number of bytes."""
    sent = 0
    try:
        for part in parts:
            if until_response and select.select([connection], [], [], 0)[0]:
                break
            connection.sendall(part)
            sent += len(part)
    except (ConnectionError, TimeoutError):
        pass
    return sent


def is_alive(process: psutil.Process) -> bool:
    """Return whether *process* has not ended. One for which nobody has waited yet has ended, too."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def memory_of(pid: int) -> int:
    """Return the bytes of memory that a process occupies."""
    return int(psutil.Process(pid).memory_info().rss)


@contextlib.contextmanager
def paused(pid: int) -> Iterator[None]:
    """Pause a server: what is sent meanwhile is there as soon as it accepts the connection.

    So its time for the first bytes cannot pass while this process waits for a processor.
    """
    process = psutil.Process(pid)
    process.suspend()
    try:
        until(lambda: process.status() == psutil.STATUS_STOPPED)
        yield
    finally:
        process.resume()
