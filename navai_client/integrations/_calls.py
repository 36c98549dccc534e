"""The calls of a toolset: one call from its hooks to its outcome.

The steps of a call, in this order:

1. ``Calls.run`` starts it in a task of its own. A caller that is cancelled (voice agents are interrupted all
   the time) leaves the task behind: a call that has begun goes on, and a caller that comes back with the same
   id joins it. One that has not begun is cancelled, and so is one that only reads: its function is told, at
   the backend by the request to cancel. Some models count the ids anew in each turn, so an id
   means nothing once its outcome was delivered, and nothing in another session.
2. The ``before`` hook may refuse it. The call's time has started. If a person must approve it, they are
   asked, and the time stands still.
   A call that is not ``parallel`` takes turns with the others that are not, and the time stands still, too.
3. It has begun: its work runs until the deadline. Past the deadline it goes on, and its result is dropped.
   The ``slow`` hook is called while it runs; ``_hooks`` says what else is told.
4. Its result or error becomes an outcome, and the ``after`` hook gets it.
5. A call that waits for approval at the backend has the outcome ``pending``. The same call, with the same
   idempotency key, asks from time to time what came of it, and the ``decided`` hooks get that.

Hooks and local functions are foreign code, so this is where every exception is caught.
"""

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from contextvars import ContextVar
from functools import partial
from typing import Any, Final

import attrs
from attrs import define, field

from navai_client._abandoned import BackgroundTasks
from navai_client._extras import needs_extra
from navai_client._redaction import Redactor, message_of
from navai_client.errors import (
    ApprovalPendingError,
    FunctionFailedError,
    NavaiError,
    NavaiHTTPError,
    NavaiPayloadError,
    NavaiStateError,
    NavaiTimeoutError,
    NavaiTransportError,
    OutcomeUnknownError,
    UnknownFunctionError,
)
from navai_client.integrations._catalog import UNKNOWN_FUNCTION
from navai_client.integrations._hooks import Companion, Signals, awaited, notify
from navai_client.integrations._options import Approve, Decided, ToolsetOptions
from navai_client.integrations.tools import ToolCall, ToolOutcome
from navai_client.models import Cancellation

with needs_extra("tools", "pydantic"):
    from navai_client.functions._results import ToolError

_AFTER_LIMIT: Final = 5.0  # seconds that an after hook may delay an outcome, which a person waits for
# The deadline of the work comes first: the client knows whether the request was sent, the toolset does not.
_MARGIN: Final = 0.5  # seconds
_MIN_TIMEOUT: Final = 0.001  # seconds; clients refuse a timeout of 0
_WITHDRAWAL_LIMIT: Final = 1.0  # seconds that close() waits for requests to cancel
_MAX_UNDELIVERED: Final = 128  # outcomes kept for callers that come back; a session has a few calls at a time

_NOT_APPROVED: Final = "The person did not approve the call."
_NOBODY_ASKED: Final = "The call needs the approval of a person, and nobody could be asked."
_FAILED: Final = "Function execution failed."
_NO_RESULT: Final = {
    "cancelled": "The call was cancelled.",
    "timeout": "The function did not respond in time.",
    "unavailable": "The backend did not respond.",
}
_CUT_OFF: Final = "The function has not returned a result."
_MAY_HAVE_RUN: Final = "It may have been executed: do not repeat it before you have checked."
_DID_NOT_RUN: Final = "It was not executed."
_SERVER_ERRORS: Final = 500
_PENDING: Final = f"The call waits for the approval of a person. {_DID_NOT_RUN} Do not repeat it"
_DECISION_COMES: Final = f"{_PENDING}: you are told what comes of it."
_DECISION_UNKNOWN: Final = f"{_PENDING}. What comes of it is not known here."

# A call that waits is asked for with growing delays, as a client tries again: often at first, while a person
# is there. After an hour hardly any conversation goes on; the bundled server keeps such a call for a day.
_FIRST_QUESTION: Final = 1.0  # seconds
_LONGEST_DELAY: Final = 30.0
_DECIDED_WITHIN: Final = 3600.0
_MOST_QUESTIONS: Final = 128  # calls that are asked for
_TEMPORARY: Final = {408, 429, 502, 503, 504}  # what the client tries again by default

# Whether the running code is that of a call: one that waited for itself would never end.
_within: Final[ContextVar[bool]] = ContextVar("navai_within_call", default=False)
_redactor: Final = Redactor()
_log: Final = logging.getLogger("navai_client")


@define(eq=False)
class Run:
    """One run of a call.

    Attributes:
        call: What hooks see of it.
        blank: Its outcome, without a result or an error yet.
        work: Runs the function of this run within the given number of seconds, or without a limit.
        timeout: Seconds for the hook and the work together, or None.
        session: The conversation that its id belongs to. Held, so that no other one has the same identity.
        needs_approval: Whether a person must approve it.
        turns: The conversation in which it takes turns with others; None if it may run beside all of them.
        approve: Asks the person, unless the options say who does.
        decided: Gets the outcome of a call that waited for approval at the backend, as the options' own does.
        options: The complete options of its toolset.
        signals: What passes between it and its function.
        withdraw: Asks the backend to cancel it, and returns what came of that, or None if it cannot say.
        companion: Who is told of it while it runs, or None.
    """

    call: ToolCall
    blank: ToolOutcome
    work: Callable[["Run", float | None], Coroutine[Any, Any, Any]]
    timeout: float | None
    session: object
    needs_approval: bool
    turns: object
    approve: Approve | None
    decided: Decided | None
    options: ToolsetOptions
    signals: Signals
    withdraw: Callable[["Run"], Coroutine[Any, Any, Cancellation | None]]
    companion: Companion | None = None
    idempotency_key: str = ""  # of its requests
    begun: bool = False  # whether it goes on when its caller leaves
    started: bool = False  # whether the function may have run: a call can wait for a thread
    ahead: "list[asyncio.Task[ToolOutcome]]" = field(factory=list)  # calls that it waits for
    is_over: bool = False  # whether its outcome is known
    is_withdrawn: bool = False  # whether nobody wants its result any more
    is_cancelled: bool = False  # whether it was cancelled on purpose, and the backend was asked to do so
    waiting: int = 0  # callers that wait for its outcome
    task: "asyncio.Task[ToolOutcome]" = field(init=False)
    working: "asyncio.Task[Any] | None" = None  # the work, once it has begun

    @property
    def key(self) -> tuple[int, str]:
        """What tells it from other calls: its session and its id."""
        return id(self.session), self.call.call_id

    def is_repeated_by(self, other: "Run") -> bool:
        """Return whether *other*, of the same key, asks for the same."""
        try:
            asked = [(run.call.function_name, repr(run.call.arguments)) for run in (self, other)]
        except RecursionError:
            return False
        return asked[0] == asked[1]

    def may_be_withdrawn(self) -> bool:
        """Return whether it ends when the caller that waits for it is cancelled, and note that it does."""
        if self.waiting > 1 or (self.begun and (self.is_over or not self.call.read_only)):
            return False
        self.is_withdrawn = True
        return True

    def end(self, **fields: Any) -> ToolOutcome:
        return attrs.evolve(self.blank, **fields)


class Calls:
    """The calls of one toolset and of those that derive from it."""

    def __init__(self) -> None:
        self._running: dict[tuple[int, str], Run] = {}
        self._undelivered: OrderedDict[tuple[int, str], Run] = OrderedDict()  # their callers were cancelled
        self._in_turn: list[
            Run
        ] = []  # calls that run one after the other, those of a conversation in this order
        self._tasks = BackgroundTasks(_log)
        self._questions = BackgroundTasks(_log)  # about calls that wait for approval
        self._withdrawals = BackgroundTasks(_log)
        self._asking = 0

    async def run(self, run: Run) -> ToolOutcome:
        """Return the outcome of the call, or of the same call if it still runs or was not delivered."""
        earlier = self._running.get(run.key) or self._undelivered.get(run.key)
        if earlier is not None and not earlier.is_withdrawn and earlier.is_repeated_by(run):
            if earlier.companion is not None and run.companion is not None and not earlier.waiting:
                earlier.companion.follow(run.companion)
            run = earlier
        else:
            if run.companion is not None:
                run.companion.listen(run.signals, self._tasks)
            run.task = self._tasks.start(self._make(run), run.call.function_name)
            run.task.add_done_callback(partial(self._ended, run))
            self._running[run.key] = run
            if not run.needs_approval:
                self._queue(run)
        run.waiting += 1
        try:
            outcome = await self._tasks.result(run.task, run.may_be_withdrawn)
        finally:
            run.waiting -= 1
        if self._undelivered.get(run.key) is run:
            del self._undelivered[run.key]
        return outcome

    async def cancel(self, key: tuple[int, str]) -> ToolOutcome | None:
        """Cancel the call of *key* that runs, and return its outcome; None if there is none."""
        run = self._running.get(key)
        if run is None:
            return None
        run.is_cancelled = True
        if run.begun and run.call.kind == "backend":
            found = await run.withdraw(run)
            run.is_cancelled = found is None or found.cancelled
            run.started = found is None or found.may_have_executed
        if run.is_cancelled and not run.is_over:
            run.is_withdrawn = True
            run.task.cancel()
        return await self._tasks.result(run.task)

    def navigate(self, how: Callable[[str], Any], loop: asyncio.AbstractEventLoop, path: str) -> Any:
        """Call *how* in *loop* for a function: at once if it runs there, else it waits for the result."""

        async def open_path() -> Any:
            return await awaited(how(path))

        try:
            is_here = asyncio.get_running_loop() is loop
        except RuntimeError:  # in a thread
            is_here = False
        if not is_here:
            return asyncio.run_coroutine_threadsafe(open_path(), loop).result()
        task = loop.create_task(awaited(how(path)))
        self._tasks.abandon(task)  # the function need not await it
        return task

    async def close(self, grace: float) -> None:
        """Wait up to *grace* seconds for calls that run, then cancel them; ask no more what was decided."""
        await self._tasks.close(grace)
        await self._withdrawals.close(_WITHDRAWAL_LIMIT)
        await self._questions.close(0)
        self._undelivered.clear()

    async def _make(self, run: Run) -> ToolOutcome:
        name, loop = run.call.function_name, asyncio.get_running_loop()
        started = loop.time()
        outcome = await self._outcome(run, None if run.timeout is None else started + run.timeout)
        run.is_over = True
        if not outcome.ok:
            says_more = outcome.details and not outcome.pending and outcome.details not in str(outcome.error)
            _log.warning("%s: %s%s", name, outcome.error, f" {outcome.details}" if says_more else "")
        await call_after(run.options, run.call, outcome)
        _log.debug("%s took %.3f s", name, loop.time() - started)
        return outcome

    async def _outcome(self, run: Run, deadline: float | None) -> ToolOutcome:
        task: asyncio.Task[Any] | None
        try:
            refusal = await _call_before(run, deadline)
            if refusal is None and run.needs_approval:
                asked = asyncio.get_running_loop().time()
                refusal = await _ask(run)
                self._queue(run)  # not before: a person takes their time
                if deadline is not None:
                    deadline += asyncio.get_running_loop().time() - asked
            if refusal is not None:
                return run.end(**refusal)
            task = await self._work(run, deadline)
        except asyncio.CancelledError:  # it was withdrawn or cancelled, or the toolset was closed
            task = run.working
            if task is None or not task.done() or task.cancelled():
                self._stop(run)
                return run.end(**_no_result("cancelled", may_have_run=run.started))
        return self._outcome_of(run, task)

    def _outcome_of(self, run: Run, task: "asyncio.Task[Any]") -> ToolOutcome:
        """Return the outcome of *run*, whose work is done or has taken all of its time."""
        if not task.done():
            run.signals.cancel()
            if run.started:
                self._tasks.abandon(task)
            else:
                task.cancel()
            return run.end(**_no_result("timeout", may_have_run=run.started))
        if task.cancelled():  # by itself
            return run.end(**_no_result("cancelled", may_have_run=run.started))
        error = task.exception()
        if error is not None and run.is_cancelled:
            may_have_run = getattr(error, "may_have_executed", True)
            return run.end(**_no_result("cancelled", may_have_run=may_have_run))
        if isinstance(error, ApprovalPendingError):
            return self._pending(run, error)
        return run.end(ok=True, result=task.result()) if error is None else run.end(**_failed(run, error))

    def _stop(self, run: Run) -> None:
        """Let the work of *run* end, if it has begun and may be cut off."""
        run.signals.cancel()
        if run.working is None:
            return
        self._tasks.abandon(run.working)
        if run.call.kind != "backend":
            run.working.cancel()
        elif run.call.read_only and not run.is_cancelled:
            self._withdrawals.start(run.withdraw(run), run.call.function_name)

    def _pending(self, run: Run, error: ApprovalPendingError) -> ToolOutcome:
        """Return the outcome of a call that waits for approval; ask what comes of it, if that can be told."""
        hooks = [hook for hook in (run.options["decided"], run.decided) if hook is not None]
        can_ask = error.idempotency_key == run.idempotency_key and self._asking < _MOST_QUESTIONS
        if hooks and can_ask:
            self._questions.start(self._ask_until_decided(run, error, hooks), run.call.function_name)
        return run.end(**_waits(error, will_tell=bool(hooks) and can_ask))

    async def _ask_until_decided(
        self, run: Run, pending: ApprovalPendingError, hooks: Iterable[Decided]
    ) -> None:
        name, loop = run.call.function_name, asyncio.get_running_loop()
        end, delay = loop.time() + _DECIDED_WITHIN, _FIRST_QUESTION
        outcome = None
        self._asking += 1
        try:
            while outcome is None:
                await asyncio.sleep(delay)
                delay = min(2 * delay, _LONGEST_DELAY)
                try:
                    outcome = run.end(ok=True, result=await run.work(run, run.timeout))
                except NavaiError as error:
                    if not _is_undecided(error, pending):
                        outcome = run.end(**_decided(run, error))
                    elif loop.time() >= end:
                        outcome = run.end(**_waits(pending, will_tell=False))
        finally:
            self._asking -= 1
        for hook in hooks:
            await notify("decided", name, partial(hook, run.call, outcome))

    async def _work(self, run: Run, deadline: float | None) -> "asyncio.Task[Any]":
        """Return the task of the work, when it is done or its time is over."""
        name, loop = run.call.function_name, asyncio.get_running_loop()
        left = None if deadline is None else max(deadline - loop.time(), _MIN_TIMEOUT)
        slow, slow_after = run.options["slow"], run.options["slow_after"]
        alarms: list[asyncio.TimerHandle | asyncio.Task[None]] = []
        if slow is not None and slow_after is not None:
            call_slow = partial(notify, "slow", name, partial(slow, run.call))
            alarms.append(loop.call_later(slow_after, lambda: self._tasks.start(call_slow(), name)))
        companion = run.companion
        if companion is not None and companion.silence is not None:
            work = partial(companion.accompany, partial(self._last_said, run.session))
            begin = lambda: alarms.append(self._tasks.start(work(), name))  # noqa: E731
            alarms.append(loop.call_later(companion.silence, begin))
        try:
            if run.ahead:
                await asyncio.wait(run.ahead)
            run.begun = True
            _within.set(True)
            task = run.working = self._tasks.start(run.work(run, left), name)
            await asyncio.wait((task,), timeout=None if left is None else left + _MARGIN)
        finally:
            for alarm in alarms:
                alarm.cancel()
        return task

    def _queue(self, run: Run) -> None:
        """Let *run* wait for the calls of its conversation that take turns, if it is such a call."""
        if run.turns is not None and not _within.get():
            run.ahead = [each.task for each in self._in_turn if each.turns is run.turns]
            self._in_turn.append(run)

    def _last_said(self, session: object) -> float:
        """Return when the person of *session* last heard of a call that still runs."""
        companions = [run.companion for run in self._running.values() if run.session is session]
        return max((each.said_at for each in companions if each is not None), default=-math.inf)

    def _ended(self, run: Run, task: "asyncio.Task[ToolOutcome]") -> None:
        """Keep the outcome of *run* until it is delivered, if a second run could do something twice."""
        if self._running.get(run.key) is run:
            del self._running[run.key]
        if run in self._in_turn:
            self._in_turn.remove(run)
        if task.cancelled() or run.is_withdrawn:  # cancelled before its first step
            return
        outcome = task.result()
        if outcome.ok or outcome.pending or (outcome.may_have_executed and outcome.error_type != "failed"):
            self._undelivered[run.key] = run
            if len(self._undelivered) > _MAX_UNDELIVERED:
                self._undelivered.popitem(last=False)


async def call_after(options: ToolsetOptions, call: ToolCall, outcome: ToolOutcome) -> None:
    """Call the ``after`` hook."""
    if options["after"] is not None:
        hook = partial(options["after"], call, outcome)
        await notify("after", call.function_name, hook, limit=_AFTER_LIMIT)


async def _call_before(run: Run, deadline: float | None) -> dict[str, Any] | None:
    """Call the ``before`` hook; return fields of the outcome if it refuses the call."""
    before = run.options["before"]
    if before is None:
        return None
    limit = asyncio.timeout_at(deadline)
    try:
        async with limit:
            reason = await awaited(before(run.call))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the boundary to a hook
        if limit.expired():
            return _no_result("timeout", may_have_run=False)
        _log.exception("The before hook failed for %s, which was not called", run.call.function_name)
        return {"error": _FAILED, "error_type": "refused", "details": _details(error)}
    if reason is None or isinstance(reason, str):
        return None if reason is None else {"error": reason, "error_type": "refused"}
    # True could mean that the call may run, or that it is refused.
    details = f"The before hook returned {type(reason).__name__}, not None or a text; the call was refused."
    return {"error": _FAILED, "error_type": "refused", "details": details}


async def _ask(run: Run) -> dict[str, Any] | None:
    """Ask the person in the session; return fields of the outcome unless the answer is yes."""
    name = run.call.function_name
    approve = run.options["approve"] or run.approve
    reason, details = _NOBODY_ASKED, None
    if approve is None:
        details = "Nobody can be asked: pass approve= to Toolset.load or to Toolset.call."
        _log.error("%s needs the approval of a person. %s", name, details)
    else:
        try:
            if await awaited(approve(run.call)) is True:
                return None
            reason = _NOT_APPROVED
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the boundary to the code that asks
            _log.exception("The approval of %s failed; it was not called", name)
            details = _details(error)
    return {"error": f"{reason} {_DID_NOT_RUN}", "error_type": "refused", "details": details}


def _failed(run: Run, error: BaseException) -> dict[str, Any]:
    """Return the fields of the outcome of work that raised *error*."""
    fields: dict[str, Any] = {"error": _FAILED, "error_type": "failed", "details": _details(error)}
    match error:
        case UnknownFunctionError():
            return fields | {
                "error": UNKNOWN_FUNCTION,
                "error_type": "unknown_function",
                "available_functions": error.available_functions,
            }
        case NavaiTransportError():
            kind = "timeout" if isinstance(error, NavaiTimeoutError) else "unavailable"
            return fields | _no_result(kind, may_have_run=error.may_have_executed)
        case OutcomeUnknownError() | FunctionFailedError(may_have_executed=True):
            fields |= {"error": f"{_CUT_OFF} {_MAY_HAVE_RUN}", "error_type": "unavailable"}
        case ToolError() | FunctionFailedError(details_for_model=True):
            fields["error"] = fields["details"]
        case NavaiPayloadError() | NavaiHTTPError(validation_errors=[_, *_]):
            found = error.validation_errors if isinstance(error, NavaiHTTPError) else (str(error),)
            text = f"Invalid arguments: {_redactor.error(' '.join(found))}"
            return fields | {"error": text, "error_type": "invalid_arguments"}
        case NavaiStateError():
            _log.error("A tool was called with a client that cannot be used: %s", error)
            return fields | {"error_type": "unavailable"}
        case NavaiHTTPError(status_code=status) if status < _SERVER_ERRORS:
            return fields
        case NavaiError():
            pass
        case _:
            _log.error("%s failed", run.call.function_name, exc_info=error)
    return fields | {"may_have_executed": True}


def _waits(error: ApprovalPendingError, *, will_tell: bool) -> dict[str, Any]:
    """Return the fields of the outcome of a call that waits for approval."""
    return {
        "error": _DECISION_COMES if will_tell else _DECISION_UNKNOWN,
        "error_type": "pending",
        "details": _details(error),
        "pending": True,
        "approval_id": error.approval_id,
        "decision_follows": will_tell,
    }


def _is_undecided(error: NavaiError, pending: ApprovalPendingError) -> bool:
    """Return whether the call may still wait, so that it is asked for again."""
    match error:
        case ApprovalPendingError():
            return error.approval_id == pending.approval_id
        case NavaiHTTPError():
            return error.status_code in _TEMPORARY
        case _:
            return isinstance(error, NavaiTransportError)


def _decided(run: Run, error: NavaiError) -> dict[str, Any]:
    """Return the fields of the outcome of a call that was decided, and failed or was rejected."""
    if isinstance(error, ApprovalPendingError):  # the backend has forgotten the call, and asks a person again
        return _waits(error, will_tell=False)
    fields = _failed(run, error)
    kind = error.error if isinstance(error, FunctionFailedError) else None
    if fields["error"] == _FAILED and isinstance(kind, str):
        fields["error"] = _redactor.error(kind)  # such as that a person rejected it
    return fields


def unlisted(error: NavaiError) -> dict[str, Any]:
    """Return the fields of the outcome of a call of a function that *error* kept from being listed."""
    return {
        "error": f"The backend cannot be reached, so its functions are not available. {_DID_NOT_RUN}",
        "error_type": "unavailable",
        "details": _details(error),
    }


def _no_result(kind: str, *, may_have_run: bool) -> dict[str, Any]:
    """Return the fields of the outcome of a call that has no result."""
    return {
        "error": f"{_NO_RESULT[kind]} {_MAY_HAVE_RUN if may_have_run else _DID_NOT_RUN}",
        "error_type": kind,
        "may_have_executed": may_have_run,
    }


def _details(error: BaseException) -> str:
    """Return the message of *error* without secrets: it is logged, and a model may see it."""
    return _redactor.error(message_of(error))
