"""One call under way: it ends once, with a result or a failure, for all who wait for it.

It belongs to nobody who waits: who leaves takes nothing along. Everything here happens on the event loop.
"""

import asyncio
from collections.abc import Callable

from navai_client.server.context import FunctionContext

__all__ = ["FunctionFailure", "Outcome", "RunningCall"]


class FunctionFailure(Exception):  # noqa: N818 - it is no error of the server
    """A call did not give a result; the message is what its caller may know."""


Outcome = bytes | FunctionFailure
"""What a call ends with: its result as JSON, or why there is none."""


class RunningCall:
    """A call that was begun.

    Attributes:
        name: The function's name.
        context: What the function was handed of its call, when it asked for it.
        outcome: What it ended with; None while it runs, and when it was cancelled.
        ended: Whether those who wait have been told.
        late: What it ends with in any case, once its time is over.
        timer: What ends it when its time is over.
        task: What runs it on the event loop, if anything does.
        let_go: Gives up a call in a thread, which nothing can stop.
        ends_itself: Whether it ends by itself when it is cancelled, having cleaned up, and not at once.
    """

    __slots__ = (
        "_among",
        "_then",
        "_waiting",
        "context",
        "ended",
        "ends_itself",
        "late",
        "let_go",
        "name",
        "outcome",
        "task",
        "timer",
    )

    def __init__(self, name: str, context: FunctionContext | None, among: set["RunningCall"]) -> None:
        """Be one of the calls *among* which it is until it ends."""
        self.name: str = name
        self.context = context
        self.outcome: Outcome | None = None
        self.ended: bool = False
        self.late: FunctionFailure | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None
        self.let_go: Callable[[], None] | None = None
        self.ends_itself: bool = False
        self._then: Callable[[Outcome | None], None] | None = None
        self._waiting: list[asyncio.Future[None]] | None = None
        self._among = among
        among.add(self)

    async def wait(self) -> Outcome:
        """Wait for the end. To be cancelled meanwhile changes nothing for the call.

        Raises:
            asyncio.CancelledError: The one who waits was cancelled, or the call itself, by the server's end.
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

    def then(self, tell: Callable[[Outcome | None], None]) -> None:
        """Have *tell* called with the outcome at the end, or with None when the call was cancelled."""
        if self.ended:
            tell(self.outcome)
        else:
            self._then = tell

    def end(self, outcome: Outcome | None) -> None:
        """End with *outcome*, or with None when the call was cancelled; only the first end counts."""
        if self.ended:
            return
        self.ended = True
        self.outcome = outcome if self.late is None else self.late
        self._among.discard(self)
        if self.timer is not None:
            self.timer.cancel()
        if self._then is not None:
            self._then(self.outcome)
        for waiter in self._waiting or ():
            if not waiter.done():
                waiter.set_result(None)
        # It may be kept for long, for its outcome alone.
        self.context = self.timer = self.task = self.let_go = self._then = self._waiting = None

    def cancel(self) -> None:
        """Tell the function that nobody needs its result any more, and stop it as far as that is possible."""
        if self.context is not None:
            self.context.cancelled.set()
        if self.task is not None:
            self.task.cancel()
        if self.let_go is not None:
            self.let_go()
        if not self.ends_itself:
            self.end(None)
