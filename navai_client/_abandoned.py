"""Work that goes on when its caller leaves: calls of the client, of a toolset and of the server.

A voice agent cancels a call whenever a person interrupts it. What a backend was already asked to do, it does.
So the caller is released at once, and the call runs to its end in the background: its result or failure is
still learned, its connection can be used again, and ``close()`` can wait for it. Work that has not begun is
cancelled with its caller.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

# How long a cancelled task may take to clean up. One that ignores its cancellation must not hold up close().
_CLEANUP: Final = 1.0  # seconds


class BackgroundTasks:
    """The tasks of one owner, in one event loop, held until they are done: the loop itself holds them weakly.

    Args:
        logger: Where it is logged, at DEBUG, how an abandoned task ended.
        failure_of: Returns why a result is a failure, or None, for work that returns its failures.
    """

    def __init__(
        self, logger: logging.Logger, failure_of: Callable[[Any], str | None] = lambda _: None
    ) -> None:
        self._logger = logger
        self._failure_of = failure_of
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Return a task that runs *work*. *name* appears in the log."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.hold(task)
        return task

    def hold(self, task: asyncio.Task[Any]) -> None:
        """Hold *task* until it is done, and let ``close`` wait for it."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def abandon(self, task: asyncio.Task[Any]) -> None:
        """Hold *task*, whose result is no longer awaited; a failure is logged, not reported as lost."""
        self.hold(task)
        task.remove_done_callback(self._log_end)
        task.add_done_callback(self._log_end)

    def run(
        self, work: Coroutine[Any, Any, T], name: str, withdraw: Callable[[], bool] = lambda: False
    ) -> Coroutine[Any, Any, T]:
        """Run *work* in a task and return its result when it is awaited, as ``result`` does."""
        return self.result(asyncio.get_running_loop().create_task(work, name=name), withdraw)

    async def result(self, task: asyncio.Task[T], withdraw: Callable[[], bool] = lambda: False) -> T:
        """Return the result of *task*. When the caller is cancelled, the task is abandoned and goes on.

        Any number of callers can await the same task.

        Args:
            task: The task.
            withdraw: Called when the caller is cancelled before the task is done. Returns whether to cancel
                the task as well, because it has not begun and no other caller awaits it.
        """
        # Not asyncio.shield(): from Python 3.14 on it reports the failure of an abandoned task as lost.
        done = asyncio.get_running_loop().create_future()

        def wake(_: asyncio.Task[T]) -> None:
            if not done.done():
                done.set_result(None)

        task.add_done_callback(wake)
        try:
            await done
        except asyncio.CancelledError:
            self.abandon(task)
            if not task.done() and withdraw():
                task.cancel()
            raise
        return task.result()

    async def close(self, grace: float) -> None:
        """Wait up to *grace* seconds for the tasks, then cancel the rest: at once if this is interrupted."""
        late = {task for task in self._tasks if not task.get_loop().is_closed()}
        try:
            if late:
                _, late = await asyncio.wait(late, timeout=grace)
        finally:
            for task in late:
                task.cancel()
        if late:
            await asyncio.wait(late, timeout=_CLEANUP)

    def _log_end(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            end = "was cancelled"
        elif (error := task.exception()) is not None:
            end = f"failed: {type(error).__name__}"
        elif (failure := self._failure_of(task.result())) is not None:
            end = f"failed: {failure}"
        else:
            end = "ended"
        self._logger.debug("%s: went on in the background and %s.", task.get_name(), end)
