"""The calls of a toolset: one call from its hooks to its outcome, once for each call id.

The steps of a call, in this order:

1. ``Calls.run`` joins it to a call of the same id, or starts it in a task of its own. A caller that is
   cancelled (voice agents are interrupted all the time) leaves the task behind: a call that has begun goes
   on, and a caller that comes back with the same id gets its outcome. One that has not begun is cancelled.
2. The ``before`` hook may refuse it. The call's time has started.
3. It has begun: its work runs until the deadline. Past the deadline it goes on, and its result is dropped.
   The ``slow`` hook is called while it runs.
4. Its result or error becomes an outcome, and the ``after`` hook gets it.

Hooks and local functions are foreign code, so this is where every exception is caught.
"""

import asyncio
import inspect
import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import attrs
from attrs import field, frozen

from navai_client._abandoned import BackgroundTasks
from navai_client._redaction import LONGEST_ERROR, Redactor, message_of
from navai_client.errors import (
    NavaiError,
    NavaiHTTPError,
    NavaiPayloadError,
    NavaiStateError,
    NavaiTimeoutError,
    NavaiTransportError,
    UnknownFunctionError,
)
from navai_client.integrations._catalog import UNKNOWN_FUNCTION
from navai_client.integrations._options import ToolsetOptions
from navai_client.integrations.tools import ToolCall, ToolOutcome

_AFTER_LIMIT: Final = 5.0  # seconds that an after hook may delay an outcome, which a person waits for
# The deadline of the work comes first: the client knows whether the request was sent, the toolset does not.
_MARGIN: Final = 0.5  # seconds
_MIN_TIMEOUT: Final = 0.001  # seconds; clients refuse a timeout of 0
_MAX_REMEMBERED: Final = 128  # outcomes kept for callers that come back; a session has a few calls at a time

_FAILED: Final = "Function execution failed."
_LATE: Final = "The function did not respond in time."
_MAY_HAVE_RUN: Final = "It may have been executed: do not repeat it before you have checked."
_DID_NOT_RUN: Final = "It was not executed."
_SERVER_ERRORS: Final = 500

_redactor: Final = Redactor()
_log: Final = logging.getLogger("navai_client")


@frozen(kw_only=True)
class PreparedCall:
    """A call that is ready to run.

    Attributes:
        call: What hooks see of it.
        blank: Its outcome, without a result or an error yet.
        work: Runs the function within the given number of seconds, or without a limit.
        timeout: Seconds for the hook and the work together, or None.
        key: Tells it from another call with the same id.
        options: The complete options of its toolset.
    """

    call: ToolCall
    blank: ToolOutcome
    work: Callable[[float | None], Coroutine[Any, Any, Any]] = field(repr=False)
    timeout: float | None
    key: str
    options: ToolsetOptions = field(repr=False)


@attrs.define(eq=False)
class _Run:
    """One run of a call."""

    key: str
    begun: bool = False
    waiting: int = 0  # callers that wait for its outcome
    task: "asyncio.Task[ToolOutcome]" = field(init=False)

    def may_be_withdrawn(self) -> bool:
        """Return whether it ends when the caller that waits for it is cancelled."""
        return self.waiting == 1 and not self.begun


class Calls:
    """The calls of one toolset and of those that derive from it."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self._tasks = BackgroundTasks(_log)

    async def run(self, prepared: PreparedCall) -> ToolOutcome:
        """Return the outcome of the call, or of the same call that was made before.

        A call that certainly did not run may be made again.
        """
        call_id = prepared.call.call_id
        run = self._runs.get(call_id)
        if run is None or run.key != prepared.key:
            run = _Run(prepared.key)
            run.task = self._tasks.start(self._make(prepared, run), prepared.call.function_name)
            run.task.add_done_callback(partial(self._ended, call_id, run))
            self._runs[call_id] = run
        run.waiting += 1
        try:
            return await self._tasks.result(run.task, run.may_be_withdrawn)
        finally:
            run.waiting -= 1

    async def close(self, grace: float) -> None:
        """Wait up to *grace* seconds for calls that run, then cancel them."""
        await self._tasks.close(grace)
        self._runs.clear()

    async def _make(self, prepared: PreparedCall, run: _Run) -> ToolOutcome:
        call = prepared.call
        loop = asyncio.get_running_loop()
        started = loop.time()
        outcome = await self._outcome(prepared, run, started)
        if not outcome.ok:
            _log.warning("%s: %s %s", call.function_name, outcome.error, outcome.details or "")
        await call_after(prepared.options, call, outcome)
        _log.debug("%s took %.3f s", call.function_name, loop.time() - started)
        return outcome

    async def _outcome(self, prepared: PreparedCall, run: _Run, started: float) -> ToolOutcome:
        loop = asyncio.get_running_loop()
        deadline = math.inf if prepared.timeout is None else started + prepared.timeout
        try:
            refusal = await _call_before(prepared, deadline)
            if refusal is not None:
                return attrs.evolve(prepared.blank, **refusal)
            run.begun = True
            left = None if prepared.timeout is None else max(deadline - loop.time(), _MIN_TIMEOUT)
            task = await self._work(prepared, left)
        except asyncio.CancelledError:  # the toolset was closed, or every caller left before the start
            return attrs.evolve(prepared.blank, **_cancelled(begun=run.begun))
        if not task.done():
            self._tasks.abandon(task)
            return attrs.evolve(prepared.blank, **_timed_out(begun=True))
        return _read(task, prepared.blank)

    async def _work(self, prepared: PreparedCall, left: float | None) -> "asyncio.Task[Any]":
        """Return the task of the work, when it is done or its time is over."""
        loop = asyncio.get_running_loop()
        name = prepared.call.function_name
        task = self._tasks.start(prepared.work(left), name)
        alarm = None
        if prepared.options["slow"] is not None and prepared.options["slow_after"] is not None:
            alarm = loop.call_later(
                prepared.options["slow_after"],
                lambda: self._tasks.start(_call_slow(prepared), name),
            )
        try:
            await asyncio.wait((task,), timeout=None if left is None else left + _MARGIN)
        finally:
            if alarm is not None:
                alarm.cancel()
        return task

    def _ended(self, call_id: str, run: _Run, _: "asyncio.Task[ToolOutcome]") -> None:
        """Forget *run* if it did not execute the function, and the oldest runs if there are too many."""
        executed = False
        if not run.task.cancelled():  # else it was cancelled before its first step
            outcome = run.task.result()
            executed = outcome.ok or outcome.may_have_executed
        if not executed and self._runs.get(call_id) is run:
            del self._runs[call_id]
        while len(self._runs) > _MAX_REMEMBERED:
            oldest = next(iter(self._runs))
            if not self._runs[oldest].task.done():
                break
            del self._runs[oldest]


async def call_after(options: ToolsetOptions, call: ToolCall, outcome: ToolOutcome) -> None:
    """Call the ``after`` hook."""
    if options["after"] is None:
        return
    try:
        async with asyncio.timeout(_AFTER_LIMIT):
            await awaited(options["after"](call, outcome))
    except Exception:  # noqa: BLE001 - the boundary to a hook, whose failure changes no outcome
        _log.exception("The after hook failed for %s", call.function_name)


async def _call_before(prepared: PreparedCall, deadline: float) -> dict[str, Any] | None:
    """Call the ``before`` hook; return fields of the outcome if it refuses the call."""
    before = prepared.options["before"]
    if before is None:
        return None
    try:
        async with asyncio.timeout_at(deadline):
            reason = await awaited(before(prepared.call))
    except Exception as error:  # noqa: BLE001 - the boundary to a hook
        if isinstance(error, TimeoutError) and asyncio.get_running_loop().time() >= deadline:
            return _timed_out(begun=False)
        _log.exception("The before hook failed for %s, which was not called", prepared.call.function_name)
        return {"error": _FAILED, "error_type": "refused", "details": _details(error)}
    return None if reason is None else {"error": str(reason), "error_type": "refused"}


async def _call_slow(prepared: PreparedCall) -> None:
    slow = prepared.options["slow"]
    try:
        await awaited(None if slow is None else slow(prepared.call))
    except Exception:  # noqa: BLE001 - the boundary to a hook
        _log.exception("The slow hook failed for %s", prepared.call.function_name)


async def awaited(value: Any) -> Any:
    """Return *value*, or what it gives if it can be awaited."""
    return await value if inspect.isawaitable(value) else value


def _read(task: "asyncio.Task[Any]", blank: ToolOutcome) -> ToolOutcome:
    """Return the outcome of work that is done."""
    if task.cancelled():
        return attrs.evolve(blank, **_cancelled(begun=True))
    error = task.exception()
    if error is None:
        return attrs.evolve(blank, ok=True, result=task.result())
    if isinstance(error, NavaiError):
        return attrs.evolve(blank, **_failed(error))
    _log.error("%s failed", blank.function_name, exc_info=error)
    return attrs.evolve(
        blank, error=_FAILED, error_type="failed", details=_details(error), may_have_executed=True
    )


def _failed(error: NavaiError) -> dict[str, Any]:
    """Return the fields of the outcome of a call that raised *error*."""
    fields: dict[str, Any] = {"details": _details(error)}
    match error:
        case UnknownFunctionError():
            fields |= {
                "error": UNKNOWN_FUNCTION,
                "error_type": "unknown_function",
                "available_functions": error.available_functions,
            }
        case NavaiTransportError(may_have_executed=may_have):
            late = isinstance(error, NavaiTimeoutError)
            what = _LATE if late else "The backend did not respond."
            fields |= {
                "error": f"{what} {_MAY_HAVE_RUN if may_have else _DID_NOT_RUN}",
                "error_type": "timeout" if late else "unavailable",
                "may_have_executed": may_have,
            }
        case NavaiPayloadError():
            fields |= {"error": f"Invalid arguments: {error}", "error_type": "invalid_arguments"}
        case NavaiStateError():
            _log.error("A tool was called with a client that cannot be used: %s", error)
            fields |= {"error": _FAILED, "error_type": "unavailable"}
        case NavaiHTTPError(status_code=status) if status < _SERVER_ERRORS:
            fields |= {"error": _FAILED, "error_type": "failed"}
        case _:
            fields |= {"error": _FAILED, "error_type": "failed", "may_have_executed": True}
    return fields


def _timed_out(*, begun: bool) -> dict[str, Any]:
    return {
        "error": f"{_LATE} {_MAY_HAVE_RUN if begun else _DID_NOT_RUN}",
        "error_type": "timeout",
        "may_have_executed": begun,
    }


def _cancelled(*, begun: bool) -> dict[str, Any]:
    return {
        "error": f"The call was cancelled. {_MAY_HAVE_RUN if begun else _DID_NOT_RUN}",
        "error_type": "cancelled",
        "may_have_executed": begun,
    }


def _details(error: BaseException) -> str:
    """Return the message of *error* without secrets: it is logged, and a model may see it."""
    return _redactor.text(message_of(error), LONGEST_ERROR)
