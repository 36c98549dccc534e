"""How a client's calls are watched: by an interface, for tracing for example, and by the log."""

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Final, Protocol, TypeVar

from attrs import evolve, field, frozen

from navai_client._redaction import RedactingFormatter, Redactor
from navai_client.errors import NavaiPayloadError
from navai_client.wire._encode import encode_json
from navai_client.wire._exchange import Exchange
from navai_client.wire._requests import Invocation
from navai_client.wire._values import ClientHeaders, Send

__all__ = ["Instrumentation", "Observation", "ObservedCall"]

T = TypeVar("T")

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


def observed(
    instrumentation: Instrumentation,
    invocation: Invocation[Any],
    headers: ClientHeaders,
    json_default: Callable[[Any], Any] | None,
) -> AbstractContextManager[Observation]:
    """Return a context manager in which *invocation* is watched."""
    return instrumentation.observe(
        ObservedCall(
            invocation.operation.name,
            invocation.endpoint.url.partition("?")[0],
            invocation.context.get("function_name"),
            invocation.payload,
            current_tool_call(),
            (*headers.secrets, *invocation.secrets),
            json_default,
        )
    )


def carrying(invocation: Invocation[T], observation: Observation) -> Invocation[T]:
    """Return *invocation* with the headers that its *observation* adds."""
    if not observation.headers:
        return invocation
    return evolve(invocation, call_headers=(*invocation.call_headers, *observation.headers.items()))


def log_attempt(exchange: Exchange[Any], outcome: str, seconds: float) -> None:
    """Log the *outcome* of an attempt, which took some *seconds*."""
    _log.debug(
        "%s: %s in %.1f ms, attempt %d, request id %s",
        exchange.invocation.endpoint.shown,
        outcome,
        1000 * seconds,
        exchange.attempts,
        exchange.request_id,
    )


def log_retry(exchange: Exchange[Any], step: Send) -> None:
    """Log that the call is tried again after a delay."""
    _log.info(
        "%s: trying again in %.2f s, retry %d of %d (%s)",
        exchange.invocation.operation.name,
        step.delay,
        step.attempt - 1,
        exchange.policy.max_retries,
        step.reason,
    )


def log_renewal(exchange: Exchange[Any]) -> None:
    """Log that the call is sent again with other headers, if there are any."""
    _log.info("%s: HTTP 401; asking for the headers once more", exchange.invocation.operation.name)


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
