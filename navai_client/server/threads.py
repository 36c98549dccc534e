"""Threads for synchronous functions: each function has its own few, so that a slow one blocks nobody else.

A thread cannot be stopped from outside. A call that was given up keeps its place until its function returns;
the threads are daemons, so that such a call does not keep the process alive either.
"""

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable, Hashable
from queue import Empty, SimpleQueue
from typing import Any, Final

__all__ = ["CallThreads", "NoThreadLeftError"]

Job = Callable[[], None]

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
        self._lock = threading.Lock()
        self._lanes: dict[Hashable, _Lane] = {}
        self._idle: list[_Worker] = []
        self._idle_s = idle

    async def run(self, function: Hashable, call: Callable[[], Any]) -> Any:
        """Run *call* as one of *function*'s and return what it returns; *call* raises nothing.

        Cancelled (as by a timeout), it lets go of the call; its thread stays counted until the call returns.

        Raises:
            NoThreadLeftError: No thread is free, and none will be until a call returns that was given up.
        """
        lane = self._enter(function)
        ticket = _Ticket(asyncio.get_running_loop())
        with self._lock:
            if lane.running < self._per_function:
                lane.running += 1
                ticket.started.set_result(None)
            elif lane.given_up >= self._per_function:
                raise NoThreadLeftError
            else:
                lane.waiting.append(ticket)
        try:
            await ticket.started
            copied = contextvars.copy_context()
            ticket.submitted = True
            self._submit(lambda: self._work(lane, ticket, lambda: copied.run(call)))
            return await ticket.finished
        except asyncio.CancelledError:
            self._give_up(lane, ticket)
            raise

    @property
    def running(self) -> int:
        """How many calls hold a thread now, those that were given up included."""
        with self._lock:
            return sum(lane.running for lane in self._lanes.values())

    def _enter(self, function: Hashable) -> "_Lane":
        with self._lock:
            return self._lanes.setdefault(function, _Lane())

    def _work(self, lane: "_Lane", ticket: "_Ticket", call: Callable[[], Any]) -> None:
        result = call()
        with self._lock:
            ticket.returned = True
            if ticket.given_up:
                lane.given_up -= 1
            self._next(lane)
        ticket.finish(result)

    def _give_up(self, lane: "_Lane", ticket: "_Ticket") -> None:
        with self._lock:
            if ticket in lane.waiting:
                lane.waiting.remove(ticket)
            elif not ticket.submitted:
                self._next(lane)
            elif not ticket.returned:
                ticket.given_up = True
                lane.given_up += 1

    def _next(self, lane: "_Lane") -> None:
        """Hand a place in *lane* to whoever has waited longest; the lock is held."""
        if lane.waiting:
            lane.waiting.popleft().start()
        else:
            lane.running -= 1

    def _submit(self, job: Job) -> None:
        with self._lock:
            if self._idle:
                self._idle.pop().jobs.put(job)
                return
        _Worker(job, self._lock, self._idle, self._idle_s)


class _Lane:
    """One function's calls: how many run, how many of these were given up, and who waits."""

    __slots__ = ("given_up", "running", "waiting")

    def __init__(self) -> None:
        self.running = 0
        self.given_up = 0
        self.waiting: deque[_Ticket] = deque()


class _Ticket:
    """One call on its way through a lane."""

    __slots__ = ("_loop", "finished", "given_up", "returned", "started", "submitted")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.started: asyncio.Future[None] = loop.create_future()
        self.finished: asyncio.Future[Any] = loop.create_future()
        self.submitted = False
        self.returned = False
        self.given_up = False

    def start(self) -> None:
        self._tell(self.started, None)

    def finish(self, result: Any) -> None:
        self._tell(self.finished, result)

    def _tell(self, future: asyncio.Future[Any], result: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(_settle, future, result)
        except RuntimeError:
            return  # the loop has closed: nobody is left to hear it


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


class _Worker:
    """One daemon thread and its next job; it ends after some seconds without one."""

    def __init__(self, first: Job, lock: threading.Lock, idle: list["_Worker"], idle_s: float) -> None:
        self.jobs: SimpleQueue[Job] = SimpleQueue()
        self.jobs.put(first)
        self._lock = lock
        self._idle = idle
        self._idle_s = idle_s
        threading.Thread(target=self._run, name="navai-function", daemon=True).start()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            job()
            del job
            with self._lock:
                self._idle.append(self)

    def _next(self) -> Job | None:
        try:
            return self.jobs.get(timeout=self._idle_s)
        except Empty:
            with self._lock:
                # Taken off the list a moment ago, it has a job by now: both are done under the lock.
                self._idle[:] = [each for each in self._idle if each is not self]
                return None if self.jobs.empty() else self.jobs.get()
