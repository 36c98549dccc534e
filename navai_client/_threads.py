"""Threads for synchronous functions, for the server and for toolsets.

Each function has a number of slots, so that a slow function does not delay the others. A thread cannot be
stopped from outside: a call that is abandoned keeps its slot until its function returns. The threads are
daemons, so such a call does not keep the process alive.

Calls that have a slot wait in one queue. While a call waits there, a thread is free and about to take it: a
thread that takes a call and leaves others in the queue starts another thread first. So one thread makes many
quick calls in succession, and a slow call delays none of them.
"""

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable, Hashable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

T = TypeVar("T")

_IDLE_S: Final = 10.0  # seconds after which a thread without work ends


class NoThreadLeftError(Exception):
    """Abandoned calls that have not returned hold every slot of the function."""


class CallThreads:
    """Runs synchronous calls in threads, a bounded number of them for each function."""

    def __init__(self, per_function: int = 64, *, idle: float = _IDLE_S) -> None:
        """Give each function *per_function* slots; further calls wait for one.

        A thread that has had no work for *idle* seconds ends.
        """
        self._per_function = per_function
        self._idle_s = idle
        self._lock = threading.Lock()
        self._functions: dict[Hashable, _Slots] = {}
        self._queue: SimpleQueue[_Job] = SimpleQueue()
        self._queued = 0
        self._free = 0

    async def run(self, function: Hashable, call: Callable[[], T]) -> T:
        """Return the result of *call*, made in a thread. If this is cancelled, the call is abandoned.

        Args:
            function: The function whose slots the call takes.
            call: Made in a copy of this context.

        Raises:
            NoThreadLeftError: Every slot is held by abandoned calls.
        """
        done: asyncio.Future[tuple[Any, BaseException | None]] = asyncio.get_running_loop().create_future()

        def resolve(outcome: tuple[Any, BaseException | None]) -> None:
            if not done.done():  # else it was cancelled just before
                done.set_result(outcome)

        abandon = self.submit(function, partial(outcome_of, call), resolve)
        try:
            result, error = await done
        except asyncio.CancelledError:
            abandon()
            raise
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def submit(
        self, function: Hashable, call: Callable[[], Any], on_result: Callable[[Any], object]
    ) -> Callable[[], None]:
        """Make *call* in a thread; *on_result* gets its result on this event loop.

        Args:
            function: The function whose slots the call takes.
            call: Made in a copy of this context; it must not raise.
            on_result: Called on the running event loop, unless the call is abandoned before it returns.

        Returns:
            Abandons the call: it is not made or, if it runs already, keeps its slot until it returns.

        Raises:
            NoThreadLeftError: Every slot is held by abandoned calls.
        """
        job = _Job(asyncio.get_running_loop(), contextvars.copy_context(), call, on_result)
        with self._lock:
            slots = job.slots = self._functions.setdefault(function, _Slots())
            if slots.taken < self._per_function:
                slots.taken += 1
                self._put(job)
                thread_needed = not self._free
                self._free += thread_needed
            elif slots.abandoned >= self._per_function:
                raise NoThreadLeftError
            else:
                slots.waiting.append(job)
                thread_needed = False
        if thread_needed:
            self._start()
        return partial(self._abandon, job)

    @property
    def running(self) -> int:
        """How many slots are taken, those of abandoned calls included."""
        with self._lock:
            return sum(slots.taken for slots in self._functions.values())

    def _abandon(self, job: "_Job") -> None:
        with self._lock:
            slots = job.slots
            if job in slots.waiting:
                slots.waiting.remove(job)
            elif not job.abandoned and not job.returned:
                slots.abandoned += 1
            job.abandoned = True

    def _put(self, job: "_Job") -> None:
        """Queue a job that has its slot; the lock is held."""
        self._queued += 1
        self._queue.put(job)

    def _start(self) -> None:
        """Start a thread, which has been counted as free."""
        try:
            threading.Thread(target=self._work, name="navai-function", daemon=True).start()
        except RuntimeError:
            # The system has no thread left: the existing threads take the calls; the next call tries again.
            with self._lock:
                self._free -= 1

    def _work(self) -> None:
        while True:
            try:
                job = self._queue.get(timeout=self._idle_s)
            except Empty:
                if self._may_end():
                    return
                continue
            with self._lock:
                self._queued -= 1
                self._free -= 1
                thread_needed = bool(self._queued) and not self._free
                self._free += thread_needed
            if thread_needed:
                self._start()
            self._make(job)
            # The call's objects are released before this thread waits for the next one.
            del job

    def _may_end(self) -> bool:
        with self._lock:
            if self._queued:
                return False
            self._free -= 1
            return True

    def _make(self, job: "_Job") -> None:
        result = None if job.abandoned else job.context.run(job.call)
        with self._lock:
            slots = job.slots
            job.returned = True
            if job.abandoned:
                slots.abandoned -= 1
            if slots.waiting:
                self._put(slots.waiting.popleft())
            else:
                slots.taken -= 1
            self._free += 1
        job.finish(result)


def outcome_of(call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """Return the result of *call*, or the exception that it raises."""
    try:
        return call(), None
    # The boundary to foreign code in its thread. An exception as a value can also be a StopIteration.
    except BaseException as error:  # noqa: BLE001
        return None, error


class _Slots:
    """The slots of one function: how many are taken, how many of these by abandoned calls, and who waits."""

    __slots__ = ("abandoned", "taken", "waiting")

    def __init__(self) -> None:
        self.taken = 0
        self.abandoned = 0
        self.waiting: deque[_Job] = deque()


class _Job:
    """One call on its way to a thread and back."""

    __slots__ = ("_loop", "_on_result", "abandoned", "call", "context", "returned", "slots")

    slots: _Slots

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context,
        call: Callable[[], Any],
        on_result: Callable[[Any], object],
    ) -> None:
        self._loop = loop
        self._on_result = on_result
        self.context = context
        self.call = call
        self.abandoned = False
        self.returned = False

    def finish(self, result: Any) -> None:
        if self.abandoned:
            return
        try:
            self._loop.call_soon_threadsafe(self._on_result, result)
        except RuntimeError:
            return  # the loop is closed: nothing waits for the result
