"""How a caller hears of the progress of its call: by a function of its own, whatever that does."""

import asyncio
import contextvars
import inspect
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from navai_client.errors import NavaiConfigError

OnProgress = Callable[[str], object]

_MOST_WAITING: Final = 16  # messages for a function that is slow; it gets the latest
_log: Final = logging.getLogger("navai_client")


def checked_on_progress(given: Any, *, is_async: bool) -> OnProgress:
    """Return *given*, a function that can be called with a message.

    Raises:
        NavaiConfigError: If it is none, or has to be awaited where nothing can.
    """
    if not callable(given):
        raise NavaiConfigError(f"on_progress must be a function; it is {given!r}.")
    if inspect.iscoroutinefunction(given) and not is_async:
        raise NavaiConfigError("on_progress is async; use AsyncNavaiBackendClient with it.")
    return given  # type: ignore[no-any-return]


class Reports:
    """Calls *on_progress* with each message, in the thread in which it arrives."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress

    def __call__(self, message: str) -> None:
        try:
            self._on_progress(message)
        # The boundary to the caller's code: what it raises must not lose the outcome of its call.
        except Exception:  # noqa: BLE001
            _log.exception("on_progress failed; the call goes on.")


class AsyncReports:
    """Calls *on_progress* with one message after the other, in a task: a slow one holds up no response."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._waiting: deque[str] = deque(maxlen=_MOST_WAITING)
        self._context = contextvars.copy_context()  # messages arrive in that of the connection
        self._task: asyncio.Task[None] | None = None

    def __call__(self, message: str) -> None:
        self._waiting.append(message)
        if self._task is None:
            work = self._work()
            self._task = asyncio.get_running_loop().create_task(work, context=self._context)

    async def _work(self) -> None:
        while self._waiting:
            try:
                returned = self._on_progress(self._waiting.popleft())
                if inspect.isawaitable(returned):
                    await returned
            except Exception:  # noqa: BLE001 - as above
                _log.exception("on_progress failed; the call goes on.")
        self._task = None

    async def end(self, timeout: float | None, *, is_cancelled: bool) -> None:
        """Wait up to *timeout* seconds for the messages that have arrived, unless the call was cancelled."""
        task = self._task
        if task is None:
            return
        try:
            if not is_cancelled:
                await asyncio.wait((task,), timeout=timeout)
        finally:
            task.cancel()
