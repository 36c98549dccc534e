"""How the calls of a client are watched, by tracing for example: the interface, which knows no tracer."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from attrs import field, frozen

from navai_client._redaction import Redactor
from navai_client.errors import NavaiPayloadError
from navai_client.wire._encode import encode_json

__all__ = ["Instrumentation", "Observation", "ObservedCall"]

_tool_call_id: ContextVar[str | None] = ContextVar("navai_client.tool_call_id", default=None)


@frozen(eq=False)
class ObservedCall:
    """One call of a client, as it begins.

    Attributes:
        operation: The client's method, such as ``execute_function``.
        url: Where it goes. A query can hold a key, so it is left out.
        function_name: The function that is executed, or None.
        payload: What the function is given.
        tool_call_id: The model's id of the call, or None if no model asked for it.
        secrets: Texts that the client keeps out of its errors.
    """

    operation: str
    url: str
    function_name: str | None = None
    payload: Any = field(default=None, repr=False)
    tool_call_id: str | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def text(self, value: Any) -> str:
        """Return *value*, the payload or a result, as JSON text in which the client's secrets are masked.

        What was read from JSON may be nested deeper than can be written: that is said instead.
        """
        try:
            content = encode_json(value, name="The value")
        except NavaiPayloadError as error:
            return f"[{error}]"
        return Redactor(self.secrets, patterns=False).content(content).decode()


class Observation(Protocol):
    """What watches one call."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What to add to the headers of each of the call's requests, such as ``traceparent``."""

    def succeeded(self, value: Any) -> None:
        """Take note of what the call gave."""


class Instrumentation(Protocol):
    """Watches the calls of a client. Used by any number of threads and tasks at the same time."""

    def observe(self, call: ObservedCall) -> AbstractContextManager[Observation]:
        """Return what surrounds *call*, retries included: it is left with what the call raises, if it does.

        A list of functions that is answered from memory is a call too.
        """


@contextmanager
def tool_call(call_id: str | None) -> Iterator[None]:
    """Let the calls made inside be known as those of the model's tool call *call_id*."""
    token = _tool_call_id.set(call_id)
    try:
        yield
    finally:
        _tool_call_id.reset(token)


def current_tool_call() -> str | None:
    """Return the id of the model's tool call that this one is part of, or None."""
    return _tool_call_id.get()
