"""One call from its hooks to its outcome: may it run, is it slow, did it end in time, who is told.

Here alone code of the application's owner runs (hooks, local functions), so here alone every exception is
caught.
"""

import asyncio
import inspect
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import attrs
from attrs import frozen

from navai_client.errors import NavaiError
from navai_client.integrations import _failures
from navai_client.integrations._running import Begun, Running
from navai_client.integrations.tools import ToolCall, ToolOutcome

__all__ = ["AfterHook", "BeforeHook", "Hooks", "Pipeline", "SlowHook", "Work"]

BeforeHook = Callable[[ToolCall], "Awaitable[str | None] | str | None"]
SlowHook = Callable[[ToolCall], "Awaitable[None] | None"]
AfterHook = Callable[[ToolCall, ToolOutcome], "Awaitable[None] | None"]
Work = Callable[[float | None], Coroutine[Any, Any, Any]]

_AFTER_LIMIT: Final = 5.0  # seconds that a hook may hold back an outcome that is there
# The client's own clock rings first, because it knows whether anything was sent.
_HEADSTART: Final = 0.5  # seconds
_SHORTEST: Final = 0.001  # seconds; clients take no timeout of nothing

_log: Final = logging.getLogger("navai_client")


@frozen(kw_only=True)
class Hooks:
    """What is asked and told around each call; see ``Toolset.load``."""

    before: BeforeHook | None
    slow: SlowHook | None
    slow_after: float | None
    after: AfterHook | None


class Pipeline:
    """Runs calls, each with its hooks and its deadline."""

    def __init__(self, hooks: Hooks, running: Running) -> None:
        self._hooks = hooks
        self._running = running

    async def run(
        self, call: ToolCall, blank: ToolOutcome, work: Work, timeout: float | None, begun: Begun
    ) -> ToolOutcome:
        """Return the outcome of *work*, a function of the seconds that are left; *blank* says whose it is."""
        started = asyncio.get_running_loop().time()
        outcome = await self._outcome(call, blank, work, timeout, begun)
        if not outcome.ok:
            _log.warning("%s: %s %s", call.function_name, outcome.error, outcome.details or "")
        await self.tell_after(call, outcome)
        _log.debug("%s took %.3f s", call.function_name, asyncio.get_running_loop().time() - started)
        return outcome

    async def tell_after(self, call: ToolCall, outcome: ToolOutcome) -> None:
        """Tell the ``after`` hook."""
        if self._hooks.after is None:
            return
        try:
            async with asyncio.timeout(_AFTER_LIMIT):
                await _awaited(self._hooks.after(call, outcome))
        except Exception:  # noqa: BLE001 - the boundary to a hook: what is wrong with it hurts no call
            _log.exception("The after hook failed for %s", call.function_name)

    async def _outcome(
        self, call: ToolCall, blank: ToolOutcome, work: Work, timeout: float | None, begun: Begun
    ) -> ToolOutcome:
        loop = asyncio.get_running_loop()
        deadline = math.inf if timeout is None else loop.time() + timeout
        try:
            refusal = await self._ask_before(call, deadline)
            if refusal is not None:
                return attrs.evolve(blank, **refusal)
            begun.value = True
            left = None if timeout is None else max(deadline - loop.time(), _SHORTEST)
            task = await self._finish(call, work, left)
        except asyncio.CancelledError:  # of this task alone: the toolset is closed, or nobody waits any more
            return attrs.evolve(blank, **_failures.cancelled(begun=begun.value))
        if task is None:
            return attrs.evolve(blank, **_failures.timed_out(begun=True))
        return _read(task, blank)

    async def _ask_before(self, call: ToolCall, deadline: float) -> dict[str, Any] | None:
        """Return what the outcome says if the call may not run."""
        if self._hooks.before is None:
            return None
        try:
            async with asyncio.timeout_at(deadline):
                reason = await _awaited(self._hooks.before(call))
        except Exception as error:  # noqa: BLE001 - the boundary to a hook
            if isinstance(error, TimeoutError) and asyncio.get_running_loop().time() >= deadline:
                return _failures.timed_out(begun=False)
            _log.exception("The before hook failed for %s, which was not called", call.function_name)
            return {"error": _failures.FAILED, "error_type": "refused", "details": _said(error)}
        return None if reason is None else {"error": str(reason), "error_type": "refused"}

    async def _finish(self, call: ToolCall, work: Work, left: float | None) -> "asyncio.Task[Any] | None":
        """Return the finished task of *work*, or None if its time is over: it goes on then, unheard."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(work(left))
        self._running.keep(task)
        alarm = None
        if (slow := self._hooks.slow) is not None and self._hooks.slow_after is not None:
            alarm = loop.call_later(
                self._hooks.slow_after,
                lambda: self._running.keep(loop.create_task(self._tell_slow(slow, call))),
            )
        try:
            done, _ = await asyncio.wait((task,), timeout=None if left is None else left + _HEADSTART)
        finally:
            if alarm is not None:
                alarm.cancel()
        if not done:
            task.add_done_callback(_forget)
            return None
        return task

    async def _tell_slow(self, slow: SlowHook, call: ToolCall) -> None:
        try:
            await _awaited(slow(call))
        except Exception:  # noqa: BLE001 - the boundary to a hook
            _log.exception("The slow hook failed for %s", call.function_name)


def _read(task: "asyncio.Task[Any]", blank: ToolOutcome) -> ToolOutcome:
    if task.cancelled():
        return attrs.evolve(blank, **_failures.cancelled(begun=True))
    error = task.exception()
    if error is None:
        return attrs.evolve(blank, ok=True, result=task.result())
    if isinstance(error, NavaiError):
        return attrs.evolve(blank, **_failures.failure_of(error))
    _log.error("%s failed", blank.function_name, exc_info=error)
    return attrs.evolve(
        blank, error=_failures.FAILED, error_type="failed", details=_said(error), may_have_executed=True
    )


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _forget(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.debug("A call that had timed out failed afterwards.")
