"""A backend that answers well, and a look at what a transport keeps."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.server import FaultServer, Peer, answer

__all__ = ["echo", "waiting"]


def echo(peer: Peer) -> None:
    """Answer each execution with its payload."""
    while (body := peer.request()) is not None:
        peer.send(answer(body.replace(b'"function_name":"f","payload"', b'"ok":true,"result"')))


@pytest.fixture
def backend() -> Iterator[FaultServer]:
    """A backend that answers each execution with its payload."""
    with FaultServer(echo) as server:
        yield server


def waiting(transport: Any) -> list[Any]:
    """Return the connections of *transport* that wait for a call."""
    idle = transport._idle
    return [connection for waiting in idle._waiting.values() for connection in waiting]
