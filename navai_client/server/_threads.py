"""Threads for synchronous functions: each function has its own few, so that a slow one blocks nobody else.

A thread cannot be stopped from outside. A call that was given up keeps its place until its function returns;
the threads are daemons, so that such a call does not keep the process alive either.

Calls wait in one queue. As long as one waits there, a thread is free and about to take it: a thread that
takes a call and leaves others behind sees to it that there is one more. So quick calls that come together are
made by one thread, one after the other, and a slow one holds up none of them.
"""

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable, Hashable
from queue import Empty, SimpleQueue
from typing import Any, Final

_IDLE_S: Final = 10.0


class NoThreadLeftError(Exception):
    """Every thread of this function is held by a call that was given up and has not returned."""


class CallThreads:
    """Runs synchronous calls in threads, a bounded number of them for each function."""

    def __init__(self, per_function: int = 64, *, idle: float = _IDLE_S) -> None:
        """Give each function at most *per_function* threads at a time; further calls wait for one.

        A thread that has had nothing to do for *idle* seconds ends.
        """
        self._per_function = per_function
        self._idle_s = idle
        self._lock = threading.Lock()
        self._lanes: dict[Hashable, _Lane] = {}
        self._queue: SimpleQueue[_Ticket] = SimpleQueue()
        self._queued = 0
        self._free = 0

    def submit(
        self, function: Hashable, call: Callable[[], Any], tell: Callable[[Any], object]
    ) -> Callable[[], None]:
        """Have *call* made as one of *function*'s; *tell* gets on this event loop what it returned.

        Args:
            function: Whose share of the threads it takes.
            call: Made in a thread, in a copy of this context; it raises nothing.
            tell: Called on the running event loop, unless the call was given up before it returned.

        Returns:
            What gives the call up: it is not made any more or, when it runs already, its thread stays counted
            until it returns.

        Raises:
            NoThreadLeftError: No thread is free, and none will be until a call returns that was given up.
        """
        ticket = _Ticket(asyncio.get_running_loop(), contextvars.copy_context(), call, tell)
        with self._lock:
            lane = ticket.lane = self._lanes.setdefault(function, _Lane())
            if lane.running < self._per_function:
                lane.running += 1
                self._put(ticket)
                alone = not self._free
                self._free += alone
            elif lane.given_up >= self._per_function:
                raise NoThreadLeftError
            else:
                lane.waiting.append(ticket)
                alone = False
        if alone:
            self._start()
        return lambda: self._give_up(ticket)

    @property
    def running(self) -> int:
        """How many calls hold a thread now, those that were given up included."""
        with self._lock:
            return sum(lane.running for lane in self._lanes.values())

    def _give_up(self, ticket: "_Ticket") -> None:
        with self._lock:
            lane = ticket.lane
            if ticket in lane.waiting:
                lane.waiting.remove(ticket)
            elif not ticket.given_up and not ticket.returned:
                lane.given_up += 1
            ticket.given_up = True

    def _put(self, ticket: "_Ticket") -> None:
        """Queue what has its place; the lock is held."""
        self._queued += 1
        self._queue.put(ticket)

    def _start(self) -> None:
        """Start a thread, which has been counted as free."""
        try:
            threading.Thread(target=self._work, name="navai-function", daemon=True).start()
        except RuntimeError:
            # The system has none to spare: the threads there are take the calls; the next call tries again.
            with self._lock:
                self._free -= 1

    def _work(self) -> None:
        while True:
            try:
                ticket = self._queue.get(timeout=self._idle_s)
            except Empty:
                if self._may_end():
                    return
                continue
            with self._lock:
                self._queued -= 1
                self._free -= 1
                alone = bool(self._queued) and not self._free
                self._free += alone
            if alone:
                self._start()
            self._make(ticket)
            # Nothing of the call is kept while this thread waits for the next one.
            del ticket

    def _may_end(self) -> bool:
        with self._lock:
            if self._queued:
                return False
            self._free -= 1
            return True

    def _make(self, ticket: "_Ticket") -> None:
        result = None if ticket.given_up else ticket.context.run(ticket.call)
        with self._lock:
            lane = ticket.lane
            ticket.returned = True
            if ticket.given_up:
                lane.given_up -= 1
            if lane.waiting:
                self._put(lane.waiting.popleft())
            else:
                lane.running -= 1
            self._free += 1
        ticket.finish(result)


class _Lane:
    """One function's calls: how many run, how many of these were given up, and who waits."""

    __slots__ = ("given_up", "running", "waiting")

    def __init__(self) -> None:
        self.running = 0
        self.given_up = 0
        self.waiting: deque[_Ticket] = deque()


class _Ticket:
    """One call on its way through a lane."""

    __slots__ = ("_loop", "_tell", "call", "context", "given_up", "lane", "returned")

    lane: _Lane

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context,
        call: Callable[[], Any],
        tell: Callable[[Any], object],
    ) -> None:
        self._loop = loop
        self._tell = tell
        self.context = context
        self.call = call
        self.given_up = False
        self.returned = False

    def finish(self, result: Any) -> None:
        if self.given_up:
            return
        try:
            self._loop.call_soon_threadsafe(self._tell, result)
        except RuntimeError:
            return  # the loop has closed: nobody is left to hear it
