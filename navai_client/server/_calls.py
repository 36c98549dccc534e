"""One call under way: it ends once, with a result or a failure, for all who wait for it.

It belongs to nobody who waits: who leaves takes nothing along. Everything here happens on the event loop.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from navai_client._redaction import message_of
from navai_client._threads import CallThreads, NoThreadLeftError, outcome_of
from navai_client.functions._binding import ArgumentsError, Payload, Target
from navai_client.functions._context import FunctionContext
from navai_client.functions._results import ResultError, encode_result
from navai_client.server._http import BackendRequest, decode_record

_log = logging.getLogger("navai_client.server")

_GRACE_S: Final = 1.0
"""How long a cancelled asynchronous function may take to clean up before its caller is answered anyway."""


class _Call(msgspec.Struct, forbid_unknown_fields=True):
    function_name: Any = None
    payload: msgspec.Raw = msgspec.Raw(b"null")


_decode_call: Final = msgspec.json.Decoder(_Call).decode
_decode_payload: Final = msgspec.json.Decoder().decode


def decode_call(body: bytes) -> tuple[Any, Payload]:
    """Decode the *body* of a call: the function's name and the payload.

    Raises:
        BodyError: It is not a JSON object.
    """
    try:
        call = _decode_call(body)
        return call.function_name, Payload(_decode_payload(call.payload), bytes(call.payload))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # Fields without a meaning, what JavaScript writes and msgspec does not read, or what is not JSON.
        record = decode_record(body)
        return record.get("function_name"), Payload(record.get("payload"))


class FunctionFailure(Exception):  # noqa: N818 - it is no error of the server
    """A call did not give a result; the message is what its caller may know."""


Outcome = bytes | FunctionFailure
"""What a call ends with: its result as JSON, or why there is none."""


class RunningCall:
    """A call that was begun.

    Attributes:
        name: The function's name.
        context: What the function was handed of its call, when it asked for it.
        outcome: What it ended with; None while it runs, and when it was cancelled.
        ended: Whether those who wait have been told.
        late: What it ends with in any case, once its time is over.
        timer: What ends it when its time is over.
        task: What runs it on the event loop, if anything does.
        let_go: Gives up a call in a thread, which nothing can stop.
        ends_itself: Whether it ends by itself when it is cancelled, having cleaned up, and not at once.
    """

    __slots__ = (
        "_among",
        "_then",
        "_waiting",
        "context",
        "ended",
        "ends_itself",
        "late",
        "let_go",
        "name",
        "outcome",
        "task",
        "timer",
    )

    def __init__(self, name: str, context: FunctionContext | None, among: set["RunningCall"]) -> None:
        """Be one of the calls *among* which it is until it ends."""
        self.name: str = name
        self.context = context
        self.outcome: Outcome | None = None
        self.ended: bool = False
        self.late: FunctionFailure | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None
        self.let_go: Callable[[], None] | None = None
        self.ends_itself: bool = False
        self._then: Callable[[Outcome | None], None] | None = None
        self._waiting: list[asyncio.Future[None]] | None = None
        self._among = among
        among.add(self)

    async def wait(self) -> Outcome:
        """Wait for the end. To be cancelled meanwhile changes nothing for the call.

        Raises:
            asyncio.CancelledError: The one who waits was cancelled, or the call itself, by the server's end.
        """
        if not self.ended:
            waiter = asyncio.get_running_loop().create_future()
            if self._waiting is None:
                self._waiting = [waiter]
            else:
                self._waiting.append(waiter)
            await waiter
        if self.outcome is None:
            raise asyncio.CancelledError
        return self.outcome

    def then(self, tell: Callable[[Outcome | None], None]) -> None:
        """Have *tell* called with the outcome at the end, or with None when the call was cancelled."""
        if self.ended:
            tell(self.outcome)
        else:
            self._then = tell

    def end(self, outcome: Outcome | None) -> None:
        """End with *outcome*, or with None when the call was cancelled; only the first end counts."""
        if self.ended:
            return
        self.ended = True
        self.outcome = outcome if self.late is None else self.late
        self._among.discard(self)
        if self.timer is not None:
            self.timer.cancel()
        if self._then is not None:
            self._then(self.outcome)
        for waiter in self._waiting or ():
            if not waiter.done():
                waiter.set_result(None)
        # It may be kept for long, for its outcome alone.
        self.context = self.timer = self.task = self.let_go = self._then = self._waiting = None

    def cancel(self) -> None:
        """Tell the function that nobody needs its result any more, and stop it as far as that is possible."""
        if self.context is not None:
            self.context.cancelled.set()
        if self.task is not None:
            self.task.cancel()
        if self.let_go is not None:
            self.let_go()
        if not self.ends_itself:
            self.end(None)


class Invoker:
    """Makes calls: asynchronous functions on the event loop, others in threads, each with a time limit."""

    def __init__(self, threads: CallThreads, hide: Callable[[str], str]) -> None:
        """Use *threads* for synchronous functions; *hide* takes out of a failure what callers may not see."""
        self._threads = threads
        self._hide = hide
        self._running: set[RunningCall] = set()
        self._left: set[asyncio.Task[None]] = set()

    def begin(
        self, name: str, target: Target, payload: Payload, request: BackendRequest, limit: float | None
    ) -> RunningCall:
        """Begin a call of *target* with *payload*.

        It ends with the result as JSON, or with a failure: arguments that do not fit, an exception, no end in
        time, or a result without a form in JSON.

        Args:
            name: The function's name, for the log and for its share of the threads.
            target: What to call.
            payload: What the caller sent.
            request: What the function may know of its call.
            limit: Seconds until the call is given up; None means never.
        """
        context = FunctionContext(request) if target.takes_context else None
        running = RunningCall(name, context, self._running)
        try:
            make = target.prepare(payload, context)
            if target.is_async:
                self._await(running, make)
            else:
                self._call_in_thread(running, make)
        except ArgumentsError as error:
            running.end(FunctionFailure(self._hide(str(error))))
        except NoThreadLeftError:
            running.end(FunctionFailure("Too many earlier calls of this function have not returned."))
        except BaseException:
            running.end(None)  # nothing that was not begun stays registered
            raise
        else:
            if limit is not None:
                loop = asyncio.get_running_loop()
                # After the first step of an asynchronous function: most end with it, and need no timer.
                loop.call_soon(self._limit, running, limit, loop.time() + limit)
        return running

    async def close(self) -> None:
        """Cancel what still runs, and wait a moment for it."""
        for task in self._left:
            task.cancel()
        for running in tuple(self._running):
            if running.task is not None:
                self._leave(running.task)
            running.cancel()
        if self._left:
            await asyncio.wait(self._left, timeout=_GRACE_S)

    def _await(self, running: RunningCall, make: Callable[[], Awaitable[Any]]) -> None:
        # A task of its own: a function that ignores its cancellation keeps nobody, and what it sets up for
        # "the current task" (time limits, task groups) is its own.
        running.task = asyncio.get_running_loop().create_task(self._run(running, make))

    async def _run(self, running: RunningCall, make: Callable[[], Awaitable[Any]]) -> None:
        running.ends_itself = True
        try:
            outcome = self._outcome(running.name, await make())
        # The boundary to code that is not ours: whatever it raises ends its own call only.
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                running.end(None)
                raise
            outcome = self._failure(running.name, error)
        running.end(outcome)

    def _call_in_thread(self, running: RunningCall, make: Callable[[], Any]) -> None:
        running.let_go = self._threads.submit(
            running.name, lambda: outcome_of(make), lambda came: self._returned(running, *came)
        )

    def _returned(self, running: RunningCall, result: Any, error: BaseException | None) -> None:
        if running.ended:
            return
        if error is not None:
            running.end(self._failure(running.name, error))
        elif inspect.isawaitable(result):
            self._await(running, lambda: result)
        else:
            running.end(self._outcome(running.name, result))

    def _limit(self, running: RunningCall, limit: float, end: float) -> None:
        if not running.ended:
            loop = asyncio.get_running_loop()
            running.timer = loop.call_at(end, self._end_in_time, running, limit)

    def _end_in_time(self, running: RunningCall, limit: float) -> None:
        """Stop a call whose time is over, and end it now or, when it has to clean up, after a moment."""
        running.late = FunctionFailure(f"The function did not finish within {limit:g} seconds.")
        running.cancel()
        task = running.task
        if task is not None:  # what runs in a thread has ended with that
            running.timer = asyncio.get_running_loop().call_later(_GRACE_S, self._end_anyway, running, task)

    def _end_anyway(self, running: RunningCall, task: asyncio.Task[None]) -> None:
        _log.warning("Function %s goes on after its time was over and it was cancelled.", running.name)
        self._leave(task)
        running.end(None)

    def _leave(self, task: asyncio.Task[None]) -> None:
        self._left.add(task)
        task.add_done_callback(self._left.discard)

    def _outcome(self, name: str, result: Any) -> Outcome:
        try:
            return encode_result(result)
        except ResultError as failure:
            _log.warning("Function %s gave a result without a form in JSON: %s", name, failure)
            return FunctionFailure(self._hide(str(failure)))

    def _failure(self, name: str, error: BaseException) -> FunctionFailure:
        _log.error("Function %s failed.", name, exc_info=error)
        return FunctionFailure(self._hide(message_of(error)))
