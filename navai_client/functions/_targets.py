"""What a registered function calls: a function or a class's method, and how a payload is bound to it."""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from navai_client.functions._binding import Signature, is_filled_list
from navai_client.functions._context import FunctionContext


class Target(Protocol):
    """What a registered function calls.

    Attributes:
        signature: What it takes.
        is_async: Whether a call gives an awaitable, and blocks nothing meanwhile.
        takes_context: Whether it is handed the function context; if not, that may be None.
    """

    signature: Signature
    is_async: bool
    takes_context: bool

    def prepare(self, payload: Any, context: FunctionContext | None) -> Callable[[], Any]:
        """Bind *payload* and return the call; raise :class:`ArgumentsError` when it does not fit."""
        ...


class FunctionTarget:
    """A function, a bound method or any other callable."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call
        self.is_async: bool = _is_async(call)
        self.signature: Signature = Signature(call)
        self.takes_context: bool = self.signature.takes_context

    def prepare(self, payload: Any, context: FunctionContext | None) -> Callable[[], Any]:
        """Bind *payload* to the function's parameters."""
        positional, keywords = self.signature.bind(payload, context)
        return functools.partial(self._call, *positional, **keywords)


class MethodTarget:
    """A method of a class: each call makes an instance first, as the Express backend does."""

    def __init__(self, cls: type, method: str) -> None:
        call = getattr(cls, method)
        self._class = cls
        self._method = method
        # A constructor of its own may block: then even an asynchronous method is begun in a thread.
        self.is_async: bool = _is_async(call) and _has_no_constructor(cls)
        self._constructor = Signature(cls)
        self.signature: Signature = Signature(call, is_method=True)
        self.takes_context: bool = self.signature.takes_context or self._constructor.takes_context

    def prepare(self, payload: Any, context: FunctionContext | None) -> Callable[[], Any]:
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

        return call


def _has_no_constructor(cls: type) -> bool:
    return all(base is object or "__init__" not in vars(base) for base in cls.__mro__)


def _is_async(call: Any) -> bool:
    found: Callable[..., Awaitable[Any]] | Any = call
    return inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(getattr(found, "__call__", None))  # noqa: B004
