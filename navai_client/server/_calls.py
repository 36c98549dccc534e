"""One call of a function: it ends once, with a result or a failure, for all that wait for it.

A call does not belong to a request: its callers may leave, and it goes on until it ends, is cancelled, or its
time is over. Everything here happens on the event loop.
"""

import asyncio
import math
from collections.abc import Callable

import msgspec

from navai_client.functions._context import FunctionContext


class FunctionFailure(Exception):  # noqa: N818 - it is not an error of the server
    """A call that failed; its caller gets the message."""


Outcome = bytes | FunctionFailure
"""The end of a call: its result as JSON, or a failure."""


class RunningCall(msgspec.Struct, eq=False):
    """A call, from its beginning until its outcome is forgotten.

    Attributes:
        name: The function's name.
        context: The function's context, if it takes one.
        running: The running calls, which include this one until it ends.
        outcome: Its result or failure; None while it runs, and if it was cancelled.
        late: The outcome of a call whose time is over, whatever it does after that.
        timeout: Seconds that it may take.
        deadline: When they are over, on the clock of the event loop.
        task: Runs it on the event loop.
        abandon: Abandons a call in a thread, which cannot be stopped.
        on_end: Called at the end, with the outcome, or with None if the call was cancelled.
    """

    name: str
    context: FunctionContext | None
    running: set["RunningCall"]
    ended: bool = False
    outcome: Outcome | None = None
    late: FunctionFailure | None = None
    timeout: float = math.inf
    deadline: float = math.inf
    task: asyncio.Task[None] | None = None
    abandon: Callable[[], None] | None = None
    on_end: Callable[[Outcome | None], None] | None = None
    _waiting: list[asyncio.Future[None]] | None = None

    async def wait(self) -> Outcome:
        """Wait for the end. Cancelling this changes nothing for the call.

        Raises:
            asyncio.CancelledError: This was cancelled, or the call itself.
        """
        if not self.ended:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting = [*(self._waiting or ()), waiter]
            await waiter
        if self.outcome is None:
            raise asyncio.CancelledError
        return self.outcome

    def end(self, outcome: Outcome | None) -> None:
        """End with *outcome*, or with None if the call was cancelled; only the first end counts."""
        if self.ended:
            return
        self.ended = True
        self.outcome = outcome if self.late is None else self.late
        self.running.discard(self)
        if self.on_end is not None:
            self.on_end(self.outcome)
        for waiter in self._waiting or ():
            if not waiter.done():
                waiter.set_result(None)
        # It may be kept for a long time, only for its outcome.
        self.context = self.task = self.abandon = self.on_end = self._waiting = None

    def cancel(self) -> None:
        """Stop the function if possible."""
        if self.context is not None:
            self.context.cancelled.set()
        if self.task is not None:
            # The function may clean up before the call ends, and has perhaps not begun.
            self.task.add_done_callback(lambda _: self.end(None))
            self.task.cancel()
        else:
            if self.abandon is not None:
                self.abandon()
            self.end(None)
