"""Waiting until a backend is ready: which request to send next, and when. Pure, as an exchange is."""

import math
from typing import Any, Final

from attrs import evolve, frozen

from navai_client.errors import (
    InvalidResponseError,
    NavaiError,
    NavaiHTTPError,
    NavaiTimeoutError,
    NavaiTransportError,
)
from navai_client.wire import _decode
from navai_client.wire._operations import LIST_FUNCTIONS, Operation
from navai_client.wire._requests import Invocation, Invocations

_FIRST_DELAY: Final = 0.05  # seconds; a server on the same machine starts within a second
_LONGEST_DELAY: Final = 1.0  # seconds; Kubernetes probes no more often
_LONGEST_PROBE: Final = 5.0  # seconds; a process that hangs at its start may have been replaced then
_SERVER_ERRORS: Final = 500
_PASSING: Final = frozenset({404, 408, 425, 429})  # gateways send these, too, before their backend runs


def _probe(name: str, path: str, read: Any) -> Operation[None]:
    return Operation(
        name=name,
        method="GET",
        path=path,
        path_option="where it is mounted",
        summary="",
        read=read,
        response={},
        repeatable=True,
    )


_READY: Final = _probe("wait_until_ready", "/ready", _decode.readiness)
_HEALTH: Final = _probe("wait_until_ready", "/health", _decode.readiness)
WARMUP: Final = _probe("warmup", "/health", lambda _: None)  # any response shows that a connection is open


@frozen
class Probe:
    """A request that shows whether the backend is ready.

    Attributes:
        invocation: The call to make. It succeeds if the backend is ready.
        delay: Seconds to wait first.
        timeout: Seconds that it may take.
    """

    invocation: Invocation[Any]
    delay: float
    timeout: float


class Waiting:
    """The state of one wait. Call ``next()``, and ``failed()`` if that probe fails, until one succeeds.

    Args:
        calls: Prepares the calls of the backend.
        base_url: Where the backend is.
        timeout: Seconds for the whole wait, or None for no limit.
        now: The time, in seconds of a monotonic clock.
    """

    def __init__(self, calls: Invocations, base_url: str, timeout: float | None, now: float) -> None:
        functions = evolve(calls.list_functions(None), operation=evolve(LIST_FUNCTIONS, recover=None))
        # The best first. The next one is for a backend that lacks those before it.
        self._probes = (calls.probe(_READY), calls.probe(_HEALTH), functions)
        self._base_url = base_url
        self._timeout = timeout
        self._deadline = None if timeout is None else now + timeout
        self._position = 0
        self._delay = 0.0
        self._last: NavaiError | None = None

    def next(self, now: float) -> Probe:
        """Return the next probe.

        Raises:
            NavaiTimeoutError: If no time is left.
        """
        delay = 0.0 if self._position else self._delay
        left = math.inf if self._deadline is None else self._deadline - now
        if left > _FIRST_DELAY:
            delay = min(delay, left / 2)  # a backend that is ready at the last moment is still seen
        if left <= delay:
            raise NavaiTimeoutError(
                f"The backend at {self._base_url} was not ready within {self._timeout:g} s: {self._why()}.",
                may_have_executed=False,
            ) from self._last
        return Probe(self._probes[self._position], delay, min(_LONGEST_PROBE, left - delay))

    def failed(self, error: NavaiError) -> None:
        """Note that the last probe raised *error*.

        Raises:
            NavaiError: *error* itself, if waiting does not help.
        """
        if not isinstance(error, NavaiTransportError | NavaiHTTPError | InvalidResponseError):
            raise error
        if self._last is None or not isinstance(error, NavaiTimeoutError):
            self._last = error  # the last probe often just runs out of time; what came before says more
        status = None if isinstance(error, NavaiTransportError) else error.status_code
        is_answer = status is not None and status < _SERVER_ERRORS
        if is_answer and self._position < len(self._probes) - 1:
            self._position += 1
            return
        if is_answer and isinstance(error, NavaiHTTPError) and status not in _PASSING:
            raise error
        self._position = 0
        self._delay = min(_LONGEST_DELAY, self._delay * 2 or _FIRST_DELAY)

    def _why(self) -> str:
        if isinstance(self._last, NavaiHTTPError):
            return f"HTTP {self._last.status_code}"
        return str(self._last).rstrip(".")
