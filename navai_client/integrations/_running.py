"""Calls under way: each in a task of its own, once for each call id, and waited for at the end.

A caller that leaves (a voice agent is interrupted all the time) takes nothing with it but its patience: what
was begun goes on, and who asks again with the same call id gets what came of it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Final

import attrs

from navai_client.integrations.tools import ToolOutcome

__all__ = ["Begun", "Running"]

_MOST_REMEMBERED: Final = 128


@attrs.define(eq=False)
class Begun:
    """Whether a call has been handed to what runs it: from then on it is let finish."""

    value: bool = False


@attrs.define(eq=False)
class _Record:
    key: str
    begun: Begun
    task: "asyncio.Task[ToolOutcome]"
    waiting: int = 0


class Running:
    """The calls of one toolset."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, _Record] = OrderedDict()
        self._tasks: set[asyncio.Future[Any]] = set()

    async def once(
        self, call_id: str, key: str, work: Callable[[Begun], Coroutine[Any, Any, ToolOutcome]]
    ) -> ToolOutcome:
        """Return what comes of *work*, or what came of it when this call was made before.

        A call that did not run, and certainly not, may be made again.

        Args:
            call_id: The id of the call.
            key: What tells it from another call of the same id.
            work: Makes the call.
        """
        record = self._records.get(call_id)
        if record is None or record.key != key:
            begun = Begun()
            record = _Record(key, begun, asyncio.get_running_loop().create_task(work(begun)))
            self._records[call_id] = record
            self.keep(record.task)
            record.task.add_done_callback(lambda _: self._done(call_id, record))
        record.waiting += 1
        try:
            return await asyncio.shield(record.task)
        except asyncio.CancelledError:
            if record.waiting == 1 and not record.begun.value:
                record.task.cancel()
            raise
        finally:
            record.waiting -= 1

    def keep(self, task: "asyncio.Future[Any]") -> None:
        """Hold *task* until it is done, and let ``close`` wait for it."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self, grace: float) -> None:
        """Wait up to *grace* seconds for what is under way, then cancel it."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        self._records.clear()

    def _done(self, call_id: str, record: _Record) -> None:
        if record.task.cancelled():  # before its first step
            ran = False
        else:
            outcome = record.task.result()
            ran = outcome.ok or outcome.may_have_executed
        if not ran and self._records.get(call_id) is record:
            del self._records[call_id]
        while len(self._records) > _MOST_REMEMBERED:
            oldest = next(iter(self._records))
            if not self._records[oldest].task.done():
                break
            del self._records[oldest]
