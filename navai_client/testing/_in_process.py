"""The server's core without sockets: how a request becomes an answer on whichever event loop asks."""

import asyncio
import functools
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, final
from urllib.parse import unquote, urlsplit

from navai_client._redaction import LONGEST_ERROR, Redactor
from navai_client.server._backend import Backend
from navai_client.server._calls import Invoker
from navai_client.server._core import BackendCore
from navai_client.server._http import BackendRequest, BackendResponse
from navai_client.server._threads import CallThreads
from navai_client.testing._loop_thread import OwnLoop
from navai_client.testing._scenario import Arrival, Scenario

_GRACE_S: Final = 1.0


@final
class InMemory:
    """Answers requests of any thread and of any event loop.

    An asynchronous caller is answered on its own event loop, so that functions can wait for what a test does
    there. What the core keeps of calls belongs to a loop; so each loop has a core of its own, and one
    ``Idempotency-Key`` is known on one loop.
    """

    def __init__(self, backend: Backend, scenario: Scenario) -> None:
        self._backend = backend
        self._scenario = scenario
        redactor = Redactor([backend.settings.access_token or ""], base_dir=Path.cwd())
        self._hide = functools.partial(redactor.text, limit=LONGEST_ERROR)
        self._threads = CallThreads(backend.settings.threads_per_function)
        self._own = OwnLoop()
        self._lock = threading.Lock()
        self._lanes: dict[asyncio.AbstractEventLoop, _Lane] = {}

    def receive(
        self, method: str, url: str, headers: Iterable[tuple[str, str]], content: bytes | None
    ) -> Arrival:
        """Note a request for *url*."""
        given = {name.lower().encode("latin-1"): value.encode("latin-1") for name, value in headers}
        return self._scenario.receive(method, unquote(urlsplit(url).path), given, content or b"")

    async def answer(self, arrival: Arrival) -> BackendResponse | None:
        """Answer on the running loop; None when the script drops the connection."""
        lane = self._lane()
        with lane.under_way():
            return await self._scenario.play(arrival, lambda: lane.answer(arrival))

    def answer_blocking(self, arrival: Arrival, timeout: float | None) -> BackendResponse | None:
        """Answer a caller without an event loop; None when the script drops the connection.

        Raises:
            TimeoutError: There was no answer within *timeout* seconds.
        """
        return self._own.run(self.answer(arrival), timeout)

    def close(self) -> None:
        """Stop what still runs, also on loops that are open and idle, as after a test."""
        self._own.close(self._close_lane())
        with self._lock:
            lanes, self._lanes = self._lanes, {}
        for loop, lane in lanes.items():
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(lane.close(), loop)
            elif not loop.is_closed() and not _is_inside_a_loop():
                loop.run_until_complete(lane.end())

    async def _close_lane(self) -> None:
        lane = self._lane()
        with self._lock:
            del self._lanes[asyncio.get_running_loop()]
        await lane.close()

    def _lane(self) -> "_Lane":
        loop = asyncio.get_running_loop()
        with self._lock:
            lane = self._lanes.get(loop)
            if lane is None:
                lane = _Lane(self._backend, Invoker(self._threads, self._hide))
                self._lanes = {each: self._lanes[each] for each in self._lanes if not each.is_closed()}
                self._lanes[loop] = lane
            return lane


class _Lane:
    """A core for one event loop."""

    def __init__(self, backend: Backend, invoker: Invoker) -> None:
        self._invoker = invoker
        self._core = BackendCore(backend.settings, backend.functions, backend.services, invoker)
        self._under_way: set[asyncio.Task[Any]] = set()

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Note that the current task waits for an answer."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for type checkers: a coroutine of asyncio runs in a task
        self._under_way.add(task)
        try:
            yield
        finally:
            self._under_way.discard(task)

    async def answer(self, arrival: Arrival) -> BackendResponse:
        request = arrival.request
        headers = request.headers.raw
        given = BackendRequest(
            request.method, request.path, headers, headers.get(b"x-request-id", b"").decode("latin-1")
        )
        refused = self._core.admit(given)
        if refused is not None:
            return refused
        if len(request.content) > self._core.settings.max_body_bytes:
            return self._core.too_large()
        return await self._core.answer(given, request.content)

    async def close(self) -> None:
        await self._core.aclose()
        await self._invoker.close()

    async def end(self) -> None:
        """Cancel who still waits, as ``asyncio.run`` does with what is left, and close."""
        waiting = list(self._under_way)
        for task in waiting:
            task.cancel()
        if waiting:
            await asyncio.wait(waiting, timeout=_GRACE_S)
        await self.close()


def _is_inside_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
