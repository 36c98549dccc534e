"""One call as a state machine: its attempts, its deadline, its result or error.

It is pure. The client that drives it hands in the time and the outcome of each request, so that tests reach
every path with literals.
"""

import re
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, cast

from attrs import evolve

from navai_client._redaction import Redactor
from navai_client.errors import (
    ApprovalPendingError,
    FunctionFailedError,
    Headers,
    InvalidResponseError,
    NavaiError,
    NavaiHTTPError,
    NavaiTimeoutError,
    NavaiTransportError,
)
from navai_client.wire._decode import (
    NAME_SHOWN,
    failure_message,
    hint,
    json_of,
    redacted_value,
    redirect_message,
    says_may_have_executed,
    says_pending,
    why_foreign,
)
from navai_client.wire._events import EventStream
from navai_client.wire._requests import Invocation
from navai_client.wire._retry import RetryPolicy
from navai_client.wire._values import (
    LONGEST_BODY,
    ClientHeaders,
    Done,
    Request,
    Response,
    Send,
    TransportFailure,
)

T = TypeVar("T")

_REDACTION: Final = 1.0  # seconds for the secrets of one response, and no longer than the call may last
_SHORTEST_REDACTION: Final = 0.05  # seconds, for a response that arrives with the deadline
_LONGEST_LINE: Final = 1000  # characters of an error in the log, where a gateway's page would be too much
_REQUEST_ID: Final = re.compile(r"[!-~]{1,255}")  # one that a log line can show


class Exchange(Generic[T]):
    """One call under way. Call ``start()``, then ``receive()`` until it returns ``Done`` or raises.

    Args:
        invocation: The call.
        policy: Decides what is tried again.
        timeout: Seconds for the whole call, or None for no limit.
        headers: The client's headers for this call.
        new_id: Returns the call's ``X-Request-ID``, unless *headers* have one.
        warn: Called with a problem that causes no error.
        log: Called with this exchange, the outcome in a few words, and the seconds that an attempt took.

    Attributes:
        invocation: The call.
        request_id: The ``X-Request-ID`` that is sent.
        attempts: How many attempts were made.
        response: The last response, or None if the last attempt got none.
        elapsed: Seconds from the start to the last outcome.
        source: Where the client asks for its headers, if it can ask for them once more.
        spent: Seconds of the timeout that have passed before the start.
        events: The reader of progress in the response to the latest attempt, if the call wants progress.
        deliver: Tells the caller of progress that the transport has not delivered.
    """

    attempts: int = 1
    response: Response | None = None
    elapsed: float = 0.0
    source: Any = None
    spent: float = 0.0
    events: EventStream | None = None
    deliver: Callable[[], None]
    _deadline: float | None = None
    _may_have_executed: bool = False
    _is_checked: bool = False
    _foreign: str | None = None
    _refused: Response | None = None

    def __init__(  # noqa: PLR0917 - each is given by position at the one call
        self,
        invocation: Invocation[T],
        policy: RetryPolicy,
        timeout: float | None,
        headers: ClientHeaders,
        new_id: Callable[[], str],
        warn: Callable[[str], None],
        log: Callable[["Exchange[Any]", str, float], None] | None = None,
    ) -> None:
        if invocation.bind is not None:
            invocation = invocation.bind(invocation, headers)
        self.invocation = invocation
        self._headers = headers
        self._secrets = (*headers.secrets, *invocation.secrets) if invocation.secrets else headers.secrets
        self.policy = policy
        self._timeout = timeout
        self._new_id = new_id
        self._warn = warn
        self._log = log
        self.request_id = headers.request_id or ""

    def start(self, now: float) -> Send | Done[T]:
        """Return the first step. *now* is in seconds of a monotonic clock."""
        if self.invocation.recall is not None and (known := self.invocation.recall(now)) is not None:
            self.attempts = 0
            return Done(known)
        self._began, self._sent = now - self.spent, now
        self._request = self._make_request()
        if self._timeout is None:
            return Send(self._request, 1, 0.0, None)
        self._deadline = self._began + self._timeout
        left = self._timeout - self.spent
        if left <= 0:
            return self._finish(
                TransportFailure("its headers arrived too late", sent=False, timed_out=True), now
            )
        return Send(self._request, 1, 0.0, left)

    def _make_request(self) -> Request:
        invocation, headers = self.invocation, self._headers
        call_headers = invocation.call_headers
        if not self.request_id:
            self.request_id = self._new_id()
            call_headers = (*call_headers, ("X-Request-ID", self.request_id))
        content = invocation.content
        return Request(
            invocation.endpoint, headers.plain if content is None else headers.json, content, call_headers
        )

    def expect_events(self, limit: int) -> EventStream:
        """Return a reader of progress in the response to the next attempt, of at most *limit* bytes."""
        self.events = EventStream(limit, self._redacted_text)
        return self.events

    def accepts(self, response: Response) -> bool:
        """Return whether *response* can belong to the request that was sent last.

        If a transport calls this, and closes the connection of a response that is not accepted, such a
        response is an error. With any other transport, such as a mock with a fixed response, it is a warning.
        """
        self._is_checked = True
        invocation = self.invocation
        if invocation.operation.keyed:
            name = invocation.context["function_name"]
            self._foreign = why_foreign(response, name, invocation.call_headers)
        return self._foreign is None

    def receive(self, outcome: Response | TransportFailure, now: float) -> Send | Done[T]:
        """Return the step after *outcome*.

        Raises:
            NavaiError: If the outcome is a failure, is not tried again, and the operation does not recover.
        """
        self.elapsed = now - self._began
        if self.events is not None:
            outcome = self.events.outcome(outcome)
            self.deliver()
        invocation = self.invocation
        may_be_renewed = self.source is not None and self._refused is None and not self._may_have_executed
        if isinstance(outcome, TransportFailure):
            self.response = None
            self._may_have_executed = self._may_have_executed or outcome.sent
            outcome = self._redacted_failure(outcome)
        else:
            self.response = outcome
            self._may_have_executed = True
        if self._log is not None:
            self._log(self, _in_words(outcome), now - self._sent)
        if isinstance(outcome, TransportFailure):
            return self._retry(outcome, now) or self._finish(outcome, now)
        if not self._is_checked and not self.accepts(outcome):
            self._warn(self._redacted_text(f"The response belongs to another call: {self._foreign}."))
            self._foreign = None
        if self._foreign is not None:
            lost = TransportFailure("the response belongs to another call")
            return self._retry(lost, now) or self._finish(outcome, now)
        if invocation.keys is not None:
            invocation.keys.learn(outcome, now, self._headers, executes=invocation.operation.keyed)
        if outcome.is_success:
            return self._finish(outcome, now)
        if may_be_renewed and outcome.status == 401 and not says_may_have_executed(outcome):  # noqa: PLR2004
            self._refused = outcome
            return Send(self._request, self.attempts, 0.0, self.left(now), renews=True)
        return self._retry(outcome, now) or self._finish(outcome, now)

    def renew(self, headers: ClientHeaders, now: float) -> Send | Done[T]:
        """Return the step after a 401, now that the client has asked for its *headers* once more.

        If they differ, the request is sent again. That is safe: a 401 says that it was not executed (RFC
        9110, section 15.5.2), and no earlier attempt can have arrived.

        Raises:
            NavaiError: As ``receive`` does.
        """
        left = self.left(now)
        if headers.identity == self._headers.identity or (left is not None and left <= 0):
            return self._finish(cast("Response", self._refused), now)
        self._may_have_executed = False
        self._headers = headers
        self._secrets = tuple(sorted({*self._secrets, *headers.secrets}, key=len, reverse=True))
        before = self._request
        sent = headers.plain if before.content is None else headers.json
        self._request = Request(before.endpoint, sent, before.content, before.call_headers)
        self.attempts += 1
        self._is_checked = False
        self._sent = now
        return Send(self._request, self.attempts, 0.0, left)

    def left(self, now: float) -> float | None:
        """Return the seconds that are left, or None for no limit."""
        return None if self._deadline is None else self._deadline - now

    def _retry(self, outcome: Response | TransportFailure, now: float) -> Send | None:
        invocation = self.invocation
        is_final = invocation.is_final
        if is_final is not None and isinstance(outcome, Response) and is_final(outcome, json_of(outcome)):
            return None
        repeatable = invocation.operation.repeatable
        is_lost = isinstance(outcome, TransportFailure) and outcome.sent and invocation.operation.keyed
        if is_lost and invocation.keys is not None:  # then the same key gives its result, if it ran
            repeatable = invocation.keys.are_shared(now, self._headers)
        attempt = self.attempts if self._refused is None else self.attempts - 1  # that one was no retry
        delay = self.policy.delay(outcome, attempt=attempt, repeatable=repeatable)
        if delay is None:
            return None
        left = self.left(now + delay)
        if (left is not None and left <= 0) or _has_outcome(outcome):
            return None
        if is_lost:
            self.invocation = evolve(invocation, context={**invocation.context, "is_second": True})
        self.attempts += 1
        self._sent = now + delay
        self._is_checked, self._foreign = False, None
        return Send(self._request, self.attempts, delay, left, _in_words(outcome))

    def _finish(self, outcome: Response | TransportFailure, now: float) -> Done[T]:
        recover = self.invocation.operation.recover
        try:
            if isinstance(outcome, TransportFailure):
                raise self._error(outcome) from outcome.cause
            value = self._read(outcome, now)
        except NavaiError as error:
            self._describe(error)
            if recover is None:
                raise
            reason = Redactor(self._secrets).text(" ".join(str(error).split()), _LONGEST_LINE)
            self._warn(f"{self.invocation.operation.name}: {reason} ({'. '.join(error.__notes__)})")
            return Done(recover(error))
        if self.invocation.remember is not None:
            self.invocation.remember(value, outcome, now, self._headers)
        return Done(value)

    def _read(self, response: Response, now: float) -> T:
        """Read *response*: a value as it is, an error without the secrets that the backend may repeat."""
        if self._foreign is not None:
            text = f"The response belongs to another call: {self._foreign}. The connection was closed."
            raise InvalidResponseError(self._redacted_text(text), status_code=response.status)
        read, redact = self.invocation.read, self.invocation.operation.redact
        if not self._secrets:
            return read(response)
        left = self.left(now)
        seconds = _REDACTION if left is None else min(_REDACTION, max(left, _SHORTEST_REDACTION))
        redactor = Redactor(self._secrets, patterns=False, seconds=seconds)
        if not response.is_success:
            return read(self._redacted(response, redactor))
        try:
            value = read(response)
        except NavaiError as caught:
            error = caught.with_traceback(None)  # its frames hold the response
        else:
            return value if redact is None else redact(value, redactor)
        self.response = evolve(response, headers=_redacted_headers(response, redactor))
        if isinstance(error, ApprovalPendingError):
            for name in ("approval_id", "trace_id"):
                setattr(error, name, redacted_value(getattr(error, name), redactor))
        if isinstance(error, FunctionFailedError):
            if len(response.content) > LONGEST_BODY:  # to redact an object takes several times as long
                error.error, error.details = (
                    value if isinstance(value, str) else None for value in (error.error, error.details)
                )
            error.error = redacted_value(error.error, redactor)
            error.details = redacted_value(error.details, redactor)
            error.args = (failure_message(error.error, error.details),)
        else:
            error.args = (redactor.text(str(error)),)
        raise error

    def _redacted_text(self, text: str, limit: int | None = None) -> str:
        return Redactor(self._secrets, patterns=False).text(text, limit)

    def _redacted(self, response: Response, redactor: Redactor) -> Response:
        """Return *response*, a failure, without the client's secrets."""
        content = response.content
        if response.is_long_error:  # masked first and cut afterwards
            text = content[: 2 * LONGEST_BODY].decode("utf-8", "replace")
            content = redactor.text(text, LONGEST_BODY).encode()
        else:
            content = redactor.content(content)
        self.response = evolve(response, headers=_redacted_headers(response, redactor), content=content)
        return self.response

    def _redacted_failure(self, failure: TransportFailure) -> TransportFailure:
        message = self._redacted_text(failure.message)
        return failure if message == failure.message else evolve(failure, message=message, cause=None)

    def _error(self, failure: TransportFailure) -> NavaiTransportError:
        where = self._request.endpoint.shown
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

    @property
    def answered_id(self) -> str:
        """The ``X-Request-ID`` of the last response, or the one that was sent."""
        response = self.response if self._foreign is None else None
        theirs = "" if response is None else response.headers.get("x-request-id", "")
        return theirs if _REQUEST_ID.fullmatch(theirs) else self.request_id

    def _describe(self, error: NavaiError) -> None:
        """Give *error* what an operator needs to find the call in the logs of backend and gateways."""
        error.request_id = self.answered_id
        response = self.response
        endpoint, path_option = self._request.endpoint, self.invocation.operation.path_option
        if response is not None and isinstance(error, NavaiHTTPError):
            error.headers = Headers(response.headers)
            error.retry_after = self.policy.retry_after(response)
            location = response.headers.get("location")
            if location and 300 <= response.status <= 399:  # noqa: PLR2004 - RFC 9110, section 15.4
                error.args = (redirect_message(response.status, location, endpoint, path_option),)
        where, function_name = endpoint.shown, self.invocation.context.get("function_name")
        if function_name is not None:
            where += f" ({self._redacted_text(function_name)[:NAME_SHOWN]!r})"
        status = "no response" if response is None else f"HTTP {response.status}"
        attempts = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        request_id = f"request id {error.request_id}"
        if error.request_id != self.request_id:
            request_id += f" (sent: {self.request_id})"
        error.add_note(f"{where}: {status}, {attempts}, {request_id}")
        if response is not None and (looks := hint(response)) is not None:
            error.add_note(f"{looks} Check base_url and {path_option}.")


def _redacted_headers(response: Response, redactor: Redactor) -> dict[str, str]:
    return {name: redactor.text(value) for name, value in response.headers.items()}


def _has_outcome(outcome: Response | TransportFailure) -> bool:
    """Return whether a failure says something of the function, so that another attempt could act twice."""
    return isinstance(outcome, Response) and (says_may_have_executed(outcome) or says_pending(outcome))


def _in_words(outcome: Response | TransportFailure) -> str:
    return f"HTTP {outcome.status}" if isinstance(outcome, Response) else outcome.message
