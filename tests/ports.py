"""Ports that no process has but the servers that a test starts."""

import contextlib
import socket
from collections.abc import Iterator

__all__ = ["reserved_port"]


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """Give a port that refuses connections, unless a server listens there that a test tells of it.

    The system gives it to nobody who asks for any port, also while the server is down. On Linux, sockets with
    SO_REUSEADDR can share a port until one of them listens; servers set it, to be started again at once.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])
