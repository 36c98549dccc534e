"""Calls under way in an event loop: what happens to one when its caller leaves.

A voice agent cancels calls whenever somebody interrupts it. What the backend was already told to do, it does;
so the caller is let go at once, and the call that was sent is let finish on its own. A call of which nothing
was sent yet is taken back.
"""

import asyncio
import functools
import logging
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from navai_client.errors import NavaiStateError
from navai_client.transports import Call
from navai_client.wire._values import TransportFailure

__all__ = ["InFlight"]

T = TypeVar("T")

_log: Final = logging.getLogger("navai_client")


class InFlight:
    """The calls of one client, all in one event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left_behind: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, T], call: Call, name: str) -> T:
        """Return what *work* returns. If its caller leaves after ``call.sent``, it goes on."""
        task = asyncio.get_running_loop().create_task(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            call.left = True
            if not task.done():
                self.adopt(task, name)
                if call.cancellable and not call.sent:
                    task.cancel()
            raise

    def adopt(self, task: asyncio.Task[Any], name: str) -> None:
        """Keep *task* until it is done; its failure is logged, not lost."""
        self._left_behind.add(task)
        task.add_done_callback(functools.partial(self._drop, name=name))

    def check_loop(self) -> None:
        """Raise if the running event loop is not that of the first call."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise NavaiStateError("AsyncNavaiBackendClient needs a running asyncio event loop.") from None
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise NavaiStateError(
                "This client belongs to another event loop, where its connections are; "
                "make one client for each loop (each asyncio.run())."
            )

    async def finish(self, grace: float) -> None:
        """Wait up to *grace* seconds for calls whose callers have left, then cancel the rest."""
        if self._left_behind:
            _, late = await asyncio.wait(self._left_behind, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def _drop(self, task: asyncio.Task[Any], name: str) -> None:
        self._left_behind.discard(task)
        if task.cancelled():
            _log.debug("%s: went on in the background and was cancelled.", name)
        elif (error := task.exception()) is not None:
            _log.debug("%s: went on in the background and failed: %s", name, type(error).__name__)
        elif isinstance(outcome := task.result(), TransportFailure):
            _log.debug("%s: went on in the background and failed: %s", name, outcome.message)
        else:
            _log.debug("%s: went on in the background and is done.", name)
