"""From a payload to an outcome: claim the key, bind the arguments, run the function within its time.

The owner's code runs here and nowhere else in the server, so every exception is caught here.
"""

import asyncio
import functools
import inspect
import itertools
import logging
import math
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

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
from navai_client.server._approvals import Holding, approval_id
from navai_client.server._calls import CUT_OFF, NOT_BEGUN, PENDING, Failure, Outcome, RunningCall
from navai_client.server._errors import StoreError
from navai_client.server._events import Progress
from navai_client.server._http import BackendRequest
from navai_client.server._processes import (
    Encoded,
    NotSentError,
    ProcessEndedError,
    Processes,
    Work,
    run_by,
)
from navai_client.server._settings import ServerSettings
from navai_client.server._store import (
    MAX_KEPT_BYTES,
    TTL_S,
    MemoryStore,
    Store,
    StoreEntry,
    TooManyHeldError,
    decode_outcome,
    encode_outcome,
    fingerprint,
)

_log: Final = logging.getLogger("navai_client.server")

_POLL_S: Final = 0.02  # at first; it doubles each time, up to the slowest
_SLOWEST_POLL_S: Final = 0.5
_RETRY_S: Final = 1.0  # before an outcome is sent again to a store that failed
_RECORDING_S: Final = 2.0  # a response waits no longer for the store
_TOKEN_BYTES: Final = 16
_local_tokens: Final = itertools.count()
_NO_KEY: Final = bytes(16)
_PROBE_S: Final = 1.0  # of /ready: the default time limit of Kubernetes' probes
_GRACE_S: Final = 1.0  # for a cancelled function to clean up before its caller gets a response

_TOO_BUSY: Final = Failure("The server is too busy: the function was not begun. Try again.", NOT_BEGUN)
_DROPPED: Final = Failure("The caller left, and the call was cancelled. Try again.", NOT_BEGUN)
_CANCELLED: Final = Failure("The call was cancelled.", may_have_executed=True)
_CANCELLED_UNBEGUN: Final = Failure("The call was cancelled before its function began.")
SHUT_DOWN: Final = Failure(
    "The server stopped while the function ran. It may have been executed.", CUT_OFF, may_have_executed=True
)
_OWNER_GONE: Final = Failure(
    "The process that ran the function has gone. It may have been executed.", CUT_OFF, may_have_executed=True
)
_NOT_KEPT: Final = encode_outcome(
    Failure(
        "The function was executed. There was no room to keep its outcome.", CUT_OFF, may_have_executed=True
    )
)
_HOLD_UNCONFIRMED: Final = Failure(
    "It is not known whether the call waits for approval. Ask again with the same key.",
    CUT_OFF,
    may_have_executed=True,
)
_UNUSABLE: Final = "Idempotency keys cannot be stored at the moment: the function was not begun. Try again."
_PENDING: Final = (
    "The call waits until a person has approved it, and then runs. Do not repeat it with other arguments or "
    "another Idempotency-Key: that would be another call."
)
_KEY_REUSED: Final = Failure("Idempotency-Key was used before with another function or payload.", 422)


class RunsElsewhereError(Exception):
    """Another process has the call."""


class _Claim(msgspec.Struct, eq=False):
    """A key, and the call in this process that has it, or that waits for the call in another process.

    Attributes:
        key: The key, as the store knows it.
        fingerprint: The fingerprint of the function and the payload.
        token: The token of the claim in the store.
        call: The call.
        is_ours: Whether the store may have given the key to this call.
        may_be_started: Whether the store may have confirmed its start.
        held: If the function needs approval: the call as the store keeps it until then, or why the call
            could not run.
        ttl: Seconds for which its outcome is kept.
    """

    key: bytes
    fingerprint: bytes
    token: bytes
    call: RunningCall
    is_ours: bool = True
    may_be_started: bool = False
    held: bytes | Failure | None = None
    ttl: float = TTL_S


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
        store: Store | None = None,
        max_kept_bytes: int = MAX_KEPT_BYTES,
        key_ttl: float = TTL_S,
        processes: Processes | None = None,
        holding: Holding | None = None,
    ) -> None:
        """Run synchronous functions in *threads*.

        Args:
            threads: The threads for synchronous functions.
            redact: Removes secrets and paths from a failure.
            timeout: Seconds that a call may take if its function declares no limit; None means no limit.
            expose_errors: Whether callers get the message of any exception, or of :class:`ToolError` alone.
            max_result_bytes: The largest result, as JSON.
            store: The store of idempotency keys, by default in memory.
            max_kept_bytes: The largest outcome that is kept for a key.
            key_ttl: Seconds for which an outcome is kept.
            processes: The processes for functions that run in one.
            holding: How calls that wait for approval are kept.
        """
        self._threads = threads
        self._redact = redact
        self._timeout = timeout
        self._expose_errors = expose_errors
        self._max_result_bytes = max_result_bytes
        self._store: Store = MemoryStore() if store is None else store
        self._max_kept_bytes = max_kept_bytes
        self._too_large = Failure(
            f"The function was executed. Its outcome has more than {max_kept_bytes} bytes, and was not kept.",
            CUT_OFF,
            may_have_executed=True,
        )
        self._key_ttl = key_ttl
        self._holding = Holding() if holding is None else holding
        self._claims: dict[bytes, _Claim] = {}
        self._claiming = BackgroundTasks(_log)
        self._recording = BackgroundTasks(_log)
        self._renewing: asyncio.Task[None] | None = None
        self._is_store_usable = True
        self._processes = Processes() if processes is None else processes
        self._running: set[RunningCall] = set()
        self._stopped = BackgroundTasks(_log)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next_check = math.inf
        self.observe: Callable[[RunningCall, Outcome, float], None] | None = None
        """Called at the end of each call, with the seconds that it took."""

    @property
    def running(self) -> int:
        """How many calls have not ended, or wait until their outcomes are recorded."""
        return len(self._running)

    async def begin(
        self,
        function: RegisteredFunction,
        payload: Payload,
        request: BackendRequest,
        *,
        key: bytes | None = None,
    ) -> tuple[RunningCall, bool]:
        """Begin a call. Return it, and whether an earlier request with *key* had begun it.

        The call ends with the result as JSON, or with a failure: arguments that do not fit, an exception, a
        timeout, or a result that JSON cannot express.

        Args:
            function: The function.
            payload: Its payload.
            request: For the function's context.
            key: The digest of the caller and its ``Idempotency-Key``.
        """
        call = self._new_call(function, request)
        timeout = function.limit(self._timeout)
        held = None
        if function.needs_approval:
            key = os.urandom(_TOKEN_BYTES) if key is None else key
            held = self._holding.kept(function, payload, call.context, request)
        if key is None:
            self._running.add(call)
            await self._begin(call, function, payload)
        else:
            digest = fingerprint(function.name, payload)
            known = self._claims.get(key)
            if known is not None and known.fingerprint != digest:
                call.end(_KEY_REUSED)
                return call, False
            if known is not None:
                if known.call.stopped is not None and timeout is not None:
                    self._limit(known.call, timeout)  # it still runs, and its callers have been answered
                return known.call, True
            self._running.add(call)
            claim = _Claim(key, digest, self._new_token(), call, held=held, ttl=self._key_ttl)
            self._claims[key] = claim
            call.on_end = functools.partial(self._end_claim, claim)
            claiming = self._claim(claim, function, payload)
            if isinstance(self._store, MemoryStore):
                await claiming
            else:  # a caller that leaves now does not stop it
                await self._claiming.run(claiming, f"Claim of {call.name}")
        if timeout is not None and call.outcome is None:
            self._limit(call, timeout)
        return call, False

    def _new_token(self) -> bytes:
        if isinstance(self._store, MemoryStore):  # no other process makes tokens for it
            return next(_local_tokens).to_bytes(_TOKEN_BYTES)
        return os.urandom(_TOKEN_BYTES)

    def _new_call(self, function: RegisteredFunction, request: BackendRequest) -> RunningCall:
        context = progress = None
        if function.target.takes_context:
            progress = Progress(self._redact)
            context = FunctionContext(request, progress=progress)
        loop = asyncio.get_running_loop()
        return RunningCall(function.name, context, progress, self._running, loop, request.request_id)

    async def approve(
        self,
        function: RegisteredFunction,
        payload: Payload,
        request: BackendRequest,
        key: bytes,
        digest: bytes,
    ) -> tuple[RunningCall, StoreEntry | None]:
        """Begin the call that waits for approval under *key*, and return it.

        If it no longer waits, because somebody else was faster, return its entry, too.
        """
        call = self._new_call(function, request)
        claim = _Claim(key, digest, self._new_token(), call)
        claim.ttl = max(self._key_ttl, self._holding.ttl)  # its caller may wait that long to ask
        self._running.add(call)
        call.on_end = functools.partial(self._end_claim, claim)
        # An approver who leaves now does not stop it.
        found = await self._claiming.run(self._approve(claim, function, payload), f"Approval of {call.name}")
        timeout = function.limit(self._timeout)
        if timeout is not None and call.outcome is None:
            self._limit(call, timeout)
        return call, found

    async def _approve(
        self, claim: _Claim, function: RegisteredFunction, payload: Payload
    ) -> StoreEntry | None:
        call = claim.call
        try:
            entry = await self._store.approve(claim.key, claim.fingerprint, claim.token, self._store.lease)
        except StoreError as error:
            call.end(self._unusable(error))
            return None
        claim.is_ours = entry is not None and entry.token == claim.token
        if not claim.is_ours:
            call.end(_TOO_BUSY)
            return entry
        if call.outcome is None:  # it was not stopped meanwhile
            self._claims[claim.key] = claim
            await self._begin(call, function, payload, claim)
        return None

    async def _claim(self, claim: _Claim, function: RegisteredFunction, payload: Payload) -> None:
        """Begin a call if the store gives it its key; else let it end as the call that has the key."""
        call = claim.call
        try:
            run = _prepare(claim, function, payload)
            claim.may_be_started = run is not None
            ours = claim.key, claim.fingerprint, claim.token
            if isinstance(claim.held, bytes):
                holding = self._holding
                entry = await self._store.hold(*ours, claim.held, holding.ttl, limit=holding.limit)
            else:
                entry = await self._store.claim(*ours, self._store.lease, start=run is not None)
        except StoreError as error:
            failure = self._unusable(error)
            # The store may have kept the call without confirming it, and then a person may let it begin. Only
            # a full store has certainly kept nothing: it says when there is room.
            if isinstance(claim.held, bytes) and error.retry_after is None:
                claim.is_ours = False
                failure = _HOLD_UNCONFIRMED
            call.end(failure)
            return
        except BaseException:
            call.end(_TOO_BUSY)  # so that it does not stay among the running calls
            raise
        claim.is_ours = entry.token == claim.token and entry.state != "waiting"
        if call.outcome is not None:  # it was stopped meanwhile
            return
        if claim.is_ours and isinstance(claim.held, Failure):
            call.end(claim.held)
        elif claim.is_ours:
            await self._begin(call, function, payload, claim, run)
        elif not _end_as(claim, entry):
            call.begun = True  # perhaps, in another process
            call.task = call.loop.create_task(self._follow(claim, function, payload))

    async def _begin(
        self,
        call: RunningCall,
        function: RegisteredFunction,
        payload: Payload,
        claim: _Claim | None = None,
        run: Callable[[], Any] | None = None,
    ) -> None:
        call.observe = self.observe and functools.partial(_observe, self.observe, time.perf_counter())
        try:
            if run is None:
                run = function.target.prepare(payload, call.context)
            # Nothing but the function's own code may follow this: once the claim is started, the call may
            # have been executed, whatever happens to this process.
            if claim is None or await self._start(claim):
                self._run_function(call, function, run)
        except (ArgumentsError, NotSentError) as error:
            is_callers = isinstance(error, ArgumentsError)
            call.end(Failure(self._redact(str(error)), details_for_model=is_callers))
        except NoThreadLeftError:
            call.end(_TOO_BUSY)
        except StoreError as error:
            call.end(self._unusable(error))
        except BaseException:
            call.end(_TOO_BUSY)  # so that it does not stay among the running calls
            raise

    async def _start(self, claim: _Claim) -> bool:
        """Return whether the store confirms that the function of *claim* may begin."""
        is_started = claim.may_be_started  # in the same step as it was claimed
        if not is_started:
            claim.may_be_started = True
            is_started = await self._store.start(claim.key, claim.token, self._store.lease)
        if not is_started:  # this process was paused, and the claim has lapsed
            claim.is_ours = False
            claim.call.end(_TOO_BUSY)
        elif self._store.lease < math.inf and (self._renewing is None or self._renewing.done()):
            self._renewing = asyncio.get_running_loop().create_task(self._renew())
        return is_started and claim.call.outcome is None

    async def _renew(self) -> None:
        """Renew the leases of the functions that run with a key."""
        lease = self._store.lease
        while self._claims:
            await asyncio.sleep(lease / 3)
            held = [each for each in self._claims.values() if each.is_ours and each.may_be_started]
            renewals = (self._store.renew(each.key, each.token, lease) for each in held)
            renewed = await asyncio.gather(*renewals, return_exceptions=True)
            for claim, is_renewed in zip(held, renewed, strict=True):
                if is_renewed is False and claim.call.outcome is None:
                    _log.error("The store has lost the key of a call of %s that runs.", claim.call.name)

    async def _follow(self, claim: _Claim, function: RegisteredFunction, payload: Payload) -> None:
        """Wait for the outcome of the call in another process that has the key, or until the key is free."""
        call, delay = claim.call, _POLL_S
        while call.outcome is None:
            await asyncio.sleep(delay)
            delay = min(2 * delay, _SLOWEST_POLL_S)
            try:
                entry = await self._store.read(claim.key)
            except StoreError:
                continue  # within the time limit of the call
            if entry is None:  # the function did not begin there
                call.begun, call.task, claim.is_ours = False, None, True
                await self._claim(claim, function, payload)
                return
            _end_as(claim, entry)

    def _end_claim(self, claim: _Claim, outcome: Outcome) -> None:
        """Keep the *outcome* of a call for its key. If its function never began, the key becomes free."""
        if self._claims.get(claim.key) is claim:  # and not the call that was approved while it waited
            del self._claims[claim.key]
        if not claim.is_ours:
            return
        kept = None
        if isinstance(outcome, bytes) or outcome.has_begun:
            kept = encode_outcome(outcome)
            if len(kept) > self._max_kept_bytes:
                kept = encode_outcome(self._too_large)
        if isinstance(self._store, MemoryStore):
            self._store.finish_now(claim.key, claim.token, kept, claim.ttl, _NOT_KEPT)
        else:
            call = claim.call
            call.recording = self._recording.start(self._record(claim, kept), f"Outcome of {call.name}")
            call.recording.add_done_callback(lambda _: call.close(outcome))
            self._end_in(_RECORDING_S, call)

    async def _record(self, claim: _Claim, kept: bytes | None) -> None:
        loop = asyncio.get_running_loop()
        patience = self._key_ttl
        if kept is None:  # a claim that was not started lapses by itself
            patience = self._store.lease if claim.may_be_started else 0
        deadline = loop.time() + patience
        while True:
            try:
                if not await self._store.finish(claim.key, claim.token, kept, claim.ttl) and kept:
                    _log.error("The store has lost the key of a call of %s.", claim.call.name)
            except StoreError as error:
                self._unusable(error)
                if loop.time() >= deadline:
                    return
                await asyncio.sleep(_RETRY_S)
            else:
                self._is_store_usable = True
                return

    def _unusable(self, error: StoreError) -> Failure:
        if isinstance(error, TooManyHeldError):
            return Failure(str(error), NOT_BEGUN, retry_after=error.retry_after or "1")
        if self._is_store_usable:  # one line for the whole outage
            _log.error("Calls with an Idempotency-Key get status 503: %s", error)
        self._is_store_usable = False
        return Failure(_UNUSABLE, NOT_BEGUN, retry_after=error.retry_after or "1")

    async def why_store_fails(self) -> str | None:
        """Return why keys cannot be stored. It reveals no details, because anybody may ask."""
        try:
            async with asyncio.timeout(_PROBE_S):
                await self._store.read(_NO_KEY)
        except StoreError as error:
            self._unusable(error)
        except TimeoutError:
            self._unusable(StoreError(f"The store did not respond within {_PROBE_S:g} seconds."))
        else:
            self._is_store_usable = True
            return None
        return "The store of idempotency keys cannot be used."

    async def cancel(self, key: bytes) -> tuple[bool, bool] | None:
        """Cancel the call of *key*. If its function has not begun, it never will.

        Returns:
            Whether the call had not ended yet, and whether its function has begun. None if there is no call.

        Raises:
            RunsElsewhereError: Another process has the call.
            StoreError: The store cannot be used.
        """
        claim = self._claims.get(key)
        if claim is not None and claim.is_ours:
            self.stop(claim.call, _CANCELLED, _CANCELLED_UNBEGUN)
            return True, claim.call.begun
        entry = await self._store.read(key)
        if entry is None:
            return None
        if entry.state == "waiting":  # its caller withdraws it
            outcome = encode_outcome(_CANCELLED_UNBEGUN)
            return await self._store.reject(key, entry.fingerprint, outcome, self._key_ttl), False
        if entry.outcome is None:
            raise RunsElsewhereError
        return False, True

    def stop(self, call: RunningCall, failure: Failure, unbegun: Failure = _TOO_BUSY) -> None:
        """Stop *call*: it ends with *failure* now or, if it must clean up, after a moment."""
        if call.outcome is not None or call.stopped is not None:
            return
        task = call.task
        if task is not None:
            self._stopped.hold(task)  # until it has cleaned up; the call may end earlier
        call.stop(failure, unbegun)
        if task is not None:
            self._end_in(_GRACE_S, call)

    def drop(self, call: RunningCall) -> None:
        """Stop *call*, and end it as if it had never begun, so that its key is free again."""
        self.stop(call, _DROPPED)
        call.end(_DROPPED)  # whatever it returns: a repeated call must not get what was cut short

    async def close(self) -> None:
        """Stop the running calls, and wait a moment for them."""
        for call in tuple(self._running):
            self.stop(call, SHUT_DOWN)
        await self._stopped.close(0)
        for call in tuple(self._running):
            call.end(call.stopped or SHUT_DOWN)
        await self._claiming.close(0)
        await self._recording.close(_GRACE_S)
        if self._renewing is not None and not self._renewing.get_loop().is_closed():
            self._renewing.cancel()
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
        # In a task of its own: then a function that ignores its cancellation holds up no caller, and its time
        # limits and task groups affect no other task.
        call.task = call.loop.create_task(self._run(call, run))

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
        """Encode the result of a function in a thread, because that takes time or runs the owner's code."""
        encode = functools.partial(encode_result, result, self._max_result_bytes)
        returned = on_this_loop(functools.partial(self._returned, call))
        self._threads.submit(call.name, encode, returned, refusable=False)
        call.task, call.abandon = None, lambda: True

    def _returned(self, call: RunningCall, result: Any, error: BaseException | None) -> None:
        if call.outcome is not None:
            return
        if isinstance(error, ProcessEndedError) and call.stopped is not None:
            call.end(call.stopped)  # the reason why the process was ended
        elif error is not None:
            call.end(self._failure(call, error))
        elif isinstance(result, bytes):
            call.end(result)
        elif call.stopped is not None:
            call.end(call.stopped)  # the awaitable that it returned is not awaited
        else:
            self._run_in_loop(call, lambda: result)

    def _limit(self, call: RunningCall, timeout: float) -> None:
        call.timeout = timeout
        if call.deadline == math.inf:
            self._end_in(timeout, call)

    def _end_in(self, seconds: float, call: RunningCall) -> None:
        loop = call.loop
        if loop is not self._loop:  # the timer and the calls of another loop ended with it
            self._loop, self._timer, self._next_check = loop, None, math.inf
            self._running.intersection_update((call,))
        call.deadline = loop.time() + seconds
        if call.deadline < self._next_check:
            self._check_at(call.deadline)

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
            if call.outcome is not None:
                call.close(call.outcome)
            elif call.stopped is None:
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
        is_callers = isinstance(error, ToolError)
        if is_callers:
            _log.info("Function %s failed (request %s): %s", name, request_id, line)
        elif isinstance(error, ResultError):
            text = "Function %s returned a result without a form in JSON (request %s): %s"
            _log.warning(text, name, request_id, line)
        else:
            _log.error("Function %s failed (request %s).", name, request_id, exc_info=error)
        if not self._expose_errors and not is_callers:
            message = f"The function failed. Request id: {request_id}"
        # A function whose result cannot be returned has still acted.
        may_have_executed = isinstance(error, ResultError | ProcessEndedError)
        return Failure(
            self._redact(message), may_have_executed=may_have_executed, details_for_model=is_callers
        )


def threads_of(settings: ServerSettings) -> CallThreads:
    """Make the threads for synchronous functions."""
    return CallThreads(
        settings.threads_per_function, in_all=settings.threads, waiting=settings.max_waiting_calls
    )


def _prepare(claim: _Claim, function: RegisteredFunction, payload: Payload) -> Callable[[], Any] | None:
    """Return the function with its arguments, if it waits neither for a slot nor for a person."""
    if claim.held is not None or function.declaration.runs_in is not None or not function.target.is_async:
        return None
    try:
        return function.target.prepare(payload, claim.call.context)
    except ArgumentsError:
        return None  # its key may still have an outcome


def _end_as(claim: _Claim, entry: StoreEntry) -> bool:
    """End the call of *claim* as *entry* says, if that is possible."""
    call = claim.call
    if entry.fingerprint != claim.fingerprint:
        call.end(_KEY_REUSED)
    elif entry.state == "waiting":
        call.is_replayed = entry.token != claim.token
        waits = approval_id(claim.key, claim.fingerprint)
        call.end(Failure(_PENDING, PENDING, approval_id=waits))
    elif entry.outcome is not None:
        call.is_replayed = True
        call.end(decode_outcome(entry.outcome))
    elif entry.state == "unknown":
        call.end(_OWNER_GONE)
    return call.outcome is not None


def _observe(
    observe: Callable[[RunningCall, Outcome, float], None], began: float, call: RunningCall, outcome: Outcome
) -> None:
    observe(call, outcome, time.perf_counter() - began)


def _completed(run: Callable[[], Any], limit: int) -> Any:
    """Run a function, and encode its result in the same thread: a generator runs while it is read."""
    result = run()
    return result if inspect.isawaitable(result) else encode_result(result, limit)
