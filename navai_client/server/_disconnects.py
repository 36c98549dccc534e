"""Requests whose clients have gone: their work is cancelled.

ASGI tells that a client has gone only to one who waits for the next message of its request. A task for each
request that waits for it would cost a quick call a fifth of its time. So one timer for all requests starts
such a task for those that are still open when it fires.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_INTERVAL_S: Final = 0.1  # a person who hangs up does not come back sooner


class Disconnects:
    """Cancels the tasks of requests whose clients have gone."""

    def __init__(self) -> None:
        self._open: dict[asyncio.Task[Any], Receive] = {}
        self._watchers: dict[asyncio.Task[Any], asyncio.Task[None]] = {}
        self._gone: set[asyncio.Task[Any]] = set()
        self._timed: asyncio.AbstractEventLoop | None = None

    def add(self, receive: Receive) -> "asyncio.Task[Any]":
        """Watch the request of the current task, whose body has been read, until ``remove``."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 - for type checkers: a coroutine of asyncio runs in a task
        self._open[task] = receive
        if loop is not self._timed:
            self._timed = loop
            loop.call_later(_INTERVAL_S, self._look, loop)
        return task

    def remove(self, task: "asyncio.Task[Any]") -> bool:
        """Watch no more, and return whether *task* was cancelled because its client has gone."""
        del self._open[task]
        if self._watchers and (watcher := self._watchers.pop(task, None)) is not None:
            watcher.cancel()
        if not self._gone or task not in self._gone:
            return False
        self._gone.remove(task)
        task.uncancel()  # it may go on, for whoever runs it
        return True

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timed = None
        for task, receive in self._open.items():
            if task not in self._watchers and task.get_loop() is loop:
                self._watchers[task] = loop.create_task(self._watch(task, receive))
        if self._open:
            self._timed = loop
            loop.call_later(_INTERVAL_S, self._look, loop)

    async def _watch(self, task: "asyncio.Task[Any]", receive: Receive) -> None:
        message = await receive()
        if message["type"] == "http.disconnect":
            self._gone.add(task)
            task.cancel()
