"""Blocking work in daemon threads, which callers can leave: a thread cannot be stopped from outside.

``CallThreads.run`` is for coroutines: synchronous functions of a server or a toolset. Each function has a
number of slots, so that a slow function does not delay the others; a call that is abandoned keeps its slot
until its function returns. ``run_within`` is for synchronous code: a name lookup, or a transport that is not
of this package. As the threads are daemons, abandoned calls do not keep the process alive.

A limit for all functions together bounds the threads, and another one the calls that wait for a slot. When
slots become free, the functions whose calls wait take turns.

Calls that have a slot wait in one queue. While a call waits there, a thread is free and about to take it: a
thread that takes a call and leaves others in the queue starts another thread first. So one thread makes many
quick calls in succession, and a slow call delays none of them.
"""

import asyncio
import contextvars
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol, TypeVar
from weakref import WeakSet

from attrs import Factory, define

T = TypeVar("T")

_IDLE: Final = 10.0  # seconds after which a thread without work ends
# Python handles a signal that comes just before a wait only when that wait ends, so none is longer than this.
_LONGEST_WAIT: Final = 0.5  # seconds


class NoThreadLeftError(Exception):
    """Abandoned calls that have not returned hold every slot, or too many calls wait for one already."""


@define(eq=False)
class _Slots:
    """The slots of one function: how many are taken, how many of these by abandoned calls, and what waits."""

    taken: int = 0
    abandoned: int = 0
    waiting: "deque[_Job]" = Factory(deque)


@define(eq=False)
class _Job:
    """One call, from the queue to its outcome."""

    slots: _Slots
    context: contextvars.Context
    call: Callable[[], Any]
    on_end: Callable[[Any, BaseException | None], object]
    begun: bool = False
    abandoned: bool = False
    returned: bool = False


class _Heir(Protocol):
    def forget_parent(self) -> None: ...


_heirs: Final[WeakSet[_Heir]] = WeakSet()


def forgets_parent(heir: _Heir) -> None:
    """Let ``heir.forget_parent()`` be called in each child of fork()."""
    _heirs.add(heir)


def _forget_parent() -> None:  # pragma: no cover - in the child nothing is measured
    for heir in list(_heirs):
        heir.forget_parent()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork()
    os.register_at_fork(after_in_child=_forget_parent)


class CallThreads:
    """Makes calls in threads, a bounded number of them for each function and in all."""

    def __init__(
        self,
        per_function: float = 64,
        *,
        in_all: float = math.inf,
        waiting: float = math.inf,
        idle: float = _IDLE,
    ) -> None:
        """Give each function *per_function* slots; further calls wait for one.

        Args:
            per_function: The slots of one function.
            in_all: The slots of all functions together.
            waiting: How many calls may wait for a slot.
            idle: Seconds after which a thread without work ends.
        """
        self._per_function = per_function
        self._in_all = in_all
        self._may_wait = waiting
        self._idle = idle
        self.forget_parent()
        forgets_parent(self)

    def forget_parent(self) -> None:
        """Begin anew: a child of fork() has none of the threads, and the lock may have been held."""
        self._taken = 0
        self._abandoned = 0
        self._waiting = 0
        self._turns: deque[_Slots] = deque()  # those for whom calls wait
        self._lock = threading.Lock()
        self._functions: dict[Hashable, _Slots] = {}
        self._queue: SimpleQueue[_Job] = SimpleQueue()
        self._queued = 0
        self._free = 0

    async def run(self, function: Hashable, call: Callable[[], T]) -> T:
        """Return the result of *call*, made by ``submit``; if this is cancelled, the call is abandoned."""
        done: asyncio.Future[tuple[Any, BaseException | None]] = asyncio.get_running_loop().create_future()

        def resolve(*outcome: Any) -> None:
            if not done.done():  # else it was cancelled just before
                done.set_result(outcome)

        abandon = self.submit(function, call, on_this_loop(resolve))
        try:
            result, error = await done
        except asyncio.CancelledError:
            abandon()
            raise
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def submit(
        self,
        function: Hashable,
        call: Callable[[], Any],
        on_end: Callable[[Any, BaseException | None], object],
        *,
        refusable: bool = True,
    ) -> Callable[[], bool]:
        """Make *call* in a thread.

        Args:
            function: The function whose slots the call takes.
            call: Made in a copy of this context.
            on_end: Called in that thread with the result or the exception, also if the call was abandoned.
            refusable: Whether it may be refused. What has begun elsewhere waits instead.

        Returns:
            Abandons the call, and returns whether it has begun. One that has not is never made; one that has
            keeps its slot until it returns.

        Raises:
            NoThreadLeftError: Every slot is held by abandoned calls, or too many calls wait.
        """
        with self._lock:
            slots = self._functions.get(function)
            if slots is None:
                slots = self._functions[function] = _Slots()
            job = _Job(slots, contextvars.copy_context(), call, on_end)
            thread_needed = False
            if slots.taken < self._per_function and self._taken < self._in_all:
                self._put(job)
                thread_needed = not self._free
                self._free += thread_needed
            elif refusable and (
                slots.abandoned >= self._per_function
                or self._abandoned >= self._in_all
                or self._waiting >= self._may_wait
            ):
                raise NoThreadLeftError
            else:
                if not slots.waiting:
                    self._turns.append(slots)
                slots.waiting.append(job)
                self._waiting += 1
        if thread_needed:
            self._start()
        return partial(self._abandon, job)

    @property
    def running(self) -> int:
        """How many slots are taken, those of abandoned calls included."""
        return self._taken

    @property
    def waiting(self) -> int:
        """How many calls wait for a slot."""
        return self._waiting

    def _abandon(self, job: _Job) -> bool:
        with self._lock:
            if job in job.slots.waiting:
                job.slots.waiting.remove(job)
                self._waiting -= 1
                if not job.slots.waiting:
                    self._turns.remove(job.slots)
            elif not job.abandoned and not job.returned:
                job.slots.abandoned += 1
                self._abandoned += 1
            job.abandoned = True
            return job.begun

    def _put(self, job: _Job) -> None:
        """Give a slot to a job; the lock is held."""
        job.slots.taken += 1
        self._taken += 1
        self._queued += 1
        self._queue.put(job)

    def _begin_next(self) -> None:
        """Give the slot that has become free to a call that waits, of the next function that may have one."""
        for _ in range(len(self._turns)):
            slots = self._turns.popleft()
            if slots.taken < self._per_function:
                self._put(slots.waiting.popleft())
                self._waiting -= 1
                if slots.waiting:
                    self._turns.append(slots)
                return
            self._turns.append(slots)

    def _start(self) -> None:
        """Start a thread, which has been counted as free."""
        try:
            threading.Thread(target=self._work, name="navai-call", daemon=True).start()
        except RuntimeError:
            # The system has no thread left: the existing threads take the calls; the next call tries again.
            with self._lock:
                self._free -= 1

    def _work(self) -> None:
        while True:
            try:
                job = self._queue.get(timeout=self._idle)
            except Empty:
                if self._may_end():
                    return
                continue
            with self._lock:
                self._queued -= 1
                self._free -= 1
                job.begun = not job.abandoned
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

    def _make(self, job: _Job) -> None:
        result = error = None
        if job.begun:
            try:
                result = job.context.run(job.call)
            # The boundary to foreign code in its thread: whatever is raised is passed to the caller.
            except BaseException as raised:  # noqa: BLE001
                error = raised
        with self._lock:
            slots = job.slots
            job.returned = True
            if job.abandoned:
                slots.abandoned -= 1
                self._abandoned -= 1
            slots.taken -= 1
            self._taken -= 1
            if self._turns:
                self._begin_next()
            self._free += 1
        if job.begun:
            job.on_end(result, error)


def on_this_loop(function: Callable[..., object]) -> Callable[..., None]:
    """Return a function that any thread can call: *function* is then called on the running event loop."""
    loop = asyncio.get_running_loop()

    def call(*args: Any) -> None:
        try:
            loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            return  # the loop is closed: nothing waits for the call

    return call


_unlimited: Final = CallThreads(math.inf)  # for calls that share no limit


async def run_in_thread(call: Callable[[], T]) -> T:
    """Return the result of *call*, as ``CallThreads.run`` does, without a limit for how many run."""
    return await _unlimited.run(None, call)


def run_within(timeout: float | None, call: Callable[[], T], threads: CallThreads | None = None) -> T:
    """Return the result of *call*, made in a thread in a copy of this context, or raise what it raises.

    Args:
        timeout: Seconds to wait for it, or None for no limit.
        call: What to do.
        threads: Whose threads to use, if their number is limited.

    Raises:
        NoThreadLeftError: As ``CallThreads.submit`` raises it.
        TimeoutError: It takes longer. It goes on in the background, and its result is dropped.
    """
    outcomes: SimpleQueue[tuple[T, BaseException | None]] = SimpleQueue()
    abandon = (threads or _unlimited).submit(None, call, lambda *outcome: outcomes.put(outcome))
    until = math.inf if timeout is None else time.monotonic() + timeout
    while True:
        left = until - time.monotonic()
        try:
            result, error = outcomes.get(timeout=max(0.0, min(left, _LONGEST_WAIT)))
        except Empty:
            if left > _LONGEST_WAIT:
                continue
            abandon()
            raise TimeoutError from None
        try:
            if error is not None:
                raise error
            return result
        finally:
            del error  # its traceback holds this frame, which would keep it alive
