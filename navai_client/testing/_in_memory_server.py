"""The server's core in this process, without sockets, for callers on any event loop and in any thread."""

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar, final

from navai_client._redaction import Redactor
from navai_client.server._app import NavaiBackend
from navai_client.server._events import EVENT_STREAM, Events, accepts_events
from navai_client.server._execution import Invoker, threads_of
from navai_client.server._http import BackendRequest, BackendResponse
from navai_client.server._routes import Router
from navai_client.testing._loop_thread import LoopThread
from navai_client.testing._recording import RecordedRequest
from navai_client.testing._scripted_failures import Arrival

T = TypeVar("T")
Write = Callable[[bytes], object]

_GRACE_S: Final = 1.0


@final
class InMemoryServer:
    """Responds to callers of any thread and of any event loop.

    An asynchronous caller gets its response on its own event loop, so that functions can wait for what a test
    does there. The state of calls belongs to a loop, so each loop has a core of its own, and an
    ``Idempotency-Key`` is known on one loop.
    """

    def __init__(self, backend: NavaiBackend) -> None:
        self._backend = backend
        redactor = Redactor(backend.settings.secrets, base_dir=Path.cwd())
        self._redact = redactor.error
        self._threads = threads_of(backend.settings)
        self._own_loop = LoopThread("navai-testing")
        self._lock = threading.Lock()
        self._cores: dict[asyncio.AbstractEventLoop, _LoopCore] = {}

    async def respond(self, arrival: Arrival, write: Write) -> BackendResponse | None:
        """Respond on the running loop; None if a scripted failure drops the connection.

        Of a stream of events, which *write* gets as it arises, the response has only the headers.
        """
        return await self._core().respond(arrival, write)

    def run(self, work: Coroutine[Any, Any, T], timeout: float | None) -> T:
        """Run *work* for a caller without an event loop.

        Raises:
            TimeoutError: It took longer than *timeout* seconds.
        """
        return self._own_loop.run(work, timeout)

    def close(self) -> None:
        """Stop what still runs, also on loops that are open and idle, as after a test."""
        self._own_loop.close(self._close_core())
        with self._lock:
            cores, self._cores = self._cores, {}
        for loop, core in cores.items():
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(core.close(), loop)
            elif not loop.is_closed() and not _is_inside_a_loop():
                loop.run_until_complete(core.end())

    async def _close_core(self) -> None:
        core = self._core()
        with self._lock:
            del self._cores[asyncio.get_running_loop()]
        await core.close()

    def _core(self) -> "_LoopCore":
        loop = asyncio.get_running_loop()
        with self._lock:
            core = self._cores.get(loop)
            if core is None:
                core = _LoopCore(
                    self._backend,
                    Invoker(
                        self._threads,
                        self._redact,
                        timeout=self._backend.settings.function_timeout,
                        expose_errors=self._backend.settings.expose_errors,
                        max_result_bytes=self._backend.settings.max_result_bytes,
                    ),
                )
                self._cores = {each: self._cores[each] for each in self._cores if not each.is_closed()}
                self._cores[loop] = core
            return core


class _LoopCore:
    """The core of one event loop."""

    def __init__(self, backend: NavaiBackend, invoker: Invoker) -> None:
        self._invoker = invoker
        self._router = Router(
            backend.settings,
            backend.functions,
            backend.services,
            invoker,
            authentication=backend.authentication,
        )
        self._callers: set[asyncio.Task[Any]] = set()

    async def respond(self, arrival: Arrival, write: Write) -> BackendResponse | None:
        """Respond to *arrival*, and keep the current task as a waiting one until then."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for type checkers: a coroutine of asyncio runs in a task
        self._callers.add(task)
        try:
            silent = arrival.failure.drop is not None
            respond = functools.partial(self._route, arrival.request, _drop if silent else write)
            return await arrival.respond(respond)
        finally:
            self._callers.discard(task)

    async def _route(self, recorded: RecordedRequest, write: Write) -> BackendResponse:
        """Handle a request as the server does after reading it."""
        headers = recorded.headers.raw
        request_id = headers.get(b"x-request-id", b"").decode("latin-1")
        request = BackendRequest(recorded.method, recorded.path, headers, request_id)
        refusal = await self._router.refuse(request)
        if refusal is not None:
            return refusal
        if len(recorded.content) > self._router.settings.max_body_bytes:
            return self._router.too_large()
        if accepts_events(request):
            request.events = Events(_begin, functools.partial(_write, write))
        response = await self._router.respond(request, recorded.content)
        if request.events is None or not request.events.has_begun:
            return response
        await request.events.end(response)
        return BackendResponse(200, headers=EVENT_STREAM, function=response.function)

    async def close(self) -> None:
        """Stop the functions that still run."""
        await self._invoker.close()

    async def end(self) -> None:
        """Cancel the callers that still wait, as ``asyncio.run`` cancels remaining tasks, and close."""
        waiting = list(self._callers)
        for task in waiting:
            task.cancel()
        if waiting:
            await asyncio.wait(waiting, timeout=_GRACE_S)
        await self.close()


async def _begin() -> None:
    """Send nothing: the response has the headers."""


async def _write(write: Write, part: bytes, _more: bool) -> None:
    write(part)


def _drop(_part: bytes) -> None:
    """Lose a part of a response that a script drops."""


def _is_inside_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
