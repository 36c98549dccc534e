"""How requests are sent: the interface of a transport. Only this package of the client opens sockets.

A transport *returns* a failure as a value, because only it knows whether the request had been sent. What it
raises is a programming error.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from navai_client.wire._values import Endpoint, Request, Response, TransportFailure

if TYPE_CHECKING:
    from navai_client.wire._events import EventStream

__all__ = ["AsyncTransport", "Call", "Endpoint", "Request", "Response", "Transport", "TransportFailure"]


class Call:
    """One attempt to get a response: its limits, and its state.

    Attributes:
        deadline: When it must have ended, on the clock of ``time.monotonic()``, or None for no limit.
        max_response_bytes: The largest body that may be kept, in decompressed bytes.
        sent: Whether any byte of the request may have left. Set by ``mark_sent()``.
        abandoned: Whether its caller has left. Set by ``abandon()``.
        cancellable: Whether the task of a call that was not sent may be cancelled. A transport that would
            lose connections sets it to False before it awaits anything.
        on_abandon: Called, if set, when its caller leaves.
        events: Where to feed the body, as it arrives, if its caller wants progress and ``events.begin()``
            returns it, as for a stream of events; None for most calls. A transport that does not know of it
            returns the body as ever.
        report: Called with each message of progress, by ``deliver()``.
    """

    __slots__ = (
        "_accepts",
        "abandoned",
        "cancellable",
        "deadline",
        "events",
        "max_response_bytes",
        "on_abandon",
        "report",
        "sent",
    )

    def __init__(
        self,
        *,
        timeout: float | None,
        max_response_bytes: int,
        accepts: Callable[[Response], bool] | None = None,
    ) -> None:
        self.deadline: float | None = None if timeout is None else time.monotonic() + timeout
        self.max_response_bytes: int = max_response_bytes
        self.sent: bool = False
        self.abandoned: bool = False
        self.cancellable: bool = True
        self.on_abandon: Callable[[], None] | None = None
        self.events: EventStream | None = None
        self.report: Callable[[str], object] | None = None
        self._accepts = accepts

    def remaining(self) -> float | None:
        """Return the seconds that are left, never below 0, or None for no limit."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def mark_sent(self) -> None:
        """Note that the request leaves now. A transport calls this before it sends the first byte.

        Raises:
            TimeoutError: If no time is left, or the caller has left. Nothing may be sent then.
        """
        # The order matters between threads: this writes ``sent`` and then reads ``abandoned``, abandon() does
        # the reverse, so that one of them sees the other.
        if self.abandoned or (self.deadline is not None and self.deadline <= time.monotonic()):
            raise TimeoutError("time ran out")
        self.sent = True
        if self.abandoned:
            raise TimeoutError("the caller has left")

    def accepts(self, outcome: Response | TransportFailure) -> bool:
        """Return whether *outcome* may be the response to this call's request.

        A transport calls this before it uses a connection again, and closes one whose response belongs to
        another call: its responses have been shifted.
        """
        return self._accepts is None or not isinstance(outcome, Response) or self._accepts(outcome)

    def deliver(self) -> None:
        """Tell the caller of the progress that has arrived. A transport calls this between two pieces."""
        if self.events is not None and self.report is not None:
            for message in self.events.take():
                if not self.abandoned:
                    self.report(message)

    def abandon(self) -> None:
        """Note that the caller has left: what was sent goes on in the background, the rest is withdrawn."""
        self.abandoned = True
        if self.on_abandon is not None:
            self.on_abandon()


@runtime_checkable
class Transport(Protocol):
    """Sends requests for ``NavaiBackendClient``. Used by any number of threads at the same time."""

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Send *request* and return the response or the failure, before ``call.deadline``.

        Redirects are not followed. Of a body that exceeds ``call.max_response_bytes``, the beginning is
        returned, as a truncated response.
        """

    def close(self) -> None:
        """Release all resources. Called when no call is under way, and again if it was interrupted."""


@runtime_checkable
class AsyncTransport(Protocol):
    """Sends requests for ``AsyncNavaiBackendClient``. Used by any number of tasks of one event loop."""

    async def send(self, request: Request, call: Call) -> Response | TransportFailure:
        """Send *request* and return the outcome, as ``Transport.send`` does."""

    async def close(self) -> None:
        """Release all resources. Called once, when no call is under way."""
