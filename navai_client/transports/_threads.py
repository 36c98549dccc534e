"""Blocking work with a time limit: it runs on a thread that can be left behind.

Looking up a name, or a transport that is not of this package, can block for any time, and Python cannot
interrupt a thread. The caller goes on in time; the thread ends when its work does.
"""

import contextvars
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

# Python handles a signal that comes just before a wait only when that wait ends, so none is longer than this.
_LONGEST_WAIT: Final = 0.5  # seconds


class _Job(Generic[T]):
    """Work, and its result or error."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._context = contextvars.copy_context()
        self._value: T | None = None
        self._error: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()

    def run(self) -> None:
        try:
            self._value = self._context.run(self._work)
        except BaseException as error:  # noqa: BLE001 - any error belongs to the thread that waits
            self._error = error
        finally:
            self.done.release()

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]


class _Worker(threading.Thread):
    """A thread that runs one job after the other, and ends when it has none for a while."""

    IDLE = 10.0  # seconds

    def __init__(self) -> None:
        super().__init__(name="navai-client", daemon=True)
        self._wake = threading.Semaphore(0)
        self._job: _Job[Any] | None = None

    def give(self, job: _Job[Any]) -> None:
        self._job = job
        self._wake.release()

    def run(self) -> None:
        while True:
            if not self._wake.acquire(timeout=self.IDLE):
                with _lock:
                    if self in _idle:
                        _idle.remove(self)
                        return
                self._wake.acquire()  # it was taken just now, and its job comes
            job, self._job = self._job, None
            assert job is not None  # noqa: S101 - give() comes before every release
            job.run()
            del job  # so that what it holds is not held until the next
            with _lock:
                _idle.append(self)


_lock = threading.Lock()
_idle: deque[_Worker] = deque()


def _forget_workers() -> None:
    """A child of fork() has none of the threads of its parent."""
    global _lock  # noqa: PLW0603 - it may have been held at the moment of the fork
    _lock = threading.Lock()
    _idle.clear()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork()
    os.register_at_fork(after_in_child=_forget_workers)


def run_within(timeout: float | None, work: Callable[[], T]) -> T:
    """Return what *work* returns, or raise what it raises.

    Args:
        timeout: Seconds to wait for it, or None for no limit.
        work: Runs on another thread, with the context variables of this one.

    Raises:
        TimeoutError: If it takes longer. It goes on in the background; its result is dropped.
    """
    job = _Job(work)
    with _lock:
        worker = _idle.pop() if _idle else None
    if worker is None:
        worker = _Worker()
        worker.give(job)
        worker.start()
    else:
        worker.give(job)
    until = math.inf if timeout is None else time.monotonic() + timeout
    while not job.done.acquire(timeout=max(0.0, min(until - time.monotonic(), _LONGEST_WAIT))):
        if time.monotonic() >= until:
            raise TimeoutError
    return job.result()
