"""An event loop in a thread of its own: it runs coroutines for threads that have no loop."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from navai_client.errors import NavaiStateError

T = TypeVar("T")

_CLOSING_S: Final = 5.0

_Running = tuple[asyncio.AbstractEventLoop, asyncio.Event]


class LoopThread:
    """Runs coroutines on one event loop. The daemon thread starts with the first one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def run(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run *work* and return what it returns.

        Raises:
            TimeoutError: It took longer than *timeout* seconds, and was cancelled.
            NavaiStateError: The loop is closed.
        """
        try:
            loop = self._started()
        except NavaiStateError:
            work.close()
            raise
        result = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return result.result(timeout)
        except BaseException:
            result.cancel()  # also after KeyboardInterrupt
            raise

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Run *last*, cancel the remaining tasks, and end the thread; nothing can be run afterwards."""
        with self._lock:
            self._closed = True
            running, self._running = self._running, None
        if running is None or self._thread is None:
            last.close()
            return
        loop, stop = running
        asyncio.run_coroutine_threadsafe(last, loop).result(_CLOSING_S)
        loop.call_soon_threadsafe(stop.set)
        self._thread.join(_CLOSING_S)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                raise NavaiStateError("This backend is closed; make a new one.")
            if self._running is None:
                ready: Future[_Running] = Future()
                self._thread = threading.Thread(
                    target=asyncio.run, args=(_run_until_stopped(ready),), name=self._name, daemon=True
                )
                self._thread.start()
                self._running = ready.result()
            return self._running[0]


async def _run_until_stopped(ready: "Future[_Running]") -> None:
    stop = asyncio.Event()
    ready.set_result((asyncio.get_running_loop(), stop))
    await stop.wait()
