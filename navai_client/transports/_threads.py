"""Blocking work with a time limit: it runs on a thread that can be left behind.

Looking up a name, or a transport that is not of this package, can block for any time, and Python cannot
interrupt a thread. The caller goes on in time; the thread ends when its work does.
"""

import contextvars
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Final, TypeVar

T = TypeVar("T")

# Python handles a signal that comes just before a wait only when that wait ends, so none is longer than this.
_LONGEST_WAIT: Final = 0.5  # seconds


def run_within(timeout: float | None, work: Callable[[], T]) -> T:
    """Return what *work* returns, or raise what it raises.

    Args:
        timeout: Seconds to wait for it, or None for no limit.
        work: Runs on another thread, with the context variables of this one.

    Raises:
        TimeoutError: If it takes longer. It goes on in the background; its result is dropped.
    """
    future: Future[T] = Future()
    args = (future, contextvars.copy_context(), work)
    threading.Thread(target=_run, args=args, name="navai-client", daemon=True).start()
    until = math.inf if timeout is None else time.monotonic() + timeout
    try:
        while not future.done():
            if (left := until - time.monotonic()) <= 0:
                raise TimeoutError("time ran out")
            wait([future], min(left, _LONGEST_WAIT))
        return future.result()
    finally:
        del future, args  # an error of *work* would keep itself alive through this frame


def _run(future: Future[T], context: contextvars.Context, work: Callable[[], T]) -> None:
    try:
        future.set_result(context.run(work))
    except BaseException as error:  # noqa: BLE001 - any error belongs to the thread that waits
        future.set_exception(error)
