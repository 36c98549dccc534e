"""One call of a function: it ends once, with a result or a failure, for everyone who waits for it.

A call does not belong to a request: its callers may leave, and it goes on until it ends, is cancelled, or its
time is over. Everything here happens on the event loop.
"""

import asyncio
from collections.abc import Callable

from navai_client.functions._context import FunctionContext


class FunctionFailure(Exception):  # noqa: N818 - it is not an error of the server
    """A call without a result; the message is what its caller may know."""


Outcome = bytes | FunctionFailure
"""How a call ends: with its result as JSON, or with a failure."""


class RunningCall:
    """A call, from its beginning until its outcome is forgotten.

    Attributes:
        name: The function's name.
        context: The function's context, if it takes one.
        outcome: How it ended; None while it runs, and if it was cancelled.
        ended: Whether it has ended.
        late: The outcome of a call whose time is over, whatever it does after that.
        timer: Ends it when its time is over.
        task: Runs it on the event loop.
        abandon: Abandons a call in a thread, which cannot be stopped.
        ends_itself: Whether it ends after its cancellation, when it has cleaned up, and not with it.
    """

    __slots__ = (
        "_on_end",
        "_running",
        "_waiting",
        "abandon",
        "context",
        "ended",
        "ends_itself",
        "late",
        "name",
        "outcome",
        "task",
        "timer",
    )

    def __init__(self, name: str, context: FunctionContext | None, running: set["RunningCall"]) -> None:
        """Be one of the calls that are *running*, until it ends."""
        self.name: str = name
        self.context = context
        self.outcome: Outcome | None = None
        self.ended: bool = False
        self.late: FunctionFailure | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None
        self.abandon: Callable[[], None] | None = None
        self.ends_itself: bool = False
        self._on_end: Callable[[Outcome | None], None] | None = None
        self._waiting: list[asyncio.Future[None]] | None = None
        self._running = running
        running.add(self)

    async def wait(self) -> Outcome:
        """Wait for the end. Cancelling this changes nothing for the call.

        Raises:
            asyncio.CancelledError: This was cancelled, or the call itself.
        """
        if not self.ended:
            waiter = asyncio.get_running_loop().create_future()
            if self._waiting is None:
                self._waiting = [waiter]
            else:
                self._waiting.append(waiter)
            await waiter
        if self.outcome is None:
            raise asyncio.CancelledError
        return self.outcome

    def on_end(self, callback: Callable[[Outcome | None], None]) -> None:
        """Call *callback* at the end, with the outcome, or with None if the call was cancelled."""
        self._on_end = callback

    def end(self, outcome: Outcome | None) -> None:
        """End with *outcome*, or with None if the call was cancelled; only the first end counts."""
        if self.ended:
            return
        self.ended = True
        self.outcome = outcome if self.late is None else self.late
        self._running.discard(self)
        if self.timer is not None:
            self.timer.cancel()
        if self._on_end is not None:
            self._on_end(self.outcome)
        for waiter in self._waiting or ():
            if not waiter.done():
                waiter.set_result(None)
        # It may be kept for long, for its outcome alone.
        self.context = self.timer = self.task = self.abandon = self._on_end = self._waiting = None

    def cancel(self) -> None:
        """Stop the function as far as that is possible."""
        if self.context is not None:
            self.context.cancelled.set()
        if self.task is not None:
            self.task.cancel()
        if self.abandon is not None:
            self.abandon()
        if not self.ends_itself:
            self.end(None)
