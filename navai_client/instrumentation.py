"""How a client's calls are watched: by an interface, for tracing for example, and by the log."""

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Final, Protocol

from attrs import field, frozen

from navai_client._redaction import RedactingFormatter, Redactor
from navai_client.errors import NavaiPayloadError
from navai_client.wire._encode import encode_json

__all__ = ["Instrumentation", "Observation", "ObservedCall"]

_LEVELS: Final = ("debug", "info", "warning", "error")
_log: Final = logging.getLogger("navai_client")
_tool_call_id: ContextVar[str | None] = ContextVar("navai_client.tool_call_id", default=None)


@frozen(eq=False)
class ObservedCall:
    """One call of a client, as it begins.

    Attributes:
        operation: The client's method, such as ``execute_function``.
        url: The URL without its query, which can hold a key.
        function_name: The function that is executed, or None.
        payload: The function's input.
        tool_call_id: The model's id of the call, or None if no model requested it.
        secrets: Texts that the client keeps out of its errors.
        json_default: The client's function for values that are not JSON, or None.
    """

    operation: str
    url: str
    function_name: str | None = None
    payload: Any = field(default=None, repr=False)
    tool_call_id: str | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)
    json_default: Callable[[Any], Any] | None = field(default=None, repr=False)

    def text(self, value: Any) -> str:
        """Return *value*, the payload or a result, as JSON text in which the client's secrets are masked.

        A value that is nested too deep to be written is replaced by a note that says so.
        """
        try:
            content = encode_json(value, name="The value", default=self.json_default)
        except NavaiPayloadError as error:
            return f"[{error}]"
        return Redactor(self.secrets, patterns=False).content(content).decode()


class Observation(Protocol):
    """Watches one call."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers to add to each of the call's requests, such as ``traceparent``."""

    def succeeded(self, value: Any) -> None:
        """Note the result of the call."""


class Instrumentation(Protocol):
    """Watches the calls of a client. Used by any number of threads and tasks at the same time."""

    def observe(self, call: ObservedCall) -> AbstractContextManager[Observation]:
        """Return a context manager around *call*, retries included. It sees what the call raises.

        A function list that is returned from memory is a call, too.
        """


@contextmanager
def tool_call(call_id: str | None) -> Iterator[None]:
    """Mark the calls made inside as part of the model's tool call *call_id*."""
    token = _tool_call_id.set(call_id)
    try:
        yield
    finally:
        _tool_call_id.reset(token)


def current_tool_call() -> str | None:
    """Return the id of the model's tool call that this one is part of, or None."""
    return _tool_call_id.get()


@functools.cache  # once for each level: what a program sets afterwards stays
def show_log(level: str) -> None:
    """Write the log of this package from *level* on to standard error, unless the program handles logs."""
    name = level.strip().lower()
    if not name:
        return
    if name not in _LEVELS:
        _log.warning("NAVAI_LOG must be one of %s; it is %.20r.", ", ".join(_LEVELS), level)
        return
    handler = logging.StreamHandler()
    lines = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(RedactingFormatter(lines, Redactor()))
    logging.basicConfig(handlers=[handler])
    _log.setLevel(name.upper())
