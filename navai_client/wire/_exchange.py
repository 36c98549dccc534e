"""One call as a state machine: its attempts, its deadline, its result or error.

It is pure. The client that drives it hands in the time and the outcome of each request, so that tests reach
every path with literals.
"""

import contextlib
from typing import Generic, TypeVar

from attrs import evolve

from navai_client._redaction import Redactor
from navai_client.errors import NavaiError, NavaiTimeoutError, NavaiTransportError
from navai_client.wire._requests import Invocation
from navai_client.wire._retry import RetryPolicy
from navai_client.wire._values import ClientHeaders, Done, Request, Response, Send, TransportFailure

T = TypeVar("T")


class Exchange(Generic[T]):
    """One call under way. Call ``start()``, then ``receive()`` until it returns ``Done`` or raises.

    Args:
        invocation: The call.
        policy: Decides what is tried again.
        timeout: Seconds for the whole call, or None for no limit.
        headers: The client's headers for this call.
    """

    def __init__(
        self, invocation: Invocation[T], policy: RetryPolicy, timeout: float | None, headers: ClientHeaders
    ) -> None:
        self.invocation = invocation
        self._request = Request(
            invocation.endpoint,
            headers.plain if invocation.content is None else headers.json,
            invocation.content,
            invocation.call_headers,
        )
        self._secrets = (*headers.secrets, *invocation.secrets) if invocation.secrets else headers.secrets
        self._policy = policy
        self._timeout = timeout
        self._deadline: float | None = None
        self._attempt = 1
        self._may_have_executed = False

    def start(self, now: float) -> Send | Done[T]:
        """Return the first step. *now* is in seconds of a monotonic clock."""
        if self.invocation.recall is not None and (known := self.invocation.recall(now)) is not None:
            return Done(known)
        if self._timeout is not None:
            self._deadline = now + self._timeout
        return Send(self._request, 1, 0.0, self._timeout)

    def receive(self, outcome: Response | TransportFailure, now: float) -> Send | Done[T]:
        """Return the step after *outcome*.

        Raises:
            NavaiError: If the outcome is a failure, is not tried again, and the operation does not recover.
        """
        if isinstance(outcome, TransportFailure):
            self._may_have_executed = self._may_have_executed or outcome.sent
            outcome = self._redacted_failure(outcome)
        else:
            self._may_have_executed = True
        retry = self._retry(outcome, now)
        return self._finish(outcome, now) if retry is None else retry

    def _retry(self, outcome: Response | TransportFailure, now: float) -> Send | None:
        repeatable = self.invocation.operation.repeatable
        delay = self._policy.delay(outcome, attempt=self._attempt, repeatable=repeatable)
        if delay is None:
            return None
        left = None if self._deadline is None else self._deadline - now - delay
        if left is not None and left <= 0:
            return None
        self._attempt += 1
        reason = f"HTTP {outcome.status}" if isinstance(outcome, Response) else outcome.message
        return Send(self._request, self._attempt, delay, left, reason)

    def _finish(self, outcome: Response | TransportFailure, now: float) -> Done[T]:
        recover = self.invocation.operation.recover
        try:
            if isinstance(outcome, TransportFailure):
                raise self._error(outcome) from outcome.cause
            value = self._read(outcome)
        except NavaiError as error:
            if recover is None:
                raise
            return Done(recover(error))
        if self.invocation.remember is not None:
            self.invocation.remember(value, outcome, now)
        return Done(value)

    def _read(self, response: Response) -> T:
        """Read *response*: a value as it is, an error without the secrets that the backend may repeat."""
        read, redact = self.invocation.read, self.invocation.operation.redact
        if not self._secrets:
            return read(response)
        with contextlib.suppress(NavaiError):  # raised again below
            value = read(response)
            return value if redact is None else redact(value, self._redacted_text)
        return read(self._redacted(response))

    def _redacted_text(self, text: str) -> str:
        return Redactor(self._secrets, patterns=False).text(text)

    def _redacted(self, response: Response) -> Response:
        """Return *response* without the client's secrets, wherever an error could show them."""
        redactor = Redactor(self._secrets, patterns=False)
        headers = dict(response.headers)
        if "location" in headers:
            headers["location"] = redactor.text(headers["location"])
        return evolve(response, headers=headers, content=redactor.content(response.content))

    def _redacted_failure(self, failure: TransportFailure) -> TransportFailure:
        message = self._redacted_text(failure.message)
        return failure if message == failure.message else evolve(failure, message=message, cause=None)

    def _error(self, failure: TransportFailure) -> NavaiTransportError:
        endpoint = self._request.endpoint
        where = f"{endpoint.method} {endpoint.url.partition('?')[0]}"
        what = failure.message.rstrip(".")
        if failure.timed_out:
            limit = "in time" if self._timeout is None else f"within {self._timeout:g} s"
            return NavaiTimeoutError(
                f"No response from {where} {limit}: {what}.",
                may_have_executed=self._may_have_executed,
            )
        return NavaiTransportError(
            f"No response from {where}: {what}.", may_have_executed=self._may_have_executed
        )
