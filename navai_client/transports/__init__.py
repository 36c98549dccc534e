"""How requests travel: the interfaces. This room is the only one of the client that opens sockets.

A transport *returns* a failure as a value, because only it knows whether the request had been sent. What it
raises is a programming error.
"""

import time
from typing import Protocol, runtime_checkable

from navai_client.wire._values import Request, Response, TransportFailure

__all__ = ["AsyncTransport", "Call", "Transport"]


class Call:
    """One attempt to get an answer: what it may take, and what is known of it so far.

    Attributes:
        deadline: When it must have ended, on the clock of ``time.monotonic()``, or None for never.
        max_response_bytes: How many decompressed bytes of a body may be kept.
        sent: Whether any byte of the request may have left. A transport sets it before it sends the first;
            a caller who leaves earlier takes the request with him, one who leaves later does not.
        left: Whether its caller has gone. Nothing of it is sent from then on. Whoever sends writes ``sent``
            and then reads ``left``, whoever leaves does the reverse, so that one always sees the other.
        cancellable: Whether the task of a call that was not sent may be cancelled. A transport that loses
            connections by that sets it to False before it awaits anything, and sends nothing once ``left``.
    """

    __slots__ = ("cancellable", "deadline", "left", "max_response_bytes", "sent")

    def __init__(self, *, timeout: float | None, max_response_bytes: int) -> None:
        self.deadline: float | None = None if timeout is None else time.monotonic() + timeout
        self.max_response_bytes: int = max_response_bytes
        self.sent: bool = False
        self.left: bool = False
        self.cancellable: bool = True

    def remaining(self) -> float | None:
        """Return the seconds that are left, never below 0, or None for no limit."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


@runtime_checkable
class Transport(Protocol):
    """Sends requests for ``NavaiBackendClient``. Used by any number of threads at the same time."""

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Send *request* and return what came of it, before ``call.deadline``.

        Redirects are not followed. A body of more than ``call.max_response_bytes`` is read no further and
        given as a truncated response.
        """

    def close(self) -> None:
        """Free what is held. Called once, when no call is under way."""


@runtime_checkable
class AsyncTransport(Protocol):
    """Sends requests for ``AsyncNavaiBackendClient``. Used by any number of tasks of one event loop."""

    async def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Send *request* and return what came of it, as ``Transport.send`` does."""

    async def close(self) -> None:
        """Free what is held. Called once, when no call is under way."""
