"""From a payload to a result: the call itself, its time limit, and what is said when it fails.

Here alone code of the backend's owner runs, so here alone every exception is caught.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import attrs

from navai_client.server.context import FunctionContext
from navai_client.server.redaction import message_of
from navai_client.server.results import ResultError, encode_result
from navai_client.server.signature import ArgumentsError, Signature, is_filled_list
from navai_client.server.threads import CallThreads, NoThreadLeftError

__all__ = ["FunctionFailure", "FunctionTarget", "Invoker", "MethodTarget", "Target"]

_log = logging.getLogger("navai_client.server")

_GRACE_S: Final = 1.0
"""How long a cancelled asynchronous function may take to clean up before its caller is answered anyway."""


class FunctionFailure(Exception):  # noqa: N818 - it is no error of the server
    """A call did not give a result; the message is what its caller may know."""


@attrs.frozen
class Call:
    """A call ready to be made: *make* gives the result or, when *is_async*, an awaitable of it."""

    make: Callable[[], Any]
    is_async: bool


class Target(Protocol):
    """What a registered function calls."""

    signature: Signature

    def prepare(self, payload: Any, context: FunctionContext) -> Call:
        """Bind *payload*; raise :class:`ArgumentsError` when it does not fit."""
        ...


class FunctionTarget:
    """A function, a bound method or any other callable."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call
        self._is_async = _is_async(call)
        self.signature = Signature(call)

    def prepare(self, payload: Any, context: FunctionContext) -> Call:
        """Bind *payload* to the function's parameters."""
        positional, keywords = self.signature.bind(payload, context)
        return Call(lambda: self._call(*positional, **keywords), self._is_async)


class MethodTarget:
    """A method of a class: each call makes an instance first, as the Express backend does."""

    def __init__(self, cls: type, method: str) -> None:
        call = getattr(cls, method)
        self._class = cls
        self._method = method
        self._is_async = _is_async(call)
        self._constructor = Signature(cls)
        self._plain = _has_no_constructor(cls)
        self.signature = Signature(call, is_method=True)

    def prepare(self, payload: Any, context: FunctionContext) -> Call:
        """Bind ``constructorArgs`` to the class, ``methodArgs`` or the rest of *payload* to the method."""
        record = payload if isinstance(payload, dict) else {}
        given = record.get("constructorArgs")
        made = self._constructor.bind_positional(given if is_filled_list(given) else [], context)
        given = record.get("methodArgs")
        if is_filled_list(given):
            called = self.signature.bind_positional(given, context)
        else:
            rest = {
                key: value for key, value in record.items() if key not in ("constructorArgs", "methodArgs")
            }
            called = self.signature.bind(rest if record else payload, context)

        def call() -> Any:
            return getattr(self._class(*made[0], **made[1]), self._method)(*called[0], **called[1])

        # A constructor of its own may block: then even an asynchronous method is begun in a thread.
        return Call(call, self._is_async and self._plain)


class Invoker:
    """Makes calls: asynchronous functions on the event loop, others in threads, each with a time limit."""

    def __init__(self, threads: CallThreads, hide: Callable[[str], str]) -> None:
        """Use *threads* for synchronous functions; *hide* takes out of a failure what callers may not see."""
        self._threads = threads
        self._hide = hide
        self._left: set[asyncio.Task[Any]] = set()

    async def invoke(
        self, name: str, target: Target, payload: Any, context: FunctionContext, limit: float | None
    ) -> bytes:
        """Call *target* with *payload* and return its result as JSON.

        Args:
            name: The function's name, for the log and for its share of the threads.
            target: What to call.
            payload: What the caller sent.
            context: What the function may know of its call.
            limit: Seconds until the call is given up; None means never.

        Raises:
            FunctionFailure: Arguments that do not fit, an exception, no end in time, or a result without a
                form in JSON.
        """
        try:
            call = target.prepare(payload, context)
        except ArgumentsError as error:
            raise FunctionFailure(str(error)) from None
        task = asyncio.get_running_loop().create_task(self._run(name, call))
        try:
            done, _ = await asyncio.wait((task,), timeout=limit)
        except asyncio.CancelledError:
            context.cancelled.set()
            task.cancel()
            self._leave(task)
            raise
        if not done:
            context.cancelled.set()
            await self._stop(name, task)
            raise FunctionFailure(f"The function did not finish within {limit:g} seconds.")
        result, raised = task.result()
        if raised is not None:
            raise self._failure(name, raised)
        try:
            return encode_result(result)
        except ResultError as failure:
            _log.warning("Function %s gave a result without a form in JSON: %s", name, failure)
            raise FunctionFailure(self._hide(str(failure))) from None

    async def close(self) -> None:
        """Cancel what was given up and is still running."""
        for task in self._left:
            task.cancel()
        if self._left:
            await asyncio.wait(self._left, timeout=_GRACE_S)

    async def _run(self, name: str, call: Call) -> tuple[Any, BaseException | None]:
        try:
            if call.is_async:
                return await call.make(), None
            result, error = await self._threads.run(name, lambda: _guarded(call.make))
            if error is None and inspect.isawaitable(result):
                return await result, None
        except NoThreadLeftError:
            return None, FunctionFailure("Too many earlier calls of this function have not returned.")
        # The boundary to code that is not ours: whatever it raises ends its own call only.
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            return None, error
        return result, error

    async def _stop(self, name: str, task: asyncio.Task[Any]) -> None:
        task.cancel()
        _, running = await asyncio.wait((task,), timeout=_GRACE_S)
        if running:
            _log.warning("Function %s goes on after its time was over and it was cancelled.", name)
            self._leave(task)

    def _leave(self, task: asyncio.Task[Any]) -> None:
        self._left.add(task)
        task.add_done_callback(self._left.discard)

    def _failure(self, name: str, error: BaseException) -> FunctionFailure:
        if isinstance(error, FunctionFailure):
            return error
        _log.error("Function %s failed.", name, exc_info=error)
        return FunctionFailure(self._hide(message_of(error)))


def _guarded(make: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return make(), None
    # The boundary to code that is not ours, here in its thread.
    except BaseException as error:  # noqa: BLE001
        return None, error


def _has_no_constructor(cls: type) -> bool:
    return all(base is object or "__init__" not in vars(base) for base in cls.__mro__)


def _is_async(call: Any) -> bool:
    found: Callable[..., Awaitable[Any]] | Any = call
    return inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(getattr(found, "__call__", None))  # noqa: B004
