"""From a payload to an outcome: claim the key, bind the arguments, run the function within its time.

The owner's code runs here and nowhere else in the server, so every exception is caught here.
"""

import asyncio
import functools
import inspect
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from navai_client._abandoned import BackgroundTasks
from navai_client._redaction import message_of
from navai_client._threads import CallThreads, NoThreadLeftError, on_this_loop
from navai_client.functions._binding import ArgumentsError, Payload
from navai_client.functions._context import FunctionContext
from navai_client.functions._registry import RegisteredFunction
from navai_client.functions._results import (
    MAX_RESULT_BYTES,
    ResultError,
    ToolError,
    encode_at_once,
    encode_result,
)
from navai_client.server._calls import CUT_OFF, NOT_BEGUN, Failure, Outcome, RunningCall
from navai_client.server._http import BackendRequest
from navai_client.server._idempotency import Key, Keys, MemoryKeys, fingerprint
from navai_client.server._processes import (
    Encoded,
    NotSentError,
    ProcessEndedError,
    Processes,
    Work,
    run_by,
)
from navai_client.server._settings import ServerSettings

_log: Final = logging.getLogger("navai_client.server")

_GRACE_S: Final = 1.0  # a cancelled function may clean up for so long before its caller gets a response

_TOO_BUSY: Final = Failure("The server is too busy: the function was not begun. Try again.", NOT_BEGUN)
_CANCELLED: Final = Failure("The call was cancelled.", may_have_executed=True)
_CANCELLED_UNBEGUN: Final = Failure("The call was cancelled before its function began.")
SHUT_DOWN: Final = Failure(
    "The server stopped while the function ran. It may have been executed.", CUT_OFF, may_have_executed=True
)


class Invoker:
    """Runs functions: asynchronous ones on the event loop, others in threads, each with a time limit."""

    def __init__(
        self,
        threads: CallThreads,
        redact: Callable[[str], str],
        *,
        timeout: float | None = None,
        expose_errors: bool = True,
        max_result_bytes: int = MAX_RESULT_BYTES,
        keys: Keys | None = None,
        processes: Processes | None = None,
    ) -> None:
        """Run synchronous functions in *threads*.

        Args:
            threads: The threads for synchronous functions.
            redact: Removes secrets and paths from a failure.
            timeout: Seconds that a call may take whose function declares nothing else; None means no limit.
            expose_errors: Whether callers get the message of any exception, or of :class:`ToolError` alone.
            max_result_bytes: The largest result, as JSON.
            keys: Where idempotency keys are kept, by default in memory.
            processes: The processes for functions that run in one.
        """
        self._threads = threads
        self._redact = redact
        self._timeout = timeout
        self._expose_errors = expose_errors
        self._max_result_bytes = max_result_bytes
        self._keys: Keys = MemoryKeys() if keys is None else keys
        self._processes = Processes() if processes is None else processes
        self._running: set[RunningCall] = set()
        self._stopped = BackgroundTasks(_log)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next_check = math.inf
        self.observe: Callable[[RunningCall, Outcome, float], None] | None = None
        """Called at the end of each call with its seconds."""

    @property
    def running(self) -> int:
        """How many calls have not ended."""
        return len(self._running)

    async def begin(
        self,
        function: RegisteredFunction,
        payload: Payload,
        request: BackendRequest,
        *,
        key: Key | None = None,
    ) -> tuple[RunningCall, bool]:
        """Begin a call, and return it and whether *key* had begun it before.

        It ends with the result as JSON, or with a failure: arguments that do not fit, an exception, no end in
        time, or a result without a form in JSON.

        Args:
            function: The function.
            payload: Its payload.
            request: For the function's context.
            key: The caller and its ``Idempotency-Key``.

        Raises:
            KeyReusedError: The key was used before with another function or payload.
        """
        target = function.target
        context = FunctionContext(request) if target.takes_context else None
        call = RunningCall(function.name, context, self._running, request.request_id)
        timeout = self._timeout if function.timeout is None else function.timeout or None
        claim = None
        if key is not None:
            claim = await self._keys.claim(key, fingerprint(function.name, payload), call)
            if claim.call is not call:
                if claim.call.stopped is not None and timeout is not None:
                    self._limit(claim.call, timeout)  # it still runs, and its callers have been answered
                return claim.call, True
            call.on_end = functools.partial(self._keys.finish, claim)
        self._running.add(call)
        call.observe = self.observe and functools.partial(_observe, self.observe, time.perf_counter())
        try:
            run = target.prepare(payload, context)
            # Only the function's own code may come after this: a claim that was started may have been
            # executed, whatever happens to this process.
            if claim is not None and not await self._keys.start(claim):
                call.on_end = None
                call.end(_TOO_BUSY)
            else:
                self._run_function(call, function, run)
        except (ArgumentsError, NotSentError) as error:
            call.end(Failure(self._redact(str(error))))
        except NoThreadLeftError:
            call.end(_TOO_BUSY)
        except BaseException:
            call.end(_TOO_BUSY)  # it does not stay among those that run
            raise
        if timeout is not None and call.outcome is None:
            self._limit(call, timeout)
        return call, False

    async def cancel(self, key: Key) -> tuple[bool, bool] | None:
        """Cancel the call of *key*, which will not be begun any more.

        Returns:
            Whether the call had not ended before, and whether its function has begun; None without a call.
        """
        claim = await self._keys.read(key)
        if claim is None:
            return None
        had_ended = claim.call.outcome is not None
        self.stop(claim.call, _CANCELLED, _CANCELLED_UNBEGUN)
        return not had_ended, claim.call.begun

    def stop(self, call: RunningCall, failure: Failure, unbegun: Failure = _TOO_BUSY) -> None:
        """Stop *call*: it ends with *failure* now or, if it must clean up, after a moment."""
        if call.outcome is not None or call.stopped is not None:
            return
        task = call.task
        if task is not None:
            self._stopped.hold(task)  # until it has cleaned up; the call may end before
        call.stop(failure, unbegun)
        if task is not None:
            self._end_at(call, asyncio.get_running_loop().time() + _GRACE_S)

    async def close(self) -> None:
        """Stop the running calls, and wait a moment for them."""
        for call in tuple(self._running):
            self.stop(call, SHUT_DOWN)
        await self._stopped.close(0)
        for call in tuple(self._running):
            call.end(call.stopped or SHUT_DOWN)
        self._processes.close()

    def _run_function(self, call: RunningCall, function: RegisteredFunction, run: Callable[[], Any]) -> None:
        runs_in = function.declaration.runs_in
        if runs_in is not None and runs_in != "process":
            self._run_in_loop(call, functools.partial(run_by, runs_in, Work(run, self._max_result_bytes)))
        elif runs_in is None and function.target.is_async:
            self._run_in_loop(call, run)
        else:
            returned = on_this_loop(functools.partial(self._returned, call))
            if runs_in is None:
                completed = functools.partial(_completed, run, self._max_result_bytes)
                call.abandon = self._threads.submit(call.name, completed, returned)
            else:
                work = Work(run, self._max_result_bytes)
                call.abandon = self._processes.submit(call.name, work, returned)

    def _run_in_loop(self, call: RunningCall, run: Callable[[], Awaitable[Any]]) -> None:
        # A task of its own: a function that ignores its cancellation holds up no caller, and what it sets up
        # for "the current task" (time limits, task groups) is its own.
        call.task = asyncio.get_running_loop().create_task(self._run(call, run))

    async def _run(self, call: RunningCall, run: Callable[[], Awaitable[Any]]) -> None:
        call.begun = True
        result: Any = None
        try:
            result = await run()
            outcome: Outcome | None = encode_at_once(result, self._max_result_bytes)
        # The boundary to the owner's code: an exception ends its own call only.
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                call.end(call.stopped or SHUT_DOWN)
                raise
            failure = self._failure(call, error)
            outcome = call.stopped or failure  # it may have failed because it was cancelled
        if outcome is not None:
            call.end(outcome)
        elif isinstance(result, Encoded):
            call.end(result)
        else:
            self._encode(call, result)

    def _encode(self, call: RunningCall, result: Any) -> None:
        """Encode the result of a function that has ended, in a thread: it takes time, or the owner's code."""
        encode = functools.partial(encode_result, result, self._max_result_bytes)
        returned = on_this_loop(functools.partial(self._returned, call))
        self._threads.submit(call.name, encode, returned, refusable=False)
        call.task, call.abandon = None, lambda: True

    def _returned(self, call: RunningCall, result: Any, error: BaseException | None) -> None:
        if call.outcome is not None:
            return
        if isinstance(error, ProcessEndedError) and call.stopped is not None:
            call.end(call.stopped)  # for which the process was ended
        elif error is not None:
            call.end(self._failure(call, error))
        elif isinstance(result, bytes):
            call.end(result)
        elif call.stopped is not None:
            call.end(call.stopped)  # what it returned is awaited no more
        else:
            self._run_in_loop(call, lambda: result)

    def _limit(self, call: RunningCall, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # the timer and the calls of another have ended with it
            self._loop, self._timer, self._next_check = loop, None, math.inf
            self._running.intersection_update((call,))
        call.timeout = timeout
        if call.deadline == math.inf:
            self._end_at(call, loop.time() + timeout)

    def _end_at(self, call: RunningCall, deadline: float) -> None:
        call.deadline = deadline
        if deadline < self._next_check:
            self._check_at(deadline)

    def _check_at(self, deadline: float) -> None:
        """Look for late calls at *deadline*: one timer for all calls, as most of them end long before."""
        if self._timer is not None:
            self._timer.cancel()
        self._next_check = deadline
        self._timer = None
        if deadline < math.inf:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._end_late_calls)

    def _end_late_calls(self) -> None:
        now = asyncio.get_running_loop().time()
        for call in tuple(self._running):
            if call.deadline > now:
                continue
            if call.stopped is None:
                text = f"The function did not finish within {call.timeout:g} seconds."
                self.stop(call, Failure(text, may_have_executed=True))
            else:
                if call.task is not None:
                    _log.warning(
                        "Function %s still runs, although its time is over and it was cancelled.", call.name
                    )
                call.leave()
        self._check_at(min((call.deadline for call in self._running), default=math.inf))

    def _failure(self, call: RunningCall, error: BaseException) -> Failure:
        name, request_id, message = call.name, call.request_id, message_of(error)
        line = message.encode("unicode_escape").decode()
        if isinstance(error, ToolError):
            _log.info("Function %s failed (request %s): %s", name, request_id, line)
        elif isinstance(error, ResultError):
            text = "Function %s returned a result without a form in JSON (request %s): %s"
            _log.warning(text, name, request_id, line)
        else:
            _log.error("Function %s failed (request %s).", name, request_id, exc_info=error)
        if not self._expose_errors and not isinstance(error, ToolError):
            message = f"The function failed. Request id: {request_id}"
        # A result that cannot be given came from a function that has acted.
        may_have_executed = isinstance(error, ResultError | ProcessEndedError)
        return Failure(self._redact(message), may_have_executed=may_have_executed)


def threads_of(settings: ServerSettings) -> CallThreads:
    """Make the threads for synchronous functions."""
    return CallThreads(
        settings.threads_per_function, in_all=settings.threads, waiting=settings.max_waiting_calls
    )


def _observe(
    observe: Callable[[RunningCall, Outcome, float], None], began: float, call: RunningCall, outcome: Outcome
) -> None:
    observe(call, outcome, time.perf_counter() - began)


def _completed(run: Callable[[], Any], limit: int) -> Any:
    """Run a function, and encode its result in the same thread: a generator runs while it is read."""
    result = run()
    return result if inspect.isawaitable(result) else encode_result(result, limit)
