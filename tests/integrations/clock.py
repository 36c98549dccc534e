"""Tests on a clock of their own: a wait of a minute takes no time."""

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

from tests.integrations.loop import in_a_loop

__all__ = ["in_virtual_time"]

P = ParamSpec("P")

_LIMIT = 3600  # virtual seconds, after which a test counts as hanging
_PATIENCE = 20  # real seconds of waiting for something that no timer will end


class _Selector(selectors.DefaultSelector):
    """Moves the clock of its loop to the next timer, instead of waiting for it."""

    passed = 0.0
    busy = 0  # threads

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; if nothing is, let *timeout* seconds pass."""
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None or self.busy:
            return super().select(_PATIENCE)
        self.passed += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Selector()
        self._began = time.monotonic()
        super().__init__(self._clock)

    def time(self) -> float:
        """Return the virtual time."""
        return self._began + self._clock.passed

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """Call *func* in a thread, and let the clock stand still meanwhile."""
        self._clock.busy += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._returned)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the threads without the limit of ``asyncio.Runner``: the clock would jump over it."""
        await super().shutdown_default_executor()

    def _returned(self, _: object) -> None:
        self._clock.busy -= 1


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run *test* in an event loop with a clock that jumps; it fails if a task is left at its end.

    What it calls may use neither sockets nor threads of its own: the clock does not wait for them.
    """
    return in_a_loop(test, limit=_LIMIT, loop_factory=_Loop)
