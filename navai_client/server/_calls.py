"""One call of a function: it ends once, with a result or a failure, for all that wait for it.

A call does not belong to a request: its callers may leave, and it goes on until it ends, is stopped, or its
time is over. A function in a thread cannot be stopped from outside: its callers are answered, and what it
returns later is kept for its key. Everything here happens on the event loop.
"""

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from navai_client.functions._context import FunctionContext

if TYPE_CHECKING:
    from navai_client.server._events import Progress

FAILED: Final = 200
CUT_OFF: Final = 409
NOT_BEGUN: Final = 503
PENDING: Final = 202


class Failure(msgspec.Struct, frozen=True):
    """A call without a result.

    Attributes:
        message: Why; its caller gets it.
        status: The HTTP status: 200 if the function failed; 503 if it has certainly not begun; 409 if it was
            cut off; 202 if it waits for approval.
        may_have_executed: Whether the function may still run, or may have acted, whatever the message says.
        retry_after: Seconds after which a call that has not begun may be sent again.
        error: What the message is about, for a function that failed.
        details_for_model: Whether the message was written for the caller, whose model may read it.
        approval_id: The id of the approval that it waits for.
    """

    message: str
    status: int = FAILED
    may_have_executed: bool = False
    retry_after: str = "1"
    error: str = "Function execution failed."
    details_for_model: bool = False
    approval_id: str = ""

    @property
    def has_begun(self) -> bool:
        """Whether this is an outcome, and not the refusal to begin."""
        return self.status != NOT_BEGUN


Outcome = bytes | Failure
"""The end of a call: its result as JSON, or a failure."""


class RunningCall(msgspec.Struct, eq=False):
    """A call, from its beginning until its outcome is forgotten.

    Attributes:
        name: The function's name.
        context: The function's context, if it takes one.
        progress: What the function says with it, for streams of events.
        running: The running calls, which include this one until its callers are answered.
        loop: The event loop that it belongs to. Asking for it costs a system call in Python 3.11.
        request_id: The id of the request that began it, for the log.
        outcome: Its result or failure, once it has ended.
        begun: Whether its function has begun; in a thread, this is known once it was told to stop.
        stopped: What a call that was told to stop ends with, unless it has a result nevertheless.
        timeout: Seconds that it may take.
        deadline: When its callers are answered at the latest, on the clock of the event loop.
        task: Runs it on the event loop.
        abandon: Abandons a call in a thread, and returns whether it has begun.
        on_end: Called at the end with the outcome, for a call with a key.
        recording: Records the outcome in a store outside of the process. Its callers wait for that, so that
            who has the response can rely on its repetition.
        is_replayed: Whether the outcome is that of another call, which had its key before.
        observe: Called at the end with the call and its outcome, where executions are counted.
    """

    name: str
    context: FunctionContext | None
    progress: "Progress | None"
    running: set["RunningCall"]
    loop: asyncio.AbstractEventLoop
    request_id: str = ""
    outcome: Outcome | None = None
    begun: bool = False
    stopped: Failure | None = None
    timeout: float = math.inf
    deadline: float = math.inf
    task: asyncio.Task[None] | None = None
    abandon: Callable[[], bool] | None = None
    on_end: Callable[[Outcome], None] | None = None
    recording: asyncio.Task[None] | None = None
    is_replayed: bool = False
    observe: Callable[["RunningCall", Outcome], None] | None = None
    _waiting: list[asyncio.Future[Outcome]] | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether a caller waits for its end."""
        return any(not waiter.done() for waiter in self._waiting or ())

    async def wait(self) -> Outcome:
        """Wait for the end, or for the answer to a call that goes on. Cancelling this changes nothing."""
        if self.outcome is not None and self.recording is None:
            return self.outcome
        waiter: asyncio.Future[Outcome] = self.loop.create_future()
        self._waiting = [*(self._waiting or ()), waiter]
        return await waiter

    def end(self, outcome: Outcome) -> None:
        """End with *outcome*; only the first end counts."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        if self.on_end is not None:
            self.on_end(outcome)
        if self.recording is None:
            self.close(outcome)
        if self.observe is not None:
            self.observe(self, outcome)
        self.context = self.task = self.abandon = self.on_end = self.observe = None

    def close(self, outcome: Outcome) -> None:
        """Answer the callers: the *outcome* was recorded, or that takes too long."""
        self.recording = None
        self.running.discard(self)
        self._answer(outcome)

    def stop(self, failure: Failure, unbegun: Failure) -> None:
        """Stop the function if possible: the call ends with *failure*, or with *unbegun* if it did not begin.

        A function on the event loop may clean up before the call ends.
        """
        if self.context is not None:
            self.context.cancelled.set()
        if self.task is not None:
            self.stopped = failure
            # A task that was cancelled before its first step never runs.
            self.task.add_done_callback(
                lambda task: self.end(failure if self.begun else unbegun) if task.cancelled() else None
            )
            self.task.cancel()
        elif self.abandon is not None and self.abandon():
            self.begun = True
            self.stopped = failure
            self.leave()
        else:
            self.end(unbegun)

    def leave(self) -> None:
        """Answer the callers of a call that was stopped and goes on. One without a key ends for good."""
        assert self.stopped is not None  # noqa: S101 - for type checkers
        if self.on_end is None:
            self.end(self.stopped)
        else:
            self.deadline = math.inf
            self._answer(self.stopped)

    def _answer(self, outcome: Outcome) -> None:
        for waiter in self._waiting or ():
            if not waiter.done():
                waiter.set_result(outcome)
        self._waiting = None
