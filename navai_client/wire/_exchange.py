"""The stepper: the attempts of one operation, its deadline, and what a failure becomes.

It is pure: whoever drives it hands in the time and what came of each request, so that every path can be
tested with literals.
"""

import contextlib
from typing import Generic, Protocol, TypeVar

from attrs import evolve

from navai_client._redaction import Redactor
from navai_client.errors import NavaiError, NavaiTimeoutError, NavaiTransportError
from navai_client.wire._operations import Operation
from navai_client.wire._values import Done, Request, Response, Send, TransportFailure

T = TypeVar("T")


class Policy(Protocol):
    """Decides whether an outcome may be tried again."""

    def delay(self, outcome: Response | TransportFailure, *, attempt: int, replay_safe: bool) -> float | None:
        """Return the seconds to wait before the next attempt, or None if there must be none."""


class Exchange(Generic[T]):
    """One operation on its way. Ask for ``start()``, then ``receive()`` until it gives ``Done`` or raises.

    Args:
        operation: What to do.
        policy: Decides what is tried again.
        timeout: Seconds for all of it, or None for no limit.
    """

    def __init__(self, operation: Operation[T], policy: Policy, timeout: float | None) -> None:
        self._operation = operation
        self._policy = policy
        self._timeout = timeout
        self._deadline: float | None = None
        self._attempt = 1
        self._may_have_executed = False

    def start(self, now: float) -> Send | Done[T]:
        """Return the first step. *now* is in seconds of a clock that never goes back."""
        if self._operation.recall is not None and (known := self._operation.recall(now)) is not None:
            return Done(known)
        if self._timeout is not None:
            self._deadline = now + self._timeout
        return Send(self._operation.request, 1, 0.0, self._timeout)

    def receive(self, outcome: Response | TransportFailure, now: float) -> Send | Done[T]:
        """Return the step after *outcome*.

        Raises:
            NavaiError: If the outcome is a failure, is not tried again, and the operation does not recover.
        """
        if isinstance(outcome, Response) or outcome.sent:
            self._may_have_executed = True
        if isinstance(outcome, TransportFailure):
            outcome = _redacted_failure(outcome, self._operation.secrets)
        retry = self._retry(outcome, now)
        return self._finish(outcome, now) if retry is None else retry

    def _retry(self, outcome: Response | TransportFailure, now: float) -> Send | None:
        delay = self._policy.delay(outcome, attempt=self._attempt, replay_safe=self._operation.replay_safe)
        if delay is None:
            return None
        left = None if self._deadline is None else self._deadline - now - delay
        if left is not None and left <= 0:
            return None
        self._attempt += 1
        reason = f"HTTP {outcome.status}" if isinstance(outcome, Response) else outcome.message
        return Send(self._operation.request, self._attempt, delay, left, reason)

    def _finish(self, outcome: Response | TransportFailure, now: float) -> Done[T]:
        operation = self._operation
        try:
            if isinstance(outcome, TransportFailure):
                raise self._error(outcome) from outcome.cause
            value = self._read(outcome)
        except NavaiError as error:
            if operation.recover is None:
                raise
            return Done(operation.recover(error))
        if operation.remember is not None:
            operation.remember(value, outcome, now)
        return Done(value)

    def _read(self, response: Response) -> T:
        """Decode *response*: a value as it is, an error without the secrets that the backend may repeat."""
        operation = self._operation
        if operation.secrets:
            with contextlib.suppress(NavaiError):  # raised again below
                return operation.decode(response)
            response = _redacted(response, operation.secrets)
        return operation.decode(response)

    def _error(self, failure: TransportFailure) -> NavaiTransportError:
        where = _place(self._operation.request)
        what = failure.message.rstrip(".")
        if failure.timed_out:
            limit = "in time" if self._timeout is None else f"within {self._timeout:g} s"
            return NavaiTimeoutError(
                f"No answer from {where} {limit}: {what}.",
                may_have_executed=self._may_have_executed,
            )
        return NavaiTransportError(
            f"No answer from {where}: {what}.", may_have_executed=self._may_have_executed
        )


def _place(request: Request) -> str:
    return f"{request.endpoint.method} {request.endpoint.url.partition('?')[0]}"


def _redacted(response: Response, secrets: tuple[str, ...]) -> Response:
    """Return *response* without our own *secrets*, wherever an error could show them."""
    redactor = Redactor(secrets, patterns=False)
    headers = dict(response.headers)
    if "location" in headers:
        headers["location"] = redactor.text(headers["location"])
    return evolve(response, headers=headers, content=redactor.content(response.content))


def _redacted_failure(failure: TransportFailure, secrets: tuple[str, ...]) -> TransportFailure:
    message = Redactor(secrets, patterns=False).text(failure.message)
    return failure if message == failure.message else evolve(failure, message=message, cause=None)
